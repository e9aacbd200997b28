/* Columns over pairs below the door: builders that are killed between slices, tables that lie about their pairs, bytes
 * that cannot be. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "engine/family_columns.h"
#include "os/thread.h"
#include "tests/support/simdisk.h"
#include "tests/support/test.h"

enum { PAIRS = 30000, FEW_PAIRS = 9000 }; /* some slices; two, and more deletes than a small log's record holds */

static const char *store_path(void) {
  static char path[600];
  (void)snprintf(path, sizeof path, "%s/store", test_directory());
  return path;
}

static Session *open_with_log(uint64_t log_bytes) {
  StoreOptions options = { .no_background = true, .log_bytes = log_bytes };
  Session *session = NULL;
  CHECK_OK(session_open(store_path(), &options, &session));
  return session;
}

static Session *open_store(void) { return open_with_log(1 << 20); }

static Bytes key_of(int i, char key[32]) {
  return (Bytes){ (const uint8_t *)key, (size_t)snprintf(key, 32, "s/%d/%05d", i % 5, i) };
}

static void put(Session *session, uint32_t family, int i, int32_t number) {
  char key[32];
  CHECK_OK(
    kv_put(session, family, key_of(i, key), (Bytes){ (const uint8_t *)&number, 4 }, EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
}

static void fill(Session *session, uint32_t family, int pairs) {
  CHECK_OK(session_begin(session, true));
  for (int i = 0; i < pairs; i++) put(session, family, i, i);
  CHECK_OK(session_commit(session));
}

enum { COLUMNS = PAIR_OWN_COLUMNS + 1 };

typedef struct Declaration {
  Column columns[COLUMNS];
  Projection projections[COLUMNS];
  Schema schema;
  PairColumns all;
} Declaration;

/* `number` is the i32 at the beginning of the value. */
static const PairColumns *declaration(Declaration *d) {
  memset(d, 0, sizeof *d);
  for (uint32_t c = 0; c < PAIR_OWN_COLUMNS; c++) {
    const PairColumn *own = &pair_own_columns[c];
    d->columns[c] = (Column){ c + 1, own->type, own->flags, 0, (char *)own->name };
    d->projections[c] = (Projection){ .kind = own->kind, .type = own->type };
  }
  d->columns[COLUMNS - 1] = (Column){ COLUMNS, TYPE_I32, COLUMN_NULLABLE, 0, (char *)"number" };
  d->projections[COLUMNS - 1] = (Projection){ .kind = PROJECTION_AT, .type = TYPE_I32 };
  d->schema = (Schema){ .version = 1, .column_count = COLUMNS, .columns = d->columns, .key_count = 1 };
  d->all = (PairColumns){ .schema = &d->schema, .projections = d->projections };
  return &d->all;
}

static void declare(Session *session, uint32_t family) {
  Declaration d;
  CHECK_OK(family_set_columns(session, family, declaration(&d)));
}

static FamilyColumns columns_of(Session *session, uint32_t family) {
  FamilyColumns columns;
  CHECK_OK(family_get_columns(session, family, &columns));
  schema_release(&columns.schema);
  return columns;
}

static uint64_t rows_in(const TableSnapshot *snapshot) {
  Scan *scan = NULL;
  uint64_t rows = 0;
  CHECK_OK(scan_create(snapshot->schema, NULL, snapshot->now_ms, &scan));
  for (uint32_t i = 0; i < snapshot->unit_count; i++) {
    CHECK_OK(scan_unit(scan, &snapshot->units[i]));
    rows += scan_selection(scan)->row_count;
  }
  scan_destroy(scan);
  return rows;
}

static uint64_t rows_of(Session *session, uint32_t table) {
  TableSnapshot snapshot;
  CHECK_OK(table_snapshot(session, table, &snapshot));
  uint64_t rows = rows_in(&snapshot);
  table_snapshot_release(&snapshot);
  return rows;
}

static void check_store(Session *session) {
  char *why = NULL;
  Status status = session_check(session, &why);
  if (why) fprintf(stderr, "%s\n", why);
  memory_release(why);
  CHECK_OK(status);
}

/* Of several families in one statement all take the clock of one: walked pairs as those of a table. */
TEST(family_columns, a_snapshot_takes_the_clock_that_it_is_given) {
  enum { HOUR_MS = 60 * 60 * 1000 };
  static const bool wanted[COLUMNS] = { true, false, true }; /* no values: those are the pairs' alone */
  Session *session = open_store();
  uint32_t family;
  CHECK_OK(family_create(session, "pairs", FAMILY_KV, NULL, &family));
  int64_t now = session_now_ms(session);
  const Bytes four = { (const uint8_t *)"0123", 4 };
  put(session, family, 1, 1);
  CHECK_OK(kv_put(session, family, four, four, now + HOUR_MS, KV_PUT_ALWAYS, NULL));
  for (int is_kept = 0; is_kept <= 1; is_kept++) {
    Declaration d;
    PairColumns columns = *declaration(&d);
    FamilyColumns kept = { 0 };
    TableSnapshot snapshot;
    if (is_kept) {
      CHECK_OK(family_set_columns(session, family, &columns));
      CHECK_OK(family_get_columns(session, family, &kept));
      CHECK(kept.is_built);
      columns = (PairColumns){ &kept.schema, d.projections, kept.table, COLUMNS };
    }
    CHECK_OK(pairs_snapshot(session, family, &columns, wanted, &(KvRange){ 0 }, &snapshot));
    CHECK_INT(snapshot.units[0].kind == SCAN_UNIT_STREAM, !is_kept);
    CHECK_INT(rows_in(&snapshot), 2);
    table_snapshot_set_clock(&snapshot, now + HOUR_MS);
    CHECK_INT(rows_in(&snapshot), 1);
    table_snapshot_set_clock(&snapshot, now + HOUR_MS - 1);
    CHECK_INT(rows_in(&snapshot), 2);
    table_snapshot_release(&snapshot);
    schema_release(&kept.schema);
  }
  session_close(session);
}

/* ---- killed ---- */

static uint64_t kill_at;

static void kill_self(Counter which, uint64_t hits) {
  if (which == COUNTER_crash_columns_before_commit && hits == kill_at) (void)raise(SIGKILL);
}

/* The declaration looks itself whether all of it is one slice. */
static void build_and_die(void) {
  counter_reset(COUNTER_crash_columns_before_commit);
  counter_hook_set(kill_self);
  Session *session = open_store();
  declare(session, FAMILY_DEFAULT_ID);
  put(session, FAMILY_DEFAULT_ID, 3, -1);
  put(session, FAMILY_DEFAULT_ID, PAIRS - 1, -1);
  Status status = session_maintain(session);
  _exit(status == KVSTORE_OK ? 0 : 1);
}

TEST(family_columns, who_builds_them_may_be_killed_between_any_two_slices) {
  Session *session = open_store();
  fill(session, FAMILY_DEFAULT_ID, PAIRS);
  CHECK_OK(session_close(session));
  for (kill_at = 1; kill_at <= 6; kill_at++) {
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) build_and_die();
    int how = 0;
    CHECK_INT(waitpid(child, &how, 0), child);
    bool killed = WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL;
    CHECK(killed || kill_at == 6); /* the declaration, and four slices */
    session = open_store();
    check_store(session);
    FamilyColumns columns = columns_of(session, FAMILY_DEFAULT_ID);
    CHECK_INT(columns.table != 0, kill_at > 1);
    CHECK_INT(columns.is_built, kill_at == 6);
    if (columns.table && !columns.is_built) {
      uint64_t rows = rows_of(session, columns.table);
      CHECK(rows > 0 && rows < PAIRS);
      CHECK_OK(session_maintain(session));
      CHECK(columns_of(session, FAMILY_DEFAULT_ID).is_built);
      CHECK_INT(rows_of(session, columns.table), PAIRS);
    }
    check_store(session);
    CHECK_OK(family_set_columns(session, FAMILY_DEFAULT_ID, NULL));
    check_store(session);
    CHECK_OK(session_close(session));
  }
}

/* ---- beside others ---- */

static _Atomic bool holds, gave_up;

/* Holds the session until maintenance has come back to it some times. */
static void hold(void *context) {
  Session *session = context;
  uint64_t before = counter_get(COUNTER_maintenance_waits);
  mutex_lock(&session->lock);
  atomic_store(&holds, true);
  while (counter_get(COUNTER_maintenance_waits) < before + 3 && !atomic_load(&gave_up)) thread_yield();
  mutex_unlock(&session->lock);
}

TEST(family_columns, maintenance_waits_for_who_is_done_in_a_moment) {
  Thread holder;
  Session *session = open_store();
  fill(session, FAMILY_DEFAULT_ID, PAIRS);
  declare(session, FAMILY_DEFAULT_ID);
  CHECK_OK(session_checkpoint(session, CHECKPOINT_FULL, NULL, NULL)); /* no more of it in the log than may stay there */
  CHECK(!columns_of(session, FAMILY_DEFAULT_ID).is_built);
  CHECK_OK(thread_start(&holder, hold, session));
  while (!atomic_load(&holds)) thread_yield();
  CHECK_OK(session_maintain(session));
  atomic_store(&gave_up, true);
  thread_join(&holder);
  CHECK(columns_of(session, FAMILY_DEFAULT_ID).is_built);
  CHECK_INT(rows_of(session, columns_of(session, FAMILY_DEFAULT_ID).table), PAIRS);
  check_store(session);
  CHECK_OK(session_close(session));
}

TEST(family_columns, a_key_that_is_too_long_for_them_can_be_deleted) {
  static uint8_t bytes[KEY_BYTES_MAX];
  memset(bytes, 't', sizeof bytes); /* behind all others */
  Bytes key = { bytes, sizeof bytes };
  for (int way = 0; way < 2; way++) {
    Session *session = open_store();
    uint64_t deleted;
    fill(session, FAMILY_DEFAULT_ID, FEW_PAIRS);
    CHECK_OK(kv_put(session, FAMILY_DEFAULT_ID, key, (Bytes){ bytes, 4 }, EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
    declare(session, FAMILY_DEFAULT_ID);
    CHECK_OK(session_maintain(session));
    CHECK(!columns_of(session, FAMILY_DEFAULT_ID).is_built);
    if (way)
      CHECK_OK(kv_delete_range(session, FAMILY_DEFAULT_ID, &(KvRange){ .lower = { bytes, 1 } }, &deleted));
    else
      CHECK_OK(kv_delete(session, FAMILY_DEFAULT_ID, key));
    CHECK_OK(session_maintain(session));
    CHECK(columns_of(session, FAMILY_DEFAULT_ID).is_built);
    CHECK_INT(rows_of(session, columns_of(session, FAMILY_DEFAULT_ID).table), FEW_PAIRS);
    check_store(session);
    CHECK_OK(family_set_columns(session, FAMILY_DEFAULT_ID, NULL));
    CHECK_OK(session_close(session));
  }
}

/* Deletes of rows stay in the record, key by key: so many would not fit. */
TEST(family_columns, a_range_of_more_pairs_than_a_record_holds_is_deleted) {
  Session *session = open_with_log(256 << 10);
  uint64_t deleted, adopted = counter_get(COUNTER_deletes_adopted);
  declare(session, FAMILY_DEFAULT_ID);
  fill(session, FAMILY_DEFAULT_ID, FEW_PAIRS);
  CHECK_OK(session_begin(session, true));
  put(session, FAMILY_DEFAULT_ID, 7, 7);
  CHECK_OK(kv_delete_range(session, FAMILY_DEFAULT_ID, &(KvRange){ 0 }, &deleted));
  CHECK_INT(deleted, FEW_PAIRS);
  CHECK(counter_get(COUNTER_deletes_adopted) > adopted);
  put(session, FAMILY_DEFAULT_ID, 8, 8);
  CHECK_INT(rows_of(session, columns_of(session, FAMILY_DEFAULT_ID).table), 1);
  CHECK_OK(session_rollback(session));
  CHECK_INT(rows_of(session, columns_of(session, FAMILY_DEFAULT_ID).table), FEW_PAIRS);
  check_store(session);
  CHECK_OK(kv_delete_range(session, FAMILY_DEFAULT_ID, &(KvRange){ 0 }, &deleted));
  CHECK_INT(deleted, FEW_PAIRS);
  put(session, FAMILY_DEFAULT_ID, 8, 8);
  CHECK_INT(rows_of(session, columns_of(session, FAMILY_DEFAULT_ID).table), 1);
  check_store(session);
  CHECK_OK(session_checkpoint(session, CHECKPOINT_FULL, NULL, NULL));
  CHECK_INT(rows_of(session, columns_of(session, FAMILY_DEFAULT_ID).table), 1);
  check_store(session);
  CHECK_OK(session_close(session));
}

/* ---- a clock that was wrong ---- */

enum { HOUR_MS = 3600 * 1000 };

static void end_by_look_up(Session *session) {
  char key[32];
  KvValue value;
  for (int i = 0; i < 100; i++)
    CHECK_STATUS(kv_get(session, FAMILY_DEFAULT_ID, key_of(i, key), &value), KVSTORE_NOTFOUND);
}

static void end_by_purge(Session *session) {
  uint64_t purged;
  CHECK_OK(kv_purge_expired(session, FAMILY_DEFAULT_ID, &purged));
  CHECK_INT(purged, FEW_PAIRS);
}

/* What was ended as expired does not come back alone in the columns. */
static void check_clock_put_right(int pairs, void (*end)(Session *session), uint64_t log_bytes) {
  SimDisk *disk = NULL;
  Session *session = NULL;
  char key[32];
  CHECK_OK(simdisk_create(1, &disk));
  StoreOptions options = { .os = simdisk_os(disk), .no_background = true, .log_bytes = log_bytes };
  CHECK_OK(session_open("/disk/store", &options, &session));
  declare(session, FAMILY_DEFAULT_ID);
  int64_t expiry = session_now_ms(session) + HOUR_MS;
  CHECK_OK(session_begin(session, true));
  for (int i = 0; i < pairs; i++)
    CHECK_OK(kv_put(session, FAMILY_DEFAULT_ID, key_of(i, key), (Bytes){ (const uint8_t *)"1234", 4 }, expiry,
                    KV_PUT_ALWAYS, NULL));
  CHECK_OK(session_commit(session));
  simdisk_advance(disk, 3 * HOUR_MS);
  end(session);
  simdisk_advance(disk, -3 * HOUR_MS);
  CHECK_INT(rows_of(session, columns_of(session, FAMILY_DEFAULT_ID).table), 0);
  check_store(session);
  CHECK_OK(session_checkpoint(session, CHECKPOINT_FULL, NULL, NULL));
  CHECK_INT(rows_of(session, columns_of(session, FAMILY_DEFAULT_ID).table), 0);
  check_store(session);
  CHECK_OK(session_close(session));
  simdisk_destroy(disk);
}

TEST(family_columns, expired_pairs_end_with_their_rows) {
  uint64_t adopted = counter_get(COUNTER_deletes_adopted);
  check_clock_put_right(100, end_by_look_up, 1 << 20);
  check_clock_put_right(FEW_PAIRS, end_by_purge, 64 << 20);
  CHECK_INT(counter_get(COUNTER_deletes_adopted), adopted);
  check_clock_put_right(FEW_PAIRS, end_by_purge, 256 << 10); /* more than a record holds */
  CHECK(counter_get(COUNTER_deletes_adopted) > adopted);
}

/* Whoever passes expired pairs inside a transaction ends them in it. */
TEST(family_columns, reading_expired_pairs_fills_no_transaction) {
  Session *session = open_with_log(256 << 10);
  char key[32];
  KvValue value;
  declare(session, FAMILY_DEFAULT_ID);
  int64_t expiry = session_now_ms(session) - 1000; /* not so long ago that a merge leaves them behind */
  CHECK_OK(session_begin(session, true));
  for (int i = 0; i < FEW_PAIRS; i++)
    CHECK_OK(kv_put(session, FAMILY_DEFAULT_ID, key_of(i, key), (Bytes){ (const uint8_t *)"1234", 4 }, expiry,
                    KV_PUT_ALWAYS, NULL));
  CHECK_OK(session_commit(session));
  uint64_t evictions = counter_get(COUNTER_evictions);
  CHECK_OK(session_begin(session, true));
  put(session, FAMILY_DEFAULT_ID, FEW_PAIRS, 7);
  for (int i = 0; i < FEW_PAIRS; i++)
    CHECK_STATUS(kv_get(session, FAMILY_DEFAULT_ID, key_of(i, key), &value), KVSTORE_NOTFOUND);
  put(session, FAMILY_DEFAULT_ID, FEW_PAIRS + 1, 8);
  CHECK_OK(session_commit(session));
  uint64_t ended = counter_get(COUNTER_evictions) - evictions;
  CHECK(ended > 0 && ended < FEW_PAIRS);
  CHECK_INT(rows_of(session, columns_of(session, FAMILY_DEFAULT_ID).table), 2);
  check_store(session);
  CHECK_OK(session_close(session));
}

/* ---- what the check finds ---- */

static _Atomic bool enough;

static void publish_generations(void *context) {
  Session *session = context;
  for (int i = 0; !atomic_load(&enough); i++) {
    put(session, FAMILY_DEFAULT_ID, i % 1000, i);
    CHECK_OK(session_checkpoint(session, CHECKPOINT_RESTART, NULL, NULL));
  }
}

/* Two families, so that the version is still read when a snapshot of the first one's table was given back. */
TEST(family_columns, the_check_keeps_what_it_reads_while_generations_are_published) {
  Session *session = open_store(), *other = open_store();
  Thread thread;
  uint32_t family;
  CHECK_OK(family_create(session, "second", FAMILY_KV, NULL, &family));
  declare(session, FAMILY_DEFAULT_ID);
  declare(session, family);
  fill(session, FAMILY_DEFAULT_ID, 1000);
  fill(session, family, 1000);
  CHECK_OK(thread_start(&thread, publish_generations, other));
  for (int i = 0; i < 20; i++) check_store(session);
  atomic_store(&enough, true);
  thread_join(&thread);
  CHECK_OK(session_close(other));
  CHECK_OK(session_close(session));
}

TEST(family_columns, the_check_tells_columns_of_other_pairs_missing_and_surplus_ones) {
  Session *session = open_store();
  declare(session, FAMILY_DEFAULT_ID);
  fill(session, FAMILY_DEFAULT_ID, 100);
  check_store(session);
  uint32_t table = columns_of(session, FAMILY_DEFAULT_ID).table;
  char key[32];
  Value row_key = { .type = TYPE_BYTES, .s = key_of(7, key) };
  Value number = { .type = TYPE_I32, .i = 8 };
  uint32_t column = COLUMNS - 1;
  char *why = NULL;
  CHECK_OK(table_update(session, table, &row_key, 1, &column, &number, 1, NULL));
  CHECK_STATUS(session_check(session, &why), KVSTORE_CORRUPT);
  CHECK(strstr(why, "s/2/00007") != NULL);
  memory_release(why);
  number.i = 7;
  int64_t soon = 1;
  CHECK_OK(table_update(session, table, &row_key, 1, &column, &number, 1, NULL));
  check_store(session);
  CHECK_OK(table_update(session, table, &row_key, 1, &column, &number, 1, &soon));
  CHECK_STATUS(session_check(session, NULL), KVSTORE_CORRUPT); /* they are gone too early */
  put(session, FAMILY_DEFAULT_ID, 7, 7);
  check_store(session);
  CHECK_OK(table_delete(session, table, &row_key, 1));
  CHECK_STATUS(session_check(session, &why), KVSTORE_CORRUPT);
  CHECK(strstr(why, "missing") != NULL);
  memory_release(why);
  CHECK_OK(kv_delete(session, FAMILY_DEFAULT_ID, key_of(7, key)));
  check_store(session);
  CHECK_OK(session_close(session));
}

/* ---- bytes ---- */

/* The payload of a hidden table as the log and the manifest have it. */
static void write_payload(const Schema *schema, Buffer *out) {
  Family family = { .kind = FAMILY_TABLE, .flags = FAMILY_HIDDEN, .schema = *schema, .next_column_id = COLUMNS + 1 };
  family_payload_write(&family, "__columns", &(FamilyOptions){ 0 }, out);
  CHECK(!out->failed);
}

static Status read_payload(const Schema *schema) {
  Buffer payload = { 0 };
  Family *family = NULL;
  FamilyTraits *traits = NULL;
  write_payload(schema, &payload);
  Status status = family_payload_read(9, 1, (Bytes){ payload.data, payload.length }, &family, &traits);
  for (size_t cut = 0; cut < payload.length && status == KVSTORE_OK; cut++) {
    Family *none = NULL;
    FamilyTraits *no_traits = NULL;
    uint8_t *copy = memory_copy(payload.data, cut);
    CHECK_STATUS(family_payload_read(9, 1, (Bytes){ copy, cut }, &none, &no_traits), KVSTORE_CORRUPT);
    memory_release(copy);
  }
  if (status == KVSTORE_OK) {
    CHECK_INT(family->projections[COLUMNS - 1].kind, PROJECTION_AT);
    family_release(family);
    family_traits_release(traits);
  }
  buffer_release(&payload);
  return status;
}

TEST(family_columns, hidden_tables_that_cannot_be_are_refused) {
  Declaration d;
  char *sources[COLUMNS] = { NULL };
  declaration(&d);
  d.columns[1].flags |= COLUMN_NULLABLE;
  CHECK_STATUS(read_payload(&d.schema), KVSTORE_CORRUPT); /* no sources at all */
  d.schema.sources = sources;
  sources[COLUMNS - 1] = (char *)"at(0)";
  CHECK_OK(read_payload(&d.schema));
  sources[COLUMNS - 1] = (char *)"at(0";
  CHECK_STATUS(read_payload(&d.schema), KVSTORE_CORRUPT);
  sources[COLUMNS - 1] = (char *)"part(0)";
  CHECK_OK(family_sources_read(&(Family){ .kind = FAMILY_KV }));
  d.columns[COLUMNS - 1].type = TYPE_BOOL;
  CHECK_STATUS(read_payload(&d.schema), KVSTORE_CORRUPT); /* not of that type */
  d.columns[COLUMNS - 1].type = TYPE_I32;
  sources[COLUMNS - 1] = (char *)"at(0)";
  sources[0] = (char *)"at(0)";
  CHECK_STATUS(read_payload(&d.schema), KVSTORE_CORRUPT); /* the key is the key */
  sources[0] = NULL;
  d.columns[2].type = TYPE_I64;
  CHECK_STATUS(read_payload(&d.schema), KVSTORE_CORRUPT);
  d.columns[2].type = TYPE_U64;
  d.columns[COLUMNS - 1].flags = 0;
  CHECK_STATUS(read_payload(&d.schema), KVSTORE_CORRUPT);
}
