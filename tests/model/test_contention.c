/* Who waits for whom: busy timeouts, waking, and that readers wait for nobody. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "engine/engine.h"
#include "tests/model/numbers.h"
#include "tests/support/children.h"

static StoreOptions options(uint32_t busy_timeout_ms) {
  StoreOptions with = small_log_options();
  with.busy_timeout_ms = busy_timeout_ms;
  return with;
}

static Session *opened(const char *path, uint32_t busy_timeout_ms) {
  return opened_with(path, options(busy_timeout_ms));
}

static int64_t now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* The CPU time of this thread. */
static int64_t cpu_us(void) {
  struct rusage used;
  CHECK_INT(getrusage(RUSAGE_THREAD, &used), 0);
  return (int64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000 + used.ru_utime.tv_usec +
         used.ru_stime.tv_usec;
}

/* A turn: takes the write lock. The next one: says when, and gives it back. */
ROLE(holder) {
  Session *s = opened(path, 30000);
  while (next_turn()) {
    CHECK_OK(session_begin(s, true));
    turn_done();
    if (!next_turn()) break;
    put_number(s, "released", now_us());
    CHECK_OK(session_commit(s));
    turn_done();
  }
  CHECK_OK(session_close(s));
}

/* ---- timeouts ---- */

TEST(contention, a_busy_timeout_of_0_fails_at_once) {
  enum { TRIES = 20, AT_ONCE_US = 20000 };
  Session *s = opened(store_path(), 0);
  put_number(s, "a", 1);
  Child holder = child_start("holder", store_path());
  turn(&holder);
  int64_t least = INT64_MAX;
  for (int i = 0; i < TRIES; i++) {
    int64_t before = now_us();
    CHECK_STATUS(try_put_number(s, "a", 2), KVSTORE_BUSY);
    CHECK_STATUS(session_begin(s, true), KVSTORE_BUSY);
    int64_t took = now_us() - before;
    if (took < least) least = took;
    CHECK_INT(get_number(s, "a"), 1); /* reads have nobody to wait for */
  }
  CHECK(least < AT_ONCE_US);
  turn(&holder);
  put_number(s, "a", 2);
  child_finish(&holder);
  CHECK_OK(session_close(s));
}

TEST(contention, a_busy_timeout_is_waited_for_asleep) {
  enum { TIMEOUT_MS = 400, CPU_US_MAX = 30000 };
  Session *s = opened(store_path(), TIMEOUT_MS);
  put_number(s, "a", 1);
  Child holder = child_start("holder", store_path());
  turn(&holder);
  int64_t least_cpu = INT64_MAX;
  for (int i = 0; i < 3; i++) {
    int64_t before = now_us(), cpu_before = cpu_us();
    CHECK_STATUS(try_put_number(s, "a", 2), KVSTORE_BUSY);
    CHECK(now_us() - before >= TIMEOUT_MS * 1000);
    int64_t cpu = cpu_us() - cpu_before;
    if (cpu < least_cpu) least_cpu = cpu;
  }
  CHECK(least_cpu < CPU_US_MAX);
  turn(&holder);
  child_finish(&holder);
  CHECK_OK(session_close(s));
}

/* ---- waking ---- */

static _Atomic pid_t waiter_id;

static void *put_waiting(void *context) {
  atomic_store(&waiter_id, gettid());
  put_number(context, "waiter", 1);
  return (void *)(intptr_t)now_us();
}

/* As the system tells of the thread: its state is the letter behind its name. */
static bool waiter_sleeps(void) {
  char path[64], line[256] = "";
  snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)atomic_load(&waiter_id));
  FILE *f = fopen(path, "r");
  if (!f) return false;
  const char *read_line = fgets(line, sizeof line, f);
  fclose(f);
  const char *name_end = read_line ? strrchr(line, ')') : NULL;
  return name_end && name_end[1] == ' ' && name_end[2] == 'S';
}

static int by_value(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

/* Who looked again after 50 ms would find it some 50 ms later, since the writer ends when the waiter has just fallen
 * asleep; a machine that is busy with others delays some of the wakings, so a quarter of them counts. */
TEST(contention, a_waiter_wakes_when_the_writer_ends) {
  enum { ROUNDS = 24, PROMPT_US = 15000 };
  Session *s = opened(store_path(), 30000);
  put_number(s, "a", 1);
  Child holder = child_start("holder", store_path());
  int64_t latency[ROUNDS];
  for (int i = 0; i < ROUNDS; i++) {
    turn(&holder);
    atomic_store(&waiter_id, 0);
    pthread_t waiter;
    void *woke;
    CHECK_INT(pthread_create(&waiter, NULL, put_waiting, s), 0);
    while (!waiter_sleeps()) sched_yield();
    turn(&holder);
    CHECK_INT(pthread_join(waiter, &woke), 0);
    latency[i] = (intptr_t)woke - get_number(s, "released");
    CHECK(latency[i] > 0);
  }
  qsort(latency, ROUNDS, sizeof *latency, by_value);
  CHECK(latency[ROUNDS / 4] < PROMPT_US);
  child_finish(&holder);
  CHECK_OK(session_close(s));
}

/* ---- readers ---- */

static void check_reads(Session *s, int64_t expected) {
  for (int i = 0; i < 200; i++) CHECK_INT(get_number(s, "a"), expected);
  KvIterator *it = NULL;
  uint64_t count;
  CHECK_OK(kv_count(s, FAMILY_DEFAULT_ID, &count));
  CHECK_OK(kv_iterator_create(s, FAMILY_DEFAULT_ID, (Bytes){ 0 }, false, &it));
  CHECK_OK(kv_iterator_first(it));
  for (; !kv_iterator_eof(it); count--) CHECK_OK(kv_iterator_next(it));
  CHECK_INT(count, 0);
  kv_iterator_destroy(it);
  CHECK_OK(session_begin(s, false));
  CHECK_INT(get_number(s, "a"), expected);
  CHECK_OK(session_commit(s));
}

TEST(contention, readers_go_on_while_a_writer_holds_its_transaction) {
  Session *s = opened(store_path(), 0);
  put_number(s, "a", 7);
  Child holder = child_start("holder", store_path());
  turn(&holder);
  check_reads(s, 7);
  turn(&holder);
  child_finish(&holder);
  CHECK_OK(session_close(s));
}

/* The system, but that each sync of the store's file waits for a turn: a flush that is in no hurry. */
static OsMethods slow_methods, slow_file_methods;
static bool slow;

static Status sync_slowly(OsFile *file) {
  if (slow) {
    turn_done();
    if (!next_turn()) slow = false;
  }
  return os_posix()->methods->sync(file);
}

static Status open_slow(Os *os, const char *path, int flags, OsFile **file) {
  (void)os;
  TRY(os_open(os_posix(), path, flags, file));
  if (strstr(path, "-wal") || strstr(path, "-shm")) return KVSTORE_OK;
  slow_file_methods = *(*file)->methods;
  slow_file_methods.sync = sync_slowly;
  (*file)->methods = &slow_file_methods;
  return KVSTORE_OK;
}

ROLE(slow_flusher) {
  static Os os = { &slow_methods };
  slow_methods = *os_posix()->methods;
  slow_methods.open = open_slow;
  StoreOptions with = options(30000);
  with.os = &os;
  with.no_background = true;
  Session *s = NULL;
  CHECK_OK(session_open(path, &with, &s));
  CHECK(next_turn());
  slow = true;
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  slow = false;
  CHECK_OK(session_close(s));
}

TEST(contention, readers_and_writers_go_on_while_another_process_flushes) {
  Session *s = opened(store_path(), 0);
  put_number(s, "a", 0);
  Child flusher = child_start("slow_flusher", store_path());
  for (int64_t n = 1; n <= 2; n++) {
    turn(&flusher); /* it stands in a sync of its flush, and then in the next one */
    check_reads(s, n - 1);
    put_number(s, "a", n);
    check_reads(s, n);
  }
  child_finish(&flusher);
  check_reads(s, 2);
  CHECK_OK(session_close(s));
}
