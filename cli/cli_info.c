/* cli_info.c - about the store: tables, info, check. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/cli_grid.h"
#include "cli/cli_json.h"
#include "cli/cli_text.h"
#include "cli/cli_value.h"

static void free_names(char **names, size_t count) {
  for (size_t i = 0; i < count; i++) kvstore_free(names[i]);
  kvstore_free(names);
}

/* What is known of one table. */
typedef struct TableFacts {
  KVTable *table;
  KVTableSchema schema;
  KVTableUsage *usage;
  uint64_t row_count;
} TableFacts;

static int table_facts(Cli *cli, const char *name, TableFacts *facts) {
  memset(facts, 0, sizeof *facts);
  int result = cli_open_table(cli, name, &facts->table);
  if (result) return result;
  facts->schema = (KVTableSchema)KVTABLE_SCHEMA_INIT;
  int code = kvtable_schema(facts->table, &facts->schema);
  if (code == KVSTORE_OK) code = kvtable_count(facts->table, &facts->row_count);
  if (code == KVSTORE_OK) code = kvtable_usage(facts->table, &facts->usage);
  return code == KVSTORE_OK ? CLI_DONE : cli_fail_store(cli, code, name);
}

static void table_facts_free(TableFacts *facts) {
  kvstore_free(facts->usage);
  kvtable_close(facts->table);
}

static void add_key(Text *text, const KVTableSchema *schema) {
  for (size_t i = 0; i < schema->key_count; i++) {
    if (i) text_add_string(text, ", ");
    const char *name = schema->columns[schema->key_columns[i]].name;
    text_add_readable(text, name, strlen(name));
  }
  if (!schema->key_count) text_add_string(text, "(row_id)");
}

static void json_key(Json *json, const KVTableSchema *schema) {
  json_open_array(json, "key");
  for (size_t i = 0; i < schema->key_count; i++) json_string(json, NULL, schema->columns[schema->key_columns[i]].name);
  json_close(json);
}

static void add_bytes(Text *text, uint64_t bytes) {
  static const char *const units[] = { "bytes", "KB", "MB", "GB", "TB" };
  double amount = (double)bytes;
  size_t unit = 0;
  while (amount >= 1000 && unit < 4) {
    amount /= 1000;
    unit++;
  }
  char number[48];
  int length = snprintf(number, sizeof number, unit ? "%.2f %s" : "%.0f %s", amount, units[unit]);
  text_add(text, number, (size_t)length);
}

/* ---- tables ---- */

typedef struct TableList {
  Json json;
  Grid grid;
  int use_json;
} TableList;

static void list_table(TableList *list, const TableFacts *facts) {
  if (list->use_json) {
    json_open_object(&list->json, NULL);
    json_string(&list->json, "table", facts->schema.name);
    json_u64(&list->json, "rows", facts->row_count);
    json_u64(&list->json, "columns", facts->schema.column_count);
    json_key(&list->json, &facts->schema);
    json_close(&list->json);
    return;
  }
  Text cell = TEXT_EMPTY;
  text_add_readable(&cell, facts->schema.name, strlen(facts->schema.name));
  grid_cell(&list->grid, cell.data, cell.length);
  char number[32];
  snprintf(number, sizeof number, "%" PRIu64, facts->row_count);
  grid_string(&list->grid, number);
  snprintf(number, sizeof number, "%zu", facts->schema.column_count);
  grid_string(&list->grid, number);
  cell.length = 0;
  add_key(&cell, &facts->schema);
  grid_cell(&list->grid, cell.data, cell.length);
  text_free(&cell);
}

static int run_tables(Cli *cli, const Arguments *arguments) {
  static const char *const headers[] = { "table", "rows", "columns", "key" };
  static const unsigned char to_the_right[] = { 0, 1, 1, 0 };
  (void)arguments;
  int result = cli_open(cli, CLI_OPEN_READ);
  if (result) return result;
  char **names = NULL;
  size_t count = 0;
  int code = kvtable_list(cli->store, &names, &count);
  if (code != KVSTORE_OK) return cli_fail_store(cli, code, NULL);
  TableList list = { .json = { .file = stdout }, .use_json = cli->json };
  if (list.use_json) {
    json_open_array(&list.json, NULL);
  } else {
    grid_begin(&list.grid, stdout, headers, to_the_right, 4, cli->aligned);
  }
  for (size_t i = 0; i < count && !result; i++) {
    TableFacts facts;
    result = table_facts(cli, names[i], &facts);
    if (!result) list_table(&list, &facts);
    table_facts_free(&facts);
  }
  if (list.use_json) {
    json_close(&list.json);
  } else {
    grid_end(&list.grid);
  }
  free_names(names, count);
  return result;
}

/* ---- info ---- */

static double ratio_of(const KVColumnUsage *column) {
  return column->bytes ? (double)column->plain_bytes / (double)column->bytes : 0;
}

static void json_usage(Json *json, const TableFacts *facts) {
  const KVTableUsage *usage = facts->usage;
  json_open_object(json, NULL);
  json_string(json, "table", facts->schema.name);
  json_u64(json, "rows", facts->row_count);
  json_key(json, &facts->schema);
  json_u64(json, "runs", usage->run_count);
  json_u64(json, "run_rows", usage->run_rows);
  json_u64(json, "run_bytes", usage->run_bytes);
  json_u64(json, "dead_rows", usage->dead_rows);
  json_u64(json, "delta_rows", usage->delta_rows);
  json_open_array(json, "columns");
  for (size_t i = 0; i < usage->column_count; i++) {
    const KVColumnUsage *column = &usage->columns[i];
    char type[TYPE_TEXT_MAX];
    json_open_object(json, NULL);
    json_string(json, "column", column->name);
    json_string(json, "type", type_print(column->type, column->width, type));
    json_u64(json, "bytes", column->bytes);
    json_u64(json, "plain_bytes", column->plain_bytes);
    json_decimal(json, "ratio", ratio_of(column));
    json_string(json, "encodings", column->encodings);
    json_close(json);
  }
  json_close(json);
  json_close(json);
}

static void print_columns(const TableFacts *facts, int aligned) {
  static const char *const headers[] = { "column", "type", "bytes", "plain", "ratio", "encodings" };
  static const unsigned char to_the_right[] = { 0, 0, 1, 1, 1, 0 };
  Grid grid;
  Text cell = TEXT_EMPTY;
  grid_begin(&grid, stdout, headers, to_the_right, 6, aligned);
  for (size_t i = 0; i < facts->usage->column_count; i++) {
    const KVColumnUsage *column = &facts->usage->columns[i];
    char number[32], type[TYPE_TEXT_MAX];
    cell.length = 0;
    text_add_readable(&cell, column->name, strlen(column->name));
    grid_cell(&grid, cell.data, cell.length);
    grid_string(&grid, type_print(column->type, column->width, type));
    snprintf(number, sizeof number, "%" PRIu64, column->bytes);
    grid_string(&grid, number);
    snprintf(number, sizeof number, "%" PRIu64, column->plain_bytes);
    grid_string(&grid, number);
    snprintf(number, sizeof number, "%.1f", ratio_of(column));
    grid_string(&grid, column->bytes ? number : "");
    grid_string(&grid, column->encodings);
  }
  grid_end(&grid);
  text_free(&cell);
}

static void print_usage(const TableFacts *facts, int aligned) {
  const KVTableUsage *usage = facts->usage;
  Text text = TEXT_EMPTY;
  text_add_string(&text, "\ntable ");
  text_add_readable(&text, facts->schema.name, strlen(facts->schema.name));
  text_add_string(&text, ": ");
  text_add_count(&text, facts->row_count);
  text_add_string(&text, " rows, found by ");
  add_key(&text, &facts->schema);
  text_add_string(&text, "\n  in the file: ");
  text_add_count(&text, usage->run_rows);
  text_add_string(&text, " rows in ");
  text_add_count(&text, usage->run_count);
  text_add_string(&text, usage->run_count == 1 ? " run, " : " runs, ");
  add_bytes(&text, usage->run_bytes);
  text_add_string(&text, ", ");
  text_add_count(&text, usage->dead_rows);
  text_add_string(&text, " of them replaced or deleted\n  newest, not yet compressed: ");
  text_add_count(&text, usage->delta_rows);
  text_add_string(&text, " rows");
  puts(text.data);
  text_free(&text);
  print_columns(facts, aligned);
}

static void print_store(const Cli *cli, const KVStoreInfo *info, char **families, size_t family_count) {
  Text text = TEXT_EMPTY;
  text_add_string(&text, "store ");
  text_add_readable(&text, cli->database, strlen(cli->database));
  text_add_string(&text, ": ");
  add_bytes(&text, info->file_bytes);
  text_add_string(&text, "\n  in use ");
  add_bytes(&text, info->extent_bytes);
  text_add_string(&text, ", freed but still read ");
  add_bytes(&text, info->limbo_bytes);
  text_add_string(&text, "\n  log ");
  add_bytes(&text, info->log_bytes_used);
  text_add_string(&text, " of ");
  add_bytes(&text, info->log_bytes);
  text_add_string(&text, "\n  families of keys: default");
  for (size_t i = 0; i < family_count; i++) {
    text_add_string(&text, ", ");
    text_add_readable(&text, families[i], strlen(families[i]));
  }
  puts(text.data);
  printf("  format %" PRIu32 ", generation %" PRIu64 ", commit %" PRIu64 "\n", info->format, info->generation,
         info->sequence);
  text_free(&text);
}

static void json_store(Json *json, const Cli *cli, const KVStoreInfo *info, char **families, size_t family_count) {
  json_string(json, "store", cli->database);
  json_u64(json, "file_bytes", info->file_bytes);
  json_u64(json, "extent_bytes", info->extent_bytes);
  json_u64(json, "limbo_bytes", info->limbo_bytes);
  json_u64(json, "log_bytes", info->log_bytes);
  json_u64(json, "log_bytes_used", info->log_bytes_used);
  json_u64(json, "format", info->format);
  json_u64(json, "generation", info->generation);
  json_u64(json, "sequence", info->sequence);
  json_open_array(json, "families");
  json_string(json, NULL, "default");
  for (size_t i = 0; i < family_count; i++) json_string(json, NULL, families[i]);
  json_close(json);
}

static int info_of_tables(Cli *cli, Json *json, char *const *names, size_t count) {
  int result = CLI_DONE;
  for (size_t i = 0; i < count && !result; i++) {
    TableFacts facts;
    result = table_facts(cli, names[i], &facts);
    if (!result && json) json_usage(json, &facts);
    if (!result && !json) print_usage(&facts, cli->aligned);
    table_facts_free(&facts);
  }
  return result;
}

/* Everything, as one document or as text. */
static int info_of_store(Cli *cli, char *const *names, size_t count) {
  KVStoreInfo info = KVSTORE_INFO_INIT;
  char **families = NULL;
  int family_count = 0;
  int code = kvstore_info(cli->store, &info);
  if (code == KVSTORE_OK) code = kvstore_cf_list(cli->store, &families, &family_count);
  if (code != KVSTORE_OK) return cli_fail_store(cli, code, NULL);
  int result;
  if (cli->json) {
    Json json = { .file = stdout };
    json_open_object(&json, NULL);
    json_store(&json, cli, &info, families, (size_t)family_count);
    json_open_array(&json, "tables");
    result = info_of_tables(cli, &json, names, count);
    json_close(&json);
    json_close(&json);
  } else {
    print_store(cli, &info, families, (size_t)family_count);
    result = info_of_tables(cli, NULL, names, count);
  }
  free_names(families, (size_t)family_count);
  return result;
}

/* One table alone. */
static int info_of_table(Cli *cli, const char *name) {
  TableFacts facts;
  int result = table_facts(cli, name, &facts);
  if (!result && cli->json) {
    Json json = { .file = stdout };
    json_usage(&json, &facts);
  } else if (!result) {
    print_usage(&facts, cli->aligned);
  }
  table_facts_free(&facts);
  return result;
}

static int run_info(Cli *cli, const Arguments *arguments) {
  int result = cli_open(cli, CLI_OPEN_READ);
  if (result) return result;
  if (arguments->word_count) return info_of_table(cli, arguments->words[0]);
  char **names = NULL;
  size_t count = 0;
  int code = kvtable_list(cli->store, &names, &count);
  if (code != KVSTORE_OK) return cli_fail_store(cli, code, NULL);
  result = info_of_store(cli, names, count);
  free_names(names, count);
  return result;
}

/* ---- check ---- */

static int run_check(Cli *cli, const Arguments *arguments) {
  (void)arguments;
  int result = cli_open(cli, CLI_OPEN_READ);
  if (result) return result;
  char *message = NULL;
  int code = kvstore_integrity_check(cli->store, &message);
  if (code != KVSTORE_OK) {
    result = cli_fail("%s is damaged: %s", cli->database, message ? message : kvstore_errmsg(cli->store));
    if (code != KVSTORE_CORRUPT) result = cli_fail("the check did not end: %s", kvstore_errmsg(cli->store));
  }
  if (cli->json) {
    Json json = { .file = stdout };
    json_open_object(&json, NULL);
    json_bool(&json, "ok", code == KVSTORE_OK);
    json_close(&json);
  } else if (code == KVSTORE_OK) {
    puts("ok");
  }
  kvstore_free(message);
  return result;
}

/* ---- the commands ---- */

const Command command_tables = {
  .name = "tables",
  .words = "",
  .summary = "list the tables",
  .description = "One line a table: its name, rows, columns and key.",
  .example = "colonnade --db air.db tables",
  .options = NULL,
  .words_min = 0,
  .words_max = 0,
  .run = run_tables,
};
const Command command_info = {
  .name = "info",
  .words = "[TABLE]",
  .summary = "sizes, and how each column is encoded",
  .description =
    "For the store: its file, its log, its families. For every table, or the one that is named: rows, and per "
    "column its type, its bytes in the file, the bytes as a plain array, and the encodings with the number "
    "of chunks in each.",
  .example = "colonnade --db air.db info flights",
  .options = NULL,
  .words_min = 0,
  .words_max = 1,
  .run = run_info,
};
const Command command_check = {
  .name = "check",
  .words = "",
  .summary = "verify every byte of the store",
  .description = "Reads everything and verifies checksums and structures. Prints ok and exits with 0, or says what is "
                 "damaged and exits with 1.",
  .example = "colonnade --db air.db check",
  .options = NULL,
  .words_min = 0,
  .words_max = 0,
  .run = run_check,
};
