/* queries.c - questions about a table: what is asked.
 *
 * What the caller has asked (filter, columns, limit, order) is kept as it was given. A *plan* is an engine's query made
 * from it; it never changes, so that open cursors may share it while the caller asks something else. A change drops the
 * plan, and the next run makes another. */
#include "kvapi/queries.h"

#include <string.h>

#include "base/memory.h"

_Static_assert(KVQUERY_ROWS == (int)AGGREGATE_ROWS && KVQUERY_VALUES == (int)AGGREGATE_VALUES &&
                 KVQUERY_SUM == (int)AGGREGATE_TOTAL && KVQUERY_MIN == (int)AGGREGATE_LEAST &&
                 KVQUERY_MAX == (int)AGGREGATE_GREATEST && KVQUERY_AVG == (int)AGGREGATE_MEAN &&
                 KVQUERY_VARIANCE == (int)AGGREGATE_VARIANCE &&
                 KVQUERY_VARIANCE_POP == (int)AGGREGATE_VARIANCE_POPULATION &&
                 KVQUERY_STDDEV == (int)AGGREGATE_DEVIATION &&
                 KVQUERY_STDDEV_POP == (int)AGGREGATE_DEVIATION_POPULATION &&
                 KVQUERY_COUNT_DISTINCT == (int)AGGREGATE_DISTINCT && KVQUERY_FIRST == (int)AGGREGATE_FIRST &&
                 KVQUERY_LAST == (int)AGGREGATE_LAST && KVQUERY_APPROX_COUNT_DISTINCT == (int)AGGREGATE_SKETCH &&
                 (int)AGGREGATE_QUANTILE == KVQUERY_APPROX_COUNT_DISTINCT + 1 &&
                 (int)AGGREGATE_KINDS == KVQUERY_APPROX_COUNT_DISTINCT + 2,
               "one number");
_Static_assert(sizeof(KVDecimal) == sizeof(Int128) && offsetof(KVDecimal, high) == offsetof(Int128, high),
               "arrays of sums cross the door as they are");

enum { MEMORY_LIMIT_DEFAULT = 1 << 30, MEMORY_LIMIT_LEAST = 1 << 20 };

/* ---- plans ---- */

void plan_release(Plan *plan) {
  if (!plan || --plan->references) return;
  query_destroy(plan->query);
  join_plan_destroy(plan->join);
  for (size_t i = 0; i < plan->table_count; i++) table_release(plan->tables[i]);
  memory_release(plan);
}

void plan_replace(Plan **place, Plan *plan) {
  plan_release(*place);
  *place = plan;
  if (plan) plan->references++;
}

/* Cursors may go on when the query joins other tables, or none. */
static void keep_tables(const JoinList *joins, Plan *plan) {
  for (size_t i = 0; i < joins->count; i++) {
    atomic_fetch_add_explicit(&joins->tables[i]->references, 1, memory_order_relaxed);
    plan->tables[plan->table_count++] = joins->tables[i];
  }
}

/* An engine's query with the filter and the keys (NULL: all); one reference. */
static Status plan_create(const KVQuery *q, const Filter *filter, const KeyAsk *keys, Plan **out) {
  Plan *plan = memory_allocate_zeroed(sizeof *plan);
  if (!plan) return status_nomem();
  plan->references = 1;
  keep_tables(&q->joins, plan);
  Status status = join_list_plan(q, keys, &plan->join);
  if (status == KVSTORE_OK)
    status = query_create(plan->join ? join_plan_schema(plan->join) : &q->table->schema, &plan->query);
  if (status == KVSTORE_OK && keys && !plan->join) status = query_key_range(plan->query, &keys->range);
  if (status == KVSTORE_OK && filter->text)
    status = query_where(plan->query, filter->text, strlen(filter->text), filter->parameters, filter->parameter_count);
  if (status == KVSTORE_OK && plan->join) status = join_plan_share(plan->join, plan->query);
  if (status == KVSTORE_OK)
    *out = plan;
  else
    plan_release(plan);
  return status;
}

void plans_forget(KVQuery *q) {
  plan_replace(&q->rows, NULL);
  plan_replace(&q->aggregates, NULL);
}

static Status add_asks(const AskList *list, Plan *plan) {
  for (size_t i = 0; i < list->count; i++) {
    const KVAggregate *ask = &list->asks[i];
    if (ask->kind >= KVQUERY_QUANTILE(0))
      TRY(query_quantile(plan->query, (uint32_t)(ask->kind - KVQUERY_QUANTILE(0)), ask->column));
    else
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

/* Joined rows come in no order of their own. */
static Status order_by_own_key(const KVQuery *q, Query *query) {
  const Schema *schema = &q->table->schema;
  QueryOrder order[KEY_COLUMNS_MAX] = { { 0 } };
  if (schema->has_row_id)
    return status_fail(KVSTORE_UNSUPPORTED, "joined rows of %s in the order of its row ids", q->table->name);
  for (uint32_t k = 0; k < schema->key_count; k++) order[k].column = schema->columns[schema->key_columns[k]].name;
  return query_order_by(query, order, schema->key_count);
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
  if (plan->join && q->ordered && !is_grouped(q) && !q->distinct && !q->order.count) return order_by_own_key(q, query);
  query_order_by_key(query, q->ordered);
  return KVSTORE_OK;
}

Status plan_rows(KVQuery *q) {
  Plan *plan = NULL;
  if (q->rows) return KVSTORE_OK;
  TRY(plan_create(q, &q->filter, &q->key_ask, &plan));
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
Status plan_aggregates(KVQuery *q, const KVAggregate *asks, size_t count) {
  Plan *plan = NULL;
  if (same_asks(q, asks, count)) return KVSTORE_OK;
  TRY(plan_create(q, &q->filter, &q->key_ask, &plan));
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

Status question_enter(KVQuery *q) {
  if (!q || q->magic != MAGIC_QUERY) return bad_argument(q ? "this is no open query" : "the query is NULL");
  TRY(handle_enter(q->table->kv));
  Status status = birth_check(q->table->birth);
  if (status != KVSTORE_OK) (void)handle_leave(q->table->kv, status);
  return status;
}

int question_refuse(KVQuery *q, Status status) {
  return handle_refuse(q && q->magic == MAGIC_QUERY ? q->table->kv : NULL, status);
}

int question_leave(KVQuery *q, Status status) { return handle_leave(q->table->kv, status); }

void question_drop(KVQuery *q) {
  if (!q || --q->references) return;
  plans_forget(q);
  plan_replace(&q->last, NULL);
  join_list_release(&q->joins);
  arena_release(&q->filter.arena);
  key_range_release(&q->keys);
  arena_release(&q->key_ask.arena);
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
  q->threads = 1;
  q->memory_limit = MEMORY_LIMIT_DEFAULT;
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
  question_drop(query);
}

/* ---- asking ---- */

static Status at_snapshot(KVQuery *q, KVSnapshot *snapshot) {
  if (snapshot) {
    TRY(snapshot_check_handle(snapshot, q->table->kv));
    snapshot_retain(snapshot);
  }
  snapshot_release(q->snapshot);
  q->snapshot = snapshot;
  return KVSTORE_OK;
}

int kvquery_at(KVQuery *query, KVSnapshot *snapshot) {
  Status status = question_enter(query);
  if (status != KVSTORE_OK) return question_refuse(query, status);
  return question_leave(query, at_snapshot(query, snapshot));
}

Session *question_session(const KVQuery *q) { return q->snapshot ? q->snapshot->frozen : q->table->kv->session; }

Status question_copy_value(Arena *arena, Value *value) {
  if (value->is_null || !type_is_string(value->type)) return KVSTORE_OK;
  value->s.data = arena_copy(arena, value->s.data ? value->s.data : (const uint8_t *)"", value->s.length);
  return value->s.data ? KVSTORE_OK : status_nomem();
}

static Status copy_parameter(const KVValue *given, size_t index, Arena *arena, Value *out) {
  TRY(value_for_filter(given, index, out));
  return question_copy_value(arena, out);
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
  if (status == KVSTORE_OK) status = plan_create(q, &filter, NULL, &trial);
  plan_release(trial);
  if (status == KVSTORE_OK) {
    plans_forget(q);
    arena_release(&q->filter.arena);
    q->filter = filter;
  } else {
    arena_release(&filter.arena);
  }
  return status;
}

int kvquery_where(KVQuery *query, const char *text, const KVValue *parameters, size_t parameter_count) {
  Status status = question_enter(query);
  if (status != KVSTORE_OK) return question_refuse(query, status);
  return question_leave(query, where(query, text, parameters, parameter_count));
}

static Status copy_names(const char *const *columns, size_t count, NameList *list) {
  list->names = arena_allocate(&list->arena, memory_array_size(count, sizeof *list->names));
  if (!list->names) return status_nomem();
  for (size_t i = 0; i < count; i++) {
    if (!columns[i]) return bad_argument("the name of a column is NULL");
    list->names[i] = arena_copy_string(&list->arena, columns[i], strlen(columns[i]));
    if (!list->names[i]) return status_nomem();
  }
  list->count = count;
  return KVSTORE_OK;
}

/* Names are looked up, and values to be computed bound, by a query of the engine's that does nothing else. */
static Status check_names(const KVQuery *q, const NameList *list) {
  Query *trial = NULL;
  TRY(query_create(question_schema(q), &trial));
  Status status = query_select(trial, list->names, list->count);
  query_destroy(trial);
  return status;
}

/* Copied and looked up before those that were there go. */
static Status replace_names(KVQuery *q, const char *const *columns, size_t count, NameList *place) {
  NameList list = { 0 };
  if (!columns && count) return bad_argument("the columns are NULL");
  if (count > KVTABLE_COLUMNS_MAX)
    return status_fail(KVSTORE_LIMIT, "%zu columns: at most %d", count, KVTABLE_COLUMNS_MAX);
  Status status = copy_names(columns, count, &list);
  if (status == KVSTORE_OK) status = check_names(q, &list);
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
  Status status = question_enter(query);
  if (status != KVSTORE_OK) return question_refuse(query, status);
  return question_leave(query, replace_names(query, columns, count, &query->selected));
}

/* One twice is found by a query of the engine's that does nothing else. */
static Status group_by(KVQuery *q, const char *const *columns, size_t count) {
  Query *trial = NULL;
  NameList list = { 0 };
  TRY(replace_names(q, columns, count, &list));
  Status status = query_create(question_schema(q), &trial);
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
  Status status = question_enter(query);
  if (status != KVSTORE_OK) return question_refuse(query, status);
  return question_leave(query, group_by(query, columns, count));
}

Status question_check_asks(const KVAggregate *asks, size_t count) {
  if (count > QUERY_AGGREGATES_MAX)
    return status_fail(KVSTORE_LIMIT, "%zu aggregates at once: at most %d", count, QUERY_AGGREGATES_MAX);
  for (size_t i = 0; i < count; i++) {
    bool is_quantile = asks[i].kind >= KVQUERY_QUANTILE(0) && asks[i].kind <= KVQUERY_QUANTILE(1);
    if (!is_quantile && (asks[i].kind < KVQUERY_ROWS || asks[i].kind > KVQUERY_APPROX_COUNT_DISTINCT))
      return status_fail(KVSTORE_ERROR, "no such aggregate: %d", asks[i].kind);
    if (asks[i].kind != KVQUERY_ROWS && !asks[i].column) return bad_argument("the column of an aggregate is NULL");
  }
  return KVSTORE_OK;
}

static Status compute(KVQuery *q, const KVAggregate *asks, size_t count) {
  AskList list = { 0 };
  Plan *trial = NULL;
  if (!asks && count) return bad_argument("the aggregates are NULL");
  TRY(question_check_asks(asks, count));
  Status status = ask_list_copy(asks, count, &list);
  if (status == KVSTORE_OK) status = plan_create(q, &(Filter){ 0 }, NULL, &trial);
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
  Status status = question_enter(query);
  if (status != KVSTORE_OK) return question_refuse(query, status);
  return question_leave(query, compute(query, aggregates, count));
}

static Status having(KVQuery *q, const char *text, const KVValue *parameters, size_t count) {
  Filter filter = { 0 };
  Arena arena = { 0 };
  const Expression *parsed;
  uint32_t places = 0;
  Status status = filter_create(text, parameters, count, &filter);
  if (status == KVSTORE_OK && filter.text) status = expression_parse(&arena, text, strlen(text), &parsed, &places);
  if (status == KVSTORE_OK && filter.text) status = expression_check_parameters(places, count);
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
  Status status = question_enter(query);
  if (status != KVSTORE_OK) return question_refuse(query, status);
  return question_leave(query, having(query, text, parameters, parameter_count));
}

int kvquery_distinct(KVQuery *query, int distinct) {
  Status status = question_enter(query);
  if (status != KVSTORE_OK) return question_refuse(query, status);
  plan_replace(&query->rows, NULL);
  query->distinct = distinct != 0;
  return question_leave(query, KVSTORE_OK);
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
  Status status = question_enter(query);
  if (status != KVSTORE_OK) return question_refuse(query, status);
  return question_leave(query, order_by(query, order, count));
}

int kvquery_limit(KVQuery *query, uint64_t offset, uint64_t limit) {
  Status status = question_enter(query);
  if (status != KVSTORE_OK) return question_refuse(query, status);
  plan_replace(&query->rows, NULL);
  query->offset = offset;
  query->limit = limit;
  return question_leave(query, KVSTORE_OK);
}

static Status memory_limit(KVQuery *q, uint64_t bytes) {
  if (bytes && bytes < MEMORY_LIMIT_LEAST)
    return status_fail(KVSTORE_LIMIT, "a query with %llu bytes of memory: at least %d are needed",
                       (unsigned long long)bytes, MEMORY_LIMIT_LEAST);
  q->memory_limit = bytes ? bytes : MEMORY_LIMIT_DEFAULT;
  return KVSTORE_OK;
}

int kvquery_memory_limit(KVQuery *query, uint64_t bytes) {
  Status status = question_enter(query);
  if (status != KVSTORE_OK) return question_refuse(query, status);
  return question_leave(query, memory_limit(query, bytes));
}

int kvquery_threads(KVQuery *query, uint32_t threads) {
  Status status = question_enter(query);
  if (status != KVSTORE_OK) return question_refuse(query, status);
  query->threads = threads;
  return question_leave(query, KVSTORE_OK);
}

int kvquery_order_by_key(KVQuery *query, int ordered) {
  Status status = question_enter(query);
  if (status != KVSTORE_OK) return question_refuse(query, status);
  plan_replace(&query->rows, NULL);
  query->ordered = ordered != 0;
  return question_leave(query, KVSTORE_OK);
}
