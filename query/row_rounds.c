/* row_rounds.c - who is free takes the next unit, until somebody has as much as a round may hold; units that are taken
 * are done, so that those of a round are the next ones. Units of joined rows may have any number of them: where one is
 * more than a thread may hold, it is left in the middle, and one thread reads it again and all behind it. */
#include "query/row_rounds.h"

#include "base/counters.h"
#include "base/memory.h"
#include "os/os.h"

enum {
  HELP_WORTH_NS = 400 * 1000,
  ROUND_BYTES_FIRST = 1 << 18, /* of a thread: few, since only the first rows may be wanted */
  ROUND_BYTES_MOST = 1 << 22,
  HELD_BYTES_MOST = 1 << 26, /* of a thread, with the unit that is begun */
};

typedef struct RoundBatch {
  uint32_t unit, row_count;
  ColumnArray *columns;
} RoundBatch;

typedef struct RoundWorker {
  RowSource *rows;
  Arena arena; /* of the batches */
  uint64_t held;
  RoundBatch *batches;
  size_t count, capacity, given;
} RoundWorker;

struct RowRounds {
  const Query *query;
  const TableSnapshot *snapshot;
  const QuerySpace *space; /* NULL: there is no limit */
  QuerySpace help;         /* a helper's */
  RowSource *rows;         /* that of worker 0 */
  uint32_t threads;        /* 1: there are no rounds, or not yet */
  bool is_decided;
  uint64_t begun, bytes; /* bytes: of a thread and round */
  uint64_t held_most;
  _Atomic uint32_t left; /* the lowest unit that was left in the middle */
  uint32_t column_count;
  UnitShare share;
  bool is_shared; /* a round is there */
  uint32_t unit;  /* of the last batch that was given */
  RoundWorker workers[TEAM_MEMBERS_MAX];
};

/* ---- a thread's work ---- */

static Status copy_strings(RoundWorker *w, Bytes *strings, const uint8_t *nulls, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    if (!strings[i].length || (nulls && nulls[i])) continue;
    strings[i].data = arena_copy(&w->arena, strings[i].data, strings[i].length);
    if (!strings[i].data) return status_nomem();
    w->held += strings[i].length;
  }
  return KVSTORE_OK;
}

static Status copy_column(RoundWorker *w, const ColumnArray *from, ColumnType type, uint32_t count, ColumnArray *to) {
  size_t bytes = count * type_array_width(type);
  void *values = arena_allocate_aligned(&w->arena, 64, bytes);
  w->held += bytes;
  if (!values) return status_nomem();
  memcpy(values, from->values, bytes);
  *to = (ColumnArray){ .values = values };
  if (from->nulls && !(to->nulls = arena_copy(&w->arena, from->nulls, count))) return status_nomem();
  return type_is_string(type) ? copy_strings(w, values, to->nulls, count) : KVSTORE_OK;
}

static Status keep_batch(const RowRounds *r, RoundWorker *w, const QueryBatch *batch) {
  TRY(memory_grow(&w->batches, &w->capacity, w->count + 1, sizeof *w->batches));
  RoundBatch *b = &w->batches[w->count];
  *b = (RoundBatch){ .unit = row_source_unit(w->rows), .row_count = batch->row_count };
  b->columns = arena_allocate(&w->arena, (r->column_count + 1) * sizeof *b->columns);
  if (!b->columns) return status_nomem();
  for (uint32_t c = 0; c < r->column_count; c++)
    TRY(copy_column(w, &batch->columns[c], query_column(r->query, c)->type, batch->row_count, &b->columns[c]));
  w->count++;
  return KVSTORE_OK;
}

static uint32_t lowest_left(const RowRounds *r) { return atomic_load_explicit(&r->left, memory_order_relaxed); }

/* In the middle of a unit that is too large, or behind one. */
static bool leaves_unit(RowRounds *r, const RoundWorker *w) {
  uint32_t unit = row_source_unit(w->rows), left = lowest_left(r);
  if (!w->count || row_source_is_between(w->rows) || r->snapshot->units[unit].kind != SCAN_UNIT_STREAM) return false;
  if (w->held <= r->held_most) return unit > left;
  while (unit < left && !atomic_compare_exchange_weak(&r->left, &left, unit)) continue;
  return true;
}

static Status fill(RowRounds *r, RoundWorker *w) {
  while (!leaves_unit(r, w)) {
    QueryBatch batch;
    TRY(row_source_next(w->rows, &batch));
    if (!batch.row_count) return KVSTORE_OK;
    TRY(keep_batch(r, w, &batch));
    if (w->held > r->bytes) unit_share_stop(&r->share);
  }
  return KVSTORE_OK;
}

static void work(void *context, uint32_t member) {
  RowRounds *r = context;
  RoundWorker *w = &r->workers[member];
  if (fill(r, w) != KVSTORE_OK) unit_share_fail(&r->share, row_source_unit(w->rows));
}

/* ---- rounds ---- */

static Status prepare_worker(RowRounds *r, RoundWorker *w) {
  if (!w->rows) TRY(row_source_create(r->query, r->snapshot, &r->help, 0, QUERY_NO_LIMIT, &w->rows));
  row_source_share(w->rows, &r->share);
  arena_reset(&w->arena);
  w->count = w->given = w->held = 0;
  return KVSTORE_OK;
}

static Status run_round(RowRounds *r) {
  uint32_t first = r->is_shared ? unit_share_next(&r->share, r->snapshot) : row_source_unit(r->rows) + 1;
  uint64_t rows = r->is_shared ? unit_share_rows(&r->share) : row_source_counters(r->rows).rows;
  if (r->is_shared) unit_share_end(&r->share);
  unit_share_begin(&r->share, first, rows);
  r->is_shared = true;
  r->held_most = HELD_BYTES_MOST;
  if (r->space && r->held_most > r->space->memory_limit / 2 / r->threads)
    r->held_most = r->space->memory_limit / 2 / r->threads;
  for (uint32_t i = 0; i < r->threads; i++) TRY(prepare_worker(r, &r->workers[i]));
  COUNT(row_rounds);
  TRY(query_share_out(r->threads, work, r));
  r->bytes = r->bytes * 2 < ROUND_BYTES_MOST ? r->bytes * 2 : ROUND_BYTES_MOST;
  if (r->space && r->bytes > r->space->memory_limit / 4 / r->threads)
    r->bytes = r->space->memory_limit / 4 / r->threads;
  return KVSTORE_OK;
}

/* The worker with the batch of the lowest unit; NULL: all that come before a failure, or a unit that was left, were
 * given. */
static RoundWorker *next_worker(RowRounds *r) {
  RoundWorker *first = NULL;
  for (uint32_t i = 0; i < r->threads; i++) {
    RoundWorker *w = &r->workers[i];
    if (w->given < w->count && (!first || w->batches[w->given].unit < first->batches[first->given].unit)) first = w;
  }
  uint32_t unit = first ? first->batches[first->given].unit : 0;
  return unit > unit_share_failed(&r->share) || unit >= lowest_left(r) ? NULL : first;
}

/* One thread goes on with the unit that was left. What others met behind it is met again; but whoever was cancelled
 * does not go on. */
static Status go_back(RowRounds *r, QueryBatch *batch) {
  uint32_t left = lowest_left(r);
  if (unit_share_failed(&r->share) < left || r->share.failure.code == KVSTORE_CANCELLED)
    TRY(unit_share_status(&r->share));
  status_clear();
  for (uint32_t i = 0; i < r->threads; i++) arena_release(&r->workers[i].arena);
  r->threads = 1;
  row_source_go_back(r->rows, left);
  return row_source_next(r->rows, batch);
}

static Status give(RowRounds *r, RoundWorker *w, QueryBatch *batch) {
  const RoundBatch *b = &w->batches[w->given++];
  if (b->unit != r->unit) TRY(query_tick(r->space, unit_share_rows(&r->share)));
  r->unit = b->unit;
  *batch = (QueryBatch){ b->row_count, r->column_count, b->columns };
  return KVSTORE_OK;
}

static Status next_of_rounds(RowRounds *r, QueryBatch *batch) {
  RoundWorker *w = r->is_shared ? next_worker(r) : NULL;
  *batch = (QueryBatch){ .column_count = r->column_count };
  while (!w) {
    if (lowest_left(r) != UINT32_MAX) return go_back(r, batch);
    if (r->is_shared) TRY(unit_share_status(&r->share));
    if (r->is_shared && unit_share_next(&r->share, r->snapshot) == r->snapshot->unit_count) return KVSTORE_OK;
    TRY(run_round(r));
    w = next_worker(r);
  }
  return give(r, w, batch);
}

/* ---- whether ---- */

bool row_rounds_fit(const Query *q, const TableSnapshot *snapshot) {
  bool is_plain = !q->is_grouped && !q->order_count && !q->is_ordered && !q->offset && q->limit == QUERY_NO_LIMIT;
  return is_plain && q->threads != 1 && snapshot->unit_count > 2;
}

/* After the first unit: whether what is left takes so much longer than threads take to wake that helpers pay. */
static Status decide(RowRounds *r) {
  uint32_t done = row_source_unit(r->rows) + 1, left = r->snapshot->unit_count - done;
  uint64_t spent = os_monotonic_ns(os_posix()) - r->begun, threads = r->query->threads;
  bool divisible;
  r->is_decided = true;
  row_source_stop(r->rows, false);
  if (left < 2 || (!threads && spent / done * left < HELP_WORTH_NS)) return KVSTORE_OK;
  TRY(unit_share_divisible(r->snapshot, &divisible));
  if (!threads) threads = os_processors();
  if (threads > TEAM_MEMBERS_MAX) threads = TEAM_MEMBERS_MAX;
  if (divisible) r->threads = threads < left ? (uint32_t)threads : left;
  return KVSTORE_OK;
}

Status row_rounds_next(RowRounds *r, QueryBatch *batch) {
  if (!r->begun) r->begun = os_monotonic_ns(os_posix());
  while (!r->is_decided) {
    if (row_source_unit(r->rows) != UINT32_MAX && row_source_is_between(r->rows)) {
      TRY(decide(r));
      break;
    }
    TRY(row_source_next(r->rows, batch));
    if (batch->row_count || row_source_is_over(r->rows)) return KVSTORE_OK;
  }
  return r->threads > 1 ? next_of_rounds(r, batch) : row_source_next(r->rows, batch);
}

/* ---- life ---- */

Status row_rounds_create(const Query *query, const TableSnapshot *snapshot, const QuerySpace *space, RowSource *rows,
                         RowRounds **out) {
  RowRounds *r = memory_allocate_zeroed(sizeof *r);
  if (!r) return status_nomem();
  r->query = query;
  r->snapshot = snapshot;
  r->space = space;
  r->help = query_help_space(space);
  r->rows = r->workers[0].rows = rows;
  r->threads = 1;
  r->bytes = ROUND_BYTES_FIRST;
  r->unit = UINT32_MAX;
  atomic_init(&r->left, UINT32_MAX);
  r->column_count = (uint32_t)query_column_count(query);
  row_source_stop(rows, true);
  *out = r;
  return KVSTORE_OK;
}

void row_rounds_destroy(RowRounds *r) {
  if (!r) return;
  for (uint32_t i = 0; i < TEAM_MEMBERS_MAX; i++) {
    RoundWorker *w = &r->workers[i];
    if (i) row_source_destroy(w->rows);
    arena_release(&w->arena);
    memory_release(w->batches);
  }
  if (r->is_shared) unit_share_end(&r->share);
  memory_release(r);
}

ScanCounters row_rounds_counters(const RowRounds *r) {
  ScanCounters total = { .helped = r->is_shared };
  for (uint32_t i = 1; i < TEAM_MEMBERS_MAX && r->workers[i].rows; i++) {
    ScanCounters counters = row_source_counters(r->workers[i].rows);
    scan_counters_add(&total, &counters);
  }
  return total;
}
