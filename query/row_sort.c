/* row_sort.c - a thread has a row source, a sorter and a share of the memory of its own; sorters sort before they are
 * merged. A row is numbered by its unit and its place there, so that equals stay as they lie. */
#include "query/row_sort.h"

#include "base/counters.h"
#include "base/memory.h"
#include "os/os.h"

enum {
  LOOK_UNITS = 8, /* between two looks at how far it has come */
  HELP_WORTH_NS = 400 * 1000,
  SHARE_BYTES_MIN = 1 << 20, /* of memory: below it runs would be many */
  UNIT_SHIFT = 40,           /* of a unit's number, above those of its rows */
};

typedef struct SortWorker {
  RowSource *rows;
  Sorter *sorter;
  uint32_t numbered; /* the unit that rows are numbered by; 0 at first, as they are */
  uint64_t batches, order_ticks;
} SortWorker;

typedef struct SortTeam {
  RowSort *sort;
  UnitShare share;
  QuerySpace space; /* a thread's */
  QuerySpace help;  /* a helper's, beside that */
  uint32_t worker_count;
  SortWorker workers[TEAM_MEMBERS_MAX];
} SortTeam;

/* ---- a thread's work ---- */

/* Rows that cannot be among the first any more need not be read. */
static void tell_bound(const Query *q, const SortWorker *w) {
  int64_t least, greatest;
  bool nulls;
  if (!sorter_bound(w->sorter, &least, &greatest, &nulls)) return;
  uint32_t at = q->order[0].column;
  uint32_t position = at < q->column_count ? q->columns[at] : q->extra[at - q->column_count];
  row_source_bound(w->rows, position, least, greatest, nulls);
}

/* The next batch; *more is false when there is none. */
static Status sort_batch(const Query *q, SortWorker *w, bool *more) {
  QueryBatch batch;
  TRY(row_source_next(w->rows, &batch));
  *more = batch.row_count > 0;
  if (!*more) return KVSTORE_OK;
  uint32_t unit = row_source_unit(w->rows);
  if (unit != w->numbered) sorter_number(w->sorter, (uint64_t)unit << UNIT_SHIFT);
  w->numbered = unit;
  uint64_t weight = query_batch_weight(w->batches++), begun = weight ? os_ticks() : 0;
  TRY(sorter_add(w->sorter, &batch));
  if (weight) w->order_ticks += (os_ticks() - begun) * weight;
  tell_bound(q, w);
  return KVSTORE_OK;
}

static Status sort_share(SortTeam *team, SortWorker *w) {
  bool more = true;
  while (more) TRY(sort_batch(team->sort->query, w, &more));
  if (unit_share_failed(&team->share) != UINT32_MAX) return KVSTORE_OK; /* nobody will ask for them */
  uint64_t begun = os_ticks();
  TRY(sorter_end(w->sorter));
  w->order_ticks += os_ticks() - begun;
  return KVSTORE_OK;
}

static void work(void *context, uint32_t member) {
  SortTeam *team = context;
  SortWorker *w = &team->workers[member];
  if (sort_share(team, w) != KVSTORE_OK) unit_share_fail(&team->share, row_source_unit(w->rows));
}

/* ---- before and after ---- */

static Status prepare_worker(SortTeam *team, SortWorker *w) {
  const RowSort *s = team->sort;
  SorterOptions options = { .keep = s->keep, .space = s->space ? &team->space : NULL, .worst = &team->sort->worst };
  if (w == team->workers)
    w->rows = s->rows;
  else
    TRY(row_source_create(s->query, s->snapshot, &team->help, 0, QUERY_NO_LIMIT, &w->rows));
  row_source_share(w->rows, &team->share);
  return sorter_create(s->types, s->type_count, s->query->order, s->query->order_count, &options, &w->sorter);
}

/* The caller's sorter has what came before the team. */
static Status merge_workers(SortTeam *team) {
  RowSort *s = team->sort;
  for (uint32_t i = 0; i < team->worker_count; i++) TRY(sorter_take_over(s->sorter, team->workers[i].sorter));
  return KVSTORE_OK;
}

static void release_team(SortTeam *team) {
  RowSort *s = team->sort;
  for (uint32_t i = 0; i < team->worker_count; i++) {
    SortWorker *w = &team->workers[i];
    s->done.ticks[SCAN_STEP_ORDER] += w->order_ticks;
    sorter_destroy(w->sorter);
    if (w->rows == s->rows || !w->rows) continue;
    ScanCounters counters = row_source_counters(w->rows);
    scan_counters_add(&s->done, &counters);
    row_source_destroy(w->rows);
  }
  row_source_share(s->rows, NULL);
  unit_share_end(&team->share);
  memory_release(team);
}

/* Sorts the rows of all units from `first` on. */
static Status run_team(RowSort *s, uint32_t threads, uint32_t first) {
  SortTeam *team = memory_allocate_zeroed(sizeof *team);
  if (!team) return status_nomem();
  team->sort = s;
  team->worker_count = threads;
  team->help = query_help_space(s->space);
  row_source_stop(s->rows, false);
  unit_share_begin(&team->share, first, row_source_counters(s->rows).rows);
  if (s->space) {
    uint64_t held = sorter_bytes(s->sorter), limit = s->space->memory_limit;
    team->space = *s->space;
    team->space.memory_limit = held < limit ? (limit - held) / threads : 0;
  }
  Status status = query_tick(s->space, unit_share_rows(&team->share)); /* helpers may leave no unit to the caller */
  for (uint32_t i = 0; i < threads && status == KVSTORE_OK; i++) status = prepare_worker(team, &team->workers[i]);
  if (status == KVSTORE_OK) status = query_share_out(threads, work, team);
  if (status == KVSTORE_OK) status = unit_share_status(&team->share);
  uint64_t begun = os_ticks();
  if (status == KVSTORE_OK) status = merge_workers(team);
  s->done.ticks[SCAN_STEP_MERGE] += os_ticks() - begun;
  s->done.helped = true;
  release_team(team);
  return status;
}

/* ---- how many threads ---- */

typedef struct Course {
  uint32_t threads; /* 1: nobody helps */
  uint32_t looked;  /* units that were done at the last look */
  uint64_t begun;
} Course;

/* Which rows are computed, and may fail, depends on the bound: with one it is to be that of one thread. */
static bool is_divisible(const RowSort *s) {
  const Query *q = s->query;
  bool computes = false;
  for (size_t i = 0; i < q->column_count; i++) computes |= q->columns[i] >= q->program.base_count;
  for (size_t i = 0; i < q->extra_count; i++) computes |= q->extra[i] >= q->program.base_count;
  return !computes || s->keep == QUERY_NO_LIMIT;
}

static uint32_t threads_most(const RowSort *s) {
  uint64_t most = s->query->threads ? s->query->threads : os_processors();
  if (most > TEAM_MEMBERS_MAX) most = TEAM_MEMBERS_MAX;
  if (s->space && most > s->space->memory_limit / SHARE_BYTES_MIN) most = s->space->memory_limit / SHARE_BYTES_MIN;
  return most > 1 && is_divisible(s) ? (uint32_t)most : 1;
}

/* Where threads are demanded, at once. Else it is asked now and then whether what is left takes so much longer than a
 * thread takes to wake that helpers pay. */
static bool wants_help(const RowSort *s, Course *c, uint32_t done) {
  uint32_t left = s->snapshot->unit_count - done;
  if (c->threads == 1 || left < 2 || !row_source_is_between(s->rows)) return false;
  if (s->query->threads) return true;
  if (done == c->looked || (done > 2 && done - c->looked < LOOK_UNITS)) return false;
  c->looked = done;
  return (os_monotonic_ns(os_posix()) - c->begun) / done * left > HELP_WORTH_NS;
}

static Status fill(RowSort *s, SortWorker *own) {
  Course c = { .threads = threads_most(s) };
  bool divisible = true;
  if (c.threads > 1) TRY(unit_share_divisible(s->snapshot, &divisible));
  if (!divisible) c.threads = 1;
  if (c.threads > 1 && !s->query->threads) c.begun = os_monotonic_ns(os_posix());
  row_source_stop(s->rows, c.threads > 1);
  while (!row_source_is_over(s->rows)) {
    bool more;
    uint32_t done = row_source_unit(s->rows) + 1; /* UINT32_MAX: none */
    if (wants_help(s, &c, done)) {
      uint32_t left = s->snapshot->unit_count - done;
      return run_team(s, c.threads < left ? c.threads : left, done);
    }
    TRY(sort_batch(s->query, own, &more));
  }
  return KVSTORE_OK;
}

Status row_sort_fill(RowSort *s) {
  SortWorker own = { .rows = s->rows, .sorter = s->sorter };
  Status status = fill(s, &own);
  s->done.ticks[SCAN_STEP_ORDER] += own.order_ticks;
  return status;
}
