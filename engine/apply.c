/* apply.c - operations into memory: the same code for a transaction's own writes, for what other processes wrote, and
 * for recovery. Everything here runs under the apply lock. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "engine/family_columns.h"
#include "engine/table_state.h"

/* ---- rows ---- */

enum { FETCH_AHEAD = 12 }; /* rows of a batch whose places in frozen deltas are fetched before their turn */

static void rows_wait(Store *store, uint64_t rows) {
  atomic_fetch_add_explicit(&store->rows_waiting, rows, memory_order_relaxed);
}

Status apply_kv(Era *era, Bytes key, uint64_t hash, Bytes value, int64_t expiry, bool tombstone, uint64_t sequence) {
  return kv_delta_append(era->deltas[0].delta->kv, hash, key.data, key.length, value.data, value.length, expiry,
                         sequence, tombstone, NULL);
}

/* Before the row is appended: what end_frozen_row looks at. */
static void fetch_frozen(const Era *era, uint64_t hash) {
  for (uint32_t i = 1; i < era->delta_count; i++) table_delta_prefetch(era->deltas[i].delta->table, hash);
}

/* The row that the key had in a frozen delta dies with `sequence`. */
static Status end_frozen_row(Store *store, Era *era, Bytes key, uint64_t hash, uint64_t sequence) {
  for (uint32_t i = 1; i < era->delta_count; i++) {
    uint32_t row;
    DeltaHandle *delta = era->deltas[i].delta;
    DeltaState state = table_delta_find(delta->table, hash, key.data, key.length, sequence, &row);
    if (state == DELTA_ABSENT) continue;
    if (state == DELTA_FOUND && table_delta_set_dead(delta->table, row, sequence) && store->transaction.owner)
      return transaction_undo(store, delta, row, sequence);
    return KVSTORE_OK;
  }
  return KVSTORE_OK;
}

Status apply_row(Store *store, Era *era, Bytes key, uint64_t hash, const ColumnArray *columns, size_t source_row,
                 int64_t expiry, uint64_t sequence) {
  uint32_t replaced;
  fetch_frozen(era, hash);
  TRY(
    table_delta_append(era->deltas[0].delta->table, key, hash, columns, source_row, expiry, sequence, NULL, &replaced));
  rows_wait(store, 1);
  return replaced == TABLE_ROW_NONE ? end_frozen_row(store, era, key, hash, sequence) : KVSTORE_OK;
}

Status apply_rows(Store *store, Era *era, const TableAppend *rows) {
  uint32_t first, appended;
  TRY(table_delta_append_batch(era->deltas[0].delta->table, rows, &first, &appended));
  rows_wait(store, appended);
  for (uint32_t i = 0; i < rows->batch->row_count && era->delta_count > 1; i++) {
    if (i + FETCH_AHEAD < rows->batch->row_count) fetch_frozen(era, rows->hashes[i + FETCH_AHEAD]);
    if (rows->replaced[i] == TABLE_ROW_NONE)
      TRY(end_frozen_row(store, era, rows->keys[i], rows->hashes[i], rows->sequence + i * rows->sequence_step));
  }
  return KVSTORE_OK;
}

Status apply_row_delete(Store *store, Era *era, Bytes key, uint64_t hash, uint64_t sequence) {
  uint32_t replaced;
  fetch_frozen(era, hash);
  TRY(table_delta_delete(era->deltas[0].delta->table, key, hash, sequence, NULL, &replaced));
  rows_wait(store, 1);
  return replaced == TABLE_ROW_NONE ? end_frozen_row(store, era, key, hash, sequence) : KVSTORE_OK;
}

/* ---- boundaries ---- */

/* Has the era an active delta that a boundary ends? */
static bool era_freezes(const Era *era) {
  if (era->dropped) return false;
  const DeltaHandle *d = era->deltas[0].delta;
  DeltaCounts counts = d->kv ? kv_delta_counts(d->kv) : table_delta_counts(d->table);
  return counts.rows > 0;
}

/* The era with a new active delta before the others. */
static Status era_with_delta(const Era *from, const Family *family, Era *to) {
  Era shared;
  TRY(era_copy(from, &shared));
  Status status = era_allocate(to, shared.delta_count + 1, 0);
  DeltaHandle *fresh = status == KVSTORE_OK ? delta_handle_create(family) : NULL;
  Locators *locators = fresh && family->kind == FAMILY_TABLE ? locators_create() : NULL;
  if (!fresh || (family->kind == FAMILY_TABLE && !locators)) {
    delta_release(fresh);
    locators_release(locators);
    era_release(&shared);
    if (status == KVSTORE_OK) era_release(to);
    return status_nomem();
  }
  to->since = shared.since;
  to->disjoint_count = shared.disjoint_count;
  to->deltas[0] = (DeltaLayer){ fresh, locators };
  memcpy(to->deltas + 1, shared.deltas, shared.delta_count * sizeof *shared.deltas);
  memory_release(to->runs);
  to->runs = shared.runs; /* moved */
  to->run_count = shared.run_count;
  to->level = shared.level;
  dead_cache_release(shared.dead);
  memory_release(shared.deltas);
  if (family->kind == FAMILY_TABLE) {
    status = dead_cache_carry(from, to);
    if (status != KVSTORE_OK) {
      era_release(to);
      return status;
    }
  }
  return KVSTORE_OK;
}

/* A state whose last era is left for the caller to fill in. */
static Status state_without_last(const FamilyState *from, uint32_t era_count, FamilyState **out) {
  FamilyState *s = family_state_create(from->family, era_count, from->traits, from->traits_count);
  if (!s) return status_nomem();
  for (uint32_t i = 0; i + 1 < era_count; i++) {
    if (era_copy(&from->eras[i], &s->eras[i]) == KVSTORE_OK) continue;
    family_state_release(s);
    return status_nomem();
  }
  *out = s;
  return KVSTORE_OK;
}

static const Era *last_era(const FamilyState *state) { return &state->eras[state->era_count - 1]; }

/* The current version with a new active delta for each family whose last one holds rows. */
static Status version_with_deltas(const Version *current, Version *next) {
  for (uint32_t i = 0; i < current->family_count; i++) {
    FamilyState *from = current->families[i], *to = NULL;
    if (!era_freezes(last_era(from))) continue;
    TRY(state_without_last(from, from->era_count, &to));
    Status status = era_with_delta(last_era(from), from->family, &to->eras[from->era_count - 1]);
    if (status != KVSTORE_OK) {
      family_state_release(to);
      return status;
    }
    version_set_family(next, to);
  }
  return KVSTORE_OK;
}

/* The active deltas of the version end here. */
static void freeze_deltas(const Version *v, uint64_t boundary) {
  for (uint32_t i = 0; i < v->family_count; i++) {
    Family *family = v->families[i]->family;
    uint64_t row_id = atomic_load_explicit(&family->next_row_id, memory_order_relaxed);
    atomic_store_explicit(&family->boundary_row_id, row_id, memory_order_relaxed);
    if (!era_freezes(last_era(v->families[i]))) continue;
    DeltaHandle *delta = last_era(v->families[i])->deltas[0].delta;
    atomic_store_explicit(&delta->boundary, boundary, memory_order_release);
    if (delta->kv)
      kv_delta_freeze(delta->kv);
    else
      table_delta_freeze(delta->table);
  }
}

/* Nothing is frozen before all that takes its place is there: rows go on into deltas whose boundary has failed. */
Status apply_boundary(Store *store) {
  TRY(apply_forget_rest(store));
  Version *current = atomic_load_explicit(&store->current, memory_order_relaxed);
  Version *next = version_copy(current, 0);
  if (!next) return status_nomem();
  Status status = version_with_deltas(current, next);
  if (status != KVSTORE_OK) {
    version_release(next);
    return status;
  }
  freeze_deltas(current, store->applied.sequence - 1);
  store->frozen = store->applied;
  version_publish(store, next);
  return KVSTORE_OK;
}

/* ---- families ---- */

void family_payload_write(const Family *family, const char *name, const FamilyOptions *options, Buffer *out) {
  bool has_options = !family_options_are_default(options);
  buffer_u8(out, (uint8_t)family->kind);
  buffer_u8(out, (uint8_t)(family->flags | (has_options ? FAMILY_HAS_OPTIONS : 0)));
  buffer_u32(out, family->next_column_id);
  buffer_bytes(out, name, strlen(name));
  if (family->kind == FAMILY_TABLE) schema_write(&family->schema, out);
  if (has_options) family_options_encode(options, out);
}

static Status bad_payload(void) { return status_fail(KVSTORE_CORRUPT, "the log holds a family that cannot be"); }

Status family_payload_read(uint32_t id, uint64_t since, Bytes payload, Family **out, FamilyTraits **traits) {
  Family *f = memory_allocate_zeroed(sizeof *f);
  if (!f) return status_nomem();
  atomic_init(&f->references, 1);
  Reader in = reader_over(payload.data, payload.length);
  f->id = id;
  f->kind = reader_u8(&in);
  f->flags = reader_u8(&in);
  f->next_column_id = reader_u32(&in);
  mutex_init(&f->count.lock);
  Bytes name = reader_bytes(&in);
  Status status = KVSTORE_OK;
  FamilyOptions options = { 0 };
  bool has_options = f->flags & FAMILY_HAS_OPTIONS;
  f->flags &= ~(uint32_t)FAMILY_HAS_OPTIONS;
  if (in.failed || !name.length || name.length > FAMILY_NAME_MAX || memchr(name.data, 0, name.length) ||
      !bytes_are_utf8(name.data, name.length) || (f->kind != FAMILY_KV && (f->kind != FAMILY_TABLE || has_options)))
    status = bad_payload();
  if (status == KVSTORE_OK && f->kind == FAMILY_TABLE) status = schema_read(&in, &f->schema);
  if (status == KVSTORE_OK) status = family_sources_read(f);
  if (status == KVSTORE_OK && has_options && !family_options_decode(&in, &options)) status = bad_payload();
  if (status == KVSTORE_OK && reader_left(&in)) status = bad_payload();
  if (status == KVSTORE_OK) {
    *traits = family_traits_create((const char *)name.data, name.length, &options, since);
    if (!*traits) status = status_nomem();
  }
  if (status != KVSTORE_OK) {
    family_release(f);
    return status;
  }
  *out = f;
  return KVSTORE_OK;
}

/* An era with one empty active delta and no runs. */
static Status era_begin(const Family *family, uint64_t since, Era *era) {
  TRY(era_allocate(era, 1, 0));
  era->since = since;
  era->deltas[0].delta = delta_handle_create(family);
  bool table = family->kind == FAMILY_TABLE;
  if (table) {
    era->deltas[0].locators = locators_create();
    era->dead = dead_cache_create();
  }
  if (era->deltas[0].delta && (!table || (era->deltas[0].locators && era->dead))) return KVSTORE_OK;
  era_release(era);
  return status_nomem();
}

Status publish_with(Store *store, FamilyState *state) {
  Version *next = version_copy(atomic_load_explicit(&store->current, memory_order_relaxed), 1);
  if (!next) {
    family_state_release(state);
    return status_nomem();
  }
  version_set_family(next, state);
  version_publish(store, next);
  return KVSTORE_OK;
}

Status apply_family_create(Store *store, uint32_t id, Bytes payload, uint64_t sequence) {
  const Version *current = atomic_load_explicit(&store->current, memory_order_relaxed);
  if (id == UINT32_MAX || version_family(current, id) || current->family_count >= FAMILIES_MAX)
    return status_fail(KVSTORE_CORRUPT, "the log makes family %u twice, or too many of them", id);
  Family *family;
  FamilyTraits *traits;
  TRY(family_payload_read(id, sequence, payload, &family, &traits));
  FamilyState *state = family_state_create(family, 1, &traits, 1);
  family_release(family);
  family_traits_release(traits);
  if (!state) return status_nomem();
  Status status = era_begin(state->family, sequence, &state->eras[0]);
  if (status != KVSTORE_OK) {
    family_state_release(state);
    return status;
  }
  TRY(publish_with(store, state));
  if (id >= store->next_family_id) store->next_family_id = id + 1;
  return KVSTORE_OK;
}

Status apply_family_end(Store *store, uint32_t id, bool drop, uint64_t sequence) {
  const Version *current = atomic_load_explicit(&store->current, memory_order_relaxed);
  FamilyState *from = version_family(current, id), *to;
  if (!from || from->eras[from->era_count - 1].dropped)
    return status_fail(KVSTORE_CORRUPT, "the log ends family %u, which is not there", id);
  TRY(state_without_last(from, from->era_count + 1, &to));
  Era *era = &to->eras[from->era_count];
  Status status = drop ? era_allocate(era, 0, 0) : era_begin(to->family, sequence, era);
  if (status != KVSTORE_OK) {
    family_state_release(to);
    return status;
  }
  era->since = sequence;
  era->dropped = drop;
  return publish_with(store, to);
}

/* A state without its eras, traits and adopted runs from `sequence` on; *out is NULL when nothing is left of it. */
static Status state_before(const FamilyState *from, uint64_t sequence, FamilyState **out) {
  uint32_t count = from->era_count;
  while (count && from->eras[count - 1].since >= sequence) count--;
  *out = NULL;
  if (!count) return KVSTORE_OK;
  uint32_t traits = from->traits_count;
  while (traits > 1 && from->traits[traits - 1]->since >= sequence) traits--;
  FamilyState *s = family_state_create(from->family, count, from->traits, traits);
  if (!s) return status_nomem();
  for (uint32_t i = 0; i < count; i++) {
    Status status = era_copy(&from->eras[i], &s->eras[i]);
    if (status != KVSTORE_OK) {
      family_state_release(s);
      return status;
    }
  }
  Era *last = &s->eras[count - 1];
  uint32_t gone = 0; /* adopted runs come first, the newest in front */
  while (gone < last->run_count && last->runs[gone].since >= sequence) gone++;
  if (gone) {
    Era cut = *last;
    cut.delta_count = 0;
    cut.deltas = NULL;
    cut.dead = NULL;
    cut.level = (RowLevel){ 0 };
    cut.run_count = gone;
    cut.runs = memory_copy(last->runs, gone * sizeof *last->runs);
    if (!cut.runs) {
      family_state_release(s);
      return status_nomem();
    }
    memmove(last->runs, last->runs + gone, (last->run_count - gone) * sizeof *last->runs);
    last->run_count -= gone;
    era_release(&cut);
    dead_cache_release(last->dead);
    last->dead = NULL;
    Status status = from->family->kind == FAMILY_TABLE ? dead_cache_carry(&from->eras[count - 1], last) : KVSTORE_OK;
    if (status != KVSTORE_OK) {
      family_state_release(s);
      return status;
    }
  }
  *out = s;
  return KVSTORE_OK;
}

static Status forget(Store *store, uint64_t sequence) {
  const Version *current = atomic_load_explicit(&store->current, memory_order_relaxed);
  Version *next = version_copy(NULL, current->family_count);
  if (!next) return status_nomem();
  next->manifest = manifest_retain(current->manifest);
  for (uint32_t i = 0; i < current->family_count; i++) {
    FamilyState *kept;
    Status status = state_before(current->families[i], sequence, &kept);
    if (status != KVSTORE_OK) {
      version_release(next);
      return status;
    }
    if (kept) version_set_family(next, kept);
  }
  version_publish(store, next);
  return KVSTORE_OK;
}

Status apply_forget_rest(Store *store) {
  if (LIKELY(!store->forget_from)) return KVSTORE_OK;
  TRY(forget(store, store->forget_from));
  store->forget_from = 0;
  return KVSTORE_OK;
}

Status apply_forget(Store *store, uint64_t sequence) {
  if (!store->forget_from || sequence < store->forget_from) store->forget_from = sequence;
  return apply_forget_rest(store);
}

/* ---- adopted runs ---- */

enum { REPLACED_INLINE_MAX = 4096, RECORD_SHARE = 256 };

/* What one run replaces may take of a record: a transaction that spills has many in one. */
static uint64_t inline_max(const Store *store) {
  uint64_t share = wal_record_bytes_max(store->wal) / RECORD_SHARE;
  return share < REPLACED_INLINE_MAX ? share : REPLACED_INLINE_MAX;
}

static void write_replaced(const AdoptPayload *p, Buffer *out) {
  buffer_u32(out, p->run_count);
  for (uint32_t i = 0; i < p->run_count; i++) {
    buffer_u32(out, p->runs[i].number);
    Buffer list = { 0 };
    deleted_list_write(p->runs[i].positions, p->runs[i].count, &list);
    buffer_bytes(out, list.data, list.length);
    out->failed |= list.failed;
    buffer_release(&list);
  }
  buffer_varint(out, p->key_count);
  for (size_t i = 0; i < p->key_count; i++) buffer_bytes(out, p->keys[i].data, p->keys[i].length);
}

Status adopt_payload_write(const AdoptPayload *p, SpaceJob *job, Buffer *out) {
  Buffer replaced = { 0 };
  Extent extent = { 0 };
  write_replaced(p, &replaced);
  Status status = buffer_status(&replaced);
  bool own_extent = replaced.length > inline_max(job->store);
  if (status == KVSTORE_OK && own_extent) status = space_write(job, replaced.data, replaced.length, &extent);
  run_entry_encode(p->entry, out);
  buffer_u64(out, p->next_row_id);
  buffer_u8(out, own_extent);
  if (own_extent)
    extent_encode(&extent, out);
  else
    buffer_bytes(out, replaced.data, replaced.length);
  buffer_release(&replaced);
  return status == KVSTORE_OK ? buffer_status(out) : status;
}

static const RunLayer *layer_of_run(const Era *era, uint32_t number) {
  for (uint32_t i = 0; i < era->run_count; i++)
    if (era->runs[i].run->entry.number == number) return &era->runs[i];
  return NULL;
}

static Status read_positions(const Era *era, uint32_t number, Bytes list, Arena *arena, struct AdoptedDeletesRun *out) {
  const RunLayer *layer = layer_of_run(era, number);
  out->number = number;
  if (!layer || !layer->run->columns)
    return status_fail(KVSTORE_CORRUPT, "an adopted run replaces rows of run %u, which is not there", number);
  uint32_t rows[RUN_SEGMENTS_MAX];
  const ColumnRun *run = layer->run->columns;
  for (uint32_t i = 0; i < run->segment_count; i++) rows[i] = column_run_segment(run, i)->row_count;
  Reader in = reader_over(list.data, list.length);
  uint32_t *positions;
  TRY(deleted_list_read(&in, rows, run->segment_count, &positions, &out->count));
  out->positions = arena_copy(arena, positions, out->count * sizeof *positions);
  memory_release(positions);
  return out->positions || !out->count ? KVSTORE_OK : status_nomem();
}

/* The rows of deltas that the run replaces die with it; a reader who finds such a row goes on to the runs (VIS-6).
 * *known is false when no delta has the key: a flush has taken its row into a run since. */
static Status end_delta_rows(Store *store, Era *era, Bytes key, uint64_t sequence, bool *known) {
  uint64_t hash = hash_key(key.data, key.length);
  *known = false;
  for (uint32_t i = 0; i < era->delta_count; i++) {
    DeltaHandle *delta = era->deltas[i].delta;
    uint32_t row = 0;
    bool killed = false, found;
    if (delta->kv) {
      KvRow at;
      found = kv_delta_find(delta->kv, hash, key.data, key.length, sequence, &at) != DELTA_ABSENT;
      if (found) killed = kv_delta_kill(delta->kv, row = at.row, sequence);
    } else {
      DeltaState state = table_delta_find(delta->table, hash, key.data, key.length, sequence, &row);
      found = state != DELTA_ABSENT;
      if (state == DELTA_FOUND) killed = table_delta_set_dead(delta->table, row, sequence);
    }
    *known |= found;
    if (killed && store->transaction.owner) TRY(transaction_undo(store, delta, row, sequence));
    if (found && !delta->kv) return KVSTORE_OK;
  }
  return KVSTORE_OK;
}

/* The era with the run in front of its runs. */
static Status era_with_run(const Era *from, RunHandle *run, AdoptedDeletes *replaced, uint64_t sequence, Era *to) {
  Era shared;
  TRY(era_copy(from, &shared));
  RunLayer *runs = memory_allocate((shared.run_count + 1) * sizeof *runs);
  if (!runs) {
    era_release(&shared);
    return status_nomem();
  }
  runs[0] = (RunLayer){ run, NULL, sequence, replaced };
  memcpy(runs + 1, shared.runs, shared.run_count * sizeof *runs);
  memory_release(shared.runs);
  dead_cache_release(shared.dead);
  shared.runs = runs;
  shared.run_count++;
  shared.dead = NULL;
  *to = shared;
  return KVSTORE_OK;
}

static Status adopt_into(Store *store, FamilyState *from, RunHandle *run, AdoptedDeletes *replaced, uint64_t sequence) {
  FamilyState *to;
  TRY(state_without_last(from, from->era_count, &to));
  const Era *last = &from->eras[from->era_count - 1];
  Status status = era_with_run(last, run, replaced, sequence, &to->eras[from->era_count - 1]);
  if (status != KVSTORE_OK) {
    family_state_release(to);
    return status;
  }
  if (from->family->kind == FAMILY_KV) family_count_adopted_run(from->family, sequence);
  run_retain(run);
  if (replaced) atomic_fetch_add_explicit(&replaced->references, 1, memory_order_relaxed);
  if (from->family->kind == FAMILY_TABLE) status = dead_cache_carry(last, &to->eras[from->era_count - 1]);
  if (status != KVSTORE_OK) {
    family_state_release(to);
    return status;
  }
  return publish_with(store, to);
}

/* What the record says of other runs; *complete is false when one of them is gone. */
static Status read_replaced(Era *era, Reader *in, AdoptedDeletes *a, bool *complete) {
  uint32_t count = reader_u32(in);
  bool all_there = true;
  if (in->failed || count > reader_left(in) / 5)
    return status_fail(KVSTORE_CORRUPT, "an adopted run's record is cut short");
  a->runs = arena_allocate_zeroed(&a->arena, memory_array_size(count, sizeof *a->runs));
  if (!a->runs) return status_nomem();
  for (uint32_t i = 0; i < count; i++) {
    uint32_t number = reader_u32(in);
    Bytes list = reader_bytes(in);
    if (in->failed) return status_fail(KVSTORE_CORRUPT, "an adopted run's record is cut short");
    if (!layer_of_run(era, number)) {
      all_there = false;
      continue;
    }
    TRY(read_positions(era, number, list, &a->arena, &a->runs[a->run_count]));
    a->run_count++;
  }
  *complete = all_there;
  return KVSTORE_OK;
}

static Status end_replaced_keys(Store *store, Era *era, Reader *in, uint64_t sequence, bool *complete) {
  uint64_t keys = reader_varint(in);
  for (uint64_t i = 0; i < keys; i++) {
    Bytes key = reader_bytes(in);
    bool known;
    if (in->failed || !key.length) return status_fail(KVSTORE_CORRUPT, "an adopted run's record is cut short");
    TRY(end_delta_rows(store, era, key, sequence, &known));
    *complete &= known;
  }
  return KVSTORE_OK;
}

/* Locators of the rows that the keys of a run have in the others of an era. */
typedef struct RowsOfKeys {
  uint64_t *locators;
  size_t count, capacity;
} RowsOfKeys;

static Status find_row_of_key(Era *era, RunHandle *run, uint32_t position, uint64_t sequence, Buffer *key,
                              RowsOfKeys *found) {
  uint64_t locator;
  uint32_t layer;
  buffer_clear(key);
  TRY(column_run_get_key(run->columns, position, key));
  TRY(era_find_in_runs(era, (Bytes){ key->data, key->length }, hash_key(key->data, key->length), sequence - 1, 0,
                       &locator, &layer));
  if (locator == LOCATOR_NONE) return KVSTORE_OK;
  TRY(memory_grow(&found->locators, &found->capacity, found->count + 1, sizeof *found->locators));
  found->locators[found->count++] = locator;
  return KVSTORE_OK;
}

static Status find_rows_of_keys(Era *era, RunHandle *run, uint64_t sequence, RowsOfKeys *found) {
  Buffer key = { 0 };
  Status status = KVSTORE_OK;
  for (uint32_t s = 0; s < run->columns->segment_count && status == KVSTORE_OK; s++) {
    uint32_t rows = column_run_segment(run->columns, s)->row_count;
    for (uint32_t r = 0; r < rows && status == KVSTORE_OK; r++)
      status = find_row_of_key(era, run, position_pack(s, r), sequence, &key, found);
  }
  buffer_release(&key);
  return status;
}

static int by_locator(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

/* Sorts them: by run, then by position. */
static Status list_rows_of_keys(RowsOfKeys *found, Arena *arena, AdoptedDeletes *out) {
  size_t runs = 0;
  if (found->count) qsort(found->locators, found->count, sizeof *found->locators, by_locator);
  for (size_t i = 0; i < found->count; i++)
    runs += !i || locator_unpack(found->locators[i]).run != locator_unpack(found->locators[i - 1]).run;
  out->runs = arena_allocate_zeroed(arena, memory_array_size(runs, sizeof *out->runs));
  uint32_t *positions = arena_allocate(arena, memory_array_size(found->count, sizeof *positions));
  if (!out->runs || !positions) return status_nomem();
  for (size_t i = 0; i < found->count; i++) {
    uint32_t number = locator_unpack(found->locators[i]).run;
    if (!out->run_count || out->runs[out->run_count - 1].number != number)
      out->runs[out->run_count++] = (struct AdoptedDeletesRun){ number, 0, positions + i };
    positions[i] = locator_position(found->locators[i]);
    out->runs[out->run_count - 1].count++;
  }
  return KVSTORE_OK;
}

/* What the run replaces in the runs of an era, by its keys. */
static Status replaced_by_key(Era *era, RunHandle *run, uint64_t sequence, Arena *arena, AdoptedDeletes *out) {
  RowsOfKeys found = { 0 };
  out->by_key = true;
  out->run_count = 0;
  Status status = find_rows_of_keys(era, run, sequence, &found);
  if (status == KVSTORE_OK) status = list_rows_of_keys(&found, arena, out);
  memory_release(found.locators);
  return status;
}

/* Of runs that are adopted together the first has the list of all in its record, and nobody knows whose row is whose:
 * where one is looked up by its keys, those behind it are, too. (So may be another run with no list: it does no harm.)
 * `since`: of the run whose list this is; `before`: the run that was adopted before it, if there is one. */
static bool list_lies_before(const AdoptedDeletes *a, uint64_t since, const RunLayer *before) {
  bool is_empty = !a->by_key && !a->run_count;
  return is_empty && before && before->since + 1 == since && before->replaced && before->replaced->by_key;
}

static const RunLayer *newest_adopted(const Era *era) {
  return era->run_count && era->runs[0].since ? &era->runs[0] : NULL;
}

/* What the run replaces, from the record or from the extent that it names. Where runs or delta rows that it names have
 * become parts of other runs since, its keys are looked up again (VIS-5). */
static Status apply_replaced(Store *store, Era *era, RunHandle *run, Reader *in, uint64_t file_size, uint64_t sequence,
                             AdoptedDeletes **out) {
  AdoptedDeletes *a = memory_allocate_zeroed(sizeof *a);
  if (!a) return status_nomem();
  atomic_init(&a->references, 1);
  *out = a;
  uint8_t *own = NULL;
  Reader list = { 0 };
  if (reader_u8(in)) {
    TRY(extent_decode(in, file_size, &a->extent));
    TRY(extent_read(&store->file, &a->extent, &own));
    list = reader_over(own, (size_t)a->extent.length);
  } else {
    Bytes here = reader_bytes(in);
    list = reader_over(here.data, here.length);
  }
  bool complete = true;
  Status status = read_replaced(era, &list, a, &complete);
  if (status == KVSTORE_OK) status = end_replaced_keys(store, era, &list, sequence, &complete);
  complete &= !list_lies_before(a, sequence, newest_adopted(era));
  if (status == KVSTORE_OK && !complete && run->columns) status = replaced_by_key(era, run, sequence, &a->arena, a);
  memory_release(own);
  return status;
}

static void adopted_deletes_release(AdoptedDeletes *a) {
  if (!a || atomic_fetch_sub_explicit(&a->references, 1, memory_order_acq_rel) != 1) return;
  arena_release(&a->arena);
  memory_release(a);
}

static bool names_gone_run(const Era *era, const AdoptedDeletes *a) {
  for (uint32_t i = 0; i < a->run_count; i++)
    if (!layer_of_run(era, a->runs[i].number)) return true;
  return false;
}

Status era_renew_adopted(Era *era, bool flushed) {
  uint32_t adopted = 0;
  while (adopted < era->run_count && era->runs[adopted].since) adopted++;
  uint32_t all = adopted;
  while (adopted-- > 0) { /* the oldest first: what it replaces is dead to those after it */
    RunLayer *layer = &era->runs[adopted];
    const RunLayer *before = adopted + 1 < all ? layer + 1 : NULL;
    if (!layer->run->columns || !layer->replaced) continue;
    if (!flushed && !names_gone_run(era, layer->replaced) && !list_lies_before(layer->replaced, layer->since, before))
      continue;
    AdoptedDeletes *fresh = memory_allocate_zeroed(sizeof *fresh);
    if (!fresh) return status_nomem();
    atomic_init(&fresh->references, 1);
    fresh->extent = layer->replaced->extent;
    Status status = replaced_by_key(era, layer->run, layer->since, &fresh->arena, fresh);
    adopted_deletes_release(status == KVSTORE_OK ? layer->replaced : fresh);
    TRY(status);
    layer->replaced = fresh;
  }
  return KVSTORE_OK;
}

Status apply_adopt(Store *store, uint32_t id, Bytes payload, uint64_t sequence) {
  const Version *current = atomic_load_explicit(&store->current, memory_order_relaxed);
  FamilyState *state = version_family(current, id);
  if (!state || state->eras[state->era_count - 1].dropped)
    return status_fail(KVSTORE_CORRUPT, "a run is adopted by family %u, which is not there", id);
  Era *era = &state->eras[state->era_count - 1];
  Family *family = family_retain(state->family); /* a published version may end the state that it replaces */
  Reader in = reader_over(payload.data, payload.length);
  Arena arena = { 0 };
  RunEntry entry;
  RunHandle *run = NULL;
  AdoptedDeletes *replaced = NULL;
  OsStat stat;
  Status status = os_stat_file(store->file.file, &stat);
  if (status == KVSTORE_OK) status = run_entry_decode(&in, &arena, stat.size, &entry);
  if (status == KVSTORE_OK && (entry.kind == RUN_COLUMNS) != (family->kind == FAMILY_TABLE))
    status = status_fail(KVSTORE_CORRUPT, "an adopted run is not of its family's kind");
  if (status == KVSTORE_OK) status = run_handle_open(store, &entry, family, NULL, &run);
  uint64_t next_row_id = reader_u64(&in);
  if (status == KVSTORE_OK) status = apply_replaced(store, era, run, &in, stat.size, sequence, &replaced);
  if (status == KVSTORE_OK) status = adopt_into(store, state, run, replaced, sequence);
  if (status == KVSTORE_OK) {
    if (next_row_id > atomic_load_explicit(&family->next_row_id, memory_order_relaxed))
      atomic_store_explicit(&family->next_row_id, next_row_id, memory_order_relaxed);
    shared_raise(&store->page->next_run, (uint64_t)entry.number + 1);
    uint64_t next_extent = 0;
    for (uint32_t i = 0; i < entry.extent_count; i++)
      if (entry.extents[i].id >= next_extent) next_extent = entry.extents[i].id + 1;
    if (replaced->extent.id >= next_extent) next_extent = replaced->extent.id + 1;
    shared_raise(&store->page->next_extent, next_extent);
  }
  run_release(run);
  adopted_deletes_release(replaced);
  family_release(family);
  arena_release(&arena);
  return status;
}
