/* Rows that left memory: all of them come back, once, in the order in which they left, and in as few bytes as they
 * need. */
#include "query/row_parts.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/counters.h"
#include "base/memory.h"
#include "tests/query/outside.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

enum { COLUMNS = 7, ROWS = 20000, BATCH = 500, NUMBER = 0, TEXT = 5, LONGEST = 40 };
static const ColumnType types[COLUMNS] = { TYPE_U32, TYPE_I64, TYPE_F64, TYPE_I16, TYPE_F32, TYPE_STRING, TYPE_U64 };

typedef struct Row {
  uint32_t number;
  int64_t i64;
  double f64;
  int16_t i16;
  float f32;
  char text[LONGEST];
  uint64_t u64;
  uint8_t nulls[COLUMNS];
} Row;

/* Of every size and sign, zeros, extremes and nulls among them. */
static Row row_of(uint32_t number) {
  uint64_t random = number * UINT64_C(0x9e3779b97f4a7c15) + 1;
  Row r = { .number = number };
  unsigned shift = (unsigned)test_random_below(&random, 64);
  r.i64 = (int64_t)test_random(&random) >> shift;
  r.f64 = number % 3 ? (double)number : -(double)test_random(&random) / 7;
  r.i16 = (int16_t)test_random(&random);
  r.f32 = number % 5 ? 0.5F : -0.0F;
  r.u64 = number % 4 ? UINT64_MAX - number : test_random(&random) >> shift;
  if (number % 11 == 0) r.i64 = number % 2 ? INT64_MIN : INT64_MAX;
  snprintf(r.text, sizeof r.text, "%.*s", (int)(number % (LONGEST - 1)),
           "a text of many letters, and some more of them");
  for (uint32_t c = 1; c < COLUMNS; c++) r.nulls[c] = test_random_below(&random, 9) == 0;
  return r;
}

typedef struct Batch {
  uint32_t numbers[BATCH];
  int64_t i64[BATCH];
  double f64[BATCH];
  int16_t i16[BATCH];
  float f32[BATCH];
  Bytes texts[BATCH];
  uint64_t u64[BATCH];
  uint8_t nulls[COLUMNS][BATCH];
  ColumnArray columns[COLUMNS];
  uint64_t hashes[BATCH];
  Row rows[BATCH];
} Batch;

static uint64_t hash_of(uint32_t number, uint32_t groups) {
  return (number % groups + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

static void make_batch(Batch *b, uint32_t first, uint32_t groups) {
  for (uint32_t i = 0; i < BATCH; i++) {
    Row *r = &b->rows[i];
    *r = row_of(first + i);
    b->numbers[i] = r->number;
    b->i64[i] = r->i64;
    b->f64[i] = r->f64;
    b->i16[i] = r->i16;
    b->f32[i] = r->f32;
    b->texts[i] = (Bytes){ (const uint8_t *)r->text, strlen(r->text) };
    b->u64[i] = r->u64;
    b->hashes[i] = hash_of(r->number, groups);
    for (uint32_t c = 0; c < COLUMNS; c++) b->nulls[c][i] = r->nulls[c];
  }
  const void *values[COLUMNS] = { b->numbers, b->i64, b->f64, b->i16, b->f32, b->texts, b->u64 };
  for (uint32_t c = 0; c < COLUMNS; c++) b->columns[c] = (ColumnArray){ values[c], b->nulls[c] };
}

static Status add_all(RowParts *parts, uint32_t groups, uint32_t rows) {
  Batch *b = malloc(sizeof *b);
  Status status = KVSTORE_OK;
  for (uint32_t first = 0; first < rows && status == KVSTORE_OK; first += BATCH) {
    make_batch(b, first, groups);
    status = row_parts_add(parts, b->columns, NULL, BATCH, b->hashes);
  }
  free(b);
  return status;
}

static void check_row(const QueryBatch *batch, uint32_t i) {
  const ColumnArray *c = batch->columns;
  Row r = row_of(((const uint32_t *)c[NUMBER].values)[i]);
  for (uint32_t k = 0; k < COLUMNS; k++) CHECK_INT(c[k].nulls[i], r.nulls[k]);
  if (!r.nulls[1]) CHECK_INT(((const int64_t *)c[1].values)[i], r.i64);
  if (!r.nulls[2]) CHECK(memcmp((const double *)c[2].values + i, &r.f64, sizeof r.f64) == 0);
  if (!r.nulls[3]) CHECK_INT(((const int16_t *)c[3].values)[i], r.i16);
  if (!r.nulls[4]) CHECK(memcmp((const float *)c[4].values + i, &r.f32, sizeof r.f32) == 0);
  Bytes text = ((const Bytes *)c[TEXT].values)[i];
  if (!r.nulls[TEXT]) CHECK(text.length == strlen(r.text) && memcmp(text.data, r.text, text.length) == 0);
  if (!r.nulls[6]) CHECK_INT(((const uint64_t *)c[6].values)[i], r.u64);
}

/* Reads all parts. Of each, rows beyond the first `most` groups that it meets are added again. How many parts there
 * were. */
static uint32_t read_all(RowParts *parts, uint32_t groups, uint32_t most, uint32_t *seen) {
  uint32_t *taken = malloc(groups * sizeof *taken), round = 0; /* by group: in which round its rows came */
  memset(taken, 0, groups * sizeof *taken);
  for (bool more;;) {
    CHECK_OK(row_parts_open(parts, &more));
    if (!more) break;
    uint32_t found = 0, last = 0;
    round++;
    for (QueryBatch batch;;) {
      CHECK_OK(row_parts_next(parts, &batch));
      if (!batch.row_count) break;
      for (uint32_t i = 0; i < batch.row_count; i++) {
        uint32_t number = ((const uint32_t *)batch.columns[NUMBER].values)[i], group = number % groups;
        uint64_t hash = hash_of(number, groups);
        uint16_t at = (uint16_t)i;
        CHECK(number + 1 > last && (taken[group] == 0 || taken[group] == round));
        last = number + 1;
        if (!taken[group] && found == most) {
          CHECK_OK(row_parts_add(parts, batch.columns, &at, 1, &hash));
          continue;
        }
        found += !taken[group];
        taken[group] = round;
        check_row(&batch, i);
        seen[number]++;
      }
    }
    CHECK(found == 1 || !row_parts_is_one(parts));
  }
  free(taken);
  return round;
}

/* ---- */

TEST(row_parts, rows_come_back_once_and_as_they_left) {
  static const uint32_t groups[] = { 1, 40, 3000 };
  for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
    for (uint32_t most = 3; most < 10000; most *= 1000) {
      Buffer outside = { 0 };
      QuerySpace space = { .context = &outside, .write = write_outside, .read = read_outside };
      uint32_t *seen = calloc(ROWS, sizeof *seen);
      RowParts *parts;
      CHECK_OK(row_parts_create(types, COLUMNS, &space, 1 << 18, &parts));
      CHECK_OK(add_all(parts, groups[g], ROWS));
      uint64_t read = counter_get(COUNTER_row_parts_read);
      uint32_t rounds = read_all(parts, groups[g], most, seen);
      CHECK_INT(counter_get(COUNTER_row_parts_read) - read, rounds);
      for (uint32_t i = 0; i < ROWS; i++) CHECK_INT(seen[i], 1);
      if (most > groups[g]) CHECK(rounds <= 32);
      if (most < 10) CHECK(rounds >= groups[g] / most);
      CHECK_INT(row_parts_bytes(parts), outside.length);
      row_parts_destroy(parts);
      buffer_release(&outside);
      free(seen);
    }
  }
  CHECK_INT(memory_blocks_held(), 0);
}

/* Two columns: a byte for both marks, one for the number, two for the text and its length, and 4 bytes a piece. */
TEST(row_parts, a_row_takes_the_bytes_that_it_needs) {
  static const ColumnType small[2] = { TYPE_I64, TYPE_STRING };
  enum { COUNT = 50000 };
  Buffer outside = { 0 };
  QuerySpace space = { .context = &outside, .write = write_outside, .read = read_outside };
  RowParts *parts;
  bool more;
  CHECK_OK(row_parts_create(small, 2, &space, 0, &parts));
  for (uint32_t i = 0; i < COUNT; i++) {
    int64_t number = i % 2 ? -100 : 100; /* twice that is a byte */
    Bytes text = { (const uint8_t *)"x", 1 };
    uint64_t hash = 0;
    const ColumnArray columns[2] = { { &number, NULL }, { &text, NULL } };
    CHECK_OK(row_parts_add(parts, columns, NULL, 1, &hash));
  }
  CHECK_OK(row_parts_open(parts, &more));
  CHECK(row_parts_is_one(parts));
  CHECK(outside.length >= COUNT * 4 && outside.length < COUNT * 4 + COUNT / 100);
  row_parts_destroy(parts);
  buffer_release(&outside);
  CHECK_INT(memory_blocks_held(), 0);
}

/* Whatever byte of the file is another one, reading ends well or says that it is damaged. */
TEST(row_parts, a_damaged_file_is_told) {
  Buffer outside = { 0 };
  QuerySpace space = { .context = &outside, .write = write_outside, .read = read_outside };
  bool more, told = false;
  for (uint32_t at = 0; at < 60; at++) {
    RowParts *parts;
    buffer_clear(&outside);
    CHECK_OK(row_parts_create(types, COLUMNS, &space, 1 << 18, &parts));
    Batch *b = malloc(sizeof *b);
    make_batch(b, 0, 1);
    CHECK_OK(row_parts_add(parts, b->columns, NULL, BATCH, b->hashes));
    free(b);
    CHECK_OK(row_parts_open(parts, &more));
    outside.data[at < 30 ? at : outside.length - at] ^= 0xff;
    Status status = KVSTORE_OK;
    QueryBatch batch = { .row_count = 1 };
    while (status == KVSTORE_OK && batch.row_count) status = row_parts_next(parts, &batch);
    CHECK(status == KVSTORE_OK || status == KVSTORE_CORRUPT);
    told |= status == KVSTORE_CORRUPT;
    row_parts_destroy(parts);
  }
  CHECK(told);
  buffer_release(&outside);
  CHECK_INT(memory_blocks_held(), 0);
}

TEST(row_parts, without_memory_fail_and_give_back_what_they_had) {
  for (uint64_t n = 1;; n++) {
    static uint8_t room[1 << 22];
    Buffer outside = { room, 0, sizeof room, false }; /* which needs no memory */
    QuerySpace space = { .context = &outside, .write = write_outside, .read = read_outside };
    RowParts *parts = NULL;
    QueryBatch batch = { .row_count = 1 };
    bool more = false;
    failing_memory_install(n, false);
    Status status = row_parts_create(types, COLUMNS, &space, 1 << 18, &parts);
    if (status == KVSTORE_OK) status = add_all(parts, 40, 4 * BATCH);
    if (status == KVSTORE_OK) status = row_parts_open(parts, &more);
    while (status == KVSTORE_OK && batch.row_count) status = row_parts_next(parts, &batch);
    bool reached_it = failing_memory_failures() > 0;
    failing_memory_remove();
    CHECK(status == KVSTORE_OK || (reached_it && status == KVSTORE_NOMEM));
    row_parts_destroy(parts);
    CHECK_INT(memory_blocks_held(), 0);
    if (!reached_it) break;
  }
}
