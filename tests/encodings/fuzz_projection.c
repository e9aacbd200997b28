/* fuzz_projection.c - any text is either a source, which prints as a text that reads back as itself, or refused with a
 * sentence; any bytes are a value that it reads something or nothing of. The input: a source, a zero byte, a value. */
#include <stdlib.h>

#include "encodings/projection.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void print_again(const Projection *p, Arena *arena) {
  Buffer first = { 0 }, second = { 0 };
  Projection again;
  projection_print(p, &first);
  if (first.length <= PROJECTION_TEXT_MAX) {
    if (projection_parse((const char *)first.data, first.length, arena, &again) != KVSTORE_OK) abort();
    projection_print(&again, &second);
    if (first.length != second.length || memcmp(first.data, second.data, first.length) != 0) abort();
  }
  buffer_release(&first);
  buffer_release(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const ColumnType types[] = { TYPE_BOOL,        TYPE_I8,           TYPE_I64,    TYPE_U64,
                                      TYPE_F32,         TYPE_F64,          TYPE_STRING, TYPE_BYTES,
                                      TYPE_FIXED_BYTES, TYPE_TIMESTAMP,    TYPE_TIME,   TYPE_UUID,
                                      TYPE_DECIMAL + 2, TYPE_DECIMAL_LAST, TYPE_DATE,   TYPE_DURATION };
  Arena arena = { 0 };
  Projection p;
  const uint8_t *end = size ? memchr(data, 0, size) : NULL;
  size_t text = end ? (size_t)(end - data) : size;
  Bytes value = end ? (Bytes){ end + 1, size - text - 1 } : (Bytes){ 0 };
  if (projection_parse((const char *)data, text, &arena, &p) != KVSTORE_OK) {
    if (!status_last()->text[0]) abort();
    arena_release(&arena);
    return 0;
  }
  print_again(&p, &arena);
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
    SourcePair pair = { value, value, 0 };
    Value out;
    if (projection_set_type(&p, types[i], types[i] == TYPE_UUID ? UUID_BYTES : 4, "c") != KVSTORE_OK) continue;
    if (projection_read(&p, &pair, &arena, &out) != KVSTORE_OK) abort();
    int64_t low, high;
    type_image_bounds(out.type, &low, &high);
    if (!out.is_null && type_has_gaps(out.type) && (out.i < low || out.i > high)) abort();
    if (!out.is_null && out.type == TYPE_UUID && out.s.length != UUID_BYTES) abort();
    if (!out.is_null && out.type == TYPE_STRING && !bytes_are_utf8(out.s.data, out.s.length)) abort();
  }
  arena_release(&arena);
  return 0;
}
