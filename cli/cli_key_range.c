/* cli_key_range.c - values of the key's first columns, between commas, as the bounds of a query. */
#include "cli/cli_key_range.h"

#include <stdlib.h>
#include <string.h>

#include "cli/cli_value.h"

typedef struct Bound {
  char **texts;
  KVValue values[KVTABLE_KEY_COLUMNS_MAX];
  size_t count;
} Bound;

static int read_bound(KVTable *table, const Arguments *arguments, const char *option, Bound *bound) {
  static const KVColumnDefinition row_id = { "the row id", KVTABLE_TYPE_U64, 0, 0 };
  KVTableSchema schema = KVTABLE_SCHEMA_INIT;
  if (!arguments_has(arguments, option)) return CLI_DONE;
  if (kvtable_schema(table, &schema) != KVSTORE_OK) return cli_fail("the table's columns cannot be read");
  size_t most = schema.key_count ? schema.key_count : 1;
  bound->texts = arguments_list(arguments, option, &bound->count);
  if (bound->count > most)
    return cli_fail("--%s: %zu values, but the key of %s has %zu; a value with a comma goes into --where", option,
                    bound->count, schema.name, most);
  for (size_t i = 0; i < bound->count; i++) {
    const KVColumnDefinition *column = schema.key_count ? &schema.columns[schema.key_columns[i]] : &row_id;
    char *text = bound->texts[i];
    const char *refusal = value_read_word(column, text, &bound->values[i]);
    if (refusal) return cli_fail("--%s: %s: \"%s\" %s", option, column->name, text, refusal);
  }
  return CLI_DONE;
}

static int set_bounds(Cli *cli, KVQuery *query, const Bound *prefix, const Bound *from, const Bound *to) {
  int code = prefix->texts ? kvquery_key_prefix(query, prefix->values, prefix->count)
                           : kvquery_key_range(query, from->values, from->count, to->values, to->count, 0);
  return code == KVSTORE_OK ? CLI_DONE : cli_fail_store(cli, code, NULL);
}

int key_range_set(Cli *cli, KVTable *table, KVQuery *query, const Arguments *arguments) {
  Bound prefix = { .count = 0 };
  Bound from = { .count = 0 };
  Bound to = { .count = 0 };
  int has_ends = arguments_has(arguments, "key-from") || arguments_has(arguments, "key-to");
  if (!has_ends && !arguments_has(arguments, "key-prefix")) return CLI_DONE;
  if (has_ends && arguments_has(arguments, "key-prefix"))
    return cli_fail("--key-prefix, or --key-from and --key-to: one or the other");
  int result = read_bound(table, arguments, "key-prefix", &prefix);
  if (!result) result = read_bound(table, arguments, "key-from", &from);
  if (!result) result = read_bound(table, arguments, "key-to", &to);
  if (!result) result = set_bounds(cli, query, &prefix, &from, &to);
  free(prefix.texts);
  free(from.texts);
  free(to.texts);
  return result;
}
