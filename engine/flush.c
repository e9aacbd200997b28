/* flush.c - what was frozen at a boundary becomes runs of the next generation (GEN-3; DESIGN 6, 8). Nothing here holds
 * a lock but maintenance: readers and writers go on. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/counters.h"
#include "base/memory.h"
#include "engine/compact_internal.h"
#include "engine/table_state.h"
#include "rowstore/table_order.h"

typedef struct Flush {
  Store *store;
  Version *version;
  uint64_t boundary;
  Manifest *draft;
  SpaceJob *job;
  bool deltas_alone, joined; /* it joins no runs to the deltas; it has joined some */
} Flush;

static Era *era_at(const FamilyState *state, uint64_t boundary) {
  for (uint32_t i = state->era_count; i-- > 0;)
    if (state->eras[i].since <= boundary) return &state->eras[i];
  return NULL;
}

static bool is_frozen(const DeltaLayer *layer, uint64_t boundary) {
  return atomic_load_explicit(&layer->delta->boundary, memory_order_acquire) <= boundary;
}

/* ---- kv families ---- */

/* How many of the overlapping runs the flush takes in: the newest ones, while they are not larger than what they join;
 * and larger ones, too, where there would be many, as long as that costs little beside the family. None that a merge
 * into the level has begun with, and no more than that one would wait for. */
static uint32_t runs_to_take(const Flush *f, const Family *family, const Era *era, uint32_t first_run) {
  uint64_t bytes = 0, bytes_max = kv_overlapping_bytes_max(f->store, era), small = kv_bytes(era) / KV_SMALL_SHARE;
  uint32_t end = era->run_count - era->disjoint_count - kv_runs_in_round(family, era), taken = 0;
  for (uint32_t i = 0; i < era->delta_count; i++)
    if (is_frozen(&era->deltas[i], f->boundary)) bytes += kv_delta_counts(era->deltas[i].delta->kv).bytes_used;
  while (bytes && first_run + taken < end) {
    uint64_t next = era->runs[first_run + taken].run->entry.data_bytes;
    bool crowded = end - first_run - taken >= KV_OVERLAPPING_MAX && bytes + next <= small;
    if ((next > bytes && !crowded) || bytes + next > bytes_max) break;
    bytes += next;
    taken++;
  }
  return taken;
}

static Status fill_run(MergeCursor *cursor, RowRunWriter *writer, const RunShape *shape, int64_t expired_before,
                       RunList *list) {
  while (cursor->valid && row_run_writer_bytes(writer) < shape->bytes_max) {
    const RowView *row = &cursor->row.view;
    if (row->expiry < expired_before) {
      list->reclaimed++;
    } else {
      Bytes value;
      TRY(merge_cursor_value(cursor, &value));
      Status status = row_run_writer_add(writer, row->key, value, row->expiry, row->tombstone);
      if (status == KVSTORE_LIMIT && row_run_writer_rows(writer)) return KVSTORE_OK; /* full: it begins the next run */
      TRY(status);
    }
    TRY(merge_cursor_next(cursor));
  }
  return KVSTORE_OK;
}

static Status finish_run(Store *store, RowRunWriter *writer, SpaceSink *sink, const RunShape *shape, RunList *list) {
  Buffer directory = { 0 };
  RunEntry entry;
  uint64_t rows = row_run_writer_rows(writer);
  if (!rows) return KVSTORE_OK;
  Status status = row_run_writer_finish(writer, &directory, NULL);
  if (status == KVSTORE_OK)
    status = run_entry_make(store, sink, RUN_ROWS, shape->level, 0, rows, &directory, list->arena, &entry);
  if (status == KVSTORE_OK) status = run_list_add(list, &entry);
  buffer_release(&directory);
  return status;
}

Status rows_to_run(Store *store, MergeCursor *cursor, SpaceJob *job, const RunShape *shape, int64_t expired_before,
                   RunList *list) {
  bool packs = shape->level || store->packs_every_run;
  RowRunOptions options = { .piece_bytes = shape->piece_bytes,
                            .value_extent_bytes = shape->piece_bytes,
                            .packing = packs ? list->packing : ROW_PACKING_NONE };
  for (uint32_t runs = 0; cursor->valid && (!shape->runs_max || runs < shape->runs_max); runs++) {
    SpaceSink sink;
    RunSink emit = space_sink(&sink, job);
    RowRunWriter *writer = NULL;
    TRY(row_run_writer_create(&emit, &options, &writer));
    Status status = fill_run(cursor, writer, shape, expired_before, list);
    if (status == KVSTORE_OK) status = finish_run(store, writer, &sink, shape, list);
    row_run_writer_destroy(writer);
    TRY(status);
  }
  return KVSTORE_OK;
}

/* What a flush of a family's frozen deltas writes. */
typedef struct KvFlush {
  uint32_t first, taken; /* the runs that it takes in */
  bool bottom;           /* nothing older lies under its keys: no tombstones are needed */
  RunShape shape;        /* of the runs that it makes */
} KvFlush;

static Status flush_kv_rows(Flush *f, const Era *era, const KvFlush *k, RunList *list) {
  MergeLayer *layers = memory_allocate((era->delta_count + k->taken + 1) * sizeof *layers);
  if (!layers) return status_nomem();
  uint32_t count = 0;
  for (uint32_t i = 0; i < era->delta_count; i++)
    if (is_frozen(&era->deltas[i], f->boundary))
      layers[count++] = (MergeLayer){ era->deltas[i].delta->kv, f->boundary, NULL, NULL };
  for (uint32_t i = 0; i < k->taken; i++)
    layers[count++] = (MergeLayer){ NULL, 0, era->runs[k->first + i].run->rows, NULL };
  MergeOptions options = { 0 };
  options.now_ms = INT64_MIN;
  options.tombstones = !k->bottom;
  MergeCursor cursor;
  Status status = merge_cursor_open(&cursor, layers, count, &options);
  memory_release(layers);
  TRY(status);
  status = merge_cursor_first(&cursor);
  if (status == KVSTORE_OK) status = rows_to_run(f->store, &cursor, f->job, &k->shape, INT64_MIN, list);
  merge_cursor_close(&cursor);
  return status;
}

/* ---- keys that no run has ---- */

enum { LEVEL_BYTES_MIN = 4 << 20 }; /* less is not worth runs of its own in the level */

typedef struct KeyRange {
  uint64_t bytes;
  Bytes first, last; /* data NULL: no rows */
} KeyRange;

static int order_of(Bytes a, Bytes b) { return bytes_compare(a.data, a.length, b.data, b.length); }

/* From the first to the last key of the frozen deltas, which hold their bytes. */
static KeyRange frozen_range(const Flush *f, const Era *era) {
  KeyRange range = { 0 };
  for (uint32_t i = 0; i < era->delta_count; i++) {
    KvCursor c;
    if (!is_frozen(&era->deltas[i], f->boundary)) continue;
    range.bytes += kv_delta_counts(era->deltas[i].delta->kv).bytes_used;
    kv_cursor_open(&c, era->deltas[i].delta->kv, f->boundary);
    if (!kv_cursor_first(&c)) continue;
    if (!range.first.data || order_of(c.key, range.first) < 0) range.first = c.key;
    if (kv_cursor_last(&c) && (!range.last.data || order_of(c.key, range.last) > 0)) range.last = c.key;
  }
  return range;
}

/* Ascending loads: keys where no run has any go into the level at once, as runs that nothing ever rewrites on their
 * account. *below: how many of the level's runs come before them; *bytes: what the deltas hold. */
static bool fits_level(const Flush *f, const Era *era, uint32_t first, uint32_t *below, uint64_t *bytes) {
  KeyRange range = frozen_range(f, era);
  *bytes = range.bytes;
  *below = 0;
  if (!range.first.data || !range.last.data || range.bytes < LEVEL_BYTES_MIN) return false;
  for (uint32_t i = first; i < era->run_count; i++) {
    const RowRunSummary *run = row_run_summary(era->runs[i].run->rows);
    if (!run->row_count) continue;
    bool before = order_of(run->last_key, range.first) < 0;
    if (!before && order_of(range.last, run->first_key) >= 0) return false;
    if (i >= era->run_count - era->disjoint_count) *below += before;
  }
  return true;
}

static Status keep_runs(const Era *era, uint32_t from, uint32_t to, RunList *list) {
  for (uint32_t i = from; i < to; i++) TRY(run_list_add(list, &era->runs[i].run->entry));
  return KVSTORE_OK;
}

static Status flush_kv(Flush *f, const Family *family, const Era *era, RunList *list) {
  uint32_t overlapping = era->run_count - era->disjoint_count, first = 0, frozen = 0, below;
  uint64_t bytes;
  while (first < overlapping && era->runs[first].since > f->boundary) first++;
  for (uint32_t i = 0; i < era->delta_count; i++) frozen += is_frozen(&era->deltas[i], f->boundary);
  if (!frozen) return keep_runs(era, first, era->run_count, list);
  if (fits_level(f, era, first, &below, &bytes)) {
    KvFlush alone = { first, 0, true, kv_run_shape(f->store, kv_bytes(era) + bytes, 1) };
    COUNT(flushes_into_level);
    TRY(keep_runs(era, first, overlapping + below, list));
    TRY(flush_kv_rows(f, era, &alone, list));
    return keep_runs(era, overlapping + below, era->run_count, list);
  }
  KvFlush on_top = { .first = first, .shape = kv_run_shape(f->store, kv_bytes(era), 0) };
  if (!f->deltas_alone) on_top.taken = runs_to_take(f, family, era, first);
  f->joined |= on_top.taken > 0;
  on_top.bottom = first + on_top.taken == overlapping && !era->disjoint_count;
  TRY(flush_kv_rows(f, era, &on_top, list));
  return keep_runs(era, first + on_top.taken, era->run_count, list);
}

/* ---- tables ---- */

/* The rows of frozen deltas that the boundary sees. */
typedef struct FrozenTable {
  const TableDelta *delta;
  TableOrder order;
  uint32_t at;
} FrozenTable;

typedef struct FrozenTables {
  FrozenTable *tables;
  uint32_t count;
} FrozenTables;

static Bytes key_at(const FrozenTable *t, uint32_t at) { return table_delta_key(t->delta, t->order.rows[at]); }

static void frozen_tables_release(FrozenTables *frozen) {
  for (uint32_t i = 0; i < frozen->count; i++) table_order_release(&frozen->tables[i].order);
  memory_release(frozen->tables);
}

/* Whatever it returns, there is something to release. */
static Status order_frozen(const Flush *f, const Era *era, FrozenTables *out) {
  *out = (FrozenTables){ memory_allocate_zeroed(memory_array_size(era->delta_count, sizeof *out->tables)), 0 };
  if (!out->tables) return status_nomem();
  for (uint32_t i = 0; i < era->delta_count; i++) {
    if (!is_frozen(&era->deltas[i], f->boundary)) continue;
    FrozenTable *t = &out->tables[out->count++];
    t->delta = era->deltas[i].delta->table;
    TRY(table_order_make(t->delta, f->boundary, 0, &t->order));
  }
  return KVSTORE_OK;
}

/* Which of them stands at the least key; NULL at the end. A key is visible in at most one. */
static FrozenTable *least_key(const FrozenTables *frozen) {
  FrozenTable *least = NULL;
  for (uint32_t i = 0; i < frozen->count; i++) {
    FrozenTable *t = &frozen->tables[i];
    if (t->at == t->order.count) continue;
    if (!least || order_of(key_at(t, t->at), key_at(least, least->at)) < 0) least = t;
  }
  return least;
}

static Status flush_rows(const FrozenTables *frozen, TableRunBuilder *builder) {
  for (FrozenTable *t = least_key(frozen); t; t = least_key(frozen))
    TRY(table_run_builder_add(builder, t->delta, t->order.rows[t->at++]));
  return KVSTORE_OK;
}

/* The run with the rows that have died since its manifest: one more list, or all of them as a bitmap. */
static Status add_deletes(Flush *f, const RunLayer *layer, const DeletedSet *now, RunEntry *entry, bool *gone) {
  uint64_t before = deleted_set_count(layer->deleted), after = deleted_set_count(now);
  *gone = after == entry->row_count;
  entry->dead_count = after;
  if (after == before || *gone) return KVSTORE_OK;
  Buffer bytes = { 0 };
  RunDeletes deletes = { 0 };
  bool fold = entry->deletes_count >= RUN_DELETES_MAX - 1;
  if (fold) {
    deleted_bitmap_write(now, &bytes);
    deletes.kind = DELETES_BITMAP;
    entry->deletes_count = 0;
  } else {
    uint32_t *all = memory_allocate((size_t)after * sizeof *all);
    if (!all) return status_nomem();
    deleted_set_positions(now, all);
    size_t fresh = 0;
    for (size_t i = 0; i < after; i++)
      if (!deleted_set_contains(layer->deleted, position_segment(all[i]), position_row(all[i]))) all[fresh++] = all[i];
    deleted_list_write(all, fresh, &bytes);
    memory_release(all);
    deletes.kind = DELETES_LIST;
  }
  Status status = buffer_status(&bytes);
  if (status == KVSTORE_OK) status = space_write(f->job, bytes.data, bytes.length, &deletes.extent);
  buffer_release(&bytes);
  TRY(status);
  RunDeletes *list = arena_allocate(&f->draft->arena, (entry->deletes_count + 1) * sizeof *list);
  if (!list) return status_nomem();
  memcpy(list, entry->deletes, entry->deletes_count * sizeof *list);
  list[entry->deletes_count++] = deletes;
  entry->deletes = list;
  return KVSTORE_OK;
}

static Status keep_table_runs(Flush *f, Era *era, RunList *list) {
  DeadState *dead;
  TRY(era_dead(era, f->boundary, false, &dead));
  Status status = KVSTORE_OK;
  for (uint32_t i = 0; i < era->run_count && status == KVSTORE_OK; i++) {
    if (era->runs[i].since > f->boundary) continue;
    RunEntry entry = era->runs[i].run->entry;
    bool gone;
    status = add_deletes(f, &era->runs[i], dead->sets[i], &entry, &gone);
    if (status == KVSTORE_OK && !gone) status = run_list_add(list, &entry);
  }
  dead_state_release(dead);
  return status;
}

static bool frozen_lie_between_runs(const FrozenTables *frozen, const Era *era) {
  for (uint32_t i = 0; i < frozen->count; i++) {
    const FrozenTable *t = &frozen->tables[i];
    if (t->order.count && era_has_runs_between(era, key_at(t, 0), key_at(t, t->order.count - 1))) return true;
  }
  return false;
}

static Status flush_frozen_tables(Flush *f, const Family *family, const Era *era, const FrozenTables *frozen,
                                  RunList *list) {
  TableRunBuilder *builder = NULL;
  TableRunShape shape = { .key_filter = frozen_lie_between_runs(frozen, era) };
  TRY(table_run_builder_create(f->store, f->job, &family->schema, shape, list->arena, &builder));
  Status status = flush_rows(frozen, builder);
  if (status == KVSTORE_OK) status = table_run_builder_finish(builder, list);
  table_run_builder_destroy(builder);
  return status;
}

static Status flush_table(Flush *f, const Family *family, Era *era, RunList *list) {
  FrozenTables frozen;
  Status status = order_frozen(f, era, &frozen);
  if (status == KVSTORE_OK) status = flush_frozen_tables(f, family, era, &frozen, list);
  frozen_tables_release(&frozen);
  return status == KVSTORE_OK ? keep_table_runs(f, era, list) : status;
}

/* ---- the manifest ---- */

Status manifest_family_of(const FamilyState *state, uint64_t boundary, Arena *arena, FamilyEntry *out) {
  const Family *family = state->family;
  const FamilyTraits *traits = family_state_traits(state, boundary);
  *out = (FamilyEntry){ 0 };
  out->id = family->id;
  out->kind = family->kind;
  out->flags = family->flags;
  out->next_row_id = atomic_load_explicit(&family->boundary_row_id, memory_order_relaxed);
  out->next_column_id = family->next_column_id;
  out->options = traits->options;
  out->name = arena_copy_string(arena, traits->name, strlen(traits->name));
  if (!out->name) return status_nomem();
  return family->schema.column_count ? schema_copy(&family->schema, &out->schema) : KVSTORE_OK;
}

static Status flush_family(Flush *f, const FamilyState *state) {
  Era *era = era_at(state, f->boundary);
  if (!era || era->dropped) return KVSTORE_OK;
  RunList list = { .arena = &f->draft->arena, .packing = family_packing(f->store, state) };
  Status status = state->family->kind == FAMILY_KV ? flush_kv(f, state->family, era, &list)
                                                   : flush_table(f, state->family, era, &list);
  FamilyEntry *entry = &f->draft->families[f->draft->family_count];
  if (status == KVSTORE_OK) status = manifest_family_of(state, f->boundary, &f->draft->arena, entry);
  if (status == KVSTORE_OK && state->family->kind == FAMILY_KV)
    status = family_count_at_boundary(f->store, state->family, f->boundary, &entry->keys);
  if (status == KVSTORE_OK) {
    f->draft->family_count++;
    entry->run_count = list.count;
    entry->runs =
      arena_copy(&f->draft->arena, list.runs ? list.runs : (RunEntry *)&list, list.count * sizeof *list.runs);
    if (!entry->runs) status = status_nomem();
  }
  run_list_release(&list);
  return status;
}

static Status flush_version(Flush *f) {
  uint32_t count = f->version->family_count;
  f->draft->families = arena_allocate_zeroed(&f->draft->arena, memory_array_size(count, sizeof(FamilyEntry)));
  if (!f->draft->families) return status_nomem();
  for (uint32_t i = 0; i < count; i++) TRY(flush_family(f, f->version->families[i]));
  CRASH_POINT(flush_before_sync);
  f->draft->next_run_number = (uint32_t)shared_load(&f->store->page->next_run);
  return generation_publish(f->store, f->draft, f->job);
}

/* Holds the current version and the boundary that belongs to it. */
static Version *hold_frozen(Store *store, WalCursor *target, uint64_t *log_id, uint32_t *next_family_id) {
  mutex_lock(&store->apply_lock);
  mutex_lock(&store->versions_lock);
  Version *v = atomic_load_explicit(&store->current, memory_order_relaxed);
  atomic_fetch_add_explicit(&v->references, 1, memory_order_relaxed);
  *target = store->frozen;
  *log_id = store->wal ? wal_log_id(store->wal) : 0;
  *next_family_id = store->next_family_id;
  mutex_unlock(&store->versions_lock);
  mutex_unlock(&store->apply_lock);
  return v;
}

/* After a flush: what is still owed is what was logged since its boundary. Nobody logs meanwhile. */
static Status settle_debt(Store *store) {
  bool died;
  TRY(shared_mutex_lock(&store->page->mutex, &died));
  uint64_t end = shared_load(&store->page->end), start = shared_load(&store->page->start);
  shared_store(&store->page->owed, end > start ? 2 * (end - start) + (256u << 10) : 0);
  shared_mutex_unlock(&store->page->mutex);
  return KVSTORE_OK;
}

/* What hold_frozen found. */
typedef struct Frozen {
  WalCursor target;
  uint64_t log_id; /* 0: there is none, and nothing to flush */
  uint32_t next_family_id;
} Frozen;

static Status flush_to(Flush *f, const Frozen *frozen) {
  SpaceJob job;
  space_job_init(&job, f->store, true);
  f->job = &job;
  f->draft = NULL;
  Status status = generation_draft(f->store, f->version->manifest, &f->draft);
  if (status == KVSTORE_OK) {
    f->draft->replay = frozen->target;
    f->draft->log_id = frozen->log_id;
    f->draft->next_family_id = frozen->next_family_id;
    status = flush_version(f);
  }
  manifest_release(f->draft);
  space_job_end(&job);
  return status;
}

/* The room that is kept for a flush is for the deltas alone: it joins no runs to them when there is no more. */
Status flush_frozen(Store *store, bool *flushed) {
  Flush f = { .store = store };
  Frozen frozen;
  *flushed = false;
  f.version = hold_frozen(store, &frozen.target, &frozen.log_id, &frozen.next_family_id);
  Status status = KVSTORE_OK;
  if (frozen.log_id && frozen.target.position > shared_load(&store->page->start)) {
    f.boundary = frozen.target.sequence - 1;
    status = flush_to(&f, &frozen);
    if (status == KVSTORE_FULL && f.joined) {
      f.deltas_alone = true;
      status = flush_to(&f, &frozen);
    }
    if (status == KVSTORE_OK) status = settle_debt(store);
    if (status == KVSTORE_OK) {
      COUNT(flushes);
      *flushed = true;
    }
  }
  mutex_lock(&store->versions_lock);
  atomic_fetch_sub_explicit(&f.version->references, 1, memory_order_acq_rel);
  mutex_unlock(&store->versions_lock);
  versions_reclaim(store);
  return status;
}
