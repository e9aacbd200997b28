/* What a store says that it holds, beside what it has really taken from the allocator; and the bound that kvstore.h
 * states for a long load. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

/* ---- an allocator that counts ---- */

enum { HEADER = 16 }; /* before each block: its size */

static _Atomic int64_t taken, peak;

static void *counted(void *block, size_t size) {
  if (!block) return NULL;
  memcpy(block, &size, sizeof size);
  int64_t now = atomic_fetch_add(&taken, (int64_t)size) + (int64_t)size, most = atomic_load(&peak);
  while (now > most && !atomic_compare_exchange_weak(&peak, &most, now)) {}
  return (char *)block + HEADER;
}

static void *uncounted(void *pointer) {
  char *block = (char *)pointer - HEADER;
  size_t size;
  memcpy(&size, block, sizeof size);
  atomic_fetch_sub(&taken, (int64_t)size);
  return block;
}

static void *count_allocate(void *context, size_t size) {
  (void)context;
  return counted(malloc(size + HEADER), size);
}
static void *count_reallocate(void *context, void *pointer, size_t size) {
  (void)context;
  return counted(realloc(pointer ? uncounted(pointer) : NULL, size + HEADER), size);
}
static void count_release(void *context, void *pointer) {
  (void)context;
  free(uncounted(pointer));
}

static void count_memory(void) {
  static const MemoryTable table = { count_allocate, count_reallocate, count_release, NULL };
  memory_table_set(&table);
}

/* ---- a store ---- */

static Session *open_store(StoreOptions options) {
  static char path[512];
  snprintf(path, sizeof path, "%s/store", test_directory());
  options.journal_mode = JOURNAL_WAL;
  options.sync_level = SYNC_OFF;
  Session *s = NULL;
  CHECK_OK(session_open(path, &options, &s));
  return s;
}

static MemoryUsage usage_of(Session *s) {
  MemoryUsage usage;
  CHECK_OK(session_memory_usage(s, &usage));
  return usage;
}

static uint64_t total(const MemoryUsage *u) {
  return u->delta_bytes + u->run_bytes + u->version_bytes + u->log_bytes + u->cache_bytes + u->cache_pinned_bytes;
}

/* `count` rows in transactions of 100, keys in random order. */
static void load(Session *s, uint64_t *random, uint64_t count, size_t value_length) {
  uint8_t value[512];
  for (uint64_t i = 0; i < count; i++) {
    char key[24];
    snprintf(key, sizeof key, "%016llx", (unsigned long long)test_random(random));
    for (size_t at = 0; at < value_length; at += 8) {
      uint64_t word = test_random(random);
      memcpy(value + at, &word, 8);
    }
    if (i % 100 == 0) CHECK_OK(session_begin(s, true));
    CHECK_OK(kv_put(s, FAMILY_DEFAULT_ID, (Bytes){ (uint8_t *)key, 16 }, (Bytes){ value, value_length }, EXPIRY_NEVER,
                    KV_PUT_ALWAYS, NULL));
    if (i % 100 == 99 || i + 1 == count) CHECK_OK(session_commit(s));
  }
}

static void read_all(Session *s) {
  KvIterator *it = NULL;
  CHECK_OK(kv_iterator_create(s, FAMILY_DEFAULT_ID, (Bytes){ 0 }, false, &it));
  CHECK_OK(kv_iterator_first(it));
  while (!kv_iterator_eof(it)) CHECK_OK(kv_iterator_next(it));
  kv_iterator_destroy(it);
}

/* Of all that was taken only small change is not named: sessions, the tables of the cache, slack of alignment. */
static void check_honest(Session *s) {
  MemoryUsage u = usage_of(s);
  int64_t real = atomic_load(&taken);
  CHECK((int64_t)total(&u) <= real);
  CHECK(real <= (int64_t)(total(&u) + total(&u) / 16) + (128 << 10));
}

TEST(memory_usage, it_names_what_was_taken) {
  count_memory();
  uint64_t random = 1;
  Session *s = open_store((StoreOptions){ .no_background = true, .no_map = true, .cache_bytes = 1 << 20 });
  check_honest(s);
  CHECK(usage_of(s).delta_bytes < 64 << 10);
  load(s, &random, 20000, 96);
  check_honest(s);
  CHECK(usage_of(s).delta_bytes > 20000 * (16 + 96));
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  check_honest(s);
  CHECK(usage_of(s).delta_bytes < 64 << 10);
  CHECK(usage_of(s).run_bytes > 0);
  CHECK_INT(usage_of(s).cache_bytes_max, 1 << 20);
  CHECK_INT(usage_of(s).mapped_bytes, 0);
  read_all(s);
  check_honest(s);
  CHECK(usage_of(s).cache_bytes > 900 << 10);
  CHECK(usage_of(s).cache_bytes <= 1 << 20);
  CHECK_OK(session_close(s));
  s = open_store((StoreOptions){ .no_background = true });
  read_all(s);
  CHECK_INT(usage_of(s).cache_bytes, 0);
  CHECK(usage_of(s).mapped_bytes > 20000 * (16 + 96)); /* apart: no memory of the process's own */
  check_honest(s);
  CHECK_OK(session_close(s));
}

/* Two tables' worth of columns: deletes, locators, deleted sets; and versions that an iterator keeps. */
TEST(memory_usage, tables_and_what_iterators_keep_are_counted_once) {
  count_memory();
  Session *s = open_store((StoreOptions){ .no_background = true });
  Column columns[] = { { 0, TYPE_I64, 0, 0, (char *)"id" }, { 0, TYPE_I64, 0, 0, (char *)"n" } };
  Schema schema = { .column_count = 2, .columns = columns, .key_count = 1, .key_columns = { 0 } };
  uint32_t family = 0;
  CHECK_OK(family_create(s, "t", FAMILY_TABLE, &schema, &family));
  enum { ROWS = 3000 };
  static int64_t ids[ROWS], numbers[ROWS];
  for (int i = 0; i < ROWS; i++) ids[i] = numbers[i] = i;
  ColumnArray arrays[] = { { ids, NULL }, { numbers, NULL } };
  ColumnBatch batch = { ROWS, 2, arrays, NULL };
  CHECK_OK(table_write(s, family, &batch, TABLE_INSERT, NULL));
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  KvIterator *it = NULL;
  CHECK_OK(kv_iterator_create(s, FAMILY_DEFAULT_ID, (Bytes){ 0 }, false, &it));
  CHECK_OK(table_write(s, family, &batch, TABLE_UPSERT, NULL));
  TableSnapshot snapshot;
  CHECK_OK(table_snapshot(s, family, &snapshot));
  check_honest(s);
  table_snapshot_release(&snapshot);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  check_honest(s);
  kv_iterator_destroy(it);
  CHECK_OK(session_close(s));
}

TEST(memory_usage, short_of_memory_it_says_so) {
  Session *s = open_store((StoreOptions){ .no_background = true });
  MemoryUsage usage;
  failing_memory_install(1, true);
  CHECK_STATUS(session_memory_usage(s, &usage), KVSTORE_NOMEM);
  failing_memory_remove();
  CHECK_OK(session_memory_usage(s, &usage));
  CHECK_OK(session_close(s));
}

/* kvstore.h: cache_bytes_max + 6 * log_bytes + 32 MiB + a hundredth of the file. */
static void check_bound(Session *s, uint64_t log_bytes) {
  StoreInfo info;
  CHECK_OK(session_info(s, &info));
  int64_t bound = (int64_t)(usage_of(s).cache_bytes_max + 6 * log_bytes + (32 << 20) + info.file_bytes / 100);
  printf("peak %lld, bound %lld, file %llu\n", (long long)atomic_load(&peak), (long long)bound,
         (unsigned long long)info.file_bytes);
  CHECK(atomic_load(&peak) <= bound);
}

TEST(memory_usage, a_long_load_with_a_small_log_stays_below_the_bound) {
  count_memory();
  uint64_t random = 7, checkpoints = counter_get(COUNTER_log_self_checkpoints);
  for (int background = 0; background < 2; background++) {
    const uint64_t log_bytes = background ? 1 << 20 : 6 << 20;
    Session *s = open_store(
      (StoreOptions){ .no_background = !background, .no_map = true, .log_bytes = log_bytes, .cache_bytes = 2 << 20 });
    atomic_store(&peak, atomic_load(&taken));
    load(s, &random, test_scaled(400000), background ? 96 : 8);
    read_all(s);
    check_bound(s, log_bytes);
    CHECK_OK(session_close(s));
  }
  CHECK(counter_get(COUNTER_log_self_checkpoints) - checkpoints > 2);
}
