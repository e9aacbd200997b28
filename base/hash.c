#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bytes.h"

uint64_t hash_key(const void *key, size_t length) { return XXH3_64bits(key, length); }

uint64_t checksum64(const void *bytes, size_t length, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes, length, seed);
}

uint64_t checksum_seed(uint64_t a, uint64_t b) {
  uint8_t both[16];
  store_u64(both, a);
  store_u64(both + 8, b);
  return XXH3_64bits(both, sizeof both);
}
