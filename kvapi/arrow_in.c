/* arrow_in.c - an Arrow C stream into a table: each record batch as the column arrays that kvtable_append takes.
 *
 * Fixed-width columns of the very type are taken where they lie; strings of every layout as pointers into their
 * buffers; everything else, dictionaries too, value by value through the door's own conversion, which rounds nothing.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "base/memory.h"
#include "colonnade/kvarrow.h"
#include "kvapi/tables.h"
#include "kvapi/values.h"
#include "os/large_memory.h"

enum { NO_CHILD = UINT32_MAX };
enum { PART_ROWS = 20 * SEGMENT_ROWS }; /* more than those that are merged with others of their length */
#define DECIMAL_LIMIT INT64_C(1000000000000000000)

/* Pointers to the strings of a column, kept from part to part: memory that has been touched is cheap. */
typedef struct StringRoom {
  Bytes *strings;
  uint32_t capacity;
} StringRoom;

typedef struct Intake {
  KVTable *table;
  struct ArrowArrayStream *stream;
  struct ArrowSchema schema;
  uint32_t *children; /* by column: which child, NO_CHILD: none */
  StringRoom *rooms;  /* by column */
  int mode;
  bool own;         /* the transaction is this call's */
  uint64_t writing; /* which transaction it is, as session_writing says */
  uint64_t row_count;
  Arena arena; /* of one part of a batch */
} Intake;

/* An array with its schema, and the row of it that is row 0 of the batch. */
typedef struct Child {
  const struct ArrowSchema *schema;
  const struct ArrowArray *array;
  int64_t offset;
} Child;

/* The values of a dictionary have no name of their own: fail_in_row says the column's. */
static Status fail_array(const char *name, const char *what) {
  if (!name || !*name) return status_fail(KVSTORE_ERROR, "its Arrow dictionary %s", what);
  return status_fail_at(KVSTORE_ERROR, UINT64_MAX, name, NULL, "the Arrow array of column %s %s", name, what);
}

/* ---- layouts ---- */

typedef enum Layout {
  LAYOUT_NONE, /* no column takes it */
  LAYOUT_NULL,
  LAYOUT_BITS,
  LAYOUT_FIXED, /* numbers, dates, timestamps */
  LAYOUT_BYTES, /* fixed-size binary */
  LAYOUT_OFFSETS,
  LAYOUT_LONG_OFFSETS,
  LAYOUT_VIEWS
} Layout;

/* What the format string says. `type`: the column type whose arrays have the same form. */
typedef struct Form {
  Layout layout;
  int type;
  size_t width; /* bytes of a value */
  int64_t unit; /* microseconds are value * unit / divisor; for dates days are value / divisor */
  int64_t divisor;
  unsigned scale; /* of decimals */
} Form;

static Form form_of_time(const char *f) {
  Form form = { LAYOUT_FIXED, KVTABLE_TYPE_TIMESTAMP, 8, 1, 1, 0 };
  if (strcmp(f, "tdD") == 0) return (Form){ LAYOUT_FIXED, KVTABLE_TYPE_DATE, 4, 1, 1, 0 };
  if (strcmp(f, "tdm") == 0) return (Form){ LAYOUT_FIXED, KVTABLE_TYPE_DATE, 8, 1, 86400000, 0 };
  bool is_time = f[1] == 't', is_duration = f[1] == 'D';
  if (is_time) form.type = KVTABLE_TYPE_TIME;
  if (is_time && f[2] && strchr("sm", f[2])) form.width = 4;
  if (is_duration) form.type = KVTABLE_TYPE_DURATION;
  bool whole = is_time || is_duration ? f[2] && !f[3] : f[1] == 's' && f[2] && f[3] == ':';
  if (!whole) return (Form){ 0 };
  if (f[2] == 's') form.unit = 1000000;
  if (f[2] == 'm') form.unit = 1000;
  if (f[2] == 'n') form.divisor = 1000;
  return strchr("smun", f[2]) ? form : (Form){ 0 };
}

/* d:digits,scale and perhaps the bits of a value, 128 if not. Values are looked at whatever the digits are. */
static Form form_of_decimal(const char *f) {
  unsigned digits, scale, bits = 128;
  int read = sscanf(f, "d:%3u,%3u,%3u", &digits, &scale, &bits);
  bool known = read >= 2 && (bits == 32 || bits == 64 || bits == 128) && scale <= DECIMAL_SCALE_MAX;
  return known ? (Form){ LAYOUT_FIXED, KVTABLE_TYPE_DECIMAL, bits / 8, 1, 1, scale } : (Form){ 0 };
}

static Form form_of(const char *f) {
  static const struct {
    char letter;
    Form form;
  } simple[] = {
    { 'n', { LAYOUT_NULL, 0, 0, 1, 1, 0 } },
    { 'b', { LAYOUT_BITS, KVTABLE_TYPE_BOOL, 1, 1, 1, 0 } },
    { 'c', { LAYOUT_FIXED, KVTABLE_TYPE_I8, 1, 1, 1, 0 } },
    { 's', { LAYOUT_FIXED, KVTABLE_TYPE_I16, 2, 1, 1, 0 } },
    { 'i', { LAYOUT_FIXED, KVTABLE_TYPE_I32, 4, 1, 1, 0 } },
    { 'l', { LAYOUT_FIXED, KVTABLE_TYPE_I64, 8, 1, 1, 0 } },
    { 'C', { LAYOUT_FIXED, KVTABLE_TYPE_U8, 1, 1, 1, 0 } },
    { 'S', { LAYOUT_FIXED, KVTABLE_TYPE_U16, 2, 1, 1, 0 } },
    { 'I', { LAYOUT_FIXED, KVTABLE_TYPE_U32, 4, 1, 1, 0 } },
    { 'L', { LAYOUT_FIXED, KVTABLE_TYPE_U64, 8, 1, 1, 0 } },
    { 'e', { LAYOUT_FIXED, KVTABLE_TYPE_F32, 2, 1, 1, 0 } },
    { 'f', { LAYOUT_FIXED, KVTABLE_TYPE_F32, 4, 1, 1, 0 } },
    { 'g', { LAYOUT_FIXED, KVTABLE_TYPE_F64, 8, 1, 1, 0 } },
    { 'u', { LAYOUT_OFFSETS, KVTABLE_TYPE_STRING, 0, 1, 1, 0 } },
    { 'z', { LAYOUT_OFFSETS, KVTABLE_TYPE_BYTES, 0, 1, 1, 0 } },
    { 'U', { LAYOUT_LONG_OFFSETS, KVTABLE_TYPE_STRING, 0, 1, 1, 0 } },
    { 'Z', { LAYOUT_LONG_OFFSETS, KVTABLE_TYPE_BYTES, 0, 1, 1, 0 } },
  };
  if (!f) return (Form){ 0 };
  for (size_t i = 0; i < sizeof simple / sizeof simple[0]; i++)
    if (f[0] == simple[i].letter && !f[1]) return simple[i].form;
  if (f[0] == 't' && f[1]) return form_of_time(f);
  if (f[0] == 'd') return form_of_decimal(f);
  if (strcmp(f, "vu") == 0) return (Form){ LAYOUT_VIEWS, KVTABLE_TYPE_STRING, 0, 1, 1, 0 };
  if (strcmp(f, "vz") == 0) return (Form){ LAYOUT_VIEWS, KVTABLE_TYPE_BYTES, 0, 1, 1, 0 };
  if (f[0] != 'w' || f[1] != ':') return (Form){ 0 };
  unsigned long width = strtoul(f + 2, NULL, 10); /* no column has longer ones */
  return width && width <= FIXED_BYTES_MAX ? (Form){ LAYOUT_BYTES, KVTABLE_TYPE_FIXED_BYTES, width, 1, 1, 0 }
                                           : (Form){ 0 };
}

/* ---- one array ---- */

static int64_t buffers_of(Layout layout) {
  switch (layout) {
  case LAYOUT_NULL: return 0;
  case LAYOUT_OFFSETS:
  case LAYOUT_LONG_OFFSETS: return 3;
  case LAYOUT_VIEWS: return 3; /* at least: validity, views, lengths of the data buffers */
  default: return 2;
  }
}

/* That it has the buffers and the rows which its schema and its parent say. */
static Status check_array(const Child *c, int64_t rows, const char *name) {
  const struct ArrowArray *a = c->array;
  Form form = form_of(c->schema->format);
  if (form.layout == LAYOUT_NONE)
    return status_fail_at(KVSTORE_UNSUPPORTED, UINT64_MAX, name, NULL, "column %s: no column takes the Arrow type %s",
                          name, c->schema->format ? c->schema->format : "NULL");
  bool several = form.layout == LAYOUT_VIEWS;
  if (several ? a->n_buffers < buffers_of(form.layout) : a->n_buffers != buffers_of(form.layout))
    return fail_array(name, "has the wrong number of buffers");
  const int64_t most = INT64_MAX / 2; /* so that sums of two do not overflow */
  if (a->offset < 0 || a->length < 0 || a->offset > most || a->length > most || rows < 0 || rows > most ||
      c->offset > most || c->offset + rows > a->offset + a->length)
    return fail_array(name, "has fewer rows than its batch");
  if (a->n_buffers && !a->buffers) return fail_array(name, "has no buffers");
  if (a->n_buffers && rows && a->null_count > 0 && !a->buffers[0])
    return fail_array(name, "counts nulls, and has no bits that say which");
  for (int64_t i = 1; rows && i < a->n_buffers && !several; i++)
    if (!a->buffers[i] && i == 1) return fail_array(name, "lacks a buffer");
  bool has_data = a->n_buffers > buffers_of(form.layout); /* else the lengths of views have no bytes and may be NULL */
  if (several && rows && (!a->buffers[1] || (has_data && !a->buffers[a->n_buffers - 1])))
    return fail_array(name, "lacks a buffer");
  if (!c->schema->dictionary != !a->dictionary) return fail_array(name, "has a dictionary, or its schema has, alone");
  return KVSTORE_OK;
}

static bool is_null_at(const Child *c, Form form, int64_t row) {
  if (form.layout == LAYOUT_NULL) return true;
  const uint8_t *bits = c->array->buffers[0];
  uint64_t at = (uint64_t)(c->offset + row);
  return bits && !(bits[at / 8] >> at % 8 & 1);
}

static Status string_by_offset(const Child *c, Form form, int64_t row, Bytes *out) {
  const uint8_t *offsets = c->array->buffers[1], *data = c->array->buffers[2];
  size_t width = form.layout == LAYOUT_OFFSETS ? 4 : 8, at = (size_t)(c->offset + row) * width;
  int64_t from = width == 4 ? (int32_t)load_u32(offsets + at) : (int64_t)load_u64(offsets + at);
  int64_t to = width == 4 ? (int32_t)load_u32(offsets + at + 4) : (int64_t)load_u64(offsets + at + 8);
  if (from < 0 || to < from || (to > from && !data)) return fail_array(c->schema->name, "has offsets that descend");
  *out = (Bytes){ data ? data + from : (const uint8_t *)"", (size_t)(to - from) };
  return KVSTORE_OK;
}

/* Views of 16 bytes: a length, and up to 12 bytes in place, or 4 of them, a buffer and an offset in it. */
static Status string_by_view(const Child *c, int64_t row, Bytes *out) {
  const struct ArrowArray *a = c->array;
  const uint8_t *view = (const uint8_t *)a->buffers[1] + (size_t)(c->offset + row) * 16;
  uint32_t length = load_u32(view), buffer = load_u32(view + 8), offset = load_u32(view + 12);
  if (length > INT32_MAX) return fail_array(c->schema->name, "has a view of a negative length");
  if (length <= 12) {
    *out = (Bytes){ view + 4, length };
    return KVSTORE_OK;
  }
  int64_t data_buffers = a->n_buffers - 3;
  const uint8_t *lengths = a->buffers[a->n_buffers - 1];
  if (buffer >= data_buffers || (int64_t)load_u64(lengths + (size_t)buffer * 8) < (int64_t)offset + length ||
      !a->buffers[2 + buffer])
    return fail_array(c->schema->name, "has a view outside its buffers");
  *out = (Bytes){ (const uint8_t *)a->buffers[2 + buffer] + offset, length };
  return KVSTORE_OK;
}

static Status string_at(const Child *c, Form form, int64_t row, Bytes *out) {
  if (form.layout == LAYOUT_VIEWS) return string_by_view(c, row, out);
  if (form.layout != LAYOUT_BYTES) return string_by_offset(c, form, row, out);
  *out = (Bytes){ (const uint8_t *)c->array->buffers[1] + (size_t)(c->offset + row) * form.width, form.width };
  return KVSTORE_OK;
}

static int64_t signed_at(const uint8_t *p, size_t width) {
  switch (width) {
  case 1: return (int8_t)*p;
  case 2: return (int16_t)load_u16(p);
  case 4: return (int32_t)load_u32(p);
  default: return (int64_t)load_u64(p);
  }
}

static uint64_t unsigned_at(const uint8_t *p, size_t width) {
  return width == 1 ? *p : width == 2 ? load_u16(p) : width == 4 ? load_u32(p) : load_u64(p);
}

enum { NUMBER_TEXT = 64 }; /* an integer of 128 bits, or one of 64 with its unit */

/* Without the column, which values of a dictionary do not know: fail_in_row says it. */
static Status fail_number(const char *number, const char *why) {
  return status_fail_at(KVSTORE_TYPE, UINT64_MAX, NULL, number, "%s %s", number, why);
}

static Status time_at(Form form, int64_t number, KVValue *out) {
  if (!(number % form.divisor) && !__builtin_mul_overflow(number / form.divisor, form.unit, &out->as.i64))
    return KVSTORE_OK;
  char text[NUMBER_TEXT];
  bool is_date = form.type == KVTABLE_TYPE_DATE;
  const char *unit = form.unit == 1000000 ? "s" : form.unit == 1000 || is_date ? "ms" : "ns";
  (void)snprintf(text, sizeof text, "%lld %s", (long long)number, unit);
  return fail_number(text, is_date ? "is no whole day" : "is no whole microsecond that 64 bits hold");
}

static Status decimal_at(Form form, const uint8_t *p, KVValue *out) {
  int64_t low = signed_at(p, form.width < 8 ? form.width : 8), high = low >> 63;
  if (form.width == 16) high = (int64_t)load_u64(p + 8);
  *out = kvvalue_decimal(low, form.scale);
  if (high == low >> 63 && low < DECIMAL_LIMIT && low > -DECIMAL_LIMIT) return KVSTORE_OK;
  out->type = KVTABLE_TYPE_DECIMAL128;
  out->as.decimal.low = (uint64_t)low;
  out->as.decimal.high = high;
  KVValue shorter = value_shortened(out);
  if (shorter.type != KVTABLE_TYPE_DECIMAL128) return *out = shorter, KVSTORE_OK;
  char text[NUMBER_TEXT];
  (void)kvvalue_print(out, text, sizeof text);
  return fail_number(text, "is a decimal of more than 18 digits, which no column holds");
}

/* IEEE 754 binary16: a sign, 5 bits of exponent, 10 of fraction. Each is a float. */
static double half_at(const uint8_t *p) {
  enum { FRACTION_BITS = 10, EXPONENT_MOST = 31, EXPONENT_BIAS = 15, SIGN_BIT = 15 };
  uint32_t bits = load_u16(p), exponent = bits >> FRACTION_BITS & EXPONENT_MOST;
  uint32_t fraction = bits & ((1u << FRACTION_BITS) - 1), whole = exponent ? 1u << FRACTION_BITS : 0;
  double magnitude = ldexp((double)(whole + fraction), (exponent ? (int)exponent : 1) - EXPONENT_BIAS - FRACTION_BITS);
  if (exponent == EXPONENT_MOST) magnitude = fraction ? (double)NAN : (double)INFINITY;
  return bits >> SIGN_BIT ? -magnitude : magnitude;
}

/* A value that is not null, and of no dictionary. */
static Status value_in_place(const Child *c, Form form, int64_t row, KVValue *out) {
  *out = kvvalue_of(form.type);
  uint64_t at = (uint64_t)(c->offset + row);
  const uint8_t *values = c->array->buffers[1];
  if (form.layout == LAYOUT_BITS) {
    out->as.i64 = values[at / 8] >> at % 8 & 1;
    return KVSTORE_OK;
  }
  if (form.layout != LAYOUT_FIXED) {
    Bytes string;
    TRY(string_at(c, form, row, &string));
    out->as.bytes = (KVBytes){ string.data, string.length };
    return KVSTORE_OK;
  }
  const uint8_t *p = values + (size_t)at * form.width;
  if (form.type == KVTABLE_TYPE_F32 && form.width == sizeof(uint16_t)) {
    out->as.f64 = half_at(p);
  } else if (form.type == KVTABLE_TYPE_F32) {
    float narrow;
    memcpy(&narrow, p, sizeof narrow);
    out->as.f64 = f32_widened(narrow);
  } else if (form.type == KVTABLE_TYPE_F64) {
    memcpy(&out->as.f64, p, sizeof out->as.f64);
  } else if (form.type == KVTABLE_TYPE_DECIMAL) {
    return decimal_at(form, p, out);
  } else if (form.type >= KVTABLE_TYPE_U8 && form.type <= KVTABLE_TYPE_U64) {
    out->as.u64 = unsigned_at(p, form.width);
  } else {
    return time_at(form, signed_at(p, form.width), out);
  }
  return KVSTORE_OK;
}

static Status value_at(const Child *c, Form form, int64_t row, KVValue *out) {
  *out = kvvalue_null();
  if (is_null_at(c, form, row)) return KVSTORE_OK;
  if (!c->schema->dictionary) return value_in_place(c, form, row, out);
  Child values = { c->schema->dictionary, c->array->dictionary, c->array->dictionary->offset };
  Form of_values = form_of(values.schema->format);
  KVValue index;
  TRY(value_in_place(c, form, row, &index));
  if (index.as.u64 >= (uint64_t)values.array->length)
    return fail_array(c->schema->name, "has an index outside its dictionary");
  if (!is_null_at(&values, of_values, index.as.i64)) return value_in_place(&values, of_values, index.as.i64, out);
  return KVSTORE_OK;
}

static Status check_dictionary(const Child *c, const char *name) {
  if (!c->schema->dictionary) return KVSTORE_OK;
  Form indexes = form_of(c->schema->format);
  Child values = { c->schema->dictionary, c->array->dictionary, c->array->dictionary->offset };
  if (indexes.layout != LAYOUT_FIXED || indexes.type < KVTABLE_TYPE_I8 || indexes.type > KVTABLE_TYPE_U64)
    return fail_array(name, "has a dictionary whose indexes are no integers");
  if (values.schema->dictionary) return fail_array(name, "has a dictionary of dictionaries");
  return check_array(&values, values.array->length, name);
}

/* ---- one column ---- */

static Status take_nulls(const Child *c, Form form, uint32_t rows, Arena *arena, KVColumnData *out) {
  if (form.layout != LAYOUT_NULL && (!c->array->null_count || !c->array->buffers[0])) return KVSTORE_OK;
  uint8_t *nulls = arena_allocate(arena, rows);
  if (!nulls) return status_nomem();
  for (uint32_t i = 0; i < rows; i++) nulls[i] = is_null_at(c, form, i);
  out->nulls = nulls;
  return KVSTORE_OK;
}

/* All strings of an array without nulls whose offsets are as they should be; false: one by one, who then fails knows
 * where. */
#define TAKE_BY_OFFSETS(NAME, T)                                                     \
  static bool NAME(const Child *c, uint32_t rows, Bytes *out) {                      \
    const uint8_t *data = c->array->buffers[2], *at = c->array->buffers[1];          \
    if (!data || (uintptr_t)at % sizeof(T)) return false;                            \
    const T *offsets = (const T *)(const void *)at + c->offset;                      \
    bool well = offsets[0] >= 0;                                                     \
    for (uint32_t i = 0; well && i < rows; i++) well = offsets[i + 1] >= offsets[i]; \
    for (uint32_t i = 0; well && i < rows; i++)                                      \
      out[i] = (Bytes){ data + offsets[i], (size_t)(offsets[i + 1] - offsets[i]) };  \
    return well;                                                                     \
  }
TAKE_BY_OFFSETS(take_by_offsets, int32_t)
TAKE_BY_OFFSETS(take_by_long_offsets, int64_t)
#undef TAKE_BY_OFFSETS

static Status reserve_strings(StringRoom *room, uint32_t rows) {
  if (room->capacity >= rows) return KVSTORE_OK;
  size_t bytes = memory_array_size(rows, sizeof *room->strings);
  memory_release(room->strings);
  room->strings = memory_allocate(bytes);
  room->capacity = room->strings ? rows : 0;
  if (!room->strings) return status_nomem();
  os_prefer_large_pages(room->strings, bytes);
  return KVSTORE_OK;
}

static Status take_strings(const Child *c, Form form, uint32_t rows, StringRoom *room, KVColumnData *out) {
  TRY(reserve_strings(room, rows));
  Bytes *strings = room->strings;
  out->values = strings;
  if (!out->nulls && form.layout == LAYOUT_OFFSETS && take_by_offsets(c, rows, strings)) return KVSTORE_OK;
  if (!out->nulls && form.layout == LAYOUT_LONG_OFFSETS && take_by_long_offsets(c, rows, strings)) return KVSTORE_OK;
  for (uint32_t i = 0; i < rows; i++) {
    strings[i] = (Bytes){ (const uint8_t *)"", 0 };
    if (!out->nulls || !out->nulls[i]) TRY(string_at(c, form, i, &strings[i]));
  }
  return KVSTORE_OK;
}

static void store_number(void *values, uint32_t row, ColumnType type, const Value *value) {
  switch (type_storage(type)) {
  case TYPE_BOOL:
  case TYPE_I8: ((int8_t *)values)[row] = (int8_t)value->i; return;
  case TYPE_I16: ((int16_t *)values)[row] = (int16_t)value->i; return;
  case TYPE_I32: ((int32_t *)values)[row] = (int32_t)value->i; return;
  case TYPE_U8: ((uint8_t *)values)[row] = (uint8_t)value->u; return;
  case TYPE_U16: ((uint16_t *)values)[row] = (uint16_t)value->u; return;
  case TYPE_U32: ((uint32_t *)values)[row] = (uint32_t)value->u; return;
  case TYPE_U64: ((uint64_t *)values)[row] = value->u; return;
  case TYPE_F32: ((float *)values)[row] = f32_nearest(value->f); return;
  case TYPE_F64: ((double *)values)[row] = value->f; return;
  default: ((int64_t *)values)[row] = value->i; return;
  }
}

/* The row of the stream instead of the batch's, as who reads the message counts. */
static Status fail_in_row(const Intake *in, const Column *column, uint32_t row, Status status) {
  Failure why = *status_last();
  uint64_t number = in->row_count + row;
  const char *value = why.value[0] ? why.value : NULL;
  if (why.column[0])
    return status_fail_at(status, number, column->name, value, "row %llu: %s", (unsigned long long)number, why.text);
  return status_fail_at(status, number, column->name, value, "row %llu: column %s: %s", (unsigned long long)number,
                        column->name, why.text);
}

static Status take_values(Intake *in, const Child *c, Form form, const Column *column, uint32_t rows,
                          KVColumnData *out) {
  void *values = arena_allocate_zeroed(&in->arena, memory_array_size(rows, type_array_width(column->type)));
  uint8_t *nulls = arena_allocate_zeroed(&in->arena, rows);
  if (!values || !nulls) return status_nomem();
  for (uint32_t i = 0; i < rows; i++) {
    KVValue given;
    Value value = { 0 };
    Status status = value_at(c, form, i, &given);
    if (status == KVSTORE_OK) status = value_for_column(&given, column, &value);
    if (status != KVSTORE_OK) return fail_in_row(in, column, i, status);
    nulls[i] = value.is_null;
    if (type_is_string(column->type))
      ((Bytes *)values)[i] = value.is_null ? (Bytes){ (const uint8_t *)"", 0 } : value.s;
    else if (!value.is_null)
      store_number(values, i, column->type, &value);
  }
  out->values = values;
  out->nulls = nulls;
  return KVSTORE_OK;
}

/* Whether arrays of the form are those of a column's type. */
static bool takes_as_it_is(Form form, int type, unsigned scale) {
  if (type == KVTABLE_TYPE_UUID) return form.layout == LAYOUT_BYTES && form.width == UUID_BYTES;
  return form.type == type && form.unit == 1 && form.divisor == 1 && form.scale == scale;
}

/* Numbers of the column's type, where they are aligned for it. */
static bool lies_as_array(const Child *c, Form form, const Column *column) {
  uint32_t scale = 0;
  int type = type_to_caller(column->type, &scale);
  return !c->schema->dictionary && takes_as_it_is(form, type, scale) && form.layout == LAYOUT_FIXED &&
         form.width == type_array_width(column->type) && (uintptr_t)c->array->buffers[1] % form.width == 0;
}

static const void *array_of(const Child *c, Form form) {
  return (const uint8_t *)c->array->buffers[1] + (size_t)c->offset * form.width;
}

static Status take_column(Intake *in, const Child *c, const Column *column, uint32_t rows, KVColumnData *out) {
  Form form = form_of(c->schema->format);
  uint32_t scale = 0;
  int type = type_to_caller(column->type, &scale);
  *out = (KVColumnData){ .type = type, .form = KVTABLE_FORM_ARRAY };
  TRY(check_array(c, rows, column->name));
  TRY(check_dictionary(c, column->name));
  if (lies_as_array(c, form, column)) {
    TRY(take_nulls(c, form, rows, &in->arena, out));
    out->values = array_of(c, form);
    return KVSTORE_OK;
  }
  if (!c->schema->dictionary && takes_as_it_is(form, type, scale) && type_is_string(column->type)) {
    TRY(take_nulls(c, form, rows, &in->arena, out));
    return take_strings(c, form, rows, &in->rooms[column - in->table->schema.columns], out);
  }
  return take_values(in, c, form, column, rows, out);
}

static Status take_no_column(Intake *in, const Column *column, uint32_t rows, KVColumnData *out) {
  uint8_t *nulls = arena_allocate(&in->arena, rows);
  if (!nulls) return status_nomem();
  memset(nulls, 1, rows);
  uint32_t scale;
  *out = (KVColumnData){ .type = type_to_caller(column->type, &scale), .form = KVTABLE_FORM_ARRAY, .nulls = nulls };
  return KVSTORE_OK;
}

/* ---- batches ---- */

/* Who does not say how many are null has bits that tell. */
static bool has_null_row(const struct ArrowArray *batch) {
  const uint8_t *bits = batch->n_buffers > 0 && batch->buffers ? batch->buffers[0] : NULL;
  if (!batch->null_count || !bits) return false;
  for (uint64_t at = (uint64_t)batch->offset, end = at + (uint64_t)batch->length; at < end; at++)
    if (!(bits[at / 8] >> at % 8 & 1)) return true;
  return false;
}

static Status check_batch(const Intake *in, const struct ArrowArray *batch) {
  if (batch->n_children != in->schema.n_children || (batch->n_children && !batch->children))
    return status_fail(KVSTORE_ERROR, "an Arrow batch has %lld columns, its schema %lld", (long long)batch->n_children,
                       (long long)in->schema.n_children);
  if (batch->length < 0) return status_fail(KVSTORE_ERROR, "an Arrow batch has less than no rows");
  if (batch->length > UINT32_MAX)
    return status_fail(KVSTORE_LIMIT, "an Arrow batch of %lld rows", (long long)batch->length);
  if (batch->offset < 0) return status_fail(KVSTORE_ERROR, "an Arrow batch begins before its rows");
  if (has_null_row(batch)) return status_fail(KVSTORE_UNSUPPORTED, "an Arrow batch has rows that are null as a whole");
  return KVSTORE_OK;
}

/* The array of a column that the batch has, from row `from` of the batch on. */
static Status child_of(const Intake *in, const struct ArrowArray *batch, uint32_t column, int64_t from, Child *out) {
  const char *name = in->table->schema.columns[column].name;
  const struct ArrowArray *array = batch->children[in->children[column]];
  if (!array) return fail_array(name, "is NULL");
  if (array->offset < 0 || array->offset > INT64_MAX / 4 || batch->offset > INT64_MAX / 4)
    return fail_array(name, "begins beyond its rows");
  *out = (Child){ in->schema.children[in->children[column]], array, array->offset + batch->offset + from };
  return KVSTORE_OK;
}

/* Rows [from, from + rows) of a batch. */
static Status take_rows(Intake *in, const struct ArrowArray *batch, int64_t from, uint32_t rows, KVColumnData **out) {
  const Schema *schema = &in->table->schema;
  KVColumnData *data = arena_allocate(&in->arena, memory_array_size(in->table->visible, sizeof *data));
  if (!data) return status_nomem();
  for (uint32_t i = 0; i < in->table->visible; i++) {
    if (in->children[i] == NO_CHILD) {
      TRY(take_no_column(in, &schema->columns[i], rows, &data[i]));
      continue;
    }
    Child child;
    TRY(child_of(in, batch, i, from, &child));
    TRY(take_column(in, &child, &schema->columns[i], rows, &data[i]));
  }
  *out = data;
  return KVSTORE_OK;
}

/* The row of the stream, where the failure names one of its batch. */
static int fail_in_batch(const Intake *in, int code) {
  Failure why = *status_last();
  if (!in->row_count || why.row == UINT64_MAX) return code;
  Status status =
    status_fail_at(code, in->row_count + why.row, why.column[0] ? why.column : NULL, why.value[0] ? why.value : NULL,
                   "behind %llu rows: %s", (unsigned long long)in->row_count, why.text);
  return handle_refuse(in->table->kv, status);
}

/* Whoever has the handle can end the transaction between two parts: the producer, another thread. What comes then would
 * be committed by itself, and what came before may be gone. */
static int check_transaction(const Intake *in) {
  KVStore *kv = in->table->kv;
  Status status = handle_enter(kv);
  if (status != KVSTORE_OK) return handle_refuse(kv, status);
  uint64_t writing = session_writing(kv->session);
  if (writing != in->writing || (in->own && !writing))
    status = status_fail(KVSTORE_ERROR, "the transaction was ended while an Arrow stream was written in it");
  return handle_leave(kv, status);
}

static int append_rows(Intake *in, const struct ArrowArray *batch, int64_t from, uint32_t rows) {
  KVColumnData *data = NULL;
  Status status = take_rows(in, batch, from, rows, &data);
  int code = status == KVSTORE_OK ? check_transaction(in) : handle_refuse(in->table->kv, status);
  if (code == KVSTORE_OK) {
    code = kvtable_append(in->table, data, in->table->visible, rows, NULL, in->mode, NULL);
    if (code != KVSTORE_OK) code = fail_in_batch(in, code);
  }
  in->row_count += code == KVSTORE_OK ? rows : 0;
  arena_release(&in->arena);
  in->arena = (Arena){ 0 };
  return code;
}

typedef struct KeyArray { /* a column of the key */
  const void *values;
  ColumnType type; /* an integer's */
} KeyArray;

/* Below 0: the entry at `row` is greater than the one before it. */
static int compare_to_next(const KeyArray *key, uint64_t row) {
#define TO_NEXT(T)                                        \
  {                                                       \
    const T *v = key->values;                             \
    return (v[row - 1] > v[row]) - (v[row - 1] < v[row]); \
  }
  switch (key->type) {
  case TYPE_I8: TO_NEXT(int8_t)
  case TYPE_I16: TO_NEXT(int16_t)
  case TYPE_I32: TO_NEXT(int32_t)
  case TYPE_I64: TO_NEXT(int64_t)
  case TYPE_U8: TO_NEXT(uint8_t)
  case TYPE_U16: TO_NEXT(uint16_t)
  case TYPE_U32: TO_NEXT(uint32_t)
  default: TO_NEXT(uint64_t)
  }
#undef TO_NEXT
}

static bool find_key_array(const Intake *in, const struct ArrowArray *batch, uint32_t position, KeyArray *out) {
  const Column *column = &in->table->schema.columns[position];
  Child c;
  if (in->children[position] == NO_CHILD || !type_is_integer(type_storage(column->type)) ||
      child_of(in, batch, position, 0, &c) != KVSTORE_OK || check_array(&c, batch->length, column->name) != KVSTORE_OK)
    return false;
  Form form = form_of(c.schema->format);
  if (!lies_as_array(&c, form, column) || (c.array->null_count && c.array->buffers[0])) return false;
  *out = (KeyArray){ array_of(&c, form), type_storage(column->type) };
  return true;
}

/* Whether each row's key, of integers, is greater than the one before. */
static bool keys_ascend(const Intake *in, const struct ArrowArray *batch) {
  const Schema *schema = &in->table->schema;
  KeyArray keys[KEY_COLUMNS_MAX];
  for (uint32_t k = 0; k < schema->key_count; k++)
    if (!find_key_array(in, batch, schema->key_columns[k], &keys[k])) return false;
  for (uint64_t row = 1; row < (uint64_t)batch->length; row++) {
    int order = 0;
    for (uint32_t k = 0; k < schema->key_count && !order; k++) order = compare_to_next(&keys[k], row);
    if (order >= 0) return false;
  }
  return true;
}

/* A string takes 16 bytes while it is written, a number that is another one in Arrow its width: of a large batch that
 * is done part by part, about equal ones, whose runs are long enough to stay as they are, and do not overlap. */
static uint32_t part_rows(const Intake *in, const struct ArrowArray *batch) {
  int64_t rows = batch->length;
  if (rows <= PART_ROWS || !(in->table->schema.has_row_id || keys_ascend(in, batch))) return (uint32_t)rows;
  int64_t parts = (rows + PART_ROWS - 1) / PART_ROWS;
  return (uint32_t)round_up((uint64_t)((rows + parts - 1) / parts), SEGMENT_ROWS);
}

static int append_batch(Intake *in, const struct ArrowArray *batch) {
  Status status = check_batch(in, batch);
  if (status != KVSTORE_OK) return handle_refuse(in->table->kv, status);
  uint32_t part = part_rows(in, batch);
  for (int64_t from = 0; from < batch->length; from += part) {
    uint32_t rows = batch->length - from < part ? (uint32_t)(batch->length - from) : part;
    int code = append_rows(in, batch, from, rows);
    if (code != KVSTORE_OK) return code;
  }
  return KVSTORE_OK;
}

static Status stream_failed(struct ArrowArrayStream *stream, int error) {
  const char *text = stream->get_last_error ? stream->get_last_error(stream) : NULL;
  return status_fail(KVSTORE_ERROR, "the Arrow stream fails: %s", text ? text : strerror(error));
}

static int append_batches(Intake *in) {
  for (;;) {
    struct ArrowArray batch;
    memset(&batch, 0, sizeof batch);
    int error = in->stream->get_next(in->stream, &batch);
    if (error) return handle_refuse(in->table->kv, stream_failed(in->stream, error));
    if (!batch.release) return KVSTORE_OK;
    int code = append_batch(in, &batch);
    batch.release(&batch);
    if (code != KVSTORE_OK) return code;
  }
}

/* ---- the stream ---- */

static Status find_children(Intake *in) {
  const struct ArrowSchema *s = &in->schema;
  const Schema *table = &in->table->schema;
  if (!s->format || strcmp(s->format, "+s") != 0)
    return status_fail(KVSTORE_SCHEMA, "the Arrow stream is of %s, not of record batches",
                       s->format ? s->format : "NULL");
  if (s->n_children < 0 || (s->n_children && !s->children))
    return status_fail(KVSTORE_ERROR, "the Arrow stream's schema has %lld columns, and names none",
                       (long long)s->n_children);
  for (uint32_t i = 0; i < in->table->visible; i++) in->children[i] = NO_CHILD;
  for (int64_t c = 0; c < s->n_children; c++) {
    if (!s->children[c])
      return status_fail(KVSTORE_ERROR, "column %lld of the Arrow stream's schema is NULL", (long long)c);
    const char *name = s->children[c]->name ? s->children[c]->name : "";
    uint32_t i = 0;
    while (i < in->table->visible && strcmp(table->columns[i].name, name) != 0) i++;
    if (i == in->table->visible)
      return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, name, NULL,
                            "the Arrow stream has a column %s, table %s has not", name, in->table->name);
    if (in->children[i] != NO_CHILD)
      return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, name, NULL, "the Arrow stream has column %s twice", name);
    in->children[i] = (uint32_t)c;
  }
  return KVSTORE_OK;
}

static Status prepare(Intake *in) {
  if (in->mode != KVTABLE_INSERT && in->mode != KVTABLE_UPSERT)
    return status_fail(KVSTORE_ERROR, "no such mode: %d", in->mode);
  int error = in->stream->get_schema(in->stream, &in->schema);
  if (error) {
    in->schema.release = NULL;
    return stream_failed(in->stream, error);
  }
  in->children = memory_allocate(memory_array_size(in->table->visible, sizeof *in->children));
  in->rooms = memory_allocate_zeroed(memory_array_size(in->table->visible, sizeof *in->rooms));
  return in->children && in->rooms ? find_children(in) : status_nomem();
}

/* In a transaction of its own, unless the handle is in one. */
static Status begin(Intake *in) {
  Session *session = in->table->kv->session;
  in->own = !session_transaction(session);
  TRY(prepare(in));
  if (in->own) TRY(session_begin(session, true));
  in->writing = session_writing(session);
  return KVSTORE_OK;
}

static int append_all(Intake *in) {
  KVStore *kv = in->table->kv;
  int code = append_batches(in);
  if (code == KVSTORE_OK) code = check_transaction(in);
  if (!in->own) return code;
  if (code == KVSTORE_OK) return kvstore_commit(kv);
  bool is_open = handle_enter(kv) == KVSTORE_OK;
  bool is_mine = is_open && in->writing && session_writing(kv->session) == in->writing;
  if (is_open) (void)handle_leave(kv, KVSTORE_OK);
  if (is_mine) (void)kvstore_rollback(kv); /* the failure stays the message */
  return code;
}

int kvtable_append_stream(KVTable *table, struct ArrowArrayStream *stream, int mode, uint64_t *row_count) {
  Intake in = { .table = table, .stream = stream, .mode = mode };
  if (row_count) *row_count = 0;
  if (!stream || !stream->release) return table_refuse(table, bad_argument("the stream is NULL, or released"));
  Status status = table_enter(table);
  int code;
  if (status != KVSTORE_OK) {
    code = table_refuse(table, status);
  } else {
    code = handle_leave(table->kv, begin(&in));
    if (code == KVSTORE_OK) code = append_all(&in);
  }
  if (in.schema.release) in.schema.release(&in.schema);
  stream->release(stream);
  for (uint32_t i = 0; in.rooms && i < table->visible; i++) memory_release(in.rooms[i].strings);
  memory_release(in.rooms);
  memory_release(in.children);
  if (row_count && code == KVSTORE_OK) *row_count = in.row_count;
  return code;
}
