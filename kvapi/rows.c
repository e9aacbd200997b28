/* rows.c - rows of a table: one by one, by key, and many at once. */
#include <string.h>

#include "base/memory.h"
#include "kvapi/pair_tables.h"
#include "kvapi/values.h"

enum { ROW_WORDS = 512 }; /* what a call needs for a row of some fifty columns */

struct KVRow {
  uint32_t magic;
  Arena strings;
};

/* ---- values and keys of a call ---- */

static Status fit_key(const KVTable *table, const KVValue *given, size_t count, Value key[KEY_COLUMNS_MAX]) {
  const Schema *schema = &table->schema;
  if (!given && count) return bad_argument("the key is NULL");
  if (count != schema->key_count)
    return status_fail(KVSTORE_SCHEMA, "%zu key values given: the key of table %s has %u", count, table->name,
                       schema->key_count);
  for (size_t k = 0; k < count; k++)
    TRY(value_for_column(&given[k], &schema->columns[schema->key_columns[k]], &key[k]));
  return KVSTORE_OK;
}

/* ---- one row in ---- */

/* What a value of the one row fails with names the row, as failures of many do. */
static Status fail_in_row(Status status) {
  Failure f = *status_last();
  return status_fail_at(status, 0, f.column, f.value[0] ? f.value : NULL, "row 0, %s", f.text);
}

/* A row of values as a batch of one: arrays of one entry each. */
static Status batch_of_one(const KVTable *table, const KVValue *given, size_t count, int64_t *expiry, Arena *arena,
                           ColumnBatch *out) {
  static const uint8_t is_null = 1;
  if (!given && count) return bad_argument("the values are NULL");
  if (count != table->visible)
    return status_fail(KVSTORE_SCHEMA, "%zu values given: table %s has %u columns", count, table->name, table->visible);
  ColumnArray *columns = arena_allocate(arena, memory_array_size(count, sizeof *columns));
  Bytes *cells = arena_allocate(arena, memory_array_size(count, sizeof *cells)); /* the widest entry there is */
  if (!columns || !cells) return status_nomem();
  for (size_t c = 0; c < count; c++) {
    Value value;
    Status status = value_for_column(&given[c], &table->schema.columns[c], &value);
    if (status != KVSTORE_OK) return fail_in_row(status);
    cells[c] = (Bytes){ 0 };
    columns[c] = (ColumnArray){ &cells[c], value.is_null ? &is_null : NULL };
    if (!value.is_null) value_to_array(&value, &cells[c], 0);
  }
  *out = (ColumnBatch){ 1, (uint32_t)count, columns, expiry };
  return KVSTORE_OK;
}

static Status write_one(KVTable *table, const KVValue *given, size_t count, int64_t expire_ms, int mode,
                        uint64_t *row_id) {
  int64_t expiry;
  ColumnBatch batch;
  uint64_t room[ROW_WORDS];
  Arena arena = ARENA_OVER(room);
  Status status = expiry_argument(expire_ms, &expiry);
  if (status == KVSTORE_OK) status = batch_of_one(table, given, count, &expiry, &arena, &batch);
  if (status == KVSTORE_OK) status = table_write(table->kv->session, table->family, &batch, mode, row_id);
  if (status == KVSTORE_OK) handle_wrote(table->kv);
  arena_release(&arena);
  return status;
}

int kvtable_insert(KVTable *table, const KVValue *values, size_t value_count, int64_t expire_ms, uint64_t *row_id) {
  if (row_id) *row_id = 0;
  Status status = table_enter_writing(table);
  if (status != KVSTORE_OK) return table_refuse(table, status);
  return handle_leave(table->kv, write_one(table, values, value_count, expire_ms, TABLE_INSERT, row_id));
}

int kvtable_upsert(KVTable *table, const KVValue *values, size_t value_count, int64_t expire_ms) {
  Status status = table_enter_writing(table);
  if (status != KVSTORE_OK) return table_refuse(table, status);
  return handle_leave(table->kv, write_one(table, values, value_count, expire_ms, TABLE_UPSERT, NULL));
}

/* ---- one row by its key ---- */

static Status name_column(const KVTable *table, const char *const *names, size_t index, uint32_t *position) {
  *position = (uint32_t)index;
  if (names) {
    if (!names[index]) return bad_argument("the name of a column is NULL");
    TRY(expression_column(&table->schema, names[index], strlen(names[index]), position));
  }
  if (!table->schema.has_row_id && schema_is_key(&table->schema, *position))
    return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, table->definitions[*position].name, NULL,
                          "column %s belongs to the key: a key cannot be changed", table->definitions[*position].name);
  return KVSTORE_OK;
}

static Status check_twice(const KVTable *table, const uint32_t *positions, size_t count) {
  for (size_t i = 0; i + 1 < count; i++) {
    const char *name = table->definitions[positions[count - 1]].name;
    if (positions[i] == positions[count - 1])
      return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, name, NULL, "column %s is given twice", name);
  }
  return KVSTORE_OK;
}

static Status update(KVTable *table, const KVValue *key_given, size_t key_count, const char *const *names,
                     const KVValue *given, size_t count, const int64_t *expire_ms, Arena *arena) {
  Value key[KEY_COLUMNS_MAX];
  int64_t expiry = EXPIRY_NEVER;
  if (!given && count) return bad_argument("the values are NULL");
  if (count > table->visible)
    return status_fail(KVSTORE_SCHEMA, "%zu columns given: table %s has %u", count, table->name, table->visible);
  TRY(fit_key(table, key_given, key_count, key));
  if (expire_ms) TRY(expiry_argument(*expire_ms, &expiry));
  Value *values = arena_allocate(arena, memory_array_size(count, sizeof *values));
  uint32_t *positions = arena_allocate(arena, memory_array_size(count, sizeof *positions));
  if (!values || !positions) return status_nomem();
  for (size_t i = 0; i < count; i++) {
    TRY(name_column(table, names, i, &positions[i]));
    TRY(check_twice(table, positions, i + 1));
    TRY(value_for_column(&given[i], &table->schema.columns[positions[i]], &values[i]));
  }
  TRY(table_update(table->kv->session, table->family, key, key_count, positions, values, count,
                   expire_ms ? &expiry : NULL));
  handle_wrote(table->kv);
  return KVSTORE_OK;
}

int kvtable_update(KVTable *table, const KVValue *key, size_t key_count, const char *const *columns,
                   const KVValue *values, size_t count, const int64_t *expire_ms) {
  uint64_t room[ROW_WORDS];
  Arena arena = ARENA_OVER(room);
  Status status = table_enter_writing(table);
  if (status != KVSTORE_OK) return table_refuse(table, status);
  status = update(table, key, key_count, columns, values, count, expire_ms, &arena);
  arena_release(&arena);
  return handle_leave_lookup(table->kv, status);
}

int kvtable_delete(KVTable *table, const KVValue *key, size_t key_count) {
  Value fitted[KEY_COLUMNS_MAX];
  Status status = table_enter_writing(table);
  if (status != KVSTORE_OK) return table_refuse(table, status);
  status = fit_key(table, key, key_count, fitted);
  if (status == KVSTORE_OK) status = table_delete(table->kv->session, table->family, fitted, key_count);
  if (status == KVSTORE_OK) handle_wrote(table->kv);
  return handle_leave_lookup(table->kv, status);
}

static Status get(KVTable *table, const KVValue *key_given, size_t key_count, KVValue *out, size_t count,
                  int64_t *expire_ms, KVRow *row) {
  Value key[KEY_COLUMNS_MAX] = { 0 };
  int64_t expiry = EXPIRY_NEVER;
  TRY(fit_key(table, key_given, key_count, key));
  Value *values = arena_allocate(&row->strings, memory_array_size(table->visible, sizeof *values));
  if (!values) return status_nomem();
  if (table->projections)
    TRY(pair_get(table, key[0].s, &row->strings, values, &expiry));
  else
    TRY(table_get(table->kv->session, table->family, key, key_count, &row->strings, values, table->visible, &expiry));
  for (size_t c = 0; c < count; c++) out[c] = value_to_caller(&values[c]);
  if (expire_ms) *expire_ms = expiry == EXPIRY_NEVER ? 0 : expiry;
  return KVSTORE_OK;
}

static void set_nulls(KVValue *values, size_t count) {
  for (size_t c = 0; c < count; c++) values[c] = kvvalue_null();
}

static Status get_row(KVTable *table, const KVValue *key, size_t key_count, KVValue *values, size_t count,
                      int64_t *expire_ms, KVRow **row) {
  if (!row || !values) return bad_argument("the place for the row is NULL");
  if (count != table->visible)
    return status_fail(KVSTORE_SCHEMA, "room for %zu values: table %s has %u columns", count, table->name,
                       table->visible);
  KVRow *found = memory_allocate_zeroed(sizeof *found);
  if (!found) return status_nomem();
  found->magic = MAGIC_ROW;
  Status status = get(table, key, key_count, values, count, expire_ms, found);
  if (status == KVSTORE_OK)
    *row = found;
  else
    kvtable_row_free(found);
  return status;
}

int kvtable_get(KVTable *table, const KVValue *key, size_t key_count, KVValue *values, size_t value_count,
                int64_t *expire_ms, KVRow **row) {
  if (row) *row = NULL;
  if (expire_ms) *expire_ms = 0;
  if (!table) return table_refuse(table, table_enter(table));
  if (table->magic == MAGIC_TABLE && values && value_count == table->visible) set_nulls(values, value_count);
  Status status = table_enter(table);
  if (status != KVSTORE_OK) return table_refuse(table, status);
  return handle_leave_lookup(table->kv, get_row(table, key, key_count, values, value_count, expire_ms, row));
}

void kvtable_row_free(KVRow *row) {
  if (!row || row->magic != MAGIC_ROW) return;
  row->magic = MAGIC_DEAD;
  arena_release(&row->strings);
  memory_release(row);
}

/* ---- many rows ---- */

static Status fit_expiries(const int64_t *given, uint32_t rows, Arena *arena, const int64_t **out) {
  *out = NULL;
  if (!given) return KVSTORE_OK;
  int64_t *expiries = arena_allocate(arena, memory_array_size(rows, sizeof *expiries));
  if (!expiries) return status_nomem();
  for (uint32_t i = 0; i < rows; i++)
    if (expiry_argument(given[i], &expiries[i]) != KVSTORE_OK)
      return status_fail_at(KVSTORE_ERROR, i, NULL, NULL, "row %u: an expiry before 1970: %lld (0 is never)", i,
                            (long long)given[i]);
  *out = expiries;
  return KVSTORE_OK;
}

static Status append(KVTable *table, const KVColumnData *given, uint32_t rows, const int64_t *expire_ms, int mode,
                     uint64_t *first_row_id, Arena *arena) {
  ColumnBatch batch = { .row_count = rows, .column_count = table->visible };
  ColumnArray *columns = arena_allocate(arena, memory_array_size(table->visible, sizeof *columns));
  if (!columns) return status_nomem();
  for (uint32_t c = 0; c < table->visible; c++)
    TRY(column_from_caller(&given[c], &table->schema.columns[c], rows, arena, &columns[c]));
  TRY(fit_expiries(expire_ms, rows, arena, &batch.expiry));
  batch.columns = columns;
  TRY(table_write(table->kv->session, table->family, &batch, mode, first_row_id));
  handle_wrote(table->kv);
  return KVSTORE_OK;
}

static Status check_append(const KVTable *table, const KVColumnData *columns, size_t column_count, uint64_t row_count,
                           int mode) {
  if (!columns) return bad_argument("the columns are NULL");
  if (column_count != table->visible)
    return status_fail(KVSTORE_SCHEMA, "%zu columns given: table %s has %u", column_count, table->name, table->visible);
  if (mode != KVTABLE_INSERT && mode != KVTABLE_UPSERT) return status_fail(KVSTORE_ERROR, "no such mode: %d", mode);
  if (row_count > UINT32_MAX)
    return status_fail(KVSTORE_LIMIT, "%llu rows at once: at most %u", (unsigned long long)row_count, UINT32_MAX);
  return KVSTORE_OK;
}

int kvtable_load_threads(KVStore *kv, uint32_t threads) {
  Status status = handle_enter(kv);
  if (status != KVSTORE_OK) return handle_refuse(kv, status);
  session_load_threads(kv->session, threads);
  return handle_leave(kv, KVSTORE_OK);
}

int kvtable_append(KVTable *table, const KVColumnData *columns, size_t column_count, uint64_t row_count,
                   const int64_t *expire_ms, int mode, uint64_t *first_row_id) {
  Arena arena = { 0 };
  if (first_row_id) *first_row_id = 0;
  Status status = table_enter_writing(table);
  if (status != KVSTORE_OK) return table_refuse(table, status);
  status = check_append(table, columns, column_count, row_count, mode);
  if (status == KVSTORE_OK && row_count)
    status = append(table, columns, (uint32_t)row_count, expire_ms, mode, first_row_id, &arena);
  arena_release(&arena);
  return handle_leave(table->kv, status);
}
