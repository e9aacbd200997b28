#include "encodings/array.h"

#include <math.h>

#include "base/assert.h"
#include "base/bitmap.h"
#include "encodings/encodings_internal.h"

/* ---- floats: from images back to bounds of the type ---- */

/* The finite or infinite bounds of a range of images, and whether it has NaN. NaN alone is an empty range and `nan`. */
static void float_bounds(int64_t low, int64_t high, double *first, double *last, bool *nan) {
  const int64_t infinity = float_image(INFINITY);
  *nan = high == INT64_MAX;
  *first = low > infinity ? INFINITY : float_from_image(low);
  *last = low > infinity ? -INFINITY : high > infinity ? INFINITY : float_from_image(high);
}

/* The nearest float is right or on the wrong side; then the next one is right. */
static float float_at_least(double x) {
  float f = (float)x;
  return (double)f < x ? nextafterf(f, INFINITY) : f;
}
static float float_at_most(double x) {
  float f = (float)x;
  return (double)f > x ? nextafterf(f, -INFINITY) : f;
}

void array_filter_range(ColumnType type, const void *values, int64_t low, int64_t high, bool negated,
                        uint64_t mask[BLOCK_WORDS]) {
  const SimdKernels *k = simd_kernels();
  uint64_t flip = negated ? UINT64_MAX : 0;
  if (type_is_float(type)) {
    double first, last;
    bool nan;
    float_bounds(low, high, &first, &last, &nan);
    if (type == TYPE_F64)
      k->range_f64(values, first, last, nan, flip, mask);
    else
      k->range_f32(values, float_at_least(first), float_at_most(last), nan, flip, mask);
    return;
  }
  unsigned bits = 8u << type_width_index(type);
  uint64_t start = ((uint64_t)low + type_image_bias(type)) & simd_width_mask(bits);
  k->range[bits](values, start, (uint64_t)high - (uint64_t)low, flip, mask);
}

void array_filter_bits(const Compare *c, const void *values, uint64_t mask[BLOCK_WORDS]) {
  uint8_t flags[BLOCK_ROWS];
  const SimdKernels *k = simd_kernels();
  k->bits[type_width_index(c->type)](values, (uint64_t)c->high, (uint64_t)c->low, flags);
  k->range[8](flags, 1, 0, c->negated ? UINT64_MAX : 0, mask);
}

/* ---- arrays of any length ---- */

/* Rows that are not null, of the first `row_count`. */
static void array_validity(const uint8_t *nulls, uint32_t row_count, uint64_t words[BLOCK_WORDS]) {
  bitmap_fill_first(words, BLOCK_WORDS, row_count);
  if (!nulls) return;
  if (row_count == BLOCK_ROWS) {
    simd_kernels()->range[8](nulls, 0, 0, 0, words);
    return;
  }
  for (uint32_t i = 0; i < row_count; i++) {
    if (nulls[i]) bit_clear(words, i);
  }
}

/* Kernels read whole blocks: a shorter array of numbers is copied. */
static const void *whole_block(ColumnType type, const void *values, uint32_t row_count, Lanes *copy) {
  if (row_count == BLOCK_ROWS) return values;
  size_t bytes = (size_t)row_count << type_width_index(type);
  memcpy(copy, values, bytes);
  memset((uint8_t *)copy + bytes, 0, sizeof *copy - bytes);
  return copy;
}

static void filter_one_by_one(const Compare *c, const void *values, uint64_t mask[BLOCK_WORDS]) {
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) {
    for (uint64_t word = mask[w]; word; word &= word - 1) {
      uint32_t i = w * 64 + (uint32_t)__builtin_ctzll(word);
      bool matches = type_is_string(c->type) ? compare_bytes(c, ((const Bytes *)values)[i])
                                             : compare_image(c, type_image(c->type, values, i));
      if (!matches) bit_clear(mask, i);
    }
  }
}

void array_filter(const Compare *c, const void *values, const uint8_t *nulls, uint32_t row_count,
                  uint64_t mask[BLOCK_WORDS]) {
  ASSERT(row_count <= BLOCK_ROWS, "ENC-3");
  uint64_t valid[BLOCK_WORDS], rows[BLOCK_WORDS];
  array_validity(nulls, row_count, valid);
  if (c->kind == COMPARE_KIND_NONE) {
    mask_clear(mask);
    return;
  }
  if (c->kind == COMPARE_KIND_NULL) {
    bitmap_fill_first(rows, BLOCK_WORDS, row_count);
    for (unsigned i = 0; i < BLOCK_WORDS; i++) mask[i] &= rows[i] & ~valid[i];
    return;
  }
  mask_and_words(mask, valid);
  if (c->kind == COMPARE_KIND_NOT_NULL) return;
  simd_count(simd_kernels(), 1);
  if (c->kind == COMPARE_KIND_RANGE && !type_is_string(c->type)) {
    Lanes copy;
    array_filter_range(c->type, whole_block(c->type, values, row_count, &copy), c->low, c->high, c->negated, mask);
  } else if (c->kind == COMPARE_KIND_BITS) {
    Lanes copy;
    array_filter_bits(c, whole_block(c->type, values, row_count, &copy), mask);
  } else {
    filter_one_by_one(c, values, mask);
  }
}

enum { FEW_ROWS = 64 }; /* a kernel over all rows takes longer than these one by one */

/* Float sums: in the lanes of their rows, as kernels do. */
static void aggregate_few(ColumnType type, const void *values, const uint64_t rows[BLOCK_WORDS],
                          AggregateState *state) {
  bool plain = !(state->wanted & (AGGREGATE_MIN | AGGREGATE_MAX));
  bool is_double = plain && type == TYPE_F64, is_long = plain && type == TYPE_I64;
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) {
    for (uint64_t word = rows[w]; word; word &= word - 1) {
      uint32_t i = w * 64 + (uint32_t)__builtin_ctzll(word);
      if (is_double) {
        state->lanes[i % 8] += ((const double *)values)[i];
        state->count++;
        continue;
      }
      if (is_long) {
        int128_add(&state->sum, ((const int64_t *)values)[i]);
        state->count++;
        continue;
      }
      Value v = value_from_array(type, values, i);
      aggregate_value(state, i, &v);
    }
  }
}

void array_aggregate(ColumnType type, const void *values, const uint8_t *nulls, uint32_t row_count,
                     const uint64_t *mask, AggregateState *state) {
  ASSERT(row_count <= BLOCK_ROWS, "ENC-3");
  uint64_t rows[BLOCK_WORDS];
  array_validity(nulls, row_count, rows);
  if (mask) mask_and_words(rows, mask);
  uint64_t count = simd_kernels()->mask_count(rows, BLOCK_WORDS);
  if (count == 0) return;
  simd_count(simd_kernels(), 1);
  if (type_is_string(type)) {
    for (uint32_t w = 0; w < BLOCK_WORDS; w++) {
      for (uint64_t word = rows[w]; word; word &= word - 1) {
        aggregate_bytes(state, ((const Bytes *)values)[w * 64 + (uint32_t)__builtin_ctzll(word)]);
      }
    }
  } else if (count <= FEW_ROWS) {
    aggregate_few(type, values, rows, state);
    return;
  } else {
    Lanes copy;
    aggregate_array_block(type, whole_block(type, values, row_count, &copy), row_count, rows, count == row_count,
                          state);
  }
  state->count += count;
}

void array_gather(size_t width, const void *from, const uint16_t *rows, uint32_t count, void *to) {
#define GATHER(T)                                                                 \
  for (uint32_t i = 0; i < count; i++) ((T *)to)[i] = ((const T *)from)[rows[i]]; \
  break
  switch (width) {
  case 1: GATHER(uint8_t);
  case 2: GATHER(uint16_t);
  case 4: GATHER(uint32_t);
  case 8: GATHER(uint64_t);
  default: GATHER(Bytes);
  }
#undef GATHER
}
