#include "os/block_cache.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "base/assert.h"
#include "base/counters.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/memory.h"
#include "os/thread.h"

enum { SHARDS = 16, BUCKETS_LEAST = 16, BUCKETS_MOST = 1 << 14, KEPT_SHARE = 4 };

/* The bytes follow the header. A kept block has one reference of the cache, and one of each pin; only who holds the
 * shard's lock adds to it, so that a block with one reference under the lock is nobody's else. */
struct CacheBlock {
  _Alignas(CHUNK_ALIGNMENT) BlockCache *cache; /* NULL: of no cache */
  CacheKey key;
  size_t length;
  _Atomic uint32_t references;
  bool used; /* since the hand passed; under the shard's lock */
  CacheBlock *in_bucket;
  CacheBlock *before, *behind; /* the clock's circle */
};
_Static_assert(sizeof(CacheBlock) % CHUNK_ALIGNMENT == 0, "the bytes that follow are aligned");

typedef struct Shard {
  _Alignas(64) Mutex lock;
  CacheBlock **buckets;
  CacheBlock *hand;
  uint64_t count;
} Shard;

struct BlockCache {
  uint64_t bytes_max;
  uint32_t bucket_mask;
  _Atomic uint64_t kept_bytes, pinned_bytes;
  _Atomic uint32_t next_victim; /* the shard that is asked for room next */
  _Atomic uint64_t next_number;
  Shard shards[SHARDS];
};

static uint64_t block_bytes(size_t length) { return sizeof(CacheBlock) + length + CHUNK_PADDING; }

static void add(_Atomic uint64_t *word, uint64_t n) { atomic_fetch_add_explicit(word, n, memory_order_relaxed); }
static void take(_Atomic uint64_t *word, uint64_t n) { atomic_fetch_sub_explicit(word, n, memory_order_relaxed); }

/* ---- life ---- */

static uint32_t bucket_count_for(uint64_t bytes_max) {
  uint32_t count = BUCKETS_LEAST;
  while (count < BUCKETS_MOST && (uint64_t)count * SHARDS * UNIT_BYTES < bytes_max) count *= 2;
  return count;
}

Status block_cache_create(uint64_t bytes_max, BlockCache **out) {
  BlockCache *c = memory_allocate_aligned(64, sizeof *c);
  uint32_t buckets = bucket_count_for(bytes_max);
  CacheBlock **all = memory_allocate_zeroed((size_t)buckets * SHARDS * sizeof *all);
  if (!c || !all) {
    memory_release_aligned(c);
    memory_release((void *)all);
    return status_nomem();
  }
  memset(c, 0, sizeof *c);
  c->bytes_max = bytes_max;
  c->bucket_mask = buckets - 1;
  for (uint32_t i = 0; i < SHARDS; i++) {
    mutex_init(&c->shards[i].lock);
    c->shards[i].buckets = all + (size_t)i * buckets;
  }
  *out = c;
  return KVSTORE_OK;
}

static void free_circle(CacheBlock *hand) {
  if (!hand) return;
  hand->before->behind = NULL;
  for (CacheBlock *b = hand, *next; b; b = next) {
    next = b->behind;
    ASSERT(atomic_load_explicit(&b->references, memory_order_acquire) == 1, "OS-11");
    memory_release_aligned(b);
  }
}

void block_cache_destroy(BlockCache *c) {
  if (!c) return;
  for (uint32_t i = 0; i < SHARDS; i++) {
    free_circle(c->shards[i].hand);
    mutex_destroy(&c->shards[i].lock);
  }
  memory_release((void *)c->shards[0].buckets); /* those of all shards */
  memory_release_aligned(c);
}

uint64_t block_cache_number(BlockCache *c) {
  return atomic_fetch_add_explicit(&c->next_number, 1, memory_order_relaxed) + 1;
}

/* ---- finding ---- */

static bool is_of(const CacheBlock *b, const CacheKey *key, size_t length) {
  return b->key.extent == key->extent && b->key.first == key->first && b->key.count == key->count &&
         b->length == length;
}

static uint64_t hash_of(const CacheKey *key) {
  return checksum_seed(key->extent, (uint64_t)key->first << 32 | key->count);
}
static Shard *shard_of(BlockCache *c, uint64_t hash) { return &c->shards[hash >> 32 & (SHARDS - 1)]; }

static CacheBlock *find_locked(const BlockCache *c, const Shard *s, uint64_t hash, const CacheKey *key, size_t length) {
  CacheBlock *b = s->buckets[hash & c->bucket_mask];
  while (b && !is_of(b, key, length)) b = b->in_bucket;
  return b;
}

/* The shard's lock is held. */
static void pin(CacheBlock *b) {
  atomic_fetch_add_explicit(&b->references, 1, memory_order_relaxed);
  b->used = true;
}

static CacheBlock *find(BlockCache *c, uint64_t hash, const CacheKey *key, size_t length) {
  Shard *s = shard_of(c, hash);
  mutex_lock(&s->lock);
  CacheBlock *b = find_locked(c, s, hash, key, length);
  if (b) pin(b);
  mutex_unlock(&s->lock);
  return b;
}

/* ---- room ---- */

static void unlink_block(BlockCache *c, Shard *s, CacheBlock *b) {
  CacheBlock **link = &s->buckets[hash_of(&b->key) & c->bucket_mask];
  while (*link != b) link = &(*link)->in_bucket;
  *link = b->in_bucket;
  s->hand = b->behind == b ? NULL : b->behind;
  b->before->behind = b->behind;
  b->behind->before = b->before;
  s->count--;
}

/* Takes one block that nobody has pinned out of a shard, NULL: the hand went once around and passed over all. */
static CacheBlock *take_victim(BlockCache *c, Shard *s) {
  for (uint64_t looks = s->count; looks && s->hand; looks--) {
    CacheBlock *b = s->hand;
    if (atomic_load_explicit(&b->references, memory_order_acquire) == 1) {
      if (!b->used) {
        unlink_block(c, s, b);
        return b;
      }
      b->used = false;
    }
    s->hand = b->behind;
  }
  return NULL;
}

/* False: all that is kept is pinned. At the second look at a shard, what is not has been passed over once. */
static bool evict_one(BlockCache *c) {
  for (uint32_t i = 0; i < 2 * SHARDS; i++) {
    Shard *s = &c->shards[atomic_fetch_add_explicit(&c->next_victim, 1, memory_order_relaxed) % SHARDS];
    mutex_lock(&s->lock);
    CacheBlock *b = take_victim(c, s);
    mutex_unlock(&s->lock);
    if (!b) continue;
    take(&c->kept_bytes, block_bytes(b->length));
    memory_release_aligned(b);
    COUNT(cache_evictions);
    return true;
  }
  return false;
}

/* Books `bytes` of the bound. The count never passes it, not for a moment. */
static bool book(BlockCache *c, uint64_t bytes) {
  if (bytes > c->bytes_max / KEPT_SHARE) return false;
  uint64_t kept = atomic_load_explicit(&c->kept_bytes, memory_order_relaxed);
  for (;;) {
    if (kept + bytes > c->bytes_max) {
      if (!evict_one(c)) return false;
      kept = atomic_load_explicit(&c->kept_bytes, memory_order_relaxed);
    } else if (atomic_compare_exchange_weak_explicit(&c->kept_bytes, &kept, kept + bytes, memory_order_relaxed,
                                                     memory_order_relaxed)) {
      return true;
    }
  }
}

/* ---- making ---- */

static CacheBlock *allocate_block(BlockCache *c, size_t length) {
  CacheBlock *b = memory_allocate_aligned(CHUNK_ALIGNMENT, (size_t)block_bytes(length));
  while (!b && c && evict_one(c)) b = memory_allocate_aligned(CHUNK_ALIGNMENT, (size_t)block_bytes(length));
  if (!b) return NULL;
  memset(b, 0, sizeof *b);
  b->cache = c;
  b->length = length;
  atomic_init(&b->references, 1);
  if (c) add(&c->pinned_bytes, block_bytes(length));
  return b;
}

static uint8_t *bytes_of(CacheBlock *b) { return (uint8_t *)(b + 1); }

static void put_locked(BlockCache *c, Shard *s, uint64_t hash, CacheBlock *b) {
  CacheBlock **bucket = &s->buckets[hash & c->bucket_mask];
  b->in_bucket = *bucket;
  *bucket = b;
  if (s->hand) { /* behind the hand: the last one that it will come to */
    b->behind = s->hand;
    b->before = s->hand->before;
    b->before->behind = s->hand->before = b;
  } else {
    s->hand = b->before = b->behind = b;
  }
  s->count++;
}

/* Lets others find the block, if there is room. What another thread has put there first takes its place. */
static CacheBlock *keep(BlockCache *c, uint64_t hash, CacheBlock *b) {
  uint64_t bytes = block_bytes(b->length);
  if (!book(c, bytes)) {
    COUNT(cache_bypasses);
    return b;
  }
  Shard *s = shard_of(c, hash);
  mutex_lock(&s->lock);
  CacheBlock *other = find_locked(c, s, hash, &b->key, b->length);
  if (other) {
    pin(other);
  } else {
    atomic_fetch_add_explicit(&b->references, 1, memory_order_relaxed); /* the cache's; not used before a second look */
    put_locked(c, s, hash, b);
  }
  mutex_unlock(&s->lock);
  if (!other) {
    take(&c->pinned_bytes, bytes);
    return b;
  }
  take(&c->kept_bytes, bytes);
  block_cache_release(b);
  return other;
}

Status block_cache_make(BlockCache *c, size_t length, const CacheFill *fill, CacheBlock **block) {
  CacheBlock *b = allocate_block(c, length);
  if (!b) return status_nomem();
  memset(bytes_of(b) + length, 0, CHUNK_PADDING);
  Status status = fill->fill(fill->context, bytes_of(b), length);
  if (status == KVSTORE_OK)
    *block = b;
  else
    block_cache_release(b);
  return status;
}

Status block_cache_get(BlockCache *c, const CacheKey *key, size_t length, const CacheFill *fill, CacheBlock **block) {
  uint64_t hash = hash_of(key);
  CacheBlock *b = c ? find(c, hash, key, length) : NULL;
  if (b) {
    COUNT(cache_hits);
    *block = b;
    return KVSTORE_OK;
  }
  COUNT(cache_misses);
  TRY(block_cache_make(c, length, fill, &b));
  b->key = *key;
  *block = c ? keep(c, hash, b) : b;
  return KVSTORE_OK;
}

const uint8_t *cache_block_bytes(const CacheBlock *b) { return (const uint8_t *)(b + 1); }

void block_cache_release(CacheBlock *b) {
  if (atomic_fetch_sub_explicit(&b->references, 1, memory_order_acq_rel) != 1) return;
  if (b->cache) take(&b->cache->pinned_bytes, block_bytes(b->length));
  memory_release_aligned(b);
}

BlockCacheUsage block_cache_usage(const BlockCache *c) {
  BlockCacheUsage usage = { .bytes_max = c->bytes_max,
                            .kept_bytes = atomic_load_explicit(&c->kept_bytes, memory_order_relaxed),
                            .pinned_bytes = atomic_load_explicit(&c->pinned_bytes, memory_order_relaxed) };
  for (uint32_t i = 0; i < SHARDS; i++) {
    Shard *s = (Shard *)&c->shards[i];
    mutex_lock(&s->lock);
    usage.block_count += s->count;
    mutex_unlock(&s->lock);
  }
  return usage;
}
