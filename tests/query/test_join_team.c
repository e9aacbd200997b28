/* Joins by several threads: the rows, sums and groups of one, to the bit, whoever takes which unit. */
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "os/team.h"
#include "query/join.h"
#include "tests/columnar/sample_units.h"
#include "tests/query/answer_bytes.h"
#include "tests/query/outside.h"
#include "tests/query/watcher.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

typedef struct Tables {
  SampleUnits own, other, third;
} Tables;

static void tables_create(Tables *t, uint64_t seed) {
  SampleUnitsOptions own = { .runs = 3,
                             .run_rows = 600,
                             .segment_rows = 140,
                             .slabs = 2,
                             .slab_rows = 150,
                             .dead_percent = 10,
                             .old_runs = true,
                             .mode = (ExtentMode)(seed % 3),
                             .seed = seed };
  SampleUnitsOptions other = { .runs = 2, .run_rows = 90, .segment_rows = 40, .slabs = 1, .slab_rows = 20 };
  sample_units_create(&t->own, &own);
  other.seed = seed + 100;
  sample_units_create(&t->other, &other);
  other.seed = seed + 200;
  sample_units_create(&t->third, &other);
}

static void tables_release(Tables *t) {
  sample_units_release(&t->own);
  sample_units_release(&t->other);
  sample_units_release(&t->third);
}

static JoinPlan *make_plan(const Tables *t, JoinKind kind, const char *by) {
  JoinPlan *plan;
  JoinAsk ask = { .kind = kind, .schema = &t->other.schema, .table = "other", .prefix = "o_" };
  ask.left = ask.right = &by;
  ask.count = 1;
  ask.where = "c2_i8 > -100";
  CHECK_OK(join_plan_create(&t->own.schema, &plan));
  CHECK_OK(join_plan_add(plan, &ask));
  JoinAsk more = { .kind = JOIN_SEMI, .schema = &t->third.schema, .table = "third", .prefix = "t_" };
  const char *few = "c1_bool";
  more.left = more.right = &few;
  more.count = 1;
  CHECK_OK(join_plan_add(plan, &more));
  return plan;
}

static TableSnapshot open_join(const Tables *t, JoinPlan *plan, const Query *q, bool rows, const QuerySpace *space,
                               QuerySpace *rest) {
  TableSnapshot tables[] = { sample_units_snapshot(&t->own), sample_units_snapshot(&t->other),
                             sample_units_snapshot(&t->third) };
  TableSnapshot joined = { 0 };
  CHECK_OK(join_open(plan, q, rows, space, tables, &joined, rest));
  return joined;
}

static Query *make_query(JoinPlan *plan, const char *where) {
  Query *q;
  CHECK_OK(query_create(join_plan_schema(plan), &q));
  if (*where) CHECK_OK(query_where(q, where, strlen(where), NULL, 0));
  CHECK_OK(join_plan_share(plan, q));
  return q;
}

static const char *const shown[] = { "c0_i64", "c13_string", "c10_f64", "o_c0_i64", "o_c13_string", "o_c10_f64" };

/* What rows have: of joins that give no columns of the other table only the first three. */
static void ask_rows(Query *q, JoinKind kind, const QueryOrder *order, size_t count, uint64_t limit) {
  CHECK_OK(query_select(q, shown, kind <= JOIN_LEFT ? 6 : 3));
  CHECK_OK(query_order_by(q, order, count));
  query_limit(q, 0, limit);
}

static void ask_groups(Query *q) {
  static const char *const keys[] = { "c1_bool", "c2_i8 % 3" };
  CHECK_OK(query_aggregate(q, AGGREGATE_ROWS, NULL));
  CHECK_OK(query_aggregate(q, AGGREGATE_TOTAL, "c10_f64"));
  CHECK_OK(query_aggregate(q, AGGREGATE_VARIANCE, "c10_f64"));
  CHECK_OK(query_aggregate(q, AGGREGATE_GREATEST, "c13_string"));
  CHECK_OK(query_group_by(q, keys, 2));
}

static uint64_t runs; /* so far, of joins whose tables are whole */

static void check_cursor(const Tables *t, JoinPlan *plan, Query *q, bool is_whole) {
  Buffer one = { 0 }, many = { 0 }, outside = { 0 };
  QuerySpace space = { .memory_limit = is_whole ? UINT64_C(1) << 30 : 4096, .context = &outside };
  QuerySpace rest;
  space.write = write_outside;
  space.read = read_outside;
  CHECK_OK(answer_bytes(q, open_join(t, plan, q, true, NULL, NULL), NULL, 1, &one, NULL));
  for (uint32_t threads = 2; threads <= 9; threads += 7) {
    uint64_t flows = counter_get(COUNTER_join_flows), passes = counter_get(COUNTER_joins_passes);
    uint64_t shared = counter_get(COUNTER_joins_shared);
    TableSnapshot joined = open_join(t, plan, q, true, &space, &rest);
    rest.memory_limit = UINT64_C(1) << 30; /* what the tables have too little of is their own */
    CHECK_OK(answer_bytes(q, joined, &rest, threads, &many, NULL));
    CHECK_INT(counter_get(COUNTER_joins_passes) > passes, !is_whole);
    CHECK_INT(counter_get(COUNTER_joins_shared) - shared, is_whole ? 2 : 0); /* both tables */
    if (!is_whole) CHECK_INT(counter_get(COUNTER_join_flows), flows + 1);
    runs += is_whole;
    check_same_answer(&one, &many);
  }
  buffer_release(&one);
  buffer_release(&many);
  buffer_release(&outside);
}

static void check_kind(const Tables *t, JoinKind kind, const char *by, const char *where) {
  static const QueryOrder order[] = { { "c2_i8", true, false } };
  static const uint64_t limits[] = { QUERY_NO_LIMIT, 30 };
  uint64_t merged = counter_get(COUNTER_sorters_merged);
  for (size_t l = 0; l < 2; l++) {
    JoinPlan *plan = make_plan(t, kind, by);
    Query *q = make_query(plan, where);
    ask_rows(q, kind, order, 1, limits[l]);
    check_cursor(t, plan, q, true);
    query_destroy(q);
    join_plan_destroy(plan);
  }
  CHECK(counter_get(COUNTER_sorters_merged) >= merged + 2 * (2 + 9));
  JoinPlan *plan = make_plan(t, kind, by);
  Query *q = make_query(plan, where);
  ask_groups(q);
  uint64_t parts = counter_get(COUNTER_group_parts_merged);
  check_cursor(t, plan, q, true);
  CHECK(counter_get(COUNTER_group_parts_merged) > parts);
  query_destroy(q);
  join_plan_destroy(plan);
}

TEST(join_team, many_threads_give_the_rows_and_groups_of_one) {
  Tables t;
  uint64_t flows = counter_get(COUNTER_join_flows);
  tables_create(&t, 1);
  team_meet(true);
  bool all = test_scaled(8) >= 8; /* else half of them */
  for (JoinKind kind = JOIN_INNER; kind <= JOIN_ANTI; kind++) {
    if (all || kind % 2 == 0) check_kind(&t, kind, "c16_i64", "");                         /* a number for each */
    if (all || kind % 2) check_kind(&t, kind, "c13_string", "c4_i32 % 3 <> 1 or c1_bool"); /* hashed; filtered above */
  }
  team_meet(false);
  CHECK(counter_get(COUNTER_join_flows) >
        flows + runs + runs / 2); /* one for each run on one thread; others had more */
  tables_release(&t);
  CHECK_INT(memory_blocks_held(), 0);
}

/* Many rows are copied by several threads, too; and one goes on alone behind those that there is room for twice. */
TEST(join_team, tables_that_several_threads_read_have_the_rows_of_one) {
  enum { KEPT = 6 };
  static const char *const columns[KEPT] = {
    "c0_i64", "c13_string", "o_c0_i64", "o_c13_string", "o_c10_f64", "o_c2_i8"
  };
  const SampleUnitsOptions few = { .runs = 1, .run_rows = 300, .segment_rows = 100, .seed = 6 };
  const SampleUnitsOptions many = { .runs = 2, .run_rows = 60000, .segment_rows = 3000, .slabs = 1, .slab_rows = 90 };
  Tables t = { 0 };
  Buffer one = { 0 }, shared = { 0 };
  sample_units_create(&t.own, &few);
  sample_units_create(&t.other, &many);
  team_meet(true);
  for (int by = 0; by < 2; by++) {
    static const char *const keys[] = { "c13_string", "c4_i32" };
    const uint64_t limits[] = { UINT64_C(1) << 30, (uint64_t)(by ? 32 : 48) << 20 }; /* of which the table has half */
    JoinAsk ask = { .kind = JOIN_LEFT, .schema = &t.other.schema, .table = "other", .prefix = "o_", .count = 1 };
    JoinPlan *plan;
    ask.left = ask.right = &keys[by];
    CHECK_OK(join_plan_create(&t.own.schema, &plan));
    CHECK_OK(join_plan_add(plan, &ask));
    Query *q = make_query(plan, "");
    CHECK_OK(query_select(q, columns, KEPT));
    for (uint32_t threads = 1; threads <= 4; threads++)
      for (size_t l = 0; l < 2; l++) {
        uint64_t before = counter_get(COUNTER_joins_shared);
        TableSnapshot tables[] = { sample_units_snapshot(&t.own), sample_units_snapshot(&t.other) }, joined = { 0 };
        QuerySpace space = { .memory_limit = limits[l] }, rest;
        query_threads(q, threads);
        CHECK_OK(join_open(plan, q, true, &space, tables, &joined, &rest));
        CHECK_OK(answer_bytes(q, joined, NULL, threads, threads == 1 ? &one : &shared, NULL));
        uint64_t times = counter_get(COUNTER_joins_shared) - before;
        CHECK(threads == 1 ? times == 0 : limits[l] == limits[0] ? times == 1 : times > 1);
        if (threads > 1) check_same_answer(&one, &shared);
      }
    query_destroy(q);
    join_plan_destroy(plan);
  }
  team_meet(false);
  buffer_release(&one);
  buffer_release(&shared);
  sample_units_release(&t.own);
  sample_units_release(&t.other);
  CHECK_INT(memory_blocks_held(), 0);
}

/* In parts, rows come part by part: the order by all columns is the same. */
TEST(join_team, tables_in_parts_are_one_threads) {
  static const QueryOrder order[] = { { "c0_i64", false, false }, { "o_c0_i64", false, false } };
  Tables t;
  tables_create(&t, 2);
  team_meet(true);
  for (JoinKind kind = test_scaled(8) >= 8 ? JOIN_INNER : JOIN_LEFT; kind <= JOIN_LEFT; kind++) {
    JoinPlan *plan = make_plan(&t, kind, "c16_i64");
    Query *q = make_query(plan, "");
    ask_rows(q, kind, order, 2, QUERY_NO_LIMIT);
    check_cursor(&t, plan, q, false);
    query_destroy(q);
    join_plan_destroy(plan);
  }
  team_meet(false);
  tables_release(&t);
  CHECK_INT(memory_blocks_held(), 0);
}

/* Sums of floats are made of each piece by itself, and a unit has several: the pieces are those of one thread. */
TEST(join_team, sums_of_joined_rows_have_the_bits_of_one_thread) {
  static const AggregateKind kinds[] = { AGGREGATE_ROWS,  AGGREGATE_TOTAL,    AGGREGATE_MEAN,
                                         AGGREGATE_LEAST, AGGREGATE_GREATEST, AGGREGATE_VARIANCE };
  Tables t;
  AggregateResult one[6], many[6];
  Arena strings = { 0 };
  tables_create(&t, 3);
  JoinPlan *plan = make_plan(&t, JOIN_INNER, "c1_bool"); /* each row has many partners */
  Query *q = make_query(plan, "");
  for (size_t i = 0; i < 6; i++) CHECK_OK(query_aggregate(q, kinds[i], "c10_f64"));
  team_meet(true);
  for (uint32_t threads = 1; threads <= 4; threads++) {
    TableSnapshot joined = open_join(&t, plan, q, false, NULL, NULL);
    uint64_t flows = counter_get(COUNTER_join_flows);
    query_threads(q, threads);
    CHECK_OK(query_run(q, &joined, &strings, threads == 1 ? one : many, NULL));
    CHECK(threads == 1 ? counter_get(COUNTER_join_flows) == flows + 1 : counter_get(COUNTER_join_flows) > flows);
    table_snapshot_release(&joined);
    for (size_t i = 0; threads > 1 && i < 6; i++) CHECK_INT(many[i].value.u, one[i].value.u);
  }
  team_meet(false);
  CHECK(one[0].value.u > (uint64_t)t.own.unit_count * 8 * BLOCK_ROWS); /* several pieces a unit */
  query_destroy(q);
  join_plan_destroy(plan);
  arena_release(&strings);
  tables_release(&t);
  CHECK_INT(memory_blocks_held(), 0);
}

/* A row that expires between two looks at the clock would miss itself. */
TEST(join_team, all_tables_have_the_clock_of_the_first) {
  enum { LATER_MS = 1 << 20 };
  static const char *const key = "c0_i64";
  static const JoinKind kinds[] = { JOIN_SEMI, JOIN_ANTI };
  const SampleUnitsOptions options = {
    .runs = 1, .run_rows = 200, .slabs = 1, .slab_rows = 200, .expiring_percent = 60
  };
  SampleUnits own;
  uint64_t live = 0, later = 0;
  sample_units_create(&own, &options);
  for (uint32_t u = 0; u < own.unit_count; u++)
    for (uint32_t row = 0; row < own.units[u].row_count; row++) live += own.live[u][row];
  for (int k = 0; k < 3; k++) {
    JoinPlan *plan;
    JoinAsk ask = { .kind = kinds[k == 1], .schema = &own.schema, .table = "other", .prefix = "o_", .count = 1 };
    TableSnapshot tables[] = { sample_units_snapshot(&own), sample_units_snapshot(&own) }, joined = { 0 };
    AggregateResult rows;
    Arena strings = { 0 };
    ask.left = ask.right = &key;
    CHECK_OK(join_plan_create(&own.schema, &plan));
    CHECK_OK(join_plan_add(plan, &ask));
    Query *q = make_query(plan, "");
    CHECK_OK(query_aggregate(q, AGGREGATE_ROWS, NULL));
    tables[k == 2 ? 0 : 1].now_ms += LATER_MS;
    CHECK_OK(join_open(plan, q, false, NULL, tables, &joined, NULL));
    CHECK_OK(query_run(q, &joined, &strings, &rows, NULL));
    if (k == 0) CHECK_INT(rows.value.u, live);
    if (k == 1) CHECK_INT(rows.value.u, 0);
    if (k == 2) later = rows.value.u;
    table_snapshot_release(&joined);
    query_destroy(q);
    join_plan_destroy(plan);
    arena_release(&strings);
  }
  CHECK(later > 0 && later < live); /* some do expire */
  sample_units_release(&own);
  CHECK_INT(memory_blocks_held(), 0);
}

TEST(join_team, a_failure_of_any_thread_is_the_callers) {
  Tables t;
  tables_create(&t, 4);
  JoinPlan *plan = make_plan(&t, JOIN_LEFT, "c16_i64");
  Query *q = make_query(plan, "");
  Buffer out = { 0 };
  static const QueryOrder order = { "o_c0_i64", false, true };
  ask_rows(q, JOIN_LEFT, &order, 1, 40);
  for (uint64_t n = 1;; n += 1 + n / 10) {
    TableSnapshot joined = open_join(&t, plan, q, true, NULL, NULL);
    failing_memory_install(n, false);
    Status status = answer_bytes(q, joined, NULL, 3, &out, NULL);
    bool reached = failing_memory_failures() > 0;
    failing_memory_remove();
    if (!reached) break;
    CHECK(status == KVSTORE_OK || (status == KVSTORE_NOMEM && status_last()->text[0]));
  }
  buffer_release(&out);
  query_destroy(q);
  join_plan_destroy(plan);
  tables_release(&t);
  CHECK_INT(memory_blocks_held(), 0);
}

TEST(join_team, who_watches_is_called_on_the_callers_thread_and_may_cancel) {
  static const QueryOrder order = { "c2_i8", false, false };
  Tables t;
  tables_create(&t, 5);
  Buffer out = { 0 };
  team_meet(true);
  for (uint32_t cancel_at = 0; cancel_at < 14; cancel_at++) { /* while tables are hashed, and later */
    JoinPlan *plan = make_plan(&t, JOIN_INNER, "c16_i64");
    Query *q = make_query(plan, "");
    ask_rows(q, JOIN_INNER, &order, 1, QUERY_NO_LIMIT);
    Watch w = watch_from(cancel_at);
    QuerySpace space = watched_space(&w), rest;
    TableSnapshot joined = open_join(&t, plan, q, true, &space, &rest);
    Status status = answer_bytes(q, joined, &rest, 3, &out, NULL);
    CHECK_INT(status, cancel_at && w.calls == cancel_at ? KVSTORE_CANCELLED : KVSTORE_OK);
    CHECK(w.calls > 6 || w.calls == cancel_at); /* units of the other tables are the caller's */
    query_destroy(q);
    join_plan_destroy(plan);
    if (cancel_at && w.calls < cancel_at) break;
  }
  team_meet(false);
  buffer_release(&out);
  tables_release(&t);
  CHECK_INT(memory_blocks_held(), 0);
}
