#include "base/memory.h"

#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

TEST(memory, blocks_are_counted) {
  uint64_t before = memory_blocks_held();
  void *a = memory_allocate(10), *b = memory_allocate_zeroed(10), *c = memory_allocate_aligned(4096, 10);
  char *d = memory_copy_string("text"), *e = memory_copy("bytes", 5), *f = memory_reallocate(NULL, 3);
  CHECK(a && b && c && d && e && f);
  CHECK_INT(memory_blocks_held() - before, 6);
  f = memory_reallocate(f, 3000);
  CHECK(f != NULL);
  CHECK_INT(memory_blocks_held() - before, 6);
  memory_release(a);
  memory_release(b);
  memory_release_aligned(c);
  memory_release(d);
  memory_release(e);
  memory_release(f);
  memory_release(NULL);
  memory_release_aligned(NULL);
  CHECK_INT(memory_blocks_held(), before);
}

TEST(memory, zeroed_and_copied_bytes_are_what_they_say) {
  static const uint8_t zeros[64];
  uint8_t *z = memory_allocate_zeroed(64);
  char *copy = memory_copy_string("h\xC3\xA9");
  CHECK(z && copy);
  CHECK_BYTES(z, zeros, 64);
  CHECK_STR(copy, "h\xC3\xA9");
  memory_release(z);
  memory_release(copy);
}

TEST(memory, a_size_of_zero_is_a_block) {
  void *a = memory_allocate(0), *b = memory_allocate_aligned(64, 0), *c = memory_copy(NULL, 0);
  CHECK(a && b && c);
  memory_release(a);
  memory_release_aligned(b);
  memory_release(c);
}

TEST(memory, every_alignment_is_met) {
  for (size_t alignment = 1; alignment <= 4096; alignment *= 2) {
    for (size_t size = 0; size < 300; size += 37) {
      uint8_t *p = memory_allocate_aligned(alignment, size);
      CHECK(p != NULL);
      CHECK_INT((uintptr_t)p % alignment, 0);
      memset(p, 0xAB, size);
      memory_release_aligned(p);
    }
  }
}

TEST(memory, impossible_sizes_give_null) {
  uint64_t before = memory_blocks_held();
  CHECK(!memory_allocate(SIZE_MAX));
  CHECK(!memory_allocate_zeroed(SIZE_MAX));
  CHECK(!memory_allocate_aligned(64, SIZE_MAX));
  CHECK(!memory_allocate_aligned(64, PTRDIFF_MAX));
  CHECK(!memory_reallocate(NULL, SIZE_MAX));
  CHECK_INT(memory_blocks_held(), before);
  CHECK(memory_array_size(SIZE_MAX / 2, 3) == SIZE_MAX);
  CHECK_INT(memory_array_size(7, 6), 42);
}

TEST(memory, grow_keeps_elements_and_adds_half_at_least) {
  uint32_t *array = NULL;
  size_t capacity = 0, moves = 0;
  for (uint32_t i = 0; i < 10000; i++) {
    size_t before = capacity;
    CHECK_OK(memory_grow(&array, &capacity, i + 1, sizeof *array));
    if (capacity != before) {
      moves++;
      CHECK(capacity >= before + before / 2);
    }
    array[i] = i * 3;
  }
  CHECK(moves < 30);
  for (uint32_t i = 0; i < 10000; i++) CHECK_INT(array[i], i * 3);
  memory_release(array);
}

TEST(memory, a_failed_growth_leaves_the_array) {
  uint64_t *array = NULL;
  size_t capacity = 0;
  CHECK_OK(memory_grow(&array, &capacity, 4, sizeof *array));
  for (uint64_t i = 0; i < 4; i++) array[i] = i;
  uint64_t *kept = array;
  size_t kept_capacity = capacity;
  failing_memory_install(1, true);
  CHECK_STATUS(memory_grow(&array, &capacity, 1000, sizeof *array), KVSTORE_NOMEM);
  failing_memory_remove();
  CHECK_STATUS(memory_grow(&array, &capacity, SIZE_MAX / 4, sizeof *array), KVSTORE_NOMEM);
  CHECK(array == kept && capacity == kept_capacity);
  for (uint64_t i = 0; i < 4; i++) CHECK_INT(array[i], i);
  memory_release(array);
}

TEST(memory, growth_by_half_falls_back_to_what_is_needed) {
  uint64_t *array = NULL;
  size_t capacity = 0;
  CHECK_OK(memory_grow(&array, &capacity, 100, sizeof *array));
  failing_memory_install(1, false);
  CHECK_OK(memory_grow(&array, &capacity, 101, sizeof *array));
  CHECK_INT(failing_memory_failures(), 1);
  failing_memory_remove();
  CHECK_INT(capacity, 101);
  memory_release(array);
}

TEST(memory, the_table_fails_exactly_call_n) {
  for (int n = 1; n <= 5; n++) {
    void *blocks[5];
    failing_memory_install((uint64_t)n, false);
    for (int i = 0; i < 5; i++) {
      blocks[i] = memory_allocate(8);
      CHECK_INT(blocks[i] == NULL, i + 1 == n);
    }
    CHECK_INT(failing_memory_calls(), 5);
    CHECK_INT(failing_memory_failures(), 1);
    failing_memory_remove();
    for (int i = 0; i < 5; i++) memory_release(blocks[i]);
  }
}

/* New memory, and such as was given back before. */
TEST(memory, large_zeroed_blocks_are_zero) {
  enum { BYTES = 300 * 1000 };
  static const uint8_t zeros[BYTES];
  for (int round = 0; round < 3; round++) {
    uint8_t *block = memory_allocate_zeroed(BYTES);
    CHECK(block != NULL);
    CHECK_BYTES(block, zeros, BYTES);
    memset(block, 0xff, BYTES);
    memory_release(block);
  }
}
