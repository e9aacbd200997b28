/* block_cache.h - what was read or decoded and may be asked for again: units of extents, frames of packed runs.
 *
 * One cache a store, bounded in bytes. A block is found by the extent that it comes from and by its place there. The
 * extent is named by a number that it gets when it is opened and that is never given again: two extents to which a
 * crafted file gives one id stay apart, and nothing in the cache ever becomes wrong. Whoever gets a block has it pinned
 * until the release; a pinned block is never evicted. What finds no room, because all the rest is pinned or because it
 * is more than a quarter of the cache, is its reader's alone and goes with its pin: the cache itself never passes its
 * bound.
 *
 * Blocks lie in shards by the hash of their key, each with a lock, a hash table and a clock: a block that was asked for
 * since the hand passed last is passed over once more. Bytes are counted over all shards together, headers included;
 * who needs room asks one shard after the other.
 *
 * Threads: everything from any thread, except that destroy comes last. No call holds a lock while it fills a block: two
 * threads that miss the same block both fill it, and the first one stays. */
#ifndef COLONNADE_OS_BLOCK_CACHE_H
#define COLONNADE_OS_BLOCK_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define BLOCK_CACHE_BYTES_DEFAULT (2000u * 4096u)

typedef struct BlockCache BlockCache;
typedef struct CacheBlock CacheBlock;

/* `count` units of an extent from `first` on; count 0: the decoded frame that begins at byte `first`. The length of
 * what is asked for belongs to the key. */
typedef struct CacheKey {
  uint64_t extent; /* block_cache_number */
  uint32_t first, count;
} CacheKey;

/* Fills in the `length` bytes of a block. */
typedef struct CacheFill {
  Status (*fill)(void *context, uint8_t *bytes, size_t length);
  void *context;
} CacheFill;

/* KVSTORE_NOMEM leaves *cache untouched. `bytes_max` 0: nothing is kept. */
Status block_cache_create(uint64_t bytes_max, BlockCache **cache) MUST_CHECK;
/* Nothing of it may be pinned. NULL is allowed. */
void block_cache_destroy(BlockCache *cache);
/* A number for an extent that is being opened: 1, 2, 3 ... */
uint64_t block_cache_number(BlockCache *cache);

/* The block of a key, pinned, filled in when it is not there. Its bytes begin at a multiple of CHUNK_ALIGNMENT, and
 * CHUNK_PADDING zeros follow them. `cache` NULL: always filled in, never kept. A failed
 * fill leaves nothing behind; short of memory, blocks are evicted before it is KVSTORE_NOMEM. */
Status block_cache_get(BlockCache *cache, const CacheKey *key, size_t length, const CacheFill *fill,
                       CacheBlock **block) MUST_CHECK;
/* A block that nobody else will find. `cache` may be NULL. */
Status block_cache_make(BlockCache *cache, size_t length, const CacheFill *fill, CacheBlock **block) MUST_CHECK;
const uint8_t *cache_block_bytes(const CacheBlock *block);
void block_cache_release(CacheBlock *block);

typedef struct BlockCacheUsage {
  uint64_t bytes_max;
  uint64_t kept_bytes;   /* found by others; never above bytes_max */
  uint64_t pinned_bytes; /* their reader's alone, for want of room */
  uint64_t block_count;  /* of those that are kept */
} BlockCacheUsage;
/* Numbers of one moment, each for itself. */
BlockCacheUsage block_cache_usage(const BlockCache *cache);

#endif
