/* The key index against a sorted array: by hash, by order, beside a writer, and out of memory. */
#include "rowstore/key_index.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/memory.h"
#include "os/thread.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

typedef struct Keys {
  Bytes *sorted; /* distinct, ascending; bytes belong to the array */
  size_t count;
} Keys;

static int compare_keys(const void *a, const void *b) {
  const Bytes *x = a, *y = b;
  return bytes_compare(x->data, x->length, y->data, y->length);
}

static void add_key(Keys *keys, const void *data, size_t length) {
  if ((keys->count & (keys->count + 1)) == 0) {
    keys->sorted = realloc(keys->sorted, (keys->count * 2 + 2) * sizeof *keys->sorted);
    CHECK(keys->sorted != NULL);
  }
  uint8_t *copy = malloc(length);
  CHECK(copy != NULL);
  memcpy(copy, data, length);
  keys->sorted[keys->count++] = (Bytes){ copy, length };
}

static void sort_keys(Keys *keys) {
  if (!keys->count) return;
  qsort(keys->sorted, keys->count, sizeof *keys->sorted, compare_keys);
  size_t kept = 0;
  for (size_t i = 0; i < keys->count; i++) {
    if (kept && compare_keys(&keys->sorted[i], &keys->sorted[kept - 1]) == 0)
      free((void *)keys->sorted[i].data);
    else
      keys->sorted[kept++] = keys->sorted[i];
  }
  keys->count = kept;
}

static void release_keys(Keys *keys) {
  for (size_t i = 0; i < keys->count; i++) free((void *)keys->sorted[i].data);
  free(keys->sorted);
}

/* The first position whose key is >= wanted (after: > wanted). */
static size_t position(const Keys *keys, Bytes wanted, bool after) {
  size_t i = 0;
  for (size_t from = 0, to = keys->count; from < to; i = from) {
    size_t middle = (from + to) / 2;
    int order = compare_keys(&keys->sorted[middle], &wanted);
    if (order < 0 || (order == 0 && after))
      from = middle + 1;
    else
      to = middle;
  }
  return i;
}

static size_t *shuffled(size_t count, uint64_t *seed) {
  size_t *order = malloc(count * sizeof *order);
  CHECK(order != NULL);
  for (size_t i = 0; i < count; i++) order[i] = i;
  for (size_t i = count; i > 1; i--) {
    size_t j = test_random_below(seed, i), swap = order[i - 1];
    order[i - 1] = order[j];
    order[j] = swap;
  }
  return order;
}

static Status add(KeyIndex *index, Bytes key) {
  uint32_t reference;
  return key_index_add(index, hash_key(key.data, key.length), key.data, key.length, 0, &reference);
}

static bool has(const KeyIndex *index, Bytes key) {
  uint32_t reference = key_index_find(index, hash_key(key.data, key.length), key.data, key.length);
  if (!reference) return false;
  Bytes found = key_entry_key(key_index_entry(index, reference));
  CHECK(compare_keys(&found, &key) == 0);
  return true;
}

static void check_entry(const KeyEntry *entry, const Keys *keys, size_t expected) {
  if (expected >= keys->count) {
    CHECK(entry == NULL);
    return;
  }
  CHECK(entry != NULL);
  Bytes key = key_entry_key(entry);
  CHECK(compare_keys(&key, &keys->sorted[expected]) == 0);
}

static void check_walks(KeyIndex *index, const Keys *keys) {
  KeyCursor cursor;
  key_cursor_open(&cursor, index);
  CHECK(key_cursor_next(&cursor) == NULL && key_cursor_prev(&cursor) == NULL);
  KeyEntry *entry = key_cursor_first(&cursor);
  for (size_t i = 0; i <= keys->count; i++, entry = key_cursor_next(&cursor)) check_entry(entry, keys, i);
  CHECK(key_cursor_next(&cursor) == NULL);
  entry = key_cursor_last(&cursor);
  for (size_t i = keys->count; i-- > 0; entry = key_cursor_prev(&cursor)) check_entry(entry, keys, i);
  CHECK(entry == NULL && key_cursor_prev(&cursor) == NULL);
}

static void check_seek(KeyIndex *index, const Keys *keys, Bytes wanted) {
  KeyCursor cursor;
  key_cursor_open(&cursor, index);
  size_t from = position(keys, wanted, false), after = position(keys, wanted, true);
  check_entry(key_cursor_seek(&cursor, wanted.data, wanted.length), keys, from);
  if (from < keys->count) check_entry(key_cursor_prev(&cursor), keys, from - 1); /* SIZE_MAX: none */
  check_entry(key_cursor_seek_last(&cursor, wanted.data, wanted.length), keys, after - 1);
  if (after > 0) check_entry(key_cursor_next(&cursor), keys, after);
}

/* Every key, and keys beside it: longer, shorter, changed. */
static void check_seeks(KeyIndex *index, const Keys *keys, uint64_t *seed) {
  uint8_t *wanted = malloc(KEY_BYTES_MAX + 1);
  CHECK(wanted != NULL);
  for (size_t i = 0; i < keys->count; i++) {
    Bytes key = keys->sorted[i];
    check_seek(index, keys, key);
    memcpy(wanted, key.data, key.length);
    wanted[key.length] = (uint8_t)test_random(seed);
    check_seek(index, keys, (Bytes){ wanted, key.length + 1 });
    check_seek(index, keys, (Bytes){ wanted, key.length - test_random_below(seed, key.length) });
    wanted[test_random_below(seed, key.length)] = (uint8_t)test_random(seed);
    check_seek(index, keys, (Bytes){ wanted, key.length });
  }
  check_seek(index, keys, (Bytes){ wanted, 0 });
  free(wanted);
}

static void check_index(KeyIndex *index, const Keys *keys, uint64_t *seed) {
  const char *why = "";
  if (!key_index_check(index, &why)) CHECK_STR(why, "");
  CHECK_INT(key_index_count(index), keys->count);
  for (size_t i = 0; i < keys->count; i++) CHECK(has(index, keys->sorted[i]));
  check_walks(index, keys);
  check_seeks(index, keys, seed);
}

/* With the keys in the given order; each is new. */
static KeyIndex *filled(const Keys *keys, const size_t *order, bool is_ordered) {
  KeyIndex *index = memory_allocate_zeroed(sizeof *index);
  CHECK(index != NULL);
  key_index_init(index, is_ordered);
  for (size_t i = 0; i < keys->count; i++) {
    CHECK(!has(index, keys->sorted[order[i]]));
    CHECK_OK(add(index, keys->sorted[order[i]]));
  }
  return index;
}

/* An index without an order finds the same keys, and holds no tree. */
static void check_unordered(const Keys *keys, const size_t *order) {
  KeyIndex *index = filled(keys, order, false);
  for (size_t i = 0; i < keys->count; i++) CHECK(has(index, keys->sorted[i]));
  CHECK_INT(key_index_count(index), keys->count);
  CHECK_INT(index->tree.bytes_held, 0);
  const char *why = "";
  if (!key_index_check(index, &why)) CHECK_STR(why, "");
  key_index_release(index);
  memory_release(index);
}

/* Adds the keys in the given order and compares everything. */
static void check_order(const Keys *keys, const size_t *order, uint64_t *seed) {
  uint64_t held = memory_blocks_held();
  KeyIndex *index = filled(keys, order, true);
  check_index(index, keys, seed);
  key_index_release(index);
  memory_release(index);
  CHECK_INT(memory_blocks_held(), held);
}

static void check_all_orders(Keys *keys, uint64_t seed) {
  sort_keys(keys);
  size_t *order = shuffled(keys->count, &seed);
  check_order(keys, order, &seed);
  check_unordered(keys, order);
  for (size_t i = 0; i < keys->count; i++) order[i] = i;
  check_order(keys, order, &seed);
  for (size_t i = 0; i < keys->count; i++) order[i] = keys->count - 1 - i;
  check_order(keys, order, &seed);
  free(order);
  release_keys(keys);
}

TEST(key_index, empty_has_no_keys_and_no_ends) {
  uint64_t seed = 1;
  Keys keys = { NULL, 0 };
  check_order(&keys, NULL, &seed);
}

TEST(key_index, random_keys_of_16_bytes) {
  uint64_t seed = 2;
  Keys keys = { NULL, 0 };
  for (uint64_t i = 0, n = test_scaled(50000); i < n; i++) {
    uint64_t words[2] = { test_random(&seed), test_random(&seed) };
    add_key(&keys, words, sizeof words);
  }
  check_all_orders(&keys, 3);
}

TEST(key_index, short_keys_that_are_prefixes_of_each_other) {
  uint64_t seed = 4;
  Keys keys = { NULL, 0 };
  for (uint64_t i = 0, n = test_scaled(20000); i < n; i++) {
    uint8_t key[20];
    size_t length = 1 + test_random_below(&seed, sizeof key);
    for (size_t k = 0; k < length; k++) key[k] = (uint8_t)(test_random_below(&seed, 3) * 127); /* 0, 127, 254 */
    add_key(&keys, key, length);
  }
  check_all_orders(&keys, 5);
}

/* 8-byte prefixes tie over whole nodes here. */
TEST(key_index, long_common_prefixes_in_several_groups) {
  uint64_t seed = 6;
  Keys keys = { NULL, 0 };
  uint8_t key[400];
  for (uint64_t i = 0, n = test_scaled(8000); i < n; i++) {
    uint64_t group = test_random_below(&seed, 4);
    memset(key, 'a', sizeof key);
    key[100 * group + 50] = 'b';
    size_t length = 100 * (group + 1);
    for (size_t k = length - 9; k < length; k++) key[k] = (uint8_t)('0' + test_random_below(&seed, 10));
    add_key(&keys, key, length);
  }
  check_all_orders(&keys, 7);
}

/* Every new key has less in common with the others than all before. */
TEST(key_index, common_prefix_shrinks_to_nothing) {
  Keys keys = { NULL, 0 };
  uint8_t key[600];
  for (size_t length = 1; length <= sizeof key; length++) {
    memset(key, 'm', length);
    add_key(&keys, key, length);
    key[length - 1] = length % 2 ? 'a' : 'z';
    add_key(&keys, key, length);
  }
  check_all_orders(&keys, 8);
}

TEST(key_index, keys_of_1_to_65536_bytes) {
  uint64_t seed = 9;
  Keys keys = { NULL, 0 };
  uint8_t *key = malloc(KEY_BYTES_MAX);
  CHECK(key != NULL);
  for (uint64_t i = 0, n = 60 + test_scaled(200); i < n; i++) {
    size_t length = i % 3 ? 1 + test_random_below(&seed, KEY_BYTES_MAX) : KEY_BYTES_MAX - i / 3;
    memset(key, (int)test_random_below(&seed, 2), length);
    key[test_random_below(&seed, length)] ^= (uint8_t)(1u << test_random_below(&seed, 8));
    add_key(&keys, key, length);
  }
  free(key);
  check_all_orders(&keys, 10);
}

/* Hashes that agree in the bits that place and tell slots still lead to the right keys. */
TEST(key_index, equal_hashes_are_told_apart_by_key) {
  KeyIndex index = { .key_count = 0 };
  key_index_init(&index, true);
  for (uint32_t i = 0; i < 3000; i++) {
    uint32_t reference;
    CHECK_INT(key_index_find(&index, i % 3, &i, sizeof i), 0);
    CHECK_OK(key_index_add(&index, i % 3, &i, sizeof i, 0, &reference));
    CHECK_INT(key_index_find(&index, i % 3, &i, sizeof i), reference);
  }
  for (uint32_t i = 0; i < 3000; i++) {
    uint32_t reference = key_index_find(&index, i % 3, &i, sizeof i);
    key_index_prefetch(&index, i % 3);
    key_index_prefetch_entry(&index, i % 3);
    CHECK(reference != 0);
    CHECK_BYTES(key_index_entry(&index, reference)->key, &i, sizeof i);
  }
  key_index_release(&index);
}

TEST(key_index, cursor_sees_every_key_that_was_there_while_others_are_added) {
  uint64_t seed = 11;
  KeyIndex index = { .key_count = 0 };
  key_index_init(&index, true);
  enum { OLD = 3000 };
  for (uint32_t i = 0; i < OLD; i++) {
    uint8_t key[5] = { (uint8_t)(i >> 8), (uint8_t)i, 0, 0, 0 };
    CHECK_OK(add(&index, (Bytes){ key, 2 }));
  }
  for (int direction = 0; direction < 2; direction++) {
    KeyCursor cursor;
    key_cursor_open(&cursor, &index);
    uint32_t seen = 0;
    uint8_t last[5] = { 0 };
    size_t last_length = 0;
    KeyEntry *e = direction ? key_cursor_last(&cursor) : key_cursor_first(&cursor);
    for (; e; e = direction ? key_cursor_prev(&cursor) : key_cursor_next(&cursor)) {
      if (last_length) { /* strictly ascending (descending): no key twice */
        int order = bytes_compare(last, last_length, e->key, e->key_length);
        CHECK(direction ? order > 0 : order < 0);
      }
      memcpy(last, e->key, e->key_length);
      last_length = e->key_length;
      if (e->key_length == 2) {
        uint32_t expected = direction ? OLD - 1 - seen : seen;
        CHECK_INT(e->key[0] * 256 + e->key[1], expected);
        seen++;
      }
      for (int n = 0; n < 3; n++) { /* new keys in front of the cursor, behind it, and in its leaf */
        uint64_t at = n ? test_random_below(&seed, OLD) : last[0] * 256u + last[1];
        uint8_t key[5] = { (uint8_t)(at >> 8), (uint8_t)at, 0, 0, 0 };
        uint64_t tail = test_random(&seed);
        memcpy(key + 2, &tail, 3);
        if (key_index_count(&index) < 60000 && !has(&index, (Bytes){ key, 5 }))
          CHECK_OK(add(&index, (Bytes){ key, 5 }));
      }
    }
    CHECK_INT(seen, OLD);
  }
  const char *why = "";
  if (!key_index_check(&index, &why)) CHECK_STR(why, "");
  key_index_release(&index);
}

TEST(key_index, a_failed_allocation_leaves_the_key_absent_and_the_index_whole) {
  uint64_t seed = 12, n = 1, failures = 0;
  Keys keys = { NULL, 0 };
  for (int i = 0; i < 6000; i++) {
    uint64_t word = test_random(&seed);
    add_key(&keys, &word, 1 + i % 8);
  }
  sort_keys(&keys);
  size_t *order = shuffled(keys.count, &seed);
  for (bool failed = true; failed; n++) {
    KeyIndex index = { .key_count = 0 };
    key_index_init(&index, true);
    failing_memory_install(n, false);
    for (size_t i = 0; i < keys.count; i++) {
      Bytes key = keys.sorted[order[i]];
      uint64_t used = index.arena.bytes_used;
      Status status = add(&index, key);
      if (status == KVSTORE_OK) continue;
      failures++;
      CHECK_INT(status, KVSTORE_NOMEM);
      CHECK(!has(&index, key));
      CHECK_INT(index.arena.bytes_used, used);
      CHECK_INT(key_index_count(&index), i);
      const char *why = "";
      if (!key_index_check(&index, &why)) CHECK_STR(why, "");
      CHECK_OK(add(&index, key)); /* memory is back */
    }
    failed = failing_memory_failures() > 0;
    failing_memory_remove();
    const char *why = "";
    if (!key_index_check(&index, &why)) CHECK_STR(why, "");
    CHECK_INT(key_index_count(&index), keys.count);
    key_index_release(&index);
  }
  CHECK(failures > 10);
  free(order);
  release_keys(&keys);
}

/* ---- threads ---- */
enum { THREAD_KEYS = 40000 };
typedef struct Shared {
  KeyIndex index;
  _Atomic uint32_t published; /* keys 0 .. published - 1 are there */
} Shared;

/* Multiplication by an odd number permutes 32-bit words: keys in random order, each known by its number. */
static void thread_key(uint32_t number, uint8_t key[4]) { store_u32(key, __builtin_bswap32(number * 2654435761u)); }

static void read_beside(void *context) {
  Shared *shared = context;
  uint64_t seed = thread_number();
  for (uint32_t published = 0; published < THREAD_KEYS;) {
    published = atomic_load_explicit(&shared->published, memory_order_acquire);
    for (int i = 0; i < 100 && published; i++) {
      uint8_t key[4];
      thread_key((uint32_t)test_random_below(&seed, published), key);
      CHECK(has(&shared->index, (Bytes){ key, 4 }));
    }
    KeyCursor cursor;
    key_cursor_open(&cursor, &shared->index);
    uint32_t seen = 0;
    int64_t last = -1;
    for (KeyEntry *e = key_cursor_first(&cursor); e; e = key_cursor_next(&cursor), seen++) {
      int64_t now = __builtin_bswap32(load_u32(e->key));
      CHECK(now > last);
      last = now;
    }
    CHECK(seen >= published);
  }
}

TEST(key_index, readers_beside_a_writer_find_what_was_published) {
  static Shared shared;
  key_index_init(&shared.index, true);
  Thread readers[3] = { { .running = false } };
  for (int i = 0; i < 3; i++) CHECK_OK(thread_start(&readers[i], read_beside, &shared));
  for (uint32_t i = 0; i < THREAD_KEYS; i++) {
    uint8_t key[4];
    thread_key(i, key);
    CHECK_OK(add(&shared.index, (Bytes){ key, 4 }));
    atomic_store_explicit(&shared.published, i + 1, memory_order_release);
  }
  for (int i = 0; i < 3; i++) thread_join(&readers[i]);
  key_index_release(&shared.index);
}
