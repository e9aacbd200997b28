/* query.c - making a query, and running aggregates. */
#include "query/query.h"

#include "base/memory.h"
#include "query/query_internal.h"

/* ---- life ---- */

static Status select_visible(Query *q) {
  q->columns = memory_allocate(memory_array_size(q->schema.column_count, sizeof *q->columns));
  if (!q->columns) return status_nomem();
  for (uint32_t c = 0; c < q->schema.column_count; c++) {
    if (!(q->schema.columns[c].flags & COLUMN_HIDDEN)) q->columns[q->column_count++] = c;
  }
  return KVSTORE_OK;
}

Status query_create(const Schema *schema, Query **out) {
  Query *q = memory_allocate_zeroed(sizeof *q);
  if (!q) return status_nomem();
  q->limit = QUERY_NO_LIMIT;
  q->threads = 1;
  Status status = schema_copy(schema, &q->schema);
  program_init(&q->program, &q->schema);
  if (status == KVSTORE_OK) status = select_visible(q);
  if (status != KVSTORE_OK) {
    query_destroy(q);
    return status;
  }
  *out = q;
  return KVSTORE_OK;
}

void query_destroy(Query *q) {
  if (!q) return;
  program_release(&q->program);
  schema_release(&q->schema);
  arena_release(&q->arena);
  buffer_release(&q->where_text);
  query_keys_release(&q->range);
  query_forget_groups(q);
  memory_release(q->columns);
  memory_release(q->aggregates);
  memory_release(q->order);
  memory_release(q->extra);
  memory_release(q);
}

/* ---- asking ---- */

Status query_where_expression(Query *q, const Expression *expression, const Value *parameters, size_t parameter_count) {
  Arena arena = { 0 };
  Predicate where = { 0 };
  Buffer text = { 0 };
  Status status =
    expression_bind_computing(expression, &q->schema, &q->program, parameters, parameter_count, &arena, &where);
  if (status == KVSTORE_OK) {
    expression_print(expression, parameters, parameter_count, &text);
    status = buffer_status(&text);
  }
  if (status == KVSTORE_OK) status = query_keys_derive(q, &where);
  if (status != KVSTORE_OK) {
    arena_release(&arena);
    buffer_release(&text);
    return status;
  }
  arena_release(&q->arena);
  buffer_release(&q->where_text);
  q->arena = arena;
  q->where = where;
  q->where_text = text;
  return KVSTORE_OK;
}

Status query_where(Query *q, const char *text, size_t length, const Value *parameters, size_t parameter_count) {
  Arena arena = { 0 };
  const Expression *expression;
  Status status = expression_parse(&arena, text, length, &expression, NULL);
  if (status == KVSTORE_OK) status = query_where_expression(q, expression, parameters, parameter_count);
  arena_release(&arena);
  return status;
}

/* ---- columns by name, and computed ones by their text ---- */

static Status add_computed(const Expression *e, Bytes name, const Schema *schema, Program *program,
                           uint32_t *position) {
  if (e->kind == EXPRESSION_COLUMN && !name.length)
    return expression_column(schema, (const char *)e->column.data, e->column.length, position);
  Buffer text = { 0 };
  expression_print(e, NULL, 0, &text);
  Status status = buffer_status(&text);
  int found = status == KVSTORE_OK && !name.length ? schema_find(schema, (const char *)text.data, text.length) : -1;
  buffer_release(&text);
  TRY(status);
  if (found >= 0) { /* groups have it as a column */
    *position = (uint32_t)found;
    return KVSTORE_OK;
  }
  return program_add(program, e, NULL, 0, name, position);
}

static Status find_or_compute(const char *text, const Schema *schema, Program *program, uint32_t *position) {
  Arena arena = { 0 };
  const Expression *e;
  Bytes name;
  int found = schema_find(schema, text, strlen(text));
  if (found >= 0 && (!(schema->columns[found].flags & COLUMN_HIDDEN) || (uint32_t)found >= program->base_count)) {
    *position = (uint32_t)found;
    return KVSTORE_OK;
  }
  Status status = expression_parse_named(&arena, text, strlen(text), &e, &name);
  if (status == KVSTORE_OK) status = add_computed(e, name, schema, program, position);
  arena_release(&arena);
  return status;
}

Status query_position(Query *q, const char *text, uint32_t *position) {
  return find_or_compute(text, &q->schema, &q->program, position);
}

Status query_group_position(Query *q, const char *text, uint32_t *position) {
  return find_or_compute(text, &q->over_groups, &q->groups_program, position);
}

Status query_select(Query *q, const char *const *names, size_t count) {
  if (count > COLUMNS_MAX) return status_fail(KVSTORE_LIMIT, "a query gives at most %u columns", COLUMNS_MAX);
  uint32_t *columns = memory_allocate(memory_array_size(count, sizeof *columns));
  if (!columns) return status_nomem();
  for (size_t i = 0; i < count; i++) {
    Status status = query_position(q, names[i], &columns[i]);
    if (status != KVSTORE_OK) {
      memory_release(columns);
      return status;
    }
  }
  memory_release(q->columns);
  q->columns = columns;
  q->column_count = count;
  return KVSTORE_OK;
}

static Status add_aggregate(Query *q, AggregateRequest request, const char *column) {
  if (q->aggregate_count >= QUERY_AGGREGATES_MAX) {
    return status_fail(KVSTORE_LIMIT, "a query has at most %d aggregates", QUERY_AGGREGATES_MAX);
  }
  if (request.kind != AGGREGATE_ROWS) TRY(query_position(q, column, &request.column));
  TRY(aggregate_request_check(&q->schema, &request));
  TRY(memory_grow(&q->aggregates, &q->aggregate_capacity, q->aggregate_count + 1, sizeof *q->aggregates));
  q->aggregates[q->aggregate_count++] = request;
  return KVSTORE_OK;
}

Status query_aggregate(Query *q, AggregateKind kind, const char *column) {
  return add_aggregate(q, (AggregateRequest){ .kind = kind }, column);
}

Status query_quantile(Query *q, uint32_t millionths, const char *column) {
  if (millionths > QUANTILE_WHOLE) return status_fail(KVSTORE_ERROR, "a quantile of %u millionths", millionths);
  return add_aggregate(q, (AggregateRequest){ .kind = AGGREGATE_QUANTILE, .millionths = millionths }, column);
}

void query_limit(Query *q, uint64_t offset, uint64_t limit) {
  q->offset = offset;
  q->limit = limit;
}

/* Rows are sorted with the columns of their order behind them, unless they are given anyway. */
static uint32_t order_column(Query *q, uint32_t position) {
  size_t i = 0;
  while (i < q->column_count && q->columns[i] != position) i++;
  size_t e = 0;
  if (i == q->column_count) {
    while (e < q->extra_count && q->extra[e] != position) e++;
    if (e == q->extra_count) q->extra[q->extra_count++] = position;
  }
  return (uint32_t)(i + e);
}

Status query_order_by(Query *q, const QueryOrder *order, size_t count) {
  if (count > COLUMNS_MAX) return status_fail(KVSTORE_LIMIT, "an order has at most %u columns", COLUMNS_MAX);
  OrderTerm *terms = memory_allocate(memory_array_size(count, sizeof *terms));
  uint32_t *extra = memory_allocate(memory_array_size(count, sizeof *extra));
  Status status = terms && extra ? KVSTORE_OK : status_nomem();
  for (size_t i = 0; i < count && status == KVSTORE_OK; i++) {
    terms[i] = (OrderTerm){ 0, order[i].descending, order[i].nulls_last };
    status = q->is_grouped ? query_group_position(q, order[i].column, &terms[i].column)
                           : query_position(q, order[i].column, &terms[i].column);
  }
  if (status != KVSTORE_OK) {
    memory_release(terms);
    memory_release(extra);
    return status;
  }
  memory_release(q->order);
  memory_release(q->extra);
  q->order = terms;
  q->order_count = count;
  q->extra = extra;
  q->extra_count = 0;
  for (size_t i = 0; i < count && !q->is_grouped; i++) terms[i].column = order_column(q, terms[i].column);
  return KVSTORE_OK;
}

/* Columns that are asked for, computed ones as such. Who asks for the rows of the least or greatest key, or for an
 * order, compares keys. */
static void columns_asked(const Query *q, bool rows, bool *read) {
  bool keys = rows && q->is_ordered;
  if (q->where_text.length) predicate_columns(&q->where, read);
  if (q->range.is_limited) predicate_columns(&q->range.all, read);
  for (size_t i = 0; i < q->aggregate_count; i++) {
    if (q->aggregates[i].kind != AGGREGATE_ROWS) read[q->aggregates[i].column] = true;
    keys |= q->aggregates[i].kind == AGGREGATE_FIRST || q->aggregates[i].kind == AGGREGATE_LAST;
  }
  for (uint32_t k = 0; keys && k < q->schema.key_count; k++) read[q->schema.key_columns[k]] = true;
  if (!rows) return;
  if (q->is_grouped) {
    for (size_t k = 0; k < q->key_count; k++) read[q->keys[k]] = true;
    return;
  }
  for (size_t i = 0; i < q->column_count; i++) read[q->columns[i]] = true;
  for (size_t i = 0; i < q->extra_count; i++) read[q->extra[i]] = true;
}

void query_columns_read(const Query *q, bool rows, bool *read) {
  bool asked[COLUMNS_MAX + 1 + PROGRAM_COLUMNS_MAX] = { false };
  columns_asked(q, rows, asked);
  for (uint32_t c = q->program.base_count; c < q->schema.column_count; c++) {
    if (!asked[c]) continue;
    program_columns(&q->program, c, asked);
    for (uint32_t k = 0; k < q->schema.key_count; k++) asked[q->schema.key_columns[k]] = true; /* a failure names it */
  }
  for (uint32_t c = 0; c < q->program.base_count; c++) read[c] |= asked[c];
}

void query_threads(Query *q, uint32_t threads) { q->threads = threads; }
void query_order_by_key(Query *q, bool ordered) { q->is_ordered = ordered; }
size_t query_column_count(const Query *q) { return q->is_grouped ? q->output.column_count : q->column_count; }
const Column *query_column(const Query *q, size_t index) {
  return q->is_grouped ? &q->output.columns[index] : &q->schema.columns[q->columns[index]];
}

/* ---- aggregates ---- */

Status query_check_schema(const Query *q, const Schema *schema) {
  if (schema->version == q->schema.version && schema->column_count == q->program.base_count) return KVSTORE_OK;
  return status_fail(KVSTORE_SCHEMA, "the table's columns have changed since the query was made: make it again");
}

static Status copy_result(AggregateResult result, Arena *strings, AggregateResult *out) {
  Bytes *s = &result.value.s;
  if (!result.is_null && !result.is_integer && type_is_string(result.value.type) && s->length) {
    s->data = arena_copy(strings, s->data, s->length);
    if (!s->data) return status_nomem();
  }
  *out = result;
  return KVSTORE_OK;
}

Status query_run_prepare(TableRun *run, const Query *q, const TableSnapshot *snapshot, const QuerySpace *space) {
  run->plain = arena_allocate(&run->arena, (q->aggregate_count + 1) * sizeof *run->plain);
  run->other = arena_allocate(&run->arena, (q->aggregate_count + 1) * sizeof *run->other);
  if (!run->plain || !run->other) return status_nomem();
  for (size_t i = 0; i < q->aggregate_count; i++) {
    if (q->aggregates[i].kind <= AGGREGATE_MEAN)
      run->plain[run->plain_count++] = q->aggregates[i];
    else
      run->other[run->other_count++] = q->aggregates[i];
  }
  TRY(query_scan(q, snapshot, &run->scan));
  TRY(aggregates_create(snapshot->schema, run->plain, run->plain_count, &run->aggregates));
  if (run->other_count) TRY(groups_create(snapshot, NULL, 0, run->other, run->other_count, space, &run->groups));
  return KVSTORE_OK;
}

uint64_t query_snapshot_rows(const TableSnapshot *snapshot) {
  uint64_t rows = 0;
  for (uint32_t i = 0; i < snapshot->unit_count; i++) rows += snapshot->units[i].row_count;
  return rows;
}

static Status run_results(const TableRun *run, const Query *q, Arena *strings, AggregateResult *results) {
  size_t plain = 0, other = 0;
  for (size_t i = 0; i < q->aggregate_count; i++) {
    bool is_plain = q->aggregates[i].kind <= AGGREGATE_MEAN;
    AggregateResult result =
      is_plain ? aggregates_result(run->aggregates, plain++) : groups_result(run->groups, 0, other++);
    TRY(copy_result(result, strings, &results[i]));
  }
  return KVSTORE_OK;
}

Status query_run(const Query *q, const TableSnapshot *snapshot, Arena *strings, AggregateResult *results,
                 ScanCounters *counters) {
  return query_run_within(q, snapshot, NULL, strings, results, counters);
}

Status query_run_within(const Query *q, const TableSnapshot *snapshot, const QuerySpace *space, Arena *strings,
                        AggregateResult *results, ScanCounters *counters) {
  TableRun run = { 0 };
  QuerySpace own = { 0 };
  TRY(query_check_schema(q, snapshot->schema));
  TableSnapshot computed = *snapshot;
  computed.schema = &q->schema;
  snapshot = &computed;
  if (space) {
    own = *space;
    own.rows_total = query_snapshot_rows(snapshot);
    space = &own;
  }
  QueryClock clock = query_clock_start();
  Status status = query_run_prepare(&run, q, snapshot, space);
  if (status == KVSTORE_OK) status = query_run_units(q, snapshot, space, &run);
  if (status == KVSTORE_OK) status = table_snapshot_check(snapshot);
  if (status == KVSTORE_OK) status = run_results(&run, q, strings, results);
  if (counters && run.scan) {
    query_clock_stop(&clock, 1, &run.helped);
    *counters = *scan_counters(run.scan);
    scan_counters_add(counters, &run.helped);
  }
  groups_destroy(run.groups);
  aggregates_destroy(run.aggregates);
  scan_destroy(run.scan);
  arena_release(&run.arena);
  return status;
}
