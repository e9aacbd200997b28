/* visible.h - which rows a snapshot sees: sequence <= snapshot < dead_at (protocol VIS-2). */
#ifndef COLONNADE_BASE_VISIBLE_H
#define COLONNADE_BASE_VISIBLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/sanitizers.h"

#define DEAD_NEVER       UINT64_MAX  /* dead_at of a row that nothing replaced */
#define DEAD_ROLLED_BACK UINT64_C(0) /* dead_at of a row whose transaction rolled back (VIS-3) */

static inline bool row_is_visible(uint64_t sequence, uint64_t dead_at, uint64_t snapshot) {
  return sequence <= snapshot && snapshot < dead_at;
}

#if defined(SANITIZES_THREADS)
#define VISIBLE_COPY_FIRST 1
#endif

/* The mask of a block: bit i of word i / 64 says whether row i is visible. `count` is at most BLOCK_ROWS; bits past
 * it are 0 in all BLOCK_WORDS words. The writer may set entries of `dead_at` meanwhile (VIS-9): each is read once,
 * old or new, and both give the same answer at any snapshot that a reader may hold.
 *
 * The loads of dead_at are plain ones, since no compiler vectorises atomic loads; 8-byte aligned loads do not tear
 * on any machine that we build for. Under ThreadSanitizer, which cannot know that, the block is copied by relaxed
 * loads first. */
static inline void visible_block(const uint64_t *sequence, const _Atomic uint64_t *dead_at, size_t count,
                                 uint64_t snapshot, uint64_t mask[BLOCK_WORDS]) {
#ifdef VISIBLE_COPY_FIRST
  uint64_t dead[BLOCK_ROWS];
  for (size_t i = 0; i < count; i++) dead[i] = atomic_load_explicit(&dead_at[i], memory_order_relaxed);
#else
  const uint64_t *dead = (const uint64_t *)dead_at;
#endif
  for (size_t w = 0; w < BLOCK_WORDS; w++) {
    size_t first = w * 64, n = count <= first ? 0 : count - first < 64 ? count - first : 64;
    uint64_t word = 0;
    for (size_t i = 0; i < n; i++) {
      word |= (uint64_t)(sequence[first + i] <= snapshot && snapshot < dead[first + i]) << i;
    }
    mask[w] = word;
  }
}

#endif
