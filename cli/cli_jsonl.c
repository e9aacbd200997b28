#include "cli/cli_jsonl.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/cli_value.h"

enum {
  NESTED_MAX = 64,
  PROGRESS_LINES = 4096,
  NAMES_COMPARED_BYTES = 64 << 10 /* of a longer line: to compare each name with all others takes too long */
};

typedef struct JsonlReader {
  const char *path;
  const JsonlSink *sink;
  struct json_tokener *tokener;
  JsonlMember *members;
  size_t member_capacity;
  uint64_t row, line;
} JsonlReader;

static int fail_here(const JsonlReader *reader, const char *column, const char *message) {
  return csv_fail(reader->path, reader->row, reader->line, column, message);
}

/* A number is given as it was written: json-c keeps the digits of a double. */
static CsvField field_of(struct json_object *value) {
  CsvField field = { "", 0, 0, FIELD_NULL };
  switch (json_object_get_type(value)) {
  case json_type_null: return field;
  case json_type_string:
    field.kind = FIELD_STRING;
    field.data = json_object_get_string(value);
    field.length = (size_t)json_object_get_string_len(value);
    return field;
  case json_type_boolean:
  case json_type_int:
  case json_type_double: field.kind = FIELD_NUMBER; break;
  case json_type_array:
  case json_type_object: field.kind = FIELD_STRING; break;
  }
  field.data =
    json_object_to_json_string_length(value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &field.length);
  return field;
}

/* json-c gives the greatest and the least for what lies beyond; whether one was written so, the line itself says. */
static int is_at_an_end(struct json_object *value) {
  return json_object_get_type(value) == json_type_int &&
         (json_object_get_int64(value) == INT64_MIN || json_object_get_uint64(value) == UINT64_MAX);
}

static int is_beyond(const char *text, size_t length) {
  int negative;
  uint64_t magnitude;
  ScannedInteger scanned = scan_integer(text, length, &negative, &magnitude);
  return scanned == SCANNED_INTEGER_TOO_LONG ||
         (scanned == SCANNED_INTEGER && negative && magnitude > UINT64_C(1) << 63);
}

/* A whole number of the line that 64 bits do not hold. The line is valid JSON. */
static int holds_beyond(const char *line, size_t length) {
  for (size_t i = 0; i < length; i++) {
    if (line[i] == '"') {
      for (i++; i < length && line[i] != '"'; i++) i += line[i] == '\\';
      continue;
    }
    size_t from = i;
    while (i < length && strchr("+-.eE0123456789", line[i])) i++;
    if (i > from && is_beyond(line + from, i - from)) return 1;
    i -= i > from;
  }
  return 0;
}

/* ---- what json-c does not tell: names that come twice, or are cut, and characters that are none ---- */

typedef struct Texts { /* the strings of a line, one after the other; the line is a valid object */
  const char *line;
  size_t length, at;
  int depth;
  const char *text; /* without its quotes */
  size_t text_length;
  int is_name; /* of a member of the object itself */
} Texts;

static int next_text(Texts *t) {
  for (; t->at < t->length; t->at++) {
    char c = t->line[t->at];
    t->depth += (c == '{' || c == '[') - (c == '}' || c == ']');
    if (c != '"') continue;
    size_t from = ++t->at;
    while (t->line[t->at] != '"') t->at += 1 + (t->line[t->at] == '\\');
    t->text = t->line + from;
    t->text_length = t->at++ - from;
    size_t behind = t->at;
    while (behind < t->length && strchr(" \t\r", t->line[behind])) behind++;
    t->is_name = t->depth == 1 && behind < t->length && t->line[behind] == ':';
    return 1;
  }
  return 0;
}

/* The number behind a \u at `at` of a text, -1 when there is none. */
static long escaped_at(const char *text, size_t length, size_t at) {
  enum { ESCAPE_LENGTH = 6, HEXADECIMAL = 16 };
  char digits[5] = { 0 };
  if (length - at < ESCAPE_LENGTH || text[at] != '\\' || text[at + 1] != 'u') return -1;
  memcpy(digits, text + at + 2, 4);
  return strtol(digits, NULL, HEXADECIMAL);
}

static int is_low_surrogate(long code) { return code >= 0xDC00 && code <= 0xDFFF; }

/* Half of a character that takes two, or a NUL where none may be. */
static int has_no_character(const char *text, size_t length, int is_name) {
  for (size_t at = 0; at < length; at++) {
    if (text[at] != '\\') continue;
    long code = escaped_at(text, length, at);
    if ((is_name && code == 0) || is_low_surrogate(code)) return 1;
    if (code >= 0xD800 && code < 0xDC00) {
      if (!is_low_surrogate(escaped_at(text, length, at + 6))) return 1;
      at += 6;
    }
    at++;
  }
  return 0;
}

static int fail_at_name(const JsonlReader *reader, const char *name, size_t length, const char *message) {
  char *column = cli_allocate(length + 1, 1);
  memcpy(column, name, length);
  int result = fail_here(reader, length ? column : NULL, message);
  free(column);
  return result;
}

/* The first name that was there before. */
static int fail_at_repeated(const JsonlReader *reader, const char *line, size_t length) {
  static const char message[] = "two members of the object have this name";
  for (Texts later = { .line = line, .length = length }; length <= NAMES_COMPARED_BYTES && next_text(&later);) {
    if (!later.is_name) continue;
    for (Texts t = { .line = line, .length = length }; next_text(&t) && t.text != later.text;) {
      if (t.is_name && t.text_length == later.text_length && memcmp(t.text, later.text, t.text_length) == 0)
        return fail_at_name(reader, t.text, t.text_length, message);
    }
  }
  return fail_here(reader, NULL, "two members of the object have one name");
}

/* json-c takes names and texts in single quotes, too; JSON has none, and what follows knows double ones alone. */
static int has_single_quotes(const char *line, size_t length) {
  for (size_t at = 0; at < length; at++) {
    if (line[at] == '\'') return 1;
    if (line[at] != '"') continue;
    for (at++; at < length && line[at] != '"'; at++) at += line[at] == '\\';
  }
  return 0;
}

static int check_texts(const JsonlReader *reader, struct json_object *object, const char *line, size_t length) {
  int names = 0;
  const char *name = "";
  size_t name_length = 0;
  if (has_single_quotes(line, length)) return fail_here(reader, NULL, "JSON has names and texts in double quotes only");
  for (Texts t = { .line = line, .length = length }; next_text(&t);) {
    if (t.is_name) {
      names++;
      name = t.text;
      name_length = t.text_length;
    }
    if (has_no_character(t.text, t.text_length, t.is_name))
      return fail_at_name(reader, name, name_length,
                          t.is_name ? "the name has a character that cannot be in one"
                                    : "a text has half of a surrogate pair, which is no character");
  }
  return names > json_object_object_length(object) ? fail_at_repeated(reader, line, length) : 0;
}

static int give_object(JsonlReader *reader, struct json_object *object, const char *line, size_t length) {
  size_t count = 0;
  int is_searched = 0; /* once a line, however many numbers it has */
  json_object_object_foreach(object, name, value) {
    if (count == reader->member_capacity) {
      reader->member_capacity = count ? count * 2 : 32;
      reader->members = cli_reallocate(reader->members, reader->member_capacity, sizeof *reader->members);
    }
    JsonlMember *member = &reader->members[count++];
    member->name = name;
    member->value = field_of(value);
    if (!is_searched && is_at_an_end(value)) {
      is_searched = 1;
      if (holds_beyond(line, length))
        return fail_here(reader, name, "a whole number beyond 64 bits; written as 1.0e20 it is read as a float");
    }
    if (!member->value.data) return cli_fail("there is not enough memory for a row of %s", reader->path);
  }
  JsonlRow row = { reader->members, count, reader->row, reader->line };
  return reader->sink->row(reader->sink->context, &row);
}

static int is_blank(const char *line, size_t length) {
  while (length && (line[length - 1] == ' ' || line[length - 1] == '\t' || line[length - 1] == '\r')) length--;
  return !length;
}

/* `line` without its newline. */
static int parse_line(JsonlReader *reader, const char *line, size_t length) {
  if (is_blank(line, length)) return 0;
  if (length > CSV_ROW_BYTES_MAX) return fail_here(reader, NULL, "the line has more than 256 MiB");
  json_tokener_reset(reader->tokener);
  struct json_object *object = json_tokener_parse_ex(reader->tokener, line, (int)length);
  enum json_tokener_error error = json_tokener_get_error(reader->tokener);
  int result;
  if (error == json_tokener_continue) {
    result = fail_here(reader, NULL, "the JSON is not complete; each line is an object of its own");
  } else if (error != json_tokener_success) {
    char message[128];
    snprintf(message, sizeof message, "no JSON from byte %zu of the line on: %s",
             json_tokener_get_parse_end(reader->tokener) + 1, json_tokener_error_desc(error));
    result = fail_here(reader, NULL, message);
  } else if (!is_blank(line + json_tokener_get_parse_end(reader->tokener),
                       length - json_tokener_get_parse_end(reader->tokener))) {
    result = fail_here(reader, NULL, "something follows the object on its line");
  } else if (json_object_get_type(object) != json_type_object) {
    result = fail_here(reader, NULL, "the line is no object; write {\"column\": value, ...}");
  } else {
    result = check_texts(reader, object, line, length);
    if (!result) result = give_object(reader, object, line, length);
  }
  json_object_put(object);
  reader->row++;
  return result;
}

static int parse_file(JsonlReader *reader, FILE *file, uint64_t size) {
  char *line = NULL;
  size_t capacity = 0;
  uint64_t done = 0;
  int result = 0;
  ssize_t length;
  while (!result && (length = getline(&line, &capacity, file)) > 0) {
    done += (uint64_t)length;
    size_t mark = reader->line == 1 && length >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    size_t end = (size_t)length - (line[length - 1] == '\n');
    result = parse_line(reader, line + mark, end - mark);
    if (reader->sink->progress && reader->line % PROGRESS_LINES == 0)
      reader->sink->progress(reader->sink->context, done, size);
    reader->line++;
  }
  if (!result && ferror(file)) result = cli_fail("%s cannot be read: %s", reader->path, strerror(errno));
  free(line);
  return result;
}

int jsonl_read_file(const char *path, const JsonlSink *sink) {
  FILE *file = fopen(path, "rb");
  if (!file) return cli_fail("%s cannot be opened: %s", path, strerror(errno));
  JsonlReader reader = { .path = path, .sink = sink, .row = 1, .line = 1 };
  struct stat status;
  int result;
  reader.tokener = json_tokener_new_ex(NESTED_MAX);
  if (fstat(fileno(file), &status) != 0 || !S_ISREG(status.st_mode)) {
    result = cli_fail("%s is no regular file; an import reads its file twice, so save it to disk first", path);
  } else if (!reader.tokener) {
    result = cli_fail("there is not enough memory");
  } else {
    json_tokener_set_flags(reader.tokener,
                           JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS | JSON_TOKENER_VALIDATE_UTF8);
    result = parse_file(&reader, file, (uint64_t)status.st_size);
  }
  if (reader.tokener) json_tokener_free(reader.tokener);
  free(reader.members);
  fclose(file);
  return result;
}
