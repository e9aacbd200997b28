/* Every codec with every type: bits come back, filters agree with compare_value row by row, aggregates with plain
 * loops. */
#include "encodings/codec.h"

#include "tests/encodings/column_maker.h"

typedef void ColumnTest(const MadeColumn *column, MadeChunk *chunk, uint64_t *rng);

/* How often each pair of type and encoding was reached. */
static unsigned reached[TYPES][ENCODING_LAST + 1];

static uint32_t random_rows(uint64_t *rng) {
  static const uint32_t rows[] = { 1, 2, 63, 64, 1000, 1023, 1024, 1025, 2048, 3000 };
  uint64_t r = test_random(rng);
  return r % 40 == 0 ? 65536 : r % 3 == 0 ? 1 + (uint32_t)(r / 64 % 5000) : rows[r / 64 % 10];
}

static void with_column(unsigned type, uint64_t *rng, ColumnTest *test) {
  static const unsigned null_percents[] = { 0, 0, 10, 97, 100 };
  for (int shape = 0; shape < SHAPES; shape++) {
    MadeColumn column;
    uint32_t rows = random_rows(rng);
    unsigned nulls = null_percents[test_random_below(rng, 5)];
    if (shape == SHAPE_STRIDE) { /* there is none with nulls, or of one row */
      rows += rows == 1;
      nulls = 0;
    }
    column_make(&column, rng, every_type[type], (Shape)shape, rows, nulls);
    for (uint32_t encoding = 0; encoding <= ENCODING_LAST; encoding++) {
      MadeChunk chunk;
      simd_force(random_table(rng));
      if (!chunk_make(&chunk, &column, encoding)) continue;
      simd_force(random_table(rng));
      reached[type][chunk.result.encoding]++;
      test(&column, &chunk, rng);
      chunk_free(&chunk);
    }
    column_free(&column);
  }
}

static void on_every_column(uint64_t rounds, ColumnTest *test) {
  uint64_t rng = 11;
  for (uint64_t i = 0; i < test_scaled(rounds) || i < 1; i++) {
    for (unsigned type = 0; type < TYPES; type++) with_column(type, &rng, test);
  }
  simd_force(NULL);
}

/* ---- values ---- */

static void check_same(const MadeColumn *c, const void *decoded, uint32_t i, uint32_t row) {
  ColumnType type = c->input.type;
  if (type_is_string(type)) {
    Bytes got = ((const Bytes *)decoded)[i], want = c->nulls[row] ? (Bytes){ 0 } : ((const Bytes *)c->values)[row];
    CHECK_INT(got.length, want.length);
    if (got.length) CHECK_BYTES(got.data, want.data, got.length);
    return;
  }
  size_t width = type_array_width(type);
  static const uint64_t zero = 0;
  const void *want = c->nulls[row] ? (const void *)&zero : c->values + row * width;
  CHECK_BYTES((const uint8_t *)decoded + i * width, want, width);
}

static void check_decode(const MadeColumn *c, MadeChunk *m, uint64_t *rng) {
  (void)rng;
  const Chunk *chunk = &m->chunk;
  Bytes *room = malloc(BLOCK_ROWS * sizeof *room); /* for the widest values */
  uint8_t *values = (uint8_t *)room, nulls[BLOCK_ROWS];
  uint32_t null_count = 0;
  CHECK_INT(chunk->block_count, (c->input.row_count + 1023) / 1024);
  for (uint32_t b = 0; b < chunk->block_count; b++) {
    uint64_t valid[BLOCK_WORDS];
    uint8_t *made;
    decode_block(chunk, b, values, nulls, &made);
    chunk_validity(chunk, b, valid);
    for (uint32_t i = 0; i < BLOCK_ROWS; i++) {
      uint32_t row = b * BLOCK_ROWS + i;
      bool exists = row < c->input.row_count;
      CHECK_INT(bit_get(valid, i), exists && !c->nulls[row]);
      if (!exists) continue;
      CHECK_INT(nulls[i], c->nulls[row]);
      null_count += nulls[i];
      check_same(c, values, i, row);
    }
    free(made);
  }
  CHECK_INT(chunk->null_count, null_count);
  CHECK_INT(m->result.stats.null_count, null_count);
  free(values);
}
TEST(codec, decode_gives_back_every_bit) {
  on_every_column(5, check_decode);
  for (unsigned t = 0; t < TYPES; t++) {
    bool packable = !type_is_string(every_type[t]) && !type_is_float(every_type[t]);
    CHECK(reached[t][ENCODING_CONSTANT] > 0);
    CHECK(reached[t][ENCODING_PLAIN] > 0);
    CHECK(reached[t][ENCODING_DICTIONARY] > 0);
    CHECK_INT(reached[t][ENCODING_PACKED] > 0, packable);
    if (packable && type_array_width(every_type[t]) >= 4) CHECK(reached[t][ENCODING_STRIDE] > 0); /* short ones wrap */
    if (!packable || every_type[t] == TYPE_BOOL) CHECK_INT(reached[t][ENCODING_STRIDE], 0);
    for (uint32_t e = 1; e <= ENCODING_LAST; e++) CHECK(!reached[t][e] || encoding_takes(e, every_type[t]));
    CHECK_INT(reached[t][ENCODING_BITS] > 0, every_type[t] == TYPE_BOOL);
    CHECK_INT(reached[t][ENCODING_RUN_LENGTH] > 0, !type_is_string(every_type[t]));
    CHECK_INT(reached[t][ENCODING_ALP] > 0, type_is_float(every_type[t]));
    CHECK_INT(reached[t][ENCODING_ALP_RD] > 0, type_is_float(every_type[t]));
    bool texts = every_type[t] == TYPE_STRING || every_type[t] == TYPE_BYTES;
    CHECK_INT(reached[t][ENCODING_FSST] > 0, texts);
    CHECK_INT(reached[t][ENCODING_FRONT_CODED] > 0, texts);
    CHECK_INT(reached[t][ENCODING_ZSTD] > 0, texts);
    CHECK_INT(reached[t][ENCODING_DELTA] > 0, packable && every_type[t] != TYPE_BOOL);
  }
}

static void check_get(const MadeColumn *c, MadeChunk *m, uint64_t *rng) {
  for (unsigned i = 0; i < 200; i++) {
    uint32_t row = (uint32_t)test_random_below(rng, c->input.row_count);
    Value got, want = column_value(c, row);
    uint8_t *made;
    get_row(&m->chunk, row, &got, &made);
    CHECK_INT(got.type, c->input.type);
    CHECK_INT(got.is_null, want.is_null);
    if (want.is_null) {
      free(made);
      continue;
    }
    if (type_is_string(c->input.type)) {
      CHECK_INT(got.s.length, want.s.length);
      if (got.s.length) CHECK_BYTES(got.s.data, want.s.data, got.s.length);
    } else {
      CHECK_BYTES(&got.u, &want.u, 8);
    }
    free(made);
  }
}
TEST(codec, get_reads_one_row) { on_every_column(2, check_get); }

/* Every third row or so of each block, with the last one. */
static void check_gather(const MadeColumn *c, MadeChunk *m, uint64_t *rng) {
  const Chunk *chunk = &m->chunk;
  if (type_is_string(c->input.type)) return;
  for (uint32_t b = 0; b < chunk->block_count; b++) {
    uint64_t values[BLOCK_ROWS], before = counter_get(COUNTER_blocks_gathered);
    uint8_t nulls[BLOCK_ROWS];
    uint16_t rows[BLOCK_ROWS];
    uint32_t count = 0, last = chunk_block_rows(chunk, b) - 1;
    for (uint32_t i = 0; i <= last; i++) {
      if (i == last || test_random_below(rng, 3) == 0) rows[count++] = (uint16_t)i;
    }
    codec_gather(chunk, b, rows, count, values, nulls);
    CHECK_INT(counter_get(COUNTER_blocks_gathered), before + 1);
    for (uint32_t i = 0; i < count; i++) {
      CHECK_INT(nulls[i], c->nulls[b * BLOCK_ROWS + rows[i]]);
      check_same(c, values, i, b * BLOCK_ROWS + rows[i]);
    }
  }
}
TEST(codec, gathers_some_rows_of_a_block) { on_every_column(2, check_gather); }

static void check_codes(const MadeColumn *c, MadeChunk *m, uint64_t *rng) {
  (void)rng;
  if (m->chunk.encoding != ENCODING_DICTIONARY) return;
  for (uint32_t code = 1; code < m->chunk.dictionary_count; code++) {
    Value a, b;
    codec_code_value(&m->chunk, code - 1, &a);
    codec_code_value(&m->chunk, code, &b);
    CHECK(value_compare(&a, &b) <= 0);
  }
  for (uint32_t block = 0; block < m->chunk.block_count; block++) {
    uint16_t codes[BLOCK_ROWS];
    codec_codes(&m->chunk, block, codes);
    for (uint32_t i = 0; i < chunk_block_rows(&m->chunk, block); i++) {
      Value want = column_value(c, block * BLOCK_ROWS + i), got;
      codec_code_value(&m->chunk, codes[i], &got);
      if (want.is_null)
        CHECK_INT(codes[i], 0);
      else
        CHECK_INT(value_compare(&got, &want), 0);
    }
  }
}
TEST(codec, codes_ascend_with_their_values) { on_every_column(2, check_codes); }

/* ---- filters ---- */

static void check_block_mask(const MadeColumn *c, const Compare *compare, uint32_t block, const uint64_t *before,
                             const uint64_t *after) {
  for (uint32_t i = 0; i < BLOCK_ROWS; i++) {
    uint32_t row = block * BLOCK_ROWS + i;
    bool matches = false;
    if (row < c->input.row_count) {
      Value v = column_value(c, row);
      matches = compare_value(compare, &v);
    }
    CHECK_INT(bit_get(after, i), bit_get(before, i) && matches);
  }
}

static void check_positions(const CodecFilter *f, uint32_t block, const uint64_t *before, const uint64_t *after) {
  uint16_t positions[BLOCK_ROWS];
  uint32_t count = 0, kept = 0;
  for (uint32_t i = 0; i < BLOCK_ROWS; i++) {
    if (bit_get(before, i)) positions[count++] = (uint16_t)i;
  }
  count = codec_filter_positions(f, block, positions, count);
  for (uint32_t i = 0; i < BLOCK_ROWS; i++) {
    if (!bit_get(after, i)) continue;
    CHECK(kept < count);
    CHECK_INT(positions[kept++], i);
  }
  CHECK_INT(kept, count);
}

/* A zone verdict may be careful, never wrong. */
static void check_zones(const MadeColumn *c, const CodecFilter *f, const Compare *compare) {
  uint64_t maybe, certain;
  codec_filter_zones(f, &maybe, &certain);
  CHECK((certain & ~maybe) == 0);
  for (uint32_t b = 0; b < f->chunk->block_count; b++) {
    uint32_t rows = chunk_block_rows(f->chunk, b), matches = 0;
    for (uint32_t i = 0; i < rows; i++) {
      Value v = column_value(c, b * BLOCK_ROWS + i);
      matches += compare_value(compare, &v);
    }
    if (matches) CHECK(maybe >> b & 1);
    if (certain >> b & 1) CHECK_INT(matches, rows);
    if (chunk_block_null_count(f->chunk, b) == rows && compare->kind != COMPARE_KIND_NULL) CHECK(!(maybe >> b & 1));
  }
}

static void check_filter(const MadeColumn *c, MadeChunk *m, uint64_t *rng) {
  static uint64_t masks[SEGMENT_BLOCKS][BLOCK_WORDS], before[SEGMENT_BLOCKS][BLOCK_WORDS];
  uint64_t scratch[CODEC_FILTER_SCRATCH / 8];
  for (unsigned round = 0; round < 6; round++) {
    Value constants[CONSTANTS_MAX];
    Bytes memory[CONSTANTS_ROOM];
    Compare compare;
    CodecFilter filter;
    uint64_t blocks = test_random(rng) | 1;
    compare_make(&compare, c, rng, constants, memory);
    memset(scratch, 0x77, sizeof scratch);
    codec_filter_prepare(&filter, &m->chunk, &compare, scratch);
    if (m->chunk.block_count < 64) blocks &= (UINT64_C(1) << m->chunk.block_count) - 1;
    if (m->chunk.block_count > 8) blocks &= test_random(rng) & test_random(rng);
    for (uint32_t b = 0; b < m->chunk.block_count; b++) random_mask(rng, before[b], chunk_block_rows(&m->chunk, b));
    memcpy(masks, before, sizeof masks);
    codec_filter_blocks(&filter, blocks, masks);
    for (uint32_t b = 0; b < m->chunk.block_count; b++) {
      uint64_t one[BLOCK_WORDS];
      if (!(blocks >> b & 1)) {
        CHECK_BYTES(masks[b], before[b], sizeof masks[b]);
        continue;
      }
      check_block_mask(c, &compare, b, before[b], masks[b]);
      memcpy(one, before[b], sizeof one);
      codec_filter_block(&filter, b, one);
      CHECK_BYTES(one, masks[b], sizeof one);
      check_positions(&filter, b, before[b], masks[b]);
    }
    check_zones(c, &filter, &compare);
  }
}
TEST(codec, filter_agrees_with_compare_value_row_by_row) { on_every_column(3, check_filter); }

/* Texts of 0 to 90 bytes that differ in one byte at most, wherever it lies, and in their length: those that a filter by
 * first or last bytes might take for each other. */
static void make_look_alikes(MadeColumn *c, uint64_t *rng) {
  for (uint32_t i = 0; i < c->input.row_count; i++) {
    if (c->nulls[i]) continue;
    size_t length = test_random_below(rng, 4) ? 60 + test_random_below(rng, 3) : test_random_below(rng, 91);
    char *text = c->texts[i] = realloc(c->texts[i], length + 1);
    for (size_t at = 0; at < length; at++) text[at] = (char)('a' + at % 23);
    if (length && test_random(rng) & 1) text[test_random_below(rng, length)] = '-';
    ((Bytes *)c->values)[i] = (Bytes){ (const uint8_t *)text, length };
  }
}

TEST(codec, texts_that_look_alike_are_told_apart_at_any_length) {
  static const uint32_t encodings[] = { ENCODING_PLAIN, ENCODING_FSST, ENCODING_FRONT_CODED, ENCODING_DICTIONARY,
                                        ENCODING_ZSTD };
  uint64_t rng = 5;
  for (uint64_t round = 0; round < test_scaled(6) || round < 2; round++) {
    MadeColumn column;
    column_make(&column, &rng, round % 2 ? TYPE_BYTES : TYPE_STRING, SHAPE_SMALL, 1000 + (uint32_t)round * 70,
                round % 3 ? 0 : 10);
    make_look_alikes(&column, &rng);
    for (unsigned i = 0; i < sizeof encodings / sizeof *encodings; i++) {
      MadeChunk chunk;
      CHECK(chunk_make(&chunk, &column, encodings[i]));
      for (unsigned again = 0; again < 3; again++) check_filter(&column, &chunk, &rng);
      chunk_free(&chunk);
    }
    column_free(&column);
  }
}

/* The order of docs/semantics.md, written once more: -0.0 is 0.0, every NaN one value above infinity. */
static int float_order(double a, double b) {
  if (a != a || b != b) return (a != a) - (b != b);
  return (a > b) - (a < b);
}

static bool float_matches(CompareOperator op, double a, double b) {
  int order = float_order(a, b);
  switch (op) {
  case COMPARE_EQUAL: return order == 0;
  case COMPARE_NOT_EQUAL: return order != 0;
  case COMPARE_LESS: return order < 0;
  case COMPARE_LESS_EQUAL: return order <= 0;
  case COMPARE_GREATER: return order > 0;
  default: return order >= 0;
  }
}

static double double_of_bits(uint64_t bits) {
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* Decimals of `digits` digits behind the point, with what no decimal is among them. */
static void fill_decimals(double *values, uint32_t rows, unsigned digits, uint64_t *rng) {
  static const uint64_t odd[] = { UINT64_C(0x8000000000000000), UINT64_C(0x7ff8000000abcdef),
                                  UINT64_C(0xfff0000000000001), UINT64_C(0x7ff0000000000000),
                                  UINT64_C(0xfff0000000000000), 1 };
  double tens = 1;
  for (unsigned i = 0; i < digits; i++) tens *= 10;
  for (uint32_t i = 0; i < rows; i++) {
    values[i] = ((double)test_random_below(rng, 4000) - 2000) / tens;
    if (test_random_below(rng, 40) == 0) values[i] = double_of_bits(odd[test_random_below(rng, 6)]);
    if (test_random_below(rng, 90) == 0) values[i] = 1.0 / 3 + (double)i;
  }
}

/* Beside each value, on it, and far off: a constant mapped into the integers a step wrong would show here. */
TEST(codec, filters_on_decimals_are_exact_beside_every_value) {
  enum { ROWS = 2300, FORMS = 2 };
  static const uint32_t forms[FORMS] = { ENCODING_ALP, ENCODING_ALP_RD };
  double *values = malloc(ROWS * sizeof *values);
  uint64_t rng = 77, scratch[CODEC_FILTER_SCRATCH / 8];
  MadeColumn column = { .input = { .type = TYPE_F64, .row_count = ROWS, .values = values } };
  for (unsigned digits = 0; digits < 8; digits++) {
    fill_decimals(values, ROWS, digits, &rng);
    for (unsigned form = 0; form < FORMS; form++) {
      MadeChunk made;
      CHECK(chunk_make(&made, &column, forms[form]));
      for (uint64_t round = 0; round < test_scaled(100); round++) {
        double near = values[test_random_below(&rng, ROWS)], bounds[] = { -INFINITY, INFINITY, NAN, -0.0, 1e300 };
        if (round % 4 == 1) near = nextafter(near, INFINITY);
        if (round % 4 == 2) near = nextafter(near, -INFINITY);
        if (round % 16 == 3) near = bounds[test_random_below(&rng, 5)];
        CompareOperator op = (CompareOperator)test_random_below(&rng, COMPARE_GREATER_EQUAL + 1);
        Value constant = { .type = TYPE_F64, .f = near };
        Compare compare;
        CodecFilter filter;
        simd_force(random_table(&rng));
        CHECK_OK(compare_bind(TYPE_F64, op, &constant, 1, NULL, &compare));
        codec_filter_prepare(&filter, &made.chunk, &compare, scratch);
        for (uint32_t block = 0; block < made.chunk.block_count; block++) {
          uint64_t mask[BLOCK_WORDS];
          uint32_t rows = chunk_block_rows(&made.chunk, block);
          bitmap_fill_first(mask, BLOCK_WORDS, rows);
          codec_filter_block(&filter, block, mask);
          for (uint32_t i = 0; i < rows; i++) {
            CHECK_INT(bit_get(mask, i), float_matches(op, values[block * BLOCK_ROWS + i], near));
          }
        }
      }
      chunk_free(&made);
    }
  }
  simd_force(NULL);
  free(values);
}

/* ---- aggregates ---- */

typedef struct Oracle {
  uint64_t count;
  __int128 sum;
  double lanes[8];
  Value minimum, maximum;
} Oracle;

static void oracle_add(Oracle *o, ColumnType type, uint32_t i, Value v) {
  if (v.is_null) return;
  if (type_is_float(type))
    o->lanes[i % 8] += v.f;
  else if (!type_is_string(type))
    o->sum += type >= TYPE_U8 && type <= TYPE_U64 ? (__int128)v.u : (__int128)v.i;
  if (o->count == 0 || value_compare(&v, &o->minimum) < 0) o->minimum = v;
  if (o->count == 0 || value_compare(&v, &o->maximum) > 0) o->maximum = v;
  o->count++;
}

static void check_state(const AggregateState *s, const Oracle *o) {
  CHECK_INT(s->count, o->count);
  Value low = aggregate_minimum(s), high = aggregate_maximum(s);
  CHECK_INT(low.is_null, o->count == 0);
  CHECK_INT(high.is_null, o->count == 0);
  if (!type_is_float(s->type)) {
    CHECK_INT(s->sum.low, (uint64_t)o->sum);
    CHECK_INT(s->sum.high, (int64_t)(o->sum >> 64));
  }
  for (unsigned i = 0; i < 8; i++) {
    if (o->lanes[i] == o->lanes[i])
      CHECK_BYTES(&s->lanes[i], &o->lanes[i], 8);
    else
      CHECK(s->lanes[i] != s->lanes[i]);
  }
  if (!o->count) return;
  CHECK_INT(value_compare(&low, &o->minimum), 0);
  CHECK_INT(value_compare(&high, &o->maximum), 0);
}

static void check_aggregate(const MadeColumn *c, MadeChunk *m, uint64_t *rng) {
  static uint64_t masks[SEGMENT_BLOCKS][BLOCK_WORDS];
  static uint8_t *made[SEGMENT_BLOCKS];
  enum { EVERYTHING = AGGREGATE_COUNT | AGGREGATE_SUM | AGGREGATE_MIN | AGGREGATE_MAX };
  for (unsigned round = 0; round < 4; round++) {
    AggregateState all, one_by_one, by_value;
    Oracle oracle = { 0 };
    ColumnType type = c->input.type;
    uint64_t blocks = m->chunk.block_count == 64 ? UINT64_MAX : (UINT64_C(1) << m->chunk.block_count) - 1;
    aggregate_init(&all, type, EVERYTHING);
    aggregate_init(&one_by_one, type, EVERYTHING);
    aggregate_init(&by_value, type, EVERYTHING);
    for (uint32_t b = 0; b < m->chunk.block_count; b++) {
      uint32_t rows = chunk_block_rows(&m->chunk, b);
      if (round)
        random_mask(rng, masks[b], rows);
      else
        bitmap_fill_first(masks[b], BLOCK_WORDS, BLOCK_ROWS);
      aggregate_rows(&m->chunk, b, round ? masks[b] : NULL, &one_by_one, &made[b]);
      for (uint32_t i = 0; i < rows; i++) {
        if (!bit_get(masks[b], i)) continue;
        oracle_add(&oracle, type, i, column_value(c, b * BLOCK_ROWS + i));
        if (codec_get_room(&m->chunk)) continue; /* its strings would go with the room */
        Value v;
        codec_get(&m->chunk, b * BLOCK_ROWS + i, &v);
        aggregate_value(&by_value, i, &v);
      }
    }
    check_state(&one_by_one, &oracle);
    if (!codec_get_room(&m->chunk)) {
      codec_aggregate_blocks(&m->chunk, blocks, round ? masks : NULL, &all);
      check_state(&all, &oracle);
      check_state(&by_value, &oracle);
    }
    for (uint32_t b = 0; b < m->chunk.block_count; b++) free(made[b]);
    if (type_is_float(type)) {
      double a = aggregate_float_sum(&all), b = aggregate_float_sum(&by_value);
      CHECK_BYTES(&a, &b, 8);
    }
  }
}
TEST(codec, aggregates_agree_with_plain_loops) { on_every_column(2, check_aggregate); }

TEST(codec, aggregates_merge) {
  AggregateState a, b;
  Value three = { .type = TYPE_I64, .i = 3 }, minus = { .type = TYPE_I64, .i = -9 }, low, high;
  aggregate_init(&a, TYPE_I64, AGGREGATE_SUM | AGGREGATE_MIN | AGGREGATE_MAX);
  aggregate_init(&b, TYPE_I64, AGGREGATE_SUM | AGGREGATE_MIN | AGGREGATE_MAX);
  aggregate_value(&a, 0, &three);
  aggregate_merge(&a, &b);
  CHECK_INT(a.count, 1);
  aggregate_value(&b, 1, &minus);
  aggregate_merge(&a, &b);
  low = aggregate_minimum(&a);
  high = aggregate_maximum(&a);
  CHECK_INT(a.count, 2);
  CHECK_INT((int64_t)a.sum.low, -6);
  CHECK_INT(a.sum.high, -1);
  CHECK_INT(low.i, -9);
  CHECK_INT(high.i, 3);
}

/* ---- what ran ---- */

TEST(codec, every_table_runs_and_is_counted) {
  static const Counter counters[] = { COUNTER_kernel_scalar, COUNTER_kernel_avx2, COUNTER_kernel_avx512 };
  uint64_t rng = 3, scratch[CODEC_FILTER_SCRATCH / 8], masks[3][BLOCK_WORDS];
  MadeColumn column;
  MadeChunk chunk;
  Compare compare;
  CodecFilter filter;
  Value limit = { .type = TYPE_I64, .i = 25 };
  column_make(&column, &rng, TYPE_I64, SHAPE_SMALL, 3000, 0);
  CHECK(chunk_make(&chunk, &column, ENCODING_PACKED));
  CHECK_OK(compare_bind(TYPE_I64, COMPARE_LESS, &limit, 1, NULL, &compare));
  for (int level = 0; level < SIMD_LEVELS; level++) {
    if (!simd_table((SimdLevel)level)) continue;
    simd_force(simd_table((SimdLevel)level));
    uint64_t before = counter_get(counters[level]);
    codec_filter_prepare(&filter, &chunk.chunk, &compare, scratch);
    codec_filter_blocks(&filter, 7, masks);
    CHECK_INT(counter_get(counters[level]), before + 3);
  }
  simd_force(NULL);
  chunk_free(&chunk);
  column_free(&column);
}

TEST(codec, names_and_numbers) {
  CHECK_STR(encoding_name(ENCODING_PACKED), "packed");
  CHECK_STR(encoding_name(ENCODING_ARRAY + 1), "?");
  CHECK(codec_by_id(0) == NULL && codec_by_id(255) == NULL);
  for (uint32_t i = ENCODING_CONSTANT; i <= ENCODING_ARRAY; i++) CHECK_INT(codec_by_id(i)->id, i);
}
