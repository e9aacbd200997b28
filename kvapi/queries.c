/* queries.c - questions about a table.
 *
 * What the caller has asked (filter, columns, limit, order) is kept as it was given. A *plan* is an engine's query made
 * from it; it never changes, so that open cursors may share it while the caller asks something else. A change drops the
 * plan, and the next run makes another. */
#include <string.h>

#include "base/memory.h"
#include "kvapi/snapshots.h"
#include "kvapi/tables.h"
#include "kvapi/values.h"

_Static_assert(KVQUERY_ROWS == (int)AGGREGATE_ROWS && KVQUERY_VALUES == (int)AGGREGATE_VALUES &&
                 KVQUERY_SUM == (int)AGGREGATE_TOTAL && KVQUERY_MIN == (int)AGGREGATE_LEAST &&
                 KVQUERY_MAX == (int)AGGREGATE_GREATEST && KVQUERY_AVG == (int)AGGREGATE_MEAN,
               "one number");

typedef struct Plan {
  uint32_t references; /* of the query and its cursors: one thread */
  Query *query;
} Plan;

typedef struct Filter {
  Arena arena;
  char *text; /* NULL: every row */
  Value *parameters;
  size_t parameter_count;
} Filter;

struct KVQuery {
  uint32_t magic;
  uint32_t references; /* the caller's and its cursors': one thread */
  KVTable *table;
  KVSnapshot *snapshot; /* NULL: what is there at each run */
  Filter filter;
  Arena selection;
  const char **selected;
  size_t selected_count; /* 0: all */
  uint64_t offset, limit;
  bool ordered;
  Plan *rows;       /* NULL until it is needed */
  Plan *aggregates; /* the same; answers the asks below */
  Arena asks_arena;
  KVAggregate *asks;
  size_t ask_count;
  Arena strings;         /* of the last aggregates */
  Plan *last;            /* what ran last, for explain */
  ScanCounters counters; /* what that did */
};

struct KVCursor {
  uint32_t magic;
  bool failed;
  KVQuery *query;
  Plan *plan;
  QueryCursor *rows;
  QueryBatch batch;
  uint32_t at; /* the current row; row_count: none yet of the next batch */
  bool on_row;
  size_t column_count;
  KVColumnData *columns; /* of the caller's batch */
};

/* ---- plans ---- */

static void plan_release(Plan *plan) {
  if (!plan || --plan->references) return;
  query_destroy(plan->query);
  memory_release(plan);
}

static void plan_replace(Plan **place, Plan *plan) {
  plan_release(*place);
  *place = plan;
  if (plan) plan->references++;
}

/* An engine's query with the filter; one reference. */
static Status plan_create(const KVTable *table, const Filter *filter, Plan **out) {
  Plan *plan = memory_allocate_zeroed(sizeof *plan);
  if (!plan) return status_nomem();
  plan->references = 1;
  Status status = query_create(&table->schema, &plan->query);
  if (status == KVSTORE_OK && filter->text)
    status = query_where(plan->query, filter->text, strlen(filter->text), filter->parameters, filter->parameter_count);
  if (status == KVSTORE_OK)
    *out = plan;
  else
    plan_release(plan);
  return status;
}

static void forget_plans(KVQuery *q) {
  plan_replace(&q->rows, NULL);
  plan_replace(&q->aggregates, NULL);
}

static Status plan_rows(KVQuery *q) {
  Plan *plan = NULL;
  if (q->rows) return KVSTORE_OK;
  TRY(plan_create(q->table, &q->filter, &plan));
  Status status = KVSTORE_OK;
  if (q->selected_count) status = query_select(plan->query, q->selected, q->selected_count);
  if (status == KVSTORE_OK) {
    query_limit(plan->query, q->offset, q->limit);
    query_order_by_key(plan->query, q->ordered);
    plan_replace(&q->rows, plan);
  }
  plan_release(plan);
  return status;
}

static bool same_asks(const KVQuery *q, const KVAggregate *asks, size_t count) {
  if (!q->aggregates || q->ask_count != count) return false;
  for (size_t i = 0; i < count; i++) {
    if (q->asks[i].kind != asks[i].kind) return false;
    if (asks[i].kind != KVQUERY_ROWS && strcmp(q->asks[i].column, asks[i].column) != 0) return false;
  }
  return true;
}

static Status add_asks(const KVQuery *q, const KVAggregate *asks, size_t count, Plan *plan) {
  (void)q;
  for (size_t i = 0; i < count; i++)
    TRY(
      query_aggregate(plan->query, (AggregateKind)asks[i].kind, asks[i].kind == KVQUERY_ROWS ? NULL : asks[i].column));
  return KVSTORE_OK;
}

/* Remembers what was asked, so that the same again needs no new plan. */
static Status keep_asks(KVQuery *q, const KVAggregate *asks, size_t count) {
  arena_reset(&q->asks_arena);
  q->ask_count = 0;
  q->asks = arena_allocate_zeroed(&q->asks_arena, memory_array_size(count, sizeof *q->asks));
  if (!q->asks) return status_nomem();
  for (size_t i = 0; i < count; i++) {
    q->asks[i].kind = asks[i].kind;
    if (asks[i].kind == KVQUERY_ROWS) continue;
    q->asks[i].column = arena_copy_string(&q->asks_arena, asks[i].column, strlen(asks[i].column));
    if (!q->asks[i].column) return status_nomem();
  }
  q->ask_count = count;
  return KVSTORE_OK;
}

static Status plan_aggregates(KVQuery *q, const KVAggregate *asks, size_t count) {
  Plan *plan = NULL;
  if (same_asks(q, asks, count)) return KVSTORE_OK;
  TRY(plan_create(q->table, &q->filter, &plan));
  plan_replace(&q->aggregates, NULL);
  Status status = add_asks(q, asks, count, plan);
  if (status == KVSTORE_OK) status = keep_asks(q, asks, count);
  if (status == KVSTORE_OK) plan_replace(&q->aggregates, plan);
  plan_release(plan);
  return status;
}

/* ---- life ---- */

static Status enter(KVQuery *q) {
  if (!q || q->magic != MAGIC_QUERY) return bad_argument(q ? "this is no open query" : "the query is NULL");
  TRY(handle_enter(q->table->kv));
  Status status = birth_check(q->table->birth);
  if (status != KVSTORE_OK) (void)handle_leave(q->table->kv, status);
  return status;
}

static int refuse(KVQuery *q, Status status) {
  return handle_refuse(q && q->magic == MAGIC_QUERY ? q->table->kv : NULL, status);
}

static int leave(KVQuery *q, Status status) { return handle_leave(q->table->kv, status); }

static void query_drop(KVQuery *q) {
  if (!q || --q->references) return;
  forget_plans(q);
  plan_replace(&q->last, NULL);
  arena_release(&q->filter.arena);
  arena_release(&q->selection);
  arena_release(&q->asks_arena);
  arena_release(&q->strings);
  snapshot_release(q->snapshot);
  table_release(q->table);
  memory_release(q);
}

static Status create(KVTable *table, KVQuery **query) {
  if (!query) return bad_argument("the place for the query is NULL");
  KVQuery *q = memory_allocate_zeroed(sizeof *q);
  if (!q) return status_nomem();
  q->magic = MAGIC_QUERY;
  q->references = 1;
  q->table = table;
  q->limit = QUERY_NO_LIMIT;
  atomic_fetch_add_explicit(&table->references, 1, memory_order_relaxed);
  *query = q;
  return KVSTORE_OK;
}

int kvquery_create(KVTable *table, KVQuery **query) {
  if (query) *query = NULL;
  Status status = table_enter(table);
  if (status != KVSTORE_OK) return table_refuse(table, status);
  return handle_leave(table->kv, create(table, query));
}

void kvquery_close(KVQuery *query) {
  if (!query || query->magic != MAGIC_QUERY) return;
  query->magic = MAGIC_DEAD;
  query_drop(query);
}

/* ---- asking ---- */

static Status at_snapshot(KVQuery *q, KVSnapshot *snapshot) {
  if (snapshot) {
    TRY(place_snapshot(snapshot, NULL).status);
    if (session_store(snapshot->frozen) != session_store(q->table->kv->session))
      return bad_argument("the snapshot is of another store");
    snapshot_retain(snapshot);
  }
  snapshot_release(q->snapshot);
  q->snapshot = snapshot;
  return KVSTORE_OK;
}

int kvquery_at(KVQuery *query, KVSnapshot *snapshot) {
  Status status = enter(query);
  if (status != KVSTORE_OK) return refuse(query, status);
  return leave(query, at_snapshot(query, snapshot));
}

static Session *session_of(const KVQuery *q) { return q->snapshot ? q->snapshot->frozen : q->table->kv->session; }

static Status copy_parameter(const KVValue *given, size_t index, Arena *arena, Value *out) {
  TRY(value_for_filter(given, index, out));
  if (out->is_null || !type_is_string(out->type)) return KVSTORE_OK;
  out->s.data = arena_copy(arena, out->s.data ? out->s.data : (const uint8_t *)"", out->s.length);
  return out->s.data ? KVSTORE_OK : status_nomem();
}

static Status filter_create(const char *text, const KVValue *parameters, size_t count, Filter *filter) {
  if (!parameters && count) return bad_argument("the values of the filter are NULL");
  if (count > EXPRESSION_TEXT_MAX) return status_fail(KVSTORE_LIMIT, "%zu values for a filter", count);
  if (!text || !text[0])
    return count ? status_fail(KVSTORE_ERROR, "%zu values for a filter without any ?", count) : KVSTORE_OK;
  filter->text = arena_copy_string(&filter->arena, text, strlen(text));
  filter->parameters = arena_allocate(&filter->arena, memory_array_size(count, sizeof *filter->parameters));
  if (!filter->text || !filter->parameters) return status_nomem();
  for (size_t i = 0; i < count; i++) TRY(copy_parameter(&parameters[i], i, &filter->arena, &filter->parameters[i]));
  filter->parameter_count = count;
  return KVSTORE_OK;
}

/* Made and bound before the filter that was there goes. */
static Status where(KVQuery *q, const char *text, const KVValue *parameters, size_t count) {
  Filter filter = { 0 };
  Plan *trial = NULL;
  Status status = filter_create(text, parameters, count, &filter);
  if (status == KVSTORE_OK) status = plan_create(q->table, &filter, &trial);
  plan_release(trial);
  if (status == KVSTORE_OK) {
    forget_plans(q);
    arena_release(&q->filter.arena);
    q->filter = filter;
  } else {
    arena_release(&filter.arena);
  }
  return status;
}

int kvquery_where(KVQuery *query, const char *text, const KVValue *parameters, size_t parameter_count) {
  Status status = enter(query);
  if (status != KVSTORE_OK) return refuse(query, status);
  return leave(query, where(query, text, parameters, parameter_count));
}

static Status select_columns(KVQuery *q, const char *const *columns, size_t count) {
  if (!columns && count) return bad_argument("the columns are NULL");
  if (count > KVTABLE_COLUMNS_MAX)
    return status_fail(KVSTORE_LIMIT, "%zu columns selected: at most %d", count, KVTABLE_COLUMNS_MAX);
  Arena arena = { 0 };
  uint32_t position;
  const char **names = arena_allocate(&arena, memory_array_size(count, sizeof *names));
  Status status = names ? KVSTORE_OK : status_nomem();
  for (size_t i = 0; i < count && status == KVSTORE_OK; i++) {
    if (!columns[i])
      status = bad_argument("the name of a column is NULL");
    else
      status = expression_column(&q->table->schema, columns[i], strlen(columns[i]), &position);
    if (status != KVSTORE_OK) break;
    names[i] = arena_copy_string(&arena, columns[i], strlen(columns[i]));
    if (!names[i]) status = status_nomem();
  }
  if (status != KVSTORE_OK) {
    arena_release(&arena);
    return status;
  }
  plan_replace(&q->rows, NULL);
  arena_release(&q->selection);
  q->selection = arena;
  q->selected = names;
  q->selected_count = count;
  return KVSTORE_OK;
}

int kvquery_select(KVQuery *query, const char *const *columns, size_t count) {
  Status status = enter(query);
  if (status != KVSTORE_OK) return refuse(query, status);
  return leave(query, select_columns(query, columns, count));
}

int kvquery_limit(KVQuery *query, uint64_t offset, uint64_t limit) {
  Status status = enter(query);
  if (status != KVSTORE_OK) return refuse(query, status);
  plan_replace(&query->rows, NULL);
  query->offset = offset;
  query->limit = limit;
  return leave(query, KVSTORE_OK);
}

int kvquery_order_by_key(KVQuery *query, int ordered) {
  Status status = enter(query);
  if (status != KVSTORE_OK) return refuse(query, status);
  plan_replace(&query->rows, NULL);
  query->ordered = ordered != 0;
  return leave(query, KVSTORE_OK);
}

/* ---- aggregates ---- */

static KVValue result_to_caller(const AggregateResult *result, int kind) {
  KVValue out;
  if (result->is_null) {
    out = kvvalue_null();
    if (!result->is_integer) out.type = (int)result->value.type;
  } else if (result->is_integer) {
    out = kvvalue_of(KVTABLE_TYPE_DECIMAL);
    out.as.decimal.low = result->integer.low;
    out.as.decimal.high = result->integer.high;
  } else {
    out = kind <= KVQUERY_VALUES ? kvvalue_u64(result->value.u) : value_to_caller(&result->value);
  }
  return out;
}

static Status check_asks(const KVAggregate *asks, size_t count, const KVValue *results) {
  if (!asks || !results || !count) return bad_argument("nothing is asked for, or there is no place for the results");
  if (count > QUERY_AGGREGATES_MAX)
    return status_fail(KVSTORE_LIMIT, "%zu aggregates at once: at most %d", count, QUERY_AGGREGATES_MAX);
  for (size_t i = 0; i < count; i++) {
    if (asks[i].kind < KVQUERY_ROWS || asks[i].kind > KVQUERY_AVG)
      return status_fail(KVSTORE_ERROR, "no such aggregate: %d", asks[i].kind);
    if (asks[i].kind != KVQUERY_ROWS && !asks[i].column) return bad_argument("the column of an aggregate is NULL");
  }
  return KVSTORE_OK;
}

static Status run_aggregates(KVQuery *q, AggregateResult *results) {
  TableSnapshot snapshot;
  arena_reset(&q->strings);
  TRY(table_snapshot(session_of(q), q->table->family, &snapshot));
  Status status = query_run(q->aggregates->query, &snapshot, &q->strings, results, &q->counters);
  table_snapshot_release(&snapshot);
  if (status == KVSTORE_OK) plan_replace(&q->last, q->aggregates);
  return status;
}

static Status aggregate(KVQuery *q, const KVAggregate *asks, size_t count, KVValue *results) {
  TRY(check_asks(asks, count, results));
  for (size_t i = 0; i < count; i++) results[i] = kvvalue_null();
  TRY(plan_aggregates(q, asks, count));
  AggregateResult few[8], *found = few;
  if (count > sizeof few / sizeof *few) found = memory_allocate(memory_array_size(count, sizeof *found));
  if (!found) return status_nomem();
  Status status = run_aggregates(q, found);
  for (size_t i = 0; i < count && status == KVSTORE_OK; i++) results[i] = result_to_caller(&found[i], asks[i].kind);
  if (found != few) memory_release(found);
  return status;
}

int kvquery_aggregate(KVQuery *query, const KVAggregate *aggregates, size_t count, KVValue *results) {
  Status status = enter(query);
  if (status != KVSTORE_OK) return refuse(query, status);
  return leave(query, aggregate(query, aggregates, count, results));
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
  TRY(plan_rows(q));
  TRY(table_snapshot(session_of(q), q->table->family, &snapshot));
  Status status = query_open(q->rows->query, &snapshot, &cursor->rows);
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
  query_close(cursor->rows);
  plan_release(cursor->plan);
  memory_release(cursor->columns);
  query_drop(cursor->query);
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
  Status status = enter(query);
  if (status != KVSTORE_OK) return refuse(query, status);
  return leave(query, open_cursor(query, cursor));
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
  cursor->query->counters = query_counters(cursor->rows);
  plan_replace(&cursor->query->last, cursor->plan);
  return cursor->batch.row_count ? KVSTORE_OK : KVSTORE_NOTFOUND;
}

int kvcursor_next(KVCursor *cursor) {
  Status status = cursor_argument(cursor);
  if (status != KVSTORE_OK) return fail(cursor, status);
  cursor->at += cursor->on_row;
  cursor->on_row = false;
  if (cursor->at >= cursor->batch.row_count) status = load_batch(cursor);
  if (status != KVSTORE_OK) return fail(cursor, status);
  cursor->on_row = true;
  return KVSTORE_OK;
}

int kvcursor_value(KVCursor *cursor, size_t column, KVValue *value) {
  if (value) *value = kvvalue_null();
  Status status = cursor_argument(cursor);
  if (status == KVSTORE_OK && !value) status = bad_argument("the place for the value is NULL");
  if (status == KVSTORE_OK && !cursor->on_row) status = bad_argument("the cursor stands on no row");
  if (status == KVSTORE_OK && column >= cursor->column_count)
    status = status_fail(KVSTORE_ERROR, "column %zu of rows of %zu", column, cursor->column_count);
  if (status != KVSTORE_OK) return fail(cursor, status);
  const ColumnArray *array = &cursor->batch.columns[column];
  Value found = { .type = query_column(cursor->plan->query, column)->type, .is_null = true };
  if (!array->nulls || !array->nulls[cursor->at]) found = value_from_array(found.type, array->values, cursor->at);
  *value = value_to_caller(&found);
  return KVSTORE_OK;
}

size_t kvcursor_column_count(KVCursor *cursor) { return is_cursor(cursor) ? cursor->column_count : 0; }

int kvcursor_column(KVCursor *cursor, size_t column, KVColumnDefinition *definition) {
  if (!is_cursor(cursor) || !definition || column >= cursor->column_count)
    return fail(cursor, bad_argument("no such cursor or column, or no place for its definition"));
  *definition = definition_of(query_column(cursor->plan->query, column));
  return KVSTORE_OK;
}

int kvcursor_next_batch(KVCursor *cursor, uint64_t *row_count, const KVColumnData **columns) {
  if (row_count) *row_count = 0;
  if (columns) *columns = NULL;
  Status status = cursor_argument(cursor);
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

/* ---- what was done ---- */

int kvquery_counters(KVQuery *query, KVQueryCounters *counters) {
  Status status = enter(query);
  if (status != KVSTORE_OK) return refuse(query, status);
  if (!counters || counters->struct_size != sizeof *counters)
    return leave(query, bad_argument("the counters are NULL or do not begin with KVQUERY_COUNTERS_INIT"));
  const ScanCounters *from = &query->counters;
  *counters = (KVQueryCounters){ .struct_size = sizeof *counters,
                                 .units = from->units,
                                 .segments_skipped = from->segments_skipped,
                                 .rows = from->rows,
                                 .rows_selected = from->rows_selected,
                                 .blocks = from->blocks,
                                 .blocks_skipped = from->blocks_skipped,
                                 .blocks_certain = from->blocks_certain,
                                 .blocks_scanned = from->blocks_scanned };
  return leave(query, KVSTORE_OK);
}

static Status explain(KVQuery *q, char **text) {
  if (!text) return bad_argument("the place for the text is NULL");
  if (!q->last) TRY(plan_rows(q));
  Buffer lines = { 0 };
  query_explain(q->last ? q->last->query : q->rows->query, q->last ? &q->counters : NULL, &lines);
  buffer_u8(&lines, 0);
  Status status = buffer_status(&lines);
  if (status == KVSTORE_OK) {
    *text = memory_copy(lines.data, lines.length);
    if (!*text) status = status_nomem();
  }
  buffer_release(&lines);
  return status;
}

int kvquery_explain(KVQuery *query, char **text) {
  if (text) *text = NULL;
  Status status = enter(query);
  if (status != KVSTORE_OK) return refuse(query, status);
  return leave(query, explain(query, text));
}
