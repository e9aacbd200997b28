/* posix_files.c - bytes of one open file. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/memory.h"
#include "os/posix_internal.h"
#include "os/thread.h"

/* Offsets of the system are signed. */
static bool out_of_range(uint64_t offset, uint64_t length) { return offset > INT64_MAX || length > INT64_MAX - offset; }

static PosixFile *posix(OsFile *file) { return (PosixFile *)file; }

/* A directory can be opened for reading like a file; the first read would tell, too late for a clear message. */
static Status refuse_directory(int descriptor, const char *path) {
  struct stat found;
  if (fstat(descriptor, &found) != 0) return posix_fail(errno, "look at", path);
  return S_ISDIR(found.st_mode) ? posix_fail(EISDIR, "open", path) : KVSTORE_OK;
}

/* ---- all files of the process ----
 *
 * A forked child has copies of their descriptors, which share the parent's locks and would keep them beyond its death:
 * so the child closes them before fork returns there (PROC-6). The lock is held while a descriptor comes or goes, and
 * through each fork: no descriptor is ever open and not in the list. */

static Mutex files_lock = MUTEX_INITIALIZER;
static PosixFile *files;

static void before_fork(void) { mutex_lock(&files_lock); }
static void after_fork(void) { mutex_unlock(&files_lock); }
static void in_child(void) {
  while (files) {
    close(files->descriptor);
    files->descriptor = -1;
    files = files->next;
  }
  atomic_fetch_add_explicit(&process_fork_count, 1, memory_order_relaxed);
  mutex_unlock(&files_lock);
}

static Status watch_forks(void) {
  static bool watched;
  if (watched) return KVSTORE_OK;
  if (pthread_atfork(before_fork, after_fork, in_child) != 0) return status_nomem();
  watched = true;
  return KVSTORE_OK;
}

static void enlist(PosixFile *f) {
  f->next = files;
  f->link = &files;
  if (files) files->link = &f->next;
  files = f;
}

static void delist(PosixFile *f) {
  *f->link = f->next;
  if (f->next) f->next->link = f->link;
}

/* ---- opening and closing ---- */

/* Where the process has closed its standard input, output or error, a file would take its place, and what the process
 * prints would be written into the store. */
static int leave_standard(int descriptor) {
  if (descriptor > STDERR_FILENO) return descriptor;
  int other = fcntl(descriptor, F_DUPFD_CLOEXEC, STDERR_FILENO + 1), failure = errno;
  close(descriptor);
  errno = failure;
  return other;
}

/* The lock is held. */
static Status file_create(Os *os, int opened, const char *path, int flags, OsFile **file) {
  int descriptor = leave_standard(opened);
  if (descriptor < 0) return posix_fail(errno, "open", path);
  Status status = watch_forks();
  if (status == KVSTORE_OK) status = refuse_directory(descriptor, path);
  PosixFile *f = NULL;
  if (status == KVSTORE_OK) {
    size_t length = strlen(path) + 1;
    f = memory_allocate(sizeof *f + length);
    if (f)
      memcpy(f->path, path, length);
    else
      status = status_nomem();
  }
  if (status != KVSTORE_OK) {
    close(descriptor);
    return status;
  }
  f->base = (OsFile){ os->methods, os };
  f->descriptor = descriptor;
  f->readonly = (flags & OS_OPEN_READONLY) != 0;
  enlist(f);
  *file = &f->base;
  return KVSTORE_OK;
}

Status posix_file_create(Os *os, int descriptor, const char *path, int flags, OsFile **file) {
  *file = NULL;
  mutex_lock(&files_lock);
  Status status = file_create(os, descriptor, path, flags, file);
  mutex_unlock(&files_lock);
  return status;
}

/* O_NONBLOCK changes nothing for files; without it, opening a pipe by mistake would wait for its other end. */
static int open_descriptor(const char *path, int flags, mode_t rights) {
  int system_flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (flags & OS_OPEN_READONLY ? O_RDONLY : O_RDWR);
  if (flags & OS_OPEN_CREATE) system_flags |= O_CREAT;
  if (flags & OS_OPEN_EXCLUSIVE) system_flags |= O_EXCL;
  int descriptor;
  do descriptor = open(path, system_flags, rights);
  while (descriptor < 0 && errno == EINTR);
  return descriptor;
}

Status posix_file_open(Os *os, const char *path, const char *name, int flags, OsFile **file) {
  *file = NULL;
  mutex_lock(&files_lock);
  int descriptor = open_descriptor(path, flags, 0644);
  Status status = descriptor < 0 ? posix_fail(errno, "open", name) : file_create(os, descriptor, name, flags, file);
  mutex_unlock(&files_lock);
  return status;
}

/* Linux gives the descriptor back even when close is interrupted; a second close could hit another's. */
void posix_close(OsFile *file) {
  PosixFile *f = posix(file);
  mutex_lock(&files_lock);
  if (f->descriptor >= 0) {
    delist(f);
    close(f->descriptor);
  }
  mutex_unlock(&files_lock);
  memory_release(f);
}

/* Before its rights are set it is its maker's alone, and stays so where the system refuses to set them: nobody is ever
 * let in who is kept out of `of`. A group that could not be given would be another one: it gets what both the group and
 * all others have there. */
static void take_rights(int of, int made) {
  struct stat from, now;
  if (fstat(of, &from) != 0 || fstat(made, &now) != 0) return;
  int ignored = now.st_gid == from.st_gid ? 0 : fchown(made, (uid_t)-1, from.st_gid);
  ignored = now.st_uid == from.st_uid ? ignored : fchown(made, from.st_uid, (gid_t)-1);
  if (fstat(made, &now) != 0) return;
  mode_t mode = from.st_mode & 0777, both = (mode >> 3) & mode & 7;
  if (now.st_gid != from.st_gid) mode = (mode & 0700) | both << 3 | both;
  if (now.st_uid != from.st_uid) mode |= 0600; /* who made it writes there */
  ignored = fchmod(made, mode);
  (void)ignored;
}

/* The lock is held. *made: the file was not there before. */
static int open_or_make(const char *path, int flags, bool *made) {
  int descriptor = -1;
  for (int round = 0; round < 10; round++) {
    descriptor = open_descriptor(path, flags | OS_OPEN_EXCLUSIVE, 0600);
    *made = descriptor >= 0;
    if (*made || errno != EEXIST || flags & OS_OPEN_EXCLUSIVE) break;
    descriptor = open_descriptor(path, flags & ~OS_OPEN_CREATE, 0);
    if (descriptor >= 0 || errno != ENOENT) break; /* else it was unlinked in between */
  }
  return descriptor;
}

/* Rights are set on nothing but what was just made here: the path may lead to a file of somebody else's. */
Status posix_open_beside(OsFile *of, const char *path, int flags, OsFile **file) {
  if (!(flags & OS_OPEN_CREATE)) return posix_file_open(of->os, path, path, flags, file);
  bool made = false;
  *file = NULL;
  mutex_lock(&files_lock);
  int descriptor = open_or_make(path, flags, &made);
  if (made) take_rights(posix(of)->descriptor, descriptor);
  Status status = descriptor < 0 ? posix_fail(errno, "open", path) : file_create(of->os, descriptor, path, flags, file);
  mutex_unlock(&files_lock);
  return status;
}

/* The file itself is opened again through the descriptor: its path may name another file, or none, by now. */
Status posix_reopen(OsFile *file, int flags, OsFile **other) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", posix(file)->descriptor);
  int how = flags & ~(OS_OPEN_CREATE | OS_OPEN_EXCLUSIVE);
  return posix_file_open(file->os, link, posix(file)->path, how, other);
}

Status posix_read(OsFile *file, uint64_t offset, void *bytes, size_t length, size_t *got) {
  *got = 0;
  if (out_of_range(offset, length)) return posix_fail(EINVAL, "read", posix(file)->path);
  while (*got < length) {
    ssize_t n = pread(posix(file)->descriptor, (char *)bytes + *got, length - *got, (off_t)(offset + *got));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return posix_fail(errno, "read", posix(file)->path);
    if (n == 0) break;
    *got += (size_t)n;
  }
  return KVSTORE_OK;
}

static Status not_writable(const PosixFile *file) {
  return status_fail(KVSTORE_READONLY, "%s is open for reading only", file->path);
}

Status posix_write(OsFile *file, uint64_t offset, const void *bytes, size_t length) {
  if (posix(file)->readonly) return not_writable(posix(file));
  if (out_of_range(offset, length)) return posix_fail(EFBIG, "write", posix(file)->path);
  size_t done = 0;
  while (done < length) {
    ssize_t n = pwrite(posix(file)->descriptor, (const char *)bytes + done, length - done, (off_t)(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return posix_fail(n < 0 ? errno : EIO, "write", posix(file)->path);
    done += (size_t)n;
  }
  return KVSTORE_OK;
}

/* Never tried again after an error other than EINTR: Linux has marked the lost pages clean by then. */
Status posix_sync(OsFile *file) {
  int result;
  do result = fdatasync(posix(file)->descriptor);
  while (result != 0 && errno == EINTR);
  return result == 0 ? KVSTORE_OK : posix_fail(errno, "sync", posix(file)->path);
}

/* Where the file system cannot allocate, zeros are written past the end. Holes before the end keep lacking space. */
static Status allocate_by_writing(OsFile *file, uint64_t end) {
  static const uint8_t zeros[65536];
  OsStat now = { 0 };
  TRY(posix_stat_file(file, &now));
  for (uint64_t at = now.size; at < end;) {
    size_t length = end - at < sizeof zeros ? (size_t)(end - at) : sizeof zeros;
    TRY(posix_write(file, at, zeros, length));
    at += length;
  }
  return KVSTORE_OK;
}

/* fallocate, not posix_fallocate: the C library's fallback writes into the middle of the file, where others may write.
 */
Status posix_allocate(OsFile *file, uint64_t offset, uint64_t length) {
  if (posix(file)->readonly) return not_writable(posix(file));
  if (out_of_range(offset, length)) return posix_fail(EFBIG, "allocate space in", posix(file)->path);
  if (length == 0) return KVSTORE_OK;
  int result;
  do result = fallocate(posix(file)->descriptor, 0, (off_t)offset, (off_t)length);
  while (result != 0 && errno == EINTR);
  if (result == 0) return KVSTORE_OK;
  if (errno == EOPNOTSUPP || errno == ENOSYS) return allocate_by_writing(file, offset + length);
  return posix_fail(errno, "allocate space in", posix(file)->path);
}

Status posix_truncate(OsFile *file, uint64_t size) {
  if (posix(file)->readonly) return not_writable(posix(file));
  if (size > INT64_MAX) return posix_fail(EFBIG, "truncate", posix(file)->path);
  int result;
  do result = ftruncate(posix(file)->descriptor, (off_t)size);
  while (result != 0 && errno == EINTR);
  return result == 0 ? KVSTORE_OK : posix_fail(errno, "truncate", posix(file)->path);
}

Status posix_stat_file(OsFile *file, OsStat *out) {
  struct stat found;
  if (fstat(posix(file)->descriptor, &found) != 0) return posix_fail(errno, "look at", posix(file)->path);
  posix_stat_convert(&found, out);
  return KVSTORE_OK;
}

void posix_writeback(OsFile *file, uint64_t offset, uint64_t length, bool wait) {
  if (out_of_range(offset, length)) return;
  unsigned flags = SYNC_FILE_RANGE_WRITE;
  if (wait) flags |= SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WAIT_AFTER;
  sync_file_range(posix(file)->descriptor, (off_t)offset, (off_t)length, flags);
}

Status posix_map(OsFile *file, uint64_t offset, uint64_t length, bool writable, void **address) {
  *address = NULL;
  if (writable && posix(file)->readonly) return not_writable(posix(file));
  if (out_of_range(offset, length)) return posix_fail(EINVAL, "map", posix(file)->path);
  int protection = PROT_READ | (writable ? PROT_WRITE : 0);
  void *mapped = mmap(NULL, length, protection, MAP_SHARED, posix(file)->descriptor, (off_t)offset);
  if (mapped == MAP_FAILED) return posix_fail(errno, "map", posix(file)->path);
  *address = mapped;
  return KVSTORE_OK;
}

void posix_unmap(OsFile *file, void *address, uint64_t length) {
  (void)file;
  if (address) munmap(address, length);
}
