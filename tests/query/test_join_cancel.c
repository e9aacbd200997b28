/* Joins that make many rows of few: the caller's thread is asked whether it is to go on while they are made, whatever
 * becomes of them, and so are those that help it; which hold no more of them than they may. */
#include <stdatomic.h>

#include "base/counters.h"
#include "base/memory.h"
#include "os/team.h"
#include "query/join.h"
#include "tests/query/outside.h"
#include "tests/query/watcher.h"
#include "tests/support/counted_memory.h"
#include "tests/support/test.h"

enum {
  UNITS = 6,
  UNIT_ROWS = 200,
  OTHERS = 1000,
  THIRDS = 30000,
  LITTLE = 400 << 10, /* memory: for all of the other table, and a part of the third one */
  PAIRS = UNITS * UNIT_ROWS * OTHERS,
  PAIRS_A_CALL = 65536,
  THREADS = 3,
  COLUMNS = 3,
};

/* ---- tables: all rows of the first two have one group; no row of the third has a partner ---- */

static Column columns[COLUMNS];
static const Schema schema = { .version = 1, .column_count = COLUMNS, .columns = columns };
static int64_t ids[THIRDS], groups[THIRDS], far_ids[THIRDS];
static double weights[THIRDS];
static ColumnArray arrays[UNITS][COLUMNS], other_arrays[COLUMNS], third_arrays[COLUMNS];
static ScanUnit units[UNITS], other, third;

static ScanUnit make_unit(ColumnArray *of, const int64_t *numbers, uint32_t first, uint32_t count) {
  of[0].values = numbers;
  of[1].values = groups + first;
  of[2].values = weights + first;
  return (ScanUnit){ .kind = SCAN_UNIT_ARRAYS, .row_count = count, .columns = of };
}

static void make_tables(void) {
  static char names[][8] = { "id", "g", "weight" };
  static const ColumnType types[] = { TYPE_I64, TYPE_I64, TYPE_F64 };
  for (uint32_t c = 0; c < COLUMNS; c++) columns[c] = (Column){ .id = c + 1, .type = types[c], .name = names[c] };
  for (int i = 0; i < THIRDS; i++) {
    ids[i] = i;
    far_ids[i] = INT64_C(1) << 40 | i;
    weights[i] = i / 3.0;
  }
  for (uint32_t u = 0; u < UNITS; u++) units[u] = make_unit(arrays[u], ids + u * UNIT_ROWS, u * UNIT_ROWS, UNIT_ROWS);
  other = make_unit(other_arrays, ids, 0, OTHERS);
  third = make_unit(third_arrays, far_ids, 0, THIRDS);
}

/* ---- who is asked ---- */

typedef struct Asked {
  Watch watch; /* the caller's thread */
  _Atomic uint32_t helped;
  bool refuses;   /* helpers */
  Buffer outside; /* of the memory */
  uint32_t gone;  /* calls until something came back from there */
  uint64_t limit; /* of memory, beside the tables; 0: there is enough */
  uint64_t mixed; /* of all rows that were given, in their order */
} Asked;

static Status ask_caller(void *context, uint64_t rows, uint64_t rows_total) {
  return watch_tick(&((Asked *)context)->watch, rows, rows_total);
}
static Status ask_helper(void *context, uint64_t rows, uint64_t rows_total) {
  Asked *asked = context;
  (void)rows;
  (void)rows_total;
  CHECK(thread_number() != asked->watch.thread);
  atomic_fetch_add(&asked->helped, 1);
  return asked->refuses ? status_set(KVSTORE_CANCELLED, "no more help") : KVSTORE_OK;
}
static Status write_asked(void *context, const void *bytes, size_t length, uint64_t *at) {
  return write_outside(&((Asked *)context)->outside, bytes, length, at);
}
static Status read_asked(void *context, uint64_t at, void *bytes, size_t length) {
  Asked *asked = context;
  if (!asked->gone) asked->gone = asked->watch.calls;
  return read_outside(&asked->outside, at, bytes, length);
}

/* ---- questions ---- */

typedef enum Shape { AGGREGATES, GROUPS, ORDER, ROWS, SHAPES, MEDIANS } Shape;

static void add_table(JoinPlan *plan, JoinKind kind, const char *prefix, const char *left, const char *right) {
  JoinAsk ask = { .kind = kind, .schema = &schema, .table = "t", .prefix = prefix, .count = 1 };
  ask.left = &left;
  ask.right = &right;
  CHECK_OK(join_plan_add(plan, &ask));
}

static Query *make_query(JoinPlan *plan, Shape shape) {
  static const char *const group = "g", *const shown[] = { "id", "o_id" };
  static const QueryOrder order = { "o_weight", true, false };
  Query *q;
  CHECK_OK(query_create(join_plan_schema(plan), &q));
  if (shape <= GROUPS) {
    CHECK_OK(query_aggregate(q, AGGREGATE_ROWS, NULL));
    CHECK_OK(query_aggregate(q, AGGREGATE_TOTAL, "weight"));
  }
  static const char *const all[] = { "id", "weight", "o_id", "o_weight" };
  for (int i = 0; i < 4 && shape == MEDIANS; i++) CHECK_OK(query_quantile(q, QUANTILE_WHOLE / 2, all[i]));
  if (shape == GROUPS || shape == MEDIANS) CHECK_OK(query_group_by(q, &group, 1));
  if (shape == ORDER || shape == ROWS) CHECK_OK(query_select(q, shown, 2));
  if (shape == ORDER) {
    CHECK_OK(query_order_by(q, &order, 1));
    query_limit(q, 0, 10);
  }
  CHECK_OK(join_plan_share(plan, q));
  return q;
}

static Status give_rows(const Query *q, TableSnapshot *joined, const QuerySpace *space, uint64_t *mixed) {
  QueryCursor *cursor;
  QueryBatch batch;
  Status status = query_open_within(q, joined, space, &cursor);
  if (status != KVSTORE_OK) return status;
  do {
    status = query_next(cursor, &batch);
    for (uint32_t c = 0; status == KVSTORE_OK && c < batch.column_count; c++)
      for (uint32_t row = 0; row < batch.row_count; row++)
        *mixed = *mixed * 31 + ((const uint64_t *)batch.columns[c].values)[row];
  } while (status == KVSTORE_OK && batch.row_count);
  query_close(cursor);
  return status;
}

/* Each row of the own table with all of the other one; then with the third one, if there is one. */
static Status run(Shape shape, uint32_t threads, int third_kind, uint64_t memory_limit, Asked *asked) {
  TableSnapshot tables[] = { { .schema = &schema, .units = units, .unit_count = UNITS },
                             { .schema = &schema, .units = &other, .unit_count = 1 },
                             { .schema = &schema, .units = &third, .unit_count = 1 } };
  QuerySpace space = { .memory_limit = memory_limit, .context = asked, .tick = ask_caller, .tick_help = ask_helper };
  QuerySpace rest;
  TableSnapshot joined = { 0 };
  JoinPlan *plan;
  Status status;
  space.write = write_asked;
  space.read = read_asked;
  CHECK_OK(join_plan_create(&schema, &plan));
  add_table(plan, JOIN_LEFT, "o_", "g", "g");
  if (third_kind >= 0) add_table(plan, (JoinKind)third_kind, "t_", "o_id", "id");
  Query *q = make_query(plan, shape);
  query_threads(q, threads);
  CHECK_OK(join_open(plan, q, shape > AGGREGATES, &space, tables, &joined, &rest));
  rest.memory_limit = asked->limit ? asked->limit : UINT64_C(1) << 30; /* else there is too little for tables */
  if (shape == AGGREGATES) {
    AggregateResult results[2];
    Arena strings = { 0 };
    status = query_run_within(q, &joined, &rest, &strings, results, NULL);
    if (status == KVSTORE_OK) CHECK_INT(results[0].value.u, third_kind >= 0 ? 0 : PAIRS);
    arena_release(&strings);
  } else {
    status = give_rows(q, &joined, &rest, &asked->mixed);
  }
  table_snapshot_release(&joined);
  buffer_release(&asked->outside);
  query_destroy(q);
  join_plan_destroy(plan);
  return status;
}

TEST(join_cancel, who_makes_rows_that_no_table_wants_is_asked) {
  static const JoinKind kinds[] = { JOIN_INNER, JOIN_SEMI };
  make_tables();
  for (Shape shape = AGGREGATES; shape < SHAPES; shape++)
    for (size_t k = 0; k < 2; k++)
      for (uint32_t threads = 1; threads <= THREADS; threads += THREADS - 1) {
        Asked asked = { .watch = watch_from(0) }, cancels = { .watch = watch_from(20) };
        if (test_scale() < 1 && (shape + k) % 2) continue;
        CHECK_OK(run(shape, threads, kinds[k], UINT64_C(1) << 30, &asked));
        CHECK(asked.watch.calls + asked.helped >= PAIRS / PAIRS_A_CALL);
        CHECK(threads > 1 || asked.helped == 0);
        if (threads > 1) continue;
        CHECK_STATUS(run(shape, threads, kinds[k], UINT64_C(1) << 30, &cancels), KVSTORE_CANCELLED);
        CHECK_INT(cancels.watch.calls, 20);
      }
  CHECK_INT(memory_blocks_held(), 0);
}

/* Where the third table goes to partitions, and nothing that is joined to it does. */
TEST(join_cancel, who_makes_rows_that_do_not_leave_is_asked) {
  make_tables();
  Asked asked = { .watch = watch_from(0) }, cancels = { .watch = watch_from(20) };
  uint64_t spilled = counter_get(COUNTER_joins_spilled);
  CHECK_OK(run(AGGREGATES, 1, JOIN_INNER, LITTLE, &asked));
  CHECK_INT(counter_get(COUNTER_joins_spilled), spilled + 1);
  CHECK(asked.gone >= PAIRS / PAIRS_A_CALL);
  CHECK_STATUS(run(AGGREGATES, 1, JOIN_INNER, LITTLE, &cancels), KVSTORE_CANCELLED);
  CHECK_INT(cancels.watch.calls, 20);
  CHECK_INT(memory_blocks_held(), 0);
}

/* How many units a helper gets nobody knows: it may be none. */
TEST(join_cancel, who_helps_is_asked_and_may_refuse) {
  make_tables();
  team_meet(true);
  for (Shape shape = AGGREGATES; shape < SHAPES; shape++) {
    uint32_t refused = 0;
    for (int i = 0; i < 100 && !refused; i++) {
      Asked asked = { .watch = watch_from(0), .refuses = true };
      Status status = run(shape, THREADS, -1, UINT64_C(1) << 30, &asked);
      CHECK_INT(status, asked.helped ? KVSTORE_CANCELLED : KVSTORE_OK);
      CHECK(!asked.helped || strstr(status_last()->text, "no more help") != NULL);
      refused += asked.helped;
    }
    CHECK(refused > 0);
  }
  team_meet(false);
  CHECK_INT(memory_blocks_held(), 0);
}

/* A unit has 200,000 joined rows, of 16 bytes each: more than a thread may hold of them while the caller gives those of
 * units before. Where there is enough memory threads hold them, and go on. */
TEST(join_cancel, who_helps_holds_no_more_rows_than_it_may) {
  enum { LIMIT = 3 << 20, FLOW_BYTES = 1 << 20 /* what a thread needs besides, or less */ };
  Asked one = { .watch = watch_from(0), .limit = LIMIT }, many = one, rich = { .watch = one.watch };
  make_tables();
  counted_memory_install();
  int64_t before = counted_memory_begin();
  CHECK_OK(run(ROWS, 1, -1, UINT64_C(1) << 30, &one));
  int64_t alone = counted_memory_most() - before;
  team_meet(true);
  uint64_t rounds = counter_get(COUNTER_row_rounds);
  before = counted_memory_begin();
  CHECK_OK(run(ROWS, THREADS, -1, UINT64_C(1) << 30, &many));
  CHECK(counted_memory_most() - before <= alone + LIMIT / 2 + (THREADS - 1) * FLOW_BYTES);
  CHECK_INT(counter_get(COUNTER_row_rounds), rounds + 1);
  CHECK_OK(run(ROWS, THREADS, -1, UINT64_C(1) << 30, &rich));
  CHECK(counter_get(COUNTER_row_rounds) > rounds + 2);
  team_meet(false);
  counted_memory_remove();
  CHECK(many.mixed == one.mixed && rich.mixed == one.mixed);
  CHECK_INT(memory_blocks_held(), 0);
}

/* The numbers of a unit take more than a part usually gets: 200,000 times four, of 8 bytes and more each. */
TEST(join_cancel, parts_of_groups_are_as_many_as_units_have_memory_for) {
  const uint64_t bytes = (uint64_t)UNIT_ROWS * OTHERS * 4 * 8, limit = 5 * 2 * bytes; /* parts have 3 of 8 */
  Asked one = { .watch = watch_from(0) }, many = { .watch = watch_from(0), .limit = limit }, rich = one;
  make_tables();
  CHECK_OK(run(MEDIANS, 1, -1, UINT64_C(1) << 30, &one));
  team_meet(true);
  uint64_t parts = counter_get(COUNTER_group_parts_merged);
  CHECK_OK(run(MEDIANS, UNITS - 1, -1, UINT64_C(1) << 30, &many));
  uint64_t few = counter_get(COUNTER_group_parts_merged) - parts;
  CHECK(few > 0 && few * bytes <= limit * 3 / 8);
  CHECK_OK(run(MEDIANS, UNITS - 1, -1, UINT64_C(1) << 30, &rich));
  CHECK_INT(counter_get(COUNTER_group_parts_merged) - parts - few, UNITS - 1);
  team_meet(false);
  CHECK(many.mixed == one.mixed && rich.mixed == one.mixed);
  CHECK_INT(memory_blocks_held(), 0);
}
