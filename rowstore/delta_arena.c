#include "rowstore/delta_arena.h"

#include "base/assert.h"
#include "base/memory.h"
#include "os/large_memory.h"

static void add_relaxed(_Atomic uint64_t *counter, uint64_t n) { /* one writer: no read-modify-write is needed */
  atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

/* As much again as there is, within limits, and enough for `size`. */
static size_t next_chunk_size(const DeltaArena *arena, size_t size) {
  uint64_t held = atomic_load_explicit(&arena->bytes_held, memory_order_relaxed);
  size_t wanted = DELTA_ARENA_CHUNK_FIRST;
  while (wanted < DELTA_SLAB_BYTES && (wanted < held || wanted < size + DELTA_ARENA_ALIGNMENT)) wanted *= 2;
  return wanted;
}

static Status open_chunk(DeltaArena *arena, size_t size) {
  if (arena->chunk_count == DELTA_ARENA_CHUNKS) {
    return status_fail(KVSTORE_NOMEM, "a delta holds %u chunks of rows, which is all that its references can name",
                       arena->chunk_count);
  }
  size_t capacity = next_chunk_size(arena, size);
  LargeBlock chunk = { NULL, capacity };
  if (capacity >= LARGE_BLOCK_BYTES)
    chunk = large_block_take(capacity);
  else
    chunk.bytes = memory_allocate_aligned(64, capacity);
  if (!chunk.bytes) return status_nomem();
  arena->chunks[arena->chunk_count] = chunk.bytes;
  arena->sizes[arena->chunk_count++] = chunk.size;
  arena->capacity = capacity; /* all that references can name, of a block that may be larger */
  arena->used = arena->chunk_count == 1 ? DELTA_ARENA_ALIGNMENT : 0; /* reference 0 names nothing */
  add_relaxed(&arena->bytes_held, chunk.size);
  return KVSTORE_OK;
}

Status delta_arena_allocate(DeltaArena *arena, size_t size, uint32_t *reference) {
  ASSERT(size > 0 && size <= DELTA_ARENA_ALLOCATION_MAX, "DELTA-ROW-1");
  size = (size_t)round_up(size, DELTA_ARENA_ALIGNMENT);
  if (arena->capacity - arena->used < size) TRY(open_chunk(arena, size));
  *reference = (arena->chunk_count - 1) << DELTA_ARENA_OFFSET_BITS | (uint32_t)(arena->used / DELTA_ARENA_ALIGNMENT);
  arena->used += size;
  add_relaxed(&arena->bytes_used, size);
  return KVSTORE_OK;
}

void delta_arena_undo(DeltaArena *arena, uint32_t reference, size_t size) {
  size = (size_t)round_up(size, DELTA_ARENA_ALIGNMENT);
  ASSERT(delta_arena_at(arena, reference) == arena->chunks[arena->chunk_count - 1] + arena->used - size, "DELTA-ROW-1");
  arena->used -= size;
  add_relaxed(&arena->bytes_used, (uint64_t)0 - size);
}

void delta_arena_release(DeltaArena *arena) {
  for (uint32_t i = 0; i < arena->chunk_count; i++) {
    if (arena->sizes[i] >= LARGE_BLOCK_BYTES)
      large_block_give((LargeBlock){ arena->chunks[i], arena->sizes[i] });
    else
      memory_release_aligned(arena->chunks[i]);
  }
  *arena = (DeltaArena){ .chunk_count = 0 };
}
