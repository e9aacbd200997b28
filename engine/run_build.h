/* run_build.h - writing runs into the file and describing them in a manifest draft. */
#ifndef COLONNADE_ENGINE_RUN_BUILD_H
#define COLONNADE_ENGINE_RUN_BUILD_H

#include "engine/engine_internal.h"

/* A growing list of run entries, in an arena. */
typedef struct RunList {
  Arena *arena;
  RunEntry *runs;
  uint32_t count;
  size_t capacity;    /* of `runs`, which is heap memory until run_list_finish */
  uint64_t reclaimed; /* expired rows that were left behind */
  uint32_t packing;   /* ROW_PACKING_* of row runs of level 1 */
} RunList;

Status run_list_add(RunList *list, const RunEntry *entry) MUST_CHECK;
void run_list_release(RunList *list);

/* The entry of a run whose extents the sink has emitted: writes the directory as its last extent. */
Status run_entry_make(Store *store, SpaceSink *sink, uint32_t kind, uint32_t level, uint32_t schema_version,
                      uint64_t row_count, const Buffer *directory, Arena *arena, RunEntry *out) MUST_CHECK;

/* What row runs are made: see kv_run_shape. */
typedef struct RunShape {
  uint32_t level;       /* of the manifest's entries */
  uint64_t bytes_max;   /* a run ends when it has reached these */
  uint32_t piece_bytes; /* of its extents, at most */
  uint32_t runs_max;    /* 0: as many as it takes */
} RunShape;

/* What a merge yields from where it stands, as row runs; rows whose expiry is less than `expired_before` stay behind.
 * The cursor is still valid afterwards when `runs_max` was not enough. */
Status rows_to_run(Store *store, MergeCursor *cursor, SpaceJob *job, const RunShape *shape, int64_t expired_before,
                   RunList *list) MUST_CHECK;
/* Makes kv runs part of the open transaction: they are durable, its record names them, and the rows of deltas with one
 * of these keys die with them (VIS-6). */
Status bulk_adopt(Store *store, FamilyState *state, Era *era, const RunList *runs, const Bytes *keys,
                  size_t key_count) MUST_CHECK;
/* The manifest's entry of a family at a boundary, without runs. */
Status manifest_family_of(const FamilyState *state, uint64_t boundary, Arena *arena, FamilyEntry *out) MUST_CHECK;

/* Rows of one table as column runs: gathered from anywhere in key order, cut into runs as they fill. */
typedef struct TableRunBuilder TableRunBuilder;
typedef struct TableRunShape {
  bool key_filter;  /* the keys lie between those of other runs, so that who looks one up asks each of them */
  uint32_t threads; /* that may encode columns, the caller's own among them; 0: 1 */
} TableRunShape;
Status table_run_builder_create(Store *store, SpaceJob *job, const Schema *schema, TableRunShape shape, Arena *arena,
                                TableRunBuilder **out) MUST_CHECK;
/* Does any run of a table's era lie there? */
bool era_has_runs_between(const Era *era, Bytes first, Bytes last);
/* Row `row` of a delta; its arrays stay until the next flush of the builder, which the builder does by itself. */
Status table_run_builder_add(TableRunBuilder *b, const TableDelta *delta, uint32_t row) MUST_CHECK;
/* Those rows of a batch, in this order, which is that of their keys. */
Status table_run_builder_add_rows(TableRunBuilder *b, const ColumnBatch *rows, const uint32_t *order,
                                  uint32_t count) MUST_CHECK;
/* A batch of rows in key order. */
Status table_run_builder_add_batch(TableRunBuilder *b, const ColumnBatch *rows) MUST_CHECK;
/* Ends the last run and appends all of them to the list. */
Status table_run_builder_finish(TableRunBuilder *b, RunList *list) MUST_CHECK;
void table_run_builder_destroy(TableRunBuilder *b);

#endif
