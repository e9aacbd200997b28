/* unit_share.h - the units of a table from which several threads take, each unit once. */
#ifndef COLONNADE_QUERY_UNIT_SHARE_H
#define COLONNADE_QUERY_UNIT_SHARE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "columnar/scan.h"
#include "os/thread.h"

typedef struct UnitShare {
  _Atomic uint32_t next;
  _Atomic uint32_t failed; /* the lowest unit that failed so far: those behind it need not be looked at */
  _Atomic uint64_t rows;   /* of all units that have been taken */
  _Atomic bool is_stopped; /* no further one is to be */
  Mutex lock;              /* of the failure */
  Failure failure;         /* of that unit */
} UnitShare;

/* Whether threads may share the units out. A snapshot of streams begins then. */
Status unit_share_divisible(const TableSnapshot *snapshot, bool *divisible) MUST_CHECK;
/* Gives out units from `first` on; `rows`: of those before. */
void unit_share_begin(UnitShare *share, uint32_t first, uint64_t rows);
void unit_share_end(UnitShare *share);
/* The next unit; UINT32_MAX: there is none, one before it has failed, or nobody is to take any. Who takes one does it,
 * so that those done are always the first ones. */
uint32_t unit_share_take(UnitShare *share, const TableSnapshot *snapshot);
static inline void unit_share_stop(UnitShare *share) {
  atomic_store_explicit(&share->is_stopped, true, memory_order_relaxed);
}
static inline bool unit_share_is_stopped(const UnitShare *share) {
  return atomic_load_explicit(&share->is_stopped, memory_order_relaxed);
}
/* The first unit that nobody has taken. */
uint32_t unit_share_next(const UnitShare *share, const TableSnapshot *snapshot);
static inline uint64_t unit_share_rows(const UnitShare *share) {
  return atomic_load_explicit(&share->rows, memory_order_relaxed);
}
/* The calling thread's last failure was one of this unit, or came behind all of them (UINT32_MAX). */
void unit_share_fail(UnitShare *share, uint32_t unit);
/* The lowest unit that failed; UINT32_MAX: none. */
static inline uint32_t unit_share_failed(const UnitShare *share) {
  return atomic_load_explicit(&share->failed, memory_order_relaxed);
}
/* The failure of the lowest unit, as one thread would have met it: then the caller's. KVSTORE_OK: there was none. No
 * thread takes units any more. */
Status unit_share_status(const UnitShare *share) MUST_CHECK;

#endif
