/* scan.h - which rows of a table are selected: live at a snapshot, not expired, and true of a filter.
 *
 * A table at a snapshot is an array of units: segments of column runs, and slabs of deltas as plain arrays. A Scan
 * takes one unit after the other and leaves a mask of selected rows; aggregates (aggregates.h) and row batches read
 * columns under it.
 *
 *   zones of the segment    excluded: nothing of it is touched
 *   zones of its blocks     excluded blocks are not read, certain ones need no reading
 *   dead rows, visibility   blocks without a live row are not read
 *   predicates              cheapest and most selective first, on encoded bytes, AND into the mask; blocks with at most
 *                           SCAN_POSITIONS_MAX rows left by position
 *   expiry                  last
 *
 * Threads: units are the grain of parallelism. A Scan belongs to one thread at a time; units, runs, deleted sets and
 * predicates may be shared by any number of scans. */
#ifndef COLONNADE_COLUMNAR_SCAN_H
#define COLONNADE_COLUMNAR_SCAN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/schema.h"
#include "base/status.h"
#include "columnar/column_run.h"
#include "columnar/deleted_set.h"
#include "columnar/predicate.h"
#include "encodings/codec.h"

/* ---- a table at a snapshot: what the engine fills in ---- */
typedef enum ScanUnitKind { SCAN_UNIT_SEGMENT, SCAN_UNIT_ARRAYS, SCAN_UNIT_STREAM } ScanUnitKind;

/* Where the rows of a STREAM unit come from, a piece at a time: each a unit of ARRAYS, whose arrays are the stream's
 * until its next piece. */
typedef struct ScanUnit ScanUnit;
typedef struct ScanSource {
  void *context;
  Status (*open)(void *context, uint32_t number, void **stream);
  Status (*next)(void *stream, ScanUnit *piece, bool *more); /* *more: the piece is not the last one */
  void (*close)(void *stream);
  /* Makes what the streams share, on the calling thread: *divisible when several threads may then have one open each.
   * NULL: they may not. */
  Status (*begin)(void *context, bool *divisible);
  /* The time that its rows are looked at, while no stream is open. NULL: its rows have no expiry. */
  void (*set_clock)(void *context, int64_t now_ms);
} ScanSource;

/* At most SEGMENT_ROWS rows; a STREAM any number. Row numbers below are within the unit. Everything is borrowed. */
struct ScanUnit {
  ScanUnitKind kind;
  /* Of the segment; ARRAYS: the rows that may be looked at (published before the snapshot was taken); STREAM: about so
   * many. */
  uint32_t row_count;

  /* SEGMENT: the run was opened with the snapshot's schema. Segments of one run ascend and stand together. */
  ColumnRun *run;
  uint32_t segment;
  const DeletedSet *deleted; /* of the run, at the snapshot; NULL: nothing is dead */

  /* ARRAYS: entry i belongs to row i; entries from row_count on are never read. Rows are in no order. */
  const ColumnArray *columns; /* one a column of the schema; values NULL: the column is not there (defaults) */
  const Value *defaults;      /* what such columns read as, by position; NULL: null */
  const uint64_t *sequence;   /* with dead_at: visible when sequence <= snapshot < dead_at. NULL, both: all are */
  const _Atomic uint64_t *dead_at;
  /* Of each block, how many rows have a dead_at other than DEAD_NEVER; sequences ascend where that is 0. NULL: ask all
   */
  const _Atomic uint32_t *dead_rows;
  const int64_t *expiry; /* milliseconds since the epoch, or EXPIRY_NEVER; NULL: never, all of them */
  uint64_t snapshot;

  /* STREAM: rows in the order of the table's key, one stream after the other. A snapshot has no other units then. */
  const ScanSource *source;
  uint32_t number; /* which of the source's streams */
};

typedef struct TableSnapshot {
  const Schema *schema;
  const ScanUnit *units;
  uint32_t unit_count;
  int64_t now_ms; /* the statement's clock (VIS-8) */
  void *owner;
  void (*release)(void *owner); /* gives it all back; NULL: nothing to give back */
  const _Atomic bool *undone;   /* set when rows of its transaction were rolled back; NULL: it has none of its own */
} TableSnapshot;

static inline Status table_snapshot_undone(void) {
  return status_fail(KVSTORE_ERROR, "the transaction that the query was made in has been rolled back");
}

/* Who reads rows of an open transaction asks behind them: what was read beside its rollback is neither before nor
 * after. */
static inline Status table_snapshot_check(const TableSnapshot *snapshot) {
  if (!snapshot->undone) return KVSTORE_OK;
  atomic_thread_fence(memory_order_acquire); /* what was read was read before */
  if (!atomic_load_explicit(snapshot->undone, memory_order_acquire)) return KVSTORE_OK;
  return table_snapshot_undone();
}

/* A statement reads the clock once: of several tables all take the first one's, before anything is read of them. */
static inline void table_snapshot_set_clock(TableSnapshot *snapshot, int64_t now_ms) {
  snapshot->now_ms = now_ms;
  for (uint32_t i = 0; i < snapshot->unit_count; i++) {
    const ScanSource *source = snapshot->units[i].kind == SCAN_UNIT_STREAM ? snapshot->units[i].source : NULL;
    if (source && source->set_clock) source->set_clock(source->context, now_ms);
  }
}

static inline void table_snapshot_release(TableSnapshot *snapshot) {
  if (snapshot->release) snapshot->release(snapshot->owner);
  *snapshot = (TableSnapshot){ 0 };
}

/* ---- what was done: blocks == blocks_skipped + blocks_certain + blocks_scanned ---- */

/* Steps whose time is kept, in ticks (os/ticks.h), added up over threads. A unit that its directory excludes takes part
 * in none; of others that take little, one in 16 is looked at and stands for those since the last. Those behind the
 * scan are counted by who takes them. */
typedef enum ScanStep {
  SCAN_STEP_SOURCE, /* pieces of a STREAM */
  SCAN_STEP_SELECT, /* live rows, zone maps, the filter */
  SCAN_STEP_ADD,    /* aggregates and groups, their columns read and computed */
  SCAN_STEP_MERGE,  /* what several threads have made */
  SCAN_STEP_BACK,   /* groups and values that had left memory */
  SCAN_STEP_ORDER,
  SCAN_STEP_WHOLE, /* the whole run, the caller's thread alone */
  SCAN_STEPS
} ScanStep;

/* A term of the filter: what its outermost AND joins, or all of it. */
enum { SCAN_TERMS_MAX = 8 /* those from the last one on are counted together */ };
typedef struct ScanTerm {
  uint64_t ticks;
  uint64_t blocks;            /* whose zone map did not say it all */
  uint64_t rows_in, rows_out; /* of units that were looked at */
  uint64_t encodings;         /* of its (left) column: a bit each */
} ScanTerm;

typedef struct ScanCounters {
  uint64_t units, segments_skipped; /* segments excluded by the directory of their run: nothing of them was touched */
  uint64_t rows;                    /* in all units, dead ones included */
  uint64_t rows_selected;
  uint64_t blocks;
  uint64_t blocks_skipped; /* excluded by zone map, dead rows or expiry, those of skipped segments included */
  uint64_t blocks_certain; /* every live row matches, known without reading a column of the filter */
  uint64_t blocks_scanned; /* a column of the filter was read */
  uint64_t encodings;      /* of chunks that were opened: a bit each */
  uint64_t ticks[SCAN_STEPS];
  uint64_t units_timed, units_looked; /* units whose time the ticks stand for; those that took any */
  uint64_t whole_ns;                  /* of SCAN_STEP_WHOLE */
  uint64_t rows_given;                /* by a cursor */
  uint64_t rows_joined;               /* of tables that are joined: what the filter of all of them was asked */
  bool helped;                        /* several threads had units */
  ScanTerm terms[2][SCAN_TERMS_MAX];  /* [1]: of what ScanKeys leaves to ask of a segment */
} ScanCounters;
void scan_counters_add(ScanCounters *to, const ScanCounters *from);

/* ---- a scan ---- */
enum { SCAN_POSITIONS_MAX = 64 }; /* with at most as many rows left in a block, a predicate looks at each */

typedef struct Scan Scan;

/* The selected rows of the unit (of a STREAM: its piece) that was scanned last. */
typedef struct ScanSelection {
  const ScanUnit *unit;
  uint32_t block_count;
  uint64_t row_count; /* selected rows */
  uint64_t blocks;    /* bit b: block b has a selected row */
  uint64_t whole;     /* bit b: every row of block b is selected and nothing had to be read to know it; within blocks */
  uint64_t (*masks)[BLOCK_WORDS]; /* masks[b] of the blocks that are in `blocks` and not in `whole`; others undefined */
} ScanSelection;

/* What is known of a computed block, of the rows that were asked for. */
typedef struct ScanComputed {
  bool has_nulls;
  bool is_bounded; /* integers but u64: their values lie from low to high */
  int64_t low, high;
} ScanComputed;

/* How columns that no unit has (COLUMN_COMPUTED in the schema) are computed from the others. Each scan makes a computer
 * of its own. A failure of a row that was selected, or that a filter asks for, ends the scan with it. */
typedef struct ScanComputer {
  const void *what;
  Status (*create)(const void *what, void **computer);
  void (*destroy)(void *computer);
  /* A block into an array and a byte a row, as scan_read_block: rows in `mask` (at least one) must be right, others may
   * be anything. `nulls` is written when some are null. */
  Status (*block)(void *computer, Scan *scan, uint32_t column, uint32_t block, const uint64_t *mask, void *values,
                  uint8_t *nulls, ScanComputed *known);
  /* The `count` rows at `rows`, ascending, of one block or of several, side by side; at most BLOCK_ROWS. */
  Status (*rows)(void *computer, Scan *scan, uint32_t column, const uint16_t *rows, uint32_t count, void *values,
                 uint8_t *nulls, ScanComputed *known);
  Status (*row)(void *computer, Scan *scan, uint32_t column, uint32_t row, Value *out);
} ScanComputer;

/* `schema` and `where` (NULL: every row) are borrowed until scan_destroy. */
Status scan_create(const Schema *schema, const Predicate *where, int64_t now_ms, Scan **scan) MUST_CHECK;
/* Keys that a scan is restricted to, encoded (base/keycode.h): of segments only rows between the two are selected,
 * found by searching, and blocks without any of them are not touched. */
typedef struct ScanKeys {
  Bytes low, high;         /* from `low` on and before `high`; data NULL: no end */
  const Predicate *inside; /* what remains of the filter for a row of a segment whose key lies within */
} ScanKeys;
/* The same within keys, which are borrowed likewise; NULL: all. `where` says of every row what `keys` and `inside` say
 * together: the rows of arrays are asked it. `computer` (NULL: nothing is) computes the columns behind the table's
 * own. */
Status scan_create_within(const Schema *schema, const Predicate *where, const ScanKeys *keys,
                          const ScanComputer *computer, int64_t now_ms, Scan **scan) MUST_CHECK;
void scan_destroy(Scan *scan); /* NULL is allowed */

/* Selects the rows of a unit. What was read of the unit before goes: pointers to its strings end here (those into
 * arrays live as long as the unit). After a failure (KVSTORE_CORRUPT, KVSTORE_IO, KVSTORE_NOMEM) nothing is selected.
 */
Status scan_unit(Scan *scan, const ScanUnit *unit) MUST_CHECK;
/* The same in two steps, of a unit that is no STREAM: *passed when it is known that nothing of it is selected, before
 * anything of it is read; else scan_entered selects. Who does not call it has no unit. */
Status scan_pass(Scan *scan, const ScanUnit *unit, bool *passed) MUST_CHECK;
Status scan_entered(Scan *scan) MUST_CHECK;
/* Of a STREAM one piece was scanned, and there are more: the next scan_unit with the same unit goes on. */
bool scan_continues(const Scan *scan);
/* What is still to come of its stream is not wanted: scan_unit of it begins anew. */
void scan_leave_stream(Scan *scan);
const ScanSelection *scan_selection(const Scan *scan);
/* Writes the masks of whole blocks too, so that masks[b] is right for every b in `blocks`. */
void scan_fill_masks(Scan *scan);
const ScanCounters *scan_counters(const Scan *scan);
/* How many units the time of the current one stands for; 0: nobody looks at it. */
uint32_t scan_weight(const Scan *scan);

/* Columns of the current unit; selected or not. Strings are valid until the next scan_unit or scan_destroy. */
/* Block `block` into an array of the natural width and a byte a row (1 = null), with room for BLOCK_ROWS each; entries
 * past the block's rows are undefined. */
Status scan_read_block(Scan *scan, uint32_t column, uint32_t block, void *values, uint8_t *nulls) MUST_CHECK;
/* The same of a column of numbers, with a bit for each row that is not null; those behind the block's rows are clear.
 */
Status scan_read_valid(Scan *scan, uint32_t column, uint32_t block, void *values, uint64_t valid[BLOCK_WORDS],
                       bool *has_nulls) MUST_CHECK;
/* One value: for few rows. */
Status scan_read_value(Scan *scan, uint32_t column, uint32_t row, Value *out) MUST_CHECK;

/* ---- for computers ---- */
/* A block in place where it lies so, else in `values` and `nulls` (room for BLOCK_ROWS each); out->nulls may be NULL.
 * Of a computed column the rows of `mask` are right. */
Status scan_block_view(Scan *scan, uint32_t column, uint32_t block, const uint64_t *mask, void *values, uint8_t *nulls,
                       ColumnArray *out) MUST_CHECK;
/* The `count` rows at `rows`, ascending, at most BLOCK_ROWS, as arrays, of a column that is no string. */
Status scan_gather(Scan *scan, uint32_t column, const uint16_t *rows, uint32_t count, void *values,
                   uint8_t *nulls) MUST_CHECK;
/* The selected rows of a block, from `rows` on; returns how many. */
uint32_t scan_block_positions(const Scan *scan, uint32_t block, uint16_t *rows);
/* The rows of a block that were selected: none where nothing of it was. */
void scan_selected_rows(const Scan *scan, uint32_t block, uint64_t mask[BLOCK_WORDS]);
/* Between which images the values of a block lie, from its zone map; of a computed column those of the rows that were
 * read last, if they are of this block. False: not known. */
bool scan_block_zone(Scan *scan, uint32_t column, uint32_t block, int64_t *minimum, int64_t *maximum);
/* Room for strings until the unit is left; NULL: no memory. */
uint8_t *scan_string_room(Scan *scan, size_t bytes);

/* Drops from masks[b] of `blocks` the rows whose value has an image outside [low, high] or is null: on encoded bytes,
 * as a filter does. A number column; masks are filled (scan_fill_masks). What is left of *blocks has rows. */
Status scan_keep_within(Scan *scan, uint32_t column, int64_t low, int64_t high, uint64_t *blocks) MUST_CHECK;

/* ---- columns with few values: codes ----
 * Where an encoding or a zone says that the current unit has few values in a column (a dictionary, one value, integers
 * of a narrow range), each row has a code below `count` that stands for its value; equal codes are equal values, and a
 * null has the last code. Two codes may stand for values that compare equal (both zeros). */
enum { SCAN_CODES_RANGE = 4096 }; /* integers further apart have no codes */
/* *count is 0 when the column has no codes here; at most 65,536. */
Status scan_codes(Scan *scan, uint32_t column, uint32_t *count) MUST_CHECK;
/* The codes of a block, with room for BLOCK_ROWS; entries past its rows are undefined. Only when there are some. */
Status scan_read_codes(Scan *scan, uint32_t column, uint32_t block, uint16_t *codes) MUST_CHECK;
/* Whether some selected row has each code but that of null, known without reading a row: all rows of the unit are
 * selected, and a dictionary has no other values. */
bool scan_codes_are_all(Scan *scan, uint32_t column);
/* What a code of a row that was read stands for; strings as those of scan_read_block. */
Status scan_code_value(Scan *scan, uint32_t column, uint32_t code, Value *out) MUST_CHECK;

/* A block of integers as they are packed (codec_offsets), multiples of a step only where they are taken; *offsets is
 * NULL, and nothing is read, where they are not or one is null. */
Status scan_read_offsets(Scan *scan, uint32_t column, uint32_t block, bool takes_multiples, void *room,
                         CodecOffsets *out, const void **offsets) MUST_CHECK;

/* Least and greatest image of a column over the current unit, from metadata alone; false when there is none that says
 * so, or no row has a value. */
bool scan_zone(Scan *scan, uint32_t column, int64_t *minimum, int64_t *maximum);

static inline uint32_t scan_block_rows(const ScanUnit *unit, uint32_t block) {
  uint32_t left = unit->row_count - block * BLOCK_ROWS;
  return left < BLOCK_ROWS ? left : BLOCK_ROWS;
}

#endif
