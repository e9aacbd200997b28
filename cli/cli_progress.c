#include "cli/cli_progress.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"

#define BAR_WIDTH       40
#define REDRAW_INTERVAL 0.1 /* seconds */

void progress_begin(Progress *progress, const char *what) {
  progress->what = what;
  progress->shown = isatty(STDERR_FILENO);
  progress->next = 0;
}

void progress_show(Progress *progress, double share) {
  if (!progress->shown || cli_seconds() < progress->next) return;
  progress->next = cli_seconds() + REDRAW_INTERVAL;
  char bar[BAR_WIDTH + 1];
  for (int i = 0; i < BAR_WIDTH; i++) bar[i] = i < (int)(share * BAR_WIDTH) ? '#' : '.';
  bar[BAR_WIDTH] = '\0';
  fprintf(stderr, "\r%s [%s] %3d%%", progress->what, bar, (int)(share * 100));
  fflush(stderr);
}

void progress_end(Progress *progress) {
  if (progress->shown) fputs("\r\033[K", stderr);
}

static volatile sig_atomic_t interrupted;

static void interrupt(int signal) {
  (void)signal;
  interrupted = 1;
}

static void listen_to(int signal) {
  struct sigaction now, then = { .sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND };
  sigemptyset(&then.sa_mask);
  if (sigaction(signal, NULL, &now) == 0 && now.sa_handler != SIG_IGN) sigaction(signal, &then, NULL);
}

void progress_stop_at_signals(void) {
  listen_to(SIGINT);
  listen_to(SIGTERM);
  listen_to(SIGHUP);
}

int progress_is_interrupted(void) { return interrupted; }
