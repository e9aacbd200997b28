/* simd.h - the kernels: what each one computes, and the table through which they are called.
 *
 * A kernel works on one whole block of 1,024 rows and cannot fail. The scalar table (simd_scalar.c) is the
 * specification and always there; the others give the same bits (SIMD-1). One table is chosen once, by what the
 * processor has; COLONNADE_KERNELS=scalar|avx2|avx512 in the environment asks for one (the next lower one that runs
 * here is taken).
 *
 * Packed blocks: 1,024 values of `width` bits (0 to 64) lie in interleaved lanes of 8, 16, 32 or 64 bits, the narrowest
 * that holds the width. With L = 1024 / lane lanes, value i belongs to lane i % L and is number i / L there; a lane is
 * a string of bits, least significant first, and word k of all lanes lies at bytes [128 k, 128 k + 128). So a block
 * takes 128 x width bytes, a vector load holds consecutive rows, and decode order is row order. A block whose width
 * equals its lane is a plain array. (FastLanes, Afroozeh and Boncz 2023, without its transposition.)
 *
 * Masks are 16 words in row order. Kernels that take `mask` as an output AND into it. `flip` is 0, or UINT64_MAX to
 * negate the verdict. Pointers to packed blocks and arrays need the alignment of their element, no more; aligned to 64
 * is faster. Threads: everything here may be called by any thread. */
#ifndef COLONNADE_SIMD_SIMD_H
#define COLONNADE_SIMD_SIMD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/counters.h"
#include "base/processor.h"

enum { SIMD_ROWS = 1024, SIMD_WORDS = 16, SIMD_WIDTHS = 65, SIMD_FEW_CODES = 8 };

/* What an array holds, for kernels that must know signs: in the order of ColumnType. */
typedef enum SimdType {
  SIMD_I8,
  SIMD_I16,
  SIMD_I32,
  SIMD_I64,
  SIMD_U8,
  SIMD_U16,
  SIMD_U32,
  SIMD_U64,
  SIMD_F32,
  SIMD_F64,
  SIMD_TYPES
} SimdType;

typedef enum SimdLevel {
  SIMD_SCALAR = PROCESSOR_PLAIN,
  SIMD_AVX2 = PROCESSOR_AVX2,
  SIMD_AVX512 = PROCESSOR_AVX512,
  SIMD_LEVELS = PROCESSOR_LEVELS
} SimdLevel;

#define SIMD_NO_DECIMAL (INT64_C(1) << 51)

/* x > limit, unsigned; limit below 2^width */
typedef void SimdAbove(const void *in, uint64_t limit, uint64_t flip, uint64_t *mask);
/* low <= x <= low + span, modulo the lane; equality is span 0 */
typedef void SimdRange(const void *in, uint64_t low, uint64_t span, uint64_t flip, uint64_t *mask);
/* 1,024 values as an array of the lane's width */
typedef void SimdUnpack(const void *in, void *out);
/* Adds the values whose bit is set in `mask` (NULL: all) to the 128-bit number sum[0] + 2^64 sum[1]. */
typedef void SimdSum(const void *in, const uint64_t *mask, uint64_t sum[2]);
/* Smallest and largest of (value ^ flip), unsigned, of the values whose bit is set in `mask` (at least one). */
typedef void SimdExtremes(const void *in, uint64_t flip, const uint64_t *mask, uint64_t *minimum, uint64_t *maximum);
/* out[i] = base + step * in[i], modulo the width of out; `in` and `out` may be the same address when equally wide */
typedef void SimdScale(const void *in, uint64_t base, uint64_t step, void *out);
/* Packs an array of the lane's width, each value below 2^width (width >= 1), into 128 x width bytes. */
typedef void SimdPack(const void *in, unsigned width, void *out);

/* flags[i] = a[i] is less than, or equal to, b[i]: 1 or 0. Floats in the total order of docs/semantics.md. */
typedef void SimdPair(const void *a, const void *b, uint8_t *flags);
/* flags[i] = (in[i] & mask) == wanted */
typedef void SimdBits(const void *in, uint64_t mask, uint64_t wanted, uint8_t *flags);

/* Symbols of 1 to 8 bytes by their codes, 0 to 254; 255 stands for no symbol. Of two bytes and more they are numbered
 * by their first two bytes, and of those with the same the longest first. */
enum { SIMD_NO_SYMBOL = 255 };
typedef struct SimdSymbols {
  uint64_t words[SIMD_NO_SYMBOL + 16],
    masks[SIMD_NO_SYMBOL + 16];        /* the bytes, first one lowest; ones where there are any */
  uint8_t lengths[SIMD_NO_SYMBOL + 1]; /* of SIMD_NO_SYMBOL: 1 */
  uint8_t single[256];                 /* code of the symbol that is this byte */
  uint16_t *pairs; /* 65,536: first code of those that begin with these two bytes | the code behind the last << 8 */
} SimdSymbols;

/* Numbers between `least` and `least` + `range`, modulo 2^64: x is one of them when bit x - least of `words` is one.
 * before[w]: how many ones there are in the words before word w. */
typedef struct SimdSet {
  uint64_t least, range;
  const uint64_t *words;
  const uint32_t *before;
} SimdSet;
#define SIMD_NO_PLACE UINT32_MAX

typedef struct SimdKernels {
  SimdLevel level;
  const char *name;

  /* ---- packed blocks, by width; entries 8, 16, 32 and 64 serve plain arrays (of signed numbers too: ranges, with low
   * and span modulo the width) ---- */
  SimdAbove *above[SIMD_WIDTHS];
  SimdRange *range[SIMD_WIDTHS];
  SimdUnpack *unpack[SIMD_WIDTHS];
  SimdSum *sum[SIMD_WIDTHS];

  /* ---- arrays, by the logarithm of their bytes: 0 for 1 byte .. 3 for 8 bytes ---- */
  SimdExtremes *extremes[4];
  SimdPack *pack[4];
  SimdScale *scale[4][4]; /* [bytes of in][bytes of out] */
  /* values[i] becomes before + values[0] + .. + values[i], modulo 2^64 */
  void (*running_sum)(uint64_t *values, uint64_t before);
  /* How many of values[1] .. values[count - 1] are not the one before, and the least and the greatest difference to it,
   * modulo 2^64, as signed numbers. `count` is 2 to 1,024. */
  uint32_t (*steps)(const uint64_t *values, uint32_t count, int64_t range[2]);

  /* ---- two arrays of one type; bits of one, by the logarithm of its bytes ---- */
  SimdPair *less[SIMD_TYPES], *equal[SIMD_TYPES];
  SimdBits *bits[4];

  /* ---- arithmetic of `count` entries, at most 1,024; `out` may be an input ---- */
  void (*add_f64)(const double *a, const double *b, uint32_t count, double *out);
  void (*subtract_f64)(const double *a, const double *b, uint32_t count, double *out);
  void (*multiply_f64)(const double *a, const double *b, uint32_t count, double *out);
  void (*divide_f64)(const double *a, const double *b, uint32_t count, double *out);
  /* Modulo 2^64; not 0 when one of the results does not fit. */
  uint64_t (*add_i64)(const int64_t *a, const int64_t *b, uint32_t count, int64_t *out);
  uint64_t (*subtract_i64)(const int64_t *a, const int64_t *b, uint32_t count, int64_t *out);
  void (*multiply_i64)(const int64_t *a, const int64_t *b, uint32_t count, int64_t *out); /* modulo 2^64 */
  void (*multiply_i32)(const int64_t *a, const int64_t *b, uint32_t count, int64_t *out); /* all fit 32 bits */
  /* Entries of a narrower type; of integers, and of all. Not in place. */
  void (*widen_i64[SIMD_U64 + 1])(const void *in, uint32_t count, int64_t *out);
  void (*widen_f64[SIMD_F32 + 1])(const void *in, uint32_t count, double *out);

  /* ---- groups: `count` entries, at most 1,024, each with its code ---- */
  /* codes[i] += step * digits[i], modulo 2^16 */
  void (*add_digits)(const uint16_t *digits, uint16_t step, uint32_t count, uint16_t *codes);
  /* counts[c] += how often code c stands, for c below code_count, which is at most SIMD_FEW_CODES; entries of other
   * codes count for nothing. */
  void (*count_few_codes)(const uint16_t *codes, uint32_t count, uint32_t code_count, uint64_t *counts);
  /* codes[i] = to[codes[i]] of all SIMD_ROWS entries, whose codes are below 16 */
  void (*map_codes)(uint8_t *codes, const uint8_t to[16]);
  /* sums[c] += the entries of code c, modulo 2^64, likewise: of all SIMD_ROWS entries, unsigned numbers below 2^width
   * in lanes of that width (64: any). */
  void (*sum_few_codes)(const void *values, unsigned width, const uint8_t *codes, uint32_t code_count, uint64_t *sums);

  /* ---- floats. Total order of docs/semantics.md: -0.0 equals 0.0, every NaN equal and above infinity. ---- */
  /* low <= x <= high, or x is NaN and `nan` is set; low and high are no NaNs */
  void (*range_f32)(const float *in, float low, float high, bool nan, uint64_t flip, uint64_t *mask);
  void (*range_f64)(const double *in, double low, double high, bool nan, uint64_t flip, uint64_t *mask);
  /* lanes[i % 8] += x for every selected row i, in order of i; mask NULL: all */
  void (*sum_f32)(const float *in, const uint64_t *mask, double lanes[8]);
  void (*sum_f64)(const double *in, const uint64_t *mask, double lanes[8]);
  /* lanes[i % 8] += (x - center)^2, as sum_f64 */
  void (*squares_f64)(const double *in, const uint64_t *mask, double center, double lanes[8]);
  /* (base + in[i]) x multiply x divide, in this order, in doubles; |base + in[i]| < 2^51. By the logarithm of the bytes
   * of in. f32: rounded once more. */
  void (*decimal_f64[4])(const void *in, int64_t base, double multiply, double divide, double *out);
  void (*decimal_f32[4])(const void *in, int64_t base, double multiply, double divide, float *out);
  /* The way back: out[i] = the whole number nearest to in[i] x powers[0] x powers[1], where that number x powers[2] x
   * powers[3] has the very bits of in[i] and is within 2^51; else SIMD_NO_DECIMAL. Returns how many are that. */
  uint32_t (*integers_f64)(const double *in, uint32_t count, const double powers[4], int64_t *out);
  uint32_t (*integers_f32)(const float *in, uint32_t count, const double powers[4], int64_t *out);
  /* Bits of floats: right[i] | lefts[codes[i]]; codes below 8 */
  void (*glue64)(const uint64_t *right, const uint8_t *codes, const uint64_t lefts[8], uint64_t *out);
  void (*glue32)(const uint32_t *right, const uint8_t *codes, const uint64_t lefts[8], uint32_t *out);
  /* float_image of base/schema.h */
  void (*image_f32)(const float *in, int64_t *out);
  void (*image_f64)(const double *in, int64_t *out);

  /* ---- codes: is bit code of `set` one? 4 words for bytes; for 16 bits as many words as the codes need ---- */
  void (*member8)(const uint8_t *codes, const uint64_t *set, uint64_t flip, uint64_t *mask);
  void (*member16)(const uint16_t *codes, const uint64_t *set, uint64_t flip, uint64_t *mask);

  /* ---- sets of numbers of 64 bits ---- */
  void (*member64)(const uint64_t *values, const SimdSet *set, uint64_t flip, uint64_t *mask);
  /* places[i] = how many members are less than values[i], counted from the least; SIMD_NO_PLACE when it is none.
   * `count` is at most 1,024. */
  void (*place64)(const uint64_t *values, const SimdSet *set, uint32_t count, uint32_t *places);

  /* ---- strings ---- */
  /* Writes each string as codes of the longest symbols that follow; a byte of none is SIMD_NO_SYMBOL and itself. String
   * i ends at text + ends[i], where the next one begins; 8 bytes behind the last are read. `out` has twice the text's
   * bytes; lengths[i] of them are string i's. Returns the sum of these. `count` is at most 1,024. */
  uint64_t (*encode_symbols)(const SimdSymbols *symbols, const uint8_t *text, const uint32_t *ends, uint32_t count,
                             uint8_t *out, uint32_t *lengths);

  /* ---- arrays that are larger than the caches ---- */
  /* Copies `size` bytes, a multiple of 64, to an address that is one, past the caches: what was there is not read for
   * it. Other threads see it after a fence (atomic_thread_fence) of this one. */
  void (*copy_past)(void *restrict to, const void *restrict from, size_t size);

  /* ---- rows ---- */
  /* sequence[i] <= snapshot < dead_at[i], unsigned */
  void (*visible)(const uint64_t *sequence, const uint64_t *dead_at, uint64_t snapshot, uint64_t *mask);
  /* expiry[i] > now, signed */
  void (*unexpired)(const int64_t *expiry, int64_t now, uint64_t *mask);

  /* ---- masks of any number of words ---- */
  uint64_t (*mask_count)(const uint64_t *words, size_t word_count);
  /* counts[b] = how many bits of words[16 b] .. words[16 b + 15] are one */
  void (*mask_counts)(const uint64_t *words, size_t block_count, uint16_t *counts);
  void (*mask_and)(uint64_t *words, const uint64_t *other, size_t word_count);
} SimdKernels;

extern _Atomic(const SimdKernels *) simd_active;
const SimdKernels *simd_choose(void); /* the first call of simd_kernels */

/* The table in use. Never NULL; the same for the life of the process, unless a test forces another. */
static inline const SimdKernels *simd_kernels(void) {
  const SimdKernels *k = atomic_load_explicit(&simd_active, memory_order_acquire);
  return __builtin_expect(k != NULL, 1) ? k : simd_choose();
}
/* The table of a level, NULL when this build or this processor does not have it. SIMD_SCALAR is always there. */
const SimdKernels *simd_table(SimdLevel level);
/* For tests and benchmarks: everybody uses this table from now on. NULL goes back to the choice. */
void simd_force(const SimdKernels *table);

/* Counts `blocks` kernel calls through a table (counters kernel_scalar, kernel_avx2, kernel_avx512): once per batch. */
static inline void simd_count(const SimdKernels *k, uint64_t blocks) {
  counter_add_often(k->level == SIMD_AVX512 ? COUNTER_kernel_avx512
                    : k->level == SIMD_AVX2 ? COUNTER_kernel_avx2
                                            : COUNTER_kernel_scalar,
                    blocks);
}

/* ---- the layout of packed blocks ---- */
static inline unsigned simd_lane(unsigned width) { return width <= 8 ? 8 : width <= 16 ? 16 : width <= 32 ? 32 : 64; }
/* Bits that hold every number up to `maximum`. */
static inline unsigned simd_width(uint64_t maximum) { return maximum ? 64u - (unsigned)__builtin_clzll(maximum) : 0; }
static inline uint64_t simd_width_mask(unsigned width) { return width >= 64 ? UINT64_MAX : (UINT64_C(1) << width) - 1; }
/* log2 of the bytes of a lane: the index of the array kernels. */
static inline unsigned simd_lane_index(unsigned width) {
  return width <= 8 ? 0 : width <= 16 ? 1 : width <= 32 ? 2 : 3;
}

/* Inlined wherever they stand, which gcc does not do by itself for the scalar kernels: each knows its width. */
__attribute__((always_inline)) static inline uint64_t simd_word(const void *p, unsigned bytes) {
  uint8_t byte;
  uint16_t two;
  uint32_t four;
  uint64_t eight;
  switch (bytes) {
  case 1: memcpy(&byte, p, 1); return byte;
  case 2: memcpy(&two, p, 2); return two;
  case 4: memcpy(&four, p, 4); return four;
  default: memcpy(&eight, p, 8); return eight;
  }
}
/* Value i of a packed block: one or two words, 128 bytes apart. `lane` is that of the width, which is not 0; faster
 * when it is a constant. */
__attribute__((always_inline)) static inline uint64_t simd_packed_in_lane(const void *in, unsigned lane, unsigned width,
                                                                          unsigned i) {
  unsigned lanes = SIMD_ROWS / lane, bytes = lane / 8;
  unsigned at = i / lanes * width, shift = at % lane;
  const uint8_t *p = (const uint8_t *)in + at / lane * 128 + i % lanes * bytes;
  uint64_t value = simd_word(p, bytes) >> shift;
  if (shift + width > lane) value |= simd_word(p + 128, bytes) << (lane - shift);
  return value & simd_width_mask(width);
}

__attribute__((always_inline)) static inline uint64_t simd_packed_value(const void *in, unsigned width, unsigned i) {
  return width ? simd_packed_in_lane(in, simd_lane(width), width, i) : 0;
}

/* Asks for the cache lines `ahead` bytes further on than [p, p + length). */
static inline void simd_prefetch(const void *p, size_t length, size_t ahead) {
  for (size_t at = 0; at < length; at += 64) __builtin_prefetch((const void *)((uintptr_t)p + ahead + at), 0, 3);
}

#endif
