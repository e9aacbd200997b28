/* queries.h - what a KVQuery and a KVCursor are, for the two files that are about them: queries.c keeps what is asked,
 * query_runs.c runs it. */
#ifndef COLONNADE_KVAPI_QUERIES_H
#define COLONNADE_KVAPI_QUERIES_H

#include "engine/scratch.h"
#include "kvapi/snapshots.h"
#include "kvapi/tables.h"
#include "kvapi/values.h"
#include "query/join.h"

typedef struct Plan {
  uint32_t references; /* of the query and its cursors: one thread */
  Query *query;
  JoinPlan *join;                   /* NULL: of one table */
  KVTable *tables[JOIN_TABLES_MAX]; /* that are joined: snapshots of pairs read by their columns */
  size_t table_count;
} Plan;

typedef struct Filter {
  Arena arena;
  char *text; /* NULL: every row */
  Value *parameters;
  size_t parameter_count;
} Filter;

/* Names or aggregates as they were given, in an arena of their own. */
typedef struct NameList {
  Arena arena;
  const char **names;
  size_t count;
} NameList;
typedef struct AskList {
  Arena arena;
  KVAggregate *asks;
  size_t count;
} AskList;
/* A range of a family's keys: bytes with their lengths; has_*: there is one. */
typedef struct KeyRange {
  bool has_prefix, has_lower, has_upper;
  Buffer prefix, lower, upper; /* from `lower` on, before `upper` */
} KeyRange;
/* Tables that are joined, as it was asked. */
typedef struct JoinList {
  Arena arena;
  JoinAsk asks[JOIN_TABLES_MAX];
  KVTable *tables[JOIN_TABLES_MAX];
  size_t count;
  JoinPlan *shape; /* whose schema names all columns; NULL: there is none */
} JoinList;
/* A range of keys, as it was given; of no values: all. */
typedef struct KeyAsk {
  Arena arena;
  QueryKeyRange range;
} KeyAsk;
typedef struct OrderList {
  Arena arena;
  QueryOrder *terms;
  size_t count;
} OrderList;

struct KVQuery {
  uint32_t magic;
  uint32_t references; /* the caller's and its cursors': one thread */
  KVTable *table;
  KVSnapshot *snapshot; /* NULL: what is there at each run */
  JoinList joins;
  Filter filter;
  KeyRange keys;
  KeyAsk key_ask;    /* the same as a table's, for its columns */
  NameList selected; /* of none: all */
  NameList grouped;
  AskList computed;
  Filter having;
  OrderList order;
  uint64_t offset, limit, memory_limit;
  bool ordered, distinct;
  uint32_t threads;
  Plan *rows;       /* NULL until it is needed */
  Plan *aggregates; /* the same; answers what `asked` says */
  AskList asked;
  Arena strings;         /* of the last aggregates */
  Plan *last;            /* what ran last, for explain */
  ScanCounters counters; /* what that did, once somebody asks */
  KVCursor *stepped;     /* the cursor that did it, and has not been asked; NULL: they are there */
  uint64_t spilled;
  _Atomic uint64_t cancels; /* what began before the last one is to end; any thread */
  KVQueryProgress progress; /* NULL: nobody is told */
  void *progress_context;
};

/* What a run, or a cursor, looks at now and then: goes before the snapshot of its rows does. */
typedef struct Course {
  KVQuery *query;
  Scratch *scratch;
  uint64_t cancels;        /* when it began */
  _Atomic bool is_stopped; /* by who follows it */
} Course;

struct KVCursor {
  uint32_t magic;
  bool failed;
  KVQuery *query;
  Plan *plan;
  QueryCursor *rows;
  Course course;
  QueryBatch batch;
  uint32_t at; /* the current row; row_count: none yet of the next batch */
  bool on_row;
  size_t column_count;
  KVColumnData *columns; /* of the caller's batch */
};

/* For Arrow: query_ahead and query_fill, as calls on a cursor. Rows of a batch that is there already come first:
 * *count 0, as where there are none for filling. */
int cursor_ahead(KVCursor *cursor, uint64_t *rows);
int cursor_fill(KVCursor *cursor, uint32_t most, void *const *values, uint8_t *const *nulls, uint32_t *count);

void plan_release(Plan *plan); /* NULL is allowed */
/* Puts a plan (NULL: none) in the place of another. */
void plan_replace(Plan **place, Plan *plan);
/* Makes q->rows, or q->aggregates for what is asked, unless they are there. */
Status plan_rows(KVQuery *q) MUST_CHECK;
Status plan_aggregates(KVQuery *q, const KVAggregate *asks, size_t count) MUST_CHECK;

void plans_forget(KVQuery *q);
/* Of the query's rows: its table's, or that of all joined ones. */
const Schema *question_schema(const KVQuery *q);
void join_list_release(JoinList *joins);
/* A plan of the joins; *out is NULL when there are none. */
Status join_list_plan(const KVQuery *q, const KeyAsk *keys, JoinPlan **out) MUST_CHECK;
/* What a plan reads, and what of `space` is left for it. */
Status question_open(const KVQuery *q, const Plan *plan, bool rows, const QuerySpace *space, TableSnapshot *out,
                     QuerySpace *rest) MUST_CHECK;
/* A value that was given, copied into an arena. */
Status question_copy_value(Arena *arena, Value *value) MUST_CHECK;

/* A call on a query: in, never in, out. */
Status question_enter(KVQuery *q) MUST_CHECK;
int question_refuse(KVQuery *q, Status status);
int question_leave(KVQuery *q, Status status);
void question_drop(KVQuery *q); /* gives up a reference; NULL is allowed */
/* What it asks: the handle's session, or a snapshot's. */
Session *question_session(const KVQuery *q);
/* What one of its plans reads. */
Status question_snapshot(const KVQuery *q, const Plan *plan, bool rows, TableSnapshot *out) MUST_CHECK;
void key_range_release(KeyRange *range);
/* The range of a family's keys. */
KvRange question_key_range(const KVQuery *q);
Status question_check_asks(const KVAggregate *asks, size_t count) MUST_CHECK;

#endif
