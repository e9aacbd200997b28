/* id_map.c - words and strings in buckets that are at most three quarters full; what finds its own one full lies in the
 * next. All slots of a bucket are compared, since which one it is nobody can predict. Growing looks at buckets alone.
 */
#include "query/id_map.h"

#include "base/hash.h"
#include "base/memory.h"
#include "os/large_memory.h"

#define LARGE_BYTES ((size_t)1 << 20)
enum {
  FIRST_BUCKETS = 64,
  LINE_BYTES = 64,
  AHEAD = 16, /* words whose bucket is asked for before */
  RING = 2 * AHEAD,
  ROUND = 32, /* strings that are looked for side by side */
};

static size_t place_of(uint64_t hash, size_t bucket_count) { return (size_t)(hash >> 32) & (bucket_count - 1); }

static Status too_many(void) {
  return status_fail(KVSTORE_LIMIT, "more than 4,294,967,294 different values or groups");
}

/* Buckets, all zero, each a line: in *room, which is to be released. */
static Status make_buckets(size_t count, void **room, void *buckets) {
  size_t bytes = memory_array_size(count + 1, LINE_BYTES);
  *room = memory_allocate_zeroed(bytes);
  if (!*room) return status_nomem();
  if (bytes >= LARGE_BYTES) os_prefer_large_pages(*room, bytes);
  uint8_t *first = (uint8_t *)*room + (0 - (uintptr_t)*room) % LINE_BYTES;
  memcpy(buckets, &first, sizeof first);
  return KVSTORE_OK;
}

/* The first free slot; `slots`: there is none. */
static uint32_t free_slot(const uint32_t *ids, uint32_t slots) {
  uint32_t at = 0;
  while (at < slots && ids[at]) at++;
  return at;
}

/* ---- words ---- */

static bool in_window(const IdMap *m, uint64_t word) { return word - m->window_first < m->window_count; }

static void insert_word(IdMap *m, uint64_t word, uint64_t hash, uint32_t id) {
  size_t at = place_of(hash, m->bucket_count);
  while (m->buckets[at].ids[WORD_SLOTS - 1]) at = (at + 1) & (m->bucket_count - 1);
  uint32_t slot = free_slot(m->buckets[at].ids, WORD_SLOTS);
  m->buckets[at].words[slot] = word;
  m->buckets[at].ids[slot] = id + 1;
}

static Status grow_words(IdMap *m) {
  IdMap grown = *m;
  grown.bucket_count = m->bucket_count ? m->bucket_count * 2 : FIRST_BUCKETS;
  TRY(make_buckets(grown.bucket_count, &grown.room, &grown.buckets));
  for (size_t i = 0; i < m->bucket_count; i++) {
    const WordBucket *bucket = &m->buckets[i];
    for (uint32_t at = 0; at < WORD_SLOTS && bucket->ids[at]; at++)
      insert_word(&grown, bucket->words[at], id_hash(bucket->words[at]), bucket->ids[at] - 1);
  }
  memory_release(m->room);
  *m = grown;
  return KVSTORE_OK;
}

static Status make_words_room(IdMap *m, uint32_t count, bool frozen) {
  while (!m->bucket_count || (!frozen && m->bucket_count * WORD_SLOTS / 4 * 3 < (size_t)m->used + count))
    TRY(grow_words(m));
  return KVSTORE_OK;
}

void id_map_window(IdMap *m, uint64_t first, uint64_t count) {
  m->window = memory_allocate_zeroed(memory_array_size((size_t)count, sizeof *m->window));
  if (!m->window) return;
  m->window_first = first;
  m->window_count = count;
}

static Status new_word(IdMap *m, uint64_t word) {
  if (m->count == ID_NONE - 1) return too_many();
  if (m->count == m->word_capacity)
    TRY(memory_grow(&m->words, &m->word_capacity, (size_t)m->count + 1, sizeof *m->words));
  m->words[m->count++] = word;
  return KVSTORE_OK;
}

static Status add_in_window(IdMap *m, uint64_t word, bool frozen, uint32_t *id) {
  uint32_t *place = &m->window[word - m->window_first];
  if (UNLIKELY(!*place)) {
    *id = ID_NONE;
    if (frozen) return KVSTORE_OK;
    TRY(new_word(m, word));
    *place = m->count;
  }
  *id = *place - 1;
  return KVSTORE_OK;
}

/* A bit for each slot that has the word. */
static inline uint32_t slots_with_word(const WordBucket *bucket, uint64_t word) {
  uint32_t found = 0;
#pragma GCC unroll 5
  for (uint32_t i = 0; i < WORD_SLOTS; i++) found |= (uint32_t)(bucket->words[i] == word) << i;
  return found;
}

static inline Status add_word(IdMap *m, uint64_t word, uint64_t hash, bool frozen, uint32_t *id) {
  if (in_window(m, word)) return add_in_window(m, word, frozen, id);
  for (size_t at = place_of(hash, m->bucket_count);; at = (at + 1) & (m->bucket_count - 1)) {
    const WordBucket *bucket = &m->buckets[at];
    uint32_t found = slots_with_word(bucket, word); /* free slots stand behind, and have the word 0 */
    uint32_t known = found ? bucket->ids[__builtin_ctz(found)] : 0;
    if (LIKELY(known)) {
      *id = known - 1;
      return KVSTORE_OK;
    }
    if (!bucket->ids[WORD_SLOTS - 1]) break;
  }
  *id = ID_NONE;
  if (frozen) return KVSTORE_OK;
  TRY(new_word(m, word));
  *id = m->count - 1;
  insert_word(m, word, hash, *id);
  m->used++;
  return KVSTORE_OK;
}

/* Its hash, if it has one. */
static inline uint64_t ask_for(const IdMap *m, uint64_t word) {
  if (in_window(m, word)) {
    __builtin_prefetch(&m->window[word - m->window_first]);
    return 0;
  }
  uint64_t hash = id_hash(word);
  __builtin_prefetch(&m->buckets[place_of(hash, m->bucket_count)]);
  return hash;
}

Status id_map_add(IdMap *m, const uint64_t *words, uint32_t count, bool frozen, uint32_t *ids) {
  uint64_t hashes[RING];
  TRY(make_words_room(m, count, frozen));
  for (uint32_t i = 0; i < AHEAD && i < count; i++) hashes[i] = ask_for(m, words[i]);
  for (uint32_t i = 0; i < count; i++) {
    if (i + AHEAD < count) hashes[(i + AHEAD) % RING] = ask_for(m, words[i + AHEAD]);
    if (i && words[i] == words[i - 1]) { /* clustered keys come in a row */
      ids[i] = ids[i - 1];
    } else {
      TRY(add_word(m, words[i], hashes[i % RING], frozen, &ids[i]));
    }
  }
  return KVSTORE_OK;
}

uint64_t id_map_bytes(const IdMap *m) {
  return m->word_capacity * sizeof *m->words + m->bucket_count * sizeof *m->buckets +
         m->window_count * sizeof *m->window;
}

void id_map_release(IdMap *m) {
  memory_release(m->words);
  memory_release(m->room);
  memory_release(m->window);
  *m = (IdMap){ 0 };
}

/* ---- strings ---- */

enum { WORD = 8, WORD_BITS = 64, LENGTH_SHIFT = 56, SHORT_MAX = 15 };

static uint64_t short_word(const uint8_t *p, size_t n) {
  if (n >= 4) return load_u32(p) | (uint64_t)load_u32(p + n - 4) << (8 * (n - 4));
  if (n == 0) return 0;
  return p[0] | (uint64_t)p[n / 2] << (8 * (n / 2)) | (uint64_t)p[n - 1] << (8 * (n - 1));
}

static inline BytesKey key_of(Bytes string) {
  const uint8_t *p = string.data;
  size_t n = string.length;
  uint64_t length = (uint64_t)(n + 1) << LENGTH_SHIFT;
  if (LIKELY(n - WORD <= SHORT_MAX - WORD)) /* 8 bytes, and those behind them: of none the shift is by a whole word */
    return (BytesKey){ load_u64(p), load_u64(p + n - WORD) >> 1 >> (8 * (2 * WORD - n) - 1) | length };
  if (n < WORD) return (BytesKey){ short_word(p, n), length };
  return (BytesKey){ hash_key(p, n), UINT64_MAX << LENGTH_SHIFT | (uint64_t)(n & 0xffffff) << 32 | load_u32(p) };
}

static bool is_long(const BytesKey *key) { return key->last >> LENGTH_SHIFT > SHORT_MAX + 1; }

/* Of what a bucket has alone, so that growing looks at nothing else. */
static inline uint64_t key_hash(const BytesKey *key) {
  __extension__ unsigned __int128 product =
    (unsigned __int128)(key->first ^ UINT64_C(0x2d358dccaa6c78a5)) * (key->last ^ UINT64_C(0x8bb84b93962eacc9));
  return (uint64_t)product ^ (uint64_t)(product >> WORD_BITS);
}

static BytesBucket *bucket_of(const BytesMap *m, uint64_t hash) { return &m->buckets[place_of(hash, m->bucket_count)]; }
static BytesBucket *next_bucket(const BytesMap *m, BytesBucket *bucket) {
  return bucket + 1 < m->buckets + m->bucket_count ? bucket + 1 : m->buckets;
}

static void insert_key(BytesMap *m, const BytesKey *key, uint64_t hash, uint32_t id) {
  BytesBucket *bucket = bucket_of(m, hash);
  while (bucket->ids[BUCKET_SLOTS - 1]) bucket = next_bucket(m, bucket);
  uint32_t at = free_slot(bucket->ids, BUCKET_SLOTS);
  bucket->first[at] = key->first;
  bucket->last[at] = key->last;
  bucket->ids[at] = id + 1;
}

static Status grow_strings(BytesMap *m) {
  BytesMap grown = *m;
  grown.bucket_count = m->bucket_count ? m->bucket_count * 2 : FIRST_BUCKETS;
  TRY(make_buckets(grown.bucket_count, &grown.room, &grown.buckets));
  for (size_t i = 0; i < m->bucket_count; i++) {
    const BytesBucket *bucket = &m->buckets[i];
    for (uint32_t at = 0; at < BUCKET_SLOTS && bucket->ids[at]; at++) {
      BytesKey key = { bucket->first[at], bucket->last[at] };
      insert_key(&grown, &key, key_hash(&key), bucket->ids[at] - 1);
    }
  }
  memory_release(m->room);
  *m = grown;
  return KVSTORE_OK;
}

static Status make_room(BytesMap *m, uint32_t count, bool frozen) {
  while (!m->bucket_count || (!frozen && m->bucket_count * BUCKET_SLOTS / 4 * 3 < (size_t)m->count + count))
    TRY(grow_strings(m));
  return KVSTORE_OK;
}

static Status new_string(BytesMap *m, Bytes string) {
  if (m->count == ID_NONE - 1) return too_many();
  TRY(memory_grow(&m->strings, &m->string_capacity, (size_t)m->count + 1, sizeof *m->strings));
  const uint8_t *copy = arena_copy(&m->arena, string.length ? string.data : (const uint8_t *)"", string.length);
  if (!copy) return status_nomem();
  m->strings[m->count++] = (Bytes){ copy, string.length };
  return KVSTORE_OK;
}

static bool same_string(Bytes a, Bytes b) { return a.length == b.length && memcmp(a.data, b.data, a.length) == 0; }

/* A bit for each slot that has the key. */
static inline uint32_t slots_with(const BytesBucket *bucket, const BytesKey *key) {
  uint32_t found = 0;
#pragma GCC unroll 3
  for (uint32_t i = 0; i < BUCKET_SLOTS; i++)
    found |= (uint32_t)(((bucket->first[i] ^ key->first) | (bucket->last[i] ^ key->last)) == 0) << i;
  return found;
}

/* The slot of `found` that has the string; false: others have its key. */
static bool has_string(const BytesMap *m, const BytesBucket *bucket, uint32_t found, Bytes string, uint32_t *id) {
  for (; found; found &= found - 1) {
    *id = bucket->ids[__builtin_ctz(found)] - 1;
    if (same_string(m->strings[*id], string)) return true;
  }
  return false;
}

static Status add_new(BytesMap *m, const BytesKey *key, uint64_t hash, Bytes string, uint32_t *id) {
  TRY(new_string(m, string));
  *id = m->count - 1;
  insert_key(m, key, hash, *id);
  return KVSTORE_OK;
}

static inline Status add_string(BytesMap *m, const BytesKey *key, uint64_t hash, Bytes string, bool frozen,
                                uint32_t *id) {
  for (BytesBucket *bucket = bucket_of(m, hash);; bucket = next_bucket(m, bucket)) {
    uint32_t found = slots_with(bucket, key);
    if (LIKELY(found && !is_long(key))) {
      *id = bucket->ids[__builtin_ctz(found)] - 1;
      return KVSTORE_OK;
    }
    if (found && has_string(m, bucket, found, string, id)) return KVSTORE_OK;
    if (!bucket->ids[BUCKET_SLOTS - 1]) break;
  }
  *id = ID_NONE;
  return frozen ? KVSTORE_OK : add_new(m, key, hash, string, id);
}

Status bytes_map_add(BytesMap *m, Bytes string, bool frozen, uint32_t *id) {
  TRY(make_room(m, 1, frozen));
  BytesKey key = key_of(string);
  return add_string(m, &key, key_hash(&key), string, frozen, id);
}

typedef struct BytesRound {
  BytesKey keys[ROUND];
  uint64_t hashes[ROUND];
  uint32_t count;
  bool has_long;
} BytesRound;

/* Buckets are asked for a round before they are looked at. */
static void begin_round(const BytesMap *m, const Bytes *strings, uint32_t count, BytesRound *round) {
  round->count = count < ROUND ? count : ROUND;
  round->has_long = false;
  for (uint32_t i = 0; i < round->count; i++) {
    round->keys[i] = key_of(strings[i]);
    round->hashes[i] = key_hash(&round->keys[i]);
    round->has_long |= is_long(&round->keys[i]);
    __builtin_prefetch(bucket_of(m, round->hashes[i]));
  }
}

/* Of a long string its copy is two steps further away, each of which may miss all caches: all of a round take one step
 * before any takes the next. */
static void ask_for_copies(const BytesMap *m, const BytesRound *round) {
  uint32_t ids[ROUND];
  for (uint32_t i = 0; i < round->count; i++) {
    const BytesBucket *bucket = bucket_of(m, round->hashes[i]);
    uint32_t found = slots_with(bucket, &round->keys[i]);
    ids[i] = found && is_long(&round->keys[i]) ? bucket->ids[__builtin_ctz(found)] : 0;
    if (ids[i]) __builtin_prefetch(&m->strings[ids[i] - 1]);
  }
  for (uint32_t i = 0; i < round->count; i++)
    if (ids[i]) __builtin_prefetch(m->strings[ids[i] - 1].data);
}

Status bytes_map_add_many(BytesMap *m, const Bytes *strings, uint32_t count, bool frozen, uint32_t *ids) {
  BytesRound rounds[2];
  TRY(make_room(m, count, frozen));
  begin_round(m, strings, count, &rounds[0]);
  for (uint32_t at = 0, turn = 0; at < count; turn ^= 1) {
    const BytesRound *round = &rounds[turn];
    uint32_t end = at + round->count;
    begin_round(m, strings + end, count - end, &rounds[turn ^ 1]);
    if (round->has_long) ask_for_copies(m, round);
    for (uint32_t i = 0; i < round->count; i++)
      TRY(add_string(m, &round->keys[i], round->hashes[i], strings[at + i], frozen, &ids[at + i]));
    at = end;
  }
  return KVSTORE_OK;
}

uint64_t bytes_map_bytes(const BytesMap *m) {
  return m->string_capacity * sizeof *m->strings + m->bucket_count * sizeof *m->buckets + m->arena.bytes_held;
}

void bytes_map_release(BytesMap *m) {
  memory_release(m->strings);
  memory_release(m->room);
  arena_release(&m->arena);
  *m = (BytesMap){ 0 };
}
