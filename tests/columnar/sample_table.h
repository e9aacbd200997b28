/* sample_table.h - tables in plain arrays, the oracle of runs; and extents in memory that are read as a store reads
 * them. */
#ifndef COLONNADE_TESTS_COLUMNAR_SAMPLE_TABLE_H
#define COLONNADE_TESTS_COLUMNAR_SAMPLE_TABLE_H

#include "base/arena.h"
#include "columnar/column_run.h"

enum { SAMPLE_COLUMNS_MAX = 32, SAMPLE_EXTENTS_MAX = RUN_SEGMENTS_MAX + SAMPLE_COLUMNS_MAX };

/* ---- rows ---- */

typedef struct SampleTable {
  Schema schema;
  Column columns[SAMPLE_COLUMNS_MAX];
  uint32_t row_count;
  ColumnArray arrays[SAMPLE_COLUMNS_MAX];
  int64_t *expiry; /* NULL: none */
  Bytes *keys;     /* encoded, ascending */
  Arena arena;     /* of all of it */
} SampleTable;

/* A column of the sample: name, id and width follow from its number and type. */
void sample_add_column(SampleTable *table, ColumnType type, uint32_t flags);
/* The next key column. */
void sample_add_key(SampleTable *table, uint32_t column);
/* One column of every type, nullable ones among them; the key is column 0, an i64. */
void sample_every_type(SampleTable *table);
/* Fills the table with at most `rows` rows of random values with distinct keys, sorted by key. `expiring`: how many in
 * a hundred rows expire. */
void sample_fill(SampleTable *table, uint32_t rows, uint32_t expiring, uint64_t seed);
/* Sorts the rows by key, dropping repeated keys: after the caller has changed a key column itself. */
void sample_sort(SampleTable *table);
void sample_release(SampleTable *table);

ColumnBatch sample_batch(const SampleTable *table);
Value sample_value(const SampleTable *table, uint32_t column, uint32_t row);
/* Rows [first, first + count) as a batch; `arrays` holds its columns. */
ColumnBatch sample_slice(const SampleTable *table, uint32_t first, uint32_t count, ColumnArray *arrays);
/* The first row whose key is not less. */
uint32_t sample_lower_bound(const SampleTable *table, Bytes key);
bool sample_same_value(const Value *a, const Value *b);

/* ---- extents ---- */

typedef enum ExtentMode {
  EXTENTS_TRUSTED,  /* mapped, nothing to verify */
  EXTENTS_VERIFIED, /* mapped, with a checksum a unit */
  EXTENTS_CACHED,   /* fetched through pins, with a checksum a unit: only the pinned copy is readable */
} ExtentMode;

typedef struct SampleExtent {
  uint8_t *bytes; /* aligned to 4096, padded */
  size_t length;
  uint64_t *checksums;
  _Atomic uint64_t verified[8192];
} SampleExtent;

typedef struct SampleStore {
  ExtentMode mode;
  uint32_t count;
  SampleExtent *extents[SAMPLE_EXTENTS_MAX];
  Source sources[SAMPLE_EXTENTS_MAX];
  RunSources run_sources;
  Buffer directory;
  ColumnRunSummary summary;
  _Atomic uint64_t pins; /* not yet given back */
} SampleStore;

RunSink sample_sink(SampleStore *store);
/* Writes the whole table as one run, in batches of `batch_rows`. */
void sample_write(SampleStore *store, const SampleTable *table, const ColumnRunOptions *options, uint32_t batch_rows);
/* Makes the sources read in this way from now on, with no unit verified. */
void sample_set_mode(SampleStore *store, ExtentMode mode);
Status sample_open(SampleStore *store, const Schema *schema, ColumnRun **run);
void sample_store_release(SampleStore *store);

#endif
