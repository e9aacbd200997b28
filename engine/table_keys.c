/* table_keys.c - many keys of a table at once: their lines of the deltas' indexes are fetched before they are looked
 * at; runs are asked newest first, each for all keys that are still sought. */
#include "engine/table_keys.h"

#include <string.h>

#include "engine/table_state.h"

enum { FETCH_AHEAD = 16, FETCH_ENTRY_AHEAD = 8 }; /* keys: the slot of the index, then what it names */

/* ---- the keys ---- */

static Status check_key(const Column *column, const ColumnArray *array, uint32_t count) {
  const uint8_t *null = array->nulls ? memchr(array->nulls, 1, count) : NULL;
  if (!null) return check_column(column, array, count);
  uint64_t row = (uint64_t)(null - array->nulls);
  return status_fail_at(KVSTORE_TYPE, row, column->name, NULL, "row %llu, column %s: a key column cannot be null",
                        (unsigned long long)row, column->name);
}

static Status take_columns(TableKeys *k, const Schema *schema, const ColumnArray *keys, uint32_t count) {
  ColumnArray *columns = arena_allocate_zeroed(&k->arena, schema->column_count * sizeof *columns);
  if (!columns) return status_nomem();
  for (uint32_t i = 0; i < schema->key_count; i++) {
    TRY(check_key(&schema->columns[schema->key_columns[i]], &keys[i], count));
    columns[schema->key_columns[i]].values = keys[i].values;
  }
  k->rows = (PreparedRows){ .schema = schema };
  k->rows.batch = (ColumnBatch){ .row_count = count, .column_count = schema->column_count, .columns = columns };
  return KVSTORE_OK;
}

Status table_keys_begin(TableKeys *k, const Schema *schema, const ColumnArray *keys, uint32_t count) {
  size_t most = count < TABLE_KEYS_BATCH ? count : TABLE_KEYS_BATCH;
  memset(k, 0, sizeof *k);
  TRY(take_columns(k, schema, keys, count));
  k->keys = arena_allocate(&k->arena, most * sizeof *k->keys);
  k->hashes = arena_allocate(&k->arena, most * sizeof *k->hashes);
  k->locators = arena_allocate(&k->arena, most * sizeof *k->locators);
  for (uint32_t i = 0; i < 2; i++) k->words[i] = arena_allocate(&k->arena, most * sizeof *k->words[i]);
  bool have = k->keys && k->hashes && k->locators && k->words[0] && k->words[1];
  return have ? KVSTORE_OK : status_nomem();
}

Status table_keys_next(TableKeys *k, bool *more) {
  k->first += k->count;
  uint32_t left = k->rows.batch.row_count - k->first;
  k->count = left < TABLE_KEYS_BATCH ? left : TABLE_KEYS_BATCH;
  *more = k->count > 0;
  arena_reset(&k->encoded);
  return *more ? table_encode_keys(&k->encoded, &k->rows, k->first, k->count, k->keys, k->hashes) : KVSTORE_OK;
}

void table_keys_end(TableKeys *k) {
  arena_release(&k->encoded);
  arena_release(&k->arena);
}

/* ---- where their rows are ---- */

static void add_found(TableKeys *k, uint32_t key, uint64_t word) {
  k->words[0][k->found_count++] = (FoundKey){ word, key };
}

static void fetch_ahead(const TableKeys *k, const Era *era, uint32_t key) {
  for (uint32_t i = 0; i < era->delta_count; i++) {
    const TableDelta *delta = era->deltas[i].delta->table;
    if (key + FETCH_AHEAD < k->count) table_delta_prefetch(delta, k->hashes[key + FETCH_AHEAD]);
    if (key + FETCH_ENTRY_AHEAD < k->count) table_delta_prefetch_entry(delta, k->hashes[key + FETCH_ENTRY_AHEAD]);
  }
}

/* The newest delta that knows the key decides. A delete hides what is older; a run that was adopted later may hold the
 * key again. */
static Status ask_deltas_for(TableKeys *k, Era *era, uint64_t sequence, uint32_t key) {
  Bytes bytes = k->keys[key];
  uint64_t hash = k->hashes[key];
  k->locators[key] = LOCATOR_NONE;
  for (uint32_t i = 0; i < era->delta_count; i++) {
    const TableDelta *delta = era->deltas[i].delta->table;
    uint32_t row;
    DeltaState state = table_delta_find(delta, hash, bytes.data, bytes.length, sequence, &row);
    if (state == DELTA_ABSENT) continue;
    k->locators[key] = LOCATOR_IN_DELTA; /* no run is asked */
    if (state == DELTA_FOUND) {
      add_found(k, key, FOUND_IN_DELTA | (uint64_t)i << 32 | row);
      return KVSTORE_OK;
    }
    uint64_t locator;
    uint32_t layer;
    TRY(era_find_in_runs(era, bytes, hash, sequence, table_delta_sequence(delta, row), &locator, &layer));
    if (locator != LOCATOR_NONE) add_found(k, key, (uint64_t)layer << 32 | locator_position(locator));
    return KVSTORE_OK;
  }
  return KVSTORE_OK;
}

static Status ask_deltas(TableKeys *k, Era *era, uint64_t sequence) {
  bool empty = true;
  for (uint32_t i = 0; i < era->delta_count; i++) empty &= table_delta_row_count(era->deltas[i].delta->table) == 0;
  if (empty) {
    for (uint32_t key = 0; key < k->count; key++) k->locators[key] = LOCATOR_NONE;
    return KVSTORE_OK;
  }
  for (uint32_t key = 0; key < k->count; key++) {
    fetch_ahead(k, era, key);
    TRY(ask_deltas_for(k, era, sequence, key));
  }
  return KVSTORE_OK;
}

/* A dead hit sends the key on to older runs. */
static Status ask_run(TableKeys *k, Era *era, uint64_t sequence, uint32_t layer) {
  ColumnRun *run = era->runs[layer].run->columns;
  TRY(column_run_find_many(run, k->keys, k->hashes, k->count, k->locators));
  for (uint32_t key = 0; key < k->count; key++) {
    uint64_t locator = k->locators[key];
    if (!locator_is_row(locator) || locator_unpack(locator).run != run->number) continue;
    if (era_run_row_is_dead(era, layer, locator_position(locator), sequence))
      k->locators[key] = LOCATOR_NONE;
    else
      add_found(k, key, (uint64_t)layer << 32 | locator_position(locator));
  }
  return KVSTORE_OK;
}

static bool any_sought(const TableKeys *k) {
  uint32_t key = 0;
  while (key < k->count && k->locators[key] != LOCATOR_NONE) key++;
  return key < k->count;
}

Status table_keys_find(TableKeys *k, Era *era, uint64_t sequence) {
  k->found_count = 0;
  TRY(ask_deltas(k, era, sequence));
  for (uint32_t i = 0; i < era->run_count && any_sought(k); i++)
    if (era->runs[i].since <= sequence) TRY(ask_run(k, era, sequence, i));
  k->found = words_sort(k->words[0], k->words[1], k->found_count);
  return KVSTORE_OK;
}
