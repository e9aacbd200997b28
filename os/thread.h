/* thread.h - threads, locks and sleeping words; the ones of a process, and those that processes share in a mapped page.
 */
#ifndef COLONNADE_OS_THREAD_H
#define COLONNADE_OS_THREAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

/* ---- within a process ---- */
typedef struct Mutex {
  pthread_mutex_t handle;
} Mutex;
typedef struct Condition {
  pthread_cond_t handle;
} Condition; /* on the monotonic clock */
typedef struct Thread {
  pthread_t handle;
  bool running;
} Thread;

#define MUTEX_INITIALIZER \
  { PTHREAD_MUTEX_INITIALIZER }

void mutex_init(Mutex *m);
void mutex_destroy(Mutex *m);
void mutex_lock(Mutex *m);
bool mutex_try_lock(Mutex *m);
void mutex_unlock(Mutex *m);
void condition_init(Condition *c);
void condition_destroy(Condition *c);
void condition_wait(Condition *c, Mutex *m);
/* False when `timeout_ns` passed first. */
bool condition_wait_for(Condition *c, Mutex *m, uint64_t timeout_ns);
void condition_signal(Condition *c);
void condition_broadcast(Condition *c);

/* Signals are blocked in the new thread: they belong to the program. */
Status thread_start(Thread *t, void (*run)(void *context), void *context) MUST_CHECK;
void thread_join(Thread *t); /* nothing when it never ran */
void thread_yield(void);
/* A small number of the calling thread, for choosing slots; stable while it lives. */
uint32_t thread_number(void);
uint32_t process_id(void);

/* ---- shared between processes: lives in the shared page ---- */
typedef struct SharedMutex {
  pthread_mutex_t handle;
} SharedMutex; /* robust, process-shared; 40 bytes here */

Status shared_mutex_init(SharedMutex *m) MUST_CHECK;
/* Always waits. *owner_died says that the last holder died inside (the mutex is made consistent; the caller repairs
 * what it guards). KVSTORE_PROTOCOL when the page is beyond repair. */
Status shared_mutex_lock(SharedMutex *m, bool *owner_died) MUST_CHECK;
bool shared_mutex_try_lock(SharedMutex *m, bool *owner_died);
void shared_mutex_unlock(SharedMutex *m);

/* Sleeps while *word == expected, at most `timeout_ns`; wakes early for any reason. Shared between processes. */
void futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns);
bool futex_wake_all(_Atomic uint32_t *word); /* whether anybody slept */

/* Changes in every forked child of a process that has opened a file: what was made under another number was inherited.
 */
extern _Atomic uint32_t process_fork_count;
static inline uint32_t process_forks(void) { return atomic_load_explicit(&process_fork_count, memory_order_relaxed); }
/* Calls `child` in every forked child of this process, before fork returns there. At most 4. */
Status process_at_fork(void (*child)(void)) MUST_CHECK;

#endif
