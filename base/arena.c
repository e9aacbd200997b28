#include "base/arena.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"

enum { ARENA_ALIGNMENT = 16, BLOCK_MIN = 4096, BLOCK_MAX = 1 << 20 };

struct ArenaBlock {
  ArenaBlock *older;
  size_t size; /* with this header */
};

static char *block_data(ArenaBlock *block) { return (char *)(block + 1); }

static ArenaBlock *add_block(Arena *arena, size_t size) {
  ArenaBlock *block = memory_allocate(size);
  if (!block) return NULL;
  block->size = size;
  arena->bytes_held += size;
  return block;
}

/* A request that would leave most of a fresh block behind gets a block of its own, put beneath the newest, which goes
 * on filling. Returns room for `size` bytes, not aligned. */
static char *allocate_alone(Arena *arena, size_t size) {
  ArenaBlock *block = add_block(arena, size + sizeof *block);
  if (!block) return NULL;
  if (arena->newest) {
    block->older = arena->newest->older;
    arena->newest->older = block;
  } else {
    block->older = NULL;
    arena->newest = block; /* what is left of a caller's room goes on filling, too */
    if (!arena->at) arena->at = arena->end = block_data(block) + size;
  }
  return block_data(block);
}

static bool open_block(Arena *arena) {
  size_t size = arena->bytes_held < BLOCK_MIN   ? BLOCK_MIN
                : arena->bytes_held > BLOCK_MAX ? BLOCK_MAX
                                                : arena->bytes_held;
  ArenaBlock *block = add_block(arena, size & ~(size_t)(ARENA_ALIGNMENT - 1));
  if (!block) return false;
  block->older = arena->newest;
  arena->newest = block;
  arena->at = block_data(block);
  arena->end = (char *)block + block->size;
  return true;
}

static char *align_up(char *p, size_t alignment) { return p + (-(uintptr_t)p & (alignment - 1)); }

void *arena_allocate_aligned(Arena *arena, size_t alignment, size_t size) {
  ASSERT(alignment && alignment <= 4096 && (alignment & (alignment - 1)) == 0, "BASE-2");
  if (size == 0) size = 1;
  size_t left = (size_t)(arena->end - arena->at), skip = -(uintptr_t)arena->at & (alignment - 1);
  if (left < skip || left - skip < size) {
    if (size > PTRDIFF_MAX - 2 * alignment) return NULL;
    if (size + alignment > BLOCK_MIN / 4) {
      char *alone = allocate_alone(arena, size + alignment);
      return alone ? align_up(alone, alignment) : NULL;
    }
    if (!open_block(arena)) return NULL;
    skip = -(uintptr_t)arena->at & (alignment - 1);
  }
  char *p = arena->at + skip;
  arena->at = p + size;
  return p;
}

void *arena_allocate(Arena *arena, size_t size) { return arena_allocate_aligned(arena, ARENA_ALIGNMENT, size); }

void *arena_allocate_zeroed(Arena *arena, size_t size) {
  void *p = arena_allocate(arena, size);
  if (p) memset(p, 0, size);
  return p;
}

void *arena_copy(Arena *arena, const void *bytes, size_t length) {
  void *p = arena_allocate(arena, length);
  if (p && length) memcpy(p, bytes, length);
  return p;
}

char *arena_copy_string(Arena *arena, const char *text, size_t length) {
  if (length == SIZE_MAX) return NULL;
  char *p = arena_allocate(arena, length + 1);
  if (!p) return NULL;
  if (length) memcpy(p, text, length);
  p[length] = 0;
  return p;
}

static void release_older(Arena *arena, ArenaBlock *block) {
  while (block) {
    ArenaBlock *older = block->older;
    arena->bytes_held -= block->size;
    memory_release(block);
    block = older;
  }
}

void arena_take(Arena *arena, Arena *from) {
  if (!arena->newest) {
    *arena = *from;
  } else if (from->newest) {
    ArenaBlock *oldest = from->newest;
    while (oldest->older) oldest = oldest->older;
    oldest->older = arena->newest->older;
    arena->newest->older = from->newest;
    arena->bytes_held += from->bytes_held;
  }
  *from = (Arena){ 0 };
}

void arena_reset(Arena *arena) {
  if (!arena->newest) return;
  release_older(arena, arena->newest->older);
  arena->newest->older = NULL;
  arena->at = block_data(arena->newest);
  arena->end = (char *)arena->newest + arena->newest->size;
}

void arena_release(Arena *arena) {
  release_older(arena, arena->newest);
  *arena = (Arena){ 0 };
}
