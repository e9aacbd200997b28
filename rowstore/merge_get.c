/* merge_get.c - levels, and point reads through the layers of a family. */
#include "rowstore/merge.h"

#include <string.h>

#include "base/limits.h"
#include "base/memory.h"

/* ---- levels ---- */

static uint64_t head_from(Bytes key, size_t skip) {
  return key.length > skip ? bytes_prefix64(key.data + skip, key.length - skip) : 0;
}

static Status check_level(const RowLevel *level) {
  for (uint32_t i = 1; i < level->count; i++) {
    Bytes last = row_run_summary(level->runs[i - 1])->last_key, first = row_run_summary(level->runs[i])->first_key;
    if (bytes_compare(last.data, last.length, first.data, first.length) >= 0)
      return status_fail(KVSTORE_CORRUPT, "runs %u and %u of a level overlap", i - 1, i);
  }
  return KVSTORE_OK;
}

static void fill_heads(RowLevel *level) {
  Bytes first = row_run_summary(level->runs[0])->first_key,
        last = row_run_summary(level->runs[level->count - 1])->last_key;
  size_t limit = first.length < last.length ? first.length : last.length, common = 0;
  while (common < limit && first.data[common] == last.data[common]) common++;
  level->common = (uint32_t)common;
  for (uint32_t i = 0; i < level->count; i++)
    level->heads[i] = head_from(row_run_summary(level->runs[i])->first_key, common);
}

Status row_level_init(RowLevel *level, RowRun *const *runs, uint32_t count) {
  RowLevel l = { 0 };
  l.runs = memory_allocate(memory_array_size(count, sizeof(RowRun *)));
  l.heads = memory_allocate(memory_array_size(count, sizeof *l.heads));
  Status status = l.runs && l.heads ? KVSTORE_OK : status_nomem();
  if (status == KVSTORE_OK) {
    for (uint32_t i = 0; i < count; i++)
      if (row_run_summary(runs[i])->row_count) l.runs[l.count++] = runs[i];
    status = check_level(&l);
  }
  if (status != KVSTORE_OK) {
    row_level_release(&l);
    return status;
  }
  if (l.count) fill_heads(&l);
  *level = l;
  return KVSTORE_OK;
}

void row_level_release(RowLevel *level) {
  memory_release((void *)level->runs);
  memory_release(level->heads);
  *level = (RowLevel){ 0 };
}

/* How many runs begin at or before the key, which agrees with all of them in `common` bytes. */
static uint32_t runs_before(const RowLevel *level, Bytes key) {
  uint64_t head = head_from(key, level->common);
  uint32_t low = 0, high = level->count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    bool before = level->heads[middle] < head;
    if (level->heads[middle] == head) {
      Bytes first = row_run_summary(level->runs[middle])->first_key;
      before = bytes_compare(first.data, first.length, key.data, key.length) <= 0;
    }
    if (before)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

uint32_t row_level_find(const RowLevel *level, const void *key, size_t length) {
  if (!level->count) return UINT32_MAX;
  if (level->common) { /* a key beside what all share stands before or behind all of them */
    const uint8_t *shared = row_run_summary(level->runs[0])->first_key.data;
    size_t limit = length < level->common ? length : level->common;
    int order = memcmp(key, shared, limit);
    if (order < 0 || (order == 0 && length < level->common)) return UINT32_MAX;
    if (order > 0) return level->count - 1;
  }
  uint32_t before = runs_before(level, (Bytes){ key, length });
  return before ? before - 1 : UINT32_MAX;
}

/* ---- point reads ---- */

enum { PREFETCHED_LAYERS = 32 }; /* those beyond are looked up without */

/* The run of a layer that can hold the key, NULL: none. */
static const RowRun *layer_run(const MergeLayer *layer, const void *key, size_t key_length) {
  if (layer->run) return layer->run;
  uint32_t at = row_level_find(layer->level, key, key_length);
  return at == UINT32_MAX ? NULL : layer->level->runs[at];
}

static void prefetch_layers(const MergeLayer *layers, uint32_t count, uint64_t hash, const void *key, size_t key_length,
                            const RowRun **runs) {
  for (uint32_t i = 0; i < count && i < PREFETCHED_LAYERS; i++) {
    runs[i] = NULL;
    if (layers[i].delta) {
      kv_delta_prefetch(layers[i].delta, hash);
      continue;
    }
    runs[i] = layer_run(&layers[i], key, key_length);
    if (runs[i]) row_run_prefetch(runs[i], hash);
  }
}

static DeltaState get_from_delta(const MergeLayer *layer, uint64_t hash, const void *key, size_t key_length,
                                 MergeRow *row) {
  KvRow found;
  DeltaState state = kv_delta_find(layer->delta, hash, key, key_length, layer->snapshot, &found);
  if (state != DELTA_FOUND) return state;
  row->view =
    (RowView){ .key = { key, key_length }, .value = found.value, .expiry = found.expiry, .position = found.row };
  row->sequence = found.sequence;
  row->run = NULL;
  return state;
}

static Status get_from_run(const RowRun *run, uint64_t hash, const void *key, size_t key_length, MergeRow *row,
                           DeltaState *state) {
  bool found;
  *state = DELTA_ABSENT;
  TRY(row_run_get(run, hash, key, key_length, &row->view, &row->pin, &found));
  if (!found) return KVSTORE_OK;
  row->run = run;
  row->sequence = 0;
  *state = row->view.tombstone ? DELTA_DELETED : DELTA_FOUND;
  if (row->view.tombstone) row_pin_release(&row->pin);
  return KVSTORE_OK;
}

Status merge_get(const MergeLayer *layers, uint32_t count, uint64_t hash, const void *key, size_t key_length,
                 int64_t now_ms, MergeRow *row, DeltaState *state) {
  const RowRun *runs[PREFETCHED_LAYERS];
  row->pin = row->value_pin = (RowPin){ 0 };
  *state = DELTA_ABSENT;
  prefetch_layers(layers, count, hash, key, key_length, runs);
  for (uint32_t i = 0; i < count && *state == DELTA_ABSENT; i++) {
    row->layer = i;
    if (layers[i].delta) {
      *state = get_from_delta(&layers[i], hash, key, key_length, row);
      continue;
    }
    const RowRun *run = i < PREFETCHED_LAYERS ? runs[i] : layer_run(&layers[i], key, key_length);
    if (run) TRY(get_from_run(run, hash, key, key_length, row, state));
  }
  if (*state == DELTA_FOUND) row->expired = row->view.expiry <= now_ms && row->view.expiry != EXPIRY_NEVER;
  return KVSTORE_OK;
}

Status merge_row_value_outside(MergeRow *row, Bytes *value) {
  row_pin_release(&row->value_pin);
  return row_run_value(row->run, &row->view, value, &row->value_pin);
}

void merge_row_release(MergeRow *row) {
  row_pin_release(&row->pin);
  row_pin_release(&row->value_pin);
}
