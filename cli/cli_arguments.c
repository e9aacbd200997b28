#include "cli/cli_arguments.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static int is_option(const char *argument) { return argument[0] == '-' && argument[1] == '-' && argument[2]; }

/* The option that `argument` names; *value is what follows an `=` in it, or NULL. */
static const OptionSpec *find_option(const OptionSpec *list, const char *argument, const char **value) {
  const char *name = argument + 2;
  size_t length = strcspn(name, "=");
  *value = name[length] ? name + length + 1 : NULL;
  for (const OptionSpec *option = list; option && option->name; option++)
    if (strlen(option->name) == length && memcmp(option->name, name, length) == 0) return option;
  return NULL;
}

const char *arguments_command(const OptionSpec *global, int argc, char **argv, const char **unknown) {
  *unknown = NULL;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--") == 0) continue;
    if (!is_option(argv[i])) return argv[i];
    const char *value;
    const OptionSpec *option = find_option(global, argv[i], &value);
    if (!option && !*unknown) *unknown = argv[i];
    if (option && option->value && !value) i++;
  }
  return NULL;
}

/* Of other options the last use counts; a filter that is not asked would give rows that nobody wanted. */
static int is_filter_again(const Arguments *arguments, const OptionSpec *option) {
  int is_filter = strcmp(option->name, "where") == 0 || strcmp(option->name, "having") == 0;
  return is_filter && arguments_has(arguments, option->name);
}

int arguments_parse(const OptionSpec *global, const OptionSpec *own, int argc, char **argv, Arguments *arguments) {
  arguments->words = cli_allocate((size_t)argc, sizeof *arguments->words);
  arguments->uses = cli_allocate((size_t)argc, sizeof *arguments->uses);
  arguments->word_count = arguments->use_count = 0;
  int only_words = 0;
  int command_passed = 0;
  for (int i = 1; i < argc; i++) {
    if (!only_words && strcmp(argv[i], "--") == 0) {
      only_words = 1;
      continue;
    }
    if (only_words || !is_option(argv[i])) {
      if (command_passed) arguments->words[arguments->word_count++] = argv[i];
      command_passed = 1;
      continue;
    }
    const char *value;
    const OptionSpec *option = find_option(own, argv[i], &value);
    if (!option) option = find_option(global, argv[i], &value);
    if (!option) {
      cli_fail("there is no option %s here; --help lists those there are, and -- begins words that look like options",
               argv[i]);
      return 1;
    }
    if (!option->value && value) {
      cli_fail("--%s takes no value", option->name);
      return 1;
    }
    if (option->value && !value) {
      if (i + 1 == argc) {
        cli_fail("--%s needs a value: --%s %s", option->name, option->name, option->value);
        return 1;
      }
      value = argv[++i];
    }
    if (is_filter_again(arguments, option)) {
      cli_fail("--%s is there twice: one filter can have all of it, joined by `and`", option->name);
      return 1;
    }
    arguments->uses[arguments->use_count++] = (OptionUse){ option, value };
  }
  return 0;
}

void arguments_free(Arguments *arguments) {
  free(arguments->words);
  free(arguments->uses);
  memset(arguments, 0, sizeof *arguments);
}

static const OptionUse *last_use(const Arguments *arguments, const char *name) {
  for (size_t i = arguments->use_count; i-- > 0;)
    if (strcmp(arguments->uses[i].option->name, name) == 0) return &arguments->uses[i];
  return NULL;
}

int arguments_has(const Arguments *arguments, const char *name) { return last_use(arguments, name) != NULL; }

const char *arguments_text(const Arguments *arguments, const char *name) {
  const OptionUse *use = last_use(arguments, name);
  return use ? use->value : NULL;
}

int arguments_number(const Arguments *arguments, const char *name, uint64_t minimum, uint64_t maximum,
                     uint64_t *number) {
  const char *text = arguments_text(arguments, name);
  if (!text) return 0;
  char *end = NULL;
  errno = 0;
  unsigned long long read = strtoull(text, &end, 10);
  int digits = text[0] >= '0' && text[0] <= '9' && *end == '\0';
  if (!digits || errno == ERANGE || read < minimum || read > maximum) {
    cli_fail("--%s %s: a whole number from %" PRIu64 " to %" PRIu64 " is needed", name, text, minimum, maximum);
    return 1;
  }
  *number = read;
  return 0;
}

/* Where a list has been read to. */
typedef struct ListScan {
  int of_values; /* quotes count outside of parentheses, too */
  int depth;
  char quote, before;
} ListScan;

/* Not behind a letter or digit: "it's" is a name, x'00ff' has no comma. */
static int begins_quote(const ListScan *scan, char c) {
  if (c != '\'' && c != '"') return 0;
  int before = (unsigned char)scan->before;
  return scan->depth || (scan->of_values && !isalnum(before) && before != '_' && before < 0x80);
}

/* Is this character a comma that stands outside of parentheses and quotes? They close again, or divide nothing. */
static int divides_list(char c, ListScan *scan) {
  if (scan->quote) {
    if (c == scan->quote) scan->quote = 0;
  } else if (begins_quote(scan, c)) {
    scan->quote = c;
  } else if (c == '(') {
    scan->depth++;
  } else if (c == ')' && scan->depth) {
    scan->depth--;
  }
  scan->before = c;
  return c == ',' && !scan->depth && !scan->quote;
}

static char **list_of(const Arguments *arguments, const char *name, int of_values, size_t *count) {
  size_t bytes = 0;
  size_t parts = 0;
  for (size_t i = 0; i < arguments->use_count; i++) {
    if (strcmp(arguments->uses[i].option->name, name) != 0) continue;
    const char *value = arguments->uses[i].value;
    bytes += strlen(value) + 1;
    parts++;
    parts += strlen(value);
  }
  char **list = cli_allocate(parts * sizeof *list + bytes, 1);
  char *at = (char *)(list + parts);
  *count = 0;
  for (size_t i = 0; i < arguments->use_count; i++) {
    if (strcmp(arguments->uses[i].option->name, name) != 0) continue;
    const char *value = arguments->uses[i].value;
    ListScan scan = { .of_values = of_values };
    list[(*count)++] = at;
    for (; *value; value++) {
      int divides = divides_list(*value, &scan);
      *at++ = divides ? '\0' : *value;
      if (divides) list[(*count)++] = at;
    }
    *at++ = '\0';
  }
  return list;
}

char **arguments_list(const Arguments *arguments, const char *name, size_t *count) {
  return list_of(arguments, name, 0, count);
}

char **arguments_values(const Arguments *arguments, const char *name, size_t *count) {
  return list_of(arguments, name, 1, count);
}
