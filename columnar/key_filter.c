#include "columnar/key_filter.h"

#include "base/bytes.h"

enum { BITS_PER_KEY = 10, WORDS = KEY_FILTER_BLOCK_BYTES / 4 };

/* Odd multipliers, one a word: their top five bits choose the word's bit (the salts of Apache Parquet's format). */
static const uint32_t salts[WORDS] = { 0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d,
                                       0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31 };

size_t key_filter_bytes(size_t keys) { return (size_t)round_up(keys * BITS_PER_KEY / 8 + 1, KEY_FILTER_BLOCK_BYTES); }

/* The upper half of the hash chooses the block, without a division; the lower half its bits. */
static size_t block_offset(size_t bytes, uint64_t hash) {
  uint64_t blocks = bytes / KEY_FILTER_BLOCK_BYTES;
  return (size_t)((hash >> 32) * blocks >> 32) * KEY_FILTER_BLOCK_BYTES;
}

void key_filter_add(uint8_t *filter, size_t bytes, uint64_t hash) {
  uint8_t *block = filter + block_offset(bytes, hash);
  for (size_t i = 0; i < WORDS; i++) {
    uint32_t word = load_u32(block + 4 * i) | UINT32_C(1) << ((uint32_t)hash * salts[i] >> 27);
    store_u32(block + 4 * i, word);
  }
}

void key_filter_prefetch(const uint8_t *filter, size_t bytes, uint64_t hash) {
  __builtin_prefetch(filter + block_offset(bytes, hash));
}

bool key_filter_may_contain(const uint8_t *filter, size_t bytes, uint64_t hash) {
  const uint8_t *block = filter + block_offset(bytes, hash);
  uint32_t missing = 0;
  for (size_t i = 0; i < WORDS; i++) {
    missing |= ~load_u32(block + 4 * i) & UINT32_C(1) << ((uint32_t)hash * salts[i] >> 27);
  }
  return !missing;
}
