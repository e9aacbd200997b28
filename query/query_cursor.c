/* query_cursor.c - a cursor: rows or groups, sorted when there is an order, from `offset` on and at most `limit`. */
#include "base/memory.h"
#include "query/query_internal.h"
#include "query/row_rounds.h"
#include "query/row_sort.h"

struct QueryCursor {
  const Query *query;
  TableSnapshot snapshot;
  bool has_space;
  QuerySpace groups_space, sorter_space; /* shares of the query's; rows tick in the second one */
  Arena arena;
  RowSource *rows;
  RowRounds *rounds; /* NULL: rows come from `rows` alone */
  GroupSource *groups;
  ColumnType *types; /* of what is sorted */
  uint32_t type_count;
  Sorter *sorter;
  RowSort sort;        /* of rows */
  bool is_sorted;      /* everything is in the sorter */
  uint64_t skip, left; /* of what comes out: still to leave out, still to give */
  ColumnArray *arrays; /* of the current batch */
  ScanCounters own;    /* time, and rows given */
  uint64_t sorted;     /* batches that went into the sorter */
  uint64_t given;      /* batches that came out */
};

/* ---- life ---- */

static Status sorted_types(QueryCursor *c) {
  const Query *q = c->query;
  c->type_count = q->is_grouped ? q->over_groups.column_count : (uint32_t)(q->column_count + q->extra_count);
  c->types = arena_allocate(&c->arena, (c->type_count + 1) * sizeof *c->types);
  c->arrays = arena_allocate(&c->arena, (c->type_count + 1) * sizeof *c->arrays);
  if (!c->types || !c->arrays) return status_nomem();
  for (uint32_t i = 0; i < c->type_count; i++) {
    if (q->is_grouped)
      c->types[i] = (i < q->output.column_count ? q->output.columns : q->over_groups.columns)[i].type;
    else
      c->types[i] = q->schema.columns[i < q->column_count ? q->columns[i] : q->extra[i - q->column_count]].type;
  }
  return KVSTORE_OK;
}

static Status prepare_sort(QueryCursor *c, const QuerySpace *space, uint64_t keep) {
  TRY(row_source_create(c->query, &c->snapshot, space, 0, QUERY_NO_LIMIT, &c->rows));
  RowSort *sort = &c->sort;
  sort->query = c->query;
  sort->snapshot = &c->snapshot;
  sort->space = space;
  sort->types = c->types;
  sort->type_count = c->type_count;
  sort->keep = keep;
  sort->rows = c->rows;
  sort->sorter = c->sorter;
  return KVSTORE_OK;
}

static Status prepare(QueryCursor *c) {
  const Query *q = c->query;
  uint64_t end = q->limit > QUERY_NO_LIMIT - q->offset ? QUERY_NO_LIMIT : q->offset + q->limit;
  TRY(query_check_schema(q, c->snapshot.schema));
  c->snapshot.schema = &q->schema;
  TRY(sorted_types(c));
  c->skip = q->offset;
  c->left = q->limit;
  const QuerySpace *space = c->has_space ? &c->sorter_space : NULL;
  SorterOptions options = { .keep = end, .space = space, .worst = &c->sort.worst };
  atomic_init(&c->sort.worst, INT64_MAX);
  if (q->order_count) TRY(sorter_create(c->types, c->type_count, q->order, q->order_count, &options, &c->sorter));
  if (q->is_grouped) return group_source_create(q, &c->snapshot, c->has_space ? &c->groups_space : NULL, &c->groups);
  if (c->sorter) return prepare_sort(c, space, end);
  c->skip = 0; /* the rows leave out by themselves what they need not read */
  TRY(row_source_create(q, &c->snapshot, space, q->offset, q->limit, &c->rows));
  if (!row_rounds_fit(q, &c->snapshot)) return KVSTORE_OK;
  return row_rounds_create(q, &c->snapshot, space, c->rows, &c->rounds);
}

static void cursor_release(QueryCursor *c) {
  row_rounds_destroy(c->rounds);
  row_source_destroy(c->rows);
  group_source_destroy(c->groups);
  sorter_destroy(c->sorter);
  arena_release(&c->arena);
  memory_release(c);
}

/* Most for groups, the rest for the order: rows on their way out or back take a part of the groups' own share. */
static void share_space(QueryCursor *c, const QuerySpace *space) {
  if (!space) return;
  c->has_space = true;
  c->groups_space = *space;
  c->groups_space.rows_total = query_snapshot_rows(&c->snapshot);
  c->sorter_space = c->groups_space;
  c->groups_space.memory_limit = space->memory_limit / 4 * 3;
  if (c->query->is_grouped) c->sorter_space.memory_limit = space->memory_limit / 4;
}

Status query_open(const Query *query, TableSnapshot *snapshot, QueryCursor **out) {
  return query_open_within(query, snapshot, NULL, out);
}

Status query_open_within(const Query *query, TableSnapshot *snapshot, const QuerySpace *space, QueryCursor **out) {
  QueryCursor *c = memory_allocate_zeroed(sizeof *c);
  if (!c) return status_nomem();
  c->query = query;
  c->snapshot = *snapshot;
  share_space(c, space);
  Status status = prepare(c);
  if (status != KVSTORE_OK) { /* the snapshot stays the caller's */
    cursor_release(c);
    return status;
  }
  *snapshot = (TableSnapshot){ 0 };
  *out = c;
  return KVSTORE_OK;
}

void query_close(QueryCursor *c) {
  if (!c) return;
  TableSnapshot snapshot = c->snapshot;
  cursor_release(c);
  table_snapshot_release(&snapshot);
}

const TableSnapshot *query_snapshot(const QueryCursor *c) { return &c->snapshot; }

ScanCounters query_counters(const QueryCursor *c) {
  ScanCounters counters = c->groups ? group_source_counters(c->groups) : row_source_counters(c->rows);
  scan_counters_add(&counters, &c->sort.done);
  if (c->rounds) {
    ScanCounters others = row_rounds_counters(c->rounds);
    scan_counters_add(&counters, &others);
  }
  scan_counters_add(&counters, &c->own);
  return counters;
}

uint64_t query_spilled(const QueryCursor *c) {
  return (c->groups ? group_source_spilled(c->groups) : 0) + (c->sorter ? sorter_spilled(c->sorter) : 0);
}

/* ---- batches ---- */

static Status source_next(QueryCursor *c, QueryBatch *batch) {
  if (c->groups) return group_source_next(c->groups, batch);
  return c->rounds ? row_rounds_next(c->rounds, batch) : row_source_next(c->rows, batch);
}

static Status add_sorted(QueryCursor *c, const QueryBatch *batch) {
  uint64_t weight = query_batch_weight(c->sorted++), begun = weight ? os_ticks() : 0;
  TRY(sorter_add(c->sorter, batch));
  if (weight) c->own.ticks[SCAN_STEP_ORDER] += (os_ticks() - begun) * weight;
  return KVSTORE_OK;
}

static Status fill_with_groups(QueryCursor *c) {
  for (;;) {
    QueryBatch batch;
    TRY(group_source_next(c->groups, &batch));
    if (batch.row_count == 0) return KVSTORE_OK;
    TRY(add_sorted(c, &batch));
  }
}

static Status fill_sorter(QueryCursor *c) {
  TRY(c->rows ? row_sort_fill(&c->sort) : fill_with_groups(c));
  c->is_sorted = true;
  return KVSTORE_OK;
}

/* Leaves out the first rows of a batch, and those beyond the limit. */
static void cut(QueryCursor *c, QueryBatch *batch) {
  uint32_t first = c->skip < batch->row_count ? (uint32_t)c->skip : batch->row_count;
  c->skip -= first;
  batch->row_count -= first;
  if (batch->row_count > c->left) batch->row_count = (uint32_t)c->left;
  c->left -= batch->row_count;
  for (uint32_t i = 0; i < c->type_count; i++) {
    const ColumnArray *a = &batch->columns[i];
    c->arrays[i].values = (const uint8_t *)a->values + first * query_type_width(c->types[i]);
    c->arrays[i].nulls = a->nulls ? a->nulls + first : NULL;
  }
  batch->columns = c->arrays;
  batch->column_count = (uint32_t)query_column_count(c->query);
}

static Status sorted_next(QueryCursor *c, QueryBatch *batch, uint64_t weight) {
  uint64_t begun = weight ? os_ticks() : 0;
  TRY(sorter_next(c->sorter, batch));
  if (weight) c->own.ticks[SCAN_STEP_ORDER] += (os_ticks() - begun) * weight;
  return KVSTORE_OK;
}

static Status next_batch(QueryCursor *c, QueryBatch *batch, uint64_t weight) {
  *batch = (QueryBatch){ .columns = c->arrays, .column_count = (uint32_t)query_column_count(c->query) };
  if (c->sorter && !c->is_sorted) TRY(fill_sorter(c));
  while (c->left) {
    QueryBatch more;
    TRY(c->sorter ? sorted_next(c, &more, weight) : source_next(c, &more));
    if (more.row_count == 0) return KVSTORE_OK;
    cut(c, &more);
    *batch = more;
    if (more.row_count) return KVSTORE_OK;
  }
  return KVSTORE_OK;
}

Status query_next(QueryCursor *c, QueryBatch *batch) {
  uint64_t weight = query_batch_weight(c->given++);
  QueryClock clock = { 0 };
  if (weight) clock = query_clock_start();
  TRY(next_batch(c, batch, weight));
  TRY(table_snapshot_check(&c->snapshot));
  c->own.rows_given += batch->row_count;
  if (weight) query_clock_stop(&clock, weight, &c->own);
  return KVSTORE_OK;
}

/* ---- many rows at once ---- */

static bool may_fill(const QueryCursor *c) { return c->groups && !c->sorter && !c->skip && c->left; }

Status query_ahead(QueryCursor *c, uint64_t *rows) {
  QueryClock clock = query_clock_start();
  *rows = 0;
  if (!may_fill(c)) return KVSTORE_OK;
  TRY(group_source_ahead(c->groups, rows));
  if (*rows > c->left) *rows = c->left;
  query_clock_stop(&clock, 1, &c->own);
  return KVSTORE_OK;
}

Status query_fill(QueryCursor *c, uint32_t most, void *const *values, uint8_t *const *nulls, uint32_t *count) {
  QueryClock clock = query_clock_start();
  *count = 0;
  if (!may_fill(c)) return KVSTORE_OK;
  TRY(group_source_fill(c->groups, most < c->left ? most : (uint32_t)c->left, values, nulls, count));
  TRY(table_snapshot_check(&c->snapshot));
  c->left -= *count;
  c->own.rows_given += *count;
  query_clock_stop(&clock, 1, &c->own);
  return KVSTORE_OK;
}
