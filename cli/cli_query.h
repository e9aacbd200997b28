/* cli_query.h - what the commands that ask questions share: query of tables, report of families. */
#ifndef COLONNADE_CLI_QUERY_H
#define COLONNADE_CLI_QUERY_H

#include "cli/cli.h"

typedef struct AggregateName {
  const char *option;
  int kind;          /* KVQUERY_* */
  const char *label; /* what stands before the column */
} AggregateName;
/* The aggregate that an option asks for, or NULL. */
const AggregateName *query_aggregate_of(const char *option);
/* The column in the value of such an option, on the heap. */
char *query_aggregate_column(const AggregateName *name, const char *value);

/* Which option says what is grouped by: "by" or "group-by". */
const char *query_groups_option(const Arguments *arguments);
/* CLI_FAILED, after a message, for options that do not go together; `option` is the command's for groups. */
int query_check(const Arguments *arguments, const char *option);
/* Asks what the options say and prints the answer; gives the exit code. */
int query_answer(Cli *cli, KVQuery *query, const Arguments *arguments);

/* clang-format off */
#define QUERY_OPTIONS_OF_ROWS \
  { "where", "TEXT", "the filter: and, or, not; = <> < <= > >=, between, in, like 'abc%', is null" }, \
  { "count", NULL, "how many rows match" }, \
  { "count-values", "COL", "in how many rows a column is not missing" }, \
  { "sum", "COL", "the sum of a column; all of these may be asked at once and several times" }, \
  { "min", "COL", "its least value" }, \
  { "max", "COL", "its greatest value" }, \
  { "avg", "COL", "its average" }, \
  { "count-distinct", "COL", "how many different values it has" }, \
  { "approx-distinct", "COL", "the same, 1.6 % off on the average, in little memory" }, \
  { "median", "COL", "its median: the least value that half of the values are not above" }, \
  { "quantile", "COL,P", "another such value: --quantile 'dep_delay,0.95'" }, \
  { "variance", "COL", "its variance as of a sample; --variance-pop as of all there is" }, \
  { "variance-pop", "COL", "the squares of the distances from the average, divided by their number" }, \
  { "stddev", "COL", "its standard deviation as of a sample; --stddev-pop as of all there is" }, \
  { "stddev-pop", "COL", "the square root of --variance-pop" }, \
  { "first", "COL", "its value in the row of the least key" }, \
  { "last", "COL", "its value in the row of the greatest key" }

#define QUERY_OPTIONS_OF_RESULTS \
  { "having", "TEXT", "groups for which this filter is true: 'count(*) > 10'" }, \
  { "select", "COL[,COL]", "the columns of the rows (default: all)" }, \
  { "distinct", NULL, "of equal rows one" }, \
  { "order-by", "COL[ desc][ nulls last][,...]", \
    "the order of rows or groups; of groups also by 'sum(x)' and the like" }, \
  { "order-by-key", NULL, "rows in the order of their key (default: as they lie)" }, \
  { "limit", "N", "at most so many rows or groups" }, \
  { "offset", "N", "without the first so many of them" }, \
  { "threads", "N", "how many threads may work on it (default: as many as it pays for)" }, \
  { "memory", "MIB", "what it may hold; more goes to a file beside the store (default: 1024)" }, \
  { "explain", NULL, "how the question was understood, what was read, what was skipped, how long it took" }
/* clang-format on */

#endif
