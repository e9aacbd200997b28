/* table_state.c - which rows of a table's runs are dead at a snapshot: the deleted sets that locators make (VIS-4;
 * DESIGN 8). Locators are the truth, a DeadState is a cache of them for one shape of an era and one sequence. */
#include "engine/table_state.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/counters.h"
#include "base/memory.h"

/* ---- rows of runs ---- */

static bool contains(const uint32_t *positions, size_t count, uint32_t position) {
  size_t low = 0, high = count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (positions[middle] < position)
      low = middle + 1;
    else
      high = middle;
  }
  return low < count && positions[low] == position;
}

bool era_run_row_is_dead(const Era *era, uint32_t layer, uint32_t position, uint64_t sequence) {
  const RunLayer *run = &era->runs[layer];
  if (deleted_set_contains(run->deleted, position_segment(position), position_row(position))) return true;
  for (uint32_t i = 0; i < era->run_count && era->runs[i].since; i++) {
    const AdoptedDeletes *a = era->runs[i].replaced;
    if (!a || era->runs[i].since > sequence) continue;
    for (uint32_t r = 0; r < a->run_count; r++)
      if (a->runs[r].number == run->run->entry.number && contains(a->runs[r].positions, a->runs[r].count, position))
        return true;
  }
  return false;
}

Status era_find_in_runs(Era *era, Bytes key, uint64_t hash, uint64_t sequence, uint64_t after, uint64_t *locator,
                        uint32_t *layer) {
  *locator = LOCATOR_NONE;
  for (uint32_t i = 0; i < era->run_count; i++) {
    if (era->runs[i].since > sequence || (after && era->runs[i].since <= after)) continue;
    Locator at;
    bool found;
    TRY(column_run_find(era->runs[i].run->columns, key, hash, &at, &found));
    if (!found) continue;
    uint64_t word = locator_pack(at);
    if (era_run_row_is_dead(era, i, locator_position(word), sequence)) continue;
    *locator = word;
    *layer = i;
    return KVSTORE_OK;
  }
  return KVSTORE_OK;
}

/* ---- states ---- */

DeadState *dead_state_retain(DeadState *state) {
  atomic_fetch_add_explicit(&state->references, 1, memory_order_relaxed);
  return state;
}

void dead_state_release(DeadState *state) {
  if (!state || atomic_fetch_sub_explicit(&state->references, 1, memory_order_acq_rel) != 1) return;
  for (uint32_t i = 0; i < state->run_count; i++) deleted_set_release(state->sets[i]);
  memory_release(state->units);
  memory_release(state);
}

uint64_t dead_state_memory(const DeadState *state) {
  return sizeof *state + state->run_count * sizeof(DeletedSet *) + state->delta_count * sizeof(uint32_t) +
         state->unit_count * sizeof *state->units;
}

static DeadState *state_allocate(const Era *era, uint64_t sequence) {
  size_t sets = memory_array_size(era->run_count, sizeof(DeletedSet *));
  DeadState *state = memory_allocate_zeroed(sizeof *state + sets + era->delta_count * sizeof(uint32_t));
  if (!state) return NULL;
  atomic_init(&state->references, 1);
  state->sequence = sequence;
  state->run_count = era->run_count;
  state->delta_count = era->delta_count;
  state->rows_done = (uint32_t *)(void *)(state->sets + era->run_count);
  return state;
}

/* ---- the positions that a state lacks ---- */

typedef struct RunNumber {
  uint32_t number, layer;
} RunNumber;

typedef struct Positions {
  uint32_t *rows;
  size_t count, capacity;
} Positions;

typedef struct DeadWork {
  const Era *era;
  RunNumber *numbers;   /* by number */
  Positions *positions; /* by run layer */
  const RunNumber *last;
} DeadWork;

static int by_number(const void *a, const void *b) {
  uint32_t x = ((const RunNumber *)a)->number, y = ((const RunNumber *)b)->number;
  return (x > y) - (x < y);
}

static void work_release(DeadWork *w) {
  for (uint32_t i = 0; w->positions && i < w->era->run_count; i++) memory_release(w->positions[i].rows);
  memory_release(w->numbers);
  memory_release(w->positions);
}

static Status work_start(DeadWork *w, const Era *era) {
  memset(w, 0, sizeof *w);
  w->era = era;
  w->numbers = memory_allocate_zeroed(memory_array_size(era->run_count, sizeof *w->numbers));
  w->positions = memory_allocate_zeroed(memory_array_size(era->run_count, sizeof *w->positions));
  if (!w->numbers || !w->positions) return status_nomem();
  for (uint32_t i = 0; i < era->run_count; i++) w->numbers[i] = (RunNumber){ era->runs[i].run->entry.number, i };
  if (era->run_count) qsort(w->numbers, era->run_count, sizeof *w->numbers, by_number);
  return KVSTORE_OK;
}

static Status add_position(DeadWork *w, uint32_t number, uint32_t position) {
  RunNumber wanted = { number, 0 };
  if (!w->last || w->last->number != number)
    w->last = bsearch(&wanted, w->numbers, w->era->run_count, sizeof *w->numbers, by_number);
  ASSERT(w->last != NULL, "ENG-10"); /* locators belong to the era's own runs */
  Positions *p = &w->positions[w->last->layer];
  if (p->count == p->capacity) TRY(memory_grow(&p->rows, &p->capacity, p->count + 1, sizeof *p->rows));
  p->rows[p->count++] = position;
  return KVSTORE_OK;
}

static Status add_adopted(DeadWork *w, uint64_t after, uint64_t sequence) {
  for (uint32_t i = 0; i < w->era->run_count && w->era->runs[i].since; i++) {
    const AdoptedDeletes *a = w->era->runs[i].replaced;
    if (!a || w->era->runs[i].since <= after || w->era->runs[i].since > sequence) continue;
    for (uint32_t r = 0; r < a->run_count; r++)
      for (size_t p = 0; p < a->runs[r].count; p++) TRY(add_position(w, a->runs[r].number, a->runs[r].positions[p]));
  }
  return KVSTORE_OK;
}

/* The rows of one delta from `row` on; *done is where the snapshot ends. */
static Status add_delta_rows(DeadWork *w, const DeltaLayer *layer, uint32_t row, uint64_t sequence, uint32_t *done) {
  const TableDelta *delta = layer->delta->table;
  const Locators *l = layer->locators;
  uint32_t end = atomic_load_explicit(&l->resolved, memory_order_acquire);
  for (; row < end; row++) {
    if (table_delta_dead_at(delta, row) == DEAD_ROLLED_BACK) continue;
    if (table_delta_sequence(delta, row) > sequence) break;
    const uint64_t *words = atomic_load_explicit(&l->slabs[table_slab_of(row)], memory_order_acquire);
    uint64_t word = words[table_slab_offset(row)];
    if (locator_is_row(word)) TRY(add_position(w, locator_unpack(word).run, locator_position(word)));
  }
  *done = row;
  return KVSTORE_OK;
}

static Status add_missing(DeadWork *w, const DeadState *base, DeadState *to) {
  TRY(add_adopted(w, base->sequence, to->sequence));
  for (uint32_t i = 0; i < w->era->delta_count; i++)
    TRY(add_delta_rows(w, &w->era->deltas[i], base->rows_done[i], to->sequence, &to->rows_done[i]));
  return KVSTORE_OK;
}

/* Segments without a row that has died since are shared with the base. */
static Status make_sets(const DeadWork *w, const DeadState *base, DeadState *to) {
  for (uint32_t i = 0; i < w->era->run_count; i++) {
    const Positions *p = &w->positions[i];
    if (!p->count)
      to->sets[i] = deleted_set_retain(base->sets[i]);
    else
      TRY(deleted_set_add_many(base->sets[i], w->era->runs[i].run->columns->segment_count, p->rows, p->count,
                               &to->sets[i]));
  }
  return KVSTORE_OK;
}

static Status state_extend(const Era *era, const DeadState *base, uint64_t sequence, DeadState **out) {
  DeadWork w;
  DeadState *to = state_allocate(era, sequence);
  Status status = to ? work_start(&w, era) : status_nomem();
  if (!to) return status;
  if (status == KVSTORE_OK) status = add_missing(&w, base, to);
  if (status == KVSTORE_OK) status = make_sets(&w, base, to);
  work_release(&w);
  if (status == KVSTORE_OK)
    *out = to;
  else
    dead_state_release(to);
  return status;
}

/* What the manifest says: before every row of the deltas, and every adopted run. */
static DeadState *state_of_manifest(const Era *era) {
  DeadState *state = state_allocate(era, 0);
  for (uint32_t i = 0; state && i < era->run_count; i++) state->sets[i] = deleted_set_retain(era->runs[i].deleted);
  if (state) COUNT(dead_states_begun);
  return state;
}

/* Nothing has died between it and a snapshot that is not older. All rows up to there are resolved. */
static bool state_is_good_at(const Era *era, const DeadState *state, uint64_t sequence) {
  if (state->sequence == sequence) return true;
  for (uint32_t i = 0; i < era->run_count && era->runs[i].since; i++)
    if (era->runs[i].since > state->sequence && era->runs[i].since <= sequence) return false;
  for (uint32_t i = 0; i < era->delta_count; i++) {
    const TableDelta *delta = era->deltas[i].delta->table;
    uint32_t row = state->rows_done[i];
    if (row >= table_delta_row_count(delta)) continue;
    /* behind rows that were rolled back, sequences begin anew */
    bool rolled_back = table_delta_dead_at(delta, row) == DEAD_ROLLED_BACK;
    if (rolled_back || table_delta_sequence(delta, row) <= sequence) return false;
  }
  return true;
}

/* ---- the cache ---- */

/* The state at `place` becomes the one that was used last. */
static DeadState *cache_use(DeadCache *cache, uint32_t place) {
  DeadState *state = cache->states[place];
  memmove(cache->states + 1, cache->states, place * sizeof(DeadState *));
  return cache->states[0] = state;
}

/* The newest state that is not newer than the snapshot, or NULL. */
static DeadState *cache_find(DeadCache *cache, uint64_t sequence) {
  uint32_t best = DEAD_STATES_MAX;
  for (uint32_t i = 0; i < DEAD_STATES_MAX && cache->states[i]; i++) {
    if (cache->states[i]->sequence > sequence) continue;
    if (best == DEAD_STATES_MAX || cache->states[i]->sequence > cache->states[best]->sequence) best = i;
  }
  return best < DEAD_STATES_MAX ? cache_use(cache, best) : NULL;
}

/* In the place of the one that was not used for longest. */
static void cache_keep(DeadCache *cache, DeadState *state) {
  dead_state_release(cache->states[DEAD_STATES_MAX - 1]);
  cache->states[DEAD_STATES_MAX - 1] = dead_state_retain(state);
  cache_use(cache, DEAD_STATES_MAX - 1);
  uint64_t rows = 0;
  for (uint32_t i = 0; i < state->delta_count; i++) rows += state->rows_done[i];
  if (rows > atomic_load_explicit(&cache->rows_done, memory_order_relaxed))
    atomic_store_explicit(&cache->rows_done, rows, memory_order_relaxed);
}

static Status state_at(Era *era, uint64_t sequence, bool own_transaction, DeadState **out) {
  DeadCache *cache = era->dead;
  DeadState *base = cache_find(cache, sequence);
  if (base) {
    dead_state_retain(base);
  } else {
    base = state_of_manifest(era);
    if (!base) return status_nomem();
    if (!own_transaction) cache_keep(cache, base);
  }
  if (state_is_good_at(era, base, sequence)) {
    *out = base;
    return KVSTORE_OK;
  }
  Status status = state_extend(era, base, sequence, out);
  if (status == KVSTORE_OK && !own_transaction) cache_keep(cache, *out);
  dead_state_release(base);
  return status;
}

Status era_dead(Era *era, uint64_t sequence, bool own_transaction, DeadState **out) {
  TRY(era_resolve(era, sequence));
  mutex_lock(&era->dead->lock);
  Status status = state_at(era, sequence, own_transaction, out);
  mutex_unlock(&era->dead->lock);
  return status;
}

/* ---- as units of a scan ---- */

static uint32_t add_segments(const Era *era, const DeadState *state, uint32_t layer, ScanUnit *units) {
  ColumnRun *run = era->runs[layer].run->columns;
  for (uint32_t s = 0; s < run->segment_count; s++) {
    units[s] = (ScanUnit){ .kind = SCAN_UNIT_SEGMENT, .row_count = column_run_segment(run, s)->row_count };
    units[s].run = run;
    units[s].segment = s;
    units[s].deleted = state->sets[layer];
  }
  return run->segment_count;
}

/* No run has come between the state and any snapshot that it is good at. */
static bool is_there(const Era *era, const DeadState *state, uint32_t layer) {
  return era->runs[layer].since <= state->sequence;
}

uint32_t era_segment_count(const Era *era, const DeadState *state) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < era->run_count; i++)
    if (is_there(era, state, i)) count += era->runs[i].run->columns->segment_count;
  return count;
}

void era_list_segments(const Era *era, const DeadState *state, ScanUnit *units) {
  uint32_t count = 0;
  for (uint32_t i = era->run_count; i-- > 0;) /* the oldest first: about the order of insertion */
    if (is_there(era, state, i)) count += add_segments(era, state, i, units + count);
}

static Status make_units(const Era *era, DeadState *state) {
  uint32_t count = era_segment_count(era, state);
  state->units = memory_allocate(memory_array_size(count, sizeof *state->units));
  if (!state->units) return status_nomem();
  state->unit_count = count;
  era_list_segments(era, state, state->units);
  COUNT(snapshot_units_made);
  return KVSTORE_OK;
}

Status era_segments(Era *era, DeadState *state, const ScanUnit **units) {
  mutex_lock(&era->dead->lock);
  Status status = state->units ? KVSTORE_OK : make_units(era, state);
  *units = state->units;
  mutex_unlock(&era->dead->lock);
  return status;
}

/* ---- when the era changes ---- */

static DeadState *newest_state(const DeadCache *cache) {
  DeadState *newest = NULL;
  for (uint32_t i = 0; i < DEAD_STATES_MAX && cache->states[i]; i++)
    if (!newest || cache->states[i]->sequence > newest->sequence) newest = cache->states[i];
  return newest;
}

static DeletedSet *set_of_run(const Era *era, const DeadState *state, const RunLayer *layer) {
  for (uint32_t i = 0; i < era->run_count; i++)
    if (era->runs[i].run->entry.number == layer->run->entry.number) return state->sets[i];
  return layer->deleted;
}

static uint32_t rows_of_delta(const Era *era, const DeadState *state, const DeltaHandle *delta) {
  for (uint32_t i = 0; i < era->delta_count; i++)
    if (era->deltas[i].delta == delta) return state->rows_done[i];
  return 0;
}

/* No row that the state knows replaces one of a run that the former era did not have: such a run came later. */
Status dead_cache_carry(const Era *from, Era *to) {
  to->dead = dead_cache_create();
  if (!to->dead) return status_nomem();
  mutex_lock(&from->dead->lock);
  DeadState *newest = newest_state(from->dead), *state = NULL;
  if (newest) state = state_allocate(to, newest->sequence);
  for (uint32_t i = 0; state && i < to->run_count; i++)
    state->sets[i] = deleted_set_retain(set_of_run(from, newest, &to->runs[i]));
  for (uint32_t i = 0; state && i < to->delta_count; i++)
    state->rows_done[i] = rows_of_delta(from, newest, to->deltas[i].delta);
  mutex_unlock(&from->dead->lock);
  if (newest && !state) return status_nomem();
  if (state) cache_keep(to->dead, state);
  dead_state_release(state);
  return KVSTORE_OK;
}

/* ---- before anybody asks ---- */

static uint64_t rows_not_in_sets(const Era *era) {
  uint64_t rows = 0, done = atomic_load_explicit(&era->dead->rows_done, memory_order_relaxed);
  for (uint32_t i = 0; i < era->delta_count; i++) rows += table_delta_row_count(era->deltas[i].delta->table);
  return rows > done ? rows - done : 0;
}

Status era_advance(Era *era, uint64_t sequence) {
  TRY(era_resolve(era, sequence));
  if (rows_not_in_sets(era) <= UNRESOLVED_MAX) return KVSTORE_OK;
  DeadState *state;
  TRY(era_dead(era, sequence, false, &state));
  dead_state_release(state);
  return KVSTORE_OK;
}

static Status advance_all(const Version *v, uint64_t sequence, uint64_t *unresolved) {
  *unresolved = 0;
  for (uint32_t i = 0; i < v->family_count; i++) {
    if (v->families[i]->family->kind != FAMILY_TABLE) continue;
    Era *era = family_state_era(v->families[i], sequence);
    if (!era) continue;
    TRY(era_advance(era, sequence));
    *unresolved += era_rows_unresolved(era);
  }
  return KVSTORE_OK;
}

/* What is still unresolved then, rows of an open transaction, goes on waiting. */
Status tables_advance(Store *store, const Version *v, uint64_t sequence) {
  mutex_lock(&store->advance_lock);
  uint64_t waiting = atomic_load_explicit(&store->rows_waiting, memory_order_relaxed), unresolved;
  Status status = advance_all(v, sequence, &unresolved);
  if (status == KVSTORE_OK && waiting > unresolved)
    atomic_fetch_sub_explicit(&store->rows_waiting, waiting - unresolved, memory_order_relaxed);
  mutex_unlock(&store->advance_lock);
  return status;
}
