/* row_fixture.h - a schema with a column of every type, and columns of random values for it. */
#ifndef COLONNADE_TESTS_WAL_ROW_FIXTURE_H
#define COLONNADE_TESTS_WAL_ROW_FIXTURE_H

#include "base/schema.h"

/* Each type twice: not null, then nullable. 34 columns, so that the null bits take five bytes and six are unused. */
enum { ROW_TYPES = 16, ROW_EXTRA = 2, ROW_COLUMNS = 2 * ROW_TYPES + ROW_EXTRA, ROW_FIXED_WIDTH = 5 };

static const ColumnType row_types[ROW_TYPES] = {
  TYPE_BOOL, TYPE_I8,  TYPE_I16, TYPE_I32,  TYPE_I64,       TYPE_U8,     TYPE_U16,   TYPE_U32,
  TYPE_U64,  TYPE_F32, TYPE_F64, TYPE_DATE, TYPE_TIMESTAMP, TYPE_STRING, TYPE_BYTES, TYPE_FIXED_BYTES,
};

static inline void row_schema(Schema *schema, Column columns[ROW_COLUMNS]) {
  static char name[] = "column";
  *schema = (Schema){ .version = 3, .column_count = ROW_COLUMNS, .columns = columns, .key_count = 1 };
  for (uint32_t c = 0; c < ROW_COLUMNS; c++) {
    ColumnType type = c < 2 * ROW_TYPES ? row_types[c / 2] : TYPE_STRING;
    columns[c] = (Column){ .id = c + 1, .type = type, .flags = c % 2 ? COLUMN_NULLABLE : 0, .name = name };
    if (type == TYPE_FIXED_BYTES) columns[c].width = ROW_FIXED_WIDTH;
  }
}

#endif
