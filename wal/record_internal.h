/* record_internal.h - offsets in a record's header, and varints as records hold them: written in place, read in their
 * shortest form only. Private to wal/. */
#ifndef COLONNADE_WAL_RECORD_INTERNAL_H
#define COLONNADE_WAL_RECORD_INTERNAL_H

#include "base/bytes.h"
#include "base/schema.h"

enum {
  RECORD_KIND_OFFSET = 4,
  RECORD_FLAGS_OFFSET = 5,
  RECORD_PADDING_OFFSET = 6,
  RECORD_POSITION_OFFSET = 8,
  RECORD_CHECKSUM_OFFSET = 48,
};
enum { VARINT_BYTES_MAX = 10 };

static inline size_t varint_size(uint64_t value) {
  size_t size = 1;
  while (value >= 128) {
    value >>= 7;
    size++;
  }
  return size;
}

/* Writes at most VARINT_BYTES_MAX bytes at `at`; returns the place after them. */
static inline uint8_t *varint_put(uint8_t *at, uint64_t value) {
  while (value >= 128) {
    *at++ = (uint8_t)(value | 128);
    value >>= 7;
  }
  *at++ = (uint8_t)value;
  return at;
}

static inline uint8_t *bytes_put(uint8_t *at, const void *bytes, size_t length) {
  if (length) memcpy(at, bytes, length);
  return at + length;
}

/* A varint longer than it need be sets `failed`: one value has one form (WAL-9). */
static inline uint64_t varint_take(Reader *in) {
  if (LIKELY(!in->failed && in->at < in->end && *in->at < 128)) return *in->at++;
  uint64_t value = reader_varint(in);
  if (!in->failed && in->at[-1] == 0) in->failed = true;
  return value;
}

/* A varint length and that many bytes, in place. */
static inline Bytes bytes_take(Reader *in) {
  uint64_t length = varint_take(in);
  Bytes bytes = { NULL, 0 };
  if (length > reader_left(in)) {
    in->failed = true;
    return bytes;
  }
  bytes.data = reader_take(in, (size_t)length);
  bytes.length = (size_t)length;
  return bytes;
}

/* Writes a row at `at`, which has room for record_row_size bytes. */
void row_put(uint8_t *at, const Schema *schema, const ColumnArray *columns, size_t row);

#endif
