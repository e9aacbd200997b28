#include "base/hash_internal.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/counters.h"

uint64_t hash_long_avx512(const void *bytes, size_t length, uint64_t seed) {
  COUNT(hashes_avx512);
  return XXH3_64bits_withSeed(bytes, length, seed);
}
