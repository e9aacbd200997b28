/* join_internal.h - what a plan consists of, for the files that make it and run it. */
#ifndef COLONNADE_QUERY_JOIN_INTERNAL_H
#define COLONNADE_QUERY_JOIN_INTERNAL_H

#include <stdatomic.h>

#include "query/join.h"
#include "query/join_table.h"
#include "query/query_internal.h"

typedef struct JoinStep {
  JoinKind kind;
  const char *table;
  Query *query; /* of the other table: what is read of it */
  size_t count;
  uint32_t left[JOIN_COLUMNS_MAX], right[JOIN_COLUMNS_MAX];
  JoinDomain domains[JOIN_COLUMNS_MAX];
  uint32_t first, end; /* its columns among all */
  /* what the last run did */
  uint64_t hashed_rows, hashed_bytes, parts, partitions, spilled_bytes;
  _Atomic uint64_t left_out; /* rows of tables before it, by sieves */
} JoinStep;

struct JoinPlan {
  Arena arena;
  Schema schema;
  Query *own;
  JoinStep steps[JOIN_TABLES_MAX];
  size_t step_count;
  size_t shared; /* terms that one table is asked alone */
};

static inline bool join_gives_columns(const JoinStep *step) { return step->kind <= JOIN_LEFT; }
/* 0: the query's own table; s + 1: that of step s. */
static inline size_t join_table_of(const JoinPlan *plan, uint32_t column) {
  for (size_t s = 0; s < plan->step_count; s++)
    if (column >= plan->steps[s].first && column < plan->steps[s].end) return s + 1;
  return 0;
}
/* Sets needed[column] for what the query, and the steps from `step` on, read; not those that are decided (NULL: none
 * is).
 */
void join_needs(const JoinPlan *plan, const Query *query, bool rows, size_t step, const bool *decided, bool *needed);
/* A quoted string of JSON (query_explain.c). */
void explain_json_text(const char *text, Buffer *out);

#endif
