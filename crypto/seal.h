/* seal.h - what is sealed with the key of a store: units of extents, records of the log; and what is only
 * authenticated: tables of units, superblocks.
 *
 * Each seal is XChaCha20-Poly1305 with a random nonce. Its associated data say what the bytes are and where they
 * belong, so that bytes which are right somewhere else, or were right before, are refused.
 *
 * Threads: all of it from any thread. */
#ifndef COLONNADE_CRYPTO_SEAL_H
#define COLONNADE_CRYPTO_SEAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"
#include "crypto/store_key.h"

enum { SEAL_BYTES = SEAL_NONCE_BYTES + SEAL_TAG_BYTES, SUPERBLOCK_MAC_BYTES = 16 };

/* Which extent a unit belongs to. Ids are never given twice. */
typedef struct UnitPlace {
  uint64_t extent_id, extent_length;
} UnitPlace;

/* The units of one extent, for one call: holds the extent's subkey, so unit_cipher_end comes on every way out. */
typedef struct UnitCipher {
  StoreKey *key;
  UnitPlace place;
  uint8_t subkey[STORE_KEY_BYTES];
} UnitCipher;

UnitCipher unit_cipher_begin(StoreKey *key, UnitPlace place);
void unit_cipher_end(UnitCipher *cipher);
/* `length` bytes of unit `unit` from `plain` to `sealed` (which may be the same), nonce and tag to `seal`. */
Status unit_seal(const UnitCipher *cipher, uint64_t unit, const uint8_t *plain, size_t length, uint8_t *sealed,
                 uint8_t seal[SEAL_BYTES]) MUST_CHECK;
/* In place. KVSTORE_CORRUPT, and the bytes are lost, when they are not what was sealed for this place. */
Status unit_unseal(const UnitCipher *cipher, uint64_t unit, uint8_t *bytes, size_t length,
                   const uint8_t seal[SEAL_BYTES]) MUST_CHECK;
/* A checksum that nobody makes without the key: of the table of an extent's nonces and tags. */
uint64_t unit_table_mac(const StoreKey *key, UnitPlace place, const uint8_t *table, size_t length);

/* A record of the log, in place: the first RECORD_BOUND_BYTES of its header are bound, nonce and tag go behind the
 * header, everything behind these is encrypted. The log's id is bound too. */
enum { RECORD_BOUND_BYTES = 48, RECORD_SEAL_OFFSET = 56, RECORD_SEALED_OFFSET = RECORD_SEAL_OFFSET + SEAL_BYTES };
Status seal_record(StoreKey *key, uint8_t *record, size_t length) MUST_CHECK;
/* The operations of a whole record of at least RECORD_SEALED_OFFSET bytes, into `plain` (length -
 * RECORD_SEALED_OFFSET). */
Status unseal_record(const StoreKey *key, Bytes record, uint8_t *plain) MUST_CHECK;

/* Authenticates the `length` bytes of superblock `page` that lie before its code. */
void superblock_mac(const StoreKey *key, uint32_t page, const uint8_t *bytes, size_t length,
                    uint8_t mac[SUPERBLOCK_MAC_BYTES]);
/* KVSTORE_CORRUPT when the code is another. */
Status superblock_mac_check(const uint8_t expected[SUPERBLOCK_MAC_BYTES],
                            const uint8_t found[SUPERBLOCK_MAC_BYTES]) MUST_CHECK;

#endif
