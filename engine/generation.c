/* generation.c - from manifest to version, and from draft to the store's newest generation (GEN-3, LOG-4, FILE-1). */
#include <stdlib.h>
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "engine/family_columns.h"
#include "engine/table_state.h"

/* ---- reading ---- */

/* A store without a manifest: the default family, and nothing in it. */
static Status manifest_of_new_store(Store *store, Manifest **out) {
  Manifest *m = manifest_create();
  if (!m) return status_nomem();
  memcpy(m->store_id, store->store_id, sizeof m->store_id);
  m->replay.sequence = 1;
  m->next_family_id = FAMILY_DEFAULT_ID + 1;
  m->next_run_number = 1;
  m->next_extent_id = 1;
  m->families = arena_allocate_zeroed(&m->arena, sizeof *m->families);
  m->limbo = arena_allocate_zeroed(&m->arena, sizeof *m->limbo);
  if (!m->families || !m->limbo) {
    manifest_release(m);
    return status_nomem();
  }
  m->family_count = 1;
  m->families[0].id = FAMILY_DEFAULT_ID;
  m->families[0].kind = FAMILY_KV;
  m->families[0].name = (char *)"default";
  m->families[0].next_column_id = 1;
  m->families[0].keys = 0;
  *out = m;
  return KVSTORE_OK;
}

Status newest_superblock(Store *store, Superblock *out, uint32_t *page) {
  SuperblockState state;
  TRY(superblock_read(store->file.file, out, page, &state));
  if (state != SUPERBLOCK_VALID || memcmp(out->store_id, store->store_id, sizeof store->store_id) != 0)
    return status_fail(KVSTORE_CORRUPT, "the store's superblocks have changed under it");
  return superblock_check_key(out, *page, store->key);
}

Status generation_load(Store *store, Manifest **out) {
  Superblock superblock;
  uint32_t page;
  TRY(newest_superblock(store, &superblock, &page));
  OsStat stat;
  TRY(os_stat_file(store->file.file, &stat));
  if (!superblock.manifest_offset) return manifest_of_new_store(store, out);
  Extent self = { superblock.manifest_id, superblock.manifest_offset, superblock.manifest_length,
                  superblock.manifest_checksum, superblock.generation };
  if (self.offset % PAGE_BYTES || self.offset < SUPERBLOCK_COUNT * PAGE_BYTES || self.length > stat.size ||
      self.offset > stat.size || extent_bytes(self.length) > stat.size - self.offset)
    return status_fail(KVSTORE_CORRUPT, "the file ends before its manifest: it has been cut short");
  uint8_t *bytes = NULL;
  TRY(extent_read(&store->file, &self, &bytes));
  Manifest *m = NULL;
  Status status = manifest_decode((Bytes){ bytes, (size_t)self.length }, stat.size, &m);
  memory_release(bytes);
  TRY(status);
  m->self = self;
  if (m->generation != superblock.generation || memcmp(m->store_id, store->store_id, sizeof m->store_id) != 0) {
    manifest_release(m);
    return status_fail(KVSTORE_CORRUPT, "the manifest is not that of its superblock");
  }
  *out = m;
  return KVSTORE_OK;
}

/* ---- deleted sets of a manifest ---- */

static Status read_deletes(Store *store, const ColumnRun *run, const RunDeletes *deletes, DeletedSet **set) {
  uint32_t rows[RUN_SEGMENTS_MAX];
  for (uint32_t i = 0; i < run->segment_count; i++) rows[i] = column_run_segment(run, i)->row_count;
  uint8_t *bytes = NULL;
  TRY(extent_read(&store->file, &deletes->extent, &bytes));
  Reader in = reader_over(bytes, (size_t)deletes->extent.length);
  DeletedSet *next = NULL;
  Status status;
  if (deletes->kind == DELETES_BITMAP) {
    status = deleted_bitmap_read(&in, rows, run->segment_count, &next);
  } else {
    uint32_t *positions = NULL;
    size_t count = 0;
    status = deleted_list_read(&in, rows, run->segment_count, &positions, &count);
    if (status == KVSTORE_OK) status = deleted_set_add_many(*set, run->segment_count, positions, count, &next);
    memory_release(positions);
  }
  memory_release(bytes);
  if (status != KVSTORE_OK) return status;
  deleted_set_release(*set);
  *set = next;
  return KVSTORE_OK;
}

/* The dead rows of a run by its entry; what the run's layer in the current version has read already is shared. */
static Status deletes_of(Store *store, const RunEntry *entry, const RunHandle *run, const RunLayer *known,
                         DeletedSet **out) {
  DeletedSet *set = NULL;
  uint32_t from = 0;
  if (known && known->deleted) {
    const RunEntry *old = &known->run->entry;
    uint32_t shared = 0;
    while (shared < old->deletes_count && shared < entry->deletes_count &&
           old->deletes[shared].extent.id == entry->deletes[shared].extent.id)
      shared++;
    if (shared == old->deletes_count) {
      set = deleted_set_retain(known->deleted);
      from = shared;
    }
  }
  for (uint32_t i = from; i < entry->deletes_count; i++) {
    Status status = read_deletes(store, run->columns, &entry->deletes[i], &set);
    if (status == KVSTORE_OK) continue;
    deleted_set_release(set);
    return status;
  }
  *out = set;
  return KVSTORE_OK;
}

/* ---- from manifest to version ---- */

static const RunLayer *known_layer(const FamilyState *state, uint32_t number) {
  if (!state) return NULL;
  for (uint32_t e = 0; e < state->era_count; e++)
    for (uint32_t i = 0; i < state->eras[e].run_count; i++)
      if (state->eras[e].runs[i].run->entry.number == number) return &state->eras[e].runs[i];
  return NULL;
}

static bool same_extent(const Extent *a, const Extent *b) { return a->id == b->id && a->offset == b->offset; }

/* The same bytes in the same places: a vacuum moves extents. */
static bool same_places(const RunEntry *a, const RunEntry *b) {
  if (a->extent_count != b->extent_count || a->deletes_count != b->deletes_count) return false;
  for (uint32_t i = 0; i < a->extent_count; i++)
    if (!same_extent(&a->extents[i], &b->extents[i])) return false;
  for (uint32_t i = 0; i < a->deletes_count; i++)
    if (!same_extent(&a->deletes[i].extent, &b->deletes[i].extent)) return false;
  return true;
}

/* An open run is taken over when nothing of it has changed; else it needs a handle of its own entry. */
static Status open_run(Store *store, const RunEntry *entry, Family *family, const FamilyState *known, RunLayer *out) {
  const RunLayer *former = known_layer(known, entry->number);
  if (former && same_places(&former->run->entry, entry)) {
    out->run = run_retain(former->run);
  } else {
    TRY(run_handle_open(store, entry, family, former ? former->run : NULL, &out->run));
  }
  return entry->kind == RUN_COLUMNS ? deletes_of(store, entry, out->run, former, &out->deleted) : KVSTORE_OK;
}

/* So that the readers of the new generation find their sets made: a failure is theirs, who try again. */
static void make_ready(Store *store, Era *era, uint64_t boundary) {
  uint64_t sequence = atomic_load_explicit(&store->applied_sequence, memory_order_relaxed);
  Status status = era_resolve(era, UINT64_MAX);
  if (status == KVSTORE_OK) status = era_advance(era, sequence > boundary ? sequence : boundary);
  if (status != KVSTORE_OK) status_clear();
}

/* The base era of a family: the manifest's runs, and of the current state what came after the manifest's boundary. */
static Status base_era(Store *store, const FamilyEntry *entry, Family *family, const FamilyState *known,
                       uint64_t boundary, Era *out) {
  const Era *old = NULL;
  for (uint32_t i = 0; known && i < known->era_count; i++)
    if (known->eras[i].since <= boundary) old = &known->eras[i];
  if (old && old->dropped) old = NULL;
  uint64_t since = old ? old->since : 0;
  uint32_t deltas = 0, adopted = 0;
  for (uint32_t i = 0; old && i < old->delta_count; i++)
    deltas += atomic_load_explicit(&old->deltas[i].delta->boundary, memory_order_acquire) > boundary;
  while (old && adopted < old->run_count && old->runs[adopted].since > boundary) adopted++;
  TRY(era_allocate(out, deltas ? deltas : 1, adopted + entry->run_count));
  out->since = since;
  Status status = KVSTORE_OK;
  for (uint32_t i = 0; i < adopted; i++) {
    out->runs[i] = old->runs[i];
    run_retain(out->runs[i].run);
    deleted_set_retain(out->runs[i].deleted);
    if (out->runs[i].replaced) atomic_fetch_add_explicit(&out->runs[i].replaced->references, 1, memory_order_relaxed);
  }
  uint32_t opened = adopted;
  for (uint32_t i = 0; i < entry->run_count && status == KVSTORE_OK; i++) {
    status = open_run(store, &entry->runs[i], family, known, &out->runs[opened]);
    if (out->runs[opened].run) opened++;
    out->disjoint_count += entry->kind == FAMILY_KV && entry->runs[i].level == 1;
  }
  out->run_count = opened;
  uint32_t kept = 0;
  for (uint32_t i = 0; old && i < old->delta_count && status == KVSTORE_OK; i++) {
    if (atomic_load_explicit(&old->deltas[i].delta->boundary, memory_order_acquire) <= boundary) continue;
    out->deltas[kept].delta = delta_retain(old->deltas[i].delta);
    if (family->kind == FAMILY_TABLE) status = locators_carry(&old->deltas[i], &out->deltas[kept], out);
    kept++;
  }
  if (!kept && status == KVSTORE_OK) {
    out->deltas[0].delta = delta_handle_create(family);
    if (family->kind == FAMILY_TABLE) out->deltas[0].locators = locators_create();
    if (!out->deltas[0].delta || (family->kind == FAMILY_TABLE && !out->deltas[0].locators)) status = status_nomem();
    kept = 1;
  }
  out->delta_count = kept;
  if (status == KVSTORE_OK && family->kind == FAMILY_TABLE) {
    out->dead = dead_cache_create();
    if (!out->dead) status = status_nomem();
  }
  if (status == KVSTORE_OK) status = era_renew_adopted(out, old && old->delta_count > kept);
  if (status == KVSTORE_OK) status = era_finish(out);
  if (status != KVSTORE_OK) era_release(out);
  if (status == KVSTORE_OK && family->kind == FAMILY_TABLE) make_ready(store, out, boundary);
  return status;
}

static Status family_of_entry(const FamilyEntry *entry, Family **out) {
  Family *f = memory_allocate_zeroed(sizeof *f);
  if (!f) return status_nomem();
  atomic_init(&f->references, 1);
  f->id = entry->id;
  f->kind = entry->kind;
  f->flags = entry->flags;
  f->next_column_id = entry->next_column_id;
  mutex_init(&f->count.lock);
  atomic_init(&f->boundary_row_id, entry->next_row_id);
  atomic_init(&f->next_row_id, entry->next_row_id);
  Status status = KVSTORE_OK;
  if (entry->schema.column_count) status = schema_copy(&entry->schema, &f->schema);
  if (status == KVSTORE_OK) status = family_sources_read(f);
  if (status == KVSTORE_OK)
    *out = f;
  else
    family_release(f);
  return status;
}

/* Eras that began after the manifest's boundary stay as they are. */
static Status later_eras(const FamilyState *known, uint64_t boundary, FamilyState *to, uint32_t at) {
  for (uint32_t i = 0; known && i < known->era_count; i++) {
    if (known->eras[i].since <= boundary) continue;
    TRY(era_copy(&known->eras[i], &to->eras[at++]));
  }
  return KVSTORE_OK;
}

static uint32_t count_later(const FamilyState *known, uint64_t boundary) {
  uint32_t count = 0;
  for (uint32_t i = 0; known && i < known->era_count; i++) count += known->eras[i].since > boundary;
  return count;
}

/* The traits of the manifest, and those that the family got after its boundary. */
static Status traits_of_entry(const FamilyEntry *entry, const FamilyState *known, uint64_t boundary,
                              FamilyTraits ***out, uint32_t *count) {
  uint32_t later = known ? known->traits_count : 0, first = 0;
  while (first < later && known->traits[first]->since <= boundary) first++;
  FamilyTraits **all = memory_allocate((later - first + 1) * sizeof(FamilyTraits *));
  if (!all) return status_nomem();
  all[0] = first ? family_traits_retain(known->traits[first - 1])
                 : family_traits_create(entry->name, strlen(entry->name), &entry->options, 0);
  if (!all[0]) {
    memory_release(all);
    return status_nomem();
  }
  *count = 1;
  for (; first < later; first++) all[(*count)++] = family_traits_retain(known->traits[first]);
  *out = all;
  return KVSTORE_OK;
}

static void traits_release(FamilyTraits **traits, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) family_traits_release(traits[i]);
  memory_release(traits);
}

static Status state_of_entry(Store *store, const Manifest *m, const FamilyEntry *entry, FamilyState *known,
                             FamilyState **out) {
  uint64_t boundary = m->replay.sequence - 1;
  Family *family = known ? family_retain(known->family) : NULL;
  if (!family) TRY(family_of_entry(entry, &family));
  FamilyTraits **traits = NULL;
  uint32_t traits_count = 0;
  FamilyState *state = NULL;
  if (traits_of_entry(entry, known, boundary, &traits, &traits_count) == KVSTORE_OK)
    state = family_state_create(family, 1 + count_later(known, boundary), traits, traits_count);
  traits_release(traits, traits_count);
  Status status = state ? base_era(store, entry, family, known, boundary, &state->eras[0]) : status_nomem();
  if (status == KVSTORE_OK) status = later_eras(known, boundary, state, 1);
  if (status == KVSTORE_OK && family->kind == FAMILY_KV) family_count_adopt(family, m, &state->eras[0], entry->keys);
  family_release(family);
  if (status != KVSTORE_OK) {
    if (state) family_state_release(state);
    return status;
  }
  *out = state;
  return KVSTORE_OK;
}

/* A family that the manifest does not know: made after its boundary, or ended before it. */
static Status state_without_entry(FamilyState *known, uint64_t boundary, FamilyState **out) {
  *out = NULL;
  uint32_t later = count_later(known, boundary);
  if (!later) return KVSTORE_OK;
  if (later == known->era_count) {
    *out = family_state_retain(known);
    return KVSTORE_OK;
  }
  FamilyState *state = family_state_create(known->family, later, known->traits, known->traits_count);
  if (!state) return status_nomem();
  Status status = later_eras(known, boundary, state, 0);
  if (status != KVSTORE_OK) {
    family_state_release(state);
    return status;
  }
  *out = state;
  return KVSTORE_OK;
}

/* `current`: what this process knows beside the manifest; NULL: nothing that would still hold. */
static Status adopt(Store *store, Manifest *manifest, const Version *current) {
  uint64_t boundary = manifest->replay.sequence - 1;
  Version *next = version_copy(NULL, manifest->family_count + (current ? current->family_count : 0));
  if (!next) return status_nomem();
  next->manifest = manifest_retain(manifest);
  Status status = KVSTORE_OK;
  for (uint32_t i = 0; i < manifest->family_count && status == KVSTORE_OK; i++) {
    const FamilyEntry *entry = &manifest->families[i];
    FamilyState *state = NULL;
    status = state_of_entry(store, manifest, entry, current ? version_family(current, entry->id) : NULL, &state);
    if (state) version_set_family(next, state);
  }
  for (uint32_t i = 0; current && i < current->family_count && status == KVSTORE_OK; i++) {
    if (manifest_family(manifest, current->families[i]->family->id)) continue;
    FamilyState *state = NULL;
    status = state_without_entry(current->families[i], boundary, &state);
    if (state) version_set_family(next, state);
  }
  if (status != KVSTORE_OK) {
    version_release(next);
    return status;
  }
  if (store->next_family_id < manifest->next_family_id) store->next_family_id = manifest->next_family_id;
  shared_raise(&store->page->next_run, manifest->next_run_number);
  version_publish(store, next);
  return KVSTORE_OK;
}

Status generation_adopt(Store *store, Manifest *manifest) {
  TRY(apply_forget_rest(store));
  Version *current = atomic_load_explicit(&store->current, memory_order_relaxed);
  if (current && current->manifest->generation >= manifest->generation) return KVSTORE_OK;
  return adopt(store, manifest, current);
}

/* ---- following another process ---- */

/* This process has not applied what the manifest's runs hold: they take the place of all that it knows. */
static Status start_over(Store *store, Manifest *manifest) {
  TRY(apply_forget_rest(store));
  WalCursor applied = store->applied, frozen = store->frozen;
  store->applied = store->frozen = manifest->replay;
  Status status = adopt(store, manifest, NULL);
  if (status == KVSTORE_OK) {
    atomic_store_explicit(&store->applied_sequence, manifest->replay.sequence - 1, memory_order_release);
  } else {
    store->applied = applied;
    store->frozen = frozen;
  }
  return status;
}

/* Does the manifest hold records that this process has not applied? A log that is not the page's any more has been
 * taken into the file whole, its last boundary included, which may not have been applied here. */
static bool is_behind(Store *store, const Manifest *manifest) {
  if (!log_is_current(store)) return true;
  if (store->wal && manifest->log_id == wal_log_id(store->wal))
    return store->applied.position < manifest->replay.position;
  return store->applied.sequence < manifest->replay.sequence;
}

static Status follow_to(Store *store, Manifest *manifest) {
  return is_behind(store, manifest) ? start_over(store, manifest) : generation_adopt(store, manifest);
}

Status newest_generation(Store *store, uint64_t *out) {
  Superblock superblock;
  uint32_t page;
  TRY(newest_superblock(store, &superblock, &page));
  *out = superblock.generation;
  return KVSTORE_OK;
}

/* What is being loaded must not be given away meanwhile: its generation is pinned, by a slot or by a lock, then looked
 * at again (GEN-1). */
typedef struct LoadPin {
  SharedSlot *slot;
  GenerationPin *lock;
} LoadPin;

static void unpin_load(Store *store, LoadPin *pin) {
  if (pin->slot) shared_slot_give(pin->slot);
  generation_let_go(store, pin->lock);
  *pin = (LoadPin){ 0 };
}

static Status pin_load(Store *store, uint64_t generation, LoadPin *pin) {
  if (!pin->slot && !store->reader_only) pin->slot = shared_slot_take(store->page, store->process);
  if (pin->slot) {
    atomic_store_explicit(&pin->slot->generation, generation, memory_order_seq_cst);
    return KVSTORE_OK;
  }
  unpin_load(store, pin);
  return generation_hold(store, generation, &pin->lock);
}

typedef Status (*TakeManifest)(Store *store, Manifest *manifest);

static Status take_pinning(Store *store, TakeManifest take, LoadPin *pin) {
  for (;;) {
    uint64_t generation, now;
    TRY(newest_generation(store, &generation));
    TRY(pin_load(store, generation, pin));
    Manifest *manifest = NULL;
    Status status = generation_load(store, &manifest);
    bool is_newer = status == KVSTORE_OK && manifest->generation > generation; /* its extents are not pinned */
    if (status == KVSTORE_OK && !is_newer) status = take(store, manifest);
    bool same = status == KVSTORE_OK && manifest->generation == generation;
    manifest_release(manifest);
    if (same) return KVSTORE_OK;
    TRY(newest_generation(store, &now));
    if (now == generation) return status;
  }
}

static Status take_newest(Store *store, TakeManifest take) {
  LoadPin pin = { 0 };
  Status status = take_pinning(store, take, &pin);
  unpin_load(store, &pin);
  return status;
}

Status generation_start_over(Store *store) { return take_newest(store, start_over); }

Status generation_follow_newest(Store *store) { return take_newest(store, follow_to); }

static Status follow_locked(Store *store) {
  transaction_after_last(store);
  const Version *current = atomic_load_explicit(&store->current, memory_order_relaxed);
  if (current->manifest->generation < shared_load(&store->page->generation)) TRY(generation_follow_newest(store));
  return log_follow(store);
}

Status generation_follow(Store *store) {
  mutex_lock(&store->apply_lock);
  Status status = follow_locked(store);
  mutex_unlock(&store->apply_lock);
  return status;
}

Status generation_follow_if_behind(Store *store) {
  mutex_lock(&store->apply_lock);
  Status status = follow_locked(store);
  mutex_unlock(&store->apply_lock);
  if (status != KVSTORE_OK) maintenance_give(store);
  return status;
}

/* ---- publishing ---- */

Status generation_draft(Store *store, const Manifest *from, Manifest **out) {
  Manifest *m = manifest_create();
  if (!m) return status_nomem();
  m->generation = from->generation + 1;
  memcpy(m->store_id, store->store_id, sizeof m->store_id);
  m->replay = from->replay;
  m->log_id = from->log_id;
  m->next_family_id = from->next_family_id;
  m->next_run_number = from->next_run_number;
  m->clock_ms = (int64_t)shared_load(&store->page->clock);
  *out = m;
  return KVSTORE_OK;
}

/* Everything that the draft does not name any more goes to limbo; what nobody pins leaves it. */
typedef struct Limbo {
  Store *store;
  Manifest *draft;
  uint64_t *kept; /* offsets that the draft names, sorted */
  size_t kept_count, kept_capacity;
  LimboEntry *entries;
  size_t count, capacity;
  Status status;
} Limbo;

static void keep_offset(void *context, const Extent *extent) {
  Limbo *l = context;
  if (l->status == KVSTORE_OK) l->status = memory_grow(&l->kept, &l->kept_capacity, l->kept_count + 1, sizeof *l->kept);
  if (l->status == KVSTORE_OK) l->kept[l->kept_count++] = extent->offset;
}

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static void add_limbo(Limbo *l, LimboEntry entry) {
  if (l->status == KVSTORE_OK) l->status = memory_grow(&l->entries, &l->capacity, l->count + 1, sizeof *l->entries);
  if (l->status == KVSTORE_OK) l->entries[l->count++] = entry;
}

static void free_unless_kept(void *context, const Extent *extent) {
  Limbo *l = context;
  if (l->status != KVSTORE_OK) return;
  if (l->kept_count && bsearch(&extent->offset, l->kept, l->kept_count, sizeof *l->kept, by_value)) return;
  add_limbo(l, (LimboEntry){ extent->offset, extent_bytes(extent->length), extent->birth, l->draft->generation });
}

/* Runs that were adopted up to the draft's boundary and did not make it into the draft: merged away, or their era is
 * over. No manifest ever named them, yet snapshots read them. */
static void free_adopted(Limbo *l, const Version *from) {
  uint64_t boundary = l->draft->replay.sequence - 1;
  for (uint32_t f = 0; f < from->family_count; f++) {
    for (uint32_t e = 0; e < from->families[f]->era_count; e++) {
      const Era *era = &from->families[f]->eras[e];
      for (uint32_t r = 0; r < era->run_count && era->runs[r].since; r++) {
        const RunEntry *run = &era->runs[r].run->entry;
        for (uint32_t i = 0; i < run->extent_count && era->runs[r].since <= boundary; i++)
          free_unless_kept(l, &run->extents[i]);
      }
    }
  }
}

static Status fill_limbo(Store *store, const Version *version, Manifest *draft) {
  const Manifest *from = version->manifest;
  Limbo l = { .store = store, .draft = draft };
  manifest_each_extent(draft, keep_offset, &l);
  if (l.status == KVSTORE_OK && l.kept_count) qsort(l.kept, l.kept_count, sizeof *l.kept, by_value);
  manifest_each_extent(from, free_unless_kept, &l);
  free_adopted(&l, version);
  space_name_orphans(store, draft->generation, free_unless_kept, &l);
  for (uint32_t i = 0; i < from->limbo_count; i++)
    if (generation_pinned(store, from->limbo[i].birth, from->limbo[i].death)) add_limbo(&l, from->limbo[i]);
  if (l.status == KVSTORE_OK) {
    draft->limbo = arena_copy(&draft->arena, l.entries ? l.entries : (LimboEntry *)&l, l.count * sizeof *l.entries);
    if (draft->limbo)
      draft->limbo_count = (uint32_t)l.count;
    else
      l.status = status_nomem();
  }
  memory_release(l.kept);
  memory_release(l.entries);
  return l.status;
}

static Status write_manifest(Manifest *draft, SpaceJob *job) {
  Buffer bytes = { 0 };
  Status status = manifest_encode(draft, &bytes);
  if (status == KVSTORE_OK) status = space_write(job, bytes.data, bytes.length, &draft->self);
  draft->self.birth = draft->generation;
  buffer_release(&bytes);
  return status;
}

static Status write_superblock(Store *store, const Manifest *m) {
  Superblock next;
  uint32_t page;
  TRY(newest_superblock(store, &next, &page));
  next.generation = m->generation;
  next.manifest_offset = m->self.offset;
  next.manifest_length = m->self.length;
  next.manifest_id = m->self.id;
  next.manifest_checksum = m->self.checksum;
  CRASH_POINT(superblock_before_write);
  TRY(superblock_write(store->file.file, &next, 1 - page, store->key));
  CRASH_POINT(superblock_before_sync);
  return store_sync_file(store);
}

/* Both pages, the other one first, so that at every moment one of the two is whole. */
static Status write_both_superblocks(Store *store, const Superblock *next, uint32_t newest_page) {
  OsFile *file = store->file.file;
  TRY(superblock_write(file, next, 1 - newest_page, store->key));
  TRY(store_sync_file(store));
  CRASH_POINT(superblocks_between);
  TRY(superblock_write(file, next, newest_page, store->key));
  return store_sync_file(store);
}

Status superblocks_name_log(Store *store, const LogPlace *place) {
  Superblock next;
  uint32_t page;
  TRY(newest_superblock(store, &next, &page));
  next.log_id = place->log_id;
  next.ring_offset = place->ring_offset;
  next.ring_capacity = place->ring_capacity;
  return write_both_superblocks(store, &next, page);
}

Status superblocks_name_no_log(Store *store) {
  TRY(superblocks_name_log(store, &(LogPlace){ 0 }));
  shared_store(&store->page->ring_bytes, 0);
  return KVSTORE_OK;
}

Status superblocks_change_sealing(Store *store, const uint8_t sealing[SEALING_BYTES]) {
  Superblock next;
  uint32_t page;
  TRY(newest_superblock(store, &next, &page));
  memcpy(next.sealing, sealing, SEALING_BYTES);
  return write_both_superblocks(store, &next, page);
}

/* In the log's header, also where this process has had no use for the log yet. */
static Status raise_oldest(Store *store, uint64_t generation) {
  mutex_lock(&store->apply_lock);
  Status status = log_follow(store);
  Wal *wal = store->wal;
  mutex_unlock(&store->apply_lock);
  return status == KVSTORE_OK && wal ? wal_raise_oldest(wal, generation) : status;
}

/* From the superblock's write on, the new generation may be what the next opener finds: nothing that it names may be
 * overwritten, whatever fails. So a failure here ends all writing until every process has closed the store, and the
 * job's reservations stay. */
static Status make_newest(Store *store, Manifest *draft) {
  SharedPage *page = store->page;
  TRY(write_superblock(store, draft));
  CRASH_POINT(generation_before_oldest);
  TRY(raise_oldest(store, draft->generation));
  CRASH_POINT(generation_after_oldest);
  shared_raise(&page->visible, draft->replay.sequence - 1);
  mutex_lock(&store->apply_lock);
  Status status = generation_adopt(store, draft);
  if (status == KVSTORE_OK) generation_show(store, draft);
  mutex_unlock(&store->apply_lock);
  return status;
}

void generation_show(Store *store, const Manifest *manifest) {
  SharedPage *page = store->page;
  if (manifest->log_id == shared_load(&page->log_id)) { /* else its positions are those of a log that is gone */
    shared_raise(&page->synced, manifest->replay.position);
    shared_raise(&page->start, manifest->replay.position);
  }
  atomic_store_explicit(&page->generation.word, manifest->generation, memory_order_seq_cst);
}

/* Now, since adopting the generation must not fail. */
static Status forget_rest(Store *store) {
  mutex_lock(&store->apply_lock);
  Status status = apply_forget_rest(store);
  mutex_unlock(&store->apply_lock);
  return status;
}

Status generation_publish(Store *store, Manifest *draft, SpaceJob *job) {
  SharedPage *page = store->page;
  if (shared_load(&page->failed))
    return status_fail(KVSTORE_IO, "a write failed: nothing more is written until every process has closed the store");
  if (draft->generation <= shared_load(&page->generation)) /* it would take the place of what is newer */
    return status_fail(KVSTORE_PROTOCOL, "generation %llu comes after a newer one",
                       (unsigned long long)draft->generation);
  TRY(maintenance_bury_dead(store));
  TRY(forget_rest(store));
  Version *from = version_keep(store);
  Status limbo = fill_limbo(store, from, draft);
  version_let_go(store, from);
  TRY(limbo);
  draft->next_extent_id = shared_load(&page->next_extent) + 2; /* the manifest's own, too */
  TRY(write_manifest(draft, job));
  CRASH_POINT(manifest_before_sync);
  TRY(store_sync_file(store));
  Status status = make_newest(store, draft);
  if (status == KVSTORE_OK) {
    space_end_orphans(store, draft->generation);
  } else {
    shared_store(&page->failed, 1);
    job->reservation_count = 0;
  }
  return status;
}
