#include "os/thread.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/counters.h"
#include "base/memory.h"
#include "base/sanitizers.h"
#ifdef SANITIZES_THREADS
#include <sanitizer/tsan_interface.h>
#endif

enum { NANOSECONDS = 1000000000, FORK_HANDLERS_MAX = 4, SHARED_LOOK_NS = 50 * 1000 * 1000 };

/* ---- mutexes and conditions of a process ---- */

void mutex_init(Mutex *m) { pthread_mutex_init(&m->handle, NULL); }
void mutex_destroy(Mutex *m) { pthread_mutex_destroy(&m->handle); }

void mutex_lock(Mutex *m) {
  int error = pthread_mutex_lock(&m->handle);
  ASSERT(error == 0, "OS-9");
}

bool mutex_try_lock(Mutex *m) { return pthread_mutex_trylock(&m->handle) == 0; }

void mutex_unlock(Mutex *m) {
  int error = pthread_mutex_unlock(&m->handle);
  ASSERT(error == 0, "OS-9");
}

void condition_init(Condition *c) {
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&c->handle, &attributes);
  pthread_condattr_destroy(&attributes);
}

void condition_destroy(Condition *c) { pthread_cond_destroy(&c->handle); }
void condition_wait(Condition *c, Mutex *m) { pthread_cond_wait(&c->handle, &m->handle); }

static struct timespec duration_of(uint64_t nanoseconds) {
  return (struct timespec){ (time_t)(nanoseconds / NANOSECONDS), (long)(nanoseconds % NANOSECONDS) };
}

/* A deadline past the range of the clock is none. */
bool condition_wait_for(Condition *c, Mutex *m, uint64_t timeout_ns) {
  struct timespec now, wait = duration_of(timeout_ns);
  clock_gettime(CLOCK_MONOTONIC, &now);
  struct timespec deadline = { now.tv_sec + wait.tv_sec, now.tv_nsec + wait.tv_nsec };
  if (deadline.tv_nsec >= NANOSECONDS) {
    deadline.tv_sec++;
    deadline.tv_nsec -= NANOSECONDS;
  }
  return pthread_cond_timedwait(&c->handle, &m->handle, &deadline) != ETIMEDOUT;
}

void condition_signal(Condition *c) { pthread_cond_signal(&c->handle); }
void condition_broadcast(Condition *c) { pthread_cond_broadcast(&c->handle); }

/* ---- threads ---- */

typedef struct Start {
  void (*run)(void *context);
  void *context;
} Start;

static void *run_thread(void *argument) {
  Start start = *(Start *)argument;
  memory_release(argument);
  start.run(start.context);
  return NULL;
}

Status thread_start(Thread *t, void (*run)(void *context), void *context) {
  t->running = false;
  Start *start = memory_allocate(sizeof *start);
  if (!start) return status_nomem();
  *start = (Start){ run, context };
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(&t->handle, NULL, run_thread, start);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (error) {
    memory_release(start);
    char text[128];
    return status_fail(error == EAGAIN ? KVSTORE_NOMEM : KVSTORE_ERROR, "cannot start a thread: %s",
                       strerror_r(error, text, sizeof text));
  }
  t->running = true;
  return KVSTORE_OK;
}

void thread_join(Thread *t) {
  if (!t->running) return;
  pthread_join(t->handle, NULL);
  t->running = false;
}

void thread_yield(void) { sched_yield(); }

uint32_t thread_number(void) {
  static _Atomic uint32_t used;
  static _Thread_local uint32_t own; /* the number plus one */
  if (own == 0) own = atomic_fetch_add_explicit(&used, 1, memory_order_relaxed) + 1;
  return own - 1;
}

uint32_t process_id(void) { return (uint32_t)getpid(); }

/* ---- shared between processes ---- */

Status shared_mutex_init(SharedMutex *m) {
  pthread_mutexattr_t attributes;
  int error = pthread_mutexattr_init(&attributes);
  if (error == 0) {
    error = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (error == 0) error = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    if (error == 0) error = pthread_mutex_init(&m->handle, &attributes);
    pthread_mutexattr_destroy(&attributes);
  }
  return error ? status_fail(KVSTORE_PROTOCOL, "this system has no robust mutexes between processes") : KVSTORE_OK;
}

/* True when the mutex is held. A dead owner's mutex is made consistent at once: whoever holds it next repairs. */
static bool take_shared(SharedMutex *m, int error, bool *owner_died) {
  *owner_died = error == EOWNERDEAD;
  if (*owner_died) error = pthread_mutex_consistent(&m->handle);
  return error == 0;
}

/* ThreadSanitizer does not see that a timed lock which tells of a dead owner has the mutex. */
static void tell_sanitizer(SharedMutex *m) {
#ifdef SANITIZES_THREADS
  __tsan_mutex_pre_lock(&m->handle, __tsan_mutex_try_lock);
  __tsan_mutex_post_lock(&m->handle, __tsan_mutex_try_lock, 1);
#else
  (void)m;
#endif
}

/* A process that an unlock has woken may be killed before it takes the mutex. Where somebody else has it by then, the
 * system wakes nobody in its place, and neither does that one's unlock, which knows of none who waits. So who waits
 * looks again by itself, now and then. */
static int wait_shared(SharedMutex *m) {
  int error = pthread_mutex_trylock(&m->handle);
  if (LIKELY(error != EBUSY)) return error;
  do {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += SHARED_LOOK_NS;
    until.tv_sec += until.tv_nsec / NANOSECONDS;
    until.tv_nsec %= NANOSECONDS;
    error = pthread_mutex_timedlock(&m->handle, &until);
  } while (error == ETIMEDOUT);
  if (error == EOWNERDEAD) tell_sanitizer(m);
  return error;
}

Status shared_mutex_lock(SharedMutex *m, bool *owner_died) {
  if (take_shared(m, wait_shared(m), owner_died)) return KVSTORE_OK;
  return status_fail(KVSTORE_PROTOCOL, "a mutex in the shared page cannot be used any more");
}

bool shared_mutex_try_lock(SharedMutex *m, bool *owner_died) {
  return take_shared(m, pthread_mutex_trylock(&m->handle), owner_died);
}

void shared_mutex_unlock(SharedMutex *m) {
  int error = pthread_mutex_unlock(&m->handle);
  ASSERT(error == 0, "OS-9");
}

void futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns) {
  struct timespec timeout = duration_of(timeout_ns);
  syscall(SYS_futex, word, FUTEX_WAIT, expected, &timeout, NULL, 0);
}

bool futex_wake_all(_Atomic uint32_t *word) {
  return syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0) > 0;
}

/* ---- fork ---- */

_Atomic uint32_t process_fork_count;

Status process_at_fork(void (*child)(void)) {
  static _Atomic uint32_t registered;
  if (atomic_fetch_add_explicit(&registered, 1, memory_order_relaxed) >= FORK_HANDLERS_MAX) {
    atomic_fetch_sub_explicit(&registered, 1, memory_order_relaxed);
    return status_fail(KVSTORE_LIMIT, "more than %d handlers of fork", FORK_HANDLERS_MAX);
  }
  if (pthread_atfork(NULL, NULL, child) == 0) return KVSTORE_OK;
  atomic_fetch_sub_explicit(&registered, 1, memory_order_relaxed);
  return status_nomem();
}
