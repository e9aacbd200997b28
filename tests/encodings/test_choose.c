/* Which encoding a column gets, and what it then takes. */
#include "encodings/choose.h"

#include "base/counters.h"
#include "tests/encodings/column_maker.h"

static EncodingId chosen(ColumnType type, Shape shape, uint32_t rows, unsigned nulls, ChunkResult *result) {
  uint64_t rng = 9;
  MadeColumn column;
  MadeChunk chunk;
  column_make(&column, &rng, type, shape, rows, nulls);
  CHECK(chunk_make(&chunk, &column, ENCODING_NONE));
  *result = chunk.result;
  chunk_free(&chunk);
  column_free(&column);
  return result->encoding;
}

TEST(choose, each_shape_gets_its_encoding) {
  ChunkResult r;
  CHECK_INT(chosen(TYPE_I64, SHAPE_CONSTANT, 65536, 0, &r), ENCODING_CONSTANT);
  CHECK_INT(r.length, 192); /* a constant without nulls, or a stride, costs a header and the padding */
  CHECK_INT(r.stats.distinct_count, 1);
  CHECK_INT(chosen(TYPE_STRING, SHAPE_CONSTANT, 65536, 50, &r), ENCODING_CONSTANT);
  CHECK_INT(chosen(TYPE_F64, SHAPE_CONSTANT, 100, 0, &r), ENCODING_CONSTANT);
  CHECK_INT(chosen(TYPE_U64, SHAPE_STRIDE, 65536, 0, &r), ENCODING_STRIDE);
  CHECK_INT(r.length, 192);
  CHECK_INT(chosen(TYPE_I32, SHAPE_SMALL, 65536, 10, &r), ENCODING_PACKED);
  CHECK(r.length < 65536 * 8 / 8 + 64 * 192 + 4096); /* 6 bits and validity */
  CHECK_INT(chosen(TYPE_BOOL, SHAPE_SMALL, 65536, 0, &r), ENCODING_BITS);
  CHECK_INT(chosen(TYPE_STRING, SHAPE_FEW, 65536, 0, &r), ENCODING_DICTIONARY);
  CHECK_INT(r.stats.distinct_count, 5);
  CHECK(r.length < 65536 * 3 / 8 + 4096);
  CHECK_INT(chosen(TYPE_F64, SHAPE_FEW, 65536, 0, &r), ENCODING_DICTIONARY);
  CHECK_INT(chosen(TYPE_I64, SHAPE_FEW, 65536, 0, &r), ENCODING_PACKED); /* multiples of 77,777 */
  CHECK_INT(chosen(TYPE_STRING, SHAPE_WILD, 65536, 0, &r), ENCODING_FSST);
  CHECK_INT(chosen(TYPE_FIXED_BYTES, SHAPE_WILD, 65536, 0, &r), ENCODING_PLAIN);
  CHECK_INT(chosen(TYPE_I32, SHAPE_RUNS, 65536, 0, &r), ENCODING_RUN_LENGTH);
  CHECK(r.length < 64 * (2 + 18 * 3 + 64) + 4096); /* 17 or 18 runs a block, 3 bytes each */
  CHECK_INT(chosen(TYPE_F64, SHAPE_RUNS, 65536, 30, &r), ENCODING_RUN_LENGTH);
  CHECK_INT(chosen(TYPE_F64, SHAPE_MULTIPLES, 65536, 0, &r), ENCODING_DICTIONARY);
  CHECK_INT(chosen(TYPE_F64, SHAPE_SORTED, 65536, 20, &r), ENCODING_ALP);
  CHECK(r.length < 65536 * 8 / 8 + 64 * (128 + 64) + 4096); /* tenths, 147 of them a block */
  CHECK_INT(chosen(TYPE_F32, SHAPE_SORTED, 65536, 0, &r), ENCODING_ALP);
  CHECK_INT(chosen(TYPE_F64, SHAPE_NOISE, 65536, 0, &r), ENCODING_ALP_RD);
  CHECK(r.length < 65536 * 57 / 8); /* the 52 or 53 bits of the fraction and a code, exceptions */
  CHECK_INT(chosen(TYPE_I64, SHAPE_WALK, 65536, 0, &r), ENCODING_DELTA);
  CHECK(r.length < 65536 * 6 / 8 + 64 * 64 + 4096); /* 6 bits instead of 27 */
}

/* Now and then a step of 8 bits, where the distances within a block take 15: so where no row is below the one before.
 * Where one is, what a filter would pay is not worth it. */
TEST(choose, differences_are_taken_early_where_a_column_ascends) {
  enum { ROWS = 20000 };
  int64_t *values = malloc(ROWS * sizeof *values);
  uint64_t rng = 4;
  for (int falls = 0; falls < 2; falls++) {
    int64_t at = 1000000;
    for (uint32_t i = 0; i < ROWS; i++)
      values[i] = at += test_random_below(&rng, 8) ? 0 : (int64_t)test_random_below(&rng, 256);
    if (falls) values[2000] = values[1999] - 1;
    ChunkInput input = { .type = TYPE_I64, .row_count = ROWS, .values = values };
    uint8_t *out = aligned_alloc(64, round_up(chunk_encode_room(&input).out, 64));
    void *scratch = aligned_alloc(64, round_up(chunk_encode_room(&input).scratch, 64));
    ChunkResult r;
    CHECK_OK(chunk_encode(&input, NULL, out, scratch, &r));
    CHECK_INT(r.encoding, falls ? ENCODING_PACKED : ENCODING_DELTA);
    if (!falls) CHECK(r.length < ROWS * 8 / 8 + 20 * (64 + 64) + 4096);
    free(out);
    free(scratch);
  }
  free(values);
}

/* Records of some hundred bytes, alike in what a symbol of eight bytes cannot hold. */
static ChunkResult encode_records(uint32_t rows, bool by_key, size_t longest) {
  uint64_t rng = 8;
  Bytes *values = malloc(rows * sizeof *values);
  char *texts = malloc((size_t)rows * 320), *last = malloc(longest + 1);
  for (uint32_t i = 0; i < rows; i++) {
    int length = snprintf(
      texts + (size_t)i * 320, 320,
      "{\"event\": \"purchase completed\", \"agent\": \"Reader/5.0 (X11; Linux x86_64)\", \"path\": "
      "\"/shop/catalogue/%llu\", \"user\": %llu, \"status\": \"delivered to the customer\"}",
      (unsigned long long)test_random_below(&rng, 100000), (unsigned long long)test_random_below(&rng, 1000000));
    values[i] = (Bytes){ (const uint8_t *)texts + (size_t)i * 320, (size_t)length };
  }
  memset(last, 'x', longest);
  if (longest) values[rows / 2] = (Bytes){ (const uint8_t *)last, longest };
  ChunkInput input = { .type = TYPE_STRING, .row_count = rows, .values = values };
  ChooseOptions options = { .forbidden = by_key ? ENCODINGS_SLOW_TO_GET : 0 };
  uint8_t *out = aligned_alloc(64, round_up(chunk_encode_room(&input).out, 64));
  void *scratch = aligned_alloc(64, round_up(chunk_encode_room(&input).scratch, 64));
  ChunkResult r;
  Chunk chunk;
  CHECK_OK(chunk_encode(&input, &options, out, scratch, &r));
  CHECK_OK(chunk_open(out, r.length, rows, TYPE_STRING, &chunk));
  CHECK_OK(chunk_check(&chunk));
  free(out);
  free(scratch);
  free(values);
  free(texts);
  free(last);
  return r;
}

TEST(choose, long_texts_go_into_frames_unless_they_are_read_by_key) {
  ChunkResult framed = encode_records(20000, false, 0), by_key = encode_records(20000, true, 0);
  CHECK_INT(framed.encoding, ENCODING_ZSTD);
  CHECK_INT(by_key.encoding, ENCODING_FSST);
  CHECK(framed.length < by_key.length * 5 / 8);
  CHECK_INT(encode_records(20000, false, 16384).encoding, ENCODING_ZSTD);
  CHECK(encode_records(20000, false, 16385).encoding != ENCODING_ZSTD); /* no frame holds it */
  CHECK(encode_records(100, false, 0).encoding != ENCODING_ZSTD);       /* too little to be worth it */
}

TEST(choose, a_common_divisor_narrows_timestamps) {
  enum { ROWS = 65536 };
  int64_t *values = malloc(ROWS * sizeof *values);
  uint64_t rng = 1;
  for (uint32_t i = 0; i < ROWS; i++) values[i] = 1700000000000000 + (int64_t)test_random_below(&rng, 200) * 60000000;
  ChunkInput input = { .type = TYPE_TIMESTAMP, .row_count = ROWS, .values = values };
  uint8_t *out = aligned_alloc(64, round_up(chunk_encode_room(&input).out, 64));
  void *scratch = aligned_alloc(64, round_up(chunk_encode_room(&input).scratch, 64));
  ChunkResult r;
  CHECK_OK(chunk_encode(&input, NULL, out, scratch, &r));
  CHECK_INT(r.encoding, ENCODING_PACKED);
  CHECK(r.length < ROWS + 4096); /* 8 bits instead of 34 */
  free(out);
  free(scratch);
  free(values);
}

/* Keys in order: a byte or two of each differ from the one before, and there are too many customers for symbols. */
TEST(choose, sorted_keys_are_front_coded) {
  enum { ROWS = 30000, LENGTH = 40 };
  Bytes *values = malloc(ROWS * sizeof *values);
  char *text = malloc((size_t)ROWS * (LENGTH + 1));
  for (uint32_t i = 0; i < ROWS; i++) {
    char *at = text + (size_t)i * (LENGTH + 1);
    (void)snprintf(at, LENGTH + 1, "customer/%016llx/order/%04u", i / 40 * 0x17a1b2c3d4e5f1ULL, i % 40 * 7);
    values[i] = (Bytes){ (const uint8_t *)at, strlen(at) };
  }
  ChunkInput input = { .type = TYPE_STRING, .row_count = ROWS, .values = values };
  uint8_t *out = aligned_alloc(64, round_up(chunk_encode_room(&input).out, 64));
  void *scratch = aligned_alloc(64, round_up(chunk_encode_room(&input).scratch, 64));
  ChunkResult r;
  CHECK_OK(chunk_encode(&input, NULL, out, scratch, &r));
  CHECK_INT(r.encoding, ENCODING_FRONT_CODED);
  CHECK(r.length < (uint64_t)ROWS * 8); /* two lengths, 1 to 3 digits, a sixteenth and a fortieth of a whole key */
  free(out);
  free(scratch);
  free(text);
  free(values);
}

/* Texts of few words: far under a half of what they are; noise gets no symbols. */
TEST(choose, long_texts_get_symbols_and_noise_none) {
  enum { ROWS = 20000, LONGEST = 60 };
  static const char *const words[] = { "carefully ", "furious ", "packages ", "sleep ", "above ", "the ", "bold " };
  Bytes *values = malloc(ROWS * sizeof *values);
  char *text = malloc((size_t)ROWS * LONGEST);
  uint64_t rng = 6, bytes = 0;
  for (int noise = 0; noise < 2; noise++) {
    bytes = 0;
    for (uint32_t i = 0; i < ROWS; i++) {
      char *at = text + (size_t)i * LONGEST;
      size_t length = 0, want = 20 + test_random_below(&rng, 20);
      while (length < want) {
        const char *word = words[test_random_below(&rng, 7)];
        memcpy(at + length, word, strlen(word));
        length += strlen(word);
      }
      for (size_t k = 0; noise && k < length; k++) at[k] = (char)test_random(&rng);
      values[i] = (Bytes){ (const uint8_t *)at, length };
      bytes += length;
    }
    ChunkInput input = { .type = TYPE_BYTES, .row_count = ROWS, .values = values };
    uint8_t *out = aligned_alloc(64, round_up(chunk_encode_room(&input).out, 64));
    void *scratch = aligned_alloc(64, round_up(chunk_encode_room(&input).scratch, 64));
    ChunkResult r;
    CHECK_OK(chunk_encode(&input, NULL, out, scratch, &r));
    CHECK_INT(r.encoding, noise ? ENCODING_PLAIN : ENCODING_FSST);
    if (!noise) CHECK(r.length < bytes * 2 / 5);
    free(out);
    free(scratch);
  }
  free(text);
  free(values);
}

/* The bytes that `text` takes as symbols, cut into strings of `length`. */
static uint64_t symbol_bytes(const uint8_t *text, uint32_t bytes, uint32_t length) {
  uint32_t rows = bytes / length;
  Bytes *values = malloc(rows * sizeof *values);
  for (uint32_t i = 0; i < rows; i++) values[i] = (Bytes){ text + (size_t)i * length, length };
  ChunkInput input = { .type = TYPE_STRING, .row_count = rows, .values = values };
  uint8_t *out = aligned_alloc(64, round_up(chunk_encode_room(&input).out, 64));
  void *scratch = aligned_alloc(64, round_up(chunk_encode_room(&input).scratch, 64));
  ChooseOptions options = { .forced = ENCODING_FSST };
  ChunkResult r;
  CHECK_OK(chunk_encode(&input, &options, out, scratch, &r));
  CHECK_INT(r.encoding, ENCODING_FSST);
  free(out);
  free(scratch);
  free(values);
  return r.length;
}

/* Symbols are learnt from all of a text, however it is cut. */
TEST(choose, the_same_text_gets_the_same_symbols_in_few_long_strings) {
  enum { BYTES = 2000000 };
  static const char *const words[] = { "alpha ", "beta ", "gamma ", "delta ", "omega " };
  char *text = malloc(BYTES + 32);
  uint64_t rng = 11;
  for (size_t at = 0; at < BYTES;)
    at += (size_t)snprintf(text + at, 32, "%s%u ", words[test_random_below(&rng, 5)],
                           (unsigned)test_random_below(&rng, 65536));
  uint64_t of_short = symbol_bytes((const uint8_t *)text, BYTES, 100);
  static const uint32_t lengths[] = { 1000, 20000, 500000, BYTES };
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
    CHECK(symbol_bytes((const uint8_t *)text, BYTES, lengths[i]) <= of_short);
  free(text);
}

/* Half of the rows have other words than the other half: one after the other, in turns, or as it comes. */
static uint64_t bytes_of_two_kinds(uint32_t rows, unsigned order) {
  enum { LENGTH = 64 };
  static const char *const words[2][4] = { { "alphabet", "colonnade", "peristyle", "architrave" },
                                           { "0x7fe9-", "#13=99;", "Zz_Qq:", "(42,43)" } };
  char *text = calloc(rows + 1, LENGTH);
  uint64_t rng = 21;
  for (uint32_t i = 0; i < rows; i++) {
    uint64_t kind = order == 0 ? i >= rows / 2 : order == 1 ? i % 2 : test_random_below(&rng, 2);
    for (size_t at = 0; at < LENGTH;) /* what does not fit is written over by the next row */
      at += (size_t)snprintf(text + (size_t)i * LENGTH + at, LENGTH, "%s%u", words[kind][test_random_below(&rng, 4)],
                             (unsigned)test_random_below(&rng, 1000));
  }
  uint64_t bytes = symbol_bytes((const uint8_t *)text, rows * LENGTH, LENGTH);
  free(text);
  return bytes;
}

/* Whatever rhythm the rows have, and however many they are, the sample sees both kinds. */
TEST(choose, symbols_are_learnt_from_all_kinds_of_rows) {
  static const uint32_t rows[] = { 100, 250, 400, 500, 510, 600, 1000, 2000, 3000, 4500, 20000 };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    uint64_t mixed = bytes_of_two_kinds(rows[i], 2);
    for (unsigned order = 0; order < 2; order++) CHECK(bytes_of_two_kinds(rows[i], order) < mixed + mixed / 5);
  }
}

/* The data of an empty text may be NULL: nothing is added to it, which the sanitizers see. */
TEST(choose, empty_texts_without_data_are_sampled) {
  enum { ROWS = 300 };
  Bytes values[ROWS];
  MadeColumn column = { .input = { .type = TYPE_STRING, .row_count = ROWS, .values = values } };
  MadeChunk m;
  for (uint32_t i = 0; i < ROWS; i++)
    values[i] = i % 3 ? (Bytes){ NULL, 0 } : (Bytes){ (const uint8_t *)"alphabet", 8 };
  CHECK(chunk_make(&m, &column, ENCODING_FSST));
  for (uint32_t i = 0; i < ROWS; i++) {
    Value v;
    uint8_t *room;
    get_row(&m.chunk, i, &v, &room);
    CHECK(!v.is_null && bytes_compare(v.s.data, v.s.length, values[i].data, values[i].length) == 0);
    free(room);
  }
  chunk_free(&m);
}

TEST(choose, options_force_and_forbid) {
  uint64_t rng = 2;
  MadeColumn column;
  column_make(&column, &rng, TYPE_I64, SHAPE_STRIDE, 5000, 0);
  uint8_t *out = aligned_alloc(64, round_up(chunk_encode_room(&column.input).out, 64));
  void *scratch = aligned_alloc(64, round_up(chunk_encode_room(&column.input).scratch, 64));
  ChunkResult r;
  ChooseOptions options = { .forbidden = 1u << ENCODING_STRIDE | 1u << ENCODING_DELTA };
  CHECK_OK(chunk_encode(&column.input, &options, out, scratch, &r));
  CHECK_INT(r.encoding, ENCODING_PACKED);
  options.forbidden = UINT32_MAX;
  CHECK_OK(chunk_encode(&column.input, &options, out, scratch, &r));
  CHECK_INT(r.encoding, ENCODING_PLAIN);
  options.forced = ENCODING_BITS;
  CHECK_STATUS(chunk_encode(&column.input, &options, out, scratch, &r), KVSTORE_ERROR);
  options.forced = ENCODING_ZSTD;
  CHECK_STATUS(chunk_encode(&column.input, &options, out, scratch, &r), KVSTORE_ERROR);
  free(out);
  free(scratch);
  column_free(&column);
}

TEST(choose, statistics_are_those_of_the_values) {
  uint64_t rng = 3;
  for (int round = 0; round < 50; round++) {
    for (unsigned type = 0; type < TYPES; type++) {
      MadeColumn c;
      MadeChunk m;
      int64_t low = INT64_MAX, high = INT64_MIN;
      uint32_t nulls = 0;
      column_make(&c, &rng, every_type[type], (Shape)test_random_below(&rng, SHAPES),
                  1 + (uint32_t)test_random_below(&rng, 2000), 30);
      for (uint32_t i = 0; i < c.input.row_count; i++) {
        if (c.nulls[i]) {
          nulls++;
          continue;
        }
        int64_t image = type_image(every_type[type], c.values, i);
        if (image < low) low = image;
        if (image > high) high = image;
      }
      CHECK(chunk_make(&m, &c, ENCODING_NONE));
      CHECK_INT(m.result.stats.null_count, nulls);
      CHECK_INT(m.result.stats.minimum, low);
      CHECK_INT(m.result.stats.maximum, high);
      CHECK_INT(m.chunk.minimum, low);
      CHECK_INT(m.chunk.maximum, high);
      chunk_free(&m);
      column_free(&c);
    }
  }
}

/* Codes of a byte: no symbol is shorter than a byte for each text, so none are learnt. Of longer texts they may pay. */
TEST(choose, symbols_are_not_learnt_beside_a_dictionary_that_they_cannot_beat) {
  enum { ROWS = 65536, VALUES = 200 };
  for (int is_long = 0; is_long < 2; is_long++) {
    char(*texts)[64] = malloc(VALUES * sizeof *texts);
    Bytes *values = malloc(ROWS * sizeof *values);
    uint64_t rng = 11, learnt = counter_get(COUNTER_symbols_learnt);
    for (uint32_t i = 0; i < VALUES; i++)
      (void)snprintf(texts[i], sizeof texts[i], "%03u%s", i, is_long ? " and another text of some forty bytes" : "");
    for (uint32_t i = 0; i < ROWS; i++) {
      const char *text = texts[test_random_below(&rng, VALUES)];
      values[i] = (Bytes){ (const uint8_t *)text, strlen(text) };
    }
    ChunkInput input = { .type = TYPE_STRING, .row_count = ROWS, .values = values };
    ChooseOptions options = { .forbidden = is_long ? 1u << ENCODING_DICTIONARY : 0 };
    uint8_t *out = aligned_alloc(64, round_up(chunk_encode_room(&input).out, 64));
    void *scratch = aligned_alloc(64, round_up(chunk_encode_room(&input).scratch, 64));
    ChunkResult r;
    CHECK_OK(chunk_encode(&input, &options, out, scratch, &r));
    CHECK_INT(r.encoding, is_long ? ENCODING_FSST : ENCODING_DICTIONARY);
    CHECK_INT(counter_get(COUNTER_symbols_learnt) - learnt, is_long);
    free(out);
    free(scratch);
    free(values);
    free(texts);
  }
}

/* More values than the first table of hashes holds: it grows, and none is lost or taken for another. */
TEST(choose, a_dictionary_of_many_values_has_each_of_them_once) {
  enum { ROWS = 65536, VALUES = 15000 };
  int64_t *values = malloc(ROWS * sizeof *values);
  double *floats = malloc(ROWS * sizeof *floats);
  for (uint32_t i = 0; i < ROWS; i++) values[i] = (int64_t)((uint64_t)(i % VALUES) * UINT64_C(0x9e3779b97f4a7c15) >> 1);
  for (uint32_t i = 0; i < ROWS; i++) floats[i] = 1 / (1 + (double)(i % VALUES));
  for (int is_float = 0; is_float < 2; is_float++) {
    ChunkInput input = { .type = is_float ? TYPE_F64 : TYPE_I64, .row_count = ROWS, .values = values };
    if (is_float) input.values = floats;
    ChooseOptions options = { .forced = ENCODING_DICTIONARY };
    uint8_t *out = aligned_alloc(64, round_up(chunk_encode_room(&input).out, 64));
    void *scratch = aligned_alloc(64, round_up(chunk_encode_room(&input).scratch, 64));
    ChunkResult r;
    Chunk chunk;
    CHECK_OK(chunk_encode(&input, &options, out, scratch, &r));
    CHECK_INT(r.stats.distinct_count, VALUES);
    CHECK_OK(chunk_open(out, r.length, ROWS, input.type, &chunk));
    CHECK_OK(chunk_check(&chunk));
    uint64_t decoded[BLOCK_ROWS];
    for (uint32_t b = 0; b < ROWS / BLOCK_ROWS; b++) {
      codec_decode(&chunk, b, decoded, NULL);
      CHECK_BYTES(decoded, (const uint64_t *)input.values + (size_t)b * BLOCK_ROWS, sizeof decoded);
    }
    free(out);
    free(scratch);
  }
  free(values);
  free(floats);
}

/* The bytes of a file do not depend on the processor that wrote them. */
TEST(choose, every_table_of_kernels_writes_the_same_bytes) {
  enum { ROWS = 5000 };
  for (unsigned t = 0; t < TYPES; t++) {
    for (unsigned shape = 0; shape < SHAPES; shape++) {
      for (unsigned nulls = 0; nulls < 60; nulls += 30) {
        uint64_t rng = 1 + shape;
        MadeColumn column;
        MadeChunk expected, chunk;
        column_make(&column, &rng, every_type[t], (Shape)shape, ROWS, nulls);
        simd_force(simd_table(SIMD_SCALAR));
        CHECK(chunk_make(&expected, &column, ENCODING_NONE));
        for (int level = SIMD_AVX2; level < SIMD_LEVELS; level++) {
          if (!simd_table((SimdLevel)level)) continue;
          simd_force(simd_table((SimdLevel)level));
          CHECK(chunk_make(&chunk, &column, ENCODING_NONE));
          CHECK_INT(chunk.result.length, expected.result.length);
          CHECK_BYTES(chunk.bytes, expected.bytes, expected.result.length);
          chunk_free(&chunk);
        }
        chunk_free(&expected);
        column_free(&column);
      }
    }
  }
  simd_force(NULL);
}
