/* cli_key_range.h - the options that restrict a query to a range of keys. */
#ifndef COLONNADE_CLI_KEY_RANGE_H
#define COLONNADE_CLI_KEY_RANGE_H

#include "cli/cli.h"

/* Restricts the query by --key-prefix, or by --key-from and --key-to, if they are there. CLI_DONE, or CLI_FAILED after
 * a message. */
int key_range_set(Cli *cli, KVTable *table, KVQuery *query, const Arguments *arguments);

#endif
