/* packed_internal.h - the one body of every packed kernel, for whatever vector the including file defines:
 *
 *   V, M                      a vector; a verdict on one (a vector of ones and zeros, or a mask register)
 *   VECTOR, GROUPS            its bytes; vectors in a row of 128 bytes
 *   LOAD STORE AND OR XOR     SELECT(m, a, b): bits of a where m is 1, of b elsewhere
 *   SETn SHRn SHLn            n = 8, 16, 32, 64: broadcast, shifts of elements (those of 8 shift 16 bits and leak)
 *   GTn RANGEn                verdicts, unsigned; GTn(x, limit, small): small says that both are below 2^(n-1)
 *   BITSn(m)                  the GROUPS verdicts of a row as bits: 64, 32 and 16 of them; BITS8(m, half): 64
 *   KEEPn(v, mask, r, g)      zeros where the mask of row r, vector g is 0
 *   MINn MAXn                 unsigned
 *   ADD32 ADD64 SAD8          SAD8: sums of eight bytes each, as 64 bits
 *
 * A row is what one load per group gives: word k of all lanes. Widths up to 32 are unrolled whole, so that shifts and
 * branches are constants; those above run as loops, where memory is the limit anyway. */
#ifndef COLONNADE_SIMD_PACKED_INTERNAL_H
#define COLONNADE_SIMD_PACKED_INTERNAL_H

#include "simd/kernels_internal.h"

/* Vector g of row r, still with bits of its neighbours above `w` bits unless they were shifted out. */
#define ROW_BODY(B, JOIN)                                                                  \
  KERNEL V row##B(const uint8_t *in, const int w, const int r, const int g, const V low) { \
    const int at = r * w, shift = at % B;                                                  \
    const uint8_t *p = in + at / B * 128 + g * VECTOR;                                     \
    V v = LOAD(p);                                                                         \
    if (w == B) return v;                                                                  \
    if (shift) v = SHR##B(v, shift);                                                       \
    if (shift + w > B)                                                                     \
      v = JOIN(v, SHL##B(LOAD(p + 128), B - shift), B, shift);                             \
    else if (B != 8 && shift + w == B)                                                     \
      return v;                                                                            \
    return AND(v, low);                                                                    \
  }
#define JOIN_OR(a, b, B, shift)    OR(a, b)
#define JOIN_LEAKY(a, b, B, shift) SELECT(SET8(0xff >> shift), a, b)
ROW_BODY(8, JOIN_LEAKY)
ROW_BODY(16, JOIN_OR)
ROW_BODY(32, JOIN_OR)

/* Lanes of 64 bits: the width is no constant. */
KERNEL V row64(const uint8_t *in, const int w, const int r, const int g, const V low) {
  const int at = r * w, shift = at % 64;
  const uint8_t *p = in + at / 64 * 128 + g * VECTOR;
  V v = SHR64_BY(LOAD(p), shift);
  if (shift + w > 64) v = OR(v, SHL64_BY(LOAD(p + 128), 64 - shift));
  return AND(v, low);
}

/* ---- comparisons: a verdict for each row of lanes, gathered into words of the mask ---- */
#define UNROLL_8  UNROLL
#define UNROLL_16 UNROLL
#define UNROLL_32 UNROLL
#define UNROLL_64

#define COMPARE_BODY(B, NAME, VERDICT)                                                                         \
  KERNEL void NAME##B(const uint8_t *in, const int w, uint64_t a, uint64_t b, uint64_t flip, uint64_t *mask) { \
    const V low = SET##B(simd_width_mask((unsigned)w)), va = SET##B(a), vb = SET##B(b);                        \
    const bool small = w < B;                                                                                  \
    uint64_t word = 0;                                                                                         \
    (void)vb;                                                                                                  \
    (void)small;                                                                                               \
    UNROLL_##B for (int r = 0; r < B; r++) {                                                                   \
      M m[GROUPS];                                                                                             \
      for (int g = 0; g < GROUPS; g++) {                                                                       \
        const V x = row##B(in, w, r, g, low);                                                                  \
        m[g] = VERDICT;                                                                                        \
      }                                                                                                        \
      GATHER##B                                                                                                \
    }                                                                                                          \
  }
#define GATHER8                      \
  (void)word;                        \
  mask[2 * r] &= BITS8(m, 0) ^ flip; \
  mask[2 * r + 1] &= BITS8(m, 1) ^ flip;
#define GATHER16 \
  (void)word;    \
  mask[r] &= BITS16(m) ^ flip;
#define GATHER32                                               \
  word = r % 2 ? word | (uint64_t)BITS32(m) << 32 : BITS32(m); \
  if (r % 2) mask[r / 2] &= word ^ flip;
#define GATHER64                                 \
  word = word >> 16 | (uint64_t)BITS64(m) << 48; \
  if (r % 4 == 3) mask[r / 4] &= word ^ flip;

#define COMPARE_BODIES(B)                     \
  COMPARE_BODY(B, above, GT##B(x, va, small)) \
  COMPARE_BODY(B, range, RANGE##B(x, va, vb))
COMPARE_BODIES(8)
COMPARE_BODIES(16)
COMPARE_BODIES(32)
COMPARE_BODIES(64)

#define UNPACK_BODY(B)                                                                              \
  KERNEL void unpack##B(const uint8_t *in, const int w, uint8_t *out) {                             \
    const V low = SET##B(simd_width_mask((unsigned)w));                                             \
    UNROLL_##B for (int r = 0; r < B; r++) {                                                        \
      for (int g = 0; g < GROUPS; g++) STORE(out + r * 128 + g * VECTOR, row##B(in, w, r, g, low)); \
    }                                                                                               \
  }
UNPACK_BODY(8)
UNPACK_BODY(16)
UNPACK_BODY(32)
UNPACK_BODY(64)

/* ---- sums ---- */
KERNEL uint64_t total64(V v) {
  uint64_t parts[VECTOR / 8], total = 0;
  STORE(parts, v);
  for (int i = 0; i < VECTOR / 8; i++) total += parts[i];
  return total;
}
KERNEL V widen32(V v) { return ADD64(AND(v, SET64(UINT32_MAX)), SHR64(v, 32)); }

#define ROW_MASKED(B) (masked ? KEEP##B(row##B(in, w, r, g, low), mask, r, g) : row##B(in, w, r, g, low))

KERNEL uint64_t sum8(const uint8_t *in, const int w, const bool masked, const uint64_t *mask) {
  const V low = SET8(simd_width_mask((unsigned)w));
  V total = ZERO;
  UNROLL for (int r = 0; r < 8; r++) {
    for (int g = 0; g < GROUPS; g++) total = ADD64(total, SAD8(ROW_MASKED(8)));
  }
  return total64(total);
}
KERNEL uint64_t sum16(const uint8_t *in, const int w, const bool masked, const uint64_t *mask) {
  const V low = SET16(simd_width_mask((unsigned)w)), half = SET32(UINT16_MAX);
  V total = ZERO; /* at most 16 x 4 x 2 numbers of 16 bits each: 23 bits */
  UNROLL for (int r = 0; r < 16; r++) {
    for (int g = 0; g < GROUPS; g++) {
      const V v = ROW_MASKED(16);
      total = ADD32(total, ADD32(AND(v, half), SHR32(v, 16)));
    }
  }
  return total64(widen32(total));
}
KERNEL uint64_t sum32(const uint8_t *in, const int w, const bool masked, const uint64_t *mask) {
  const V low = SET32(simd_width_mask((unsigned)w));
  V total[GROUPS], all = ZERO;
  for (int g = 0; g < GROUPS; g++) total[g] = ZERO;
  UNROLL for (int r = 0; r < 32; r++) {
    for (int g = 0; g < GROUPS; g++) {
      const V v = ROW_MASKED(32);
      if (w <= 27)
        total[g] = ADD32(total[g], v); /* 32 numbers below 2^27 */
      else
        total[g] = ADD64(total[g], widen32(v));
    }
  }
  for (int g = 0; g < GROUPS; g++) all = ADD64(all, w <= 27 ? widen32(total[g]) : total[g]);
  return total64(all);
}
KERNEL void sum64(const uint8_t *in, const int w, const bool masked, const uint64_t *mask, uint64_t sum[2]) {
  const V low = SET64(simd_width_mask((unsigned)w)), half = SET64(UINT32_MAX);
  V lower = ZERO, upper = ZERO;
  for (int r = 0; r < 64; r++) {
    for (int g = 0; g < GROUPS; g++) {
      const V v = ROW_MASKED(64);
      lower = ADD64(lower, AND(v, half));
      upper = ADD64(upper, SHR64(v, 32));
    }
  }
  const uint64_t low_total = total64(lower), high_total = total64(upper); /* both below 2^42 */
  const uint64_t add = high_total << 32;
  uint64_t carry = high_total >> 32, before = sum[0];
  sum[0] += add;
  carry += sum[0] < before;
  before = sum[0];
  sum[0] += low_total;
  carry += sum[0] < before;
  sum[1] += carry;
}
KERNEL void sum_add(uint64_t sum[2], uint64_t value) {
  sum[0] += value;
  sum[1] += sum[0] < value;
}

/* ---- smallest and largest ---- */
#define EXTREMES_BODY(B)                                                                                \
  static void extremes_array##B(const void *in, uint64_t flip, const uint64_t *mask, uint64_t *minimum, \
                                uint64_t *maximum) {                                                    \
    const V vflip = SET##B(flip), ones = SET64(UINT64_MAX);                                             \
    V least = ones, most = ZERO;                                                                        \
    for (int r = 0; r < B; r++) {                                                                       \
      for (int g = 0; g < GROUPS; g++) {                                                                \
        const V v = XOR(LOAD((const uint8_t *)in + r * 128 + g * VECTOR), vflip);                       \
        const V high = mask ? KEEP##B(v, mask, r, g) : v;                                               \
        const V not_low = mask ? KEEP##B(XOR(v, ones), mask, r, g) : XOR(v, ones);                      \
        least = MIN##B(least, XOR(not_low, ones));                                                      \
        most = MAX##B(most, high);                                                                      \
      }                                                                                                 \
    }                                                                                                   \
    uint##B##_t lows[VECTOR / (B / 8)], highs[VECTOR / (B / 8)];                                        \
    STORE(lows, least);                                                                                 \
    STORE(highs, most);                                                                                 \
    uint64_t low = UINT64_MAX, top = 0;                                                                 \
    for (int i = 0; i < VECTOR / (B / 8); i++) {                                                        \
      if (lows[i] < low) low = lows[i];                                                                 \
      if (highs[i] > top) top = highs[i];                                                               \
    }                                                                                                   \
    *minimum = low;                                                                                     \
    *maximum = top;                                                                                     \
  }
EXTREMES_BODY(8)
EXTREMES_BODY(16)
EXTREMES_BODY(32)
EXTREMES_BODY(64)

/* ---- one set of functions a width ----
 * The two sums are functions of their own: in one, the compiler computes what they share first, and spills it. */
#define INSTANCE_NARROW(W, B)                                                                                        \
  static void above_w##W(const void *in, uint64_t limit, uint64_t flip, uint64_t *mask) {                            \
    above##B(in, W, limit, 0, flip, mask);                                                                           \
  }                                                                                                                  \
  static void range_w##W(const void *in, uint64_t first, uint64_t span, uint64_t flip, uint64_t *mask) {             \
    range##B(in, W, first, span, flip, mask);                                                                        \
  }                                                                                                                  \
  static void unpack_w##W(const void *in, void *out) { unpack##B(in, W, out); }                                      \
  static NOINLINE uint64_t sum_some_w##W(const void *in, const uint64_t *mask) { return sum##B(in, W, true, mask); } \
  static NOINLINE uint64_t sum_all_w##W(const void *in) { return sum##B(in, W, false, NULL); }                       \
  static void sum_w##W(const void *in, const uint64_t *mask, uint64_t sum[2]) {                                      \
    sum_add(sum, mask ? sum_some_w##W(in, mask) : sum_all_w##W(in));                                                 \
  }
WIDTHS_8(INSTANCE_NARROW)
WIDTHS_16(INSTANCE_NARROW)
WIDTHS_32(INSTANCE_NARROW)

static NOINLINE void above_wide(const void *in, int w, uint64_t limit, uint64_t flip, uint64_t *mask) {
  above64(in, w, limit, 0, flip, mask);
}
static NOINLINE void range_wide(const void *in, int w, uint64_t first, uint64_t span, uint64_t flip, uint64_t *mask) {
  range64(in, w, first, span, flip, mask);
}
static NOINLINE void unpack_wide(const void *in, int w, void *out) { unpack64(in, w, out); }
static NOINLINE void sum_wide(const void *in, int w, const uint64_t *mask, uint64_t sum[2]) {
  if (mask)
    sum64(in, w, true, mask, sum);
  else
    sum64(in, w, false, NULL, sum);
}
#define INSTANCE_WIDE(W, B)                                                                              \
  static void above_w##W(const void *in, uint64_t limit, uint64_t flip, uint64_t *mask) {                \
    above_wide(in, W, limit, flip, mask);                                                                \
  }                                                                                                      \
  static void range_w##W(const void *in, uint64_t first, uint64_t span, uint64_t flip, uint64_t *mask) { \
    range_wide(in, W, first, span, flip, mask);                                                          \
  }                                                                                                      \
  static void unpack_w##W(const void *in, void *out) { unpack_wide(in, W, out); }                        \
  static void sum_w##W(const void *in, const uint64_t *mask, uint64_t sum[2]) { sum_wide(in, W, mask, sum); }
WIDTHS_64(INSTANCE_WIDE)

/* Width 0: no bytes, every value is 0. */
static void all_or_none(bool verdict, uint64_t flip, uint64_t *mask) {
  if (verdict == (flip != 0)) memset(mask, 0, SIMD_WORDS * sizeof *mask);
}
static void above_w0(const void *in, uint64_t limit, uint64_t flip, uint64_t *mask) {
  (void)in;
  (void)limit;
  all_or_none(false, flip, mask);
}
static void range_w0(const void *in, uint64_t first, uint64_t span, uint64_t flip, uint64_t *mask) {
  (void)in;
  all_or_none(((0 - first) & 0xff) <= span, flip, mask);
}
static void unpack_w0(const void *in, void *out) {
  (void)in;
  memset(out, 0, SIMD_ROWS);
}
static void sum_w0(const void *in, const uint64_t *mask, uint64_t sum[2]) {
  (void)in;
  (void)mask;
  (void)sum;
}

#define ABOVE_ENTRY(W, B)  above_w##W,
#define RANGE_ENTRY(W, B)  range_w##W,
#define UNPACK_ENTRY(W, B) unpack_w##W,
#define SUM_ENTRY(W, B)    sum_w##W,
#define PACKED_KERNELS                                                                                    \
  .above = { WIDTHS(ABOVE_ENTRY) }, .range = { WIDTHS(RANGE_ENTRY) }, .unpack = { WIDTHS(UNPACK_ENTRY) }, \
  .sum = { WIDTHS(SUM_ENTRY) }, .extremes = { extremes_array8, extremes_array16, extremes_array32, extremes_array64 }

#endif
