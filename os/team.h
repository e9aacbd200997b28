/* team.h - threads that help calls: a pool of the process.
 *
 * A helper is started when a call wants one and none is idle, and then stays, asleep, for the next call, as long as
 * anybody keeps the pool (every open store does): waking one takes a few microseconds, starting one some 20. When the
 * last keeper leaves, the idle ones are joined; a call that runs without a keeper joins its own at its end. So a
 * library that is unloaded after its last close leaves no thread behind. All calls of a process together have at most
 * TEAM_HELPERS_MAX helpers. A forked child has none of its parent's, and starts its own. */
#ifndef COLONNADE_OS_TEAM_H
#define COLONNADE_OS_TEAM_H

#include <stdbool.h>
#include <stdint.h>

enum { TEAM_MEMBERS_MAX = 64, TEAM_HELPERS_MAX = 256 };

/* Runs work(context, member) for member 0 on the calling thread and for 1 to `members` - 1 on helpers, and returns when
 * all that have begun are done: a helper that has not by the time member 0 returns never does. Where no thread can be
 * had there are fewer members: the work must be shared out by who is there. False: this process was forked off while
 * the work was done, and what helpers had of it is lost. */
typedef void TeamWork(void *context, uint32_t member);
bool team_run(uint32_t members, TeamWork *work, void *context);
/* Helpers stay from the first keep to the last leave. */
void team_keep(void);
void team_leave(void);
/* Helpers that there are, idle or not. */
uint32_t team_helpers(void);
/* For tests: no member begins before all that were asked have come. */
void team_meet(bool meets);
/* Processors that this process may use; at least 1. */
uint32_t os_processors(void);

#endif
