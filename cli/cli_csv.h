/* cli_csv.h - the rows of a CSV file, through libcsv in its strict mode (RFC 4180).
 *
 * Spaces belong to the fields. Blank lines are passed over. A byte order mark at the beginning of the file too. */
#ifndef COLONNADE_CLI_CSV_H
#define COLONNADE_CLI_CSV_H

#include <stddef.h>
#include <stdint.h>

typedef struct CsvForm {
  char delimiter;
  char quote;
} CsvForm;

typedef enum FieldKind {
  FIELD_CSV,    /* anything: what it means is guessed */
  FIELD_STRING, /* of JSON */
  FIELD_NUMBER, /* of JSON, or true or false */
  FIELD_NULL,   /* of JSON, or a member that is not there */
} FieldKind;

typedef struct CsvField {
  const char *data; /* a NUL follows the last byte */
  size_t length;
  int bare; /* empty, and not written as "" */
  FieldKind kind;
} CsvField;

typedef struct CsvRow {
  const CsvField *fields;
  size_t field_count;
  uint64_t number; /* of the row in the file, from 1, a header included */
  uint64_t line;   /* on which it begins, from 1 */
} CsvRow;

/* What is done with the rows of a file. */
typedef struct CsvSink {
  void *context;
  int (*row)(void *context, const CsvRow *row);                 /* 0 to go on; else an exit code, after a message */
  void (*progress)(void *context, uint64_t bytes, uint64_t of); /* a piece was read */
} CsvSink;

/* Reads the whole file. 0, what a row gave, or CLI_FAILED after a message: a file that cannot be read, a quote that is
 * never closed or stands inside a field, a NUL byte, a row of more than CSV_ROW_BYTES_MAX bytes. */
#define CSV_ROW_BYTES_MAX ((size_t)256 << 20)
int csv_read_file(const char *path, const CsvForm *form, const CsvSink *sink);

/* `FILE, row 4:` or `FILE, row 4 (line 6), column city:` with a message; gives CLI_FAILED. `column` may be NULL. */
int csv_fail(const char *path, uint64_t row, uint64_t line, const char *column, const char *message);

#endif
