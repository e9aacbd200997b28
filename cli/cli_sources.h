/* cli_sources.h - columns over keys and values as a command line names them: `part(1)`, `json(temp):i64`,
 * `temp=json(temp)`. */
#ifndef COLONNADE_CLI_SOURCES_H
#define COLONNADE_CLI_SOURCES_H

#include "cli/cli.h"

typedef struct Sources { /* begins with zeros */
  KVPairColumn *columns;
  size_t count, capacity;
  char **texts; /* what they point to */
  size_t text_count, text_capacity;
} Sources;

void sources_free(Sources *sources);
/* A copy that lives as long as they. */
char *sources_text(Sources *sources, const char *from, size_t length);
/* Whether a text begins as a source does. */
int source_is_one(const char *name);
/* How long the source is that begins here, with its type; 0: none does, or it has no end. */
size_t source_length(const char *text);
/* Adds `text` under a name, unless that is there; `usual` is the type of JSON without one (NONE: as it is declared, or
 * f64). CLI_DONE, or CLI_FAILED after a message. */
int sources_add(Sources *sources, const char *name, size_t name_length, const char *text, int usual);
/* The text of an expression, or a list of them, with its sources as names in double quotes, which are added: JSON as
 * what it is compared with, else `usual`. In a list a source that is all between two commas stays as it is, and is the
 * caller's to add. *quoted lives as long as they. CLI_DONE, or CLI_FAILED after a message. */
int sources_quote(Sources *sources, const char *text, int usual, int is_list, const char **quoted);
/* The text of a filter over groups with its sources as names in double quotes, as they are called there; none is added.
 * Lives as long as they. */
const char *sources_quote_names(Sources *sources, const char *text);
/* What an aggregate is of, in front of `text`: JSON that is grouped by as text, and says no type, is read as f64. Lives
 * as long as they. */
const char *sources_aggregated(Sources *sources, const char *text);
/* The list of what rows are ordered by, in which JSON that is shown as text, and says no type, comes by its numbers
 * first, then by that text: 9.5 before 10, and both behind 'warm'. Lives as long as they. */
const char *sources_order(Sources *sources, const char *text);
/* Whether an expression, or a list of them, names this column by itself, not within a source; NAME_GIVEN: it gives the
 * name to something, `json(t) as temp`. */
enum { NAME_NOT_SAID, NAME_SAID, NAME_GIVEN };
int sources_say_name(Sources *sources, const char *text, const char *name);
/* Adds a column that the family keeps, under its name. */
void sources_add_kept(Sources *sources, const KVDeclaredColumn *kept);
/* NAME=SOURCE; `what` stands before it in the message. */
int sources_add_named(Sources *sources, const char *what, const char *text);

#endif
