/* handle.c - the life of a handle, and how a close waits for the calls inside.
 *
 * A call adds one to its stripe's `inside` and takes it away at its end. A close adds STRIPE_CLOSING to every stripe:
 * who comes later sees it and turns back; who leaves sees it, and then takes itself out and wakes the close under the
 * lock. So a leaver never looks at a handle that may be gone: the last look of the close is under the lock too. A call
 * that needs the handle to itself adds STRIPE_ALONE: who comes later then waits instead, under the same lock. */
#include "kvapi/handle.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "kvapi/message.h"
#include "os/large_memory.h"
#include "os/team.h"

enum { STRUCT_BYTES_MAX = 4096 }; /* a struct_size beyond this was never set */

static _Atomic uint64_t handles_made;

KVStore *handle_create(Session *session, uint32_t checkpoint_commits) {
  KVStore *kv = memory_allocate_aligned(STRIPE_ALIGNMENT, sizeof *kv);
  if (!kv) return NULL;
  memset(kv, 0, sizeof *kv);
  kv->magic = MAGIC_STORE;
  kv->number = atomic_fetch_add_explicit(&handles_made, 1, memory_order_relaxed) + 1;
  kv->forks = process_forks();
  kv->session = session;
  kv->checkpoint_commits = checkpoint_commits;
  atomic_store_explicit(&kv->references, 1, memory_order_relaxed);
  mutex_init(&kv->lock);
  condition_init(&kv->left);
  team_keep();
  large_blocks_keep();
  return kv;
}

void handle_retain(KVStore *kv) { atomic_fetch_add_explicit(&kv->references, 1, memory_order_relaxed); }

void handle_release(KVStore *kv) {
  if (!kv || atomic_fetch_sub_explicit(&kv->references, 1, memory_order_acq_rel) != 1) return;
  ASSERT(!kv->session, "API-1");
  if (!handle_is_inherited(kv)) { /* else threads that are not here may be in them */
    mutex_destroy(&kv->lock);
    condition_destroy(&kv->left);
  }
  kv->magic = MAGIC_DEAD;
  memory_release_aligned(kv);
}

static uint64_t count_inside(KVStore *kv) {
  uint64_t count = 0;
  for (size_t i = 0; i < HANDLE_STRIPES; i++)
    count += atomic_load_explicit(&kv->stripes[i].inside, memory_order_acquire) & (STRIPE_CLOSING - 1);
  return count;
}

Status handle_close(KVStore *kv) {
  for (size_t i = 0; i < HANDLE_STRIPES; i++) {
    uint64_t before = atomic_fetch_or_explicit(&kv->stripes[i].inside, STRIPE_CLOSING, memory_order_acq_rel);
    if (i == 0 && before & STRIPE_CLOSING) return status_fail(KVSTORE_ERROR, "the store is closed already");
  }
  if (!handle_is_inherited(kv)) {
    mutex_lock(&kv->lock);
    while (count_inside(kv) || kv->waiting) condition_wait(&kv->left, &kv->lock);
    mutex_unlock(&kv->lock);
    births_settle(kv, 0, session_transaction(kv->session) == 2);
  }
  Session *session = kv->session;
  kv->session = NULL;
  team_leave();
  Status status = session_close(session);
  large_blocks_leave();
  return status;
}

static void step_out(KVStore *kv) {
  _Atomic uint64_t *inside = &handle_stripe(kv)->inside;
  uint64_t before = atomic_load_explicit(inside, memory_order_relaxed);
  while (LIKELY(!(before & (STRIPE_CLOSING | STRIPE_ALONE)))) {
    if (atomic_compare_exchange_weak_explicit(inside, &before, before - 1, memory_order_release, memory_order_relaxed))
      return;
  }
  mutex_lock(&kv->lock);
  atomic_fetch_sub_explicit(inside, 1, memory_order_release);
  condition_broadcast(&kv->left);
  mutex_unlock(&kv->lock);
}

/* While another call has the handle to itself, this one is not inside. The lock is held. */
static void stand_aside(KVStore *kv) {
  _Atomic uint64_t *inside = &handle_stripe(kv)->inside;
  if (!kv->alone) return;
  atomic_fetch_sub_explicit(inside, 1, memory_order_release);
  kv->waiting++;
  condition_broadcast(&kv->left);
  while (kv->alone) condition_wait(&kv->left, &kv->lock);
  atomic_fetch_add_explicit(inside, 1, memory_order_acquire);
  kv->waiting--;
}

/* Counted in, but a flag was seen: a close has begun, or another call has the handle to itself. */
static Status enter_slowly(KVStore *kv) {
  mutex_lock(&kv->lock);
  stand_aside(kv);
  bool closed = atomic_load_explicit(&kv->stripes[0].inside, memory_order_relaxed) & STRIPE_CLOSING; /* the first */
  if (closed) {
    atomic_fetch_sub_explicit(&handle_stripe(kv)->inside, 1, memory_order_release);
    condition_broadcast(&kv->left);
  }
  mutex_unlock(&kv->lock);
  return closed ? status_fail(KVSTORE_ERROR, "the store is closed") : KVSTORE_OK;
}

Status handle_enter(KVStore *kv) {
  if (UNLIKELY(!handle_is_store(kv)))
    return status_fail(KVSTORE_ERROR, kv ? "this is no open store" : "the store is NULL");
  if (handle_is_inherited(kv)) return handle_refuse_inherited();
  uint64_t before = atomic_fetch_add_explicit(&handle_stripe(kv)->inside, 1, memory_order_acquire);
  if (LIKELY(!(before & (STRIPE_CLOSING | STRIPE_ALONE)))) return KVSTORE_OK;
  return enter_slowly(kv);
}

Status handle_enter_alone(KVStore *kv) {
  TRY(handle_enter(kv));
  mutex_lock(&kv->lock);
  stand_aside(kv);
  kv->alone = true;
  for (size_t i = 0; i < HANDLE_STRIPES; i++)
    atomic_fetch_or_explicit(&kv->stripes[i].inside, STRIPE_ALONE, memory_order_acq_rel);
  while (count_inside(kv) > 1) condition_wait(&kv->left, &kv->lock);
  mutex_unlock(&kv->lock);
  return KVSTORE_OK;
}

int handle_leave_alone(KVStore *kv, Status status) {
  mutex_lock(&kv->lock);
  kv->alone = false;
  for (size_t i = 0; i < HANDLE_STRIPES; i++)
    atomic_fetch_and_explicit(&kv->stripes[i].inside, ~STRIPE_ALONE, memory_order_acq_rel);
  condition_broadcast(&kv->left);
  mutex_unlock(&kv->lock);
  return handle_leave(kv, status);
}

Status handle_refuse_inherited(void) {
  return status_fail(KVSTORE_ERROR, "the store was opened before this process was forked: open it again here");
}

int handle_refuse(KVStore *kv, Status status) {
  message_keep(handle_is_store(kv) ? kv->number : MESSAGE_NO_HANDLE, status);
  return status;
}

static int leave(KVStore *kv, Status status, bool message) {
  if (UNLIKELY(status != KVSTORE_OK)) {
    if (message) message_keep(kv->number, status);
    if (status != KVSTORE_NOTFOUND) handle_tally(kv, TALLY_ERRORS, 1);
  }
  step_out(kv);
  return status;
}

int handle_leave(KVStore *kv, Status status) { return leave(kv, status, true); }
int handle_leave_lookup(KVStore *kv, Status status) { return leave(kv, status, status != KVSTORE_NOTFOUND); }

void handle_committed(KVStore *kv) {
  handle_tally(kv, TALLY_COMMITS, 1);
  if (LIKELY(!kv->checkpoint_commits)) return;
  uint64_t before = atomic_fetch_add_explicit(&kv->commits_since, 1, memory_order_relaxed);
  if (before + 1 < kv->checkpoint_commits) return;
  atomic_store_explicit(&kv->commits_since, 0, memory_order_relaxed);
  /* The commit stands whatever becomes of this: the next count, or the log itself, asks again. */
  if (session_checkpoint(kv->session, CHECKPOINT_PASSIVE, NULL, NULL) == KVSTORE_OK)
    handle_tally(kv, TALLY_CHECKPOINTS, 1);
}

void handle_wrote(KVStore *kv) {
  if (!session_transaction(kv->session)) handle_committed(kv);
}

/* ---- births ---- */

Status birth_note(KVStore *kv, uint32_t family, Birth **birth) {
  uint64_t transaction = session_writing(kv->session);
  *birth = NULL;
  if (!transaction) return KVSTORE_OK;
  Birth *made = memory_allocate(sizeof *made);
  if (!made) return status_nomem();
  atomic_init(&made->references, 2);
  atomic_init(&made->undone, false);
  made->family = family;
  made->transaction = transaction;
  mutex_lock(&kv->lock);
  made->next = kv->births;
  kv->births = made;
  mutex_unlock(&kv->lock);
  *birth = made;
  return KVSTORE_OK;
}

Birth *birth_find(KVStore *kv, uint32_t family) {
  mutex_lock(&kv->lock);
  Birth *birth = kv->births;
  while (birth && birth->family != family) birth = birth->next;
  if (birth) birth_retain(birth);
  mutex_unlock(&kv->lock);
  return birth;
}

Birth *birth_retain(Birth *birth) {
  atomic_fetch_add_explicit(&birth->references, 1, memory_order_relaxed);
  return birth;
}

void birth_release(Birth *birth) {
  if (birth && atomic_fetch_sub_explicit(&birth->references, 1, memory_order_acq_rel) == 1) memory_release(birth);
}

/* Takes those of a transaction (0: all) out of the list. The lock is held. */
static Birth *take_births(KVStore *kv, uint64_t transaction) {
  Birth *taken = NULL;
  for (Birth **link = &kv->births; *link;) {
    Birth *birth = *link;
    if (transaction && birth->transaction != transaction) {
      link = &birth->next;
      continue;
    }
    *link = birth->next;
    birth->next = taken;
    taken = birth;
  }
  return taken;
}

void births_settle(KVStore *kv, uint64_t transaction, bool undone) {
  mutex_lock(&kv->lock);
  Birth *birth = take_births(kv, transaction);
  mutex_unlock(&kv->lock);
  while (birth) {
    Birth *next = birth->next;
    if (undone) atomic_store_explicit(&birth->undone, true, memory_order_release);
    birth_release(birth);
    birth = next;
  }
}

/* ---- places ---- */

Place place_default(KVStore *kv) {
  Status status = handle_enter(kv);
  return (Place){ kv, status == KVSTORE_OK ? kv->session : NULL, FAMILY_DEFAULT_ID, status == KVSTORE_OK, status };
}

Place place_family(const KVColumnFamily *cf) {
  if (!cf || cf->magic != MAGIC_FAMILY)
    return (Place){ NULL, NULL, 0, false, bad_argument(cf ? "this is no open family" : "the family is NULL") };
  Status status = handle_enter(cf->kv);
  if (status != KVSTORE_OK) return (Place){ cf->kv, NULL, 0, false, status };
  return (Place){ cf->kv, cf->kv->session, cf->family, true, birth_check(cf->birth) };
}

/* A call that is inside no handle: one that never got in, or a snapshot's. */
static int leave_outside(const Place *place, Status status, bool message) {
  if (status == KVSTORE_OK) return status;
  if (place->session && status != KVSTORE_NOTFOUND) handle_tally(place->kv, TALLY_ERRORS, 1);
  return message ? handle_refuse(place->kv, status) : (int)status;
}

int place_leave(const Place *place, Status status) {
  return place->entered ? handle_leave(place->kv, status) : leave_outside(place, status, true);
}

int place_leave_lookup(const Place *place, Status status) {
  if (place->entered) return handle_leave_lookup(place->kv, status);
  return leave_outside(place, status, !place->session || status != KVSTORE_NOTFOUND);
}

/* ---- arguments ---- */

Status family_argument(KVStore *kv, const KVColumnFamily *family, uint32_t *id) {
  *id = FAMILY_DEFAULT_ID;
  if (!family) return KVSTORE_OK;
  if (family->magic != MAGIC_FAMILY) return bad_argument("this is no open family");
  if (family->kv != kv) return bad_argument("the family belongs to another handle");
  *id = family->family;
  return birth_check(family->birth);
}

Status bytes_argument(const void *data, int length, const char *what, Bytes *out) {
  if (UNLIKELY(length < 0)) return status_fail(KVSTORE_ERROR, "the %s has a negative length: %d", what, length);
  if (UNLIKELY(!data && length))
    return status_fail(KVSTORE_ERROR, "the %s is NULL, but its length is %d", what, length);
  *out = (Bytes){ data, (size_t)length };
  return KVSTORE_OK;
}

Status key_argument(const void *data, int length, Bytes *out) {
  TRY(bytes_argument(data, length, "key", out));
  if (LIKELY(out->length > 0 && out->length <= KEY_BYTES_MAX)) return KVSTORE_OK;
  return status_fail(KVSTORE_ERROR, "a key of %zu bytes: keys have 1 to %u", out->length, KEY_BYTES_MAX);
}

Status prefix_argument(const void *data, int length, Bytes *out) {
  TRY(bytes_argument(data, length, "prefix", out));
  if (!out->length) return bad_argument("the prefix is empty: a plain iterator walks over all keys");
  if (out->length > KEY_BYTES_MAX)
    return status_fail(KVSTORE_ERROR, "a prefix of %zu bytes: keys have at most %u", out->length, KEY_BYTES_MAX);
  return KVSTORE_OK;
}

static Status bound_argument(const void *data, int length, const char *what, Bytes *out) {
  TRY(bytes_argument(data, length, what, out));
  if (out->length > KEY_BYTES_MAX)
    return status_fail(KVSTORE_ERROR, "a %s of %zu bytes: keys have at most %u", what, out->length, KEY_BYTES_MAX);
  if (!out->length) out->data = NULL;
  return KVSTORE_OK;
}

Status bounds_argument(const void *lower, int lower_length, const void *upper, int upper_length, KvRange *out) {
  TRY(bound_argument(lower, lower_length, "lower bound", &out->lower));
  TRY(bound_argument(upper, upper_length, "upper bound", &out->upper));
  if (out->lower.data && out->upper.data &&
      bytes_compare(out->lower.data, out->lower.length, out->upper.data, out->upper.length) > 0)
    return bad_argument("the lower bound is above the upper bound");
  return KVSTORE_OK;
}

Status struct_argument(const void *given, void *out, size_t size) {
  size_t length;
  if (!given) return KVSTORE_OK;
  memcpy(&length, given, sizeof length);
  if (length < sizeof length || length > STRUCT_BYTES_MAX)
    return bad_argument("struct_size is not set: begin with the struct's _INIT");
  const uint8_t *bytes = given;
  for (size_t i = size; i < length; i++)
    if (bytes[i])
      return status_fail(KVSTORE_UNSUPPORTED, "a struct asks for something that this library does not know");
  memcpy(out, given, length < size ? length : size);
  return KVSTORE_OK;
}

Status struct_answer(void *given, const void *full, size_t size, const char *init) {
  size_t length;
  memcpy(&length, given, sizeof length);
  if (length < sizeof length || length > STRUCT_BYTES_MAX)
    return status_fail(KVSTORE_ERROR, "struct_size is not set: begin with %s", init);
  memcpy((char *)given + sizeof length, (const char *)full + sizeof length,
         (length < size ? length : size) - sizeof length);
  return KVSTORE_OK;
}

Status expiry_argument(int64_t expire_ms, int64_t *expiry) {
  if (UNLIKELY(expire_ms < 0))
    return status_fail(KVSTORE_ERROR, "an expiry before 1970: %lld (0 is never)", (long long)expire_ms);
  *expiry = expire_ms ? expire_ms : EXPIRY_NEVER;
  return KVSTORE_OK;
}

Status pair_expiry_argument(int64_t expire_ms, int64_t *expiry) {
  if (expire_ms != KVSTORE_EXPIRE_DEFAULT) return expiry_argument(expire_ms, expiry);
  *expiry = EXPIRY_DEFAULT;
  return KVSTORE_OK;
}
