/* simd.c - which table this processor gets. */
#include "simd/simd.h"

#include "simd/kernels_internal.h"

_Atomic(const SimdKernels *) simd_active;

const SimdKernels *simd_table(SimdLevel level) {
  static const SimdKernels *const tables[SIMD_LEVELS] = {
    [SIMD_SCALAR] = &simd_scalar_kernels,
    [SIMD_AVX2] = &simd_avx2_kernels,
#if PROCESSOR_HAS_AVX512
    [SIMD_AVX512] = &simd_avx512_kernels,
#endif
  };
  return processor_runs((ProcessorLevel)level) ? tables[level] : NULL;
}

const SimdKernels *simd_choose(void) {
  const SimdKernels *table = simd_table((SimdLevel)processor_level());
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
