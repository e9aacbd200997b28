/* team.h - threads that help one call: started for it, ended with it.
 *
 * Nothing idles in the program between calls, a forked child inherits nothing, and a library that is unloaded leaves no
 * thread behind; starting one costs some 20 us, so that a team is for work of many times that. All teams of a process
 * together have at most TEAM_HELPERS_MAX helpers. */
#ifndef COLONNADE_OS_TEAM_H
#define COLONNADE_OS_TEAM_H

#include <stdint.h>

enum { TEAM_MEMBERS_MAX = 64, TEAM_HELPERS_MAX = 256 };

/* Runs work(context, member) for member 0 on the calling thread and for 1 to `members` - 1 on helpers, and returns when
 * all have. Where no thread can be had there are fewer members: the work must be shared out by who is there. */
typedef void TeamWork(void *context, uint32_t member);
void team_run(uint32_t members, TeamWork *work, void *context);
/* Processors that this process may use; at least 1. */
uint32_t os_processors(void);

#endif
