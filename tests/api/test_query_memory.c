/* What queries hold at most, counted at the library's own allocations, beside the limit that they were given. */
#include <stdio.h>

#include "tests/api/api_support.h"
#include "tests/support/counted_memory.h"

enum { ROWS = 300000, NAMES = 150000, BATCH = 20000, LIMIT = 16 << 20 };

/* ---- a table of many names ---- */

static KVTable *fill(KVStore *kv) {
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 },
                                         { "name", KVTABLE_TYPE_STRING, 0, 0 },
                                         { "noise", KVTABLE_TYPE_F64, 0, 0 } };
  const char *key[] = { "id" };
  static int64_t ids[BATCH];
  static double noise[BATCH];
  static char texts[BATCH][40];
  static const char *names[BATCH];
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, "t", columns, 3, key, 1, &table));
  for (int first = 0; first < ROWS; first += BATCH) {
    for (int i = 0; i < BATCH; i++) {
      ids[i] = first + i;
      noise[i] = (double)((first + i) * INT64_C(2654435761) % 1000003);
      (void)snprintf(texts[i], sizeof texts[i], "a name of many others, %d", (first + i) * 31 % NAMES);
      names[i] = texts[i];
    }
    const KVColumnData data[] = { { KVTABLE_TYPE_I64, 0, ids, NULL, NULL, NULL },
                                  { KVTABLE_TYPE_STRING, KVTABLE_FORM_POINTERS, names, NULL, NULL, NULL },
                                  { KVTABLE_TYPE_F64, 0, noise, NULL, NULL, NULL } };
    CHECK_OK(kvtable_append(table, data, 3, BATCH, NULL, KVTABLE_INSERT, NULL));
  }
  CHECK_OK(kvstore_maintain(kv));
  return table;
}

/* ---- questions ---- */

typedef struct Answer {
  uint64_t rows, mixed, spilled;
  int64_t peak;
} Answer;

static uint64_t mix(uint64_t h, const KVValue *v) {
  char text[80];
  size_t length = kvvalue_print(v, text, sizeof text);
  for (size_t i = 0; i < length && i < sizeof text; i++) h = (h ^ (unsigned char)text[i]) * UINT64_C(1099511628211);
  return h;
}

static Answer answer(KVQuery *query, uint64_t limit, uint32_t threads) {
  Answer a = { .mixed = 1 };
  KVQueryCounters counters = KVQUERY_COUNTERS_INIT;
  KVCursor *cursor = NULL;
  int64_t before = counted_memory_begin();
  CHECK_OK(kvquery_memory_limit(query, limit));
  CHECK_OK(kvquery_threads(query, threads));
  CHECK_OK(kvquery_open(query, &cursor));
  for (int code; (code = kvcursor_next(cursor)) != KVSTORE_NOTFOUND; a.rows++) {
    CHECK_OK(code);
    for (size_t c = 0; c < kvcursor_column_count(cursor); c++) {
      KVValue value;
      CHECK_OK(kvcursor_value(cursor, c, &value));
      a.mixed = mix(a.mixed, &value);
    }
  }
  CHECK_OK(kvquery_counters(query, &counters));
  kvcursor_close(cursor);
  a.spilled = counters.bytes_spilled;
  a.peak = counted_memory_most() - before;
  return a;
}

/* The same rows in the same order, within what kvquery_memory_limit says: half as much again, while tables grow. */
static void check_within(KVQuery *query, const char *what) {
  Answer all = answer(query, 0, 1);
  CHECK_INT(all.spilled, 0);
  CHECK(all.peak > LIMIT);
  for (uint32_t threads = 1; threads <= (test_scale() < 1 ? 1 : 2); threads++) {
    Answer some = answer(query, LIMIT, threads);
    fprintf(stderr, "%s, %u threads: %lld bytes of %lld, %llu spilled\n", what, threads, (long long)some.peak,
            (long long)all.peak, (unsigned long long)some.spilled);
    CHECK_INT(some.rows, all.rows);
    CHECK_INT(some.mixed, all.mixed);
    CHECK(some.spilled > 0);
    CHECK(some.peak <= LIMIT + LIMIT / 2);
  }
  kvquery_close(query);
}

static KVQuery *grouped(KVTable *table, const char *by, const KVAggregate *asks, size_t count, const char *order) {
  KVQuery *query = NULL;
  const KVOrder orders[] = { { order, 0 } };
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_group_by(query, &by, 1));
  CHECK_OK(kvquery_compute(query, asks, count));
  CHECK_OK(kvquery_order_by(query, orders, 1));
  return query;
}

/* Rows of the table with those of the same name, and with itself by number; as groups, so that their order is known. */
static KVQuery *joined(KVTable *table, int kind, int twice) {
  static const char *const name[] = { "name" }, *const id[] = { "id" };
  const KVAggregate sums[] = { { KVQUERY_ROWS, NULL }, { KVQUERY_SUM, "id" }, { KVQUERY_SUM, "r_id" } };
  const char *by = "id % 1000";
  const KVOrder order = { by, 0 };
  KVQuery *query = NULL;
  KVJoin join = { sizeof join, table, kind, name, name, 1, "r_", NULL, NULL, 0 };
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_join(query, &join));
  join = (KVJoin){ sizeof join, table, KVQUERY_JOIN_LEFT, id, id, 1, "s_", "noise > 5000", NULL, 0 };
  if (twice) CHECK_OK(kvquery_join(query, &join));
  CHECK_OK(kvquery_group_by(query, &by, 1));
  CHECK_OK(kvquery_compute(query, sums, kind <= KVQUERY_JOIN_LEFT ? 3 : 2));
  CHECK_OK(kvquery_order_by(query, &order, 1));
  return query;
}

static void check_joins(KVTable *table) {
  check_within(joined(table, KVQUERY_JOIN_INNER, 0), "rows joined by name");
  if (test_scale() < 1) return;
  check_within(joined(table, KVQUERY_JOIN_LEFT, 1), "rows joined by name and by number");
  check_within(joined(table, KVQUERY_JOIN_SEMI, 1), "rows that others have the name of");
}

/* Some seconds of sorting. */
static void check_others(KVTable *table) {
  const KVAggregate middle[] = { { KVQUERY_MEDIAN, "noise" },
                                 { KVQUERY_QUANTILE(0.9), "id" },
                                 { KVQUERY_MEDIAN, "noise * 2" },
                                 { KVQUERY_MEDIAN, "id * 3" } };
  const KVAggregate different[] = { { KVQUERY_COUNT_DISTINCT, "noise" }, { KVQUERY_COUNT_DISTINCT, "name" } };
  check_within(grouped(table, "id % 1000", middle, 4, "id % 1000"), "quantiles of groups");
  check_within(grouped(table, "id % 10", different, 2, "id % 10"), "different values");
  KVQuery *query = NULL;
  const KVOrder order[] = { { "noise", KVQUERY_DESCENDING }, { "name", 0 } };
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_order_by(query, order, 2));
  check_within(query, "rows in an order");
}

TEST(query_memory, a_limit_of_16_mib_is_kept_with_the_same_answers) {
  counted_memory_install();
  KVStore *kv = NULL;
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.background_off = 1;
  CHECK_OK(kvstore_open_with(path_of("store"), &kv, &options));
  KVTable *table = fill(kv);
  const KVAggregate sums[] = { { KVQUERY_ROWS, NULL }, { KVQUERY_SUM, "noise" }, { KVQUERY_LAST, "id" } };
  check_within(grouped(table, "name", sums, 3, "name"), "sums of many groups");
  check_joins(table);
  if (test_scale() >= 1) check_others(table);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
  counted_memory_remove();
}
