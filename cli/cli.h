/* cli.h - what every file of the command line tool shares: the command table, the open store, and how a failure is
 * told.
 *
 * A command is one Command: its words and options describe it in the help and are what the parser accepts. It runs once
 * in a process, so memory that is short ends the process with a message: an open transaction ends with it. */
#ifndef COLONNADE_CLI_H
#define COLONNADE_CLI_H

#include <colonnade/kvtable.h>

#include "cli/cli_arguments.h"

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_NOT_FOUND = 2 };

typedef struct Cli {
  const char *database; /* --db */
  int json;             /* --format json */
  int aligned;          /* --format aligned */
  int read_only;        /* --read-only */
  int sync_level;       /* --sync */
  uint32_t timeout_ms;  /* --timeout */
  KVStore *store;       /* NULL before cli_open; closed by the main function */
} Cli;

typedef struct Command {
  const char *name;
  const char *words;       /* after the name: "KEY VALUE" */
  const char *summary;     /* one line */
  const char *description; /* a paragraph for `help NAME` */
  const char *example;
  const OptionSpec *options; /* ends with a NULL name */
  size_t words_min, words_max;
  int (*run)(Cli *cli, const Arguments *arguments); /* gives the exit code */
} Command;

extern const Command command_put, command_get, command_del, command_exists, command_scan, command_count;
extern const Command command_import, command_query, command_get_row, command_insert, command_upsert, command_update,
  command_delete_row, command_drop;
extern const Command command_tables, command_info, command_check;

/* A store that is missing is made with CLI_OPEN_CREATE, and is a failure without. With CLI_OPEN_READ the store does no
 * work of its own in the background: a question is answered, and nothing else happens to the file. */
typedef enum CliOpen { CLI_OPEN_READ, CLI_OPEN_WRITE, CLI_OPEN_CREATE } CliOpen;
/* Opens cli->database. CLI_DONE, or the exit code after a message. */
int cli_open(Cli *cli, CliOpen how);
/* Opens a table of the open store. CLI_DONE, or the exit code after a message. */
int cli_open_table(Cli *cli, const char *name, KVTable **table);

/* Writes `colonnade: sentence` to stderr; gives CLI_FAILED. */
int cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same with what the store says of its last failure; CLI_NOT_FOUND for KVSTORE_NOTFOUND. `doing` may be NULL. */
int cli_fail_store(const Cli *cli, int code, const char *doing);
/* `message` and CLI_NOT_FOUND. */
int cli_not_found(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* malloc and realloc that end the process with a message when there is no memory. `count` of 0 is allowed. */
void *cli_allocate(size_t count, size_t size);
void *cli_reallocate(void *pointer, size_t count, size_t size);

/* Seconds of a clock that never goes back. */
double cli_seconds(void);

#endif
