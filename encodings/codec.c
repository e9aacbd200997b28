#include "encodings/codec.h"

#include "base/assert.h"
#include "base/bitmap.h"
#include "encodings/encodings_internal.h"

enum { PREFETCH_AHEAD = 3072 };

const Codec *codec_by_id(uint32_t encoding) {
  static const Codec *const codecs[] = {
    [ENCODING_CONSTANT] = &codec_constant, [ENCODING_STRIDE] = &codec_stride, [ENCODING_PLAIN] = &codec_plain,
    [ENCODING_BITS] = &codec_bits,         [ENCODING_PACKED] = &codec_packed, [ENCODING_DICTIONARY] = &codec_dictionary,
    [ENCODING_RUN_LENGTH] = &codec_runs,   [ENCODING_DELTA] = &codec_delta,   [ENCODING_ALP] = &codec_alp,
    [ENCODING_ALP_RD] = &codec_alp_rd,     [ENCODING_FSST] = &codec_fsst,     [ENCODING_ZSTD] = &codec_zstd,
    [ENCODING_FRONT_CODED] = &codec_front, [ENCODING_ARRAY] = &codec_array,
  };
  return encoding < sizeof codecs / sizeof *codecs ? codecs[encoding] : NULL;
}

/* ---- values ---- */

static void clear_nulls(const Chunk *c, uint32_t rows, const uint64_t *valid, void *values, uint8_t *nulls) {
  size_t width = type_array_width(c->type);
  for (uint32_t i = 0; i < rows; i++) {
    bool is_null = !bit_get(valid, i);
    if (is_null) memset((uint8_t *)values + i * width, 0, width);
    if (nulls) nulls[i] = is_null;
  }
}

uint64_t codec_decode_room(const Chunk *c, uint32_t block) {
  return c->codec->decode_room ? c->codec->decode_room(c, block) : 0;
}
uint64_t codec_get_room(const Chunk *c) { return c->codec->get_room ? c->codec->get_room(c) : 0; }

void codec_decode(const Chunk *c, uint32_t block, void *values, uint8_t *nulls) {
  ASSERT(!c->codec->decode_into, "ENC-11");
  codec_decode_into(c, block, values, nulls, NULL);
}

void codec_decode_into(const Chunk *c, uint32_t block, void *values, uint8_t *nulls, uint8_t *room) {
  if (c->codec->decode_into)
    c->codec->decode_into(c, block, values, room);
  else
    c->codec->decode(c, block, values);
  simd_count(simd_kernels(), 1);
  if (chunk_block_null_count(c, block)) {
    uint64_t valid[BLOCK_WORDS];
    chunk_validity(c, block, valid);
    clear_nulls(c, chunk_block_rows(c, block), valid, values, nulls);
  } else if (nulls) {
    memset(nulls, 0, BLOCK_ROWS);
  }
}

void codec_get(const Chunk *c, uint32_t row, Value *out) {
  ASSERT(!c->codec->get_into, "ENC-11");
  codec_get_into(c, row, out, NULL);
}

void codec_get_into(const Chunk *c, uint32_t row, Value *out, uint8_t *room) {
  ASSERT(row < c->row_count, "ENC-3");
  if (chunk_row_is_null(c, row))
    *out = (Value){ .type = c->type, .is_null = true };
  else if (c->codec->get_into)
    *out = (Value){ .type = c->type, .s = c->codec->get_into(c, row, room) };
  else
    c->codec->get_one(c, row, out);
}

void codec_gather(const Chunk *c, uint32_t block, const uint16_t *rows, uint32_t count, void *values, uint8_t *nulls) {
  ASSERT(!type_is_string(c->type), "ENC-11");
  COUNT_OFTEN(blocks_gathered);
  memset(nulls, 0, count);
  if (c->codec->gather && !chunk_block_null_count(c, block)) {
    c->codec->gather(c, block, rows, count, values);
    return;
  }
  for (uint32_t i = 0; i < count; i++) {
    Value v;
    codec_get_into(c, block * BLOCK_ROWS + rows[i], &v, NULL);
    nulls[i] = v.is_null;
    if (v.is_null) v = (Value){ .type = c->type };
    value_to_array(&v, values, i);
  }
}

/* ---- filters ---- */

void codec_filter_prepare(CodecFilter *f, const Chunk *c, const Compare *compare, void *scratch) {
  ASSERT(compare->type == c->type, "ENC-6");
  *f = (CodecFilter){ .chunk = c, .compare = compare, .kind = compare->kind, .negated = compare->negated };
  f->low = compare->low;
  f->high = compare->high;
  bool asks_values = f->kind == COMPARE_KIND_RANGE || f->kind == COMPARE_KIND_SET || f->kind == COMPARE_KIND_PREFIX ||
                     f->kind == COMPARE_KIND_BITS;
  if (asks_values) c->codec->prepare(f, scratch);
}

/* Ranges of images, the usual case, without a branch. */
static void range_zones(const Chunk *c, const ZoneBounds *bounds, bool negated, uint64_t *maybe, uint64_t *certain) {
  uint64_t meets = 0, inside = 0, some = 0, whole = 0;
  for (uint32_t b = 0; b < c->block_count; b++) {
    int64_t low = chunk_block_minimum(c, b), high = chunk_block_maximum(c, b);
    meets |= ((uint64_t)(low <= bounds->may_high) & (uint64_t)(high >= bounds->may_low)) << b;
    inside |= ((uint64_t)(low >= bounds->sure_low) & (uint64_t)(high <= bounds->sure_high)) << b;
    some |= (uint64_t)(low <= high) << b;
  }
  for (uint32_t b = 0; b < c->block_count; b++) whole |= (uint64_t)(chunk_block_null_count(c, b) == 0) << b;
  *maybe = (negated ? ~inside : meets) & some;
  *certain = (negated ? ~meets : inside) & whole & some;
}

/* Asked of each block, but for those that reach over all members of a list. */
static void other_zones(const CodecFilter *f, uint64_t *maybe, uint64_t *certain) {
  const Chunk *c = f->chunk;
  const Compare *compare = f->compare;
  int64_t first = INT64_MAX, last = INT64_MIN;
  bool is_wide = compare->kind == COMPARE_KIND_SET && compare_set_covers_none(compare, &first, &last);
  for (uint32_t b = 0; b < c->block_count; b++) {
    int64_t low = chunk_block_minimum(c, b), high = chunk_block_maximum(c, b);
    if (is_wide && low <= first && high >= last && low < high) {
      *maybe |= UINT64_C(1) << b;
      continue;
    }
    ZoneVerdict verdict = compare_zone(compare, low, high, chunk_block_null_count(c, b), chunk_block_rows(c, b));
    *maybe |= (uint64_t)(verdict != ZONE_NONE) << b;
    *certain |= (uint64_t)(verdict == ZONE_ALL) << b;
  }
}

void codec_filter_zones(const CodecFilter *f, uint64_t *maybe, uint64_t *certain) {
  ZoneBounds bounds;
  *maybe = *certain = 0;
  if (f->kind == COMPARE_KIND_NONE) return;
  if (compare_zone_bounds(f->compare, &bounds))
    range_zones(f->chunk, &bounds, f->compare->negated, maybe, certain);
  else
    other_zones(f, maybe, certain);
}

static void keep_nulls(const Chunk *c, uint32_t block, uint64_t mask[BLOCK_WORDS]) {
  uint64_t valid[BLOCK_WORDS];
  chunk_validity(c, block, valid);
  for (unsigned i = 0; i < BLOCK_WORDS; i++) mask[i] &= ~valid[i];
}

static void filter_block(const CodecFilter *f, uint32_t block, uint64_t mask[BLOCK_WORDS]) {
  const Chunk *c = f->chunk;
  if (f->kind == COMPARE_KIND_NONE) {
    mask_clear(mask);
    return;
  }
  bool asks_values = f->kind != COMPARE_KIND_NULL && f->kind != COMPARE_KIND_NOT_NULL;
  if (asks_values) c->codec->filter(f, block, mask);
  if (!chunk_block_null_count(c, block)) {
    if (f->kind == COMPARE_KIND_NULL) mask_clear(mask);
    return;
  }
  if (f->kind == COMPARE_KIND_NULL)
    keep_nulls(c, block, mask);
  else
    chunk_drop_nulls(c, block, mask);
}

void codec_filter_block(const CodecFilter *f, uint32_t block, uint64_t mask[BLOCK_WORDS]) {
  filter_block(f, block, mask);
  simd_count(simd_kernels(), 1);
}

/* Strings are read by their offsets: how far ahead their bytes lie is not known. */
static void prefetch_block(const Chunk *c, uint32_t block) {
  uint64_t offset, length;
  if (c->array) {
    chunk_array_range(c, block, &offset, &length);
    simd_prefetch(c->array + offset, length, PREFETCH_AHEAD);
    return;
  }
  if (c->lane == 0 && c->encoding != ENCODING_PLAIN) return;
  chunk_block_range(c, block, &offset, &length);
  if (length > BLOCK_ROWS * 8) length = BLOCK_ROWS * 8;
  simd_prefetch(c->bytes + offset, length, PREFETCH_AHEAD);
}

/* Ranges of what is packed, the usual case: the same as their codecs' filters, without a call for each step. */
static bool goes_by_ranges(const CodecFilter *f) {
  uint32_t encoding = f->chunk->encoding;
  return f->kind == COMPARE_KIND_RANGE && (encoding == ENCODING_PACKED || encoding == ENCODING_DICTIONARY);
}

static void filter_ranges(const CodecFilter *f, uint64_t blocks, uint64_t (*masks)[BLOCK_WORDS]) {
  const Chunk *c = f->chunk;
  uint64_t step = c->encoding == ENCODING_PACKED ? c->step : 1;
  for (uint64_t left = blocks; left; left &= left - 1) {
    uint32_t block = (uint32_t)__builtin_ctzll(left);
    ChunkBlock b;
    chunk_block(c, block, &b);
    simd_prefetch(c->bytes + b.offset, b.end - b.offset, PREFETCH_AHEAD);
    packed_filter_range(chunk_block_data(c, &b), b.width, b.base, step, f->low, f->high, f->negated, masks[block]);
    if (b.null_count) chunk_drop_nulls(c, block, masks[block]);
  }
}

void codec_filter_blocks(const CodecFilter *f, uint64_t blocks, uint64_t (*masks)[BLOCK_WORDS]) {
  simd_count(simd_kernels(), (uint64_t)__builtin_popcountll(blocks));
  if (goes_by_ranges(f)) {
    filter_ranges(f, blocks, masks);
    return;
  }
  for (uint64_t left = blocks; left; left &= left - 1) {
    uint32_t block = (uint32_t)__builtin_ctzll(left);
    prefetch_block(f->chunk, block);
    filter_block(f, block, masks[block]);
  }
}

/* Strings that would have to be made first: the filter on the encoded ones, under a mask of these rows. */
static uint32_t filter_positions_by_mask(const CodecFilter *f, uint32_t block, uint16_t *positions, uint32_t count) {
  uint64_t mask[BLOCK_WORDS] = { 0 };
  uint32_t kept = 0;
  for (uint32_t i = 0; i < count; i++) bit_set(mask, positions[i]);
  filter_block(f, block, mask);
  for (uint32_t i = 0; i < count; i++) {
    if (bit_get(mask, positions[i])) positions[kept++] = positions[i];
  }
  return kept;
}

uint32_t codec_filter_positions(const CodecFilter *f, uint32_t block, uint16_t *positions, uint32_t count) {
  uint32_t kept = 0;
  if (f->kind == COMPARE_KIND_NONE) return 0;
  if (f->chunk->codec->get_into) return filter_positions_by_mask(f, block, positions, count);
  for (uint32_t i = 0; i < count; i++) {
    Value v;
    uint32_t row = block * BLOCK_ROWS + positions[i];
    bool matches;
    if (f->kind == COMPARE_KIND_NOT_NULL || f->kind == COMPARE_KIND_NULL) {
      matches = chunk_row_is_null(f->chunk, row) == (f->kind == COMPARE_KIND_NULL);
    } else {
      codec_get(f->chunk, row, &v);
      matches = compare_value(f->compare, &v);
    }
    if (matches) positions[kept++] = positions[i];
  }
  return kept;
}

/* ---- aggregates ---- */

#define ALL_OF_FOUR UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX
static const uint64_t all_rows[BLOCK_WORDS] = { ALL_OF_FOUR, ALL_OF_FOUR, ALL_OF_FOUR, ALL_OF_FOUR };

/* The rows of `mask` that exist and are not null, in place or in `room`; how many. */
static uint64_t rows_to_add(const Chunk *c, uint32_t block, const uint64_t *mask, uint64_t room[BLOCK_WORDS],
                            const uint64_t **rows) {
  uint32_t row_count = chunk_block_rows(c, block), nulls = chunk_block_null_count(c, block);
  *rows = room;
  if (nulls) {
    chunk_validity(c, block, room);
  } else if (row_count == BLOCK_ROWS) {
    *rows = mask ? mask : all_rows;
    return mask ? simd_kernels()->mask_count(mask, BLOCK_WORDS) : BLOCK_ROWS;
  } else {
    bitmap_fill_first(room, BLOCK_WORDS, row_count);
  }
  if (!mask) return row_count - nulls;
  mask_and_words(room, mask);
  return simd_kernels()->mask_count(room, BLOCK_WORDS);
}

static void aggregate_block(const Chunk *c, uint32_t block, const uint64_t *mask, AggregateState *state) {
  uint64_t room[BLOCK_WORDS];
  const uint64_t *rows;
  uint64_t count = rows_to_add(c, block, mask, room, &rows);
  if (count == 0) return;
  bool all_values = count == chunk_block_rows(c, block) - chunk_block_null_count(c, block);
  uint32_t wanted = state->wanted;
  if (all_values && !type_is_string(c->type)) { /* the zone map knows the ends */
    aggregate_image(state, chunk_block_minimum(c, block), chunk_block_maximum(c, block));
    state->wanted &= ~(uint32_t)(AGGREGATE_MIN | AGGREGATE_MAX);
  }
  if (state->wanted & (AGGREGATE_SUM | AGGREGATE_MIN | AGGREGATE_MAX)) {
    ASSERT(c->codec->aggregate, "ENC-11");
    c->codec->aggregate(c, block, rows, count == chunk_block_rows(c, block), state);
  }
  state->wanted = wanted;
  state->count += count;
}

void codec_aggregate(const Chunk *c, uint32_t block, const uint64_t *mask, AggregateState *state) {
  aggregate_block(c, block, mask, state);
  simd_count(simd_kernels(), 1);
}

void codec_aggregate_blocks(const Chunk *c, uint64_t blocks, uint64_t (*masks)[BLOCK_WORDS], AggregateState *state) {
  for (uint64_t left = blocks; left; left &= left - 1) {
    uint32_t block = (uint32_t)__builtin_ctzll(left);
    if (state->wanted & AGGREGATE_SUM) prefetch_block(c, block);
    aggregate_block(c, block, masks ? masks[block] : NULL, state);
  }
  simd_count(simd_kernels(), (uint64_t)__builtin_popcountll(blocks));
}
