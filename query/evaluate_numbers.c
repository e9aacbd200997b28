/* evaluate_numbers.c - arithmetic of columns. Integers are added in 64 bits by kernels that say whether anything
 * overflowed, or, where zone maps say that nothing can, without asking. Only when something did are rows looked at. */
#include <math.h>
#include <stdio.h>

#include "base/decimal.h"
#include "base/literal.h"
#include "query/program_internal.h"
#include "simd/simd.h"

static const char *operator_name(const ProgramNode *node) { return expression_function_name(node->function); }

/* ---- what does not fit ---- */

static Wide wide_at(Lane lane, const Vector *v, uint32_t i) {
  return lane == LANE_U64 ? (Wide)((const uint64_t *)v->values)[i] : (Wide)((const int64_t *)v->values)[i];
}

static bool fits(ColumnType type, Wide value) {
  if (type == TYPE_U64) return value >= 0 && value <= (Wide)UINT64_MAX;
  int64_t low, high;
  integer_bounds(type, &low, &high);
  return value >= low && value <= high;
}

static Value number_value(ColumnType type, Wide value) {
  Value v = { .type = type_is_integer(type) && type != TYPE_U64 ? TYPE_I64 : type };
  v.u = (uint64_t)value;
  return v;
}

/* A wanted row has no result: null for `try_`, else the failure. */
static Status no_result(Evaluator *e, const ProgramNode *node, uint32_t i, Vector *out, const Value *a, const Value *b,
                        const char *why) {
  if (node->tries) {
    if (!out->nulls) memset(out->own_nulls, 0, BLOCK_ROWS);
    out->nulls = out->own_nulls;
    out->own_nulls[i] = 1;
    return KVSTORE_OK;
  }
  Buffer x = { 0 }, y = { 0 };
  literal_print(a, &x);
  if (b) literal_print(b, &y);
  Status status =
    b ? evaluate_fail(e, i, a, "%.*s %s %.*s %s", (int)x.length, (const char *)x.data, operator_name(node),
                      (int)y.length, (const char *)y.data, why)
      : evaluate_fail(e, i, a, "%s of %.*s %s", operator_name(node), (int)x.length, (const char *)x.data, why);
  buffer_release(&x);
  buffer_release(&y);
  return status;
}

/* ---- integers, one by one: 128 bits hold every result ---- */

#define BEYOND ((Wide)1 << 100) /* no type holds it */
static Wide result_of(ExpressionFunction f, Wide a, Wide b) {
  Wide product;
  switch (f) {
  case FUNCTION_ADD: return a + b;
  case FUNCTION_SUBTRACT: return a - b;
  case FUNCTION_MULTIPLY: return __builtin_mul_overflow(a, b, &product) ? BEYOND : product; /* of two u64 */
  case FUNCTION_DIVIDE: return a / b;
  case FUNCTION_MODULO: return a % b;
  case FUNCTION_NEGATE: return -a;
  case FUNCTION_ABS: return a < 0 ? -a : a;
  default: return a;
  }
}

/* What an operand is multiplied with before: a date beside microseconds, a decimal beside one of a finer scale. */
static int64_t operand_unit(const ProgramNode *node, uint32_t operand) {
  const int64_t day_us = INT64_C(86400000000);
  ColumnType type = node->children[operand]->type;
  if (type == TYPE_DATE) return node->type == TYPE_TIMESTAMP || node->type == TYPE_DURATION ? day_us : 1;
  if (!type_is_decimal(node->type) || node->count < 2 || node->function == FUNCTION_MULTIPLY) return 1;
  return decimal_unit(type_scale(node->type) - type_scale(type));
}

static Status one_by_one(Evaluator *e, const ProgramNode *node, const Vector *a, const Vector *b,
                         const uint64_t *wanted, Vector *out) {
  Lane la = lane_of(node->children[0]->type), lb = b ? lane_of(node->children[1]->type) : LANE_I64;
  bool divides = node->function == FUNCTION_DIVIDE || node->function == FUNCTION_MODULO;
  int64_t x_unit = operand_unit(node, 0), y_unit = b ? operand_unit(node, 1) : 1;
  for (uint32_t i = 0; i < e->count; i++) {
    Wide x = wide_at(la, a, i), y = b ? wide_at(lb, b, i) : 0, result = 0;
    bool by_zero = divides && y == 0;
    if (!by_zero) result = result_of(node->function, x * x_unit, y * y_unit);
    ((uint64_t *)out->own_values)[i] = (uint64_t)result;
    if ((!by_zero && fits(node->type, result)) || !wants_row(wanted, out->nulls, i)) continue;
    Value vx = number_value(node->children[0]->type, x), vy = number_value(b ? node->children[1]->type : TYPE_I64, y);
    char why[64];
    snprintf(why, sizeof why, by_zero ? "divides by zero" : "does not fit %s", type_name(node->type));
    TRY(no_result(e, node, i, out, &vx, b ? &vy : NULL, why));
    ((uint64_t *)out->own_values)[i] = 0;
  }
  return KVSTORE_OK;
}

/* ---- integers, together ---- */

static bool is_within(ColumnType type, Wide low, Wide high, Vector *out) {
  int64_t least, most;
  integer_bounds(type, &least, &most);
  if (low < least || high > most) return false;
  out->is_bounded = true;
  out->low = (int64_t)low;
  out->high = (int64_t)high;
  return true;
}

static bool within_32(const Vector *v) { return v->is_bounded && v->low >= INT32_MIN && v->high <= INT32_MAX; }

/* Whether no result can overflow, and where they lie. */
static bool product_bounds(ColumnType type, const Vector *a, const Vector *b, Vector *out) {
  if (!a->is_bounded || !b->is_bounded) return false;
  Wide p[] = { (Wide)a->low * b->low, (Wide)a->low * b->high, (Wide)a->high * b->low, (Wide)a->high * b->high };
  Wide low = p[0], high = p[0];
  for (int i = 1; i < 4; i++) {
    if (p[i] < low) low = p[i];
    if (p[i] > high) high = p[i];
  }
  return is_within(type, low, high, out);
}

static bool sum_bounds(ColumnType type, const Vector *a, const Vector *b, bool minus, Vector *out) {
  if (!a->is_bounded || !b->is_bounded) return false;
  Wide low = (Wide)a->low + (minus ? -(Wide)b->high : b->low), high = (Wide)a->high + (minus ? -(Wide)b->low : b->high);
  return is_within(type, low, high, out);
}

/* False: overflowed, and must be looked at one by one. */
static bool together(Evaluator *e, const ProgramNode *node, const Vector *a, const Vector *b, Vector *out) {
  const SimdKernels *k = simd_kernels();
  int64_t *to = out->own_values;
  const int64_t *x = a->values, *y = b->values;
  bool sure, gaps = type_has_gaps(node->type); /* what fits 64 bits may be too large all the same */
  switch (node->function) {
  case FUNCTION_ADD:
    sure = sum_bounds(node->type, a, b, false, out);
    return (k->add_i64(x, y, e->count, to) == 0 && !gaps) || sure;
  case FUNCTION_SUBTRACT:
    sure = sum_bounds(node->type, a, b, true, out);
    return (k->subtract_i64(x, y, e->count, to) == 0 && !gaps) || sure;
  case FUNCTION_MULTIPLY:
    if (product_bounds(node->type, a, b, out)) {
      (within_32(a) && within_32(b) ? k->multiply_i32 : k->multiply_i64)(x, y, e->count, to);
      return true;
    }
    return false;
  case FUNCTION_BIT_AND:
    for (uint32_t i = 0; i < e->count; i++) to[i] = x[i] & y[i];
    return true;
  default: return false;
  }
}

/* All of 64 bits are results, or those that bounds let in. */
static bool is_together(const ProgramNode *node) {
  return node->type == TYPE_I64 || node->type == TYPE_TIMESTAMP || node->type == TYPE_DURATION ||
         type_is_decimal(node->type);
}

static Status integers(Evaluator *e, const ProgramNode *node, const Vector *a, const Vector *b, const uint64_t *wanted,
                       Vector *out) {
  bool plain = b && lane_of(node->children[0]->type) == LANE_I64 && lane_of(node->children[1]->type) == LANE_I64 &&
               is_together(node) && operand_unit(node, 0) == 1 && operand_unit(node, 1) == 1;
  out->values = out->own_values;
  evaluate_nulls(e, out, a, b);
  if (b && (node->function == FUNCTION_BIT_AND || plain)) {
    if (together(e, node, a, b, out)) return KVSTORE_OK;
  }
  out->is_bounded = false;
  return one_by_one(e, node, a, b, wanted, out);
}

/* ---- floats ---- */

/* Division by zero is a failure here too. */
static Status check_divisors(Evaluator *e, const ProgramNode *node, const Vector *a, const Vector *b,
                             const uint64_t *wanted, Vector *out) {
  const double *divisors = b->values;
  uint64_t zeros = 0;
  for (uint32_t i = 0; i < e->count; i++) zeros |= (uint64_t)(divisors[i] == 0);
  for (uint32_t i = 0; zeros && i < e->count; i++) {
    if (divisors[i] != 0 || !wants_row(wanted, out->nulls, i)) continue;
    Value x = { .type = TYPE_F64, .f = ((const double *)a->values)[i] }, y = { .type = TYPE_F64, .f = divisors[i] };
    TRY(no_result(e, node, i, out, &x, &y, "divides by zero"));
  }
  return KVSTORE_OK;
}

static Status floats(Evaluator *e, const ProgramNode *node, const Vector *a, const Vector *b, const uint64_t *wanted,
                     Vector *out) {
  const SimdKernels *k = simd_kernels();
  const double *x = a->values;
  double *to = out->own_values;
  out->values = to;
  evaluate_nulls(e, out, a, b);
  switch (node->function) {
  case FUNCTION_ADD: k->add_f64(x, b->values, e->count, to); return KVSTORE_OK;
  case FUNCTION_SUBTRACT: k->subtract_f64(x, b->values, e->count, to); return KVSTORE_OK;
  case FUNCTION_MULTIPLY: k->multiply_f64(x, b->values, e->count, to); return KVSTORE_OK;
  case FUNCTION_DIVIDE: k->divide_f64(x, b->values, e->count, to); return check_divisors(e, node, a, b, wanted, out);
  case FUNCTION_MODULO:
    for (uint32_t i = 0; i < e->count; i++) to[i] = fmod(x[i], ((const double *)b->values)[i]);
    return check_divisors(e, node, a, b, wanted, out);
  case FUNCTION_NEGATE:
    for (uint32_t i = 0; i < e->count; i++) to[i] = -x[i];
    return KVSTORE_OK;
  case FUNCTION_ABS:
    for (uint32_t i = 0; i < e->count; i++) to[i] = fabs(x[i]);
    return KVSTORE_OK;
  case FUNCTION_FLOOR:
    for (uint32_t i = 0; i < e->count; i++) to[i] = floor(x[i]);
    return KVSTORE_OK;
  case FUNCTION_CEIL:
    for (uint32_t i = 0; i < e->count; i++) to[i] = ceil(x[i]);
    return KVSTORE_OK;
  default: break;
  }
  double power = pow(10, node->digits < 0 ? -node->digits : node->digits);
  for (uint32_t i = 0; i < e->count; i++) {
    double scaled = node->digits < 0 ? x[i] / power : x[i] * power;
    double rounded = node->digits < 0 ? round(scaled) * power : round(scaled) / power;
    to[i] = isfinite(rounded) ? rounded : x[i]; /* so large that it has no such digits */
  }
  return KVSTORE_OK;
}

/* ---- rounding integers to tens, hundreds, ... ---- */

static Wide round_to(ExpressionFunction f, Wide x, Wide unit) {
  Wide half = x < 0 ? -(unit / 2) : unit / 2, whole = x / unit * unit;
  if (f == FUNCTION_FLOOR) return whole > x ? whole - unit : whole;
  if (f == FUNCTION_CEIL) return whole < x ? whole + unit : whole;
  return (x + half) / unit * unit;
}

static Status round_integers(Evaluator *e, const ProgramNode *node, const Vector *a, const uint64_t *wanted,
                             Vector *out) {
  Lane lane = lane_of(node->children[0]->type);
  Wide unit = 1;
  for (int d = node->digits; d < 0; d++) unit *= 10;
  out->values = out->own_values;
  evaluate_nulls(e, out, a, NULL);
  for (uint32_t i = 0; i < e->count; i++) {
    Wide x = wide_at(lane, a, i), result = round_to(node->function, x, unit);
    ((uint64_t *)out->own_values)[i] = (uint64_t)result;
    if (fits(node->type, result) || !wants_row(wanted, out->nulls, i)) continue;
    Value v = number_value(node->children[0]->type, x);
    TRY(no_result(e, node, i, out, &v, NULL, "does not fit"));
  }
  return KVSTORE_OK;
}

Status evaluate_number(Evaluator *e, const ProgramNode *node, const Vector *a, const Vector *b, const uint64_t *wanted,
                       Vector *out) {
  if (lane_of(node->type) == LANE_F64) return floats(e, node, a, b, wanted, out);
  if (node->digits < 0) return round_integers(e, node, a, wanted, out);
  return integers(e, node, a, b, wanted, out);
}
