/* cli_export.c - the rows of a table into a file, as CSV or as JSON lines, so that import reads them back. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/cli_json.h"
#include "cli/cli_jsonl.h"
#include "cli/cli_progress.h"

enum {
  NEW_FILE_RIGHTS = 0666, /* less the umask, as fopen makes them */
  ALL_RIGHTS = 0777,
  GROUP_RIGHTS = 0070,
  OTHERS_RIGHTS = 0007,
};

typedef struct Export {
  Cli *cli;
  const char *table_name;
  const char *path; /* NULL: standard output */
  Text target;      /* the file that `path` leads to */
  Text part;        /* beside it: what is written until it is whole; empty: `path` is written as it goes */
  FILE *file;
  int as_jsonl;
  const char *null; /* CSV: stands for a missing value */
  KVTable *table;
  KVQuery *query;
  KVCursor *cursor;
  KVColumnDefinition *columns;
  size_t column_count;
  uint64_t row_count;
  Text cell;
} Export;

/* ---- values ---- */

static int is_bytes(int type) { return type == KVTABLE_TYPE_BYTES || type == KVTABLE_TYPE_FIXED_BYTES; }

/* As import reads it: bytes that are no text, or could be taken for such a form, as <hex:...>; a timestamp in UTC with
 * its Z. */
static void write_cell(Export *e, const KVColumnDefinition *column, const KVValue *value) {
  char printed[64];
  e->cell.length = 0;
  if (column->type == KVTABLE_TYPE_STRING || is_bytes(column->type)) {
    const char *data = value->as.bytes.data;
    size_t length = value->as.bytes.length;
    int plain = column->type == KVTABLE_TYPE_STRING || (text_is_utf8(data, length) && !memchr(data, '\0', length) &&
                                                        !(length >= 5 && memcmp(data, "<hex:", 5) == 0));
    if (plain)
      text_add(&e->cell, data, length);
    else
      text_add_hex(&e->cell, data, length);
    return;
  }
  size_t length = kvvalue_print(value, printed, sizeof printed);
  text_add(&e->cell, printed, length < sizeof printed ? length : sizeof printed - 1);
  if (column->type == KVTABLE_TYPE_TIMESTAMP && column->flags & KVTABLE_UTC) text_add_string(&e->cell, "Z");
}

static int fail_row(const Export *e, size_t column, const char *message) {
  return cli_fail("row %llu, column %s: %s; %s", (unsigned long long)e->row_count + 1, e->columns[column].name, message,
                  e->part.data ? "nothing was exported" : "the rows end here");
}

/* ---- CSV ---- */

/* RFC 4180: quoted where it must be. An empty text is "", so that it is not taken for a missing value; a byte order
 * mark at its beginning must not be the file's. */
static void write_csv_field(FILE *file, const char *data, size_t length, const char *null) {
  int quoted = !length || (strlen(null) == length && memcmp(null, data, length) == 0) ||
               (length >= 3 && memcmp(data, "\xEF\xBB\xBF", 3) == 0);
  for (size_t i = 0; i < length && !quoted; i++)
    quoted = data[i] == ',' || data[i] == '"' || data[i] == '\n' || data[i] == '\r';
  if (!quoted) {
    fwrite(data, 1, length, file);
    return;
  }
  fputc('"', file);
  for (size_t i = 0; i < length; i++) {
    if (data[i] == '"') fputc('"', file);
    fputc(data[i], file);
  }
  fputc('"', file);
}

static int write_csv_row(Export *e, const KVValue *values) {
  for (size_t i = 0; i < e->column_count; i++) {
    if (i) fputc(',', e->file);
    if (values[i].is_null) {
      if (*e->null) write_csv_field(e->file, e->null, strlen(e->null), "");
      continue;
    }
    write_cell(e, &e->columns[i], &values[i]);
    if (e->cell.length && memchr(e->cell.data, '\0', e->cell.length))
      return fail_row(e, i, "a text with a NUL byte does not go into CSV; --as jsonl takes it");
    write_csv_field(e->file, e->cell.data, e->cell.length, e->null);
  }
  fputs("\r\n", e->file);
  return 0;
}

static void write_header(Export *e) {
  for (size_t i = 0; i < e->column_count; i++) {
    if (i) fputc(',', e->file);
    write_csv_field(e->file, e->columns[i].name, strlen(e->columns[i].name), "");
  }
  fputs("\r\n", e->file);
}

/* ---- JSON lines ---- */

static int write_json_row(Export *e, const KVValue *values) {
  Json json = { .file = e->file, .compact = 1 };
  json_open_object(&json, NULL);
  for (size_t i = 0; i < e->column_count; i++) {
    const KVColumnDefinition *column = &e->columns[i];
    int as_text = is_bytes(column->type) || (column->type == KVTABLE_TYPE_TIMESTAMP && column->flags & KVTABLE_UTC);
    if (!as_text || values[i].is_null) {
      json_value(&json, column->name, &values[i]);
      continue;
    }
    write_cell(e, column, &values[i]);
    json_bytes(&json, column->name, e->cell.data, e->cell.length);
  }
  json_close(&json);
  return 0;
}

/* ---- rows ---- */

static int describe_columns(Export *e) {
  e->column_count = kvcursor_column_count(e->cursor);
  e->columns = cli_allocate(e->column_count, sizeof *e->columns);
  for (size_t i = 0; i < e->column_count; i++) {
    int code = kvcursor_column(e->cursor, i, &e->columns[i]);
    if (code != KVSTORE_OK) return cli_fail_store(e->cli, code, e->table_name);
  }
  return 0;
}

static int write_rows(Export *e, uint64_t expected) {
  Progress progress;
  KVValue *values = cli_allocate(e->column_count, sizeof *values);
  int result = 0, code;
  progress_begin(&progress, e->table_name);
  if (!e->as_jsonl) write_header(e);
  while (!result && (code = kvcursor_next(e->cursor)) == KVSTORE_OK) {
    for (size_t i = 0; i < e->column_count && code == KVSTORE_OK; i++) code = kvcursor_value(e->cursor, i, &values[i]);
    if (code != KVSTORE_OK) break;
    result = e->as_jsonl ? write_json_row(e, values) : write_csv_row(e, values);
    e->row_count++;
    if (e->path && expected) progress_show(&progress, (double)e->row_count / (double)expected);
    if (ferror(e->file) || progress_is_interrupted()) break;
  }
  progress_end(&progress);
  free(values);
  if (result) return result;
  if (progress_is_interrupted()) return cli_fail("nothing was exported: it was interrupted");
  if (ferror(e->file)) return cli_fail("%s cannot be written: %s", e->path ? e->path : "the output", strerror(errno));
  return code == KVSTORE_NOTFOUND ? 0 : cli_fail_store(e->cli, code, "the rows end here");
}

/* A filter that finds nothing is asked for no row. */
static int watch(void *context, uint64_t rows, uint64_t rows_total) {
  (void)context, (void)rows, (void)rows_total;
  return progress_is_interrupted();
}

static int prepare(Export *e, const Arguments *arguments) {
  uint64_t limit = UINT64_MAX;
  const char *where = arguments_text(arguments, "where");
  if (arguments_number(arguments, "limit", 0, UINT64_MAX, &limit)) return CLI_FAILED;
  int code = kvquery_create(e->table, &e->query);
  if (code == KVSTORE_OK && where) code = kvquery_where(e->query, where, NULL, 0);
  if (code == KVSTORE_OK && arguments_has(arguments, "select")) {
    size_t count;
    char **columns = arguments_values(arguments, "select", &count);
    code = kvquery_select(e->query, (const char *const *)columns, count);
    free(columns);
  }
  if (code == KVSTORE_OK) code = kvquery_limit(e->query, 0, limit);
  if (code == KVSTORE_OK) code = kvquery_order_by_key(e->query, 1);
  if (code == KVSTORE_OK) code = kvquery_progress(e->query, watch, NULL);
  if (code == KVSTORE_OK) code = kvquery_open(e->query, &e->cursor);
  return code == KVSTORE_OK ? describe_columns(e) : cli_fail_store(e->cli, code, NULL);
}

/* ---- the file ---- */

/* The file that a path leads to, links followed; one that is not there, in the directory that is. */
static void lead_to(const char *path, Text *out) {
  char *there = realpath(path, NULL);
  if (!there) {
    const char *slash = strrchr(path, '/');
    Text directory = TEXT_EMPTY;
    text_add(&directory, slash ? path : ".", slash ? (size_t)(slash - path) + 1 : 1);
    there = realpath(directory.data, NULL);
    text_free(&directory);
    if (there) {
      text_add_string(out, there);
      text_add_string(out, "/");
    }
    text_add_string(out, there && slash ? slash + 1 : path);
  } else {
    text_add_string(out, there);
  }
  free(there);
}

/* The store, or a file that it has or may have beside it, by any name. */
static int belongs_to_store(const Export *e) {
  static const char *const endings[] = { "", "-wal", "-shm", "-journal", "-rewrite" };
  struct stat file, own;
  int is_there = stat(e->path, &file) == 0, found = 0;
  Text store = TEXT_EMPTY;
  lead_to(e->cli->database, &store);
  for (size_t i = 0; !found && i < sizeof endings / sizeof endings[0]; i++) {
    Text name = TEXT_EMPTY;
    text_add_string(&name, store.data);
    text_add_string(&name, endings[i]);
    found = strcmp(name.data, e->target.data) == 0;
    if (is_there && stat(name.data, &own) == 0) found |= own.st_dev == file.st_dev && own.st_ino == file.st_ino;
    text_free(&name);
  }
  text_free(&store);
  return found;
}

/* Those of the file that is replaced (`there`; NULL: none), so that no more people may read it. Where it cannot be
 * given to its owner and group, another group has what everybody has. */
static mode_t rights_of(int descriptor, const struct stat *there, mode_t hidden) {
  if (!there) return NEW_FILE_RIGHTS & ~hidden;
  mode_t rights = there->st_mode & ALL_RIGHTS;
  if (fchown(descriptor, there->st_uid, there->st_gid) == 0) return rights;
  return (rights & ~GROUP_RIGHTS) | (rights & OTHERS_RIGHTS) << 3;
}

/* Beside the file, under a name that nothing has: whatever lies there stays as it is. */
static int open_part(Export *e, const struct stat *there) {
  text_add_string(&e->part, e->target.data);
  text_add_string(&e->part, ".part-XXXXXX");
  progress_stop_at_signals();
  int descriptor = mkstemp(e->part.data);
  if (descriptor < 0) {
    text_free(&e->part);
    return cli_fail("%s cannot be written: %s", e->path, strerror(errno));
  }
  mode_t hidden = umask(0);
  umask(hidden);
  (void)fchmod(descriptor, rights_of(descriptor, there, hidden));
  e->file = fdopen(descriptor, "wb");
  if (e->file) return 0;
  close(descriptor);
  unlink(e->part.data);
  return cli_fail("%s cannot be written: not enough memory", e->path);
}

/* What is there stays until all of the new one is written; a device or a pipe is written as it goes. */
static int open_file(Export *e) {
  struct stat there;
  e->file = stdout;
  if (!e->path) return 0;
  e->file = NULL;
  lead_to(e->path, &e->target);
  if (belongs_to_store(e)) return cli_fail("%s is the store itself: nothing was exported", e->path);
  int is_there = stat(e->path, &there) == 0;
  if (!is_there || S_ISREG(there.st_mode)) return open_part(e, is_there ? &there : NULL);
  e->file = fopen(e->path, "wb");
  return e->file ? 0 : cli_fail("%s cannot be written: %s", e->path, strerror(errno));
}

static int close_part(Export *e, int result) {
  int failed = fflush(e->file) != 0 || fsync(fileno(e->file)) != 0;
  failed |= fclose(e->file) != 0;
  if (!result && (failed || rename(e->part.data, e->target.data) != 0))
    result = cli_fail("%s cannot be written: %s", e->path, strerror(errno));
  if (result) unlink(e->part.data);
  return result;
}

static int close_file(Export *e, int result) {
  if (!e->file) return result;
  if (e->part.data) return close_part(e, result);
  int failed = e->path ? fclose(e->file) != 0 : fflush(stdout) != 0;
  if (result || !failed) return result;
  return cli_fail("%s cannot be written: %s", e->path ? e->path : "the output", strerror(errno));
}

static void report(const Export *e) {
  if (!e->path) return;
  if (e->cli->json) {
    Json json = { .file = stdout };
    json_open_object(&json, NULL);
    json_string(&json, "table", e->table_name);
    json_u64(&json, "rows", e->row_count);
    json_close(&json);
    return;
  }
  Text text = TEXT_EMPTY;
  text_add_count(&text, e->row_count);
  text_print(stdout, e->table_name, 0);
  printf(": %s row%s in ", text.data, e->row_count == 1 ? "" : "s");
  text_print(stdout, e->path, 0);
  putchar('\n');
  text_free(&text);
}

static int read_form(Export *e, const Arguments *arguments) {
  const char *form = arguments_text(arguments, "as");
  e->null = arguments_text(arguments, "null");
  if (form && strcmp(form, "csv") != 0 && strcmp(form, "jsonl") != 0)
    return cli_fail("--as takes csv or jsonl, not %s", form);
  e->as_jsonl = form ? strcmp(form, "jsonl") == 0 : e->path && jsonl_is_name(e->path);
  if (e->as_jsonl && e->null) return cli_fail("--null concerns CSV; in JSON lines a missing value is null");
  return 0;
}

static int run_export(Cli *cli, const Arguments *arguments) {
  Export e = { .cli = cli, .table_name = arguments->words[0], .path = arguments_text(arguments, "to") };
  uint64_t expected = 0;
  int result = read_form(&e, arguments);
  if (!result) result = cli_open(cli, CLI_OPEN_READ);
  if (!result) result = cli_open_table(cli, e.table_name, &e.table);
  if (!result && !arguments_has(arguments, "where") && kvtable_count(e.table, &expected) != KVSTORE_OK) expected = 0;
  if (!result) result = prepare(&e, arguments);
  /* A row of one missing value would be a blank line, which is no row. */
  if (!e.null) e.null = e.column_count == 1 ? "NA" : "";
  if (!result) {
    result = open_file(&e);
    if (!result) result = write_rows(&e, expected);
    result = close_file(&e, result);
  }
  if (!result) report(&e);
  kvcursor_close(e.cursor);
  kvquery_close(e.query);
  kvtable_close(e.table);
  text_free(&e.cell);
  free(e.columns);
  text_free(&e.target);
  text_free(&e.part);
  return result;
}

static const OptionSpec export_options[] = {
  { "to", "FILE", "where to; a file there is replaced when all is written (default: standard output)" },
  { "as", "csv|jsonl", "how it is written (default: by the name of --to; JSON lines for .jsonl, .ndjson, .json)" },
  { "where", "FILTER", "the rows that match, as in query" },
  { "select", "COL[,COL]", "these columns (default: all)" },
  { "limit", "N", "at most so many rows" },
  { "null", "TEXT", "CSV: stands for a missing value (default: nothing; NA where there is one column)" },
  { NULL, NULL, NULL },
};
const Command command_export = {
  .name = "export",
  .words = "TABLE",
  .summary = "write a table to a file: CSV or JSON lines",
  .description =
    "Writes rows in the order of the key, so that import reads them back: RFC 4180 with a header, or an object a "
    "line. Bytes that are no text stand as <hex:00FF>, timestamps in UTC end with Z; when rows expire is not written. "
    "In CSV a text that is the same as --null is quoted, but import does not tell it from a missing value: read with "
    "import --null '' what was written without --null.",
  .example = "colonnade --db air.db export flights --to ua.csv --where \"carrier = 'UA'\"",
  .options = export_options,
  .words_min = 1,
  .words_max = 1,
  .run = run_export,
};
