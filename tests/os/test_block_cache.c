#include "os/block_cache.h"

#include <stdatomic.h>

#include "base/counters.h"
#include "base/limits.h"
#include "base/memory.h"
#include "os/thread.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

enum { UNIT = UNIT_BYTES, ROOM = 8 };

/* What a block costs beside its bytes: its header and padding. */
enum { EXTRA = 256 };

typedef struct Origin {
  uint64_t seed;
  _Atomic uint32_t fills;
  Status status;
} Origin;

static uint8_t byte_of(uint64_t seed, size_t at) { return (uint8_t)(seed * 131 + at * 7); }

static Status fill(void *context, uint8_t *bytes, size_t length) {
  Origin *o = context;
  atomic_fetch_add(&o->fills, 1);
  for (size_t i = 0; i < length; i++) bytes[i] = byte_of(o->seed, i);
  return o->status;
}

static Status get(BlockCache *c, Origin *o, uint64_t extent, uint32_t first, size_t length, CacheBlock **block) {
  CacheKey key = { extent, first, 1 };
  CacheFill f = { fill, o };
  o->seed = extent * 1000 + first;
  return block_cache_get(c, &key, length, &f, block);
}

static void check_block(const CacheBlock *b, uint64_t seed, size_t length) {
  const uint8_t *bytes = cache_block_bytes(b);
  CHECK_INT((uintptr_t)bytes % CHUNK_ALIGNMENT, 0);
  for (size_t i = 0; i < length; i++) CHECK_INT(bytes[i], byte_of(seed, i));
  for (size_t i = 0; i < CHUNK_PADDING; i++) CHECK_INT(bytes[length + i], 0);
}

static BlockCache *cache_of(uint32_t units) {
  BlockCache *c = NULL;
  CHECK_OK(block_cache_create((uint64_t)units * (UNIT + EXTRA), &c));
  return c;
}

TEST(block_cache, a_block_is_filled_once_and_found_again) {
  BlockCache *c = cache_of(ROOM);
  Origin o = { 0 };
  uint64_t hits = counter_get(COUNTER_cache_hits), misses = counter_get(COUNTER_cache_misses);
  for (int round = 0; round < 3; round++) {
    for (uint32_t i = 0; i < 4; i++) {
      CacheBlock *b;
      CHECK_OK(get(c, &o, 1 + i % 2, i, UNIT - i, &b));
      check_block(b, (1 + i % 2) * 1000 + i, UNIT - i);
      block_cache_release(b);
    }
  }
  CHECK_INT(atomic_load(&o.fills), 4);
  CHECK_INT(counter_get(COUNTER_cache_misses) - misses, 4);
  CHECK_INT(counter_get(COUNTER_cache_hits) - hits, 8);
  CHECK_INT(block_cache_usage(c).block_count, 4);
  CHECK_INT(block_cache_usage(c).pinned_bytes, 0);
  block_cache_destroy(c);
}

TEST(block_cache, what_is_kept_never_passes_the_bound) {
  BlockCache *c = cache_of(ROOM);
  Origin o = { 0 };
  uint64_t random = 11, evictions = counter_get(COUNTER_cache_evictions);
  for (int i = 0; i < 2000; i++) {
    CacheBlock *b;
    uint64_t extent = 1 + test_random_below(&random, 3);
    uint32_t first = (uint32_t)test_random_below(&random, 20);
    size_t length = 1 + (extent * 4001 + first * 977) % UNIT; /* of a key always the same */
    CHECK_OK(get(c, &o, extent, first, length, &b));
    check_block(b, extent * 1000 + first, length);
    block_cache_release(b);
    BlockCacheUsage u = block_cache_usage(c);
    CHECK(u.kept_bytes <= u.bytes_max);
    CHECK_INT(u.pinned_bytes, 0);
  }
  CHECK(counter_get(COUNTER_cache_evictions) - evictions > 100);
  block_cache_destroy(c);
}

TEST(block_cache, a_pinned_block_is_never_evicted_and_what_finds_no_room_is_its_readers_alone) {
  BlockCache *c = cache_of(ROOM);
  Origin o = { 0 };
  CacheBlock *pinned[ROOM + 4], *b;
  uint64_t bypasses = counter_get(COUNTER_cache_bypasses), evictions = counter_get(COUNTER_cache_evictions);
  for (uint32_t i = 0; i < ROOM + 4; i++) CHECK_OK(get(c, &o, 1, i, UNIT, &pinned[i]));
  CHECK_INT(counter_get(COUNTER_cache_bypasses) - bypasses, 4);
  CHECK_INT(counter_get(COUNTER_cache_evictions) - evictions, 0);
  CHECK_INT(block_cache_usage(c).block_count, ROOM);
  CHECK(block_cache_usage(c).pinned_bytes >= 4 * UNIT);
  CHECK(block_cache_usage(c).kept_bytes <= block_cache_usage(c).bytes_max);
  for (uint32_t i = 0; i < ROOM + 4; i++) check_block(pinned[i], 1000 + i, UNIT);
  for (uint32_t i = 0; i < ROOM + 4; i++) block_cache_release(pinned[i]);
  CHECK_INT(block_cache_usage(c).pinned_bytes, 0);
  CHECK_OK(get(c, &o, 1, ROOM + 3, UNIT, &b)); /* now there is room */
  block_cache_release(b);
  CHECK_INT(counter_get(COUNTER_cache_evictions) - evictions, 1);
  block_cache_destroy(c);
}

TEST(block_cache, what_is_asked_for_again_outlives_what_passes_by) {
  BlockCache *c = cache_of(ROOM);
  Origin o = { 0 };
  CacheBlock *b;
  for (uint32_t i = 0; i < 200; i++) {
    CHECK_OK(get(c, &o, 1, 0, UNIT, &b));
    block_cache_release(b);
    CHECK_OK(get(c, &o, 2, i, UNIT, &b));
    block_cache_release(b);
  }
  CHECK_INT(atomic_load(&o.fills), 201);
  block_cache_destroy(c);
}

TEST(block_cache, a_large_block_passes_by_and_leaves_the_others) {
  BlockCache *c = cache_of(ROOM);
  Origin o = { 0 };
  CacheBlock *small, *large;
  CHECK_OK(get(c, &o, 1, 0, UNIT, &small));
  block_cache_release(small);
  CHECK_OK(get(c, &o, 1, 1, UNIT * ROOM / 2, &large));
  check_block(large, 1001, UNIT * ROOM / 2);
  block_cache_release(large);
  CHECK_INT(block_cache_usage(c).block_count, 1);
  CHECK_OK(get(c, &o, 1, 0, UNIT, &small));
  block_cache_release(small);
  CHECK_INT(atomic_load(&o.fills), 2);
  block_cache_destroy(c);
}

TEST(block_cache, without_a_cache_every_read_fills_and_nothing_is_kept) {
  BlockCache *c = NULL;
  Origin o = { 0 };
  CHECK_OK(block_cache_create(0, &c));
  for (int i = 0; i < 4; i++) {
    CacheBlock *b;
    CHECK_OK(get(i % 2 ? c : NULL, &o, 1, 0, 100, &b));
    check_block(b, 1000, 100);
    block_cache_release(b);
  }
  CHECK_INT(atomic_load(&o.fills), 4);
  CHECK_INT(block_cache_usage(c).kept_bytes + block_cache_usage(c).pinned_bytes, 0);
  CHECK(block_cache_number(c) != block_cache_number(c));
  block_cache_destroy(c);
}

TEST(block_cache, a_failed_fill_leaves_nothing_behind) {
  BlockCache *c = cache_of(ROOM);
  Origin o = { .status = KVSTORE_IO };
  CacheBlock *b = NULL;
  uint64_t held = memory_blocks_held();
  CHECK_STATUS(get(c, &o, 1, 0, UNIT, &b), KVSTORE_IO);
  CHECK(b == NULL);
  CHECK_INT(memory_blocks_held(), held);
  o.status = KVSTORE_OK;
  CHECK_OK(get(c, &o, 1, 0, UNIT, &b));
  check_block(b, 1000, UNIT);
  block_cache_release(b);
  block_cache_destroy(c);
}

TEST(block_cache, short_of_memory_it_gives_up_what_it_holds_before_it_fails) {
  BlockCache *c = NULL;
  Origin o = { 0 };
  CacheBlock *b;
  for (uint64_t n = 1; n <= 2; n++) {
    failing_memory_install(n, false);
    CHECK_STATUS(block_cache_create(1 << 20, &c), KVSTORE_NOMEM);
    failing_memory_remove();
    CHECK(c == NULL);
  }
  c = cache_of(ROOM);
  for (uint32_t i = 0; i < 2; i++) {
    CHECK_OK(get(c, &o, 1, i, UNIT, &b));
    block_cache_release(b);
  }
  failing_memory_install(1, false);
  CHECK_OK(get(c, &o, 1, 2, UNIT, &b)); /* one block went, and the read goes on */
  failing_memory_remove();
  check_block(b, 1002, UNIT);
  block_cache_release(b);
  failing_memory_install(1, true);
  CHECK_STATUS(get(c, &o, 1, 3, UNIT, &b), KVSTORE_NOMEM);
  failing_memory_remove();
  CHECK_INT(block_cache_usage(c).block_count, 0);
  CHECK_INT(block_cache_usage(c).kept_bytes, 0);
  CHECK_OK(get(c, &o, 1, 3, UNIT, &b));
  block_cache_release(b);
  block_cache_destroy(c);
}

/* ---- threads ---- */

enum { THREADS = 4 };

typedef struct ThreadReader {
  BlockCache *cache;
  uint64_t random;
  bool within;
} ThreadReader;

static void read_blocks(void *context) {
  ThreadReader *r = context;
  Origin o = { 0 };
  CacheBlock *held = NULL;
  uint64_t rounds = test_scaled(40000);
  r->within = true;
  for (uint64_t i = 0; i < rounds; i++) {
    uint64_t extent = 1 + test_random_below(&r->random, 2);
    uint32_t first = (uint32_t)test_random_below(&r->random, 12);
    CacheBlock *b;
    CHECK_OK(get(r->cache, &o, extent, first, 64 + first, &b));
    for (size_t at = 0; at < 64; at += 9) CHECK_INT(cache_block_bytes(b)[at], byte_of(extent * 1000 + first, at));
    if (held) block_cache_release(held);
    held = b; /* one is always pinned */
    BlockCacheUsage u = block_cache_usage(r->cache);
    r->within = r->within && u.kept_bytes <= u.bytes_max;
  }
  block_cache_release(held);
}

TEST(block_cache, threads_share_it_and_it_stays_within_its_bound) {
  BlockCache *c = NULL;
  CHECK_OK(block_cache_create(10 * 256, &c));
  ThreadReader readers[THREADS];
  Thread threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    readers[i] = (ThreadReader){ .cache = c, .random = (uint64_t)i + 1 };
    CHECK_OK(thread_start(&threads[i], read_blocks, &readers[i]));
  }
  for (int i = 0; i < THREADS; i++) thread_join(&threads[i]);
  for (int i = 0; i < THREADS; i++) CHECK(readers[i].within);
  CHECK_INT(block_cache_usage(c).pinned_bytes, 0);
  block_cache_destroy(c);
}
