/* scan_column.c - the columns of a unit as a scan sees them: encoded chunks, plain arrays, or one constant for all
 * rows. */
#include "base/memory.h"
#include "columnar/scan_internal.h"

bool scan_unit_default(const ScanUnit *unit, uint32_t column, Value *out) {
  if (unit->kind == SCAN_UNIT_SEGMENT) {
    if (column_run_has(unit->run, column)) return false;
    *out = column_run_default(unit->run, column);
    return true;
  }
  if (unit->columns[column].values) return false;
  *out = unit->defaults ? unit->defaults[column] : (Value){ .is_null = true };
  return true;
}

static Status open_column(Scan *scan, uint32_t column, ScanColumn *c) {
  const ScanUnit *unit = scan->selection.unit;
  c->type = scan->schema->columns[column].type;
  c->width = type_array_width(c->type);
  c->row_count = unit->row_count;
  if (scan_unit_default(unit, column, &c->constant)) {
    c->constant.type = c->type;
    c->constant_is_filled = false;
    c->kind = SCAN_COLUMN_CONSTANT;
  } else if (unit->kind == SCAN_UNIT_SEGMENT) {
    TRY(segment_chunk(column_run_segment(unit->run, unit->segment), column, &c->hold));
    c->kind = SCAN_COLUMN_CHUNK;
  } else {
    c->values = unit->columns[column].values;
    c->nulls = unit->columns[column].nulls;
    c->kind = SCAN_COLUMN_ARRAY;
  }
  scan->open_columns[scan->open_count++] = column;
  return KVSTORE_OK;
}

Status scan_column(Scan *scan, uint32_t column, ScanColumn **out) {
  ScanColumn *c = scan->columns[column];
  if (!c) {
    c = arena_allocate_zeroed(&scan->arena, sizeof *c);
    if (!c) return status_nomem();
    scan->columns[column] = c;
  }
  if (c->kind == SCAN_COLUMN_CLOSED) TRY(open_column(scan, column, c));
  *out = c;
  return KVSTORE_OK;
}

void scan_close_columns(Scan *scan) {
  for (uint32_t i = 0; i < scan->open_count; i++) {
    ScanColumn *c = scan->columns[scan->open_columns[i]];
    if (c->kind == SCAN_COLUMN_CHUNK) segment_chunk_release(&c->hold);
    c->kind = SCAN_COLUMN_CLOSED;
  }
  scan->open_count = 0;
  arena_reset(&scan->strings);
  if (scan->expiry_is_open) segment_chunk_release(&scan->expiry);
  scan->expiry_is_open = false;
}

static Status fill_constant(Scan *scan, ScanColumn *c) {
  if (!c->constant_values) {
    c->constant_values = arena_allocate_zeroed(&scan->arena, BLOCK_ROWS * c->width);
    c->constant_nulls = c->constant_values ? arena_allocate(&scan->arena, BLOCK_ROWS) : NULL;
    if (!c->constant_nulls) {
      c->constant_values = NULL;
      return status_nomem();
    }
  }
  memset(c->constant_nulls, c->constant.is_null, BLOCK_ROWS);
  if (c->constant.is_null) {
    memset(c->constant_values, 0, BLOCK_ROWS * c->width);
  } else {
    for (size_t i = 0; i < BLOCK_ROWS; i++) value_to_array(&c->constant, c->constant_values, i);
  }
  c->constant_is_filled = true;
  return KVSTORE_OK;
}

Status scan_column_array(Scan *scan, ScanColumn *column, uint32_t block, ColumnArray *out) {
  if (column->kind == SCAN_COLUMN_ARRAY) {
    size_t first = (size_t)block * BLOCK_ROWS;
    out->values = column->values + first * column->width;
    out->nulls = column->nulls ? column->nulls + first : NULL;
    return KVSTORE_OK;
  }
  if (!column->constant_is_filled) TRY(fill_constant(scan, column));
  out->values = column->constant_values;
  out->nulls = column->constant.is_null ? column->constant_nulls : NULL;
  return KVSTORE_OK;
}

void scan_column_value(const ScanColumn *column, uint32_t row, Value *out) {
  if (column->kind == SCAN_COLUMN_CONSTANT) {
    *out = column->constant;
  } else if (column->nulls && column->nulls[row]) {
    *out = (Value){ .type = column->type, .is_null = true };
  } else {
    *out = value_from_array(column->type, column->values, row);
  }
}

/* Room for strings, until the unit is left; *room is NULL when none is needed. */
static Status strings_room(Scan *scan, uint64_t bytes, uint8_t **room) {
  *room = bytes ? arena_allocate(&scan->strings, (size_t)bytes) : NULL;
  return bytes && !*room ? status_nomem() : KVSTORE_OK;
}

Status scan_chunk_block(Scan *scan, ScanColumn *column, uint32_t block, void *values, uint8_t *nulls) {
  uint8_t *room;
  TRY(chunk_hold_block(&column->hold, block));
  TRY(strings_room(scan, codec_decode_room(column->hold.chunk, block), &room));
  codec_decode_into(column->hold.chunk, block, values, nulls, room);
  return KVSTORE_OK;
}

static Status chunk_value(Scan *scan, ScanColumn *column, uint32_t row, Value *out) {
  uint8_t *room;
  TRY(chunk_hold_block(&column->hold, row / BLOCK_ROWS));
  TRY(strings_room(scan, codec_get_room(column->hold.chunk), &room));
  codec_get_into(column->hold.chunk, row, out, room);
  return KVSTORE_OK;
}

Status scan_read_block(Scan *scan, uint32_t column, uint32_t block, void *values, uint8_t *nulls) {
  ScanColumn *c;
  TRY(scan_column(scan, column, &c));
  if (c->kind == SCAN_COLUMN_CHUNK) return scan_chunk_block(scan, c, block, values, nulls);
  ColumnArray array;
  TRY(scan_column_array(scan, c, block, &array));
  size_t rows = scan_block_rows(scan->selection.unit, block);
  memcpy(values, array.values, rows * c->width);
  if (array.nulls) {
    memcpy(nulls, array.nulls, rows);
  } else {
    memset(nulls, 0, rows);
  }
  return KVSTORE_OK;
}

Status scan_read_value(Scan *scan, uint32_t column, uint32_t row, Value *out) {
  ScanColumn *c;
  TRY(scan_column(scan, column, &c));
  if (c->kind == SCAN_COLUMN_CHUNK) return chunk_value(scan, c, row, out);
  scan_column_value(c, row, out);
  return KVSTORE_OK;
}
