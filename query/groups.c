/* groups.c - making groups, and taking units in. */
#include "query/groups.h"

#include "base/assert.h"
#include "base/bitmap.h"
#include "base/counters.h"
#include "base/hash.h"
#include "base/keycode.h"
#include "base/memory.h"
#include "encodings/array.h"
#include "query/groups_internal.h"
#include "query/query_internal.h"

/* ---- life ---- */

static uint32_t wants_of(AggregateKind kind) {
  switch (kind) {
  case AGGREGATE_TOTAL:
  case AGGREGATE_MEAN: return GROUP_COUNT | GROUP_SUM;
  case AGGREGATE_LEAST: return GROUP_COUNT | GROUP_LEAST;
  case AGGREGATE_GREATEST: return GROUP_COUNT | GROUP_GREATEST;
  case AGGREGATE_VARIANCE:
  case AGGREGATE_VARIANCE_POPULATION:
  case AGGREGATE_DEVIATION:
  case AGGREGATE_DEVIATION_POPULATION: return GROUP_COUNT | GROUP_SPREAD;
  case AGGREGATE_DISTINCT: return GROUP_DISTINCT;
  case AGGREGATE_SKETCH: return GROUP_SKETCH;
  case AGGREGATE_QUANTILE: return GROUP_COUNT | GROUP_VALUES;
  case AGGREGATE_FIRST: return GROUP_FIRST;
  case AGGREGATE_LAST: return GROUP_LAST;
  default: return GROUP_COUNT;
  }
}

static void add_request(Groups *g, const AggregateRequest *request, uint32_t *which) {
  *which = 0;
  if (request->kind == AGGREGATE_ROWS) return;
  const Column *column = &g->snapshot->schema->columns[request->column];
  uint32_t i = 0;
  while (i < g->column_count && g->columns[i].column != request->column) i++;
  if (i == g->column_count) {
    g->column_count++;
    g->columns[i] = (GroupColumn){ .column = request->column,
                                   .type = column->type,
                                   .nullable = (column->flags & COLUMN_NULLABLE) != 0 };
  }
  g->columns[i].wants |= wants_of(request->kind);
  *which = i;
}

/* What can go by arrays, and what must be told from unit to unit. */
static void look_at_column(Groups *g, GroupColumn *c) {
  if (!c->nullable) c->wants &= ~(uint32_t)GROUP_COUNT; /* the rows are the count */
  if (c->wants & (GROUP_DISTINCT | GROUP_FIRST | GROUP_LAST | GROUP_SKETCH | GROUP_VALUES)) g->is_dense = false;
  if (type_is_string(c->type) && c->wants & (GROUP_LEAST | GROUP_GREATEST)) g->is_dense = false;
  if (c->wants & (GROUP_FIRST | GROUP_LAST)) g->has_ends = true;
  if (c->wants & GROUP_SPREAD || (c->wants & GROUP_SUM && type_is_float(c->type))) g->has_order = true;
}

static uint32_t find_only_sum(const Groups *g) {
  uint32_t found = 0;
  for (size_t i = 0; i < g->column_count; i++) {
    const GroupColumn *c = &g->columns[i];
    bool is_sum = c->wants & GROUP_SUM && type_is_float(c->type);
    if (c->wants & GROUP_SPREAD || (is_sum && found)) return 0;
    if (is_sum) found = c->sum;
  }
  return found;
}

static Status allocate(Groups *g, size_t key_count, size_t request_count) {
  Arena *a = &g->arena;
  g->scratch = arena_allocate_aligned(a, 64, sizeof *g->scratch);
  g->keys = arena_allocate_zeroed(a, (key_count + 1) * sizeof *g->keys);
  g->pairs = arena_allocate_zeroed(a, (key_count + 1) * sizeof *g->pairs);
  g->requests = arena_allocate_zeroed(a, (request_count + 1) * sizeof *g->requests);
  g->request_columns = arena_allocate_zeroed(a, (request_count + 1) * sizeof *g->request_columns);
  g->request_words = arena_allocate_zeroed(a, (request_count + 1) * sizeof *g->request_words);
  g->columns = arena_allocate_zeroed(a, (request_count + 1) * sizeof *g->columns);
  g->values = arena_allocate_zeroed(a, (request_count + 1) * sizeof *g->values);
  g->value_pairs = arena_allocate_zeroed(a, (request_count + 1) * sizeof *g->value_pairs);
  g->seen = arena_allocate(a, SEGMENT_ROWS + 1);
  g->quantiles.open = arena_allocate_zeroed(a, (request_count + 1) * sizeof *g->quantiles.open);
  bool all = g->seen && g->quantiles.open && g->request_words && g->scratch && g->keys && g->pairs && g->requests &&
             g->request_columns && g->columns && g->values && g->value_pairs;
  return all ? KVSTORE_OK : status_nomem();
}

static void lay_out(Groups *g, const uint32_t *keys, size_t key_count, const AggregateRequest *requests,
                    size_t request_count) {
  const Schema *schema = g->snapshot->schema;
  for (size_t k = 0; k < key_count; k++) {
    g->keys[k].column = keys[k];
    g->keys[k].type = schema->columns[keys[k]].type;
    g->keys[k].nullable = schema->columns[keys[k]].flags & COLUMN_NULLABLE;
  }
  g->key_count = key_count;
  for (size_t i = 0; i < request_count; i++) {
    g->requests[i] = requests[i];
    add_request(g, &requests[i], &g->request_columns[i]);
  }
  g->request_count = request_count;
  g->is_dense = true;
  for (size_t i = 0; i < g->column_count; i++) look_at_column(g, &g->columns[i]);
  g->stride = g->has_order || g->has_ends ? GROUP_HEAD : GROUP_UNIT; /* units are told apart by these alone */
  for (size_t i = 0; i < g->column_count; i++) {
    g->stride = group_column_place(&g->columns[i], g->stride);
    g->values[i].column = g->columns[i].column;
    g->values[i].type = g->columns[i].type;
  }
  g->only_sum = find_only_sum(g);
  for (size_t i = 0; i < request_count; i++) {
    if (requests[i].kind != AGGREGATE_QUANTILE) continue;
    g->request_words[i] = g->stride;
    g->stride += QUANTILE_WORDS;
  }
}

Status groups_create(const TableSnapshot *snapshot, const uint32_t *keys, size_t key_count,
                     const AggregateRequest *requests, size_t request_count, const QuerySpace *space, Groups **out) {
  for (size_t i = 0; i < request_count; i++) TRY(aggregate_request_check(snapshot->schema, &requests[i]));
  Groups *g = memory_allocate_zeroed(sizeof *g);
  if (!g) return status_nomem();
  g->snapshot = snapshot;
  g->space = space;
  Status status = allocate(g, key_count, request_count);
  if (status == KVSTORE_OK) {
    lay_out(g, keys, key_count, requests, request_count);
    if (key_count == 0) status = groups_extend(g, 1);
  }
  if (status == KVSTORE_OK)
    *out = g;
  else
    groups_destroy(g);
  return status;
}

static void release_maps(Groups *g) {
  for (size_t k = 0; k < g->key_count; k++) {
    key_column_release(&g->keys[k]);
    id_map_release(&g->pairs[k]);
  }
  for (size_t i = 0; i < g->column_count; i++) {
    key_column_release(&g->values[i]);
    id_map_release(&g->value_pairs[i]);
  }
}

void groups_destroy(Groups *g) {
  if (!g) return;
  release_maps(g);
  group_spill_destroy(g->spill);
  group_part_release(g);
  group_slots_release(g);
  group_quantiles_release(g);
  memory_release(g->states);
  memory_release(g->touched);
  arena_release(&g->kept);
  arena_release(&g->dense.arena);
  arena_release(&g->dense.room);
  arena_release(&g->arena);
  buffer_release(&g->key);
  memory_release(g);
}

uint64_t groups_bytes(const Groups *g) {
  uint64_t bytes = g->state_capacity * sizeof *g->states + g->touched_capacity * sizeof *g->touched;
  if (g->part) bytes += group_part_bytes(g->part);
  bytes += group_slots_bytes(g) + g->quantiles.bytes;
  bytes += g->kept.bytes_held + g->dense.arena.bytes_held + g->dense.room.bytes_held + g->arena.bytes_held;
  for (size_t k = 0; k < g->key_count; k++) bytes += key_column_bytes(&g->keys[k]) + id_map_bytes(&g->pairs[k]);
  for (size_t i = 0; i < g->column_count; i++)
    bytes += key_column_bytes(&g->values[i]) + id_map_bytes(&g->value_pairs[i]);
  return bytes;
}

void groups_freeze(Groups *g, bool frozen) {
  g->is_full = frozen;
  for (size_t k = 0; k < g->key_count; k++) g->keys[k].is_frozen = frozen;
  for (size_t i = 0; i < g->column_count; i++) g->values[i].is_frozen = frozen;
}

bool groups_exceed(const Groups *g) { return g->space && !g->part && groups_bytes(g) > g->space->memory_limit; }

enum { STATE_BYTES = 80 /* beside the words of a state: an id, as they grow */ };

bool groups_outgrow_slots(const Groups *g) {
  size_t beside = group_slots_by_ids(g) ? 0 : STATE_BYTES;
  uint64_t more = (uint64_t)g->slots.count * (beside + g->stride * sizeof *g->states);
  return more && g->space && !g->part && groups_bytes(g) + more > g->space->memory_limit;
}

Status groups_keep_within(Groups *g) {
  if (!g->space || g->part) return KVSTORE_OK;
  if (groups_outgrow_slots(g)) TRY(group_slots_leave(g));
  return groups_keep_found_within(g);
}

Status groups_keep_found_within(Groups *g) {
  TRY(group_quantiles_keep_within(g));
  if (!g->is_full && groups_exceed(g)) groups_freeze(g, true);
  return KVSTORE_OK;
}

Status groups_clear(Groups *g) {
  release_maps(g);
  memory_release(g->states);
  g->states = NULL;
  g->state_capacity = g->state_count = 0;
  arena_release(&g->kept);
  groups_freeze(g, false);
  return g->key_count ? KVSTORE_OK : groups_extend(g, 1);
}

uint32_t groups_count_different(const Groups *g, size_t column) {
  return g->key_count ? g->value_pairs[column].count : key_column_count(&g->values[column]) - 1;
}

uint32_t groups_held(const Groups *g) { return group_slots_in_use(g) ? g->slots.count : g->state_count; }

uint32_t groups_count(const Groups *g) {
  uint32_t count = groups_held(g);
  for (size_t i = 0; i < g->column_count; i++) {
    uint32_t pairs = groups_count_different(g, i);
    if (pairs > count) count = pairs;
  }
  return count;
}

/* ---- states ---- */

Status groups_extend(Groups *g, uint32_t count) {
  if (LIKELY(count <= g->state_count)) return KVSTORE_OK;
  TRY(memory_grow(&g->states, &g->state_capacity, (size_t)count * g->stride, sizeof *g->states));
  GroupWord *first = group_state(g, g->state_count);
  memset(first, 0, (size_t)(count - g->state_count) * g->stride * sizeof *first);
  for (; g->state_count < count; g->state_count++) {
    for (size_t i = 0; i < g->column_count; i++) group_column_clear(&g->columns[i], group_state(g, g->state_count));
  }
  return KVSTORE_OK;
}

/* ---- what a block has ---- */

uint32_t groups_block_rows(Groups *g, Scan *scan, uint32_t block) {
  const ScanSelection *selection = scan_selection(scan);
  uint16_t *rows = g->scratch->rows;
  uint32_t count = 0;
  g->scratch->is_whole = selection->whole >> block & 1;
  if (g->scratch->is_whole) return scan_block_rows(selection->unit, block);
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) {
    for (uint64_t word = selection->masks[block][w]; word; word &= word - 1)
      rows[count++] = (uint16_t)(w * 64 + (uint32_t)__builtin_ctzll(word));
  }
  return count;
}

Status groups_read(Groups *g, Scan *scan, uint32_t column, uint32_t block, uint32_t count, const void **values,
                   const uint8_t **nulls) {
  GroupScratch *s = g->scratch;
  if (!scan) {
    ColumnArray array;
    bool found = group_spill_array(g, column, &array);
    ASSERT(found, "QRY-8");
    *values = array.values;
    *nulls = array.nulls && memchr(array.nulls, 1, count) ? array.nulls : NULL;
    return KVSTORE_OK;
  }
  ColumnArray view;
  uint64_t mask[BLOCK_WORDS];
  scan_selected_rows(scan, block, mask);
  TRY(scan_block_view(scan, column, block, mask, s->values, s->nulls, &view));
  *values = view.values;
  *nulls = view.nulls;
  if (!s->is_whole) {
    array_gather(type_array_width(g->snapshot->schema->columns[column].type), view.values, s->rows, count, s->compact);
    *values = s->compact;
    if (view.nulls) {
      array_gather(1, view.nulls, s->rows, count, s->compact_nulls);
      *nulls = s->compact_nulls;
    }
  }
  if (*nulls && !memchr(*nulls, 1, count)) *nulls = NULL;
  return KVSTORE_OK;
}

/* ---- rows, one by one ---- */

Status groups_number(Groups *g, Scan *scan, uint32_t block, uint32_t count, uint32_t *most) {
  GroupScratch *s = g->scratch;
  *most = 1;
  if (g->key_count == 0) memset(s->groups, 0, count * sizeof *s->groups);
  for (size_t k = 0; k < g->key_count; k++) {
    TRY(key_column_ids(g, &g->keys[k], scan, block, count, k ? s->ids : s->groups));
    *most = key_column_count(&g->keys[k]);
    if (k == 0) continue;
    for (uint32_t i = 0; i < count; i++) s->words[i] = (uint64_t)s->groups[i] << 32 | s->ids[i];
    TRY(id_map_add(&g->pairs[k], s->words, count, g->is_full, s->groups));
    *most = g->pairs[k].count;
  }
  return KVSTORE_OK;
}

Status groups_find(Groups *g, Scan *scan, uint32_t block, uint32_t count) {
  uint32_t most;
  TRY(groups_number(g, scan, block, count, &most));
  return g->is_full ? KVSTORE_OK : groups_extend(g, most);
}

/* Small loops over rows without nulls: each keeps one thing. */
static void add_sums(Groups *g, uint32_t at, const uint32_t *groups, uint32_t count) {
  const int64_t *images = g->scratch->images;
  for (uint32_t i = 0; i < count; i++)
    group_add_wide(group_state(g, groups[i]) + at, (uint64_t)images[i], (uint64_t)(images[i] >> 63));
}

static void add_float_sums(Groups *g, uint32_t at, const uint32_t *groups, uint32_t count) {
  const double *doubles = g->scratch->doubles;
  for (uint32_t i = 0; i < count; i++) group_state(g, groups[i])[at].f += doubles[i];
}

static void add_least(Groups *g, uint32_t at, const uint32_t *groups, uint32_t count) {
  const int64_t *images = g->scratch->images;
  for (uint32_t i = 0; i < count; i++) {
    GroupWord *word = &group_state(g, groups[i])[at];
    if (images[i] < word->i) word->i = images[i];
  }
}

static void add_greatest(Groups *g, uint32_t at, const uint32_t *groups, uint32_t count) {
  const int64_t *images = g->scratch->images;
  for (uint32_t i = 0; i < count; i++) {
    GroupWord *word = &group_state(g, groups[i])[at];
    if (images[i] > word->i) word->i = images[i];
  }
}

static void add_spreads(Groups *g, uint32_t at, const uint32_t *groups, uint32_t count) {
  if (g->key_count == 0) group_spread_block(group_state(g, 0) + at, g->scratch->doubles, count);
  for (uint32_t i = 0; g->key_count && i < count; i++) {
    GroupWord *words = group_state(g, groups[i]) + at;
    Spread spread = { words[0].f, words[1].f, words[2].f };
    spread_add(&spread, g->scratch->doubles[i]);
    words[0].f = spread.count;
    words[1].f = spread.mean;
    words[2].f = spread.squares;
  }
}

static void add_numbers(Groups *g, const GroupColumn *c, const uint32_t *groups, uint32_t count) {
  if (c->wants & GROUP_SUM && type_is_float(c->type)) add_float_sums(g, c->sum + 1, groups, count);
  if (c->wants & GROUP_SUM && !type_is_float(c->type)) add_sums(g, c->sum, groups, count);
  if (c->wants & GROUP_LEAST) add_least(g, c->least, groups, count);
  if (c->wants & GROUP_GREATEST) add_greatest(g, c->greatest, groups, count);
  if (c->wants & GROUP_SPREAD) add_spreads(g, c->spread + 3, groups, count);
}

static Status add_strings(Groups *g, const GroupColumn *c, const Bytes *strings, const uint8_t *nulls, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    if (nulls && nulls[i]) continue;
    TRY(group_add_bytes(c, group_state(g, g->scratch->groups[i]), strings[i], &g->kept));
  }
  return KVSTORE_OK;
}

static void add_counts(Groups *g, const GroupColumn *c, const uint8_t *nulls, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) group_state(g, g->scratch->groups[i])[c->count].u += !nulls || !nulls[i];
}

/* Leaves out nulls: the groups that stay are in scratch->some. */
static uint32_t drop_nulls(GroupScratch *s, const uint8_t *nulls, uint32_t count) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < count; i++) {
    s->some[kept] = s->groups[i];
    s->images[kept] = s->images[i];
    s->doubles[kept] = s->doubles[i];
    kept += !nulls[i];
  }
  return kept;
}

static void add_all_numbers(Groups *g, const GroupColumn *c, const void *values, const uint8_t *nulls, uint32_t count) {
  GroupScratch *s = g->scratch;
  group_images(c->type, values, count, s->images);
  bool doubles = c->wants & GROUP_SPREAD || type_is_float(c->type);
  if (doubles) group_doubles(c->type, values, s->images, count, s->doubles);
  if (nulls)
    add_numbers(g, c, s->some, drop_nulls(s, nulls, count));
  else
    add_numbers(g, c, s->groups, count);
}

static Status add_sketches(Groups *g, const GroupColumn *c, const void *values, const uint8_t *nulls, uint32_t count) {
  GroupScratch *s = g->scratch;
  bool is_string = type_is_string(c->type);
  if (!is_string) group_images(c->type, values, count, s->images);
  for (uint32_t i = 0; i < count; i++) {
    if (nulls && nulls[i]) continue;
    Bytes b = is_string ? ((const Bytes *)values)[i] : (Bytes){ (const uint8_t *)&s->images[i], sizeof s->images[i] };
    TRY(group_sketch_add(group_state(g, s->groups[i]) + c->sketch, hash_key(b.data, b.length), &g->kept));
  }
  return KVSTORE_OK;
}

/* Values that are not null are kept. */
static Status add_kept(Groups *g, const GroupColumn *c, const void *values, const uint8_t *nulls, uint32_t count) {
  GroupScratch *s = g->scratch;
  size_t width = type_array_width(c->type), column = (size_t)(c - g->columns);
  if (!nulls) return group_quantiles_add(g, column, s->groups, values, count);
  uint8_t *out = (uint8_t *)s->compact; /* entries move down only */
  uint32_t kept = 0;
  for (uint32_t i = 0; i < count; i++) {
    if (nulls[i]) continue;
    memmove(out + kept * width, (const uint8_t *)values + i * width, width);
    s->some[kept++] = s->groups[i];
  }
  return kept ? group_quantiles_add(g, column, s->some, out, kept) : KVSTORE_OK;
}

static Status add_values(Groups *g, const GroupColumn *c, Scan *scan, uint32_t block, uint32_t count) {
  const void *values;
  const uint8_t *nulls;
  TRY(groups_read(g, scan, c->column, block, count, &values, &nulls));
  if (c->wants & GROUP_COUNT) add_counts(g, c, nulls, count);
  if (c->wants & GROUP_SKETCH) TRY(add_sketches(g, c, values, nulls, count));
  if (type_is_string(c->type) && c->wants & (GROUP_LEAST | GROUP_GREATEST))
    TRY(add_strings(g, c, values, nulls, count));
  if (!type_is_string(c->type) && c->wants & (GROUP_SUM | GROUP_LEAST | GROUP_GREATEST | GROUP_SPREAD))
    add_all_numbers(g, c, values, nulls, count);
  return c->wants & GROUP_VALUES ? add_kept(g, c, values, nulls, count) : KVSTORE_OK;
}
/* Whether the value with this id has been counted for the group. */
static Status is_counted(Groups *g, size_t column, uint32_t group, uint32_t id, bool *counted) {
  uint64_t word = (uint64_t)group << 32 | id;
  uint32_t pair = id;
  if (g->key_count && id != ID_NONE) TRY(id_map_add(&g->value_pairs[column], &word, 1, true, &pair));
  *counted = pair != ID_NONE;
  return KVSTORE_OK;
}

/* Pairs that are there count for nothing; others leave memory. */
static Status add_distinct_full(Groups *g, size_t column, Scan *scan, uint32_t block, uint32_t count) {
  GroupScratch *s = g->scratch;
  const void *values;
  const uint8_t *nulls;
  size_t width = type_array_width(g->columns[column].type);
  uint32_t kept = 0;
  TRY(groups_read(g, scan, g->columns[column].column, block, count, &values, &nulls));
  uint8_t *out = (uint8_t *)s->compact; /* entries move down only */
  for (uint32_t i = 0; i < count; i++) {
    bool counted;
    if (s->ids[i] == 0) continue;
    TRY(is_counted(g, column, s->groups[i], s->ids[i], &counted));
    if (counted) continue;
    memmove(out + kept * width, (const uint8_t *)values + i * width, width);
    s->some[kept++] = s->groups[i];
  }
  return kept ? group_spill_values(g, column, s->some, out, kept) : KVSTORE_OK;
}

/* Every new pair of a group and a value (that is not null) counts for the group; of one group every new value. */
static Status add_distinct(Groups *g, size_t column, Scan *scan, uint32_t block, uint32_t count) {
  GroupScratch *s = g->scratch;
  uint32_t kept = 0;
  TRY(key_column_ids(g, &g->values[column], scan, block, count, s->ids));
  if (g->is_full) return add_distinct_full(g, column, scan, block, count);
  if (!g->key_count) {
    group_state(g, 0)[g->columns[column].distinct].u = groups_count_different(g, column);
    return KVSTORE_OK;
  }
  for (uint32_t i = 0; i < count; i++) {
    s->words[kept] = (uint64_t)s->groups[i] << 32 | s->ids[i];
    kept += s->ids[i] != 0;
  }
  IdMap *pairs = &g->value_pairs[column];
  uint32_t before = pairs->count;
  TRY(id_map_add(pairs, s->words, kept, false, s->ids));
  for (; before < pairs->count; before++)
    group_state(g, (uint32_t)(pairs->words[before] >> 32))[g->columns[column].distinct].u++;
  return KVSTORE_OK;
}

/* A value that some row has, by its code. */
static Status count_code(Groups *g, size_t column, Scan *scan, uint32_t code) {
  KeyColumn *values = &g->values[column];
  uint32_t id;
  TRY(key_column_code(values, scan, code, &id));
  if (id != ID_NONE) return KVSTORE_OK;
  Value v;
  uint32_t number = 0;
  TRY(scan_code_value(scan, values->column, code, &v));
  v.type = values->type;
  value_to_array(&v, g->scratch->compact, 0);
  return group_spill_values(g, column, &number, g->scratch->compact, 1);
}

/* Of all rows together: which codes there are. Unless a dictionary says it, blocks are read until all have been seen.
 */
static Status count_seen(Groups *g, size_t column, Scan *scan) {
  KeyColumn *values = &g->values[column];
  GroupScratch *s = g->scratch;
  uint32_t codes = values->code_count;
  bool all = scan_codes_are_all(scan, values->column);
  memset(g->seen, all, codes);
  if (all) COUNT(groups_codes_told);
  for (uint64_t left = scan_selection(scan)->blocks; left && memchr(g->seen, 0, codes - 1); left &= left - 1) {
    uint32_t block = (uint32_t)__builtin_ctzll(left), count = groups_block_rows(g, scan, block);
    TRY(scan_read_codes(scan, values->column, block, s->codes));
    for (uint32_t i = 0; i < count; i++) g->seen[s->codes[group_row(s, i)]] = 1;
  }
  for (uint32_t code = 0; code + 1 < codes; code++) { /* the last one is null */
    if (g->seen[code]) TRY(count_code(g, column, scan, code));
  }
  group_state(g, 0)[g->columns[column].distinct].u = groups_count_different(g, column);
  return KVSTORE_OK;
}

/* ---- the rows of the least and greatest key ---- */

static Status read_key(Groups *g, Scan *scan, uint32_t row) {
  const Schema *schema = g->snapshot->schema;
  buffer_clear(&g->key);
  for (uint32_t k = 0; k < schema->key_count; k++) {
    Value v;
    TRY(scan_read_value(scan, schema->key_columns[k], row, &v));
    v.type = schema->columns[schema->key_columns[k]].type;
    keycode_append(&g->key, &v, (schema->columns[schema->key_columns[k]].flags & COLUMN_NULLABLE) != 0);
  }
  return buffer_status(&g->key);
}

Status groups_offer(Groups *g, uint32_t number, const GroupColumn *c, const Value *value, uint32_t wants) {
  GroupWord *state = group_state(g, number);
  Bytes key = { g->key.data, g->key.length };
  if (wants & GROUP_FIRST && group_end_is_better(state + c->first, key, false))
    TRY(group_keep_end(state + c->first, key, value, &g->kept));
  if (wants & GROUP_LAST && group_end_is_better(state + c->last, key, true))
    TRY(group_keep_end(state + c->last, key, value, &g->kept));
  return KVSTORE_OK;
}

/* A row that may be the first or last of its group. */
static Status offer_row(Groups *g, uint32_t number, Scan *scan, uint32_t row, uint32_t wants) {
  TRY(read_key(g, scan, row));
  for (size_t i = 0; i < g->column_count; i++) {
    const GroupColumn *c = &g->columns[i];
    Value v;
    if (!(c->wants & wants)) continue;
    TRY(scan_read_value(scan, c->column, row, &v));
    v.type = c->type;
    TRY(groups_offer(g, number, c, &v, c->wants & wants));
  }
  return KVSTORE_OK;
}

/* Of a segment, whose rows ascend, the first and the last row of a group are remembered; rows of a slab are in no
 * order. */
static Status add_ends(Groups *g, Scan *scan, uint32_t block, uint32_t count) {
  const GroupScratch *s = g->scratch;
  bool is_slab = scan_selection(scan)->unit->kind == SCAN_UNIT_ARRAYS;
  for (uint32_t i = 0; i < count; i++) {
    uint32_t row = block * BLOCK_ROWS + group_row(s, i);
    GroupWord *state = group_state(g, s->groups[i]);
    if (is_slab) TRY(offer_row(g, s->groups[i], scan, row, GROUP_FIRST | GROUP_LAST));
    for (size_t c = 0; !is_slab && c < g->column_count; c++) {
      const GroupColumn *column = &g->columns[c];
      if (column->wants & GROUP_FIRST && !state[column->first + END_ROW].u) state[column->first + END_ROW].u = row + 1;
      if (column->wants & GROUP_LAST) state[column->last + END_ROW].u = row + 1;
    }
  }
  return KVSTORE_OK;
}

static Status end_rows(Groups *g, uint32_t number, Scan *scan) {
  GroupWord *state = group_state(g, number);
  uint64_t first = 0, last = 0;
  for (size_t i = 0; i < g->column_count; i++) {
    const GroupColumn *c = &g->columns[i];
    GroupWord *words = state + c->first + END_ROW;
    if (c->wants & GROUP_FIRST) first = words->u, words->u = 0;
    words = state + c->last + END_ROW;
    if (c->wants & GROUP_LAST) last = words->u, words->u = 0;
  }
  if (first) TRY(offer_row(g, number, scan, (uint32_t)first - 1, GROUP_FIRST));
  if (last) TRY(offer_row(g, number, scan, (uint32_t)last - 1, GROUP_LAST));
  return KVSTORE_OK;
}

/* Of all rows nothing is asked but those of the least and greatest key, and the unit's rows ascend. */
static bool asks_ends_alone(const Groups *g, const Scan *scan) {
  if (g->key_count || !g->has_ends || scan_selection(scan)->unit->kind != SCAN_UNIT_SEGMENT) return false;
  for (size_t i = 0; i < g->column_count; i++)
    if (g->columns[i].wants & ~(uint32_t)(GROUP_FIRST | GROUP_LAST)) return false;
  return true;
}

static Status add_segment_ends(Groups *g, Scan *scan) {
  const ScanSelection *selection = scan_selection(scan);
  uint16_t rows[BLOCK_ROWS];
  uint32_t first = (uint32_t)__builtin_ctzll(selection->blocks),
           last = 63 - (uint32_t)__builtin_clzll(selection->blocks);
  group_state(g, 0)[GROUP_ROWS].u += selection->row_count;
  COUNT(groups_ends_told);
  if (scan_block_positions(scan, first, rows)) TRY(offer_row(g, 0, scan, rows[0], GROUP_FIRST));
  uint32_t count = scan_block_positions(scan, last, rows);
  return count ? offer_row(g, 0, scan, rows[count - 1], GROUP_LAST) : KVSTORE_OK;
}

/* ---- units ---- */

static bool counts_seen(const Groups *g, size_t column) { return g->key_count == 0 && g->values[column].code_count; }

Status groups_add_found(Groups *g, Scan *scan, uint32_t block, uint32_t count) {
  GroupScratch *s = g->scratch;
  for (uint32_t i = 0; i < count; i++) group_state(g, s->groups[i])[GROUP_ROWS].u++;
  for (size_t i = 0; i < g->column_count; i++) {
    const GroupColumn *c = &g->columns[i];
    if (c->wants & ~(uint32_t)(GROUP_DISTINCT | GROUP_FIRST | GROUP_LAST)) TRY(add_values(g, c, scan, block, count));
    if (c->wants & GROUP_DISTINCT && !(scan && counts_seen(g, i))) TRY(add_distinct(g, i, scan, block, count));
  }
  return KVSTORE_OK;
}

/* Rows of groups that are not taken in leave memory; what stays is in scratch->rows. */
static Status keep_known(Groups *g, Scan *scan, uint32_t block, uint32_t *count) {
  GroupScratch *s = g->scratch;
  uint16_t rows[BLOCK_ROWS];
  uint32_t known = 0, unknown = 0;
  for (uint32_t i = 0; i < *count; i++) {
    uint16_t row = (uint16_t)group_row(s, i);
    if (s->groups[i] == ID_NONE) {
      s->unknown[unknown++] = row;
      continue;
    }
    s->groups[known] = s->groups[i];
    rows[known++] = row;
  }
  *count = known;
  if (!unknown) return KVSTORE_OK;
  s->is_whole = false;
  memcpy(s->rows, s->unknown, unknown * sizeof *s->rows);
  TRY(group_spill_rows(g, scan, block, unknown));
  memcpy(s->rows, rows, known * sizeof *rows);
  return KVSTORE_OK;
}

/* States lie anywhere: each is asked for some time before. What a unit has brought to a group goes to the units before
 * when another one brings something, or at the end. */
void groups_open_unit(Groups *g, const uint32_t *numbers, uint32_t count) {
  uint32_t sum = g->only_sum;
  for (uint32_t i = 0; i < count; i++) {
    if (i + GROUPS_AHEAD < count) group_fetch(g, numbers[i + GROUPS_AHEAD]);
    GroupWord *state = group_state(g, numbers[i]);
    bool is_new = state[GROUP_UNIT].u != g->unit_number;
    state[GROUP_UNIT].u = g->unit_number;
    if (sum) { /* nobody can predict which groups are new to a unit */
      uint64_t ended = state[sum + 1].u & (0 - (uint64_t)is_new);
      state[sum].f += (GroupWord){ .u = ended }.f;
      state[sum + 1].u ^= ended;
    } else if (is_new) {
      groups_end_order(g, state);
    }
  }
  g->has_open = true;
}

void groups_end_units(Groups *g) {
  for (uint32_t i = 0; g->has_open && i < g->state_count; i++) groups_end_order(g, group_state(g, i));
  g->has_open = false;
}

/* Where a unit ends for all of its groups at once. */
static Status touch_rows(Groups *g, const uint32_t *numbers, uint32_t count) {
  TRY(memory_grow(&g->touched, &g->touched_capacity, g->touched_count + count, sizeof *g->touched));
  for (uint32_t i = 0; i < count; i++) {
    if (i + GROUPS_AHEAD < count) group_fetch(g, numbers[i + GROUPS_AHEAD]);
    GroupWord *state = group_state(g, numbers[i]);
    bool is_new = state[GROUP_UNIT].u != g->unit_number;
    state[GROUP_UNIT].u = g->unit_number;
    g->touched[g->touched_count] = numbers[i];
    g->touched_count += is_new;
  }
  return KVSTORE_OK;
}

static Status add_block(Groups *g, Scan *scan, uint32_t block) {
  GroupScratch *s = g->scratch;
  uint32_t count = groups_block_rows(g, scan, block);
  TRY(groups_find(g, scan, block, count));
  if (g->is_full) TRY(keep_known(g, scan, block, &count));
  if (g->has_ends || (g->has_order && g->part)) TRY(touch_rows(g, s->groups, count));
  if (g->has_order && !g->has_ends && !g->part) groups_open_unit(g, s->groups, count);
  TRY(groups_add_found(g, scan, block, count));
  if (g->has_ends) TRY(add_ends(g, scan, block, count));
  return groups_keep_found_within(g);
}

void groups_end_order(const Groups *g, GroupWord *state) {
  for (size_t i = 0; i < g->column_count; i++) group_column_end_unit(&g->columns[i], state);
}

static Status end_unit(Groups *g, Scan *scan) {
  for (size_t t = 0; t < g->touched_count; t++) {
    GroupWord *state = group_state(g, g->touched[t]);
    if (t + GROUPS_AHEAD < g->touched_count) group_fetch(g, g->touched[t + GROUPS_AHEAD]);
    groups_end_order(g, state);
    if (g->part && g->has_order) TRY(groups_set_apart(g, g->touched[t]));
    if (g->has_ends) TRY(end_rows(g, g->touched[t], scan));
  }
  g->touched_count = 0;
  return KVSTORE_OK;
}

Status groups_add(Groups *g, Scan *scan) {
  const ScanSelection *selection = scan_selection(scan);
  g->unit_number++;
  if (selection->row_count == 0) return KVSTORE_OK;
  uint64_t left = selection->blocks;
  if (asks_ends_alone(g, scan)) return add_segment_ends(g, scan);
  for (size_t k = 0; k < g->key_count; k++) TRY(key_column_begin_unit(&g->keys[k], scan));
  bool has_slots;
  TRY(group_slots_fit(g, scan, &has_slots));
  if (has_slots) {
    TRY(group_slots_add(g, scan, &left));
    if (!left) return groups_keep_within(g);
  } else {
    TRY(group_slots_leave(g));
  }
  if (!has_slots && !g->slots.by_rows && group_dense_fits(g, scan)) {
    TRY(group_dense_add(g, scan));
    return groups_keep_within(g);
  }
  bool all_seen = true; /* nothing is asked for but different values that codes tell */
  for (size_t i = 0; i < g->column_count; i++) {
    if (g->columns[i].wants & GROUP_DISTINCT) {
      TRY(key_column_begin_unit(&g->values[i], scan));
      if (counts_seen(g, i)) TRY(count_seen(g, i, scan));
    }
    all_seen = all_seen && g->columns[i].wants == GROUP_DISTINCT && counts_seen(g, i);
  }
  if (all_seen && g->column_count) group_state(g, 0)[GROUP_ROWS].u += selection->row_count;
  for (left = all_seen && g->column_count ? 0 : left; left; left &= left - 1)
    TRY(add_block(g, scan, (uint32_t)__builtin_ctzll(left)));
  COUNT(groups_hashed_units);
  return end_unit(g, scan);
}

Status groups_finish(Groups *g, uint32_t threads) {
  groups_end_units(g);
  TRY(group_quantiles_find(g, threads));
  return g->spill ? group_spill_count(g, threads) : KVSTORE_OK;
}
