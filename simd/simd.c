/* simd.c - which table this processor gets. */
#include "simd/simd.h"

#include <stdlib.h>

#include "simd/kernels_internal.h"

_Atomic(const SimdKernels *) simd_active;

static bool level_runs_here(SimdLevel level) {
#if defined(COLONNADE_PORTABLE) || !defined(__x86_64__)
  return level != SIMD_AVX512;
#else
  if (level == SIMD_SCALAR) return true;
  __builtin_cpu_init();
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
              __builtin_cpu_supports("popcnt");
  if (level == SIMD_AVX2) return avx2;
  return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2") &&
         __builtin_cpu_supports("avx512vpopcntdq");
#endif
}

const SimdKernels *simd_table(SimdLevel level) {
  if (!level_runs_here(level)) return NULL;
  switch (level) {
  case SIMD_SCALAR: return &simd_scalar_kernels;
  case SIMD_AVX2: return &simd_avx2_kernels;
#if SIMD_HAS_AVX512
  case SIMD_AVX512: return &simd_avx512_kernels;
#endif
  default: return NULL;
  }
}

static SimdLevel highest_level_asked_for(void) {
  const char *name = getenv("COLONNADE_KERNELS");
  if (name && strcmp(name, "scalar") == 0) return SIMD_SCALAR;
  if (name && strcmp(name, "avx2") == 0) return SIMD_AVX2;
  return SIMD_AVX512;
}

const SimdKernels *simd_choose(void) {
  const SimdKernels *table = NULL;
  for (int level = (int)highest_level_asked_for(); !table; level--) table = simd_table((SimdLevel)level);
  /* Two threads may choose at once; they choose the same. */
  atomic_store_explicit(&simd_active, table, memory_order_release);
  return table;
}

void simd_force(const SimdKernels *table) {
  if (table)
    atomic_store_explicit(&simd_active, table, memory_order_release);
  else
    simd_choose();
}
