/* cli_text.h - a growing text, and bytes in a form that a person can read. */
#ifndef COLONNADE_CLI_TEXT_H
#define COLONNADE_CLI_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct Text { /* begin with TEXT_EMPTY */
  char *data;         /* NUL behind the last byte once anything was added */
  size_t length, capacity;
} Text;
#define TEXT_EMPTY \
  { NULL, 0, 0 }

void text_add(Text *text, const void *data, size_t length);
void text_add_string(Text *text, const char *string);
/* 1234567 as 1,234,567. */
void text_add_count(Text *text, uint64_t number);
/* UTF-8 as it is, but control characters as \n, \t, \r, \x1B or \u009B; anything else as <hex:AABB>. */
void text_add_readable(Text *text, const void *data, size_t length);
/* Control characters so, and all other bytes as they are. Not 0: line breaks, too. */
void text_print(FILE *file, const char *text, int keeps_lines);
/* <hex:AABB> */
void text_add_hex(Text *text, const void *data, size_t length);
/* The bytes that text_add_hex wrote so, instead of what the text holds; 0 when they are no such form. */
int text_read_hex(Text *text, const char *data, size_t length);
void text_free(Text *text);

/* Whether the bytes are UTF-8: no surrogates, nothing overlong, nothing beyond U+10FFFF. */
int text_is_utf8(const void *data, size_t length);

#endif
