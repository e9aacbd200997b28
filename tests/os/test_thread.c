#include "os/thread.h"

#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/counters.h"
#include "base/sanitizers.h"
#include "os/team.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

enum { THREADS = 4, ROUNDS = 20000 };

static Mutex mutex = MUTEX_INITIALIZER;
static uint64_t guarded;

static void count(void *context) {
  for (int i = 0; i < ROUNDS; i++) {
    mutex_lock(&mutex);
    guarded++;
    mutex_unlock(&mutex);
  }
  *(uint32_t *)context = thread_number();
}

TEST(thread, a_mutex_excludes_and_threads_have_their_own_numbers) {
  Thread threads[THREADS];
  uint32_t numbers[THREADS], own = thread_number();
  for (int i = 0; i < THREADS; i++) CHECK_OK(thread_start(&threads[i], count, &numbers[i]));
  for (int i = 0; i < THREADS; i++) thread_join(&threads[i]);
  CHECK_INT(guarded, THREADS * ROUNDS);
  CHECK_INT(thread_number(), own);
  for (int i = 0; i < THREADS; i++) {
    CHECK(numbers[i] != own);
    for (int k = 0; k < i; k++) CHECK(numbers[i] != numbers[k]);
  }
  thread_join(&threads[0]); /* a second join is nothing */
  CHECK(mutex_try_lock(&mutex));
  CHECK(!mutex_try_lock(&mutex));
  mutex_unlock(&mutex);
  CHECK_INT(process_id(), getpid());
}

static void note_signals(void *context) {
  sigset_t blocked;
  pthread_sigmask(SIG_BLOCK, NULL, &blocked);
  *(bool *)context = sigismember(&blocked, SIGINT) && sigismember(&blocked, SIGUSR1) && sigismember(&blocked, SIGALRM);
}

TEST(thread, signals_are_blocked_in_it_and_not_in_its_starter) {
  Thread thread;
  bool blocked = false;
  sigset_t own;
  CHECK_OK(thread_start(&thread, note_signals, &blocked));
  thread_join(&thread);
  CHECK(blocked);
  pthread_sigmask(SIG_BLOCK, NULL, &own);
  CHECK(!sigismember(&own, SIGUSR1));
}

TEST(thread, a_start_without_memory_says_so) {
  Thread thread;
  failing_memory_install(1, false);
  CHECK_STATUS(thread_start(&thread, note_signals, NULL), KVSTORE_NOMEM);
  failing_memory_remove();
  thread_join(&thread);
}

static Condition condition;
static bool ready;

static void signal_ready(void *context) {
  (void)context;
  mutex_lock(&mutex);
  ready = true;
  condition_broadcast(&condition);
  mutex_unlock(&mutex);
}

TEST(condition, wakes_for_a_signal_and_gives_up_at_its_time) {
  Thread thread;
  condition_init(&condition);
  mutex_lock(&mutex);
  CHECK(!condition_wait_for(&condition, &mutex, 1000000));
  CHECK_OK(thread_start(&thread, signal_ready, NULL));
  while (!ready) condition_wait(&condition, &mutex);
  mutex_unlock(&mutex);
  thread_join(&thread);
  condition_signal(&condition);
  condition_destroy(&condition);
}

static void *shared_memory(size_t size) {
  void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(p != MAP_FAILED);
  return p;
}

TEST(shared_mutex, tells_the_next_holder_that_the_last_one_died) {
  SharedMutex *m = shared_memory(sizeof *m);
  bool died = true;
  int status;
  CHECK_OK(shared_mutex_init(m));
  CHECK_OK(shared_mutex_lock(m, &died));
  CHECK(!died);
  pid_t child = fork();
  if (child == 0) {
    bool dead = false;
    _exit(shared_mutex_try_lock(m, &dead) ? 1 : 0);
  }
  CHECK_INT(waitpid(child, &status, 0), child);
  CHECK_INT(WEXITSTATUS(status), 0);
  shared_mutex_unlock(m);
  for (int round = 0; round < 2; round++) {
    child = fork();
    if (child == 0) {
      if (shared_mutex_lock(m, &died) != KVSTORE_OK) _exit(1);
      raise(SIGKILL);
    }
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
    if (round)
      CHECK(shared_mutex_try_lock(m, &died));
    else
      CHECK_OK(shared_mutex_lock(m, &died));
    CHECK(died);
    shared_mutex_unlock(m);
    CHECK_OK(shared_mutex_lock(m, &died));
    CHECK(!died);
    shared_mutex_unlock(m);
  }
}

typedef struct Waiter {
  SharedMutex *mutex;
  _Atomic pid_t number;
  _Atomic bool has_it;
} Waiter;

static void take_and_give(void *context) {
  Waiter *w = context;
  bool died;
  atomic_store(&w->number, (pid_t)syscall(SYS_gettid));
  CHECK_OK(shared_mutex_lock(w->mutex, &died));
  atomic_store(&w->has_it, true);
  shared_mutex_unlock(w->mutex);
}

static bool sleeps(pid_t thread) {
  char path[64], text[256];
  snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)thread);
  FILE *file = fopen(path, "r");
  if (!file) return false;
  const char *name_end = fgets(text, sizeof text, file) ? strrchr(text, ')') : NULL;
  fclose(file);
  return name_end && name_end[2] == 'S';
}

/* As when a process dies that an unlock has woken, and a third one has the mutex by then: the word of the mutex, which
 * is its first, no longer says that anybody waits. */
TEST(shared_mutex, who_waits_gets_it_though_no_unlock_wakes_anybody) {
  SharedMutex *m = shared_memory(sizeof *m);
  _Atomic uint32_t *word = (_Atomic uint32_t *)(void *)m;
  Waiter waiter = { .mutex = m };
  Thread thread = { 0 };
  bool died;
  CHECK_OK(shared_mutex_init(m));
  CHECK_OK(shared_mutex_lock(m, &died));
  CHECK_OK(thread_start(&thread, take_and_give, &waiter));
  while (!(atomic_load(word) & FUTEX_WAITERS) || !sleeps(atomic_load(&waiter.number))) thread_yield();
  atomic_fetch_and(word, ~(uint32_t)FUTEX_WAITERS);
  shared_mutex_unlock(m);
  time_t begun = time(NULL);
  while (!atomic_load(&waiter.has_it) && time(NULL) < begun + 60) thread_yield();
  CHECK(atomic_load(&waiter.has_it));
  thread_join(&thread);
}

TEST(futex, wakes_across_processes_and_returns_at_once_when_the_word_differs) {
  _Atomic uint32_t *word = shared_memory(4096);
  futex_wait(word, 1, UINT64_C(3600000000000));
  futex_wait(word, 0, 1000000);
  CHECK(!futex_wake_all(word)); /* nobody sleeps */
  pid_t child = fork();
  if (child == 0) {
    atomic_store(word, 1);
    futex_wake_all(word);
    _exit(0);
  }
  while (atomic_load(word) == 0) futex_wait(word, 0, 50000000);
  int status;
  CHECK_INT(waitpid(child, &status, 0), child);
  thread_yield();
}

typedef struct Shares {
  _Atomic uint32_t next, done;
  _Atomic uint64_t members; /* a bit each */
} Shares;

static void take_shares(void *context, uint32_t member) {
  Shares *s = context;
  atomic_fetch_or(&s->members, UINT64_C(1) << member);
  while (atomic_fetch_add(&s->next, 1) < 1000) atomic_fetch_add(&s->done, 1);
}

TEST(team, all_work_is_done_when_it_returns_by_the_caller_and_at_most_so_many) {
  static const uint32_t members[] = { 0, 1, 2, 5, 64, 1000 };
  CHECK(os_processors() >= 1);
  for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
    Shares shares = { 0 };
    team_run(members[i], take_shares, &shares);
    CHECK_INT(atomic_load(&shares.done), 1000);
    uint64_t who = atomic_load(&shares.members), most = members[i] < 64 ? (UINT64_C(1) << members[i]) - 1 : UINT64_MAX;
    CHECK(who & 1);
    CHECK_INT(who & ~(most | 1), 0);
  }
}

static void count_member(void *context, uint32_t member) { atomic_fetch_add((_Atomic uint32_t *)context + member, 1); }

TEST(team, helpers_stay_while_somebody_keeps_them_and_are_joined_when_the_last_leaves) {
  _Atomic uint32_t runs[4] = { 0 };
  team_meet(true);
  uint64_t started = counter_get(COUNTER_team_threads);
  CHECK(team_run(4, count_member, runs));
  CHECK_INT(counter_get(COUNTER_team_threads), started + 3);
  CHECK_INT(team_helpers(), 0); /* nobody keeps them */
  team_keep();
  team_keep();
  for (int i = 0; i < 50; i++) CHECK(team_run(1 + i % 4u, count_member, runs));
  CHECK_INT(counter_get(COUNTER_team_threads), started + 6);
  CHECK_INT(team_helpers(), 3);
  team_leave();
  CHECK_INT(team_helpers(), 3);
  team_leave();
  CHECK_INT(team_helpers(), 0);
  team_meet(false);
  CHECK_INT(atomic_load(&runs[0]), 51);
  CHECK_INT(atomic_load(&runs[1]), 1 + 12 + 12 + 13); /* i % 4 = 1, 2, 3 */
  CHECK_INT(atomic_load(&runs[3]), 1 + 12);
}

typedef struct Calls {
  _Atomic uint32_t *runs;
} Calls;

static void call_teams(void *context) {
  const Calls *calls = context;
  for (int i = 0; i < 100; i++) CHECK(team_run(3, count_member, calls->runs));
}

TEST(team, many_threads_call_at_once_and_share_the_helpers) {
  _Atomic uint32_t runs[4] = { 0 };
  Calls calls = { runs };
  Thread threads[4];
  team_keep();
  for (int i = 0; i < 4; i++) CHECK_OK(thread_start(&threads[i], call_teams, &calls));
  for (int i = 0; i < 4; i++) thread_join(&threads[i]);
  CHECK_INT(atomic_load(&runs[0]), 400);
  CHECK(atomic_load(&runs[1]) <= 400);
  CHECK(team_helpers() <= 8);
  team_leave();
  CHECK_INT(team_helpers(), 0);
}

/* ThreadSanitizer lets nobody start a thread in a forked child. */
static bool child_has_its_own(_Atomic uint32_t *runs) {
#ifdef SANITIZES_THREADS
  (void)runs;
  return true;
#else
  return team_run(3, count_member, runs) && team_helpers() == 2 && atomic_load(&runs[2]) == 2;
#endif
}

static pid_t forked;
static void fork_within(void *context, uint32_t member) {
  (void)context;
  if (member == 0) forked = fork();
}

TEST(team, a_forked_child_has_no_helpers_and_starts_its_own) {
  _Atomic uint32_t runs[3] = { 0 };
  team_keep();
  team_meet(true);
  CHECK(team_run(3, count_member, runs));
  pid_t child = fork();
  if (child == 0) {
    bool none = team_helpers() == 0, own = child_has_its_own(runs);
    team_leave();
    _exit(none && own && team_helpers() == 0 ? 0 : 1);
  }
  int status;
  CHECK_INT(waitpid(child, &status, 0), child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  bool is_whole = team_run(3, fork_within, NULL);
  if (forked == 0) _exit(is_whole ? 1 : 0); /* its helpers are the parent's */
  CHECK(is_whole);
  CHECK_INT(waitpid(forked, &status, 0), forked);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  team_meet(false);
  team_leave();
}

static int fork_calls;
static void in_child(void) { fork_calls++; }

TEST(process, fork_handlers_run_in_the_child_and_are_at_most_four) {
  for (int i = 0; i < 4; i++) CHECK_OK(process_at_fork(in_child));
  CHECK_STATUS(process_at_fork(in_child), KVSTORE_LIMIT);
  pid_t child = fork();
  if (child == 0) _exit(fork_calls);
  int status;
  CHECK_INT(waitpid(child, &status, 0), child);
  CHECK_INT(WEXITSTATUS(status), 4);
  CHECK_INT(fork_calls, 0);
}
