#include "tests/support/fault_os.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "os/thread.h"

struct FaultOs {
  Os base;
  Os *under;
  Mutex mutex;
  uint64_t calls[FAULT_CALLS];
  uint64_t failures, fail_at;
  FaultCall which; /* FAULT_CALLS: not armed */
  FaultHow how;
  bool sticky;
};

typedef struct FaultFile {
  OsFile base;
  OsFile *under;
} FaultFile;

static FaultOs *of_os(Os *os) { return (FaultOs *)os; }
static FaultOs *of_file(OsFile *file) { return of_os(file->os); }
static OsFile *under(OsFile *file) { return ((FaultFile *)file)->under; }

/* Counts a call and says whether it is the one to fail. */
static bool fails(FaultOs *f, FaultCall call, FaultHow *how) {
  mutex_lock(&f->mutex);
  f->calls[call]++;
  f->calls[FAULT_ANY]++;
  bool hit = (f->which == call || f->which == FAULT_ANY) &&
             (f->calls[f->which] == f->fail_at || (f->sticky && f->calls[f->which] > f->fail_at));
  if (hit) f->failures++;
  if (hit && f->how == FAULT_KILL) kill(getpid(), SIGKILL);
  *how = f->how;
  mutex_unlock(&f->mutex);
  return hit;
}

static Status injected(FaultCall call, FaultHow how, bool takes_space) {
  Status code = how == FAULT_NO_SPACE && takes_space ? KVSTORE_FULL : KVSTORE_IO;
  return status_fail(code, "an injected fault of %s", fault_call_name(call));
}

/* Returns from the method when this call is the one to fail. */
#define FAULT(fault, call, takes_space)                                              \
  do {                                                                               \
    FaultHow how_;                                                                   \
    if (fails((fault), (call), &how_)) return injected((call), how_, (takes_space)); \
  } while (0)

static Status wrap(Os *os, OsFile *inner, OsFile **file) {
  FaultFile *f = malloc(sizeof *f);
  if (!f) {
    os_close(inner);
    return status_nomem();
  }
  *f = (FaultFile){ { os->methods, os }, inner };
  *file = &f->base;
  return KVSTORE_OK;
}

static Status fault_open(Os *os, const char *path, int flags, OsFile **file) {
  *file = NULL;
  FAULT(of_os(os), FAULT_OPEN, flags & OS_OPEN_CREATE);
  OsFile *inner;
  TRY(os_open(of_os(os)->under, path, flags, &inner));
  return wrap(os, inner, file);
}

static Status fault_open_beside(OsFile *of, const char *path, int flags, OsFile **file) {
  *file = NULL;
  FAULT(of_file(of), FAULT_OPEN, flags & OS_OPEN_CREATE);
  OsFile *inner;
  TRY(os_open_beside(under(of), path, flags, &inner));
  return wrap(of->os, inner, file);
}

static Status fault_stat(Os *os, const char *path, OsStat *out) {
  FAULT(of_os(os), FAULT_STAT, false);
  return os_stat(of_os(os)->under, path, out);
}

static Status fault_unlink(Os *os, const char *path) {
  FAULT(of_os(os), FAULT_UNLINK, false);
  return os_unlink(of_os(os)->under, path);
}

static Status fault_rename(Os *os, const char *from, const char *to) {
  FAULT(of_os(os), FAULT_RENAME, true);
  return os_rename(of_os(os)->under, from, to);
}

static Status fault_sync_directory(Os *os, const char *path) {
  FAULT(of_os(os), FAULT_SYNC_DIRECTORY, false);
  return os_sync_directory(of_os(os)->under, path);
}

static int64_t fault_now_ms(Os *os) { return os_now_ms(of_os(os)->under); }
static uint64_t fault_monotonic_ns(Os *os) { return os_monotonic_ns(of_os(os)->under); }

static Status fault_random(Os *os, void *bytes, size_t length) {
  FAULT(of_os(os), FAULT_RANDOM, false);
  return os_random(of_os(os)->under, bytes, length);
}

static void fault_close(OsFile *file) {
  os_close(under(file));
  free(file);
}

static Status fault_read(OsFile *file, uint64_t offset, void *bytes, size_t length, size_t *got) {
  *got = 0;
  FAULT(of_file(file), FAULT_READ, false);
  return os_read(under(file), offset, bytes, length, got);
}

static Status fault_write(OsFile *file, uint64_t offset, const void *bytes, size_t length) {
  FaultHow how;
  if (fails(of_file(file), FAULT_WRITE, &how)) {
    if (how == FAULT_SHORT && length > 1) TRY(os_write(under(file), offset, bytes, length / 2));
    return injected(FAULT_WRITE, how, true);
  }
  return os_write(under(file), offset, bytes, length);
}

static Status fault_sync(OsFile *file) {
  FAULT(of_file(file), FAULT_SYNC, false);
  return os_sync(under(file));
}

static Status fault_allocate(OsFile *file, uint64_t offset, uint64_t length) {
  FAULT(of_file(file), FAULT_ALLOCATE, true);
  return os_allocate(under(file), offset, length);
}

static Status fault_truncate(OsFile *file, uint64_t size) {
  FAULT(of_file(file), FAULT_TRUNCATE, true);
  return os_truncate(under(file), size);
}

static Status fault_stat_file(OsFile *file, OsStat *out) {
  FAULT(of_file(file), FAULT_STAT_FILE, false);
  return os_stat_file(under(file), out);
}

static void fault_writeback(OsFile *file, uint64_t offset, uint64_t length, bool wait) {
  os_writeback(under(file), offset, length, wait);
}

static Status fault_map(OsFile *file, uint64_t offset, uint64_t length, bool writable, void **address) {
  *address = NULL;
  FAULT(of_file(file), FAULT_MAP, false);
  return os_map(under(file), offset, length, writable, address);
}

/* Every Os unmaps without the file (it may be closed), and all of them in the same way: through the system. */
static void fault_unmap(OsFile *file, void *address, uint64_t length) {
  if (file)
    os_unmap(under(file), address, length);
  else
    os_unmap_closed(os_posix(), address, length);
}

static Status fault_lock(OsFile *file, uint64_t offset, uint64_t length, OsLock kind) {
  FAULT(of_file(file), FAULT_LOCK, false);
  return os_lock(under(file), offset, length, kind);
}

static Status fault_lock_query(OsFile *file, uint64_t offset, uint64_t length, bool *held, uint64_t *first) {
  FAULT(of_file(file), FAULT_LOCK_QUERY, false);
  return os_lock_query(under(file), offset, length, held, first);
}

static Status fault_reopen(OsFile *file, int flags, OsFile **other) {
  *other = NULL;
  FAULT(of_file(file), FAULT_REOPEN, false);
  OsFile *inner;
  TRY(os_reopen(under(file), flags, &inner));
  return wrap(file->os, inner, other);
}

static const OsMethods methods = {
  .open = fault_open,
  .stat = fault_stat,
  .unlink = fault_unlink,
  .rename = fault_rename,
  .sync_directory = fault_sync_directory,
  .now_ms = fault_now_ms,
  .monotonic_ns = fault_monotonic_ns,
  .random = fault_random,
  .close = fault_close,
  .read = fault_read,
  .write = fault_write,
  .sync = fault_sync,
  .allocate = fault_allocate,
  .truncate = fault_truncate,
  .stat_file = fault_stat_file,
  .writeback = fault_writeback,
  .map = fault_map,
  .unmap = fault_unmap,
  .lock = fault_lock,
  .lock_query = fault_lock_query,
  .reopen = fault_reopen,
  .open_beside = fault_open_beside,
};

Status fault_os_create(Os *below, FaultOs **out) {
  FaultOs *f = calloc(1, sizeof *f);
  *out = f;
  if (!f) return status_nomem();
  f->base.methods = &methods;
  f->under = below;
  f->which = FAULT_CALLS;
  mutex_init(&f->mutex);
  return KVSTORE_OK;
}

void fault_os_destroy(FaultOs *fault) {
  if (!fault) return;
  mutex_destroy(&fault->mutex);
  free(fault);
}

Os *fault_os(FaultOs *fault) { return &fault->base; }

void fault_os_arm(FaultOs *fault, FaultCall which, uint64_t n, FaultHow how, bool sticky) {
  mutex_lock(&fault->mutex);
  for (int i = 0; i < FAULT_CALLS; i++) fault->calls[i] = 0;
  fault->failures = 0;
  fault->which = which;
  fault->fail_at = n;
  fault->how = how;
  fault->sticky = sticky;
  mutex_unlock(&fault->mutex);
}

void fault_os_disarm(FaultOs *fault) {
  mutex_lock(&fault->mutex);
  fault->which = FAULT_CALLS;
  mutex_unlock(&fault->mutex);
}

uint64_t fault_os_calls(FaultOs *fault, FaultCall which) {
  mutex_lock(&fault->mutex);
  uint64_t calls = fault->calls[which];
  mutex_unlock(&fault->mutex);
  return calls;
}

uint64_t fault_os_failures(FaultOs *fault) {
  mutex_lock(&fault->mutex);
  uint64_t failures = fault->failures;
  mutex_unlock(&fault->mutex);
  return failures;
}

const char *fault_call_name(FaultCall which) {
  static const char *const names[FAULT_CALLS] = {
    "open",     "stat",     "unlink",    "rename", "sync_directory", "random",     "read",   "write",    "sync",
    "allocate", "truncate", "stat_file", "map",    "lock",           "lock_query", "reopen", "any call",
  };
  return names[which];
}
