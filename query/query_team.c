/* query_team.c - the units of one run, shared out among threads.
 *
 * Each thread has a scan and partial aggregates of its own; who is free takes the next unit. What does not depend on an
 * order is merged at the end; float sums of each unit are kept apart, and added in the order of the units: the bits are
 * those of one thread. */
#include "base/counters.h"
#include "base/memory.h"
#include "os/team.h"
#include "query/query_internal.h"

typedef struct Worker {
  Scan *scan;
  Aggregates *aggregates;
  uint32_t failed_unit; /* UINT32_MAX: none */
  Failure failure;
} Worker;

typedef struct Team {
  const TableSnapshot *snapshot;
  const QuerySpace *space;
  uint32_t first_unit;
  size_t lane_count;
  double *lanes; /* of each unit from the first on */
  _Atomic uint32_t next_unit;
  _Atomic uint64_t rows;   /* of all units that have been taken */
  _Atomic uint32_t failed; /* the lowest unit that failed so far: those behind it need not be looked at */
  uint32_t worker_count;
  Worker workers[TEAM_MEMBERS_MAX];
} Team;

static void note_failure(Team *team, Worker *worker, uint32_t unit) {
  worker->failed_unit = unit;
  worker->failure = *status_last();
  uint32_t lowest = atomic_load_explicit(&team->failed, memory_order_relaxed);
  while (unit < lowest && !atomic_compare_exchange_weak(&team->failed, &lowest, unit)) {}
}

static void work(void *context, uint32_t member) {
  Team *team = context;
  Worker *worker = &team->workers[member];
  for (;;) {
    uint32_t unit = atomic_fetch_add_explicit(&team->next_unit, 1, memory_order_relaxed);
    if (unit >= team->snapshot->unit_count || unit > atomic_load_explicit(&team->failed, memory_order_relaxed)) return;
    double *lanes = team->lanes + (unit - team->first_unit) * team->lane_count;
    const ScanUnit *what = &team->snapshot->units[unit];
    uint64_t rows = atomic_fetch_add_explicit(&team->rows, what->row_count, memory_order_relaxed);
    Status status;
    do {
      status = member ? KVSTORE_OK : query_tick(team->space, rows);
      if (status == KVSTORE_OK) status = scan_unit(worker->scan, what);
      if (status == KVSTORE_OK) status = aggregates_add_apart(worker->aggregates, worker->scan, lanes);
    } while (status == KVSTORE_OK && scan_continues(worker->scan));
    if (status == KVSTORE_OK) continue;
    note_failure(team, worker, unit);
    return;
  }
}

/* The failure of the lowest unit, as one thread would have met it. */
static Status worst(const Team *team) {
  const Worker *first = NULL;
  for (uint32_t i = 0; i < team->worker_count; i++) {
    const Worker *w = &team->workers[i];
    if (w->failed_unit != UINT32_MAX && (!first || w->failed_unit < first->failed_unit)) first = w;
  }
  if (!first) return KVSTORE_OK;
  const Failure *f = &first->failure;
  return status_fail_at(f->code, f->row, f->column[0] ? f->column : NULL, f->value[0] ? f->value : NULL, "%s", f->text);
}

static Status prepare_workers(Team *team, const Query *q, const TableRun *run) {
  team->lane_count = aggregates_lane_count(run->aggregates);
  size_t units = team->snapshot->unit_count - team->first_unit;
  team->lanes = memory_allocate_zeroed(memory_array_size(units * team->lane_count + 1, sizeof *team->lanes));
  if (!team->lanes) return status_nomem();
  team->workers[0] = (Worker){ .scan = run->scan, .aggregates = run->aggregates, .failed_unit = UINT32_MAX };
  for (uint32_t i = 1; i < team->worker_count; i++) {
    Worker *w = &team->workers[i];
    w->failed_unit = UINT32_MAX;
    TRY(query_scan(q, team->snapshot, &w->scan));
    TRY(aggregates_create(team->snapshot->schema, run->plain, run->plain_count, &w->aggregates));
  }
  return KVSTORE_OK;
}

static Status merge_workers(const Team *team, TableRun *run) {
  for (uint32_t i = 1; i < team->worker_count; i++) {
    TRY(aggregates_merge(run->aggregates, team->workers[i].aggregates));
    counters_add(&run->helped, scan_counters(team->workers[i].scan));
  }
  for (uint32_t unit = team->first_unit; unit < team->snapshot->unit_count; unit++)
    aggregates_add_lanes(run->aggregates, team->lanes + (unit - team->first_unit) * team->lane_count);
  return KVSTORE_OK;
}

Status query_run_team(const Query *q, const TableSnapshot *snapshot, const QuerySpace *space, uint32_t first_unit,
                      uint32_t threads, TableRun *run) {
  Team *team = memory_allocate_zeroed(sizeof *team);
  if (!team) return status_nomem();
  uint32_t units = snapshot->unit_count - first_unit;
  team->snapshot = snapshot;
  team->space = space;
  team->first_unit = first_unit;
  team->worker_count = threads < units ? threads : units;
  if (team->worker_count > TEAM_MEMBERS_MAX) team->worker_count = TEAM_MEMBERS_MAX;
  atomic_init(&team->next_unit, first_unit);
  atomic_init(&team->failed, UINT32_MAX);
  atomic_init(&team->rows, scan_counters(run->scan)->rows);
  Status status = prepare_workers(team, q, run);
  if (status == KVSTORE_OK) {
    bool is_whole = team_run(team->worker_count, work, team);
    status = is_whole ? worst(team) : status_fail(KVSTORE_ERROR, "a forked child cannot go on with its parent's query");
  }
  if (status == KVSTORE_OK) status = merge_workers(team, run);
  for (uint32_t i = 1; i < team->worker_count; i++) {
    aggregates_destroy(team->workers[i].aggregates);
    scan_destroy(team->workers[i].scan);
  }
  memory_release(team->lanes);
  memory_release(team);
  return status;
}
