#include "encodings/compare.h"

#include <stdlib.h>

#include "base/memory.h"

#include "base/decimal.h"
#include "encodings/encodings_internal.h"
#include "encodings/pair.h"

/* A number no column reaches: what a constant beyond every domain becomes. */
#define BEYOND NUMBER_BEYOND

/* Places are among the images of a column: their two are equal when the constant is a value of the column's domain (or
 * lies beyond it). */
static Place place_at(Wide image) { return (Place){ image, image }; }

/* ---- mapping one constant ---- */

static bool is_unsigned(ColumnType t) { return t >= TYPE_U8 && t <= TYPE_U64; }

/* A number among doubles: the largest not above it, the smallest not below. The quotient is at most a few doubles off.
 */
static Place place_among_doubles(Wide value, unsigned scale) {
  double near = (double)value / (double)decimal_unit(scale);
  int64_t image = float_image(near);
  while (decimal_order_beside_double(value, scale, float_from_image(image)) < 0) image--;
  while (decimal_order_beside_double(value, scale, float_from_image(image + 1)) >= 0) image++;
  if (decimal_order_beside_double(value, scale, float_from_image(image)) == 0) return place_at(image);
  return (Place){ image, (Wide)image + 1 };
}

static const int64_t DAY_US = INT64_C(86400000000);

static Place place_of_time(ColumnType column, const Value *v) {
  if (column == v->type) return place_at(v->i);
  if (column == TYPE_TIMESTAMP) return place_at((Wide)v->i * DAY_US);
  int64_t day = v->i / DAY_US, rest = v->i % DAY_US;
  if (rest == 0) return place_at(day);
  return rest < 0 ? (Place){ day - 1, day } : (Place){ day, day + 1 };
}

/* Images of a u64 are values less 2^63. */
static Place biased(ColumnType column, Place p) {
  Wide bias = (Wide)type_image_bias(column);
  return (Place){ p.floor - bias, p.ceiling - bias };
}

static Place place_of(ColumnType column, const Value *v) {
  unsigned scale;
  if (!type_is_number(column)) return place_of_time(column, v);
  bool is_decimal = type_is_decimal(column), is_float = type_is_float(v->type) && !(is_decimal && v->exactly);
  if (type_is_float(column)) {
    if (is_float) return place_at(float_image(v->f));
    Wide units = decimal_of(v, &scale);
    return place_among_doubles(units, scale);
  }
  if (is_float) return biased(column, decimal_place_of_double(v->f, type_scale(column)));
  Wide units = decimal_of(v, &scale);
  return biased(column, decimal_place(units, scale, type_scale(column)));
}

/* ---- mapping an operator ---- */

/* "Within [low, high]" (or not), cut to the domain: NONE when nothing is left, NOT_NULL when everything is. */
static void bind_range(Compare *c, Wide low, Wide high, bool negated) {
  int64_t first, last;
  type_image_bounds(c->type, &first, &last);
  if (low < first) low = first;
  if (high > last) high = last;
  bool all = low == first && high == last, none = low > high;
  if (all || none) {
    c->kind = all != negated ? COMPARE_KIND_NOT_NULL : COMPARE_KIND_NONE;
    return;
  }
  c->kind = COMPARE_KIND_RANGE;
  c->negated = negated;
  c->low = (int64_t)low;
  c->high = (int64_t)high;
}

static void bind_number(Compare *c, CompareOperator op, const Value *v) {
  Place p = place_of(c->type, v);
  switch (op) {
  case COMPARE_EQUAL: bind_range(c, p.ceiling, p.floor, false); break;
  case COMPARE_NOT_EQUAL: bind_range(c, p.ceiling, p.floor, true); break;
  case COMPARE_LESS: bind_range(c, -BEYOND, p.ceiling - 1, false); break;
  case COMPARE_LESS_EQUAL: bind_range(c, -BEYOND, p.floor, false); break;
  case COMPARE_GREATER: bind_range(c, p.floor + 1, BEYOND, false); break;
  default: bind_range(c, p.ceiling, BEYOND, false); break;
  }
}

static void bind_string(Compare *c, CompareOperator op, Bytes b) {
  bool upper = op == COMPARE_LESS || op == COMPARE_LESS_EQUAL,
       lower = op == COMPARE_GREATER || op == COMPARE_GREATER_EQUAL;
  c->kind = op == COMPARE_PREFIX || op == COMPARE_NOT_PREFIX ? COMPARE_KIND_PREFIX : COMPARE_KIND_RANGE;
  c->negated = op == COMPARE_NOT_EQUAL || op == COMPARE_NOT_PREFIX;
  c->low_bytes = c->high_bytes = b;
  c->low_missing = upper;
  c->high_missing = lower;
  c->low_excluded = op == COMPARE_GREATER;
  c->high_excluded = op == COMPARE_LESS;
}

static void bind_one(Compare *c, CompareOperator op, const Value *v) {
  if (v->is_null)
    c->kind = COMPARE_KIND_NONE;
  else if (type_is_string(c->type))
    bind_string(c, op, v->s);
  else
    bind_number(c, op, v);
}

static void bind_between(Compare *c, bool negated, const Value *low, const Value *high) {
  if (low->is_null || high->is_null) { /* not (x >= null and x <= b) is true where x > b */
    if (negated && !high->is_null)
      bind_one(c, COMPARE_GREATER, high);
    else if (negated && !low->is_null)
      bind_one(c, COMPARE_LESS, low);
    else
      c->kind = COMPARE_KIND_NONE;
    return;
  }
  if (!type_is_string(c->type)) {
    bind_range(c, place_of(c->type, low).ceiling, place_of(c->type, high).floor, negated);
    return;
  }
  if (bytes_compare(low->s.data, low->s.length, high->s.data, high->s.length) > 0) {
    c->kind = negated ? COMPARE_KIND_NOT_NULL : COMPARE_KIND_NONE;
    return;
  }
  c->kind = COMPARE_KIND_RANGE;
  c->negated = negated;
  c->low_bytes = low->s;
  c->high_bytes = high->s;
}

/* Members outside the domain go. */
static void collect_images(Compare *c, const Value *values, size_t count, int64_t *out) {
  int64_t first, last;
  uint32_t found = 0;
  type_image_bounds(c->type, &first, &last);
  for (size_t i = 0; i < count; i++) {
    if (values[i].is_null) continue;
    Place p = place_of(c->type, &values[i]);
    if (p.floor == p.ceiling && p.floor >= first && p.floor <= last) out[found++] = (int64_t)p.floor;
  }
  compare_set_images(c, out, found, count);
}
static void collect_strings(Compare *c, const Value *values, size_t count, Bytes *out) {
  uint32_t found = 0;
  for (size_t i = 0; i < count; i++) {
    if (!values[i].is_null) out[found++] = values[i].s;
  }
  compare_set_strings(c, out, found, count);
}

static void bind_set(Compare *c, bool negated, const Value *values, size_t count, void *memory) {
  bool has_null = false;
  for (size_t i = 0; i < count; i++) has_null |= values[i].is_null;
  if (type_is_string(c->type))
    collect_strings(c, values, count, memory);
  else
    collect_images(c, values, count, memory);
  if ((negated && has_null) || c->set_count == 0) { /* x not in (.., null) is never true */
    c->kind = negated && !has_null ? COMPARE_KIND_NOT_NULL : COMPARE_KIND_NONE;
    return;
  }
  c->negated = negated;
  c->kind = c->set_count == 1 ? COMPARE_KIND_RANGE : COMPARE_KIND_SET;
  if (c->set_count == 1) {
    if (type_is_string(c->type))
      c->low_bytes = c->high_bytes = c->strings[0];
    else
      c->low = c->high = c->images[0];
  }
}

/* ---- bits ---- */

static bool is_whole(const Value *v) { return v->is_null || type_is_integer(v->type); }

/* A narrow type has its sign in every bit above its own. What is asked of those is asked of the sign bit. */
static bool bits_of_narrow(ColumnType type, uint64_t *mask, uint64_t *wanted) {
  unsigned bits = 8u << type_width_index(type);
  if (bits == 64) return true;
  uint64_t own = simd_width_mask(bits), sign = UINT64_C(1) << (bits - 1), above = *mask & ~own,
           above_wanted = *wanted & ~own;
  *mask &= own;
  *wanted &= own;
  if (above == 0 || is_unsigned(type)) return above_wanted == 0;
  if (above_wanted != 0 && above_wanted != above) return false;
  uint64_t sign_wanted = above_wanted ? sign : 0;
  if (*mask & sign && (*wanted & sign) != sign_wanted) return false;
  *mask |= sign;
  *wanted |= sign_wanted;
  return true;
}

static void bind_bits(Compare *c, bool negated, const Value *mask, const Value *wanted) {
  c->kind = COMPARE_KIND_NONE;
  if (mask->is_null || wanted->is_null) return;
  uint64_t bits = mask->u, value = wanted->u;
  /* The result has the column's sign or none: a number of the other kind is none of its values. */
  bool beyond = is_unsigned(wanted->type) != is_unsigned(c->type) && value >> 63;
  bool possible = !beyond && (value & ~bits) == 0 && bits_of_narrow(c->type, &bits, &value);
  if (!possible || bits == 0) {
    if (possible != negated) c->kind = COMPARE_KIND_NOT_NULL;
    return;
  }
  c->kind = COMPARE_KIND_BITS;
  c->negated = negated;
  c->low = (int64_t)value;
  c->high = (int64_t)bits;
}

size_t compare_bind_bound(ColumnType type, CompareOperator op, size_t count) {
  if (op != COMPARE_IN && op != COMPARE_NOT_IN) return 0;
  return compare_set_bound(type, count);
}

static Status check_constants(ColumnType type, CompareOperator op, const Value *constants, size_t count) {
  bool is_set = op == COMPARE_IN || op == COMPARE_NOT_IN;
  size_t wanted = op == COMPARE_IS_NULL || op == COMPARE_IS_NOT_NULL   ? 0
                  : op == COMPARE_BETWEEN || op == COMPARE_NOT_BETWEEN ? 2
                  : op == COMPARE_BITS || op == COMPARE_NOT_BITS       ? 2
                                                                       : 1;
  if (!is_set && count != wanted) {
    return status_fail(KVSTORE_ERROR, "this comparison takes %zu constants, not %zu", wanted, count);
  }
  if (count > UINT32_MAX / 16) return status_fail(KVSTORE_LIMIT, "a list of %zu constants is too long", count);
  bool is_prefix = op == COMPARE_PREFIX || op == COMPARE_NOT_PREFIX;
  if (is_prefix && !type_is_string(type)) {
    return status_fail(KVSTORE_TYPE, "a prefix is of strings, not of a column of type %s", type_name(type));
  }
  if (op == COMPARE_BITS || op == COMPARE_NOT_BITS) {
    if (type_is_integer(type) && is_whole(&constants[0]) && is_whole(&constants[1])) return KVSTORE_OK;
    return status_fail(KVSTORE_TYPE, "bits are of integers, not of a column of type %s", type_name(type));
  }
  for (size_t i = 0; i < count; i++) {
    if (constants[i].is_null || pair_types_compare(type, constants[i].type)) continue;
    return status_fail(KVSTORE_TYPE, "a column of type %s does not compare with a constant of type %s", type_name(type),
                       type_name(constants[i].type));
  }
  return KVSTORE_OK;
}

Status compare_bind(ColumnType type, CompareOperator op, const Value *constants, size_t count, void *memory,
                    Compare *out) {
  TRY(check_constants(type, op, constants, count));
  *out = (Compare){ .type = type };
  switch (op) {
  case COMPARE_IS_NULL: out->kind = COMPARE_KIND_NULL; break;
  case COMPARE_IS_NOT_NULL: out->kind = COMPARE_KIND_NOT_NULL; break;
  case COMPARE_IN: bind_set(out, false, constants, count, memory); break;
  case COMPARE_NOT_IN: bind_set(out, true, constants, count, memory); break;
  case COMPARE_BETWEEN: bind_between(out, false, &constants[0], &constants[1]); break;
  case COMPARE_NOT_BETWEEN: bind_between(out, true, &constants[0], &constants[1]); break;
  case COMPARE_BITS: bind_bits(out, false, &constants[0], &constants[1]); break;
  case COMPARE_NOT_BITS: bind_bits(out, true, &constants[0], &constants[1]); break;
  default: bind_one(out, op, &constants[0]); break;
  }
  return KVSTORE_OK;
}

/* ---- one value ---- */

static bool has_prefix(Bytes v, Bytes prefix) {
  return v.length >= prefix.length && (prefix.length == 0 || memcmp(v.data, prefix.data, prefix.length) == 0);
}

static bool range_has_bytes(const Compare *c, Bytes v) {
  if (compare_is_equality(c)) return v.length == c->low_bytes.length && has_prefix(v, c->low_bytes);
  if (!c->low_missing) {
    int order = bytes_compare(v.data, v.length, c->low_bytes.data, c->low_bytes.length);
    if (order < 0 || (order == 0 && c->low_excluded)) return false;
  }
  if (!c->high_missing) {
    int order = bytes_compare(v.data, v.length, c->high_bytes.data, c->high_bytes.length);
    if (order > 0 || (order == 0 && c->high_excluded)) return false;
  }
  return true;
}

bool compare_image(const Compare *c, int64_t image) {
  switch (c->kind) {
  case COMPARE_KIND_RANGE: return (image >= c->low && image <= c->high) != c->negated;
  case COMPARE_KIND_SET: return compare_set_has_image(c, image) != c->negated;
  case COMPARE_KIND_BITS:
    return ((((uint64_t)image + type_image_bias(c->type)) & (uint64_t)c->high) == (uint64_t)c->low) != c->negated;
  default: return c->kind == COMPARE_KIND_NOT_NULL;
  }
}

bool compare_bytes(const Compare *c, Bytes value) {
  switch (c->kind) {
  case COMPARE_KIND_RANGE: return range_has_bytes(c, value) != c->negated;
  case COMPARE_KIND_SET: return compare_set_has_bytes(c, value) != c->negated;
  case COMPARE_KIND_PREFIX: return has_prefix(value, c->low_bytes) != c->negated;
  default: return c->kind == COMPARE_KIND_NOT_NULL;
  }
}

bool compare_value(const Compare *c, const Value *v) {
  if (v->is_null) return c->kind == COMPARE_KIND_NULL;
  if (type_is_string(c->type)) return compare_bytes(c, v->s);
  if (type_is_float(c->type)) return compare_image(c, float_image(v->f));
  return compare_image(c, (int64_t)(v->u + type_image_bias(c->type)));
}

/* ---- zones ---- */

static const ZoneBounds every_image = { INT64_MIN, INT64_MAX, INT64_MIN, INT64_MAX };

/* Surely none. */
static void no_image(ZoneBounds *b) {
  b->sure_low = INT64_MAX;
  b->sure_high = INT64_MIN;
}

/* The image of a bound may be that of strings on its other side: only what lies strictly within it is certain. */
static ZoneBounds bounds_of_string_range(const Compare *c) {
  ZoneBounds b = every_image;
  if (!c->low_missing) b.may_low = b.sure_low = bytes_image(c->low_bytes);
  if (!c->high_missing) b.may_high = b.sure_high = bytes_image(c->high_bytes);
  bool none = (!c->low_missing && b.sure_low == INT64_MAX) || (!c->high_missing && b.sure_high == INT64_MIN);
  if (none)
    no_image(&b);
  else
    b.sure_low += !c->low_missing, b.sure_high -= !c->high_missing;
  return b;
}

/* A value with the prefix has an image from prefix 00.. to prefix ff... The converse fails only at prefix 00.. itself,
 * which a shorter value may have too, and when the prefix is longer than an image. */
static ZoneBounds bounds_of_prefix(Bytes prefix) {
  if (prefix.length == 0) return every_image;
  int64_t low = bytes_image(prefix), high = low;
  if (prefix.length < 8) high |= (int64_t)(UINT64_MAX >> (8 * prefix.length));
  ZoneBounds b = { low, high, low, high };
  if (prefix.length > 8 || low == INT64_MAX)
    no_image(&b);
  else
    b.sure_low++;
  return b;
}

bool compare_zone_bounds(const Compare *c, ZoneBounds *out) {
  switch (c->kind) {
  case COMPARE_KIND_NOT_NULL: *out = every_image; return true;
  case COMPARE_KIND_PREFIX: *out = bounds_of_prefix(c->low_bytes); return true;
  case COMPARE_KIND_RANGE:
    if (type_is_string(c->type))
      *out = bounds_of_string_range(c);
    else
      *out = (ZoneBounds){ c->low, c->high, c->low, c->high };
    return true;
  default: return false;
  }
}

static ZoneVerdict zone_of_values(const Compare *c, int64_t minimum, int64_t maximum) {
  ZoneBounds b;
  if (compare_zone_bounds(c, &b)) {
    if (maximum < b.may_low || minimum > b.may_high) return ZONE_NONE;
    return minimum >= b.sure_low && maximum <= b.sure_high ? ZONE_ALL : ZONE_SOME;
  }
  if (c->kind == COMPARE_KIND_SET) {
    if (type_is_string(c->type)) return compare_set_zone_of_strings(c, minimum, maximum);
    return compare_set_zone_of_images(c, minimum, maximum);
  }
  if (c->kind != COMPARE_KIND_BITS) return ZONE_NONE;
  if (minimum != maximum) return ZONE_SOME;
  return compare_image(c, minimum) != c->negated ? ZONE_ALL : ZONE_NONE;
}

ZoneVerdict compare_zone(const Compare *c, int64_t minimum, int64_t maximum, uint32_t null_count, uint32_t row_count) {
  if (c->kind == COMPARE_KIND_NONE) return ZONE_NONE;
  if (c->kind == COMPARE_KIND_NULL) {
    return null_count == 0 ? ZONE_NONE : null_count == row_count ? ZONE_ALL : ZONE_SOME;
  }
  if (null_count == row_count || minimum > maximum) return ZONE_NONE;
  ZoneVerdict verdict = zone_of_values(c, minimum, maximum);
  if (c->negated) verdict = verdict == ZONE_NONE ? ZONE_ALL : verdict == ZONE_ALL ? ZONE_NONE : ZONE_SOME;
  return verdict == ZONE_ALL && null_count ? ZONE_SOME : verdict;
}
