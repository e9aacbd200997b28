/* loops_internal.h - kernels that are plain loops: the compiler vectorises them for the instruction set of the file
 * that includes this. In simd_scalar.c they are the specification. */
#ifndef COLONNADE_SIMD_LOOPS_INTERNAL_H
#define COLONNADE_SIMD_LOOPS_INTERNAL_H

#include "base/schema.h"
#include "simd/kernels_internal.h"

/* Row r of every lane goes, as a whole, into words r * width / lane and perhaps the next: the inner loop has no branch.
 */
#define PACK_LOOP(BITS)                                                                                      \
  static void pack##BITS(const void *in, unsigned width, void *out) {                                        \
    enum { LANES = SIMD_ROWS / BITS };                                                                       \
    const uint##BITS##_t *from = in;                                                                         \
    uint##BITS##_t *to = out;                                                                                \
    memset(out, 0, (size_t)128 * width);                                                                     \
    for (unsigned r = 0; r < BITS; r++, from += LANES) {                                                     \
      unsigned at = r * width, shift = at % BITS;                                                            \
      uint##BITS##_t *word = to + (size_t)(at / BITS) * LANES;                                               \
      for (unsigned i = 0; i < LANES; i++) word[i] |= (uint##BITS##_t)(from[i] << shift);                    \
      if (shift + width > BITS)                                                                              \
        for (unsigned i = 0; i < LANES; i++) word[LANES + i] |= (uint##BITS##_t)(from[i] >> (BITS - shift)); \
    }                                                                                                        \
  }
PACK_LOOP(8)
PACK_LOOP(16)
PACK_LOOP(32)
PACK_LOOP(64)

/* In the arithmetic of the output's width: what overflows there is meant to wrap. */
#define SCALE_LOOP(IN, OUT)                                                                           \
  static void scale##IN##_##OUT(const void *in, uint64_t base, uint64_t step, void *out) {            \
    const uint##IN##_t *from = in;                                                                    \
    uint##OUT##_t *to = out;                                                                          \
    const uint##OUT##_t add = (uint##OUT##_t)base, multiply = (uint##OUT##_t)step;                    \
    if (step == 1) {                                                                                  \
      for (unsigned i = 0; i < SIMD_ROWS; i++) to[i] = (uint##OUT##_t)((uint##OUT##_t)from[i] + add); \
    } else {                                                                                          \
      for (unsigned i = 0; i < SIMD_ROWS; i++)                                                        \
        to[i] = (uint##OUT##_t)((uint64_t)(uint##OUT##_t)from[i] * multiply + add);                   \
    }                                                                                                 \
  }
#define SCALE_LOOPS(IN) SCALE_LOOP(IN, 8) SCALE_LOOP(IN, 16) SCALE_LOOP(IN, 32) SCALE_LOOP(IN, 64)
SCALE_LOOPS(8)
SCALE_LOOPS(16)
SCALE_LOOPS(32)
SCALE_LOOPS(64)

static void image_f32(const float *in, int64_t *out) {
  for (unsigned i = 0; i < SIMD_ROWS; i++) out[i] = float_image((double)in[i]);
}
static void image_f64(const double *in, int64_t *out) {
  for (unsigned i = 0; i < SIMD_ROWS; i++) out[i] = float_image(in[i]);
}

/* An integer in the low bits of 2^52 + 2^51, as a double, is that number more: exact, and faster than a conversion
 * where there is none for 64 bits. */
#define DECIMAL_LOOP(BITS, T, SUFFIX)                                                                          \
  static void decimal##BITS##_##SUFFIX(const void *in, int64_t base, double multiply, double divide, T *out) { \
    const uint##BITS##_t *from = in;                                                                           \
    const uint64_t add = (uint64_t)base + UINT64_C(0x4338000000000000);                                        \
    for (unsigned i = 0; i < SIMD_ROWS; i++) {                                                                 \
      uint64_t bits = from[i] + add;                                                                           \
      double whole;                                                                                            \
      memcpy(&whole, &bits, sizeof whole);                                                                     \
      out[i] = (T)((whole - 6755399441055744.0) * multiply * divide);                                          \
    }                                                                                                          \
  }
#define DECIMAL_LOOPS(BITS) DECIMAL_LOOP(BITS, double, f64) DECIMAL_LOOP(BITS, float, f32)
DECIMAL_LOOPS(8)
DECIMAL_LOOPS(16)
DECIMAL_LOOPS(32)
DECIMAL_LOOPS(64)

#define INTEGERS_LOOP(BITS, T, SUFFIX)                                                                     \
  static uint32_t integers_##SUFFIX(const T *in, uint32_t count, const double powers[4], int64_t *out) {   \
    const double up = powers[0], down = powers[1], back_up = powers[2], back_down = powers[3];             \
    const double limit = (double)SIMD_NO_DECIMAL;                                                          \
    uint64_t exceptions = 0;                                                                               \
    for (uint32_t i = 0; i < count; i++) {                                                                 \
      const double scaled = (double)in[i] * up * down, whole = scaled + 6755399441055744.0;                \
      const double nearest = whole - 6755399441055744.0;                                                   \
      const T back = (T)(nearest * back_up * back_down);                                                   \
      uint64_t whole_bits;                                                                                 \
      uint##BITS##_t bits, back_bits;                                                                      \
      memcpy(&whole_bits, &whole, sizeof whole_bits);                                                      \
      memcpy(&bits, &in[i], sizeof bits);                                                                  \
      memcpy(&back_bits, &back, sizeof back_bits);                                                         \
      const bool in_range = (scaled > -limit) & (scaled < limit) & (nearest > -limit) & (nearest < limit); \
      const bool is_exact = in_range & (bits == back_bits);                                                \
      out[i] = is_exact ? (int64_t)(whole_bits - UINT64_C(0x4338000000000000)) : SIMD_NO_DECIMAL;          \
      exceptions += !is_exact;                                                                             \
    }                                                                                                      \
    return (uint32_t)exceptions;                                                                           \
  }
INTEGERS_LOOP(64, double, f64)
INTEGERS_LOOP(32, float, f32)

static uint64_t mask_count(const uint64_t *words, size_t word_count) {
  uint64_t even = 0, odd = 0;
  size_t i = 0;
  for (; i + 4 <= word_count; i += 4) { /* side by side: a sum each would wait for the one before */
    even += (uint64_t)(__builtin_popcountll(words[i]) + __builtin_popcountll(words[i + 2]));
    odd += (uint64_t)(__builtin_popcountll(words[i + 1]) + __builtin_popcountll(words[i + 3]));
  }
  for (; i < word_count; i++) even += (uint64_t)__builtin_popcountll(words[i]);
  return even + odd;
}
static void mask_counts(const uint64_t *words, size_t block_count, uint16_t *counts) {
  for (size_t b = 0; b < block_count; b++, words += SIMD_WORDS) counts[b] = (uint16_t)mask_count(words, SIMD_WORDS);
}
static void mask_and(uint64_t *words, const uint64_t *other, size_t word_count) {
  for (size_t i = 0; i < word_count; i++) words[i] &= other[i];
}

static void place64(const uint64_t *values, const SimdSet *set, uint32_t count, uint32_t *places) {
  const uint64_t least = set->least, range = set->range;
  for (uint32_t i = 0; i < count; i++) {
    const uint64_t at = values[i] - least, index = at <= range ? at : 0;
    const uint64_t word = set->words[index / 64], bit = UINT64_C(1) << (index % 64);
    const uint32_t place = set->before[index / 64] + (uint32_t)__builtin_popcountll(word & (bit - 1));
    places[i] = at <= range && (word & bit) ? place : SIMD_NO_PLACE;
  }
}

#define LOOP_KERNELS                                                                                            \
  .pack = { pack8, pack16, pack32, pack64 },                                                                    \
  .scale = { { scale8_8, scale8_16, scale8_32, scale8_64 },                                                     \
             { scale16_8, scale16_16, scale16_32, scale16_64 },                                                 \
             { scale32_8, scale32_16, scale32_32, scale32_64 },                                                 \
             { scale64_8, scale64_16, scale64_32, scale64_64 } },                                               \
  .decimal_f64 = { decimal8_f64, decimal16_f64, decimal32_f64, decimal64_f64 },                                 \
  .decimal_f32 = { decimal8_f32, decimal16_f32, decimal32_f32, decimal64_f32 }, .image_f32 = image_f32,         \
  .image_f64 = image_f64, .integers_f64 = integers_f64, .integers_f32 = integers_f32, .mask_count = mask_count, \
  .mask_counts = mask_counts, .mask_and = mask_and, .place64 = place64

#endif
