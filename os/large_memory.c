#include "os/large_memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "base/counters.h"
#include "base/memory.h"
#include "os/thread.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif
#endif
#ifndef ASAN_POISON_MEMORY_REGION
#define ASAN_POISON_MEMORY_REGION(address, size)   ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

enum { SMALL_PAGE_BYTES = 4096 };

void os_prefer_large_pages(void *address, size_t length) {
  uintptr_t begin = ((uintptr_t)address + SMALL_PAGE_BYTES - 1) & ~(uintptr_t)(SMALL_PAGE_BYTES - 1);
  uintptr_t end = ((uintptr_t)address + length) & ~(uintptr_t)(SMALL_PAGE_BYTES - 1);
  if (length < LARGE_BLOCK_BYTES || end <= begin) return;
#ifdef MADV_HUGEPAGE
  if (madvise((char *)address + (begin - (uintptr_t)address), end - begin, MADV_HUGEPAGE) == 0)
    COUNT(large_pages_asked);
#endif
}

/* ---- kept blocks, the oldest first ---- */

/* Who takes and gives does not wait for the lock, but goes without. */
static struct {
  Mutex lock;
  bool watches_forks; /* else nothing is kept: a child's lock could be held by nobody who is there */
  uint64_t keepers;
  LargeBlock blocks[LARGE_BLOCKS_KEPT];
  size_t count, bytes;
} kept = { .lock = MUTEX_INITIALIZER };

static void before_fork(void) { mutex_lock(&kept.lock); }
static void after_fork(void) { mutex_unlock(&kept.lock); }

static void release(LargeBlock block) {
  ASAN_UNPOISON_MEMORY_REGION(block.bytes, block.size);
  memory_release_aligned(block.bytes);
}

static LargeBlock remove_kept(size_t at) {
  LargeBlock block = kept.blocks[at];
  kept.count--;
  kept.bytes -= block.size;
  memmove(kept.blocks + at, kept.blocks + at + 1, (kept.count - at) * sizeof block);
  return block;
}

/* The smallest that will do; none: the count. */
static size_t best_kept(size_t size) {
  size_t best = kept.count;
  for (size_t i = 0; i < kept.count; i++) {
    size_t held = kept.blocks[i].size;
    if (held >= size && held / 2 <= size && (best == kept.count || held < kept.blocks[best].size)) best = i;
  }
  return best;
}

static LargeBlock take_kept(size_t size) {
  LargeBlock block = { 0 };
  if (!mutex_try_lock(&kept.lock)) return block;
  size_t at = best_kept(size);
  if (at < kept.count) block = remove_kept(at);
  mutex_unlock(&kept.lock);
  return block;
}

LargeBlock large_block_take(size_t size) {
  LargeBlock block = take_kept(size);
  if (block.bytes) {
    COUNT(large_blocks_reused);
    ASAN_UNPOISON_MEMORY_REGION(block.bytes, block.size);
    return block;
  }
  block.bytes = memory_allocate_aligned(SMALL_PAGE_BYTES, size);
  block.size = block.bytes ? size : 0;
  if (block.bytes) os_prefer_large_pages(block.bytes, size);
  return block;
}

/* Offers the whole pages of a block to the system. */
static void offer(LargeBlock block) {
#ifdef MADV_FREE
  (void)madvise(block.bytes, block.size & ~(size_t)(SMALL_PAGE_BYTES - 1), MADV_FREE);
#endif
  ASAN_POISON_MEMORY_REGION(block.bytes, block.size);
}

/* Keeps a block, and says which had to go for it: they, or the block itself, are the caller's to release. */
static size_t keep(LargeBlock block, LargeBlock dropped[LARGE_BLOCKS_KEPT + 1]) {
  size_t drops = 0;
  if (!kept.keepers || !kept.watches_forks || block.size > LARGE_BYTES_KEPT_MAX) {
    dropped[drops++] = block;
    return drops;
  }
  while (kept.count == LARGE_BLOCKS_KEPT || kept.bytes + block.size > LARGE_BYTES_KEPT_MAX)
    dropped[drops++] = remove_kept(0);
  offer(block);
  kept.blocks[kept.count++] = block;
  kept.bytes += block.size;
  return drops;
}

void large_block_give(LargeBlock block) {
  if (!block.bytes) return;
  LargeBlock dropped[LARGE_BLOCKS_KEPT + 1] = { block };
  size_t drops = 1;
  if (mutex_try_lock(&kept.lock)) {
    drops = keep(block, dropped);
    mutex_unlock(&kept.lock);
  }
  for (size_t i = 0; i < drops; i++) release(dropped[i]);
}

void large_blocks_keep(void) {
  mutex_lock(&kept.lock);
  if (!kept.watches_forks) kept.watches_forks = pthread_atfork(before_fork, after_fork, after_fork) == 0;
  kept.keepers++;
  mutex_unlock(&kept.lock);
}

void large_blocks_leave(void) {
  LargeBlock dropped[LARGE_BLOCKS_KEPT];
  size_t drops = 0;
  mutex_lock(&kept.lock);
  if (--kept.keepers == 0) {
    while (kept.count) dropped[drops++] = remove_kept(kept.count - 1);
  }
  mutex_unlock(&kept.lock);
  for (size_t i = 0; i < drops; i++) release(dropped[i]);
}
