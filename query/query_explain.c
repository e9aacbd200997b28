/* query_explain.c - a query, and what was done, as lines for a person and as JSON. */
#include <stdio.h>
#include <string.h>

#include "base/literal.h"
#include "query/join_internal.h"
#include "query/query_internal.h"

void query_aggregate_name(const AggregateRequest *request, const char *column, Buffer *out) {
  static const char *const words[AGGREGATE_KINDS] = {
    [AGGREGATE_ROWS] = "count(*)",
    [AGGREGATE_VALUES] = "count(",
    [AGGREGATE_TOTAL] = "sum(",
    [AGGREGATE_LEAST] = "min(",
    [AGGREGATE_GREATEST] = "max(",
    [AGGREGATE_MEAN] = "avg(",
    [AGGREGATE_VARIANCE] = "variance(",
    [AGGREGATE_VARIANCE_POPULATION] = "variance_pop(",
    [AGGREGATE_DEVIATION] = "stddev(",
    [AGGREGATE_DEVIATION_POPULATION] = "stddev_pop(",
    [AGGREGATE_DISTINCT] = "count(distinct ",
    [AGGREGATE_FIRST] = "first(",
    [AGGREGATE_LAST] = "last(",
    [AGGREGATE_SKETCH] = "approx_count_distinct(",
  };
  if (request->kind == AGGREGATE_QUANTILE) {
    expression_print_quantile((Bytes){ (const uint8_t *)column, strlen(column) }, request->millionths, out);
    return;
  }
  buffer_text(out, words[request->kind]);
  if (request->kind == AGGREGATE_ROWS) return;
  buffer_text(out, column);
  buffer_u8(out, ')');
}

/* ---- as text ---- */

static void explain_columns(const Query *q, Buffer *out) {
  buffer_text(out, "columns: ");
  for (size_t i = 0; i < query_column_count(q); i++) {
    if (i) buffer_text(out, ", ");
    buffer_text(out, query_column(q, i)->name);
  }
  buffer_u8(out, '\n');
}

static void explain_groups(const Query *q, Buffer *out) {
  if (!q->is_grouped) return;
  buffer_text(out, "groups: by ");
  for (size_t i = 0; i < q->key_count; i++) {
    if (i) buffer_text(out, ", ");
    buffer_text(out, q->schema.columns[q->keys[i]].name);
  }
  buffer_text(out, q->key_count ? "\n" : "nothing: all rows are one\n");
  if (!q->having_text.length) return;
  buffer_text(out, "having: ");
  buffer_append(out, q->having_text.data, q->having_text.length);
  buffer_u8(out, '\n');
}

static const char *order_name(const Query *q, uint32_t column) {
  if (q->is_grouped) return q->over_groups.columns[column].name;
  if (column < q->column_count) return query_column(q, column)->name;
  return q->schema.columns[q->extra[column - q->column_count]].name;
}

static void explain_order(const Query *q, Buffer *out) {
  buffer_text(out, "order: ");
  for (size_t i = 0; i < q->order_count; i++) {
    if (i) buffer_text(out, ", ");
    buffer_text(out, order_name(q, q->order[i].column));
    if (q->order[i].descending) buffer_text(out, " descending");
    if (q->order[i].nulls_last) buffer_text(out, " nulls last");
  }
  if (!q->order_count) buffer_text(out, q->is_grouped ? "none" : q->is_ordered ? "by key" : "as the rows lie");
  buffer_u8(out, '\n');
}

static void explain_rows(const Query *q, Buffer *out) {
  char text[96];
  explain_columns(q, out);
  explain_groups(q, out);
  explain_order(q, out);
  if (q->offset) {
    snprintf(text, sizeof text, "offset: %llu\n", (unsigned long long)q->offset);
    buffer_text(out, text);
  }
  if (q->limit != QUERY_NO_LIMIT) {
    snprintf(text, sizeof text, "limit: %llu\n", (unsigned long long)q->limit);
    buffer_text(out, text);
  }
}

static void explain_aggregates(const Query *q, Buffer *out) {
  buffer_text(out, "aggregates: ");
  for (size_t i = 0; i < q->aggregate_count; i++) {
    if (i) buffer_text(out, ", ");
    query_aggregate_name(&q->aggregates[i], q->schema.columns[q->aggregates[i].column].name, out);
  }
  buffer_u8(out, '\n');
}

static void explain_counters(const ScanCounters *c, uint64_t bytes_spilled, Buffer *out) {
  char text[320];
  snprintf(text, sizeof text,
           "rows: %llu in %llu units, %llu selected\nsegments skipped: %llu\n"
           "blocks: %llu, of them %llu skipped, %llu certain, %llu scanned\n",
           (unsigned long long)c->rows, (unsigned long long)c->units, (unsigned long long)c->rows_selected,
           (unsigned long long)c->segments_skipped, (unsigned long long)c->blocks,
           (unsigned long long)c->blocks_skipped, (unsigned long long)c->blocks_certain,
           (unsigned long long)c->blocks_scanned);
  buffer_text(out, text);
  if (!bytes_spilled) return;
  snprintf(text, sizeof text, "bytes outside of memory: %llu\n", (unsigned long long)bytes_spilled);
  buffer_text(out, text);
}

/* Which keys were asked for, and which columns of the key the filter compares. */
static void explain_keys(const Query *q, Buffer *out) {
  if (q->range.asked_text.length) {
    buffer_text(out, "keys: ");
    buffer_append(out, q->range.asked_text.data, q->range.asked_text.length);
    buffer_u8(out, '\n');
  }
  for (uint32_t k = 0; k < q->range.column_count; k++) {
    buffer_text(out, k ? ", " : "searched by: ");
    buffer_text(out, q->schema.columns[q->schema.key_columns[k]].name);
  }
  if (q->range.column_count) buffer_u8(out, '\n');
}

void query_explain(const Query *q, const ScanCounters *counters, uint64_t bytes_spilled, Buffer *out) {
  buffer_text(out, "filter: ");
  if (q->where_text.length) {
    buffer_append(out, q->where_text.data, q->where_text.length);
  } else {
    buffer_text(out, "none");
  }
  buffer_u8(out, '\n');
  explain_keys(q, out);
  if (q->aggregate_count && !q->is_grouped) {
    explain_aggregates(q, out);
  } else {
    explain_rows(q, out);
  }
  if (!counters) return;
  explain_counters(counters, bytes_spilled, out);
  if (counters->whole_ns) query_explain_time(q, counters, out);
}

/* ---- as JSON ---- */

static void json_text(const void *bytes, size_t length, Buffer *out) {
  const uint8_t *at = bytes;
  char escaped[8];
  buffer_u8(out, '"');
  for (size_t i = 0; i < length; i++) {
    if (at[i] < ' ') {
      snprintf(escaped, sizeof escaped, "\\u%04x", at[i]);
      buffer_text(out, escaped);
    } else {
      if (at[i] == '"' || at[i] == '\\') buffer_u8(out, '\\');
      buffer_u8(out, at[i]);
    }
  }
  buffer_u8(out, '"');
}

void explain_json_text(const char *text, Buffer *out) { json_text(text, strlen(text), out); }

/* `,"name":` */
static void json_name(const char *name, Buffer *out) {
  if (out->length && out->data[out->length - 1] != '{' && out->data[out->length - 1] != '[') buffer_u8(out, ',');
  json_text(name, strlen(name), out);
  buffer_u8(out, ':');
}

static void json_item(const char *text, Buffer *out) {
  if (out->length && out->data[out->length - 1] != '[') buffer_u8(out, ',');
  json_text(text, strlen(text), out);
}

static void json_number(const char *name, uint64_t number, Buffer *out) {
  char digits[24];
  json_name(name, out);
  snprintf(digits, sizeof digits, "%llu", (unsigned long long)number);
  buffer_text(out, digits);
}

static void json_filter(const char *name, const Buffer *text, Buffer *out) {
  json_name(name, out);
  if (text->length)
    json_text(text->data, text->length, out);
  else
    buffer_text(out, "null");
}

static void json_aggregates(const Query *q, Buffer *out) {
  json_name("aggregates", out);
  buffer_u8(out, '[');
  for (size_t i = 0; i < q->aggregate_count; i++) {
    Buffer name = { 0 };
    query_aggregate_name(&q->aggregates[i], q->schema.columns[q->aggregates[i].column].name, &name);
    buffer_u8(&name, 0);
    if (buffer_status(&name) == KVSTORE_OK)
      json_item((const char *)name.data, out);
    else
      out->failed = true;
    buffer_release(&name);
  }
  buffer_u8(out, ']');
}

static void json_order(const Query *q, Buffer *out) {
  json_name("order", out);
  buffer_u8(out, '[');
  for (size_t i = 0; i < q->order_count; i++) {
    buffer_text(out, i ? ",{" : "{");
    json_name("column", out);
    json_text(order_name(q, q->order[i].column), strlen(order_name(q, q->order[i].column)), out);
    json_name("descending", out);
    buffer_text(out, q->order[i].descending ? "true" : "false");
    json_name("nulls", out);
    buffer_text(out, q->order[i].nulls_last ? "\"last\"}" : "\"first\"}");
  }
  buffer_u8(out, ']');
  json_name("by_key", out);
  buffer_text(out, q->is_ordered && !q->order_count && !q->is_grouped ? "true" : "false");
}

static void json_rows(const Query *q, Buffer *out) {
  json_name("columns", out);
  buffer_u8(out, '[');
  for (size_t i = 0; i < query_column_count(q); i++) json_item(query_column(q, i)->name, out);
  buffer_u8(out, ']');
  if (q->is_grouped) {
    json_name("group_by", out);
    buffer_u8(out, '[');
    for (size_t i = 0; i < q->key_count; i++) json_item(q->schema.columns[q->keys[i]].name, out);
    buffer_u8(out, ']');
    json_filter("having", &q->having_text, out);
  }
  json_order(q, out);
  json_number("offset", q->offset, out);
  if (q->limit != QUERY_NO_LIMIT) json_number("limit", q->limit, out);
}

static void json_counters(const Query *q, const ScanCounters *c, uint64_t bytes_spilled, Buffer *out) {
  json_name("run", out);
  buffer_u8(out, '{');
  json_number("units", c->units, out);
  json_number("segments_skipped", c->segments_skipped, out);
  json_number("rows", c->rows, out);
  json_number("rows_selected", c->rows_selected, out);
  json_number("blocks", c->blocks, out);
  json_number("blocks_skipped", c->blocks_skipped, out);
  json_number("blocks_certain", c->blocks_certain, out);
  json_number("blocks_scanned", c->blocks_scanned, out);
  query_explain_time_json(q, c, out);
  json_name("helped", out);
  buffer_text(out, c->helped ? "true" : "false");
  json_number("bytes_spilled", bytes_spilled, out);
  buffer_u8(out, '}');
}

static void json_keys(const Query *q, Buffer *out) {
  if (q->range.asked_text.length) json_filter("keys", &q->range.asked_text, out);
  if (!q->range.column_count) return;
  json_name("searched_by", out);
  buffer_u8(out, '[');
  for (uint32_t k = 0; k < q->range.column_count; k++) json_item(q->schema.columns[q->schema.key_columns[k]].name, out);
  buffer_u8(out, ']');
}

void query_explain_json(const Query *q, const ScanCounters *counters, uint64_t bytes_spilled, Buffer *out) {
  buffer_u8(out, '{');
  json_filter("filter", &q->where_text, out);
  json_keys(q, out);
  if (q->aggregate_count && !q->is_grouped)
    json_aggregates(q, out);
  else
    json_rows(q, out);
  if (counters) json_counters(q, counters, bytes_spilled, out);
  buffer_u8(out, '}');
}
