/* merge.h - the rows of a kv family through its layers: deltas and row runs, newest first.
 *
 * For equal keys the newest layer wins and a tombstone hides what is older. A cursor keeps the first 16 bytes of each
 * layer's key as two words, and knows the layer that stands next: while one layer dominates, a row costs one comparison
 * of words. Nothing is allocated per row.
 *
 * Threads: layers may be read by many threads; a cursor belongs to one at a time. */
#ifndef COLONNADE_ROWSTORE_MERGE_H
#define COLONNADE_ROWSTORE_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"
#include "rowstore/kv_delta.h"
#include "rowstore/row_run.h"

/* ---- a level: runs whose key ranges do not overlap, in key order ---- */
typedef struct RowLevel {
  RowRun **runs;   /* the level's own array of borrowed runs */
  uint64_t *heads; /* of their first keys, from byte `common` on */
  uint32_t count;
  uint32_t common; /* bytes that all keys from the first run's first to the last run's last agree in */
} RowLevel;

/* Runs without rows are left out. KVSTORE_CORRUPT when two runs overlap or stand in the wrong order. Zero-initialise
 * *level before; it stays empty on a failure. */
Status row_level_init(RowLevel *level, RowRun *const *runs, uint32_t count) MUST_CHECK;
void row_level_release(RowLevel *level);
/* The last run whose first key is <= key: the only one that can hold it. UINT32_MAX: none. */
uint32_t row_level_find(const RowLevel *level, const void *key, size_t length);

/* ---- layers ---- */
/* Exactly one of the three is set; all are borrowed. */
typedef struct MergeLayer {
  KvDelta *delta;
  uint64_t snapshot; /* of the delta */
  RowRun *run;
  const RowLevel *level;
} MergeLayer;

/* The newest row of a key, or of a place in the order. */
typedef struct MergeRow {
  RowView view;          /* of a delta's row: position is the row's name there */
  bool expired;          /* its expiry is <= now_ms: the caller skips or evicts it */
  uint32_t layer;        /* which one it came from */
  uint64_t sequence;     /* of a delta's row; 0 for a run's */
  const RowRun *run;     /* whose row it is; NULL for a delta's */
  RowPin pin, value_pin; /* of merge_get; a cursor's rows hold nothing that the caller gives back */
} MergeRow;

/* Looks a key up, newest layer first; every run's line is fetched ahead. DELTA_FOUND: *row is the row, to be given back
 * by merge_row_release; expired when its expiry is <= now_ms. DELTA_DELETED (a tombstone hides it) and DELTA_ABSENT:
 * nothing to give back, but the release is allowed. `hash` is hash_key(key, key_length). */
Status merge_get(const MergeLayer *layers, uint32_t count, uint64_t hash, const void *key, size_t key_length,
                 int64_t now_ms, MergeRow *row, DeltaState *state) MUST_CHECK;
/* The value wherever it lies; readable until merge_row_release (merge_get) or the cursor's next step. */
Status merge_row_value_outside(MergeRow *row, Bytes *value) MUST_CHECK; /* one that lies apart from its row */
static inline Status merge_row_value(MergeRow *row, Bytes *value) {
  if (UNLIKELY(row->view.external)) return merge_row_value_outside(row, value);
  *value = row->view.value;
  return KVSTORE_OK;
}
void merge_row_release(MergeRow *row);

/* ---- in key order ---- */
/* Zero-initialise: everything alive, from the first key to the last. Bounds are copied. */
typedef struct MergeOptions {
  Bytes lower;     /* keys >= this; data NULL: from the first */
  Bytes upper;     /* keys < this; data NULL: to the last */
  Bytes prefix;    /* keys that begin so, on top of the bounds; length 0: all */
  int64_t now_ms;  /* rows with an expiry <= this are yielded with `expired` set. INT64_MIN: none */
  bool tombstones; /* yield them too (compaction, flush); else they are stepped over */
} MergeOptions;

typedef struct MergeState MergeState;

typedef struct MergeCursor {
  bool valid;   /* it stands on a row; false at either end, from which only a positioning call leads back */
  MergeRow row; /* its bytes are readable until the cursor is moved or closed */
  MergeState *state;
} MergeCursor;

/* Stands nowhere until positioned. The layers' array is copied; what it names outlives the cursor. No layers: an empty
 * cursor. `options` may be NULL. KVSTORE_NOMEM: nothing to close. */
Status merge_cursor_open(MergeCursor *cursor, const MergeLayer *layers, uint32_t count,
                         const MergeOptions *options) MUST_CHECK;
void merge_cursor_close(MergeCursor *cursor); /* a closed one is allowed */
/* After each of these `valid` says whether there is such a row within the bounds. After a failure it is not valid. A
 * seek to a key outside the bounds goes to the nearest row inside, or nowhere. The key is not that of the cursor's own
 * row. */
Status merge_cursor_first(MergeCursor *cursor) MUST_CHECK;
Status merge_cursor_last(MergeCursor *cursor) MUST_CHECK;
Status merge_cursor_seek(MergeCursor *cursor, const void *key, size_t length) MUST_CHECK;      /* first >= key */
Status merge_cursor_seek_last(MergeCursor *cursor, const void *key, size_t length) MUST_CHECK; /* last <= key */
/* Only while valid. */
Status merge_cursor_next(MergeCursor *cursor) MUST_CHECK;
Status merge_cursor_prev(MergeCursor *cursor) MUST_CHECK;
/* The current row's value wherever it lies, readable until the cursor is moved or closed. */
static inline Status merge_cursor_value(MergeCursor *cursor, Bytes *value) {
  return merge_row_value(&cursor->row, value);
}

#endif
