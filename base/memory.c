#include "base/memory.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum { NEW_PAGES_BYTES = 128 * 1024 };

static void *system_allocate(void *context, size_t size) {
  (void)context;
  return malloc(size);
}

static void *system_reallocate(void *context, void *pointer, size_t size) {
  (void)context;
  return realloc(pointer, size);
}

static void system_release(void *context, void *pointer) {
  (void)context;
  free(pointer);
}

static const MemoryTable system_table = { system_allocate, system_reallocate, system_release, NULL };
static MemoryTable table = { system_allocate, system_reallocate, system_release, NULL };
static _Atomic uint64_t blocks_held;

void memory_table_set(const MemoryTable *replacement) { table = replacement ? *replacement : system_table; }

/* No object is larger than PTRDIFF_MAX; asking the table for more only meets its own checks (sanitizers abort there).
 */
static bool too_large(size_t size) { return size > PTRDIFF_MAX; }

static void count_one(void) { atomic_fetch_add_explicit(&blocks_held, 1, memory_order_relaxed); }

void *memory_allocate(size_t size) {
  if (too_large(size)) return NULL;
  void *pointer = table.allocate(table.context, size ? size : 1);
  if (pointer) count_one();
  return pointer;
}

/* Much of the system's own memory comes in pages that are new and zero: they are not touched before they are used. */
void *memory_allocate_zeroed(size_t size) {
  if (size >= NEW_PAGES_BYTES && !too_large(size) && table.allocate == system_allocate) {
    void *zeros = calloc(1, size);
    if (zeros) count_one();
    return zeros;
  }
  void *pointer = memory_allocate(size);
  if (pointer) memset(pointer, 0, size);
  return pointer;
}

void *memory_reallocate(void *pointer, size_t size) {
  if (too_large(size)) return NULL;
  void *moved = table.reallocate(table.context, pointer, size ? size : 1);
  if (moved && !pointer) count_one();
  return moved;
}

void memory_release(void *pointer) {
  if (!pointer) return;
  atomic_fetch_sub_explicit(&blocks_held, 1, memory_order_relaxed);
  table.release(table.context, pointer);
}

/* The block that the table gave is remembered in the word before the aligned address. */
void *memory_allocate_aligned(size_t alignment, size_t size) {
  ASSERT(alignment && alignment <= 4096 && (alignment & (alignment - 1)) == 0, "BASE-2");
  size_t slack = alignment + sizeof(void *);
  if (too_large(size) || too_large(size + slack)) return NULL;
  char *block = memory_allocate(size + slack);
  if (!block) return NULL;
  uintptr_t first = (uintptr_t)block + sizeof(void *);
  char *aligned = block + (((first + alignment - 1) & ~(uintptr_t)(alignment - 1)) - (uintptr_t)block);
  memcpy(aligned - sizeof block, &block, sizeof block);
  return aligned;
}

void memory_release_aligned(void *pointer) {
  if (!pointer) return;
  void *block;
  memcpy(&block, (char *)pointer - sizeof block, sizeof block);
  memory_release(block);
}

char *memory_copy_string(const char *text) { return memory_copy(text, strlen(text) + 1); }

void *memory_copy(const void *bytes, size_t length) {
  void *copy = memory_allocate(length);
  if (copy && length) memcpy(copy, bytes, length);
  return copy;
}

/* The array's pointer is moved by memcpy: its type is the caller's. */
Status memory_grow(void *array, size_t *capacity, size_t needed, size_t size) {
  if (needed <= *capacity) return KVSTORE_OK;
  size_t wanted = *capacity + *capacity / 2;
  if (wanted < needed) wanted = needed;
  if (wanted < 8) wanted = 8;
  void *old, *grown;
  memcpy(&old, array, sizeof old);
  grown = memory_reallocate(old, memory_array_size(wanted, size));
  if (!grown && wanted > needed) {
    wanted = needed;
    grown = memory_reallocate(old, memory_array_size(wanted, size));
  }
  if (!grown) return status_nomem();
  memcpy(array, &grown, sizeof grown);
  *capacity = wanted;
  return KVSTORE_OK;
}

uint64_t memory_blocks_held(void) { return atomic_load_explicit(&blocks_held, memory_order_relaxed); }
