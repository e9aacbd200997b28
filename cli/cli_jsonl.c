#include "cli/cli_jsonl.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/cli_text.h"
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
  Text values; /* of the row: those that are given as the line writes them, each with its NUL */
  uint64_t row, line;
} JsonlReader;

static int fail_here(const JsonlReader *reader, const char *column, const char *message) {
  return csv_fail(reader->path, reader->row, reader->line, column, message);
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

/* ---- values as the line writes them: json-c bends whole numbers to 64 bits, takes the sign from -0, and keeps of two
 * members with one name the last ---- */

static size_t skip_blanks(const char *line, size_t length, size_t at) {
  while (at < length && strchr(" \t\r", line[at])) at++;
  return at;
}

static size_t skip_text(const char *line, size_t at) { /* from its quote to behind the other one */
  for (at++; line[at] != '"'; at++) at += line[at] == '\\';
  return at + 1;
}

/* The end of the value of a member that begins at `at`. */
static size_t value_end(const char *line, size_t length, size_t at) {
  size_t end = at;
  for (int depth = 0; at < length && (depth || (line[at] != ',' && line[at] != '}'));) {
    depth += (line[at] == '{' || line[at] == '[') - (line[at] == '}' || line[at] == ']');
    at = line[at] == '"' ? skip_text(line, at) : at + 1;
    end = at;
    at = skip_blanks(line, length, at);
  }
  return end;
}

/* A character that was escaped: as itself, where a text may have it. */
static void add_character(Text *out, uint32_t code) {
  static const char letters[] = "........btn.fr";
  char bytes[8];
  int length = 0;
  if (code < sizeof letters - 1 && letters[code] != '.') {
    length = snprintf(bytes, sizeof bytes, "\\%c", letters[code]);
  } else if (code < 0x20) {
    length = snprintf(bytes, sizeof bytes, "\\u%04x", code);
  } else if (code < 0x80) {
    length = snprintf(bytes, sizeof bytes, code == '"' || code == '\\' ? "\\%c" : "%c", (char)code);
  } else if (code < 0x800) {
    bytes[length++] = (char)(0xc0 | code >> 6);
  } else if (code < 0x10000) {
    bytes[length++] = (char)(0xe0 | code >> 12);
    bytes[length++] = (char)(0x80 | (code >> 6 & 0x3f));
  } else {
    bytes[length++] = (char)(0xf0 | code >> 18);
    bytes[length++] = (char)(0x80 | (code >> 12 & 0x3f));
    bytes[length++] = (char)(0x80 | (code >> 6 & 0x3f));
  }
  if (code >= 0x80) bytes[length++] = (char)(0x80 | (code & 0x3f));
  text_add(out, bytes, (size_t)length);
}

/* Without its quotes. */
static void add_text(Text *out, const char *text, size_t length) {
  enum { ESCAPE_LENGTH = 6 };
  size_t from = 0, at = 0;
  while (at < length) {
    if (text[at] != '\\' && (unsigned char)text[at] >= 0x20) {
      at++;
      continue;
    }
    text_add(out, text + from, at - from);
    long code = text[at] == '\\' ? escaped_at(text, length, at) : (unsigned char)text[at];
    if (text[at] != '\\') {
      add_character(out, (uint32_t)code);
      at++;
    } else if (code < 0) {
      text_add(out, text[at + 1] == '/' ? text + at + 1 : text + at, text[at + 1] == '/' ? 1 : 2);
      at += 2;
    } else {
      at += ESCAPE_LENGTH;
      if (code >= 0xD800 && code < 0xDC00) {
        code = 0x10000 + ((code - 0xD800) << 10) + escaped_at(text, length, at) - 0xDC00;
        at += ESCAPE_LENGTH;
      }
      add_character(out, (uint32_t)code);
    }
    from = at;
  }
  text_add(out, text + from, at - from);
}

/* json-c takes -01 and 1., too. */
static int is_number_of_json(const char *text, size_t length) {
  static const char digits[] = "0123456789";
  size_t sign = text[0] == '-';
  const char *point = memchr(text, '.', length);
  if (length > sign + 1 && text[sign] == '0' && strchr(digits, text[sign + 1])) return 0;
  return !point || (point + 1 < text + length && strchr(digits, point[1]));
}

/* A value without the blanks in it, and with a NUL. 0: it has a number that JSON has not. */
static int add_value(Text *out, const char *value, size_t length) {
  for (size_t at = 0; at < length; at = skip_blanks(value, length, at)) {
    size_t from = at;
    while (at < length && strchr("+-.eE0123456789", value[at])) at++;
    if (at > from && !is_number_of_json(value + from, at - from)) return 0;
    text_add(out, value + from, at - from);
    if (at == length || at > from) continue;
    at = value[at] == '"' ? skip_text(value, at) : at + 1;
    if (value[from] == '"') {
      text_add(out, "\"", 1);
      add_text(out, value + from + 1, at - from - 2);
      text_add(out, "\"", 1);
    } else {
      text_add(out, value + from, 1);
    }
  }
  text_add(out, "", 1);
  return 1;
}

static int is_beyond(const char *text, size_t length) {
  int negative;
  uint64_t magnitude;
  ScannedInteger scanned = scan_integer(text, length, &negative, &magnitude);
  return scanned == SCANNED_INTEGER_TOO_LONG ||
         (scanned == SCANNED_INTEGER && negative && magnitude > UINT64_C(1) << 63);
}

/* Texts are json-c's. Of others `data` stays NULL: `values` may move. */
static int read_value(JsonlReader *reader, const char *name, struct json_object *value, const char *written,
                      size_t length, CsvField *field) {
  enum json_type type = json_object_get_type(value);
  size_t before = reader->values.length;
  *field = (CsvField){ "", 0, 0, FIELD_NULL };
  if (type == json_type_null) return 0;
  field->kind =
    type == json_type_string || type == json_type_array || type == json_type_object ? FIELD_STRING : FIELD_NUMBER;
  if (type == json_type_string) {
    field->data = json_object_get_string(value);
    field->length = (size_t)json_object_get_string_len(value);
    return 0;
  }
  if (!add_value(&reader->values, written, length))
    return fail_here(reader, name, "JSON has no number that is written so: 1.0 and -1, not 1. and -01");
  field->data = NULL;
  field->length = reader->values.length - before - 1;
  return type == json_type_int && is_beyond(reader->values.data + before, field->length)
           ? fail_here(reader, name, "a whole number beyond 64 bits; written as 1.0e20 it is read as a float")
           : 0;
}

static int give_object(JsonlReader *reader, struct json_object *object, const char *line, size_t length) {
  size_t count = 0;
  Texts t = { .line = line, .length = length };
  reader->values.length = 0;
  json_object_object_foreach(object, name, value) { /* in the order of the line */
    if (count == reader->member_capacity) {
      reader->member_capacity = count ? count * 2 : 32;
      reader->members = cli_reallocate(reader->members, reader->member_capacity, sizeof *reader->members);
    }
    while (next_text(&t) && !t.is_name) continue;
    size_t from = skip_blanks(line, length, skip_blanks(line, length, t.at) + 1); /* behind the colon */
    t.at = value_end(line, length, from);
    JsonlMember *member = &reader->members[count++];
    member->name = name;
    int result = read_value(reader, name, value, line + from, t.at - from, &member->value);
    if (result) return result;
  }
  const char *at = reader->values.data;
  for (size_t i = 0; i < count; i++) {
    CsvField *field = &reader->members[i].value;
    if (field->data) continue;
    field->data = at;
    at += field->length + 1;
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

int jsonl_is_name(const char *path) {
  static const char *const endings[] = { ".jsonl", ".ndjson", ".json" };
  size_t length = strlen(path);
  for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
    size_t end = strlen(endings[i]);
    if (length > end && strcmp(path + length - end, endings[i]) == 0) return 1;
  }
  return 0;
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
  text_free(&reader.values);
  fclose(file);
  return result;
}
