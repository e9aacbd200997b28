/* codec_bits.c - booleans, a bit a row: the data is a mask. */
#include "encodings/encodings_internal.h"

#include "base/bitmap.h"

static uint64_t analyze(const CodecPlan *p) {
  return p->input->type == TYPE_BOOL ? plan_chunk_bytes(p, ENCODING_BITS, 0, (uint64_t)p->block_count * BLOCK_WORDS * 8)
                                     : 0;
}

static uint64_t encode(const CodecPlan *p, uint8_t *out) {
  ChunkWriter w;
  chunk_writer_begin(&w, p, ENCODING_BITS, 0, 0, 0, 0, out);
  const uint8_t *values = p->input->values;
  for (uint32_t b = 0; b < p->block_count; b++) {
    uint64_t words[BLOCK_WORDS] = { 0 };
    for (uint32_t i = 0; i < plan_block_rows(p, b); i++) {
      uint32_t row = b * BLOCK_ROWS + i;
      if (values[row] && !input_is_null(p->input, row)) bit_set(words, i);
    }
    memcpy(chunk_writer_block(&w, 0, 0, sizeof words), words, sizeof words);
  }
  return chunk_writer_end(&w);
}

static void block_words(const Chunk *c, uint32_t block, uint64_t words[BLOCK_WORDS]) {
  ChunkBlock b;
  chunk_block(c, block, &b);
  memcpy(words, chunk_block_data(c, &b), BLOCK_WORDS * 8);
}

static void decode(const Chunk *c, uint32_t block, void *values) {
  uint64_t words[BLOCK_WORDS];
  block_words(c, block, words);
  for (uint32_t i = 0; i < BLOCK_ROWS; i++) ((uint8_t *)values)[i] = (uint8_t)bit_get(words, i);
}

static void get_one(const Chunk *c, uint32_t row, Value *out) {
  ChunkBlock b;
  chunk_block(c, row / BLOCK_ROWS, &b);
  uint64_t word = load_u64(chunk_block_data(c, &b) + row % BLOCK_ROWS / 64 * 8);
  *out = (Value){ .type = TYPE_BOOL, .i = (int64_t)(word >> (row % 64) & 1) };
}

/* A set of one is a range (compare.c), so what is left is "true" or "false", or both. */
static void prepare(CodecFilter *f, void *scratch) {
  (void)scratch;
  bool falses = compare_image(f->compare, 0), trues = compare_image(f->compare, 1);
  f->kind = falses && trues ? COMPARE_KIND_NOT_NULL : falses || trues ? COMPARE_KIND_RANGE : COMPARE_KIND_NONE;
  f->negated = falses;
}

static void filter(const CodecFilter *f, uint32_t block, uint64_t mask[BLOCK_WORDS]) {
  uint64_t words[BLOCK_WORDS], flip = f->negated ? UINT64_MAX : 0;
  block_words(f->chunk, block, words);
  for (unsigned i = 0; i < BLOCK_WORDS; i++) mask[i] &= words[i] ^ flip;
}

static void aggregate(const Chunk *c, uint32_t block, const uint64_t *mask, bool full, AggregateState *state) {
  uint64_t words[BLOCK_WORDS], rows = 0, trues;
  const SimdKernels *k = simd_kernels();
  block_words(c, block, words);
  rows = full ? chunk_block_rows(c, block) : k->mask_count(mask, BLOCK_WORDS);
  if (!full) mask_and_words(words, mask);
  trues = k->mask_count(words, BLOCK_WORDS);
  int128_add(&state->sum, (__int128)trues);
  aggregate_image(state, trues == rows, trues > 0);
}

static Status check_shared(const Chunk *c) {
  return c->type == TYPE_BOOL ? KVSTORE_OK
                              : status_fail(KVSTORE_CORRUPT, "damaged column chunk: bits that are no booleans");
}

static Status check_block(const Chunk *c, uint32_t block) {
  ChunkBlock b;
  uint64_t rows[BLOCK_WORDS], words[BLOCK_WORDS];
  chunk_block(c, block, &b);
  if (chunk_block_data_length(&b) != sizeof words || b.width) {
    return status_fail(KVSTORE_CORRUPT, "damaged column chunk: a block of booleans of a wrong size");
  }
  block_words(c, block, words);
  chunk_validity(c, block, rows);
  uint64_t falses = 0, trues = 0, beyond = 0;
  for (unsigned i = 0; i < BLOCK_WORDS; i++) {
    trues |= words[i] & rows[i];
    falses |= ~words[i] & rows[i];
    beyond |= words[i] & ~rows[i];
  }
  if (beyond || (trues && b.maximum != 1) || (falses && b.minimum != 0)) {
    return status_fail(KVSTORE_CORRUPT, "damaged column chunk: a boolean outside its zone");
  }
  return KVSTORE_OK;
}

const Codec codec_bits = {
  .id = ENCODING_BITS,
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
