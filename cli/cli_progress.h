/* cli_progress.h - a bar on stderr, when that is a terminal. */
#ifndef COLONNADE_CLI_PROGRESS_H
#define COLONNADE_CLI_PROGRESS_H

typedef struct Progress {
  const char *what; /* borrowed */
  int shown;        /* stderr is a terminal */
  double next;      /* when it is drawn again */
} Progress;

void progress_begin(Progress *progress, const char *what);
/* Draws at most ten times a second. `share` is from 0 to 1. */
void progress_show(Progress *progress, double share);
void progress_end(Progress *progress); /* wipes the line */

#endif
