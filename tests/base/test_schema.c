#include "base/schema.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

static const ColumnType every_type[] = {
  TYPE_BOOL,         TYPE_I8,           TYPE_I16,          TYPE_I32,          TYPE_I64,          TYPE_U8,
  TYPE_U16,          TYPE_U32,          TYPE_U64,          TYPE_F32,          TYPE_F64,          TYPE_DATE,
  TYPE_TIMESTAMP,    TYPE_STRING,       TYPE_BYTES,        TYPE_FIXED_BYTES,  TYPE_TIME,         TYPE_DURATION,
  TYPE_UUID,         TYPE_DECIMAL,      TYPE_DECIMAL + 1,  TYPE_DECIMAL + 2,  TYPE_DECIMAL + 3,  TYPE_DECIMAL + 4,
  TYPE_DECIMAL + 5,  TYPE_DECIMAL + 6,  TYPE_DECIMAL + 7,  TYPE_DECIMAL + 8,  TYPE_DECIMAL + 9,  TYPE_DECIMAL + 10,
  TYPE_DECIMAL + 11, TYPE_DECIMAL + 12, TYPE_DECIMAL + 13, TYPE_DECIMAL + 14, TYPE_DECIMAL + 15, TYPE_DECIMAL + 16,
  TYPE_DECIMAL + 17, TYPE_DECIMAL_LAST
};
enum { TYPE_COUNT = sizeof every_type / sizeof every_type[0] };

TEST(types, names_lead_back_to_their_numbers) {
  int valid = 0;
  for (uint32_t t = 0; t < 300; t++) valid += type_is_valid(t);
  CHECK_INT(valid, TYPE_COUNT);
  for (int i = 0; i < TYPE_COUNT; i++) {
    const char *name = type_name(every_type[i]);
    CHECK(type_is_valid(every_type[i]));
    CHECK_INT(type_by_name(name, strlen(name)), every_type[i]);
    CHECK_INT(type_by_name(name, strlen(name) - 1), TYPE_NONE);
  }
  CHECK_STR(type_name(TYPE_TIMESTAMP), "timestamp");
  CHECK_STR(type_name((ColumnType)13), "?"); /* the public number of decimals, whose scale is not in it */
  CHECK_STR(type_name(type_decimal(2)), "decimal(18,2)");
  CHECK_INT(type_by_name("decimal(9, 4)", 13), type_decimal(4));
  CHECK_INT(type_by_name("decimal(18)", 11), type_decimal(0));
  CHECK_INT(type_by_name("decimal(19,2)", 13), TYPE_NONE);
  CHECK_INT(type_by_name("decimal(2,3)", 12), TYPE_NONE);
  CHECK_INT(type_by_name("decimal(2,1)x", 13), TYPE_NONE);
  CHECK_INT(type_scale(type_decimal(18)), 18);
  CHECK(decimal_unit(0) == 1 && decimal_unit(18) == INT64_C(1000000000000000000));
  CHECK_INT(type_array_width((ColumnType)13), 0);
  CHECK_INT(type_array_width(TYPE_DATE), 4);
  CHECK_INT(type_array_width(TYPE_FIXED_BYTES), sizeof(Bytes));
}

TEST(types, values_go_into_arrays_and_back) {
  uint64_t random = 9;
  for (int i = 0; i < TYPE_COUNT; i++) {
    ColumnType type = every_type[i];
    size_t width = type_array_width(type);
    uint64_t room[64];
    memset(room, 0xEE, sizeof room);
    for (int round = 0; round < 200; round++) {
      uint64_t bits = test_random(&random);
      Value v = { .type = type };
      if (type_is_string(type))
        v.s = (Bytes){ (const uint8_t *)"some bytes", bits % 10 };
      else if (type == TYPE_F32)
        v.f = (double)(float)((double)(int64_t)bits * 1e-9);
      else if (type == TYPE_F64)
        v.f = (double)(int64_t)bits * 1e-9;
      else if (type == TYPE_BOOL)
        v.i = bits & 1;
      else if (type_is_signed(type))
        v.i = (int64_t)bits >> (64 - 8 * width);
      else
        v.u = bits >> (64 - 8 * width);
      uint8_t before = ((uint8_t *)room)[4 * width], after = ((uint8_t *)room)[6 * width];
      value_to_array(&v, room, 5);
      Value back = value_from_array(type, room, 5);
      CHECK(back.type == type && !back.is_null);
      CHECK_INT(value_compare(&v, &back), 0);
      CHECK_INT(((uint8_t *)room)[4 * width], before);
      CHECK_INT(((uint8_t *)room)[6 * width], after);
    }
  }
}

/* A float's bits; of an f32 the double is read and written whole, as a caller has it. */
TEST(types, floats_keep_their_bits_as_values) {
  static const uint32_t bits[] = { 0x7F800001, 0xFF812345, 0x7FBFFFFF, 0x7FC00000, 0xFFFFFFFF, 0x7F800000,
                                   0xFF800000, 0x80000000, 0,          1,          0x80000001, 0x3DCCCCCD };
  uint64_t random = 23;
  for (int i = 0; i < 20000; i++) {
    uint32_t narrow = i < 12 ? bits[i] : (uint32_t)test_random(&random), back = 0;
    if (i % 3 == 0) narrow |= 0x7F800000;
    Value v = value_from_array(TYPE_F32, &narrow, 0);
    value_to_array(&v, &back, 0);
    CHECK_INT(back, narrow);
    CHECK(v.f != v.f || v.f == f32_widened((float)v.f));
    uint64_t wide = (uint64_t)narrow << 32 | (uint32_t)i, wide_back = 0;
    v = value_from_array(TYPE_F64, &wide, 0);
    value_to_array(&v, &wide_back, 0);
    CHECK_INT(wide_back, wide);
  }
  uint64_t low = UINT64_C(0x7FF0000000000001); /* a NaN whose payload no f32 has room for */
  double wide;
  memcpy(&wide, &low, sizeof wide);
  float nearest = f32_nearest(wide);
  CHECK(nearest != nearest);
}

/* The numbers in ascending order, with equals side by side. */
TEST(types, floats_have_a_total_order) {
  const double ascending[] = { -INFINITY, -1e300, -1.5, -5e-324, 0.0, 5e-324, 1.5, 1e300, INFINITY, NAN };
  for (int a = 0; a < 10; a++) {
    for (int b = 0; b < 10; b++) {
      Value va = { .type = TYPE_F64, .f = ascending[a] }, vb = { .type = TYPE_F64, .f = ascending[b] };
      CHECK_INT(value_compare(&va, &vb), (a > b) - (a < b));
      CHECK_INT((float_image(ascending[a]) > float_image(ascending[b])) -
                  (float_image(ascending[a]) < float_image(ascending[b])),
                (a > b) - (a < b));
    }
  }
  CHECK_INT(float_image(-0.0), float_image(0.0));
  CHECK_INT(float_image(-NAN), float_image(NAN));
}

TEST(types, nulls_come_first) {
  Value null = { .type = TYPE_I32, .is_null = true }, least = { .type = TYPE_I32, .i = INT32_MIN };
  CHECK(value_compare(&null, &least) < 0);
  CHECK(value_compare(&least, &null) > 0);
  CHECK_INT(value_compare(&null, &null), 0);
}

TEST(types, images_order_as_values_do) {
  uint64_t random = 11;
  for (int i = 0; i < TYPE_COUNT; i++) {
    ColumnType type = every_type[i];
    for (int round = 0; round < 3000; round++) {
      uint64_t room[4] = { 0 };
      uint8_t text[2][10];
      for (int k = 0; k < 2; k++) {
        uint64_t bits = test_random(&random) >> test_random_below(&random, 64);
        for (int c = 0; c < 10; c++) text[k][c] = (uint8_t)test_random_below(&random, 3);
        Value v = { .type = type };
        size_t width = type_array_width(type);
        if (type_is_string(type))
          v.s = (Bytes){ text[k], bits % 11 };
        else if (type == TYPE_F32)
          v.f = (double)(float)((double)(int64_t)bits - 1e9);
        else if (type == TYPE_F64)
          v.f = (double)(int64_t)bits - 1e9;
        else if (type == TYPE_BOOL)
          v.i = bits & 1;
        else if (type_is_signed(type))
          v.i = (int64_t)(bits << (64 - 8 * width)) >> (64 - 8 * width);
        else
          v.u = width == 8 ? bits : bits & ((UINT64_C(1) << 8 * width) - 1);
        value_to_array(&v, room, (size_t)k);
      }
      Value a = value_from_array(type, room, 0), b = value_from_array(type, room, 1);
      int64_t ia = type_image(type, room, 0), ib = type_image(type, room, 1);
      if (ia < ib) CHECK(value_compare(&a, &b) < 0);
      if (ia > ib) CHECK(value_compare(&a, &b) > 0);
      if (ia == ib && !type_is_string(type)) CHECK_INT(value_compare(&a, &b), 0);
    }
  }
}

/* ---- schemas ---- */

static Column columns_of_flights[] = {
  { 1, TYPE_DATE, 0, 0, "day" },
  { 2, TYPE_STRING, 0, 0, "carrier" },
  { 3, TYPE_I16, COLUMN_NULLABLE | 5u << COLUMN_ENCODING_SHIFT | 1u << (COLUMN_FORBIDDEN_SHIFT + 7), 0, "dep_delay" },
  { 7, TYPE_TIMESTAMP, COLUMN_UTC | COLUMN_NULLABLE, 0, "d\xC3\xA9part" },
  { 8, TYPE_FIXED_BYTES, 0, 16, "id" },
};
static Schema flights(void) {
  return (
    Schema){ .version = 3, .column_count = 5, .columns = columns_of_flights, .key_count = 2, .key_columns = { 4, 0 } };
}

static Column columns_with_row_id[] = { { 1, TYPE_F64, COLUMN_NULLABLE, 0, "x" },
                                        { 2, TYPE_U64, COLUMN_HIDDEN, 0, "rowid" } };
static Schema keyless(void) {
  return (Schema){ .version = 1,
                   .column_count = 2,
                   .columns = columns_with_row_id,
                   .key_count = 1,
                   .key_columns = { 1 },
                   .has_row_id = true };
}

static void check_equal(const Schema *a, const Schema *b) {
  CHECK_INT(a->version, b->version);
  CHECK_INT(a->column_count, b->column_count);
  CHECK_INT(a->key_count, b->key_count);
  CHECK_INT(a->has_row_id, b->has_row_id);
  for (uint32_t i = 0; i < a->column_count; i++) {
    CHECK_INT(a->columns[i].id, b->columns[i].id);
    CHECK_INT(a->columns[i].type, b->columns[i].type);
    CHECK_INT(a->columns[i].flags, b->columns[i].flags);
    CHECK_INT(a->columns[i].width, b->columns[i].width);
    CHECK_STR(a->columns[i].name, b->columns[i].name);
  }
  for (uint32_t k = 0; k < a->key_count; k++) CHECK_INT(a->key_columns[k], b->key_columns[k]);
}

TEST(schema, finds_columns_and_keys) {
  Schema s = flights();
  CHECK_OK(schema_check(&s));
  CHECK_INT(schema_find(&s, "dep_delay", 9), 2);
  CHECK_INT(schema_find(&s, "dep_dela", 8), -1);
  CHECK_INT(schema_find(&s, "dep_delayed", 9), 2);
  CHECK(schema_is_key(&s, 0) && schema_is_key(&s, 4) && !schema_is_key(&s, 1));
}

TEST(schema, bytes_and_back_and_every_truncation_is_refused) {
  Schema both[] = { flights(), keyless() };
  for (int i = 0; i < 2; i++) {
    uint64_t held = memory_blocks_held();
    Buffer b = { 0 };
    schema_write(&both[i], &b);
    CHECK_OK(buffer_status(&b));
    Schema back;
    Reader whole = reader_over(b.data, b.length);
    CHECK_OK(schema_read(&whole, &back));
    CHECK_INT(reader_left(&whole), 0);
    check_equal(&back, &both[i]);
    schema_release(&back);
    CHECK(back.columns == NULL && back.column_count == 0);
    for (size_t length = 0; length < b.length; length++) {
      uint8_t *exact = malloc(length ? length : 1);
      memcpy(exact, b.data, length);
      Reader r = reader_over(exact, length);
      CHECK_STATUS(schema_read(&r, &back), KVSTORE_CORRUPT);
      CHECK(back.columns == NULL);
      free(exact);
    }
    buffer_release(&b);
    CHECK_INT(memory_blocks_held(), held);
  }
}

TEST(schema, changed_bytes_are_refused_or_a_valid_schema) {
  Schema s = flights();
  Buffer b = { 0 };
  schema_write(&s, &b);
  uint64_t held = memory_blocks_held();
  int refused = 0;
  for (size_t at = 0; at < b.length; at++) {
    for (int v = 0; v < 256; v++) {
      uint8_t kept = b.data[at];
      b.data[at] = (uint8_t)v;
      Reader r = reader_over(b.data, b.length);
      Schema back;
      Status status = schema_read(&r, &back);
      if (status == KVSTORE_OK) {
        CHECK_OK(schema_check(&back));
        schema_release(&back);
      } else {
        CHECK_INT(status, KVSTORE_CORRUPT);
        refused++;
      }
      b.data[at] = kept;
    }
  }
  CHECK(refused > 1000);
  CHECK_INT(memory_blocks_held(), held);
  buffer_release(&b);
}

TEST(schema, copy_and_read_survive_every_failed_allocation) {
  Schema s = flights(), copy;
  Buffer b = { 0 };
  schema_write(&s, &b);
  uint64_t held = memory_blocks_held();
  for (int reading = 0; reading < 2; reading++) {
    uint64_t n = 1;
    for (;; n++) {
      Reader r = reader_over(b.data, b.length);
      failing_memory_install(n, false);
      Status status = reading ? schema_read(&r, &copy) : schema_copy(&s, &copy);
      bool failed = failing_memory_failures() > 0;
      failing_memory_remove();
      if (!failed) {
        CHECK_OK(status);
        check_equal(&copy, &s);
        schema_release(&copy);
        break;
      }
      CHECK_INT(status, KVSTORE_NOMEM);
      CHECK_INT(memory_blocks_held(), held);
    }
    CHECK_INT(n, 7); /* the array and five names, and once more without a failure */
  }
  buffer_release(&b);
}

#define REFUSED(change)                                  \
  do {                                                   \
    memcpy(columns, columns_of_flights, sizeof columns); \
    s = flights();                                       \
    s.columns = columns;                                 \
    change;                                              \
    CHECK_STATUS(schema_check(&s), KVSTORE_SCHEMA);      \
  } while (0)

TEST(schema, check_refuses_what_is_wrong) {
  Column columns[5];
  Schema s;
  static char long_name[257];
  memset(long_name, 'n', 256);
  REFUSED(s.column_count = 0);
  REFUSED(s.column_count = COLUMNS_MAX + 1);
  REFUSED(columns[1].name = "");
  REFUSED(columns[1].name = NULL);
  REFUSED(columns[1].name = long_name);
  REFUSED(columns[1].name = "\xFF");
  REFUSED(columns[1].name = "day");
  REFUSED(columns[1].id = 1);
  REFUSED(columns[1].type = TYPE_NONE);
  REFUSED(columns[1].type = (ColumnType)13);
  REFUSED(columns[1].width = 4);
  REFUSED(columns[1].type = TYPE_UUID);
  REFUSED(columns[4].type = type_decimal(3));
  REFUSED(columns[1].type = (ColumnType)(TYPE_DECIMAL_LAST + 1));
  REFUSED(columns[4].width = 0);
  REFUSED(columns[4].width = FIXED_BYTES_MAX + 1);
  REFUSED(columns[1].flags = COLUMN_UTC);
  REFUSED(columns[1].flags = 16);
  REFUSED(columns[1].flags = 4u << COLUMN_ENCODING_SHIFT);  /* bits, of an i64 */
  REFUSED(columns[1].flags = 14u << COLUMN_ENCODING_SHIFT); /* there is no such encoding */
  REFUSED(columns[1].flags = 1u << COLUMN_FORBIDDEN_SHIFT);
  REFUSED(columns[1].flags = 1u << (COLUMN_FORBIDDEN_SHIFT + 14));
  REFUSED(columns[1].flags = 5u << COLUMN_ENCODING_SHIFT | 1u << (COLUMN_FORBIDDEN_SHIFT + 5));
  REFUSED(columns[1].flags = COLUMN_HIDDEN);
  REFUSED(s.key_count = 0);
  REFUSED(s.key_count = KEY_COLUMNS_MAX + 1);
  REFUSED(s.key_columns[1] = 5);
  REFUSED(s.key_columns[1] = 4);
  REFUSED(s.key_columns[1] = 2);
  REFUSED(s.has_row_id = true);
  s = keyless();
  CHECK_OK(schema_check(&s));
  s.key_columns[0] = 0;
  CHECK_STATUS(schema_check(&s), KVSTORE_SCHEMA);
  s = keyless();
  s.columns = columns_with_row_id + 1;
  s.column_count = 1;
  s.key_columns[0] = 0;
  CHECK_STATUS(schema_check(&s), KVSTORE_SCHEMA);
}

TEST(schema, the_largest_one_is_allowed) {
  static Column columns[COLUMNS_MAX];
  static char names[COLUMNS_MAX][8];
  for (uint32_t i = 0; i < COLUMNS_MAX; i++) {
    snprintf(names[i], sizeof names[i], "c%u", i);
    columns[i] = (Column){ i, TYPE_U8, 0, 0, names[i] };
  }
  Schema s = { .column_count = COLUMNS_MAX, .columns = columns, .key_count = KEY_COLUMNS_MAX }, back;
  for (uint32_t k = 0; k < KEY_COLUMNS_MAX; k++) s.key_columns[k] = COLUMNS_MAX - 1 - k;
  CHECK_OK(schema_check(&s));
  Buffer b = { 0 };
  schema_write(&s, &b);
  Reader r = reader_over(b.data, b.length);
  CHECK_OK(schema_read(&r, &back));
  check_equal(&back, &s);
  schema_release(&back);
  buffer_release(&b);
}
