#include "cli/cli_words.h"

#include <string.h>

typedef struct Line {
  const char *at, *end;
} Line;

static int is_space(char c) { return c == ' ' || c == '\t' || c == '\r'; }

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* What follows a backslash. */
static const char *take_escape(Line *line, Text *word) {
  if (line->at == line->end) return "a backslash ends the line";
  char c = *line->at++;
  if (c == 'x') {
    int high = line->end - line->at >= 2 ? hex_digit(line->at[0]) : -1;
    int low = high >= 0 ? hex_digit(line->at[1]) : -1;
    if (low < 0) return "\\x needs two hexadecimal digits";
    c = (char)(high << 4 | low);
    line->at += 2;
  } else if (c == '0') {
    c = '\0';
  } else {
    c = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
  }
  text_add(word, &c, 1);
  return NULL;
}

static const char *take_quoted(Line *line, char quote, Text *word) {
  while (line->at != line->end && *line->at != quote) {
    char c = *line->at++;
    if (c == '\\' && quote == '"') {
      const char *wrong = take_escape(line, word);
      if (wrong) return wrong;
    } else {
      text_add(word, &c, 1);
    }
  }
  if (line->at == line->end) return "a quote is never closed";
  line->at++;
  return NULL;
}

static const char *take_word(Line *line, Text *word) {
  text_add(word, "", 0); /* "" is a word too */
  while (line->at != line->end && !is_space(*line->at)) {
    char c = *line->at++;
    const char *wrong = NULL;
    if (c == '\'' || c == '"') {
      wrong = take_quoted(line, c, word);
    } else if (c == '\\') {
      wrong = take_escape(line, word);
    } else {
      text_add(word, &c, 1);
    }
    if (wrong) return wrong;
  }
  return NULL;
}

const char *words_split(const char *text, size_t length, Words *words) {
  Line line = { text, text + length };
  memset(words, 0, sizeof *words);
  for (;;) {
    while (line.at != line.end && is_space(*line.at)) line.at++;
    if (line.at == line.end || *line.at == '#') return NULL;
    if (words->count == WORDS_MAX) return "there are too many words";
    const char *wrong = take_word(&line, &words->words[words->count++]);
    if (wrong) return wrong;
  }
}

void words_free(Words *words) {
  for (size_t i = 0; i < words->count; i++) text_free(&words->words[i]);
  words->count = 0;
}

int word_is(const Text *word, const char *text) {
  return word->length == strlen(text) && memcmp(word->data, text, word->length) == 0;
}
