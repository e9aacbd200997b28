/* group_slots_find.c - which slot a row has, and what stands for its key. */
#include "base/memory.h"
#include "query/groups_internal.h"
#include "query/query_internal.h"

enum {
  SLOT_WORDS_MAX = 1 << 24, /* 128 MiB, of which only what is used gets touched */
  DIGIT_WORDS_MAX = 1 << 21,
  DIGIT_GAP =
    8, /* words between digits: at powers of two all groups of one key would share a few lines of the caches */
  WINDOW_MORE = 8,
  WINDOW_SPARSE = 8,      /* slots for each row, at most, */
  WINDOW_SPARSER = 16,    /* or so many where that is not much: a map of the keys takes longer than clearing them */
  WINDOW_SMALL = 1 << 22, /* words */
  LIMIT_SHARE = 8,        /* slots that may stay empty take at most such a part of the memory */
  DIGIT_CODES = 1024      /* combinations: fewer go by arrays of each unit */
};
#define OFFSETS_END (UINT64_C(1) << 31) /* offsets of words are uint32_t */

/* ---- what may be ---- */

static bool has_room(const Groups *g, uint64_t words) {
  return !g->space || words * sizeof *g->slots.words <= g->space->memory_limit / LIMIT_SHARE;
}

/* Whether there may be a window, once keys do not ascend. */
static void measure_window(Groups *g) {
  GroupSlots *s = &g->slots;
  int64_t low, high;
  if (!groups_zone(g, g->keys[0].column, &low, &high)) return;
  int64_t more = (int64_t)(((uint64_t)high - (uint64_t)low) / WINDOW_MORE); /* rows in memory may have larger ones */
  if (__builtin_add_overflow(high, more, &high)) high = INT64_MAX;
  uint64_t range = (uint64_t)high - (uint64_t)low, rows = query_snapshot_rows(g->snapshot);
  uint64_t sparse = range < WINDOW_SMALL / s->stride ? WINDOW_SPARSER : WINDOW_SPARSE;
  if (range >= SLOT_WORDS_MAX / s->stride || range >= sparse * rows) return;
  if (!has_room(g, (range + 1) * s->stride)) return;
  s->first = low;
  s->window = range + 1;
}

/* Digits have room for about twice the values of the first unit. */
static bool measure_digits(Groups *g) {
  GroupSlots *s = &g->slots;
  uint64_t words = s->stride;
  for (size_t k = 0; k < g->key_count; k++) {
    SlotDigit *digit = &s->digits[k];
    for (digit->capacity = 16; digit->capacity < g->keys[k].code_count + g->keys[k].code_count / 2;)
      digit->capacity *= 2;
    digit->step = (uint32_t)words;
    words = words * digit->capacity + DIGIT_GAP;
    if (words > DIGIT_WORDS_MAX || !has_room(g, words)) return false;
  }
  s->words = memory_allocate_zeroed(memory_array_size((size_t)words, sizeof *s->words));
  if (s->words) s->word_capacity = (size_t)words;
  return s->words != NULL;
}

SlotsMode group_slots_first_mode(Groups *g) {
  uint64_t codes = 1;
  if (g->slots.by_ids) return SLOTS_IDS;
  for (size_t k = 0; k < g->key_count && codes <= GROUP_CODES_MAX; k++) codes *= g->keys[k].code_count;
  bool has_codes = codes && codes <= GROUP_CODES_MAX; /* or of no key at all */
  if (g->key_count > 1 && has_codes && codes > DIGIT_CODES && measure_digits(g)) return SLOTS_DIGITS;
  if (has_codes) return SLOTS_NONE;
  bool has_ids = g->key_count > 1 || type_is_string(g->keys[0].type) || type_is_float(g->keys[0].type);
  if (has_ids) return g->part ? SLOTS_NONE : SLOTS_IDS; /* a part whose whole has none has none */
  measure_window(g);
  return SLOTS_ASCENDING;
}

/* ---- digits ---- */

static Status begin_digit(KeyColumn *key, SlotDigit *digit, Scan *scan, bool *fits) {
  TRY(memory_grow(&digit->offsets, &digit->offset_capacity, key->code_count, sizeof *digit->offsets));
  for (uint32_t code = 0; code < key->code_count && *fits; code++) {
    uint32_t id;
    TRY(key_column_code(key, scan, code, &id));
    *fits = id < digit->capacity;
    digit->offsets[code] = id * digit->step;
  }
  return KVSTORE_OK;
}

Status group_slots_begin_unit(Groups *g, Scan *scan, bool *fits) {
  *fits = true;
  if (g->slots.mode != SLOTS_DIGITS) return KVSTORE_OK;
  for (size_t k = 0; k < g->key_count && *fits; k++) {
    *fits = g->keys[k].code_count > 0;
    if (*fits) TRY(begin_digit(&g->keys[k], &g->slots.digits[k], scan, fits));
  }
  return KVSTORE_OK;
}

/* The first two, side by side: each step of its own would write all offsets and read them again. */
static void two_digits(const GroupScratch *s, const SlotDigit *digits, uint32_t count, uint32_t *restrict offsets) {
  const uint32_t *first = digits[0].offsets, *second = digits[1].offsets;
  if (!s->is_whole)
    for (uint32_t i = 0; i < count; i++) offsets[i] = first[s->codes[s->rows[i]]] + second[s->more_codes[s->rows[i]]];
  else
#pragma GCC unroll 8
    for (uint32_t i = 0; i < count; i++) offsets[i] = first[s->codes[i]] + second[s->more_codes[i]];
}

static void next_digit(const GroupScratch *s, const uint32_t *of, uint32_t count, uint32_t *restrict offsets) {
  const uint16_t *codes = s->codes;
  if (!s->is_whole)
    for (uint32_t i = 0; i < count; i++) offsets[i] += of[codes[s->rows[i]]];
  else
#pragma GCC unroll 8
    for (uint32_t i = 0; i < count; i++) offsets[i] += of[codes[i]];
}

/* Of two keys or more. */
static Status find_by_digits(Groups *g, Scan *scan, uint32_t block, uint32_t count) {
  GroupScratch *scratch = g->scratch;
  const SlotDigit *digits = g->slots.digits;
  TRY(scan_read_codes(scan, g->keys[0].column, block, scratch->codes));
  TRY(scan_read_codes(scan, g->keys[1].column, block, scratch->more_codes));
  two_digits(scratch, digits, count, scratch->groups);
  for (size_t k = 2; k < g->key_count; k++) {
    TRY(scan_read_codes(scan, g->keys[k].column, block, scratch->codes));
    next_digit(scratch, digits[k].offsets, count, scratch->groups);
  }
  return KVSTORE_OK;
}

uint32_t group_slots_id(const Groups *g, uint32_t number, size_t key) {
  uint32_t offset = (uint32_t)g->slots.keys[number];
  for (size_t k = g->key_count - 1; k > key; k--) offset %= g->slots.digits[k].step;
  return offset / g->slots.digits[key].step;
}

/* ---- numbers ---- */

static bool ascend(const int64_t *keys, uint32_t count) {
  uint32_t falls = 0;
#pragma GCC unroll 8
  for (uint32_t i = 1; i < count; i++) falls |= keys[i] < keys[i - 1];
  return !falls;
}

/* The key of the last group of the current piece; it has none yet: the least there is. */
static int64_t last_key(const GroupSlots *s) { return s->count > s->piece_first ? s->keys[s->count - 1] : INT64_MIN; }

/* Runs stand in the order of their age, so that keys that ascend in a table may begin anew. A piece of them may lie
 * between those before; where it reaches the next one, that one's first group goes on. False: it lies within one, or
 * there are too many. */
static bool begin_piece(GroupSlots *s, int64_t key) {
  if (s->piece_count == SLOTS_PIECES_MAX) return false;
  s->pieces[s->piece_count++] = (SlotsPiece){ s->keys[s->piece_first], s->keys[s->count - 1], s->piece_first };
  s->next = NULL;
  for (uint32_t i = 0; i < s->piece_count; i++) {
    const SlotsPiece *p = &s->pieces[i];
    if (key >= p->first && key <= p->last) return false;
    if (key < p->first && (!s->next || p->first < s->next->first)) s->next = p;
  }
  s->piece_first = s->count;
  return true;
}

/* How many of ascending keys lie in the current piece, which a lesser first one begins; all others are the next piece's
 * first. False: that cannot be. */
static bool divide(GroupSlots *s, const int64_t *keys, uint32_t count, uint32_t *own) {
  *own = count;
  if (keys[0] < last_key(s) && !begin_piece(s, keys[0])) return false;
  if (!s->next) return true;
  while (*own && keys[*own - 1] == s->next->first) --*own;
  return *own == 0 || keys[*own - 1] < s->next->first;
}

bool group_slots_ascend(GroupSlots *s, const int64_t *keys, uint32_t count, uint32_t *own) {
  return ascend(keys, count) && divide(s, keys, count, own);
}

/* The offsets of ascending keys; the words of new ones are zero. */
static Status find_ascending(Groups *g, const int64_t *keys, uint32_t count, uint32_t *offsets) {
  GroupSlots *s = &g->slots;
  uint32_t before = s->count, stride = s->stride;
  if (count == 0) return KVSTORE_OK;
  TRY(group_slots_reserve(g, count));
  bool is_first = before == s->piece_first;
  uint32_t number = is_first ? before : before - 1;
  int64_t *met = s->keys;
  number += !is_first && keys[0] != met[number];
  met[number] = keys[0];
  offsets[0] = number * stride;
#pragma GCC unroll 4
  for (uint32_t i = 1; i < count; i++) {
    number += keys[i] != keys[i - 1];
    met[number] = keys[i];
    offsets[i] = number * stride;
  }
  s->count = number + 1;
  memset(s->words + (size_t)before * stride, 0, (size_t)(s->count - before) * stride * sizeof *s->words);
  return KVSTORE_OK;
}

/* False: a key lies outside of the window. */
static bool find_in_window(const GroupSlots *s, const int64_t *keys, uint32_t count, uint32_t *offsets) {
  uint64_t most = 0, first = (uint64_t)s->first;
  uint32_t stride = s->stride;
  for (uint32_t i = 0; i < count; i++) {
    uint64_t slot = (uint64_t)keys[i] - first;
    most = slot > most ? slot : most;
    offsets[i] = (uint32_t)slot * stride;
  }
  return most < s->window;
}

/* Whether a window is worth being cleared: one for many more numbers than rows only where most of them are selected. */
static bool is_worth_it(const Groups *g, Scan *scan) {
  const ScanSelection *selection = scan_selection(scan);
  if (g->slots.window <= WINDOW_SPARSE * query_snapshot_rows(g->snapshot)) return true;
  return 2 * selection->row_count >= selection->unit->row_count;
}

/* Slots by number become slots by key. *done is false where there cannot be a window. */
static Status to_window(GroupSlots *s, bool *done) {
  *done = false;
  if (!s->window) return KVSTORE_OK;
  group_slots_copy(s);
  for (uint32_t n = 0; n < s->count; n++) {
    if ((uint64_t)s->keys[n] - (uint64_t)s->first >= s->window) return KVSTORE_OK;
  }
  size_t words = (size_t)s->window * s->stride;
  uint64_t *window = memory_allocate_zeroed(memory_array_size(words, sizeof *window));
  if (!window) return status_nomem();
  for (uint32_t n = 0; n < s->count; n++) {
    s->keys[n] = (int64_t)(((uint64_t)s->keys[n] - (uint64_t)s->first) * s->stride);
    memcpy(window + s->keys[n], s->words + (size_t)n * s->stride, s->stride * sizeof *window);
  }
  memory_release(s->words);
  s->words = window;
  s->word_capacity = words;
  s->mode = SLOTS_WINDOW;
  *done = true;
  return KVSTORE_OK;
}

static Status find_by_number(Groups *g, Scan *scan, uint32_t block, uint32_t count, bool *done) {
  GroupSlots *s = &g->slots;
  const int64_t *keys;
  const void *values;
  const uint8_t *nulls;
  *done = false;
  TRY(groups_read(g, scan, g->keys[0].column, block, count, &values, &nulls));
  if (nulls) return KVSTORE_OK;
  keys = group_slots_numbers(g, g->keys[0].type, values, count);
  if (s->mode == SLOTS_ASCENDING) {
    bool fits = ((uint64_t)s->count + count) * s->stride < OFFSETS_END;
    uint32_t own = 0, *offsets = g->scratch->groups;
    *done = fits && group_slots_ascend(s, keys, count, &own);
    for (uint32_t i = own; *done && i < count; i++) offsets[i] = s->next->number * s->stride;
    if (*done) return find_ascending(g, keys, own, offsets);
    *done = is_worth_it(g, scan);
    if (*done) TRY(to_window(s, done));
    if (!*done) return KVSTORE_OK;
  }
  *done = find_in_window(s, keys, count, g->scratch->groups);
  return KVSTORE_OK;
}

/* ---- ids ---- */

Status group_slots_extend(Groups *g, uint32_t count, bool *fits) {
  GroupSlots *s = &g->slots;
  *fits = (uint64_t)count * s->stride < OFFSETS_END;
  if (count <= s->count || !*fits) return KVSTORE_OK;
  TRY(group_slots_reserve(g, count - s->count));
  memset(s->words + (size_t)s->count * s->stride, 0, (size_t)(count - s->count) * s->stride * sizeof *s->words);
  uint32_t from = s->count;
  s->count = count;
  group_slots_clear_extremes(g, from);
  return KVSTORE_OK;
}

static Status find_by_ids(Groups *g, Scan *scan, uint32_t block, uint32_t count, bool *done) {
  uint32_t most, *offsets = g->scratch->groups, stride = g->slots.stride;
  TRY(groups_number(g, scan, block, count, &most));
  TRY(group_slots_extend(g, most, done));
  for (uint32_t i = 0; *done && i < count; i++) offsets[i] *= stride;
  return KVSTORE_OK;
}

Status group_slots_find(Groups *g, Scan *scan, uint32_t block, uint32_t count, bool *done) {
  if (g->slots.mode == SLOTS_IDS) return find_by_ids(g, scan, block, count, done);
  if (g->slots.mode != SLOTS_DIGITS) return find_by_number(g, scan, block, count, done);
  *done = true;
  return find_by_digits(g, scan, block, count);
}

/* ---- keys of a part ---- */

int64_t group_slots_image(const Groups *g, uint32_t number) {
  const GroupSlots *s = &g->slots;
  if (s->mode == SLOTS_ASCENDING) return s->keys[number];
  return (int64_t)((uint64_t)s->first + (uint32_t)s->keys[number] / s->stride); /* offsets are so short */
}

void group_slots_images(const Groups *g, const uint32_t *numbers, uint32_t count, uint64_t *images) {
  const GroupSlots *s = &g->slots;
  bool ascend = s->mode == SLOTS_ASCENDING;
  for (uint32_t i = 0; ascend && i < count; i++) images[i] = (uint64_t)s->keys[numbers[i]];
  for (uint32_t i = 0; !ascend && i < count; i++)
    images[i] = (uint64_t)s->first + (uint32_t)s->keys[numbers[i]] / s->stride;
}

static Status digits_of(Groups *g, Groups *part, uint32_t number, int64_t *key, bool *fits) {
  *key = 0;
  for (size_t k = 0; k < g->key_count; k++) {
    uint32_t id;
    TRY(group_part_key(g, part, k, group_slots_id(part, number, k), &id));
    *fits = *fits && id < g->slots.digits[k].capacity;
    *key += (int64_t)id * g->slots.digits[k].step;
  }
  return KVSTORE_OK;
}

Status group_slots_make_fit(Groups *g, Groups *part, uint32_t number, int64_t *key, uint32_t *at, bool *fits) {
  GroupSlots *s = &g->slots;
  *fits = true;
  *at = s->count;
  if (s->mode == SLOTS_DIGITS) return digits_of(g, part, number, key, fits);
  *key = group_slots_image(part, number);
  if (s->mode == SLOTS_ASCENDING) {
    uint32_t own = 0;
    if (divide(s, key, 1, &own)) {
      if (!own)
        *at = s->next->number;
      else if (s->count > s->piece_first && *key == s->keys[s->count - 1])
        --*at;
      return KVSTORE_OK;
    }
    TRY(to_window(s, fits));
  }
  uint64_t slot = (uint64_t)*key - (uint64_t)s->first;
  *fits = *fits && slot < s->window;
  *key = (int64_t)(slot * s->stride);
  return KVSTORE_OK;
}
