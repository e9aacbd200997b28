/* Processes that are killed while they hold something: the others go on within a second, and what was held is free. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "tests/model/numbers.h"
#include "tests/support/children.h"

enum { SECOND_MS = 1000, ROUNDS = 3, ROWS = 3000 };

static StoreOptions options(void) {
  return (StoreOptions){ .journal_mode = JOURNAL_WAL,
                         .sync_level = SYNC_FULL,
                         .busy_timeout_ms = 60000,
                         .no_background = true,
                         .log_bytes = 64 << 10 };
}

static Session *opened(const char *path) { return opened_with(path, options()); }

/* Too many for a record: they become a run in reserved extents, which the record adopts. */
static void write_rows(Session *s) { upsert_amounts(s, 0, ROWS, 1); }

/* ---- ways to die ---- */

/* The system, but for the call that its caller does not survive: reading the store's file (a slot is in use then),
 * growing it (the mutex of space is held), or syncing the log (the mutex of syncs is). */
typedef enum Deadly { DEADLY_NOTHING, DEADLY_READ, DEADLY_GROWTH, DEADLY_SYNC } Deadly;
static OsMethods deadly_methods, deadly_file_methods, deadly_log_methods;
static Deadly deadly;

static void die_if(Deadly what) {
  if (deadly == what) kill(getpid(), SIGKILL);
}

static Status read_and_die(OsFile *file, uint64_t offset, void *bytes, size_t length, size_t *got) {
  die_if(DEADLY_READ);
  return os_posix()->methods->read(file, offset, bytes, length, got);
}

static Status allocate_and_die(OsFile *file, uint64_t offset, uint64_t length) {
  die_if(DEADLY_GROWTH);
  return os_posix()->methods->allocate(file, offset, length);
}

static Status sync_and_die(OsFile *file) {
  die_if(DEADLY_SYNC);
  return os_posix()->methods->sync(file);
}

static Status open_beside_deadly(OsFile *of, const char *path, int flags, OsFile **file);

static Status make_deadly(const char *path, OsFile **file) {
  if (strstr(path, "-shm")) return KVSTORE_OK;
  OsMethods *methods = strstr(path, "-wal") ? &deadly_log_methods : &deadly_file_methods;
  *methods = *(*file)->methods;
  if (methods == &deadly_log_methods) {
    methods->sync = sync_and_die;
  } else {
    methods->read = read_and_die;
    methods->allocate = allocate_and_die;
    methods->open_beside = open_beside_deadly;
  }
  (*file)->methods = methods;
  return KVSTORE_OK;
}

static Status open_beside_deadly(OsFile *of, const char *path, int flags, OsFile **file) {
  TRY(os_posix()->methods->open_beside(of, path, flags, file));
  return make_deadly(path, file);
}

static Status open_deadly(Os *os, const char *path, int flags, OsFile **file) {
  (void)os;
  TRY(os_open(os_posix(), path, flags, file));
  return make_deadly(path, file);
}

static Session *opened_deadly(const char *path) {
  static Os os = { &deadly_methods };
  deadly_methods = *os_posix()->methods;
  deadly_methods.open = open_deadly;
  StoreOptions with = options();
  with.os = &os;
  with.no_map = true;
  Session *s = NULL;
  CHECK_OK(session_open(path, &with, &s));
  return s;
}

/* ---- at every crash point ---- */

static Counter armed;
static void die_there(Counter which, uint64_t hits) {
  (void)hits;
  if (which == armed) kill(getpid(), SIGKILL);
}

/* Does a bit of everything until it is dead. */
ROLE(victim) {
  Session *s = opened(path);
  armed = (Counter)role_number();
  counter_hook_set(die_there);
  for (int64_t n = 0; n < 20; n++) {
    put_number(s, "victim", n);
    CHECK_OK(session_begin(s, true));
    put_number(s, "victim", n);
    write_rows(s);
    CHECK_OK(session_commit(s));
    put_number(s, "victim", n);
    CHECK_OK(session_sync(s));
    CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  }
}

/* Dies in a call of the system. */
ROLE(growing_or_syncing) {
  Session *s = opened_deadly(path);
  deadly = (Deadly)role_number();
  uint64_t random = (uint64_t)getpid();
  for (int n = 0; n < 1000; n++) { /* new keys, and values that nothing makes smaller */
    uint64_t value[1000];
    char key[32];
    snprintf(key, sizeof key, "%d-%d", (int)getpid(), n);
    for (int i = 0; i < 1000; i++) value[i] = test_random(&random);
    CHECK_OK(kv_put(s, FAMILY_DEFAULT_ID, (Bytes){ (const uint8_t *)key, strlen(key) },
                    (Bytes){ (const uint8_t *)value, sizeof value }, EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
  }
}

/* Joins and reads: before anybody has put in order what the dead left. */
ROLE(looker) {
  alarm(60); /* rather than hang */
  Session *s = opened(path);
  uint64_t count;
  CHECK_INT(get_number(s, "survivor"), role_number());
  CHECK_OK(kv_count(s, FAMILY_DEFAULT_ID, &count));
  CHECK_OK(session_close(s));
}

static void go_on(Session *s, int64_t n) {
  put_number(s, "survivor", n);
  CHECK_INT(get_number(s, "survivor"), n);
  CHECK_OK(session_begin(s, true));
  put_number(s, "survivor", n + 1);
  write_rows(s);
  CHECK_OK(session_commit(s));
  CHECK_OK(session_sync(s));
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  CHECK_INT(get_number(s, "survivor"), n + 1);
}

static const Counter points[] = {
  COUNTER_crash_commit_before_write,       COUNTER_crash_commit_after_write,
  COUNTER_crash_commit_after_publish,      COUNTER_crash_boundary_after_write,
  COUNTER_crash_flush_before_sync,         COUNTER_crash_manifest_before_sync,
  COUNTER_crash_superblock_before_write,   COUNTER_crash_superblock_before_sync,
  COUNTER_crash_generation_before_oldest,  COUNTER_crash_generation_after_oldest,
  COUNTER_crash_compaction_before_publish, COUNTER_crash_adopt_before_record,
};

/* The bound holds for the best of a few, since the machine may be busy with others. */
static void check_others_go_on(Session *s, const char *role, int64_t how, int64_t *n) {
  uint64_t best = UINT64_MAX;
  for (int round = 0; round < ROUNDS && best >= SECOND_MS; round++) {
    Child victim = child_start_with(role, store_path(), 0, how);
    child_was_killed(&victim);
    Child looker = child_start_with("looker", store_path(), 0, *n + 1);
    child_finish(&looker);
    uint64_t before = test_now_ms();
    go_on(s, *n += 2);
    uint64_t took = test_now_ms() - before;
    if (took < best) best = took;
  }
  if (best >= SECOND_MS) fprintf(stderr, "%s %d\n", role, (int)how);
  CHECK(best < SECOND_MS);
}

TEST(deaths, at_any_point_the_others_go_on_within_a_second) {
  Session *s = opened(store_path());
  int64_t n = 0;
  go_on(s, n);
  for (size_t p = 0; p < sizeof points / sizeof *points; p++) check_others_go_on(s, "victim", points[p], &n);
  char *why = NULL;
  CHECK_OK(session_check(s, &why));
  CHECK_OK(session_close(s));
}

TEST(deaths, in_a_call_of_the_system_under_a_mutex_the_others_go_on_within_a_second) {
  Session *s = opened(store_path());
  int64_t n = 0;
  go_on(s, n);
  check_others_go_on(s, "growing_or_syncing", DEADLY_SYNC, &n);
  check_others_go_on(s, "growing_or_syncing", DEADLY_GROWTH, &n);
  CHECK_OK(session_check(s, NULL));
  CHECK_OK(session_close(s));
}

/* ---- what the dead held of the file ---- */

static uint64_t limbo_after_writing(Session *s) {
  StoreInfo info;
  for (int64_t n = 0; n < 12; n++) {
    put_number(s, "n", n);
    CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  }
  CHECK_OK(session_info(s, &info));
  return info.limbo_bytes;
}

/* Dies in the middle of a call, its slot in use; or with a snapshot of its own. */
ROLE(reader) {
  Session *s = opened_deadly(path);
  if (role_number()) CHECK_OK(session_begin(s, false));
  deadly = DEADLY_READ;
  get_number(s, "n");
}

static void check_reader_holds_nothing(int64_t with_snapshot) {
  Session *s = opened(store_path());
  uint64_t usual = limbo_after_writing(s);
  Child reader = child_start_with("reader", store_path(), 0, with_snapshot);
  child_was_killed(&reader);
  uint64_t now = limbo_after_writing(s);
  CHECK(now <= usual);
  CHECK_OK(session_close(s));
}

TEST(deaths, a_call_that_was_cut_off_holds_no_space) { check_reader_holds_nothing(0); }
TEST(deaths, a_snapshot_goes_with_its_process) { check_reader_holds_nothing(1); }

TEST(deaths, reservations_go_with_their_process) {
  Session *s = opened(store_path());
  StoreInfo before, after;
  write_rows(s);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  for (int i = 0; i < 12; i++) {
    Child victim = child_start_with("victim", store_path(), 0, COUNTER_crash_adopt_before_record);
    child_was_killed(&victim);
    put_number(s, "survivor", i);
    CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
    if (i == 3) CHECK_OK(session_info(s, &before));
  }
  CHECK_OK(session_info(s, &after));
  CHECK_INT(after.file_bytes, before.file_bytes);
  CHECK_OK(session_close(s));
}

/* ---- in the middle of a merge of several slices ---- */

enum { MERGE_KEYS = 3000, MERGE_DEATHS = 6 };

/* The first keys get the same number, in one transaction. */
static void put_first(Session *s, int count, int64_t n) {
  char key[32];
  int64_t value[12] = { n }; /* the others: what nothing makes smaller */
  uint64_t random = (uint64_t)n;
  CHECK_OK(session_begin(s, true));
  for (int i = 0; i < count; i++) {
    for (int w = 1; w < 12; w++) value[w] = (int64_t)test_random(&random);
    snprintf(key, sizeof key, "key%05d", i);
    CHECK_OK(kv_put(s, FAMILY_DEFAULT_ID, (Bytes){ (const uint8_t *)key, strlen(key) },
                    (Bytes){ (const uint8_t *)value, sizeof value }, EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
  }
  CHECK_OK(session_commit(s));
}

static void put_everywhere(Session *s, int64_t n) { put_first(s, MERGE_KEYS, n); }

static int64_t number_everywhere(Session *s) {
  int64_t first = -1, n;
  for (int i = 0; i < MERGE_KEYS; i++) {
    char key[32];
    KvValue value;
    snprintf(key, sizeof key, "key%05d", i);
    CHECK_OK(kv_get(s, FAMILY_DEFAULT_ID, (Bytes){ (const uint8_t *)key, strlen(key) }, &value));
    memcpy(&n, value.data, sizeof n);
    memory_release(value.data);
    if (i == 0) first = n;
    CHECK_INT(n, first);
  }
  return first;
}

ROLE(merger) {
  Session *s = opened(path);
  armed = COUNTER_crash_compaction_between_slices;
  counter_hook_set(die_there);
  for (int64_t n = role_number(); n < role_number() + 100; n++) {
    put_everywhere(s, n);
    CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
    CHECK_OK(session_maintain(s));
  }
}

TEST(deaths, who_comes_after_a_merge_that_was_cut_off_merges_the_rest) {
  Session *s = opened(store_path()), *snapshot = NULL;
  uint64_t count;
  put_everywhere(s, 1);
  CHECK_OK(session_vacuum(s, 0));
  CHECK_OK(session_clone(s, &snapshot));
  CHECK_OK(session_begin(snapshot, false));
  for (int death = 1; death <= MERGE_DEATHS; death++) {
    Child merger = child_start_with("merger", store_path(), 0, death * 1000);
    child_was_killed(&merger);
    int64_t n = number_everywhere(s);
    CHECK(n >= death * 1000 && n < death * 1000 + 100);
    uint64_t merges = counter_get(COUNTER_compactions);
    CHECK_OK(session_maintain(s));
    CHECK(counter_get(COUNTER_compactions) > merges);
    CHECK_INT(number_everywhere(s), n);
    if (death % 2) put_everywhere(s, n + 500);
    CHECK_INT(number_everywhere(s), death % 2 ? n + 500 : n);
  }
  CHECK_INT(number_everywhere(snapshot), 1);
  CHECK_OK(session_close(snapshot));
  CHECK_OK(kv_count(s, FAMILY_DEFAULT_ID, &count));
  CHECK_INT(count, MERGE_KEYS);
  CHECK_OK(session_check(s, NULL));
  CHECK_OK(session_close(s));
  s = opened(store_path());
  number_everywhere(s);
  CHECK_OK(session_close(s));
}

/* ---- a heir that has not looked for long ---- */

enum { HEIR_ROUNDS = 4 };

/* Merges and moves everything, several times; and dies with maintenance in its hands, everything published. */
ROLE(mover) {
  Session *s = opened(path);
  for (int64_t n = 1; n <= HEIR_ROUNDS; n++) {
    put_everywhere(s, role_number() + n);
    CHECK_OK(session_vacuum(s, 0));
  }
  armed = COUNTER_crash_vacuum_before_cut;
  counter_hook_set(die_there);
  CHECK_OK(session_vacuum(s, 0));
}

/* A handle that reads a snapshot looks at nothing newer before it takes maintenance: what it would merge by what it
 * knows is long merged, and was given away. */
TEST(deaths, who_inherits_maintenance_works_on_what_the_dead_had_published) {
  Session *s = opened(store_path());
  put_everywhere(s, 1);
  CHECK_OK(session_vacuum(s, 0));
  put_first(s, MERGE_KEYS / 6, 1); /* which maintenance by call would merge */
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  CHECK_OK(session_begin(s, false));
  Child mover = child_start_with("mover", store_path(), 0, 100);
  child_was_killed(&mover);
  uint64_t merges = counter_get(COUNTER_compactions);
  CHECK_OK(session_maintain(s));
  CHECK_INT(counter_get(COUNTER_compactions), merges);
  CHECK_INT(number_everywhere(s), 1);
  CHECK_OK(session_rollback(s));
  CHECK_INT(number_everywhere(s), 100 + HEIR_ROUNDS);
  CHECK_OK(session_check(s, NULL));
  CHECK_OK(session_close(s));
  s = opened(store_path());
  CHECK_INT(number_everywhere(s), 100 + HEIR_ROUNDS);
  CHECK_OK(session_close(s));
}
