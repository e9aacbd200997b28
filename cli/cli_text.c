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

/* How the control character at `at` is shown; 0: there is none. Else how many bytes it has: those of ISO 6429 from
 * U+0080 on have two. */
static size_t control_at(const unsigned char *at, size_t left, char shown[8]) {
  static const char letters[] = "tn..r";
  if (at[0] >= '\t' && at[0] <= '\r' && letters[at[0] - '\t'] != '.')
    snprintf(shown, 8, "\\%c", letters[at[0] - '\t']);
  else if (at[0] < 0x20 || at[0] == 0x7f)
    snprintf(shown, 8, "\\x%02X", at[0]);
  else if (at[0] == 0xc2 && left > 1 && at[1] >= 0x80 && at[1] < 0xa0)
    snprintf(shown, 8, "\\u%04X", at[1]);
  else
    return 0;
  return at[0] == 0xc2 ? 2 : 1;
}

/* How many bytes come before the next control character. */
static size_t plain_length(const unsigned char *bytes, size_t length, char shown[8], size_t *control) {
  size_t at = 0;
  for (*control = 0; at < length && !(*control = control_at(bytes + at, length - at, shown));) at++;
  return at;
}

void text_add_readable(Text *text, const void *data, size_t length) {
  if (!text_is_utf8(data, length)) {
    text_add_hex(text, data, length);
    return;
  }
  char shown[8];
  text_add(text, "", 0);
  for (const unsigned char *bytes = data; length;) {
    size_t control, plain = plain_length(bytes, length, shown, &control);
    text_add(text, bytes, plain);
    if (control) text_add_string(text, shown);
    bytes += plain + control;
    length -= plain + control;
  }
}

void text_print(FILE *file, const char *text, int keeps_lines) {
  char shown[8];
  for (size_t length = strlen(text); length;) {
    size_t control, plain = plain_length((const unsigned char *)text, length, shown, &control);
    fwrite(text, 1, plain, file);
    if (control) fputs(keeps_lines && text[plain] == '\n' ? "\n" : shown, file);
    text += plain + control;
    length -= plain + control;
  }
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
