/* column_maker.h - random columns of every type and shape, for the tests of this folder. */
#ifndef COLONNADE_TESTS_ENCODINGS_COLUMN_MAKER_H
#define COLONNADE_TESTS_ENCODINGS_COLUMN_MAKER_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bitmap.h"
#include "encodings/array.h"
#include "encodings/choose.h"
#include "simd/simd.h"
#include "tests/support/test.h"

static const ColumnType every_type[] = { TYPE_BOOL,        TYPE_I8,          TYPE_I16,       TYPE_I32,    TYPE_I64,
                                         TYPE_U8,          TYPE_U16,         TYPE_U32,       TYPE_U64,    TYPE_F32,
                                         TYPE_F64,         TYPE_DATE,        TYPE_TIMESTAMP, TYPE_STRING, TYPE_BYTES,
                                         TYPE_FIXED_BYTES, TYPE_TIME,        TYPE_DURATION,  TYPE_UUID,   TYPE_DECIMAL,
                                         TYPE_DECIMAL + 2, TYPE_DECIMAL_LAST };
enum { TYPES = sizeof every_type / sizeof *every_type, FIXED_WIDTH = 11 };

typedef enum Shape {
  SHAPE_CONSTANT,
  SHAPE_STRIDE,
  SHAPE_SMALL, /* a small range */
  SHAPE_FEW,   /* few distinct values, far apart */
  SHAPE_SORTED,
  SHAPE_MULTIPLES, /* of a common divisor */
  SHAPE_RUNS,      /* long runs of few values */
  SHAPE_WALK,      /* a clock whose steps vary */
  SHAPE_NOISE,     /* floats between 0 and 1 without a decimal form, decimals here and there; else small numbers */
  SHAPE_WILD,      /* random bits, ends, odd floats, odd strings */
  SHAPES,
} Shape;

typedef struct MadeColumn {
  ChunkInput input;
  uint8_t *values, *nulls;
  char **texts;
} MadeColumn;

static inline void set_number(ColumnType type, void *values, uint32_t row, uint64_t bits) {
  if (type == TYPE_TIME) bits %= UINT64_C(86400000000);
  if (type_is_decimal(type)) bits = (uint64_t)((int64_t)bits % decimal_unit(DECIMAL_SCALE_MAX));
  switch (type) {
  case TYPE_BOOL: ((uint8_t *)values)[row] = bits & 1; break;
  case TYPE_I8:
  case TYPE_U8: ((uint8_t *)values)[row] = (uint8_t)bits; break;
  case TYPE_I16:
  case TYPE_U16: ((uint16_t *)values)[row] = (uint16_t)bits; break;
  case TYPE_I32:
  case TYPE_U32:
  case TYPE_DATE: ((uint32_t *)values)[row] = (uint32_t)bits; break;
  case TYPE_F32: ((float *)values)[row] = (float)(int64_t)bits / 4; break;
  case TYPE_F64: ((double *)values)[row] = (double)(int64_t)bits / 10; break;
  default: ((uint64_t *)values)[row] = bits; break;
  }
}

static inline void set_wild_float(ColumnType type, void *values, uint32_t row, uint64_t *rng) {
  static const uint64_t edges64[] = { 0,
                                      UINT64_C(1) << 63,
                                      UINT64_C(0x7ff0000000000000),
                                      UINT64_C(0xfff0000000000000),
                                      UINT64_C(0x7ff8000000000001),
                                      UINT64_C(0xfff8000000abcdef),
                                      1,
                                      UINT64_C(0x8000000000000001) };
  static const uint32_t edges32[] = {
    0, 0x80000000u, 0x7f800000u, 0xff800000u, 0x7fc00001u, 0xffc0abcdu, 1, 0x80000001u
  };
  uint64_t r = test_random(rng);
  if (type == TYPE_F64)
    ((uint64_t *)values)[row] = r % 3 ? edges64[r / 3 % 8] : test_random(rng);
  else
    ((uint32_t *)values)[row] = r % 3 ? edges32[r / 3 % 8] : (uint32_t)test_random(rng);
}

static inline void set_noise(ColumnType type, void *values, uint32_t row, uint64_t *rng) {
  double value = (double)(test_random(rng) >> 11) * 0x1p-53;
  if (test_random_below(rng, 64) == 0) value = -1e10 / (double)(1 + test_random_below(rng, 9));
  if (type == TYPE_F64)
    ((double *)values)[row] = value;
  else
    ((float *)values)[row] = (float)value;
}

/* A text that says `number`; wild ones are empty, long, share eight bytes, or hold other alphabets. */
static inline Bytes make_text(MadeColumn *c, uint32_t row, uint64_t number, bool wild) {
  static const char *const stems[] = {
    "", "colonnad", "colonnade", "caf\xc3\xa9 ", "\xe5\x88\x97\xe6\x9f\xb1", "\xf0\x9f\x8f\x9b"
  };
  char text[96];
  int length;
  if (type_is_fixed(c->input.type))
    length = snprintf(text, sizeof text, "%0*llu", (int)c->input.width, (unsigned long long)(number % 99999999999u));
  else if (!wild)
    length = snprintf(text, sizeof text, "v%llu", (unsigned long long)number);
  else if (number % 7 == 0)
    length = snprintf(text, sizeof text, "%s", stems[number / 7 % 6]);
  else
    length = snprintf(text, sizeof text, "%s%0*llx", stems[number % 6], (int)(number % 40), (unsigned long long)number);
  if (type_is_fixed(c->input.type)) length = (int)c->input.width;
  if (wild && c->input.type != TYPE_STRING && length) text[number % (uint64_t)length] = (char)(number >> 8);
  c->texts[row] = malloc((size_t)length + 1);
  memcpy(c->texts[row], text, (size_t)length);
  return (Bytes){ (const uint8_t *)c->texts[row], (size_t)length };
}

static inline uint64_t shape_number(Shape shape, uint64_t *rng, uint64_t start, uint64_t step, uint32_t row) {
  switch (shape) {
  case SHAPE_CONSTANT: return start;
  case SHAPE_STRIDE: return start + step * row;
  case SHAPE_NOISE:
  case SHAPE_SMALL: return start + test_random_below(rng, 50);
  case SHAPE_FEW: return start + test_random_below(rng, 5) * 77777;
  case SHAPE_SORTED: return start + row / 7;
  case SHAPE_MULTIPLES: return start + test_random_below(rng, 900) * 60;
  case SHAPE_RUNS: return start + (row / 61 * UINT64_C(2654435761) >> 7) % 5 * 31;
  case SHAPE_WALK: return start + row * UINT64_C(100003) + test_random_below(rng, 30);
  default:
    return test_random(rng) % 5 == 0
             ? (test_random(rng) & 1 ? UINT64_MAX : UINT64_C(1) << 63) - test_random_below(rng, 3)
             : test_random(rng) >> test_random_below(rng, 64);
  }
}

static inline void column_make(MadeColumn *c, uint64_t *rng, ColumnType type, Shape shape, uint32_t rows,
                               unsigned null_percent) {
  bool strings = type_is_string(type);
  size_t width = strings ? sizeof(Bytes) : type_array_width(type);
  *c = (MadeColumn){ 0 };
  c->values = calloc(rows, width);
  c->nulls = calloc(rows, 1);
  c->texts = calloc(rows, sizeof *c->texts);
  c->input = (ChunkInput){ .type = type,
                           .width = type == TYPE_FIXED_BYTES ? FIXED_WIDTH
                                    : type == TYPE_UUID      ? UUID_BYTES
                                                             : 0,
                           .row_count = rows,
                           .values = c->values };
  c->input.nulls = null_percent ? c->nulls : NULL;
  uint64_t start = test_random(rng) >> (shape == SHAPE_WILD ? 0 : 40), step = 1 + test_random_below(rng, 3);
  if (shape != SHAPE_WILD && test_random(rng) & 1) start = 0 - start;
  if (shape == SHAPE_STRIDE && test_random(rng) & 1) step = 0 - step;
  for (uint32_t i = 0; i < rows; i++) {
    uint64_t number = shape_number(shape, rng, start, step, i);
    c->nulls[i] = test_random_below(rng, 100) < null_percent;
    if (c->nulls[i]) continue;
    if (strings)
      ((Bytes *)c->values)[i] = make_text(c, i, number, shape == SHAPE_WILD);
    else if (type_is_float(type) && shape == SHAPE_WILD)
      set_wild_float(type, c->values, i, rng);
    else if (type_is_float(type) && shape == SHAPE_NOISE)
      set_noise(type, c->values, i, rng);
    else
      set_number(type, c->values, i, number);
  }
}

static inline void column_free(MadeColumn *c) {
  for (uint32_t i = 0; i < c->input.row_count; i++) free(c->texts[i]);
  free(c->texts);
  free(c->values);
  free(c->nulls);
}

static inline Value column_value(const MadeColumn *c, uint32_t row) {
  Value null = { .type = c->input.type, .is_null = true };
  return c->nulls[row] ? null : value_from_array(c->input.type, c->values, row);
}

/* An encoded chunk in a block of exactly its length. */
typedef struct MadeChunk {
  uint8_t *bytes;
  ChunkResult result;
  Chunk chunk;
} MadeChunk;

/* False when the forced encoding cannot hold the column. */
static inline bool chunk_make(MadeChunk *m, const MadeColumn *c, uint32_t forced) {
  ChooseOptions options = { .forced = forced };
  uint64_t bound = chunk_encode_room(&c->input).out;
  uint8_t *out = aligned_alloc(64, round_up(bound, 64)),
          *scratch = aligned_alloc(64, round_up(chunk_encode_room(&c->input).scratch, 64));
  memset(out, 0xa5, bound);
  memset(scratch, 0x5a, chunk_encode_room(&c->input).scratch);
  Status status = chunk_encode(&c->input, &options, out, scratch, &m->result);
  free(scratch);
  if (status != KVSTORE_OK) {
    CHECK_INT(status, KVSTORE_ERROR);
    free(out);
    return false;
  }
  CHECK(m->result.length <= bound && m->result.length % 64 == 0);
  m->bytes = aligned_alloc(64, m->result.length);
  memcpy(m->bytes, out, m->result.length);
  free(out);
  CHECK_OK(chunk_open(m->bytes, m->result.length, c->input.row_count, c->input.type, &m->chunk));
  CHECK_OK(chunk_check(&m->chunk));
  return true;
}

static inline void chunk_free(MadeChunk *m) { free(m->bytes); }

/* Decodes a block, or reads a row, with exactly the room that it asks for: *room, for the caller to free. */
static inline void decode_block(const Chunk *chunk, uint32_t block, void *values, uint8_t *nulls, uint8_t **room) {
  uint64_t bytes = codec_decode_room(chunk, block);
  *room = bytes ? malloc(bytes) : NULL;
  codec_decode_into(chunk, block, values, nulls, *room);
}
static inline void get_row(const Chunk *chunk, uint32_t row, Value *out, uint8_t **room) {
  uint64_t bytes = codec_get_room(chunk);
  *room = bytes ? malloc(bytes) : NULL;
  codec_get_into(chunk, row, out, *room);
}

/* codec_aggregate, or, where it is not for the chunk, its strings decoded and added. */
static inline void aggregate_rows(const Chunk *chunk, uint32_t block, const uint64_t *mask, AggregateState *state,
                                  uint8_t **room) {
  Bytes values[BLOCK_ROWS];
  uint8_t nulls[BLOCK_ROWS];
  *room = NULL;
  if (!codec_get_room(chunk)) {
    codec_aggregate(chunk, block, mask, state);
    return;
  }
  decode_block(chunk, block, values, nulls, room);
  array_aggregate(chunk->type, values, nulls, chunk_block_rows(chunk, block), mask, state);
}

/* A random comparison that has something to do with the column. `memory` and `constants` back it. */
enum { CONSTANTS_MAX = 40, CONSTANTS_ROOM = CONSTANTS_MAX + 64 }; /* of memory: with their table */
static inline Value constant_near(const MadeColumn *c, uint64_t *rng) {
  Value v = column_value(c, (uint32_t)test_random_below(rng, c->input.row_count));
  uint64_t r = test_random(rng);
  ColumnType type = c->input.type;
  if (v.is_null || type_is_string(type)) {
    static const char *const texts[] = { "", "v1", "v2", "colonnade", "colonnad", "caf", "\xf0\x9f\x8f\x9b", "z" };
    if (type_is_string(type) && (v.is_null || r % 4 == 0)) {
      v = (Value){ .type = type, .s = { (const uint8_t *)texts[r / 4 % 8], strlen(texts[r / 4 % 8]) } };
    }
    return v;
  }
  if (type_is_integer(type)) {
    if (r % 5 == 0) v.u += r / 5 % 3 - 1;
    if (r % 5 == 1) {
      double f = type >= TYPE_U8 ? (double)v.u : (double)v.i;
      v = (Value){ .type = TYPE_F64, .f = f + (double)(r / 5 % 3) * 0.5 };
    }
    if (r % 31 == 0) v = (Value){ .type = TYPE_I64, .i = INT64_MIN };
    if (r % 37 == 0) v = (Value){ .type = TYPE_U64, .u = UINT64_MAX };
  } else if (type_is_float(type)) {
    if (r % 5 == 0) v = (Value){ .type = TYPE_I64, .i = (int64_t)(r % 1000) - 500 };
    if (r % 11 == 0) v = (Value){ .type = TYPE_F64, .f = NAN };
    if (r % 13 == 0) v = (Value){ .type = TYPE_F64, .f = -0.0 };
    if (r % 17 == 0) v = (Value){ .type = TYPE_F64, .f = INFINITY };
  }
  return v;
}

static inline void compare_make(Compare *compare, const MadeColumn *c, uint64_t *rng, Value *constants, void *memory) {
  CompareOperator op = (CompareOperator)test_random_below(rng, COMPARE_NOT_BITS + 1);
  if (op >= COMPARE_BITS && type_is_integer(c->input.type)) {
    uint64_t r = test_random(rng);
    constants[0] = (Value){ .type = r & 1 ? TYPE_I64 : TYPE_U64, .u = r % 3 ? test_random_below(rng, 16) : r };
    constants[1] = column_value(c, (uint32_t)test_random_below(rng, c->input.row_count));
    constants[1].u = constants[1].is_null ? 0 : constants[1].u & constants[0].u;
    constants[1].is_null = r % 61 == 0;
    CHECK_OK(compare_bind(c->input.type, op, constants, 2, memory, compare));
    return;
  }
  if (op >= COMPARE_BITS) op = COMPARE_NOT_EQUAL;
  if (!type_is_string(c->input.type) && (op == COMPARE_PREFIX || op == COMPARE_NOT_PREFIX)) op = COMPARE_LESS;
  size_t count = op == COMPARE_BETWEEN || op == COMPARE_NOT_BETWEEN   ? 2
                 : op == COMPARE_IN || op == COMPARE_NOT_IN           ? test_random_below(rng, CONSTANTS_MAX)
                 : op == COMPARE_IS_NULL || op == COMPARE_IS_NOT_NULL ? 0
                                                                      : 1;
  for (size_t i = 0; i < count; i++) {
    do constants[i] = constant_near(c, rng);
    while (constants[i].is_null && op != COMPARE_EQUAL && c->input.row_count > 50 && test_random(rng) % 16);
  }
  if ((op == COMPARE_PREFIX || op == COMPARE_NOT_PREFIX) && !constants[0].is_null && constants[0].s.length > 1) {
    constants[0].s.length = 1 + test_random_below(rng, constants[0].s.length);
  }
  CHECK(compare_bind_bound(c->input.type, op, count) <= CONSTANTS_ROOM * sizeof(Bytes));
  CHECK_OK(compare_bind(c->input.type, op, constants, count, memory, compare));
}

static inline void random_mask(uint64_t *rng, uint64_t mask[BLOCK_WORDS], uint32_t rows) {
  uint64_t kind = test_random_below(rng, 3);
  bitmap_fill_first(mask, BLOCK_WORDS, rows);
  for (unsigned i = 0; kind && i < BLOCK_WORDS; i++)
    mask[i] &= kind == 1 ? test_random(rng) : test_random(rng) & test_random(rng) & test_random(rng);
}

static inline const SimdKernels *random_table(uint64_t *rng) {
  const SimdKernels *k = simd_table((SimdLevel)test_random_below(rng, SIMD_LEVELS));
  return k ? k : simd_table(SIMD_SCALAR);
}

#endif
