#include "encodings/chunk.h"

#include "base/assert.h"
#include "base/bitmap.h"
#include "encodings/encodings_internal.h"

static uint32_t blocks_of(uint32_t row_count) { return (row_count + BLOCK_ROWS - 1) / BLOCK_ROWS; }

/* What the base of a block is added to, and how many bytes of it stand in the table. */
typedef enum BaseForm {
  BASE_HEADER,  /* that of the header, no bytes */
  BASE_MINIMUM, /* the block's minimum, no bytes */
  BASE_ZONE,    /* the chunk's minimum, as many bytes as the zones have */
  BASE_CODE,    /* nothing, 2 bytes */
  BASE_LENGTH,  /* nothing, 4 bytes */
  BASE_WORD,    /* nothing, 8 bytes */
} BaseForm;

static BaseForm base_form(const Chunk *c) {
  switch (c->encoding) {
  case ENCODING_PACKED: return BASE_MINIMUM;
  case ENCODING_RUN_LENGTH: return type_is_float(c->type) ? BASE_WORD : BASE_MINIMUM;
  case ENCODING_DELTA: return BASE_ZONE;
  case ENCODING_DICTIONARY: return BASE_CODE;
  case ENCODING_FSST:
  case ENCODING_ZSTD: return BASE_LENGTH;
  case ENCODING_ALP: return BASE_WORD;
  default: return BASE_HEADER;
  }
}

static uint64_t number_mask(unsigned shift) { return UINT64_MAX >> (64 - (8u << shift)); }

/* Returns where the bases end. */
static uint32_t lay_out_bases(Chunk *c, uint32_t at) {
  int64_t minimum = c->null_count == c->row_count ? 0 : c->minimum;
  c->base_at = (uint16_t)at;
  c->base_from = 0;
  switch (base_form(c)) {
  case BASE_HEADER:
    c->base_shift = 0;
    c->base_mask = 0;
    c->base_from = c->base;
    return at;
  case BASE_MINIMUM:
    c->base_at = CHUNK_HEADER_BYTES;
    c->base_shift = c->zone_shift;
    c->base_mask = c->zone_mask;
    c->base_from = minimum;
    return at;
  case BASE_ZONE:
    c->base_shift = c->zone_shift;
    c->base_from = minimum;
    break;
  case BASE_CODE: c->base_shift = 1; break;
  case BASE_LENGTH: c->base_shift = 2; break;
  case BASE_WORD: c->base_shift = 3; break;
  }
  c->base_mask = number_mask(c->base_shift);
  return at + (c->block_count << c->base_shift);
}

void chunk_lay_out(Chunk *c) {
  uint32_t n = c->block_count, length = c->has_nulls ? 3 : 1;
  c->has_table = n > 1 && !c->is_stride && (c->encoding != ENCODING_CONSTANT || c->has_nulls);
  if (c->has_table) {
    c->zone_mask = number_mask(c->zone_shift);
    uint32_t at = lay_out_bases(c, CHUNK_HEADER_BYTES + (2 * n << c->zone_shift));
    c->offset_at = (uint16_t)at;
    c->null_at = (uint16_t)(at + 4 * (n + 1));
    c->width_at = (uint16_t)(c->null_at + (c->has_nulls ? CHUNK_NULL_BYTES * n : 0));
    length = c->width_at + n - CHUNK_HEADER_BYTES;
  }
  c->head_length = (uint32_t)round_up(CHUNK_HEADER_BYTES + length, CHUNK_ALIGNMENT);
}

uint32_t chunk_head_bound(uint32_t row_count) {
  Chunk widest = { .encoding = ENCODING_ALP,
                   .type = TYPE_F64,
                   .has_nulls = true,
                   .row_count = row_count,
                   .block_count = blocks_of(row_count),
                   .zone_shift = 3 };
  chunk_lay_out(&widest);
  return widest.head_length;
}

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

void chunk_validity(const Chunk *c, uint32_t block, uint64_t words[BLOCK_WORDS]) {
  uint32_t rows = chunk_block_rows(c, block);
  if (rows == BLOCK_ROWS)
    memset(words, 0xff, BLOCK_WORDS * sizeof *words);
  else
    bitmap_fill_first(words, BLOCK_WORDS, rows);
  if (c->has_nulls) chunk_drop_nulls(c, block, words);
}

void chunk_drop_nulls(const Chunk *c, uint32_t block, uint64_t mask[BLOCK_WORDS]) {
  ChunkNulls nulls = chunk_block_nulls(c, block);
  const uint8_t *from = chunk_words(c) + 8 * (size_t)nulls.first;
  if (nulls.words == UINT16_MAX) {
    for (unsigned w = 0; w < BLOCK_WORDS; w++) mask[w] &= load_u64(from + 8 * (size_t)w);
  } else if (nulls.count == chunk_block_rows(c, block)) {
    memset(mask, 0, BLOCK_WORDS * sizeof *mask);
  } else {
    for (uint32_t left = nulls.words; left; left &= left - 1, from += 8) mask[__builtin_ctz(left)] &= load_u64(from);
  }
}

/* ---- opening ---- */

static Status corrupt(const char *what) { return status_fail(KVSTORE_CORRUPT, "damaged column chunk: %s", what); }

static Status check_header(const Chunk *c, uint8_t flags) {
  if (flags & ~(CHUNK_HAS_NULLS | 3 << CHUNK_ZONE_SHIFT)) return corrupt("unknown flags");
  if (!c->has_table && c->zone_shift) return corrupt("a width of zones that are not there");
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
  return KVSTORE_OK;
}

/* Where validity stands: a word for each bit, one after the other, none behind the block's rows. */
static Status check_nulls(Chunk *c) {
  uint64_t nulls = 0;
  for (uint32_t i = 0; i < c->block_count && c->has_nulls; i++) {
    ChunkNulls of = chunk_block_nulls(c, i);
    uint32_t rows = chunk_block_rows(c, i), words = (uint32_t)__builtin_popcount(of.words);
    bool is_partial = of.count && of.count < rows;
    if (of.first != c->word_count || (words > 0) != is_partial || of.words >> (rows - 1) / 64 > 1 || words > of.count)
      return corrupt("words of validity that are not its nulls'");
    c->word_count += words;
    nulls += of.count;
  }
  if (nulls != c->null_count) return corrupt("null counts that do not add up");
  if (8 * c->word_count > c->data_offset - c->head_length) return corrupt("no room for its validity");
  return KVSTORE_OK;
}

static Status check_table(const Chunk *c) {
  for (uint32_t i = 0; i < c->block_count; i++) TRY(check_table_entry(c, i));
  if (!c->has_table) return KVSTORE_OK;
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
  c.is_stride = c.encoding == ENCODING_STRIDE;
  c.zone_shift = flags >> CHUNK_ZONE_SHIFT & 3;
  chunk_lay_out(&c);
  if (length < c.head_length + CHUNK_PADDING) return corrupt("no room for its blocks' table");
  TRY(check_header(&c, flags));
  TRY(check_nulls(&c));
  TRY(check_table(&c));
  *chunk = c;
  return KVSTORE_OK;
}

/* ---- checking what the head names ---- */

static Status check_validity(const Chunk *c, uint32_t block) {
  uint64_t rows[BLOCK_WORDS];
  ChunkNulls nulls = chunk_block_nulls(c, block);
  const uint8_t *from = chunk_words(c) + 8 * (size_t)nulls.first;
  uint32_t count = 0;
  bitmap_fill_first(rows, BLOCK_WORDS, chunk_block_rows(c, block));
  for (uint32_t left = nulls.words; left; left &= left - 1, from += 8) {
    uint64_t of = rows[__builtin_ctz(left)], word = load_u64(from);
    if (word & ~of) return corrupt("validity beyond the last row");
    if (word == of) return corrupt("a word of validity without a null");
    count += (uint32_t)__builtin_popcountll(of ^ word);
  }
  return !nulls.words || count == nulls.count ? KVSTORE_OK : corrupt("validity against the null count");
}

Status chunk_check_shared(const Chunk *c) {
  bool may_have_one =
    c->encoding == ENCODING_DICTIONARY || c->encoding == ENCODING_ALP_RD || c->encoding == ENCODING_FSST;
  if (!may_have_one && c->dictionary_count) return corrupt("a dictionary where none belongs");
  for (uint32_t i = 0; i < c->block_count && c->word_count; i++) TRY(check_validity(c, i));
  return c->codec->check_shared(c);
}

Status chunk_check_block(const Chunk *c, uint32_t block) { return c->codec->check_block(c, block); }

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
