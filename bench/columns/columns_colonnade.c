#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/columns/columns_engine.h"
#include "colonnade/kvtable.h"

typedef struct Store {
  KVStore *kv;
  KVTable *table; /* the table used last: kept open, as a program would */
  char name[64];
} Store;

typedef struct Query {
  KVQuery *query;
  const char *sum_column;
} Query;

static KVStore *last_handle;

static int failed(KVStore *kv, int code) {
  if (code == KVSTORE_OK) return 0;
  last_handle = kv;
  return -1;
}

static const char *engine_version(void) { return "0.0.1"; }
static const char *engine_settings(void) {
  return "C API, KVSTORE_SYNC_FULL, log of 64 MiB, one background thread (none works within a query)";
}
static const char *engine_error(void) { return kvstore_errmsg(last_handle); }

static void *engine_open(const char *directory) {
  char path[4096];
  Store *store = calloc(1, sizeof *store);
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.sync_level = KVSTORE_SYNC_FULL;
  snprintf(path, sizeof path, "%s/columns.colonnade", directory);
  return failed(NULL, kvstore_open_with(path, &store->kv, &options)) ? NULL : store;
}

static int engine_close(void *opened) {
  Store *store = opened;
  kvtable_close(store->table);
  int code = kvstore_close(store->kv);
  free(store);
  return failed(NULL, code);
}

static int engine_begin(void *opened) {
  Store *store = opened;
  return failed(store->kv, kvstore_begin(store->kv, 1));
}
static int engine_commit(void *opened) {
  Store *store = opened;
  return failed(store->kv, kvstore_commit(store->kv));
}

static int public_type(ColumnType type) {
  static const int types[] = { KVTABLE_TYPE_I64, KVTABLE_TYPE_TIMESTAMP, KVTABLE_TYPE_I32, KVTABLE_TYPE_I16,
                               KVTABLE_TYPE_U8,  KVTABLE_TYPE_BOOL,      KVTABLE_TYPE_F64, KVTABLE_TYPE_STRING };
  return types[type];
}

static int engine_create(void *opened, const char *table, const ColumnSpec *columns, size_t column_count, int keyed) {
  Store *store = opened;
  KVColumnDefinition definitions[COLUMNS_MAX];
  KVTable *made = NULL;
  for (size_t i = 0; i < column_count; i++) {
    KVColumnDefinition definition = { columns[i].name, public_type(columns[i].type),
                                      (columns[i].nullable ? KVTABLE_NULLABLE : 0) |
                                        KVTABLE_USE_ENCODING(columns[i].encoding),
                                      0 };
    definitions[i] = definition;
  }
  if (failed(store->kv, kvtable_create(store->kv, table, definitions, column_count, keyed ? &columns[0].name : NULL,
                                       keyed ? 1 : 0, &made)))
    return -1;
  kvtable_close(made);
  return 0;
}

static int use(Store *store, const char *table) {
  if (store->table && !strcmp(store->name, table)) return 0;
  kvtable_close(store->table);
  snprintf(store->name, sizeof store->name, "%s", table);
  return failed(store->kv, kvtable_open(store->kv, table, &store->table));
}

static int write_batch(Store *store, const char *table, const ColumnSpec *columns, size_t column_count,
                       const ColumnBatch *batch, int mode) {
  KVColumnData data[COLUMNS_MAX];
  if (use(store, table)) return -1;
  for (size_t i = 0; i < column_count; i++) {
    KVColumnData column = {
      public_type(columns[i].type), KVTABLE_FORM_ARRAY, batch->values[i], batch->nulls[i], NULL, NULL
    };
    data[i] = column;
  }
  return failed(store->kv, kvtable_append(store->table, data, column_count, batch->rows, NULL, mode, NULL));
}

static int engine_append(void *opened, const char *table, const ColumnSpec *columns, size_t column_count,
                         const ColumnBatch *batch) {
  return write_batch(opened, table, columns, column_count, batch, KVTABLE_INSERT);
}

static int engine_upsert(void *opened, const char *table, const ColumnSpec *columns, size_t column_count,
                         const ColumnBatch *batch) {
  return write_batch(opened, table, columns, column_count, batch, KVTABLE_UPSERT);
}

static KVValue value_of(ColumnType type, const void *values, size_t row) {
  switch (type) {
  case TYPE_I64: return kvvalue_i64(((const int64_t *)values)[row]);
  case TYPE_TIMESTAMP: return kvvalue_timestamp(((const int64_t *)values)[row]);
  case TYPE_I32: return kvvalue_i64(((const int32_t *)values)[row]);
  case TYPE_I16: return kvvalue_i64(((const int16_t *)values)[row]);
  case TYPE_U8: return kvvalue_i64(((const uint8_t *)values)[row]);
  case TYPE_BOOL: return kvvalue_bool(((const uint8_t *)values)[row]);
  case TYPE_F64: return kvvalue_f64(((const double *)values)[row]);
  case TYPE_TEXT: break;
  }
  const ColumnText *text = (const ColumnText *)values + row;
  return kvvalue_text(text->data, text->length);
}

static int engine_upsert_rows(void *opened, const char *table, const ColumnSpec *columns, size_t column_count,
                              const ColumnBatch *batch) {
  Store *store = opened;
  if (use(store, table)) return -1;
  for (size_t row = 0; row < batch->rows; row++) {
    KVValue values[COLUMNS_MAX];
    for (size_t i = 0; i < column_count; i++) values[i] = value_of(columns[i].type, batch->values[i], row);
    if (failed(store->kv, kvtable_upsert(store->table, values, column_count, 0))) return -1;
  }
  return 0;
}

/* One, as every engine here, unless the environment says otherwise. */
static uint32_t query_threads(void) {
  const char *wanted = getenv("COLONNADE_BENCH_THREADS");
  return wanted ? (uint32_t)strtoul(wanted, NULL, 10) : 1;
}

static void *engine_prepare(void *opened, const char *table, const char *sum_column, const char *where) {
  Store *store = opened;
  Query *query = calloc(1, sizeof *query);
  query->sum_column = sum_column;
  if (use(store, table) || failed(store->kv, kvquery_create(store->table, &query->query)) ||
      failed(store->kv, kvquery_where(query->query, where, NULL, 0)) ||
      failed(store->kv, kvquery_threads(query->query, query_threads())))
    return NULL;
  return query;
}

static int engine_run(void *prepared, int64_t *result) {
  Query *query = prepared;
  if (query->sum_column) {
    KVValue sum;
    int code = kvquery_sum(query->query, query->sum_column, &sum);
    *result = (int64_t)sum.as.decimal.low;
    return code;
  }
  uint64_t count = 0;
  int code = kvquery_count(query->query, &count);
  *result = (int64_t)count;
  return code;
}

static void *engine_prepare_groups(void *opened, const char *table, const char *keys, size_t key_count,
                                   const char *sum_column) {
  Store *store = opened;
  Query *query = calloc(1, sizeof *query);
  char names[4][64];
  const char *columns[4];
  for (size_t i = 0; i < key_count; i++) {
    size_t length = strcspn(keys, ",");
    snprintf(names[i], sizeof names[i], "%.*s", (int)length, keys);
    columns[i] = names[i];
    keys += length + (keys[length] == ',');
  }
  const KVAggregate asks[] = { { KVQUERY_ROWS, NULL }, { KVQUERY_SUM, sum_column } };
  if (use(store, table) || failed(store->kv, kvquery_create(store->table, &query->query)) ||
      failed(store->kv, kvquery_group_by(query->query, columns, key_count)) ||
      failed(store->kv, kvquery_compute(query->query, asks, 2)) ||
      failed(store->kv, kvquery_threads(query->query, query_threads())))
    return NULL;
  return query;
}

static int engine_run_groups(void *prepared, int64_t *groups, uint64_t *mixed) {
  Query *query = prepared;
  KVCursor *cursor = NULL;
  const KVColumnData *data;
  uint64_t rows;
  int code = kvquery_open(query->query, &cursor);
  size_t count_at = kvcursor_column_count(cursor) - 2;
  *groups = 0;
  *mixed = 0;
  while (code == KVSTORE_OK && (code = kvcursor_next_batch(cursor, &rows, &data)) == KVSTORE_OK) {
    const uint64_t *counts = data[count_at].values;
    const KVDecimal *sums = data[count_at + 1].values;
    for (uint64_t i = 0; i < rows; i++) *mixed += groups_mix(counts[i], (int64_t)sums[i].low);
    *groups += (int64_t)rows;
  }
  kvcursor_close(cursor);
  return code == KVSTORE_NOTFOUND ? 0 : code;
}

static void engine_finish(void *prepared) {
  Query *query = prepared;
  kvquery_close(query->query);
  free(query);
}

static int engine_get(void *opened, const char *table, const ColumnSpec *columns, size_t column_count, int64_t key,
                      int64_t *sum) {
  Store *store = opened;
  KVValue key_value = kvvalue_i64(key), values[COLUMNS_MAX];
  KVRow *row = NULL;
  if (use(store, table) ||
      failed(store->kv, kvtable_get(store->table, &key_value, 1, values, column_count, NULL, &row)))
    return -1;
  for (size_t i = 1; i < column_count; i++) {
    if (columns[i].type == TYPE_I32) *sum += values[i].as.i64;
    if (columns[i].type == TYPE_TEXT) *sum += (int64_t)values[i].as.bytes.length;
  }
  kvtable_row_free(row);
  return 0;
}

static int engine_settle(void *opened) {
  Store *store = opened;
  return failed(store->kv, kvstore_maintain(store->kv));
}

const ColumnsEngine columns_engine = { "colonnade",       engine_version, engine_settings, engine_error,
                                       engine_open,       engine_close,   engine_begin,    engine_commit,
                                       engine_create,     engine_append,  engine_upsert,   engine_upsert_rows,
                                       engine_prepare,    engine_run,     engine_finish,   engine_prepare_groups,
                                       engine_run_groups, engine_get,     engine_settle };

int main(int argument_count, char **arguments) {
  if (argument_count < 3) return 2;
  return columns_main(arguments[1], arguments[2]);
}
