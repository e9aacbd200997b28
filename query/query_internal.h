/* query_internal.h - a query, and what stands between its snapshot and its batches:
 *
 *   rows as they lie, or merged by key ─┐
 *                                       ├─► having ─► sorter, when there is an order ─► offset, limit ─► batches
 *   groups, when all units are in ──────┘ */
#ifndef COLONNADE_QUERY_QUERY_INTERNAL_H
#define COLONNADE_QUERY_QUERY_INTERNAL_H

#include "base/arena.h"
#include "os/team.h"
#include "os/ticks.h"
#include "query/groups.h"
#include "query/program.h"
#include "query/query.h"
#include "query/unit_share.h"

/* A column of the groups: where it comes from. */
typedef struct GroupOutput {
  bool is_key;
  uint32_t index; /* of the key, or of the aggregate */
} GroupOutput;

typedef struct OrderTerm {
  uint32_t column; /* of the batches that are sorted */
  bool descending, nulls_last;
} OrderTerm;

/* Which keys a query looks at: those it was asked for, and what its filter says of them. */
typedef struct QueryKeys {
  /* asked */
  Buffer asked_low, asked_high; /* encoded, from the one on and before the other; empty: no end */
  Arena asked_arena;
  Predicate asked; /* the same of one row; root NULL: nothing was asked */
  Buffer asked_text;
  /* made of both */
  bool is_limited;
  Arena arena;
  Buffer low, high;
  Predicate all, inside; /* for rows of arrays, of segments */
  ScanKeys scan;
  uint32_t column_count; /* leading columns of the key that the filter compares */
} QueryKeys;

struct Query {
  Schema schema;   /* the table's columns, and those that are computed */
  Program program; /* over them */
  Arena arena;     /* of the predicate */
  Predicate where;
  Buffer where_text; /* canonical, parameters as their values; empty: no filter */
  QueryKeys range;
  bool is_of_joined; /* what comes in streams are joined rows, not pairs */
  uint32_t *columns; /* of the rows: positions */
  size_t column_count;
  AggregateRequest *aggregates;
  size_t aggregate_count, aggregate_capacity;
  /* groups */
  bool is_grouped;
  uint32_t *keys; /* positions */
  size_t key_count;
  GroupOutput *outputs;
  Schema output;          /* their columns; sums of integers are QUERY_TYPE_DECIMAL */
  Schema over_groups;     /* the same with sums of integers as f64, and what is computed from them */
  Program groups_program; /* over those; released with the groups */
  Arena output_arena;
  Arena having_arena;
  Predicate having[2]; /* sums of integers as i64, and as f64 */
  Buffer having_text;
  /* order */
  OrderTerm *order;
  size_t order_count;
  uint32_t *extra; /* positions of columns that rows are ordered by and not given with */
  size_t extra_count;
  uint64_t offset, limit;
  bool is_ordered;  /* by the key */
  uint32_t threads; /* of aggregates; 0: as many as it pays for */
};

/* A run: the plain aggregates, and the others as those of one group; or groups alone. Each as it is needed. */
typedef struct TableRun {
  Arena arena;
  AggregateRequest *plain, *other;
  size_t plain_count, other_count;
  Scan *scan;
  Aggregates *aggregates;
  Groups *groups;
  ScanCounters helped; /* what other threads have done, and the steps behind the scan */
} TableRun;

/* Makes what a run of the query's aggregates over all rows needs; given back by its owner, whatever comes. */
Status query_run_prepare(TableRun *run, const Query *query, const TableSnapshot *snapshot,
                         const QuerySpace *space) MUST_CHECK;

/* ---- query_team.c ---- */
/* team_run, for a query: KVSTORE_ERROR in a child that was forked off meanwhile. */
Status query_share_out(uint32_t members, TeamWork *work, void *context) MUST_CHECK;
/* Adds all units to run->aggregates and run->groups (NULL: there are none), on as many threads as the query says and as
 * it pays for; then groups_finish. The space's tick is called by the caller's own thread. */
Status query_run_units(const Query *query, const TableSnapshot *snapshot, const QuerySpace *space,
                       TableRun *run) MUST_CHECK;

/* ---- group_pipeline.c ---- */
/* Adds units from *next on to groups that are many, on so many threads; *next: the first that is not added. */
Status query_pipe_units(const Query *query, const TableSnapshot *snapshot, const QuerySpace *space, uint32_t threads,
                        uint32_t *next, TableRun *run) MUST_CHECK;

/* The column of a name, or of a text that is computed, which is added. */
Status query_position(Query *query, const char *text, uint32_t *position) MUST_CHECK;
/* The same of the columns of groups. */
Status query_group_position(Query *query, const char *text, uint32_t *position) MUST_CHECK;

static inline const Predicate *query_predicate(const Query *q) { return q->where_text.length ? &q->where : NULL; }

/* ---- query_key_range.c ---- */
/* Makes q->range anew for a filter (root NULL: none) that is about to be the query's; on failure they stay. */
Status query_keys_derive(Query *query, const Predicate *where) MUST_CHECK;
void query_keys_release(QueryKeys *keys);
/* A scan of the rows that the query selects. */
Status query_scan(const Query *query, const TableSnapshot *snapshot, Scan **scan) MUST_CHECK;

static inline Status query_tick(const QuerySpace *space, uint64_t rows) {
  return space && space->tick ? space->tick(space->context, rows, space->rows_total) : KVSTORE_OK;
}
/* What one of its helpers has of it: whether to go on. */
static inline QuerySpace query_help_space(const QuerySpace *space) {
  return space ? (QuerySpace){ .context = space->context, .tick = space->tick_help } : (QuerySpace){ 0 };
}
uint64_t query_snapshot_rows(const TableSnapshot *snapshot);

/* KVSTORE_SCHEMA when the query was made for another schema. */
Status query_check_schema(const Query *query, const Schema *schema) MUST_CHECK;

/* ---- query_explain_run.c: of a run, its time and where it went ---- */
void query_explain_time(const Query *query, const ScanCounters *counters, Buffer *out);
/* Members of the object that is open. */
void query_explain_time_json(const Query *query, const ScanCounters *counters, Buffer *out);

/* ---- query_groups.c ---- */
void query_forget_groups(Query *query);
typedef struct GroupSource GroupSource;
Status group_source_create(const Query *query, const TableSnapshot *snapshot, const QuerySpace *space,
                           GroupSource **source) MUST_CHECK;
void group_source_destroy(GroupSource *source); /* NULL is allowed */
/* The next groups that pass `having`; the first call reads the table. */
Status group_source_next(GroupSource *source, QueryBatch *batch) MUST_CHECK;
/* As query_ahead and query_fill. */
Status group_source_ahead(GroupSource *source, uint64_t *rows) MUST_CHECK;
Status group_source_fill(GroupSource *source, uint32_t most, void *const *values, uint8_t *const *nulls,
                         uint32_t *count) MUST_CHECK;
ScanCounters group_source_counters(const GroupSource *source);
uint64_t group_source_spilled(const GroupSource *source);

/* ---- query_rows.c: rows as they lie or by key, with the columns that they are ordered by behind ---- */
typedef struct RowSource RowSource;
Status row_source_create(const Query *query, const TableSnapshot *snapshot, const QuerySpace *space, uint64_t skip,
                         uint64_t limit, RowSource **source) MUST_CHECK;
void row_source_destroy(RowSource *source); /* NULL is allowed */
Status row_source_next(RowSource *source, QueryBatch *batch) MUST_CHECK;
ScanCounters row_source_counters(const RowSource *source);
/* From now on units are taken from there. As the rows lie, and between two units. */
void row_source_share(RowSource *source, UnitShare *share);
/* The unit of the last batch (UINT32_MAX: there was none); whether all of it was given. */
uint32_t row_source_unit(const RowSource *source);
bool row_source_is_between(const RowSource *source);
/* From now on a unit without rows gives a batch without any, as the end does; whether it is the end. */
void row_source_stop(RowSource *source, bool stops);
/* All units from this one on are the source's alone; it begins with the first row of it. */
void row_source_go_back(RowSource *source, uint32_t unit);
bool row_source_is_over(const RowSource *source);
/* From now on only rows are wanted whose value in this column has an image within, or, with `nulls`, is null. */
void row_source_bound(RowSource *source, uint32_t column, int64_t least, int64_t greatest, bool nulls);

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

/* The columns of the query's rows, then the extra ones. Memory comes from `arena`. */
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

/* Of many batches one in so many tells how long they take: no divisor of the blocks of a segment, so that each of those
 * has its turn. How many the next one's time stands for; 0: nobody looks at it. */
enum { QUERY_BATCHES_TIMED = 17 };
static inline uint64_t query_batch_weight(uint64_t before) {
  if (before < QUERY_BATCHES_TIMED) return 1;
  return before % QUERY_BATCHES_TIMED ? 0 : QUERY_BATCHES_TIMED;
}

/* The time of a whole run, or of a part of it on the caller's thread, in both measures. */
typedef struct QueryClock {
  uint64_t ns, ticks;
} QueryClock;
static inline QueryClock query_clock_start(void) { return (QueryClock){ os_monotonic_ns(os_posix()), os_ticks() }; }
static inline void query_clock_stop(const QueryClock *clock, uint64_t weight, ScanCounters *counters) {
  counters->ticks[SCAN_STEP_WHOLE] += (os_ticks() - clock->ticks) * weight;
  counters->whole_ns += (os_monotonic_ns(os_posix()) - clock->ns) * weight;
}

#endif
