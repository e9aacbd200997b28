/* layers.c - the counted parts that versions share: families, deltas, runs, locators, caches, eras. */
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "engine/engine_internal.h"

static bool last_reference(_Atomic uint32_t *references) {
  uint32_t before = atomic_fetch_sub_explicit(references, 1, memory_order_acq_rel);
  ASSERT(before > 0, "ENG-2");
  return before == 1;
}
static void one_more(_Atomic uint32_t *references) { atomic_fetch_add_explicit(references, 1, memory_order_relaxed); }

/* ---- families ---- */

Family *family_retain(Family *f) {
  one_more(&f->references);
  return f;
}

void family_release(Family *f) {
  if (!f || !last_reference(&f->references)) return;
  mutex_destroy(&f->count.lock);
  schema_release(&f->schema);
  buffer_release(&f->round.next);
  memory_release(f);
}

/* ---- deltas ---- */

DeltaHandle *delta_handle_create(const Family *family) {
  DeltaHandle *d = memory_allocate_zeroed(sizeof *d);
  if (!d) return NULL;
  atomic_init(&d->references, 1);
  atomic_init(&d->boundary, UINT64_MAX);
  Status status = family->kind == FAMILY_KV ? kv_delta_create(&d->kv) : table_delta_create(&family->schema, &d->table);
  if (status == KVSTORE_OK) return d;
  memory_release(d);
  return NULL;
}

DeltaHandle *delta_retain(DeltaHandle *d) {
  one_more(&d->references);
  return d;
}

void delta_release(DeltaHandle *d) {
  if (!d || !last_reference(&d->references)) return;
  kv_delta_destroy(d->kv);
  table_delta_destroy(d->table);
  memory_release(d);
}

/* ---- runs ---- */

RunHandle *run_retain(RunHandle *r) {
  one_more(&r->references);
  return r;
}

void run_release(RunHandle *r) {
  if (!r || !last_reference(&r->references)) return;
  row_run_close(r->rows);
  column_run_close(r->columns);
  extent_sources_close(&r->sources);
  family_release(r->family);
  arena_release(&r->arena);
  memory_release(r);
}

static Status open_structure(RunHandle *r) {
  Source *last = &r->sources.run.sources[r->entry.extent_count - 1];
  const uint8_t *directory;
  SourcePin pin;
  TRY(source_block(last, 0, (size_t)last->length, &directory, &pin));
  Status status;
  if (r->entry.kind == RUN_ROWS) {
    status = row_run_open(directory, (size_t)last->length, &r->sources.run, &r->rows);
  } else {
    status = column_run_open(directory, (size_t)last->length, &r->sources.run, &r->family->schema, NULL, &r->columns);
    if (status == KVSTORE_OK) r->columns->number = r->entry.number;
  }
  source_release(last, &pin);
  TRY(status);
  uint64_t rows = r->rows ? row_run_summary(r->rows)->row_count : r->columns->row_count;
  if (rows != r->entry.row_count)
    return status_fail(KVSTORE_CORRUPT, "run %u does not hold the rows that the manifest says", r->entry.number);
  return KVSTORE_OK;
}

Status run_handle_open(Store *store, const RunEntry *entry, Family *family, RunHandle **out) {
  RunHandle *r = memory_allocate_zeroed(sizeof *r);
  if (!r) return status_nomem();
  atomic_init(&r->references, 1);
  r->family = family_retain(family);
  Status status = run_entry_copy(entry, &r->arena, &r->entry);
  if (status == KVSTORE_OK)
    status = extent_sources_open(&store->file, r->entry.extents, r->entry.extent_count, &r->sources);
  if (status == KVSTORE_OK) status = open_structure(r);
  if (status == KVSTORE_OK)
    *out = r;
  else
    run_release(r);
  return status;
}

/* ---- locators and caches ---- */

Locators *locators_create(void) {
  Locators *l = memory_allocate_zeroed(sizeof *l);
  if (!l) return NULL;
  l->slabs = memory_allocate_zeroed(LOCATOR_SLABS_MAX * sizeof *l->slabs);
  if (!l->slabs) {
    memory_release(l);
    return NULL;
  }
  atomic_init(&l->references, 1);
  mutex_init(&l->lock);
  return l;
}

void locators_release(Locators *l) {
  if (!l || !last_reference(&l->references)) return;
  for (uint32_t i = 0; i < LOCATOR_SLABS_MAX; i++) {
    uint64_t *slab = atomic_load_explicit(&l->slabs[i], memory_order_relaxed);
    if (!slab) break;
    memory_release(slab);
  }
  memory_release((void *)l->slabs);
  mutex_destroy(&l->lock);
  memory_release(l);
}

DeadCache *dead_cache_create(uint32_t run_count, uint32_t delta_count) {
  DeadCache *c = memory_allocate_zeroed(sizeof *c);
  if (!c) return NULL;
  c->run_count = run_count;
  c->delta_count = delta_count;
  c->sets = memory_allocate_zeroed(memory_array_size(run_count, sizeof *c->sets));
  c->rows_done = memory_allocate_zeroed(memory_array_size(delta_count, sizeof *c->rows_done));
  if (!c->sets || !c->rows_done) {
    memory_release(c->sets);
    memory_release(c->rows_done);
    memory_release(c);
    return NULL;
  }
  atomic_init(&c->references, 1);
  mutex_init(&c->lock);
  return c;
}

void dead_cache_release(DeadCache *c) {
  if (!c || !last_reference(&c->references)) return;
  for (uint32_t i = 0; i < c->run_count; i++) deleted_set_release(c->sets[i]);
  memory_release(c->sets);
  memory_release(c->rows_done);
  mutex_destroy(&c->lock);
  memory_release(c);
}

static void adopted_release(AdoptedDeletes *a) {
  if (!a || !last_reference(&a->references)) return;
  arena_release(&a->arena);
  memory_release(a);
}

/* ---- eras ---- */

Status era_allocate(Era *era, uint32_t delta_count, uint32_t run_count) {
  memset(era, 0, sizeof *era);
  era->deltas = memory_allocate_zeroed(memory_array_size(delta_count, sizeof *era->deltas));
  era->runs = memory_allocate_zeroed(memory_array_size(run_count, sizeof *era->runs));
  if (!era->deltas || !era->runs) {
    era_release(era);
    return status_nomem();
  }
  era->delta_count = delta_count;
  era->run_count = run_count;
  return KVSTORE_OK;
}

Status era_copy(const Era *from, Era *to) {
  TRY(era_allocate(to, from->delta_count, from->run_count));
  to->since = from->since;
  to->dropped = from->dropped;
  to->disjoint_count = from->disjoint_count;
  for (uint32_t i = 0; i < from->delta_count; i++) {
    to->deltas[i].delta = delta_retain(from->deltas[i].delta);
    to->deltas[i].locators = from->deltas[i].locators;
    if (to->deltas[i].locators) one_more(&to->deltas[i].locators->references);
  }
  for (uint32_t i = 0; i < from->run_count; i++) {
    to->runs[i] = from->runs[i];
    run_retain(to->runs[i].run);
    deleted_set_retain(to->runs[i].deleted);
    if (to->runs[i].replaced) one_more(&to->runs[i].replaced->references);
  }
  to->dead = from->dead;
  if (to->dead) one_more(&to->dead->references);
  Status status = era_finish(to);
  if (status != KVSTORE_OK) era_release(to);
  return status;
}

Status era_finish(Era *era) {
  row_level_release(&era->level);
  if (!era->disjoint_count) return KVSTORE_OK;
  RowRun **runs = memory_allocate(era->disjoint_count * sizeof *runs);
  if (!runs) return status_nomem();
  for (uint32_t i = 0; i < era->disjoint_count; i++)
    runs[i] = era->runs[era->run_count - era->disjoint_count + i].run->rows;
  Status status = row_level_init(&era->level, runs, era->disjoint_count);
  memory_release((void *)runs);
  return status;
}

void era_release(Era *era) {
  for (uint32_t i = 0; i < era->delta_count; i++) {
    delta_release(era->deltas[i].delta);
    locators_release(era->deltas[i].locators);
  }
  for (uint32_t i = 0; i < era->run_count; i++) {
    run_release(era->runs[i].run);
    deleted_set_release(era->runs[i].deleted);
    adopted_release(era->runs[i].replaced);
  }
  dead_cache_release(era->dead);
  row_level_release(&era->level);
  memory_release(era->deltas);
  memory_release(era->runs);
  memset(era, 0, sizeof *era);
}

/* ---- family states ---- */

FamilyState *family_state_create(Family *family, uint32_t era_count, FamilyTraits *const *traits,
                                 uint32_t traits_count) {
  FamilyState *s = memory_allocate_zeroed(sizeof *s);
  if (!s) return NULL;
  s->eras = memory_allocate_zeroed(memory_array_size(era_count, sizeof *s->eras));
  s->traits = memory_copy(traits, traits_count * sizeof(FamilyTraits *));
  if (!s->eras || !s->traits) {
    memory_release(s->eras);
    memory_release(s->traits);
    memory_release(s);
    return NULL;
  }
  for (uint32_t i = 0; i < traits_count; i++) family_traits_retain(s->traits[i]);
  s->traits_count = traits_count;
  atomic_init(&s->references, 1);
  s->family = family_retain(family);
  s->era_count = era_count;
  return s;
}

FamilyState *family_state_retain(FamilyState *s) {
  one_more(&s->references);
  return s;
}

void family_state_release(FamilyState *s) {
  if (!s || !last_reference(&s->references)) return;
  for (uint32_t i = 0; i < s->era_count; i++) era_release(&s->eras[i]);
  memory_release(s->eras);
  for (uint32_t i = 0; i < s->traits_count; i++) family_traits_release(s->traits[i]);
  memory_release(s->traits);
  family_release(s->family);
  memory_release(s);
}

const FamilyTraits *family_state_traits(const FamilyState *state, uint64_t sequence) {
  uint32_t i = state->traits_count - 1;
  while (i > 0 && state->traits[i]->since > sequence) i--;
  return state->traits[i];
}

Era *family_state_era(const FamilyState *state, uint64_t sequence) {
  for (uint32_t i = state->era_count; i-- > 0;) {
    Era *era = &state->eras[i];
    if (era->since <= sequence) return era->dropped ? NULL : era;
  }
  return NULL;
}
