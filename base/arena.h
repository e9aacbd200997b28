/* arena.h - memory of one lifetime: the work of a statement, a flush, an open run. Allocation is a bump of a pointer;
 * everything goes at once. Not for many threads at once. */
#ifndef COLONNADE_BASE_ARENA_H
#define COLONNADE_BASE_ARENA_H

#include <stddef.h>

#include "base/status.h"

typedef struct ArenaBlock ArenaBlock;

/* Zero-initialise ({0}) to start; no creation call is needed. */
typedef struct Arena {
  ArenaBlock *newest;
  char *at, *end;
  size_t bytes_held;
} Arena;

/* To start in memory of the caller's own, a local array of a multiple of 16 bytes, say: work that fits there asks for
 * none. */
#define ARENA_OVER(room) \
  { NULL, (char *)(room), (char *)(room) + sizeof(room), 0 }

/* `size` bytes, aligned to 16, not cleared; NULL when out of memory. */
void *arena_allocate(Arena *arena, size_t size);
void *arena_allocate_zeroed(Arena *arena, size_t size);
/* The same at a multiple of `alignment`: a power of two, at most 4096. */
void *arena_allocate_aligned(Arena *arena, size_t alignment, size_t size);
void *arena_copy(Arena *arena, const void *bytes, size_t length);
/* A NUL-terminated copy of `length` bytes. */
char *arena_copy_string(Arena *arena, const char *text, size_t length);
/* What `from` holds is the arena's from now on, and lives as long; `from` is empty. Neither has a caller's room. */
void arena_take(Arena *arena, Arena *from);
/* Forgets everything, keeps the newest block for reuse (not the caller's room). */
void arena_reset(Arena *arena);
/* Gives everything back; the arena may be used again. */
void arena_release(Arena *arena);

#endif
