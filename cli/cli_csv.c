#include "cli/cli_csv.h"

#include <csv.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/cli_text.h"

#define READ_BYTES          ((size_t)256 << 10)
#define PARSER_BETWEEN_ROWS 0 /* of csv_parser.pstate: a row has not begun */

typedef struct CsvReader {
  const char *path;
  const CsvSink *sink;
  struct csv_parser parser;
  Text bytes;       /* of the fields of the row that is being read, each with its NUL */
  CsvField *fields; /* `data` is set when the row is whole: `bytes` may move */
  size_t field_count, field_capacity;
  uint64_t row;      /* number of the row that is being read */
  uint64_t row_line; /* where it began */
  uint64_t line;     /* where the reader is */
  int result;
} CsvReader;

int csv_fail(const char *path, uint64_t row, uint64_t line, const char *column, const char *message) {
  char where[64] = "";
  if (line != row) snprintf(where, sizeof where, " (line %" PRIu64 ")", line);
  return cli_fail("%s, row %" PRIu64 "%s%s%s: %s; nothing was imported", path, row, where, column ? ", column " : "",
                  column ? column : "", message);
}

static int fail_here(const CsvReader *reader, const char *message) {
  return csv_fail(reader->path, reader->row, reader->row_line, NULL, message);
}

static void on_field(void *data, size_t length, void *context) {
  CsvReader *reader = context;
  if (reader->result) return;
  if (reader->field_count == reader->field_capacity) {
    reader->field_capacity = reader->field_capacity ? reader->field_capacity * 2 : 32;
    reader->fields = cli_reallocate(reader->fields, reader->field_capacity, sizeof *reader->fields);
  }
  text_add(&reader->bytes, data, length);
  text_add(&reader->bytes, "", 1);
  reader->fields[reader->field_count++] = (CsvField){ NULL, length, data == NULL, FIELD_CSV };
  if (reader->bytes.length > CSV_ROW_BYTES_MAX)
    reader->result = fail_here(reader, "the row has more than 256 MiB; is a closing quote missing?");
}

static void on_row(int terminator, void *context) {
  CsvReader *reader = context;
  (void)terminator;
  if (reader->result) return;
  const char *at = reader->bytes.data;
  for (size_t i = 0; i < reader->field_count; i++) {
    reader->fields[i].data = at;
    at += reader->fields[i].length + 1;
  }
  CsvRow row = { reader->fields, reader->field_count, reader->row, reader->row_line };
  reader->result = reader->sink->row(reader->sink->context, &row);
  reader->row++;
  reader->field_count = reader->bytes.length = 0;
}

static int no_space(unsigned char byte) {
  (void)byte;
  return 0;
}

static int fail_parse(CsvReader *reader) {
  if (reader->result) return reader->result;
  if (csv_error(&reader->parser) == CSV_ENOMEM)
    return cli_fail("there is not enough memory for a row of %s", reader->path);
  return fail_here(reader,
                   "a quote stands inside a field; a field with quotes is quoted, and the quotes in it doubled");
}

/* One piece of the file, line by line, so that a row knows its line. */
static int parse_piece(CsvReader *reader, const char *data, size_t length) {
  while (length && !reader->result) {
    const char *newline = memchr(data, '\n', length);
    size_t step = newline ? (size_t)(newline - data) + 1 : length;
    const char *nul = memchr(data, '\0', step);
    size_t parsed = nul ? (size_t)(nul - data) : step;
    if (csv_parse(&reader->parser, data, parsed, on_field, on_row, reader) != parsed) return fail_parse(reader);
    if (nul && !reader->result) return fail_here(reader, "a NUL byte; is the file UTF-16, or damaged?");
    if (csv_get_buffer_size(&reader->parser) > 2 * CSV_ROW_BYTES_MAX)
      return fail_here(reader, "the row has more than 256 MiB; is a closing quote missing?");
    reader->line += newline != NULL;
    if (reader->parser.pstate == PARSER_BETWEEN_ROWS) reader->row_line = reader->line;
    data += step;
    length -= step;
  }
  return reader->result;
}

static int parse_file(CsvReader *reader, FILE *file, uint64_t size) {
  char *buffer = cli_allocate(READ_BYTES, 1);
  uint64_t done = 0;
  int result = 0;
  while (!result) {
    size_t length = fread(buffer, 1, READ_BYTES, file);
    if (!length) break;
    size_t mark = done == 0 && length >= 3 && memcmp(buffer, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    result = parse_piece(reader, buffer + mark, length - mark);
    done += length;
    if (reader->sink->progress) reader->sink->progress(reader->sink->context, done, size);
  }
  if (!result && ferror(file)) result = cli_fail("%s cannot be read: %s", reader->path, strerror(errno));
  if (!result && csv_fini(&reader->parser, on_field, on_row, reader) != 0)
    result = fail_here(reader, "a quote that is opened here is never closed");
  free(buffer);
  return result ? result : reader->result;
}

int csv_read_file(const char *path, const CsvForm *form, const CsvSink *sink) {
  FILE *file = fopen(path, "rb");
  if (!file) return cli_fail("%s cannot be opened: %s", path, strerror(errno));
  CsvReader reader = { .path = path, .sink = sink, .row = 1, .row_line = 1, .line = 1 };
  struct stat status;
  int result;
  if (fstat(fileno(file), &status) != 0 || !S_ISREG(status.st_mode)) {
    result = cli_fail("%s is no regular file; an import reads its file twice, so save it to disk first", path);
  } else if (csv_init(&reader.parser, CSV_STRICT | CSV_STRICT_FINI | CSV_APPEND_NULL | CSV_EMPTY_IS_NULL) != 0) {
    result = cli_fail("the CSV parser does not start");
  } else {
    csv_set_delim(&reader.parser, (unsigned char)form->delimiter);
    csv_set_quote(&reader.parser, (unsigned char)form->quote);
    csv_set_space_func(&reader.parser, no_space);
    csv_set_blk_size(&reader.parser, READ_BYTES); /* a long field would be copied for every 128 bytes of it */
    result = parse_file(&reader, file, (uint64_t)status.st_size);
    csv_free(&reader.parser);
  }
  free(reader.fields);
  text_free(&reader.bytes);
  fclose(file);
  return result;
}
