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
  return rows * (sizeof(int64_t) + 3 * sizeof(uint32_t) + sizeof(uint16_t)) + hash_slots(rows) * sizeof(uint64_t) + 256;
}

static Bytes input_bytes(const ChunkInput *in, uint32_t row) { return ((const Bytes *)in->values)[row]; }

/* ---- images and zones ---- */

static void fill_number_images(const CodecPlan *p) {
  const ChunkInput *in = p->input;
  const SimdKernels *k = simd_kernels();
  ColumnType storage = type_storage(in->type);
  size_t width = (size_t)1 << type_width_index(in->type);
  unsigned kind = storage == TYPE_BOOL ? (unsigned)SIMD_U8 : (unsigned)(storage - TYPE_I8);
  for (uint32_t b = 0; b < p->block_count; b++) {
    const uint8_t *values = (const uint8_t *)in->values + (size_t)b * BLOCK_ROWS * width;
    int64_t *images = p->images + (size_t)b * BLOCK_ROWS;
    uint32_t rows = plan_block_rows(p, b);
    k->widen_i64[kind](values, rows, images);
    for (uint32_t i = 0; storage == TYPE_U64 && i < rows; i++) images[i] ^= INT64_MIN;
  }
}

static void fill_float_images(const CodecPlan *p) {
  const ChunkInput *in = p->input;
  const SimdKernels *k = simd_kernels();
  uint32_t whole = in->row_count / BLOCK_ROWS * BLOCK_ROWS;
  for (uint32_t row = 0; row < whole; row += BLOCK_ROWS) {
    if (in->type == TYPE_F64)
      k->image_f64((const double *)in->values + row, p->images + row);
    else
      k->image_f32((const float *)in->values + row, p->images + row);
  }
  for (uint32_t row = whole; row < in->row_count; row++) p->images[row] = type_image(in->type, in->values, row);
}

/* And their bytes, in the same pass. */
static void fill_string_images(CodecPlan *p) {
  const ChunkInput *in = p->input;
  for (uint32_t b = 0; b < p->block_count; b++) {
    uint32_t first = b * BLOCK_ROWS, end = first + plan_block_rows(p, b);
    uint64_t bytes = 0;
    for (uint32_t row = first; row < end; row++) {
      Bytes s = input_is_null(in, row) ? (Bytes){ 0 } : input_bytes(in, row);
      p->images[row] = bytes_image(s);
      p->string_count += s.length > 0;
      bytes += s.length;
    }
    p->blocks[b].string_bytes = bytes;
    p->string_bytes += bytes;
    if (bytes > p->string_bytes_most) p->string_bytes_most = bytes;
  }
}

/* What it writes beneath nulls, plan_block replaces. */
static void fill_images(CodecPlan *p) {
  if (type_is_string(p->input->type))
    fill_string_images(p);
  else if (type_is_float(p->input->type))
    fill_float_images(p);
  else
    fill_number_images(p);
}

static void find_zone(const int64_t *images, const uint8_t *is_null, uint32_t rows, int64_t *low, int64_t *high) {
  if (rows == BLOCK_ROWS && !is_null) {
    const uint64_t sign = UINT64_C(1) << 63;
    uint64_t least, most;
    simd_kernels()->extremes[3](images, sign, NULL, &least, &most);
    *low = (int64_t)(least ^ sign);
    *high = (int64_t)(most ^ sign);
    return;
  }
  *low = INT64_MAX;
  *high = INT64_MIN;
  for (uint32_t i = 0; i < rows; i++) {
    if (is_null && is_null[i]) continue;
    if (images[i] < *low) *low = images[i];
    if (images[i] > *high) *high = images[i];
  }
}

/* Which words of validity have a null, of a block that is not all null. */
static uint16_t words_with_nulls(const uint8_t *is_null, uint32_t rows) {
  unsigned words = 0;
  for (uint32_t i = 0; i < rows; i++) words |= (unsigned)(is_null[i] != 0) << i / 64;
  return (uint16_t)words;
}

/* Zone and nulls of one block; then null rows get the minimum, so that they cost no bits. */
static void plan_block(CodecPlan *p, uint32_t block) {
  int64_t low, high, *images = p->images + (size_t)block * BLOCK_ROWS;
  uint32_t rows = plan_block_rows(p, block), nulls = 0;
  const uint8_t *is_null = p->input->nulls ? p->input->nulls + (size_t)block * BLOCK_ROWS : NULL;
  for (uint32_t i = 0; is_null && i < rows; i++) nulls += is_null[i] != 0;
  if (!nulls) is_null = NULL;
  find_zone(images, is_null, rows, &low, &high);
  p->blocks[block].minimum = low;
  p->blocks[block].maximum = high;
  p->blocks[block].null_count = nulls;
  p->blocks[block].null_words = nulls && nulls < rows ? words_with_nulls(is_null, rows) : 0;
  p->word_count += (uint32_t)__builtin_popcount(p->blocks[block].null_words);
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
  ExactDivisor exact = { 0 };
  for (uint32_t b = 0; b < p->block_count; b++) {
    if (p->blocks[b].minimum > p->blocks[b].maximum) continue; /* fillers only */
    const int64_t *images = p->images + (size_t)b * BLOCK_ROWS;
    for (uint32_t i = 0; i < BLOCK_ROWS; i++) {
      uint64_t rest = (uint64_t)images[i] - (uint64_t)p->stats.minimum;
      if (divisor && exact_divides(&exact, rest)) continue;
      while (rest) {
        uint64_t next = divisor % rest;
        divisor = rest;
        rest = next;
      }
      if (divisor == 1) return 1;
      if (divisor) exact = exact_divisor(divisor);
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
  const uint64_t end = rows ? words[rows - 1] : 0;
  for (uint32_t i = rows; i < BLOCK_ROWS; i++) words[i] = end;
}

/* Runs, and the range of differences unless one of them may leave an i64. */
static void measure_steps(CodecPlan *p) {
  const SimdKernels *k = simd_kernels();
  bool integers = type_is_packable(p->input->type);
  p->has_runs = true;
  p->has_deltas = integers && p->input->type != TYPE_BOOL;
  for (uint32_t b = 0; b < p->block_count; b++) {
    uint64_t carried[BLOCK_ROWS];
    const uint64_t *words = (const uint64_t *)p->images + (size_t)b * BLOCK_ROWS;
    uint32_t rows = plan_block_rows(p, b);
    int64_t range[2] = { 0, 0 };
    if (!integers || p->blocks[b].null_count) {
      plan_carried_words(p, b, carried);
      words = carried;
    }
    p->blocks[b].run_count = rows > 1 ? 1 + k->steps(words, rows, range) : 1;
    p->blocks[b].delta_minimum = range[0];
    p->blocks[b].delta_maximum = range[1];
    p->runs += p->blocks[b].run_count;
    bool has_values = p->blocks[b].minimum <= p->blocks[b].maximum;
    uint64_t span = has_values ? (uint64_t)p->blocks[b].maximum - (uint64_t)p->blocks[b].minimum : 0;
    if (span > INT64_MAX) p->has_deltas = false;
  }
}

void plan_begin(CodecPlan *p, const ChunkInput *in, void *scratch) {
  *p = (CodecPlan){ .input = in, .images = scratch, .divisor = 1 };
  p->stats = (ChunkStats){ .minimum = INT64_MAX, .maximum = INT64_MIN };
  p->block_count = (in->row_count + BLOCK_ROWS - 1) / BLOCK_ROWS;
  fill_images(p);
  for (uint32_t b = 0; b < p->block_count; b++) plan_block(p, b);
}

void plan_measure(CodecPlan *p) {
  const ChunkInput *in = p->input;
  p->is_constant = find_constant(p);
  if (p->is_constant) p->stats.distinct_count = p->first_row < in->row_count;
  if (type_is_packable(in->type) && !p->is_constant) {
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
enum { IMAGE_BYTES = 8 };

/* By the image, which says all of a whole number, and of a string its first 8 bytes. */
static uint64_t row_hash(const CodecPlan *p, uint32_t row) {
  if (type_is_float(p->input->type)) return mix(raw_bits(p->input, row));
  uint64_t image = (uint64_t)p->images[row];
  if (!type_is_string(p->input->type)) return mix(image);
  Bytes b = input_bytes(p->input, row);
  uint64_t rest = b.length;
  if (b.length > 2 * IMAGE_BYTES)
    rest = hash_key(b.data + IMAGE_BYTES, b.length - IMAGE_BYTES);
  else if (b.length > IMAGE_BYTES)
    rest += load_u64(b.data + b.length - IMAGE_BYTES);
  return mix(image ^ rest * UINT64_C(0x9e3779b97f4a7c15));
}

/* Of one image. */
static bool same_string(Bytes a, Bytes b) {
  if (a.length != b.length) return false;
  if (a.length <= IMAGE_BYTES) return true;
  if (a.length > 2 * IMAGE_BYTES) return memcmp(a.data, b.data, a.length) == 0;
  return load_u64(a.data + a.length - IMAGE_BYTES) == load_u64(b.data + b.length - IMAGE_BYTES);
}

static bool same_value_planned(const CodecPlan *p, uint32_t a, uint32_t b) {
  if (p->images[a] != p->images[b]) return false;
  if (type_is_string(p->input->type)) return same_string(input_bytes(p->input, a), input_bytes(p->input, b));
  return !type_is_float(p->input->type) || raw_bits(p->input, a) == raw_bits(p->input, b);
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

/* Distinct values by hash. It begins small, so that the few values of most columns stay in the nearest cache. */
typedef struct DistinctTable {
  const CodecPlan *plan;
  uint64_t *slots; /* half of the hash, and the number of a distinct value plus one; 0: empty */
  uint64_t slot_mask;
  uint32_t *rows; /* a row that has it */
  uint32_t count;
} DistinctTable;

enum { FIRST_SLOTS = 4096 };
static const uint64_t HASH_HALF = UINT64_C(0xffffffff00000000);

static void distinct_clear(DistinctTable *t, uint64_t slots) {
  t->slot_mask = slots - 1;
  memset(t->slots, 0, slots * sizeof *t->slots);
}

/* The slot where a new value with this hash belongs. */
static uint64_t free_slot(const DistinctTable *t, uint64_t hash) {
  uint64_t slot = hash & t->slot_mask;
  while (t->slots[slot]) slot = (slot + 1) & t->slot_mask;
  return slot;
}

static void distinct_grow(DistinctTable *t) {
  distinct_clear(t, 2 * (t->slot_mask + 1));
  for (uint32_t i = 0; i < t->count; i++) {
    uint64_t hash = row_hash(t->plan, t->rows[i]);
    t->slots[free_slot(t, hash)] = (hash & HASH_HALF) | (i + 1);
  }
}

/* The number of the row's value, entered when it is new. */
static uint32_t distinct_number(DistinctTable *t, uint32_t row) {
  uint64_t hash = row_hash(t->plan, row), slot = hash & t->slot_mask;
  for (; t->slots[slot]; slot = (slot + 1) & t->slot_mask) {
    if ((t->slots[slot] ^ hash) & HASH_HALF) continue;
    uint32_t number = (uint32_t)t->slots[slot] - 1;
    if (same_value_planned(t->plan, t->rows[number], row)) return number;
  }
  if (2 * (uint64_t)t->count > t->slot_mask) {
    distinct_grow(t);
    slot = free_slot(t, hash);
  }
  t->rows[t->count] = row;
  t->slots[slot] = (hash & HASH_HALF) | ++t->count;
  return t->count - 1;
}

/* A sample of 1,024 rows with at most 8 repeats comes from a column with some 65,536 values or more (birthday paradox).
 */
static bool looks_distinct(DistinctTable *t) {
  enum { SAMPLE = 1024, REPEATS = 8 };
  const ChunkInput *in = t->plan->input;
  uint32_t stride = in->row_count / SAMPLE, seen = 0;
  if (stride < 4) return false;
  for (uint32_t i = 0; i < SAMPLE; i++) {
    uint32_t row = i * stride + (uint32_t)(mix(i) % stride);
    if (input_is_null(in, row)) continue;
    distinct_number(t, row);
    seen++;
  }
  bool distinct = seen > SAMPLE / 2 && t->count + REPEATS >= seen;
  distinct_clear(t, t->slot_mask + 1);
  t->count = 0;
  return distinct;
}

/* The codes of each row, and what a block's lie between. */
static void set_codes(CodecPlan *p, const uint32_t *numbers, const uint32_t *rank, uint16_t *codes) {
  for (uint32_t b = 0; b < p->block_count; b++) {
    uint32_t first = b * BLOCK_ROWS, end = first + plan_block_rows(p, b), low = UINT16_MAX, high = 0;
    for (uint32_t i = first; i < end; i++) {
      codes[i] = 0;
      if (numbers[i] == UINT32_MAX) continue;
      uint32_t code = rank[numbers[i]];
      codes[i] = (uint16_t)code;
      low = code < low ? code : low;
      high = code > high ? code : high;
    }
    bool some = low <= high;
    p->blocks[b].code_least = (uint16_t)(some ? low : 0);
    p->blocks[b].code_most = (uint16_t)(some ? high : 0);
  }
}

void plan_build_dictionary(CodecPlan *p, uint32_t distinct_max, bool sample_first, void *scratch) {
  const ChunkInput *in = p->input;
  uint64_t rows = rows_rounded(in), most_slots = hash_slots(rows);
  uint32_t *numbers = (uint32_t *)((int64_t *)scratch + rows), *owners = numbers + rows, *spare = owners + rows;
  uint64_t *slots = (uint64_t *)(spare + rows);
  uint16_t *codes = (uint16_t *)(slots + most_slots);
  DistinctTable t = { .plan = p, .slots = slots, .rows = owners };
  distinct_clear(&t, most_slots < FIRST_SLOTS ? most_slots : FIRST_SLOTS);
  if (sample_first && looks_distinct(&t)) return;
  for (uint32_t i = 0; i < in->row_count; i++) {
    numbers[i] = input_is_null(in, i) ? UINT32_MAX : distinct_number(&t, i);
    if (t.count > distinct_max) return;
  }
  if (t.count == 0) return;
  /* The hash table has done its work: its space takes the rank of each number. */
  uint32_t *rank = (uint32_t *)slots, *order = sort_rows(p, owners, spare, t.count);
  /* A representative is the first row of its value, so its number is known from `numbers`. */
  for (uint32_t i = 0; i < t.count; i++) {
    rank[numbers[order[i]]] = i;
    if (type_is_string(in->type)) p->dictionary_bytes += input_bytes(in, order[i]).length;
  }
  set_codes(p, numbers, rank, codes);
  p->dictionary_count = t.count;
  p->stats.distinct_count = t.count;
  p->dictionary_rows = order;
  p->codes = codes;
}
