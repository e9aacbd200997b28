/* posix_locks.c - byte-range locks that belong to an open file description (Linux: fcntl F_OFD_SETLK), so that two
 * files of one process exclude each other as two processes do, and closing one gives up only its own. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/assert.h"
#include "os/posix_internal.h"

static struct flock range(uint64_t offset, uint64_t length, short type) {
  ASSERT(length > 0 && offset <= INT64_MAX && length <= INT64_MAX - offset, "OS-5");
  return (
    struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)offset, .l_len = (off_t)length, .l_pid = 0 };
}

Status posix_lock(OsFile *file, uint64_t offset, uint64_t length, OsLock kind) {
  PosixFile *f = (PosixFile *)file;
  short type = kind == OS_UNLOCK ? F_UNLCK : kind == OS_LOCK_SHARED ? F_RDLCK : F_WRLCK;
  struct flock wanted = range(offset, length, type);
  int result;
  do result = fcntl(f->descriptor, F_OFD_SETLK, &wanted);
  while (result != 0 && errno == EINTR);
  if (result == 0) return KVSTORE_OK;
  if (errno == EAGAIN || errno == EACCES) {
    return status_fail(KVSTORE_BUSY, "%s: bytes %llu to %llu are locked elsewhere", f->path, (unsigned long long)offset,
                       (unsigned long long)(offset + length - 1));
  }
  if (errno == EBADF) {
    return status_fail(KVSTORE_READONLY, "%s is open for reading only and cannot be locked exclusively", f->path);
  }
  return posix_fail(errno, "lock", f->path);
}

/* The system names any conflicting lock, not the lowest: ask again below the one it named until there is none. */
Status posix_lock_query(OsFile *file, uint64_t offset, uint64_t length, bool *held, uint64_t *first) {
  PosixFile *f = (PosixFile *)file;
  *held = false;
  *first = 0;
  while (length > 0) {
    struct flock found = range(offset, length, F_WRLCK);
    int result;
    do result = fcntl(f->descriptor, F_OFD_GETLK, &found);
    while (result != 0 && errno == EINTR);
    if (result != 0) return posix_fail(errno, "ask for the locks of", f->path);
    if (found.l_type == F_UNLCK) break;
    *held = true;
    *first = (uint64_t)found.l_start;
    length = *first > offset ? *first - offset : 0;
  }
  return KVSTORE_OK;
}
