/* few_codes_internal.h - sums of entries by their code, of a handful of codes, each in a register: for the vector of
 * packed_internal.h, which comes before, and for
 *
 *   CODESn(p)                      the codes of a vector of entries of n = 16, 32, 64 bits, from bytes
 *   PICKn(code, c, v)              n = 8, 16: entries of v whose code is c, zeros elsewhere
 *   ADD_IFn(total, code, c, v)     n = 32, 64: adds them */
#ifndef COLONNADE_SIMD_FEW_CODES_INTERNAL_H
#define COLONNADE_SIMD_FEW_CODES_INTERNAL_H

#include "simd/kernels_internal.h"

/* SIMD_ROWS numbers below 2^25, in at least eight lanes of 32 bits. */
enum { FEW_SMALL_BITS = 25 };

#define EACH_CODE _Pragma("GCC unroll 8") for (uint32_t c = 0; c < n; c++)

KERNEL void few8(const uint8_t *in, const uint8_t *codes, const uint32_t n, uint64_t *sums) {
  V totals[SIMD_FEW_CODES];
  EACH_CODE totals[c] = ZERO;
  for (int i = 0; i < SIMD_ROWS; i += VECTOR) {
    const V v = LOAD(in + i), code = LOAD(codes + i);
    EACH_CODE totals[c] = ADD64(totals[c], SAD8(PICK8(code, SET8(c), v)));
  }
  EACH_CODE sums[c] += total64(totals[c]);
}

KERNEL void few16(const uint8_t *in, const uint8_t *codes, const uint32_t n, uint64_t *sums) {
  const V half = SET32(UINT16_MAX);
  V totals[SIMD_FEW_CODES];
  EACH_CODE totals[c] = ZERO;
  for (int i = 0; i < SIMD_ROWS; i += VECTOR / 2) {
    const V v = LOAD(in + 2 * i), code = CODES16(codes + i);
    EACH_CODE {
      const V some = PICK16(code, SET16(c), v);
      totals[c] = ADD32(totals[c], ADD32(AND(some, half), SHR32(some, 16)));
    }
  }
  EACH_CODE sums[c] += total64(widen32(totals[c]));
}

KERNEL void few32_small(const uint8_t *in, const uint8_t *codes, const uint32_t n, uint64_t *sums) {
  V totals[SIMD_FEW_CODES];
  EACH_CODE totals[c] = ZERO;
  for (int i = 0; i < SIMD_ROWS; i += VECTOR / 4) {
    const V v = LOAD(in + 4 * i), code = CODES32(codes + i);
    EACH_CODE totals[c] = ADD_IF32(totals[c], code, SET32(c), v);
  }
  EACH_CODE sums[c] += total64(widen32(totals[c]));
}

/* Upper and lower halves apart. */
KERNEL void few32(const uint8_t *in, const uint8_t *codes, const uint32_t n, uint64_t *sums) {
  const V half = SET32(UINT16_MAX);
  V lower[SIMD_FEW_CODES], upper[SIMD_FEW_CODES];
  EACH_CODE lower[c] = upper[c] = ZERO;
  for (int i = 0; i < SIMD_ROWS; i += VECTOR / 4) {
    const V v = LOAD(in + 4 * i), code = CODES32(codes + i), low = AND(v, half), high = SHR32(v, 16);
    EACH_CODE {
      lower[c] = ADD_IF32(lower[c], code, SET32(c), low);
      upper[c] = ADD_IF32(upper[c], code, SET32(c), high);
    }
  }
  EACH_CODE sums[c] += total64(widen32(lower[c])) + (total64(widen32(upper[c])) << 16);
}

KERNEL void few64(const uint8_t *in, const uint8_t *codes, const uint32_t n, uint64_t *sums) {
  V totals[SIMD_FEW_CODES];
  EACH_CODE totals[c] = ZERO;
  for (int i = 0; i < SIMD_ROWS; i += VECTOR / 8) {
    const V v = LOAD(in + 8 * i), code = CODES64(codes + i);
    EACH_CODE totals[c] = ADD_IF64(totals[c], code, SET64(c), v);
  }
  EACH_CODE sums[c] += total64(totals[c]);
}

/* As `BODY(in, codes, n, sums)` with a constant n: each code's sum stays in a register. */
#define SUM_FEW(NAME, BODY)                                                                     \
  static void NAME(const void *in, const uint8_t *codes, uint32_t code_count, uint64_t *sums) { \
    switch (code_count) {                                                                       \
    case 0: break;                                                                              \
    case 1: BODY(in, codes, 1, sums); break;                                                    \
    case 2: BODY(in, codes, 2, sums); break;                                                    \
    case 3: BODY(in, codes, 3, sums); break;                                                    \
    case 4: BODY(in, codes, 4, sums); break;                                                    \
    case 5: BODY(in, codes, 5, sums); break;                                                    \
    case 6: BODY(in, codes, 6, sums); break;                                                    \
    case 7: BODY(in, codes, 7, sums); break;                                                    \
    default: BODY(in, codes, SIMD_FEW_CODES, sums); break;                                      \
    }                                                                                           \
  }
SUM_FEW(sum_few8, few8)
SUM_FEW(sum_few16, few16)
SUM_FEW(sum_few32_small, few32_small)
SUM_FEW(sum_few32_all, few32)
SUM_FEW(sum_few64, few64)

static void sum_few_codes(const void *values, unsigned width, const uint8_t *codes, uint32_t code_count,
                          uint64_t *sums) {
  if (width <= 8)
    sum_few8(values, codes, code_count, sums);
  else if (width <= 16)
    sum_few16(values, codes, code_count, sums);
  else if (width <= FEW_SMALL_BITS)
    sum_few32_small(values, codes, code_count, sums);
  else if (width <= 32)
    sum_few32_all(values, codes, code_count, sums);
  else
    sum_few64(values, codes, code_count, sums);
}

#endif
