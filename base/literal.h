/* literal.h - constants as text: numbers, dates, timestamps, bytes; read and printed the same in every locale.
 *
 * What is printed reads back as the same value (docs/semantics.md). Nothing here keeps or allocates memory but the
 * Buffer. */
#ifndef COLONNADE_BASE_LITERAL_H
#define COLONNADE_BASE_LITERAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/schema.h"

/* A number: [+-] digits [. digits] [e [+-] digits], the whole of `length` bytes, already known to look like one.
 * Without point and exponent it is i64, else u64, where it fits; everything else is the nearest f64 (which knows the
 * decimal that is exactly it, Value.exactly), and an integer
 * that fits neither never becomes an f64 inside their range. KVSTORE_NOMEM for very long ones only. */
Status literal_number(const char *text, size_t length, Value *out) MUST_CHECK;
/* What literal_number makes of a minus and the digits of `magnitude`, which is above 2^63. */
Value literal_below_i64(uint64_t magnitude);

/* [+-]YYYY-MM-DD: four digits of a year, or a sign and four to seven. False when it is none, or no such day. */
bool literal_date(const char *text, size_t length, Value *out);
/* The same, then optionally a space or T and HH:MM[:SS[.f]], one to six digits of a second; behind these optionally Z
 * or +HH[:MM], -HH[:MM], how far the clock is from UTC: the moment in UTC. */
bool literal_timestamp(const char *text, size_t length, Value *out);
/* HH:MM[:SS[.f]] of a day, up to 23:59:59.999999. */
bool literal_time(const char *text, size_t length, Value *out);
/* [+-] and any hours, H:MM[:SS[.f]]; or numbers and units, "1 day 2.5 hours", then optionally H:MM[:SS[.f]]: weeks,
 * days, hours, minutes, seconds, milliseconds, microseconds, in the plural or not; us, ms, s, min, h, d. What has no
 * whole microseconds is none; nor are months and years, which have no length of their own. */
bool literal_duration(const char *text, size_t length, Value *out);
/* 32 hexadecimal digits, with the four hyphens where they belong or without, into 16 bytes. */
bool literal_uuid(const char *text, size_t length, uint8_t bytes[UUID_BYTES]);
/* A number as literal_number takes it: the decimal of least scale that is exactly it. False: no decimal is. */
bool literal_decimal(const char *text, size_t length, Value *out);
/* The same as a decimal of this scale; what has more digits is none. */
bool literal_decimal_of(const char *text, size_t length, unsigned scale, Value *out);
/* Text looks like a number: [+-] digits [. digits] [e [+-] digits]. */
bool literal_looks_like_number(const char *text, size_t length);
/* Whether a string beside a value of this type is read as one: dates and timestamps (either), times, durations, uuids,
 * decimals. */
bool literal_is_read(ColumnType beside);
/* Reads it; a uuid into `room`, UUID_BYTES. False: it is none. */
bool literal_read(ColumnType beside, Bytes text, uint8_t *room, Value *out);
/* Reads text as this very type, of those of literal_is_read: no date for a timestamp's; a decimal of its scale,
 * exactly. */
bool literal_read_as(ColumnType type, Bytes text, uint8_t *room, Value *out);
/* How it would have to be written. */
const char *literal_form(ColumnType type);
/* Appends digits, and a point before the last `scale`. */
void literal_print_decimal(int64_t unscaled, unsigned scale, Buffer *out);
/* Days since 1970-01-01 of a day of the proleptic Gregorian calendar, and back. */
int64_t calendar_days(int64_t year, int64_t month, int64_t day);
void calendar_date(int64_t days, int64_t *year, int64_t *month, int64_t *day);
/* An even number of hexadecimal digits into length / 2 bytes. */
bool literal_hex(const char *text, size_t length, uint8_t *bytes);

/* Appends the value as a literal of the filter language. Strings that are no UTF-8, or have a zero byte, are printed
 * as bytes: the text is one that may end with a NUL. */
void literal_print(const Value *value, Buffer *out);
/* Appends a quoted string, quotes doubled. */
void literal_print_quoted(const uint8_t *data, size_t length, char quote, Buffer *out);
/* The same without quotes, or a word before a date: bytes as hexadecimal digits. */
void literal_print_plain(const Value *value, Buffer *out);
static inline void buffer_text(Buffer *out, const char *text) { buffer_append(out, text, strlen(text)); }

#endif
