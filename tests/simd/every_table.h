/* every_table.h - the tables of kernels that this processor has, one after the other. */
#ifndef COLONNADE_TESTS_SIMD_EVERY_TABLE_H
#define COLONNADE_TESTS_SIMD_EVERY_TABLE_H

#include "simd/simd.h"
#include "tests/support/test.h"

/* `rng` begins alike for each. */
typedef void TableTest(const SimdKernels *k, uint64_t *rng);
static inline void on_every_table(TableTest *test) {
  unsigned tables = 0;
  for (int level = 0; level < SIMD_LEVELS; level++) {
    const SimdKernels *k = simd_table((SimdLevel)level);
    if (!k) continue;
    uint64_t rng = 7;
    CHECK_INT(k->level, level);
    test(k, &rng);
    tables++;
  }
  CHECK(tables >= 1);
}

#endif
