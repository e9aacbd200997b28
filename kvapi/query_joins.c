/* query_joins.c - which tables a query joins, and all of them at one moment. */
#include <string.h>

#include "base/memory.h"
#include "kvapi/queries.h"

_Static_assert(KVQUERY_JOIN_INNER == (int)JOIN_INNER && KVQUERY_JOIN_LEFT == (int)JOIN_LEFT &&
                 KVQUERY_JOIN_SEMI == (int)JOIN_SEMI && KVQUERY_JOIN_ANTI == (int)JOIN_ANTI,
               "one number");

const Schema *question_schema(const KVQuery *q) {
  return q->joins.shape ? join_plan_schema(q->joins.shape) : &q->table->schema;
}

void join_list_release(JoinList *joins) {
  for (size_t i = 0; i < joins->count; i++) table_release(joins->tables[i]);
  join_plan_destroy(joins->shape);
  arena_release(&joins->arena);
  *joins = (JoinList){ 0 };
}

static Status plan_of(const KVQuery *q, const JoinList *joins, JoinPlan **out) {
  JoinPlan *plan = NULL;
  Status status = join_plan_create(&q->table->schema, &plan);
  for (size_t i = 0; i < joins->count && status == KVSTORE_OK; i++) status = join_plan_add(plan, &joins->asks[i]);
  if (status == KVSTORE_OK)
    *out = plan;
  else
    join_plan_destroy(plan);
  return status;
}

Status join_list_plan(const KVQuery *q, const KeyAsk *keys, JoinPlan **out) {
  *out = NULL;
  if (!q->joins.count) return KVSTORE_OK;
  TRY(plan_of(q, &q->joins, out));
  return keys ? join_plan_keys(*out, &keys->range) : KVSTORE_OK;
}

/* ---- asking ---- */

static Status copy_text(Arena *arena, const char *text, const char **out) {
  *out = arena_copy_string(arena, text ? text : "", text ? strlen(text) : 0);
  return *out ? KVSTORE_OK : status_nomem();
}

static Status copy_columns(Arena *arena, const char *const *names, size_t count, const char *const **out) {
  const char **copies = arena_allocate(arena, memory_array_size(count, sizeof *copies));
  if (!copies) return status_nomem();
  for (size_t i = 0; i < count; i++) {
    if (!names[i]) return bad_argument("the name of a column is NULL");
    TRY(copy_text(arena, names[i], &copies[i]));
  }
  *out = copies;
  return KVSTORE_OK;
}

static Status copy_values(Arena *arena, const KVValue *given, size_t count, const Value **out) {
  Value *values = arena_allocate(arena, memory_array_size(count + 1, sizeof *values));
  if (!values) return status_nomem();
  for (size_t i = 0; i < count; i++) {
    TRY(value_for_filter(&given[i], i, &values[i]));
    TRY(question_copy_value(arena, &values[i]));
  }
  *out = values;
  return KVSTORE_OK;
}

static Status check_join(const KVQuery *q, const KVJoin *join) {
  if (!join->table || join->table->magic != MAGIC_TABLE) return bad_argument("the table to be joined is no open one");
  if (join->table->kv != q->table->kv) return bad_argument("the table to be joined is of another handle");
  TRY(birth_check(join->table->birth));
  if (join->kind < KVQUERY_JOIN_INNER || join->kind > KVQUERY_JOIN_ANTI)
    return status_fail(KVSTORE_ERROR, "no such join: %d", join->kind);
  if (!join->left || !join->right) return bad_argument("the columns of the join are NULL");
  if (join->count < 1 || join->count > JOIN_COLUMNS_MAX)
    return status_fail(KVSTORE_LIMIT, "a join by %zu columns: 1 to %d", join->count, JOIN_COLUMNS_MAX);
  if (!join->parameters && join->parameter_count) return bad_argument("the values of the join's filter are NULL");
  if (join->parameter_count > EXPRESSION_TEXT_MAX)
    return status_fail(KVSTORE_LIMIT, "%zu values for the join's filter", join->parameter_count);
  if (q->joins.count == JOIN_TABLES_MAX) return status_fail(KVSTORE_LIMIT, "at most %d joined tables", JOIN_TABLES_MAX);
  return KVSTORE_OK;
}

static Status add_ask(JoinList *joins, const KVJoin *join) {
  JoinAsk *ask = &joins->asks[joins->count];
  Arena *arena = &joins->arena;
  *ask = (JoinAsk){ .kind = (JoinKind)join->kind, .schema = &join->table->schema, .count = join->count };
  TRY(copy_text(arena, join->table->name, &ask->table));
  TRY(copy_text(arena, join->prefix, &ask->prefix));
  TRY(copy_text(arena, join->where, &ask->where));
  TRY(copy_columns(arena, join->left, join->count, &ask->left));
  TRY(copy_columns(arena, join->right, join->count, &ask->right));
  TRY(copy_values(arena, join->parameters, join->parameter_count, &ask->parameters));
  ask->parameter_count = join->parameter_count;
  joins->tables[joins->count++] = join->table;
  atomic_fetch_add_explicit(&join->table->references, 1, memory_order_relaxed);
  return KVSTORE_OK;
}

/* What a failed copy leaves in the arena goes with the query. */
static Status add_join(KVQuery *q, const KVJoin *given) {
  JoinPlan *shape = NULL;
  KVJoin join = KVJOIN_INIT;
  TRY(struct_argument(given, &join, sizeof join));
  TRY(check_join(q, &join));
  TRY(add_ask(&q->joins, &join));
  Status status = plan_of(q, &q->joins, &shape);
  if (status != KVSTORE_OK) {
    table_release(q->joins.tables[--q->joins.count]);
    return status;
  }
  join_plan_destroy(q->joins.shape);
  q->joins.shape = shape;
  plans_forget(q);
  return KVSTORE_OK;
}

int kvquery_join(KVQuery *query, const KVJoin *join) {
  Status status = question_enter(query);
  if (status != KVSTORE_OK) return question_refuse(query, status);
  if (join) return question_leave(query, add_join(query, join));
  plans_forget(query);
  join_list_release(&query->joins);
  return question_leave(query, KVSTORE_OK);
}

/* ---- running ---- */

static Status take_table(const KVQuery *q, const Plan *plan, bool rows, size_t table, Session *session,
                         TableSnapshot *out) {
  const KVTable *of = table ? q->joins.tables[table - 1] : q->table;
  KvRange range = { 0 };
  if (!table) range = question_key_range(q);
  TRY(birth_check(of->birth));
  bool *wanted = memory_allocate_zeroed(of->schema.column_count * sizeof *wanted);
  if (!wanted) return status_nomem();
  join_plan_wanted(plan->join, plan->query, rows, table, wanted);
  Status status = table_take_snapshot(of, session, wanted, &range, out);
  memory_release(wanted);
  return status;
}

/* Commits between two looks would show, so that all look at one moment that is held. */
static Status take_tables(const KVQuery *q, const Plan *plan, bool rows, TableSnapshot *tables) {
  Session *frozen = NULL, *session = question_session(q);
  if (!q->snapshot && !session_transaction(session)) {
    TRY(session_freeze(session, &frozen));
    session = frozen;
  }
  Status status = KVSTORE_OK;
  for (size_t i = 0; i <= q->joins.count && status == KVSTORE_OK; i++)
    status = take_table(q, plan, rows, i, session, &tables[i]);
  if (frozen) session_thaw(frozen);
  return status;
}

static Status open_join(const KVQuery *q, const Plan *plan, bool rows, const QuerySpace *space, TableSnapshot *out,
                        QuerySpace *rest) {
  TableSnapshot tables[JOIN_TABLES_MAX + 1] = { { 0 } };
  QuerySpace given = *space;
  Status status = take_tables(q, plan, rows, tables);
  if (status == KVSTORE_OK) status = join_open(plan->join, plan->query, rows, &given, tables, out, rest);
  for (size_t i = 0; i <= q->joins.count; i++) table_snapshot_release(&tables[i]);
  return status;
}

Status question_open(const KVQuery *q, const Plan *plan, bool rows, const QuerySpace *space, TableSnapshot *out,
                     QuerySpace *rest) {
  if (plan->join) return open_join(q, plan, rows, space, out, rest);
  if (rest != space) *rest = *space;
  return question_snapshot(q, plan, rows, out);
}
