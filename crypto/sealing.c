#include "crypto/sealing.h"

#include <sodium.h>
#include <string.h>

#include "base/counters.h"
#include "crypto/store_key_internal.h"

enum { CIPHER_PLAIN = 0, CIPHER_XCHACHA = 1 };
enum { SALT_OFFSET = 16, NONCE_OFFSET = 32, WRAPPED_OFFSET = 56, BOUND_BYTES = 32 };

_Static_assert(NONCE_OFFSET - SALT_OFFSET == (int)crypto_pwhash_SALTBYTES, "the salt lies before the nonce");
_Static_assert(WRAPPED_OFFSET - NONCE_OFFSET == (int)crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "then the key");
_Static_assert(SEALING_BYTES - WRAPPED_OFFSET == STORE_KEY_BYTES + (int)crypto_aead_xchacha20poly1305_ietf_ABYTES,
               "and its tag");

/* ---- what a password costs ---- */

static KeyCost with_defaults(KeyCost cost) {
  if (!cost.passes) cost.passes = KEY_PASSES_DEFAULT;
  if (!cost.memory_bytes) cost.memory_bytes = KEY_MEMORY_DEFAULT;
  return cost;
}

static bool cost_is_allowed(KeyCost cost) {
  if (cost.memory_bytes < KEY_MEMORY_MIN || cost.memory_bytes > KEY_MEMORY_MAX) return false;
  return cost.passes >= 1 && cost.passes <= KEY_WORK_MAX / cost.memory_bytes;
}

Status key_cost_check(KeyCost given) {
  KeyCost cost = with_defaults(given);
  if (cost_is_allowed(cost)) return KVSTORE_OK;
  return status_fail(KVSTORE_ERROR,
                     "a key made by %u passes over %llu bytes: memory is 8 KiB to 1 GiB, all passes together 4 GiB",
                     cost.passes, (unsigned long long)cost.memory_bytes);
}

/* ---- wrapping ---- */

static Status stretch(Bytes password, KeyCost cost, const uint8_t *salt, uint8_t out[STORE_KEY_BYTES]) {
  COUNT(passwords_stretched);
  if (crypto_pwhash(out, STORE_KEY_BYTES, (const char *)password.data, password.length, salt, cost.passes,
                    (size_t)cost.memory_bytes, crypto_pwhash_ALG_ARGON2ID13) == 0)
    return KVSTORE_OK;
  return status_fail(KVSTORE_NOMEM, "there is no memory to try a password: it takes %llu bytes",
                     (unsigned long long)cost.memory_bytes);
}

typedef struct WrapBinding {
  uint8_t bytes[STORE_ID_BYTES + BOUND_BYTES];
} WrapBinding;

static WrapBinding wrap_binding(const uint8_t *store_id, const uint8_t *sealing) {
  WrapBinding bound;
  memcpy(bound.bytes, store_id, STORE_ID_BYTES);
  memcpy(bound.bytes + STORE_ID_BYTES, sealing, BOUND_BYTES);
  return bound;
}

bool sealing_is_sealed(const uint8_t sealing[SEALING_BYTES]) {
  for (size_t i = 0; i < SEALING_BYTES; i++)
    if (sealing[i]) return true;
  return false;
}

Status sealing_rewrap(StoreKey *key, Bytes password, KeyCost given, uint8_t sealing[SEALING_BYTES]) {
  KeyCost cost = with_defaults(given);
  TRY(key_cost_check(cost));
  if (!password.length) return status_fail(KVSTORE_ERROR, "the password is empty");
  uint8_t out[SEALING_BYTES] = { 0 }, wrapping[STORE_KEY_BYTES];
  store_u32(out, CIPHER_XCHACHA);
  store_u32(out + 4, cost.passes);
  store_u64(out + 8, cost.memory_bytes);
  TRY(os_random(key->os, out + SALT_OFFSET, WRAPPED_OFFSET - SALT_OFFSET)); /* salt and nonce */
  Status status = stretch(password, cost, out + SALT_OFFSET, wrapping);
  if (status == KVSTORE_OK) {
    WrapBinding bound = wrap_binding(key->store_id, out);
    crypto_aead_xchacha20poly1305_ietf_encrypt(out + WRAPPED_OFFSET, NULL, key->bytes, STORE_KEY_BYTES, bound.bytes,
                                               sizeof bound.bytes, NULL, out + NONCE_OFFSET, wrapping);
    memcpy(sealing, out, SEALING_BYTES);
  }
  sodium_memzero(wrapping, sizeof wrapping);
  return status;
}

Status sealing_create(Os *os, const uint8_t store_id[STORE_ID_BYTES], Bytes password, KeyCost cost,
                      uint8_t sealing[SEALING_BYTES], StoreKey **key) {
  TRY(store_key_create(os, store_id, key));
  Status status = os_random(os, (*key)->bytes, STORE_KEY_BYTES);
  if (status == KVSTORE_OK) status = sealing_rewrap(*key, password, cost, sealing);
  if (status != KVSTORE_OK) {
    store_key_release(*key);
    *key = NULL;
  }
  return status;
}

static Status unwrap(StoreKey *key, Bytes password, KeyCost cost, const uint8_t *sealing) {
  uint8_t wrapping[STORE_KEY_BYTES];
  Status status = stretch(password, cost, sealing + SALT_OFFSET, wrapping);
  WrapBinding bound = wrap_binding(key->store_id, sealing);
  if (status == KVSTORE_OK && crypto_aead_xchacha20poly1305_ietf_decrypt(
                                key->bytes, NULL, NULL, sealing + WRAPPED_OFFSET, SEALING_BYTES - WRAPPED_OFFSET,
                                bound.bytes, sizeof bound.bytes, sealing + NONCE_OFFSET, wrapping) != 0)
    status = status_fail(KVSTORE_AUTH_FAILED, "this is not the password of the store");
  sodium_memzero(wrapping, sizeof wrapping);
  return status;
}

Status sealing_open(Os *os, const uint8_t store_id[STORE_ID_BYTES], Bytes password,
                    const uint8_t sealing[SEALING_BYTES], StoreKey **key) {
  *key = NULL;
  uint32_t cipher = load_u32(sealing);
  KeyCost cost = { load_u32(sealing + 4), load_u64(sealing + 8) };
  if (cipher != CIPHER_XCHACHA)
    return status_fail(KVSTORE_UNSUPPORTED, "the store is encrypted by cipher %u, which this library does not know",
                       cipher);
  if (!cost_is_allowed(cost))
    return status_fail(KVSTORE_CORRUPT,
                       "the store wants %u passes over %llu bytes to try a password: more than is ever given",
                       cost.passes, (unsigned long long)cost.memory_bytes);
  TRY(store_key_create(os, store_id, key));
  Status status = unwrap(*key, password, cost, sealing);
  if (status != KVSTORE_OK) {
    store_key_release(*key);
    *key = NULL;
  }
  return status;
}
