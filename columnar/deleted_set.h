/* deleted_set.h - the dead rows of one run, as one snapshot sees them.
 *
 * A set is immutable and counted by references; "adding" makes a new set that shares every segment without new dead
 * rows. Per segment it is nothing, or a sorted array of at most DELETED_ARRAY_MAX rows, or a bitmap of 1,024 words, so
 * that a scan ANDs words. NULL is the empty set of any run: every function here takes it.
 *
 * Threads: any number of readers; retain and release are atomic; whoever holds a reference may read.
 *
 * Rows are named by positions (columnar/locator.h): segment << 16 | row. */
#ifndef COLONNADE_COLUMNAR_DELETED_SET_H
#define COLONNADE_COLUMNAR_DELETED_SET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bitmap.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "base/status.h"
#include "columnar/locator.h"

enum { DELETED_ARRAY_MAX = 512, DELETED_WORDS = SEGMENT_ROWS / 64 };

/* The dead rows of one segment, never none. Shared between sets. */
typedef struct DeletedRows {
  _Atomic uint32_t references;
  uint32_t count; /* dead rows: 1 to SEGMENT_ROWS */
  bool is_bitmap; /* which of the two below; an array has at most DELETED_ARRAY_MAX rows, a bitmap has more */
  union {
    uint16_t *rows;  /* ascending, `count` of them */
    uint64_t *words; /* DELETED_WORDS */
  };
} DeletedRows;

typedef struct DeletedSet {
  _Atomic uint32_t references;
  uint32_t segment_count; /* of the run */
  uint64_t count;         /* dead rows in all */
  DeletedRows *segments[RUN_SEGMENTS_MAX];
} DeletedSet;

/* An empty set for a run of `segment_count` segments (1 to RUN_SEGMENTS_MAX), with one reference, the caller's. */
Status deleted_set_create(uint32_t segment_count, DeletedSet **set) MUST_CHECK;
/* Returns its argument. */
DeletedSet *deleted_set_retain(const DeletedSet *set);
/* Gives up a reference; the last one frees. */
void deleted_set_release(const DeletedSet *set);

/* *out = `set` and the rows at `positions` (in any order; repeated ones and those already dead change nothing). `set`
 * is unchanged and stays the caller's; segments without a new dead row are shared. *out has one reference, the
 * caller's; it is NULL on failure. `set` may be NULL: then `segment_count` says of how many segments the run is; else
 * it is not read. KVSTORE_CORRUPT when a position names no segment of the run (positions come from disk and log). Cost:
 * a sort of the positions unless they ascend, and a copy of each touched segment's rows. */
Status deleted_set_add_many(const DeletedSet *set, uint32_t segment_count, const uint32_t *positions, size_t count,
                            DeletedSet **out) MUST_CHECK;

static inline uint64_t deleted_set_count(const DeletedSet *set) { return set ? set->count : 0; }
/* The dead rows of a segment, or NULL when it has none. Scans ask once a segment. */
static inline const DeletedRows *deleted_set_rows(const DeletedSet *set, uint32_t segment) {
  return set ? set->segments[segment] : NULL;
}
static inline uint32_t deleted_set_segment_count(const DeletedSet *set, uint32_t segment) {
  const DeletedRows *rows = deleted_set_rows(set, segment);
  return rows ? rows->count : 0;
}
/* Bytes of memory that they take. */
uint64_t deleted_rows_memory(const DeletedRows *rows);
bool deleted_rows_contain(const DeletedRows *rows, uint32_t row);
static inline bool deleted_set_contains(const DeletedSet *set, uint32_t segment, uint32_t row) {
  const DeletedRows *rows = deleted_set_rows(set, segment);
  return rows && deleted_rows_contain(rows, row);
}
/* Dead rows among [from, to) of the segment. */
uint32_t deleted_rows_count_range(const DeletedRows *rows, uint32_t from, uint32_t to);
/* Clears in the masks of `blocks` (a bit a block) the bits of their dead rows. *touched: those of them that have any;
 * *emptied: those of these with no bit left. */
void deleted_rows_clear(const DeletedRows *rows, uint64_t blocks, uint64_t (*masks)[BLOCK_WORDS], uint64_t *touched,
                        uint64_t *emptied);
/* Appends the positions of all dead rows, ascending, to an array of at least deleted_set_count entries. */
void deleted_set_positions(const DeletedSet *set, uint32_t *positions);
/* The segment's dead rows as words; `words` is written whole. */
void deleted_set_words(const DeletedSet *set, uint32_t segment, uint64_t words[DELETED_WORDS]);

/* ---- on disk ----
 * Both forms are read with checks, whatever the bytes are: KVSTORE_CORRUPT with a sentence, never a crash. */

/* One sorted list: what a flush writes for one run. A varint count, then per segment that has any: its number less the
 * number after the former one, the count of its rows, and the rows as varint steps less one. `positions` ascend
 * strictly. */
void deleted_list_write(const uint32_t *positions, size_t count, Buffer *out);
/* Reads one list to exactly its end; the Reader may hold more after it. Every row lies below its segment's row count
 * (`segment_rows`, `segment_count` of them). *positions is allocated by base/memory.h and the caller's to release; NULL
 * when the list is empty. */
Status deleted_list_read(Reader *in, const uint32_t *segment_rows, uint32_t segment_count, uint32_t **positions,
                         size_t *count) MUST_CHECK;

/* A whole set as one bitmap in the Roaring portable format (github.com/RoaringBitmap/RoaringFormatSpec), whose values
 * are positions: one container a segment. Arrays up to 4,096 rows, bitsets above. */
void deleted_bitmap_write(const DeletedSet *set, Buffer *out);
/* Reads one bitmap to exactly its end (also one with run containers), checking cookie, kinds, order, duplicates,
 * offsets and cardinalities. Every row lies below its segment's row count. */
Status deleted_bitmap_read(Reader *in, const uint32_t *segment_rows, uint32_t segment_count,
                           DeletedSet **set) MUST_CHECK;

#endif
