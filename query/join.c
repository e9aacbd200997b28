/* join.c - joined rows as streams, one for each unit of the query's own table: tables are hashed when the first rows
 * are asked for, or before threads share the streams out. */
#include "query/join.h"

#include "base/counters.h"
#include "base/literal.h"
#include "base/memory.h"
#include "query/join_run.h"

uint64_t join_count(JoinRun *run, uint32_t rows) {
  return atomic_fetch_add_explicit(&run->scanned, rows, memory_order_relaxed) + rows;
}

Status join_tick(JoinRun *run, uint32_t rows) {
  uint64_t scanned = join_count(run, rows);
  if (scanned > run->total) scanned = run->total; /* parts read rows again */
  return run->has_space && run->space.tick ? run->space.tick(run->space.context, scanned, run->total) : KVSTORE_OK;
}

Status join_scan_unit(JoinRun *run, Scan *scan, const ScanUnit *unit) {
  TRY(scan_unit(scan, unit));
  if (unit->kind == SCAN_UNIT_STREAM)
    atomic_fetch_add_explicit(&run->scanned, scan_selection(scan)->unit->row_count, memory_order_relaxed);
  return KVSTORE_OK;
}

Status join_sift(JoinSieve *sieves, size_t count, Scan *scan, uint32_t block, uint16_t rows[BLOCK_ROWS],
                 uint32_t *row_count) {
  uint64_t mask[BLOCK_WORDS];
  memcpy(mask, scan_selection(scan)->masks[block], sizeof mask);
  for (size_t i = 0; i < count; i++) TRY(join_sieve_block(&sieves[i], scan, block, mask));
  *row_count = join_mask_rows(mask, rows);
  return KVSTORE_OK;
}

/* ---- beginning ---- */

/* Rows of the query's own table whose value lies outside of what it is joined to need not be read. */
static Status add_ends(JoinRun *run, const JoinBuild *b, PredicateTerm *terms, const PredicateTerm **list,
                       uint32_t *count) {
  const JoinStep *step = b->step;
  uint32_t column = step->left[0];
  if (!join_is_whole(b) || (step->kind != JOIN_INNER && step->kind != JOIN_SEMI)) return KVSTORE_OK;
  if (step->count > 1 || join_table_of(run->plan, column)) return KVSTORE_OK;
  Value *ends = arena_allocate(&run->arena, 2 * sizeof *ends);
  if (!ends) return status_nomem();
  if (!join_table_ends(&b->table, run->plan->schema.columns[column].type, &ends[0], &ends[1])) return KVSTORE_OK;
  terms[*count] =
    (PredicateTerm){ .kind = TERM_COMPARE, .op = COMPARE_BETWEEN, .column = column, .constants = ends, .count = 2 };
  list[*count] = &terms[*count];
  ++*count;
  return KVSTORE_OK;
}

/* The query's own table as its plan says, and within those ends. */
static Status make_own(JoinRun *run) {
  const Query *of = run->plan->own;
  PredicateTerm terms[JOIN_TABLES_MAX], all = { .kind = TERM_AND };
  const PredicateTerm *list[JOIN_TABLES_MAX];
  Predicate ends;
  for (size_t i = 0; i < run->plan->step_count; i++) TRY(add_ends(run, &run->builds[i], terms, list, &all.count));
  all.terms = list;
  TRY(predicate_bind(&of->schema, &all, &run->arena, &ends));
  const PredicateNode *roots[3] = { ends.root };
  size_t count = 1;
  if (query_predicate(of)) roots[count++] = of->where.root;
  if (of->range.asked.root) roots[count++] = of->range.asked.root;
  TRY(query_create(&of->schema, &run->own));
  TRY(predicate_of_terms(roots, count, NULL, &run->arena, &run->own->where));
  buffer_text(&run->own->where_text, "true");
  TRY(buffer_status(&run->own->where_text));
  buffer_append(&run->own->range.asked_low, of->range.asked_low.data, of->range.asked_low.length);
  buffer_append(&run->own->range.asked_high, of->range.asked_high.data, of->range.asked_high.length);
  return query_keys_derive(run->own, &run->own->where);
}

enum { PARTS_MOST = 4 /* for which the rows before a table are read again */ };

/* Tables that are not whole go to partitions, unless it is one alone and takes few parts. */
static Status leave(JoinRun *run) {
  size_t count = 0;
  for (size_t i = 0; i < run->plan->step_count; i++) count += !join_is_whole(&run->builds[i]);
  for (size_t i = 0; i < run->plan->step_count && run->has_space && run->space.write; i++) {
    JoinBuild *b = &run->builds[i];
    if (join_is_whole(b)) continue;
    uint64_t parts = join_build_parts(b);
    if (count <= 1 && parts <= PARTS_MOST) continue;
    Status status = join_build_leave(b, parts);
    if (status == KVSTORE_READONLY) { /* who may make no file goes on in parts */
      status_clear();
      return join_build_stay(b);
    }
    TRY(status);
  }
  return KVSTORE_OK;
}

static bool asks_own_table(const JoinPlan *plan, const JoinStep *step) {
  for (size_t k = 0; k < step->count; k++)
    if (join_table_of(plan, step->left[k])) return false;
  return true;
}

/* Which stages there are. */
static void decide(JoinRun *run) {
  const JoinPlan *plan = run->plan;
  run->is_empty = false;
  for (size_t i = 0; i < plan->step_count; i++) {
    const JoinStep *step = &plan->steps[i];
    bool is_whole = join_is_whole(&run->builds[i]);
    if (is_whole && step->kind >= JOIN_SEMI) run->decided[i] |= asks_own_table(plan, step);
    if (is_whole && (step->kind == JOIN_INNER || step->kind == JOIN_SEMI))
      run->is_empty |= !run->builds[i].table.row_count;
    COUNT_MANY(joins_decided, run->decided[i]);
  }
  for (run->first_stage = 0; run->first_stage + 1 < plan->step_count && run->decided[run->first_stage];)
    run->first_stage++;
}

static Status begin(JoinRun *run) {
  JoinPlan *plan = run->plan;
  query_destroy(run->own); /* of a beginning that failed; so are builds */
  run->own = NULL;
  run->is_divided = true;
  memset(run->decided, 0, sizeof run->decided);
  for (size_t i = plan->step_count; i-- > 0;) {
    JoinBuild *b = &run->builds[i];
    join_build_end(b);
    *b = (JoinBuild){ .run = run, .step = &plan->steps[i], .number = i, .snapshot = &run->tables[i + 1] };
    TRY(join_build_begin(b));
    TRY(join_build_first(b));
    run->is_divided &= join_is_whole(b);
  }
  TRY(leave(run));
  decide(run);
  TRY(make_own(run));
  run->is_begun = true;
  return KVSTORE_OK;
}

/* ---- flows ---- */

/* What the first stage would ask one by one anyway is asked before it only where it is asked side by side. Where rows
 * are read several times each time leaves the same ones out. */
static Status make_sieves(JoinFlow *flow) {
  JoinRun *run = flow->run;
  flow->sieves = arena_allocate_zeroed(&flow->arena, run->plan->step_count * sizeof *flow->sieves);
  if (!flow->sieves) return status_nomem();
  for (size_t i = 0; i < run->plan->step_count; i++) {
    JoinStep *step = &run->plan->steps[i];
    JoinSieve *sieve = &flow->sieves[flow->sieve_count];
    if (step->kind == JOIN_LEFT || !join_is_whole(&run->builds[i]) || !asks_own_table(run->plan, step)) continue;
    TRY(join_sieve_create(sieve, &run->builds[i].table, step, &run->plan->schema, 0, &flow->arena));
    sieve->may_rest = run->is_divided && !run->decided[i];
    flow->sieve_count += i != run->first_stage || run->decided[i] || join_sieve_is_side_by_side(sieve);
  }
  return KVSTORE_OK;
}

static Status fill_flow(JoinFlow *flow) {
  JoinRun *run = flow->run;
  flow->values = arena_allocate_aligned(&flow->arena, 64, BLOCK_ROWS * sizeof(Bytes));
  flow->nulls = arena_allocate(&flow->arena, BLOCK_ROWS);
  flow->stages = arena_allocate_zeroed(&flow->arena, run->plan->step_count * sizeof *flow->stages);
  if (!flow->values || !flow->nulls || !flow->stages) return status_nomem();
  for (size_t i = run->first_stage; i < run->plan->step_count; i++) TRY(join_stage_create(flow, i));
  return make_sieves(flow);
}

/* One that rests, or another one. All of them are the run's. */
static Status take_flow(JoinRun *run, JoinFlow **out) {
  mutex_lock(&run->lock);
  JoinFlow *flow = run->resting;
  if (flow) run->resting = flow->next_resting;
  mutex_unlock(&run->lock);
  *out = flow;
  if (flow) return KVSTORE_OK;
  flow = memory_allocate_zeroed(sizeof *flow);
  if (!flow) return status_nomem();
  COUNT(join_flows);
  flow->run = run;
  mutex_lock(&run->lock);
  flow->next = run->flows;
  run->flows = flow;
  mutex_unlock(&run->lock);
  *out = flow;
  return fill_flow(flow);
}

static Status open_stream(void *context, uint32_t number, void **stream) {
  JoinRun *run = context;
  JoinFlow *flow;
  if (!run->is_begun) TRY(begin(run));
  TRY(take_flow(run, &flow));
  flow->first_unit = number;
  flow->end_unit = number + 1;
  if (!run->is_divided) { /* the first stream has all rows */
    flow->end_unit = run->tables[0].unit_count;
    if (number) flow->first_unit = flow->end_unit;
  }
  *stream = flow;
  return flow->first_unit < flow->end_unit ? join_stage_restart(&flow->stages[run->plan->step_count - 1]) : KVSTORE_OK;
}

static Status next_piece(void *stream, ScanUnit *piece, bool *more) {
  JoinFlow *flow = stream;
  *more = false;
  if (flow->first_unit >= flow->end_unit || flow->run->is_empty) return KVSTORE_OK;
  return join_stage_next(&flow->stages[flow->run->plan->step_count - 1], piece, more);
}

static void close_stream(void *stream) {
  JoinFlow *flow = stream;
  mutex_lock(&flow->run->lock);
  flow->next_resting = flow->run->resting;
  flow->run->resting = flow;
  mutex_unlock(&flow->run->lock);
}

static Status begin_sharing(void *context, bool *divisible) {
  JoinRun *run = context;
  if (!run->is_begun) TRY(begin(run));
  *divisible = run->is_divided;
  return KVSTORE_OK;
}

/* ---- the snapshot ---- */

static Status forward_tick(void *context, uint64_t rows, uint64_t rows_total) {
  (void)rows;
  (void)rows_total;
  return join_tick(context, 0);
}
static Status forward_tick_help(void *context, uint64_t rows, uint64_t rows_total) {
  const JoinRun *run = context;
  return run->space.tick_help ? run->space.tick_help(run->space.context, rows, rows_total) : KVSTORE_OK;
}
static Status forward_write(void *context, const void *bytes, size_t length, uint64_t *at) {
  const JoinRun *run = context;
  return run->space.write(run->space.context, bytes, length, at);
}
static Status forward_read(void *context, uint64_t at, void *bytes, size_t length) {
  const JoinRun *run = context;
  return run->space.read(run->space.context, at, bytes, length);
}

static void destroy_flow(JoinFlow *flow) {
  for (size_t i = 0; flow->stages && i < flow->run->plan->step_count; i++) join_stage_destroy(&flow->stages[i]);
  arena_release(&flow->arena);
  memory_release(flow);
}

static void run_release(void *owner) {
  JoinRun *run = owner;
  for (JoinFlow *flow = run->flows, *next; flow; flow = next) {
    next = flow->next;
    destroy_flow(flow);
  }
  for (size_t i = 0; i < JOIN_TABLES_MAX; i++) join_build_end(&run->builds[i]);
  query_destroy(run->own);
  arena_release(&run->arena);
  for (size_t i = 0; i < run->table_count; i++) table_snapshot_release(&run->tables[i]);
  mutex_destroy(&run->lock);
  memory_release(run->units);
  memory_release(run);
}

static Status make_units(JoinRun *run, const TableSnapshot *own) {
  run->source = (ScanSource){ run, open_stream, next_piece, close_stream, begin_sharing, NULL };
  run->units = memory_allocate_zeroed(memory_array_size(own->unit_count + 1u, sizeof *run->units));
  if (!run->units) return status_nomem();
  for (uint32_t i = 0; i < own->unit_count; i++) {
    run->units[i] = (ScanUnit){ .kind = SCAN_UNIT_STREAM, .source = &run->source, .number = i };
    run->units[i].row_count = own->units[i].row_count;
  }
  return KVSTORE_OK;
}

Status join_open(JoinPlan *plan, const Query *query, bool rows, const QuerySpace *space, TableSnapshot *tables,
                 TableSnapshot *out, QuerySpace *rest) {
  for (size_t i = 0; i <= plan->step_count; i++)
    TRY(query_check_schema(i ? plan->steps[i - 1].query : plan->own, tables[i].schema));
  JoinRun *run = memory_allocate_zeroed(sizeof *run);
  if (!run) return status_nomem();
  Status status = make_units(run, &tables[0]);
  if (status != KVSTORE_OK) {
    memory_release(run);
    return status;
  }
  mutex_init(&run->lock);
  run->plan = plan;
  run->query = query;
  run->rows = rows;
  run->table_count = plan->step_count + 1;
  for (size_t i = 0; i < run->table_count; i++) {
    run->total += query_snapshot_rows(&tables[i]);
    run->tables[i] = tables[i];
    table_snapshot_set_clock(&run->tables[i], run->tables[0].now_ms);
    tables[i] = (TableSnapshot){ 0 };
  }
  *out = (TableSnapshot){ &plan->schema, run->units,  run->tables[0].unit_count, run->tables[0].now_ms,
                          run,           run_release, run->tables[0].undone };
  if (space) {
    run->has_space = true;
    run->space = *space;
    *rest = (QuerySpace){ .memory_limit = space->memory_limit / 2,
                          .context = run,
                          .tick = forward_tick,
                          .tick_help = forward_tick_help,
                          .write = forward_write,
                          .read = forward_read };
  }
  return KVSTORE_OK;
}

uint64_t join_spilled(const TableSnapshot *joined) {
  const JoinRun *run = joined->owner;
  uint64_t bytes = 0;
  for (size_t i = 0; i < run->plan->step_count; i++) bytes += run->plan->steps[i].spilled_bytes;
  return bytes;
}

ScanCounters join_counters(const TableSnapshot *joined) {
  const JoinRun *run = joined->owner;
  ScanCounters total = run->done;
  for (size_t i = 0; i < run->plan->step_count; i++) {
    const JoinBuild *b = &run->builds[i];
    if (b->scan) scan_counters_add(&total, scan_counters(b->scan));
  }
  for (const JoinFlow *flow = run->flows; flow; flow = flow->next) {
    const Scan *source = flow->stages ? flow->stages[run->first_stage].source : NULL;
    if (source) scan_counters_add(&total, scan_counters(source));
  }
  return total;
}
