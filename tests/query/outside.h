/* outside.h - where a query under test puts what it may not hold: the context of its QuerySpace is a Buffer, and so one
 * query at a time. */
#ifndef COLONNADE_TESTS_QUERY_OUTSIDE_H
#define COLONNADE_TESTS_QUERY_OUTSIDE_H

#include "base/bytes.h"
#include "os/thread.h"
#include "tests/support/test.h"

static Mutex outside_lock = MUTEX_INITIALIZER;

static inline Status write_outside(void *context, const void *bytes, size_t length, uint64_t *at) {
  Buffer *b = context;
  mutex_lock(&outside_lock);
  *at = b->length;
  buffer_append(b, bytes, length);
  Status status = buffer_status(b);
  mutex_unlock(&outside_lock);
  return status;
}
static inline Status read_outside(void *context, uint64_t at, void *bytes, size_t length) {
  const Buffer *b = context;
  mutex_lock(&outside_lock);
  CHECK(at <= b->length && length <= b->length - at);
  memcpy(bytes, b->data + at, length);
  mutex_unlock(&outside_lock);
  return KVSTORE_OK;
}

#endif
