/* cli_main.c - the command line tool: global options, the command table, the help. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cli/cli.h"

static const Command *const commands[] = {
  &command_put,        &command_get,   &command_del,     &command_exists, &command_scan,   &command_count,
  &command_import,     &command_query, &command_get_row, &command_insert, &command_upsert, &command_update,
  &command_delete_row, &command_drop,  &command_tables,  &command_info,   &command_check,
};
static const size_t command_count_all = sizeof commands / sizeof commands[0];

static const OptionSpec global_options[] = {
  { "db", "FILE", "the store: one file (needed)" },
  { "format", "text|aligned|json", "how answers are written (default: text: aligned on a terminal, else with tabs)" },
  { "timeout", "MS", "how long to wait while another program writes (default: 5000)" },
  { "sync", "off|normal|full", "full: a write returns when it is on the disk (default: normal)" },
  { "read-only", NULL, "refuse to write" },
  { "help", NULL, "this help; after a command, the help of that command" },
  { "version", NULL, "the version" },
  { NULL, NULL, NULL },
};

/* ---- shared with the commands ---- */

int cli_fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fflush(stdout);
  fputs("colonnade: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  return CLI_FAILED;
}

int cli_not_found(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fflush(stdout);
  fputs("colonnade: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  return CLI_NOT_FOUND;
}

int cli_fail_store(const Cli *cli, int code, const char *doing) {
  const char *text = kvstore_errmsg(cli->store);
  if (code == KVSTORE_NOTFOUND) text = kvstore_status_text(code);
  cli_fail("%s%s%s", doing ? doing : "", doing ? ": " : "", text);
  return code == KVSTORE_NOTFOUND ? CLI_NOT_FOUND : CLI_FAILED;
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

int cli_open(Cli *cli, CliOpen how) {
  if (!cli->database) return cli_fail("which store? --db FILE names it");
  struct stat status;
  if (how != CLI_OPEN_CREATE && stat(cli->database, &status) != 0 && errno == ENOENT)
    return cli_fail("there is no store %s; put and import make one", cli->database);
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.read_only = cli->read_only;
  options.background_off = how == CLI_OPEN_READ;
  options.sync_level = cli->sync_level;
  options.busy_timeout_ms = cli->timeout_ms;
  int code = kvstore_open_with(cli->database, &cli->store, &options);
  if (code == KVSTORE_OK) return CLI_DONE;
  return cli_fail("%s cannot be opened: %s", cli->database, kvstore_errmsg(NULL));
}

int cli_open_table(Cli *cli, const char *name, KVTable **table) {
  int code = kvtable_open(cli->store, name, table);
  if (code == KVSTORE_NOTFOUND) return cli_not_found("there is no table %s; colonnade tables lists them", name);
  return code == KVSTORE_OK ? CLI_DONE : cli_fail_store(cli, code, name);
}

/* ---- help ---- */

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
  for (size_t i = 0; i < command_count_all; i++) {
    if (commands[i] == &command_put) puts(" keys and values");
    if (commands[i] == &command_import) puts(" tables");
    if (commands[i] == &command_tables) puts(" the store");
    printf("  %-12s %s\n", commands[i]->name, commands[i]->summary);
  }
  puts("\nOptions of every command:");
  print_options(global_options);
  puts("\nExit codes: 0 done, 1 error, 2 not found.");
  return CLI_DONE;
}

static const Command *find_command(const char *name) {
  for (size_t i = 0; i < command_count_all; i++)
    if (strcmp(commands[i]->name, name) == 0) return commands[i];
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
  printf("colonnade %s: %s\n\nusage: colonnade --db FILE %s%s%s%s\n\n", command->name, command->summary, command->name,
         *command->words ? " " : "", command->words, command->options ? " [options]" : "");
  print_paragraph(command->description);
  printf("\nExample:\n  %s\n", command->example);
  if (command->options) {
    puts("\nOptions:");
    print_options(command->options);
  }
  return CLI_DONE;
}

static int unknown_command(const char *name) {
  return cli_fail("there is no command %s; colonnade --help lists those there are", name);
}

/* ---- running a command ---- */

static int read_globals(Cli *cli, const Arguments *arguments) {
  cli->database = arguments_text(arguments, "db");
  cli->read_only = arguments_has(arguments, "read-only");
  const char *format = arguments_text(arguments, "format");
  cli->json = format && strcmp(format, "json") == 0;
  cli->aligned = format && strcmp(format, "aligned") == 0;
  if (format && !cli->json && !cli->aligned && strcmp(format, "text") != 0)
    return cli_fail("--format is text, aligned or json, not %s", format);
  const char *sync = arguments_text(arguments, "sync");
  cli->sync_level = KVSTORE_SYNC_NORMAL;
  if (sync && strcmp(sync, "off") == 0) {
    cli->sync_level = KVSTORE_SYNC_OFF;
  } else if (sync && strcmp(sync, "full") == 0) {
    cli->sync_level = KVSTORE_SYNC_FULL;
  } else if (sync && strcmp(sync, "normal") != 0) {
    return cli_fail("--sync is off, normal or full, not %s", sync);
  }
  uint64_t timeout = 5000;
  if (arguments_number(arguments, "timeout", 0, 86400000, &timeout)) return CLI_FAILED;
  cli->timeout_ms = (uint32_t)timeout;
  return 0;
}

/* A close that fails after a command that did not is that command's failure: what it wrote may not be settled. */
static int close_store(Cli *cli, int result) {
  if (!cli->store) return result;
  int code = kvstore_close(cli->store);
  if (code == KVSTORE_OK || result != CLI_DONE) return result;
  return cli_fail("%s was not closed cleanly: %s; the next command recovers it", cli->database,
                  kvstore_status_text(code));
}

static int run(const Command *command, const Arguments *arguments) {
  Cli cli = { 0 };
  int result = read_globals(&cli, arguments);
  if (result) return result;
  if (arguments->word_count < command->words_min || arguments->word_count > command->words_max) {
    return cli_fail("usage: colonnade --db FILE %s %s (colonnade help %s tells more)", command->name, command->words,
                    command->name);
  }
  result = close_store(&cli, command->run(&cli, arguments));
  if (fflush(stdout) != 0 || ferror(stdout)) {
    if (errno != EPIPE) return cli_fail("the answer could not be written: %s", strerror(errno));
  }
  return result;
}

static int run_line(int argc, char **argv) {
  const char *unknown;
  const char *name = arguments_command(global_options, argc, argv, &unknown);
  int is_help = name && strcmp(name, "help") == 0;
  const Command *command = name ? find_command(name) : NULL;
  if (name && !command && !is_help) return unknown_command(name);
  Arguments arguments = { 0 };
  int result = arguments_parse(global_options, command ? command->options : NULL, argc, argv, &arguments);
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

int main(int argc, char **argv) { return run_line(argc, argv); }
