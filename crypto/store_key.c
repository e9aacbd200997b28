#include "crypto/store_key.h"

#include <sodium.h>
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "crypto/store_key_internal.h"

_Static_assert(STORE_KEY_BYTES == (int)crypto_kdf_KEYBYTES, "the store's key is what subkeys are made from");
_Static_assert(sizeof(struct StoreKey) <= (size_t)STORE_KEY_PAGE, "a key has a page of its own");
_Static_assert(sizeof(PURPOSE_UNITS) - 1 == crypto_kdf_CONTEXTBYTES, "a purpose is the context of crypto_kdf");

Status store_key_create(Os *os, const uint8_t store_id[STORE_ID_BYTES], StoreKey **out) {
  *out = NULL;
  if (sodium_init() < 0) return status_fail(KVSTORE_ERROR, "the library of ciphers cannot be used on this machine");
  StoreKey *key = memory_allocate_aligned(STORE_KEY_PAGE, STORE_KEY_PAGE);
  if (!key) return status_nomem();
  (void)sodium_mlock(key, STORE_KEY_PAGE); /* a limit on locked memory is no reason to refuse a store */
  memset(key, 0, STORE_KEY_PAGE);
  memcpy(key->store_id, store_id, STORE_ID_BYTES);
  key->os = os;
  mutex_init(&key->lock);
  *out = key;
  return KVSTORE_OK;
}

void store_key_release(StoreKey *key) {
  if (!key) return;
  mutex_destroy(&key->lock);
  sodium_memzero(key, STORE_KEY_PAGE);
  (void)sodium_munlock(key, STORE_KEY_PAGE);
  memory_release_aligned(key);
}

bool store_key_equal(const StoreKey *a, const StoreKey *b) {
  return sodium_memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

void store_key_derive(const StoreKey *key, const char *purpose, uint64_t number, uint8_t subkey[STORE_KEY_BYTES]) {
  int failed = crypto_kdf_derive_from_key(subkey, STORE_KEY_BYTES, number, purpose, key->bytes);
  ASSERT(!failed, "CRY-2");
}

void store_key_use_log(StoreKey *key, uint64_t log_id) {
  store_key_derive(key, PURPOSE_LOG, log_id, key->log_key);
  key->log_id = log_id;
}

Status store_key_nonce(StoreKey *key, uint8_t nonce[SEAL_NONCE_BYTES]) {
  Status status = KVSTORE_OK;
  mutex_lock(&key->lock);
  if (!key->nonces_left) {
    status = os_random(key->os, key->nonces, sizeof key->nonces);
    if (status == KVSTORE_OK) key->nonces_left = NONCES_KEPT;
  }
  if (status == KVSTORE_OK) memcpy(nonce, key->nonces + --key->nonces_left * SEAL_NONCE_BYTES, SEAL_NONCE_BYTES);
  mutex_unlock(&key->lock);
  return status;
}
