/* columns.c - whole columns across the door: numbers and KVBytes as they are, other forms of strings as arrays of
 * Bytes. */
#include <string.h>

#include "base/memory.h"
#include "kvapi/values.h"
#include "query/query.h"

_Static_assert(sizeof(KVBytes) == sizeof(Bytes) && offsetof(KVBytes, data) == offsetof(Bytes, data) &&
                 offsetof(KVBytes, length) == offsetof(Bytes, length),
               "arrays of strings cross the door as they are");

static Status fail_row(int code, const Column *column, uint32_t row, const char *what) {
  return status_fail_at(code, row, column->name, NULL, "row %u, column %s: %s", row, column->name, what);
}

static Status fail_column(const Column *column, const char *what) {
  return status_fail_at(KVSTORE_ERROR, UINT64_MAX, column->name, NULL, "column %s: %s", column->name, what);
}

/* ---- nulls ---- */

static bool all_of(const uint8_t *nulls, uint32_t rows) { return !memchr(nulls, 0, rows); }

static uint8_t highest(const uint8_t *nulls, uint32_t rows) {
  uint8_t most = 0;
  for (uint32_t i = 0; i < rows; i++) most = nulls[i] > most ? nulls[i] : most;
  return most;
}

/* The engine's null bytes are 0 and 1. */
static Status normalize_nulls(const uint8_t *given, uint32_t rows, Arena *arena, const uint8_t **out) {
  uint8_t most = given ? highest(given, rows) : 0;
  *out = most ? given : NULL;
  if (most <= 1) return KVSTORE_OK;
  uint8_t *nulls = arena_allocate(arena, rows);
  if (!nulls) return status_nomem();
  for (uint32_t i = 0; i < rows; i++) nulls[i] = given[i] != 0;
  *out = nulls;
  return KVSTORE_OK;
}

/* ---- strings ---- */

static Status check_pointers(const Bytes *strings, const uint8_t *nulls, const Column *column, uint32_t rows) {
  for (uint32_t i = 0; i < rows; i++)
    if (UNLIKELY(!strings[i].data && strings[i].length) && !(nulls && nulls[i]))
      return fail_row(KVSTORE_ERROR, column, i, "a string at NULL");
  return KVSTORE_OK;
}

static Status strings_by_offset(const KVColumnData *given, const uint8_t *nulls, const Column *column, uint32_t rows,
                                Bytes *out) {
  const uint64_t *offsets = given->offsets;
  if (!offsets) return fail_column(column, "the offsets are NULL");
  for (uint32_t i = 0; i < rows; i++) {
    if (offsets[i] > offsets[i + 1] || offsets[i + 1] > PTRDIFF_MAX)
      return fail_row(KVSTORE_ERROR, column, i, "its offsets descend");
    bool none = nulls && nulls[i];
    size_t length = none ? 0 : (size_t)(offsets[i + 1] - offsets[i]);
    out[i] = length ? (Bytes){ (const uint8_t *)given->values + offsets[i], length } : (Bytes){ NULL, 0 };
  }
  return KVSTORE_OK;
}

static Status strings_by_pointer(const KVColumnData *given, const uint8_t *nulls, const Column *column, uint32_t rows,
                                 Bytes *out) {
  const char *const *texts = given->values;
  for (uint32_t i = 0; i < rows; i++) {
    out[i] = (Bytes){ NULL, 0 };
    if (nulls && nulls[i]) continue;
    if (!texts[i] && !(given->lengths && !given->lengths[i]))
      return fail_row(KVSTORE_ERROR, column, i, "a string at NULL");
    size_t length = given->lengths ? given->lengths[i] : strlen(texts[i]);
    out[i] = (Bytes){ (const uint8_t *)texts[i], length };
  }
  return KVSTORE_OK;
}

static Status strings_from_caller(const KVColumnData *given, const uint8_t *nulls, const Column *column, uint32_t rows,
                                  Arena *arena, const void **out) {
  if (given->form == KVTABLE_FORM_ARRAY) {
    *out = given->values;
    return check_pointers(given->values, nulls, column, rows);
  }
  Bytes *strings = arena_allocate(arena, memory_array_size(rows, sizeof *strings));
  if (!strings) return status_nomem();
  *out = strings;
  return given->form == KVTABLE_FORM_OFFSETS ? strings_by_offset(given, nulls, column, rows, strings)
                                             : strings_by_pointer(given, nulls, column, rows, strings);
}

/* ---- columns ---- */

static Status check_shape(const KVColumnData *given, const Column *column) {
  uint32_t width = 0;
  if (given->type != type_to_caller(column->type, &width))
    return status_fail_at(KVSTORE_TYPE, UINT64_MAX, column->name, NULL, "column %s is of type %s, not %s", column->name,
                          type_name(column->type), kvtable_type_name(given->type));
  if (given->form < KVTABLE_FORM_ARRAY || given->form > KVTABLE_FORM_POINTERS)
    return fail_column(column, "there is no such form of data");
  if (given->form != KVTABLE_FORM_ARRAY && !type_is_string(column->type))
    return fail_column(column, "only strings come in this form");
  return KVSTORE_OK;
}

Status column_from_caller(const KVColumnData *given, const Column *column, uint32_t row_count, Arena *arena,
                          ColumnArray *out) {
  *out = (ColumnArray){ 0 };
  TRY(check_shape(given, column));
  TRY(normalize_nulls(given->nulls, row_count, arena, &out->nulls));
  if (!given->values) {
    bool empty =
      given->form == KVTABLE_FORM_OFFSETS && given->offsets && given->offsets[0] == given->offsets[row_count];
    if (!empty && !(out->nulls && all_of(out->nulls, row_count))) return fail_column(column, "the values are NULL");
    out->values = arena_allocate_zeroed(arena, memory_array_size(row_count, type_array_width(column->type)));
    return out->values ? KVSTORE_OK : status_nomem();
  }
  if (type_is_string(column->type))
    return strings_from_caller(given, out->nulls, column, row_count, arena, &out->values);
  out->values = given->values;
  return KVSTORE_OK;
}

KVColumnData column_to_caller(const ColumnArray *array, ColumnType type, uint32_t from) {
  const uint8_t *values = array->values;
  uint32_t width = 0;
  return (KVColumnData){ .type = type_to_caller(type, &width),
                         .form = KVTABLE_FORM_ARRAY,
                         .values = values + from * query_type_width(type),
                         .nulls = array->nulls ? array->nulls + from : NULL };
}
