/* query_internal.h - a query, the batch that a cursor fills, and the two ways of filling it. */
#ifndef COLONNADE_QUERY_QUERY_INTERNAL_H
#define COLONNADE_QUERY_QUERY_INTERNAL_H

#include "base/arena.h"
#include "query/query.h"

struct Query {
  Schema schema;
  Arena arena; /* of the predicate */
  Predicate where;
  Buffer where_text; /* canonical, parameters as their values; empty: no filter */
  uint32_t *columns; /* of the rows: positions */
  size_t column_count;
  AggregateRequest *aggregates;
  size_t aggregate_count, aggregate_capacity;
  uint64_t offset, limit;
  bool is_ordered;
};

static inline const Predicate *query_predicate(const Query *q) { return q->where_text.length ? &q->where : NULL; }

/* KVSTORE_SCHEMA when the query was made for another schema. */
Status query_check_schema(const Query *query, const Schema *schema) MUST_CHECK;

/* ---- query_batch.c: arrays of at most QUERY_BATCH_ROWS rows ---- */
typedef struct BatchColumn {
  uint32_t column; /* position in the schema */
  ColumnType type;
  size_t width;
  uint8_t *values, *nulls;
  bool has_null;
} BatchColumn;

typedef struct Batch {
  uint32_t column_count, row_count;
  BatchColumn *columns;
  ColumnArray *arrays;
  void *block_values; /* a block that is decoded to take some of it */
  uint8_t *block_nulls;
} Batch;

/* Memory comes from `arena`. */
Status batch_create(const Query *query, Arena *arena, Batch *batch) MUST_CHECK;
void batch_clear(Batch *batch);
/* Appends rows of a block of the scan's unit: numbers within the block, ascending. There is room. Strings stay where
 * they are. */
Status batch_append_block(Batch *batch, Scan *scan, uint32_t block, const uint16_t *rows, uint32_t count) MUST_CHECK;
/* Appends one row of the scan's unit; strings are copied into `strings`. */
Status batch_append_row(Batch *batch, Scan *scan, uint32_t row, Arena *strings) MUST_CHECK;
void batch_finish(Batch *batch, QueryBatch *out);

/* ---- query_merge.c: rows in key order ---- */
typedef struct Merge Merge;
Status merge_create(const Query *query, const TableSnapshot *snapshot, Merge **merge) MUST_CHECK;
void merge_destroy(Merge *merge); /* NULL is allowed */
/* The next selected row: *scan (whose unit holds it) and its number; *scan is NULL at the end. Valid until the next
 * call. */
Status merge_next(Merge *merge, Scan **scan, uint32_t *row) MUST_CHECK;
ScanCounters merge_counters(const Merge *merge);

void counters_add(ScanCounters *to, const ScanCounters *from);

#endif
