/* table_delete_many.c - rows of many keys end in one statement.
 *
 * Few of them get a delete each in the table's delta and in the transaction's record, as one that is deleted by itself.
 * Many, or more than the log takes, become a run that the transaction adopts, as many upserts do: of rows with these
 * keys and nothing else, which expired at the beginning of time. Nobody sees those, and a merge leaves them out
 * (docs/decisions/0027). */
#include <string.h>

#include "base/counters.h"
#include "base/hash.h"
#include "base/memory.h"
#include "engine/table_keys.h"
#include "engine/table_state.h"

enum {
  FETCH_AHEAD = 12,      /* rows whose slot of the delta's index is asked for before their turn */
  DELETE_BYTES_MORE = 24 /* of a delete in a record, beside its key */
};
#define EXPIRED_ALWAYS 1 /* an expiry, before any reading of a clock */

typedef struct Deleting {
  Session *session;
  FamilyState *state; /* of the version that the batch is looked up in */
  Era *era;
  uint64_t sequence;
  int64_t now_ms;
  bool expired_too; /* also rows that nobody sees any more */
  TableKeys keys;
  Arena arena;
  uint64_t deleted;
} Deleting;

/* ---- which rows ---- */

static Status has_expired(const Deleting *d, uint64_t word, bool *expired) {
  uint32_t layer = found_layer(word), row = found_row(word);
  int64_t expiry;
  if (found_in_delta(word))
    expiry = table_delta_expiry(d->era->deltas[layer].delta->table, row);
  else
    TRY(column_run_get_expiry(d->era->runs[layer].run->columns, row, &expiry));
  *expired = expiry_passed(expiry, d->now_ms);
  return KVSTORE_OK;
}

/* Keeps of sorted rows each once, and none that has expired: nobody sees those anyway, unless they are asked for. */
static Status keep_live(const Deleting *d, FoundKey *found, uint32_t *count) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < *count; i++) {
    bool leave = kept && found[kept - 1].word == found[i].word;
    if (!leave && !d->expired_too) TRY(has_expired(d, found[i].word, &leave));
    if (!leave) found[kept++] = found[i];
  }
  *count = kept;
  return KVSTORE_OK;
}

/* ---- few: a delete each ---- */

static void fetch_ahead(const TableKeys *k, const TableDelta *delta, uint32_t i) {
  if (i + FETCH_AHEAD < k->found_count) table_delta_prefetch(delta, k->hashes[k->found[i + FETCH_AHEAD].number]);
}

/* *first: the row of the delta that is the first one's delete; the others' follow it. */
static Status append_deletes(Deleting *d, uint32_t *first) {
  Store *store = d->session->store;
  const TableKeys *k = &d->keys;
  const TableDelta *delta = d->era->deltas[0].delta->table;
  uint64_t sequence = store->transaction.next_sequence;
  mutex_lock(&store->apply_lock);
  Status status = transaction_touch(store, d->era->deltas[0].delta, d->state->family);
  *first = table_delta_row_count(delta);
  for (uint32_t i = 0; i < k->found_count && status == KVSTORE_OK; i++) {
    uint32_t key = k->found[i].number;
    fetch_ahead(k, delta, i);
    status = apply_row_delete(store, d->era, k->keys[key], k->hashes[key], sequence + i);
  }
  mutex_unlock(&store->apply_lock);
  return status;
}

static uint64_t word_of(const Era *era, uint64_t found) {
  return found_in_delta(found) ? locator_of_delta(found_layer(found))
                               : locator_of_run(era, found_layer(found), found_row(found));
}

/* The keys' locators have told what they had to by now; the rows' take their place. */
static Status note_locators(Deleting *d, uint32_t first) {
  TableKeys *k = &d->keys;
  for (uint32_t i = 0; i < k->found_count; i++) k->locators[i] = word_of(d->era, k->found[i].word);
  return locators_note(d->era, first, k->locators, k->found_count);
}

static Status end_each(Deleting *d) {
  Transaction *t = &d->session->store->transaction;
  const TableKeys *k = &d->keys;
  uint32_t first, family = d->state->family->id;
  TRY(append_deletes(d, &first));
  t->next_sequence += k->found_count;
  TRY(note_locators(d, first));
  for (uint32_t i = 0; i < k->found_count; i++)
    record_append_row_delete(&t->record, family, k->rows.schema->version, k->keys[k->found[i].number]);
  table_resolve_written(d->session, family, d->era);
  return buffer_status(&t->record);
}

/* ---- many: a run of rows that have expired ---- */

static Status gather_key(const ColumnArray *from, ColumnType type, const uint32_t *numbers, uint32_t count,
                         Arena *arena, ColumnArray *out) {
  size_t width = type_array_width(type);
  uint8_t *values = arena_allocate(arena, memory_array_size(count, width));
  if (!values) return status_nomem();
  for (uint32_t i = 0; i < count; i++)
    memcpy(values + i * width, (const uint8_t *)from->values + numbers[i] * width, width);
  *out = (ColumnArray){ values, NULL };
  return KVSTORE_OK;
}

/* A column of no value: null where it may be, else zeros. */
static Status fill_empty(const Column *column, uint32_t count, Arena *arena, ColumnArray *out) {
  void *values = arena_allocate_zeroed(arena, memory_array_size(count, type_array_width(column->type)));
  uint8_t *nulls = column->flags & COLUMN_NULLABLE ? arena_allocate(arena, count) : NULL;
  if (!values || (column->flags & COLUMN_NULLABLE && !nulls)) return status_nomem();
  if (nulls) memset(nulls, 1, count);
  *out = (ColumnArray){ values, nulls };
  if (nulls || !type_is_fixed(column->type)) return KVSTORE_OK;
  const uint8_t *zeros = arena_allocate_zeroed(arena, column->width);
  if (!zeros) return status_nomem();
  for (uint32_t i = 0; i < count; i++) ((Bytes *)values)[i] = (Bytes){ zeros, column->width };
  return KVSTORE_OK;
}

/* Rows of the whole schema with the keys of these numbers, among all that were given. */
static Status expired_rows(Deleting *d, const uint32_t *numbers, uint32_t count, PreparedRows *out) {
  const Schema *schema = d->keys.rows.schema;
  ColumnArray *columns = arena_allocate(&d->arena, schema->column_count * sizeof *columns);
  int64_t *expiry = arena_allocate(&d->arena, memory_array_size(count, sizeof *expiry));
  if (!columns || !expiry) return status_nomem();
  for (uint32_t i = 0; i < count; i++) expiry[i] = EXPIRED_ALWAYS;
  for (uint32_t c = 0; c < schema->column_count; c++) {
    const ColumnArray *key = &d->keys.rows.batch.columns[c];
    const Column *column = &schema->columns[c];
    TRY(key->values ? gather_key(key, column->type, numbers, count, &d->arena, &columns[c])
                    : fill_empty(column, count, &d->arena, &columns[c]));
  }
  *out = (PreparedRows){ .schema = schema, .batch = { count, schema->column_count, columns, expiry } };
  return KVSTORE_OK;
}

static Status end_together(Deleting *d, const uint32_t *numbers, uint32_t count) {
  PreparedRows rows;
  TRY(expired_rows(d, numbers, count, &rows));
  TRY(table_prepare_keys(&d->arena, &rows));
  COUNT(deletes_adopted);
  return bulk_rows(d->session, d->state, d->era, &rows, TABLE_END, &d->arena);
}

/* ---- both ---- */

/* Deletes of the batch would leave too little of the record's room. */
static bool are_too_many(const Deleting *d) {
  const Store *store = d->session->store;
  const TableKeys *k = &d->keys;
  uint64_t bytes = store->transaction.record.length;
  for (uint32_t i = 0; i < k->found_count; i++) bytes += k->keys[k->found[i].number].length + DELETE_BYTES_MORE;
  return bytes > wal_record_bytes_max(store->wal) / 2;
}

static Status numbers_of(Deleting *d, const FoundKey *found, uint32_t count, uint32_t **numbers) {
  *numbers = arena_allocate(&d->arena, memory_array_size(count, sizeof **numbers));
  if (!*numbers) return status_nomem();
  for (uint32_t i = 0; i < count; i++) (*numbers)[i] = found[i].number;
  return KVSTORE_OK;
}

/* All keys fit one batch. */
static Status delete_batch(Deleting *d) {
  TableKeys *k = &d->keys;
  bool more;
  uint32_t *numbers;
  TRY(table_keys_next(k, &more));
  TRY(table_keys_find(k, d->era, d->sequence));
  TRY(keep_live(d, k->found, &k->found_count));
  d->deleted = k->found_count;
  if (!k->found_count) return KVSTORE_OK;
  if (!are_too_many(d)) return end_each(d);
  TRY(numbers_of(d, k->found, k->found_count, &numbers));
  return end_together(d, numbers, k->found_count);
}

/* The rows of all batches. */
static Status find_all(Deleting *d, FoundKey **all, uint32_t *count) {
  TableKeys *k = &d->keys;
  size_t capacity = 0;
  for (;;) {
    bool more;
    TRY(table_keys_next(k, &more));
    if (!more) return KVSTORE_OK;
    TRY(table_keys_find(k, d->era, d->sequence));
    TRY(memory_grow(all, &capacity, (size_t)*count + k->found_count, sizeof **all));
    for (uint32_t i = 0; i < k->found_count; i++)
      (*all)[(*count)++] = (FoundKey){ k->found[i].word, k->first + k->found[i].number };
  }
}

/* Which of the keys have a row, in the order in which the rows lie, each row once. */
static Status find_numbers(Deleting *d, uint32_t **numbers, uint32_t *count) {
  FoundKey *all = NULL, *room = NULL;
  *count = 0;
  Status status = find_all(d, &all, count);
  if (status == KVSTORE_OK && *count) {
    room = memory_allocate(memory_array_size(*count, sizeof *room));
    FoundKey *sorted = room ? words_sort(all, room, *count) : NULL;
    status = sorted ? keep_live(d, sorted, count) : status_nomem();
    if (status == KVSTORE_OK) status = numbers_of(d, sorted, *count, numbers);
  }
  memory_release(all);
  memory_release(room);
  return status;
}

/* The keys are now only these, which fit one batch. */
static Status take_keys(Deleting *d, const uint32_t *numbers, uint32_t count) {
  const Schema *schema = d->keys.rows.schema;
  ColumnArray keys[KEY_COLUMNS_MAX];
  for (uint32_t i = 0; i < schema->key_count; i++) {
    uint32_t c = schema->key_columns[i];
    TRY(gather_key(&d->keys.rows.batch.columns[c], schema->columns[c].type, numbers, count, &d->arena, &keys[i]));
  }
  table_keys_end(&d->keys);
  return table_keys_begin(&d->keys, schema, keys, count);
}

static Status delete_rows(Deleting *d, uint32_t count) {
  uint32_t *numbers = NULL;
  if (count > TABLE_KEYS_BATCH) {
    TRY(find_numbers(d, &numbers, &count));
    d->deleted = count;
    if (!count) return KVSTORE_OK;
    if (count > TABLE_KEYS_BATCH) return end_together(d, numbers, count);
    TRY(take_keys(d, numbers, count));
  }
  return delete_batch(d);
}

static Status delete_statement(Deleting *d, uint32_t family, const ColumnArray *keys, uint32_t count) {
  ReadPin pin;
  TRY(write_pin(d->session, &pin));
  d->sequence = pin.sequence;
  Status status = session_family(d->session, &pin, family, FAMILY_TABLE, &d->state, &d->era);
  if (status == KVSTORE_OK) status = table_keys_begin(&d->keys, &d->state->family->schema, keys, count);
  if (status == KVSTORE_OK) status = delete_rows(d, count);
  read_unpin(d->session, &pin);
  table_keys_end(&d->keys);
  arena_release(&d->arena);
  return status == KVSTORE_OK ? transaction_spill(d->session) : status;
}

Status table_end_statement(Session *session, uint32_t family, const ColumnArray *keys, uint32_t count) {
  Deleting d = { .session = session, .expired_too = true };
  return delete_statement(&d, family, keys, count);
}

Status table_delete_many(Session *session, uint32_t family, const ColumnArray *keys, uint32_t count,
                         uint64_t *deleted) {
  TRY(write_begin(session));
  Deleting d = { .session = session, .now_ms = store_clock(session->store) };
  Status status = delete_statement(&d, family, keys, count);
  TRY(write_end(session, status));
  *deleted = d.deleted;
  return KVSTORE_OK;
}
