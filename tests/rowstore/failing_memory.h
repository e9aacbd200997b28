/* failing_memory.h - an allocator that fails once, at a chosen call. */
#ifndef COLONNADE_TESTS_ROWSTORE_FAILING_MEMORY_H
#define COLONNADE_TESTS_ROWSTORE_FAILING_MEMORY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/memory.h"

typedef struct FailingMemory {
  uint64_t calls, fail_at; /* fail_at: the number of the call that fails, from 1 */
} FailingMemory;

static inline bool failing_memory_now(FailingMemory *m) { return ++m->calls == m->fail_at; }
static void *failing_allocate(void *context, size_t size) { return failing_memory_now(context) ? NULL : malloc(size); }
static void *failing_reallocate(void *context, void *pointer, size_t size) {
  return failing_memory_now(context) ? NULL : realloc(pointer, size);
}
static void failing_release(void *context, void *pointer) {
  (void)context;
  free(pointer);
}

static inline void failing_memory_install(FailingMemory *m, uint64_t fail_at) {
  *m = (FailingMemory){ .fail_at = fail_at };
  memory_table_set(&(MemoryTable){ failing_allocate, failing_reallocate, failing_release, m });
}
/* True when the failure happened. */
static inline bool failing_memory_remove(FailingMemory *m) {
  memory_table_set(NULL);
  return m->calls >= m->fail_at;
}

#endif
