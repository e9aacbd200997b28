#include "base/schema.h"

#include "base/assert.h"
#include "base/encoding.h"
#include "base/memory.h"

#define DAY_US      INT64_C(86400000000)
#define DECIMALS    INT64_C(1000000000000000000)   /* 10^18: decimals are below */
#define FLOAT_LEAST (-INT64_C(0x7FF0000000000000)) /* the image of -infinity; NaN has the greatest */

/* X(type, name, type in a column array, least image, greatest) */
#define TYPE_LIST(X)                                                          \
  X(TYPE_BOOL, "bool", uint8_t, 0, 1)                                         \
  X(TYPE_I8, "i8", int8_t, INT8_MIN, INT8_MAX)                                \
  X(TYPE_I16, "i16", int16_t, INT16_MIN, INT16_MAX)                           \
  X(TYPE_I32, "i32", int32_t, INT32_MIN, INT32_MAX)                           \
  X(TYPE_I64, "i64", int64_t, INT64_MIN, INT64_MAX)                           \
  X(TYPE_U8, "u8", uint8_t, 0, UINT8_MAX)                                     \
  X(TYPE_U16, "u16", uint16_t, 0, UINT16_MAX)                                 \
  X(TYPE_U32, "u32", uint32_t, 0, UINT32_MAX)                                 \
  X(TYPE_U64, "u64", uint64_t, INT64_MIN, INT64_MAX)                          \
  X(TYPE_F32, "f32", float, FLOAT_LEAST, INT64_MAX)                           \
  X(TYPE_F64, "f64", double, FLOAT_LEAST, INT64_MAX)                          \
  X(TYPE_DATE, "date", int32_t, INT32_MIN, INT32_MAX)                         \
  X(TYPE_TIME, "time", int64_t, 0, DAY_US - 1)                                \
  X(TYPE_DURATION, "duration", int64_t, INT64_MIN, INT64_MAX)                 \
  X(TYPE_UUID, "uuid", Bytes, INT64_MIN, INT64_MAX)                           \
  X(TYPE_TIMESTAMP, "timestamp", int64_t, INT64_MIN, INT64_MAX)               \
  X(TYPE_STRING, "string", Bytes, INT64_MIN, INT64_MAX)                       \
  X(TYPE_BYTES, "bytes", Bytes, INT64_MIN, INT64_MAX)                         \
  X(TYPE_FIXED_BYTES, "fixed_bytes", Bytes, INT64_MIN, INT64_MAX)             \
  X(TYPE_DECIMAL + 0, "decimal(18,0)", int64_t, 1 - DECIMALS, DECIMALS - 1)   \
  X(TYPE_DECIMAL + 1, "decimal(18,1)", int64_t, 1 - DECIMALS, DECIMALS - 1)   \
  X(TYPE_DECIMAL + 2, "decimal(18,2)", int64_t, 1 - DECIMALS, DECIMALS - 1)   \
  X(TYPE_DECIMAL + 3, "decimal(18,3)", int64_t, 1 - DECIMALS, DECIMALS - 1)   \
  X(TYPE_DECIMAL + 4, "decimal(18,4)", int64_t, 1 - DECIMALS, DECIMALS - 1)   \
  X(TYPE_DECIMAL + 5, "decimal(18,5)", int64_t, 1 - DECIMALS, DECIMALS - 1)   \
  X(TYPE_DECIMAL + 6, "decimal(18,6)", int64_t, 1 - DECIMALS, DECIMALS - 1)   \
  X(TYPE_DECIMAL + 7, "decimal(18,7)", int64_t, 1 - DECIMALS, DECIMALS - 1)   \
  X(TYPE_DECIMAL + 8, "decimal(18,8)", int64_t, 1 - DECIMALS, DECIMALS - 1)   \
  X(TYPE_DECIMAL + 9, "decimal(18,9)", int64_t, 1 - DECIMALS, DECIMALS - 1)   \
  X(TYPE_DECIMAL + 10, "decimal(18,10)", int64_t, 1 - DECIMALS, DECIMALS - 1) \
  X(TYPE_DECIMAL + 11, "decimal(18,11)", int64_t, 1 - DECIMALS, DECIMALS - 1) \
  X(TYPE_DECIMAL + 12, "decimal(18,12)", int64_t, 1 - DECIMALS, DECIMALS - 1) \
  X(TYPE_DECIMAL + 13, "decimal(18,13)", int64_t, 1 - DECIMALS, DECIMALS - 1) \
  X(TYPE_DECIMAL + 14, "decimal(18,14)", int64_t, 1 - DECIMALS, DECIMALS - 1) \
  X(TYPE_DECIMAL + 15, "decimal(18,15)", int64_t, 1 - DECIMALS, DECIMALS - 1) \
  X(TYPE_DECIMAL + 16, "decimal(18,16)", int64_t, 1 - DECIMALS, DECIMALS - 1) \
  X(TYPE_DECIMAL + 17, "decimal(18,17)", int64_t, 1 - DECIMALS, DECIMALS - 1) \
  X(TYPE_DECIMAL + 18, "decimal(18,18)", int64_t, 1 - DECIMALS, DECIMALS - 1)

static const struct {
  const char *name;
  int64_t low, high;
} types[] = {
#define TYPE_ENTRY(type, name, c_type, low, high) [type] = { name, low, high },
  TYPE_LIST(TYPE_ENTRY)
#undef TYPE_ENTRY
};
enum { TYPE_NUMBER_END = sizeof types / sizeof types[0] };
_Static_assert(TYPE_NUMBER_END == TYPE_DECIMAL_LAST + 1, "every scale");

const uint8_t type_widths[] = {
#define TYPE_WIDTH(type, name, c_type, low, high) [type] = sizeof(c_type),
  TYPE_LIST(TYPE_WIDTH)
#undef TYPE_WIDTH
};

const char *type_name(ColumnType type) { return type_is_valid(type) ? types[type].name : "?"; }

void type_image_bounds(ColumnType type, int64_t *low, int64_t *high) {
  *low = types[type].low;
  *high = types[type].high;
}

int64_t decimal_unit(unsigned scale) {
  int64_t unit = 1;
  while (scale--) unit *= 10;
  return unit;
}

static bool take_small_number(const char **at, const char *end, unsigned *out) {
  const char *first = *at;
  *out = 0;
  while (*at < end && **at >= '0' && **at <= '9' && *at - first < 3) *out = *out * 10 + (unsigned)(*(*at)++ - '0');
  while (*at < end && **at == ' ') ++*at;
  return *at > first;
}

/* (p), (p,s) behind the word. */
static ColumnType decimal_by_name(const char *at, const char *end) {
  unsigned digits, scale = 0;
  if (at == end || *at++ != '(' || !take_small_number(&at, end, &digits)) return TYPE_NONE;
  if (at < end && *at == ',') {
    at++;
    while (at < end && *at == ' ') at++;
    if (!take_small_number(&at, end, &scale)) return TYPE_NONE;
  }
  bool whole = at + 1 == end && *at == ')';
  return whole && digits >= 1 && digits <= DECIMAL_SCALE_MAX && scale <= digits ? type_decimal(scale) : TYPE_NONE;
}

bool type_takes_width(ColumnType type, uint32_t width) {
  if (type == TYPE_UUID) return width == UUID_BYTES;
  return type == TYPE_FIXED_BYTES ? width >= 1 && width <= FIXED_BYTES_MAX : width == 0;
}

ColumnType type_by_name(const char *name, size_t length) {
  static const char decimal[] = "decimal";
  for (uint32_t type = 0; type < TYPE_NUMBER_END; type++) {
    if (types[type].name && strlen(types[type].name) == length && memcmp(types[type].name, name, length) == 0) {
      return (ColumnType)type;
    }
  }
  if (length > sizeof decimal && memcmp(name, decimal, sizeof decimal - 1) == 0)
    return decimal_by_name(name + sizeof decimal - 1, name + length);
  return TYPE_NONE;
}

/* ---- values ---- */

enum { F32_SIGN = 31, F32_MANTISSA = 23, F64_SIGN = 63, F64_MANTISSA = 52, F32_CUT = F64_MANTISSA - F32_MANTISSA };

double f32_widened(float narrow) {
  if (LIKELY(narrow == narrow)) return (double)narrow;
  uint32_t bits;
  memcpy(&bits, &narrow, sizeof bits);
  uint64_t payload = bits & ((UINT32_C(1) << F32_MANTISSA) - 1);
  uint64_t made = (uint64_t)(bits >> F32_SIGN) << F64_SIGN | UINT64_C(0x7FF) << F64_MANTISSA | payload << F32_CUT;
  double wide;
  memcpy(&wide, &made, sizeof wide);
  return wide;
}

float f32_nearest(double wide) {
  if (LIKELY(wide == wide)) return (float)wide;
  uint64_t bits;
  memcpy(&bits, &wide, sizeof bits);
  uint32_t payload = (uint32_t)((bits & ((UINT64_C(1) << F64_MANTISSA) - 1)) >> F32_CUT);
  if (!payload) payload = UINT32_C(1) << (F32_MANTISSA - 1); /* else it were infinity */
  uint32_t made = (uint32_t)(bits >> F64_SIGN) << F32_SIGN | UINT32_C(0xFF) << F32_MANTISSA | payload;
  float narrow;
  memcpy(&narrow, &made, sizeof narrow);
  return narrow;
}

Value value_from_array(ColumnType type, const void *values, size_t row) {
  Value v = { .type = type };
  switch (type_storage(type)) {
  case TYPE_BOOL: v.i = ((const uint8_t *)values)[row]; break;
  case TYPE_I8: v.i = ((const int8_t *)values)[row]; break;
  case TYPE_I16: v.i = ((const int16_t *)values)[row]; break;
  case TYPE_I32: v.i = ((const int32_t *)values)[row]; break;
  case TYPE_I64: v.i = ((const int64_t *)values)[row]; break;
  case TYPE_U8: v.u = ((const uint8_t *)values)[row]; break;
  case TYPE_U16: v.u = ((const uint16_t *)values)[row]; break;
  case TYPE_U32: v.u = ((const uint32_t *)values)[row]; break;
  case TYPE_U64: v.u = ((const uint64_t *)values)[row]; break;
  case TYPE_F32: v.f = f32_widened(((const float *)values)[row]); break;
  case TYPE_F64: v.f = ((const double *)values)[row]; break;
  case TYPE_STRING:
  case TYPE_BYTES:
  case TYPE_FIXED_BYTES: v.s = ((const Bytes *)values)[row]; break;
  default: v.is_null = true; break;
  }
  return v;
}

void value_to_array(const Value *v, void *values, size_t row) {
  switch (type_storage(v->type)) {
  case TYPE_BOOL: ((uint8_t *)values)[row] = (uint8_t)v->i; break;
  case TYPE_I8: ((int8_t *)values)[row] = (int8_t)v->i; break;
  case TYPE_I16: ((int16_t *)values)[row] = (int16_t)v->i; break;
  case TYPE_I32: ((int32_t *)values)[row] = (int32_t)v->i; break;
  case TYPE_I64: ((int64_t *)values)[row] = v->i; break;
  case TYPE_U8: ((uint8_t *)values)[row] = (uint8_t)v->u; break;
  case TYPE_U16: ((uint16_t *)values)[row] = (uint16_t)v->u; break;
  case TYPE_U32: ((uint32_t *)values)[row] = (uint32_t)v->u; break;
  case TYPE_U64: ((uint64_t *)values)[row] = v->u; break;
  case TYPE_F32: ((float *)values)[row] = f32_nearest(v->f); break;
  case TYPE_F64: ((double *)values)[row] = v->f; break;
  case TYPE_STRING:
  case TYPE_BYTES:
  case TYPE_FIXED_BYTES: ((Bytes *)values)[row] = v->s; break;
  default: ASSERT(v->type != TYPE_NONE, "SCHEMA-1");
  }
}

static int compare_i64(int64_t a, int64_t b) { return (a > b) - (a < b); }

int value_compare(const Value *a, const Value *b) {
  if (a->is_null || b->is_null) return (int)b->is_null - (int)a->is_null;
  ASSERT_SLOW(a->type == b->type, "SCHEMA-1");
  if (type_is_string(a->type)) return bytes_compare(a->s.data, a->s.length, b->s.data, b->s.length);
  if (type_is_float(a->type)) return compare_i64(float_image(a->f), float_image(b->f));
  if (type_is_signed(a->type) || a->type == TYPE_BOOL) return compare_i64(a->i, b->i);
  return (a->u > b->u) - (a->u < b->u);
}

int64_t type_image(ColumnType type, const void *values, size_t row) {
  Value v = value_from_array(type, values, row);
  if (type_is_string(type)) return bytes_image(v.s);
  if (type_is_float(type)) return float_image(v.f);
  return type == TYPE_U64 ? (int64_t)(v.u ^ UINT64_C(0x8000000000000000)) : v.i;
}

/* ---- schemas ---- */

int schema_find(const Schema *schema, const char *name, size_t length) {
  for (uint32_t i = 0; i < schema->column_count; i++) {
    const char *own = schema->columns[i].name;
    if (strlen(own) == length && memcmp(own, name, length) == 0) return (int)i;
  }
  return -1;
}

bool schema_is_key(const Schema *schema, uint32_t position) {
  for (uint32_t k = 0; k < schema->key_count; k++) {
    if (schema->key_columns[k] == position) return true;
  }
  return false;
}

void schema_release(Schema *schema) {
  for (uint32_t i = 0; schema->columns && i < schema->column_count; i++) memory_release(schema->columns[i].name);
  for (uint32_t i = 0; schema->sources && i < schema->column_count; i++) memory_release(schema->sources[i]);
  memory_release(schema->sources);
  memory_release(schema->columns);
  *schema = (Schema){ 0 };
}

Status schema_set_source(Schema *schema, uint32_t column, const char *source) {
  if (!schema->sources) {
    schema->sources = memory_allocate_zeroed(memory_array_size(schema->column_count, sizeof(char *)));
    if (!schema->sources) return status_nomem();
  }
  schema->sources[column] = memory_copy_string(source);
  return schema->sources[column] ? KVSTORE_OK : status_nomem();
}

Status schema_copy(const Schema *from, Schema *to) {
  *to = *from;
  to->sources = NULL;
  to->columns = memory_allocate_zeroed(memory_array_size(from->column_count, sizeof *to->columns));
  if (!to->columns) goto nomem;
  for (uint32_t i = 0; i < from->column_count; i++) {
    to->columns[i] = from->columns[i];
    to->columns[i].name = memory_copy_string(from->columns[i].name);
    if (!to->columns[i].name) goto nomem;
  }
  for (uint32_t i = 0; from->sources && i < from->column_count; i++)
    if (from->sources[i] && schema_set_source(to, i, from->sources[i]) != KVSTORE_OK) goto nomem;
  return KVSTORE_OK;

nomem:
  schema_release(to);
  return status_nomem();
}

static Status check_name(const Schema *schema, uint32_t position) {
  const char *name = schema->columns[position].name;
  size_t length = name ? strlen(name) : 0;
  if (length == 0) return status_fail(KVSTORE_SCHEMA, "column %u has no name", position);
  if (length > COLUMN_NAME_MAX) {
    return status_fail(KVSTORE_SCHEMA, "the name of column %u has %zu bytes, %u are allowed", position, length,
                       COLUMN_NAME_MAX);
  }
  if (!bytes_are_utf8((const uint8_t *)name, length)) {
    return status_fail(KVSTORE_SCHEMA, "the name of column %u is not UTF-8", position);
  }
  for (uint32_t i = 0; i < position; i++) {
    if (strcmp(schema->columns[i].name, name) == 0) {
      return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, name, NULL, "two columns have the name %s", name);
    }
    if (schema->columns[i].id == schema->columns[position].id) {
      return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, name, NULL, "columns %s and %s have the same id %u",
                            schema->columns[i].name, name, schema->columns[i].id);
    }
  }
  return KVSTORE_OK;
}

static Status check_encoding(const Column *c) {
  uint32_t wished = column_encoding(c), forbidden = column_forbidden(c);
  if (wished && !encoding_takes(wished, c->type)) {
    return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, c->name, NULL,
                          "column %s of type %s cannot have the encoding %u (%s)", c->name, type_name(c->type), wished,
                          encoding_name(wished));
  }
  if (forbidden & 1 || forbidden >> (ENCODING_LAST + 1)) {
    return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, c->name, NULL,
                          "column %s forbids encodings that there are none of: 0x%x", c->name, forbidden);
  }
  if (c->flags & COLUMN_ARRAY && (wished || forbidden)) {
    return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, c->name, NULL, "column %s is an array: it has no encodings",
                          c->name);
  }
  if (wished && forbidden >> wished & 1) {
    return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, c->name, NULL, "column %s wants and forbids the encoding %s",
                          c->name, encoding_name(wished));
  }
  return KVSTORE_OK;
}

static Status check_type(const Column *c) {
  if (!type_is_valid(c->type)) {
    return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, c->name, NULL, "column %s has the unknown type %d", c->name,
                          (int)c->type);
  }
  if (!type_takes_width(c->type, c->width)) {
    return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, c->name, NULL, "column %s of type %s cannot have the width %u",
                          c->name, type_name(c->type), c->width);
  }
  if (c->flags & COLUMN_ARRAY && type_has_offsets(c->type)) {
    return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, c->name, NULL, "column %s of type %s cannot be an array", c->name,
                          type_name(c->type));
  }
  uint32_t allowed =
    COLUMN_NULLABLE | COLUMN_HIDDEN | COLUMN_READ_BY_KEY | COLUMN_ARRAY | (c->type == TYPE_TIMESTAMP ? COLUMN_UTC : 0);
  if (c->flags & ((1u << COLUMN_ENCODING_SHIFT) - 1) & ~allowed) {
    return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, c->name, NULL, "column %s of type %s cannot have the flags 0x%x",
                          c->name, type_name(c->type), c->flags);
  }
  return check_encoding(c);
}

static Status check_key(const Schema *schema) {
  if (schema->key_count < 1 || schema->key_count > KEY_COLUMNS_MAX) {
    return status_fail(KVSTORE_SCHEMA, "a key of %u columns; 1 to %u are allowed", schema->key_count, KEY_COLUMNS_MAX);
  }
  for (uint32_t k = 0; k < schema->key_count; k++) {
    uint32_t position = schema->key_columns[k];
    if (position >= schema->column_count) {
      return status_fail(KVSTORE_SCHEMA, "the key names column %u of %u", position, schema->column_count);
    }
    const Column *c = &schema->columns[position];
    for (uint32_t i = 0; i < k; i++) {
      if (schema->key_columns[i] == position) {
        return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, c->name, NULL, "the key names column %s twice", c->name);
      }
    }
    if (c->flags & COLUMN_NULLABLE) {
      return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, c->name, NULL, "the key column %s may not be nullable",
                            c->name);
    }
  }
  return KVSTORE_OK;
}

/* Where there is a row id, it is the last column, hidden, u64, not null, and the whole key; nothing else is hidden. */
static Status check_row_id(const Schema *schema) {
  uint32_t last = schema->column_count - 1;
  for (uint32_t i = 0; i < schema->column_count; i++) {
    bool hidden = (schema->columns[i].flags & COLUMN_HIDDEN) != 0;
    if (hidden != (schema->has_row_id && i == last)) {
      return status_fail(KVSTORE_SCHEMA, "column %s: the row id, and nothing else, is hidden", schema->columns[i].name);
    }
  }
  if (!schema->has_row_id) return KVSTORE_OK;
  if (schema->columns[last].type != TYPE_U64 || schema->key_count != 1 || schema->key_columns[0] != last) {
    return status_fail(KVSTORE_SCHEMA, "the row id must be a u64 and the whole key");
  }
  if (last == 0) return status_fail(KVSTORE_SCHEMA, "a table needs at least one column");
  return KVSTORE_OK;
}

Status schema_check(const Schema *schema) {
  if (schema->column_count < 1) return status_fail(KVSTORE_SCHEMA, "a table needs at least one column");
  if (schema->column_count > COLUMNS_MAX) {
    return status_fail(KVSTORE_SCHEMA, "%u columns; %u are allowed", schema->column_count, COLUMNS_MAX);
  }
  for (uint32_t i = 0; i < schema->column_count; i++) {
    TRY(check_name(schema, i));
    TRY(check_type(&schema->columns[i]));
  }
  TRY(check_key(schema));
  return check_row_id(schema);
}

/* ---- bytes ----
 *
 *   u32  version
 *   u16  number of columns
 *   u8   number of key columns
 *   u8   1: the last column is the hidden row id
 *   per column:  u32 id, u8 type, u8 flags, u16 width, u8 length of the name, the name;
 *                with flag 128: u8 encoding, u16 encodings forbidden
 *                with flag 64: u16 length of the source, the source
 *   per key column:  u16 position */

enum { DISK_WISHES = 128, DISK_SOURCE = 64, DISK_FLAGS = 63 };

void schema_write(const Schema *schema, Buffer *out) {
  buffer_u32(out, schema->version);
  buffer_u16(out, (uint16_t)schema->column_count);
  buffer_u8(out, (uint8_t)schema->key_count);
  buffer_u8(out, schema->has_row_id);
  for (uint32_t i = 0; i < schema->column_count; i++) {
    const Column *c = &schema->columns[i];
    size_t length = strlen(c->name);
    buffer_u32(out, c->id);
    buffer_u8(out, (uint8_t)c->type);
    bool has_wishes = c->flags >> COLUMN_ENCODING_SHIFT;
    const char *source = schema->sources ? schema->sources[i] : NULL;
    buffer_u8(out, (uint8_t)((c->flags & DISK_FLAGS) | (has_wishes ? DISK_WISHES : 0) | (source ? DISK_SOURCE : 0)));
    buffer_u16(out, (uint16_t)c->width);
    buffer_u8(out, (uint8_t)length);
    buffer_append(out, c->name, length);
    if (has_wishes) {
      buffer_u8(out, (uint8_t)column_encoding(c));
      buffer_u16(out, (uint16_t)column_forbidden(c));
    }
    if (source) {
      buffer_u16(out, (uint16_t)strlen(source));
      buffer_append(out, source, strlen(source));
    }
  }
  for (uint32_t k = 0; k < schema->key_count; k++) buffer_u16(out, (uint16_t)schema->key_columns[k]);
}

/* A text of the caller's own, which holds no zero byte. */
static Status read_text(Reader *in, size_t length, const char *what, char **out) {
  const uint8_t *text = reader_take(in, length);
  if (!text) return status_fail(KVSTORE_CORRUPT, "a schema ends inside a column");
  if (memchr(text, 0, length)) return status_fail(KVSTORE_CORRUPT, "a column's %s in a schema holds a zero byte", what);
  *out = memory_allocate(length + 1);
  if (!*out) return status_nomem();
  memcpy(*out, text, length);
  (*out)[length] = 0;
  return KVSTORE_OK;
}

static Status read_source(Reader *in, Schema *schema, uint32_t column) {
  char *source = NULL;
  TRY(read_text(in, reader_u16(in), "source", &source));
  Status status = schema_set_source(schema, column, source);
  memory_release(source);
  return status;
}

static Status read_column(Reader *in, Schema *schema, uint32_t column) {
  Column *c = &schema->columns[column];
  c->id = reader_u32(in);
  c->type = (ColumnType)reader_u8(in);
  c->flags = reader_u8(in);
  c->width = reader_u16(in);
  TRY(read_text(in, reader_u8(in), "name", &c->name));
  uint32_t flags = c->flags;
  c->flags &= DISK_FLAGS;
  if (flags & DISK_WISHES) {
    uint32_t encoding = reader_u8(in), forbidden = reader_u16(in);
    if (!encoding && !forbidden) return status_fail(KVSTORE_CORRUPT, "a column's wishes in a schema are none");
    c->flags |= encoding << COLUMN_ENCODING_SHIFT | forbidden << COLUMN_FORBIDDEN_SHIFT;
  }
  return flags & DISK_SOURCE ? read_source(in, schema, column) : KVSTORE_OK;
}

static Status read_body(Reader *in, Schema *out) {
  out->version = reader_u32(in);
  uint32_t column_count = reader_u16(in);
  out->key_count = reader_u8(in);
  uint8_t row_id = reader_u8(in);
  if (in->failed) return status_fail(KVSTORE_CORRUPT, "a schema ends inside its head");
  if (column_count < 1 || column_count > COLUMNS_MAX || out->key_count > KEY_COLUMNS_MAX || row_id > 1) {
    return status_fail(KVSTORE_CORRUPT, "a schema of %u columns, %u of them the key", column_count, out->key_count);
  }
  out->has_row_id = row_id == 1;
  out->columns = memory_allocate_zeroed(memory_array_size(column_count, sizeof *out->columns));
  if (!out->columns) return status_nomem();
  out->column_count = column_count;
  for (uint32_t i = 0; i < column_count; i++) TRY(read_column(in, out, i));
  for (uint32_t k = 0; k < out->key_count; k++) out->key_columns[k] = reader_u16(in);
  if (in->failed) return status_fail(KVSTORE_CORRUPT, "a schema ends inside its key");
  if (schema_check(out) != KVSTORE_OK) return status_context(KVSTORE_CORRUPT, "a schema on disk");
  return KVSTORE_OK;
}

Status schema_read(Reader *in, Schema *out) {
  *out = (Schema){ 0 };
  Status status = read_body(in, out);
  if (status != KVSTORE_OK) schema_release(out);
  return status;
}
