/* cli_secret.h - passwords: from an option, a file, the environment, or a terminal that does not show them. */
#ifndef COLONNADE_CLI_SECRET_H
#define COLONNADE_CLI_SECRET_H

#include <stddef.h>

#include "cli/cli_arguments.h"

typedef struct Secret { /* begin with zeros */
  char *bytes;          /* NULL: there is none */
  size_t length;
  int is_asked_for; /* by an option, not by the environment */
} Secret;

/* Where a password may come from. */
typedef struct SecretNames {
  const char *option;      /* its text */
  const char *file_option; /* the first line of a file */
  const char *variable;    /* of the environment */
  const char *prompt;      /* on a terminal */
} SecretNames;
extern const SecretNames secret_current, secret_new;

/* What the command line or the environment give; none is no failure. An option's text is taken out of the process's
 * arguments, where every user could read it. 0, or 1 after a message: an empty password, a file that cannot be read,
 * two sources. */
int secret_find(const SecretNames *names, const Arguments *arguments, Secret *secret);
/* Asks on the terminal, without showing what is typed; twice when `twice` is not 0. 0, or 1 after a message: there is
 * no terminal, nothing was typed, the two differ. */
int secret_ask(const SecretNames *names, int twice, Secret *secret);
/* Overwrites and frees. */
void secret_free(Secret *secret);

#endif
