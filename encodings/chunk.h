/* chunk.h - a chunk: one column of one segment, as bytes; and the checked view of it.
 *
 *   offset  size  field                     all integers little-endian
 *        0     1  encoding                  EncodingId (codec.h)
 *        1     1  type                      ColumnType
 *        2     1  lane                      bits of the lane of the greatest width below: 8, 16, 32, 64; 0: all are 0
 *        3     1  flags                     bit 0: some row is null; bits 1, 2: Z is 1, 2, 4 or 8 bytes; others 0
 *        4     4  row count                 1 to 65,536
 *        8     4  null count
 *       12     2  block count               (row count + 1,023) / 1,024
 *       14     2  value width               bytes of a fixed-bytes value, 0 for other types
 *       16     8  minimum                   images; minimum > maximum when every row is null
 *       24     8  maximum
 *       32     8  base                      constant: the value; stride: row 0; with one block: its base; else 0
 *       40     8  step                      stride: the step; others: the divisor, where they have one
 *       48     4  dictionary count          entries of the dictionary, else 0
 *       52     4  data offset               of block 0: a multiple of 64
 *       56     8  length                    of the chunk, padding included
 *       64        block table, n = block count:
 *                   n x Z          minimum (image), less the chunk's; 0 when the block has no value
 *                   n x Z          maximum, less the chunk's minimum
 *                   n x B          base: how many bytes, and from what on, by the encoding (chunk_base_form)
 *                   (n + 1) x u32  offset of each block from the chunk's start, then where the last one ends; in
 *                                  units of 64 bytes
 *                   n x 3 u16      null count; which of the block's 16 words of validity stand in the shared part, a
 *                                  bit each; how many do of the blocks before it; only when some row is null
 *                   n x u8         width of the packed values in bits, 0 to 64
 *                 none with one block, of a stride, and of a constant without nulls, whose blocks the header tells:
 *                 then u8 width at 64 and, when some row is null, u16 words of validity at 65
 *        .        zeros to a multiple of 64; the shared part: the dictionary, or the bytes of a constant string; zeros;
 *                 so that they end with it, the words of validity in which some row is null and some row is not of the
 *                 block: 64 rows each, 1 = not null
 *        .        the blocks, from a multiple of 64 on, each: data by the encoding; zeros to a multiple of 64
 *   end - 64  64  padding, so that kernels may read past the data
 *
 * Blocks hold 1,024 rows, the last one what is left; packed and plain data of fixed width are always whole blocks.
 *
 * Trust comes in three steps, so that a scan pays for what it touches (protocol FILE-4):
 *   chunk_open          header and block table; reads the first head_length bytes only
 *   chunk_check_shared  dictionary or constant, validity: bytes [head, data offset); before any use of the values
 *   chunk_check_block   one block: bytes of chunk_block_range; before any use of that block
 * After that, kernels trust what they read. A chunk just written by chunk_encode needs no check. */
#ifndef COLONNADE_ENCODINGS_CHUNK_H
#define COLONNADE_ENCODINGS_CHUNK_H

#include "base/assert.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "base/schema.h"

enum {
  CHUNK_HEADER_BYTES = 64,
  CHUNK_HEAD_MAX = 2368, /* header and the largest block table, rounded up to 64: chunk_open reads no more */
  CHUNK_HAS_NULLS = 1,
  CHUNK_ZONE_SHIFT = 1, /* of the two bits that tell Z */
};

typedef struct Codec Codec;

/* A view: borrows `bytes`, owns nothing, may be copied and shared by threads. */
typedef struct Chunk {
  const uint8_t *bytes;
  uint64_t length; /* padding included */
  const Codec *codec;
  ColumnType type;
  uint8_t encoding, lane;
  bool has_nulls, is_stride, has_table;
  uint32_t row_count, null_count, block_count;
  uint32_t width;           /* bytes of a fixed-bytes value, else 0 */
  int64_t minimum, maximum; /* images; minimum > maximum when every row is null */
  int64_t base;
  uint64_t step;
  uint32_t dictionary_count;
  uint32_t head_length, data_offset;
  /* The block table: numbers of 1 << shift bytes, and where they begin. Without one the header tells all. */
  uint8_t zone_shift, base_shift;
  uint16_t base_at, offset_at, null_at, width_at;
  uint64_t zone_mask, base_mask;
  int64_t base_from;    /* what bases are added to */
  uint32_t word_count;  /* of validity, in the shared part */
  const uint8_t *array; /* ENCODING_ARRAY: the value of row 0, outside the chunk. NULL until who opened it says where */
} Chunk;

/* What is known of one block without reading it. */
typedef struct ChunkBlock {
  uint64_t offset, end; /* from the chunk's start */
  int64_t base;
  int64_t minimum, maximum; /* images; minimum > maximum when no row has a value */
  uint32_t null_count, row_count;
  uint8_t width;
} ChunkBlock;

/* How many bytes from its start chunk_open reads, whatever the encoding: at most CHUNK_HEAD_MAX. */
uint32_t chunk_head_bound(uint32_t row_count);

/* Checks header and block table and fills in the view. `length` is what the directory of the run says, and must be what
 * the header says; `row_count` and `type` likewise. `bytes` must be aligned to 64.
 *   KVSTORE_CORRUPT      anything wrong
 *   KVSTORE_UNSUPPORTED  an encoding that this version does not know */
Status chunk_open(const uint8_t *bytes, uint64_t length, uint32_t row_count, ColumnType type, Chunk *chunk) MUST_CHECK;

/* The dictionary (sizes, ascending values, UTF-8) or the constant, validity against the null counts: once per chunk,
 * before any value is used. */
Status chunk_check_shared(const Chunk *chunk) MUST_CHECK;
/* Block `block` (< block_count): codes below the dictionary's size, string offsets ascending and inside, UTF-8. The
 * shared part has been checked. */
Status chunk_check_block(const Chunk *chunk, uint32_t block) MUST_CHECK;
/* All three steps for a chunk already opened: what `colonnade check` and merges call. Also compares minimum, maximum
 * and null counts with the values. */
Status chunk_check(const Chunk *chunk) MUST_CHECK;

/* ENCODING_ARRAY: where the values of a block lie, from Chunk.array on. */
void chunk_array_range(const Chunk *chunk, uint32_t block, uint64_t *offset, uint64_t *length);
/* Bytes of one value in an array of a type of fixed width, and of the array of so many rows: kernels read whole blocks,
 * so one less than a block of zeros follows the last row. */
uint32_t chunk_array_width(ColumnType type, uint32_t width);
uint64_t chunk_array_bytes(ColumnType type, uint32_t width, uint64_t row_count);

static inline uint32_t chunk_block_rows(const Chunk *chunk, uint32_t block) {
  uint32_t left = chunk->row_count - block * BLOCK_ROWS;
  return left < BLOCK_ROWS ? left : BLOCK_ROWS;
}
enum { CHUNK_OFFSET_UNIT = 64, CHUNK_NULL_BYTES = 6 };

/* A number of 1 << shift bytes. Eight are loaded, for the table goes on. */
static inline uint64_t chunk_table_number(const Chunk *c, uint32_t at, uint32_t i, unsigned shift, uint64_t mask) {
  return load_u64(c->bytes + at + ((size_t)i << shift)) & mask;
}
static inline uint64_t chunk_table_offset(const Chunk *c, uint32_t i) {
  return (uint64_t)CHUNK_OFFSET_UNIT * load_u32(c->bytes + c->offset_at + 4 * (size_t)i);
}

/* Of a block of a chunk that has nulls: how many, which words of validity stand in the shared part, and from which on.
 */
typedef struct ChunkNulls {
  uint32_t count;
  uint16_t words, first;
} ChunkNulls;
static inline ChunkNulls chunk_block_nulls(const Chunk *c, uint32_t block) {
  if (!c->has_table) return (ChunkNulls){ c->null_count, load_u16(c->bytes + CHUNK_HEADER_BYTES + 1), 0 };
  const uint8_t *at = c->bytes + c->null_at + CHUNK_NULL_BYTES * (size_t)block;
  return (ChunkNulls){ load_u16(at), load_u16(at + 2), load_u16(at + 4) };
}
static inline uint32_t chunk_block_null_count(const Chunk *c, uint32_t block) {
  if (!c->has_nulls) return 0;
  return c->has_table ? load_u16(c->bytes + c->null_at + CHUNK_NULL_BYTES * (size_t)block) : c->null_count;
}

/* The image of a row of a stride; modulo 2^64 until chunk_check_shared has looked at it. */
static inline int64_t chunk_stride_image(const Chunk *c, uint32_t row) {
  return (int64_t)((uint64_t)c->base + row * c->step);
}
/* Of the first row of a block, or of its last one. */
static inline int64_t chunk_stride_end(const Chunk *c, uint32_t block, bool last) {
  return chunk_stride_image(c, block * BLOCK_ROWS + (last ? chunk_block_rows(c, block) - 1 : 0));
}

/* Zone of one block. */
static inline bool chunk_block_is_empty(const Chunk *c, uint32_t block) {
  return c->has_nulls && chunk_block_null_count(c, block) == chunk_block_rows(c, block);
}
static inline int64_t chunk_table_zone(const Chunk *c, uint32_t i) {
  return (int64_t)((uint64_t)c->minimum + chunk_table_number(c, CHUNK_HEADER_BYTES, i, c->zone_shift, c->zone_mask));
}
static inline int64_t chunk_block_minimum(const Chunk *c, uint32_t block) {
  if (c->has_table) return chunk_block_is_empty(c, block) ? INT64_MAX : chunk_table_zone(c, block);
  return c->is_stride ? chunk_stride_end(c, block, (int64_t)c->step < 0) : c->minimum;
}
static inline int64_t chunk_block_maximum(const Chunk *c, uint32_t block) {
  if (c->has_table) return chunk_block_is_empty(c, block) ? INT64_MIN : chunk_table_zone(c, c->block_count + block);
  return c->is_stride ? chunk_stride_end(c, block, (int64_t)c->step >= 0) : c->maximum;
}
static inline int64_t chunk_block_base(const Chunk *c, uint32_t block) {
  if (!c->has_table) return c->base;
  return (int64_t)((uint64_t)c->base_from + chunk_table_number(c, c->base_at, block, c->base_shift, c->base_mask));
}

/* Inline, for scans ask it of every block: what the caller does not look at is not read. */
static inline void chunk_block(const Chunk *c, uint32_t block, ChunkBlock *out) {
  ASSERT(block < c->block_count, "ENC-3");
  out->row_count = chunk_block_rows(c, block);
  out->minimum = chunk_block_minimum(c, block);
  out->maximum = chunk_block_maximum(c, block);
  out->null_count = chunk_block_null_count(c, block);
  out->base = chunk_block_base(c, block);
  if (c->has_table) {
    out->offset = chunk_table_offset(c, block);
    out->end = chunk_table_offset(c, block + 1);
    out->width = c->bytes[c->width_at + block];
  } else {
    out->offset = c->data_offset;
    out->end = c->length - CHUNK_PADDING;
    out->width = c->bytes[CHUNK_HEADER_BYTES];
  }
}

/* The bytes that hold block `block`: [*offset, *offset + *length) from the chunk's start, *length may be 0. */
static inline void chunk_block_range(const Chunk *c, uint32_t block, uint64_t *offset, uint64_t *length) {
  ChunkBlock b;
  chunk_block(c, block, &b);
  *offset = b.offset;
  *length = b.end - b.offset;
}

/* Which rows of a block are not null: 16 words, zeros past its rows. */
void chunk_validity(const Chunk *chunk, uint32_t block, uint64_t words[BLOCK_WORDS]);
/* Clears in the mask the rows of a block that are null; of a chunk that has nulls. */
void chunk_drop_nulls(const Chunk *chunk, uint32_t block, uint64_t mask[BLOCK_WORDS]);

#endif
