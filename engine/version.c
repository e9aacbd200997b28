/* version.c - versions: published, pinned by calls, held by snapshots, freed when nobody uses them (GEN-1, GEN-2). */
#include <string.h>

#include "base/assert.h"
#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine_internal.h"

static const uint64_t pin_byte = UINT64_C(1) << 61;

FamilyState *version_family(const Version *v, uint32_t id) {
  uint32_t low = 0, high = v->family_count;
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    if (v->families[middle]->family->id < id)
      low = middle + 1;
    else
      high = middle;
  }
  return low < v->family_count && v->families[low]->family->id == id ? v->families[low] : NULL;
}

Version *version_copy(const Version *from, uint32_t extra) {
  Version *v = memory_allocate_zeroed(sizeof *v);
  if (!v) return NULL;
  uint32_t count = from ? from->family_count : 0;
  v->families = memory_allocate_zeroed(memory_array_size(count + extra, sizeof(FamilyState *)));
  if (!v->families) {
    memory_release(v);
    return NULL;
  }
  atomic_init(&v->references, 1);
  v->family_count = count;
  for (uint32_t i = 0; i < count; i++) v->families[i] = family_state_retain(from->families[i]);
  if (from && from->manifest) v->manifest = manifest_retain(from->manifest);
  return v;
}

void version_set_family(Version *v, FamilyState *state) {
  uint32_t at = 0;
  while (at < v->family_count && v->families[at]->family->id < state->family->id) at++;
  if (at < v->family_count && v->families[at]->family->id == state->family->id) {
    family_state_release(v->families[at]);
  } else {
    memmove(v->families + at + 1, v->families + at, (v->family_count - at) * sizeof(FamilyState *));
    v->family_count++;
  }
  v->families[at] = state;
}

static void version_free(Version *v) {
  for (uint32_t i = 0; i < v->family_count; i++) family_state_release(v->families[i]);
  memory_release((void *)v->families);
  manifest_release(v->manifest);
  memory_release(v);
}

void version_release(Version *v) {
  if (v && atomic_fetch_sub_explicit(&v->references, 1, memory_order_acq_rel) == 1) version_free(v);
}

/* ---- publishing and reclaiming ---- */

static bool slot_names(Store *store, const Version *v) {
  SharedSlot *slots = shared_slots(store->page);
  for (int i = 0; i < SHARED_SLOTS; i++) {
    if (atomic_load_explicit(&slots[i].version, memory_order_seq_cst) == (uint64_t)(uintptr_t)v &&
        atomic_load_explicit(&slots[i].owner, memory_order_acquire) == store->process)
      return true;
  }
  return false;
}

/* Retired versions that nothing refers to any more; called with versions_lock held, gives back a list to free without
 * it. */
static Version *collect_unused(Store *store) {
  Version *unused = NULL, **link = &store->retired;
  while (*link) {
    Version *v = *link;
    if (atomic_load_explicit(&v->references, memory_order_acquire) == 0 && !slot_names(store, v)) {
      *link = v->older;
      v->older = unused;
      unused = v;
    } else {
      link = &v->older;
    }
  }
  return unused;
}

void versions_reclaim(Store *store) {
  mutex_lock(&store->versions_lock);
  Version *unused = collect_unused(store);
  mutex_unlock(&store->versions_lock);
  while (unused) {
    Version *next = unused->older;
    version_free(unused);
    unused = next;
  }
}

void version_publish(Store *store, Version *v) {
  mutex_lock(&store->versions_lock);
  Version *former = atomic_load_explicit(&store->current, memory_order_relaxed);
  atomic_store_explicit(&store->current, v, memory_order_seq_cst);
  if (former) {
    atomic_fetch_sub_explicit(&former->references, 1, memory_order_acq_rel); /* that of being current */
    former->older = store->retired;
    store->retired = former;
  }
  mutex_unlock(&store->versions_lock);
  versions_reclaim(store);
}

void versions_destroy(Store *store) {
  Version *v = atomic_load_explicit(&store->current, memory_order_relaxed);
  atomic_store_explicit(&store->current, NULL, memory_order_relaxed);
  if (v) version_release(v);
  while (store->retired) {
    Version *next = store->retired->older;
    version_free(store->retired);
    store->retired = next;
  }
  os_close(store->spare_pin_file);
}

Version *version_keep(Store *store) {
  mutex_lock(&store->versions_lock);
  Version *v = atomic_load_explicit(&store->current, memory_order_relaxed);
  atomic_fetch_add_explicit(&v->references, 1, memory_order_relaxed);
  mutex_unlock(&store->versions_lock);
  return v;
}

void version_let_go(Store *store, Version *v) {
  mutex_lock(&store->versions_lock);
  atomic_fetch_sub_explicit(&v->references, 1, memory_order_acq_rel);
  mutex_unlock(&store->versions_lock);
  versions_reclaim(store);
}

/* ---- locks on generations ---- */

static Status generation_lock(Store *store, uint64_t generation, GenerationPin **out) {
  for (GenerationPin *p = store->pins; p; p = p->next) {
    if (p->generation != generation) continue;
    p->references++;
    *out = p;
    return KVSTORE_OK;
  }
  GenerationPin *p = memory_allocate_zeroed(sizeof *p);
  if (!p) return status_nomem();
  p->file = store->spare_pin_file;
  store->spare_pin_file = NULL;
  Status status = p->file ? KVSTORE_OK : os_reopen(store->file.file, OS_OPEN_READONLY, &p->file);
  if (status == KVSTORE_OK) status = os_lock(p->file, pin_byte + generation, 1, OS_LOCK_SHARED);
  if (status != KVSTORE_OK) {
    os_close(p->file);
    memory_release(p);
    return status;
  }
  p->generation = generation;
  p->references = 1;
  p->next = store->pins;
  *out = store->pins = p;
  return KVSTORE_OK;
}

static void generation_unlock(Store *store, GenerationPin *pin) {
  if (--pin->references) return;
  for (GenerationPin **link = &store->pins; *link; link = &(*link)->next) {
    if (*link != pin) continue;
    *link = pin->next;
    break;
  }
  if (!store->spare_pin_file && os_lock(pin->file, pin_byte + pin->generation, 1, OS_UNLOCK) == KVSTORE_OK)
    store->spare_pin_file = pin->file;
  else
    os_close(pin->file); /* its lock goes with it */
  memory_release(pin);
}

Status generation_hold(Store *store, uint64_t generation, GenerationPin **pin) {
  mutex_lock(&store->versions_lock);
  Status status = generation_lock(store, generation, pin);
  mutex_unlock(&store->versions_lock);
  return status;
}

void generation_let_go(Store *store, GenerationPin *pin) {
  if (!pin) return;
  mutex_lock(&store->versions_lock);
  generation_unlock(store, pin);
  mutex_unlock(&store->versions_lock);
}

Status version_hold_by_lock(Store *store, Version *v, GenerationPin **pin) {
  mutex_lock(&store->versions_lock);
  Status status = generation_lock(store, v->manifest->generation, pin);
  if (status == KVSTORE_OK) atomic_fetch_add_explicit(&v->references, 1, memory_order_relaxed);
  mutex_unlock(&store->versions_lock);
  return status;
}

static void link_hold(Store *store, VersionHold *hold) {
  hold->previous = NULL;
  hold->next = store->slot_holds;
  if (hold->next) hold->next->previous = hold;
  store->slot_holds = hold;
  store->slot_hold_count++;
}

static void unlink_hold(Store *store, VersionHold *hold) {
  if (hold->next) hold->next->previous = hold->previous;
  if (hold->previous)
    hold->previous->next = hold->next;
  else
    store->slot_holds = hold->next;
  store->slot_hold_count--;
}

/* The call's slot becomes the hold's, so that there is no moment at which neither pins. */
static bool keep_slot(Store *store, ReadPin *pin, VersionHold *hold) {
  if (!pin->slot || !shared_slot_may_stay(store->page, pin->slot)) return false;
  mutex_lock(&store->versions_lock);
  bool kept = store->slot_hold_count < HOLDS_BY_SLOT_MAX;
  if (kept) {
    hold->version = pin->version;
    hold->slot = pin->slot;
    pin->slot = NULL;
    link_hold(store, hold);
    COUNT(holds_by_slot);
  }
  mutex_unlock(&store->versions_lock);
  return kept;
}

Status version_hold(Store *store, ReadPin *pin, VersionHold *hold) {
  memset(hold, 0, sizeof *hold);
  if (keep_slot(store, pin, hold)) return KVSTORE_OK;
  TRY(version_hold_by_lock(store, pin->version, &hold->pin));
  hold->version = pin->version;
  return KVSTORE_OK;
}

void version_unhold(Store *store, VersionHold *hold) {
  if (!hold->version || store_is_inherited(store)) return;
  mutex_lock(&store->versions_lock);
  bool retired = true;
  if (hold->slot) {
    retired = hold->version != atomic_load_explicit(&store->current, memory_order_relaxed);
    unlink_hold(store, hold);
    shared_slot_give(hold->slot);
  } else {
    if (hold->pin) generation_unlock(store, hold->pin);
    atomic_fetch_sub_explicit(&hold->version->references, 1, memory_order_acq_rel);
  }
  mutex_unlock(&store->versions_lock);
  memset(hold, 0, sizeof *hold);
  if (retired) versions_reclaim(store);
}

Status version_holds_leave_slots(Store *store) {
  Status status = KVSTORE_OK;
  mutex_lock(&store->versions_lock);
  while (store->slot_holds) {
    VersionHold *hold = store->slot_holds;
    status = generation_lock(store, hold->version->manifest->generation, &hold->pin);
    if (status != KVSTORE_OK) break;
    atomic_fetch_add_explicit(&hold->version->references, 1, memory_order_relaxed);
    unlink_hold(store, hold);
    shared_slot_give(hold->slot);
    hold->slot = NULL;
  }
  mutex_unlock(&store->versions_lock);
  return status;
}

/* What a dead process left in its slots pins nothing. A new one of its number clears them first, and takes a generation
 * that is no older than now. */
static bool slot_pins(Store *store, uint64_t birth, uint64_t death) {
  SharedSlot *slots = shared_slots(store->page);
  for (int i = 0; i < SHARED_SLOTS; i++) {
    uint32_t owner = atomic_load_explicit(&slots[i].owner, memory_order_acquire);
    uint64_t generation = atomic_load_explicit(&slots[i].generation, memory_order_acquire);
    if (owner && generation >= birth && generation < death && !process_is_dead(store, owner)) return true;
  }
  return false;
}

/* ---- pins ---- */

/* Who has no slot holds a lock on the generation for as long as the call lasts (GEN-2). */
static Status pin_by_lock(Store *store, ReadPin *pin) {
  mutex_lock(&store->versions_lock);
  Version *v = atomic_load_explicit(&store->current, memory_order_relaxed);
  Status status = generation_lock(store, v->manifest->generation, &pin->lock);
  if (status == KVSTORE_OK) {
    atomic_fetch_add_explicit(&v->references, 1, memory_order_relaxed);
    pin->version = v;
  }
  mutex_unlock(&store->versions_lock);
  return status;
}

static Status pin_current(Store *store, ReadPin *pin) {
  pin->slot = store->reader_only ? NULL : shared_slot_take(store->page, store->process);
  if (UNLIKELY(!pin->slot)) return pin_by_lock(store, pin);
  for (;;) {
    Version *v = atomic_load_explicit(&store->current, memory_order_acquire);
    atomic_store_explicit(&pin->slot->version, (uint64_t)(uintptr_t)v, memory_order_seq_cst);
    if (atomic_load_explicit(&store->current, memory_order_seq_cst) != v) continue;
    /* v cannot be freed now. Its generation is pinned once the caller has found it unchanged after this store. */
    atomic_store_explicit(&pin->slot->generation, v->manifest->generation, memory_order_seq_cst);
    pin->version = v;
    return KVSTORE_OK;
  }
}

static void unpin(Store *store, ReadPin *pin) {
  if (LIKELY(pin->slot != NULL)) shared_slot_give(pin->slot);
  if (UNLIKELY(pin->lock != NULL)) version_unhold(store, &(VersionHold){ .version = pin->version, .pin = pin->lock });
  pin->slot = NULL;
  pin->lock = NULL;
}

/* The generation of a version that this process read in the file before the page has shown it: what it holds may be
 * seen (who published it may never say so, GEN-3). */
static void see_all_of(Store *store, const Version *v) {
  shared_raise(&store->page->visible, v->manifest->replay.sequence - 1);
}

/* One try: *pinned, or something has been brought up to date and it is worth another. */
static Status pin_newest(Store *store, ReadPin *pin, bool *pinned) {
  TRY(pin_current(store, pin));
  const Version *v = pin->version;
  if (UNLIKELY(store->reader_only)) {
    Status status = reader_look(store);
    if (status != KVSTORE_OK) {
      unpin(store, pin);
      return status;
    }
  }
  uint64_t newest = atomic_load_explicit(&store->page->generation.word, memory_order_seq_cst);
  if (UNLIKELY(newest > v->manifest->generation)) {
    unpin(store, pin);
    return generation_follow(store);
  }
  if (UNLIKELY(newest < v->manifest->generation)) see_all_of(store, v);
  pin->sequence = shared_load(&store->page->visible);
  if (UNLIKELY(atomic_load_explicit(&store->applied_sequence, memory_order_acquire) < pin->sequence)) {
    unpin(store, pin);
    return store_apply(store);
  }
  /* What changed the shape of the store up to this sequence was published before the sequence was: look again. */
  *pinned = atomic_load_explicit(&store->current, memory_order_acquire) == v;
  if (UNLIKELY(!*pinned)) unpin(store, pin);
  return KVSTORE_OK;
}

static Status frozen_still_valid(const Session *session) {
  if (LIKELY(!session->fate || !atomic_load_explicit(&session->fate->rolled_back, memory_order_acquire)))
    return KVSTORE_OK;
  return status_fail(KVSTORE_ERROR, "the transaction that the snapshot was made in has been rolled back");
}

/* Whoever ends the transaction waits for the last of those inside. */
static void leave_snapshot(Session *session) {
  uint32_t before = atomic_fetch_sub_explicit(&session->readers, 1, memory_order_seq_cst);
  bool is_last = before == 1 && atomic_load_explicit(&session->transaction, memory_order_seq_cst) != 1;
  if (UNLIKELY(is_last)) futex_wake_all(&session->readers);
}

/* False: another thread has ended the reading transaction. Counted first and looked at then, as who ends it says so
 * first and looks at the count then: one of the two sees the other. */
static bool pin_snapshot(Session *session, ReadPin *pin) {
  if (!session->frozen) {
    atomic_fetch_add_explicit(&session->readers, 1, memory_order_seq_cst);
    pin->at_snapshot = atomic_load_explicit(&session->transaction, memory_order_seq_cst) == 1;
    if (UNLIKELY(!pin->at_snapshot)) {
      leave_snapshot(session);
      return false;
    }
  }
  pin->version = session->snapshot.version;
  pin->sequence = session->snapshot_sequence;
  pin->inside = session->frozen && session->fate;
  return true;
}

/* What a call sees inside the session's writing transaction: all that this has written. Another thread may end it
 * meanwhile, and another session's begin: whose turn it is is looked at behind the sequence. False: the sequence is of
 * another shape of the store than the version. */
static bool see_own(const Session *session, ReadPin *pin) {
  const Store *store = session->store;
  uint64_t turn = atomic_load_explicit(&session->turn, memory_order_acquire);
  uint64_t seen = atomic_load_explicit(&store->transaction.seen, memory_order_acquire);
  pin->inside = atomic_load_explicit(&store->transaction.ended, memory_order_acquire) == turn;
  if (UNLIKELY(!pin->inside)) seen = atomic_load_explicit(&session->committed, memory_order_acquire);
  if (pin->inside || seen > pin->sequence) pin->sequence = seen;
  return atomic_load_explicit(&store->current, memory_order_acquire) == pin->version;
}

Status read_pin(Session *session, ReadPin *pin) {
  Store *store = session->store;
  memset(pin, 0, sizeof *pin);
  int transaction = atomic_load_explicit(&session->transaction, memory_order_acquire);
  while (transaction == 1) {
    if (session->frozen) TRY(frozen_still_valid(session));
    if (LIKELY(pin_snapshot(session, pin))) return KVSTORE_OK;
    transaction = atomic_load_explicit(&session->transaction, memory_order_acquire);
  }
  bool pinned = false;
  for (uint32_t failures = 0; !pinned;) {
    Status status = pin_newest(store, pin, &pinned);
    if (UNLIKELY(status != KVSTORE_OK)) TRY(reader_try_again(store, status, &failures));
    if (!pinned || transaction != 2) continue;
    pinned = see_own(session, pin);
    if (UNLIKELY(!pinned)) unpin(store, pin);
  }
  return KVSTORE_OK;
}

Status write_pin(Session *session, ReadPin *pin) {
  Store *store = session->store;
  memset(pin, 0, sizeof *pin);
  for (;;) {
    TRY(pin_current(store, pin));
    const Version *v = pin->version;
    /* A generation that the page has left behind is pinned too late (GEN-1). */
    if (LIKELY(v->manifest->generation >= atomic_load_explicit(&store->page->generation.word, memory_order_seq_cst)))
      break;
    unpin(store, pin);
    TRY(generation_follow(store));
  }
  pin->sequence = store->transaction.next_sequence - 1;
  return KVSTORE_OK;
}

Status version_try_pin(Store *store, ReadPin *pin, bool *pinned) {
  memset(pin, 0, sizeof *pin);
  TRY(pin_current(store, pin));
  uint64_t newest = atomic_load_explicit(&store->page->generation.word, memory_order_seq_cst);
  if (UNLIKELY(store->reader_only)) { /* its page is a copy: others may have published, and given away, meanwhile */
    Status status = newest_generation(store, &newest);
    if (status != KVSTORE_OK) {
      unpin(store, pin);
      return status;
    }
  }
  *pinned = pin->version->manifest->generation >= newest;
  if (!*pinned) unpin(store, pin);
  return KVSTORE_OK;
}

Status version_pin_newest(Store *store, ReadPin *pin) {
  for (;;) {
    bool pinned;
    TRY(version_try_pin(store, pin, &pinned));
    if (LIKELY(pinned)) return KVSTORE_OK;
    TRY(generation_follow_newest(store));
  }
}

void version_unpin(Store *store, ReadPin *pin) { unpin(store, pin); }

static TransactionFate *fate_keep(Session *session) {
  mutex_lock(&session->store->versions_lock);
  TransactionFate *fate = session->fate;
  if (fate) atomic_fetch_add_explicit(&fate->references, 1, memory_order_relaxed);
  mutex_unlock(&session->store->versions_lock);
  return fate;
}

/* Another thread may begin a transaction on the session between the two. */
Status read_pin_kept(Session *session, ReadPin *pin, TransactionFate **fate) {
  for (;;) {
    *fate = fate_keep(session);
    Status status = read_pin(session, pin);
    if (status == KVSTORE_OK && (*fate || !pin->inside)) return KVSTORE_OK;
    fate_release(*fate);
    *fate = NULL;
    TRY(status);
    read_unpin(session, pin);
  }
}

void read_unpin(Session *session, ReadPin *pin) {
  unpin(session->store, pin);
  if (UNLIKELY(pin->at_snapshot)) leave_snapshot(session);
  pin->at_snapshot = false;
}

bool generation_pinned(Store *store, uint64_t birth, uint64_t death) {
  if (death <= birth) return false;
  if (slot_pins(store, birth, death)) return true;
  bool held = true;
  uint64_t first;
  if (os_lock_query(store->file.file, pin_byte + birth, death - birth, &held, &first) != KVSTORE_OK) return true;
  return held;
}

static bool run_has_extent(const RunEntry *run, uint64_t first_id, uint64_t last_id) {
  for (uint32_t i = 0; i < run->extent_count; i++)
    if (run->extents[i].id >= first_id && run->extents[i].id <= last_id) return true;
  return false;
}

static bool adopts_extent(const Version *v, uint64_t first_id, uint64_t last_id) {
  for (uint32_t f = 0; f < v->family_count; f++) {
    for (uint32_t e = 0; e < v->families[f]->era_count; e++) {
      const Era *era = &v->families[f]->eras[e];
      for (uint32_t r = 0; r < era->run_count && era->runs[r].since; r++)
        if (run_has_extent(&era->runs[r].run->entry, first_id, last_id)) return true;
    }
  }
  return false;
}

bool versions_name_extents(Store *store, uint64_t first_id, uint64_t last_id) {
  versions_reclaim(store);
  mutex_lock(&store->versions_lock);
  bool named = adopts_extent(atomic_load_explicit(&store->current, memory_order_relaxed), first_id, last_id);
  for (const Version *v = store->retired; v && !named; v = v->older) named = adopts_extent(v, first_id, last_id);
  mutex_unlock(&store->versions_lock);
  return named;
}
