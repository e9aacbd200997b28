#include "cli/cli_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static void reserve(Text *text, size_t more) {
  if (text->capacity - text->length > more) return;
  size_t capacity = text->capacity ? text->capacity * 2 : 64;
  while (capacity - text->length <= more) capacity *= 2;
  text->data = cli_reallocate(text->data, capacity, 1);
  text->capacity = capacity;
}

void text_add(Text *text, const void *data, size_t length) {
  reserve(text, length);
  if (length) memcpy(text->data + text->length, data, length);
  text->length += length;
  text->data[text->length] = '\0';
}

void text_add_string(Text *text, const char *string) { text_add(text, string, strlen(string)); }

void text_add_count(Text *text, uint64_t number) {
  char digits[24];
  int count = snprintf(digits, sizeof digits, "%" PRIu64, number);
  for (int i = 0; i < count; i++) {
    if (i && (count - i) % 3 == 0) text_add(text, ",", 1);
    text_add(text, digits + i, 1);
  }
}

void text_add_hex(Text *text, const void *data, size_t length) {
  static const char digits[] = "0123456789ABCDEF";
  const unsigned char *bytes = data;
  text_add_string(text, "<hex:");
  reserve(text, 2 * length);
  for (size_t i = 0; i < length; i++) {
    text->data[text->length++] = digits[bytes[i] >> 4];
    text->data[text->length++] = digits[bytes[i] & 15];
  }
  text_add_string(text, ">");
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int text_read_hex(Text *text, const char *data, size_t length) {
  if (length < 6 || memcmp(data, "<hex:", 5) != 0 || data[length - 1] != '>' || (length - 6) % 2) return 0;
  text->length = 0;
  reserve(text, length / 2);
  for (size_t i = 5; i + 1 < length; i += 2) {
    int high = hex_digit(data[i]), low = hex_digit(data[i + 1]);
    if (high < 0 || low < 0) return 0;
    text->data[text->length++] = (char)(high << 4 | low);
  }
  text->data[text->length] = '\0';
  return 1;
}

static void add_control(Text *text, unsigned char byte) {
  char escape[8];
  if (byte == '\n') {
    text_add_string(text, "\\n");
  } else if (byte == '\t') {
    text_add_string(text, "\\t");
  } else if (byte == '\r') {
    text_add_string(text, "\\r");
  } else {
    int length = snprintf(escape, sizeof escape, "\\x%02X", byte);
    text_add(text, escape, (size_t)length);
  }
}

void text_add_readable(Text *text, const void *data, size_t length) {
  if (!text_is_utf8(data, length)) {
    text_add_hex(text, data, length);
    return;
  }
  const unsigned char *bytes = data;
  size_t from = 0;
  for (size_t i = 0; i < length; i++) {
    if (bytes[i] >= 0x20 && bytes[i] != 0x7f) continue;
    text_add(text, bytes + from, i - from);
    add_control(text, bytes[i]);
    from = i + 1;
  }
  text_add(text, bytes ? bytes + from : bytes, length - from);
}

void text_free(Text *text) {
  free(text->data);
  *text = (Text)TEXT_EMPTY;
}

/* How many bytes the character at `at` has; 0: none. The ranges of the second byte are those of the Unicode standard,
 * table 3-7. */
static size_t character_length(const unsigned char *at, size_t left) {
  unsigned char first = at[0];
  if (first < 0x80) return 1;
  size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (first < 0xc2 || first > 0xf4 || left < length) return 0;
  unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (at[1] < low || at[1] > high) return 0;
  for (size_t i = 2; i < length; i++)
    if ((at[i] & 0xc0) != 0x80) return 0;
  return length;
}

int text_is_utf8(const void *data, size_t length) {
  const unsigned char *bytes = data;
  size_t at = 0;
  while (at < length) {
    size_t step = character_length(bytes + at, length - at);
    if (!step) return 0;
    at += step;
  }
  return 1;
}
