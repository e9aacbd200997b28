/* compare.h - one comparison of one column with constants, mapped into the column's own domain.
 *
 * Comparisons are of mathematical values (docs/semantics.md): i64 with u64, integers with floats, f32 widened to f64.
 * So a constant is mapped once, per operator: x > 2.5 on integers becomes x >= 3, x = 2.5 no row, x < 1e300 every row
 * that is not null. What is left is a range or a set of images (base/schema.h), which are exact for every type but
 * strings; on strings, a range or a set of byte strings. The same object filters encoded blocks (codec.h), column
 * arrays (array.h), zone maps and single values, so that none of them can disagree.
 *
 * Three-valued logic: a null matches nothing but IS_NULL, in its negated forms too. */
#ifndef COLONNADE_ENCODINGS_COMPARE_H
#define COLONNADE_ENCODINGS_COMPARE_H

#include "base/schema.h"

typedef enum CompareOperator {
  COMPARE_EQUAL,
  COMPARE_NOT_EQUAL,
  COMPARE_LESS,
  COMPARE_LESS_EQUAL,
  COMPARE_GREATER,
  COMPARE_GREATER_EQUAL,
  COMPARE_BETWEEN, /* two constants, both included */
  COMPARE_NOT_BETWEEN,
  COMPARE_IN, /* any number of constants, in any order */
  COMPARE_NOT_IN,
  COMPARE_PREFIX, /* strings: the value begins with the constant */
  COMPARE_NOT_PREFIX,
  COMPARE_IS_NULL, /* no constant */
  COMPARE_IS_NOT_NULL,
  COMPARE_BITS, /* integers, two constants: (x & first) = second */
  COMPARE_NOT_BITS,
} CompareOperator;

/* What a comparison has become once its constants are mapped. */
typedef enum CompareKind {
  COMPARE_KIND_NONE,     /* no row */
  COMPARE_KIND_NOT_NULL, /* every row that is not null */
  COMPARE_KIND_NULL,     /* every null row */
  COMPARE_KIND_RANGE,    /* low <= x <= high */
  COMPARE_KIND_SET,      /* x is one of a sorted set */
  COMPARE_KIND_PREFIX,   /* x begins with low_bytes */
  COMPARE_KIND_BITS,     /* (x & high) = low, of as many bits as the type has; the bits of x, not of its image */
} CompareKind;

typedef struct Compare {
  ColumnType type; /* of the column */
  CompareKind kind;
  bool negated; /* RANGE, SET, PREFIX, BITS: the rows that are not null and not in it */
  /* RANGE of any type but strings, as images; low <= high */
  int64_t low, high;
  /* RANGE of strings; an end may be missing or excluded. PREFIX: low_bytes. */
  Bytes low_bytes, high_bytes;
  bool low_missing, high_missing, low_excluded, high_excluded;
  /* SET: ascending, without duplicates; images, or for string types strings; not empty */
  const int64_t *images;
  const Bytes *strings;
  uint32_t set_count;
  unsigned slot_bits;
  const uint64_t *marks; /* of many members, one of these (compare_set.c); else both are NULL */
  const uint32_t *slots;
} Compare;

typedef enum ZoneVerdict { ZONE_NONE, ZONE_SOME, ZONE_ALL } ZoneVerdict;

/* Bytes of memory that compare_bind wants for `count` constants. 0 when it wants none. */
size_t compare_bind_bound(ColumnType type, CompareOperator op, size_t count);

/* Maps `column op constants` into the column's domain. `memory` (compare_bind_bound bytes, aligned to 16; NULL when
 * that is 0) and the bytes of string constants must live as long as *out. KVSTORE_TYPE   the constant's type does not
 * compare with the column's. These do: numbers with numbers, dates and timestamps with each other, bool with bool, the
 * string types with each other; a null with everything (it matches no row). KVSTORE_ERROR  not as many constants as the
 * operator has */
Status compare_bind(ColumnType type, CompareOperator op, const Value *constants, size_t count, void *memory,
                    Compare *out) MUST_CHECK;

/* Strings: whether only rows equal to low_bytes are in it (negated: are not). */
static inline bool compare_is_equality(const Compare *c) {
  return c->kind == COMPARE_KIND_RANGE && !c->low_missing && !c->high_missing && !c->low_excluded &&
         !c->high_excluded && c->low_bytes.data == c->high_bytes.data && c->low_bytes.length == c->high_bytes.length;
}

/* Does this value of the column's type match? `value->type` is not looked at when the value is null. */
bool compare_value(const Compare *compare, const Value *value);

/* The same for an image (types other than strings, not null) and for bytes (string types, not null). */
bool compare_image(const Compare *compare, int64_t image);
bool compare_bytes(const Compare *compare, Bytes value);

/* What is certain of `row_count` rows whose values lie in [minimum, maximum] (images; minimum > maximum when every row
 * is null), `null_count` of them null. NONE: no row matches. ALL: every row does. On strings an image is a prefix of
 * eight bytes, so a verdict needs strict inequality. */
ZoneVerdict compare_zone(const Compare *compare, int64_t minimum, int64_t maximum, uint32_t null_count,
                         uint32_t row_count);

#endif
