#include "encodings/projection.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/literal.h"
#include "base/memory.h"

/* ---- text ---- */

typedef struct SourceReader {
  const char *begin, *at, *end;
  Arena *arena;
} SourceReader;

static Status bad_source(const SourceReader *r, const char *what) {
  return status_fail(KVSTORE_ERROR, "a column's source at character %zu: %s", (size_t)(r->at - r->begin) + 1, what);
}

static void skip_blanks(SourceReader *r) {
  while (r->at < r->end && *r->at == ' ') r->at++;
}

static bool take(SourceReader *r, char c) {
  skip_blanks(r);
  if (r->at == r->end || *r->at != c) return false;
  r->at++;
  return true;
}

static bool take_word(SourceReader *r, const char *word) {
  size_t length = strlen(word);
  skip_blanks(r);
  if ((size_t)(r->end - r->at) < length || memcmp(r->at, word, length) != 0) return false;
  r->at += length;
  return true;
}

static Status read_number(SourceReader *r, uint32_t *number) {
  skip_blanks(r);
  const char *from = r->at;
  uint64_t value = 0;
  for (; r->at < r->end && *r->at >= '0' && *r->at <= '9' && value <= UINT32_MAX; r->at++)
    value = value * 10 + (uint64_t)(*r->at - '0');
  if (r->at == from || value > UINT32_MAX) return bad_source(r, "a number from 0 to 4294967295 is missing");
  *number = (uint32_t)value;
  return KVSTORE_OK;
}

/* In single quotes, which are doubled within. */
static Status read_separator(SourceReader *r, Bytes *out) {
  if (!take(r, '\'')) return bad_source(r, "a separator stands in single quotes");
  uint8_t *to = arena_allocate(r->arena, PROJECTION_SEPARATOR_MAX);
  if (!to) return status_nomem();
  *out = (Bytes){ to, 0 };
  for (; r->at < r->end; r->at++) {
    if (*r->at == '\'') {
      if (r->end - r->at < 2 || r->at[1] != '\'') break;
      r->at++;
    }
    if (out->length == PROJECTION_SEPARATOR_MAX) return bad_source(r, "a separator has 64 bytes at most");
    to[out->length++] = (uint8_t)*r->at;
  }
  if (!take(r, '\'')) return bad_source(r, "the separator does not end");
  return out->length ? KVSTORE_OK : bad_source(r, "the separator is empty");
}

static Status read_part(SourceReader *r, Projection *p) {
  p->kind = PROJECTION_PART;
  p->separator = (Bytes){ (const uint8_t *)"/", 1 };
  TRY(read_number(r, &p->number));
  return take(r, ',') ? read_separator(r, &p->separator) : KVSTORE_OK;
}

static Status read_at(SourceReader *r, Projection *p) {
  p->kind = PROJECTION_AT;
  TRY(read_number(r, &p->number));
  if (!take(r, ',')) return KVSTORE_OK;
  p->big_endian = take_word(r, "big");
  return p->big_endian || take_word(r, "little") ? KVSTORE_OK : bad_source(r, "big or little is missing");
}

static Status read_json(SourceReader *r, Projection *p) {
  size_t used;
  p->kind = PROJECTION_JSON;
  skip_blanks(r);
  TRY(json_path_parse(r->at, (size_t)(r->end - r->at), r->arena, &p->path, &used));
  r->at += used;
  return KVSTORE_OK;
}

static Status read_source(SourceReader *r, Projection *p) {
  if (take_word(r, "part") && take(r, '(')) return read_part(r, p);
  r->at = r->begin;
  if (take_word(r, "at") && take(r, '(')) return read_at(r, p);
  r->at = r->begin;
  if (take_word(r, "json") && take(r, '(')) return read_json(r, p);
  r->at = r->begin;
  return bad_source(r, "part(N), at(OFFSET) or json(PATH) is missing");
}

Status projection_parse(const char *text, size_t length, Arena *arena, Projection *out) {
  SourceReader r = { text, text, text + length, arena };
  *out = (Projection){ 0 };
  if (length > PROJECTION_TEXT_MAX)
    return status_fail(KVSTORE_LIMIT, "a column's source of %zu bytes: it has %d at most", length, PROJECTION_TEXT_MAX);
  TRY(read_source(&r, out));
  if (!take(&r, ')')) return bad_source(&r, "a ) is missing");
  skip_blanks(&r);
  return r.at == r.end ? KVSTORE_OK : bad_source(&r, "something stands behind it");
}

static void print_text(Buffer *out, const char *text) { buffer_append(out, text, strlen(text)); }

static void print_separator(Bytes separator, Buffer *out) {
  if (separator.length == 1 && separator.data[0] == '/') return;
  print_text(out, ", '");
  for (size_t i = 0; i < separator.length; i++) {
    if (separator.data[i] == '\'') buffer_u8(out, '\'');
    buffer_u8(out, separator.data[i]);
  }
  buffer_u8(out, '\'');
}

void projection_print(const Projection *p, Buffer *out) {
  char number[40];
  if (p->kind == PROJECTION_JSON) {
    print_text(out, "json(");
    json_path_print(&p->path, out);
  } else {
    (void)snprintf(number, sizeof number, "%s(%u", p->kind == PROJECTION_PART ? "part" : "at", p->number);
    print_text(out, number);
    if (p->kind == PROJECTION_PART) print_separator(p->separator, out);
    if (p->big_endian) print_text(out, ", big");
  }
  buffer_u8(out, ')');
}

/* ---- types ---- */

static bool kind_has_type(ProjectionKind kind, ColumnType type) {
  switch (kind) {
  case PROJECTION_PART: return type != TYPE_BOOL;
  case PROJECTION_JSON: return !type_is_string(type) || type == TYPE_STRING || type == TYPE_UUID;
  case PROJECTION_AT: return true;
  default: return false;
  }
}

static Status fail_type(const Projection *p, ColumnType type, const char *name) {
  Buffer source = { 0 };
  projection_print(p, &source);
  buffer_u8(&source, '\0');
  const char *text = source.failed ? "its source" : (const char *)source.data;
  Status status = status_fail_at(KVSTORE_TYPE, UINT64_MAX, name, text, "column %s: %s cannot be made of %s", name,
                                 type_name(type), text);
  buffer_release(&source);
  return status;
}

Status projection_set_type(Projection *p, ColumnType type, uint32_t width, const char *name) {
  if (!type_is_valid(type) || !kind_has_type(p->kind, type)) return fail_type(p, type, name);
  p->type = type;
  p->width = width;
  return KVSTORE_OK;
}

/* ---- numbers in text ---- */

/* [+-]digits into 64 bits: what does not fit is false. */
static bool whole_number(Bytes text, bool *negative, uint64_t *magnitude) {
  size_t at = text.length && (text.data[0] == '-' || text.data[0] == '+');
  *negative = at && text.data[0] == '-';
  *magnitude = 0;
  if (at == text.length) return false;
  for (; at < text.length; at++) {
    uint8_t digit = (uint8_t)(text.data[at] - '0');
    if (digit > 9 || __builtin_mul_overflow(*magnitude, UINT64_C(10), magnitude) ||
        __builtin_add_overflow(*magnitude, (uint64_t)digit, magnitude))
      return false;
  }
  return true;
}

/* [+-] digits [. digits] [e [+-] digits], taken apart: digits without the point, and the power of ten that they are to
 * be multiplied by. */
typedef struct Decimal {
  bool negative;
  Bytes whole, fraction;
  int64_t exponent;
} Decimal;

static Bytes take_digits(const uint8_t **at, const uint8_t *end) {
  const uint8_t *from = *at;
  while (*at < end && **at >= '0' && **at <= '9') ++*at;
  return (Bytes){ from, (size_t)(*at - from) };
}

static bool read_exponent(const uint8_t **at, const uint8_t *end, int64_t *exponent) {
  bool negative = *at < end && **at == '-';
  if (*at < end && (**at == '-' || **at == '+')) ++*at;
  Bytes digits = take_digits(at, end);
  for (size_t i = 0; i < digits.length && *exponent < 1000000; i++) *exponent = *exponent * 10 + (digits.data[i] - '0');
  if (negative) *exponent = -*exponent;
  return digits.length > 0;
}

static bool read_decimal(Bytes text, Decimal *d) {
  const uint8_t *at = text.data, *end = at + text.length;
  *d = (Decimal){ .negative = text.length && *at == '-' };
  if (at < end && (*at == '-' || *at == '+')) at++;
  d->whole = take_digits(&at, end);
  if (!d->whole.length) return false;
  if (at < end && *at == '.') {
    at++;
    d->fraction = take_digits(&at, end);
    if (!d->fraction.length) return false;
  }
  if (at < end && (*at == 'e' || *at == 'E')) {
    at++;
    if (!read_exponent(&at, end, &d->exponent)) return false;
  }
  d->exponent -= (int64_t)d->fraction.length;
  return at == end;
}

/* Up to 2^53 and powers of ten up to 22 are exact in a double, and so is one rounding of the two. */
static bool small_decimal(const Decimal *d, double *out) {
  static const double powers[] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                   1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };
  if (d->whole.length + d->fraction.length > 18 || d->exponent < -22 || d->exponent > 22) return false;
  uint64_t digits = 0;
  for (size_t i = 0; i < d->whole.length; i++) digits = digits * 10 + (uint64_t)(d->whole.data[i] - '0');
  for (size_t i = 0; i < d->fraction.length; i++) digits = digits * 10 + (uint64_t)(d->fraction.data[i] - '0');
  if (digits > UINT64_C(1) << 53) return false;
  double number = (double)digits;
  number = d->exponent < 0 ? number / powers[-d->exponent] : number * powers[d->exponent];
  *out = d->negative ? -number : number;
  return true;
}

/* Where the double is the middle of two floats, or lies among those of fewer bits, the text says which is nearest. */
static bool may_round_twice(double number) {
  enum { LOST_BITS = DBL_MANT_DIG - FLT_MANT_DIG };
  const uint64_t lost = (UINT64_C(1) << LOST_BITS) - 1, middle = UINT64_C(1) << (LOST_BITS - 1);
  uint64_t bits;
  memcpy(&bits, &number, sizeof bits);
  return (bits & lost) == middle || (number != 0 && fabs(number) < (double)FLT_MIN);
}

/* The nearest of the type; strtod is given no point, which it would read by the locale. */
static Status nearest_float(const Decimal *d, ColumnType type, double *out) {
  if (small_decimal(d, out) && (type != TYPE_F32 || !may_round_twice(*out))) return KVSTORE_OK;
  size_t count = d->whole.length + d->fraction.length;
  char local[128], *digits = count + 32 <= sizeof local ? local : memory_allocate(count + 32);
  if (!digits) return status_nomem();
  digits[0] = d->negative ? '-' : '+';
  memcpy(digits + 1, d->whole.data, d->whole.length);
  if (d->fraction.length) memcpy(digits + 1 + d->whole.length, d->fraction.data, d->fraction.length);
  (void)snprintf(digits + 1 + count, 31, "e%lld", (long long)d->exponent);
  *out = type == TYPE_F32 ? (double)strtof(digits, NULL) : strtod(digits, NULL);
  if (digits != local) memory_release(digits);
  return KVSTORE_OK;
}

/* Into an integer type; false when it does not fit. */
static bool fit_integer(bool negative, uint64_t magnitude, ColumnType type, Value *out) {
  static const uint8_t bits[] = { [TYPE_I8] = 8, [TYPE_I16] = 16, [TYPE_I32] = 32, [TYPE_I64] = 64,
                                  [TYPE_U8] = 8, [TYPE_U16] = 16, [TYPE_U32] = 32, [TYPE_U64] = 64 };
  bool has_sign = type_is_signed(type);
  uint32_t width = bits[type] - has_sign;
  uint64_t most = width == 64 ? UINT64_MAX : (UINT64_C(1) << width) - 1;
  if (has_sign && negative) most++;
  if (magnitude > most || (negative && magnitude && !has_sign)) return false;
  if (has_sign)
    out->i = negative ? (int64_t)(UINT64_C(0) - magnitude) : (int64_t)magnitude;
  else
    out->u = magnitude;
  out->is_null = false;
  return true;
}

static Status fit_float(const Decimal *d, ColumnType type, Value *out) {
  double number;
  TRY(nearest_float(d, type, &number));
  if (type == TYPE_F32) number = (double)(float)number;
  out->is_null = !isfinite(number);
  out->f = out->is_null ? 0 : number;
  return KVSTORE_OK;
}

/* 2.0, 1e3, 1.5e1: what is whole and at most 2^53, by its digits; else false. */
static bool whole_decimal(const Decimal *d, uint64_t *magnitude) {
  const uint64_t most = UINT64_C(1) << 53;
  const size_t count = d->whole.length + d->fraction.length;
  int64_t before_point = (int64_t)count + d->exponent;
  *magnitude = 0;
  for (size_t i = 0; i < count; i++, before_point--) {
    const uint8_t *text = i < d->whole.length ? d->whole.data + i : d->fraction.data + (i - d->whole.length);
    uint64_t digit = (uint64_t)(*text - '0');
    if (before_point > 0)
      *magnitude = *magnitude * 10 + digit;
    else if (digit)
      return false;
    if (*magnitude > most) return false;
  }
  for (; before_point > 0 && *magnitude; before_point--)
    if ((*magnitude *= 10) > most) return false;
  return true;
}

static Status number_in_text(Bytes text, ColumnType type, Value *out) {
  bool negative;
  uint64_t magnitude;
  Decimal d;
  if (type_is_integer(type) && whole_number(text, &negative, &magnitude)) {
    (void)fit_integer(negative, magnitude, type, out);
    return KVSTORE_OK;
  }
  if (!read_decimal(text, &d)) return KVSTORE_OK;
  if (type_is_float(type)) return fit_float(&d, type, out);
  if (type_is_integer(type)) {
    if (whole_decimal(&d, &magnitude)) (void)fit_integer(d.negative, magnitude, type, out);
    return KVSTORE_OK;
  }
  Value decimal; /* exactly, or not at all */
  if (literal_decimal_of((const char *)text.data, text.length, type_scale(type), &decimal)) *out = decimal;
  return KVSTORE_OK;
}

/* ---- values: *out is a null of the type at first ---- */

static void fit_string(Bytes text, const Projection *p, Value *out) {
  if (p->type == TYPE_STRING && !bytes_are_utf8(text.data, text.length)) return;
  if (type_is_fixed(p->type) && text.length != p->width) return;
  if (!text.length) text.data = (const uint8_t *)"";
  out->s = text;
  out->is_null = false;
}

/* Dates, times, timestamps, durations and uuids as text. */
static bool is_read_as_literal(ColumnType type) { return literal_is_read(type) && !type_is_decimal(type); }

static Status literal_in_text(Bytes text, ColumnType type, Arena *arena, Value *out) {
  uint8_t *room = type == TYPE_UUID ? arena_allocate(arena, UUID_BYTES) : NULL;
  if (type == TYPE_UUID && !room) return status_nomem();
  Value read;
  if (text.length && literal_read_as(type, text, room, &read)) *out = read;
  return KVSTORE_OK;
}

static const uint8_t *find_bytes(const uint8_t *at, const uint8_t *end, Bytes what) {
  while ((size_t)(end - at) >= what.length) {
    const uint8_t *found = memchr(at, what.data[0], (size_t)(end - at) - what.length + 1);
    if (!found || memcmp(found, what.data, what.length) == 0) return found;
    at = found + 1;
  }
  return NULL;
}

static Status read_key_part(const Projection *p, Bytes key, Arena *arena, Value *out) {
  const uint8_t *at = key.data, *end = at + key.length, *next = find_bytes(at, end, p->separator);
  for (uint32_t part = 0; part < p->number; part++) {
    if (!next) return KVSTORE_OK;
    at = next + p->separator.length;
    next = find_bytes(at, end, p->separator);
  }
  Bytes text = { at, (size_t)((next ? next : end) - at) };
  if (is_read_as_literal(p->type)) return literal_in_text(text, p->type, arena, out);
  if (!type_is_string(p->type)) return number_in_text(text, p->type, out);
  fit_string(text, p, out);
  return KVSTORE_OK;
}

/* The bytes of a number in the machine's order. */
static void read_fixed(const Projection *p, const uint8_t *from, size_t width, Value *out) {
  uint64_t bits = 0;
  memcpy(&bits, from, width);
  if (p->big_endian) bits = __builtin_bswap64(bits) >> (64 - 8 * width);
  if (p->type == TYPE_BOOL && bits > 1) return;
  Value value = value_from_array(p->type, &bits, 0);
  int64_t low, high;
  type_image_bounds(p->type, &low, &high);
  if (!type_has_gaps(p->type) || (value.i >= low && value.i <= high)) *out = value;
}

static void read_offset(const Projection *p, Bytes value, Value *out) {
  if (p->number > value.length) return;
  const uint8_t *from = value.length ? value.data : (const uint8_t *)"";
  Bytes rest = { from + p->number, value.length - p->number };
  if (type_is_string(p->type)) {
    if (type_is_fixed(p->type) && rest.length > p->width) rest.length = p->width;
    fit_string(rest, p, out);
    return;
  }
  size_t width = type_array_width(p->type);
  if (rest.length >= width) read_fixed(p, rest.data, width, out);
}

/* A JSON value as text without its escapes; *is_text is false where these name no character. */
static Status json_text(const JsonValue *found, Arena *arena, Bytes *text, bool *is_text) {
  *text = found->text;
  *is_text = true;
  if (found->kind == JSON_TRUE || found->kind == JSON_FALSE) {
    bool truth = found->kind == JSON_TRUE;
    *text = (Bytes){ (const uint8_t *)(truth ? "true" : "false"), truth ? 4 : 5 };
  } else if (found->kind == JSON_STRING && found->is_escaped) {
    uint8_t *plain = arena_allocate(arena, found->text.length);
    if (!plain) return status_nomem();
    size_t length;
    *is_text = json_unescape(found->text, plain, &length);
    *text = (Bytes){ plain, length };
  }
  return KVSTORE_OK;
}

/* Numbers are taken by number columns, and by strings as they are written; strings by decimals too, and by what is read
 * as a literal. */
static bool json_fits(JsonKind kind, ColumnType type) {
  if (kind == JSON_STRING) return type == TYPE_STRING || literal_is_read(type);
  if (kind == JSON_NUMBER) return type == TYPE_STRING || type_is_number(type);
  return (kind == JSON_TRUE || kind == JSON_FALSE) && (type == TYPE_STRING || type == TYPE_BOOL);
}

static Status read_json_value(const Projection *p, Bytes value, Arena *arena, Value *out) {
  JsonValue found;
  Bytes text;
  bool is_text;
  if (!json_find(&p->path, value, &found) || !json_fits(found.kind, p->type)) return KVSTORE_OK;
  if (p->type == TYPE_BOOL) {
    out->i = found.kind == JSON_TRUE;
    out->is_null = false;
    return KVSTORE_OK;
  }
  TRY(json_text(&found, arena, &text, &is_text));
  if (!is_text) return KVSTORE_OK;
  if (is_read_as_literal(p->type)) return literal_in_text(text, p->type, arena, out);
  if (type_is_number(p->type)) return number_in_text(text, p->type, out);
  fit_string(text, p, out);
  return KVSTORE_OK;
}

/* Later than the last timestamp that there is: that one. */
static int64_t expiry_timestamp(int64_t expiry) {
  int64_t microseconds;
  return __builtin_mul_overflow(expiry, INT64_C(1000), &microseconds) ? INT64_MAX : microseconds;
}

Status projection_read(const Projection *p, const SourcePair *pair, Arena *arena, Value *out) {
  *out = (Value){ .type = p->type, .is_null = true };
  switch (p->kind) {
  case PROJECTION_KEY: fit_string(pair->key, p, out); break;
  case PROJECTION_VALUE: fit_string(pair->value, p, out); break;
  case PROJECTION_LENGTH:
    out->u = pair->value.length;
    out->is_null = false;
    break;
  case PROJECTION_EXPIRY:
    out->is_null = pair->expiry == EXPIRY_NEVER;
    if (!out->is_null) out->i = expiry_timestamp(pair->expiry);
    break;
  case PROJECTION_PART: return read_key_part(p, pair->key, arena, out);
  case PROJECTION_AT: read_offset(p, pair->value, out); break;
  case PROJECTION_JSON: return read_json_value(p, pair->value, arena, out);
  }
  return KVSTORE_OK;
}
