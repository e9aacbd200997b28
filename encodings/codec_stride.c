/* codec_stride.c - row i is base + i x step: row ids, sampled clocks. Nothing but the header; predicates are solved for
 * the row numbers. */
#include "encodings/encodings_internal.h"

#include "base/bitmap.h"

static int64_t step_of(const Chunk *c) { return (int64_t)c->step; }

static uint64_t analyze(const CodecPlan *p) {
  return p->is_stride && p->input->type != TYPE_BOOL ? plan_chunk_bytes(p, ENCODING_STRIDE, 0, 0) : 0;
}

static uint64_t encode(const CodecPlan *p, uint8_t *out) {
  ChunkWriter w;
  chunk_writer_begin(&w, p, ENCODING_STRIDE, p->images[0], (uint64_t)p->step, 0, 0, out);
  for (uint32_t i = 0; i < p->block_count; i++) chunk_writer_block(&w, 0, 0, 0);
  return chunk_writer_end(&w);
}

static void get_one(const Chunk *c, uint32_t row, Value *out) {
  value_from_image(c->type, chunk_stride_image(c, row), out);
}

static void decode(const Chunk *c, uint32_t block, void *values) {
  uint64_t value = (uint64_t)chunk_stride_image(c, block * BLOCK_ROWS) + type_image_bias(c->type);
#define FILL(T)                                                                          \
  for (uint32_t i = 0; i < BLOCK_ROWS; i++) ((T *)values)[i] = (T)(value + i * c->step); \
  break;
  switch (type_width_index(c->type)) {
  case 0: FILL(uint8_t)
  case 1: FILL(uint16_t)
  case 2: FILL(uint32_t)
  default: FILL(uint64_t)
  }
#undef FILL
}

static void prepare(CodecFilter *f, void *scratch) { (void)f, (void)scratch; }

/* The first row whose image is >= bound (ascending) or <= bound (descending), from the chunk's start; may pass its end.
 */
static __int128 first_row_past(const Chunk *c, __int128 bound) {
  __int128 step = step_of(c), distance = bound - c->base;
  if (step < 0) {
    step = -step;
    distance = -distance;
  }
  return distance <= 0 ? 0 : (distance + step - 1) / step;
}

/* Rows [*first, *end) of the block lie within [low, high]. */
static void rows_within(const Chunk *c, uint32_t block, int64_t low, int64_t high, uint32_t *first, uint32_t *end) {
  uint32_t rows = chunk_block_rows(c, block);
  __int128 start = (__int128)block * BLOCK_ROWS, from, to;
  if (step_of(c) == 0) {
    *first = 0;
    *end = c->base >= low && c->base <= high ? rows : 0;
    return;
  }
  if (step_of(c) > 0) {
    from = first_row_past(c, low) - start;
    to = first_row_past(c, (__int128)high + 1) - start;
  } else {
    from = first_row_past(c, high) - start;
    to = first_row_past(c, (__int128)low - 1) - start;
  }
  *first = from < 0 ? 0 : from > rows ? rows : (uint32_t)from;
  *end = to < 0 ? 0 : to > rows ? rows : (uint32_t)to;
}

static void filter(const CodecFilter *f, uint32_t block, uint64_t mask[BLOCK_WORDS]) {
  const Chunk *c = f->chunk;
  uint64_t found[BLOCK_WORDS] = { 0 }, before[BLOCK_WORDS];
  uint32_t first, end;
  if (f->kind == COMPARE_KIND_BITS) {
    for (uint32_t i = 0, rows = chunk_block_rows(c, block); i < rows; i++)
      if (compare_image(f->compare, chunk_stride_image(c, block * BLOCK_ROWS + i))) bit_set(found, i);
    for (unsigned i = 0; i < BLOCK_WORDS; i++) mask[i] &= found[i];
    return;
  }
  if (f->kind == COMPARE_KIND_RANGE) {
    rows_within(c, block, f->low, f->high, &first, &end);
    bitmap_fill_first(found, BLOCK_WORDS, end);
    bitmap_fill_first(before, BLOCK_WORDS, first < end ? first : end);
    for (unsigned i = 0; i < BLOCK_WORDS; i++) found[i] &= ~before[i];
  } else {
    uint32_t member,
      count = compare_set_slice(f->compare, chunk_block_minimum(c, block), chunk_block_maximum(c, block), &member);
    for (uint32_t i = 0; i < count; i++) {
      int64_t image = f->compare->images[member + i];
      rows_within(c, block, image, image, &first, &end);
      for (; first < end; first++) bit_set(found, first);
    }
  }
  for (unsigned i = 0; i < BLOCK_WORDS; i++) mask[i] &= f->negated ? ~found[i] : found[i];
}

static void aggregate(const Chunk *c, uint32_t block, const uint64_t *mask, bool full, AggregateState *state) {
  uint64_t rows = 0, positions = 0;
  uint32_t first = BLOCK_ROWS, last = 0;
  if (full) {
    rows = chunk_block_rows(c, block);
    positions = rows * (rows - 1) / 2;
    first = 0;
    last = (uint32_t)rows - 1;
  } else {
    for (uint32_t w = 0; w < BLOCK_WORDS; w++) {
      for (uint64_t word = mask[w]; word; word &= word - 1) {
        uint32_t i = w * 64 + (uint32_t)__builtin_ctzll(word);
        if (rows++ == 0) first = i;
        last = i;
        positions += i;
      }
    }
  }
  int64_t start = chunk_stride_image(c, block * BLOCK_ROWS), a = chunk_stride_image(c, block * BLOCK_ROWS + first);
  int64_t b = chunk_stride_image(c, block * BLOCK_ROWS + last);
  __int128 base = (__int128)start + (__int128)(unsigned __int128)type_image_bias(c->type);
  int128_add(&state->sum, base * (__int128)rows + (__int128)step_of(c) * (__int128)positions);
  aggregate_image(state, a < b ? a : b, a < b ? b : a);
}

static Status wrong(const char *what) { return status_fail(KVSTORE_CORRUPT, "damaged stride chunk: %s", what); }

static Status check_shared(const Chunk *c) {
  if (!type_is_packable(c->type) || c->type == TYPE_BOOL) return wrong("a type that has none");
  if (c->null_count) return wrong("nulls");
  __int128 last = (__int128)c->base + (__int128)step_of(c) * (c->row_count - 1);
  __int128 low = step_of(c) < 0 ? last : c->base, high = step_of(c) < 0 ? c->base : last;
  return low == c->minimum && high == c->maximum ? KVSTORE_OK : wrong("values outside their zone");
}

static Status check_block(const Chunk *c, uint32_t block) {
  ChunkBlock b;
  chunk_block(c, block, &b);
  return b.width == 0 && b.end == b.offset ? KVSTORE_OK : wrong("a block with data");
}

const Codec codec_stride = {
  .id = ENCODING_STRIDE,
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
