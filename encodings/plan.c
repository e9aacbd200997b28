/* plan.c - the statistics of a column of one segment, in one or two passes; and its distinct values, by hashing. */
#include "encodings/encodings_internal.h"

#include "base/hash.h"

/* Scratch: images, then, while a dictionary is built, representatives, ranks, codes, hash table. */
static uint64_t rows_rounded(const ChunkInput *in) { return round_up(in->row_count, BLOCK_ROWS); }
static uint64_t hash_slots(uint64_t rows) {
  uint64_t slots = 1024;
  while (slots < 2 * rows) slots *= 2;
  return slots;
}
uint64_t plan_scratch(const ChunkInput *in) {
  uint64_t rows = rows_rounded(in);
  return rows * (sizeof(int64_t) + 3 * sizeof(uint32_t) + sizeof(uint16_t)) + hash_slots(rows) * sizeof(uint32_t) + 256;
}

/* ---- images and zones ---- */

static void fill_images(const ChunkInput *in, int64_t *images) {
#define FILL(TYPE, T)                                                         \
  case TYPE: {                                                                \
    const T *v = in->values;                                                  \
    for (uint32_t i = 0; i < in->row_count; i++) images[i] = (int64_t)(v[i]); \
    break;                                                                    \
  }
  switch (type_storage(in->type)) {
    FILL(TYPE_BOOL, uint8_t)
    FILL(TYPE_I8, int8_t)
    FILL(TYPE_I16, int16_t)
    FILL(TYPE_I32, int32_t)
    FILL(TYPE_I64, int64_t)
    FILL(TYPE_U8, uint8_t)
    FILL(TYPE_U16, uint16_t)
    FILL(TYPE_U32, uint32_t)
  case TYPE_U64: {
    const uint64_t *v = in->values;
    for (uint32_t i = 0; i < in->row_count; i++) images[i] = (int64_t)(v[i] ^ UINT64_C(1) << 63);
    break;
  }
  default:
    for (uint32_t i = 0; i < in->row_count; i++) {
      images[i] = input_is_null(in, i) ? 0 : type_image(in->type, in->values, i);
    }
  }
#undef FILL
}

/* Zone and nulls of one block; then null rows get the minimum, so that they cost no bits. */
static void plan_block(CodecPlan *p, uint32_t block) {
  int64_t low = INT64_MAX, high = INT64_MIN, *images = p->images + (size_t)block * BLOCK_ROWS;
  uint32_t rows = plan_block_rows(p, block), nulls = 0;
  const uint8_t *is_null = p->input->nulls ? p->input->nulls + (size_t)block * BLOCK_ROWS : NULL;
  for (uint32_t i = 0; i < rows; i++) {
    if (is_null && is_null[i]) {
      nulls++;
      continue;
    }
    if (images[i] < low) low = images[i];
    if (images[i] > high) high = images[i];
  }
  p->blocks[block].minimum = low;
  p->blocks[block].maximum = high;
  p->blocks[block].null_count = nulls;
  int64_t filler = nulls == rows ? 0 : low;
  for (uint32_t i = 0; nulls && i < rows; i++) {
    if (is_null[i]) images[i] = filler;
  }
  for (uint32_t i = rows; i < BLOCK_ROWS; i++) images[i] = filler;
  p->stats.null_count += nulls;
  if (low < p->stats.minimum) p->stats.minimum = low;
  if (high > p->stats.maximum) p->stats.maximum = high;
}

/* ---- shape ---- */

static Bytes input_bytes(const ChunkInput *in, uint32_t row) { return ((const Bytes *)in->values)[row]; }

/* Bit by bit: -0.0 is not 0.0 here, and NaNs differ by their payload. */
static bool same_value(const ChunkInput *in, uint32_t a, uint32_t b) {
  if (type_is_string(in->type)) {
    Bytes x = input_bytes(in, a), y = input_bytes(in, b);
    return x.length == y.length && (x.length == 0 || memcmp(x.data, y.data, x.length) == 0);
  }
  size_t width = (size_t)1 << type_width_index(in->type);
  const uint8_t *values = in->values;
  return memcmp(values + a * width, values + b * width, width) == 0;
}

static bool find_constant(CodecPlan *p) {
  const ChunkInput *in = p->input;
  p->first_row = 0;
  while (p->first_row < in->row_count && input_is_null(in, p->first_row)) p->first_row++;
  if (p->stats.minimum < p->stats.maximum) return false;
  for (uint32_t i = p->first_row; i < in->row_count; i++) {
    if (!input_is_null(in, i) && !same_value(in, p->first_row, i)) return false;
  }
  return true;
}

static bool find_stride(CodecPlan *p) {
  const int64_t *v = p->images;
  if (p->stats.null_count || p->input->row_count < 2) return false;
  int64_t step;
  if (__builtin_sub_overflow(v[1], v[0], &step)) return false;
  for (uint32_t i = 2; i < p->input->row_count; i++) {
    int64_t next;
    if (__builtin_sub_overflow(v[i], v[i - 1], &next) || next != step) return false;
  }
  p->step = step;
  return true;
}

/* The greatest common divisor of all differences; most columns leave at once with 1. */
static uint64_t find_divisor(const CodecPlan *p) {
  uint64_t divisor = 0;
  for (uint32_t b = 0; b < p->block_count; b++) {
    if (p->blocks[b].minimum > p->blocks[b].maximum) continue; /* fillers only */
    const int64_t *images = p->images + (size_t)b * BLOCK_ROWS;
    for (uint32_t i = 0; i < BLOCK_ROWS; i++) {
      uint64_t rest = (uint64_t)images[i] - (uint64_t)p->stats.minimum;
      if (divisor && rest % divisor == 0) continue;
      while (rest) {
        uint64_t next = divisor % rest;
        divisor = rest;
        rest = next;
      }
      if (divisor == 1) return 1;
    }
  }
  return divisor ? divisor : 1;
}

unsigned plan_width(int64_t minimum, int64_t maximum, uint64_t divisor) {
  return minimum > maximum ? 0 : simd_width(((uint64_t)maximum - (uint64_t)minimum) / divisor);
}

void plan_carried_words(const CodecPlan *p, uint32_t block, uint64_t words[BLOCK_ROWS]) {
  const ChunkInput *in = p->input;
  uint32_t first = block * BLOCK_ROWS, rows = plan_block_rows(p, block);
  if (type_is_float(in->type)) {
    unsigned width = 1u << type_width_index(in->type);
    const uint8_t *values = (const uint8_t *)in->values + (size_t)first * width;
    for (uint32_t i = 0; i < rows; i++) words[i] = simd_word(values + (size_t)i * width, width);
  } else {
    memcpy(words, p->images + first, rows * sizeof *words);
  }
  if (p->blocks[block].null_count) {
    uint32_t start = 0;
    while (start < rows && input_is_null(in, first + start)) start++;
    uint64_t last = start < rows ? words[start] : 0;
    for (uint32_t i = 0; i < rows; i++) last = words[i] = input_is_null(in, first + i) ? last : words[i];
  }
  for (uint32_t i = rows; i < BLOCK_ROWS; i++) words[i] = words[rows - 1];
}

/* Runs, and the range of differences unless one of them may leave an i64. */
static void measure_steps(CodecPlan *p) {
  p->has_runs = true;
  p->has_deltas = type_is_packable(p->input->type) && p->input->type != TYPE_BOOL;
  for (uint32_t b = 0; b < p->block_count; b++) {
    uint64_t words[BLOCK_ROWS];
    uint32_t rows = plan_block_rows(p, b), runs = 1;
    int64_t least = rows > 1 ? INT64_MAX : 0, most = rows > 1 ? INT64_MIN : 0;
    plan_carried_words(p, b, words);
    for (uint32_t i = 1; i < rows; i++) {
      int64_t delta = (int64_t)(words[i] - words[i - 1]);
      runs += delta != 0;
      least = delta < least ? delta : least;
      most = delta > most ? delta : most;
    }
    p->blocks[b].run_count = runs;
    p->blocks[b].delta_minimum = least;
    p->blocks[b].delta_maximum = most;
    p->runs += runs;
    bool has_values = p->blocks[b].minimum <= p->blocks[b].maximum;
    uint64_t span = has_values ? (uint64_t)p->blocks[b].maximum - (uint64_t)p->blocks[b].minimum : 0;
    if (span > INT64_MAX) p->has_deltas = false;
  }
}

static void measure_strings(CodecPlan *p) {
  const ChunkInput *in = p->input;
  for (uint32_t b = 0; b < p->block_count; b++) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < plan_block_rows(p, b); i++) {
      uint32_t row = b * BLOCK_ROWS + i;
      if (!input_is_null(in, row)) bytes += input_bytes(in, row).length;
    }
    p->string_bytes += bytes;
    if (bytes > p->string_bytes_most) p->string_bytes_most = bytes;
  }
}

void plan_build(CodecPlan *p, const ChunkInput *in, void *scratch) {
  *p = (CodecPlan){ .input = in, .images = scratch, .divisor = 1 };
  p->stats = (ChunkStats){ .minimum = INT64_MAX, .maximum = INT64_MIN };
  p->block_count = (in->row_count + BLOCK_ROWS - 1) / BLOCK_ROWS;
  fill_images(in, p->images);
  for (uint32_t b = 0; b < p->block_count; b++) plan_block(p, b);
  p->is_constant = find_constant(p);
  if (p->is_constant) p->stats.distinct_count = p->first_row < in->row_count;
  if (type_is_string(in->type)) {
    measure_strings(p);
  } else if (type_is_packable(in->type) && !p->is_constant) {
    p->is_stride = find_stride(p);
    if (!p->is_stride)
      p->divisor = find_divisor(p);
    else if (p->step)
      p->stats.distinct_count = in->row_count;
  }
  if (!type_is_string(in->type)) measure_steps(p);
}

/* ---- dictionary ---- */

static uint64_t mix(uint64_t x) { /* the finaliser of splitmix64 (Steele, Lea and Flood 2014) */
  x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
  return x ^ x >> 31;
}
static uint64_t raw_bits(const ChunkInput *in, uint32_t row) {
  size_t width = (size_t)1 << type_width_index(in->type);
  return simd_word((const uint8_t *)in->values + row * width, (unsigned)width);
}
static uint64_t row_hash(const ChunkInput *in, uint32_t row) {
  if (type_is_string(in->type)) {
    Bytes b = input_bytes(in, row);
    return hash_key(b.data, b.length);
  }
  return mix(raw_bits(in, row));
}

/* Order of two rows' values: by image, strings then by bytes, floats then by bits, so that codes ascend with the
 * values. */
static int row_order(const CodecPlan *p, uint32_t a, uint32_t b) {
  if (p->images[a] != p->images[b]) return p->images[a] < p->images[b] ? -1 : 1;
  if (type_is_string(p->input->type)) {
    Bytes x = input_bytes(p->input, a), y = input_bytes(p->input, b);
    return bytes_compare(x.data, x.length, y.data, y.length);
  }
  uint64_t x = raw_bits(p->input, a), y = raw_bits(p->input, b);
  return (x > y) - (x < y);
}

/* Merge sort of row numbers: stable speed, no recursion, `spare` is as long as `rows`. The result is in the array
 * returned. */
static uint32_t *sort_rows(const CodecPlan *p, uint32_t *rows, uint32_t *spare, uint32_t count) {
  for (uint32_t width = 1; width < count; width *= 2) {
    for (uint32_t start = 0; start < count; start += 2 * width) {
      uint32_t middle = start + width < count ? start + width : count;
      uint32_t end = start + 2 * width < count ? start + 2 * width : count;
      uint32_t i = start, j = middle;
      for (uint32_t k = start; k < end; k++) {
        bool left = j == end || (i < middle && row_order(p, rows[i], rows[j]) <= 0);
        spare[k] = left ? rows[i++] : rows[j++];
      }
    }
    uint32_t *sorted = spare;
    spare = rows;
    rows = sorted;
  }
  return rows;
}

typedef struct DistinctTable {
  const ChunkInput *input;
  uint32_t *slots; /* number of a distinct value plus one; 0: empty */
  uint64_t slot_mask;
  uint32_t *rows; /* a row that has it */
  uint32_t count;
} DistinctTable;

/* The number of the row's value, entered when it is new. */
static uint32_t distinct_number(DistinctTable *t, uint32_t row) {
  uint64_t slot = row_hash(t->input, row) & t->slot_mask;
  for (; t->slots[slot]; slot = (slot + 1) & t->slot_mask) {
    uint32_t number = t->slots[slot] - 1;
    if (same_value(t->input, t->rows[number], row)) return number;
  }
  t->rows[t->count] = row;
  t->slots[slot] = ++t->count;
  return t->count - 1;
}

/* A sample of 1,024 rows with at most 8 repeats comes from a column with some 65,536 values or more (birthday paradox).
 */
static bool looks_distinct(DistinctTable *t) {
  enum { SAMPLE = 1024, REPEATS = 8 };
  uint32_t stride = t->input->row_count / SAMPLE, seen = 0;
  if (stride < 4) return false;
  for (uint32_t i = 0; i < SAMPLE; i++) {
    uint32_t row = i * stride + (uint32_t)(mix(i) % stride);
    if (input_is_null(t->input, row)) continue;
    distinct_number(t, row);
    seen++;
  }
  bool distinct = seen > SAMPLE / 2 && t->count + REPEATS >= seen;
  memset(t->slots, 0, (t->slot_mask + 1) * sizeof *t->slots);
  t->count = 0;
  return distinct;
}

void plan_build_dictionary(CodecPlan *p, uint32_t distinct_max, bool sample_first, void *scratch) {
  const ChunkInput *in = p->input;
  uint64_t rows = rows_rounded(in);
  uint32_t *numbers = (uint32_t *)((int64_t *)scratch + rows), *owners = numbers + rows, *spare = owners + rows;
  uint32_t *slots = spare + rows;
  uint16_t *codes = (uint16_t *)(slots + hash_slots(rows));
  DistinctTable t = { .input = in, .slots = slots, .slot_mask = hash_slots(rows) - 1, .rows = owners };
  memset(slots, 0, (t.slot_mask + 1) * sizeof *slots);
  if (sample_first && looks_distinct(&t)) return;
  for (uint32_t i = 0; i < in->row_count; i++) {
    numbers[i] = input_is_null(in, i) ? UINT32_MAX : distinct_number(&t, i);
    if (t.count > distinct_max) return;
  }
  if (t.count == 0) return;
  /* The hash table has done its work: its space takes the rank of each number. */
  uint32_t *rank = slots, *order = sort_rows(p, owners, spare, t.count);
  /* A representative is the first row of its value, so its number is known from `numbers`. */
  for (uint32_t i = 0; i < t.count; i++) {
    rank[numbers[order[i]]] = i;
    if (type_is_string(in->type)) p->dictionary_bytes += input_bytes(in, order[i]).length;
  }
  for (uint32_t i = 0; i < in->row_count; i++) codes[i] = numbers[i] == UINT32_MAX ? 0 : (uint16_t)rank[numbers[i]];
  p->dictionary_count = t.count;
  p->stats.distinct_count = t.count;
  p->dictionary_rows = order;
  p->codes = codes;
}
