/* Queries with less memory than their groups and rows need: the same answers, through a file that has no name and, in
 * an encrypted store, no plain text. */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/api/api_support.h"

enum { ROWS = 40000, NAMES = 15000 };
static char names[NAMES][64];

static KVTable *fill(KVStore *kv) {
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 },
                                         { "name", KVTABLE_TYPE_STRING, 0, 0 },
                                         { "amount", KVTABLE_TYPE_I32, 0, 0 } };
  const char *key[] = { "id" };
  static int64_t ids[ROWS];
  static int32_t amounts[ROWS];
  static const char *texts[ROWS];
  KVTable *table = NULL;
  for (int i = 0; i < NAMES; i++)
    (void)snprintf(names[i], sizeof names[i], "a-name-that-is-found-in-plain-text-%07d", (i * 7919) % NAMES);
  for (int i = 0; i < ROWS; i++) {
    ids[i] = i;
    texts[i] = names[(i * 31) % NAMES];
    amounts[i] = i % 1000;
  }
  const KVColumnData data[] = { { KVTABLE_TYPE_I64, 0, ids, NULL, NULL, NULL },
                                { KVTABLE_TYPE_STRING, KVTABLE_FORM_POINTERS, texts, NULL, NULL, NULL },
                                { KVTABLE_TYPE_I32, 0, amounts, NULL, NULL, NULL } };
  CHECK_OK(kvtable_create(kv, "t", columns, 3, key, 1, &table));
  CHECK_OK(kvtable_append(table, data, 3, ROWS, NULL, KVTABLE_INSERT, NULL));
  return table;
}

static KVQuery *groups_of(KVTable *table, uint64_t memory) {
  const char *by[] = { "name" };
  const KVAggregate asks[] = {
    { KVQUERY_ROWS, NULL }, { KVQUERY_SUM, "amount" }, { KVQUERY_LAST, "id" }, { KVQUERY_COUNT_DISTINCT, "amount" }
  };
  const KVOrder order[] = { { "name", 0 } };
  KVQuery *query = NULL;
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_group_by(query, by, 1));
  CHECK_OK(kvquery_compute(query, asks, 4));
  CHECK_OK(kvquery_order_by(query, order, 1));
  CHECK_OK(kvquery_memory_limit(query, memory));
  return query;
}

static uint64_t spilled_by(KVQuery *query) {
  KVQueryCounters counters = KVQUERY_COUNTERS_INIT;
  CHECK_OK(kvquery_counters(query, &counters));
  return counters.bytes_spilled;
}

/* Both cursors give the same groups in the same order. */
static void check_same(KVQuery *some, KVQuery *all) {
  KVCursor *a = NULL, *b = NULL;
  CHECK_OK(kvquery_open(some, &a));
  CHECK_OK(kvquery_open(all, &b));
  for (int row = 0; row < NAMES; row++) {
    CHECK_OK(kvcursor_next(a));
    CHECK_OK(kvcursor_next(b));
    for (size_t c = 0; c < kvcursor_column_count(a); c++) {
      KVValue x, y;
      char left[80], right[80];
      CHECK_OK(kvcursor_value(a, c, &x));
      CHECK_OK(kvcursor_value(b, c, &y));
      CHECK_INT(kvvalue_print(&x, left, sizeof left), kvvalue_print(&y, right, sizeof right));
      CHECK_STR(left, right);
    }
  }
  CHECK_STATUS(kvcursor_next(a), KVSTORE_NOTFOUND);
  CHECK_STATUS(kvcursor_next(b), KVSTORE_NOTFOUND);
  kvcursor_close(a);
  kvcursor_close(b);
}

static void check_spilling(KVStore *kv) {
  KVTable *table = fill(kv);
  KVQuery *some = groups_of(table, 1 << 20), *all = groups_of(table, 0);
  for (int flushed = 0; flushed < 2; flushed++) {
    check_same(some, all);
    CHECK(spilled_by(some) > 100000);
    CHECK_INT(spilled_by(all), 0);
    CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  }
  kvquery_close(some);
  kvquery_close(all);
  kvtable_close(table);
}

TEST(kvquery_spill, gives_the_same_groups) {
  KVStore *kv = open_store();
  check_spilling(kv);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvquery_spill, works_in_memory_too) {
  KVStore *kv = NULL;
  CHECK_OK(kvstore_open(NULL, &kv, KVSTORE_JOURNAL_WAL));
  check_spilling(kv);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvquery_spill, counts_distinct_values_of_all_rows) {
  KVStore *kv = open_store();
  KVTable *table = fill(kv);
  KVQuery *query = NULL;
  const KVAggregate asks[] = { { KVQUERY_COUNT_DISTINCT, "id" }, { KVQUERY_COUNT_DISTINCT, "name" } };
  KVValue results[2];
  CHECK_OK(kvquery_create(table, &query));
  CHECK_STATUS(kvquery_memory_limit(query, 1000), KVSTORE_LIMIT);
  CHECK_OK(kvquery_memory_limit(query, 1 << 20));
  CHECK_OK(kvquery_aggregate(query, asks, 2, results));
  CHECK_INT(results[0].as.u64, ROWS);
  CHECK_INT(results[1].as.u64, NAMES);
  CHECK(spilled_by(query) > 0);
  CHECK_OK(kvquery_memory_limit(query, 0));
  CHECK_OK(kvquery_aggregate(query, asks, 2, results));
  CHECK_INT(results[0].as.u64, ROWS);
  CHECK_INT(spilled_by(query), 0);
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* ---- the file ---- */

/* A descriptor of this process on a scratch file; -1 when there is none. */
static int scratch_descriptor(void) {
  DIR *directory = opendir("/proc/self/fd");
  int found = -1;
  for (struct dirent *e; directory && (e = readdir(directory)) != NULL;) {
    char path[300], target[1000];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%s", e->d_name);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length <= 0) continue;
    target[length] = 0;
    if (strstr(target, "-scratch-") && strstr(target, "(deleted)")) found = (int)strtol(e->d_name, NULL, 10);
  }
  if (directory) (void)closedir(directory);
  return found;
}

static int holds_names(int descriptor) {
  static char bytes[1 << 20];
  ssize_t length = pread(descriptor, bytes, sizeof bytes, 0);
  CHECK(length > 100000);
  for (ssize_t at = 0; at + 19 <= length; at++)
    if (memcmp(bytes + at, "found-in-plain-text", 19) == 0) return 1;
  return 0;
}

/* Rows with those of the same name. */
static KVQuery *joined(KVTable *table, uint64_t memory) {
  static const char *const name[] = { "name" }, *const columns[] = { "id", "r_name" };
  const KVJoin join = { sizeof join, table, KVQUERY_JOIN_INNER, name, name, 1, "r_", NULL, NULL, 0 };
  KVQuery *query = NULL;
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_join(query, &join));
  CHECK_OK(kvquery_select(query, columns, 2));
  CHECK_OK(kvquery_memory_limit(query, memory));
  return query;
}

static void check_file(KVStore *kv, int is_plain, KVQuery *(*make)(KVTable *, uint64_t)) {
  KVTable *table = fill(kv);
  KVQuery *query = make(table, 1 << 20);
  KVCursor *cursor = NULL;
  CHECK_OK(kvquery_open(query, &cursor));
  CHECK_INT(scratch_descriptor(), -1); /* not made before it is needed */
  CHECK_OK(kvcursor_next(cursor));
  int descriptor = scratch_descriptor();
  CHECK(descriptor >= 0);
  CHECK_INT(holds_names(descriptor), is_plain);
  kvcursor_close(cursor);
  CHECK_INT(scratch_descriptor(), -1);
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvquery_spill, goes_to_a_file_without_a_name) { check_file(open_store(), 1, groups_of); }
TEST(kvquery_spill, of_joins_goes_there_too) { check_file(open_store(), 1, joined); }

static void check_sealed(KVQuery *(*make)(KVTable *, uint64_t)) {
  KVStore *kv = NULL;
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.password = "word";
  options.password_length = 4;
  CHECK_OK(kvstore_open_with(path_of("sealed"), &kv, &options));
  check_file(kv, 0, make);
}

TEST(kvquery_spill, of_an_encrypted_store_is_encrypted) { check_sealed(groups_of); }
TEST(kvquery_spill, of_joins_of_an_encrypted_store_is_encrypted) { check_sealed(joined); }

static void check_damage(KVStore *kv) {
  KVTable *table = fill(kv);
  KVQuery *query = groups_of(table, 1 << 20);
  KVCursor *cursor = NULL;
  int code = KVSTORE_OK;
  CHECK_OK(kvquery_open(query, &cursor));
  CHECK_OK(kvcursor_next(cursor));
  int descriptor = scratch_descriptor();
  CHECK(descriptor >= 0);
  static const char nothing[1 << 16];
  for (off_t at = 0, end = lseek(descriptor, 0, SEEK_END); at < end; at += (off_t)sizeof nothing)
    CHECK(pwrite(descriptor, nothing, sizeof nothing, at) == (ssize_t)sizeof nothing);
  for (int i = 0; i < NAMES && code == KVSTORE_OK; i++) code = kvcursor_next(cursor);
  CHECK_STATUS(code, KVSTORE_CORRUPT);
  kvcursor_close(cursor);
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvquery_spill, that_is_damaged_is_told) { check_damage(open_store()); }

/* The cursor outlives the handle, file and all. */
TEST(kvquery_spill, is_there_when_the_store_is_closed) {
  KVStore *kv = open_store();
  KVTable *table = fill(kv);
  KVQuery *query = groups_of(table, 1 << 20);
  KVCursor *cursor = NULL;
  int rows = 0;
  CHECK_OK(kvquery_open(query, &cursor));
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
  while (kvcursor_next(cursor) == KVSTORE_OK) rows++;
  CHECK_INT(rows, NAMES);
  kvcursor_close(cursor);
}
