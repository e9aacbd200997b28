/* literal.c - constants as text. Calendar arithmetic: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"
 * (days of the proleptic Gregorian calendar in eras of 400 years). */
#include "query/literal.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"

#define MICROSECONDS_PER_SECOND INT64_C(1000000)
#define MICROSECONDS_PER_DAY    (INT64_C(86400) * MICROSECONDS_PER_SECOND)

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* ---- numbers ---- */

/* False when the digits do not fit 64 bits. */
static bool parse_magnitude(const char *text, size_t length, uint64_t *out) {
  uint64_t value = 0;
  for (size_t i = 0; i < length; i++) {
    if (__builtin_mul_overflow(value, UINT64_C(10), &value)) return false;
    if (__builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value)) return false;
  }
  *out = value;
  return true;
}

static bool parse_integer(const char *text, size_t length, Value *out) {
  bool negative = text[0] == '-';
  size_t sign = negative || text[0] == '+';
  uint64_t magnitude;
  for (size_t i = sign; i < length; i++) {
    if (!is_digit(text[i])) return false;
  }
  if (!parse_magnitude(text + sign, length - sign, &magnitude)) return false;
  if (negative) {
    if (magnitude > (uint64_t)INT64_MAX + 1) return false;
    *out = (Value){ .type = TYPE_I64, .i = (int64_t)(UINT64_C(0) - magnitude) };
  } else if (magnitude <= (uint64_t)INT64_MAX) {
    *out = (Value){ .type = TYPE_I64, .i = (int64_t)magnitude };
  } else {
    *out = (Value){ .type = TYPE_U64, .u = magnitude };
  }
  return true;
}

static long parse_exponent(const char *text, size_t length) {
  bool negative = length && text[0] == '-';
  long value = 0;
  for (size_t i = length && !is_digit(text[0]); i < length; i++) {
    if (value < 100000000) value = value * 10 + (text[i] - '0');
  }
  return negative ? -value : value;
}

/* Rewrites a decimal without its point, which strtod would read by the locale: 12.34e5 as 1234e3. */
static void write_pointless(const char *text, size_t length, char *out) {
  size_t written = 0;
  long exponent = 0;
  bool behind_point = false;
  for (size_t i = 0; i < length; i++) {
    if (text[i] == '.') {
      behind_point = true;
    } else if (text[i] == 'e' || text[i] == 'E') {
      exponent += parse_exponent(text + i + 1, length - i - 1);
      break;
    } else {
      out[written++] = text[i];
      exponent -= behind_point && is_digit(text[i]);
    }
  }
  snprintf(out + written, 24, "e%ld", exponent);
}

/* An integer that neither i64 nor u64 holds. What is below i64 stays below where it would round up to its minimum;
   above u64 nothing rounds down past 2^64. */
static Value beyond_integers(double number) {
  return (Value){ .type = TYPE_F64, .f = number == -0x1p63 ? nextafter(number, -INFINITY) : number };
}

Status literal_number(const char *text, size_t length, Value *out) {
  if (parse_integer(text, length, out)) return KVSTORE_OK;
  char local[128];
  char *digits = length + 24 <= sizeof local ? local : memory_allocate(length + 24);
  if (!digits) return status_nomem();
  write_pointless(text, length, digits);
  double number = strtod(digits, NULL);
  if (digits != local) memory_release(digits);
  bool is_integer = true;
  for (size_t i = 0; i < length; i++)
    is_integer = is_integer && (is_digit(text[i]) || text[i] == '-' || text[i] == '+');
  *out = is_integer ? beyond_integers(number) : (Value){ .type = TYPE_F64, .f = number };
  return KVSTORE_OK;
}

Value literal_below_i64(uint64_t magnitude) { return beyond_integers(-(double)magnitude); }

/* The shortest decimal that reads back as the same double, always with a point or an exponent. */
static void print_double(double number, Buffer *out) {
  if (number != number) {
    buffer_text(out, "nan");
    return;
  }
  if (number > DBL_MAX || number < -DBL_MAX) {
    buffer_text(out, number > 0 ? "infinity" : "-infinity");
    return;
  }
  char text[64], digits[64];
  for (int precision = 0; precision < 17; precision++) {
    snprintf(text, sizeof text, "%.*e", precision, number);
    if (strtod(text, NULL) == number) break;
  }
  size_t count = 0; /* the digits without sign and point, whatever the locale's point is */
  const char *at = text;
  for (; *at != 'e'; at++) {
    if (is_digit(*at)) digits[count++] = *at;
  }
  if (number < 0 || (number == 0 && signbit(number))) buffer_u8(out, '-');
  long exponent = strtol(at + 1, NULL, 10);
  if (exponent < 0 && exponent >= -5) { /* 1.25e-2 as 0.0125 */
    buffer_append(out, "0.0000", (size_t)(1 - exponent));
    buffer_append(out, digits, count);
    return;
  }
  buffer_append(out, digits, 1);
  if (exponent >= 0 && exponent < 16) { /* 1.25e2 as 125.0 */
    for (long i = 1; i <= exponent; i++) buffer_u8(out, (uint8_t)(i < (long)count ? digits[i] : '0'));
    buffer_u8(out, '.');
    size_t whole = (size_t)exponent + 1;
    buffer_append(out, whole < count ? digits + whole : "0", whole < count ? count - whole : 1);
    return;
  }
  if (count > 1) {
    buffer_u8(out, '.');
    buffer_append(out, digits + 1, count - 1);
  }
  snprintf(text, sizeof text, "e%ld", exponent);
  buffer_text(out, text);
}

/* ---- dates ---- */

int64_t calendar_days(int64_t year, int64_t month, int64_t day) {
  year -= month <= 2;
  int64_t era = (year >= 0 ? year : year - 399) / 400, of_era = year - era * 400;
  int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

void calendar_date(int64_t days, int64_t *year, int64_t *month, int64_t *day) {
  days += 719468;
  int64_t era = (days >= 0 ? days : days - 146096) / 146097, of_era = days - era * 146097;
  int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  int64_t shifted = (5 * of_year + 2) / 153;
  *day = of_year - (153 * shifted + 2) / 5 + 1;
  *month = shifted < 10 ? shifted + 3 : shifted - 9;
  *year = year_of_era + era * 400 + (*month <= 2);
}

/* Text under a cursor: each function takes what it says, or says no. */
typedef struct Cursor {
  const char *at, *end;
} Cursor;

static bool take_char(Cursor *c, char wanted) {
  if (c->at == c->end || *c->at != wanted) return false;
  c->at++;
  return true;
}

static bool take_digits(Cursor *c, int least, int most, int64_t *out) {
  int count = 0;
  *out = 0;
  while (count < most && c->at != c->end && is_digit(*c->at)) {
    *out = *out * 10 + (*c->at++ - '0');
    count++;
  }
  return count >= least;
}

static bool take_date(Cursor *c, int64_t *days) {
  int64_t year, month, day, y, m, d;
  bool negative = take_char(c, '-'), is_signed = negative || take_char(c, '+');
  if (!take_digits(c, 4, is_signed ? 7 : 4, &year) || !take_char(c, '-') || !take_digits(c, 2, 2, &month) ||
      !take_char(c, '-') || !take_digits(c, 2, 2, &day)) {
    return false;
  }
  if (month < 1 || month > 12 || day < 1 || day > 31) return false;
  *days = calendar_days(negative ? -year : year, month, day);
  calendar_date(*days, &y, &m, &d); /* the 31st of a short month comes back as another day */
  return m == month && d == day;
}

static bool take_fraction(Cursor *c, int64_t *microseconds) {
  int64_t digits;
  const char *first = c->at;
  if (!take_digits(c, 1, 6, &digits)) return false;
  for (long count = c->at - first; count < 6; count++) digits *= 10;
  *microseconds += digits;
  return true;
}

static bool take_time(Cursor *c, int64_t *microseconds) {
  int64_t hour, minute, second = 0;
  if (!take_digits(c, 2, 2, &hour) || !take_char(c, ':') || !take_digits(c, 2, 2, &minute)) return false;
  bool has_second = take_char(c, ':');
  if (has_second && !take_digits(c, 2, 2, &second)) return false;
  if (hour > 23 || minute > 59 || second > 59) return false;
  *microseconds = ((hour * 60 + minute) * 60 + second) * MICROSECONDS_PER_SECOND;
  return !has_second || !take_char(c, '.') || take_fraction(c, microseconds);
}

bool literal_date(const char *text, size_t length, Value *out) {
  Cursor c = { text, text + length };
  int64_t days;
  if (!take_date(&c, &days) || c.at != c.end || days < INT32_MIN || days > INT32_MAX) return false;
  *out = (Value){ .type = TYPE_DATE, .i = days };
  return true;
}

bool literal_timestamp(const char *text, size_t length, Value *out) {
  Cursor c = { text, text + length };
  int64_t days, microseconds = 0, total;
  if (!take_date(&c, &days)) return false;
  if ((take_char(&c, ' ') || take_char(&c, 'T')) && !take_time(&c, &microseconds)) return false;
  if (c.at != c.end) return false;
  /* Counted from the day after, so that the days just above the minimum do not overflow on the way. */
  int64_t day = days < 0 ? days + 1 : days, rest = days < 0 ? microseconds - MICROSECONDS_PER_DAY : microseconds;
  if (__builtin_mul_overflow(day, MICROSECONDS_PER_DAY, &total) || __builtin_add_overflow(total, rest, &total))
    return false;
  *out = (Value){ .type = TYPE_TIMESTAMP, .i = total };
  return true;
}

static void print_date(int64_t days, Buffer *out) {
  char text[48];
  int64_t year, month, day;
  calendar_date(days, &year, &month, &day);
  bool is_plain = year >= 0 && year <= 9999;
  snprintf(text, sizeof text, "%s%04lld-%02d-%02d",
           is_plain   ? ""
           : year < 0 ? "-"
                      : "+",
           (long long)(year < 0 ? -year : year), (int)month, (int)day);
  buffer_text(out, text);
}

static void print_timestamp(int64_t value, Buffer *out) {
  char text[48];
  int64_t days = value / MICROSECONDS_PER_DAY, rest = value % MICROSECONDS_PER_DAY;
  if (rest < 0) {
    rest += MICROSECONDS_PER_DAY;
    days--;
  }
  print_date(days, out);
  int second = (int)(rest / MICROSECONDS_PER_SECOND), fraction = (int)(rest % MICROSECONDS_PER_SECOND);
  snprintf(text, sizeof text, " %02d:%02d:%02d", second / 3600, second / 60 % 60, second % 60);
  buffer_text(out, text);
  if (fraction == 0) return;
  int length = snprintf(text, sizeof text, ".%06d", fraction);
  while (text[length - 1] == '0') length--;
  buffer_append(out, text, (size_t)length);
}

/* ---- bytes ---- */

static int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool literal_hex(const char *text, size_t length, uint8_t *bytes) {
  if (length % 2) return false;
  for (size_t i = 0; i < length; i += 2) {
    int high = hex_digit(text[i]), low = hex_digit(text[i + 1]);
    if (high < 0 || low < 0) return false;
    bytes[i / 2] = (uint8_t)(high << 4 | low);
  }
  return true;
}

static void print_hex_digits(Bytes s, Buffer *out) {
  static const char digits[] = "0123456789abcdef";
  for (size_t i = 0; i < s.length; i++) {
    buffer_u8(out, (uint8_t)digits[s.data[i] >> 4]);
    buffer_u8(out, (uint8_t)digits[s.data[i] & 15]);
  }
}

static void print_hex(Bytes s, Buffer *out) {
  buffer_text(out, "x'");
  print_hex_digits(s, out);
  buffer_u8(out, '\'');
}

void literal_print_quoted(const uint8_t *data, size_t length, char quote, Buffer *out) {
  buffer_u8(out, (uint8_t)quote);
  for (size_t i = 0; i < length; i++) {
    if (data[i] == (uint8_t)quote) buffer_u8(out, (uint8_t)quote);
    buffer_u8(out, data[i]);
  }
  buffer_u8(out, (uint8_t)quote);
}

static void print_integer(const Value *value, Buffer *out) {
  char text[32];
  if (value->type >= TYPE_U8) {
    snprintf(text, sizeof text, "%llu", (unsigned long long)value->u);
  } else {
    snprintf(text, sizeof text, "%lld", (long long)value->i);
  }
  buffer_text(out, text);
}

void literal_print(const Value *value, Buffer *out) {
  if (value->is_null) {
    buffer_text(out, "null");
  } else if (value->type == TYPE_BOOL) {
    buffer_text(out, value->i ? "true" : "false");
  } else if (type_is_integer(value->type)) {
    print_integer(value, out);
  } else if (type_is_float(value->type)) {
    print_double(value->f, out);
  } else if (value->type == TYPE_DATE) {
    buffer_text(out, "date '");
    print_date(value->i, out);
    buffer_u8(out, '\'');
  } else if (value->type == TYPE_TIMESTAMP) {
    buffer_text(out, "timestamp '");
    print_timestamp(value->i, out);
    buffer_u8(out, '\'');
  } else if (value->type == TYPE_STRING && bytes_are_utf8(value->s.data, value->s.length)) {
    literal_print_quoted(value->s.data, value->s.length, '\'', out);
  } else {
    print_hex(value->s, out);
  }
}

void literal_print_plain(const Value *value, Buffer *out) {
  if (value->is_null) {
    buffer_text(out, "null");
  } else if (value->type == TYPE_DATE) {
    print_date(value->i, out);
  } else if (value->type == TYPE_TIMESTAMP) {
    print_timestamp(value->i, out);
  } else if (value->type == TYPE_STRING) {
    buffer_append(out, value->s.data, value->s.length);
  } else if (type_is_string(value->type)) {
    print_hex_digits(value->s, out);
  } else {
    literal_print(value, out);
  }
}
