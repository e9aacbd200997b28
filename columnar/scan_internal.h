/* scan_internal.h - what a scan keeps: of itself, of each column that it touched, of each node of its filter. */
#ifndef COLONNADE_COLUMNAR_SCAN_INTERNAL_H
#define COLONNADE_COLUMNAR_SCAN_INTERNAL_H

#include "base/arena.h"
#include "columnar/scan.h"
#include "encodings/codec.h"
#include "simd/simd.h"

/* One word of mask bits a block row: masks of a whole unit. */
typedef uint64_t UnitMasks[SEGMENT_BLOCKS][BLOCK_WORDS];

typedef enum ScanColumnKind {
  SCAN_COLUMN_CLOSED,
  SCAN_COLUMN_CHUNK,
  SCAN_COLUMN_ARRAY,
  SCAN_COLUMN_CONSTANT,
  SCAN_COLUMN_COMPUTED
} ScanColumnKind;

/* A column of the current unit. */
typedef struct ScanColumn {
  ScanColumnKind kind;
  ColumnType type;
  uint32_t row_count;
  size_t width;            /* bytes of an entry of its array */
  ChunkHold hold;          /* CHUNK; must not move while it is open */
  const uint8_t *values;   /* ARRAY: of the unit */
  const uint8_t *nulls;    /* may be NULL */
  Value constant;          /* CONSTANT: every row is this */
  bool constant_is_filled; /* the two below hold BLOCK_ROWS entries of it; made when first wanted */
  void *constant_values;
  uint8_t *constant_nulls;
  /* COMPUTED: the block that was computed last, in the two above, and of which rows it is right */
  uint32_t computed_block; /* UINT32_MAX: none */
  ScanComputed computed;
  uint64_t computed_rows[BLOCK_WORDS];
} ScanColumn;

/* What a scan keeps of a node of the filter. */
typedef struct NodeState {
  ZoneVerdict verdict;     /* on the current unit, from the directory alone */
  uint64_t maybe, certain; /* its blocks, from their zone maps */
  bool is_prepared;        /* LEAF over a chunk: `filter` is ready */
  CodecFilter filter;
  void *scratch;              /* of the filter; PAIR: two blocks */
  uint32_t *order;            /* AND, OR: its children as they are evaluated */
  uint32_t plain_count;       /* of the order: how many compute nothing; they come first */
  double bytes_per_row;       /* what a row of its columns takes in the current unit */
  uint64_t rows_in, rows_out; /* observed, over all units */
} NodeState;

/* A filter and what is kept of it. */
typedef struct ScanFilter {
  const Predicate *where;
  NodeState *nodes;
  UnitMasks *scratch;
} ScanFilter;

struct Scan {
  const Schema *schema;
  const Predicate *where; /* never NULL */
  ScanComputer computing; /* of computed columns */
  void *computer;
  int64_t now_ms;
  const SimdKernels *kernels;
  Arena arena;
  Arena strings; /* of the current unit: those that do not lie in their chunks */
  NodeState *nodes;
  ScanColumn **columns; /* by position; NULL until first touched */
  uint32_t *open_columns;
  uint32_t open_count;
  ChunkHold expiry;
  bool expiry_is_open;
  UnitMasks *masks;   /* of the selection */
  UnitMasks *scratch; /* two for each OR above the other */
  ScanSelection selection;
  ScanCounters counters;
  ZoneVerdict live, verdict;               /* of the current unit's rows, and of the filter on it */
  uint64_t untold_blocks, untold_segments; /* skipped whole, not yet among the counters of the process */
  uint32_t weight;                         /* of the current unit's time: of how many units; 0: not looked at */
  uint32_t untimed, passed;                /* units since the last one looked at; so many are to be passed */
  const ScanUnit *streamed;                /* the unit whose stream is open; NULL: none */
  void *stream;
  ScanUnit piece; /* of the stream */
  bool continues; /* with another one */
  /* the run that the units belong to, and what is known of all its rows */
  const ColumnRun *run;
  bool run_is_excluded;
  bool asks_run; /* scan_filter_run is on the way */
  /* within keys: scan_keys.c */
  const ScanKeys *keys; /* NULL: all */
  ScanFilter of_arrays, of_segments;
  uint32_t keys_first, keys_end; /* positions of `run` */
  uint32_t first_row, end_row;   /* of the current unit: those within */
};

static inline uint64_t first_blocks(uint32_t count) { return count >= 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1; }
/* Takes the lowest block out of *blocks (not 0). */
static inline uint32_t take_block(uint64_t *blocks) {
  uint32_t block = (uint32_t)__builtin_ctzll(*blocks);
  *blocks &= *blocks - 1;
  return block;
}

/* ---- scan_column.c ---- */
/* The column of the current unit, opened when it was not. */
Status scan_column(Scan *scan, uint32_t column, ScanColumn **out) MUST_CHECK;
/* Block `block` of an ARRAY column, or a block of a CONSTANT one, in place. */
Status scan_column_array(Scan *scan, ScanColumn *column, uint32_t block, ColumnArray *out) MUST_CHECK;
/* Block `block` of a CHUNK column; verifies it first. */
Status scan_chunk_block(Scan *scan, ScanColumn *column, uint32_t block, void *values, uint8_t *nulls) MUST_CHECK;
/* A block of a COMPUTED column, right for the rows of `mask`. */
Status scan_computed_array(Scan *scan, uint32_t position, uint32_t block, const uint64_t *mask,
                           ColumnArray *out) MUST_CHECK;
static inline bool scan_is_computed(const Scan *scan, uint32_t column) {
  return scan->schema->columns[column].flags & COLUMN_COMPUTED;
}
/* One value of an ARRAY or CONSTANT column. */
void scan_column_value(const ScanColumn *column, uint32_t row, Value *out);
/* Whether the unit has no such column; then what every row reads as. */
bool scan_unit_default(const ScanUnit *unit, uint32_t column, Value *out);
void scan_close_columns(Scan *scan);

/* ---- scan.c ---- */
/* What a term of the filter did in this unit: `child` of the outermost AND, or 0. */
void scan_note_term(Scan *scan, uint32_t child, const PredicateNode *node, ScanTerm term);

/* ---- scan_keys.c ---- */
Status scan_keys_create(Scan *scan, const ScanKeys *keys) MUST_CHECK;
/* Where the range lies in the run of the current unit; *any: in some of its rows. Touches at most the segments and
 * blocks in which the range ends. */
Status scan_keys_run(Scan *scan, bool *any) MUST_CHECK;
/* The rows of the current unit that lie within, and the filter that they are asked. Of its run it is known. */
void scan_keys_unit(Scan *scan);
/* The blocks with such rows. */
uint64_t scan_keys_blocks(const Scan *scan);
/* Clears the rows outside in the masks of `blocks`; returns the blocks that lie within as a whole. */
uint64_t scan_keys_cut(Scan *scan, uint64_t blocks);

/* ---- scan_filter.c ---- */
Status scan_filter_create(Scan *scan) MUST_CHECK;
/* The verdict of the filter on the current unit from the directory alone: touches no extent. */
ZoneVerdict scan_filter_unit(Scan *scan);
/* The same on all rows of the current unit's run. */
ZoneVerdict scan_filter_run(Scan *scan);
/* Zone maps of its blocks, into nodes[root]: only when the verdict above was SOME. Opens columns. */
Status scan_filter_zones(Scan *scan) MUST_CHECK;
/* ANDs the filter into the masks of `blocks`; blocks in `full` have all of their rows in the mask. Masks of all other
 * blocks of the unit are zero. */
Status scan_filter_blocks(Scan *scan, uint64_t blocks, uint64_t full, UnitMasks *masks) MUST_CHECK;

#endif
