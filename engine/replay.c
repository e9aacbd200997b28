/* replay.c - records of the log into memory: following other processes, and recovery. */
#include <string.h>

#include "base/counters.h"
#include "base/hash.h"
#include "base/keycode.h"
#include "base/memory.h"
#include "crypto/seal.h"
#include "engine/engine_internal.h"
#include "engine/row_stage.h"
#include "engine/table_state.h"

static Status find_era(Store *store, const Operation *op, int kind, FamilyState **state, Era **era) {
  *state = version_family(atomic_load_explicit(&store->current, memory_order_relaxed), op->family_id);
  if (!*state) return status_fail(KVSTORE_CORRUPT, "the log writes to family %u, which is not there", op->family_id);
  *era = &(*state)->eras[(*state)->era_count - 1];
  if ((*era)->dropped || (int)(*state)->family->kind != kind)
    return status_fail(KVSTORE_CORRUPT, "the log writes to family %u as what it is not", op->family_id);
  return KVSTORE_OK;
}

static Status touch(Store *store, FamilyState *state, Era *era) {
  return transaction_touch(store, era->deltas[0].delta, state->family);
}

static void raise_row_id(Family *family, const RowStage *stage) {
  if (!family->schema.has_row_id) return;
  const uint64_t *ids = stage->values[family->schema.column_count - 1];
  if (ids[0] >= atomic_load_explicit(&family->next_row_id, memory_order_relaxed))
    atomic_store_explicit(&family->next_row_id, ids[0] + 1, memory_order_relaxed);
}

/* Deltas sort rows by the key of the operation, runs by the columns. */
static Status check_key(const Operation *op, const Schema *schema, const ColumnArray *columns) {
  Buffer key = { 0 };
  keycode_append_row(&key, schema, columns, 0);
  Status status = buffer_status(&key);
  if (status == KVSTORE_OK && (key.length != op->key.length || memcmp(key.data, op->key.data, key.length) != 0))
    status =
      status_fail(KVSTORE_CORRUPT, "the log holds a row of family %u under a key that is not its own", op->family_id);
  buffer_release(&key);
  return status;
}

static Status replay_row(Store *store, const Operation *op, uint64_t sequence, Arena *arena) {
  FamilyState *state;
  Era *era;
  TRY(find_era(store, op, FAMILY_TABLE, &state, &era));
  TRY(touch(store, state, era));
  uint64_t hash = hash_key(op->key.data, op->key.length);
  if (op->kind == OPERATION_ROW_DELETE) return apply_row_delete(store, era, op->key, hash, sequence);
  const Schema *schema = &state->family->schema;
  if (op->schema_version != schema->version)
    return status_fail(KVSTORE_CORRUPT, "the log holds a row of schema version %u, which is not there",
                       op->schema_version);
  RowStage stage;
  TRY(row_stage_create(&stage, schema, 1, arena));
  TRY(record_row_read_into(op->payload, schema, ROW_CHECK_TEXT, stage.values, stage.nulls, 0));
  TRY(check_key(op, schema, stage.columns));
  TRY(apply_row(store, era, op->key, hash, stage.columns, 0, op->expiry, sequence));
  raise_row_id(state->family, &stage);
  return KVSTORE_OK;
}

static Status replay_kv(Store *store, const Operation *op, uint64_t sequence) {
  FamilyState *state;
  Era *era;
  TRY(find_era(store, op, FAMILY_KV, &state, &era));
  TRY(touch(store, state, era));
  uint64_t hash = hash_key(op->key.data, op->key.length);
  return apply_kv(era, op->key, hash, op->payload, op->expiry, op->kind == OPERATION_KV_DELETE, sequence);
}

/* KVSTORE_BUSY: this process has not the newest generation, and the one it has holds nothing back. */
static Status pin_for_replay(Store *store, ReadPin *pin) {
  bool pinned;
  TRY(version_try_pin(store, pin, &pinned));
  return pinned ? KVSTORE_OK : status_fail(KVSTORE_BUSY, "a newer generation has come while the log was read");
}

/* What a record says of runs is looked up in those of the newest generation, and nobody gives them away meanwhile
 * (GEN-1). */
static Status replay_adopt(Store *store, const Operation *op, uint64_t sequence) {
  ReadPin pin;
  Status status = pin_for_replay(store, &pin);
  if (status == KVSTORE_BUSY) COUNT(adoptions_behind);
  TRY(status);
  status = apply_adopt(store, op->family_id, op->payload, sequence);
  version_unpin(store, &pin);
  return status;
}

/* Families that were dropped keep their places until a generation comes without them: who has made one more had it. */
static Status replay_create(Store *store, const Operation *op, uint64_t sequence) {
  const Version *current = atomic_load_explicit(&store->current, memory_order_relaxed);
  if (UNLIKELY(current->family_count >= FAMILIES_MAX)) {
    ReadPin pin;
    TRY(pin_for_replay(store, &pin));
    version_unpin(store, &pin);
  }
  return apply_family_create(store, op->family_id, op->payload, sequence);
}

static Status replay_operation(Store *store, const Operation *op, uint64_t sequence, Arena *arena) {
  switch (op->kind) {
  case OPERATION_KV_PUT:
  case OPERATION_KV_DELETE: return replay_kv(store, op, sequence);
  case OPERATION_ROW_UPSERT:
  case OPERATION_ROW_DELETE: return replay_row(store, op, sequence, arena);
  case OPERATION_FAMILY_CREATE:
  case OPERATION_FAMILY_DROP:
  case OPERATION_FAMILY_CLEAR:
  case OPERATION_FAMILY_CHANGE:
  case OPERATION_ADOPT_RUN: store->transaction.shape_changed = true; break;
  case OPERATION_SCHEMA_CHANGE: break;
  }
  switch (op->kind) {
  case OPERATION_FAMILY_CREATE: return replay_create(store, op, sequence);
  case OPERATION_FAMILY_DROP: return apply_family_end(store, op->family_id, true, sequence);
  case OPERATION_FAMILY_CLEAR: return apply_family_end(store, op->family_id, false, sequence);
  case OPERATION_FAMILY_CHANGE: return apply_family_change(store, op->family_id, op->payload, sequence);
  case OPERATION_ADOPT_RUN: return replay_adopt(store, op, sequence);
  default: break;
  }
  return status_fail(KVSTORE_UNSUPPORTED, "the log holds an operation that this library does not know");
}

static Status replay_transaction(Store *store, const WalRecord *record) {
  OperationReader operations = operation_reader_over(record->operations);
  uint64_t sequence = record->header.first_sequence, end = sequence + record->header.sequence_count;
  Arena arena = { 0 };
  Status status;
  for (;;) {
    Operation op;
    bool more;
    status = operation_next(&operations, &op, &more);
    if (status != KVSTORE_OK || !more) break;
    if (sequence >= end) {
      status = status_fail(KVSTORE_CORRUPT, "a record of the log holds more operations than it says");
      break;
    }
    arena_reset(&arena);
    status = replay_operation(store, &op, sequence++, &arena);
    if (status != KVSTORE_OK) break;
  }
  arena_release(&arena);
  return status;
}

/* The operations of a record in the clear. A record of a sealed log that nobody sealed is somebody else's. */
static Status unseal_operations(Store *store, const WalRecord *record, Bytes *operations) {
  bool sealed = record->header.flags & RECORD_SEALED;
  *operations = record->operations;
  if (sealed != (store->key != NULL))
    return status_fail(KVSTORE_CORRUPT, "the log of %s store holds a record that is %s",
                       store->key ? "an encrypted" : "a plain", sealed ? "encrypted" : "not encrypted");
  if (!sealed) return KVSTORE_OK;
  buffer_clear(&store->unsealed);
  uint8_t *plain = buffer_extend(&store->unsealed, record->whole.length - RECORD_SEALED_OFFSET);
  if (!plain) return buffer_status(&store->unsealed);
  operations->data = plain;
  return unseal_record(store->key, record->whole, plain);
}

/* Whose the transaction object is while records are replayed: what a failure half-way has done is taken back by it. */
static Session replaying;

/* The cursor has stepped over the record already where a boundary is applied: what freezes is what lies before it. */
Status store_apply_record(Store *store, const WalRecord *given) {
  WalRecord opened = *given, *record = &opened;
  if (record->header.kind != RECORD_TRANSACTION && record->header.kind != RECORD_BOUNDARY) return KVSTORE_OK;
  TRY(unseal_operations(store, given, &opened.operations));
  TRY(apply_forget_rest(store));
  if (record->header.kind == RECORD_TRANSACTION) {
    transaction_start(store, &replaying, true);
    store->transaction.first_sequence = store->transaction.statement.next_sequence = record->header.first_sequence;
    Status status = replay_transaction(store, record);
    if (status != KVSTORE_OK) transaction_take_back(store);
    transaction_finish(store, status != KVSTORE_OK);
    return status;
  }
  return apply_boundary(store);
}

/* A record that was read, and where it ends. */
static Status apply_up_to(Store *store, WalCursor at, const WalRecord *record) {
  WalCursor before = store->applied;
  store->applied = at;
  Status status = store_apply_record(store, record);
  if (status != KVSTORE_OK) {
    store->applied = before;
    return status;
  }
  atomic_store_explicit(&store->applied_sequence, at.sequence - 1, memory_order_release);
  return KVSTORE_OK;
}

static Status apply_next(Store *store, uint64_t end) {
  WalRecord record;
  WalCursor at = store->applied;
  TRY(wal_read(store->wal, &at, end, &store->window, &record));
  return apply_up_to(store, at, &record);
}

/* So that no reader of this process finds many rows that another one has written and nobody has looked up yet. A
 * failure is tried again by the reader, who reports it. */
static void advance_waiting(Store *store) {
  if (atomic_load_explicit(&store->rows_waiting, memory_order_relaxed) <= UNRESOLVED_MAX) return;
  ReadPin pin;
  bool pinned;
  Status status = version_try_pin(store, &pin, &pinned);
  if (status == KVSTORE_OK && pinned) {
    status = tables_advance(store, pin.version, atomic_load_explicit(&store->applied_sequence, memory_order_relaxed));
    version_unpin(store, &pin);
  }
  if (status != KVSTORE_OK) status_clear();
}

/* What lies below the log's start may be overwritten while it is read: whoever finds that it has passed takes the
 * manifest that holds those records instead (LOG-6). */
static Status apply_one(Store *store, uint64_t end) {
  WalCursor before = store->applied;
  Status status = apply_next(store, end);
  if (LIKELY(status == KVSTORE_OK)) advance_waiting(store);
  if (LIKELY(status == KVSTORE_OK) || !log_is_current(store)) return KVSTORE_OK; /* it was whole, or the log is gone */
  if (status == KVSTORE_BUSY) return generation_follow_newest(store);            /* then the record once more */
  if (log_start_now(store) <= before.position) return status;
  TRY(generation_follow_newest(store));
  if (log_is_current(store) && store->applied.position <= before.position)
    return status_fail(KVSTORE_CORRUPT, "the log begins behind what the newest manifest holds");
  return KVSTORE_OK;
}

/* The end that is loaded before the log is found to be the page's is that of this log: who ends a log takes its id out
 * of the page first, who makes one puts its id in last. */
static Status apply_all(Store *store) {
  TRY(apply_forget_rest(store));
  for (;;) {
    uint64_t end = shared_load(&store->page->end);
    transaction_after_last(store);
    if (UNLIKELY(!log_is_current(store))) {
      TRY(log_follow(store));
      continue;
    }
    if (!store->wal || store->applied.position >= end) return KVSTORE_OK;
    TRY(apply_one(store, end));
  }
}

Status store_apply(Store *store) {
  mutex_lock(&store->apply_lock);
  Status status = apply_all(store);
  mutex_unlock(&store->apply_lock);
  return status;
}

/* ---- recovery ---- */

static Status recover_record(void *context, const WalRecord *record) {
  Store *store = context;
  store->applied.sequence = record->header.first_sequence + record->header.sequence_count;
  store->applied.position = record->header.position + record->header.length;
  store->applied.checksum = record->header.checksum;
  return store_apply_record(store, record);
}

Status log_recover_locked(Store *store, uint64_t clean_end, WalRecovery *out) {
  TRY(wal_recover(store->wal, store->applied, clean_end, recover_record, store, out));
  store->applied = out->tail;
  atomic_store_explicit(&store->applied_sequence, out->tail.sequence - 1, memory_order_release);
  return KVSTORE_OK;
}

Status log_recover(Store *store, uint64_t clean_end, WalRecovery *out) {
  mutex_lock(&store->apply_lock);
  Status status = log_recover_locked(store, clean_end, out);
  mutex_unlock(&store->apply_lock);
  return status;
}

/* A record that is not whole is what the log's end may look like. The window holds bytes past the end, so it is not
 * kept.
 */
Status log_follow_tail(Store *store) {
  WalWindow window = { 0 };
  Status status = KVSTORE_OK;
  while (status == KVSTORE_OK && wal_continues(store->wal, &store->applied)) {
    WalRecord record;
    WalCursor at = store->applied;
    Status whole = wal_read(store->wal, &at, at.position + wal_capacity(store->wal), &window, &record);
    if (whole == KVSTORE_CORRUPT) break;
    status = whole == KVSTORE_OK ? apply_up_to(store, at, &record) : whole;
  }
  wal_window_release(&window);
  return status;
}
