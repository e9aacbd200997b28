/* column_view.h - columns of a table at a snapshot as plain arrays: in place where they lie in the file so, else
 * copies.
 *
 * Only columns of a fixed width. A view is made of pieces, rows that lie together: the segments of a run one after the
 * other, in the order of their keys; rows of a delta or of pairs, in no order. In every piece all columns of the view
 * have the same rows. */
#ifndef COLONNADE_QUERY_COLUMN_VIEW_H
#define COLONNADE_QUERY_COLUMN_VIEW_H

#include "base/arena.h"
#include "columnar/scan.h"

typedef struct ColumnViewArray {
  const void *values;    /* zeros beneath nulls */
  const uint64_t *valid; /* bit i: row i is not null; NULL: none is */
  bool is_in_file;       /* in the mapped file, nothing was copied */
} ColumnViewArray;

typedef struct ColumnViewPiece {
  uint64_t row_count;
  const uint64_t *live;    /* bit i: row i is a row of the table; NULL: all are. Others are dead or expired */
  ColumnViewArray *arrays; /* one a column, as they were asked for */
} ColumnViewPiece;

typedef struct ColumnViewBlock ColumnViewBlock;

typedef struct ColumnView {
  Arena arena;             /* of all that was copied, */
  ColumnViewBlock *blocks; /* but for large arrays */
  uint32_t *widths;        /* bytes of an entry of each column */
  uint64_t row_count;      /* live ones */
  size_t piece_count;
  ColumnViewPiece *pieces;
} ColumnView;

/* `columns` are positions in the snapshot's schema, of types with a fixed width. The snapshot must outlive the view.
 * After a failure (KVSTORE_CORRUPT, KVSTORE_IO, KVSTORE_NOMEM) nothing is kept. One thread makes it, any may read it.
 */
Status column_view_create(const TableSnapshot *snapshot, const uint32_t *columns, size_t column_count,
                          ColumnView *view) MUST_CHECK;
void column_view_release(ColumnView *view); /* leaves it zeroed */

#endif
