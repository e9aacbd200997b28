/* failing_memory.h - a memory table that fails the n-th allocation. Threads: all of it from any thread, except that
 * install and remove come while no other thread is inside the library.
 *
 *   for (uint64_t n = 1;; n++) {
 *     failing_memory_install(n, false);
 *     Status status = operation();
 *     bool reached = failing_memory_failures() > 0;
 *     failing_memory_remove();
 *     if (!reached) break;           // it needs fewer than n allocations, and all of those have been failed
 *     ... status is KVSTORE_NOMEM, and the state is as before
 *   } */
#ifndef COLONNADE_TESTS_SUPPORT_FAILING_MEMORY_H
#define COLONNADE_TESTS_SUPPORT_FAILING_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/* From here on allocation number `fail_at` (from 1; 0: none) gives NULL, and with `sticky` every one after it too.
 * An allocation is a call that asks for memory: allocate, or reallocate. */
void failing_memory_install(uint64_t fail_at, bool sticky);
/* Back to malloc. What was allocated stays valid. */
void failing_memory_remove(void);
/* Allocations asked for, and refused, since the installation. */
uint64_t failing_memory_calls(void);
uint64_t failing_memory_failures(void);

#endif
