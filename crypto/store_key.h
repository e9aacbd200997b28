/* store_key.h - the random key of one sealed store while it is open, and the subkeys made from it.
 *
 * The key lies on a page of its own that is locked into memory where the system allows it, is left out of core dumps,
 * and is overwritten when the last one gives it up. Nothing outside crypto/ ever sees its bytes.
 *
 * Threads: everything from any thread, except store_key_use_log, which comes before the first record of a log. */
#ifndef COLONNADE_CRYPTO_STORE_KEY_H
#define COLONNADE_CRYPTO_STORE_KEY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "os/os.h"

enum { STORE_ID_BYTES = 16, STORE_KEY_BYTES = 32, SEAL_NONCE_BYTES = 24, SEAL_TAG_BYTES = 16 };

typedef struct StoreKey StoreKey;

/* Ends the key: its bytes are zeros before the memory goes. NULL is allowed. */
void store_key_release(StoreKey *key);
/* Are the two keys of one store? In a time that does not depend on their bytes. */
bool store_key_equal(const StoreKey *a, const StoreKey *b);
/* Makes the subkey for the records of this log; seal_record and unseal_record use the last one made. */
void store_key_use_log(StoreKey *key, uint64_t log_id);

#endif
