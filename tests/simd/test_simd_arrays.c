/* Kernels over whole arrays against plain loops, on every table. */
#include <string.h>

#include "simd/simd.h"
#include "tests/simd/every_table.h"
#include "tests/support/test.h"

static void check_digits(const SimdKernels *k, uint64_t *rng) {
  for (unsigned round = 0; round < 20; round++) {
    uint16_t digits[SIMD_ROWS], codes[SIMD_ROWS], before[SIMD_ROWS], step = (uint16_t)test_random(rng);
    uint32_t count = round == 0 ? SIMD_ROWS : (uint32_t)test_random_below(rng, SIMD_ROWS);
    for (unsigned i = 0; i < SIMD_ROWS; i++) {
      digits[i] = (uint16_t)test_random(rng);
      codes[i] = before[i] = (uint16_t)test_random(rng);
    }
    k->add_digits(digits, step, count, codes);
    for (unsigned i = 0; i < SIMD_ROWS; i++) {
      unsigned expected = i < count ? before[i] + (unsigned)step * digits[i] : before[i];
      CHECK_INT(codes[i], expected & UINT16_MAX);
    }
  }
}
TEST(simd_arrays, adds_digits_to_codes) { on_every_table(check_digits); }

static void check_copies(const SimdKernels *k, uint64_t *rng) {
  _Alignas(64) uint64_t out[168], in[168];
  for (size_t words = 0; words <= 160; words += 8) {
    for (size_t i = 0; i < 168; i++) in[i] = test_random(rng), out[i] = i;
    k->copy_past(out, in + 1, words * sizeof *out); /* from an address that is no multiple of 64 */
    CHECK_BYTES(out, in + 1, words * sizeof *out);
    for (size_t i = words; i < 168; i++) CHECK_INT(out[i], i);
  }
}
TEST(simd_arrays, copies_past_the_caches) { on_every_table(check_copies); }
