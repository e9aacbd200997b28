/* large_memory.h - large blocks of memory: in large pages, and kept for the next one who asks.
 *
 * The system clears every page that it gives to a process, and takes about as long for that as decoding a column into
 * them. So a large block that is given back is kept for a while, and its pages are offered to the system, which takes
 * them when it is short of memory (MADV_FREE); what it has not taken needs no clearing. */
#ifndef COLONNADE_OS_LARGE_MEMORY_H
#define COLONNADE_OS_LARGE_MEMORY_H

#include <stddef.h>

enum {
  LARGE_BLOCK_BYTES = 2 << 20,     /* a smaller one is the allocator's own affair */
  LARGE_BLOCKS_KEPT = 64,          /* at most so many, */
  LARGE_BYTES_KEPT_MAX = 128 << 20 /* and so much of them, in a process; the oldest go first */
};

typedef struct LargeBlock {
  void *bytes; /* aligned to 4096; NULL: none */
  size_t size;
} LargeBlock;

/* A hint before the first use of a large block: let it lie in large pages where the system has them (a page fault for
 * 2 MiB instead of 4 KiB, and few misses of the TLB). Blocks below LARGE_BLOCK_BYTES are left alone. */
void os_prefer_large_pages(void *address, size_t length);

/* A block of at least `size` bytes, LARGE_BLOCK_BYTES or more, with anything in it; at most twice as large. Without
 * memory its bytes are NULL. Any thread. */
LargeBlock large_block_take(size_t size);
/* Ends its use; NULL is allowed. Any thread. */
void large_block_give(LargeBlock block);

/* Blocks are kept from the first keep to the last leave (every open store keeps), which releases them. */
void large_blocks_keep(void);
void large_blocks_leave(void);

#endif
