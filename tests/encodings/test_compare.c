/* Comparisons of mathematical values: bound comparisons against exact arithmetic on pairs of every two numeric types.
 */
#include "encodings/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/test.h"

/* ---- an independent order of numbers: NaN above everything; integers and doubles compared exactly ---- */

static int order_of_int_and_double(__int128 i, double d) {
  if (d != d || d >= 0x1p100) return -1;
  if (d <= -0x1p100) return 1;
  double whole = floor(d);
  __int128 w = (__int128)whole;
  if (i != w) return i < w ? -1 : 1;
  return d > whole ? -1 : 0;
}
static int order_of_doubles(double a, double b) {
  if (a != a || b != b) return (a != a) - (b != b);
  return (a > b) - (a < b);
}
static __int128 as_int(const Value *v) {
  return v->type >= TYPE_U8 && v->type <= TYPE_U64 ? (__int128)v->u : (__int128)v->i;
}
static int order_of_numbers(const Value *a, const Value *b) {
  bool fa = type_is_float(a->type), fb = type_is_float(b->type);
  if (fa && fb) return order_of_doubles(a->f, b->f);
  if (fa) return -order_of_int_and_double(as_int(b), a->f);
  if (fb) return order_of_int_and_double(as_int(a), b->f);
  return (as_int(a) > as_int(b)) - (as_int(a) < as_int(b));
}

static bool verdict(CompareOperator op, int order) {
  switch (op) {
  case COMPARE_EQUAL: return order == 0;
  case COMPARE_NOT_EQUAL: return order != 0;
  case COMPARE_LESS: return order < 0;
  case COMPARE_LESS_EQUAL: return order <= 0;
  case COMPARE_GREATER: return order > 0;
  default: return order >= 0;
  }
}

static const ColumnType numbers[] = { TYPE_I8,  TYPE_I16, TYPE_I32, TYPE_I64, TYPE_U8,
                                      TYPE_U16, TYPE_U32, TYPE_U64, TYPE_F32, TYPE_F64 };
enum { NUMBERS = sizeof numbers / sizeof *numbers };

/* A number of this type near an edge of some type. */
static Value number_near_an_edge(uint64_t *rng, ColumnType type) {
  static const double edges[] = { 0,
                                  0.5,
                                  -0.5,
                                  127,
                                  128,
                                  255,
                                  256,
                                  -128,
                                  -129,
                                  32767.5,
                                  65535,
                                  2147483647,
                                  2147483648.0,
                                  4294967295.0,
                                  9007199254740992.0,
                                  9007199254740994.0,
                                  9223372036854775808.0,
                                  -9223372036854775808.0,
                                  18446744073709551616.0,
                                  1e300,
                                  -1e300,
                                  5e-324,
                                  INFINITY,
                                  -INFINITY,
                                  NAN,
                                  -0.0,
                                  0.1 };
  uint64_t r = test_random(rng);
  double edge = edges[r % (sizeof edges / sizeof *edges)];
  int64_t nudge = (int64_t)(r >> 32) % 3 - 1;
  uint8_t bytes[8];
  if (type == TYPE_F64) return (Value){ .type = type, .f = edge + (r & 1024 ? (double)nudge : 0) };
  if (type == TYPE_F32) return (Value){ .type = type, .f = (double)(float)(edge + (double)nudge) };
  uint64_t whole = edge > -9e18 && edge < 9e18 ? (uint64_t)(int64_t)edge : r & 2048 ? UINT64_C(1) << 63 : UINT64_MAX;
  whole += (uint64_t)nudge;
  memcpy(bytes, &whole, 8);
  return value_from_array(type, bytes, 0);
}

TEST(compare, numbers_of_any_two_types_compare_as_mathematics_does) {
  uint64_t rng = 1;
  for (uint64_t round = 0; round < test_scaled(400000); round++) {
    ColumnType column = numbers[test_random_below(&rng, NUMBERS)];
    CompareOperator op = (CompareOperator)test_random_below(&rng, COMPARE_GREATER_EQUAL + 1);
    Value constant = number_near_an_edge(&rng, numbers[test_random_below(&rng, NUMBERS)]);
    Value value = number_near_an_edge(&rng, column);
    Compare compare;
    CHECK_OK(compare_bind(column, op, &constant, 1, NULL, &compare));
    CHECK_INT(compare_value(&compare, &value), verdict(op, order_of_numbers(&value, &constant)));
  }
}

TEST(compare, between_and_in_of_any_types) {
  uint64_t rng = 2;
  for (uint64_t round = 0; round < test_scaled(100000); round++) {
    ColumnType column = numbers[test_random_below(&rng, NUMBERS)];
    Value c[9], value = number_near_an_edge(&rng, column);
    int64_t memory[64];
    bool is_in = false;
    for (int i = 0; i < 9; i++) {
      c[i] = number_near_an_edge(&rng, numbers[test_random_below(&rng, NUMBERS)]);
      is_in |= order_of_numbers(&value, &c[i]) == 0;
    }
    bool between = order_of_numbers(&value, &c[0]) >= 0 && order_of_numbers(&value, &c[1]) <= 0;
    Compare compare;
    CHECK_OK(compare_bind(column, COMPARE_BETWEEN, c, 2, NULL, &compare));
    CHECK_INT(compare_value(&compare, &value), between);
    CHECK_OK(compare_bind(column, COMPARE_NOT_BETWEEN, c, 2, NULL, &compare));
    CHECK_INT(compare_value(&compare, &value), !between);
    CHECK(compare_bind_bound(column, COMPARE_IN, 9) <= sizeof memory);
    CHECK_OK(compare_bind(column, COMPARE_IN, c, 9, memory, &compare));
    CHECK_INT(compare_value(&compare, &value), is_in);
    CHECK_OK(compare_bind(column, COMPARE_NOT_IN, c, 9, memory, &compare));
    CHECK_INT(compare_value(&compare, &value), !is_in);
  }
}

/* ---- lists ---- */

enum { LIST_MOST = 700 };

static Value list_member(uint64_t *rng, ColumnType type, unsigned spread, char text[8]) {
  uint64_t r = test_random(rng);
  Value v = { .type = type };
  if (type == TYPE_STRING) {
    size_t length = r % 6;
    for (size_t i = 0; i < length; i++) text[i] = (char)('a' + (r >> (8 + 4 * i)) % (spread < 60 ? 2 : 16));
    v.s = (Bytes){ (const uint8_t *)text, length };
    return v;
  }
  bool at_an_end = r % 50 == 0;
  v.u = at_an_end ? (r & 64 ? UINT64_C(1) << 63 : UINT64_MAX >> 1) : test_random(rng) >> (64 - spread);
  if (type == TYPE_F64) v.f = (double)(int64_t)v.u / 4;
  return v;
}

static bool is_member(const Value *value, const Value *list, size_t count) {
  for (size_t i = 0; i < count; i++) {
    bool same = value->type == TYPE_STRING
                  ? value->s.length == list[i].s.length &&
                      (!value->s.length || !memcmp(value->s.data, list[i].s.data, value->s.length))
                  : order_of_numbers(value, &list[i]) == 0;
    if (same) return true;
  }
  return false;
}

/* Of members on either side of what is searched, close together and far apart. */
static void check_list(uint64_t *rng, ColumnType type, unsigned spread, size_t count) {
  static char texts[LIST_MOST][8];
  static Value list[LIST_MOST];
  char text[8];
  Compare in, not_in;
  int64_t low = INT64_MAX, high = INT64_MIN;
  for (size_t i = 0; i < count; i++) {
    list[i] = list_member(rng, type, spread, texts[i]);
    int64_t image = type == TYPE_STRING ? bytes_image(list[i].s)
                    : type == TYPE_F64  ? float_image(list[i].f)
                                        : list[i].i;
    if (image < low) low = image;
    if (image > high) high = image;
  }
  void *memory = malloc(compare_bind_bound(type, COMPARE_IN, count));
  CHECK_OK(compare_bind(type, COMPARE_IN, list, count, memory, &in));
  for (int i = 0; i < 300; i++) {
    Value v = i % 3 ? list_member(rng, type, spread, text) : list[test_random_below(rng, count)];
    CHECK_INT(compare_value(&in, &v), is_member(&v, list, count));
  }
  if (high < INT64_MAX) CHECK_INT(compare_zone(&in, high + 1, INT64_MAX, 0, 9), ZONE_NONE);
  if (low > INT64_MIN) CHECK_INT(compare_zone(&in, INT64_MIN, low - 1, 0, 9), ZONE_NONE);
  CHECK(compare_zone(&in, high, high, 0, 9) != ZONE_NONE && compare_zone(&in, low, low, 0, 9) != ZONE_NONE);
  CHECK_OK(compare_bind(type, COMPARE_NOT_IN, list, count, memory, &not_in));
  for (int i = 0; i < 100; i++) {
    Value v = list_member(rng, type, spread, text);
    CHECK_INT(compare_value(&not_in, &v), !is_member(&v, list, count));
  }
  free(memory);
}

TEST(compare, long_lists_find_what_short_ones_do) {
  static const ColumnType types[] = { TYPE_I64, TYPE_F64, TYPE_STRING };
  static const unsigned spreads[] = { 7, 11, 14, 40, 64 };
  static const size_t counts[] = { 7, 8, 9, 100, LIST_MOST };
  uint64_t rng = 7;
  for (int t = 0; t < 3; t++) {
    for (int s = 0; s < 5; s++) {
      for (int c = 0; c < 5; c++) check_list(&rng, types[t], spreads[s], counts[c]);
    }
  }
}

static Compare bound(ColumnType type, CompareOperator op, Value constant) {
  Compare c;
  CHECK_OK(compare_bind(type, op, &constant, 1, NULL, &c));
  return c;
}

TEST(compare, constants_outside_the_domain_are_decided_before) {
  Value half = { .type = TYPE_F64, .f = 2.5 }, huge = { .type = TYPE_F64, .f = 1e300 },
        u = { .type = TYPE_U64, .u = UINT64_MAX };
  Value nan = { .type = TYPE_F64, .f = NAN }, low = { .type = TYPE_I64, .i = -129 };
  Compare c = bound(TYPE_I32, COMPARE_GREATER, half);
  CHECK_INT(c.kind, COMPARE_KIND_RANGE);
  CHECK_INT(c.low, 3);
  CHECK_INT(c.high, INT32_MAX);
  CHECK_INT(bound(TYPE_I32, COMPARE_EQUAL, half).kind, COMPARE_KIND_NONE);
  CHECK_INT(bound(TYPE_I32, COMPARE_NOT_EQUAL, half).kind, COMPARE_KIND_NOT_NULL);
  CHECK_INT(bound(TYPE_I64, COMPARE_LESS, huge).kind, COMPARE_KIND_NOT_NULL);
  CHECK_INT(bound(TYPE_I64, COMPARE_GREATER_EQUAL, u).kind, COMPARE_KIND_NONE);
  CHECK_INT(bound(TYPE_I8, COMPARE_GREATER, low).kind, COMPARE_KIND_NOT_NULL);
  CHECK_INT(bound(TYPE_I64, COMPARE_LESS, nan).kind, COMPARE_KIND_NOT_NULL);
  CHECK_INT(bound(TYPE_F64, COMPARE_LESS_EQUAL, nan).kind, COMPARE_KIND_NOT_NULL);
}

TEST(compare, zeros_are_equal_and_nans_are_one_value_above_infinity) {
  Value zero = { .type = TYPE_F64, .f = 0.0 }, minus_zero = { .type = TYPE_F64, .f = -0.0 },
        nan = { .type = TYPE_F64, .f = NAN };
  Value infinity = { .type = TYPE_F64, .f = INFINITY }, other_nan = { .type = TYPE_F64, .f = -NAN };
  Compare c = bound(TYPE_F64, COMPARE_EQUAL, minus_zero);
  CHECK(compare_value(&c, &zero));
  c = bound(TYPE_F32, COMPARE_EQUAL, nan);
  CHECK(compare_value(&c, &other_nan) && !compare_value(&c, &infinity));
  c = bound(TYPE_F64, COMPARE_GREATER, infinity);
  CHECK(compare_value(&c, &nan) && !compare_value(&c, &infinity));
}

TEST(compare, nulls_match_nothing_but_is_null) {
  Value null = { .type = TYPE_NONE, .is_null = true }, one = { .type = TYPE_I64, .i = 1 },
        nine = { .type = TYPE_I64, .i = 9 };
  Compare c;
  int64_t memory[3];
  for (int op = COMPARE_EQUAL; op <= COMPARE_GREATER_EQUAL; op++) {
    CHECK_INT(bound(TYPE_I64, (CompareOperator)op, null).kind, COMPARE_KIND_NONE);
    c = bound(TYPE_I64, (CompareOperator)op, one);
    CHECK(!compare_value(&c, &null));
  }
  CHECK_OK(compare_bind(TYPE_I64, COMPARE_IS_NULL, NULL, 0, NULL, &c));
  CHECK(compare_value(&c, &null) && !compare_value(&c, &one));
  CHECK_OK(compare_bind(TYPE_I64, COMPARE_IS_NOT_NULL, NULL, 0, NULL, &c));
  CHECK(!compare_value(&c, &null) && compare_value(&c, &one));
  Value list[] = { one, null }, ends[] = { null, one };
  CHECK_OK(compare_bind(TYPE_I64, COMPARE_IN, list, 2, memory, &c));
  CHECK(compare_value(&c, &one) && !compare_value(&c, &nine));
  CHECK_OK(compare_bind(TYPE_I64, COMPARE_NOT_IN, list, 2, memory, &c));
  CHECK(!compare_value(&c, &one) && !compare_value(&c, &nine));
  CHECK_OK(compare_bind(TYPE_I64, COMPARE_NOT_BETWEEN, ends, 2, NULL, &c)); /* not (x >= null and x <= 1): x > 1 */
  CHECK(compare_value(&c, &nine) && !compare_value(&c, &one));
  CHECK_OK(compare_bind(TYPE_I64, COMPARE_BETWEEN, ends, 2, NULL, &c));
  CHECK(!compare_value(&c, &nine) && !compare_value(&c, &one));
}

TEST(compare, dates_and_timestamps) {
  const int64_t day = INT64_C(86400000000);
  Value noon = { .type = TYPE_TIMESTAMP, .i = 3 * day + day / 2 }, before = { .type = TYPE_TIMESTAMP, .i = -1 };
  Value third = { .type = TYPE_DATE, .i = 3 }, fourth = { .type = TYPE_DATE, .i = 4 },
        minus = { .type = TYPE_DATE, .i = -1 };
  Compare c = bound(TYPE_DATE, COMPARE_GREATER, noon);
  CHECK(compare_value(&c, &fourth) && !compare_value(&c, &third));
  c = bound(TYPE_DATE, COMPARE_LESS_EQUAL, before);
  CHECK(compare_value(&c, &minus) && !compare_value(&c, &third));
  CHECK_INT(bound(TYPE_DATE, COMPARE_EQUAL, noon).kind, COMPARE_KIND_NONE);
  c = bound(TYPE_TIMESTAMP, COMPARE_GREATER_EQUAL, third);
  CHECK(compare_value(&c, &noon) && !compare_value(&c, &before));
}

/* ---- strings ---- */

static Bytes random_text(uint64_t *rng, char *buffer) {
  size_t length = test_random_below(rng, 12);
  for (size_t i = 0; i < length; i++) buffer[i] = i < 7 && test_random(rng) % 8 ? 'a' : (char)test_random_below(rng, 3);
  if (test_random(rng) % 9 == 0) memset(buffer, 0xff, length);
  return (Bytes){ (const uint8_t *)buffer, length };
}
static bool begins_with(Bytes v, Bytes p) { return v.length >= p.length && memcmp(v.data, p.data, p.length) == 0; }

TEST(compare, strings_compare_by_bytes_and_their_zones_are_sound) {
  uint64_t rng = 5;
  unsigned certain = 0, excluded = 0;
  for (uint64_t round = 0; round < test_scaled(100000); round++) {
    char buffers[12][12];
    Bytes values[10];
    Value a = { .type = TYPE_BYTES, .s = random_text(&rng, buffers[10]) };
    CompareOperator op = (CompareOperator)test_random_below(&rng, COMPARE_GREATER_EQUAL + 3);
    if (op > COMPARE_GREATER_EQUAL) op = op == COMPARE_GREATER_EQUAL + 1 ? COMPARE_PREFIX : COMPARE_NOT_PREFIX;
    Compare c = bound(TYPE_BYTES, op, a);
    int64_t low = INT64_MAX, high = INT64_MIN;
    unsigned matches = 0;
    size_t count = 1 + test_random_below(&rng, 4);
    for (size_t i = 0; i < count; i++) {
      values[i] = random_text(&rng, buffers[i]);
      int64_t image = bytes_image(values[i]);
      if (image < low) low = image;
      if (image > high) high = image;
      Value v = { .type = TYPE_BYTES, .s = values[i] };
      bool want = op == COMPARE_PREFIX ? begins_with(values[i], a.s)
                  : op == COMPARE_NOT_PREFIX
                    ? !begins_with(values[i], a.s)
                    : verdict(op, bytes_compare(values[i].data, values[i].length, a.s.data, a.s.length));
      CHECK_INT(compare_value(&c, &v), want);
      matches += want;
    }
    ZoneVerdict zone = compare_zone(&c, low, high, 0, (uint32_t)count);
    if (zone == ZONE_NONE) CHECK_INT(matches, 0);
    if (zone == ZONE_ALL) CHECK_INT(matches, count);
    CHECK(compare_zone(&c, low, high, 1, (uint32_t)count + 1) != ZONE_ALL);
    certain += zone == ZONE_ALL;
    excluded += zone == ZONE_NONE;
  }
  CHECK(certain > 100 && excluded > 100);
}

TEST(compare, zones_of_numbers) {
  Value five = { .type = TYPE_I64, .i = 5 },
        members[] = { { .type = TYPE_I64, .i = 1 }, { .type = TYPE_I64, .i = 2 }, { .type = TYPE_I64, .i = 9 } };
  int64_t memory[3];
  Compare c = bound(TYPE_I64, COMPARE_LESS, five), set;
  CHECK_INT(compare_zone(&c, 5, 9, 0, 3), ZONE_NONE);
  CHECK_INT(compare_zone(&c, 4, 9, 0, 3), ZONE_SOME);
  CHECK_INT(compare_zone(&c, 1, 4, 0, 3), ZONE_ALL);
  CHECK_INT(compare_zone(&c, 1, 4, 1, 3), ZONE_SOME);
  CHECK_INT(compare_zone(&c, INT64_MAX, INT64_MIN, 3, 3), ZONE_NONE);
  c = bound(TYPE_I64, COMPARE_NOT_EQUAL, five);
  CHECK_INT(compare_zone(&c, 5, 5, 0, 3), ZONE_NONE);
  CHECK_INT(compare_zone(&c, 6, 8, 0, 3), ZONE_ALL);
  CHECK_INT(compare_zone(&c, 4, 8, 0, 3), ZONE_SOME);
  CHECK_OK(compare_bind(TYPE_I64, COMPARE_IN, members, 3, memory, &set));
  CHECK_INT(compare_zone(&set, 3, 8, 0, 3), ZONE_NONE);
  CHECK_INT(compare_zone(&set, 1, 2, 0, 3), ZONE_ALL);
  CHECK_INT(compare_zone(&set, 1, 3, 0, 3), ZONE_SOME);
  CHECK_OK(compare_bind(TYPE_I64, COMPARE_IS_NULL, NULL, 0, NULL, &c));
  CHECK_INT(compare_zone(&c, 1, 2, 0, 3), ZONE_NONE);
  CHECK_INT(compare_zone(&c, 1, 2, 1, 3), ZONE_SOME);
  CHECK_INT(compare_zone(&c, INT64_MAX, INT64_MIN, 3, 3), ZONE_ALL);
}

/* `x & mask` as the mathematical value of a number of the column's kind. */
static bool bits_of(ColumnType type, const Value *x, const Value *mask, const Value *wanted) {
  bool is_unsigned = type >= TYPE_U8 && type <= TYPE_U64;
  uint64_t kept = x->u & mask->u;
  long double result = is_unsigned ? (long double)kept : (long double)(int64_t)kept;
  return result == (wanted->type == TYPE_U64 ? (long double)wanted->u : (long double)wanted->i);
}

TEST(compare, bits_of_every_integer_type) {
  static const ColumnType types[] = { TYPE_I8, TYPE_I16, TYPE_I32, TYPE_I64, TYPE_U8, TYPE_U16, TYPE_U32, TYPE_U64 };
  static const int64_t masks[] = {
    0, 1, 2, 6, 127, 128, 255, 256, 384, 65535, -1, -2, -128, -256, INT64_MIN, INT64_MAX
  };
  enum { MASKS = sizeof masks / sizeof *masks };
  uint64_t yes = 0, no = 0;
  for (unsigned t = 0; t < 8; t++) {
    for (unsigned i = 0; i < MASKS * MASKS * MASKS; i++) {
      uint64_t natural[1] = { (uint64_t)masks[i % MASKS] };
      Value x = value_from_array(types[t], natural, 0);
      Value c[] = { { .type = i & 1 ? TYPE_U64 : TYPE_I64, .i = masks[i / MASKS % MASKS] },
                    { .type = i & 2 ? TYPE_U64 : TYPE_I64, .i = masks[i / MASKS / MASKS] } };
      Compare compare;
      bool want = bits_of(types[t], &x, &c[0], &c[1]);
      CHECK_OK(compare_bind(types[t], COMPARE_BITS, c, 2, NULL, &compare));
      CHECK_INT(compare_value(&compare, &x), want);
      CHECK_OK(compare_bind(types[t], COMPARE_NOT_BITS, c, 2, NULL, &compare));
      CHECK_INT(compare_value(&compare, &x), !want);
      yes += want;
      no += !want;
    }
  }
  CHECK(yes > 1000 && no > 1000);
  Value one = { .type = TYPE_I64, .i = 1 }, half = { .type = TYPE_F64, .f = 0.5 }, none = { .is_null = true };
  Value halves[] = { one, half }, nulls[] = { one, none };
  Compare compare;
  CHECK_STATUS(compare_bind(TYPE_I64, COMPARE_BITS, halves, 2, NULL, &compare), KVSTORE_TYPE);
  CHECK_STATUS(compare_bind(TYPE_F64, COMPARE_BITS, nulls, 2, NULL, &compare), KVSTORE_TYPE);
  CHECK_OK(compare_bind(TYPE_I64, COMPARE_NOT_BITS, nulls, 2, NULL, &compare));
  CHECK_INT(compare.kind, COMPARE_KIND_NONE);
}

TEST(compare, wrong_constants_are_refused) {
  Value number = { .type = TYPE_I64, .i = 1 }, text = { .type = TYPE_STRING, .s = { (const uint8_t *)"x", 1 } },
        flag = { .type = TYPE_BOOL, .i = 1 };
  Compare c;
  CHECK_STATUS(compare_bind(TYPE_STRING, COMPARE_EQUAL, &number, 1, NULL, &c), KVSTORE_TYPE);
  CHECK_STATUS(compare_bind(TYPE_I64, COMPARE_EQUAL, &text, 1, NULL, &c), KVSTORE_TYPE);
  CHECK_STATUS(compare_bind(TYPE_I64, COMPARE_EQUAL, &flag, 1, NULL, &c), KVSTORE_TYPE);
  CHECK_STATUS(compare_bind(TYPE_DATE, COMPARE_LESS, &number, 1, NULL, &c), KVSTORE_TYPE);
  CHECK_STATUS(compare_bind(TYPE_I64, COMPARE_PREFIX, &number, 1, NULL, &c), KVSTORE_TYPE);
  CHECK_STATUS(compare_bind(TYPE_I64, COMPARE_BETWEEN, &number, 1, NULL, &c), KVSTORE_ERROR);
  CHECK_STATUS(compare_bind(TYPE_I64, COMPARE_IS_NULL, &number, 1, NULL, &c), KVSTORE_ERROR);
  CHECK_OK(compare_bind(TYPE_BOOL, COMPARE_NOT_EQUAL, &flag, 1, NULL, &c));
  CHECK(!compare_value(&c, &flag));
}

/* ---- decimals ---- */

typedef struct DecimalCase {
  ColumnType column;
  CompareOperator op;
  Value constant;
  CompareKind kind;
  int64_t low, high; /* of a range */
} DecimalCase;

#define DECIMALS INT64_C(1000000000000000000)
#define MONEY    (ColumnType)(TYPE_DECIMAL + 2)
#define F64(x) \
  { .type = TYPE_F64, .f = (x) }
#define DEC(u, s) \
  { .type = (ColumnType)(TYPE_DECIMAL + (s)), .i = (u) }

TEST(compare, constants_are_mapped_into_the_units_of_a_decimal) {
  static const DecimalCase cases[] = {
    { MONEY, COMPARE_GREATER, DEC(1234, 2), COMPARE_KIND_RANGE, 1235, DECIMALS - 1 },
    { MONEY, COMPARE_GREATER, DEC(12345, 3), COMPARE_KIND_RANGE, 1235, DECIMALS - 1 },
    { MONEY, COMPARE_GREATER_EQUAL, DEC(-12345, 3), COMPARE_KIND_RANGE, -1234, DECIMALS - 1 },
    { MONEY, COMPARE_LESS, DEC(-12345, 3), COMPARE_KIND_RANGE, 1 - DECIMALS, -1235 },
    { MONEY, COMPARE_EQUAL, DEC(12345, 3), COMPARE_KIND_NONE, 0, 0 },
    { MONEY, COMPARE_NOT_EQUAL, DEC(12345, 3), COMPARE_KIND_NOT_NULL, 0, 0 },
    { MONEY, COMPARE_EQUAL, DEC(125, 1), COMPARE_KIND_RANGE, 1250, 1250 },
    { MONEY, COMPARE_EQUAL, { .type = TYPE_I64, .i = -3 }, COMPARE_KIND_RANGE, -300, -300 },
    { MONEY, COMPARE_LESS, { .type = TYPE_U64, .u = UINT64_MAX }, COMPARE_KIND_NOT_NULL, 0, 0 },
    { MONEY, COMPARE_GREATER, { .type = TYPE_I64, .i = INT64_MAX }, COMPARE_KIND_NONE, 0, 0 },
    { MONEY, COMPARE_EQUAL, F64(0.1), COMPARE_KIND_NONE, 0, 0 }, /* a double that is a little more */
    { MONEY, COMPARE_GREATER_EQUAL, F64(0.1), COMPARE_KIND_RANGE, 11, DECIMALS - 1 },
    { MONEY, COMPARE_LESS_EQUAL, F64(0.1), COMPARE_KIND_RANGE, 1 - DECIMALS, 10 },
    { MONEY, COMPARE_EQUAL, F64(0.25), COMPARE_KIND_RANGE, 25, 25 },
    { MONEY,
      COMPARE_EQUAL,
      { .type = TYPE_F64, .exactly = TYPE_DECIMAL + 1, .written = { 0.1, 1 } },
      COMPARE_KIND_RANGE,
      10,
      10 }, /* 0.1 as it was written */
    { MONEY, COMPARE_LESS, F64(NAN), COMPARE_KIND_NOT_NULL, 0, 0 },
    { MONEY, COMPARE_GREATER, F64(-INFINITY), COMPARE_KIND_NOT_NULL, 0, 0 },
    { TYPE_I32, COMPARE_GREATER, DEC(25, 1), COMPARE_KIND_RANGE, 3, INT32_MAX },
    { TYPE_I32, COMPARE_LESS_EQUAL, DEC(-25, 1), COMPARE_KIND_RANGE, INT32_MIN, -3 },
    { TYPE_U8, COMPARE_EQUAL, DEC(700, 2), COMPARE_KIND_RANGE, 7, 7 },
    { TYPE_DECIMAL_LAST, COMPARE_LESS, { .type = TYPE_I64, .i = 1 }, COMPARE_KIND_NOT_NULL, 0, 0 },
    { TYPE_DECIMAL_LAST, COMPARE_EQUAL, { .type = TYPE_I64, .i = 0 }, COMPARE_KIND_RANGE, 0, 0 },
    { TYPE_TIME, COMPARE_GREATER_EQUAL, { .type = TYPE_TIME, .i = 5 }, COMPARE_KIND_RANGE, 5, INT64_C(86399999999) },
    { TYPE_TIME, COMPARE_GREATER_EQUAL, { .type = TYPE_TIME, .i = 0 }, COMPARE_KIND_NOT_NULL, 0, 0 },
    { TYPE_DURATION, COMPARE_LESS, { .type = TYPE_DURATION, .i = -5 }, COMPARE_KIND_RANGE, INT64_MIN, -6 },
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    Compare c = bound(cases[i].column, cases[i].op, cases[i].constant);
    if (c.kind != cases[i].kind) test_fail_(__FILE__, __LINE__, "kind", "case %zu: %d", i, (int)c.kind);
    if (c.kind != COMPARE_KIND_RANGE) continue;
    CHECK_INT(c.low, cases[i].low);
    CHECK_INT(c.high, cases[i].high);
  }
}

/* 0.1 is between 0.09999999999999999167 and 0.1000000000000000055, which are neighbours. */
TEST(compare, decimals_beside_a_column_of_floats) {
  Value below = F64(0x1.9999999999999p-4), above = F64(0x1.999999999999ap-4), half = F64(0.5);
  Compare c = bound(TYPE_F64, COMPARE_LESS, (Value)DEC(1, 1));
  CHECK(compare_value(&c, &below) && !compare_value(&c, &above));
  c = bound(TYPE_F64, COMPARE_GREATER_EQUAL, (Value)DEC(100, 3));
  CHECK(!compare_value(&c, &below) && compare_value(&c, &above));
  CHECK_INT(bound(TYPE_F64, COMPARE_EQUAL, (Value)DEC(1, 1)).kind, COMPARE_KIND_NONE);
  c = bound(TYPE_F32, COMPARE_EQUAL, (Value)DEC(5000, 4));
  CHECK(compare_value(&c, &half) && !compare_value(&c, &above));
  c = bound(TYPE_F64, COMPARE_LESS, (Value)DEC(DECIMALS - 1, 0));
  Value limit = F64(1e18), before = F64(999999999999999872.0);
  CHECK(compare_value(&c, &before) && !compare_value(&c, &limit));
}

TEST(compare, what_of_the_new_types_does_not_compare) {
  uint8_t id[16] = { 1 };
  Value number = { .type = TYPE_I64, .i = 1 }, text = { .type = TYPE_STRING, .s = { id, 16 } };
  Value bytes = { .type = TYPE_BYTES, .s = { id, 16 } }, noon = { .type = TYPE_TIME, .i = 1 };
  Compare c;
  CHECK_STATUS(compare_bind(TYPE_TIME, COMPARE_LESS, &number, 1, NULL, &c), KVSTORE_TYPE);
  CHECK_STATUS(compare_bind(TYPE_DURATION, COMPARE_LESS, &noon, 1, NULL, &c), KVSTORE_TYPE);
  CHECK_STATUS(compare_bind(TYPE_TIMESTAMP, COMPARE_LESS, &noon, 1, NULL, &c), KVSTORE_TYPE);
  CHECK_STATUS(compare_bind(TYPE_UUID, COMPARE_EQUAL, &text, 1, NULL, &c), KVSTORE_TYPE);
  CHECK_OK(compare_bind(TYPE_UUID, COMPARE_EQUAL, &bytes, 1, NULL, &c));
  Value own = { .type = TYPE_UUID, .s = { id, 16 } };
  CHECK(compare_value(&c, &own));
}
