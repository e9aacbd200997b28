/* hash.c - short inputs here, long ones by what the processor has. */
#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bytes.h"
#include "base/counters.h"
#include "base/hash_internal.h"

enum { SHORT_MAX = XXH3_MIDSIZE_MAX /* up to here XXH3 goes by words; behind it, by stripes of 64 bytes */ };

static uint64_t long_plain(const void *bytes, size_t length, uint64_t seed) {
  COUNT(hashes_plain);
  return XXH3_64bits_withSeed(bytes, length, seed);
}

static uint64_t choose(const void *bytes, size_t length, uint64_t seed);

static _Atomic(HashLong) hash_long = choose;

void hash_force(ProcessorLevel level) {
  static const HashLong of_levels[PROCESSOR_LEVELS] = {
    [PROCESSOR_PLAIN] = long_plain,
    [PROCESSOR_AVX2] = hash_long_avx2,
#if PROCESSOR_HAS_AVX512
    [PROCESSOR_AVX512] = hash_long_avx512,
#endif
  };
  atomic_store_explicit(&hash_long, of_levels[level], memory_order_relaxed);
}

/* The first time. Two threads may choose at once; they choose the same. */
static uint64_t choose(const void *bytes, size_t length, uint64_t seed) {
  hash_force(processor_level());
  return atomic_load_explicit(&hash_long, memory_order_relaxed)(bytes, length, seed);
}

uint64_t checksum64(const void *bytes, size_t length, uint64_t seed) {
  if (length <= SHORT_MAX) return XXH3_64bits_withSeed(bytes, length, seed);
  return atomic_load_explicit(&hash_long, memory_order_relaxed)(bytes, length, seed);
}

uint64_t hash_key(const void *key, size_t length) {
  if (length <= SHORT_MAX) return XXH3_64bits(key, length);
  return checksum64(key, length, 0);
}

uint64_t checksum_seed(uint64_t a, uint64_t b) {
  uint8_t both[16];
  store_u64(both, a);
  store_u64(both + 8, b);
  return XXH3_64bits(both, sizeof both);
}
