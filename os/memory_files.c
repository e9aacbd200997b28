/* memory_files.c - files without a disk: stores that have no path, and what the simulated disk of the tests keeps its
 * running content in. Each file is a memfd, so that mappings see writes and growth as they do on a real file. A path is
 * a name and nothing else: there are no directories, and nothing outlives the Os. */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/memory.h"
#include "os/posix_internal.h"
#include "os/range_locks.h"
#include "os/thread.h"

typedef struct MemoryNode {
  struct MemoryNode *next;
  char *name; /* NULL: unlinked while open */
  OsFile *data;
  uint64_t inode;
  size_t open_count;
  RangeLocks locks;
} MemoryNode;

typedef struct MemoryOs {
  Os base;
  Mutex mutex; /* names, open counts, locks; never held in a call on `data` */
  MemoryNode *nodes;
  uint64_t device, inodes_used;
} MemoryOs;

typedef struct MemoryFile {
  OsFile base;
  MemoryNode *node;
  bool readonly;
} MemoryFile;

static MemoryOs *memory_os(Os *os) { return (MemoryOs *)os; }
static MemoryNode *node_of(OsFile *file) { return ((MemoryFile *)file)->node; }

static MemoryNode *find_node(MemoryOs *os, const char *name) {
  MemoryNode *node = os->nodes;
  while (node && !(node->name && strcmp(node->name, name) == 0)) node = node->next;
  return node;
}

static void node_free(MemoryNode *node) {
  os_close(node->data);
  range_locks_release(&node->locks);
  memory_release(node->name);
  memory_release(node);
}

/* Gives a node back that nobody can reach any more. */
static void node_collect(MemoryOs *os, MemoryNode *node) {
  if (node->name || node->open_count > 0) return;
  MemoryNode **link = &os->nodes;
  while (*link != node) link = &(*link)->next;
  *link = node->next;
  node_free(node);
}

static void node_unlink(MemoryOs *os, MemoryNode *node) {
  memory_release(node->name);
  node->name = NULL;
  node_collect(os, node);
}

static Status node_create(MemoryOs *os, const char *name, MemoryNode **out) {
  Status status = KVSTORE_OK;
  MemoryNode *node = memory_allocate_zeroed(sizeof *node);
  if (!node) return status_nomem();
  node->name = memory_copy_string(name);
  if (!node->name) {
    status = status_nomem();
    goto out;
  }
  int descriptor = memfd_create("colonnade", MFD_CLOEXEC);
  if (descriptor < 0) {
    status = posix_fail(errno, "make the memory of", name);
    goto out;
  }
  status = posix_file_create(os_posix(), descriptor, name, 0, &node->data);

out:
  if (status != KVSTORE_OK) {
    node_free(node);
    return status;
  }
  node->inode = ++os->inodes_used;
  node->next = os->nodes;
  os->nodes = node;
  *out = node;
  return KVSTORE_OK;
}

/* Under the mutex. */
static Status file_create(Os *os, MemoryNode *node, int flags, OsFile **file) {
  MemoryFile *f = memory_allocate(sizeof *f);
  if (!f) return status_nomem();
  *f = (MemoryFile){ { os->methods, os }, node, (flags & OS_OPEN_READONLY) != 0 };
  node->open_count++;
  *file = &f->base;
  return KVSTORE_OK;
}

static Status find_or_create(MemoryOs *os, const char *path, int flags, MemoryNode **node) {
  *node = find_node(os, path);
  if (*node && (flags & OS_OPEN_CREATE) && (flags & OS_OPEN_EXCLUSIVE)) {
    return status_fail(KVSTORE_BUSY, "cannot open %s: it exists", path);
  }
  if (*node) return KVSTORE_OK;
  if (!(flags & OS_OPEN_CREATE)) return status_fail(KVSTORE_NOTFOUND, "cannot open %s: no such file in memory", path);
  return node_create(os, path, node);
}

static Status memory_open(Os *os, const char *path, int flags, OsFile **file) {
  MemoryOs *m = memory_os(os);
  *file = NULL;
  MemoryNode *node = NULL;
  mutex_lock(&m->mutex);
  uint64_t inodes_before = m->inodes_used;
  Status status = find_or_create(m, path, flags, &node);
  if (status == KVSTORE_OK) {
    status = file_create(os, node, flags, file);
    if (status != KVSTORE_OK && m->inodes_used != inodes_before) node_unlink(m, node);
  }
  mutex_unlock(&m->mutex);
  return status;
}

static Status memory_reopen(OsFile *file, int flags, OsFile **other) {
  MemoryOs *m = memory_os(file->os);
  *other = NULL;
  mutex_lock(&m->mutex);
  Status status = file_create(file->os, node_of(file), flags, other);
  mutex_unlock(&m->mutex);
  return status;
}

static void memory_close(OsFile *file) {
  MemoryOs *m = memory_os(file->os);
  MemoryNode *node = node_of(file);
  mutex_lock(&m->mutex);
  range_locks_drop(&node->locks, file);
  node->open_count--;
  node_collect(m, node);
  mutex_unlock(&m->mutex);
  memory_release(file);
}

static Status node_stat(MemoryOs *os, MemoryNode *node, OsStat *out) {
  TRY(posix_stat_file(node->data, out));
  out->device = os->device;
  out->inode = node->inode;
  out->link_count = node->name != NULL;
  return KVSTORE_OK;
}

static Status memory_stat(Os *os, const char *path, OsStat *out) {
  MemoryOs *m = memory_os(os);
  mutex_lock(&m->mutex);
  MemoryNode *node = find_node(m, path);
  Status status =
    node ? node_stat(m, node, out) : status_fail(KVSTORE_NOTFOUND, "cannot look at %s: no such file in memory", path);
  mutex_unlock(&m->mutex);
  return status;
}

static Status memory_stat_file(OsFile *file, OsStat *out) {
  MemoryOs *m = memory_os(file->os);
  mutex_lock(&m->mutex);
  Status status = node_stat(m, node_of(file), out);
  mutex_unlock(&m->mutex);
  return status;
}

static Status memory_unlink(Os *os, const char *path) {
  MemoryOs *m = memory_os(os);
  Status status = KVSTORE_OK;
  mutex_lock(&m->mutex);
  MemoryNode *node = find_node(m, path);
  if (node)
    node_unlink(m, node);
  else
    status = status_fail(KVSTORE_NOTFOUND, "cannot remove %s: no such file in memory", path);
  mutex_unlock(&m->mutex);
  return status;
}

static Status rename_locked(MemoryOs *m, const char *from, const char *to) {
  MemoryNode *node = find_node(m, from), *replaced = find_node(m, to);
  if (!node) return status_fail(KVSTORE_NOTFOUND, "cannot rename %s: no such file in memory", from);
  if (node == replaced) return KVSTORE_OK;
  char *name = memory_copy_string(to);
  if (!name) return status_nomem();
  if (replaced) node_unlink(m, replaced);
  memory_release(node->name);
  node->name = name;
  return KVSTORE_OK;
}

static Status memory_rename(Os *os, const char *from, const char *to) {
  MemoryOs *m = memory_os(os);
  mutex_lock(&m->mutex);
  Status status = rename_locked(m, from, to);
  mutex_unlock(&m->mutex);
  return status;
}

static Status memory_sync_directory(Os *os, const char *path) {
  (void)os, (void)path;
  return KVSTORE_OK;
}

static Status check_writable(OsFile *file) {
  if (!((MemoryFile *)file)->readonly) return KVSTORE_OK;
  return status_fail(KVSTORE_READONLY, "a file in memory is open for reading only");
}

static Status memory_read(OsFile *file, uint64_t offset, void *bytes, size_t length, size_t *got) {
  return posix_read(node_of(file)->data, offset, bytes, length, got);
}

static Status memory_write(OsFile *file, uint64_t offset, const void *bytes, size_t length) {
  TRY(check_writable(file));
  return posix_write(node_of(file)->data, offset, bytes, length);
}

static Status memory_sync(OsFile *file) {
  (void)file;
  return KVSTORE_OK;
}

static Status memory_allocate_range(OsFile *file, uint64_t offset, uint64_t length) {
  TRY(check_writable(file));
  return posix_allocate(node_of(file)->data, offset, length);
}

static Status memory_truncate(OsFile *file, uint64_t size) {
  TRY(check_writable(file));
  return posix_truncate(node_of(file)->data, size);
}

static void memory_writeback(OsFile *file, uint64_t offset, uint64_t length, bool wait) {
  (void)file, (void)offset, (void)length, (void)wait;
}

static Status memory_map(OsFile *file, uint64_t offset, uint64_t length, bool writable, void **address) {
  *address = NULL;
  if (writable) TRY(check_writable(file));
  return posix_map(node_of(file)->data, offset, length, writable, address);
}

static Status memory_lock(OsFile *file, uint64_t offset, uint64_t length, OsLock kind) {
  if (kind == OS_LOCK_EXCLUSIVE) TRY(check_writable(file));
  MemoryOs *m = memory_os(file->os);
  MemoryNode *node = node_of(file);
  mutex_lock(&m->mutex);
  Status status = range_locks_set(&node->locks, file, "a file in memory", offset, length, kind);
  mutex_unlock(&m->mutex);
  return status;
}

static Status memory_lock_query(OsFile *file, uint64_t offset, uint64_t length, bool *held, uint64_t *first) {
  MemoryOs *m = memory_os(file->os);
  mutex_lock(&m->mutex);
  range_locks_query(&node_of(file)->locks, file, offset, length, held, first);
  mutex_unlock(&m->mutex);
  return KVSTORE_OK;
}

static const OsMethods methods = {
  .open = memory_open,
  .stat = memory_stat,
  .unlink = memory_unlink,
  .rename = memory_rename,
  .sync_directory = memory_sync_directory,
  .now_ms = posix_now_ms,
  .monotonic_ns = posix_monotonic_ns,
  .random = posix_random,
  .close = memory_close,
  .read = memory_read,
  .write = memory_write,
  .sync = memory_sync,
  .allocate = memory_allocate_range,
  .truncate = memory_truncate,
  .stat_file = memory_stat_file,
  .writeback = memory_writeback,
  .map = memory_map,
  .unmap = posix_unmap,
  .lock = memory_lock,
  .lock_query = memory_lock_query,
  .reopen = memory_reopen,
};

/* Devices are numbered down from the highest number, which no system hands out. */
Status os_memory_create(Os **os) {
  static _Atomic uint64_t created;
  *os = NULL;
  MemoryOs *m = memory_allocate_zeroed(sizeof *m);
  if (!m) return status_nomem();
  m->base.methods = &methods;
  m->device = UINT64_MAX - atomic_fetch_add_explicit(&created, 1, memory_order_relaxed);
  mutex_init(&m->mutex);
  *os = &m->base;
  return KVSTORE_OK;
}

void os_memory_destroy(Os *os) {
  if (!os) return;
  MemoryOs *m = memory_os(os);
  while (m->nodes) {
    MemoryNode *node = m->nodes;
    ASSERT(node->open_count == 0, "OS-7");
    m->nodes = node->next;
    node_free(node);
  }
  mutex_destroy(&m->mutex);
  memory_release(m);
}
