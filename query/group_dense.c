/* group_dense.c - a unit whose key columns have few codes: sums lie in arrays by code, and go to the groups at its end.
 *
 * The sum of integers that lie less than 2^31 apart is one word for a whole unit: 47 bits of distances from the least
 * value, 17 bits of how many; one addition a row does both. Of other integers, blocks of short ones are added in one
 * word, the rest in two. A handful of codes is added up by kernels, each in a register. With more of them several
 * replicas of the arrays let the processor add neighbouring rows of one group side by side. Of what depends on order
 * there is but one: there each addition waits for the one before it, and so the sums of several columns are made side
 * by side. */
#include "base/bitmap.h"
#include "base/counters.h"
#include "base/memory.h"
#include "encodings/array.h"
#include "query/groups_internal.h"
#include "simd/simd.h"

enum { REPLICAS = 4, REPLICATED_MAX = 1024 /* codes: all replicas together stay in the first cache */ };
#define PACKED_ONE   (UINT64_C(1) << 47)
#define PACKED_RANGE (UINT64_C(1) << 31)
#define SHORT_END    (INT64_C(1) << 46) /* a unit's worth of such numbers, SEGMENT_ROWS, is an int64_t */

/* ---- which units ---- */

/* Codes of a key: the one behind its values is null. */
static uint32_t key_codes(const KeyColumn *key) {
  return key->code_count > 1 && !key->nullable ? key->code_count - 1 : key->code_count;
}

static uint64_t count_codes(const Groups *g) {
  uint64_t codes = 1;
  for (size_t k = 0; k < g->key_count; k++) {
    codes *= key_codes(&g->keys[k]);
    if (codes == 0 || codes > GROUP_CODES_MAX) return 0;
  }
  return codes;
}

bool group_dense_fits(const Groups *g, Scan *scan) {
  if (!g->is_dense || g->is_full) return false;
  uint64_t codes = count_codes(g);
  return codes && (codes <= GROUP_CODES_DENSE || codes <= scan_selection(scan)->row_count);
}

/* ---- arrays ---- */

static void *array_of(Dense *d, size_t size) { return arena_allocate_aligned(&d->arena, 64, d->capacity * size); }

static Status allocate_column(Dense *d, DenseColumn *c, const GroupColumn *column) {
  bool is_float = type_is_float(column->type);
  if (column->nullable && !(c->nulls = array_of(d, sizeof *c->nulls))) return status_nomem();
  if (column->wants & GROUP_SUM && !is_float) {
    c->packed = array_of(d, sizeof *c->packed);
    c->wide = array_of(d, 2 * sizeof *c->wide);
    if (!c->packed || !c->wide) return status_nomem();
  }
  if (column->wants & GROUP_SUM && is_float && !(c->sums = array_of(d, sizeof *c->sums))) return status_nomem();
  if (column->wants & GROUP_LEAST && !(c->least = array_of(d, sizeof *c->least))) return status_nomem();
  if (column->wants & GROUP_GREATEST && !(c->greatest = array_of(d, sizeof *c->greatest))) return status_nomem();
  if (column->wants & GROUP_SPREAD && !(c->spreads = array_of(d, sizeof *c->spreads))) return status_nomem();
  return KVSTORE_OK;
}

/* Room for the numbers of a block, of as many columns as are added side by side. */
static Status allocate_together(Groups *g) {
  Dense *d = &g->dense;
  if (d->doubles || !g->has_order) return KVSTORE_OK;
  d->doubles = arena_allocate_aligned(&d->room, 64, GROUP_TOGETHER * BLOCK_ROWS * sizeof *d->doubles);
  return d->doubles ? KVSTORE_OK : status_nomem();
}

static Status make_arrays(Groups *g, uint32_t codes) {
  Dense *d = &g->dense;
  uint32_t capacity = REPLICAS * REPLICATED_MAX;
  TRY(allocate_together(g));
  if (codes <= d->capacity) return KVSTORE_OK;
  while (capacity < codes) capacity *= 2;
  arena_release(&d->arena);
  d->capacity = 0;
  d->columns = arena_allocate_zeroed(&d->arena, memory_array_size(g->column_count, sizeof *d->columns));
  uint32_t before = d->capacity;
  d->capacity = capacity;
  d->row_counts = array_of(d, sizeof *d->row_counts);
  Status status = d->columns && d->row_counts ? KVSTORE_OK : status_nomem();
  for (size_t i = 0; i < g->column_count && status == KVSTORE_OK; i++)
    status = allocate_column(d, &d->columns[i], &g->columns[i]);
  if (status != KVSTORE_OK) d->capacity = before;
  return status;
}

static bool is_short(int64_t low, int64_t high) { return low > -SHORT_END && high < SHORT_END; }

static void begin_column(Dense *d, DenseColumn *c, const GroupColumn *column, Scan *scan) {
  uint32_t codes = d->code_count;
  int64_t low, high;
  bool is_known = c->packed && scan_zone(scan, column->column, &low, &high);
  c->is_short = is_known && is_short(low, high);
  c->is_packed = is_known && (uint64_t)high - (uint64_t)low < PACKED_RANGE && !(d->is_few && c->is_short);
  if (c->is_packed) c->base = low;
  if (c->packed) memset(c->packed, 0, d->replicas * codes * sizeof *c->packed);
  if (c->wide && !c->is_packed) memset(c->wide, 0, 2 * codes * sizeof *c->wide);
  if (c->nulls) memset(c->nulls, 0, codes * sizeof *c->nulls);
  if (c->sums) memset(c->sums, 0, codes * sizeof *c->sums);
  if (c->spreads) memset(c->spreads, 0, codes * sizeof *c->spreads);
  for (uint32_t i = 0; c->least && i < codes; i++) c->least[i] = INT64_MAX;
  for (uint32_t i = 0; c->greatest && i < codes; i++) c->greatest[i] = INT64_MIN;
  if (c->is_packed && !column->nullable && !d->counting) d->counting = c;
}

static Status begin_unit(Groups *g, Scan *scan) {
  Dense *d = &g->dense;
  uint32_t codes = (uint32_t)count_codes(g) + 1; /* the last one is of rows that are not selected */
  TRY(make_arrays(g, codes));
  d->code_count = codes;
  d->is_few = codes <= SIMD_FEW_CODES + 1;
  d->replicas = codes <= REPLICATED_MAX ? REPLICAS : 1;
  d->counting = NULL;
  for (size_t i = 0; i < g->column_count; i++) begin_column(d, &d->columns[i], &g->columns[i], scan);
  if (!d->counting) memset(d->row_counts, 0, d->replicas * codes * sizeof *d->row_counts);
  return KVSTORE_OK;
}

/* ---- rows ---- */

/* The combined codes of the selected rows of a block: the first key's is the lowest digit. */
static Status read_codes(Groups *g, Scan *scan, uint32_t block, uint32_t count, uint16_t *codes) {
  GroupScratch *s = g->scratch;
  uint32_t step = 1;
  bool is_whole = s->is_whole;
  if (g->key_count == 0) memset(codes, 0, count * sizeof *codes);
  for (size_t k = 0; k < g->key_count; k++) {
    uint16_t *to = k ? s->more_codes : codes, *from = is_whole ? to : s->some_codes;
    TRY(scan_read_codes(scan, g->keys[k].column, block, from));
    if (!is_whole) array_gather(sizeof *to, from, g->scratch->rows, count, to);
    if (k) simd_kernels()->add_digits(to, (uint16_t)step, count, codes);
    step *= key_codes(&g->keys[k]);
  }
  return KVSTORE_OK;
}

static void add_ones(const Dense *dense, const uint16_t *codes, uint32_t count) {
  uint32_t stride = dense->replicas > 1 ? dense->code_count : 0, i = 0;
  uint64_t *a = dense->row_counts, *b = a + stride, *c = b + stride, *d = c + stride;
  if (dense->is_few) {
    for (uint32_t code = 0; code + 1 < dense->code_count; code++) a[code] += dense->few.rows[code];
    return;
  }
  for (; i + 4 <= count; i += 4) {
    a[codes[i]]++;
    b[codes[i + 1]]++;
    c[codes[i + 2]]++;
    d[codes[i + 3]]++;
  }
  for (; i < count; i++) a[codes[i]]++;
}

/* ---- few codes ---- */

/* Numbers of codes: of all BLOCK_ROWS entries, those behind the last row have none. */
static void number_rows(const DenseFew *few, const uint16_t *codes, uint32_t count, uint8_t *out) {
  const SimdKernels *k = simd_kernels();
  k->scale[1][0](codes, 0, 1, out);
  k->map_codes(out, few->numbers);
  memset(out + count, DENSE_NONE, BLOCK_ROWS - count);
}

/* What a block does not have is not added up. */
static void begin_few(Dense *d, const uint16_t *codes, uint32_t count) {
  DenseFew *few = &d->few;
  few->count = 0;
  memset(few->rows, 0, sizeof few->rows);
  memset(few->numbers, DENSE_NONE, sizeof few->numbers);
  simd_kernels()->count_few_codes(codes, count, d->code_count - 1, few->rows);
  for (uint32_t code = 0; code + 1 < d->code_count; code++) {
    if (!few->rows[code]) continue;
    few->numbers[code] = (uint8_t)few->count;
    few->codes[few->count++] = (uint8_t)code;
  }
  number_rows(few, codes, count, few->of_rows);
}

/* Numbers in lanes of `width` bits, of all BLOCK_ROWS entries. */
static void add_few(const DenseFew *few, const uint8_t *of_rows, const void *numbers, const CodecOffsets *as,
                    uint64_t *sums) {
  uint64_t found[SIMD_FEW_CODES] = { 0 };
  simd_kernels()->sum_few_codes(numbers, as->width, of_rows, few->count, found);
  for (uint32_t i = 0; i < few->count; i++) {
    uint32_t code = few->codes[i];
    sums[code] += (uint64_t)as->base * few->rows[code] + as->step * found[i];
  }
}

/* ---- integers ---- */

/* As add_ones, in steps of a number and `step` each; numbers in the width of their type. */
#define ADD_PACKED(name, T)                                                                                \
  static void name(uint64_t *sums, uint32_t stride, const uint16_t *codes, const T *values, uint64_t step, \
                   uint32_t count) {                                                                       \
    uint64_t *a = sums, *b = a + stride, *c = b + stride, *d = c + stride;                                 \
    uint32_t i = 0;                                                                                        \
    for (; i + 4 <= count; i += 4) {                                                                       \
      a[codes[i]] += (uint64_t)values[i] + step;                                                           \
      b[codes[i + 1]] += (uint64_t)values[i + 1] + step;                                                   \
      c[codes[i + 2]] += (uint64_t)values[i + 2] + step;                                                   \
      d[codes[i + 3]] += (uint64_t)values[i + 3] + step;                                                   \
    }                                                                                                      \
    for (; i < count; i++) a[codes[i]] += (uint64_t)values[i] + step;                                      \
  }
ADD_PACKED(add_packed_i8, int8_t)
ADD_PACKED(add_packed_i16, int16_t)
ADD_PACKED(add_packed_i32, int32_t)
ADD_PACKED(add_packed_i64, int64_t)
ADD_PACKED(add_packed_u8, uint8_t)
ADD_PACKED(add_packed_u16, uint16_t)
ADD_PACKED(add_packed_u32, uint32_t)

static void add_packed(const Dense *d, DenseColumn *c, ColumnType type, const uint16_t *codes, const void *values,
                       uint32_t count) {
  uint32_t stride = d->replicas > 1 ? d->code_count : 0;
  uint64_t step = c->is_packed ? PACKED_ONE - (uint64_t)c->base : 0;
  switch (type) {
  case TYPE_I8: add_packed_i8(c->packed, stride, codes, values, step, count); break;
  case TYPE_BOOL:
  case TYPE_U8: add_packed_u8(c->packed, stride, codes, values, step, count); break;
  case TYPE_I16: add_packed_i16(c->packed, stride, codes, values, step, count); break;
  case TYPE_U16: add_packed_u16(c->packed, stride, codes, values, step, count); break;
  case TYPE_I32: add_packed_i32(c->packed, stride, codes, values, step, count); break;
  case TYPE_U32: add_packed_u32(c->packed, stride, codes, values, step, count); break;
  default: add_packed_i64(c->packed, stride, codes, values, step, count); break;
  }
}

static bool are_short(const int64_t *numbers, uint32_t count) {
  const uint64_t sign = UINT64_C(1) << 63;
  uint64_t rows[BLOCK_WORDS], low, high;
  if (count == 0) return true;
  bitmap_fill_first(rows, BLOCK_WORDS, count);
  simd_kernels()->extremes[3](numbers, sign, rows, &low, &high);
  return is_short((int64_t)(low ^ sign), (int64_t)(high ^ sign));
}

static void add_few_integers(const DenseFew *few, const uint16_t *codes, const int64_t *numbers, uint32_t count,
                             uint64_t *sums) {
  static const CodecOffsets as_they_are = { .width = 64, .base = 0, .step = 1 };
  uint8_t of_rows[BLOCK_ROWS];
  number_rows(few, codes, count, of_rows);
  add_few(few, of_rows, numbers, &as_they_are, sums);
}

/* Integers that may lie anywhere, unless they are known to be short. */
static void add_integers(const Dense *d, DenseColumn *c, const uint16_t *codes, const int64_t *numbers, uint32_t count,
                         bool known_short) {
  if (known_short || are_short(numbers, count)) {
    COUNT_OFTEN(groups_short_blocks);
    if (d->is_few)
      add_few_integers(&d->few, codes, numbers, count, c->packed);
    else
      add_packed(d, c, TYPE_I64, codes, numbers, count);
    return;
  }
  for (uint32_t i = 0; i < count; i++)
    group_add_wide(&c->wide[2 * codes[i]], (uint64_t)numbers[i], (uint64_t)(numbers[i] >> 63));
}

/* Of `columns` columns, a constant: the sums of one do not wait for those of another. */
static inline __attribute__((always_inline)) void add_doubles(double *const *sums, const double *values,
                                                              const uint16_t *codes, uint32_t count, uint32_t columns) {
  for (uint32_t i = 0; i < count; i++) {
    uint32_t code = codes[i];
#pragma GCC unroll 8
    for (uint32_t c = 0; c < columns; c++) sums[c][code] += values[c * BLOCK_ROWS + i];
  }
}

static void add_together(Dense *d, const uint16_t *codes, uint32_t count) {
  switch (d->together) {
  case 0: break;
  case 1: add_doubles(d->sums, d->doubles, codes, count, 1); break;
  case 2: add_doubles(d->sums, d->doubles, codes, count, 2); break;
  case 3: add_doubles(d->sums, d->doubles, codes, count, 3); break;
  case 4: add_doubles(d->sums, d->doubles, codes, count, 4); break;
  case 5: add_doubles(d->sums, d->doubles, codes, count, 5); break;
  case 6: add_doubles(d->sums, d->doubles, codes, count, 6); break;
  case 7: add_doubles(d->sums, d->doubles, codes, count, 7); break;
  default: add_doubles(d->sums, d->doubles, codes, count, GROUP_TOGETHER); break;
  }
  d->together = 0;
}

/* All rows are one group, whose code is 0: what is not selected has another. */
static void add_spread(DenseColumn *c, const double *doubles, const uint16_t *codes, uint32_t count) {
  double own[BLOCK_ROWS];
  uint32_t kept = 0;
  for (uint32_t i = 0; i < count; i++) {
    own[kept] = doubles[i];
    kept += codes[i] == 0;
  }
  spread_add_block(&c->spreads[0], own, kept);
}

static void add_numbers(const Groups *g, DenseColumn *c, const int64_t *numbers, const double *doubles,
                        const uint16_t *codes, uint32_t count) {
  for (uint32_t i = 0; c->least && i < count; i++) {
    if (numbers[i] < c->least[codes[i]]) c->least[codes[i]] = numbers[i];
  }
  for (uint32_t i = 0; c->greatest && i < count; i++) {
    if (numbers[i] > c->greatest[codes[i]]) c->greatest[codes[i]] = numbers[i];
  }
  if (!c->spreads) return;
  if (g->key_count == 0) {
    add_spread(c, doubles, codes, count);
    return;
  }
  for (uint32_t i = 0; i < count; i++) spread_add(&c->spreads[codes[i]], doubles[i]);
}

/* Rows whose value is not null, in place. */
static uint32_t drop_nulls(GroupScratch *s, const uint8_t *nulls, double *doubles, const uint16_t *codes,
                           uint32_t count) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < count; i++) {
    s->some_codes[kept] = codes[i];
    s->images[kept] = s->images[i];
    if (doubles) doubles[kept] = doubles[i];
    kept += !nulls[i];
  }
  return kept;
}

/* The doubles of a column lie where they are added together with those of others; rows without nulls wait for them. */
static void add_ordered(Dense *d, DenseColumn *c, bool waits, const uint16_t *codes, uint32_t count) {
  if (!c->sums) return;
  d->sums[d->together] = c->sums;
  if (waits && d->together + 1 < GROUP_TOGETHER) {
    d->together++;
  } else if (waits) {
    d->together++;
    add_together(d, codes, count);
  } else {
    add_doubles(&c->sums, d->doubles + d->together * BLOCK_ROWS, codes, count, 1);
  }
}

static bool block_is_short(Scan *scan, uint32_t column, uint32_t block) {
  int64_t low, high;
  return scan_block_zone(scan, column, block, &low, &high) && is_short(low, high);
}

/* Offsets of a packed block, in lanes of their width, to packed sums. */
static void add_packed_offsets(const Dense *d, DenseColumn *c, const uint16_t *codes, const void *offsets,
                               const CodecOffsets *as, uint32_t count) {
  uint32_t stride = d->replicas > 1 ? d->code_count : 0;
  uint64_t step = PACKED_ONE + (uint64_t)as->base - (uint64_t)c->base;
  switch (simd_lane_index(as->width)) {
  case 0: add_packed_u8(c->packed, stride, codes, offsets, step, count); break;
  case 1: add_packed_u16(c->packed, stride, codes, offsets, step, count); break;
  case 2: add_packed_u32(c->packed, stride, codes, offsets, step, count); break;
  default: add_packed_i64(c->packed, stride, codes, offsets, step, count); break;
  }
}

/* Whether a block's offsets may be added as they lie: of few codes where sums are short, of many where the zone lies
 * within what distances are taken of, which are below PACKED_RANGE then. */
static bool takes_offsets(const Dense *d, const DenseColumn *c, Scan *scan, uint32_t column, uint32_t block) {
  if (!c->wide) return false;
  if (d->is_few) return !c->is_packed && (c->is_short || block_is_short(scan, column, block));
  return c->is_packed;
}

/* Sums as the block is packed: nothing is widened, and no base added row by row. *done is false where it is not packed,
 * or sums may be long. */
static Status add_offsets(Dense *d, DenseColumn *c, Scan *scan, const GroupColumn *column, uint32_t block,
                          const uint16_t *codes, uint32_t count, bool *done) {
  uint64_t room[BLOCK_ROWS];
  const void *offsets;
  CodecOffsets as;
  if (!takes_offsets(d, c, scan, column->column, block)) return KVSTORE_OK;
  TRY(scan_read_offsets(scan, column->column, block, d->is_few, room, &as, &offsets));
  *done = offsets != NULL;
  if (!*done) return KVSTORE_OK;
  if (d->is_few)
    add_few(&d->few, d->few.of_rows, offsets, &as, c->packed);
  else
    add_packed_offsets(d, c, codes, offsets, &as, count);
  COUNT_OFTEN(groups_offset_blocks);
  return KVSTORE_OK;
}

static Status add_column(Groups *g, size_t index, Scan *scan, uint32_t block, const uint16_t *codes, uint32_t count) {
  GroupScratch *s = g->scratch;
  const GroupColumn *column = &g->columns[index];
  Dense *d = &g->dense;
  DenseColumn *c = &d->columns[index];
  double *doubles = d->doubles ? d->doubles + d->together * BLOCK_ROWS : NULL; /* without an order none is wanted */
  const void *values;
  const uint8_t *nulls;
  bool done = false;
  if (s->is_whole && (column->wants | GROUP_COUNT) == (GROUP_SUM | GROUP_COUNT))
    TRY(add_offsets(d, c, scan, column, block, codes, count, &done));
  if (done) return KVSTORE_OK;
  TRY(groups_read(g, scan, column->column, block, count, &values, &nulls));
  bool is_packed = c->is_packed && column->type != TYPE_U64;
  uint32_t images = (uint32_t)GROUP_LEAST | GROUP_GREATEST; /* of floats; sums of those need none */
  if (!type_is_float(column->type)) images |= (uint32_t)GROUP_SPREAD | (is_packed && !nulls ? 0 : GROUP_SUM);
  const int64_t *numbers = s->images; /* i64 are their own images; kernels read whole blocks, arrays may end before */
  if (column->type == TYPE_I64 && !nulls && count == BLOCK_ROWS)
    numbers = values;
  else if (column->wants & images)
    group_images(column->type, values, count, s->images);
  if (c->sums || c->spreads) group_doubles(column->type, values, numbers, count, doubles);
  if (nulls) {
    for (uint32_t i = 0; i < count; i++) c->nulls[codes[i]] += nulls[i];
    count = drop_nulls(s, nulls, doubles, codes, count);
    codes = s->some_codes;
  }
  if (is_packed && !nulls)
    add_packed(d, c, column->type, codes, values, count);
  else if (c->is_packed)
    add_packed(d, c, TYPE_I64, codes, numbers, count);
  else if (c->wide)
    add_integers(d, c, codes, numbers, count, c->is_short || block_is_short(scan, column->column, block));
  add_numbers(g, c, numbers, doubles, codes, count);
  add_ordered(d, c, !nulls, codes, count);
  return KVSTORE_OK;
}

/* Where most rows of a block are selected, taking them out of each column costs more than adding the others up apart.
 */
static bool takes_all(const Groups *g, Scan *scan, uint32_t block, uint32_t rows) {
  const ScanSelection *selection = scan_selection(scan);
  if (selection->whole >> block & 1 || g->dense.code_count > GROUP_CODES_MAX) return false;
  return simd_kernels()->mask_count(selection->masks[block], BLOCK_WORDS) >= rows - rows / 4;
}

static void set_unselected(const uint64_t *mask, uint32_t rows, uint16_t code, uint16_t *codes) {
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) {
    for (uint64_t word = ~mask[w]; word; word &= word - 1) {
      uint32_t i = w * 64 + (uint32_t)__builtin_ctzll(word);
      if (i < rows) codes[i] = code;
    }
  }
}

static Status add_block(Groups *g, Scan *scan, uint32_t block) {
  uint16_t codes[BLOCK_ROWS];
  Dense *d = &g->dense;
  uint32_t count = scan_block_rows(scan_selection(scan)->unit, block);
  bool all = takes_all(g, scan, block, count);
  if (all)
    g->scratch->is_whole = true;
  else
    count = groups_block_rows(g, scan, block);
  TRY(read_codes(g, scan, block, count, codes));
  if (all) set_unselected(scan_selection(scan)->masks[block], count, (uint16_t)(d->code_count - 1), codes);
  if (d->is_few) begin_few(d, codes, count);
  if (!d->counting) add_ones(d, codes, count);
  for (size_t i = 0; i < g->column_count; i++) {
    if (g->columns[i].wants) TRY(add_column(g, i, scan, block, codes, count));
  }
  add_together(d, codes, count);
  return KVSTORE_OK;
}

/* ---- to the groups ---- */

/* Replicas become one: a unit's worth of rows and numbers fits a word, and so do all of them together. */
static void fold(const Dense *d, uint64_t *words) {
  uint32_t codes = d->code_count;
  for (uint32_t r = 1; words && r < d->replicas; r++)
    for (uint32_t code = 0; code < codes; code++) words[code] += words[(size_t)r * codes + code];
}

static void fold_all(const Groups *g, Dense *d) {
  if (!d->counting) fold(d, d->row_counts);
  for (size_t i = 0; i < g->column_count; i++) fold(d, d->columns[i].packed);
  d->replicas = 1;
}

static uint64_t code_rows(const Dense *d, uint32_t code) {
  return d->counting ? d->counting->packed[code] / PACKED_ONE : d->row_counts[code];
}

static Status group_of_code(Groups *g, Scan *scan, uint32_t code, uint32_t *number) {
  uint32_t id = 0;
  *number = 0;
  for (size_t k = 0; k < g->key_count; k++) {
    uint32_t digit = code;
    if (k + 1 < g->key_count) { /* the last key's is what is left */
      uint32_t codes = key_codes(&g->keys[k]);
      digit = code % codes;
      code /= codes;
    }
    TRY(key_column_code(&g->keys[k], scan, digit, &id));
    if (k == 0) {
      *number = id;
    } else {
      uint64_t word = (uint64_t)*number << 32 | id;
      TRY(id_map_add(&g->pairs[k], &word, 1, false, number));
    }
  }
  return KVSTORE_OK;
}

/* What the packed sum of a code comes to: its count times the base, and the distances. */
static void merge_packed(const DenseColumn *c, uint32_t code, GroupWord *sum) {
  uint64_t word = c->packed[code];
  __extension__ __int128 all = (__int128)c->base * (int64_t)(word / PACKED_ONE) + (int64_t)(word % PACKED_ONE);
  group_add_wide(sum, (uint64_t)all, (uint64_t)(all >> 64));
}

static void merge_short(const DenseColumn *c, uint32_t code, GroupWord *sum) {
  uint64_t word = c->packed[code];
  group_add_wide(sum, word, (uint64_t)((int64_t)word >> 63));
}

static void merge_column(const DenseColumn *c, const GroupColumn *column, uint32_t code, uint64_t rows,
                         GroupWord *state) {
  if (c->nulls) state[column->count].u += rows - c->nulls[code];
  if (c->is_packed) {
    merge_packed(c, code, state + column->sum);
  } else if (c->wide) {
    merge_short(c, code, state + column->sum);
    group_add_wide(state + column->sum, c->wide[2 * code].u, c->wide[2 * code + 1].u);
  }
  if (c->sums) state[column->sum].f += c->sums[code];
  if (c->least && c->least[code] < state[column->least].i) state[column->least].i = c->least[code];
  if (c->greatest && c->greatest[code] > state[column->greatest].i) state[column->greatest].i = c->greatest[code];
  if (c->spreads) group_merge_spread(state + column->spread, &c->spreads[code]);
}

/* The first code from `code` on that has a row, or one of the three before it: of many codes most have none. */
static uint32_t next_code(const Dense *d, uint32_t code) {
  const uint64_t *counts = d->counting ? d->counting->packed : d->row_counts;
  while (code + 4 < d->code_count && !(counts[code] | counts[code + 1] | counts[code + 2] | counts[code + 3]))
    code += 4;
  return code;
}

static Status end_unit(Groups *g, Scan *scan) {
  Dense *d = &g->dense;
  fold_all(g, d);
  for (uint32_t code = next_code(d, 0); code + 1 < d->code_count; code = next_code(d, code + 1)) {
    uint64_t rows = code_rows(d, code);
    uint32_t number;
    if (rows == 0) continue;
    TRY(group_of_code(g, scan, code, &number));
    TRY(groups_extend(g, number + 1));
    GroupWord *state = group_state(g, number);
    if (g->has_open) groups_end_order(g, state);
    state[GROUP_ROWS].u += rows;
    for (size_t i = 0; i < g->column_count; i++) {
      if (g->columns[i].wants) merge_column(&d->columns[i], &g->columns[i], code, rows, state);
    }
    if (g->part && g->has_order) TRY(groups_set_apart(g, number));
  }
  return KVSTORE_OK;
}

Status group_dense_add(Groups *g, Scan *scan) {
  TRY(begin_unit(g, scan));
  for (uint64_t left = scan_selection(scan)->blocks; left; left &= left - 1)
    TRY(add_block(g, scan, (uint32_t)__builtin_ctzll(left)));
  COUNT(groups_dense_units);
  return end_unit(g, scan);
}
