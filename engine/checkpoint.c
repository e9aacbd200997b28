/* checkpoint.c - what the log holds goes into the file, by call: the four modes, and the end of a log (LOG-1). */
#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "engine/family_columns.h"

/* ---- settling ---- */

/* A boundary behind all that is committed, so that a flush takes it in; what the log holds then, and where it begins.
 * Passive: what a writer keeps open stays in the log, and what is frozen already is settled all the same. */
static Status end_delta(Session *session, int mode, uint64_t *start, uint64_t *held) {
  Store *store = session->store;
  SharedPage *page = store->page;
  Status status = mode == CHECKPOINT_PASSIVE ? write_try_begin(session) : write_begin(session);
  if (status != KVSTORE_OK && (mode != CHECKPOINT_PASSIVE || status != KVSTORE_BUSY)) return status;
  bool began = status == KVSTORE_OK;
  if (began && !store->transaction.autocommit) /* another thread has begun on this handle meanwhile */
    status = status_fail(KVSTORE_BUSY, "a checkpoint cannot run inside a write transaction");
  if (status == KVSTORE_OK && shared_load(&page->end) > store->frozen.position) status = boundary_append(store);
  *start = shared_load(&page->start);
  uint64_t end = shared_load(&page->end);
  *held = end > *start ? end - *start : 0;
  return began ? write_end(session, status) : KVSTORE_OK;
}

static Status settle(Session *session, int mode, uint64_t *held, uint64_t *settled) {
  Store *store = session->store;
  uint64_t start, log_id = shared_load(&store->page->log_id);
  TRY(end_delta(session, mode, &start, held));
  Status status = maintenance_run(store);
  if (status == KVSTORE_FULL &&
      !store_has_frozen(store)) /* a merge needs more room than there is: not the log's affair */
    status_clear();
  else
    TRY(status);
  uint64_t now = shared_load(&store->page->start);
  *settled = now >= start && now - start < *held ? now - start : *held;
  if (shared_load(&store->page->log_id) != log_id)
    *settled = *held; /* cut by another meanwhile: all of it is settled */
  return KVSTORE_OK;
}

/* ---- the end of a log ---- */

/* The page lets go of the log first: who dies behind that leaves superblocks that name a log of which everything is in
 * the file, and whoever writes next makes them name none before another log lies there. The sync mutex, so that who
 * syncs the former log raises no word of the next. */
static Status take_out_of_page(Store *store) {
  SharedPage *page = store->page;
  bool died;
  TRY(shared_mutex_lock(&page->sync_mutex, &died));
  shared_store(&page->log_id, 0);
  shared_store(&page->start, 0);
  shared_store(&page->end, 0);
  shared_store(&page->synced, 0);
  sync_mutex_unlock(page);
  mutex_lock(&store->apply_lock);
  if (store->wal) log_detach(store); /* all that this process knows of it has been flushed: nothing is read anew */
  mutex_unlock(&store->apply_lock);
  return KVSTORE_OK;
}

/* Writers are stopped, maintenance is held, and the log holds nothing that is not in the file. */
static Status cut_log(Store *store) {
  TRY(take_out_of_page(store));
  CRASH_POINT(truncate_before_names);
  Status status = superblocks_name_no_log(store);
  if (status != KVSTORE_OK) {
    shared_store(&store->page->failed, 1);
    return status;
  }
  CRASH_POINT(truncate_before_cut);
  if (!log_is_inside(store)) TRY(os_truncate(store->log_file, 0));
  CRASH_POINT(truncate_after_cut);
  return KVSTORE_OK;
}

/* What was committed since the log was settled goes into the file too: little, while all writers wait. */
static Status settle_rest(Store *store) {
  bool died;
  TRY(shared_mutex_lock(&store->page->mutex, &died));
  Status status = shared_load(&store->page->end) > store->frozen.position ? boundary_append(store) : KVSTORE_OK;
  shared_mutex_unlock(&store->page->mutex);
  return status == KVSTORE_OK ? maintenance_flush(store) : status;
}

static Status truncate_stopped(Store *store) {
  TRY(settle_rest(store));
  TRY(maintenance_take(store, true));
  Status status = shared_load(&store->page->failed)
                    ? status_fail(KVSTORE_IO, "a write has failed: what the log holds stays in the log")
                    : cut_log(store);
  maintenance_give(store);
  return status;
}

static Status truncate(Session *session) {
  TRY(writers_stop(session));
  Status status = truncate_stopped(session->store), gone = writers_go(session);
  return status == KVSTORE_OK ? gone : status;
}

/* ---- the call ---- */

static Status may_checkpoint(Session *session, int mode) {
  if (session_transaction(session) == 2)
    return status_fail(KVSTORE_BUSY, "a checkpoint cannot run inside a write transaction");
  if (mode < CHECKPOINT_PASSIVE || mode > CHECKPOINT_TRUNCATE)
    return status_fail(KVSTORE_ERROR, "no such checkpoint mode: %d", mode);
  return session_is_read_only(session) ? status_fail(KVSTORE_READONLY, "the store is open for reading only")
                                       : KVSTORE_OK;
}

/* RESTART needs nothing of its own: behind a settled log the ring begins anew wherever it stands. */
static Status checkpoint(Session *session, int mode, uint64_t *held, uint64_t *settled) {
  SharedPage *page = session->store->page;
  *held = *settled = 0;
  if (shared_load(&page->log_id)) TRY(settle(session, mode, held, settled));
  if (mode != CHECKPOINT_TRUNCATE) return KVSTORE_OK;
  *held = *settled = 0;
  return shared_load(&page->log_id) ? truncate(session) : KVSTORE_OK;
}

/* What a handle with a reading transaction asks for is done beside it. */
static Status checkpoint_beside(Session *session, int mode, uint32_t busy_timeout_ms, uint64_t *held,
                                uint64_t *settled) {
  Session beside = { .store = session->store, .options = session->options };
  beside.options.busy_timeout_ms = busy_timeout_ms;
  mutex_init(&beside.lock);
  Status status = checkpoint(&beside, mode, held, settled);
  mutex_destroy(&beside.lock);
  return status;
}

Status session_checkpoint(Session *session, int mode, uint64_t *log_bytes, uint64_t *settled_bytes) {
  TRY(may_checkpoint(session, mode));
  uint64_t held, settled;
  if (session_transaction(session) == 1)
    TRY(checkpoint_beside(session, mode, session->options.busy_timeout_ms, &held, &settled));
  else
    TRY(checkpoint(session, mode, &held, &settled));
  if (log_bytes) *log_bytes = held;
  if (settled_bytes) *settled_bytes = settled;
  return KVSTORE_OK;
}

Status log_cut_at_once(Session *session) {
  uint64_t held, settled;
  return checkpoint_beside(session, CHECKPOINT_TRUNCATE, 0, &held, &settled);
}

Status checkpoint_end_delta(Session *session) {
  uint64_t start, held;
  return end_delta(session, CHECKPOINT_PASSIVE, &start, &held);
}

enum { SETTLED_SHARE = 8 };

/* Rows in memory are one layer more for every read. Few are left there: who calls often shall not pay with small runs.
 */
static Status end_large_delta(Session *session) {
  Store *store = session->store;
  if (session_transaction(session) || !shared_load(&store->page->log_id)) return KVSTORE_OK;
  mutex_lock(&store->apply_lock);
  uint64_t since = shared_load(&store->page->end) - store->frozen.position;
  bool large = store->wal && log_is_current(store) && since >= wal_capacity(store->wal) / SETTLED_SHARE;
  mutex_unlock(&store->apply_lock);
  return large ? checkpoint_end_delta(session) : KVSTORE_OK;
}

/* Rounds that built nothing: behind the first one there is room in the log, then somebody's transaction is open, which
 * is not waited for. Who holds the store without one, as its own thread, is done in a moment. */
enum { IDLE_ROUNDS_MAX = 2, BRIEF_NS = 1000 * 1000, BRIEF_NS_MAX = 1000 * 1000 * 1000 };

static bool is_given_up(Store *store, int idle, uint64_t idle_since) {
  if (idle < IDLE_ROUNDS_MAX) return false;
  if (shared_load(&store->page->write_word) || shared_load(&store->page->failed)) return true;
  if (os_monotonic_ns(store->os) - idle_since > BRIEF_NS_MAX) return true;
  COUNT(maintenance_waits);
  mutex_lock(&store->work_lock);
  (void)condition_wait_for(&store->work_done, &store->work_lock, BRIEF_NS);
  mutex_unlock(&store->work_lock);
  return false;
}

Status session_maintain(Session *session) {
  if (session_is_read_only(session)) return status_fail(KVSTORE_READONLY, "the store is open for reading only");
  TRY(sync_timer_fire(session->store));
  TRY(capture_trim(session));
  Store *store = session->store;
  bool more = true, moved;
  uint64_t idle_since = os_monotonic_ns(store->os);
  for (int idle = 0; more && !is_given_up(store, idle, idle_since); idle = moved ? 0 : idle + 1) {
    TRY(columns_build(session, &more, &moved));
    if (moved) idle_since = os_monotonic_ns(store->os);
    TRY(end_large_delta(session));
    TRY(maintenance_run_by_call(store));
  }
  return KVSTORE_OK;
}
