/* A store that overwrites its keys without end: it rests under twice the size of its rows, and never passes 2.3 times
 * that (the goals' section "Space"). Ten seconds at scale 1, with a log that has the share of the rows that the default
 * one has of a store of 900 MB; from scale 12 on, as much as that and the default log. The size of the file is looked
 * at all the time. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "tests/support/test.h"

enum { KEYS = 400000, VALUE_BYTES = 100, BATCH = 1000, LOG_BYTES = 4 << 20, LONG = 12, LONG_TIMES = 16 };

static const char *store_path(void) {
  static char path[600];
  snprintf(path, sizeof path, "%s/store", test_directory());
  return path;
}

static uint64_t file_bytes(void) {
  struct stat st;
  CHECK_INT(stat(store_path(), &st), 0);
  return (uint64_t)st.st_size;
}

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void put(Session *s, uint32_t i, uint32_t stamp) {
  char key[20];
  uint32_t value[VALUE_BYTES / 4];
  uint64_t random = (uint64_t)stamp << 32 | i;
  for (size_t w = 0; w < VALUE_BYTES / 4; w++) value[w] = (uint32_t)test_random(&random);
  value[0] = stamp;
  int length = snprintf(key, sizeof key, "key%013u", i * 2654435761u);
  CHECK_OK(kv_put(s, FAMILY_DEFAULT_ID, (Bytes){ (const uint8_t *)key, (size_t)length },
                  (Bytes){ (const uint8_t *)value, sizeof value }, EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
}

static void check_stamp(Session *s, uint32_t i, uint32_t stamp) {
  char key[20];
  KvValue value = { 0 };
  uint32_t found;
  int length = snprintf(key, sizeof key, "key%013u", i * 2654435761u);
  CHECK_OK(kv_get(s, FAMILY_DEFAULT_ID, (Bytes){ (const uint8_t *)key, (size_t)length }, &value));
  CHECK_INT(value.length, VALUE_BYTES);
  memcpy(&found, value.data, sizeof found);
  memory_release(value.data);
  CHECK_INT(found, stamp);
}

TEST(overwrite, a_store_that_overwrites_its_keys_stays_small) {
  StoreOptions with = { .journal_mode = JOURNAL_WAL, .sync_level = SYNC_NORMAL, .log_bytes = LOG_BYTES };
  Session *s = NULL;
  uint32_t keys = KEYS;
  uint64_t fixed = 0;
  if (test_scale() < 1) {
    keys = KEYS / 8;
    with.log_bytes = LOG_BYTES / 8;
    fixed = 8 << 20; /* what any store has room for beside its rows */
  }
  if (test_scale() >= LONG) {
    keys = KEYS * LONG_TIMES;
    with.log_bytes = (uint64_t)LOG_BYTES * LONG_TIMES;
  }
  uint32_t *stamps = memory_allocate_zeroed(keys * sizeof *stamps);
  CHECK_OK(session_open(store_path(), &with, &s));
  for (uint32_t i = 0; i < keys; i += BATCH) {
    CHECK_OK(session_begin(s, true));
    for (uint32_t n = i; n < i + BATCH; n++) put(s, n, 0);
    CHECK_OK(session_commit(s));
  }
  CHECK_OK(session_vacuum(s, 0));
  uint64_t live = file_bytes(), most = 0, random = 1, rows = 0, merges = counter_get(COUNTER_compactions);
  double end = seconds() + 10 * test_scale();
  for (uint32_t stamp = 1; seconds() < end; stamp++) {
    CHECK_OK(session_begin(s, true));
    for (uint32_t n = 0; n < BATCH; n++) {
      uint32_t i = (uint32_t)test_random_below(&random, keys);
      put(s, i, stamp);
      stamps[i] = stamp;
    }
    CHECK_OK(session_commit(s));
    rows += BATCH;
    uint64_t now = file_bytes();
    if (now > most) most = now;
  }
  CHECK_OK(session_maintain(s));
  uint64_t rest = file_bytes();
  if (fixed > rest) fixed = rest;
  fprintf(stderr, "%" PRIu64 " rows over %u keys: rows take %.1f MB; at most %.2f times that, at rest %.2f\n", rows,
          keys, (double)live / 1e6, (double)most / (double)live, (double)rest / (double)live);
  CHECK((most - fixed) * 10 <= live * 23);
  CHECK(rest - fixed <= live * 2);
  CHECK(rows < keys || counter_get(COUNTER_compactions) > merges);
  for (uint32_t i = 0; i < keys; i++) check_stamp(s, i, stamps[i]);
  char *why = NULL;
  CHECK_OK(session_check(s, &why));
  CHECK_OK(session_close(s));
  memory_release(stamps);
}
