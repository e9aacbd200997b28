/* cli_completion.c - completion of commands, options and their values by a shell, from the same tables as the help.
 *
 * bash and zsh get one script (zsh runs it through its bashcompinit), fish its own. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

/* A word that is one of several, apart by bars: text|json. Others are what the user thinks of: FILE, N. */
static int is_choice(const char *value) { return value && strchr(value, '|') != NULL; }

/* The alternatives with a space between, up to the first space. */
static void put_choices(const char *value) {
  for (; *value && *value != ' '; value++) putchar(*value == '|' ? ' ' : *value);
}

static int is_file(const char *value) { return value && strcmp(value, "FILE") == 0; }

/* Calls `put` for every option there is; `command` is NULL for those of every command. */
static void for_each_option(void (*put)(const OptionSpec *option, const Command *command)) {
  for (const OptionSpec *option = cli_global_options; option->name; option++) put(option, NULL);
  for (size_t i = 0; i < cli_command_count; i++)
    for (const OptionSpec *option = cli_commands[i]->options; option && option->name; option++)
      put(option, cli_commands[i]);
}

/* ---- bash, zsh ---- */

static void put_value_case(const OptionSpec *option, const Command *command) {
  if (!option->value) return;
  if (command) {
    printf("    %s,--%s) ", command->name, option->name);
  } else {
    printf("    *,--%s) ", option->name);
  }
  if (is_choice(option->value)) {
    fputs("COMPREPLY=($(compgen -W '", stdout);
    put_choices(option->value);
    puts("' -- \"$cur\")); return ;;");
  } else if (is_file(option->value)) {
    puts("COMPREPLY=($(compgen -f -- \"$cur\")); return ;;");
  } else {
    puts("return ;;");
  }
}

static void put_taking_value(const OptionSpec *option, const Command *command) {
  if (!command && option->value) printf("%s--%s", option == cli_global_options ? "" : "|", option->name);
}

static void put_option_words(const OptionSpec *options) {
  for (; options && options->name; options++) printf(" --%s", options->name);
}

static void put_command_names(void) {
  for (size_t i = 0; i < cli_command_count; i++) printf("%s ", cli_commands[i]->name);
  fputs("help", stdout);
}

static void put_bash(void) {
  puts("_colonnade() {\n"
       "  local cur prev command= i words=\n"
       "  cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
       "  COMPREPLY=()\n"
       "  if [[ $cur == = ]]; then cur=; fi  # --option=value comes as three words\n"
       "  if [[ $prev == = ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi\n"
       "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
       "    case ${COMP_WORDS[i]} in");
  fputs("      ", stdout);
  for_each_option(put_taking_value);
  puts(") [[ ${COMP_WORDS[i+1]} == = ]] && ((i++)); ((i++)) ;;\n"
       "      -*|=) ;;\n"
       "      *) command=${COMP_WORDS[i]}; break ;;\n"
       "    esac\n"
       "  done\n"
       "  case $command,$prev in");
  for_each_option(put_value_case);
  puts("  esac\n"
       "  if [[ $cur == -* ]]; then\n"
       "    case $command in");
  for (size_t i = 0; i < cli_command_count; i++) {
    if (!cli_commands[i]->options) continue;
    printf("      %s) words='", cli_commands[i]->name);
    put_option_words(cli_commands[i]->options);
    puts("' ;;");
  }
  fputs("    esac\n    words=\"$words", stdout);
  put_option_words(cli_global_options);
  puts("\"\n"
       "  else\n"
       "    case $command in");
  fputs("      ''|help) words='", stdout);
  put_command_names();
  puts("' ;;");
  for (size_t i = 0; i < cli_command_count; i++) {
    if (!is_choice(cli_commands[i]->words)) continue;
    printf("      %s) words='", cli_commands[i]->name);
    put_choices(cli_commands[i]->words);
    puts("' ;;");
  }
  puts("      *) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n"
       "    esac\n"
       "  fi\n"
       "  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
       "}\n"
       "complete -o filenames -F _colonnade colonnade");
}

static void put_zsh(void) {
  puts("#compdef colonnade\n"
       "autoload -U +X bashcompinit && bashcompinit");
  put_bash();
}

/* ---- fish ---- */

/* In single quotes. */
static void put_quoted(const char *text) {
  putchar('\'');
  for (; *text; text++) {
    if (*text == '\'' || *text == '\\') putchar('\\');
    putchar(*text);
  }
  putchar('\'');
}

static void put_fish_option(const OptionSpec *option, const Command *command) {
  fputs("complete -c colonnade", stdout);
  if (command) printf(" -n '__fish_seen_subcommand_from %s'", command->name);
  printf(" -l %s", option->name);
  if (is_choice(option->value)) {
    fputs(" -x -a '", stdout);
    put_choices(option->value);
    putchar('\'');
  } else if (option->value) {
    fputs(is_file(option->value) ? " -r -F" : " -x", stdout);
  }
  fputs(" -d ", stdout);
  put_quoted(option->help);
  putchar('\n');
}

static void put_fish(void) {
  fputs("set -l commands ", stdout);
  put_command_names();
  putchar('\n');
  for (size_t i = 0; i < cli_command_count; i++) {
    printf("complete -c colonnade -f -n \"not __fish_seen_subcommand_from $commands\" -a %s -d ",
           cli_commands[i]->name);
    put_quoted(cli_commands[i]->summary);
    putchar('\n');
    if (!is_choice(cli_commands[i]->words)) continue;
    printf("complete -c colonnade -f -n '__fish_seen_subcommand_from %s' -a '", cli_commands[i]->name);
    put_choices(cli_commands[i]->words);
    puts("'");
  }
  puts("complete -c colonnade -f -n \"not __fish_seen_subcommand_from $commands\" -a help -d 'what a command does'\n"
       "complete -c colonnade -f -n '__fish_seen_subcommand_from help' -a \"$commands\"");
  for_each_option(put_fish_option);
}

static int run_completion(Cli *cli, const Arguments *arguments) {
  (void)cli;
  const char *shell = arguments->words[0];
  if (strcmp(shell, "bash") == 0) {
    put_bash();
  } else if (strcmp(shell, "zsh") == 0) {
    put_zsh();
  } else if (strcmp(shell, "fish") == 0) {
    put_fish();
  } else {
    return cli_fail("completion is for bash, zsh or fish, not %s", shell);
  }
  return CLI_DONE;
}

const Command command_completion = {
  .name = "completion",
  .words = "bash|zsh|fish",
  .summary = "print a script that completes commands and options",
  .description =
    "For the shell to read at its start. Where colonnade was installed with its prefix, bash, zsh and fish "
    "find the script by themselves.",
  .example = "colonnade completion bash",
  .options = NULL,
  .words_min = 1,
  .words_max = 1,
  .without_store = 1,
  .run = run_completion,
};
