/* group_slots.c - groups of which few words are kept: a slot each, without states.
 *
 *   one integer key, ascending so far     a slot is the number of its group: only changes of the key are looked at
 *   one integer key within a window       a slot lies at key - least key
 *   several keys of many codes each       a slot lies where the ids of the values say, as digits
 *   texts, floats, keys without codes     a slot is the number that the group would have with a state
 *
 *   slot:   rows, above the sum of one column | of each other column: values above their sum | least | greatest
 *
 * Sums are of distances from the least value that the zones of all segments know, and so no word overflows. Sums and
 * counts do not depend on an order, and so parts of several threads are added slot by slot. What does not fit any more
 * (values in memory far from all zones; a null among integers; too little memory) makes groups with states of the
 * slots, once and for all: SLOTS_NONE. Which slot a row has: group_slots_find.c. */
#include "base/counters.h"
#include "base/memory.h"
#include "os/large_memory.h"
#include "query/groups_internal.h"
#include "query/query_internal.h"
#include "simd/simd.h"

#define LARGE_BYTES ((size_t)1 << 20)
enum {
  LIMIT_SHARE = 8, /* of the memory, for groups that are expected */
  SLACK_PART = 4,
  AHEAD = 24,              /* rows whose words are asked for before */
  FAR_BYTES = 1024 * 1024, /* of slots: more are mostly not in the caches */
  PIECE_WORDS = 4096,      /* of windows: what a thread adds up at a time */
  SLOTS_A_KEY = 8,         /* are added in the time in which one is, that lies anywhere */
};

/* ---- layout ---- */

static unsigned bits_of(uint64_t n) { return n ? 64 - (unsigned)__builtin_clzll(n) : 0; }

/* Rows in memory, which have no zone, may lie somewhat beyond those of segments. */
static void widen(int64_t *low, int64_t *high) {
  int64_t more = (int64_t)(((uint64_t)*high - (uint64_t)*low) / 4);
  if (__builtin_sub_overflow(*low, more, low)) *low = INT64_MIN;
  if (__builtin_add_overflow(*high, more, high)) *high = INT64_MAX;
}

/* Where the column's sum lies and how many bits it takes; false: it takes more than there are. */
static bool place_sum(Groups *g, size_t index, unsigned row_bits, bool *is_counted) {
  GroupSlots *s = &g->slots;
  SlotColumn *c = &s->columns[index];
  const GroupColumn *column = &g->columns[index];
  int64_t low, high;
  unsigned bits = 0;
  if (column->wants & GROUP_SUM) {
    if (!groups_zone(g, column->column, &low, &high)) return false;
    widen(&low, &high);
    c->base = low;
    c->range = (uint64_t)high - (uint64_t)low;
    bits = bits_of(c->range) + row_bits;
  } else if (!column->nullable) {
    return true;
  }
  bool counts = column->nullable || !*is_counted;
  if (counts && bits + row_bits > 64) counts = false;
  if (bits > 64 || (column->nullable && !counts)) return false;
  c->sum_bits = counts ? bits : 64;
  if (counts && !column->nullable) {
    *is_counted = true;
    c->at = 0;
    s->rows_shift = bits;
  } else {
    c->at = s->stride++;
  }
  return true;
}

static bool lay_out(Groups *g) {
  GroupSlots *s = &g->slots;
  bool is_counted = false;
  unsigned row_bits = bits_of(query_snapshot_rows(g->snapshot));
  s->stride = 1;
  for (size_t i = 0; i < g->column_count; i++) {
    const GroupColumn *column = &g->columns[i];
    if (!column->wants) continue;
    if (type_is_string(column->type) || !place_sum(g, i, row_bits, &is_counted)) return false;
    if (column->wants & GROUP_LEAST) s->columns[i].least = s->stride++;
    if (column->wants & GROUP_GREATEST) s->columns[i].greatest = s->stride++;
  }
  return s->stride <= GROUP_SLOTS_WORDS_MAX && g->stride <= GROUP_SLOTS_STATE_WORDS;
}

static void begin(Groups *g) {
  GroupSlots *s = &g->slots;
  s->mode = SLOTS_NONE;
  if (!g->is_dense || g->has_order || g->is_full || g->state_count) return;
  s->columns = arena_allocate_zeroed(&g->arena, (g->column_count + 1) * sizeof *s->columns);
  s->digits = arena_allocate_zeroed(&g->arena, (g->key_count + 1) * sizeof *s->digits);
  if (s->columns && s->digits && lay_out(g)) s->mode = group_slots_first_mode(g);
  s->by_rows |= s->mode != SLOTS_NONE;
}

bool group_slots_are_open(const Groups *g) {
  return g->slots.mode == SLOTS_UNKNOWN && g->is_dense && !g->has_order && !g->state_count;
}

void group_slots_share(const Groups *g, Groups *part) {
  part->slots.by_ids = group_slots_by_ids(g);
  if (!group_slots_in_use(g)) part->slots.mode = SLOTS_NONE;
  part->slots.by_rows = g->slots.by_rows;
}

Status group_slots_fit(Groups *g, Scan *scan, bool *fits) {
  int64_t low, high;
  bool is_segment = scan_selection(scan)->unit->kind == SCAN_UNIT_SEGMENT, may_begin = is_segment || g->slots.by_ids;
  if (g->slots.mode == SLOTS_UNKNOWN && may_begin) begin(g);
  *fits = g->slots.mode != SLOTS_NONE && (may_begin || group_slots_in_use(g));
  for (size_t i = 0; is_segment && *fits && i < g->column_count; i++)
    *fits = !(g->columns[i].wants & GROUP_SUM) || scan_zone(scan, g->columns[i].column, &low, &high);
  return *fits ? group_slots_begin_unit(g, scan, fits) : KVSTORE_OK;
}

/* ---- memory ---- */

void group_slots_release(Groups *g) {
  GroupSlots *s = &g->slots;
  memory_release(s->words);
  memory_release(s->keys);
  memory_release(s->seen);
  memory_release(s->copies);
  for (size_t k = 0; s->digits && k < g->key_count; k++) {
    memory_release(s->digits[k].offsets);
    s->digits[k] = (SlotDigit){ 0 };
  }
  s->words = s->seen = NULL;
  s->keys = NULL;
  s->copies = NULL;
  s->word_capacity = s->key_capacity = s->copy_capacity = s->copy_count = 0;
  s->count = 0;
  s->mode = SLOTS_NONE;
}

uint64_t group_slots_bytes(const Groups *g) {
  const GroupSlots *s = &g->slots;
  return s->word_capacity * sizeof *s->words + s->key_capacity * sizeof *s->keys;
}

/* Slots stand in the order of groups. */
static bool are_in_order(const GroupSlots *s) { return s->mode == SLOTS_ASCENDING || s->mode == SLOTS_IDS; }

static uint64_t *slot_words(const GroupSlots *s, uint32_t number) {
  return s->words + (are_in_order(s) ? (size_t)number * s->stride : (size_t)s->keys[number]);
}

bool group_slots_is_empty(const Groups *g, uint32_t number) {
  return g->slots.mode == SLOTS_IDS && slot_words(&g->slots, number)[0] == 0;
}

/* Once groups are many, a quarter more than there will be if units go on like this, in large pages: most of the time of
 * adding a group that was not there is spent on pages that were not there, and what stays unused has none. */
static Status grow_much(const Groups *g, void *array, size_t *capacity, size_t needed, size_t size) {
  if (needed <= *capacity) return KVSTORE_OK;
  size_t units = g->unit_number ? g->unit_number : 1, parts = g->part ? g->part->parts : 1;
  size_t wanted = needed / units * g->snapshot->unit_count / parts;
  wanted += wanted / SLACK_PART;
  bool is_large = needed * size >= LARGE_BYTES;
  bool is_asked = is_large && wanted > needed;
  if (g->space && wanted * size > g->space->memory_limit / LIMIT_SHARE) is_asked = false;
  TRY(memory_grow(array, capacity, is_asked ? wanted : needed, size));
  void *at;
  memcpy(&at, array, sizeof at);
  if (is_large) os_prefer_large_pages(at, *capacity * size);
  return KVSTORE_OK;
}

Status group_slots_reserve(Groups *g, uint32_t more) {
  GroupSlots *s = &g->slots;
  size_t count = (size_t)s->count + more;
  if (s->mode != SLOTS_IDS) TRY(grow_much(g, &s->keys, &s->key_capacity, count, sizeof *s->keys));
  if (!are_in_order(s)) return KVSTORE_OK;
  return grow_much(g, &s->words, &s->word_capacity, count * s->stride, sizeof *s->words);
}

/* The words of groups from `from` on, whose slots are zero; sums need no more. */
void group_slots_clear_extremes(const Groups *g, uint32_t from) {
  const GroupSlots *s = &g->slots;
  for (size_t i = 0; i < g->column_count; i++) {
    uint32_t least = s->columns[i].least, greatest = s->columns[i].greatest;
    for (uint32_t n = from; least && n < s->count; n++) slot_words(s, n)[least] = INT64_MAX;
    for (uint32_t n = from; greatest && n < s->count; n++) slot_words(s, n)[greatest] = (uint64_t)INT64_MIN;
  }
}

/* ---- results ---- */

static uint64_t count_of(const GroupColumn *column, const GroupSlots *s, const SlotColumn *c, const uint64_t *words) {
  return column->nullable ? words[c->at] >> c->sum_bits : words[0] >> s->rows_shift;
}

static Int128 sum_of(const SlotColumn *c, uint64_t count, uint64_t word) {
  __extension__ __int128 sum = (__int128)c->base * (int64_t)count;
  sum += c->sum_bits < 64 ? word & ((UINT64_C(1) << c->sum_bits) - 1) : word;
  return (Int128){ (uint64_t)sum, (int64_t)(sum >> 64) };
}

/* Where the words of some groups begin. */
static void words_of(const GroupSlots *s, const uint32_t *numbers, uint32_t count, const uint64_t **words) {
  bool in_order = are_in_order(s);
  for (uint32_t i = 0; in_order && i < count; i++) words[i] = s->words + (size_t)numbers[i] * s->stride;
  for (uint32_t i = 0; !in_order && i < count; i++) words[i] = s->words + s->keys[numbers[i]];
}

void group_slots_sums(const Groups *g, const uint32_t *numbers, uint32_t count, size_t column, Int128 *sums,
                      uint8_t *nulls) {
  const SlotColumn *c = &g->slots.columns[column];
  bool nullable = g->columns[column].nullable;
  uint32_t counted_at = nullable ? c->at : 0;
  unsigned shift = nullable ? c->sum_bits : g->slots.rows_shift;
  uint64_t sum_mask = c->sum_bits < 64 ? (UINT64_C(1) << c->sum_bits) - 1 : UINT64_MAX;
  const uint64_t *words[BLOCK_ROWS];
  words_of(&g->slots, numbers, count, words);
  for (uint32_t i = 0; i < count; i++) {
    uint64_t values = words[i][counted_at] >> shift;
    __extension__ __int128 sum = (__int128)c->base * (int64_t)values + (words[i][c->at] & sum_mask);
    nulls[i] = values == 0;
    sums[i] = (Int128){ (uint64_t)sum, (int64_t)(sum >> 64) };
  }
}

void group_slots_counts(const Groups *g, const uint32_t *numbers, uint32_t count, size_t column, uint64_t *counts) {
  bool nullable = column != GROUP_SLOTS_ROWS && g->columns[column].nullable;
  uint32_t at = nullable ? g->slots.columns[column].at : 0;
  unsigned shift = nullable ? g->slots.columns[column].sum_bits : g->slots.rows_shift;
  const uint64_t *words[BLOCK_ROWS];
  words_of(&g->slots, numbers, count, words);
  for (uint32_t i = 0; i < count; i++) counts[i] = words[i][at] >> shift;
}

void group_slots_state(const Groups *g, uint32_t number, GroupWord *state) {
  const GroupSlots *s = &g->slots;
  const uint64_t *words = slot_words(s, number);
  memset(state, 0, g->stride * sizeof *state);
  state[GROUP_ROWS].u = words[0] >> s->rows_shift;
  for (size_t i = 0; i < g->column_count; i++) {
    const GroupColumn *column = &g->columns[i];
    const SlotColumn *c = &s->columns[i];
    uint64_t count = count_of(column, s, c, words);
    Int128 sum = sum_of(c, count, words[c->at]);
    if (column->nullable) state[column->count].u = count;
    if (column->wants & GROUP_SUM) state[column->sum].u = sum.low, state[column->sum + 1].i = sum.high;
    if (column->wants & GROUP_LEAST) state[column->least].u = words[c->least];
    if (column->wants & GROUP_GREATEST) state[column->greatest].u = words[c->greatest];
  }
}

/* ---- to states ---- */

/* The groups that `count` slots from `at` on become, in scratch->groups. */
static Status groups_of(Groups *g, uint32_t at, uint32_t count) {
  GroupScratch *scratch = g->scratch;
  uint32_t *groups = scratch->groups;
  if (g->slots.mode == SLOTS_IDS) {
    for (uint32_t i = 0; i < count; i++) groups[i] = at + i;
    return groups_extend(g, at + count);
  }
  if (g->slots.mode != SLOTS_DIGITS) {
    for (uint32_t i = 0; i < count; i++) scratch->words[i] = (uint64_t)group_slots_image(g, at + i);
    TRY(key_column_add_images(g, &g->keys[0], (const int64_t *)scratch->words, count, groups));
    return groups_extend(g, key_column_count(&g->keys[0]));
  }
  for (uint32_t i = 0; i < count; i++) groups[i] = group_slots_id(g, at + i, 0);
  for (size_t k = 1; k < g->key_count; k++) {
    for (uint32_t i = 0; i < count; i++) scratch->words[i] = (uint64_t)groups[i] << 32 | group_slots_id(g, at + i, k);
    TRY(id_map_add(&g->pairs[k], scratch->words, count, false, groups));
  }
  return groups_extend(g, g->pairs[g->key_count - 1].count);
}

static void copy_slots(GroupSlots *s, const SlotCopy *c) {
  memcpy(s->keys + c->to, c->keys, c->count * sizeof *s->keys);
  memcpy(s->words + (size_t)c->to * s->stride, c->words, (size_t)c->count * s->stride * sizeof *s->words);
}

void group_slots_copy(GroupSlots *s) {
  for (size_t i = 0; i < s->copy_count; i++) copy_slots(s, &s->copies[i]);
  s->copy_count = 0;
}

Status group_slots_leave(Groups *g) {
  GroupSlots *s = &g->slots;
  group_slots_copy(s);
  for (uint32_t at = 0; at < s->count;) {
    uint32_t count = s->count - at < BLOCK_ROWS ? s->count - at : BLOCK_ROWS;
    TRY(groups_of(g, at, count));
    for (uint32_t i = 0; i < count; i++) group_slots_state(g, at + i, group_state(g, g->scratch->groups[i]));
    at += count;
  }
  if (s->count) COUNT(group_slots_left);
  group_slots_release(g);
  return KVSTORE_OK;
}

/* ---- rows ---- */

/* Adds to the words at `offsets`, `step` and a number each. */
static void add_steps(uint64_t *words, const uint32_t *offsets, const int64_t *numbers, uint64_t step, uint32_t count) {
#pragma GCC unroll 4
  for (uint32_t i = 0; i < count; i++) words[offsets[i]] += (uint64_t)numbers[i] + step;
}

/* The same where words are far. */
static void add_far_steps(uint64_t *words, const uint32_t *offsets, const int64_t *numbers, uint64_t step,
                          uint32_t count) {
  uint32_t asked = count > AHEAD ? count - AHEAD : 0;
#pragma GCC unroll 4
  for (uint32_t i = 0; i < asked; i++) {
    __builtin_prefetch(&words[offsets[i + AHEAD]], 1);
    words[offsets[i]] += (uint64_t)numbers[i] + step;
  }
  add_steps(words, offsets + asked, numbers + asked, step, count - asked);
}

/* Without numbers. */
static void add_ones(uint64_t *words, const uint32_t *offsets, uint64_t step, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) words[offsets[i]] += step;
}

/* The same, of the first word, from one row to another; notes the offsets of those that were zero. How many were. */
static inline __attribute__((always_inline)) uint32_t meet(uint64_t *words, const uint32_t *offsets,
                                                           const int64_t *numbers, uint64_t step, uint32_t from,
                                                           uint32_t to, int64_t *met, bool asks) {
  uint32_t found = 0;
#pragma GCC unroll 4
  for (uint32_t i = from; i < to; i++) {
    if (asks) __builtin_prefetch(&words[offsets[i + AHEAD]], 1);
    uint64_t before = words[offsets[i]];
    words[offsets[i]] = before + step + (uint64_t)numbers[i];
    if (UNLIKELY(!before)) met[found++] = offsets[i];
  }
  return found;
}

/* Of words that lie anywhere the second cache has no room for all. */
static bool are_far(const GroupSlots *s) { return s->word_capacity * sizeof *s->words > FAR_BYTES; }

/* Those of a window are asked for ahead; of digits few are in use. */
static uint32_t meet_steps(const GroupSlots *s, const uint32_t *offsets, const int64_t *numbers, uint64_t step,
                           uint32_t count, int64_t *met) {
  uint32_t asked = s->mode == SLOTS_WINDOW && are_far(s) && count > AHEAD ? count - AHEAD : 0;
  uint32_t found = meet(s->words, offsets, numbers, step, 0, asked, met, true);
  return found + meet(s->words, offsets, numbers, step, asked, count, met + found, false);
}

static uint32_t meet_ones(uint64_t *words, const uint32_t *offsets, uint64_t step, uint32_t count, int64_t *met) {
  uint32_t found = 0;
#pragma GCC unroll 4
  for (uint32_t i = 0; i < count; i++) {
    uint64_t before = words[offsets[i]];
    words[offsets[i]] = before + step;
    if (UNLIKELY(!before)) met[found++] = offsets[i];
  }
  return found;
}

static void add_extremes(uint64_t *words, const SlotColumn *c, const uint32_t *offsets, const int64_t *numbers,
                         uint32_t count) {
  for (uint32_t i = 0; c->least && i < count; i++) {
    uint64_t *word = &words[offsets[i] + c->least];
    if (numbers[i] < (int64_t)*word) *word = (uint64_t)numbers[i];
  }
  for (uint32_t i = 0; c->greatest && i < count; i++) {
    uint64_t *word = &words[offsets[i] + c->greatest];
    if (numbers[i] > (int64_t)*word) *word = (uint64_t)numbers[i];
  }
}

/* Rows whose value is not null, in place: their offsets are in scratch->some. */
static uint32_t drop_nulls(GroupScratch *s, const uint8_t *nulls, const int64_t **numbers, uint32_t count) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < count; i++) {
    s->some[kept] = s->groups[i];
    s->images[kept] = (*numbers)[i];
    kept += !nulls[i];
  }
  *numbers = s->images;
  return kept;
}

const int64_t *group_slots_numbers(const Groups *g, ColumnType type, const void *values, uint32_t count) {
  if (type_storage(type) == TYPE_I64) return values;
  group_images(type, values, count, g->scratch->images);
  return g->scratch->images;
}

/* A column of the rows as numbers. */
static Status read_numbers(Groups *g, uint32_t index, Scan *scan, uint32_t block, uint32_t count,
                           const int64_t **numbers, const uint8_t **nulls) {
  const GroupColumn *column = &g->columns[index];
  const void *values;
  TRY(groups_read(g, scan, column->column, block, count, &values, nulls));
  *numbers = group_slots_numbers(g, column->type, values, count);
  return KVSTORE_OK;
}

static Status add_column(Groups *g, uint32_t index, Scan *scan, uint32_t block, uint32_t count) {
  GroupScratch *scratch = g->scratch;
  GroupSlots *s = &g->slots;
  const GroupColumn *column = &g->columns[index];
  const SlotColumn *c = &s->columns[index];
  const uint32_t *offsets = scratch->groups;
  const int64_t *numbers;
  const uint8_t *nulls;
  TRY(read_numbers(g, index, scan, block, count, &numbers, &nulls));
  if (nulls) {
    count = drop_nulls(scratch, nulls, &numbers, count);
    offsets = scratch->some;
  }
  bool is_summed = column->wants & GROUP_SUM;
  uint64_t one = c->sum_bits < 64 ? UINT64_C(1) << c->sum_bits : 0;
  if (is_summed && c->at)
    add_steps(s->words + c->at, offsets, numbers, one - (uint64_t)c->base, count);
  else if (column->nullable)
    add_ones(s->words + c->at, offsets, one, count);
  add_extremes(s->words, c, offsets, numbers, count);
  return KVSTORE_OK;
}

/* The column whose sum stands below the rows; column_count: none. */
static uint32_t first_column(const Groups *g) {
  uint32_t i = 0;
  for (; i < g->column_count; i++) {
    if (g->columns[i].wants & GROUP_SUM && !g->slots.columns[i].at) break;
  }
  return i;
}

static Status add_rows(Groups *g, Scan *scan, uint32_t block, uint32_t count) {
  GroupScratch *scratch = g->scratch;
  GroupSlots *s = &g->slots;
  const int64_t *numbers = NULL;
  const uint8_t *nulls;
  uint64_t step = UINT64_C(1) << s->rows_shift;
  uint32_t first = first_column(g);
  const uint32_t *offsets = scratch->groups;
  if (first < g->column_count) {
    TRY(read_numbers(g, first, scan, block, count, &numbers, &nulls));
    step -= (uint64_t)s->columns[first].base;
  }
  if (are_in_order(s)) {
    if (numbers && s->mode == SLOTS_IDS && are_far(s))
      add_far_steps(s->words, offsets, numbers, step, count);
    else if (numbers)
      add_steps(s->words, offsets, numbers, step, count);
    else
      add_ones(s->words, offsets, step, count);
    return KVSTORE_OK;
  }
  TRY(group_slots_reserve(g, count));
  int64_t *met = s->keys + s->count;
  s->count +=
    numbers ? meet_steps(s, offsets, numbers, step, count, met) : meet_ones(s->words, offsets, step, count, met);
  return KVSTORE_OK;
}

/* Whether the numbers to be summed up lie where words have room for them. */
static Status are_near(Groups *g, Scan *scan, uint32_t block, uint32_t count, bool *near) {
  const int64_t *numbers;
  const uint8_t *nulls;
  for (uint32_t i = 0; *near && i < g->column_count; i++) {
    const SlotColumn *c = &g->slots.columns[i];
    if (!(g->columns[i].wants & GROUP_SUM)) continue;
    TRY(read_numbers(g, i, scan, block, count, &numbers, &nulls));
    for (uint32_t row = 0; row < count; row++)
      *near &= (uint64_t)numbers[row] - (uint64_t)c->base <= c->range || (nulls && nulls[row]);
  }
  return KVSTORE_OK;
}

Status group_slots_are_near(Groups *g, Scan *scan, uint32_t block, bool *near) {
  *near = true;
  if (scan_selection(scan)->unit->kind == SCAN_UNIT_SEGMENT) return KVSTORE_OK;
  return are_near(g, scan, block, groups_block_rows(g, scan, block), near);
}

/* All but the first column's sum, which stands with the rows. */
static Status add_columns(Groups *g, Scan *scan, uint32_t block, uint32_t count) {
  uint32_t first = first_column(g);
  for (uint32_t i = 0; i < g->column_count; i++) {
    uint32_t wants = g->columns[i].wants;
    if (i == first) wants &= ~(uint32_t)GROUP_SUM;
    if (wants) TRY(add_column(g, i, scan, block, count));
  }
  return KVSTORE_OK;
}

Status group_slots_add_found(Groups *g, Scan *scan, uint32_t block, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) g->scratch->groups[i] *= g->slots.stride;
  TRY(add_rows(g, scan, block, count));
  return add_columns(g, scan, block, count);
}

static Status add_block(Groups *g, Scan *scan, uint32_t block, bool *done) {
  TRY(group_slots_are_near(g, scan, block, done));
  if (!*done) return KVSTORE_OK;
  uint32_t count = groups_block_rows(g, scan, block), before = g->slots.count;
  TRY(group_slots_find(g, scan, block, count, done));
  if (!*done) return KVSTORE_OK;
  TRY(add_rows(g, scan, block, count));
  if (!group_slots_by_ids(g)) group_slots_clear_extremes(g, before);
  return add_columns(g, scan, block, count);
}

/* Ids grow with the groups, so that blocks are asked whether they may. */
Status group_slots_add(Groups *g, Scan *scan, uint64_t *left) {
  for (*left = scan_selection(scan)->blocks; *left; *left &= *left - 1) {
    bool done;
    if (group_slots_by_ids(g) && groups_outgrow_slots(g)) return group_slots_leave(g);
    TRY(add_block(g, scan, (uint32_t)__builtin_ctzll(*left), &done));
    if (!done) return group_slots_leave(g);
  }
  switch (g->slots.mode) {
  case SLOTS_IDS: COUNT(groups_ids_units); break;
  case SLOTS_DIGITS: COUNT(groups_digits_units); break;
  case SLOTS_WINDOW: COUNT(groups_window_units); break;
  default: COUNT(groups_ascending_units); break;
  }
  return KVSTORE_OK;
}

/* ---- parts ---- */

static void merge_words(const Groups *g, uint64_t *to, const uint64_t *from) {
  const GroupSlots *s = &g->slots;
  to[0] += from[0];
  for (size_t i = 0; i < g->column_count; i++) {
    const SlotColumn *c = &s->columns[i];
    if (c->at) to[c->at] += from[c->at];
    if (c->least && (int64_t)from[c->least] < (int64_t)to[c->least]) to[c->least] = from[c->least];
    if (c->greatest && (int64_t)from[c->greatest] > (int64_t)to[c->greatest]) to[c->greatest] = from[c->greatest];
  }
}

static Status take_slot(Groups *g, Groups *part, uint32_t number, bool *done) {
  GroupSlots *s = &g->slots;
  int64_t key;
  uint32_t at; /* where it is, or would be */
  TRY(group_slots_make_fit(g, part, number, &key, &at, done));
  if (!*done) return KVSTORE_OK;
  TRY(group_slots_reserve(g, 1));
  const uint64_t *from = slot_words(&part->slots, number);
  if (at == s->count) s->keys[at] = key;
  uint64_t *to = slot_words(s, at);
  bool is_new = s->mode == SLOTS_ASCENDING ? at == s->count : to[0] == 0;
  if (is_new) {
    memcpy(to, from, s->stride * sizeof *to);
    s->count++;
  } else {
    merge_words(g, to, from);
  }
  return KVSTORE_OK;
}

/* The same of two windows, which are of the same keys. */
static Status take_windows(Groups *g, const Groups *part, uint32_t from, uint32_t to) {
  GroupSlots *s = &g->slots;
  TRY(group_slots_reserve(g, to - from));
  for (uint32_t n = from; n < to; n++) {
    int64_t at = part->slots.keys[n];
    uint64_t *words = s->words + at;
    if (words[0]) {
      merge_words(g, words, part->slots.words + at);
      continue;
    }
    memcpy(words, part->slots.words + at, s->stride * sizeof *words);
    s->keys[s->count++] = at;
  }
  return KVSTORE_OK;
}

/* ---- windows as a whole ---- */

static uint64_t window_words(const GroupSlots *s) { return s->window * s->stride; }

static bool has_extremes(const Groups *g) {
  for (size_t i = 0; i < g->column_count; i++)
    if (g->slots.columns[i].least || g->slots.columns[i].greatest) return true;
  return false;
}

/* Slots of a window lie anywhere, in the order in which their keys were met. Where enough of them are in use their
 * words are added one after the other instead, and of keys it is asked by a bit whether they are new. */
Status groups_begin_merge(Groups *g, Groups *const *parts, uint32_t count) {
  GroupSlots *s = &g->slots;
  uint64_t used = s->count;
  if (s->mode != SLOTS_WINDOW || has_extremes(g)) return KVSTORE_OK;
  for (uint32_t i = 0; i < count; i++) {
    if (!parts[i]->unit_number) continue;
    if (parts[i]->slots.mode != SLOTS_WINDOW) return KVSTORE_OK;
    used += parts[i]->slots.count;
  }
  if (s->window / SLOTS_A_KEY > used) return KVSTORE_OK;
  s->seen = memory_allocate_zeroed(memory_array_size((size_t)(window_words(s) / 64 + 1), sizeof *s->seen));
  if (!s->seen) return status_nomem();
  for (uint32_t n = 0; n < s->count; n++) s->seen[s->keys[n] / 64] |= UINT64_C(1) << (s->keys[n] % 64);
  return KVSTORE_OK;
}

static Status number_window(Groups *g, const Groups *part, uint32_t from, uint32_t to) {
  GroupSlots *s = &g->slots;
  TRY(group_slots_reserve(g, to - from));
  uint32_t count = s->count;
  for (uint32_t n = from; n < to; n++) {
    int64_t at = part->slots.keys[n];
    uint64_t bit = UINT64_C(1) << (at % 64), *word = &s->seen[at / 64];
    s->keys[count] = at;
    count += !(*word & bit);
    *word |= bit;
  }
  s->count = count;
  return KVSTORE_OK;
}

typedef struct Join {
  Groups *groups;
  Groups *const *parts;
  uint32_t count;
  _Atomic uint64_t word; /* of the windows, that nobody has taken yet */
  _Atomic size_t copy;
} Join;

static void add_words(uint64_t *restrict to, const uint64_t *from, uint64_t count) {
  for (uint64_t i = 0; i < count; i++) to[i] += from[i];
}

/* Piece by piece, all parts of one after the other. */
static void add_pieces(Join *join) {
  uint64_t at, words = window_words(&join->groups->slots);
  while ((at = atomic_fetch_add_explicit(&join->word, PIECE_WORDS, memory_order_relaxed)) < words) {
    uint64_t count = words - at < PIECE_WORDS ? words - at : PIECE_WORDS;
    for (uint32_t i = 0; i < join->count; i++) {
      const Groups *part = join->parts[i];
      if (part->unit_number) add_words(join->groups->slots.words + at, part->slots.words + at, count);
    }
  }
}

static void join_pieces(void *context, uint32_t member) {
  Join *join = context;
  GroupSlots *s = &join->groups->slots;
  size_t at;
  (void)member;
  if (s->seen) add_pieces(join);
  while ((at = atomic_fetch_add_explicit(&join->copy, 1, memory_order_relaxed)) < s->copy_count)
    copy_slots(s, &s->copies[at]);
}

Status groups_join_parts(Groups *g, Groups *const *parts, uint32_t count) {
  Join join = { .groups = g, .parts = parts, .count = count };
  GroupSlots *s = &g->slots;
  if (!s->seen && !s->copy_count) return KVSTORE_OK;
  TRY(query_share_out(count, join_pieces, &join));
  if (s->seen) COUNT(group_windows_added);
  if (s->copy_count) COUNT(group_slots_copied);
  s->copy_count = 0;
  return KVSTORE_OK;
}

/* The same of ids, whatever they are in either. Where there is no room for slots *from is the group that finds none. */
static Status take_ids(Groups *g, const Groups *part, uint32_t *from, uint32_t to, bool *done) {
  GroupSlots *s = &g->slots;
  uint32_t own[BLOCK_ROWS];
  for (uint32_t count; *from < to; *from += count) {
    count = to - *from < BLOCK_ROWS ? to - *from : BLOCK_ROWS;
    TRY(group_part_numbers(g, part, *from, count, own));
    TRY(group_slots_extend(g, group_numbers_end(g), done));
    if (!*done) return KVSTORE_OK;
    for (uint32_t i = 0; i < count; i++) {
      if (i + AHEAD < count) __builtin_prefetch(slot_words(s, own[i + AHEAD]), 1);
      merge_words(g, slot_words(s, own[i]), slot_words(&part->slots, *from + i));
    }
  }
  return KVSTORE_OK;
}

/* The first and the last slot are copied at once, for the slots of the next units stand beside them. */
static Status put_off(GroupSlots *s, SlotCopy c) {
  if (!c.count) return KVSTORE_OK;
  SlotCopy first = c,
           last = { c.keys + c.count - 1, c.words + (size_t)(c.count - 1) * s->stride, c.to + c.count - 1, 1 };
  first.count = 1;
  copy_slots(s, &first);
  copy_slots(s, &last);
  s->count += c.count;
  if (c.count <= 2) return KVSTORE_OK;
  TRY(memory_grow(&s->copies, &s->copy_capacity, s->copy_count + 1, sizeof *s->copies));
  s->copies[s->copy_count++] = (SlotCopy){ c.keys + 1, c.words + s->stride, c.to + 1, c.count - 2 };
  return KVSTORE_OK;
}

/* The same of keys that ascend, as many as stand behind all that are there; *from is the first of the others. */
static Status take_ascending(Groups *g, const Groups *part, uint32_t *from, uint32_t to) {
  GroupSlots *s = &g->slots;
  uint32_t own;
  const int64_t *keys = part->slots.keys + *from;
  if (!group_slots_ascend(s, keys, to - *from, &own) || own == 0) return KVSTORE_OK;
  const uint64_t *words = slot_words(&part->slots, *from);
  *from += own;
  TRY(group_slots_reserve(g, own));
  if (s->count > s->piece_first && keys[0] == s->keys[s->count - 1]) {
    merge_words(g, slot_words(s, s->count - 1), words);
    keys++;
    words += s->stride;
    own--;
  }
  return put_off(s, (SlotCopy){ keys, words, s->count, own });
}

static bool are_both(const Groups *g, const Groups *part, SlotsMode mode) {
  return g->slots.mode == mode && part->slots.mode == mode;
}

Status group_slots_take(Groups *g, Groups *part, uint32_t *from, uint32_t to) {
  uint32_t before = g->key_count == 1; /* of null: it is not in a slot */
  if (g->slots.seen) {
    if (*from < to) TRY(number_window(g, part, *from < before ? 0 : *from - before, to - before));
    *from = to;
    return KVSTORE_OK;
  }
  bool done = group_slots_in_use(g), have_ids = done && group_slots_by_ids(g) && group_slots_by_ids(part);
  if (have_ids) TRY(take_ids(g, part, from, to, &done));
  if (!have_ids && done && *from < before && *from < to) ++*from;
  if (*from >= before && *from < to && are_both(g, part, SLOTS_ASCENDING)) {
    *from -= before;
    TRY(take_ascending(g, part, from, to - before));
    *from += before;
  }
  for (; !have_ids && *from < to && done; *from += done) {
    if (*from >= before && are_both(g, part, SLOTS_WINDOW)) return take_windows(g, part, *from - before, to - before);
    if (*from >= before) TRY(take_slot(g, part, *from - before, &done));
  }
  if (done) return KVSTORE_OK;
  TRY(group_slots_leave(g));
  return group_slots_leave(part);
}
