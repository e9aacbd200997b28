/* array.h - the questions of codec.h asked of column arrays in memory: the delta's slabs, batches, decoded blocks.
 *
 * Masks and aggregates as in codec.h. `nulls` may be NULL. Row 0 of the array is row 0 of a block. */
#ifndef COLONNADE_ENCODINGS_ARRAY_H
#define COLONNADE_ENCODINGS_ARRAY_H

#include "encodings/codec.h"

/* ANDs the verdict on `row_count` (<= BLOCK_ROWS) entries into mask; bits past them become zero. Reads nothing past
 * them. */
void array_filter(const Compare *compare, const void *values, const uint8_t *nulls, uint32_t row_count,
                  uint64_t mask[BLOCK_WORDS]);
/* Adds the entries whose bit is set in `mask` (NULL: all). */
void array_aggregate(ColumnType type, const void *values, const uint8_t *nulls, uint32_t row_count,
                     const uint64_t *mask, AggregateState *state);
/* to[i] = from[rows[i]]: entries of `width` bytes (1, 2, 4, 8, or those of a Bytes) side by side. */
void array_gather(size_t width, const void *from, const uint16_t *rows, uint32_t count, void *to);

#endif
