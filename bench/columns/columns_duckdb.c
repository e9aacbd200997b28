/* columns_duckdb.c - DuckDB through its C functions, which the library inside its Python package exports. That library
 * needs the symbols of a Python process, so duckdb_host.py loads it, then this one, and calls columns_main. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/columns/columns_engine.h"

/* What is needed of DuckDB's C interface (stable since 1.0; opaque handles, a result of six words). */
typedef struct DuckResult {
  uint64_t words[6];
} DuckResult;
typedef struct DuckText { /* up to 12 bytes inline, else a prefix and a pointer */
  uint32_t length;
  char prefix[4];
  const char *data;
} DuckText;

/* X(result, name, parameters) */
#define DUCKDB_FUNCTIONS(X)                                                     \
  X(const char *, duckdb_library_version, (void))                               \
  X(int, duckdb_open, (const char *, void **))                                  \
  X(void, duckdb_close, (void **))                                              \
  X(int, duckdb_connect, (void *, void **))                                     \
  X(void, duckdb_disconnect, (void **))                                         \
  X(int, duckdb_query, (void *, const char *, DuckResult *))                    \
  X(void, duckdb_destroy_result, (DuckResult *))                                \
  X(const char *, duckdb_result_error, (DuckResult *))                          \
  X(int, duckdb_prepare, (void *, const char *, void **))                       \
  X(const char *, duckdb_prepare_error, (void *))                               \
  X(void, duckdb_destroy_prepare, (void **))                                    \
  X(int, duckdb_bind_int64, (void *, uint64_t, int64_t))                        \
  X(int, duckdb_execute_prepared, (void *, DuckResult *))                       \
  X(void *, duckdb_fetch_chunk, (DuckResult))                                   \
  X(int, duckdb_appender_create, (void *, const char *, const char *, void **)) \
  X(const char *, duckdb_appender_error, (void *))                              \
  X(int, duckdb_appender_destroy, (void **))                                    \
  X(int, duckdb_append_data_chunk, (void *, void *))                            \
  X(void *, duckdb_create_logical_type, (int))                                  \
  X(void, duckdb_destroy_logical_type, (void **))                               \
  X(void *, duckdb_create_data_chunk, (void **, uint64_t))                      \
  X(void, duckdb_destroy_data_chunk, (void **))                                 \
  X(void, duckdb_data_chunk_reset, (void *))                                    \
  X(void *, duckdb_data_chunk_get_vector, (void *, uint64_t))                   \
  X(uint64_t, duckdb_data_chunk_get_size, (void *))                             \
  X(uint64_t, duckdb_data_chunk_get_column_count, (void *))                     \
  X(void, duckdb_data_chunk_set_size, (void *, uint64_t))                       \
  X(void *, duckdb_vector_get_data, (void *))                                   \
  X(void, duckdb_vector_ensure_validity_writable, (void *))                     \
  X(uint64_t *, duckdb_vector_get_validity, (void *))                           \
  X(void, duckdb_vector_assign_string_element_len, (void *, uint64_t, const char *, uint64_t))

#define DECLARE(result, name, parameters) static result(*name) parameters;
DUCKDB_FUNCTIONS(DECLARE)

#define CHUNK_ROWS 2048

typedef struct Store {
  void *database, *connection;
  void *get; /* prepared, of get_table */
  char get_table[64];
} Store;

static char last[1024];

static int failed(const char *message) {
  snprintf(last, sizeof last, "%s", message ? message : "DuckDB gave no reason");
  return -1;
}

static int load_functions(void) {
#define LOAD(result, name, parameters) \
  if (!(*(void **)&name = dlsym(RTLD_DEFAULT, #name))) return failed(#name " is not exported");
  DUCKDB_FUNCTIONS(LOAD)
  return 0;
}

static int execute(Store *store, const char *sql) {
  DuckResult result;
  memset(&result, 0, sizeof result);
  int code = duckdb_query(store->connection, sql, &result);
  if (code) failed(duckdb_result_error(&result));
  duckdb_destroy_result(&result);
  return code ? -1 : 0;
}

static const char *engine_version(void) { return duckdb_library_version(); }
static const char *engine_settings(void) {
  return "C functions of the Python package's library, threads as asked (1), file database, commits synced, prepared "
         "statements, appender with data chunks; upserts through a staging table and INSERT OR REPLACE";
}
static const char *engine_error(void) { return last; }

static void *engine_open(const char *directory) {
  char path[4096];
  Store *store = calloc(1, sizeof *store);
  snprintf(path, sizeof path, "%s/columns.duckdb", directory);
  if (load_functions()) return NULL;
  if (duckdb_open(path, &store->database) || duckdb_connect(store->database, &store->connection)) {
    failed("the file cannot be opened");
    return NULL;
  }
  char threads[40];
  const char *wanted = getenv("COLONNADE_BENCH_THREADS");
  snprintf(threads, sizeof threads, "set threads = %lu", wanted ? strtoul(wanted, NULL, 10) : 1ul);
  if (execute(store, threads) || execute(store, "set checkpoint_threshold = '64MB'")) return NULL;
  return store;
}

static int engine_close(void *opened) {
  Store *store = opened;
  if (store->get) duckdb_destroy_prepare(&store->get);
  duckdb_disconnect(&store->connection);
  duckdb_close(&store->database);
  free(store);
  return 0;
}

static int engine_begin(void *opened) { return execute(opened, "begin"); }
static int engine_commit(void *opened) { return execute(opened, "commit"); }

static const char *const type_names[] = { "bigint",   "timestamp", "integer", "smallint",
                                          "utinyint", "boolean",   "double",  "varchar" };
/* DUCKDB_TYPE_BIGINT, _TIMESTAMP, _INTEGER, _SMALLINT, _UTINYINT, _BOOLEAN, _DOUBLE, _VARCHAR */
static const int type_numbers[] = { 5, 12, 4, 3, 6, 1, 11, 17 };

static int create(Store *store, const char *head, const char *table, const ColumnSpec *columns, size_t column_count,
                  int keyed) {
  char sql[2048];
  int at = snprintf(sql, sizeof sql, "%s %s (", head, table);
  for (size_t i = 0; i < column_count; i++) {
    const char *more = keyed && i == 0 ? " primary key" : columns[i].nullable ? "" : " not null";
    at += snprintf(sql + at, sizeof sql - (size_t)at, "%s%s %s%s", i ? ", " : "", columns[i].name,
                   type_names[columns[i].type], more);
  }
  snprintf(sql + at, sizeof sql - (size_t)at, ")");
  return execute(store, sql);
}

static int engine_create(void *opened, const char *table, const ColumnSpec *columns, size_t column_count, int keyed) {
  return create(opened, "create table", table, columns, column_count, keyed);
}

static void fill_texts(void *vector, const ColumnText *texts, size_t rows) {
  for (size_t i = 0; i < rows; i++) duckdb_vector_assign_string_element_len(vector, i, texts[i].data, texts[i].length);
}

static void fill_nulls(void *vector, const uint8_t *nulls, size_t rows) {
  duckdb_vector_ensure_validity_writable(vector);
  uint64_t *validity = duckdb_vector_get_validity(vector);
  for (size_t at = 0; at < rows; at += 64) {
    uint64_t word = 0;
    for (size_t i = 0; i < 64 && at + i < rows; i++) word |= (uint64_t)!nulls[at + i] << i;
    validity[at / 64] = word;
  }
}

static void fill_chunk(void *chunk, const ColumnSpec *columns, size_t column_count, const ColumnBatch *batch,
                       size_t first, size_t rows) {
  static const size_t sizes[] = { 8, 8, 4, 2, 1, 1, 8, sizeof(ColumnText) };
  duckdb_data_chunk_reset(chunk);
  for (size_t i = 0; i < column_count; i++) {
    void *vector = duckdb_data_chunk_get_vector(chunk, i);
    size_t size = sizes[columns[i].type];
    const char *values = (const char *)batch->values[i] + first * size;
    if (columns[i].type == TYPE_TEXT)
      fill_texts(vector, (const ColumnText *)(const void *)values, rows);
    else
      memcpy(duckdb_vector_get_data(vector), values, rows * size);
    if (batch->nulls[i]) fill_nulls(vector, batch->nulls[i] + first, rows);
  }
  duckdb_data_chunk_set_size(chunk, rows);
}

static int append_to(Store *store, const char *table, const ColumnSpec *columns, size_t column_count,
                     const ColumnBatch *batch) {
  void *appender = NULL, *types[COLUMNS_MAX];
  int code = -1;
  for (size_t i = 0; i < column_count; i++) types[i] = duckdb_create_logical_type(type_numbers[columns[i].type]);
  void *chunk = duckdb_create_data_chunk(types, column_count);
  if (duckdb_appender_create(store->connection, NULL, table, &appender)) {
    failed(appender ? duckdb_appender_error(appender) : NULL);
    goto out;
  }
  for (size_t first = 0; first < batch->rows; first += CHUNK_ROWS) {
    fill_chunk(chunk, columns, column_count, batch, first,
               batch->rows - first < CHUNK_ROWS ? batch->rows - first : CHUNK_ROWS);
    if (duckdb_append_data_chunk(appender, chunk)) {
      failed(duckdb_appender_error(appender));
      goto out;
    }
  }
  code = 0;
out:
  if (appender && duckdb_appender_destroy(&appender)) code = code ? code : failed("the appender did not end well");
  duckdb_destroy_data_chunk(&chunk);
  for (size_t i = 0; i < column_count; i++) duckdb_destroy_logical_type(&types[i]);
  return code;
}

static int engine_append(void *opened, const char *table, const ColumnSpec *columns, size_t column_count,
                         const ColumnBatch *batch) {
  return append_to(opened, table, columns, column_count, batch);
}

static int engine_upsert(void *opened, const char *table, const ColumnSpec *columns, size_t column_count,
                         const ColumnBatch *batch) {
  char sql[256];
  if (create(opened, "create temp table if not exists", "staging", columns, column_count, 0) ||
      append_to(opened, "staging", columns, column_count, batch))
    return -1;
  snprintf(sql, sizeof sql, "insert or replace into %s select * from staging", table);
  return execute(opened, sql) || execute(opened, "delete from staging") ? -1 : 0;
}

static void *prepare(Store *store, const char *sql) {
  void *statement = NULL;
  if (duckdb_prepare(store->connection, sql, &statement)) {
    failed(duckdb_prepare_error(statement));
    return NULL;
  }
  return statement;
}

static void *engine_prepare(void *opened, const char *table, const char *sum_column, const char *where) {
  char what[64] = "count(*)", sql[512];
  if (sum_column) snprintf(what, sizeof what, "sum(%s)::bigint", sum_column);
  snprintf(sql, sizeof sql, "select %s from %s%s%s", what, table, where ? " where " : "", where ? where : "");
  return prepare(opened, sql);
}

/* The first chunk of a prepared statement's result, kept by the caller; NULL: none, or failed. */
static void *first_chunk(void *statement, DuckResult *result) {
  memset(result, 0, sizeof *result);
  if (duckdb_execute_prepared(statement, result)) {
    failed(duckdb_result_error(result));
    return NULL;
  }
  void *chunk = duckdb_fetch_chunk(*result);
  if (!chunk || duckdb_data_chunk_get_size(chunk) != 1) failed("not one row");
  return chunk;
}

static int engine_run(void *statement, int64_t *value) {
  DuckResult result;
  int code = -1;
  void *chunk = first_chunk(statement, &result);
  if (chunk && duckdb_data_chunk_get_size(chunk) == 1) {
    *value = *(const int64_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
    code = 0;
  }
  if (chunk) duckdb_destroy_data_chunk(&chunk);
  duckdb_destroy_result(&result);
  return code;
}

static void *engine_prepare_groups(void *opened, const char *table, const char *keys, size_t key_count,
                                   const char *sum_column) {
  char sql[512];
  (void)key_count;
  snprintf(sql, sizeof sql, "select %s, count(*), sum(%s)::bigint from %s group by %s", keys, sum_column, table, keys);
  return prepare(opened, sql);
}

static int engine_run_groups(void *statement, int64_t *groups, uint64_t *mixed) {
  DuckResult result;
  memset(&result, 0, sizeof result);
  *groups = 0;
  *mixed = 0;
  if (duckdb_execute_prepared(statement, &result)) return failed(duckdb_result_error(&result));
  for (void *chunk; (chunk = duckdb_fetch_chunk(result)) != NULL;) {
    uint64_t rows = duckdb_data_chunk_get_size(chunk), columns = duckdb_data_chunk_get_column_count(chunk);
    const int64_t *counts = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, columns - 2));
    const int64_t *sums = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, columns - 1));
    for (uint64_t i = 0; i < rows; i++) *mixed += groups_mix((uint64_t)counts[i], sums[i]);
    *groups += (int64_t)rows;
    duckdb_destroy_data_chunk(&chunk);
    if (rows == 0) break;
  }
  duckdb_destroy_result(&result);
  return 0;
}

static void engine_finish(void *statement) { duckdb_destroy_prepare(&statement); }

/* The statement of the table asked last is kept. */
static int prepare_get(Store *store, const char *table) {
  char text[128];
  if (store->get && strcmp(store->get_table, table) == 0) return 0;
  if (store->get) duckdb_destroy_prepare(&store->get);
  snprintf(store->get_table, sizeof store->get_table, "%s", table);
  snprintf(text, sizeof text, "select * from %s where id = ?", table);
  store->get = prepare(store, text);
  return store->get ? 0 : -1;
}

static int engine_get(void *opened, const char *table, const ColumnSpec *columns, size_t column_count, int64_t key,
                      int64_t *sum) {
  Store *store = opened;
  DuckResult result;
  int code = -1;
  if (prepare_get(store, table) || duckdb_bind_int64(store->get, 1, key)) return -1;
  void *chunk = first_chunk(store->get, &result);
  if (chunk && duckdb_data_chunk_get_size(chunk) == 1) {
    for (uint64_t i = 1; i < column_count; i++) {
      const void *values = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, i));
      if (columns[i].type == TYPE_I32) *sum += *(const int32_t *)values;
      if (columns[i].type == TYPE_TEXT) *sum += ((const DuckText *)values)->length;
    }
    code = 0;
  }
  if (chunk) duckdb_destroy_data_chunk(&chunk);
  duckdb_destroy_result(&result);
  return code;
}

static int engine_settle(void *opened) { return execute(opened, "checkpoint"); }

const ColumnsEngine columns_engine = { "duckdb",          engine_version, engine_settings, engine_error,
                                       engine_open,       engine_close,   engine_begin,    engine_commit,
                                       engine_create,     engine_append,  engine_upsert,   NULL,
                                       engine_prepare,    engine_run,     engine_finish,   engine_prepare_groups,
                                       engine_run_groups, engine_get,     engine_settle };
