/* Spreads of numbers: blocks against two passes in long doubles, the same bits with every table of kernels. */
#include <math.h>

#include "query/group_state.h"
#include "tests/simd/every_table.h"
#include "tests/support/test.h"

enum { BLOCKS = 5 };

static double number_of(uint64_t *rng, int style) {
  double x = (double)(int64_t)(test_random(rng) >> 20) / 1e6;
  return style == 0 ? x : style == 1 ? 1e9 + x / 1e6 : -x;
}

/* count - 1 times the variance. */
static long double squares_of(const double *values, uint32_t count) {
  long double mean = 0, squares = 0;
  for (uint32_t i = 0; i < count; i++) mean += (long double)values[i] / count;
  for (uint32_t i = 0; i < count; i++) squares += (values[i] - mean) * (values[i] - mean);
  return squares;
}

static void check_blocks(const SimdKernels *k, uint64_t *rng) {
  static const uint32_t counts[] = { 1, 2, 7, 64, 1000, 1023, 1024 };
  static double values[BLOCKS * BLOCK_ROWS];
  simd_force(k);
  for (int style = 0; style < 3; style++) {
    Spread s = { 0 };
    uint32_t total = 0;
    for (int block = 0; block < BLOCKS; block++) {
      double room[BLOCK_ROWS];
      uint32_t count = counts[test_random_below(rng, 7)];
      for (uint32_t i = 0; i < BLOCK_ROWS; i++) room[i] = i < count ? number_of(rng, style) : NAN;
      memcpy(values + total, room, count * sizeof *values);
      total += count;
      spread_add_block(&s, room, count);
    }
    long double expected = squares_of(values, total);
    CHECK(s.count == total);
    /* An average of 1e9 is rounded to 1e-7, beside distances of about 3. */
    CHECK(fabsl((long double)s.squares - expected) <= expected * (style == 1 ? 1e-7L : 1e-12L));
  }
  simd_force(NULL);
}
TEST(spread, blocks_are_those_of_two_passes) { on_every_table(check_blocks); }

TEST(spread, every_table_gives_the_same_bits) {
  uint64_t rng = 3;
  double values[BLOCK_ROWS];
  Spread first = { 0 };
  for (uint32_t i = 0; i < BLOCK_ROWS; i++) values[i] = number_of(&rng, (int)(i % 3));
  for (int level = 0; level < SIMD_LEVELS; level++) {
    Spread s = { 0 };
    if (!simd_table((SimdLevel)level)) continue;
    simd_force(simd_table((SimdLevel)level));
    for (uint32_t count = 0; count <= BLOCK_ROWS; count += 31) spread_add_block(&s, values, count);
    spread_add_block(&s, values, BLOCK_ROWS);
    if (level == SIMD_SCALAR) first = s;
    CHECK_BYTES(&s, &first, sizeof s);
  }
  simd_force(NULL);
}

TEST(spread, what_is_not_finite_makes_nan_and_great_numbers_do_not) {
  double values[BLOCK_ROWS];
  for (uint32_t i = 0; i < BLOCK_ROWS; i++) values[i] = 1e308; /* their sum is infinite */
  Spread s = { 0 };
  spread_add_block(&s, values, BLOCK_ROWS);
  CHECK(s.mean == 1e308 && s.squares == 0);
  values[5] = INFINITY;
  spread_add_block(&s, values, 9);
  CHECK(isnan(s.squares));
  Spread nothing = { 0 };
  spread_add_block(&nothing, values, 0);
  CHECK(nothing.count == 0);
}
