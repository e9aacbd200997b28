/* cli_join.h - the options that join tables to a query's own. */
#ifndef COLONNADE_CLI_JOIN_H
#define COLONNADE_CLI_JOIN_H

#include "cli/cli.h"

#define QUERY_OPTIONS_OF_JOINS                                                                             \
  { "join", "TABLE", "join another table; once for each" },                                                \
    { "on", "COL=COL[,...]", "of the last --join: which columns are equal, those of TABLE behind the =" }, \
    { "kind", "KIND", "of the last --join: inner (the default), left, semi or anti" },                     \
    { "prefix", "TEXT", "of the last --join: before the names of its columns" }, {                         \
    "join-where", "TEXT", "of the last --join: only its rows for which this is true"                       \
  }

/* Joins what the options say, in their order. CLI_DONE, or CLI_FAILED after a message. */
int joins_set(Cli *cli, KVQuery *query, const Arguments *arguments);

#endif
