/* table_order.h - the rows of a table's delta in the order of their keys, as a flush writes them.
 *
 * A delta finds its rows by hash. Their order is asked for once, when they become a run; so nobody keeps one while rows
 * are written, and it is made here (docs/decisions/0031). */
#ifndef COLONNADE_ROWSTORE_TABLE_ORDER_H
#define COLONNADE_ROWSTORE_TABLE_ORDER_H

#include <stdint.h>

#include "base/status.h"
#include "rowstore/table_delta.h"

typedef struct TableOrder {
  uint32_t *rows; /* by key, ascending; one a key */
  uint32_t count;
} TableOrder;

/* Of the rows from `first` on, those that the snapshot sees; may run beside the writer, as table_delta_find. When it
 * fails there is nothing to release. */
Status table_order_make(const TableDelta *delta, uint64_t snapshot, uint32_t first, TableOrder *out) MUST_CHECK;
void table_order_release(TableOrder *order);

#endif
