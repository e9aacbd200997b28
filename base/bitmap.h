/* bitmap.h - words of bits: selection masks, validity, deleted rows. Bit i is bit i % 64 of word i / 64. */
#ifndef COLONNADE_BASE_BITMAP_H
#define COLONNADE_BASE_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool bit_get(const uint64_t *words, size_t i) { return words[i / 64] >> (i % 64) & 1; }
static inline void bit_set(uint64_t *words, size_t i) { words[i / 64] |= UINT64_C(1) << (i % 64); }
static inline void bit_clear(uint64_t *words, size_t i) { words[i / 64] &= ~(UINT64_C(1) << (i % 64)); }
static inline size_t bitmap_words(size_t bits) { return (bits + 63) / 64; }

static inline size_t bitmap_count(const uint64_t *words, size_t word_count) {
  size_t total = 0;
  for (size_t i = 0; i < word_count; i++) total += (size_t)__builtin_popcountll(words[i]);
  return total;
}
/* Ones in the first `bits` bits, zeros from there to `word_count` words. */
static inline void bitmap_fill_first(uint64_t *words, size_t word_count, size_t bits) {
  for (size_t i = 0; i < word_count; i++) {
    size_t first = i * 64;
    words[i] = bits >= first + 64 ? UINT64_MAX : bits <= first ? 0 : (UINT64_C(1) << (bits - first)) - 1;
  }
}

#endif
