/* simd_scalar.c - every kernel as one loop over the rows: the specification, and the oracle of the others' tests. */
#include "simd/simd.h"

#include "base/bitmap.h"
#include "simd/arithmetic_internal.h"
#include "simd/kernels_internal.h"
#include "simd/loops_internal.h"
#include "simd/pairs_internal.h"

/* Clears bit i unless the verdict, flipped or not, is true. */
KERNEL void keep(uint64_t *mask, unsigned i, bool verdict, uint64_t flip) {
  uint64_t bit = ((uint64_t)verdict ^ flip) & 1;
  mask[i / 64] &= ~((bit ^ 1) << (i % 64));
}
KERNEL bool selected(const uint64_t *mask, unsigned i) { return !mask || bit_get(mask, i); }

KERNEL void above(const void *in, unsigned width, uint64_t limit, uint64_t flip, uint64_t *mask) {
  for (unsigned i = 0; i < SIMD_ROWS; i++) keep(mask, i, simd_packed_value(in, width, i) > limit, flip);
}
KERNEL void range(const void *in, unsigned width, uint64_t low, uint64_t span, uint64_t flip, uint64_t *mask) {
  uint64_t wrap = simd_width_mask(simd_lane(width)); /* plain signed arrays: low may be a negative number */
  for (unsigned i = 0; i < SIMD_ROWS; i++) {
    keep(mask, i, ((simd_packed_value(in, width, i) - low) & wrap) <= span, flip);
  }
}
KERNEL void unpack(const void *in, unsigned width, void *out) {
  size_t bytes = simd_lane(width) / 8;
  for (unsigned i = 0; i < SIMD_ROWS; i++) {
    uint64_t value = simd_packed_value(in, width, i);
    memcpy((uint8_t *)out + i * bytes, &value, bytes);
  }
}
KERNEL void sum(const void *in, unsigned width, const uint64_t *mask, uint64_t total[2]) {
  for (unsigned first = 0; first < SIMD_ROWS; first += 64) {
    for (uint64_t rows = mask ? mask[first / 64] : UINT64_MAX; rows; rows &= rows - 1) {
      uint64_t value = simd_packed_value(in, width, first + (unsigned)__builtin_ctzll(rows));
      total[0] += value;
      total[1] += total[0] < value;
    }
  }
}

#define INSTANCE(W, B)                                                                               \
  static void above##W(const void *in, uint64_t limit, uint64_t flip, uint64_t *mask) {              \
    above(in, W, limit, flip, mask);                                                                 \
  }                                                                                                  \
  static void range##W(const void *in, uint64_t low, uint64_t span, uint64_t flip, uint64_t *mask) { \
    range(in, W, low, span, flip, mask);                                                             \
  }                                                                                                  \
  static void unpack##W(const void *in, void *out) { unpack(in, W, out); }                           \
  static void sum##W(const void *in, const uint64_t *mask, uint64_t total[2]) { sum(in, W, mask, total); }
WIDTHS(INSTANCE)

#define EXTREMES(BITS)                                                                               \
  static void extremes##BITS(const void *in, uint64_t flip, const uint64_t *mask, uint64_t *minimum, \
                             uint64_t *maximum) {                                                    \
    const uint##BITS##_t *values = in;                                                               \
    uint64_t low = UINT64_MAX, high = 0;                                                             \
    for (unsigned i = 0; i < SIMD_ROWS; i++) {                                                       \
      if (!selected(mask, i)) continue;                                                              \
      uint64_t value = (uint##BITS##_t)(values[i] ^ (uint##BITS##_t)flip);                           \
      if (value < low) low = value;                                                                  \
      if (value > high) high = value;                                                                \
    }                                                                                                \
    *minimum = low;                                                                                  \
    *maximum = high;                                                                                 \
  }
EXTREMES(8)
EXTREMES(16)
EXTREMES(32)
EXTREMES(64)

#define FLOATS(T, SUFFIX)                                                                           \
  static void range_##SUFFIX(const T *in, T low, T high, bool nan, uint64_t flip, uint64_t *mask) { \
    for (unsigned i = 0; i < SIMD_ROWS; i++) {                                                      \
      keep(mask, i, (in[i] >= low && in[i] <= high) || (nan && in[i] != in[i]), flip);              \
    }                                                                                               \
  }                                                                                                 \
  static void sum_##SUFFIX(const T *in, const uint64_t *mask, double lanes[8]) {                    \
    for (unsigned i = 0; i < SIMD_ROWS; i++) {                                                      \
      if (selected(mask, i)) lanes[i % 8] += (double)in[i];                                         \
    }                                                                                               \
  }
FLOATS(float, f32)
FLOATS(double, f64)

static void squares_f64(const double *in, const uint64_t *mask, double center, double lanes[8]) {
  for (unsigned i = 0; i < SIMD_ROWS; i++) {
    double distance = in[i] - center;
    if (selected(mask, i)) lanes[i % 8] += distance * distance;
  }
}

static void running_sum(uint64_t *values, uint64_t before) {
  for (unsigned i = 0; i < SIMD_ROWS; i++) values[i] = before += values[i];
}

static void glue64(const uint64_t *right, const uint8_t *codes, const uint64_t lefts[8], uint64_t *out) {
  for (unsigned i = 0; i < SIMD_ROWS; i++) out[i] = right[i] | lefts[codes[i]];
}
static void glue32(const uint32_t *right, const uint8_t *codes, const uint64_t lefts[8], uint32_t *out) {
  for (unsigned i = 0; i < SIMD_ROWS; i++) out[i] = right[i] | (uint32_t)lefts[codes[i]];
}

static void member8(const uint8_t *codes, const uint64_t *set, uint64_t flip, uint64_t *mask) {
  for (unsigned i = 0; i < SIMD_ROWS; i++) keep(mask, i, bit_get(set, codes[i]), flip);
}
static void member16(const uint16_t *codes, const uint64_t *set, uint64_t flip, uint64_t *mask) {
  for (unsigned i = 0; i < SIMD_ROWS; i++) keep(mask, i, bit_get(set, codes[i]), flip);
}

static void member64(const uint64_t *values, const SimdSet *set, uint64_t flip, uint64_t *mask) {
  for (unsigned i = 0; i < SIMD_ROWS; i++) {
    const uint64_t at = values[i] - set->least;
    keep(mask, i, at <= set->range && bit_get(set->words, at), flip);
  }
}

static void visible(const uint64_t *sequence, const uint64_t *dead_at, uint64_t snapshot, uint64_t *mask) {
  for (unsigned i = 0; i < SIMD_ROWS; i++) keep(mask, i, sequence[i] <= snapshot && snapshot < dead_at[i], 0);
}
static void copy_past(void *restrict to, const void *restrict from, size_t size) {
  uint64_t *out = to;
  const uint64_t *in = from;
  for (size_t i = 0; i < size / sizeof *out; i++) out[i] = in[i];
}

static void unexpired(const int64_t *expiry, int64_t now, uint64_t *mask) {
  for (unsigned i = 0; i < SIMD_ROWS; i++) keep(mask, i, expiry[i] > now, 0);
}

#define ABOVE_ENTRY(W, B)  above##W,
#define RANGE_ENTRY(W, B)  range##W,
#define UNPACK_ENTRY(W, B) unpack##W,
#define SUM_ENTRY(W, B)    sum##W,

static void map_codes(uint8_t *codes, const uint8_t to[16]) {
  for (unsigned i = 0; i < SIMD_ROWS; i++) codes[i] = to[codes[i]];
}

static void sum_few_codes(const void *values, unsigned width, const uint8_t *codes, uint32_t code_count,
                          uint64_t *sums) {
  const unsigned bytes = simd_lane(width) / 8;
  for (unsigned i = 0; i < SIMD_ROWS; i++)
    if (codes[i] < code_count) sums[codes[i]] += simd_word((const uint8_t *)values + (size_t)i * bytes, bytes);
}

static uint64_t encode_symbols(const SimdSymbols *symbols, const uint8_t *text, const uint32_t *ends, uint32_t count,
                               uint8_t *out, uint32_t *lengths) {
  return encode_each_string(symbols, text, ends, count, out, lengths);
}

const SimdKernels simd_scalar_kernels = {
  .level = SIMD_SCALAR,
  .name = "scalar",
  .above = { WIDTHS(ABOVE_ENTRY) },
  .range = { WIDTHS(RANGE_ENTRY) },
  .unpack = { WIDTHS(UNPACK_ENTRY) },
  .sum = { WIDTHS(SUM_ENTRY) },
  .extremes = { extremes8, extremes16, extremes32, extremes64 },
  .running_sum = running_sum,
  .glue64 = glue64,
  .glue32 = glue32,
  .range_f32 = range_f32,
  .range_f64 = range_f64,
  .sum_f32 = sum_f32,
  .sum_f64 = sum_f64,
  .squares_f64 = squares_f64,
  .member8 = member8,
  .member16 = member16,
  .member64 = member64,
  .visible = visible,
  .unexpired = unexpired,
  .copy_past = copy_past,
  LOOP_KERNELS,
  PAIR_KERNELS,
  ARITHMETIC_KERNELS,
};
