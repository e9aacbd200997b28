/* codec.h - the encodings of a chunk: values to bytes, bytes to values, and questions answered on the bytes.
 *
 * Pure functions: no allocation, no I/O; the caller gives output and scratch, and *_bound says how much. Each encoding
 * is a const struct Codec in its own file; callers use the codec_ functions below, which hold for every encoding.
 *
 * Writing: choose.h (chunk_encode). Reading: chunk_open and its checks (chunk.h), then the functions here, none of
 * which can fail: blocks and shared part must have been checked. Every function may be called by many threads at once.
 *
 * Masks are in row order: bit i % 64 of word i / 64 is row i of the block; a whole block is BLOCK_WORDS words. Filters
 * AND into a mask and so never set a bit: bits past the last row stay as the caller gave them (zero). */
#ifndef COLONNADE_ENCODINGS_CODEC_H
#define COLONNADE_ENCODINGS_CODEC_H

#include "base/encoding.h"
#include "base/schema.h"
#include "encodings/chunk.h"
#include "encodings/compare.h"

/* A bit (1 << id) for each encoding whose codec_get may read a whole block or frame: not for columns read by key. */
enum { ENCODINGS_SLOW_TO_GET = 1 << ENCODING_DELTA | 1 << ENCODING_ZSTD };

/* ---- values ---- */

/* Decodes block `block` into an array of the type's natural width (schema.h) with room for BLOCK_ROWS entries; the
 * entries past the block's rows are undefined. Strings point into the chunk. The value beneath a null is zero (an empty
 * Bytes). `nulls`, unless it is NULL, gets a byte a row (1 = null), room for BLOCK_ROWS. */
void codec_decode(const Chunk *chunk, uint32_t block, void *values, uint8_t *nulls);

/* Row `row` of the chunk (< row_count): a cache line or two. Strings point into the chunk. */
void codec_get(const Chunk *chunk, uint32_t row, Value *out);

/* Strings that do not lie in the chunk as they are, but are made in room of the caller. Where these say 0, strings
 * point into the chunk, and the functions above will do; elsewhere they must not be called (ENC-11). */
uint64_t codec_decode_room(const Chunk *chunk, uint32_t block); /* bytes for one block; it has been checked */
uint64_t codec_get_room(const Chunk *chunk);                    /* bytes for any one row */
/* The same as above for every chunk: strings point into the chunk or into `room` (NULL when it takes none). */
void codec_decode_into(const Chunk *chunk, uint32_t block, void *values, uint8_t *nulls, uint8_t *room);
void codec_get_into(const Chunk *chunk, uint32_t row, Value *out, uint8_t *room);

/* The `count` rows of block `block` at `rows` (numbers within the block) as an array, of types that are no strings;
 * `nulls` gets a byte each. What few rows should be read by. */
void codec_gather(const Chunk *chunk, uint32_t block, const uint16_t *rows, uint32_t count, void *values,
                  uint8_t *nulls);

/* Codes of a dictionary chunk for one block (room for BLOCK_ROWS; a null row has code 0), and the value of a code
 * (< chunk->dictionary_count). Codes ascend with the values. Only when encoding is ENCODING_DICTIONARY. */
void codec_codes(const Chunk *chunk, uint32_t block, uint16_t *codes);
void codec_code_value(const Chunk *chunk, uint32_t code, Value *out);

/* A block of ENCODING_PACKED without nulls as it is packed: the image of a row is base + step x offset, and offsets are
 * unsigned numbers below 2^width in lanes of that width: in the chunk, or in `room` (BLOCK_ROWS of 64 bits). */
typedef struct CodecOffsets {
  unsigned width;
  int64_t base;
  uint64_t step;
} CodecOffsets;
const void *codec_offsets(const Chunk *chunk, uint32_t block, void *room, CodecOffsets *out);

/* ---- filters ---- */

/* A comparison translated into the domain of one chunk's bytes: codes of its dictionary, packed offsets. Prepare it
 * once per chunk and comparison (about 50 ns; a set or negated prefix on a dictionary reads the dictionary), use it for
 * all its blocks. It borrows chunk, compare and scratch. */
typedef struct CodecFilter {
  const Chunk *chunk;
  const Compare *compare;
  CompareKind kind; /* NONE, NOT_NULL, NULL, RANGE, SET or BITS */
  bool negated;
  int64_t low, high;       /* RANGE of images or of codes, both included; strings not in a dictionary: unused */
  const uint64_t *members; /* SET: one bit a code of a dictionary, or a hash of a plain string; in scratch */
  const void *prepared;    /* what else an encoding has prepared; in scratch */
} CodecFilter;

enum { CODEC_FILTER_SCRATCH = SEGMENT_ROWS / 8 }; /* bytes, aligned to 8 */

/* `scratch`: CODEC_FILTER_SCRATCH bytes that live as long as the filter. The shared part of the chunk has been checked.
 * compare->type is the chunk's type. */
void codec_filter_prepare(CodecFilter *filter, const Chunk *chunk, const Compare *compare, void *scratch);

/* The zone maps of all blocks: bit b of *maybe is clear when no row of block b matches, bit b of *certain is set when
 * all rows do. Reads no block. *certain is a subset of *maybe. */
void codec_filter_zones(const CodecFilter *filter, uint64_t *maybe, uint64_t *certain);

/* ANDs the verdict on block `block` into its mask. Does not look at zone maps. */
void codec_filter_block(const CodecFilter *filter, uint32_t block, uint64_t mask[BLOCK_WORDS]);

/* The same for every block b whose bit is set in `blocks`, into masks[b]; prefetches ahead. What a scan should call. */
void codec_filter_blocks(const CodecFilter *filter, uint64_t blocks, uint64_t (*masks)[BLOCK_WORDS]);

/* For few survivors: keeps those of the `count` rows (numbers within block `block`, ascending) that match; returns how
 * many are left, moved to the front in order. */
uint32_t codec_filter_positions(const CodecFilter *filter, uint32_t block, uint16_t *positions, uint32_t count);

/* ---- aggregates ---- */

typedef struct Int128 { /* two's complement, so that headers stay plain C11 */
  uint64_t low;
  int64_t high;
} Int128;

enum { AGGREGATE_COUNT = 1, AGGREGATE_SUM = 2, AGGREGATE_MIN = 4, AGGREGATE_MAX = 8 };

/* Start with aggregate_init. Partial states of the same column merge in the order of their blocks, or, for all but the
 * sum of floats, in any. Floats are summed in eight lanes by row number modulo 8 (docs/semantics.md), so that masks and
 * positions, scalar and SIMD, give the same bits. */
typedef struct AggregateState {
  ColumnType type;
  uint32_t wanted;                    /* AGGREGATE_* */
  uint64_t count;                     /* rows that were selected and are not null */
  Int128 sum;                         /* integers and bool */
  double lanes[8];                    /* floats */
  int64_t minimum, maximum;           /* images, when count > 0; types other than strings */
  Bytes minimum_bytes, maximum_bytes; /* strings: into the chunk; copy before it goes */
} AggregateState;

/* Smallest and largest strings of a chunk that takes room are not for these: decode, then array_aggregate. */
void aggregate_init(AggregateState *state, ColumnType type, uint32_t wanted);
/* Adds the rows of block `block` whose bit is set in `mask` (NULL: all of its rows). Nulls count for nothing. */
void codec_aggregate(const Chunk *chunk, uint32_t block, const uint64_t *mask, AggregateState *state);
/* The same for every block b whose bit is set in `blocks`, under masks[b] (NULL: all rows); prefetches ahead. */
void codec_aggregate_blocks(const Chunk *chunk, uint64_t blocks, uint64_t (*masks)[BLOCK_WORDS], AggregateState *state);
/* Adds one row: value of the column's type, `row` its number within the block (for the lane of a float sum). */
void aggregate_value(AggregateState *state, uint32_t row, const Value *value);
/* Adds `other` into `state`: lane by lane for floats. */
void aggregate_merge(AggregateState *state, const AggregateState *other);
/* The sum of floats: the lanes added in pairs, always in the same order; NaN is the canonical one. */
double aggregate_float_sum(const AggregateState *state);
/* The smallest and largest value; null when count is 0. A float zero is 0.0, a NaN the canonical one. */
Value aggregate_minimum(const AggregateState *state);
Value aggregate_maximum(const AggregateState *state);

/* ---- what an encoding is made of: for encodings/ itself and its tests ---- */

/* One column of one segment, in memory. */
typedef struct ChunkInput {
  ColumnType type;
  uint32_t width;       /* of fixed bytes, else 0 */
  uint32_t row_count;   /* 1 to SEGMENT_ROWS */
  const void *values;   /* row_count entries of the natural width; strings: Bytes, all UTF-8 when the type says so */
  const uint8_t *nulls; /* a byte a row, 1 = null; NULL: none */
} ChunkInput;

typedef struct ChunkStats {
  int64_t minimum, maximum; /* images; minimum > maximum when every row is null */
  uint32_t null_count;
  uint32_t distinct_count; /* 0: not known */
} ChunkStats;

typedef struct CodecPlan CodecPlan; /* encodings_internal.h: the statistics that analyze and encode share */

struct Codec {
  EncodingId id;
  /* Can this codec hold the column, and in how many bytes (exactly)? 0 when it cannot. */
  uint64_t (*analyze)(const CodecPlan *plan);
  /* Writes the chunk; returns its length, a multiple of 64, padding included. */
  uint64_t (*encode)(const CodecPlan *plan, uint8_t *out);
  void (*decode)(const Chunk *chunk, uint32_t block, void *values); /* nulls are the caller's */
  void (*get_one)(const Chunk *chunk, uint32_t row, Value *out);    /* a row that is not null */
  /* codec_gather of a block without nulls; NULL: get_one, row by row */
  void (*gather)(const Chunk *chunk, uint32_t block, const uint16_t *rows, uint32_t count, void *values);
  void (*prepare)(CodecFilter *filter, void *scratch); /* RANGE, SET, PREFIX into the chunk's domain */
  /* RANGE and SET; nulls are the caller's */
  void (*filter)(const CodecFilter *filter, uint32_t block, uint64_t mask[BLOCK_WORDS]);
  /* Rows of `mask` (all of them not null, at least one): sum, minimum, maximum. `full` says that the mask is all the
   * rows of the block. */
  void (*aggregate)(const Chunk *chunk, uint32_t block, const uint64_t *mask, bool full, AggregateState *state);
  /* Strings made in room: instead of decode, get_one and aggregate; NULL for all others. `image` is that of a row. */
  uint64_t (*decode_room)(const Chunk *chunk, uint32_t block);
  uint64_t (*get_room)(const Chunk *chunk);
  void (*decode_into)(const Chunk *chunk, uint32_t block, Bytes *values, uint8_t *room);
  Bytes (*get_into)(const Chunk *chunk, uint32_t row, uint8_t *room);
  int64_t (*image)(const Chunk *chunk, uint32_t row);
  /* Instead of image, where a row is dear: the least and greatest image of `rows` (words of a mask), added to *low and
   * *high. */
  void (*zone)(const Chunk *chunk, uint32_t block, const uint64_t *rows, int64_t *low, int64_t *high);
  Status (*check_shared)(const Chunk *chunk);
  Status (*check_block)(const Chunk *chunk, uint32_t block);
};

/* The codec of a number, NULL when there is none. */
const Codec *codec_by_id(uint32_t encoding);

#endif
