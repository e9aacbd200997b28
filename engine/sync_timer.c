/* sync_timer.c - SYNC_BACKGROUND: commits return at once, and what they wrote is synced soon after (LOG-7).
 *
 * The first commit after a sync starts the clock; a thread of the store's own, apart from the one that flushes, which
 * may be busy for long, syncs when the interval has passed. Without background threads the caller's session_maintain
 * does it. A commit counts itself after its record is in the log; a sync sets the count to 0 before it looks where the
 * log ends: so what was counted is synced, or is counted anew. */
#include "base/counters.h"
#include "engine/engine_internal.h"

static uint64_t unsynced(Store *store) { return atomic_load_explicit(&store->commits_unsynced, memory_order_acquire); }

Status sync_timer_fire(Store *store) {
  if (!atomic_exchange_explicit(&store->commits_unsynced, 0, memory_order_acq_rel)) return KVSTORE_OK;
  TRY(log_sync_to(store, shared_load(&store->page->end)));
  COUNT(background_syncs);
  return KVSTORE_OK;
}

static void wait_for_interval(Store *store) {
  uint64_t now = os_monotonic_ns(store->os), end = now + store->sync_interval_ns;
  while (!store->syncer_stop && now < end) {
    condition_wait_for(&store->sync_wanted, &store->work_lock, end - now);
    now = os_monotonic_ns(store->os);
  }
}

static void sync_now_and_then(void *context) {
  Store *store = context;
  mutex_lock(&store->work_lock);
  while (!store->syncer_stop) {
    if (!unsynced(store)) {
      condition_wait(&store->sync_wanted, &store->work_lock);
      continue;
    }
    wait_for_interval(store);
    mutex_unlock(&store->work_lock);
    Status failed = sync_timer_fire(store); /* the page says so to every writer */
    (void)failed;
    mutex_lock(&store->work_lock);
  }
  mutex_unlock(&store->work_lock);
}

void sync_timer_start(Store *store) {
  if (atomic_fetch_add_explicit(&store->commits_unsynced, 1, memory_order_acq_rel) || !store->background) return;
  mutex_lock(&store->work_lock);
  if (!store->syncer_started)
    store->syncer_started = thread_start(&store->syncer, sync_now_and_then, store) == KVSTORE_OK;
  bool started = store->syncer_started;
  condition_signal(&store->sync_wanted);
  mutex_unlock(&store->work_lock);
  if (started) return;
  Status failed = sync_timer_fire(store); /* without a thread there is no later */
  (void)failed;
}

Status sync_timer_stop(Store *store) {
  mutex_lock(&store->work_lock);
  bool started = store->syncer_started;
  store->syncer_stop = true;
  condition_broadcast(&store->sync_wanted);
  mutex_unlock(&store->work_lock);
  if (started) thread_join(&store->syncer);
  store->syncer_started = false;
  return store->reader_only ? KVSTORE_OK : sync_timer_fire(store);
}
