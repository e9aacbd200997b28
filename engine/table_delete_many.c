/* table_delete_many.c - rows of many keys end in one statement: they are found as table_keys.c finds them, and each
 * gets a delete in the table's delta and in the transaction's record, as one that is deleted by itself. */
#include "base/hash.h"
#include "engine/table_keys.h"
#include "engine/table_state.h"

enum { FETCH_AHEAD = 12 }; /* rows whose slot of the delta's index is asked for before their turn */

typedef struct Deleting {
  Session *session;
  FamilyState *state; /* of the version that the batch is looked up in */
  Era *era;
  int64_t now_ms;
  TableKeys keys;
  uint64_t deleted;
} Deleting;

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

/* Keeps of the rows that were found each once, and none that has expired: nobody sees those anyway. */
static Status keep_live(Deleting *d) {
  TableKeys *k = &d->keys;
  uint32_t kept = 0;
  for (uint32_t i = 0; i < k->found_count; i++) {
    bool leave = kept && k->found[kept - 1].word == k->found[i].word;
    if (!leave) TRY(has_expired(d, k->found[i].word, &leave));
    if (!leave) k->found[kept++] = k->found[i];
  }
  k->found_count = kept;
  return KVSTORE_OK;
}

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

/* A locator, as locators.c would find it. */
static uint64_t word_of(const Era *era, uint64_t found) {
  if (found_in_delta(found)) return found_layer(found) ? LOCATOR_IN_DELTA : LOCATOR_NONE;
  uint32_t position = found_row(found);
  return locator_pack((Locator){ era->runs[found_layer(found)].run->entry.number, (uint16_t)position_segment(position),
                                 (uint16_t)position_row(position) });
}

/* The keys' locators have told what they had to by now; the rows' take their place. */
static Status note_locators(Deleting *d, uint32_t first) {
  TableKeys *k = &d->keys;
  for (uint32_t i = 0; i < k->found_count; i++) k->locators[i] = word_of(d->era, k->found[i].word);
  return locators_note(d->era, first, k->locators, k->found_count);
}

static Status end_rows(Deleting *d) {
  Transaction *t = &d->session->store->transaction;
  const TableKeys *k = &d->keys;
  uint32_t first;
  TRY(append_deletes(d, &first));
  t->next_sequence += k->found_count;
  TRY(note_locators(d, first));
  for (uint32_t i = 0; i < k->found_count; i++)
    record_append_row_delete(&t->record, d->state->family->id, k->rows.schema->version, k->keys[k->found[i].number]);
  return buffer_status(&t->record);
}

static Status delete_batch(Deleting *d, const ReadPin *pin, uint32_t family) {
  TRY(session_family(d->session, pin, family, FAMILY_TABLE, &d->state, &d->era));
  TRY(table_keys_find(&d->keys, d->era, pin->sequence));
  TRY(keep_live(d));
  if (!d->keys.found_count) return KVSTORE_OK;
  TRY(end_rows(d));
  table_resolve_written(d->session, family, d->era);
  d->deleted += d->keys.found_count;
  return KVSTORE_OK;
}

/* Each batch sees what those before it have left. */
static Status delete_all(Deleting *d, uint32_t family) {
  for (;;) {
    ReadPin pin;
    bool more;
    TRY(table_keys_next(&d->keys, &more));
    if (!more) return KVSTORE_OK;
    TRY(write_pin(d->session, &pin));
    Status status = delete_batch(d, &pin, family);
    read_unpin(d->session, &pin);
    TRY(status);
    TRY(transaction_spill(d->session));
  }
}

static Status delete_statement(Deleting *d, uint32_t family, const ColumnArray *keys, uint32_t count) {
  ReadPin pin;
  TRY(write_pin(d->session, &pin));
  Status status = session_family(d->session, &pin, family, FAMILY_TABLE, &d->state, &d->era);
  if (status == KVSTORE_OK) status = table_keys_begin(&d->keys, &d->state->family->schema, keys, count);
  read_unpin(d->session, &pin);
  if (status == KVSTORE_OK) status = delete_all(d, family);
  table_keys_end(&d->keys);
  return status;
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
