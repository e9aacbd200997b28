/* cli_json.h - writes JSON, so that it is always valid: commas, quotes and nesting are kept here.
 *
 * Bytes that are no UTF-8 become the text <hex:AABB>; floats that JSON does not know become the texts "nan", "inf" and
 * "-inf". Integers of any size are written in digits. */
#ifndef COLONNADE_CLI_JSON_H
#define COLONNADE_CLI_JSON_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <colonnade/kvtable.h>

#define JSON_DEPTH_MAX 8

typedef struct Json { /* begin with { file, compact } and the rest zero */
  FILE *file;
  int compact; /* one line, no spaces */
  int depth;
  int filled[JSON_DEPTH_MAX]; /* per level: a comma is needed before the next element */
  char closing[JSON_DEPTH_MAX];
} Json;

/* In each, `name` is the member's name inside an object, and NULL inside an array or at the top. */
void json_open_object(Json *json, const char *name);
void json_open_array(Json *json, const char *name);
void json_close(Json *json); /* the innermost that is open; a newline after the outermost */
void json_bytes(Json *json, const char *name, const void *data, size_t length);
void json_string(Json *json, const char *name, const char *string);
void json_u64(Json *json, const char *name, uint64_t number);
void json_i64(Json *json, const char *name, int64_t number);
void json_decimal(Json *json, const char *name, double number); /* finite; with three decimals */
void json_bool(Json *json, const char *name, int truth);
void json_null(Json *json, const char *name);
void json_written(Json *json, const char *name, const char *document); /* JSON already */
void json_value(Json *json, const char *name, const KVValue *value);

#endif
