/* Rows as they lie, found by several threads: those of one, in the order of units. */
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "os/team.h"
#include "query/unit_share.h"
#include "tests/columnar/sample_units.h"
#include "tests/query/answer_bytes.h"
#include "tests/query/watcher.h"
#include "tests/query/without_memory.h"
#include "tests/support/test.h"

static void sample(SampleUnits *u, uint64_t seed) { sample_units_mixed(u, 4000, 700, 800, seed); }

static Query *make_query(const SampleUnits *u, const char *where) {
  Query *q;
  CHECK_OK(query_create(&u->schema, &q));
  if (*where) CHECK_OK(query_where(q, where, strlen(where), NULL, 0));
  return q;
}

TEST(row_rounds, many_threads_give_the_rows_of_one_in_their_order) {
  static const char *const wheres[] = { "", "c4_i32 % 3 <> 1", "c0_i64 > 9000000000000000000", "c0_i64 is null" };
  static const uint32_t threads[] = { 2, 5, 1000 };
  SampleUnits u;
  Buffer one = { 0 }, many = { 0 };
  ScanCounters counters, others;
  sample(&u, 1);
  team_meet(true);
  for (size_t w = 0; w < sizeof wheres / sizeof *wheres; w++) {
    Query *q = make_query(&u, wheres[w]);
    uint64_t rounds = counter_get(COUNTER_row_rounds);
    CHECK_OK(answer_bytes(q, sample_units_snapshot(&u), NULL, 1, &one, &counters));
    CHECK_INT(counter_get(COUNTER_row_rounds), rounds);
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
      CHECK_OK(answer_bytes(q, sample_units_snapshot(&u), NULL, threads[t], &many, &others));
      CHECK(counter_get(COUNTER_row_rounds) > rounds);
      rounds = counter_get(COUNTER_row_rounds);
      check_same_answer(&one, &many);
      CHECK(others.helped);
      CHECK_INT(others.units, counters.units);
      CHECK_INT(others.rows, counters.rows);
      CHECK_INT(others.rows_given, counters.rows_given);
    }
    query_limit(q, 0, 10); /* of which only the first are wanted, one thread reads */
    CHECK_OK(answer_bytes(q, sample_units_snapshot(&u), NULL, 4, &many, NULL));
    CHECK_INT(counter_get(COUNTER_row_rounds), rounds);
    query_destroy(q);
  }
  team_meet(false);
  buffer_release(&one);
  buffer_release(&many);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}

/* Of 1 MiB a quarter is for the two threads of a round: some 128 KiB each, and what the unit adds that is begun. */
TEST(row_rounds, a_round_holds_no_more_than_it_may) {
  SampleUnits u;
  sample(&u, 2);
  Query *q = make_query(&u, "");
  Buffer one = { 0 }, many = { 0 };
  QuerySpace space = { .memory_limit = 1 << 20 };
  CHECK_OK(answer_bytes(q, sample_units_snapshot(&u), NULL, 1, &one, NULL));
  CHECK(one.length > 1 << 20);
  team_meet(true);
  uint64_t rounds = counter_get(COUNTER_row_rounds);
  CHECK_OK(answer_bytes(q, sample_units_snapshot(&u), &space, 2, &many, NULL));
  CHECK(counter_get(COUNTER_row_rounds) >= rounds + 3);
  check_same_answer(&one, &many);
  team_meet(false);
  buffer_release(&one);
  buffer_release(&many);
  query_destroy(q);
  sample_units_release(&u);
}

TEST(row_rounds, a_failure_of_any_thread_is_the_callers) {
  SampleUnits u;
  sample(&u, 3);
  Query *q = make_query(&u, "c4_i32 > 5");
  check_without_memory(q, &u, 20);
  query_destroy(q);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}

/* Rows of a unit that fails come as far as one thread gives them; no row of a later unit does. */
TEST(row_rounds, rows_before_a_failure_come_and_the_first_one_is_told) {
  static const char *const columns[] = { "c0_i64", "100 / (c16_i64 - 7)" };
  SampleUnits u;
  sample(&u, 4);
  Query *q = make_query(&u, "c16_i64 <> 7 or c0_i64 > 8000000000000000000");
  CHECK_OK(query_select(q, columns, 2));
  Buffer one = { 0 }, many = { 0 };
  CHECK_STATUS(answer_bytes(q, sample_units_snapshot(&u), NULL, 1, &one, NULL), KVSTORE_TYPE);
  CHECK(one.length > 0);
  Failure failure = *status_last();
  team_meet(true);
  for (int i = 0; i < 20; i++) {
    CHECK_STATUS(answer_bytes(q, sample_units_snapshot(&u), NULL, 3, &many, NULL), KVSTORE_TYPE);
    CHECK_STR(status_last()->text, failure.text);
    check_same_answer(&one, &many);
  }
  team_meet(false);
  buffer_release(&one);
  buffer_release(&many);
  query_destroy(q);
  sample_units_release(&u);
}

/* A cursor that is given up after some rows, or that its watcher stops. */
TEST(row_rounds, a_cursor_may_be_closed_at_any_batch) {
  SampleUnits u;
  sample(&u, 5);
  Query *q = make_query(&u, "");
  query_threads(q, 2);
  team_meet(true);
  for (int batches = 0; batches < 20; batches++) {
    TableSnapshot snapshot = sample_units_snapshot(&u);
    QueryCursor *cursor;
    QueryBatch batch;
    CHECK_OK(query_open(q, &snapshot, &cursor));
    for (int i = 0; i < batches; i++) CHECK_OK(query_next(cursor, &batch));
    query_close(cursor);
  }
  team_meet(false);
  query_destroy(q);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}

TEST(row_rounds, who_watches_is_called_on_the_callers_thread_and_may_cancel) {
  SampleUnits u;
  sample(&u, 6);
  Query *q = make_query(&u, "");
  Buffer out = { 0 };
  team_meet(true);
  for (uint32_t cancel_at = 0; cancel_at < 12; cancel_at++) { /* every unit whose rows are given is told of */
    Watch w = watch_from(cancel_at);
    QuerySpace space = watched_space(&w);
    Status status = answer_bytes(q, sample_units_snapshot(&u), &space, 2, &out, NULL);
    CHECK_INT(status, cancel_at ? KVSTORE_CANCELLED : KVSTORE_OK);
  }
  team_meet(false);
  buffer_release(&out);
  query_destroy(q);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}

/* ---- what all teams share ---- */

TEST(unit_share, no_unit_is_taken_behind_a_failure_or_a_stop) {
  const ScanUnit units[6] = { { .row_count = 5 }, { .row_count = 7 }, { .row_count = 1 } };
  const TableSnapshot snapshot = { .units = units, .unit_count = 6 };
  UnitShare share;
  unit_share_begin(&share, 1, 5);
  CHECK_INT(unit_share_take(&share, &snapshot), 1);
  CHECK_INT(unit_share_take(&share, &snapshot), 2);
  CHECK_INT(unit_share_rows(&share), 5 + 7 + 1);
  CHECK_OK(unit_share_status(&share));
  CHECK_STATUS(status_fail_at(KVSTORE_TYPE, 9, "b", "y", "the second"), KVSTORE_TYPE);
  unit_share_fail(&share, 2);
  CHECK_STATUS(status_fail_at(KVSTORE_IO, 8, "a", "x", "the first"), KVSTORE_IO);
  unit_share_fail(&share, 1);
  CHECK_STATUS(status_fail(KVSTORE_NOMEM, "the last"), KVSTORE_NOMEM);
  unit_share_fail(&share, UINT32_MAX);
  CHECK_INT(unit_share_take(&share, &snapshot), UINT32_MAX);
  CHECK_STATUS(unit_share_status(&share), KVSTORE_IO);
  CHECK_STR(status_last()->text, "the first");
  CHECK_STR(status_last()->column, "a");
  unit_share_end(&share);
  unit_share_begin(&share, 3, 0);
  CHECK_INT(unit_share_take(&share, &snapshot), 3);
  unit_share_stop(&share);
  CHECK_INT(unit_share_take(&share, &snapshot), UINT32_MAX);
  CHECK_INT(unit_share_next(&share, &snapshot), 4);
  unit_share_end(&share);
}
