/* posix.c - the table of the system itself: names, directories, clocks, randomness. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "os/posix_internal.h"

static Status status_of_error(int error) {
  switch (error) {
  case ENOSPC:
  case EDQUOT:
  case EFBIG: return KVSTORE_FULL; /* also what a process is not allowed to write (setrlimit) */
  case ENOENT: return KVSTORE_NOTFOUND;
  case EACCES:
  case EPERM:
  case EROFS: return KVSTORE_READONLY;
  case EEXIST: return KVSTORE_BUSY;
  case ENOMEM: return KVSTORE_NOMEM;
  case EISDIR:
  case ENOTDIR:
  case ENAMETOOLONG:
  case ELOOP:
  case EINVAL: return KVSTORE_ERROR;
  default: return KVSTORE_IO;
  }
}

Status posix_fail(int error, const char *what, const char *path) {
  char text[128];
  return status_fail(status_of_error(error), "cannot %s %s: %s", what, path, strerror_r(error, text, sizeof text));
}

void posix_stat_convert(const struct stat *from, OsStat *to) {
  *to = (OsStat){
    .size = (uint64_t)from->st_size,
    .device = from->st_dev,
    .inode = from->st_ino,
    .link_count = from->st_nlink,
    .rights = from->st_mode & 0777,
    .is_regular = S_ISREG(from->st_mode),
    .is_directory = S_ISDIR(from->st_mode),
  };
}

static Status posix_open(Os *os, const char *path, int flags, OsFile **file) {
  return posix_file_open(os, path, path, flags, file);
}

static Status posix_stat(Os *os, const char *path, OsStat *out) {
  (void)os;
  struct stat found;
  if (stat(path, &found) != 0) return posix_fail(errno, "look at", path);
  posix_stat_convert(&found, out);
  return KVSTORE_OK;
}

static Status posix_unlink(Os *os, const char *path) {
  (void)os;
  return unlink(path) == 0 ? KVSTORE_OK : posix_fail(errno, "remove", path);
}

static Status posix_rename(Os *os, const char *from, const char *to) {
  (void)os;
  if (rename(from, to) == 0) return KVSTORE_OK;
  int error = errno;
  char what[STATUS_NAME_MAX];
  snprintf(what, sizeof what, "rename %.200s to", from);
  return posix_fail(error, what, to);
}

static char *directory_of(const char *path) {
  const char *slash = strrchr(path, '/');
  if (!slash) return memory_copy_string(".");
  size_t length = slash == path ? 1 : (size_t)(slash - path);
  char *directory = memory_allocate(length + 1);
  if (!directory) return NULL;
  memcpy(directory, path, length);
  directory[length] = 0;
  return directory;
}

/* In the directory that is there, under the name that is not. NULL: that is not there either. */
static char *resolve_missing(const char *path) {
  char found[PATH_MAX], *directory = directory_of(path), *joined = NULL;
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
  if (directory && realpath(directory, found)) {
    const char *between = strcmp(found, "/") == 0 ? "" : "/";
    size_t size = strlen(found) + strlen(between) + strlen(name) + 1;
    joined = memory_allocate(size);
    if (joined) snprintf(joined, size, "%s%s%s", found, between, name);
  }
  memory_release(directory);
  return joined;
}

static Status posix_resolve(Os *os, const char *path, char **resolved) {
  (void)os;
  char found[PATH_MAX];
  *resolved = realpath(path, found) ? memory_copy_string(found) : resolve_missing(path);
  if (!*resolved) *resolved = memory_copy_string(path);
  return *resolved ? KVSTORE_OK : status_nomem();
}

/* EINVAL is a file system that has no such thing as a synced directory. */
static Status posix_sync_directory(Os *os, const char *path) {
  (void)os;
  Status status = KVSTORE_OK;
  int descriptor = -1;
  char *directory = directory_of(path);
  if (!directory) return status_nomem();
  do descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  while (descriptor < 0 && errno == EINTR);
  if (descriptor < 0) {
    status = posix_fail(errno, "open the directory", directory);
    goto out;
  }
  int result;
  do result = fsync(descriptor);
  while (result != 0 && errno == EINTR);
  if (result != 0 && errno != EINVAL) status = posix_fail(errno, "sync the directory", directory);

out:
  if (descriptor >= 0) close(descriptor);
  memory_release(directory);
  return status;
}

int64_t posix_now_ms(Os *os) {
  (void)os;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

uint64_t posix_monotonic_ns(Os *os) {
  (void)os;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

Status posix_random(Os *os, void *bytes, size_t length) {
  (void)os;
  uint8_t *at = bytes;
  while (length > 0) {
    ssize_t got = getrandom(at, length, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return posix_fail(errno, "read random bytes from", "the system");
    at += got;
    length -= (size_t)got;
  }
  return KVSTORE_OK;
}

static const OsMethods methods = {
  .open = posix_open,
  .stat = posix_stat,
  .unlink = posix_unlink,
  .rename = posix_rename,
  .sync_directory = posix_sync_directory,
  .now_ms = posix_now_ms,
  .monotonic_ns = posix_monotonic_ns,
  .random = posix_random,
  .close = posix_close,
  .read = posix_read,
  .write = posix_write,
  .sync = posix_sync,
  .allocate = posix_allocate,
  .truncate = posix_truncate,
  .stat_file = posix_stat_file,
  .writeback = posix_writeback,
  .map = posix_map,
  .unmap = posix_unmap,
  .lock = posix_lock,
  .lock_query = posix_lock_query,
  .reopen = posix_reopen,
  .network = posix_network,
  .open_beside = posix_open_beside,
  .resolve = posix_resolve,
};

Os *os_posix(void) {
  static Os os = { &methods };
  return &os;
}
