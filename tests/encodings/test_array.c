/* Column arrays in memory answer as encoded chunks do. */
#include "encodings/array.h"

#include "tests/encodings/column_maker.h"

/* The entries in a block of exactly their length, so that a sanitizer sees a read past them. */
static void check_column(const MadeColumn *c, uint64_t *rng) {
  Value constants[CONSTANTS_MAX];
  Bytes memory[CONSTANTS_ROOM];
  Compare compare;
  uint64_t mask[BLOCK_WORDS], before[BLOCK_WORDS];
  uint32_t rows = c->input.row_count;
  compare_make(&compare, c, rng, constants, memory);
  for (unsigned i = 0; i < BLOCK_WORDS; i++) before[i] = mask[i] = test_random(rng) | test_random(rng);
  array_filter(&compare, c->values, c->input.nulls, rows, mask);
  for (uint32_t i = 0; i < BLOCK_ROWS; i++) {
    Value v = { .is_null = true };
    if (i < rows) v = column_value(c, i);
    CHECK_INT(bit_get(mask, i), i < rows && bit_get(before, i) && compare_value(&compare, &v));
  }
  AggregateState state, expected;
  aggregate_init(&state, c->input.type, AGGREGATE_SUM | AGGREGATE_MIN | AGGREGATE_MAX);
  aggregate_init(&expected, c->input.type, AGGREGATE_SUM | AGGREGATE_MIN | AGGREGATE_MAX);
  const uint64_t *given = test_random(rng) & 1 ? before : NULL;
  array_aggregate(c->input.type, c->values, c->input.nulls, rows, given, &state);
  for (uint32_t i = 0; i < rows; i++) {
    Value v = column_value(c, i);
    if (!given || bit_get(before, i)) aggregate_value(&expected, i, &v);
  }
  CHECK_INT(state.count, expected.count);
  CHECK(state.sum.low == expected.sum.low && state.sum.high == expected.sum.high);
  double a = aggregate_float_sum(&state), b = aggregate_float_sum(&expected);
  CHECK_BYTES(&a, &b, 8);
  Value low = aggregate_minimum(&state), low_expected = aggregate_minimum(&expected);
  Value high = aggregate_maximum(&state), high_expected = aggregate_maximum(&expected);
  CHECK_INT(value_compare(&low, &low_expected), 0);
  CHECK_INT(value_compare(&high, &high_expected), 0);
}

TEST(array, filters_and_aggregates_agree_with_single_values) {
  uint64_t rng = 31;
  for (uint64_t round = 0; round < test_scaled(60); round++) {
    for (unsigned type = 0; type < TYPES; type++) {
      for (int shape = 0; shape < SHAPES; shape++) {
        MadeColumn column;
        uint32_t rows = test_random(&rng) & 1 ? BLOCK_ROWS : 1 + (uint32_t)test_random_below(&rng, BLOCK_ROWS);
        column_make(&column, &rng, every_type[type], (Shape)shape, rows, test_random(&rng) % 3 ? 0 : 30);
        simd_force(random_table(&rng));
        check_column(&column, &rng);
        column_free(&column);
      }
    }
  }
  simd_force(NULL);
}
