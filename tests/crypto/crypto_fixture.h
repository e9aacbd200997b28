/* crypto_fixture.h - the cheapest key there is, and keys for tests. */
#ifndef COLONNADE_TESTS_CRYPTO_CRYPTO_FIXTURE_H
#define COLONNADE_TESTS_CRYPTO_CRYPTO_FIXTURE_H

#include <string.h>

#include "crypto/sealing.h"
#include "tests/support/test.h"

static const uint8_t test_store_id[STORE_ID_BYTES] = "store id of test";
static const KeyCost cheapest = { 1, KEY_MEMORY_MIN };

static inline Bytes text_bytes(const char *text) { return (Bytes){ (const uint8_t *)text, strlen(text) }; }

static inline StoreKey *new_key(uint8_t sealing[SEALING_BYTES]) {
  StoreKey *key = NULL;
  CHECK_OK(sealing_create(os_posix(), test_store_id, text_bytes("password"), cheapest, sealing, &key));
  CHECK(key != NULL);
  return key;
}

#endif
