/* layers.c - the counted parts that versions share: families, deltas, runs, locators, caches, eras. */
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "engine/table_state.h"

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
  buffer_release(&f->columns_next);
  arena_release(&f->sources);
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

static void open_run_release(OpenRun *o) {
  if (!o || !last_reference(&o->references)) return;
  row_run_close(o->rows);
  column_run_close(o->columns);
  extent_sources_close(&o->sources);
  family_release(o->family);
  memory_release(o);
}

void run_release(RunHandle *r) {
  if (!r || !last_reference(&r->references)) return;
  open_run_release(r->open);
  arena_release(&r->arena);
  memory_release(r);
}

static Status open_structure(OpenRun *o, const RunEntry *entry) {
  Source *last = &o->sources.run.sources[entry->extent_count - 1];
  const uint8_t *directory;
  SourcePin pin;
  TRY(source_block(last, 0, (size_t)last->length, &directory, &pin));
  Status status;
  if (entry->kind == RUN_ROWS) {
    status = row_run_open(directory, (size_t)last->length, &o->sources.run, &o->rows);
  } else {
    status = column_run_open(directory, (size_t)last->length, &o->sources.run, &o->family->schema, NULL, &o->columns);
    if (status == KVSTORE_OK) o->columns->number = entry->number;
  }
  source_release(last, &pin);
  TRY(status);
  uint64_t rows = o->rows ? row_run_summary(o->rows)->row_count : o->columns->row_count;
  if (rows != entry->row_count)
    return status_fail(KVSTORE_CORRUPT, "run %u does not hold the rows that the manifest says", entry->number);
  return KVSTORE_OK;
}

static Status open_run_create(Store *store, const RunEntry *entry, Family *family, OpenRun **out) {
  OpenRun *o = memory_allocate_zeroed(sizeof *o);
  if (!o) return status_nomem();
  atomic_init(&o->references, 1);
  o->family = family_retain(family);
  Status status = extent_sources_open(&store->file, entry->extents, entry->extent_count, &o->sources);
  if (status == KVSTORE_OK) status = open_structure(o, entry);
  if (status == KVSTORE_OK)
    *out = o;
  else
    open_run_release(o);
  return status;
}

/* A vacuum moves extents. */
static bool same_extents(const RunEntry *a, const RunEntry *b) {
  if (a->extent_count != b->extent_count || a->row_count != b->row_count) return false;
  for (uint32_t i = 0; i < a->extent_count; i++)
    if (a->extents[i].id != b->extents[i].id || a->extents[i].offset != b->extents[i].offset) return false;
  return true;
}

/* What of a run was opened and verified is not looked at again because some of its rows have died. */
Status run_handle_open(Store *store, const RunEntry *entry, Family *family, const RunHandle *former, RunHandle **out) {
  RunHandle *r = memory_allocate_zeroed(sizeof *r);
  if (!r) return status_nomem();
  atomic_init(&r->references, 1);
  Status status = run_entry_copy(entry, &r->arena, &r->entry);
  if (status == KVSTORE_OK && former && former->open->family == family && same_extents(&former->entry, entry)) {
    r->open = former->open;
    one_more(&r->open->references);
  } else if (status == KVSTORE_OK) {
    status = open_run_create(store, &r->entry, family, &r->open);
  }
  if (status != KVSTORE_OK) {
    run_release(r);
    return status;
  }
  r->rows = r->open->rows;
  r->columns = r->open->columns;
  *out = r;
  return KVSTORE_OK;
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

DeadCache *dead_cache_create(void) {
  DeadCache *c = memory_allocate_zeroed(sizeof *c);
  if (!c) return NULL;
  atomic_init(&c->references, 1);
  mutex_init(&c->lock);
  return c;
}

void dead_cache_release(DeadCache *c) {
  if (!c || !last_reference(&c->references)) return;
  for (uint32_t i = 0; i < DEAD_STATES_MAX; i++) dead_state_release(c->states[i]);
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
  for (uint32_t i = 0; era->deltas && i < era->delta_count; i++) {
    delta_release(era->deltas[i].delta);
    locators_release(era->deltas[i].locators);
  }
  for (uint32_t i = 0; era->runs && i < era->run_count; i++) {
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
