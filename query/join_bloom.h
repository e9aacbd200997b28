/* join_bloom.h - a filter of hashes: what it does not let through was never added. A word of 64 bits for about four
 * hashes, four bits of it for each (a blocked Bloom filter, Putze, Sanders and Singler 2007). */
#ifndef COLONNADE_QUERY_JOIN_BLOOM_H
#define COLONNADE_QUERY_JOIN_BLOOM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct JoinBloom {
  uint64_t *words; /* NULL: there is no filter */
  unsigned bits;   /* 2^bits words */
} JoinBloom;

/* For about so many hashes. */
Status join_bloom_create(JoinBloom *bloom, uint64_t hashes) MUST_CHECK;
void join_bloom_release(JoinBloom *bloom);
uint64_t join_bloom_bytes(uint64_t hashes);

/* The filter's own hash of a hash: its first bits say which word, the last ones which bits. */
static inline uint64_t join_bloom_hash(uint64_t hash) {
  hash *= UINT64_C(0xC2B2AE3D27D4EB4F);
  return (hash ^ hash >> 29) * UINT64_C(0x9E3779B97F4A7C15);
}
static inline uint64_t *join_bloom_word(const JoinBloom *bloom, uint64_t own) {
  return &bloom->words[own >> (64 - bloom->bits)];
}
static inline uint64_t join_bloom_pattern(uint64_t own) {
  return UINT64_C(1) << (own & 63) | UINT64_C(1) << (own >> 6 & 63) | UINT64_C(1) << (own >> 12 & 63) |
         UINT64_C(1) << (own >> 18 & 63);
}
static inline void join_bloom_add(JoinBloom *bloom, uint64_t hash) {
  uint64_t own = join_bloom_hash(hash);
  *join_bloom_word(bloom, own) |= join_bloom_pattern(own);
}
static inline bool join_bloom_has(const JoinBloom *bloom, uint64_t own) {
  uint64_t pattern = join_bloom_pattern(own);
  return (*join_bloom_word(bloom, own) & pattern) == pattern;
}

#endif
