/* log.c - which log a store has: made with the first write, followed from one to the next, cut by a checkpoint. */
#include "engine/engine_internal.h"

Status log_file_open(Store *store, int flags) {
  return store->log_file ? KVSTORE_OK : os_open_beside(store->file.file, store->log_path, flags, &store->log_file);
}

WalCursor log_replay_start(Store *store, const Manifest *m) {
  return m->log_id == wal_log_id(store->wal) ? m->replay : wal_first(store->wal, m->replay.sequence);
}

/* None is open. */
static Status log_open(Store *store, uint64_t log_id) {
  Status opened = log_file_open(store, store->reader_only ? OS_OPEN_READONLY : 0);
  if (opened == KVSTORE_NOTFOUND)
    return status_fail(KVSTORE_CORRUPT, "the store's log %s is missing, and with it what was committed last",
                       store->log_path);
  TRY(opened);
  Wal *wal = NULL;
  TRY(wal_open(store->log_file, 0, &wal));
  if (wal_log_id(wal) != log_id) {
    wal_close(wal);
    return status_fail(KVSTORE_CORRUPT, "%s is not the log of this store", store->log_path);
  }
  if (store->key) store_key_use_log(store->key, log_id);
  store->wal = wal;
  return KVSTORE_OK;
}

Status log_open_for_replay(Store *store, const Manifest *m) {
  uint64_t oldest;
  TRY(log_open(store, store->superblock.log_id));
  TRY(wal_oldest(store->wal, &oldest));
  if (oldest > store->superblock.generation)
    return status_fail(KVSTORE_CORRUPT, "the newest superblock is lost: generation %llu is there, the log needs %llu",
                       (unsigned long long)store->superblock.generation, (unsigned long long)oldest);
  store->applied = store->frozen = log_replay_start(store, m);
  return KVSTORE_OK;
}

bool log_is_current(Store *store) {
  return shared_load(&store->page->log_id) == (store->wal ? wal_log_id(store->wal) : 0);
}

void log_detach(Store *store) {
  atomic_store_explicit(&store->log_ready, false, memory_order_release);
  wal_close(store->wal);
  store->wal = NULL;
  wal_window_release(&store->window);
}

/* What the log's records join on to is the newest generation, or one of this very log. */
static Status log_attach(Store *store, uint64_t log_id) {
  if (store_manifest(store)->generation < shared_load(&store->page->generation)) TRY(generation_follow_newest(store));
  TRY(log_open(store, log_id));
  store->applied = store->frozen = log_replay_start(store, store_manifest(store));
  atomic_store_explicit(&store->log_ready, true, memory_order_release);
  return KVSTORE_OK;
}

Status log_follow(Store *store) {
  while (!log_is_current(store)) {
    if (store->wal) {
      TRY(generation_follow_newest(store));
      log_detach(store);
    }
    uint64_t log_id = shared_load(&store->page->log_id);
    Status status = log_id ? log_attach(store, log_id) : KVSTORE_OK;
    if (status != KVSTORE_OK && shared_load(&store->page->log_id) == log_id) return status;
  }
  return KVSTORE_OK;
}

/* A process may have died between taking a log out of the page and out of the superblocks: what they name must stay as
 * it is until they name it no more. */
static Status name_no_log(Store *store) {
  Superblock superblock;
  uint32_t page;
  SuperblockState state;
  TRY(superblock_read(store->file.file, &superblock, &page, &state));
  return superblock.log_id ? superblocks_name_log(store, 0) : KVSTORE_OK;
}

static Status make_log(Store *store) {
  SharedPage *page = store->page;
  TRY(log_file_open(store, OS_OPEN_CREATE));
  TRY(name_no_log(store));
  Wal *wal = NULL;
  TRY(wal_create(store->log_file, 0, store->log_bytes, store_manifest(store)->generation, &wal));
  Status status = os_sync_directory(store->os, store->log_path);
  if (status == KVSTORE_OK) {
    status = superblocks_name_log(store, wal_log_id(wal));
    if (status != KVSTORE_OK) shared_store(&page->failed, 1); /* one of them may name this log: it must stay as it is */
  }
  if (status != KVSTORE_OK) {
    wal_close(wal);
    return status;
  }
  mutex_lock(&store->apply_lock); /* the page and this process have it at once */
  if (store->key) store_key_use_log(store->key, wal_log_id(wal));
  store->wal = wal;
  store->applied = store->frozen = wal_first(wal, store->applied.sequence);
  shared_store(&page->start, store->applied.position);
  shared_store(&page->end, store->applied.position);
  shared_store(&page->synced, store->applied.position);
  shared_store(&page->log_id, wal_log_id(wal));
  mutex_unlock(&store->apply_lock);
  atomic_store_explicit(&store->log_ready, true, memory_order_release);
  return KVSTORE_OK;
}

Status log_create(Store *store) {
  if (LIKELY(atomic_load_explicit(&store->log_ready, memory_order_acquire))) return KVSTORE_OK;
  TRY(maintenance_take(store, true));
  Status status = KVSTORE_OK;
  if (shared_load(&store->page->failed))
    status = status_fail(KVSTORE_IO, "a write has failed: nothing is written until every process has closed the store");
  else if (!shared_load(&store->page->log_id)) /* else another process made it, and it is open by now */
    status = make_log(store);
  maintenance_give(store);
  return status;
}
