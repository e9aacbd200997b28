/* group_spill.c - rows of groups that no memory was left for, divided by a hash of the groups' keys (row_parts.h); and
 * pairs of a group and a value, to be counted once, by a hash of both.
 *
 *   columns of a row that left:   unit | key columns | columns of aggregates | encoded key of the row (first, last)
 *
 * Rows come back part by part, each in the order in which they left. Groups are taken in until memory is used up again;
 * from then on rows of others leave once more, to be divided further. So each round has whole groups. */
#include "base/counters.h"
#include "base/hash.h"
#include "base/keycode.h"
#include "base/memory.h"
#include "query/groups_internal.h"
#include "query/query_internal.h"
#include "query/row_parts.h"
#include "query/sorter.h"

enum { DIFFERENT_OF_LIMIT = 8 /* of the memory: values of a part that are told apart */ };

struct GroupSpill {
  QuerySpace rows_space, values_space, sorted_space; /* shares of the Groups' */
  RowParts *rows;
  ColumnType *types;
  uint32_t *positions; /* in the schema, of each column but the first, and the last where there are ends */
  uint32_t column_count;
  ColumnArray *arrays; /* of a batch on its way out */
  QueryBatch batch;    /* rows that came back */
  uint32_t at;         /* of them, those being added */
  RowParts **values;   /* of each column whose different values are counted: numbers of groups, values */
  Sorter **sorted;     /* of each column of texts whose quantiles are asked for */
  RowParts **words;    /* of numbers: numbers of groups, words */
  ColumnType (*word_types)[2];
  OrderTerm value_terms[2];
  ColumnType (*value_types)[2];
  uint64_t value_bytes; /* that left memory in rounds before */
};

/* ---- life ---- */

static void lay_out(Groups *g, GroupSpill *s) {
  s->types[s->column_count++] = TYPE_U32;
  for (size_t k = 0; k < g->key_count; k++) {
    s->positions[s->column_count] = g->keys[k].column;
    s->types[s->column_count++] = g->keys[k].type;
  }
  for (size_t i = 0; i < g->column_count; i++) {
    s->positions[s->column_count] = g->columns[i].column;
    s->types[s->column_count++] = g->columns[i].type;
  }
  if (g->has_ends) s->types[s->column_count++] = TYPE_BYTES;
  s->value_terms[1].column = 1;
  for (size_t i = 0; i < g->column_count; i++) {
    s->value_types[i][0] = TYPE_U32;
    s->value_types[i][1] = g->columns[i].type;
    s->word_types[i][0] = TYPE_U32;
    s->word_types[i][1] = type_is_float(g->columns[i].type) ? TYPE_F64 : TYPE_I64;
  }
}

static Status allocate(Groups *g, GroupSpill *s) {
  Arena *a = &g->arena;
  size_t most = g->key_count + g->column_count + 2;
  s->types = arena_allocate(a, most * sizeof *s->types);
  s->positions = arena_allocate_zeroed(a, most * sizeof *s->positions);
  s->arrays = arena_allocate_zeroed(a, most * sizeof *s->arrays);
  s->values = arena_allocate_zeroed(a, most * sizeof *s->values);
  s->value_types = arena_allocate(a, most * sizeof *s->value_types);
  s->sorted = arena_allocate_zeroed(a, most * sizeof *s->sorted);
  s->words = arena_allocate_zeroed(a, most * sizeof *s->words);
  s->word_types = arena_allocate(a, most * sizeof *s->word_types);
  if (!s->sorted || !s->words || !s->word_types || !s->types || !s->positions || !s->arrays || !s->values ||
      !s->value_types)
    return status_nomem();
  lay_out(g, s);
  for (uint32_t c = 0; c < s->column_count; c++) {
    s->arrays[c].values = arena_allocate_aligned(a, 64, BLOCK_ROWS * type_array_width(s->types[c]));
    s->arrays[c].nulls = arena_allocate_zeroed(a, BLOCK_ROWS);
    if (!s->arrays[c].values || !s->arrays[c].nulls) return status_nomem();
  }
  return KVSTORE_OK;
}

static Status spill_of(Groups *g, GroupSpill **out) {
  if (!g->spill) {
    GroupSpill *s = arena_allocate_zeroed(&g->arena, sizeof *s);
    if (!s) return status_nomem();
    if (g->space)
      s->rows_space = *g->space;
    else
      s->rows_space.memory_limit = UINT64_MAX; /* never used up */
    s->values_space = s->sorted_space = s->rows_space;
    s->rows_space.memory_limit /= 8;
    s->values_space.memory_limit /= 8 * (2 * g->column_count + 1);
    uint64_t sorted = 0;
    for (size_t i = 0; i < g->column_count; i++) sorted += (g->columns[i].wants & GROUP_VALUES) != 0;
    s->sorted_space.memory_limit /= 8 * (sorted ? sorted : 1);
    TRY(allocate(g, s));
    g->spill = s;
  }
  *out = g->spill;
  return KVSTORE_OK;
}

void group_spill_destroy(GroupSpill *s) {
  if (!s) return;
  row_parts_destroy(s->rows);
  for (uint32_t i = 0; i < s->column_count; i++) {
    row_parts_destroy(s->values[i]);
    sorter_destroy(s->sorted[i]);
    row_parts_destroy(s->words[i]);
  }
}

uint64_t group_spill_bytes(const GroupSpill *s) {
  uint64_t bytes = s->value_bytes + (s->rows ? row_parts_bytes(s->rows) : 0);
  for (uint32_t i = 0; i < s->column_count; i++) {
    bytes += s->values[i] ? row_parts_bytes(s->values[i]) : 0;
    bytes += s->sorted[i] ? sorter_spilled(s->sorted[i]) : 0;
    bytes += s->words[i] ? row_parts_bytes(s->words[i]) : 0;
  }
  return bytes;
}

/* ---- out ---- */

static void *array_values(const GroupSpill *s, uint32_t column) { return (void *)(uintptr_t)s->arrays[column].values; }

static Status read_column(Groups *g, GroupSpill *s, uint32_t column, Scan *scan, uint32_t block, uint32_t count) {
  const void *values;
  const uint8_t *nulls;
  TRY(groups_read(g, scan, s->positions[column], block, count, &values, &nulls));
  memcpy(array_values(s, column), values, count * type_array_width(s->types[column]));
  uint8_t *out = (uint8_t *)(uintptr_t)s->arrays[column].nulls;
  if (nulls)
    memcpy(out, nulls, count);
  else
    memset(out, 0, count);
  return KVSTORE_OK;
}

/* The encoded keys of the rows, one behind the other in g->key; pointed to when it does not grow any more. */
static Status read_keys(Groups *g, Bytes *keys, Scan *scan, uint32_t block, uint32_t count) {
  const Schema *schema = g->snapshot->schema;
  buffer_clear(&g->key);
  for (uint32_t i = 0; i < count; i++) {
    size_t from = g->key.length;
    for (uint32_t k = 0; k < schema->key_count; k++) {
      const Column *column = &schema->columns[schema->key_columns[k]];
      Value v;
      TRY(scan_read_value(scan, schema->key_columns[k], block * BLOCK_ROWS + g->scratch->rows[i], &v));
      v.type = column->type;
      keycode_append(&g->key, &v, (column->flags & COLUMN_NULLABLE) != 0);
    }
    keys[i].length = g->key.length - from;
  }
  const uint8_t *at = g->key.data;
  for (uint32_t i = 0; i < count; at += keys[i++].length) keys[i].data = at;
  return buffer_status(&g->key);
}

/* Adds a column of rows to their hashes: equal values have the same one. */
static void hash_column(ColumnType type, const ColumnArray *array, uint32_t count, uint64_t *hashes) {
  int64_t images[BLOCK_ROWS];
  bool is_string = type_is_string(type);
  const Bytes *strings = array->values;
  if (!is_string) group_images(type, array->values, count, images);
  for (uint32_t i = 0; i < count; i++) {
    uint64_t word = 0;
    if (!array->nulls || !array->nulls[i])
      word = is_string ? hash_key(strings[i].data, strings[i].length) : (uint64_t)images[i];
    hashes[i] = id_hash(hashes[i] + word);
  }
}

/* By their groups' keys. */
static void hash_rows(const Groups *g, const GroupSpill *s, const ColumnArray *columns, uint32_t count,
                      uint64_t *hashes) {
  for (uint32_t i = 0; i < count; i++) hashes[i] = 1;
  for (uint32_t k = 1; k <= g->key_count; k++) hash_column(s->types[k], &columns[k], count, hashes);
}

/* By groups and values. */
static void hash_pairs(ColumnType type, const ColumnArray *columns, uint32_t count, uint64_t *hashes) {
  const ColumnArray values = { columns[1].values, NULL };
  for (uint32_t i = 0; i < count; i++) hashes[i] = ((const uint32_t *)columns[0].values)[i] + UINT64_C(1);
  hash_column(type, &values, count, hashes);
}

Status group_spill_rows(Groups *g, Scan *scan, uint32_t block, uint32_t count) {
  GroupSpill *s;
  TRY(spill_of(g, &s));
  if (!s->rows) TRY(row_parts_create(s->types, s->column_count, &s->rows_space, s->rows_space.memory_limit, &s->rows));
  uint32_t *units = array_values(s, 0), last = s->column_count - g->has_ends;
  for (uint32_t i = 0; i < count; i++) units[i] = g->unit_number;
  for (uint32_t c = 1; c < last; c++) TRY(read_column(g, s, c, scan, block, count));
  if (g->has_ends) TRY(read_keys(g, array_values(s, last), scan, block, count));
  uint64_t hashes[BLOCK_ROWS];
  hash_rows(g, s, s->arrays, count, hashes);
  COUNT_MANY(groups_spilled, count);
  return row_parts_add(s->rows, s->arrays, NULL, count, hashes);
}

static bool same_value(ColumnType type, const void *values, uint32_t a, uint32_t b) {
  size_t width = type_array_width(type);
  const Bytes *strings = values;
  const uint8_t *bytes = values;
  if (!type_is_string(type)) return memcmp(bytes + a * width, bytes + b * width, width) == 0;
  bool same_length = strings[a].length == strings[b].length;
  return same_length && (!strings[a].length || memcmp(strings[a].data, strings[b].data, strings[a].length) == 0);
}

/* Of rows that follow each other with the same group and value one leaves. */
Status group_spill_values(Groups *g, size_t column, const uint32_t *numbers, const void *values, uint32_t count) {
  GroupSpill *s;
  uint64_t hashes[BLOCK_ROWS];
  uint16_t rows[BLOCK_ROWS];
  uint32_t kept = 0;
  TRY(spill_of(g, &s));
  const ColumnType *types = s->value_types[column];
  if (!s->values[column])
    TRY(row_parts_create(types, 2, &s->values_space, s->values_space.memory_limit, &s->values[column]));
  const ColumnArray arrays[2] = { { numbers, NULL }, { values, NULL } };
  hash_pairs(types[1], arrays, count, hashes);
  for (uint32_t i = 0; i < count; i++) {
    if (i && numbers[i] == numbers[i - 1] && same_value(types[1], values, i, i - 1)) continue;
    hashes[kept] = hashes[i];
    rows[kept++] = (uint16_t)i;
  }
  COUNT_MANY(values_spilled, kept);
  return row_parts_add(s->values[column], arrays, rows, kept, hashes);
}

Status group_sort_values(Groups *g, size_t column, const uint32_t *numbers, const void *values, uint32_t count) {
  GroupSpill *s;
  TRY(spill_of(g, &s));
  SorterOptions options = { .keep = QUERY_NO_LIMIT, .space = &s->sorted_space };
  if (!s->sorted[column])
    TRY(sorter_create(s->value_types[column], 2, s->value_terms, 2, &options, &s->sorted[column]));
  const ColumnArray arrays[2] = { { numbers, NULL }, { values, NULL } };
  QueryBatch batch = { count, 2, arrays };
  return sorter_add(s->sorted[column], &batch);
}

Status group_divide_words(Groups *g, size_t column, const uint32_t *numbers, const GroupWord *words, uint32_t count) {
  GroupSpill *s;
  uint64_t hashes[BLOCK_ROWS];
  TRY(spill_of(g, &s));
  if (!s->words[column])
    TRY(row_parts_create(s->word_types[column], 2, &s->sorted_space, s->sorted_space.memory_limit, &s->words[column]));
  for (uint32_t at = 0, more; at < count; at += more) {
    more = count - at < BLOCK_ROWS ? count - at : BLOCK_ROWS;
    const ColumnArray arrays[2] = { { numbers + at, NULL }, { words + at, NULL } };
    for (uint32_t i = 0; i < more; i++) hashes[i] = id_hash(numbers[at + i] + UINT64_C(1));
    TRY(row_parts_add(s->words[column], arrays, NULL, more, hashes));
  }
  return KVSTORE_OK;
}

/* ---- back: values ---- */

/* Values of a part, and pairs of a group and one of them: each pair that is new counts. */
typedef struct Different {
  Groups *groups;
  size_t column;
  RowParts *parts;
  IdMap numbers, pairs;
  BytesMap strings;
  bool is_full; /* no further one is taken in */
} Different;

static void forget(Different *d) {
  id_map_release(&d->numbers);
  id_map_release(&d->pairs);
  bytes_map_release(&d->strings);
  d->is_full = false;
}

static Status ids_of_values(Different *d, ColumnType type, const QueryBatch *batch, uint32_t *ids) {
  const void *values = batch->columns[1].values;
  if (type_is_string(type)) return bytes_map_add_many(&d->strings, values, batch->row_count, d->is_full, ids);
  int64_t images[BLOCK_ROWS];
  group_images(type, values, batch->row_count, images);
  return id_map_add(&d->numbers, (const uint64_t *)images, batch->row_count, d->is_full, ids);
}

/* Pairs for which there is no room leave once more. */
static Status send_pairs_on(Different *d, ColumnType type, const QueryBatch *batch, const uint16_t *rows,
                            uint32_t count) {
  uint64_t hashes[BLOCK_ROWS], some[BLOCK_ROWS]; /* rows do not ascend */
  if (!count) return KVSTORE_OK;
  hash_pairs(type, batch->columns, batch->row_count, hashes);
  for (uint32_t i = 0; i < count; i++) some[i] = hashes[rows[i]];
  return row_parts_add(d->parts, batch->columns, rows, count, some);
}

static Status count_pairs(Different *d, const QueryBatch *batch) {
  Groups *g = d->groups;
  GroupScratch *scratch = g->scratch;
  ColumnType type = g->columns[d->column].type;
  const uint32_t *numbers = batch->columns[0].values;
  uint32_t kept = 0, away_count = 0, before = d->pairs.count;
  uint16_t rows[BLOCK_ROWS], away[BLOCK_ROWS];
  TRY(ids_of_values(d, type, batch, scratch->ids));
  for (uint32_t i = 0; i < batch->row_count; i++) {
    if (scratch->ids[i] == ID_NONE) {
      away[away_count++] = (uint16_t)i;
      continue;
    }
    rows[kept] = (uint16_t)i;
    scratch->words[kept++] = (uint64_t)numbers[i] << 32 | scratch->ids[i];
  }
  TRY(id_map_add(&d->pairs, scratch->words, kept, d->is_full, scratch->some));
  for (uint32_t i = 0; i < kept; i++) {
    if (scratch->some[i] == ID_NONE) away[away_count++] = rows[i];
  }
  for (; before < d->pairs.count; before++)
    group_state(g, (uint32_t)(d->pairs.words[before] >> 32))[g->columns[d->column].distinct].u++;
  TRY(send_pairs_on(d, type, batch, away, away_count));
  uint64_t bytes = id_map_bytes(&d->numbers) + id_map_bytes(&d->pairs) + bytes_map_bytes(&d->strings);
  d->is_full = d->is_full || bytes > g->space->memory_limit / DIFFERENT_OF_LIMIT;
  return KVSTORE_OK;
}

static Status count_parts(Different *d) {
  for (;;) {
    QueryBatch batch = { .row_count = 1 };
    bool more;
    TRY(row_parts_open(d->parts, &more));
    if (!more) return KVSTORE_OK;
    forget(d);
    while (batch.row_count) {
      TRY(query_tick(d->groups->space, d->groups->space->rows_total));
      TRY(row_parts_next(d->parts, &batch));
      if (batch.row_count) TRY(count_pairs(d, &batch));
    }
  }
}

static Status count_values(Groups *g, size_t column) {
  GroupSpill *s = g->spill;
  Different d = { .groups = g, .column = column, .parts = s->values[column] };
  Status status = count_parts(&d);
  forget(&d);
  TRY(status);
  s->value_bytes += row_parts_bytes(s->values[column]);
  row_parts_destroy(s->values[column]);
  s->values[column] = NULL;
  return KVSTORE_OK;
}

/* The value at place `place` (from 1) of its group's `count` values: what of the quantiles of the column it is. */
static Status keep_quantiles(Groups *g, size_t column, uint32_t number, uint64_t place, const Value *v) {
  GroupWord *state = group_state(g, number);
  uint64_t count = group_column_count(&g->columns[column], state);
  for (size_t i = 0; i < g->request_count; i++) {
    const AggregateRequest *request = &g->requests[i];
    if (request->kind != AGGREGATE_QUANTILE || g->request_columns[i] != column) continue;
    if (place != group_quantile_place(count, request->millionths)) continue;
    TRY(group_keep_quantile(state + g->request_words[i], v, &g->kept));
  }
  return KVSTORE_OK;
}

static Status find_quantiles(Groups *g, size_t column) {
  GroupSpill *s = g->spill;
  ColumnType type = g->columns[column].type;
  uint32_t number = ID_NONE;
  uint64_t place = 0;
  for (;;) {
    QueryBatch batch;
    TRY(sorter_next(s->sorted[column], &batch));
    if (batch.row_count == 0) break;
    for (uint32_t i = 0; i < batch.row_count; i++) {
      uint32_t group = ((const uint32_t *)batch.columns[0].values)[i];
      place = group == number ? place + 1 : 1;
      number = group;
      Value v = value_from_array(type, batch.columns[1].values, i);
      TRY(keep_quantiles(g, column, number, place, &v));
    }
  }
  s->value_bytes += sorter_spilled(s->sorted[column]);
  sorter_destroy(s->sorted[column]);
  s->sorted[column] = NULL;
  return KVSTORE_OK;
}

static Status find_in_parts(Groups *g, size_t column, uint32_t threads) {
  GroupSpill *s = g->spill;
  RowParts *parts = s->words[column];
  for (;;) {
    bool more;
    TRY(row_parts_open(parts, &more));
    if (!more) break;
    TRY(group_quantiles_find_part(g, column, parts, threads));
  }
  s->value_bytes += row_parts_bytes(parts);
  row_parts_destroy(parts);
  s->words[column] = NULL;
  return KVSTORE_OK;
}

Status group_spill_count(Groups *g, uint32_t threads) {
  for (size_t i = 0; i < g->column_count; i++) {
    if (g->spill->values[i]) TRY(count_values(g, i));
    if (g->spill->words[i]) TRY(find_in_parts(g, i, threads));
    if (g->spill->sorted[i]) TRY(find_quantiles(g, i));
  }
  return KVSTORE_OK;
}

/* ---- back: rows ---- */

bool group_spill_array(const Groups *g, uint32_t column, ColumnArray *out) {
  const GroupSpill *s = g->spill;
  for (uint32_t c = 1; c < s->column_count - g->has_ends; c++) {
    if (s->positions[c] != column) continue;
    const ColumnArray *a = &s->batch.columns[c];
    out->values = (const uint8_t *)a->values + s->at * type_array_width(s->types[c]);
    out->nulls = a->nulls ? a->nulls + s->at : NULL;
    return true;
  }
  return false;
}

static uint32_t unit_of(const GroupSpill *s, uint32_t row) {
  return ((const uint32_t *)s->batch.columns[0].values)[row];
}

static Status add_ends(Groups *g, uint32_t row) {
  GroupSpill *s = g->spill;
  Bytes key = ((const Bytes *)s->batch.columns[s->column_count - 1].values)[s->at + row];
  buffer_clear(&g->key);
  buffer_append(&g->key, key.data, key.length);
  TRY(buffer_status(&g->key));
  for (size_t i = 0; i < g->column_count; i++) {
    const GroupColumn *c = &g->columns[i];
    ColumnArray a;
    if (!(c->wants & (GROUP_FIRST | GROUP_LAST)) || !group_spill_array(g, c->column, &a)) continue;
    Value v = { .type = c->type, .is_null = a.nulls && a.nulls[row] };
    if (!v.is_null) v = value_from_array(c->type, a.values, row);
    TRY(groups_offer(g, g->scratch->groups[row], c, &v, c->wants));
  }
  return KVSTORE_OK;
}

/* Rows at [at, at + count) whose groups are known: no group has rows of two units among them. */
static Status add_rows(Groups *g, uint32_t count) {
  GroupSpill *s = g->spill;
  for (uint32_t i = 0; g->has_order && i < count; i++) {
    GroupWord *state = group_state(g, g->scratch->groups[i]);
    uint64_t unit = unit_of(s, s->at + i);
    if (state[GROUP_UNIT].u && state[GROUP_UNIT].u != unit) groups_end_order(g, state);
    state[GROUP_UNIT].u = unit;
  }
  TRY(groups_add_found(g, NULL, 0, count));
  for (uint32_t i = 0; g->has_ends && i < count; i++) TRY(add_ends(g, i));
  s->at += count;
  return KVSTORE_OK;
}

/* How many rows from `at` on can be added together: where anything depends on the order of units, those of one. */
static uint32_t rows_together(const Groups *g, const GroupSpill *s) {
  uint32_t rows = s->batch.row_count - s->at, count = 1;
  if (!g->has_order) return rows;
  while (count < rows && unit_of(s, s->at + count) == unit_of(s, s->at)) count++;
  return count;
}

/* Of the rows from `at` on, those at `rows` move together. */
static void move_rows(GroupSpill *s, const uint16_t *rows, uint32_t count) {
  for (uint32_t c = 0; c < s->column_count; c++) {
    size_t width = type_array_width(s->types[c]);
    uint8_t *values = (uint8_t *)(uintptr_t)s->batch.columns[c].values;
    uint8_t *nulls = (uint8_t *)(uintptr_t)s->batch.columns[c].nulls;
    for (uint32_t i = 0; i < count; i++) {
      memmove(values + (s->at + i) * width, values + rows[i] * width, width);
      nulls[s->at + i] = nulls[rows[i]];
    }
  }
}

/* Rows whose groups are not taken in any more leave once more; how many others there are, which move together. */
static Status pass_on(Groups *g, uint32_t count, uint32_t *known) {
  GroupSpill *s = g->spill;
  uint32_t *groups = g->scratch->groups, unknown = 0;
  uint16_t here[BLOCK_ROWS], away[BLOCK_ROWS];
  *known = 0;
  for (uint32_t i = 0; i < count; i++) {
    if (groups[i] == ID_NONE) {
      away[unknown++] = (uint16_t)(s->at + i);
      continue;
    }
    here[*known] = (uint16_t)(s->at + i);
    groups[(*known)++] = groups[i];
  }
  if (!unknown) return KVSTORE_OK;
  uint64_t hashes[BLOCK_ROWS], some[BLOCK_ROWS];
  hash_rows(g, s, s->batch.columns, s->batch.row_count, hashes);
  for (uint32_t i = 0; i < unknown; i++) some[i] = hashes[away[i]];
  TRY(row_parts_add(s->rows, s->batch.columns, away, unknown, some));
  move_rows(s, here, *known);
  return KVSTORE_OK;
}

static Status end_round(Groups *g) {
  for (uint32_t i = 0; g->has_order && i < g->state_count; i++) groups_end_order(g, group_state(g, i));
  TRY(group_quantiles_find(g, 1));
  return group_spill_count(g, 1);
}

/* A batch of a part. */
static Status add_batch(Groups *g) {
  GroupSpill *s = g->spill;
  for (s->at = 0; s->at < s->batch.row_count;) {
    uint32_t count = rows_together(g, s), end = s->at + count, known;
    TRY(groups_find(g, NULL, 0, count));
    TRY(pass_on(g, count, &known));
    if (known) TRY(add_rows(g, known));
    TRY(groups_keep_found_within(g));
    s->at = end;
  }
  return KVSTORE_OK;
}

Status group_spill_more(Groups *g, bool *more) {
  GroupSpill *s = g->spill;
  *more = false;
  if (!s->rows) return KVSTORE_OK;
  TRY(groups_clear(g));
  TRY(row_parts_open(s->rows, more));
  while (*more) {
    TRY(query_tick(g->space, g->space ? g->space->rows_total : 0));
    TRY(row_parts_next(s->rows, &s->batch));
    if (s->batch.row_count == 0) return end_round(g);
    TRY(add_batch(g));
  }
  return KVSTORE_OK;
}
