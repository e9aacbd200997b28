/* handle.h - what a KVStore is: a session, who is inside, what was counted, and the handles that hang on it.
 *
 * Life: open or clone -> any number of calls -> close. Families, tables, iterators, queries and cursors hold a
 * reference, so that closing them after the store is harmless, and calls on them then are refused.
 *
 * Threads: calls say handle_enter and handle_leave; a close waits until nobody is inside (API-2). Counters lie in
 * stripes, a thread to a stripe as far as they go round, so that threads that share a handle do not share a cache line.
 */
#ifndef COLONNADE_KVAPI_HANDLE_H
#define COLONNADE_KVAPI_HANDLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "colonnade/kvstore.h"
#include "engine/engine.h"
#include "os/thread.h"

/* The counters of KVStoreStats, in its order, without the gauge. */
typedef enum Tally {
  TALLY_PUTS,
  TALLY_GETS,
  TALLY_DELETES,
  TALLY_ITERATIONS,
  TALLY_ERRORS,
  TALLY_BYTES_READ,
  TALLY_BYTES_WRITTEN,
  TALLY_COMMITS,
  TALLY_CHECKPOINTS,
  TALLY_TTL_EXPIRED,
  TALLY_TTL_PURGED,
  TALLY_COUNT
} Tally;

enum { HANDLE_STRIPES = 16, STRIPE_ALIGNMENT = 128 };

typedef struct Stripe {
  _Alignas(STRIPE_ALIGNMENT) _Atomic uint64_t inside; /* calls in progress; with STRIPE_CLOSING: no more */
  _Atomic uint64_t tallies[TALLY_COUNT];
} Stripe;
#define STRIPE_CLOSING (UINT64_C(1) << 32)
#define STRIPE_ALONE   (UINT64_C(1) << 33) /* one call has the handle to itself: others wait */

/* What tells one kind of handle from another, and from freed memory as far as that can be told. */
enum {
  MAGIC_STORE = 0x4b565331,
  MAGIC_FAMILY,
  MAGIC_ITERATOR,
  MAGIC_TABLE,
  MAGIC_QUERY,
  MAGIC_CURSOR,
  MAGIC_ROW,
  MAGIC_BATCH,
  MAGIC_LOADER,
  MAGIC_CHANGES,
  MAGIC_SNAPSHOT,
  MAGIC_PINNED,
  MAGIC_VIEW,
  MAGIC_ROWS,
  MAGIC_DEAD = 0x64656164,
};

/* A family or table that a transaction of the handle created: whoever holds a handle to it learns of the rollback. (Its
 * id may be given again then.) */
typedef struct Birth {
  _Atomic uint32_t references;
  _Atomic bool undone;
  uint32_t family;
  uint64_t transaction; /* session_writing */
  struct Birth *next;   /* of the open transaction's; under the handle's lock */
} Birth;

struct KVStore {
  uint32_t magic;
  uint32_t forks;  /* process_forks() at its making */
  uint64_t number; /* for messages; never given twice */
  Session *session;
  uint32_t checkpoint_commits;    /* 0: never by the count */
  _Atomic uint64_t commits_since; /* the last checkpoint by the count */
  _Atomic uint32_t references;
  Mutex lock; /* guards births and the two below; what a close waits on */
  Condition left;
  bool alone;
  uint32_t waiting; /* calls that wait for the one that is alone */
  Birth *births;
  Stripe stripes[HANDLE_STRIPES];
};

struct KVColumnFamily {
  uint32_t magic;
  uint32_t family;
  KVStore *kv;
  Birth *birth; /* NULL: committed when it was opened */
};

/* A handle around a session, which it takes over; NULL when there is no memory. */
KVStore *handle_create(Session *session, uint32_t checkpoint_commits);
void handle_retain(KVStore *kv);
void handle_release(KVStore *kv); /* NULL is allowed */
/* Keeps new calls out, waits for those inside, closes the session. */
Status handle_close(KVStore *kv);

/* Begins a call: KVSTORE_ERROR when `kv` is none, or closed. Then every way out is handle_leave. */
Status handle_enter(KVStore *kv) MUST_CHECK;
/* Begins a call that has the handle to itself: waits for those inside, and keeps others waiting until
 * handle_leave_alone. */
Status handle_enter_alone(KVStore *kv) MUST_CHECK;
int handle_leave_alone(KVStore *kv, Status status);
/* Ends it: remembers the failure and counts it. Returns `status`. */
int handle_leave(KVStore *kv, Status status);
/* The same where KVSTORE_NOTFOUND is an answer, and leaves no message. */
int handle_leave_lookup(KVStore *kv, Status status);
/* A call that never got in: remembers the failure where it can. */
int handle_refuse(KVStore *kv, Status status);

/* A child's copy of its parent's handle, and what hangs on it: it can be closed, and nothing else (API-9). */
static inline bool handle_is_inherited(const KVStore *kv) { return UNLIKELY(kv->forks != process_forks()); }
Status handle_refuse_inherited(void) MUST_CHECK;
static inline bool handle_is_store(const KVStore *kv) { return kv && kv->magic == MAGIC_STORE; }
static inline Stripe *handle_stripe(KVStore *kv) { return &kv->stripes[thread_number() % HANDLE_STRIPES]; }
static inline void handle_tally(KVStore *kv, Tally which, uint64_t n) {
  atomic_fetch_add_explicit(&handle_stripe(kv)->tallies[which], n, memory_order_relaxed);
}
/* Counts a write of the session that was a transaction by itself, and checkpoints when the count says so. */
void handle_wrote(KVStore *kv);
/* Counts a commit. */
void handle_committed(KVStore *kv);

/* ---- births ---- */
/* Notes a family that the open transaction created; *birth is NULL without one. */
Status birth_note(KVStore *kv, uint32_t family, Birth **birth) MUST_CHECK;
/* The birth of a family, when the open transaction created it; else NULL. */
Birth *birth_find(KVStore *kv, uint32_t family);
Birth *birth_retain(Birth *birth);
void birth_release(Birth *birth); /* NULL is allowed */
/* The transaction has ended: another thread may have begun the next one, which has births of its own. 0: every one. */
void births_settle(KVStore *kv, uint64_t transaction, bool undone);
static inline Status birth_check(const Birth *birth) {
  if (LIKELY(!birth || !atomic_load_explicit(&birth->undone, memory_order_acquire))) return KVSTORE_OK;
  return status_fail(KVSTORE_NOTFOUND, "the transaction that created it has been rolled back");
}

/* ---- places ----
 * Where a call works, and whether it got there: most functions have a form for the default family and one for others.
 */
typedef struct Place {
  KVStore *kv;
  Session *session; /* to read with: the handle's, or a snapshot's */
  uint32_t family;
  bool entered;
  Status status;
} Place;
Place place_default(KVStore *kv);
Place place_family(const KVColumnFamily *cf);
int place_leave(const Place *place, Status status);
int place_leave_lookup(const Place *place, Status status); /* where KVSTORE_NOTFOUND is an answer */

/* ---- arguments ---- */
/* KVSTORE_ERROR: "what". Inline, so that compilers and analyzers know that it is never KVSTORE_OK. */
static inline MUST_CHECK Status bad_argument(const char *what) { return status_fail(KVSTORE_ERROR, "%s", what); }
/* The family of a call that may name one of this very handle, or none: the default one. */
Status family_argument(KVStore *kv, const KVColumnFamily *family, uint32_t *id) MUST_CHECK;
/* Bytes of a pointer and an int: not negative, not NULL when there are some. `what` names them in the message. */
Status bytes_argument(const void *data, int length, const char *what, Bytes *out) MUST_CHECK;
/* The same for a key: 1 to KEY_BYTES_MAX bytes. */
Status key_argument(const void *data, int length, Bytes *out) MUST_CHECK;
/* A prefix: as long as a key, and not empty. */
Status prefix_argument(const void *data, int length, Bytes *out) MUST_CHECK;
/* The bounds of a range; without bytes there is none. KVSTORE_ERROR when the lower one is above the upper one. */
Status bounds_argument(const void *lower, int lower_length, const void *upper, int upper_length,
                       KvRange *out) MUST_CHECK;
/* A caller's struct that begins with its size: an older, shorter one, or a longer one whose unknown tail is zero. *out,
 * of `size` bytes, holds the defaults; NULL leaves them. */
Status struct_argument(const void *given, void *out, size_t size) MUST_CHECK;
/* The way back: an older program's struct gets as much of `full`, of `size` bytes, as it has, a newer one's keeps its
 * unknown tail; struct_size stays what it was. `init` is the name of what sets it. */
Status struct_answer(void *given, const void *full, size_t size, const char *init) MUST_CHECK;
/* The same for a password, which is not empty. */
Status password_argument(const void *password, int length, Bytes *out) MUST_CHECK;
/* An expiry as the engine has it: 0 is never; a negative one is refused. */
Status expiry_argument(int64_t expire_ms, int64_t *expiry) MUST_CHECK;
/* The same of a pair: KVSTORE_EXPIRE_DEFAULT is one, too. */
Status pair_expiry_argument(int64_t expire_ms, int64_t *expiry) MUST_CHECK;

#endif
