/* A store that is not mapped reads through its block cache: the same answers, each unit read and verified once while
 * it stays, and never more kept than was allowed. */
#include <stdio.h>
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

enum { ROWS = 4000, VALUE_LENGTH = 200, LONG_EVERY = 500, LONG_LENGTH = 100000 };

static const char *store_path(void) {
  static char path[512];
  snprintf(path, sizeof path, "%s/store", test_directory());
  return path;
}

static Session *open_store(uint64_t cache_bytes) {
  StoreOptions options = { .journal_mode = JOURNAL_WAL,
                           .sync_level = SYNC_NORMAL,
                           .no_background = true,
                           .no_map = true,
                           .cache_bytes = cache_bytes };
  Session *s = NULL;
  CHECK_OK(session_open(store_path(), &options, &s));
  return s;
}

static size_t value_of(uint32_t row, uint8_t value[LONG_LENGTH]) {
  size_t length = row % LONG_EVERY ? VALUE_LENGTH : LONG_LENGTH;
  uint64_t random = row + 1;
  for (size_t i = 0; i < length; i += 8) {
    uint64_t word = test_random(&random);
    memcpy(value + i, &word, length - i < 8 ? length - i : 8);
  }
  return length;
}

static Bytes key_of(uint32_t row, char text[16]) {
  snprintf(text, 16, "key%08u", row);
  return (Bytes){ (const uint8_t *)text, 11 };
}

static void fill_store(void) {
  static uint8_t value[LONG_LENGTH];
  Session *s = open_store(0);
  CHECK_OK(session_begin(s, true));
  for (uint32_t i = 0; i < ROWS; i++) {
    char text[16];
    size_t length = value_of(i, value);
    CHECK_OK(
      kv_put(s, FAMILY_DEFAULT_ID, key_of(i, text), (Bytes){ value, length }, EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
  }
  CHECK_OK(session_commit(s));
  CHECK_OK(session_close(s)); /* all of it is in runs now */
}

static Status read_row(Session *s, uint32_t row) {
  static _Thread_local uint8_t value[LONG_LENGTH];
  char text[16];
  KvValue out = { 0 };
  TRY(kv_get(s, FAMILY_DEFAULT_ID, key_of(row, text), &out));
  size_t length = value_of(row, value);
  CHECK_INT(out.length, length);
  CHECK_BYTES(out.data, value, length);
  memory_release(out.data);
  return KVSTORE_OK;
}

static BlockCacheUsage usage_of(Session *s) { return block_cache_usage(session_store(s)->file.cache); }

TEST(engine_cache, what_fits_is_read_and_verified_once) {
  fill_store();
  Session *s = open_store(8 << 20);
  for (uint32_t i = 0; i < ROWS; i++) CHECK_OK(read_row(s, i));
  uint64_t units = counter_get(COUNTER_units_verified), misses = counter_get(COUNTER_cache_misses);
  uint64_t hits = counter_get(COUNTER_cache_hits);
  for (uint32_t i = 0; i < ROWS; i++) CHECK_OK(read_row(s, i));
  CHECK_INT(counter_get(COUNTER_units_verified), units);
  CHECK_INT(counter_get(COUNTER_cache_misses), misses);
  CHECK(counter_get(COUNTER_cache_hits) - hits >= 2 * ROWS); /* a line of the index and a row each */
  CHECK_INT(usage_of(s).pinned_bytes, 0);
  CHECK_OK(session_close(s));
}

static void walk(Session *s, bool reverse) {
  KvIterator *it = NULL;
  uint32_t count = 0;
  CHECK_OK(kv_iterator_create(s, FAMILY_DEFAULT_ID, (Bytes){ 0 }, reverse, &it));
  for (CHECK_OK(kv_iterator_first(it)); !kv_iterator_eof(it); CHECK_OK(kv_iterator_next(it))) {
    char text[16];
    CHECK_BYTES(kv_iterator_key(it).data, key_of(reverse ? ROWS - 1 - count : count, text).data, 11);
    count++;
  }
  CHECK_INT(count, ROWS);
  kv_iterator_destroy(it);
}

/* Some 60 rows lie in two units each. */
TEST(engine_cache, rows_across_the_border_of_two_units_keep_no_unit_twice) {
  fill_store();
  uint64_t seams = counter_get(COUNTER_cache_seams), verified = counter_get(COUNTER_units_verified);
  uint64_t rows = counter_get(COUNTER_row_seams);
  Session *s = open_store(64 << 20);
  StoreInfo info;
  CHECK_OK(session_info(s, &info));
  for (int backward = 0; backward < 2;
       backward++) { /* each unit of rows is asked for once, and now and then one of the index */
    uint64_t asked = counter_get(COUNTER_cache_hits) + counter_get(COUNTER_cache_misses);
    walk(s, backward);
    asked = counter_get(COUNTER_cache_hits) + counter_get(COUNTER_cache_misses) - asked;
    CHECK(asked <= info.file_bytes / UNIT_BYTES * 5 / 4);
  }
  CHECK(counter_get(COUNTER_row_seams) - rows > 100);
  for (uint32_t i = 0; i < ROWS; i++)
    if (i % LONG_EVERY) CHECK_OK(read_row(s, i));
  CHECK(counter_get(COUNTER_cache_seams) - seams > 30);
  CHECK(counter_get(COUNTER_units_verified) - verified <= info.file_bytes / UNIT_BYTES);
  CHECK(usage_of(s).kept_bytes <= info.file_bytes * 5 / 4);
  CHECK_INT(usage_of(s).pinned_bytes, 0);
  CHECK_OK(session_close(s));
}

TEST(engine_cache, a_small_cache_gives_the_same_answers_within_its_bound) {
  fill_store();
  uint64_t evictions = counter_get(COUNTER_cache_evictions), bypasses = counter_get(COUNTER_cache_bypasses);
  Session *s = open_store(10 * (UNIT_BYTES + 256));
  uint64_t random = 3;
  for (int i = 0; i < 3000; i++) {
    CHECK_OK(read_row(s, (uint32_t)test_random_below(&random, ROWS)));
    BlockCacheUsage u = usage_of(s);
    CHECK(u.kept_bytes <= u.bytes_max);
    CHECK_INT(u.pinned_bytes, 0);
  }
  KvIterator *it = NULL;
  CHECK_OK(kv_iterator_create(s, FAMILY_DEFAULT_ID, (Bytes){ 0 }, true, &it));
  CHECK_OK(kv_iterator_first(it));
  for (uint32_t i = ROWS; i-- > 0;) {
    char text[16];
    CHECK(!kv_iterator_eof(it));
    CHECK_BYTES(kv_iterator_key(it).data, key_of(i, text).data, 11);
    CHECK_OK(kv_iterator_next(it));
    CHECK(usage_of(s).kept_bytes <= usage_of(s).bytes_max);
  }
  CHECK(kv_iterator_eof(it));
  kv_iterator_destroy(it);
  CHECK(counter_get(COUNTER_cache_evictions) - evictions > 1000);
  CHECK(counter_get(COUNTER_cache_bypasses) > bypasses); /* the long values */
  CHECK_OK(session_check(s, NULL));
  CHECK_OK(session_close(s));
}

TEST(engine_cache, short_of_memory_a_read_goes_on_or_fails_cleanly) {
  fill_store();
  Session *s = open_store(10 * (UNIT_BYTES + 256));
  uint64_t random = 5, failed = 0;
  for (uint64_t n = 1; n < 200; n++) {
    uint32_t row = (uint32_t)test_random_below(&random, ROWS);
    failing_memory_install(1 + n % 12, n % 2);
    Status status = read_row(s, row);
    failing_memory_remove();
    CHECK(status == KVSTORE_OK || status == KVSTORE_NOMEM);
    failed += status != KVSTORE_OK;
    CHECK_OK(read_row(s, row));
    CHECK_INT(usage_of(s).pinned_bytes, 0);
  }
  CHECK(failed > 0);
  CHECK_OK(session_close(s));
}

/* ---- threads ---- */

typedef struct RowReader {
  Session *session;
  uint64_t random;
} RowReader;

static void read_rows(void *context) {
  RowReader *r = context;
  for (uint64_t i = 0; i < test_scaled(4000); i++)
    CHECK_OK(read_row(r->session, (uint32_t)test_random_below(&r->random, ROWS)));
}

TEST(engine_cache, threads_read_through_one_cache) {
  fill_store();
  Session *s = open_store(10 * (UNIT_BYTES + 256));
  RowReader readers[3];
  Thread threads[3];
  for (int i = 0; i < 3; i++) {
    readers[i] = (RowReader){ s, (uint64_t)i + 1 };
    CHECK_OK(thread_start(&threads[i], read_rows, &readers[i]));
  }
  for (int i = 0; i < 3; i++) thread_join(&threads[i]);
  CHECK(usage_of(s).kept_bytes <= usage_of(s).bytes_max);
  CHECK_INT(usage_of(s).pinned_bytes, 0);
  CHECK_OK(session_close(s));
}
