/* cli_arguments.h - options and words of a command line.
 *
 * Options are `--name`, `--name value` or `--name=value`, anywhere before `--`; everything else is a word, also -5. */
#ifndef COLONNADE_CLI_ARGUMENTS_H
#define COLONNADE_CLI_ARGUMENTS_H

#include <stddef.h>
#include <stdint.h>

typedef struct OptionSpec {
  const char *name;  /* without the dashes; NULL ends a list */
  const char *value; /* what the help calls its value; NULL: it has none */
  const char *help;
} OptionSpec;

typedef struct OptionUse {
  const OptionSpec *option;
  const char *value;
} OptionUse;

typedef struct Arguments {
  const char **words;
  size_t word_count;
  OptionUse *uses; /* in the order of the command line */
  size_t use_count;
} Arguments;

/* The first word that is not the value of an option of `global`: the command; NULL when there is none. *unknown is the
 * first option before it that `global` does not have, or NULL. */
const char *arguments_command(const OptionSpec *global, int argc, char **argv, const char **unknown);

/* Parses everything but the first word; `own` may be NULL. 0, or 1 after a message. The result borrows argv. */
int arguments_parse(const OptionSpec *global, const OptionSpec *own, int argc, char **argv, Arguments *arguments);
void arguments_free(Arguments *arguments);

int arguments_has(const Arguments *arguments, const char *name);
/* The value of the last use; NULL when it was not used. */
const char *arguments_text(const Arguments *arguments, const char *name);
/* Reads the value of the last use into *number and leaves it alone when there was none. 0, or 1 after a message: not a
 * whole number from `minimum` to `maximum`. */
int arguments_number(const Arguments *arguments, const char *name, uint64_t minimum, uint64_t maximum,
                     uint64_t *number);
/* The parts between commas (those within parentheses do not count) of all uses, in order. The array and the characters
 * are one block, for free(). */
char **arguments_list(const Arguments *arguments, const char *name, size_t *count);
/* The same of columns and values to be computed, whose names and texts stand in quotes: those within do not count. */
char **arguments_values(const Arguments *arguments, const char *name, size_t *count);

#endif
