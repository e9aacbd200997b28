#include "base/processor.h"

#include <stdlib.h>
#include <string.h>

bool processor_runs(ProcessorLevel level) {
#if !PROCESSOR_HAS_AVX512
  return level <= PROCESSOR_AVX2;
#else
  if (level == PROCESSOR_PLAIN) return true;
  __builtin_cpu_init();
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
              __builtin_cpu_supports("popcnt");
  if (level == PROCESSOR_AVX2) return avx2;
  return level == PROCESSOR_AVX512 && avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2") &&
         __builtin_cpu_supports("avx512vpopcntdq");
#endif
}

static ProcessorLevel asked_for(void) {
  const char *name = getenv("COLONNADE_KERNELS");
  if (name && strcmp(name, "scalar") == 0) return PROCESSOR_PLAIN;
  if (name && strcmp(name, "avx2") == 0) return PROCESSOR_AVX2;
  return PROCESSOR_AVX512;
}

ProcessorLevel processor_level(void) {
  int level = (int)asked_for();
  while (!processor_runs((ProcessorLevel)level)) level--;
  return (ProcessorLevel)level;
}
