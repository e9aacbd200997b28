/* locators.c - where the rows of a table's deltas have their older row in a run (VIS-5; DESIGN 8). */
#include "engine/table_state.h"

#include "base/assert.h"
#include "base/counters.h"
#include "base/hash.h"
#include "base/memory.h"

/* ---- words ---- */

static Status locator_slab(Locators *l, uint32_t slab, uint64_t **out) {
  ASSERT(slab < LOCATOR_SLABS_MAX, "ENG-9");
  *out = atomic_load_explicit(&l->slabs[slab], memory_order_acquire);
  if (*out) return KVSTORE_OK;
  uint64_t *words = memory_allocate(DELTA_SLAB_ROWS * sizeof *words);
  if (!words) return status_nomem();
  for (uint32_t i = 0; i < DELTA_SLAB_ROWS; i++) words[i] = LOCATOR_UNKNOWN;
  atomic_store_explicit(&l->slabs[slab], words, memory_order_release);
  *out = words;
  return KVSTORE_OK;
}

uint64_t locator_of_run(const Era *era, uint32_t layer, uint32_t position) {
  return locator_pack((Locator){ era->runs[layer].run->entry.number, (uint16_t)position_segment(position),
                                 (uint16_t)position_row(position) });
}

static bool has_run(const Era *era, uint32_t number) {
  for (uint32_t i = 0; i < era->run_count; i++)
    if (era->runs[i].run->entry.number == number) return true;
  return false;
}

/* A row that replaced none when it was written never will; one whose older row was in a delta may have it in a run by
 * now. */
static void carry_words(const uint64_t *from, uint32_t count, const Era *era, uint64_t *to) {
  uint32_t last = UINT32_MAX; /* a run that stayed */
  for (uint32_t i = 0; i < DELTA_SLAB_ROWS; i++) {
    to[i] = LOCATOR_UNKNOWN;
    if (i >= count || from[i] == LOCATOR_IN_DELTA) continue;
    uint32_t run = locator_unpack(from[i]).run;
    if (from[i] != LOCATOR_NONE && run != last && !has_run(era, run)) continue;
    to[i] = from[i];
    if (from[i] != LOCATOR_NONE) last = run;
  }
}

Status locators_carry(const DeltaLayer *from, DeltaLayer *to, const Era *era) {
  to->locators = locators_create();
  if (!to->locators) return status_nomem();
  uint32_t resolved = atomic_load_explicit(&from->locators->resolved, memory_order_acquire);
  for (uint32_t first = 0; first < resolved; first += DELTA_SLAB_ROWS) {
    uint32_t slab = table_slab_of(first), left = resolved - first;
    uint64_t *words;
    TRY(locator_slab(to->locators, slab, &words));
    carry_words(atomic_load_explicit(&from->locators->slabs[slab], memory_order_acquire),
                left < DELTA_SLAB_ROWS ? left : DELTA_SLAB_ROWS, era, words);
  }
  return KVSTORE_OK;
}

/* Rows below `first` may wait in slabs that are not there yet, behind a recovery: none is left out, for who gives all
 * of them back stops at the first that is not there. */
static Status slabs_before(Locators *l, uint32_t first) {
  for (uint32_t slab = 0; slab < table_slab_of(first); slab++) {
    uint64_t *words;
    TRY(locator_slab(l, slab, &words));
  }
  return KVSTORE_OK;
}

/* Somebody may have resolved the first of them meanwhile, and readers may be at those. */
Status locators_note(Era *era, uint32_t first, const uint64_t *words, uint32_t count) {
  Locators *l = era->deltas[0].locators;
  mutex_lock(&l->lock);
  uint32_t resolved = atomic_load_explicit(&l->resolved, memory_order_relaxed);
  Status status = slabs_before(l, first);
  for (uint32_t i = 0; i < count && status == KVSTORE_OK; i++) {
    uint64_t *slab;
    status = locator_slab(l, table_slab_of(first + i), &slab);
    if (status == KVSTORE_OK && first + i >= resolved) slab[table_slab_offset(first + i)] = words[i];
  }
  mutex_unlock(&l->lock);
  return status;
}

/* ---- resolving ---- */

enum {
  RESOLVE_BATCH = 4096, /* the more keys, the fewer of a segment are looked for at another time */
  FETCH_AHEAD = 12,     /* keys whose slots of older deltas are asked for before their turn */
};

/* Arrays of `capacity` entries, in one block. */
typedef struct ResolveBatch {
  Bytes *keys;
  uint64_t *hashes, *sequences, *found;
  uint32_t *rows;
  size_t count, capacity;
} ResolveBatch;

static Status batch_allocate(ResolveBatch *b, uint32_t waiting) {
  size_t n = waiting < RESOLVE_BATCH ? waiting + 1 : RESOLVE_BATCH;
  b->keys = memory_allocate(n * (sizeof *b->keys + 3 * sizeof *b->hashes + sizeof *b->rows));
  if (!b->keys) return status_nomem();
  b->hashes = (uint64_t *)(b->keys + n);
  b->sequences = b->hashes + n;
  b->found = b->sequences + n;
  b->rows = (uint32_t *)(b->found + n);
  b->capacity = n;
  return KVSTORE_OK;
}

/* A delete hides a key's rows; a run adopted after it, and before `sequence`, may hold the key again. */
static bool adopted_between(const Era *era, uint64_t after, uint64_t sequence) {
  for (uint32_t i = 0; i < era->run_count && era->runs[i].since; i++)
    if (era->runs[i].since > after && era->runs[i].since < sequence) return true;
  return false;
}

static uint64_t word_after_delete(const Era *era, uint64_t deleted, uint64_t sequence) {
  return adopted_between(era, deleted, sequence) ? LOCATOR_UNKNOWN : LOCATOR_NONE;
}

/* The word of a row whose older one is in a delta, where that one's locator, or its run's flush, speaks for it:
 * LOCATOR_NONE, or LOCATOR_IN_DELTA when that is another delta. LOCATOR_UNKNOWN: the runs are to be asked. */
static uint64_t word_by_deltas(const Era *era, uint32_t layer, const ResolveBatch *b, size_t n) {
  const TableDelta *delta = era->deltas[layer].delta->table;
  uint64_t sequence = b->sequences[n];
  uint32_t older = table_delta_older(delta, b->rows[n]);
  if (older != TABLE_ROW_NONE) {
    uint64_t dead_at = table_delta_dead_at(delta, older), older_sequence = table_delta_sequence(delta, older);
    if (dead_at == sequence) return LOCATOR_NONE;
    if (dead_at == older_sequence) return word_after_delete(era, older_sequence, sequence);
  }
  for (uint32_t i = layer + 1; i < era->delta_count; i++) {
    uint32_t at;
    const TableDelta *frozen = era->deltas[i].delta->table;
    DeltaState state = table_delta_find(frozen, b->hashes[n], b->keys[n].data, b->keys[n].length, sequence - 1, &at);
    if (state == DELTA_FOUND) return LOCATOR_IN_DELTA;
    if (state == DELTA_DELETED) return word_after_delete(era, table_delta_sequence(frozen, at), sequence);
  }
  return LOCATOR_UNKNOWN;
}

static void store_word(Locators *l, uint32_t row, uint64_t word) {
  uint64_t *words = atomic_load_explicit(&l->slabs[table_slab_of(row)], memory_order_relaxed);
  words[table_slab_offset(row)] = word;
}

/* Settles what the deltas alone tell, and keeps the others. */
static void ask_deltas(const Era *era, uint32_t layer, ResolveBatch *b) {
  size_t kept = 0;
  for (size_t n = 0; n < b->count; n++) {
    for (uint32_t i = layer + 1; i < era->delta_count && n + FETCH_AHEAD < b->count; i++)
      table_delta_prefetch(era->deltas[i].delta->table, b->hashes[n + FETCH_AHEAD]);
    uint64_t word = word_by_deltas(era, layer, b, n);
    if (word != LOCATOR_UNKNOWN) {
      store_word(era->deltas[layer].locators, b->rows[n], word);
      continue;
    }
    b->rows[kept] = b->rows[n];
    b->keys[kept] = b->keys[n];
    b->hashes[kept] = b->hashes[n];
    b->sequences[kept++] = b->sequences[n];
  }
  b->count = kept;
}

/* Looks the batch up, newest run first; a dead hit sends the key on to older runs. */
static Status ask_runs(Era *era, ResolveBatch *b) {
  for (size_t i = 0; i < b->count; i++) b->found[i] = LOCATOR_NONE;
  for (uint32_t r = 0; r < era->run_count; r++) {
    const RunLayer *layer = &era->runs[r];
    TRY(column_run_find_many(layer->run->columns, b->keys, b->hashes, b->count, b->found));
    for (size_t i = 0; i < b->count; i++) {
      if (b->found[i] == LOCATOR_NONE || locator_unpack(b->found[i]).run != layer->run->entry.number) continue;
      if (layer->since > b->sequences[i] || era_run_row_is_dead(era, r, locator_position(b->found[i]), b->sequences[i]))
        b->found[i] = LOCATOR_NONE;
    }
  }
  return KVSTORE_OK;
}

static Status resolve_batch(Era *era, uint32_t layer, ResolveBatch *b) {
  size_t rows = b->count;
  ask_deltas(era, layer, b);
  TRY(ask_runs(era, b));
  for (size_t i = 0; i < b->count; i++) store_word(era->deltas[layer].locators, b->rows[i], b->found[i]);
  COUNT_MANY(resolved_keys, rows);
  b->count = 0;
  return KVSTORE_OK;
}

static bool is_rolled_back(const TableDelta *delta, uint32_t row) {
  return table_delta_dead_at(delta, row) == DEAD_ROLLED_BACK;
}

static Status resolve_rows(Era *era, uint32_t layer, uint64_t sequence, ResolveBatch *b) {
  Locators *l = era->deltas[layer].locators;
  const TableDelta *delta = era->deltas[layer].delta->table;
  uint32_t row = atomic_load_explicit(&l->resolved, memory_order_relaxed), end = table_delta_row_count(delta);
  b->count = 0;
  for (; row < end; row++) {
    uint64_t at = table_delta_sequence(delta, row), *words;
    bool rolled_back = is_rolled_back(delta, row);
    if (at > sequence && !rolled_back) break;
    TRY(locator_slab(l, table_slab_of(row), &words));
    uint64_t *word = &words[table_slab_offset(row)];
    if (*word != LOCATOR_UNKNOWN) continue; /* carried over from the former runs */
    if (rolled_back) {
      *word = LOCATOR_NONE;
      continue;
    }
    Bytes key = table_delta_key(delta, row);
    b->rows[b->count] = row;
    b->keys[b->count] = key;
    b->sequences[b->count] = at;
    b->hashes[b->count++] = hash_key(key.data, key.length);
    if (b->count < b->capacity) continue;
    TRY(resolve_batch(era, layer, b));
    atomic_store_explicit(&l->resolved, row + 1, memory_order_release);
  }
  if (b->count) TRY(resolve_batch(era, layer, b));
  atomic_store_explicit(&l->resolved, row, memory_order_release);
  return KVSTORE_OK;
}

/* Rows of a delta that a snapshot at `sequence` may see wait for their locator. */
static bool any_waits(const DeltaLayer *layer, uint64_t sequence) {
  const TableDelta *delta = layer->delta->table;
  uint32_t resolved = atomic_load_explicit(&layer->locators->resolved, memory_order_acquire);
  if (resolved >= table_delta_row_count(delta)) return false;
  return table_delta_sequence(delta, resolved) <= sequence || is_rolled_back(delta, resolved);
}

Status era_resolve(Era *era, uint64_t sequence) {
  ResolveBatch batch = { 0 };
  Status status = KVSTORE_OK;
  for (uint32_t i = era->delta_count; i-- > 0 && status == KVSTORE_OK;) {
    if (!any_waits(&era->deltas[i], sequence)) continue;
    if (!batch.keys) TRY(batch_allocate(&batch, era_rows_unresolved(era)));
    mutex_lock(&era->deltas[i].locators->lock);
    status = resolve_rows(era, i, sequence, &batch);
    mutex_unlock(&era->deltas[i].locators->lock);
  }
  memory_release(batch.keys);
  return status;
}

uint32_t era_rows_unresolved(const Era *era) {
  uint32_t waiting = 0;
  for (uint32_t i = 0; i < era->delta_count; i++) {
    uint32_t rows = table_delta_row_count(era->deltas[i].delta->table);
    uint32_t resolved = atomic_load_explicit(&era->deltas[i].locators->resolved, memory_order_acquire);
    if (rows > resolved) waiting += rows - resolved;
  }
  return waiting;
}
