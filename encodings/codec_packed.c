/* codec_packed.c - frame of reference: (image - base) / divisor in as many bits as the block needs, interleaved in
 * lanes (simd.h). Base and width belong to the block, the divisor to the chunk. */
#include "encodings/encodings_internal.h"

#include "base/bitmap.h"

/* ---- blocks of packed numbers: of images here, of codes in the dictionary ---- */

void packed_ends(const uint8_t *packed_lengths, unsigned width, uint64_t base, uint64_t ends[BLOCK_ROWS]) {
  const SimdKernels *k = simd_kernels();
  Lanes lanes;
  k->unpack[width](packed_lengths, &lanes);
  k->scale[simd_lane_index(width)][3](&lanes, base, 1, ends);
  k->running_sum(ends, 0);
}

void packed_write(const int64_t *images, unsigned width, int64_t base, uint64_t divisor, uint8_t *out) {
  if (width == 0) return;
  const SimdKernels *k = simd_kernels();
  ExactDivisor exact = exact_divisor(divisor);
  unsigned lane = simd_lane_index(width);
  uint64_t shifted[BLOCK_ROWS], from = (uint64_t)base;
  const void *offsets = images;
  Lanes lanes;
  if (exact.shift) {
    for (unsigned i = 0; i < BLOCK_ROWS; i++) shifted[i] = ((uint64_t)images[i] - from) >> exact.shift;
    offsets = shifted;
    from = 0;
  }
  k->scale[3][lane](offsets, 0 - from * exact.inverse, exact.inverse, &lanes);
  k->pack[lane](&lanes, width, out);
}

void packed_gather(const void *data, unsigned width, const uint16_t *rows, uint32_t count, uint64_t *offsets) {
  if (width == 0) {
    memset(offsets, 0, count * sizeof *offsets);
    return;
  }
#define GATHER(LANE)                                                                                 \
  for (uint32_t i = 0; i < count; i++) offsets[i] = simd_packed_in_lane(data, LANE, width, rows[i]); \
  break
  switch (simd_lane_index(width)) {
  case 0: GATHER(8);
  case 1: GATHER(16);
  case 2: GATHER(32);
  default: GATHER(64);
  }
#undef GATHER
}

static void packed_decode_images(const Chunk *c, const ChunkBlock *b, uint64_t bias, unsigned out_index, void *out) {
  const SimdKernels *k = simd_kernels();
  Lanes lanes;
  const void *offsets = packed_lanes(chunk_block_data(c, b), b->width, &lanes);
  k->scale[simd_lane_index(b->width)][out_index](offsets, (uint64_t)b->base + bias, c->step, out);
}

/* ---- the codec ---- */

static uint64_t analyze(const CodecPlan *p) {
  if (!type_is_packable(p->input->type)) return 0;
  uint64_t data = 0;
  for (uint32_t b = 0; b < p->block_count; b++) {
    data += 128u * plan_width(p->blocks[b].minimum, p->blocks[b].maximum, p->divisor);
  }
  return plan_chunk_bytes(p, ENCODING_PACKED, 0, data);
}

static uint64_t encode(const CodecPlan *p, uint8_t *out) {
  ChunkWriter w;
  chunk_writer_begin(&w, p, ENCODING_PACKED, 0, p->divisor, 0, 0, out);
  for (uint32_t b = 0; b < p->block_count; b++) {
    int64_t low = p->blocks[b].minimum, high = p->blocks[b].maximum, base = low <= high ? low : 0;
    unsigned width = plan_width(low, high, p->divisor);
    packed_write(p->images + (size_t)b * BLOCK_ROWS, width, base, p->divisor,
                 chunk_writer_block(&w, base, width, 128u * width));
  }
  return chunk_writer_end(&w);
}

static void decode(const Chunk *c, uint32_t block, void *values) {
  ChunkBlock b;
  chunk_block(c, block, &b);
  packed_decode_images(c, &b, type_image_bias(c->type), type_width_index(c->type), values);
}

const void *codec_offsets(const Chunk *c, uint32_t block, void *room, CodecOffsets *out) {
  ChunkBlock b;
  chunk_block(c, block, &b);
  *out = (CodecOffsets){ .width = b.width, .base = b.base, .step = c->step };
  simd_count(simd_kernels(), 1);
  return packed_lanes(chunk_block_data(c, &b), b.width, room);
}

static int64_t image_of_row(const Chunk *c, const ChunkBlock *b, uint32_t i) {
  return (int64_t)((uint64_t)b->base + c->step * simd_packed_value(chunk_block_data(c, b), b->width, i));
}

static void get_one(const Chunk *c, uint32_t row, Value *out) {
  ChunkBlock b;
  chunk_block(c, row / BLOCK_ROWS, &b);
  value_from_image(c->type, image_of_row(c, &b, row % BLOCK_ROWS), out);
}

static void gather(const Chunk *c, uint32_t block, const uint16_t *rows, uint32_t count, void *values) {
  ChunkBlock b;
  uint64_t offsets[BLOCK_ROWS];
  chunk_block(c, block, &b);
  packed_gather(chunk_block_data(c, &b), b.width, rows, count, offsets);
  uint64_t base = (uint64_t)b.base + type_image_bias(c->type);
#define NARROW(T)                                                                           \
  for (uint32_t i = 0; i < count; i++) ((T *)values)[i] = (T)(base + c->step * offsets[i]); \
  break
  switch (type_width_index(c->type)) {
  case 0: NARROW(uint8_t);
  case 1: NARROW(uint16_t);
  case 2: NARROW(uint32_t);
  default: NARROW(uint64_t);
  }
#undef NARROW
}

static void prepare(CodecFilter *f, void *scratch) { (void)f, (void)scratch; }

/* Few members: the complement of their union, a kernel call each. Many: a search for each row that is left. */
static void filter_set(const CodecFilter *f, const Chunk *c, const ChunkBlock *b, uint64_t *mask) {
  enum { KERNEL_CALLS = 12 };
  uint32_t first, count = compare_set_slice(f->compare, b->minimum, b->maximum, &first);
  uint64_t found[BLOCK_WORDS];
  memset(found, 0xff, sizeof found);
  if (count <= KERNEL_CALLS) {
    for (uint32_t i = 0; i < count; i++) {
      int64_t member = f->compare->images[first + i];
      packed_filter_range(chunk_block_data(c, b), b->width, b->base, c->step, member, member, true, found);
    }
    for (unsigned i = 0; i < BLOCK_WORDS; i++) mask[i] &= f->negated ? found[i] : ~found[i];
    return;
  }
  int64_t images[BLOCK_ROWS];
  packed_decode_images(c, b, 0, 3, images);
  for (uint32_t i = 0; i < BLOCK_ROWS; i++) {
    if (bit_get(mask, i) && !compare_image(f->compare, images[i])) bit_clear(mask, i);
  }
}

/* From base 0 the bits that are packed are the bits of the values. */
static void filter_bits(const CodecFilter *f, const Chunk *c, const ChunkBlock *b, uint64_t *mask) {
  const SimdKernels *k = simd_kernels();
  uint64_t bits = (uint64_t)f->compare->high, wanted = (uint64_t)f->compare->low;
  unsigned lane = simd_lane_index(b->width);
  Lanes lanes;
  uint8_t flags[BLOCK_ROWS];
  if (b->base || c->step != 1 || c->type == TYPE_U64) {
    packed_decode_images(c, b, type_image_bias(c->type), type_width_index(c->type), &lanes);
    lane = type_width_index(c->type);
  } else {
    k->unpack[b->width](chunk_block_data(c, b), &lanes);
    if (wanted & ~simd_width_mask(8u << lane)) { /* bits that no value of the block has */
      if (!f->negated) mask_clear(mask);
      return;
    }
  }
  k->bits[lane](&lanes, bits, wanted, flags);
  k->range[8](flags, 1, 0, f->negated ? UINT64_MAX : 0, mask);
}

static void filter(const CodecFilter *f, uint32_t block, uint64_t mask[BLOCK_WORDS]) {
  ChunkBlock b;
  chunk_block(f->chunk, block, &b);
  if (f->kind == COMPARE_KIND_BITS) {
    filter_bits(f, f->chunk, &b, mask);
    return;
  }
  if (f->kind == COMPARE_KIND_SET) {
    filter_set(f, f->chunk, &b, mask);
    return;
  }
  packed_filter_range(chunk_block_data(f->chunk, &b), b.width, b.base, f->chunk->step, f->low, f->high, f->negated,
                      mask);
}

static void aggregate(const Chunk *c, uint32_t block, const uint64_t *mask, bool full, AggregateState *state) {
  ChunkBlock b;
  chunk_block(c, block, &b);
  const SimdKernels *k = simd_kernels();
  const uint8_t *data = chunk_block_data(c, &b);
  if (state->wanted & AGGREGATE_SUM) {
    uint64_t sum[2] = { 0, 0 }, rows = full ? b.row_count : k->mask_count(mask, BLOCK_WORDS);
    if (b.width) k->sum[b.width](data, full ? NULL : mask, sum); /* ENC-5: padding repeats the base, offset 0 */
    __int128 offsets = (__int128)((unsigned __int128)sum[1] << 64 | sum[0]);
    __int128 base = (__int128)b.base + (__int128)(unsigned __int128)type_image_bias(c->type);
    int128_add(&state->sum, offsets * (__int128)c->step + base * (__int128)rows);
  }
  if (state->wanted & (AGGREGATE_MIN | AGGREGATE_MAX)) {
    Lanes lanes;
    uint64_t low, high;
    k->extremes[simd_lane_index(b.width)](packed_lanes(data, b.width, &lanes), 0, mask, &low, &high);
    aggregate_image(state, (int64_t)((uint64_t)b.base + low * c->step), (int64_t)((uint64_t)b.base + high * c->step));
  }
}

static Status check_shared(const Chunk *c) {
  if (!type_is_packable(c->type))
    return status_fail(KVSTORE_CORRUPT, "damaged column chunk: packed, of a type that has none");
  return c->step ? KVSTORE_OK : status_fail(KVSTORE_CORRUPT, "damaged column chunk: a divisor of zero");
}

/* Whether a value of the block is above `most`. */
static bool any_above(const void *data, unsigned width, uint64_t most) {
  uint64_t mask[BLOCK_WORDS], any = 0;
  if (most >= simd_width_mask(width)) return false;
  memset(mask, 0xff, sizeof mask);
  simd_kernels()->above[width](data, most, 0, mask);
  for (unsigned i = 0; i < BLOCK_WORDS; i++) any |= mask[i];
  return any != 0;
}

/* Entries past the last row are offset 0. */
static bool padding_is_zero(const void *data, const ChunkBlock *b) {
  uint64_t rows[BLOCK_WORDS], low, high;
  Lanes lanes;
  if (b->row_count == BLOCK_ROWS) return true;
  bitmap_fill_first(rows, BLOCK_WORDS, b->row_count);
  for (unsigned i = 0; i < BLOCK_WORDS; i++) rows[i] = ~rows[i];
  simd_kernels()->unpack[b->width](data, &lanes);
  simd_kernels()->extremes[simd_lane_index(b->width)](&lanes, 0, rows, &low, &high);
  return high == 0;
}

/* The largest offset must stay within the zone, and the padding must be zero. */
static Status check_block(const Chunk *c, uint32_t block) {
  ChunkBlock b;
  chunk_block(c, block, &b);
  if (chunk_block_data_length(&b) != 128u * b.width) {
    return status_fail(KVSTORE_CORRUPT, "damaged column chunk: block %u has %llu bytes for %u bits", block,
                       (unsigned long long)chunk_block_data_length(&b), b.width);
  }
  if (b.null_count == b.row_count) {
    return b.width == 0 ? KVSTORE_OK : status_fail(KVSTORE_CORRUPT, "damaged column chunk: values where all are null");
  }
  const uint8_t *data = chunk_block_data(c, &b);
  bool base_is_inside = b.base >= b.minimum && b.base <= b.maximum;
  if (!base_is_inside || any_above(data, b.width, ((uint64_t)b.maximum - (uint64_t)b.base) / c->step)) {
    return status_fail(KVSTORE_CORRUPT, "damaged column chunk: a value of block %u leaves its zone", block);
  }
  if (!padding_is_zero(data, &b)) {
    return status_fail(KVSTORE_CORRUPT, "damaged column chunk: padding that does not repeat the base");
  }
  return KVSTORE_OK;
}

const Codec codec_packed = {
  .id = ENCODING_PACKED,
  .analyze = analyze,
  .encode = encode,
  .decode = decode,
  .get_one = get_one,
  .gather = gather,
  .prepare = prepare,
  .filter = filter,
  .aggregate = aggregate,
  .check_shared = check_shared,
  .check_block = check_block,
};
