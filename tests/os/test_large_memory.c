/* Large blocks of memory are kept and used again, bounded. */
#include "os/large_memory.h"

#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "os/thread.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

enum { MIB = 1 << 20, THREADS = 4, ROUNDS = 200, YIELDS = 3 };

static uint64_t reused(void) { return counter_get(COUNTER_large_blocks_reused); }

/* Takes a block and fills it, as its user would. */
static LargeBlock take(size_t size) {
  LargeBlock block = large_block_take(size);
  CHECK(block.bytes && block.size >= size);
  CHECK_INT((uintptr_t)block.bytes % 4096, 0);
  memset(block.bytes, 0xa5, block.size);
  return block;
}

TEST(large_memory, a_block_that_was_given_back_is_used_again) {
  large_blocks_keep();
  uint64_t held = memory_blocks_held(), before = reused();
  LargeBlock first = take(5 * MIB), second = take(5 * MIB);
  CHECK(first.bytes != second.bytes);
  CHECK_INT(reused(), before);
  large_block_give(first);
  CHECK_INT(memory_blocks_held(), held + 2);
  CHECK(take(3 * MIB).bytes == first.bytes); /* with room to spare, */
  CHECK_INT(reused(), before + 1);
  large_block_give(first);
  LargeBlock small = take(2 * MIB); /* but no more than as much again */
  CHECK(small.bytes != first.bytes);
  CHECK_INT(reused(), before + 1);
  large_block_give(small);
  large_block_give(second);
  large_block_give((LargeBlock){ 0 });
  large_blocks_leave();
  CHECK_INT(memory_blocks_held(), held);
}

TEST(large_memory, the_smallest_that_will_do_is_taken) {
  large_blocks_keep();
  LargeBlock large = take(5 * MIB), small = take(3 * MIB), middle = take(4 * MIB);
  large_block_give(large);
  large_block_give(small);
  large_block_give(middle);
  CHECK(take(3 * MIB + 1).bytes == middle.bytes);
  CHECK(take(3 * MIB).bytes == small.bytes);
  large_block_give(middle);
  large_block_give(small);
  large_blocks_leave();
}

TEST(large_memory, what_is_kept_is_bounded_in_number_and_in_bytes) {
  large_blocks_keep();
  LargeBlock blocks[LARGE_BLOCKS_KEPT + 1];
  uint64_t held = memory_blocks_held();
  for (int i = 0; i <= LARGE_BLOCKS_KEPT; i++) blocks[i] = take(2 * MIB);
  for (int i = 0; i <= LARGE_BLOCKS_KEPT; i++) large_block_give(blocks[i]);
  CHECK_INT(memory_blocks_held(), held + LARGE_BLOCKS_KEPT);
  LargeBlock most = large_block_take(LARGE_BYTES_KEPT_MAX), over = large_block_take(LARGE_BYTES_KEPT_MAX + 1);
  CHECK(most.bytes && over.bytes);
  large_block_give(over); /* goes at once */
  CHECK_INT(memory_blocks_held(), held + LARGE_BLOCKS_KEPT + 1);
  large_block_give(most); /* all others go for it */
  CHECK_INT(memory_blocks_held(), held + 1);
  large_blocks_leave();
  CHECK_INT(memory_blocks_held(), held);
}

TEST(large_memory, nothing_is_kept_for_nobody) {
  uint64_t held = memory_blocks_held(), before = reused();
  large_block_give(take(2 * MIB));
  CHECK_INT(memory_blocks_held(), held);
  large_blocks_keep();
  large_blocks_keep();
  large_block_give(take(2 * MIB));
  large_blocks_leave();
  CHECK_INT(memory_blocks_held(), held + 1);
  large_block_give(take(2 * MIB));
  CHECK_INT(reused(), before + 1);
  large_blocks_leave();
  CHECK_INT(memory_blocks_held(), held);
}

TEST(large_memory, without_memory_there_is_none) {
  failing_memory_install(1, false);
  LargeBlock block = large_block_take(2 * MIB);
  failing_memory_remove();
  CHECK(!block.bytes);
  CHECK_INT(block.size, 0);
}

/* Writes its own number at both ends, lets others run, and looks whether it is still there. */
static void take_and_give(void *context) {
  const int own = *(const int *)context;
  for (int i = 0; i < ROUNDS; i++) {
    LargeBlock block = large_block_take(2 * MIB);
    CHECK(block.bytes);
    volatile int *first = block.bytes, *last = first + 2 * MIB / sizeof *first - 1;
    *first = *last = own;
    for (int k = 0; k < YIELDS; k++) thread_yield();
    CHECK_INT(*first, own);
    CHECK_INT(*last, own);
    large_block_give(block);
  }
}

TEST(large_memory, threads_never_share_a_block) {
  large_blocks_keep();
  uint64_t held = memory_blocks_held(), before = reused();
  Thread threads[THREADS];
  int numbers[THREADS];
  for (int i = 0; i < THREADS; i++) {
    numbers[i] = i;
    CHECK_OK(thread_start(&threads[i], take_and_give, &numbers[i]));
  }
  for (int i = 0; i < THREADS; i++) thread_join(&threads[i]);
  CHECK(reused() > before);
  large_blocks_leave();
  CHECK_INT(memory_blocks_held(), held);
}
