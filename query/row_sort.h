/* row_sort.h - the rows of a query on their way into a sorter: by one thread, or by several that share the units out.
 *
 *   units ─► who is free takes the next one ─► its row source ─► its sorter ─┐ what one has enough better rows than
 *                                          └─► another's ─────► another's ──┤ leaves rows out of the others, too
 *                                                                           └─► sorted runs, merged as they are given
 */
#ifndef COLONNADE_QUERY_ROW_SORT_H
#define COLONNADE_QUERY_ROW_SORT_H

#include "query/query_internal.h"
#include "query/sorter.h"

typedef struct RowSort {
  const Query *query;
  const TableSnapshot *snapshot;
  const QuerySpace *space; /* NULL: there is no limit */
  const ColumnType *types; /* of the batches' columns */
  uint32_t type_count;
  uint64_t keep;         /* how many rows are wanted, at most */
  RowSource *rows;       /* the calling thread's */
  Sorter *sorter;        /* the same; in the end all rows are there */
  _Atomic int64_t worst; /* of all sorters; INT64_MAX at first */
  ScanCounters done;     /* by helpers, and the steps behind the scans */
} RowSort;

/* Everything but `done` is set. */
Status row_sort_fill(RowSort *sort) MUST_CHECK;

#endif
