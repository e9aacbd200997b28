/* Several processes on one file. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/counters.h"
#include "engine/engine.h"
#include "tests/model/numbers.h"
#include "tests/support/children.h"

static Session *opened(const char *path) { return opened_with(path, small_log_options()); }

/* ---- each reads at once what the others committed ---- */

enum { ECHO_ROUNDS = 400 };

/* Turn n: the other has written n; sees it in both families, and writes n + 1 to keys of its own. */
ROLE(echo) {
  Session *s = opened(path);
  for (int64_t n = 1; next_turn(); n++) {
    uint64_t rows;
    int64_t sum;
    CHECK_INT(get_number(s, "parent"), n);
    total_amounts(s, &rows, &sum);
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
    upsert_amounts(s, 0, (uint32_t)(10 * n), n); /* once it outgrows a record it is adopted */
    CHECK_OK(session_commit(s));
    if (n % 10 == 0) CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
    turn(child);
    CHECK_INT(get_number(s, "child"), n + 1);
  }
}

TEST_IN_BOTH_JOURNAL_MODES(engine_processes, each_sees_at_once_what_the_other_committed) {
  const char *path = store_path();
  Session *s = opened(path);
  amounts_table(s);
  Child child = child_start("echo", path);
  echo(path, &child, s, 1, (int64_t)test_scaled(ECHO_ROUNDS));
  child_finish(&child);
  CHECK_OK(session_close(s));
}

/* ---- a counter of five processes ---- */

enum { COUNT_ROUNDS = 500, COUNTING = 5 };

ROLE(count) {
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
  for (int i = 0; i < COUNTING; i++) children[i] = child_start("count", path);
  turn_together(children, COUNTING);
  CHECK_INT(get_number(s, "counter"), COUNTING * test_scaled(COUNT_ROUNDS));
  children_finish(children, COUNTING);
  CHECK_INT(get_number(s, "counter"), COUNTING * test_scaled(COUNT_ROUNDS));
  CHECK_OK(session_close(s));
  s = opened(path);
  CHECK_INT(get_number(s, "counter"), COUNTING * test_scaled(COUNT_ROUNDS));
  CHECK_OK(session_close(s));
}

/* ---- who dies while writing ---- */

ROLE(holder) {
  Session *s = opened(path);
  CHECK(next_turn());
  CHECK_OK(session_begin(s, true));
  put_number(s, "victim", 1);
  upsert_amounts(s, 0, 3000, 7); /* adopted runs in reserved extents */
  turn_done();
  next_turn(); /* never comes */
}

/* The dead are seen within 50 ms; the bound, far below the busy timeout, leaves room for a machine that is busy with
 * others. */
TEST(engine_processes, the_others_go_on_soon_after_a_writers_death) {
  enum { SOON_MS = 10000 };
  const char *path = store_path();
  Session *s = opened(path);
  put_number(s, "survivor", 0);
  upsert_amounts(s, 0, 10, 1);
  for (int64_t i = 1; i <= 3; i++) {
    Child child = child_start("holder", path);
    turn(&child);
    CHECK_INT(get_number(s, "victim"), -1); /* readers never wait */
    child_kill(&child);
    uint64_t before = test_now_ms(), rows;
    int64_t sum;
    put_number(s, "survivor", i);
    CHECK(test_now_ms() - before < SOON_MS);
    CHECK_INT(get_number(s, "victim"), -1);
    total_amounts(s, &rows, &sum);
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

ROLE(walker) {
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
  Child child = child_start("walker", store_path());
  turn(&child);
  uint64_t held = limbo_after_rounds(s);
  CHECK(held > alone);
  turn(&child);
  child_kill(&child);
  CHECK_INT(limbo_after_rounds(s), alone);
  CHECK_OK(session_close(s));
}

/* ---- who opens while others flush ---- */

/* Opens, looks, closes; the totals are always those of one commit. */
ROLE(visitor) {
  int64_t last = 0;
  while (next_turn()) {
    Session *s = opened(path);
    uint64_t rows;
    int64_t sum;
    total_amounts(s, &rows, &sum);
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
  upsert_amounts(s, 0, 1000, 0);
  Child visitors[2] = { child_start("visitor", path), child_start("visitor", path) };
  uint64_t rounds = test_scaled(60);
  for (uint64_t i = 1; i <= rounds; i++) {
    give_turn(&visitors[0]);
    give_turn(&visitors[1]);
    for (int n = 0; n < 5; n++) {
      upsert_amounts(s, 0, 1000, (int64_t)(i * 5) + n);
      CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
    }
    wait_for_turn(&visitors[0]);
    wait_for_turn(&visitors[1]);
  }
  child_finish(&visitors[0]);
  child_finish(&visitors[1]);
  CHECK_OK(session_close(s));
}

/* ---- who opens while the only other process dies ---- */

ROLE(last_words) {
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
  child_kill(&dying);
}

TEST_IN_BOTH_JOURNAL_MODES(engine_processes, who_opens_while_the_first_writer_dies_keeps_its_log) {
  const char *path = store_path();
  dying = child_start("last_words", path);
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
    upsert_amounts(s, first, 500, (int64_t)i);
    char key[32];
    snprintf(key, sizeof key, "%lld/%llu", (long long)first, (unsigned long long)i);
    put_number(s, key, (int64_t)i);
    if (i % 3 == 0) {
      Status status = session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL);
      CHECK_OK(status);
    }
  }
}

ROLE(flusher) {
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
  upsert_amounts(s, 0, 500, 0);
  Child child = child_start("flusher", path);
  uint64_t rounds = test_scaled(200), rows;
  int64_t sum;
  give_turn(&child);
  write_and_settle(s, 0, rounds);
  wait_for_turn(&child);
  total_amounts(s, &rows, &sum);
  CHECK_INT(rows, 1000);
  CHECK_INT(sum, 1000 * (int64_t)rounds);
  uint64_t count;
  CHECK_OK(kv_count(s, FAMILY_DEFAULT_ID, &count));
  CHECK_INT(count, 2 * rounds);
  char *why = NULL;
  CHECK_OK(session_check(s, &why));
  child_finish(&child);
  CHECK_OK(session_close(s));
  s = opened(path);
  total_amounts(s, &rows, &sum);
  CHECK_INT(rows, 1000);
  CHECK_INT(sum, 1000 * (int64_t)rounds);
  CHECK_OK(session_close(s));
}

/* ---- who cuts the log ---- */

ROLE(writer_of_one) {
  Session *s = opened(path);
  while (next_turn()) {
    put_number(s, "child", get_number(s, "parent"));
    upsert_amounts(s, 0, 10, get_number(s, "parent"));
    turn_done();
  }
  CHECK_OK(session_close(s));
}

static void check_totals(Session *s, uint64_t expected_rows, int64_t expected_sum) {
  uint64_t rows;
  int64_t sum;
  total_amounts(s, &rows, &sum);
  CHECK_INT(rows, expected_rows);
  CHECK_INT(sum, expected_sum);
}

/* By turns each writes and cuts the log under the other, which has applied all, some or nothing of it. */
TEST_IN_BOTH_JOURNAL_MODES(engine_processes, a_log_that_is_cut_under_others_is_followed_by_the_next) {
  const char *path = store_path();
  Session *s = opened(path);
  amounts_table(s);
  Child busy = child_start("writer_of_one", path), idle = child_start("writer_of_one", path);
  for (int64_t n = 1; n <= (int64_t)test_scaled(60); n++) {
    put_number(s, "parent", n);
    CHECK_OK(session_checkpoint(s, CHECKPOINT_TRUNCATE, NULL, NULL));
    if (n % 3) put_number(s, "parent", n + 1000);
    turn(n % 7 ? &busy : &idle);
    if (n % 4 == 0) CHECK_OK(session_checkpoint(s, CHECKPOINT_TRUNCATE, NULL, NULL));
    CHECK_INT(get_number(s, "child"), n % 3 ? n + 1000 : n);
    check_totals(s, 10, 10 * (n % 3 ? n + 1000 : n));
  }
  child_finish(&busy);
  child_finish(&idle);
  char *why = NULL;
  CHECK_OK(session_check(s, &why));
  CHECK_OK(session_close(s));
}

enum { CUT_ROUNDS = 50 };

ROLE(cutter) {
  Session *s = opened(path);
  CHECK(next_turn());
  uint64_t rounds = test_scaled(CUT_ROUNDS);
  for (uint64_t i = 0; i < rounds; i++) {
    CHECK_OK(session_begin(s, true));
    put_number(s, "counter", get_number(s, "counter") + 1);
    CHECK_OK(session_commit(s));
    if (i % 5 == 0) CHECK_OK(session_checkpoint(s, CHECKPOINT_TRUNCATE, NULL, NULL));
  }
  turn_done();
  CHECK_OK(session_close(s));
}

TEST_IN_BOTH_JOURNAL_MODES(engine_processes, nothing_is_lost_while_several_cut_the_log) {
  const char *path = store_path();
  Session *s = opened(path);
  put_number(s, "counter", 0);
  Child children[3] = { child_start("cutter", path), child_start("cutter", path), child_start("count", path) };
  turn_together(children, 3);
  CHECK_INT(get_number(s, "counter"), 2 * test_scaled(CUT_ROUNDS) + test_scaled(COUNT_ROUNDS));
  children_finish(children, 3);
  CHECK_OK(session_close(s));
  s = opened(path);
  CHECK_INT(get_number(s, "counter"), 2 * test_scaled(CUT_ROUNDS) + test_scaled(COUNT_ROUNDS));
  CHECK_OK(session_close(s));
}

/* Who never looked at the log that another process made must not throw it away. */
TEST_IN_BOTH_JOURNAL_MODES(engine_processes, the_last_close_settles_a_log_that_it_never_read) {
  const char *path = store_path();
  Session *s = opened(path);
  Child child = child_start("last_words", path);
  turn(&child);
  turn(&child); /* it writes */
  child_kill(&child);
  CHECK_OK(session_close(s));
  s = opened(path);
  CHECK_INT(get_number(s, "last words"), 1);
  CHECK_OK(session_close(s));
}

static void die_at_point(Counter which, uint64_t hits) {
  (void)hits;
  if (strcmp(counter_name(which), getenv("COLONNADE_TEST_POINT")) == 0) kill(getpid(), SIGKILL);
}

ROLE(dying_cutter) {
  Session *s = opened(path);
  CHECK(next_turn());
  put_number(s, "child", 1);
  counter_hook_set(die_at_point);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_TRUNCATE, NULL, NULL));
  _exit(97); /* it should be dead */
}

TEST_IN_BOTH_JOURNAL_MODES(engine_processes, a_log_half_cut_by_who_died_is_made_anew) {
  static const char *const points[] = { "crash_truncate_before_names", "crash_truncate_before_cut",
                                        "crash_truncate_after_cut" };
  const char *path = store_path();
  Session *s = opened(path);
  for (int64_t i = 0; i < 3; i++) {
    put_number(s, "parent", i);
    setenv("COLONNADE_TEST_POINT", points[i], 1);
    Child child = child_start("dying_cutter", path);
    give_turn(&child);
    child_was_killed(&child);
    CHECK_INT(get_number(s, "child"), 1);
    CHECK_INT(get_number(s, "parent"), i);
    put_number(s, "child", 2);
    CHECK_INT(get_number(s, "child"), 2);
  }
  CHECK_OK(session_close(s));
  s = opened(path);
  CHECK_INT(get_number(s, "child"), 2);
  CHECK_OK(session_close(s));
}

ROLE(dying_maker) {
  Session *s = opened(path);
  CHECK(next_turn());
  counter_hook_set(die_at_point);
  put_number(s, "child", 1);
  _exit(97); /* it should be dead */
}

/* What it took of the file is free again: the next one lies there. */
TEST(engine_processes, a_log_inside_the_file_half_made_by_who_died_is_made_anew) {
  static const char *const points[] = { "crash_ring_before_names", "crash_superblocks_between" };
  const char *path = store_path();
  use_journal_mode(JOURNAL_DELETE);
  for (int64_t i = 0; i < 2; i++) {
    Session *s = opened(path);
    StoreInfo before, after;
    put_number(s, "parent", i);
    CHECK_OK(session_info(s, &before));
    CHECK_OK(session_checkpoint(s, CHECKPOINT_TRUNCATE, NULL, NULL));
    setenv("COLONNADE_TEST_POINT", points[i], 1);
    Child child = child_start("dying_maker", path);
    give_turn(&child);
    child_was_killed(&child);
    put_number(s, "parent", i + 1);
    CHECK_OK(session_info(s, &after));
    CHECK(after.file_bytes < before.file_bytes + before.log_bytes);
    CHECK_OK(session_close(s));
    s = opened(path);
    CHECK_INT(get_number(s, "parent"), i + 1);
    CHECK_INT(get_number(s, "child"), -1);
    CHECK_OK(session_check(s, NULL));
    CHECK_OK(session_close(s));
  }
}

/* ---- who shrinks the file under others ---- */

/* Overwrites and reads rows of its own while the file is moved and cut under it. */
ROLE(overwriter) {
  Session *s = opened(path);
  CHECK(next_turn());
  uint64_t rounds = test_scaled(60), rows;
  int64_t sum;
  for (uint64_t i = 1; i <= rounds; i++) {
    upsert_amounts(s, 0, 1000, (int64_t)i);
    total_amounts(s, &rows, &sum);
    CHECK_INT(rows, 1000);
    CHECK_INT(sum, 1000 * (int64_t)i);
    put_number(s, "child", (int64_t)i);
    CHECK_INT(get_number(s, "child"), (int64_t)i);
    CHECK_INT(get_number(s, "old"), 7);
    if (i % 4 == 0) CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  }
  turn_done();
  CHECK(!next_turn());
  CHECK_OK(session_close(s));
}

TEST_IN_BOTH_JOURNAL_MODES(engine_processes, a_file_that_is_shrunk_under_another_process_serves_it_all_the_same) {
  const char *path = store_path();
  Session *s = opened(path);
  put_number(s, "old", 7);
  upsert_amounts(s, 0, 1000, 0);
  Child child = child_start("overwriter", path);
  give_turn(&child);
  uint64_t moved = counter_get(COUNTER_extents_moved);
  for (uint64_t i = 0; i < test_scaled(60); i++) {
    CHECK_OK(session_vacuum(s, i % 2 ? 0 : 3));
    CHECK_INT(get_number(s, "old"), 7);
  }
  wait_for_turn(&child);
  CHECK_OK(session_vacuum(s, 0));
  CHECK(counter_get(COUNTER_extents_moved) > moved);
  check_totals(s, 1000, 1000 * (int64_t)test_scaled(60));
  char *why = NULL;
  CHECK_OK(session_check(s, &why));
  child_finish(&child);
  CHECK_OK(session_close(s));
}

/* ---- opening while the last one leaves ---- */

enum { PASSERS = 3, PASSES = 200 };

/* A turn: in and out again, many times. Two who wait for each other end with a failed open. */
ROLE(passer) {
  while (next_turn()) {
    for (uint64_t i = 0; i < test_scaled(PASSES); i++) {
      Session *s = opened(path);
      CHECK_OK(session_close(s));
    }
    turn_done();
  }
}

TEST(engine_processes, those_who_open_as_the_last_one_leaves_do_not_wait_for_each_other) {
  Child children[PASSERS];
  CHECK_OK(session_close(opened(store_path())));
  for (int i = 0; i < PASSERS; i++) children[i] = child_start("passer", store_path());
  turn_together(children, PASSERS);
  children_finish(children, PASSERS);
}
