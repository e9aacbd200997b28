/* bulk.c - rows that go straight into runs, which the transaction's record adopts (LOG-8, VIS-6): large batches, and
 * transactions whose record would not fit the log. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/counters.h"
#include "base/hash.h"
#include "base/keycode.h"
#include "base/memory.h"
#include "base/word_sort.h"
#include "engine/engine_internal.h"
#include "engine/run_build.h"
#include "engine/table_state.h"
#include "engine/table_write.h"
#include "rowstore/table_order.h"

/* What a run replaces, while it is gathered: rows of runs by layer, rows of deltas by key. */
typedef struct Replaced {
  const Era *era;
  struct AdoptedDeletesRun *runs; /* by run layer; positions in heap memory */
  size_t *capacities;
  Bytes *keys;
  size_t key_count, key_capacity;
} Replaced;

static Status replaced_start(Replaced *r, const Era *era) {
  memset(r, 0, sizeof *r);
  r->era = era;
  r->runs = memory_allocate_zeroed(memory_array_size(era->run_count, sizeof *r->runs));
  r->capacities = memory_allocate_zeroed(memory_array_size(era->run_count, sizeof *r->capacities));
  if (!r->runs || !r->capacities) return status_nomem();
  for (uint32_t i = 0; i < era->run_count; i++) r->runs[i].number = era->runs[i].run->entry.number;
  return KVSTORE_OK;
}

static void replaced_release(Replaced *r) {
  for (uint32_t i = 0; r->runs && i < r->era->run_count; i++) memory_release(r->runs[i].positions);
  memory_release(r->runs);
  memory_release(r->capacities);
  memory_release(r->keys);
}

static Status replace_run_row(Replaced *r, uint32_t layer, uint32_t position) {
  struct AdoptedDeletesRun *run = &r->runs[layer];
  TRY(memory_grow(&run->positions, &r->capacities[layer], run->count + 1, sizeof *run->positions));
  run->positions[run->count++] = position;
  return KVSTORE_OK;
}

static Status replace_delta_row(Replaced *r, Bytes key) {
  TRY(memory_grow(&r->keys, &r->key_capacity, r->key_count + 1, sizeof *r->keys));
  r->keys[r->key_count++] = key;
  return KVSTORE_OK;
}

static int by_position(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

/* Ascending, without repetitions; runs without any left out. */
static uint32_t replaced_finish(Replaced *r) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < r->era->run_count; i++) {
    struct AdoptedDeletesRun run = r->runs[i];
    if (!run.count) {
      memory_release(run.positions);
      r->runs[i].positions = NULL;
      continue;
    }
    qsort(run.positions, run.count, sizeof *run.positions, by_position);
    size_t n = 1;
    for (size_t p = 1; p < run.count; p++)
      if (run.positions[p] != run.positions[n - 1]) run.positions[n++] = run.positions[p];
    run.count = n;
    r->runs[i].positions = NULL;
    r->runs[kept++] = run;
  }
  return kept;
}

/* Apply lock held. The statement's own pin may be of an older generation. */
static Status adopt_pinned(Store *store, uint32_t family, const Buffer *payload) {
  ReadPin pin;
  TRY(version_pin_newest(store, &pin));
  Status status =
    apply_adopt(store, family, (Bytes){ payload->data, payload->length }, store->transaction.next_sequence);
  version_unpin(store, &pin);
  return status;
}

/* Makes the runs part of the transaction: in memory and in its record. Its commit makes them durable first. */
static Status adopt_runs(Store *store, FamilyState *state, const RunList *runs, Replaced *replaced, Buffer *record) {
  Transaction *t = &store->transaction;
  uint32_t run_count = replaced_finish(replaced);
  Status status = KVSTORE_OK;
  for (uint32_t i = 0; i < runs->count && status == KVSTORE_OK; i++) {
    Buffer bytes = { 0 };
    AdoptPayload payload = { .entry = &runs->runs[i],
                             .next_row_id = atomic_load_explicit(&state->family->next_row_id, memory_order_relaxed) };
    if (i == 0) { /* what the runs replace dies with the first of them */
      payload.run_count = run_count;
      payload.runs = replaced->runs;
      payload.key_count = replaced->key_count;
      payload.keys = replaced->keys;
    }
    status = adopt_payload_write(&payload, &t->space, &bytes);
    mutex_lock(&store->apply_lock);
    t->shape_changed = t->adopted = true;
    if (status == KVSTORE_OK) status = adopt_pinned(store, state->family->id, &bytes);
    mutex_unlock(&store->apply_lock);
    if (status == KVSTORE_OK) {
      t->next_sequence++;
      record_append_payload(record, OPERATION_ADOPT_RUN, state->family->id, (Bytes){ 0 },
                            (Bytes){ bytes.data, bytes.length });
      COUNT(adopted_runs);
    }
    buffer_release(&bytes);
  }
  return status;
}

/* ---- batches ---- */

/* A row's word is its key's first 8 bytes. */
static _Thread_local const Bytes *sort_keys;

static int by_key(const void *a, const void *b) {
  const NumberedWord *x = a, *y = b;
  if (x->word != y->word) return x->word < y->word ? -1 : 1;
  const Bytes *p = &sort_keys[x->number], *q = &sort_keys[y->number];
  int order = bytes_compare(p->data, p->length, q->data, q->length);
  return order ? order : (x->number > y->number) - (x->number < y->number);
}

/* By key: by heads first, then those of equal heads. Returns which of the two arrays holds the result. */
static NumberedWord *sort_by_key(const Bytes *keys, NumberedWord *rows, NumberedWord *room, uint32_t count) {
  rows = words_sort(rows, room, count);
  sort_keys = keys;
  for (uint32_t i = 0, end; i < count; i = end) {
    for (end = i + 1; end < count && rows[end].word == rows[i].word;) end++;
    if (end - i > 1) qsort(rows + i, end - i, sizeof *rows, by_key);
  }
  return rows;
}

static bool same_key(const Bytes *a, const Bytes *b) {
  return bytes_compare(a->data, a->length, b->data, b->length) == 0;
}

#define NO_ROW UINT32_MAX

/* The rows in key order. */
typedef struct KeyOrder {
  uint32_t *rows; /* NULL: as they are */
  uint32_t count;
  uint32_t repeated; /* of inserts: the first row whose key one before it has; NO_ROW */
  Bytes first, last; /* keys */
} KeyOrder;

static uint32_t row_at(const KeyOrder *order, uint32_t i) { return order->rows ? order->rows[i] : i; }

static bool keys_ascend(const Bytes *keys, uint32_t count) {
  for (uint32_t i = 1; i < count; i++)
    if (bytes_compare(keys[i - 1].data, keys[i - 1].length, keys[i].data, keys[i].length) >= 0) return false;
  return true;
}

/* Of equal keys the last one stays; of inserts the first, whose other rows are refused. */
static void keep_one_of_each(const PreparedRows *rows, const NumberedWord *sorted, int mode, KeyOrder *order) {
  const Bytes *keys = rows->keys;
  uint32_t n = rows->batch.row_count;
  for (uint32_t i = 0, end; i < n; i = end) {
    for (end = i + 1; end < n && same_key(&keys[sorted[i].number], &keys[sorted[end].number]);) end++;
    uint32_t kept = mode == TABLE_INSERT ? i : end - 1;
    order->rows[order->count++] = sorted[kept].number;
    if (mode == TABLE_INSERT && end - i > 1 && sorted[i + 1].number < order->repeated)
      order->repeated = sorted[i + 1].number;
  }
}

static Status sort_rows(const PreparedRows *rows, int mode, KeyOrder *order) {
  uint32_t n = rows->batch.row_count;
  NumberedWord *both = memory_allocate(memory_array_size(n, 2 * sizeof *both)); /* and room to sort */
  order->rows = memory_allocate(n * sizeof *order->rows);
  if (!both || !order->rows) {
    memory_release(both);
    return status_nomem();
  }
  for (uint32_t i = 0; i < n; i++)
    both[i] = (NumberedWord){ bytes_prefix64(rows->keys[i].data, rows->keys[i].length), i };
  keep_one_of_each(rows, sort_by_key(rows->keys, both, both + n, n), mode, order);
  memory_release(both);
  return KVSTORE_OK;
}

static Status encode_key(const PreparedRows *rows, uint32_t row, Arena *arena, Bytes *out) {
  Buffer key = { 0 };
  keycode_append_row(&key, rows->schema, rows->batch.columns, row);
  Status status = buffer_status(&key);
  *out = (Bytes){ status == KVSTORE_OK ? arena_copy(arena, key.data, key.length) : NULL, key.length };
  buffer_release(&key);
  return status == KVSTORE_OK && !out->data ? status_nomem() : status;
}

/* Keys that ascend are not encoded for this, but for the first and the last. */
static Status find_order(const PreparedRows *rows, int mode, Arena *arena, KeyOrder *order) {
  uint32_t n = rows->batch.row_count;
  if (!rows->keys || keys_ascend(rows->keys, n))
    order->count = n;
  else
    TRY(sort_rows(rows, mode, order));
  TRY(encode_key(rows, row_at(order, 0), arena, &order->first));
  return encode_key(rows, row_at(order, order->count - 1), arena, &order->last);
}

enum { LOOKUP_BATCH = 1024 };

/* Rows of the batch, in key order, that are looked up together. */
typedef struct KeyBatch {
  uint32_t rows[LOOKUP_BATCH];
  Bytes keys[LOOKUP_BATCH];
  uint64_t hashes[LOOKUP_BATCH], after[LOOKUP_BATCH], found[LOOKUP_BATCH];
  size_t count;
} KeyBatch;

typedef struct BatchLookup {
  const PreparedRows *batch;
  Era *era;
  int mode;
  uint64_t sequence;
  int64_t now_ms;
  Replaced *replaced;
  uint32_t layer_count; /* runs between the first and the last key of the batch */
  uint32_t *layers;
  bool deltas_empty;
  uint32_t taken; /* of inserts: the first row whose key the table has; NO_ROW */
  KeyBatch keys;
} BatchLookup;

/* Keys come in their own order: the first of the rows is known when all have been asked. */
static void note_if_there(BatchLookup *l, uint32_t row, int64_t expiry) {
  if (l->mode == TABLE_INSERT && row < l->taken && !expiry_passed(expiry, l->now_ms)) l->taken = row;
}

/* Keys whose row a delta has leave the batch; of deleted ones only runs that were adopted later may have a row. */
static Status ask_deltas(BatchLookup *l) {
  KeyBatch *b = &l->keys;
  size_t kept = 0;
  for (size_t n = 0; n < b->count; n++) {
    DeltaState state = DELTA_ABSENT;
    const TableDelta *delta = NULL;
    uint32_t at = 0;
    for (uint32_t i = 0; i < l->era->delta_count && state == DELTA_ABSENT; i++) {
      delta = l->era->deltas[i].delta->table;
      state = table_delta_find(delta, b->hashes[n], b->keys[n].data, b->keys[n].length, l->sequence, &at);
    }
    if (state == DELTA_FOUND) {
      note_if_there(l, b->rows[n], table_delta_expiry(delta, at));
      TRY(replace_delta_row(l->replaced, b->keys[n]));
      continue;
    }
    b->after[kept] = state == DELTA_DELETED ? table_delta_sequence(delta, at) : 0;
    b->rows[kept] = b->rows[n];
    b->keys[kept] = b->keys[n];
    b->hashes[kept++] = b->hashes[n];
  }
  b->count = kept;
  return KVSTORE_OK;
}

/* A row of a run that is live at the sequence. */
static bool is_live_hit(const BatchLookup *l, uint32_t layer, size_t n) {
  uint64_t since = l->era->runs[layer].since;
  if (since > l->sequence || (l->keys.after[n] && since <= l->keys.after[n])) return false;
  return !era_run_row_is_dead(l->era, layer, locator_position(l->keys.found[n]), l->sequence);
}

static Status ask_run(BatchLookup *l, uint32_t layer) {
  KeyBatch *b = &l->keys;
  ColumnRun *run = l->era->runs[layer].run->columns;
  TRY(column_run_find_many(run, b->keys, b->hashes, b->count, b->found));
  for (size_t n = 0; n < b->count; n++) {
    if (b->found[n] == LOCATOR_NONE || locator_unpack(b->found[n]).run != run->number) continue;
    if (!is_live_hit(l, layer, n)) {
      b->found[n] = LOCATOR_NONE;
      continue;
    }
    int64_t expiry = EXPIRY_NEVER;
    if (l->mode == TABLE_INSERT) TRY(column_run_get_expiry(run, locator_position(b->found[n]), &expiry));
    note_if_there(l, b->rows[n], expiry);
    TRY(replace_run_row(l->replaced, layer, locator_position(b->found[n])));
  }
  return KVSTORE_OK;
}

static Status ask_batch(BatchLookup *l) {
  if (!l->deltas_empty) TRY(ask_deltas(l));
  for (size_t n = 0; n < l->keys.count; n++) l->keys.found[n] = LOCATOR_NONE;
  for (uint32_t i = 0; i < l->layer_count && l->keys.count; i++) TRY(ask_run(l, l->layers[i]));
  l->keys.count = 0;
  return KVSTORE_OK;
}

static Status lookup_start(BatchLookup *l, Bytes first, Bytes last) {
  l->layers = memory_allocate(memory_array_size(l->era->run_count, sizeof *l->layers));
  if (!l->layers) return status_nomem();
  for (uint32_t i = 0; i < l->era->run_count; i++)
    if (column_run_overlaps(l->era->runs[i].run->columns, first, last)) l->layers[l->layer_count++] = i;
  l->deltas_empty = true;
  for (uint32_t i = 0; i < l->era->delta_count; i++)
    l->deltas_empty &= table_delta_row_count(l->era->deltas[i].delta->table) == 0;
  return KVSTORE_OK;
}

static Status ask_all(BatchLookup *l, PreparedRows *rows, const KeyOrder *order, Arena *arena) {
  if (!l->layer_count && l->deltas_empty) return KVSTORE_OK;
  KeyBatch *b = &l->keys;
  if (!rows->keys) TRY(table_prepare_keys(arena, rows));
  for (uint32_t i = 0; i < order->count; i++) {
    uint32_t row = row_at(order, i);
    b->rows[b->count] = row;
    b->keys[b->count] = rows->keys[row];
    b->after[b->count] = 0;
    b->hashes[b->count++] = rows->hashes[row];
    if (b->count == LOOKUP_BATCH) TRY(ask_batch(l));
  }
  return ask_batch(l);
}

static Status refuse_first(const BatchLookup *l, const KeyOrder *order) {
  if (l->taken == NO_ROW && order->repeated == NO_ROW) return KVSTORE_OK;
  bool by_batch = order->repeated < l->taken;
  return table_key_taken(l->batch, by_batch ? order->repeated : l->taken, by_batch);
}

/* What each row of the batch replaces, or that it replaces nothing. */
static Status replaced_by_batch(Store *store, Era *era, PreparedRows *rows, const KeyOrder *order, int mode,
                                Arena *arena, Replaced *replaced) {
  BatchLookup *l = memory_allocate_zeroed(sizeof *l);
  if (!l) return status_nomem();
  l->batch = rows;
  l->era = era;
  l->mode = mode;
  l->sequence = store->transaction.next_sequence - 1;
  l->now_ms = store_clock(store);
  l->replaced = replaced;
  l->taken = NO_ROW;
  Status status = lookup_start(l, order->first, order->last);
  if (status == KVSTORE_OK) status = ask_all(l, rows, order, arena);
  if (status == KVSTORE_OK) status = refuse_first(l, order);
  memory_release(l->layers);
  memory_release(l);
  return status;
}

/* Where rows come in no order, the keys of what comes next are likely to lie between these. */
static Status build_from_batch(Session *session, const Era *era, const PreparedRows *rows, const KeyOrder *order,
                               RunList *runs) {
  Store *store = session->store;
  TableRunBuilder *builder = NULL;
  TableRunShape shape = { .key_filter = order->rows || era_has_runs_between(era, order->first, order->last),
                          .threads = atomic_load_explicit(&session->load_threads, memory_order_relaxed) };
  TRY(table_run_builder_create(store, &store->transaction.space, rows->schema, shape, runs->arena, &builder));
  Status status = order->rows ? table_run_builder_add_rows(builder, &rows->batch, order->rows, order->count)
                              : table_run_builder_add_batch(builder, &rows->batch);
  if (status == KVSTORE_OK) status = table_run_builder_finish(builder, runs);
  table_run_builder_destroy(builder);
  return status;
}

Status bulk_rows(Session *session, FamilyState *state, Era *era, PreparedRows *rows, int mode, Arena *arena) {
  Store *store = session->store;
  RunList runs = { .arena = arena };
  Replaced replaced;
  KeyOrder order = { .repeated = NO_ROW };
  Status status = replaced_start(&replaced, era);
  if (status == KVSTORE_OK) status = find_order(rows, mode, arena, &order);
  bool may_replace = !rows->schema->has_row_id || mode == TABLE_END;
  if (status == KVSTORE_OK && may_replace) status = replaced_by_batch(store, era, rows, &order, mode, arena, &replaced);
  if (status == KVSTORE_OK) status = build_from_batch(session, era, rows, &order, &runs);
  if (status == KVSTORE_OK) status = adopt_runs(store, state, &runs, &replaced, &store->transaction.record);
  replaced_release(&replaced);
  run_list_release(&runs);
  memory_release(order.rows);
  return status;
}

Status bulk_adopt(Store *store, FamilyState *state, Era *era, const RunList *runs, const Bytes *keys,
                  size_t key_count) {
  Replaced replaced;
  Status status = replaced_start(&replaced, era);
  if (status == KVSTORE_OK && key_count) {
    replaced.keys = memory_copy(keys, key_count * sizeof *keys);
    replaced.key_count = key_count;
    if (!replaced.keys) status = status_nomem();
  }
  if (status == KVSTORE_OK) status = adopt_runs(store, state, runs, &replaced, &store->transaction.record);
  replaced_release(&replaced);
  return status;
}

/* ---- transactions that outgrow the log ---- */

/* The transaction's own rows of a kv delta, as they are now, die with the run that takes them over; so do its
 * tombstones, which hide older runs from there. */
static Status spill_kv(Store *store, Era *era, uint64_t sequence, RunList *runs, Replaced *replaced, uint32_t **killed,
                       size_t *killed_count) {
  Transaction *t = &store->transaction;
  KvDelta *delta = era->deltas[0].delta->kv;
  SpaceSink sink;
  RunSink emit = space_sink(&sink, &t->space);
  RowRunWriter *writer = NULL;
  size_t capacity = 0;
  KvCursor cursor;
  TRY(row_run_writer_create(&emit, NULL, &writer));
  Status status = KVSTORE_OK;
  kv_cursor_open(&cursor, delta, sequence);
  for (bool more = kv_cursor_first(&cursor); more && status == KVSTORE_OK; more = kv_cursor_next(&cursor)) {
    if (cursor.row.sequence < t->first_sequence) continue;
    status = row_run_writer_add(writer, cursor.key, cursor.row.value, cursor.row.expiry, cursor.row.tombstone);
    if (status == KVSTORE_OK) status = memory_grow(killed, &capacity, *killed_count + 1, sizeof **killed);
    if (status == KVSTORE_OK) (*killed)[(*killed_count)++] = cursor.row.row;
    bool older = kv_delta_older(delta, cursor.row.row) != 0;
    uint64_t hash = hash_key(cursor.key.data, cursor.key.length);
    for (uint32_t i = 1; i < era->delta_count && !older; i++) {
      KvRow at;
      older = kv_delta_find(era->deltas[i].delta->kv, hash, cursor.key.data, cursor.key.length, sequence, &at) !=
              DELTA_ABSENT;
    }
    if (status == KVSTORE_OK && older) status = replace_delta_row(replaced, cursor.key);
  }
  uint64_t rows = status == KVSTORE_OK ? row_run_writer_rows(writer) : 0;
  Buffer directory = { 0 };
  RunEntry entry;
  if (rows) status = row_run_writer_finish(writer, &directory, NULL);
  if (status == KVSTORE_OK && rows)
    status = run_entry_make(store, &sink, RUN_ROWS, 0, 0, rows, &directory, runs->arena, &entry);
  if (status == KVSTORE_OK && rows) status = run_list_add(runs, &entry);
  buffer_release(&directory);
  row_run_writer_destroy(writer);
  return status;
}

/* Rows of runs that the transaction's rows of a delta have replaced: their locators. */
static Status replaced_by_locators(Era *era, uint32_t from, uint32_t end, Replaced *replaced) {
  const TableDelta *delta = era->deltas[0].delta->table;
  for (uint32_t row = from; row < end; row++) {
    uint64_t *words = atomic_load_explicit(&era->deltas[0].locators->slabs[table_slab_of(row)], memory_order_acquire);
    uint64_t word = words[table_slab_offset(row)];
    if (!locator_is_row(word) || table_delta_dead_at(delta, row) == DEAD_ROLLED_BACK) continue;
    for (uint32_t i = 0; i < era->run_count; i++)
      if (era->runs[i].run->entry.number == locator_unpack(word).run)
        TRY(replace_run_row(replaced, i, locator_position(word)));
  }
  return KVSTORE_OK;
}

static bool was_in_deltas(const Era *era, Bytes key, uint64_t before) {
  uint64_t hash = hash_key(key.data, key.length);
  for (uint32_t i = 0; i < era->delta_count; i++) {
    uint32_t row;
    if (table_delta_find(era->deltas[i].delta->table, hash, key.data, key.length, before, &row) == DELTA_FOUND)
      return true;
  }
  return false;
}

static Status spill_table(Store *store, const Family *family, Era *era, uint64_t sequence, RunList *runs,
                          Replaced *replaced, uint32_t **killed, size_t *killed_count) {
  Transaction *t = &store->transaction;
  TableDelta *delta = era->deltas[0].delta->table;
  size_t capacity = 0;
  TRY(era_resolve(era, UINT64_MAX));
  TableRunBuilder *builder = NULL;
  TableRunShape shape = { .key_filter = era->run_count > 0 };
  TRY(table_run_builder_create(store, &t->space, &family->schema, shape, runs->arena, &builder));
  TableOrder order;
  uint32_t first = UINT32_MAX;
  for (size_t i = 0; i < t->touched_count; i++)
    if (t->touched[i].delta == era->deltas[0].delta && t->touched[i].mark.row_count < first)
      first = t->touched[i].mark.row_count;
  Status status = table_order_make(delta, sequence, first, &order);
  for (uint32_t i = 0; i < order.count && status == KVSTORE_OK; i++) {
    uint32_t row = order.rows[i];
    Bytes key = table_delta_key(delta, row);
    status = table_run_builder_add(builder, delta, row);
    if (status == KVSTORE_OK) status = memory_grow(killed, &capacity, *killed_count + 1, sizeof **killed);
    if (status == KVSTORE_OK) (*killed)[(*killed_count)++] = row;
    if (status == KVSTORE_OK && was_in_deltas(era, key, t->first_sequence - 1))
      status = replace_delta_row(replaced, key);
  }
  table_order_release(&order);
  if (status == KVSTORE_OK) status = table_run_builder_finish(builder, runs);
  table_run_builder_destroy(builder);
  return status == KVSTORE_OK ? replaced_by_locators(era, first, table_delta_row_count(delta), replaced) : status;
}

static Status spill_family(Session *session, uint32_t id, Buffer *record) {
  Store *store = session->store;
  Transaction *t = &store->transaction;
  ReadPin pin;
  TRY(write_pin(session, &pin));
  FamilyState *state = version_family(pin.version, id);
  Era *era = state ? family_state_era(state, pin.sequence) : NULL;
  Arena arena = { 0 };
  RunList runs = { .arena = &arena };
  Replaced replaced = { 0 };
  uint32_t *killed = NULL;
  size_t killed_count = 0;
  Status status = KVSTORE_OK;
  if (era) {
    status = replaced_start(&replaced, era);
    if (status == KVSTORE_OK)
      status = state->family->kind == FAMILY_KV
                 ? spill_kv(store, era, pin.sequence, &runs, &replaced, &killed, &killed_count)
                 : spill_table(store, state->family, era, pin.sequence, &runs, &replaced, &killed, &killed_count);
    uint64_t sequence = t->next_sequence;
    if (status == KVSTORE_OK && runs.count) status = adopt_runs(store, state, &runs, &replaced, record);
    if (status == KVSTORE_OK) { /* rollback takes these rows back by their marks */
      mutex_lock(&store->apply_lock);
      DeltaHandle *delta = era->deltas[0].delta;
      for (size_t i = 0; i < killed_count; i++) {
        if (delta->kv)
          kv_delta_kill(delta->kv, killed[i], sequence);
        else
          table_delta_set_dead(delta->table, killed[i], sequence);
      }
      mutex_unlock(&store->apply_lock);
    }
  }
  replaced_release(&replaced);
  run_list_release(&runs);
  memory_release(killed);
  arena_release(&arena);
  read_unpin(session, &pin);
  return status;
}

/* The record keeps what is no row: families, runs adopted before, and deletes of rows of tables. */
static Status keep_operations(const Buffer *from, size_t begin, Buffer *to) {
  OperationReader in = operation_reader_over((Bytes){ from->data + begin, from->length - begin });
  for (;;) {
    Operation op;
    bool more;
    TRY(operation_next(&in, &op, &more));
    if (!more) return buffer_status(to);
    if (op.kind != OPERATION_KV_PUT && op.kind != OPERATION_KV_DELETE && op.kind != OPERATION_ROW_UPSERT)
      record_append_operation(to, &op);
  }
}

Status transaction_spill(Session *session) {
  Store *store = session->store;
  Transaction *t = &store->transaction;
  if (LIKELY(t->record.length + RECORD_ALIGNMENT <= wal_record_bytes_max(store->wal) || t->record.failed))
    return KVSTORE_OK;
  Buffer record = { 0 };
  record_begin(&record, store->key != NULL);
  Status status = keep_operations(&t->record, t->record_begins, &record);
  size_t deltas = t->touched_count;
  for (size_t i = 0; i < deltas && status == KVSTORE_OK; i++) {
    bool done = false;
    for (size_t j = 0; j < i && !done; j++) done = t->touched[j].family == t->touched[i].family;
    if (!done) status = spill_family(session, t->touched[i].family->id, &record);
  }
  if (status == KVSTORE_OK) status = buffer_status(&record);
  if (status == KVSTORE_OK && record.length + RECORD_ALIGNMENT > wal_record_bytes_max(store->wal))
    status = status_fail(KVSTORE_LIMIT, "what the transaction deletes, and the names of the runs that it has grown "
                                        "into, are more than a record of the log holds: split it");
  if (status == KVSTORE_OK) {
    buffer_release(&t->record);
    t->record = record;
    t->spilled = true;
    atomic_store_explicit(&t->seen, t->next_sequence - 1, memory_order_release);
  } else {
    buffer_release(&record);
    t->spilled = t->shape_changed;
  }
  return status;
}
