/* compact.c - fewer, larger runs (DESIGN 9). kv families: compact_kv.c. Tables: size-tiered, four runs of a tier become
 * one of the next; a run over a third dead or long expired is rewritten. Maintenance is held throughout, so no flush
 * changes a run's dead rows meanwhile; what dies in a delta finds its row in the output by key (VIS-5, VIS-7). */
#include <stdlib.h>
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "columnar/column_merge.h"
#include "engine/compact_internal.h"

enum { FAN_OUT = 4, TIERS = 16 };

/* ---- tables ---- */

static uint32_t tier_of(uint64_t rows) {
  uint32_t tier = 0;
  for (uint64_t limit = SEGMENT_ROWS; rows > limit && tier + 1 < TIERS; limit *= FAN_OUT) tier++;
  return tier;
}

static uint64_t live_rows(const RunLayer *layer) {
  return layer->run->entry.row_count - deleted_set_count(layer->deleted);
}

/* Wide rows, and arrays, fill a run before it has many rows: a merge of such runs would be due again at once. */
static bool may_be_merged(const RunLayer *layer) { return !column_run_is_full(layer->run->columns); }

static bool is_in_tier(const RunLayer *layer, uint32_t tier) {
  return tier_of(live_rows(layer)) == tier && may_be_merged(layer);
}

/* About how many rows of a run have long expired: those of the segments that have as a whole. */
static uint64_t expired_rows(const Compaction *c, const ColumnRun *run) {
  uint64_t rows = 0;
  if (run->expiry_min >= c->expired_before) return 0;
  for (uint32_t i = 0; i < run->segment_count; i++) {
    const Segment *segment = column_run_segment(run, i);
    if (segment->expiry_max < c->expired_before) rows += segment->row_count;
  }
  return rows;
}

static bool choose_wasteful(const Compaction *c, const Era *era, bool *chosen) {
  bool any = false;
  for (uint32_t i = 0; i < era->run_count; i++) {
    const RunLayer *layer = &era->runs[i];
    chosen[i] = deleted_set_count(layer->deleted) || layer->run->columns->expiry_min < c->expired_before;
    any |= chosen[i];
  }
  return any;
}

/* Marks the runs that are merged next: the lowest tier with enough of them, else one that is mostly dead. */
static bool choose_table_inputs(const Compaction *c, const Era *era, bool *chosen) {
  if (c->thorough) return choose_wasteful(c, era, chosen);
  uint32_t in_tier[TIERS] = { 0 };
  for (uint32_t i = 0; i < era->run_count; i++)
    if (may_be_merged(&era->runs[i])) in_tier[tier_of(live_rows(&era->runs[i]))]++;
  uint64_t rows = 0;
  for (uint32_t tier = 0; tier < TIERS; tier++) {
    if (in_tier[tier] < FAN_OUT) continue;
    for (uint32_t i = 0; i < era->run_count; i++) {
      chosen[i] = is_in_tier(&era->runs[i], tier) && rows < (uint64_t)RUN_SEGMENTS_MAX * SEGMENT_ROWS;
      if (chosen[i]) rows += live_rows(&era->runs[i]);
    }
    if (tier < 3) return true; /* runs of full length stay apart */
    memset(chosen, 0, era->run_count * sizeof *chosen);
  }
  for (uint32_t i = 0; i < era->run_count; i++) {
    const RunLayer *layer = &era->runs[i];
    chosen[i] =
      (deleted_set_count(layer->deleted) + expired_rows(c, layer->run->columns)) * 3 > layer->run->entry.row_count;
    if (chosen[i]) return true;
  }
  return false;
}

static bool table_is_due(const Compaction *c, const Era *era) {
  bool *chosen = memory_allocate_zeroed(era->run_count + 1);
  bool due = chosen && choose_table_inputs(c, era, chosen);
  memory_release(chosen);
  return due;
}

typedef struct MergeOutput {
  Compaction *c;
  const Family *family;
  RunList *list;
  SpaceSink sink;
} MergeOutput;

static Status open_output(void *context, uint32_t number, RunSink *sink) {
  MergeOutput *o = context;
  (void)number;
  *sink = space_sink(&o->sink, o->c->job);
  return KVSTORE_OK;
}

static Status close_output(void *context, uint32_t number, Buffer *directory, ColumnRunSummary *summary) {
  MergeOutput *o = context;
  (void)number;
  RunEntry entry;
  TRY(run_entry_make(o->c->store, &o->sink, RUN_COLUMNS, 0, o->family->schema.version, summary->row_count, directory,
                     o->list->arena, &entry));
  return run_list_add(o->list, &entry);
}

/* Does a run that stays lie where the chosen ones do? */
static bool chosen_lie_between_others(const Era *era, const bool *chosen) {
  for (uint32_t i = 0; i < era->run_count; i++) {
    const ColumnRun *run = era->runs[i].run->columns;
    for (uint32_t j = 0; chosen[i] && j < era->run_count; j++)
      if (!chosen[j] && column_run_overlaps(era->runs[j].run->columns, run->first_key, run->last_key)) return true;
  }
  return false;
}

static Status merge_table(Compaction *c, const Family *family, const Era *era, const bool *chosen, RunList *list) {
  ColumnMergeInput *inputs = memory_allocate(memory_array_size(era->run_count, sizeof *inputs));
  if (!inputs) return status_nomem();
  size_t count = 0;
  for (uint32_t i = 0; i < era->run_count; i++)
    if (chosen[i]) inputs[count++] = (ColumnMergeInput){ era->runs[i].run->columns, era->runs[i].deleted };
  MergeOutput output = { .c = c, .family = family, .list = list };
  ColumnMergeOptions options = { 0 };
  options.schema = &family->schema;
  options.run.key_filter = chosen_lie_between_others(era, chosen);
  options.expired_before = c->expired_before;
  options.open_output = open_output;
  options.close_output = close_output;
  options.context = &output;
  ColumnMergeResult result;
  Status status = column_merge(inputs, count, &options, &result);
  memory_release(inputs);
  return status;
}

/* ---- the manifest ---- */

static Status compact_family(Compaction *c, const FamilyState *state, FamilyEntry *entry) {
  const Era *era = &state->eras[0];
  RunList list = { .arena = &c->draft->arena, .packing = family_packing(c->store, state) };
  Status status = KVSTORE_OK;
  if (state->family->kind == FAMILY_KV) {
    status = kv_compact(c, state->family, era, &list);
  } else {
    bool *chosen = memory_allocate_zeroed(era->run_count + 1);
    if (!chosen) return status_nomem();
    choose_table_inputs(c, era, chosen);
    status = merge_table(c, state->family, era, chosen, &list);
    for (uint32_t i = 0; i < era->run_count && status == KVSTORE_OK; i++)
      if (!chosen[i]) status = run_list_add(&list, &era->runs[i].run->entry);
    memory_release(chosen);
  }
  if (status == KVSTORE_OK) {
    if (list.reclaimed) entry->keys = KEYS_UNKNOWN;
    entry->run_count = list.count;
    entry->runs =
      arena_copy(&c->draft->arena, list.runs ? list.runs : (RunEntry *)&list, list.count * sizeof *list.runs);
    if (!entry->runs) status = status_nomem();
  }
  run_list_release(&list);
  return status;
}

/* The draft is the current manifest but for one family. */
static Status draft_with(Compaction *c, const FamilyState *state) {
  const Manifest *from = c->version->manifest;
  c->draft->families =
    arena_allocate_zeroed(&c->draft->arena, memory_array_size(from->family_count, sizeof(FamilyEntry)));
  if (!c->draft->families) return status_nomem();
  for (uint32_t i = 0; i < from->family_count; i++) {
    FamilyEntry *to = &c->draft->families[i];
    TRY(family_entry_copy(&from->families[i], &c->draft->arena, to));
    c->draft->family_count++;
    if (to->id == state->family->id) {
      TRY(compact_family(c, state, to));
      continue;
    }
    to->runs =
      arena_allocate_zeroed(&c->draft->arena, memory_array_size(from->families[i].run_count, sizeof(RunEntry)));
    if (!to->runs) return status_nomem();
    for (uint32_t r = 0; r < from->families[i].run_count; r++)
      TRY(run_entry_copy(&from->families[i].runs[r], &c->draft->arena, &to->runs[r]));
    to->run_count = from->families[i].run_count;
  }
  c->draft->next_run_number = (uint32_t)shared_load(&c->store->page->next_run);
  CRASH_POINT(compaction_before_publish);
  return generation_publish(c->store, c->draft, c->job);
}

bool family_is_settled(const Version *v, const FamilyState *state) {
  const Era *era = &state->eras[0];
  bool adopted = state->family->kind == FAMILY_TABLE && era->run_count && era->runs[0].since;
  return state->era_count == 1 && !era->dropped && !adopted && manifest_family(v->manifest, state->family->id);
}

static bool family_is_due(const Compaction *c, const Version *v, const FamilyState *state) {
  const Era *era = &state->eras[0];
  if (!family_is_settled(v, state)) return false;
  return state->family->kind == FAMILY_KV ? kv_is_due(c, state->family, era) : table_is_due(c, era);
}

static const FamilyState *family_due(const Compaction *c, const Version *v) {
  for (uint32_t i = 0; i < v->family_count; i++)
    if (family_is_due(c, v, v->families[i])) return v->families[i];
  return NULL;
}

static bool lags(const Store *store, const FamilyState *state) {
  return kv_merge_lags(store, state->family, &state->eras[0]);
}

static bool is_far_behind(const Store *store, const FamilyState *state) {
  return kv_merge_is_far_behind(store, &state->eras[0]);
}

static bool any_kv_family(Store *store, bool (*is_so)(const Store *, const FamilyState *)) {
  Version *v = version_keep(store);
  bool any = false;
  for (uint32_t i = 0; i < v->family_count && !any; i++) {
    const FamilyState *state = v->families[i];
    any = state->family->kind == FAMILY_KV && family_is_settled(v, state) && is_so(store, state);
  }
  version_let_go(store, v);
  return any;
}

bool compaction_lags(Store *store) { return any_kv_family(store, lags); }
bool compaction_is_far_behind(Store *store) { return any_kv_family(store, is_far_behind); }

static Status compact(Compaction *c, bool *compacted) {
  Store *store = c->store;
  *compacted = false;
  c->version = version_keep(store);
  Status status = KVSTORE_OK;
  const FamilyState *state = family_due(c, c->version);
  if (state) {
    SpaceJob job;
    c->job = &job;
    space_job_init(&job, store, false);
    status = generation_draft(store, c->version->manifest, &c->draft);
    if (status == KVSTORE_OK) status = draft_with(c, state);
    if (status != KVSTORE_OK) state->family->round.run_count = 0; /* its last slice is not there */
    manifest_release(c->draft);
    space_job_end(&job);
    if (status == KVSTORE_OK) {
      COUNT(compactions);
      *compacted = true;
      if (state->family->round.run_count) CRASH_POINT(compaction_between_slices);
    }
  }
  version_let_go(store, c->version);
  return status;
}

Status compact_once(Store *store, bool by_call, bool *compacted) {
  Compaction c = { .store = store,
                   .expired_before = store_clock(store) - (int64_t)store->grace_ms,
                   .by_call = by_call };
  return compact(&c, compacted);
}

Status compact_thoroughly(Store *store, int64_t expired_before, bool *compacted) {
  Compaction c = { .store = store, .expired_before = expired_before, .thorough = true };
  return compact(&c, compacted);
}
