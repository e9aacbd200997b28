#include "crypto/seal.h"

#include <sodium.h>
#include <string.h>

#include "base/assert.h"
#include "base/counters.h"
#include "crypto/store_key_internal.h"

_Static_assert(SEAL_NONCE_BYTES == (int)crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "the nonce of the cipher");
_Static_assert(SEAL_TAG_BYTES == (int)crypto_aead_xchacha20poly1305_ietf_ABYTES, "the tag of the cipher");
_Static_assert(SUPERBLOCK_MAC_BYTES >= (int)crypto_generichash_BYTES_MIN, "a code that BLAKE2b can give");

/* Nonce and tag to `seal`. */
static Status seal(StoreKey *key, const uint8_t *subkey, const void *bound, size_t bound_length, const uint8_t *plain,
                   size_t length, uint8_t *sealed, uint8_t *nonce_and_tag) {
  TRY(store_key_nonce(key, nonce_and_tag));
  crypto_aead_xchacha20poly1305_ietf_encrypt_detached(sealed, nonce_and_tag + SEAL_NONCE_BYTES, NULL, plain, length,
                                                      bound, bound_length, NULL, nonce_and_tag, subkey);
  return KVSTORE_OK;
}

static bool unseal(const uint8_t *subkey, const void *bound, size_t bound_length, const uint8_t *sealed, size_t length,
                   uint8_t *plain, const uint8_t *nonce_and_tag) {
  return crypto_aead_xchacha20poly1305_ietf_decrypt_detached(plain, NULL, sealed, length,
                                                             nonce_and_tag + SEAL_NONCE_BYTES, bound, bound_length,
                                                             nonce_and_tag, subkey) == 0;
}

/* ---- units ---- */

typedef struct UnitBinding { /* CRY-4 */
  uint8_t bytes[STORE_ID_BYTES + 24];
} UnitBinding;

static UnitBinding unit_binding(const UnitCipher *c, uint64_t unit) {
  UnitBinding bound;
  memcpy(bound.bytes, c->key->store_id, STORE_ID_BYTES);
  store_u64(bound.bytes + STORE_ID_BYTES, c->place.extent_id);
  store_u64(bound.bytes + STORE_ID_BYTES + 8, c->place.extent_length);
  store_u64(bound.bytes + STORE_ID_BYTES + 16, unit);
  return bound;
}

UnitCipher unit_cipher_begin(StoreKey *key, UnitPlace place) {
  UnitCipher cipher = { .key = key, .place = place };
  store_key_derive(key, PURPOSE_UNITS, place.extent_id, cipher.subkey);
  return cipher;
}

void unit_cipher_end(UnitCipher *cipher) { sodium_memzero(cipher, sizeof *cipher); }

Status unit_seal(const UnitCipher *c, uint64_t unit, const uint8_t *plain, size_t length, uint8_t *sealed,
                 uint8_t nonce_and_tag[SEAL_BYTES]) {
  UnitBinding bound = unit_binding(c, unit);
  COUNT(units_sealed);
  return seal(c->key, c->subkey, bound.bytes, sizeof bound.bytes, plain, length, sealed, nonce_and_tag);
}

Status unit_unseal(const UnitCipher *c, uint64_t unit, uint8_t *bytes, size_t length,
                   const uint8_t nonce_and_tag[SEAL_BYTES]) {
  UnitBinding bound = unit_binding(c, unit);
  COUNT(units_unsealed);
  if (LIKELY(unseal(c->subkey, bound.bytes, sizeof bound.bytes, bytes, length, bytes, nonce_and_tag)))
    return KVSTORE_OK;
  return status_fail(KVSTORE_CORRUPT, "unit %llu of extent %llu is not what was sealed there", (unsigned long long)unit,
                     (unsigned long long)c->place.extent_id);
}

uint64_t unit_table_mac(const StoreKey *key, UnitPlace place, const uint8_t *table, size_t length) {
  uint8_t subkey[STORE_KEY_BYTES], mac[crypto_generichash_BYTES_MIN];
  store_key_derive(key, PURPOSE_TABLE, place.extent_id, subkey);
  int failed = crypto_generichash(mac, sizeof mac, table, length, subkey, sizeof subkey);
  ASSERT(!failed, "CRY-2");
  sodium_memzero(subkey, sizeof subkey);
  return load_u64(mac);
}

/* ---- records ---- */

typedef struct RecordBinding { /* CRY-5 */
  uint8_t bytes[STORE_ID_BYTES + 8 + RECORD_BOUND_BYTES];
} RecordBinding;

static RecordBinding record_binding(const StoreKey *key, const uint8_t *record) {
  RecordBinding bound;
  memcpy(bound.bytes, key->store_id, STORE_ID_BYTES);
  store_u64(bound.bytes + STORE_ID_BYTES, key->log_id);
  memcpy(bound.bytes + STORE_ID_BYTES + 8, record, RECORD_BOUND_BYTES);
  return bound;
}

Status seal_record(StoreKey *key, uint8_t *record, size_t length) {
  ASSERT(key->log_id && length >= RECORD_SEALED_OFFSET, "CRY-5");
  RecordBinding bound = record_binding(key, record);
  uint8_t *body = record + RECORD_SEALED_OFFSET;
  COUNT(records_sealed);
  return seal(key, key->log_key, bound.bytes, sizeof bound.bytes, body, length - RECORD_SEALED_OFFSET, body,
              record + RECORD_SEAL_OFFSET);
}

Status unseal_record(const StoreKey *key, Bytes record, uint8_t *plain) {
  ASSERT(key->log_id && record.length >= RECORD_SEALED_OFFSET, "CRY-5");
  RecordBinding bound = record_binding(key, record.data);
  if (LIKELY(unseal(key->log_key, bound.bytes, sizeof bound.bytes, record.data + RECORD_SEALED_OFFSET,
                    record.length - RECORD_SEALED_OFFSET, plain, record.data + RECORD_SEAL_OFFSET)))
    return KVSTORE_OK;
  return status_fail(KVSTORE_CORRUPT, "a record of the log is not what was sealed at this place");
}

/* ---- superblocks ---- */

void superblock_mac(const StoreKey *key, uint32_t page, const uint8_t *bytes, size_t length,
                    uint8_t mac[SUPERBLOCK_MAC_BYTES]) {
  uint8_t subkey[STORE_KEY_BYTES];
  store_key_derive(key, PURPOSE_SUPERBLOCK, page, subkey);
  int failed = crypto_generichash(mac, SUPERBLOCK_MAC_BYTES, bytes, length, subkey, sizeof subkey);
  ASSERT(!failed, "CRY-2");
  sodium_memzero(subkey, sizeof subkey);
}

Status superblock_mac_check(const uint8_t expected[SUPERBLOCK_MAC_BYTES], const uint8_t found[SUPERBLOCK_MAC_BYTES]) {
  if (sodium_memcmp(expected, found, SUPERBLOCK_MAC_BYTES) == 0) return KVSTORE_OK;
  return status_fail(KVSTORE_CORRUPT, "a superblock of the store was changed by who does not have its key");
}
