#include "rowstore/key_tree.h"

#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"

/* A node covers the keys low <= key < high. In a leaf, entries are its keys; in an inner node, the separators: keys
 * below entries[i] are under children[i], all others right of it. `low` and `high` are references, 0 at the edges
 * of the tree.
 *
 * prefixes[i] are 8 bytes of entries[i] from byte `skip` on, where skip is what low and high have in common, or at
 * an edge what all keys of the tree have: every key that a search brings here has it too, so it need not be
 * compared. */
struct KeyNode {
  uint32_t count, skip;
  uint32_t low, high;
  KeyNode *next, *prev; /* leaves: in key order. next also chains spare nodes */
  uint64_t prefixes[KEY_NODE_ENTRIES];
  uint32_t entries[KEY_NODE_ENTRIES];
  KeyNode *children[KEY_NODE_ENTRIES + 1]; /* a leaf ends before them */
};

enum {
  LEAF_BYTES = offsetof(KeyNode, children),
  HEIGHT_MAX = 8, /* 32 entries a node at least, but at the right edge: 32^7 is beyond 32-bit references */
};

typedef struct Path {
  KeyNode *nodes[HEIGHT_MAX + 1]; /* from the leaf (0) up to the root */
  uint32_t at[HEIGHT_MAX + 1];
} Path;

static Bytes key_of(const KeyTree *tree, uint32_t reference) {
  return key_entry_key((const KeyEntry *)delta_arena_at(tree->entries, reference));
}

static uint64_t prefix_of(Bytes key, uint32_t skip) {
  return key.length > skip ? bytes_prefix64(key.data + skip, key.length - skip) : 0;
}

static uint32_t common_length(Bytes a, Bytes b, size_t at_most) {
  size_t n = a.length < b.length ? a.length : b.length, i = 0;
  if (n > at_most) n = at_most;
  while (i + 8 <= n && load_u64(a.data + i) == load_u64(b.data + i)) i += 8;
  while (i < n && a.data[i] == b.data[i]) i++;
  return (uint32_t)i;
}

static int compare_after(Bytes a, Bytes b, uint32_t skip) {
  return bytes_compare(a.data + skip, a.length - skip, b.data + skip, b.length - skip);
}

/* ---- search ---- */
/* The first position whose prefix is >= wanted. No branch depends on the data. */
static uint32_t prefix_lower_bound(const uint64_t *prefixes, uint32_t count, uint64_t wanted) {
  if (!count) return 0;
  const uint64_t *base = prefixes;
  while (count > 1) {
    uint32_t half = count / 2;
    base += (size_t)(base[half - 1] < wanted) * half;
    count -= half;
  }
  return (uint32_t)(base - prefixes) + (*base < wanted);
}

/* The first position whose key is >= key (or, with `after`, > key). The key must lie between the node's fences. */
static uint32_t node_find(const KeyTree *tree, const KeyNode *node, Bytes key, bool after) {
  uint64_t wanted = prefix_of(key, node->skip);
  uint32_t from = prefix_lower_bound(node->prefixes, node->count, wanted);
  if (from == node->count || node->prefixes[from] != wanted) return from;
  uint32_t to = from + 1; /* equal prefixes: whole keys decide */
  while (to < node->count && node->prefixes[to] == wanted) to++;
  while (from < to) {
    uint32_t middle = (from + to) / 2;
    int order = compare_after(key_of(tree, node->entries[middle]), key, node->skip);
    if (order < 0 || (order == 0 && after))
      from = middle + 1;
    else
      to = middle;
  }
  return from;
}

static KeyNode *find_leaf(const KeyTree *tree, Bytes key) {
  KeyNode *node = tree->root;
  for (uint32_t level = tree->height; level > 0; level--) {
    node = node->children[node_find(tree, node, key, true)];
    __builtin_prefetch(&node->prefixes[16]);
  }
  return node;
}

static KeyNode *edge_leaf(const KeyTree *tree, bool right) {
  if (right) return tree->right_edge;
  KeyNode *node = tree->root;
  for (uint32_t level = tree->height; level > 0; level--) node = node->children[0];
  return node;
}

/* ---- nodes ---- */
static void refresh_prefixes(const KeyTree *tree, KeyNode *node) {
  for (uint32_t i = 0; i < node->count; i++) node->prefixes[i] = prefix_of(key_of(tree, node->entries[i]), node->skip);
}

/* The fences changed, or tree->common did. */
static void refresh_skip(const KeyTree *tree, KeyNode *node) {
  uint32_t skip = tree->common;
  if (node->low && node->high) skip = common_length(key_of(tree, node->low), key_of(tree, node->high), SIZE_MAX);
  if (skip == node->skip) return;
  node->skip = skip;
  refresh_prefixes(tree, node);
}

static void insert_at(const KeyTree *tree, KeyNode *node, uint32_t at, uint32_t reference, KeyNode *child) {
  uint32_t behind = node->count - at;
  memmove(node->prefixes + at + 1, node->prefixes + at, behind * sizeof node->prefixes[0]);
  memmove(node->entries + at + 1, node->entries + at, behind * sizeof node->entries[0]);
  if (child) {
    memmove(node->children + at + 2, node->children + at + 1, behind * sizeof(KeyNode *));
    node->children[at + 1] = child;
  }
  node->prefixes[at] = prefix_of(key_of(tree, reference), node->skip);
  node->entries[at] = reference;
  node->count++;
}

static KeyNode *allocate_node(KeyTree *tree, bool leaf) {
  size_t size = leaf ? LEAF_BYTES : sizeof(KeyNode);
  KeyNode *node = arena_allocate_aligned(&tree->nodes, 64, size);
  if (!node) return NULL;
  atomic_fetch_add_explicit(&tree->bytes_held, size, memory_order_relaxed);
  memset(node, 0, offsetof(KeyNode, prefixes));
  return node;
}

/* Inner nodes for a split, in a chain, before anything changes; what is too many stays for the next one. */
static Status reserve_spares(KeyTree *tree, uint32_t wanted) {
  for (const KeyNode *node = tree->spare; node && wanted; node = node->next) wanted--;
  for (; wanted; wanted--) {
    KeyNode *node = allocate_node(tree, false);
    if (!node) return status_nomem();
    node->next = tree->spare;
    tree->spare = node;
  }
  return KVSTORE_OK;
}

static KeyNode *take_spare(KeyTree *tree) {
  KeyNode *node = tree->spare;
  ASSERT(node != NULL, "TREE-3");
  tree->spare = node->next;
  node->next = NULL;
  return node;
}

/* ---- insert ---- */
/* A key with less in common than all before shortens what the nodes at the edges skip (those without a fence). */
static void shorten_common(KeyTree *tree, Bytes key) {
  Bytes sample = key_of(tree, tree->right_edge->entries[0]);
  uint32_t common = common_length(sample, key, tree->common);
  if (common == tree->common) return;
  mutex_lock(&tree->lock);
  tree->common = common;
  KeyNode *left = tree->root, *right = tree->root;
  for (uint32_t level = tree->height; level > 0; level--) {
    refresh_skip(tree, left);
    refresh_skip(tree, right);
    left = left->children[0];
    right = right->children[right->count];
  }
  refresh_skip(tree, left);
  refresh_skip(tree, right);
  mutex_unlock(&tree->lock);
}

/* Moves the upper half of a full node to the empty `right`. Appending at the right edge leaves the left one full: keys
 * that ascend fill their leaves. Returns the separator, and in *cut how many entries stayed. */
static uint32_t split_leaf(KeyTree *tree, KeyNode *left, KeyNode *right, uint32_t at, uint32_t reference,
                           uint32_t *cut) {
  ASSERT(right != NULL, "TREE-3");
  *cut = at == KEY_NODE_ENTRIES && !left->high ? KEY_NODE_ENTRIES : KEY_NODE_ENTRIES / 2;
  right->count = left->count - *cut;
  memcpy(right->prefixes, left->prefixes + *cut, right->count * sizeof right->prefixes[0]);
  memcpy(right->entries, left->entries + *cut, right->count * sizeof right->entries[0]);
  left->count = *cut;
  right->prev = left;
  right->next = left->next;
  if (left->next)
    left->next->prev = right;
  else
    tree->right_edge = right;
  left->next = right;
  return right->count ? right->entries[0] : reference;
}

/* The same for an inner node: the separator goes up, and is in neither half. */
static uint32_t split_inner(KeyNode *left, KeyNode *right, uint32_t at, uint32_t *cut) {
  *cut = at == KEY_NODE_ENTRIES && !left->high ? KEY_NODE_ENTRIES - 1 : KEY_NODE_ENTRIES / 2;
  uint32_t first = *cut + 1;
  right->count = left->count - first;
  memcpy(right->prefixes, left->prefixes + first, right->count * sizeof right->prefixes[0]);
  memcpy(right->entries, left->entries + first, right->count * sizeof right->entries[0]);
  memcpy(right->children, left->children + first, (right->count + 1) * sizeof(KeyNode *));
  left->count = *cut;
  return left->entries[*cut];
}

static void set_fences(const KeyTree *tree, KeyNode *left, KeyNode *right, uint32_t separator) {
  right->skip = left->skip;
  right->low = separator;
  right->high = left->high;
  left->high = separator;
  refresh_skip(tree, left);
  refresh_skip(tree, right);
}

static void grow_root(KeyTree *tree, KeyNode *right, uint32_t separator) {
  KeyNode *root = take_spare(tree);
  ASSERT(tree->height < HEIGHT_MAX, "TREE-3");
  root->skip = tree->common;
  root->children[0] = tree->root;
  insert_at(tree, root, 0, separator, right);
  tree->root = root;
  tree->height++;
}

/* Splits the full leaf at path->nodes[0] and every full node above it. `right` is the new leaf. */
static void insert_by_splitting(KeyTree *tree, Path *path, uint32_t reference, KeyNode *right) {
  KeyNode *child = NULL; /* to be inserted behind `reference` at `level` */
  for (uint32_t level = 0;; level++) {
    if (level > tree->height) {
      grow_root(tree, child, reference);
      return;
    }
    KeyNode *left = path->nodes[level];
    ASSERT(left != NULL, "TREE-3");
    uint32_t at = path->at[level], cut;
    if (left->count < KEY_NODE_ENTRIES) {
      insert_at(tree, left, at, reference, child);
      return;
    }
    uint32_t separator;
    if (level == 0) {
      separator = split_leaf(tree, left, right, at, reference, &cut);
    } else {
      right = take_spare(tree);
      separator = split_inner(left, right, at, &cut);
    }
    set_fences(tree, left, right, separator);
    if (at > cut || (at == cut && right->count == 0 && level == 0)) {
      insert_at(tree, right, level ? at - cut - 1 : at - cut, reference, child);
    } else {
      insert_at(tree, left, at, reference, child);
    }
    reference = separator;
    child = right;
  }
}

static Status insert_first(KeyTree *tree, uint32_t reference) {
  KeyNode *leaf = allocate_node(tree, true);
  if (!leaf) return status_nomem();
  mutex_lock(&tree->lock);
  tree->common = leaf->skip = (uint32_t)key_of(tree, reference).length;
  insert_at(tree, leaf, 0, reference, NULL);
  tree->root = tree->right_edge = leaf;
  mutex_unlock(&tree->lock);
  return KVSTORE_OK;
}

/* True when the key belongs behind the last one and there is room. */
static bool appends(const KeyTree *tree, Bytes key) {
  const KeyNode *leaf = tree->right_edge;
  if (leaf->count == KEY_NODE_ENTRIES) return false;
  uint64_t prefix = prefix_of(key, leaf->skip), last = leaf->prefixes[leaf->count - 1];
  if (prefix != last) return prefix > last;
  return compare_after(key, key_of(tree, leaf->entries[leaf->count - 1]), leaf->skip) > 0;
}

bool key_tree_is_beyond(const KeyTree *tree, Bytes key) {
  const KeyNode *leaf = tree->right_edge;
  if (!leaf) return true;
  Bytes last = key_of(tree, leaf->entries[leaf->count - 1]);
  return bytes_compare(key.data, key.length, last.data, last.length) > 0;
}

Status key_tree_insert(KeyTree *tree, uint32_t reference) {
  if (!tree->root) return insert_first(tree, reference);
  Bytes key = key_of(tree, reference);
  shorten_common(tree, key);
  if (appends(tree, key)) {
    mutex_lock(&tree->lock);
    insert_at(tree, tree->right_edge, tree->right_edge->count, reference, NULL);
    mutex_unlock(&tree->lock);
    return KVSTORE_OK;
  }
  Path path = { .nodes = { NULL } };
  KeyNode *node = tree->root;
  for (uint32_t level = tree->height; level > 0; level--) {
    path.nodes[level] = node;
    path.at[level] = node_find(tree, node, key, true);
    node = node->children[path.at[level]];
    __builtin_prefetch(&node->prefixes[16]);
  }
  path.nodes[0] = node;
  path.at[0] = node_find(tree, node, key, false);
  KeyNode *right = NULL;
  if (node->count == KEY_NODE_ENTRIES) {
    uint32_t level = 1;
    while (level <= tree->height && path.nodes[level]->count == KEY_NODE_ENTRIES) level++;
    bool new_root = level > tree->height;
    TRY(reserve_spares(tree, level - 1 + new_root)); /* one for each full parent */
    right = allocate_node(tree, true);
    if (!right) return status_nomem();
  }
  mutex_lock(&tree->lock);
  insert_by_splitting(tree, &path, reference, right);
  mutex_unlock(&tree->lock);
  return KVSTORE_OK;
}

/* ---- reading, under the lock ---- */
static uint32_t copy_nothing(KeyLeafCopy *copy) {
  copy->node = NULL;
  copy->count = 0;
  return 0;
}

static uint32_t copy_leaf(KeyNode *leaf, uint32_t at, KeyLeafCopy *copy) {
  copy->node = leaf;
  copy->count = leaf->count;
  memcpy(copy->entries, leaf->entries, leaf->count * sizeof copy->entries[0]);
  return at;
}

/* The leaf and the first entry of it that is >= key (after: > key). It may be one past the leaf's last. */
static KeyNode *locate(const KeyTree *tree, Bytes key, bool after, uint32_t *at) {
  Bytes sample = key_of(tree, tree->right_edge->entries[0]);
  uint32_t shared = common_length(sample, key, tree->common);
  if (shared < tree->common) { /* outside of all keys: nodes may not be searched for it (TREE-2) */
    bool below = key.length == shared || key.data[shared] < sample.data[shared];
    KeyNode *leaf = edge_leaf(tree, !below);
    *at = below ? 0 : leaf->count;
    return leaf;
  }
  KeyNode *leaf = find_leaf(tree, key);
  *at = node_find(tree, leaf, key, after);
  return leaf;
}

static uint32_t copy_forward(KeyNode *leaf, uint32_t at, KeyLeafCopy *copy) {
  if (at == leaf->count) {
    leaf = leaf->next;
    at = 0;
  }
  return leaf ? copy_leaf(leaf, at, copy) : copy_nothing(copy);
}

/* The entry before position `at`. */
static uint32_t copy_backward(KeyNode *leaf, uint32_t at, KeyLeafCopy *copy) {
  if (at == 0) {
    leaf = leaf->prev;
    at = leaf ? leaf->count : 0;
  }
  return leaf ? copy_leaf(leaf, at - 1, copy) : copy_nothing(copy);
}

uint32_t key_tree_copy_first(KeyTree *tree, KeyLeafCopy *copy) {
  mutex_lock(&tree->lock);
  uint32_t at = tree->root ? copy_leaf(edge_leaf(tree, false), 0, copy) : copy_nothing(copy);
  mutex_unlock(&tree->lock);
  return at;
}

uint32_t key_tree_copy_last(KeyTree *tree, KeyLeafCopy *copy) {
  mutex_lock(&tree->lock);
  KeyNode *leaf = tree->right_edge;
  uint32_t at = leaf ? copy_leaf(leaf, leaf->count - 1, copy) : copy_nothing(copy);
  mutex_unlock(&tree->lock);
  return at;
}

uint32_t key_tree_copy_from(KeyTree *tree, const void *key, size_t length, KeyLeafCopy *copy) {
  uint32_t at = 0;
  mutex_lock(&tree->lock);
  if (tree->root) {
    KeyNode *leaf = locate(tree, (Bytes){ key, length }, false, &at);
    at = copy_forward(leaf, at, copy);
  } else {
    copy_nothing(copy);
  }
  mutex_unlock(&tree->lock);
  return at;
}

uint32_t key_tree_copy_upto(KeyTree *tree, const void *key, size_t length, KeyLeafCopy *copy) {
  uint32_t at = 0;
  mutex_lock(&tree->lock);
  if (tree->root) {
    KeyNode *leaf = locate(tree, (Bytes){ key, length }, true, &at);
    at = copy_backward(leaf, at, copy);
  } else {
    copy_nothing(copy);
  }
  mutex_unlock(&tree->lock);
  return at;
}

/* Splits move entries to the right only: a leaf that still ends as its copy does has the same successor, and whatever
 * happened to it, the keys before its copy are in the leaves before it, but for some added since. */
uint32_t key_tree_copy_next(KeyTree *tree, KeyLeafCopy *copy) {
  uint32_t last = copy->entries[copy->count - 1], at;
  mutex_lock(&tree->lock);
  KeyNode *leaf = copy->node;
  if (leaf->entries[leaf->count - 1] == last)
    at = leaf->count;
  else
    leaf = locate(tree, key_of(tree, last), true, &at);
  at = copy_forward(leaf, at, copy);
  mutex_unlock(&tree->lock);
  return at;
}

uint32_t key_tree_copy_prev(KeyTree *tree, KeyLeafCopy *copy) {
  mutex_lock(&tree->lock);
  uint32_t at = copy_backward(copy->node, 0, copy);
  mutex_unlock(&tree->lock);
  return at;
}

/* ---- life and check ---- */
void key_tree_init(KeyTree *tree, const DeltaArena *entries) {
  tree->entries = entries;
  mutex_init(&tree->lock);
}

void key_tree_release(KeyTree *tree) {
  arena_release(&tree->nodes);
  mutex_destroy(&tree->lock);
}

static bool wrong(const char **why, const char *text) {
  *why = text;
  return false;
}

static bool check_node(const KeyTree *tree, const KeyNode *node, const char **why) {
  if (node->count == 0 || node->count > KEY_NODE_ENTRIES) return wrong(why, "a node has no entries or too many");
  uint32_t skip = tree->common;
  if (node->low && node->high) skip = common_length(key_of(tree, node->low), key_of(tree, node->high), SIZE_MAX);
  if (node->skip != skip) return wrong(why, "a node skips other bytes than its fences share (TREE-2)");
  for (uint32_t i = 0; i < node->count; i++) {
    Bytes key = key_of(tree, node->entries[i]);
    if (node->prefixes[i] != prefix_of(key, skip)) return wrong(why, "a prefix is not that of its key (TREE-2)");
    uint32_t before = i ? node->entries[i - 1] : node->low;
    if (before) {
      Bytes b = key_of(tree, before);
      int order = bytes_compare(b.data, b.length, key.data, key.length);
      if (i ? order >= 0 : order > 0) return wrong(why, "keys do not ascend within a node (TREE-1)");
    }
    if (node->high && i + 1 == node->count) {
      Bytes high = key_of(tree, node->high);
      int order = bytes_compare(key.data, key.length, high.data, high.length);
      if (order >= 0) return wrong(why, "a key is past its fence (TREE-1)");
    }
  }
  return true;
}

static bool check_below(const KeyTree *tree, const KeyNode *node, uint32_t level, uint64_t *keys, const char **why) {
  if (!check_node(tree, node, why)) return false;
  if (level == 0) {
    *keys += node->count;
    return true;
  }
  for (uint32_t i = 0; i <= node->count; i++) {
    const KeyNode *child = node->children[i];
    uint32_t low = i ? node->entries[i - 1] : node->low, high = i < node->count ? node->entries[i] : node->high;
    if (child->low != low || child->high != high) return wrong(why, "a child's fences are not its parent's (TREE-1)");
    if (!check_below(tree, child, level - 1, keys, why)) return false;
  }
  return true;
}

bool key_tree_check(KeyTree *tree, uint64_t key_count, const char **why) {
  uint64_t keys = 0, chained = 0;
  if (tree->root) {
    if (!check_below(tree, tree->root, tree->height, &keys, why)) return false;
    const KeyNode *last = NULL;
    for (const KeyNode *leaf = edge_leaf(tree, false); leaf; last = leaf, leaf = leaf->next) {
      if (leaf->prev != last) return wrong(why, "leaves are not chained both ways");
      chained += leaf->count;
    }
    if (last != tree->right_edge) return wrong(why, "the right edge is not the last leaf");
  }
  if (keys != key_count || chained != key_count) return wrong(why, "the tree has more or fewer keys than the index");
  return true;
}
