#include "base/bytes.h"

#include "base/memory.h"

uint64_t reader_varint(Reader *r) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 70; shift += 7) {
    uint8_t byte = reader_u8(r);
    if (r->failed) return 0;
    if (shift == 63 && byte > 1) break; /* the tenth byte has room for one bit */
    value |= (uint64_t)(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  r->failed = true;
  return 0;
}

Bytes reader_bytes(Reader *r) {
  Bytes none = { NULL, 0 };
  uint64_t length = reader_varint(r);
  if (length > reader_left(r)) {
    r->failed = true;
    return none;
  }
  const uint8_t *data = reader_take(r, (size_t)length);
  if (!data) return none;
  return (Bytes){ data, (size_t)length };
}

void buffer_release(Buffer *b) {
  memory_release(b->data);
  *b = (Buffer){ 0 };
}

uint8_t *buffer_extend(Buffer *b, size_t length) {
  if (b->failed) return NULL;
  if (!b->data || length > b->capacity - b->length) {
    size_t needed = b->length + length + !b->data; /* a place, even for no bytes */
    if (length > PTRDIFF_MAX || memory_grow(&b->data, &b->capacity, needed, 1) != KVSTORE_OK) {
      b->failed = true;
      return NULL;
    }
  }
  uint8_t *place = b->data + b->length;
  b->length += length;
  return place;
}

void buffer_append(Buffer *b, const void *bytes, size_t length) {
  if (length == 0) return;
  uint8_t *place = buffer_extend(b, length);
  if (place) memcpy(place, bytes, length);
}

void buffer_u8(Buffer *b, uint8_t v) { buffer_append(b, &v, sizeof v); }
void buffer_u16(Buffer *b, uint16_t v) { buffer_append(b, &v, sizeof v); }
void buffer_u32(Buffer *b, uint32_t v) { buffer_append(b, &v, sizeof v); }
void buffer_u64(Buffer *b, uint64_t v) { buffer_append(b, &v, sizeof v); }

void buffer_varint(Buffer *b, uint64_t v) {
  uint8_t bytes[10];
  size_t length = 0;
  while (v >= 0x80) {
    bytes[length++] = (uint8_t)(v | 0x80);
    v >>= 7;
  }
  bytes[length++] = (uint8_t)v;
  buffer_append(b, bytes, length);
}

void buffer_bytes(Buffer *b, const void *bytes, size_t length) {
  buffer_varint(b, length);
  buffer_append(b, bytes, length);
}

void buffer_align(Buffer *b, size_t alignment) {
  size_t padding = -b->length & (alignment - 1);
  uint8_t *place = padding ? buffer_extend(b, padding) : NULL;
  if (place) memset(place, 0, padding);
}

static bool is_continuation(uint8_t byte) { return (byte & 0xC0) == 0x80; }

/* Length of the character that starts at `p`, whose lead byte is not ASCII; 0 when it is ill-formed. The bounds of the
 * second byte keep out overlong forms (E0, F0), surrogates (ED) and what lies past U+10FFFF (F4): The Unicode Standard,
 * table 3-7. */
static size_t wide_character(const uint8_t *p, size_t left) {
  uint8_t lead = p[0];
  if (lead < 0xC2 || lead > 0xF4 || left < 2) return 0;
  if (lead < 0xE0) return is_continuation(p[1]) ? 2 : 0;
  uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (p[1] < low || p[1] > high || left < 3 || !is_continuation(p[2])) return 0;
  if (lead < 0xF0) return 3;
  return left >= 4 && is_continuation(p[3]) ? 4 : 0;
}

bool bytes_are_utf8(const uint8_t *data, size_t length) {
  const uint64_t high_bits = UINT64_C(0x8080808080808080);
  size_t i = 0;
  while (i < length) {
    if (length - i >= 32 &&
        ((load_u64(data + i) | load_u64(data + i + 8) | load_u64(data + i + 16) | load_u64(data + i + 24)) &
         high_bits) == 0) {
      i += 32;
    } else if (length - i >= 8 && (load_u64(data + i) & high_bits) == 0) {
      i += 8;
    } else if (data[i] < 0x80) {
      i++;
    } else {
      size_t width = wide_character(data + i, length - i);
      if (width == 0) return false;
      i += width;
    }
  }
  return true;
}
