/* encoding.h - how a column may lie in the file: the encodings' numbers and names. What they are: encodings/. */
#ifndef COLONNADE_BASE_ENCODING_H
#define COLONNADE_BASE_ENCODING_H

#include "base/schema.h"

/* On disk: never renumbered. */
typedef enum EncodingId {
  ENCODING_NONE = 0,
  ENCODING_CONSTANT = 1,     /* every value is the same */
  ENCODING_STRIDE = 2,       /* base + row x step: integers, dates, timestamps; no nulls */
  ENCODING_PLAIN = 3,        /* values in their natural width; strings: offsets and bytes */
  ENCODING_BITS = 4,         /* booleans, a bit each */
  ENCODING_PACKED = 5,       /* frame of reference: (image - base) / divisor, bit-packed in interleaved lanes */
  ENCODING_DICTIONARY = 6,   /* sorted values, and packed codes */
  ENCODING_RUN_LENGTH = 7,   /* equal neighbours once, and where they end: all types but strings */
  ENCODING_DELTA = 8,        /* differences of neighbours, a base per block: integers, dates, timestamps */
  ENCODING_ALP = 9,          /* floats that were decimals: packed integers, two powers of ten a block, exceptions */
  ENCODING_ALP_RD = 10,      /* other floats: left parts in a small dictionary, right parts packed */
  ENCODING_FSST = 11,        /* strings, bytes: codes of a table of up to 255 symbols of 1 to 8 bytes */
  ENCODING_ZSTD = 12,        /* long strings, bytes: frames of 16 KiB of them */
  ENCODING_FRONT_CODED = 13, /* strings, bytes: what they share with the one before, and the rest */
  ENCODING_LAST = ENCODING_FRONT_CODED,
  ENCODING_ARRAY = 14, /* plain, but the values lie outside the chunk: Chunk.array. Never chosen, only forced */
} EncodingId;

/* "constant", "packed" ...; "?" for a number that is none. And back: ENCODING_NONE for a name that is none. */
const char *encoding_name(uint32_t encoding);
EncodingId encoding_by_name(const char *name);
/* Whether columns of a type can ever have an encoding. Arrays are not asked for by number. */
bool encoding_takes(uint32_t encoding, ColumnType type);

#endif
