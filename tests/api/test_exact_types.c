/* Decimals, times of day, durations and uuids through the public headers: in, out, filtered, summed, grouped, ordered,
 * joined, computed with, refused; in the delta and in runs; and which timestamps are in UTC. Expected values are
 * computed by the test itself in integers.
 */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/api/api_support.h"

enum { ROWS = 3000, PRICES = 700 };

static const KVColumnDefinition columns[] = { { "who", KVTABLE_TYPE_UUID, 0, 0 },
                                              { "price", KVTABLE_TYPE_DECIMAL, KVTABLE_NULLABLE, 2 },
                                              { "at", KVTABLE_TYPE_TIME, KVTABLE_NULLABLE, 0 },
                                              { "lasted", KVTABLE_TYPE_DURATION, KVTABLE_NULLABLE, 0 },
                                              { "rate", KVTABLE_TYPE_DECIMAL, 0, 5 },
                                              { "f", KVTABLE_TYPE_F64, 0, 0 } };
enum { COLUMNS = sizeof columns / sizeof *columns };
static const char *const key[] = { "who" };

typedef struct Row {
  uint8_t who[16];
  int64_t price, at, lasted, rate; /* price INT64_MIN: it, at and lasted are null */
} Row;

static Row row_of(int64_t i) {
  Row r = { { 0 }, i % PRICES * 25 - 5000, i * 28799987 % INT64_C(86400000000), (i % 41 - 20) * 1500000, i * 7 - 900 };
  for (int b = 0; b < 8; b++) r.who[b] = (uint8_t)((uint64_t)i * UINT64_C(0x9E3779B97F4A7C15) >> 8 * b);
  if (i % 11 == 3) r.price = INT64_MIN;
  return r;
}

static void values_of(const Row *r, KVValue v[COLUMNS]) {
  int none = r->price == INT64_MIN;
  v[0] = kvvalue_uuid(r->who);
  v[1] = none ? kvvalue_null() : kvvalue_decimal(r->price, 2);
  v[2] = none ? kvvalue_null() : kvvalue_time(r->at);
  v[3] = none ? kvvalue_null() : kvvalue_duration(r->lasted);
  v[4] = kvvalue_decimal(r->rate, 5);
  v[5] = kvvalue_f64((double)r->price / 100.0);
}

/* Single rows first, then arrays of what is left. */
static KVTable *make(KVStore *kv) {
  static KVBytes ids[ROWS];
  static Row rows[ROWS];
  static int64_t price[ROWS], at[ROWS], lasted[ROWS], rate[ROWS];
  static double f[ROWS];
  static uint8_t nulls[ROWS];
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, "t", columns, COLUMNS, key, 1, &table));
  CHECK_OK(kvstore_begin(kv, 1));
  for (int64_t i = 0; i < ROWS; i++) {
    KVValue v[COLUMNS];
    rows[i] = row_of(i);
    values_of(&rows[i], v);
    ids[i] = (KVBytes){ rows[i].who, 16 };
    nulls[i] = rows[i].price == INT64_MIN;
    price[i] = nulls[i] ? 0 : rows[i].price;
    at[i] = nulls[i] ? 0 : rows[i].at;
    lasted[i] = nulls[i] ? 0 : rows[i].lasted;
    rate[i] = rows[i].rate;
    f[i] = (double)rows[i].price / 100.0;
    if (i < 100) CHECK_OK(kvtable_insert(table, v, COLUMNS, 0, NULL));
  }
  const KVColumnData data[] = { { KVTABLE_TYPE_UUID, KVTABLE_FORM_ARRAY, ids + 100, NULL, NULL, NULL },
                                { KVTABLE_TYPE_DECIMAL, KVTABLE_FORM_ARRAY, price + 100, nulls + 100, NULL, NULL },
                                { KVTABLE_TYPE_TIME, KVTABLE_FORM_ARRAY, at + 100, nulls + 100, NULL, NULL },
                                { KVTABLE_TYPE_DURATION, KVTABLE_FORM_ARRAY, lasted + 100, nulls + 100, NULL, NULL },
                                { KVTABLE_TYPE_DECIMAL, KVTABLE_FORM_ARRAY, rate + 100, NULL, NULL, NULL },
                                { KVTABLE_TYPE_F64, KVTABLE_FORM_ARRAY, f + 100, NULL, NULL, NULL } };
  CHECK_OK(kvtable_append(table, data, COLUMNS, ROWS - 100, NULL, KVTABLE_INSERT, NULL));
  CHECK_OK(kvstore_commit(kv));
  return table;
}

static void check_near(double value, double expected, double within) {
  if (!(value - expected <= within && expected - value <= within))
    test_fail_(__FILE__, __LINE__, "near", "%.17g, not %.17g", value, expected);
}

static KVQuery *query_where(KVTable *table, const char *where, const KVValue *values, size_t count) {
  KVQuery *query = NULL;
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_where(query, where, values, count));
  return query;
}

static uint64_t count_where(KVTable *table, const char *where, const KVValue *values, size_t count) {
  KVQuery *query = query_where(table, where, values, count);
  uint64_t rows = 0;
  CHECK_OK(kvquery_count(query, &rows));
  kvquery_close(query);
  return rows;
}

#define EXPECT(table, where, condition)                       \
  do {                                                        \
    uint64_t expected_ = 0;                                   \
    for (int64_t i_ = 0; i_ < ROWS; i_++) {                   \
      Row r = row_of(i_);                                     \
      int known = r.price != INT64_MIN;                       \
      expected_ += (uint64_t)(known && (condition));          \
    }                                                         \
    CHECK(expected_ > 0);                                     \
    CHECK_INT(count_where(table, where, NULL, 0), expected_); \
  } while (0)

static void check_filters(KVTable *t) {
  EXPECT(t, "price > 12.34", r.price > 1234);
  EXPECT(t, "price >= 12.345 and price is not null", r.price >= 1235);
  EXPECT(t, "price = 12.5", r.price == 1250);
  EXPECT(t, "price <= '12.50'", r.price <= 1250);
  EXPECT(t, "price < -3", r.price < -300);
  EXPECT(t, "price in (1, 1.25, decimal '1.500', 1.005)", r.price == 100 || r.price == 125 || r.price == 150);
  EXPECT(t, "price between -0.25 and 1e1", r.price >= -25 && r.price <= 1000);
  EXPECT(t, "price < rate", r.price * 1000 < r.rate);
  EXPECT(t, "price >= f", r.price != INT64_MIN && (r.price % 25 == 0));
  EXPECT(t, "at < '12:00'", r.at < INT64_C(43200000000));
  EXPECT(t, "at >= time '01:02:03.5'", r.at >= INT64_C(3723500000));
  EXPECT(t, "lasted > interval '15 seconds'", r.lasted > 15000000);
  EXPECT(t, "lasted = '00:00:03' or lasted = -interval 3 seconds", r.lasted == 3000000 || r.lasted == -3000000);
  CHECK_INT(count_where(t, "price > 1000000", NULL, 0), 0);
  CHECK_INT(count_where(t, "rate < 100000", NULL, 0), ROWS);
  uint64_t none = 0;
  for (int64_t i = 0; i < ROWS; i++) none += row_of(i).price == INT64_MIN;
  CHECK_INT(count_where(t, "at is null", NULL, 0), none);
  Row some = row_of(1234);
  KVValue who = kvvalue_uuid(some.who), price = kvvalue_decimal(some.price * 10, 3);
  CHECK_INT(count_where(t, "who = ?", &who, 1), 1);
  char text[128], uuid[64];
  kvvalue_print(&who, uuid, sizeof uuid);
  (void)snprintf(text, sizeof text, "who = '%s'", uuid);
  CHECK_INT(count_where(t, text, NULL, 0), 1);
  (void)snprintf(text, sizeof text, "who in (uuid '%s', x'00')", uuid);
  CHECK_INT(count_where(t, text, NULL, 0), 1);
  CHECK(count_where(t, "price = ?", &price, 1) >= 1);
}

static void check_aggregates(KVTable *t) {
  static const KVAggregate wanted[] = {
    { KVQUERY_SUM, "price" },     { KVQUERY_MIN, "price" },  { KVQUERY_MAX, "price" },    { KVQUERY_AVG, "price" },
    { KVQUERY_SUM, "lasted" },    { KVQUERY_AVG, "lasted" }, { KVQUERY_MIN, "at" },       { KVQUERY_MAX, "who" },
    { KVQUERY_VARIANCE, "rate" }, { KVQUERY_SUM, "rate" },   { KVQUERY_SUM, "price * 2" }
  };
  enum { WANTED = sizeof wanted / sizeof *wanted };
  int64_t sum = 0, low = INT64_MAX, high = INT64_MIN, lasted = 0, at = INT64_MAX, rates = 0, count = 0;
  double mean = 0, squares = 0;
  uint8_t last[16] = { 0 };
  for (int64_t i = 0; i < ROWS; i++) {
    Row r = row_of(i);
    if (memcmp(r.who, last, 16) > 0) memcpy(last, r.who, 16);
    rates += r.rate;
    mean += (double)r.rate / 1e5 / ROWS;
    if (r.price == INT64_MIN) continue;
    count++;
    sum += r.price;
    low = r.price < low ? r.price : low;
    high = r.price > high ? r.price : high;
    at = r.at < at ? r.at : at;
    lasted += r.lasted;
  }
  for (int64_t i = 0; i < ROWS; i++) {
    double off = (double)row_of(i).rate / 1e5 - mean;
    squares += off * off;
  }
  KVQuery *query = query_where(t, "true", NULL, 0);
  KVValue v[WANTED];
  CHECK_OK(kvquery_aggregate(query, wanted, WANTED, v));
  CHECK_INT(v[0].type, KVTABLE_TYPE_DECIMAL128);
  CHECK_INT(v[0].scale, 2);
  CHECK_INT((int64_t)v[0].as.decimal.low, sum);
  CHECK_INT(v[0].as.decimal.high, sum < 0 ? -1 : 0);
  CHECK_INT(v[1].type, KVTABLE_TYPE_DECIMAL);
  CHECK_INT(v[1].as.i64, low);
  CHECK_INT(v[1].as.decimal.high, -1);
  CHECK_INT(v[2].as.i64, high);
  CHECK_INT(v[2].scale, 2);
  check_near(v[3].as.f64, (double)sum / 100.0 / (double)count, 1e-9);
  CHECK_INT((int64_t)v[4].as.decimal.low, lasted);
  CHECK_INT(v[4].scale, 0);
  check_near(v[5].as.f64, (double)lasted / (double)count, 1e-6);
  CHECK_INT(v[6].type, KVTABLE_TYPE_TIME);
  CHECK_INT(v[6].as.i64, at);
  CHECK_INT(v[7].type, KVTABLE_TYPE_UUID);
  CHECK_BYTES(v[7].as.bytes.data, last, 16);
  check_near(v[8].as.f64, squares / (ROWS - 1), 1e-9);
  CHECK_INT((int64_t)v[9].as.decimal.low, rates);
  CHECK_INT((int64_t)v[10].as.decimal.low, 2 * sum);
  char text[64], digits[64];
  kvvalue_print(&v[0], text, sizeof text);
  (void)snprintf(digits, sizeof digits, "%s%lld.%02lld", sum < 0 ? "-" : "", llabs(sum) / 100, llabs(sum) % 100);
  CHECK_STR(text, digits);
  check_near(kvvalue_to_f64(&v[0]), (double)sum / 100.0, 1e-6);
  kvquery_close(query);
}

/* Groups of the price and of the duration; their sums by what the test adds up, ordered by the price. */
static void check_groups(KVTable *t) {
  static const char *const by[] = { "price" };
  static const KVAggregate sums[] = {
    { KVQUERY_ROWS, NULL }, { KVQUERY_SUM, "rate" }, { KVQUERY_COUNT_DISTINCT, "lasted" }, { KVQUERY_MAX, "at" }
  };
  static const KVOrder order[] = { { "price", KVQUERY_DESCENDING } };
  int64_t last = INT64_MAX, groups = 0;
  KVQuery *query = query_where(t, "price is not null", NULL, 0);
  KVCursor *cursor = NULL;
  CHECK_OK(kvquery_group_by(query, by, 1));
  CHECK_OK(kvquery_compute(query, sums, 4));
  CHECK_OK(kvquery_having(query, "sum(rate) > -0.005 and price < 100.5", NULL, 0));
  CHECK_OK(kvquery_order_by(query, order, 1));
  CHECK_OK(kvquery_open(query, &cursor));
  KVColumnDefinition definition;
  CHECK_OK(kvcursor_column(cursor, 2, &definition));
  CHECK_INT(definition.type, KVTABLE_TYPE_DECIMAL128);
  CHECK_INT(definition.width, 5);
  while (kvcursor_next(cursor) == KVSTORE_OK) {
    KVValue price, rows, rate;
    CHECK_OK(kvcursor_value(cursor, 0, &price));
    CHECK_OK(kvcursor_value(cursor, 1, &rows));
    CHECK_OK(kvcursor_value(cursor, 2, &rate));
    CHECK_INT(price.type, KVTABLE_TYPE_DECIMAL);
    CHECK(price.as.i64 < last);
    last = price.as.i64;
    int64_t sum = 0, count = 0;
    for (int64_t i = 0; i < ROWS; i++) {
      Row r = row_of(i);
      if (r.price == last) sum += r.rate, count++;
    }
    CHECK_INT(rows.as.u64, count);
    CHECK_INT((int64_t)rate.as.decimal.low, sum);
    CHECK(sum > -500 && last < 10050);
    groups++;
  }
  CHECK(groups > 400 && groups < PRICES);
  kvcursor_close(cursor);
  kvquery_close(query);
}

static void check_rows(KVTable *t) {
  for (int64_t i = 0; i < ROWS; i += 97) {
    Row r = row_of(i);
    KVValue who = kvvalue_uuid(r.who), got[COLUMNS], want[COLUMNS];
    KVRow *row = NULL;
    values_of(&r, want);
    CHECK_OK(kvtable_get(t, &who, 1, got, COLUMNS, NULL, &row));
    for (size_t c = 1; c < COLUMNS; c++) {
      CHECK_INT(got[c].is_null, want[c].is_null);
      if (!want[c].is_null)
        CHECK(got[c].type == want[c].type && got[c].scale == want[c].scale && got[c].as.u64 == want[c].as.u64);
    }
    CHECK_BYTES(got[0].as.bytes.data, r.who, 16);
    kvtable_row_free(row);
  }
}

TEST(exact_types, answer_the_same_in_the_delta_and_in_runs) {
  KVStore *kv = open_store();
  KVTable *t = make(kv);
  for (int settled = 0; settled < 2; settled++) {
    check_rows(t);
    check_filters(t);
    check_aggregates(t);
    check_groups(t);
    if (!settled) CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  }
  char *message = NULL;
  CHECK_OK(kvstore_integrity_check(kv, &message));
  kvstore_free(message);
  kvtable_close(t);
  CHECK_OK(kvstore_close(kv));
}

/* What has not settled is read again from the log. */
TEST(exact_types, come_back_from_the_log_of_a_process_that_died) {
  (void)path_of("store"); /* the directory is made once, for both */
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    (void)make(open_store());
    _exit(0);
  }
  int status = -1;
  CHECK_INT(waitpid(child, &status, 0), child);
  CHECK_INT(status, 0);
  KVStore *kv = open_store();
  KVTable *t = NULL;
  CHECK_OK(kvtable_open(kv, "t", &t));
  check_rows(t);
  check_aggregates(t);
  kvtable_close(t);
  CHECK_OK(kvstore_close(kv));
}

/* ---- keys ---- */

static uint64_t count_range(KVTable *t, const KVValue *from, size_t from_count, const KVValue *to, size_t to_count) {
  KVQuery *query = NULL;
  uint64_t rows = 0;
  CHECK_OK(kvquery_create(t, &query));
  CHECK_OK(kvquery_key_range(query, from, from_count, to, to_count, KVQUERY_TO_INCLUDED));
  CHECK_OK(kvquery_count(query, &rows));
  kvquery_close(query);
  return rows;
}

/* Rows (price, at, lasted) of prices -4.00 to 4.00 by quarters, each at 0 to 9 o'clock, in the order of their keys. */
TEST(exact_types, are_keys_in_their_order) {
  static const KVColumnDefinition of[] = { { "price", KVTABLE_TYPE_DECIMAL, 0, 2 },
                                           { "at", KVTABLE_TYPE_TIME, 0, 0 },
                                           { "lasted", KVTABLE_TYPE_DURATION, 0, 0 } };
  static const char *const by[] = { "price", "at", "lasted" };
  KVStore *kv = open_store();
  KVTable *t = NULL;
  CHECK_OK(kvtable_create(kv, "t", of, 3, by, 3, &t));
  for (int64_t i = 0; i < 330; i++) {
    int64_t row = i * 89 % 330; /* in some order */
    KVValue v[] = { kvvalue_decimal(row / 10 * 25 - 400, 2), kvvalue_time(row % 10 * INT64_C(3600000000)),
                    kvvalue_duration(5 - row) };
    CHECK_OK(kvtable_insert(t, v, 3, 0, NULL));
  }
  for (int settled = 0; settled < 2; settled++) {
    KVValue from[] = { kvvalue_decimal(15, 1), kvvalue_time(INT64_C(3600000000) * 8) }, to = kvvalue_i64(2);
    CHECK_INT(count_range(t, from, 2, &to, 1), 22); /* 1.50 at 8 and 9; 1.75; 2.00 */
    CHECK_INT(count_where(t, "price >= 1.5 and price < 2.001", NULL, 0), 30);
    CHECK_INT(count_where(t, "price = -0.25 and at > '07:00'", NULL, 0), 2);
    CHECK_INT(count_where(t, "price < -3.9", NULL, 0), 10);
    KVQuery *query = query_where(t, "true", NULL, 0);
    KVCursor *cursor = NULL;
    CHECK_OK(kvquery_order_by_key(query, 1));
    CHECK_OK(kvquery_open(query, &cursor));
    for (int64_t row = 0; row < 330; row++) {
      KVValue price, lasted;
      CHECK_OK(kvcursor_next(cursor));
      CHECK_OK(kvcursor_value(cursor, 0, &price));
      CHECK_OK(kvcursor_value(cursor, 2, &lasted));
      CHECK_INT(price.as.i64, row / 10 * 25 - 400);
      CHECK_INT(lasted.as.i64, 5 - row);
    }
    CHECK_STATUS(kvcursor_next(cursor), KVSTORE_NOTFOUND);
    kvcursor_close(cursor);
    kvquery_close(query);
    KVValue fine = kvvalue_decimal(1, 3);
    CHECK_STATUS(kvquery_create(t, &query), KVSTORE_OK);
    CHECK_STATUS(kvquery_key_range(query, &fine, 1, NULL, 0, 0), KVSTORE_TYPE); /* 0.001 is no price */
    kvquery_close(query);
    if (!settled) CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  }
  kvtable_close(t);
  CHECK_OK(kvstore_close(kv));
}

/* ---- computed ---- */

static void check_first(KVTable *t, const char *value, const char *where, const char *expected) {
  KVQuery *query = query_where(t, where, NULL, 0);
  KVCursor *cursor = NULL;
  KVValue v;
  char text[64];
  CHECK_OK(kvquery_select(query, &value, 1));
  CHECK_OK(kvquery_open(query, &cursor));
  CHECK_OK(kvcursor_next(cursor));
  CHECK_OK(kvcursor_value(cursor, 0, &v));
  kvvalue_print(&v, text, sizeof text);
  CHECK_STR(text, expected);
  kvcursor_close(cursor);
  kvquery_close(query);
}

/* Row 0: price -50.00, at 00:00:00, lasted -30 s, rate -0.00900. Row 699: the greatest price, 124.75. */
TEST(exact_types, are_computed_with) {
  KVStore *kv = open_store();
  KVTable *t = make(kv);
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  const char *first = "price = -50 and rate = -0.009";
  check_first(t, "price + rate", first, "-50.00900");
  check_first(t, "price * rate", first, "0.4500000");
  check_first(t, "price - 1", first, "-51.00");
  check_first(t, "price / 4", first, "-12.5");
  check_first(t, "-price", first, "50.00");
  check_first(t, "date '2000-01-01' + at", first, "2000-01-01 00:00:00");
  check_first(t, "at - lasted", first, "00:00:30");
  check_first(t, "lasted * 3", first, "-00:01:30");
  check_first(t, "cast(price as string)", first, "-50.00");
  check_first(t, "cast(who as string)", first, "00000000-0000-0000-0000-000000000000");
  check_first(t, "coalesce(price, 0)", "price is null", "0.00");
  KVQuery *query = query_where(t, "price + 0.005 > 124.75 and price + 0.005 < 124.76", NULL, 0);
  uint64_t rows = 0;
  CHECK_OK(kvquery_count(query, &rows));
  uint64_t greatest = 0;
  for (int64_t i = 0; i < ROWS; i++) greatest += row_of(i).price == 12475;
  CHECK_INT(rows, greatest);
  KVValue v;
  CHECK_STATUS(kvquery_sum(query, "price + 9999999999999999", &v), KVSTORE_TYPE);
  CHECK(strstr(kvstore_errmsg(kv), "124.75") && strstr(kvstore_errmsg(kv), "does not fit decimal(18,2)"));
  CHECK_STATUS(kvquery_sum(query, "at", &v), KVSTORE_TYPE);
  CHECK(strstr(kvstore_errmsg(kv), "column at is time, which has no sum"));
  CHECK_STATUS(kvquery_sum(query, "who", &v), KVSTORE_TYPE);
  CHECK_STATUS(kvquery_where(query, "price = 'abc'", NULL, 0), KVSTORE_TYPE);
  CHECK(strstr(kvstore_errmsg(kv), "column price is decimal(18,2)"));
  CHECK_STATUS(kvquery_where(query, "who like 'a%'", NULL, 0), KVSTORE_TYPE);
  CHECK_STATUS(kvquery_where(query, "who = 'a'", NULL, 0), KVSTORE_TYPE);
  CHECK_STATUS(kvquery_where(query, "at > lasted", NULL, 0), KVSTORE_TYPE);
  CHECK_STATUS(kvquery_where(query, "lasted > 5", NULL, 0), KVSTORE_TYPE);
  kvquery_close(query);
  kvtable_close(t);
  CHECK_OK(kvstore_close(kv));
}

/* ---- refused ---- */

TEST(exact_types, what_is_no_value_of_a_column_is_refused_with_its_name) {
  static const struct {
    size_t column;
    KVValue value;
    const char *part;
  } cases[] = {
    { 1,
      { KVTABLE_TYPE_DECIMAL, 0, 3, 0, { .i64 = 1 } },
      "column price is of type decimal(18,2): it cannot hold the decimal 0.001" },
    { 1, { KVTABLE_TYPE_DECIMAL, 0, 2, 0, { .i64 = INT64_C(1000000000000000000) } }, "column price" },
    { 1, { KVTABLE_TYPE_I64, 0, 0, 0, { .i64 = INT64_MAX } }, "column price" },
    { 1, { KVTABLE_TYPE_F64, 0, 0, 0, { .f64 = 0.1 } }, "column price" },
    { 2, { KVTABLE_TYPE_TIME, 0, 0, 0, { .i64 = INT64_C(86400000000) } }, "column at" },
    { 2, { KVTABLE_TYPE_TIME, 0, 0, 0, { .i64 = -1 } }, "column at" },
    { 2, { KVTABLE_TYPE_DURATION, 0, 0, 0, { .i64 = 1 } }, "column at" },
    { 3, { KVTABLE_TYPE_I64, 0, 0, 0, { .i64 = 1 } }, "column lasted" },
    { 0, { KVTABLE_TYPE_STRING, 0, 0, 0, { .bytes = { "0123456789abcdef", 16 } } }, "column who" },
    { 0, { KVTABLE_TYPE_BYTES, 0, 0, 0, { .bytes = { "0123456789abcde", 15 } } }, "who" },
  };
  KVStore *kv = open_store();
  KVTable *t = NULL;
  CHECK_OK(kvtable_create(kv, "t", columns, COLUMNS, key, 1, &t));
  Row r = row_of(1);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    KVValue v[COLUMNS];
    values_of(&r, v);
    v[cases[i].column] = cases[i].value;
    CHECK_STATUS(kvtable_insert(t, v, COLUMNS, 0, NULL), KVSTORE_TYPE);
    if (!strstr(kvstore_errmsg(kv), cases[i].part)) CHECK_STR(kvstore_errmsg(kv), cases[i].part);
  }
  KVValue v[COLUMNS];
  values_of(&r, v);
  v[0] = kvvalue_bytes("0123456789abcdef", 16);
  v[1] = kvvalue_f64(2.25);
  v[4] = kvvalue_i64(-3);
  CHECK_OK(kvtable_insert(t, v, COLUMNS, 0, NULL));
  CHECK_INT(count_where(t, "price = 2.25 and rate = -3 and who = uuid '30313233-3435-3637-3839-616263646566'", NULL, 0),
            1);
  int64_t late[] = { INT64_C(86400000000) }, fine[] = { 1 };
  double f[] = { 0 };
  KVBytes ids[] = { { "fedcba9876543210", 16 } };
  KVColumnData data[] = { { KVTABLE_TYPE_UUID, KVTABLE_FORM_ARRAY, ids, NULL, NULL, NULL },
                          { KVTABLE_TYPE_DECIMAL, KVTABLE_FORM_ARRAY, fine, NULL, NULL, NULL },
                          { KVTABLE_TYPE_TIME, KVTABLE_FORM_ARRAY, late, NULL, NULL, NULL },
                          { KVTABLE_TYPE_DURATION, KVTABLE_FORM_ARRAY, fine, NULL, NULL, NULL },
                          { KVTABLE_TYPE_DECIMAL, KVTABLE_FORM_ARRAY, fine, NULL, NULL, NULL },
                          { KVTABLE_TYPE_F64, KVTABLE_FORM_ARRAY, f, NULL, NULL, NULL } };
  CHECK_STATUS(kvtable_append(t, data, COLUMNS, 1, NULL, KVTABLE_INSERT, NULL), KVSTORE_TYPE);
  CHECK(
    strstr(kvstore_errmsg(kv), "row 0, column at: a time of day is 0 to 86399999999 microseconds, not 86400000000"));
  int64_t large[] = { INT64_C(-1000000000000000000) };
  data[2].values = fine;
  data[4].values = large;
  CHECK_STATUS(kvtable_append(t, data, COLUMNS, 1, NULL, KVTABLE_INSERT, NULL), KVSTORE_TYPE);
  CHECK(strstr(kvstore_errmsg(kv), "row 0, column rate: a decimal has at most 18 digits, not -1000000000000000000"));
  kvtable_close(t);
  CHECK_OK(kvstore_close(kv));
}

TEST(exact_types, text_is_read_and_printed) {
  uint8_t room[16];
  KVValue v;
  char text[64];
  CHECK_OK(kvvalue_read(KVTABLE_TYPE_DECIMAL, 2, " 12.3 ", 6, NULL, &v));
  CHECK(v.as.i64 == 1230 && v.scale == 2);
  kvvalue_print(&v, text, sizeof text);
  CHECK_STR(text, "12.30");
  v = kvvalue_decimal(-5, 18);
  kvvalue_print(&v, text, sizeof text);
  CHECK_STR(text, "-0.000000000000000005");
  CHECK_OK(kvvalue_read(KVTABLE_TYPE_UUID, 0, "00112233445566778899AABBCCDDEEFF", 32, room, &v));
  kvvalue_print(&v, text, sizeof text);
  CHECK_STR(text, "00112233-4455-6677-8899-aabbccddeeff");
  CHECK_OK(kvvalue_read(KVTABLE_TYPE_DURATION, 0, "1 day 1 ms", 10, NULL, &v));
  CHECK_INT(v.as.i64, INT64_C(86400001000));
  CHECK_INT(kvvalue_to_f64(&v), INT64_C(86400001000));
  CHECK_OK(kvvalue_read(KVTABLE_TYPE_TIME, 0, "12:34", 5, NULL, &v));
  CHECK_INT(v.as.i64, INT64_C(45240000000));
  CHECK_STATUS(kvvalue_read(KVTABLE_TYPE_DECIMAL, 2, "12.345", 6, NULL, &v), KVSTORE_TYPE);
  CHECK(v.is_null);
  CHECK_STATUS(kvvalue_read(KVTABLE_TYPE_DECIMAL, 19, "1", 1, NULL, &v), KVSTORE_UNSUPPORTED);
  CHECK_STATUS(kvvalue_read(KVTABLE_TYPE_I64, 0, "1", 1, NULL, &v), KVSTORE_UNSUPPORTED);
  CHECK_STATUS(kvvalue_read(KVTABLE_TYPE_UUID, 0, "1", 1, NULL, &v), KVSTORE_ERROR);
  CHECK_STR(kvtable_type_name(KVTABLE_TYPE_DURATION), "duration");
  CHECK_INT(kvtable_type_by_name("uuid"), KVTABLE_TYPE_UUID);
  CHECK_INT(kvtable_type_by_name("decimal"), KVTABLE_TYPE_DECIMAL);
  CHECK_STR(kvtable_type_name(40), "?");
}

/* ---- joined ---- */

static uint64_t joined(KVTable *left, KVTable *right, const char *left_column, const char *right_column) {
  KVQuery *query = NULL;
  uint64_t rows = 0;
  KVJoin join = KVJOIN_INIT;
  join.table = right;
  join.left = &left_column;
  join.right = &right_column;
  join.count = 1;
  join.prefix = "r_";
  CHECK_OK(kvquery_create(left, &query));
  CHECK_OK(kvquery_join(query, &join));
  CHECK_OK(kvquery_count(query, &rows));
  kvquery_close(query);
  return rows;
}

/* Numbers 0 to 9 as decimals of scales 1 and 3, integers, u64 and doubles, and halves that only some of them have. */
TEST(exact_types, join_by_mathematical_value) {
  static const KVColumnDefinition of[] = {
    { "one", KVTABLE_TYPE_DECIMAL, 0, 1 }, { "three", KVTABLE_TYPE_DECIMAL, 0, 3 },
    { "i", KVTABLE_TYPE_I32, 0, 0 },       { "u", KVTABLE_TYPE_U64, 0, 0 },
    { "f", KVTABLE_TYPE_F64, 0, 0 },       { "d", KVTABLE_TYPE_DURATION, 0, 0 },
    { "id", KVTABLE_TYPE_UUID, 0, 0 }
  };
  KVStore *kv = open_store();
  KVTable *left = NULL, *right = NULL;
  CHECK_OK(kvtable_create(kv, "l", of, 7, NULL, 0, &left));
  CHECK_OK(kvtable_create(kv, "r", of, 7, NULL, 0, &right));
  for (int i = 0; i < 20; i++) {
    uint8_t id[16] = { 0, (uint8_t)i };
    KVValue v[] = { kvvalue_decimal(5 * i, 1), kvvalue_decimal(500 * i, 3), kvvalue_i64(i),  kvvalue_u64((uint64_t)i),
                    kvvalue_f64(0.5 * i),      kvvalue_duration(i),         kvvalue_uuid(id) };
    CHECK_OK(kvtable_insert(left, v, 7, 0, NULL));
    if (i % 2) v[1] = kvvalue_decimal(500 * i + 1, 3);
    if (i == 19) v[3] = kvvalue_u64(UINT64_MAX);
    CHECK_OK(kvtable_insert(right, v, 7, 0, NULL));
  }
  CHECK_INT(joined(left, right, "one", "one"), 20);
  CHECK_INT(joined(left, right, "one", "three"), 10);
  CHECK_INT(joined(left, right, "one", "i"), 10);
  CHECK_INT(joined(left, right, "i", "one"), 10);
  CHECK_INT(joined(left, right, "three", "u"), 10);
  CHECK_INT(joined(left, right, "three", "f"), 20);
  CHECK_INT(joined(left, right, "f", "three"), 10);
  CHECK_INT(joined(left, right, "d", "d"), 20);
  CHECK_INT(joined(left, right, "id", "id"), 20);
  kvtable_close(left);
  kvtable_close(right);
  CHECK_OK(kvstore_close(kv));
}

TEST(exact_types, timestamps_that_are_computed_are_in_utc_as_those_they_come_from) {
  static const KVColumnDefinition clocks[] = { { "id", KVTABLE_TYPE_I64, 0, 0 },
                                               { "utc", KVTABLE_TYPE_TIMESTAMP, KVTABLE_UTC, 0 },
                                               { "naive", KVTABLE_TYPE_TIMESTAMP, 0, 0 },
                                               { "day", KVTABLE_TYPE_DATE, 0, 0 } };
  static const char *const in_utc[] = { "date_trunc('hour', utc)",
                                        "utc + interval '1 hour'",
                                        "interval '1 hour' + date_trunc('day', utc) as early",
                                        "coalesce(utc, timestamp '2001-01-01')",
                                        "coalesce(day, utc)",
                                        "case when naive > day then utc end" };
  static const char *const not_in_utc[] = { "date_trunc('hour', naive)",
                                            "coalesce(utc, naive)",
                                            "case when id > 0 then utc else naive - interval '1 s' end",
                                            "cast(day as timestamp)",
                                            "day + time '01:00'",
                                            "utc - naive",
                                            "year(utc)" };
  enum { IN_UTC = sizeof in_utc / sizeof *in_utc, NOT_IN_UTC = sizeof not_in_utc / sizeof *not_in_utc };
  static const KVAggregate last[] = { { KVQUERY_MAX, "date_trunc('month', utc)" } };
  KVStore *kv = open_store();
  const char *by_id[] = { "id" };
  KVTable *table = NULL;
  KVQuery *query = NULL;
  KVCursor *cursor = NULL;
  KVColumnDefinition definition;
  CHECK_OK(kvtable_create(kv, "t", clocks, 4, by_id, 1, &table));
  CHECK_OK(kvquery_create(table, &query));
  for (int utc = 0; utc < 2; utc++) {
    size_t count = utc ? IN_UTC : NOT_IN_UTC;
    CHECK_OK(kvquery_select(query, utc ? in_utc : not_in_utc, count));
    CHECK_OK(kvquery_open(query, &cursor));
    for (size_t i = 0; i < count; i++) {
      CHECK_OK(kvcursor_column(cursor, i, &definition));
      CHECK_INT(definition.flags & KVTABLE_UTC, utc ? KVTABLE_UTC : 0);
    }
    kvcursor_close(cursor);
  }
  CHECK_OK(kvquery_group_by(query, in_utc, 1));
  CHECK_OK(kvquery_compute(query, last, 1));
  CHECK_OK(kvquery_open(query, &cursor));
  for (size_t i = 0; i < 2; i++) {
    CHECK_OK(kvcursor_column(cursor, i, &definition));
    CHECK_INT(definition.flags & KVTABLE_UTC, KVTABLE_UTC);
  }
  kvcursor_close(cursor);
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}
