/* store_key_internal.h - what a key's page holds. Private to crypto/. */
#ifndef COLONNADE_CRYPTO_STORE_KEY_INTERNAL_H
#define COLONNADE_CRYPTO_STORE_KEY_INTERNAL_H

#include "crypto/store_key.h"
#include "os/thread.h"

enum { STORE_KEY_PAGE = 4096, NONCES_KEPT = 64 };

struct StoreKey {
  uint8_t bytes[STORE_KEY_BYTES];
  uint8_t log_key[STORE_KEY_BYTES];
  uint64_t log_id;
  uint8_t store_id[STORE_ID_BYTES];
  Os *os;
  Mutex lock; /* guards the nonces */
  uint32_t nonces_left;
  uint8_t nonces[NONCES_KEPT * SEAL_NONCE_BYTES]; /* no secrets: the system is asked for many at once */
};

/* What a subkey is for: the context of crypto_kdf. */
#define PURPOSE_UNITS      "clndunit"
#define PURPOSE_TABLE      "clndtabl"
#define PURPOSE_LOG        "clndlog_"
#define PURPOSE_SUPERBLOCK "clndsupr"

/* A key of zeros for the caller to fill. KVSTORE_NOMEM; KVSTORE_ERROR when libsodium cannot begin. */
Status store_key_create(Os *os, const uint8_t store_id[STORE_ID_BYTES], StoreKey **out) MUST_CHECK;
/* CRY-2: the subkey of a purpose and a number. The caller wipes it. */
void store_key_derive(const StoreKey *key, const char *purpose, uint64_t number, uint8_t subkey[STORE_KEY_BYTES]);
/* CRY-3: random, never given twice. */
Status store_key_nonce(StoreKey *key, uint8_t nonce[SEAL_NONCE_BYTES]) MUST_CHECK;

#endif
