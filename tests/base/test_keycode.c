#include "base/keycode.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

static const ColumnType every_type[] = { TYPE_BOOL,        TYPE_I8,          TYPE_I16,       TYPE_I32,    TYPE_I64,
                                         TYPE_U8,          TYPE_U16,         TYPE_U32,       TYPE_U64,    TYPE_F32,
                                         TYPE_F64,         TYPE_DATE,        TYPE_TIMESTAMP, TYPE_STRING, TYPE_BYTES,
                                         TYPE_FIXED_BYTES, TYPE_TIME,        TYPE_DURATION,  TYPE_UUID,   TYPE_DECIMAL,
                                         TYPE_DECIMAL + 2, TYPE_DECIMAL_LAST };
enum { TYPE_COUNT = sizeof every_type / sizeof every_type[0], FIXED_WIDTH = 3, TEXT_MAX = 16 };

static uint32_t width_of(ColumnType type) { return type == TYPE_UUID ? UUID_BYTES : FIXED_WIDTH; }

/* Values near the edges and close together, so that equal and nearly equal pairs come up. `text` holds strings. */
static Value random_value(ColumnType type, uint64_t *random, uint8_t *text) {
  Value v = { .type = type };
  uint64_t bits = test_random(random);
  switch (test_random_below(random, 4)) {
  case 0: bits = bits % 5 - 2; break;
  case 1: bits = (UINT64_C(1) << bits % 64) + bits % 3 - 1; break;
  case 2: bits >>= bits % 64; break;
  default: break;
  }
  size_t width = type_array_width(type);
  if (type_is_string(type)) {
    size_t length = type_is_fixed(type) ? width_of(type) : test_random_below(random, TEXT_MAX);
    static const uint8_t likely[] = { 0, 0, 1, 0x7F, 'a', 0xFF, 0xFE, 0x80 };
    for (size_t i = 0; i < length; i++) text[i] = likely[test_random_below(random, type == TYPE_STRING ? 5 : 8)];
    if (type == TYPE_UUID) memset(text, 0, UUID_BYTES - 2); /* so that some are equal */
    v.s = (Bytes){ text, length };
  } else if (type_is_float(type)) {
    double special[] = { 0.0, -0.0, INFINITY, -INFINITY, NAN, 1.0, -1.0, 5e-324, (double)(int64_t)bits };
    uint64_t pick = bits % 12;
    if (pick < 9)
      v.f = special[pick];
    else
      memcpy(&v.f, &bits, sizeof v.f);
    if (type == TYPE_F32) {
      float narrow;
      uint32_t half = (uint32_t)bits;
      memcpy(&narrow, &half, sizeof narrow);
      v.f = pick < 8 && pick != 7 ? v.f : (double)narrow;
    }
  } else if (type == TYPE_BOOL) {
    v.i = bits & 1;
  } else if (type_is_signed(type)) {
    v.i = (int64_t)(bits << (64 - 8 * width)) >> (64 - 8 * width);
    if (type_is_decimal(type)) v.i %= decimal_unit(18);
    if (type == TYPE_TIME) v.i = (int64_t)(bits % UINT64_C(86400000000));
  } else {
    v.u = bits << (64 - 8 * width) >> (64 - 8 * width);
  }
  return v;
}

static int sign(int v) { return (v > 0) - (v < 0); }

static int memcmp_order(const Buffer *a, const Buffer *b) {
  return sign(bytes_compare(a->data, a->length, b->data, b->length));
}

static bool is_prefix(const Buffer *a, const Buffer *b) {
  return a->length < b->length && memcmp(a->data, b->data, a->length) == 0;
}

TEST(keycode, memcmp_orders_as_values_do_and_none_is_a_prefix) {
  uint64_t random = 21, rounds = test_scaled(20000);
  for (int i = 0; i < TYPE_COUNT; i++) {
    ColumnType type = every_type[i];
    for (int nullable = 0; nullable < 2; nullable++) {
      int orders[3] = { 0 };
      for (uint64_t round = 0; round < rounds; round++) {
        uint8_t text[2][TEXT_MAX];
        Value a = random_value(type, &random, text[0]), b = random_value(type, &random, text[1]);
        if (nullable && test_random_below(&random, 8) == 0) a = (Value){ .type = type, .is_null = true };
        if (nullable && test_random_below(&random, 8) == 0) b = (Value){ .type = type, .is_null = true };
        Buffer ka = { 0 }, kb = { 0 };
        keycode_append(&ka, &a, nullable);
        keycode_append(&kb, &b, nullable);
        CHECK(ka.length > 0);
        CHECK_INT(memcmp_order(&ka, &kb), sign(value_compare(&a, &b)));
        CHECK(!is_prefix(&ka, &kb) && !is_prefix(&kb, &ka));
        orders[sign(value_compare(&a, &b)) + 1]++;
        buffer_release(&ka);
        buffer_release(&kb);
      }
      CHECK(orders[0] && orders[1] && orders[2]);
    }
  }
}

TEST(keycode, values_come_back) {
  uint64_t random = 22, rounds = test_scaled(20000);
  for (int i = 0; i < TYPE_COUNT; i++) {
    for (uint64_t round = 0; round < rounds; round++) {
      uint8_t text[TEXT_MAX];
      bool nullable = test_random_below(&random, 2), null = nullable && test_random_below(&random, 4) == 0;
      Value v = random_value(every_type[i], &random, text), back;
      if (null) v = (Value){ .type = every_type[i], .is_null = true };
      Buffer key = { 0 }, scratch = { 0 };
      keycode_append(&key, &v, nullable);
      Reader r = reader_over(key.data, key.length);
      CHECK_OK(keycode_read(&r, every_type[i], width_of(every_type[i]), nullable, &scratch, &back));
      CHECK_INT(reader_left(&r), 0);
      CHECK_INT(back.is_null, null);
      CHECK_INT(back.type, v.type);
      CHECK_INT(value_compare(&v, &back), 0);
      buffer_release(&key);
      buffer_release(&scratch);
    }
  }
}

TEST(keycode, examples_have_the_documented_bytes) {
  Buffer b = { 0 };
  Value i32 = { .type = TYPE_I32, .i = -2 }, text = { .type = TYPE_STRING, .s = { (const uint8_t *)"a\0b", 3 } };
  Value one = { .type = TYPE_F32, .f = 1.0 }, null = { .type = TYPE_I8, .is_null = true };
  Value u16 = { .type = TYPE_U16, .u = 0x1234 }, yes = { .type = TYPE_BOOL, .i = 1 };
  keycode_append(&b, &i32, false);
  keycode_append(&b, &text, true);
  keycode_append(&b, &one, false);
  keycode_append(&b, &null, true);
  keycode_append(&b, &u16, false);
  keycode_append(&b, &yes, false);
  static const uint8_t expected[] = { 0x7F, 0xFF, 0xFF, 0xFE, 1, 'a', 0, 0xFF, 'b',  0,    0, 0xBF,
                                      0xF0, 0,    0,    0,    0, 0,   0, 0,    0x12, 0x34, 1 };
  CHECK_INT(b.length, sizeof expected);
  CHECK_BYTES(b.data, expected, sizeof expected);
  buffer_release(&b);
}

/* A key of three columns out of arrays; truncated anywhere it is refused, and strings read first do not move. */
TEST(keycode, keys_of_rows_and_their_truncations) {
  Column columns[] = { { 1, TYPE_I64, 0, 0, "x" },
                       { 2, TYPE_STRING, 0, 0, "s" },
                       { 3, TYPE_BYTES, COLUMN_NULLABLE, 0, "b" },
                       { 4, TYPE_FIXED_BYTES, 0, 2, "f" } };
  Schema schema = { .column_count = 4, .columns = columns, .key_count = 4, .key_columns = { 1, 2, 3, 0 } };
  int64_t x[2] = { 5, -6 };
  Bytes s[2] = { { (const uint8_t *)"first", 5 }, { (const uint8_t *)"", 0 } };
  Bytes v[2] = { { (const uint8_t *)"\0\0z", 3 }, { NULL, 0 } };
  Bytes f[2] = { { (const uint8_t *)"12", 2 }, { (const uint8_t *)"34", 2 } };
  uint8_t nulls[2] = { 0, 1 };
  ColumnArray arrays[] = { { x, NULL }, { s, NULL }, { v, nulls }, { f, NULL } };
  static const size_t lengths[2] = { 7 + 1 + 7 + 2 + 8, 2 + 1 + 2 + 8 };
  for (size_t row = 0; row < 2; row++) {
    Buffer key = { 0 };
    keycode_append_row(&key, &schema, arrays, row);
    CHECK_INT(key.length, lengths[row]);
    for (size_t length = 0; length <= key.length; length++) {
      uint8_t *exact = malloc(length ? length : 1);
      memcpy(exact, key.data, length);
      Reader r = reader_over(exact, length);
      Buffer scratch = { 0 };
      Value values[4];
      Status status = KVSTORE_OK;
      for (uint32_t k = 0; k < 4 && status == KVSTORE_OK; k++) {
        const Column *c = &columns[schema.key_columns[k]];
        status = keycode_read(&r, c->type, c->width, c->flags & COLUMN_NULLABLE, &scratch, &values[k]);
      }
      CHECK_INT(status, length == key.length ? KVSTORE_OK : KVSTORE_CORRUPT);
      if (status == KVSTORE_OK) {
        CHECK_INT(values[0].s.length, s[row].length);
        CHECK_BYTES(values[0].s.data, s[row].data, s[row].length);
        CHECK_INT(values[1].is_null, nulls[row]);
        if (!nulls[row]) CHECK_BYTES(values[1].s.data, v[row].data, 3);
        CHECK_BYTES(values[2].s.data, f[row].data, 2);
        CHECK_INT(values[3].i, x[row]);
      }
      buffer_release(&scratch);
      free(exact);
    }
    buffer_release(&key);
  }
}

static Status read_as(ColumnType type, bool nullable, const char *bytes, size_t length) {
  Buffer scratch = { 0 };
  Value out;
  Reader r = reader_over(bytes, length);
  Status status = keycode_read(&r, type, FIXED_WIDTH, nullable, &scratch, &out);
  buffer_release(&scratch);
  return status;
}

TEST(keycode, keys_of_many_numbers_are_those_of_each_row) {
  enum { ROWS = 300 };
  uint64_t random = 21;
  for (unsigned t = 0; t < TYPE_COUNT; t++) {
    ColumnType type = every_type[t];
    if (type_is_string(type) || type_is_float(type)) continue;
    Column column = { 1, type, 0, 0, (char *)"id" };
    Schema schema = { .column_count = 1, .columns = &column, .key_count = 1, .key_columns = { 0 } };
    uint64_t values[ROWS] = { 0 };
    uint8_t out[8 * ROWS], text[TEXT_MAX];
    Buffer expected = { 0 };
    for (size_t i = 0; i < ROWS; i++) {
      Value value = random_value(type, &random, text);
      value_to_array(&value, values, i);
    }
    ColumnArray array = { values, NULL };
    for (size_t i = 0; i < ROWS; i++) keycode_append_row(&expected, &schema, &array, i);
    keycode_write_numbers(type, values, ROWS, out);
    CHECK_INT(expected.length, ROWS * type_array_width(type));
    CHECK_BYTES(out, expected.data, expected.length);
    buffer_release(&expected);
  }
}

TEST(keycode, bytes_that_are_no_value_are_refused) {
  CHECK_STATUS(read_as(TYPE_BOOL, false, "\2", 1), KVSTORE_CORRUPT);
  CHECK_STATUS(read_as(TYPE_BOOL, true, "\2\1", 2), KVSTORE_CORRUPT);
  CHECK_STATUS(read_as(TYPE_BYTES, false, "a\0\1", 3), KVSTORE_CORRUPT);
  CHECK_STATUS(read_as(TYPE_BYTES, false, "a\0", 2), KVSTORE_CORRUPT);
  CHECK_STATUS(read_as(TYPE_BYTES, false, "abc", 3), KVSTORE_CORRUPT);
  CHECK_STATUS(read_as(TYPE_STRING, false, "\xFF\0\0", 3), KVSTORE_CORRUPT);
  CHECK_OK(read_as(TYPE_BYTES, false, "\xFF\0\0", 3));
  CHECK_STATUS(read_as(TYPE_F64, false, "\xFF\xF0\0\0\0\0\0\1", 8), KVSTORE_CORRUPT); /* between infinity and NaN */
  CHECK_STATUS(read_as(TYPE_F64, false, "\0\0\0\0\0\0\0\1", 8), KVSTORE_CORRUPT);     /* below -infinity */
  CHECK_OK(read_as(TYPE_F64, false, "\xBF\xF0\0\0\0\0\0\1", 8));
  CHECK_STATUS(read_as(TYPE_F32, false, "\xBF\xF0\0\0\0\0\0\1", 8), KVSTORE_CORRUPT); /* needs more than 24 bits */
  CHECK_STATUS(read_as(TYPE_F32, false, "\xFF\xE0\0\0\0\0\0\0", 8), KVSTORE_CORRUPT); /* larger than a float */
  CHECK_STATUS(read_as((ColumnType)13, false, "\0\0\0\0", 4), KVSTORE_CORRUPT);
  CHECK_STATUS(read_as(TYPE_NONE, true, "\0", 1), KVSTORE_CORRUPT);
}

TEST(keycode, random_bytes_never_harm) {
  uint64_t random = 23, rounds = test_scaled(200000), read = 0;
  for (uint64_t round = 0; round < rounds; round++) {
    size_t length = test_random_below(&random, 12);
    char *bytes = malloc(length ? length : 1);
    for (size_t i = 0; i < length; i++) bytes[i] = (char)(test_random_below(&random, 2) ? 0 : test_random(&random));
    read += read_as(every_type[test_random_below(&random, TYPE_COUNT)], test_random_below(&random, 2), bytes, length) ==
            KVSTORE_OK;
    free(bytes);
  }
  CHECK(read > rounds / 10);
}

TEST(keycode, out_of_memory_is_said) {
  Value v = { .type = TYPE_STRING, .s = { (const uint8_t *)"abc", 3 } }, back;
  Buffer key = { 0 }, scratch = { 0 };
  failing_memory_install(1, true);
  keycode_append(&key, &v, false);
  CHECK_STATUS(buffer_status(&key), KVSTORE_NOMEM);
  Reader r = reader_over("abc\0\0", 5);
  CHECK_STATUS(keycode_read(&r, TYPE_STRING, 0, false, &scratch, &back), KVSTORE_NOMEM);
  failing_memory_remove();
  buffer_release(&key);
  buffer_release(&scratch);
}

TEST(keycode, a_number_that_is_no_value_of_its_type_is_no_key) {
  static const struct {
    ColumnType type;
    int64_t number;
  } none[] = { { TYPE_TIME, -1 },
               { TYPE_TIME, INT64_C(86400000000) },
               { TYPE_DECIMAL + 2, INT64_C(1000000000000000000) },
               { TYPE_DECIMAL_LAST, INT64_C(-1000000000000000000) } };
  for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
    Buffer key = { 0 }, scratch = { 0 };
    Value v = { .type = TYPE_I64, .i = none[i].number }, back;
    keycode_append(&key, &v, false);
    Reader r = reader_over(key.data, key.length);
    CHECK_STATUS(keycode_read(&r, none[i].type, 0, false, &scratch, &back), KVSTORE_CORRUPT);
    buffer_release(&key);
    buffer_release(&scratch);
  }
}
