/* cli_progress.h - what takes long: a bar on stderr, when that is a terminal, and whether it shall stop. */
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

/* From now on the first SIGINT, SIGTERM or SIGHUP only asks to stop, so that nothing half made is left; the second ends
 * the process as ever. One that was ignored when the process began still is. */
void progress_stop_at_signals(void);
int progress_is_interrupted(void);

#endif
