/* pairs_internal.h - two arrays compared row by row, and bits of one: loops that the compiler vectorises, as those of
 * loops_internal.h. Verdicts are bytes; a range kernel makes bits of them. */
#ifndef COLONNADE_SIMD_PAIRS_INTERNAL_H
#define COLONNADE_SIMD_PAIRS_INTERNAL_H

#include "simd/kernels_internal.h"

#define PAIR_LOOP(NAME, T, VERDICT)                                                           \
  static void NAME(const void *restrict a, const void *restrict b, uint8_t *restrict flags) { \
    const T *restrict as = a, *restrict bs = b;                                               \
    for (unsigned i = 0; i < SIMD_ROWS; i++) {                                                \
      const T x = as[i], y = bs[i];                                                           \
      flags[i] = (uint8_t)(VERDICT);                                                          \
    }                                                                                         \
  }
/* The total order of docs/semantics.md: every NaN equal, and above infinity. */
#define PAIR_LOOPS(SUFFIX, T)        \
  PAIR_LOOP(less_##SUFFIX, T, x < y) \
  PAIR_LOOP(equal_##SUFFIX, T, x == y)
#define PAIR_FLOAT_LOOPS(SUFFIX, T)                            \
  PAIR_LOOP(less_##SUFFIX, T, (x < y) | ((y != y) & (x == x))) \
  PAIR_LOOP(equal_##SUFFIX, T, (x == y) | ((x != x) & (y != y)))
PAIR_LOOPS(i8, int8_t)
PAIR_LOOPS(i16, int16_t)
PAIR_LOOPS(i32, int32_t)
PAIR_LOOPS(i64, int64_t)
PAIR_LOOPS(u8, uint8_t)
PAIR_LOOPS(u16, uint16_t)
PAIR_LOOPS(u32, uint32_t)
PAIR_LOOPS(u64, uint64_t)
PAIR_FLOAT_LOOPS(f32, float)
PAIR_FLOAT_LOOPS(f64, double)

#define BITS_LOOP(BITS)                                                                                          \
  static void has_bits##BITS(const void *restrict in, uint64_t mask, uint64_t wanted, uint8_t *restrict flags) { \
    const uint##BITS##_t *restrict from = in, m = (uint##BITS##_t)mask, w = (uint##BITS##_t)wanted;              \
    for (unsigned i = 0; i < SIMD_ROWS; i++) flags[i] = (uint8_t)((from[i] & m) == w);                           \
  }
BITS_LOOP(8)
BITS_LOOP(16)
BITS_LOOP(32)
BITS_LOOP(64)

#define PAIR_TABLE(NAME)                                                                                      \
  {                                                                                                           \
    NAME##_i8, NAME##_i16, NAME##_i32, NAME##_i64, NAME##_u8, NAME##_u16, NAME##_u32, NAME##_u64, NAME##_f32, \
      NAME##_f64                                                                                              \
  }
#define PAIR_KERNELS \
  .less = PAIR_TABLE(less), .equal = PAIR_TABLE(equal), .bits = { has_bits8, has_bits16, has_bits32, has_bits64 }

#endif
