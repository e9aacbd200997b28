/* simd_avx512.c - the kernels with vectors of 512 bits: F, BW, DQ, VL, VBMI, VBMI2, VPOPCNTDQ (Ice Lake, Zen 4, later).
 */
#include "simd/simd.h"

#include <immintrin.h>

#include "simd/arithmetic_internal.h"
#include "simd/kernels_internal.h"
#include "simd/loops_internal.h"
#include "simd/pairs_internal.h"

/* ---- the vector of packed_internal.h; a verdict is a mask register ---- */
#define V               __m512i
#define M               uint64_t
#define VECTOR          64
#define GROUPS          2
#define ZERO            _mm512_setzero_si512()
#define LOAD(p)         _mm512_loadu_si512((const void *)(p))
#define STORE(p, v)     _mm512_storeu_si512((void *)(p), v)
#define AND(a, b)       _mm512_and_si512(a, b)
#define OR(a, b)        _mm512_or_si512(a, b)
#define XOR(a, b)       _mm512_xor_si512(a, b)
#define SELECT(m, a, b) _mm512_ternarylogic_epi64(m, a, b, 0xca)
#define SET8(x)         _mm512_set1_epi8((char)(x))
#define SET16(x)        _mm512_set1_epi16((short)(x))
#define SET32(x)        _mm512_set1_epi32((int)(x))
#define SET64(x)        _mm512_set1_epi64((long long)(x))
#if defined(SIMD_ROLLED)
#define SHR16(v, s) _mm512_srl_epi16(v, _mm_cvtsi32_si128(s))
#define SHL16(v, s) _mm512_sll_epi16(v, _mm_cvtsi32_si128(s))
#define SHR32(v, s) _mm512_srl_epi32(v, _mm_cvtsi32_si128(s))
#define SHL32(v, s) _mm512_sll_epi32(v, _mm_cvtsi32_si128(s))
#else
#define SHR16(v, s) _mm512_srli_epi16(v, s)
#define SHL16(v, s) _mm512_slli_epi16(v, s)
#define SHR32(v, s) _mm512_srli_epi32(v, (unsigned)(s))
#define SHL32(v, s) _mm512_slli_epi32(v, (unsigned)(s))
#endif
#define SHR8           SHR16
#define SHL8           SHL16
#define SHR64(v, s)    _mm512_srli_epi64(v, (unsigned)(s))
#define SHR64_BY(v, s) _mm512_srl_epi64(v, _mm_cvtsi32_si128(s))
#define SHL64_BY(v, s) _mm512_sll_epi64(v, _mm_cvtsi32_si128(s))
#define ADD32(a, b)    _mm512_add_epi32(a, b)
#define ADD64(a, b)    _mm512_add_epi64(a, b)
#define SAD8(v)        _mm512_sad_epu8(v, ZERO)

#define GT8(a, limit, small)  (uint64_t) _mm512_cmpgt_epu8_mask(a, limit)
#define GT16(a, limit, small) (uint64_t) _mm512_cmpgt_epu16_mask(a, limit)
#define GT32(a, limit, small) (uint64_t) _mm512_cmpgt_epu32_mask(a, limit)
#define GT64(a, limit, small) (uint64_t) _mm512_cmpgt_epu64_mask(a, limit)
#define RANGE8(x, low, span)  (uint64_t) _mm512_cmple_epu8_mask(_mm512_sub_epi8(x, low), span)
#define RANGE16(x, low, span) (uint64_t) _mm512_cmple_epu16_mask(_mm512_sub_epi16(x, low), span)
#define RANGE32(x, low, span) (uint64_t) _mm512_cmple_epu32_mask(_mm512_sub_epi32(x, low), span)
#define RANGE64(x, low, span) (uint64_t) _mm512_cmple_epu64_mask(_mm512_sub_epi64(x, low), span)
#define MIN8                  _mm512_min_epu8
#define MAX8                  _mm512_max_epu8
#define MIN16                 _mm512_min_epu16
#define MAX16                 _mm512_max_epu16
#define MIN32                 _mm512_min_epu32
#define MAX32                 _mm512_max_epu32
#define MIN64                 _mm512_min_epu64
#define MAX64                 _mm512_max_epu64

#define BITS8(m, half) ((m)[half])
#define BITS16(m)      ((m)[0] | (m)[1] << 32)
#define BITS32(m)      ((m)[0] | (m)[1] << 16)
#define BITS64(m)      ((m)[0] | (m)[1] << 8)

#define KEEP8(v, mask, r, g)  _mm512_maskz_mov_epi8((__mmask64)(mask)[2 * (r) + (g)], v)
#define KEEP16(v, mask, r, g) _mm512_maskz_mov_epi16((__mmask32)((mask)[r] >> ((g)*32)), v)
#define KEEP32(v, mask, r, g) _mm512_maskz_mov_epi32((__mmask16)((mask)[(r) / 2] >> ((r) % 2 * 32 + (g)*16)), v)
#define KEEP64(v, mask, r, g) _mm512_maskz_mov_epi64((__mmask8)((mask)[(r) / 4] >> ((r) % 4 * 16 + (g)*8)), v)

#include "simd/packed_internal.h"

/* ---- floats ---- */
static void range_f32(const float *in, float low, float high, bool nan, uint64_t flip, uint64_t *mask) {
  const __m512 vlow = _mm512_set1_ps(low), vhigh = _mm512_set1_ps(high);
  const __mmask16 take_nan = nan ? 0xffff : 0;
  for (int r = 0; r < SIMD_WORDS; r++) {
    uint64_t word = 0;
    for (int g = 0; g < 4; g++) {
      const __m512 x = _mm512_loadu_ps(in + r * 64 + g * 16);
      const __mmask16 inside = _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(x, vlow, _CMP_GE_OQ), x, vhigh, _CMP_LE_OQ);
      word |= (uint64_t)(__mmask16)(inside | _mm512_mask_cmp_ps_mask(take_nan, x, x, _CMP_UNORD_Q)) << (g * 16);
    }
    mask[r] &= word ^ flip;
  }
}
static void range_f64(const double *in, double low, double high, bool nan, uint64_t flip, uint64_t *mask) {
  const __m512d vlow = _mm512_set1_pd(low), vhigh = _mm512_set1_pd(high);
  const __mmask8 take_nan = nan ? 0xff : 0;
  for (int r = 0; r < SIMD_WORDS; r++) {
    uint64_t word = 0;
    for (int g = 0; g < 8; g++) {
      const __m512d x = _mm512_loadu_pd(in + r * 64 + g * 8);
      const __mmask8 inside = _mm512_mask_cmp_pd_mask(_mm512_cmp_pd_mask(x, vlow, _CMP_GE_OQ), x, vhigh, _CMP_LE_OQ);
      word |= (uint64_t)(__mmask8)(inside | _mm512_mask_cmp_pd_mask(take_nan, x, x, _CMP_UNORD_Q)) << (g * 8);
    }
    mask[r] &= word ^ flip;
  }
}

/* The eight lanes of the contract are one vector; a row that is not selected leaves its lane as it is. */
static void sum_f64(const double *in, const uint64_t *mask, double lanes[8]) {
  __m512d total = _mm512_loadu_pd(lanes);
  for (int i = 0; i < SIMD_ROWS; i += 8) {
    const __mmask8 take = mask ? (__mmask8)(mask[i / 64] >> (i % 64)) : 0xff;
    total = _mm512_mask_add_pd(total, take, total, _mm512_loadu_pd(in + i));
  }
  _mm512_storeu_pd(lanes, total);
}
static void squares_f64(const double *in, const uint64_t *mask, double center, double lanes[8]) {
  const __m512d from = _mm512_set1_pd(center);
  __m512d total = _mm512_loadu_pd(lanes);
  for (int i = 0; i < SIMD_ROWS; i += 8) {
    const __mmask8 take = mask ? (__mmask8)(mask[i / 64] >> (i % 64)) : 0xff;
    const __m512d distance = _mm512_sub_pd(_mm512_loadu_pd(in + i), from);
    total = _mm512_mask_add_pd(total, take, total, _mm512_mul_pd(distance, distance));
  }
  _mm512_storeu_pd(lanes, total);
}
static void sum_f32(const float *in, const uint64_t *mask, double lanes[8]) {
  __m512d total = _mm512_loadu_pd(lanes);
  for (int i = 0; i < SIMD_ROWS; i += 8) {
    const __mmask8 take = mask ? (__mmask8)(mask[i / 64] >> (i % 64)) : 0xff;
    total = _mm512_mask_add_pd(total, take, total, _mm512_cvtps_pd(_mm256_loadu_ps(in + i)));
  }
  _mm512_storeu_pd(lanes, total);
}

/* ---- running sums ---- */
/* Within a vector by doubling distances; then the sum of the vectors before is added to all lanes. */
static void running_sum(uint64_t *values, uint64_t before) {
  const V zero = ZERO, last = SET64(7);
  V carry = SET64(before);
  for (int i = 0; i < SIMD_ROWS; i += 8) {
    V x = LOAD(values + i);
    x = ADD64(x, _mm512_alignr_epi64(x, zero, 7));
    x = ADD64(x, _mm512_alignr_epi64(x, zero, 6));
    x = ADD64(x, _mm512_alignr_epi64(x, zero, 4));
    STORE(values + i, ADD64(x, carry));
    carry = ADD64(carry, _mm512_permutexvar_epi64(last, x));
  }
}

/* ---- bits of floats: eight left parts are one vector ---- */
static void glue64(const uint64_t *right, const uint8_t *codes, const uint64_t lefts[8], uint64_t *out) {
  const V table = LOAD(lefts);
  for (int i = 0; i < SIMD_ROWS; i += 8) {
    const V code = _mm512_cvtepu8_epi64(_mm_loadl_epi64((const void *)(codes + i)));
    STORE(out + i, OR(LOAD(right + i), _mm512_permutexvar_epi64(code, table)));
  }
}
static void glue32(const uint32_t *right, const uint8_t *codes, const uint64_t lefts[8], uint32_t *out) {
  const V table = _mm512_castsi256_si512(_mm512_cvtepi64_epi32(LOAD(lefts)));
  for (int i = 0; i < SIMD_ROWS; i += 16) {
    const V code = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)(codes + i)));
    STORE(out + i, OR(LOAD(right + i), _mm512_permutexvar_epi32(code, table)));
  }
}

/* ---- codes ---- */
/* Code c is bit c % 8 of byte c / 8: one permutation looks up the byte among 32, a shuffle gives the bit. */
static void member8(const uint8_t *codes, const uint64_t *set, uint64_t flip, uint64_t *mask) {
  const V bytes = _mm512_broadcast_i64x4(_mm256_loadu_si256((const void *)set));
  const V bit_of = SET64(0x8040201008040201), seven = SET8(7), low5 = SET8(31);
  for (int r = 0; r < SIMD_WORDS; r++) {
    const V c = LOAD(codes + r * 64);
    const V byte = _mm512_permutexvar_epi8(AND(_mm512_srli_epi16(c, 3), low5), bytes);
    const V bit = _mm512_shuffle_epi8(bit_of, AND(c, seven));
    mask[r] &= (uint64_t)_mm512_test_epi8_mask(byte, bit) ^ flip;
  }
}
static void member16(const uint16_t *codes, const uint64_t *set, uint64_t flip, uint64_t *mask) {
  const V low5 = SET32(31), one = SET32(1);
  for (int r = 0; r < SIMD_WORDS; r++) {
    uint64_t word = 0;
    for (int g = 0; g < 4; g++) {
      const V c = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)(codes + r * 64 + g * 16)));
      const V found = _mm512_i32gather_epi32(_mm512_srli_epi32(c, 5), (const void *)set, 4);
      word |= (uint64_t)_mm512_test_epi32_mask(found, _mm512_sllv_epi32(one, AND(c, low5))) << (g * 16);
    }
    mask[r] &= word ^ flip;
  }
}

static void member64(const uint64_t *values, const SimdSet *set, uint64_t flip, uint64_t *mask) {
  const V least = SET64(set->least), range = SET64(set->range), low6 = SET64(63), one = SET64(1);
  for (int r = 0; r < SIMD_WORDS; r++) {
    if (!mask[r]) continue;
    uint64_t word = 0;
    for (int g = 0; g < 8; g++) {
      const V at = _mm512_sub_epi64(LOAD(values + r * 64 + g * 8), least), index = _mm512_srli_epi64(at, 6);
      const __mmask8 within = _mm512_cmple_epu64_mask(at, range);
      const V found = _mm512_mask_i64gather_epi64(ZERO, within, index, (const void *)set->words, 8);
      word |= (uint64_t)_mm512_test_epi64_mask(found, _mm512_sllv_epi64(one, AND(at, low6))) << (g * 8);
    }
    mask[r] &= word ^ flip;
  }
}

/* ---- groups ---- */
#define CODES16(p)                  _mm512_cvtepu8_epi16(_mm256_loadu_si256((const void *)(p)))
#define CODES32(p)                  _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)(p)))
#define CODES64(p)                  _mm512_cvtepu8_epi64(_mm_loadl_epi64((const void *)(p)))
#define PICK8(code, c, v)           _mm512_maskz_mov_epi8(_mm512_cmpeq_epi8_mask(code, c), v)
#define PICK16(code, c, v)          _mm512_maskz_mov_epi16(_mm512_cmpeq_epi16_mask(code, c), v)
#define ADD_IF32(total, code, c, v) _mm512_mask_add_epi32(total, _mm512_cmpeq_epi32_mask(code, c), total, v)
#define ADD_IF64(total, code, c, v) _mm512_mask_add_epi64(total, _mm512_cmpeq_epi64_mask(code, c), total, v)

#include "simd/few_codes_internal.h"

static void map_codes(uint8_t *codes, const uint8_t to[16]) {
  const V table = _mm512_broadcast_i32x4(_mm_loadu_si128((const void *)to));
  for (int i = 0; i < SIMD_ROWS; i += VECTOR) STORE(codes + i, _mm512_shuffle_epi8(table, LOAD(codes + i)));
}

static void copy_past(void *restrict to, const void *restrict from, size_t size) {
  uint8_t *out = to;
  const uint8_t *in = from;
  for (size_t i = 0; i < size; i += VECTOR) _mm512_stream_si512((void *)(out + i), LOAD(in + i));
}

/* ---- rows ---- */
static void visible(const uint64_t *sequence, const uint64_t *dead_at, uint64_t snapshot, uint64_t *mask) {
  const V at = SET64(snapshot);
  for (int r = 0; r < SIMD_WORDS; r++) {
    if (!mask[r]) continue;
    uint64_t word = 0;
    for (int g = 0; g < 8; g++) {
      const __mmask8 born = _mm512_cmple_epu64_mask(LOAD(sequence + r * 64 + g * 8), at);
      word |= (uint64_t)_mm512_mask_cmpgt_epu64_mask(born, LOAD(dead_at + r * 64 + g * 8), at) << (g * 8);
    }
    mask[r] &= word;
  }
}
static void unexpired(const int64_t *expiry, int64_t now, uint64_t *mask) {
  const V at = SET64(now);
  for (int r = 0; r < SIMD_WORDS; r++) {
    if (!mask[r]) continue;
    uint64_t word = 0;
    for (int g = 0; g < 8; g++) {
      word |= (uint64_t)_mm512_cmpgt_epi64_mask(LOAD(expiry + r * 64 + g * 8), at) << (g * 8);
    }
    mask[r] &= word;
  }
}

/* ---- strings ---- */
/* Each code tells where the next symbol begins, so one string waits for loads all the time: four are encoded in turns,
 * each the next of its quarter of them. Sixteen symbols that begin with the same two bytes are compared at once; and
 * nothing that differs from string to string is a branch, since a wrong guess costs more than a step. */
enum { STRING_LANES = 4 };

typedef struct StringLane {
  const uint8_t *at, *end;
  uint8_t *out, *begun, *first; /* the next code, the first one of this string, of all */
  uint32_t row, last;
} StringLane;

/* Of eight symbols, those that are the wanted bytes and do not reach behind the string. */
KERNEL unsigned equal_symbols(const SimdSymbols *s, unsigned first, V wanted, V behind) {
  const V differs = OR(XOR(wanted, LOAD(s->words + first)), behind);
  return _mm512_testn_epi64_mask(differs, LOAD(s->masks + first));
}

/* Codes the next symbol. What ends a string is taken over by masks. */
KERNEL void lane_step(const SimdSymbols *s, const uint8_t *text, const uint32_t *ends, uint32_t *made, StringLane *l) {
  uint64_t word;
  memcpy(&word, l->at, sizeof word);
  const size_t left = (size_t)(l->end - l->at);
  const unsigned bits = 8 * (unsigned)left | (0 - (unsigned)(left > 7)); /* of which bzhi takes the lowest eight */
  const V wanted = SET64(word), behind = SET64(~_bzhi_u64(UINT64_MAX, bits));
  const unsigned range = s->pairs[word & 0xffff];
  unsigned first = range & 0xff, count = (range >> 8) - first, hits;
  for (;; first += 16, count -= 16) {
    hits = equal_symbols(s, first, wanted, behind) | equal_symbols(s, first + 8, wanted, behind) << 8;
    hits = _bzhi_u32(hits, count);
    if (__builtin_expect(count <= 16 || hits, 1)) break;
  }
  const unsigned single = s->single[word & 0xff], symbol = first + (unsigned)__builtin_ctz(hits | 1 << 16);
  const unsigned none = 0 - ((hits - 1) >> 31);
  const unsigned code = symbol ^ ((symbol ^ single) & none);
  l->out[0] = (uint8_t)code;
  l->out[1] = (uint8_t)word;
  l->out += 1 + (code == SIMD_NO_SYMBOL);
  l->at += s->lengths[code];
  made[l->row] = (uint32_t)(l->out - l->begun);
  const bool ends_here = l->at == l->end;
  const uintptr_t other = 0 - (uintptr_t)ends_here;
  l->begun += (uintptr_t)(l->out - l->begun) & other;
  l->row += ends_here;
  l->end = text + ends[l->row];
}

/* Leaves out empty strings; returns how many there are. */
static uint32_t take_filled(const uint32_t *ends, uint32_t count, uint32_t *filled) {
  uint32_t taken = 0;
  for (uint32_t i = 0, before = 0; i < count; before = ends[i++]) {
    filled[taken] = ends[i];
    taken += ends[i] > before;
  }
  filled[taken] = 0;
  return taken;
}

static uint64_t encode_symbols(const SimdSymbols *symbols, const uint8_t *text, const uint32_t *ends, uint32_t count,
                               uint8_t *out, uint32_t *lengths) {
  uint32_t filled[SIMD_ROWS + 1], made[SIMD_ROWS + 1];
  const uint32_t taken = take_filled(ends, count, filled);
  StringLane lanes[STRING_LANES];
  bool live = taken >= STRING_LANES;
  for (uint32_t k = 0; k < STRING_LANES; k++) {
    const uint32_t row = k * taken / STRING_LANES, begin = row ? filled[row - 1] : 0;
    uint8_t *to = out + 2 * (size_t)begin;
    lanes[k] = (StringLane){ text + begin, text + filled[row], to, to, to, row, (k + 1) * taken / STRING_LANES };
  }
  while (live) {
#pragma GCC unroll 4
    for (uint32_t k = 0; k < STRING_LANES; k++) {
      lane_step(symbols, text, filled, made, &lanes[k]);
      live &= lanes[k].row < lanes[k].last;
    }
  }
  uint64_t total = 0;
  for (uint32_t k = 0; k < STRING_LANES; k++) {
    while (lanes[k].row < lanes[k].last) lane_step(symbols, text, filled, made, &lanes[k]);
    const size_t bytes = (size_t)(lanes[k].out - lanes[k].first);
    memmove(out + total, lanes[k].first, bytes);
    total += bytes;
  }
  for (uint32_t i = 0, before = 0, at = 0; i < count; before = ends[i++])
    lengths[i] = ends[i] > before ? made[at++] : 0;
  return total;
}

const SimdKernels simd_avx512_kernels = {
  .level = SIMD_AVX512,
  .name = "avx512",
  PACKED_KERNELS,
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
