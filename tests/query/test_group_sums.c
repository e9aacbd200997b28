/* Sums of groups over hand-made units, against plain loops: each unit's rows one after the other, then the units. */
#include "base/counters.h"
#include "base/memory.h"
#include "query/query.h"
#include "tests/support/test.h"

/* ---- hand-made units: few codes, several sums that depend on order, integers short and long ---- */

enum { MADE_FLOATS = 9, MADE_ROWS = 2 * 1024 + 100, MADE_UNITS = 2, MADE_KEY = 0, MADE_FIRST = 1, MADE_LONG = 10 };

typedef struct Made {
  Column columns[MADE_LONG + 1];
  ColumnArray arrays[MADE_UNITS][MADE_LONG + 1];
  uint8_t keys[MADE_UNITS][MADE_ROWS], key_nulls[MADE_UNITS][MADE_ROWS], nulls[MADE_UNITS][MADE_ROWS];
  double floats[MADE_UNITS][MADE_FLOATS][MADE_ROWS];
  int64_t integers[MADE_UNITS][MADE_ROWS];
  ScanUnit units[MADE_UNITS];
} Made;

/* A bool that may be null, nine floats of which the last one may be null, integers of which the second block
 * has one that is long. */
static void make_units(Made *m) {
  static const char *const names[] = { "k", "f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "i" };
  uint64_t random = 7;
  for (uint32_t c = 0; c <= MADE_LONG; c++)
    m->columns[c] = (Column){ .name = (char *)(uintptr_t)names[c], .type = c < MADE_LONG ? TYPE_F64 : TYPE_I64 };
  m->columns[MADE_KEY].type = TYPE_BOOL;
  m->columns[MADE_KEY].flags = m->columns[MADE_FLOATS].flags = COLUMN_NULLABLE;
  for (uint32_t u = 0; u < MADE_UNITS; u++) {
    for (uint32_t i = 0; i < MADE_ROWS; i++) {
      m->keys[u][i] = test_random_below(&random, 2) != 0;
      m->key_nulls[u][i] = test_random_below(&random, 20) == 0;
      m->nulls[u][i] = i >= 1024 && test_random_below(&random, 3) == 0;
      m->integers[u][i] = (int64_t)test_random_below(&random, UINT64_C(1) << 46) * (i % 2 ? -1 : 1);
      if (i == 1500) m->integers[u][i] = INT64_MAX - 5;
      for (uint32_t f = 0; f < MADE_FLOATS; f++) m->floats[u][f][i] = (double)test_random_below(&random, 1000) / 7;
      if (m->nulls[u][i]) m->floats[u][MADE_FLOATS - 1][i] = 0;
    }
    m->arrays[u][MADE_KEY] = (ColumnArray){ m->keys[u], m->key_nulls[u] };
    for (uint32_t f = 0; f < MADE_FLOATS; f++)
      m->arrays[u][MADE_FIRST + f] = (ColumnArray){ m->floats[u][f], f + 1 < MADE_FLOATS ? NULL : m->nulls[u] };
    m->arrays[u][MADE_LONG] = (ColumnArray){ m->integers[u], NULL };
    m->units[u] = (ScanUnit){ .kind = SCAN_UNIT_ARRAYS, .row_count = MADE_ROWS, .columns = m->arrays[u] };
  }
}

/* The group of a key: each unit's rows one after the other, then the units. */
static void check_made(const Made *m, int key, const QueryBatch *batch, uint32_t at) {
  double sums[MADE_FLOATS] = { 0 };
  uint64_t rows = 0, values = 0;
  __int128 integers = 0;
  for (uint32_t u = 0; u < MADE_UNITS; u++) {
    double unit[MADE_FLOATS] = { 0 };
    for (uint32_t i = 0; i < MADE_ROWS; i++) {
      bool is_null = m->key_nulls[u][i];
      if (is_null != (key < 0) || (key >= 0 && m->keys[u][i] != key)) continue;
      for (uint32_t f = 0; f < MADE_FLOATS; f++) unit[f] += m->floats[u][f][i];
      rows++;
      values += !m->nulls[u][i];
      integers += m->integers[u][i];
    }
    for (uint32_t f = 0; f < MADE_FLOATS; f++) sums[f] += unit[f];
  }
  for (uint32_t f = 0; f < MADE_FLOATS; f++) CHECK(((const double *)batch->columns[1 + f].values)[at] == sums[f]);
  const Int128 *long_sums = batch->columns[1 + MADE_FLOATS].values;
  CHECK_INT(long_sums[at].low, (uint64_t)integers);
  CHECK_INT(long_sums[at].high, (int64_t)(integers >> 64));
  CHECK_INT(((const uint64_t *)batch->columns[2 + MADE_FLOATS].values)[at], rows);
  CHECK_INT(((const uint64_t *)batch->columns[3 + MADE_FLOATS].values)[at], values);
}

TEST(group_sums, of_few_codes_have_sums_of_many_columns_in_the_order_of_rows) {
  Made *m = memory_allocate_zeroed(sizeof *m);
  const char *keys[] = { "k" };
  Query *q;
  QueryCursor *cursor;
  QueryBatch batch;
  make_units(m);
  Schema schema = { .version = 1, .column_count = MADE_LONG + 1, .columns = m->columns };
  TableSnapshot snapshot = { .schema = &schema, .units = m->units, .unit_count = MADE_UNITS };
  uint64_t dense = counter_get(COUNTER_groups_dense_units), blocks = counter_get(COUNTER_groups_short_blocks);
  CHECK_INT(query_create(&schema, &q), KVSTORE_OK);
  for (uint32_t c = MADE_FIRST; c <= MADE_LONG; c++)
    CHECK_INT(query_aggregate(q, AGGREGATE_TOTAL, m->columns[c].name), KVSTORE_OK);
  CHECK_INT(query_aggregate(q, AGGREGATE_ROWS, NULL), KVSTORE_OK);
  CHECK_INT(query_aggregate(q, AGGREGATE_VALUES, m->columns[MADE_FLOATS].name), KVSTORE_OK);
  CHECK_INT(query_group_by(q, keys, 1), KVSTORE_OK);
  CHECK_INT(query_open(q, &snapshot, &cursor), KVSTORE_OK);
  CHECK_INT(query_next(cursor, &batch), KVSTORE_OK);
  CHECK_INT(batch.row_count, 3);
  for (uint32_t i = 0; i < 3; i++) {
    bool is_null = batch.columns[0].nulls && batch.columns[0].nulls[i];
    check_made(m, is_null ? -1 : ((const uint8_t *)batch.columns[0].values)[i], &batch, i);
  }
  CHECK_INT(counter_get(COUNTER_groups_dense_units), dense + MADE_UNITS);
  CHECK_INT(counter_get(COUNTER_groups_short_blocks), blocks + MADE_UNITS * 2); /* the second block is not */
  query_close(cursor);
  query_destroy(q);
  memory_release(m);
}

/* ---- all rows, asked for as one group ---- */

static Query *ask_all(const Schema *schema, bool has_floats) {
  Query *q;
  CHECK_INT(query_create(schema, &q), KVSTORE_OK);
  CHECK_INT(query_aggregate(q, AGGREGATE_ROWS, NULL), KVSTORE_OK);
  CHECK_INT(query_aggregate(q, AGGREGATE_VALUES, "f8"), KVSTORE_OK);
  CHECK_INT(query_aggregate(q, AGGREGATE_TOTAL, "i"), KVSTORE_OK);
  CHECK_INT(query_aggregate(q, AGGREGATE_LEAST, "f0"), KVSTORE_OK);
  CHECK_INT(query_aggregate(q, AGGREGATE_GREATEST, "i"), KVSTORE_OK);
  if (has_floats) CHECK_INT(query_aggregate(q, AGGREGATE_TOTAL, "f1"), KVSTORE_OK);
  CHECK_INT(query_group_by(q, NULL, 0), KVSTORE_OK);
  return q;
}

/* All rows, or none of them. */
static void check_all(const Made *m, const QueryBatch *batch, bool has_floats, bool none) {
  uint64_t rows = 0, values = 0;
  double least = 1000, floats = 0;
  int64_t greatest = INT64_MIN;
  __int128 integers = 0;
  for (uint32_t u = 0; u < MADE_UNITS && !none; u++) {
    double unit = 0;
    for (uint32_t i = 0; i < MADE_ROWS; i++) {
      rows++;
      values += !m->nulls[u][i];
      integers += m->integers[u][i];
      unit += m->floats[u][1][i];
      if (m->floats[u][0][i] < least) least = m->floats[u][0][i];
      if (m->integers[u][i] > greatest) greatest = m->integers[u][i];
    }
    floats += unit;
  }
  CHECK_INT(batch->row_count, 1);
  CHECK_INT(((const uint64_t *)batch->columns[0].values)[0], rows);
  CHECK_INT(((const uint64_t *)batch->columns[1].values)[0], values);
  for (uint32_t c = 2; c < 5; c++) CHECK_INT(batch->columns[c].nulls && batch->columns[c].nulls[0], none);
  if (none) return;
  Int128 sum = ((const Int128 *)batch->columns[2].values)[0];
  CHECK(sum.low == (uint64_t)integers && sum.high == (int64_t)(integers >> 64));
  CHECK(((const double *)batch->columns[3].values)[0] == least);
  CHECK_INT(((const int64_t *)batch->columns[4].values)[0], greatest);
  if (has_floats) CHECK(((const double *)batch->columns[5].values)[0] == floats);
}

/* Only sums of floats, which a group makes unit by unit, need one. */
TEST(group_sums, of_all_rows_need_no_group_unless_their_order_matters) {
  static const char never[] = "i > 9223372036854775806", having[] = "count(*) > 9";
  Made *m = memory_allocate_zeroed(sizeof *m);
  make_units(m);
  Schema schema = { .version = 1, .column_count = MADE_LONG + 1, .columns = m->columns };
  for (int way = 0; way < 4; way++) {
    TableSnapshot snapshot = { .schema = &schema, .units = m->units, .unit_count = MADE_UNITS };
    uint64_t without = counter_get(COUNTER_groups_not_needed);
    Query *q = ask_all(&schema, way == 1);
    QueryCursor *cursor;
    QueryBatch batch;
    if (way == 2) CHECK_INT(query_where(q, never, sizeof never - 1, NULL, 0), KVSTORE_OK);
    if (way == 3) CHECK_INT(query_having(q, having, sizeof having - 1, NULL, 0), KVSTORE_OK);
    CHECK_INT(query_open(q, &snapshot, &cursor), KVSTORE_OK);
    CHECK_INT(query_next(cursor, &batch), KVSTORE_OK);
    check_all(m, &batch, way == 1, way == 2);
    CHECK_INT(query_next(cursor, &batch), KVSTORE_OK);
    CHECK_INT(batch.row_count, 0);
    CHECK_INT(counter_get(COUNTER_groups_not_needed) - without, way != 1);
    query_close(cursor);
    query_destroy(q);
  }
  memory_release(m);
  CHECK_INT(memory_blocks_held(), 0);
}
