/* values.h - KVValue and KVColumnData on the one side, Value and ColumnArray (base/schema.h) on the other. */
#ifndef COLONNADE_KVAPI_VALUES_H
#define COLONNADE_KVAPI_VALUES_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/schema.h"
#include "colonnade/kvtable.h"
#include "query/query.h"

/* The type of a caller's number, a decimal's scale being in its width; TYPE_NONE: there is none. And the way back:
 * *width becomes the scale of decimals and sums, and stays what it was for every other type. */
ColumnType type_from_caller(int type, uint32_t width);
int type_to_caller(ColumnType type, uint32_t *width);
/* The width of a column that a caller defines so. */
uint32_t width_from_caller(int type, uint32_t width);

/* A value for this column, of exactly its type: a number that the column holds exactly, a string type for another, else
 * the type itself. KVSTORE_TYPE names column and value. Whether a null may be there is the engine's question. Strings
 * stay borrowed. */
Status value_for_column(const KVValue *given, const Column *column, Value *out) MUST_CHECK;
/* A value as a parameter of a filter, which compares numbers of any type. `index` is for the message. */
Status value_for_filter(const KVValue *given, size_t index, Value *out) MUST_CHECK;
/* A decimal128 as what a column may hold: a decimal of fewer digits, without the zeros behind it, or a whole number of
 * 64 bits. Itself: it is neither. */
KVValue value_shortened(const KVValue *decimal128);
/* The way back; strings stay borrowed. */
KVValue value_to_caller(const Value *value);
KVValue sum_to_caller(Int128 number, unsigned scale);

/* A caller's column as the engine's arrays, of `row_count` (at least 1) rows: what has to be made comes from the arena,
 * the rest stays borrowed. KVSTORE_TYPE, KVSTORE_ERROR name column and row. */
Status column_from_caller(const KVColumnData *given, const Column *column, uint32_t row_count, Arena *arena,
                          ColumnArray *out) MUST_CHECK;
/* Entry `from` and what follows of an engine's array as a caller's column. */
KVColumnData column_to_caller(const ColumnArray *array, ColumnType type, uint32_t from);
/* Ends a text, lets go of the buffer and gives the caller memory of its own: kvstore_free. *out is set on success
 * alone. */
Status text_to_caller(Buffer *text, char **out) MUST_CHECK;
/* A column's definition; the name stays borrowed. */
KVColumnDefinition definition_of(const Column *column);

#endif
