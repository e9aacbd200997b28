/* Quantiles of numbers by several threads, and within little memory: those of one thread, to the bit. */
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "os/team.h"
#include "query/query.h"
#include "tests/columnar/sample_units.h"
#include "tests/query/answer_bytes.h"
#include "tests/query/outside.h"
#include "tests/query/without_memory.h"
#include "tests/support/test.h"

static void sample(SampleUnits *u, uint64_t seed, uint32_t times) {
  SampleUnitsOptions o = { .runs = 2,
                           .run_rows = 4500 * times,
                           .segment_rows = 750 * times,
                           .slabs = 2,
                           .slab_rows = 800,
                           .dead_percent = 10,
                           .old_runs = true,
                           .seed = seed };
  sample_units_create(u, &o);
}

/* Of every column of numbers three quantiles, beside a sum that depends on the order of units. */
static Query *make_query(const SampleUnits *u, const char *const *keys, size_t key_count) {
  static const uint32_t millionths[] = { 0, 500000, 999900 };
  Query *q;
  CHECK_OK(query_create(&u->schema, &q));
  CHECK_OK(query_where(q, "c4_i32 % 3 <> 1", 15, NULL, 0));
  CHECK_OK(query_aggregate(q, AGGREGATE_TOTAL, "c10_f64"));
  for (uint32_t c = 0; c < u->schema.column_count; c++) {
    if (type_is_string(u->schema.columns[c].type)) continue;
    for (size_t t = 0; t < 3; t++) CHECK_OK(query_quantile(q, millionths[t], u->schema.columns[c].name));
  }
  CHECK_OK(query_group_by(q, keys, key_count));
  return q;
}

static void check_threads(const SampleUnits *u, const QuerySpace *space, const char *const *keys, size_t key_count) {
  Query *q = make_query(u, keys, key_count);
  Buffer one = { 0 }, many = { 0 };
  ScanCounters counters;
  uint64_t selected = counter_get(COUNTER_quantiles_selected), merged = counter_get(COUNTER_group_parts_merged);
  CHECK_OK(answer_bytes(q, sample_units_snapshot(u), NULL, 1, &one, &counters));
  CHECK(counter_get(COUNTER_quantiles_selected) > selected);
  CHECK_INT(counter_get(COUNTER_group_parts_merged), merged);
  bool all = !space || test_scaled(8) >= 8; /* sorting takes long where threads are slow */
  for (uint32_t threads = 2; threads <= (all ? 5 : 2); threads += 3) {
    CHECK_OK(answer_bytes(q, sample_units_snapshot(u), space, threads, &many, &counters));
    CHECK(counter_get(COUNTER_group_parts_merged) > merged || threads > 2);
    merged = counter_get(COUNTER_group_parts_merged);
    check_same_answer(&one, &many);
  }
  buffer_release(&one);
  buffer_release(&many);
  query_destroy(q);
}

TEST(quantile_team, many_threads_give_the_quantiles_of_one) {
  static const struct {
    const char *keys[2];
    size_t count;
  } of[] = { { { NULL }, 0 }, { { "c16_i64 % 7" }, 1 }, { { "c2_i8 % 5", "c1_bool" }, 2 } };
  team_meet(true);
  for (uint64_t seed = 1; seed <= 2; seed++) {
    SampleUnits u;
    sample(&u, seed, 1);
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) check_threads(&u, NULL, of[i].keys, of[i].count);
    sample_units_release(&u);
  }
  team_meet(false);
  CHECK_INT(memory_blocks_held(), 0);
}

/* Groups that are many among the rows are one thread's; their values are put side by side, and looked at, by all. */
TEST(quantile_team, one_thread_finds_groups_and_all_their_quantiles) {
  const char *keys[] = { "c10_f64", "c4_i32" };
  SampleUnits u;
  Buffer one = { 0 }, many = { 0 };
  ScanCounters counters;
  sample(&u, 2, 1);
  Query *q = make_query(&u, keys, 2);
  CHECK_OK(answer_bytes(q, sample_units_snapshot(&u), NULL, 1, &one, &counters));
  uint64_t merged = counter_get(COUNTER_group_parts_merged), helpers = counter_get(COUNTER_team_helpers);
  CHECK_OK(answer_bytes(q, sample_units_snapshot(&u), NULL, 20, &many, &counters));
  CHECK_INT(counter_get(COUNTER_group_parts_merged), merged);
  CHECK(counter_get(COUNTER_team_helpers) > helpers);
  check_same_answer(&one, &many);
  buffer_release(&one);
  buffer_release(&many);
  query_destroy(q);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}

/* Groups have 18 MiB of it, two parts 4.5 MiB each, and values 6 MiB, of which there are more. */
TEST(quantile_team, values_that_leave_memory_are_found_too) {
  const char *key[] = { "c16_i64 % 7" };
  SampleUnits u;
  Buffer outside = { 0 };
  QuerySpace space = { .memory_limit = 24 << 20, .context = &outside, .write = write_outside, .read = read_outside };
  sample(&u, 4, 8);
  team_meet(true);
  for (size_t keys = test_scaled(8) >= 8 ? 0 : 1; keys <= 1; keys++) {
    uint64_t sorted = counter_get(COUNTER_quantiles_spilled), full = counter_get(COUNTER_group_parts_full);
    uint64_t bytes = counter_get(COUNTER_bytes_spilled);
    check_threads(&u, &space, key, keys);
    CHECK(counter_get(COUNTER_quantiles_spilled) > sorted);
    CHECK(counter_get(COUNTER_bytes_spilled) > bytes);
    CHECK(counter_get(COUNTER_group_parts_full) > full || keys == 0);
  }
  team_meet(false);
  buffer_release(&outside);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}

/* Of so many groups no part is one group's: none of the values is sorted. */
TEST(quantile_team, values_of_many_groups_come_back_part_by_part) {
  const char *key[] = { "c4_i32 % 100" };
  SampleUnits u;
  Buffer outside = { 0 }, all = { 0 }, some = { 0 };
  ScanCounters counters;
  QuerySpace space = { .memory_limit = 3 << 20, .context = &outside, .write = write_outside, .read = read_outside };
  sample(&u, 6, 1);
  Query *q = make_query(&u, key, 1);
  uint64_t spilled = counter_get(COUNTER_quantiles_spilled), parts = counter_get(COUNTER_row_parts_read);
  uint64_t runs = counter_get(COUNTER_spilled_runs);
  CHECK_OK(answer_bytes(q, sample_units_snapshot(&u), NULL, 1, &all, &counters));
  CHECK_OK(answer_bytes(q, sample_units_snapshot(&u), &space, 1, &some, &counters));
  check_same_answer(&all, &some);
  CHECK(counter_get(COUNTER_quantiles_spilled) > spilled);
  CHECK(counter_get(COUNTER_row_parts_read) > parts + 32);
  CHECK_INT(counter_get(COUNTER_spilled_runs), runs);
  query_destroy(q);
  buffer_release(&outside);
  buffer_release(&all);
  buffer_release(&some);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}

/* A group that has more values than there is room for: they are counted again and again where they lie. */
TEST(quantile_team, values_of_one_group_are_found_in_the_file) {
  const char *key[] = { "c1_bool" };
  SampleUnits u;
  Buffer outside = { 0 }, all = { 0 }, some = { 0 };
  ScanCounters counters;
  QuerySpace space = { .context = &outside, .write = write_outside, .read = read_outside };
  sample(&u, 7, 1);
  for (size_t keys = 0; keys <= 1; keys++) {
    Query *q = make_query(&u, key, keys);
    uint64_t found = counter_get(COUNTER_quantiles_outside), runs = counter_get(COUNTER_spilled_runs);
    space.memory_limit = keys ? 60000 : 150000;
    CHECK_OK(answer_bytes(q, sample_units_snapshot(&u), NULL, 1, &all, &counters));
    CHECK_OK(answer_bytes(q, sample_units_snapshot(&u), &space, 1, &some, &counters));
    check_same_answer(&all, &some);
    CHECK(counter_get(COUNTER_quantiles_outside) > found);
    CHECK_INT(counter_get(COUNTER_spilled_runs), runs);
    query_destroy(q);
    buffer_clear(&outside);
  }
  buffer_release(&outside);
  buffer_release(&all);
  buffer_release(&some);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}

TEST(quantile_team, a_failure_of_any_thread_is_the_callers) {
  const char *key[] = { "c1_bool" };
  SampleUnits u;
  sample(&u, 5, 1);
  for (size_t keys = 0; keys <= 1; keys++) {
    Query *q = make_query(&u, key, keys);
    check_without_memory(q, &u, 2);
    query_destroy(q);
  }
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}
