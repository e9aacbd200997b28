/* sample_units.h - a table at a snapshot as hand-made units, random filters over it, and a plain answer to both: row by
 * row, with an evaluation of its own that shares nothing with encodings/compare.h. */
#ifndef COLONNADE_TESTS_COLUMNAR_SAMPLE_UNITS_H
#define COLONNADE_TESTS_COLUMNAR_SAMPLE_UNITS_H

#include "columnar/scan.h"
#include "tests/columnar/sample_table.h"

enum { SAMPLE_TABLES_MAX = 8, SAMPLE_UNITS_MAX = SAMPLE_TABLES_MAX * RUN_SEGMENTS_MAX, SAMPLE_ADDED_COLUMNS = 3 };

typedef struct SampleUnitsOptions {
  uint32_t runs, run_rows, segment_rows; /* segment_rows 0: whole segments */
  uint32_t slabs, slab_rows;
  uint32_t dead_percent, expiring_percent;
  bool old_runs; /* every other run lacks the columns that were added later */
  ExtentMode mode;
  uint64_t seed;
} SampleUnitsOptions;

typedef struct SampleUnits {
  Arena arena;
  Schema schema; /* every type, then SAMPLE_ADDED_COLUMNS with defaults */
  Column columns[SAMPLE_COLUMNS_MAX];
  Value defaults[SAMPLE_COLUMNS_MAX];
  int64_t now_ms;
  uint64_t snapshot;
  uint32_t table_count;
  SampleTable tables[SAMPLE_TABLES_MAX];
  SampleStore *stores[SAMPLE_TABLES_MAX];
  ColumnRun *runs[SAMPLE_TABLES_MAX];
  DeletedSet *deleted[SAMPLE_TABLES_MAX];
  uint32_t unit_count;
  ScanUnit units[SAMPLE_UNITS_MAX];
  uint32_t unit_table[SAMPLE_UNITS_MAX], unit_first[SAMPLE_UNITS_MAX]; /* where its row 0 lies */
  bool *live[SAMPLE_UNITS_MAX];
} SampleUnits;

void sample_units_create(SampleUnits *units, const SampleUnitsOptions *options);
/* Three runs, some without the columns that were added later, and two slabs; dead rows and expired ones in all. */
void sample_units_mixed(SampleUnits *units, uint32_t run_rows, uint32_t segment_rows, uint32_t slab_rows,
                        uint64_t seed);
void sample_units_release(SampleUnits *units);
TableSnapshot sample_units_snapshot(const SampleUnits *units);
Value sample_units_value(const SampleUnits *units, uint32_t unit, uint32_t column, uint32_t row);

/* A random filter of at most `depth` levels whose constants are mostly values of the table. */
const PredicateTerm *sample_filter(Arena *arena, const SampleUnits *units, uint32_t depth, uint64_t *random);
/* 0 false, 1 unknown, 2 true: of the row, dead or not. */
int sample_filter_truth(const PredicateTerm *term, const SampleUnits *units, uint32_t unit, uint32_t row);
/* Live, and the filter (NULL: none) is true. */
bool sample_filter_selects(const PredicateTerm *term, const SampleUnits *units, uint32_t unit, uint32_t row);
/* Mathematical order of two values that compare (docs/semantics.md), neither null. */
int sample_order(const Value *a, const Value *b);

#endif
