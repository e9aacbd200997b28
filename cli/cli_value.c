#include "cli/cli_value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

ScannedInteger scan_integer(const char *text, size_t length, int *negative, uint64_t *magnitude) {
  size_t at = length && (text[0] == '-' || text[0] == '+') ? 1 : 0;
  if (at == length) return SCANNED_NO_INTEGER;
  uint64_t number = 0;
  int too_long = 0;
  for (; at < length; at++) {
    unsigned digit = (unsigned)(unsigned char)text[at] - '0';
    if (digit > 9) return SCANNED_NO_INTEGER;
    too_long |= number > (UINT64_MAX - digit) / 10;
    number = number * 10 + digit;
  }
  *negative = text[0] == '-';
  *magnitude = number;
  return too_long ? SCANNED_INTEGER_TOO_LONG : SCANNED_INTEGER;
}

static size_t skip_digits(const char *text, size_t length, size_t at) {
  while (at < length && text[at] >= '0' && text[at] <= '9') at++;
  return at;
}

static int same_word(const char *text, size_t length, const char *word) {
  for (size_t i = 0; i < length; i++) {
    char c = text[i];
    if (c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
    if (!word[i] || c != word[i]) return 0; /* a text may be longer, and have NULs itself */
  }
  return word[length] == '\0';
}

ScannedFloat scan_float(const char *text, size_t length) {
  size_t sign = length && (text[0] == '-' || text[0] == '+') ? 1 : 0;
  size_t whole_end = skip_digits(text, length, sign);
  size_t digits = whole_end - sign;
  size_t at = whole_end;
  if (at < length && text[at] == '.') {
    at = skip_digits(text, length, whole_end + 1);
    digits += at - whole_end - 1;
  }
  if (!digits) {
    const char *word = text + sign;
    size_t left = length - sign;
    int special = same_word(word, left, "nan") || same_word(word, left, "inf") || same_word(word, left, "infinity");
    return special ? SCANNED_FLOAT_SPECIAL : SCANNED_NO_FLOAT;
  }
  if (at < length && (text[at] == 'e' || text[at] == 'E')) {
    size_t exponent = at + 1;
    if (exponent < length && (text[exponent] == '-' || text[exponent] == '+')) exponent++;
    at = skip_digits(text, length, exponent);
    if (at == exponent) return SCANNED_NO_FLOAT;
  }
  return at == length ? SCANNED_FLOAT : SCANNED_NO_FLOAT;
}

int scan_bool(const char *text, size_t length, int *truth) {
  *truth = same_word(text, length, "true");
  return *truth || same_word(text, length, "false");
}

/* ---- time ---- */

/* Blanks around a field are part of it. */
static int is_literal(int type, const char *text, size_t length, KVValue *value) {
  return length > 0 && text[0] != ' ' && text[length - 1] != ' ' &&
         kvvalue_read(type, 0, text, length, NULL, value) == KVSTORE_OK;
}

int scan_date(const char *text, size_t length, int32_t *days) {
  KVValue value;
  if (!is_literal(KVTABLE_TYPE_DATE, text, length, &value)) return 0;
  *days = (int32_t)value.as.i64;
  return 1;
}

int scan_timestamp(const char *text, size_t length, int64_t *microseconds, int *utc) {
  KVValue value;
  if (!is_literal(KVTABLE_TYPE_TIMESTAMP, text, length, &value)) return 0;
  *microseconds = value.as.i64;
  size_t at = 0;
  while (at < length && text[at] != ':') at++;
  *utc = 0;
  for (; at < length; at++)
    *utc |= text[at] == 'Z' || text[at] == 'z' || text[at] == '+' || text[at] == '-'; /* a zone */
  return 1;
}

/* ---- a column's value ---- */

typedef struct IntegerRange {
  uint64_t below; /* the magnitude of the least */
  uint64_t above; /* the greatest */
  const char *refusal;
} IntegerRange;

static IntegerRange range_of(int type) {
  switch (type) {
  case KVTABLE_TYPE_I8: return (IntegerRange){ 128, INT8_MAX, "is no i8 (-128 to 127)" };
  case KVTABLE_TYPE_I16: return (IntegerRange){ 32768, INT16_MAX, "is no i16 (-32768 to 32767)" };
  case KVTABLE_TYPE_I32: return (IntegerRange){ 2147483648, INT32_MAX, "is no i32 (a whole number of 32 bits)" };
  case KVTABLE_TYPE_I64: return (IntegerRange){ UINT64_C(1) << 63, INT64_MAX, "is no i64 (a whole number)" };
  case KVTABLE_TYPE_U8: return (IntegerRange){ 0, UINT8_MAX, "is no u8 (0 to 255)" };
  case KVTABLE_TYPE_U16: return (IntegerRange){ 0, UINT16_MAX, "is no u16 (0 to 65535)" };
  case KVTABLE_TYPE_U32: return (IntegerRange){ 0, UINT32_MAX, "is no u32 (a whole number of 32 bits, not negative)" };
  default: return (IntegerRange){ 0, UINT64_MAX, "is no u64 (a whole number, not negative)" };
  }
}

static int is_unsigned(int type) { return type >= KVTABLE_TYPE_U8 && type <= KVTABLE_TYPE_U64; }

static const char *read_integer(int type, const char *text, size_t length, KVValue *value) {
  IntegerRange range = range_of(type);
  int negative;
  uint64_t magnitude;
  if (scan_integer(text, length, &negative, &magnitude) != SCANNED_INTEGER) return range.refusal;
  if (magnitude > (negative ? range.below : range.above)) return range.refusal;
  *value = kvvalue_of(type);
  if (is_unsigned(type)) {
    value->as.u64 = magnitude;
  } else if (negative && magnitude) {
    value->as.i64 = -(int64_t)(magnitude - 1) - 1;
  } else {
    value->as.i64 = (int64_t)magnitude;
  }
  return NULL;
}

static const char *read_float(int type, const char *text, size_t length, KVValue *value) {
  ScannedFloat scanned = scan_float(text, length);
  if (scanned == SCANNED_NO_FLOAT) return "is no number";
  *value = kvvalue_of(type);
  value->as.f64 = type == KVTABLE_TYPE_F32 ? (double)strtof(text, NULL) : strtod(text, NULL);
  if (scanned == SCANNED_FLOAT && isinf(value->as.f64))
    return type == KVTABLE_TYPE_F32 ? "is too large for an f32" : "is too large for an f64";
  return NULL;
}

static const char *read_text(const KVColumnDefinition *column, const char *text, size_t length, KVValue *value) {
  if (column->type == KVTABLE_TYPE_STRING && !text_is_utf8(text, length))
    return "is not UTF-8 text; a column of type bytes takes it";
  if (column->type == KVTABLE_TYPE_FIXED_BYTES && length != column->width)
    return "has not the column's length in bytes";
  *value = kvvalue_of(column->type);
  value->as.bytes.data = text;
  value->as.bytes.length = length;
  return NULL;
}

/* What a uuid is read into is used before as many others are read as a key, or two ends of a range, can have. */
static const char *read_other(const KVColumnDefinition *column, const char *text, size_t length, KVValue *value) {
  static unsigned char rooms[4 * KVTABLE_KEY_COLUMNS_MAX][KVTABLE_UUID_BYTES];
  static size_t next;
  unsigned char *room = rooms[next++ % (sizeof rooms / sizeof *rooms)];
  if (kvvalue_read(column->type, column->width, text, length, room, value) == KVSTORE_OK) return NULL;
  switch (column->type) {
  case KVTABLE_TYPE_DECIMAL: return "is no decimal of the column's digits behind the point, 18 in all";
  case KVTABLE_TYPE_TIME: return "is no time (12:34:56.5)";
  case KVTABLE_TYPE_DURATION: return "is no duration (36:00:00.5, or 90 seconds)";
  default: return "is no uuid (00112233-4455-6677-8899-aabbccddeeff)";
  }
}

int type_read(const char *text, int *type, uint32_t *width) {
  char name[TYPE_TEXT_MAX];
  size_t length = strcspn(text, ":(");
  unsigned digits = KVTABLE_DECIMAL_SCALE_MAX, number = 0;
  int end = 0;
  if (length >= sizeof name) return 0;
  memcpy(name, text, length);
  name[length] = 0;
  *type = kvtable_type_by_name(name);
  *width = 0;
  int has_width = *type == KVTABLE_TYPE_FIXED_BYTES || *type == KVTABLE_TYPE_DECIMAL;
  if (*type == KVTABLE_TYPE_NONE || has_width == !text[length]) return 0;
  if (!has_width) return 1;
  const char *rest = text + length;
  int read = sscanf(rest, ":%5u%n", &number, &end) == 1;
  if (*type == KVTABLE_TYPE_DECIMAL && !read) {
    end = 0;
    if (sscanf(rest, "(%2u , %2u )%n", &digits, &number, &end) < 2 || !end) {
      number = 0;
      if (sscanf(rest, "(%2u )%n", &digits, &end) < 1) return 0;
    }
  } else if (!read) {
    return 0;
  }
  *width = number;
  if (!end || rest[end]) return 0;
  return *type != KVTABLE_TYPE_DECIMAL || (digits <= KVTABLE_DECIMAL_SCALE_MAX && number <= digits);
}

const char *type_print(int type, uint32_t width, char buffer[TYPE_TEXT_MAX]) {
  if (type == KVTABLE_TYPE_DECIMAL)
    snprintf(buffer, TYPE_TEXT_MAX, "decimal(%d,%u)", KVTABLE_DECIMAL_SCALE_MAX, width);
  else if (type == KVTABLE_TYPE_FIXED_BYTES)
    snprintf(buffer, TYPE_TEXT_MAX, "%s:%u", kvtable_type_name(type), width);
  else
    snprintf(buffer, TYPE_TEXT_MAX, "%s", kvtable_type_name(type));
  return buffer;
}

const char *value_read(const KVColumnDefinition *column, const char *text, size_t length, KVValue *value) {
  int truth;
  int utc;
  int32_t days;
  int64_t microseconds;
  switch (column->type) {
  case KVTABLE_TYPE_BOOL:
    if (!scan_bool(text, length, &truth)) return "is neither true nor false";
    *value = kvvalue_bool(truth);
    return NULL;
  case KVTABLE_TYPE_DATE:
    if (!scan_date(text, length, &days)) return "is no date (2013-01-31)";
    *value = kvvalue_date(days);
    return NULL;
  case KVTABLE_TYPE_TIMESTAMP:
    if (!scan_timestamp(text, length, &microseconds, &utc)) return "is no timestamp (2013-01-31 12:34:56)";
    *value = kvvalue_timestamp(microseconds);
    return NULL;
  case KVTABLE_TYPE_DECIMAL:
  case KVTABLE_TYPE_TIME:
  case KVTABLE_TYPE_DURATION:
  case KVTABLE_TYPE_UUID: return read_other(column, text, length, value);
  case KVTABLE_TYPE_F32:
  case KVTABLE_TYPE_F64: return read_float(column->type, text, length, value);
  case KVTABLE_TYPE_STRING:
  case KVTABLE_TYPE_BYTES:
  case KVTABLE_TYPE_FIXED_BYTES: return read_text(column, text, length, value);
  default: return read_integer(column->type, text, length, value);
  }
}

const char *value_read_word(const KVColumnDefinition *column, char *text, KVValue *value) {
  size_t length = strlen(text);
  Text bytes = TEXT_EMPTY;
  int is_bytes = column->type == KVTABLE_TYPE_BYTES || column->type == KVTABLE_TYPE_FIXED_BYTES;
  int is_hex = is_bytes && text_read_hex(&bytes, text, length);
  const char *refusal = value_read(column, is_hex ? bytes.data : text, is_hex ? bytes.length : length, value);
  if (is_hex && !refusal) {
    memcpy(text, bytes.data, bytes.length);
    value->as.bytes.data = text;
  }
  text_free(&bytes);
  return refusal;
}

void value_add(Text *text, const KVValue *value) {
  int bytes =
    value->type == KVTABLE_TYPE_STRING || value->type == KVTABLE_TYPE_BYTES || value->type == KVTABLE_TYPE_FIXED_BYTES;
  if (bytes && !value->is_null) {
    text_add_readable(text, value->as.bytes.data, value->as.bytes.length);
    return;
  }
  char buffer[64];
  size_t length = kvvalue_print(value, buffer, sizeof buffer);
  text_add(text, buffer, length < sizeof buffer ? length : sizeof buffer - 1);
}

int value_is_number(int type) {
  return (type >= KVTABLE_TYPE_I8 && type <= KVTABLE_TYPE_F64) || type == KVTABLE_TYPE_DECIMAL ||
         type == KVTABLE_TYPE_DECIMAL128;
}
