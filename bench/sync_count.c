#define _GNU_SOURCE
#include "bench/sync_count.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES_MAX 65536

static _Atomic uint64_t counted;
static _Atomic unsigned char synced_file[FILES_MAX]; /* opened with O_SYNC or O_DSYNC */

uint64_t sync_count(void) { return atomic_load_explicit(&counted, memory_order_relaxed); }

static void count(void) { atomic_fetch_add_explicit(&counted, 1, memory_order_relaxed); }

static void count_write(int file) {
  if (file >= 0 && file < FILES_MAX && atomic_load_explicit(&synced_file[file], memory_order_relaxed)) count();
}

/* The C library's own function of that name. */
#define NEXT(name, type)                                         \
  static _Atomic(type) next;                                     \
  type call = atomic_load_explicit(&next, memory_order_relaxed); \
  if (!call) atomic_store_explicit(&next, call = (type)(uintptr_t)dlsym(RTLD_NEXT, name), memory_order_relaxed)

typedef int (*SyncCall)(int);

int fsync(int file) {
  NEXT("fsync", SyncCall);
  count();
  return call(file);
}

int fdatasync(int file) {
  NEXT("fdatasync", SyncCall);
  count();
  return call(file);
}

int syncfs(int file) {
  NEXT("syncfs", SyncCall);
  count();
  return call(file);
}

typedef int (*MapSyncCall)(void *, size_t, int);

int msync(void *address, size_t length, int flags) {
  NEXT("msync", MapSyncCall);
  if (flags & MS_SYNC) count();
  return call(address, length, flags);
}

typedef int (*OpenCall)(const char *, int, ...);

static int remember(int file, int flags) {
  if (file >= 0 && file < FILES_MAX)
    atomic_store_explicit(&synced_file[file], (flags & (O_SYNC | O_DSYNC)) != 0, memory_order_relaxed);
  return file;
}

static unsigned mode_of(int flags, va_list arguments) {
  return flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, unsigned) : 0;
}

int open(const char *path, int flags, ...) {
  NEXT("open", OpenCall);
  va_list arguments;
  va_start(arguments, flags);
  unsigned mode = mode_of(flags, arguments);
  va_end(arguments);
  return remember(call(path, flags, mode), flags);
}

int open64(const char *path, int flags, ...) {
  NEXT("open64", OpenCall);
  va_list arguments;
  va_start(arguments, flags);
  unsigned mode = mode_of(flags, arguments);
  va_end(arguments);
  return remember(call(path, flags, mode), flags);
}

typedef ssize_t (*WriteCall)(int, const void *, size_t);
typedef ssize_t (*WriteAtCall)(int, const void *, size_t, off_t);
typedef ssize_t (*WriteVectorCall)(int, const struct iovec *, int);
typedef ssize_t (*WriteVectorAtCall)(int, const struct iovec *, int, off_t);

ssize_t write(int file, const void *bytes, size_t length) {
  NEXT("write", WriteCall);
  count_write(file);
  return call(file, bytes, length);
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t offset) {
  NEXT("pwrite", WriteAtCall);
  count_write(file);
  return call(file, bytes, length, offset);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off_t offset) {
  NEXT("pwrite64", WriteAtCall);
  count_write(file);
  return call(file, bytes, length, offset);
}

ssize_t writev(int file, const struct iovec *parts, int part_count) {
  NEXT("writev", WriteVectorCall);
  count_write(file);
  return call(file, parts, part_count);
}

ssize_t pwritev(int file, const struct iovec *parts, int part_count, off_t offset) {
  NEXT("pwritev", WriteVectorAtCall);
  count_write(file);
  return call(file, parts, part_count, offset);
}
