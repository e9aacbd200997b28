/* keycode.h - the encoded form of a table's key: bytes whose memcmp order is the order of the typed values, and no
 * encoded key a prefix of another (of the same schema). It is what the log, the delta's index, fences and filters use.
 *
 *   a nullable column    a byte first: 0 null (and nothing more), 1 a value
 *   integers, dates and  big-endian, sign bit flipped when signed, natural width
 *   times, decimals
 *   bool                 one byte
 *   f32, f64             float_image widened to 64 bits, big-endian, sign bit flipped (floats are made canonical first)
 *   string, bytes        each 0x00 as 0x00 0xFF, then 0x00 0x00 at the end
 *   fixed bytes, uuid    as they are
 *
 * An encoded key is at most KEY_BYTES_MAX bytes. */
#ifndef COLONNADE_BASE_KEYCODE_H
#define COLONNADE_BASE_KEYCODE_H

#include "base/bytes.h"
#include "base/schema.h"

/* Appends one value. `nullable` is the column's. Fails in the buffer only (out of memory). */
void keycode_append(Buffer *out, const Value *value, bool nullable);
/* Appends the key of row `row`: columns are the arrays of the whole schema, in its order. */
void keycode_append_row(Buffer *out, const Schema *schema, const ColumnArray *columns, size_t row);
/* The keys of rows 0 to `rows` - 1 of a table whose key is one column of whole numbers, bools or times, not nullable:
 * one after the other, type_array_width(type) bytes each. */
void keycode_write_numbers(ColumnType type, const void *values, size_t rows, uint8_t *out);
/* Reads the next value of the key. Strings are unescaped into `scratch` (cleared by the caller, once a key), the Value
 * points there; strings read earlier from the same key do not move.
 * KVSTORE_CORRUPT when the bytes are no encoded value of this type. */
Status keycode_read(Reader *in, ColumnType type, uint32_t width, bool nullable, Buffer *scratch, Value *out) MUST_CHECK;

#endif
