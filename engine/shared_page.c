#include "engine/shared_page.h"

#include <string.h>

/* Changes with the layout; the pointer width and the mutex's size are part of it. */
static const uint64_t abi_tag = UINT64_C(0x436f6c6f00050000) | sizeof(SharedMutex) << 8 | sizeof(void *);

_Static_assert(sizeof(SharedSlot) == 64, "a slot is a cache line");
_Static_assert(sizeof(SharedReservation) == 32, "reservations lie 32 bytes apart");
_Static_assert(sizeof(SharedPage) <= 4096, "the words end below the table of processes");

Status shared_page_init(SharedPage *page, const uint8_t store_id[16]) {
  page->abi = abi_tag;
  memcpy(page->store_id, store_id, 16);
  TRY(shared_mutex_init(&page->mutex));
  TRY(shared_mutex_init(&page->allocating));
  return shared_mutex_init(&page->sync_mutex);
}

bool shared_page_fits(const SharedPage *page, const uint8_t store_id[16]) {
  return atomic_load_explicit(&page->ready, memory_order_acquire) == 1 && page->abi == abi_tag &&
         memcmp(page->store_id, store_id, 16) == 0;
}

void shared_page_clear_reservations(SharedPage *page, uint32_t process) {
  SharedReservation *reservations = shared_reservations(page);
  for (int i = 0; i < SHARED_RESERVATIONS; i++)
    if (atomic_load_explicit(&reservations[i].owner, memory_order_acquire) == process)
      atomic_store_explicit(&reservations[i].owner, 0, memory_order_release);
}

void shared_page_clear_process(SharedPage *page, uint32_t process) {
  SharedSlot *slots = shared_slots(page);
  for (int i = 0; i < SHARED_SLOTS; i++)
    if (atomic_load_explicit(&slots[i].owner, memory_order_acquire) == process) shared_slot_give(&slots[i]);
  if (shared_load(&page->write_word) >> 32 == process) {
    shared_store(&page->write_word, 0);
    atomic_fetch_add_explicit(&page->write_waiters, 1, memory_order_release);
    futex_wake_all(&page->write_waiters);
  }
  if (shared_load(&page->maintenance) >> 32 != process) shared_page_clear_reservations(page, process);
}

SharedSlot *shared_slot_take(SharedPage *page, uint32_t process) {
  SharedSlot *slots = shared_slots(page);
  const uint32_t half = SHARED_SLOTS / 2;
  uint32_t first = (thread_number() * 7 + process * 31) % half;
  for (uint32_t i = 0; i < SHARED_SLOTS; i++) {
    SharedSlot *slot = &slots[(first + i) % half * 2 + i / half];
    uint32_t nobody = 0;
    if (atomic_load_explicit(&slot->owner, memory_order_relaxed)) continue;
    if (atomic_compare_exchange_strong_explicit(&slot->owner, &nobody, process, memory_order_acq_rel,
                                                memory_order_relaxed)) {
      return slot;
    }
  }
  return NULL;
}
