/* group_merge.c - groups that several threads have made parts of.
 *
 * A part has ids and groups of its own. It notes where each unit ended: a unit's new groups are taken over in the order
 * of units, so that groups are numbered as one thread would have, and what depends on the order of units (float sums,
 * variances) stands apart for each unit and group, and is added in that order too: QRY-6. All else is merged at the
 * end. Groups in slots (group_slots.c) are taken over whole, with the unit that has their first row. */
#include "base/counters.h"
#include "base/memory.h"
#include "query/groups_internal.h"

enum {
  SHARES_OF_LIMIT = 2,    /* parts have one half, what they are merged into the other */
  GROUP_MERGED_ROWS = 16, /* rows that are added in the time in which a group is merged, all threads together */
  SLOT_MERGED_ROWS = 2,
  DIFFERENT_MERGED_ROWS = 2, /* the same of a value that one group counts once: it is looked for as that of a row */
  TEXTS_ADDED = 2, /* entries are added in the time of one row whose key is a text; of numbers as many as rows */
};

/* ---- parts ---- */

/* Texts of which quantiles are asked are sorted by the numbers of their groups. */
bool groups_divisible(const Groups *g) {
  if (g->is_full || g->spill) return false;
  for (size_t i = 0; i < g->column_count; i++) {
    if (g->columns[i].wants & GROUP_VALUES && type_is_string(g->columns[i].type)) return false;
  }
  return true;
}

bool groups_are_open(const Groups *g) { return group_slots_are_open(g); }

static uint32_t apart_words(const Groups *g) {
  uint32_t words = 1;
  for (size_t i = 0; i < g->column_count; i++) {
    const GroupColumn *c = &g->columns[i];
    words += c->wants & GROUP_SUM && type_is_float(c->type) ? 1 : 0;
    words += c->wants & GROUP_SPREAD ? SPREAD_WORDS : 0;
  }
  return words;
}

/* Each piece may have an entry of each group. */
static uint64_t unit_bytes(const Groups *g, uint64_t pieces) {
  uint64_t bytes = groups_bytes(g);
  if (g->has_order) bytes += pieces * g->state_count * apart_words(g) * sizeof(GroupWord);
  return pieces > 1 && bytes > GROUP_PART_BYTES_MIN ? bytes : GROUP_PART_BYTES_MIN;
}

uint32_t groups_parts_max(const Groups *g, uint32_t wanted, uint64_t pieces) {
  if (!g->space) return wanted;
  uint64_t most = g->space->memory_limit / (SHARES_OF_LIMIT * unit_bytes(g, pieces));
  return wanted < most ? wanted : (uint32_t)most;
}

Status groups_create_part(const Groups *g, uint32_t parts, Groups **out) {
  QuerySpace share = { 0 };
  if (g->space) share = *g->space;
  share.memory_limit /= SHARES_OF_LIMIT * (uint64_t)parts;
  uint32_t *keys = memory_allocate(memory_array_size(g->key_count, sizeof *keys));
  if (!keys) return status_nomem();
  for (size_t k = 0; k < g->key_count; k++) keys[k] = g->keys[k].column;
  Groups *part = NULL;
  Status status = groups_create(g->snapshot, keys, g->key_count, g->requests, g->request_count, NULL, &part);
  memory_release(keys);
  TRY(status);
  GroupPart *p = arena_allocate_zeroed(&part->arena, sizeof *p);
  GroupIds *ids = arena_allocate_zeroed(&part->arena, (g->key_count + g->column_count + 1) * sizeof *ids);
  if (p) p->ids = arena_allocate(&part->arena, (g->key_count + 1) * BLOCK_ROWS * sizeof *p->ids);
  if (!p || !p->ids || !ids) {
    groups_destroy(part);
    return status_nomem();
  }
  part->part = p;
  p->parts = parts;
  p->share = share;
  p->keys = ids;
  p->values = ids + g->key_count;
  p->stride = apart_words(g);
  group_slots_share(g, part);
  if (g->space) part->space = &p->share;
  *out = part;
  return KVSTORE_OK;
}

void group_part_release(Groups *part) {
  GroupPart *p = part->part;
  if (!p) return;
  memory_release(p->apart);
  memory_release(p->groups.ids);
  for (size_t i = 0; i < part->key_count + part->column_count; i++) memory_release(p->keys[i].ids);
}

uint64_t group_part_bytes(const GroupPart *p) { return p->apart_capacity * sizeof *p->apart; }

bool groups_part_is_full(const Groups *part) { return part->space && groups_bytes(part) > part->space->memory_limit; }

/* Groups in slots are marked as if they had states: those of one key behind that of null. */
GroupMark groups_mark(Groups *part) {
  uint32_t count = part->state_count;
  if (group_slots_in_use(part)) count = part->slots.count + (part->key_count == 1 && !group_slots_by_ids(part));
  return (GroupMark){ count, part->part->apart_count, group_quantiles_mark(part) };
}

Status groups_set_apart(Groups *part, uint32_t number) {
  GroupPart *p = part->part;
  TRY(memory_grow(&p->apart, &p->apart_capacity, p->apart_count + p->stride, sizeof *p->apart));
  GroupWord *state = group_state(part, number), *out = p->apart + p->apart_count;
  p->apart_count += p->stride;
  *out++ = (GroupWord){ .u = number };
  for (size_t i = 0; i < part->column_count; i++) {
    const GroupColumn *c = &part->columns[i];
    if (c->wants & GROUP_SUM && type_is_float(c->type)) {
      *out++ = state[c->sum];
      state[c->sum].f = 0;
    }
    if (!(c->wants & GROUP_SPREAD)) continue;
    memcpy(out, state + c->spread, SPREAD_WORDS * sizeof *out);
    memset(state + c->spread, 0, SPREAD_WORDS * sizeof *out);
    out += SPREAD_WORDS;
  }
  return KVSTORE_OK;
}

/* An insertion for each group of each part takes much longer than adding a row; adding a slot to a slot does not. Where
 * keys ascend, parts have few groups in common. */
uint64_t groups_merge_rows(const Groups *g, uint64_t count, uint32_t threads) {
  if (!g->key_count) return count * threads * DIFFERENT_MERGED_ROWS;
  if (!group_slots_in_use(g) || group_slots_by_ids(g)) return count * threads * GROUP_MERGED_ROWS;
  return g->slots.mode == SLOTS_ASCENDING ? count : count * threads * SLOT_MERGED_ROWS;
}

/* Entries are made by all threads, but added by one. */
uint64_t groups_apart_rows(const Groups *g, uint64_t entries, uint32_t threads) {
  bool has_texts = false;
  for (size_t k = 0; k < g->key_count; k++) has_texts |= type_is_string(g->keys[k].type);
  if (!g->has_order) return 0;
  return entries * threads / (has_texts ? TEXTS_ADDED : 1);
}

/* ---- taking over, unit by unit ---- */

static Status extend_ids(GroupIds *ids, uint32_t count) {
  TRY(memory_grow(&ids->ids, &ids->capacity, count, sizeof *ids->ids));
  while (ids->count < count) ids->ids[ids->count++] = ID_UNKNOWN;
  return KVSTORE_OK;
}

/* The id that `to` has for a value of `from`. */
static Status translate(KeyColumn *to, const KeyColumn *from, GroupIds *known, uint32_t id, uint32_t *out) {
  *out = 0;
  if (id == 0) return KVSTORE_OK;
  TRY(extend_ids(known, key_column_count(from)));
  if (known->ids[id] == ID_UNKNOWN) {
    if (type_is_string(to->type))
      TRY(bytes_map_add(&to->strings, from->strings.strings[id - 1], false, out));
    else
      TRY(id_map_add(&to->numbers, &from->numbers.words[id - 1], 1, false, out));
    known->ids[id] = *out + 1;
  }
  *out = known->ids[id];
  return KVSTORE_OK;
}

Status group_part_key(Groups *g, Groups *part, size_t key, uint32_t id, uint32_t *own) {
  return translate(&g->keys[key], &part->keys[key], &part->part->keys[key], id, own);
}

/* The same of many, in place: those that are not known yet wait for memory together. */
static Status translate_many(Groups *g, KeyColumn *to, const KeyColumn *from, GroupIds *known, uint32_t *ids,
                             uint32_t count) {
  GroupScratch *s = g->scratch;
  Bytes *strings = (void *)s->compact;
  uint32_t found[BLOCK_ROWS], unknown = 0;
  bool are_strings = type_is_string(to->type);
  TRY(extend_ids(known, key_column_count(from)));
  for (uint32_t i = 0; i < count; i++) {
    if (ids[i] == 0 || known->ids[ids[i]] != ID_UNKNOWN) continue;
    if (are_strings)
      strings[unknown] = from->strings.strings[ids[i] - 1];
    else
      s->words[unknown] = from->numbers.words[ids[i] - 1];
    s->some[unknown++] = ids[i];
  }
  if (unknown && are_strings) TRY(bytes_map_add_many(&to->strings, strings, unknown, false, found));
  if (unknown && !are_strings) TRY(id_map_add(&to->numbers, s->words, unknown, false, found));
  for (uint32_t i = 0; i < unknown; i++) known->ids[s->some[i]] = found[i] + 1;
  for (uint32_t i = 0; i < count; i++) ids[i] = ids[i] ? known->ids[ids[i]] : 0;
  return KVSTORE_OK;
}

/* From pairs to the ids of each key. */
static void split_pairs(const Groups *part, uint32_t first, uint32_t count, uint32_t *ids) {
  uint32_t at[BLOCK_ROWS];
  for (uint32_t i = 0; i < count; i++) at[i] = first + i;
  for (size_t k = part->key_count - 1; k > 0; k--) {
    for (uint32_t i = 0; i < count; i++) {
      uint64_t pair = part->pairs[k].words[at[i]];
      ids[k * BLOCK_ROWS + i] = (uint32_t)pair;
      at[i] = (uint32_t)(pair >> 32);
    }
  }
  memcpy(ids, at, count * sizeof *ids);
}

Status group_part_numbers(Groups *g, const Groups *part, uint32_t first, uint32_t count, uint32_t *own) {
  GroupPart *p = part->part;
  if (g->key_count == 0) {
    memset(own, 0, count * sizeof *own);
    return KVSTORE_OK;
  }
  split_pairs(part, first, count, p->ids);
  for (size_t k = 0; k < g->key_count; k++) {
    uint32_t *ids = p->ids + k * BLOCK_ROWS;
    TRY(translate_many(g, &g->keys[k], &part->keys[k], &p->keys[k], ids, count));
    if (k == 0) {
      memcpy(own, ids, count * sizeof *own);
      continue;
    }
    for (uint32_t i = 0; i < count; i++) g->scratch->words[i] = (uint64_t)own[i] << 32 | ids[i];
    TRY(id_map_add(&g->pairs[k], g->scratch->words, count, false, own));
  }
  return KVSTORE_OK;
}

uint32_t group_numbers_end(const Groups *g) {
  if (g->key_count == 0) return 1;
  return g->key_count == 1 ? key_column_count(&g->keys[0]) : g->pairs[g->key_count - 1].count;
}

static Status take_groups_over(Groups *g, const Groups *part, uint32_t first, uint32_t end) {
  for (uint32_t count; first < end; first += count) {
    count = end - first < BLOCK_ROWS ? end - first : BLOCK_ROWS;
    TRY(group_part_numbers(g, part, first, count, part->part->groups.ids + first));
    TRY(groups_extend(g, group_numbers_end(g)));
  }
  return KVSTORE_OK;
}

/* Entries of a unit are of groups that lie anywhere. */
static void fetch_apart(const Groups *g, const Groups *part, size_t at, size_t end) {
  const GroupPart *p = part->part;
  if (at < end) group_fetch(g, p->groups.ids[p->apart[at].u]);
}

static void add_apart(Groups *g, const Groups *part, const GroupWord *in) {
  GroupWord *state = group_state(g, part->part->groups.ids[(in++)->u]);
  for (size_t i = 0; i < g->column_count; i++) {
    const GroupColumn *c = &g->columns[i];
    if (c->wants & GROUP_SUM && type_is_float(c->type)) state[c->sum].f += (in++)->f;
    if (!(c->wants & GROUP_SPREAD)) continue;
    Spread unit = { in[0].f, in[1].f, in[2].f };
    group_merge_spread(state + c->spread, &unit);
    in += SPREAD_WORDS;
  }
}

Status groups_take_over(Groups *g, Groups *part, GroupMark from, GroupMark to) {
  GroupPart *p = part->part;
  groups_end_units(g);
  g->unit_number++;
  if (group_slots_in_use(part))
    TRY(group_slots_take(g, part, &from.group_count, to.group_count));
  else if (from.group_count < to.group_count)
    TRY(group_slots_leave(g));
  if (group_slots_in_use(part)) return KVSTORE_OK;
  TRY(extend_ids(&p->groups, part->state_count));
  if (!g->key_count) p->groups.ids[0] = 0; /* there from the beginning */
  TRY(take_groups_over(g, part, from.group_count, to.group_count));
  for (size_t at = from.apart_count; at < to.apart_count; at += p->stride) {
    fetch_apart(g, part, at + GROUPS_AHEAD * (size_t)p->stride, to.apart_count);
    add_apart(g, part, p->apart + at);
  }
  return group_quantiles_take_over(g, part, from.chunk_count, to.chunk_count);
}

/* ---- all else ---- */

static void fetch_own(const Groups *g, const Groups *part, uint32_t number) {
  uint32_t own = part->part->groups.ids[number];
  if (own != ID_UNKNOWN) group_fetch(g, own);
}

static Status merge_states(Groups *g, const Groups *part) {
  for (uint32_t number = 0; number < part->state_count; number++) {
    uint32_t own = part->part->groups.ids[number];
    if (number + GROUPS_AHEAD < part->state_count) fetch_own(g, part, number + GROUPS_AHEAD);
    if (own == ID_UNKNOWN) continue;
    const GroupWord *from = group_state(part, number);
    GroupWord *to = group_state(g, own);
    to[GROUP_ROWS].u += from[GROUP_ROWS].u;
    for (size_t i = 0; i < g->column_count; i++) TRY(group_column_merge(&g->columns[i], to, from, &g->kept));
  }
  return KVSTORE_OK;
}

/* Of one group values are. */
static Status merge_different(Groups *g, const Groups *part, size_t column) {
  uint32_t ids[BLOCK_ROWS], end = key_column_count(&part->values[column]);
  for (uint32_t at = 1, count; at < end; at += count) {
    count = end - at < BLOCK_ROWS ? end - at : BLOCK_ROWS;
    for (uint32_t i = 0; i < count; i++) ids[i] = at + i;
    TRY(translate_many(g, &g->values[column], &part->values[column], &part->part->values[column], ids, count));
  }
  group_state(g, 0)[g->columns[column].distinct].u = groups_count_different(g, column);
  return KVSTORE_OK;
}

/* Pairs of a group and a value count where they are new. */
static Status merge_distinct(Groups *g, const Groups *part, size_t column) {
  const IdMap *from = &part->value_pairs[column];
  IdMap *to = &g->value_pairs[column];
  for (uint32_t at = 0; at < from->count;) {
    uint32_t count = 0, before = to->count;
    for (; at < from->count && count < BLOCK_ROWS; at++) {
      uint32_t id;
      TRY(translate(&g->values[column], &part->values[column], &part->part->values[column], (uint32_t)from->words[at],
                    &id));
      g->scratch->words[count++] = (uint64_t)part->part->groups.ids[from->words[at] >> 32] << 32 | id;
    }
    TRY(id_map_add(to, g->scratch->words, count, false, g->scratch->ids));
    for (; before < to->count; before++)
      group_state(g, (uint32_t)(to->words[before] >> 32))[g->columns[column].distinct].u++;
  }
  return KVSTORE_OK;
}

Status groups_merge(Groups *g, const Groups *part) {
  if (part->unit_number == 0) return KVSTORE_OK; /* its thread came too late */
  TRY(merge_states(g, part));
  for (size_t i = 0; i < g->column_count; i++) {
    if (!(g->columns[i].wants & GROUP_DISTINCT)) continue;
    TRY(g->key_count ? merge_distinct(g, part, i) : merge_different(g, part, i));
  }
  COUNT(group_parts_merged);
  return KVSTORE_OK;
}

Status groups_end_merge(Groups *g) {
  memory_release(g->slots.seen);
  g->slots.seen = NULL;
  return groups_keep_within(g);
}
