/* compact_internal.h - what the two halves of compaction share. Private to compact.c, compact_kv.c and flush.c. */
#ifndef COLONNADE_ENGINE_COMPACT_INTERNAL_H
#define COLONNADE_ENGINE_COMPACT_INTERNAL_H

#include "engine/engine_internal.h"
#include "engine/run_build.h"

typedef struct Compaction {
  Store *store;
  Version *version;
  Manifest *draft;
  SpaceJob *job;
  int64_t expired_before;
  bool thorough; /* not what pays, but whatever holds a dead or long expired row */
} Compaction;

bool kv_is_due(const Compaction *c, const Family *family, const Era *era);
/* One slice: all runs that the era has afterwards. Maintenance held. */
Status kv_compact(Compaction *c, Family *family, const Era *era, RunList *list) MUST_CHECK;
/* Beyond that the overlapping runs of a family are merged into its level. */
uint64_t kv_overlapping_bytes_max(const Store *store, const Era *era);
/* How many of the oldest overlapping runs a round has begun to merge: a flush leaves them alone. */
uint32_t kv_runs_in_round(const Family *family, const Era *era);

#endif
