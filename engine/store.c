/* store.c - the life of a store in this process: open, recover, join, close (PROC-1 to PROC-5, FILE-2, LOG-1, LOG-3).
 */
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "engine/family_columns.h"
#include "engine/kv_load.h"

enum { JOIN_ROUNDS = 10, JOIN_WAIT_MS = 5000 };

static Mutex registry_lock = MUTEX_INITIALIZER;
static Store *registry;

/* In a forked child: its parent's stores, out of the way. Whoever held the lock is not here. */
static Store *inherited;

static void forget_registry(void) {
  Store **end = &inherited;
  while (*end) end = &(*end)->next;
  *end = registry;
  registry = NULL;
  registry_lock = (Mutex)MUTEX_INITIALIZER;
  kv_loaders_forget_lock();
}

/* Registry's lock held. */
static Status watch_forks(void) {
  static bool watched;
  if (watched) return KVSTORE_OK;
  TRY(process_at_fork(forget_registry));
  watched = true;
  return KVSTORE_OK;
}

void registry_enter(void) { mutex_lock(&registry_lock); }
void registry_leave(void) { mutex_unlock(&registry_lock); }

/* ---- names ---- */

static char *path_with(const char *path, const char *suffix) {
  size_t length = strlen(path), more = strlen(suffix);
  char *out = memory_allocate(length + more + 1);
  if (!out) return NULL;
  memcpy(out, path, length);
  memcpy(out + length, suffix, more + 1);
  return out;
}

static bool name_files(Store *store, const char *path) {
  store->path = path_with(path, "");
  store->log_path = path_with(path, "-wal");
  store->page_path = path_with(path, "-shm");
  store->rewrite_path = path_with(path, "-rewrite");
  store->journal_path = path_with(path, "-journal");
  return store->path && store->log_path && store->page_path && store->rewrite_path && store->journal_path;
}

bool store_has_its_path(Store *store) {
  OsStat named;
  return os_stat(store->os, store->path, &named) == KVSTORE_OK && named.device == store->device &&
         named.inode == store->inode;
}

/* ---- memory ---- */

static Status memory_os_create(MemoryOs **out) {
  MemoryOs *memory = memory_allocate_zeroed(sizeof *memory);
  if (!memory) return status_nomem();
  atomic_init(&memory->references, 1);
  Status status = os_memory_create(&memory->os);
  if (status == KVSTORE_OK)
    *out = memory;
  else
    memory_release(memory);
  return status;
}

MemoryOs *memory_os_retain(MemoryOs *memory) {
  if (memory) atomic_fetch_add_explicit(&memory->references, 1, memory_order_relaxed);
  return memory;
}

static void memory_os_release(MemoryOs *memory) {
  if (!memory || atomic_fetch_sub_explicit(&memory->references, 1, memory_order_acq_rel) != 1) return;
  os_memory_destroy(memory->os);
  memory_release(memory);
}

static void store_free(Store *store) {
  versions_destroy(store);
  wal_window_release(&store->window);
  wal_close(store->wal);
  buffer_release(&store->transaction.record);
  memory_release(store->transaction.touched);
  memory_release(store->transaction.undo);
  memory_release(store->transaction.row_ids);
  if (store->reader_only)
    reader_close(store);
  else if (store->page)
    os_unmap(store->page_file, store->page, SHARED_PAGE_BYTES);
  os_close(store->page_file);
  os_close(store->log_file);
  store_file_close(&store->file);
  store_key_release(store->key);
  buffer_release(&store->unsealed);
  memory_os_release(store->memory);
  memory_release(store->path);
  memory_release(store->log_path);
  memory_release(store->page_path);
  mutex_destroy(&store->follow_lock);
  memory_release(store->rewrite_path);
  memory_release(store->journal_path);
  mutex_destroy(&store->apply_lock);
  mutex_destroy(&store->versions_lock);
  mutex_destroy(&store->orphans_lock);
  mutex_destroy(&store->advance_lock);
  mutex_destroy(&store->build_lock);
  mutex_destroy(&store->work_lock);
  condition_destroy(&store->work_wanted);
  condition_destroy(&store->work_done);
  condition_destroy(&store->sync_wanted);
  memory_release(store);
}

void store_retain(Store *store) { atomic_fetch_add_explicit(&store->references, 1, memory_order_relaxed); }

void store_release(Store *store) {
  if (store_is_inherited(store)) return;
  if (atomic_fetch_sub_explicit(&store->references, 1, memory_order_acq_rel) == 1) store_free(store);
}

Status store_create(const char *path, const StoreOptions *options, Store **out) {
  Store *store = memory_allocate_zeroed(sizeof *store);
  if (!store) return status_nomem();
  atomic_init(&store->references, 1);
  mutex_init(&store->follow_lock);
  mutex_init(&store->apply_lock);
  mutex_init(&store->versions_lock);
  mutex_init(&store->orphans_lock);
  mutex_init(&store->advance_lock);
  mutex_init(&store->build_lock);
  mutex_init(&store->work_lock);
  condition_init(&store->work_wanted);
  condition_init(&store->work_done);
  store->forks = process_forks();
  condition_init(&store->sync_wanted);
  store->os = options->os ? options->os : os_posix();
  store->journal_mode = options->journal_mode;
  store->background = !options->no_background;
  store->grace_ms = options->grace_ms;
  store->log_bytes = options->log_bytes;
  store->packs_every_run = options->compression == COMPRESSION_EVERY_RUN;
  store->compression = options->compression;
  store->sync_interval_ns = (uint64_t)options->sync_interval_ms * 1000000;
  Status status = KVSTORE_OK;
  if (!path) {
    status = memory_os_create(&store->memory);
    if (status == KVSTORE_OK) store->os = store->memory->os;
    path = "memory";
  }
  char *resolved = NULL;
  if (status == KVSTORE_OK) status = os_resolve(store->os, path, &resolved);
  if (status == KVSTORE_OK && !name_files(store, resolved)) status = status_nomem();
  memory_release(resolved);
  if (status == KVSTORE_OK)
    *out = store;
  else
    store_free(store);
  return status;
}

/* ---- superblocks ---- */

/* Under a lock that nobody else changes them below, or by who looks again afterwards. */
static Status reread_superblock(Store *store) {
  uint32_t page;
  SuperblockState state;
  TRY(superblock_read(store->file.file, &store->superblock, &page, &state));
  if (state != SUPERBLOCK_VALID || sealing_is_sealed(store->superblock.sealing) != (store->key != NULL))
    return status_fail(KVSTORE_CORRUPT, "the store's superblocks have changed under it");
  return superblock_check_key(&store->superblock, page, store->key);
}

/* The key of the store whose superblock was read from `page`; a plain one has none. */
static Status find_key(Store *store, uint32_t page, const StoreOptions *options) {
  const Superblock *s = &store->superblock;
  if (!sealing_is_sealed(s->sealing)) return KVSTORE_OK;
  if (!options->password.data) return status_fail(KVSTORE_AUTH_FAILED, "the store is encrypted: it needs a password");
  if (!store->key) TRY(sealing_open(store->os, s->store_id, options->password, s->sealing, &store->key));
  return superblock_check_key(s, page, store->key);
}

/* A creation, or one that was cut off: made anew in one write (FILE-2). */
static Status create_file(Store *store, OsFile *file, const StoreOptions *options) {
  Superblock fresh = { 0 };
  TRY(os_random(store->os, fresh.store_id, sizeof fresh.store_id));
  if (options->password.data)
    TRY(sealing_create(store->os, fresh.store_id, options->password, options->key_cost, fresh.sealing, &store->key));
  TRY(os_truncate(file, 0));
  TRY(superblock_write_both(file, &fresh, store->key));
  CRASH_POINT(create_before_sync);
  TRY(os_sync(file));
  return os_sync_directory(store->os, store->path);
}

/* ---- the manifest, at open ---- */

static Status load_version(Store *store) {
  Manifest *m = NULL;
  TRY(generation_load(store, &m));
  mutex_lock(&store->apply_lock);
  store->applied = store->frozen = m->replay;
  atomic_store_explicit(&store->applied_sequence, m->replay.sequence - 1, memory_order_release);
  Status status = generation_adopt(store, m);
  mutex_unlock(&store->apply_lock);
  manifest_release(m);
  return status;
}

/* ---- the shared page ---- */

static Status map_page(Store *store, int flags) {
  TRY(os_open_beside(store->file.file, store->page_path, flags, &store->page_file));
  if (flags & OS_OPEN_CREATE) TRY(os_allocate(store->page_file, 0, SHARED_PAGE_BYTES));
  OsStat stat;
  TRY(os_stat_file(store->page_file, &stat));
  if (stat.size < SHARED_PAGE_BYTES) return status_fail(KVSTORE_PROTOCOL, "%s is not finished", store->page_path);
  void *address = NULL;
  TRY(os_map(store->page_file, 0, SHARED_PAGE_BYTES, true, &address));
  store->page = address;
  return KVSTORE_OK;
}

static void unmap_page(Store *store) {
  if (store->page) os_unmap(store->page_file, store->page, SHARED_PAGE_BYTES);
  os_close(store->page_file);
  store->page = NULL;
  store->page_file = NULL;
}

/* A number whose life byte nobody holds; what its last holder left is cleared (PROC-2). */
static Status take_number(Store *store) {
  bool died;
  TRY(shared_mutex_lock(&store->page->mutex, &died));
  Status status = KVSTORE_LIMIT;
  for (uint32_t n = 1; n <= SHARED_PROCESSES; n++) {
    if (os_lock(store->file.file, presence_byte + n, 1, OS_LOCK_EXCLUSIVE) != KVSTORE_OK) continue;
    store->process = n;
    shared_page_clear_process(store->page, n);
    status = KVSTORE_OK;
    break;
  }
  shared_mutex_unlock(&store->page->mutex);
  return status == KVSTORE_OK ? status
                              : status_fail(status, "%u processes have %s open", SHARED_PROCESSES, store->path);
}

/* ---- the first process ---- */

static Status discard(Store *store, const char *path) {
  Status status = os_unlink(store->os, path);
  return status == KVSTORE_NOTFOUND ? KVSTORE_OK : status;
}

/* A log that no superblock names. The file of this name may be a copy that was renamed over another, which did name it:
 * that must not come back without its log. */
static Status discard_stale_log(Store *store) {
  OsStat stat;
  Status status = os_stat(store->os, store->log_path, &stat);
  if (status == KVSTORE_NOTFOUND) return KVSTORE_OK;
  TRY(status);
  TRY(os_sync_directory(store->os, store->path));
  return discard(store, store->log_path);
}

static void page_from_recovery(Store *store) {
  SharedPage *page = store->page;
  const Manifest *m = store_manifest(store);
  shared_store(&page->generation, m->generation);
  shared_store(&page->visible, store->applied.sequence - 1);
  shared_store(&page->clock, (uint64_t)m->clock_ms);
  shared_raise(&page->next_extent, m->next_extent_id);
  if (!store->wal) return;
  LogPlace log = superblock_log_place(&store->superblock);
  shared_store(&page->ring_offset, log.ring_offset);
  shared_store(&page->ring_bytes, log.ring_offset ? wal_file_bytes(log.ring_capacity) : 0);
  shared_store(&page->start, log_replay_start(store, m).position);
  shared_store(&page->end, store->applied.position);
  shared_store(&page->synced, store->applied.position);
  shared_store(&page->log_id, wal_log_id(store->wal));
  atomic_store_explicit(&store->log_ready, true, memory_order_release);
}

/* Replays the log that the superblock names and closes its end, so that nothing of a lost future joins on. One that
 * lies where this journal mode has none is begun anew. */
static Status recover(Store *store) {
  const Manifest *m = store_manifest(store);
  TRY(log_open_for_replay(store, m));
  WalCursor start = store->applied;
  bool clean = m->log_id == wal_log_id(store->wal) && m->log_end;
  WalRecovery result;
  TRY(log_recover(store, clean ? m->log_end : WAL_END_UNKNOWN, &result));
  store->log_is_spent = log_is_inside(store) != (store->superblock.ring_offset != 0);
  if (store->log_is_spent) return KVSTORE_OK;
  Status status = wal_append_break(store->wal, &store->applied, start.position, start.position);
  if (status == KVSTORE_FULL) { /* too many recoveries without a checkpoint: begin_log_anew */
    store->log_is_spent = true;
    return KVSTORE_OK;
  }
  TRY(status);
  TRY(wal_rewrite_tail(store->wal, start.position, store->applied.position));
  return wal_sync(store->wal);
}

/* In journal mode WAL path-wal is there from the first open to the last close. */
static Status open_for_the_first_write(Store *store) {
  return log_is_inside(store) ? KVSTORE_OK : log_file_open(store, OS_OPEN_CREATE);
}

/* What the log holds goes into the file, and the log goes. Nobody else has the store. */
static Status begin_log_anew(Store *store) {
  mutex_lock(&store->apply_lock);
  Status status = apply_boundary(store);
  mutex_unlock(&store->apply_lock);
  if (status == KVSTORE_OK) status = maintenance_flush(store);
  TRY(status);
  TRY(superblocks_name_no_log(store));
  log_detach(store);
  os_close(store->log_file);
  store->log_file = NULL;
  store->log_is_spent = false;
  shared_store(&store->page->log_id, 0);
  shared_store(&store->page->start, 0);
  shared_store(&store->page->end, 0);
  shared_store(&store->page->synced, 0);
  TRY(discard(store, store->log_path));
  return open_for_the_first_write(store);
}

/* The locks are on the file that is open; it may not be the one of that name any more (PROC-3). */
static Status check_name(Store *store) {
  OsStat stat;
  Status status = os_stat(store->os, store->path, &stat);
  if (status != KVSTORE_OK && status != KVSTORE_NOTFOUND) return status;
  store->moved = status == KVSTORE_NOTFOUND || stat.device != store->device || stat.inode != store->inode;
  return store->moved ? status_fail(KVSTORE_PROTOCOL, "%s was replaced while it was being opened", store->path)
                      : KVSTORE_OK;
}

/* What was read before the exclusive lock was there may have been another process's last word but one: it may have made
 * a log since, and died. What it wrote last may be in the system's memory alone: what a former superblock names must
 * not be overwritten before the newer one is durable. */
static Status recover_first(Store *store) {
  TRY(check_name(store));
  TRY(os_sync(store->file.file));
  TRY(reread_superblock(store));
  TRY(discard(store, store->page_path));
  TRY(discard(store, store->rewrite_path));
  journal_discard(store);
  if (!store->superblock.log_id || store->superblock.ring_offset) TRY(discard_stale_log(store));
  TRY(map_page(store, OS_OPEN_CREATE | OS_OPEN_EXCLUSIVE));
  TRY(shared_page_init(store->page, store->store_id));
  shared_store(&store->page->next_extent, 1);
  shared_store(&store->page->next_run, 1);
  shared_store(&store->page->journal, (uint64_t)store->journal_mode);
  shared_store(&store->page->log_bytes, store->log_bytes);
  TRY(take_number(store));
  TRY(load_version(store));
  if (store->superblock.log_id)
    TRY(recover(store));
  else
    TRY(open_for_the_first_write(store));
  page_from_recovery(store);
  TRY(space_measure(store));
  if (store->log_is_spent) TRY(begin_log_anew(store));
  TRY(os_sync_directory(store->os, store->path));
  atomic_store_explicit(&store->page->ready, 1, memory_order_release);
  return os_lock(store->file.file, presence_byte, 1, OS_LOCK_SHARED);
}

static Status open_first(Store *store) {
  Status status = recover_first(store);
  if (status != KVSTORE_OK && store->page) { /* what is half made must not be joined */
    Status ignored = os_unlink(store->os, store->page_path);
    (void)ignored;
  }
  return status;
}

/* ---- those who join ---- */

static Status find_page(Store *store) {
  TRY(map_page(store, 0));
  return shared_page_fits(store->page, store->store_id)
           ? KVSTORE_OK
           : status_fail(KVSTORE_PROTOCOL, "%s is not ready", store->page_path);
}

static Status open_joining(Store *store) {
  TRY(take_number(store));
  store->journal_mode = (int)shared_load(&store->page->journal);
  store->log_bytes = shared_load(&store->page->log_bytes);
  mutex_lock(&store->apply_lock);
  Status status = generation_follow_newest(store);
  mutex_unlock(&store->apply_lock);
  if (status == KVSTORE_OK) status = maintenance_inherit_own(store);
  return status == KVSTORE_OK ? store_apply(store) : status;
}

static void wait_a_millisecond(void) {
  _Atomic uint32_t nothing = 0;
  futex_wait(&nothing, 0, 1000000);
}

static uint64_t join_deadline(Store *store) { return os_monotonic_ns(store->os) + (uint64_t)JOIN_WAIT_MS * 1000000; }

static Status lock_presence(OsFile *file, OsLock kind) { return os_lock(file, presence_byte, 1, kind); }

/* Does anybody else have the store open? Who is only about to open it holds no life byte yet. */
static bool others_live(Store *store) {
  bool held = true;
  uint64_t first;
  return os_lock_query(store->file.file, presence_byte + 1, SHARED_PROCESSES, &held, &first) != KVSTORE_OK || held;
}

/* With the shared lock nobody makes the page and nobody takes it away: when it is not there, who has the store open
 * made it beside another name of the file. *joined is false when it is worth beginning again: then nothing is locked
 * any more, or two who come at once would keep each other from being alone. */
static Status join(Store *store, bool *joined) {
  Status status = find_page(store);
  bool found = status == KVSTORE_OK;
  if (found) status = open_joining(store);
  *joined = status != KVSTORE_PROTOCOL && status != KVSTORE_NOTFOUND;
  if (*joined) return status;
  unmap_page(store);
  if (!found && others_live(store))
    return status_fail(KVSTORE_PROTOCOL, "%s is open under another name, or by another build of the library",
                       store->path);
  return os_lock(store->file.file, presence_byte, SHARED_PROCESSES + 1, OS_UNLOCK);
}

/* Who opens or closes the store holds the exclusive lock meanwhile: tried again until it does not. */
static Status enter(Store *store) {
  uint64_t deadline = join_deadline(store);
  do {
    Status status = lock_presence(store->file.file, OS_LOCK_EXCLUSIVE);
    if (status == KVSTORE_OK) return open_first(store);
    if (status == KVSTORE_BUSY) status = lock_presence(store->file.file, OS_LOCK_SHARED);
    if (status == KVSTORE_OK) {
      bool joined;
      TRY(check_name(store));
      status = join(store, &joined);
      if (joined || status != KVSTORE_OK) return status;
    } else if (status != KVSTORE_BUSY) {
      return status;
    }
    wait_a_millisecond();
  } while (os_monotonic_ns(store->os) <= deadline);
  return status_fail(KVSTORE_BUSY, "another process is opening the store");
}

/* ---- opening ---- */

/* How an open goes on when it has to begin again. */
typedef struct Opening {
  bool again;
  bool as_reader; /* this process may not write the file, or cannot make the page beside it */
} Opening;

/* The files beside it have longer names: one that has no room for them makes nothing. */
static Status check_length_of_name(Store *store) {
  OsStat beside;
  Status status = os_stat(store->os, store->rewrite_path, &beside);
  return status == KVSTORE_ERROR ? status : KVSTORE_OK;
}

/* Made in the log of another store, which may be empty still, it would be written over; made where that one has files
 * for a while, it would be removed with them. */
static Status check_not_beside(Store *store) {
  static const char *const endings[] = { "-wal", "-shm", "-journal", "-rewrite" };
  size_t length = strlen(store->path);
  for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
    size_t ending = strlen(endings[i]);
    if (length <= ending || strcmp(store->path + length - ending, endings[i]) != 0) continue;
    char *other = path_with(store->path, "");
    if (!other) return status_nomem();
    other[length - ending] = '\0';
    OsStat stat;
    bool is_there = os_stat(store->os, other, &stat) == KVSTORE_OK && stat.is_regular;
    memory_release(other);
    if (is_there)
      return status_fail(KVSTORE_ERROR, "%s is the name of a file of another store: no new one is made there",
                         store->path);
  }
  return KVSTORE_OK;
}

/* *made: the file was not there before. */
static Status open_or_make(Store *store, const StoreOptions *options, OsFile **file, bool *made) {
  Status status = KVSTORE_BUSY;
  for (int round = 0; status == KVSTORE_BUSY && round < JOIN_ROUNDS; round++) {
    status = options->create_only ? KVSTORE_NOTFOUND : os_open(store->os, store->path, 0, file);
    if (status != KVSTORE_NOTFOUND || options->read_only) return status;
    TRY(check_length_of_name(store));
    TRY(check_not_beside(store));
    status = os_open(store->os, store->path, OS_OPEN_CREATE | OS_OPEN_EXCLUSIVE, file);
    *made = status == KVSTORE_OK;
    if (options->create_only) return status;
  }
  OsStat leads_to;
  if (status == KVSTORE_BUSY && os_stat(store->os, store->path, &leads_to) == KVSTORE_NOTFOUND)
    status = status_fail(KVSTORE_NOTFOUND, "%s is a symbolic link to a file that is not there", store->path);
  return status;
}

static Status refuse_network(Store *store, const char *kind, bool made) {
  if (made && os_unlink(store->os, store->path) != KVSTORE_OK) status_clear();
  return status_fail(KVSTORE_UNSUPPORTED,
                     "%s lies on a network file system (%s), where locks and shared memory do not hold between "
                     "machines; network_allowed opens it for the processes of one machine",
                     store->path, kind);
}

static Status open_file(Store *store, const StoreOptions *options, bool as_reader, OsFile **file) {
  bool made = false;
  Status status = as_reader ? KVSTORE_READONLY : open_or_make(store, options, file, &made);
  if (status == KVSTORE_READONLY && options->read_only) {
    status = os_open(store->os, store->path, OS_OPEN_READONLY, file);
    store->reader_only = status == KVSTORE_OK;
  }
  TRY(status);
  OsStat stat;
  status = os_stat_file(*file, &stat);
  if (status == KVSTORE_OK && !stat.is_regular)
    status = status_fail(KVSTORE_ERROR, "%s is not a regular file", store->path);
  const char *network = status == KVSTORE_OK && !options->network_allowed ? os_network(*file) : NULL;
  if (network) status = refuse_network(store, network, made);
  store->device = stat.device;
  store->inode = stat.inode;
  return status;
}

static Status read_or_create(Store *store, OsFile *file, const StoreOptions *options) {
  uint32_t page;
  SuperblockState state;
  TRY(superblock_read(file, &store->superblock, &page, &state));
  if (state == SUPERBLOCK_VALID) return find_key(store, page, options);
  if (options->read_only) return status_fail(KVSTORE_CORRUPT, "%s holds no store yet", store->path);
  TRY(check_not_beside(store));
  TRY(create_file(store, file, options));
  return superblock_read(file, &store->superblock, &page, &state);
}

static bool being_made(Store *store, OsFile *file) {
  bool held = false;
  uint64_t first;
  return !store->reader_only || (os_lock_query(file, presence_byte, 1, &held, &first) == KVSTORE_OK && held);
}

/* The locks are taken before the file is read for good; a creation is made under the exclusive one. Who does not get it
 * finds the store of the others, or waits while they make it. */
static Status read_locked(Store *store, OsFile *file, const StoreOptions *options) {
  uint64_t deadline = join_deadline(store);
  for (;;) {
    Status locked = store->reader_only ? KVSTORE_BUSY : lock_presence(file, OS_LOCK_EXCLUSIVE);
    if (locked == KVSTORE_OK) return read_or_create(store, file, options);
    if (locked != KVSTORE_BUSY) return locked;
    Status status = read_or_create(store, file, &(StoreOptions){ .read_only = true, .password = options->password });
    if (status != KVSTORE_CORRUPT || !being_made(store, file) || os_monotonic_ns(store->os) > deadline) return status;
    wait_a_millisecond();
  }
}

static Status open_alone(Store *store, OsFile *file, const StoreOptions *options) {
  Status status = read_locked(store, file, options);
  uint64_t cache_bytes = options->cache_bytes ? options->cache_bytes : BLOCK_CACHE_BYTES_DEFAULT;
  if (status == KVSTORE_OK)
    status = store_file_open(&store->file, file, store->superblock.store_id, store->key, options->no_map, cache_bytes);
  if (status != KVSTORE_OK) {
    os_close(file);
    return status;
  }
  memcpy(store->store_id, store->superblock.store_id, sizeof store->store_id);
  return store->reader_only ? reader_open(store) : enter(store);
}

static Store *registered(Os *os, uint64_t device, uint64_t inode, bool reader_only) {
  for (Store *s = registry; s; s = s->next)
    if (s->os == os && s->device == device && s->inode == inode && s->reader_only == reader_only) return s;
  return NULL;
}

/* A second session of this process proves its password as the first one did. */
static Status prove(Store *known, const StoreOptions *options) {
  if (!known->key)
    return options->password.data
             ? status_fail(KVSTORE_BUSY, "%s is open without a password: it can be encrypted when nobody has it open",
                           known->path)
             : KVSTORE_OK;
  if (!options->password.data) return status_fail(KVSTORE_AUTH_FAILED, "the store is encrypted: it needs a password");
  Superblock superblock;
  uint32_t page;
  StoreKey *proof = NULL;
  TRY(newest_superblock(known, &superblock, &page));
  TRY(sealing_open(known->os, known->store_id, options->password, superblock.sealing, &proof));
  bool same = store_key_equal(known->key, proof);
  store_key_release(proof);
  return same ? KVSTORE_OK : status_fail(KVSTORE_CORRUPT, "the store's superblocks have changed under it");
}

Status store_open_registered(const StoreOptions *options, bool as_reader, Store **store) {
  OsFile *file = NULL;
  Store *opening = *store;
  TRY(watch_forks());
  Status status = open_file(opening, options, as_reader, &file);
  if (status != KVSTORE_OK) {
    os_close(file);
    return status;
  }
  Store *known = registered(opening->os, opening->device, opening->inode, opening->reader_only);
  if (known) {
    os_close(file);
    store_release(opening);
    store_retain(known);
    *store = known;
    TRY(prove(known, options));
  } else {
    TRY(open_alone(opening, file, options));
    if (options->password.data && !opening->key) return store_seal_in_place(opening, options);
    opening->next = registry;
    registry = opening;
  }
  (*store)->sessions++;
  return KVSTORE_OK;
}

enum { NAMED_BYTES_MAX = 300 }; /* of a path in a message, which has room for the reason too */

/* What is found wrong deep below says where in the file, and not always in which. */
static void say_which_store(const Store *store, Status status) {
  bool named = store->memory || strstr(status_last()->text, store->path);
  if (!named && status != KVSTORE_NOMEM) status_record_context(status, "%.*s", NAMED_BYTES_MAX, store->path);
}

/* Again, when another file lay at the path at last, or as a reader without rights. */
static Status open_once(const char *path, const StoreOptions *options, Store **out, Opening *opening) {
  Store *store = NULL;
  TRY(store_create(path, options, &store));
  registry_enter();
  Status status = store_open_registered(options, opening->as_reader, &store);
  registry_leave();
  if (status != KVSTORE_OK) {
    /* No right or room for the page, or for what recovery writes; no number left. */
    bool cannot_join = status == KVSTORE_READONLY || status == KVSTORE_FULL || status == KVSTORE_LIMIT;
    bool may_not = cannot_join && options->read_only && !store->reader_only;
    opening->again = store->moved || may_not;
    opening->as_reader = may_not;
    say_which_store(store, status);
    store_release(store);
    return status;
  }
  bool waiting = atomic_load_explicit(&store->rows_waiting, memory_order_relaxed) > UNRESOLVED_MAX;
  if (!store->reader_only && (waiting || store_has_frozen(store) || compaction_lags(store))) maintenance_ask(store);
  *out = store;
  return KVSTORE_OK;
}

Status store_open(const char *path, const StoreOptions *options, Store **out) {
  Opening opening = { .again = true };
  Status status = KVSTORE_OK;
  for (int round = 0; opening.again && round < JOIN_ROUNDS; round++) {
    opening.again = false;
    status = open_once(path, options, out, &opening);
  }
  return status;
}

void store_share(Store *store) {
  registry_enter();
  store->sessions++;
  store_retain(store);
  registry_leave();
}

/* ---- closing ---- */

Status store_settle(Store *store) {
  if (shared_load(&store->page->failed))
    return status_fail(KVSTORE_IO, "a write has failed: what the log holds stays in the log");
  if (!shared_load(&store->page->log_id)) return KVSTORE_OK;
  bool died;
  TRY(shared_mutex_lock(&store->page->mutex, &died));
  Status status = store_apply(store);
  if (status == KVSTORE_OK && store->wal && shared_load(&store->page->end) > store->frozen.position)
    status = boundary_append(store);
  shared_mutex_unlock(&store->page->mutex);
  return status == KVSTORE_OK && store_has_frozen(store) ? maintenance_flush(store) : status;
}

/* The side file that this process has open is still the one of that name. */
static void unlink_own(Store *store, const char *path, OsFile *file) {
  OsStat own, named;
  if (!file || os_stat_file(file, &own) != KVSTORE_OK || os_stat(store->os, path, &named) != KVSTORE_OK) return;
  if (own.device != named.device || own.inode != named.inode) return;
  Status ignored = os_unlink(store->os, path); /* a stale side file does no harm */
  (void)ignored;
}

Status store_close_last(Store *store) {
  TRY(store_settle(store));
  if (shared_load(&store->page->log_id) || shared_load(&store->page->ring_bytes)) TRY(superblocks_name_no_log(store));
  TRY(space_trim(store));
  CRASH_POINT(close_before_unlink);
  unlink_own(store, store->log_path, store->log_file);
  journal_discard(store);
  unlink_own(store, store->page_path, store->page_file);
  return os_sync_directory(store->os, store->path);
}

/* Nobody keeps the reservations of a process that leaves. */
static Status name_orphans(Store *store) {
  Status status = KVSTORE_OK;
  if (space_sweep_orphans(store) && !shared_load(&store->page->failed)) {
    status = maintenance_take(store, true);
    if (status == KVSTORE_OK) {
      status = vacuum_name_orphans(store);
      maintenance_give(store);
    }
  }
  space_end_orphans(store, UINT64_MAX);
  return status;
}

Status store_shut_down(Store *store) {
  maintenance_stop(store);
  Status synced = sync_timer_stop(store);
  if (store->reader_only) return KVSTORE_OK;
  TRY(version_holds_leave_slots(store)); /* else the process stays present until the last of them is given back */
  Status named = name_orphans(store);
  Status status = !others_live(store) && shared_load(&store->page->write_word) == 0 ? store_settle(store) : KVSTORE_OK;
  if (os_lock(store->file.file, presence_byte, 1, OS_LOCK_EXCLUSIVE) == KVSTORE_OK && status == KVSTORE_OK)
    status = store_close_last(store);
  Status unlocked = os_lock(store->file.file, presence_byte, SHARED_PROCESSES + 1, OS_UNLOCK);
  if (status == KVSTORE_OK) status = synced;
  if (status == KVSTORE_OK) status = named;
  return status == KVSTORE_OK ? unlocked : status;
}

void store_forget(Store *store) {
  for (Store **link = &registry; *link; link = &(*link)->next) {
    if (*link != store) continue;
    *link = store->next;
    return;
  }
}

Status store_leave(Store *store) {
  Status status = KVSTORE_OK;
  registry_enter();
  if (--store->sessions == 0) {
    store_forget(store);
    status = store_shut_down(store);
  }
  registry_leave();
  store_release(store);
  return status;
}
