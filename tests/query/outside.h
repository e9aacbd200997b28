/* outside.h - where a query under test puts what it may not hold: the context of its QuerySpace is a Buffer. */
#ifndef COLONNADE_TESTS_QUERY_OUTSIDE_H
#define COLONNADE_TESTS_QUERY_OUTSIDE_H

#include "base/bytes.h"
#include "tests/support/test.h"

static inline Status write_outside(void *context, const void *bytes, size_t length, uint64_t *at) {
  Buffer *b = context;
  *at = b->length;
  buffer_append(b, bytes, length);
  return buffer_status(b);
}
static inline Status read_outside(void *context, uint64_t at, void *bytes, size_t length) {
  const Buffer *b = context;
  CHECK(at <= b->length && length <= b->length - at);
  memcpy(bytes, b->data + at, length);
  return KVSTORE_OK;
}

#endif
