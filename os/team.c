#include "os/team.h"

#include <sched.h>
#include <string.h>

#include "base/counters.h"
#include "os/thread.h"

/* One call of team_run; on its stack. */
typedef struct Job {
  TeamWork *work;
  void *context;
  uint32_t asked, begun; /* helpers */
  uint32_t running;      /* asked, and neither done nor taken back */
  uint32_t forks;
  Condition changed;
} Job;

typedef struct Helper {
  Thread thread;
  Condition wake;
  Job *job; /* NULL: idle */
  uint32_t member;
  bool is_there, has_begun, ends;
  struct Helper *next; /* of the idle ones */
} Helper;

static struct {
  Mutex lock; /* of everything here, and of all jobs and helpers */
  uint32_t keepers, count, forks;
  bool watches_forks, meets;
  Helper *idle;
  Helper helpers[TEAM_HELPERS_MAX];
} pool = { .lock = MUTEX_INITIALIZER };

/* ---- fork ---- */

static void before_fork(void) { mutex_lock(&pool.lock); }
static void after_fork(void) { mutex_unlock(&pool.lock); }
static void in_child(void) {
  memset(pool.helpers, 0, sizeof pool.helpers);
  pool.idle = NULL;
  pool.count = 0;
  pool.forks++;
  mutex_unlock(&pool.lock);
}

static bool watch_forks(void) {
  if (!pool.watches_forks) pool.watches_forks = pthread_atfork(before_fork, after_fork, in_child) == 0;
  return pool.watches_forks;
}

/* ---- a helper's life; the lock is held but for the work ---- */

static void do_job(Helper *h) {
  Job *job = h->job;
  h->has_begun = true;
  job->begun++;
  if (pool.meets) condition_broadcast(&job->changed);
  while (pool.meets && job->begun < job->asked) condition_wait(&job->changed, &pool.lock);
  mutex_unlock(&pool.lock);
  job->work(job->context, h->member);
  mutex_lock(&pool.lock);
  h->has_begun = false;
  h->job = NULL;
  h->next = pool.idle;
  pool.idle = h;
  if (--job->running == 0) condition_broadcast(&job->changed);
}

static void help(void *context) {
  Helper *h = context;
  mutex_lock(&pool.lock);
  while (!h->ends) {
    if (h->job)
      do_job(h);
    else
      condition_wait(&h->wake, &pool.lock);
  }
  mutex_unlock(&pool.lock);
}

static Helper *start_helper(void) {
  uint32_t i = 0;
  if (pool.count == TEAM_HELPERS_MAX || !watch_forks()) return NULL;
  while (pool.helpers[i].is_there) i++;
  Helper *h = &pool.helpers[i];
  *h = (Helper){ .is_there = true };
  condition_init(&h->wake);
  if (thread_start(&h->thread, help, h) != KVSTORE_OK) { /* done without */
    status_clear();
    condition_destroy(&h->wake);
    h->is_there = false;
    return NULL;
  }
  pool.count++;
  COUNT(team_threads);
  return h;
}

/* Joins the idle ones. The lock is let go of meanwhile: no call finds them any more. */
static void end_idle(void) {
  Helper *all = pool.idle;
  pool.idle = NULL;
  for (Helper *h = all; h; h = h->next) {
    h->ends = true;
    condition_signal(&h->wake);
  }
  mutex_unlock(&pool.lock);
  for (Helper *h = all; h; h = h->next) thread_join(&h->thread);
  mutex_lock(&pool.lock);
  for (Helper *h = all; h; h = h->next) {
    condition_destroy(&h->wake);
    h->is_there = false;
    pool.count--;
  }
}

void team_keep(void) {
  mutex_lock(&pool.lock);
  pool.keepers++;
  mutex_unlock(&pool.lock);
}

void team_leave(void) {
  mutex_lock(&pool.lock);
  if (--pool.keepers == 0) end_idle();
  mutex_unlock(&pool.lock);
}

uint32_t team_helpers(void) {
  mutex_lock(&pool.lock);
  uint32_t count = pool.count;
  mutex_unlock(&pool.lock);
  return count;
}

void team_meet(bool meets) {
  mutex_lock(&pool.lock);
  pool.meets = meets;
  mutex_unlock(&pool.lock);
}

/* ---- a call ---- */

static void ask(Job *job, uint32_t members, Helper **asked) {
  for (uint32_t member = 1; member < members; member++) {
    Helper *h = pool.idle;
    if (h)
      pool.idle = h->next;
    else if (!(h = start_helper()))
      break;
    h->job = job;
    h->member = member;
    asked[job->asked++] = h;
    condition_signal(&h->wake);
  }
  job->running = job->asked;
  COUNT_MANY(team_helpers, job->asked);
}

/* A helper that is done may be another call's already. */
static void take_back(Job *job, Helper *const *asked) {
  for (uint32_t i = 0; i < job->asked; i++) {
    Helper *h = asked[i];
    if (!h || h->job != job || h->has_begun) continue;
    h->job = NULL;
    h->next = pool.idle;
    pool.idle = h;
    job->running--;
  }
}

static bool is_forked(const Job *job) { return pool.forks != job->forks; }

bool team_run(uint32_t members, TeamWork *work, void *context) {
  Helper *asked[TEAM_MEMBERS_MAX] = { NULL };
  Job job = { .work = work, .context = context };
  condition_init(&job.changed);
  if (members > TEAM_MEMBERS_MAX) members = TEAM_MEMBERS_MAX;
  mutex_lock(&pool.lock);
  job.forks = pool.forks;
  ask(&job, members, asked);
  while (pool.meets && job.begun < job.asked) condition_wait(&job.changed, &pool.lock);
  mutex_unlock(&pool.lock);
  work(context, 0);
  mutex_lock(&pool.lock);
  bool is_whole = !is_forked(&job);
  if (is_whole) take_back(&job, asked);
  while (is_whole && job.running) condition_wait(&job.changed, &pool.lock);
  if (pool.keepers == 0) end_idle();
  mutex_unlock(&pool.lock);
  if (is_whole) condition_destroy(&job.changed);
  return is_whole;
}

uint32_t os_processors(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  int count = CPU_COUNT(&set);
  return count > 0 ? (uint32_t)count : 1;
}
