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
                 KVQUERY_MAX == (int)AGGREGATE_GREATEST && KVQUERY_AVG == (int)AGGREGATE_MEAN &&
                 KVQUERY_VARIANCE == (int)AGGREGATE_VARIANCE &&
                 KVQUERY_VARIANCE_POP == (int)AGGREGATE_VARIANCE_POPULATION &&
                 KVQUERY_STDDEV == (int)AGGREGATE_DEVIATION &&
                 KVQUERY_STDDEV_POP == (int)AGGREGATE_DEVIATION_POPULATION &&
                 KVQUERY_COUNT_DISTINCT == (int)AGGREGATE_DISTINCT && KVQUERY_FIRST == (int)AGGREGATE_FIRST &&
                 KVQUERY_LAST == (int)AGGREGATE_LAST && (int)AGGREGATE_KINDS == KVQUERY_LAST + 1,
               "one number");
_Static_assert(sizeof(KVDecimal) == sizeof(Int128) && offsetof(KVDecimal, high) == offsetof(Int128, high),
               "arrays of sums cross the door as they are");
_Static_assert(KVTABLE_TYPE_DECIMAL == (int)QUERY_TYPE_DECIMAL, "one number");

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

/* Names or aggregates as they were given, in an arena of their own. */
typedef struct NameList {
  Arena arena;
  const char **names;
  size_t count;
} NameList;
typedef struct AskList {
  Arena arena;
  KVAggregate *asks;
  size_t count;
} AskList;
typedef struct OrderList {
  Arena arena;
  QueryOrder *terms;
  size_t count;
} OrderList;

struct KVQuery {
  uint32_t magic;
  uint32_t references; /* the caller's and its cursors': one thread */
  KVTable *table;
  KVSnapshot *snapshot; /* NULL: what is there at each run */
  Filter filter;
  NameList selected; /* of none: all */
  NameList grouped;
  AskList computed;
  Filter having;
  OrderList order;
  uint64_t offset, limit;
  bool ordered, distinct;
  Plan *rows;       /* NULL until it is needed */
  Plan *aggregates; /* the same; answers what `asked` says */
  AskList asked;
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

static KVValue decimal_to_caller(Int128 number) {
  KVValue out = kvvalue_of(KVTABLE_TYPE_DECIMAL);
  out.as.decimal.low = number.low;
  out.as.decimal.high = number.high;
  return out;
}

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

static Status add_asks(const AskList *list, Plan *plan) {
  for (size_t i = 0; i < list->count; i++) {
    const KVAggregate *ask = &list->asks[i];
    TRY(query_aggregate(plan->query, (AggregateKind)ask->kind, ask->kind == KVQUERY_ROWS ? NULL : ask->column));
  }
  return KVSTORE_OK;
}

static bool is_grouped(const KVQuery *q) { return q->grouped.count || q->computed.count; }

static Status add_groups(const KVQuery *q, Query *query, Plan *plan) {
  TRY(add_asks(&q->computed, plan));
  TRY(query_group_by(query, q->grouped.names, q->grouped.count));
  if (!q->having.text) return KVSTORE_OK;
  return query_having(query, q->having.text, strlen(q->having.text), q->having.parameters, q->having.parameter_count);
}

static Status shape_rows(const KVQuery *q, Plan *plan) {
  Query *query = plan->query;
  if (is_grouped(q)) {
    TRY(add_groups(q, query, plan));
  } else {
    if (q->having.text) return bad_argument("there is a filter over groups, and nothing is grouped");
    if (q->selected.count) TRY(query_select(query, q->selected.names, q->selected.count));
    if (q->distinct) TRY(query_distinct(query));
  }
  if (q->order.count) TRY(query_order_by(query, q->order.terms, q->order.count));
  query_limit(query, q->offset, q->limit);
  query_order_by_key(query, q->ordered);
  return KVSTORE_OK;
}

static Status plan_rows(KVQuery *q) {
  Plan *plan = NULL;
  if (q->rows) return KVSTORE_OK;
  TRY(plan_create(q->table, &q->filter, &plan));
  Status status = shape_rows(q, plan);
  if (status == KVSTORE_OK) plan_replace(&q->rows, plan);
  plan_release(plan);
  return status;
}

static bool same_asks(const KVQuery *q, const KVAggregate *asks, size_t count) {
  if (!q->aggregates || q->asked.count != count) return false;
  for (size_t i = 0; i < count; i++) {
    if (q->asked.asks[i].kind != asks[i].kind) return false;
    if (asks[i].kind != KVQUERY_ROWS && strcmp(q->asked.asks[i].column, asks[i].column) != 0) return false;
  }
  return true;
}

static void ask_list_release(AskList *list) {
  arena_release(&list->arena);
  *list = (AskList){ 0 };
}

static Status ask_list_copy(const KVAggregate *asks, size_t count, AskList *list) {
  list->asks = arena_allocate_zeroed(&list->arena, memory_array_size(count, sizeof *list->asks));
  if (!list->asks) return status_nomem();
  for (size_t i = 0; i < count; i++) {
    list->asks[i].kind = asks[i].kind;
    if (asks[i].kind == KVQUERY_ROWS) continue;
    list->asks[i].column = arena_copy_string(&list->arena, asks[i].column, strlen(asks[i].column));
    if (!list->asks[i].column) return status_nomem();
  }
  list->count = count;
  return KVSTORE_OK;
}

/* Remembers what was asked, so that the same again needs no new plan. */
static Status plan_aggregates(KVQuery *q, const KVAggregate *asks, size_t count) {
  Plan *plan = NULL;
  if (same_asks(q, asks, count)) return KVSTORE_OK;
  TRY(plan_create(q->table, &q->filter, &plan));
  plan_replace(&q->aggregates, NULL);
  ask_list_release(&q->asked);
  Status status = ask_list_copy(asks, count, &q->asked);
  if (status == KVSTORE_OK) status = add_asks(&q->asked, plan);
  if (status == KVSTORE_OK)
    plan_replace(&q->aggregates, plan);
  else
    ask_list_release(&q->asked);
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
  arena_release(&q->selected.arena);
  arena_release(&q->grouped.arena);
  arena_release(&q->having.arena);
  arena_release(&q->order.arena);
  ask_list_release(&q->computed);
  ask_list_release(&q->asked);
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

static Status copy_names(const KVQuery *q, const char *const *columns, size_t count, NameList *list) {
  uint32_t position;
  list->names = arena_allocate(&list->arena, memory_array_size(count, sizeof *list->names));
  if (!list->names) return status_nomem();
  for (size_t i = 0; i < count; i++) {
    if (!columns[i]) return bad_argument("the name of a column is NULL");
    TRY(expression_column(&q->table->schema, columns[i], strlen(columns[i]), &position));
    list->names[i] = arena_copy_string(&list->arena, columns[i], strlen(columns[i]));
    if (!list->names[i]) return status_nomem();
  }
  list->count = count;
  return KVSTORE_OK;
}

/* Copied and looked up before those that were there go. */
static Status replace_names(KVQuery *q, const char *const *columns, size_t count, NameList *place) {
  NameList list = { 0 };
  if (!columns && count) return bad_argument("the columns are NULL");
  if (count > KVTABLE_COLUMNS_MAX)
    return status_fail(KVSTORE_LIMIT, "%zu columns: at most %d", count, KVTABLE_COLUMNS_MAX);
  Status status = copy_names(q, columns, count, &list);
  if (status != KVSTORE_OK) {
    arena_release(&list.arena);
    return status;
  }
  plan_replace(&q->rows, NULL);
  arena_release(&place->arena);
  *place = list;
  return KVSTORE_OK;
}

int kvquery_select(KVQuery *query, const char *const *columns, size_t count) {
  Status status = enter(query);
  if (status != KVSTORE_OK) return refuse(query, status);
  return leave(query, replace_names(query, columns, count, &query->selected));
}

/* One twice is found by a query of the engine's that does nothing else. */
static Status group_by(KVQuery *q, const char *const *columns, size_t count) {
  Query *trial = NULL;
  NameList list = { 0 };
  TRY(replace_names(q, columns, count, &list));
  Status status = query_create(&q->table->schema, &trial);
  if (status == KVSTORE_OK && count) status = query_group_by(trial, list.names, count);
  query_destroy(trial);
  if (status != KVSTORE_OK) {
    arena_release(&list.arena);
    return status;
  }
  arena_release(&q->grouped.arena);
  q->grouped = list;
  return KVSTORE_OK;
}

int kvquery_group_by(KVQuery *query, const char *const *columns, size_t count) {
  Status status = enter(query);
  if (status != KVSTORE_OK) return refuse(query, status);
  return leave(query, group_by(query, columns, count));
}

static Status check_asks(const KVAggregate *asks, size_t count) {
  if (count > QUERY_AGGREGATES_MAX)
    return status_fail(KVSTORE_LIMIT, "%zu aggregates at once: at most %d", count, QUERY_AGGREGATES_MAX);
  for (size_t i = 0; i < count; i++) {
    if (asks[i].kind < KVQUERY_ROWS || asks[i].kind > KVQUERY_LAST)
      return status_fail(KVSTORE_ERROR, "no such aggregate: %d", asks[i].kind);
    if (asks[i].kind != KVQUERY_ROWS && !asks[i].column) return bad_argument("the column of an aggregate is NULL");
  }
  return KVSTORE_OK;
}

static Status compute(KVQuery *q, const KVAggregate *asks, size_t count) {
  AskList list = { 0 };
  Plan *trial = NULL;
  if (!asks && count) return bad_argument("the aggregates are NULL");
  TRY(check_asks(asks, count));
  Status status = ask_list_copy(asks, count, &list);
  if (status == KVSTORE_OK) status = plan_create(q->table, &(Filter){ 0 }, &trial);
  if (status == KVSTORE_OK) status = add_asks(&list, trial);
  plan_release(trial);
  if (status != KVSTORE_OK) {
    ask_list_release(&list);
    return status;
  }
  plan_replace(&q->rows, NULL);
  ask_list_release(&q->computed);
  q->computed = list;
  return KVSTORE_OK;
}

int kvquery_compute(KVQuery *query, const KVAggregate *aggregates, size_t count) {
  Status status = enter(query);
  if (status != KVSTORE_OK) return refuse(query, status);
  return leave(query, compute(query, aggregates, count));
}

static Status having(KVQuery *q, const char *text, const KVValue *parameters, size_t count) {
  Filter filter = { 0 };
  Arena arena = { 0 };
  const Expression *parsed;
  Status status = filter_create(text, parameters, count, &filter);
  if (status == KVSTORE_OK && filter.text) status = expression_parse(&arena, text, strlen(text), &parsed, NULL);
  arena_release(&arena);
  if (status != KVSTORE_OK) {
    arena_release(&filter.arena);
    return status;
  }
  plan_replace(&q->rows, NULL);
  arena_release(&q->having.arena);
  q->having = filter;
  return KVSTORE_OK;
}

int kvquery_having(KVQuery *query, const char *text, const KVValue *parameters, size_t parameter_count) {
  Status status = enter(query);
  if (status != KVSTORE_OK) return refuse(query, status);
  return leave(query, having(query, text, parameters, parameter_count));
}

int kvquery_distinct(KVQuery *query, int distinct) {
  Status status = enter(query);
  if (status != KVSTORE_OK) return refuse(query, status);
  plan_replace(&query->rows, NULL);
  query->distinct = distinct != 0;
  return leave(query, KVSTORE_OK);
}

static Status copy_order(const KVOrder *order, size_t count, OrderList *list) {
  list->terms = arena_allocate_zeroed(&list->arena, memory_array_size(count, sizeof *list->terms));
  if (!list->terms) return status_nomem();
  for (size_t i = 0; i < count; i++) {
    if (!order[i].column) return bad_argument("the name of a column is NULL");
    if (order[i].flags & ~(KVQUERY_DESCENDING | KVQUERY_NULLS_LAST))
      return status_fail(KVSTORE_ERROR, "no such flags of an order: %d", order[i].flags);
    list->terms[i].column = arena_copy_string(&list->arena, order[i].column, strlen(order[i].column));
    if (!list->terms[i].column) return status_nomem();
    list->terms[i].descending = order[i].flags & KVQUERY_DESCENDING;
    list->terms[i].nulls_last = order[i].flags & KVQUERY_NULLS_LAST;
  }
  list->count = count;
  return KVSTORE_OK;
}

static Status order_by(KVQuery *q, const KVOrder *order, size_t count) {
  OrderList list = { 0 };
  if (!order && count) return bad_argument("the order is NULL");
  if (count > KVTABLE_COLUMNS_MAX)
    return status_fail(KVSTORE_LIMIT, "an order of %zu columns: at most %d", count, KVTABLE_COLUMNS_MAX);
  Status status = copy_order(order, count, &list);
  if (status != KVSTORE_OK) {
    arena_release(&list.arena);
    return status;
  }
  plan_replace(&q->rows, NULL);
  arena_release(&q->order.arena);
  q->order = list;
  return KVSTORE_OK;
}

int kvquery_order_by(KVQuery *query, const KVOrder *order, size_t count) {
  Status status = enter(query);
  if (status != KVSTORE_OK) return refuse(query, status);
  return leave(query, order_by(query, order, count));
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

static KVValue result_to_caller(const AggregateResult *result) {
  if (result->is_integer && !result->is_null) return decimal_to_caller(result->integer);
  KVValue out = value_to_caller(&result->value);
  out.is_null = result->is_null;
  return out;
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
  if (!asks || !results || !count) return bad_argument("nothing is asked for, or there is no place for the results");
  TRY(check_asks(asks, count));
  for (size_t i = 0; i < count; i++) results[i] = kvvalue_null();
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

static KVValue array_value(const ColumnArray *array, ColumnType type, uint32_t row) {
  Value found = { .type = type, .is_null = array->nulls && array->nulls[row] };
  if (type == QUERY_TYPE_DECIMAL && !found.is_null) return decimal_to_caller(((const Int128 *)array->values)[row]);
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
