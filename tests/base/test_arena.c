#include "base/arena.h"

#include "base/memory.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

TEST(arena, blocks_do_not_overlap_and_are_aligned) {
  enum { COUNT = 3000 };
  static uint8_t *blocks[COUNT];
  static size_t sizes[COUNT];
  Arena arena = { 0 };
  uint64_t random = 1;
  for (size_t i = 0; i < COUNT; i++) {
    sizes[i] = test_random_below(&random, 8) ? test_random_below(&random, 200) : test_random_below(&random, 20000);
    size_t alignment = (size_t)1 << test_random_below(&random, 13);
    bool plain = test_random_below(&random, 2) == 0;
    blocks[i] = plain ? arena_allocate(&arena, sizes[i]) : arena_allocate_aligned(&arena, alignment, sizes[i]);
    CHECK(blocks[i] != NULL);
    CHECK_INT((uintptr_t)blocks[i] % (plain ? 16 : alignment), 0);
    memset(blocks[i], (int)(i & 0xFF), sizes[i]);
  }
  for (size_t i = 0; i < COUNT; i++) {
    for (size_t k = 0; k < sizes[i]; k++) CHECK_INT(blocks[i][k], i & 0xFF);
  }
  arena_release(&arena);
}

TEST(arena, release_gives_everything_back_and_it_works_again) {
  uint64_t before = memory_blocks_held();
  Arena arena = { 0 };
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 100; i++) CHECK(arena_allocate(&arena, 1000));
    CHECK(arena_allocate(&arena, 3 << 20));
    CHECK(arena.bytes_held > 3 << 20);
    arena_release(&arena);
    CHECK_INT(memory_blocks_held(), before);
    CHECK_INT(arena.bytes_held, 0);
  }
}

TEST(arena, reset_keeps_one_block_and_allocates_nothing_new) {
  uint64_t before = memory_blocks_held();
  Arena arena = { 0 };
  for (int i = 0; i < 100; i++) CHECK(arena_allocate(&arena, 500));
  arena_reset(&arena);
  CHECK_INT(memory_blocks_held() - before, 1);
  size_t held = arena.bytes_held;
  CHECK(held > 0);
  CHECK(arena_allocate(&arena, 500));
  CHECK_INT(arena.bytes_held, held);
  arena_release(&arena);
  arena_reset(&arena);
  CHECK_INT(memory_blocks_held(), before);
}

TEST(arena, copies_are_copies) {
  Arena arena = { 0 };
  char *text = arena_copy_string(&arena, "hello, world", 5);
  uint8_t *bytes = arena_copy(&arena, "\0\1\2", 3), *zeros = arena_allocate_zeroed(&arena, 4);
  CHECK_STR(text, "hello");
  CHECK_BYTES(bytes, "\0\1\2", 3);
  CHECK_BYTES(zeros, "\0\0\0\0", 4);
  CHECK(arena_allocate(&arena, 0) && arena_copy(&arena, NULL, 0));
  arena_release(&arena);
}

TEST(arena, what_one_takes_of_another_is_its_own) {
  uint64_t before = memory_blocks_held();
  Arena to = { 0 }, from = { 0 };
  char *kept[4];
  for (int round = 0; round < 4; round++) { /* into an empty one, of an empty one, of several blocks, and again */
    kept[round] = arena_copy(&from, "kept", 5);
    CHECK(kept[round] != NULL);
    for (int i = 0; round >= 2 && i < 300; i++) CHECK(arena_allocate(&from, 100) != NULL);
    size_t held = to.bytes_held + from.bytes_held;
    arena_take(&to, &from);
    CHECK_INT(to.bytes_held, held);
    CHECK_INT(from.bytes_held, 0);
    if (round == 1) arena_take(&to, &from); /* has nothing */
    for (int i = 0; i < 50; i++) memset(arena_allocate(&to, 200), 0, 200); /* it goes on filling its own block */
  }
  for (int round = 0; round < 4; round++) CHECK_STR(kept[round], "kept");
  arena_release(&from);
  for (int round = 0; round < 4; round++) CHECK_STR(kept[round], "kept");
  arena_release(&to);
  CHECK_INT(memory_blocks_held(), before);
}

TEST(arena, a_large_request_does_not_end_the_open_block) {
  Arena arena = { 0 };
  char *small = arena_allocate(&arena, 16);
  CHECK(arena_allocate(&arena, 100000));
  CHECK((char *)arena_allocate(&arena, 16) == small + 16);
  arena_release(&arena);
}

TEST(arena, a_room_of_the_callers_is_filled_before_memory_is_asked_for) {
  uint64_t before = memory_blocks_held();
  uint64_t room[32];
  char *begin = (char *)room;
  Arena arena = ARENA_OVER(room);
  char *first = arena_allocate_aligned(&arena, 16, 100);
  CHECK(first >= begin && first < begin + 16);
  CHECK_INT(memory_blocks_held(), before);
  CHECK(arena_allocate(&arena, 5000)); /* has a block of its own, */
  CHECK(arena_allocate(&arena, 16) == first + 112);
  CHECK_INT(memory_blocks_held() - before, 1);
  char *more = arena_allocate(&arena, 200); /* and this opens one */
  CHECK(more < begin || more >= begin + sizeof room);
  CHECK_INT(memory_blocks_held() - before, 2);
  arena_reset(&arena);
  CHECK_INT(memory_blocks_held() - before, 1);
  char *again = arena_allocate(&arena, 100);
  CHECK(again < begin || again >= begin + sizeof room);
  arena_release(&arena);
  CHECK_INT(memory_blocks_held(), before);
}

TEST(arena, out_of_memory_is_null_and_survived) {
  for (int first = 0; first < 2; first++) {
    Arena arena = { 0 };
    if (!first) CHECK(arena_allocate(&arena, 100));
    failing_memory_install(1, true);
    CHECK(!arena_allocate(&arena, 100000));
    CHECK(!arena_allocate_zeroed(&arena, 100000));
    CHECK(!arena_copy_string(&arena, "x", SIZE_MAX));
    CHECK(!arena_allocate(&arena, SIZE_MAX));
    if (first) CHECK(!arena_allocate(&arena, 1));
    failing_memory_remove();
    CHECK(arena_allocate(&arena, 100));
    arena_release(&arena);
  }
}
