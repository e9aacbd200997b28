/* key_tree.h - the ordered side of a key index: a B+-tree over entry references.
 *
 * 64 entries a node. Beside each reference stands an 8-byte prefix of its key, taken after the bytes that every key
 * of the node has in common, so that a search compares words and looks at key bytes only among equal ones. Keys
 * that ascend are appended at the right edge without a descent. Nodes are never merged nor freed before the end.
 *
 * Threads: the writer changes nodes, and readers copy leaves, under `lock`; the writer reads without it. */
#ifndef COLONNADE_ROWSTORE_KEY_TREE_H
#define COLONNADE_ROWSTORE_KEY_TREE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/status.h"
#include "os/thread.h"
#include "rowstore/delta_arena.h"

typedef struct KeyEntry {
  _Atomic uint32_t head; /* the delta's: newest row of this key, 0 none. Store with release, load with acquire */
  uint32_t key_length;   /* 1 to 65,536 */
  uint8_t key[];
} KeyEntry;

static inline Bytes key_entry_key(const KeyEntry *e) { return (Bytes){ e->key, e->key_length }; }
/* Where the bytes begin that key_index_add reserved behind the key: a multiple of 8. */
static inline size_t key_entry_size(size_t key_length) {
  return (size_t)round_up(sizeof(KeyEntry) + key_length, DELTA_ARENA_ALIGNMENT);
}

enum { KEY_NODE_ENTRIES = 64 };

typedef struct KeyNode KeyNode;

typedef struct KeyTree {
  const DeltaArena *entries; /* where references lead to a KeyEntry */
  Mutex lock;
  Arena nodes;
  KeyNode *root;       /* NULL: empty */
  KeyNode *right_edge; /* the last leaf */
  KeyNode *spare;      /* nodes taken from the arena for an insert that then found no memory */
  uint32_t height;     /* levels above the leaves */
  uint32_t common;     /* bytes that all keys of the tree have in common */
  _Atomic uint64_t bytes_held;
} KeyTree;

/* What a cursor holds: the references of one leaf at one moment. */
typedef struct KeyLeafCopy {
  KeyNode *node; /* for going on without a descent when it has not been split since; NULL: nothing copied */
  uint32_t count;
  uint32_t entries[KEY_NODE_ENTRIES];
} KeyLeafCopy;

void key_tree_init(KeyTree *tree, const DeltaArena *entries);
void key_tree_release(KeyTree *tree);
/* Is the key behind all others? For the writer: it reads without the lock. */
bool key_tree_is_beyond(const KeyTree *tree, Bytes key);
/* Adds the entry of a key that is not there. KVSTORE_NOMEM leaves the tree as it was. */
Status key_tree_insert(KeyTree *tree, uint32_t reference) MUST_CHECK;

/* Copies the leaf of the wanted entry and returns its position there; at the end copy->count is 0 and so is the
 * result. */
uint32_t key_tree_copy_first(KeyTree *tree, KeyLeafCopy *copy);
uint32_t key_tree_copy_last(KeyTree *tree, KeyLeafCopy *copy);
uint32_t key_tree_copy_from(KeyTree *tree, const void *key, size_t length, KeyLeafCopy *copy); /* first >= key */
uint32_t key_tree_copy_upto(KeyTree *tree, const void *key, size_t length, KeyLeafCopy *copy); /* last <= key */
/* The entries that follow (precede) those in *copy, which must not be empty. */
uint32_t key_tree_copy_next(KeyTree *tree, KeyLeafCopy *copy);
uint32_t key_tree_copy_prev(KeyTree *tree, KeyLeafCopy *copy);

/* Order, counts, prefixes and fences of every node. For tests; no writer beside it. */
bool key_tree_check(KeyTree *tree, uint64_t key_count, const char **why);

#endif
