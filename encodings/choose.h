/* choose.h - which encoding a column of a segment gets, and writing it.
 *
 * One pass gathers statistics (minimum, maximum, nulls, common divisor, constant step, a distinct estimate from a
 * sample); each codec says what it would take; the smallest wins, a codec with cheaper random access when it is within
 * 3 %. */
#ifndef COLONNADE_ENCODINGS_CHOOSE_H
#define COLONNADE_ENCODINGS_CHOOSE_H

#include "encodings/codec.h"

typedef struct ChooseOptions {
  uint32_t forced;    /* an EncodingId, or 0. One that cannot hold the column fails with KVSTORE_ERROR; */
  bool or_best;       /* unless this is set: then the best one that is not forbidden is taken instead */
  uint32_t forbidden; /* bit (1 << id): not this one; plain is always allowed */
} ChooseOptions;

typedef struct ChunkResult {
  uint64_t length; /* of the chunk: a multiple of 64, padding included */
  EncodingId encoding;
  ChunkStats stats;
} ChunkResult;

/* Bytes of `out` and of `scratch` that chunk_encode wants for this input, whatever it chooses. */
typedef struct ChunkRoom {
  uint64_t out, scratch;
} ChunkRoom;
ChunkRoom chunk_encode_room(const ChunkInput *input);

/* Encodes a column of a segment. `out` is aligned to 64, `scratch` to 16. `options` may be NULL.
 *   KVSTORE_ERROR  the forced encoding is unknown or cannot hold the column
 *   KVSTORE_LIMIT  more than 2^32 - 1 bytes of strings in one block */
Status chunk_encode(const ChunkInput *input, const ChooseOptions *options, uint8_t *out, void *scratch,
                    ChunkResult *result) MUST_CHECK;

#endif
