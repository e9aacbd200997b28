/* evaluate_convert.c - casts: between numbers, dates and timestamps, to text and from it. A value that has no place in
 * the type fails, or, for try_cast, is null. */
#include <float.h>
#include <math.h>
#include <stdio.h>

#include "base/bytes.h"
#include "base/decimal.h"
#include "base/literal.h"
#include "query/expression_internal.h"
#include "query/program_internal.h"
#include "simd/simd.h"

static const int64_t DAY_US = INT64_C(86400000000);

/* The value of a row before its conversion. */
static Value value_at(const ProgramNode *from, const Vector *a, uint32_t i) {
  Value v = value_from_array(lane_type(lane_of(from->type)), a->values, i);
  v.type = from->type;
  return v;
}

enum { VALUE_SHOWN = 100 }; /* bytes of its text, in a message */

static Status no_place(Evaluator *e, const ProgramNode *node, const Vector *a, uint32_t i, Vector *out) {
  if (node->tries) {
    if (!out->nulls) memset(out->own_nulls, 0, BLOCK_ROWS);
    out->nulls = out->own_nulls;
    out->own_nulls[i] = 1;
    return KVSTORE_OK;
  }
  Buffer text = { 0 };
  Value v = value_at(node->children[0], a, i);
  literal_print(&v, &text);
  size_t shown = bytes_beginning(text.data, text.length, VALUE_SHOWN);
  Status status = evaluate_fail(e, i, &v, "%.*s%s is no %s", (int)shown, (const char *)text.data,
                                shown < text.length ? "..." : "", type_name(node->type));
  buffer_release(&text);
  return status;
}

/* ---- numbers ---- */

static bool is_within(ColumnType type, Wide value, Value *out) {
  int64_t low, high;
  if (type == TYPE_U64) {
    out->u = (uint64_t)value;
    return value >= 0 && value <= (Wide)UINT64_MAX;
  }
  type_image_bounds(type, &low, &high);
  out->i = (int64_t)value;
  return value >= low && value <= high;
}

/* The float nearest to an integer or decimal, of which `near` is the nearest double. Where that lies in the middle of
 * two floats, and the number does not, rounding it once more would give the wrong one. */
static float nearest_float(const Value *v, double near) {
  unsigned scale;
  Wide units = decimal_of(v, &scale);
  float nearest = (float)near;
  int order = decimal_order_beside_double(units, scale, near);
  if (order == 0 || (double)nearest == near) return nearest;
  float other = nextafterf(nearest, near > (double)nearest ? INFINITY : -INFINITY);
  if (((double)nearest + (double)other) / 2 != near) return nearest;
  return (order > 0) == (other > nearest) ? other : nearest;
}

/* To, or from, a decimal: to the nearest, halves away from zero. */
static bool convert_decimal(ColumnType to, const Value *v, Value *out) {
  unsigned scale;
  if (type_is_float(to)) {
    out->f = decimal_to_double(v->i, type_scale(v->type));
    if (to == TYPE_F32) out->f = (double)nearest_float(v, out->f);
    return true;
  }
  if (to == TYPE_BOOL) {
    out->i = v->i != 0;
    return true;
  }
  if (type_is_float(v->type))
    return v->f == v->f && is_within(to, decimal_nearest_of_double(v->f, type_scale(to)), out);
  Wide units = decimal_of(v, &scale);
  return is_within(to, decimal_nearest(units, scale, type_scale(to)), out);
}

/* A row's number as one of the type; false when it is none. */
static bool convert_number(ColumnType from, ColumnType to, Value v, Value *out) {
  int64_t low, high;
  *out = (Value){ .type = to };
  if (type_is_decimal(from) || type_is_decimal(to)) return convert_decimal(to, &v, out);
  if (type_is_float(to)) {
    out->f = type_is_float(from) ? v.f : from == TYPE_U64 ? (double)v.u : (double)v.i;
    if (to == TYPE_F32) {
      float narrow = type_is_float(from) ? (float)out->f : nearest_float(&v, out->f);
      if (!isfinite(narrow) && isfinite(out->f)) return false;
      out->f = (double)narrow;
    }
    return true;
  }
  if (to == TYPE_BOOL) {
    out->i = type_is_float(from) ? v.f != 0 : v.i != 0;
    return true;
  }
  if (type_is_float(from)) { /* to the nearest, halves to the even one */
    double whole = nearbyint(v.f);
    if (to == TYPE_U64) {
      if (!(whole >= 0 && whole < 0x1p64)) return false;
      out->u = (uint64_t)whole;
      return true;
    }
    integer_bounds(to, &low, &high);
    if (!(whole >= (double)low && (high == INT64_MAX ? whole < 0x1p63 : whole <= (double)high))) return false;
    out->i = (int64_t)whole;
    return true;
  }
  out->i = v.i;
  if (to == TYPE_U64) return from == TYPE_U64 || v.i >= 0;
  if (from == TYPE_U64 && v.u > INT64_MAX) return false;
  integer_bounds(to, &low, &high);
  return v.i >= low && v.i <= high;
}

/* ---- times ---- */

static bool convert_time(ColumnType to, Value v, Value *out) {
  *out = (Value){ .type = to };
  if (to == TYPE_TIME) {
    out->i = v.i % DAY_US + (v.i % DAY_US < 0 ? DAY_US : 0);
    return true;
  }
  if (to == TYPE_TIMESTAMP) return !__builtin_mul_overflow(v.i, DAY_US, &out->i);
  out->i = v.i / DAY_US - (v.i % DAY_US < 0);
  return out->i >= INT32_MIN && out->i <= INT32_MAX;
}

/* ---- text ---- */

static void trim(const char **text, size_t *length) {
  while (*length && (*text)[0] == ' ') ++*text, --*length;
  while (*length && (*text)[*length - 1] == ' ') --*length;
}

static bool read_float_word(const char *text, size_t length, Value *out) {
  bool negative = length && text[0] == '-';
  *out = (Value){ .type = TYPE_F64, .f = NAN };
  if (text_is_word(text, length, "nan")) return true;
  if (negative || (length && text[0] == '+')) text++, length--;
  out->f = negative ? -INFINITY : INFINITY;
  return text_is_word(text, length, "inf") || text_is_word(text, length, "infinity");
}

static Status read_uuid(Evaluator *e, const char *text, size_t length, bool *ok, Value *out) {
  uint8_t *room = evaluate_room(e, UUID_BYTES);
  if (!room) return status_nomem();
  *ok = literal_uuid(text, length, room);
  *out = (Value){ .type = TYPE_UUID, .s = { room, UUID_BYTES } };
  return KVSTORE_OK;
}

static Status read_text(Evaluator *e, ColumnType to, Bytes s, bool *ok, Value *out) {
  const char *text = (const char *)s.data;
  size_t length = s.length;
  Value v;
  *ok = true;
  if (to == TYPE_STRING || to == TYPE_BYTES) {
    *out = (Value){ .type = to, .s = s };
    *ok = to == TYPE_BYTES || bytes_are_utf8(s.data, s.length);
    return KVSTORE_OK;
  }
  trim(&text, &length);
  if (to == TYPE_BOOL) {
    *out = (Value){ .type = TYPE_BOOL, .i = text_is_word(text, length, "true") };
    *ok = out->i || text_is_word(text, length, "false");
  } else if (to == TYPE_DATE) {
    *ok = literal_date(text, length, out);
  } else if (to == TYPE_TIMESTAMP) {
    *ok = literal_timestamp(text, length, out);
  } else if (to == TYPE_TIME) {
    *ok = literal_time(text, length, out);
  } else if (to == TYPE_DURATION) {
    *ok = literal_duration(text, length, out);
  } else if (to == TYPE_UUID) {
    return read_uuid(e, text, length, ok, out);
  } else if (type_is_decimal(to)) {
    *ok = literal_decimal_of(text, length, type_scale(to), out);
  } else if (literal_looks_like_number(text, length)) {
    TRY(literal_number(text, length, &v));
    *ok = convert_number(v.type, to, v, out) && (type_is_float(to) || !type_is_float(v.type) || v.f == nearbyint(v.f));
  } else {
    *ok = type_is_float(to) && read_float_word(text, length, &v) && convert_number(TYPE_F64, to, v, out);
  }
  return KVSTORE_OK;
}

/* As kvvalue_print: no quotes, no word before a date. */
static Status print_text(Evaluator *e, const Value *v, Value *out) {
  Buffer text = { 0 };
  literal_print_plain(v, &text);
  Status status = buffer_status(&text);
  uint8_t *room = status == KVSTORE_OK ? evaluate_room(e, text.length) : NULL;
  if (status == KVSTORE_OK && !room) status = status_nomem();
  if (status == KVSTORE_OK) {
    if (text.length) memcpy(room, text.data, text.length);
    *out = (Value){ .type = TYPE_STRING, .s = { room, text.length } };
  }
  buffer_release(&text);
  return status;
}

/* ---- rows ---- */

/* Times and durations are their microseconds. */
static bool convert_clock(ColumnType from, ColumnType to, const Value *v, Value *out) {
  bool from_clock = from == TYPE_TIME || from == TYPE_DURATION, to_clock = to == TYPE_TIME || to == TYPE_DURATION;
  Value number = *v;
  if (from_clock) number.type = TYPE_I64;
  bool fits = convert_number(number.type, to_clock ? TYPE_I64 : to, number, out);
  return fits && (!to_clock || is_within(to, out->i, out));
}

static Status convert_row(Evaluator *e, const ProgramNode *node, const Value *v, bool *ok, Value *out) {
  ColumnType from = node->children[0]->type, to = node->type;
  *ok = true;
  if (from == TYPE_UUID && to == TYPE_STRING) return print_text(e, v, out);
  if (type_is_string(from) && from != TYPE_STRING && to == TYPE_UUID) {
    *ok = v->s.length == UUID_BYTES;
    *out = (Value){ .type = to, .s = v->s };
    return KVSTORE_OK;
  }
  if (type_is_string(from)) return read_text(e, to, v->s, ok, out);
  if (to == TYPE_STRING) return print_text(e, v, out);
  *ok = type_is_date(from) ? convert_time(to, *v, out) : convert_clock(from, to, v, out);
  return KVSTORE_OK;
}

/* Of decimals whose units are doubles, and then the quotients are the nearest ones. */
static bool decimals_together(Evaluator *e, ColumnType from, const Vector *a, Vector *out) {
  const int64_t exact = INT64_C(1) << 53;
  if (!a->is_bounded || a->low < -exact || a->high > exact) return false;
  double *to = out->own_values, unit = (double)decimal_unit(type_scale(from));
  simd_kernels()->widen_f64[SIMD_I64](a->values, e->count, to);
  for (uint32_t i = 0; i < e->count; i++) to[i] /= unit;
  return true;
}

/* Those that cannot fail, in one loop; false: the others. */
static bool convert_together(Evaluator *e, const ProgramNode *node, const Vector *a, Vector *out) {
  const SimdKernels *k = simd_kernels();
  Lane from = lane_of(node->children[0]->type), to = lane_of(node->type);
  if (type_is_decimal(node->children[0]->type))
    return node->type == TYPE_F64 && decimals_together(e, node->children[0]->type, a, out);
  if (node->type == TYPE_F64 && from == LANE_F64) {
    out->values = a->values;
    return true;
  }
  if (node->type == TYPE_F64 && (from == LANE_I64 || from == LANE_U64)) {
    k->widen_f64[from == LANE_I64 ? SIMD_I64 : SIMD_U64](a->values, e->count, out->own_values);
    return true;
  }
  if (from == LANE_I64 && to == LANE_I64 && type_is_integer(node->type) && type_is_integer(node->children[0]->type)) {
    int64_t low, high;
    integer_bounds(node->type, &low, &high);
    bool inside = node->type == TYPE_I64 || (a->is_bounded && a->low >= low && a->high <= high);
    if (inside)
      *out = (Vector){ a->values, out->nulls, a->is_bounded, a->low, a->high, out->own_values, out->own_nulls };
    return inside;
  }
  return false;
}

Status evaluate_convert(Evaluator *e, const ProgramNode *node, const Vector *a, const uint64_t *wanted, Vector *out) {
  ColumnType lane = lane_type(lane_of(node->type));
  out->values = out->own_values;
  evaluate_nulls(e, out, a, NULL);
  if (convert_together(e, node, a, out)) return KVSTORE_OK;
  for (uint32_t i = 0; i < e->count; i++) {
    Value converted = { 0 };
    bool ok = true;
    if (wants_row(wanted, a->nulls, i)) {
      Value v = value_at(node->children[0], a, i);
      TRY(convert_row(e, node, &v, &ok, &converted));
      if (!ok) TRY(no_place(e, node, a, i, out));
    }
    if (!ok || !wants_row(wanted, a->nulls, i)) converted = (Value){ 0 };
    converted.type = lane;
    value_to_array(&converted, out->own_values, i);
  }
  return KVSTORE_OK;
}
