/* cli_columns.c - columns: those that a family keeps over its keys and values; which these are. */
#include <string.h>

#include "cli/cli_grid.h"
#include "cli/cli_json.h"
#include "cli/cli_sources.h"
#include "cli/cli_value.h"

static void print_json(const KVDeclaredColumns *declared) {
  Json json = { .file = stdout };
  json_open_object(&json, NULL);
  json_bool(&json, "kept", declared->is_declared);
  json_bool(&json, "built", declared->is_built);
  json_u64(&json, "pairs", declared->pairs);
  json_open_array(&json, "columns");
  for (size_t i = 0; i < declared->column_count; i++) {
    const KVDeclaredColumn *column = &declared->columns[i];
    char type[TYPE_TEXT_MAX];
    json_open_object(&json, NULL);
    json_string(&json, "name", column->name);
    json_string(&json, "type", type_print(column->type, column->width, type));
    json_string(&json, "source", column->source);
    json_u64(&json, "nulls", column->nulls);
    json_close(&json);
  }
  json_close(&json);
  json_close(&json);
}

static void print_text(const KVDeclaredColumns *declared, int aligned) {
  static const char *const names[] = { "name", "type", "source", "missing" };
  static const unsigned char to_the_right[] = { 0, 0, 0, 1 };
  Grid grid;
  grid_begin(&grid, stdout, (const char **)(uintptr_t)names, to_the_right, 4, aligned);
  for (size_t i = 0; i < declared->column_count; i++) {
    const KVDeclaredColumn *column = &declared->columns[i];
    char nulls[24], type[TYPE_TEXT_MAX];
    int length = snprintf(nulls, sizeof nulls, "%llu", (unsigned long long)column->nulls);
    grid_string(&grid, column->name);
    grid_string(&grid, type_print(column->type, column->width, type));
    grid_string(&grid, column->source);
    grid_cell(&grid, nulls, (size_t)length);
  }
  grid_end(&grid);
}

static int tell(Cli *cli, KVColumnFamily *family) {
  KVDeclaredColumns *declared = NULL;
  int code = kvtable_declared(family, &declared);
  if (code != KVSTORE_OK) return cli_fail_store(cli, code, NULL);
  if (cli->json)
    print_json(declared);
  else
    print_text(declared, cli->aligned);
  kvstore_free(declared);
  return CLI_DONE;
}

/* This program ends, and with it what would be done behind it: the columns are made before. */
static int declare(Cli *cli, const Arguments *arguments, KVColumnFamily *family) {
  Sources sources = { 0 };
  int result = CLI_DONE, flags = arguments_has(arguments, "counted") ? KVTABLE_COUNTED : 0;
  for (size_t i = 1; i < arguments->word_count && !result; i++)
    result = sources_add_named(&sources, "", arguments->words[i]);
  if (!result) {
    int code = kvtable_declare(family, sources.columns, sources.count, flags);
    if (code == KVSTORE_OK) code = kvstore_maintain(cli->store);
    if (code != KVSTORE_OK) result = cli_fail_store(cli, code, NULL);
  }
  sources_free(&sources);
  return result;
}

static int run_columns(Cli *cli, const Arguments *arguments) {
  int none = arguments_has(arguments, "none"), counted = arguments_has(arguments, "counted");
  int changes = arguments->word_count > 1 || none || counted;
  if (none && (arguments->word_count > 1 || counted)) return cli_fail("--none keeps no columns: name none beside it");
  KVColumnFamily *family = NULL;
  int result = cli_open(cli, changes ? CLI_OPEN_WRITE : CLI_OPEN_READ);
  if (!result) result = cli_find_family(cli, arguments->words[0], 0, &family);
  if (!result && changes) result = declare(cli, arguments, family);
  if (!result) result = tell(cli, family);
  kvstore_cf_close(family);
  return result;
}

static const OptionSpec columns_options[] = {
  { "counted", NULL, "keeps keys, lengths and expiries beside the pairs: ranges are counted fast" },
  { "none", NULL, "keeps no columns any more" },
  { NULL, NULL, NULL },
};
const Command command_columns = {
  .name = "columns",
  .words = "FAMILY [NAME=SOURCE ...]",
  .summary = "keep columns over a family's keys and values",
  .description = "Without more than the family it prints which columns are kept, and in how many pairs each is "
                 "missing. Else these are "
                 "kept from now on, in the place of those before: every put writes them, and report reads them in "
                 "place of the pairs. "
                 "Sources are those of report: part(N), at(OFFSET):TYPE, json(PATH).",
  .example = "colonnade --db my.db columns sensors 'site=part(1)' 'temp=json(temp):f64'",
  .options = columns_options,
  .words_min = 1,
  .words_max = 1000,
  .run = run_columns,
};
