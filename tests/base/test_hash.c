#include "base/hash.h"

#include "base/bytes.h"
#include "base/counters.h"
#include "tests/support/test.h"

/* XXH3_64bits of nothing, from the test vectors of xxHash 0.8. The values are on disk: they may never change. */
TEST(hash, of_nothing_is_the_published_value) {
  CHECK(hash_key("", 0) == UINT64_C(0x2D06800538D394C2));
  CHECK(checksum64("", 0, 0) == UINT64_C(0x2D06800538D394C2));
}

TEST(hash, every_bit_of_bytes_length_and_seed_counts) {
  uint8_t bytes[600];
  uint64_t random = 1;
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)test_random(&random);
  static const size_t lengths[] = { 1, 3, 4, 8, 9, 16, 17, 128, 129, 240, 241, 600 };
  for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
    size_t length = lengths[k];
    uint64_t key = hash_key(bytes, length), sum = checksum64(bytes, length, 77);
    CHECK(checksum64(bytes, length, 78) != sum);
    CHECK(checksum64(bytes, length - 1, 77) != sum);
    for (size_t bit = 0; bit < 8 * length; bit++) {
      bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
      CHECK(hash_key(bytes, length) != key);
      CHECK(checksum64(bytes, length, 77) != sum);
      bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
  }
}

/* XXH3 is defined by words; how many lanes are worked on at once may not show. Lengths around its stripes of 64 bytes
 * and its blocks of 1,024. */
TEST(hash, every_level_gives_the_same_numbers) {
  static const Counter counters[] = { COUNTER_hashes_plain, COUNTER_hashes_avx2, COUNTER_hashes_avx512 };
  static const size_t lengths[] = { 0, 240, 241, 255, 256, 257, 1023, 1024, 1025, 1088, 2049, 16384 };
  static uint8_t bytes[16384 + 3];
  uint64_t random = 5;
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)test_random(&random);
  for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
    for (size_t at = 0; at < 4; at += 3) { /* aligned or not */
      hash_force(PROCESSOR_PLAIN);
      uint64_t key = hash_key(bytes + at, lengths[k]), sum = checksum64(bytes + at, lengths[k], 77);
      for (int level = PROCESSOR_AVX2; level < PROCESSOR_LEVELS; level++) {
        if (!processor_runs((ProcessorLevel)level)) continue;
        hash_force((ProcessorLevel)level);
        uint64_t before = counter_get(counters[level]);
        CHECK(hash_key(bytes + at, lengths[k]) == key);
        CHECK(checksum64(bytes + at, lengths[k], 77) == sum);
        CHECK_INT(counter_get(counters[level]), before + (lengths[k] > 240 ? 2 : 0));
      }
    }
  }
  hash_force(processor_level());
}

TEST(hash, a_seed_depends_on_both_words_and_their_order) {
  CHECK(checksum_seed(1, 2) == checksum_seed(1, 2));
  CHECK(checksum_seed(1, 2) != checksum_seed(2, 1));
  CHECK(checksum_seed(1, 2) != checksum_seed(1, 3));
  CHECK(checksum_seed(1, 2) != checksum_seed(0, 2));
}
