/* sealing.h - from a password to the key of a store: the sealing bytes of the superblock.
 *
 *   OFFSET  SIZE  FIELD
 *        0     4  cipher: 0 plain (then all bytes are zeros), 1 XChaCha20-Poly1305 with Argon2id
 *        4     4  passes of Argon2id
 *        8     8  memory of Argon2id, bytes
 *       16    16  salt
 *       32    24  nonce of the wrapped key
 *       56    48  the wrapped key: 32 bytes encrypted, and their tag. Associated data: store id, bytes 0 to 32
 *
 * Threads: all of it from any thread. */
#ifndef COLONNADE_CRYPTO_SEALING_H
#define COLONNADE_CRYPTO_SEALING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"
#include "crypto/store_key.h"
#include "os/os.h"

enum { SEALING_BYTES = 104 };

/* What it costs to try a password. Zeros mean the defaults: 3 passes over 64 MiB. */
typedef struct KeyCost {
  uint32_t passes;
  uint64_t memory_bytes;
} KeyCost;

#define KEY_PASSES_DEFAULT 3u
#define KEY_MEMORY_DEFAULT (UINT64_C(64) << 20)
#define KEY_MEMORY_MIN     UINT64_C(8192)      /* what Argon2id needs */
#define KEY_MEMORY_MAX     (UINT64_C(1) << 30) /* a crafted file must not take all the memory there is */
#define KEY_WORK_MAX       (UINT64_C(4) << 30) /* passes x memory: some seconds */

/* KVSTORE_ERROR when the cost (defaults filled in) is outside of the limits. */
Status key_cost_check(KeyCost cost) MUST_CHECK;

/* Does a superblock with these bytes belong to a sealed store? */
bool sealing_is_sealed(const uint8_t sealing[SEALING_BYTES]);

/* A new random key for the store, wrapped by the password. KVSTORE_ERROR for an empty password or a cost outside of the
 * limits, KVSTORE_NOMEM (the memory of Argon2id included). On an error *key is NULL. */
Status sealing_create(Os *os, const uint8_t store_id[STORE_ID_BYTES], Bytes password, KeyCost cost,
                      uint8_t sealing[SEALING_BYTES], StoreKey **key) MUST_CHECK;
/* The key out of sealing bytes that were read from a file. KVSTORE_AUTH_FAILED for a wrong password (or bytes that
 * somebody changed: these cannot be told apart), KVSTORE_CORRUPT for a cost outside of the limits, KVSTORE_UNSUPPORTED
 * for an unknown cipher, KVSTORE_NOMEM. */
Status sealing_open(Os *os, const uint8_t store_id[STORE_ID_BYTES], Bytes password,
                    const uint8_t sealing[SEALING_BYTES], StoreKey **key) MUST_CHECK;
/* The same key, wrapped by another password. The codes of sealing_create. */
Status sealing_rewrap(StoreKey *key, Bytes password, KeyCost cost, uint8_t sealing[SEALING_BYTES]) MUST_CHECK;

#endif
