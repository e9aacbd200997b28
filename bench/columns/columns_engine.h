/* columns_engine.h - the small table of functions behind which each column engine stands, and the data that all get.
 *
 * One program holds one engine: columns_main.c with columns_colonnade.c, or, inside a Python process that brings
 * DuckDB's library, with columns_duckdb.c. */
#ifndef BENCH_COLUMNS_COLUMNS_ENGINE_H
#define BENCH_COLUMNS_COLUMNS_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#define COLUMNS_MAX 16

typedef enum ColumnType {
  TYPE_I64,
  TYPE_TIMESTAMP,
  TYPE_I32,
  TYPE_I16,
  TYPE_U8,
  TYPE_BOOL,
  TYPE_F64,
  TYPE_TEXT
} ColumnType;

typedef struct ColumnText {
  const void *data;
  size_t length;
} ColumnText;

typedef struct ColumnSpec {
  const char *name;
  ColumnType type;
  int nullable;
  int encoding; /* KVTABLE_ENCODING_* that it shall have, 0: any; of Colonnade alone */
} ColumnSpec;

/* Columns of `rows` rows in arrays of their types: int64_t, int64_t (microseconds), int32_t, int16_t, uint8_t, uint8_t,
 * double, ColumnText. nulls[c] is NULL or a byte a row. */
typedef struct ColumnBatch {
  size_t rows;
  const void *values[COLUMNS_MAX];
  const uint8_t *nulls[COLUMNS_MAX];
} ColumnBatch;

typedef struct ColumnsEngine {
  const char *name;
  const char *(*version)(void);
  const char *(*settings)(void);
  const char *(*error)(void);
  /* One thread; commits are on the disk when they return. NULL: failed. */
  void *(*open)(const char *directory);
  int (*close)(void *store);
  int (*begin)(void *store);
  int (*commit)(void *store);
  /* keyed: the first column is the primary key. */
  int (*create)(void *store, const char *table, const ColumnSpec *columns, size_t column_count, int keyed);
  /* Within begin and commit. Adds rows, whose keys are new. */
  int (*append)(void *store, const char *table, const ColumnSpec *columns, size_t column_count,
                const ColumnBatch *batch);
  /* Within begin and commit. Adds rows or replaces those with the same keys, in one call. */
  int (*upsert)(void *store, const char *table, const ColumnSpec *columns, size_t column_count,
                const ColumnBatch *batch);
  /* The same row by row; NULL: the engine has no good way. */
  int (*upsert_rows)(void *store, const char *table, const ColumnSpec *columns, size_t column_count,
                     const ColumnBatch *batch);
  /* A prepared count of the rows that match, or the sum of a column over them. `where` may be NULL. */
  void *(*prepare)(void *store, const char *table, const char *sum_column, const char *where);
  /* Runs it on a fresh snapshot and reads the result. */
  int (*run)(void *query, int64_t *result);
  void (*finish)(void *query);
  /* A prepared question for the groups by some columns (a comma between): count of rows and sum of a column of each. */
  void *(*prepare_groups)(void *store, const char *table, const char *keys, size_t key_count, const char *sum_column);
  /* Runs it on a fresh snapshot and reads all groups: how many, and groups_mix of each added up. */
  int (*run_groups)(void *query, int64_t *groups, uint64_t *mixed);
  /* Reads all columns of the row with this key, and adds up the i32 and the text lengths; -1 when it is missing. */
  int (*get)(void *store, const char *table, const ColumnSpec *columns, size_t column_count, int64_t key, int64_t *sum);
  /* Waits until nothing is left to do in the background. */
  int (*settle)(void *store);
} ColumnsEngine;

extern const ColumnsEngine columns_engine;

/* What stands for one group, in an answer that does not depend on their order. */
static inline uint64_t groups_mix(uint64_t count, int64_t sum) {
  uint64_t x = (uint64_t)sum * UINT64_C(0x9e3779b97f4a7c15) + count;
  return (x ^ x >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
}

/* Runs the benchmark: DIRECTORY and ROWS. */
int columns_main(const char *directory, const char *rows);

#endif
