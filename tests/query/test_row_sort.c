/* Rows in an order by several threads: those of one, ties included, whoever takes which unit. */
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "os/team.h"
#include "query/sorter.h"
#include "tests/columnar/sample_units.h"
#include "tests/query/answer_bytes.h"
#include "tests/query/outside.h"
#include "tests/query/watcher.h"
#include "tests/query/without_memory.h"
#include "tests/support/test.h"

static void sample(SampleUnits *u, uint64_t seed, uint32_t times) {
  sample_units_mixed(u, 1500 * times, 350 * times, 600, seed);
}

static Query *make_query(const SampleUnits *u, const char *where, const QueryOrder *order, size_t count) {
  Query *q;
  CHECK_OK(query_create(&u->schema, &q));
  if (*where) CHECK_OK(query_where(q, where, strlen(where), NULL, 0));
  CHECK_OK(query_order_by(q, order, count));
  return q;
}

/* ---- answers ---- */

static void check_threads(const SampleUnits *u, Query *q) {
  static const uint32_t threads[] = { 2, 5 };
  Buffer one = { 0 }, many = { 0 };
  ScanCounters counters, others;
  uint64_t merged = counter_get(COUNTER_sorters_merged);
  CHECK_OK(answer_bytes(q, sample_units_snapshot(u), NULL, 1, &one, &counters));
  CHECK_INT(counter_get(COUNTER_sorters_merged), merged);
  for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
    CHECK_OK(answer_bytes(q, sample_units_snapshot(u), NULL, threads[t], &many, &others));
    uint64_t members = threads[t] < u->unit_count ? threads[t] : u->unit_count;
    merged += members;
    CHECK_INT(counter_get(COUNTER_sorters_merged), merged);
    check_same_answer(&one, &many);
    CHECK_INT(others.units, counters.units);
    CHECK_INT(others.rows, counters.rows);
    CHECK_INT(others.rows_given, counters.rows_given);
    CHECK_INT(others.blocks, counters.blocks);
  }
  buffer_release(&one);
  buffer_release(&many);
}

TEST(row_sort, many_threads_give_the_rows_of_one_in_their_order) {
  static const struct {
    uint64_t offset, limit;
  } ends[] = { { 0, QUERY_NO_LIMIT }, { 0, 1 }, { 3, 40 }, { 0, 2000 }, { 100000, 5 }, { 0, 0 } };
  SampleUnits u;
  sample(&u, 1, 1);
  CHECK(u.unit_count > 10);
  team_meet(true);
  for (uint32_t c = 0; c < u.schema.column_count; c++) { /* every type */
    for (unsigned way = 0; way < 2 && (way == c % 2 || test_scaled(8) >= 8); way++) {
      unsigned flags = way ? ~c & 3 : c & 3; /* descending, nulls last */
      QueryOrder order[] = { { u.schema.columns[c].name, flags & 1, flags & 2 }, { "c1_bool", flags & 2, false } };
      Query *q = make_query(&u, c & 1 ? "c4_i32 % 3 <> 1" : "", order, 1 + c / 2 % 2);
      for (size_t e = (c + way) % 3; e < sizeof ends / sizeof *ends; e += 3) {
        query_limit(q, ends[e].offset, ends[e].limit);
        check_threads(&u, q);
      }
      query_destroy(q);
    }
  }
  team_meet(false);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}

/* Of two values, nulls among them: equals are thousands, and stay as they lie. */
TEST(row_sort, equals_stay_as_they_lie) {
  static const QueryOrder order = { "c1_bool", true, false };
  static const char *const columns[] = { "c1_bool", "c0_i64" };
  SampleUnits u;
  sample(&u, 2, 1);
  Query *lying = make_query(&u, "", NULL, 0), *q = make_query(&u, "", &order, 1);
  CHECK_OK(query_select(lying, columns, 2));
  CHECK_OK(query_select(q, columns, 2));
  CHECK_OK(query_order_by(q, &order, 1));
  Buffer plain = { 0 }, sorted = { 0 }, expected = { 0 };
  CHECK_OK(answer_bytes(lying, sample_units_snapshot(&u), NULL, 1, &plain, NULL));
  for (int kind = 0; kind < 3; kind++) { /* nulls, true, false */
    for (Reader in = reader_over(plain.data, plain.length); reader_left(&in);) {
      const uint8_t *from = in.at;
      bool is_null = reader_u8(&in);
      int of = is_null ? 0 : reader_u8(&in) ? 1 : 2;
      if (!reader_u8(&in)) (void)reader_u64(&in);
      if (of == kind) buffer_append(&expected, from, (size_t)(in.at - from));
    }
  }
  team_meet(true);
  CHECK_OK(answer_bytes(q, sample_units_snapshot(&u), NULL, 4, &sorted, NULL));
  team_meet(false);
  check_same_answer(&expected, &sorted);
  buffer_release(&plain);
  buffer_release(&sorted);
  buffer_release(&expected);
  query_destroy(lying);
  query_destroy(q);
  sample_units_release(&u);
}

/* ---- the bound that is shared ---- */

static void add_numbers(Sorter *s, int64_t first, uint32_t count) {
  int64_t numbers[QUERY_BATCH_ROWS];
  for (uint32_t i = 0; i < count; i++) numbers[i] = first + i;
  const ColumnArray array = { numbers, NULL };
  const QueryBatch batch = { count, 1, &array };
  CHECK_OK(sorter_add(s, &batch));
}

/* Ten rows are wanted. One sorter has seen 100 to 299, and lets go of all but 100 to 109 at the 84th row: what is above
 * 109 is wanted by neither, but 109 itself may lie before the other's. */
TEST(row_sort, what_another_sorter_has_enough_better_rows_for_is_not_wanted) {
  static const ColumnType type = TYPE_I64;
  for (int descending = 0; descending < 2; descending++) {
    OrderTerm term = { 0, descending, true };
    _Atomic int64_t worst = INT64_MAX;
    SorterOptions options = { .keep = 10, .worst = &worst };
    Sorter *one, *other;
    int64_t least, greatest;
    bool nulls;
    CHECK_OK(sorter_create(&type, 1, &term, 1, &options, &one));
    CHECK_OK(sorter_create(&type, 1, &term, 1, &options, &other));
    CHECK(!sorter_bound(other, &least, &greatest, &nulls));
    for (int i = 0; i < 200; i++) add_numbers(one, descending ? -100 - i : 100 + i, 1);
    CHECK(sorter_bound(other, &least, &greatest, &nulls));
    CHECK_INT(least, descending ? -109 : INT64_MIN);
    CHECK_INT(greatest, descending ? INT64_MAX : 109);
    CHECK(!nulls);
    add_numbers(other, descending ? -1000 : 200, 500);
    CHECK_INT(sorter_bytes(other), 0); /* none was taken in */
    sorter_number(other, 1 << 20);
    add_numbers(other, descending ? -109 : 90, 20);
    CHECK(sorter_bytes(other) > 0);
    CHECK_OK(sorter_end(other));
    CHECK_OK(sorter_take_over(one, other));
    QueryBatch batch;
    CHECK_OK(sorter_next(one, &batch));
    CHECK_INT(batch.row_count, 10);
    for (int64_t i = 0; i < 10; i++)
      CHECK_INT(((const int64_t *)batch.columns[0].values)[i], descending ? -90 - i : 90 + i);
    CHECK_OK(sorter_next(one, &batch));
    CHECK_INT(batch.row_count, 0);
    sorter_destroy(one);
    sorter_destroy(other);
  }
}

/* ---- memory ---- */

/* Rows of all columns are more than two threads with 1 MiB each can hold. */
TEST(row_sort, sorters_that_share_little_memory_spill) {
  static const QueryOrder order[] = { { "c13_string", false, true }, { "c2_i8", true, false } };
  SampleUnits u;
  sample(&u, 3, 6);
  Query *q = make_query(&u, "", order, 2);
  Buffer one = { 0 }, many = { 0 }, outside = { 0 };
  QuerySpace space = { .memory_limit = 2 << 20, .context = &outside, .write = write_outside, .read = read_outside };
  CHECK_OK(answer_bytes(q, sample_units_snapshot(&u), NULL, 1, &one, NULL));
  CHECK(one.length > 5 << 19);
  team_meet(true);
  uint64_t merged = counter_get(COUNTER_sorters_merged), runs = counter_get(COUNTER_spilled_runs);
  CHECK_OK(answer_bytes(q, sample_units_snapshot(&u), &space, 4, &many, NULL));
  CHECK_INT(counter_get(COUNTER_sorters_merged), merged + 2); /* there is memory for two */
  CHECK(counter_get(COUNTER_spilled_runs) > runs + 1);
  check_same_answer(&one, &many);
  space.memory_limit = 1 << 20;
  CHECK_OK(answer_bytes(q, sample_units_snapshot(&u), &space, 4, &many, NULL));
  CHECK_INT(counter_get(COUNTER_sorters_merged), merged + 2); /* and here for one */
  check_same_answer(&one, &many);
  team_meet(false);
  buffer_release(&one);
  buffer_release(&many);
  buffer_release(&outside);
  query_destroy(q);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}

TEST(row_sort, a_failure_of_any_thread_is_the_callers) {
  static const QueryOrder order = { "c13_string", false, false };
  SampleUnits u;
  sample(&u, 4, 1);
  for (uint64_t limit = 50; limit; limit = limit == 50 ? QUERY_NO_LIMIT : 0) {
    Query *q = make_query(&u, "c4_i32 > 5", &order, 1);
    query_limit(q, 0, limit);
    check_without_memory(q, &u, 8);
    query_destroy(q);
  }
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}

/* ---- failures and those who watch ---- */

TEST(row_sort, the_failure_told_is_that_of_the_first_row) {
  static const QueryOrder order = { "c13_string", false, false };
  static const char *const columns[] = { "100 / (c16_i64 - 7)" };
  SampleUnits u;
  sample(&u, 6, 1);
  Query *q = make_query(&u, "c0_i64 > 8000000000000000000", &order, 1); /* the last segment of each run */
  CHECK_OK(query_select(q, columns, 1));
  CHECK_OK(query_order_by(q, &order, 1));
  Buffer out = { 0 };
  CHECK_STATUS(answer_bytes(q, sample_units_snapshot(&u), NULL, 1, &out, NULL), KVSTORE_TYPE);
  Failure one = *status_last();
  team_meet(true);
  for (int i = 0; i < 20; i++) {
    CHECK_STATUS(answer_bytes(q, sample_units_snapshot(&u), NULL, 3, &out, NULL), KVSTORE_TYPE);
    CHECK_STR(status_last()->text, one.text);
    CHECK_STR(status_last()->column, one.column);
  }
  team_meet(false);
  /* Which rows are computed depends on the bound, and that is to be the one of one thread. */
  uint64_t helpers = counter_get(COUNTER_team_helpers);
  query_limit(q, 0, 5);
  Status status = answer_bytes(q, sample_units_snapshot(&u), NULL, 3, &out, NULL);
  CHECK(status == KVSTORE_OK || status == KVSTORE_TYPE);
  CHECK_INT(counter_get(COUNTER_team_helpers), helpers);
  buffer_release(&out);
  query_destroy(q);
  sample_units_release(&u);
}

TEST(row_sort, who_watches_is_called_on_the_callers_thread_and_may_cancel) {
  static const QueryOrder order = { "c2_i8", false, false };
  SampleUnits u;
  sample(&u, 7, 1);
  Query *q = make_query(&u, "", &order, 1);
  Buffer out = { 0 };
  team_meet(true);
  for (uint32_t cancel_at = 0; cancel_at < 3; cancel_at++) {
    Watch w = watch_from(cancel_at);
    QuerySpace space = watched_space(&w);
    Status status = answer_bytes(q, sample_units_snapshot(&u), &space, 2, &out, NULL);
    if (!cancel_at) CHECK_OK(status);
    CHECK(w.calls >= 1);
    CHECK_INT(status == KVSTORE_CANCELLED, cancel_at && w.calls == cancel_at);
    CHECK_INT(w.rows_total, 3 * 1500 + 2 * 600);
  }
  team_meet(false);
  buffer_release(&out);
  query_destroy(q);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}
