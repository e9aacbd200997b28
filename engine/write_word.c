/* write_word.c - whose turn it is to write (LOCK-1): who waits for the write word, and who lets them have it. */
#include "base/counters.h"
#include "engine/engine_internal.h"

enum { LOOK_AGAIN_NS = 50 * 1000 * 1000 };          /* a waiter looks this often whether the holder still lives */
enum { PASSING_NS = 2 * 1000 * 1000 };              /* how long a writer passes others whom it wakes */
enum { WAY_SLICE_NS = 50 * 1000, WAY_SLICES = 10 }; /* and how long at most it then gives them the way */

static const uint64_t life_byte = UINT64_C(1) << 62;

bool process_is_dead(Store *store, uint32_t process) {
  if (process == store->process) return false;
  bool held = true;
  uint64_t first;
  return os_lock_query(store->file.file, life_byte + process, 1, &held, &first) == KVSTORE_OK && !held;
}

void write_word_give(Session *session) {
  Store *store = session->store;
  shared_store(&store->page->write_word, 0);
  atomic_fetch_add_explicit(&store->page->write_waiters, 1, memory_order_release);
  if (!futex_wake_all(&store->page->write_waiters)) return;
  if (!session->woke_at) session->woke_at = os_monotonic_ns(store->os);
  session->woke_end = shared_load(&store->page->end);
}

/* Who has woken others and writes again at once finds the word free, and they find it taken when they run: without end,
 * where its transactions are long and their distance is short. So, once it has passed them for a while, it sleeps until
 * one of them writes. (Each time would cost many small transactions of several threads a quarter of their rate.) Who
 * may not wait would be refused for it: it goes on. */
void write_word_give_way(Session *session) {
  if (LIKELY(!session->woke_at) || !session->options.busy_timeout_ms) return;
  SharedPage *page = session->store->page;
  bool others_wrote = shared_load(&page->write_word) || shared_load(&page->end) != session->woke_end;
  if (!others_wrote && os_monotonic_ns(session->store->os) - session->woke_at < PASSING_NS) return;
  session->woke_at = 0;
  if (others_wrote) return;
  COUNT(writers_gave_way);
  for (int i = 0; i < WAY_SLICES && !shared_load(&page->write_word); i++) {
    if (shared_load(&page->end) != session->woke_end) return;
    _Atomic uint32_t nothing = 0;
    futex_wait(&nothing, 0, WAY_SLICE_NS);
  }
}

Status write_word_wait(Store *store, uint64_t deadline) {
  SharedPage *page = store->page;
  uint32_t ticket = atomic_load_explicit(&page->write_waiters, memory_order_acquire);
  uint64_t word = shared_load(&page->write_word);
  if (!word) return KVSTORE_OK;
  uint32_t owner = (uint32_t)(word >> 32);
  if (process_is_dead(store, owner)) {
    bool died;
    TRY(shared_mutex_lock(&page->mutex, &died));
    if (shared_load(&page->write_word) == word) shared_page_clear_process(page, owner);
    shared_mutex_unlock(&page->mutex);
    return KVSTORE_OK;
  }
  uint64_t now = os_monotonic_ns(store->os);
  if (now >= deadline) return status_fail(KVSTORE_BUSY, "another transaction is writing");
  COUNT(writers_waited);
  futex_wait(&page->write_waiters, ticket, deadline - now < LOOK_AGAIN_NS ? deadline - now : LOOK_AGAIN_NS);
  return KVSTORE_OK;
}
