/* arithmetic_internal.h - arithmetic of columns: loops that the compiler vectorises, as those of loops_internal.h. Of
 * `count` entries, at most 1,024; `out` may be one of the inputs. */
#ifndef COLONNADE_SIMD_ARITHMETIC_INTERNAL_H
#define COLONNADE_SIMD_ARITHMETIC_INTERNAL_H

#include "simd/kernels_internal.h"

#define FLOAT_LOOP(NAME, OPERATOR)                                                        \
  static void NAME##_f64(const double *a, const double *b, uint32_t count, double *out) { \
    for (uint32_t i = 0; i < count; i++) out[i] = a[i] OPERATOR b[i];                     \
  }
FLOAT_LOOP(add, +)
FLOAT_LOOP(subtract, -)
FLOAT_LOOP(multiply, *)
FLOAT_LOOP(divide, /)

/* Both signs unlike the result's: it has wrapped. */
static uint64_t add_i64(const int64_t *a, const int64_t *b, uint32_t count, int64_t *out) {
  uint64_t wrapped = 0;
  for (uint32_t i = 0; i < count; i++) {
    const uint64_t x = (uint64_t)a[i], y = (uint64_t)b[i], sum = x + y;
    wrapped |= (x ^ sum) & (y ^ sum);
    out[i] = (int64_t)sum;
  }
  return wrapped >> 63;
}
static uint64_t subtract_i64(const int64_t *a, const int64_t *b, uint32_t count, int64_t *out) {
  uint64_t wrapped = 0;
  for (uint32_t i = 0; i < count; i++) {
    const uint64_t x = (uint64_t)a[i], y = (uint64_t)b[i], difference = x - y;
    wrapped |= (x ^ y) & (x ^ difference);
    out[i] = (int64_t)difference;
  }
  return wrapped >> 63;
}
static void multiply_i64(const int64_t *a, const int64_t *b, uint32_t count, int64_t *out) {
  for (uint32_t i = 0; i < count; i++) out[i] = (int64_t)((uint64_t)a[i] * (uint64_t)b[i]);
}
static void multiply_i32(const int64_t *a, const int64_t *b, uint32_t count, int64_t *out) {
  for (uint32_t i = 0; i < count; i++) out[i] = (int64_t)(int32_t)a[i] * (int64_t)(int32_t)b[i];
}

static uint32_t steps(const uint64_t *values, uint32_t count, int64_t range[2]) {
  uint64_t changes = 0;
  int64_t least = INT64_MAX, most = INT64_MIN;
  for (uint32_t i = 1; i < count; i++) {
    const int64_t step = (int64_t)(values[i] - values[i - 1]);
    changes += step != 0;
    least = step < least ? step : least;
    most = step > most ? step : most;
  }
  range[0] = least;
  range[1] = most;
  return (uint32_t)changes;
}

#define WIDEN_LOOP(SUFFIX, T)                                                                      \
  static void widen_i64_##SUFFIX(const void *restrict in, uint32_t count, int64_t *restrict out) { \
    const T *restrict from = in;                                                                   \
    for (uint32_t i = 0; i < count; i++) out[i] = (int64_t)from[i];                                \
  }                                                                                                \
  static void widen_f64_##SUFFIX(const void *restrict in, uint32_t count, double *restrict out) {  \
    const T *restrict from = in;                                                                   \
    for (uint32_t i = 0; i < count; i++) out[i] = (double)from[i];                                 \
  }
WIDEN_LOOP(i8, int8_t)
WIDEN_LOOP(i16, int16_t)
WIDEN_LOOP(i32, int32_t)
WIDEN_LOOP(i64, int64_t)
WIDEN_LOOP(u8, uint8_t)
WIDEN_LOOP(u16, uint16_t)
WIDEN_LOOP(u32, uint32_t)
WIDEN_LOOP(u64, uint64_t)
#undef WIDEN_LOOP
static void widen_f64_f32(const void *restrict in, uint32_t count, double *restrict out) {
  const float *restrict from = in;
  for (uint32_t i = 0; i < count; i++) out[i] = (double)from[i];
}

static void add_digits(const uint16_t *restrict digits, uint16_t step, uint32_t count, uint16_t *restrict codes) {
  for (uint32_t i = 0; i < count; i++) codes[i] = (uint16_t)(codes[i] + (uint32_t)step * digits[i]);
}
/* A block's worth of rows fits the narrow counter, of which a vector holds many. */
static void count_few_codes(const uint16_t *codes, uint32_t count, uint32_t code_count, uint64_t *counts) {
  for (uint32_t c = 0; c < code_count; c++) {
    uint16_t found = 0;
    for (uint32_t i = 0; i < count; i++) found = (uint16_t)(found + (codes[i] == (uint16_t)c));
    counts[c] += found;
  }
}
/* ---- strings ---- */

/* The code of the longest symbol that begins a text of `left` bytes; reads 8. */
static inline unsigned symbol_at(const SimdSymbols *s, const uint8_t *text, size_t left) {
  uint64_t word;
  memcpy(&word, text, sizeof word);
  const uint64_t beyond = left < 8 ? UINT64_MAX << (8 * left) : 0;
  const unsigned range = s->pairs[word & 0xffff];
  for (unsigned code = range & 0xff; code < range >> 8; code++)
    if ((((word ^ s->words[code]) | beyond) & s->masks[code]) == 0) return code;
  return s->single[word & 0xff];
}

static inline size_t encode_with_symbols(const SimdSymbols *s, const uint8_t *text, size_t length, uint8_t *out) {
  size_t written = 0;
  for (size_t at = 0; at < length;) {
    const unsigned code = symbol_at(s, text + at, length - at);
    out[written++] = (uint8_t)code;
    if (code == SIMD_NO_SYMBOL) out[written++] = text[at];
    at += s->lengths[code];
  }
  return written;
}

static inline uint64_t encode_each_string(const SimdSymbols *s, const uint8_t *text, const uint32_t *ends,
                                          uint32_t count, uint8_t *out, uint32_t *lengths) {
  uint64_t total = 0;
  for (uint32_t i = 0, begin = 0; i < count; begin = ends[i++]) {
    lengths[i] = (uint32_t)encode_with_symbols(s, text + begin, ends[i] - begin, out + total);
    total += lengths[i];
  }
  return total;
}

#define WIDEN_TABLE(NAME) NAME##_i8, NAME##_i16, NAME##_i32, NAME##_i64, NAME##_u8, NAME##_u16, NAME##_u32, NAME##_u64
#define ARITHMETIC_KERNELS                                                                                        \
  .add_f64 = add_f64, .subtract_f64 = subtract_f64, .multiply_f64 = multiply_f64, .divide_f64 = divide_f64,       \
  .add_i64 = add_i64, .subtract_i64 = subtract_i64, .multiply_i64 = multiply_i64, .multiply_i32 = multiply_i32,   \
  .steps = steps, .encode_symbols = encode_symbols, .add_digits = add_digits, .count_few_codes = count_few_codes, \
  .map_codes = map_codes, .sum_few_codes = sum_few_codes, .widen_i64 = { WIDEN_TABLE(widen_i64) },                \
  .widen_f64 = { WIDEN_TABLE(widen_f64), widen_f64_f32 }

#endif
