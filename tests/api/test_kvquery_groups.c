/* Groups, orders and distinct rows through the public header, against a plain array of the same rows: in the delta, in
 * runs, in both, inside a transaction, at a snapshot. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "tests/api/api_support.h"

enum { ROWS = 6000, CARRIERS = 5, DAYS = 7 };

typedef struct Flight {
  int64_t id;
  int16_t delay;
  int has_delay, is_there;
  unsigned carrier, day;
} Flight;

static const char *const carriers[CARRIERS] = { "AA", "", "UA", "WN", "\xC3\x84" };
static Flight flights[ROWS];

static Flight random_flight(int64_t id, uint64_t *seed) {
  return (Flight){ .id = id,
                   .delay = (int16_t)((int)test_random_below(seed, 300) - 100),
                   .has_delay = test_random_below(seed, 8) != 0,
                   .is_there = 1,
                   .carrier = (unsigned)test_random_below(seed, CARRIERS),
                   .day = (unsigned)test_random_below(seed, DAYS) };
}

static int put_flight(KVTable *table, const Flight *f, int64_t expire_ms) {
  KVValue row[] = { kvvalue_i64(f->id), f->has_delay ? kvvalue_i64(f->delay) : kvvalue_null(),
                    kvvalue_string(carriers[f->carrier]), kvvalue_i64(f->day) };
  return kvtable_upsert(table, row, 4, expire_ms);
}

static void put_flights(KVStore *kv, KVTable *table, int from, int end, uint64_t *seed) {
  CHECK_OK(kvstore_begin(kv, 1));
  for (int i = from; i < end; i++) {
    flights[i] = random_flight(i, seed);
    CHECK_OK(put_flight(table, &flights[i], 0));
  }
  CHECK_OK(kvstore_commit(kv));
}

static KVTable *create_table(KVStore *kv) {
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 },
                                         { "delay", KVTABLE_TYPE_I16, KVTABLE_NULLABLE, 0 },
                                         { "carrier", KVTABLE_TYPE_STRING, 0, 0 },
                                         { "day", KVTABLE_TYPE_U8, 0, 0 } };
  const char *key[] = { "id" };
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, "flights", columns, 4, key, 1, &table));
  return table;
}

/* ---- the plain answer ---- */

typedef struct Group {
  uint64_t rows, values, distinct;
  int64_t sum, first, last;
  int least, greatest;
} Group;
static Group groups[CARRIERS][DAYS];

static void group_flights(void) {
  static unsigned char seen[CARRIERS][DAYS][400];
  memset(groups, 0, sizeof groups);
  memset(seen, 0, sizeof seen);
  for (int i = 0; i < ROWS; i++) {
    const Flight *f = &flights[i];
    Group *g = &groups[f->carrier][f->day];
    if (!f->is_there) continue;
    if (g->rows++ == 0) g->first = f->id;
    g->last = f->id;
    if (!f->has_delay) continue;
    if (g->values == 0 || f->delay < g->least) g->least = f->delay;
    if (g->values == 0 || f->delay > g->greatest) g->greatest = f->delay;
    g->values++;
    g->sum += f->delay;
    g->distinct += !seen[f->carrier][f->day][f->delay + 100];
    seen[f->carrier][f->day][f->delay + 100] = 1;
  }
}

static const KVAggregate asks[] = { { KVQUERY_ROWS, NULL },   { KVQUERY_VALUES, "delay" },
                                    { KVQUERY_SUM, "delay" }, { KVQUERY_MIN, "delay" },
                                    { KVQUERY_MAX, "delay" }, { KVQUERY_COUNT_DISTINCT, "delay" },
                                    { KVQUERY_FIRST, "id" },  { KVQUERY_LAST, "id" },
                                    { KVQUERY_AVG, "delay" } };
enum { ASKS = sizeof asks / sizeof *asks };

static KVValue value_at(KVCursor *cursor, size_t column) {
  KVValue v;
  CHECK_OK(kvcursor_value(cursor, column, &v));
  return v;
}

static unsigned carrier_of(const KVValue *v) {
  for (unsigned c = 0; c < CARRIERS; c++) {
    size_t length = strlen(carriers[c]);
    if (v->as.bytes.length == length && (length == 0 || memcmp(v->as.bytes.data, carriers[c], length) == 0)) return c;
  }
  CHECK(!"a carrier that is there");
  return 0;
}

static void check_row(KVCursor *cursor, const Group *g) {
  CHECK_INT(value_at(cursor, 2).as.u64, g->rows);
  CHECK_INT(value_at(cursor, 3).as.u64, g->values);
  KVValue sum = value_at(cursor, 4);
  CHECK_INT(sum.is_null, g->values == 0);
  if (g->values) {
    CHECK_INT(sum.type, KVTABLE_TYPE_DECIMAL128);
    CHECK_INT((int64_t)sum.as.decimal.low, g->sum);
    CHECK_INT(sum.as.decimal.high, g->sum < 0 ? -1 : 0);
    CHECK_INT(value_at(cursor, 5).as.i64, g->least);
    CHECK_INT(value_at(cursor, 6).as.i64, g->greatest);
    CHECK(value_at(cursor, 10).as.f64 == (double)g->sum / (double)g->values);
  }
  CHECK_INT(value_at(cursor, 7).as.u64, g->distinct);
  CHECK_INT(value_at(cursor, 8).as.i64, g->first);
  CHECK_INT(value_at(cursor, 9).as.i64, g->last);
}

static void check_groups(KVTable *table, KVSnapshot *snapshot) {
  KVQuery *query = NULL;
  KVCursor *cursor = NULL;
  const char *keys[] = { "carrier", "day" };
  int found = 0, expected = 0, code;
  group_flights();
  for (int c = 0; c < CARRIERS; c++)
    for (int d = 0; d < DAYS; d++) expected += groups[c][d].rows != 0;
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_at(query, snapshot));
  CHECK_OK(kvquery_group_by(query, keys, 2));
  CHECK_OK(kvquery_compute(query, asks, ASKS));
  CHECK_OK(kvquery_open(query, &cursor));
  CHECK_INT(kvcursor_column_count(cursor), 2 + ASKS);
  KVColumnDefinition definition;
  CHECK_OK(kvcursor_column(cursor, 7, &definition));
  CHECK_STR(definition.name, "count(distinct delay)");
  for (; (code = kvcursor_next(cursor)) == KVSTORE_OK; found++) {
    KVValue carrier = value_at(cursor, 0);
    check_row(cursor, &groups[carrier_of(&carrier)][value_at(cursor, 1).as.u64]);
  }
  CHECK_INT(code, KVSTORE_NOTFOUND);
  CHECK_INT(found, expected);
  kvcursor_close(cursor);
  kvquery_close(query);
}

/* ---- where rows lie ---- */

TEST(kvquery_groups, are_those_of_the_array_wherever_the_rows_lie) {
  KVStore *kv = open_store();
  KVTable *table = create_table(kv);
  uint64_t seed = 3;
  check_groups(table, NULL); /* an empty table has no groups */
  put_flights(kv, table, 0, ROWS / 2, &seed);
  check_groups(table, NULL); /* in the delta */
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  check_groups(table, NULL); /* in a run */
  put_flights(kv, table, ROWS / 3, ROWS, &seed);
  check_groups(table, NULL); /* in both, some of the run replaced */
  for (int i = 0; i < ROWS; i += 5) {
    KVValue id = kvvalue_i64(i);
    if (i % 2)
      CHECK_OK(kvtable_delete(table, &id, 1));
    else
      CHECK_OK(put_flight(table, &flights[i], kvstore_now_ms() - 1)); /* expired */
    flights[i].is_there = 0;
  }
  check_groups(table, NULL);
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  check_groups(table, NULL);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvquery_groups, of_a_transaction_are_its_own_and_of_a_snapshot_those_of_then) {
  KVStore *kv = open_store(), *other = NULL;
  KVTable *table = create_table(kv), *seen = NULL;
  KVSnapshot *snapshot = NULL;
  static Flight before[ROWS], inside[ROWS];
  uint64_t seed = 5;
  put_flights(kv, table, 0, ROWS, &seed);
  memcpy(before, flights, sizeof before);
  CHECK_OK(kvstore_clone(kv, &other));
  CHECK_OK(kvtable_open(other, "flights", &seen));
  CHECK_OK(kvstore_snapshot_create(kv, &snapshot));
  CHECK_OK(kvstore_begin(kv, 1));
  for (int i = 0; i < ROWS; i += 3) {
    flights[i] = random_flight(i, &seed);
    CHECK_OK(put_flight(table, &flights[i], 0));
  }
  memcpy(inside, flights, sizeof inside);
  check_groups(table, NULL);
  memcpy(flights, before, sizeof before);
  check_groups(seen, NULL);
  check_groups(table, snapshot);
  CHECK_OK(kvstore_commit(kv));
  check_groups(table, snapshot);
  memcpy(flights, inside, sizeof inside);
  check_groups(seen, NULL);
  kvstore_snapshot_release(snapshot);
  kvtable_close(table);
  kvtable_close(seen);
  CHECK_OK(kvstore_close(other));
  CHECK_OK(kvstore_close(kv));
}

/* ---- order, having, distinct ---- */

TEST(kvquery_groups, are_filtered_ordered_and_cut) {
  KVStore *kv = open_store();
  KVTable *table = create_table(kv);
  KVQuery *query = NULL;
  KVCursor *cursor = NULL;
  const char *keys[] = { "carrier", "day" };
  const KVValue least = kvvalue_i64(140);
  const KVOrder order[] = { { "sum(delay)", KVQUERY_DESCENDING }, { "day", 0 } };
  uint64_t seed = 8;
  int found = 0, passing = 0;
  put_flights(kv, table, 0, ROWS, &seed);
  group_flights();
  for (int c = 0; c < CARRIERS; c++)
    for (int d = 0; d < DAYS; d++) passing += groups[c][d].rows > 140 && d != 3;
  CHECK(passing > 6);
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_where(query, "day <> 3", NULL, 0));
  CHECK_OK(kvquery_group_by(query, keys, 2));
  CHECK_OK(kvquery_compute(query, asks, ASKS));
  CHECK_OK(kvquery_having(query, "count(*) > ? and carrier is not null", &least, 1));
  CHECK_OK(kvquery_order_by(query, order, 2));
  CHECK_OK(kvquery_open(query, &cursor));
  int64_t sums[CARRIERS * DAYS];
  while (kvcursor_next(cursor) == KVSTORE_OK) {
    CHECK(value_at(cursor, 2).as.u64 > 140 && value_at(cursor, 1).as.u64 != 3);
    sums[found] = (int64_t)value_at(cursor, 4).as.decimal.low;
    if (found) CHECK(sums[found] <= sums[found - 1]);
    found++;
  }
  CHECK_INT(found, passing);
  kvcursor_close(cursor);
  CHECK_OK(kvquery_limit(query, 2, 3));
  CHECK_OK(kvquery_open(query, &cursor));
  uint64_t rows = 0;
  const KVColumnData *data = NULL;
  CHECK_OK(kvcursor_next_batch(cursor, &rows, &data));
  CHECK_INT(rows, 3);
  CHECK_INT(data[4].type, KVTABLE_TYPE_DECIMAL128);
  for (int i = 0; i < 3; i++) CHECK_INT((int64_t)((const KVDecimal *)data[4].values)[i].low, sums[2 + i]);
  CHECK_STATUS(kvcursor_next_batch(cursor, &rows, &data), KVSTORE_NOTFOUND);
  kvcursor_close(cursor);
  char *text = NULL;
  CHECK_OK(kvquery_explain(query, &text));
  CHECK(strstr(text, "groups: by carrier, day") && strstr(text, "order: sum(delay) descending, day"));
  CHECK(strstr(text, "having: \"count(*)\" > 140 and carrier is not null") != NULL);
  kvstore_free(text);
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* How many groups pass; they come in the order of what is computed of them. */
static int count_passing(KVQuery *query, const char *having) {
  KVCursor *cursor = NULL;
  int found = 0, code;
  uint64_t before = 0;
  CHECK_OK(kvquery_having(query, having, NULL, 0));
  CHECK_OK(kvquery_open(query, &cursor));
  while ((code = kvcursor_next(cursor)) == KVSTORE_OK) {
    uint64_t day = value_at(cursor, 0).as.u64;
    CHECK(found++ == 0 || day <= before);
    before = day;
  }
  if (code != KVSTORE_NOTFOUND) found = -code;
  kvcursor_close(cursor);
  return found;
}

TEST(kvquery_groups, what_excludes_one_keeps_it_from_being_computed) {
  KVStore *kv = open_store();
  KVTable *table = create_table(kv);
  KVQuery *query = NULL;
  const char *by[] = { "day" };
  const KVAggregate rows = { KVQUERY_ROWS, NULL };
  const KVOrder by_day[] = { { "day", KVQUERY_DESCENDING } }, by_part[] = { { "60 / day", 0 } };
  uint64_t seed = 21;
  put_flights(kv, table, 0, 700, &seed);
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_group_by(query, by, 1));
  CHECK_OK(kvquery_compute(query, &rows, 1));
  CHECK_OK(kvquery_order_by(query, by_day, 1));
  CHECK_INT(count_passing(query, "12 / day > 3"), -KVSTORE_TYPE); /* of day 0 */
  CHECK(strstr(kvstore_errmsg(kv), "12 / 0 divides by zero"));
  CHECK_INT(count_passing(query, "day <> 0 and 12 / day > 3"), 3); /* days 1, 2 and 3 */
  CHECK_INT(count_passing(query, "12 / day > 3 and day <> 0"), 3);
  CHECK_INT(count_passing(query, "day = 0 or 12 / day > 3"), 4);
  CHECK_INT(count_passing(query, "not (day = 0 or 12 / day <= 3)"), 3);
  CHECK_INT(count_passing(query, "day in (0, 1) or 12 / day > 3 and 12 / (day - 1) > 6"), 3); /* 0, 1 and 2 */
  CHECK_INT(count_passing(query, "day = 6 and 12 / day = 2 or case when day = 0 then 0 else 12 / day end > 3"), 4);
  CHECK_INT(count_passing(query, "day <> 0 and 12 / day > count(*) - count(*) + 3"), 3);
  CHECK_OK(kvquery_order_by(query, by_part, 1));
  CHECK_INT(count_passing(query, "day <> 0"), DAYS - 1);
  CHECK_INT(count_passing(query, "day >= 0"), -KVSTORE_TYPE);
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* What `distinct` stands before may begin with anything that an expression begins with. */
TEST(kvquery_groups, counts_of_different_values_are_named_as_they_are_called) {
  static const char *const of[] = { "-day",
                                    "+ day",
                                    "1 + day",
                                    "not day > 3",
                                    "'x' < carrier",
                                    "(day)",
                                    "null < day",
                                    "case when day > 2 then 1 end",
                                    "x'00' < carrier",
                                    "true and day > 2",
                                    "day" };
  KVStore *kv = open_store();
  KVTable *table = create_table(kv);
  uint64_t seed = 22;
  put_flights(kv, table, 0, 300, &seed);
  for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
    KVQuery *query = NULL;
    KVCursor *cursor = NULL;
    KVColumnDefinition column;
    const KVAggregate counts = { KVQUERY_COUNT_DISTINCT, of[i] };
    char text[80];
    CHECK_OK(kvquery_create(table, &query));
    CHECK_OK(kvquery_compute(query, &counts, 1));
    CHECK_OK(kvquery_open(query, &cursor));
    CHECK_OK(kvcursor_column(cursor, 0, &column));
    (void)snprintf(text, sizeof text, "%s >= 0", column.name);
    kvcursor_close(cursor);
    for (int as_it_is_named = 1; as_it_is_named >= 0; as_it_is_named--) {
      if (!as_it_is_named) (void)snprintf(text, sizeof text, "count(distinct %s) >= 0", of[i]);
      CHECK_OK(kvquery_having(query, text, NULL, 0));
      CHECK_OK(kvquery_open(query, &cursor));
      CHECK_OK(kvcursor_next(cursor));
      kvcursor_close(cursor);
    }
    kvquery_close(query);
  }
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvquery_groups, distinct_rows_come_once_and_rows_in_any_order) {
  KVStore *kv = open_store();
  KVTable *table = create_table(kv);
  KVQuery *query = NULL;
  KVCursor *cursor = NULL;
  const char *day[] = { "day" };
  const KVOrder by_day[] = { { "day", KVQUERY_DESCENDING } }, by_delay[] = { { "delay", KVQUERY_NULLS_LAST } };
  uint64_t seed = 21;
  put_flights(kv, table, 0, ROWS, &seed);
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_select(query, day, 1));
  CHECK_OK(kvquery_distinct(query, 1));
  CHECK_OK(kvquery_order_by(query, by_day, 1));
  CHECK_OK(kvquery_open(query, &cursor));
  for (int d = DAYS; d-- > 0;) {
    CHECK_OK(kvcursor_next(cursor));
    CHECK_INT(value_at(cursor, 0).as.u64, d);
  }
  CHECK_STATUS(kvcursor_next(cursor), KVSTORE_NOTFOUND);
  kvcursor_close(cursor);
  CHECK_OK(kvquery_distinct(query, 0));
  CHECK_OK(kvquery_order_by(query, by_delay, 1)); /* which is not selected */
  CHECK_OK(kvquery_limit(query, 0, 5));
  CHECK_OK(kvquery_open(query, &cursor));
  CHECK_INT(kvcursor_column_count(cursor), 1);
  int rows = 0;
  while (kvcursor_next(cursor) == KVSTORE_OK) rows++;
  CHECK_INT(rows, 5);
  kvcursor_close(cursor);
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvquery_groups, aggregates_of_all_rows_at_once) {
  KVStore *kv = open_store();
  KVTable *table = create_table(kv);
  KVQuery *query = NULL;
  const KVAggregate all[] = { { KVQUERY_ROWS, NULL },       { KVQUERY_VARIANCE_POP, "delay" },
                              { KVQUERY_STDDEV, "delay" },  { KVQUERY_COUNT_DISTINCT, "carrier" },
                              { KVQUERY_FIRST, "carrier" }, { KVQUERY_LAST, "day" },
                              { KVQUERY_SUM, "delay" } };
  KVValue results[7];
  double mean = 0, squares = 0, count = 0;
  uint64_t seed = 34;
  put_flights(kv, table, 0, ROWS, &seed);
  for (int i = 0; i < ROWS; i++) {
    if (flights[i].has_delay) mean += flights[i].delay, count++;
  }
  mean /= count;
  for (int i = 0; i < ROWS; i++) {
    if (flights[i].has_delay) squares += (flights[i].delay - mean) * (flights[i].delay - mean);
  }
  CHECK_OK(kvquery_create(table, &query));
  for (int run = 0; run < 2; run++) {
    CHECK_OK(kvquery_aggregate(query, all, 7, results));
    CHECK_INT(results[0].as.u64, ROWS);
    CHECK(results[1].as.f64 / (squares / count) - 1 < 1e-12 && results[1].as.f64 / (squares / count) - 1 > -1e-12);
    double variance = results[2].as.f64 * results[2].as.f64;
    CHECK(variance / (squares / (count - 1)) - 1 < 1e-12 && variance / (squares / (count - 1)) - 1 > -1e-12);
    CHECK_INT(results[3].as.u64, CARRIERS);
    CHECK_INT(carrier_of(&results[4]), flights[0].carrier);
    CHECK_INT(results[5].as.u64, flights[ROWS - 1].day);
    CHECK(!results[6].is_null);
    CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  }
  CHECK_OK(kvquery_where(query, "id = 7", NULL, 0));
  CHECK_OK(kvquery_aggregate(query, all + 1, 2, results));
  CHECK(flights[7].has_delay ? !results[0].is_null && results[0].as.f64 == 0 : results[0].is_null);
  CHECK(results[1].is_null); /* of a sample of one */
  CHECK_OK(kvquery_where(query, "id < 0", NULL, 0));
  CHECK_OK(kvquery_aggregate(query, all, 7, results));
  CHECK_INT(results[3].as.u64, 0);
  CHECK(results[1].is_null && results[4].is_null && results[5].is_null && results[6].is_null);
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvquery_groups, wrong_questions_are_refused_and_what_was_asked_before_stays) {
  KVStore *kv = open_store();
  KVTable *table = create_table(kv);
  KVQuery *query = NULL;
  KVCursor *cursor = NULL;
  const char *day[] = { "day" }, *twice[] = { "day", "day" }, *unknown[] = { "altitude" }, *missing[] = { NULL };
  const KVAggregate bad_kind[] = { { 99, "day" } }, no_column[] = { { KVQUERY_SUM, NULL } },
                    no_sum[] = { { KVQUERY_VARIANCE, "carrier" } }, count[] = { { KVQUERY_ROWS, NULL } };
  const KVOrder bad_flags[] = { { "day", 8 } }, no_name[] = { { NULL, 0 } }, by_sum[] = { { "sum(day)", 0 } };
  const KVValue two[] = { kvvalue_i64(1), kvvalue_i64(2) };
  uint64_t seed = 1;
  put_flights(kv, table, 0, 100, &seed);
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_group_by(query, day, 1));
  CHECK_OK(kvquery_compute(query, count, 1));
  CHECK_STATUS(kvquery_group_by(query, twice, 2), KVSTORE_SCHEMA);
  CHECK_STATUS(kvquery_group_by(query, unknown, 1), KVSTORE_SCHEMA);
  CHECK_STATUS(kvquery_group_by(query, missing, 1), KVSTORE_ERROR);
  CHECK_STATUS(kvquery_group_by(query, NULL, 1), KVSTORE_ERROR);
  CHECK_STATUS(kvquery_compute(query, bad_kind, 1), KVSTORE_ERROR);
  CHECK_STATUS(kvquery_compute(query, no_column, 1), KVSTORE_ERROR);
  CHECK_STATUS(kvquery_compute(query, no_sum, 1), KVSTORE_TYPE);
  CHECK_STATUS(kvquery_compute(query, NULL, 1), KVSTORE_ERROR);
  CHECK_STATUS(kvquery_having(query, "count(", NULL, 0), KVSTORE_ERROR);
  CHECK_STATUS(kvquery_having(query, "count(*) > ?", NULL, 0), KVSTORE_ERROR);
  CHECK_STATUS(kvquery_having(query, "count(*) > 1 or count(*) < ?", two, 2), KVSTORE_ERROR);
  CHECK_STATUS(kvquery_having(query, "count(*) > 1", two, 1), KVSTORE_ERROR);
  CHECK_STATUS(kvquery_order_by(query, bad_flags, 1), KVSTORE_ERROR);
  CHECK_STATUS(kvquery_order_by(query, no_name, 1), KVSTORE_ERROR);
  CHECK_OK(kvquery_open(query, &cursor));
  CHECK_INT(kvcursor_column_count(cursor), 2);
  kvcursor_close(cursor);
  CHECK_OK(kvquery_order_by(query, by_sum, 1));
  CHECK_STATUS(kvquery_open(query, &cursor), KVSTORE_SCHEMA); /* no such column of the groups */
  CHECK(cursor == NULL);
  CHECK_OK(kvquery_order_by(query, NULL, 0));
  CHECK_OK(kvquery_having(query, "sum(day) > 3", NULL, 0));
  CHECK_STATUS(kvquery_open(query, &cursor), KVSTORE_SCHEMA);
  CHECK_OK(kvquery_having(query, "count(*) > 'x'", NULL, 0));
  CHECK_STATUS(kvquery_open(query, &cursor), KVSTORE_TYPE);
  CHECK_OK(kvquery_group_by(query, NULL, 0));
  CHECK_OK(kvquery_compute(query, NULL, 0));
  CHECK_STATUS(kvquery_open(query, &cursor), KVSTORE_ERROR); /* a filter over groups that are none */
  CHECK_OK(kvquery_having(query, NULL, NULL, 0));
  CHECK_OK(kvquery_open(query, &cursor)); /* rows again */
  CHECK_INT(kvcursor_column_count(cursor), 4);
  kvcursor_close(cursor);
  kvquery_close(query);
  CHECK_STATUS(kvquery_group_by(NULL, day, 1), KVSTORE_ERROR);
  CHECK_STATUS(kvquery_distinct(NULL, 1), KVSTORE_ERROR);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* ---- while it runs ---- */

typedef struct Watch {
  KVQuery *query; /* cancelled when so many rows have been scanned */
  uint64_t until, calls, rows, rows_total;
  int answer;
} Watch;

static int watch(void *context, uint64_t rows, uint64_t rows_total) {
  Watch *w = context;
  w->calls++;
  CHECK(rows >= w->rows && rows <= rows_total);
  w->rows = rows;
  w->rows_total = rows_total;
  if (w->query && rows >= w->until) CHECK_OK(kvquery_cancel(w->query));
  return w->query ? 0 : w->answer;
}

TEST(kvquery_groups, can_be_watched_and_cancelled) {
  KVStore *kv = open_store();
  KVTable *table = create_table(kv);
  KVQuery *query = NULL;
  KVCursor *cursor = NULL, *waiting = NULL, *sorted = NULL;
  const KVOrder by_day = { "day", 0 };
  const char *day[] = { "day" };
  const KVAggregate count[] = { { KVQUERY_ROWS, NULL } };
  Watch w = { 0 };
  uint64_t rows = 0, seed = 2;
  put_flights(kv, table, 0, ROWS / 2, &seed);
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  put_flights(kv, table, ROWS / 2, ROWS, &seed); /* a segment and a slab */
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_progress(query, watch, &w));
  CHECK_OK(kvquery_count(query, &rows));
  CHECK(w.calls >= 2);
  CHECK_INT(w.rows_total, ROWS);
  w = (Watch){ .answer = 1 };
  CHECK_STATUS(kvquery_count(query, &rows), KVSTORE_CANCELLED); /* by the callback */
  CHECK_INT(rows, 0);
  w = (Watch){ .query = query, .until = 1 };
  CHECK_STATUS(kvquery_count(query, &rows), KVSTORE_CANCELLED); /* in the middle */
  CHECK_INT(w.calls, 2);
  CHECK_OK(kvquery_progress(query, NULL, NULL));
  CHECK_OK(kvquery_cancel(query)); /* nothing runs */
  CHECK_OK(kvquery_count(query, &rows));
  CHECK_INT(rows, ROWS);
  CHECK_OK(kvquery_open(query, &waiting));
  CHECK_OK(kvcursor_next(waiting));
  CHECK_OK(kvquery_order_by(query, &by_day, 1));
  CHECK_OK(kvquery_open(query, &sorted));
  CHECK_OK(kvcursor_next(sorted)); /* all is read; it only gives out */
  CHECK_OK(kvquery_order_by(query, NULL, 0));
  CHECK_OK(kvquery_group_by(query, day, 1));
  CHECK_OK(kvquery_compute(query, count, 1));
  CHECK_OK(kvquery_open(query, &cursor));
  CHECK_OK(kvquery_cancel(query)); /* all three */
  CHECK_STATUS(kvcursor_next(cursor), KVSTORE_CANCELLED);
  CHECK_STATUS(kvcursor_next(cursor), KVSTORE_ERROR);      /* only the close may follow */
  CHECK_STATUS(kvcursor_next(waiting), KVSTORE_CANCELLED); /* in the middle of a batch */
  CHECK_STATUS(kvcursor_next(sorted), KVSTORE_CANCELLED);
  kvcursor_close(cursor);
  kvcursor_close(sorted);
  kvcursor_close(waiting);
  CHECK_OK(kvquery_open(query, &cursor)); /* a later one is not concerned */
  CHECK_OK(kvcursor_next(cursor));
  kvcursor_close(cursor);
  kvquery_close(query);
  CHECK_STATUS(kvquery_cancel(NULL), KVSTORE_ERROR);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

typedef struct Canceller {
  KVQuery *query;
  _Atomic int is_running, is_cancelled;
} Canceller;

static void *cancel_when_running(void *context) {
  Canceller *c = context;
  while (!atomic_load(&c->is_running)) continue;
  CHECK_OK(kvquery_cancel(c->query));
  atomic_store(&c->is_cancelled, 1);
  return NULL;
}

/* Does not let the run go on before it is cancelled. */
static int wait_for_cancel(void *context, uint64_t rows, uint64_t rows_total) {
  Canceller *c = context;
  CHECK(rows <= rows_total);
  atomic_store(&c->is_running, 1);
  while (!atomic_load(&c->is_cancelled)) continue;
  return 0;
}

TEST(kvquery_groups, can_be_cancelled_by_another_thread) {
  KVStore *kv = open_store();
  KVTable *table = create_table(kv);
  Canceller c = { 0 };
  pthread_t thread;
  uint64_t rows = 0, seed = 2;
  put_flights(kv, table, 0, ROWS, &seed);
  CHECK_OK(kvquery_create(table, &c.query));
  CHECK_OK(kvquery_progress(c.query, wait_for_cancel, &c));
  CHECK_INT(pthread_create(&thread, NULL, cancel_when_running, &c), 0);
  CHECK_STATUS(kvquery_count(c.query, &rows), KVSTORE_CANCELLED);
  CHECK_INT(pthread_join(thread, NULL), 0);
  CHECK_OK(kvquery_count(c.query, &rows)); /* the next run is its own */
  CHECK_INT(rows, ROWS);
  kvquery_close(c.query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvquery_groups, are_explained_as_json) {
  KVStore *kv = open_store();
  KVTable *table = create_table(kv);
  KVQuery *query = NULL;
  KVCursor *cursor = NULL;
  const char *keys[] = { "carrier", "day" };
  const KVAggregate count[] = { { KVQUERY_ROWS, NULL } };
  const KVOrder order[] = { { "count(*)", KVQUERY_DESCENDING | KVQUERY_NULLS_LAST } };
  char *text = NULL;
  uint64_t seed = 2;
  put_flights(kv, table, 0, 100, &seed);
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_where(query, "carrier <> 'a\"b\\'", NULL, 0));
  CHECK_OK(kvquery_group_by(query, keys, 2));
  CHECK_OK(kvquery_compute(query, count, 1));
  CHECK_OK(kvquery_order_by(query, order, 1));
  CHECK_OK(kvquery_limit(query, 0, 5));
  CHECK_OK(kvquery_explain_json(query, &text));
  CHECK_STR(text, "{\"filter\":\"carrier <> 'a\\\"b\\\\'\",\"columns\":[\"carrier\",\"day\",\"count(*)\"],"
                  "\"group_by\":[\"carrier\",\"day\"],\"having\":null,"
                  "\"order\":[{\"column\":\"count(*)\",\"descending\":true,\"nulls\":\"last\"}],\"by_key\":false,"
                  "\"offset\":0,\"limit\":5}");
  kvstore_free(text);
  CHECK_OK(kvquery_open(query, &cursor));
  while (kvcursor_next(cursor) == KVSTORE_OK) continue;
  kvcursor_close(cursor);
  CHECK_OK(kvquery_explain_json(query, &text));
  CHECK(strstr(text, ",\"run\":{\"units\":1,\"segments_skipped\":0,\"rows\":100,\"rows_selected\":100,") != NULL);
  CHECK(strstr(text, "\"bytes_spilled\":0}}") != NULL);
  kvstore_free(text);
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* ---- quantiles, and counts that are about right ---- */

static int compare_delays(const void *a, const void *b) { return *(const int16_t *)a - *(const int16_t *)b; }

TEST(kvquery_groups, quantiles_are_values_of_their_place) {
  KVStore *kv = open_store();
  KVTable *table = create_table(kv);
  KVQuery *query = NULL;
  KVCursor *cursor = NULL;
  const KVAggregate all[] = { { KVQUERY_MEDIAN, "delay" },
                              { KVQUERY_QUANTILE(0.95), "delay" },
                              { KVQUERY_QUANTILE(0), "delay" },
                              { KVQUERY_QUANTILE(1), "carrier" },
                              { KVQUERY_APPROX_COUNT_DISTINCT, "id" } };
  const KVAggregate beyond[] = { { KVQUERY_QUANTILE(1.000001), "delay" } };
  static int16_t delays[ROWS];
  KVValue results[5];
  size_t count = 0;
  uint64_t seed = 55;
  put_flights(kv, table, 0, ROWS, &seed);
  for (int i = 0; i < ROWS; i++) {
    if (flights[i].has_delay) delays[count++] = flights[i].delay;
  }
  qsort(delays, count, sizeof *delays, compare_delays);
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_aggregate(query, all, 5, results));
  CHECK_INT(results[0].type, KVTABLE_TYPE_I16);
  CHECK_INT(results[0].as.i64, delays[(count + 1) / 2 - 1]);
  CHECK_INT(results[1].as.i64, delays[(count * 95 + 99) / 100 - 1]);
  CHECK_INT(results[2].as.i64, delays[0]);
  CHECK_BYTES(results[3].as.bytes.data, "\xC3\x84", 2);
  CHECK(results[4].as.u64 > ROWS * 0.92 && results[4].as.u64 < ROWS * 1.08);
  CHECK_STATUS(kvquery_aggregate(query, beyond, 1, results), KVSTORE_ERROR);
  CHECK_OK(kvquery_compute(query, all, 2));
  CHECK_OK(kvquery_having(query, "median(delay) > -1000", NULL, 0));
  CHECK_OK(kvquery_open(query, &cursor));
  KVColumnDefinition definition;
  CHECK_OK(kvcursor_column(cursor, 0, &definition));
  CHECK_STR(definition.name, "median(delay)");
  CHECK_OK(kvcursor_column(cursor, 1, &definition));
  CHECK_STR(definition.name, "quantile(delay, 0.95)");
  CHECK_OK(kvcursor_next(cursor));
  CHECK_INT(value_at(cursor, 0).as.i64, delays[(count + 1) / 2 - 1]);
  kvcursor_close(cursor);
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* ---- quantiles of many values: as those of sorted ones ---- */

enum { VALUES = 9000, PARTS = 3 };

typedef struct Sample {
  uint64_t bits; /* of the value */
  int row;
} Sample;

static int by_float(const void *a, const void *b) {
  const Sample *x = a, *y = b;
  double u, v;
  memcpy(&u, &x->bits, sizeof u);
  memcpy(&v, &y->bits, sizeof v);
  int order = (u != u || v != v) ? (u != u) - (v != v) : (u > v) - (u < v); /* NaN above all */
  return order ? order : x->row - y->row;
}

static int by_number(const void *a, const void *b) {
  int64_t x = (int64_t)((const Sample *)a)->bits, y = (int64_t)((const Sample *)b)->bits;
  return (x > y) - (x < y);
}

static int by_unsigned(const void *a, const void *b) {
  uint64_t x = ((const Sample *)a)->bits, y = ((const Sample *)b)->bits;
  return (x > y) - (x < y);
}

/* Zeros and NaN of several kinds, few values far apart, one far from all others, the least and greatest there are. */
static uint64_t sample_bits(int column, int row) {
  static const uint64_t floats[] = { 0, UINT64_C(1) << 63, UINT64_C(0x7ff8000000000001), UINT64_C(0xfff8000000000002) };
  uint64_t hash = (uint64_t)(row + 1) * UINT64_C(0x9E3779B97F4A7C15);
  if (column == 2) return row == 77 ? UINT64_C(1) << 62 : hash >> 60;
  if (column == 3) return row % 100 == 5 ? (row % 200 == 5 ? 0 : UINT64_MAX) : hash;
  double number = (double)(int64_t)hash / 1e9;
  uint64_t bits;
  memcpy(&bits, &number, sizeof bits);
  return row % 5 == 4 ? bits : floats[hash >> 33 & 3];
}

static uint64_t quantile_of(int column, int part, int millionths) {
  static Sample samples[VALUES];
  int (*const order[])(const void *, const void *) = { NULL, by_float, by_number, by_unsigned };
  size_t count = 0;
  for (int row = 0; row < VALUES; row++) {
    if (part < 0 || row % PARTS == part) samples[count++] = (Sample){ sample_bits(column, row), row };
  }
  qsort(samples, count, sizeof *samples, order[column]);
  size_t place = (count * (size_t)millionths + 999999) / 1000000;
  return samples[place ? place - 1 : 0].bits;
}

static KVTable *create_samples(KVStore *kv) {
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I32, 0, 0 },
                                         { "f", KVTABLE_TYPE_F64, 0, 0 },
                                         { "i", KVTABLE_TYPE_I64, 0, 0 },
                                         { "u", KVTABLE_TYPE_U64, 0, 0 },
                                         { "part", KVTABLE_TYPE_I32, 0, 0 } };
  static int32_t ids[VALUES], parts[VALUES];
  static uint64_t bits[4][VALUES];
  const char *key[] = { "id" };
  KVTable *table = NULL;
  for (int row = 0; row < VALUES; row++) {
    ids[row] = row;
    parts[row] = row % PARTS;
    for (int c = 1; c <= 3; c++) bits[c][row] = sample_bits(c, row);
  }
  const KVColumnData data[] = { { KVTABLE_TYPE_I32, 0, ids, NULL, NULL, NULL },
                                { KVTABLE_TYPE_F64, 0, bits[1], NULL, NULL, NULL },
                                { KVTABLE_TYPE_I64, 0, bits[2], NULL, NULL, NULL },
                                { KVTABLE_TYPE_U64, 0, bits[3], NULL, NULL, NULL },
                                { KVTABLE_TYPE_I32, 0, parts, NULL, NULL, NULL } };
  CHECK_OK(kvtable_create(kv, "samples", columns, 5, key, 1, &table));
  CHECK_OK(kvtable_append(table, data, 5, VALUES, NULL, KVTABLE_INSERT, NULL));
  return table;
}

static void check_quantiles(KVQuery *query, int is_grouped) {
  static const int millionths[] = { 0, 1, 300000, 500000, 750000, 999500, 1000000 };
  static const char *const names[] = { NULL, "f", "i", "u" }, *const part[] = { "part" };
  enum { ASKED = 7 };
  KVAggregate all[3 * ASKED];
  for (int i = 0; i < 3 * ASKED; i++)
    all[i] = (KVAggregate){ KVQUERY_QUANTILE(millionths[i % ASKED] / 1e6), names[1 + i / ASKED] };
  CHECK_OK(kvquery_group_by(query, part, is_grouped ? 1 : 0));
  CHECK_OK(kvquery_compute(query, all, 3 * ASKED));
  KVCursor *cursor = NULL;
  int rows = 0;
  CHECK_OK(kvquery_open(query, &cursor));
  for (; kvcursor_next(cursor) == KVSTORE_OK; rows++) {
    int of = is_grouped ? (int)value_at(cursor, 0).as.i64 : -1;
    for (int i = 0; i < 3 * ASKED; i++)
      CHECK_INT(value_at(cursor, (size_t)(i + is_grouped)).as.u64,
                quantile_of(1 + i / ASKED, of, millionths[i % ASKED]));
  }
  CHECK_INT(rows, is_grouped ? PARTS : 1);
  kvcursor_close(cursor);
}

TEST(kvquery_groups, quantiles_of_many_values_are_those_of_sorted_ones) {
  KVStore *kv = open_store();
  KVTable *table = create_samples(kv);
  KVQuery *query = NULL;
  CHECK_OK(kvquery_create(table, &query));
  for (uint32_t threads = 1; threads <= 3; threads += 2) {
    CHECK_OK(kvquery_threads(query, threads));
    check_quantiles(query, 0);
    check_quantiles(query, 1);
  }
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}
