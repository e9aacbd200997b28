/* cli_words.h - a line of words with quotes, as a shell has them, and numbers of any bytes. */
#ifndef COLONNADE_CLI_WORDS_H
#define COLONNADE_CLI_WORDS_H

#include <stddef.h>

#include "cli/cli_text.h"

#define WORDS_MAX 8

typedef struct Words { /* begin with zeros */
  Text words[WORDS_MAX];
  size_t count;
} Words;

/* Splits a line at spaces and tabs. 'single quotes' keep everything as it is; in "double quotes" and outside, a
 * backslash begins \n, \t, \r, \0, \xHH (a byte), and makes any other character ordinary. A # that begins a word ends
 * the line. NULL, or what is wrong. The words are freed by words_free either way. */
const char *words_split(const char *line, size_t length, Words *words);
void words_free(Words *words);

/* Whether the word is exactly that text. */
int word_is(const Text *word, const char *text);

#endif
