/* column_merge.h - many column runs become fewer: compaction of tables.
 *
 * The inputs are merged by encoded key; dead rows and long expired ones stay behind; rows come out under the newest
 * schema, with the defaults of columns that older runs lack. A key is live in at most one input (protocol VIS-6): two
 * live rows of one key are KVSTORE_CORRUPT. Runs whose key ranges do not overlap (column_runs_overlap) need no merge.
 *
 * Memory: one decoded segment per input, one segment of output, and what the sink keeps. */
#ifndef COLONNADE_COLUMNAR_COLUMN_MERGE_H
#define COLONNADE_COLUMNAR_COLUMN_MERGE_H

#include "columnar/column_run.h"
#include "columnar/deleted_set.h"

typedef struct ColumnMergeInput {
  ColumnRun *run;            /* opened with the schema of the output */
  const DeletedSet *deleted; /* NULL: none */
} ColumnMergeInput;

typedef struct ColumnMergeOptions {
  const Schema *schema;   /* the newest one */
  int64_t expired_before; /* rows whose expiry is less than this stay behind; INT64_MIN: none do */
  ColumnRunOptions run;   /* of every output */
  /* Called before output run `number` (0, 1, ...) gets its first segment: fills in where its extents go. */
  Status (*open_output)(void *context, uint32_t number, RunSink *sink);
  /* Called when output `number` is complete. `directory` and `summary` are borrowed for the call, and may be taken
   * over: the callback then leaves zeroed structs behind. */
  Status (*close_output)(void *context, uint32_t number, Buffer *directory, ColumnRunSummary *summary);
  /* Asked before every segment that is read; true ends the merge with KVSTORE_CANCELLED. NULL: never. */
  bool (*cancelled)(void *context);
  void *context;
} ColumnMergeOptions;

typedef struct ColumnMergeResult {
  uint32_t run_count;     /* outputs closed; 0 when no row was left */
  uint64_t row_count;     /* rows written */
  uint64_t deleted_count; /* rows left out because they were dead */
  uint64_t expired_count; /* live rows left out because they had expired */
} ColumnMergeResult;

/* Merges. Outputs are key-disjoint and ascending; each has at most RUN_SEGMENTS_MAX segments. On failure outputs may
 * have been opened, written and closed: the caller forgets them. */
Status column_merge(const ColumnMergeInput *inputs, size_t input_count, const ColumnMergeOptions *options,
                    ColumnMergeResult *result) MUST_CHECK;

#endif
