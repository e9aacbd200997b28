#include "tests/support/counted_memory.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/memory.h"

static _Atomic int64_t held, most;

static void note(int64_t more) {
  int64_t now = atomic_fetch_add(&held, more) + more, before = atomic_load(&most);
  while (now > before && !atomic_compare_exchange_weak(&most, &before, now)) {}
}

static int64_t size_of(void *pointer) { return pointer ? (int64_t)malloc_usable_size(pointer) : 0; }

static void *allocate(void *context, size_t size) {
  (void)context;
  void *pointer = malloc(size);
  note(size_of(pointer));
  return pointer;
}
static void *reallocate(void *context, void *pointer, size_t size) {
  (void)context;
  int64_t before = size_of(pointer);
  void *larger = realloc(pointer, size);
  if (larger) note(size_of(larger) - before);
  return larger;
}
static void release(void *context, void *pointer) {
  (void)context;
  note(-size_of(pointer));
  free(pointer);
}

void counted_memory_install(void) {
  const MemoryTable counted = { allocate, reallocate, release, NULL };
  memory_table_set(&counted);
}

void counted_memory_remove(void) { memory_table_set(NULL); }

int64_t counted_memory_begin(void) {
  int64_t now = atomic_load(&held);
  atomic_store(&most, now);
  return now;
}

int64_t counted_memory_most(void) { return atomic_load(&most); }
