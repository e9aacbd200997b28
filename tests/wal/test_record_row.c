#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "tests/support/test.h"
#include "tests/wal/row_fixture.h"
#include "wal/record.h"

enum { ROWS = 64, STRING_MAX = 300 };

/* Column arrays of ROWS rows, owned. */
typedef struct Rows {
  Schema schema;
  Column columns[ROW_COLUMNS];
  void *values[ROW_COLUMNS];
  uint8_t *nulls[ROW_COLUMNS];
  ColumnArray arrays[ROW_COLUMNS];
  uint8_t text[STRING_MAX];
} Rows;

static void rows_create(Rows *rows) {
  row_schema(&rows->schema, rows->columns);
  for (size_t c = 0; c < ROW_COLUMNS; c++) {
    rows->values[c] = calloc(ROWS, type_array_width(rows->columns[c].type));
    rows->nulls[c] = rows->columns[c].flags & COLUMN_NULLABLE ? calloc(ROWS, 1) : NULL;
    rows->arrays[c] = (ColumnArray){ rows->values[c], rows->nulls[c] };
  }
  for (size_t i = 0; i < STRING_MAX; i++) rows->text[i] = (uint8_t)('a' + i % 26);
}

static void rows_release(Rows *rows) {
  for (size_t c = 0; c < ROW_COLUMNS; c++) {
    free(rows->values[c]);
    free(rows->nulls[c]);
  }
}

/* Random bits in every entry (floats included), strings cut from `text`. */
static void rows_fill(Rows *rows, uint64_t *seed) {
  for (size_t c = 0; c < ROW_COLUMNS; c++) {
    ColumnType type = rows->columns[c].type;
    size_t width = type_array_width(type);
    for (size_t row = 0; row < ROWS; row++) {
      uint64_t bits = test_random(seed);
      if (type == TYPE_BOOL) bits &= 1;
      bool is_null = rows->nulls[c] && test_random(seed) % 3 == 0;
      if (is_null) bits = 0;
      if (rows->nulls[c]) rows->nulls[c][row] = is_null;
      if (type_is_string(type)) {
        size_t length = type == TYPE_FIXED_BYTES ? ROW_FIXED_WIDTH : bits % 4 ? bits % 20 : bits % STRING_MAX;
        Bytes value = { rows->text + (bits >> 32) % (STRING_MAX - length + 1), length };
        if (is_null) value = (Bytes){ NULL, 0 };
        ((Bytes *)rows->values[c])[row] = value;
      } else {
        memcpy((uint8_t *)rows->values[c] + row * width, &bits, width);
      }
    }
  }
}

/* Entry `row` of two arrays: the same bits, or strings of the same bytes. */
static void check_same_entry(const Column *column, const void *a, const void *b, size_t row) {
  size_t width = type_array_width(column->type);
  if (type_is_string(column->type)) {
    Bytes x = ((const Bytes *)a)[row], y = ((const Bytes *)b)[row];
    CHECK_INT(x.length, y.length);
    CHECK(x.length == 0 || memcmp(x.data, y.data, x.length) == 0);
  } else {
    CHECK_BYTES((const uint8_t *)a + row * width, (const uint8_t *)b + row * width, width);
  }
}

TEST(record_row, random_rows_keep_every_bit) {
  Rows in, out;
  rows_create(&in);
  rows_create(&out);
  uint64_t seed = 21;
  for (uint64_t round = test_scaled(100); round-- > 0;) {
    rows_fill(&in, &seed);
    rows_fill(&out, &seed); /* so that nothing is right by chance */
    Buffer payload = { 0 };
    for (size_t row = 0; row < ROWS; row++) {
      buffer_clear(&payload);
      record_row_write(&payload, &in.schema, in.arrays, row);
      CHECK_INT(payload.length, record_row_size(&in.schema, in.arrays, row));
      Bytes bytes = { payload.data, payload.length };
      CHECK_OK(record_row_read_into(bytes, &in.schema, ROW_CHECK_TEXT, out.values, out.nulls, row));
      for (size_t c = 0; c < ROW_COLUMNS; c++) {
        check_same_entry(&in.columns[c], in.values[c], out.values[c], row);
        if (in.nulls[c]) CHECK_INT(out.nulls[c][row], in.nulls[c][row]);
      }
    }
    buffer_release(&payload);
  }
  rows_release(&in);
  rows_release(&out);
}

TEST(record_row, values_equal_the_arrays) {
  Rows in;
  rows_create(&in);
  uint64_t seed = 22;
  rows_fill(&in, &seed);
  Buffer payload = { 0 };
  for (size_t row = 0; row < ROWS; row++) {
    buffer_clear(&payload);
    record_row_write(&payload, &in.schema, in.arrays, row);
    Value values[ROW_COLUMNS];
    CHECK_OK(record_row_read((Bytes){ payload.data, payload.length }, &in.schema, 0, values, ROW_COLUMNS));
    for (size_t c = 0; c < ROW_COLUMNS; c++) {
      bool is_null = in.nulls[c] && in.nulls[c][row];
      CHECK_INT(values[c].is_null, is_null);
      CHECK_INT(values[c].type, in.columns[c].type);
      if (is_null) continue;
      Value expected = value_from_array(in.columns[c].type, in.values[c], row);
      CHECK_INT(value_compare(&values[c], &expected), 0);
    }
  }
  buffer_release(&payload);
  rows_release(&in);
}

TEST(record_row, small_row_has_the_documented_bytes) {
  char name[] = "c";
  Column columns[] = {
    { .type = TYPE_STRING, .name = name },
    { .type = TYPE_I16, .name = name },
    { .type = TYPE_I32, .flags = COLUMN_NULLABLE, .name = name },
    { .type = TYPE_FIXED_BYTES, .width = 2, .name = name },
    { .type = TYPE_BYTES, .flags = COLUMN_NULLABLE, .name = name },
  };
  Schema schema = { .version = 1, .column_count = 5, .columns = columns };
  Bytes text = { (const uint8_t *)"hey", 3 }, fixed = { (const uint8_t *)"\xF0\x0D", 2 }, nothing = { NULL, 0 };
  int16_t small = 0x0102;
  int32_t hidden = 0;
  uint8_t yes = 1;
  ColumnArray arrays[] = { { &text, NULL }, { &small, NULL }, { &hidden, &yes }, { &fixed, NULL }, { &nothing, &yes } };
  const uint8_t expected[] = { 0x14, 2, 1, 0, 0, 0, 0, 0xF0, 0x0D, 3, 'h', 'e', 'y' };
  Buffer payload = { 0 };
  record_row_write(&payload, &schema, arrays, 0);
  CHECK_INT(payload.length, sizeof expected);
  CHECK_BYTES(payload.data, expected, sizeof expected);

  record_begin(&payload, false);
  record_append_row(&payload, 6, 77, (Bytes){ (const uint8_t *)"K", 1 }, &schema, arrays, 0);
  OperationReader reader = operation_reader_over((Bytes){ payload.data + 56, payload.length - 56 });
  Operation op;
  bool more;
  CHECK_OK(operation_next(&reader, &op, &more));
  CHECK_INT(op.kind, OPERATION_ROW_UPSERT);
  CHECK_INT(op.family_id, 6);
  CHECK_INT(op.schema_version, 1);
  CHECK_INT(op.expiry, 77);
  CHECK_BYTES(op.key.data, "K", 1);
  CHECK_INT(op.payload.length, sizeof expected);
  CHECK_BYTES(op.payload.data, expected, sizeof expected);
  CHECK_OK(operation_next(&reader, &op, &more));
  CHECK(!more);
  buffer_release(&payload);
}

/* Reads a copy of exactly that length. */
static Status read_copy(const Schema *schema, const uint8_t *bytes, size_t length, unsigned flags) {
  uint8_t *copy = malloc(length ? length : 1);
  memcpy(copy, bytes, length);
  Value values[ROW_COLUMNS];
  Status status = record_row_read((Bytes){ copy, length }, schema, flags, values, schema->column_count);
  free(copy);
  return status;
}

TEST(record_row, every_truncation_and_extension_is_refused) {
  Rows in;
  rows_create(&in);
  uint64_t seed = 23;
  rows_fill(&in, &seed);
  Buffer payload = { 0 };
  for (size_t row = 0; row < 8; row++) {
    buffer_clear(&payload);
    record_row_write(&payload, &in.schema, in.arrays, row);
    for (size_t length = 0; length < payload.length; length++) {
      CHECK_STATUS(read_copy(&in.schema, payload.data, length, 0), KVSTORE_CORRUPT);
    }
    CHECK_OK(read_copy(&in.schema, payload.data, payload.length, 0));
    buffer_u8(&payload, 0);
    CHECK_STATUS(read_copy(&in.schema, payload.data, payload.length, 0), KVSTORE_CORRUPT);
  }
  buffer_release(&payload);
  rows_release(&in);
}

/* One value has one form: whatever is read from flipped bytes and written again gives those very bytes. */
TEST(record_row, every_flipped_bit_is_refused_or_another_row) {
  Rows in, out;
  rows_create(&in);
  rows_create(&out);
  uint64_t seed = 24;
  rows_fill(&in, &seed);
  Buffer payload = { 0 }, again = { 0 };
  size_t refused = 0, taken = 0;
  for (size_t row = 0; row < 8; row++) {
    buffer_clear(&payload);
    record_row_write(&payload, &in.schema, in.arrays, row);
    for (size_t bit = 0; bit < payload.length * 8; bit++) {
      payload.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
      Bytes bytes = { payload.data, payload.length };
      Status status = record_row_read_into(bytes, &in.schema, 0, out.values, out.nulls, row);
      CHECK_INT(read_copy(&in.schema, payload.data, payload.length, 0), status);
      if (status == KVSTORE_OK) {
        taken++;
        buffer_clear(&again);
        record_row_write(&again, &in.schema, out.arrays, row);
        CHECK_INT(again.length, payload.length);
        CHECK_BYTES(again.data, payload.data, payload.length);
      } else {
        CHECK_INT(status, KVSTORE_CORRUPT);
        refused++;
      }
      payload.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
  }
  CHECK(refused > 0 && taken > 0);
  buffer_release(&payload);
  buffer_release(&again);
  rows_release(&in);
  rows_release(&out);
}

TEST(record_row, rows_that_no_writer_makes_are_refused) {
  char name[] = "c";
  Column columns[] = {
    { .type = TYPE_BOOL, .flags = COLUMN_NULLABLE, .name = name },
    { .type = TYPE_BOOL, .name = name },
    { .type = TYPE_STRING, .name = name },
  };
  Schema schema = { .version = 1, .column_count = 3, .columns = columns };
  const uint8_t right[] = { 0, 1, 0, 1, 'x' };
  CHECK_OK(read_copy(&schema, right, sizeof right, ROW_CHECK_TEXT));
  const uint8_t right_null[] = { 1, 0, 0, 1, 'x' };
  CHECK_OK(read_copy(&schema, right_null, sizeof right_null, ROW_CHECK_TEXT));
  const uint8_t beneath[] = { 1, 1, 0, 1, 'x' };
  CHECK_STATUS(read_copy(&schema, beneath, sizeof beneath, 0), KVSTORE_CORRUPT);
  const uint8_t not_null[] = { 2, 1, 0, 1, 'x' };
  CHECK_STATUS(read_copy(&schema, not_null, sizeof not_null, 0), KVSTORE_CORRUPT);
  const uint8_t null_text[] = { 4, 1, 0 };
  CHECK_STATUS(read_copy(&schema, null_text, sizeof null_text, 0), KVSTORE_CORRUPT);
  const uint8_t unused[] = { 8, 1, 0, 1, 'x' };
  CHECK_STATUS(read_copy(&schema, unused, sizeof unused, 0), KVSTORE_CORRUPT);
  const uint8_t maybe[] = { 0, 2, 0, 1, 'x' };
  CHECK_STATUS(read_copy(&schema, maybe, sizeof maybe, 0), KVSTORE_CORRUPT);
  const uint8_t not_text[] = { 0, 1, 0, 1, 0xFF };
  CHECK_STATUS(read_copy(&schema, not_text, sizeof not_text, ROW_CHECK_TEXT), KVSTORE_CORRUPT);
  CHECK(strstr(status_last()->text, "UTF-8") != NULL);
  CHECK_OK(read_copy(&schema, not_text, sizeof not_text, 0));
  const uint8_t long_form[] = { 0, 1, 0, 0x81, 0, 'x' };
  CHECK_STATUS(read_copy(&schema, long_form, sizeof long_form, 0), KVSTORE_CORRUPT);
}

TEST(record_row, numbers_that_are_none_of_their_type_are_refused) {
  char name[] = "c";
  Column columns[] = { { .type = TYPE_TIME, .name = name }, { .type = TYPE_DECIMAL + 2, .name = name } };
  Schema schema = { .version = 1, .column_count = 2, .columns = columns };
  const int64_t day = INT64_C(86400000000), beyond = INT64_C(1000000000000000000);
  const struct {
    int64_t time, decimal;
    bool are_right;
  } rows[] = { { 0, beyond - 1, true }, { day - 1, 1 - beyond, true }, { day, 0, false },
               { -1, 0, false },        { 0, beyond, false },          { 0, -beyond, false } };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    uint8_t bytes[17] = { 0 };
    store_u64(bytes + 1, (uint64_t)rows[i].time);
    store_u64(bytes + 9, (uint64_t)rows[i].decimal);
    CHECK_STATUS(read_copy(&schema, bytes, sizeof bytes, 0), rows[i].are_right ? KVSTORE_OK : KVSTORE_CORRUPT);
    if (!rows[i].are_right) CHECK(strstr(status_last()->text, "is no value of its type"));
  }
}
