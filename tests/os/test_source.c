#include "os/source.h"

#include "tests/support/test.h"

TEST(source, memory_gives_every_range_in_place_and_refuses_the_rest) {
  static const uint8_t bytes[100] = { 1, 2, 3 };
  Source s = source_over_memory(bytes, sizeof bytes);
  SourcePin pin;
  const uint8_t *got;
  for (uint64_t offset = 0; offset <= 102; offset++) {
    for (size_t length = 0; length <= 102; length++) {
      bool inside = offset <= 100 && length <= 100 - offset;
      CHECK_STATUS(source_block(&s, offset, length, &got, &pin), inside ? KVSTORE_OK : KVSTORE_CORRUPT);
      if (inside) CHECK(got == bytes + offset);
      source_release(&s, &pin);
    }
  }
}

TEST(source, offsets_that_wrap_around_are_refused) {
  static const uint8_t bytes[100] = { 0 };
  Source s = source_over_memory(bytes, sizeof bytes), empty = source_over_memory(NULL, 0);
  SourcePin pin;
  const uint8_t *got;
  CHECK_STATUS(source_block(&s, UINT64_MAX - 10, 20, &got, &pin), KVSTORE_CORRUPT);
  CHECK_STATUS(source_block(&s, 20, SIZE_MAX - 10, &got, &pin), KVSTORE_CORRUPT);
  CHECK_OK(source_block(&empty, 0, 0, &got, &pin));
  CHECK_STATUS(source_block(&empty, 0, 1, &got, &pin), KVSTORE_CORRUPT);
}
