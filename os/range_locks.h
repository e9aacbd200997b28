/* range_locks.h - byte-range locks between the open files of one process, as the system has them between open file
 * descriptions: for files that live in memory. Not for many threads at once: the owner of the table has a mutex. */
#ifndef COLONNADE_OS_RANGE_LOCKS_H
#define COLONNADE_OS_RANGE_LOCKS_H

#include "os/os.h"

typedef struct RangeLock {
  const void *owner;
  uint64_t start, end; /* [start, end) */
  OsLock kind;
} RangeLock;

/* Zero-initialise; range_locks_release at the end. */
typedef struct RangeLocks {
  RangeLock *locks;
  size_t count, capacity;
} RangeLocks;

/* Sets what `owner` holds on [offset, offset + length): replaces its own locks there. KVSTORE_BUSY, and nothing
 * changes, when another's conflicts; KVSTORE_NOMEM likewise. `name` is for the message. */
Status range_locks_set(RangeLocks *locks, const void *owner, const char *name, uint64_t offset, uint64_t length,
                       OsLock kind) MUST_CHECK;
/* Would an exclusive lock of `owner` conflict? *first: where the lowest conflicting lock begins. */
void range_locks_query(const RangeLocks *locks, const void *owner, uint64_t offset, uint64_t length, bool *held,
                       uint64_t *first);
/* Everything that `owner` holds goes. */
void range_locks_drop(RangeLocks *locks, const void *owner);
void range_locks_release(RangeLocks *locks);

#endif
