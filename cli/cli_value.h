/* cli_value.h - values of tables from text and to text.
 *
 * What is read: integers in decimal digits; floats with point and exponent, inf, nan; true and false, in any case;
 * dates, timestamps, decimals, times, durations and uuids as kvvalue_read takes them, without blanks around. */
#ifndef COLONNADE_CLI_VALUE_H
#define COLONNADE_CLI_VALUE_H

#include <stddef.h>
#include <stdint.h>

#include <colonnade/kvtable.h>

#include "cli/cli_text.h"

/* What a text could be, all of the text. */
typedef enum ScannedInteger { SCANNED_NO_INTEGER, SCANNED_INTEGER, SCANNED_INTEGER_TOO_LONG } ScannedInteger;
ScannedInteger scan_integer(const char *text, size_t length, int *negative, uint64_t *magnitude);
typedef enum ScannedFloat { SCANNED_NO_FLOAT, SCANNED_FLOAT, SCANNED_FLOAT_SPECIAL } ScannedFloat; /* inf, nan */
ScannedFloat scan_float(const char *text, size_t length);
int scan_bool(const char *text, size_t length, int *truth);
int scan_date(const char *text, size_t length, int32_t *days);
/* *utc: it says how far its clock is from UTC. */
int scan_timestamp(const char *text, size_t length, int64_t *microseconds, int *utc);

/* Reads a text, followed by a NUL that `length` does not count, as a value of the column. NULL, or why it is none, to
 * follow the text in a sentence: "is no i64". Strings and bytes are borrowed. */
const char *value_read(const KVColumnDefinition *column, const char *text, size_t length, KVValue *value);
/* The same of a word of the command line, for bytes also as they are printed: <hex:00FF>, which becomes these bytes
 * where it stands. */
const char *value_read_word(const KVColumnDefinition *column, char *text, KVValue *value);

/* A type as it is written: its name; decimal(18,2) or decimal:2, fixed_bytes:16 with what belongs to it. 0: there is no
 * such type. */
int type_read(const char *text, int *type, uint32_t *width);
/* "decimal(18,2)", "i64": into `buffer`, which it returns. */
enum { TYPE_TEXT_MAX = 32 };
const char *type_print(int type, uint32_t width, char buffer[TYPE_TEXT_MAX]);

/* The value as a person reads it (text_add_readable). */
void value_add(Text *text, const KVValue *value);
/* Whether a column of this type is written to the right. */
int value_is_number(int type);

#endif
