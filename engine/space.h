/* space.h - who takes room in the file: extents that no manifest names yet, and what was rolled back and is still read.
 */
#ifndef COLONNADE_ENGINE_SPACE_H
#define COLONNADE_ENGINE_SPACE_H

#include "engine/engine.h"
#include "engine/extent.h"
#include "rowstore/row_run.h"

/* The extents that one flush, compaction or bulk load has taken and no manifest names yet. */
typedef struct SpaceJob {
  Store *store;
  Extent *extents;
  size_t extent_count, extent_capacity;
  uint32_t *reservations; /* indexes into the page */
  size_t reservation_count, reservation_capacity;
  uint64_t taken, ahead, ahead_end; /* bytes of extents; what is reserved beyond them */
  uint64_t writing;                 /* bytes of extents that the disk has begun with and may not have written */
  size_t written;                   /* extents before this one are written */
  bool owed;                        /* may use what is kept for the flush of acknowledged commits */
} SpaceJob;

/* What a transaction wrote that was rolled back, while somebody may still read it: it stays reserved until a generation
 * has it in its limbo, or nobody reads it any more. */
typedef struct Orphan {
  struct Orphan *next;
  SpaceJob job;
  uint64_t generation; /* of the draft that has it in its limbo; 0: none */
} Orphan;

/* A sync that fails may have lost any page of the file that was written since the last one, by whomever, the log's own
 * in it too; the next sync would not tell. So nothing more is written until every process has closed the store. */
Status store_sync_file(Store *store) MUST_CHECK;
void space_job_init(SpaceJob *job, Store *store, bool owed);
/* Writes one extent somewhere free; its entry is the job's last. */
Status space_write(SpaceJob *job, const uint8_t *bytes, size_t length, Extent *out) MUST_CHECK;
/* Reserves a free place that ends at `below` at the latest: *offset, or 0 when there is none. */
Status space_take_below(SpaceJob *job, uint64_t bytes, uint64_t below, uint64_t *offset) MUST_CHECK;
/* Reserves the first free place at or behind `from`. */
Status space_take_from(SpaceJob *job, uint64_t bytes, uint64_t from, uint64_t *offset) MUST_CHECK;
/* Gives up the reservations; the extents are named by a manifest now, or forgotten. */
void space_job_end(SpaceJob *job);
/* The same of a transaction that was rolled back: what its own views, values and cursors read stays as it is. */
void space_job_take_back(SpaceJob *job);
/* Ends what nobody reads any more; says whether something is left. */
bool space_sweep_orphans(Store *store);
/* Calls `each` for their extents, which the draft of `generation` is about to name; once it is published they end. */
void space_name_orphans(Store *store, uint64_t generation, void (*each)(void *context, const Extent *extent),
                        void *context);
void space_end_orphans(Store *store, uint64_t generation); /* UINT64_MAX: all */
/* Makes sure that the file has room for the flush of `bytes` more of log (FILE-8). */
Status space_owe(Store *store, uint64_t bytes) MUST_CHECK;
/* A RunSink over a job: `context` is a SpaceSink. */
typedef struct SpaceSink {
  SpaceJob *job;
  uint32_t count;
  size_t first; /* index of the run's first extent in the job */
} SpaceSink;
RunSink space_sink(SpaceSink *sink, SpaceJob *job);
/* Cuts the file behind its last used extent. Nobody else has the store. */
Status space_trim(Store *store) MUST_CHECK;
typedef struct SpaceGap {
  uint64_t begin, end; /* 0 and 0: there is none */
  uint64_t free_bytes; /* in all gaps before the last used range */
} SpaceGap;
/* The first free place between used ranges that begins at `from` at the earliest. */
Status space_gap(Store *store, uint64_t from, SpaceGap *gap) MUST_CHECK;
/* Where the file could be cut now: behind what is used, and what is owed to the log. */
Status space_end(Store *store, uint64_t *end) MUST_CHECK;
/* Cuts the file there, but not below `target`. Maintenance held. */
Status space_give_back(Store *store, uint64_t target) MUST_CHECK;
/* Fills in the page's words about space, at its birth. */
Status space_measure(Store *store) MUST_CHECK;

#endif
