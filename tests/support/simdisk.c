/* simdisk.c - the simulated disk as an Os. Every method holds the disk's mutex from end to end: what it does to the
 * running content, what it remembers as pending, and what the power says are one step. */
#include "tests/support/simdisk.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/simdisk_internal.h"
#include "tests/support/test.h"

static const int64_t FIRST_NOW_MS = INT64_C(1700000000000);
static const uint64_t DEVICE = UINT64_C(0x51D0000000000000);

typedef struct SimFile {
  OsFile base;
  SimNode *node; /* of `life`; gone in any other */
  uint64_t life;
  bool readonly;
  char *path; /* as it was opened */
} SimFile;

static SimDisk *of_os(Os *os) { return (SimDisk *)os; }
static SimFile *sim_file(OsFile *file) { return (SimFile *)file; }

/* ---- entering and leaving ---- */

static Status lost_power(const char *path) { return status_fail(KVSTORE_IO, "%s: the simulated power is off", path); }

static bool is_dead(SimFile *f) { return f->life != of_os(f->base.os)->life; }

/* A call that only looks. The mutex is held from here on; leave() gives it back, whatever this says. */
static Status enter(SimDisk *disk, SimFile *file, const char *path) {
  mutex_lock(&disk->mutex);
  return disk->power_is_off || (file && is_dead(file)) ? lost_power(path) : KVSTORE_OK;
}

/* Counts a call that changes the disk; true when it is the one in which the power goes. */
static bool count_change(SimDisk *disk) {
  disk->calls++;
  disk->power_is_off = disk->crash_at && disk->calls >= disk->crash_at;
  return disk->power_is_off;
}

static Status enter_change(SimDisk *disk, SimFile *file, const char *path, bool *cut) {
  *cut = false;
  TRY(enter(disk, file, path));
  if (file && file->readonly) return status_fail(KVSTORE_READONLY, "%s is open for reading only", path);
  *cut = count_change(disk);
  return KVSTORE_OK;
}

static Status leave(SimDisk *disk, Status status) {
  mutex_unlock(&disk->mutex);
  return status;
}

static Status leave_change(SimDisk *disk, Status status, const char *path, bool cut) {
  if (cut && status == KVSTORE_OK) status = lost_power(path);
  return leave(disk, status);
}

static void trace(SimDisk *disk, const char *call, const char *path, uint64_t offset, uint64_t length) {
  if (!disk->trace) return;
  fprintf(disk->trace, "%" PRIu64 "%s %s %s %" PRIu64 "+%" PRIu64 "\n", disk->calls, disk->power_is_off ? " (cut)" : "",
          call, path, offset, length);
}

/* ---- names ---- */

static OsFile *file_create(SimDisk *disk, SimNode *node, const char *path, int flags) {
  SimFile *f = sim_allocate(sizeof *f);
  f->base = (OsFile){ disk->base.methods, &disk->base };
  f->node = node;
  f->life = disk->life;
  f->readonly = (flags & OS_OPEN_READONLY) != 0;
  f->path = sim_copy_string(path);
  node->open_count++;
  return &f->base;
}

static Status create_node(SimDisk *disk, const char *path, SimNode **node) {
  TRY(sim_node_create(disk, path, node));
  bool cut = count_change(disk);
  trace(disk, "create", path, 0, 0);
  return cut ? lost_power(path) : KVSTORE_OK;
}

static Status sim_open(Os *os, const char *path, int flags, OsFile **file) {
  SimDisk *disk = of_os(os);
  *file = NULL;
  Status status = enter(disk, NULL, path);
  SimNode *node = NULL;
  if (status == KVSTORE_OK) {
    node = sim_find(disk, path);
    if (node && (flags & OS_OPEN_CREATE) && (flags & OS_OPEN_EXCLUSIVE)) {
      status = status_fail(KVSTORE_BUSY, "cannot open %s: it exists", path);
    } else if (!node && !(flags & OS_OPEN_CREATE)) {
      status = status_fail(KVSTORE_NOTFOUND, "cannot open %s: no such file on the simulated disk", path);
    } else if (!node) {
      status = create_node(disk, path, &node);
    }
  }
  if (status == KVSTORE_OK) *file = file_create(disk, node, path, flags);
  return leave(disk, status);
}

static void fill_stat(SimNode *node, OsStat *out, Status *status) {
  *status = os_stat_file(node->live, out);
  out->device = DEVICE;
  out->inode = node->id;
  out->link_count = node->name != NULL;
}

static Status sim_stat(Os *os, const char *path, OsStat *out) {
  SimDisk *disk = of_os(os);
  Status status = enter(disk, NULL, path);
  if (status != KVSTORE_OK) return leave(disk, status);
  SimNode *node = sim_find(disk, path);
  if (node)
    fill_stat(node, out, &status);
  else
    status = status_fail(KVSTORE_NOTFOUND, "cannot look at %s: no such file on the simulated disk", path);
  return leave(disk, status);
}

static void unlink_node(SimNode *node) {
  free(node->name);
  node->name = NULL;
  sim_node_settle(node);
}

static Status sim_unlink(Os *os, const char *path) {
  SimDisk *disk = of_os(os);
  bool cut;
  Status status = enter_change(disk, NULL, path, &cut);
  if (status != KVSTORE_OK) return leave(disk, status);
  SimNode *node = sim_find(disk, path);
  if (node) {
    sim_pend_name(disk, SIM_UNLINK, path, NULL, node);
    unlink_node(node);
  } else {
    status = status_fail(KVSTORE_NOTFOUND, "cannot remove %s: no such file on the simulated disk", path);
  }
  trace(disk, "unlink", path, 0, 0);
  return leave_change(disk, status, path, cut);
}

static Status sim_rename(Os *os, const char *from, const char *to) {
  SimDisk *disk = of_os(os);
  bool cut;
  Status status = enter_change(disk, NULL, from, &cut);
  if (status != KVSTORE_OK) return leave(disk, status);
  SimNode *node = sim_find(disk, from), *replaced = sim_find(disk, to);
  if (!node) {
    status = status_fail(KVSTORE_NOTFOUND, "cannot rename %s: no such file on the simulated disk", from);
  } else if (node != replaced) {
    sim_pend_name(disk, SIM_RENAME, from, to, node);
    if (replaced) unlink_node(replaced);
    free(node->name);
    node->name = sim_copy_string(to);
  }
  trace(disk, "rename", to, 0, 0);
  return leave_change(disk, status, from, cut);
}

static Status sim_sync_directory(Os *os, const char *path) {
  SimDisk *disk = of_os(os);
  bool cut;
  Status status = enter_change(disk, NULL, path, &cut);
  if (status != KVSTORE_OK) return leave(disk, status);
  if (!cut && !disk->ignore_directory_syncs) sim_sync_names(disk, path);
  trace(disk, "sync_directory", path, 0, 0);
  return leave_change(disk, status, path, cut);
}

/* ---- clocks and randomness ---- */

static int64_t sim_now_ms(Os *os) {
  SimDisk *disk = of_os(os);
  mutex_lock(&disk->mutex);
  int64_t now = disk->now_ms;
  mutex_unlock(&disk->mutex);
  return now;
}

static uint64_t sim_monotonic_ns(Os *os) {
  (void)os;
  return os_monotonic_ns(os_posix());
}

static Status sim_random(Os *os, void *bytes, size_t length) {
  SimDisk *disk = of_os(os);
  mutex_lock(&disk->mutex);
  for (size_t i = 0; i < length; i++) ((uint8_t *)bytes)[i] = (uint8_t)test_random(&disk->random_state);
  return leave(disk, KVSTORE_OK);
}

/* ---- open files ---- */

static void sim_close(OsFile *file) {
  SimFile *f = sim_file(file);
  SimDisk *disk = of_os(file->os);
  mutex_lock(&disk->mutex);
  if (!is_dead(f)) {
    range_locks_drop(&f->node->locks, f);
    f->node->open_count--;
    sim_node_settle(f->node);
  }
  mutex_unlock(&disk->mutex);
  free(f->path);
  free(f);
}

static Status sim_read(OsFile *file, uint64_t offset, void *bytes, size_t length, size_t *got) {
  SimFile *f = sim_file(file);
  *got = 0;
  Status status = enter(of_os(file->os), f, f->path);
  if (status == KVSTORE_OK) status = os_read(f->node->live, offset, bytes, length, got);
  return leave(of_os(file->os), status);
}

/* The limit keeps a wild offset from eating the machine: the durable content is one block of memory. */
static Status check_range(const char *path, uint64_t offset, uint64_t length) {
  const uint64_t limit = UINT64_C(1) << 36;
  if (offset <= limit && length <= limit - offset) return KVSTORE_OK;
  return status_fail(KVSTORE_FULL, "%s: the simulated disk has files of at most 64 GiB", path);
}

static Status sim_write(OsFile *file, uint64_t offset, const void *bytes, size_t length) {
  SimFile *f = sim_file(file);
  SimDisk *disk = of_os(file->os);
  bool cut = false;
  Status status = enter_change(disk, f, f->path, &cut);
  if (status == KVSTORE_OK) status = check_range(f->path, offset, length);
  if (status == KVSTORE_OK) status = os_write(f->node->live, offset, bytes, length);
  if (status == KVSTORE_OK) {
    sim_pend(f->node, SIM_WRITE, offset, length, bytes);
    trace(disk, "write", f->path, offset, length);
  }
  return leave_change(disk, status, f->path, cut);
}

static bool sync_is_ignored(SimDisk *disk, const char *path) {
  bool ignored = disk->ignore_sync_in == 1;
  if (disk->ignore_sync_in > 0) disk->ignore_sync_in--;
  if (disk->ignored_suffix) {
    size_t length = strlen(path), suffix = strlen(disk->ignored_suffix);
    ignored |= length >= suffix && strcmp(path + length - suffix, disk->ignored_suffix) == 0;
  }
  return ignored;
}

/* A file open for reading may be synced too. */
static Status sim_sync(OsFile *file) {
  SimFile *f = sim_file(file);
  SimDisk *disk = of_os(file->os);
  Status status = enter(disk, f, f->path);
  if (status != KVSTORE_OK) return leave(disk, status);
  bool cut = count_change(disk);
  if (!cut) {
    bool ignored = sync_is_ignored(disk, f->path);
    disk->statistics.syncs++;
    disk->statistics.syncs_ignored += ignored;
    trace(disk, ignored ? "sync (ignored)" : "sync", f->path, 0, 0);
    if (!ignored) status = sim_sync_node(f->node);
  } else {
    trace(disk, "sync", f->path, 0, 0);
  }
  return leave_change(disk, status, f->path, cut);
}

static Status sim_allocate_range(OsFile *file, uint64_t offset, uint64_t length) {
  SimFile *f = sim_file(file);
  SimDisk *disk = of_os(file->os);
  bool cut = false;
  Status status = enter_change(disk, f, f->path, &cut);
  if (status == KVSTORE_OK) status = check_range(f->path, offset, length);
  if (status == KVSTORE_OK && length > 0) status = os_allocate(f->node->live, offset, length);
  if (status == KVSTORE_OK && length > 0) {
    sim_pend(f->node, SIM_ALLOCATE, offset, length, NULL);
    trace(disk, "allocate", f->path, offset, length);
  }
  return leave_change(disk, status, f->path, cut);
}

static Status sim_truncate(OsFile *file, uint64_t size) {
  SimFile *f = sim_file(file);
  SimDisk *disk = of_os(file->os);
  bool cut = false;
  Status status = enter_change(disk, f, f->path, &cut);
  if (status == KVSTORE_OK) status = check_range(f->path, size, 0);
  if (status == KVSTORE_OK) status = os_truncate(f->node->live, size);
  if (status == KVSTORE_OK) {
    sim_pend(f->node, SIM_TRUNCATE, size, 0, NULL);
    trace(disk, "truncate", f->path, size, 0);
  }
  return leave_change(disk, status, f->path, cut);
}

static Status sim_stat_file(OsFile *file, OsStat *out) {
  SimFile *f = sim_file(file);
  Status status = enter(of_os(file->os), f, f->path);
  if (status == KVSTORE_OK) fill_stat(f->node, out, &status);
  return leave(of_os(file->os), status);
}

static void sim_writeback(OsFile *file, uint64_t offset, uint64_t length, bool wait) {
  (void)file, (void)offset, (void)length, (void)wait; /* writing out early promises nothing */
}

static Status sim_map(OsFile *file, uint64_t offset, uint64_t length, bool writable, void **address) {
  SimFile *f = sim_file(file);
  *address = NULL;
  Status status = enter(of_os(file->os), f, f->path);
  if (status == KVSTORE_OK && writable && f->readonly) {
    status = status_fail(KVSTORE_READONLY, "%s is open for reading only", f->path);
  }
  if (status == KVSTORE_OK) status = os_map(f->node->live, offset, length, writable, address);
  if (status == KVSTORE_OK) f->node->maps++;
  if (status == KVSTORE_OK && writable) f->node->mapped = true;
  return leave(of_os(file->os), status);
}

static void sim_unmap(OsFile *file, void *address, uint64_t length) {
  os_unmap_closed(os_posix(), address, length);
  if (!file || !address) return;
  SimFile *f = sim_file(file);
  SimDisk *disk = of_os(file->os);
  mutex_lock(&disk->mutex);
  if (!is_dead(f)) f->node->maps--;
  mutex_unlock(&disk->mutex);
}

static Status sim_lock(OsFile *file, uint64_t offset, uint64_t length, OsLock kind) {
  SimFile *f = sim_file(file);
  Status status = enter(of_os(file->os), f, f->path);
  if (status == KVSTORE_OK && kind == OS_LOCK_EXCLUSIVE && f->readonly) {
    status = status_fail(KVSTORE_READONLY, "%s is open for reading only and cannot be locked exclusively", f->path);
  }
  if (status == KVSTORE_OK) status = range_locks_set(&f->node->locks, f, f->path, offset, length, kind);
  return leave(of_os(file->os), status);
}

static Status sim_lock_query(OsFile *file, uint64_t offset, uint64_t length, bool *held, uint64_t *first) {
  SimFile *f = sim_file(file);
  *held = false;
  *first = 0;
  Status status = enter(of_os(file->os), f, f->path);
  if (status == KVSTORE_OK) range_locks_query(&f->node->locks, f, offset, length, held, first);
  return leave(of_os(file->os), status);
}

static Status sim_reopen(OsFile *file, int flags, OsFile **other) {
  SimFile *f = sim_file(file);
  *other = NULL;
  Status status = enter(of_os(file->os), f, f->path);
  if (status == KVSTORE_OK) *other = file_create(of_os(file->os), f->node, f->path, flags);
  return leave(of_os(file->os), status);
}

static const OsMethods methods = {
  .open = sim_open,
  .stat = sim_stat,
  .unlink = sim_unlink,
  .rename = sim_rename,
  .sync_directory = sim_sync_directory,
  .now_ms = sim_now_ms,
  .monotonic_ns = sim_monotonic_ns,
  .random = sim_random,
  .close = sim_close,
  .read = sim_read,
  .write = sim_write,
  .sync = sim_sync,
  .allocate = sim_allocate_range,
  .truncate = sim_truncate,
  .stat_file = sim_stat_file,
  .writeback = sim_writeback,
  .map = sim_map,
  .unmap = sim_unmap,
  .lock = sim_lock,
  .lock_query = sim_lock_query,
  .reopen = sim_reopen,
};

/* ---- the disk ---- */

Status simdisk_create(uint64_t seed, SimDisk **out) {
  *out = NULL;
  SimDisk *disk = sim_allocate(sizeof *disk);
  Status status = os_memory_create(&disk->memory);
  if (status != KVSTORE_OK) {
    free(disk);
    return status;
  }
  disk->base.methods = &methods;
  disk->random_state = seed;
  disk->now_ms = FIRST_NOW_MS;
  mutex_init(&disk->mutex);
  *out = disk;
  return KVSTORE_OK;
}

void simdisk_destroy(SimDisk *disk) {
  if (!disk) return;
  sim_release_state(disk);
  os_memory_destroy(disk->memory);
  mutex_destroy(&disk->mutex);
  free(disk);
}

Os *simdisk_os(SimDisk *disk) { return &disk->base; }

Status simdisk_crash(SimDisk *disk, uint64_t seed) {
  mutex_lock(&disk->mutex);
  if (disk->trace) fprintf(disk->trace, "%" PRIu64 " crash with seed %" PRIu64 "\n", disk->calls, seed);
  return leave(disk, sim_crash(disk, seed));
}

void simdisk_crash_at(SimDisk *disk, uint64_t call) {
  mutex_lock(&disk->mutex);
  disk->crash_at = call;
  mutex_unlock(&disk->mutex);
}

uint64_t simdisk_calls(SimDisk *disk) {
  mutex_lock(&disk->mutex);
  uint64_t calls = disk->calls;
  mutex_unlock(&disk->mutex);
  return calls;
}

bool simdisk_power_is_off(SimDisk *disk) {
  mutex_lock(&disk->mutex);
  bool off = disk->power_is_off;
  mutex_unlock(&disk->mutex);
  return off;
}

SimDiskStatistics simdisk_statistics(SimDisk *disk) {
  mutex_lock(&disk->mutex);
  SimDiskStatistics statistics = disk->statistics;
  mutex_unlock(&disk->mutex);
  return statistics;
}

void simdisk_ignore_sync(SimDisk *disk, uint64_t n) {
  mutex_lock(&disk->mutex);
  disk->ignore_sync_in = n;
  mutex_unlock(&disk->mutex);
}

void simdisk_ignore_syncs_of(SimDisk *disk, const char *suffix) {
  mutex_lock(&disk->mutex);
  free(disk->ignored_suffix);
  disk->ignored_suffix = suffix ? sim_copy_string(suffix) : NULL;
  mutex_unlock(&disk->mutex);
}

void simdisk_ignore_directory_syncs(SimDisk *disk, bool ignore) {
  mutex_lock(&disk->mutex);
  disk->ignore_directory_syncs = ignore;
  mutex_unlock(&disk->mutex);
}

void simdisk_advance(SimDisk *disk, int64_t milliseconds) {
  mutex_lock(&disk->mutex);
  disk->now_ms += milliseconds;
  mutex_unlock(&disk->mutex);
}

void simdisk_trace(SimDisk *disk, FILE *where) {
  mutex_lock(&disk->mutex);
  disk->trace = where;
  mutex_unlock(&disk->mutex);
}

/* ---- from outside ---- */

/* What fails here is the memory Os: out of memory, or out of descriptors. */
static void must(Status status) {
  if (status == KVSTORE_OK) return;
  fprintf(stderr, "simdisk: %s\n", status_last()->text);
  abort();
}

uint8_t *simdisk_read_file(SimDisk *disk, const char *path, size_t *length) {
  SimContent content = { 0 };
  mutex_lock(&disk->mutex);
  SimNode *node = sim_find(disk, path);
  if (node) must(sim_content(node, &content));
  mutex_unlock(&disk->mutex);
  *length = content.size;
  return node && !content.bytes ? sim_allocate(1) : content.bytes;
}

void simdisk_write_file(SimDisk *disk, const char *path, const void *bytes, size_t length) {
  mutex_lock(&disk->mutex);
  SimNode *node = sim_find(disk, path);
  if (!node) must(sim_node_create(disk, path, &node));
  must(os_write(node->live, 0, bytes, length));
  must(os_truncate(node->live, length));
  sim_drop_pending(node);
  sim_set_content(&node->durable, bytes, length);
  sim_forget_name(disk, path);
  sim_set_durable_name(disk, path, node);
  mutex_unlock(&disk->mutex);
}

void simdisk_remove_file(SimDisk *disk, const char *path) {
  mutex_lock(&disk->mutex);
  SimNode *node = sim_find(disk, path);
  if (node) unlink_node(node);
  sim_forget_name(disk, path);
  mutex_unlock(&disk->mutex);
}

SimDisk *simdisk_clone(SimDisk *disk) {
  SimDisk *copy;
  must(simdisk_create(0, &copy));
  mutex_lock(&disk->mutex);
  must(sim_copy_state(disk, copy));
  mutex_unlock(&disk->mutex);
  return copy;
}
