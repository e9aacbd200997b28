/* delta_arena.h - memory whose addresses never change, named by 32-bit references that count 8 bytes.
 *
 * A reference is 9 bits of chunk and 23 bits of offset. Chunks double from 64 KiB to 64 MiB, so that a small family
 * costs little and a large one few chunks; together they hold about 31 GiB. Nothing is given back before the end.
 *
 * Threads: one allocates at a time; who got a reference through an acquire of whatever published it may use it. */
#ifndef COLONNADE_ROWSTORE_DELTA_ARENA_H
#define COLONNADE_ROWSTORE_DELTA_ARENA_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/status.h"

enum {
  DELTA_ARENA_ALIGNMENT = 8,
  DELTA_ARENA_OFFSET_BITS = 23, /* 8 Mi units of 8 bytes: 64 MiB */
  DELTA_ARENA_CHUNKS = 512,
  DELTA_ARENA_CHUNK_FIRST = 64 << 10,
  DELTA_ARENA_ALLOCATION_MAX = 1 << 20, /* bytes of one allocation: longer values lie elsewhere */
};

typedef struct DeltaArena {
  uint8_t *chunks[DELTA_ARENA_CHUNKS];
  size_t sizes[DELTA_ARENA_CHUNKS]; /* of chunks: large ones are large blocks (os/large_memory.h) */
  uint32_t chunk_count;
  size_t used, capacity; /* of the newest chunk */
  _Atomic uint64_t bytes_used, bytes_held;
} DeltaArena;

/* A zeroed arena is empty. `size` bytes at a multiple of 8, not cleared, and their reference (never 0). KVSTORE_NOMEM
 * leaves the arena as it was. */
Status delta_arena_allocate(DeltaArena *arena, size_t size, uint32_t *reference) MUST_CHECK;
/* Takes back the newest allocation, which nobody has seen. */
void delta_arena_undo(DeltaArena *arena, uint32_t reference, size_t size);
void delta_arena_release(DeltaArena *arena);

static inline void *delta_arena_at(const DeltaArena *arena, uint32_t reference) {
  return arena->chunks[reference >> DELTA_ARENA_OFFSET_BITS] +
         (size_t)(reference & ((1u << DELTA_ARENA_OFFSET_BITS) - 1)) * DELTA_ARENA_ALIGNMENT;
}

#endif
