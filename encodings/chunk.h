/* chunk.h - a chunk: one column of one segment, as bytes; and the checked view of it.
 *
 *   offset  size  field                     all integers little-endian
 *        0     1  encoding                  EncodingId (codec.h)
 *        1     1  type                      ColumnType
 *        2     1  lane                      bits of the lane of the greatest width below: 8, 16, 32, 64; 0: all are 0
 *        3     1  flags                     bit 0: some row is null; others 0
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
 *                   n x i64        minimum (image; minimum > maximum when the block has no value)
 *                   n x i64        maximum
 *                   n x i64        base
 *                   (n + 1) x u32  offset of each block from the chunk's start, then where the last one ends; in
 *                                  units of 64 bytes
 *                   n x u32        null count, only when some row is null
 *                   n x u8         width of the packed values in bits, 0 to 64
 *                 none with one block, of a stride, and of a constant without nulls, whose blocks the header tells:
 *                 then u8 width at 64, so that header and width end before byte 128
 *        .        zeros to a multiple of 64; the dictionary, or the bytes of a constant string
 *        .        zeros to a multiple of 64; the blocks, each:
 *                   validity       16 words of 64 bits, 1 = not null; only when some, not all, of its rows are null
 *                   data           by the encoding; zeros to a multiple of 64
 *   end - 64  64  padding, so that kernels may read past the data
 *
 * Blocks hold 1,024 rows, the last one what is left; packed and plain data of fixed width are always whole blocks.
 *
 * Trust comes in three steps, so that a scan pays for what it touches (protocol FILE-4):
 *   chunk_open          header and block table; reads the first chunk_head_length bytes only
 *   chunk_check_shared  dictionary or constant: bytes [head, data offset); before any use of the chunk's values
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
  CHUNK_HEAD_MAX = 2240, /* header and the largest block table, rounded up to 64: chunk_open reads no more */
  CHUNK_HAS_NULLS = 1,
};

typedef struct Codec Codec;

/* A view: borrows `bytes`, owns nothing, may be copied and shared by threads. */
typedef struct Chunk {
  const uint8_t *bytes;
  uint64_t length; /* padding included */
  const Codec *codec;
  ColumnType type;
  uint8_t encoding, lane;
  bool has_nulls, is_stride;
  uint32_t row_count, null_count, block_count;
  uint32_t width;           /* bytes of a fixed-bytes value, else 0 */
  int64_t minimum, maximum; /* images; minimum > maximum when every row is null */
  int64_t base;
  uint64_t step;
  uint32_t dictionary_count;
  uint32_t head_length, data_offset;
  const uint8_t *table; /* the block table, or NULL: the header tells all */
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

/* How many bytes from its start chunk_open reads: at most CHUNK_HEAD_MAX. */
uint32_t chunk_head_length(uint32_t row_count, uint8_t encoding, bool has_nulls);
/* The same of whatever encoding. */
uint32_t chunk_head_bound(uint32_t row_count);

/* Checks header and block table and fills in the view. `length` is what the directory of the run says, and must be what
 * the header says; `row_count` and `type` likewise. `bytes` must be aligned to 64.
 *   KVSTORE_CORRUPT      anything wrong
 *   KVSTORE_UNSUPPORTED  an encoding that this version does not know */
Status chunk_open(const uint8_t *bytes, uint64_t length, uint32_t row_count, ColumnType type, Chunk *chunk) MUST_CHECK;

/* The dictionary (sizes, ascending values, UTF-8) or the constant: once per chunk, before any value is used. */
Status chunk_check_shared(const Chunk *chunk) MUST_CHECK;
/* Block `block` (< block_count): validity against the null count, codes below the dictionary's size, string offsets
 * ascending and inside, UTF-8. The shared part has been checked. */
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
/* The table: minimum[n], maximum[n], base[n] of 8 bytes, offset[n + 1] and null_count[n] of 4, width[n] of 1. */
enum { CHUNK_ENTRY_BYTES = 3 * 8, CHUNK_OFFSET_UNIT = 64 };

static inline int64_t chunk_table_word(const Chunk *c, uint32_t word, uint32_t block) {
  return (int64_t)load_u64(c->table + 8 * ((size_t)word * c->block_count + block));
}
static inline uint64_t chunk_table_offset(const Chunk *c, uint32_t i) {
  return (uint64_t)CHUNK_OFFSET_UNIT * load_u32(c->table + CHUNK_ENTRY_BYTES * (size_t)c->block_count + 4 * (size_t)i);
}
static inline const uint8_t *chunk_table_nulls(const Chunk *c) {
  return c->table + CHUNK_ENTRY_BYTES * (size_t)c->block_count + 4 * ((size_t)c->block_count + 1);
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
static inline int64_t chunk_block_minimum(const Chunk *c, uint32_t block) {
  if (c->table) return chunk_table_word(c, 0, block);
  return c->is_stride ? chunk_stride_end(c, block, (int64_t)c->step < 0) : c->minimum;
}
static inline int64_t chunk_block_maximum(const Chunk *c, uint32_t block) {
  if (c->table) return chunk_table_word(c, 1, block);
  return c->is_stride ? chunk_stride_end(c, block, (int64_t)c->step >= 0) : c->maximum;
}
static inline uint32_t chunk_block_null_count(const Chunk *c, uint32_t block) {
  return c->table && c->has_nulls ? load_u32(chunk_table_nulls(c) + 4 * (size_t)block) : c->null_count;
}

/* Inline, for scans ask it of every block: what the caller does not look at is not read. */
static inline void chunk_block(const Chunk *c, uint32_t block, ChunkBlock *out) {
  ASSERT(block < c->block_count, "ENC-3");
  out->row_count = chunk_block_rows(c, block);
  out->minimum = chunk_block_minimum(c, block);
  out->maximum = chunk_block_maximum(c, block);
  out->null_count = chunk_block_null_count(c, block);
  if (c->table) {
    out->offset = chunk_table_offset(c, block);
    out->end = chunk_table_offset(c, block + 1);
    out->base = chunk_table_word(c, 2, block);
    out->width = chunk_table_nulls(c)[(c->has_nulls ? 4 * (size_t)c->block_count : 0) + block];
  } else {
    out->offset = c->data_offset;
    out->end = c->length - CHUNK_PADDING;
    out->base = c->base;
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

#endif
