/* Columns beside columns: every pair of types against a plain order of long doubles, arrays against single values, and
 * zones that must never say too much. */
#include "encodings/pair.h"

#include "tests/encodings/column_maker.h"

/* A long double holds every i64, u64, f64, and the microseconds of every date, exactly. */
static long double as_number(const Value *v) {
  if (type_is_float(v->type)) return (long double)v->f;
  if (v->type == TYPE_DATE) return (long double)v->i * 86400000000.0L;
  return v->type >= TYPE_U8 && v->type <= TYPE_U64 ? (long double)v->u : (long double)v->i;
}

/* Units of 10^-18. */
__extension__ typedef __int128 Units;
static Units as_units(const Value *v) {
  Units units = v->type >= TYPE_U8 && v->type <= TYPE_U64 ? (Units)v->u : (Units)v->i;
  for (unsigned s = type_scale(v->type); s < 18; s++) units *= 10;
  return units;
}

static int order_of(const Value *a, const Value *b) {
  if (type_is_decimal(a->type) || type_is_decimal(b->type)) {
    Units x = as_units(a), y = as_units(b);
    return (x > y) - (x < y);
  }
  if (type_is_string(a->type)) {
    size_t common = a->s.length < b->s.length ? a->s.length : b->s.length;
    int order = common ? memcmp(a->s.data, b->s.data, common) : 0;
    return order ? order : (a->s.length > b->s.length) - (a->s.length < b->s.length);
  }
  long double x = as_number(a), y = as_number(b);
  if (x != x || y != y) return (x != x) - (y != y);
  return (x > y) - (x < y);
}

static bool expected(CompareOperator op, const Value *a, const Value *b) {
  if (a->is_null || b->is_null) return false;
  int order = order_of(a, b);
  switch (op) {
  case COMPARE_EQUAL: return order == 0;
  case COMPARE_NOT_EQUAL: return order != 0;
  case COMPARE_LESS: return order < 0;
  case COMPARE_LESS_EQUAL: return order <= 0;
  case COMPARE_GREATER: return order > 0;
  default: return order >= 0;
  }
}

static PairZone zone_of(const MadeColumn *c) {
  PairZone zone = { INT64_MAX, INT64_MIN, 0 };
  for (uint32_t i = 0; i < c->input.row_count; i++) {
    if (column_value(c, i).is_null) {
      zone.null_count++;
      continue;
    }
    int64_t image = type_image(c->input.type, c->values, i);
    if (image < zone.minimum) zone.minimum = image;
    if (image > zone.maximum) zone.maximum = image;
  }
  return zone;
}

static uint64_t verdicts[3], kernels_true, kernels_false;

static void check_pair(const MadeColumn *a, const MadeColumn *b, CompareOperator op, uint64_t *rng) {
  ComparePair pair;
  uint64_t mask[BLOCK_WORDS], before[BLOCK_WORDS];
  uint32_t rows = a->input.row_count, matching = 0;
  CHECK_OK(pair_bind(a->input.type, op, b->input.type, &pair));
  for (unsigned i = 0; i < BLOCK_WORDS; i++) before[i] = mask[i] = test_random(rng) | test_random(rng);
  ColumnArray left = { a->values, a->input.nulls }, right = { b->values, b->input.nulls };
  simd_force(random_table(rng));
  pair_filter(&pair, left, right, rows, mask);
  for (uint32_t i = 0; i < BLOCK_ROWS; i++) {
    Value x = { .is_null = true }, y = { .is_null = true };
    if (i < rows) x = column_value(a, i), y = column_value(b, i);
    bool want = i < rows && expected(op, &x, &y);
    CHECK_INT(bit_get(mask, i), bit_get(before, i) && want);
    if (i < rows) CHECK_INT(pair_values(&pair, &x, &y), want);
    matching += want;
  }
  ZoneVerdict verdict = pair_zone(&pair, zone_of(a), zone_of(b), rows);
  if (verdict == ZONE_NONE) CHECK_INT(matching, 0);
  if (verdict == ZONE_ALL) CHECK_INT(matching, rows);
  verdicts[verdict]++;
  kernels_true += matching;
  kernels_false += rows - matching;
}

TEST(pair, every_two_types_compare_as_mathematics_does) {
  uint64_t rng = 41, pairs = 0;
  for (uint64_t round = 0; round < test_scaled(12); round++) {
    for (unsigned a = 0; a < TYPES; a++) {
      for (unsigned b = 0; b < TYPES; b++) {
        if (!pair_types_compare(every_type[a], every_type[b])) continue;
        bool decimals = type_is_decimal(every_type[a]) || type_is_decimal(every_type[b]);
        if (decimals && (type_is_float(every_type[a]) || type_is_float(every_type[b]))) continue; /* below, by hand */
        MadeColumn left, right;
        uint32_t rows = test_random(&rng) & 1 ? BLOCK_ROWS : 1 + (uint32_t)test_random_below(&rng, BLOCK_ROWS);
        column_make(&left, &rng, every_type[a], (Shape)test_random_below(&rng, SHAPES), rows,
                    test_random(&rng) % 3 ? 0 : 30);
        column_make(&right, &rng, every_type[b], (Shape)test_random_below(&rng, SHAPES), rows,
                    test_random(&rng) % 3 ? 0 : 30);
        if (test_random(&rng) % 3 == 0 && left.input.type == right.input.type) /* equal here and there */
          memcpy(right.values, left.values, type_array_width(left.input.type) * (1 + rows / 3));
        for (int op = COMPARE_EQUAL; op <= COMPARE_GREATER_EQUAL; op++)
          check_pair(&left, &right, (CompareOperator)op, &rng);
        column_free(&left);
        column_free(&right);
        pairs++;
      }
    }
  }
  simd_force(NULL);
  CHECK(pairs >= 114);
  CHECK(verdicts[ZONE_NONE] > pairs / 50 && verdicts[ZONE_ALL] > pairs / 50 && verdicts[ZONE_SOME] > pairs / 50);
  CHECK(kernels_true > kernels_false / 10 && kernels_false > kernels_true / 10);
}

TEST(pair, values_that_no_common_type_holds) {
  static const Value wild[] = {
    { .type = TYPE_I64, .i = INT64_MAX },
    { .type = TYPE_I64, .i = INT64_MIN },
    { .type = TYPE_I64, .i = INT64_C(9007199254740993) },
    { .type = TYPE_U64, .u = UINT64_MAX },
    { .type = TYPE_U64, .u = UINT64_C(1) << 63 },
    { .type = TYPE_F64, .f = 9007199254740992.0 },
    { .type = TYPE_F64, .f = 0x1p63 },
    { .type = TYPE_F64, .f = -0x1p63 },
    { .type = TYPE_F64, .f = 0x1p64 },
    { .type = TYPE_F64, .f = NAN },
    { .type = TYPE_F64, .f = -INFINITY },
    { .type = TYPE_F64, .f = 1e300 },
    { .type = TYPE_F64, .f = -0.5 },
    { .type = TYPE_I8, .i = -1 },
    { .type = TYPE_I8, .i = 0 },
    { .type = TYPE_F32, .f = -0.0 },
    { .type = TYPE_DATE, .i = INT32_MAX },
    { .type = TYPE_DATE, .i = INT32_MIN },
    { .type = TYPE_TIMESTAMP, .i = INT64_MAX },
    { .type = TYPE_TIMESTAMP, .i = -1 },
  };
  enum { COUNT = sizeof wild / sizeof *wild };
  for (unsigned a = 0; a < COUNT; a++) {
    for (unsigned b = 0; b < COUNT; b++) {
      if (!pair_types_compare(wild[a].type, wild[b].type)) continue;
      uint64_t left[BLOCK_ROWS] = { 0 }, right[BLOCK_ROWS] = { 0 };
      for (uint32_t row = 0; row < 9; row++) {
        value_to_array(&wild[a], left, row);
        value_to_array(&wild[b], right, row);
      }
      for (int op = COMPARE_EQUAL; op <= COMPARE_GREATER_EQUAL; op++) {
        ComparePair pair;
        CHECK_OK(pair_bind(wild[a].type, (CompareOperator)op, wild[b].type, &pair));
        uint64_t mask[BLOCK_WORDS] = { 0x1ff };
        pair_filter(&pair, (ColumnArray){ left, NULL }, (ColumnArray){ right, NULL }, 9, mask);
        bool want = expected((CompareOperator)op, &wild[a], &wild[b]);
        CHECK_INT(mask[0], want ? 0x1ff : 0);
      }
    }
  }
}

TEST(pair, types_that_do_not_compare_are_refused) {
  ComparePair pair;
  CHECK_STATUS(pair_bind(TYPE_STRING, COMPARE_EQUAL, TYPE_I64, &pair), KVSTORE_TYPE);
  CHECK_STATUS(pair_bind(TYPE_DATE, COMPARE_EQUAL, TYPE_I64, &pair), KVSTORE_TYPE);
  CHECK_STATUS(pair_bind(TYPE_BOOL, COMPARE_LESS, TYPE_U8, &pair), KVSTORE_TYPE);
  CHECK_STATUS(pair_bind(TYPE_I64, COMPARE_BETWEEN, TYPE_I64, &pair), KVSTORE_ERROR);
}

/* The order of decimals beside doubles, by hand: 0.1 as a double is 0.1000000000000000055, 0.3 is
 * 0.29999999999999998890; 2^53 + 1 is no double, and 2^60 is one. */
TEST(pair, decimals_beside_floats_are_exact) {
  static const struct {
    int64_t units;
    unsigned scale;
    double f;
    int order;
  } cases[] = { { 1, 1, 0.1, -1 },
                { -1, 1, -0.1, 1 },
                { 3, 1, 0.3, 1 },
                { 5, 1, 0.5, 0 },
                { -25, 2, -0.25, 0 },
                { 0, 2, -0.0, 0 },
                { 0, 18, 5e-324, -1 },
                { 0, 0, -5e-324, 1 },
                { INT64_C(9007199254740993), 0, 9007199254740992.0, 1 },
                { INT64_C(900719925474099300), 2, 9007199254740992.0, 1 },
                { INT64_C(999999999999999999), 0, 1e18, -1 },
                { INT64_C(999999999999999999), 18, 1.0, -1 },
                { INT64_C(-999999999999999999), 0, -1e300, 1 },
                { 12, 0, INFINITY, -1 },
                { 12, 5, -INFINITY, 1 },
                { 12, 5, NAN, -1 } };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    Value decimal = { .type = type_decimal(cases[i].scale), .i = cases[i].units };
    Value number = { .type = TYPE_F64, .f = cases[i].f };
    int want = cases[i].order, order = pair_order(&decimal, &number), back = pair_order(&number, &decimal);
    CHECK_INT((order > 0) - (order < 0), want);
    CHECK_INT((back > 0) - (back < 0), -want);
  }
}
