#include "cli/cli_batch.h"

#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

/* A batch becomes a sorted run: the larger, the fewer of them, at the price of memory (64 MiB of numbers). */
#define BATCH_ROWS_MAX   ((uint64_t)1 << 20)
#define BATCH_ROWS_MIN   UINT64_C(64)
#define BATCH_VALUES_MAX ((uint64_t)8 << 20)
#define BATCH_BYTES_MAX  ((size_t)64 << 20) /* of strings */

static size_t width_of(int type) {
  switch (type) {
  case KVTABLE_TYPE_BOOL:
  case KVTABLE_TYPE_I8:
  case KVTABLE_TYPE_U8: return 1;
  case KVTABLE_TYPE_I16:
  case KVTABLE_TYPE_U16: return 2;
  case KVTABLE_TYPE_I32:
  case KVTABLE_TYPE_U32:
  case KVTABLE_TYPE_F32:
  case KVTABLE_TYPE_DATE: return 4;
  case KVTABLE_TYPE_STRING:
  case KVTABLE_TYPE_BYTES:
  case KVTABLE_TYPE_UUID:
  case KVTABLE_TYPE_FIXED_BYTES: return 0;
  default: return 8;
  }
}

void batch_begin(Batch *batch, const KVColumnDefinition *definitions, size_t column_count) {
  memset(batch, 0, sizeof *batch);
  batch->definitions = definitions;
  batch->column_count = column_count;
  uint64_t rows = BATCH_VALUES_MAX / (column_count ? column_count : 1);
  if (rows > BATCH_ROWS_MAX) rows = BATCH_ROWS_MAX;
  batch->row_capacity = rows < BATCH_ROWS_MIN ? BATCH_ROWS_MIN : rows;
  batch->columns = cli_allocate(column_count, sizeof *batch->columns);
  batch->data = cli_allocate(column_count, sizeof *batch->data);
  for (size_t i = 0; i < column_count; i++) {
    BatchColumn *column = &batch->columns[i];
    size_t width = width_of(definitions[i].type);
    column->nulls = cli_allocate(batch->row_capacity, 1);
    if (width) {
      column->values = cli_allocate(batch->row_capacity, width);
    } else {
      column->offsets = cli_allocate(batch->row_capacity + 1, sizeof *column->offsets);
    }
  }
}

void batch_end(Batch *batch) {
  for (size_t i = 0; i < batch->column_count; i++) {
    BatchColumn *column = &batch->columns[i];
    free(column->values);
    free(column->nulls);
    free(column->offsets);
    text_free(&column->bytes);
  }
  free(batch->columns);
  free(batch->data);
  memset(batch, 0, sizeof *batch);
}

static void set_fixed(void *values, uint64_t row, int type, const KVValue *value) {
  switch (type) {
  case KVTABLE_TYPE_BOOL: ((uint8_t *)values)[row] = value->as.i64 != 0; return;
  case KVTABLE_TYPE_I8: ((int8_t *)values)[row] = (int8_t)value->as.i64; return;
  case KVTABLE_TYPE_I16: ((int16_t *)values)[row] = (int16_t)value->as.i64; return;
  case KVTABLE_TYPE_I32:
  case KVTABLE_TYPE_DATE: ((int32_t *)values)[row] = (int32_t)value->as.i64; return;
  case KVTABLE_TYPE_I64:
  case KVTABLE_TYPE_DECIMAL:
  case KVTABLE_TYPE_TIME:
  case KVTABLE_TYPE_DURATION:
  case KVTABLE_TYPE_TIMESTAMP: ((int64_t *)values)[row] = value->as.i64; return;
  case KVTABLE_TYPE_U8: ((uint8_t *)values)[row] = (uint8_t)value->as.u64; return;
  case KVTABLE_TYPE_U16: ((uint16_t *)values)[row] = (uint16_t)value->as.u64; return;
  case KVTABLE_TYPE_U32: ((uint32_t *)values)[row] = (uint32_t)value->as.u64; return;
  case KVTABLE_TYPE_U64: ((uint64_t *)values)[row] = value->as.u64; return;
  case KVTABLE_TYPE_F32: ((float *)values)[row] = (float)value->as.f64; return;
  default: ((double *)values)[row] = value->as.f64; return;
  }
}

void batch_set(Batch *batch, size_t index, const KVValue *value) {
  BatchColumn *column = &batch->columns[index];
  uint64_t row = batch->row_count;
  column->nulls[row] = value->is_null != 0;
  if (column->offsets) {
    if (!value->is_null) text_add(&column->bytes, value->as.bytes.data, value->as.bytes.length);
    column->offsets[row + 1] = column->bytes.length;
  } else if (!value->is_null) {
    set_fixed(column->values, row, batch->definitions[index].type, value);
  } else {
    size_t width = width_of(batch->definitions[index].type);
    memset((char *)column->values + row * width, 0, width);
  }
}

void batch_next_row(Batch *batch) { batch->row_count++; }

int batch_is_full(const Batch *batch) {
  if (batch->row_count == batch->row_capacity) return 1;
  size_t bytes = 0;
  for (size_t i = 0; i < batch->column_count; i++) bytes += batch->columns[i].bytes.length;
  return bytes > BATCH_BYTES_MAX;
}

void batch_clear(Batch *batch) {
  batch->row_count = 0;
  for (size_t i = 0; i < batch->column_count; i++) batch->columns[i].bytes.length = 0;
}

const KVColumnData *batch_data(Batch *batch) {
  for (size_t i = 0; i < batch->column_count; i++) {
    BatchColumn *column = &batch->columns[i];
    KVColumnData *data = &batch->data[i];
    data->type = batch->definitions[i].type;
    data->nulls = column->nulls;
    data->form = column->offsets ? KVTABLE_FORM_OFFSETS : KVTABLE_FORM_ARRAY;
    data->offsets = column->offsets;
    data->values = column->offsets ? (const void *)column->bytes.data : column->values;
  }
  return batch->data;
}
