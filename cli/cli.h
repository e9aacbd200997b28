/* cli.h - what every file of the command line tool shares: the command table, the open store, and how a failure is
 * told.
 *
 * A command is one Command: its words and options describe it in the help and are what the parser accepts. It runs once
 * in a process, so memory that is short ends the process with a message: an open transaction ends with it. */
#ifndef COLONNADE_CLI_H
#define COLONNADE_CLI_H

#include <colonnade/kvtable.h>

#include "cli/cli_arguments.h"
#include "cli/cli_secret.h"
#include "cli/cli_text.h"

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_NOT_FOUND = 2 };

typedef struct Cli {
  const char *database; /* --db */
  int json;             /* --format json */
  int aligned;          /* --format aligned */
  int read_only;        /* --read-only */
  int sync_level;       /* --sync */
  int journal_mode;     /* --journal */
  uint32_t timeout_ms;  /* --timeout */
  uint32_t wal_limit;   /* --wal-limit */
  uint64_t cache_bytes; /* --cache-size times --page-size; 0: the library's */
  Secret secret;        /* --password and its like */
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
  int uses_family;                                  /* --cf means something to it */
  int without_store;                                /* it opens none */
  int (*run)(Cli *cli, const Arguments *arguments); /* gives the exit code */
} Command;

extern const Command command_put, command_get, command_del, command_exists, command_list, command_scan, command_count,
  command_clear, command_set_if_absent, command_ttl, command_purge, command_txn, command_cf, command_report,
  command_columns;
extern const Command command_import, command_export, command_query, command_get_row, command_insert, command_upsert,
  command_update, command_delete_row, command_drop;
extern const Command command_tables, command_info, command_stats, command_check, command_sync, command_checkpoint,
  command_vacuum, command_backup, command_encrypt, command_decrypt, command_rekey, command_completion, command_manual;

/* Every command, in the order of the help; and the options that all of them take. */
extern const Command *const cli_commands[];
extern const size_t cli_command_count;
extern const OptionSpec cli_global_options[];
/* The heading of the group that `command` begins, or NULL. */
const char *cli_group(const Command *command);

/* A store that is missing is made with CLI_OPEN_CREATE, and is a failure without. With CLI_OPEN_READ the store does no
 * work of its own in the background: a question is answered, and nothing else happens to the file. */
typedef enum CliOpen { CLI_OPEN_READ, CLI_OPEN_WRITE, CLI_OPEN_CREATE } CliOpen;
/* Opens cli->database, with cli->secret when it is encrypted, or when it is made; without one the terminal is asked.
 * CLI_DONE, or the exit code after a message. */
int cli_open(Cli *cli, CliOpen how);
/* The same with this password (NULL: none) and without a message: a KVSTORE_* code. A plain store that is there and
 * opened with a password is encrypted by it. */
int cli_try_open(Cli *cli, CliOpen how, const Secret *secret);
/* A KVSTORE_* code; nothing is said. */
int cli_close(Cli *cli);
/* CLI_DONE when --db names a file that is there, or the exit code after a message. */
int cli_is_there(const Cli *cli);
/* Says that the store cannot be opened, and why; `code` is what the opening gave. Who may read it and not write it is
 * told of --read-only. */
int cli_fail_open(const Cli *cli, int code);
/* Opens the store and the family of --cf; a missing family is made when the store may be made too. */
int cli_open_family(Cli *cli, const Arguments *arguments, CliOpen how, KVColumnFamily **family);
/* The family in the open store: `name` NULL is the default one; a missing one is made when `create` is not 0. */
int cli_find_family(Cli *cli, const char *name, int create, KVColumnFamily **family);
/* Whether a key has a length that no key has; says so. */
int cli_not_a_key(const char *key, size_t length);
/* With --format json: {"member": true}. Gives CLI_DONE. */
int cli_say_done(const Cli *cli, const char *member);
/* The number alone, or {"member": number}. Gives CLI_DONE. */
int cli_say_number(const Cli *cli, const char *member, uint64_t number);
/* When a key is to expire; 0: never. */
int64_t cli_expiry_in(uint64_t seconds);
#define CLI_TTL_SECONDS_MAX UINT64_C(3153600000) /* a hundred years */

/* Opens a table of the open store. CLI_DONE, or the exit code after a message. */
int cli_open_table(Cli *cli, const char *name, KVTable **table);

/* Writes `colonnade: sentence` to stderr; gives CLI_FAILED. */
int cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same with what the store says of its last failure; CLI_NOT_FOUND for KVSTORE_NOTFOUND. `doing` may be NULL. */
int cli_fail_store(const Cli *cli, int code, const char *doing);
/* What the failure says behind the number of its row, which is that of a batch. */
const char *cli_text_behind_row(const KVStoreError *error);
/* `message` and CLI_NOT_FOUND. */
int cli_not_found(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* malloc and realloc that end the process with a message when there is no memory. `count` of 0 is allowed. */
void *cli_allocate(size_t count, size_t size);
void *cli_reallocate(void *pointer, size_t count, size_t size);

/* Seconds of a clock that never goes back. */
double cli_seconds(void);

#endif
