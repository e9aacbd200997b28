/* bytes.h - little-endian integers in bytes, a reader that cannot run past its end, and a growing buffer.
 *
 * No struct is ever cast onto disk bytes: everything read from a file goes through a Reader. */
#ifndef COLONNADE_BASE_BYTES_H
#define COLONNADE_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/status.h"

/* A borrowed string of bytes, in memory and in column arrays. 16 bytes. */
typedef struct Bytes {
  const uint8_t *data;
  size_t length;
} Bytes;

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Colonnade reads its file in place and needs a little-endian machine"
#endif

static inline uint16_t load_u16(const void *p) {
  uint16_t v;
  memcpy(&v, p, sizeof v);
  return v;
}
static inline uint32_t load_u32(const void *p) {
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return v;
}
static inline uint64_t load_u64(const void *p) {
  uint64_t v;
  memcpy(&v, p, sizeof v);
  return v;
}
static inline void store_u16(void *p, uint16_t v) { memcpy(p, &v, sizeof v); }
static inline void store_u32(void *p, uint32_t v) { memcpy(p, &v, sizeof v); }
static inline void store_u64(void *p, uint64_t v) { memcpy(p, &v, sizeof v); }
static inline uint32_t load_u32_big_endian(const void *p) { return __builtin_bswap32(load_u32(p)); }
static inline uint64_t load_u64_big_endian(const void *p) { return __builtin_bswap64(load_u64(p)); }

/* The first 8 bytes of a string as a big-endian number, padded with zeros: orders as memcmp does, up to 8 bytes. */
static inline uint64_t bytes_prefix64(const uint8_t *data, size_t length) {
  if (length >= 8) return load_u64_big_endian(data);
  if (length >= 4) { /* two words that overlap */
    uint64_t head = load_u32_big_endian(data), tail = load_u32_big_endian(data + length - 4);
    return head << 32 | tail << (64 - 8 * length);
  }
  uint64_t v = 0;
  for (size_t i = 0; i < length; i++) v |= (uint64_t)data[i] << (56 - 8 * i);
  return v;
}

/* Order of keys: by memcmp, the shorter first. Negative, 0, positive. */
static inline int bytes_compare(const void *a, size_t a_length, const void *b, size_t b_length) {
  size_t common = a_length < b_length ? a_length : b_length;
  int order = common ? memcmp(a, b, common) : 0;
  return order ? order : (a_length > b_length) - (a_length < b_length);
}

static inline uint64_t round_up(uint64_t value, uint64_t multiple) { /* multiple: a power of two */
  return (value + multiple - 1) & ~(multiple - 1);
}

/* ---- Reader: a cursor over bytes of unknown quality ----
 * After any read past the end `failed` is set, every further read gives 0, and the caller asks once, at the end. */
typedef struct Reader {
  const uint8_t *at, *end;
  bool failed;
} Reader;

static inline Reader reader_over(const void *bytes, size_t length) {
  Reader r = { (const uint8_t *)bytes, (const uint8_t *)bytes + length, false };
  return r;
}
static inline size_t reader_left(const Reader *r) { return r->failed ? 0 : (size_t)(r->end - r->at); }
/* `length` bytes in place, or NULL (and `failed`) when fewer are left. */
static inline const uint8_t *reader_take(Reader *r, size_t length) {
  if (UNLIKELY(r->failed || (size_t)(r->end - r->at) < length)) {
    r->failed = true;
    return NULL;
  }
  const uint8_t *p = r->at;
  r->at += length;
  return p;
}
static inline uint8_t reader_u8(Reader *r) {
  const uint8_t *p = reader_take(r, 1);
  return p ? *p : 0;
}
static inline uint16_t reader_u16(Reader *r) {
  const uint8_t *p = reader_take(r, 2);
  return p ? load_u16(p) : 0;
}
static inline uint32_t reader_u32(Reader *r) {
  const uint8_t *p = reader_take(r, 4);
  return p ? load_u32(p) : 0;
}
static inline uint64_t reader_u64(Reader *r) {
  const uint8_t *p = reader_take(r, 8);
  return p ? load_u64(p) : 0;
}
/* An unsigned LEB128 number of at most 10 bytes; a longer one sets `failed`. */
uint64_t reader_varint(Reader *r);
/* A varint length and that many bytes, in place. */
Bytes reader_bytes(Reader *r);

/* ---- Buffer: bytes that grow. Zero-initialise; buffer_release at the end. ----
 * A failed append sets `failed` (out of memory); later appends do nothing, and buffer_status says it once, at the end.
 */
typedef struct Buffer {
  uint8_t *data;
  size_t length, capacity;
  bool failed;
} Buffer;

void buffer_release(Buffer *b);
static inline void buffer_clear(Buffer *b) {
  b->length = 0;
  b->failed = false;
}
static inline Status buffer_status(const Buffer *b) { return b->failed ? status_nomem() : KVSTORE_OK; }
/* Room for `length` more bytes: the place to write them, already counted in, or NULL. Not cleared. */
uint8_t *buffer_extend(Buffer *b, size_t length);
void buffer_append(Buffer *b, const void *bytes, size_t length);
void buffer_u8(Buffer *b, uint8_t v);
void buffer_u16(Buffer *b, uint16_t v);
void buffer_u32(Buffer *b, uint32_t v);
void buffer_u64(Buffer *b, uint64_t v);
void buffer_varint(Buffer *b, uint64_t v);
void buffer_bytes(Buffer *b, const void *bytes, size_t length); /* varint length, bytes */
/* Zeros up to the next multiple of `alignment` (a power of two). */
void buffer_align(Buffer *b, size_t alignment);

/* True when the bytes are well-formed UTF-8 (no surrogates, no overlong forms, at most U+10FFFF; RFC 3629). */
bool bytes_are_utf8(const uint8_t *data, size_t length);
/* How many bytes of a UTF-8 text are its beginning of at most `most`, without half a character. */
static inline size_t bytes_beginning(const void *text, size_t length, size_t most) {
  const uint8_t *data = (const uint8_t *)text;
  if (length <= most) return length;
  while (most && (data[most] & 0xC0) == 0x80) most--;
  return most;
}

#endif
