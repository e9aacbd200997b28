/* key_index.h - key bytes -> entry, by hash and by order; what both deltas find their rows with.
 *
 * An entry is made once for each distinct key and never goes away. It holds the key and `head`, a word that belongs
 * to the delta: the newest row of that key. Entries lie in an arena whose addresses never change and are named by
 * 32-bit references that count 8 bytes; 0 names nothing.
 *
 * Hash side: one table of atomic words (32 hash bits, reference), open addressing. A full table is replaced by one
 * of twice the size; readers keep probing the one they have, which is complete for every snapshot that they may
 * hold, and the old ones are freed with the index. Ordered side, where there is one: a B+-tree (key_tree.h), whose
 * leaves are copied under one small lock.
 *
 * Threads: one writer at a time (key_index_add); any number of readers beside it. key_index_find takes no lock. */
#ifndef COLONNADE_ROWSTORE_KEY_INDEX_H
#define COLONNADE_ROWSTORE_KEY_INDEX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "rowstore/delta_arena.h"
#include "rowstore/key_tree.h"

typedef struct KeyHash KeyHash;

typedef struct KeyIndex {
  DeltaArena arena;
  KeyTree tree;
  _Atomic(KeyHash *) hash;
  _Atomic uint64_t key_count; /* written by the writer alone */
  bool is_ordered;
} KeyIndex;

/* Initialises a zeroed KeyIndex in place (it lies inside its delta). Without order its keys are found by hash alone:
 * is_beyond and cursors are not for it. */
void key_index_init(KeyIndex *index, bool is_ordered);
void key_index_release(KeyIndex *index);

/* The reference of a key's entry, or 0. `hash` is hash_key(key, length) everywhere in this file. */
uint32_t key_index_find(const KeyIndex *index, uint64_t hash, const void *key, size_t length);

/* True when the key comes behind all others, so that nobody need look for it. For the writer. */
bool key_index_is_beyond(const KeyIndex *index, const void *key, size_t length);

/* Makes the entry of a key that has none, with head 0 and `extra` bytes reserved behind the key (see
 * key_entry_size), found by hash (and in order) as soon as this returns. *reference names the entry. KVSTORE_NOMEM
 * leaves the index as it was. */
Status key_index_add(KeyIndex *index, uint64_t hash, const void *key, size_t length, size_t extra,
                     uint32_t *reference) MUST_CHECK;

static inline KeyEntry *key_index_entry(const KeyIndex *index, uint32_t reference) {
  return (KeyEntry *)delta_arena_at(&index->arena, reference);
}

/* For look-ups to come: fetches the slot of a hash; then, once that is there, the entry that it names. */
void key_index_prefetch(const KeyIndex *index, uint64_t hash);
void key_index_prefetch_entry(const KeyIndex *index, uint64_t hash);

static inline uint64_t key_index_count(const KeyIndex *index) {
  return atomic_load_explicit(&index->key_count, memory_order_relaxed);
}
uint64_t key_index_bytes_held(const KeyIndex *index);

/* Everything consistent: each entry found by hash, in order in the tree, counts equal. For tests; no writer beside
 * it. */
bool key_index_check(KeyIndex *index, const char **why);

/* ---- in key order ----
 * A cursor sees every key that was there when it was positioned, and may or may not see keys added since. It holds
 * no lock between calls and nothing to release; it must not outlive the index. NULL is the end in both directions,
 * from which only a positioning call leads back. */
typedef struct KeyCursor {
  KeyIndex *index;
  KeyLeafCopy leaf;
  uint32_t at; /* in the leaf copy; leaf.count: nowhere */
} KeyCursor;

void key_cursor_open(KeyCursor *cursor, KeyIndex *index);
KeyEntry *key_cursor_first(KeyCursor *cursor);
KeyEntry *key_cursor_last(KeyCursor *cursor);
KeyEntry *key_cursor_seek(KeyCursor *cursor, const void *key, size_t length);      /* the first entry >= key */
KeyEntry *key_cursor_seek_last(KeyCursor *cursor, const void *key, size_t length); /* the last entry <= key */
KeyEntry *key_cursor_next(KeyCursor *cursor);
KeyEntry *key_cursor_prev(KeyCursor *cursor);

#endif
