/* Groups by several threads: those of one, in its order and to the bit, whoever takes which unit. */
#include <stdlib.h>
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "os/team.h"
#include "query/groups.h"
#include "query/query.h"
#include "tests/columnar/sample_units.h"
#include "tests/query/answer_bytes.h"
#include "tests/query/outside.h"
#include "tests/query/watcher.h"
#include "tests/query/without_memory.h"
#include "tests/support/test.h"

enum { ASKED_ALL, ASKED_DISTINCT, ASKED_SKETCHES, ASKED_SUM };

/* ---- questions ---- */

static void ask(Query *q, const SampleUnits *u, int what) {
  static const AggregateKind kinds[] = { AGGREGATE_VALUES,   AGGREGATE_TOTAL,  AGGREGATE_LEAST,   AGGREGATE_GREATEST,
                                         AGGREGATE_MEAN,     AGGREGATE_FIRST,  AGGREGATE_LAST,    AGGREGATE_SKETCH,
                                         AGGREGATE_VARIANCE, AGGREGATE_SKETCH, AGGREGATE_DISTINCT };
  size_t first = 0, end = sizeof kinds / sizeof *kinds - 1;
  if (what == ASKED_DISTINCT) first = end++;
  if (what == ASKED_SKETCHES) first = end - 1;
  CHECK_OK(query_aggregate(q, AGGREGATE_ROWS, NULL));
  if (what == ASKED_SUM) CHECK_OK(query_aggregate(q, AGGREGATE_TOTAL, "c4_i32 * 0.1"));
  for (uint32_t c = what == ASKED_SUM ? u->schema.column_count : 0; c < u->schema.column_count; c++) {
    bool many_values = c != 1 && c != 3; /* pairs of groups and values are to be few */
    for (size_t k = first; k < end; k++) {
      if (what == ASKED_DISTINCT && many_values) continue;
      if (what == ASKED_ALL && k >= 5 && c % 4 != 1 && c % 5) continue; /* the slow ones not of all */
      if (query_aggregate(q, kinds[k], u->schema.columns[c].name) != KVSTORE_OK) status_clear(); /* not of this type */
    }
  }
}

static Query *make_query(const SampleUnits *u, const char *where, const char *const *keys, size_t key_count, int what) {
  Query *q;
  CHECK_OK(query_create(&u->schema, &q));
  if (*where) CHECK_OK(query_where(q, where, strlen(where), NULL, 0));
  ask(q, u, what);
  CHECK_OK(query_group_by(q, keys, key_count));
  return q;
}

/* ---- answers ---- */

static Status answer(Query *q, const SampleUnits *u, const QuerySpace *space, uint32_t threads, Buffer *out,
                     ScanCounters *counters) {
  return answer_bytes(q, sample_units_snapshot(u), space, threads, out, counters);
}

static uint64_t shared_runs;

static void check_threads(const SampleUnits *u, const char *where, const char *const *keys, size_t key_count,
                          int what) {
  static const uint32_t threads[] = { 2, 5, 1000 };
  Query *q = make_query(u, where, keys, key_count, what);
  Buffer one = { 0 }, many = { 0 };
  ScanCounters counters, others;
  uint64_t merged = counter_get(COUNTER_group_parts_merged);
  CHECK_OK(answer(q, u, NULL, 1, &one, &counters));
  CHECK(one.length > 0);
  CHECK_INT(counter_get(COUNTER_group_parts_merged), merged);
  shared_runs += 2;
  for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
    CHECK_OK(answer(q, u, NULL, threads[t], &many, &others));
    CHECK(counter_get(COUNTER_group_parts_merged) > merged || threads[t] > 2); /* groups may be many for more */
    merged = counter_get(COUNTER_group_parts_merged);
    check_same_answer(&one, &many);
    CHECK_INT(others.rows, counters.rows);
    CHECK_INT(others.rows_selected, counters.rows_selected);
    CHECK_INT(others.blocks, counters.blocks);
  }
  buffer_release(&one);
  buffer_release(&many);
  query_destroy(q);
}

static void sample(SampleUnits *u, uint64_t seed, uint32_t times) {
  sample_units_mixed(u, 4500 * times, 750 * times, 800, seed);
}

/* ---- */

TEST(group_merge, many_threads_give_the_groups_of_one_in_their_order) {
  static const struct {
    const char *keys[3];
    size_t count;
  } of[] = {
    { { "c16_i64" }, 1 },                                       /* few codes */
    { { "c2_i8 % 5", "c1_bool" }, 2 },                          /* of two columns, nulls among them */
    { { "c1_bool", "c5_u8 % 3", "c16_i64 % 4" }, 3 },           /* pairs of pairs */
    { { "c16_i64 * 0.5" }, 1 },                                 /* computed: by hash, floats */
    { { "case when c16_i64 > 20 then 0.0 else -0.0 end" }, 1 }, /* both zeros are one */
    { { "lower(substr(c13_string, 1, 1))" }, 1 },
  };
  uint64_t merged = counter_get(COUNTER_group_parts_merged);
  team_meet(true);
  for (uint64_t seed = 1; seed <= 2; seed++) {
    SampleUnits u;
    sample(&u, seed, 1);
    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
      for (int what = ASKED_ALL; what <= ASKED_SUM; what += what == ASKED_DISTINCT ? 2 : 1)
        check_threads(&u, i % 2 ? "c4_i32 % 3 <> 1" : "", of[i].keys, of[i].count, what);
    check_threads(&u, "", NULL, 0, ASKED_ALL);
    check_threads(&u, "", NULL, 0, ASKED_DISTINCT);
    sample_units_release(&u);
  }
  team_meet(false);
  CHECK(counter_get(COUNTER_group_parts_merged) > merged + shared_runs); /* more than one thread had units */
  CHECK_INT(memory_blocks_held(), 0);
}

static void answer_in_order(const SampleUnits *u, TableSnapshot snapshot, const char *key, Buffer *out) {
  Query *q = make_query(u, "", &key, 1, ASKED_SUM);
  QueryOrder order = { .column = key };
  CHECK_OK(query_order_by(q, &order, 1));
  CHECK_OK(answer_bytes(q, snapshot, NULL, 1, out, NULL));
  query_destroy(q);
}

/* Slabs, whose rows go one by one, before and behind segments, which go by arrays; a computed key goes by no array. */
TEST(group_merge, float_sums_are_those_of_units_in_their_order_whichever_way_these_go) {
  SampleUnits u;
  Buffer mixed = { 0 }, rows = { 0 };
  sample(&u, 4, 1);
  TableSnapshot snapshot = sample_units_snapshot(&u);
  uint32_t count = snapshot.unit_count;
  ScanUnit *units = malloc(count * sizeof *units);
  CHECK(units && snapshot.units[count - 1].kind == SCAN_UNIT_ARRAYS);
  units[0] = snapshot.units[count - 1];
  memcpy(units + 1, snapshot.units, (count - 1) * sizeof *units);
  snapshot.units = units;
  uint64_t dense = counter_get(COUNTER_groups_dense_units), hashed = counter_get(COUNTER_groups_hashed_units);
  answer_in_order(&u, snapshot, "c16_i64", &mixed);
  CHECK(counter_get(COUNTER_groups_dense_units) > dense && counter_get(COUNTER_groups_hashed_units) > hashed + 1);
  dense = counter_get(COUNTER_groups_dense_units);
  answer_in_order(&u, snapshot, "c16_i64 * 1", &rows);
  CHECK_INT(counter_get(COUNTER_groups_dense_units), dense);
  check_same_answer(&mixed, &rows);
  buffer_release(&mixed);
  buffer_release(&rows);
  free(units);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}

enum { RESTS = 2000 };
static uint64_t different_rests(const SampleUnits *u) {
  bool seen[2 * RESTS] = { false };
  uint64_t count = 0;
  for (uint32_t unit = 0; unit < u->unit_count; unit++) {
    for (uint32_t row = 0; row < u->units[unit].row_count; row++) {
      if (!sample_filter_selects(NULL, u, unit, row)) continue;
      bool *rest = &seen[RESTS + sample_units_value(u, unit, 4, row).i % RESTS]; /* of either sign */
      count += !*rest;
      *rest = true;
    }
  }
  return count;
}

/* Aggregates of all rows that are made as those of one group. */
TEST(group_merge, variances_and_distinct_values_of_all_rows_are_those_of_one_thread) {
  SampleUnits u;
  sample(&u, 3, 1);
  TableSnapshot snapshot = sample_units_snapshot(&u);
  Query *q;
  Arena strings = { 0 };
  AggregateResult one[5], many[5];
  CHECK_OK(query_create(&u.schema, &q));
  CHECK_OK(query_aggregate(q, AGGREGATE_TOTAL, "c10_f64"));
  CHECK_OK(query_aggregate(q, AGGREGATE_VARIANCE, "c10_f64"));
  CHECK_OK(query_aggregate(q, AGGREGATE_DISTINCT, "c16_i64"));
  CHECK_OK(query_aggregate(q, AGGREGATE_LAST, "c4_i32"));
  CHECK_OK(query_aggregate(q, AGGREGATE_DISTINCT, "c4_i32 % 2000")); /* many, but fewer than rows */
  CHECK_OK(query_run(q, &snapshot, &strings, one, NULL));
  team_meet(true);
  uint64_t merged = counter_get(COUNTER_group_parts_merged);
  query_threads(q, 3);
  CHECK_OK(query_run(q, &snapshot, &strings, many, NULL));
  team_meet(false);
  CHECK(counter_get(COUNTER_group_parts_merged) > merged);
  for (size_t i = 0; i < 5; i++) {
    CHECK_INT(many[i].is_null, one[i].is_null);
    CHECK_INT(many[i].value.u, one[i].value.u); /* a float's bits */
  }
  CHECK(one[2].value.u >= 50);
  CHECK_INT(one[4].value.u, different_rests(&u));
  query_destroy(q);
  arena_release(&strings);
  sample_units_release(&u);
}

/* ---- memory ---- */

/* 369 groups with a sketch of 4 KiB for each of 20 columns are 29 MiB, 5 MiB a unit; a part has the fourth part of 16
 * MiB, or 48. */
TEST(group_merge, when_a_part_is_full_one_thread_goes_on_and_may_spill) {
  static const char *const keys[] = { "c0_i64 / 50000000000000000" };
  SampleUnits u;
  sample(&u, 4, 4);
  Query *q = make_query(&u, "", keys, 1, ASKED_SKETCHES);
  Buffer one = { 0 }, many = { 0 }, outside = { 0 };
  QueryOrder order = { .column = keys[0] }; /* which group still finds room depends on who is when where */
  CHECK_OK(query_order_by(q, &order, 1));
  team_meet(true);
  for (int large = 0; large < 2; large++) {
    uint64_t limit = (large ? UINT64_C(64) : UINT64_C(22)) << 20; /* groups have three quarters of it */
    QuerySpace space = { .memory_limit = limit, .context = &outside, .write = write_outside, .read = read_outside };
    uint64_t full = counter_get(COUNTER_group_parts_full), spilled = counter_get(COUNTER_groups_spilled);
    CHECK_OK(answer(q, &u, &space, 1, &one, NULL));
    uint64_t of_one = counter_get(COUNTER_groups_spilled) - spilled;
    CHECK_INT(counter_get(COUNTER_group_parts_full), full);
    CHECK_OK(answer(q, &u, &space, 2, &many, NULL));
    CHECK(counter_get(COUNTER_group_parts_full) > full);
    CHECK_INT(of_one > 0, !large);
    CHECK_INT(counter_get(COUNTER_groups_spilled) > spilled + of_one, !large);
    check_same_answer(&one, &many);
    buffer_clear(&outside);
  }
  QuerySpace little = { .memory_limit = 8 << 20, .context = &outside, .write = write_outside, .read = read_outside };
  uint64_t merged = counter_get(COUNTER_group_parts_merged);
  CHECK_OK(answer(q, &u, &little, 2, &many, NULL));
  CHECK_INT(counter_get(COUNTER_group_parts_merged), merged); /* too little for two */
  team_meet(false);
  buffer_release(&one);
  buffer_release(&many);
  buffer_release(&outside);
  query_destroy(q);
  sample_units_release(&u);
}

TEST(group_merge, a_failure_of_any_thread_is_the_callers) {
  static const char *const keys[] = { "c2_i8" };
  SampleUnits u;
  sample(&u, 5, 1);
  Query *q = make_query(&u, "c4_i32 > 5", keys, 1, ASKED_DISTINCT);
  check_without_memory(q, &u, 20);
  query_destroy(q);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}

/* ---- failures and those who watch ---- */

/* The highest keys lie in the last segment of each run: three units fail, and the first of them is told of. */
TEST(group_merge, the_failure_told_is_that_of_the_first_row) {
  SampleUnits u;
  sample(&u, 6, 1);
  Query *q;
  static const char *const keys[] = { "c1_bool" };
  static const char where[] = "c0_i64 > 8000000000000000000";
  CHECK_OK(query_create(&u.schema, &q));
  CHECK_OK(query_where(q, where, strlen(where), NULL, 0));
  CHECK_OK(query_aggregate(q, AGGREGATE_TOTAL, "100 / (c16_i64 - 7)"));
  CHECK_OK(query_group_by(q, keys, 1));
  Buffer out = { 0 };
  CHECK_STATUS(answer(q, &u, NULL, 1, &out, NULL), KVSTORE_TYPE);
  Failure one = *status_last();
  team_meet(true);
  for (int i = 0; i < 20; i++) {
    CHECK_STATUS(answer(q, &u, NULL, 3, &out, NULL), KVSTORE_TYPE);
    CHECK_STR(status_last()->text, one.text);
    CHECK_STR(status_last()->column, one.column);
  }
  team_meet(false);
  buffer_release(&out);
  query_destroy(q);
  sample_units_release(&u);
}

TEST(group_merge, who_watches_is_called_on_the_callers_thread_and_may_cancel) {
  static const char *const keys[] = { "c2_i8" };
  SampleUnits u;
  sample(&u, 7, 1);
  Query *q = make_query(&u, "", keys, 1, ASKED_ALL);
  Buffer out = { 0 };
  team_meet(true);
  for (uint32_t cancel_at = 0; cancel_at < 3; cancel_at++) {
    Watch w = watch_from(cancel_at);
    QuerySpace space = watched_space(&w);
    CHECK_STATUS(answer(q, &u, &space, 2, &out, NULL), cancel_at ? KVSTORE_CANCELLED : KVSTORE_OK);
    CHECK(cancel_at ? w.calls == cancel_at : w.calls > 1);
    CHECK_INT(w.rows_total, 3 * 4500 + 2 * 800);
  }
  team_meet(false);
  buffer_release(&out);
  query_destroy(q);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}

static uint64_t apart_rows(const SampleUnits *u, uint32_t key, AggregateRequest request) {
  TableSnapshot snapshot = sample_units_snapshot(u);
  Groups *groups;
  CHECK_OK(groups_create(&snapshot, &key, 1, &request, 1, NULL, &groups));
  uint64_t rows = groups_apart_rows(groups, 600, 3);
  groups_destroy(groups);
  table_snapshot_release(&snapshot);
  return rows;
}

/* Three threads add three rows in the time in which one of them adds an entry of a group and a unit. */
TEST(group_merge, entries_of_units_cost_something_where_sums_depend_on_their_order) {
  enum { NUMBER = 4, FLOAT = 10, TEXT = 13 }; /* columns of the sample */
  SampleUnits u;
  sample(&u, 9, 1);
  CHECK_INT(apart_rows(&u, NUMBER, (AggregateRequest){ AGGREGATE_TOTAL, FLOAT, 0 }), 1800);
  CHECK_INT(apart_rows(&u, NUMBER, (AggregateRequest){ AGGREGATE_VARIANCE, NUMBER, 0 }), 1800);
  CHECK_INT(apart_rows(&u, TEXT, (AggregateRequest){ AGGREGATE_TOTAL, FLOAT, 0 }), 900); /* their rows take longer */
  CHECK_INT(apart_rows(&u, NUMBER, (AggregateRequest){ AGGREGATE_TOTAL, NUMBER, 0 }), 0);
  sample_units_release(&u);
}
