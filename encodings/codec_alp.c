/* codec_alp.c - doubles that were decimals: an integer d in each row, packed as in codec_packed.c, and two powers of
 * ten per block that make the value of it; what no integer gives back bit by bit is an exception.
 *
 * After Afroozeh, Kuffo and Boncz, "ALP: Adaptive Lossless floating-Point Compression", SIGMOD 2023: the value is
 * d x 10^f x 10^-e, in this order, in doubles. Differences: blocks of 1,024 in lanes as everywhere here; floats of 32
 * bits are that double rounded; filters stay in the integers.
 *
 *   block   d - base of 1,024 rows, packed | e u8 | f u8 | exceptions u16 | row of each u16 | value of each
 *
 * |d| < 2^51, so that d is exact as a double and the value rises with it (never falls: two multiplications by positive
 * numbers, rounded). So a range of values is a range of integers, and exceptions are looked at one by one. */
#include "encodings/encodings_internal.h"

#include "base/assert.h"
#include "base/bitmap.h"

enum { EXPONENT_MAX = 18, SAMPLE = 256, FIRST_SAMPLE = 32, BLOCK_SAMPLE = 32 };
static const int64_t LIMIT = SIMD_NO_DECIMAL; /* of |d| */

static const double TENS[] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8, 1e9,
                               1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18 };
static const double TENTHS[] = { 1e-0,  1e-1,  1e-2,  1e-3,  1e-4,  1e-5,  1e-6,  1e-7,  1e-8, 1e-9,
                                 1e-10, 1e-11, 1e-12, 1e-13, 1e-14, 1e-15, 1e-16, 1e-17, 1e-18 };

/* ---- one value ---- */

static double value_of(AlpPowers p, int64_t d) { return (double)d * TENS[p.factor] * TENTHS[p.exponent]; }

/* The nearest integer, or LIMIT when there is none in range (NaN and infinities among them). */
static int64_t integer_near(AlpPowers p, double value) {
  const double round = 6755399441055744.0; /* 2^52 + 2^51: adding it leaves no fraction */
  double scaled = value * TENS[p.exponent] * TENTHS[p.factor];
  if (!(scaled > -(double)LIMIT && scaled < (double)LIMIT)) return LIMIT;
  return (int64_t)(scaled + round - round);
}

static double input_value(const ChunkInput *in, uint32_t row) {
  return in->type == TYPE_F64 ? ((const double *)in->values)[row] : (double)((const float *)in->values)[row];
}

/* Does d give the bits of the row back? */
static bool gives_back(const ChunkInput *in, AlpPowers p, int64_t d, uint32_t row) {
  if (d >= LIMIT || d <= -LIMIT) return false;
  double wide = value_of(p, d);
  float narrow = (float)wide;
  return in->type == TYPE_F64 ? memcmp(&wide, (const double *)in->values + row, sizeof wide) == 0
                              : memcmp(&narrow, (const float *)in->values + row, sizeof narrow) == 0;
}

/* ---- choosing the powers ---- */

static unsigned natural_bytes(ColumnType type) { return 1u << type_width_index(type); }

/* Bits that these rows take, and how many of them are exceptions. */
static uint64_t rows_cost(const ChunkInput *in, AlpPowers p, const uint32_t *rows, uint32_t count) {
  int64_t low = INT64_MAX, high = INT64_MIN;
  uint64_t exceptions = 0;
  for (uint32_t i = 0; i < count; i++) {
    int64_t d = integer_near(p, input_value(in, rows[i]));
    if (!gives_back(in, p, d, rows[i])) {
      exceptions++;
      continue;
    }
    if (d < low) low = d;
    if (d > high) high = d;
  }
  return count * (uint64_t)plan_width(low, high, 1) + exceptions * 8 * (2 + natural_bytes(in->type));
}

/* Up to `most` rows with a value out of [first, end), evenly spread. */
static uint32_t sample_rows(const ChunkInput *in, uint32_t first, uint32_t end, uint32_t most, uint32_t *rows) {
  uint32_t step = (end - first) / most, count = 0;
  for (uint32_t row = first; row < end && count < most; row += step ? step : 1) {
    if (!input_is_null(in, row)) rows[count++] = row;
  }
  return count;
}

typedef struct Candidate {
  AlpPowers powers;
  uint64_t cost;
} Candidate;

/* Keeps the list ascending by cost and at most `most` long. */
static void candidate_add(Candidate *list, uint32_t *count, uint32_t most, Candidate c) {
  uint32_t at = *count;
  while (at > 0 && list[at - 1].cost > c.cost) at--;
  if (at == most) return;
  if (*count < most) ++*count;
  for (uint32_t i = *count - 1; i > at; i--) list[i] = list[i - 1];
  list[at] = c;
}

enum { FIRST_CANDIDATES = 12, CANDIDATES = 4 };

/* The pairs of powers that do best on a sample of the chunk: all of them on few rows, the better ones on more. */
static uint32_t find_candidates(const ChunkInput *in, Candidate out[CANDIDATES]) {
  uint32_t rows[SAMPLE], few[FIRST_SAMPLE], first_count = 0, count = 0;
  Candidate first[FIRST_CANDIDATES];
  uint32_t sampled = sample_rows(in, 0, in->row_count, SAMPLE, rows), some = 0;
  uint32_t step = sampled / FIRST_SAMPLE ? sampled / FIRST_SAMPLE : 1;
  for (uint32_t i = 0; i < sampled && some < FIRST_SAMPLE; i += step) few[some++] = rows[i];
  for (unsigned e = 0; e <= EXPONENT_MAX; e++) {
    for (unsigned f = 0; f <= e; f++) {
      AlpPowers p = { (uint8_t)e, (uint8_t)f };
      candidate_add(first, &first_count, FIRST_CANDIDATES, (Candidate){ p, rows_cost(in, p, few, some) });
    }
  }
  for (uint32_t i = 0; i < first_count; i++) {
    first[i].cost = rows_cost(in, first[i].powers, rows, sampled);
    candidate_add(out, &count, CANDIDATES, first[i]);
  }
  return sampled && out[0].cost < sampled * UINT64_C(8) * natural_bytes(in->type) ? count : 0;
}

/* The integers of a block; exceptions are LIMIT. Returns how many there are, what lies beneath nulls included. */
static uint32_t block_integers(const CodecPlan *p, uint32_t block, AlpPowers powers, int64_t integers[BLOCK_ROWS]) {
  const ChunkInput *in = p->input;
  uint32_t first = block * BLOCK_ROWS, rows = plan_block_rows(p, block);
  const double of_block[] = { TENS[powers.exponent], TENTHS[powers.factor], TENS[powers.factor],
                              TENTHS[powers.exponent] };
  if (in->type == TYPE_F64)
    return simd_kernels()->integers_f64((const double *)in->values + first, rows, of_block, integers);
  return simd_kernels()->integers_f32((const float *)in->values + first, rows, of_block, integers);
}

/* Base, width and exceptions of a block, from its integers. */
static void measure_integers(const CodecPlan *p, uint32_t block, const int64_t *integers, AlpBlock *out) {
  uint32_t first = block * BLOCK_ROWS, rows = plan_block_rows(p, block), exceptions = 0;
  int64_t low = INT64_MAX, high = INT64_MIN;
  for (uint32_t i = 0; i < rows; i++) {
    if (input_is_null(p->input, first + i)) continue;
    if (integers[i] == LIMIT) {
      exceptions++;
      continue;
    }
    if (integers[i] < low) low = integers[i];
    if (integers[i] > high) high = integers[i];
  }
  out->exceptions = (uint16_t)exceptions;
  out->base = low <= high ? low : 0;
  out->width = (uint8_t)plan_width(low, high, 1);
}

/* The same of a whole block whose rows all have their integer. */
static void measure_whole(const int64_t *integers, AlpBlock *out) {
  const uint64_t sign = UINT64_C(1) << 63;
  uint64_t low, high;
  simd_kernels()->extremes[3](integers, sign, NULL, &low, &high);
  out->exceptions = 0;
  out->base = (int64_t)(low ^ sign);
  out->width = (uint8_t)simd_width(high - low);
}

static void plan_block(CodecPlan *p, uint32_t block, const Candidate *candidates, uint32_t count) {
  const ChunkInput *in = p->input;
  uint32_t first = block * BLOCK_ROWS, rows = plan_block_rows(p, block), sample[BLOCK_SAMPLE];
  uint32_t sampled = sample_rows(in, first, first + rows, BLOCK_SAMPLE, sample);
  AlpBlock *out = &p->alp[block];
  uint64_t best = UINT64_MAX;
  for (uint32_t i = 0; i < count; i++) {
    uint64_t cost = count > 1 ? rows_cost(in, candidates[i].powers, sample, sampled) : 0;
    if (cost >= best) continue;
    best = cost;
    out->powers = candidates[i].powers;
  }
  int64_t integers[BLOCK_ROWS];
  uint32_t exceptions = block_integers(p, block, out->powers, integers);
  if (rows == BLOCK_ROWS && !exceptions && !p->blocks[block].null_count)
    measure_whole(integers, out);
  else
    measure_integers(p, block, integers, out);
}

void plan_decimals(CodecPlan *p, bool always) {
  Candidate candidates[CANDIDATES] = { { { 0, 0 }, 0 } };
  uint32_t count = find_candidates(p->input, candidates);
  if (!count && !always) return;
  for (uint32_t b = 0; b < p->block_count; b++) plan_block(p, b, candidates, count ? count : 1);
  p->has_decimals = true;
}

/* ---- writing ---- */

static bool block_is_empty(const CodecPlan *p, uint32_t block) {
  return p->blocks[block].null_count == plan_block_rows(p, block);
}
static uint64_t data_bytes(const CodecPlan *p, uint32_t block) {
  const AlpBlock *a = &p->alp[block];
  return block_is_empty(p, block) ? 0 : 128u * a->width + 4 + a->exceptions * (2 + natural_bytes(p->input->type));
}

static uint64_t analyze(const CodecPlan *p) {
  uint64_t data = 0;
  if (!p->has_decimals) return 0;
  for (uint32_t b = 0; b < p->block_count; b++) data += round_up(data_bytes(p, b), CHUNK_ALIGNMENT);
  return plan_chunk_bytes(p, ENCODING_ALP, 0, data);
}

static void write_exceptions(const CodecPlan *p, uint32_t block, const int64_t *integers, uint8_t *out) {
  const ChunkInput *in = p->input;
  const AlpBlock *a = &p->alp[block];
  size_t width = natural_bytes(in->type);
  uint32_t first = block * BLOCK_ROWS, found = 0;
  uint8_t *values = out + 4 + 2 * (size_t)a->exceptions;
  out[0] = a->powers.exponent;
  out[1] = a->powers.factor;
  store_u16(out + 2, a->exceptions);
  for (uint32_t i = 0; i < plan_block_rows(p, block); i++) {
    if (integers[i] != LIMIT || input_is_null(in, first + i)) continue;
    store_u16(out + 4 + 2 * (size_t)found, (uint16_t)i);
    memcpy(values + found * width, (const uint8_t *)in->values + (first + i) * width, width);
    found++;
  }
  ASSERT(found == a->exceptions, "ENC-2");
}

static uint64_t encode(const CodecPlan *p, uint8_t *out) {
  ChunkWriter w;
  chunk_writer_begin(&w, p, ENCODING_ALP, 0, 1, 0, 0, out);
  for (uint32_t b = 0; b < p->block_count; b++) {
    const AlpBlock *a = &p->alp[b];
    uint32_t rows = plan_block_rows(p, b);
    int64_t integers[BLOCK_ROWS], packed[BLOCK_ROWS];
    uint8_t *data = chunk_writer_block(&w, a->base, a->width, data_bytes(p, b));
    if (block_is_empty(p, b)) continue;
    block_integers(p, b, a->powers, integers);
    for (uint32_t i = 0; i < BLOCK_ROWS; i++) {
      bool is_stored = i < rows && integers[i] != LIMIT && !input_is_null(p->input, b * BLOCK_ROWS + i);
      packed[i] = is_stored ? integers[i] : a->base;
    }
    packed_write(packed, a->width, a->base, 1, data);
    write_exceptions(p, b, integers, data + 128u * a->width);
  }
  return chunk_writer_end(&w);
}

/* ---- a block ---- */

typedef struct Decimals {
  ColumnType type;
  AlpPowers powers;
  int64_t base;
  unsigned width;
  const uint8_t *packed, *rows, *values; /* rows and values of the exceptions */
  uint32_t exceptions;
} Decimals;

static Decimals block_decimals(const Chunk *c, const ChunkBlock *b) {
  const uint8_t *packed = chunk_block_data(c, b), *tail = packed + 128u * b->width;
  return (Decimals){
    .type = c->type,
    .powers = { tail[0], tail[1] },
    .base = b->base,
    .width = b->width,
    .packed = packed,
    .rows = tail + 4,
    .values = tail + 4 + 2 * (size_t)load_u16(tail + 2),
    .exceptions = load_u16(tail + 2),
  };
}

static void decode_block(const Decimals *d, void *values) {
  const SimdKernels *k = simd_kernels();
  unsigned lane = simd_lane_index(d->width);
  double tens = TENS[d->powers.factor], tenths = TENTHS[d->powers.exponent];
  size_t bytes = natural_bytes(d->type);
  Lanes lanes;
  k->unpack[d->width](d->packed, &lanes);
  if (d->type == TYPE_F64)
    k->decimal_f64[lane](&lanes, d->base, tens, tenths, values);
  else
    k->decimal_f32[lane](&lanes, d->base, tens, tenths, values);
  for (uint32_t i = 0; i < d->exceptions; i++) {
    memcpy((uint8_t *)values + load_u16(d->rows + 2 * (size_t)i) * bytes, d->values + i * bytes, bytes);
  }
}

static void decode(const Chunk *c, uint32_t block, void *values) {
  ChunkBlock b;
  chunk_block(c, block, &b);
  if (b.null_count == b.row_count) {
    memset(values, 0, (size_t)BLOCK_ROWS * natural_bytes(c->type));
    return;
  }
  Decimals d = block_decimals(c, &b);
  decode_block(&d, values);
}

/* The bits of an exception, which lie anywhere. */
static uint64_t exception_bits(const Decimals *d, uint32_t exception) {
  unsigned bytes = natural_bytes(d->type);
  return simd_word(d->values + (size_t)exception * bytes, bytes);
}

/* The number of an exception, or how many there are. */
static uint32_t find_exception(const Decimals *d, uint32_t row) {
  uint32_t low = 0, high = d->exceptions;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (load_u16(d->rows + 2 * (size_t)middle) < row)
      low = middle + 1;
    else
      high = middle;
  }
  return low < d->exceptions && load_u16(d->rows + 2 * (size_t)low) == row ? low : d->exceptions;
}

static void get_one(const Chunk *c, uint32_t row, Value *out) {
  ChunkBlock b;
  chunk_block(c, row / BLOCK_ROWS, &b);
  Decimals d = block_decimals(c, &b);
  uint32_t exception = find_exception(&d, row % BLOCK_ROWS);
  if (exception < d.exceptions) {
    uint64_t bits = exception_bits(&d, exception);
    *out = value_from_array(c->type, &bits, 0);
    return;
  }
  double value = value_of(d.powers, d.base + (int64_t)simd_packed_value(d.packed, d.width, row % BLOCK_ROWS));
  *out = (Value){ .type = c->type, .f = c->type == TYPE_F64 ? value : (double)(float)value };
}

static void gather(const Chunk *c, uint32_t block, const uint16_t *rows, uint32_t count, void *values) {
  ChunkBlock b;
  uint64_t offsets[BLOCK_ROWS];
  chunk_block(c, block, &b);
  Decimals d = block_decimals(c, &b);
  packed_gather(d.packed, d.width, rows, count, offsets);
  for (uint32_t i = 0; i < count; i++) {
    double value = value_of(d.powers, d.base + (int64_t)offsets[i]);
    if (c->type == TYPE_F64)
      ((double *)values)[i] = value;
    else
      ((float *)values)[i] = (float)value;
  }
  for (uint32_t i = 0; d.exceptions && i < count; i++) {
    uint32_t exception = find_exception(&d, rows[i]);
    if (exception == d.exceptions) continue;
    uint64_t bits = exception_bits(&d, exception);
    memcpy((uint8_t *)values + i * type_array_width(c->type), &bits, type_array_width(c->type));
  }
}

/* ---- filters ---- */

static int64_t image_of_offset(const Decimals *d, uint64_t offset) {
  double value = value_of(d->powers, d->base + (int64_t)offset);
  return float_image(d->type == TYPE_F64 ? value : (double)(float)value);
}

/* The first offset whose image is at least `image`; one past the last when there is none. Looks beside the integer
 * nearest to the value first, then halves what is left. */
static uint64_t lower_bound(const Decimals *d, int64_t image) {
  uint64_t low = 0, high = simd_width_mask(d->width) + 1;
  int64_t near = integer_near(d->powers, float_from_image(image));
  uint64_t guess = near > d->base && near < LIMIT ? (uint64_t)(near - d->base) : high;
  for (uint64_t probe = guess - 1; guess < high && probe <= guess + 1 && probe < high; probe++) {
    if (image_of_offset(d, probe) < image)
      low = probe + 1;
    else
      high = probe;
  }
  while (low < high) {
    uint64_t middle = low + (high - low) / 2;
    if (image_of_offset(d, middle) < image)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* ANDs "not an exception, and the image is within [low, high]", or its negation, into the mask. */
static void filter_integers(const Decimals *d, int64_t low, int64_t high, bool negated, uint64_t mask[BLOCK_WORDS]) {
  uint64_t first = lower_bound(d, low), most = simd_width_mask(d->width);
  uint64_t end = high == INT64_MAX ? most + 1 : lower_bound(d, high + 1);
  if (first < end)
    packed_filter_range(d->packed, d->width, 0, 1, (int64_t)first, (int64_t)end - 1, negated, mask);
  else if (!negated)
    mask_clear(mask);
}

static void filter_set(const Decimals *d, const CodecFilter *f, const ChunkBlock *b, uint64_t mask[BLOCK_WORDS]) {
  enum { KERNEL_CALLS = 8 };
  uint32_t first, count = compare_set_slice(f->compare, b->minimum, b->maximum, &first);
  if (count <= KERNEL_CALLS) { /* the complement of their union */
    uint64_t others[BLOCK_WORDS];
    memset(others, 0xff, sizeof others);
    for (uint32_t i = 0; i < count; i++) {
      int64_t member = f->compare->images[first + i];
      filter_integers(d, member, member, true, others);
    }
    for (unsigned i = 0; i < BLOCK_WORDS; i++) mask[i] &= f->negated ? others[i] : ~others[i];
    return;
  }
  Lanes values;
  decode_block(d, &values);
  for (uint32_t i = 0; i < BLOCK_ROWS; i++) {
    if (bit_get(mask, i) && !compare_image(f->compare, type_image(d->type, &values, i))) bit_clear(mask, i);
  }
}

static void prepare(CodecFilter *f, void *scratch) { (void)f, (void)scratch; }

/* The integers decide, the exceptions after them for themselves. */
static void filter(const CodecFilter *f, uint32_t block, uint64_t mask[BLOCK_WORDS]) {
  ChunkBlock b;
  uint64_t before[BLOCK_WORDS];
  chunk_block(f->chunk, block, &b);
  if (b.null_count == b.row_count) return; /* the caller clears nulls */
  Decimals d = block_decimals(f->chunk, &b);
  if (d.exceptions) memcpy(before, mask, sizeof before);
  if (f->kind == COMPARE_KIND_RANGE)
    filter_integers(&d, f->low, f->high, f->negated, mask);
  else
    filter_set(&d, f, &b, mask);
  for (uint32_t i = 0; i < d.exceptions; i++) {
    uint32_t row = load_u16(d.rows + 2 * (size_t)i);
    uint64_t bits = exception_bits(&d, i);
    bit_clear(mask, row);
    if (bit_get(before, row) && compare_image(f->compare, type_image(d.type, &bits, 0))) bit_set(mask, row);
  }
}

static void aggregate(const Chunk *c, uint32_t block, const uint64_t *mask, bool full, AggregateState *state) {
  Lanes values;
  decode(c, block, &values);
  aggregate_array_block(c->type, &values, chunk_block_rows(c, block), mask, full, state);
}

/* ---- checks ---- */

static Status wrong(uint32_t block, const char *what) {
  return status_fail(KVSTORE_CORRUPT, "damaged ALP chunk: block %u has %s", block, what);
}

static Status check_shared(const Chunk *c) {
  return type_is_float(c->type) ? KVSTORE_OK : status_fail(KVSTORE_CORRUPT, "damaged ALP chunk: of no floats");
}

/* The tail of a block: powers, exceptions, and that it ends where the block does. */
static Status check_tail(const Chunk *c, uint32_t block, const ChunkBlock *b) {
  uint64_t length = chunk_block_data_length(b), packed = 128u * b->width;
  if (length < packed + 4) return wrong(block, "a wrong length");
  const uint8_t *tail = chunk_block_data(c, b) + packed;
  uint32_t exceptions = load_u16(tail + 2);
  if (tail[0] > EXPONENT_MAX || tail[1] > tail[0]) return wrong(block, "powers of ten that there are none of");
  if (b->width > 52 || b->base <= -LIMIT || b->base >= LIMIT) return wrong(block, "integers that no double holds");
  uint64_t bytes = packed + 4 + exceptions * (uint64_t)(2 + natural_bytes(c->type));
  if (exceptions > b->row_count || round_up(bytes, CHUNK_ALIGNMENT) != length) return wrong(block, "a wrong length");
  for (uint32_t i = 0, before = 0; i < exceptions; i++) {
    uint32_t row = load_u16(tail + 4 + 2 * (size_t)i);
    if (row >= b->row_count || (i && row <= before)) return wrong(block, "exceptions out of order");
    before = row;
  }
  return KVSTORE_OK;
}

static Status check_block(const Chunk *c, uint32_t block) {
  ChunkBlock b;
  Lanes lanes;
  uint64_t low, high;
  chunk_block(c, block, &b);
  if (b.null_count == b.row_count) {
    return b.width || chunk_block_data_length(&b) ? wrong(block, "values where all are null") : KVSTORE_OK;
  }
  TRY(check_tail(c, block, &b));
  const SimdKernels *k = simd_kernels();
  k->unpack[b.width](chunk_block_data(c, &b), &lanes);
  k->extremes[simd_lane_index(b.width)](&lanes, 0, NULL, &low, &high);
  if (b.base + (int64_t)high >= LIMIT) return wrong(block, "integers that no double holds");
  Decimals d = block_decimals(c, &b);
  decode_block(&d, &lanes);
  return float_zone_holds(c, block, &lanes) ? KVSTORE_OK : wrong(block, "a value outside its zone");
}

const Codec codec_alp = {
  .id = ENCODING_ALP,
  .analyze = analyze,
  .encode = encode,
  .decode = decode,
  .get_one = get_one,
  .gather = gather,
  .prepare = prepare,
  .filter = filter,
  .aggregate = aggregate,
  .check_shared = check_shared,
  .check_block = check_block,
};
