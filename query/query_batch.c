/* query_batch.c - selected rows as arrays: whole blocks decoded in place, others taken out of a decoded block, few by
 * value. */
#include "base/memory.h"
#include "encodings/array.h"
#include "query/query_internal.h"

enum { BATCH_FEW_ROWS = 32 }; /* of a block: up to here reading each value costs less than decoding the block */

Status batch_create(const Query *query, Arena *arena, Batch *batch) {
  size_t own = query->column_count, count = own + query->extra_count;
  *batch = (Batch){ .column_count = (uint32_t)count };
  batch->columns = arena_allocate_zeroed(arena, (count + 1) * sizeof *batch->columns);
  batch->arrays = arena_allocate_zeroed(arena, (count + 1) * sizeof *batch->arrays);
  batch->block_values = arena_allocate_aligned(arena, 64, QUERY_BATCH_ROWS * sizeof(Bytes));
  batch->block_nulls = arena_allocate(arena, QUERY_BATCH_ROWS);
  if (!batch->columns || !batch->arrays || !batch->block_values || !batch->block_nulls) return status_nomem();
  for (size_t i = 0; i < count; i++) {
    BatchColumn *c = &batch->columns[i];
    c->column = i < own ? query->columns[i] : query->extra[i - own];
    c->type = query->schema.columns[c->column].type;
    c->width = type_array_width(c->type);
    c->values = arena_allocate_aligned(arena, 64, QUERY_BATCH_ROWS * c->width);
    c->nulls = arena_allocate_aligned(arena, 64, QUERY_BATCH_ROWS);
    if (!c->values || !c->nulls) return status_nomem();
  }
  return KVSTORE_OK;
}

void batch_clear(Batch *batch) {
  batch->row_count = 0;
  for (uint32_t i = 0; i < batch->column_count; i++) batch->columns[i].has_null = false;
}

static void put_value(BatchColumn *c, uint32_t at, const Value *value) {
  c->nulls[at] = value->is_null;
  if (!value->is_null) {
    value_to_array(value, c->values, at);
  } else {
    memset(c->values + at * c->width, 0, c->width);
    c->has_null = true;
  }
}

static Status append_few(BatchColumn *c, uint32_t at, Scan *scan, uint32_t block, const uint16_t *rows,
                         uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    Value value;
    TRY(scan_read_value(scan, c->column, block * BLOCK_ROWS + rows[i], &value));
    put_value(c, at + i, &value);
  }
  return KVSTORE_OK;
}

static Status append_column(Batch *batch, BatchColumn *c, Scan *scan, uint32_t block, const uint16_t *rows,
                            uint32_t count) {
  uint32_t at = batch->row_count;
  if (count <= BATCH_FEW_ROWS) return append_few(c, at, scan, block, rows, count);
  if (at == 0 && count == scan_block_rows(scan_selection(scan)->unit, block)) {
    TRY(scan_read_block(scan, c->column, block, c->values, c->nulls));
  } else {
    TRY(scan_read_block(scan, c->column, block, batch->block_values, batch->block_nulls));
    array_gather(c->width, batch->block_values, rows, count, c->values + at * c->width);
    array_gather(1, batch->block_nulls, rows, count, c->nulls + at);
  }
  if (memchr(c->nulls + at, 1, count)) c->has_null = true;
  return KVSTORE_OK;
}

Status batch_append_block(Batch *batch, Scan *scan, uint32_t block, const uint16_t *rows, uint32_t count) {
  for (uint32_t i = 0; i < batch->column_count; i++) {
    TRY(append_column(batch, &batch->columns[i], scan, block, rows, count));
  }
  batch->row_count += count;
  return KVSTORE_OK;
}

Status batch_append_row(Batch *batch, Scan *scan, uint32_t row, Arena *strings) {
  for (uint32_t i = 0; i < batch->column_count; i++) {
    BatchColumn *c = &batch->columns[i];
    Value value;
    TRY(scan_read_value(scan, c->column, row, &value));
    if (type_is_string(c->type) && !value.is_null && value.s.length) {
      value.s.data = arena_copy(strings, value.s.data, value.s.length);
      if (!value.s.data) return status_nomem();
    }
    put_value(c, batch->row_count, &value);
  }
  batch->row_count++;
  return KVSTORE_OK;
}

void batch_finish(Batch *batch, QueryBatch *out) {
  for (uint32_t i = 0; i < batch->column_count; i++) {
    const BatchColumn *c = &batch->columns[i];
    batch->arrays[i] = (ColumnArray){ .values = c->values, .nulls = c->has_null ? c->nulls : NULL };
  }
  *out = (QueryBatch){ batch->row_count, batch->column_count, batch->arrays };
}
