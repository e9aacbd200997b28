/* row_run.h - row runs: an immutable set of kv rows in key order, in extents of the file.
 *
 * Three things lie in the extents, and a directory (some bytes that the engine keeps) says where:
 *
 *   pieces   the rows, in key order, at most ROW_PIECE_BYTES each; a row never straddles two pieces. A position is
 *            32 bits and counts 4 bytes in a space where piece i begins at i * 4 MiB: a run ends below 16 GiB
 *     row      key length - 1 u16 | flags u16 | value length u32 | [expiry i64] | key | value | zeros up to 4 bytes
 *     flags    1 tombstone, 2 has an expiry, 4 the value lies elsewhere: its 16 bytes are
 *              value extent u32 (ordinal among the run's value extents) | length u32 | offset u64
 *   index    buckets, then the sparse index, as one string of bytes cut every 4 MiB into extents
 *     bucket   64 bytes: 10 fingerprints u16 | count u16 | overflow u16 | 10 positions u32
 *              one bucket for seven keys; that of a hash is the high word of hash * bucket count, its fingerprint the
 *              hash's low 16 bits; a full bucket is marked and its keys go to the next one, around the end
 *     block    1 KiB of sparse index for 85 groups of at most 16 rows (a group never leaves its piece):
 *              85 heads u64 | 85 positions u32 | skip u16 | count u16
 *              a head is the group's first key from byte `skip` on, 8 bytes big-endian, padded with zeros; all keys
 *              from the first of this block to that of the next one agree in their first `skip` bytes
 *   values   those longer than VALUE_INLINE_MAX, one after the other, in value extents
 *
 * A packed run has its pieces in frames (row_pack.h): positions, groups and index are those of the decoded rows, a
 * group never leaves its frame, and a row is read by decoding its frame through the block cache.
 *
 * The directory also holds the first key of every block (a fence), so that an ordered seek touches memory, one block of
 * the index and one group of rows; a point read touches one line of the index and one row, a miss one line in all.
 *
 * Nothing read from an extent is trusted: positions, lengths and ordinals are compared with what is there at each use,
 * so that a crafted file gives KVSTORE_CORRUPT or wrong rows, never an access outside its extents (FILE-4, FILE-9).
 *
 * Threads: a writer and a cursor belong to one thread at a time. A RowRun is immutable; any number of threads may read
 * it. */
#ifndef COLONNADE_ROWSTORE_ROW_RUN_H
#define COLONNADE_ROWSTORE_ROW_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/schema.h" /* EXPIRY_NEVER */
#include "base/status.h"
#include "os/block_cache.h"
#include "os/source.h"

typedef struct RowRun RowRun;
typedef struct RowRunWriter RowRunWriter;

/* What a run holds. The keys are borrowed from the run (or the writer) that told it. */
typedef struct RowRunSummary {
  uint64_t row_count; /* tombstones included */
  uint64_t tombstone_count;
  uint64_t expiring_count;         /* rows with an expiry */
  uint64_t external_count;         /* rows whose value lies in a value extent */
  int64_t expiry_min, expiry_max;  /* of the rows with an expiry; EXPIRY_NEVER and 0 when there is none */
  uint64_t key_bytes, value_bytes; /* of all keys, of all values */
  uint64_t extent_bytes;           /* of all extents of the run, the directory left out */
  bool is_packed;
  Bytes first_key, last_key;
} RowRunSummary;

/* ---- writing ---- */

/* Packed: in frames of 16 KiB, compressed with a dictionary that is learnt from the run's first MiB of rows. It is
 * smaller and slower to read: a row costs a frame, unless the block cache has it. Absent keys cost the same as ever. */
enum { ROW_PACKING_NONE, ROW_PACKING_WORTHWHILE /* when a sample saves a fifth */, ROW_PACKING_ALWAYS };

/* Zero-initialise for the defaults. Tests choose smaller extents. */
typedef struct RowRunOptions {
  uint32_t piece_bytes;        /* a piece ends before it grows past this; 0, and more than that: ROW_PIECE_BYTES */
  uint32_t value_extent_bytes; /* the same for value extents (a longer value has one of its own); 0: 4 MiB */
  uint32_t packing;            /* ROW_PACKING_* */
} RowRunOptions;

/* A writer holds one piece, one value extent and 12 bytes a row (21 while it finishes); one that packs at first a MiB
 * of rows, and 2 MiB of its own. `sink` is copied, its context stays the caller's; `options` may be NULL. KVSTORE_NOMEM
 * leaves *writer untouched. */
Status row_run_writer_create(const RunSink *sink, const RowRunOptions *options, RowRunWriter **writer) MUST_CHECK;
/* NULL is allowed. Extents already emitted are the caller's to drop. */
void row_run_writer_destroy(RowRunWriter *writer);

/* Adds a row; keys must ascend. Key: 1 to KEY_BYTES_MAX bytes; value: up to VALUE_BYTES_CEILING; a tombstone has none.
 * expiry: EXPIRY_NEVER or milliseconds since the epoch. Both are copied (or emitted) before it returns.
 * KVSTORE_ERROR for a key that does not ascend or a size that is not allowed, KVSTORE_LIMIT when the run is full (the
 * row is absent and the writer may be finished), else what the sink says; after a failure of sink or memory only
 * destroy is allowed. */
Status row_run_writer_add(RowRunWriter *writer, Bytes key, Bytes value, int64_t expiry, bool tombstone) MUST_CHECK;

/* What the run's extents hold so far, the index not yet written included: for cutting runs at a size. */
uint64_t row_run_writer_bytes(const RowRunWriter *writer);
uint64_t row_run_writer_rows(const RowRunWriter *writer);

/* Emits what is left and appends the directory to the empty buffer. A run without rows is allowed: it emits nothing.
 * *summary (may be NULL) borrows its keys from the writer. Afterwards only destroy is allowed. */
Status row_run_writer_finish(RowRunWriter *writer, Buffer *directory, RowRunSummary *summary) MUST_CHECK;

/* ---- reading ---- */

/* Opens a run from its directory (copied) and its extents by ordinal (borrowed: they outlive the run; more of them than
 * the directory names are allowed). Reads no extent. KVSTORE_CORRUPT when the directory is none, or names what is not
 * there. */
Status row_run_open(const void *directory, size_t length, const RunSources *sources, RowRun **run) MUST_CHECK;
void row_run_close(RowRun *run); /* NULL is allowed */
/* Bytes of memory that an open run holds. */
uint64_t row_run_memory(const RowRun *run);
/* Borrowed, as long as the run. */
const RowRunSummary *row_run_summary(const RowRun *run);

/* Keeps bytes of an extent readable. {0} holds nothing; with mapped sources it never does. */
typedef struct RowPin {
  Source *source;
  SourcePin pin;
} RowPin;
static inline void row_pin_release(RowPin *pin) {
  if (UNLIKELY(pin->pin.cached != NULL)) {
    if (pin->source)
      source_release(pin->source, &pin->pin);
    else
      block_cache_release(pin->pin.cached); /* a decoded frame */
  }
  pin->pin.cached = NULL;
}

/* A row in place. */
typedef struct RowView {
  Bytes key;
  Bytes value;    /* external: data is NULL, length is right; row_run_value fetches it */
  int64_t expiry; /* EXPIRY_NEVER or milliseconds since the epoch: nothing here looks at the clock */
  bool tombstone, external;
  uint32_t position;     /* names the row within its run */
  uint32_t value_extent; /* external only, not yet compared with what is there */
  uint64_t value_offset;
} RowView;

/* Fetches the line of the index that row_run_get will look at. `hash` is hash_key(key, key_length), here and below. */
void row_run_prefetch(const RowRun *run, uint64_t hash);
/* Once that line is there: fetches the rows that it names. Looks at nothing that would have to be read or verified. */
void row_run_prefetch_rows(const RowRun *run, uint64_t hash);
/* Looks a key up; tombstones are rows. *found false leaves *view undefined. When found, the bytes of *view are readable
 * until row_pin_release(pin). */
Status row_run_get(const RowRun *run, uint64_t hash, const void *key, size_t key_length, RowView *view, RowPin *pin,
                   bool *found) MUST_CHECK;
/* The value of a row of this run, inline or external, until both the row's pin (or its cursor's step) and *pin are
 * given back. An inline value needs no pin: *pin is then empty. */
Status row_run_value(const RowRun *run, const RowView *view, Bytes *value, RowPin *pin) MUST_CHECK;

/* How many rows have expired by `now_ms`, from the directory and the packed column of expiries alone: no row is read.
 * *known false: a plain run, whose rows say it one by one. */
Status row_run_count_expired(const RowRun *run, int64_t now_ms, bool *known, uint64_t *count) MUST_CHECK;

/* Reads everything: the order, every row by way of the index, the sparse index, the directory's counts, the external
 * values' places. KVSTORE_CORRUPT with *why (a fixed text) when something is wrong; other codes when reading failed. */
Status row_run_check(const RowRun *run, const char **why) MUST_CHECK;

/* ---- in key order ---- */

/* A view of one piece around the current row: the rest of a unit, or one long row. */
typedef struct RowWindow {
  const uint8_t *bytes; /* NULL: nothing held */
  uint32_t piece, start, end;
  RowPin pin;
} RowWindow;

/* What a walk holds: the unit that it is in, the one that it was in, and a row that begins in one and ends in the
 * other, copied out of them, so that each unit is asked for once. */
enum { ROW_SEAM_BYTES = 512 };
typedef struct RowWalk {
  RowWindow now, former;
  _Alignas(8) uint8_t seam[ROW_SEAM_BYTES];
} RowWalk;

/* Plain memory (some 900 bytes), no allocation. Only `valid` and `row` are for callers. The bytes of `row` are readable
 * until the cursor is moved or closed. */
typedef struct RowCursor {
  const RowRun *run;
  bool valid; /* it stands on a row; false at either end, from which only a positioning call leads back */
  RowView row;
  const uint8_t *sparse; /* block `sparse_block` of the sparse index, NULL: none is held */
  uint32_t sparse_block;
  RowPin sparse_pin;
  uint32_t piece, offset, next_offset;
  uint32_t group;        /* where the row was found last; a hint */
  uint32_t loaded_group; /* whose offsets are below; UINT32_MAX: none */
  uint32_t loaded_count, loaded_index;
  uint32_t offsets[SPARSE_INTERVAL];
  RowWalk walk;
} RowCursor;

/* Stands nowhere until positioned. */
void row_cursor_open(RowCursor *cursor, const RowRun *run);
void row_cursor_close(RowCursor *cursor);
/* After each of these `valid` says whether there is such a row. After a failure the cursor is not valid. The key that
 * is sought must not lie in the cursor's own row. */
Status row_cursor_first(RowCursor *cursor) MUST_CHECK;
Status row_cursor_last(RowCursor *cursor) MUST_CHECK;
Status row_cursor_seek(RowCursor *cursor, const void *key, size_t length) MUST_CHECK;      /* first >= key */
Status row_cursor_seek_last(RowCursor *cursor, const void *key, size_t length) MUST_CHECK; /* last <= key */
/* Only while valid. */
Status row_cursor_next(RowCursor *cursor) MUST_CHECK;
Status row_cursor_prev(RowCursor *cursor) MUST_CHECK;

#endif
