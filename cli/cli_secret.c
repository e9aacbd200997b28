#include "cli/cli_secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cli/cli.h"

enum { SECRET_BYTES_MAX = 4096 };

const SecretNames secret_current = { "password", "password-file", "COLONNADE_PASSWORD", "Password: " };
const SecretNames secret_new = { "new-password", "new-password-file", "COLONNADE_NEW_PASSWORD", "New password: " };

void secret_free(Secret *secret) {
  if (secret->bytes) explicit_bzero(secret->bytes, secret->length);
  free(secret->bytes);
  memset(secret, 0, sizeof *secret);
}

static void keep(Secret *secret, const char *bytes, size_t length) {
  secret->bytes = cli_allocate(length + 1, 1);
  memcpy(secret->bytes, bytes, length);
  secret->length = length;
}

/* Reads the first line of `descriptor` without its end. 0, or 1 after a message that calls it `what`. */
static int read_line(int descriptor, const char *what, Secret *secret) {
  char line[SECRET_BYTES_MAX + 1];
  size_t length = 0;
  ssize_t got = 1;
  int whole = 0;
  while (!whole && length < sizeof line && (got = read(descriptor, line + length, 1)) == 1) {
    whole = line[length] == '\n';
    length += !whole;
  }
  int failed = 0;
  if (got < 0) {
    cli_fail("%s cannot be read: %s", what, strerror(errno));
    failed = 1;
  } else if (length > SECRET_BYTES_MAX) {
    cli_fail("the password in %s is longer than %d bytes", what, SECRET_BYTES_MAX);
    failed = 1;
  } else {
    keep(secret, line, length);
  }
  explicit_bzero(line, sizeof line);
  return failed;
}

static int read_file(const char *path, Secret *secret) {
  if (strcmp(path, "-") == 0) return read_line(STDIN_FILENO, "standard input", secret);
  int descriptor = open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    cli_fail("%s cannot be read: %s", path, strerror(errno));
    return 1;
  }
  int failed = read_line(descriptor, path, secret);
  close(descriptor);
  return failed;
}

static int refuse_empty(Secret *secret) {
  if (secret->length) return 0;
  secret_free(secret);
  cli_fail("the password is empty");
  return 1;
}

int secret_find(const SecretNames *names, const Arguments *arguments, Secret *secret) {
  const char *text = arguments_text(arguments, names->option);
  const char *file = arguments_text(arguments, names->file_option);
  const char *variable = getenv(names->variable);
  if (text && file) {
    cli_fail("--%s and --%s exclude each other", names->option, names->file_option);
    return 1;
  }
  secret->is_asked_for = text || file;
  if (file) return read_file(file, secret) || refuse_empty(secret);
  if (!text && !variable) return 0;
  keep(secret, text ? text : variable, strlen(text ? text : variable));
  /* Arguments are the process's own memory, and what `ps` shows. */
  if (text) memset((char *)text, '*', strlen(text));
  return refuse_empty(secret);
}

/* ---- the terminal ---- */

/* Nothing is shown from before the prompt on, so that nothing typed early is. */
static int ask_once(int terminal, const char *prompt, Secret *secret) {
  struct termios shown, hidden;
  if (tcgetattr(terminal, &shown) != 0) {
    cli_fail("the terminal cannot be asked for a password: %s", strerror(errno));
    return 1;
  }
  hidden = shown;
  hidden.c_lflag &= ~(tcflag_t)ECHO;
  tcsetattr(terminal, TCSAFLUSH, &hidden);
  int failed = write(terminal, prompt, strlen(prompt)) < 0 || read_line(terminal, "the terminal", secret);
  tcsetattr(terminal, TCSADRAIN, &shown);
  if (write(terminal, "\n", 1) < 0) failed = 1;
  return failed || refuse_empty(secret);
}

int secret_ask(const SecretNames *names, int twice, Secret *secret) {
  int terminal = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (terminal < 0) {
    cli_fail("a password is needed: --%s FILE, the variable %s, or a terminal to ask on", names->file_option,
             names->variable);
    return 1;
  }
  Secret again = { 0 };
  int failed = ask_once(terminal, names->prompt, secret);
  if (!failed && twice) failed = ask_once(terminal, "Again: ", &again);
  if (!failed && twice && (again.length != secret->length || memcmp(again.bytes, secret->bytes, again.length) != 0)) {
    cli_fail("the two passwords differ");
    failed = 1;
  }
  secret_free(&again);
  close(terminal);
  return failed;
}
