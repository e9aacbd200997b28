#include "base/assert.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

static _Atomic(AssertHandler) handler;

void assert_handler_set(AssertHandler replacement) {
  atomic_store_explicit(&handler, replacement, memory_order_release);
}

_Noreturn void assert_failed(const char *condition, const char *rule, const char *file, int line) {
  AssertHandler custom = atomic_load_explicit(&handler, memory_order_acquire);
  if (custom)
    custom(condition, rule, file, line);
  else
    fprintf(stderr, "%s:%d: invariant %s does not hold: %s\n", file, line, rule, condition);
  abort();
}
