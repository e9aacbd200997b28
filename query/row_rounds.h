/* row_rounds.h - rows as they lie, found by several threads and given in the order of units.
 *
 *   round:   thread ─► takes a unit ─► copies of its batches ─► the next unit, until it has enough
 *            thread ─► ...
 *   between: the batches are given, unit after unit; nobody works
 *
 * So a cursor that stands still, or is given up, or is inherited by a forked child, has no thread that waits for it. */
#ifndef COLONNADE_QUERY_ROW_ROUNDS_H
#define COLONNADE_QUERY_ROW_ROUNDS_H

#include "query/query_internal.h"

typedef struct RowRounds RowRounds;

/* Whether rounds may serve a query's rows: all of those that are selected, as they lie, on several threads. */
bool row_rounds_fit(const Query *query, const TableSnapshot *snapshot);
/* Everything is borrowed; `rows` gives the first units' rows by itself. */
Status row_rounds_create(const Query *query, const TableSnapshot *snapshot, const QuerySpace *space, RowSource *rows,
                         RowRounds **rounds) MUST_CHECK;
void row_rounds_destroy(RowRounds *rounds); /* NULL is allowed */
/* As row_source_next. */
Status row_rounds_next(RowRounds *rounds, QueryBatch *batch) MUST_CHECK;
/* What others than `rows` have done. */
ScanCounters row_rounds_counters(const RowRounds *rounds);

#endif
