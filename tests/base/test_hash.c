#include "base/hash.h"

#include "base/bytes.h"
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

TEST(hash, a_seed_depends_on_both_words_and_their_order) {
  CHECK(checksum_seed(1, 2) == checksum_seed(1, 2));
  CHECK(checksum_seed(1, 2) != checksum_seed(2, 1));
  CHECK(checksum_seed(1, 2) != checksum_seed(1, 3));
  CHECK(checksum_seed(1, 2) != checksum_seed(0, 2));
}
