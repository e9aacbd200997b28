/* delta.h - the words that both deltas share.
 *
 * A delta holds the newest rows of one family between two boundaries of the log. Its life: the engine creates it,
 * one thread at a time (the holder of the apply lock) appends to it while any number read, the engine freezes it at
 * a boundary, flushes it to a run, and destroys it when no version names it. A frozen delta takes no rows; the
 * `dead_at` of its rows may still be set.
 *
 * A row is visible at snapshot s when `sequence <= s < dead_at` (protocol VIS-2, base/visible.h). */
#ifndef COLONNADE_ROWSTORE_DELTA_H
#define COLONNADE_ROWSTORE_DELTA_H

#include <stdint.h>

#include "base/visible.h"

/* What a delta says about a key at a snapshot. */
typedef enum DeltaState {
  DELTA_ABSENT = 0,  /* nothing: the caller goes on to older layers. Also when a bulk load replaced the row (VIS-6) */
  DELTA_FOUND = 1,   /* a row */
  DELTA_DELETED = 2, /* the key was deleted: the caller stops */
} DeltaState;

/* Where a transaction (or a statement of it) began in one delta; what rollback goes back to. */
typedef struct DeltaMark {
  uint32_t row_count;
  uint32_t last_row; /* kv: the reference of the newest row, 0 when there is none */
} DeltaMark;

typedef struct DeltaCounts {
  uint64_t rows;        /* appended, deletes and rolled-back ones included */
  uint64_t keys;        /* distinct keys ever appended */
  uint64_t keys_behind; /* of them, those that came behind all others and were not looked for (kv) */
  uint64_t live_rows;   /* rows with dead_at = DEAD_NEVER that are no deletes */
  uint64_t bytes_used;  /* of keys, rows and values: what a flush will roughly write */
  uint64_t bytes_held;  /* of memory taken from the allocator, index included */
} DeltaCounts;

#endif
