/* codec_constant.c - one value for all rows that are not null. Floats keep their bits in the header's base, strings lie
 * in the shared part. Blocks have no data. */
#include "encodings/encodings_internal.h"

#include "base/bitmap.h"

static Bytes constant_bytes(const CodecPlan *p) {
  Bytes none = { NULL, 0 };
  return p->first_row < p->input->row_count ? ((const Bytes *)p->input->values)[p->first_row] : none;
}

static uint64_t shared_bytes(const CodecPlan *p) {
  return type_is_string(p->input->type) ? 4 + constant_bytes(p).length : 0;
}

static uint64_t analyze(const CodecPlan *p) {
  return p->is_constant && shared_bytes(p) < UINT32_MAX ? plan_chunk_bytes(p, ENCODING_CONSTANT, shared_bytes(p), 0)
                                                        : 0;
}

static uint64_t encode(const CodecPlan *p, uint8_t *out) {
  const ChunkInput *in = p->input;
  uint64_t base = 0;
  if (!type_is_string(in->type) && p->first_row < in->row_count) {
    unsigned width = 1u << type_width_index(in->type);
    if (type_is_float(in->type))
      base = simd_word((const uint8_t *)in->values + (size_t)p->first_row * width, width);
    else
      base = (uint64_t)p->images[p->first_row];
  }
  ChunkWriter w;
  uint8_t *shared = chunk_writer_begin(&w, p, ENCODING_CONSTANT, (int64_t)base, 0, 0, shared_bytes(p), out);
  if (type_is_string(in->type)) {
    Bytes b = constant_bytes(p);
    store_u32(shared, (uint32_t)b.length);
    if (b.length) memcpy(shared + 4, b.data, b.length);
  }
  for (uint32_t i = 0; i < p->block_count; i++) chunk_writer_block(&w, 0, 0, 0);
  return chunk_writer_end(&w);
}

static void constant_value(const Chunk *c, Value *out) {
  if (type_is_string(c->type)) {
    const uint8_t *shared = c->bytes + c->head_length;
    *out = (Value){ .type = c->type, .s = { shared + 4, load_u32(shared) } };
  } else if (type_is_float(c->type)) {
    *out = value_from_array(c->type, &c->base, 0);
  } else {
    value_from_image(c->type, c->base, out);
  }
}

static void get_one(const Chunk *c, uint32_t row, Value *out) {
  (void)row;
  constant_value(c, out);
}

static void decode(const Chunk *c, uint32_t block, void *values) {
  (void)block;
  if (type_is_string(c->type)) {
    Value v;
    constant_value(c, &v);
    for (uint32_t i = 0; i < BLOCK_ROWS; i++) ((Bytes *)values)[i] = v.s;
    return;
  }
  uint64_t bits = (uint64_t)c->base + type_image_bias(c->type); /* the bias is 0 for floats */
  uint8_t zeros[BLOCK_ROWS] = { 0 };
  simd_kernels()->scale[0][type_width_index(c->type)](zeros, bits, 1, values);
}

/* All values or none: decided once. */
static void prepare(CodecFilter *f, void *scratch) {
  (void)scratch;
  Value v;
  constant_value(f->chunk, &v);
  f->kind = f->chunk->null_count < f->chunk->row_count && compare_value(f->compare, &v) ? COMPARE_KIND_NOT_NULL
                                                                                        : COMPARE_KIND_NONE;
}

static void filter(const CodecFilter *f, uint32_t block, uint64_t mask[BLOCK_WORDS]) {
  (void)f, (void)block, (void)mask;
}

static void aggregate(const Chunk *c, uint32_t block, const uint64_t *mask, bool full, AggregateState *state) {
  if (type_is_float(c->type)) { /* the order of additions is part of the contract */
    double values[BLOCK_ROWS];
    decode(c, block, values);
    aggregate_array_block(c->type, values, chunk_block_rows(c, block), mask, full, state);
    return;
  }
  Value v;
  constant_value(c, &v);
  if (type_is_string(c->type)) {
    aggregate_bytes(state, v.s);
    return;
  }
  if (state->wanted & AGGREGATE_SUM) {
    __int128 one = (__int128)c->base + (__int128)(unsigned __int128)type_image_bias(c->type);
    uint64_t rows = full ? chunk_block_rows(c, block) : simd_kernels()->mask_count(mask, BLOCK_WORDS);
    int128_add(&state->sum, one * (__int128)rows);
  }
  aggregate_image(state, c->base, c->base);
}

static Status wrong(const char *what) { return status_fail(KVSTORE_CORRUPT, "damaged constant chunk: %s", what); }

static Status check_shared(const Chunk *c) {
  Value v;
  if (type_is_string(c->type)) {
    uint64_t room = chunk_shared_room(c);
    const uint8_t *shared = c->bytes + c->head_length;
    if (room < 4 || load_u32(shared) > room - 4) return wrong("a string longer than its chunk");
    constant_value(c, &v);
    if (type_is_fixed(c->type) && c->null_count < c->row_count && v.s.length != c->width) return wrong("a wrong width");
    if (c->type == TYPE_STRING && !bytes_are_utf8(v.s.data, v.s.length)) return wrong("not UTF-8");
  } else {
    constant_value(c, &v);
  }
  if (c->null_count == c->row_count) return KVSTORE_OK;
  int64_t image = type_is_string(c->type) ? bytes_image(v.s) : type_is_float(c->type) ? float_image(v.f) : c->base;
  return image == c->minimum && image == c->maximum ? KVSTORE_OK : wrong("a value outside its zone");
}

static Status check_block(const Chunk *c, uint32_t block) {
  ChunkBlock b;
  chunk_block(c, block, &b);
  return b.width == 0 && chunk_block_data_length(&b) == 0 ? KVSTORE_OK : wrong("a block with data");
}

const Codec codec_constant = {
  .id = ENCODING_CONSTANT,
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
