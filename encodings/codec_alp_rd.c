/* codec_alp_rd.c - floats without a decimal form: the bits of each are cut in a left part, of which there are few
 * (sign, exponent, the top of the fraction), and a right part, which is noise. Left parts are codes of at most eight
 * values a chunk, others are exceptions; right parts are packed as they are.
 *
 * ALP-RD of Afroozeh, Kuffo and Boncz, "ALP: Adaptive Lossless floating-Point Compression", SIGMOD 2023; the cut is one
 * for the chunk, found on a sample, and codes are packed by themselves.
 *
 *   shared part   the left parts that have a code, u16, ascending
 *   block         right parts, packed | codes, packed | exceptions u16 | row of each u16 | left part of each u16
 *
 * The chunk's step is the number of right bits, and the block's width unless it has no value: then it has no data. */
#include "encodings/encodings_internal.h"

#include "base/assert.h"
#include "base/bitmap.h"

enum { LEFT_BITS_MAX = 16, SAMPLE = 512 };

static unsigned type_bits(ColumnType type) { return 8u << type_width_index(type); }

static uint64_t row_bits(const ChunkInput *in, uint32_t row) {
  unsigned bytes = 1u << type_width_index(in->type);
  return simd_word((const uint8_t *)in->values + (size_t)row * bytes, bytes);
}

/* ---- choosing the cut ---- */

typedef struct Part {
  uint16_t part;
  uint32_t count;
} Part;

typedef struct Cut {
  unsigned right_bits;
  uint64_t cost; /* bits of the sample */
  uint32_t count;
  uint16_t parts[ALP_RD_PARTS];
} Cut;

/* Bits of a code of one of `count` parts. */
static unsigned code_width(uint32_t count) { return simd_width(count - 1); }

static void sort_words(uint64_t *words, uint32_t count) { /* of Shell, with the gaps of Ciura: short lists */
  static const uint32_t gaps[] = { 301, 132, 57, 23, 10, 4, 1 };
  for (unsigned g = 0; g < sizeof gaps / sizeof *gaps; g++) {
    for (uint32_t i = gaps[g]; i < count; i++) {
      uint64_t word = words[i];
      uint32_t at = i;
      for (; at >= gaps[g] && words[at - gaps[g]] > word; at -= gaps[g]) words[at] = words[at - gaps[g]];
      words[at] = word;
    }
  }
}

/* Takes the part into the list of the most frequent ones. */
static void part_add(Part *list, uint32_t *count, Part p) {
  uint32_t at = *count;
  while (at > 0 && list[at - 1].count < p.count) at--;
  if (at == ALP_RD_PARTS) return;
  if (*count < ALP_RD_PARTS) ++*count;
  for (uint32_t i = *count - 1; i > at; i--) list[i] = list[i - 1];
  list[at] = p;
}

/* What the sorted sample costs when it is cut here. */
static Cut try_cut(const uint64_t *sorted, uint32_t count, unsigned right_bits) {
  Part list[ALP_RD_PARTS];
  Cut cut = { .right_bits = right_bits };
  uint32_t covered = 0;
  for (uint32_t start = 0, end; start < count; start = end) {
    for (end = start + 1; end < count && sorted[end] >> right_bits == sorted[start] >> right_bits;) end++;
    part_add(list, &cut.count, (Part){ (uint16_t)(sorted[start] >> right_bits), end - start });
  }
  for (uint32_t i = 0; i < cut.count; i++) covered += list[i].count;
  cut.cost = (uint64_t)count * (right_bits + code_width(cut.count)) + (count - covered) * UINT64_C(32);
  uint64_t parts[ALP_RD_PARTS];
  for (uint32_t i = 0; i < cut.count; i++) parts[i] = list[i].part;
  sort_words(parts, cut.count);
  for (uint32_t i = 0; i < cut.count; i++) cut.parts[i] = (uint16_t)parts[i];
  return cut;
}

static Cut find_cut(const ChunkInput *in) {
  uint64_t sample[SAMPLE];
  uint32_t step = in->row_count / SAMPLE ? in->row_count / SAMPLE : 1, count = 0;
  unsigned bits = type_bits(in->type);
  for (uint32_t row = 0; row < in->row_count && count < SAMPLE; row += step) {
    if (!input_is_null(in, row)) sample[count++] = row_bits(in, row);
  }
  sort_words(sample, count);
  Cut best = { .right_bits = bits - 1, .cost = UINT64_MAX, .count = 1 };
  for (unsigned right = bits - LEFT_BITS_MAX; count && right < bits; right++) {
    Cut cut = try_cut(sample, count, right);
    if (cut.cost < best.cost) best = cut;
  }
  if (best.cost > count * (uint64_t)(bits - 2)) best.cost = UINT64_MAX; /* saves nothing worth the work */
  return best;
}

/* The code of a left part, or how many there are. */
static uint32_t code_of(const uint16_t *parts, uint32_t count, uint64_t part) {
  uint32_t code = 0;
  while (code < count && parts[code] != part) code++;
  return code;
}

void plan_parts(CodecPlan *p, bool always) {
  const ChunkInput *in = p->input;
  Cut cut = find_cut(in);
  if (cut.cost == UINT64_MAX && !always) return;
  p->alp_rd.right_bits = cut.right_bits;
  p->alp_rd.count = cut.count;
  memcpy(p->alp_rd.parts, cut.parts, sizeof cut.parts);
  for (uint32_t b = 0; b < p->block_count; b++) {
    uint32_t first = b * BLOCK_ROWS, exceptions = 0;
    for (uint32_t row = first; row < first + plan_block_rows(p, b); row++) {
      uint64_t part = row_bits(in, row) >> cut.right_bits;
      exceptions += !input_is_null(in, row) && code_of(cut.parts, cut.count, part) == cut.count;
    }
    p->alp_rd.exceptions[b] = (uint16_t)exceptions;
  }
}

/* ---- writing ---- */

static bool block_is_empty(const CodecPlan *p, uint32_t block) {
  return p->blocks[block].null_count == plan_block_rows(p, block);
}
static uint64_t data_bytes(const CodecPlan *p, uint32_t block) {
  if (block_is_empty(p, block)) return 0;
  return 128u * (p->alp_rd.right_bits + code_width(p->alp_rd.count)) + 2 + 4 * (uint64_t)p->alp_rd.exceptions[block];
}

static uint64_t analyze(const CodecPlan *p) {
  uint64_t data = 0;
  if (!p->alp_rd.right_bits) return 0;
  for (uint32_t b = 0; b < p->block_count; b++) data += round_up(data_bytes(p, b), CHUNK_ALIGNMENT);
  return plan_chunk_bytes(p, ENCODING_ALP_RD, 2 * (uint64_t)p->alp_rd.count, data);
}

static void write_block(const CodecPlan *p, uint32_t block, uint8_t *data) {
  const ChunkInput *in = p->input;
  uint32_t first = block * BLOCK_ROWS, rows = plan_block_rows(p, block), count = p->alp_rd.count, found = 0;
  unsigned right_bits = p->alp_rd.right_bits;
  int64_t rights[BLOCK_ROWS] = { 0 }, codes[BLOCK_ROWS] = { 0 };
  uint8_t *packed_codes = data + 128u * right_bits, *tail = packed_codes + 128u * code_width(count);
  uint32_t exceptions = p->alp_rd.exceptions[block];
  store_u16(tail, (uint16_t)exceptions);
  for (uint32_t i = 0; i < rows; i++) {
    if (input_is_null(in, first + i)) continue;
    uint64_t bits = row_bits(in, first + i), part = bits >> right_bits;
    uint32_t code = code_of(p->alp_rd.parts, count, part);
    rights[i] = (int64_t)(bits & simd_width_mask(right_bits));
    codes[i] = code < count ? code : 0;
    if (code < count) continue;
    store_u16(tail + 2 + 2 * (size_t)found, (uint16_t)i);
    store_u16(tail + 2 + 2 * ((size_t)exceptions + found), (uint16_t)part);
    found++;
  }
  ASSERT(found == exceptions, "ENC-2");
  packed_write(rights, right_bits, 0, 1, data);
  packed_write(codes, code_width(count), 0, 1, packed_codes);
}

static uint64_t encode(const CodecPlan *p, uint8_t *out) {
  ChunkWriter w;
  uint32_t count = p->alp_rd.count;
  uint8_t *shared =
    chunk_writer_begin(&w, p, ENCODING_ALP_RD, 0, p->alp_rd.right_bits, count, 2 * (uint64_t)count, out);
  for (uint32_t i = 0; i < count; i++) store_u16(shared + 2 * (size_t)i, p->alp_rd.parts[i]);
  for (uint32_t b = 0; b < p->block_count; b++) {
    bool is_empty = block_is_empty(p, b);
    uint8_t *data = chunk_writer_block(&w, 0, is_empty ? 0 : p->alp_rd.right_bits, data_bytes(p, b));
    if (!is_empty) write_block(p, b, data);
  }
  return chunk_writer_end(&w);
}

/* ---- a block ---- */

typedef struct Parts {
  unsigned right_bits, code_bits;
  const uint8_t *rights, *codes, *rows, *lefts; /* rows and left parts of the exceptions */
  uint32_t exceptions;
} Parts;

static uint64_t left_part(const Chunk *c, uint64_t code) {
  return load_u16(c->bytes + c->head_length + 2 * (size_t)code);
}

/* Of a block that has values. */
static Parts block_parts(const Chunk *c, uint32_t block) {
  ChunkBlock b;
  chunk_block(c, block, &b);
  Parts p = { .right_bits = (unsigned)c->step, .code_bits = code_width(c->dictionary_count) };
  p.rights = chunk_block_data(c, &b);
  p.codes = p.rights + 128u * p.right_bits;
  const uint8_t *tail = p.codes + 128u * p.code_bits;
  p.exceptions = load_u16(tail);
  p.rows = tail + 2;
  p.lefts = p.rows + 2 * (size_t)p.exceptions;
  return p;
}

static void decode_parts(const Chunk *c, const Parts *p, void *values) {
  const SimdKernels *k = simd_kernels();
  uint64_t lefts[ALP_RD_PARTS] = { 0 };
  uint8_t codes[BLOCK_ROWS];
  for (uint32_t i = 0; i < c->dictionary_count; i++) lefts[i] = left_part(c, i) << p->right_bits;
  k->unpack[p->code_bits](p->codes, codes);
  Lanes rights;
  k->unpack[p->right_bits](p->rights, &rights);
  bool wide = c->type == TYPE_F64;
  if (wide) {
    k->glue64(rights.of64, codes, lefts, values);
  } else {
    Lanes widened; /* 16 right bits come as u16 */
    k->scale[simd_lane_index(p->right_bits)][2](&rights, 0, 1, &widened);
    k->glue32(widened.of32, codes, lefts, values);
  }
  for (uint32_t i = 0; i < p->exceptions; i++) {
    uint32_t row = load_u16(p->rows + 2 * (size_t)i);
    uint64_t left = (uint64_t)load_u16(p->lefts + 2 * (size_t)i) << p->right_bits;
    uint64_t right = simd_packed_value(p->rights, p->right_bits, row);
    if (wide)
      ((uint64_t *)values)[row] = left | right;
    else
      ((uint32_t *)values)[row] = (uint32_t)(left | right);
  }
}

static bool block_has_values(const Chunk *c, uint32_t block) {
  return chunk_block_null_count(c, block) < chunk_block_rows(c, block);
}

static void decode(const Chunk *c, uint32_t block, void *values) {
  if (!block_has_values(c, block)) {
    memset(values, 0, (size_t)BLOCK_ROWS << type_width_index(c->type));
    return;
  }
  Parts p = block_parts(c, block);
  decode_parts(c, &p, values);
}

static void get_one(const Chunk *c, uint32_t row, Value *out) {
  Parts p = block_parts(c, row / BLOCK_ROWS);
  uint32_t at = row % BLOCK_ROWS, low = 0, high = p.exceptions;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (load_u16(p.rows + 2 * (size_t)middle) < at)
      low = middle + 1;
    else
      high = middle;
  }
  bool is_exception = low < p.exceptions && load_u16(p.rows + 2 * (size_t)low) == at;
  uint64_t left =
    is_exception ? load_u16(p.lefts + 2 * (size_t)low) : left_part(c, simd_packed_value(p.codes, p.code_bits, at));
  uint64_t bits = left << p.right_bits | simd_packed_value(p.rights, p.right_bits, at);
  *out = value_from_array(c->type, &bits, 0);
}

static void prepare(CodecFilter *f, void *scratch) { (void)f, (void)scratch; }

static void filter(const CodecFilter *f, uint32_t block, uint64_t mask[BLOCK_WORDS]) {
  Lanes values;
  decode(f->chunk, block, &values);
  if (f->kind == COMPARE_KIND_RANGE) {
    array_filter_range(f->chunk->type, &values, f->low, f->high, f->negated, mask);
    return;
  }
  for (uint32_t i = 0; i < BLOCK_ROWS; i++) {
    if (bit_get(mask, i) && !compare_image(f->compare, type_image(f->chunk->type, &values, i))) bit_clear(mask, i);
  }
}

static void aggregate(const Chunk *c, uint32_t block, const uint64_t *mask, bool full, AggregateState *state) {
  Lanes values;
  decode(c, block, &values);
  aggregate_array_block(c->type, &values, chunk_block_rows(c, block), mask, full, state);
}

/* ---- checks ---- */

static Status wrong(const char *what) { return status_fail(KVSTORE_CORRUPT, "damaged ALP-RD chunk: %s", what); }

static Status check_shared(const Chunk *c) {
  if (!type_is_float(c->type)) return wrong("of no floats");
  unsigned bits = type_bits(c->type);
  if (c->step >= bits || c->step < bits - LEFT_BITS_MAX) return wrong("a cut that there is none of");
  if (c->dictionary_count == 0 || c->dictionary_count > ALP_RD_PARTS ||
      2 * c->dictionary_count > chunk_shared_room(c)) {
    return wrong("a wrong number of left parts");
  }
  for (uint32_t i = 0; i < c->dictionary_count; i++) {
    if (left_part(c, i) >> (bits - c->step)) return wrong("a left part that is too long");
  }
  return KVSTORE_OK;
}

static Status check_exceptions(const Chunk *c, const ChunkBlock *b, const Parts *p) {
  unsigned left_bits = type_bits(c->type) - p->right_bits;
  for (uint32_t i = 0, before = 0; i < p->exceptions; i++) {
    uint32_t row = load_u16(p->rows + 2 * (size_t)i);
    if (row >= b->row_count || (i && row <= before)) return wrong("exceptions out of order");
    if (load_u16(p->lefts + 2 * (size_t)i) >> left_bits) return wrong("a left part that is too long");
    before = row;
  }
  return KVSTORE_OK;
}

static Status check_block(const Chunk *c, uint32_t block) {
  ChunkBlock b;
  Lanes values;
  chunk_block(c, block, &b);
  uint64_t length = chunk_block_data_length(&b), packed = 128u * (c->step + code_width(c->dictionary_count));
  if (!block_has_values(c, block)) return b.width || length ? wrong("values where all are null") : KVSTORE_OK;
  if (b.width != c->step || length < packed + 2) return wrong("a block of a wrong length");
  uint32_t exceptions = load_u16(chunk_block_data(c, &b) + packed);
  if (exceptions > b.row_count || round_up(packed + 2 + 4 * (uint64_t)exceptions, CHUNK_ALIGNMENT) != length) {
    return wrong("a block of a wrong length");
  }
  Parts p = block_parts(c, block);
  uint8_t codes[BLOCK_ROWS];
  uint64_t low, high;
  TRY(check_exceptions(c, &b, &p));
  simd_kernels()->unpack[p.code_bits](p.codes, codes);
  simd_kernels()->extremes[0](codes, 0, NULL, &low, &high);
  if (high >= c->dictionary_count) return wrong("a code beyond the last left part");
  decode_parts(c, &p, &values);
  return float_zone_holds(c, block, &values) ? KVSTORE_OK : wrong("a value outside its zone");
}

const Codec codec_alp_rd = {
  .id = ENCODING_ALP_RD,
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
