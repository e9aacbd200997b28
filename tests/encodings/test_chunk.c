/* What chunk_open and the checks refuse, and that nothing they let through is read out of bounds or contradicts itself.
 * The chunks lie in blocks of exactly their length, so that a sanitizer sees a byte too far. */
#include "encodings/chunk.h"

#include "encodings/encodings_internal.h"
#include "tests/encodings/column_maker.h"

/* The three steps of trust. */
static bool passes(const uint8_t *bytes, uint64_t length, uint32_t rows, ColumnType type, Chunk *chunk) {
  if (chunk_open(bytes, length, rows, type, chunk) != KVSTORE_OK) return false;
  if (chunk_check_shared(chunk) != KVSTORE_OK) return false;
  for (uint32_t i = 0; i < chunk->block_count; i++) {
    if (chunk_check_block(chunk, i) != KVSTORE_OK) return false;
  }
  return true;
}

/* Decodes, looks up, filters and aggregates everything; each must say the same. */
static void use_everything(const Chunk *chunk, const MadeColumn *like, uint64_t *rng) {
  static uint64_t scratch[CODEC_FILTER_SCRATCH / 8];
  Bytes *room = malloc(BLOCK_ROWS * sizeof *room); /* for the widest values */
  uint8_t *values = (uint8_t *)room, nulls[BLOCK_ROWS];
  Value constants[CONSTANTS_MAX];
  Bytes memory[CONSTANTS_ROOM];
  Compare compare;
  CodecFilter filter;
  AggregateState state;
  compare_make(&compare, like, rng, constants, memory);
  codec_filter_prepare(&filter, chunk, &compare, scratch);
  aggregate_init(&state, chunk->type, AGGREGATE_SUM | AGGREGATE_MIN | AGGREGATE_MAX);
  for (uint32_t b = 0; b < chunk->block_count; b++) {
    uint32_t rows = chunk_block_rows(chunk, b);
    uint64_t mask[BLOCK_WORDS];
    bitmap_fill_first(mask, BLOCK_WORDS, rows);
    uint8_t *made, *added, *got;
    decode_block(chunk, b, values, nulls, &made);
    codec_filter_block(&filter, b, mask);
    aggregate_rows(chunk, b, mask, &state, &added);
    for (uint32_t i = 0; i < rows; i++) {
      Value v, decoded = value_from_array(chunk->type, values, i);
      get_row(chunk, b * BLOCK_ROWS + i, &v, &got);
      CHECK_INT(v.is_null, nulls[i]);
      CHECK_INT(bit_get(mask, i), compare_value(&compare, &v));
      if (!v.is_null) CHECK_INT(value_compare(&v, &decoded), 0);
      free(got);
    }
    state.minimum_bytes = state.maximum_bytes = (Bytes){ 0 }; /* of a room that goes */
    free(made);
    free(added);
  }
  free(values);
}

static void damage(uint64_t *rng, uint8_t *bytes, uint64_t length) {
  uint64_t flips = 1 + test_random_below(rng, 3), head = length < 512 ? length : 512;
  for (uint64_t i = 0; i < flips; i++) {
    uint64_t at = test_random(rng) % 2 ? test_random_below(rng, head) : test_random_below(rng, length);
    switch (test_random_below(rng, 3)) {
    case 0: bytes[at] ^= (uint8_t)(1u << test_random_below(rng, 8)); break;
    case 1: bytes[at] = (uint8_t)test_random(rng); break;
    default: bytes[at] = test_random(rng) & 1 ? 0xff : 0; break;
    }
  }
}

TEST(chunk, damaged_bytes_are_refused_or_consistent) {
  uint64_t rng = 21, refused = 0, used = 0;
  for (uint64_t round = 0; round < test_scaled(12); round++) {
    for (unsigned type = 0; type < TYPES; type++) {
      for (int shape = 0; shape < SHAPES; shape++) {
        MadeColumn column;
        column_make(&column, &rng, every_type[type], (Shape)shape, 1 + (uint32_t)test_random_below(&rng, 2200),
                    test_random(&rng) & 1 ? 20 : 0);
        for (uint32_t encoding = ENCODING_CONSTANT; encoding <= ENCODING_LAST; encoding++) {
          MadeChunk made;
          if (!chunk_make(&made, &column, encoding)) continue;
          uint8_t *copy = aligned_alloc(64, made.result.length);
          for (int i = 0; i < 12; i++) {
            Chunk chunk;
            memcpy(copy, made.bytes, made.result.length);
            damage(&rng, copy, made.result.length);
            bool good = passes(copy, made.result.length, column.input.row_count, every_type[type], &chunk);
            if (good) use_everything(&chunk, &column, &rng);
            refused += !good;
            used += good;
          }
          free(copy);
          chunk_free(&made);
        }
        column_free(&column);
      }
    }
  }
  CHECK(refused > 1000 * test_scale() && used > 500 * test_scale());
}

TEST(chunk, truncated_bytes_are_refused) {
  uint64_t rng = 22;
  for (unsigned type = 0; type < TYPES; type++) {
    MadeColumn column;
    column_make(&column, &rng, every_type[type], SHAPE_FEW, 1500, 10);
    for (uint32_t encoding = ENCODING_CONSTANT; encoding <= ENCODING_LAST; encoding++) {
      MadeChunk made;
      if (!chunk_make(&made, &column, encoding)) continue;
      for (uint64_t length = 0; length < made.result.length; length += length < 256 ? 1 : 64) {
        Chunk chunk;
        uint8_t *copy = aligned_alloc(64, round_up(length + 1, 64));
        memcpy(copy, made.bytes, length);
        CHECK_STATUS(chunk_open(copy, length, 1500, every_type[type], &chunk), KVSTORE_CORRUPT);
        if (length >= 128) { /* and with a length that says so, in the header too */
          store_u64(copy + 56, length);
          CHECK(!passes(copy, length, 1500, every_type[type], &chunk));
        }
        free(copy);
      }
      chunk_free(&made);
    }
    column_free(&column);
  }
}

static MadeColumn one_column(ColumnType type, Shape shape, uint32_t rows, unsigned nulls) {
  MadeColumn c;
  uint64_t rng = 4;
  column_make(&c, &rng, type, shape, rows, nulls);
  return c;
}

TEST(chunk, head_is_checked_against_its_directory) {
  MadeColumn column = one_column(TYPE_I32, SHAPE_SMALL, 3000, 10);
  MadeChunk m;
  Chunk chunk;
  CHECK(chunk_make(&m, &column, ENCODING_PACKED));
  CHECK_STATUS(chunk_open(m.bytes, m.result.length, 2999, TYPE_I32, &chunk), KVSTORE_CORRUPT);
  CHECK_STATUS(chunk_open(m.bytes, m.result.length, 3000, TYPE_I64, &chunk), KVSTORE_CORRUPT);
  CHECK_STATUS(chunk_open(m.bytes, m.result.length, 0, TYPE_I32, &chunk), KVSTORE_CORRUPT);
  CHECK_STATUS(chunk_open(m.bytes, m.result.length, SEGMENT_ROWS + 1, TYPE_I32, &chunk), KVSTORE_CORRUPT);
  CHECK_STATUS(chunk_open(m.bytes, m.result.length - 64, 3000, TYPE_I32, &chunk), KVSTORE_CORRUPT);
  m.bytes[0] = ENCODING_ARRAY + 1;
  CHECK_STATUS(chunk_open(m.bytes, m.result.length, 3000, TYPE_I32, &chunk), KVSTORE_UNSUPPORTED);
  CHECK(strstr(status_last()->text, "encoding 15") != NULL);
  chunk_free(&m);
  column_free(&column);
}

TEST(chunk, values_that_leave_their_zone_are_refused) {
  MadeColumn column = one_column(TYPE_I32, SHAPE_SMALL, 3000, 0);
  for (uint32_t encoding = ENCODING_PLAIN; encoding <= ENCODING_LAST; encoding++) {
    MadeChunk m;
    if (!chunk_make(&m, &column, encoding)) continue;
    uint8_t *minimum = m.bytes + CHUNK_HEADER_BYTES + 1; /* block 1's, less the chunk's */
    CHECK_INT(m.chunk.zone_shift, 0);
    ++*minimum;
    CHECK_OK(chunk_check_block(&m.chunk, 0));
    CHECK_STATUS(chunk_check_block(&m.chunk, 1), KVSTORE_CORRUPT);
    --*minimum;
    CHECK_OK(chunk_check(&m.chunk));
    chunk_free(&m);
  }
  column_free(&column);
}

/* The same bytes under the number of a type that has fewer values. */
TEST(chunk, values_that_are_none_of_their_type_are_refused) {
  static const struct {
    ColumnType type;
    int64_t number;
  } none[] = { { TYPE_TIME, -1 },
               { TYPE_TIME, INT64_C(86400000000) },
               { TYPE_DECIMAL, INT64_C(1000000000000000000) },
               { TYPE_DECIMAL_LAST, INT64_C(-1000000000000000000) } };
  for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
    MadeColumn column = one_column(TYPE_TIME, SHAPE_SMALL, 3000, 0);
    MadeChunk m;
    Chunk chunk;
    column.input.type = TYPE_DURATION;
    ((int64_t *)(void *)column.values)[2000] = none[i].number;
    CHECK(chunk_make(&m, &column, ENCODING_PLAIN));
    m.bytes[1] = (uint8_t)none[i].type;
    CHECK_STATUS(chunk_open(m.bytes, m.result.length, 3000, none[i].type, &chunk), KVSTORE_CORRUPT);
    CHECK(strstr(status_last()->text, "a zone outside its type"));
    chunk_free(&m);
    column_free(&column);
  }
}

/* Numbers where strings are expected would be taken for addresses. */
TEST(chunk, packed_numbers_of_a_type_that_is_never_packed_are_refused) {
  static const ColumnType never[] = { TYPE_F32, TYPE_F64, TYPE_STRING, TYPE_BYTES };
  MadeColumn column = one_column(TYPE_I64, SHAPE_SMALL, 300, 0);
  MadeChunk m;
  CHECK(chunk_make(&m, &column, ENCODING_PACKED));
  for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
    Chunk chunk;
    m.bytes[1] = (uint8_t)never[i];
    CHECK_OK(chunk_open(m.bytes, m.result.length, 300, never[i], &chunk));
    CHECK_STATUS(chunk_check_shared(&chunk), KVSTORE_CORRUPT);
    CHECK(strstr(status_last()->text, "packed, of a type that has none"));
  }
  chunk_free(&m);
  column_free(&column);
}

/* Whoever reads a row makes room for the longest one that the header names: eight bytes for each byte at most. */
TEST(chunk, a_longest_string_that_no_codes_could_say_is_refused) {
  MadeColumn column = one_column(TYPE_STRING, SHAPE_FEW, 1000, 0);
  MadeChunk m;
  Chunk chunk;
  CHECK(chunk_make(&m, &column, ENCODING_FSST));
  store_u64(m.bytes + 40, 8 * m.result.length);
  CHECK_OK(chunk_open(m.bytes, m.result.length, 1000, TYPE_STRING, &chunk));
  CHECK_OK(chunk_check_shared(&chunk));
  store_u64(m.bytes + 40, 8 * m.result.length + 1);
  CHECK_OK(chunk_open(m.bytes, m.result.length, 1000, TYPE_STRING, &chunk));
  CHECK_STATUS(chunk_check_shared(&chunk), KVSTORE_CORRUPT);
  CHECK(strstr(status_last()->text, "a longest string that is too long"));
  chunk_free(&m);
  column_free(&column);
}

/* Every symbol's first byte, or that of the first string or of a frame, becomes one that goes on a character. */
static void cut_character(const MadeChunk *m) {
  if (m->chunk.encoding == ENCODING_FRONT_CODED) { /* decoded bytes, offsets of 100 rows, the length of the first one */
    ((uint8_t *)(uintptr_t)m->chunk.bytes)[m->chunk.data_offset + 4 + 7 * 2 + 1] = 0x80;
    return;
  }
  if (m->chunk.encoding == ENCODING_ZSTD) { /* the first letter stands in the frame as it is */
    ChunkBlock b;
    chunk_block(&m->chunk, 0, &b);
    uint8_t *frame = (uint8_t *)(uintptr_t)m->chunk.bytes + b.offset + 128u * b.width + 4 + 8;
    uint8_t *letter = memchr(frame, 'v', (size_t)(m->chunk.bytes + b.end - frame));
    CHECK(letter != NULL);
    *letter = 0x80;
    return;
  }
  uint8_t *words = (uint8_t *)(uintptr_t)m->chunk.bytes + m->chunk.head_length + round_up(m->chunk.dictionary_count, 8);
  for (uint32_t i = 0; i < m->chunk.dictionary_count; i++) words[8 * (size_t)i] = 0x80;
}

TEST(chunk, text_that_is_not_utf8_is_refused) {
  for (uint32_t encoding = ENCODING_CONSTANT; encoding <= ENCODING_LAST; encoding++) {
    MadeColumn column = one_column(TYPE_STRING, encoding == ENCODING_CONSTANT ? SHAPE_CONSTANT : SHAPE_FEW, 100, 0);
    MadeChunk m;
    if (chunk_make(&m, &column, encoding)) {
      uint8_t *room;
      Value v;
      get_row(&m.chunk, 7, &v, &room);
      if (room) /* the last code stands for a byte, which is no text */
        cut_character(&m);
      else
        ((uint8_t *)(uintptr_t)v.s.data)[v.s.length - 1] = 0xc3; /* a character cut off */
      free(room);
      CHECK(chunk_check_shared(&m.chunk) == KVSTORE_CORRUPT || chunk_check_block(&m.chunk, 0) == KVSTORE_CORRUPT);
      chunk_free(&m);
    }
    column_free(&column);
  }
}

/* All rows of the second value get the first one. */
TEST(chunk, a_dictionary_with_a_value_of_no_row_is_told_by_the_whole_check) {
  for (ColumnType type = TYPE_I32; type <= TYPE_STRING; type += TYPE_STRING - TYPE_I32) {
    MadeColumn column = one_column(type, SHAPE_FEW, 1000, 10);
    MadeChunk m;
    ChunkBlock b;
    uint16_t codes[BLOCK_ROWS];
    int64_t fewer[BLOCK_ROWS];
    CHECK(chunk_make(&m, &column, ENCODING_DICTIONARY));
    CHECK(m.chunk.dictionary_count > 2);
    CHECK_OK(chunk_check(&m.chunk));
    chunk_block(&m.chunk, 0, &b);
    codec_codes(&m.chunk, 0, codes);
    for (uint32_t i = 0; i < BLOCK_ROWS; i++) fewer[i] = i >= 1000 || codes[i] == 1 ? 0 : codes[i];
    packed_write(fewer, b.width, b.base, 1, (uint8_t *)(uintptr_t)chunk_block_data(&m.chunk, &b));
    CHECK_OK(chunk_check_block(&m.chunk, 0));
    CHECK_STATUS(chunk_check(&m.chunk), KVSTORE_CORRUPT);
    CHECK(strstr(status_last()->text, "that no row has"));
    chunk_free(&m);
    column_free(&column);
  }
}

TEST(chunk, ranges_of_blocks_fill_the_chunk) {
  MadeColumn column = one_column(TYPE_STRING, SHAPE_WILD, 5000, 30);
  MadeChunk m;
  CHECK(chunk_make(&m, &column, ENCODING_PLAIN));
  uint64_t at = m.chunk.data_offset;
  CHECK(m.chunk.head_length <= chunk_head_bound(5000));
  CHECK_INT(chunk_head_bound(SEGMENT_ROWS), CHUNK_HEAD_MAX);
  for (uint32_t b = 0; b < m.chunk.block_count; b++) {
    uint64_t offset, length;
    chunk_block_range(&m.chunk, b, &offset, &length);
    CHECK_INT(offset, at);
    at += length;
  }
  CHECK_INT(at + CHUNK_PADDING, m.result.length);
  chunk_free(&m);
  column_free(&column);
}
