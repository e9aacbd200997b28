/* rewrite.c - a store sealed or unsealed: everything that its manifest names, copied into a file beside it that is
 * synced and renamed over it. So a crash leaves the old file or the new one, and no byte of the old form is in the new.
 */
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine_internal.h"

typedef struct Rewrite {
  Store *store;
  StoreFile to;
  uint64_t end; /* of what has been written */
} Rewrite;

/* Extents follow each other; none that fits a window crosses its edge (FILE-6). */
static uint64_t next_place(Rewrite *r, uint64_t length) {
  uint64_t bytes = extent_bytes(length), at = r->end;
  if (bytes <= WINDOW_BYTES && at / WINDOW_BYTES != (at + bytes - 1) / WINDOW_BYTES) at = round_up(at, WINDOW_BYTES);
  r->end = at + bytes;
  return at;
}

/* Its id and birth stay, so that all that names it stays true but for place and checksum. */
static Status copy_extent(Rewrite *r, Extent *extent) {
  uint8_t *bytes = NULL;
  TRY(extent_read(&r->store->file, extent, &bytes));
  extent->offset = next_place(r, extent->length);
  Status status = extent_write(&r->to, bytes, extent);
  memory_release(bytes);
  return status;
}

static Status copy_run(Rewrite *r, const RunEntry *from, Arena *arena, RunEntry *to) {
  TRY(run_entry_copy(from, arena, to));
  for (uint32_t i = 0; i < to->extent_count; i++) TRY(copy_extent(r, &to->extents[i]));
  for (uint32_t i = 0; i < to->deletes_count; i++) TRY(copy_extent(r, &to->deletes[i].extent));
  return KVSTORE_OK;
}

static Status copy_family(Rewrite *r, const FamilyEntry *from, Arena *arena, FamilyEntry *to) {
  TRY(family_entry_copy(from, arena, to));
  to->runs = arena_allocate_zeroed(arena, memory_array_size(from->run_count + 1, sizeof *to->runs));
  if (!to->runs) return status_nomem();
  to->run_count = from->run_count;
  for (uint32_t i = 0; i < from->run_count; i++) TRY(copy_run(r, &from->runs[i], arena, &to->runs[i]));
  return KVSTORE_OK;
}

static Status copy_families(Rewrite *r, const Manifest *from, Manifest *to) {
  to->families = arena_allocate_zeroed(&to->arena, memory_array_size(from->family_count + 1, sizeof *to->families));
  to->limbo = arena_allocate_zeroed(&to->arena, sizeof *to->limbo);
  if (!to->families || !to->limbo) return status_nomem();
  to->family_count = from->family_count;
  for (uint32_t i = 0; i < from->family_count; i++)
    TRY(copy_family(r, &from->families[i], &to->arena, &to->families[i]));
  return KVSTORE_OK;
}

static Status write_manifest(Rewrite *r, Manifest *m) {
  Buffer bytes = { 0 };
  m->self.id = shared_load(&r->store->page->next_extent);
  m->next_extent_id = m->self.id + 1;
  Status status = manifest_encode(m, &bytes);
  m->self.length = bytes.length;
  m->self.birth = m->generation;
  m->self.offset = next_place(r, bytes.length);
  if (status == KVSTORE_OK) status = extent_write(&r->to, bytes.data, &m->self);
  buffer_release(&bytes);
  return status;
}

static Status write_superblocks(Rewrite *r, const Manifest *m, const uint8_t *sealing) {
  Superblock superblock = { .generation = m->generation,
                            .manifest_offset = m->self.offset,
                            .manifest_length = m->self.length,
                            .manifest_id = m->self.id,
                            .manifest_checksum = m->self.checksum };
  memcpy(superblock.store_id, r->store->store_id, sizeof superblock.store_id);
  if (sealing) memcpy(superblock.sealing, sealing, SEALING_BYTES);
  return superblock_write_both(r->to.file, &superblock, r->to.key);
}

static Status write_all(Rewrite *r, const uint8_t *sealing) {
  Version *v = version_keep(r->store);
  Manifest *m = NULL;
  Status status = generation_draft(r->store, v->manifest, &m);
  if (status == KVSTORE_OK) status = copy_families(r, v->manifest, m);
  if (status == KVSTORE_OK) status = write_manifest(r, m);
  if (status == KVSTORE_OK) status = write_superblocks(r, m, sealing);
  manifest_release(m);
  version_let_go(r->store, v);
  return status;
}

/* The file may have been moved, or another put in its place, while it was open: that one is not ours to replace. */
static Status check_path(Store *store) {
  if (store_has_its_path(store)) return KVSTORE_OK;
  return status_fail(KVSTORE_PROTOCOL, "%s is not the file any more that was opened: it was moved, replaced or removed",
                     store->path);
}

static Status open_copy(Rewrite *r, StoreKey *key) {
  Store *store = r->store;
  OsFile *file = NULL;
  Status removed = os_unlink(store->os, store->rewrite_path);
  if (removed != KVSTORE_NOTFOUND) TRY(removed);
  TRY(os_open_beside(store->file.file, store->rewrite_path, OS_OPEN_CREATE | OS_OPEN_EXCLUSIVE, &file));
  Status status = store_file_open(&r->to, file, store->store_id, key, true, 0);
  if (status != KVSTORE_OK) os_close(file);
  return status;
}

Status store_rewrite(Store *store, StoreKey *key, const uint8_t *sealing, bool *renamed) {
  Rewrite r = { .store = store, .end = SUPERBLOCK_COUNT * PAGE_BYTES };
  *renamed = false;
  TRY(check_path(store));
  Status status = open_copy(&r, key);
  if (status == KVSTORE_OK) status = write_all(&r, sealing);
  CRASH_POINT(rewrite_before_sync);
  if (status == KVSTORE_OK) status = os_sync(r.to.file);
  store_file_close(&r.to);
  CRASH_POINT(rewrite_before_rename);
  if (status == KVSTORE_OK) status = check_path(store);
  if (status == KVSTORE_OK) {
    status = os_rename(store->os, store->rewrite_path, store->path);
    *renamed = status == KVSTORE_OK;
  }
  if (!*renamed) {
    Failure why = *status_last();
    Status ignored = os_unlink(store->os, store->rewrite_path);
    (void)ignored;
    return status_fail(status, "%s", why.text);
  }
  CRASH_POINT(rewrite_after_rename);
  COUNT(stores_rewritten);
  return os_sync_directory(store->os, store->path);
}
