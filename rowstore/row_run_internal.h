/* row_run_internal.h - what the writer, the reader, the cursor and the check of row runs share. */
#ifndef COLONNADE_ROWSTORE_ROW_RUN_INTERNAL_H
#define COLONNADE_ROWSTORE_ROW_RUN_INTERNAL_H

#include "base/arena.h"
#include "base/limits.h"
#include "rowstore/row_run.h"

/* ---- rows ---- */
enum {
  ROW_TOMBSTONE = 1,
  ROW_EXPIRES = 2,
  ROW_EXTERNAL = 4,
  ROW_FLAGS = 7,
  ROW_HEADER_BYTES = 8,
  ROW_EXPIRY_BYTES = 8,
  ROW_REFERENCE_BYTES = 16, /* what stands for an external value */
  ROW_BYTES_MIN = 12,       /* a header and a key of one byte, padded */
};
#define ROW_BYTES_MAX \
  ((ROW_HEADER_BYTES + ROW_EXPIRY_BYTES + KEY_BYTES_MAX + VALUE_INLINE_MAX + 3) / POSITION_UNIT * POSITION_UNIT)
/* A row with the longest key and value fits the smallest window of positions that a piece has. */
_Static_assert(ROW_HEADER_BYTES + ROW_EXPIRY_BYTES + KEY_BYTES_MAX + VALUE_INLINE_MAX + 4 < ROW_PIECE_BYTES, "piece");

#define POSITION_UNIT   4u /* bytes that a position counts */
#define PIECE_POSITIONS (ROW_PIECE_BYTES / POSITION_UNIT)
#define PIECES_MAX      4096u /* 2^32 positions */

static inline uint32_t position_piece(uint32_t position) { return position / PIECE_POSITIONS; }
static inline uint32_t position_offset(uint32_t position) { return position % PIECE_POSITIONS * POSITION_UNIT; }
static inline uint32_t position_of(uint32_t piece, uint32_t offset) {
  return piece * PIECE_POSITIONS + offset / POSITION_UNIT;
}

/* ---- buckets ---- */
enum {
  BUCKET_BYTES = 64,
  BUCKET_SLOTS = 10,
  BUCKET_KEYS = 7, /* on average */
  BUCKET_COUNT_AT = 20,
  BUCKET_OVERFLOW_AT = 22,
  BUCKET_POSITIONS_AT = 24,
};

static inline uint32_t bucket_home(uint64_t hash, uint32_t bucket_count) {
  return (uint32_t)(((unsigned __int128)hash * bucket_count) >> 64);
}

/* ---- sparse index ---- */
enum {
  SPARSE_GROUPS = 85, /* of a block: 85 * (8 + 4) + 2 + 2 = 1024 */
  SPARSE_BLOCK_BYTES = 1024,
  SPARSE_POSITIONS_AT = SPARSE_GROUPS * 8,
  SPARSE_SKIP_AT = SPARSE_POSITIONS_AT + SPARSE_GROUPS * 4,
  SPARSE_COUNT_AT = SPARSE_SKIP_AT + 2,
};
_Static_assert(SPARSE_COUNT_AT + 2 == SPARSE_BLOCK_BYTES, "block");

#define INDEX_EXTENT_BYTES ROW_PIECE_BYTES

/* Where the sparse blocks begin in the index; its buckets come first. */
static inline uint64_t index_sparse_start(uint32_t bucket_count) {
  return round_up((uint64_t)bucket_count * BUCKET_BYTES, SPARSE_BLOCK_BYTES);
}
static inline uint32_t sparse_block_count(uint32_t group_count) {
  return (group_count + SPARSE_GROUPS - 1) / SPARSE_GROUPS;
}

/* A head: up to 8 bytes of a key from byte `skip` on, as a number that orders as they do. */
static inline uint64_t key_head(const uint8_t *key, size_t length, size_t skip) {
  return length > skip ? bytes_prefix64(key + skip, length - skip) : 0;
}
static inline size_t keys_common(Bytes a, Bytes b) {
  size_t limit = a.length < b.length ? a.length : b.length, i = 0;
  while (i < limit && a.data[i] == b.data[i]) i++;
  return i;
}

/* ---- directory ----
 *   offset  size  field
 *        0     4  magic "CRR0"
 *        4     4  features that a reader must know: 1 packed
 *        8    32  rows, tombstones, rows with an expiry, rows with an external value (u64 each)
 *       40    16  lowest and highest expiry (i64 each)
 *       56    16  bytes of all keys, of all values (u64 each)
 *       72    12  buckets, longest probe beyond a home bucket, groups (u32 each)
 *       84    12  pieces, index extents, value extents (u32 each)
 *       96        per piece: ordinal u32, length u32, rows u32
 *                 per index extent: ordinal u32 (4 MiB each, the last one shorter)
 *                 per value extent: ordinal u32, length u64
 *                 packed: extent of the expiry column u32 (0xffffffff: none), its length u64; dictionary (varint
 * length, bytes; none: length 0); per piece: frames u32; per frame: length u32, stored length u32, rows u16 last key:
 * varint length, bytes; then per sparse block its first key, in the same form */
#define ROW_RUN_MAGIC 0x30525243u /* "CRR0" */
enum { ROW_RUN_PACKED = 1 };

/* Where a frame lies. One more behind the last of a piece says where that ends. */
typedef struct RowFrame {
  uint32_t start;     /* in the piece's rows */
  uint32_t stored_at; /* in its extent */
  uint32_t row_count;
} RowFrame;

/* What packed runs have. */
typedef struct RowFrames {
  Source *expiries; /* NULL: no row expires */
  Bytes dictionary; /* length 0: none */
  uint32_t count;
  _Atomic(struct ZSTD_DDict_s *) digested; /* made of the dictionary when it is first needed */
} RowFrames;

typedef struct RowPiece {
  Source *source;
  uint32_t length, row_count; /* of its rows: in a packed run the extent is shorter */
  RowFrame *frames;           /* packed runs */
  uint32_t frame_count, first_frame;
} RowPiece;

typedef struct RowExtent {
  Source *source;
  uint64_t length;
} RowExtent;

struct RowRun {
  uint32_t bucket_count, probe_max;
  Source **index; /* by extent of the index */
  RowPiece *pieces;
  uint32_t piece_count, index_count, value_count, group_count, block_count;
  uint64_t sparse_start;
  RowExtent *values;
  RowFrames *frames;     /* NULL: plain */
  Bytes *fences;         /* first key of each block */
  uint64_t *fence_heads; /* from byte `common` on */
  size_t common;         /* bytes that all keys of the run agree in */
  RowRunSummary summary;
  Arena arena; /* all of the above */
};

/* ---- reading rows ---- */
static inline uint64_t row_total(uint64_t header) { /* the bytes of the row that begins with these eight */
  uint64_t expiry = (header >> 16 & ROW_EXPIRES) ? ROW_EXPIRY_BYTES : 0;
  return round_up(ROW_HEADER_BYTES + expiry + (header & 0xffff) + 1 + (header >> 32), POSITION_UNIT);
}

/* Makes the row at `offset` of `piece` readable through the window: its bytes and their number. KVSTORE_CORRUPT when no
 * row can begin there or it leaves its piece. The window's former bytes are given back. */
Status row_window_load(const RowRun *run, RowWindow *window, uint32_t piece, uint32_t offset, const uint8_t **row,
                       uint32_t *total) MUST_CHECK;

/* The row there when it lies whole in the window. */
static inline bool row_window_has(const RowWindow *w, uint32_t piece, uint32_t offset, const uint8_t **row,
                                  uint32_t *total) {
  if (UNLIKELY(!w->bytes || piece != w->piece || offset < w->start || (uint64_t)offset + ROW_HEADER_BYTES > w->end))
    return false;
  const uint8_t *p = w->bytes + (offset - w->start);
  uint64_t bytes = row_total(load_u64(p));
  *row = p;
  *total = (uint32_t)bytes;
  return bytes <= w->end - offset;
}
static inline void row_window_close(RowWindow *w) {
  row_pin_release(&w->pin);
  w->bytes = NULL;
}

/* ---- walking over rows ---- */

/* Nothing held. The seam's bytes are of no matter. */
static inline void row_walk_begin(RowWalk *w) { w->now = w->former = (RowWindow){ 0 }; }
static inline void row_walk_end(RowWalk *w) {
  row_window_close(&w->now);
  row_window_close(&w->former);
}

/* As row_window_load; the row's bytes stay until the next call, or the walk's end. */
Status row_walk_load(const RowRun *run, RowWalk *walk, uint32_t piece, uint32_t offset, const uint8_t **row,
                     uint32_t *total) MUST_CHECK;
/* Holds the unit of a byte besides the one that the walk is in. Not for what is mapped or packed. */
Status row_walk_hold(const RowRun *run, RowWalk *walk, uint32_t piece, uint32_t offset) MUST_CHECK;
static inline Status row_walk_row(const RowRun *run, RowWalk *w, uint32_t piece, uint32_t offset, const uint8_t **row,
                                  uint32_t *total) {
  if (LIKELY(row_window_has(&w->now, piece, offset, row, total))) return KVSTORE_OK;
  return row_walk_load(run, w, piece, offset, row, total);
}

static inline Bytes row_key(const uint8_t *row) {
  uint32_t header = load_u32(row);
  return (Bytes){ row + ROW_HEADER_BYTES + ((header >> 16 & ROW_EXPIRES) ? ROW_EXPIRY_BYTES : 0),
                  (header & 0xffff) + 1 };
}

/* Fills in what a row with flags says; KVSTORE_CORRUPT when its flags contradict each other. */
Status row_decode_flags(const uint8_t *row, uint32_t flags, uint32_t position, RowView *view) MUST_CHECK;

/* Describes the row whose bytes were found whole by row_walk_row. */
static inline Status row_decode(const uint8_t *row, uint32_t position, RowView *view) {
  uint64_t header = load_u64(row);
  uint32_t flags = (uint32_t)header >> 16;
  if (UNLIKELY(flags)) return row_decode_flags(row, flags, position, view);
  view->key = (Bytes){ row + ROW_HEADER_BYTES, (header & 0xffff) + 1 };
  view->value = (Bytes){ view->key.data + view->key.length, header >> 32 };
  view->expiry = EXPIRY_NEVER;
  view->tombstone = view->external = false;
  view->position = position;
  return KVSTORE_OK;
}

/* ---- reading the index ---- */
/* `length` bytes of the index; they do not cross a 4 MiB border. */
static inline Status index_block(const RowRun *run, uint64_t at, size_t length, const uint8_t **bytes, RowPin *pin) {
  pin->source = run->index[at / INDEX_EXTENT_BYTES];
  return source_block(pin->source, at % INDEX_EXTENT_BYTES, length, bytes, &pin->pin);
}
/* Block `block` of the sparse index, its count and skip compared with what the directory says. */
Status row_sparse_block(const RowRun *run, uint32_t block, const uint8_t **bytes, RowPin *pin) MUST_CHECK;
static inline uint32_t sparse_groups(const RowRun *run, uint32_t block) {
  uint32_t left = run->group_count - block * SPARSE_GROUPS;
  return left < SPARSE_GROUPS ? left : SPARSE_GROUPS;
}

#endif
