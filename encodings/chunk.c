#include "encodings/chunk.h"

#include "base/assert.h"
#include "base/bitmap.h"
#include "encodings/encodings_internal.h"

static uint32_t blocks_of(uint32_t row_count) { return (row_count + BLOCK_ROWS - 1) / BLOCK_ROWS; }

bool chunk_has_table(uint32_t row_count, uint8_t encoding, bool has_nulls) {
  return row_count > BLOCK_ROWS && encoding != ENCODING_STRIDE && (encoding != ENCODING_CONSTANT || has_nulls);
}

static uint32_t table_length(uint32_t blocks, bool has_nulls) {
  return blocks * CHUNK_ENTRY_BYTES + 4 * (blocks + 1) + (has_nulls ? 4 * blocks : 0) + blocks;
}

uint32_t chunk_head_length(uint32_t row_count, uint8_t encoding, bool has_nulls) {
  uint32_t length = 1; /* the one width */
  if (chunk_has_table(row_count, encoding, has_nulls)) length = table_length(blocks_of(row_count), has_nulls);
  return (uint32_t)round_up(CHUNK_HEADER_BYTES + length, CHUNK_ALIGNMENT);
}

uint32_t chunk_head_bound(uint32_t row_count) { return chunk_head_length(row_count, ENCODING_PLAIN, true); }

uint32_t chunk_array_width(ColumnType type, uint32_t width) {
  return type_is_fixed(type) ? width : 1u << type_width_index(type);
}

uint64_t chunk_array_bytes(ColumnType type, uint32_t width, uint64_t row_count) {
  return (row_count + BLOCK_ROWS - 1) * chunk_array_width(type, width);
}

void chunk_array_range(const Chunk *c, uint32_t block, uint64_t *offset, uint64_t *length) {
  uint64_t width = chunk_array_width(c->type, c->width);
  *offset = block * BLOCK_ROWS * width;
  *length = chunk_block_rows(c, block) * width;
}

void chunk_validity(const Chunk *chunk, uint32_t block, uint64_t words[BLOCK_WORDS]) {
  ChunkBlock b;
  chunk_block(chunk, block, &b);
  if (chunk_block_has_validity(&b))
    memcpy(words, chunk->bytes + b.offset, BLOCK_WORDS * 8);
  else
    bitmap_fill_first(words, BLOCK_WORDS, b.null_count ? 0 : b.row_count);
}

/* ---- opening ---- */

static Status corrupt(const char *what) { return status_fail(KVSTORE_CORRUPT, "damaged column chunk: %s", what); }

static Status check_header(const Chunk *c, uint8_t flags) {
  if (flags & ~CHUNK_HAS_NULLS) return corrupt("unknown flags");
  if (c->null_count > c->row_count || (c->null_count > 0) != c->has_nulls) return corrupt("a wrong null count");
  if (c->lane != 0 && c->lane != 8 && c->lane != 16 && c->lane != 32 && c->lane != 64)
    return corrupt("a wrong lane width");
  if (!type_takes_width(c->type, c->width)) return corrupt("a wrong value width");
  if (c->data_offset % CHUNK_ALIGNMENT || c->data_offset < c->head_length ||
      c->data_offset > c->length - CHUNK_PADDING) {
    return corrupt("its data lies outside");
  }
  if ((c->minimum > c->maximum) != (c->null_count == c->row_count)) return corrupt("minimum above maximum");
  if (c->null_count < c->row_count && !type_is_string(c->type)) {
    int64_t low, high;
    type_image_bounds(c->type, &low, &high);
    if (c->minimum < low || c->maximum > high) return corrupt("a zone outside its type");
  }
  return KVSTORE_OK;
}

/* One block against its neighbours: offsets, null counts, zone, width. */
static Status check_table_entry(const Chunk *c, uint32_t block) {
  ChunkBlock b;
  chunk_block(c, block, &b);
  if (b.offset % CHUNK_ALIGNMENT || b.end < b.offset || b.end > c->length - CHUNK_PADDING) {
    return corrupt("a block lies outside");
  }
  if (b.null_count > b.row_count) return corrupt("a block with more nulls than rows");
  if ((b.minimum > b.maximum) != (b.null_count == b.row_count)) return corrupt("a block with minimum above maximum");
  if (b.minimum <= b.maximum && (b.minimum < c->minimum || b.maximum > c->maximum)) {
    return corrupt("a block whose zone leaves that of the chunk");
  }
  if (b.width > 64) return corrupt("packed values of more than 64 bits");
  if (chunk_block_has_validity(&b) && b.end - b.offset < BLOCK_WORDS * 8)
    return corrupt("a block without room for validity");
  return KVSTORE_OK;
}

static Status check_table(const Chunk *c) {
  uint64_t nulls = 0;
  for (uint32_t i = 0; i < c->block_count; i++) {
    TRY(check_table_entry(c, i));
    nulls += chunk_block_null_count(c, i);
  }
  if (nulls != c->null_count) return corrupt("null counts that do not add up");
  if (!c->table) return KVSTORE_OK;
  if (chunk_table_offset(c, 0) != c->data_offset ||
      chunk_table_offset(c, c->block_count) != c->length - CHUNK_PADDING) {
    return corrupt("blocks that do not fill it");
  }
  return KVSTORE_OK;
}

Status chunk_open(const uint8_t *bytes, uint64_t length, uint32_t row_count, ColumnType type, Chunk *chunk) {
  if (row_count == 0 || row_count > SEGMENT_ROWS) return corrupt("a wrong row count");
  if (length < CHUNK_HEADER_BYTES + CHUNK_PADDING || length % CHUNK_ALIGNMENT) return corrupt("a wrong length");
  Reader r = reader_over(bytes, CHUNK_HEADER_BYTES);
  Chunk c = { .bytes = bytes, .length = length, .row_count = row_count, .block_count = blocks_of(row_count) };
  c.encoding = reader_u8(&r);
  uint8_t stored_type = reader_u8(&r);
  c.type = type;
  c.lane = reader_u8(&r);
  uint8_t flags = reader_u8(&r);
  c.has_nulls = flags & CHUNK_HAS_NULLS;
  if (reader_u32(&r) != row_count) return corrupt("a row count that is not its segment's");
  c.null_count = reader_u32(&r);
  if (reader_u16(&r) != c.block_count) return corrupt("a wrong block count");
  c.width = reader_u16(&r);
  c.minimum = (int64_t)reader_u64(&r);
  c.maximum = (int64_t)reader_u64(&r);
  c.base = (int64_t)reader_u64(&r);
  c.step = reader_u64(&r);
  c.dictionary_count = reader_u32(&r);
  c.data_offset = reader_u32(&r);
  if (reader_u64(&r) != length) return corrupt("a length that is not its directory's");
  if (stored_type != type) return corrupt("a type that is not its column's");
  c.codec = codec_by_id(c.encoding);
  if (!c.codec) return status_fail(KVSTORE_UNSUPPORTED, "a column chunk has encoding %u, unknown here", c.encoding);
  c.head_length = chunk_head_length(row_count, c.encoding, c.has_nulls);
  if (length < c.head_length + CHUNK_PADDING) return corrupt("no room for its blocks' table");
  c.is_stride = c.encoding == ENCODING_STRIDE;
  if (chunk_has_table(row_count, c.encoding, c.has_nulls)) c.table = bytes + CHUNK_HEADER_BYTES;
  TRY(check_header(&c, flags));
  TRY(check_table(&c));
  *chunk = c;
  return KVSTORE_OK;
}

/* ---- checking what the head names ---- */

Status chunk_check_shared(const Chunk *c) {
  bool may_have_one =
    c->encoding == ENCODING_DICTIONARY || c->encoding == ENCODING_ALP_RD || c->encoding == ENCODING_FSST;
  if (!may_have_one && c->dictionary_count) return corrupt("a dictionary where none belongs");
  return c->codec->check_shared(c);
}

static Status check_validity(const Chunk *c, uint32_t block, const ChunkBlock *b) {
  uint64_t words[BLOCK_WORDS], rows[BLOCK_WORDS];
  chunk_validity(c, block, words);
  bitmap_fill_first(rows, BLOCK_WORDS, b->row_count);
  for (unsigned i = 0; i < BLOCK_WORDS; i++) {
    if (words[i] & ~rows[i]) return corrupt("validity beyond the last row");
  }
  if (bitmap_count(words, BLOCK_WORDS) != b->row_count - b->null_count)
    return corrupt("validity against the null count");
  return KVSTORE_OK;
}

Status chunk_check_block(const Chunk *c, uint32_t block) {
  ChunkBlock b;
  chunk_block(c, block, &b);
  if (chunk_block_has_validity(&b)) TRY(check_validity(c, block, &b));
  return c->codec->check_block(c, block);
}

bool float_zone_holds(const Chunk *c, uint32_t block, const void *values) {
  const SimdKernels *k = simd_kernels();
  const uint64_t sign = UINT64_C(1) << 63;
  int64_t images[BLOCK_ROWS];
  uint64_t rows[BLOCK_WORDS], low, high;
  if (c->type == TYPE_F32)
    k->image_f32(values, images);
  else
    k->image_f64(values, images);
  chunk_validity(c, block, rows);
  if (!bitmap_count(rows, BLOCK_WORDS)) return true;
  k->extremes[3](images, sign, rows, &low, &high);
  return (int64_t)(low ^ sign) >= chunk_block_minimum(c, block) &&
         (int64_t)(high ^ sign) <= chunk_block_maximum(c, block);
}

static int64_t row_image(const Chunk *c, uint32_t row) {
  Value v;
  if (c->codec->image) return c->codec->image(c, row);
  codec_get(c, row, &v);
  return type_is_string(c->type)  ? bytes_image(v.s)
         : type_is_float(c->type) ? float_image(v.f)
                                  : (int64_t)(v.u + type_image_bias(c->type));
}

/* The zone of a block against its values: a zone that is too narrow would lose rows silently. */
static Status check_zone(const Chunk *c, uint32_t block) {
  ChunkBlock b;
  chunk_block(c, block, &b);
  int64_t low = INT64_MAX, high = INT64_MIN;
  if (c->codec->zone) {
    uint64_t rows[BLOCK_WORDS];
    chunk_validity(c, block, rows);
    c->codec->zone(c, block, rows, &low, &high);
  }
  for (uint32_t i = 0; i < b.row_count && !c->codec->zone; i++) {
    uint32_t row = block * BLOCK_ROWS + i;
    if (chunk_row_is_null(c, row)) continue;
    int64_t image = row_image(c, row);
    if (image < low) low = image;
    if (image > high) high = image;
  }
  if (b.null_count < b.row_count && (low != b.minimum || high != b.maximum))
    return corrupt("a zone that is not its values'");
  return KVSTORE_OK;
}

/* Some row has each value: who counts different ones reads the dictionary alone. */
static Status check_codes(const Chunk *c) {
  uint64_t seen[SEGMENT_ROWS / 64] = { 0 };
  uint16_t codes[BLOCK_ROWS];
  for (uint32_t block = 0; block < c->block_count; block++) {
    uint32_t rows = chunk_block_rows(c, block);
    codec_codes(c, block, codes);
    for (uint32_t i = 0; i < rows; i++) {
      if (!chunk_row_is_null(c, block * BLOCK_ROWS + i)) seen[codes[i] / 64] |= UINT64_C(1) << codes[i] % 64;
    }
  }
  return bitmap_count(seen, SEGMENT_ROWS / 64) == c->dictionary_count
           ? KVSTORE_OK
           : corrupt("values in its dictionary that no row has");
}

Status chunk_check(const Chunk *c) {
  int64_t low = INT64_MAX, high = INT64_MIN;
  TRY(chunk_check_shared(c));
  for (uint32_t i = 0; i < c->block_count; i++) {
    TRY(chunk_check_block(c, i));
    TRY(check_zone(c, i));
    if (chunk_block_minimum(c, i) > chunk_block_maximum(c, i)) continue;
    if (chunk_block_minimum(c, i) < low) low = chunk_block_minimum(c, i);
    if (chunk_block_maximum(c, i) > high) high = chunk_block_maximum(c, i);
  }
  if (c->null_count < c->row_count && (low != c->minimum || high != c->maximum))
    return corrupt("a zone that is not its blocks'");
  return c->encoding == ENCODING_DICTIONARY ? check_codes(c) : KVSTORE_OK;
}
