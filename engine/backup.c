/* backup.c - a copy of one generation as a store of its own, while everybody goes on (DESIGN 9).
 *
 * The generation is pinned like a snapshot's. Its extents are copied as bytes, one behind the other, in a file beside
 * the target; a manifest with their new places and both superblocks follow; it is synced and renamed over the target,
 * which is the old file or the new one at every instant. The copy has the store's id, as a copied file has: checksums
 * bind it. It names no log. */
#include <stdlib.h>
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine_internal.h"

enum { COPY_BYTES = 1 << 20 };

typedef struct Backup {
  Store *store;
  Os *os; /* of the target: a store in memory is copied into a file of the system */
  char *path, *temporary;
  OsFile *file, *target; /* target: what lies there already, locked meanwhile; or NULL */
  const Manifest *from;
  Manifest *copy;
  uint64_t end; /* of what is laid out */
  uint64_t done, total;
  BackupProgress progress;
  void *context;
  uint8_t *piece;
} Backup;

/* ---- the target ---- */

static Status lock_alone(OsFile *file, const char *path) {
  Status status = os_lock(file, presence_byte, SHARED_PROCESSES + 1, OS_LOCK_EXCLUSIVE);
  return status == KVSTORE_BUSY ? status_fail(status, "%s is an open store, or another backup writes there", path)
                                : status;
}

/* Its log may be an empty file, and the next open removes others: a backup there would take the log's name, or be lost.
 */
static bool is_side_file(const Store *store, const char *path) {
  const char *const names[] = { store->log_path, store->page_path, store->rewrite_path, store->journal_path };
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(path, names[i]) == 0) return true;
  return false;
}

/* What a backup may take the place of: nothing, an empty file, a store that nobody has open. */
static Status check_target(Backup *b) {
  if (!b->store->memory && is_side_file(b->store, b->path))
    return status_fail(KVSTORE_ERROR, "%s is the name of a file of the store's own", b->path);
  Status status = os_open(b->os, b->path, 0, &b->target);
  if (status == KVSTORE_NOTFOUND) {
    status_clear();
    return KVSTORE_OK;
  }
  TRY(status);
  OsStat stat;
  TRY(os_stat_file(b->target, &stat));
  if (!stat.is_regular) return status_fail(KVSTORE_ERROR, "%s is not a regular file", b->path);
  if (stat.device == b->store->device && stat.inode == b->store->inode)
    return status_fail(KVSTORE_ERROR, "a store cannot be backed up over itself");
  TRY(lock_alone(b->target, b->path));
  Superblock superblock;
  uint32_t page;
  SuperblockState state;
  status = superblock_read(b->target, &superblock, &page, &state);
  return status == KVSTORE_CORRUPT ? status_fail(KVSTORE_ERROR, "%s is there already, and is no store", b->path)
                                   : status;
}

/* What a backup left that was cut off; its rights are those that the store had then. */
static Status remove_leftover(Backup *b) {
  OsFile *left = NULL;
  Status status = os_open(b->os, b->temporary, 0, &left);
  if (status == KVSTORE_NOTFOUND) {
    status_clear();
    return KVSTORE_OK;
  }
  TRY(status);
  status = lock_alone(left, b->temporary);
  if (status == KVSTORE_OK) status = os_unlink(b->os, b->temporary);
  os_close(left);
  return status;
}

/* A store in memory has no rights to give, and its copy those that a new store would have. */
static Status make_temporary(Backup *b) {
  int flags = OS_OPEN_CREATE | OS_OPEN_EXCLUSIVE;
  return b->store->memory ? os_open(b->os, b->temporary, flags, &b->file)
                          : os_open_beside(b->store->file.file, b->temporary, flags, &b->file);
}

static Status open_temporary(Backup *b) {
  size_t length = strlen(b->path);
  b->temporary = memory_allocate(length + sizeof "-backup");
  if (!b->temporary) return status_nomem();
  memcpy(b->temporary, b->path, length);
  memcpy(b->temporary + length, "-backup", sizeof "-backup");
  TRY(remove_leftover(b));
  TRY(make_temporary(b));
  TRY(lock_alone(b->file, b->temporary));
  OsStat own, named;
  TRY(os_stat_file(b->file, &own));
  if (os_stat(b->os, b->temporary, &named) != KVSTORE_OK || own.inode != named.inode || own.device != named.device)
    return status_fail(KVSTORE_BUSY, "another backup to %s took its place", b->path);
  return KVSTORE_OK;
}

/* ---- copying ---- */

static Status tell(Backup *b) {
  return b->progress && b->progress(b->context, b->done, b->total)
           ? status_fail(KVSTORE_CANCELLED, "the backup was cancelled by its progress callback")
           : KVSTORE_OK;
}

static Status copy_extent(Backup *b, Extent *extent) {
  uint64_t bytes = extent_bytes(extent->length), from = extent->offset;
  if (bytes <= WINDOW_BYTES && b->end / WINDOW_BYTES != (b->end + bytes - 1) / WINDOW_BYTES)
    b->end = round_up(b->end, WINDOW_BYTES);
  extent->offset = b->end;
  b->end += bytes;
  for (uint64_t at = 0; at < bytes; at += COPY_BYTES) {
    size_t n = bytes - at < COPY_BYTES ? (size_t)(bytes - at) : COPY_BYTES;
    TRY(os_read_exactly(b->store->file.file, from + at, b->piece, n));
    TRY(os_write(b->file, extent->offset + at, b->piece, n));
    os_writeback(b->file, extent->offset + at, n, false);
    b->done += n;
    TRY(tell(b));
  }
  return KVSTORE_OK;
}

static Status copy_run(Backup *b, RunEntry *run) {
  for (uint32_t i = 0; i < run->extent_count; i++) TRY(copy_extent(b, &run->extents[i]));
  for (uint32_t i = 0; i < run->deletes_count; i++) TRY(copy_extent(b, &run->deletes[i].extent));
  return KVSTORE_OK;
}

static void count_bytes(void *context, const Extent *extent) { *(uint64_t *)context += extent_bytes(extent->length); }

static Status copy_families(Backup *b) {
  Manifest *to = b->copy;
  to->families = arena_allocate_zeroed(&to->arena, memory_array_size(b->from->family_count, sizeof *to->families));
  to->limbo = arena_allocate_zeroed(&to->arena, sizeof *to->limbo);
  if (!to->families || !to->limbo) return status_nomem();
  for (uint32_t f = 0; f < b->from->family_count; f++) {
    const FamilyEntry *from = &b->from->families[f];
    FamilyEntry *family = &to->families[f];
    TRY(family_entry_copy(from, &to->arena, family));
    to->family_count++;
    family->runs = arena_allocate_zeroed(&to->arena, memory_array_size(from->run_count, sizeof *family->runs));
    if (!family->runs) return status_nomem();
    for (uint32_t r = 0; r < from->run_count; r++) {
      TRY(run_entry_copy(&from->runs[r], &to->arena, &family->runs[r]));
      family->run_count++;
      TRY(copy_run(b, &family->runs[r]));
    }
  }
  return KVSTORE_OK;
}

/* ---- the manifest and the superblocks ---- */

static Status write_manifest(Backup *b) {
  Buffer bytes = { 0 };
  Manifest *m = b->copy;
  Status status = manifest_encode(m, &bytes);
  m->self = (Extent){ .id = m->next_extent_id - 1, .offset = b->end, .length = bytes.length, .birth = m->generation };
  StoreFile as_target = b->store->file; /* its seed and keys; only the file is another, and nothing is mapped */
  as_target.file = b->file;
  if (status == KVSTORE_OK) status = extent_write(&as_target, bytes.data, &m->self);
  b->end += extent_bytes(m->self.length);
  buffer_release(&bytes);
  return status;
}

static Status write_superblocks(Backup *b) {
  Superblock superblock;
  uint32_t page;
  SuperblockState state;
  TRY(superblock_read(b->store->file.file, &superblock, &page, &state));
  superblock.log_id = superblock.ring_offset = superblock.ring_capacity = 0;
  superblock.generation = b->copy->generation;
  superblock.manifest_offset = b->copy->self.offset;
  superblock.manifest_length = b->copy->self.length;
  superblock.manifest_id = b->copy->self.id;
  superblock.manifest_checksum = b->copy->self.checksum;
  return superblock_write_both(b->file, &superblock, b->store->key);
}

static Status fill(Backup *b) {
  b->copy = manifest_create();
  b->piece = memory_allocate(COPY_BYTES);
  if (!b->copy || !b->piece) return status_nomem();
  Manifest *m = b->copy;
  m->generation = b->from->generation;
  memcpy(m->store_id, b->from->store_id, sizeof m->store_id);
  m->replay.sequence = b->from->replay.sequence;
  m->next_family_id = b->from->next_family_id;
  m->next_run_number = b->from->next_run_number;
  m->next_extent_id = b->from->next_extent_id + 1; /* the copy's manifest has an id of its own */
  m->clock_ms = b->from->clock_ms;
  b->end = SUPERBLOCK_COUNT * PAGE_BYTES;
  manifest_each_extent(b->from, count_bytes, &b->total);
  TRY(copy_families(b));
  TRY(write_manifest(b));
  TRY(write_superblocks(b));
  b->done = b->total;
  return tell(b);
}

static Status publish(Backup *b) {
  CRASH_POINT(backup_before_sync);
  TRY(os_sync(b->file));
  CRASH_POINT(backup_before_rename);
  TRY(os_rename(b->os, b->temporary, b->path));
  CRASH_POINT(backup_after_rename);
  return os_sync_directory(b->os, b->path);
}

static Status back_up(Backup *b) {
  TRY(check_target(b));
  TRY(open_temporary(b));
  Status status = fill(b);
  if (status == KVSTORE_OK) status = publish(b);
  if (status == KVSTORE_OK) return status;
  Failure why = *status_last();
  Status ignored = os_unlink(b->os, b->temporary); /* nobody else writes there: its lock is held */
  (void)ignored;
  return status_fail(status, "%s", why.text);
}

/* ---- the call ---- */

static Status pin_settled(Session *session, VersionHold *hold) {
  Store *store = session->store;
  ReadPin pin;
  TRY(session_checkpoint(session, CHECKPOINT_FULL, NULL, NULL)); /* so that the generation holds what is committed */
  mutex_lock(&store->apply_lock);
  Status status = version_pin_newest(store, &pin);
  mutex_unlock(&store->apply_lock);
  TRY(status);
  status = version_hold(store, &pin, hold);
  version_unpin(store, &pin);
  return status;
}

Status session_backup(Session *session, const char *path, BackupProgress progress, void *context) {
  Store *store = session->store;
  VersionHold hold;
  if (session_transaction(session) == 2)
    return status_fail(KVSTORE_BUSY, "a backup cannot be made inside a write transaction");
  if (session_is_read_only(session))
    return status_fail(KVSTORE_READONLY, "a handle that only reads makes no backup: it cannot settle the log");
  TRY(pin_settled(session, &hold));
  Backup b = { .store = store, .progress = progress, .context = context, .from = hold.version->manifest };
  b.os = store->memory ? os_posix() : store->os;
  Status status = os_resolve(b.os, path, &b.path);
  if (status == KVSTORE_OK) status = back_up(&b);
  version_unhold(store, &hold);
  os_close(b.file); /* its locks go with it */
  os_close(b.target);
  memory_release(b.piece);
  memory_release(b.path);
  memory_release(b.temporary);
  manifest_release(b.copy);
  if (status == KVSTORE_OK) COUNT(backups);
  return status;
}
