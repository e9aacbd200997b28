/* rows_by_key.c - many rows of a table by their keys: read, and deleted. */
#include <string.h>

#include "base/memory.h"
#include "kvapi/pair_tables.h"
#include "kvapi/snapshots.h"
#include "kvapi/values.h"

/* What the caller sees comes first: it is what kvtable_rows_free is given. */
typedef struct Rows {
  KVRows shown;
  uint32_t magic;
  Arena arena;
  Buffer pairs; /* values that strings point into, of a table over pairs */
} Rows;

/* ---- keys ---- */

static Status check_counts(const KVTable *table, const KVColumnData *keys, size_t key_count, uint64_t row_count) {
  const Schema *schema = &table->schema;
  if (!keys) return bad_argument("the keys are NULL");
  if (key_count != schema->key_count)
    return status_fail(KVSTORE_SCHEMA, "%zu key columns given: the key of table %s has %u", key_count, table->name,
                       schema->key_count);
  if (row_count > UINT32_MAX)
    return status_fail(KVSTORE_LIMIT, "%llu keys at once: at most %u", (unsigned long long)row_count, UINT32_MAX);
  return KVSTORE_OK;
}

static Status fit_keys(const KVTable *table, const KVColumnData *given, uint32_t rows, Arena *arena,
                       ColumnArray keys[KEY_COLUMNS_MAX]) {
  const Schema *schema = &table->schema;
  for (uint32_t k = 0; k < schema->key_count; k++)
    TRY(column_from_caller(&given[k], &schema->columns[schema->key_columns[k]], rows, arena, &keys[k]));
  return KVSTORE_OK;
}

/* ---- columns ---- */

static Status name_columns(const KVTable *table, const char *const *names, size_t count, Arena *arena,
                           TableLookup *lookup) {
  if (!names && count) return bad_argument("the columns are NULL");
  if (count > KVTABLE_COLUMNS_MAX)
    return status_fail(KVSTORE_LIMIT, "%zu columns: at most %d", count, KVTABLE_COLUMNS_MAX);
  size_t wanted = names ? count : table->visible;
  uint32_t *columns = arena_allocate(arena, wanted * sizeof *columns);
  if (!columns) return status_nomem();
  for (size_t i = 0; i < wanted; i++) {
    columns[i] = (uint32_t)i;
    if (names && !names[i]) return bad_argument("the name of a column is NULL");
    if (names) TRY(expression_column(&table->schema, names[i], strlen(names[i]), &columns[i]));
  }
  lookup->columns = columns;
  lookup->column_count = (uint32_t)wanted;
  return KVSTORE_OK;
}

/* ---- pairs ---- */

static Status begin_arrays(const KVTable *table, TableLookup *l, Arena *arena) {
  l->found = arena_allocate_zeroed(arena, l->count);
  l->arrays = arena_allocate(arena, l->column_count * sizeof *l->arrays);
  if (!l->found || !l->arrays) return status_nomem();
  for (uint32_t c = 0; c < l->column_count; c++) {
    size_t width = type_array_width(table->schema.columns[l->columns[c]].type);
    void *values = arena_allocate_zeroed(arena, memory_array_size(l->count, width));
    uint8_t *nulls = arena_allocate(arena, l->count);
    if (!values || !nulls) return status_nomem();
    memset(nulls, 1, l->count);
    l->arrays[c] = (ColumnArray){ values, nulls };
  }
  return KVSTORE_OK;
}

static bool lies_within(Bytes part, Bytes whole) {
  return whole.length && part.data >= whole.data && part.data + part.length <= whole.data + whole.length;
}

static Status give_value(const Projection *projection, const SourcePair *pair, uint32_t row, Arena *arena,
                         ColumnArray *array) {
  Value v;
  TRY(projection_read(projection, pair, arena, &v));
  if (v.is_null) return KVSTORE_OK;
  if (type_is_string(v.type) && v.s.length && !lies_within(v.s, pair->value)) {
    v.s.data = arena_copy(arena, v.s.data, v.s.length); /* of the key, which is the caller's */
    if (!v.s.data) return status_nomem();
  }
  value_to_array(&v, (void *)array->values, row);
  ((uint8_t *)array->nulls)[row] = 0;
  return KVSTORE_OK;
}

static Status give_pairs(const KVTable *table, const KvLookup *pairs, TableLookup *l, Rows *rows) {
  for (uint32_t i = 0; i < l->count; i++) {
    if (pairs[i].status == KVSTORE_ERROR)
      return status_fail_at(KVSTORE_ERROR, i, table->schema.columns[0].name, NULL,
                            "row %u: a key of %zu bytes: it takes 1 to %u", i, pairs[i].key.length, KEY_BYTES_MAX);
    if (pairs[i].status != KVSTORE_OK) continue;
    SourcePair pair = { pairs[i].key, { rows->pairs.data, pairs[i].value_length }, pairs[i].expiry };
    if (pair.value.length) pair.value.data += pairs[i].value_offset;
    for (uint32_t c = 0; c < l->column_count; c++)
      TRY(give_value(&table->projections[l->columns[c]], &pair, i, &rows->arena, &l->arrays[c]));
    TRY(table_lookup_expiry(l, i, pairs[i].expiry, &rows->arena));
    l->found[i] = 1;
    l->found_count++;
  }
  return KVSTORE_OK;
}

static Status read_pairs(const KVTable *table, Session *session, TableLookup *l, Rows *rows) {
  KvLookup *pairs = memory_allocate(memory_array_size(l->count, sizeof *pairs));
  if (!pairs) return status_nomem();
  const Bytes *keys = l->keys[0].values;
  for (uint32_t i = 0; i < l->count; i++) pairs[i].key = keys[i];
  Status status = begin_arrays(table, l, &rows->arena);
  if (status == KVSTORE_OK) status = kv_get_many(session, table->family, pairs, l->count, &rows->pairs);
  if (status == KVSTORE_OK) status = give_pairs(table, pairs, l, rows);
  memory_release(pairs);
  return status;
}

/* ---- reading ---- */

static Status show_expiries(const TableLookup *l, Arena *arena, const int64_t **out) {
  *out = NULL;
  if (!l->expiries) return KVSTORE_OK;
  int64_t *shown = arena_allocate(arena, memory_array_size(l->count, sizeof *shown));
  if (!shown) return status_nomem();
  for (uint32_t i = 0; i < l->count; i++) shown[i] = l->expiries[i] == EXPIRY_NEVER ? 0 : l->expiries[i];
  *out = shown;
  return KVSTORE_OK;
}

static Status show(const KVTable *table, const TableLookup *l, Rows *rows) {
  KVColumnData *columns = arena_allocate(&rows->arena, l->column_count * sizeof *columns);
  if (!columns) return status_nomem();
  for (uint32_t c = 0; c < l->column_count; c++)
    columns[c] = column_to_caller(&l->arrays[c], table->schema.columns[l->columns[c]].type, 0);
  rows->shown.row_count = l->count;
  rows->shown.found_count = l->found_count;
  rows->shown.found = l->found;
  rows->shown.column_count = l->column_count;
  rows->shown.columns = columns;
  return show_expiries(l, &rows->arena, &rows->shown.expire_ms);
}

static Status session_of(const KVTable *table, KVSnapshot *snapshot, Session **session) {
  *session = table->kv->session;
  if (!snapshot) return KVSTORE_OK;
  TRY(snapshot_check_handle(snapshot, table->kv));
  *session = snapshot->frozen;
  return KVSTORE_OK;
}

static Status read_rows(const KVTable *table, Session *session, const KVColumnData *given, TableLookup *lookup,
                        Rows *rows) {
  ColumnArray keys[KEY_COLUMNS_MAX] = { 0 };
  Arena work = { 0 };
  if (!lookup->count) {
    TRY(begin_arrays(table, lookup, &rows->arena));
    return show(table, lookup, rows);
  }
  Status status = fit_keys(table, given, lookup->count, &work, keys);
  lookup->keys = keys;
  if (status == KVSTORE_OK)
    status = table->projections ? read_pairs(table, session, lookup, rows)
                                : table_get_many(session, table->family, lookup, &rows->arena);
  if (status == KVSTORE_OK) status = show(table, lookup, rows);
  lookup->keys = NULL;
  arena_release(&work);
  return status;
}

static void rows_release(Rows *rows) {
  arena_release(&rows->arena);
  buffer_release(&rows->pairs);
  memory_release(rows);
}

int kvtable_get_many(KVTable *table, const KVColumnData *keys, size_t key_count, uint64_t row_count,
                     const char *const *columns, size_t column_count, KVSnapshot *snapshot, KVRows **rows) {
  if (rows) *rows = NULL;
  Status status = table_enter(table);
  if (status != KVSTORE_OK) return table_refuse(table, status);
  Session *session = NULL;
  TableLookup lookup = { .count = (uint32_t)row_count };
  Rows *made = memory_allocate_zeroed(sizeof *made);
  if (!made) return handle_leave(table->kv, status_nomem());
  made->magic = MAGIC_ROWS;
  made->shown.struct_size = sizeof made->shown;
  if (!rows) status = bad_argument("the place for the rows is NULL");
  if (status == KVSTORE_OK) status = check_counts(table, keys, key_count, row_count);
  if (status == KVSTORE_OK) status = name_columns(table, columns, column_count, &made->arena, &lookup);
  if (status == KVSTORE_OK) status = session_of(table, snapshot, &session);
  if (status == KVSTORE_OK) status = read_rows(table, session, keys, &lookup, made);
  if (status == KVSTORE_OK)
    *rows = &made->shown;
  else
    rows_release(made);
  return handle_leave(table->kv, status);
}

void kvtable_rows_free(KVRows *rows) {
  Rows *made = (Rows *)(void *)rows;
  if (!made || made->magic != MAGIC_ROWS) return;
  made->magic = MAGIC_DEAD;
  rows_release(made);
}

/* ---- deleting ---- */

static Status delete_rows(KVTable *table, const KVColumnData *given, uint32_t rows, uint64_t *deleted) {
  ColumnArray keys[KEY_COLUMNS_MAX] = { 0 };
  Arena work = { 0 };
  Status status = fit_keys(table, given, rows, &work, keys);
  if (status == KVSTORE_OK) status = table_delete_many(table->kv->session, table->family, keys, rows, deleted);
  if (status == KVSTORE_OK) handle_wrote(table->kv);
  arena_release(&work);
  return status;
}

int kvtable_delete_many(KVTable *table, const KVColumnData *keys, size_t key_count, uint64_t row_count,
                        uint64_t *deleted) {
  uint64_t rows = 0;
  if (deleted) *deleted = 0;
  Status status = table_enter_writing(table);
  if (status != KVSTORE_OK) return table_refuse(table, status);
  status = check_counts(table, keys, key_count, row_count);
  if (status == KVSTORE_OK && row_count) status = delete_rows(table, keys, (uint32_t)row_count, &rows);
  if (status == KVSTORE_OK && deleted) *deleted = rows;
  return handle_leave(table->kv, status);
}
