/* hash.h - hashes and checksums: XXH3 (xxHash 0.8, whose results are fixed for ever). */
#ifndef COLONNADE_BASE_HASH_H
#define COLONNADE_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/processor.h"

/* The hash of a key, as delta indexes and the fingerprints of runs use it. On disk: never change it. */
uint64_t hash_key(const void *key, size_t length);
/* The checksum of a unit, record, manifest or superblock, seeded with what it must be bound to. */
uint64_t checksum64(const void *bytes, size_t length, uint64_t seed);
/* Mixes two words into a seed. */
uint64_t checksum_seed(uint64_t a, uint64_t b);

/* Long inputs go by the vectors of processor_level; for tests: by those of a level that runs here, from now on. */
void hash_force(ProcessorLevel level);

#endif
