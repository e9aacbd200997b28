/* id_map.c - open addressing at most half full; growing rehashes what the ids say, in their order. */
#include "query/id_map.h"

#include "base/hash.h"
#include "base/memory.h"

enum {
  FIRST_SLOTS = 256,
  AHEAD = 16, /* probes whose cache line is asked for before */
  ROUND = 32, /* strings that are looked for side by side */
};

static size_t slot_of(uint64_t hash, size_t slot_count) { return (size_t)(hash >> 32) & (slot_count - 1); }

static Status too_many(void) {
  return status_fail(KVSTORE_LIMIT, "more than 4,294,967,294 different values or groups");
}

/* ---- words ---- */

static void insert_word(IdSlot *slots, size_t slot_count, uint64_t word, uint32_t id) {
  size_t at = slot_of(id_hash(word), slot_count);
  while (slots[at].id) at = (at + 1) & (slot_count - 1);
  slots[at] = (IdSlot){ word, id + 1 };
}

static bool in_window(const IdMap *m, uint64_t word) { return word - m->window_first < m->window_count; }

static Status grow_words(IdMap *m) {
  size_t count = m->slot_count ? m->slot_count * 2 : FIRST_SLOTS;
  IdSlot *slots = memory_allocate_zeroed(memory_array_size(count, sizeof *slots));
  if (!slots) return status_nomem();
  for (uint32_t id = 0; id < m->count; id++) {
    if (id + AHEAD < m->count) __builtin_prefetch(&slots[slot_of(id_hash(m->words[id + AHEAD]), count)], 1);
    if (!in_window(m, m->words[id])) insert_word(slots, count, m->words[id], id);
  }
  memory_release(m->slots);
  m->slots = slots;
  m->slot_count = count;
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

static Status add_word(IdMap *m, uint64_t word, bool frozen, uint32_t *id) {
  if (in_window(m, word)) return add_in_window(m, word, frozen, id);
  size_t mask = m->slot_count - 1, at = slot_of(id_hash(word), m->slot_count);
  while (m->slots[at].id && m->slots[at].word != word) at = (at + 1) & mask;
  if (LIKELY(m->slots[at].id)) {
    *id = m->slots[at].id - 1;
    return KVSTORE_OK;
  }
  *id = ID_NONE;
  if (frozen) return KVSTORE_OK;
  TRY(new_word(m, word));
  *id = m->count - 1;
  m->slots[at] = (IdSlot){ word, m->count };
  m->used++;
  return KVSTORE_OK;
}

static void ask_ahead(const IdMap *m, uint64_t word) {
  if (in_window(m, word))
    __builtin_prefetch(&m->window[word - m->window_first]);
  else
    __builtin_prefetch(&m->slots[slot_of(id_hash(word), m->slot_count)]);
}

Status id_map_add(IdMap *m, const uint64_t *words, uint32_t count, bool frozen, uint32_t *ids) {
  while (m->slot_count < 2 * ((size_t)m->used + count)) TRY(grow_words(m));
  for (uint32_t i = 0; i < count; i++) {
    if (i + AHEAD < count) ask_ahead(m, words[i + AHEAD]);
    if (i && words[i] == words[i - 1]) { /* clustered keys come in a row */
      ids[i] = ids[i - 1];
    } else {
      TRY(add_word(m, words[i], frozen, &ids[i]));
    }
  }
  return KVSTORE_OK;
}

uint64_t id_map_bytes(const IdMap *m) {
  return m->word_capacity * sizeof *m->words + m->slot_count * sizeof *m->slots + m->window_count * sizeof *m->window;
}

void id_map_release(IdMap *m) {
  memory_release(m->words);
  memory_release(m->slots);
  memory_release(m->window);
  *m = (IdMap){ 0 };
}

/* ---- strings ---- */

static Status grow_strings(BytesMap *m) {
  size_t count = m->slot_count ? m->slot_count * 2 : FIRST_SLOTS;
  BytesSlot *slots = memory_allocate_zeroed(memory_array_size(count, sizeof *slots));
  if (!slots) return status_nomem();
  for (uint32_t id = 0; id < m->count; id++) {
    uint64_t hash = hash_key(m->strings[id].data, m->strings[id].length);
    size_t at = slot_of(hash, count);
    while (slots[at].id) at = (at + 1) & (count - 1);
    slots[at] = (BytesSlot){ (uint32_t)hash, id + 1 };
  }
  memory_release(m->slots);
  m->slots = slots;
  m->slot_count = count;
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

static bool same_string(Bytes a, Bytes b) {
  return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

static Status add_string(BytesMap *m, Bytes string, uint64_t hash, bool frozen, uint32_t *id) {
  size_t mask = m->slot_count - 1, at = slot_of(hash, m->slot_count);
  for (; m->slots[at].id; at = (at + 1) & mask) {
    if (m->slots[at].tag != (uint32_t)hash || !same_string(m->strings[m->slots[at].id - 1], string)) continue;
    *id = m->slots[at].id - 1;
    return KVSTORE_OK;
  }
  *id = ID_NONE;
  if (frozen) return KVSTORE_OK;
  TRY(new_string(m, string));
  *id = m->count - 1;
  m->slots[at] = (BytesSlot){ (uint32_t)hash, m->count };
  return KVSTORE_OK;
}

Status bytes_map_add(BytesMap *m, Bytes string, bool frozen, uint32_t *id) {
  if (m->slot_count < 2 * ((size_t)m->count + 1)) TRY(grow_strings(m));
  return add_string(m, string, hash_key(string.data, string.length), frozen, id);
}

/* A string is three steps away, each of which may miss all caches: its slot, where its copy lies, the copy. All strings
 * of a round take one step before any takes the next. */
static void ask_for_strings(const BytesMap *m, const Bytes *strings, uint32_t count, uint64_t *hashes) {
  uint32_t ids[ROUND];
  for (uint32_t i = 0; i < count; i++) {
    hashes[i] = hash_key(strings[i].data, strings[i].length);
    __builtin_prefetch(&m->slots[slot_of(hashes[i], m->slot_count)]);
  }
  for (uint32_t i = 0; i < count; i++) {
    ids[i] = m->slots[slot_of(hashes[i], m->slot_count)].id;
    if (ids[i]) __builtin_prefetch(&m->strings[ids[i] - 1]);
  }
  for (uint32_t i = 0; i < count; i++)
    if (ids[i]) __builtin_prefetch(m->strings[ids[i] - 1].data);
}

Status bytes_map_add_many(BytesMap *m, const Bytes *strings, uint32_t count, bool frozen, uint32_t *ids) {
  while (m->slot_count < 2 * ((size_t)m->count + count)) TRY(grow_strings(m));
  for (uint32_t at = 0, more; at < count; at += more) {
    uint64_t hashes[ROUND];
    more = count - at < ROUND ? count - at : ROUND;
    ask_for_strings(m, strings + at, more, hashes);
    for (uint32_t i = 0; i < more; i++) TRY(add_string(m, strings[at + i], hashes[i], frozen, &ids[at + i]));
  }
  return KVSTORE_OK;
}

uint64_t bytes_map_bytes(const BytesMap *m) {
  return m->string_capacity * sizeof *m->strings + m->slot_count * sizeof *m->slots + m->arena.bytes_held;
}

void bytes_map_release(BytesMap *m) {
  memory_release(m->strings);
  memory_release(m->slots);
  arena_release(&m->arena);
  *m = (BytesMap){ 0 };
}
