/* table_delta.h - the newest rows of a table: column arrays in slabs of 65,536 rows, found by encoded key.
 *
 * A row is a number, from 0 in append order. Its typed values lie in one array a column, as base/schema.h says, so
 * that scans run the same kernels as over runs; beside them lie the hidden arrays sequence, dead_at, link, key
 * reference, and expiry once a row has one. See delta.h for life and threads: functions marked [writer] need the
 * apply lock; all others may run beside them and take no lock. In the order of their keys rows are put by
 * table_order.h.
 *
 * A delete is a row with a key and no values whose dead_at is its own sequence (VIS-2): never visible, found by
 * key. */
#ifndef COLONNADE_ROWSTORE_TABLE_DELTA_H
#define COLONNADE_ROWSTORE_TABLE_DELTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/schema.h"
#include "base/status.h"
#include "rowstore/delta.h"
#include "rowstore/key_index.h"

typedef struct TableDelta TableDelta;

#define TABLE_ROW_NONE       UINT32_MAX
#define TABLE_DELTA_ROWS_MAX ((UINT32_C(1) << 31) - 2) /* a link is 31 bits and a flag */

/* `schema` is read here only and need not outlive the call. No slab is opened before the first row. KVSTORE_NOMEM
 * leaves *delta untouched. */
Status table_delta_create(const Schema *schema, TableDelta **delta) MUST_CHECK;
void table_delta_destroy(TableDelta *delta); /* NULL is allowed; no reader may be inside */
/* [writer] From here on append, delete and rollback are caller's mistakes (asserted); set_dead and revive stay
 * allowed. */
void table_delta_freeze(TableDelta *delta);

/* [writer] Appends one row, entry `source_row` of the arrays `columns` (all columns of the schema, in its order;
 * values checked by the caller; strings are copied). `key` is its encoded key (1 to KEY_BYTES_MAX bytes), `hash`
 * its hash_key. The newest row of the key here that was not rolled back gets dead_at = sequence when it was alive,
 * and is *replaced; otherwise *replaced is TABLE_ROW_NONE (see table_delta_older for what lies beneath then). *row
 * and *replaced may be NULL. KVSTORE_NOMEM (also beyond TABLE_DELTA_ROWS_MAX): the row is wholly absent. */
Status table_delta_append(TableDelta *delta, Bytes key, uint64_t hash, const ColumnArray *columns, size_t source_row,
                          int64_t expiry, uint64_t sequence, uint32_t *row, uint32_t *replaced) MUST_CHECK;
/* [writer] Appends a delete of a key: columns null or zero, dead_at = sequence. *replaced as above. */
Status table_delta_delete(TableDelta *delta, Bytes key, uint64_t hash, uint64_t sequence, uint32_t *row,
                          uint32_t *replaced) MUST_CHECK;

/* [writer] Appends every row of a batch, in order, a pass a column. keys[i], hashes[i] and replaced[i] belong to
 * row i (`replaced` may be NULL). Row i gets sequence + i * sequence_step: 0 for a bulk append, which has one
 * sequence, 1 for operations of their own. A key may occur more than once; the later row replaces the earlier. The
 * rows are *first_row, *first_row + 1 and so on. When it fails, the first *appended rows are in and the others
 * wholly absent; the caller rolls back to its mark. */
typedef struct TableAppend {
  const ColumnBatch *batch;
  const Bytes *keys;
  const uint64_t *hashes;
  uint64_t sequence, sequence_step;
  uint32_t *replaced;
} TableAppend;
Status table_delta_append_batch(TableDelta *delta, const TableAppend *rows, uint32_t *first_row,
                                uint32_t *appended) MUST_CHECK;

/* The row of a key that `snapshot` sees: FOUND with *row; DELETED with the row number of the delete; ABSENT (*row left
 * alone). The caller got `snapshot` by an acquire of what published it. */
DeltaState table_delta_find(const TableDelta *delta, uint64_t hash, const void *key, size_t key_length,
                            uint64_t snapshot, uint32_t *row);
/* Fetch ahead of find: the slot; some 8 keys later what it names. */
void table_delta_prefetch(const TableDelta *delta, uint64_t hash);
void table_delta_prefetch_entry(const TableDelta *delta, uint64_t hash);

/* [writer] A row of a newer delta or a bulk load with this sequence replaces the row: dead_at = sequence when it was
 * DEAD_NEVER, and true; otherwise nothing, and false. */
bool table_delta_set_dead(TableDelta *delta, uint32_t row, uint64_t sequence);
/* [writer] Takes that back: dead_at goes from `sequence` to DEAD_NEVER; any other dead_at stays. Rollback does not
 * know of set_dead: the engine takes back its own, before or after table_delta_rollback. */
void table_delta_revive(TableDelta *delta, uint32_t row, uint64_t sequence);

/* [writer] Where the delta ends now. */
DeltaMark table_delta_mark(const TableDelta *delta);
/* [writer] VIS-3: every row since the mark gets dead_at 0, newest first, and every dead_at that its append set goes
 * back to DEAD_NEVER. Row numbers are not used again. */
void table_delta_rollback(TableDelta *delta, DeltaMark mark);

/* ---- rows ---- */
uint32_t table_delta_row_count(const TableDelta *delta); /* published rows: an acquire */
/* Of a row that the caller got from this delta. */
Bytes table_delta_key(const TableDelta *delta, uint32_t row);
uint64_t table_delta_sequence(const TableDelta *delta, uint32_t row);
uint64_t table_delta_dead_at(const TableDelta *delta, uint32_t row);
int64_t table_delta_expiry(const TableDelta *delta, uint32_t row);
/* The row of the same key that this one was put over (rolled-back ones left out), or TABLE_ROW_NONE. */
uint32_t table_delta_older(const TableDelta *delta, uint32_t row);

/* The arrays of rows first_row to first_row + row_count - 1: entry i belongs to row first_row + i. Valid as long as
 * the delta. Only entries below row_count may be read: the writer is at work behind them (a kernel that takes whole
 * blocks copies the last one first). Deletes and rolled-back rows are among them, with harmless values;
 * visible_block leaves them out. */
typedef struct TableSlab {
  uint32_t first_row;
  uint32_t row_count;         /* published when the view was taken, at most DELTA_SLAB_ROWS */
  const ColumnArray *columns; /* in schema order; nulls is NULL for columns that are not nullable */
  const uint64_t *sequence;
  const _Atomic uint64_t *dead_at;
  /* Of each block of BLOCK_ROWS rows: how many have a dead_at that is not DEAD_NEVER. Where that is 0, sequences ascend
   * and nothing that a snapshot may see is dead: what has died for it was counted before it was taken. */
  const _Atomic uint32_t *dead_rows;
  const int64_t *expiry; /* NULL: EXPIRY_NEVER, all of them */
} TableSlab;

uint32_t table_delta_slab_count(const TableDelta *delta); /* slabs with published rows */
/* slab_index < table_delta_slab_count */
TableSlab table_delta_slab(const TableDelta *delta, uint32_t slab_index);
/* The slab of a row, and its place there. */
static inline uint32_t table_slab_of(uint32_t row) { return row / DELTA_SLAB_ROWS; }
static inline uint32_t table_slab_offset(uint32_t row) { return row % DELTA_SLAB_ROWS; }

/* Numbers of one moment; beside a writer each for itself. */
DeltaCounts table_delta_counts(const TableDelta *delta);
/* Structure, chains and counts. For tests; no writer beside it. */
bool table_delta_check(TableDelta *delta, const char **why);

#endif
