/* cli_main.c - the command line tool: global options, the command table, the help. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/cli_json.h"
#include "cli/cli_text.h"

const Command *const cli_commands[] = {
  &command_put,     &command_get,        &command_del,        &command_exists,
  &command_list,    &command_scan,       &command_count,      &command_set_if_absent,
  &command_ttl,     &command_purge,      &command_clear,      &command_txn,
  &command_cf,      &command_report,     &command_columns,    &command_import,
  &command_export,  &command_query,      &command_get_row,    &command_insert,
  &command_upsert,  &command_update,     &command_delete_row, &command_drop,
  &command_tables,  &command_info,       &command_stats,      &command_check,
  &command_sync,    &command_checkpoint, &command_vacuum,     &command_backup,
  &command_encrypt, &command_decrypt,    &command_rekey,      &command_completion,
  &command_manual,
};
const size_t cli_command_count = sizeof cli_commands / sizeof cli_commands[0];

const OptionSpec cli_global_options[] = {
  { "db", "FILE", "the store: one file (needed)" },
  { "cf", "FAMILY", "the family of keys (default: the store's own)" },
  { "format", "text|aligned|json", "how answers are written (default: text: aligned on a terminal, else with tabs)" },
  { "timeout", "MS", "how long to wait while another program writes (default: 5000)" },
  { "sync", "off|normal|full|background", "full: a write returns when it is on the disk (default: normal)" },
  { "journal", "wal|delete", "where the log lies while the store is open (default: wal)" },
  { "wal-limit", "N", "settle the log in the file after so many commits (default: when it asks for it)" },
  { "cache-size", "PAGES", "bound of the memory for blocks of the file, in pages (default: 2000)" },
  { "page-size", "BYTES", "what --cache-size counts in: 512 to 65536 (default: 4096)" },
  { "password-file", "FILE",
    "of an encrypted store: the first line of it, - for standard input (or: COLONNADE_PASSWORD)" },
  { "password", "TEXT", "the same; others may see it in the list of processes" },
  { "read-only", NULL, "refuse to write" },
  { "help", NULL, "this help; after a command, the help of that command" },
  { "version", NULL, "the version" },
  { NULL, NULL, NULL },
};

/* ---- shared with the commands ---- */

/* One sentence: what names and values it has may have line breaks, and worse. Nothing of the program's own allocates
 * here: this tells, too, that there is no memory. */
static void tell(const char *format, va_list arguments) {
  va_list again;
  va_copy(again, arguments);
  int length = vsnprintf(NULL, 0, format, arguments);
  char *message = length < 0 ? NULL : malloc((size_t)length + 1);
  if (message) vsnprintf(message, (size_t)length + 1, format, again);
  va_end(again);
  fflush(stdout);
  fputs("colonnade: ", stderr);
  text_print(stderr, message ? message : "there is not enough memory", 0);
  fputc('\n', stderr);
  free(message);
}

int cli_fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  tell(format, arguments);
  va_end(arguments);
  return CLI_FAILED;
}

int cli_not_found(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  tell(format, arguments);
  va_end(arguments);
  return CLI_NOT_FOUND;
}

int cli_fail_store(const Cli *cli, int code, const char *doing) {
  const char *text = kvstore_errmsg(cli->store);
  size_t said = doing ? strlen(doing) : 0;
  if (code == KVSTORE_NOTFOUND) text = kvstore_status_text(code);
  if (said && strncmp(text, doing, said) == 0 && strchr(": ", text[said])) doing = NULL; /* the text begins so */
  cli_fail("%s%s%s", doing ? doing : "", doing ? ": " : "", text);
  return code == KVSTORE_NOTFOUND ? CLI_NOT_FOUND : CLI_FAILED;
}

const char *cli_text_behind_row(const KVStoreError *error) {
  char row[32];
  int length = snprintf(row, sizeof row, "row %" PRId64, error->row);
  if (strncmp(error->text, row, (size_t)length) != 0 || !strchr(",:", error->text[length])) return error->text;
  return error->text[length] && error->text[length + 1] == ' ' ? error->text + length + 2 : error->text;
}

static void *need_memory(void *pointer) {
  if (!pointer) exit(cli_fail("there is not enough memory"));
  return pointer;
}

void *cli_allocate(size_t count, size_t size) { return need_memory(calloc(count ? count : 1, size)); }

void *cli_reallocate(void *pointer, size_t count, size_t size) {
  if (count > SIZE_MAX / size) return need_memory(NULL);
  return need_memory(realloc(pointer, count * size));
}

double cli_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int cli_is_there(const Cli *cli) {
  struct stat status;
  if (!cli->database) return cli_fail("which store? --db FILE names it");
  if (stat(cli->database, &status) == 0 || errno != ENOENT) return CLI_DONE;
  return cli_fail("there is no store %s; put and import make one", cli->database);
}

int cli_fail_open(const Cli *cli, int code) {
  int may_read = code == KVSTORE_READONLY && !cli->read_only && access(cli->database, R_OK) == 0;
  return cli_fail("%s cannot be opened: %s%s", cli->database, kvstore_errmsg(NULL),
                  may_read ? "; --read-only reads it without the right to write" : "");
}

int cli_try_open(Cli *cli, CliOpen how, const Secret *secret) {
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.read_only = cli->read_only;
  options.background_off = how == CLI_OPEN_READ;
  options.sync_level = cli->sync_level;
  options.journal_mode = cli->journal_mode;
  options.checkpoint_commits = cli->wal_limit;
  options.cache_bytes = cli->cache_bytes;
  options.busy_timeout_ms = cli->timeout_ms;
  if (secret && secret->bytes) {
    options.password = secret->bytes;
    options.password_length = (int)secret->length;
  }
  return kvstore_open_with(cli->database, &cli->store, &options);
}

int cli_close(Cli *cli) {
  int code = kvstore_close(cli->store);
  cli->store = NULL;
  return code;
}

/* A file that is there is opened as a plain store first: a password would encrypt a plain one, and only encrypt does.
 */
static int open_present(Cli *cli, CliOpen how) {
  int code = cli_try_open(cli, how, NULL);
  if (code == KVSTORE_OK && cli->secret.is_asked_for) {
    cli_close(cli);
    return cli_fail("%s is not encrypted; leave the password out, or encrypt it", cli->database);
  }
  if (code == KVSTORE_AUTH_FAILED) {
    if (!cli->secret.bytes && secret_ask(&secret_current, 0, &cli->secret)) return CLI_FAILED;
    code = cli_try_open(cli, how, &cli->secret);
  }
  return code == KVSTORE_OK ? CLI_DONE : cli_fail_open(cli, code);
}

int cli_open(Cli *cli, CliOpen how) {
  struct stat status;
  if (cli->database && how == CLI_OPEN_CREATE &&
      ((stat(cli->database, &status) != 0 && errno == ENOENT) || (S_ISREG(status.st_mode) && status.st_size == 0))) {
    int code = cli_try_open(cli, how, &cli->secret);
    return code == KVSTORE_OK ? CLI_DONE : cli_fail_open(cli, code);
  }
  int result = cli_is_there(cli);
  return result ? result : open_present(cli, how);
}

int cli_open_table(Cli *cli, const char *name, KVTable **table) {
  int code = kvtable_open(cli->store, name, table);
  if (code == KVSTORE_NOTFOUND) return cli_not_found("there is no table %s; colonnade tables lists them", name);
  if (code == KVSTORE_SCHEMA) return cli_fail("%s is a family of keys; report, get, put and scan work on those", name);
  return code == KVSTORE_OK ? CLI_DONE : cli_fail_store(cli, code, name);
}

int cli_find_family(Cli *cli, const char *name, int create, KVColumnFamily **family) {
  *family = NULL;
  int code = name ? kvstore_cf_open(cli->store, name, family) : kvstore_cf_get_default(cli->store, family);
  if (code == KVSTORE_NOTFOUND && create) code = kvstore_cf_create(cli->store, name, family);
  if (code == KVSTORE_NOTFOUND) return cli_not_found("there is no family %s; put --cf %s makes it", name, name);
  if (code == KVSTORE_SCHEMA) return cli_fail("%s is a table; query, get-row and upsert work on tables", name);
  return code == KVSTORE_OK ? CLI_DONE : cli_fail_store(cli, code, name);
}

int cli_open_family(Cli *cli, const Arguments *arguments, CliOpen how, KVColumnFamily **family) {
  *family = NULL;
  int result = cli_open(cli, how);
  return result ? result : cli_find_family(cli, arguments_text(arguments, "cf"), how == CLI_OPEN_CREATE, family);
}

int cli_not_a_key(const char *key, size_t length) {
  if (length && length <= KVSTORE_KEY_BYTES_MAX) return 0;
  cli_fail("a key has 1 to %d bytes, and %.16s%s has %zu", KVSTORE_KEY_BYTES_MAX, length ? key : "this one",
           length > 16 ? "..." : "", length);
  return 1;
}

int64_t cli_expiry_in(uint64_t seconds) { return seconds ? kvstore_now_ms() + (int64_t)(seconds * 1000) : 0; }

int cli_say_done(const Cli *cli, const char *member) {
  if (!cli->json) return CLI_DONE;
  Json json = { .file = stdout };
  json_open_object(&json, NULL);
  json_bool(&json, member, 1);
  json_close(&json);
  return CLI_DONE;
}

int cli_say_number(const Cli *cli, const char *member, uint64_t number) {
  if (cli->json) {
    Json json = { .file = stdout };
    json_open_object(&json, NULL);
    json_u64(&json, member, number);
    json_close(&json);
  } else {
    printf("%" PRIu64 "\n", number);
  }
  return CLI_DONE;
}

/* ---- help ---- */

const char *cli_group(const Command *command) {
  if (command == &command_put) return "keys and values";
  if (command == &command_import) return "tables";
  if (command == &command_tables) return "the store";
  return command == &command_completion ? "this program" : NULL;
}

static void print_options(const OptionSpec *options) {
  for (; options && options->name; options++) {
    char left[64];
    snprintf(left, sizeof left, "--%s%s%s", options->name, options->value ? " " : "",
             options->value ? options->value : "");
    if (strlen(left) > 24) {
      printf("  %s\n  %-24s  %s\n", left, "", options->help);
    } else {
      printf("  %-24s  %s\n", left, options->help);
    }
  }
}

static int print_help(void) {
  puts("colonnade: one file that keeps keys and values, and tables that filter and count fast\n"
       "\n"
       "usage: colonnade --db FILE COMMAND ...\n"
       "\n"
       "Three things to try:\n"
       "  colonnade --db my.db put greeting \"hello\"\n"
       "  colonnade --db my.db import flights.csv --table flights\n"
       "  colonnade --db my.db query flights --where \"dep_delay > 60 and carrier = 'UA'\" --count\n"
       "\n"
       "Commands (colonnade help COMMAND tells more, with an example):");
  for (size_t i = 0; i < cli_command_count; i++) {
    if (cli_group(cli_commands[i])) printf(" %s\n", cli_group(cli_commands[i]));
    printf("  %-14s %s\n", cli_commands[i]->name, cli_commands[i]->summary);
  }
  puts("\nOptions of every command:");
  print_options(cli_global_options);
  puts("\nExit codes: 0 done, 1 error, 2 not found.");
  return CLI_DONE;
}

static const Command *find_command(const char *name) {
  for (size_t i = 0; i < cli_command_count; i++)
    if (strcmp(cli_commands[i]->name, name) == 0) return cli_commands[i];
  return NULL;
}

/* Wraps a paragraph at 80 columns. */
static void print_paragraph(const char *text) {
  size_t column = 0;
  while (*text) {
    size_t word = strcspn(text, " ");
    if (column && column + 1 + word > 80) {
      putchar('\n');
      column = 0;
    }
    if (column) putchar(' ');
    fwrite(text, 1, word, stdout);
    column += word + (column ? 1 : 0);
    text += word;
    while (*text == ' ') text++;
  }
  putchar('\n');
}

static int print_command_help(const Command *command) {
  printf("colonnade %s: %s\n\nusage: colonnade%s %s%s%s%s\n\n", command->name, command->summary,
         command->without_store ? "" : " --db FILE", command->name, *command->words ? " " : "", command->words,
         command->options ? " [options]" : "");
  print_paragraph(command->description);
  printf("\nExample:\n  %s\n", command->example);
  if (command->options) {
    puts("\nOptions:");
    print_options(command->options);
  }
  puts(command->uses_family
         ? "\n--cf FAMILY chooses the family of keys. colonnade --help lists the options of every command."
         : "\ncolonnade --help lists the options of every command.");
  return CLI_DONE;
}

static int unknown_command(const char *name) {
  return cli_fail("there is no command %s; colonnade --help lists those there are", name);
}

/* ---- running a command ---- */

/* Reads the value of an option that is one of some words, apart by bars in its specification: its place among them into
 * *choice, which stays when the option was not used. 0, or 1 after a message. */
static int read_choice(const Arguments *arguments, const char *name, int *choice) {
  const char *text = arguments_text(arguments, name);
  if (!text) return 0;
  const OptionSpec *option = cli_global_options;
  while (strcmp(option->name, name) != 0) option++;
  size_t length = strlen(text);
  int place = 0;
  for (const char *word = option->value;; place++) {
    size_t word_length = strcspn(word, "|");
    if (word_length == length && memcmp(word, text, length) == 0) {
      *choice = place;
      return 0;
    }
    if (!word[word_length]) break;
    word += word_length + 1;
  }
  cli_fail("--%s is one of %s, not %s", name, option->value, text);
  return 1;
}

/* Pages of the file have 4096 bytes, whatever this says; refused is what no page could have. */
static int read_page_size(const Arguments *arguments, uint64_t *bytes) {
  if (arguments_number(arguments, "page-size", 512, 65536, bytes)) return 1;
  if ((*bytes & (*bytes - 1)) == 0) return 0;
  cli_fail("--page-size %" PRIu64 ": a power of two is needed", *bytes);
  return 1;
}

static int read_globals(Cli *cli, const Arguments *arguments) {
  int format = 0, sync = KVSTORE_SYNC_NORMAL, journal = 0;
  uint64_t timeout = 5000, wal_limit = 0, cache_pages = 0, page_bytes = 4096;
  if (read_choice(arguments, "format", &format) || read_choice(arguments, "sync", &sync) ||
      read_choice(arguments, "journal", &journal) || arguments_number(arguments, "timeout", 0, 86400000, &timeout) ||
      arguments_number(arguments, "wal-limit", 0, UINT32_MAX, &wal_limit) ||
      arguments_number(arguments, "cache-size", 0, INT32_MAX, &cache_pages) || read_page_size(arguments, &page_bytes))
    return CLI_FAILED;
  cli->database = arguments_text(arguments, "db");
  cli->read_only = arguments_has(arguments, "read-only");
  cli->aligned = format == 1;
  cli->json = format == 2;
  cli->sync_level = sync; /* in the order of KVSTORE_SYNC_* */
  cli->journal_mode = journal == 0 ? KVSTORE_JOURNAL_WAL : KVSTORE_JOURNAL_DELETE;
  cli->timeout_ms = (uint32_t)timeout;
  cli->wal_limit = (uint32_t)wal_limit;
  cli->cache_bytes = cache_pages * page_bytes;
  return 0;
}

/* A close that fails after a command that did not is that command's failure: what it wrote may not be settled. */
static int close_store(Cli *cli, int result) {
  if (!cli->store) return result;
  int code = cli_close(cli);
  if (code == KVSTORE_OK || result != CLI_DONE) return result;
  return cli_fail("%s was not closed cleanly: %s; the next command recovers it", cli->database,
                  kvstore_status_text(code));
}

static int run(const Command *command, const Arguments *arguments) {
  Cli cli = { 0 };
  int result = read_globals(&cli, arguments);
  if (result) return result;
  if (arguments->word_count < command->words_min || arguments->word_count > command->words_max) {
    return cli_fail("usage: colonnade%s %s%s%s (colonnade help %s tells more)",
                    command->without_store ? "" : " --db FILE", command->name, *command->words ? " " : "",
                    command->words, command->name);
  }
  if (arguments_has(arguments, "cf") && !command->uses_family)
    return cli_fail("--cf means nothing to %s, which works on no family of keys", command->name);
  if (!command->without_store && secret_find(&secret_current, arguments, &cli.secret)) return CLI_FAILED;
  result = close_store(&cli, command->run(&cli, arguments));
  secret_free(&cli.secret);
  return result;
}

static int run_line(int argc, char **argv) {
  const char *unknown;
  const char *name = arguments_command(cli_global_options, argc, argv, &unknown);
  int is_help = name && strcmp(name, "help") == 0;
  const Command *command = name ? find_command(name) : NULL;
  if (name && !command && !is_help) return unknown_command(name);
  Arguments arguments = { 0 };
  int result = arguments_parse(cli_global_options, command ? command->options : NULL, argc, argv, &arguments);
  if (result) {
    result = CLI_FAILED;
  } else if (arguments_has(&arguments, "version")) {
    puts("colonnade " COLONNADE_VERSION);
  } else if (is_help && arguments.word_count) {
    command = find_command(arguments.words[0]);
    result = command ? print_command_help(command) : unknown_command(arguments.words[0]);
  } else if (arguments_has(&arguments, "help") && command) {
    result = print_command_help(command);
  } else if (is_help || arguments_has(&arguments, "help")) {
    result = print_help();
  } else if (!command) {
    result = cli_fail("what should be done? colonnade --help lists the commands");
  } else {
    result = run(command, &arguments);
  }
  arguments_free(&arguments);
  return result;
}

/* Whoever reads no further knows; a command that failed has said why. */
static int close_answer(int result) {
  int had_failed = ferror(stdout), failed = fflush(stdout) != 0;
  if (result == CLI_FAILED || (failed && errno == EPIPE) || (!failed && !had_failed)) return result;
  return cli_fail("the answer could not be written: %s", failed ? strerror(errno) : "an earlier part of it failed");
}

/* What was closed stays unusable, but no file that is opened later takes its place: answers would be written into it.
 */
static void hold_standard_files(void) {
  for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; descriptor++)
    if (fcntl(descriptor, F_GETFD) < 0 && errno == EBADF)
      (void)open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int main(int argc, char **argv) {
  hold_standard_files();
  return close_answer(run_line(argc, argv));
}
