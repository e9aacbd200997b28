/* fuzz_chunk.c - a column of any values in every encoding that holds it: all of it comes back, by block and by row, and
 * filters and aggregates say what plain loops say. Then the bytes of one of these chunks are changed: it is refused, or
 * it is a chunk of other values, which all ways of reading agree on, without a step outside it.
 *
 * Input: type | encoding, the number above the last: every one | rows u16, few unless its highest bit is set | shape,
 * its bits 5 and 6: nulls by words, by blocks | percent of nulls | step | constant u16 | how many bytes make the values
 * u16 | these | changes, three bytes each: place (u16) from the start or, when it is odd, from the data on, and what to
 * put there. What is missing is zero. */
#include <stdio.h>
#include <stdlib.h>

#include "base/bitmap.h"
#include "encodings/array.h"
#include "encodings/choose.h"
#include "simd/simd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROWS_FEW = 200, ROWS_MAX = 2500, TEXT_MAX = 300, CHANGES_MAX = 64 };

#define must(condition) ((condition) ? (void)0 : broken(__LINE__, #condition))
static _Noreturn void broken(int line, const char *promise) {
  fprintf(stderr, "line %d: %s; the last message: %s\n", line, promise, status_last()->text);
  abort();
}

/* ---- the column ---- */

typedef struct FuzzColumn {
  ChunkInput input;
  uint8_t *values, *nulls, *texts;
  Value constant; /* for filters */
} FuzzColumn;

static void *take_memory(size_t length) {
  void *memory = aligned_alloc(64, round_up(length + 1, 64));
  if (!memory) abort();
  return memory;
}

/* Bytes of the input, over and over. */
typedef struct Source {
  Bytes bytes;
  size_t at;
} Source;
static uint8_t source_byte(Source *s) { return s->bytes.length ? s->bytes.data[s->at++ % s->bytes.length] : 0; }
static uint64_t source_word(Source *s, unsigned width) {
  uint64_t word = 0;
  for (unsigned i = 0; i < width; i++) word |= (uint64_t)source_byte(s) << (8 * i);
  return word;
}

/* A text of the type: characters of one byte and of two where it must be UTF-8. */
static Bytes make_text(const ChunkInput *in, Source *s, uint8_t *room) {
  size_t length = 0, wanted = type_is_fixed(in->type) ? in->width : source_byte(s);
  while (length < wanted) {
    uint8_t byte = source_byte(s);
    if (in->type == TYPE_STRING && byte >= 0x80) {
      if (length + 2 > wanted)
        byte &= 0x7f;
      else
        room[length++] = (uint8_t)(0xc4 | (byte >> 6 & 1));
      if (byte & 0x80) byte &= 0xbf;
    }
    room[length++] = byte;
  }
  return (Bytes){ room, length };
}

/* By shape: anew each row, the same for some rows, or going up by the step. */
static void make_values(FuzzColumn *c, Source s, unsigned shape, unsigned step) {
  ChunkInput *in = &c->input;
  size_t width = type_array_width(in->type);
  uint64_t number = 0;
  uint8_t *room = c->texts;
  Bytes text = { room, 0 };
  for (uint32_t i = 0; i < in->row_count; i++) {
    bool is_new = i == 0 || shape % 4 == 0 || i % (1 + step) == 0;
    if (type_is_string(in->type)) {
      if (is_new) text = make_text(in, &s, room);
      if (is_new) room += text.length;
      ((Bytes *)(void *)c->values)[i] = text;
      continue;
    }
    if (is_new && shape % 4 != 2) number = source_word(&s, shape & 8 ? 1 : (unsigned)width);
    if (shape % 4 == 2) number += step + (shape & 4 ? source_byte(&s) : 0);
    if (in->type == TYPE_BOOL) number &= 1;
    if (in->type == TYPE_TIME) number %= UINT64_C(86400000000);
    if (type_is_decimal(in->type)) number = (uint64_t)((int64_t)number % decimal_unit(DECIMAL_SCALE_MAX));
    if (in->type == TYPE_F64 && shape & 16) {
      double decimal = (double)(int64_t)(number % 1000000) / 100;
      memcpy(c->values + i * width, &decimal, width);
    } else {
      memcpy(c->values + i * width, &number, width);
    }
  }
}

static ColumnType type_of(unsigned byte) {
  static const ColumnType types[] = { TYPE_BOOL,   TYPE_I8,    TYPE_I16,       TYPE_I32,        TYPE_I64, TYPE_U8,
                                      TYPE_U16,    TYPE_U32,   TYPE_U64,       TYPE_F32,        TYPE_F64, TYPE_DATE,
                                      TYPE_STRING, TYPE_BYTES, TYPE_TIMESTAMP, TYPE_FIXED_BYTES };
  static const ColumnType others[] = { TYPE_TIMESTAMP, TYPE_TIME, TYPE_DURATION, TYPE_DECIMAL + 2 };
  ColumnType type = types[byte % (sizeof types / sizeof *types)];
  unsigned which = byte / (sizeof types / sizeof *types);
  if (type == TYPE_FIXED_BYTES && which == UUID_BYTES - 1) return TYPE_UUID; /* as wide as it would be */
  return type == TYPE_TIMESTAMP ? others[which % (sizeof others / sizeof *others)] : type;
}

static void make_column(FuzzColumn *c, Reader *in, uint8_t type_byte) {
  c->input.type = type_of(type_byte);
  c->input.width = type_is_fixed(c->input.type) ? 1 + type_byte / 16 : 0;
  uint32_t rows = reader_u16(in);
  c->input.row_count = 1 + rows % (rows >> 15 ? ROWS_MAX : ROWS_FEW);
  unsigned shape = reader_u8(in), null_percent = reader_u8(in) % 128, step = reader_u8(in);
  uint32_t constant_row = reader_u16(in) % c->input.row_count;
  size_t length = reader_u16(in);
  in->failed = false;
  if (length > reader_left(in)) length = reader_left(in);
  Source source = { { reader_take(in, length), length }, 0 };
  c->values = take_memory(c->input.row_count * sizeof(Bytes));
  c->nulls = take_memory(c->input.row_count);
  c->texts = take_memory((size_t)c->input.row_count * TEXT_MAX);
  make_values(c, source, shape, step);
  uint32_t together = shape & 64 ? BLOCK_ROWS : shape & 32 ? 64 : 1; /* rows that are null or not together */
  for (uint32_t i = 0; i < c->input.row_count; i++)
    c->nulls[i] = null_percent && (i / together * 2654435761u >> 8) % 100 < null_percent;
  c->input.values = c->values;
  c->input.nulls = null_percent ? c->nulls : NULL;
  c->constant = value_from_array(c->input.type, c->values, constant_row);
}

/* ---- reading it, in every way ---- */

/* A block's values by decoding; what else is read must agree. */
typedef struct Decoded {
  Bytes values[BLOCK_ROWS]; /* room for any type */
  uint8_t nulls[BLOCK_ROWS], *room;
} Decoded;

static Value decoded_value(const Chunk *c, const Decoded *d, uint32_t i) {
  if (d->nulls[i]) return (Value){ .type = c->type, .is_null = true };
  return value_from_array(c->type, d->values, i);
}

static bool same_value(const Value *a, const Value *b) {
  if (a->is_null || b->is_null) return a->is_null == b->is_null;
  if (!type_is_string(a->type)) return memcmp(&a->u, &b->u, sizeof a->u) == 0;
  return a->s.length == b->s.length && (!a->s.length || !memcmp(a->s.data, b->s.data, a->s.length));
}

static void read_rows(const Chunk *c, uint32_t block, const Decoded *d) {
  uint8_t *room = take_memory(codec_get_room(c));
  for (uint32_t i = 0; i < chunk_block_rows(c, block); i += 1 + i / 40) {
    Value got, want = decoded_value(c, d, i);
    codec_get_into(c, block * BLOCK_ROWS + i, &got, room);
    must(same_value(&got, &want));
  }
  free(room);
}

static void filter_block(const Chunk *c, uint32_t block, const Decoded *d, const Compare *compare) {
  uint64_t scratch[CODEC_FILTER_SCRATCH / 8], before[BLOCK_WORDS], mask[BLOCK_WORDS], maybe, certain;
  uint16_t positions[BLOCK_ROWS];
  uint32_t rows = chunk_block_rows(c, block), count = 0, kept = 0;
  CodecFilter filter;
  codec_filter_prepare(&filter, c, compare, scratch);
  codec_filter_zones(&filter, &maybe, &certain);
  bitmap_fill_first(before, BLOCK_WORDS, rows);
  for (unsigned w = 1; w < BLOCK_WORDS; w += 2) before[w] &= UINT64_C(0x8421084210842109);
  memcpy(mask, before, sizeof mask);
  codec_filter_block(&filter, block, mask);
  for (uint32_t i = 0; i < rows; i++) {
    Value v = decoded_value(c, d, i);
    bool matches = compare_value(compare, &v);
    must(bit_get(mask, i) == (bit_get(before, i) && matches));
    if (matches) must(maybe >> block & 1);
    if (!matches) must(!(certain >> block & 1));
    if (bit_get(before, i) && i % 5 == 0) positions[count++] = (uint16_t)i;
  }
  count = codec_filter_positions(&filter, block, positions, count);
  for (uint32_t i = 0; i < rows; i += 5) kept += bit_get(mask, i);
  must(kept == count);
}

static void filter_with(const Chunk *c, uint32_t block, const Decoded *d, CompareOperator op, const Value *constants,
                        size_t count) {
  Compare compare;
  Bytes memory[4];
  must(compare_bind(c->type, op, constants, count, memory, &compare) == KVSTORE_OK);
  filter_block(c, block, d, &compare);
}

static void filter_all(const Chunk *c, uint32_t block, const Decoded *d, const Value *constant) {
  Value first = decoded_value(c, d, 0), two[] = { *constant, first };
  for (CompareOperator op = COMPARE_EQUAL; op <= COMPARE_GREATER_EQUAL; op++) filter_with(c, block, d, op, constant, 1);
  filter_with(c, block, d, COMPARE_IN, two, 2);
  filter_with(c, block, d, COMPARE_NOT_IN, two, 2);
  filter_with(c, block, d, COMPARE_BETWEEN, two, 2);
  filter_with(c, block, d, COMPARE_IS_NULL, NULL, 0);
  if (!type_is_string(c->type)) return;
  Value prefix = *constant;
  prefix.s.length -= prefix.s.length / 3;
  filter_with(c, block, d, COMPARE_PREFIX, &prefix, 1);
  filter_with(c, block, d, COMPARE_NOT_PREFIX, &prefix, 1);
}

/* On a chunk that passed whole: then zones are no wider than the values. */
static void aggregate_block(const Chunk *c, uint32_t block, const Decoded *d) {
  AggregateState got, want;
  uint32_t wanted = AGGREGATE_COUNT | AGGREGATE_MIN | AGGREGATE_MAX;
  uint64_t mask[BLOCK_WORDS];
  if (codec_get_room(c)) return;
  if (!type_is_string(c->type)) wanted |= AGGREGATE_SUM;
  bitmap_fill_first(mask, BLOCK_WORDS, chunk_block_rows(c, block));
  for (unsigned w = 0; w < BLOCK_WORDS; w += 1 + block % 3) mask[w] &= UINT64_C(0xf731f731f731f731);
  aggregate_init(&got, c->type, wanted);
  aggregate_init(&want, c->type, wanted);
  codec_aggregate(c, block, mask, &got);
  array_aggregate(c->type, d->values, d->nulls, chunk_block_rows(c, block), mask, &want);
  must(got.count == want.count && got.sum.low == want.sum.low && got.sum.high == want.sum.high);
  double x = aggregate_float_sum(&got), y = aggregate_float_sum(&want);
  must(memcmp(&x, &y, sizeof x) == 0);
  Value least[] = { aggregate_minimum(&got), aggregate_minimum(&want) };
  Value most[] = { aggregate_maximum(&got), aggregate_maximum(&want) };
  must(same_value(&least[0], &least[1]) && same_value(&most[0], &most[1]));
}

static void decode(const Chunk *c, uint32_t block, Decoded *d) {
  d->room = take_memory(codec_decode_room(c, block));
  codec_decode_into(c, block, d->values, d->nulls, d->room);
}

static void read_block(const Chunk *c, uint32_t block, const Value *constant, bool is_whole) {
  Decoded *d = take_memory(sizeof *d);
  decode(c, block, d);
  read_rows(c, block, d);
  filter_all(c, block, d, constant);
  if (is_whole) aggregate_block(c, block, d);
  free(d->room);
  free(d);
}

/* ---- every encoding gives back the column ---- */

static void compare_with_column(const FuzzColumn *column, const Chunk *c) {
  Decoded *d = take_memory(sizeof *d);
  for (uint32_t block = 0; block < c->block_count; block++) {
    decode(c, block, d);
    for (uint32_t i = 0; i < chunk_block_rows(c, block); i++) {
      uint32_t row = block * BLOCK_ROWS + i;
      Value got = decoded_value(c, d, i), want = value_from_array(c->type, column->values, row);
      if (column->nulls[row]) want = (Value){ .type = c->type, .is_null = true };
      must(same_value(&got, &want));
    }
    free(d->room);
  }
  free(d);
}

/* The chunk in memory of exactly its length; NULL: the encoding cannot hold the column. */
static uint8_t *encode(const FuzzColumn *column, uint32_t forced, uint64_t *length) {
  ChooseOptions options = { .forced = forced };
  ChunkResult result;
  uint64_t bound = chunk_encode_room(&column->input).out;
  uint8_t *out = take_memory(bound), *scratch = take_memory(chunk_encode_room(&column->input).scratch), *exact = NULL;
  Status status = chunk_encode(&column->input, &options, out, scratch, &result);
  free(scratch);
  must(status == KVSTORE_OK || (forced && forced != ENCODING_PLAIN && status == KVSTORE_ERROR));
  if (status == KVSTORE_OK) {
    must(result.length <= bound && result.length % CHUNK_ALIGNMENT == 0);
    exact = aligned_alloc(64, result.length);
    if (!exact) abort();
    memcpy(exact, out, result.length);
    *length = result.length;
  }
  free(out);
  return exact;
}

static void round_trip(const FuzzColumn *column, uint32_t encoding) {
  uint64_t length;
  Chunk c;
  uint8_t *bytes = encode(column, encoding, &length);
  if (!bytes) return;
  must(chunk_open(bytes, length, column->input.row_count, column->input.type, &c) == KVSTORE_OK);
  must(chunk_check(&c) == KVSTORE_OK);
  compare_with_column(column, &c);
  for (uint32_t block = 0; block < c.block_count; block++) read_block(&c, block, &column->constant, true);
  free(bytes);
}

/* ---- changed bytes ---- */

static void read_changed(const FuzzColumn *column, const uint8_t *bytes, uint64_t length) {
  Chunk c;
  if (chunk_open(bytes, length, column->input.row_count, column->input.type, &c) != KVSTORE_OK) return;
  if (chunk_check_shared(&c) != KVSTORE_OK) return;
  for (uint32_t block = 0; block < c.block_count; block++) {
    if (chunk_check_block(&c, block) == KVSTORE_OK) read_block(&c, block, &column->constant, false);
  }
  if (chunk_check(&c) != KVSTORE_OK) return;
  for (uint32_t block = 0; block < c.block_count; block++) read_block(&c, block, &column->constant, true);
}

static void change(const FuzzColumn *column, uint32_t encoding, Reader *in) {
  uint64_t length;
  uint8_t *bytes = encode(column, encoding, &length);
  if (!bytes) return;
  uint32_t data = load_u32(bytes + 52);
  for (unsigned i = 0; i < CHANGES_MAX && reader_left(in) >= 3; i++) {
    size_t place = reader_u16(in);
    uint8_t byte = reader_u8(in);
    place = place % 2 ? data + place / 2 : place / 2;
    if (place < length) bytes[place] = byte;
  }
  read_changed(column, bytes, length);
  free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Reader in = reader_over(data, size);
  FuzzColumn column = { 0 };
  uint8_t type = reader_u8(&in), chosen = reader_u8(&in);
  make_column(&column, &in, type);
  uint32_t from = chosen % (ENCODING_LAST + 2), to = from;
  if (from > ENCODING_LAST) from = 0, to = ENCODING_LAST;
  Reader changes = in;
  for (uint32_t encoding = from; encoding <= to; encoding++, in = changes) {
    if (reader_left(&in) >= 3)
      change(&column, encoding, &in);
    else
      round_trip(&column, encoding);
  }
  free(column.values);
  free(column.nulls);
  free(column.texts);
  return 0;
}
