/* numbered_pairs.h - keys by number, whose values are made from number and round: one of another key or round is
 * noticed. */
#ifndef COLONNADE_TESTS_ENGINE_NUMBERED_PAIRS_H
#define COLONNADE_TESTS_ENGINE_NUMBERED_PAIRS_H

#include <stdio.h>

#include "base/memory.h"
#include "engine/engine.h"
#include "tests/support/test.h"

enum { VALUE_BYTES = 400 };

static inline Bytes key_of(char text[16], uint32_t i) {
  int length = snprintf(text, 16, "key%07u", i);
  return (Bytes){ (const uint8_t *)text, (size_t)length };
}

static inline void value_of(uint8_t value[VALUE_BYTES], uint32_t i, uint32_t round) {
  uint64_t random = (uint64_t)round << 32 | i;
  for (size_t b = 0; b < VALUE_BYTES; b++) value[b] = (uint8_t)test_random(&random);
}

/* Each `step`th from `from` on, in one transaction. */
static inline void put_range(Session *s, uint32_t from, uint32_t to, uint32_t step, uint32_t round, int64_t expiry) {
  char text[16];
  uint8_t value[VALUE_BYTES];
  CHECK_OK(session_begin(s, true));
  for (uint32_t i = from; i < to; i += step) {
    value_of(value, i, round);
    CHECK_OK(
      kv_put(s, FAMILY_DEFAULT_ID, key_of(text, i), (Bytes){ value, sizeof value }, expiry, KV_PUT_ALWAYS, NULL));
  }
  CHECK_OK(session_commit(s));
}

static inline void check_value(Session *s, uint32_t i, uint32_t round) {
  char text[16];
  uint8_t value[VALUE_BYTES];
  KvValue found = { 0 };
  value_of(value, i, round);
  CHECK_OK(kv_get(s, FAMILY_DEFAULT_ID, key_of(text, i), &found));
  CHECK_INT(found.length, VALUE_BYTES);
  CHECK_BYTES(found.data, value, VALUE_BYTES);
  memory_release(found.data);
}

#endif
