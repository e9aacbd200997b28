/* table_many.c - rows of many keys at one snapshot: where they lie is found for a batch of keys, then each segment and
 * each delta is read once, column by column, and its values go to the places of their keys. */
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "engine/table_keys.h"

/* The rows of one segment or delta, on their way out. */
typedef struct Group {
  uint32_t count;
  uint16_t *rows;    /* within the segment or slab */
  uint32_t *places;  /* among all keys that were asked for */
  int64_t *expiries; /* where any row may have one */
} Group;

typedef struct Reading {
  TableLookup *lookup;
  const Schema *schema;
  Era *era;
  int64_t now_ms;
  Arena *arena;        /* of the results */
  Arena work;          /* of a group */
  ColumnArray *arrays; /* of a group */
  TableKeys keys;
  Group group;
} Reading;

/* ---- results ---- */

static Status group_begin(Reading *r) {
  size_t most = r->lookup->count < TABLE_KEYS_BATCH ? r->lookup->count : TABLE_KEYS_BATCH;
  r->group.rows = arena_allocate(&r->keys.arena, most * sizeof *r->group.rows);
  r->group.places = arena_allocate(&r->keys.arena, most * sizeof *r->group.places);
  r->group.expiries = arena_allocate(&r->keys.arena, most * sizeof *r->group.expiries);
  return r->group.rows && r->group.places && r->group.expiries ? KVSTORE_OK : status_nomem();
}

static Status results_begin(Reading *r) {
  TableLookup *l = r->lookup;
  l->found_count = 0;
  l->expiries = NULL;
  l->found = arena_allocate_zeroed(r->arena, l->count);
  l->arrays = arena_allocate(r->arena, l->column_count * sizeof *l->arrays);
  r->arrays = arena_allocate(&r->keys.arena, l->column_count * sizeof *r->arrays);
  if (!l->found || !l->arrays || !r->arrays) return status_nomem();
  TRY(group_begin(r));
  for (uint32_t c = 0; c < l->column_count; c++) {
    size_t width = type_array_width(r->schema->columns[l->columns[c]].type);
    void *values = arena_allocate_zeroed(r->arena, memory_array_size(l->count, width));
    uint8_t *nulls = arena_allocate(r->arena, l->count);
    if (!values || !nulls) return status_nomem();
    memset(nulls, 1, l->count);
    l->arrays[c] = (ColumnArray){ values, nulls };
  }
  return KVSTORE_OK;
}

static void results_end(Reading *r) {
  TableLookup *l = r->lookup;
  for (uint32_t c = 0; c < l->column_count; c++)
    if (!memchr(l->arrays[c].nulls, 1, l->count)) l->arrays[c].nulls = NULL;
}

#define SCATTER(BYTES)                                                                                      \
  for (uint32_t i = 0; i < count; i++) memcpy(to + (size_t)places[i] * (BYTES), from + i * (BYTES), BYTES); \
  break

static void scatter(size_t width, const uint8_t *from, const uint32_t *places, uint32_t count, uint8_t *to) {
  switch (width) {
  case 1: SCATTER(1);
  case 2: SCATTER(2);
  case 4: SCATTER(4);
  case 8: SCATTER(8);
  default: SCATTER(sizeof(Bytes));
  }
}
#undef SCATTER

/* The strings of a group are copied behind each other. */
static Status scatter_strings(const Bytes *from, const uint8_t *nulls, const Group *g, Bytes *to, Arena *arena) {
  size_t total = 0;
  for (uint32_t i = 0; i < g->count; i++) total += nulls && nulls[i] ? 0 : from[i].length;
  uint8_t *at = arena_allocate(arena, total);
  if (!at) return status_nomem();
  for (uint32_t i = 0; i < g->count; i++) {
    if (nulls && nulls[i]) continue;
    if (from[i].length) memcpy(at, from[i].data, from[i].length);
    to[g->places[i]] = (Bytes){ at, from[i].length };
    at += from[i].length;
  }
  return KVSTORE_OK;
}

/* Values of column `c` of the group, an entry a row, to where they belong. */
static Status give_column(Reading *r, uint32_t c, const ColumnArray *from) {
  const Group *g = &r->group;
  ColumnType type = r->schema->columns[r->lookup->columns[c]].type;
  uint8_t *values = (uint8_t *)r->lookup->arrays[c].values, *nulls = (uint8_t *)r->lookup->arrays[c].nulls;
  for (uint32_t i = 0; i < g->count; i++) nulls[g->places[i]] = from->nulls ? from->nulls[i] : 0;
  if (type_is_string(type)) return scatter_strings(from->values, from->nulls, g, (Bytes *)(void *)values, r->arena);
  scatter(type_array_width(type), from->values, g->places, g->count, values);
  return KVSTORE_OK;
}

Status table_lookup_expiry(TableLookup *l, uint32_t place, int64_t expiry, Arena *arena) {
  if (expiry == EXPIRY_NEVER) return KVSTORE_OK;
  if (!l->expiries) {
    l->expiries = arena_allocate(arena, memory_array_size(l->count, sizeof *l->expiries));
    if (!l->expiries) return status_nomem();
    for (uint32_t i = 0; i < l->count; i++) l->expiries[i] = EXPIRY_NEVER;
  }
  l->expiries[place] = expiry;
  return KVSTORE_OK;
}

/* Rows of the group that have expired are none; the others' expiries and places are noted. */
static Status leave_out_expired(Reading *r) {
  Group *g = &r->group;
  uint32_t kept = 0;
  for (uint32_t i = 0; i < g->count; i++) {
    if (expiry_passed(g->expiries[i], r->now_ms)) continue;
    TRY(table_lookup_expiry(r->lookup, g->places[i], g->expiries[i], r->arena));
    g->rows[kept] = g->rows[i];
    g->places[kept++] = g->places[i];
  }
  g->count = kept;
  return KVSTORE_OK;
}

/* ---- rows of a segment ---- */

static Status read_segment(Reading *r, ColumnRun *run, uint32_t segment) {
  Group *g = &r->group;
  if (column_run_segment(run, segment)->has_expiry) {
    TRY(column_run_read_expiries(run, segment, g->rows, g->count, g->expiries, &r->work));
    TRY(leave_out_expired(r));
  }
  TRY(column_run_read_rows(run, segment, g->rows, g->count, r->lookup->columns, r->lookup->column_count, r->arrays,
                           &r->work));
  for (uint32_t c = 0; c < r->lookup->column_count; c++) TRY(give_column(r, c, &r->arrays[c]));
  return KVSTORE_OK;
}

/* ---- rows of a slab of a delta ---- */

static Status gather_slab_column(const Group *g, const ColumnArray *column, size_t width, Arena *arena,
                                 ColumnArray *out) {
  uint8_t *values = arena_allocate(arena, g->count * width);
  uint8_t *nulls = column->nulls ? arena_allocate(arena, g->count) : NULL;
  if (!values || (column->nulls && !nulls)) return status_nomem();
  for (uint32_t i = 0; i < g->count; i++) {
    memcpy(values + i * width, (const uint8_t *)column->values + g->rows[i] * width, width);
    if (nulls) nulls[i] = column->nulls[g->rows[i]];
  }
  *out = (ColumnArray){ values, nulls };
  return KVSTORE_OK;
}

static Status read_slab(Reading *r, const TableDelta *delta, uint32_t slab_index) {
  Group *g = &r->group;
  TableSlab slab = table_delta_slab(delta, slab_index);
  for (uint32_t i = 0; i < g->count && slab.expiry; i++) g->expiries[i] = slab.expiry[g->rows[i]];
  if (slab.expiry) TRY(leave_out_expired(r));
  for (uint32_t c = 0; c < r->lookup->column_count; c++) {
    uint32_t column = r->lookup->columns[c];
    size_t width = type_array_width(r->schema->columns[column].type);
    ColumnArray array;
    TRY(gather_slab_column(g, &slab.columns[column], width, &r->work, &array));
    TRY(give_column(r, c, &array));
  }
  return KVSTORE_OK;
}

/* ---- all rows ---- */

/* A segment and a slab have as many rows; what is above them in the word says whose. */
static uint64_t group_of(uint64_t word) { return word / SEGMENT_ROWS; }

static uint32_t take_group(Reading *r, uint32_t from) {
  const TableKeys *k = &r->keys;
  Group *g = &r->group;
  g->count = 0;
  uint32_t at = from;
  for (; at < k->found_count && group_of(k->found[at].word) == group_of(k->found[from].word); at++) {
    g->rows[g->count] = (uint16_t)found_row(k->found[at].word);
    g->places[g->count++] = k->first + k->found[at].number;
  }
  return at;
}

static Status read_group(Reading *r, uint64_t word) {
  uint32_t layer = found_layer(word), part = found_row(word) / SEGMENT_ROWS;
  arena_reset(&r->work);
  COUNT(key_groups_read);
  TRY(found_in_delta(word) ? read_slab(r, r->era->deltas[layer].delta->table, part)
                           : read_segment(r, r->era->runs[layer].run->columns, part));
  for (uint32_t i = 0; i < r->group.count; i++) r->lookup->found[r->group.places[i]] = 1;
  r->lookup->found_count += r->group.count;
  return KVSTORE_OK;
}

static Status read_batch(Reading *r) {
  for (uint32_t at = 0; at < r->keys.found_count;) {
    uint64_t word = r->keys.found[at].word;
    at = take_group(r, at);
    TRY(read_group(r, word));
  }
  return KVSTORE_OK;
}

static Status read_all(Reading *r, uint64_t sequence) {
  bool more;
  TRY(results_begin(r));
  for (;;) {
    TRY(table_keys_next(&r->keys, &more));
    if (!more) break;
    TRY(table_keys_find(&r->keys, r->era, sequence));
    TRY(read_batch(r));
  }
  results_end(r);
  return KVSTORE_OK;
}

static Status get_many(Session *session, const ReadPin *pin, uint32_t family, TableLookup *lookup, Arena *arena) {
  FamilyState *state;
  Reading r = { .lookup = lookup, .arena = arena, .now_ms = store_clock(session->store) };
  TRY(session_family(session, pin, family, FAMILY_TABLE, &state, &r.era));
  r.schema = &state->family->schema;
  Status status = table_keys_begin(&r.keys, r.schema, lookup->keys, lookup->count);
  if (status == KVSTORE_OK) status = read_all(&r, pin->sequence);
  table_keys_end(&r.keys);
  arena_release(&r.work);
  return status;
}

Status table_get_many(Session *session, uint32_t family, TableLookup *lookup, Arena *arena) {
  ReadPin pin;
  TRY(read_pin(session, &pin));
  Status status = get_many(session, &pin, family, lookup, arena);
  read_unpin(session, &pin);
  return status;
}
