/* cli_import.c - a file, CSV or JSON lines, into a table: one pass that finds the types, one that writes the rows, one
 * transaction. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/cli_batch.h"
#include "cli/cli_json.h"
#include "cli/cli_jsonl.h"
#include "cli/cli_progress.h"
#include "cli/cli_survey.h"
#include "cli/cli_value.h"

#define NO_FIELD SIZE_MAX

typedef struct Import {
  uint64_t threads; /* 0: the library's to choose */
  Cli *cli;
  const char *table_name;
  int mode; /* KVTABLE_INSERT, KVTABLE_UPSERT */
  Survey survey;
  Progress progress;
  const char *key_taken; /* what is said of a row whose key is there */
  KVTable *table;
  KVColumnDefinition *columns; /* of the table */
  size_t column_count;
  size_t *fields;       /* per column: which field of a row, or NO_FIELD */
  CsvField *row_fields; /* JSON lines: of the object that is being read, by column of the survey */
  Text bytes;           /* of a value written as <hex:...> */
  Batch batch;
  uint64_t batch_row; /* number in the file of the first row that waits in the batch */
  double began;
} Import;

/* ---- what the options say ---- */

static int read_character(const Arguments *arguments, const char *name, char *character) {
  const char *text = arguments_text(arguments, name);
  if (!text) return 0;
  if (strcmp(text, "tab") == 0 || strcmp(text, "\\t") == 0) text = "\t";
  if (strlen(text) != 1 || *text == '\n' || *text == '\r') return cli_fail("--%s takes one character, or tab", name);
  *character = *text;
  return 0;
}

/* By --as, else by the name of the file. */
static int read_form(const Arguments *arguments, Survey *survey) {
  const char *form = arguments_text(arguments, "as");
  if (form) {
    survey->is_jsonl = strcmp(form, "jsonl") == 0;
    if (!survey->is_jsonl && strcmp(form, "csv") != 0) return cli_fail("--as takes csv or jsonl, not %s", form);
  } else {
    survey->is_jsonl = jsonl_is_name(survey->path);
  }
  static const char *const of_csv[] = { "null", "delimiter", "quote", "no-header" };
  for (size_t i = 0; i < sizeof of_csv / sizeof of_csv[0]; i++)
    if (survey->is_jsonl && arguments_has(arguments, of_csv[i]))
      return cli_fail("--%s concerns CSV, and %s is read as JSON lines; --as csv reads it so", of_csv[i], survey->path);
  return 0;
}

static void read_nulls(const Arguments *arguments, Survey *survey) {
  static char empty[] = "", not_available[] = "NA";
  survey->nulls = cli_allocate(arguments->use_count + 2, sizeof *survey->nulls);
  for (size_t i = 0; i < arguments->use_count; i++)
    if (strcmp(arguments->uses[i].option->name, "null") == 0)
      survey->nulls[survey->null_count++] = (char *)(uintptr_t)arguments->uses[i].value;
  if (survey->null_count) return;
  survey->nulls[survey->null_count++] = empty;
  survey->nulls[survey->null_count++] = not_available;
}

static size_t find_name(char *const *names, size_t count, const char *name) {
  for (size_t i = 0; i < count; i++)
    if (strcmp(names[i], name) == 0) return i;
  return NO_FIELD;
}

/* What stands behind one `column=what` of an option, and the column's number; NULL: it is refused. */
static const char *read_assignment(const Import *import, const char *option, const char *example, char *text,
                                   size_t *column) {
  char *equal = strrchr(text, '=');
  if (!equal) {
    cli_fail("--%s %s: write column=%s", option, text, example);
    return NULL;
  }
  *equal = '\0';
  *column = find_name(import->survey.names, import->survey.column_count, text);
  if (*column != NO_FIELD) return equal + 1;
  cli_fail("--%s: %s has no column %s", option, import->survey.path, text);
  return NULL;
}

static int read_type(Import *import, char *text) {
  size_t column;
  const char *name = read_assignment(import, "types", "type, for example flight=i32", text, &column);
  if (!name) return CLI_FAILED;
  KVColumnDefinition *definition = &import->columns[column];
  int type;
  uint32_t width;
  if (!type_read(name, &type, &width)) {
    return cli_fail("--types: there is no type %s; those there are: bool, i8 to i64, u8 to u64, f32, f64, date, "
                    "time, timestamp, duration, uuid, decimal:SCALE or decimal(18,SCALE), string, bytes, "
                    "fixed_bytes:WIDTH",
                    name);
  }
  definition->type = type;
  definition->width = width;
  const Inference *seen = &import->survey.columns[column];
  definition->flags = type == KVTABLE_TYPE_TIMESTAMP && seen->utc && !seen->naive ? KVTABLE_UTC : 0;
  return 0;
}

/* An encoding by its name in `info`, "no-" and one, or "array", as flags of a column; 0 when it is none. */
static int encoding_flags(const char *name) {
  if (strcmp(name, "array") == 0) return KVTABLE_ARRAY;
  int forbidden = strncmp(name, "no-", 3) == 0;
  int encoding = kvtable_encoding_by_name(forbidden ? name + 3 : name);
  if (!encoding) return 0;
  return forbidden ? KVTABLE_NO_ENCODING(encoding) : KVTABLE_USE_ENCODING(encoding);
}

static int read_encoding(Import *import, char *text) {
  size_t column;
  const char *name = read_assignment(import, "encodings", "encoding, for example carrier=dictionary", text, &column);
  if (!name) return CLI_FAILED;
  int flags = encoding_flags(name), *all = &import->columns[column].flags;
  if (!flags) {
    return cli_fail("--encodings: there is no encoding %s; those there are, each also with no- before it: constant, "
                    "stride, plain, bits, packed, dictionary, run_length, delta, alp, alp_rd, fsst, zstd, front_coded; "
                    "and array",
                    name);
  }
  int wished = *all & (KVTABLE_ARRAY | KVTABLE_USE_ENCODING(0xff));
  if (wished && wished != flags && flags < KVTABLE_NO_ENCODING(1))
    return cli_fail("--encodings: %s cannot have %s and another one", text, name);
  *all |= flags;
  return 0;
}

static int read_list(Import *import, const Arguments *arguments, const char *option, int (*read)(Import *, char *)) {
  size_t count;
  char **list = arguments_list(arguments, option, &count);
  int result = 0;
  for (size_t i = 0; i < count && !result; i++) result = read(import, list[i]);
  free(list);
  return result;
}

/* ---- the table ---- */

/* Its columns are those of the file. */
static int plan_new_table(Import *import, const Arguments *arguments) {
  const Survey *survey = &import->survey;
  import->column_count = survey->column_count;
  import->columns = cli_allocate(survey->column_count, sizeof *import->columns);
  import->fields = cli_allocate(survey->column_count, sizeof *import->fields);
  for (size_t i = 0; i < survey->column_count; i++) {
    import->fields[i] = i;
    import->columns[i].name = survey->names[i];
    import->columns[i].type = infer_type(&survey->columns[i], &import->columns[i].flags);
  }
  int result = read_list(import, arguments, "types", read_type);
  if (!result) result = read_list(import, arguments, "encodings", read_encoding);
  for (size_t i = 0; i < survey->column_count; i++) import->columns[i].flags |= KVTABLE_NULLABLE;
  return result;
}

static int create_table(Import *import, const Arguments *arguments) {
  size_t key_count;
  char **key = arguments_list(arguments, "key", &key_count);
  int result = 0;
  for (size_t i = 0; i < key_count && !result; i++) {
    size_t column = find_name(import->survey.names, import->survey.column_count, key[i]);
    if (column == NO_FIELD) {
      result = cli_fail("--key: %s has no column %s", import->survey.path, key[i]);
    } else {
      import->columns[column].flags &= ~KVTABLE_NULLABLE;
    }
  }
  if (!result) {
    int code = kvtable_create(import->cli->store, import->table_name, import->columns, import->column_count,
                              (const char *const *)key, key_count, &import->table);
    if (code == KVSTORE_CONSTRAINT) {
      result = cli_fail("there is something named %s already; --append or --upsert adds to it, or choose another name",
                        import->table_name);
    } else if (code != KVSTORE_OK) {
      result = cli_fail_store(import->cli, code, import->table_name);
    }
  }
  free(key);
  return result;
}

/* The file has columns that the table has not: names the first, where columns have names. */
static int fail_unknown_column(const Import *import, const KVTableSchema *schema) {
  const Survey *survey = &import->survey;
  for (size_t i = 0; i < survey->column_count && (survey->has_header || survey->is_jsonl); i++) {
    size_t column = 0;
    while (column < schema->column_count && strcmp(schema->columns[column].name, survey->names[i]) != 0) column++;
    if (column == schema->column_count)
      return cli_fail("%s has a column %s, which %s has not; colonnade info shows its columns", survey->path,
                      survey->names[i], import->table_name);
  }
  return cli_fail("%s has %zu columns, %s only %zu; colonnade info shows them", survey->path, survey->column_count,
                  import->table_name, schema->column_count);
}

/* Columns are found by the names in the header, or by position when there is none. */
static int plan_present_table(Import *import, const Arguments *arguments) {
  if (arguments_has(arguments, "key") || arguments_has(arguments, "types") || arguments_has(arguments, "encodings"))
    return cli_fail("--key, --types and --encodings belong to a new table; %s has its own", import->table_name);
  int result = cli_open_table(import->cli, import->table_name, &import->table);
  if (result) return result;
  KVTableSchema schema = KVTABLE_SCHEMA_INIT;
  int code = kvtable_schema(import->table, &schema);
  if (code != KVSTORE_OK) return cli_fail_store(import->cli, code, import->table_name);
  const Survey *survey = &import->survey;
  import->column_count = schema.column_count;
  import->columns = cli_allocate(schema.column_count, sizeof *import->columns);
  import->fields = cli_allocate(schema.column_count, sizeof *import->fields);
  memcpy(import->columns, schema.columns, schema.column_count * sizeof *schema.columns);
  size_t matched = 0;
  for (size_t i = 0; i < schema.column_count; i++) {
    size_t field = survey->has_header || survey->is_jsonl
                     ? find_name(survey->names, survey->column_count, schema.columns[i].name)
                     : i;
    import->fields[i] = field < survey->column_count ? field : NO_FIELD;
    matched += import->fields[i] != NO_FIELD;
    if (import->fields[i] == NO_FIELD && !(schema.columns[i].flags & KVTABLE_NULLABLE))
      return cli_fail("%s has no column %s, which %s needs", survey->path, schema.columns[i].name, import->table_name);
  }
  return matched < survey->column_count ? fail_unknown_column(import, &schema) : 0;
}

/* ---- the rows ---- */

/* A row whose key is there, by the number of the row in the file. */
static int fail_key(const Import *import, uint64_t row, const KVStoreError *error) {
  Text message = TEXT_EMPTY;
  text_add_string(&message, import->key_taken);
  text_add_string(&message, " (");
  text_add_string(&message, error->column);
  text_add_string(&message, " = ");
  text_add_string(&message, error->value);
  text_add_string(&message, ")");
  int result = csv_fail(import->survey.path, row, row, NULL, message.data);
  text_free(&message);
  return result;
}

static int append_batch(Import *import) {
  if (!import->batch.row_count) return 0;
  int code = kvtable_append(import->table, batch_data(&import->batch), import->column_count, import->batch.row_count,
                            NULL, import->mode, NULL);
  if (code != KVSTORE_OK) {
    KVStoreError error = KVSTORE_ERROR_INIT;
    if (kvstore_error(import->cli->store, &error) != KVSTORE_OK || error.row < 0)
      return cli_fail_store(import->cli, code, import->table_name);
    uint64_t row = import->batch_row + (uint64_t)error.row;
    if (code == KVSTORE_CONSTRAINT) return fail_key(import, row, &error);
    const char *column = error.column[0] ? error.column : NULL, *text = cli_text_behind_row(&error);
    return csv_fail(import->survey.path, row, row, column, text);
  }
  import->batch_row += import->batch.row_count;
  batch_clear(&import->batch);
  return 0;
}

static int fail_value(const Import *import, const CsvRow *row, size_t column, const char *refusal) {
  const CsvField *field = &row->fields[import->fields[column]];
  Text message = TEXT_EMPTY;
  size_t shown = field->length;
  if (shown > 40) /* cut, but not inside a character */
    for (shown = 40; shown > 36 && ((unsigned char)field->data[shown] & 0xc0) == 0x80;) shown--;
  text_add_string(&message, "\"");
  text_add_readable(&message, field->data, shown);
  text_add_string(&message, shown < field->length ? "...\" " : "\" ");
  text_add_string(&message, refusal);
  int result = csv_fail(import->survey.path, row->number, row->line, import->columns[column].name, message.data);
  text_free(&message);
  return result;
}

static int set_column(Import *import, const CsvRow *row, size_t column) {
  const KVColumnDefinition *definition = &import->columns[column];
  KVValue value = kvvalue_null();
  if (import->fields[column] != NO_FIELD) {
    const CsvField *field = &row->fields[import->fields[column]];
    int is_text = definition->type == KVTABLE_TYPE_STRING || definition->type == KVTABLE_TYPE_BYTES ||
                  definition->type == KVTABLE_TYPE_FIXED_BYTES;
    int is_null = survey_is_null(&import->survey, field) || (field->kind == FIELD_CSV && !field->length && !is_text);
    if (is_null && !(definition->flags & KVTABLE_NULLABLE))
      return csv_fail(import->survey.path, row->number, row->line, definition->name,
                      "a value is missing, but rows are found by this column");
    const char *data = field->data;
    size_t length = field->length;
    if (is_text && definition->type != KVTABLE_TYPE_STRING && text_read_hex(&import->bytes, data, length)) {
      data = import->bytes.data;
      length = import->bytes.length;
    }
    const char *refusal = is_null ? NULL : value_read(definition, data, length, &value);
    if (refusal) return fail_value(import, row, column, refusal);
  }
  batch_set(&import->batch, column, &value);
  return 0;
}

static int load_row(void *context, const CsvRow *row) {
  Import *import = context;
  if (row->number == 1 && import->survey.has_header && !import->survey.is_jsonl) return 0;
  int result = survey_check_width(&import->survey, row);
  for (size_t i = 0; i < import->column_count && !result; i++) result = set_column(import, row, i);
  if (result) return result;
  batch_next_row(&import->batch);
  return batch_is_full(&import->batch) ? append_batch(import) : 0;
}

/* The members of an object, in the order of the columns. */
static int load_object(void *context, const JsonlRow *object) {
  Import *import = context;
  const Survey *survey = &import->survey;
  for (size_t i = 0; i < survey->column_count; i++) import->row_fields[i] = (CsvField){ "", 0, 0, FIELD_NULL };
  for (size_t i = 0, guess = 0; i < object->member_count; i++, guess++) {
    size_t column = survey_column(survey, object->members[i].name, guess < survey->column_count ? guess : 0);
    if (column == SIZE_MAX) return cli_fail("%s has changed while it was read; nothing was imported", survey->path);
    import->row_fields[column] = object->members[i].value;
    guess = column;
  }
  CsvRow row = { import->row_fields, survey->column_count, object->number, object->line };
  return load_row(import, &row);
}

static void show_survey(void *context, uint64_t bytes, uint64_t of) {
  Import *import = context;
  progress_show(&import->progress, of ? 0.3 * (double)bytes / (double)of : 0);
}

static void show_load(void *context, uint64_t bytes, uint64_t of) {
  Import *import = context;
  progress_show(&import->progress, of ? 0.3 + 0.7 * (double)bytes / (double)of : 0.3);
}

static int load_rows(Import *import) {
  batch_begin(&import->batch, import->columns, import->column_count);
  import->batch_row = import->survey.has_header && !import->survey.is_jsonl ? 2 : 1;
  import->row_fields = cli_allocate(import->survey.column_count, sizeof *import->row_fields);
  CsvSink sink = { import, load_row, show_load };
  JsonlSink json_sink = { import, load_object, show_load };
  int result = import->survey.is_jsonl ? jsonl_read_file(import->survey.path, &json_sink)
                                       : csv_read_file(import->survey.path, &import->survey.form, &sink);
  return result ? result : append_batch(import);
}

/* Everything that changes the store, in one transaction. */
static int write_table(Import *import, const Arguments *arguments, int present) {
  int code = kvtable_load_threads(import->cli->store, (uint32_t)import->threads);
  if (code == KVSTORE_OK) code = kvstore_begin(import->cli->store, 1);
  if (code != KVSTORE_OK) return cli_fail_store(import->cli, code, "the import cannot begin");
  int result = present ? 0 : create_table(import, arguments);
  if (!result) result = load_rows(import);
  if (result) {
    kvstore_rollback(import->cli->store);
    return result;
  }
  code = kvstore_commit(import->cli->store);
  return code == KVSTORE_OK ? 0 : cli_fail_store(import->cli, code, "the import was not committed");
}

static void report(const Import *import) {
  double seconds = cli_seconds() - import->began;
  double rate = seconds > 0 ? (double)import->survey.row_count / seconds : 0;
  if (import->cli->json) {
    Json json = { .file = stdout };
    json_open_object(&json, NULL);
    json_string(&json, "table", import->table_name);
    json_u64(&json, "rows", import->survey.row_count);
    json_u64(&json, "columns", import->survey.column_count);
    json_decimal(&json, "seconds", seconds);
    json_u64(&json, "rows_per_second", (uint64_t)rate);
    json_close(&json);
    return;
  }
  Text text = TEXT_EMPTY;
  text_add_count(&text, import->survey.row_count);
  text_add_string(&text, import->survey.row_count == 1 ? " row of " : " rows of ");
  text_add_count(&text, import->survey.column_count);
  text_print(stdout, import->table_name, 0);
  printf(": %s column%s in %.2f s", text.data, import->survey.column_count == 1 ? "" : "s", seconds);
  text.length = 0;
  text_add_count(&text, (uint64_t)rate);
  printf(", %s rows/s\n", text.data);
  text_free(&text);
}

static int run_import(Cli *cli, const Arguments *arguments) {
  Import import = { .cli = cli, .table_name = arguments_text(arguments, "table"), .began = cli_seconds() };
  if (!import.table_name) return cli_fail("import needs the table's name: --table NAME");
  int upsert = arguments_has(arguments, "upsert");
  int present = upsert || arguments_has(arguments, "append");
  import.mode = upsert ? KVTABLE_UPSERT : KVTABLE_INSERT;
  import.key_taken = present ? "a row with this key is there already; --upsert replaces it"
                             : "an earlier row has the same key; --key takes columns that together are unique";
  import.survey.path = arguments->words[0];
  import.survey.form = (CsvForm){ ',', '"' };
  import.survey.has_header = !arguments_has(arguments, "no-header");
  import.survey.progress = show_survey;
  read_nulls(arguments, &import.survey);
  int result = read_form(arguments, &import.survey);
  if (!result) result = read_character(arguments, "delimiter", &import.survey.form.delimiter);
  if (!result) result = read_character(arguments, "quote", &import.survey.form.quote);
  if (!result && import.survey.form.delimiter == import.survey.form.quote)
    result = cli_fail("--delimiter and --quote are the same character");
  if (!result && arguments_number(arguments, "threads", 1, 64, &import.threads)) result = CLI_FAILED;
  progress_begin(&import.progress, import.table_name);
  if (!result) result = survey_file(&import.survey, &import);
  if (!result) result = cli_open(cli, present ? CLI_OPEN_WRITE : CLI_OPEN_CREATE);
  if (!result) result = present ? plan_present_table(&import, arguments) : plan_new_table(&import, arguments);
  if (!result) result = write_table(&import, arguments, present);
  progress_end(&import.progress);
  if (!result) report(&import);
  batch_end(&import.batch);
  kvtable_close(import.table);
  survey_free(&import.survey);
  free(import.survey.nulls);
  free(import.row_fields);
  text_free(&import.bytes);
  free(import.columns);
  free(import.fields);
  return result;
}

static const OptionSpec import_options[] = {
  { "table", "NAME", "the table to make (needed)" },
  { "key", "COL[,COL]", "columns that together name a row; without, rows have numbers" },
  { "types", "COL=TYPE[,...]", "types that should not be guessed, as flight=i32" },
  { "encodings", "COL=ENCODING[,...]", "encodings that should not be chosen, as carrier=dictionary,id=no-delta" },
  { "append", NULL, "add to a table that is there; a key that is there already refuses the file" },
  { "upsert", NULL, "add to a table that is there; rows with the same key are replaced" },
  { "as", "csv|jsonl", "how the file is written (default: by its name; JSON lines for .jsonl, .ndjson, .json)" },
  { "null", "TEXT", "stands for a missing value; may come several times (default: nothing, and NA)" },
  { "delimiter", "CHAR", "between fields (default: a comma)" },
  { "quote", "CHAR", "around fields (default: \")" },
  { "no-header", NULL, "row 1 is data; the columns are called column_1, column_2 and so on" },
  { "threads", "N", "that may encode columns, 1 to 64 (default: as many as there are processors)" },
  { NULL, NULL, NULL },
};
const Command command_import = {
  .name = "import",
  .words = "FILE --table NAME",
  .summary = "make a table from a file: CSV or JSON lines",
  .description =
    "Reads the file twice: once to find the type of each column, once to write the rows. All of it happens in "
    "one transaction: a file with a wrong value, named by row and column, leaves the store as it was. Types "
    "that are guessed are bool, i64, u64, f64, date, timestamp and string; postcodes such as 01234 stay text. "
    "--types takes these too: i8 i16 i32, u8 u16 u32, f32, decimal:SCALE, time, duration, uuid, bytes, "
    "fixed_bytes:WIDTH; what the last two are given as <hex:00FF> are those bytes. A number or date left empty is "
    "missing, whatever --null says. Encodings are those that info shows, or array, for plain arrays that programs get "
    "without a copy; where the values do not allow one, another is chosen. In JSON lines each line is an "
    "object; its members are the columns, null and "
    "a member that is not there are missing values, and what is nested stays JSON text.",
  .example = "colonnade --db air.db import flights.csv --table flights --key time_hour,carrier,flight",
  .options = import_options,
  .words_min = 1,
  .words_max = 1,
  .run = run_import,
};
