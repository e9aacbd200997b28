/* table_state.c - which rows of a table's runs are dead at a snapshot: locators, and the deleted sets made from them
 * (VIS-4, VIS-5; DESIGN 8). Locators are the truth, sets a cache of them for one version and sequence. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/counters.h"
#include "base/hash.h"
#include "base/memory.h"
#include "engine/engine_internal.h"

/* ---- rows of runs ---- */

static bool contains(const uint32_t *positions, size_t count, uint32_t position) {
  size_t low = 0, high = count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (positions[middle] < position)
      low = middle + 1;
    else
      high = middle;
  }
  return low < count && positions[low] == position;
}

/* Dead by the manifest, or replaced by a run that was adopted up to `sequence`. Delta rows do not count here. */
static bool run_row_is_dead(const Era *era, uint32_t layer, uint32_t position, uint64_t sequence) {
  const RunLayer *run = &era->runs[layer];
  if (deleted_set_contains(run->deleted, position_segment(position), position_row(position))) return true;
  for (uint32_t i = 0; i < era->run_count && era->runs[i].since; i++) {
    const AdoptedDeletes *a = era->runs[i].replaced;
    if (!a || era->runs[i].since > sequence) continue;
    for (uint32_t r = 0; r < a->run_count; r++)
      if (a->runs[r].number == run->run->entry.number && contains(a->runs[r].positions, a->runs[r].count, position))
        return true;
  }
  return false;
}

Status era_find_in_runs(Era *era, Bytes key, uint64_t hash, uint64_t sequence, uint64_t after, uint64_t *locator,
                        uint32_t *layer) {
  *locator = LOCATOR_NONE;
  for (uint32_t i = 0; i < era->run_count; i++) {
    if (era->runs[i].since > sequence || (after && era->runs[i].since <= after)) continue;
    Locator at;
    bool found;
    TRY(column_run_find(era->runs[i].run->columns, key, hash, &at, &found));
    if (!found) continue;
    uint64_t word = locator_pack(at);
    if (run_row_is_dead(era, i, locator_position(word), sequence)) continue;
    *locator = word;
    *layer = i;
    return KVSTORE_OK;
  }
  return KVSTORE_OK;
}

/* ---- resolving ---- */

enum { RESOLVE_BATCH = 1024 };

typedef struct ResolveBatch {
  uint32_t rows[RESOLVE_BATCH];
  Bytes keys[RESOLVE_BATCH];
  uint64_t hashes[RESOLVE_BATCH], sequences[RESOLVE_BATCH], found[RESOLVE_BATCH];
  size_t count;
} ResolveBatch;

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

/* A delete hides a key's rows; a run adopted after it, and before `sequence`, may hold the key again. */
static bool adopted_between(const Era *era, uint64_t after, uint64_t sequence) {
  for (uint32_t i = 0; i < era->run_count && era->runs[i].since; i++)
    if (era->runs[i].since > after && era->runs[i].since < sequence) return true;
  return false;
}

/* Whether the row that this one replaced lies in a delta: then that row's locator, or its run's flush, speaks for it.
 */
static bool replaced_in_delta(const Era *era, uint32_t layer, uint32_t row, Bytes key, uint64_t hash,
                              uint64_t sequence) {
  const TableDelta *delta = era->deltas[layer].delta->table;
  uint32_t older = table_delta_older(delta, row);
  if (older != TABLE_ROW_NONE) {
    uint64_t dead_at = table_delta_dead_at(delta, older), older_sequence = table_delta_sequence(delta, older);
    if (dead_at == sequence) return true;
    if (dead_at == older_sequence) return !adopted_between(era, older_sequence, sequence);
  }
  for (uint32_t i = layer + 1; i < era->delta_count; i++) {
    uint32_t at;
    const TableDelta *frozen = era->deltas[i].delta->table;
    DeltaState state = table_delta_find(frozen, hash, key.data, key.length, sequence - 1, &at);
    if (state == DELTA_FOUND) return true;
    if (state == DELTA_DELETED) return !adopted_between(era, table_delta_sequence(frozen, at), sequence);
  }
  return false;
}

/* Looks the batch up, newest run first; a dead hit sends the key on to older runs. */
static Status find_batch(Era *era, ResolveBatch *b) {
  for (size_t i = 0; i < b->count; i++) b->found[i] = LOCATOR_NONE;
  for (uint32_t r = 0; r < era->run_count; r++) {
    const RunLayer *layer = &era->runs[r];
    TRY(column_run_find_many(layer->run->columns, b->keys, b->hashes, b->count, b->found));
    for (size_t i = 0; i < b->count; i++) {
      if (b->found[i] == LOCATOR_NONE || locator_unpack(b->found[i]).run != layer->run->entry.number) continue;
      if (layer->since > b->sequences[i] || run_row_is_dead(era, r, locator_position(b->found[i]), b->sequences[i]))
        b->found[i] = LOCATOR_NONE;
    }
  }
  return KVSTORE_OK;
}

static Status resolve_batch(Era *era, uint32_t layer, ResolveBatch *b) {
  if (!b->count) return KVSTORE_OK;
  Locators *l = era->deltas[layer].locators;
  TRY(find_batch(era, b));
  for (size_t i = 0; i < b->count; i++) {
    uint64_t *words;
    TRY(locator_slab(l, table_slab_of(b->rows[i]), &words));
    words[table_slab_offset(b->rows[i])] = b->found[i];
  }
  COUNT_MANY(resolved_keys, b->count);
  b->count = 0;
  return KVSTORE_OK;
}

static Status resolve_rows(Era *era, uint32_t layer, uint64_t sequence, ResolveBatch *b) {
  Locators *l = era->deltas[layer].locators;
  const TableDelta *delta = era->deltas[layer].delta->table;
  uint32_t from = atomic_load_explicit(&l->resolved, memory_order_relaxed), end = table_delta_row_count(delta),
           row = from;
  b->count = 0;
  for (; row < end; row++) {
    uint64_t at = table_delta_sequence(delta, row), *words;
    bool rolled_back = table_delta_dead_at(delta, row) == DEAD_ROLLED_BACK;
    if (at > sequence && !rolled_back) break;
    TRY(locator_slab(l, table_slab_of(row), &words));
    uint64_t *word = &words[table_slab_offset(row)];
    if (*word != LOCATOR_UNKNOWN) continue; /* carried over from the former runs */
    Bytes key = table_delta_key(delta, row);
    uint64_t hash = hash_key(key.data, key.length);
    if (rolled_back || replaced_in_delta(era, layer, row, key, hash, at)) {
      *word = LOCATOR_NONE;
      continue;
    }
    b->rows[b->count] = row;
    b->keys[b->count] = key;
    b->hashes[b->count] = hash;
    b->sequences[b->count++] = at;
    if (b->count == RESOLVE_BATCH) TRY(resolve_batch(era, layer, b));
  }
  TRY(resolve_batch(era, layer, b));
  atomic_store_explicit(&l->resolved, row, memory_order_release);
  return KVSTORE_OK;
}

Status era_resolve(Store *store, Era *era, uint64_t sequence) {
  (void)store;
  ResolveBatch *batch = NULL;
  Status status = KVSTORE_OK;
  for (uint32_t i = era->delta_count; i-- > 0 && status == KVSTORE_OK;) {
    Locators *l = era->deltas[i].locators;
    if (atomic_load_explicit(&l->resolved, memory_order_acquire) >= table_delta_row_count(era->deltas[i].delta->table))
      continue;
    if (!batch && !(batch = memory_allocate(sizeof *batch))) return status_nomem();
    mutex_lock(&l->lock);
    status = resolve_rows(era, i, sequence, batch);
    mutex_unlock(&l->lock);
  }
  memory_release(batch);
  return status;
}

static uint32_t rows_behind(const Era *era) {
  uint32_t behind = 0;
  for (uint32_t i = 0; i < era->delta_count; i++) {
    uint32_t rows = table_delta_row_count(era->deltas[i].delta->table);
    uint32_t resolved = atomic_load_explicit(&era->deltas[i].locators->resolved, memory_order_acquire);
    if (rows > resolved) behind += rows - resolved;
  }
  return behind;
}

Status version_resolve(Store *store, const Version *v, uint64_t sequence) {
  for (uint32_t i = 0; i < v->family_count; i++) {
    if (v->families[i]->family->kind != FAMILY_TABLE) continue;
    Era *era = family_state_era(v->families[i], sequence);
    if (era && rows_behind(era) > UNRESOLVED_MAX) TRY(era_resolve(store, era, sequence));
  }
  return KVSTORE_OK;
}

/* ---- deleted sets ---- */

typedef struct RunNumber {
  uint32_t number, layer;
} RunNumber;

typedef struct Positions {
  uint32_t *rows;
  size_t count, capacity;
} Positions;

typedef struct DeadWork {
  const Era *era;
  RunNumber *numbers;   /* by number */
  Positions *positions; /* by run layer */
  uint32_t *rows_done;  /* by delta layer */
  DeletedSet **sets;    /* by run layer; each a reference */
} DeadWork;

static int by_number(const void *a, const void *b) {
  uint32_t x = ((const RunNumber *)a)->number, y = ((const RunNumber *)b)->number;
  return (x > y) - (x < y);
}

static void work_release(DeadWork *w) {
  for (uint32_t i = 0; w->positions && i < w->era->run_count; i++) memory_release(w->positions[i].rows);
  memory_release(w->numbers);
  memory_release(w->positions);
  memory_release(w->rows_done);
}

static Status work_start(DeadWork *w, const Era *era) {
  memset(w, 0, sizeof *w);
  w->era = era;
  w->numbers = memory_allocate_zeroed(memory_array_size(era->run_count, sizeof *w->numbers));
  w->positions = memory_allocate_zeroed(memory_array_size(era->run_count, sizeof *w->positions));
  w->rows_done = memory_allocate_zeroed(memory_array_size(era->delta_count, sizeof *w->rows_done));
  w->sets = memory_allocate_zeroed(memory_array_size(era->run_count, sizeof(DeletedSet *)));
  if (!w->numbers || !w->positions || !w->rows_done || !w->sets) return status_nomem();
  for (uint32_t i = 0; i < era->run_count; i++) w->numbers[i] = (RunNumber){ era->runs[i].run->entry.number, i };
  qsort(w->numbers, era->run_count, sizeof *w->numbers, by_number);
  return KVSTORE_OK;
}

static Status add_position(DeadWork *w, uint32_t number, uint32_t position) {
  RunNumber wanted = { number, 0 };
  const RunNumber *found = bsearch(&wanted, w->numbers, w->era->run_count, sizeof *w->numbers, by_number);
  ASSERT(found != NULL, "ENG-10"); /* locators belong to the era's own runs */
  Positions *p = &w->positions[found->layer];
  if (p->count == p->capacity) TRY(memory_grow(&p->rows, &p->capacity, p->count + 1, sizeof *p->rows));
  p->rows[p->count++] = position;
  return KVSTORE_OK;
}

static Status add_adopted(DeadWork *w, uint64_t after, uint64_t sequence) {
  for (uint32_t i = 0; i < w->era->run_count && w->era->runs[i].since; i++) {
    const AdoptedDeletes *a = w->era->runs[i].replaced;
    if (!a || w->era->runs[i].since <= after || w->era->runs[i].since > sequence) continue;
    for (uint32_t r = 0; r < a->run_count; r++)
      for (size_t p = 0; p < a->runs[r].count; p++) TRY(add_position(w, a->runs[r].number, a->runs[r].positions[p]));
  }
  return KVSTORE_OK;
}

static Status add_delta_rows(DeadWork *w, uint64_t sequence) {
  for (uint32_t i = 0; i < w->era->delta_count; i++) {
    const TableDelta *delta = w->era->deltas[i].delta->table;
    Locators *l = w->era->deltas[i].locators;
    uint32_t end = atomic_load_explicit(&l->resolved, memory_order_acquire), row = w->rows_done[i];
    for (; row < end; row++) {
      if (table_delta_dead_at(delta, row) == DEAD_ROLLED_BACK) continue;
      if (table_delta_sequence(delta, row) > sequence) break;
      const uint64_t *words = atomic_load_explicit(&l->slabs[table_slab_of(row)], memory_order_acquire);
      uint64_t word = words[table_slab_offset(row)];
      if (word != LOCATOR_NONE) TRY(add_position(w, locator_unpack(word).run, locator_position(word)));
    }
    w->rows_done[i] = row;
  }
  return KVSTORE_OK;
}

static Status extend_sets(DeadWork *w) {
  for (uint32_t i = 0; i < w->era->run_count; i++) {
    Positions *p = &w->positions[i];
    if (!p->count) continue;
    DeletedSet *next;
    TRY(deleted_set_add_many(w->sets[i], w->era->runs[i].run->columns->segment_count, p->rows, p->count, &next));
    deleted_set_release(w->sets[i]);
    w->sets[i] = next;
  }
  return KVSTORE_OK;
}

/* Starts from the cache when that is not newer than the snapshot, else from the manifest's sets. */
static uint64_t start_sets(DeadWork *w, const DeadCache *cache, uint64_t sequence) {
  bool from_cache = cache->valid && cache->sequence <= sequence;
  for (uint32_t i = 0; i < w->era->run_count; i++)
    w->sets[i] = deleted_set_retain(from_cache ? cache->sets[i] : w->era->runs[i].deleted);
  if (!from_cache) return 0;
  memcpy(w->rows_done, cache->rows_done, w->era->delta_count * sizeof *w->rows_done);
  return cache->sequence;
}

static void keep_sets(DeadCache *cache, const DeadWork *w, uint64_t sequence) {
  for (uint32_t i = 0; i < cache->run_count; i++) {
    deleted_set_release(cache->sets[i]);
    cache->sets[i] = deleted_set_retain(w->sets[i]);
  }
  memcpy(cache->rows_done, w->rows_done, cache->delta_count * sizeof *cache->rows_done);
  cache->sequence = sequence;
  cache->valid = true;
}

Status era_deleted(Store *store, Era *era, uint64_t sequence, bool own_transaction, DeletedSet ***sets) {
  TRY(era_resolve(store, era, sequence));
  DeadCache *cache = era->dead;
  DeadWork w;
  Status status = work_start(&w, era);
  if (status == KVSTORE_OK) {
    mutex_lock(&cache->lock);
    uint64_t after = start_sets(&w, cache, sequence);
    status = add_adopted(&w, after, sequence);
    if (status == KVSTORE_OK) status = add_delta_rows(&w, sequence);
    if (status == KVSTORE_OK) status = extend_sets(&w);
    if (status == KVSTORE_OK && !own_transaction && (!cache->valid || sequence >= cache->sequence))
      keep_sets(cache, &w, sequence);
    mutex_unlock(&cache->lock);
  }
  work_release(&w);
  if (status == KVSTORE_OK)
    *sets = w.sets;
  else
    deleted_sets_release(w.sets, w.sets ? era->run_count : 0);
  return status;
}

void deleted_sets_release(DeletedSet **sets, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) deleted_set_release(sets[i]);
  memory_release((void *)sets);
}
