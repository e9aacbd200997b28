/* Processes that may not write: another user's file, a directory without the right to write. They follow whoever
 * writes, hold nothing back while they are idle, and leave nothing behind. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/counters.h"
#include "engine/engine.h"
#include "tests/model/numbers.h"
#include "tests/support/children.h"

enum { ROWS = 300 };

/* ---- the store ---- */

/* Its directory may be entered by all, and written by its owner alone. */
static const char *open_to_readers(void) {
  CHECK_INT(chmod(test_directory(), 0755), 0);
  return store_path();
}

static bool is_there(const char *path, const char *ending) {
  char name[640];
  struct stat st;
  snprintf(name, sizeof name, "%s%s", path, ending);
  return stat(name, &st) == 0;
}

static Session *opened(const char *path, bool read_only) {
  StoreOptions with = small_log_options();
  with.read_only = read_only;
  return opened_with(path, with);
}

/* The commit of `n`: the same number in a key and in every row. */
static void write_number(Session *s, int64_t n) {
  uint32_t table = amounts_table(s);
  (void)table; /* made by a commit of its own */
  CHECK_OK(session_begin(s, true));
  put_number(s, "n", n);
  upsert_amounts(s, 0, ROWS, n);
  CHECK_OK(session_commit(s));
}

/* The number of the table's rows, which all have the same. */
static int64_t table_number(Session *s) {
  uint64_t rows;
  int64_t sum;
  total_amounts(s, &rows, &sum);
  CHECK_INT(rows, ROWS);
  CHECK_INT(sum % ROWS, 0);
  return sum / ROWS;
}

static void check_writes_nothing(Session *s) {
  CHECK_STATUS(try_put_number(s, "n", 0), KVSTORE_READONLY);
  CHECK_STATUS(kv_delete(s, FAMILY_DEFAULT_ID, (Bytes){ (const uint8_t *)"n", 1 }), KVSTORE_READONLY);
  CHECK_STATUS(session_begin(s, true), KVSTORE_READONLY);
  CHECK_STATUS(session_maintain(s), KVSTORE_READONLY);
  CHECK_STATUS(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL), KVSTORE_READONLY);
}

/* ---- a reader beside a writer ---- */

/* Turn n: a commit of n has returned. */
ROLE(follower) {
  Session *s = opened(path, true);
  for (int64_t n = 1; next_turn(); n++) {
    CHECK_INT(get_number(s, "n"), n);
    CHECK_INT(table_number(s), n);
    check_writes_nothing(s);
    StoreInfo info;
    CHECK_OK(session_info(s, &info));
    turn_done();
  }
  CHECK_INT(counter_get(COUNTER_reader_attaches) > 0, role_number());
  CHECK_OK(session_close(s));
}

static void lead(Session *s, Child *child, int64_t rounds) {
  for (int64_t n = 1; n <= rounds; n++) {
    int64_t more = n % 8 == 0 ? 40 : 0; /* laps of the log between two looks */
    for (int64_t i = 0; i < more; i++) write_number(s, 1000000 + i);
    write_number(s, n);
    if (n % 5 == 0) CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
    turn(child);
  }
}

TEST_IN_BOTH_JOURNAL_MODES(readers, one_without_rights_sees_every_commit_at_once) {
  const char *path = open_to_readers();
  Session *s = opened(path, false);
  write_number(s, 0);
  CHECK_INT(chmod(path, 0444), 0);
  Child child = child_start_with("follower", path, CHILD_STRANGER, 1);
  lead(s, &child, (int64_t)test_scaled(150));
  child_finish(&child);
  CHECK_OK(session_close(s));
}

/* The log itself is looked at. */
TEST_IN_BOTH_JOURNAL_MODES(readers, one_that_may_not_read_the_page_sees_every_commit_at_once) {
  const char *path = open_to_readers();
  char page[640];
  snprintf(page, sizeof page, "%s-shm", path);
  Session *s = opened(path, false);
  write_number(s, 0);
  CHECK_INT(chmod(path, 0444), 0);
  CHECK_INT(chmod(page, 0), 0);
  Child child = child_start_with("follower", path, CHILD_STRANGER, 0);
  lead(s, &child, (int64_t)test_scaled(150));
  child_finish(&child);
  CHECK_OK(session_close(s));
}

/* ---- writers that come, go and die ---- */

/* One commit, then it ends as it is told: 0 closes, 1 dies, 2 settles and dies, 3 opens and dies. */
ROLE(writer) {
  int64_t n = role_number() / 4;
  Session *s = opened(path, false);
  CHECK_INT(get_number(s, "n"), n - 1);
  write_number(s, n);
  if (role_number() % 4 == 2) CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  if (role_number() % 4 == 0) CHECK_OK(session_close(s));
  turn_done();
  next_turn(); /* never comes */
}

static void let_write(const char *path, int64_t n, int how) {
  Child writer = child_start_with("writer", path, 0, n * 4 + how);
  wait_for_turn(&writer);
  child_kill(&writer);
}

static void need_two_users(const char *path) {
  if (geteuid() != 0) SKIP("writers and a reader of different rights take two users");
  CHECK_INT(chmod(path, 0644), 0);
}

TEST_IN_BOTH_JOURNAL_MODES(readers, one_follows_through_the_lives_and_deaths_of_writers) {
  const char *path = open_to_readers();
  Session *s = opened(path, false);
  write_number(s, 0);
  CHECK_OK(session_close(s));
  need_two_users(path);
  uint64_t random = 7, rounds = test_scaled(60);
  Child child = child_start_with("follower", path, CHILD_STRANGER, 1);
  for (uint64_t n = 1; n <= rounds; n++) {
    if (n == 1 || n % 3 == 0) { /* it looks while the writer lives */
      Child writer = child_start_with("writer", path, 0, (int64_t)n * 4 + 1);
      wait_for_turn(&writer);
      turn(&child);
      child_kill(&writer);
    } else {
      let_write(path, (int64_t)n, (int)test_random_below(&random, 3));
      turn(&child);
    }
  }
  child_finish(&child);
}

/* ---- who opens while nobody has it open ---- */

ROLE(visitor) {
  (void)role_number();
  bool page = is_there(path, "-shm"), log = is_there(path, "-wal");
  Session *s = opened(path, true);
  CHECK_INT(get_number(s, "n"), role_number());
  CHECK_INT(table_number(s), role_number());
  check_writes_nothing(s);
  CHECK_OK(session_close(s));
  CHECK_INT(is_there(path, "-shm"), page);
  CHECK_INT(is_there(path, "-wal"), log);
  CHECK(!next_turn());
}

static void visit(const char *path, int64_t n) {
  Child visitor = child_start_with("visitor", path, CHILD_STRANGER, n);
  child_finish(&visitor);
}

TEST(readers, one_reads_a_closed_store_in_a_directory_that_it_may_not_write) {
  const char *path = open_to_readers();
  Session *s = opened(path, false);
  write_number(s, 5);
  CHECK_OK(session_close(s));
  CHECK_INT(chmod(test_directory(), 0555), 0);
  visit(path, 5); /* may write the file where the caller is no superuser, and cannot make the page */
  CHECK_INT(chmod(path, 0444), 0);
  visit(path, 5);
  CHECK_INT(chmod(test_directory(), 0755), 0);
}

/* What makes a file longer is a full disk: so neither the page can be made, nor what a dead writer left be recovered.
 */
ROLE(visitor_of_a_full_disk) {
  const struct rlimit limit = { 4096, 4096 };
  signal(SIGXFSZ, SIG_IGN); /* whose default ends the process */
  CHECK_INT(setrlimit(RLIMIT_FSIZE, &limit), 0);
  Session *s = opened(path, true);
  CHECK_INT(get_number(s, "n"), role_number());
  CHECK_INT(table_number(s), role_number());
  CHECK_OK(session_close(s));
}

ROLE(dying_writer) {
  Session *s = opened(path, false);
  write_number(s, role_number());
  kill(getpid(), SIGKILL);
}

TEST(readers, one_reads_on_a_full_disk_what_a_dead_writer_left) {
  const char *path = open_to_readers();
  Session *s = opened(path, false);
  write_number(s, 5);
  CHECK_OK(session_close(s));
  Child visitor = child_start_with("visitor_of_a_full_disk", path, 0, 5);
  child_finish(&visitor);
  Child writer = child_start_with("dying_writer", path, 0, 6);
  child_was_killed(&writer);
  visitor = child_start_with("visitor_of_a_full_disk", path, 0, 6);
  child_finish(&visitor);
}

TEST(readers, one_may_write_the_file_and_not_make_the_page) {
  const char *path = open_to_readers();
  Session *s = opened(path, false);
  write_number(s, 6);
  CHECK_OK(session_close(s));
  CHECK_INT(chmod(path, 0666), 0);
  CHECK_INT(chmod(test_directory(), 0555), 0);
  visit(path, 6);
  CHECK_INT(chmod(test_directory(), 0755), 0);
}

TEST_IN_BOTH_JOURNAL_MODES(readers, one_reads_the_log_that_a_dead_writer_left) {
  const char *path = open_to_readers();
  Session *s = opened(path, false);
  write_number(s, 0);
  CHECK_OK(session_close(s));
  let_write(path, 1, 1);
  CHECK_INT(is_there(path, "-wal"), small_log_options().journal_mode == JOURNAL_WAL);
  CHECK_INT(chmod(path, 0444), 0);
  visit(path, 1);
}

ROLE(finds_nothing) {
  StoreOptions with = { .journal_mode = JOURNAL_WAL, .read_only = true };
  Session *s = (Session *)&with;
  CHECK_STATUS(session_open(path, &with, &s), KVSTORE_NOTFOUND);
  CHECK(s == NULL);
  CHECK(!is_there(path, "") && !is_there(path, "-wal") && !is_there(path, "-shm"));
}

TEST(readers, one_makes_nothing_where_nothing_is) {
  Child child = child_start_with("finds_nothing", open_to_readers(), CHILD_STRANGER, 0);
  child_finish(&child);
}

/* ---- who opens while others publish ---- */

ROLE(frequent_visitor) {
  int64_t last = 0;
  while (next_turn()) {
    for (int i = 0; i < 3; i++) {
      Session *s = opened(path, true);
      int64_t n = table_number(s);
      CHECK(n >= last);
      CHECK(get_number(s, "n") >= n);
      last = n;
      CHECK_OK(session_close(s));
    }
    turn_done();
  }
}

TEST(readers, one_that_opens_while_a_writer_publishes_sees_one_commit) {
  const char *path = open_to_readers();
  char page[640];
  snprintf(page, sizeof page, "%s-shm", path);
  Session *s = opened(path, false);
  write_number(s, 0);
  CHECK_INT(chmod(path, 0444), 0);
  Child visitors[2];
  visitors[0] = child_start_with("frequent_visitor", path, CHILD_STRANGER, 0);
  CHECK_INT(chmod(page, 0), 0); /* the second one reads superblocks and log */
  visitors[1] = child_start_with("frequent_visitor", path, CHILD_STRANGER, 0);
  int64_t rounds = (int64_t)test_scaled(60);
  for (int64_t n = 1; n <= rounds; n++) {
    give_turn(&visitors[0]);
    give_turn(&visitors[1]);
    for (int i = 0; i < 4; i++) {
      write_number(s, 4 * n + i);
      CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
    }
    wait_for_turn(&visitors[0]);
    wait_for_turn(&visitors[1]);
  }
  child_finish(&visitors[0]);
  child_finish(&visitors[1]);
  CHECK_OK(session_close(s));
}

/* ---- what a reader holds back ---- */

/* A turn each: takes a snapshot; reads it; lets it go. */
ROLE(holder) {
  Session *s = opened(path, true);
  CHECK(next_turn());
  CHECK_OK(session_begin(s, false));
  int64_t n = get_number(s, "n");
  turn_done();
  CHECK(next_turn());
  CHECK_INT(get_number(s, "n"), n);
  CHECK_INT(table_number(s), n);
  turn_done();
  CHECK(next_turn());
  CHECK_OK(session_commit(s));
  CHECK(get_number(s, "n") > n);
  turn_done();
  next_turn();
  CHECK_OK(session_close(s));
}

static uint64_t limbo_after_writing(Session *s, int64_t first) {
  StoreInfo info;
  for (int64_t n = first; n < first + 12; n++) {
    write_number(s, n);
    CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  }
  CHECK_OK(session_info(s, &info));
  return info.limbo_bytes;
}

TEST(readers, a_snapshot_keeps_what_it_reads_and_an_idle_reader_keeps_nothing) {
  const char *path = open_to_readers();
  Session *s = opened(path, false);
  uint64_t usual = limbo_after_writing(s, 1);
  CHECK_INT(chmod(path, 0444), 0);
  Child child = child_start_with("holder", path, CHILD_STRANGER, 0);
  turn(&child);
  uint64_t held = limbo_after_writing(s, 100);
  turn(&child);
  uint64_t still = limbo_after_writing(s, 200);
  turn(&child);
  uint64_t idle = limbo_after_writing(s, 300);
  CHECK(held > usual);
  CHECK(still > usual);
  CHECK(idle <= usual);
  child_finish(&child);
  CHECK_OK(session_close(s));
}

/* ---- threads of a reader ---- */

typedef struct Watcher {
  Session *s;
  _Atomic bool *over;
  uint64_t looks;
} Watcher;

static void *watch(void *context) {
  Watcher *w = context;
  int64_t last = 0;
  while (!atomic_load(w->over)) {
    int64_t n = table_number(w->s);
    CHECK(n >= last);
    last = n;
    CHECK(get_number(w->s, "n") >= last);
    w->looks++;
  }
  return NULL;
}

ROLE(watchers) {
  enum { THREADS = 3 };
  _Atomic bool over = false;
  pthread_t threads[THREADS];
  Watcher watchers[THREADS];
  Session *s = opened(path, true);
  for (int i = 0; i < THREADS; i++) {
    watchers[i] = (Watcher){ s, &over, 0 };
    CHECK_INT(pthread_create(&threads[i], NULL, watch, &watchers[i]), 0);
  }
  while (next_turn()) turn_done();
  atomic_store(&over, true);
  for (int i = 0; i < THREADS; i++) {
    CHECK_INT(pthread_join(threads[i], NULL), 0);
    CHECK(watchers[i].looks > 0);
  }
  CHECK_OK(session_close(s));
}

TEST(readers, many_threads_of_one_read_while_a_writer_comes_and_goes) {
  const char *path = open_to_readers();
  Session *s = opened(path, false);
  write_number(s, 0);
  CHECK_INT(chmod(path, 0644), 0);
  if (geteuid() != 0) SKIP("writers and a reader of different rights take two users");
  Child child = child_start_with("watchers", path, CHILD_STRANGER, 0);
  int64_t n = 0;
  uint64_t rounds = test_scaled(30);
  for (uint64_t round = 0; round < rounds; round++) {
    for (int i = 0; i < 8; i++) {
      write_number(s, ++n);
      if (i % 3 == 0) CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
    }
    CHECK_OK(session_close(s));
    turn(&child);
    s = opened(path, false);
  }
  CHECK_OK(session_close(s));
  child_finish(&child);
}
