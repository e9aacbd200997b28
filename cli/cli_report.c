/* cli_report.c - questions to a family of keys and values, read as a table: some of its columns are made of keys and
 * values as the question names them, `part(1)` or `json(temp)`. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli_query.h"
#include "cli/cli_sources.h"

/* ---- columns that the question names ---- */

/* A source that is part of an expression is none of these. */
static int note_source(Sources *sources, const char *text, int usual) {
  static const char blanks[] = " \t\r\n";
  const char *name = text + strspn(text, blanks);
  size_t length = source_length(name), all = strlen(name);
  while (all && strchr(blanks, name[all - 1])) all--;
  if (!source_is_one(name) || (length && length < all)) return CLI_DONE;
  name = sources_text(sources, name, all);
  return sources_add(sources, name, all, name, usual);
}

static int read_columns(Sources *sources, const Arguments *arguments) {
  int result = CLI_DONE;
  for (size_t i = 0; i < arguments->use_count && !result; i++)
    if (strcmp(arguments->uses[i].option->name, "column") == 0)
      result = sources_add_named(sources, "--column ", arguments->uses[i].value);
  return result;
}

static int note_list(Sources *sources, const Arguments *arguments, const char *option, int usual) {
  size_t count;
  char **list = arguments_values(arguments, option, &count);
  int result = CLI_DONE;
  for (size_t i = 0; i < count && !result; i++) result = note_source(sources, list[i], usual);
  free(list);
  return result;
}

/* How JSON is read in the value of an option, unless it says that itself; whether that value is a list. */
static int takes_sources(const char *option, int *usual, int *is_list) {
  *is_list = strcmp(option, "where") != 0;
  *usual = strcmp(option, "by") == 0 || strcmp(option, "select") == 0 ? KVTABLE_TYPE_STRING : KVTABLE_TYPE_NONE;
  return query_aggregate_of(option) || *usual == KVTABLE_TYPE_STRING || !*is_list || strcmp(option, "order-by") == 0;
}

/* Sources are looked for in what is shown, then in what that is ordered by, then in filters. */
enum { IN_COLUMNS, IN_ORDERS, IN_FILTERS };

static int place_of(const char *option, int is_list) {
  if (!is_list) return IN_FILTERS;
  return strcmp(option, "order-by") == 0 ? IN_ORDERS : IN_COLUMNS;
}

/* Sources within expressions of an option. */
static int note_expressions(Sources *sources, const Arguments *arguments, int place) {
  int result = CLI_DONE, usual, is_list;
  for (size_t i = 0; i < arguments->use_count && !result; i++) {
    OptionUse *use = &arguments->uses[i];
    const char *option = use->option->name;
    if (!use->value || !takes_sources(option, &usual, &is_list) || place_of(option, is_list) != place) continue;
    result = sources_quote(sources, use->value, usual, is_list, &use->value);
  }
  return result;
}

/* Of equal rows one is shown, which has no other values than those: they come as text. */
static int note_orders(Sources *sources, const Arguments *arguments) {
  int of_groups = arguments_has(arguments, "by") || arguments_has(arguments, "distinct");
  for (size_t i = 0; i < arguments->use_count && !of_groups; i++) {
    OptionUse *use = &arguments->uses[i];
    if (strcmp(use->option->name, "order-by") == 0) use->value = sources_order(sources, use->value);
  }
  int result = note_list(sources, arguments, "order-by", KVTABLE_TYPE_NONE);
  return result ? result : note_expressions(sources, arguments, IN_ORDERS);
}

static void quote_names_of_groups(Sources *sources, const Arguments *arguments) {
  for (size_t i = 0; i < arguments->use_count; i++) {
    OptionUse *use = &arguments->uses[i];
    if (strcmp(use->option->name, "having") == 0) use->value = sources_quote_names(sources, use->value);
  }
}

/* JSON is a number where something is computed of it, and text where it is grouped by or shown. */
static int collect(Sources *sources, const Arguments *arguments) {
  int result = read_columns(sources, arguments);
  if (!result) result = note_list(sources, arguments, "by", KVTABLE_TYPE_STRING);
  for (size_t i = 0; i < arguments->use_count && !result; i++) {
    OptionUse *use = &arguments->uses[i];
    const AggregateName *name = query_aggregate_of(use->option->name);
    if (!name || !use->value) continue;
    use->value = sources_aggregated(sources, use->value);
    char *column = query_aggregate_column(name, use->value);
    result = note_source(sources, column, KVTABLE_TYPE_NONE);
    free(column);
  }
  if (!result) result = note_list(sources, arguments, "select", KVTABLE_TYPE_STRING);
  if (!result) result = note_expressions(sources, arguments, IN_COLUMNS);
  if (!result) result = note_orders(sources, arguments);
  if (!result) quote_names_of_groups(sources, arguments);
  return result ? result : note_expressions(sources, arguments, IN_FILTERS);
}

/* ---- ranges ---- */

static int set_range(const Arguments *arguments, KVQuery *query) {
  const char *prefix = arguments_text(arguments, "prefix");
  const char *from = arguments_text(arguments, "from"), *to = arguments_text(arguments, "to");
  KVValue bounds[3] = { kvvalue_bytes(prefix, prefix ? strlen(prefix) : 0),
                        kvvalue_bytes(from, from ? strlen(from) : 0), kvvalue_bytes(to, to ? strlen(to) : 0) };
  if (prefix) return *prefix ? kvquery_key_prefix(query, &bounds[0], 1) : KVSTORE_OK;
  if (!from && !to) return KVSTORE_OK;
  return kvquery_key_range(query, from ? &bounds[1] : NULL, from != NULL, to ? &bounds[2] : NULL, to != NULL, 0);
}

/* ---- columns that the family keeps ---- */

static int is_said(Sources *sources, const Arguments *arguments, const char *name) {
  int usual, is_list, said = NAME_NOT_SAID;
  for (size_t i = 0; i < arguments->use_count && said != NAME_GIVEN; i++) {
    const OptionUse *use = &arguments->uses[i];
    if (!use->value || !takes_sources(use->option->name, &usual, &is_list)) continue;
    int here = sources_say_name(sources, use->value, name);
    if (here) said = here;
  }
  return said == NAME_SAID;
}

static int has_column(const KVTableSchema *schema, const char *name) {
  for (size_t i = 0; i < schema->column_count; i++)
    if (strcmp(schema->columns[i].name, name) == 0) return 1;
  return 0;
}

/* A column that is kept stands under the name of the source that it is, where the question has that source. Those that
 * it calls by their own names as well are added. */
static int add_kept(Sources *sources, const Arguments *arguments, KVColumnFamily *family, KVTable *table) {
  KVTableSchema schema = KVTABLE_SCHEMA_INIT, kept = KVTABLE_SCHEMA_INIT;
  KVTable *plain = NULL;
  KVDeclaredColumns *declared = NULL;
  int is_missing = 0, code = kvtable_open_family(family, NULL, 0, &plain);
  if (code == KVSTORE_OK) code = kvtable_schema(table, &schema);
  if (code == KVSTORE_OK) code = kvtable_schema(plain, &kept);
  for (size_t i = 0; code == KVSTORE_OK && i < kept.column_count && !is_missing; i++)
    is_missing = !has_column(&schema, kept.columns[i].name) && is_said(sources, arguments, kept.columns[i].name);
  if (is_missing) code = kvtable_declared(family, &declared);
  for (size_t i = 0; declared && i < declared->column_count; i++) {
    const KVDeclaredColumn *column = &declared->columns[i];
    if (!has_column(&schema, column->name) && is_said(sources, arguments, column->name))
      sources_add_kept(sources, column);
  }
  kvstore_free(declared);
  kvtable_close(plain);
  return code;
}

static int open_table(Sources *sources, const Arguments *arguments, KVColumnFamily *family, KVTable **table) {
  size_t count = sources->count;
  int code = kvtable_open_family(family, sources->columns, count, table);
  if (code == KVSTORE_OK && count) code = add_kept(sources, arguments, family, *table);
  if (code != KVSTORE_OK || sources->count == count) return code;
  kvtable_close(*table);
  *table = NULL;
  return kvtable_open_family(family, sources->columns, sources->count, table);
}

/* ---- the command ---- */

static int ask(Cli *cli, const Arguments *arguments, KVColumnFamily *family, Sources *sources) {
  KVTable *table = NULL;
  KVQuery *query = NULL;
  int code = open_table(sources, arguments, family, &table);
  if (code == KVSTORE_OK) code = kvquery_create(table, &query);
  if (code == KVSTORE_OK) code = set_range(arguments, query);
  int result = code == KVSTORE_OK ? query_answer(cli, query, arguments) : cli_fail_store(cli, code, NULL);
  kvquery_close(query);
  kvtable_close(table);
  return result;
}

static int run_report(Cli *cli, const Arguments *arguments) {
  Sources sources = { 0 };
  KVColumnFamily *family = NULL;
  const char *name = arguments->word_count ? arguments->words[0] : arguments_text(arguments, "cf");
  if (query_check(arguments, "by")) return CLI_FAILED;
  if (arguments_has(arguments, "prefix") && (arguments_has(arguments, "from") || arguments_has(arguments, "to")))
    return cli_fail("--prefix, or --from and --to: one or the other");
  int result = collect(&sources, arguments);
  if (!result) result = cli_open(cli, CLI_OPEN_READ);
  if (!result) result = cli_find_family(cli, name, 0, &family);
  if (!result) result = ask(cli, arguments, family, &sources);
  kvstore_cf_close(family);
  sources_free(&sources);
  return result;
}

static const OptionSpec report_options[] = {
  { "prefix", "TEXT", "only keys that begin so; only they are read" },
  { "from", "KEY", "only keys from this one on" },
  { "to", "KEY", "only keys before this one" },
  { "column", "NAME=SOURCE", "gives a source a name, as in: --column 'temp=json(temp):f64'" },
  QUERY_OPTIONS_OF_ROWS,
  { "by", "COL[,COL]", "the same for each group of pairs with equal values in these columns" },
  QUERY_OPTIONS_OF_RESULTS,
  { NULL, NULL, NULL },
};
const Command command_report = {
  .name = "report",
  .words = "[FAMILY]",
  .summary = "filter, count, sum and group keys and values",
  .description =
    "Reads a family as a table with the columns key, value, value_length and expires_at, and with sources: part(N), "
    "the "
    "N-th part of the key from 0 between slashes, or part(N, ':'); json(PATH), what lies there in a value that is "
    "JSON, json($) all of it; "
    "at(OFFSET):TYPE, a number in the bytes of the value, at(OFFSET, big):TYPE one with the high byte first. A source "
    "stands where a column may, also within expressions; "
    ":TYPE behind it says how it is read (else a part as string; JSON as what a filter compares it with, as string "
    "where it is grouped by or selected, or asked whether it is null, elsewhere as f64; rows in the order of JSON that "
    "is selected come by its numbers, then by its text). What does not fit is missing. "
    "Columns that the family keeps (columns) are there, too, and are read in place of the pairs where nothing else is "
    "asked for.",
  .example = "colonnade --db my.db report sensors --prefix sensor/ --by 'part(1)' --avg 'json(temp)'",
  .options = report_options,
  .words_min = 0,
  .words_max = 1,
  .uses_family = 1,
  .run = run_report,
};
