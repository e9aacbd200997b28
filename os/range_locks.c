#include "os/range_locks.h"

#include "base/assert.h"
#include "base/memory.h"

static bool overlaps(const RangeLock *lock, uint64_t start, uint64_t end) {
  return lock->start < end && start < lock->end;
}

static bool conflicts(const RangeLock *lock, const void *owner, uint64_t start, uint64_t end, OsLock kind) {
  return lock->owner != owner && overlaps(lock, start, end) &&
         (kind == OS_LOCK_EXCLUSIVE || lock->kind == OS_LOCK_EXCLUSIVE);
}

/* Cuts [start, end) out of what `owner` holds. A lock cut in the middle leaves two; room for one more is there, since
 * the pieces on both sides can only come from one lock. */
static void cut_out(RangeLocks *locks, const void *owner, uint64_t start, uint64_t end) {
  for (size_t i = 0; i < locks->count;) {
    RangeLock lock = locks->locks[i];
    if (lock.owner != owner || !overlaps(&lock, start, end)) {
      i++;
      continue;
    }
    locks->locks[i] = locks->locks[--locks->count];
    if (lock.start < start) locks->locks[locks->count++] = (RangeLock){ owner, lock.start, start, lock.kind };
    if (lock.end > end) locks->locks[locks->count++] = (RangeLock){ owner, end, lock.end, lock.kind };
  }
}

Status range_locks_set(RangeLocks *locks, const void *owner, const char *name, uint64_t offset, uint64_t length,
                       OsLock kind) {
  ASSERT(length > 0 && offset <= INT64_MAX && length <= INT64_MAX - offset, "OS-5");
  uint64_t end = offset + length;
  for (size_t i = 0; kind != OS_UNLOCK && i < locks->count; i++) {
    if (conflicts(&locks->locks[i], owner, offset, end, kind)) {
      return status_fail(KVSTORE_BUSY, "%s: bytes %llu to %llu are locked elsewhere", name, (unsigned long long)offset,
                         (unsigned long long)(end - 1));
    }
  }
  TRY(memory_grow(&locks->locks, &locks->capacity, locks->count + 2, sizeof *locks->locks));
  cut_out(locks, owner, offset, end);
  if (kind != OS_UNLOCK) locks->locks[locks->count++] = (RangeLock){ owner, offset, end, kind };
  return KVSTORE_OK;
}

void range_locks_query(const RangeLocks *locks, const void *owner, uint64_t offset, uint64_t length, bool *held,
                       uint64_t *first) {
  *held = false;
  *first = 0;
  for (size_t i = 0; i < locks->count; i++) {
    const RangeLock *lock = &locks->locks[i];
    if (!conflicts(lock, owner, offset, offset + length, OS_LOCK_EXCLUSIVE)) continue;
    if (!*held || lock->start < *first) *first = lock->start;
    *held = true;
  }
}

void range_locks_drop(RangeLocks *locks, const void *owner) {
  size_t kept = 0;
  for (size_t i = 0; i < locks->count; i++) {
    if (locks->locks[i].owner != owner) locks->locks[kept++] = locks->locks[i];
  }
  locks->count = kept;
}

void range_locks_release(RangeLocks *locks) {
  memory_release(locks->locks);
  *locks = (RangeLocks){ 0 };
}
