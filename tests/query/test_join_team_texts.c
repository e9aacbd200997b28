/* Tables of joins with long texts, which several threads read within a limit of memory: the parts are those of one
 * thread, and take no more. */
#include "base/counters.h"
#include "base/memory.h"
#include "os/team.h"
#include "query/join_internal.h"
#include "tests/query/answer_bytes.h"
#include "tests/support/counted_memory.h"
#include "tests/support/test.h"

enum {
  UNITS = 30,
  UNIT_ROWS = 10000,
  ROWS = UNITS * UNIT_ROWS,
  OWN_ROWS = 2000,
  KEYS = ROWS / 2, /* two rows each, far from each other */
  TEXT_BYTES = 304,
  LIMIT = 32 << 20, /* of which the table has half */
  MEMBERS = 9,
};

/* Texts lie over each other: what the test itself holds is little. */
typedef struct Tables {
  Column columns[4];
  Schema schema;
  int64_t ids[ROWS], keys[ROWS], divisors[ROWS], own_ids[OWN_ROWS];
  Bytes texts[ROWS];
  uint8_t letters[4096 + TEXT_BYTES];
  ColumnArray arrays[UNITS][4], own_arrays[4];
  ScanUnit units[UNITS], own;
} Tables;

static Tables t;

static void tables_create(void) {
  static char names[][8] = { "id", "key", "text", "divisor" };
  static const ColumnType types[] = { TYPE_I64, TYPE_I64, TYPE_STRING, TYPE_I64 };
  for (uint32_t c = 0; c < 4; c++) t.columns[c] = (Column){ .id = c + 1, .type = types[c], .name = names[c] };
  t.schema = (Schema){ .columns = t.columns, .column_count = 4, .version = 1 };
  for (uint32_t i = 0; i < sizeof t.letters; i++) t.letters[i] = (uint8_t)('a' + i * i % 23);
  for (uint32_t i = 0; i < ROWS; i++) {
    t.ids[i] = i;
    t.keys[i] = i % KEYS;
    t.divisors[i] = 1;
    t.texts[i] = (Bytes){ t.letters + i % 4096, TEXT_BYTES };
  }
  for (uint32_t i = 0; i < OWN_ROWS; i++) t.own_ids[i] = i * (KEYS / OWN_ROWS);
  for (uint32_t u = 0; u < UNITS; u++) {
    uint32_t first = u * UNIT_ROWS;
    t.arrays[u][0].values = t.ids + first;
    t.arrays[u][1].values = t.keys + first;
    t.arrays[u][2].values = t.texts + first;
    t.arrays[u][3].values = t.divisors + first;
    t.units[u] = (ScanUnit){ .kind = SCAN_UNIT_ARRAYS, .row_count = UNIT_ROWS, .columns = t.arrays[u] };
  }
  t.own_arrays[0].values = t.own_arrays[1].values = t.own_arrays[3].values = t.own_ids;
  t.own_arrays[2].values = t.texts;
  t.own = (ScanUnit){ .kind = SCAN_UNIT_ARRAYS, .row_count = OWN_ROWS, .columns = t.own_arrays };
}

/* What a run gave, and what of the table was in memory meanwhile. */
typedef struct Run {
  Status status;
  Buffer answer;
  uint64_t hashed_rows, hashed_bytes, parts, teams;
  int64_t most;
} Run;

static Run run_join(uint32_t threads, bool by_text) {
  static const char *const shown[] = { "id", "o_id", "o_text" };
  static const char *const keys[] = { "id", "text" }, *const others[] = { "key", "text" };
  TableSnapshot tables[] = { { .schema = &t.schema, .units = &t.own, .unit_count = 1 },
                             { .schema = &t.schema, .units = t.units, .unit_count = UNITS } };
  JoinAsk ask = {
    .kind = JOIN_INNER, .schema = &t.schema, .table = "other", .prefix = "o_", .where = "1 / divisor = 1"
  };
  QuerySpace space = { .memory_limit = LIMIT }, rest;
  TableSnapshot joined = { 0 };
  JoinPlan *plan;
  Query *q;
  Run run = { 0 };
  ask.left = keys;
  ask.right = others;
  ask.count = by_text ? 2 : 1;
  CHECK_OK(join_plan_create(&t.schema, &plan));
  CHECK_OK(join_plan_add(plan, &ask));
  CHECK_OK(query_create(join_plan_schema(plan), &q));
  CHECK_OK(query_select(q, shown, by_text ? 2 : 3)); /* texts are keys, or leave with the rows */
  CHECK_OK(join_plan_share(plan, q));
  query_threads(q, threads);
  run.teams = counter_get(COUNTER_joins_shared);
  int64_t before = counted_memory_begin();
  CHECK_OK(join_open(plan, q, true, &space, tables, &joined, &rest));
  run.status = answer_bytes(q, joined, &rest, threads, &run.answer, NULL);
  run.most = counted_memory_most() - before;
  run.teams = counter_get(COUNTER_joins_shared) - run.teams;
  run.hashed_rows = plan->steps[0].hashed_rows;
  run.hashed_bytes = plan->steps[0].hashed_bytes;
  run.parts = plan->steps[0].parts;
  query_destroy(q);
  join_plan_destroy(plan);
  return run;
}

static void check_like_one(const Run *one, const Run *many) {
  const uint64_t block = BLOCK_ROWS * (TEXT_BYTES + 256) + (1 << 20); /* that makes it full, in an arena */
  CHECK_INT(many->status, one->status);
  check_same_answer(&one->answer, &many->answer);
  CHECK_INT(many->parts, one->parts);
  CHECK_INT(many->hashed_rows, one->hashed_rows);
  CHECK_INT(many->hashed_bytes, one->hashed_bytes);
  CHECK(many->hashed_bytes <= LIMIT / 2 + block);
  CHECK(many->most <= LIMIT / 2 * 3);
}

TEST(join_team_texts, parts_are_those_of_one_thread_and_take_no_more) {
  tables_create();
  counted_memory_install();
  team_meet(true);
  for (int by_text = 0; by_text < 2; by_text++) {
    Run one = run_join(1, by_text);
    CHECK_OK(one.status);
    CHECK_INT(one.hashed_rows, ROWS);
    CHECK(one.parts > 4 && one.teams == 0);
    for (uint32_t threads = 2; threads <= MEMBERS; threads += threads / 2 + 1) {
      Run many = run_join(threads, by_text);
      CHECK(many.teams > 0);
      check_like_one(&one, &many);
      buffer_release(&many.answer);
    }
    buffer_release(&one.answer);
  }
  team_meet(false);
  counted_memory_remove();
  CHECK_INT(memory_blocks_held(), 0);
}

/* What helpers meet behind the first part nobody has asked for yet. */
TEST(join_team_texts, a_failure_behind_the_first_part_comes_behind_its_rows) {
  tables_create();
  t.divisors[5 * UNIT_ROWS + 7] = 0;
  counted_memory_install();
  team_meet(true);
  Run one = run_join(1, false);
  CHECK_INT(one.status, KVSTORE_TYPE);
  CHECK(one.answer.length > 0);
  Run many = run_join(MEMBERS, false);
  CHECK_INT(many.teams, 1);
  CHECK_STR(status_last()->value, "1");
  check_like_one(&one, &many);
  buffer_release(&one.answer);
  buffer_release(&many.answer);
  team_meet(false);
  counted_memory_remove();
  CHECK_INT(memory_blocks_held(), 0);
}
