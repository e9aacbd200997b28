/* answer_bytes.h - all that a query's cursor gives, as bytes in the order that it comes in: to compare answers by. */
#ifndef COLONNADE_TESTS_QUERY_ANSWER_BYTES_H
#define COLONNADE_TESTS_QUERY_ANSWER_BYTES_H

#include "base/bytes.h"
#include "query/query.h"
#include "tests/support/test.h"

static inline void append_answer_value(Buffer *out, ColumnType type, const ColumnArray *a, uint32_t row) {
  bool is_null = a->nulls && a->nulls[row];
  buffer_u8(out, is_null);
  if (is_null) return;
  size_t width = query_type_width(type);
  if (type_is_string(type))
    buffer_bytes(out, ((const Bytes *)a->values)[row].data, ((const Bytes *)a->values)[row].length);
  else
    buffer_append(out, (const uint8_t *)a->values + row * width, width);
}

/* `counters` may be NULL. The snapshot is given back either way. */
static inline Status answer_bytes(Query *q, TableSnapshot snapshot, const QuerySpace *space, uint32_t threads,
                                  Buffer *out, ScanCounters *counters) {
  QueryCursor *cursor;
  QueryBatch batch;
  buffer_clear(out);
  query_threads(q, threads);
  Status status = query_open_within(q, &snapshot, space, &cursor);
  if (status != KVSTORE_OK) {
    table_snapshot_release(&snapshot);
    return status;
  }
  do {
    status = query_next(cursor, &batch);
    for (uint32_t row = 0; status == KVSTORE_OK && row < batch.row_count; row++)
      for (uint32_t c = 0; c < batch.column_count; c++)
        append_answer_value(out, query_column(q, c)->type, &batch.columns[c], row);
  } while (status == KVSTORE_OK && batch.row_count);
  if (counters) *counters = query_counters(cursor);
  query_close(cursor);
  return status;
}

static inline void check_same_answer(const Buffer *one, const Buffer *many) {
  CHECK_INT(many->length, one->length);
  CHECK(!one->length || memcmp(many->data, one->data, one->length) == 0);
}

#endif
