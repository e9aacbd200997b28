/* json_path.h - one value out of a JSON text (RFC 8259), found by its path.
 *
 *   path:  step { "." name | "[" number "]" }      a.b[2]."odd name"      "$" alone: the whole text
 *
 * The text is read once, from end to end, without memory of its own: what is no JSON, wherever it goes wrong, has no
 * values at all. Of several members with one name the first counts. Strings are looked at byte by byte; whether what is
 * taken out is UTF-8 is the caller's question. */
#ifndef COLONNADE_ENCODINGS_JSON_PATH_H
#define COLONNADE_ENCODINGS_JSON_PATH_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/bytes.h"

enum {
  JSON_STEPS_MAX = 64,
  JSON_DEPTH_MAX = 256 /* levels of a text: what recursion may take from a thread's stack */
};

typedef struct JsonStep {
  bool is_index;
  uint32_t index;
  Bytes name;
} JsonStep;

typedef struct JsonPath {
  uint32_t step_count;
  JsonStep *steps;
} JsonPath;

/* Reads a path from `text` on, as far as it goes: *used bytes. Steps and names go into `arena`. KVSTORE_ERROR says what
 * is wrong. */
Status json_path_parse(const char *text, size_t length, Arena *arena, JsonPath *out, size_t *used) MUST_CHECK;
/* Appends it as it is read back. */
void json_path_print(const JsonPath *path, Buffer *out);

typedef enum JsonKind {
  JSON_ABSENT, /* nothing lies there */
  JSON_NULL,
  JSON_FALSE,
  JSON_TRUE,
  JSON_NUMBER,
  JSON_STRING,
  JSON_OTHER /* an object or an array */
} JsonKind;

typedef struct JsonValue {
  JsonKind kind;
  bool is_escaped; /* of a string: there are backslashes in it */
  Bytes text;      /* a number as it is written; a string between its quotes: in the JSON text */
} JsonValue;

/* False when the text is no JSON, or is nested deeper than JSON_DEPTH_MAX. */
bool json_find(const JsonPath *path, Bytes text, JsonValue *out);

/* Resolves the escapes of a string that json_find gave; `out` has room for as many bytes as it has. False when a
 * surrogate stands alone. */
bool json_unescape(Bytes text, uint8_t *out, size_t *length);

#endif
