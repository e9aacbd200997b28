#include "encodings/json_path.h"

/* ---- paths ---- */

static bool is_name_byte(uint8_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
         c == '$' || c >= 0x80;
}

typedef struct PathReader {
  const char *at, *end;
  Arena *arena;
} PathReader;

static Status bad_path(const char *what) { return status_fail(KVSTORE_ERROR, "a JSON path: %s", what); }

/* A name in quotes, which are doubled within. */
static Status read_quoted(PathReader *r, Bytes *name) {
  uint8_t *to = arena_allocate(r->arena, (size_t)(r->end - r->at) + 1);
  if (!to) return status_nomem();
  *name = (Bytes){ to, 0 };
  for (r->at++; r->at < r->end; r->at++) {
    if (*r->at == '"') {
      if (r->end - r->at < 2 || r->at[1] != '"') {
        r->at++;
        return KVSTORE_OK;
      }
      r->at++;
    }
    to[name->length++] = (uint8_t)*r->at;
  }
  return bad_path("a name in quotes does not end");
}

static Status read_name(PathReader *r, Bytes *name) {
  if (r->at < r->end && *r->at == '"') return read_quoted(r, name);
  const char *from = r->at;
  while (r->at < r->end && is_name_byte((uint8_t)*r->at)) r->at++;
  if (r->at == from) return bad_path("a name is missing");
  uint8_t *copy = arena_copy(r->arena, from, (size_t)(r->at - from));
  if (!copy) return status_nomem();
  *name = (Bytes){ copy, (size_t)(r->at - from) };
  return KVSTORE_OK;
}

static Status read_index(PathReader *r, uint32_t *index) {
  const char *from = ++r->at;
  uint64_t number = 0;
  for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++) {
    number = number * 10 + (uint64_t)(*r->at - '0');
    if (number > UINT32_MAX) return bad_path("a place in an array is too large");
  }
  if (r->at == from || r->at == r->end || *r->at != ']') return bad_path("a place in an array is a number in [ ]");
  r->at++;
  *index = (uint32_t)number;
  return KVSTORE_OK;
}

static Status read_step(PathReader *r, bool is_first, JsonStep *step) {
  *step = (JsonStep){ .is_index = *r->at == '[' };
  if (step->is_index) return read_index(r, &step->index);
  if (!is_first) r->at++; /* the point */
  return read_name(r, &step->name);
}

Status json_path_parse(const char *text, size_t length, Arena *arena, JsonPath *out, size_t *used) {
  PathReader r = { text, text + length, arena };
  JsonStep *steps = arena_allocate(arena, JSON_STEPS_MAX * sizeof *steps);
  if (!steps) return status_nomem();
  *out = (JsonPath){ 0, steps };
  bool has_root = length && text[0] == '$' && (length == 1 || !is_name_byte((uint8_t)text[1]));
  if (has_root) r.at++;
  bool more = has_root ? r.at < r.end && (*r.at == '.' || *r.at == '[') : true;
  if (more && r.at == r.end) return bad_path("it is empty");
  while (more) {
    if (out->step_count == JSON_STEPS_MAX) return bad_path("it has more than 64 steps");
    TRY(read_step(&r, !has_root && !out->step_count, &steps[out->step_count]));
    out->step_count++;
    more = r.at < r.end && (*r.at == '.' || *r.at == '[');
  }
  *used = (size_t)(r.at - text);
  return KVSTORE_OK;
}

static void print_name(Bytes name, Buffer *out) {
  bool plain = name.length > 0 && !(name.length == 1 && name.data[0] == '$');
  for (size_t i = 0; i < name.length; i++) plain = plain && is_name_byte(name.data[i]);
  if (!plain) buffer_u8(out, '"');
  for (size_t i = 0; i < name.length; i++) {
    if (name.data[i] == '"') buffer_u8(out, '"');
    buffer_u8(out, name.data[i]);
  }
  if (!plain) buffer_u8(out, '"');
}

static void print_index(uint32_t index, Buffer *out) {
  char digits[12];
  size_t at = sizeof digits;
  do digits[--at] = (char)('0' + index % 10);
  while (index /= 10);
  buffer_u8(out, '[');
  buffer_append(out, digits + at, sizeof digits - at);
  buffer_u8(out, ']');
}

void json_path_print(const JsonPath *path, Buffer *out) {
  bool rooted = path->step_count == 0 || path->steps[0].is_index;
  if (rooted) buffer_u8(out, '$');
  for (uint32_t i = 0; i < path->step_count; i++) {
    if (path->steps[i].is_index) {
      print_index(path->steps[i].index, out);
      continue;
    }
    if (i || rooted) buffer_u8(out, '.');
    print_name(path->steps[i].name, out);
  }
}

/* ---- texts ---- */

enum { OFF_PATH = JSON_STEPS_MAX + 1 };

typedef struct Parser {
  const uint8_t *at, *end;
  const JsonPath *path;
  JsonValue *out;
} Parser;

static bool read_value(Parser *p, uint32_t depth, uint32_t step);

static void skip_space(Parser *p) {
  while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\r' || *p->at == '\t')) p->at++;
}

static bool take(Parser *p, uint8_t c) {
  if (p->at == p->end || *p->at != c) return false;
  p->at++;
  return true;
}

static int hex_digit(uint8_t c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 32;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Behind a backslash. */
static bool skip_escape(Parser *p) {
  if (p->at == p->end) return false;
  uint8_t c = *p->at++;
  if (c != 'u') return c && memchr("\"\\/bfnrt", c, 8) != NULL;
  if (p->end - p->at < 4) return false;
  for (int i = 0; i < 4; i++)
    if (hex_digit(*p->at++) < 0) return false;
  return true;
}

/* Behind the opening quote; ends behind the closing one. */
static bool read_string(Parser *p, Bytes *text, bool *is_escaped) {
  const uint8_t *from = p->at;
  *is_escaped = false;
  while (p->at < p->end) {
    uint8_t c = *p->at++;
    if (c == '"') {
      *text = (Bytes){ from, (size_t)(p->at - from) - 1 };
      return true;
    }
    if (c < 0x20) return false;
    if (c != '\\') continue;
    *is_escaped = true;
    if (!skip_escape(p)) return false;
  }
  return false;
}

static size_t skip_digits(Parser *p) {
  const uint8_t *from = p->at;
  while (p->at < p->end && *p->at >= '0' && *p->at <= '9') p->at++;
  return (size_t)(p->at - from);
}

static bool read_number(Parser *p, Bytes *text) {
  const uint8_t *from = p->at;
  (void)take(p, '-');
  if (!take(p, '0') && !skip_digits(p)) return false;
  if (take(p, '.') && !skip_digits(p)) return false;
  if (take(p, 'e') || take(p, 'E')) {
    if (!take(p, '+')) (void)take(p, '-');
    if (!skip_digits(p)) return false;
  }
  *text = (Bytes){ from, (size_t)(p->at - from) };
  return true;
}

static bool read_word(Parser *p, const char *word, size_t length) {
  if ((size_t)(p->end - p->at) < length || memcmp(p->at, word, length) != 0) return false;
  p->at += length;
  return true;
}

/* The code point that stands at `at` of a string's text, as UTF-8; 0: a surrogate stands alone. */
static size_t next_character(const uint8_t **at, const uint8_t *end, uint8_t out[4]) {
  static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
  const uint8_t *s = *at;
  if (*s != '\\' || s[1] != 'u') {
    out[0] = *s;
    if (*s == '\\') {
      const char *special = strchr(from, s[1]);
      out[0] = special ? (uint8_t)to[special - from] : s[1];
      s++;
    }
    *at = s + 1;
    return 1;
  }
  uint32_t code = 0, low = 0;
  for (int i = 2; i < 6; i++) code = code << 4 | (uint32_t)hex_digit(s[i]);
  s += 6;
  if (code >= 0xdc00 && code < 0xe000) return 0;
  if (code >= 0xd800 && code < 0xdc00) {
    if (end - s < 6 || s[0] != '\\' || s[1] != 'u') return 0;
    for (int i = 2; i < 6; i++) low = low << 4 | (uint32_t)hex_digit(s[i]);
    if (low < 0xdc00 || low >= 0xe000) return 0;
    s += 6;
    code = 0x10000 + ((code - 0xd800) << 10 | (low - 0xdc00));
  }
  *at = s;
  size_t bytes = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  if (bytes == 1) {
    out[0] = (uint8_t)code;
    return 1;
  }
  for (size_t i = bytes; i-- > 1; code >>= 6) out[i] = (uint8_t)(0x80 | (code & 0x3f));
  out[0] = (uint8_t)((0xf00u >> bytes & 0xf0) | code);
  return bytes;
}

bool json_unescape(Bytes text, uint8_t *out, size_t *length) {
  const uint8_t *at = text.data, *end = at + text.length;
  *length = 0;
  while (at < end) {
    uint8_t character[4];
    size_t bytes = next_character(&at, end, character);
    if (!bytes) return false;
    memcpy(out + *length, character, bytes);
    *length += bytes;
  }
  return true;
}

static bool is_name(Bytes text, bool is_escaped, Bytes name) {
  if (!is_escaped)
    return text.length == name.length && (!name.length || memcmp(text.data, name.data, name.length) == 0);
  const uint8_t *at = text.data, *end = at + text.length;
  size_t seen = 0;
  while (at < end) {
    uint8_t character[4];
    size_t bytes = next_character(&at, end, character);
    if (!bytes || name.length - seen < bytes || memcmp(name.data + seen, character, bytes) != 0) return false;
    seen += bytes;
  }
  return seen == name.length;
}

/* Is there a step that goes on from here, by name or by place? */
static const JsonStep *step_at(const Parser *p, uint32_t step, bool by_index) {
  if (step >= p->path->step_count) return NULL;
  return p->path->steps[step].is_index == by_index ? &p->path->steps[step] : NULL;
}

static bool read_member(Parser *p, uint32_t depth, uint32_t step, const JsonStep **wanted) {
  Bytes name;
  bool is_escaped;
  skip_space(p);
  if (!take(p, '"') || !read_string(p, &name, &is_escaped)) return false;
  skip_space(p);
  if (!take(p, ':')) return false;
  bool on_path = *wanted && is_name(name, is_escaped, (*wanted)->name);
  if (on_path) *wanted = NULL; /* the first one counts */
  return read_value(p, depth, on_path ? step + 1 : OFF_PATH);
}

/* Behind the brace. */
static bool read_object(Parser *p, uint32_t depth, uint32_t step) {
  const JsonStep *wanted = step_at(p, step, false);
  skip_space(p);
  if (take(p, '}')) return true;
  do {
    if (!read_member(p, depth, step, &wanted)) return false;
    skip_space(p);
  } while (take(p, ','));
  return take(p, '}');
}

static bool read_array(Parser *p, uint32_t depth, uint32_t step) {
  const JsonStep *wanted = step_at(p, step, true);
  uint64_t index = 0;
  skip_space(p);
  if (take(p, ']')) return true;
  do {
    bool on_path = wanted && index++ == wanted->index;
    if (!read_value(p, depth, on_path ? step + 1 : OFF_PATH)) return false;
    skip_space(p);
  } while (take(p, ','));
  return take(p, ']');
}

static bool read_any(Parser *p, uint32_t depth, uint32_t step, JsonValue *value) {
  switch (*p->at) {
  case '{':
    p->at++;
    value->kind = JSON_OTHER;
    return depth < JSON_DEPTH_MAX && read_object(p, depth + 1, step);
  case '[':
    p->at++;
    value->kind = JSON_OTHER;
    return depth < JSON_DEPTH_MAX && read_array(p, depth + 1, step);
  case '"':
    p->at++;
    value->kind = JSON_STRING;
    return read_string(p, &value->text, &value->is_escaped);
  case 't': value->kind = JSON_TRUE; return read_word(p, "true", 4);
  case 'f': value->kind = JSON_FALSE; return read_word(p, "false", 5);
  case 'n': value->kind = JSON_NULL; return read_word(p, "null", 4);
  default: value->kind = JSON_NUMBER; return read_number(p, &value->text);
  }
}

/* `step`: how many steps of the path have led here, or OFF_PATH. */
static bool read_value(Parser *p, uint32_t depth, uint32_t step) {
  JsonValue value = { 0 };
  skip_space(p);
  if (p->at == p->end || !read_any(p, depth, step, &value)) return false;
  if (step == p->path->step_count) *p->out = value;
  return true;
}

bool json_find(const JsonPath *path, Bytes text, JsonValue *out) {
  *out = (JsonValue){ 0 };
  if (!text.length) return false; /* its data may be NULL */
  Parser p = { text.data, text.data + text.length, path, out };
  if (!read_value(&p, 0, 0)) return false;
  skip_space(&p);
  return p.at == p.end;
}
