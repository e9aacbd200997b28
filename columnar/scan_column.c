/* scan_column.c - the columns of a unit as a scan sees them: encoded chunks, plain arrays, or one constant for all
 * rows. */
#include "base/bitmap.h"
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
  if (scan_is_computed(scan, column)) {
    c->computed_block = UINT32_MAX;
    c->kind = SCAN_COLUMN_COMPUTED;
  } else if (scan_unit_default(unit, column, &c->constant)) {
    c->constant.type = c->type;
    c->constant_is_filled = false;
    c->kind = SCAN_COLUMN_CONSTANT;
  } else if (unit->kind == SCAN_UNIT_SEGMENT) {
    TRY(segment_chunk(column_run_segment(unit->run, unit->segment), column, &c->hold));
    c->kind = SCAN_COLUMN_CHUNK;
    scan->counters.encodings |= UINT64_C(1) << c->hold.chunk->encoding;
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

static Status own_arrays(Scan *scan, ScanColumn *c) {
  if (c->constant_values) return KVSTORE_OK;
  void *values = arena_allocate_aligned(&scan->arena, 64, BLOCK_ROWS * c->width);
  c->constant_nulls = arena_allocate_zeroed(&scan->arena, BLOCK_ROWS);
  if (!values || !c->constant_nulls) return status_nomem();
  memset(values, 0, BLOCK_ROWS * c->width);
  c->constant_values = values;
  return KVSTORE_OK;
}

static Status fill_constant(Scan *scan, ScanColumn *c) {
  TRY(own_arrays(scan, c));
  memset(c->constant_nulls, c->constant.is_null, BLOCK_ROWS);
  if (c->constant.is_null) {
    memset(c->constant_values, 0, BLOCK_ROWS * c->width);
  } else {
    for (size_t i = 0; i < BLOCK_ROWS; i++) value_to_array(&c->constant, c->constant_values, i);
  }
  c->constant_is_filled = true;
  return KVSTORE_OK;
}

/* ---- computed columns ---- */

void scan_selected_rows(const Scan *scan, uint32_t block, uint64_t mask[BLOCK_WORDS]) {
  const ScanSelection *s = &scan->selection;
  if (s->whole >> block & 1)
    bitmap_fill_first(mask, BLOCK_WORDS, scan_block_rows(s->unit, block));
  else if (s->blocks >> block & 1)
    memcpy(mask, s->masks[block], BLOCK_WORDS * sizeof *mask);
  else
    memset(mask, 0, BLOCK_WORDS * sizeof *mask);
}

static bool is_within(const uint64_t *rows, const uint64_t *of, bool *any) {
  uint64_t outside = 0, some = 0;
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) {
    outside |= rows[w] & ~of[w];
    some |= rows[w];
  }
  *any = some != 0;
  return outside == 0;
}

Status scan_computed_array(Scan *scan, uint32_t position, uint32_t block, const uint64_t *mask, ColumnArray *out) {
  ScanColumn *c;
  bool any;
  TRY(scan_column(scan, position, &c));
  TRY(own_arrays(scan, c));
  bool is_there = is_within(mask, c->computed_rows, &any) && c->computed_block == block;
  if (any && !is_there) {
    c->computed_block = UINT32_MAX;
    TRY(scan->computing.block(scan->computer, scan, position, block, mask, c->constant_values, c->constant_nulls,
                              &c->computed));
    c->computed_block = block;
    memcpy(c->computed_rows, mask, sizeof c->computed_rows);
  }
  *out = (ColumnArray){ c->constant_values, c->computed.has_nulls ? c->constant_nulls : NULL };
  return KVSTORE_OK;
}

static Status computed_value(Scan *scan, uint32_t position, uint32_t row, ScanColumn *c, Value *out) {
  uint32_t i = row % BLOCK_ROWS;
  bool is_there = c->computed_block == row / BLOCK_ROWS && bit_get(c->computed_rows, i);
  if (!is_there) return scan->computing.row(scan->computer, scan, position, row, out);
  *out = (Value){ .type = c->type, .is_null = true };
  if (!c->computed.has_nulls || !c->constant_nulls[i]) *out = value_from_array(c->type, c->constant_values, i);
  return KVSTORE_OK;
}

/* ---- blocks and values ---- */

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
  if (c->kind == SCAN_COLUMN_COMPUTED) {
    uint64_t mask[BLOCK_WORDS];
    scan_selected_rows(scan, block, mask);
    TRY(scan_computed_array(scan, column, block, mask, &array));
  } else {
    TRY(scan_column_array(scan, c, block, &array));
  }
  size_t rows = scan_block_rows(scan->selection.unit, block);
  memcpy(values, array.values, rows * c->width);
  if (array.nulls) {
    memcpy(nulls, array.nulls, rows);
  } else {
    memset(nulls, 0, rows);
  }
  return KVSTORE_OK;
}

Status scan_read_valid(Scan *scan, uint32_t column, uint32_t block, void *values, uint64_t valid[BLOCK_WORDS],
                       bool *has_nulls) {
  ScanColumn *c;
  uint32_t rows = scan_block_rows(scan->selection.unit, block);
  TRY(scan_column(scan, column, &c));
  bitmap_fill_first(valid, BLOCK_WORDS, rows);
  if (c->kind == SCAN_COLUMN_CHUNK) {
    TRY(scan_chunk_block(scan, c, block, values, NULL));
    *has_nulls = chunk_block_null_count(c->hold.chunk, block) > 0;
    if (*has_nulls) chunk_validity(c->hold.chunk, block, valid);
    return KVSTORE_OK;
  }
  uint8_t nulls[BLOCK_ROWS];
  TRY(scan_read_block(scan, column, block, values, nulls));
  *has_nulls = memchr(nulls, 1, rows) != NULL;
  for (uint32_t i = 0; *has_nulls && i < rows; i++)
    if (nulls[i]) bit_clear(valid, i);
  return KVSTORE_OK;
}

Status scan_read_value(Scan *scan, uint32_t column, uint32_t row, Value *out) {
  ScanColumn *c;
  TRY(scan_column(scan, column, &c));
  if (c->kind == SCAN_COLUMN_CHUNK) return chunk_value(scan, c, row, out);
  if (c->kind == SCAN_COLUMN_COMPUTED) return computed_value(scan, column, row, c, out);
  scan_column_value(c, row, out);
  return KVSTORE_OK;
}

/* ---- for computers ---- */

/* Rows of one block, as long as they are. */
static uint32_t rows_of_block(const uint16_t *rows, uint32_t count, uint16_t within[BLOCK_ROWS]) {
  uint32_t n = 0;
  for (; n < count && rows[n] / BLOCK_ROWS == rows[0] / BLOCK_ROWS; n++) within[n] = rows[n] % BLOCK_ROWS;
  return n;
}

static Status gather_chunk(ScanColumn *c, const uint16_t *rows, uint32_t count, uint8_t *values, uint8_t *nulls) {
  uint16_t within[BLOCK_ROWS];
  for (uint32_t at = 0, some; at < count; at += some) {
    uint32_t block = rows[at] / BLOCK_ROWS;
    some = rows_of_block(rows + at, count - at, within);
    TRY(chunk_hold_block(&c->hold, block));
    codec_gather(c->hold.chunk, block, within, some, values + at * c->width, nulls + at);
  }
  return KVSTORE_OK;
}

Status scan_gather(Scan *scan, uint32_t column, const uint16_t *rows, uint32_t count, void *values, uint8_t *nulls) {
  ScanColumn *c;
  TRY(scan_column(scan, column, &c));
  if (c->kind == SCAN_COLUMN_CHUNK) return gather_chunk(c, rows, count, values, nulls);
  for (uint32_t i = 0; i < count; i++) {
    Value v;
    TRY(scan_read_value(scan, column, rows[i], &v));
    nulls[i] = v.is_null;
    if (v.is_null) v = (Value){ .type = c->type };
    value_to_array(&v, values, i);
  }
  return KVSTORE_OK;
}

uint32_t scan_block_positions(const Scan *scan, uint32_t block, uint16_t *rows) {
  uint64_t mask[BLOCK_WORDS];
  uint32_t count = 0;
  scan_selected_rows(scan, block, mask);
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) {
    for (uint64_t word = mask[w]; word; word &= word - 1)
      rows[count++] = (uint16_t)(block * BLOCK_ROWS + w * 64 + (uint32_t)__builtin_ctzll(word));
  }
  return count;
}

Status scan_block_view(Scan *scan, uint32_t column, uint32_t block, const uint64_t *mask, void *values, uint8_t *nulls,
                       ColumnArray *out) {
  ScanColumn *c;
  TRY(scan_column(scan, column, &c));
  if (c->kind == SCAN_COLUMN_COMPUTED) return scan_computed_array(scan, column, block, mask, out);
  if (c->kind != SCAN_COLUMN_CHUNK) return scan_column_array(scan, c, block, out);
  bool has_nulls = chunk_block_null_count(c->hold.chunk, block) > 0;
  TRY(scan_chunk_block(scan, c, block, values, has_nulls ? nulls : NULL));
  *out = (ColumnArray){ values, has_nulls ? nulls : NULL };
  return KVSTORE_OK;
}

bool scan_block_zone(Scan *scan, uint32_t column, uint32_t block, int64_t *minimum, int64_t *maximum) {
  const ScanColumn *c = scan->columns[column];
  if (!c) return false;
  if (c->kind == SCAN_COLUMN_COMPUTED) {
    *minimum = c->computed.low;
    *maximum = c->computed.high;
    return c->computed_block == block && c->computed.is_bounded;
  }
  if (c->kind != SCAN_COLUMN_CHUNK) return false;
  *minimum = chunk_block_minimum(c->hold.chunk, block);
  *maximum = chunk_block_maximum(c->hold.chunk, block);
  return *minimum <= *maximum;
}

uint8_t *scan_string_room(Scan *scan, size_t bytes) { return arena_allocate(&scan->strings, bytes); }
