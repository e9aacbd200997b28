/* group_pipeline.c - groups that are many among the rows, by several threads.
 *
 * Parts of threads cost more to merge there than they save. Instead one stage finds the groups of the rows, unit by
 * unit, and hands their numbers over; the other stages, the lanes, add the rows of groups of their own. A state is
 * written by one stage alone, in the order of rows: the bits are those of one thread, and so are the groups' numbers.
 *
 *      the finder      unit ──► values of its keys ──► ids ──► numbers of its rows' groups ──► ring of some units
 *      lane n of m     ring ──► the rows whose groups are its own ──► their states
 *
 * A stage has one thread at a time, whichever is free: so all goes on where no helper comes. */
#include "base/counters.h"
#include "base/memory.h"
#include "os/os.h"
#include "query/groups_internal.h"
#include "query/query_internal.h"

enum {
  AHEAD_UNITS = 4, /* of the finder */
  LANES_MAX = 8,
  LANE_SHIFT = 4,         /* 16 neighbours are of one lane: lanes rarely write to one line of the caches */
  UNITS_MIN = 2,          /* for which it is worth to begin */
  MEMORY_MIN = 128 << 20, /* with less, groups soon leave memory, which one thread sees to */
};

typedef struct Stage {
  Groups view; /* the groups, with scratch of its own */
  Scan *scan;
  uint32_t next; /* unit; those before are done */
  bool is_taken;
  uint64_t add_ticks;
} Stage;

typedef struct FoundUnit {
  uint32_t *numbers; /* of the selected rows, block by block */
  uint64_t row_count;
} FoundUnit;

typedef struct Pipeline {
  const TableSnapshot *snapshot;
  const QuerySpace *space;
  uint32_t first, end; /* units */
  uint32_t lane_count;
  FoundUnit ring[AHEAD_UNITS];
  uint32_t most;    /* one more than the largest number that was found */
  bool wants_room;  /* for states of what was found: no lane may be at work */
  bool leaves_unit; /* `end` was selected by the finder, and is added as one thread would */
  uint64_t rows;    /* of units that were found, and of those before */
  UnitShare share;  /* the failure */
  Mutex lock;       /* of all that stages tell each other */
  Condition changed;
  Arena arena;
  Stage finder, lanes[LANES_MAX];
} Pipeline;

/* Groups lie in slots by their numbers; else they have states. */
static bool by_slots(const Groups *g) { return g->slots.mode == SLOTS_IDS; }

/* Nothing but counts, sums, spreads, least and greatest numbers: what is kept of a group is its state alone. */
static bool asks_states_alone(const Groups *g) {
  for (size_t i = 0; i < g->column_count; i++) {
    const GroupColumn *c = &g->columns[i];
    uint32_t allowed = GROUP_COUNT | GROUP_SUM | GROUP_SPREAD;
    if (!type_is_string(c->type)) allowed |= GROUP_LEAST | GROUP_GREATEST;
    if (c->wants & ~allowed) return false;
  }
  return true;
}

bool groups_can_pipe(const Groups *g, const TableSnapshot *snapshot, uint32_t first) {
  if (!g->key_count || g->is_full || g->spill || g->part || (g->slots.mode != SLOTS_NONE && !by_slots(g))) return false;
  if (g->space && g->space->memory_limit < MEMORY_MIN) return false;
  return snapshot->unit_count - first >= UNITS_MIN && snapshot->units[first].kind != SCAN_UNIT_STREAM &&
         asks_states_alone(g);
}

/* ---- the finder ---- */

static FoundUnit *found_unit(Pipeline *p, uint32_t unit) { return &p->ring[unit % AHEAD_UNITS]; }

static Status find_rows(Pipeline *p, FoundUnit *found) {
  Groups *g = &p->finder.view;
  Scan *scan = p->finder.scan;
  uint32_t *numbers = found->numbers;
  for (uint64_t left = scan_selection(scan)->blocks; left; left &= left - 1) {
    uint32_t block = (uint32_t)__builtin_ctzll(left), count = groups_block_rows(g, scan, block), most;
    TRY(groups_number(g, scan, block, count, &most));
    memcpy(numbers, g->scratch->groups, count * sizeof *numbers);
    numbers += count;
    if (most > p->most) p->most = most;
  }
  return KVSTORE_OK;
}

/* Whether the unit goes by arrays, or has what does not fit slots. */
static Status leaves_unit(Groups *g, Scan *scan, bool *leaves) {
  if (!by_slots(g)) {
    *leaves = !g->slots.by_rows && group_dense_fits(g, scan);
    return KVSTORE_OK;
  }
  bool fits;
  TRY(group_slots_fit(g, scan, &fits));
  for (uint64_t left = scan_selection(scan)->blocks; fits && left; left &= left - 1)
    TRY(group_slots_are_near(g, scan, (uint32_t)__builtin_ctzll(left), &fits));
  *leaves = !fits;
  return KVSTORE_OK;
}

/* Finds the groups of the next unit; *leaves: it is not for the pipeline. */
static Status find_unit(Pipeline *p, bool *leaves) {
  Stage *f = &p->finder;
  FoundUnit *found = found_unit(p, f->next);
  TRY(scan_unit(f->scan, &p->snapshot->units[f->next]));
  uint64_t begun = scan_weight(f->scan) ? os_ticks() : 0;
  found->row_count = scan_selection(f->scan)->row_count;
  if (!found->row_count) return KVSTORE_OK;
  for (size_t k = 0; k < f->view.key_count; k++) TRY(key_column_begin_unit(&f->view.keys[k], f->scan));
  TRY(leaves_unit(&f->view, f->scan, leaves));
  if (!*leaves) TRY(find_rows(p, found));
  if (begun) f->add_ticks += (os_ticks() - begun) * scan_weight(f->scan);
  return KVSTORE_OK;
}

/* Whether what was found has room behind the states, or slots, that lanes are writing, which stay where they are. */
static bool has_room(const Pipeline *p) {
  const Groups *g = &p->finder.view;
  if (by_slots(g)) return (size_t)p->most * g->slots.stride <= g->slots.word_capacity;
  return (size_t)p->most * g->stride <= g->state_capacity;
}

/* States, or slots, for what was found. */
static Status make_room(Pipeline *p, bool *leaves) {
  Groups *g = &p->finder.view;
  bool fits = true;
  TRY(by_slots(g) ? group_slots_extend(g, p->most, &fits) : groups_extend(g, p->most));
  *leaves = !fits;
  return KVSTORE_OK;
}

/* ---- a lane ---- */

/* Keeps the rows of a block whose groups are the lane's: in scratch->rows and scratch->groups. */
static uint32_t choose_rows(GroupScratch *s, const uint32_t *numbers, uint32_t count, uint32_t lane, uint32_t mask) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < count; i++) {
    s->rows[kept] = (uint16_t)group_row(s, i); /* entries move down only */
    s->groups[kept] = numbers[i];
    kept += (numbers[i] >> LANE_SHIFT & mask) == lane;
  }
  s->is_whole = s->is_whole && kept == count;
  return kept;
}

static Status add_found_unit(Pipeline *p, Stage *lane) {
  const FoundUnit *found = found_unit(p, lane->next);
  Groups *g = &lane->view;
  const uint32_t *numbers = found->numbers;
  if (!found->row_count) return KVSTORE_OK;
  TRY(scan_unit(lane->scan, &p->snapshot->units[lane->next]));
  /* Rows of a transaction that is rolled back meanwhile are others than the finder's: no number would be theirs. */
  if (scan_selection(lane->scan)->row_count != found->row_count) return table_snapshot_undone();
  uint64_t begun = scan_weight(lane->scan) ? os_ticks() : 0;
  for (uint64_t left = scan_selection(lane->scan)->blocks; left; left &= left - 1) {
    uint32_t block = (uint32_t)__builtin_ctzll(left), count = groups_block_rows(g, lane->scan, block);
    uint32_t kept = choose_rows(g->scratch, numbers, count, (uint32_t)(lane - p->lanes), p->lane_count - 1);
    numbers += count;
    if (!kept) continue;
    if (g->has_order) groups_open_unit(g, g->scratch->groups, kept);
    TRY(by_slots(g) ? group_slots_add_found(g, lane->scan, block, kept) : groups_add_found(g, lane->scan, block, kept));
  }
  if (begun) lane->add_ticks += (os_ticks() - begun) * scan_weight(lane->scan);
  return KVSTORE_OK;
}

/* ---- who does what; the lock is held, but for the work itself ---- */

static uint32_t slowest_lane(const Pipeline *p) {
  uint32_t slowest = UINT32_MAX;
  for (uint32_t i = 0; i < p->lane_count; i++)
    if (p->lanes[i].next < slowest) slowest = p->lanes[i].next;
  return slowest;
}

/* The finder first, since all others wait for it. NULL: all stages that could go on are taken. */
static Stage *free_stage(Pipeline *p) {
  Stage *f = &p->finder, *chosen = NULL;
  uint32_t slowest = slowest_lane(p);
  bool may_find = p->wants_room ? slowest == f->next : f->next - slowest < AHEAD_UNITS;
  if (!f->is_taken && f->next < p->end && may_find) return f;
  for (uint32_t i = 0; i < p->lane_count; i++) {
    Stage *lane = &p->lanes[i];
    if (lane->is_taken || lane->next >= f->next || lane->next >= p->end) continue;
    if (!chosen || lane->next < chosen->next) chosen = lane;
  }
  return chosen;
}

static bool any_is_taken(const Pipeline *p) {
  bool taken = p->finder.is_taken;
  for (uint32_t i = 0; i < p->lane_count; i++) taken = taken || p->lanes[i].is_taken;
  return taken;
}

static void end_before(Pipeline *p, uint32_t unit, bool leaves_unit) {
  if (unit >= p->end) return;
  p->end = unit;
  p->leaves_unit = leaves_unit;
}

/* When memory is half used up, one thread goes on with the units that are left, and spills. */
static bool is_half_full(const Pipeline *p) {
  const Groups *g = &p->finder.view;
  if (!g->space) return false;
  uint64_t bytes = g->state_capacity * sizeof *g->states + group_slots_bytes(g);
  for (size_t k = 0; k < g->key_count; k++) bytes += key_column_bytes(&g->keys[k]) + id_map_bytes(&g->pairs[k]);
  return bytes > g->space->memory_limit / 2;
}

static void do_finder(Pipeline *p) {
  Stage *f = &p->finder;
  bool leaves = false, wanted_room = p->wants_room;
  f->view.unit_number += !wanted_room;
  mutex_unlock(&p->lock);
  Status status = wanted_room ? KVSTORE_OK : find_unit(p, &leaves);
  bool has = wanted_room || has_room(p);
  if (status == KVSTORE_OK && !leaves && has) status = make_room(p, &leaves);
  mutex_lock(&p->lock);
  if (status != KVSTORE_OK) {
    unit_share_fail(&p->share, f->next);
    end_before(p, f->next, true);
  } else if (leaves) {
    end_before(p, f->next, true);
  } else if (!has) {
    p->wants_room = true;
  } else {
    p->wants_room = false;
    p->rows += p->snapshot->units[f->next++].row_count;
    if (is_half_full(p)) end_before(p, f->next, false);
  }
}

static void do_lane(Pipeline *p, Stage *lane) {
  lane->view.states = p->finder.view.states; /* both stay, while a lane is at work */
  lane->view.slots.words = p->finder.view.slots.words;
  lane->view.slots.word_capacity = p->finder.view.slots.word_capacity;
  lane->view.unit_number++;
  mutex_unlock(&p->lock);
  Status status = add_found_unit(p, lane);
  mutex_lock(&p->lock);
  if (status == KVSTORE_OK) {
    lane->next++;
  } else {
    unit_share_fail(&p->share, lane->next);
    end_before(p, lane->next, true);
  }
}

/* The caller's own thread asks whether to go on. */
static void tick(Pipeline *p) {
  uint64_t rows = p->rows;
  if (unit_share_failed(&p->share) != UINT32_MAX) return;
  mutex_unlock(&p->lock);
  Status status = query_tick(p->space, rows);
  mutex_lock(&p->lock);
  if (status == KVSTORE_OK) return;
  unit_share_fail(&p->share, UINT32_MAX);
  end_before(p, p->first, false);
}

static void work(void *context, uint32_t member) {
  Pipeline *p = context;
  mutex_lock(&p->lock);
  for (;;) {
    if (!member) tick(p);
    Stage *stage = free_stage(p);
    if (stage) {
      stage->is_taken = true;
      if (stage == &p->finder)
        do_finder(p);
      else
        do_lane(p, stage);
      stage->is_taken = false;
      condition_broadcast(&p->changed);
    } else if (any_is_taken(p)) {
      condition_wait(&p->changed, &p->lock);
    } else {
      break;
    }
  }
  mutex_unlock(&p->lock);
}

/* ---- before and after ---- */

static Status prepare_stage(Pipeline *p, const Groups *g, Stage *stage) {
  stage->view = *g;
  stage->next = p->first;
  stage->view.scratch = arena_allocate_aligned(&p->arena, 64, sizeof *stage->view.scratch);
  return stage->view.scratch ? KVSTORE_OK : status_nomem();
}

static Status prepare(Pipeline *p, const Query *q, const TableRun *run) {
  TRY(prepare_stage(p, run->groups, &p->finder));
  p->finder.scan = run->scan;
  for (uint32_t i = 0; i < p->lane_count; i++) {
    TRY(prepare_stage(p, run->groups, &p->lanes[i]));
    TRY(query_scan(q, p->snapshot, &p->lanes[i].scan));
  }
  for (uint32_t i = 0; i < AHEAD_UNITS; i++) {
    p->ring[i].numbers = arena_allocate(&p->arena, SEGMENT_ROWS * sizeof *p->ring[i].numbers);
    if (!p->ring[i].numbers) return status_nomem();
  }
  return KVSTORE_OK;
}

/* What the stages have made of the groups. */
static void take_over(const Pipeline *p, TableRun *run) {
  const Groups *made = &p->finder.view;
  Groups *g = run->groups;
  g->states = made->states;
  g->state_capacity = made->state_capacity;
  g->state_count = made->state_count;
  g->slots.words = made->slots.words;
  g->slots.word_capacity = made->slots.word_capacity;
  g->slots.count = made->slots.count;
  g->unit_number += p->end - p->first;
  g->has_open = g->has_open || g->has_order;
  run->helped.ticks[SCAN_STEP_ADD] += p->finder.add_ticks;
  for (uint32_t i = 0; i < p->lane_count; i++) {
    const ScanCounters *counters = scan_counters(p->lanes[i].scan); /* rows and blocks are the finder's */
    for (uint32_t step = 0; step < SCAN_STEPS; step++) run->helped.ticks[step] += counters->ticks[step];
    run->helped.ticks[SCAN_STEP_ADD] += p->lanes[i].add_ticks;
  }
  run->helped.helped = true;
}

/* The unit that was left: of one that failed, the failure that one thread would have met comes of it. */
static Status add_left_unit(Pipeline *p, TableRun *run) {
  if (unit_share_failed(&p->share) != UINT32_MAX) TRY(scan_unit(run->scan, &p->snapshot->units[p->end]));
  return groups_add(run->groups, run->scan);
}

static Status run_stages(Pipeline *p, const Query *q, uint32_t threads, TableRun *run) {
  TRY(prepare(p, q, run));
  uint32_t stages = 1 + p->lane_count;
  Status shared = query_share_out(threads < stages ? threads : stages, work, p);
  take_over(p, run);
  TRY(shared);
  if (p->leaves_unit) TRY(add_left_unit(p, run));
  return unit_share_status(&p->share);
}

Status query_pipe_units(const Query *q, const TableSnapshot *snapshot, const QuerySpace *space, uint32_t threads,
                        uint32_t *next, TableRun *run) {
  Pipeline *p = memory_allocate_zeroed(sizeof *p);
  if (!p) return status_nomem();
  p->snapshot = snapshot;
  p->space = space;
  p->first = *next;
  p->end = snapshot->unit_count;
  p->lane_count = 1;
  while (p->lane_count < threads && p->lane_count < LANES_MAX) p->lane_count *= 2;
  p->rows = scan_counters(run->scan)->rows;
  unit_share_begin(&p->share, *next, p->rows);
  mutex_init(&p->lock);
  condition_init(&p->changed);
  COUNT(group_pipelines);
  Status status = run_stages(p, q, threads, run);
  *next = p->end + p->leaves_unit;
  for (uint32_t i = 0; i < p->lane_count; i++) scan_destroy(p->lanes[i].scan);
  condition_destroy(&p->changed);
  mutex_destroy(&p->lock);
  unit_share_end(&p->share);
  arena_release(&p->arena);
  memory_release(p);
  return status;
}
