/* fuzz_record.c - any bytes as the operations of a record, and as a table's row: refused, or read and written back the
 * same. */
#include <stdlib.h>

#include "tests/wal/row_fixture.h"
#include "wal/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition) {
  if (!condition) abort();
}

/* What was read, written again, is what was read from. */
static void row_again(const Schema *schema, Bytes payload, const Value *values) {
  union {
    uint64_t number;
    Bytes bytes;
  } entries[ROW_COLUMNS];
  uint8_t nulls[ROW_COLUMNS];
  ColumnArray arrays[ROW_COLUMNS];
  for (size_t c = 0; c < ROW_COLUMNS; c++) {
    memset(&entries[c], 0, sizeof entries[c]);
    if (!values[c].is_null) value_to_array(&values[c], &entries[c], 0);
    nulls[c] = values[c].is_null;
    arrays[c] = (ColumnArray){ &entries[c], &nulls[c] };
  }
  Buffer again = { 0 };
  record_row_write(&again, schema, arrays, 0);
  must(again.failed || (again.length == payload.length && memcmp(again.data, payload.data, payload.length) == 0));
  buffer_release(&again);
}

static void read_row(Bytes payload) {
  Schema schema;
  Column columns[ROW_COLUMNS];
  Value values[ROW_COLUMNS];
  row_schema(&schema, columns);
  if (record_row_read(payload, &schema, ROW_CHECK_TEXT, values, ROW_COLUMNS) == KVSTORE_OK) {
    row_again(&schema, payload, values);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  read_row((Bytes){ data, size });
  OperationReader reader = operation_reader_over((Bytes){ data, size });
  Buffer again = { 0 };
  size_t consumed = 0;
  bool more = true;
  while (more) {
    Operation op;
    if (operation_next(&reader, &op, &more) != KVSTORE_OK || !more) break;
    record_append_operation(&again, &op);
    consumed = (size_t)(reader.in.at - data);
    if (op.kind == OPERATION_ROW_UPSERT) read_row(op.payload);
  }
  must(again.failed || (again.length == consumed && (consumed == 0 || memcmp(again.data, data, consumed) == 0)));
  buffer_release(&again);
  RecordHeader header;
  if (size >= RECORD_HEADER_BYTES && record_header_read(data, &header)) {
    uint8_t bytes[RECORD_HEADER_BYTES];
    record_header_write(&header, bytes);
    must(memcmp(bytes, data, sizeof bytes) == 0);
  }
  return 0;
}
