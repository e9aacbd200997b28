/* query_runs.c - questions about a table: aggregates, cursors, and what a run has done. */
#include <string.h>

#include "base/memory.h"
#include "kvapi/queries.h"

/* ---- aggregates ---- */

static KVValue result_to_caller(const AggregateResult *result) {
  if (result->is_integer && !result->is_null) return sum_to_caller(result->integer, type_scale(result->value.type));
  KVValue out = value_to_caller(&result->value);
  out.is_null = result->is_null;
  return out;
}

static Status write_scratch(void *context, const void *bytes, size_t length, uint64_t *at) {
  return scratch_write(((Course *)context)->scratch, bytes, length, at);
}
static Status read_scratch(void *context, uint64_t at, void *bytes, size_t length) {
  return scratch_read(((Course *)context)->scratch, at, bytes, length);
}

static Status check_cancels(const Course *course) {
  if (atomic_load_explicit(&course->is_stopped, memory_order_relaxed))
    return status_set(KVSTORE_CANCELLED, "the query was cancelled by who follows its progress");
  bool is_new = atomic_load_explicit(&course->query->cancels, memory_order_relaxed) != course->cancels;
  return is_new ? status_set(KVSTORE_CANCELLED, "the query was cancelled") : KVSTORE_OK;
}

static Status tick(void *context, uint64_t rows, uint64_t rows_total) {
  Course *course = context;
  KVQuery *q = course->query;
  if (q->progress && q->progress(q->progress_context, rows, rows_total))
    atomic_store_explicit(&course->is_stopped, true, memory_order_relaxed);
  return check_cancels(course);
}

static Status tick_help(void *context, uint64_t rows, uint64_t rows_total) {
  (void)rows;
  (void)rows_total;
  return check_cancels(context);
}

static Status course_begin(KVQuery *q, Course *course, QuerySpace *space) {
  course->query = q;
  course->cancels = atomic_load_explicit(&q->cancels, memory_order_relaxed);
  *space = (QuerySpace){ .memory_limit = q->memory_limit,
                         .context = course,
                         .tick = tick,
                         .tick_help = tick_help,
                         .write = write_scratch,
                         .read = read_scratch };
  return scratch_create(question_session(q), &course->scratch);
}

/* What was read are the tables; what was selected are joined rows. */
static void count_joined(ScanCounters *counters, const TableSnapshot *joined) {
  ScanCounters above = *counters;
  *counters = join_counters(joined);
  counters->rows_joined = above.rows;
  counters->rows_selected = above.rows_selected;
  counters->rows_given = above.rows_given;
  counters->whole_ns = above.whole_ns;
  counters->helped = above.helped;
  counters->units_timed = above.units_timed;
  counters->units_looked = above.units_looked;
  memcpy(counters->ticks, above.ticks, sizeof above.ticks);
  memcpy(counters->terms, above.terms, sizeof above.terms);
}

/* What a cursor did is taken when somebody wants to know, or it goes: not with each batch. */
static void take_counters(KVQuery *q) {
  const KVCursor *cursor = q->stepped;
  q->stepped = NULL;
  if (!cursor) return;
  q->counters = query_counters(cursor->rows);
  q->spilled = query_spilled(cursor->rows);
  if (!cursor->plan->join) return;
  count_joined(&q->counters, query_snapshot(cursor->rows));
  q->spilled += join_spilled(query_snapshot(cursor->rows));
}

static Status run_aggregates(KVQuery *q, AggregateResult *results) {
  TableSnapshot snapshot = { 0 };
  Course course = { 0 };
  QuerySpace space;
  arena_reset(&q->strings);
  q->stepped = NULL;
  q->counters = (ScanCounters){ 0 };
  q->spilled = 0;
  plan_replace(&q->last, q->aggregates);
  TRY(course_begin(q, &course, &space));
  Status status = question_open(q, q->aggregates, false, &space, &snapshot, &space);
  query_threads(q->aggregates->query, q->threads);
  if (status == KVSTORE_OK) {
    status = query_run_within(q->aggregates->query, &snapshot, &space, &q->strings, results, &q->counters);
    if (q->aggregates->join) count_joined(&q->counters, &snapshot);
  }
  q->spilled = scratch_bytes(course.scratch);
  scratch_destroy(course.scratch);
  table_snapshot_release(&snapshot);
  return status;
}

static Status aggregate(KVQuery *q, const KVAggregate *asks, size_t count, KVValue *results) {
  if (!asks || !results || !count) return bad_argument("nothing is asked for, or there is no place for the results");
  TRY(question_check_asks(asks, count));
  TRY(plan_aggregates(q, asks, count));
  AggregateResult few[8], *found = few;
  if (count > sizeof few / sizeof *few) found = memory_allocate(memory_array_size(count, sizeof *found));
  if (!found) return status_nomem();
  Status status = run_aggregates(q, found);
  for (size_t i = 0; i < count && status == KVSTORE_OK; i++) results[i] = result_to_caller(&found[i]);
  if (found != few) memory_release(found);
  return status;
}

int kvquery_aggregate(KVQuery *query, const KVAggregate *aggregates, size_t count, KVValue *results) {
  for (size_t i = 0; results && aggregates && i < count && count <= QUERY_AGGREGATES_MAX; i++)
    results[i] = kvvalue_null();
  Status status = question_enter(query);
  if (status != KVSTORE_OK) return question_refuse(query, status);
  return question_leave(query, aggregate(query, aggregates, count, results));
}

static int one(KVQuery *query, int kind, const char *column, KVValue *result) {
  KVAggregate ask = { kind, column };
  if (result) *result = kvvalue_null();
  return kvquery_aggregate(query, &ask, 1, result);
}

int kvquery_count(KVQuery *query, uint64_t *count) {
  KVValue result = kvvalue_u64(0);
  if (count) *count = 0;
  int status = one(query, KVQUERY_ROWS, NULL, count ? &result : NULL);
  if (status == KVSTORE_OK && count) *count = result.as.u64;
  return status;
}

int kvquery_sum(KVQuery *query, const char *column, KVValue *result) { return one(query, KVQUERY_SUM, column, result); }
int kvquery_min(KVQuery *query, const char *column, KVValue *result) { return one(query, KVQUERY_MIN, column, result); }
int kvquery_max(KVQuery *query, const char *column, KVValue *result) { return one(query, KVQUERY_MAX, column, result); }
int kvquery_avg(KVQuery *query, const char *column, KVValue *result) { return one(query, KVQUERY_AVG, column, result); }

/* ---- rows ---- */

/* The cursor takes the snapshot over when it is made, and not before. */
static Status open_rows(KVQuery *q, KVCursor *cursor) {
  TableSnapshot snapshot;
  QuerySpace space;
  TRY(plan_rows(q));
  TRY(course_begin(q, &cursor->course, &space));
  TRY(question_open(q, q->rows, true, &space, &snapshot, &space));
  query_threads(q->rows->query, q->threads);
  Status status = query_open_within(q->rows->query, &snapshot, &space, &cursor->rows);
  if (status != KVSTORE_OK) {
    table_snapshot_release(&snapshot);
    return status;
  }
  plan_replace(&cursor->plan, q->rows);
  cursor->column_count = query_column_count(q->rows->query);
  cursor->columns = memory_allocate_zeroed(memory_array_size(cursor->column_count, sizeof *cursor->columns));
  return cursor->columns ? KVSTORE_OK : status_nomem();
}

static void cursor_release(KVCursor *cursor) {
  if (cursor->query->stepped == cursor) take_counters(cursor->query);
  scratch_destroy(cursor->course.scratch);
  query_close(cursor->rows);
  plan_release(cursor->plan);
  memory_release(cursor->columns);
  question_drop(cursor->query);
  memory_release(cursor);
}

static Status open_cursor(KVQuery *q, KVCursor **out) {
  if (!out) return bad_argument("the place for the cursor is NULL");
  KVCursor *cursor = memory_allocate_zeroed(sizeof *cursor);
  if (!cursor) return status_nomem();
  cursor->magic = MAGIC_CURSOR;
  cursor->query = q;
  q->references++;
  Status status = open_rows(q, cursor);
  if (status == KVSTORE_OK)
    *out = cursor;
  else
    cursor_release(cursor);
  return status;
}

int kvquery_open(KVQuery *query, KVCursor **cursor) {
  if (cursor) *cursor = NULL;
  Status status = question_enter(query);
  if (status != KVSTORE_OK) return question_refuse(query, status);
  return question_leave(query, open_cursor(query, cursor));
}

void kvcursor_close(KVCursor *cursor) {
  if (!cursor || cursor->magic != MAGIC_CURSOR) return;
  cursor->magic = MAGIC_DEAD;
  cursor_release(cursor);
}

static bool is_cursor(const KVCursor *cursor) { return cursor && cursor->magic == MAGIC_CURSOR; }

/* A cursor calls no session, so it need not enter; a failure is the handle's all the same. */
static int fail(KVCursor *cursor, Status status) {
  if (!is_cursor(cursor)) return handle_refuse(NULL, status);
  if (status == KVSTORE_NOTFOUND) return status; /* the end */
  KVStore *kv = cursor->query->table->kv;
  handle_tally(kv, TALLY_ERRORS, 1);
  return handle_refuse(kv, status);
}

static Status cursor_argument(const KVCursor *cursor) {
  if (!is_cursor(cursor)) return bad_argument(cursor ? "this is no open cursor" : "the cursor is NULL");
  if (handle_is_inherited(cursor->query->table->kv)) return handle_refuse_inherited();
  return cursor->failed ? bad_argument("the cursor has failed before: it can only be closed") : KVSTORE_OK;
}

/* KVSTORE_NOTFOUND when there are no more. */
static Status load_batch(KVCursor *cursor) {
  cursor->on_row = false;
  cursor->at = 0;
  cursor->batch = (QueryBatch){ 0 };
  Status status = query_next(cursor->rows, &cursor->batch);
  if (status != KVSTORE_OK) {
    cursor->failed = true;
    cursor->batch = (QueryBatch){ 0 };
    return status;
  }
  cursor->query->stepped = cursor;
  plan_replace(&cursor->query->last, cursor->plan);
  return cursor->batch.row_count ? KVSTORE_OK : KVSTORE_NOTFOUND;
}

/* Before a step: rows of a batch end, too, with the transaction that they were of, and when the query is cancelled. */
static Status step_argument(KVCursor *cursor) {
  TRY(cursor_argument(cursor));
  Status status = check_cancels(&cursor->course);
  if (status == KVSTORE_OK) status = table_snapshot_check(query_snapshot(cursor->rows));
  cursor->failed = status != KVSTORE_OK;
  return status;
}

int kvcursor_next(KVCursor *cursor) {
  Status status = step_argument(cursor);
  if (status != KVSTORE_OK) return fail(cursor, status);
  cursor->at += cursor->on_row;
  cursor->on_row = false;
  if (cursor->at >= cursor->batch.row_count) status = load_batch(cursor);
  if (status != KVSTORE_OK) return fail(cursor, status);
  cursor->on_row = true;
  return KVSTORE_OK;
}

static KVValue array_value(const ColumnArray *array, ColumnType type, uint32_t row) {
  Value found = { .type = type, .is_null = array->nulls && array->nulls[row] };
  if (query_type_is_wide(type) && !found.is_null)
    return sum_to_caller(((const Int128 *)array->values)[row], query_sum_scale(type));
  if (!found.is_null) found = value_from_array(type, array->values, row);
  return value_to_caller(&found);
}

int kvcursor_value(KVCursor *cursor, size_t column, KVValue *value) {
  if (value) *value = kvvalue_null();
  Status status = cursor_argument(cursor);
  if (status == KVSTORE_OK && !value) status = bad_argument("the place for the value is NULL");
  if (status == KVSTORE_OK && !cursor->on_row) status = bad_argument("the cursor stands on no row");
  if (status == KVSTORE_OK && column >= cursor->column_count)
    status = status_fail(KVSTORE_ERROR, "column %zu of rows of %zu", column, cursor->column_count);
  if (status != KVSTORE_OK) return fail(cursor, status);
  *value = array_value(&cursor->batch.columns[column], query_column(cursor->plan->query, column)->type, cursor->at);
  return KVSTORE_OK;
}

size_t kvcursor_column_count(KVCursor *cursor) { return is_cursor(cursor) ? cursor->column_count : 0; }

int kvcursor_column(KVCursor *cursor, size_t column, KVColumnDefinition *definition) {
  if (!is_cursor(cursor) || !definition || column >= cursor->column_count)
    return fail(cursor, bad_argument("no such cursor or column, or no place for its definition"));
  if (handle_is_inherited(cursor->query->table->kv)) return fail(cursor, handle_refuse_inherited());
  *definition = definition_of(query_column(cursor->plan->query, column));
  return KVSTORE_OK;
}

int kvcursor_next_batch(KVCursor *cursor, uint64_t *row_count, const KVColumnData **columns) {
  if (row_count) *row_count = 0;
  if (columns) *columns = NULL;
  Status status = step_argument(cursor);
  if (status == KVSTORE_OK && !(row_count && columns)) status = bad_argument("the place for the batch is NULL");
  if (status != KVSTORE_OK) return fail(cursor, status);
  cursor->at += cursor->on_row;
  cursor->on_row = false;
  if (cursor->at >= cursor->batch.row_count) status = load_batch(cursor);
  if (status != KVSTORE_OK) return fail(cursor, status);
  for (size_t c = 0; c < cursor->column_count; c++)
    cursor->columns[c] =
      column_to_caller(&cursor->batch.columns[c], query_column(cursor->plan->query, c)->type, cursor->at);
  *row_count = cursor->batch.row_count - cursor->at;
  *columns = cursor->columns;
  cursor->at = cursor->batch.row_count;
  return KVSTORE_OK;
}

static int filled(KVCursor *cursor, Status status, uint64_t rows) {
  cursor->failed = status != KVSTORE_OK;
  if (status != KVSTORE_OK) return fail(cursor, status);
  if (!rows) return KVSTORE_OK;
  cursor->query->stepped = cursor;
  plan_replace(&cursor->query->last, cursor->plan);
  return KVSTORE_OK;
}

static bool holds_rows(const KVCursor *cursor) { return cursor->at + cursor->on_row < cursor->batch.row_count; }

int cursor_ahead(KVCursor *cursor, uint64_t *rows) {
  *rows = 0;
  Status status = step_argument(cursor);
  if (status != KVSTORE_OK) return fail(cursor, status);
  if (holds_rows(cursor)) return KVSTORE_OK;
  status = query_ahead(cursor->rows, rows);
  return filled(cursor, status, *rows);
}

int cursor_fill(KVCursor *cursor, uint32_t most, void *const *values, uint8_t *const *nulls, uint32_t *count) {
  *count = 0;
  Status status = step_argument(cursor);
  if (status != KVSTORE_OK) return fail(cursor, status);
  if (holds_rows(cursor)) return KVSTORE_OK;
  status = query_fill(cursor->rows, most, values, nulls, count);
  return filled(cursor, status, *count);
}

/* ---- what was done ---- */

int kvquery_counters(KVQuery *query, KVQueryCounters *counters) {
  Status status = question_enter(query);
  if (status != KVSTORE_OK) return question_refuse(query, status);
  if (!counters) return question_leave(query, bad_argument("the place for the counters is NULL"));
  take_counters(query);
  const ScanCounters *from = &query->counters;
  KVQueryCounters full = { .units = from->units,
                           .segments_skipped = from->segments_skipped,
                           .rows = from->rows,
                           .rows_selected = from->rows_selected,
                           .blocks = from->blocks,
                           .blocks_skipped = from->blocks_skipped,
                           .blocks_certain = from->blocks_certain,
                           .blocks_scanned = from->blocks_scanned,
                           .bytes_spilled = query->spilled };
  return question_leave(query, struct_answer(counters, &full, sizeof full, "KVQUERY_COUNTERS_INIT"));
}

typedef void Explain(const Query *query, const ScanCounters *counters, uint64_t bytes_spilled, Buffer *out);

static void explain_joins(const Plan *plan, Explain *way, Buffer *lines) {
  if (!plan->join) return;
  if (way == query_explain) {
    join_explain(plan->join, lines);
    return;
  }
  if (lines->length) lines->length--; /* within the object */
  buffer_append(lines, ",\"joins\":", 9);
  join_explain_json(plan->join, lines);
  buffer_u8(lines, '}');
}

static Status explain(KVQuery *q, Explain *way, char **text) {
  if (!text) return bad_argument("the place for the text is NULL");
  take_counters(q);
  bool has_run = q->last && (q->last == q->rows || q->last == q->aggregates); /* else it asks something else now */
  if (!has_run) TRY(plan_rows(q));
  const Plan *plan = has_run ? q->last : q->rows;
  Buffer lines = { 0 };
  way(plan->query, has_run ? &q->counters : NULL, q->spilled, &lines);
  explain_joins(plan, way, &lines);
  return text_to_caller(&lines, text);
}

static int explain_so(KVQuery *query, Explain *way, char **text) {
  if (text) *text = NULL;
  Status status = question_enter(query);
  if (status != KVSTORE_OK) return question_refuse(query, status);
  return question_leave(query, explain(query, way, text));
}

int kvquery_explain(KVQuery *query, char **text) { return explain_so(query, query_explain, text); }
int kvquery_explain_json(KVQuery *query, char **text) { return explain_so(query, query_explain_json, text); }

/* ---- while it runs ---- */

int kvquery_cancel(KVQuery *query) {
  if (!query || query->magic != MAGIC_QUERY)
    return handle_refuse(NULL, bad_argument(query ? "this is no open query" : "the query is NULL"));
  if (handle_is_inherited(query->table->kv)) return question_refuse(query, handle_refuse_inherited());
  atomic_fetch_add_explicit(&query->cancels, 1, memory_order_relaxed);
  return KVSTORE_OK;
}

int kvquery_progress(KVQuery *query, KVQueryProgress progress, void *context) {
  Status status = question_enter(query);
  if (status != KVSTORE_OK) return question_refuse(query, status);
  query->progress = progress;
  query->progress_context = context;
  return question_leave(query, KVSTORE_OK);
}
