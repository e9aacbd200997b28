/* Counts and sums by a handful of codes: every table against plain loops. */
#include "simd/simd.h"
#include "tests/simd/every_table.h"
#include "tests/support/test.h"

/* Each code's entries, one after the other; entries of codes that are not asked for count for nothing. */
static void check_few_codes(const SimdKernels *k, uint64_t *rng) {
  for (unsigned round = 0; round < 60; round++) {
    uint16_t codes[SIMD_ROWS];
    uint64_t counts[SIMD_FEW_CODES + 1], expected[SIMD_FEW_CODES + 1];
    uint32_t count = round == 0 ? SIMD_ROWS : (uint32_t)test_random_below(rng, SIMD_ROWS + 1);
    uint32_t code_count = round % (SIMD_FEW_CODES + 1);
    for (unsigned i = 0; i < SIMD_ROWS; i++) {
      codes[i] = round % 7 == 0 ? (uint16_t)(code_count / 2) : (uint16_t)test_random_below(rng, code_count + 3);
      if (test_random_below(rng, 50) == 0) codes[i] = UINT16_MAX;
    }
    for (unsigned c = 0; c <= SIMD_FEW_CODES; c++) {
      counts[c] = expected[c] = c * UINT64_C(1000);
      for (unsigned i = 0; i < count && c < code_count; i++) expected[c] += codes[i] == c;
    }
    k->count_few_codes(codes, count, code_count, counts);
    for (unsigned c = 0; c <= SIMD_FEW_CODES; c++) CHECK_INT(counts[c], expected[c]);
  }
}
TEST(few_codes, counts_each_of_few_codes) { on_every_table(check_few_codes); }

/* Numbers of `width` bits in their lanes; every fourth is the largest there is, in one round all of them are. */
static void check_few_sums_of(const SimdKernels *k, unsigned width, uint32_t code_count, bool all_large,
                              uint64_t *rng) {
  unsigned bytes = simd_lane(width) / 8;
  uint64_t values[SIMD_ROWS], sums[SIMD_FEW_CODES + 1], expected[SIMD_FEW_CODES + 1];
  uint8_t codes[SIMD_ROWS];
  for (unsigned c = 0; c <= SIMD_FEW_CODES; c++) sums[c] = expected[c] = UINT64_MAX - c;
  for (unsigned i = 0; i < SIMD_ROWS; i++) {
    bool is_large = all_large || test_random_below(rng, 4) == 0;
    uint64_t value = is_large ? simd_width_mask(width) : test_random(rng) & simd_width_mask(width);
    codes[i] = all_large ? 0 : (uint8_t)test_random_below(rng, code_count + 3);
    if (!all_large && test_random_below(rng, 50) == 0) codes[i] = UINT8_MAX;
    memcpy((uint8_t *)values + (size_t)i * bytes, &value, bytes); /* the low bytes come first */
    if (codes[i] < code_count) expected[codes[i]] += value;
  }
  k->sum_few_codes(values, width, codes, code_count, sums);
  for (unsigned c = 0; c <= SIMD_FEW_CODES; c++) CHECK_INT(sums[c], expected[c]);
}
static void check_few_sums(const SimdKernels *k, uint64_t *rng) {
  static const unsigned widths[] = { 1, 7, 8, 9, 15, 16, 17, 24, 25, 26, 31, 32, 33, 64 };
  for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
    for (uint32_t code_count = 0; code_count <= SIMD_FEW_CODES; code_count++)
      check_few_sums_of(k, widths[w], code_count, false, rng);
    check_few_sums_of(k, widths[w], 1, true, rng);
  }
}
TEST(few_codes, adds_up_each_of_few_codes) { on_every_table(check_few_sums); }

static void check_map_codes(const SimdKernels *k, uint64_t *rng) {
  uint8_t to[16], codes[SIMD_ROWS], before[SIMD_ROWS];
  for (unsigned c = 0; c < 16; c++) to[c] = (uint8_t)test_random(rng);
  for (unsigned i = 0; i < SIMD_ROWS; i++) codes[i] = before[i] = (uint8_t)test_random_below(rng, 16);
  k->map_codes(codes, to);
  for (unsigned i = 0; i < SIMD_ROWS; i++) CHECK_INT(codes[i], to[before[i]]);
}
TEST(few_codes, maps_codes) { on_every_table(check_map_codes); }
