/* reader.c - a process that may not write: it follows the others without a word of its own (PROC-4).
 *
 * It has no presence, no number and no slot. Its page is memory of its own: before each snapshot it looks at what the
 * others did and copies that into its page, so that the rest of the engine finds there what it finds in a shared one.
 *
 *   somebody writes     a life byte is held, and path-shm is ready: its words say how far log and generations are
 *   nobody does         the superblocks say it, and the log for as far as it goes
 *
 * What it reads is pinned by locks on generations, which need no right to write (version.c). Whatever it loads may be
 * overtaken by a writer meanwhile: then it fails, or is found to be of several moments, and is loaded again. */
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine_internal.h"

enum { TRIES = 20 };

/* ---- the page of the others ---- */

static Status somebody_lives(Store *store, bool *lives) {
  uint64_t first;
  *lives = true;
  return os_lock_query(store->file.file, presence_byte + 1, SHARED_PROCESSES, lives, &first);
}

/* Theirs, when it is there, finished, and readable by this process; else *page is NULL. */
static Status map_theirs(Store *store, OsFile **file, SharedPage **page) {
  OsStat stat;
  void *address = NULL;
  *page = NULL;
  Status status = os_open(store->os, store->page_path, OS_OPEN_READONLY, file);
  if (status == KVSTORE_NOTFOUND || status == KVSTORE_READONLY) return KVSTORE_OK;
  TRY(status);
  status = os_stat_file(*file, &stat);
  if (status == KVSTORE_OK && stat.size >= SHARED_PAGE_BYTES)
    status = os_map(*file, 0, SHARED_PAGE_BYTES, false, &address);
  if (address && shared_page_fits(address, store->store_id)) {
    *page = address;
    return KVSTORE_OK;
  }
  if (address) os_unmap(*file, address, SHARED_PAGE_BYTES);
  os_close(*file);
  return status;
}

/* It was unlinked: by the last one to close, or by who came after the last had died. */
static bool theirs_is_over(Store *store) {
  OsStat stat;
  return os_stat_file(store->page_file, &stat) != KVSTORE_OK || stat.link_count == 0;
}

static void forget_theirs(Store *store) {
  if (!store->followed) return;
  mutex_lock(&store->apply_lock);
  os_unmap(store->page_file, store->followed, SHARED_PAGE_BYTES);
  os_close(store->page_file);
  store->followed = NULL;
  store->page_file = NULL;
  mutex_unlock(&store->apply_lock);
}

/* In the order that makes each word cover those before: `visible` the generation's boundary, `end` what is visible. */
static void copy_words(Store *store) {
  SharedPage *from = store->followed, *to = store->page;
  uint64_t generation = shared_load(&from->generation), visible = shared_load(&from->visible);
  uint64_t end = shared_load(&from->end);
  shared_raise(&to->clock, shared_load(&from->clock));
  shared_raise(&to->start, shared_load(&from->start));
  shared_raise(&to->end, end);
  shared_raise(&to->visible, visible);
  shared_raise(&to->generation, generation);
}

uint64_t log_start_now(Store *store) {
  if (UNLIKELY(store->followed != NULL)) shared_raise(&store->page->start, shared_load(&store->followed->start));
  return shared_load(&store->page->start);
}

/* ---- words of one's own ---- */

static void set_words(Store *store, const LogPlace *log, uint64_t start, uint64_t end, uint64_t visible,
                      uint64_t generation) {
  SharedPage *page = store->page;
  shared_store(&page->log_id, log->log_id);
  shared_store(&page->ring_offset, log->ring_offset);
  shared_store(&page->ring_bytes, log->ring_offset ? wal_file_bytes(log->ring_capacity) : 0);
  shared_store(&page->start, start);
  shared_store(&page->end, end);
  shared_store(&page->visible, visible);
  shared_store(&page->generation, generation);
}

/* Another file may lie at the log's path by now. Apply lock held. */
static void forget_log(Store *store) {
  log_detach(store);
  os_close(store->log_file);
  store->log_file = NULL;
}

/* ---- while somebody writes ---- */

static Status start_over_with_theirs(Store *store, SharedPage *theirs) {
  store->look_anew = true; /* until all of it has succeeded */
  forget_log(store);
  TRY(generation_start_over(store));
  uint64_t generation = shared_load(&theirs->generation), visible = shared_load(&theirs->visible);
  LogPlace log = shared_log_place(theirs);
  set_words(store, &log, log.log_id ? shared_load(&theirs->start) : 0, log.log_id ? shared_load(&theirs->end) : 0,
            visible, generation);
  TRY(log_follow(store));
  store->look_anew = false;
  return KVSTORE_OK;
}

/* The log that is known goes on, or is another one now. */
static Status begin_with_theirs(Store *store, OsFile *file, SharedPage *theirs) {
  COUNT(reader_attaches);
  mutex_lock(&store->apply_lock);
  store->page_file = file;
  store->followed = theirs;
  uint64_t log_id = shared_load(&theirs->log_id);
  Status status = KVSTORE_OK;
  if (store->look_anew || !store->wal || wal_log_id(store->wal) != log_id)
    status = start_over_with_theirs(store, theirs);
  mutex_unlock(&store->apply_lock);
  return status;
}

static Status follow_theirs(Store *store) {
  uint64_t log_id = shared_load(&store->followed->log_id);
  if (UNLIKELY(store->look_anew || log_id != shared_load(&store->page->log_id))) {
    mutex_lock(&store->apply_lock);
    Status status = start_over_with_theirs(store, store->followed);
    mutex_unlock(&store->apply_lock);
    TRY(status);
  }
  copy_words(store);
  return KVSTORE_OK;
}

/* ---- while nobody does ---- */

static Status read_superblock(Store *store, Superblock *out) {
  uint32_t page;
  SuperblockState state;
  TRY(superblock_read(store->file.file, out, &page, &state));
  if (state != SUPERBLOCK_VALID || memcmp(out->store_id, store->store_id, sizeof store->store_id) != 0)
    return status_fail(KVSTORE_CORRUPT, "the store's superblocks have changed under it");
  return KVSTORE_OK;
}

static bool same_state(const Superblock *a, const Superblock *b) {
  return a->generation == b->generation && a->log_id == b->log_id;
}

static Status overtaken(void) { return status_fail(KVSTORE_BUSY, "the store changes faster than it can be read"); }

static Status replay_all(Store *store, const Manifest *m) {
  TRY(log_open_for_replay(store, m));
  bool clean = m->log_id == wal_log_id(store->wal) && m->log_end;
  WalRecovery result;
  return log_recover_locked(store, clean ? m->log_end : WAL_END_UNKNOWN, &result);
}

/* Apply lock held. */
static Status start_over_alone(Store *store) {
  store->look_anew = true;
  forget_log(store);
  TRY(generation_start_over(store));
  TRY(read_superblock(store, &store->superblock));
  const Manifest *m = store_manifest(store);
  if (m->generation != store->superblock.generation) return overtaken();
  if (store->superblock.log_id) TRY(replay_all(store, m));
  Superblock after;
  TRY(read_superblock(store, &after));
  if (!same_state(&after, &store->superblock)) return overtaken();
  store->look_anew = false;
  return KVSTORE_OK;
}

/* Somebody may have come, written and died since the last look: the superblocks are as they were, the log goes on. */
static Status look_alone(Store *store) {
  Superblock now;
  TRY(read_superblock(store, &now));
  mutex_lock(&store->apply_lock);
  Status status = KVSTORE_OK;
  if (store->look_anew || !same_state(&now, &store->superblock))
    status = start_over_alone(store);
  else if (store->wal)
    status = log_follow_tail(store);
  if (status == KVSTORE_OK) {
    const Manifest *m = store_manifest(store);
    shared_raise(&store->page->clock, (uint64_t)m->clock_ms);
    LogPlace log = superblock_log_place(&store->superblock);
    set_words(store, &log, store->wal ? log_replay_start(store, m).position : 0,
              store->wal ? store->applied.position : 0, store->applied.sequence - 1, m->generation);
  }
  mutex_unlock(&store->apply_lock);
  return status;
}

/* ---- looking ---- */

static Status look(Store *store) {
  if (store->followed && theirs_is_over(store)) forget_theirs(store);
  if (!store->followed) {
    bool lives;
    OsFile *file = NULL;
    SharedPage *theirs = NULL;
    TRY(somebody_lives(store, &lives)); /* before the page is opened: who lives has made the one that is there */
    if (lives) TRY(map_theirs(store, &file, &theirs));
    if (!theirs) return look_alone(store);
    TRY(begin_with_theirs(store, file, theirs));
  }
  return follow_theirs(store);
}

Status reader_look(Store *store) {
  mutex_lock(&store->follow_lock);
  Status status = look(store);
  mutex_unlock(&store->follow_lock);
  return status;
}

Status reader_try_again(Store *store, Status status, uint32_t *failures) {
  if (!store->reader_only || status == KVSTORE_NOMEM || ++*failures >= TRIES) return status;
  COUNT(reader_retries);
  mutex_lock(&store->follow_lock);
  store->look_anew = true;
  mutex_unlock(&store->follow_lock);
  _Atomic uint32_t nothing = 0;
  if (*failures > 1) futex_wait(&nothing, 0, *failures * UINT64_C(1000000));
  return KVSTORE_OK;
}

/* ---- life ---- */

Status reader_open(Store *store) {
  store->page = memory_allocate_zeroed(SHARED_PAGE_BYTES);
  if (!store->page) return status_nomem();
  TRY(shared_page_init(store->page, store->store_id));
  store->process = 1;
  store->look_anew = true;
  shared_store(&store->page->next_extent, 1);
  shared_store(&store->page->next_run, 1);
  Status status;
  uint32_t failures = 0;
  while ((status = reader_look(store)) != KVSTORE_OK) TRY(reader_try_again(store, status, &failures));
  return KVSTORE_OK;
}

void reader_close(Store *store) {
  forget_theirs(store);
  memory_release(store->page);
  store->page = NULL;
}
