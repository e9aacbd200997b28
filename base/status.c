#include "base/status.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static _Thread_local Failure last = { .row = UINT64_MAX };

/* Cuts a text that filled its place back to its last whole character: a cut inside one leaves continuation bytes
 * (10xxxxxx) after a lead byte that promised more of them. */
static void cut_partial_character(char *text, size_t length) {
  size_t lead = length;
  while (lead > 0 && length - lead < 3 && ((unsigned char)text[lead - 1] & 0xC0) == 0x80) lead--;
  if (lead == 0) return;
  unsigned char first = (unsigned char)text[lead - 1];
  size_t promised = first < 0x80 ? 1 : first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC0 ? 2 : 1;
  if (length - (lead - 1) < promised) text[lead - 1] = 0;
}

static void format_into(char *place, size_t capacity, const char *format, va_list arguments) {
  int wanted = vsnprintf(place, capacity, format, arguments);
  if (wanted < 0)
    place[0] = 0;
  else if ((size_t)wanted >= capacity)
    cut_partial_character(place, capacity - 1);
}

static void copy_name(char *place, const char *name) {
  size_t length = name ? strlen(name) : 0;
  bool cut = length >= STATUS_NAME_MAX;
  if (cut) length = STATUS_NAME_MAX - 1;
  if (length) memcpy(place, name, length);
  place[length] = 0;
  if (cut) cut_partial_character(place, length);
}

/* Everything is formatted into a copy first: an argument may point into the slot itself (status_last()->text). */
static void record(Status code, uint64_t row, const char *column, const char *value, const char *format,
                   va_list arguments) {
  Failure next = { .code = code, .row = row };
  format_into(next.text, sizeof next.text, format, arguments);
  copy_name(next.column, column);
  copy_name(next.value, value);
  last = next;
}

void status_record(Status code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  record(code, UINT64_MAX, NULL, NULL, format, arguments);
  va_end(arguments);
}

void status_record_text(Status code, const char *text) {
  size_t length = strlen(text);
  if (length >= sizeof last.text) {
    status_record(code, "%s", text);
    return;
  }
  last.code = code;
  last.row = UINT64_MAX;
  memmove(last.text, text, length + 1);
  last.column[0] = last.value[0] = 0;
}

void status_record_at(Status code, uint64_t row, const char *column, const char *value, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  record(code, row, column, value, format, arguments);
  va_end(arguments);
}

void status_record_context(Status code, const char *format, ...) {
  char text[STATUS_TEXT_MAX];
  va_list arguments;
  va_start(arguments, format);
  format_into(text, sizeof text, format, arguments);
  va_end(arguments);
  size_t prefix = strlen(text);
  int wanted = snprintf(text + prefix, sizeof text - prefix, ": %s", last.text);
  if (wanted >= 0 && (size_t)wanted >= sizeof text - prefix) cut_partial_character(text, sizeof text - 1);
  memcpy(last.text, text, sizeof text);
  last.code = code;
}

const Failure *status_last(void) { return &last; }

void status_restore(const Failure *failure) { last = *failure; }

void status_clear(void) {
  Failure none = { .row = UINT64_MAX };
  last = none;
}

const char *status_text(Status code) {
  switch (code) {
#define STATUS_CASE(name, value, text) \
  case value: return text;
    KVSTORE_STATUS_LIST(STATUS_CASE)
#undef STATUS_CASE
  default: return "unknown status";
  }
}

const char *status_name(Status code) {
  switch (code) {
#define STATUS_CASE(name, value, text) \
  case value: return #name;
    KVSTORE_STATUS_LIST(STATUS_CASE)
#undef STATUS_CASE
  default: return "UNKNOWN";
  }
}
