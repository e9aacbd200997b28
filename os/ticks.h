/* ticks.h - a counter for parts of a time that is known: some 7 ns a look, where a clock takes 25. Steady while a
 * program runs, in an unknown unit: what a part took is its ticks, by all ticks of the whole, times the nanoseconds of
 * the whole. */
#ifndef COLONNADE_OS_TICKS_H
#define COLONNADE_OS_TICKS_H

#include <stdint.h>

#include "os/os.h"

static inline uint64_t os_ticks(void) {
#ifdef __x86_64__
  return __builtin_ia32_rdtsc();
#else
  return os_monotonic_ns(os_posix());
#endif
}

#endif
