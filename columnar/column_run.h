/* column_run.h - column runs: immutable rows of a table, sorted by key, as 1 to 64 segments of encoded columns.
 *
 * A run is one extent per segment and one directory, which the engine keeps in its manifest. The directory repeats what
 * decides whether an extent must be touched at all: zones, key ranges, places and encodings of chunks.
 *
 *   segment extent    header | fences | key filter | chunk | chunk | ... | expiry chunk | padding
 *                     checked    encoded first key      64-byte aligned, one a column     only when a row expires
 *                     places     of every block
 *
 * Bytes are never trusted (protocol FILE-4): a directory is checked wholly by column_run_open, a segment's header,
 * fences and filter when the segment is first touched, a chunk's table when the chunk is first opened, a block at its
 * first use (one bit a block remembers). Whatever the bytes are, the answer is right or KVSTORE_CORRUPT.
 *
 * Threads: one writer belongs to one thread. An open run may be used by any number of threads; what is opened on the
 * way is published once and kept until column_run_close, which comes last. */
#ifndef COLONNADE_COLUMNAR_COLUMN_RUN_H
#define COLONNADE_COLUMNAR_COLUMN_RUN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "base/schema.h"
#include "base/status.h"
#include "columnar/locator.h"
#include "encodings/chunk.h"
#include "os/source.h"

/* ---- zones ---- */

/* Images (base/schema.h) of the smallest and largest value that is not null, and how many rows are null. Without any
 * value minimum is INT64_MAX and maximum INT64_MIN, so that no range test holds. */
typedef struct ColumnZone {
  int64_t minimum, maximum;
  uint32_t null_count;
} ColumnZone;

/* ---- writing ---- */

typedef struct ColumnRunOptions {
  uint32_t segment_rows; /* rows of a full segment; 0: SEGMENT_ROWS. Tests make small ones */
  size_t segment_bytes;  /* a segment ends before its rows pass this many bytes in memory; 0: SEGMENT_BYTES_MAX. One row
                            may be larger: it is then a segment of its own */
  size_t array_bytes;    /* the run is full when an array has so many bytes; 0: RUN_ARRAY_BYTES_MAX */
  bool key_filter;       /* write a fingerprint filter over the keys: for runs whose key ranges overlap others */
  uint32_t threads;      /* how many may encode columns, the writer's own among them; 0: 1. The bytes are the same */
} ColumnRunOptions;

/* What a finished run consists of. Keys are encoded (base/keycode.h). The caller's: column_run_summary_release. */
typedef struct ColumnRunSummary {
  uint64_t row_count;
  uint32_t segment_count;
  uint32_t column_count;
  uint64_t byte_count; /* of all extents */
  Buffer first_key, last_key;
  int64_t expiry_min, expiry_max; /* over all rows; EXPIRY_NEVER for a row that never expires */
  uint64_t *column_bytes;         /* chunks of each column of the schema, in its order */
  uint64_t expiry_bytes;          /* chunks of the hidden expiry column */
} ColumnRunSummary;

void column_run_summary_release(ColumnRunSummary *summary); /* leaves it zeroed */

typedef struct ColumnRunWriter ColumnRunWriter;

/* A writer of one run. `schema` is borrowed until column_run_writer_destroy; the sink and `options` (or NULL) are not.
 */
Status column_run_writer_create(const RunSink *sink, const Schema *schema, const ColumnRunOptions *options,
                                ColumnRunWriter **writer) MUST_CHECK;
/* Adds the rows of the batch from row *next on, copying what it keeps, strings included, and sets *next behind the last
 * one taken: to rows->row_count, unless the run is full before (column_run_writer_is_full): then finish it, and begin
 * the next run with what is left. Encoded keys ascend strictly, within the batch and from call to call (COL-1: asserted
 * at block edges, in debug builds at every row). The batch has the schema's columns in its order. Emits a segment
 * whenever one is complete. After a failure only column_run_writer_destroy may follow. */
Status column_run_writer_add(ColumnRunWriter *writer, const ColumnBatch *rows, uint32_t *next) MUST_CHECK;
/* True when RUN_SEGMENTS_MAX segments are emitted, or an array has its bytes. */
bool column_run_writer_is_full(const ColumnRunWriter *writer);
/* Rows added so far. */
uint64_t column_run_writer_rows(const ColumnRunWriter *writer);
/* Emits what is left, appends the directory to `directory` and fills *summary (whatever it held is overwritten). At
 * least one row was added. Nothing but column_run_writer_destroy may follow. */
Status column_run_writer_finish(ColumnRunWriter *writer, Buffer *directory, ColumnRunSummary *summary) MUST_CHECK;
void column_run_writer_destroy(ColumnRunWriter *writer); /* NULL is allowed */

/* ---- reading ---- */

typedef struct ColumnRun ColumnRun;
typedef struct Segment Segment;

/* What the directory says of one chunk. */
typedef struct ChunkPlace {
  uint64_t offset, length; /* within the extent */
  ColumnZone zone;         /* of the whole segment */
  uint8_t encoding;        /* EncodingId */
  uint8_t lane;            /* bits of its widest packed lane, as in the chunk; 0 when nothing is packed */
} ChunkPlace;

/* Opens a run whose directory is `length` bytes at `directory` (not kept). `sources` names its extents by ordinal;
 * the array and the sources are borrowed until column_run_close.
 *
 * `schema` (borrowed likewise) is what every column number below refers to: the run's columns are found by their ids. A
 * column of the schema that the run does not have reads as defaults[column] in every row: as null when `defaults` is
 * NULL (borrowed likewise; entries of the column's type, or null). Columns of the run that the schema does not have are
 * ignored. After a change of schema the run is opened anew; that reads only the directory.
 *
 * KVSTORE_CORRUPT: the directory is damaged, does not fit the sources or the schema (a column of another type, another
 * key), or a column is missing that is not nullable and has no default. */
Status column_run_open(const void *directory, size_t length, const RunSources *sources, const Schema *schema,
                       const Value *defaults, ColumnRun **run) MUST_CHECK;
void column_run_close(ColumnRun *run); /* NULL is allowed */
/* Bytes of memory that an open run holds; any thread. */
uint64_t column_run_memory(const ColumnRun *run);
/* Is it as long as one gets: did its writer end it before the rows did? A merge of such runs gives as many again. */
bool column_run_is_full(const ColumnRun *run);

/* The fields below are constant after column_run_open, except `number`. */
struct ColumnRun {
  uint32_t number;        /* the engine's, for locators; 0 until the engine sets it, before other threads see the run */
  uint32_t segment_count; /* 1 to RUN_SEGMENTS_MAX */
  uint64_t row_count;
  const Schema *schema; /* as given to column_run_open */
  const Value *defaults;
  uint32_t schema_version;        /* of the writer */
  Bytes first_key, last_key;      /* encoded; owned by the run */
  uint64_t first_head, last_head; /* their first 8 bytes */
  int64_t expiry_min, expiry_max; /* EXPIRY_NEVER both when nothing in it expires */
  struct Segment *segments;
  struct ColumnRunIndex *index; /* private to the folder */
};

/* One segment. Constant, except what is behind `opened`. */
struct Segment {
  ColumnRun *run;
  uint32_t number;    /* within the run */
  uint32_t extent;    /* ordinal of its extent */
  uint64_t first_row; /* rows of the segments before it */
  uint32_t row_count; /* 1 to SEGMENT_ROWS */
  uint32_t block_count;
  Bytes first_key, last_key;          /* encoded; owned by the run */
  int64_t expiry_min, expiry_max;     /* as in the run */
  bool has_expiry;                    /* whether there is an expiry chunk */
  const ChunkPlace *places;           /* of the run's own columns, then of the expiry: see segment_place */
  struct SegmentOpen *_Atomic opened; /* private to the folder */
};

/* Whether a run may hold a key between two others; they may be the same. */
static inline bool column_run_overlaps(const ColumnRun *run, Bytes first, Bytes last) {
  return bytes_compare(last.data, last.length, run->first_key.data, run->first_key.length) >= 0 &&
         bytes_compare(first.data, first.length, run->last_key.data, run->last_key.length) <= 0;
}

static inline Segment *column_run_segment(const ColumnRun *run, uint32_t segment) { return &run->segments[segment]; }
/* Rows of block `block`: BLOCK_ROWS but for the last. */
static inline uint32_t segment_block_rows(const Segment *s, uint32_t block) {
  return block + 1 < s->block_count ? BLOCK_ROWS : s->row_count - block * BLOCK_ROWS;
}

/* Whether the run stores this column of the schema; when not, every row has column_run_default of it. */
bool column_run_has(const ColumnRun *run, uint32_t column);
Value column_run_default(const ColumnRun *run, uint32_t column);

/* The zone of a column over all rows of the run, from the directory; its default's when not stored. */
ColumnZone column_run_zone(const ColumnRun *run, uint32_t column);

/* The place of a column's chunk, or NULL when the run does not store the column. */
const ChunkPlace *segment_place(const Segment *s, uint32_t column);
/* The zone of a column over the segment, from the directory (no extent is touched); its default's when not stored. */
ColumnZone segment_zone(const Segment *s, uint32_t column);

/* An opened chunk. With a mapped source the view lies in the run and stays; with a cached one the chunk's bytes are
 * pinned by the hold. A hold stays where it is (chunk may point into it) until segment_chunk_release. */
typedef struct ChunkHold {
  const Chunk *chunk;         /* what kernels and codecs take */
  _Atomic uint64_t *verified; /* a bit a block: its units and its structure are known to be good */
  Source *source;
  uint64_t offset; /* of the chunk within the extent */
  SourcePin pin;
  Source *array;         /* of a column that lies outside the segment; else NULL */
  uint64_t array_offset; /* of the segment's first row there */
  SourcePin array_pin;
  Chunk own_chunk; /* with a cached source, or an array: what `chunk` points to */
} ChunkHold;

/* Column `column` of the segment as a chunk; it must be stored (column_run_has). COLUMN_EXPIRY names the hidden expiry,
 * which is there when has_expiry. The first opening verifies the chunk's table and what its blocks share. */
#define COLUMN_EXPIRY UINT32_MAX
Status segment_chunk(Segment *s, uint32_t column, ChunkHold *hold) MUST_CHECK;
void segment_chunk_release(ChunkHold *hold);
/* Whether what the chunk's values point to ends with the hold. */
static inline bool chunk_hold_is_cached(const ChunkHold *hold) { return hold->pin.cached || hold->array_pin.cached; }
/* Must be called, and succeed, before anything but zones is read of these blocks (a bit each): verifies those that were
 * never touched in this process. One load when all are known to be good. */
Status chunk_hold_verify(const ChunkHold *hold, uint64_t blocks) MUST_CHECK;
static inline Status chunk_hold_blocks(const ChunkHold *hold, uint64_t blocks) {
  uint64_t unknown = blocks & ~atomic_load_explicit(hold->verified, memory_order_acquire);
  return LIKELY(!unknown) ? KVSTORE_OK : chunk_hold_verify(hold, unknown);
}
static inline Status chunk_hold_block(const ChunkHold *hold, uint32_t block) {
  return chunk_hold_blocks(hold, UINT64_C(1) << block);
}

/* In the expiry chunk a row that never expires is null. Clears in `mask` the rows of the block that have expired by
 * `now_ms`; `hold` is the expiry chunk's. Nothing to do, and no extent to touch, when segment_all_unexpired says so. */
Status segment_and_unexpired(const Segment *s, const ChunkHold *hold, uint32_t block, int64_t now_ms,
                             uint64_t mask[BLOCK_WORDS]) MUST_CHECK;
static inline bool segment_all_unexpired(const Segment *s, int64_t now_ms) {
  return !expiry_passed(s->expiry_min, now_ms);
}
static inline bool segment_all_expired(const Segment *s, int64_t now_ms) {
  return expiry_passed(s->expiry_max, now_ms);
}

/* The encoded first key of a block; *fence points into the run's extent, or, cached, into memory that the run keeps. */
Status segment_fence(Segment *s, uint32_t block, Bytes *fence) MUST_CHECK;

/* ---- by key ---- */

/* Looks a key up; `hash` is hash_key of it. When *found, *out has the run's number. Dead and expired rows are found
 * too: deleted sets are the caller's. */
Status column_run_find(ColumnRun *run, Bytes key, uint64_t hash, Locator *out, bool *found) MUST_CHECK;
/* The same for many keys at once, in any order (they are looked up in the order of keys, so that neighbours share cache
 * lines): locators[i] becomes the packed locator of keys[i] when it is found. Entries whose locators[i] is not
 * LOCATOR_NONE on entry are left alone, so that the runs of a version can be asked in turn. */
Status column_run_find_many(ColumnRun *run, const Bytes *keys, const uint64_t *hashes, size_t count,
                            uint64_t *locators) MUST_CHECK;

/* The position (segment << 16 | row) of the first row whose key is not less than `key`; *position is
 * segment_count << 16 when there is none. For key ranges. */
Status column_run_lower_bound(ColumnRun *run, Bytes key, uint32_t *position) MUST_CHECK;
/* The same for any bytes, that need be no whole key: those of its first columns, or what follows them. */
Status column_run_bound(ColumnRun *run, Bytes bound, uint32_t *position) MUST_CHECK;

/* ---- by position ---- */

/* One value. Strings point into the run, or into `scratch`, which is cleared first. KVSTORE_CORRUPT when the position
 * names no row (locators come from the log). */
Status column_run_get(ColumnRun *run, uint32_t position, uint32_t column, Buffer *scratch, Value *out) MUST_CHECK;
/* When the row expires, EXPIRY_NEVER if never. */
Status column_run_get_expiry(ColumnRun *run, uint32_t position, int64_t *expiry) MUST_CHECK;
/* Appends the encoded key of a row. */
Status column_run_get_key(ColumnRun *run, uint32_t position, Buffer *key) MUST_CHECK;

/* Rows `rows` (within the segment, in any order) of `column_count` columns into out[0 .. column_count): arrays of
 * `count` entries from the arena; nulls is NULL where no row is null. Strings point into the run or the arena. */
Status column_run_read_rows(ColumnRun *run, uint32_t segment, const uint16_t *rows, size_t count,
                            const uint32_t *columns, size_t column_count, ColumnArray *out, Arena *arena) MUST_CHECK;
/* When they expire, EXPIRY_NEVER if never; of a segment that has_expiry. */
Status column_run_read_expiries(ColumnRun *run, uint32_t segment, const uint16_t *rows, size_t count, int64_t *expiries,
                                Arena *arena) MUST_CHECK;
/* A whole segment with every column of the schema (missing ones filled with their default), from the arena. `expiry` is
 * NULL when nothing expires. Strings point into the run or the arena. */
Status segment_decode(Segment *s, ColumnBatch *out, Arena *arena) MUST_CHECK;
/* Verifies the whole run: every unit, chunk and block; zones against values; keys
 * ascending and equal to fences and key ranges; the directory against the extents. Dropped columns too. The sentence of
 * the first wrong thing is the failure's text. */
Status column_run_check(ColumnRun *run) MUST_CHECK;

/* Whether a key of one may lie within the key range of the other. Runs that do not overlap need no merge: they are
 * moved by metadata alone. */
bool column_runs_overlap(const ColumnRun *a, const ColumnRun *b);

#endif
