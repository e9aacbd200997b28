/* Aggregates of what is computed, where few rows of many blocks are selected: those of a plain loop over the rows. */
#include <stdlib.h>
#include <string.h>

#include "base/counters.h"
#include "query/query.h"
#include "tests/columnar/sample_table.h"
#include "tests/support/test.h"

enum { ROWS = 20000, SLAB = 3000, ALL = ROWS + SLAB }; /* a tenth of the segment is more than is computed at once */
enum { C_ROW, C_SMALL, C_NULLABLE, C_NARROW, C_FIRST, C_SECOND, COLUMNS };

typedef struct Made {
  SampleTable table;
  SampleStore store;
  ColumnRun *run;
  int64_t rows[ALL], small[ALL], nullable[ALL], first[ALL], second[ALL];
  int16_t narrow[ALL];
  uint8_t nulls[ALL];
  ColumnArray slab[COLUMNS];
  ScanUnit units[2];
} Made;

static void show(Made *m, uint32_t from, ColumnArray *arrays) {
  arrays[C_ROW] = (ColumnArray){ m->rows + from, NULL };
  arrays[C_SMALL] = (ColumnArray){ m->small + from, NULL };
  arrays[C_NULLABLE] = (ColumnArray){ m->nullable + from, m->nulls + from };
  arrays[C_NARROW] = (ColumnArray){ m->narrow + from, NULL };
  arrays[C_FIRST] = (ColumnArray){ m->first + from, NULL };
  arrays[C_SECOND] = (ColumnArray){ m->second + from, NULL };
}

static Made *make(void) {
  static const ColumnType types[COLUMNS] = { TYPE_I64, TYPE_I64, TYPE_I64, TYPE_I16, TYPE_I64, TYPE_I64 };
  Made *m = calloc(1, sizeof *m);
  ColumnRunOptions options = { .segment_rows = SEGMENT_ROWS };
  uint64_t random = 23;
  CHECK(m != NULL);
  for (uint32_t i = 0; i < ALL; i++) {
    m->rows[i] = i;
    m->small[i] = (int64_t)test_random_below(&random, 3000) - 1000;
    m->nulls[i] = test_random_below(&random, 5) == 0;
    m->nullable[i] = m->nulls[i] ? 0 : (int64_t)test_random_below(&random, 1000000);
    m->narrow[i] = (int16_t)test_random(&random);
    m->first[i] = i == 17003 ? INT64_MAX - 1 : 5;
    m->second[i] = i == 2003 ? INT64_MAX - 2 : 6;
  }
  for (uint32_t c = 0; c < COLUMNS; c++) sample_add_column(&m->table, types[c], c == C_NULLABLE ? COLUMN_NULLABLE : 0);
  sample_add_key(&m->table, C_ROW);
  m->table.row_count = ROWS;
  show(m, 0, m->table.arrays);
  sample_sort(&m->table);
  sample_write(&m->store, &m->table, &options, ROWS);
  CHECK_OK(sample_open(&m->store, &m->table.schema, &m->run));
  m->units[0] = (ScanUnit){ .kind = SCAN_UNIT_SEGMENT, .row_count = ROWS, .run = m->run, .segment = 0 };
  show(m, ROWS, m->slab);
  m->units[1] = (ScanUnit){ .kind = SCAN_UNIT_ARRAYS, .row_count = SLAB, .columns = m->slab };
  return m;
}

static void release(Made *m) {
  column_run_close(m->run);
  sample_store_release(&m->store);
  sample_release(&m->table);
  free(m);
}

/* Every tenth row. */
static const char tenth[] = "c0_i64 % 10 = 3";
static bool is_selected(uint32_t row) { return row % 10 == 3; }

static Status ask_units(const Made *m, uint32_t units, const char *const *texts, const AggregateKind *kinds,
                        size_t count, AggregateResult *results) {
  TableSnapshot snapshot = { .schema = &m->table.schema, .units = m->units, .unit_count = units };
  Arena strings = { 0 };
  Query *q;
  CHECK_OK(query_create(&m->table.schema, &q));
  CHECK_OK(query_where(q, tenth, strlen(tenth), NULL, 0));
  for (size_t i = 0; i < count; i++) CHECK_OK(query_aggregate(q, kinds[i], texts[i]));
  Status status = query_run(q, &snapshot, &strings, results, NULL);
  query_destroy(q);
  arena_release(&strings);
  return status;
}

static Status ask(const Made *m, const char *const *texts, const AggregateKind *kinds, size_t count,
                  AggregateResult *results) {
  return ask_units(m, 2, texts, kinds, count, results);
}

static const char product[] = "c1_i64 * 3 - c3_i16", with_nulls[] = "c1_i64 * 3 - c3_i16 + c2_i64",
                  half[] = "c3_i16 / 2.0";

TEST(sparse_rows, are_computed_side_by_side_with_the_same_results) {
  Made *m = make();
  const char *texts[] = { product, product, product, with_nulls, with_nulls, half };
  const AggregateKind kinds[] = { AGGREGATE_TOTAL, AGGREGATE_LEAST,  AGGREGATE_GREATEST,
                                  AGGREGATE_TOTAL, AGGREGATE_VALUES, AGGREGATE_TOTAL };
  AggregateResult results[6];
  uint64_t sparse = counter_get(COUNTER_computed_sparse);
  int64_t sum = 0, least = INT64_MAX, greatest = INT64_MIN, nulls_sum = 0;
  uint64_t values = 0;
  double halves = 0; /* exact: halves of small integers */
  for (uint32_t i = 0; i < ALL; i++) {
    int64_t number = m->small[i] * 3 - m->narrow[i];
    if (!is_selected(i)) continue;
    sum += number;
    least = number < least ? number : least;
    greatest = number > greatest ? number : greatest;
    halves += m->narrow[i] / 2.0;
    if (m->nulls[i]) continue;
    values++;
    nulls_sum += number + m->nullable[i];
  }
  CHECK_OK(ask(m, texts, kinds, 6, results));
  CHECK_INT((int64_t)results[0].integer.low, sum);
  CHECK_INT(results[0].integer.high, sum < 0 ? -1 : 0);
  CHECK_INT(results[1].value.i, least);
  CHECK_INT(results[2].value.i, greatest);
  CHECK_INT((int64_t)results[3].integer.low, nulls_sum);
  CHECK_INT(results[4].value.u, values);
  CHECK(results[5].value.f == halves);
  /* two columns of integers, each 2,000 rows of the segment in two parts, and 300 of the slab */
  CHECK_INT(counter_get(COUNTER_computed_sparse) - sparse, 2 * (2 + 1));
  release(m);
}

/* Row 17,003 fails in what is computed first, 2,003 later: the row that comes first is told. */
TEST(sparse_rows, that_fail_are_told_in_their_order) {
  Made *m = make();
  const char *text = "c4_i64 * 2 + c5_i64 * 2";
  const AggregateKind kind = AGGREGATE_TOTAL;
  AggregateResult result;
  CHECK_STATUS(ask(m, &text, &kind, 1, &result), KVSTORE_TYPE);
  CHECK(strstr(status_last()->text, "9223372036854775805 * 2 does not fit i64, in the row with key 2003"));
  release(m);
}

/* The first and last of all selected rows: of a segment two rows are read, of a slab each. */
TEST(sparse_rows, the_first_and_the_last_are_read_alone) {
  Made *m = make();
  const char *texts[] = { "c1_i64", "c1_i64", product };
  const AggregateKind kinds[] = { AGGREGATE_FIRST, AGGREGATE_LAST, AGGREGATE_LAST };
  static const uint32_t lasts[] = { ROWS - 7, ALL - 7 };
  for (uint32_t units = 1; units <= 2; units++) {
    AggregateResult results[3];
    uint64_t told = counter_get(COUNTER_groups_ends_told);
    uint32_t last = lasts[units - 1];
    CHECK_OK(ask_units(m, units, texts, kinds, 3, results));
    CHECK_INT(results[0].value.i, m->small[3]);
    CHECK_INT(results[1].value.i, m->small[last]);
    CHECK_INT(results[2].value.i, m->small[last] * 3 - m->narrow[last]);
    CHECK_INT(counter_get(COUNTER_groups_ends_told) - told, 1);
  }
  release(m);
}
