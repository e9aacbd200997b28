/* codec_runs.c - run-length: equal values that follow each other once, with the row behind the last of them. Sorted
 * columns, flags, what hardly ever changes.
 *
 *   block   one run       nothing: the base is its value (floats: its bits), the width 0
 *           more          run count u16 | end of each run u16 | value of each run
 *
 * Ends are row numbers in the block and ascend strictly to its row count. A value takes width / 8 bytes (1, 2, 4, 8):
 * (image - base) / divisor, of floats the bits. A null has the value of the row before it, so that it ends no run. */
#include "encodings/encodings_internal.h"

#include "base/bitmap.h"

/* ---- writing ---- */

static unsigned value_width(const CodecPlan *p, uint32_t block) {
  if (p->blocks[block].run_count <= 1) return 0;
  if (type_is_float(p->input->type)) return 8u << type_width_index(p->input->type);
  return simd_lane(plan_width(p->blocks[block].minimum, p->blocks[block].maximum, p->divisor));
}
static uint64_t data_bytes(uint32_t runs, unsigned width) { return runs <= 1 ? 0 : 2 + runs * (2 + width / 8u); }

static uint64_t analyze(const CodecPlan *p) {
  uint64_t data = 0;
  if (!p->has_runs) return 0;
  for (uint32_t b = 0; b < p->block_count; b++) {
    data += round_up(data_bytes(p->blocks[b].run_count, value_width(p, b)), CHUNK_ALIGNMENT);
  }
  return plan_chunk_bytes(p, ENCODING_RUN_LENGTH, 0, data);
}

static void store_word(uint8_t *to, uint64_t value, unsigned bytes) {
  for (unsigned i = 0; i < bytes; i++) to[i] = (uint8_t)(value >> (8 * i));
}

static void write_runs(const CodecPlan *p, uint32_t block, const uint64_t *words, uint64_t base, uint64_t divisor,
                       unsigned width, uint8_t *data) {
  uint32_t rows = plan_block_rows(p, block), runs = p->blocks[block].run_count, run = 0;
  uint8_t *ends = data + 2, *values = ends + 2 * (size_t)runs;
  store_u16(data, (uint16_t)runs);
  for (uint32_t i = 0; i < rows; i++) {
    if (i + 1 < rows && words[i + 1] == words[i]) continue;
    store_u16(ends + 2 * (size_t)run, (uint16_t)(i + 1));
    store_word(values + (size_t)run * (width / 8), (words[i] - base) / divisor, width / 8);
    run++;
  }
}

static uint64_t encode(const CodecPlan *p, uint8_t *out) {
  ChunkWriter w;
  bool floats = type_is_float(p->input->type);
  uint64_t divisor = floats ? 1 : p->divisor;
  chunk_writer_begin(&w, p, ENCODING_RUN_LENGTH, 0, divisor, 0, 0, out);
  for (uint32_t b = 0; b < p->block_count; b++) {
    uint64_t words[BLOCK_ROWS];
    uint32_t runs = p->blocks[b].run_count;
    unsigned width = value_width(p, b);
    plan_carried_words(p, b, words);
    uint64_t base = runs <= 1 ? words[0] : floats ? 0 : (uint64_t)p->blocks[b].minimum;
    uint8_t *data = chunk_writer_block(&w, (int64_t)base, width, data_bytes(runs, width));
    if (runs > 1) write_runs(p, b, words, base, divisor, width, data);
  }
  return chunk_writer_end(&w);
}

/* ---- a block ---- */

typedef struct Runs {
  uint32_t count;
  const uint8_t *ends, *values;
  unsigned bytes; /* of a value */
  uint64_t base, step;
} Runs;

static Runs block_runs(const Chunk *c, uint32_t block) {
  ChunkBlock b;
  chunk_block(c, block, &b);
  Runs r = { .count = 1, .base = (uint64_t)b.base, .step = c->step };
  if (!b.width) return r;
  const uint8_t *data = chunk_block_data(c, &b);
  r.count = load_u16(data);
  r.ends = data + 2;
  r.values = r.ends + 2 * (size_t)r.count;
  r.bytes = b.width / 8;
  return r;
}
/* The image of a run, or the bits of a float. */
static uint64_t run_word(const Runs *r, uint32_t run) {
  return r->bytes ? r->base + r->step * simd_word(r->values + (size_t)run * r->bytes, r->bytes) : r->base;
}
static uint32_t run_end(const Runs *r, uint32_t run) {
  return r->bytes ? load_u16(r->ends + 2 * (size_t)run) : BLOCK_ROWS;
}
static int64_t word_image(ColumnType type, uint64_t word) {
  return type_is_float(type) ? type_image(type, &word, 0) : (int64_t)word;
}

#define FILL_RUNS(T)                                                        \
  for (uint32_t run = 0, row = 0; run < r->count; run++) {                  \
    T value = (T)(run_word(r, run) + bias), *to = values;                   \
    for (uint32_t end = run_end(r, run); row < end; row++) to[row] = value; \
  }                                                                         \
  break;

static void fill_runs(const Runs *r, uint64_t bias, unsigned width_index, void *values) {
  switch (width_index) {
  case 0: FILL_RUNS(uint8_t)
  case 1: FILL_RUNS(uint16_t)
  case 2: FILL_RUNS(uint32_t)
  default: FILL_RUNS(uint64_t)
  }
}
#undef FILL_RUNS

static void decode(const Chunk *c, uint32_t block, void *values) {
  Runs r = block_runs(c, block);
  fill_runs(&r, type_image_bias(c->type), type_width_index(c->type), values);
}

/* The run of a row: the first one that ends behind it. */
static void get_one(const Chunk *c, uint32_t row, Value *out) {
  Runs r = block_runs(c, row / BLOCK_ROWS);
  uint32_t low = 0, high = r.count - 1, at = row % BLOCK_ROWS;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (run_end(&r, middle) <= at)
      low = middle + 1;
    else
      high = middle;
  }
  uint64_t word = run_word(&r, low);
  if (type_is_float(c->type))
    *out = value_from_array(c->type, &word, 0);
  else
    value_from_image(c->type, (int64_t)word, out);
}

/* ---- questions, a run at a time ---- */

static void prepare(CodecFilter *f, void *scratch) { (void)f, (void)scratch; }

/* Every bit becomes the parity of the bits up to it. */
static void and_parities(const uint64_t toggles[BLOCK_WORDS], uint64_t mask[BLOCK_WORDS]) {
  uint64_t carry = 0;
  for (unsigned i = 0; i < BLOCK_WORDS; i++) {
    uint64_t x = toggles[i];
    for (unsigned shift = 1; shift < 64; shift *= 2) x ^= x << shift;
    x ^= carry;
    mask[i] &= x;
    carry = 0 - (x >> 63);
  }
}

/* A bit where a run's verdict differs from that of the run before; the mask is their running parity. */
#define TOGGLE_RUNS(COUNT, VERDICT)                              \
  do {                                                           \
    uint64_t before = 0;                                         \
    for (uint32_t run = 0, start = 0; run < (COUNT); run++) {    \
      uint64_t verdict = (VERDICT);                              \
      toggles[start / 64] ^= (verdict ^ before) << (start % 64); \
      before = verdict;                                          \
      start = load_u16(r.ends + 2 * (size_t)run);                \
    }                                                            \
  } while (0)
#define TOGGLE_WITHIN(T)                                                                                     \
  TOGGLE_RUNS(r.count, ((uint64_t)simd_word(r.values + run * sizeof(T), sizeof(T)) - first <= span) ^ flip); \
  break;

/* Ranges of integers: the stored values are compared as they are. Everything else: an image a run. */
static void filter(const CodecFilter *f, uint32_t block, uint64_t mask[BLOCK_WORDS]) {
  const Chunk *c = f->chunk;
  Runs r = block_runs(c, block);
  uint64_t toggles[BLOCK_WORDS] = { 0 }, flip = f->negated, first, last;
  if (!r.bytes) {
    if (!compare_image(f->compare, word_image(c->type, r.base))) mask_clear(mask);
    return;
  }
  if (f->kind == COMPARE_KIND_RANGE && !type_is_float(c->type)) {
    if (!packed_offsets(8 * r.bytes, (int64_t)r.base, r.step, f->low, f->high, &first, &last)) {
      if (!flip) mask_clear(mask);
      return;
    }
    uint64_t span = last - first;
    switch (r.bytes) {
    case 1: TOGGLE_WITHIN(uint8_t)
    case 2: TOGGLE_WITHIN(uint16_t)
    case 4: TOGGLE_WITHIN(uint32_t)
    default: TOGGLE_WITHIN(uint64_t)
    }
  } else {
    TOGGLE_RUNS(r.count, (uint64_t)compare_image(f->compare, word_image(c->type, run_word(&r, run))));
  }
  and_parities(toggles, mask);
}
#undef TOGGLE_WITHIN
#undef TOGGLE_RUNS

/* Bits of `mask` in [start, end), end above start. */
static uint64_t range_count(const uint64_t *mask, uint32_t start, uint32_t end) {
  uint32_t first = start / 64, last = (end - 1) / 64;
  uint64_t head = UINT64_MAX << (start % 64), tail = UINT64_MAX >> (63 - (end - 1) % 64), total = 0;
  if (first == last) return (uint64_t)__builtin_popcountll(mask[first] & head & tail);
  for (uint32_t w = first + 1; w < last; w++) total += (uint64_t)__builtin_popcountll(mask[w]);
  return total + (uint64_t)__builtin_popcountll(mask[first] & head) + (uint64_t)__builtin_popcountll(mask[last] & tail);
}

/* The order of a float sum's additions is part of the contract: they are decoded. */
static void aggregate(const Chunk *c, uint32_t block, const uint64_t *mask, bool full, AggregateState *state) {
  uint32_t rows = chunk_block_rows(c, block);
  Runs r = block_runs(c, block);
  if (type_is_float(c->type)) {
    Lanes values;
    if (rows < BLOCK_ROWS) memset(&values, 0, sizeof values);
    fill_runs(&r, 0, type_width_index(c->type), &values);
    aggregate_array_block(c->type, &values, rows, mask, full, state);
    return;
  }
  __int128 bias = (__int128)(unsigned __int128)type_image_bias(c->type);
  for (uint32_t run = 0, start = 0; run < r.count; run++) {
    uint32_t end = run_end(&r, run) < rows ? run_end(&r, run) : rows;
    uint64_t selected = full ? end - start : range_count(mask, start, end);
    int64_t image = (int64_t)run_word(&r, run);
    start = end;
    if (!selected) continue;
    int128_add(&state->sum, ((__int128)image + bias) * (__int128)selected);
    aggregate_image(state, image, image);
  }
}

/* ---- checks ---- */

static Status wrong(uint32_t block, const char *what) {
  return status_fail(KVSTORE_CORRUPT, "damaged run-length chunk: block %u has %s", block, what);
}

static Status check_shared(const Chunk *c) {
  if (type_is_string(c->type)) return status_fail(KVSTORE_CORRUPT, "damaged run-length chunk: of strings");
  if (type_is_float(c->type) ? c->step != 1 : c->step == 0) {
    return status_fail(KVSTORE_CORRUPT, "damaged run-length chunk: a wrong divisor");
  }
  return KVSTORE_OK;
}

static Status check_value(const Chunk *c, uint32_t block, const ChunkBlock *b, const Runs *r, uint32_t run) {
  uint64_t stored = r->bytes ? simd_word(r->values + (size_t)run * r->bytes, r->bytes) : 0;
  if (!type_is_float(c->type)) {
    unsigned __int128 span = (unsigned __int128)stored * c->step;
    if (b->base < b->minimum || b->base > b->maximum || span > (uint64_t)b->maximum - (uint64_t)b->base) {
      return wrong(block, "a value outside its zone");
    }
    return KVSTORE_OK;
  }
  int64_t image = word_image(c->type, run_word(r, run));
  return image >= b->minimum && image <= b->maximum ? KVSTORE_OK : wrong(block, "a value outside its zone");
}

static Status check_ends(uint32_t block, const ChunkBlock *b, const Runs *r) {
  uint32_t last = 0;
  for (uint32_t run = 0; run < r->count; run++) {
    uint32_t end = run_end(r, run);
    if (end <= last || end > b->row_count) return wrong(block, "runs out of order");
    last = end;
  }
  return last == b->row_count ? KVSTORE_OK : wrong(block, "runs that do not fill it");
}

static Status check_block(const Chunk *c, uint32_t block) {
  ChunkBlock b;
  chunk_block(c, block, &b);
  uint64_t length = chunk_block_data_length(&b);
  bool floats = type_is_float(c->type);
  if (b.width && b.width != 8 && b.width != 16 && b.width != 32 && b.width != 64) return wrong(block, "a wrong width");
  if (b.width == 0) {
    if (length) return wrong(block, "a wrong length");
  } else {
    if (floats && (b.base || b.width != 8u << type_width_index(c->type))) return wrong(block, "a wrong width");
    if (length < 2 || b.null_count == b.row_count) return wrong(block, "a wrong length");
    uint32_t count = load_u16(chunk_block_data(c, &b));
    if (count < 2 || round_up(data_bytes(count, b.width), CHUNK_ALIGNMENT) != length) {
      return wrong(block, "a wrong length");
    }
    Runs ends = block_runs(c, block);
    TRY(check_ends(block, &b, &ends));
  }
  Runs r = block_runs(c, block);
  for (uint32_t run = 0; b.null_count < b.row_count && run < r.count; run++) TRY(check_value(c, block, &b, &r, run));
  return KVSTORE_OK;
}

const Codec codec_runs = {
  .id = ENCODING_RUN_LENGTH,
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
