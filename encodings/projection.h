/* projection.h - a column over pairs: what a column of a kv family's table holds of a key, its value and its expiry.
 *
 *   source text        what it takes
 *   part(N)            the N-th part of the key, from 0, between separators: part(N, ':'); without one '/'
 *   at(OFFSET)         the bytes of the value from OFFSET on, little-endian; at(OFFSET, big): big-endian
 *   json(PATH)         the value at a path of a value that is a JSON text (json_path.h)
 *
 * What does not fit the column's type is null: a part or place that is not there, other text than a number or literal
 * of the type, text that is no UTF-8, a JSON value of another kind. A JSON number or truth value is a string as it is
 * written; dates, times, durations, uuids and decimals are read from JSON's strings.
 *
 * Pure: nothing is kept, memory is the caller's arena's. */
#ifndef COLONNADE_ENCODINGS_PROJECTION_H
#define COLONNADE_ENCODINGS_PROJECTION_H

#include "base/arena.h"
#include "base/schema.h"
#include "encodings/json_path.h"

enum { PROJECTION_TEXT_MAX = 1024, PROJECTION_SEPARATOR_MAX = 64 };

typedef enum ProjectionKind {
  PROJECTION_KEY, /* the first four have no text: every family has them */
  PROJECTION_VALUE,
  PROJECTION_LENGTH,
  PROJECTION_EXPIRY, /* a timestamp, null when the pair never expires */
  PROJECTION_PART,
  PROJECTION_AT,
  PROJECTION_JSON
} ProjectionKind;

typedef struct Projection {
  ProjectionKind kind;
  ColumnType type;
  uint32_t width;  /* of fixed bytes */
  uint32_t number; /* which part; the offset */
  bool big_endian;
  Bytes separator;
  JsonPath path;
} Projection;

typedef struct SourcePair {
  Bytes key, value;
  int64_t expiry; /* milliseconds since the epoch, or EXPIRY_NEVER */
} SourcePair;

/* From its text; everything goes into `arena`. KVSTORE_ERROR says where it is wrong. The type is still missing. */
Status projection_parse(const char *text, size_t length, Arena *arena, Projection *out) MUST_CHECK;
/* Appends the text, the same for the same projection. */
void projection_print(const Projection *projection, Buffer *out);
/* KVSTORE_TYPE when the source cannot be of this type. `name` is the column's, for the message. */
Status projection_set_type(Projection *projection, ColumnType type, uint32_t width, const char *name) MUST_CHECK;
/* Do its values hang on the pair's value? (Its length does not need the value.) */
static inline bool projection_reads_value(const Projection *p) {
  return p->kind == PROJECTION_VALUE || p->kind == PROJECTION_AT || p->kind == PROJECTION_JSON;
}
/* What the column holds of a pair. Strings lie in the pair or in `arena`. KVSTORE_NOMEM alone. */
Status projection_read(const Projection *projection, const SourcePair *pair, Arena *arena, Value *out) MUST_CHECK;

#endif
