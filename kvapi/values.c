/* values.c - single values across the door, and their text. */
#include "kvapi/values.h"

#include <string.h>

#include "base/memory.h"
#include "query/literal.h"
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
SAME_TYPE(TIMESTAMP);
SAME_TYPE(STRING);
SAME_TYPE(BYTES);
SAME_TYPE(FIXED_BYTES);
_Static_assert(KVTABLE_NULLABLE == (int)COLUMN_NULLABLE && KVTABLE_UTC == (int)COLUMN_UTC &&
                 KVTABLE_READ_BY_KEY == (int)COLUMN_READ_BY_KEY && KVTABLE_ARRAY == (int)COLUMN_ARRAY,
               "one number");
_Static_assert(KVTABLE_USE_ENCODING(1) == 1 << (int)COLUMN_ENCODING_SHIFT &&
                 KVTABLE_NO_ENCODING(1) == 2 << (int)COLUMN_FORBIDDEN_SHIFT,
               "one place");
_Static_assert(KVTABLE_COLUMNS_MAX < COLUMNS_MAX && KVTABLE_KEY_COLUMNS_MAX == KEY_COLUMNS_MAX, "room for the row id");

/* ---- text ---- */

static void print_bytes(Bytes bytes, Buffer *out) {
  static const char digits[] = "0123456789abcdef";
  for (size_t i = 0; i < bytes.length; i++) {
    buffer_u8(out, (uint8_t)digits[bytes.data[i] >> 4]);
    buffer_u8(out, (uint8_t)digits[bytes.data[i] & 15]);
  }
}

/* A literal of the filter language without its word and quotes: date '2013-01-31' is 2013-01-31. */
static void print_time(const Value *value, Buffer *out) {
  Buffer literal = { 0 };
  literal_print(value, &literal);
  const uint8_t *begin = literal.data ? memchr(literal.data, '\'', literal.length) : NULL;
  if (begin)
    buffer_append(out, begin + 1, (size_t)(literal.data + literal.length - begin) - 2);
  else
    out->failed = true;
  buffer_release(&literal);
}

static Int128 decimal_of(const KVValue *value) {
  return (Int128){ .low = value->as.decimal.low, .high = value->as.decimal.high };
}

static void print_value(const KVValue *given, Buffer *out) {
  Value value = { .type = (ColumnType)given->type };
  char digits[INT128_TEXT_MAX];
  if (given->is_null || given->type == KVTABLE_TYPE_NONE) {
    buffer_text(out, "null");
  } else if (given->type == KVTABLE_TYPE_DECIMAL) {
    buffer_append(out, digits, int128_text(decimal_of(given), digits));
  } else if (given->type == KVTABLE_TYPE_STRING) {
    if (given->as.bytes.length) buffer_append(out, given->as.bytes.data, given->as.bytes.length);
  } else if (type_is_string(value.type)) {
    print_bytes((Bytes){ given->as.bytes.data, given->as.bytes.length }, out);
  } else if (type_is_valid((uint32_t)given->type)) {
    if (type_is_float(value.type))
      value.f = given->as.f64;
    else if (type_is_integer(value.type) && !type_is_signed(value.type))
      value.u = given->as.u64;
    else
      value.i = given->as.i64;
    if (value.type == TYPE_DATE || value.type == TYPE_TIMESTAMP)
      print_time(&value, out);
    else
      literal_print(&value, out);
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

double kvvalue_to_f64(const KVValue *value) {
  if (!value || value->is_null) return 0;
  ColumnType type = (ColumnType)value->type;
  if (value->type == KVTABLE_TYPE_DECIMAL) return int128_to_double(decimal_of(value));
  if (type_is_float(type)) return value->as.f64;
  if (type_is_signed(type) || type == TYPE_BOOL) return (double)value->as.i64;
  return type_is_integer(type) ? (double)value->as.u64 : 0;
}

/* ---- into a column ---- */

static const char *name_of(int type) { return type == KVTABLE_TYPE_DECIMAL ? "decimal" : type_name((ColumnType)type); }

static Status does_not_fit(const KVValue *given, const Column *column) {
  char text[STATUS_NAME_MAX];
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
  ColumnType type = (ColumnType)given->type;
  if (type_is_float(type)) return (Number){ NUMBER_FLOAT, 0, 0, given->as.f64 };
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
  size_t bits = 8 * type_array_width(type);
  return bits == 64 || (i >= -(INT64_C(1) << (bits - 1)) && i < (INT64_C(1) << (bits - 1)));
}

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

static bool number_fits(const KVValue *given, ColumnType type, Value *out) {
  Number n = number_of(given);
  if (n.kind == NUMBER_NONE) return false;
  if (given->type == KVTABLE_TYPE_F32 && type == TYPE_F32) { /* said to be one: rounded at worst */
    out->f = (double)(float)n.f;
    return true;
  }
  return type_is_float(type) ? float_fits(n, type, out) : integer_fits(n, type, out);
}

Status value_for_column(const KVValue *given, const Column *column, Value *out) {
  ColumnType type = column->type;
  bool fits = given->type == (int)type;
  *out = (Value){ .type = type };
  if (given->is_null) {
    out->is_null = true;
    return KVSTORE_OK;
  }
  if (type_is_string(type)) {
    fits = type_is_string((ColumnType)given->type);
    if (fits && !given->as.bytes.data && given->as.bytes.length)
      return status_fail_at(KVSTORE_ERROR, UINT64_MAX, column->name, NULL, "column %s: a string of %zu bytes at NULL",
                            column->name, given->as.bytes.length);
    if (fits) out->s = (Bytes){ given->as.bytes.data, given->as.bytes.length };
  } else if (type_is_integer(type) || type_is_float(type)) {
    fits = number_fits(given, type, out);
  } else if (fits) {
    out->i = given->as.i64;
    if (type == TYPE_BOOL) out->i = out->i != 0;
    fits = type == TYPE_BOOL || signed_fits(type, out->i);
  }
  return fits ? KVSTORE_OK : does_not_fit(given, column);
}

/* ---- into a filter, and out ---- */

Status value_for_filter(const KVValue *given, size_t index, Value *out) {
  ColumnType type = (ColumnType)given->type;
  if (given->is_null) {
    *out = (Value){ .type = TYPE_NONE, .is_null = true };
    return KVSTORE_OK;
  }
  if (!type_is_valid((uint32_t)given->type))
    return status_fail(KVSTORE_TYPE, "value %zu of the filter has no type that compares: %d", index + 1, given->type);
  *out = (Value){ .type = type };
  if (type_is_string(type)) {
    if (!given->as.bytes.data && given->as.bytes.length)
      return status_fail(KVSTORE_ERROR, "value %zu of the filter is a string at NULL", index + 1);
    out->s = (Bytes){ given->as.bytes.data, given->as.bytes.length };
  } else if (type_is_float(type)) {
    *out = (Value){ .type = TYPE_F64, .f = given->as.f64 };
  } else if (type == TYPE_BOOL) {
    out->i = given->as.i64 != 0;
  } else if (type_is_integer(type)) {
    *out = type_is_signed(type) ? (Value){ .type = TYPE_I64, .i = given->as.i64 }
                                : (Value){ .type = TYPE_U64, .u = given->as.u64 };
  } else {
    if (!signed_fits(type, given->as.i64))
      return status_fail(KVSTORE_TYPE, "value %zu of the filter is no date", index + 1);
    out->i = given->as.i64;
  }
  return KVSTORE_OK;
}

KVValue value_to_caller(const Value *value) {
  KVValue out = kvvalue_of((int)value->type);
  out.is_null = value->is_null;
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
  }
  return out;
}

const char *kvtable_type_name(int type) { return name_of(type); }
int kvtable_type_by_name(const char *name) { return name ? (int)type_by_name(name, strlen(name)) : KVTABLE_TYPE_NONE; }

KVColumnDefinition definition_of(const Column *column) {
  uint32_t own = COLUMN_HIDDEN | COLUMN_COMPUTED;
  return (KVColumnDefinition){ column->name, (int)column->type, (int)(column->flags & ~own), column->width };
}
