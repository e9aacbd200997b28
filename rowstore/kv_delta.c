#include "rowstore/kv_delta.h"

#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/memory.h"

/* A row in the arena; the value follows, or a pointer to it when it is longer than VALUE_INLINE_MAX. */
typedef struct KvHeader {
  _Atomic uint64_t dead_at;
  uint64_t sequence;
  int64_t expiry;
  uint32_t older;  /* of the same key, rolled-back ones left out; 0 none */
  uint32_t before; /* appended before this one, of any key; 0 none */
  uint32_t entry;
  uint32_t length_word; /* KV_REPLACED | length of the value, or KV_TOMBSTONE */
  uint8_t value[];
} KvHeader;

#define KV_REPLACED  (UINT32_C(1) << 31) /* this row's append set dead_at of `older` */
#define KV_TOMBSTONE (KV_REPLACED - 1)
_Static_assert(VALUE_BYTES_CEILING < KV_TOMBSTONE, "a value's length shares its word with the tombstone");
_Static_assert(sizeof(KvHeader) == 40, "a row's header");

typedef struct LongValue LongValue;
struct LongValue {
  LongValue *next;
  uint8_t bytes[];
};

struct KvDelta {
  KeyIndex index;
  LongValue *long_values;
  _Atomic uint32_t last_row;
  bool frozen;
  _Atomic uint64_t row_count, live_rows, long_bytes, keys_behind;
};

static inline KvHeader *row_at(const KvDelta *delta, uint32_t row) {
  return (KvHeader *)delta_arena_at(&delta->index.arena, row);
}
static inline uint64_t dead_at_load(const KvHeader *r) {
  return atomic_load_explicit(&r->dead_at, memory_order_relaxed);
}
static inline bool is_tombstone(const KvHeader *r) { return (r->length_word & KV_TOMBSTONE) == KV_TOMBSTONE; }
static inline uint32_t value_length_of(const KvHeader *r) {
  return is_tombstone(r) ? 0 : r->length_word & KV_TOMBSTONE;
}

static void add_to(_Atomic uint64_t *counter, uint64_t n) { /* the writer alone counts; readers may look */
  atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

/* Changes dead_at between DEAD_NEVER and anything else, and the count of live rows with it. */
static void set_dead_at(KvDelta *delta, KvHeader *r, uint64_t value) {
  uint64_t was_live = dead_at_load(r) == DEAD_NEVER, is_live = value == DEAD_NEVER;
  if (!is_tombstone(r)) add_to(&delta->live_rows, is_live - was_live);
  atomic_store_explicit(&r->dead_at, value, memory_order_relaxed);
}

static const uint8_t *value_of(const KvHeader *r) {
  if (LIKELY(value_length_of(r) <= VALUE_INLINE_MAX)) return r->value;
  const uint8_t *value;
  memcpy(&value, r->value, sizeof value);
  return value;
}

static void describe(const KvHeader *r, uint32_t row, KvRow *out) {
  out->row = row;
  out->tombstone = is_tombstone(r);
  out->sequence = r->sequence;
  out->expiry = r->expiry;
  out->value = (Bytes){ value_of(r), value_length_of(r) };
}

/* ---- life ---- */
Status kv_delta_create(KvDelta **out) {
  KvDelta *delta = memory_allocate_zeroed(sizeof *delta);
  if (!delta) return status_nomem();
  key_index_init(&delta->index, true);
  *out = delta;
  return KVSTORE_OK;
}

void kv_delta_destroy(KvDelta *delta) {
  if (!delta) return;
  for (LongValue *v = delta->long_values, *next; v; v = next) {
    next = v->next;
    memory_release(v);
  }
  key_index_release(&delta->index);
  memory_release(delta);
}

void kv_delta_freeze(KvDelta *delta) { delta->frozen = true; }

/* ---- reading ---- */
/* The newest row at or below `row` in its chain that is no part of a rolled-back transaction and not past the
 * snapshot. */
static inline uint32_t newest_at(const KvDelta *delta, uint32_t row, uint64_t snapshot) {
  while (row) {
    const KvHeader *r = row_at(delta, row);
    if (LIKELY(r->sequence <= snapshot && dead_at_load(r) != DEAD_ROLLED_BACK)) return row;
    row = r->older;
  }
  return 0;
}

/* VIS-2. The newest row that is not past the snapshot decides: when it is dead there, a bulk load replaced it
 * (VIS-6). */
static DeltaState state_at(const KvDelta *delta, const KeyEntry *entry, uint64_t snapshot, KvRow *out) {
  uint32_t row = newest_at(delta, atomic_load_explicit(&entry->head, memory_order_acquire), snapshot);
  if (!row) return DELTA_ABSENT;
  const KvHeader *r = row_at(delta, row);
  if (snapshot >= dead_at_load(r)) return DELTA_ABSENT;
  describe(r, row, out);
  return out->tombstone ? DELTA_DELETED : DELTA_FOUND;
}

DeltaState kv_delta_find(const KvDelta *delta, uint64_t hash, const void *key, size_t key_length, uint64_t snapshot,
                         KvRow *out) {
  uint32_t entry = key_index_find(&delta->index, hash, key, key_length);
  return entry ? state_at(delta, key_index_entry(&delta->index, entry), snapshot, out) : DELTA_ABSENT;
}

void kv_delta_prefetch(const KvDelta *delta, uint64_t hash) { key_index_prefetch(&delta->index, hash); }
void kv_delta_prefetch_entry(const KvDelta *delta, uint64_t hash) { key_index_prefetch_entry(&delta->index, hash); }

void kv_delta_row(const KvDelta *delta, uint32_t row, KvRow *out) { describe(row_at(delta, row), row, out); }
uint64_t kv_delta_dead_at(const KvDelta *delta, uint32_t row) { return dead_at_load(row_at(delta, row)); }
uint32_t kv_delta_last(const KvDelta *delta) { return atomic_load_explicit(&delta->last_row, memory_order_acquire); }
uint32_t kv_delta_before(const KvDelta *delta, uint32_t row) { return row_at(delta, row)->before; }
uint32_t kv_delta_older(const KvDelta *delta, uint32_t row) { return row_at(delta, row)->older; }

Bytes kv_delta_row_key(const KvDelta *delta, uint32_t row) {
  return key_entry_key(key_index_entry(&delta->index, row_at(delta, row)->entry));
}

/* ---- writing ---- */
static Status copy_long_value(const void *value, size_t length, LongValue **out) {
  LongValue *v = memory_allocate(sizeof *v + length);
  if (!v) return status_nomem();
  memcpy(v->bytes, value, length);
  *out = v;
  return KVSTORE_OK;
}

/* Room for a row, behind its key when the key is new. */
static Status place_row(KvDelta *delta, uint64_t hash, const void *key, size_t key_length, size_t size, uint32_t *entry,
                        uint32_t *row) {
  if (key_index_is_beyond(&delta->index, key, key_length)) { /* ascending keys: new, without a look at the hash table */
    add_to(&delta->keys_behind, 1);
    *entry = 0;
  } else {
    *entry = key_index_find(&delta->index, hash, key, key_length);
  }
  if (*entry) return delta_arena_allocate(&delta->index.arena, size, row);
  TRY(key_index_add(&delta->index, hash, key, key_length, size, entry));
  *row = *entry + (uint32_t)(key_entry_size(key_length) / DELTA_ARENA_ALIGNMENT);
  return KVSTORE_OK;
}

Status kv_delta_append(KvDelta *delta, uint64_t hash, const void *key, size_t key_length, const void *value,
                       size_t value_length, int64_t expiry, uint64_t sequence, bool tombstone, uint32_t *row_out) {
  ASSERT(!delta->frozen, "DELTA-2");
  ASSERT(value_length <= VALUE_BYTES_CEILING && (!tombstone || value_length == 0), "DELTA-ROW-2");
  bool is_long = value_length > VALUE_INLINE_MAX;
  LongValue *long_value = NULL;
  if (is_long) TRY(copy_long_value(value, value_length, &long_value));
  uint32_t entry_reference, row;
  size_t size = sizeof(KvHeader) + (is_long ? sizeof(void *) : value_length);
  Status status = place_row(delta, hash, key, key_length, size, &entry_reference, &row);
  if (status != KVSTORE_OK) {
    memory_release(long_value);
    return status;
  }
  KeyEntry *entry = key_index_entry(&delta->index, entry_reference);
  KvHeader *r = row_at(delta, row);
  atomic_init(&r->dead_at, DEAD_NEVER);
  r->sequence = sequence;
  r->expiry = expiry;
  r->older = newest_at(delta, atomic_load_explicit(&entry->head, memory_order_relaxed), UINT64_MAX);
  r->before = atomic_load_explicit(&delta->last_row, memory_order_relaxed);
  r->entry = entry_reference;
  r->length_word = tombstone ? KV_TOMBSTONE : (uint32_t)value_length;
  if (long_value) {
    const uint8_t *bytes = long_value->bytes;
    memcpy(r->value, &bytes, sizeof bytes);
    long_value->next = delta->long_values;
    delta->long_values = long_value;
    add_to(&delta->long_bytes, value_length);
  } else if (value_length) {
    memcpy(r->value, value, value_length);
  }
  if (r->older && kv_delta_kill(delta, r->older, sequence)) r->length_word |= KV_REPLACED;
  atomic_store_explicit(&entry->head, row, memory_order_release);
  atomic_store_explicit(&delta->last_row, row, memory_order_release);
  add_to(&delta->row_count, 1);
  if (!tombstone) add_to(&delta->live_rows, 1);
  if (row_out) *row_out = row;
  return KVSTORE_OK;
}

bool kv_delta_kill(KvDelta *delta, uint32_t row, uint64_t sequence) {
  KvHeader *r = row_at(delta, row);
  if (dead_at_load(r) != DEAD_NEVER) return false;
  set_dead_at(delta, r, sequence);
  return true;
}

void kv_delta_revive(KvDelta *delta, uint32_t row, uint64_t sequence) {
  KvHeader *r = row_at(delta, row);
  if (dead_at_load(r) == sequence) set_dead_at(delta, r, DEAD_NEVER);
}

DeltaMark kv_delta_mark(const KvDelta *delta) {
  uint64_t rows = atomic_load_explicit(&delta->row_count, memory_order_relaxed);
  return (DeltaMark){ .row_count = (uint32_t)rows, .last_row = kv_delta_last(delta) };
}

void kv_delta_rollback(KvDelta *delta, DeltaMark mark) {
  ASSERT(!delta->frozen, "DELTA-2");
  for (uint32_t row = kv_delta_last(delta); row != mark.last_row;) {
    ASSERT(row != 0, "VIS-3"); /* else the mark is not of this delta */
    KvHeader *r = row_at(delta, row);
    set_dead_at(delta, r, DEAD_ROLLED_BACK);
    if (r->length_word & KV_REPLACED) set_dead_at(delta, row_at(delta, r->older), DEAD_NEVER);
    row = r->before;
  }
}

/* ---- numbers ---- */
DeltaCounts kv_delta_counts(const KvDelta *delta) {
  uint64_t long_bytes = atomic_load_explicit(&delta->long_bytes, memory_order_relaxed);
  return (DeltaCounts){
    .rows = atomic_load_explicit(&delta->row_count, memory_order_relaxed),
    .keys = key_index_count(&delta->index),
    .live_rows = atomic_load_explicit(&delta->live_rows, memory_order_relaxed),
    .keys_behind = atomic_load_explicit(&delta->keys_behind, memory_order_relaxed),
    .bytes_used = atomic_load_explicit(&delta->index.arena.bytes_used, memory_order_relaxed) + long_bytes,
    .bytes_held = sizeof *delta + key_index_bytes_held(&delta->index) + long_bytes,
  };
}

static bool wrong(const char **why, const char *text) {
  *why = text;
  return false;
}

bool kv_delta_check(KvDelta *delta, const char **why) {
  if (!key_index_check(&delta->index, why)) return false;
  uint64_t rows = 0, live = 0;
  for (uint32_t row = kv_delta_last(delta); row; row = row_at(delta, row)->before) {
    const KvHeader *r = row_at(delta, row);
    uint64_t dead = dead_at_load(r);
    rows++;
    live += dead == DEAD_NEVER && !is_tombstone(r);
    if (dead != DEAD_ROLLED_BACK && dead < r->sequence) return wrong(why, "a row died before it was written");
    if (!r->older) continue;
    const KvHeader *older = row_at(delta, r->older);
    if (older->entry != r->entry) return wrong(why, "a row's chain leads to another key (DELTA-ROW-3)");
    if (older->sequence > r->sequence) return wrong(why, "a row is older than what it replaced (DELTA-ROW-3)");
    if (dead != DEAD_ROLLED_BACK && (r->length_word & KV_REPLACED) && dead_at_load(older) != r->sequence) {
      return wrong(why, "a replaced row is not dead from its replacement on (VIS-2)");
    }
  }
  if (rows != atomic_load_explicit(&delta->row_count, memory_order_relaxed)) return wrong(why, "rows are lost");
  if (live != atomic_load_explicit(&delta->live_rows, memory_order_relaxed)) return wrong(why, "live rows miscounted");
  return true;
}

/* ---- in key order ---- */
void kv_cursor_open(KvCursor *cursor, KvDelta *delta, uint64_t snapshot) {
  cursor->delta = delta;
  cursor->snapshot = snapshot;
  cursor->state = DELTA_ABSENT;
  key_cursor_open(&cursor->keys, &delta->index);
}

static bool stand_on(KvCursor *c, const KeyEntry *entry, bool forward) {
  for (; entry; entry = forward ? key_cursor_next(&c->keys) : key_cursor_prev(&c->keys)) {
    c->state = state_at(c->delta, entry, c->snapshot, &c->row);
    if (c->state == DELTA_ABSENT) continue;
    c->key = key_entry_key(entry);
    return true;
  }
  c->state = DELTA_ABSENT;
  return false;
}

bool kv_cursor_first(KvCursor *c) { return stand_on(c, key_cursor_first(&c->keys), true); }
bool kv_cursor_last(KvCursor *c) { return stand_on(c, key_cursor_last(&c->keys), false); }
bool kv_cursor_next(KvCursor *c) { return stand_on(c, key_cursor_next(&c->keys), true); }
bool kv_cursor_prev(KvCursor *c) { return stand_on(c, key_cursor_prev(&c->keys), false); }

bool kv_cursor_seek(KvCursor *c, const void *key, size_t length) {
  return stand_on(c, key_cursor_seek(&c->keys, key, length), true);
}

bool kv_cursor_seek_last(KvCursor *c, const void *key, size_t length) {
  return stand_on(c, key_cursor_seek_last(&c->keys, key, length), false);
}
