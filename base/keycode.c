#include "base/keycode.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"

static const uint64_t SIGN_BIT = UINT64_C(1) << 63;

/* ---- writing ---- */

/* The low `width` bytes of `v`, most significant first. */
static void append_big_endian(Buffer *out, uint64_t v, size_t width) {
  uint64_t swapped = __builtin_bswap64(v << (64 - 8 * width));
  buffer_append(out, &swapped, width);
}

/* Each zero byte is followed by 0xFF, and 0x00 0x00 ends the string: an end sorts below any continuation. */
static void append_escaped(Buffer *out, Bytes s) {
  size_t at = 0;
  while (at < s.length) {
    const uint8_t *zero = memchr(s.data + at, 0, s.length - at);
    size_t end = zero ? (size_t)(zero - s.data) + 1 : s.length;
    buffer_append(out, s.data + at, end - at);
    if (zero) buffer_u8(out, 0xFF);
    at = end;
  }
  buffer_u16(out, 0);
}

void keycode_append(Buffer *out, const Value *value, bool nullable) {
  if (nullable) buffer_u8(out, !value->is_null);
  ASSERT(nullable || !value->is_null, "KEY-2");
  if (value->is_null) return;
  size_t width = type_array_width(value->type);
  if (type_is_fixed(value->type))
    buffer_append(out, value->s.data, value->s.length);
  else if (type_is_string(value->type))
    append_escaped(out, value->s);
  else if (type_is_float(value->type))
    append_big_endian(out, (uint64_t)float_image(value->f) ^ SIGN_BIT, 8);
  else if (type_is_signed(value->type))
    append_big_endian(out, (uint64_t)value->i ^ SIGN_BIT >> (64 - 8 * width), width);
  else
    append_big_endian(out, value->u, width);
}

void keycode_append_row(Buffer *out, const Schema *schema, const ColumnArray *columns, size_t row) {
  for (uint32_t k = 0; k < schema->key_count; k++) {
    uint32_t position = schema->key_columns[k];
    const Column *column = &schema->columns[position];
    const ColumnArray *array = &columns[position];
    Value value = { .type = column->type, .is_null = array->nulls && array->nulls[row] };
    if (!value.is_null) value = value_from_array(column->type, array->values, row);
    keycode_append(out, &value, (column->flags & COLUMN_NULLABLE) != 0);
  }
}

#define WRITE_NUMBERS(T, SWAP)                                    \
  for (size_t i = 0; i < rows; i++) {                             \
    const T number = SWAP((T)(((const T *)values)[i] ^ (T)flip)); \
    memcpy(out + i * sizeof number, &number, sizeof number);      \
  }                                                               \
  break;
#define AS_IT_IS(number) (number)

void keycode_write_numbers(ColumnType type, const void *values, size_t rows, uint8_t *out) {
  size_t width = type_array_width(type);
  uint64_t flip = type_is_signed(type) ? SIGN_BIT >> (64 - 8 * width) : 0;
  switch (width) {
  case 1: WRITE_NUMBERS(uint8_t, AS_IT_IS)
  case 2: WRITE_NUMBERS(uint16_t, __builtin_bswap16)
  case 4: WRITE_NUMBERS(uint32_t, __builtin_bswap32)
  default: WRITE_NUMBERS(uint64_t, __builtin_bswap64)
  }
}
#undef WRITE_NUMBERS
#undef AS_IT_IS

/* ---- reading ---- */

static Status not_a_value(ColumnType type) {
  return status_fail(KVSTORE_CORRUPT, "an encoded key holds no valid %s where one belongs", type_name(type));
}

static uint64_t take_big_endian(Reader *in, size_t width) {
  const uint8_t *p = reader_take(in, width);
  uint64_t v = 0;
  for (size_t i = 0; p && i < width; i++) v = v << 8 | p[i];
  return v;
}

/* The double of an image; false for a number that is the image of none. */
static bool float_of_image(int64_t image, ColumnType type, double *out) {
  const int64_t infinity = INT64_C(0x7FF0000000000000);
  if (image == INT64_MAX) {
    *out = NAN;
    return true;
  }
  if (image > infinity || image < -infinity) return false;
  uint64_t bits = image < 0 ? SIGN_BIT - (uint64_t)image : (uint64_t)image;
  memcpy(out, &bits, sizeof bits);
  if (type == TYPE_F64 || image == infinity || image == -infinity) return true;
  return *out >= -(double)FLT_MAX && *out <= (double)FLT_MAX && (double)(float)*out == *out;
}

/* Reserves room for all that is left of the key at once, so that the strings read before do not move. */
static Status read_escaped(Reader *in, ColumnType type, Buffer *scratch, Bytes *out) {
  TRY(memory_grow(&scratch->data, &scratch->capacity, scratch->length + reader_left(in) + 1, 1));
  size_t start = scratch->length;
  for (;;) {
    size_t left = reader_left(in);
    const uint8_t *zero = left ? memchr(in->at, 0, left) : NULL;
    size_t plain = zero ? (size_t)(zero - in->at) : 0;
    if (!zero || left - plain < 2) return not_a_value(type);
    uint8_t mark = zero[1];
    if (mark != 0 && mark != 0xFF) return not_a_value(type);
    buffer_append(scratch, in->at, plain + (mark == 0xFF));
    in->at += plain + 2;
    if (mark == 0) break;
  }
  *out = (Bytes){ scratch->data + start, scratch->length - start };
  if (type == TYPE_STRING && !bytes_are_utf8(out->data, out->length)) return not_a_value(type);
  return KVSTORE_OK;
}

static Status read_present(Reader *in, ColumnType type, uint32_t width, Buffer *scratch, Value *out) {
  if (type_is_fixed(type)) {
    out->s = (Bytes){ reader_take(in, width), width };
    return in->failed ? not_a_value(type) : KVSTORE_OK;
  }
  if (type_is_string(type)) return read_escaped(in, type, scratch, &out->s);
  size_t bytes = type_is_float(type) ? 8 : type_array_width(type);
  uint64_t v = take_big_endian(in, bytes);
  if (in->failed) return not_a_value(type);
  if (type_is_float(type)) {
    return float_of_image((int64_t)(v ^ SIGN_BIT), type, &out->f) ? KVSTORE_OK : not_a_value(type);
  }
  if (type_is_signed(type)) {
    unsigned spare = (64 - 8 * (unsigned)bytes) & 63; /* an integer has 1 to 8 bytes */
    int64_t low, high;
    type_image_bounds(type, &low, &high);
    out->i = (int64_t)((v << spare) ^ SIGN_BIT) >> spare;
    return out->i >= low && out->i <= high ? KVSTORE_OK : not_a_value(type);
  }
  out->u = v;
  return type == TYPE_BOOL && v > 1 ? not_a_value(type) : KVSTORE_OK;
}

Status keycode_read(Reader *in, ColumnType type, uint32_t width, bool nullable, Buffer *scratch, Value *out) {
  *out = (Value){ .type = type };
  if (!type_is_valid(type)) return status_fail(KVSTORE_CORRUPT, "a key column of the unknown type %d", (int)type);
  if (nullable) {
    uint8_t present = reader_u8(in);
    if (in->failed || present > 1) return not_a_value(type);
    if (!present) {
      out->is_null = true;
      return KVSTORE_OK;
    }
  }
  return read_present(in, type, width, scratch, out);
}
