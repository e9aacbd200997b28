/* codec_delta.c - differences of neighbours: clocks and counters whose steps vary a little.
 *
 *   block   (difference - least) / divisor of 1,024 rows, packed | the least difference, i64
 *
 * The base is the image of row 0, whose own entry is 0. A null has the value of the row before it. A block without
 * values has no data. Sums of differences wrap: what they come to is checked against the zone. */
#include "encodings/encodings_internal.h"

#include "base/bitmap.h"

/* ---- writing ---- */

static bool block_is_empty(const CodecPlan *p, uint32_t block) {
  return p->blocks[block].null_count == plan_block_rows(p, block);
}
static unsigned delta_width(const CodecPlan *p, uint32_t block) {
  return block_is_empty(p, block)
           ? 0
           : plan_width(p->blocks[block].delta_minimum, p->blocks[block].delta_maximum, p->divisor);
}
static uint64_t data_bytes(const CodecPlan *p, uint32_t block) {
  return block_is_empty(p, block) ? 0 : 128u * delta_width(p, block) + 8;
}

static uint64_t analyze(const CodecPlan *p) {
  uint64_t data = 0;
  if (!p->has_deltas) return 0;
  for (uint32_t b = 0; b < p->block_count; b++) data += round_up(data_bytes(p, b), CHUNK_ALIGNMENT);
  return plan_chunk_bytes(p, ENCODING_DELTA, 0, data);
}

static uint64_t encode(const CodecPlan *p, uint8_t *out) {
  ChunkWriter w;
  chunk_writer_begin(&w, p, ENCODING_DELTA, 0, p->divisor, 0, 0, out);
  for (uint32_t b = 0; b < p->block_count; b++) {
    uint64_t words[BLOCK_ROWS];
    int64_t deltas[BLOCK_ROWS], least = p->blocks[b].delta_minimum;
    unsigned width = delta_width(p, b);
    plan_carried_words(p, b, words);
    uint8_t *data = chunk_writer_block(&w, (int64_t)words[0], width, data_bytes(p, b));
    if (block_is_empty(p, b)) continue;
    uint32_t rows = plan_block_rows(p, b);
    for (uint32_t i = 0; i < BLOCK_ROWS; i++) deltas[i] = i && i < rows ? (int64_t)(words[i] - words[i - 1]) : least;
    packed_write(deltas, width, least, p->divisor, data);
    store_u64(data + 128u * width, (uint64_t)least);
  }
  return chunk_writer_end(&w);
}

/* ---- reading ---- */

static int64_t least_delta(const uint8_t *data, unsigned width) { return (int64_t)load_u64(data + 128u * width); }

/* Images of a block that has values; past its rows they go on somehow. */
static void block_images(const Chunk *c, const ChunkBlock *b, uint64_t images[BLOCK_ROWS]) {
  const SimdKernels *k = simd_kernels();
  const uint8_t *data = chunk_block_data(c, b);
  uint64_t least = (uint64_t)least_delta(data, b->width);
  Lanes lanes;
  k->unpack[b->width](data, &lanes);
  k->scale[simd_lane_index(b->width)][3](&lanes, least, c->step, images);
  k->running_sum(images, (uint64_t)b->base - least);
}

static void decode_block(const Chunk *c, const ChunkBlock *b, void *values) {
  uint64_t images[BLOCK_ROWS];
  if (b->null_count == b->row_count) {
    memset(values, 0, (size_t)BLOCK_ROWS << type_width_index(c->type));
    return;
  }
  block_images(c, b, images);
  simd_kernels()->scale[3][type_width_index(c->type)](images, type_image_bias(c->type), 1, values);
}

static void decode(const Chunk *c, uint32_t block, void *values) {
  ChunkBlock b;
  chunk_block(c, block, &b);
  decode_block(c, &b, values);
}

/* The sum of the differences up to the row, of at most one block. */
static void get_one(const Chunk *c, uint32_t row, Value *out) {
  ChunkBlock b;
  chunk_block(c, row / BLOCK_ROWS, &b);
  const uint8_t *data = chunk_block_data(c, &b);
  uint64_t upto[BLOCK_WORDS], sum[2] = { 0, 0 }, steps = row % BLOCK_ROWS;
  bitmap_fill_first(upto, BLOCK_WORDS, (uint32_t)steps + 1);
  if (b.width) simd_kernels()->sum[b.width](data, upto, sum);
  uint64_t image = (uint64_t)b.base + steps * (uint64_t)least_delta(data, b.width) + c->step * sum[0];
  value_from_image(c->type, (int64_t)image, out);
}

static void prepare(CodecFilter *f, void *scratch) { (void)f, (void)scratch; }

static void filter(const CodecFilter *f, uint32_t block, uint64_t mask[BLOCK_WORDS]) {
  ChunkBlock b;
  uint64_t images[BLOCK_ROWS];
  chunk_block(f->chunk, block, &b);
  if (b.null_count == b.row_count) return; /* the caller clears nulls */
  block_images(f->chunk, &b, images);
  if (f->kind == COMPARE_KIND_RANGE) {
    simd_kernels()->range[64](images, (uint64_t)f->low, (uint64_t)f->high - (uint64_t)f->low,
                              f->negated ? UINT64_MAX : 0, mask);
    return;
  }
  if (f->kind == COMPARE_KIND_BITS) {
    uint64_t bits = (uint64_t)f->compare->high, bias = bits & type_image_bias(f->chunk->type);
    uint8_t flags[BLOCK_ROWS];
    simd_kernels()->bits[3](images, bits, (uint64_t)f->compare->low ^ bias, flags);
    simd_kernels()->range[8](flags, 1, 0, f->negated ? UINT64_MAX : 0, mask);
    return;
  }
  for (uint32_t i = 0; i < BLOCK_ROWS; i++) {
    if (bit_get(mask, i) && !compare_image(f->compare, (int64_t)images[i])) bit_clear(mask, i);
  }
}

static void aggregate(const Chunk *c, uint32_t block, const uint64_t *mask, bool full, AggregateState *state) {
  ChunkBlock b;
  Lanes values;
  chunk_block(c, block, &b);
  decode_block(c, &b, &values);
  aggregate_array_block(c->type, &values, b.row_count, mask, full, state);
}

/* ---- checks ---- */

static Status wrong(uint32_t block, const char *what) {
  return status_fail(KVSTORE_CORRUPT, "damaged delta chunk: block %u has %s", block, what);
}

static Status check_shared(const Chunk *c) {
  if (!type_is_packable(c->type)) return status_fail(KVSTORE_CORRUPT, "damaged delta chunk: a type that has none");
  return c->step ? KVSTORE_OK : status_fail(KVSTORE_CORRUPT, "damaged delta chunk: a divisor of zero");
}

static Status check_block(const Chunk *c, uint32_t block) {
  ChunkBlock b;
  chunk_block(c, block, &b);
  uint64_t length = chunk_block_data_length(&b), images[BLOCK_ROWS], rows[BLOCK_WORDS], low, high;
  const uint64_t sign = UINT64_C(1) << 63;
  if (b.null_count == b.row_count) return b.width || length ? wrong(block, "values where all are null") : KVSTORE_OK;
  if (length != 128u * b.width + CHUNK_ALIGNMENT) return wrong(block, "a wrong length");
  if (simd_packed_value(chunk_block_data(c, &b), b.width, 0)) return wrong(block, "a first row that is not its base");
  block_images(c, &b, images);
  bitmap_fill_first(rows, BLOCK_WORDS, b.row_count);
  simd_kernels()->extremes[3](images, sign, rows, &low, &high);
  if ((int64_t)(low ^ sign) < b.minimum || (int64_t)(high ^ sign) > b.maximum) {
    return wrong(block, "a value outside its zone");
  }
  return KVSTORE_OK;
}

const Codec codec_delta = {
  .id = ENCODING_DELTA,
  .analyze = analyze,
  .encode = encode,
  .decode = decode,
  .get_one = get_one,
  .prepare = prepare,
  .filter = filter,
  .aggregate = aggregate,
  .check_shared = check_shared,
  .check_block = check_block,
};
