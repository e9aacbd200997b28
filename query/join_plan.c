/* join_plan.c - which tables are joined by what, and which of them each term of the filter concerns. */
#include <stdio.h>

#include "base/literal.h"
#include "base/memory.h"
#include "query/join_internal.h"

Status join_plan_create(const Schema *own, JoinPlan **out) {
  JoinPlan *plan = memory_allocate_zeroed(sizeof *plan);
  if (!plan) return status_nomem();
  Status status = query_create(own, &plan->own);
  if (status == KVSTORE_OK) {
    plan->schema = *own;
    plan->schema.columns =
      arena_copy(&plan->arena, own->columns, memory_array_size(own->column_count, sizeof *own->columns));
    plan->schema.has_row_id = false; /* a row id is one column among others */
    plan->schema.version = 0;
    plan->schema.sources = NULL;
    if (!plan->schema.columns) status = status_nomem();
  }
  for (uint32_t c = 0; status == KVSTORE_OK && c < own->column_count; c++) {
    char *name = arena_copy_string(&plan->arena, own->columns[c].name, strlen(own->columns[c].name));
    plan->schema.columns[c].name = name;
    if (!name) status = status_nomem();
  }
  if (status == KVSTORE_OK)
    *out = plan;
  else
    join_plan_destroy(plan);
  return status;
}

void join_plan_destroy(JoinPlan *plan) {
  if (!plan) return;
  for (size_t i = 0; i < plan->step_count; i++) query_destroy(plan->steps[i].query);
  query_destroy(plan->own);
  arena_release(&plan->arena);
  memory_release(plan);
}

const Schema *join_plan_schema(const JoinPlan *plan) { return &plan->schema; }

/* ---- columns ---- */

static Status name_column(JoinPlan *plan, const char *prefix, Column *column) {
  char name[2 * COLUMN_NAME_MAX + 2];
  int length = snprintf(name, sizeof name, "%s%s", prefix, column->name);
  if (length < 1 || (size_t)length > COLUMN_NAME_MAX)
    return status_fail(KVSTORE_SCHEMA, "the name %s%s of a joined column is too long", prefix, column->name);
  if (!(column->flags & COLUMN_HIDDEN) && schema_find(&plan->schema, name, (size_t)length) >= 0)
    return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, name, NULL,
                          "column %s is there already: join the table with a prefix for its columns", name);
  column->name = arena_copy_string(&plan->arena, name, (size_t)length);
  return column->name ? KVSTORE_OK : status_nomem();
}

static Status add_columns(JoinPlan *plan, const JoinAsk *ask) {
  uint32_t before = plan->schema.column_count, count = before + ask->schema->column_count;
  if (count > COLUMNS_MAX) return status_fail(KVSTORE_LIMIT, "joined tables with more than %u columns", COLUMNS_MAX);
  Column *columns = arena_allocate(&plan->arena, count * sizeof *columns);
  if (!columns) return status_nomem();
  memcpy(columns, plan->schema.columns, before * sizeof *columns);
  plan->schema.columns = columns;
  for (uint32_t c = 0; c < ask->schema->column_count; c++) {
    columns[before + c] = ask->schema->columns[c];
    if (ask->kind == JOIN_LEFT) columns[before + c].flags |= COLUMN_NULLABLE;
    TRY(name_column(plan, ask->prefix, &columns[before + c]));
    plan->schema.column_count++;
  }
  return KVSTORE_OK;
}

static Status add_pair(JoinPlan *plan, JoinStep *step, const JoinAsk *ask, size_t k) {
  TRY(expression_column(&plan->schema, ask->left[k], strlen(ask->left[k]), &step->left[k]));
  TRY(expression_column(ask->schema, ask->right[k], strlen(ask->right[k]), &step->right[k]));
  const Column *left = &plan->schema.columns[step->left[k]], *right = &ask->schema->columns[step->right[k]];
  if (join_domain(left->type, right->type, &step->domains[k])) return KVSTORE_OK;
  return status_fail_at(KVSTORE_TYPE, UINT64_MAX, right->name, NULL,
                        "column %s is %s and does not compare with %s, which is %s", left->name, type_name(left->type),
                        right->name, type_name(right->type));
}

Status join_plan_add(JoinPlan *plan, const JoinAsk *ask) {
  if (plan->step_count == JOIN_TABLES_MAX) return status_fail(KVSTORE_LIMIT, "at most %d joins", JOIN_TABLES_MAX);
  if (ask->count < 1 || ask->count > JOIN_COLUMNS_MAX)
    return status_fail(KVSTORE_LIMIT, "a join by %zu columns: 1 to %d", ask->count, JOIN_COLUMNS_MAX);
  JoinStep *step = &plan->steps[plan->step_count++];
  *step = (JoinStep){ .kind = ask->kind, .count = ask->count, .first = plan->schema.column_count };
  step->table = arena_copy_string(&plan->arena, ask->table, strlen(ask->table));
  if (!step->table) return status_nomem();
  TRY(query_create(ask->schema, &step->query));
  if (ask->where && *ask->where)
    TRY(query_where(step->query, ask->where, strlen(ask->where), ask->parameters, ask->parameter_count));
  for (size_t k = 0; k < ask->count; k++) TRY(add_pair(plan, step, ask, k));
  if (join_gives_columns(step)) TRY(add_columns(plan, ask));
  step->end = plan->schema.column_count;
  return KVSTORE_OK;
}

Status join_plan_keys(JoinPlan *plan, const QueryKeyRange *range) { return query_key_range(plan->own, range); }

/* ---- the filter's terms ---- */

/* The table whose columns a term reads and no others; SIZE_MAX: none, or one that may stand for missing rows. */
static size_t home_of(const JoinPlan *plan, const Query *query, const bool *used) {
  size_t home = SIZE_MAX;
  for (uint32_t c = plan->schema.column_count; c < query->schema.column_count; c++)
    if (used[c]) return SIZE_MAX; /* it is computed of joined rows */
  for (uint32_t c = 0; c < plan->schema.column_count; c++) {
    if (!used[c]) continue;
    size_t table = join_table_of(plan, c);
    if (home != SIZE_MAX && home != table) return SIZE_MAX;
    home = table;
  }
  if (home == SIZE_MAX || home == 0) return home;
  return plan->steps[home - 1].kind == JOIN_INNER ? home : SIZE_MAX;
}

/* Adds terms to a table's own filter. `shift`: where its columns begin among all. */
static Status add_terms(JoinPlan *plan, Query *query, const PredicateNode **terms, size_t count, uint32_t shift) {
  uint32_t *positions = arena_allocate(&plan->arena, plan->schema.column_count * sizeof *positions);
  Predicate own, both;
  if (!positions) return status_nomem();
  for (uint32_t c = 0; c < plan->schema.column_count; c++) positions[c] = c - shift;
  TRY(predicate_of_terms(terms, count, positions, &plan->arena, &own));
  const PredicateNode *roots[2] = { own.root };
  size_t root_count = 1;
  if (query_predicate(query)) roots[root_count++] = query->where.root;
  TRY(predicate_of_terms(roots, root_count, NULL, &plan->arena, &both));
  TRY(query_keys_derive(query, &both));
  query->where = both;
  if (!query->where_text.length) buffer_text(&query->where_text, "true");
  return buffer_status(&query->where_text);
}

static Status share_terms(JoinPlan *plan, Query *query, size_t count, bool *used) {
  const PredicateNode **terms = arena_allocate(&plan->arena, 2 * (count + 1) * sizeof *terms);
  size_t *homes = arena_allocate(&plan->arena, (count + 1) * sizeof *homes);
  if (!terms || !homes) return status_nomem();
  for (size_t i = 0; i < count; i++) {
    memset(used, 0, query->schema.column_count);
    predicate_node_columns(predicate_term(&query->where, i), used);
    homes[i] = home_of(plan, query, used);
  }
  for (size_t table = 0; table <= plan->step_count; table++) {
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
      if (homes[i] == table) terms[n++] = predicate_term(&query->where, i);
    Query *of = table ? plan->steps[table - 1].query : plan->own;
    if (n) TRY(add_terms(plan, of, terms, n, table ? plan->steps[table - 1].first : 0));
    plan->shared += n;
  }
  size_t left = 0;
  for (size_t i = 0; i < count; i++)
    if (homes[i] == SIZE_MAX) terms[left++] = predicate_term(&query->where, i);
  return predicate_of_terms(terms, left, NULL, &plan->arena, &query->where);
}

/* The query's constants live in its arena, and so as long as the plan's copies of its nodes. */
Status join_plan_share(JoinPlan *plan, Query *query) {
  if (query_predicate(query)) {
    bool *used = arena_allocate_zeroed(&plan->arena, query->schema.column_count);
    if (!used) return status_nomem();
    TRY(share_terms(plan, query, predicate_term_count(&query->where), used));
  }
  query_keys_release(&query->range);
  query->is_of_joined = true;
  return KVSTORE_OK;
}

/* ---- columns that are read ---- */

void join_needs(const JoinPlan *plan, const Query *query, bool rows, size_t step, const bool *decided, bool *needed) {
  query_columns_read(query, rows, needed);
  for (size_t s = step; s < plan->step_count; s++)
    for (size_t k = 0; k < plan->steps[s].count && !(decided && decided[s]); k++) needed[plan->steps[s].left[k]] = true;
}

void join_plan_wanted(const JoinPlan *plan, const Query *query, bool rows, size_t table, bool *wanted) {
  bool needed[COLUMNS_MAX] = { false };
  const JoinStep *step = table ? &plan->steps[table - 1] : NULL;
  const Query *own = table ? plan->steps[table - 1].query : plan->own;
  join_needs(plan, query, rows, 0, NULL, needed);
  for (uint32_t c = 0; c < own->program.base_count; c++)
    wanted[c] = (!step || join_gives_columns(step)) && needed[c + (step ? step->first : 0)];
  query_columns_read(own, false, wanted);
  for (size_t k = 0; step && k < step->count; k++) wanted[step->right[k]] = true;
}

/* ---- explain ---- */

static const char *const kind_names[] = { "inner", "left", "semi", "anti" };

static void explain_run(const JoinStep *s, Buffer *out) {
  char text[256];
  if (!s->parts) return;
  snprintf(text, sizeof text, "  %llu rows hashed, at most %llu bytes at once, in %llu parts",
           (unsigned long long)s->hashed_rows, (unsigned long long)s->hashed_bytes, (unsigned long long)s->parts);
  buffer_text(out, text);
  snprintf(text, sizeof text, " of %llu partitions, %llu bytes outside of memory", (unsigned long long)s->partitions,
           (unsigned long long)s->spilled_bytes);
  if (s->partitions) buffer_text(out, text);
  snprintf(text, sizeof text, "; %llu rows left out before they were joined\n", (unsigned long long)s->left_out);
  buffer_text(out, text);
}

void join_explain(const JoinPlan *plan, Buffer *out) {
  char text[64];
  for (size_t i = 0; i < plan->step_count; i++) {
    const JoinStep *s = &plan->steps[i];
    buffer_text(out, kind_names[s->kind]);
    buffer_text(out, " join: ");
    buffer_text(out, s->table);
    for (size_t k = 0; k < s->count; k++) {
      buffer_text(out, k ? " and " : " on ");
      buffer_text(out, plan->schema.columns[s->left[k]].name);
      buffer_text(out, " = ");
      buffer_text(out, s->query->schema.columns[s->right[k]].name);
    }
    buffer_u8(out, '\n');
    explain_run(s, out);
  }
  snprintf(text, sizeof text, "terms of the filter asked of one table: %zu\n", plan->shared);
  buffer_text(out, text);
}

static void explain_run_json(const JoinStep *s, Buffer *out) {
  char text[256];
  snprintf(text, sizeof text, "],\"hashed_rows\":%llu,\"hashed_bytes\":%llu,\"parts\":%llu",
           (unsigned long long)s->hashed_rows, (unsigned long long)s->hashed_bytes, (unsigned long long)s->parts);
  buffer_text(out, text);
  snprintf(text, sizeof text, ",\"partitions\":%llu,\"bytes_spilled\":%llu,\"left_out\":%llu}",
           (unsigned long long)s->partitions, (unsigned long long)s->spilled_bytes, (unsigned long long)s->left_out);
  buffer_text(out, text);
}

void join_explain_json(const JoinPlan *plan, Buffer *out) {
  buffer_u8(out, '[');
  for (size_t i = 0; i < plan->step_count; i++) {
    const JoinStep *s = &plan->steps[i];
    buffer_text(out, i ? ",{\"kind\":\"" : "{\"kind\":\"");
    buffer_text(out, kind_names[s->kind]);
    buffer_text(out, "\",\"table\":");
    explain_json_text(s->table, out);
    buffer_text(out, ",\"on\":[");
    for (size_t k = 0; k < s->count; k++) {
      buffer_text(out, k ? ",[" : "[");
      explain_json_text(plan->schema.columns[s->left[k]].name, out);
      buffer_u8(out, ',');
      explain_json_text(s->query->schema.columns[s->right[k]].name, out);
      buffer_u8(out, ']');
    }
    explain_run_json(s, out);
  }
  buffer_u8(out, ']');
}
