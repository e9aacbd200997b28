/* cli_manual.c - the manual page, written from the same tables as the help, so that neither can lack what the other
 * has. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

/* Text in roff: no character of it is a request or an escape. */
static void put_text(const char *text) {
  if (*text == '.' || *text == '\'') fputs("\\&", stdout);
  for (; *text; text++) {
    if (*text == '\\') {
      fputs("\\e", stdout);
    } else if (*text == '-') {
      fputs("\\-", stdout);
    } else {
      putchar(*text);
    }
  }
}

static void put_line(const char *request, const char *text) {
  fputs(request, stdout);
  put_text(text);
  putchar('\n');
}

static void put_options(const OptionSpec *options) {
  for (; options && options->name; options++) {
    fputs(".TP\n\\fB\\-\\-", stdout);
    put_text(options->name);
    fputs("\\fR", stdout);
    if (options->value) {
      fputs(" \\fI", stdout);
      put_text(options->value);
      fputs("\\fR", stdout);
    }
    putchar('\n');
    put_line("", options->help);
  }
}

static void put_example(const char *example) {
  puts(".PP\n.EX");
  put_line("", example);
  puts(".EE");
}

static void put_command(const Command *command) {
  fputs(".SS ", stdout);
  put_text(command->name);
  if (*command->words) {
    putchar(' ');
    put_text(command->words);
  }
  fputs("\n", stdout);
  printf("%c",
         *command->summary >= 'a' && *command->summary <= 'z' ? *command->summary - 'a' + 'A' : *command->summary);
  put_text(command->summary + 1);
  puts(".\n.PP");
  put_line("", command->description);
  put_options(command->options);
  put_example(command->example);
}

static void put_opening(void) {
  puts(".TH COLONNADE 1 \"\" \"colonnade " COLONNADE_VERSION "\" \"User Commands\"\n"
       ".SH NAME\n"
       "colonnade \\- one file that keeps keys and values, and tables that filter and count fast\n"
       ".SH SYNOPSIS\n"
       ".B colonnade \\-\\-db\n.I FILE COMMAND\n.RI [ WORDS ]\n.RI [ OPTIONS ]\n"
       ".SH DESCRIPTION\n"
       "Does from a shell what the library Colonnade does from C. A store is one file, with\n"
       ".IR FILE \\-wal\n(not in journal mode delete) and\n.I FILE\\-shm\nbeside it while it is open. Any number of "
       "programs may read and write it at once.\n"
       ".PP\n"
       "Options stand anywhere before\n.BR \\-\\- ;\nwhat follows that is words, also when they look like options.\n"
       ".SH OPTIONS\n"
       "Every command takes these.");
}

static void put_closing(void) {
  puts(
    ".SH OUTPUT\n"
    "Answers go to standard output, failures to standard error as one sentence. Text is written as it is, but for\n"
    "its control characters; bytes that are no UTF\\-8 are written as\n.BR <hex:AABB> .\nWith\n.B \\-\\-format json\n"
    "standard output holds one JSON document.\n"
    ".SH EXIT STATUS\n"
    ".TP\n.B 0\ndone\n"
    ".TP\n.B 1\nan error\n"
    ".TP\n.B 2\nthe key, row, family or table is not there\n"
    ".SH EXAMPLES\n"
    "Keep a value for an hour, and ask for it:");
  put_example("colonnade --db my.db put session:42 Ada --ttl 3600");
  put_example("colonnade --db my.db get session:42");
  puts(".PP\nMake a table from a file, and count:");
  put_example("colonnade --db air.db import flights.csv --table flights");
  put_example("colonnade --db air.db query flights --where \"dep_delay > 60 and carrier = 'UA'\" --count");
}

static int run_manual(Cli *cli, const Arguments *arguments) {
  (void)cli;
  (void)arguments;
  put_opening();
  put_options(cli_global_options);
  puts(".SH COMMANDS");
  for (size_t i = 0; i < cli_command_count; i++) put_command(cli_commands[i]);
  put_closing();
  return CLI_DONE;
}

const Command command_manual = {
  .name = "manual",
  .words = "",
  .summary = "print the manual page",
  .description =
    "As the source of a manual page, for man -l or a printer. Installed beside the program as colonnade(1).",
  .example = "colonnade manual",
  .options = NULL,
  .words_min = 0,
  .words_max = 0,
  .without_store = 1,
  .run = run_manual,
};
