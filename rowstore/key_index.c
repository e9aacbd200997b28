#include "rowstore/key_index.h"

#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/memory.h"
#include "os/large_memory.h"

/* A slot: the upper 32 bits of the hash, then the reference; 0 is empty. A key's place is the leading `bits` of its
 * hash, so a table is copied into one of twice the size from slots alone, both in order, without touching an entry. */
struct KeyHash {
  KeyHash *older; /* readers may still be probing it */
  uint32_t bits;
  uint32_t slot_count_mask; /* slot count less one */
  _Atomic uint64_t slots[];
};

enum { HASH_BITS_FIRST = 8, HASH_BITS_STEEP = 16, HASH_BITS_MAX = 31 };

static inline uint32_t hash_place(const KeyHash *table, uint64_t hash) {
  return (uint32_t)(hash >> (64 - table->bits));
}

static inline uint64_t slot_load(const KeyHash *table, uint32_t at) {
  return atomic_load_explicit(&table->slots[at], memory_order_acquire);
}

static inline KeyHash *table_of(const KeyIndex *index) {
  return atomic_load_explicit(&index->hash, memory_order_acquire);
}

void key_index_init(KeyIndex *index, bool is_ordered) {
  key_tree_init(&index->tree, &index->arena);
  index->is_ordered = is_ordered;
}

void key_index_release(KeyIndex *index) {
  for (KeyHash *table = table_of(index), *older; table; table = older) {
    older = table->older;
    memory_release(table);
  }
  key_tree_release(&index->tree);
  delta_arena_release(&index->arena);
}

bool key_index_is_beyond(const KeyIndex *index, const void *key, size_t length) {
  ASSERT(index->is_ordered, "INDEX-2");
  return key_tree_is_beyond(&index->tree, (Bytes){ key, length });
}

uint32_t key_index_find(const KeyIndex *index, uint64_t hash, const void *key, size_t length) {
  const KeyHash *table = table_of(index);
  if (!table) return 0;
  for (uint32_t at = hash_place(table, hash);; at = (at + 1) & table->slot_count_mask) {
    uint64_t slot = slot_load(table, at);
    if (!slot) return 0;
    if (slot >> 32 != hash >> 32) continue;
    const KeyEntry *entry = key_index_entry(index, (uint32_t)slot);
    if (entry->key_length == length && memcmp(entry->key, key, length) == 0) return (uint32_t)slot;
  }
}

/* Release: who finds the slot finds the entry's bytes. */
static void put_slot(KeyHash *table, uint64_t slot) {
  uint32_t at = hash_place(table, slot);
  while (atomic_load_explicit(&table->slots[at], memory_order_relaxed)) at = (at + 1) & table->slot_count_mask;
  atomic_store_explicit(&table->slots[at], slot, memory_order_release);
}

static Status grow_table(KeyIndex *index) {
  KeyHash *old = table_of(index);
  uint32_t bits = !old ? HASH_BITS_FIRST : old->bits < HASH_BITS_STEEP ? old->bits + 2 : old->bits + 1;
  if (bits > HASH_BITS_MAX) return status_fail(KVSTORE_NOMEM, "a delta's key index is at its largest size");
  size_t slot_count = (size_t)1 << bits;
  size_t size = sizeof(KeyHash) + slot_count * sizeof(uint64_t);
  KeyHash *table = memory_allocate(size);
  if (!table) return status_nomem();
  os_prefer_large_pages(table, size);
  memset(table, 0, size);
  table->older = old;
  table->bits = bits;
  table->slot_count_mask = (uint32_t)(slot_count - 1);
  for (uint32_t i = 0; old && i <= old->slot_count_mask; i++) {
    uint64_t slot = atomic_load_explicit(&old->slots[i], memory_order_relaxed);
    if (slot) put_slot(table, slot);
  }
  atomic_store_explicit(&index->hash, table, memory_order_release);
  return KVSTORE_OK;
}

/* Of a kv delta, which is read key by key, half of the slots stay empty. Those of a table's slab of rows, and of the
 * transaction that fills it, shall lie in a MiB. */
static bool is_full(const KeyIndex *index, const KeyHash *table, uint64_t count) {
  uint64_t slots = (uint64_t)table->slot_count_mask + 1;
  return count + 1 > (index->is_ordered ? slots / 2 : slots / 8 * 5);
}

Status key_index_add(KeyIndex *index, uint64_t hash, const void *key, size_t length, size_t extra,
                     uint32_t *reference) {
  ASSERT(length >= 1 && length <= KEY_BYTES_MAX, "INDEX-1");
  const KeyHash *table = table_of(index);
  uint64_t count = key_index_count(index);
  if (!table || is_full(index, table, count)) TRY(grow_table(index));
  size_t size = key_entry_size(length) + extra;
  TRY(delta_arena_allocate(&index->arena, size, reference));
  KeyEntry *entry = key_index_entry(index, *reference);
  atomic_init(&entry->head, 0);
  entry->key_length = (uint32_t)length;
  memcpy(entry->key, key, length);
  Status status = index->is_ordered ? key_tree_insert(&index->tree, *reference) : KVSTORE_OK;
  if (status != KVSTORE_OK) {
    delta_arena_undo(&index->arena, *reference, size);
    return status;
  }
  put_slot(table_of(index), (hash & UINT64_C(0xffffffff00000000)) | *reference);
  atomic_store_explicit(&index->key_count, count + 1, memory_order_relaxed);
  return KVSTORE_OK;
}

void key_index_prefetch(const KeyIndex *index, uint64_t hash) {
  const KeyHash *table = table_of(index);
  if (table) __builtin_prefetch((const void *)&table->slots[hash_place(table, hash)]);
}

void key_index_prefetch_entry(const KeyIndex *index, uint64_t hash) {
  const KeyHash *table = table_of(index);
  if (!table) return;
  uint32_t at = hash_place(table, hash);
  uint64_t slot;
  while ((slot = slot_load(table, at)) != 0 && slot >> 32 != hash >> 32) at = (at + 1) & table->slot_count_mask;
  if (!slot) return;
  const uint8_t *entry = delta_arena_at(&index->arena, (uint32_t)slot);
  __builtin_prefetch(entry);
  __builtin_prefetch(entry + 64);
}

uint64_t key_index_bytes_held(const KeyIndex *index) {
  uint64_t bytes = atomic_load_explicit(&index->arena.bytes_held, memory_order_relaxed);
  for (const KeyHash *table = table_of(index); table; table = table->older) {
    bytes += sizeof *table + ((uint64_t)table->slot_count_mask + 1) * sizeof table->slots[0];
  }
  return bytes + atomic_load_explicit(&index->tree.bytes_held, memory_order_relaxed);
}

static bool is_found(const KeyIndex *index, const KeyEntry *e) {
  uint32_t reference = key_index_find(index, hash_key(e->key, e->key_length), e->key, e->key_length);
  return reference && key_index_entry(index, reference) == e;
}

static bool check_hash(const KeyIndex *index, const char **why) {
  uint64_t found = 0;
  const KeyHash *table = table_of(index);
  for (uint32_t i = 0; table && i <= table->slot_count_mask; i++) {
    uint64_t slot = slot_load(table, i);
    found += slot != 0;
    if (!slot || is_found(index, key_index_entry(index, (uint32_t)slot))) continue;
    *why = "a key of the hash table is not found by its hash (INDEX-2)";
    return false;
  }
  if (found == key_index_count(index)) return true;
  *why = "the hash table has more or fewer keys than the index";
  return false;
}

static bool check_order(KeyIndex *index, const char **why) {
  if (!key_tree_check(&index->tree, key_index_count(index), why)) return false;
  KeyCursor cursor;
  key_cursor_open(&cursor, index);
  for (KeyEntry *e = key_cursor_first(&cursor); e; e = key_cursor_next(&cursor)) {
    if (is_found(index, e)) continue;
    *why = "an entry of the tree is not found by its hash (INDEX-2)";
    return false;
  }
  return true;
}

bool key_index_check(KeyIndex *index, const char **why) {
  return check_hash(index, why) && (!index->is_ordered || check_order(index, why));
}

/* ---- in key order ---- */
void key_cursor_open(KeyCursor *cursor, KeyIndex *index) {
  ASSERT(index->is_ordered, "INDEX-2");
  cursor->index = index;
  cursor->at = 0;
  cursor->leaf.node = NULL;
  cursor->leaf.count = 0;
}

enum { AHEAD = 6 };

static inline void fetch(const KeyCursor *cursor, uint32_t at) {
  if (at >= cursor->leaf.count) return;
  const uint8_t *entry = delta_arena_at(&cursor->index->arena, cursor->leaf.entries[at]);
  __builtin_prefetch(entry);
  __builtin_prefetch(entry + 64);
}

static KeyEntry *stand_at(KeyCursor *cursor, uint32_t at) {
  cursor->at = at;
  return at < cursor->leaf.count ? key_index_entry(cursor->index, cursor->leaf.entries[at]) : NULL;
}

static KeyEntry *stand_in_new_leaf(KeyCursor *cursor, uint32_t at, bool forward) {
  for (uint32_t i = 1; i < AHEAD; i++) fetch(cursor, forward ? at + i : at - i);
  return stand_at(cursor, at);
}

KeyEntry *key_cursor_first(KeyCursor *c) {
  return stand_in_new_leaf(c, key_tree_copy_first(&c->index->tree, &c->leaf), true);
}

KeyEntry *key_cursor_last(KeyCursor *c) {
  return stand_in_new_leaf(c, key_tree_copy_last(&c->index->tree, &c->leaf), false);
}

KeyEntry *key_cursor_seek(KeyCursor *c, const void *key, size_t length) {
  return stand_in_new_leaf(c, key_tree_copy_from(&c->index->tree, key, length, &c->leaf), true);
}

KeyEntry *key_cursor_seek_last(KeyCursor *c, const void *key, size_t length) {
  return stand_in_new_leaf(c, key_tree_copy_upto(&c->index->tree, key, length, &c->leaf), false);
}

KeyEntry *key_cursor_next(KeyCursor *c) {
  if (c->leaf.count == 0) return NULL;
  if (c->at + 1 == c->leaf.count) return stand_in_new_leaf(c, key_tree_copy_next(&c->index->tree, &c->leaf), true);
  fetch(c, c->at + AHEAD);
  return stand_at(c, c->at + 1);
}

KeyEntry *key_cursor_prev(KeyCursor *c) {
  if (c->leaf.count == 0) return NULL;
  if (c->at == 0) return stand_in_new_leaf(c, key_tree_copy_prev(&c->index->tree, &c->leaf), false);
  fetch(c, c->at - AHEAD);
  return stand_at(c, c->at - 1);
}
