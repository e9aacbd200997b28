/* word_sort.h - numbers by words that belong to them. */
#ifndef COLONNADE_BASE_WORD_SORT_H
#define COLONNADE_BASE_WORD_SORT_H

#include <stddef.h>
#include <stdint.h>

typedef struct NumberedWord {
  uint64_t word;
  uint32_t number; /* whose word it is */
} NumberedWord;

/* Sorts by word, equal ones as they came; `room` is as large. Returns which of the two arrays holds the result. */
NumberedWord *words_sort(NumberedWord *words, NumberedWord *room, size_t count);

#endif
