/* word_sort.c - a radix sort, a digit at a time from the lowest, leaving out the digits that all words share; few words
 * by insertion. */
#include "base/word_sort.h"

enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS, WORD_BITS = 64, INSERTION_MAX = 48 };

static void sort_few(NumberedWord *words, size_t count) {
  for (size_t i = 1; i < count; i++) {
    NumberedWord moved = words[i];
    size_t at = i;
    for (; at && words[at - 1].word > moved.word; at--) words[at] = words[at - 1];
    words[at] = moved;
  }
}

static void sort_pass(const NumberedWord *from, NumberedWord *to, size_t count, uint32_t shift) {
  size_t starts[DIGITS + 1] = { 0 };
  for (size_t i = 0; i < count; i++) starts[(from[i].word >> shift & (DIGITS - 1)) + 1]++;
  for (size_t d = 1; d <= DIGITS; d++) starts[d] += starts[d - 1];
  for (size_t i = 0; i < count; i++) to[starts[from[i].word >> shift & (DIGITS - 1)]++] = from[i];
}

NumberedWord *words_sort(NumberedWord *words, NumberedWord *room, size_t count) {
  uint64_t varying = 0;
  int descends = 0;
  for (size_t i = 1; i < count; i++) {
    varying |= words[i].word ^ words[0].word;
    descends |= words[i].word < words[i - 1].word;
  }
  if (!descends) return words;
  if (count <= INSERTION_MAX) {
    sort_few(words, count);
    return words;
  }
  for (uint32_t shift = 0; shift < WORD_BITS; shift += DIGIT_BITS) {
    if (!(varying >> shift & (DIGITS - 1))) continue;
    sort_pass(words, room, count, shift);
    NumberedWord *swap = words;
    words = room;
    room = swap;
  }
  return words;
}
