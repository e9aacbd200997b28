/* What the head of a chunk says of its blocks in as few bytes as it takes: zones, bases, which words have a null. */
#include <stdlib.h>
#include <string.h>

#include "base/bitmap.h"
#include "encodings/chunk.h"
#include "encodings/encodings_internal.h"
#include "tests/encodings/column_maker.h"

enum { ROWS = 4 * BLOCK_ROWS + 100, EMPTY_BLOCK = 2 };

static bool encode(const ChunkInput *in, uint32_t encoding, MadeChunk *m) {
  ChooseOptions options = { .forced = encoding };
  uint8_t *out = aligned_alloc(64, round_up(chunk_encode_room(in).out, 64));
  void *scratch = aligned_alloc(64, round_up(chunk_encode_room(in).scratch, 64));
  bool made = chunk_encode(in, &options, out, scratch, &m->result) == KVSTORE_OK;
  if (made) {
    m->bytes = aligned_alloc(64, m->result.length);
    memcpy(m->bytes, out, m->result.length);
    CHECK_OK(chunk_open(m->bytes, m->result.length, in->row_count, in->type, &m->chunk));
    CHECK_OK(chunk_check(&m->chunk));
  }
  free(out);
  free(scratch);
  return made;
}

/* ---- zones ---- */

static void check_zones(const Chunk *c, const int64_t *values, const uint8_t *nulls) {
  for (uint32_t b = 0; b < c->block_count; b++) {
    int64_t low = INT64_MAX, high = INT64_MIN;
    for (uint32_t i = b * BLOCK_ROWS; i < b * BLOCK_ROWS + chunk_block_rows(c, b); i++) {
      if (nulls[i]) continue;
      if (values[i] < low) low = values[i];
      if (values[i] > high) high = values[i];
    }
    CHECK(chunk_block_minimum(c, b) == low);
    CHECK(chunk_block_maximum(c, b) == high);
  }
}

static void check_values(const Chunk *c, const int64_t *values, const uint8_t *nulls) {
  for (uint32_t i = 0; i < c->row_count; i++) {
    Value v;
    codec_get(c, i, &v);
    CHECK_INT(v.is_null, nulls[i]);
    if (!nulls[i]) CHECK(v.i == values[i]);
  }
}

TEST(chunk_table, zones_take_as_many_bytes_as_the_range_of_the_chunk) {
  static const struct {
    uint64_t span;
    unsigned shift;
  } wanted[] = { { UINT8_MAX, 0 },  { UINT8_MAX + 1, 1 },     { UINT16_MAX, 1 }, { UINT16_MAX + 1, 2 },
                 { UINT32_MAX, 2 }, { UINT64_C(1) << 32, 3 }, { UINT64_MAX, 3 } };
  static int64_t values[ROWS];
  static uint8_t nulls[ROWS];
  uint64_t rng = 5, made[ENCODING_LAST + 1] = { 0 };
  for (size_t w = 0; w < sizeof wanted / sizeof *wanted; w++) {
    int64_t start = wanted[w].span == UINT64_MAX ? INT64_MIN : -3000000000;
    for (uint32_t i = 0; i < ROWS; i++) {
      uint64_t more = test_random(&rng);
      if (wanted[w].span < UINT64_MAX) more %= wanted[w].span + 1;
      if (i < 2) more = i ? wanted[w].span : 0;
      values[i] = (int64_t)((uint64_t)start + more);
      nulls[i] = i / BLOCK_ROWS == EMPTY_BLOCK;
    }
    ChunkInput in = { .type = TYPE_I64, .row_count = ROWS, .values = values, .nulls = nulls };
    for (uint32_t encoding = ENCODING_PLAIN; encoding <= ENCODING_LAST; encoding++) {
      MadeChunk m;
      if (!encode(&in, encoding, &m)) continue;
      made[encoding]++;
      CHECK_INT(m.chunk.zone_shift, wanted[w].shift);
      CHECK_INT(m.chunk.head_length % CHUNK_ALIGNMENT, 0);
      check_zones(&m.chunk, values, nulls);
      check_values(&m.chunk, values, nulls);
      free(m.bytes);
    }
  }
  CHECK(made[ENCODING_PLAIN] && made[ENCODING_PACKED] && made[ENCODING_DICTIONARY] && made[ENCODING_RUN_LENGTH] &&
        made[ENCODING_DELTA]);
}

TEST(chunk_table, a_width_of_zones_without_a_table_is_refused) {
  static int64_t values[BLOCK_ROWS];
  for (uint32_t i = 0; i < BLOCK_ROWS; i++) values[i] = i * i;
  ChunkInput in = { .type = TYPE_I64, .row_count = BLOCK_ROWS, .values = values };
  MadeChunk m;
  Chunk chunk;
  CHECK(encode(&in, ENCODING_PACKED, &m));
  CHECK_INT(m.bytes[3], 0);
  m.bytes[3] = 3 << CHUNK_ZONE_SHIFT;
  CHECK_STATUS(chunk_open(m.bytes, m.result.length, BLOCK_ROWS, TYPE_I64, &chunk), KVSTORE_CORRUPT);
  CHECK(strstr(status_last()->text, "a width of zones"));
  free(m.bytes);
}

/* ---- nulls ---- */

/* One in each block; a word of them; a block of them; at both ends of the last block. */
static void make_nulls(uint8_t *nulls) {
  memset(nulls, 0, ROWS);
  nulls[70] = 1;
  memset(nulls + BLOCK_ROWS + 640, 1, 64);
  memset(nulls + EMPTY_BLOCK * BLOCK_ROWS, 1, BLOCK_ROWS);
  for (uint32_t i = 3 * BLOCK_ROWS; i < 4 * BLOCK_ROWS; i += 64) nulls[i + i / 64 % 64] = 1; /* every word has one */
  nulls[4 * BLOCK_ROWS] = nulls[ROWS - 1] = 1;
}

static uint32_t words_of(const uint8_t *nulls) {
  uint32_t words = 0;
  for (uint32_t i = 0; i < ROWS; i += 64) {
    bool is_of_empty = i / BLOCK_ROWS == EMPTY_BLOCK;
    uint32_t rows = ROWS - i < 64 ? ROWS - i : 64;
    words += !is_of_empty && memchr(nulls + i, 1, rows) != NULL;
  }
  return words;
}

static MadeChunk with_nulls(uint8_t *nulls, uint32_t encoding) {
  static int32_t values[ROWS];
  ChunkInput in = { .type = TYPE_I32, .row_count = ROWS, .values = values, .nulls = nulls };
  MadeChunk m;
  for (int i = 0; i < ROWS; i++) values[i] = i % 50;
  make_nulls(nulls);
  CHECK(encode(&in, encoding, &m));
  return m;
}

TEST(chunk_table, words_of_validity_stand_only_where_a_null_does) {
  static uint8_t nulls[ROWS];
  static const uint32_t encodings[] = { ENCODING_PLAIN, ENCODING_PACKED, ENCODING_DICTIONARY, ENCODING_RUN_LENGTH,
                                        ENCODING_DELTA };
  for (size_t e = 0; e < sizeof encodings / sizeof *encodings; e++) {
    MadeChunk m = with_nulls(nulls, encodings[e]);
    CHECK_INT(m.chunk.word_count, words_of(nulls));
    CHECK_INT(m.chunk.word_count, 1 + 1 + 16 + 2);
    for (uint32_t b = 0; b < m.chunk.block_count; b++) {
      uint64_t words[BLOCK_WORDS];
      chunk_validity(&m.chunk, b, words);
      for (uint32_t i = 0; i < BLOCK_ROWS; i++) {
        uint32_t row = b * BLOCK_ROWS + i;
        CHECK_INT(bit_get(words, i), row < ROWS && !nulls[row]);
        if (row < ROWS) CHECK_INT(chunk_row_is_null(&m.chunk, row), nulls[row]);
      }
    }
    free(m.bytes);
  }
}

TEST(chunk_table, a_few_nulls_cost_a_few_words) {
  enum { MANY = SEGMENT_ROWS };
  int32_t *values = malloc(MANY * sizeof *values);
  uint8_t *nulls = calloc(MANY, 1);
  uint64_t rng = 8;
  MadeChunk without, with;
  for (int i = 0; i < MANY; i++) values[i] = (int32_t)test_random_below(&rng, 1000);
  ChunkInput in = { .type = TYPE_I32, .row_count = MANY, .values = values };
  CHECK(encode(&in, ENCODING_PACKED, &without));
  for (uint32_t b = 0; b < SEGMENT_BLOCKS; b++) nulls[b * BLOCK_ROWS + test_random_below(&rng, BLOCK_ROWS)] = 1;
  in.nulls = nulls;
  CHECK(encode(&in, ENCODING_PACKED, &with));
  CHECK(with.result.length <= without.result.length + SEGMENT_BLOCKS * (8 + CHUNK_NULL_BYTES) + 2 * CHUNK_ALIGNMENT);
  free(without.bytes);
  free(with.bytes);
  free(values);
  free(nulls);
}

static void refused(const MadeChunk *m, const char *why) {
  Chunk chunk;
  Status status = chunk_open(m->bytes, m->result.length, ROWS, TYPE_I32, &chunk);
  if (status == KVSTORE_OK) status = chunk_check_shared(&chunk);
  CHECK_STATUS(status, KVSTORE_CORRUPT);
  CHECK(strstr(status_last()->text, why));
}

/* A number of the table, or of validity, becomes another, is refused, and becomes what it was. */
static void refused_with(const MadeChunk *m, size_t at, uint8_t byte, const char *why) {
  uint8_t before = m->bytes[at];
  CHECK(before != byte);
  m->bytes[at] = byte;
  refused(m, why);
  m->bytes[at] = before;
}

TEST(chunk_table, words_of_validity_that_are_not_its_nulls_are_refused) {
  static uint8_t nulls[ROWS];
  MadeChunk m = with_nulls(nulls, ENCODING_PACKED);
  const Chunk *c = &m.chunk;
  size_t entry = c->null_at, last = c->null_at + 4 * (size_t)CHUNK_NULL_BYTES;
  size_t words = c->data_offset - 8 * (size_t)c->word_count;
  refused_with(&m, entry, 2, "null counts that do not add up");
  refused_with(&m, entry + 2, 0, "words of validity that are not its nulls'");
  refused_with(&m, entry + 2, 3, "words of validity that are not its nulls'"); /* two words, one null */
  refused_with(&m, entry + 4, 1, "words of validity that are not its nulls'"); /* not from the first word on */
  refused_with(&m, last + 2, 5, "words of validity that are not its nulls'");  /* behind 100 rows */
  refused_with(&m, words, 0xff, "a word of validity without a null");
  refused_with(&m, words, 0xff & (m.bytes[words] ^ 1), "validity against the null count");
  refused_with(&m, words + 8 * (size_t)(c->word_count - 1) + 7, 0x80, "validity beyond the last row");
  CHECK_OK(chunk_check(c));
  free(m.bytes);
}

/* ---- the offsets of a dictionary ---- */

static MadeChunk dictionary_of(uint64_t bytes, char *text, Bytes *values) {
  enum { STRINGS = 1000 };
  ChunkInput in = { .type = TYPE_STRING, .row_count = 2 * STRINGS, .values = values };
  MadeChunk m;
  for (uint32_t i = 0; i < STRINGS; i++) { /* "aab", "aac": 64 bytes or so each, the last one what is left */
    size_t length = i + 1 < STRINGS ? 60 : (size_t)bytes - 60 * (STRINGS - 1);
    char *at = text + (size_t)i * 60;
    memset(at, 'x', length);
    at[0] = (char)('a' + i / 100);
    at[1] = (char)('a' + i / 10 % 10);
    at[2] = (char)('a' + i % 10);
    values[i] = values[STRINGS + i] = (Bytes){ (const uint8_t *)at, length };
  }
  CHECK(encode(&in, ENCODING_DICTIONARY, &m));
  for (uint32_t i = 0; i < 2 * STRINGS; i++) {
    Value v;
    codec_get(&m.chunk, i, &v);
    CHECK(bytes_compare(v.s.data, v.s.length, values[i].data, values[i].length) == 0);
  }
  return m;
}

TEST(chunk_table, offsets_of_a_dictionary_take_two_bytes_where_they_suffice) {
  char *text = malloc(UINT16_MAX + 2);
  Bytes *values = malloc(2000 * sizeof *values);
  Chunk chunk;
  MadeChunk narrow = dictionary_of(UINT16_MAX, text, values);
  CHECK_INT(narrow.chunk.step, 2);
  for (uint64_t step = 0; step <= 8; step++) {
    if (step == 2) continue;
    store_u64(narrow.bytes + 40, step);
    Status status = chunk_open(narrow.bytes, narrow.result.length, 2000, TYPE_STRING, &chunk);
    if (status == KVSTORE_OK) status = chunk_check_shared(&chunk);
    CHECK_STATUS(status, KVSTORE_CORRUPT);
  }
  free(narrow.bytes);
  MadeChunk wide = dictionary_of(UINT16_MAX + 1, text, values);
  CHECK_INT(wide.chunk.step, 4);
  free(wide.bytes);
  free(text);
  free(values);
}
