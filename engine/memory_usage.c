/* memory_usage.c - what a store holds in memory: the parts of all versions that still live, each counted once.
 *
 * Versions share almost everything, so the parts are collected by address first, then sorted and added up. The list of
 * versions stays locked meanwhile: what it names cannot go. */
#include <stdlib.h>

#include "base/memory.h"
#include "engine/engine_internal.h"
#include "engine/table_state.h"

typedef enum PartKind { PART_DELTA, PART_RUN, PART_VERSION, PART_KINDS } PartKind;

typedef struct Part {
  const void *address;
  uint64_t bytes;
  PartKind kind;
} Part;

typedef struct PartList {
  Part *items;
  size_t count, capacity;
  Status status;
} PartList;

static void add(PartList *l, PartKind kind, const void *address, uint64_t bytes) {
  if (!address || l->status != KVSTORE_OK) return;
  l->status = memory_grow(&l->items, &l->capacity, l->count + 1, sizeof *l->items);
  if (l->status == KVSTORE_OK) l->items[l->count++] = (Part){ address, bytes, kind };
}

/* ---- the parts ---- */

static void add_delta(PartList *l, const DeltaLayer *layer) {
  const DeltaHandle *d = layer->delta;
  DeltaCounts counts = d->kv ? kv_delta_counts(d->kv) : table_delta_counts(d->table);
  add(l, PART_DELTA, d, sizeof *d + counts.bytes_held);
  const Locators *locators = layer->locators;
  if (!locators) return;
  uint64_t bytes = sizeof *locators + LOCATOR_SLABS_MAX * sizeof *locators->slabs;
  for (uint32_t i = 0; i < LOCATOR_SLABS_MAX; i++) {
    if (!atomic_load_explicit(&locators->slabs[i], memory_order_relaxed)) break;
    bytes += DELTA_SLAB_ROWS * sizeof(uint64_t);
  }
  add(l, PART_VERSION, locators, bytes);
}

static void add_deleted(PartList *l, const DeletedSet *set) {
  if (!set) return;
  add(l, PART_VERSION, set, sizeof *set);
  for (uint32_t i = 0; i < set->segment_count; i++)
    if (set->segments[i]) add(l, PART_VERSION, set->segments[i], deleted_rows_memory(set->segments[i]));
}

static void add_run(PartList *l, const RunLayer *layer) {
  const RunHandle *r = layer->run;
  uint64_t bytes = sizeof *r->open + extent_sources_memory(&r->open->sources);
  if (r->rows) bytes += row_run_memory(r->rows);
  if (r->columns) bytes += column_run_memory(r->columns);
  add(l, PART_RUN, r->open, bytes);
  add(l, PART_RUN, r, sizeof *r + r->arena.bytes_held);
  add_deleted(l, layer->deleted);
  if (layer->replaced)
    add(l, PART_VERSION, layer->replaced, sizeof *layer->replaced + layer->replaced->arena.bytes_held);
}

static void add_dead_cache(PartList *l, DeadCache *c) {
  if (!c) return;
  add(l, PART_VERSION, c, sizeof *c);
  mutex_lock(&c->lock);
  for (uint32_t s = 0; s < DEAD_STATES_MAX && c->states[s]; s++) {
    const DeadState *state = c->states[s];
    add(l, PART_VERSION, state, dead_state_memory(state));
    for (uint32_t i = 0; i < state->run_count; i++) add_deleted(l, state->sets[i]);
  }
  mutex_unlock(&c->lock);
}

static void add_family(PartList *l, const FamilyState *s) {
  uint64_t bytes = sizeof *s + s->era_count * sizeof *s->eras;
  for (uint32_t i = 0; i < s->era_count; i++) {
    const Era *era = &s->eras[i];
    bytes += era->delta_count * sizeof *era->deltas + era->run_count * sizeof *era->runs;
    bytes += era->level.count * (sizeof *era->level.runs + sizeof *era->level.heads);
    for (uint32_t d = 0; d < era->delta_count; d++) add_delta(l, &era->deltas[d]);
    for (uint32_t r = 0; r < era->run_count; r++) add_run(l, &era->runs[r]);
    add_dead_cache(l, era->dead);
  }
  add(l, PART_VERSION, s, bytes);
}

static void add_version(PartList *l, const Version *v) {
  add(l, PART_VERSION, v, sizeof *v + v->family_count * sizeof(FamilyState *));
  if (v->manifest) add(l, PART_VERSION, v->manifest, sizeof *v->manifest + v->manifest->arena.bytes_held);
  for (uint32_t i = 0; i < v->family_count; i++) add_family(l, v->families[i]);
}

/* ---- the sum ---- */

static int by_address(const void *a, const void *b) {
  const Part *x = a, *y = b;
  return x->address < y->address ? -1 : x->address > y->address;
}

static void add_up(PartList *l, uint64_t sums[PART_KINDS]) {
  if (l->count) qsort(l->items, l->count, sizeof *l->items, by_address);
  for (size_t i = 0; i < l->count; i++)
    if (!i || l->items[i].address != l->items[i - 1].address) sums[l->items[i].kind] += l->items[i].bytes;
}

static Status sum_versions(Store *store, uint64_t sums[PART_KINDS]) {
  PartList list = { 0 };
  mutex_lock(&store->versions_lock);
  for (Version *v = atomic_load_explicit(&store->current, memory_order_acquire); v;
       v = v == atomic_load_explicit(&store->current, memory_order_relaxed) ? store->retired : v->older)
    add_version(&list, v);
  mutex_unlock(&store->versions_lock);
  if (list.status == KVSTORE_OK) add_up(&list, sums);
  memory_release(list.items);
  return list.status;
}

static uint64_t log_memory(Store *store) {
  mutex_lock(&store->apply_lock);
  uint64_t bytes = store->window.bytes.capacity;
  mutex_unlock(&store->apply_lock);
  return bytes + atomic_load_explicit(&store->record_held, memory_order_relaxed);
}

Status session_memory_usage(Session *session, MemoryUsage *out) {
  Store *store = session->store;
  uint64_t sums[PART_KINDS] = { 0 };
  TRY(sum_versions(store, sums));
  BlockCacheUsage cache = block_cache_usage(store->file.cache);
  *out = (MemoryUsage){ .delta_bytes = sums[PART_DELTA],
                        .run_bytes = sums[PART_RUN],
                        .version_bytes = sums[PART_VERSION] + sizeof *store + STORE_WINDOWS_MAX * sizeof(uint8_t *),
                        .log_bytes = log_memory(store),
                        .cache_bytes = cache.kept_bytes,
                        .cache_pinned_bytes = cache.pinned_bytes,
                        .cache_bytes_max = cache.bytes_max };
  return store_file_mapped(&store->file, &out->mapped_bytes);
}
