/* log.c - which log a store has: made with the first write, followed from one to the next, cut by a checkpoint. */
#include "base/counters.h"
#include "engine/engine_internal.h"

Status log_file_open(Store *store, int flags) {
  return store->log_file ? KVSTORE_OK : os_open_beside(store->file.file, store->log_path, flags, &store->log_file);
}

WalCursor log_replay_start(Store *store, const Manifest *m) {
  return m->log_id == wal_log_id(store->wal) ? m->replay : wal_first(store->wal, m->replay.sequence);
}

LogPlace shared_log_place(SharedPage *page) {
  LogPlace place = { .log_id = shared_load(&page->log_id) };
  uint64_t bytes = shared_load(&page->ring_bytes);
  if (!place.log_id || bytes < WAL_HEADER_BYTES) return place;
  place.ring_offset = shared_load(&page->ring_offset);
  place.ring_capacity = bytes - WAL_HEADER_BYTES;
  return place;
}

static Status open_beside(Store *store, Wal **wal) {
  Status opened = log_file_open(store, store->reader_only ? OS_OPEN_READONLY : 0);
  if (opened == KVSTORE_NOTFOUND)
    return status_fail(KVSTORE_CORRUPT, "the store's log %s is missing, and with it what was committed last",
                       store->log_path);
  TRY(opened);
  Status status = wal_open(store->log_file, 0, wal);
  return status == KVSTORE_OK ? status : status_context(status, "%s", store->log_path);
}

/* None is open. */
static Status log_open(Store *store, const LogPlace *place) {
  bool inside = place->ring_offset != 0;
  Wal *wal = NULL;
  TRY(inside ? wal_open(store->file.file, place->ring_offset, &wal) : open_beside(store, &wal));
  if (wal_log_id(wal) != place->log_id || (inside && wal_capacity(wal) != place->ring_capacity)) {
    wal_close(wal);
    return status_fail(KVSTORE_CORRUPT, "%s%s is not the log of this store",
                       inside ? "what the superblock names in " : "", inside ? store->path : store->log_path);
  }
  if (store->key) store_key_use_log(store->key, place->log_id);
  store->wal = wal;
  return KVSTORE_OK;
}

/* ---- the ring inside the file ---- */

typedef struct RingCheck {
  uint64_t begin, end;
  bool overlaps;
} RingCheck;

static void check_extent(void *context, const Extent *extent) {
  RingCheck *ring = context;
  ring->overlaps |= extent->offset < ring->end && ring->begin < extent->offset + extent_bytes(extent->length);
}

/* A crafted superblock must not have records written over what the manifest names. */
static Status check_ring(const LogPlace *place, const Manifest *m) {
  RingCheck ring = { place->ring_offset, place->ring_offset + wal_file_bytes(place->ring_capacity), false };
  if (place->ring_offset) manifest_each_extent(m, check_extent, &ring);
  return ring.overlaps ? status_fail(KVSTORE_CORRUPT, "the store's log overlaps its data") : KVSTORE_OK;
}

enum { RING_GAP_MAX = 1 << 20, RING_GAP_FLUSH = 256 << 10 };

/* Room for a ring: where there is some; else so far behind the file's end that what a small store holds goes before it,
 * and a close that gives the ring back gives back the file's end. */
static Status take_ring(SpaceJob *job, uint64_t bytes, uint64_t *offset) {
  uint64_t end = shared_load(&job->store->page->used_end);
  uint64_t gap = (bytes < RING_GAP_MAX ? bytes : RING_GAP_MAX) + RING_GAP_FLUSH;
  TRY(space_take_below(job, bytes, end, offset));
  if (*offset) return KVSTORE_OK;
  Status status = space_take_from(job, bytes, round_up(end + gap, PAGE_BYTES), offset);
  return status == KVSTORE_FULL ? space_take_from(job, bytes, 0, offset) : status;
}

Status log_open_for_replay(Store *store, const Manifest *m) {
  uint64_t oldest;
  LogPlace place = superblock_log_place(&store->superblock);
  TRY(check_ring(&place, m));
  TRY(log_open(store, &place));
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
static Status log_attach(Store *store, const LogPlace *place) {
  if (store_manifest(store)->generation < shared_load(&store->page->generation)) TRY(generation_follow_newest(store));
  TRY(log_open(store, place));
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
    LogPlace place = shared_log_place(store->page);
    Status status = place.log_id ? log_attach(store, &place) : KVSTORE_OK;
    if (status != KVSTORE_OK && shared_load(&store->page->log_id) == place.log_id) return status;
  }
  return KVSTORE_OK;
}

/* ---- making one ---- */

/* A process may have died between taking a log out of the page and out of the superblocks: what they name must stay as
 * it is until they name it no more. */
static Status name_no_log(Store *store) {
  Superblock superblock;
  uint32_t page;
  SuperblockState state;
  TRY(superblock_read(store->file.file, &superblock, &page, &state));
  bool named = superblock.log_id || shared_load(&store->page->ring_bytes);
  return named ? superblocks_name_no_log(store) : KVSTORE_OK;
}

static Status make_beside(Store *store, Wal **wal) {
  TRY(log_file_open(store, OS_OPEN_CREATE));
  TRY(wal_create(store->log_file, 0, store->log_bytes, store_manifest(store)->generation, wal));
  return os_sync_directory(store->os, store->log_path);
}

/* From here on its place in the file is taken by the page's word. */
static Status make_inside(Store *store, Wal **wal, LogPlace *place) {
  SpaceJob job;
  uint64_t bytes = wal_file_bytes(store->log_bytes);
  space_job_init(&job, store, false);
  Status status = take_ring(&job, bytes, &place->ring_offset);
  if (status == KVSTORE_OK)
    status = wal_create(store->file.file, place->ring_offset, store->log_bytes, store_manifest(store)->generation, wal);
  if (status == KVSTORE_OK) {
    place->ring_capacity = store->log_bytes;
    shared_store(&store->page->ring_offset, place->ring_offset);
    shared_store(&store->page->ring_bytes, bytes);
    CRASH_POINT(ring_before_names);
  }
  space_job_end(&job);
  return status;
}

static Status name_new_log(Store *store, const LogPlace *place) {
  Status status = superblocks_name_log(store, place);
  if (status != KVSTORE_OK) shared_store(&store->page->failed, 1); /* one of them may name it: it must stay as it is */
  return status;
}

/* The page and this process have it at once. */
static void take_new_log(Store *store, Wal *wal) {
  SharedPage *page = store->page;
  mutex_lock(&store->apply_lock);
  if (store->key) store_key_use_log(store->key, wal_log_id(wal));
  store->wal = wal;
  store->applied = store->frozen = wal_first(wal, store->applied.sequence);
  shared_store(&page->start, store->applied.position);
  shared_store(&page->end, store->applied.position);
  shared_store(&page->synced, store->applied.position);
  shared_store(&page->log_id, wal_log_id(wal));
  mutex_unlock(&store->apply_lock);
  atomic_store_explicit(&store->log_ready, true, memory_order_release);
}

static Status make_log(Store *store) {
  Wal *wal = NULL;
  LogPlace place = { 0 };
  TRY(name_no_log(store));
  Status status = log_is_inside(store) ? make_inside(store, &wal, &place) : make_beside(store, &wal);
  if (status == KVSTORE_OK) {
    place.log_id = wal_log_id(wal);
    status = name_new_log(store, &place);
  }
  if (status == KVSTORE_OK)
    take_new_log(store, wal);
  else
    wal_close(wal);
  return status;
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
