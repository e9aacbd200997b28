/* pair.c - columns compared with columns.
 *
 * Arrays of one type go to a kernel as they are. Of two types they are widened to what holds both, where the values of
 * the block allow it (integers beside floats: below 2^53; u64 beside signed: below 2^63; dates beside timestamps: not
 * thousands of centuries away; decimals of different scales: below 2^63 of the finer unit); elsewhere, for decimals
 * beside floats, and for strings, row by row through pair_order. */
#include "encodings/pair.h"

#include "base/bitmap.h"
#include "base/decimal.h"
#include "encodings/encodings_internal.h"

static const int64_t DAY_US = INT64_C(86400000000);

/* What compares with each other is of one kind. */
typedef enum Kind { KIND_OTHER, KIND_NUMBER, KIND_DATE, KIND_TEXT, KIND_UUID } Kind;

static Kind kind_of(ColumnType t) {
  if (type_is_number(t)) return KIND_NUMBER;
  if (type_is_date(t)) return KIND_DATE;
  if (t == TYPE_UUID) return KIND_UUID;
  return type_is_string(t) ? KIND_TEXT : KIND_OTHER;
}

bool pair_types_compare(ColumnType a, ColumnType b) {
  Kind x = kind_of(a), y = kind_of(b);
  if (x == KIND_UUID || y == KIND_UUID) /* its text is another string than its bytes */
    return x == y || (x == KIND_TEXT && a != TYPE_STRING) || (y == KIND_TEXT && b != TYPE_STRING);
  return x == KIND_OTHER ? a == b : x == y;
}

Status pair_bind(ColumnType left, CompareOperator op, ColumnType right, ComparePair *out) {
  if (!pair_types_compare(left, right)) {
    return status_fail(KVSTORE_TYPE, "a column of type %s does not compare with one of type %s", type_name(left),
                       type_name(right));
  }
  if (op > COMPARE_GREATER_EQUAL) return status_fail(KVSTORE_ERROR, "columns are compared by order or equality");
  *out = (ComparePair){ left, right, op != COMPARE_EQUAL && op != COMPARE_NOT_EQUAL,
                        op == COMPARE_GREATER || op == COMPARE_LESS_EQUAL,
                        op == COMPARE_NOT_EQUAL || op == COMPARE_LESS_EQUAL || op == COMPARE_GREATER_EQUAL };
  return KVSTORE_OK;
}

/* ---- two values ---- */

static int order_of(Wide a, Wide b) { return (a > b) - (a < b); }

static Wide moment_of(const Value *v) { return v->type == TYPE_DATE ? (Wide)v->i * DAY_US : (Wide)v->i; }

static int order_of_numbers(const Value *a, const Value *b) {
  unsigned x_scale, y_scale;
  if (type_is_float(a->type) && type_is_float(b->type)) return order_of(float_image(a->f), float_image(b->f));
  Wide x = decimal_of(a, &x_scale), y = decimal_of(b, &y_scale);
  if (type_is_float(b->type)) return decimal_order_beside_double(x, x_scale, b->f);
  if (type_is_float(a->type)) return -decimal_order_beside_double(y, y_scale, a->f);
  if (x_scale < y_scale) x *= decimal_unit(y_scale - x_scale);
  if (y_scale < x_scale) y *= decimal_unit(x_scale - y_scale);
  return order_of(x, y);
}

int pair_order(const Value *a, const Value *b) {
  if (type_is_string(a->type)) return bytes_compare(a->s.data, a->s.length, b->s.data, b->s.length);
  return type_is_number(a->type) ? order_of_numbers(a, b) : order_of(moment_of(a), moment_of(b));
}

bool pair_values(const ComparePair *p, const Value *left, const Value *right) {
  if (left->is_null || right->is_null) return false;
  int order = p->swapped ? pair_order(right, left) : pair_order(left, right);
  return (p->less ? order < 0 : order == 0) != p->negated;
}

/* ---- arrays ---- */

static SimdType simd_type(ColumnType t) { return t == TYPE_BOOL ? SIMD_U8 : (SimdType)(type_storage(t) - TYPE_I8); }
_Static_assert(TYPE_F64 - TYPE_I8 == SIMD_F64 && TYPE_U8 - TYPE_I8 == SIMD_U8, "in one order");

#define EACH(T, EXPRESSION)              \
  for (uint32_t i = 0; i < count; i++) { \
    const T x = ((const T *)values)[i];  \
    out[i] = (EXPRESSION);               \
  }                                      \
  break
/* All but strings and floats as i64, times `unit`; false when one does not fit. What lies beneath a null is zero. */
static bool widen_to_i64(ColumnType type, const void *values, uint32_t count, int64_t unit, int64_t *out) {
  uint64_t signs = 0;
  switch (type_storage(type)) {
  case TYPE_U8: EACH(uint8_t, x);
  case TYPE_I8: EACH(int8_t, x);
  case TYPE_U16: EACH(uint16_t, x);
  case TYPE_I16: EACH(int16_t, x);
  case TYPE_U32: EACH(uint32_t, x);
  case TYPE_I32: EACH(int32_t, x);
  default: EACH(int64_t, x);
  }
  if (type == TYPE_U64) {
    for (uint32_t i = 0; i < count; i++) signs |= (uint64_t)out[i];
    if (signs >> 63) return false;
    signs = 0;
  }
  if (unit == 1) return true;
  const int64_t most = INT64_MAX / unit - 1;
  for (uint32_t i = 0; i < count; i++) signs |= (uint64_t)(out[i] > most) | (uint64_t)(out[i] < -most);
  for (uint32_t i = 0; i < count; i++) out[i] = (int64_t)((uint64_t)out[i] * (uint64_t)unit);
  return signs == 0;
}

/* Numbers as f64; false when an integer may be none. */
static bool widen_to_f64(ColumnType type, const void *values, uint32_t count, double *out) {
  if (type == TYPE_F64) {
    memcpy(out, values, count * sizeof *out);
    return true;
  }
  if (type == TYPE_F32) {
    for (uint32_t i = 0; i < count; i++) out[i] = (double)((const float *)values)[i];
    return true;
  }
  int64_t integers[BLOCK_ROWS];
  const int64_t exact = INT64_C(1) << 53;
  uint64_t beyond = !widen_to_i64(type, values, count, 1, integers);
  for (uint32_t i = 0; i < count; i++) beyond |= (uint64_t)(integers[i] > exact) | (uint64_t)(integers[i] < -exact);
  for (uint32_t i = 0; i < count; i++) out[i] = (double)integers[i];
  return !beyond;
}
#undef EACH

/* What values of a type are multiplied with beside another, so that both are whole numbers of the same. */
static int64_t unit_beside(ColumnType type, ColumnType other) {
  if (type == TYPE_DATE) return DAY_US;
  unsigned own = type_scale(type), wanted = type_scale(other);
  return own < wanted ? decimal_unit(wanted - own) : 1;
}

static bool widen(ColumnType type, SimdType to, int64_t unit, const void *values, uint32_t count, Lanes *out) {
  memset(out->of64 + count, 0, (BLOCK_ROWS - count) * sizeof *out->of64);
  if (to == SIMD_F64) return widen_to_f64(type, values, count, (double *)out->of64);
  return widen_to_i64(type, values, count, unit, (int64_t *)out->of64);
}

/* Kernels read whole blocks. */
static const void *whole_block(ColumnType type, const void *values, uint32_t count, Lanes *copy) {
  if (count == BLOCK_ROWS) return values;
  size_t bytes = (size_t)count << type_width_index(type);
  memcpy(copy, values, bytes);
  memset((uint8_t *)copy + bytes, 0, sizeof *copy - bytes);
  return copy;
}

/* Verdicts of a kernel into flags; false when the values do not allow it. */
static bool kernel_flags(const ComparePair *p, const void *left, const void *right, uint32_t count,
                         uint8_t flags[BLOCK_ROWS]) {
  const SimdKernels *k = simd_kernels();
  Lanes a, b;
  SimdType type = SIMD_I64;
  if (type_is_string(p->left)) return false;
  if (p->left == p->right) {
    type = simd_type(p->left);
    left = whole_block(p->left, left, count, &a);
    right = whole_block(p->right, right, count, &b);
  } else {
    bool decimals = type_is_decimal(p->left) || type_is_decimal(p->right);
    if (type_is_float(p->left) || type_is_float(p->right)) type = SIMD_F64;
    if (type == SIMD_F64 && decimals) return false;
    if (!widen(p->left, type, unit_beside(p->left, p->right), left, count, &a) ||
        !widen(p->right, type, unit_beside(p->right, p->left), right, count, &b))
      return false;
    left = &a;
    right = &b;
  }
  SimdPair *kernel = p->less ? k->less[type] : k->equal[type];
  kernel(p->swapped ? right : left, p->swapped ? left : right, flags);
  return true;
}

static bool strings_match(const ComparePair *p, Bytes a, Bytes b) {
  if (!p->less) return (a.length == b.length && (!a.length || memcmp(a.data, b.data, a.length) == 0)) != p->negated;
  int order = bytes_compare(a.data, a.length, b.data, b.length);
  return (p->swapped ? order > 0 : order < 0) != p->negated;
}

static void filter_rows(const ComparePair *p, const void *left, const void *right, uint64_t mask[BLOCK_WORDS]) {
  bool strings = type_is_string(p->left);
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) {
    for (uint64_t word = mask[w]; word; word &= word - 1) {
      uint32_t i = w * 64 + (uint32_t)__builtin_ctzll(word);
      bool matches;
      if (strings) {
        matches = strings_match(p, ((const Bytes *)left)[i], ((const Bytes *)right)[i]);
      } else {
        Value a = value_from_array(p->left, left, i), b = value_from_array(p->right, right, i);
        matches = pair_values(p, &a, &b);
      }
      if (!matches) bit_clear(mask, i);
    }
  }
}

static void drop_nulls(const uint8_t *nulls, uint32_t count, uint64_t mask[BLOCK_WORDS]) {
  if (!nulls) return;
  if (count == BLOCK_ROWS) {
    simd_kernels()->range[8](nulls, 0, 0, 0, mask);
    return;
  }
  for (uint32_t i = 0; i < count; i++) {
    if (nulls[i]) bit_clear(mask, i);
  }
}

void pair_filter(const ComparePair *p, ColumnArray left, ColumnArray right, uint32_t row_count,
                 uint64_t mask[BLOCK_WORDS]) {
  uint64_t rows[BLOCK_WORDS];
  uint8_t flags[BLOCK_ROWS];
  bitmap_fill_first(rows, BLOCK_WORDS, row_count);
  mask_and_words(mask, rows);
  drop_nulls(left.nulls, row_count, mask);
  drop_nulls(right.nulls, row_count, mask);
  simd_count(simd_kernels(), 1);
  if (kernel_flags(p, left.values, right.values, row_count, flags))
    simd_kernels()->range[8](flags, 1, 0, p->negated ? UINT64_MAX : 0, mask);
  else
    filter_rows(p, left.values, right.values, mask);
}

/* ---- zones ---- */

/* Images of both types are numbers on one scale. */
static bool share_images(ColumnType a, ColumnType b) {
  if (a == b) return true;
  if (type_is_string(a)) return true;
  if (type_is_float(a) && type_is_float(b)) return true;
  return type_is_integer(a) && type_is_integer(b) && a != TYPE_U64 && b != TYPE_U64;
}

/* Of equal images of strings nothing is known. */
static ZoneVerdict zone_less(bool strings, PairZone a, PairZone b) {
  if (a.maximum < b.minimum) return ZONE_ALL;
  return (strings ? a.minimum > b.maximum : a.minimum >= b.maximum) ? ZONE_NONE : ZONE_SOME;
}
static ZoneVerdict zone_equal(bool strings, PairZone a, PairZone b) {
  if (a.maximum < b.minimum || b.maximum < a.minimum) return ZONE_NONE;
  bool same = !strings && a.minimum == a.maximum && b.minimum == b.maximum && a.minimum == b.minimum;
  return same ? ZONE_ALL : ZONE_SOME;
}

ZoneVerdict pair_zone(const ComparePair *p, PairZone left, PairZone right, uint32_t row_count) {
  if (left.null_count == row_count || right.null_count == row_count) return ZONE_NONE;
  if (left.minimum > left.maximum || right.minimum > right.maximum) return ZONE_NONE;
  if (!share_images(p->left, p->right)) return ZONE_SOME;
  bool strings = type_is_string(p->left);
  ZoneVerdict verdict = !p->less     ? zone_equal(strings, left, right)
                        : p->swapped ? zone_less(strings, right, left)
                                     : zone_less(strings, left, right);
  if (p->negated) verdict = verdict == ZONE_NONE ? ZONE_ALL : verdict == ZONE_ALL ? ZONE_NONE : ZONE_SOME;
  return verdict == ZONE_ALL && (left.null_count || right.null_count) ? ZONE_SOME : verdict;
}
