/* kv.c - kv families: put, get, delete, expiry, iteration. */
#include <string.h>

#include "base/counters.h"
#include "base/hash.h"
#include "base/memory.h"
#include "engine/family_columns.h"
#include "engine/kv_rows.h"

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

Status kv_list_layers(const Era *era, uint64_t sequence, LayerList *list) {
  list->layers = list->inline_layers;
  list->count = era_layers(era, sequence, list->layers, LAYERS_INLINE);
  if (LIKELY(list->count)) return KVSTORE_OK;
  uint32_t capacity = era->delta_count + era->run_count + 1;
  list->layers = memory_allocate(capacity * sizeof *list->layers);
  if (!list->layers) return status_nomem();
  list->count = era_layers(era, sequence, list->layers, capacity);
  return KVSTORE_OK;
}

void kv_release_layers(LayerList *list) {
  if (list->layers != list->inline_layers) memory_release(list->layers);
}

/* ---- look-ups ---- */

Status kv_find_row(Store *store, const Era *era, uint64_t sequence, Bytes key, MergeRow *row, RowState *state) {
  LayerList list;
  TRY(kv_list_layers(era, sequence, &list));
  DeltaState found;
  Status status =
    merge_get(list.layers, list.count, hash_key(key.data, key.length), key.data, key.length, INT64_MIN, row, &found);
  kv_release_layers(&list);
  TRY(status);
  if (found != DELTA_FOUND)
    *state = ROW_ABSENT;
  else if (row->view.expiry == EXPIRY_NEVER)
    *state = ROW_LIVE;
  else
    *state = expiry_passed(row->view.expiry, store_clock(store)) ? ROW_EXPIRED : ROW_LIVE;
  return KVSTORE_OK;
}

Status kv_check_key(Bytes key) {
  if (LIKELY(key.length > 0 && key.length <= KEY_BYTES_MAX)) return KVSTORE_OK;
  return status_fail(KVSTORE_ERROR, "a key of %zu bytes: keys have 1 to %u", key.length, KEY_BYTES_MAX);
}

enum { ROW_DELETE_BYTES = 64 }; /* of the deletes of a pair and of its row in a record, beside their keys */

/* The delete of a row of columns stays in the record, whatever is spilled: who only reads leaves half of it to who
 * writes. */
static bool may_end_columns(const Store *store, Bytes key) {
  uint64_t deletes = 3 * key.length + ROW_DELETE_BYTES; /* a zero counts twice in an encoded key */
  return store->transaction.record.length + deletes <= wal_record_bytes_max(store->wal) / 2;
}

static Status evict_row(Session *session, const ReadPin *pin, uint32_t family, Bytes key) {
  FamilyState *state;
  Era *era;
  MergeRow row;
  RowState found;
  TRY(session_family(session, pin, family, FAMILY_KV, &state, &era));
  TRY(kv_find_row(session->store, era, pin->sequence, key, &row, &found));
  merge_row_release(&row);
  if (found != ROW_EXPIRED) return KVSTORE_OK;
  const FamilyOptions *options = &family_state_traits(state, pin->sequence)->options;
  if (options->columns_family && !may_end_columns(session->store, key)) return KVSTORE_OK;
  TRY(kv_write_row(session, state, era, key, (Bytes){ 0 }, EXPIRY_NEVER, true));
  COUNT(evictions);
  if (LIKELY(!options->columns_family)) return KVSTORE_OK;
  return columns_note(session, state->family, options, &(SourcePair){ .key = key }, true);
}

/* `more`: further keys, or none. An eviction that fails is tried again by the next reader. */
static void evict(Session *session, uint32_t family, Bytes key, Reader *more) {
  if (session_transaction(session) == 1 || write_try_begin(session) != KVSTORE_OK) return;
  Status status = KVSTORE_OK;
  while (status == KVSTORE_OK && key.length) {
    ReadPin pin;
    status = write_pin(session, &pin);
    if (status == KVSTORE_OK) status = evict_row(session, &pin, family, key);
    read_unpin(session, &pin);
    if (status == KVSTORE_OK) status = transaction_spill(session);
    key = more && reader_left(more) ? reader_bytes(more) : (Bytes){ 0 };
  }
  status = write_end(session, status);
  (void)status;
}

void kv_evict(Session *session, uint32_t family, Bytes key) { evict(session, family, key, NULL); }

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

Status kv_absent(void) { return status_set(KVSTORE_NOTFOUND, "no such key"); }

Status kv_get(Session *session, uint32_t family, Bytes key, KvValue *out) {
  TRY(kv_check_key(key));
  ReadPin pin;
  FamilyState *family_state;
  Era *era;
  TRY(read_pin(session, &pin));
  Status status = session_family(session, &pin, family, FAMILY_KV, &family_state, &era);
  RowState state = ROW_ABSENT;
  if (status == KVSTORE_OK) {
    MergeRow row;
    status = kv_find_row(session->store, era, pin.sequence, key, &row, &state);
    if (status == KVSTORE_OK && state == ROW_LIVE)
      status = copy_value(&row, out);
    else if (status == KVSTORE_OK)
      status = kv_absent();
    if (state == ROW_EXPIRED) out->expiry = row.view.expiry;
    if (state != ROW_ABSENT) merge_row_release(&row);
  }
  read_unpin(session, &pin);
  if (UNLIKELY(state == ROW_EXPIRED)) {
    kv_evict(session, family, key);
    return kv_absent();
  }
  return status;
}

Status kv_exists(Session *session, uint32_t family, Bytes key, int64_t *expiry, bool *expired) {
  TRY(kv_check_key(key));
  ReadPin pin;
  FamilyState *family_state;
  Era *era;
  TRY(read_pin(session, &pin));
  Status status = session_family(session, &pin, family, FAMILY_KV, &family_state, &era);
  RowState state = ROW_ABSENT;
  if (status == KVSTORE_OK) {
    MergeRow row;
    status = kv_find_row(session->store, era, pin.sequence, key, &row, &state);
    if (state != ROW_ABSENT) {
      if (expiry) *expiry = row.view.expiry;
      merge_row_release(&row);
    }
  }
  read_unpin(session, &pin);
  if (expired) *expired = state == ROW_EXPIRED;
  if (state == ROW_EXPIRED) kv_evict(session, family, key);
  if (status == KVSTORE_OK && state != ROW_LIVE) return kv_absent();
  return status;
}

/* ---- writes ---- */

Status kv_check_pair(const Session *session, Bytes key, Bytes value) {
  TRY(kv_check_key(key));
  uint32_t limit = session->options.value_bytes_max;
  if (LIKELY(value.length <= limit)) return KVSTORE_OK;
  return status_fail(KVSTORE_ERROR, "a value of %zu bytes: the limit is %u", value.length, limit);
}

Status kv_write_row(Session *session, FamilyState *state, Era *era, Bytes key, Bytes value, int64_t expiry,
                    bool tombstone) {
  Store *store = session->store;
  Transaction *t = &store->transaction;
  uint64_t sequence = t->next_sequence, hash = hash_key(key.data, key.length);
  kv_delta_prefetch(era->deltas[0].delta->kv, hash); /* it arrives while the record is built */
  expiry = family_expiry(store, state, sequence, expiry);
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
    status = kv_find_row(session->store, era, pin.sequence, key, &row, &found);
    if (status == KVSTORE_OK) merge_row_release(&row);
  }
  if (status == KVSTORE_OK && found != ROW_LIVE) status = kv_change_row(session, state, era, key, value, expiry, false);
  if (status == KVSTORE_OK) *inserted = found != ROW_LIVE;
  read_unpin(session, &pin);
  return status;
}

Status kv_put(Session *session, uint32_t family, Bytes key, Bytes value, int64_t expiry, int mode, bool *inserted) {
  TRY(kv_check_pair(session, key, value));
  TRY(write_begin(session));
  bool was_inserted = false;
  Status status = put_statement(session, family, key, value, expiry, mode, &was_inserted);
  if (status == KVSTORE_OK) status = transaction_spill(session);
  TRY(write_end(session, status));
  if (inserted) *inserted = was_inserted;
  return KVSTORE_OK;
}

Status kv_delete(Session *session, uint32_t family, Bytes key) {
  TRY(kv_check_key(key));
  TRY(write_begin(session));
  ReadPin pin;
  FamilyState *state;
  Era *era;
  RowState found = ROW_ABSENT;
  Status status = write_pin(session, &pin);
  if (status == KVSTORE_OK) status = session_family(session, &pin, family, FAMILY_KV, &state, &era);
  if (status == KVSTORE_OK) {
    MergeRow row;
    status = kv_find_row(session->store, era, pin.sequence, key, &row, &found);
    if (status == KVSTORE_OK) merge_row_release(&row);
  }
  if (status == KVSTORE_OK && found != ROW_ABSENT)
    status = kv_change_row(session, state, era, key, (Bytes){ 0 }, EXPIRY_NEVER, true);
  read_unpin(session, &pin);
  if (status == KVSTORE_OK) status = transaction_spill(session);
  TRY(write_end(session, status));
  return found == ROW_LIVE ? KVSTORE_OK : kv_absent();
}

/* ---- iteration ---- */

typedef struct KvWalk {
  KvIterator seen; /* what callers have of it */
  Store *store;
  VersionHold hold;
  TransactionFate *fate; /* of the transaction that it was made in; NULL: none */
  uint64_t sequence;
  uint32_t family;
  bool reverse, evicts;
  Buffer passed; /* keys found expired and not yet evicted, at most so many */
} KvWalk;

static KvWalk *walk_of(KvIterator *iterator) { return (KvWalk *)iterator; }

enum { PASSED_ENOUGH = 16 << 10, PASSED_MAX = 32 << 10 };

Status kv_open_cursor(Store *store, const Era *era, uint64_t sequence, const KvRange *range, MergeCursor *cursor) {
  LayerList list;
  TRY(kv_list_layers(era, sequence, &list));
  MergeOptions options = { 0 };
  options.prefix = range->prefix;
  options.lower = range->lower;
  options.upper = range->upper;
  options.now_ms = store_clock(store);
  Status status = merge_cursor_open(cursor, list.layers, list.count, &options);
  kv_release_layers(&list);
  return status;
}

Status kv_iterator_create(Session *session, uint32_t family, Bytes prefix, bool reverse, KvIterator **out) {
  return kv_iterator_open(session, family, &(KvRange){ .prefix = prefix }, reverse, out);
}

Status kv_iterator_open(Session *session, uint32_t family, const KvRange *range, bool reverse, KvIterator **out) {
  KvWalk *it = memory_allocate_zeroed(sizeof *it);
  if (!it) return status_nomem();
  ReadPin pin;
  Status status = read_pin_kept(session, &pin, &it->fate);
  if (status != KVSTORE_OK) {
    memory_release(it);
    return status;
  }
  FamilyState *state;
  Era *era;
  it->store = session->store;
  it->reverse = reverse;
  it->family = family;
  it->evicts = !session_is_read_only(session);
  it->sequence = pin.sequence;
  status = session_family(session, &pin, family, FAMILY_KV, &state, &era);
  if (status == KVSTORE_OK) status = version_hold(it->store, &pin, &it->hold);
  if (status == KVSTORE_OK) status = kv_open_cursor(it->store, era, it->sequence, range, &it->seen.cursor);
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
  buffer_release(&it->passed);
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

/* Remembered as far as there is room and memory: what is not waits for the next reader. */
static void pass(KvWalk *it) {
  Bytes key = it->seen.cursor.row.view.key;
  if (!it->evicts || it->passed.length >= PASSED_MAX) return;
  size_t before = it->passed.length;
  buffer_bytes(&it->passed, key.data, key.length);
  if (!it->passed.failed) return;
  it->passed.length = before;
  it->passed.failed = false;
}

/* Expired rows are stepped over. */
static Status settle(KvWalk *it) {
  while (it->seen.cursor.valid && UNLIKELY(it->seen.cursor.row.expired)) {
    pass(it);
    TRY(step(it));
  }
  return KVSTORE_OK;
}

bool kv_iterator_has_passed(const KvIterator *iterator, bool closing) {
  const KvWalk *it = (const KvWalk *)iterator;
  if (LIKELY(!it->passed.length)) return false;
  return closing || !it->seen.cursor.valid || it->passed.length >= PASSED_ENOUGH;
}

void kv_iterator_evict(Session *session, KvIterator *iterator) {
  KvWalk *it = walk_of(iterator);
  Reader keys = reader_over(it->passed.data, it->passed.length);
  Bytes first = reader_bytes(&keys);
  if (session) evict(session, it->family, first, &keys);
  buffer_clear(&it->passed);
}

Status kv_iterator_seek_exactly(KvIterator *iterator, Bytes key, Bytes prefix) {
  KvWalk *it = walk_of(iterator);
  MergeCursor all;
  TRY(still_valid(it));
  const Era *era = family_state_era(version_family(it->hold.version, it->family), it->sequence);
  TRY(kv_open_cursor(it->store, era, it->sequence, &(KvRange){ 0 }, &all));
  Status status =
    it->reverse ? merge_cursor_seek_last(&all, key.data, key.length) : merge_cursor_seek(&all, key.data, key.length);
  while (status == KVSTORE_OK && all.valid && all.row.expired)
    status = it->reverse ? merge_cursor_prev(&all) : merge_cursor_next(&all);
  Bytes at = all.valid ? all.row.view.key : (Bytes){ 0 };
  bool inside = at.length >= prefix.length && (!prefix.length || memcmp(at.data, prefix.data, prefix.length) == 0);
  merge_cursor_close(&all);
  TRY(status);
  if (inside) return kv_iterator_seek(iterator, key);
  it->seen.cursor.valid = false;
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

/* ---- expiry ---- */

/* A run in which nothing has expired, as its directory and its column of expiries say. */
static Status nothing_expired(const RowRun *run, int64_t now_ms, bool *nothing) {
  uint64_t count;
  bool known;
  TRY(row_run_count_expired(run, now_ms, &known, &count));
  *nothing = known && !count;
  return KVSTORE_OK;
}

/* Leaves out the oldest layers in which nothing has expired: they hide nothing, and need not be read. */
static Status leave_unexpired(LayerList *list, int64_t now_ms) {
  for (; list->count; list->count--) {
    const MergeLayer *oldest = &list->layers[list->count - 1];
    bool nothing = oldest->run || oldest->level;
    if (oldest->run) TRY(nothing_expired(oldest->run, now_ms, &nothing));
    for (uint32_t i = 0; oldest->level && nothing && i < oldest->level->count; i++)
      TRY(nothing_expired(oldest->level->runs[i], now_ms, &nothing));
    if (!nothing) return KVSTORE_OK;
  }
  return KVSTORE_OK;
}

/* Walks the rows of a family that can have expired at a pin; `visit` gets keys and whether they have. */
static Status walk(Session *session, const ReadPin *pin, uint32_t family, Status (*visit)(void *, const MergeRow *),
                   void *context) {
  FamilyState *state;
  Era *era;
  TRY(session_family(session, pin, family, FAMILY_KV, &state, &era));
  LayerList list;
  TRY(kv_list_layers(era, pin->sequence, &list));
  MergeOptions options = { 0 };
  options.now_ms = store_clock(session->store);
  MergeCursor cursor;
  Status status = leave_unexpired(&list, options.now_ms);
  if (status == KVSTORE_OK) status = merge_cursor_open(&cursor, list.layers, list.count, &options);
  kv_release_layers(&list);
  TRY(status);
  for (status = merge_cursor_first(&cursor); status == KVSTORE_OK && cursor.valid;
       status = merge_cursor_next(&cursor)) {
    status = visit(context, &cursor.row);
    if (status != KVSTORE_OK) break;
  }
  merge_cursor_close(&cursor);
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
  if (status == KVSTORE_OK)
    status = columns_note_ends(session, state->family, &family_state_traits(state, pin.sequence)->options,
                               (Bytes){ keys.data, keys.length });
  read_unpin(session, &pin);
  buffer_release(&keys);
  TRY(write_end(session, status));
  if (purged) *purged = count;
  return KVSTORE_OK;
}
