/* table_state.h - which rows of a table's runs are dead: locators, and the deleted sets made from them (VIS-4, VIS-5).
 *
 *   row of a delta ──locator──► row of a run         the truth; a word a row, written once (locators.c)
 *   all locators up to a sequence ──► DeadState      a cache of it: a deleted set a run (table_state.c)
 *
 * Who writes resolves: behind a commit at most UNRESOLVED_MAX keys wait for a reader (ENG-15, ENG-16), inside an open
 * transaction four times as many. */
#ifndef COLONNADE_ENGINE_TABLE_STATE_H
#define COLONNADE_ENGINE_TABLE_STATE_H

#include "engine/engine_internal.h"

/* ---- locators ---- */

/* Where the rows of one delta have their older row in a run: a word a row (columnar/locator.h). Belongs to one set of
 * runs: when these change, each delta gets a new one (VIS-5). Entries below `resolved` are published. */
typedef struct Locators {
  _Atomic uint32_t references;
  Mutex lock; /* who resolves */
  _Atomic uint32_t resolved;
  _Atomic(uint64_t *) *slabs; /* of DELTA_SLAB_ROWS words */
} Locators;
enum { LOCATOR_SLABS_MAX = 32768 };
#define LOCATOR_UNKNOWN  (LOCATOR_NONE - 1) /* to be looked up */
#define LOCATOR_IN_DELTA (LOCATOR_NONE - 2) /* none: the older row is in an older delta, as long as that is there */
static inline bool locator_is_row(uint64_t word) { return word < LOCATOR_RUN_END; }

/* Those of a key's older row that a look-up has found: in the active delta or an older one, or at a position of a run.
 */
static inline uint64_t locator_of_delta(bool is_older) { return is_older ? LOCATOR_IN_DELTA : LOCATOR_NONE; }
uint64_t locator_of_run(const Era *era, uint32_t layer, uint32_t position);

Locators *locators_create(void);
void locators_release(Locators *l);
/* Looks up the locators of the era's delta rows with a sequence up to `sequence`. UINT64_MAX: all, for who knows that
 * the era has every run that was adopted before them (the writer, and who holds the apply lock). */
Status era_resolve(Era *era, uint64_t sequence) MUST_CHECK;
uint32_t era_rows_unresolved(const Era *era);
/* Who has looked for what rows `first` and following of the active delta replace says so: nobody looks again. The words
 * are what era_resolve would find in this era. */
Status locators_note(Era *era, uint32_t first, const uint64_t *words, uint32_t count) MUST_CHECK;
/* For a delta in an era with other runs: what holds there, too. The others are looked up again (VIS-5). */
Status locators_carry(const DeltaLayer *from, DeltaLayer *to, const Era *era) MUST_CHECK;

/* ---- deleted sets ---- */

/* The dead rows of an era's runs at a sequence. It never changes; newer ones share every segment that stayed (VIS-4).
 */
typedef struct DeadState {
  _Atomic uint32_t references;
  uint64_t sequence;
  uint32_t run_count, delta_count;
  uint32_t *rows_done; /* by delta layer: rows below are in the sets */
  ScanUnit *units;     /* see era_segments; NULL: nobody asked yet. The lock of the cache guards both */
  uint32_t unit_count;
  DeletedSet *sets[]; /* by run layer; NULL: none is dead */
} DeadState;

/* Those that were used last. More than one: a reader that stays at its snapshot finds its own again. */
enum { DEAD_STATES_MAX = 4 };
typedef struct DeadCache {
  _Atomic uint32_t references;
  Mutex lock;
  DeadState *states[DEAD_STATES_MAX]; /* the one that was used last first */
  _Atomic uint64_t rows_done;         /* in the sets of the newest */
} DeadCache;

DeadCache *dead_cache_create(void);
void dead_cache_release(DeadCache *c);
DeadState *dead_state_retain(DeadState *state);
void dead_state_release(DeadState *state); /* NULL is allowed */
/* Of itself, without the sets. */
uint64_t dead_state_memory(const DeadState *state);
/* The dead rows of the era's runs at a snapshot. Resolves what it needs. */
Status era_dead(Era *era, uint64_t sequence, bool own_transaction, DeadState **out) MUST_CHECK;
/* The segments of the runs that are there at a state of the era, as units of a scan, the oldest run first. */
uint32_t era_segment_count(const Era *era, const DeadState *state);
void era_list_segments(const Era *era, const DeadState *state, ScanUnit *units);
/* The same list, made once and the state's own: a snapshot of a large table is then no work for each of its segments.
 */
Status era_segments(Era *era, DeadState *state, const ScanUnit **units) MUST_CHECK;
/* `to` gets a cache of its own with the newest state of `from`, which has the same runs but for adopted ones and the
 * same deltas but for new ones. */
Status dead_cache_carry(const Era *from, Era *to) MUST_CHECK;
/* Before anybody asks: nothing up to `sequence`, all of which is committed, waits for its locator, and at most
 * UNRESOLVED_MAX rows are in no deleted set. */
Status era_advance(Era *era, uint64_t sequence) MUST_CHECK;
/* The same for every table of a pinned version. `sequence` was loaded before the version was. */
Status tables_advance(Store *store, const Version *v, uint64_t sequence) MUST_CHECK;
/* Dead by the manifest, or replaced by a run that was adopted up to `sequence`. Delta rows do not count here. */
bool era_run_row_is_dead(const Era *era, uint32_t layer, uint32_t position, uint64_t sequence);

#endif
