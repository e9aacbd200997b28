/* memory.h - all heap memory of the library, through one replaceable table, so that a test can fail the n-th allocation
 * and kvstore_memory_usage can say what is held.
 *
 * Threads: every function may be called from any thread; memory_table_set only while no other thread is inside. */
#ifndef COLONNADE_BASE_MEMORY_H
#define COLONNADE_BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct MemoryTable {
  void *(*allocate)(void *context, size_t size);                  /* NULL when there is none left */
  void *(*reallocate)(void *context, void *pointer, size_t size); /* as realloc */
  void (*release)(void *context, void *pointer);                  /* as free; NULL is allowed */
  void *context;
} MemoryTable;

/* Replaces the table (copied); NULL restores malloc, realloc and free. */
void memory_table_set(const MemoryTable *table);

/* NULL when out of memory, and only then: a size of 0 is taken as 1. */
void *memory_allocate(size_t size);
void *memory_allocate_zeroed(size_t size);
void *memory_reallocate(void *pointer, size_t size);
void memory_release(void *pointer);
/* A block whose address is a multiple of `alignment` (a power of two, at most 4096); released by
 * memory_release_aligned. */
void *memory_allocate_aligned(size_t alignment, size_t size);
void memory_release_aligned(void *pointer);
char *memory_copy_string(const char *text);
void *memory_copy(const void *bytes, size_t length);

/* count * size, or SIZE_MAX when that overflows (which no allocation satisfies). */
static inline size_t memory_array_size(size_t count, size_t size) {
  size_t total;
  return __builtin_mul_overflow(count, size, &total) ? SIZE_MAX : total;
}

/* Makes room for `needed` elements in a growing array: *capacity elements of `size` bytes at *array (both may start as
 * 0 and NULL). Grows by half at least. On KVSTORE_NOMEM the array is as it was. */
Status memory_grow(void *array, size_t *capacity, size_t needed, size_t size) MUST_CHECK;

/* Blocks handed out and not yet released. Tests compare it before and after. */
uint64_t memory_blocks_held(void);

#endif
