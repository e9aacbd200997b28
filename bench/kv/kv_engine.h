/* kv_engine.h - the small table of functions behind which each key-value engine stands.
 *
 * One program holds one engine: kv_main.c with one of the kv_<engine>.c, so that no engine's library is loaded in
 * another's process. */
#ifndef BENCH_KV_KV_ENGINE_H
#define BENCH_KV_KV_ENGINE_H

#include <stdint.h>
#include <string.h>

#define KV_KEY_BYTES   16
#define KV_VALUE_BYTES 100

enum { KV_PARTS = 1000, KV_PART_AT = 5 }; /* "site/042/0001234" */

typedef struct KvParts {
  uint64_t counts[KV_PARTS], sums[KV_PARTS];
} KvParts;

static inline unsigned kv_part(const void *digits) {
  const unsigned char *d = digits;
  return (unsigned)(d[0] - '0') * 100 + (unsigned)(d[1] - '0') * 10 + (unsigned)(d[2] - '0');
}

/* Adds a pair to its part. */
static inline void kv_parts_add(KvParts *parts, const void *key, const void *value) {
  unsigned part = kv_part((const unsigned char *)key + KV_PART_AT);
  uint64_t number;
  memcpy(&number, value, sizeof number);
  parts->counts[part]++;
  parts->sums[part] += number;
}

typedef struct KvEngine {
  const char *name;
  const char *(*version)(void);
  const char *(*settings)(void); /* one line: what was chosen where there was a choice */
  const char *(*error)(void);    /* the last failure, in words */
  int one_process;               /* not 0: a store is open in one process only, and rows of two have no figure */
  /* Opens or makes the store in a directory. synced: a commit returns when it is on the disk; else it survives the
   * death of the process, not a power cut. NULL: failed. */
  void *(*open)(const char *directory, int synced);
  int (*close)(void *store);
  /* A session belongs to one thread. */
  void *(*attach)(void *store);
  void (*detach)(void *session);
  /* Without begin each call is a transaction of its own, and each read sees the latest commit. 0: done. */
  int (*begin)(void *session, int writing);
  int (*commit)(void *session);
  int (*put)(void *session, const void *key, const void *value); /* KV_KEY_BYTES, KV_VALUE_BYTES */
  /* 1 found and its value folded, 0 absent, -1 failed */
  int (*get)(void *session, const void *key, uint64_t *sum);
  /* The same for many keys of one snapshot, KV_KEY_BYTES each behind each other: how many were found, or -1. NULL: the
   * engine has no such call, and gets them one by one. */
  int64_t (*get_many)(void *session, const void *keys, uint64_t count, uint64_t *sum);
  /* Folds the keys and values of up to `limit` pairs: from `from` on (NULL: from the end where the walk begins), in
   * either direction (reverse: from the last; `from` is NULL), those that begin with the first `prefix_length` bytes of
   * `from` (0: all). How many, or -1. */
  int64_t (*scan)(void *session, const void *from, size_t prefix_length, int64_t limit, int reverse, uint64_t *sum);
  /* All pairs of `next` (which says 0 at the end), durable when it returns, the fastest way that the engine has; in
   * ascending order when `sorted`. NULL: the engine has none but batches. */
  int (*load)(void *session, int sorted, int (*next)(void *context, char *key, char *value), void *context);
  /* Counts over a store that is not written to any more. What an engine prepares for them (an index, columns) is not
   * timed. All NULL: the engine has none. -1: failed. */
  int (*counts_begin)(void *session);
  void (*counts_end)(void *session);
  /* Pairs whose value begins with a number of 8 bytes, little-endian, below `limit`. */
  int64_t (*count_below)(void *session, uint64_t limit);
  /* Pairs from one key on and before another. */
  int64_t (*count_range)(void *session, const void *from, const void *before);
  /* By the part of the key between its slashes (three digits): pairs, and the sum of the numbers as above. */
  int (*group_parts)(void *session, KvParts *parts);
  /* Waits until nothing is left to do in the background. */
  int (*settle)(void *store);
} KvEngine;

extern const KvEngine kv_engine;

/* Every byte that an engine gives is read: a sum of its words, so that the order of threads does not matter. */
static inline void kv_fold(uint64_t *sum, const void *bytes, size_t length) {
  const unsigned char *at = bytes;
  uint64_t total = length, word = 0;
  for (; length >= 8; at += 8, length -= 8) {
    memcpy(&word, at, 8);
    total += word;
  }
  word = 0;
  if (length) memcpy(&word, at, length);
  *sum += total + word;
}

#endif
