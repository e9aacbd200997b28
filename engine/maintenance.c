/* maintenance.c - who flushes and compacts, and when: one process at a time holds the maintenance word (GEN-3); in this
 * process the store's own thread does the work, or whoever needs it done. */
#include <string.h>

#include "base/memory.h"
#include "engine/engine_internal.h"
#include "engine/family_columns.h"
#include "engine/table_state.h"

enum { LOOK_AGAIN_NS = 50 * 1000 * 1000 };

/* ---- the word ---- */

/* Apply lock held. */
static Status finish_publishing(Store *store, Manifest *newest) {
  TRY(log_follow(store));
  if (store->wal) TRY(wal_raise_oldest(store->wal, newest->generation));
  shared_raise(&store->page->visible, newest->replay.sequence - 1);
  TRY(generation_follow_newest(store));
  generation_show(store, newest);
  return KVSTORE_OK;
}

/* What the dead may have written is made durable, and adopted. */
static Status settle_inheritance(Store *store) {
  TRY(store_sync_file(store));
  Manifest *newest = NULL;
  TRY(generation_load(store, &newest));
  Status status = KVSTORE_OK;
  if (newest->generation > shared_load(&store->page->generation)) {
    mutex_lock(&store->apply_lock);
    status = finish_publishing(store, newest);
    mutex_unlock(&store->apply_lock);
  }
  manifest_release(newest);
  return status;
}

/* A failure leaves it to the next heir: the word names the dead again. */
static Status inherit(Store *store, uint64_t word) {
  SharedPage *page = store->page;
  uint64_t mine = (uint64_t)store->process << 32 | 1, theirs = word;
  if (!atomic_compare_exchange_strong(&page->maintenance.word, &word, mine)) return KVSTORE_OK;
  Status status = settle_inheritance(store);
  if (status == KVSTORE_OK)
    shared_page_clear_reservations(page, (uint32_t)(theirs >> 32));
  else
    shared_store(&page->maintenance, theirs);
  return status;
}

Status maintenance_inherit_own(Store *store) {
  if (shared_load(&store->page->maintenance) >> 32 != store->process) return KVSTORE_OK;
  TRY(settle_inheritance(store));
  shared_page_clear_reservations(store->page, store->process);
  maintenance_give(store);
  return KVSTORE_OK;
}

static void note_owner(_Atomic uint32_t *owner, bool seen[SHARED_PROCESSES + 1]) {
  uint32_t process = atomic_load_explicit(owner, memory_order_acquire);
  if (process <= SHARED_PROCESSES) seen[process] = true;
}

/* Under the mutex, so that nobody takes the number meanwhile (PROC-2). */
static Status bury(Store *store, uint32_t process) {
  bool died;
  TRY(shared_mutex_lock(&store->page->mutex, &died));
  if (process_is_dead(store, process)) shared_page_clear_process(store->page, process);
  shared_mutex_unlock(&store->page->mutex);
  return KVSTORE_OK;
}

Status maintenance_bury_dead(Store *store) {
  bool seen[SHARED_PROCESSES + 1] = { 0 };
  for (int i = 0; i < SHARED_SLOTS; i++) note_owner(&shared_slots(store->page)[i].owner, seen);
  for (int i = 0; i < SHARED_RESERVATIONS; i++) note_owner(&shared_reservations(store->page)[i].owner, seen);
  for (uint32_t process = 1; process <= SHARED_PROCESSES; process++)
    if (seen[process] && process_is_dead(store, process)) TRY(bury(store, process));
  return KVSTORE_OK;
}

Status maintenance_take(Store *store, bool wait) {
  SharedPage *page = store->page;
  uint64_t mine = (uint64_t)store->process << 32 | 1;
  for (;;) {
    uint32_t ticket = atomic_load_explicit(&page->maintenance_waiters, memory_order_acquire);
    uint64_t nobody = 0;
    if (atomic_compare_exchange_strong(&page->maintenance.word, &nobody, mine))
      return generation_follow_if_behind(store);
    uint32_t holder = (uint32_t)(nobody >> 32);
    if (process_is_dead(store, holder)) {
      TRY(inherit(store, nobody));
      if (shared_load(&page->maintenance) == mine) return generation_follow_if_behind(store);
      continue;
    }
    if (!wait) return KVSTORE_BUSY;
    futex_wait(&page->maintenance_waiters, ticket, LOOK_AGAIN_NS);
  }
}

void maintenance_give(Store *store) {
  shared_store(&store->page->maintenance, 0);
  atomic_fetch_add_explicit(&store->page->maintenance_waiters, 1, memory_order_release);
  futex_wake_all(&store->page->maintenance_waiters);
}

/* ---- the work ---- */

bool store_has_frozen(Store *store) {
  mutex_lock(&store->apply_lock);
  bool frozen = store->wal && log_is_current(store) && store->frozen.position > shared_load(&store->page->start);
  mutex_unlock(&store->apply_lock);
  return frozen;
}

/* Locators and deleted sets of the rows that wait for theirs (DESIGN 8). No generation is published meanwhile, so the
 * version is safe to read. */
static Status advance_tables(Store *store) {
  uint64_t sequence = atomic_load_explicit(&store->applied_sequence, memory_order_acquire);
  Version *v = version_keep(store);
  atomic_store_explicit(&store->rows_asked, false, memory_order_relaxed);
  Status status = tables_advance(store, v, sequence);
  version_let_go(store, v);
  return status;
}

/* For those who wait for it alone: merges may go on for long. */
static void flush_is_done(Store *store) {
  mutex_lock(&store->work_lock);
  store->work_status = KVSTORE_OK;
  store->work_rounds++;
  condition_broadcast(&store->work_done);
  mutex_unlock(&store->work_lock);
}

static Status flush_and_advance(Store *store, bool *did) {
  TRY(flush_frozen(store, did));
  if (*did) flush_is_done(store);
  return advance_tables(store);
}

enum { SLACK_SHARE = 4, SLACK_SHARE_BY_CALL = 64 };

/* The next thing that is due: a flush, since writers may wait for it, unless that would leave a merge ever further
 * behind; then a merge; then what shortens the file. A merge that fails keeps no flush from its turn. */
static Status do_next(Store *store, bool by_call, bool *did) {
  bool lags = compaction_lags(store);
  *did = false;
  if (!lags) TRY(flush_and_advance(store, did));
  if (*did) return KVSTORE_OK;
  Status status = compact_once(store, by_call, did);
  if (*did) return KVSTORE_OK;
  if (lags) {
    Status flushed = flush_and_advance(store, did);
    return status == KVSTORE_OK ? flushed : status;
  }
  if (status == KVSTORE_OK) status = vacuum_slack(store, by_call ? SLACK_SHARE_BY_CALL : SLACK_SHARE, did);
  return status == KVSTORE_OK && !*did ? vacuum_name_orphans(store) : status;
}

/* The last session of this process is closing: it flushes what is left, and merges nothing. */
static bool is_stopping(Store *store) {
  mutex_lock(&store->work_lock);
  bool stopping = store->worker_stop;
  mutex_unlock(&store->work_lock);
  return stopping;
}

static Status do_all(Store *store, bool by_call) {
  bool did = true;
  while (did && !is_stopping(store)) TRY(do_next(store, by_call, &did));
  return KVSTORE_OK;
}

static Status take_and_do_all(Store *store, bool by_call) {
  TRY(maintenance_take(store, true));
  Status status = do_all(store, by_call);
  maintenance_give(store);
  return status;
}

Status maintenance_run(Store *store) { return take_and_do_all(store, false); }
Status maintenance_run_by_call(Store *store) { return take_and_do_all(store, true); }

Status maintenance_flush(Store *store) {
  bool flushed = true;
  TRY(maintenance_take(store, true));
  Status status = KVSTORE_OK;
  while (status == KVSTORE_OK && flushed) status = flush_frozen(store, &flushed);
  maintenance_give(store);
  return status;
}

/* ---- the thread ---- */

/* What is due, then some of the columns that are being built: `build` says whether there are more of them. */
typedef struct Build {
  bool goes_on, waits;
} Build;

static Status work_once(Store *store, Build *build) {
  *build = (Build){ 0 };
  TRY(maintenance_run(store));
  return columns_build_behind(store, &build->goes_on, &build->waits);
}

static void work(void *context) {
  Store *store = context;
  Build build = { 0 };
  mutex_lock(&store->work_lock);
  while (!store->worker_stop) {
    if (!store->work_pending && !build.goes_on) {
      condition_wait(&store->work_wanted, &store->work_lock);
      continue;
    }
    if (!store->work_pending && build.waits)
      (void)condition_wait_for(&store->work_wanted, &store->work_lock, LOOK_AGAIN_NS);
    if (store->worker_stop) break;
    store->work_pending = false;
    mutex_unlock(&store->work_lock);
    Status status = work_once(store, &build);
    mutex_lock(&store->work_lock);
    store->work_status = status;
    store->work_rounds++;
    condition_broadcast(&store->work_done);
  }
  mutex_unlock(&store->work_lock);
}

void maintenance_ask(Store *store) {
  if (!store->background) return;
  mutex_lock(&store->work_lock);
  store->work_pending = true;
  if (!store->worker_started) store->worker_started = thread_start(&store->worker, work, store) == KVSTORE_OK;
  condition_signal(&store->work_wanted);
  mutex_unlock(&store->work_lock);
}

void maintenance_stop(Store *store) {
  mutex_lock(&store->work_lock);
  bool started = store->worker_started;
  store->worker_stop = true;
  condition_broadcast(&store->work_wanted);
  mutex_unlock(&store->work_lock);
  if (started) thread_join(&store->worker);
  store->worker_started = false;
}

Status maintenance_wait_flushed(Store *store) {
  while (store_has_frozen(store)) {
    maintenance_ask(store);
    mutex_lock(&store->work_lock);
    bool threaded = store->worker_started;
    uint64_t round = store->work_rounds;
    bool finished = true;
    if (threaded) {
      while (finished && store->work_rounds == round)
        finished = condition_wait_for(&store->work_done, &store->work_lock, LOOK_AGAIN_NS);
    }
    Status status = threaded && finished ? store->work_status : KVSTORE_OK;
    mutex_unlock(&store->work_lock);
    if (!threaded) status = maintenance_run(store);
    if (status != KVSTORE_OK && store_has_frozen(store))
      return status_fail(status, "what the log holds could not be written into the store's file");
  }
  return KVSTORE_OK;
}

enum { LOOKS_MAX = 20 }; /* without a new generation */

/* Does the work here, unless somebody is at it. */
static Status merge_or_wait(Store *store) {
  uint32_t ticket = atomic_load_explicit(&store->page->maintenance_waiters, memory_order_acquire);
  Status status = maintenance_take(store, false);
  if (status == KVSTORE_OK) {
    status = do_all(store, false);
    maintenance_give(store);
  } else if (status == KVSTORE_BUSY) {
    futex_wait(&store->page->maintenance_waiters, ticket, LOOK_AGAIN_NS);
    status = KVSTORE_OK;
  }
  return status;
}

void maintenance_wait_merged(Store *store) {
  uint64_t generation = 0;
  for (int looks = 0; looks < LOOKS_MAX && compaction_is_far_behind(store); looks++) {
    uint64_t now = shared_load(&store->page->generation);
    if (now != generation) looks = 0;
    generation = now;
    maintenance_ask(store);
    mutex_lock(&store->work_lock);
    bool threaded = store->worker_started;
    Status status = threaded ? store->work_status : KVSTORE_OK;
    if (threaded) (void)condition_wait_for(&store->work_done, &store->work_lock, LOOK_AGAIN_NS);
    mutex_unlock(&store->work_lock);
    if (!threaded) status = merge_or_wait(store);
    if (status != KVSTORE_OK) break;
  }
}
