/* literal.c - constants as text. Calendar arithmetic: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"
 * (days of the proleptic Gregorian calendar in eras of 400 years). */
#include "base/literal.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/decimal.h"
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
  Value exact;
  if (!is_integer && literal_decimal(text, length, &exact)) {
    out->exactly = (uint8_t)exact.type;
    out->written.unscaled = exact.i;
  }
  return KVSTORE_OK;
}

/* ---- decimals ---- */

bool literal_looks_like_number(const char *text, size_t length) {
  size_t i = length && (text[0] == '-' || text[0] == '+'), digits = 0;
  for (; i < length && is_digit(text[i]); i++) digits++;
  if (i < length && text[i] == '.') {
    for (i++; i < length && is_digit(text[i]); i++) digits++;
  }
  if (!digits) return false;
  if (i < length && (text[i] | 32) == 'e') {
    size_t exponent = 0;
    i++;
    if (i < length && (text[i] == '-' || text[i] == '+')) i++;
    for (; i < length && is_digit(text[i]); i++) exponent++;
    if (!exponent) return false;
  }
  return i == length;
}

/* The digits from the first to the last that is no zero as a number, and the power of ten that it is times. False: they
 * are more than a decimal has. */
static bool significant_digits(const char *text, size_t length, int64_t *digits, long *power) {
  long zeros = 0, exponent = 0, behind = 0; /* zeros: since the last other digit */
  long count = 0;
  bool behind_point = false;
  *digits = 0;
  for (size_t i = 0; i < length; i++) {
    if ((text[i] | 32) == 'e') {
      exponent = parse_exponent(text + i + 1, length - i - 1);
      break;
    }
    behind_point |= text[i] == '.';
    if (!is_digit(text[i])) continue;
    behind += behind_point;
    zeros += text[i] == '0' && count;
    if (text[i] == '0') continue;
    count += zeros + 1;
    if (count > DECIMAL_SCALE_MAX) return false;
    for (; zeros; zeros--) *digits *= 10;
    *digits = *digits * 10 + (text[i] - '0');
  }
  *power = exponent - behind + zeros;
  return true;
}

/* `digits` times a power of ten as a decimal of the scale; false when it is none. */
static bool scaled(int64_t digits, long power, unsigned scale, int64_t *out) {
  *out = digits;
  if (digits == 0) return true;
  power += (long)scale;
  if (power < 0 || power > DECIMAL_SCALE_MAX) return false;
  return !__builtin_mul_overflow(digits, decimal_unit((unsigned)power), out) && *out < decimal_unit(DECIMAL_SCALE_MAX);
}

bool literal_decimal_of(const char *text, size_t length, unsigned scale, Value *out) {
  int64_t digits;
  long power;
  *out = (Value){ .type = type_decimal(scale) };
  if (!literal_looks_like_number(text, length) || !significant_digits(text, length, &digits, &power)) return false;
  if (!scaled(digits, power, scale, &out->i)) return false;
  if (text[0] == '-') out->i = -out->i;
  return true;
}

bool literal_decimal(const char *text, size_t length, Value *out) {
  int64_t digits;
  long power;
  if (!literal_looks_like_number(text, length) || !significant_digits(text, length, &digits, &power)) return false;
  if (digits == 0 || power > 0) power = 0;
  return power >= -DECIMAL_SCALE_MAX && literal_decimal_of(text, length, (unsigned)-power, out);
}

/* Written with so many digits behind the point, zeros too: decimal '12.30'. */
static bool decimal_as_written(const char *text, size_t length, Value *out) {
  const char *point = length ? memchr(text, '.', length) : NULL;
  size_t behind = point ? length - (size_t)(point + 1 - text) : 0;
  for (size_t i = 0; i < length; i++) {
    if ((text[i] | 32) == 'e') return literal_decimal(text, length, out);
  }
  return behind <= DECIMAL_SCALE_MAX && literal_decimal_of(text, length, (unsigned)behind, out);
}

void literal_print_decimal(int64_t unscaled, unsigned scale, Buffer *out) {
  char text[32];
  uint64_t magnitude = unscaled < 0 ? 0 - (uint64_t)unscaled : (uint64_t)unscaled, unit = (uint64_t)decimal_unit(scale);
  snprintf(text, sizeof text, "%s%llu", unscaled < 0 ? "-" : "", (unsigned long long)(magnitude / unit));
  buffer_text(out, text);
  if (!scale) return;
  snprintf(text, sizeof text, ".%0*llu", (int)scale, (unsigned long long)(magnitude % unit));
  buffer_text(out, text);
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

/* A number that was written with more digits than each double tells apart is printed with all of them. */
static void print_number(const Value *value, Buffer *out) {
  const int64_t told_apart = INT64_C(1000000000000000); /* 15 digits */
  int64_t unscaled = value->exactly ? value->written.unscaled : 0;
  if (unscaled < told_apart && unscaled > -told_apart) {
    print_double(value->f, out);
    return;
  }
  unsigned scale = type_scale((ColumnType)value->exactly);
  literal_print_decimal(unscaled, scale, out);
  if (!scale) buffer_text(out, ".0");
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

/* Z, or how far the clock is ahead of UTC: +HH, +HHMM, +HH:MM (RFC 3339, ISO 8601). */
static bool take_zone(Cursor *c, int64_t *ahead) {
  int64_t hours, minutes = 0;
  *ahead = 0;
  if (take_char(c, 'Z') || take_char(c, 'z')) return true;
  bool behind = take_char(c, '-');
  if (!behind && !take_char(c, '+')) return false;
  if (!take_digits(c, 2, 2, &hours)) return false;
  if ((take_char(c, ':') || c->at != c->end) && !take_digits(c, 2, 2, &minutes)) return false;
  if (hours > 23 || minutes > 59) return false;
  *ahead = (hours * 60 + minutes) * 60 * MICROSECONDS_PER_SECOND;
  if (behind) *ahead = -*ahead;
  return true;
}

bool literal_timestamp(const char *text, size_t length, Value *out) {
  Cursor c = { text, text + length };
  int64_t days, microseconds = 0, ahead = 0, total;
  if (!take_date(&c, &days)) return false;
  if (take_char(&c, ' ') || take_char(&c, 'T')) {
    if (!take_time(&c, &microseconds)) return false;
    if (c.at != c.end && !take_zone(&c, &ahead)) return false;
  }
  if (c.at != c.end) return false;
  microseconds -= ahead;
  /* Counted from the day after, so that the days just above the minimum do not overflow on the way. */
  int64_t day = days < 0 ? days + 1 : days, rest = days < 0 ? microseconds - MICROSECONDS_PER_DAY : microseconds;
  if (__builtin_mul_overflow(day, MICROSECONDS_PER_DAY, &total) || __builtin_add_overflow(total, rest, &total))
    return false;
  *out = (Value){ .type = TYPE_TIMESTAMP, .i = total };
  return true;
}

bool literal_time(const char *text, size_t length, Value *out) {
  Cursor c = { text, text + length };
  *out = (Value){ .type = TYPE_TIME };
  return take_time(&c, &out->i) && c.at == c.end;
}

/* ---- durations ---- */

static const struct {
  const char *name; /* and with an s behind */
  int64_t microseconds;
} duration_units[] = {
  { "microsecond", 1 },
  { "us", 1 },
  { "millisecond", 1000 },
  { "ms", 1000 },
  { "second", MICROSECONDS_PER_SECOND },
  { "sec", MICROSECONDS_PER_SECOND },
  { "s", MICROSECONDS_PER_SECOND },
  { "minute", 60 * MICROSECONDS_PER_SECOND },
  { "min", 60 * MICROSECONDS_PER_SECOND },
  { "hour", 3600 * MICROSECONDS_PER_SECOND },
  { "h", 3600 * MICROSECONDS_PER_SECOND },
  { "day", MICROSECONDS_PER_DAY },
  { "d", MICROSECONDS_PER_DAY },
  { "week", 7 * MICROSECONDS_PER_DAY },
};

static void skip_blanks(Cursor *c) {
  while (c->at != c->end && *c->at == ' ') c->at++;
}

static bool take_unit(Cursor *c, int64_t *microseconds) {
  const char *from = c->at;
  while (c->at != c->end && ((*c->at | 32) >= 'a' && (*c->at | 32) <= 'z')) c->at++;
  size_t length = (size_t)(c->at - from);
  for (size_t i = 0; i < sizeof duration_units / sizeof *duration_units; i++) {
    size_t own = strlen(duration_units[i].name), same = 0;
    while (same < own && same < length && (from[same] | 32) == duration_units[i].name[same]) same++;
    if (same != own || (length != own && (length != own + 1 || (from[own] | 32) != 's'))) continue;
    *microseconds = duration_units[i].microseconds;
    return true;
  }
  return false;
}

/* A number and a unit; false when they are no whole microseconds. */
static bool take_amount(Cursor *c, Wide *total) {
  const char *from = c->at;
  while (c->at != c->end && (is_digit(*c->at) || *c->at == '.' || ((*c->at == '-' || *c->at == '+') && c->at == from)))
    c->at++;
  Value number;
  int64_t unit;
  size_t length = (size_t)(c->at - from);
  if (!length) return false;
  /* Whole numbers may have more digits than decimals. */
  bool whole = is_digit(c->at[-1]) && parse_integer(from, length, &number) && number.type == TYPE_I64;
  if (!whole && !literal_decimal(from, length, &number)) return false;
  skip_blanks(c);
  if (!take_unit(c, &unit)) return false;
  Wide product = (Wide)number.i * unit, part = decimal_unit(type_scale(number.type));
  if (product % part) return false;
  *total += product / part;
  return true;
}

/* Any hours, minutes, seconds. */
static bool take_clock(Cursor *c, Wide *total) {
  int64_t hours, rest;
  bool negative = take_char(c, '-');
  if (!negative) take_char(c, '+');
  const int most_digits = 10;
  if (!take_digits(c, 1, most_digits, &hours) || c->at == c->end || *c->at != ':') return false;
  char text[32] = "00";
  size_t length = (size_t)(c->end - c->at);
  if (length > sizeof text - 3) return false;
  memcpy(text + 2, c->at, length);
  Cursor behind = { text, text + 2 + length };
  if (!take_time(&behind, &rest) || behind.at != behind.end) return false;
  c->at = c->end;
  Wide clock = (Wide)hours * 3600 * MICROSECONDS_PER_SECOND + rest;
  *total += negative ? -clock : clock;
  return true;
}

bool literal_duration(const char *text, size_t length, Value *out) {
  Cursor c = { text, text + length };
  Wide total = 0;
  skip_blanks(&c);
  if (c.at == c.end) return false;
  while (c.at != c.end) {
    Cursor clock = c;
    if (take_clock(&clock, &total))
      c = clock;
    else if (!take_amount(&c, &total))
      return false;
    skip_blanks(&c);
    if (total > INT64_MAX || total < INT64_MIN) return false;
  }
  *out = (Value){ .type = TYPE_DURATION, .i = (int64_t)total };
  return true;
}

static void print_fraction(int64_t microseconds, Buffer *out) {
  char text[16];
  if (microseconds == 0) return;
  int length = snprintf(text, sizeof text, ".%06d", (int)microseconds);
  while (text[length - 1] == '0') length--;
  buffer_append(out, text, (size_t)length);
}

/* Hours, minutes, seconds and what there is behind. */
static void print_clock(uint64_t microseconds, Buffer *out) {
  char text[48];
  uint64_t seconds = microseconds / MICROSECONDS_PER_SECOND;
  snprintf(text, sizeof text, "%02llu:%02d:%02d", (unsigned long long)(seconds / 3600), (int)(seconds / 60 % 60),
           (int)(seconds % 60));
  buffer_text(out, text);
  print_fraction((int64_t)(microseconds % MICROSECONDS_PER_SECOND), out);
}

static void print_duration(int64_t value, Buffer *out) {
  if (value < 0) buffer_u8(out, '-');
  print_clock(value < 0 ? 0 - (uint64_t)value : (uint64_t)value, out);
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
  int64_t days = value / MICROSECONDS_PER_DAY, rest = value % MICROSECONDS_PER_DAY;
  if (rest < 0) {
    rest += MICROSECONDS_PER_DAY;
    days--;
  }
  print_date(days, out);
  buffer_u8(out, ' ');
  print_clock((uint64_t)rest, out);
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

static const uint8_t uuid_ends[] = { 4, 6, 8, 10 }; /* bytes before each hyphen */

bool literal_uuid(const char *text, size_t length, uint8_t bytes[UUID_BYTES]) {
  size_t hyphens = length == 2 * UUID_BYTES ? 0 : sizeof uuid_ends;
  if (length != 2 * UUID_BYTES + hyphens) return false;
  for (size_t i = 0, at = 0, next = 0; i < UUID_BYTES; i++, at += 2) {
    if (next < hyphens && i == uuid_ends[next]) {
      if (text[at++] != '-') return false;
      next++;
    }
    if (!literal_hex(text + at, 2, bytes + i)) return false;
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

static void print_uuid(Bytes s, Buffer *out) {
  size_t from = 0;
  for (size_t i = 0; i < sizeof uuid_ends && s.length == UUID_BYTES; i++) {
    print_hex_digits((Bytes){ s.data + from, uuid_ends[i] - from }, out);
    buffer_u8(out, '-');
    from = uuid_ends[i];
  }
  print_hex_digits((Bytes){ s.data + from, s.length - from }, out);
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

/* ---- by type ---- */

/* Types whose literals are a word and a quoted text. */
static const char *literal_word(ColumnType type) {
  switch (type) {
  case TYPE_DATE:
  case TYPE_TIME:
  case TYPE_TIMESTAMP:
  case TYPE_DURATION:
  case TYPE_UUID: return type_name(type);
  default: return type_is_decimal(type) ? "decimal" : NULL;
  }
}

static void print_text(const Value *value, Buffer *out) {
  switch (value->type) {
  case TYPE_DATE: print_date(value->i, out); break;
  case TYPE_TIME: print_clock((uint64_t)value->i, out); break;
  case TYPE_TIMESTAMP: print_timestamp(value->i, out); break;
  case TYPE_DURATION: print_duration(value->i, out); break;
  case TYPE_UUID: print_uuid(value->s, out); break;
  default: literal_print_decimal(value->i, type_scale(value->type), out); break;
  }
}

/* In quotes it stands in texts that end with a NUL. */
static bool goes_into_quotes(const Value *value) {
  Bytes s = value->s;
  if (value->type != TYPE_STRING || (s.length && memchr(s.data, 0, s.length))) return false;
  return bytes_are_utf8(s.data, s.length);
}

void literal_print(const Value *value, Buffer *out) {
  if (value->is_null) {
    buffer_text(out, "null");
  } else if (value->type == TYPE_BOOL) {
    buffer_text(out, value->i ? "true" : "false");
  } else if (type_is_integer(value->type)) {
    print_integer(value, out);
  } else if (type_is_float(value->type)) {
    print_number(value, out);
  } else if (literal_word(value->type)) {
    buffer_text(out, literal_word(value->type));
    buffer_text(out, " '");
    print_text(value, out);
    buffer_u8(out, '\'');
  } else if (goes_into_quotes(value)) {
    literal_print_quoted(value->s.data, value->s.length, '\'', out);
  } else {
    print_hex(value->s, out);
  }
}

void literal_print_plain(const Value *value, Buffer *out) {
  if (value->is_null) {
    buffer_text(out, "null");
  } else if (literal_word(value->type)) {
    print_text(value, out);
  } else if (value->type == TYPE_STRING) {
    buffer_append(out, value->s.data, value->s.length);
  } else if (type_is_string(value->type)) {
    print_hex_digits(value->s, out);
  } else {
    literal_print(value, out);
  }
}

bool literal_is_read(ColumnType beside) { return literal_word(beside) != NULL; }

bool literal_read(ColumnType beside, Bytes text, uint8_t *room, Value *out) {
  const char *at = (const char *)text.data;
  switch (beside) {
  case TYPE_DATE:
  case TYPE_TIMESTAMP: return literal_date(at, text.length, out) || literal_timestamp(at, text.length, out);
  case TYPE_TIME: return literal_time(at, text.length, out);
  case TYPE_DURATION: return literal_duration(at, text.length, out);
  case TYPE_UUID:
    *out = (Value){ .type = TYPE_UUID, .s = { room, UUID_BYTES } };
    return literal_uuid(at, text.length, room);
  default: return type_is_decimal(beside) && decimal_as_written(at, text.length, out);
  }
}

bool literal_read_as(ColumnType type, Bytes text, uint8_t *room, Value *out) {
  const char *at = (const char *)text.data;
  if (type == TYPE_DATE) return literal_date(at, text.length, out);
  if (type == TYPE_TIMESTAMP) return literal_timestamp(at, text.length, out);
  if (type_is_decimal(type)) return literal_decimal_of(at, text.length, type_scale(type), out);
  return literal_read(type, text, room, out);
}

const char *literal_form(ColumnType type) {
  switch (type) {
  case TYPE_DATE: return "'YYYY-MM-DD'";
  case TYPE_TIME: return "'HH:MM:SS.ffffff'";
  case TYPE_TIMESTAMP: return "'YYYY-MM-DD HH:MM:SS.ffffff'";
  case TYPE_DURATION: return "'HH:MM:SS.ffffff', '90 seconds' or '1 day 2 hours'";
  case TYPE_UUID: return "'00112233-4455-6677-8899-aabbccddeeff'";
  default: return "a decimal of at most 18 digits";
  }
}
