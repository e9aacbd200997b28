/* row_parts.h - rows that left memory, divided by a hash: each goes out once and, unless there is still no room for it,
 * comes back once. Rows of one part come back in the order in which they were added.
 *
 *   level 0    32 parts, by the first 5 bits of the hash, a buffer each; what fills it goes out as a piece
 *   level 1    a part that is being read: rows of it that are added again, by the next 5 bits
 *
 *   piece:  how many rows (4 bytes) | row | row | ...
 *   row:    4 bits a column: the bytes of its word, of a string of its length, or that it is null | these bytes
 *   word:   of an integer twice its distance from 0, one more for those below; of a float its bytes, last one first.
 *           Zeros above are left out. */
#ifndef COLONNADE_QUERY_ROW_PARTS_H
#define COLONNADE_QUERY_ROW_PARTS_H

#include "query/query.h"

typedef struct RowParts RowParts;

/* Rows of such columns, none of them wider than 8 bytes. `space` (that has a file) and `types` are borrowed; buffers
 * take about `memory` bytes. */
Status row_parts_create(const ColumnType *types, uint32_t column_count, const QuerySpace *space, uint64_t memory,
                        RowParts **parts) MUST_CHECK;
void row_parts_destroy(RowParts *parts); /* NULL is allowed */
/* Adds the rows at `rows` (NULL: the first ones) of the columns; hashes[i] is that of the i-th. */
Status row_parts_add(RowParts *parts, const ColumnArray *columns, const uint16_t *rows, uint32_t count,
                     const uint64_t *hashes) MUST_CHECK;
/* On to the next part; *more is false when there is none. What is added from now on is of its rows. */
Status row_parts_open(RowParts *parts, bool *more) MUST_CHECK;
/* Reads the part from its first row on again. */
void row_parts_rewind(RowParts *parts);
/* All rows of the part have the same hash. */
bool row_parts_is_one(const RowParts *parts);
/* Its next rows; row_count is 0 at its end. Arrays and strings are the caller's to change until the next call. */
Status row_parts_next(RowParts *parts, QueryBatch *batch) MUST_CHECK;
/* Bytes written so far. */
uint64_t row_parts_bytes(const RowParts *parts);

#endif
