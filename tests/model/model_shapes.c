/* model_shapes.c - what keys and values of each shape are, made from numbers alone. */
#include <stdio.h>
#include <string.h>

#include "tests/model/model.h"
#include "tests/support/test.h"

static uint64_t mix(uint64_t seed) { return test_random(&seed); }

/* ---- kv ---- */

Bytes shape_kv_key(ModelShape shape, uint32_t key) {
  static uint8_t rooms[8][64];
  static unsigned next;
  uint8_t *room = rooms[next++ % 8];
  if (shape == SHAPE_KV_TEXT) return (Bytes){ room, (size_t)snprintf((char *)room, 64, "key%06u", key) };
  /* groups of eight share a beginning and lengthen it by zeros and 255s, then its own number */
  uint64_t group = mix(key / 8);
  size_t length = 1 + group % 20;
  for (size_t i = 0; i < length; i++) room[i] = (uint8_t)(mix(group + i) & 3 ? mix(group + i) >> 8 : 0);
  room[0] = (uint8_t)(key / 8 % 251);
  room[length++] = (uint8_t)(key / 8 / 251);
  for (uint32_t i = 0; i < key % 8; i++) room[length++] = i % 2 ? 255 : 0;
  return (Bytes){ room, length };
}

static size_t value_length(uint64_t r) {
  switch (r % 64) {
  case 0: return 0;
  case 1: return (size_t)(r >> 8) % 3000;
  case 2: return (r >> 8) % 16 ? 100 : (size_t)(r >> 16) % MODEL_VALUE_MAX;
  default: return (size_t)(r >> 8) % 60;
  }
}

Bytes shape_kv_value(uint32_t seed) {
  static uint8_t room[MODEL_VALUE_MAX];
  uint64_t r = mix(seed);
  size_t length = value_length(r);
  for (size_t i = 0; i < length; i++) room[i] = (uint8_t)(r >> (i % 8 * 7)) ^ (uint8_t)(i / 8);
  return (Bytes){ room, length };
}

/* ---- tables ---- */

static Value text_value(Arena *arena, const char *text, size_t length) {
  Value v = { .type = TYPE_STRING };
  v.s = (Bytes){ arena_copy(arena, text, length + 1), length };
  CHECK(v.s.data);
  return v;
}

static Value key_text(ModelShape shape, uint32_t key, Arena *arena) {
  char text[64];
  int length;
  if (shape == SHAPE_TABLE_PAIR)
    length = snprintf(text, sizeof text, "%.*s%u", (int)(key % 7), "abcdefg", key % 50);
  else if (key % 11 == 0)
    length = snprintf(text, sizeof text, "\xc3\xa9%c%u", 0, key);
  else
    length = snprintf(text, sizeof text, "row/%u/%.*s%u", key % 97, (int)(key % 13), "a long tail....", key);
  return text_value(arena, text, (size_t)length);
}

size_t shape_key_values(ModelShape shape, uint32_t key, Arena *arena, Value *out) {
  switch (shape) {
  case SHAPE_TABLE_NUMBER: out[0] = (Value){ .type = TYPE_I64, .i = (int64_t)key * 3 - 4000 }; return 1;
  case SHAPE_TABLE_TEXT: out[0] = key_text(shape, key, arena); return 1;
  case SHAPE_TABLE_PAIR:
    out[0] = (Value){ .type = TYPE_I32, .i = (int64_t)(key / 50) - 20 };
    out[1] = key_text(shape, key, arena);
    return 2;
  default: out[0] = (Value){ .type = TYPE_U64, .u = key }; return 1;
  }
}

static size_t key_columns(ModelShape shape) {
  return shape == SHAPE_TABLE_NO_KEY ? 0 : shape == SHAPE_TABLE_PAIR ? 2 : 1;
}
uint32_t shape_number_column(ModelShape shape) { return (uint32_t)key_columns(shape); }
uint32_t shape_text_column(ModelShape shape) { return (uint32_t)key_columns(shape) + 1; }

size_t shape_row(ModelShape shape, uint32_t key, const ModelVersion *version, Arena *arena, Value *out) {
  size_t n = key_columns(shape);
  if (n) shape_key_values(shape, key, arena, out);
  uint64_t number = mix(version->number), text = mix(version->text);
  out[n] = (Value){ .type = TYPE_I32, .is_null = number % 8 == 0 };
  if (number % 8) out[n].i = (int64_t)(number >> 8) % 2000 - 1000;
  if (text % 8 == 0) {
    out[n + 1] = (Value){ .type = TYPE_STRING, .is_null = true };
  } else {
    char room[256];
    size_t length = text % 32 == 1 ? (size_t)(text >> 8) % 250 : (size_t)(text >> 8) % 20;
    for (size_t i = 0; i < length; i++) room[i] = (char)('a' + (text >> (i % 8 * 5)) % 26);
    room[length] = 0;
    out[n + 1] = text_value(arena, room, length);
  }
  out[n + 2] = (Value){ .type = TYPE_F64 };
  out[n + 2].f = (double)((int64_t)(number >> 16) % 1000) / 4;
  out[n + 3] = (Value){ .type = TYPE_BOOL, .i = (int64_t)(text >> 40 & 1) };
  return n + 4;
}

Schema shape_schema(ModelShape shape) {
  static Column columns[SHAPES][MODEL_COLUMNS_MAX];
  Column *c = columns[shape];
  uint32_t n = 0;
  Schema s = { .columns = c };
  if (shape == SHAPE_TABLE_NUMBER) c[n++] = (Column){ 0, TYPE_I64, 0, 0, (char *)"id" };
  if (shape == SHAPE_TABLE_PAIR) c[n++] = (Column){ 0, TYPE_I32, 0, 0, (char *)"part" };
  if (shape == SHAPE_TABLE_PAIR || shape == SHAPE_TABLE_TEXT) c[n++] = (Column){ 0, TYPE_STRING, 0, 0, (char *)"name" };
  s.key_count = n;
  for (uint32_t i = 0; i < n; i++) s.key_columns[i] = i;
  uint32_t layout = shape == SHAPE_TABLE_TEXT ? 0 : COLUMN_ARRAY;
  c[n++] = (Column){ 0, TYPE_I32, COLUMN_NULLABLE | layout, 0, (char *)"number" };
  c[n++] = (Column){ 0, TYPE_STRING, COLUMN_NULLABLE, 0, (char *)"text" };
  c[n++] = (Column){ 0, TYPE_F64, layout, 0, (char *)"ratio" };
  c[n++] = (Column){ 0, TYPE_BOOL, 0, 0, (char *)"flag" };
  s.column_count = n;
  return s;
}

/* ---- order ---- */

static int order_bytes(Bytes a, Bytes b) {
  size_t shared = a.length < b.length ? a.length : b.length;
  int order = shared ? memcmp(a.data, b.data, shared) : 0;
  return order ? order : (a.length > b.length) - (a.length < b.length);
}

int shape_compare(ModelShape shape, uint32_t a, uint32_t b) {
  if (!shape_is_table(shape)) return order_bytes(shape_kv_key(shape, a), shape_kv_key(shape, b));
  if (shape == SHAPE_TABLE_NUMBER || shape == SHAPE_TABLE_NO_KEY) return (a > b) - (a < b);
  Arena arena = { 0 };
  Value x[2], y[2];
  size_t n = shape_key_values(shape, a, &arena, x);
  shape_key_values(shape, b, &arena, y);
  int order = n == 2 ? (x[0].i > y[0].i) - (x[0].i < y[0].i) : 0;
  if (!order) order = order_bytes(x[n - 1].s, y[n - 1].s);
  arena_release(&arena);
  return order;
}
