/* compact_kv.c - kv families: overlapping runs into the level of key-disjoint ones, run by run (DESIGN 9).
 *
 *   overlapping runs, newest first   |----------------|   |-----------|          the round: the oldest ones, all of
 * them
 *                                        |-------------------|                    when it began
 *   the level, in key order          |---|----|-----|----|---|----|
 *                                        ^ a slice: the level's runs of some 16 MiB, and the round's rows there
 *
 * A slice is merged and published before the next begins, so that a merge needs the room of one slice beside what
 * is there, and a flush may come between. The round's runs stay until its last slice: until then some of their rows
 * lie in the level, too, which changes no answer. How far a round has come is known to this process alone; who comes
 * after it begins the round again, and merges to the same. */
#include "engine/compact_internal.h"

#include <string.h>

#include "base/memory.h"

enum { OVERLAPPING_MAX = 3 };
static const uint64_t level_run_bytes_min = 1u << 20;

/* ---- what is due ---- */

static uint32_t overlapping_count(const Era *era) { return era->run_count - era->disjoint_count; }

static uint64_t bytes_of(const Era *era, uint32_t from, uint32_t to) {
  uint64_t bytes = 0;
  for (uint32_t i = from; i < to; i++) bytes += era->runs[i].run->entry.data_bytes;
  return bytes;
}

uint64_t kv_overlapping_bytes_max(const Store *store, const Era *era) {
  return bytes_of(era, overlapping_count(era), era->run_count) / 4 + store->log_bytes / 4;
}

/* How long the level's runs are, and slices: 16 MiB, and an eighth of a small family, since a slice lies twice in the
 * file for a while. */
static uint64_t run_bytes(const Era *era) {
  uint64_t bytes = bytes_of(era, 0, era->run_count) / 8;
  if (bytes < level_run_bytes_min) return level_run_bytes_min;
  return bytes < LEVEL_RUN_BYTES ? bytes : LEVEL_RUN_BYTES;
}

/* Has so much of a run expired that it pays to rewrite it? Expiries are taken to lie evenly between the first and the
 * last. */
static bool mostly_expired(const RunHandle *run, int64_t before) {
  const RowRunSummary *s = row_run_summary(run->rows);
  if (!s->expiring_count || s->expiry_min >= before) return false;
  double span = (double)s->expiry_max - (double)s->expiry_min + 1;
  double gone = s->expiry_max < before ? 1 : ((double)before - (double)s->expiry_min) / span;
  return gone * (double)s->expiring_count * 3 > (double)s->row_count;
}

static bool is_wasteful(const Compaction *c, const RunHandle *run) {
  const RowRunSummary *s = row_run_summary(run->rows);
  if (!c->thorough) return mostly_expired(run, c->expired_before);
  return s->tombstone_count || (s->expiring_count && s->expiry_min < c->expired_before);
}

/* The first wasteful run of the level; run_count: none. */
static uint32_t wasteful_in_level(const Compaction *c, const Era *era) {
  uint32_t i = overlapping_count(era);
  while (i < era->run_count && !is_wasteful(c, era->runs[i].run)) i++;
  return i;
}

/* The round's runs are still the oldest of the overlapping ones. */
static bool round_holds(const MergeRound *round, const Era *era) {
  uint32_t overlapping = overlapping_count(era);
  if (!round->run_count || round->run_count > overlapping) return false;
  for (uint32_t i = 0; i < round->run_count; i++)
    if (era->runs[overlapping - round->run_count + i].run->entry.number != round->runs[i]) return false;
  return true;
}

uint32_t kv_runs_in_round(const Family *family, const Era *era) {
  return round_holds(&family->round, era) ? family->round.run_count : 0;
}

static bool overlapping_is_due(const Compaction *c, const Family *family, const Era *era) {
  uint32_t overlapping = overlapping_count(era);
  bool wasteful = false;
  if (!overlapping) return false;
  if (overlapping > OVERLAPPING_MAX || round_holds(&family->round, era)) return true;
  for (uint32_t i = 0; i < overlapping; i++) wasteful |= is_wasteful(c, era->runs[i].run);
  if (c->thorough) return wasteful || overlapping + (era->disjoint_count > 0) > 1;
  return wasteful || bytes_of(era, 0, overlapping) > kv_overlapping_bytes_max(c->store, era);
}

bool kv_is_due(const Compaction *c, const Family *family, const Era *era) {
  return overlapping_is_due(c, family, era) || wasteful_in_level(c, era) < era->run_count;
}

/* ---- slices ---- */

typedef struct Slice {
  uint32_t round_count; /* so many of the oldest overlapping runs take part; 0: the level's runs alone */
  uint32_t first, end;  /* of the level's runs, as run layers */
  Bytes lower, upper;   /* data NULL: no bound */
  bool last;            /* the round's runs go */
} Slice;

static const RowRunSummary *summary_of(const Era *era, uint32_t i) { return row_run_summary(era->runs[i].run->rows); }

static int compare_keys(Bytes a, Bytes b) { return bytes_compare(a.data, a.length, b.data, b.length); }

static Status begin_round(MergeRound *round, const Era *era) {
  uint32_t overlapping = overlapping_count(era);
  round->run_count = overlapping < ROUND_RUNS_MAX ? overlapping : ROUND_RUNS_MAX;
  buffer_clear(&round->next);
  Bytes least = { 0 };
  for (uint32_t i = 0; i < round->run_count; i++) {
    uint32_t layer = overlapping - round->run_count + i;
    Bytes first = summary_of(era, layer)->first_key;
    round->runs[i] = era->runs[layer].run->entry.number;
    if (!i || compare_keys(first, least) < 0) least = first;
  }
  buffer_append(&round->next, least.data, least.length);
  Status status = buffer_status(&round->next);
  if (status != KVSTORE_OK) round->run_count = 0;
  return status;
}

/* Nothing of the round lies at or behind `key`. */
static bool round_ends_before(const Slice *slice, const Era *era, Bytes key) {
  uint32_t overlapping = overlapping_count(era);
  for (uint32_t i = overlapping - slice->round_count; i < overlapping; i++)
    if (compare_keys(summary_of(era, i)->last_key, key) >= 0) return false;
  return true;
}

/* The level's runs from the round's next key on, until they are as long as a slice. A run that another process has made
 * meanwhile may begin before that key: then its rows before it are merged once more. */
static void slice_of_round(const MergeRound *round, const Era *era, Slice *slice) {
  uint64_t bytes = 0, wanted = run_bytes(era);
  slice->round_count = round->run_count;
  slice->lower = (Bytes){ round->next.data, round->next.length };
  slice->first = overlapping_count(era);
  while (slice->first < era->run_count && compare_keys(summary_of(era, slice->first)->last_key, slice->lower) < 0)
    slice->first++;
  slice->end = slice->first;
  if (slice->first < era->run_count && compare_keys(summary_of(era, slice->first)->first_key, slice->lower) < 0)
    slice->lower = summary_of(era, slice->first)->first_key;
  while (slice->end < era->run_count && bytes < wanted &&
         !round_ends_before(slice, era, summary_of(era, slice->end)->first_key))
    bytes += era->runs[slice->end++].run->entry.data_bytes;
  slice->last = slice->end == era->run_count || round_ends_before(slice, era, summary_of(era, slice->end)->first_key);
  if (!slice->last) slice->upper = summary_of(era, slice->end)->first_key;
}

static Status choose_slice(Compaction *c, Family *family, const Era *era, Slice *slice) {
  *slice = (Slice){ 0 };
  if (overlapping_is_due(c, family, era)) {
    if (!round_holds(&family->round, era)) TRY(begin_round(&family->round, era));
    slice_of_round(&family->round, era, slice);
  } else {
    slice->first = wasteful_in_level(c, era);
    slice->end = slice->first + 1;
  }
  return KVSTORE_OK;
}

static Status merge_layers(Compaction *c, const Era *era, const Slice *slice, const MergeLayer *layers, uint32_t count,
                           RunList *list) {
  MergeOptions options = { .lower = slice->lower, .upper = slice->upper };
  options.now_ms = INT64_MIN;
  MergeCursor cursor;
  TRY(merge_cursor_open(&cursor, layers, count, &options));
  Status status = merge_cursor_first(&cursor);
  if (status == KVSTORE_OK) status = rows_to_run(c->store, &cursor, c->job, 1, run_bytes(era), c->expired_before, list);
  merge_cursor_close(&cursor);
  return status;
}

static Status merge_slice(Compaction *c, const Era *era, const Slice *slice, RunList *list) {
  uint32_t overlapping = overlapping_count(era), runs = slice->end - slice->first, count = 0;
  MergeLayer *layers = memory_allocate_zeroed((slice->round_count + 1) * sizeof *layers);
  RowRun **level_runs = memory_allocate((runs + 1) * sizeof *level_runs);
  RowLevel level = { 0 };
  Status status = layers && level_runs ? KVSTORE_OK : status_nomem();
  for (uint32_t i = 0; i < slice->round_count && layers; i++)
    layers[count++].run = era->runs[overlapping - slice->round_count + i].run->rows;
  for (uint32_t i = 0; i < runs && level_runs; i++) level_runs[i] = era->runs[slice->first + i].run->rows;
  if (status == KVSTORE_OK && runs) status = row_level_init(&level, level_runs, runs);
  if (status == KVSTORE_OK && level.count) layers[count++].level = &level;
  if (status == KVSTORE_OK) status = merge_layers(c, era, slice, layers, count, list);
  row_level_release(&level);
  memory_release((void *)level_runs);
  memory_release(layers);
  return status;
}

static Status keep_runs(const Era *era, uint32_t from, uint32_t to, RunList *list) {
  for (uint32_t i = from; i < to; i++) TRY(run_list_add(list, &era->runs[i].run->entry));
  return KVSTORE_OK;
}

/* Where the next slice begins. Who publishes this one ends the round when that fails. */
static Status step_round(MergeRound *round, const Slice *slice) {
  buffer_clear(&round->next);
  if (slice->last) {
    round->run_count = 0;
    return KVSTORE_OK;
  }
  buffer_append(&round->next, slice->upper.data, slice->upper.length);
  return buffer_status(&round->next);
}

Status kv_compact(Compaction *c, Family *family, const Era *era, RunList *list) {
  Slice slice;
  uint32_t overlapping = overlapping_count(era);
  TRY(choose_slice(c, family, era, &slice));
  TRY(keep_runs(era, 0, slice.last ? overlapping - slice.round_count : overlapping, list));
  TRY(keep_runs(era, overlapping, slice.first, list));
  TRY(merge_slice(c, era, &slice, list));
  TRY(keep_runs(era, slice.end, era->run_count, list));
  return slice.round_count ? step_round(&family->round, &slice) : KVSTORE_OK;
}
