/* id_map.h - values to small numbers: the n-th different one that is added has the id n.
 *
 * Grouping works on ids alone: each key column has a map of its values, and each further column one from (id of the
 * columns before, id of this one) to an id of the pair. An IdMap takes words, by buckets of which each is a line of the
 * caches, or, for words within a window that is known before, by an array; a BytesMap takes strings, which it copies.
 * Short strings lie in its buckets, so that one line tells whether they are there.
 *
 * A map is zero-initialised and released at the end. After a failure it holds what it held, and some of what was being
 * added. */
#ifndef COLONNADE_QUERY_ID_MAP_H
#define COLONNADE_QUERY_ID_MAP_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/status.h"

#define ID_NONE UINT32_MAX /* not there; no id is that large */

enum { WORD_SLOTS = 5 };
typedef struct WordBucket { /* a line of the caches; slots are taken from the first one on */
  uint64_t words[WORD_SLOTS];
  uint32_t ids[WORD_SLOTS]; /* one more; 0: free, and so is its word */
} WordBucket;

typedef struct IdMap {
  uint64_t *words; /* of each id */
  size_t word_capacity;
  uint32_t count;
  WordBucket *buckets; /* in `room` */
  size_t bucket_count; /* a power of two, or 0 */
  void *room;
  uint32_t used; /* slots */
  uint64_t window_first;
  uint64_t window_count; /* words [first, first + count) are looked up in `window` */
  uint32_t *window;      /* one more than the id; 0: none */
} IdMap;

/* Before anything is added: words from `first` on, `count` of them, go by an array. Without memory for it there is no
 * window. */
void id_map_window(IdMap *map, uint64_t first, uint64_t count);
/* ids[i] of words[i], added where they are new, or, when `frozen`, ID_NONE. KVSTORE_LIMIT: more than 2^32 - 2. */
Status id_map_add(IdMap *map, const uint64_t *words, uint32_t count, bool frozen, uint32_t *ids) MUST_CHECK;
uint64_t id_map_bytes(const IdMap *map);
void id_map_release(IdMap *map);

/* What a string is known by: one of up to 15 bytes is all there, zeros behind it and its length above; of others their
 * hash, then their first bytes and part of their length. `last` is never 0. */
typedef struct BytesKey {
  uint64_t first, last;
} BytesKey;

enum { BUCKET_SLOTS = 3 };
typedef struct BytesBucket { /* a line of the caches; slots are taken from the first one on */
  uint64_t first[BUCKET_SLOTS], last[BUCKET_SLOTS];
  uint32_t ids[BUCKET_SLOTS]; /* one more; 0: free */
} BytesBucket;

typedef struct BytesMap {
  Bytes *strings; /* of each id */
  size_t string_capacity;
  uint32_t count;
  BytesBucket *buckets; /* in `room` */
  size_t bucket_count;  /* a power of two, or 0 */
  void *room;
  Arena arena;
} BytesMap;

Status bytes_map_add(BytesMap *map, Bytes string, bool frozen, uint32_t *id) MUST_CHECK;
/* The same of `count` strings, one after the other. */
Status bytes_map_add_many(BytesMap *map, const Bytes *strings, uint32_t count, bool frozen, uint32_t *ids) MUST_CHECK;
uint64_t bytes_map_bytes(const BytesMap *map);
void bytes_map_release(BytesMap *map);

/* A word's hash: every bit of it changes the high ones. */
static inline uint64_t id_hash(uint64_t word) {
  word ^= word >> 32;
  word *= UINT64_C(0x9e3779b97f4a7c15);
  word ^= word >> 29;
  return word * UINT64_C(0xbf58476d1ce4e5b9);
}

#endif
