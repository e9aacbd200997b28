/* Queries: filters, aggregates, rows and counters, against a plain array of the same rows. */
#include <stdlib.h>

#include "tests/api/api_support.h"

enum { ROWS = 5000 };

typedef struct Flight {
  int64_t id;
  int16_t delay;
  const char *carrier;
  double distance;
  int has_delay;
} Flight;

static Flight flights[ROWS];
static const char *const carriers[] = { "AA", "DL", "UA", "WN" };

static void make_flights(void) {
  uint64_t seed = 11;
  for (int i = 0; i < ROWS; i++)
    flights[i] = (Flight){ i, (int16_t)((int)test_random_below(&seed, 200) - 50), carriers[test_random_below(&seed, 4)],
                           (double)test_random_below(&seed, 3000) / 4, test_random_below(&seed, 10) != 0 };
}

static KVTable *create_flights(KVStore *kv) {
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 },
                                         { "delay", KVTABLE_TYPE_I16, KVTABLE_NULLABLE, 0 },
                                         { "carrier", KVTABLE_TYPE_STRING, 0, 0 },
                                         { "distance", KVTABLE_TYPE_F64, 0, 0 } };
  const char *key[] = { "id" };
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, "flights", columns, 4, key, 1, &table));
  static int64_t ids[ROWS];
  static int16_t delays[ROWS];
  static const char *names[ROWS];
  static double distances[ROWS];
  static uint8_t nulls[ROWS];
  make_flights();
  for (int i = 0; i < ROWS; i++) {
    const Flight *f = &flights[(i * 7) % ROWS];
    ids[i] = f->id;
    delays[i] = f->delay;
    names[i] = f->carrier;
    distances[i] = f->distance;
    nulls[i] = !f->has_delay;
  }
  const KVColumnData data[] = { { KVTABLE_TYPE_I64, 0, ids, NULL, NULL, NULL },
                                { KVTABLE_TYPE_I16, 0, delays, nulls, NULL, NULL },
                                { KVTABLE_TYPE_STRING, KVTABLE_FORM_POINTERS, names, NULL, NULL, NULL },
                                { KVTABLE_TYPE_F64, 0, distances, NULL, NULL, NULL } };
  CHECK_OK(kvtable_append(table, data, 4, ROWS, NULL, KVTABLE_INSERT, NULL));
  return table;
}

static int late_united(const Flight *f) { return f->has_delay && f->delay > 60 && strcmp(f->carrier, "UA") == 0; }

static void check_aggregates(KVTable *table) {
  uint64_t count = 0, expected = 0, values = 0;
  int64_t sum = 0, least = INT64_MAX, most = INT64_MIN;
  for (int i = 0; i < ROWS; i++) {
    if (!late_united(&flights[i])) continue;
    expected++;
    sum += flights[i].delay;
    least = flights[i].delay < least ? flights[i].delay : least;
    most = flights[i].delay > most ? flights[i].delay : most;
  }
  for (int i = 0; i < ROWS; i++) values += flights[i].has_delay != 0;
  KVQuery *query = NULL;
  const KVValue parameters[] = { kvvalue_i64(60), kvvalue_string("UA") };
  KVValue result, results[6];
  char digits[48];
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_where(query, "delay > ? and carrier = ?", parameters, 2));
  CHECK_OK(kvquery_count(query, &count));
  CHECK_INT(count, expected);
  CHECK_OK(kvquery_sum(query, "delay", &result));
  CHECK_INT(result.type, KVTABLE_TYPE_DECIMAL128);
  CHECK_INT((int64_t)result.as.decimal.low, sum);
  CHECK_INT(result.as.decimal.high, sum < 0 ? -1 : 0);
  char wanted[48];
  (void)snprintf(wanted, sizeof wanted, "%lld", (long long)sum);
  CHECK_INT(kvvalue_print(&result, digits, sizeof digits), strlen(wanted));
  CHECK_STR(digits, wanted);
  CHECK_OK(kvquery_min(query, "delay", &result));
  CHECK_INT(result.as.i64, least);
  CHECK_INT(result.type, KVTABLE_TYPE_I16);
  CHECK_OK(kvquery_max(query, "delay", &result));
  CHECK_INT(result.as.i64, most);
  CHECK_OK(kvquery_avg(query, "delay", &result));
  CHECK(result.as.f64 == (double)sum / (double)expected);
  CHECK_OK(kvquery_min(query, "carrier", &result));
  CHECK_BYTES(result.as.bytes.data, "UA", 2);
  const KVAggregate asks[] = { { KVQUERY_ROWS, NULL },     { KVQUERY_VALUES, "delay" }, { KVQUERY_SUM, "delay" },
                               { KVQUERY_MIN, "carrier" }, { KVQUERY_MAX, "carrier" },  { KVQUERY_AVG, "delay" } };
  CHECK_OK(kvquery_where(query, NULL, NULL, 0));
  for (int again = 0; again < 2; again++) {
    CHECK_OK(kvquery_aggregate(query, asks, 6, results));
    CHECK_INT(results[0].as.u64, ROWS);
    CHECK_INT(results[1].as.u64, values);
    CHECK_BYTES(results[3].as.bytes.data, "AA", 2);
    CHECK_BYTES(results[4].as.bytes.data, "WN", 2);
    CHECK(kvvalue_to_f64(&results[2]) == results[5].as.f64 * (double)values);
  }
  CHECK_OK(kvquery_where(query, "id < 0", NULL, 0));
  CHECK_OK(kvquery_aggregate(query, asks, 6, results));
  CHECK_INT(results[0].as.u64, 0);
  for (int i = 2; i < 6; i++) CHECK(results[i].is_null);
  kvquery_close(query);
}

TEST(kvquery, aggregates_are_those_of_the_array_in_the_delta_and_in_runs) {
  KVStore *kv = open_store();
  KVTable *table = create_flights(kv);
  check_aggregates(table);
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  check_aggregates(table);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* ---- rows ---- */

/* A run with rows that were replaced in it, and a delta: several units, which threads share out. */
TEST(kvquery, any_number_of_threads_gives_the_same_results) {
  KVStore *kv = open_store();
  KVTable *table = create_flights(kv);
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  for (int i = 0; i < 100; i++) {
    const Flight *f = &flights[i * 3];
    const KVValue row[] = { kvvalue_i64(f->id), f->has_delay ? kvvalue_i64(f->delay) : kvvalue_null(),
                            kvvalue_string(f->carrier), kvvalue_f64(f->distance) };
    CHECK_OK(kvtable_upsert(table, row, 4, 0));
  }
  static const uint32_t threads[] = { 1, 0, 2, 8, UINT32_MAX };
  const KVAggregate asks[] = { { KVQUERY_ROWS, NULL },     { KVQUERY_SUM, "distance" }, { KVQUERY_AVG, "delay" },
                               { KVQUERY_MIN, "carrier" }, { KVQUERY_MAX, "distance" }, { KVQUERY_STDDEV, "delay" } };
  KVValue first[6], results[6];
  KVQuery *query = NULL;
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_where(query, "delay > 10", NULL, 0));
  for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
    CHECK_OK(kvquery_threads(query, threads[t]));
    CHECK_OK(kvquery_aggregate(query, asks, 6, t ? results : first));
    for (int i = 0; t && i < 6; i++)
      if (i != 3) CHECK(memcmp(&first[i].as, &results[i].as, sizeof(double)) == 0);
    if (t) CHECK(memcmp(results[3].as.bytes.data, "AA", 2) == 0);
  }
  CHECK_STATUS(kvquery_threads(NULL, 1), KVSTORE_ERROR);
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvquery, rows_come_one_by_one_and_in_batches_in_the_order_of_the_key) {
  KVStore *kv = open_store();
  KVTable *table = create_flights(kv);
  KVQuery *query = NULL;
  KVCursor *cursor = NULL;
  const char *columns[] = { "carrier", "id" };
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_where(query, "delay > 60 and carrier = 'UA'", NULL, 0));
  CHECK_OK(kvquery_select(query, columns, 2));
  CHECK_OK(kvquery_order_by_key(query, 1));
  CHECK_OK(kvquery_open(query, &cursor));
  CHECK_INT(kvcursor_column_count(cursor), 2);
  KVColumnDefinition definition;
  CHECK_OK(kvcursor_column(cursor, 1, &definition));
  CHECK_STR(definition.name, "id");
  CHECK_STATUS(kvcursor_column(cursor, 2, &definition), KVSTORE_ERROR);
  KVValue value;
  CHECK_STATUS(kvcursor_value(cursor, 0, &value), KVSTORE_ERROR); /* no row yet */
  for (int i = 0; i < ROWS; i++) {
    if (!late_united(&flights[i])) continue;
    CHECK_OK(kvcursor_next(cursor));
    CHECK_OK(kvcursor_value(cursor, 1, &value));
    CHECK_INT(value.as.i64, flights[i].id);
    CHECK_OK(kvcursor_value(cursor, 0, &value));
    CHECK_BYTES(value.as.bytes.data, "UA", 2);
    CHECK_STATUS(kvcursor_value(cursor, 2, &value), KVSTORE_ERROR);
  }
  CHECK_STATUS(kvcursor_next(cursor), KVSTORE_NOTFOUND);
  CHECK_STATUS(kvcursor_next(cursor), KVSTORE_NOTFOUND);
  kvcursor_close(cursor);
  CHECK_OK(kvquery_where(query, "", NULL, 0));
  CHECK_OK(kvquery_select(query, NULL, 0));
  CHECK_OK(kvquery_open(query, &cursor));
  kvquery_close(query); /* the cursor goes on */
  const KVColumnData *data = NULL;
  uint64_t rows = 0, seen = 0;
  for (; seen < 3; seen++) CHECK_OK(kvcursor_next(cursor)); /* what is left of the batch comes first */
  while (kvcursor_next_batch(cursor, &rows, &data) == KVSTORE_OK) {
    for (uint64_t r = 0; r < rows; r++, seen++) {
      const KVBytes *carrier = &((const KVBytes *)data[2].values)[r];
      CHECK_INT(((const int64_t *)data[0].values)[r], flights[seen].id);
      CHECK_INT(data[1].nulls && data[1].nulls[r], !flights[seen].has_delay);
      if (flights[seen].has_delay) CHECK_INT(((const int16_t *)data[1].values)[r], flights[seen].delay);
      CHECK_BYTES(carrier->data, flights[seen].carrier, 2);
      CHECK(((const double *)data[3].values)[r] == flights[seen].distance);
    }
  }
  CHECK_INT(seen, ROWS);
  CHECK_INT(rows, 0);
  kvcursor_close(cursor);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvquery, a_limit_leaves_out_and_stops) {
  KVStore *kv = open_store();
  KVTable *table = create_flights(kv);
  KVQuery *query = NULL;
  KVCursor *cursor = NULL;
  KVValue value;
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_order_by_key(query, 1));
  CHECK_OK(kvquery_limit(query, 1500, 3));
  CHECK_OK(kvquery_open(query, &cursor));
  for (int i = 0; i < 3; i++) {
    CHECK_OK(kvcursor_next(cursor));
    CHECK_OK(kvcursor_value(cursor, 0, &value));
    CHECK_INT(value.as.i64, 1500 + i);
  }
  CHECK_STATUS(kvcursor_next(cursor), KVSTORE_NOTFOUND);
  kvcursor_close(cursor);
  uint64_t count = 0;
  CHECK_OK(kvquery_count(query, &count)); /* a limit does not concern counts */
  CHECK_INT(count, ROWS);
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* ---- snapshots ---- */

TEST(kvquery, a_query_runs_on_what_is_there_and_a_cursor_keeps_what_was) {
  KVStore *kv = open_store(), *other = NULL;
  KVTable *table = create_people(kv), *seen = NULL;
  KVQuery *query = NULL, *outside = NULL;
  KVCursor *cursor = NULL;
  uint64_t count = 0;
  CHECK_OK(kvstore_clone(kv, &other));
  CHECK_OK(kvtable_open(other, "people", &seen));
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_create(seen, &outside));
  CHECK_OK(kvquery_where(query, "height > 1", NULL, 0));
  for (int i = 0; i < 10; i++) CHECK_OK(upsert_person(table, i, "x", i < 5 ? 0.5 : 1.5));
  CHECK_OK(kvquery_count(query, &count));
  CHECK_INT(count, 5);
  CHECK_OK(kvquery_open(query, &cursor));
  CHECK_OK(kvstore_begin(kv, 1));
  for (int i = 0; i < 5; i++) CHECK_OK(upsert_person(table, i, "y", 1.7));
  CHECK_OK(kvquery_count(query, &count));
  CHECK_INT(count, 10); /* inside the transaction */
  CHECK_OK(kvquery_count(outside, &count));
  CHECK_INT(count, 10);
  CHECK_OK(kvquery_where(outside, "name = 'y'", NULL, 0));
  CHECK_OK(kvquery_count(outside, &count));
  CHECK_INT(count, 0); /* not seen outside */
  CHECK_OK(kvstore_commit(kv));
  CHECK_OK(kvquery_count(outside, &count));
  CHECK_INT(count, 5);
  CHECK_OK(kvquery_where(query, "name = 'nobody'", NULL, 0)); /* the open cursor keeps its filter too */
  CHECK_OK(kvtable_clear(table));
  CHECK_OK(kvstore_close(kv));
  int rows = 0;
  while (kvcursor_next(cursor) == KVSTORE_OK) rows++;
  CHECK_INT(rows, 5);
  CHECK_STATUS(kvquery_count(query, &count), KVSTORE_ERROR); /* its store is closed */
  kvcursor_close(cursor);
  kvquery_close(query);
  kvquery_close(outside);
  kvtable_close(table);
  kvtable_close(seen);
  CHECK_OK(kvstore_close(other));
}

TEST(kvquery, counters_say_which_blocks_were_read_and_explain_puts_it_in_words) {
  KVStore *kv = open_store();
  KVTable *table = create_flights(kv);
  KVQuery *query = NULL;
  KVQueryCounters counters = KVQUERY_COUNTERS_INIT;
  uint64_t count = 0;
  char *text = NULL;
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_counters(query, &counters));
  CHECK_INT(counters.blocks, 0);
  CHECK_OK(kvquery_where(query, "id < 1500", NULL, 0));
  CHECK_OK(kvquery_explain(query, &text)); /* before any run: the question alone */
  CHECK(strstr(text, "id < 1500") != NULL);
  kvstore_free(text);
  CHECK_OK(kvquery_count(query, &count));
  CHECK_INT(count, 1500);
  CHECK_OK(kvquery_counters(query, &counters));
  CHECK_INT(counters.blocks, (ROWS + 1023) / 1024); /* sorted by id: where 1500 lies is searched, nothing is scanned */
  CHECK_INT(counters.blocks_certain, 2);
  CHECK_INT(counters.blocks_scanned, 0);
  CHECK_INT(counters.blocks_skipped, 3);
  CHECK_INT(counters.rows, ROWS);
  CHECK_INT(counters.rows_selected, 1500);
  CHECK_OK(kvquery_explain(query, &text));
  CHECK(strstr(text, "3 skipped") != NULL);
  kvstore_free(text);
  CHECK_OK(kvquery_where(query, "id < 7", NULL, 0)); /* another question, which has not run */
  CHECK_OK(kvquery_explain(query, &text));
  CHECK(strstr(text, "id < 7") != NULL && strstr(text, "skipped") == NULL);
  kvstore_free(text);
  CHECK_OK(kvquery_counters(query, &counters));
  CHECK_INT(counters.rows_selected, 1500);
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* ---- variances ---- */

/* Beside a sketch rows are taken one by one, alone by codes: the same bits. */
static void check_variances(KVTable *table, const char *where) {
  static const char *const columns[] = { "distance", "delay", "id" };
  KVQuery *query = NULL;
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_where(query, where, NULL, 0));
  for (int i = 0; i < 3; i++) {
    const KVAggregate asks[] = { { KVQUERY_VARIANCE, columns[i] }, { KVQUERY_APPROX_COUNT_DISTINCT, columns[i] } };
    KVValue alone, beside[2];
    CHECK_OK(kvquery_aggregate(query, asks, 1, &alone));
    CHECK_OK(kvquery_aggregate(query, asks, 2, beside));
    CHECK(!alone.is_null && alone.as.f64 > 0);
    CHECK_BYTES(&alone.as.f64, &beside[0].as.f64, sizeof alone.as.f64);
  }
  kvquery_close(query);
}

TEST(kvquery, variances_have_the_same_bits_whatever_is_asked_beside) {
  static const char *const filters[] = { "", "carrier <> 'AA' or id % 3 = 0", "id % 10 <> 3", "id < 700" };
  KVStore *kv = open_store();
  KVTable *table = create_flights(kv);
  for (int settled = 0; settled < 2; settled++) {
    for (int i = 0; i < 4; i++) check_variances(table, filters[i]);
    CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  }
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* ---- inside a transaction ---- */

enum { WAYS = 5 };

/* Rows as they lie, in an order, grouped, joined, and those of pairs. */
static KVQuery *asked_in_way(KVTable *table, KVTable *pairs, int way) {
  static const char *const by[] = { "id" };
  const KVOrder order[] = { { "distance", 0 } };
  const KVJoin join = {
    .struct_size = sizeof join, .table = table, .left = by, .right = by, .count = 1, .prefix = "o_"
  };
  KVQuery *query = NULL;
  CHECK_OK(kvquery_create(way == 4 ? pairs : table, &query));
  if (way == 1) CHECK_OK(kvquery_order_by(query, order, 1));
  if (way == 2) CHECK_OK(kvquery_group_by(query, by, 1));
  if (way == 3) CHECK_OK(kvquery_join(query, &join));
  return query;
}

static uint64_t rows_left(KVCursor *cursor, int *code) {
  uint64_t rows = 0;
  while ((*code = kvcursor_next(cursor)) == KVSTORE_OK) rows++;
  return rows;
}

static void change_all(KVStore *kv, KVTable *table, int from) {
  for (int i = from; i < from + 2 * ROWS; i += 2) {
    const KVValue row[] = { kvvalue_i64(i), kvvalue_null(), kvvalue_string("ZZ"), kvvalue_f64(1) };
    CHECK_OK(kvtable_upsert(table, row, 4, 0));
    CHECK_OK(kvstore_put(kv, &i, sizeof i, "v", 1));
  }
}

/* Rows that were replaced, added and put there, while cursors stand among them. */
static void check_transaction(KVStore *kv, KVTable *table, KVTable *pairs, int ends_well) {
  enum { SEEN = ROWS + ROWS / 2 };
  KVQuery *queries[WAYS];
  KVCursor *cursors[WAYS];
  CHECK_OK(kvstore_begin(kv, 1));
  change_all(kv, table, 0);
  for (int way = 0; way < WAYS; way++) {
    queries[way] = asked_in_way(table, pairs, way);
    CHECK_OK(kvquery_open(queries[way], &cursors[way]));
    CHECK_OK(kvcursor_next(cursors[way]));
  }
  change_all(kv, table, 1); /* no cursor sees them */
  CHECK_OK(ends_well ? kvstore_commit(kv) : kvstore_rollback(kv));
  for (int way = 0; way < WAYS; way++) {
    int code;
    uint64_t rows = rows_left(cursors[way], &code);
    CHECK_INT(rows, !ends_well ? 0 : way == 4 ? ROWS - 1 : SEEN - 1);
    CHECK_STATUS(code, ends_well ? KVSTORE_NOTFOUND : KVSTORE_ERROR);
    if (!ends_well && way == 0) CHECK(strstr(kvstore_errmsg(kv), "rolled back") != NULL);
    if (!ends_well) CHECK_STATUS(kvcursor_next(cursors[way]), KVSTORE_ERROR);
    kvcursor_close(cursors[way]);
    kvquery_close(queries[way]);
  }
}

static void ask_inside(int ends_well) {
  KVStore *kv = open_store();
  KVTable *table = create_flights(kv), *pairs = NULL;
  KVColumnFamily *family = NULL;
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  CHECK_OK(kvstore_cf_get_default(kv, &family));
  CHECK_OK(kvtable_open_family(family, NULL, 0, &pairs));
  check_transaction(kv, table, pairs, ends_well);
  kvtable_close(pairs);
  kvstore_cf_close(family);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvquery, cursors_made_in_a_transaction_outlive_its_commit) { ask_inside(1); }
TEST(kvquery, cursors_made_in_a_transaction_end_with_its_rollback) { ask_inside(0); }

/* ---- what is refused ---- */

TEST(kvquery, wrong_questions_are_refused_and_the_filter_before_stays) {
  KVStore *kv = open_store();
  KVTable *table = create_flights(kv);
  KVQuery *query = NULL;
  KVCursor *cursor = NULL;
  KVValue result, bad = kvvalue_of(77), five = kvvalue_i64(5);
  KVStoreError error = KVSTORE_ERROR_INIT;
  uint64_t count = 0;
  const char *unknown[] = { "id", "altitude" };
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_where(query, "id < 10", NULL, 0));
  CHECK_STATUS(kvquery_where(query, "id <", NULL, 0), KVSTORE_ERROR);
  CHECK_STATUS(kvquery_where(query, "altitude > 3", NULL, 0), KVSTORE_SCHEMA);
  CHECK_OK(kvstore_error(kv, &error));
  CHECK_STR(error.column, "altitude");
  CHECK_STATUS(kvquery_where(query, "delay > 'abc'", NULL, 0), KVSTORE_TYPE);
  CHECK_STATUS(kvquery_where(query, "id < carrier", NULL, 0), KVSTORE_TYPE);
  CHECK_STATUS(kvquery_where(query, "carrier like '%A'", NULL, 0), KVSTORE_UNSUPPORTED);
  CHECK_STATUS(kvquery_where(query, "id < ?", NULL, 0), KVSTORE_ERROR);
  CHECK_STATUS(kvquery_where(query, "id < 1", &five, 1), KVSTORE_ERROR);
  CHECK_STATUS(kvquery_where(query, NULL, &five, 1), KVSTORE_ERROR);
  CHECK_STATUS(kvquery_where(query, "id < ?", &bad, 1), KVSTORE_TYPE);
  CHECK_STATUS(kvquery_select(query, unknown, 2), KVSTORE_SCHEMA);
  CHECK_STATUS(kvquery_sum(query, "carrier", &result), KVSTORE_TYPE);
  CHECK_STATUS(kvquery_sum(query, "altitude", &result), KVSTORE_SCHEMA);
  CHECK_STATUS(kvquery_sum(query, NULL, &result), KVSTORE_ERROR);
  CHECK_STATUS(kvquery_sum(query, "delay", NULL), KVSTORE_ERROR);
  CHECK_OK(kvquery_count(query, &count));
  CHECK_INT(count, 10);
  CHECK_OK(kvquery_open(query, &cursor));
  CHECK_INT(kvcursor_column_count(cursor), 4);
  kvcursor_close(cursor);
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* ---- long lists ---- */

enum { LISTED = 200000, LIST_STEP = 3, ITEM_MOST = 14 };

static void check_listed(KVQuery *query, const char *text, const KVValue *parameters, size_t count, uint64_t expected) {
  uint64_t found = 0;
  CHECK_OK(kvquery_where(query, text, parameters, count));
  CHECK_OK(kvquery_count(query, &found));
  CHECK_INT(found, expected);
}

/* `begin`, each multiple of LIST_STEP by `form`, and `end`. */
static char *list_of(const char *begin, const char *form, const char *end) {
  size_t size = (size_t)LISTED * ITEM_MOST + 100;
  char *text = malloc(size);
  size_t length = (size_t)snprintf(text, size, "%s", begin);
  for (int i = 0; i < LISTED; i++) length += (size_t)snprintf(text + length, size - length, form, i * LIST_STEP);
  (void)snprintf(text + length, size - length, "%s", end);
  return text;
}

/* Every third number from 0 on, and beyond the rows: as text of more than a MiB, as parameters, and as texts. */
static void check_long_lists(KVTable *table) {
  enum { THIRDS = (ROWS + LIST_STEP - 1) / LIST_STEP };
  KVQuery *query = NULL;
  KVValue *parameters = malloc(LISTED * sizeof *parameters);
  uint64_t united = 0;
  for (int i = 0; i < LISTED; i++) parameters[i] = kvvalue_i64((int64_t)i * LIST_STEP);
  for (int i = 0; i < ROWS; i++) united += strcmp(flights[i].carrier, "UA") == 0;
  char *numbers = list_of("id in (-1", ", %d", ") and id >= 0");
  char *places = list_of("id not in (-1", ", ?", ")");
  char *texts = list_of("carrier in ('UA'", ", '%d'", ")");
  char *computed = list_of("case when id + 0 in (null", ", %d", ") then id >= 0 else false end");
  CHECK(strlen(numbers) > 1 << 20);
  CHECK_OK(kvquery_create(table, &query));
  check_listed(query, numbers, NULL, 0, THIRDS);
  check_listed(query, places, parameters, LISTED, ROWS - THIRDS);
  check_listed(query, texts, NULL, 0, united);
  check_listed(query, computed, NULL, 0, THIRDS);
  kvquery_close(query);
  free(computed);
  free(texts);
  free(places);
  free(numbers);
  free(parameters);
}

TEST(kvquery, lists_may_be_of_any_length) {
  KVStore *kv = open_store();
  KVTable *table = create_flights(kv);
  check_long_lists(table);
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  check_long_lists(table);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* What a text and its parameters said is kept by the query: it is asked again when they are gone. */
TEST(kvquery, texts_of_lists_outlive_the_question) {
  static const char asked[] = "case when carrier in ('UA', 'no such carrier, with a long name', null) then 1 end";
  static const char where[] = "case when carrier in (?, ?) then true else false end";
  KVStore *kv = open_store();
  KVTable *table = create_flights(kv);
  KVQuery *query = NULL;
  int64_t united = 0;
  char *names[] = { strdup("UA"), strdup("nobody, with a long name") };
  const KVValue parameters[] = { kvvalue_string(names[0]), kvvalue_string(names[1]) };
  for (int i = 0; i < ROWS; i++) united += strcmp(flights[i].carrier, "UA") == 0;
  CHECK_OK(kvquery_create(table, &query));
  for (int filtered = 0; filtered < 2; filtered++) {
    if (filtered) CHECK_OK(kvquery_where(query, where, parameters, 2));
    for (int i = 0; filtered && i < 2; i++) {
      memset(names[i], '?', strlen(names[i]));
      free(names[i]);
    }
    for (int i = 0; i < 3; i++) {
      KVValue sum;
      CHECK_OK(kvquery_sum(query, asked, &sum));
      CHECK_INT(sum.as.i64, united);
    }
  }
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvquery, values_are_printed_the_same_everywhere) {
  struct {
    KVValue value;
    const char *text;
  } cases[] = {
    { kvvalue_null(), "null" },
    { kvvalue_bool(1), "true" },
    { kvvalue_i64(INT64_MIN), "-9223372036854775808" },
    { kvvalue_u64(UINT64_MAX), "18446744073709551615" },
    { kvvalue_f64(0.1), "0.1" },
    { kvvalue_date(0), "1970-01-01" },
    { kvvalue_date(15736), "2013-01-31" },
    { kvvalue_timestamp(INT64_C(15736) * 86400 * 1000000 + INT64_C(45296) * 1000000), "2013-01-31 12:34:56" },
    { kvvalue_string("it's"), "it's" },
    { kvvalue_string(""), "" },
    { kvvalue_string(NULL), "null" },
    { kvvalue_bytes("\x00\xff", 2), "00ff" },
  };
  char text[64];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    CHECK_INT(kvvalue_print(&cases[i].value, text, sizeof text), strlen(cases[i].text));
    CHECK_STR(text, cases[i].text);
    CHECK_INT(kvvalue_print(&cases[i].value, NULL, 0), strlen(cases[i].text));
  }
  KVValue huge = kvvalue_of(KVTABLE_TYPE_DECIMAL128); /* 2^64 */
  huge.as.decimal.high = 1;
  CHECK_INT(kvvalue_print(&huge, text, sizeof text), 20);
  CHECK_STR(text, "18446744073709551616");
  CHECK(kvvalue_to_f64(&huge) == 18446744073709551616.0);
  huge.as.decimal.high = -1; /* -2^64 */
  CHECK_INT(kvvalue_print(&huge, text, 5), 21);
  CHECK_STR(text, "-184");
  KVValue number = kvvalue_u64(3), none = kvvalue_string("3");
  CHECK(kvvalue_to_f64(&number) == 3 && kvvalue_to_f64(&none) == 0);
  CHECK_STR(kvtable_type_name(KVTABLE_TYPE_TIMESTAMP), "timestamp");
  CHECK_STR(kvtable_type_name(KVTABLE_TYPE_DECIMAL128), "decimal128");
  CHECK_STR(kvtable_type_name(KVTABLE_TYPE_DECIMAL), "decimal");
  CHECK_STR(kvtable_type_name(-4), "?");
  CHECK_INT(kvtable_type_by_name("fixed_bytes"), KVTABLE_TYPE_FIXED_BYTES);
  CHECK_INT(kvtable_type_by_name("integer"), KVTABLE_TYPE_NONE);
  CHECK_INT(kvtable_type_by_name(NULL), KVTABLE_TYPE_NONE);
}

/* ---- values to be computed ---- */

static KVCursor *open_cursor(KVQuery *query) {
  KVCursor *cursor = NULL;
  CHECK_OK(kvquery_open(query, &cursor));
  return cursor;
}

TEST(kvquery, values_are_computed_wherever_a_column_stands) {
  KVStore *kv = open_store();
  KVTable *table = create_flights(kv);
  KVQuery *query = NULL;
  KVValue value;
  const char *selected[] = { "id", "distance * 2 + id as far" };
  const KVOrder order[] = { { "far", KVQUERY_DESCENDING }, { "id", 0 } };
  double sum = 0, most = 0;
  for (int i = 0; i < ROWS; i++) {
    const Flight *f = &flights[i];
    if (!f->has_delay || f->delay * 2 <= 100) continue;
    sum += f->distance * (1 - f->delay);
    if (f->distance * 2 + (double)f->id > most) most = f->distance * 2 + (double)f->id;
  }
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_where(query, "delay * 2 > ?", (KVValue[]){ kvvalue_i64(100) }, 1));
  CHECK_OK(kvquery_sum(query, "distance * (1 - delay)", &value));
  CHECK_INT(value.type, KVTABLE_TYPE_F64);
  CHECK(value.as.f64 <= sum + 1e-6 && value.as.f64 >= sum - 1e-6);
  CHECK_OK(kvquery_select(query, selected, 2));
  CHECK_OK(kvquery_order_by(query, order, 2));
  KVCursor *cursor = open_cursor(query);
  KVColumnDefinition definition;
  CHECK_OK(kvcursor_column(cursor, 1, &definition));
  CHECK_STR(definition.name, "far");
  CHECK_INT(definition.type, KVTABLE_TYPE_F64);
  CHECK_INT(definition.flags, KVTABLE_NULLABLE);
  CHECK_OK(kvcursor_next(cursor));
  CHECK_OK(kvcursor_value(cursor, 1, &value));
  CHECK(value.as.f64 == most);
  kvcursor_close(cursor);
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvquery, groups_of_computed_values_are_filtered_and_ordered_by_computed_ones) {
  KVStore *kv = open_store();
  KVTable *table = create_flights(kv);
  KVQuery *query = NULL;
  KVValue value;
  const char *by[] = { "case when delay > 60 then 'late' else 'in time' end as how" };
  const KVAggregate asked[] = { { KVQUERY_ROWS, NULL }, { KVQUERY_SUM, "coalesce(delay, 0) + 1" } };
  const KVOrder order[] = { { "count(*) * -1", 0 } };
  uint64_t late = 0;
  int64_t sum = 0;
  for (int i = 0; i < ROWS; i++) {
    bool is_late = flights[i].has_delay && flights[i].delay > 60;
    late += is_late;
    if (is_late) sum += flights[i].delay + 1;
  }
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_group_by(query, by, 1));
  CHECK_OK(kvquery_compute(query, asked, 2));
  CHECK_OK(kvquery_having(query, "count(*) * 2 > 10 and how <> 'never'", NULL, 0));
  CHECK_OK(kvquery_order_by(query, order, 1));
  KVCursor *cursor = open_cursor(query);
  CHECK_INT(kvcursor_column_count(cursor), 3);
  uint64_t counts[2];
  for (int i = 0; i < 2; i++) {
    CHECK_OK(kvcursor_next(cursor));
    CHECK_OK(kvcursor_value(cursor, 1, &value));
    counts[i] = value.as.u64;
    CHECK_OK(kvcursor_value(cursor, 0, &value));
    if (value.as.bytes.length != 4) continue;
    CHECK_INT(counts[i], late);
    CHECK_OK(kvcursor_value(cursor, 2, &value));
    CHECK_INT((int64_t)value.as.decimal.low, sum);
  }
  CHECK(counts[0] >= counts[1]);
  CHECK_INT(counts[0] + counts[1], ROWS);
  CHECK_STATUS(kvcursor_next(cursor), KVSTORE_NOTFOUND);
  char *text = NULL;
  CHECK_OK(kvquery_explain(query, &text));
  CHECK(strstr(text, "sum(coalesce(delay, 0) + 1)") && strstr(text, "order: \"count(*)\" * -1"));
  kvstore_free(text);
  kvcursor_close(cursor);
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* What a filter computes with a parameter is not what the same text says with the number written there. */
TEST(kvquery, a_column_is_of_its_own_text_whatever_a_filter_computes) {
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_U8, 0, 0 }, { "price", KVTABLE_TYPE_DECIMAL, 0, 2 } };
  static const char *const key[] = { "id" }, *const selected[] = { "price * 0.5", "id + 5",
                                                                   "price * cast(0.5 as f64)" };
  const int types[] = { KVTABLE_TYPE_DECIMAL, KVTABLE_TYPE_I64, KVTABLE_TYPE_F64 };
  const KVValue row[] = { kvvalue_u64(7), kvvalue_decimal(150, 2) }, given[] = { kvvalue_f64(0.5), kvvalue_u64(5) };
  KVStore *kv = open_store();
  KVTable *table = NULL;
  KVQuery *query = NULL;
  KVColumnDefinition definition;
  KVValue value;
  CHECK_OK(kvtable_create(kv, "priced", columns, 2, key, 1, &table));
  CHECK_OK(kvtable_insert(table, row, 2, 0, NULL));
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_where(query, "price * ? > 0 and id + ? > 0", given, 2));
  CHECK_OK(kvquery_select(query, selected, 3));
  KVCursor *cursor = open_cursor(query);
  CHECK_OK(kvcursor_next(cursor));
  for (size_t i = 0; i < 3; i++) {
    CHECK_OK(kvcursor_column(cursor, i, &definition));
    CHECK_INT(definition.type, types[i]);
    CHECK_STR(definition.name, selected[i]);
  }
  CHECK_OK(kvcursor_value(cursor, 0, &value));
  CHECK_INT(value.as.i64, 750);
  CHECK_INT(value.scale, 3);
  CHECK_OK(kvcursor_value(cursor, 2, &value));
  CHECK(value.as.f64 == 0.75);
  kvcursor_close(cursor);
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

static void check_explained(KVQuery *query, const char *question) {
  KVQueryCounters counters = KVQUERY_COUNTERS_INIT;
  char *text = NULL;
  CHECK_OK(kvquery_explain(query, &text));
  CHECK(strstr(text, question) != NULL);
  kvstore_free(text);
  CHECK_OK(kvquery_counters(query, &counters));
  CHECK(counters.rows <= ROWS && counters.rows_selected <= counters.rows);
}

TEST(kvquery, what_cannot_be_computed_names_expression_value_and_row) {
  KVStore *kv = open_store();
  KVTable *table = create_flights(kv);
  KVQuery *query = NULL;
  KVValue value;
  KVStoreError error = KVSTORE_ERROR_INIT;
  const char *bad[] = { "carrier + 1" };
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_max(query, "id", &value));
  CHECK_STATUS(kvquery_sum(query, "100 / (id - 17)", &value), KVSTORE_TYPE);
  CHECK(strstr(kvstore_errmsg(kv), "100 / 0 divides by zero, in the row with key 17"));
  CHECK_OK(kvstore_error(kv, &error));
  CHECK_STR(error.column, "100 / (id - 17)");
  CHECK_STR(error.value, "100");
  check_explained(query, "sum(100 / (id - 17))"); /* it, and not what ran before */
  CHECK_OK(kvquery_sum(query, "try_divide(100, id - 17)", &value));
  CHECK_STATUS(kvquery_sum(query, "cast(id as i8)", &value), KVSTORE_TYPE);
  CHECK(strstr(kvstore_errmsg(kv), "is no i8, in the row with key"));
  CHECK_STATUS(kvquery_select(query, bad, 1), KVSTORE_TYPE);
  CHECK(strstr(kvstore_errmsg(kv), "carrier + 1: + is not for string and i64") == kvstore_errmsg(kv));
  CHECK_OK(kvstore_error(kv, &error));
  CHECK_STR(error.column, "carrier + 1");
  CHECK_STATUS(kvquery_where(query, "id > 3 and round(carrier) = 1", NULL, 0), KVSTORE_TYPE);
  CHECK_STR(kvstore_errmsg(kv), "round(carrier): round is not for string");
  CHECK_STATUS(kvquery_sum(query, "case when id = 'a' then 1 end", &value), KVSTORE_TYPE);
  CHECK_STR(kvstore_errmsg(kv), "column id is i64: 'a' does not compare with it");
  CHECK_STATUS(kvquery_sum(query, "altitude * 2", &value), KVSTORE_SCHEMA);
  CHECK_STATUS(kvquery_sum(query, "roundest(id)", &value), KVSTORE_SCHEMA);
  CHECK(strstr(kvstore_errmsg(kv), "there is no column, function or computed aggregate roundest(id)"));
  CHECK_STATUS(kvquery_sum(query, "distance *", &value), KVSTORE_ERROR);
  CHECK_STR(kvstore_errmsg(kv), "distance *: at position 11: expected a value or a column, found the end of the text");
  CHECK_STATUS(kvquery_where(query, "distance >", NULL, 0), KVSTORE_ERROR);
  CHECK(strstr(kvstore_errmsg(kv), "the filter at position 11: ") == kvstore_errmsg(kv));
  CHECK_STATUS(kvquery_sum(query, "distance * ?", &value), KVSTORE_ERROR);
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}
