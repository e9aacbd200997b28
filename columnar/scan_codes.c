/* scan_codes.c - columns with few values as codes: those of a dictionary, one for all, or an integer's distance from
 * the least. Zones and encodings are what was verified with the chunk (COL-7), so that a code is below its count
 * whatever the bytes are. */
#include "columnar/scan_internal.h"

static bool has_narrow_range(ColumnType type, int64_t minimum, int64_t maximum) {
  if (type_is_string(type) || type_is_float(type) || minimum > maximum) return false;
  return (uint64_t)maximum - (uint64_t)minimum < SCAN_CODES_RANGE;
}

static uint32_t range_count(int64_t minimum, int64_t maximum) {
  return (uint32_t)((uint64_t)maximum - (uint64_t)minimum) + 1;
}

/* Codes of the values alone. */
static uint32_t value_codes(const ScanColumn *c) {
  if (c->kind == SCAN_COLUMN_CONSTANT) return 1;
  if (c->kind == SCAN_COLUMN_COMPUTED) return 0;
  if (c->kind != SCAN_COLUMN_CHUNK) return c->type == TYPE_BOOL ? 2 : 0;
  const Chunk *chunk = c->hold.chunk;
  if (chunk->encoding == ENCODING_DICTIONARY)
    return chunk->dictionary_count < SEGMENT_ROWS ? chunk->dictionary_count : 0;
  if (chunk->encoding == ENCODING_CONSTANT) return 1;
  return has_narrow_range(c->type, chunk->minimum, chunk->maximum) ? range_count(chunk->minimum, chunk->maximum) : 0;
}

Status scan_codes(Scan *scan, uint32_t column, uint32_t *count) {
  ScanColumn *c;
  TRY(scan_column(scan, column, &c));
  uint32_t values = value_codes(c);
  *count = values ? values + 1 : 0;
  return KVSTORE_OK;
}

/* ---- reading ---- */

static void null_codes(const uint8_t *nulls, uint32_t rows, uint16_t code, uint16_t *codes) {
  for (uint32_t i = 0; i < rows; i++) codes[i] = nulls[i] ? code : codes[i];
}

/* value - minimum, as unsigned numbers of the natural width; what lies beneath a null is cut to a code, too. */
static void range_codes(ColumnType type, const void *values, uint32_t rows, uint64_t minimum, uint16_t *codes) {
#define SUBTRACT(T)                                                                                             \
  for (uint32_t i = 0; i < rows; i++) codes[i] = (uint16_t)((T)(((const T *)values)[i] - (T)minimum) & 0xffff); \
  break
  switch (type_array_width(type)) {
  case 1: SUBTRACT(uint8_t);
  case 2: SUBTRACT(uint16_t);
  case 4: SUBTRACT(uint32_t);
  default: SUBTRACT(uint64_t);
  }
#undef SUBTRACT
}

static Status read_range(Scan *scan, ScanColumn *c, uint32_t column, uint32_t block, uint16_t *codes) {
  uint64_t values[BLOCK_ROWS];
  uint8_t nulls[BLOCK_ROWS];
  uint32_t rows = scan_block_rows(scan->selection.unit, block);
  bool is_chunk = c->kind == SCAN_COLUMN_CHUNK;
  int64_t image = is_chunk ? c->hold.chunk->minimum : 0;
  uint64_t minimum = (uint64_t)image + (c->type == TYPE_U64 ? UINT64_C(1) << 63 : 0);
  TRY(scan_read_block(scan, column, block, values, nulls));
  range_codes(c->type, values, rows, minimum, codes);
  uint32_t null_code = is_chunk ? range_count(image, c->hold.chunk->maximum) : 2;
  if (!is_chunk || chunk_block_null_count(c->hold.chunk, block)) null_codes(nulls, rows, (uint16_t)null_code, codes);
  return KVSTORE_OK;
}

/* Distances from the least value, as a block without nulls is packed: nothing is widened. False: it is not. */
static bool read_packed(const Scan *scan, const Chunk *chunk, uint32_t block, uint16_t *codes) {
  uint64_t room[BLOCK_ROWS];
  CodecOffsets as;
  if (chunk->encoding != ENCODING_PACKED || chunk_block_null_count(chunk, block)) return false;
  const void *offsets = codec_offsets(chunk, block, room, &as);
  scan->kernels->scale[simd_lane_index(as.width)][1](offsets, (uint64_t)as.base - (uint64_t)chunk->minimum, as.step,
                                                     codes);
  return true;
}

static void read_validity(const Chunk *chunk, uint32_t block, uint16_t null_code, uint16_t *codes) {
  uint64_t valid[BLOCK_WORDS];
  if (!chunk_block_null_count(chunk, block)) return;
  chunk_validity(chunk, block, valid);
  for (uint32_t i = 0; i < BLOCK_ROWS; i++) codes[i] = valid[i / 64] >> (i % 64) & 1 ? codes[i] : null_code;
}

Status scan_read_codes(Scan *scan, uint32_t column, uint32_t block, uint16_t *codes) {
  ScanColumn *c;
  TRY(scan_column(scan, column, &c));
  if (c->kind == SCAN_COLUMN_CONSTANT) {
    for (uint32_t i = 0; i < BLOCK_ROWS; i++) codes[i] = c->constant.is_null;
    return KVSTORE_OK;
  }
  if (c->kind != SCAN_COLUMN_CHUNK) return read_range(scan, c, column, block, codes);
  TRY(chunk_hold_block(&c->hold, block));
  const Chunk *chunk = c->hold.chunk;
  if (chunk->encoding == ENCODING_DICTIONARY) {
    codec_codes(chunk, block, codes);
    read_validity(chunk, block, (uint16_t)chunk->dictionary_count, codes);
  } else if (chunk->encoding == ENCODING_CONSTANT) {
    memset(codes, 0, BLOCK_ROWS * sizeof *codes);
    read_validity(chunk, block, 1, codes);
  } else if (!read_packed(scan, chunk, block, codes)) {
    return read_range(scan, c, column, block, codes);
  }
  return KVSTORE_OK;
}

Status scan_read_offsets(Scan *scan, uint32_t column, uint32_t block, bool takes_multiples, void *room,
                         CodecOffsets *out, const void **offsets) {
  ScanColumn *c;
  *offsets = NULL;
  TRY(scan_column(scan, column, &c));
  const Chunk *chunk = c->kind == SCAN_COLUMN_CHUNK ? c->hold.chunk : NULL;
  if (!chunk || chunk->encoding != ENCODING_PACKED || chunk_block_null_count(chunk, block)) return KVSTORE_OK;
  if (!takes_multiples && chunk->step != 1) return KVSTORE_OK;
  TRY(chunk_hold_block(&c->hold, block));
  *offsets = codec_offsets(chunk, block, room, out);
  return KVSTORE_OK;
}

bool scan_codes_are_all(Scan *scan, uint32_t column) {
  const ScanColumn *c = scan->columns[column];
  const ScanSelection *s = &scan->selection;
  return c && c->kind == SCAN_COLUMN_CHUNK && c->hold.chunk->encoding == ENCODING_DICTIONARY &&
         s->row_count == s->unit->row_count;
}

static void value_of_image(ColumnType type, int64_t image, Value *out) {
  *out = (Value){ .type = type };
  out->u = (uint64_t)image + (type == TYPE_U64 ? UINT64_C(1) << 63 : 0);
}

Status scan_code_value(Scan *scan, uint32_t column, uint32_t code, Value *out) {
  ScanColumn *c;
  TRY(scan_column(scan, column, &c));
  if (code >= value_codes(c)) {
    *out = (Value){ .type = c->type, .is_null = true };
  } else if (c->kind == SCAN_COLUMN_CONSTANT) {
    *out = c->constant;
  } else if (c->kind != SCAN_COLUMN_CHUNK) {
    *out = (Value){ .type = c->type, .i = code };
  } else if (c->hold.chunk->encoding == ENCODING_DICTIONARY) {
    codec_code_value(c->hold.chunk, code, out);
  } else if (c->hold.chunk->encoding == ENCODING_CONSTANT) {
    c->hold.chunk->codec->get_one(c->hold.chunk, 0, out);
  } else {
    value_of_image(c->type, c->hold.chunk->minimum + code, out);
  }
  return KVSTORE_OK;
}

bool scan_zone(Scan *scan, uint32_t column, int64_t *minimum, int64_t *maximum) {
  const ScanUnit *unit = scan->selection.unit;
  Value constant;
  if (scan_is_computed(scan, column)) return false;
  if (unit->kind != SCAN_UNIT_SEGMENT || scan_unit_default(unit, column, &constant)) return false;
  ColumnZone zone = segment_zone(column_run_segment(unit->run, unit->segment), column);
  *minimum = zone.minimum;
  *maximum = zone.maximum;
  return zone.minimum <= zone.maximum;
}
