#include "tests/support/failing_memory.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/memory.h"

static _Atomic uint64_t calls, failures;
static uint64_t fail_at;
static bool fails_after;

static bool fails_now(void) {
  uint64_t call = atomic_fetch_add(&calls, 1) + 1;
  bool fails = fail_at && (call == fail_at || (fails_after && call > fail_at));
  if (fails) atomic_fetch_add(&failures, 1);
  return fails;
}

static void *allocate(void *context, size_t size) {
  (void)context;
  return fails_now() ? NULL : malloc(size);
}

static void *reallocate(void *context, void *pointer, size_t size) {
  (void)context;
  return fails_now() ? NULL : realloc(pointer, size);
}

static void release(void *context, void *pointer) {
  (void)context;
  free(pointer);
}

void failing_memory_install(uint64_t at, bool sticky) {
  static const MemoryTable table = { allocate, reallocate, release, NULL };
  atomic_store(&calls, 0);
  atomic_store(&failures, 0);
  fail_at = at;
  fails_after = sticky;
  memory_table_set(&table);
}

void failing_memory_remove(void) { memory_table_set(NULL); }
uint64_t failing_memory_calls(void) { return atomic_load(&calls); }
uint64_t failing_memory_failures(void) { return atomic_load(&failures); }
