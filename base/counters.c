#include "base/counters.h"

_Atomic uint64_t counter_values[COUNTER_COUNT];
_Atomic(CounterHook) counter_hook;

static const struct {
  const char *name, *description;
} texts[COUNTER_COUNT] = {
#define COUNTER_TEXT(name, text) { #name, text },
  COUNTER_LIST(COUNTER_TEXT)
#undef COUNTER_TEXT
};

void counter_hook_set(CounterHook hook) { atomic_store_explicit(&counter_hook, hook, memory_order_release); }

const char *counter_name(Counter which) { return (unsigned)which < COUNTER_COUNT ? texts[which].name : "?"; }

const char *counter_description(Counter which) {
  return (unsigned)which < COUNTER_COUNT ? texts[which].description : "?";
}
