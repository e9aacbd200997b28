/* encodings_internal.h - what the codecs share: the plan of a chunk to be written, the writer of its frame, and the
 * helpers that turn images into natural values. */
#ifndef COLONNADE_ENCODINGS_ENCODINGS_INTERNAL_H
#define COLONNADE_ENCODINGS_ENCODINGS_INTERNAL_H

#include "encodings/choose.h"
#include "encodings/codec.h"
#include "simd/simd.h"

extern const Codec codec_array, codec_constant, codec_stride, codec_plain, codec_bits, codec_packed, codec_dictionary,
  codec_runs, codec_delta, codec_alp, codec_alp_rd, codec_fsst, codec_zstd, codec_front;

/* ---- writing ---- */

/* ALP: the powers of ten of a block, and what it then consists of. */
typedef struct AlpPowers {
  uint8_t exponent, factor;
} AlpPowers;
typedef struct AlpBlock {
  int64_t base;
  uint16_t exceptions;
  uint8_t width;
  AlpPowers powers;
} AlpBlock;

enum { ALP_RD_PARTS = 8 }; /* left parts that have a code */

/* Symbols, those of one byte behind all others. */
typedef struct FsstTable {
  uint32_t count;
  SimdSymbols symbols;
} FsstTable;

/* Statistics of one column of one segment, gathered by plan_begin and plan_measure; everything points into the caller's
 * scratch. */
struct CodecPlan {
  const ChunkInput *input;
  ChunkStats stats;
  uint32_t block_count;
  uint64_t string_bytes;      /* string types: of all values */
  uint64_t string_bytes_most; /* and of the block that has most */
  uint32_t string_count;      /* values of at least one byte */
  int64_t *images;            /* one a row; a null row has that of its block's minimum, or 0 */
  bool is_constant;           /* the values that are not null are one, bit by bit (or there is none) */
  uint32_t first_row;         /* the first row that is not null; row_count when there is none */
  bool is_stride;
  int64_t step;        /* of the stride */
  uint64_t divisor;    /* of all differences of images; at least 1 */
  bool has_runs;       /* run_count is known: all types but strings, */
  bool has_deltas;     /* delta_minimum and _maximum are: as has_runs, of integers whose differences are i64 */
  uint64_t runs;       /* of all blocks */
  uint32_t word_count; /* of validity, that are written */
  struct {
    int64_t minimum, maximum; /* minimum > maximum when the block has no value */
    uint32_t null_count;
    uint16_t null_words; /* of validity, in which a null stands: a bit each; 0 when all rows are null */
    uint32_t run_count;  /* of plan_carried_words: at least 1 */
    int64_t delta_minimum, delta_maximum; /* of neighbours within the block; 0 and 0 when it has one row */
    uint64_t string_bytes;                /* string types: of its values */
    uint16_t code_least, code_most;       /* of the dictionary, of the rows that are not null; 0 and 0 when none is */
  } blocks[SEGMENT_BLOCKS];
  bool has_decimals; /* plan_decimals has filled `alp` */
  AlpBlock alp[SEGMENT_BLOCKS];
  struct {
    unsigned right_bits; /* 0: plan_parts did not find that it pays */
    uint32_t count;      /* left parts that have a code, ascending */
    uint16_t parts[ALP_RD_PARTS];
    uint16_t exceptions[SEGMENT_BLOCKS];
  } alp_rd;
  bool has_symbols; /* plan_symbols has filled `fsst` */
  struct {
    FsstTable table;
    uint32_t *lengths; /* encoded, of every row */
    uint8_t *codes;    /* of every row, one after the other; NULL when there is too much of it to be kept */
    uint64_t longest;  /* string, as it is */
    struct {
      uint64_t bytes; /* of all codes */
      uint32_t base;
      uint8_t width;
    } blocks[SEGMENT_BLOCKS];
  } fsst;
  bool has_frames; /* plan_frames has filled `frames` */
  struct {
    const uint8_t *kept; /* what follows the lengths of each block, one after the other */
    uint64_t longest;    /* string */
    struct {
      uint64_t bytes; /* of what is kept of it */
      uint32_t base;
      uint8_t width;
    } blocks[SEGMENT_BLOCKS];
  } frames;
  bool has_fronts; /* plan_fronts has filled `fronts` */
  struct {
    uint32_t longest;               /* string */
    uint32_t bytes[SEGMENT_BLOCKS]; /* of the entries */
  } fronts;
  /* the dictionary, when one was built: distinct_count > 0 */
  uint32_t dictionary_count;
  uint64_t dictionary_bytes;       /* string types: of the distinct values */
  const uint32_t *dictionary_rows; /* a row that has value i, in the order of the values */
  const uint16_t *codes;           /* of every row; 0 for a null */
};

/* Images, zones, nulls: all that an array needs. `scratch`: plan_scratch bytes. */
void plan_begin(CodecPlan *plan, const ChunkInput *input, void *scratch);
/* Then everything but the dictionary. */
void plan_measure(CodecPlan *plan);
/* Builds the dictionary unless the column has more than `distinct_max` values; then dictionary_count stays 0. */
void plan_build_dictionary(CodecPlan *plan, uint32_t distinct_max, bool sample_first, void *scratch);
uint64_t plan_scratch(const ChunkInput *input);

/* Floats: integers and powers of ten (codec_alp.c), left and right parts (codec_alp_rd.c); unless `always`, only when
 * a sample says that it may pay. */
void plan_decimals(CodecPlan *plan, bool always);
void plan_parts(CodecPlan *plan, bool always);

/* Strings and bytes: a symbol table and the lengths of what it encodes. `scratch`: fsst_scratch bytes. */
void plan_symbols(CodecPlan *plan, bool always, void *scratch);
/* The strings in frames of zstd. `scratch`: zstd_scratch bytes, aligned to 16, that live until they are
 * written. */
void plan_frames(CodecPlan *plan, bool always, void *scratch);
uint64_t zstd_scratch(const ChunkInput *input, uint64_t string_bytes);
/* What neighbouring strings share. */
void plan_fronts(CodecPlan *plan, bool always);
uint64_t fsst_scratch(const ChunkInput *input, uint64_t string_bytes);

static inline bool input_is_null(const ChunkInput *in, uint32_t row) { return in->nulls && in->nulls[row]; }
static inline uint32_t plan_block_rows(const CodecPlan *p, uint32_t block) {
  uint32_t left = p->input->row_count - block * BLOCK_ROWS;
  return left < BLOCK_ROWS ? left : BLOCK_ROWS;
}
/* Whether there is a table, and where it has what: from the chunk's encoding, type, counts, zone, base and zone_shift.
 * The header tells one block, those of a stride, and of a constant without nulls. */
void chunk_lay_out(Chunk *chunk);
/* Bytes of a chunk with this shared part and these data bytes: sum over blocks of data rounded up to 64. */
uint64_t plan_chunk_bytes(const CodecPlan *plan, EncodingId encoding, uint64_t shared_bytes,
                          uint64_t rounded_data_bytes);
/* What run-length and delta see of the rows of a block: images, of floats the bits; a null has the value of the row
 * before it (the first rows: of the first that has one; all: 0). Past the rows: the last value. */
void plan_carried_words(const CodecPlan *plan, uint32_t block, uint64_t words[BLOCK_ROWS]);
/* Width in bits of one block of numbers from `minimum` to `maximum` with a divisor; 0 when there is none. */
unsigned plan_width(int64_t minimum, int64_t maximum, uint64_t divisor);

/* Division that leaves no rest, by the inverse modulo 2^64 of the divisor's odd part (Granlund and Montgomery 1994). */
typedef struct ExactDivisor {
  uint64_t inverse, most; /* most: the greatest quotient that there is */
  unsigned shift;
} ExactDivisor;
static inline ExactDivisor exact_divisor(uint64_t divisor) {
  unsigned shift = (unsigned)__builtin_ctzll(divisor);
  uint64_t odd = divisor >> shift, inverse = (3 * odd) ^ 2; /* right in 5 bits, and in twice as many after each step */
  for (unsigned bits = 5; bits < 64; bits *= 2) inverse *= 2 - odd * inverse;
  return (ExactDivisor){ inverse, UINT64_MAX / divisor, shift };
}
static inline bool exact_divides(const ExactDivisor *d, uint64_t number) {
  uint64_t product = number * d->inverse;
  return (product >> d->shift | product << (64 - d->shift) % 64) <= d->most;
}

/* Writes header, table, validity and alignment around what a codec writes. */
typedef struct ChunkWriter {
  uint8_t *out;
  const CodecPlan *plan;
  Chunk frame; /* laid out */
  uint64_t at;
  uint32_t block, words; /* of validity, that are written */
  unsigned lane;
} ChunkWriter;

/* Begins the chunk; returns the place of the shared part (`shared_bytes`, zeroed). */
uint8_t *chunk_writer_begin(ChunkWriter *w, const CodecPlan *plan, EncodingId encoding, int64_t base, uint64_t step,
                            uint32_t dictionary_count, uint64_t shared_bytes, uint8_t *out);
/* Begins the next block; returns the place of its `data_bytes`, not cleared; what follows to the next 64 is zero. */
uint8_t *chunk_writer_block(ChunkWriter *w, int64_t base, unsigned width, uint64_t data_bytes);
uint64_t chunk_writer_end(ChunkWriter *w);

/* ---- reading ---- */

static inline const uint8_t *chunk_block_data(const Chunk *chunk, const ChunkBlock *b) {
  return chunk->bytes + b->offset;
}
static inline uint64_t chunk_block_data_length(const ChunkBlock *b) { return b->end - b->offset; }
/* How many bytes the dictionary, or the constant, may take: up to the words of validity. */
static inline uint64_t chunk_shared_room(const Chunk *c) { return c->data_offset - c->head_length - 8 * c->word_count; }
static inline const uint8_t *chunk_words(const Chunk *c) {
  return c->bytes + c->data_offset - 8 * (size_t)c->word_count;
}
static inline bool chunk_row_is_null(const Chunk *c, uint32_t row) {
  if (!c->has_nulls) return false;
  ChunkNulls nulls = chunk_block_nulls(c, row / BLOCK_ROWS);
  unsigned word = row % BLOCK_ROWS / 64;
  if (nulls.count == chunk_block_rows(c, row / BLOCK_ROWS)) return true;
  if (!(nulls.words >> word & 1)) return false;
  size_t before = nulls.first + (size_t)__builtin_popcount(nulls.words & ((1u << word) - 1));
  return !(load_u64(chunk_words(c) + 8 * before) >> row % 64 & 1);
}

/* log2 of the natural width of a type that is not a string. */
static inline unsigned type_width_index(ColumnType type) {
  switch (type_storage(type)) {
  case TYPE_BOOL:
  case TYPE_I8:
  case TYPE_U8: return 0;
  case TYPE_I16:
  case TYPE_U16: return 1;
  case TYPE_I32:
  case TYPE_U32:
  case TYPE_F32: return 2;
  default: return 3;
  }
}
static inline bool type_is_packable(ColumnType type) { return !type_is_string(type) && !type_is_float(type); }
/* Images of a packable type and its natural values differ by this, modulo the width. */
static inline uint64_t type_image_bias(ColumnType type) { return type == TYPE_U64 ? UINT64_C(1) << 63 : 0; }
/* A Value of a type that is not a float or string, from its image. */
static inline void value_from_image(ColumnType type, int64_t image, Value *out) {
  *out = (Value){ .type = type };
  out->u = (uint64_t)image + type_image_bias(type);
}
/* The doubles that have an image (the canonical NaN for INT64_MAX). */
double float_from_image(int64_t image);

/* A block of numbers of whatever lane. */
typedef union Lanes {
  uint8_t of8[BLOCK_ROWS];
  uint16_t of16[BLOCK_ROWS];
  uint32_t of32[BLOCK_ROWS];
  uint64_t of64[BLOCK_ROWS];
} Lanes;

/* A packed block as an array of its lanes: in place where numbers fill them, else unpacked into `room`. */
static inline const void *packed_lanes(const void *data, unsigned width, void *room) {
  if (width && width == simd_lane(width)) return data;
  simd_kernels()->unpack[width](data, room);
  return room;
}

/* The offsets of `width` bits whose images lie in [low, high]: [*first, *last], false when there are none. */
static inline bool packed_offsets(unsigned width, int64_t base, uint64_t divisor, int64_t low, int64_t high,
                                  uint64_t *first, uint64_t *last) {
  if (high < base) return false;
  uint64_t most = simd_width_mask(width), from = 0, to = (uint64_t)high - (uint64_t)base;
  if (low > base) from = (uint64_t)low - (uint64_t)base;
  if (divisor > 1) {
    from = from / divisor + (from % divisor != 0);
    to /= divisor;
  }
  *first = from;
  *last = to < most ? to : most;
  return *first <= *last;
}
/* The packed values of some rows of a block. */
void packed_gather(const void *data, unsigned width, const uint16_t *rows, uint32_t count, uint64_t *offsets);
/* Packs (images - base) / divisor of 1,024 rows, multiples of the divisor all of them. */
void packed_write(const int64_t *images, unsigned width, int64_t base, uint64_t divisor, uint8_t *out);

/* Where each of 1,024 strings ends, from their lengths less `base`. */
void packed_ends(const uint8_t *packed_lengths, unsigned width, uint64_t base, uint64_t ends[BLOCK_ROWS]);

static inline void mask_clear(uint64_t mask[BLOCK_WORDS]) { memset(mask, 0, BLOCK_WORDS * sizeof *mask); }
static inline void mask_and_words(uint64_t *mask, const uint64_t *other) {
  for (unsigned i = 0; i < BLOCK_WORDS; i++) mask[i] &= other[i];
}
/* ANDs "packed offset is within [low, high] of images" into mask: x = base + divisor * offset. */
static inline void packed_filter_range(const void *data, unsigned width, int64_t base, uint64_t divisor, int64_t low,
                                       int64_t high, bool negated, uint64_t mask[BLOCK_WORDS]) {
  const SimdKernels *k = simd_kernels();
  uint64_t first, last, most = simd_width_mask(width), flip = negated ? UINT64_MAX : 0;
  bool some = packed_offsets(width, base, divisor, low, high, &first, &last);
  if (!some || (first == 0 && last == most)) {
    if (some == negated) mask_clear(mask);
  } else if (first == 0) {
    k->above[width](data, last, ~flip, mask);
  } else if (last == most) {
    k->above[width](data, first - 1, flip, mask);
  } else {
    k->range[width](data, first, last - first, flip, mask);
  }
}
/* The same for 1,024 entries in natural width: [low, high] of images, of every type but strings. */
void array_filter_range(ColumnType type, const void *values, int64_t low, int64_t high, bool negated,
                        uint64_t mask[BLOCK_WORDS]);
/* The same for bits, of integers. */
void array_filter_bits(const Compare *compare, const void *values, uint64_t mask[BLOCK_WORDS]);
/* Whether the values that are not null, of a whole block of floats in natural width, lie in the block's zone. */
bool float_zone_holds(const Chunk *chunk, uint32_t block, const void *values);
/* The filter of strings that lie as offsets (rows + 1, u32, from the first byte) and bytes; up to 64 bytes are read
 * past the last. Prepared with text_filter_prepare, in the scratch of a filter. */
void text_filter_prepare(CodecFilter *filter, void *scratch);
void text_filter(const CodecFilter *filter, const uint8_t *offsets, const uint8_t *bytes, uint32_t rows,
                 uint64_t mask[BLOCK_WORDS]);

/* ---- sets of constants ---- */
size_t compare_set_bound(ColumnType type, size_t count);
/* Makes `found` members the set, which may have none then: sorted, each once. They lie in memory of compare_set_bound
 * bytes for `room` of them. */
void compare_set_images(Compare *compare, int64_t *images, uint32_t found, size_t room);
void compare_set_strings(Compare *compare, Bytes *strings, uint32_t found, size_t room);
/* Members of compare's set within [minimum, maximum]: *first and how many. */
uint32_t compare_set_slice(const Compare *compare, int64_t minimum, int64_t maximum, uint32_t *first);
bool compare_set_has_image(const Compare *compare, int64_t image);
bool compare_set_has_bytes(const Compare *compare, Bytes value);
/* Whether no zone that reaches from the first member's image to the last one's and is more than one image wide is told
 * anything but SOME. */
bool compare_set_covers_none(const Compare *compare, int64_t *first, int64_t *last);
/* Before negation and nulls. */
ZoneVerdict compare_set_zone_of_images(const Compare *compare, int64_t minimum, int64_t maximum);
ZoneVerdict compare_set_zone_of_strings(const Compare *compare, int64_t minimum, int64_t maximum);

/* ---- zones ---- */

/* Between which images a value may match, and surely does: of values in [minimum, maximum] none matches where they lie
 * outside the first two, and all do where they lie within the others. Before negation and nulls. */
typedef struct ZoneBounds {
  int64_t may_low, may_high, sure_low, sure_high;
} ZoneBounds;
/* False: the comparison has none. */
bool compare_zone_bounds(const Compare *compare, ZoneBounds *out);

/* ---- sums ---- */
static inline void int128_add(Int128 *sum, __int128 value) {
  __int128 total = (__int128)((unsigned __int128)sum->high << 64 | sum->low);
  total = (__int128)((unsigned __int128)total + (unsigned __int128)value);
  sum->low = (uint64_t)total;
  sum->high = (int64_t)((unsigned __int128)total >> 64);
}
/* Takes an image into minimum and maximum; call before the count is raised. */
void aggregate_image(AggregateState *state, int64_t minimum, int64_t maximum);
void aggregate_bytes(AggregateState *state, Bytes value);
/* The entries of an array under a mask of at least one row; the count is the caller's. Whole blocks: reads 1,024
 * entries. */
void aggregate_array_block(ColumnType type, const void *values, uint32_t row_count, const uint64_t *mask, bool full,
                           AggregateState *state);

#endif
