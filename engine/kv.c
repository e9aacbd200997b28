/* kv.c - kv families: put, get, delete, expiry, count, iteration. */
#include <string.h>

#include "base/counters.h"
#include "base/hash.h"
#include "base/memory.h"
#include "engine/engine_internal.h"

enum { LAYERS_INLINE = 24 };

/* The layers of an era on the stack, or in memory when there are many. */
typedef struct LayerList {
  MergeLayer inline_layers[LAYERS_INLINE];
  MergeLayer *layers;
  uint32_t count;
} LayerList;

uint32_t era_layers(const Era *era, uint64_t sequence, MergeLayer *layers, uint32_t capacity) {
  uint32_t count = 0, overlapping = era->run_count - era->disjoint_count;
  if (era->delta_count + overlapping + 1 > capacity) return 0;
  for (uint32_t i = 0; i < era->delta_count; i++)
    layers[count++] = (MergeLayer){ era->deltas[i].delta->kv, sequence, NULL, NULL };
  for (uint32_t i = 0; i < overlapping; i++)
    if (era->runs[i].since <= sequence) layers[count++] = (MergeLayer){ NULL, 0, era->runs[i].run->rows, NULL };
  if (era->level.count) layers[count++] = (MergeLayer){ NULL, 0, NULL, &era->level };
  return count;
}

static Status list_layers(const Era *era, uint64_t sequence, LayerList *list) {
  list->layers = list->inline_layers;
  list->count = era_layers(era, sequence, list->layers, LAYERS_INLINE);
  if (LIKELY(list->count)) return KVSTORE_OK;
  uint32_t capacity = era->delta_count + era->run_count + 1;
  list->layers = memory_allocate(capacity * sizeof *list->layers);
  if (!list->layers) return status_nomem();
  list->count = era_layers(era, sequence, list->layers, capacity);
  return KVSTORE_OK;
}

static void release_layers(LayerList *list) {
  if (list->layers != list->inline_layers) memory_release(list->layers);
}

/* ---- look-ups ---- */

typedef enum RowState { ROW_ABSENT, ROW_LIVE, ROW_EXPIRED } RowState;

/* The row of a key; its bytes are readable until merge_row_release. */
static Status find_row(Store *store, const Era *era, uint64_t sequence, Bytes key, MergeRow *row, RowState *state) {
  LayerList list;
  TRY(list_layers(era, sequence, &list));
  DeltaState found;
  Status status =
    merge_get(list.layers, list.count, hash_key(key.data, key.length), key.data, key.length, INT64_MIN, row, &found);
  release_layers(&list);
  TRY(status);
  if (found != DELTA_FOUND)
    *state = ROW_ABSENT;
  else if (row->view.expiry == EXPIRY_NEVER)
    *state = ROW_LIVE;
  else
    *state = expiry_passed(row->view.expiry, store_clock(store)) ? ROW_EXPIRED : ROW_LIVE;
  return KVSTORE_OK;
}

static Status check_key(Bytes key) {
  if (LIKELY(key.length > 0 && key.length <= KEY_BYTES_MAX)) return KVSTORE_OK;
  return status_fail(KVSTORE_ERROR, "a key of %zu bytes: keys have 1 to %u", key.length, KEY_BYTES_MAX);
}

/* Deletes a key that a reader found expired, if that needs no waiting and it is still so. */
static void evict(Session *session, uint32_t family, Bytes key) {
  Store *store = session->store;
  if (session_transaction(session) == 1 || write_try_begin(session) != KVSTORE_OK) return;
  ReadPin pin;
  FamilyState *state;
  Era *era;
  Status status = write_pin(session, &pin);
  if (status == KVSTORE_OK) status = session_family(session, &pin, family, FAMILY_KV, &state, &era);
  if (status == KVSTORE_OK) {
    MergeRow row;
    RowState found;
    status = find_row(store, era, pin.sequence, key, &row, &found);
    if (status == KVSTORE_OK) merge_row_release(&row);
    if (status == KVSTORE_OK && found == ROW_EXPIRED) {
      status = kv_write_row(session, state, era, key, (Bytes){ 0 }, EXPIRY_NEVER, true);
      if (status == KVSTORE_OK) COUNT(evictions);
    }
  }
  read_unpin(session, &pin);
  status = write_end(session, status); /* an eviction that fails is tried again by the next reader */
  (void)status;
}

static Status copy_value(MergeRow *row, KvValue *out) {
  Bytes value;
  TRY(merge_row_value(row, &value));
  KvValue copy = { NULL, value.length, row->view.expiry };
  if (value.length) {
    copy.data = memory_copy(value.data, value.length);
    if (!copy.data) return status_nomem();
  }
  *out = copy;
  return KVSTORE_OK;
}

static Status absent(void) { return status_set(KVSTORE_NOTFOUND, "no such key"); }

Status kv_get(Session *session, uint32_t family, Bytes key, KvValue *out) {
  TRY(check_key(key));
  ReadPin pin;
  FamilyState *family_state;
  Era *era;
  TRY(read_pin(session, &pin));
  Status status = session_family(session, &pin, family, FAMILY_KV, &family_state, &era);
  RowState state = ROW_ABSENT;
  if (status == KVSTORE_OK) {
    MergeRow row;
    status = find_row(session->store, era, pin.sequence, key, &row, &state);
    if (status == KVSTORE_OK && state == ROW_LIVE)
      status = copy_value(&row, out);
    else if (status == KVSTORE_OK)
      status = absent();
    if (state == ROW_EXPIRED) out->expiry = row.view.expiry;
    if (state != ROW_ABSENT) merge_row_release(&row);
  }
  read_unpin(session, &pin);
  if (UNLIKELY(state == ROW_EXPIRED)) {
    evict(session, family, key);
    return absent();
  }
  return status;
}

Status kv_exists(Session *session, uint32_t family, Bytes key, int64_t *expiry, bool *expired) {
  TRY(check_key(key));
  ReadPin pin;
  FamilyState *family_state;
  Era *era;
  TRY(read_pin(session, &pin));
  Status status = session_family(session, &pin, family, FAMILY_KV, &family_state, &era);
  RowState state = ROW_ABSENT;
  if (status == KVSTORE_OK) {
    MergeRow row;
    status = find_row(session->store, era, pin.sequence, key, &row, &state);
    if (state != ROW_ABSENT) {
      if (expiry) *expiry = row.view.expiry;
      merge_row_release(&row);
    }
  }
  read_unpin(session, &pin);
  if (expired) *expired = state == ROW_EXPIRED;
  if (state == ROW_EXPIRED) evict(session, family, key);
  if (status == KVSTORE_OK && state != ROW_LIVE) return absent();
  return status;
}

/* ---- writes ---- */

Status kv_write_row(Session *session, FamilyState *state, Era *era, Bytes key, Bytes value, int64_t expiry,
                    bool tombstone) {
  Store *store = session->store;
  Transaction *t = &store->transaction;
  uint64_t sequence = t->next_sequence, hash = hash_key(key.data, key.length);
  kv_delta_prefetch(era->deltas[0].delta->kv, hash); /* it arrives while the record is built */
  if (tombstone)
    record_append_delete(&t->record, state->family->id, key);
  else
    record_append_put(&t->record, state->family->id, expiry, key, value);
  TRY(buffer_status(&t->record));
  mutex_lock(&store->apply_lock);
  Status status = transaction_touch(store, era->deltas[0].delta, state->family);
  if (status == KVSTORE_OK) status = apply_kv(era, key, hash, value, expiry, tombstone, sequence);
  mutex_unlock(&store->apply_lock);
  if (status == KVSTORE_OK) t->next_sequence++;
  return status; /* of a statement that fails, the record goes back to where it was before */
}

static Status put_statement(Session *session, uint32_t family, Bytes key, Bytes value, int64_t expiry, int mode,
                            bool *inserted) {
  ReadPin pin;
  FamilyState *state;
  Era *era;
  RowState found = ROW_ABSENT;
  Status status = write_pin(session, &pin);
  if (status == KVSTORE_OK) status = session_family(session, &pin, family, FAMILY_KV, &state, &era);
  if (status == KVSTORE_OK && mode == KV_PUT_IF_ABSENT) {
    MergeRow row;
    status = find_row(session->store, era, pin.sequence, key, &row, &found);
    if (status == KVSTORE_OK) merge_row_release(&row);
  }
  if (status == KVSTORE_OK && found != ROW_LIVE) status = kv_write_row(session, state, era, key, value, expiry, false);
  if (status == KVSTORE_OK) *inserted = found != ROW_LIVE;
  read_unpin(session, &pin);
  return status;
}

Status kv_put(Session *session, uint32_t family, Bytes key, Bytes value, int64_t expiry, int mode, bool *inserted) {
  TRY(check_key(key));
  uint32_t limit = session->options.value_bytes_max;
  if (value.length > limit)
    return status_fail(KVSTORE_ERROR, "a value of %zu bytes: the limit is %u", value.length, limit);
  TRY(write_begin(session));
  bool was_inserted = false;
  Status status = put_statement(session, family, key, value, expiry, mode, &was_inserted);
  if (status == KVSTORE_OK) status = transaction_spill(session);
  TRY(write_end(session, status));
  if (inserted) *inserted = was_inserted;
  return KVSTORE_OK;
}

Status kv_delete(Session *session, uint32_t family, Bytes key) {
  TRY(check_key(key));
  TRY(write_begin(session));
  ReadPin pin;
  FamilyState *state;
  Era *era;
  RowState found = ROW_ABSENT;
  Status status = write_pin(session, &pin);
  if (status == KVSTORE_OK) status = session_family(session, &pin, family, FAMILY_KV, &state, &era);
  if (status == KVSTORE_OK) {
    MergeRow row;
    status = find_row(session->store, era, pin.sequence, key, &row, &found);
    if (status == KVSTORE_OK) merge_row_release(&row);
  }
  if (status == KVSTORE_OK && found != ROW_ABSENT)
    status = kv_write_row(session, state, era, key, (Bytes){ 0 }, EXPIRY_NEVER, true);
  read_unpin(session, &pin);
  if (status == KVSTORE_OK) status = transaction_spill(session);
  TRY(write_end(session, status));
  return found == ROW_LIVE ? KVSTORE_OK : absent();
}

/* ---- iteration ---- */

typedef struct KvWalk {
  KvIterator seen; /* what callers have of it */
  Store *store;
  VersionHold hold;
  TransactionFate *fate; /* of the transaction that it was made in; NULL: none */
  uint64_t sequence;
  bool reverse;
} KvWalk;

static KvWalk *walk_of(KvIterator *iterator) { return (KvWalk *)iterator; }

static Status open_cursor(KvWalk *it, const Era *era, Bytes prefix) {
  LayerList list;
  TRY(list_layers(era, it->sequence, &list));
  MergeOptions options = { 0 };
  options.prefix = prefix;
  options.now_ms = store_clock(it->store);
  Status status = merge_cursor_open(&it->seen.cursor, list.layers, list.count, &options);
  release_layers(&list);
  return status;
}

Status kv_iterator_create(Session *session, uint32_t family, Bytes prefix, bool reverse, KvIterator **out) {
  KvWalk *it = memory_allocate_zeroed(sizeof *it);
  if (!it) return status_nomem();
  ReadPin pin;
  Status status = read_pin(session, &pin);
  if (status != KVSTORE_OK) {
    memory_release(it);
    return status;
  }
  FamilyState *state;
  Era *era;
  it->store = session->store;
  it->reverse = reverse;
  it->sequence = pin.sequence;
  if (session_transaction(session) == 2) {
    it->fate = session->fate;
    atomic_fetch_add_explicit(&it->fate->references, 1, memory_order_relaxed);
  }
  status = session_family(session, &pin, family, FAMILY_KV, &state, &era);
  if (status == KVSTORE_OK) status = version_hold(it->store, &pin, &it->hold);
  if (status == KVSTORE_OK) status = open_cursor(it, era, prefix);
  read_unpin(session, &pin);
  if (status == KVSTORE_OK) {
    store_retain(it->store);
    *out = &it->seen;
  } else {
    fate_release(it->fate);
    version_unhold(it->store, &it->hold);
    memory_release(it);
  }
  return status;
}

void kv_iterator_destroy(KvIterator *iterator) {
  if (!iterator) return;
  KvWalk *it = walk_of(iterator);
  Store *store = it->store;
  merge_cursor_close(&it->seen.cursor);
  version_unhold(store, &it->hold);
  fate_release(it->fate);
  memory_release(it);
  store_release(store);
}

/* An iterator made inside a transaction ends with it, when that is rolled back. */
static Status still_valid(KvWalk *it) {
  if (it->fate && atomic_load_explicit(&it->fate->rolled_back, memory_order_acquire)) {
    it->seen.cursor.valid = false;
    return status_fail(KVSTORE_ERROR, "the transaction that the iterator was made in has been rolled back");
  }
  return KVSTORE_OK;
}

static Status step(KvWalk *it) {
  return it->reverse ? merge_cursor_prev(&it->seen.cursor) : merge_cursor_next(&it->seen.cursor);
}

/* Expired rows are stepped over. */
static Status settle(KvWalk *it) {
  while (it->seen.cursor.valid && it->seen.cursor.row.expired) TRY(step(it));
  return KVSTORE_OK;
}

Status kv_iterator_first(KvIterator *iterator) {
  KvWalk *it = walk_of(iterator);
  TRY(still_valid(it));
  TRY(it->reverse ? merge_cursor_last(&it->seen.cursor) : merge_cursor_first(&it->seen.cursor));
  return settle(it);
}

Status kv_iterator_seek(KvIterator *iterator, Bytes key) {
  KvWalk *it = walk_of(iterator);
  TRY(still_valid(it));
  TRY(it->reverse ? merge_cursor_seek_last(&it->seen.cursor, key.data, key.length)
                  : merge_cursor_seek(&it->seen.cursor, key.data, key.length));
  return settle(it);
}

Status kv_iterator_next(KvIterator *iterator) {
  KvWalk *it = walk_of(iterator);
  TRY(still_valid(it));
  if (!it->seen.cursor.valid) return KVSTORE_OK;
  TRY(step(it));
  return settle(it);
}

/* ---- counts and expiry ---- */

/* Walks every row of a family at a pin; `visit` gets keys and whether they have expired. */
static Status walk(Session *session, const ReadPin *pin, uint32_t family, Status (*visit)(void *, const MergeRow *),
                   void *context) {
  FamilyState *state;
  Era *era;
  TRY(session_family(session, pin, family, FAMILY_KV, &state, &era));
  LayerList list;
  TRY(list_layers(era, pin->sequence, &list));
  MergeOptions options = { 0 };
  options.now_ms = store_clock(session->store);
  MergeCursor cursor;
  Status status = merge_cursor_open(&cursor, list.layers, list.count, &options);
  release_layers(&list);
  TRY(status);
  for (status = merge_cursor_first(&cursor); status == KVSTORE_OK && cursor.valid;
       status = merge_cursor_next(&cursor)) {
    status = visit(context, &cursor.row);
    if (status != KVSTORE_OK) break;
  }
  merge_cursor_close(&cursor);
  return status;
}

static Status count_row(void *context, const MergeRow *row) {
  (void)row;
  ++*(uint64_t *)context;
  return KVSTORE_OK;
}

Status kv_count(Session *session, uint32_t family, uint64_t *count) {
  ReadPin pin;
  TRY(read_pin(session, &pin));
  uint64_t total = 0;
  Status status = walk(session, &pin, family, count_row, &total);
  read_unpin(session, &pin);
  if (status == KVSTORE_OK) *count = total;
  return status;
}

static Status collect_expired(void *context, const MergeRow *row) {
  if (row->expired) buffer_bytes(context, row->view.key.data, row->view.key.length);
  return buffer_status(context);
}

Status kv_purge_expired(Session *session, uint32_t family, uint64_t *purged) {
  TRY(write_begin(session));
  ReadPin pin;
  Buffer keys = { 0 };
  uint64_t count = 0;
  FamilyState *state;
  Era *era;
  Status status = write_pin(session, &pin);
  if (status == KVSTORE_OK) status = session_family(session, &pin, family, FAMILY_KV, &state, &era);
  if (status == KVSTORE_OK) status = walk(session, &pin, family, collect_expired, &keys);
  Reader in = keys.length ? reader_over(keys.data, keys.length) : (Reader){ 0 };
  while (status == KVSTORE_OK && reader_left(&in)) {
    status = kv_write_row(session, state, era, reader_bytes(&in), (Bytes){ 0 }, EXPIRY_NEVER, true);
    count++;
    if (status == KVSTORE_OK) status = transaction_spill(session);
  }
  read_unpin(session, &pin);
  buffer_release(&keys);
  TRY(write_end(session, status));
  if (purged) *purged = count;
  return KVSTORE_OK;
}
