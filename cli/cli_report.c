/* cli_report.c - questions to a family of keys and values, read as a table: some of its columns are made of keys and
 * values as the question names them, `part(1)` or `json(temp)`. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli_query.h"

/* ---- columns that the question names ---- */

typedef struct Sources {
  KVPairColumn *columns;
  size_t count, capacity;
  char **texts; /* what they point to */
  size_t text_count, text_capacity;
} Sources;

static char *keep_text(Sources *sources, const char *from, size_t length) {
  char *text = cli_allocate(length + 1, 1);
  memcpy(text, from, length);
  if (sources->text_count == sources->text_capacity) {
    sources->text_capacity = 2 * sources->text_capacity + 8;
    sources->texts = cli_reallocate(sources->texts, sources->text_capacity, sizeof *sources->texts);
  }
  return sources->texts[sources->text_count++] = text;
}

static void sources_free(Sources *sources) {
  for (size_t i = 0; i < sources->text_count; i++) free(sources->texts[i]);
  free(sources->texts);
  free(sources->columns);
}

static int starts(const char *text, const char *word) { return strncmp(text, word, strlen(word)) == 0; }

static int is_source(const char *name) { return starts(name, "part(") || starts(name, "at(") || starts(name, "json("); }

static void add_column(Sources *sources, const char *name, const char *source, int type) {
  for (size_t i = 0; i < sources->count; i++)
    if (strcmp(sources->columns[i].name, name) == 0) return;
  if (sources->count == sources->capacity) {
    sources->capacity = 2 * sources->capacity + 8;
    sources->columns = cli_reallocate(sources->columns, sources->capacity, sizeof *sources->columns);
  }
  sources->columns[sources->count++] = (KVPairColumn){ name, source, type, 0 };
}

/* `json(temp)` or `json(temp):i64`. CLI_DONE, or CLI_FAILED after a message. */
static int read_source(Sources *sources, const char *name, size_t name_length, const char *text, int usual) {
  const char *end = strrchr(text, ')');
  int type = usual;
  if (!end) return cli_fail("%s: a source ends with )", text);
  if (end[1] == ':') {
    type = kvtable_type_by_name(end + 2);
    if (type == KVTABLE_TYPE_NONE) return cli_fail("%s: there is no type %s", text, end + 2);
  } else if (end[1]) {
    return cli_fail("%s: behind a source stands nothing, or a colon and a type", text);
  } else if (starts(text, "at(")) {
    return cli_fail("%s: what stands there? Say its type: %s:i64", text, text);
  } else if (starts(text, "part(")) {
    type = KVTABLE_TYPE_STRING;
  }
  add_column(sources, keep_text(sources, name, name_length), keep_text(sources, text, (size_t)(end + 1 - text)), type);
  return CLI_DONE;
}

static int note_source(Sources *sources, const char *name, int usual) {
  return is_source(name) ? read_source(sources, name, strlen(name), name, usual) : CLI_DONE;
}

/* --column NAME=SOURCE */
static int read_columns(Sources *sources, const Arguments *arguments) {
  for (size_t i = 0; i < arguments->use_count; i++) {
    if (strcmp(arguments->uses[i].option->name, "column") != 0) continue;
    const char *text = arguments->uses[i].value, *equals = strchr(text, '=');
    if (!equals || equals == text || !is_source(equals + 1))
      return cli_fail("--column %s: give NAME=part(N), NAME=at(OFFSET):TYPE or NAME=json(PATH)", text);
    if (read_source(sources, text, (size_t)(equals - text), equals + 1, KVTABLE_TYPE_F64)) return CLI_FAILED;
  }
  return CLI_DONE;
}

static int note_list(Sources *sources, const Arguments *arguments, const char *option, int usual) {
  size_t count;
  char **list = arguments_list(arguments, option, &count);
  int result = CLI_DONE;
  for (size_t i = 0; i < count && !result; i++) result = note_source(sources, list[i], usual);
  free(list);
  return result;
}

/* Names in double quotes, as a filter has them. */
static int note_filter(Sources *sources, const char *text) {
  int result = CLI_DONE;
  char *copy = keep_text(sources, text ? text : "", text ? strlen(text) : 0);
  for (char *at = copy; *at && !result; at++) {
    if (*at == '\'') {
      at = strchr(at + 1, '\'');
      if (!at) break;
    } else if (*at == '"') {
      char *end = strchr(at + 1, '"');
      if (!end) break;
      *end = '\0';
      result = note_source(sources, at + 1, KVTABLE_TYPE_F64);
      at = end;
    }
  }
  return result;
}

/* JSON is a number where something is computed of it, and text where it is grouped by or shown. */
static int collect(Sources *sources, const Arguments *arguments) {
  int result = read_columns(sources, arguments);
  for (size_t i = 0; i < arguments->use_count && !result; i++) {
    const OptionUse *use = &arguments->uses[i];
    if (query_aggregate_of(use->option->name) && use->value)
      result = note_source(sources, use->value, KVTABLE_TYPE_F64);
  }
  if (!result) result = note_list(sources, arguments, "by", KVTABLE_TYPE_STRING);
  if (!result) result = note_list(sources, arguments, "select", KVTABLE_TYPE_STRING);
  return result ? result : note_filter(sources, arguments_text(arguments, "where"));
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

/* ---- the command ---- */

static int ask(Cli *cli, const Arguments *arguments, KVColumnFamily *family, const Sources *sources) {
  KVTable *table = NULL;
  KVQuery *query = NULL;
  int code = kvtable_open_family(family, sources->columns, sources->count, &table);
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
    "JSON; "
    "at(OFFSET):TYPE, a number in the bytes of the value. A source stands where a column may; :TYPE behind it says how "
    "it is read (else a part as string, JSON as f64, and as string where it is grouped by or selected). In filters it "
    "stands in double quotes. What does not fit is missing.",
  .example = "colonnade --db my.db report sensors --prefix sensor/ --by 'part(1)' --avg 'json(temp)'",
  .options = report_options,
  .words_min = 0,
  .words_max = 1,
  .uses_family = 1,
  .run = run_report,
};
