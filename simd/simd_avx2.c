/* simd_avx2.c - the kernels with vectors of 256 bits; through simde on processors and builds without AVX2. */
#include "simd/simd.h"

#include "simd/arithmetic_internal.h"
#include "simd/intrinsics.h"
#include "simd/kernels_internal.h"
#include "simd/loops_internal.h"
#include "simd/pairs_internal.h"

/* ---- the vector of packed_internal.h ---- */
#define V               __m256i
#define M               __m256i
#define VECTOR          32
#define GROUPS          4
#define ZERO            _mm256_setzero_si256()
#define LOAD(p)         _mm256_loadu_si256((const void *)(p))
#define STORE(p, v)     _mm256_storeu_si256((void *)(p), v)
#define AND(a, b)       _mm256_and_si256(a, b)
#define OR(a, b)        _mm256_or_si256(a, b)
#define XOR(a, b)       _mm256_xor_si256(a, b)
#define SELECT(m, a, b) OR(AND(m, a), _mm256_andnot_si256(m, b))
#define SET8(x)         _mm256_set1_epi8((char)(x))
#define SET16(x)        _mm256_set1_epi16((short)(x))
#define SET32(x)        _mm256_set1_epi32((int)(x))
#define SET64(x)        _mm256_set1_epi64x((long long)(x))
#define SHR8(v, s)      _mm256_srli_epi16(v, s)
#define SHL8(v, s)      _mm256_slli_epi16(v, s)
#define SHR16(v, s)     _mm256_srli_epi16(v, s)
#define SHL16(v, s)     _mm256_slli_epi16(v, s)
#define SHR32(v, s)     _mm256_srli_epi32(v, s)
#define SHL32(v, s)     _mm256_slli_epi32(v, s)
#define SHR64(v, s)     _mm256_srli_epi64(v, s)
#define SHR64_BY(v, s)  _mm256_srl_epi64(v, _mm_cvtsi32_si128(s))
#define SHL64_BY(v, s)  _mm256_sll_epi64(v, _mm_cvtsi32_si128(s))
#define ADD32(a, b)     _mm256_add_epi32(a, b)
#define ADD64(a, b)     _mm256_add_epi64(a, b)
#define SAD8(v)         _mm256_sad_epu8(v, ZERO)

#define EQ8(a, b)  _mm256_cmpeq_epi8(a, b)
#define EQ16(a, b) _mm256_cmpeq_epi16(a, b)
#define EQ32(a, b) _mm256_cmpeq_epi32(a, b)
#define EQ64(a, b) _mm256_cmpeq_epi64(a, b)

/* There is no unsigned compare: signed ones when the sign bit is free, else after turning the sign bits round. */
#define SIGNED_GT(B, BITS)                         \
  KERNEL V gt##B(V a, V limit, bool small) {       \
    const V sign = SET##B(UINT64_C(1) << (B - 1)); \
    if (small) return BITS(a, limit);              \
    return BITS(XOR(a, sign), XOR(limit, sign));   \
  }
SIGNED_GT(8, _mm256_cmpgt_epi8)
SIGNED_GT(16, _mm256_cmpgt_epi16)
SIGNED_GT(32, _mm256_cmpgt_epi32)
SIGNED_GT(64, _mm256_cmpgt_epi64)
#define GT8  gt8
#define GT16 gt16
#define GT32 gt32
#define GT64 gt64

/* d <= span is min(d, span) == d. */
KERNEL V range_8(V x, V low, V span) {
  const V d = _mm256_sub_epi8(x, low);
  return EQ8(_mm256_min_epu8(d, span), d);
}
KERNEL V range_16(V x, V low, V span) {
  const V d = _mm256_sub_epi16(x, low);
  return EQ16(_mm256_min_epu16(d, span), d);
}
KERNEL V range_32(V x, V low, V span) {
  const V d = _mm256_sub_epi32(x, low);
  return EQ32(_mm256_min_epu32(d, span), d);
}
KERNEL V range_64(V x, V low, V span) { return XOR(gt64(_mm256_sub_epi64(x, low), span, false), SET64(UINT64_MAX)); }
#define RANGE8  range_8
#define RANGE16 range_16
#define RANGE32 range_32
#define RANGE64 range_64

KERNEL V min64(V a, V b) { return _mm256_blendv_epi8(a, b, gt64(a, b, false)); }
KERNEL V max64(V a, V b) { return _mm256_blendv_epi8(b, a, gt64(a, b, false)); }
#define MIN8  _mm256_min_epu8
#define MAX8  _mm256_max_epu8
#define MIN16 _mm256_min_epu16
#define MAX16 _mm256_max_epu16
#define MIN32 _mm256_min_epu32
#define MAX32 _mm256_max_epu32
#define MIN64 min64
#define MAX64 max64

KERNEL uint64_t byte_bits(V v) { return (uint32_t)_mm256_movemask_epi8(v); }
KERNEL uint64_t bits8(const V m[4], int half) { return byte_bits(m[2 * half]) | byte_bits(m[2 * half + 1]) << 32; }
/* Packing works within halves of 128 bits; the permutation puts their quarters back in order. */
KERNEL uint64_t pair_bits16(V a, V b) { return byte_bits(_mm256_permute4x64_epi64(_mm256_packs_epi16(a, b), 0xd8)); }
KERNEL uint64_t bits16(const V m[4]) { return pair_bits16(m[0], m[1]) | pair_bits16(m[2], m[3]) << 32; }
KERNEL uint64_t bits32(const V m[4]) {
  const V bytes = _mm256_packs_epi16(_mm256_packs_epi32(m[0], m[1]), _mm256_packs_epi32(m[2], m[3]));
  return byte_bits(_mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
}
KERNEL uint64_t quad_bits(V v) { return (uint64_t)(unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(v)); }
KERNEL uint64_t bits64(const V m[4]) {
  return quad_bits(m[0]) | quad_bits(m[1]) << 4 | quad_bits(m[2]) << 8 | quad_bits(m[3]) << 12;
}
#define BITS8  bits8
#define BITS16 bits16
#define BITS32 bits32
#define BITS64 bits64

/* From bits to elements of ones: each element looks at its own bit of the broadcast ones. */
KERNEL V keep8(V v, const uint64_t *mask, int r, int g) {
  const V spread = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const V own = SET64(0x8040201008040201);
  const V bits = _mm256_shuffle_epi8(SET32(mask[2 * r + g / 2] >> (g % 2 * 32)), spread);
  return AND(v, EQ8(AND(bits, own), own));
}
KERNEL V keep16(V v, const uint64_t *mask, int r, int g) {
  const V own = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, -32768);
  return AND(v, EQ16(AND(SET16(mask[r] >> (g * 16)), own), own));
}
KERNEL V keep32(V v, const uint64_t *mask, int r, int g) {
  const V own = _mm256_slli_epi32(_mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128), g * 8);
  return AND(v, EQ32(AND(SET32(mask[r / 2] >> (r % 2 * 32)), own), own));
}
KERNEL V keep64(V v, const uint64_t *mask, int r, int g) {
  const V own = _mm256_setr_epi64x(1, 2, 4, 8);
  return AND(v, EQ64(AND(SET64(mask[r / 4] >> (r % 4 * 16 + g * 4)), own), own));
}
#define KEEP8  keep8
#define KEEP16 keep16
#define KEEP32 keep32
#define KEEP64 keep64

#include "simd/packed_internal.h"

/* ---- floats ---- */
static void range_f32(const float *in, float low, float high, bool nan, uint64_t flip, uint64_t *mask) {
  const __m256 vlow = _mm256_set1_ps(low), vhigh = _mm256_set1_ps(high);
  const __m256 take_nan = _mm256_castsi256_ps(nan ? SET64(UINT64_MAX) : ZERO);
  for (int r = 0; r < SIMD_WORDS; r++) {
    uint64_t word = 0;
    for (int g = 0; g < 8; g++) {
      const __m256 x = _mm256_loadu_ps(in + r * 64 + g * 8);
      const __m256 inside = _mm256_and_ps(_mm256_cmp_ps(x, vlow, _CMP_GE_OQ), _mm256_cmp_ps(x, vhigh, _CMP_LE_OQ));
      const __m256 is_nan = _mm256_and_ps(_mm256_cmp_ps(x, x, _CMP_UNORD_Q), take_nan);
      word |= (uint64_t)(unsigned)_mm256_movemask_ps(_mm256_or_ps(inside, is_nan)) << (g * 8);
    }
    mask[r] &= word ^ flip;
  }
}
static void range_f64(const double *in, double low, double high, bool nan, uint64_t flip, uint64_t *mask) {
  const __m256d vlow = _mm256_set1_pd(low), vhigh = _mm256_set1_pd(high);
  const __m256d take_nan = _mm256_castsi256_pd(nan ? SET64(UINT64_MAX) : ZERO);
  for (int r = 0; r < SIMD_WORDS; r++) {
    uint64_t word = 0;
    for (int g = 0; g < 16; g++) {
      const __m256d x = _mm256_loadu_pd(in + r * 64 + g * 4);
      const __m256d inside = _mm256_and_pd(_mm256_cmp_pd(x, vlow, _CMP_GE_OQ), _mm256_cmp_pd(x, vhigh, _CMP_LE_OQ));
      const __m256d is_nan = _mm256_and_pd(_mm256_cmp_pd(x, x, _CMP_UNORD_Q), take_nan);
      word |= (uint64_t)(unsigned)_mm256_movemask_pd(_mm256_or_pd(inside, is_nan)) << (g * 4);
    }
    mask[r] &= word ^ flip;
  }
}

/* The eight lanes of the contract are two vectors. A row that is not selected adds 0.0, which changes no lane: a lane
 * that began at 0.0 is never -0.0. */
KERNEL __m256d sum_step(__m256d lane, __m256d x, const bool masked, uint64_t bits) {
  if (masked) {
    const V own = _mm256_setr_epi64x(1, 2, 4, 8);
    x = _mm256_and_pd(x, _mm256_castsi256_pd(EQ64(AND(SET64(bits), own), own)));
  }
  return _mm256_add_pd(lane, x);
}
KERNEL void sum_f64_body(const double *in, const bool masked, const uint64_t *mask, double lanes[8]) {
  __m256d first = _mm256_loadu_pd(lanes), second = _mm256_loadu_pd(lanes + 4);
  for (int i = 0; i < SIMD_ROWS; i += 8) {
    const uint64_t bits = masked ? mask[i / 64] >> (i % 64) : 0;
    first = sum_step(first, _mm256_loadu_pd(in + i), masked, bits);
    second = sum_step(second, _mm256_loadu_pd(in + i + 4), masked, bits >> 4);
  }
  _mm256_storeu_pd(lanes, first);
  _mm256_storeu_pd(lanes + 4, second);
}
KERNEL void sum_f32_body(const float *in, const bool masked, const uint64_t *mask, double lanes[8]) {
  __m256d first = _mm256_loadu_pd(lanes), second = _mm256_loadu_pd(lanes + 4);
  for (int i = 0; i < SIMD_ROWS; i += 8) {
    const uint64_t bits = masked ? mask[i / 64] >> (i % 64) : 0;
    first = sum_step(first, _mm256_cvtps_pd(_mm_loadu_ps(in + i)), masked, bits);
    second = sum_step(second, _mm256_cvtps_pd(_mm_loadu_ps(in + i + 4)), masked, bits >> 4);
  }
  _mm256_storeu_pd(lanes, first);
  _mm256_storeu_pd(lanes + 4, second);
}
static void sum_f64(const double *in, const uint64_t *mask, double lanes[8]) {
  if (mask)
    sum_f64_body(in, true, mask, lanes);
  else
    sum_f64_body(in, false, NULL, lanes);
}
KERNEL __m256d squares_at(const double *in, __m256d center) {
  const __m256d distance = _mm256_sub_pd(_mm256_loadu_pd(in), center);
  return _mm256_mul_pd(distance, distance);
}
KERNEL void squares_body(const double *in, const bool masked, const uint64_t *mask, double center, double lanes[8]) {
  const __m256d from = _mm256_set1_pd(center);
  __m256d first = _mm256_loadu_pd(lanes), second = _mm256_loadu_pd(lanes + 4);
  for (int i = 0; i < SIMD_ROWS; i += 8) {
    const uint64_t bits = masked ? mask[i / 64] >> (i % 64) : 0;
    first = sum_step(first, squares_at(in + i, from), masked, bits);
    second = sum_step(second, squares_at(in + i + 4, from), masked, bits >> 4);
  }
  _mm256_storeu_pd(lanes, first);
  _mm256_storeu_pd(lanes + 4, second);
}
static void squares_f64(const double *in, const uint64_t *mask, double center, double lanes[8]) {
  if (mask)
    squares_body(in, true, mask, center, lanes);
  else
    squares_body(in, false, NULL, center, lanes);
}
static void sum_f32(const float *in, const uint64_t *mask, double lanes[8]) {
  if (mask)
    sum_f32_body(in, true, mask, lanes);
  else
    sum_f32_body(in, false, NULL, lanes);
}

/* ---- running sums ---- */
/* Within a vector by doubling distances; then the sum of the vectors before is added to all lanes. */
static void running_sum(uint64_t *values, uint64_t before) {
  V carry = SET64(before);
  for (int i = 0; i < SIMD_ROWS; i += 4) {
    V x = LOAD(values + i);
    x = ADD64(x, _mm256_slli_si256(x, 8));
    x = ADD64(x, _mm256_blend_epi32(ZERO, _mm256_permute4x64_epi64(x, 0x50), 0xf0));
    STORE(values + i, ADD64(x, carry));
    carry = ADD64(carry, _mm256_permute4x64_epi64(x, 0xff));
  }
}

/* ---- bits of floats: the halves of eight left parts are two vectors ---- */
KERNEL V low_halves(const uint64_t *words) { /* of eight words, in order */
  const V even = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
  const V front = _mm256_permutevar8x32_epi32(LOAD(words), even);
  const V back = _mm256_permutevar8x32_epi32(LOAD(words + 4), even);
  return _mm256_blend_epi32(front, back, 0xf0);
}
static void glue64(const uint64_t *right, const uint8_t *codes, const uint64_t lefts[8], uint64_t *out) {
  uint64_t highs[8];
  for (unsigned i = 0; i < 8; i++) highs[i] = lefts[i] >> 32;
  const V low = low_halves(lefts), high = low_halves(highs);
  for (int i = 0; i < SIMD_ROWS; i += 8) {
    const V code = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)(codes + i)));
    const V a = _mm256_permutevar8x32_epi32(low, code), b = _mm256_permutevar8x32_epi32(high, code);
    const V front = _mm256_unpacklo_epi32(a, b), back = _mm256_unpackhi_epi32(a, b); /* 0 1 4 5 and 2 3 6 7 */
    STORE(out + i, OR(LOAD(right + i), _mm256_permute2x128_si256(front, back, 0x20)));
    STORE(out + i + 4, OR(LOAD(right + i + 4), _mm256_permute2x128_si256(front, back, 0x31)));
  }
}
static void glue32(const uint32_t *right, const uint8_t *codes, const uint64_t lefts[8], uint32_t *out) {
  const V table = low_halves(lefts);
  for (int i = 0; i < SIMD_ROWS; i += 8) {
    const V code = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)(codes + i)));
    STORE(out + i, OR(LOAD(right + i), _mm256_permutevar8x32_epi32(table, code)));
  }
}

/* ---- codes ---- */
/* Code c is bit c % 8 of byte c / 8: two shuffles look up the byte among 32, a third gives the bit. */
static void member8(const uint8_t *codes, const uint64_t *set, uint64_t flip, uint64_t *mask) {
  const V all = LOAD(set), front = _mm256_permute4x64_epi64(all, 0x44), back = _mm256_permute4x64_epi64(all, 0xee);
  const V bit_of = SET64(0x8040201008040201), seven = SET8(7), low5 = SET8(31), fifteen = SET8(15);
  for (int r = 0; r < SIMD_WORDS; r++) {
    uint64_t word = 0;
    for (int g = 0; g < 2; g++) {
      const V c = LOAD(codes + r * 64 + g * 32);
      const V at = AND(_mm256_srli_epi16(c, 3), low5);
      const V upper = _mm256_cmpgt_epi8(at, fifteen);
      const V byte =
        _mm256_blendv_epi8(_mm256_shuffle_epi8(front, at), _mm256_shuffle_epi8(back, AND(at, fifteen)), upper);
      const V bit = _mm256_shuffle_epi8(bit_of, AND(c, seven));
      word |= byte_bits(EQ8(AND(byte, bit), bit)) << (g * 32);
    }
    mask[r] &= word ^ flip;
  }
}
/* Eight words of 32 bits a gather; the bit wanted is shifted into the sign. */
static void member16(const uint16_t *codes, const uint64_t *set, uint64_t flip, uint64_t *mask) {
  const V thirty_one = SET32(31);
  for (int r = 0; r < SIMD_WORDS; r++) {
    uint64_t word = 0;
    for (int g = 0; g < 8; g++) {
      const V c = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)(codes + r * 64 + g * 8)));
      const V found = _mm256_i32gather_epi32((const int *)set, _mm256_srli_epi32(c, 5), 4);
      const V sign = _mm256_sllv_epi32(found, _mm256_andnot_si256(c, thirty_one));
      word |= (uint64_t)(unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(sign)) << (g * 8);
    }
    mask[r] &= word ^ flip;
  }
}

/* The bit that is asked for becomes the sign. */
static void member64(const uint64_t *values, const SimdSet *set, uint64_t flip, uint64_t *mask) {
  const V least = SET64(set->least), sign = SET64(UINT64_C(1) << 63), range = SET64(set->range ^ UINT64_C(1) << 63);
  const V low6 = SET64(63), all = SET64(UINT64_MAX);
  for (int r = 0; r < SIMD_WORDS; r++) {
    if (!mask[r]) continue;
    uint64_t word = 0;
    for (int g = 0; g < 16; g++) {
      const V at = _mm256_sub_epi64(LOAD(values + r * 64 + g * 4), least);
      const V within = XOR(_mm256_cmpgt_epi64(XOR(at, sign), range), all);
      const V found = _mm256_mask_i64gather_epi64(ZERO, (const void *)set->words, SHR64(at, 6), within, 8);
      word |= quad_bits(_mm256_sllv_epi64(found, _mm256_andnot_si256(at, low6))) << (g * 4);
    }
    mask[r] &= word ^ flip;
  }
}

/* ---- groups ---- */
#define CODES16(p)                  _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)(p)))
#define CODES32(p)                  _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)(p)))
#define CODES64(p)                  _mm256_cvtepu8_epi64(_mm_cvtsi32_si128((int)simd_word(p, 4)))
#define PICK8(code, c, v)           AND(EQ8(code, c), v)
#define PICK16(code, c, v)          AND(EQ16(code, c), v)
#define ADD_IF32(total, code, c, v) ADD32(total, AND(EQ32(code, c), v))
#define ADD_IF64(total, code, c, v) ADD64(total, AND(EQ64(code, c), v))

#include "simd/few_codes_internal.h"

static void map_codes(uint8_t *codes, const uint8_t to[16]) {
  const V table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)to));
  for (int i = 0; i < SIMD_ROWS; i += VECTOR) STORE(codes + i, _mm256_shuffle_epi8(table, LOAD(codes + i)));
}

static void copy_past(void *restrict to, const void *restrict from, size_t size) {
  uint8_t *out = to;
  const uint8_t *in = from;
  for (size_t i = 0; i < size; i += VECTOR) _mm256_stream_si256((void *)(out + i), LOAD(in + i));
}

/* ---- rows ---- */
static void visible(const uint64_t *sequence, const uint64_t *dead_at, uint64_t snapshot, uint64_t *mask) {
  const V sign = SET64(UINT64_C(1) << 63), at = XOR(SET64(snapshot), sign);
  for (int r = 0; r < SIMD_WORDS; r++) {
    if (!mask[r]) continue;
    uint64_t word = 0;
    for (int g = 0; g < 16; g++) {
      const V born = XOR(LOAD(sequence + r * 64 + g * 4), sign), dead = XOR(LOAD(dead_at + r * 64 + g * 4), sign);
      const V later = _mm256_cmpgt_epi64(born, at), alive = _mm256_cmpgt_epi64(dead, at);
      word |= quad_bits(_mm256_andnot_si256(later, alive)) << (g * 4);
    }
    mask[r] &= word;
  }
}
static void unexpired(const int64_t *expiry, int64_t now, uint64_t *mask) {
  const V at = SET64(now);
  for (int r = 0; r < SIMD_WORDS; r++) {
    if (!mask[r]) continue;
    uint64_t word = 0;
    for (int g = 0; g < 16; g++) word |= quad_bits(_mm256_cmpgt_epi64(LOAD(expiry + r * 64 + g * 4), at)) << (g * 4);
    mask[r] &= word;
  }
}

static uint64_t encode_symbols(const SimdSymbols *symbols, const uint8_t *text, const uint32_t *ends, uint32_t count,
                               uint8_t *out, uint32_t *lengths) {
  return encode_each_string(symbols, text, ends, count, out, lengths);
}

const SimdKernels simd_avx2_kernels = {
  .level = SIMD_AVX2,
  .name = "avx2",
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
