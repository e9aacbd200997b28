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
  bool by_call;  /* somebody asks: what pays for who reads next, too */
  bool thorough; /* not what pays, but whatever holds a dead or long expired row */
} Compaction;

/* May its runs be compacted? Those of the manifest alone: adopted ones wait until a flush has named them, and so do
 * those of a table that they replace rows in. */
bool family_is_settled(const Version *v, const FamilyState *state);

/* ---- kv families ---- */

enum {
  KV_OVERLAPPING_MAX = 3, /* runs, where they are more than a small part of the family */
  KV_SMALL_SHARE = 16,    /* so many small parts make the family */
};

uint64_t kv_bytes(const Era *era);
/* Beyond that the overlapping runs of a family are merged into its level. */
uint64_t kv_overlapping_bytes_max(const Store *store, const Era *era);
/* The runs of a family of so many bytes. */
RunShape kv_run_shape(const Store *store, uint64_t family_bytes, uint32_t level);
/* How many of the oldest overlapping runs a round has begun to merge: a flush leaves them alone. */
uint32_t kv_runs_in_round(const Family *family, const Era *era);
/* Have the flushes got so far ahead of a merge into the level that they must wait for it? */
bool kv_merge_lags(const Store *store, const Family *family, const Era *era);
/* Or so far that writers must wait? */
bool kv_merge_is_far_behind(const Store *store, const Era *era);
bool kv_is_due(const Compaction *c, const Family *family, const Era *era);
/* One slice: all runs that the era has afterwards. Maintenance held. */
Status kv_compact(Compaction *c, Family *family, const Era *era, RunList *list) MUST_CHECK;

#endif
