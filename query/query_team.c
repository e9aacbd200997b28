/* query_team.c - the units of one run: by one thread, or shared out among several.
 *
 * Each thread has a scan, partial aggregates and a part of the groups of its own; who is free takes the next unit. What
 * does not depend on an order is merged at the end; float sums of each unit are kept apart, and added in the order of
 * the units: the bits are those of one thread. Units that are taken are done, so that those done are always the first
 * ones: when the parts of groups have used up their memory, one thread goes on with the units that are left. */
#include "base/counters.h"
#include "base/memory.h"
#include "os/os.h"
#include "query/query_internal.h"

typedef struct Worker {
  Scan *scan;
  Aggregates *aggregates;
  Groups *part; /* NULL: there are no groups */
  uint64_t add_ticks;
  double *lanes; /* of each piece of its units */
  size_t lane_end, lane_capacity;
} Worker;

/* Which part has a unit, and where in it. */
typedef struct TeamUnit {
  uint32_t worker;
  GroupMark from, to;
  size_t lanes, lane_end;
} TeamUnit;

typedef struct Team {
  const TableSnapshot *snapshot;
  const QuerySpace *space;
  QuerySpace help; /* a helper's */
  uint32_t first_unit;
  size_t lane_count; /* of a piece */
  TeamUnit *units;   /* from the first on */
  UnitShare share;   /* stopped: a part has used up its memory */
  uint32_t worker_count;
  Worker workers[TEAM_MEMBERS_MAX];
} Team;

Status query_share_out(uint32_t members, TeamWork *work, void *context) {
  if (team_run(members, work, context)) return KVSTORE_OK;
  return status_fail(KVSTORE_ERROR, "a forked child cannot go on with its parent's query");
}

/* ---- a thread's work ---- */

/* Adds what was selected. Without `lanes` sums stay together. */
static Status add_selected(Scan *scan, Aggregates *aggregates, double *lanes, Groups *groups, uint64_t *ticks) {
  uint64_t begun = scan_weight(scan) ? os_ticks() : 0;
  if (aggregates) TRY(lanes ? aggregates_add_apart(aggregates, scan, lanes) : aggregates_add(aggregates, scan));
  if (groups) TRY(groups_add(groups, scan));
  if (begun) *ticks += (os_ticks() - begun) * scan_weight(scan);
  return KVSTORE_OK;
}

static Status add_piece(const Team *team, Worker *w, const ScanUnit *what) {
  TRY(scan_unit(w->scan, what));
  if (!scan_selection(w->scan)->row_count && scan_continues(w->scan)) return KVSTORE_OK; /* of a stream */
  TRY(memory_grow(&w->lanes, &w->lane_capacity, w->lane_end + team->lane_count + 1, sizeof *w->lanes));
  double *lanes = w->lanes + w->lane_end;
  memset(lanes, 0, team->lane_count * sizeof *lanes);
  w->lane_end += team->lane_count;
  return add_selected(w->scan, w->aggregates, lanes, w->part, &w->add_ticks);
}

static Status add_unit(Team *team, uint32_t member, uint32_t unit, uint64_t rows) {
  Worker *worker = &team->workers[member];
  TeamUnit *part = &team->units[unit - team->first_unit];
  *part = (TeamUnit){ .worker = member, .lanes = worker->lane_end };
  bool is_full = false;
  if (worker->part) part->from = groups_mark(worker->part);
  do {
    TRY(query_tick(member ? &team->help : team->space, rows));
    TRY(add_piece(team, worker, &team->snapshot->units[unit]));
    is_full = worker->part && groups_part_is_full(worker->part);
    if (is_full) unit_share_stop(&team->share);
  } while (scan_continues(worker->scan));
  part->lane_end = worker->lane_end;
  if (worker->part) part->to = groups_mark(worker->part);
  if (is_full) COUNT(group_parts_full);
  return KVSTORE_OK;
}

static void work(void *context, uint32_t member) {
  Team *team = context;
  for (;;) {
    uint64_t rows = unit_share_rows(&team->share);
    uint32_t unit = unit_share_take(&team->share, team->snapshot);
    if (unit == UINT32_MAX) return;
    if (add_unit(team, member, unit, rows) == KVSTORE_OK) continue;
    unit_share_fail(&team->share, unit);
    return;
  }
}

/* ---- before and after ---- */

static Status prepare_worker(const Team *team, const Query *q, const TableRun *run, Worker *w) {
  if (run->groups) TRY(groups_create_part(run->groups, team->worker_count, &w->part));
  if (w == team->workers) return KVSTORE_OK;
  TRY(query_scan(q, team->snapshot, &w->scan));
  if (!run->aggregates) return KVSTORE_OK;
  return aggregates_create(team->snapshot->schema, run->plain, run->plain_count, &w->aggregates);
}

static Status prepare_workers(Team *team, const Query *q, const TableRun *run) {
  size_t units = team->snapshot->unit_count - team->first_unit;
  if (run->aggregates) team->lane_count = aggregates_lane_count(run->aggregates);
  team->units = memory_allocate_zeroed(memory_array_size(units, sizeof *team->units));
  if (!team->units) return status_nomem();
  team->workers[0] = (Worker){ .scan = run->scan, .aggregates = run->aggregates };
  for (uint32_t i = 0; i < team->worker_count; i++) TRY(prepare_worker(team, q, run, &team->workers[i]));
  return KVSTORE_OK;
}

/* A part is given back as soon as it is merged. */
static Status merge_groups(Team *team, const TableRun *run, uint32_t unit_end) {
  Groups *parts[TEAM_MEMBERS_MAX];
  for (uint32_t i = 0; i < team->worker_count; i++) parts[i] = team->workers[i].part;
  TRY(groups_begin_merge(run->groups, parts, team->worker_count));
  for (uint32_t unit = team->first_unit; unit < unit_end; unit++) {
    const TeamUnit *u = &team->units[unit - team->first_unit];
    TRY(groups_take_over(run->groups, team->workers[u->worker].part, u->from, u->to));
  }
  TRY(groups_join_parts(run->groups, parts, team->worker_count));
  for (uint32_t i = 0; i < team->worker_count; i++) {
    Worker *w = &team->workers[i];
    TRY(groups_merge(run->groups, w->part));
    groups_destroy(w->part);
    w->part = NULL;
  }
  return groups_end_merge(run->groups);
}

static Status merge_workers(Team *team, TableRun *run, uint32_t unit_end) {
  for (uint32_t i = 1; i < team->worker_count; i++) {
    if (run->aggregates) TRY(aggregates_merge(run->aggregates, team->workers[i].aggregates));
    scan_counters_add(&run->helped, scan_counters(team->workers[i].scan));
  }
  for (uint32_t i = 0; i < team->worker_count; i++) run->helped.ticks[SCAN_STEP_ADD] += team->workers[i].add_ticks;
  for (uint32_t unit = team->first_unit; team->lane_count && unit < unit_end; unit++) {
    const TeamUnit *u = &team->units[unit - team->first_unit];
    for (size_t at = u->lanes; at < u->lane_end; at += team->lane_count)
      aggregates_add_lanes(run->aggregates, team->workers[u->worker].lanes + at);
  }
  return run->groups ? merge_groups(team, run, unit_end) : KVSTORE_OK;
}

static void release_team(Team *team) {
  for (uint32_t i = 0; i < team->worker_count; i++) {
    groups_destroy(team->workers[i].part);
    memory_release(team->workers[i].lanes);
    if (i == 0) continue;
    aggregates_destroy(team->workers[i].aggregates);
    scan_destroy(team->workers[i].scan);
  }
  memory_release(team->units);
  unit_share_end(&team->share);
  memory_release(team);
}

/* Adds units from *next on, which is then the first that is not added: the last one's, unless memory was used up. */
static Status run_team(const Query *q, const TableSnapshot *snapshot, const QuerySpace *space, uint32_t threads,
                       uint32_t *next, TableRun *run) {
  Team *team = memory_allocate_zeroed(sizeof *team);
  if (!team) return status_nomem();
  team->snapshot = snapshot;
  team->space = space;
  team->help = query_help_space(space);
  team->first_unit = *next;
  team->worker_count = threads;
  unit_share_begin(&team->share, *next, scan_counters(run->scan)->rows);
  Status status = query_tick(space, unit_share_rows(&team->share)); /* helpers may leave no unit to the caller */
  if (status == KVSTORE_OK) status = prepare_workers(team, q, run);
  if (status == KVSTORE_OK) status = query_share_out(team->worker_count, work, team);
  if (status == KVSTORE_OK) status = unit_share_status(&team->share);
  *next = unit_share_next(&team->share, snapshot);
  uint64_t begun = os_ticks();
  if (status == KVSTORE_OK) status = merge_workers(team, run, *next);
  run->helped.ticks[SCAN_STEP_MERGE] += os_ticks() - begun;
  run->helped.helped = true;
  release_team(team);
  return status;
}

/* ---- how many threads ---- */

enum {
  LOOK_UNITS = 8, /* between two looks at how far it has come */
  HELP_WORTH_NS = 100 * 1000,
  GROUPS_WORTH = 4, /* times that, for parts of groups have to be made and merged */
  GROUPS_LOOKS = 2, /* units after which it is known whether groups are few */
};

typedef struct Course {
  const Query *query;
  const TableSnapshot *snapshot;
  uint32_t threads, done; /* 1 thread: nobody helps, or not any more */
  uint32_t looked;        /* of those done, units that were not excluded: what is judged by */
  uint32_t first_rows;    /* of the first of these */
  uint64_t pieces;        /* most that one of these had: of joined rows, any number */
  uint64_t begun;
  uint64_t groups[GROUPS_LOOKS]; /* that there were after the first of these */
} Course;

/* How many groups there will be: at first as if every unit had as many new ones; then each fewer than the one before by
 * what the second had fewer than the first. */
static uint64_t expected_groups(const Course *c) {
  uint64_t first = c->groups[0], most = first * c->snapshot->unit_count, more = c->groups[1] - first;
  if (c->looked < GROUPS_LOOKS || more >= first) return most > c->groups[1] ? most : c->groups[1];
  uint64_t sum = first * first / (first - more);
  return sum < most ? sum : most;
}

/* In how much time parts are merged, in rows that are added meanwhile, when so many are left. A unit has about as many
 * groups for each row as the first one. */
static uint64_t merge_rows(const Course *c, const Groups *groups, uint32_t threads, uint64_t left) {
  uint64_t entries = c->first_rows ? left * c->groups[0] / c->first_rows : 0;
  return groups_merge_rows(groups, expected_groups(c), threads) + groups_apart_rows(groups, entries, threads);
}

/* As many threads as there may be; 0: that is not known yet. Merging costs something for each group of each part,
 * and that may take much longer than adding a row: groups must be few among the rows. */
static uint32_t threads_of(const Course *c, const TableRun *run) {
  uint32_t units = c->snapshot->unit_count - c->done, threads = c->threads < units ? c->threads : units;
  uint64_t left = 0;
  if (!run->groups) return threads;
  if (!groups_divisible(run->groups)) return 1;
  if (groups_are_open(run->groups)) return 0;
  for (uint32_t i = c->done; i < c->snapshot->unit_count; i++) left += c->snapshot->units[i].row_count;
  if (groups_count(run->groups) > 1 && merge_rows(c, run->groups, threads, left) > left)
    return c->looked < GROUPS_LOOKS ? 0 : 1;
  return groups_parts_max(run->groups, threads, c->pieces);
}

/* Whether what is left takes so much longer than a thread takes to wake that helpers pay: judged by what is done. */
static bool help_is_worth(const Course *c, const TableRun *run) {
  uint64_t spent = os_monotonic_ns(os_posix()) - c->begun;
  uint64_t worth = (uint64_t)HELP_WORTH_NS * (run->groups ? GROUPS_WORTH : 1);
  return spent / c->looked * (c->snapshot->unit_count - c->done) > worth;
}

/* Where threads are demanded, groups are looked at first. Else it is asked after a unit or two, and now and then. */
static bool wants_help(const Course *c, const TableRun *run) {
  uint32_t left = c->snapshot->unit_count - c->done;
  if (c->threads == 1 || left == 0 || (c->looked == 0 && left == 1)) return false;
  if (c->query->threads) return c->looked > 0 || !run->groups;
  bool looks = c->looked && (c->looked <= GROUPS_LOOKS || c->looked % LOOK_UNITS == 0);
  return looks && help_is_worth(c, run);
}

/* Units up to the first that is not excluded, which takes less time than a thread takes to wake; *entered: the scan
 * stands in that one. */
static Status pass_excluded(Course *c, const TableRun *run, const QuerySpace *space, bool *entered) {
  const TableSnapshot *s = c->snapshot;
  *entered = false;
  for (; c->done < s->unit_count && s->units[c->done].kind != SCAN_UNIT_STREAM; c->done++) {
    bool passed;
    TRY(query_tick(space, scan_counters(run->scan)->rows));
    TRY(scan_pass(run->scan, &s->units[c->done], &passed));
    *entered = !passed;
    if (!passed) break;
  }
  return KVSTORE_OK;
}

static Status add_here(TableRun *run) {
  return add_selected(run->scan, run->aggregates, NULL, run->groups, &run->helped.ticks[SCAN_STEP_ADD]);
}

static Status run_stream(Course *c, TableRun *run, const ScanUnit *unit, const QuerySpace *space) {
  uint64_t pieces = 0;
  do {
    TRY(query_tick(space, scan_counters(run->scan)->rows));
    TRY(scan_unit(run->scan, unit));
    TRY(add_here(run));
    pieces += scan_selection(run->scan)->row_count > 0;
  } while (scan_continues(run->scan));
  if (pieces > c->pieces) c->pieces = pieces;
  return KVSTORE_OK;
}

static Status run_unit(Course *c, TableRun *run, const QuerySpace *space, bool entered) {
  const ScanUnit *unit = &c->snapshot->units[c->done];
  if (entered) {
    TRY(scan_entered(run->scan));
    TRY(add_here(run));
  } else {
    TRY(run_stream(c, run, unit, space));
  }
  if (c->looked == 0) c->first_rows = unit->row_count;
  if (run->groups && c->looked < GROUPS_LOOKS) c->groups[c->looked] = groups_count(run->groups);
  c->looked++;
  c->done++;
  return KVSTORE_OK;
}

Status query_run_units(const Query *q, const TableSnapshot *snapshot, const QuerySpace *space, TableRun *run) {
  Course c = { .query = q, .snapshot = snapshot, .threads = q->threads ? q->threads : os_processors() };
  bool divisible = true;
  if (c.threads > TEAM_MEMBERS_MAX) c.threads = TEAM_MEMBERS_MAX;
  if (c.threads > 1) TRY(unit_share_divisible(snapshot, &divisible));
  if (!divisible) c.threads = 1;
  if (c.threads > 1 && !q->threads) c.begun = os_monotonic_ns(os_posix());
  for (;;) {
    bool entered;
    TRY(pass_excluded(&c, run, space, &entered));
    if (c.done == snapshot->unit_count) break;
    if (wants_help(&c, run)) {
      uint32_t threads = threads_of(&c, run), most = c.threads;
      bool pipes = threads == 1 && run->groups && groups_can_pipe(run->groups, snapshot, c.done);
      if (threads) c.threads = 1; /* now or never */
      if (threads > 1) TRY(run_team(q, snapshot, space, threads, &c.done, run));
      if (pipes) TRY(query_pipe_units(q, snapshot, space, most, &c.done, run));
      if (threads) continue;
    }
    TRY(run_unit(&c, run, space, entered));
  }
  TRY(query_tick(space, scan_counters(run->scan)->rows + run->helped.rows));
  if (!run->groups) return KVSTORE_OK;
  bool awaits = groups_await(run->groups);
  uint64_t begun = awaits ? os_ticks() : 0;
  TRY(groups_finish(run->groups, q->threads));
  if (awaits) run->helped.ticks[SCAN_STEP_BACK] += os_ticks() - begun;
  return KVSTORE_OK;
}
