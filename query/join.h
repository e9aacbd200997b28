/* join.h - tables joined to a query's own: rows of several tables as those of one.
 *
 *   filter ─► its terms on one table's columns alone go to that table's scan, the others stay with the query
 *
 *   last table ─► hashed ─┐ reduces what
 *   ...                   │ the tables before it take in
 *   first table ─► hashed ┴─► own table's rows look each of them up, a block at a time ─► a stream of rows
 *
 * A plan knows the columns of all tables; it is made with its query and as constant. What a hashed table has no memory
 * for it takes in later: the rows before it are then read again for each part (decision 0021), or both sides go to a
 * file by the hash of their keys (decision 0029). */
#ifndef COLONNADE_QUERY_JOIN_H
#define COLONNADE_QUERY_JOIN_H

#include "query/query.h"

enum { JOIN_TABLES_MAX = 16, JOIN_COLUMNS_MAX = 16 };

typedef enum JoinKind { JOIN_INNER, JOIN_LEFT, JOIN_SEMI, JOIN_ANTI } JoinKind;

typedef struct JoinAsk {
  JoinKind kind;
  const Schema *schema;    /* of the other table */
  const char *table;       /* its name, for explain */
  const char *prefix;      /* before the names of its columns; may be empty */
  const char *const *left; /* columns of what is joined so far */
  const char *const *right;
  size_t count;
  const char *where; /* of the other table alone; NULL: all of its rows */
  const Value *parameters;
  size_t parameter_count;
} JoinAsk;

typedef struct JoinPlan JoinPlan;

Status join_plan_create(const Schema *own, JoinPlan **plan) MUST_CHECK;
void join_plan_destroy(JoinPlan *plan); /* NULL is allowed */
/* KVSTORE_SCHEMA: no such column, a name that is there already. KVSTORE_TYPE: columns that do not compare. After a
 * failure only join_plan_destroy may follow. */
Status join_plan_add(JoinPlan *plan, const JoinAsk *ask) MUST_CHECK;
/* Of the joined rows: the query is made for it. */
const Schema *join_plan_schema(const JoinPlan *plan);
/* Keys of the query's own table. */
Status join_plan_keys(JoinPlan *plan, const QueryKeyRange *range) MUST_CHECK;
/* Takes the terms out of the query's filter that one table can be asked alone. */
Status join_plan_share(JoinPlan *plan, Query *query) MUST_CHECK;
/* Which columns of its tables are read: table 0 is the query's own. `wanted` has an entry for each column. */
void join_plan_wanted(const JoinPlan *plan, const Query *query, bool rows, size_t table, bool *wanted);

/* The joined rows of snapshots, one a table, which are taken over when it succeeds, as one stream: all at the clock of
 * the first. `space`: what the run may hold (NULL: no limit); *rest becomes what is left of it for the query. */
Status join_open(JoinPlan *plan, const Query *query, bool rows, const QuerySpace *space, TableSnapshot *tables,
                 TableSnapshot *out, QuerySpace *rest) MUST_CHECK;
/* What the scans of the tables did, so far. */
ScanCounters join_counters(const TableSnapshot *joined);
uint64_t join_spilled(const TableSnapshot *joined); /* bytes, so far */

void join_explain(const JoinPlan *plan, Buffer *out);
void join_explain_json(const JoinPlan *plan, Buffer *out); /* `[{...}]` */

#endif
