/* key_filter.h - "is this key perhaps in the segment?": a split-block Bloom filter over the hashes of encoded keys.
 *
 * A key sets, and a look-up tests, eight bits of one block of 32 bytes, one in each of its eight 32-bit words (Putze,
 * Sanders and Singler 2007; the variant of Apache Parquet, with its salts, so that 1 % of absent keys pass at 10 bits a
 * key). One cache line, no branch. Disk bytes need no check but their length: every bit pattern is a filter. */
#ifndef COLONNADE_COLUMNAR_KEY_FILTER_H
#define COLONNADE_COLUMNAR_KEY_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KEY_FILTER_BLOCK_BYTES = 32 };

/* Bytes of a filter for `keys` keys: a multiple of 32, at least 32. */
size_t key_filter_bytes(size_t keys);
/* `hash` is hash_key of the encoded key. `filter` starts as zeros. */
void key_filter_add(uint8_t *filter, size_t bytes, uint64_t hash);
void key_filter_prefetch(const uint8_t *filter, size_t bytes, uint64_t hash);
bool key_filter_may_contain(const uint8_t *filter, size_t bytes, uint64_t hash);

#endif
