/* sorter.h - rows of batches in an order of several columns.
 *
 * Each row becomes a record: a key of bytes whose memcmp order is the order asked for, with the row's number behind, so
 * that equals stay as they came; and its values. When only the first rows are wanted, what has fallen behind them is
 * dropped as it comes, and a row that is no better than the last of them is not taken in at all.
 *
 * Several threads may have a sorter each, of which one takes the others' rows over in the end. A row's number says
 * where it lies, so that equals stay as they lie whoever had them; and what one of them has as many better rows than
 * are wanted for, none of them wants. */
#ifndef COLONNADE_QUERY_SORTER_H
#define COLONNADE_QUERY_SORTER_H

#include "query/query_internal.h"

typedef struct Sorter Sorter;

typedef struct SorterOptions {
  uint64_t keep;           /* how many rows are wanted, at most */
  const QuerySpace *space; /* NULL: it stays in memory */
  _Atomic int64_t *worst;  /* NULL, or what sorters share that keep the same rows: INT64_MAX at first */
} SorterOptions;

/* `types` of the batches' columns; all but the options is borrowed until sorter_destroy. */
Status sorter_create(const ColumnType *types, uint32_t column_count, const OrderTerm *terms, size_t term_count,
                     const SorterOptions *options, Sorter **sorter) MUST_CHECK;
void sorter_destroy(Sorter *sorter); /* NULL is allowed */
/* The number of the next row, at first 0; it has to be more than those before. */
void sorter_number(Sorter *sorter, uint64_t number);
Status sorter_add(Sorter *sorter, const QueryBatch *batch) MUST_CHECK;
/* Ends the adding: sorts what is there. */
Status sorter_end(Sorter *sorter) MUST_CHECK;
/* Takes over the rows of another sorter of the same batches and terms, whose adding has ended, and of which no row was
 * asked for. */
Status sorter_take_over(Sorter *sorter, Sorter *other) MUST_CHECK;
/* The next rows in order; the first call ends the adding. Valid until the next call. */
Status sorter_next(Sorter *sorter, QueryBatch *batch) MUST_CHECK;
/* True when only rows are wanted any more whose first column (a number) has an image within, or, with *nulls, is null.
 */
bool sorter_bound(const Sorter *sorter, int64_t *least, int64_t *greatest, bool *nulls);

/* Bytes of memory that its rows take. */
uint64_t sorter_bytes(const Sorter *sorter);
/* Bytes that went out of memory. */
uint64_t sorter_spilled(const Sorter *sorter);

#endif
