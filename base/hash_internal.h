/* hash_internal.h - XXH3 of long inputs, compiled once for each instruction set: the same numbers. */
#ifndef COLONNADE_BASE_HASH_INTERNAL_H
#define COLONNADE_BASE_HASH_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

typedef uint64_t (*HashLong)(const void *bytes, size_t length, uint64_t seed);

uint64_t hash_long_avx2(const void *bytes, size_t length, uint64_t seed);
uint64_t hash_long_avx512(const void *bytes, size_t length, uint64_t seed);

#endif
