/* Sums of few groups over segments, as they are packed: those of a plain loop over the rows. */
#include <stdlib.h>
#include <string.h>

#include "base/counters.h"
#include "query/query.h"
#include "tests/columnar/sample_table.h"
#include "tests/support/test.h"

enum { ROWS = 5000, SEGMENT = 2500, SEGMENTS = ROWS / SEGMENT, BLOCKS = SEGMENTS * 3, FEW = 8, MORE = 20 };
enum { C_ROW, C_CODE, C_TINY, C_STEP, C_SHORT, C_MIDDLE, C_LARGE, C_LONG, C_SIGNED, C_NULLABLE, C_WIDE, COLUMNS };
enum { FIRST = C_TINY, PACKED = C_SIGNED - FIRST + 1 }; /* so many without nulls and of few bits */
enum { NARROW = 3 }; /* of these within 2^31, and no multiples: tiny, short, middle */

typedef struct Made {
  SampleTable table;
  SampleStore store;
  ColumnRun *run;
  int64_t numbers[COLUMNS][ROWS];
  int32_t signed_numbers[ROWS];
  uint8_t codes[ROWS], nulls[ROWS];
  uint32_t code_count;
  ScanUnit units[SEGMENTS];
} Made;

/* Codes are few in some blocks: 0 and 5 alone among the first 1,024 rows. */
static void fill(Made *m) {
  uint64_t random = 17;
  for (uint32_t i = 0; i < ROWS; i++) {
    int64_t *n[COLUMNS];
    for (uint32_t c = 0; c < COLUMNS; c++) n[c] = &m->numbers[c][i];
    m->codes[i] = i < 1024 ? (uint8_t)(i % 2 * 5) : (uint8_t)test_random_below(&random, m->code_count);
    *n[C_ROW] = i;
    *n[C_TINY] = (int64_t)test_random_below(&random, 200) - 7;
    *n[C_STEP] = 100 * (int64_t)test_random_below(&random, 50000) - 900;
    *n[C_SHORT] = (int64_t)test_random_below(&random, 1 << 16);
    *n[C_MIDDLE] = (int64_t)test_random_below(&random, 1 << 24);
    *n[C_LARGE] = (INT64_C(1) << 41) + (int64_t)test_random_below(&random, UINT64_C(1) << 32);
    *n[C_LONG] = (int64_t)test_random_below(&random, UINT64_C(1) << 40) - (INT64_C(1) << 39);
    *n[C_WIDE] = (int64_t)test_random(&random);
    m->signed_numbers[i] = (int32_t)test_random(&random);
    *n[C_SIGNED] = m->signed_numbers[i];
    m->nulls[i] = i >= 2048 && test_random_below(&random, 4) == 0; /* the first blocks have none */
    *n[C_NULLABLE] = m->nulls[i] ? 0 : (int64_t)test_random_below(&random, 5000);
  }
}

static Made *make(uint32_t code_count) {
  Made *m = calloc(1, sizeof *m);
  ColumnRunOptions options = { .segment_rows = SEGMENT };
  CHECK(m != NULL);
  m->code_count = code_count;
  fill(m);
  for (uint32_t c = 0; c < COLUMNS; c++) {
    ColumnType type = c == C_CODE ? TYPE_U8 : c == C_SIGNED ? TYPE_I32 : TYPE_I64;
    sample_add_column(&m->table, type, c == C_NULLABLE ? COLUMN_NULLABLE : 0);
    m->table.arrays[c] = (ColumnArray){ m->numbers[c], NULL };
  }
  m->table.arrays[C_CODE].values = m->codes;
  m->table.arrays[C_SIGNED].values = m->signed_numbers;
  m->table.arrays[C_NULLABLE].nulls = m->nulls;
  sample_add_key(&m->table, C_ROW);
  m->table.row_count = ROWS;
  sample_sort(&m->table);
  sample_write(&m->store, &m->table, &options, ROWS);
  CHECK_OK(sample_open(&m->store, &m->table.schema, &m->run));
  for (uint32_t u = 0; u < SEGMENTS; u++)
    m->units[u] = (ScanUnit){ .kind = SCAN_UNIT_SEGMENT, .row_count = SEGMENT, .run = m->run, .segment = u };
  return m;
}

static void check_group(const Made *m, const QueryBatch *batch, uint32_t at, uint32_t one_of, uint32_t step) {
  uint8_t code = ((const uint8_t *)batch->columns[0].values)[at];
  for (uint32_t c = FIRST; c < COLUMNS; c++) {
    __int128 expected = 0;
    for (uint32_t i = 0; i < ROWS; i++)
      if (m->codes[i] == code && i % step < one_of) expected += m->numbers[c][i];
    Int128 sum = ((const Int128 *)batch->columns[1 + c - FIRST].values)[at];
    CHECK_INT(sum.low, (uint64_t)expected);
    CHECK_INT(sum.high, (int64_t)(expected >> 64));
  }
}

/* Of each `step` rows the first `one_of`; returns how many blocks were added up as they are packed. */
static uint64_t check(const Made *m, const char *where, uint32_t one_of, uint32_t step) {
  const Column *c = m->table.columns;
  const char *key = c[C_CODE].name;
  TableSnapshot snapshot = { .schema = &m->table.schema, .units = m->units, .unit_count = SEGMENTS };
  Query *q;
  QueryCursor *cursor;
  QueryBatch batch;
  uint64_t before = counter_get(COUNTER_groups_offset_blocks);
  CHECK_OK(query_create(&m->table.schema, &q));
  CHECK_OK(query_where(q, where, strlen(where), NULL, 0));
  for (uint32_t i = FIRST; i < COLUMNS; i++) CHECK_OK(query_aggregate(q, AGGREGATE_TOTAL, c[i].name));
  CHECK_OK(query_group_by(q, &key, 1));
  CHECK_OK(query_open(q, &snapshot, &cursor));
  CHECK_OK(query_next(cursor, &batch));
  CHECK_INT(batch.row_count, m->code_count);
  for (uint32_t i = 0; i < batch.row_count; i++) check_group(m, &batch, i, one_of, step);
  query_close(cursor);
  query_destroy(q);
  return counter_get(COUNTER_groups_offset_blocks) - before;
}

static void release(Made *m) {
  column_run_close(m->run);
  sample_store_release(&m->store);
  sample_release(&m->table);
  free(m);
}

/* Every packed column, and the nullable one in the first two blocks. */
TEST(group_few, sums_of_packed_numbers_are_made_of_their_bits) {
  Made *m = make(FEW);
  CHECK_INT(check(m, "true", 1, 1), PACKED * BLOCKS + 2);
  CHECK_INT(check(m, "c0_i64 % 10 < 9", 9, 10), PACKED * BLOCKS + 2); /* nine tenths: the others count for nothing */
  CHECK_INT(check(m, "c0_i64 % 10 < 5", 5, 10), 0);                   /* half: taken out first */
  release(m);
}

/* Of more codes those whose sums stand below a count are added up as they are packed, row by row. */
TEST(group_few, sums_of_more_codes_take_packed_numbers_as_they_are) {
  Made *m = make(MORE);
  CHECK_INT(check(m, "true", 1, 1), NARROW * BLOCKS + 2);
  CHECK_INT(check(m, "c0_i64 % 10 < 9", 9, 10), NARROW * BLOCKS + 2);
  CHECK_INT(check(m, "c0_i64 % 10 < 5", 5, 10), 0);
  release(m);
}
