#include "os/team.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/counters.h"
#include "os/thread.h"

static _Atomic uint32_t helpers; /* of all teams */

typedef struct Helper {
  Thread thread;
  TeamWork *work;
  void *context;
  uint32_t member;
} Helper;

static void help(void *context) {
  Helper *h = context;
  h->work(h->context, h->member);
}

static bool take_helper(void) {
  if (atomic_fetch_add_explicit(&helpers, 1, memory_order_relaxed) < TEAM_HELPERS_MAX) return true;
  atomic_fetch_sub_explicit(&helpers, 1, memory_order_relaxed);
  return false;
}

void team_run(uint32_t members, TeamWork *work, void *context) {
  Helper all[TEAM_MEMBERS_MAX];
  if (members > TEAM_MEMBERS_MAX) members = TEAM_MEMBERS_MAX;
  uint32_t started = 1;
  while (started < members && take_helper()) {
    Helper *h = &all[started];
    *h = (Helper){ .work = work, .context = context, .member = started };
    if (thread_start(&h->thread, help, h) != KVSTORE_OK) {
      status_clear();
      atomic_fetch_sub_explicit(&helpers, 1, memory_order_relaxed);
      break;
    }
    started++;
  }
  COUNT_MANY(team_helpers, started - 1);
  work(context, 0);
  for (uint32_t i = 1; i < started; i++) thread_join(&all[i].thread);
  atomic_fetch_sub_explicit(&helpers, started - 1, memory_order_relaxed);
}

uint32_t os_processors(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  int count = CPU_COUNT(&set);
  return count > 0 ? (uint32_t)count : 1;
}
