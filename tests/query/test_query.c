/* Queries over hand-made snapshots against a loop over the rows: rows as they lie, rows by key, aggregates, explain. */
#include <stdio.h>
#include <stdlib.h>

#include "base/keycode.h"
#include "base/memory.h"
#include "query/query.h"
#include "tests/columnar/sample_units.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

/* ---- a random filter as an expression ---- */

static ExpressionTest test_of(CompareOperator op) {
  static const ExpressionTest tests[] = {
    [COMPARE_EQUAL] = TEST_EQUAL,     [COMPARE_NOT_EQUAL] = TEST_NOT_EQUAL,
    [COMPARE_LESS] = TEST_LESS,       [COMPARE_LESS_EQUAL] = TEST_LESS_EQUAL,
    [COMPARE_GREATER] = TEST_GREATER, [COMPARE_GREATER_EQUAL] = TEST_GREATER_EQUAL,
    [COMPARE_BETWEEN] = TEST_BETWEEN, [COMPARE_NOT_BETWEEN] = TEST_NOT_BETWEEN,
    [COMPARE_IN] = TEST_IN,           [COMPARE_NOT_IN] = TEST_NOT_IN,
    [COMPARE_PREFIX] = TEST_LIKE,     [COMPARE_NOT_PREFIX] = TEST_NOT_LIKE,
    [COMPARE_IS_NULL] = TEST_IS_NULL, [COMPARE_IS_NOT_NULL] = TEST_IS_NOT_NULL,
    [COMPARE_BITS] = TEST_BITS,       [COMPARE_NOT_BITS] = TEST_NOT_BITS,
  };
  return tests[op];
}

/* False when a prefix holds a character that means something in a pattern. */
static bool as_pattern(Arena *arena, Value *v) {
  if (v->is_null) return true;
  for (size_t i = 0; i < v->s.length; i++) {
    if (v->s.data[i] == '%' || v->s.data[i] == '_') return false;
  }
  uint8_t *pattern = arena_allocate(arena, v->s.length + 1);
  if (v->s.length) memcpy(pattern, v->s.data, v->s.length);
  pattern[v->s.length] = '%';
  v->s = (Bytes){ pattern, v->s.length + 1 };
  return true;
}

/* NULL when the filter has no text. */
static const Expression *as_expression(Arena *arena, const SampleUnits *u, const PredicateTerm *t) {
  const Expression *out, *children[8];
  ExpressionOperand operands[8] = { { 0 } };
  static const ExpressionKind constants[] = {
    [TERM_TRUE] = EXPRESSION_TRUE, [TERM_FALSE] = EXPRESSION_FALSE, [TERM_UNKNOWN] = EXPRESSION_UNKNOWN
  };
  if (t->kind <= TERM_UNKNOWN) {
    CHECK_OK(expression_constant(arena, constants[t->kind], &out));
    return out;
  }
  if (t->kind == TERM_COMPARE_COLUMNS) {
    Bytes name = { (const uint8_t *)u->columns[t->column].name, strlen(u->columns[t->column].name) };
    Bytes other = { (const uint8_t *)u->columns[t->other].name, strlen(u->columns[t->other].name) };
    CHECK_OK(expression_name(arena, other, &operands[0].of));
    CHECK_OK(expression_test(arena, name, test_of(t->op), operands, 1, &out));
    return out;
  }
  if (t->kind == TERM_COMPARE) {
    Bytes name = { (const uint8_t *)u->columns[t->column].name, strlen(u->columns[t->column].name) };
    for (uint32_t i = 0; i < t->count; i++) operands[i].value = t->constants[i];
    bool is_prefix = t->op == COMPARE_PREFIX || t->op == COMPARE_NOT_PREFIX;
    if (is_prefix && !as_pattern(arena, &operands[0].value)) return NULL;
    CHECK_OK(expression_test(arena, name, test_of(t->op), operands, t->count, &out));
    return out;
  }
  for (uint32_t i = 0; i < t->count; i++) {
    if (!(children[i] = as_expression(arena, u, t->terms[i]))) return NULL;
  }
  ExpressionKind kind = t->kind == TERM_NOT ? EXPRESSION_NOT : t->kind == TERM_AND ? EXPRESSION_AND : EXPRESSION_OR;
  CHECK_OK(expression_join(arena, kind, children, t->count, &out));
  return out;
}

/* ---- the plain answer ---- */

typedef struct PlainRow {
  uint32_t unit, row;
  Bytes key;
} PlainRow;

static int by_key(const void *a, const void *b) {
  const PlainRow *x = a, *y = b;
  return bytes_compare(x->key.data, x->key.length, y->key.data, y->key.length);
}

static PlainRow *plain_rows(Arena *arena, const SampleUnits *u, const PredicateTerm *term, bool ordered,
                            size_t *count) {
  size_t most = 1;
  for (uint32_t unit = 0; unit < u->unit_count; unit++) most += u->units[unit].row_count;
  PlainRow *rows = arena_allocate(arena, most * sizeof *rows);
  *count = 0;
  for (uint32_t unit = 0; unit < u->unit_count; unit++) {
    for (uint32_t row = 0; row < u->units[unit].row_count; row++) {
      if (!sample_filter_selects(term, u, unit, row)) continue;
      PlainRow *r = &rows[(*count)++];
      *r = (PlainRow){ unit, row, { 0 } };
      if (!ordered) continue;
      Buffer key = { 0 };
      Value v = sample_units_value(u, unit, 0, row);
      keycode_append(&key, &v, false);
      r->key = (Bytes){ arena_copy(arena, key.data, key.length), key.length };
      buffer_release(&key);
    }
  }
  if (ordered) qsort(rows, *count, sizeof *rows, by_key);
  return rows;
}

/* ---- rows ---- */

static void check_batch(const SampleUnits *u, const Query *q, const QueryBatch *batch, const PlainRow *rows) {
  CHECK_INT(batch->column_count, query_column_count(q));
  CHECK(batch->row_count <= QUERY_BATCH_ROWS);
  for (uint32_t c = 0; c < batch->column_count; c++) {
    const Column *column = query_column(q, c);
    uint32_t position = (uint32_t)schema_find(&u->schema, column->name, strlen(column->name));
    const ColumnArray *array = &batch->columns[c];
    for (uint32_t i = 0; i < batch->row_count; i++) {
      Value expected = sample_units_value(u, rows[i].unit, position, rows[i].row);
      bool is_null = array->nulls && array->nulls[i];
      CHECK_INT(is_null, expected.is_null);
      Value actual = value_from_array(column->type, array->values, i);
      if (!is_null) CHECK(sample_same_value(&actual, &expected));
      if (is_null && type_is_string(column->type)) CHECK_INT(actual.s.length, 0);
    }
  }
}

static void check_rows(const SampleUnits *u, const Query *q, const PlainRow *rows, size_t count, uint64_t offset,
                       uint64_t limit) {
  TableSnapshot snapshot = sample_units_snapshot(u);
  QueryCursor *cursor;
  QueryBatch batch;
  size_t at = offset < count ? (size_t)offset : count, end = count - at > limit ? at + (size_t)limit : count;
  CHECK_OK(query_open(q, &snapshot, &cursor));
  for (;;) {
    CHECK_OK(query_next(cursor, &batch));
    if (batch.row_count == 0) break;
    CHECK(at + batch.row_count <= end);
    check_batch(u, q, &batch, rows + at);
    at += batch.row_count;
  }
  CHECK_INT(at, end);
  CHECK_OK(query_next(cursor, &batch)); /* the end stays the end */
  CHECK_INT(batch.row_count, 0);
  ScanCounters counters = query_counters(cursor);
  CHECK_INT(counters.blocks, counters.blocks_skipped + counters.blocks_certain + counters.blocks_scanned);
  query_close(cursor);
}

static void check_aggregates(const SampleUnits *u, const PlainRow *rows, size_t count, const Query *q) {
  TableSnapshot snapshot = sample_units_snapshot(u);
  AggregateResult results[2];
  ScanCounters counters;
  Arena strings = { 0 };
  Value greatest = { .is_null = true };
  for (size_t i = 0; i < count; i++) {
    Value v = sample_units_value(u, rows[i].unit, 13, rows[i].row);
    if (!v.is_null && (greatest.is_null || sample_order(&v, &greatest) > 0)) greatest = v;
  }
  CHECK_OK(query_run(q, &snapshot, &strings, results, &counters));
  CHECK_INT(results[0].value.u, count);
  CHECK_INT(results[1].is_null, greatest.is_null);
  if (!greatest.is_null) CHECK(sample_same_value(&results[1].value, &greatest));
  CHECK_INT(counters.rows_selected, count);
  arena_release(&strings);
}

static void check_query(const SampleUnits *u, const PredicateTerm *term, uint64_t *random) {
  Arena arena = { 0 };
  Query *q;
  const Expression *e = as_expression(&arena, u, term);
  size_t count;
  bool ordered = test_random_below(random, 2);
  if (e) {
    CHECK_OK(query_create(&u->schema, &q));
    CHECK_OK(query_where_expression(q, e, NULL, 0));
    if (test_random_below(random, 2)) {
      const char *names[] = { u->columns[test_random_below(random, 17)].name, u->columns[0].name,
                              u->columns[test_random_below(random, u->schema.column_count)].name };
      CHECK_OK(query_select(q, names, 3));
    }
    query_order_by_key(q, ordered);
    PlainRow *rows = plain_rows(&arena, u, term, ordered, &count);
    check_rows(u, q, rows, count, 0, QUERY_NO_LIMIT);
    uint64_t offset = test_random_below(random, count + 10), limit = test_random_below(random, count + 10);
    query_limit(q, offset, limit);
    check_rows(u, q, rows, count, offset, limit);
    CHECK_OK(query_aggregate(q, AGGREGATE_ROWS, NULL));
    CHECK_OK(query_aggregate(q, AGGREGATE_GREATEST, u->columns[13].name));
    check_aggregates(u, rows, count, q);
    query_destroy(q);
  }
  arena_release(&arena);
}

static void campaign(const SampleUnitsOptions *options, uint64_t queries) {
  uint64_t random = options->seed, held = memory_blocks_held();
  SampleUnits u;
  sample_units_create(&u, options);
  for (uint64_t i = 0; i < queries; i++) {
    Arena arena = { 0 };
    check_query(&u, sample_filter(&arena, &u, 1 + (uint32_t)(i % 3), &random), &random);
    arena_release(&arena);
  }
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), held);
}

TEST(query, rows_of_runs_and_slabs) {
  for (uint64_t seed = 1; seed <= 6; seed++) {
    SampleUnitsOptions o = { .runs = (uint32_t)(seed % 4),
                             .run_rows = 4500,
                             .segment_rows = 2500,
                             .slabs = seed % 4 < 2 ? 2 : 1,
                             .slab_rows = 1700,
                             .old_runs = seed > 3,
                             .dead_percent = seed % 2 ? 20 : 0,
                             .expiring_percent = seed % 3 ? 20 : 0,
                             .mode = (ExtentMode)(seed % 3),
                             .seed = seed };
    campaign(&o, test_scaled(25));
  }
}

TEST(query, no_units_give_no_rows) {
  SampleUnitsOptions o = { .seed = 1 };
  SampleUnits u;
  sample_units_create(&u, &o);
  for (int ordered = 0; ordered < 2; ordered++) {
    Query *q;
    CHECK_OK(query_create(&u.schema, &q));
    query_order_by_key(q, ordered);
    check_rows(&u, q, NULL, 0, 0, QUERY_NO_LIMIT);
    query_destroy(q);
  }
  sample_units_release(&u);
}

/* Runs whose keys do not meet are opened one after the other. */
TEST(query, a_limit_by_key_leaves_later_runs_alone) {
  SampleUnitsOptions o = { .runs = 3, .run_rows = 3000, .segment_rows = 1500, .seed = 5 };
  SampleUnits u;
  Query *q;
  QueryCursor *cursor;
  QueryBatch batch;
  sample_units_create(&u, &o);
  for (uint32_t t = 0; t < 3; t++) { /* rewrite each run with keys of a range of its own */
    for (uint32_t row = 0; row < 3000; row++)
      ((int64_t *)(uintptr_t)u.tables[t].arrays[0].values)[row] = (2 - t) * 10000 + row;
    sample_sort(&u.tables[t]);
    column_run_close(u.runs[t]);
    sample_store_release(u.stores[t]);
    ColumnRunOptions options = { .segment_rows = 1500 };
    sample_write(u.stores[t], &u.tables[t], &options, 3000);
    CHECK_OK(column_run_open(u.stores[t]->directory.data, u.stores[t]->directory.length, &u.stores[t]->run_sources,
                             &u.schema, u.defaults, &u.runs[t]));
    u.units[2 * t].run = u.units[2 * t + 1].run = u.runs[t];
  }
  TableSnapshot snapshot = sample_units_snapshot(&u);
  CHECK_OK(query_create(&u.schema, &q));
  query_order_by_key(q, true);
  query_limit(q, 0, 100);
  CHECK_OK(query_open(q, &snapshot, &cursor));
  CHECK_OK(query_next(cursor, &batch));
  CHECK_INT(batch.row_count, 100);
  for (int i = 0; i < 100; i++) CHECK_INT(((const int64_t *)batch.columns[0].values)[i], i);
  CHECK_INT(query_counters(cursor).units, 1);
  query_close(cursor);
  query_destroy(q);
  sample_units_release(&u);
}

/* ---- the life of a snapshot ---- */

static void count_release(void *owner) { ++*(int *)owner; }

TEST(query, a_cursor_gives_its_snapshot_back_once) {
  SampleUnitsOptions o = { .slabs = 1, .slab_rows = 10, .seed = 2 };
  SampleUnits u;
  Query *q;
  QueryCursor *cursor;
  int released = 0;
  sample_units_create(&u, &o);
  CHECK_OK(query_create(&u.schema, &q));
  TableSnapshot snapshot = sample_units_snapshot(&u);
  snapshot.owner = &released;
  snapshot.release = count_release;
  Schema changed = u.schema;
  changed.version++;
  snapshot.schema = &changed;
  CHECK_STATUS(query_open(q, &snapshot, &cursor), KVSTORE_SCHEMA);
  CHECK_INT(released, 0);
  snapshot.schema = &u.schema;
  CHECK_OK(query_open(q, &snapshot, &cursor));
  CHECK(!snapshot.release && !snapshot.units);
  query_close(cursor);
  CHECK_INT(released, 1);
  query_close(NULL);
  query_destroy(q);
  sample_units_release(&u);
}

/* ---- explain and mistakes ---- */

TEST(query, explain_says_what_was_asked_and_done) {
  SampleUnitsOptions o = { .runs = 1, .run_rows = 3000, .segment_rows = 1500, .seed = 2 };
  SampleUnits u;
  Query *q;
  Buffer out = { 0 };
  Arena strings = { 0 };
  AggregateResult results[2];
  ScanCounters counters;
  sample_units_create(&u, &o);
  TableSnapshot snapshot = sample_units_snapshot(&u);
  CHECK_OK(query_create(&u.schema, &q));
  const char *where = "c4_i32 > ? and c13_string <> 'x'", *names[] = { "c0_i64", "c13_string" };
  Value parameter = { .type = TYPE_I64, .i = 5 };
  CHECK_OK(query_where(q, where, strlen(where), &parameter, 1));
  CHECK_OK(query_select(q, names, 2));
  query_order_by_key(q, true);
  query_limit(q, 3, 7);
  query_explain(q, NULL, 0, &out);
  buffer_u8(&out, '\0');
  CHECK_STR(
    (const char *)out.data,
    "filter: c4_i32 > 5 and c13_string <> 'x'\ncolumns: c0_i64, c13_string\norder: by key\noffset: 3\nlimit: 7\n");
  buffer_clear(&out);
  const char *nothing = "c0_i64 is null";
  CHECK_OK(query_where(q, nothing, strlen(nothing), NULL, 0));
  CHECK_OK(query_aggregate(q, AGGREGATE_ROWS, NULL));
  CHECK_OK(query_aggregate(q, AGGREGATE_MEAN, "c4_i32"));
  CHECK_OK(query_run(q, &snapshot, &strings, results, &counters));
  counters.whole_ns = 0; /* times are not the same twice */
  query_explain(q, &counters, 0, &out);
  buffer_u8(&out, '\0');
  CHECK_STR((const char *)out.data,
            "filter: c0_i64 is null\naggregates: count(*), avg(c4_i32)\nrows: 3000 in 2 units, 0 selected\n"
            "segments skipped: 2\nblocks: 4, of them 4 skipped, 0 certain, 0 scanned\n");
  buffer_release(&out);
  arena_release(&strings);
  query_destroy(q);
  sample_units_release(&u);
}

TEST(query, mistakes_leave_the_query_as_it_was) {
  SampleUnitsOptions o = { .slabs = 1, .slab_rows = 10, .seed = 2 };
  SampleUnits u;
  Query *q;
  Buffer before = { 0 }, after = { 0 };
  const char *names[] = { "c0_i64", "nonsense" }, *good = "c4_i32 > 5", *bad = "c4_i32 > 'a'", *broken = "c4_i32 >";
  sample_units_create(&u, &o);
  CHECK_OK(query_create(&u.schema, &q));
  CHECK_OK(query_where(q, good, strlen(good), NULL, 0));
  query_explain(q, NULL, 0, &before);
  CHECK_STATUS(query_where(q, bad, strlen(bad), NULL, 0), KVSTORE_TYPE);
  CHECK_STATUS(query_where(q, broken, strlen(broken), NULL, 0), KVSTORE_ERROR);
  CHECK_STATUS(query_select(q, names, 2), KVSTORE_SCHEMA);
  CHECK_STATUS(query_aggregate(q, AGGREGATE_TOTAL, "nonsense"), KVSTORE_SCHEMA);
  CHECK_STATUS(query_aggregate(q, AGGREGATE_TOTAL, "c13_string"), KVSTORE_TYPE);
  query_explain(q, NULL, 0, &after);
  CHECK_INT(after.length, before.length);
  CHECK_BYTES(after.data, before.data, before.length);
  buffer_release(&before);
  buffer_release(&after);
  query_destroy(q);
  sample_units_release(&u);
}

/* ---- memory ---- */

static Status whole_query(const SampleUnits *u, bool ordered, uint64_t *rows) {
  Query *q = NULL;
  QueryCursor *cursor = NULL;
  QueryBatch batch = { 0 };
  TableSnapshot snapshot = sample_units_snapshot(u);
  const char *where = "c4_i32 > 10 or c13_string like 'a%'";
  *rows = 0;
  Status status = query_create(&u->schema, &q);
  if (status == KVSTORE_OK) status = query_where(q, where, strlen(where), NULL, 0);
  if (status == KVSTORE_OK) query_order_by_key(q, ordered);
  if (status == KVSTORE_OK) status = query_open(q, &snapshot, &cursor);
  while (status == KVSTORE_OK) {
    status = query_next(cursor, &batch);
    if (status != KVSTORE_OK || batch.row_count == 0) break;
    *rows += batch.row_count;
  }
  query_close(cursor);
  query_destroy(q);
  return status;
}

TEST(query, survives_every_failed_allocation) {
  for (int ordered = 0; ordered < 2; ordered++) {
    SampleUnitsOptions o = {
      .runs = 2, .run_rows = 2000, .segment_rows = 1100, .slabs = 1, .slab_rows = 300, .seed = 9
    };
    SampleUnits u;
    uint64_t expected, rows;
    sample_units_create(&u, &o);
    CHECK_OK(whole_query(&u, ordered, &expected));
    CHECK(expected > 0);
    uint64_t held = memory_blocks_held();
    for (uint64_t n = 1;; n++) {
      failing_memory_install(n, false);
      Status status = whole_query(&u, ordered, &rows);
      bool reached = failing_memory_failures() > 0;
      failing_memory_remove();
      CHECK(status == KVSTORE_OK || (reached && status == KVSTORE_NOMEM));
      if (status == KVSTORE_OK) CHECK_INT(rows, expected);
      CHECK_INT(memory_blocks_held(), held);
      if (!reached) break;
    }
    sample_units_release(&u);
  }
}
