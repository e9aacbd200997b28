/* fault_os.h - an Os over another Os that counts the calls that can fail, and fails the n-th, or dies there.
 *
 * close, unmap, writeback and the clocks cannot fail: they are passed on and not counted. Threads: as any Os; arm and
 * disarm at any time. */
#ifndef COLONNADE_TESTS_SUPPORT_FAULT_OS_H
#define COLONNADE_TESTS_SUPPORT_FAULT_OS_H

#include "os/os.h"

typedef enum FaultCall {
  FAULT_OPEN,
  FAULT_STAT,
  FAULT_UNLINK,
  FAULT_RENAME,
  FAULT_SYNC_DIRECTORY,
  FAULT_RANDOM,
  FAULT_READ,
  FAULT_WRITE,
  FAULT_SYNC,
  FAULT_ALLOCATE,
  FAULT_TRUNCATE,
  FAULT_STAT_FILE,
  FAULT_MAP,
  FAULT_LOCK,
  FAULT_LOCK_QUERY,
  FAULT_REOPEN,
  FAULT_ANY, /* calls of every kind, counted together */
  FAULT_CALLS
} FaultCall;

typedef enum FaultHow {
  FAULT_ERROR,    /* nothing is done: KVSTORE_IO */
  FAULT_SHORT,    /* a write writes half of its bytes, then KVSTORE_IO; other calls as FAULT_ERROR */
  FAULT_NO_SPACE, /* write, allocate, truncate, rename and open to create: KVSTORE_FULL; other calls as FAULT_ERROR */
  FAULT_KILL,     /* SIGKILL for this process: nothing is done, and nobody is told */
} FaultHow;

typedef struct FaultOs FaultOs;

/* `under` must outlive it. */
Status fault_os_create(Os *under, FaultOs **out) MUST_CHECK;
void fault_os_destroy(FaultOs *fault); /* when its files are closed */
Os *fault_os(FaultOs *fault);

/* Fails call number `n` (from 1, counted from now) of this kind; sticky: and every later one of the kind. Replaces the
 * fault armed before. Counts start anew. */
void fault_os_arm(FaultOs *fault, FaultCall which, uint64_t n, FaultHow how, bool sticky);
void fault_os_disarm(FaultOs *fault);
/* Calls since the creation or the last arming. */
uint64_t fault_os_calls(FaultOs *fault, FaultCall which);
/* How many calls were failed since then. */
uint64_t fault_os_failures(FaultOs *fault);
const char *fault_call_name(FaultCall which);

#endif
