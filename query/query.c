/* query.c - making a query, explaining it, and running aggregates. */
#include "query/query.h"

#include <stdio.h>

#include "base/memory.h"
#include "query/literal.h"
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
  Status status = schema_copy(schema, &q->schema);
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
  schema_release(&q->schema);
  arena_release(&q->arena);
  buffer_release(&q->where_text);
  memory_release(q->columns);
  memory_release(q->aggregates);
  memory_release(q);
}

/* ---- asking ---- */

Status query_where_expression(Query *q, const Expression *expression, const Value *parameters, size_t parameter_count) {
  Arena arena = { 0 };
  Predicate where = { 0 };
  Buffer text = { 0 };
  Status status = expression_bind(expression, &q->schema, parameters, parameter_count, &arena, &where);
  if (status == KVSTORE_OK) {
    expression_print(expression, parameters, parameter_count, &text);
    status = buffer_status(&text);
  }
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

Status query_select(Query *q, const char *const *names, size_t count) {
  if (count > COLUMNS_MAX) return status_fail(KVSTORE_LIMIT, "a query gives at most %u columns", COLUMNS_MAX);
  uint32_t *columns = memory_allocate(memory_array_size(count, sizeof *columns));
  if (!columns) return status_nomem();
  for (size_t i = 0; i < count; i++) {
    Status status = expression_column(&q->schema, names[i], strlen(names[i]), &columns[i]);
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

Status query_aggregate(Query *q, AggregateKind kind, const char *column) {
  AggregateRequest request = { .kind = kind };
  if (q->aggregate_count >= QUERY_AGGREGATES_MAX) {
    return status_fail(KVSTORE_LIMIT, "a query has at most %d aggregates", QUERY_AGGREGATES_MAX);
  }
  if (kind != AGGREGATE_ROWS) TRY(expression_column(&q->schema, column, strlen(column), &request.column));
  TRY(aggregate_request_check(&q->schema, &request));
  TRY(memory_grow(&q->aggregates, &q->aggregate_capacity, q->aggregate_count + 1, sizeof *q->aggregates));
  q->aggregates[q->aggregate_count++] = request;
  return KVSTORE_OK;
}

void query_limit(Query *q, uint64_t offset, uint64_t limit) {
  q->offset = offset;
  q->limit = limit;
}

void query_order_by_key(Query *q, bool ordered) { q->is_ordered = ordered; }
size_t query_column_count(const Query *q) { return q->column_count; }
const Column *query_column(const Query *q, size_t index) { return &q->schema.columns[q->columns[index]]; }

/* ---- as text ---- */

static void explain_rows(const Query *q, Buffer *out) {
  char text[96];
  buffer_text(out, "columns: ");
  for (size_t i = 0; i < q->column_count; i++) {
    if (i) buffer_text(out, ", ");
    buffer_text(out, query_column(q, i)->name);
  }
  buffer_text(out, q->is_ordered ? "\norder: by key\n" : "\norder: as the rows lie\n");
  if (q->limit != QUERY_NO_LIMIT || q->offset) {
    int length = snprintf(text, sizeof text, "offset: %llu\n", (unsigned long long)q->offset);
    if (q->limit != QUERY_NO_LIMIT) {
      snprintf(text + length, sizeof text - (size_t)length, "limit: %llu\n", (unsigned long long)q->limit);
    }
    buffer_text(out, text);
  }
}

static void explain_aggregates(const Query *q, Buffer *out) {
  static const char *const words[] = {
    [AGGREGATE_ROWS] = "count(*)", [AGGREGATE_VALUES] = "count(", [AGGREGATE_TOTAL] = "sum(",
    [AGGREGATE_LEAST] = "min(",    [AGGREGATE_GREATEST] = "max(", [AGGREGATE_MEAN] = "avg(",
  };
  buffer_text(out, "aggregates: ");
  for (size_t i = 0; i < q->aggregate_count; i++) {
    if (i) buffer_text(out, ", ");
    buffer_text(out, words[q->aggregates[i].kind]);
    if (q->aggregates[i].kind == AGGREGATE_ROWS) continue;
    buffer_text(out, q->schema.columns[q->aggregates[i].column].name);
    buffer_u8(out, ')');
  }
  buffer_u8(out, '\n');
}

static void explain_counters(const ScanCounters *c, Buffer *out) {
  char text[320];
  snprintf(text, sizeof text,
           "rows: %llu in %llu units, %llu selected\nsegments skipped: %llu\n"
           "blocks: %llu, of them %llu skipped, %llu certain, %llu scanned\n",
           (unsigned long long)c->rows, (unsigned long long)c->units, (unsigned long long)c->rows_selected,
           (unsigned long long)c->segments_skipped, (unsigned long long)c->blocks,
           (unsigned long long)c->blocks_skipped, (unsigned long long)c->blocks_certain,
           (unsigned long long)c->blocks_scanned);
  buffer_text(out, text);
}

void query_explain(const Query *q, const ScanCounters *counters, Buffer *out) {
  buffer_text(out, "filter: ");
  if (q->where_text.length) {
    buffer_append(out, q->where_text.data, q->where_text.length);
  } else {
    buffer_text(out, "none");
  }
  buffer_u8(out, '\n');
  if (q->aggregate_count) {
    explain_aggregates(q, out);
  } else {
    explain_rows(q, out);
  }
  if (counters) explain_counters(counters, out);
}

/* ---- aggregates ---- */

void counters_add(ScanCounters *to, const ScanCounters *from) {
  to->units += from->units;
  to->segments_skipped += from->segments_skipped;
  to->rows += from->rows;
  to->rows_selected += from->rows_selected;
  to->blocks += from->blocks;
  to->blocks_skipped += from->blocks_skipped;
  to->blocks_certain += from->blocks_certain;
  to->blocks_scanned += from->blocks_scanned;
}

Status query_check_schema(const Query *q, const Schema *schema) {
  if (schema->version == q->schema.version && schema->column_count == q->schema.column_count) return KVSTORE_OK;
  return status_fail(KVSTORE_SCHEMA, "the table's columns have changed since the query was made: make it again");
}

static Status copy_results(const Aggregates *aggregates, size_t count, Arena *strings, AggregateResult *results) {
  for (size_t i = 0; i < count; i++) {
    AggregateResult result = aggregates_result(aggregates, i);
    Bytes *s = &result.value.s;
    if (!result.is_null && type_is_string(result.value.type) && s->length) {
      s->data = arena_copy(strings, s->data, s->length);
      if (!s->data) return status_nomem();
    }
    results[i] = result;
  }
  return KVSTORE_OK;
}

static Status add_units(Scan *scan, const TableSnapshot *snapshot, Aggregates *aggregates) {
  for (uint32_t i = 0; i < snapshot->unit_count; i++) {
    TRY(scan_unit(scan, &snapshot->units[i]));
    TRY(aggregates_add(aggregates, scan));
  }
  return KVSTORE_OK;
}

Status query_run(const Query *q, const TableSnapshot *snapshot, Arena *strings, AggregateResult *results,
                 ScanCounters *counters) {
  Aggregates *aggregates = NULL;
  Scan *scan = NULL;
  TRY(query_check_schema(q, snapshot->schema));
  Status status = scan_create(snapshot->schema, query_predicate(q), snapshot->now_ms, &scan);
  if (status == KVSTORE_OK)
    status = aggregates_create(snapshot->schema, q->aggregates, q->aggregate_count, &aggregates);
  if (status == KVSTORE_OK) status = add_units(scan, snapshot, aggregates);
  if (status == KVSTORE_OK) status = copy_results(aggregates, q->aggregate_count, strings, results);
  if (status == KVSTORE_OK && counters) *counters = *scan_counters(scan);
  aggregates_destroy(aggregates);
  scan_destroy(scan);
  return status;
}
