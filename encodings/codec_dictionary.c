/* codec_dictionary.c - the distinct values of the segment, sorted, and for every row the number of its value, packed as
 * in codec_packed.c with a base and a width per block. A predicate becomes a range or a set of codes.
 *
 *   shared part, by type      numbers        count x natural width
 *                             fixed bytes    count x value width
 *                             strings        (count + 1) x offset, bytes; an offset is a u16 where the bytes allow it,
 *                                            else a u32: the chunk's step says how long it is
 *
 * Values ascend by image, strings by bytes; floats of one image (zeros, NaNs) by their bits. */
#include "encodings/encodings_internal.h"

#include "base/bitmap.h"

/* ---- the values ---- */

static bool has_offsets(ColumnType type) { return type_is_string(type) && !type_is_fixed(type); }
static uint32_t offset_bytes(const CodecPlan *p) { return p->dictionary_bytes <= UINT16_MAX ? 2 : 4; }
static uint64_t value_bytes(const CodecPlan *p) {
  if (type_is_fixed(p->input->type)) return p->input->width;
  return has_offsets(p->input->type) ? offset_bytes(p) : UINT64_C(1) << type_width_index(p->input->type);
}
static uint64_t shared_bytes(const CodecPlan *p) {
  uint64_t of_values = p->dictionary_count * value_bytes(p);
  return has_offsets(p->input->type) ? of_values + offset_bytes(p) + p->dictionary_bytes : of_values;
}

static uint32_t offset_at(const uint8_t *offsets, uint64_t width, uint32_t i) {
  return width == 2 ? load_u16(offsets + 2 * (size_t)i) : load_u32(offsets + 4 * (size_t)i);
}
static Bytes string_of_code(const Chunk *c, uint32_t code) {
  const uint8_t *shared = c->bytes + c->head_length;
  if (type_is_fixed(c->type)) return (Bytes){ shared + (size_t)code * c->width, c->width };
  uint32_t start = offset_at(shared, c->step, code), end = offset_at(shared, c->step, code + 1);
  return (Bytes){ shared + c->step * ((size_t)c->dictionary_count + 1) + start, end - start };
}
static int64_t image_of_code(const Chunk *c, uint32_t code) {
  if (type_is_string(c->type)) return bytes_image(string_of_code(c, code));
  return type_image(c->type, c->bytes + c->head_length, code);
}

void codec_code_value(const Chunk *c, uint32_t code, Value *out) {
  if (type_is_string(c->type))
    *out = (Value){ .type = c->type, .s = string_of_code(c, code) };
  else
    *out = value_from_array(c->type, c->bytes + c->head_length, code);
}

/* ---- writing ---- */

static unsigned codes_width(const CodecPlan *p, uint32_t block) {
  return simd_width((uint64_t)(p->blocks[block].code_most - p->blocks[block].code_least));
}

static uint64_t analyze(const CodecPlan *p) {
  if (!p->dictionary_count || shared_bytes(p) > UINT32_MAX / 2) return 0;
  uint64_t data = 0;
  for (uint32_t b = 0; b < p->block_count; b++) data += 128u * codes_width(p, b);
  return plan_chunk_bytes(p, ENCODING_DICTIONARY, shared_bytes(p), data);
}

static void write_strings(const CodecPlan *p, uint8_t *shared) {
  uint32_t count = p->dictionary_count, width = offset_bytes(p), at = 0;
  uint8_t *bytes = shared + width * ((size_t)count + 1);
  for (uint32_t i = 0; i <= count; i++) {
    if (width == 2)
      store_u16(shared + 2 * (size_t)i, (uint16_t)at);
    else
      store_u32(shared + 4 * (size_t)i, at);
    if (i == count) break;
    Bytes b = ((const Bytes *)p->input->values)[p->dictionary_rows[i]];
    if (b.length) memcpy(bytes + at, b.data, b.length);
    at += (uint32_t)b.length;
  }
}

static void write_values(const CodecPlan *p, uint8_t *shared) {
  const ChunkInput *in = p->input;
  uint64_t width = value_bytes(p);
  if (has_offsets(in->type)) {
    write_strings(p, shared);
    return;
  }
  for (uint32_t i = 0; i < p->dictionary_count; i++) {
    uint32_t row = p->dictionary_rows[i];
    const uint8_t *value =
      type_is_fixed(in->type) ? ((const Bytes *)in->values)[row].data : (const uint8_t *)in->values + row * width;
    memcpy(shared + i * width, value, width);
  }
}

static uint64_t encode(const CodecPlan *p, uint8_t *out) {
  ChunkWriter w;
  uint64_t step = has_offsets(p->input->type) ? offset_bytes(p) : 1;
  write_values(p, chunk_writer_begin(&w, p, ENCODING_DICTIONARY, 0, step, p->dictionary_count, shared_bytes(p), out));
  for (uint32_t b = 0; b < p->block_count; b++) {
    int64_t codes[BLOCK_ROWS], low = p->blocks[b].code_least;
    uint32_t first = b * BLOCK_ROWS, rows = plan_block_rows(p, b);
    for (uint32_t i = 0; i < BLOCK_ROWS; i++) {
      codes[i] = i < rows && !input_is_null(p->input, first + i) ? p->codes[first + i] : low;
    }
    unsigned width = codes_width(p, b);
    packed_write(codes, width, low, 1, chunk_writer_block(&w, low, width, 128u * width));
  }
  return chunk_writer_end(&w);
}

/* ---- codes of a block ---- */

static void unpack_codes(const Chunk *c, uint32_t block, uint16_t *codes) {
  ChunkBlock b;
  Lanes lanes;
  const SimdKernels *k = simd_kernels();
  chunk_block(c, block, &b);
  k->scale[simd_lane_index(b.width)][1](packed_lanes(chunk_block_data(c, &b), b.width, &lanes), (uint64_t)b.base, 1,
                                        codes);
}

void codec_codes(const Chunk *c, uint32_t block, uint16_t *codes) {
  unpack_codes(c, block, codes);
  if (!chunk_block_null_count(c, block)) return;
  uint64_t rows[BLOCK_WORDS];
  chunk_validity(c, block, rows);
  for (uint32_t i = 0; i < BLOCK_ROWS; i++) codes[i] = bit_get(rows, i) ? codes[i] : 0;
}

static uint32_t code_of_row(const Chunk *c, uint32_t row) {
  ChunkBlock b;
  chunk_block(c, row / BLOCK_ROWS, &b);
  return (uint32_t)b.base + (uint32_t)simd_packed_value(chunk_block_data(c, &b), b.width, row % BLOCK_ROWS);
}

static void get_one(const Chunk *c, uint32_t row, Value *out) { codec_code_value(c, code_of_row(c, row), out); }

static void decode(const Chunk *c, uint32_t block, void *values) {
  uint16_t codes[BLOCK_ROWS];
  unpack_codes(c, block, codes);
  if (type_is_string(c->type)) {
    Bytes *out = values;
    for (uint32_t i = 0; i < BLOCK_ROWS; i++) out[i] = string_of_code(c, codes[i]);
    return;
  }
  const uint8_t *shared = c->bytes + c->head_length;
#define LOOK_UP(T)                                                                       \
  for (uint32_t i = 0; i < BLOCK_ROWS; i++) {                                            \
    memcpy((uint8_t *)values + i * sizeof(T), shared + codes[i] * sizeof(T), sizeof(T)); \
  }                                                                                      \
  break;
  switch (type_width_index(c->type)) {
  case 0: LOOK_UP(uint8_t)
  case 1: LOOK_UP(uint16_t)
  case 2: LOOK_UP(uint32_t)
  default: LOOK_UP(uint64_t)
  }
#undef LOOK_UP
}

/* ---- predicates become codes ---- */

/* How a dictionary value lies to a bound: negative, 0, positive. */
typedef struct Bound {
  int64_t image; /* types other than strings */
  Bytes bytes;
} Bound;

static int code_order(const Chunk *c, uint32_t code, const Bound *bound) {
  if (type_is_string(c->type)) {
    Bytes b = string_of_code(c, code);
    return bytes_compare(b.data, b.length, bound->bytes.data, bound->bytes.length);
  }
  int64_t image = image_of_code(c, code);
  return (image > bound->image) - (image < bound->image);
}

/* The number of values below the bound; `or_equal` counts those equal to it too. */
static uint32_t codes_below(const Chunk *c, const Bound *bound, bool or_equal) {
  uint32_t low = 0, high = c->dictionary_count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    int order = code_order(c, middle, bound);
    if (order < 0 || (or_equal && order == 0))
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* The first value from `low` on that does not begin with the prefix. */
static uint32_t prefix_end(const Chunk *c, uint32_t low, Bytes prefix) {
  uint32_t high = c->dictionary_count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    Bytes b = string_of_code(c, middle);
    if (b.length >= prefix.length && (prefix.length == 0 || memcmp(b.data, prefix.data, prefix.length) == 0))
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* Codes [low, end), or the others. */
static void set_code_range(CodecFilter *f, uint32_t low, uint32_t end) {
  uint32_t count = f->chunk->dictionary_count;
  if (low >= end) {
    f->kind = f->negated ? COMPARE_KIND_NOT_NULL : COMPARE_KIND_NONE;
  } else if (low == 0 && end == count) {
    f->kind = f->negated ? COMPARE_KIND_NONE : COMPARE_KIND_NOT_NULL;
  } else {
    f->kind = COMPARE_KIND_RANGE;
    f->low = low;
    f->high = (int64_t)end - 1;
  }
}

/* Each value is asked once. */
static void prepare_each(CodecFilter *f, uint64_t *members) {
  uint32_t least = 0, end = 0, found = 0, count = f->chunk->dictionary_count;
  size_t words = bitmap_words(count);
  memset(members, 0, (words < 4 ? 4 : words) * sizeof *members); /* kernels load four words whole */
  for (uint32_t code = 0; code < count; code++) {
    Value v;
    codec_code_value(f->chunk, code, &v);
    if (!compare_value(f->compare, &v)) continue;
    bit_set(members, code);
    if (found++ == 0) least = code;
    end = code + 1;
  }
  f->members = members;
  f->negated = false;
  f->kind = COMPARE_KIND_SET;
  if (end - least == found) set_code_range(f, least, end);
}

/* The members of the set that the dictionary has: a bit each, or a range when they lie side by side. */
static void prepare_set(CodecFilter *f, uint64_t *members) {
  const Compare *compare = f->compare;
  if (compare->set_count > f->chunk->dictionary_count) {
    prepare_each(f, members);
    return;
  }
  uint32_t least = UINT32_MAX, end = 0, found = 0;
  size_t words = bitmap_words(f->chunk->dictionary_count);
  memset(members, 0, (words < 4 ? 4 : words) * sizeof *members); /* kernels load four words whole */
  for (uint32_t i = 0; i < compare->set_count; i++) {
    Bound bound = { 0 };
    if (type_is_string(f->chunk->type))
      bound.bytes = compare->strings[i];
    else
      bound.image = compare->images[i];
    uint32_t code = codes_below(f->chunk, &bound, false);
    for (; code < f->chunk->dictionary_count && code_order(f->chunk, code, &bound) == 0; code++) {
      bit_set(members, code);
      if (code < least) least = code;
      end = code + 1;
      found++;
    }
  }
  f->members = members;
  if (found == 0 || end - least == found) set_code_range(f, found ? least : 0, end);
}

static void prepare(CodecFilter *f, void *scratch) {
  const Chunk *c = f->chunk;
  const Compare *compare = f->compare;
  if (f->kind == COMPARE_KIND_BITS) {
    prepare_each(f, scratch);
    return;
  }
  if (f->kind == COMPARE_KIND_SET) {
    prepare_set(f, scratch);
    return;
  }
  Bound low = { .image = compare->low, .bytes = compare->low_bytes };
  Bound high = { .image = compare->high, .bytes = compare->high_bytes };
  uint32_t first = compare->low_missing ? 0 : codes_below(c, &low, compare->low_excluded);
  if (compare->kind == COMPARE_KIND_PREFIX)
    set_code_range(f, first, prefix_end(c, first, compare->low_bytes));
  else
    set_code_range(f, first,
                   compare->high_missing ? c->dictionary_count : codes_below(c, &high, !compare->high_excluded));
}

static void filter(const CodecFilter *f, uint32_t block, uint64_t mask[BLOCK_WORDS]) {
  const Chunk *c = f->chunk;
  ChunkBlock b;
  chunk_block(c, block, &b);
  if (f->kind == COMPARE_KIND_RANGE) {
    packed_filter_range(chunk_block_data(c, &b), b.width, b.base, 1, f->low, f->high, f->negated, mask);
    return;
  }
  const SimdKernels *k = simd_kernels();
  uint64_t flip = f->negated ? UINT64_MAX : 0;
  if (b.width <= 8 && c->dictionary_count <= 256) {
    uint8_t codes[BLOCK_ROWS];
    k->scale[0][0](packed_lanes(chunk_block_data(c, &b), b.width, codes), (uint64_t)b.base, 1, codes);
    k->member8(codes, f->members, flip, mask);
  } else {
    uint16_t codes[BLOCK_ROWS];
    unpack_codes(c, block, codes);
    k->member16(codes, f->members, flip, mask);
  }
}

/* Codes order as the values do, so the ends are found on codes; sums need the values. */
static void aggregate(const Chunk *c, uint32_t block, const uint64_t *mask, bool full, AggregateState *state) {
  if (state->wanted & AGGREGATE_SUM && !type_is_string(c->type)) {
    Lanes values;
    uint32_t wanted = state->wanted;
    decode(c, block, &values);
    state->wanted = AGGREGATE_SUM;
    aggregate_array_block(c->type, &values, chunk_block_rows(c, block), mask, full, state);
    state->wanted = wanted;
  }
  if (!(state->wanted & (AGGREGATE_MIN | AGGREGATE_MAX))) return;
  uint16_t codes[BLOCK_ROWS];
  uint64_t low, high;
  unpack_codes(c, block, codes);
  simd_kernels()->extremes[1](codes, 0, mask, &low, &high);
  if (type_is_string(c->type)) {
    aggregate_bytes(state, string_of_code(c, (uint32_t)low));
    aggregate_bytes(state, string_of_code(c, (uint32_t)high));
  } else {
    aggregate_image(state, image_of_code(c, (uint32_t)low), image_of_code(c, (uint32_t)high));
  }
}

/* ---- checks ---- */

static Status wrong(const char *what) { return status_fail(KVSTORE_CORRUPT, "damaged dictionary chunk: %s", what); }

static Status check_offsets(const Chunk *c, uint64_t room) {
  const uint8_t *shared = c->bytes + c->head_length;
  if (c->step != 2 && c->step != 4) return wrong("offsets of a wrong length");
  uint64_t table = c->step * ((uint64_t)c->dictionary_count + 1);
  uint32_t last = 0;
  if (table > room) return wrong("no room for its offsets");
  for (uint32_t i = 0; i <= c->dictionary_count; i++) {
    uint32_t offset = offset_at(shared, c->step, i);
    if (offset < last || offset > room - table || (i == 0 && offset)) return wrong("string offsets out of order");
    last = offset;
  }
  return KVSTORE_OK;
}

/* Strictly ascending; floats of one image by their bits. */
static bool ascends(const Chunk *c, uint32_t code) {
  if (type_is_string(c->type)) {
    Bytes a = string_of_code(c, code - 1), b = string_of_code(c, code);
    return bytes_compare(a.data, a.length, b.data, b.length) < 0;
  }
  int64_t a = image_of_code(c, code - 1), b = image_of_code(c, code);
  if (a != b || !type_is_float(c->type)) return a < b;
  unsigned width = 1u << type_width_index(c->type);
  const uint8_t *values = c->bytes + c->head_length;
  return simd_word(values + (size_t)(code - 1) * width, width) < simd_word(values + (size_t)code * width, width);
}

static Status check_shared(const Chunk *c) {
  uint64_t room = chunk_shared_room(c), count = c->dictionary_count;
  if (count == 0 || count > SEGMENT_ROWS) return wrong("a wrong number of values");
  if (type_is_fixed(c->type)) {
    if (count * c->width > room) return wrong("no room for its values");
  } else if (type_is_string(c->type)) {
    TRY(check_offsets(c, room));
  } else if (count << type_width_index(c->type) > room) {
    return wrong("no room for its values");
  }
  for (uint32_t i = 1; i < count; i++) {
    if (!ascends(c, i)) return wrong("values that do not ascend");
  }
  for (uint32_t i = 0; c->type == TYPE_STRING && i < count; i++) {
    Bytes b = string_of_code(c, i);
    if (!bytes_are_utf8(b.data, b.length)) return wrong("text that is not UTF-8");
  }
  if (c->type == TYPE_BOOL && (count > 2 || c->bytes[c->head_length + count - 1] > 1))
    return wrong("a boolean above 1");
  return KVSTORE_OK;
}

static Status check_block(const Chunk *c, uint32_t block) {
  ChunkBlock b;
  Lanes lanes;
  uint64_t low, high;
  chunk_block(c, block, &b);
  if (b.width > 16 || chunk_block_data_length(&b) != 128u * b.width) return wrong("a block of a wrong length");
  const void *codes = packed_lanes(chunk_block_data(c, &b), b.width, &lanes);
  simd_kernels()->extremes[simd_lane_index(b.width)](codes, 0, NULL, &low, &high);
  if (b.base < 0 || b.base >= c->dictionary_count || high >= c->dictionary_count - (uint64_t)b.base) {
    return wrong("a code beyond the last value");
  }
  if (b.null_count == b.row_count) return KVSTORE_OK;
  if (image_of_code(c, (uint32_t)b.base) < b.minimum ||
      image_of_code(c, (uint32_t)((uint64_t)b.base + high)) > b.maximum) {
    return wrong("a value outside its zone");
  }
  return KVSTORE_OK;
}

const Codec codec_dictionary = {
  .id = ENCODING_DICTIONARY,
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
