/* cli_rows.c - single rows of a table by key: get-row, insert, upsert, update, delete-row; and drop. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/cli_grid.h"
#include "cli/cli_json.h"
#include "cli/cli_value.h"

#define ROW_ID "row_id" /* names the row of a table without a primary key */

/* The `column=value` words of a command, beside the table's schema. */
typedef struct RowWords {
  Cli *cli;
  KVTable *table;
  KVTableSchema schema;
  KVValue *values;  /* per column; null where nothing was said */
  char *given;      /* per column */
  KVValue *key;     /* in the key's order */
  size_t key_count; /* 1 for a table without a primary key */
  int has_row_id;
  char **texts; /* copies of the words, which values borrow */
  size_t text_count;
} RowWords;

static int find_column(const KVTableSchema *schema, const char *name, size_t *column) {
  for (size_t i = 0; i < schema->column_count; i++) {
    if (strcmp(schema->columns[i].name, name) != 0) continue;
    *column = i;
    return 1;
  }
  return 0;
}

static int is_text(int type) { return type == KVTABLE_TYPE_STRING || type == KVTABLE_TYPE_BYTES; }

/* `column=` is a missing value, but an empty text of a text column; what --null names is missing in any column. */
static int means_null(const Arguments *arguments, int type, const char *text) {
  const char *null = arguments_text(arguments, "null");
  return (null && strcmp(null, text) == 0) || (!*text && !is_text(type));
}

static int read_row_id(RowWords *row, const char *text) {
  static const KVColumnDefinition definition = { ROW_ID, KVTABLE_TYPE_U64, 0, 0 };
  const char *refusal = value_read(&definition, text, strlen(text), &row->key[0]);
  if (refusal) return cli_fail(ROW_ID "=%s: \"%s\" %s", text, text, refusal);
  row->has_row_id = 1;
  return CLI_DONE;
}

static int read_word(RowWords *row, const Arguments *arguments, char *word) {
  char *equal = strchr(word, '=');
  if (!equal) return cli_fail("\"%s\": write column=value, for example carrier=UA", word);
  *equal = '\0';
  char *text = equal + 1;
  size_t column;
  if (!find_column(&row->schema, word, &column)) {
    if (!row->schema.key_count && strcmp(word, ROW_ID) == 0) return read_row_id(row, text);
    return cli_fail("%s has no column %s; colonnade info %s shows those it has", row->schema.name, word,
                    row->schema.name);
  }
  const KVColumnDefinition *definition = &row->schema.columns[column];
  if (row->given[column]) return cli_fail("column %s stands there twice", word);
  row->given[column] = 1;
  if (means_null(arguments, definition->type, text)) return CLI_DONE;
  const char *refusal = value_read_word(definition, text, &row->values[column]);
  return refusal ? cli_fail("column %s: \"%s\" %s", word, text, refusal) : CLI_DONE;
}

/* Takes the key out of the values. `needed`: the whole key must have been given. */
static int collect_key(RowWords *row, int needed) {
  for (size_t i = 0; i < row->schema.key_count; i++) {
    size_t column = row->schema.key_columns[i];
    if (!row->given[column] && needed)
      return cli_fail("column %s belongs to the key of %s: %s=... is needed", row->schema.columns[column].name,
                      row->schema.name, row->schema.columns[column].name);
    row->key[i] = row->values[column];
  }
  if (needed && !row->schema.key_count && !row->has_row_id)
    return cli_fail("rows of %s have no key, but a number: " ROW_ID "=... is needed", row->schema.name);
  return CLI_DONE;
}

static void row_words_free(RowWords *row) {
  for (size_t i = 0; i < row->text_count; i++) free(row->texts[i]);
  free(row->texts);
  free(row->values);
  free(row->given);
  free(row->key);
  kvtable_close(row->table);
}

/* Opens the table of the first word and reads the others. */
static int row_words_read(RowWords *row, Cli *cli, const Arguments *arguments, CliOpen how, int key_needed) {
  memset(row, 0, sizeof *row);
  row->cli = cli;
  int result = cli_open(cli, how);
  if (!result) result = cli_open_table(cli, arguments->words[0], &row->table);
  if (result) return result;
  row->schema = (KVTableSchema)KVTABLE_SCHEMA_INIT;
  int code = kvtable_schema(row->table, &row->schema);
  if (code != KVSTORE_OK) return cli_fail_store(cli, code, NULL);
  row->values = cli_allocate(row->schema.column_count, sizeof *row->values);
  row->given = cli_allocate(row->schema.column_count, 1);
  for (size_t i = 0; i < row->schema.column_count; i++) row->values[i] = kvvalue_null();
  row->key_count = row->schema.key_count ? row->schema.key_count : 1;
  row->key = cli_allocate(row->key_count, sizeof *row->key);
  row->texts = cli_allocate(arguments->word_count, sizeof *row->texts);
  for (size_t i = 1; i < arguments->word_count && !result; i++) {
    size_t size = strlen(arguments->words[i]) + 1;
    char *copy = cli_allocate(size, 1);
    memcpy(copy, arguments->words[i], size);
    row->texts[row->text_count++] = copy;
    result = read_word(row, arguments, copy);
  }
  return result ? result : collect_key(row, key_needed);
}

/* The end of a command that writes one row, which has no number. */
static int written(const RowWords *row, int code, const char *member) {
  KVStoreError error = KVSTORE_ERROR_INIT;
  if (code == KVSTORE_NOTFOUND) return cli_not_found("%s has no row with this key", row->schema.name);
  if (code != KVSTORE_OK && kvstore_error(row->cli->store, &error) == KVSTORE_OK && error.row == 0)
    return cli_fail("%s", cli_text_behind_row(&error));
  if (code != KVSTORE_OK) return cli_fail_store(row->cli, code, NULL);
  if (!row->cli->json) return CLI_DONE;
  Json json = { .file = stdout };
  json_open_object(&json, NULL);
  json_bool(&json, member, 1);
  json_close(&json);
  return CLI_DONE;
}

static int read_expiry(const Arguments *arguments, int64_t *expire_ms) {
  uint64_t seconds = 0;
  if (arguments_number(arguments, "ttl", 1, UINT64_C(3153600000), &seconds)) return CLI_FAILED;
  *expire_ms = seconds ? kvstore_now_ms() + (int64_t)(seconds * 1000) : 0;
  return CLI_DONE;
}

/* ---- get-row ---- */

static void print_row(const RowWords *row, const KVValue *values, int64_t expire_ms) {
  if (row->cli->json) {
    Json json = { .file = stdout };
    json_open_object(&json, NULL);
    for (size_t i = 0; i < row->schema.column_count; i++) json_value(&json, row->schema.columns[i].name, &values[i]);
    json_close(&json);
    return;
  }
  Grid grid;
  Text cell = TEXT_EMPTY;
  grid_begin(&grid, stdout, NULL, NULL, 2, row->cli->aligned);
  for (size_t i = 0; i < row->schema.column_count; i++) {
    grid_string(&grid, row->schema.columns[i].name);
    cell.length = 0;
    value_add(&cell, &values[i]);
    grid_cell(&grid, cell.data, cell.length);
  }
  grid_end(&grid);
  if (expire_ms) printf("expires in %.3f s\n", (double)(expire_ms - kvstore_now_ms()) / 1000);
  text_free(&cell);
}

static int run_get_row(Cli *cli, const Arguments *arguments) {
  RowWords row;
  int result = row_words_read(&row, cli, arguments, CLI_OPEN_READ, 1);
  if (!result) {
    KVValue *values = cli_allocate(row.schema.column_count, sizeof *values);
    KVRow *held = NULL;
    int64_t expire_ms = 0;
    int code = kvtable_get(row.table, row.key, row.key_count, values, row.schema.column_count, &expire_ms, &held);
    if (code == KVSTORE_OK) {
      print_row(&row, values, expire_ms);
    } else {
      result = written(&row, code, NULL);
    }
    kvtable_row_free(held);
    free(values);
  }
  row_words_free(&row);
  return result;
}

/* ---- insert, upsert, update, delete-row, drop ---- */

static int put_row(Cli *cli, const Arguments *arguments, int mode) {
  RowWords row;
  int64_t expire_ms = 0;
  int result = row_words_read(&row, cli, arguments, CLI_OPEN_WRITE, 0);
  if (!result) result = read_expiry(arguments, &expire_ms);
  if (!result && row.has_row_id) result = cli_fail("a new row gets its " ROW_ID " from the store; leave it out");
  if (!result) {
    size_t count = row.schema.column_count;
    int code = mode == KVTABLE_INSERT ? kvtable_insert(row.table, row.values, count, expire_ms, NULL)
                                      : kvtable_upsert(row.table, row.values, count, expire_ms);
    result = written(&row, code, "stored");
  }
  row_words_free(&row);
  return result;
}

static int run_insert(Cli *cli, const Arguments *arguments) { return put_row(cli, arguments, KVTABLE_INSERT); }
static int run_upsert(Cli *cli, const Arguments *arguments) { return put_row(cli, arguments, KVTABLE_UPSERT); }

static int is_key_column(const KVTableSchema *schema, size_t column) {
  for (size_t i = 0; i < schema->key_count; i++)
    if (schema->key_columns[i] == column) return 1;
  return 0;
}

static int run_update(Cli *cli, const Arguments *arguments) {
  RowWords row;
  int64_t expire_ms = 0;
  int result = row_words_read(&row, cli, arguments, CLI_OPEN_WRITE, 1);
  if (!result) result = read_expiry(arguments, &expire_ms);
  if (!result) {
    const char **names = cli_allocate(row.schema.column_count, sizeof *names);
    size_t count = 0;
    for (size_t i = 0; i < row.schema.column_count; i++) {
      if (!row.given[i] || is_key_column(&row.schema, i)) continue;
      names[count] = row.schema.columns[i].name;
      row.values[count++] = row.values[i];
    }
    const int64_t *expiry = arguments_has(arguments, "ttl") ? &expire_ms : NULL;
    if (!count && !expiry) {
      result = cli_fail("update: beside the key, column=value says what changes");
    } else {
      result =
        written(&row, kvtable_update(row.table, row.key, row.key_count, names, row.values, count, expiry), "updated");
    }
    free(names);
  }
  row_words_free(&row);
  return result;
}

static int run_delete_row(Cli *cli, const Arguments *arguments) {
  RowWords row;
  int result = row_words_read(&row, cli, arguments, CLI_OPEN_WRITE, 1);
  if (!result) result = written(&row, kvtable_delete(row.table, row.key, row.key_count), "deleted");
  row_words_free(&row);
  return result;
}

static int run_drop(Cli *cli, const Arguments *arguments) {
  const char *name = arguments->words[0];
  int result = cli_open(cli, CLI_OPEN_WRITE);
  if (result) return result;
  int code = kvtable_drop(cli->store, name);
  if (code == KVSTORE_NOTFOUND) return cli_not_found("there is no table %s", name);
  if (code != KVSTORE_OK) return cli_fail_store(cli, code, name);
  if (cli->json) {
    Json json = { .file = stdout };
    json_open_object(&json, NULL);
    json_bool(&json, "dropped", 1);
    json_close(&json);
  }
  return CLI_DONE;
}

/* ---- the commands ---- */

#define NULL_OPTION \
  { "null", "TEXT", "a value written so is missing (a number or date left empty is missing anyway)" }
#define WORDS_MAX ((size_t)KVTABLE_COLUMNS_MAX + 2)

static const OptionSpec key_options[] = { NULL_OPTION, { NULL, NULL, NULL } };
static const OptionSpec write_options[] = {
  NULL_OPTION,
  { "ttl", "SECONDS", "the row is gone after so many seconds" },
  { NULL, NULL, NULL },
};

const Command command_get_row = {
  .name = "get-row",
  .words = "TABLE COL=VALUE...",
  .summary = "print the row with a key",
  .description =
    "Every column of the key is needed; the rows of a table without a key are named by row_id=N. Exits with 2 "
    "when there is no such row.",
  .example = "colonnade --db air.db get-row flights time_hour=2013-01-01T10:00:00Z carrier=UA flight=1545",
  .options = key_options,
  .words_min = 2,
  .words_max = WORDS_MAX,
  .run = run_get_row,
};
const Command command_insert = {
  .name = "insert",
  .words = "TABLE COL=VALUE...",
  .summary = "add a row; one with the same key refuses it",
  .description =
    "Columns that are left out are missing in the row. Bytes may be given as <hex:00FF>, here and wherever "
    "a row is named.",
  .example = "colonnade --db air.db insert airlines carrier=LH name=Lufthansa",
  .options = write_options,
  .words_min = 2,
  .words_max = WORDS_MAX,
  .run = run_insert,
};
const Command command_upsert = {
  .name = "upsert",
  .words = "TABLE COL=VALUE...",
  .summary = "add a row; one with the same key is replaced",
  .description = "The whole row is replaced: columns that are left out are missing afterwards. update changes only the "
                 "columns that it names.",
  .example = "colonnade --db air.db upsert airlines carrier=UA name=\"United Airlines\"",
  .options = write_options,
  .words_min = 2,
  .words_max = WORDS_MAX,
  .run = run_upsert,
};
const Command command_update = {
  .name = "update",
  .words = "TABLE COL=VALUE...",
  .summary = "change columns of the row with a key",
  .description =
    "The columns of the key find the row (row_id=N in a table without a key), the others are set. Exits with 2 "
    "when there is no such row.",
  .example = "colonnade --db air.db update flights time_hour=2013-01-01T10:00:00Z carrier=UA flight=1545 dep_delay=7",
  .options = write_options,
  .words_min = 2,
  .words_max = WORDS_MAX,
  .run = run_update,
};
const Command command_delete_row = {
  .name = "delete-row",
  .words = "TABLE COL=VALUE...",
  .summary = "delete the row with a key",
  .description =
    "Every column of the key is needed (row_id=N in a table without a key). Exits with 2 when there is no such "
    "row.",
  .example = "colonnade --db air.db delete-row airlines carrier=LH",
  .options = key_options,
  .words_min = 2,
  .words_max = WORDS_MAX,
  .run = run_delete_row,
};
const Command command_drop = {
  .name = "drop",
  .words = "TABLE",
  .summary = "delete a table and all its rows",
  .description = "Exits with 2 when there is no such table.",
  .example = "colonnade --db air.db drop airlines",
  .options = NULL,
  .words_min = 1,
  .words_max = 1,
  .run = run_drop,
};
