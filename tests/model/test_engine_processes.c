/* Several processes on one file. A child is this program again with a role as its environment: it shares nothing with
 * the parent but the file, and a pipe each way for turns. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "query/query.h"
#include "tests/support/test.h"

typedef struct Child {
  pid_t process;
  int to, from; /* a byte to it is a turn; a byte from it says that the turn is done */
} Child;

typedef struct Role {
  const char *name;
  void (*play)(const char *path);
} Role;

/* ---- turns ---- */

enum { TURNS_IN = 198, TURNS_OUT = 199 };

/* In a child: waits for a turn; false when there are no more. */
static bool next_turn(void) {
  char c;
  return read(TURNS_IN, &c, 1) == 1;
}
static void turn_done(void) { CHECK_INT(write(TURNS_OUT, "d", 1), 1); }

static Child start(const char *role, const char *path) {
  int in[2], out[2];
  CHECK_INT(pipe(in), 0);
  CHECK_INT(pipe(out), 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    dup2(in[0], TURNS_IN);
    dup2(out[1], TURNS_OUT);
    for (int fd = 3; fd < TURNS_IN; fd++) close(fd);
    setenv("COLONNADE_TEST_ROLE", role, 1);
    setenv("COLONNADE_TEST_PATH", path, 1);
    execl("/proc/self/exe", "test_engine_processes", (char *)NULL);
    _exit(99);
  }
  close(in[0]);
  close(out[1]);
  return (Child){ child, in[1], out[0] };
}

static void give_turn(Child *c) { CHECK_INT(write(c->to, "t", 1), 1); }
static void wait_for_turn(Child *c) {
  char done;
  CHECK_INT(read(c->from, &done, 1), 1);
}
static void turn(Child *c) {
  give_turn(c);
  wait_for_turn(c);
}

static void finish(Child *c) {
  close(c->to);
  int how;
  CHECK_INT(waitpid(c->process, &how, 0), c->process);
  CHECK(WIFEXITED(how));
  CHECK_INT(WEXITSTATUS(how), 0);
  close(c->from);
}

static void murder(Child *c) {
  int how;
  CHECK_INT(kill(c->process, SIGKILL), 0);
  CHECK_INT(waitpid(c->process, &how, 0), c->process);
  close(c->to);
  close(c->from);
}

/* ---- the store ---- */

static const char *store_path(void) {
  static char path[600];
  snprintf(path, sizeof path, "%s/store", test_directory());
  return path;
}

static Session *opened(const char *path) {
  StoreOptions with = {
    .journal_mode = JOURNAL_WAL, .sync_level = SYNC_NORMAL, .busy_timeout_ms = 30000, .log_bytes = 64 << 10
  };
  Session *s = NULL;
  CHECK_OK(session_open(path, &with, &s));
  return s;
}

static void put_number(Session *s, const char *key, int64_t number) {
  CHECK_OK(kv_put(s, FAMILY_DEFAULT_ID, (Bytes){ (const uint8_t *)key, strlen(key) },
                  (Bytes){ (const uint8_t *)&number, sizeof number }, EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
}

/* -1: not there */
static int64_t get_number(Session *s, const char *key) {
  KvValue value;
  Status status = kv_get(s, FAMILY_DEFAULT_ID, (Bytes){ (const uint8_t *)key, strlen(key) }, &value);
  if (status == KVSTORE_NOTFOUND) return -1;
  CHECK_OK(status);
  int64_t number;
  CHECK_INT(value.length, sizeof number);
  memcpy(&number, value.data, sizeof number);
  memory_release(value.data);
  return number;
}

static uint32_t table_of(Session *s) {
  FamilyInfo info;
  if (family_find(s, "t", &info) == KVSTORE_OK) return info.id;
  Column columns[] = { { 0, TYPE_I64, 0, 0, (char *)"id" }, { 0, TYPE_I64, 0, 0, (char *)"amount" } };
  Schema schema = { .column_count = 2, .columns = columns, .key_count = 1, .key_columns = { 0 } };
  uint32_t id = 0;
  CHECK_OK(family_create(s, "t", FAMILY_TABLE, &schema, &id));
  return id;
}

static void upsert(Session *s, int64_t first, uint32_t count, int64_t amount) {
  int64_t *ids = memory_allocate(count * sizeof *ids), *amounts = memory_allocate(count * sizeof *amounts);
  for (uint32_t i = 0; i < count; i++) {
    ids[i] = first + i;
    amounts[i] = amount;
  }
  ColumnArray columns[] = { { ids, NULL }, { amounts, NULL } };
  ColumnBatch batch = { count, 2, columns, NULL };
  CHECK_OK(table_write(s, table_of(s), &batch, TABLE_UPSERT, NULL));
  memory_release(ids);
  memory_release(amounts);
}

static void totals(Session *s, uint64_t *rows, int64_t *sum) {
  TableSnapshot snapshot;
  Query *query;
  Arena arena = { 0 };
  AggregateResult results[2];
  CHECK_OK(table_snapshot(s, table_of(s), &snapshot));
  CHECK_OK(query_create(snapshot.schema, &query));
  CHECK_OK(query_aggregate(query, AGGREGATE_ROWS, NULL));
  CHECK_OK(query_aggregate(query, AGGREGATE_TOTAL, "amount"));
  CHECK_OK(query_run(query, &snapshot, &arena, results, NULL));
  *rows = results[0].value.u;
  *sum = (int64_t)results[1].integer.low;
  query_destroy(query);
  table_snapshot_release(&snapshot);
  arena_release(&arena);
}

/* ---- each reads at once what the others committed ---- */

enum { ECHO_ROUNDS = 400 };

/* Turn n: the other has written n; sees it in both families, and writes n + 1 to keys of its own. */
static void play_echo(const char *path) {
  Session *s = opened(path);
  for (int64_t n = 1; next_turn(); n++) {
    uint64_t rows;
    int64_t sum;
    CHECK_INT(get_number(s, "parent"), n);
    totals(s, &rows, &sum);
    CHECK_INT(rows, 10 * n);
    CHECK_INT(sum, 10 * n * n);
    put_number(s, "child", n + 1);
    turn_done();
  }
  CHECK_OK(session_close(s));
}

static void echo(const char *path, Child *child, Session *s, int64_t from, int64_t to) {
  (void)path;
  for (int64_t n = from; n <= to; n++) {
    CHECK_OK(session_begin(s, true));
    put_number(s, "parent", n);
    upsert(s, 0, (uint32_t)(10 * n), n); /* once it outgrows a record it is adopted */
    CHECK_OK(session_commit(s));
    if (n % 10 == 0) CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
    turn(child);
    CHECK_INT(get_number(s, "child"), n + 1);
  }
}

TEST(engine_processes, each_sees_at_once_what_the_other_committed) {
  const char *path = store_path();
  Session *s = opened(path);
  table_of(s);
  Child child = start("echo", path);
  echo(path, &child, s, 1, (int64_t)test_scaled(ECHO_ROUNDS));
  finish(&child);
  CHECK_OK(session_close(s));
}

/* ---- a counter of five processes ---- */

enum { COUNT_ROUNDS = 500, COUNTING = 5 };

static void play_count(const char *path) {
  Session *s = opened(path);
  CHECK(next_turn());
  uint64_t rounds = test_scaled(COUNT_ROUNDS);
  for (uint64_t i = 0; i < rounds; i++) {
    CHECK_OK(session_begin(s, true));
    int64_t n = get_number(s, "counter");
    put_number(s, "counter", n + 1);
    CHECK_OK(session_commit(s));
  }
  turn_done();
  CHECK_OK(session_close(s));
}

TEST(engine_processes, five_count_together_and_lose_nothing) {
  const char *path = store_path();
  Session *s = opened(path);
  put_number(s, "counter", 0);
  Child children[COUNTING];
  for (int i = 0; i < COUNTING; i++) children[i] = start("count", path);
  for (int i = 0; i < COUNTING; i++) give_turn(&children[i]);
  for (int i = 0; i < COUNTING; i++) wait_for_turn(&children[i]);
  CHECK_INT(get_number(s, "counter"), COUNTING * test_scaled(COUNT_ROUNDS));
  for (int i = 0; i < COUNTING; i++) finish(&children[i]);
  CHECK_INT(get_number(s, "counter"), COUNTING * test_scaled(COUNT_ROUNDS));
  CHECK_OK(session_close(s));
  s = opened(path);
  CHECK_INT(get_number(s, "counter"), COUNTING * test_scaled(COUNT_ROUNDS));
  CHECK_OK(session_close(s));
}

/* ---- who dies while writing ---- */

static void play_holder(const char *path) {
  Session *s = opened(path);
  CHECK(next_turn());
  CHECK_OK(session_begin(s, true));
  put_number(s, "victim", 1);
  upsert(s, 0, 3000, 7); /* adopted runs in reserved extents */
  turn_done();
  next_turn(); /* never comes */
}

static uint64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* The dead are seen within 50 ms; the bound, far below the busy timeout, leaves room for a machine that is busy with
 * others. */
TEST(engine_processes, the_others_go_on_soon_after_a_writers_death) {
  enum { SOON_MS = 10000 };
  const char *path = store_path();
  Session *s = opened(path);
  put_number(s, "survivor", 0);
  upsert(s, 0, 10, 1);
  for (int64_t i = 1; i <= 3; i++) {
    Child child = start("holder", path);
    turn(&child);
    CHECK_INT(get_number(s, "victim"), -1); /* readers never wait */
    murder(&child);
    uint64_t before = now_ms(), rows;
    int64_t sum;
    put_number(s, "survivor", i);
    CHECK(now_ms() - before < SOON_MS);
    CHECK_INT(get_number(s, "victim"), -1);
    totals(s, &rows, &sum);
    CHECK_INT(rows, 10);
    CHECK_INT(sum, 10);
    CHECK_INT(get_number(s, "survivor"), i);
  }
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  char *why = NULL;
  CHECK_OK(session_check(s, &why));
  CHECK_OK(session_close(s));
}

/* ---- who dies with an iterator ---- */

static void play_walker(const char *path) {
  Session *s = opened(path);
  KvIterator *it;
  CHECK(next_turn());
  CHECK_OK(kv_iterator_create(s, FAMILY_DEFAULT_ID, (Bytes){ 0 }, false, &it));
  CHECK(counter_get(COUNTER_holds_by_slot) == 1);
  turn_done();
  next_turn();
  CHECK_OK(kv_iterator_first(it)); /* what others have freed since is still there for it */
  CHECK(!kv_iterator_eof(it));
  turn_done();
  next_turn(); /* never comes */
}

static uint64_t limbo_after_rounds(Session *s) {
  StoreInfo info;
  for (int i = 0; i < 4; i++) {
    put_number(s, "rewritten", i);
    CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  }
  CHECK_OK(session_info(s, &info));
  return info.limbo_bytes;
}

TEST(engine_processes, an_iterator_keeps_its_generation_until_its_process_dies) {
  Session *s = opened(store_path());
  put_number(s, "rewritten", 0);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  uint64_t alone = limbo_after_rounds(s);
  Child child = start("walker", store_path());
  turn(&child);
  uint64_t held = limbo_after_rounds(s);
  CHECK(held > alone);
  turn(&child);
  murder(&child);
  CHECK_INT(limbo_after_rounds(s), alone);
  CHECK_OK(session_close(s));
}

/* ---- who opens while others flush ---- */

/* Opens, looks, closes; the totals are always those of one commit. */
static void play_visitor(const char *path) {
  int64_t last = 0;
  while (next_turn()) {
    Session *s = opened(path);
    uint64_t rows;
    int64_t sum;
    totals(s, &rows, &sum);
    CHECK_INT(rows, 1000);
    CHECK_INT(sum % 1000, 0);
    CHECK(sum / 1000 >= last);
    last = sum / 1000;
    CHECK_OK(session_close(s));
    turn_done();
  }
}

TEST(engine_processes, who_opens_while_another_flushes_sees_one_commit) {
  const char *path = store_path();
  Session *s = opened(path);
  upsert(s, 0, 1000, 0);
  Child visitors[2] = { start("visitor", path), start("visitor", path) };
  uint64_t rounds = test_scaled(60);
  for (uint64_t i = 1; i <= rounds; i++) {
    give_turn(&visitors[0]);
    give_turn(&visitors[1]);
    for (int n = 0; n < 5; n++) {
      upsert(s, 0, 1000, (int64_t)(i * 5) + n);
      CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
    }
    wait_for_turn(&visitors[0]);
    wait_for_turn(&visitors[1]);
  }
  finish(&visitors[0]);
  finish(&visitors[1]);
  CHECK_OK(session_close(s));
}

/* ---- who opens while the only other process dies ---- */

static void play_last_words(const char *path) {
  Session *s = opened(path);
  CHECK(next_turn());
  turn_done();
  CHECK(next_turn());
  put_number(s, "last words", 1);
  turn_done();
  next_turn(); /* never comes */
}

/* The system, but for what happens before the n-th try at being alone with the store. */
static OsMethods hooked_methods, hooked_file_methods;
static int alone_tries, hooked_try;
static void (*hook)(void);

static Status lock_hooked(OsFile *file, uint64_t offset, uint64_t length, OsLock kind) {
  if (offset == UINT64_C(1) << 62 && kind == OS_LOCK_EXCLUSIVE && ++alone_tries == hooked_try) hook();
  return os_posix()->methods->lock(file, offset, length, kind);
}

static Status open_hooked(Os *os, const char *path, int flags, OsFile **file) {
  (void)os;
  TRY(os_open(os_posix(), path, flags, file));
  hooked_file_methods = *(*file)->methods;
  hooked_file_methods.lock = lock_hooked;
  (*file)->methods = &hooked_file_methods;
  return KVSTORE_OK;
}

static Session *open_with_hook(const char *path, int at_try, void (*what)(void)) {
  hooked_methods = *os_posix()->methods;
  hooked_methods.open = open_hooked;
  static Os os = { &hooked_methods };
  StoreOptions with = { .os = &os, .journal_mode = JOURNAL_WAL, .sync_level = SYNC_NORMAL };
  Session *s = NULL;
  hooked_try = at_try;
  hook = what;
  CHECK_OK(session_open(path, &with, &s));
  CHECK(alone_tries >= at_try);
  return s;
}

static Child dying;
static void let_it_write_and_die(void) {
  turn(&dying);
  murder(&dying);
}

TEST(engine_processes, who_opens_while_the_first_writer_dies_keeps_its_log) {
  const char *path = store_path();
  dying = start("last_words", path);
  turn(&dying); /* it has the store open, and no log yet */
  Session *s = open_with_hook(path, 2, let_it_write_and_die);
  CHECK_INT(get_number(s, "last words"), 1);
  CHECK_OK(session_close(s));
}

static char *renamed_from, *renamed_to;
static void rename_over(void) { CHECK_INT(rename(renamed_from, renamed_to), 0); }

TEST(engine_processes, a_file_renamed_over_a_store_that_is_being_opened_is_what_opens) {
  char path[620], other[640];
  snprintf(path, sizeof path, "%s", store_path());
  snprintf(other, sizeof other, "%s-other", path);
  Session *s = opened(path);
  put_number(s, "which", 1);
  CHECK_OK(session_close(s));
  s = opened(other);
  put_number(s, "which", 2);
  CHECK_OK(session_close(s));
  renamed_from = other;
  renamed_to = path;
  s = open_with_hook(path, 1, rename_over);
  CHECK_INT(get_number(s, "which"), 2);
  put_number(s, "written", 3);
  CHECK_OK(session_close(s));
  s = opened(path);
  CHECK_INT(get_number(s, "which"), 2);
  CHECK_INT(get_number(s, "written"), 3);
  CHECK_OK(session_close(s));
}

/* ---- two who flush ---- */

/* Writes rows of its own and settles them, as the parent does: maintenance goes to and fro. */
static void write_and_settle(Session *s, int64_t first, uint64_t rounds) {
  for (uint64_t i = 1; i <= rounds; i++) {
    upsert(s, first, 500, (int64_t)i);
    char key[32];
    snprintf(key, sizeof key, "%lld/%llu", (long long)first, (unsigned long long)i);
    put_number(s, key, (int64_t)i);
    if (i % 3 == 0) {
      Status status = session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL);
      CHECK_OK(status);
    }
  }
}

static void play_flusher(const char *path) {
  Session *s = opened(path);
  CHECK(next_turn());
  write_and_settle(s, 10000, test_scaled(200));
  turn_done();
  CHECK(!next_turn());
  CHECK_OK(session_close(s));
}

TEST(engine_processes, two_flush_and_compact_by_turns) {
  const char *path = store_path();
  Session *s = opened(path);
  upsert(s, 0, 500, 0);
  Child child = start("flusher", path);
  uint64_t rounds = test_scaled(200), rows;
  int64_t sum;
  give_turn(&child);
  write_and_settle(s, 0, rounds);
  wait_for_turn(&child);
  totals(s, &rows, &sum);
  CHECK_INT(rows, 1000);
  CHECK_INT(sum, 1000 * (int64_t)rounds);
  uint64_t count;
  CHECK_OK(kv_count(s, FAMILY_DEFAULT_ID, &count));
  CHECK_INT(count, 2 * rounds);
  char *why = NULL;
  CHECK_OK(session_check(s, &why));
  finish(&child);
  CHECK_OK(session_close(s));
  s = opened(path);
  totals(s, &rows, &sum);
  CHECK_INT(rows, 1000);
  CHECK_INT(sum, 1000 * (int64_t)rounds);
  CHECK_OK(session_close(s));
}

/* ---- the roles ---- */

static const Role roles[] = {
  { "echo", play_echo },       { "count", play_count },           { "holder", play_holder },
  { "visitor", play_visitor }, { "last_words", play_last_words }, { "flusher", play_flusher },
  { "walker", play_walker }
};

/* Before main: a child never becomes a test program. */
__attribute__((constructor)) static void play_role(void) {
  const char *name = getenv("COLONNADE_TEST_ROLE"), *path = getenv("COLONNADE_TEST_PATH");
  if (!name || !path) return;
  for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
    if (strcmp(name, roles[i].name) != 0) continue;
    roles[i].play(path);
    _exit(0);
  }
  _exit(98);
}
