/* Aggregates by several threads: the bits of one, whoever takes which unit. */
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "query/query.h"
#include "tests/columnar/sample_units.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

enum { RESULTS_MAX = 6 * SAMPLE_COLUMNS_MAX + 1 };

/* Everything that can be asked of every column. */
static Query *query_of_all(const SampleUnits *u, const char *where, size_t *count) {
  static const AggregateKind kinds[] = { AGGREGATE_VALUES, AGGREGATE_TOTAL, AGGREGATE_LEAST, AGGREGATE_GREATEST,
                                         AGGREGATE_MEAN };
  Query *q;
  CHECK_OK(query_create(&u->schema, &q));
  if (*where) CHECK_OK(query_where(q, where, strlen(where), NULL, 0));
  CHECK_OK(query_aggregate(q, AGGREGATE_ROWS, NULL));
  *count = 1;
  for (uint32_t c = 0; c < u->schema.column_count; c++)
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
      *count += query_aggregate(q, kinds[k], u->schema.columns[c].name) == KVSTORE_OK;
  return q;
}

static void check_same(const AggregateResult *a, const AggregateResult *b) {
  CHECK_INT(a->is_null, b->is_null);
  CHECK_INT(a->is_integer, b->is_integer);
  if (a->is_null) return;
  CHECK(memcmp(&a->integer, &b->integer, sizeof a->integer) == 0);
  CHECK_INT(a->value.type, b->value.type);
  if (a->is_integer) return;
  if (type_is_string(a->value.type))
    CHECK(bytes_compare(a->value.s.data, a->value.s.length, b->value.s.data, b->value.s.length) == 0);
  else
    CHECK_INT(a->value.u, b->value.u); /* a float's bits, too */
}

static ScanCounters check_threads(const SampleUnits *u, const char *where) {
  TableSnapshot snapshot = sample_units_snapshot(u);
  AggregateResult one[RESULTS_MAX], many[RESULTS_MAX];
  ScanCounters counters, others;
  Arena strings = { 0 };
  size_t count;
  Query *q = query_of_all(u, where, &count);
  query_threads(q, 1);
  uint64_t helpers = counter_get(COUNTER_team_helpers);
  CHECK_OK(query_run(q, &snapshot, &strings, one, &counters));
  CHECK_INT(counter_get(COUNTER_team_helpers), helpers);
  static const uint32_t threads[] = { 0, 2, 3, 7, 1000 };
  for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
    query_threads(q, threads[t]);
    helpers = counter_get(COUNTER_team_helpers);
    CHECK_OK(query_run(q, &snapshot, &strings, many, &others));
    bool excluded = counters.units_looked == 0;
    if (excluded) CHECK_INT(counter_get(COUNTER_team_helpers), helpers); /* nobody is woken for nothing */
    if (threads[t] > 1 && !excluded) CHECK(counter_get(COUNTER_team_helpers) > helpers);
    for (size_t i = 0; i < count; i++) check_same(&one[i], &many[i]);
    CHECK_INT(others.units, counters.units);
    CHECK_INT(others.rows, counters.rows);
    CHECK_INT(others.rows_selected, counters.rows_selected);
    CHECK_INT(others.blocks, counters.blocks);
    CHECK_INT(others.segments_skipped, counters.segments_skipped);
    arena_reset(&strings);
    CHECK_OK(query_run(q, &snapshot, &strings, one, &counters)); /* the strings went with the arena */
  }
  arena_release(&strings);
  query_destroy(q);
  return counters;
}

TEST(query_team, many_threads_give_the_bits_of_one) {
  SampleUnitsOptions o = { .runs = 3,
                           .run_rows = 9000,
                           .segment_rows = 1500,
                           .slabs = 3,
                           .slab_rows = 2500,
                           .dead_percent = 10,
                           .expiring_percent = 5,
                           .old_runs = true };
  for (o.seed = 1; o.seed <= 3; o.seed++) {
    SampleUnits u;
    sample_units_create(&u, &o);
    CHECK(u.unit_count > 10);
    check_threads(&u, "");
    check_threads(&u, "c4_i32 > 5");
    check_threads(&u, "c13_string <> 'x' and c4_i32 is not null");
    ScanCounters some = check_threads(&u, "c0_i64 > 0"); /* segments are passed before and between others */
    CHECK(some.segments_skipped > 0 && some.units_looked > 0);
    ScanCounters none = check_threads(&u, "c0_i64 is null");
    CHECK(none.segments_skipped > 0 && none.units_looked == 0);
    sample_units_release(&u);
  }
}

/* Whichever allocation fails, on whichever thread: a code, and nothing is kept. */
TEST(query_team, a_failure_of_any_thread_is_the_callers) {
  SampleUnitsOptions o = { .runs = 2, .run_rows = 6000, .segment_rows = 1500, .slabs = 1, .slab_rows = 500, .seed = 5 };
  SampleUnits u;
  sample_units_create(&u, &o);
  TableSnapshot snapshot = sample_units_snapshot(&u);
  size_t count;
  Query *q = query_of_all(&u, "c4_i32 > 5", &count);
  query_threads(q, 3);
  for (uint64_t n = 1;; n++) {
    AggregateResult results[RESULTS_MAX];
    Arena strings = { 0 };
    failing_memory_install(n, false);
    Status status = query_run(q, &snapshot, &strings, results, NULL);
    bool reached = failing_memory_failures() > 0;
    failing_memory_remove();
    arena_release(&strings);
    if (!reached) break;
    /* A helper that could not start is done without. */
    CHECK(status == KVSTORE_OK || (status == KVSTORE_NOMEM && status_last()->text[0]));
  }
  query_destroy(q);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}
