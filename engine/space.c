/* space.c - where new extents go. Free is what no manifest, limbo list, reservation or adopted record names, and no log
 * lies in (FILE-7):
 * the list of used ranges is made from these each time, so that no stored free list can be wrong. */
#include "engine/space.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine_internal.h"

/* What a flush takes beside a copy of the rows: directories, padding, the manifest. */
enum { FLUSH_OVERHEAD = 256 << 10, GROWTH_MIN = 1 << 20 };
/* A job whose pieces do not lie together takes more than it needs at once, so that its reservations stay few. */
enum { AHEAD_FROM = 16, AHEAD_SHARE = 8, AHEAD_MAX = 256 << 20 };
_Static_assert(AHEAD_MAX <= WINDOW_BYTES, "an extent in what was taken ahead crosses no window's edge");

typedef struct Range {
  uint64_t begin, end;
} Range;

typedef struct UsedRanges {
  Range *ranges;
  size_t count, capacity;
  Status status;
} UsedRanges;

static void add_range(UsedRanges *used, uint64_t begin, uint64_t length) {
  if (!length || used->status != KVSTORE_OK) return;
  used->status = memory_grow(&used->ranges, &used->capacity, used->count + 1, sizeof *used->ranges);
  if (used->status == KVSTORE_OK) used->ranges[used->count++] = (Range){ begin, begin + length };
}

static void add_extent(void *context, const Extent *extent) {
  add_range(context, extent->offset, extent_bytes(extent->length));
}

static void add_adopted(UsedRanges *used, const Version *v) {
  for (uint32_t f = 0; f < v->family_count; f++) {
    for (uint32_t e = 0; e < v->families[f]->era_count; e++) {
      const Era *era = &v->families[f]->eras[e];
      for (uint32_t r = 0; r < era->run_count; r++) {
        if (!era->runs[r].since) continue;
        const RunEntry *entry = &era->runs[r].run->entry;
        for (uint32_t i = 0; i < entry->extent_count; i++) add_extent(used, &entry->extents[i]);
        const AdoptedDeletes *replaced = era->runs[r].replaced;
        if (replaced && replaced->extent.length) add_extent(used, &replaced->extent);
      }
    }
  }
}

static int by_begin(const void *a, const void *b) {
  uint64_t x = ((const Range *)a)->begin, y = ((const Range *)b)->begin;
  return (x > y) - (x < y);
}

static void add_reservations(UsedRanges *used, SharedPage *page) {
  SharedReservation *reservations = shared_reservations(page);
  for (int i = 0; i < SHARED_RESERVATIONS; i++) {
    if (!atomic_load_explicit(&reservations[i].owner, memory_order_acquire)) continue;
    add_range(used, atomic_load_explicit(&reservations[i].offset, memory_order_acquire),
              atomic_load_explicit(&reservations[i].length, memory_order_acquire));
  }
}

static void add_version(UsedRanges *used, Store *store, const Version *v) {
  manifest_each_extent(v->manifest, add_extent, used);
  for (uint32_t i = 0; i < v->manifest->limbo_count; i++) {
    const LimboEntry *l = &v->manifest->limbo[i];
    if (generation_pinned(store, l->birth, l->death)) add_range(used, l->offset, l->bytes);
  }
  add_adopted(used, v);
}

/* Every range that may not be written, in order. The allocating mutex is held. Reservations are read first: whoever
 * gives one up has made its extents part of a published generation or of the log before, or the log itself of one, and
 * these are looked at after.
 */
static Status used_ranges(Store *store, UsedRanges *used) {
  add_range(used, 0, SUPERBLOCK_COUNT * PAGE_BYTES);
  add_reservations(used, store->page);
  uint64_t ring_bytes = shared_load(&store->page->ring_bytes);
  add_range(used, shared_load(&store->page->ring_offset), ring_bytes);
  TRY(generation_follow(store));
  TRY(store_apply(store));
  mutex_lock(&store->apply_lock); /* no generation that the page does not show yet: its pins could not be seen */
  Version *v = version_keep(store);
  mutex_unlock(&store->apply_lock);
  add_version(used, store, v);
  version_let_go(store, v);
  if (used->status == KVSTORE_OK) qsort(used->ranges, used->count, sizeof *used->ranges, by_begin);
  return used->status;
}

/* The first free place for `bytes` from `from` on. An extent does not cross a window's edge if it fits a window
 * (FILE-6).
 */
static uint64_t first_fit(const UsedRanges *used, uint64_t bytes, uint64_t from) {
  uint64_t at = from;
  for (size_t i = 0; i <= used->count; i++) {
    uint64_t gap_end = i < used->count ? used->ranges[i].begin : UINT64_MAX;
    uint64_t place = at;
    if (bytes <= WINDOW_BYTES && place / WINDOW_BYTES != (place + bytes - 1) / WINDOW_BYTES)
      place = round_up(place, WINDOW_BYTES);
    if (place < gap_end && gap_end - place >= bytes) return place;
    if (i < used->count && used->ranges[i].end > at) at = used->ranges[i].end;
  }
  return at;
}

static uint64_t ranges_end(const UsedRanges *used) {
  uint64_t end = 0;
  for (size_t i = 0; i < used->count; i++)
    if (used->ranges[i].end > end) end = used->ranges[i].end;
  return end;
}

/* The allocated size of the file is at least `size`. Allocating mutex held. */
static Status grow_file(Store *store, uint64_t size) {
  uint64_t now = shared_load(&store->page->file_size);
  if (size <= now) return KVSTORE_OK;
  TRY(os_allocate(store->file.file, now, size - now));
  shared_store(&store->page->file_size, size);
  return KVSTORE_OK;
}

static Status reserve(SpaceJob *job, uint64_t offset, uint64_t bytes) {
  SharedReservation *all = shared_reservations(job->store->page);
  if (job->reservation_count) { /* next to the last one: one entry serves both */
    SharedReservation *last = &all[job->reservations[job->reservation_count - 1]];
    uint64_t length = atomic_load_explicit(&last->length, memory_order_relaxed);
    if (atomic_load_explicit(&last->offset, memory_order_relaxed) + length == offset) {
      atomic_store_explicit(&last->length, length + bytes, memory_order_release);
      return KVSTORE_OK;
    }
  }
  TRY(
    memory_grow(&job->reservations, &job->reservation_capacity, job->reservation_count + 1, sizeof *job->reservations));
  uint32_t end = job->owed ? SHARED_RESERVATIONS : SHARED_RESERVATIONS - SHARED_RESERVATIONS_OWED;
  for (uint32_t i = 0; i < end; i++) {
    if (atomic_load_explicit(&all[i].owner, memory_order_acquire)) continue;
    atomic_store_explicit(&all[i].offset, offset, memory_order_relaxed);
    atomic_store_explicit(&all[i].length, bytes, memory_order_relaxed);
    atomic_store_explicit(&all[i].owner, job->store->process, memory_order_release);
    job->reservations[job->reservation_count++] = i;
    return KVSTORE_OK;
  }
  return status_fail(KVSTORE_LIMIT, "too many pieces of the file are being written at once");
}

/* `below`: the place must end there at the latest; *offset stays as it is where none does. */
static Status allocate_locked(SpaceJob *job, uint64_t bytes, uint64_t from, uint64_t below, uint64_t *offset) {
  Store *store = job->store;
  UsedRanges used = { 0 };
  Status status = used_ranges(store, &used);
  uint64_t place = status == KVSTORE_OK ? first_fit(&used, bytes, from) : UINT64_MAX;
  if (status == KVSTORE_OK && place <= below && below - place >= bytes) {
    *offset = place;
    uint64_t end = ranges_end(&used);
    if (*offset + bytes > end) end = *offset + bytes;
    uint64_t kept = job->owed ? 0 : shared_load(&store->page->owed);
    status = grow_file(store, end + kept);
    if (status == KVSTORE_OK) status = reserve(job, *offset, bytes);
    if (status == KVSTORE_OK) shared_store(&store->page->used_end, end);
  }
  memory_release(used.ranges);
  return status;
}

static Status allocate(SpaceJob *job, uint64_t bytes, uint64_t from, uint64_t below, uint64_t *offset) {
  Store *store = job->store;
  bool died;
  TRY(shared_mutex_lock(&store->page->allocating, &died));
  Status status = allocate_locked(job, bytes, from, below, offset);
  shared_mutex_unlock(&store->page->allocating);
  return status;
}

Status space_take_below(SpaceJob *job, uint64_t bytes, uint64_t below, uint64_t *offset) {
  *offset = 0;
  return allocate(job, bytes, 0, below, offset);
}

Status space_take_from(SpaceJob *job, uint64_t bytes, uint64_t from, uint64_t *offset) {
  return allocate(job, bytes, from, UINT64_MAX, offset);
}

void space_job_init(SpaceJob *job, Store *store, bool owed) {
  memset(job, 0, sizeof *job);
  job->store = store;
  job->owed = owed;
}

Status store_sync_file(Store *store) {
  Status status = os_sync(store->file.file);
  COUNT(file_syncs);
  if (status != KVSTORE_OK) shared_store(&store->page->failed, 1);
  return status;
}

static Status take_place(SpaceJob *job, uint64_t bytes, uint64_t *offset) {
  uint64_t more = job->taken / AHEAD_SHARE < AHEAD_MAX ? job->taken / AHEAD_SHARE : AHEAD_MAX;
  if (more < bytes || job->reservation_count < AHEAD_FROM) more = bytes;
  if (job->ahead_end - job->ahead < bytes) {
    Status status = allocate(job, round_up(more, PAGE_BYTES), 0, UINT64_MAX, &job->ahead);
    if (status == KVSTORE_FULL && more > bytes) status = allocate(job, more = bytes, 0, UINT64_MAX, &job->ahead);
    job->ahead_end = status == KVSTORE_OK ? job->ahead + more : job->ahead;
    TRY(status);
  }
  *offset = job->ahead;
  job->ahead += bytes;
  job->taken += bytes;
  return KVSTORE_OK;
}

enum { WRITEBACK_MIN = 64 << 10, WRITEBACK_WAITING_MAX = 16 << 20 };

/* The disk begins with what is written, and is never far behind: else the job's sync, and any other process's sync of
 * the log meanwhile, would wait for all of it (DESIGN 9). */
static void start_writeback(SpaceJob *job, const Extent *extent) {
  OsFile *file = job->store->file.file;
  if (extent->length < WRITEBACK_MIN) return;
  os_writeback(file, extent->offset, extent->length, false);
  job->writing += extent->length;
  for (; job->writing > WRITEBACK_WAITING_MAX && job->written < job->extent_count; job->written++) {
    const Extent *oldest = &job->extents[job->written];
    if (oldest->length < WRITEBACK_MIN) continue;
    os_writeback(file, oldest->offset, oldest->length, true);
    job->writing -= oldest->length;
  }
}

Status space_write(SpaceJob *job, const uint8_t *bytes, size_t length, Extent *out) {
  Store *store = job->store;
  Extent extent = { 0 };
  extent.length = length;
  extent.birth = shared_load(&store->page->generation); /* whoever may read it has pinned this one or a later one */
  extent.id = atomic_fetch_add_explicit(&store->page->next_extent.word, 1, memory_order_relaxed);
  TRY(memory_grow(&job->extents, &job->extent_capacity, job->extent_count + 1, sizeof *job->extents));
  TRY(take_place(job, extent_bytes(length), &extent.offset));
  TRY(extent_write(&store->file, bytes, &extent));
  job->extents[job->extent_count++] = extent;
  start_writeback(job, &extent);
  *out = extent;
  return KVSTORE_OK;
}

void space_job_end(SpaceJob *job) {
  if (!job->store) return;
  SharedReservation *all = shared_reservations(job->store->page);
  size_t own = store_is_inherited(job->store) ? 0 : job->reservation_count; /* else they are the parent's */
  for (size_t i = 0; i < own; i++) atomic_store_explicit(&all[job->reservations[i]].owner, 0, memory_order_release);
  memory_release(job->reservations);
  memory_release(job->extents);
  memset(job, 0, sizeof *job);
}

/* ---- what was rolled back ---- */

/* Who reads what was never committed holds a version of this process. Ids ascend as extents are written, so those of a
 * job lie between its first and its last but for what others wrote meanwhile. */
static bool job_is_read(const SpaceJob *job) {
  uint64_t first = UINT64_MAX, last = 0;
  for (size_t i = 0; i < job->extent_count; i++) {
    if (job->extents[i].id < first) first = job->extents[i].id;
    if (job->extents[i].id > last) last = job->extents[i].id;
  }
  return job->extent_count && versions_name_extents(job->store, first, last);
}

void space_job_take_back(SpaceJob *job) {
  Store *store = job->store;
  if (!store || !job_is_read(job)) {
    space_job_end(job);
    return;
  }
  Orphan *orphan = memory_allocate(sizeof *orphan);
  if (!orphan) {
    job->reservation_count = 0; /* they stay until the process leaves */
    space_job_end(job);
    return;
  }
  *orphan = (Orphan){ .job = *job };
  memset(job, 0, sizeof *job);
  mutex_lock(&store->orphans_lock);
  orphan->next = store->orphans;
  store->orphans = orphan;
  mutex_unlock(&store->orphans_lock);
  maintenance_ask(store); /* reservations are few */
}

static void end_orphans(Store *store, bool (*ends)(const Orphan *orphan, uint64_t generation), uint64_t generation) {
  for (Orphan **link = &store->orphans; *link;) {
    Orphan *orphan = *link;
    if (!ends(orphan, generation)) {
      link = &orphan->next;
      continue;
    }
    *link = orphan->next;
    space_job_end(&orphan->job);
    memory_release(orphan);
  }
}

static bool is_unread(const Orphan *orphan, uint64_t generation) {
  (void)generation;
  return !orphan->generation && !job_is_read(&orphan->job);
}

static bool is_named(const Orphan *orphan, uint64_t generation) {
  return generation == UINT64_MAX || orphan->generation == generation;
}

bool space_sweep_orphans(Store *store) {
  mutex_lock(&store->orphans_lock);
  end_orphans(store, is_unread, 0);
  bool left = store->orphans != NULL;
  mutex_unlock(&store->orphans_lock);
  return left;
}

void space_name_orphans(Store *store, uint64_t generation, void (*each)(void *context, const Extent *extent),
                        void *context) {
  mutex_lock(&store->orphans_lock);
  for (Orphan *orphan = store->orphans; orphan; orphan = orphan->next) {
    for (size_t i = 0; i < orphan->job.extent_count; i++) each(context, &orphan->job.extents[i]);
    orphan->generation = generation;
  }
  mutex_unlock(&store->orphans_lock);
}

void space_end_orphans(Store *store, uint64_t generation) {
  mutex_lock(&store->orphans_lock);
  end_orphans(store, is_named, generation);
  mutex_unlock(&store->orphans_lock);
}

static Status sink_emit(void *context, const uint8_t *bytes, size_t length, uint32_t *ordinal) {
  SpaceSink *sink = context;
  Extent extent;
  TRY(space_write(sink->job, bytes, length, &extent));
  *ordinal = sink->count++;
  return KVSTORE_OK;
}

RunSink space_sink(SpaceSink *sink, SpaceJob *job) {
  sink->job = job;
  sink->count = 0;
  sink->first = job->extent_count;
  return (RunSink){ sink, sink_emit };
}

Status space_trim(Store *store) {
  UsedRanges used = { 0 };
  Status status = used_ranges(store, &used);
  uint64_t end = ranges_end(&used);
  memory_release(used.ranges);
  return status == KVSTORE_OK ? os_truncate(store->file.file, end) : status;
}

/* ---- giving back ---- */

static Status measure_end(Store *store, uint64_t *end) {
  UsedRanges used = { 0 };
  Status status = used_ranges(store, &used);
  *end = ranges_end(&used);
  memory_release(used.ranges);
  return status;
}

static void find_gap(const UsedRanges *used, uint64_t from, SpaceGap *gap) {
  uint64_t at = 0;
  for (size_t i = 0; i < used->count; i++) {
    const Range *range = &used->ranges[i];
    if (range->begin > at) {
      gap->free_bytes += range->begin - at;
      if (!gap->end && at >= from) {
        gap->begin = at;
        gap->end = range->begin;
      }
    }
    if (range->end > at) at = range->end;
  }
}

Status space_gap(Store *store, uint64_t from, SpaceGap *gap) {
  SharedPage *page = store->page;
  UsedRanges used = { 0 };
  bool died;
  TRY(shared_mutex_lock(&page->allocating, &died));
  Status status = used_ranges(store, &used);
  shared_mutex_unlock(&page->allocating);
  *gap = (SpaceGap){ 0 };
  if (status == KVSTORE_OK) find_gap(&used, from, gap);
  memory_release(used.ranges);
  return status;
}

Status space_end(Store *store, uint64_t *end) {
  SharedPage *page = store->page;
  bool died;
  TRY(shared_mutex_lock(&page->allocating, &died));
  Status status = measure_end(store, end);
  shared_mutex_unlock(&page->allocating);
  *end = round_up(*end + shared_load(&page->owed), PAGE_BYTES);
  return status;
}

/* Under both mutexes: what is owed and where the file ends are decided together. Who logs rows afterwards sees the new
 * end, and waits for `allocating` when it is not enough. */
static Status decide_end(Store *store, uint64_t target, uint64_t *size) {
  SharedPage *page = store->page;
  uint64_t end;
  TRY(measure_end(store, &end));
  uint64_t now = shared_load(&page->file_size), wanted = round_up(end + shared_load(&page->owed), PAGE_BYTES);
  if (wanted < target) wanted = target;
  *size = wanted < now ? wanted : now;
  shared_store(&page->used_end, end);
  shared_store(&page->file_size, *size);
  return KVSTORE_OK;
}

Status space_give_back(Store *store, uint64_t target) {
  SharedPage *page = store->page;
  bool died;
  uint64_t size = 0, before = shared_load(&page->file_size);
  TRY(shared_mutex_lock(&page->mutex, &died));
  Status status = shared_mutex_lock(&page->allocating, &died);
  if (status != KVSTORE_OK) {
    shared_mutex_unlock(&page->mutex);
    return status;
  }
  status = decide_end(store, target, &size);
  shared_mutex_unlock(&page->mutex);
  CRASH_POINT(vacuum_before_cut);
  if (status == KVSTORE_OK && size < before) status = os_truncate(store->file.file, size);
  shared_mutex_unlock(&page->allocating);
  return status;
}

Status space_measure(Store *store) {
  OsStat stat;
  UsedRanges used = { 0 };
  TRY(os_stat_file(store->file.file, &stat));
  Status status = used_ranges(store, &used);
  SharedPage *page = store->page;
  shared_store(&page->used_end, ranges_end(&used));
  shared_store(&page->file_size, stat.size);
  uint64_t start = shared_load(&page->start), end = shared_load(&page->end);
  shared_store(&page->owed, end > start ? 2 * (end - start) + FLUSH_OVERHEAD : 0);
  memory_release(used.ranges);
  return status;
}

Status space_owe(Store *store, uint64_t bytes) {
  SharedPage *page = store->page;
  uint64_t owed = shared_load(&page->owed), more = 2 * bytes + (owed ? 0 : FLUSH_OVERHEAD);
  if (LIKELY(shared_load(&page->used_end) + owed + more <= shared_load(&page->file_size))) {
    shared_store(&page->owed, owed + more);
    return KVSTORE_OK;
  }
  bool died;
  TRY(shared_mutex_lock(&page->allocating, &died));
  uint64_t needed = shared_load(&page->used_end) + owed + more, growth = needed / 16;
  if (growth < GROWTH_MIN) growth = GROWTH_MIN;
  Status status = grow_file(store, round_up(needed + growth, PAGE_BYTES));
  if (status == KVSTORE_FULL) status = grow_file(store, round_up(needed, PAGE_BYTES));
  if (status == KVSTORE_OK) shared_store(&page->owed, owed + more);
  shared_mutex_unlock(&page->allocating);
  return status;
}
