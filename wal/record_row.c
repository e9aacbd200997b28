/* record_row.c - the row of a table as an operation holds it.
 *
 * Columns of fixed width lie before the strings, so that their offsets follow from the schema alone; two readers walk
 * the two parts in step with the schema. */
#include "wal/record.h"

#include <string.h>

#include "base/assert.h"
#include "wal/record_internal.h"

/* Bytes of a column in the fixed part: its natural width; 0 for those that lie in the string part. */
static size_t fixed_width(const Column *column) {
  if (type_is_fixed(column->type)) return column->width;
  return type_is_string(column->type) ? 0 : type_array_width(column->type);
}

static size_t fixed_total(const Schema *schema) {
  size_t total = 0;
  for (uint32_t c = 0; c < schema->column_count; c++) total += fixed_width(&schema->columns[c]);
  return total;
}

static size_t null_bytes(const Schema *schema) { return ((size_t)schema->column_count + 7) / 8; }

static bool is_variable(const Column *column) { return column->type == TYPE_STRING || column->type == TYPE_BYTES; }

static bool array_is_null(const ColumnArray *array, size_t row) { return array->nulls && array->nulls[row]; }

/* ---- writing ---- */

size_t record_row_size(const Schema *schema, const ColumnArray *columns, size_t row) {
  size_t size = null_bytes(schema);
  for (uint32_t c = 0; c < schema->column_count; c++) {
    if (LIKELY(!is_variable(&schema->columns[c]))) {
      size += fixed_width(&schema->columns[c]);
    } else if (!array_is_null(&columns[c], row)) {
      size_t length = ((const Bytes *)columns[c].values)[row].length;
      size += varint_size(length) + length;
    }
  }
  return size;
}

/* A copy of a width that is known where it stands is one instruction, not a call. */
static void put_number(uint8_t *at, const uint8_t *from, size_t width) {
  switch (width) {
  case 1: *at = *from; break;
  case 2: memcpy(at, from, 2); break;
  case 4: memcpy(at, from, 4); break;
  default: memcpy(at, from, 8);
  }
}

static uint8_t *put_fixed(uint8_t *at, const Column *column, const ColumnArray *array, size_t row) {
  if (LIKELY(!type_is_fixed(column->type) && !array->nulls)) { /* most columns of most rows */
    size_t width = type_array_width(column->type);
    put_number(at, (const uint8_t *)array->values + row * width, width);
    return at + width;
  }
  size_t width = fixed_width(column);
  if (array_is_null(array, row)) {
    memset(at, 0, width);
  } else if (type_is_fixed(column->type)) {
    Bytes value = ((const Bytes *)array->values)[row];
    ASSERT(value.length == width, "WAL-9");
    bytes_put(at, value.data, width);
  } else {
    put_number(at, (const uint8_t *)array->values + row * width, width);
  }
  return at + width;
}

void row_put(uint8_t *at, const Schema *schema, const ColumnArray *columns, size_t row) {
  uint8_t *nulls = at;
  uint32_t end = 0; /* behind the last column of any length */
  memset(nulls, 0, null_bytes(schema));
  at += null_bytes(schema);
  for (uint32_t c = 0; c < schema->column_count; c++) {
    if (array_is_null(&columns[c], row)) nulls[c / 8] |= (uint8_t)(1u << (c % 8));
    if (is_variable(&schema->columns[c]))
      end = c + 1;
    else
      at = put_fixed(at, &schema->columns[c], &columns[c], row);
  }
  for (uint32_t c = 0; c < end; c++) {
    if (!is_variable(&schema->columns[c]) || array_is_null(&columns[c], row)) continue;
    Bytes value = ((const Bytes *)columns[c].values)[row];
    at = varint_put(at, value.length);
    at = bytes_put(at, value.data, value.length);
  }
}

void record_row_write(Buffer *out, const Schema *schema, const ColumnArray *columns, size_t row) {
  uint8_t *at = buffer_extend(out, record_row_size(schema, columns, row));
  if (at) row_put(at, schema, columns, row);
}

/* ---- reading ---- */

typedef struct RowParts {
  const uint8_t *nulls;
  Reader fixed, strings;
} RowParts;

static Status row_open(Bytes payload, const Schema *schema, RowParts *out) {
  Reader in = reader_over(payload.data, payload.length);
  out->nulls = reader_take(&in, null_bytes(schema));
  size_t fixed_length = fixed_total(schema);
  const uint8_t *fixed = reader_take(&in, fixed_length);
  if (in.failed) {
    return status_fail(KVSTORE_CORRUPT, "a row in the log has %zu bytes, fewer than its fixed columns", payload.length);
  }
  unsigned used = schema->column_count % 8;
  if (used && out->nulls[schema->column_count / 8] >> used) {
    return status_fail(KVSTORE_CORRUPT, "a row in the log has null bits beyond its %u columns", schema->column_count);
  }
  out->fixed = reader_over(fixed, fixed_length);
  out->strings = in;
  return KVSTORE_OK;
}

static bool all_zero(const uint8_t *bytes, size_t length) {
  for (size_t i = 0; i < length; i++) {
    if (bytes[i]) return false;
  }
  return true;
}

/* Times lie within a day, decimals have at most 18 digits. */
static bool is_of_type(ColumnType type, const uint8_t *bytes) {
  int64_t low, high;
  if (!type_has_gaps(type) || type == TYPE_BOOL) return true;
  type_image_bounds(type, &low, &high);
  int64_t number = (int64_t)load_u64(bytes);
  return number >= low && number <= high;
}

/* The bytes of the next column, in schema order; of a null, no bytes. */
static Status row_next(RowParts *parts, const Schema *schema, uint32_t c, unsigned flags, Bytes *value, bool *is_null) {
  const Column *column = &schema->columns[c];
  *is_null = parts->nulls[c / 8] >> (c % 8) & 1;
  *value = (Bytes){ NULL, 0 };
  const char *fault = NULL;
  if (*is_null && !(column->flags & COLUMN_NULLABLE)) fault = "is null and may not be";
  if (is_variable(column)) {
    if (!*is_null) *value = bytes_take(&parts->strings);
    if (parts->strings.failed)
      fault = "ends beyond the row";
    else if (flags & ROW_CHECK_TEXT && column->type == TYPE_STRING && !bytes_are_utf8(value->data, value->length)) {
      fault = "is not UTF-8";
    }
  } else {
    size_t width = fixed_width(column);
    const uint8_t *bytes = reader_take(&parts->fixed, width);
    if (*is_null && !all_zero(bytes, width)) fault = "has a value beneath a null";
    if (!*is_null && column->type == TYPE_BOOL && *bytes > 1) fault = "is neither true nor false";
    if (!*is_null && bytes && !is_of_type(column->type, bytes)) fault = "is no value of its type";
    if (!*is_null) *value = (Bytes){ bytes, width };
  }
  if (fault) return status_fail(KVSTORE_CORRUPT, "a row in the log: column '%s' %s", column->name, fault);
  return KVSTORE_OK;
}

static Status row_finish(const RowParts *parts) {
  size_t left = reader_left(&parts->strings);
  if (left) return status_fail(KVSTORE_CORRUPT, "a row in the log has %zu bytes after its last column", left);
  return KVSTORE_OK;
}

static Value value_of(const Column *column, Bytes bytes, bool is_null) {
  Value value = { .type = column->type, .is_null = is_null };
  if (type_is_string(column->type)) {
    value.s = bytes;
  } else if (!is_null) {
    uint64_t aligned = 0; /* the fixed part has no alignment */
    ASSERT(bytes.data && bytes.length <= sizeof aligned, "WAL-9");
    memcpy(&aligned, bytes.data, bytes.length);
    value = value_from_array(column->type, &aligned, 0);
  }
  return value;
}

Status record_row_read(Bytes payload, const Schema *schema, unsigned flags, Value *values, size_t count) {
  ASSERT(count == schema->column_count, "WAL-9");
  RowParts parts;
  TRY(row_open(payload, schema, &parts));
  for (uint32_t c = 0; c < schema->column_count; c++) {
    Bytes bytes;
    bool is_null;
    TRY(row_next(&parts, schema, c, flags, &bytes, &is_null));
    values[c] = value_of(&schema->columns[c], bytes, is_null);
  }
  return row_finish(&parts);
}

/* A null has no bytes, and leaves zeros. */
static void store_into(const Column *column, Bytes bytes, void *array, size_t row) {
  if (type_is_string(column->type)) {
    ((Bytes *)array)[row] = bytes;
    return;
  }
  size_t width = type_array_width(column->type);
  uint8_t *entry = (uint8_t *)array + row * width;
  if (bytes.data)
    memcpy(entry, bytes.data, width);
  else
    memset(entry, 0, width);
}

Status record_row_read_into(Bytes payload, const Schema *schema, unsigned flags, void *const *columns,
                            uint8_t *const *nulls, size_t row) {
  RowParts parts;
  TRY(row_open(payload, schema, &parts));
  for (uint32_t c = 0; c < schema->column_count; c++) {
    Bytes bytes;
    bool is_null;
    TRY(row_next(&parts, schema, c, flags, &bytes, &is_null));
    store_into(&schema->columns[c], bytes, columns[c], row);
    if (schema->columns[c].flags & COLUMN_NULLABLE) nulls[c][row] = is_null;
  }
  return row_finish(&parts);
}
