/* transaction.c - the write lock, statements, commit and rollback (LOG-5, LOG-7, LOCK-1, VIS-3).
 *
 * A statement of its own (autocommit) holds just the shared mutex. An explicit transaction takes the write word under
 * the mutex and lets the mutex go, so that it may begin on one thread and end on another. */
#include <string.h>

#include "base/assert.h"
#include "base/counters.h"
#include "base/memory.h"
#include "crypto/seal.h"
#include "engine/engine_internal.h"
#include "engine/table_state.h"

enum { LOOK_AGAIN_NS = 50 * 1000 * 1000 }; /* a waiter looks this often whether it has been missed */

/* ---- room in the log ---- */

/* Behind store_apply, under the mutex: nobody cuts a log meanwhile, but another process may make one, which this
 * process's own thread opens. With this flag it is open and the cursors stand at its end. */
static bool log_is_ready(Store *store) { return atomic_load_explicit(&store->log_ready, memory_order_acquire); }

static bool log_has_room(Store *store) {
  uint64_t start = shared_load(&store->page->start), end = shared_load(&store->page->end);
  return wal_fits(store->wal, start, end, RECORD_TRANSACTION, wal_record_bytes_max(store->wal));
}

/* The mutex, with nobody's transaction open, the log applied to its end and room for a record. */
static Status lock_for_writing(Session *session) {
  Store *store = session->store;
  SharedPage *page = store->page;
  write_word_give_way(session);
  uint64_t deadline = os_monotonic_ns(store->os) + (uint64_t)session->options.busy_timeout_ms * 1000000;
  for (;;) {
    bool died;
    TRY(log_create(store));
    TRY(shared_mutex_lock(&page->mutex, &died));
    Status status = KVSTORE_OK;
    if (UNLIKELY(shared_load(&page->write_word))) {
      shared_mutex_unlock(&page->mutex);
      TRY(write_word_wait(store, deadline));
      continue;
    }
    if (UNLIKELY(shared_load(&page->failed)))
      status = status_fail(KVSTORE_IO, "a sync failed: nothing is written until every process has closed the store");
    if (status == KVSTORE_OK) status = store_apply(store);
    if (status == KVSTORE_OK && UNLIKELY(!log_is_ready(store))) { /* it has been cut, and is made anew */
      shared_mutex_unlock(&page->mutex);
      continue;
    }
    if (status == KVSTORE_OK && UNLIKELY(!log_has_room(store))) {
      COUNT(log_self_checkpoints);
      if (shared_load(&page->end) > store->frozen.position) status = boundary_append(store);
      shared_mutex_unlock(&page->mutex);
      if (status == KVSTORE_OK) status = maintenance_wait_flushed(store);
      TRY(status);
      continue;
    }
    if (status != KVSTORE_OK) shared_mutex_unlock(&page->mutex);
    return status;
  }
}

/* ---- the transaction object ---- */

static struct Savepoint transaction_begin_point(const Transaction *t) {
  return (struct Savepoint){ t->record_begins, 0, 0, 0, t->first_sequence, t->next_family_id_before, false };
}

void transaction_start(Store *store, Session *session, bool autocommit) {
  Transaction *t = &store->transaction;
  t->autocommit = autocommit;
  t->failure = KVSTORE_OK;
  t->shape_changed = t->spilled = t->durable = t->boundary_wanted = t->marked = t->adopted = false;
  t->asks_work = false;
  t->first_sequence = t->next_sequence = store->applied.sequence;
  t->row_operations = 0;
  t->touched_count = t->undo_count = t->row_id_count = 0;
  t->next_family_id_before = store->next_family_id;
  record_begin(&t->record, store->key != NULL);
  t->record_begins = store_record_begins(store);
  atomic_store_explicit(&t->seen, t->first_sequence - 1, memory_order_release);
  t->statement = transaction_begin_point(t);
  space_job_init(&t->space, store, false);
  t->owner = session;
}

/* The record belongs to the writer alone: others read its size here. */
static void note_record(Store *store) {
  atomic_store_explicit(&store->record_held, store->transaction.record.capacity, memory_order_relaxed);
}

static void statement_start(Store *store) {
  Transaction *t = &store->transaction;
  note_record(store);
  t->spilled = false;
  t->statement = (struct Savepoint){ t->record.length, t->touched_count,      t->undo_count,   t->row_id_count,
                                     t->next_sequence, store->next_family_id, t->shape_changed };
}

enum { RECORD_KEEP_BYTES = 1 << 20 };

void transaction_finish(Store *store, bool taken_back) {
  Transaction *t = &store->transaction;
  if (t->marked) journal_unmark(store);
  for (size_t i = 0; i < t->touched_count; i++) delta_release(t->touched[i].delta);
  for (size_t i = 0; i < t->undo_count; i++) delta_release(t->undo[i].delta);
  t->touched_count = t->undo_count = t->row_id_count = 0;
  if (t->record.capacity > RECORD_KEEP_BYTES) buffer_release(&t->record);
  note_record(store);
  if (taken_back)
    space_job_take_back(&t->space);
  else
    space_job_end(&t->space);
  t->owner = NULL;
  uint64_t ended = atomic_load_explicit(&t->ended, memory_order_relaxed);
  atomic_store_explicit(&t->ended, ended + 1, memory_order_release);
}

Status transaction_touch(Store *store, DeltaHandle *delta, Family *family) {
  Transaction *t = &store->transaction;
  for (size_t i = t->touched_count; i-- > t->statement.touched_count;)
    if (t->touched[i].delta == delta) return KVSTORE_OK;
  TRY(memory_grow(&t->touched, &t->touched_capacity, t->touched_count + 1, sizeof *t->touched));
  DeltaMark mark = delta->kv ? kv_delta_mark(delta->kv) : table_delta_mark(delta->table);
  t->touched[t->touched_count++] = (TouchedDelta){ delta_retain(delta), family, mark };
  return KVSTORE_OK;
}

Status transaction_undo(Store *store, DeltaHandle *delta, uint32_t row, uint64_t sequence) {
  Transaction *t = &store->transaction;
  Status status = memory_grow(&t->undo, &t->undo_capacity, t->undo_count + 1, sizeof *t->undo);
  if (status != KVSTORE_OK) { /* what cannot be remembered is taken back at once */
    if (delta->kv)
      kv_delta_revive(delta->kv, row, sequence);
    else
      table_delta_revive(delta->table, row, sequence);
    return status;
  }
  t->undo[t->undo_count++] = (UndoDead){ delta_retain(delta), row, sequence };
  return KVSTORE_OK;
}

Status transaction_keep_row_id(Store *store, Family *family) {
  Transaction *t = &store->transaction;
  for (size_t i = t->row_id_count; i-- > t->statement.row_id_count;)
    if (t->row_ids[i].family == family) return KVSTORE_OK;
  TRY(memory_grow(&t->row_ids, &t->row_id_capacity, t->row_id_count + 1, sizeof *t->row_ids));
  t->row_ids[t->row_id_count++] =
    (struct RowIdBefore){ family, atomic_load_explicit(&family->next_row_id, memory_order_relaxed) };
  return KVSTORE_OK;
}

/* Takes back everything since a savepoint. Apply lock held. */
static Status roll_back_locked(Store *store, const struct Savepoint *to) {
  Transaction *t = &store->transaction;
  while (t->touched_count > to->touched_count) {
    TouchedDelta *d = &t->touched[--t->touched_count];
    if (d->delta->kv)
      kv_delta_rollback(d->delta->kv, d->mark);
    else
      table_delta_rollback(d->delta->table, d->mark);
    delta_release(d->delta);
  }
  while (t->undo_count > to->undo_count) {
    UndoDead *u = &t->undo[--t->undo_count];
    if (u->delta->kv)
      kv_delta_revive(u->delta->kv, u->row, u->sequence);
    else
      table_delta_revive(u->delta->table, u->row, u->sequence);
    delta_release(u->delta);
  }
  while (t->row_id_count > to->row_id_count) {
    struct RowIdBefore *r = &t->row_ids[--t->row_id_count];
    atomic_store_explicit(&r->family->next_row_id, r->next_row_id, memory_order_relaxed);
  }
  Status status = t->shape_changed ? apply_forget(store, to->next_sequence) : apply_forget_rest(store);
  store->next_family_id = to->next_family_id;
  t->shape_changed = to->shape_changed;
  t->next_sequence = to->next_sequence;
  t->record.length = to->record_length;
  t->record.failed = false;
  atomic_store_explicit(&t->seen, t->next_sequence - 1, memory_order_release);
  return status;
}

/* What happens here has no say in what the caller is told of the failure that brought it here. */
static Status roll_back_to(Store *store, const struct Savepoint *to) {
  Failure why = *status_last();
  mutex_lock(&store->apply_lock);
  Status status = roll_back_locked(store, to);
  mutex_unlock(&store->apply_lock);
  if (status != KVSTORE_OK) status_restore(&why);
  return status;
}

/* A statement that succeeded: its marks of deltas that the transaction had touched before are not needed any more. */
static void statement_keep(Store *store) {
  Transaction *t = &store->transaction;
  size_t kept = t->statement.touched_count;
  for (size_t i = kept; i < t->touched_count; i++) {
    bool known = false;
    for (size_t j = 0; j < t->statement.touched_count && !known; j++)
      known = t->touched[j].delta == t->touched[i].delta;
    if (known)
      delta_release(t->touched[i].delta);
    else
      t->touched[kept++] = t->touched[i];
  }
  t->touched_count = kept;
  kept = t->statement.row_id_count;
  for (size_t i = kept; i < t->row_id_count; i++) {
    bool known = false;
    for (size_t j = 0; j < t->statement.row_id_count && !known; j++)
      known = t->row_ids[j].family == t->row_ids[i].family;
    if (!known) t->row_ids[kept++] = t->row_ids[i];
  }
  t->row_id_count = kept;
  atomic_store_explicit(&t->seen, t->next_sequence - 1, memory_order_release);
}

/* All of it is gone, whatever there is memory for (ENG-19). */
static void roll_back_all(Store *store) {
  struct Savepoint start = transaction_begin_point(&store->transaction);
  Status rest = roll_back_to(store, &start);
  (void)rest;
}

void transaction_take_back(Store *store) {
  Failure why = *status_last();
  struct Savepoint start = transaction_begin_point(&store->transaction);
  if (roll_back_locked(store, &start) != KVSTORE_OK) status_restore(&why);
}

/* ---- commit ---- */

static bool delta_is_full(const DeltaHandle *d) {
  if (d->table) return table_delta_row_count(d->table) >= DELTA_SLAB_ROWS;
  return kv_delta_counts(d->kv).bytes_used >= DELTA_SLAB_BYTES;
}

static uint64_t adopted_bytes_since(const Era *era, uint64_t sequence) {
  uint64_t bytes = 0;
  for (uint32_t r = 0; r < era->run_count && era->runs[r].since >= sequence; r++)
    bytes += era->runs[r].run->entry.data_bytes;
  return bytes;
}

/* Runs that were adopted since the last boundary: nothing is merged with them before the next, and the log itself may
 * hold little more than their names. */
static bool adopted_much(Store *store) {
  Version *v = version_keep(store);
  uint64_t bytes = 0, since = store->frozen.sequence ? store->frozen.sequence : 1;
  for (uint32_t f = 0; f < v->family_count; f++)
    for (uint32_t e = 0; e < v->families[f]->era_count; e++)
      bytes += adopted_bytes_since(&v->families[f]->eras[e], since);
  version_let_go(store, v);
  return bytes >= wal_capacity(store->wal) / 2;
}

enum { ENDED_MAX = 256 };

/* Eras that clears and drops have ended since the last boundary keep their deltas, and each new version names all of
 * them, until a flush takes them away. */
static bool ended_much(Store *store) {
  Version *v = version_keep(store);
  uint32_t ended = 0;
  for (uint32_t f = 0; f < v->family_count; f++)
    for (uint32_t e = v->families[f]->era_count - 1; e > 0; e--) {
      if (v->families[f]->eras[e].since < store->frozen.sequence) break;
      ended++;
    }
  version_let_go(store, v);
  return ended >= ENDED_MAX;
}

static bool has_filled_delta(const Transaction *t) {
  for (size_t i = 0; i < t->touched_count; i++)
    if (delta_is_full(t->touched[i].delta)) return true;
  return false;
}

static bool wants_boundary(Store *store) {
  const Transaction *t = &store->transaction;
  if (t->boundary_wanted) return true;
  if (store->applied.position - store->frozen.position >= wal_capacity(store->wal) / 2) return true;
  if (t->shape_changed && (adopted_much(store) || ended_much(store))) return true;
  return has_filled_delta(t);
}

_Static_assert(RECORD_SEALED_OFFSET == RECORD_HEADER_BYTES + RECORD_SEAL_BYTES, "where the operations begin");

static Status seal_for_log(void *context, uint8_t *record, size_t length) {
  return seal_record(context, record, length);
}

static WalAppend append_how(Store *store, RecordKind kind, uint32_t sequence_count) {
  return (WalAppend){ .kind = kind,
                      .sequence_count = sequence_count,
                      .start = shared_load(&store->page->start),
                      .synced = shared_load(&store->page->synced),
                      .seal = store->key ? seal_for_log : NULL,
                      .context = store->key };
}

/* What a record names is durable before the record is there: one sync for all runs that the transaction has adopted.
 * Asked for before the mutex where there is time (LOCK-1). */
static Status sync_adopted(Store *store) {
  Transaction *t = &store->transaction;
  if (LIKELY(!t->adopted)) return KVSTORE_OK;
  TRY(store_sync_file(store));
  t->adopted = false;
  CRASH_POINT(adopt_before_record);
  return KVSTORE_OK;
}

/* Writes the record and publishes it. Mutex held. */
static Status commit_record(Store *store) {
  Transaction *t = &store->transaction;
  SharedPage *page = store->page;
  TRY(buffer_status(&t->record));
  if (UNLIKELY(shared_load(&page->failed)))
    return status_fail(KVSTORE_IO, "a sync failed: nothing is written until every process has closed the store");
  TRY(sync_adopted(store));
  TRY(space_owe(store, t->record.length));
  CRASH_POINT(commit_before_write);
  WalCursor tail = store->applied;
  ASSERT(t->next_sequence - t->first_sequence <= UINT32_MAX, "ENG-5");
  WalAppend how = append_how(store, RECORD_TRANSACTION, (uint32_t)(t->next_sequence - t->first_sequence));
  TRY(wal_append(store->wal, &tail, &t->record, &how, NULL));
  CRASH_POINT(commit_after_write);
  mutex_lock(&store->apply_lock);
  store->applied = tail;
  atomic_store_explicit(&store->applied_sequence, tail.sequence - 1, memory_order_release);
  mutex_unlock(&store->apply_lock);
  shared_store(&page->end, tail.position);
  return KVSTORE_OK;
}

Status boundary_append(Store *store) {
  SharedPage *page = store->page;
  Buffer record = { 0 };
  record_begin(&record, store->key != NULL);
  WalCursor tail = store->applied;
  WalAppend how = append_how(store, RECORD_BOUNDARY, 0);
  Status status = wal_append(store->wal, &tail, &record, &how, NULL);
  buffer_release(&record);
  TRY(status);
  CRASH_POINT(boundary_after_write);
  mutex_lock(&store->apply_lock);
  WalCursor before = store->applied;
  store->applied = tail;
  status = apply_boundary(store);
  if (status != KVSTORE_OK) store->applied = before;
  mutex_unlock(&store->apply_lock);
  if (status == KVSTORE_OK) shared_store(&page->end, tail.position);
  return status;
}

/* Sync mutex held. */
static Status sync_log(Store *store) {
  SharedPage *page = store->page;
  if (shared_load(&page->failed))
    return status_fail(KVSTORE_IO, "a sync failed: nothing is acknowledged until every process has closed the store");
  uint64_t end = shared_load(&page->end);
  Status status = os_sync(log_file(store)); /* whichever log lies in it by now: what a former one held is in the file */
  COUNT(log_syncs);
  if (status == KVSTORE_OK)
    shared_raise(&page->synced, end);
  else
    shared_store(&page->failed, 1);
  return status;
}

void sync_mutex_unlock(SharedPage *page) {
  shared_mutex_unlock(&page->sync_mutex);
  atomic_fetch_add_explicit(&page->sync_turns, 1, memory_order_release);
  futex_wake_all(&page->sync_turns);
}

/* All who wait are woken at once by a sync that ends: whom it served goes, and one of the others makes the next. (In a
 * queue on the mutex those served would wait behind the next sync.) */
Status log_sync_to(Store *store, uint64_t position) {
  SharedPage *page = store->page;
  for (;;) {
    uint32_t turn = atomic_load_explicit(&page->sync_turns, memory_order_acquire);
    if (shared_load(&page->synced) >= position) {
      COUNT(log_syncs_shared);
      return KVSTORE_OK;
    }
    bool died;
    if (shared_mutex_try_lock(&page->sync_mutex, &died)) {
      Status status = shared_load(&page->synced) >= position ? KVSTORE_OK : sync_log(store);
      sync_mutex_unlock(page);
      return status;
    }
    futex_wait(&page->sync_turns, turn, LOOK_AGAIN_NS);
  }
}

void fate_release(TransactionFate *fate) {
  if (fate && atomic_fetch_sub_explicit(&fate->references, 1, memory_order_acq_rel) == 1) memory_release(fate);
}

static void fate_set(Session *session, TransactionFate *fate) {
  mutex_lock(&session->store->versions_lock);
  session->fate = fate;
  mutex_unlock(&session->store->versions_lock);
}

/* Before any row is taken back: who has read beside that asks behind it (table_snapshot_check, which has the other
 * fence). */
static void fate_rolled_back(Session *session) {
  if (!session->fate) return;
  atomic_store_explicit(&session->fate->rolled_back, true, memory_order_release);
  atomic_thread_fence(memory_order_release);
}

/* ---- rows that wait for their locator ---- */

/* So that a count behind this commit, at `last`, finds its deleted sets (nearly) made (DESIGN 8): the store's thread is
 * asked early, and what it has not done is done here. A failure is tried again by the count, which reports it. Mutex
 * held; nothing of the transaction can fail any more, but its rows need not be seen yet. */
static void advance_waiting(Session *session, uint64_t last) {
  Store *store = session->store;
  uint64_t waiting = atomic_load_explicit(&store->rows_waiting, memory_order_relaxed);
  if (waiting <= UNRESOLVED_MAX) {
    bool ask = waiting > UNRESOLVED_MAX / 2 && store->background;
    if (ask && !atomic_exchange_explicit(&store->rows_asked, true, memory_order_relaxed)) maintenance_ask(store);
    return;
  }
  ReadPin pin;
  Status status = write_pin(session, &pin);
  if (status == KVSTORE_OK) {
    status = tables_advance(store, pin.version, last);
    read_unpin(session, &pin);
  }
  if (status != KVSTORE_OK) status_clear();
}

/* The disk is full, but the file may have room: what was kept for a flush is more than the flush takes, and merges free
 * what they replace. The mutex is held, and the transaction has no rows any more. */
static bool boundary_for_room(Store *store) {
  Failure why = *status_last();
  if (shared_load(&store->page->end) <= store->frozen.position) return false;
  if (boundary_append(store) == KVSTORE_OK) return true;
  Status ignored = status_fail(KVSTORE_FULL, "%s", why.text);
  (void)ignored;
  return false;
}

/* Commits what the transaction holds and ends it. The mutex is held, and let go here. */
static Status commit_and_unlock(Session *session) {
  Store *store = session->store;
  SharedPage *page = store->page;
  Transaction *t = &store->transaction;
  bool empty = t->record.length == t->record_begins && !t->record.failed, boundary = false;
  bool adopted = false;
  Status status = empty ? KVSTORE_OK : commit_record(store);
  if (status != KVSTORE_OK) {
    fate_rolled_back(session);
    roll_back_all(store);
    if (status == KVSTORE_FULL) boundary = boundary_for_room(store);
  }
  uint64_t end = shared_load(&page->end), last = store->applied.sequence - 1;
  bool full = (session->options.sync_level == SYNC_FULL || t->durable) && status == KVSTORE_OK && !empty;
  bool later = session->options.sync_level == SYNC_BACKGROUND && status == KVSTORE_OK && !empty && !full;
  if (status == KVSTORE_OK && !empty) {
    atomic_store_explicit(&session->committed, last, memory_order_release);
    advance_waiting(session, last);
    if (!full) shared_raise(&page->visible, last);
    CRASH_POINT(commit_after_publish);
    if (wants_boundary(store)) boundary = boundary_append(store) == KVSTORE_OK; /* else the next commit asks again */
    adopted = boundary && t->shape_changed;
  }
  bool asks = t->asks_work && status == KVSTORE_OK;
  transaction_finish(store, status != KVSTORE_OK);
  if (shared_load(&page->write_word)) write_word_give(session);
  shared_mutex_unlock(&page->mutex);
  if (full) {
    status = log_sync_to(store, end);
    if (status == KVSTORE_OK) {
      shared_raise(&page->visible, last);
      CRASH_POINT(commit_after_sync);
    }
  }
  if (later) sync_timer_start(store);
  if (boundary || asks) maintenance_ask(store);
  if (adopted) maintenance_wait_merged(store);
  return status;
}

/* ---- statements ---- */

static Status may_write(const Session *session) {
  if (session->options.read_only || session->store->reader_only)
    return status_fail(KVSTORE_READONLY, "the store is open for reading only");
  return KVSTORE_OK;
}

Status write_begin(Session *session) {
  Store *store = session->store;
  TRY(may_write(session));
  mutex_lock(&session->lock);
  int open = atomic_load_explicit(&session->transaction, memory_order_relaxed);
  Status status = KVSTORE_OK;
  if (open == 1) status = status_fail(KVSTORE_ERROR, "a reading transaction is open: end it before you write");
  if (open == 2 && store->transaction.failure)
    status = status_fail(store->transaction.failure,
                         "a statement of the transaction failed and could not be taken back alone: roll it back");
  if (!open) {
    status = lock_for_writing(session);
    if (status == KVSTORE_OK) transaction_start(store, session, true);
  }
  if (status != KVSTORE_OK) {
    mutex_unlock(&session->lock);
    return status;
  }
  statement_start(store);
  return KVSTORE_OK;
}

Status write_try_begin(Session *session) {
  Store *store = session->store;
  if (may_write(session) != KVSTORE_OK || !mutex_try_lock(&session->lock)) return KVSTORE_BUSY;
  int open = atomic_load_explicit(&session->transaction, memory_order_relaxed);
  if (open == 2 && !store->transaction.failure) {
    statement_start(store);
    return KVSTORE_OK;
  }
  bool died;
  if (open || !shared_load(&store->page->log_id) || !shared_mutex_try_lock(&store->page->mutex, &died)) {
    mutex_unlock(&session->lock);
    return KVSTORE_BUSY;
  }
  bool free = !shared_load(&store->page->write_word) && !shared_load(&store->page->failed) &&
              store_apply(store) == KVSTORE_OK && log_is_ready(store);
  if (!free || !log_has_room(store)) {
    /* Nobody waits here for a flush that makes room, but one may come. */
    bool boundary = free && shared_load(&store->page->end) > store->frozen.position;
    if (boundary) boundary = boundary_append(store) == KVSTORE_OK;
    shared_mutex_unlock(&store->page->mutex);
    mutex_unlock(&session->lock);
    if (boundary) maintenance_ask(store);
    return KVSTORE_BUSY;
  }
  transaction_start(store, session, true);
  statement_start(store);
  return KVSTORE_OK;
}

Status write_end(Session *session, Status status) {
  Store *store = session->store;
  Transaction *t = &store->transaction;
  if (status == KVSTORE_OK) status = buffer_status(&t->record);
  if (status == KVSTORE_OK) status = transaction_spill(session); /* the commit must find a record that fits */
  if (status == KVSTORE_OK) {
    statement_keep(store);
    if (log_is_inside(store) && !t->marked && t->record.length > t->record_begins) journal_mark(store);
  } else {
    struct Savepoint to = t->statement;
    if (t->spilled && !t->autocommit)
      t->failure = status; /* only the whole transaction can be taken back */
    else
      t->failure = roll_back_to(store, &to);
  }
  if (t->autocommit) {
    if (status == KVSTORE_OK) {
      status = commit_and_unlock(session);
    } else {
      transaction_finish(store, true);
      shared_mutex_unlock(&store->page->mutex);
    }
  }
  mutex_unlock(&session->lock);
  return status;
}

/* ---- transactions ---- */

static Status begin_writing(Session *session) {
  Store *store = session->store;
  TRY(may_write(session));
  TransactionFate *fate = memory_allocate_zeroed(sizeof *fate);
  if (!fate) return status_nomem();
  atomic_init(&fate->references, 1);
  Status status = lock_for_writing(session);
  if (status == KVSTORE_OK) {
    transaction_start(store, session, false);
    status = buffer_status(&store->transaction.record); /* no statement that is taken back gives it a beginning */
    if (status != KVSTORE_OK) {
      transaction_finish(store, true);
      shared_mutex_unlock(&store->page->mutex);
    }
  }
  if (status != KVSTORE_OK) {
    memory_release(fate);
    return status;
  }
  fate_set(session, fate);
  statement_start(store);
  uint64_t word = (uint64_t)store->process << 32 | ++store->transaction_number;
  shared_store(&store->page->write_word, word);
  shared_mutex_unlock(&store->page->mutex);
  uint64_t turn = atomic_load_explicit(&store->transaction.ended, memory_order_relaxed);
  atomic_store_explicit(&session->turn, turn, memory_order_release);
  atomic_store_explicit(&session->transaction, 2, memory_order_release);
  return KVSTORE_OK;
}

static Status begin_reading(Session *session) {
  ReadPin pin;
  TRY(read_pin(session, &pin));
  Status status = version_hold(session->store, &pin, &session->snapshot);
  if (status == KVSTORE_OK) {
    session->snapshot_sequence = pin.sequence;
    atomic_store_explicit(&session->transaction, 1, memory_order_release);
  }
  read_unpin(session, &pin);
  return status;
}

Status writers_stop(Session *session) {
  mutex_lock(&session->lock);
  Status status = atomic_load_explicit(&session->transaction, memory_order_relaxed)
                    ? status_fail(KVSTORE_BUSY, "the handle has a transaction open")
                    : begin_writing(session);
  if (status != KVSTORE_OK) mutex_unlock(&session->lock);
  return status;
}

static Status end_writing(Session *session, bool commit);

Status writers_go(Session *session) {
  Status status = end_writing(session, false);
  mutex_unlock(&session->lock);
  return status;
}

Status session_begin(Session *session, bool write) {
  mutex_lock(&session->lock);
  Status status;
  if (atomic_load_explicit(&session->transaction, memory_order_relaxed))
    status = status_fail(KVSTORE_ERROR, "a transaction is open already");
  else
    status = write ? begin_writing(session) : begin_reading(session);
  mutex_unlock(&session->lock);
  return status;
}

/* Calls of other threads that read at the snapshot go on as long as they need it. */
static void wait_for_readers(Session *session) {
  uint32_t inside;
  while ((inside = atomic_load_explicit(&session->readers, memory_order_seq_cst)) > 0)
    futex_wait(&session->readers, inside, LOOK_AGAIN_NS);
}

static void end_reading(Session *session) {
  atomic_store_explicit(&session->transaction, 0, memory_order_seq_cst);
  wait_for_readers(session);
  version_unhold(session->store, &session->snapshot);
}

/* Rows that were rolled back stay in their delta (VIS-3): one that they have filled ends here, so that it goes with a
 * flush. */
static bool roll_back_and_end_full_deltas(Store *store) {
  bool full = has_filled_delta(&store->transaction) && !shared_load(&store->page->failed);
  roll_back_all(store);
  return full && boundary_append(store) == KVSTORE_OK; /* else the next commit asks for it */
}

static Status end_writing(Session *session, bool commit) {
  Store *store = session->store;
  bool died;
  Status status = commit && !store->transaction.failure ? sync_adopted(store) : KVSTORE_OK;
  TRY(shared_mutex_lock(&store->page->mutex, &died));
  if (commit && status == KVSTORE_OK && store->transaction.failure)
    status =
      status_fail(store->transaction.failure,
                  "a statement of the transaction failed and could not be taken back alone: all of it is rolled back");
  if (commit && status == KVSTORE_OK) {
    status = commit_and_unlock(session);
  } else {
    fate_rolled_back(session);
    bool boundary = roll_back_and_end_full_deltas(store);
    transaction_finish(store, true);
    write_word_give(session);
    shared_mutex_unlock(&store->page->mutex);
    if (boundary) maintenance_ask(store);
  }
  atomic_store_explicit(&session->transaction, 0, memory_order_release);
  TransactionFate *fate = session->fate;
  fate_set(session, NULL);
  fate_release(fate);
  return status;
}

Status session_end(Session *session, bool commit, uint64_t *writing) {
  mutex_lock(&session->lock);
  int open = atomic_load_explicit(&session->transaction, memory_order_relaxed);
  Status status = KVSTORE_OK;
  *writing = session_writing(session);
  if (open == 1) end_reading(session);
  if (open == 2) status = end_writing(session, commit);
  mutex_unlock(&session->lock);
  return status;
}

Status session_commit(Session *session) {
  uint64_t writing;
  return session_end(session, true, &writing);
}

Status session_rollback(Session *session) {
  uint64_t writing;
  return session_end(session, false, &writing);
}

int session_transaction(const Session *session) {
  return atomic_load_explicit(&session->transaction, memory_order_acquire);
}

uint64_t session_writing(const Session *session) {
  bool writes = session_transaction(session) == 2;
  return writes ? atomic_load_explicit(&session->turn, memory_order_relaxed) + 1 : 0;
}

Status session_sync(Session *session) {
  Store *store = session->store;
  if (session->store->reader_only || !shared_load(&store->page->log_id)) return KVSTORE_OK;
  mutex_lock(&store->apply_lock);
  Status status = log_follow(store);
  mutex_unlock(&store->apply_lock);
  TRY(status);
  uint64_t last = atomic_load_explicit(&store->applied_sequence, memory_order_acquire);
  if (!log_file(store)) return KVSTORE_OK; /* this process never had a log, and there is none any more */
  TRY(log_sync_to(store, shared_load(&store->page->end)));
  shared_raise(&store->page->visible, last);
  return KVSTORE_OK;
}
