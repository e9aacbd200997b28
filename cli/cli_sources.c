/* cli_sources.c - columns over keys and values, read from a command line. */
#include "cli/cli_sources.h"

#include <stdlib.h>
#include <string.h>

#include "cli/cli_value.h"

char *sources_text(Sources *sources, const char *from, size_t length) {
  char *text = cli_allocate(length + 1, 1);
  memcpy(text, from, length);
  if (sources->text_count == sources->text_capacity) {
    sources->text_capacity = 2 * sources->text_capacity + 8;
    sources->texts = cli_reallocate(sources->texts, sources->text_capacity, sizeof *sources->texts);
  }
  return sources->texts[sources->text_count++] = text;
}

void sources_free(Sources *sources) {
  for (size_t i = 0; i < sources->text_count; i++) free(sources->texts[i]);
  free(sources->texts);
  free(sources->columns);
}

static int starts(const char *text, const char *word) { return strncmp(text, word, strlen(word)) == 0; }

int source_is_one(const char *name) { return starts(name, "part(") || starts(name, "at(") || starts(name, "json("); }

static void add_column(Sources *sources, const char *name, const char *source, int type, uint32_t width) {
  for (size_t i = 0; i < sources->count; i++)
    if (strcmp(sources->columns[i].name, name) == 0) return;
  if (sources->count == sources->capacity) {
    sources->capacity = 2 * sources->capacity + 8;
    sources->columns = cli_reallocate(sources->columns, sources->capacity, sizeof *sources->columns);
  }
  sources->columns[sources->count++] = (KVPairColumn){ name, source, type, width };
}

/* The parenthesis that ends a source: that before a type, which may have its own, decimal(18,2), or the last. */
static const char *source_end(const char *text) {
  const char *end = strrchr(text, ')'), *typed = strstr(text, "):decimal(");
  return typed && end && !end[1] ? typed : end;
}

/* `json(temp)` or `json(temp):i64`. CLI_DONE, or CLI_FAILED after a message. */
int sources_add(Sources *sources, const char *name, size_t name_length, const char *text, int usual) {
  const char *end = source_end(text);
  int type = usual;
  uint32_t width = 0;
  if (!end) return cli_fail("%s: a source ends with )", text);
  if (end[1] == ':') {
    if (!type_read(end + 2, &type, &width)) return cli_fail("%s: there is no type %s", text, end + 2);
  } else if (end[1]) {
    return cli_fail("%s: behind a source stands nothing, or a colon and a type", text);
  } else if (starts(text, "at(")) {
    return cli_fail("%s: what stands there? Say its type: %s:i64", text, text);
  } else if (starts(text, "part(")) {
    type = KVTABLE_TYPE_NONE; /* as it is declared, or a string */
  }
  add_column(sources, sources_text(sources, name, name_length), sources_text(sources, text, (size_t)(end + 1 - text)),
             type, width);
  return CLI_DONE;
}

int sources_add_named(Sources *sources, const char *what, const char *text) {
  const char *equals = strchr(text, '=');
  if (!equals || equals == text || !source_is_one(equals + 1))
    return cli_fail("%s%s: give NAME=part(N), NAME=at(OFFSET):TYPE or NAME=json(PATH)", what, text);
  return sources_add(sources, text, (size_t)(equals - text), equals + 1, KVTABLE_TYPE_NONE);
}
