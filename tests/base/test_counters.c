#include "base/counters.h"

#include <pthread.h>

#include "tests/support/test.h"

static Counter hook_which;
static uint64_t hook_hits, hook_calls;

static void remember(Counter which, uint64_t hits) {
  hook_which = which;
  hook_hits = hits;
  hook_calls++;
}

TEST(counters, count_and_reset) {
  counter_reset(COUNTER_flushes);
  COUNT(flushes);
  COUNT_MANY(flushes, 41);
  CHECK_INT(counter_get(COUNTER_flushes), 42);
  counter_reset(COUNTER_flushes);
  CHECK_INT(counter_get(COUNTER_flushes), 0);
}

TEST(counters, a_crash_point_calls_the_hook_with_its_hits) {
  CRASH_POINT(log_wrap);
  counter_hook_set(remember);
  CRASH_POINT(log_wrap);
  CRASH_POINT(log_wrap);
  CHECK_INT(hook_calls, 2);
  CHECK_INT(hook_which, COUNTER_crash_log_wrap);
  CHECK_INT(hook_hits, 3);
  counter_hook_set(NULL);
  CRASH_POINT(log_wrap);
  CHECK_INT(hook_calls, 2);
  CHECK_INT(counter_get(COUNTER_crash_log_wrap), 4);
}

TEST(counters, have_names_and_descriptions) {
  CHECK_STR(counter_name(COUNTER_log_syncs), "log_syncs");
  CHECK_STR(counter_description(COUNTER_log_syncs), "fdatasync calls on the log");
  for (int i = 0; i < COUNTER_COUNT; i++) CHECK(counter_name((Counter)i)[0] && counter_description((Counter)i)[0]);
  CHECK_STR(counter_name(COUNTER_COUNT), "?");
  CHECK_STR(counter_description(COUNTER_COUNT), "?");
}

static void *count_many(void *unused) {
  (void)unused;
  for (int i = 0; i < 10000; i++) COUNT(blocks_skipped);
  return NULL;
}

TEST(counters, threads_lose_no_count) {
  counter_reset(COUNTER_blocks_skipped);
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) CHECK_INT(pthread_create(&threads[i], NULL, count_many, NULL), 0);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  CHECK_INT(counter_get(COUNTER_blocks_skipped), 40000);
}
