/* cli_join.c - --join and the options behind it. */
#include "cli/cli_join.h"

#include <stdlib.h>
#include <string.h>

enum { ON_MAX = 16 };

typedef struct JoinOption {
  const char *table;
  const char *on;
  KVJoin join;
} JoinOption;

static int read_kind(const char *text, int *kind) {
  static const char *const kinds[] = { "inner", "left", "semi", "anti" };
  for (int i = 0; i < 4; i++) {
    if (strcmp(text, kinds[i]) != 0) continue;
    *kind = i;
    return CLI_DONE;
  }
  return cli_fail("--kind %s: there are inner, left, semi and anti", text);
}

/* Splits `a=b,c=d` in place. */
static int read_pairs(char *text, const char **left, const char **right, size_t *count) {
  for (*count = 0; text; ++*count) {
    char *comma = strchr(text, ',');
    if (comma) *comma = '\0';
    char *equal = strchr(text, '=');
    if (!equal || equal == text || !equal[1]) return cli_fail("--on %s: write column=column", text);
    if (*count == ON_MAX) return cli_fail("--on: at most %d pairs of columns", ON_MAX);
    *equal = '\0';
    left[*count] = text;
    right[*count] = equal + 1;
    text = comma ? comma + 1 : NULL;
  }
  return CLI_DONE;
}

static int add_join(Cli *cli, KVQuery *query, const JoinOption *option) {
  const char *left[ON_MAX];
  const char *right[ON_MAX];
  KVJoin join = option->join;
  if (!option->on) return cli_fail("--join %s: --on is missing", option->table);
  size_t size = strlen(option->on) + 1;
  char *pairs = cli_allocate(size, 1);
  memcpy(pairs, option->on, size);
  join.left = left;
  join.right = right;
  int result = read_pairs(pairs, left, right, &join.count);
  if (!result) result = cli_open_table(cli, option->table, &join.table);
  if (!result) {
    int code = kvquery_join(query, &join);
    if (code != KVSTORE_OK) result = cli_fail_store(cli, code, NULL);
    kvtable_close(join.table);
  }
  free(pairs);
  return result;
}

static int take_option(JoinOption *option, const char *name, const char *value) {
  if (strcmp(name, "on") == 0) {
    option->on = value;
  } else if (strcmp(name, "prefix") == 0) {
    option->join.prefix = value;
  } else if (strcmp(name, "join-where") == 0) {
    option->join.where = value;
  } else if (strcmp(name, "kind") == 0) {
    return read_kind(value, &option->join.kind);
  } else {
    return CLI_DONE;
  }
  return CLI_DONE;
}

static int is_of_joins(const char *name) {
  return strcmp(name, "on") == 0 || strcmp(name, "prefix") == 0 || strcmp(name, "join-where") == 0 ||
         strcmp(name, "kind") == 0;
}

int joins_set(Cli *cli, KVQuery *query, const Arguments *arguments) {
  static const KVJoin nothing = KVJOIN_INIT;
  JoinOption option = { NULL, NULL, nothing };
  int result = CLI_DONE;
  for (size_t i = 0; i < arguments->use_count && !result; i++) {
    const OptionUse *use = &arguments->uses[i];
    if (strcmp(use->option->name, "join") == 0) {
      if (option.table) result = add_join(cli, query, &option);
      option = (JoinOption){ use->value, NULL, nothing };
    } else if (option.table) {
      result = take_option(&option, use->option->name, use->value);
    } else if (is_of_joins(use->option->name)) {
      result = cli_fail("--%s stands before any --join", use->option->name);
    }
  }
  if (!result && option.table) result = add_join(cli, query, &option);
  return result;
}
