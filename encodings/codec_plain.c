/* codec_plain.c - values as they are. Fixed widths: whole blocks of 1,024 entries, zeros beneath nulls and past the
 * end. Strings: rows + 1 offsets of 32 bits, then their bytes, one after the other. Fixed bytes: row after row.
 *
 * And `array`: the same for fixed widths, but the values lie outside the chunk, one after the other through all of a
 * run, whose next rows follow a block's last one (columnar/column_write.c). */
#include "encodings/encodings_internal.h"

#include "base/bitmap.h"

/* ---- strings ---- */

static uint32_t offsets_bytes(uint32_t rows) { return 4 * (rows + 1); }

/* String `i` of a block whose offsets and bytes are `data`. */
static Bytes block_string(const uint8_t *data, uint32_t rows, uint32_t i) {
  uint32_t start = load_u32(data + 4 * (size_t)i), end = load_u32(data + 4 * (size_t)i + 4);
  return (Bytes){ data + offsets_bytes(rows) + start, end - start };
}

static Bytes block_bytes(const Chunk *c, const uint8_t *data, uint32_t rows, uint32_t i) {
  if (type_is_fixed(c->type)) return (Bytes){ data + (size_t)i * c->width, c->width };
  return block_string(data, rows, i);
}

static uint64_t string_block_bytes(const CodecPlan *p, uint32_t block) {
  const ChunkInput *in = p->input;
  uint32_t rows = plan_block_rows(p, block);
  if (type_is_fixed(in->type)) return (uint64_t)rows * in->width;
  return offsets_bytes(rows) + p->blocks[block].string_bytes;
}

static void write_strings(const CodecPlan *p, uint32_t block, uint8_t *data) {
  const ChunkInput *in = p->input;
  uint32_t rows = plan_block_rows(p, block), at = 0;
  const Bytes *values = (const Bytes *)in->values + (size_t)block * BLOCK_ROWS;
  uint8_t *bytes = data + offsets_bytes(rows);
  for (uint32_t i = 0; i < rows; i++) {
    store_u32(data + 4 * (size_t)i, at);
    if (input_is_null(in, block * BLOCK_ROWS + i) || !values[i].length) continue;
    memcpy(bytes + at, values[i].data, values[i].length);
    at += (uint32_t)values[i].length;
  }
  store_u32(data + 4 * (size_t)rows, at);
}

static void write_fixed_bytes(const CodecPlan *p, uint32_t block, uint8_t *data) {
  const ChunkInput *in = p->input;
  const Bytes *values = (const Bytes *)in->values + (size_t)block * BLOCK_ROWS;
  for (uint32_t i = 0; i < plan_block_rows(p, block); i++, data += in->width) {
    if (input_is_null(in, block * BLOCK_ROWS + i))
      memset(data, 0, in->width);
    else
      memcpy(data, values[i].data, in->width);
  }
}

/* ---- fixed widths ---- */

static void write_numbers(const CodecPlan *p, uint32_t block, uint8_t *data) {
  const ChunkInput *in = p->input;
  size_t width = (size_t)1 << type_width_index(in->type);
  uint32_t rows = plan_block_rows(p, block), first = block * BLOCK_ROWS;
  memcpy(data, (const uint8_t *)in->values + first * width, rows * width);
  memset(data + rows * width, 0, (BLOCK_ROWS - rows) * width);
  for (uint32_t i = 0; p->blocks[block].null_count && i < rows; i++) {
    if (input_is_null(in, first + i)) memset(data + i * width, 0, width);
  }
}

/* ---- the codec ---- */

static uint64_t block_data_bytes(const CodecPlan *p, uint32_t block) {
  if (type_is_string(p->input->type)) return string_block_bytes(p, block);
  return (uint64_t)BLOCK_ROWS << type_width_index(p->input->type);
}

static uint64_t analyze(const CodecPlan *p) {
  uint64_t data = 0;
  for (uint32_t b = 0; b < p->block_count; b++) data += round_up(block_data_bytes(p, b), CHUNK_ALIGNMENT);
  return plan_chunk_bytes(p, ENCODING_PLAIN, 0, data);
}

static uint64_t encode(const CodecPlan *p, uint8_t *out) {
  ChunkWriter w;
  chunk_writer_begin(&w, p, ENCODING_PLAIN, 0, 0, 0, 0, out);
  for (uint32_t b = 0; b < p->block_count; b++) {
    uint8_t *data = chunk_writer_block(&w, 0, 0, block_data_bytes(p, b));
    if (type_is_fixed(p->input->type))
      write_fixed_bytes(p, b, data);
    else if (type_is_string(p->input->type))
      write_strings(p, b, data);
    else
      write_numbers(p, b, data);
  }
  return chunk_writer_end(&w);
}

/* The values of an array are written by who keeps it: the chunk has the zones and the nulls. */
static uint64_t analyze_array(const CodecPlan *p) {
  return p->input->type == TYPE_STRING || p->input->type == TYPE_BYTES ? 0 : plan_chunk_bytes(p, ENCODING_ARRAY, 0, 0);
}

static uint64_t encode_array(const CodecPlan *p, uint8_t *out) {
  ChunkWriter w;
  chunk_writer_begin(&w, p, ENCODING_ARRAY, 0, 0, 0, 0, out);
  for (uint32_t b = 0; b < p->block_count; b++) chunk_writer_block(&w, 0, 0, 0);
  return chunk_writer_end(&w);
}

static const uint8_t *data_of(const Chunk *c, uint32_t block) {
  if (c->encoding == ENCODING_ARRAY) {
    uint64_t offset, length;
    chunk_array_range(c, block, &offset, &length);
    return c->array + offset;
  }
  ChunkBlock b;
  chunk_block(c, block, &b);
  return chunk_block_data(c, &b);
}

static void decode(const Chunk *c, uint32_t block, void *values) {
  const uint8_t *data = data_of(c, block);
  if (!type_is_string(c->type)) {
    memcpy(values, data, (size_t)BLOCK_ROWS << type_width_index(c->type));
    return;
  }
  uint32_t rows = chunk_block_rows(c, block);
  Bytes *out = values;
  for (uint32_t i = 0; i < rows; i++) out[i] = block_bytes(c, data, rows, i);
}

static void get_one(const Chunk *c, uint32_t row, Value *out) {
  uint32_t block = row / BLOCK_ROWS, i = row % BLOCK_ROWS;
  const uint8_t *data = data_of(c, block);
  if (type_is_string(c->type)) {
    *out = (Value){ .type = c->type, .s = block_bytes(c, data, chunk_block_rows(c, block), i) };
  } else {
    *out = value_from_array(c->type, data, i);
  }
}

static bool has_offsets(const Chunk *c) { return c->type == TYPE_STRING || c->type == TYPE_BYTES; }

static void prepare(CodecFilter *f, void *scratch) {
  if (has_offsets(f->chunk)) text_filter_prepare(f, scratch);
}

static void filter(const CodecFilter *f, uint32_t block, uint64_t mask[BLOCK_WORDS]) {
  const Chunk *c = f->chunk;
  const uint8_t *data = data_of(c, block);
  if (f->kind == COMPARE_KIND_RANGE && !type_is_string(c->type)) {
    array_filter_range(c->type, data, f->low, f->high, f->negated, mask);
    return;
  }
  uint32_t rows = chunk_block_rows(c, block);
  if (has_offsets(c)) {
    text_filter(f, data, data + offsets_bytes(rows), rows, mask);
    return;
  }
  if (f->kind == COMPARE_KIND_BITS && rows == BLOCK_ROWS) {
    array_filter_bits(f->compare, data, mask);
    return;
  }
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) {
    for (uint64_t word = mask[w]; word; word &= word - 1) {
      uint32_t i = w * 64 + (uint32_t)__builtin_ctzll(word);
      bool matches = i < rows && (type_is_string(c->type) ? compare_bytes(f->compare, block_bytes(c, data, rows, i))
                                                          : compare_image(f->compare, type_image(c->type, data, i)));
      if (!matches) bit_clear(mask, i);
    }
  }
}

static void aggregate(const Chunk *c, uint32_t block, const uint64_t *mask, bool full, AggregateState *state) {
  const uint8_t *data = data_of(c, block);
  uint32_t rows = chunk_block_rows(c, block);
  if (!type_is_string(c->type)) {
    aggregate_array_block(c->type, data, rows, mask, full, state);
    return;
  }
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) {
    for (uint64_t word = mask[w]; word; word &= word - 1) {
      aggregate_bytes(state, block_bytes(c, data, rows, w * 64 + (uint32_t)__builtin_ctzll(word)));
    }
  }
}

static Status wrong(uint32_t block, const char *what) {
  return status_fail(KVSTORE_CORRUPT, "damaged plain chunk: block %u has %s", block, what);
}

static Status check_strings(const Chunk *c, uint32_t block, const ChunkBlock *b, const uint8_t *data, uint64_t length) {
  uint32_t rows = b->row_count, last = 0;
  if (length < offsets_bytes(rows)) return wrong(block, "no room for its offsets");
  uint64_t room = length - offsets_bytes(rows);
  const uint8_t *bytes = data + offsets_bytes(rows);
  for (uint32_t i = 0; i <= rows; i++) {
    uint32_t offset = load_u32(data + 4 * (size_t)i);
    if (offset < last || offset > room || (i == 0 && offset)) return wrong(block, "string offsets out of order");
    last = offset;
  }
  if (round_up(offsets_bytes(rows) + (uint64_t)last, CHUNK_ALIGNMENT) != length) return wrong(block, "a wrong length");
  if (c->type != TYPE_STRING) return KVSTORE_OK;
  /* The whole is valid and no string begins inside a character: so each is valid. */
  if (!bytes_are_utf8(bytes, last)) return wrong(block, "text that is not UTF-8");
  for (uint32_t i = 0; i < rows; i++) {
    uint32_t offset = load_u32(data + 4 * (size_t)i);
    if (offset < last && (bytes[offset] & 0xc0) == 0x80) return wrong(block, "text that is not UTF-8");
  }
  return KVSTORE_OK;
}

static Status check_zone(const Chunk *c, uint32_t block, const ChunkBlock *b, const uint8_t *data) {
  uint64_t rows[BLOCK_WORDS];
  chunk_validity(c, block, rows);
  for (uint32_t i = 0; i < b->row_count; i++) {
    if (!bit_get(rows, i)) continue;
    int64_t image =
      type_is_string(c->type) ? bytes_image(block_bytes(c, data, b->row_count, i)) : type_image(c->type, data, i);
    if (image < b->minimum || image > b->maximum) return wrong(block, "a value outside its zone");
  }
  return KVSTORE_OK;
}

static Status check_shared(const Chunk *c) {
  (void)c;
  return KVSTORE_OK;
}

static Status check_array_block(const Chunk *c, uint32_t block) {
  ChunkBlock b;
  chunk_block(c, block, &b);
  if (b.width || chunk_block_data_length(&b)) return wrong(block, "values of its own");
  if (!c->array || c->type == TYPE_STRING || c->type == TYPE_BYTES) return wrong(block, "no array");
  return check_zone(c, block, &b, data_of(c, block));
}

static Status check_block(const Chunk *c, uint32_t block) {
  ChunkBlock b;
  chunk_block(c, block, &b);
  const uint8_t *data = chunk_block_data(c, &b);
  uint64_t length = chunk_block_data_length(&b), rows = b.row_count;
  if (b.width) return wrong(block, "a bit width");
  if (type_is_fixed(c->type)) {
    if (length != round_up(rows * c->width, CHUNK_ALIGNMENT)) return wrong(block, "a wrong length");
  } else if (type_is_string(c->type)) {
    TRY(check_strings(c, block, &b, data, length));
  } else if (length != (uint64_t)BLOCK_ROWS << type_width_index(c->type)) {
    return wrong(block, "a wrong length");
  }
  return check_zone(c, block, &b, data);
}

const Codec codec_plain = {
  .id = ENCODING_PLAIN,
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

const Codec codec_array = {
  .id = ENCODING_ARRAY,
  .analyze = analyze_array,
  .encode = encode_array,
  .decode = decode,
  .get_one = get_one,
  .prepare = prepare,
  .filter = filter,
  .aggregate = aggregate,
  .check_shared = check_shared,
  .check_block = check_array_block,
};
