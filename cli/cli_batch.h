/* cli_batch.h - rows that wait to be appended, as the column arrays that kvtable_append takes. */
#ifndef COLONNADE_CLI_BATCH_H
#define COLONNADE_CLI_BATCH_H

#include <colonnade/kvtable.h>

#include "cli/cli_text.h"

typedef struct BatchColumn {
  void *values;      /* of fixed width; unused for strings */
  uint8_t *nulls;    /* a byte a row */
  uint64_t *offsets; /* strings: into bytes; one more than rows */
  Text bytes;
} BatchColumn;

typedef struct Batch {
  const KVColumnDefinition *definitions; /* borrowed */
  size_t column_count;
  uint64_t row_count, row_capacity;
  BatchColumn *columns;
  KVColumnData *data;
} Batch;

void batch_begin(Batch *batch, const KVColumnDefinition *definitions, size_t column_count);
void batch_end(Batch *batch);
/* Sets the value of a column in the row that is being filled: every column once, then batch_next_row. The value has the
 * column's type, or is null; bytes are copied. */
void batch_set(Batch *batch, size_t column, const KVValue *value);
void batch_next_row(Batch *batch);
/* Whether it should be appended and cleared now. */
int batch_is_full(const Batch *batch);
void batch_clear(Batch *batch);
/* The arrays, valid until the batch changes. */
const KVColumnData *batch_data(Batch *batch);

#endif
