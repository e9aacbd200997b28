/* compact_kv.c - kv families: overlapping runs into the level of key-disjoint ones, slice by slice (DESIGN 9).
 *
 *   overlapping runs, newest first    |----------------|   |-----------|       the round: all that there were when it
 *                                         |-------------------|                began; newer ones come on top
 *   the level, in key order           |---|----|-----|----|---|----|
 *                                          ^^^^^^ a slice: some of the level's runs, and the round's rows there
 *
 * A slice is merged and published before the next begins, so that a merge needs the room of one slice beside what is
 * there, and a flush may come between. The round's runs stay until its last slice: until then some of their rows lie
 * in the level, too, which changes no answer. How far a round has come is known to this process alone; who comes after
 * it begins the round again, and merges to the same.
 *
 * A slice ends early when the round has very many rows there: what is left of the level's runs is copied, and the next
 * slice begins at the key where this one stopped. */
#include "engine/compact_internal.h"

#include <string.h>

#include "base/counters.h"
#include "base/memory.h"

enum {
  OVERLAPPING_SHARE = 4, /* overlapping runs may hold that part of what the level does, and some of the log */
  RUN_SHARE = 16,        /* a run of the level, and so a slice, is that part of the family */
  CALLED_SHARE = 8,      /* who calls for merges pays at most that many times what they take in, and once more */
  PIECE_SHARE = 8,       /* and a piece that part of a run: what is freed has room for what comes */
  SLICE_RUNS_MAX = 3,
};
static const uint64_t run_bytes_least = 1u << 20, run_bytes_most = 16u << 20, piece_bytes_least = 256u << 10;

/* ---- sizes ---- */

static uint32_t overlapping_count(const Era *era) { return era->run_count - era->disjoint_count; }

/* Adopted runs that no manifest names yet: they lie on top, and none of this is theirs. */
static uint32_t adopted_count(const Era *era) {
  uint32_t count = 0;
  while (count < era->run_count && era->runs[count].since) count++;
  return count;
}

static uint64_t bytes_of(const Era *era, uint32_t from, uint32_t to) {
  uint64_t bytes = 0;
  for (uint32_t i = from; i < to; i++) bytes += era->runs[i].run->entry.data_bytes;
  return bytes;
}

static uint64_t level_bytes(const Era *era) { return bytes_of(era, overlapping_count(era), era->run_count); }

uint64_t kv_bytes(const Era *era) { return bytes_of(era, 0, era->run_count); }

static uint64_t between(uint64_t value, uint64_t least, uint64_t most) {
  return value < least ? least : value > most ? most : value;
}

/* A small log is that of a small store. */
static uint64_t least_run_bytes(const Store *store) {
  return store->log_bytes / 4 < run_bytes_least ? store->log_bytes / 4 : run_bytes_least;
}

uint64_t kv_overlapping_bytes_max(const Store *store, const Era *era) {
  uint64_t share = level_bytes(era) / OVERLAPPING_SHARE;
  return share + between(share, least_run_bytes(store), store->log_bytes / 2);
}

/* A run of the level is large enough to be few and small enough to be rewritten alone. */
RunShape kv_run_shape(const Store *store, uint64_t family_bytes, uint32_t level) {
  uint64_t bytes = between(family_bytes / RUN_SHARE, least_run_bytes(store), run_bytes_most);
  RunShape shape = { .level = level, .bytes_max = level ? bytes : UINT64_MAX };
  shape.piece_bytes = (uint32_t)between(bytes / PIECE_SHARE, piece_bytes_least, ROW_PIECE_BYTES);
  return shape;
}

/* ---- what is due ---- */

static const RowRunSummary *summary_of(const Era *era, uint32_t i) { return row_run_summary(era->runs[i].run->rows); }

static int compare_keys(Bytes a, Bytes b) { return bytes_compare(a.data, a.length, b.data, b.length); }

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
  if (!round->run_count || round->run_count > overlapping - adopted_count(era)) return false;
  for (uint32_t i = 0; i < round->run_count; i++)
    if (era->runs[overlapping - round->run_count + i].run->entry.number != round->runs[i]) return false;
  return true;
}

uint32_t kv_runs_in_round(const Family *family, const Era *era) {
  return round_holds(&family->round, era) ? family->round.run_count : 0;
}

/* What a whole level is merged for must not be small beside it. */
static bool overlapping_is_due(const Compaction *c, const Family *family, const Era *era) {
  uint32_t end = overlapping_count(era), first = adopted_count(era), overlapping = end - first;
  uint64_t bytes = bytes_of(era, first, end), small = level_bytes(era) / KV_SMALL_SHARE, wasted = 0;
  if (!overlapping) return false;
  if (round_holds(&family->round, era)) return true;
  for (uint32_t i = first; i < end; i++)
    wasted += is_wasteful(c, era->runs[i].run) ? era->runs[i].run->entry.data_bytes : 0;
  bool layers = overlapping + (era->disjoint_count > 0) > 1;
  if (c->thorough) return wasted || layers;
  if (c->by_call && layers && bytes >= level_bytes(era) / CALLED_SHARE) return true;
  if (bytes > kv_overlapping_bytes_max(c->store, era)) return true;
  return (overlapping > KV_OVERLAPPING_MAX && bytes >= small) || (wasted && wasted >= small);
}

bool kv_is_due(const Compaction *c, const Family *family, const Era *era) {
  return overlapping_is_due(c, family, era) || wasteful_in_level(c, era) < era->run_count;
}

/* What part of the level the round has behind it. */
static double round_done(const MergeRound *round, const Era *era) {
  Bytes next = { round->next.data, round->next.length };
  uint32_t i = overlapping_count(era);
  while (i < era->run_count && compare_keys(summary_of(era, i)->last_key, next) < 0) i++;
  uint64_t level = level_bytes(era);
  return level ? (double)bytes_of(era, overlapping_count(era), i) / (double)level : 0;
}

/* While a round is under way, a quarter of what begins one may come on top, in step with the round. */
bool kv_merge_lags(const Store *store, const Family *family, const Era *era) {
  double max = (double)kv_overlapping_bytes_max(store, era);
  uint32_t round = kv_runs_in_round(family, era);
  double fresh = (double)bytes_of(era, 0, overlapping_count(era) - round);
  if (!round) return fresh > max + max / 8;
  return fresh > max / 8 + max / 4 * round_done(&family->round, era);
}

/* Runs that writers adopt do not wait for the log to have room. Half of the family and a log may lie on top of it. */
bool kv_merge_is_far_behind(const Store *store, const Era *era) {
  uint64_t base = level_bytes(era), all = kv_bytes(era);
  for (uint32_t i = 0; i < era->run_count && !era->disjoint_count; i++)
    if (era->runs[i].run->entry.data_bytes > base) base = era->runs[i].run->entry.data_bytes;
  return all - base > base / 2 + store->log_bytes;
}

/* ---- slices ---- */

typedef struct Slice {
  uint32_t round_count; /* so many of the oldest overlapping runs take part; 0: the level's runs alone */
  uint32_t first, end;  /* of the level's runs, as run layers */
  Bytes lower, upper;   /* data NULL: no bound */
  bool last;            /* the round's runs go, unless it stops early */
  Buffer stop;          /* the key where it did; empty: it has merged all of the slice */
} Slice;

static Status begin_round(MergeRound *round, const Era *era) {
  uint32_t overlapping = overlapping_count(era), named = overlapping - adopted_count(era);
  round->run_count = named < ROUND_RUNS_MAX ? named : ROUND_RUNS_MAX;
  round->reclaimed = 0;
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
static void slice_of_round(const Compaction *c, const MergeRound *round, const Era *era, Slice *slice) {
  uint64_t bytes = 0, wanted = kv_run_shape(c->store, kv_bytes(era), 1).bytes_max;
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
    slice_of_round(c, &family->round, era, slice);
  } else {
    slice->first = wasteful_in_level(c, era);
    slice->end = slice->first + 1;
  }
  return KVSTORE_OK;
}

static Status merge_between(Compaction *c, const MergeLayer *layers, uint32_t count, const MergeOptions *bounds,
                            const RunShape *shape, Buffer *stop, RunList *list) {
  MergeOptions options = *bounds;
  options.now_ms = INT64_MIN;
  MergeCursor cursor;
  TRY(merge_cursor_open(&cursor, layers, count, &options));
  Status status = merge_cursor_first(&cursor);
  if (status == KVSTORE_OK) status = rows_to_run(c->store, &cursor, c->job, shape, c->expired_before, list);
  if (status == KVSTORE_OK && cursor.valid) {
    buffer_append(stop, cursor.row.view.key.data, cursor.row.view.key.length);
    status = buffer_status(stop);
  }
  merge_cursor_close(&cursor);
  return status;
}

/* `layers`: the round's, and behind them the level's, if the slice has any. */
static Status merge_layers(Compaction *c, const Era *era, Slice *slice, const MergeLayer *layers, uint32_t count,
                           RunList *list) {
  MergeOptions bounds = { .lower = slice->lower, .upper = slice->upper };
  RunShape shape = kv_run_shape(c->store, kv_bytes(era), 1);
  if (slice->round_count) shape.runs_max = SLICE_RUNS_MAX;
  TRY(merge_between(c, layers, count, &bounds, &shape, &slice->stop, list));
  if (slice->stop.length) COUNT(merges_stopped_early);
  if (!slice->stop.length || count == slice->round_count) return KVSTORE_OK;
  bounds.lower = (Bytes){ slice->stop.data, slice->stop.length };
  shape.runs_max = 0;
  return merge_between(c, &layers[slice->round_count], 1, &bounds, &shape, &slice->stop, list);
}

static Status merge_slice(Compaction *c, const Era *era, Slice *slice, RunList *list) {
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

static bool is_last(const Slice *slice) { return slice->last && !slice->stop.length; }

/* Where the next slice begins. Who publishes this one ends the round when that fails. With the last one go the round's
 * copies of all rows that any of its slices has left behind. */
static Status step_round(MergeRound *round, const Slice *slice, RunList *list) {
  Bytes next = slice->stop.length ? (Bytes){ slice->stop.data, slice->stop.length } : slice->upper;
  round->reclaimed += list->reclaimed;
  buffer_clear(&round->next);
  if (is_last(slice)) {
    list->reclaimed = round->reclaimed;
    round->run_count = 0;
    return KVSTORE_OK;
  }
  buffer_append(&round->next, next.data, next.length);
  return buffer_status(&round->next);
}

static Status list_after(const Era *era, const Slice *slice, const RunList *merged, RunList *list) {
  uint32_t overlapping = overlapping_count(era);
  TRY(keep_runs(era, adopted_count(era), is_last(slice) ? overlapping - slice->round_count : overlapping, list));
  TRY(keep_runs(era, overlapping, slice->first, list));
  for (uint32_t i = 0; i < merged->count; i++) TRY(run_list_add(list, &merged->runs[i]));
  list->reclaimed = merged->reclaimed;
  return keep_runs(era, slice->end, era->run_count, list);
}

Status kv_compact(Compaction *c, Family *family, const Era *era, RunList *list) {
  Slice slice;
  RunList merged = { .arena = list->arena, .packing = list->packing };
  TRY(choose_slice(c, family, era, &slice));
  Status status = merge_slice(c, era, &slice, &merged);
  if (status == KVSTORE_OK) status = list_after(era, &slice, &merged, list);
  if (status == KVSTORE_OK && slice.round_count) status = step_round(&family->round, &slice, list);
  run_list_release(&merged);
  buffer_release(&slice.stop);
  return status;
}
