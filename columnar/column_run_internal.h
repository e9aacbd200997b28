/* column_run_internal.h - what the files of column runs share: the layout of directory and extent, and the opened
 * forms.
 *
 * Directory, all integers little-endian:
 *
 *   size  field
 *      4  magic "CRUN"
 *      4  schema version
 *      8  row count
 *      4  segment count             1 to 64
 *      4  column count
 *      4  key column count
 *   4 x   key columns               numbers of columns of this run, in the order of the key
 *         each column:
 *      4    id
 *      1    type
 *      1    flags                   bit 0: nullable; bit 1: an array
 *      2    0
 *      4    width                   of fixed bytes
 *      4    extent                  only of an array: its ordinal; they ascend, behind those of the segments
 *         each segment:
 *      4    extent                  ordinal; they ascend
 *      4    row count               1 to 65,536
 *      1    has expiry              0 or 1: one more chunk
 *      8    smallest expiry
 *      8    largest expiry
 *    v+n    first key, last key     varint length and bytes, each
 *           each column, then the expiry:
 *      8      offset                within the extent, a multiple of 64
 *      8      length
 *      8      minimum               image
 *      8      maximum               image
 *      4      null count
 *      1      encoding
 *      1      lane
 *
 * Extent of a segment:
 *
 *   size  field
 *      4  magic "CSEG"
 *      4  row count
 *      4  block count
 *      4  chunk count               columns, and the expiry
 *      8  fence length              of the fences below
 *      8  filter length             0: none; else a multiple of 32
 *         each chunk:
 *      4    column id               0xFFFFFFFF: the expiry
 *      4    0
 *      8    offset
 *      8    length
 *         fences: (blocks + 1) x u32 where each begins, counted from the end of this table; then the encoded first keys
 *         zeros to a multiple of 64; key filter
 *         each chunk: zeros to a multiple of 64; the chunk, whose own padding lets kernels read past its end
 *
 * Extent of an array: the values of all rows of the run, in natural width, zeros beneath nulls; then zeros for 1,023
 * more.
 */
#ifndef COLONNADE_COLUMNAR_COLUMN_RUN_INTERNAL_H
#define COLONNADE_COLUMNAR_COLUMN_RUN_INTERNAL_H

#include "columnar/column_run.h"
#include "encodings/choose.h"
#include "encodings/codec.h"

enum {
  RUN_MAGIC = 0x4E555243,     /* "CRUN" */
  SEGMENT_MAGIC = 0x47455343, /* "CSEG" */
  RUN_COLUMN_NULLABLE = 1,
  RUN_COLUMN_ARRAY = 2,
  SEGMENT_HEADER_BYTES = 32,
  SEGMENT_CHUNK_BYTES = 24,
};
#define COLUMN_ABSENT UINT32_MAX /* of a column of the schema: the run does not store it */

/* A column as the run stores it. The expiry is described by one more, behind the last. */
typedef struct RunColumn {
  uint32_t id;
  ColumnType type;
  bool is_nullable, is_array;
  uint32_t width;
  uint32_t extent; /* of an array */
} RunColumn;

typedef struct ColumnRunIndex {
  Arena arena; /* holds everything constant of the run */
  Source *sources;
  uint32_t source_count;
  uint32_t column_count; /* stored, without the expiry; columns[column_count] is the expiry */
  RunColumn *columns;
  ColumnZone *zones; /* of each stored column, over all segments */
  uint32_t key_count;
  uint32_t key_columns[KEY_COLUMNS_MAX]; /* numbers of stored columns */
  uint32_t *stored;  /* of each column of the schema: the number of its stored column, or COLUMN_ABSENT */
  bool key_is_image; /* one key column that is no string: keys compare as images */
  size_t key_prefix; /* bytes that all keys of the run begin with */
  uint64_t heads[RUN_SEGMENTS_MAX]; /* of the segments' first keys: the 8 bytes behind that prefix */
} ColumnRunIndex;

/* The view of a chunk, kept once it has been opened. With a cached source its pointers are not to be followed: a hold
 * has its own copy, moved to where the bytes are pinned. */
typedef struct ChunkSlot {
  Chunk chunk;
  _Atomic uint64_t verified; /* a bit a block */
} ChunkSlot;

typedef struct SegmentOpen {
  size_t key_prefix;              /* bytes that all keys of the segment begin with */
  uint64_t heads[SEGMENT_BLOCKS]; /* of the fences: the 8 bytes behind that prefix */
  const uint8_t *fence_table;     /* in the extent, or in `copies` */
  const uint8_t *filter;          /* NULL: none */
  size_t filter_bytes;
  uint8_t *copies;             /* of fences and filter, with a cached source; else NULL */
  ChunkSlot *_Atomic chunks[]; /* stored columns, then the expiry */
} SegmentOpen;

static inline size_t segment_header_bytes(uint32_t chunk_count) {
  return SEGMENT_HEADER_BYTES + (size_t)chunk_count * SEGMENT_CHUNK_BYTES;
}
static inline uint32_t segment_chunk_count(const Segment *s) { return s->run->index->column_count + s->has_expiry; }
static inline Source *segment_source(const Segment *s) { return &s->run->index->sources[s->extent]; }

/* The 8 bytes of a key behind `prefix`, as a number that orders as they do. The key has the prefix. */
static inline uint64_t key_head(Bytes key, size_t prefix) {
  return bytes_prefix64(key.data + prefix, key.length - prefix);
}
size_t keys_common_prefix(Bytes a, Bytes b);

/* The opened form of a segment, made at the first call. */
Status segment_open(Segment *s, SegmentOpen **opened) MUST_CHECK;
void segment_close(Segment *s);
static inline Bytes segment_open_fence(const SegmentOpen *o, const Segment *s, uint32_t block) {
  const uint8_t *bytes = o->fence_table + 4 * ((size_t)s->block_count + 1);
  uint32_t from = load_u32(o->fence_table + 4 * (size_t)block), to = load_u32(o->fence_table + 4 * ((size_t)block + 1));
  return (Bytes){ bytes + from, to - from };
}
/* segment_chunk for a stored column, by its own number. */
Status segment_stored_chunk(Segment *s, uint32_t stored, ChunkHold *hold) MUST_CHECK;

/* ---- column_encode.c ---- */
/* Where one thread encodes: chunks one behind the other, and what the encoders need meanwhile. Both are reused. */
typedef struct EncodeRoom {
  uint8_t *bytes; /* aligned as chunks are */
  size_t capacity, length;
  void *scratch;
  size_t scratch_capacity;
} EncodeRoom;
/* Zeros up to a multiple of CHUNK_ALIGNMENT, and then room for so much: *at is the end of the bytes now. */
Status encode_room_reserve(EncodeRoom *room, ChunkRoom wanted, uint8_t **at) MUST_CHECK;
void encode_room_release(EncodeRoom *room);
/* Threads that encode the columns of a segment side by side. */
typedef struct ColumnEncoders ColumnEncoders;
/* At most `threads` with the calling one. `schema` is borrowed. What *out is after a failure is to be destroyed, too.
 */
Status column_encoders_create(const Schema *schema, uint32_t threads, ColumnEncoders **out) MUST_CHECK;
void column_encoders_destroy(ColumnEncoders *e); /* NULL is allowed */
/* Encodes every column of the batch but those that it fails at. */
void column_encoders_run(ColumnEncoders *e, const ColumnBatch *rows);
/* The chunk of a column, until the next run; NULL: there is none, and who makes it himself is told why. */
const uint8_t *column_encoders_chunk(const ColumnEncoders *e, uint32_t column, uint64_t *length);

/* ---- column_write.c ---- */
/* What a column of the batch is encoded from, and how. */
ChunkInput column_input(const Schema *schema, const ColumnBatch *rows, uint32_t c);
ChooseOptions column_options(const Schema *schema, uint32_t c);

/* The image of a value that is not null; strings too. */
int64_t value_image(const Value *value);
/* KVSTORE_CORRUPT unless the position names a row; then its segment. */
Status position_check(ColumnRun *run, uint32_t position, Segment **segment) MUST_CHECK;

/* One value of a chunk; its strings point into the chunk or into `scratch`, which is cleared first. */
Status chunk_get(const Chunk *chunk, uint32_t row, Buffer *scratch, Value *out) MUST_CHECK;

#endif
