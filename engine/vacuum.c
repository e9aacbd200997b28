/* vacuum.c - giving back the end of the file (DESIGN 3): runs are rewritten without their dead and long expired rows,
 * extents move down into what is free, and the file is cut. Only as far as the pages asked for need it.
 *
 * An extent moves as bytes: its checksums bind its id, not its place. Where it lay goes to limbo like anything that a
 * generation no longer names, so readers of former generations keep what they read, and a crash finds one of the two
 * places, both whole. */
#include <stdlib.h>
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine_internal.h"

enum { COPY_BYTES = 1 << 20, MOVES_MAX = 64 };
enum { WORTH_A_SHARE = 64 };                       /* gaps of less than this part of the file stay */
static const uint64_t moved_bytes_max = 64u << 20; /* of one generation: what lies twice in the file meanwhile */

/* ---- moving extents down ---- */

typedef struct Moves {
  SpaceJob *job;
  Extent **movable; /* of the draft: those of runs and their deletes, highest first */
  size_t count, capacity;
  uint64_t bytes;
  uint32_t moved;
} Moves;

typedef struct Aim {
  uint64_t target; /* move down what ends above it */
  uint64_t lift;   /* or lift what lies there; 0: nothing */
  bool always;     /* publish even when nothing moved: the manifest itself moves with that */
  bool unread;     /* nothing that readers of former generations keep where it is: its move would free nothing */
} Aim;

static Status add_movable(Moves *m, Extent *extent) {
  TRY(memory_grow((void **)&m->movable, &m->capacity, m->count + 1, sizeof *m->movable));
  m->movable[m->count++] = extent;
  return KVSTORE_OK;
}

static Status list_movable(Moves *m, Manifest *draft) {
  for (uint32_t f = 0; f < draft->family_count; f++) {
    for (uint32_t r = 0; r < draft->families[f].run_count; r++) {
      RunEntry *run = &draft->families[f].runs[r];
      for (uint32_t i = 0; i < run->extent_count; i++) TRY(add_movable(m, &run->extents[i]));
      for (uint32_t i = 0; i < run->deletes_count; i++) TRY(add_movable(m, &run->deletes[i].extent));
    }
  }
  return KVSTORE_OK;
}

static int highest_first(const void *a, const void *b) {
  uint64_t x = (*(Extent *const *)a)->offset, y = (*(Extent *const *)b)->offset;
  return (x < y) - (x > y);
}

static Status copy_bytes(OsFile *file, uint64_t from, uint64_t to, uint64_t length) {
  uint8_t *piece = memory_allocate(COPY_BYTES);
  if (!piece) return status_nomem();
  Status status = KVSTORE_OK;
  for (uint64_t at = 0; at < length && status == KVSTORE_OK; at += COPY_BYTES) {
    size_t n = length - at < COPY_BYTES ? (size_t)(length - at) : COPY_BYTES;
    status = os_read_exactly(file, from + at, piece, n);
    if (status == KVSTORE_OK) status = os_write(file, to + at, piece, n);
  }
  memory_release(piece);
  return status;
}

static Status move_to(Moves *m, Store *store, Extent *extent, uint64_t to) {
  uint64_t bytes = extent_bytes(extent->length);
  TRY(copy_bytes(store->file.file, extent->offset, to, bytes));
  extent->offset = to;
  m->bytes += bytes;
  m->moved++;
  COUNT(extents_moved);
  return KVSTORE_OK;
}

static bool batch_is_full(const Moves *m) { return m->moved >= MOVES_MAX || m->bytes >= moved_bytes_max; }

/* Somebody reads it in a former generation: its place stays taken, wherever it goes. */
static bool is_kept(Store *store, const Extent *extent) {
  return generation_pinned(store, extent->birth, shared_load(&store->page->generation));
}

/* Those that end above the target, highest first, into the first place that holds them. */
static Status move_extents_down(Moves *m, Store *store, const Aim *aim) {
  for (size_t i = 0; i < m->count && !batch_is_full(m); i++) {
    Extent *extent = m->movable[i];
    uint64_t to, bytes = extent_bytes(extent->length);
    if (extent->offset + bytes <= aim->target) break;
    if (aim->unread && is_kept(store, extent)) continue;
    TRY(space_take_below(m->job, bytes, extent->offset, &to));
    if (to) TRY(move_to(m, store, extent, to));
  }
  return KVSTORE_OK;
}

/* Those that lie at `place` and right behind each other, to the end of the file. What somebody reads would make the
 * file longer, and the gap no larger. */
static Status lift_extents(Moves *m, Store *store, uint64_t place) {
  uint64_t end;
  TRY(space_end(store, &end));
  for (size_t i = m->count; i-- > 0 && !batch_is_full(m);) {
    Extent *extent = m->movable[i];
    uint64_t to, bytes = extent_bytes(extent->length);
    if (extent->offset < place) continue;
    if (extent->offset > place || is_kept(store, extent)) break;
    TRY(space_take_from(m->job, bytes, end, &to));
    place += bytes;
    TRY(move_to(m, store, extent, to));
  }
  return KVSTORE_OK;
}

/* ---- one generation with extents in other places ---- */

static Status draft_of(Store *store, const Manifest *from, Manifest **out) {
  Manifest *draft = NULL;
  TRY(generation_draft(store, from, &draft));
  *out = draft;
  draft->families = arena_allocate_zeroed(&draft->arena, memory_array_size(from->family_count, sizeof(FamilyEntry)));
  if (!draft->families) return status_nomem();
  for (uint32_t f = 0; f < from->family_count; f++) {
    FamilyEntry *to = &draft->families[f];
    TRY(family_entry_copy(&from->families[f], &draft->arena, to));
    draft->family_count++;
    to->runs = arena_allocate_zeroed(&draft->arena, memory_array_size(from->families[f].run_count, sizeof *to->runs));
    if (!to->runs) return status_nomem();
    for (uint32_t r = 0; r < from->families[f].run_count; r++)
      TRY(run_entry_copy(&from->families[f].runs[r], &draft->arena, &to->runs[r]));
    to->run_count = from->families[f].run_count;
  }
  draft->next_run_number = (uint32_t)shared_load(&store->page->next_run);
  return KVSTORE_OK;
}

static Status move_in_draft(Store *store, Manifest *draft, SpaceJob *job, const Aim *aim, bool *moved) {
  Moves m = { .job = job };
  Status status = list_movable(&m, draft);
  if (status == KVSTORE_OK && m.count) qsort((void *)m.movable, m.count, sizeof *m.movable, highest_first);
  if (status == KVSTORE_OK) status = aim->lift ? lift_extents(&m, store, aim->lift) : move_extents_down(&m, store, aim);
  memory_release((void *)m.movable);
  *moved = m.moved > 0;
  return status;
}

/* Without an aim nothing moves, and what has been given up since goes to limbo. */
static Status move_batch(Store *store, const Aim *aim, bool *moved) {
  SpaceJob job;
  Manifest *draft = NULL;
  Version *from = version_keep(store);
  space_job_init(&job, store, true);
  Status status = draft_of(store, from->manifest, &draft);
  version_let_go(store, from);
  if (status == KVSTORE_OK && aim) status = move_in_draft(store, draft, &job, aim, moved);
  if (status == KVSTORE_OK && (*moved || !aim || aim->always)) {
    CRASH_POINT(vacuum_before_publish);
    status = generation_publish(store, draft, &job);
  }
  manifest_release(draft);
  space_job_end(&job);
  return status;
}

Status vacuum_name_orphans(Store *store) {
  bool moved = false;
  return space_sweep_orphans(store) ? move_batch(store, NULL, &moved) : KVSTORE_OK;
}

/* ---- the file's end ---- */

static Status rewrite(Store *store, uint64_t target) {
  int64_t expired_before = store_clock(store) - (int64_t)store->grace_ms;
  bool did = true;
  while (did) {
    uint64_t end;
    TRY(space_end(store, &end));
    if (end <= target) return KVSTORE_OK;
    TRY(compact_thoroughly(store, expired_before, &did));
  }
  return KVSTORE_OK;
}

static Status move_down(Store *store, uint64_t target) {
  bool moved = true;
  while (moved) {
    uint64_t end;
    TRY(space_end(store, &end));
    if (end <= target) return KVSTORE_OK;
    TRY(move_batch(store, &(Aim){ .target = target }, &moved));
  }
  return KVSTORE_OK;
}

/* A gap that no extent above it fits into, with an extent behind it that may move: that one goes to the end of the file
 * for a while, and down again into what is one gap then. *from says where the next gap is looked for. */
static Status close_gap(Store *store, uint64_t target, uint64_t *from, bool *closed) {
  SpaceGap gap;
  uint64_t end;
  *closed = false;
  TRY(space_end(store, &end));
  TRY(space_gap(store, *from, &gap));
  if (end <= target || !gap.end || gap.free_bytes <= end / WORTH_A_SHARE) return KVSTORE_OK;
  *from = gap.begin + 1; /* whatever becomes of it: the next one lies behind */
  *closed = true;
  bool lifted;
  TRY(move_batch(store, &(Aim){ .lift = gap.end }, &lifted));
  return lifted ? move_down(store, target) : KVSTORE_OK;
}

static Status close_gaps(Store *store, uint64_t target) {
  uint64_t from = 0;
  bool closed = true;
  while (closed) TRY(close_gap(store, target, &from, &closed));
  return KVSTORE_OK;
}

/* A new manifest goes where there is room below, until the file does not end with it any more. */
static Status move_manifest(Store *store, uint64_t target) {
  for (uint64_t end, before = UINT64_MAX;; before = end) {
    bool ignored;
    TRY(space_end(store, &end));
    if (end <= target || end >= before) return KVSTORE_OK;
    TRY(move_batch(store, &(Aim){ .target = target, .always = true }, &ignored));
  }
}

/* Rewrites and moves until the file may end at `target`, or nothing more can be done. A full disk ends it, too: what
 * lies twice for a while needs room. */
static Status make_room(Store *store, uint64_t target) {
  Status status = rewrite(store, target);
  if (status == KVSTORE_OK) status = move_down(store, target);
  if (status == KVSTORE_OK) status = close_gaps(store, target);
  if (status == KVSTORE_OK) status = move_manifest(store, target);
  return status == KVSTORE_FULL ? KVSTORE_OK : status;
}

/* ---- by itself ---- */

enum { SLACK_LOG = 1 << 20 };

static void add_bytes(void *context, const Extent *extent) { *(uint64_t *)context += extent_bytes(extent->length); }

/* What the newest generation names, what readers of former ones still need, and a log inside the file. */
static uint64_t bytes_kept(Store *store) {
  Version *v = version_keep(store);
  const Manifest *m = v->manifest;
  uint64_t bytes = shared_load(&store->page->ring_bytes);
  manifest_each_extent(m, add_bytes, &bytes);
  for (uint32_t i = 0; i < m->limbo_count; i++)
    if (generation_pinned(store, m->limbo[i].birth, m->limbo[i].death)) bytes += m->limbo[i].bytes;
  version_let_go(store, v);
  return bytes;
}

/* Where a log inside the file ends: it stays there, and the file cannot be cut before it. */
static uint64_t ring_end(SharedPage *page) {
  uint64_t bytes = shared_load(&page->ring_bytes);
  return bytes ? shared_load(&page->ring_offset) + bytes : 0;
}

/* Merges leave holes, and the file as long as it was at most. A file longer than what it holds by more than a
 * share-th part is brought down to half of that; what is free below serves the next merge. */
Status vacuum_slack(Store *store, uint32_t share, bool *moved) {
  uint64_t kept = bytes_kept(store), owed = shared_load(&store->page->owed), end;
  uint64_t log = store->log_bytes < SLACK_LOG ? store->log_bytes : SLACK_LOG; /* tests have small ones */
  uint64_t least = 16 * log / share;
  *moved = false;
  uint64_t size = shared_load(&store->page->file_size), ring = ring_end(store->page);
  if (size <= kept + kept / share + owed + least || size <= ring + owed + least) return KVSTORE_OK;
  uint64_t target = round_up(kept + kept / (2 * share) + owed + least / 2, PAGE_BYTES);
  if (target < ring) target = ring;
  TRY(space_end(store, &end));
  Status status = end > target ? move_batch(store, &(Aim){ .target = target, .unread = true }, moved) : KVSTORE_OK;
  if (status == KVSTORE_OK) status = space_give_back(store, target);
  if (status == KVSTORE_OK) COUNT(files_shortened);
  return status == KVSTORE_FULL ? KVSTORE_OK : status;
}

/* ---- by call ---- */

static Status vacuum(Store *store, uint64_t target) {
  TRY(maintenance_take(store, true));
  Status status = make_room(store, target);
  if (status == KVSTORE_OK) status = space_give_back(store, target);
  maintenance_give(store);
  if (status == KVSTORE_OK) COUNT(vacuums);
  return status;
}

/* A log inside the file stays where it is. One that the file cannot be cut behind goes, unless somebody is writing: the
 * next write makes another, further down. */
static Status cut_log_in_the_way(Session *session, uint64_t target) {
  if (ring_end(session->store->page) <= target) return KVSTORE_OK;
  Status status = log_cut_at_once(session);
  if (status != KVSTORE_BUSY) return status;
  status_clear();
  return KVSTORE_OK;
}

/* What is committed is settled first, as far as no writer has it open: it may be what makes rows dead. */
Status session_vacuum(Session *session, uint64_t pages) {
  Store *store = session->store;
  OsStat stat;
  if (session_transaction(session) == 2)
    return status_fail(KVSTORE_BUSY, "a vacuum cannot run inside a write transaction");
  TRY(os_stat_file(store->file.file, &stat));
  uint64_t whole = stat.size / PAGE_BYTES;
  TRY(session_checkpoint(session, CHECKPOINT_PASSIVE, NULL, NULL));
  uint64_t target = pages && pages < whole ? (whole - pages) * PAGE_BYTES : 0;
  TRY(cut_log_in_the_way(session, target));
  return vacuum(store, target);
}
