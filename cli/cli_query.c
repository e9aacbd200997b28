/* cli_query.c - questions to a table: rows that match a filter, aggregates over them, or groups of them. */
#include "cli/cli_query.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/cli_grid.h"
#include "cli/cli_join.h"
#include "cli/cli_json.h"
#include "cli/cli_key_range.h"
#include "cli/cli_value.h"

/* ---- what the run did ---- */

typedef struct Run {
  KVQuery *query;
  double seconds;
  KVQueryCounters counters;
} Run;

static int read_counters(Cli *cli, Run *run) {
  run->counters = (KVQueryCounters)KVQUERY_COUNTERS_INIT;
  int code = kvquery_counters(run->query, &run->counters);
  return code == KVSTORE_OK ? CLI_DONE : cli_fail_store(cli, code, NULL);
}

static void json_run(Json *json, const Run *run) {
  json_decimal(json, "elapsed_ms", run->seconds * 1000);
  json_u64(json, "blocks", run->counters.blocks);
  json_u64(json, "blocks_skipped", run->counters.blocks_skipped);
  json_u64(json, "blocks_certain", run->counters.blocks_certain);
  json_u64(json, "blocks_scanned", run->counters.blocks_scanned);
}

static int explain(Cli *cli, const Run *run, Json *json) {
  char *text = NULL;
  int code = kvquery_explain(run->query, &text);
  if (code != KVSTORE_OK) return cli_fail_store(cli, code, NULL);
  if (json) {
    char *object = NULL;
    json_string(json, "explain", text);
    code = kvquery_explain_json(run->query, &object);
    if (code == KVSTORE_OK) json_written(json, "plan", object);
    kvstore_free(object);
  } else {
    putchar('\n');
    text_print(stdout, text, 1);
    size_t length = strlen(text);
    if (length && text[length - 1] != '\n') putchar('\n');
    printf("time: %.3f ms\n", run->seconds * 1000);
  }
  kvstore_free(text);
  return code == KVSTORE_OK ? CLI_DONE : cli_fail_store(cli, code, NULL);
}

/* ---- aggregates ---- */

static const AggregateName aggregate_names[] = {
  { "count", KVQUERY_ROWS, "count(" },
  { "count-values", KVQUERY_VALUES, "count(" },
  { "sum", KVQUERY_SUM, "sum(" },
  { "min", KVQUERY_MIN, "min(" },
  { "max", KVQUERY_MAX, "max(" },
  { "avg", KVQUERY_AVG, "avg(" },
  { "count-distinct", KVQUERY_COUNT_DISTINCT, "count(distinct " },
  { "variance", KVQUERY_VARIANCE, "variance(" },
  { "variance-pop", KVQUERY_VARIANCE_POP, "variance_pop(" },
  { "stddev", KVQUERY_STDDEV, "stddev(" },
  { "stddev-pop", KVQUERY_STDDEV_POP, "stddev_pop(" },
  { "approx-distinct", KVQUERY_APPROX_COUNT_DISTINCT, "approx_count_distinct(" },
  { "median", KVQUERY_MEDIAN, "median(" },
  { "quantile", KVQUERY_QUANTILE(0), "quantile(" },
  { "first", KVQUERY_FIRST, "first(" },
  { "last", KVQUERY_LAST, "last(" },
};

const AggregateName *query_aggregate_of(const char *option) {
  for (size_t i = 0; i < sizeof aggregate_names / sizeof aggregate_names[0]; i++)
    if (strcmp(aggregate_names[i].option, option) == 0) return &aggregate_names[i];
  return NULL;
}

enum { QUANTILE_DIGITS = 6, QUANTILE_WHOLE = 1000000 };

/* "0.95": millionths; -1: it is no such number. */
static int read_millionths(const char *text) {
  size_t digits = strspn(text, "0123456789"), behind = 0;
  int number = 0;
  if (digits > 1 || (digits && text[0] > '1')) return -1;
  if (digits) number = (text[0] - '0') * QUANTILE_WHOLE;
  if (text[digits] == '.') {
    const char *fraction = text + digits + 1;
    behind = strspn(fraction, "0123456789");
    if (behind > QUANTILE_DIGITS || fraction[behind]) return -1;
    for (size_t i = 0, unit = QUANTILE_WHOLE / 10; i < behind; i++, unit /= 10)
      number += (fraction[i] - '0') * (int)unit;
  } else if (text[digits]) {
    return -1;
  }
  return digits + behind && number <= QUANTILE_WHOLE ? number : -1;
}

/* The comma before the number of `COL,P`: the last one. */
static const char *last_comma(const char *value) { return strrchr(value, ','); }

char *query_aggregate_column(const AggregateName *name, const char *value) {
  if (!value) value = "*";
  size_t length = strlen(value);
  if (name->kind == KVQUERY_QUANTILE(0) && last_comma(value)) length = (size_t)(last_comma(value) - value);
  char *column = cli_allocate(length + 1, 1);
  memcpy(column, value, length);
  return column;
}

static int kind_of(const AggregateName *name, const char *value) {
  if (name->kind != KVQUERY_QUANTILE(0)) return name->kind;
  const char *comma = last_comma(value);
  if (comma) comma += 1 + strspn(comma + 1, " ");
  int millionths = comma ? read_millionths(comma) : -1;
  return millionths < 0 ? -1 : KVQUERY_QUANTILE(0) + millionths;
}

/* In the order of the command line, each once. */
typedef struct Asks {
  size_t count;
  KVAggregate *aggregates; /* with columns of their own */
  size_t *label_at;
  Text labels; /* `sum(distance)` and the like, separated by NULs */
} Asks;

static void asks_free(Asks *asks) {
  for (size_t i = 0; i < asks->count; i++) free((void *)(uintptr_t)asks->aggregates[i].column);
  free(asks->aggregates);
  free(asks->label_at);
  text_free(&asks->labels);
}

static void add_ask(Asks *asks, const AggregateName *name, const OptionUse *use) {
  KVAggregate ask = { kind_of(name, use->value), query_aggregate_column(name, use->value) };
  for (size_t j = 0; j < asks->count; j++) {
    if (asks->aggregates[j].kind != ask.kind || strcmp(asks->aggregates[j].column, ask.column) != 0) continue;
    free((void *)(uintptr_t)ask.column);
    return;
  }
  asks->label_at[asks->count] = asks->labels.length;
  text_add_string(&asks->labels, name->label);
  text_add_string(&asks->labels, ask.column);
  if (name->kind == KVQUERY_QUANTILE(0)) {
    char number[24];
    int millionths = ask.kind - KVQUERY_QUANTILE(0);
    int length = snprintf(number, sizeof number, ", %d.%06d", millionths / QUANTILE_WHOLE, millionths % QUANTILE_WHOLE);
    while (number[length - 1] == '0') length--;
    text_add(&asks->labels, number, (size_t)length - (number[length - 1] == '.'));
  }
  text_add(&asks->labels, ")", 2);
  asks->aggregates[asks->count++] = ask;
}

static Asks collect_aggregates(const Arguments *arguments) {
  Asks asks = { .aggregates = cli_allocate(arguments->use_count + 1, sizeof *asks.aggregates),
                .label_at = cli_allocate(arguments->use_count + 1, sizeof *asks.label_at) };
  for (size_t i = 0; i < arguments->use_count; i++) {
    const AggregateName *name = query_aggregate_of(arguments->uses[i].option->name);
    if (name) add_ask(&asks, name, &arguments->uses[i]);
  }
  return asks;
}

static int check_quantiles(const Arguments *arguments) {
  for (size_t i = 0; i < arguments->use_count; i++) {
    const OptionUse *use = &arguments->uses[i];
    const AggregateName *name = query_aggregate_of(use->option->name);
    if (name && kind_of(name, use->value) < 0)
      return cli_fail("--quantile %s: a column, a comma and a number from 0 to 1 with at most six digits behind the "
                      "point are needed, as in: --quantile 'dep_delay,0.95'",
                      use->value);
  }
  return CLI_DONE;
}

static int print_aggregates_json(Cli *cli, const Run *run, const KVValue *results, const Asks *asks, int explained) {
  Json json = { .file = stdout };
  json_open_object(&json, NULL);
  json_open_object(&json, "results");
  for (size_t i = 0; i < asks->count; i++) json_value(&json, asks->labels.data + asks->label_at[i], &results[i]);
  json_close(&json);
  json_run(&json, run);
  int result = explained ? explain(cli, run, &json) : CLI_DONE;
  json_close(&json);
  return result;
}

/* One answer stands alone; several have their names beside them. */
static void print_aggregates_text(const KVValue *results, const Asks *asks, int aligned) {
  size_t count = asks->count;
  static const unsigned char to_the_right[] = { 0, 1 };
  Grid grid;
  Text cell = TEXT_EMPTY;
  grid_begin(&grid, stdout, NULL, count > 1 ? to_the_right : NULL, count > 1 ? 2 : 1, aligned);
  for (size_t i = 0; i < count; i++) {
    if (count > 1) grid_string(&grid, asks->labels.data + asks->label_at[i]);
    cell.length = 0;
    value_add(&cell, &results[i]);
    grid_cell(&grid, cell.data, cell.length);
  }
  grid_end(&grid);
  text_free(&cell);
}

static int run_aggregates(Cli *cli, Run *run, const Arguments *arguments) {
  KVValue *results = cli_allocate(arguments->use_count, sizeof *results);
  Asks asks = collect_aggregates(arguments);
  double began = cli_seconds();
  int code = kvquery_aggregate(run->query, asks.aggregates, asks.count, results);
  run->seconds = cli_seconds() - began;
  int result = code == KVSTORE_OK ? read_counters(cli, run) : cli_fail_store(cli, code, NULL);
  int explained = arguments_has(arguments, "explain");
  if (!result && cli->json) {
    result = print_aggregates_json(cli, run, results, &asks, explained);
  } else if (!result) {
    print_aggregates_text(results, &asks, cli->aligned);
    if (explained) result = explain(cli, run, NULL);
  }
  asks_free(&asks);
  free(results);
  return result;
}

/* ---- rows ---- */

typedef struct RowOutput {
  size_t column_count;
  const char **names;
  unsigned char *to_the_right;
  int use_json;
  Json json;
  Grid grid;
  Text cell;
  uint64_t row_count;
} RowOutput;

static int row_output_begin(RowOutput *output, const Cli *cli, KVCursor *cursor) {
  memset(output, 0, sizeof *output);
  output->column_count = kvcursor_column_count(cursor);
  output->names = cli_allocate(output->column_count, sizeof *output->names);
  output->to_the_right = cli_allocate(output->column_count, 1);
  for (size_t i = 0; i < output->column_count; i++) {
    KVColumnDefinition definition;
    int code = kvcursor_column(cursor, i, &definition);
    if (code != KVSTORE_OK) return code;
    output->names[i] = definition.name;
    output->to_the_right[i] = (unsigned char)value_is_number(definition.type);
  }
  output->use_json = cli->json;
  output->json.file = stdout;
  if (output->use_json) {
    json_open_object(&output->json, NULL);
    json_open_array(&output->json, "rows");
  } else {
    grid_begin(&output->grid, stdout, output->names, output->to_the_right, output->column_count, cli->aligned);
  }
  return KVSTORE_OK;
}

static int row_output_row(RowOutput *output, KVCursor *cursor) {
  int code = KVSTORE_OK;
  if (output->use_json) json_open_object(&output->json, NULL);
  for (size_t i = 0; i < output->column_count && code == KVSTORE_OK; i++) {
    KVValue value;
    code = kvcursor_value(cursor, i, &value);
    if (code != KVSTORE_OK) value = kvvalue_null();
    if (output->use_json) {
      json_value(&output->json, output->names[i], &value);
    } else {
      output->cell.length = 0;
      value_add(&output->cell, &value);
      grid_cell(&output->grid, output->cell.data, output->cell.length);
    }
  }
  if (output->use_json) json_close(&output->json);
  output->row_count++;
  return code;
}

static void row_output_free(RowOutput *output) {
  free(output->names);
  free(output->to_the_right);
  text_free(&output->cell);
}

static int print_rows(Cli *cli, Run *run, KVCursor *cursor, double began, int explained) {
  RowOutput output;
  int code = row_output_begin(&output, cli, cursor);
  while (code == KVSTORE_OK) {
    code = kvcursor_next(cursor);
    if (code == KVSTORE_OK) code = row_output_row(&output, cursor);
  }
  run->seconds = cli_seconds() - began;
  int result = code == KVSTORE_NOTFOUND ? read_counters(cli, run) : cli_fail_store(cli, code, "the rows end here");
  if (output.use_json) {
    json_close(&output.json);
    json_u64(&output.json, "row_count", output.row_count);
    json_run(&output.json, run);
    if (!result && explained) result = explain(cli, run, &output.json);
    json_close(&output.json);
  } else {
    grid_end(&output.grid);
    if (!result && explained) result = explain(cli, run, NULL);
  }
  row_output_free(&output);
  return result;
}

/* ---- orders and groups ---- */

/* Takes one of two words off the end of *length characters, together with the blanks before it. */
static int take_word(const char *text, size_t *length, const char *word) {
  size_t size = strlen(word);
  while (*length && text[*length - 1] == ' ') --*length;
  if (*length <= size || text[*length - size - 1] != ' ') return 0;
  for (size_t i = 0; i < size; i++)
    if ((text[*length - size + i] | 32) != word[i]) return 0;
  *length -= size;
  while (*length && text[*length - 1] == ' ') --*length;
  return 1;
}

/* `sum(x) desc nulls last`: the name stays in `text`, NUL behind it. */
static KVOrder read_order(char *text) {
  KVOrder order = { text, 0 };
  size_t length = strlen(text);
  while (*order.column == ' ') order.column++, length--;
  char *name = text + (order.column - text);
  if (take_word(name, &length, "last")) {
    if (take_word(name, &length, "nulls"))
      order.flags |= KVQUERY_NULLS_LAST;
    else
      length = strlen(name);
  } else if (take_word(name, &length, "first") && !take_word(name, &length, "nulls")) {
    length = strlen(name);
  }
  if (take_word(name, &length, "desc"))
    order.flags |= KVQUERY_DESCENDING;
  else
    (void)take_word(name, &length, "asc");
  name[length] = '\0';
  return order;
}

static int set_order(Run *run, const Arguments *arguments) {
  size_t count;
  char **texts = arguments_values(arguments, "order-by", &count);
  KVOrder *order = cli_allocate(count + 1, sizeof *order);
  for (size_t i = 0; i < count; i++) order[i] = read_order(texts[i]);
  int code = kvquery_order_by(run->query, order, count);
  free(order);
  free(texts);
  return code;
}

/* report says it shorter. */
const char *query_groups_option(const Arguments *arguments) {
  return arguments_has(arguments, "by") ? "by" : "group-by";
}

static int set_groups(Run *run, const Arguments *arguments) {
  size_t count;
  char **columns = arguments_values(arguments, query_groups_option(arguments), &count);
  Asks asks = collect_aggregates(arguments);
  int code = kvquery_group_by(run->query, (const char *const *)columns, count);
  if (code == KVSTORE_OK) code = kvquery_compute(run->query, asks.aggregates, asks.count);
  if (code == KVSTORE_OK) code = kvquery_having(run->query, arguments_text(arguments, "having"), NULL, 0);
  asks_free(&asks);
  free(columns);
  return code;
}

static int run_rows(Cli *cli, Run *run, const Arguments *arguments) {
  uint64_t limit = UINT64_MAX;
  uint64_t offset = 0;
  if (arguments_number(arguments, "limit", 0, UINT64_MAX, &limit)) return CLI_FAILED;
  if (arguments_number(arguments, "offset", 0, UINT64_MAX, &offset)) return CLI_FAILED;
  size_t count;
  char **columns = arguments_values(arguments, "select", &count);
  int code = kvquery_select(run->query, (const char *const *)columns, count);
  free(columns);
  if (code == KVSTORE_OK) code = kvquery_distinct(run->query, arguments_has(arguments, "distinct"));
  if (code == KVSTORE_OK && arguments_has(arguments, query_groups_option(arguments))) code = set_groups(run, arguments);
  if (code == KVSTORE_OK) code = set_order(run, arguments);
  if (code == KVSTORE_OK) code = kvquery_limit(run->query, offset, limit);
  if (code == KVSTORE_OK) code = kvquery_order_by_key(run->query, arguments_has(arguments, "order-by-key"));
  double began = cli_seconds();
  KVCursor *cursor = NULL;
  if (code == KVSTORE_OK) code = kvquery_open(run->query, &cursor);
  int result = code == KVSTORE_OK ? print_rows(cli, run, cursor, began, arguments_has(arguments, "explain"))
                                  : cli_fail_store(cli, code, NULL);
  kvcursor_close(cursor);
  return result;
}

/* ---- the command ---- */

static int has_aggregates(const Arguments *arguments) {
  for (size_t i = 0; i < arguments->use_count; i++)
    if (query_aggregate_of(arguments->uses[i].option->name)) return 1;
  return 0;
}

/* Options that do not go together. */
static int check_options(const Arguments *arguments, const char *option, int aggregated, int grouped) {
  if (grouped && (arguments_has(arguments, "select") || arguments_has(arguments, "distinct") ||
                  arguments_has(arguments, "order-by-key")))
    return cli_fail("--select, --distinct and --order-by-key concern rows, not the groups of --%s", option);
  if (!grouped && arguments_has(arguments, "having"))
    return cli_fail("--having filters the groups of --%s, which is missing", option);
  if (!aggregated || grouped) return CLI_DONE;
  static const char *const of_rows[] = { "select", "limit", "offset", "order-by", "order-by-key", "distinct" };
  for (size_t i = 0; i < sizeof of_rows / sizeof of_rows[0]; i++)
    if (arguments_has(arguments, of_rows[i]))
      return cli_fail("--%s concerns rows or the groups of --%s, and --count, --sum and the like all that match: "
                      "ask for one or the other",
                      of_rows[i], option);
  return CLI_DONE;
}

int query_check(const Arguments *arguments, const char *option) {
  if (check_quantiles(arguments)) return CLI_FAILED;
  return check_options(arguments, option, has_aggregates(arguments), arguments_has(arguments, option));
}

/* Threads are the library's to choose, unless the command line says how many. */
static int set_means(KVQuery *query, const Arguments *arguments, int *code) {
  uint64_t threads = 0, megabytes = 0;
  if (arguments_number(arguments, "threads", 1, 64, &threads)) return CLI_FAILED;
  if (arguments_number(arguments, "memory", 1, UINT64_C(1) << 24, &megabytes)) return CLI_FAILED;
  *code = kvquery_threads(query, (uint32_t)threads);
  if (*code == KVSTORE_OK) *code = kvquery_memory_limit(query, megabytes << 20);
  return CLI_DONE;
}

int query_answer(Cli *cli, KVQuery *query, const Arguments *arguments) {
  Run run = { .query = query };
  int code = KVSTORE_OK;
  if (set_means(query, arguments, &code)) return CLI_FAILED;
  if (code == KVSTORE_OK) code = kvquery_where(query, arguments_text(arguments, "where"), NULL, 0);
  if (code != KVSTORE_OK) return cli_fail_store(cli, code, NULL);
  if (has_aggregates(arguments) && !arguments_has(arguments, query_groups_option(arguments)))
    return run_aggregates(cli, &run, arguments);
  return run_rows(cli, &run, arguments);
}

static int run_query(Cli *cli, const Arguments *arguments) {
  if (query_check(arguments, "group-by")) return CLI_FAILED;
  KVTable *table = NULL;
  KVQuery *query = NULL;
  int result = cli_open(cli, CLI_OPEN_READ);
  if (!result) result = cli_open_table(cli, arguments->words[0], &table);
  if (!result) {
    int code = kvquery_create(table, &query);
    result = code == KVSTORE_OK ? key_range_set(cli, table, query, arguments) : cli_fail_store(cli, code, NULL);
  }
  if (!result) result = joins_set(cli, query, arguments);
  if (!result) result = query_answer(cli, query, arguments);
  kvquery_close(query);
  kvtable_close(table);
  return result;
}

static const OptionSpec query_options[] = {
  QUERY_OPTIONS_OF_ROWS,
  QUERY_OPTIONS_OF_JOINS,
  { "key-prefix", "V[,V]", "only rows whose key begins with these values; nothing else is read" },
  { "key-from", "V[,V]", "only keys from this one on" },
  { "key-to", "V[,V]", "only keys before this one" },
  { "group-by", "COL[,COL]", "the same for each group of rows with equal values in these columns" },
  QUERY_OPTIONS_OF_RESULTS,
  { NULL, NULL, NULL },
};
const Command command_query = {
  .name = "query",
  .words = "TABLE",
  .summary = "filter a table: rows, counts, sums, groups",
  .description =
    "Prints the rows that match, or, with --count, --sum, --min, --max, --avg and the like, one answer over all of "
    "them, "
    "or, with --group-by, one for each group. "
    "Texts stand in single quotes, dates are written date '2013-07-04', and a column whose name is not one "
    "word stands in double quotes. Wherever a column is named, a value may be computed: 'price * (1 - discount)', "
    "'year(day) as y'. Missing values match nothing but is null.",
  .example =
    "colonnade --db air.db query flights --where \"dep_delay > 60 and carrier = 'UA'\" --count --avg dep_delay",
  .options = query_options,
  .words_min = 1,
  .words_max = 1,
  .run = run_query,
};
