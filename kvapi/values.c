/* values.c - single values across the door, and their text. */
#include "kvapi/values.h"

#include <math.h>
#include <string.h>

#include "base/decimal.h"
#include "base/encoding.h"
#include "base/literal.h"
#include "base/memory.h"
#include "query/query.h"

#define SAME_TYPE(name) _Static_assert(KVTABLE_TYPE_##name == (int)TYPE_##name, "one number")
SAME_TYPE(NONE);
SAME_TYPE(BOOL);
SAME_TYPE(I8);
SAME_TYPE(I16);
SAME_TYPE(I32);
SAME_TYPE(I64);
SAME_TYPE(U8);
SAME_TYPE(U16);
SAME_TYPE(U32);
SAME_TYPE(U64);
SAME_TYPE(F32);
SAME_TYPE(F64);
SAME_TYPE(DATE);
SAME_TYPE(TIME);
SAME_TYPE(DURATION);
SAME_TYPE(UUID);
SAME_TYPE(TIMESTAMP);
SAME_TYPE(STRING);
SAME_TYPE(BYTES);
SAME_TYPE(FIXED_BYTES);
_Static_assert(KVTABLE_DECIMAL_SCALE_MAX == DECIMAL_SCALE_MAX && KVTABLE_UUID_BYTES == UUID_BYTES, "one number");
_Static_assert(KVTABLE_NULLABLE == (int)COLUMN_NULLABLE && KVTABLE_UTC == (int)COLUMN_UTC &&
                 KVTABLE_READ_BY_KEY == (int)COLUMN_READ_BY_KEY && KVTABLE_ARRAY == (int)COLUMN_ARRAY,
               "one number");
_Static_assert(KVTABLE_USE_ENCODING(1) == 1 << (int)COLUMN_ENCODING_SHIFT &&
                 KVTABLE_NO_ENCODING(1) == 2 << (int)COLUMN_FORBIDDEN_SHIFT,
               "one place");
_Static_assert(KVTABLE_ENCODING_CONSTANT == (int)ENCODING_CONSTANT && KVTABLE_ENCODING_STRIDE == (int)ENCODING_STRIDE &&
                 KVTABLE_ENCODING_PLAIN == (int)ENCODING_PLAIN && KVTABLE_ENCODING_BITS == (int)ENCODING_BITS &&
                 KVTABLE_ENCODING_PACKED == (int)ENCODING_PACKED &&
                 KVTABLE_ENCODING_DICTIONARY == (int)ENCODING_DICTIONARY &&
                 KVTABLE_ENCODING_RUN_LENGTH == (int)ENCODING_RUN_LENGTH &&
                 KVTABLE_ENCODING_DELTA == (int)ENCODING_DELTA && KVTABLE_ENCODING_ALP == (int)ENCODING_ALP &&
                 KVTABLE_ENCODING_ALP_RD == (int)ENCODING_ALP_RD && KVTABLE_ENCODING_FSST == (int)ENCODING_FSST &&
                 KVTABLE_ENCODING_ZSTD == (int)ENCODING_ZSTD &&
                 KVTABLE_ENCODING_FRONT_CODED == (int)ENCODING_FRONT_CODED,
               "one number");
_Static_assert(KVTABLE_COLUMNS_MAX < COLUMNS_MAX && KVTABLE_KEY_COLUMNS_MAX == KEY_COLUMNS_MAX, "room for the row id");

/* ---- types ---- */

ColumnType type_from_caller(int type, uint32_t width) {
  if (type == KVTABLE_TYPE_DECIMAL) return width <= DECIMAL_SCALE_MAX ? type_decimal(width) : TYPE_NONE;
  return type_is_valid((uint32_t)type) && !type_is_decimal((ColumnType)type) ? (ColumnType)type : TYPE_NONE;
}

uint32_t width_from_caller(int type, uint32_t width) {
  if (type == KVTABLE_TYPE_UUID && width == 0) return UUID_BYTES;
  return type == KVTABLE_TYPE_DECIMAL ? 0 : width;
}

int type_to_caller(ColumnType type, uint32_t *width) {
  if (query_type_is_wide(type)) {
    *width = query_sum_scale(type);
    return KVTABLE_TYPE_DECIMAL128;
  }
  if (!type_is_decimal(type)) return (int)type;
  *width = type_scale(type);
  return KVTABLE_TYPE_DECIMAL;
}

static ColumnType type_of(const KVValue *value) { return type_from_caller(value->type, value->scale); }

/* ---- text ---- */

static Int128 decimal_of_caller(const KVValue *value) {
  bool is_narrow = value->type == KVTABLE_TYPE_DECIMAL;
  int64_t high = is_narrow ? -(int64_t)(value->as.i64 < 0) : value->as.decimal.high;
  return (Int128){ .low = value->as.decimal.low, .high = high };
}

/* With any digits behind the point. */
static void print_long_decimal(const KVValue *value, Buffer *out) {
  char digits[INT128_TEXT_MAX];
  size_t length = int128_text(decimal_of_caller(value), digits), sign = digits[0] == '-', scale = value->scale;
  buffer_append(out, digits, sign);
  size_t whole = length - sign > scale ? length - sign - scale : 0;
  if (whole)
    buffer_append(out, digits + sign, whole);
  else
    buffer_u8(out, '0');
  if (!scale) return;
  buffer_u8(out, '.');
  for (size_t zeros = length - sign; zeros < scale; zeros++) buffer_u8(out, '0');
  buffer_append(out, digits + sign + whole, length - sign - whole);
}

/* What is said to be an f32 is the nearest one; what lies beyond them all stays, and is none. */
static double float_of(const KVValue *given) {
  double f = given->as.f64, nearest = f32_widened(f32_nearest(f));
  return given->type == KVTABLE_TYPE_F32 && (isfinite(nearest) || !isfinite(f)) ? nearest : f;
}

/* Of a type that a column may have; not null. */
static Value value_of(const KVValue *given) {
  Value value = { .type = type_of(given) };
  if (type_is_string(value.type))
    value.s = (Bytes){ given->as.bytes.data, given->as.bytes.length };
  else if (type_is_float(value.type))
    value.f = float_of(given);
  else if (type_is_signed(value.type) || value.type == TYPE_BOOL)
    value.i = given->as.i64;
  else
    value.u = given->as.u64;
  return value;
}

static bool image_fits(ColumnType type, int64_t i) {
  int64_t low, high;
  type_image_bounds(type, &low, &high);
  return i >= low && i <= high;
}

static void print_value(const KVValue *given, Buffer *out) {
  if (given->is_null || given->type == KVTABLE_TYPE_NONE) {
    buffer_text(out, "null");
  } else if (given->type == KVTABLE_TYPE_DECIMAL128 ||
             (given->type == KVTABLE_TYPE_DECIMAL && given->scale > DECIMAL_SCALE_MAX)) {
    print_long_decimal(given, out);
  } else if (type_of(given) != TYPE_NONE) {
    Value value = value_of(given);
    bool has_bounds = value.type == TYPE_DATE || value.type == TYPE_TIME;
    if (has_bounds && !image_fits(value.type, value.i)) value.type = TYPE_I64; /* none: the number that it is */
    if (!type_is_string(value.type) || (value.s.data && value.s.length)) literal_print_plain(&value, out);
  } else {
    buffer_text(out, "?");
  }
}

size_t kvvalue_print(const KVValue *value, char *buffer, size_t size) {
  Buffer text = { 0 };
  if (value) print_value(value, &text);
  size_t length = text.failed ? 0 : text.length;
  if (size && buffer) {
    size_t copied = length < size ? length : size - 1;
    if (copied) memcpy(buffer, text.data, copied);
    buffer[copied] = 0;
  }
  buffer_release(&text);
  return length;
}

int kvvalue_read(int type, uint32_t width, const char *text, size_t length, void *room, KVValue *value) {
  ColumnType of = type_from_caller(type, width);
  if (value) *value = kvvalue_null();
  if (!text || !value || (of == TYPE_UUID && !room)) return KVSTORE_ERROR;
  if (of == TYPE_NONE || !literal_is_read(of)) return KVSTORE_UNSUPPORTED;
  while (length && *text == ' ') text++, length--;
  while (length && text[length - 1] == ' ') length--;
  Value read;
  if (!literal_read_as(of, (Bytes){ (const uint8_t *)text, length }, room, &read)) return KVSTORE_TYPE;
  *value = value_to_caller(&read);
  return KVSTORE_OK;
}

double kvvalue_to_f64(const KVValue *value) {
  if (!value || value->is_null) return 0;
  ColumnType type = type_of(value);
  double unit = (double)decimal_unit(value->scale <= DECIMAL_SCALE_MAX ? value->scale : 0);
  if (value->type == KVTABLE_TYPE_DECIMAL128) return int128_to_double(decimal_of_caller(value)) / unit;
  if (type_is_decimal(type)) return decimal_to_double(value->as.i64, value->scale);
  if (type_is_float(type)) return value->as.f64;
  if (type_is_signed(type) || type == TYPE_BOOL) return (double)value->as.i64;
  return type_is_integer(type) ? (double)value->as.u64 : 0;
}

/* ---- into a column ---- */

static const char *name_of(int type) {
  if (type == KVTABLE_TYPE_DECIMAL) return "decimal";
  if (type == KVTABLE_TYPE_DECIMAL128) return "decimal128";
  return type_is_decimal((ColumnType)type) ? "?" : type_name((ColumnType)type);
}

static Status does_not_fit(const KVValue *given, const Column *column) {
  char text[STATUS_NAME_MAX];
  if (*name_of(given->type) == '?')
    return status_fail_at(KVSTORE_TYPE, UINT64_MAX, column->name, NULL, "column %s: there is no type %d of values",
                          column->name, given->type);
  kvvalue_print(given, text, sizeof text);
  return status_fail_at(KVSTORE_TYPE, UINT64_MAX, column->name, text,
                        "column %s is of type %s: it cannot hold the %s %s", column->name, type_name(column->type),
                        name_of(given->type), text);
}

/* A number of the caller's: an i64, a u64 above all i64, or a double. */
typedef enum NumberKind { NUMBER_NONE, NUMBER_SIGNED, NUMBER_UNSIGNED, NUMBER_FLOAT } NumberKind;
typedef struct Number {
  NumberKind kind;
  int64_t i;
  uint64_t u;
  double f;
} Number;

static Number number_of(const KVValue *given) {
  ColumnType type = type_of(given);
  if (type_is_float(type)) return (Number){ NUMBER_FLOAT, 0, 0, float_of(given) };
  if (!type_is_integer(type)) return (Number){ NUMBER_NONE, 0, 0, 0 };
  if (type_is_signed(type)) return (Number){ NUMBER_SIGNED, given->as.i64, 0, 0 };
  if (given->as.u64 <= INT64_MAX) return (Number){ NUMBER_SIGNED, (int64_t)given->as.u64, 0, 0 };
  return (Number){ NUMBER_UNSIGNED, 0, given->as.u64, 0 };
}

static const double two_to_63 = 9223372036854775808.0;

/* A whole float as an integer; NaN, infinities and fractions stay floats. */
static Number whole(Number n) {
  if (n.kind != NUMBER_FLOAT) return n;
  if (n.f >= -two_to_63 && n.f < two_to_63 && (double)(int64_t)n.f == n.f)
    return (Number){ NUMBER_SIGNED, (int64_t)n.f, 0, 0 };
  if (n.f >= two_to_63 && n.f < 2 * two_to_63) return (Number){ NUMBER_UNSIGNED, 0, (uint64_t)n.f, 0 };
  return n;
}

static bool signed_fits(ColumnType type, int64_t i) {
  unsigned unused = (64 - 8 * (unsigned)type_array_width(type)) & 63; /* bits */
  return (int64_t)((uint64_t)i << unused) >> unused == i;
}

static bool is_signed_integer(ColumnType type) { return type >= TYPE_I8 && type <= TYPE_I64; }

static bool unsigned_fits(ColumnType type, uint64_t u) {
  size_t bits = 8 * type_array_width(type);
  return bits == 64 || u < (UINT64_C(1) << bits);
}

static bool integer_fits(Number n, ColumnType type, Value *out) {
  n = whole(n);
  if (type_is_signed(type)) {
    out->i = n.i;
    return n.kind == NUMBER_SIGNED && signed_fits(type, n.i);
  }
  out->u = n.kind == NUMBER_SIGNED ? (uint64_t)n.i : n.u;
  return (n.kind == NUMBER_UNSIGNED || (n.kind == NUMBER_SIGNED && n.i >= 0)) && unsigned_fits(type, out->u);
}

/* Exactly: an f64 that an f32 would round, or an integer that a double would, is refused. */
static bool float_fits(Number n, ColumnType type, Value *out) {
  if (n.kind == NUMBER_FLOAT)
    out->f = n.f;
  else if (n.kind == NUMBER_SIGNED)
    out->f = (double)n.i;
  else
    out->f = (double)n.u;
  Number back = whole((Number){ NUMBER_FLOAT, 0, 0, out->f });
  if (n.kind == NUMBER_NONE) return false;
  if (n.kind != NUMBER_FLOAT && (back.kind != n.kind || back.i != n.i || back.u != n.u)) return false;
  return type == TYPE_F64 || out->f != out->f || (double)(float)out->f == out->f;
}

/* A number in units of the decimal, exactly. */
static bool decimal_fits(const KVValue *given, ColumnType type, Value *out) {
  Value value = value_of(given);
  unsigned scale;
  Place place;
  if (type_is_float(value.type)) {
    place = decimal_place_of_double(value.f, type_scale(type));
  } else {
    Wide units = decimal_of(&value, &scale);
    place = decimal_place(units, scale, type_scale(type));
  }
  out->i = (int64_t)place.floor;
  return place.floor == place.ceiling && place.floor == out->i && image_fits(type, out->i);
}

/* A decimal as another number: the integer that it is, or the double that is exactly it. */
static bool decimal_is(const KVValue *given, Number *out) {
  Place place = decimal_place(given->as.i64, given->scale, 0);
  double near = decimal_to_double(given->as.i64, given->scale);
  *out = (Number){ NUMBER_SIGNED, (int64_t)place.floor, 0, 0 };
  if (place.floor == place.ceiling) return true;
  *out = (Number){ NUMBER_FLOAT, 0, 0, near };
  return decimal_order_beside_double(given->as.i64, given->scale, near) == 0;
}

static bool number_fits(const KVValue *given, ColumnType type, Value *out) {
  if (!type_is_number(type_of(given))) return false;
  if (type_is_decimal(type)) return decimal_fits(given, type, out);
  Number n = number_of(given);
  if (type_is_decimal(type_of(given)) && !decimal_is(given, &n)) return false;
  if (n.kind == NUMBER_NONE) return false;
  return type_is_float(type) ? float_fits(n, type, out) : integer_fits(n, type, out);
}

KVValue value_shortened(const KVValue *decimal128) {
  enum { TEN = 10, HALF_BITS = 64 };
  Wide number = decimal128->as.decimal.high * ((Wide)1 << HALF_BITS) + decimal128->as.decimal.low;
  const Wide limit = decimal_unit(DECIMAL_SCALE_MAX);
  unsigned scale = decimal128->scale;
  while ((number >= limit || number <= -limit) && scale && number % TEN == 0) number /= TEN, scale--;
  if (number < limit && number > -limit) return kvvalue_decimal((int64_t)number, scale);
  if (scale || number < INT64_MIN || number > (Wide)UINT64_MAX) return *decimal128;
  return number > INT64_MAX ? kvvalue_u64((uint64_t)number) : kvvalue_i64((int64_t)number);
}

/* Text is no uuid, and a uuid is no text. */
static bool string_goes_into(ColumnType given, ColumnType type) {
  if (!type_is_string(given)) return false;
  return given == type || !((given == TYPE_UUID && type == TYPE_STRING) || (type == TYPE_UUID && given == TYPE_STRING));
}

static Status string_for_column(const KVValue *given, const Column *column, Value *out) {
  if (!string_goes_into(type_of(given), column->type)) return does_not_fit(given, column);
  if (!given->as.bytes.data && given->as.bytes.length)
    return status_fail_at(KVSTORE_ERROR, UINT64_MAX, column->name, NULL, "column %s: a string of %zu bytes at NULL",
                          column->name, given->as.bytes.length);
  out->s = (Bytes){ given->as.bytes.data, given->as.bytes.length };
  return KVSTORE_OK;
}

Status value_for_column(const KVValue *given, const Column *column, Value *out) {
  ColumnType type = column->type;
  *out = (Value){ .type = type };
  if (given->is_null) {
    out->is_null = true;
    return KVSTORE_OK;
  }
  if (given->type == KVTABLE_TYPE_I64 && is_signed_integer(type)) { /* what most numbers are */
    out->i = given->as.i64;
    return LIKELY(signed_fits(type, out->i)) ? KVSTORE_OK : does_not_fit(given, column);
  }
  if (type_is_string(type)) return string_for_column(given, column, out);
  bool fits = type_of(given) == type;
  if (type_is_number(type)) {
    fits = number_fits(given, type, out);
  } else if (fits) {
    out->i = type == TYPE_BOOL ? given->as.i64 != 0 : given->as.i64;
    fits = image_fits(type, out->i);
  }
  return fits ? KVSTORE_OK : does_not_fit(given, column);
}

/* ---- into a filter, and out ---- */

static Status fail_without_type(const KVValue *given, size_t index) {
  char text[STATUS_NAME_MAX];
  kvvalue_print(given, text, sizeof text);
  if (given->type == KVTABLE_TYPE_DECIMAL)
    return status_fail_at(KVSTORE_TYPE, UINT64_MAX, NULL, text,
                          "value %zu of the filter has %u digits behind the point, "
                          "and 18 are the most: %s",
                          index + 1, given->scale, text);
  return status_fail_at(KVSTORE_TYPE, UINT64_MAX, NULL, text,
                        "value %zu of the filter has no type that compares: %s (%d)", index + 1, name_of(given->type),
                        given->type);
}

Status value_for_filter(const KVValue *given, size_t index, Value *out) {
  ColumnType type = type_of(given);
  if (given->is_null) {
    *out = (Value){ .type = TYPE_NONE, .is_null = true };
    return KVSTORE_OK;
  }
  if (type == TYPE_NONE) return fail_without_type(given, index);
  *out = value_of(given);
  if (type_is_string(type)) {
    if (!given->as.bytes.data && given->as.bytes.length)
      return status_fail(KVSTORE_ERROR, "value %zu of the filter is a string at NULL", index + 1);
    if (type == TYPE_UUID && given->as.bytes.length != UUID_BYTES)
      return status_fail(KVSTORE_TYPE, "value %zu of the filter is no uuid: it has %zu bytes", index + 1,
                         given->as.bytes.length);
  } else if (type_is_float(type)) {
    out->type = TYPE_F64;
  } else if (type == TYPE_BOOL) {
    out->i = given->as.i64 != 0;
  } else if (type_is_integer(type)) {
    bool is_i64 = type_is_signed(type) || (type != TYPE_U64 && out->u <= INT64_MAX); /* a u32 is computed with as one */
    out->type = is_i64 ? TYPE_I64 : TYPE_U64;
  } else if (!image_fits(type, given->as.i64)) {
    char text[STATUS_NAME_MAX];
    kvvalue_print(given, text, sizeof text);
    return status_fail_at(KVSTORE_TYPE, UINT64_MAX, NULL, text, "value %zu of the filter is no %s: %s", index + 1,
                          type_name(type), text);
  }
  return KVSTORE_OK;
}

Status text_to_caller(Buffer *text, char **out) {
  buffer_u8(text, 0);
  Status status = buffer_status(text);
  char *copy = status == KVSTORE_OK ? memory_copy(text->data, text->length) : NULL;
  if (status == KVSTORE_OK && !copy) status = status_nomem();
  if (copy) *out = copy;
  buffer_release(text);
  return status;
}

KVValue value_to_caller(const Value *value) {
  uint32_t width = 0;
  KVValue out = kvvalue_of(type_to_caller(value->type, &width));
  out.is_null = value->is_null;
  out.scale = (uint8_t)width;
  if (value->is_null) return out;
  if (type_is_string(value->type)) {
    out.as.bytes.data = value->s.data;
    out.as.bytes.length = value->s.length;
  } else if (type_is_float(value->type)) {
    out.as.f64 = value->f;
  } else if (type_is_integer(value->type) && !type_is_signed(value->type)) {
    out.as.u64 = value->u;
  } else {
    out.as.i64 = value->i;
    if (type_is_decimal(value->type)) out.as.decimal.high = value->i >> 63; /* its low half is where i64 is */
  }
  return out;
}

KVValue sum_to_caller(Int128 number, unsigned scale) {
  KVValue out = kvvalue_of(KVTABLE_TYPE_DECIMAL128);
  out.scale = (uint8_t)scale;
  out.as.decimal.low = number.low;
  out.as.decimal.high = number.high;
  return out;
}

const char *kvtable_type_name(int type) { return name_of(type); }
int kvtable_type_by_name(const char *name) {
  if (!name) return KVTABLE_TYPE_NONE;
  ColumnType type = type_by_name(name, strlen(name));
  if (strcmp(name, "decimal") == 0 || type_is_decimal(type)) return KVTABLE_TYPE_DECIMAL;
  return (int)type;
}

/* Arrays have a flag of their own. */
const char *kvtable_encoding_name(int encoding) {
  return encoding > 0 && encoding <= ENCODING_LAST ? encoding_name((uint32_t)encoding) : "?";
}
int kvtable_encoding_by_name(const char *name) {
  EncodingId encoding = name ? encoding_by_name(name) : ENCODING_NONE;
  return encoding <= ENCODING_LAST ? (int)encoding : 0;
}

KVColumnDefinition definition_of(const Column *column) {
  uint32_t own = COLUMN_HIDDEN | COLUMN_COMPUTED, width = column->width;
  int type = type_to_caller(column->type, &width);
  return (KVColumnDefinition){ column->name, type, (int)(column->flags & ~own), width };
}
