/* cli_jsonl.h - the objects of a file of JSON lines, through json-c in its strict mode (RFC 8259; it also takes NaN,
 * Infinity).
 *
 * An object a line; blank lines are passed over, a byte order mark at the beginning of the file too. Numbers, arrays
 * and objects are given as the line writes them, but without blanks and needless escapes. Whole numbers beyond 64 bits
 * are refused, but for those within arrays and objects. */
#ifndef COLONNADE_CLI_JSONL_H
#define COLONNADE_CLI_JSONL_H

#include "cli/cli_csv.h"

typedef struct JsonlMember {
  const char *name;
  CsvField value;
} JsonlMember;

typedef struct JsonlRow {
  const JsonlMember *members; /* in the order of the line, each name once */
  size_t member_count;
  uint64_t number; /* of the object, from 1 */
  uint64_t line;   /* on which it stands, from 1 */
} JsonlRow;

typedef struct JsonlSink {
  void *context;
  int (*row)(void *context, const JsonlRow *row);               /* 0 to go on; else an exit code, after a message */
  void (*progress)(void *context, uint64_t bytes, uint64_t of); /* a piece was read; may be NULL */
} JsonlSink;

/* Whether a file of this name is taken for JSON lines where nothing else is said: *.jsonl, *.ndjson, *.json. */
int jsonl_is_name(const char *path);
/* Reads the whole file. 0, what a row gave, or CLI_FAILED after a message: a file that cannot be read, a line that is
 * no JSON object of UTF-8, or has more than CSV_ROW_BYTES_MAX bytes. */
int jsonl_read_file(const char *path, const JsonlSink *sink);

#endif
