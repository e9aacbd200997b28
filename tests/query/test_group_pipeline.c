/* Groups that are many among the rows, by several threads: those of one, in its order and to the bit. */
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "os/team.h"
#include "query/query.h"
#include "tests/columnar/sample_units.h"
#include "tests/query/answer_bytes.h"
#include "tests/query/outside.h"
#include "tests/query/watcher.h"
#include "tests/query/without_memory.h"
#include "tests/support/test.h"

static uint64_t pipelines(void) { return counter_get(COUNTER_group_pipelines); }

static void sample(SampleUnits *u, uint64_t seed, uint32_t times) {
  sample_units_mixed(u, 4500 * times, 750 * times, 800, seed);
}

typedef struct Ask {
  AggregateKind kind;
  const char *column;
} Ask;

static Query *make_query(const SampleUnits *u, const char *where, const char *const *keys, size_t key_count,
                         const Ask *asks, size_t ask_count) {
  Query *q;
  CHECK_OK(query_create(&u->schema, &q));
  if (*where) CHECK_OK(query_where(q, where, strlen(where), NULL, 0));
  for (size_t i = 0; i < ask_count; i++) CHECK_OK(query_aggregate(q, asks[i].kind, asks[i].column));
  CHECK_OK(query_group_by(q, keys, key_count));
  return q;
}

static Status answer(Query *q, const SampleUnits *u, const QuerySpace *space, uint32_t threads, Buffer *out,
                     ScanCounters *counters) {
  return answer_bytes(q, sample_units_snapshot(u), space, threads, out, counters);
}

/* By two threads and more, each of which is there from the first unit on. */
static void check_threads(const SampleUnits *u, Query *q) {
  static const uint32_t threads[] = { 2, 3, 11 };
  Buffer one = { 0 }, many = { 0 };
  ScanCounters counters, others;
  uint64_t before = pipelines();
  CHECK_OK(answer(q, u, NULL, 1, &one, &counters));
  CHECK(one.length > 0);
  CHECK_INT(pipelines(), before);
  for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
    CHECK_OK(answer(q, u, NULL, threads[t], &many, &others));
    CHECK_INT(pipelines(), before + t + 1);
    check_same_answer(&one, &many);
    CHECK_INT(others.rows, counters.rows);
    CHECK_INT(others.rows_selected, counters.rows_selected);
    CHECK_INT(others.blocks, counters.blocks);
    CHECK_INT(others.blocks_skipped, counters.blocks_skipped);
  }
  buffer_release(&one);
  buffer_release(&many);
}

static const Ask of_states[] = {
  { AGGREGATE_ROWS, NULL },           { AGGREGATE_TOTAL, "c10_f64" },     { AGGREGATE_MEAN, "c9_f32" },
  { AGGREGATE_VARIANCE, "c4_i32" },   { AGGREGATE_TOTAL, "c16_i64" },     { AGGREGATE_LEAST, "c8_u64" },
  { AGGREGATE_GREATEST, "c11_date" }, { AGGREGATE_VALUES, "c13_string" }, { AGGREGATE_TOTAL, "c4_i32 * 0.1" },
};
static const Ask of_slots[] = {
  { AGGREGATE_ROWS, NULL },         { AGGREGATE_TOTAL, "c5_u8" },   { AGGREGATE_LEAST, "c2_i8" },
  { AGGREGATE_GREATEST, "c6_u16" }, { AGGREGATE_VALUES, "c3_i16" },
};
#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static const struct {
  const char *keys[3];
  size_t count;
} keys_of[] = {
  { { "c0_i64 % 7001" }, 1 },
  { { "case when c2_i8 > 100 then null else c0_i64 % 7001 end" }, 1 },
  { { "cast(c0_i64 % 5003 as string)" }, 1 },
  { { "(c0_i64 % 7001) * 0.5" }, 1 },
  { { "c0_i64 % 101", "c0_i64 % 97" }, 2 },
  { { "c1_bool", "c0_i64 % 503", "cast(c0_i64 % 11 as string)" }, 3 },
};

static const uint64_t seeds[] = { 1, 8 }; /* of which keys are many */

/* Groups by each of the keys from `first` on. */
static void check_keys(size_t first, const Ask *asks, size_t ask_count) {
  team_meet(true);
  for (size_t n = 0; n < COUNT_OF(seeds); n++) {
    SampleUnits u;
    sample(&u, seeds[n], 1);
    for (size_t i = first; i < COUNT_OF(keys_of); i++) {
      const char *where = (i + seeds[n]) % 2 ? "c4_i32 % 7 <> 1" : "";
      Query *q = make_query(&u, where, keys_of[i].keys, keys_of[i].count, asks, ask_count);
      check_threads(&u, q);
      query_destroy(q);
    }
    sample_units_release(&u);
  }
  team_meet(false);
  CHECK_INT(memory_blocks_held(), 0);
}

TEST(group_pipeline, many_threads_give_the_groups_of_one_in_their_order) {
  check_keys(0, of_states, COUNT_OF(of_states));
}

/* Where nothing depends on an order, groups of such keys lie in slots by their numbers. */
TEST(group_pipeline, groups_in_slots_are_those_of_one_thread_too) {
  uint64_t in_slots = counter_get(COUNTER_groups_ids_units);
  check_keys(2, of_slots, COUNT_OF(of_slots));
  CHECK(counter_get(COUNTER_groups_ids_units) > in_slots);
}

/* A helper may come late, or never: whoever is there does what is to be done. */
TEST(group_pipeline, nobody_waits_for_who_does_not_come) {
  SampleUnits u;
  sample(&u, 4, 1);
  Query *q = make_query(&u, "", keys_of[0].keys, 1, of_states, COUNT_OF(of_states));
  for (int i = 0; i < 6; i++) check_threads(&u, q);
  query_destroy(q);
  sample_units_release(&u);
}

/* Rows of some units have few values in a column, by which these go by arrays: one thread adds them. */
TEST(group_pipeline, a_unit_of_few_codes_ends_it) {
  static const char *const keys[] = { "case when c0_i64 < 0 then c0_i64 % 3 else c0_i64 end" };
  SampleUnits u;
  sample(&u, 5, 1);
  Query *q = make_query(&u, "", keys, 1, of_states, COUNT_OF(of_states));
  uint64_t hashed = counter_get(COUNTER_groups_hashed_units);
  team_meet(true);
  Buffer one = { 0 }, many = { 0 };
  CHECK_OK(answer(q, &u, NULL, 1, &one, NULL));
  CHECK(counter_get(COUNTER_groups_hashed_units) > hashed);
  CHECK_OK(answer(q, &u, NULL, 2, &many, NULL));
  check_same_answer(&one, &many);
  team_meet(false);
  buffer_release(&one);
  buffer_release(&many);
  query_destroy(q);
  sample_units_release(&u);
}

/* ---- memory ---- */

/* Some 50,000 groups of a KiB and more each: half of the limit is reached midway. */
TEST(group_pipeline, when_half_of_the_memory_is_used_one_thread_goes_on) {
  static const char *const keys[] = { "c0_i64" };
  static const AggregateKind kinds[] = { AGGREGATE_TOTAL, AGGREGATE_LEAST, AGGREGATE_GREATEST, AGGREGATE_VARIANCE };
  SampleUnits u;
  sample(&u, 9, 4);
  Query *q = make_query(&u, "", keys, 1, of_states, COUNT_OF(of_states));
  for (uint32_t c = 0; c < u.schema.column_count; c++) {
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
      if (type_is_string(u.schema.columns[c].type)) continue;
      if (query_aggregate(q, kinds[k], u.schema.columns[c].name) != KVSTORE_OK) status_clear(); /* not of this type */
    }
  }
  QueryOrder order = { .column = keys[0] };
  CHECK_OK(query_order_by(q, &order, 1));
  Buffer one = { 0 }, many = { 0 }, outside = { 0 };
  team_meet(true);
  for (int large = 0; large < 2; large++) {
    uint64_t limit = (large ? UINT64_C(1024) : UINT64_C(180)) << 20; /* groups have three quarters of it */
    QuerySpace space = { .memory_limit = limit, .context = &outside, .write = write_outside, .read = read_outside };
    uint64_t before = pipelines(), hashed = counter_get(COUNTER_groups_hashed_units);
    CHECK_OK(answer(q, &u, &space, 1, &one, NULL));
    uint64_t alone = counter_get(COUNTER_groups_hashed_units) - hashed;
    hashed += alone;
    CHECK_OK(answer(q, &u, &space, 2, &many, NULL));
    CHECK_INT(pipelines(), before + 1);
    check_same_answer(&one, &many);
    hashed = counter_get(COUNTER_groups_hashed_units) - hashed;
    CHECK(large ? hashed == 2 : hashed > 2 && hashed < alone); /* two are looked at first */
    buffer_clear(&outside);
  }
  QuerySpace little = { .memory_limit = 64 << 20, .context = &outside, .write = write_outside, .read = read_outside };
  uint64_t before = pipelines();
  CHECK_OK(answer(q, &u, &little, 2, &many, NULL));
  CHECK_INT(pipelines(), before);
  check_same_answer(&one, &many);
  team_meet(false);
  buffer_release(&one);
  buffer_release(&many);
  buffer_release(&outside);
  query_destroy(q);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}

TEST(group_pipeline, without_memory_it_fails_and_leaves_nothing) {
  SampleUnits u;
  sample(&u, 7, 1);
  Query *q = make_query(&u, "c4_i32 > 5", keys_of[4].keys, 2, of_states, COUNT_OF(of_states));
  uint64_t before = pipelines();
  check_without_memory(q, &u, 20);
  CHECK(pipelines() > before + 1);
  query_destroy(q);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}

/* ---- failures and those who watch ---- */

static void check_failure(const SampleUnits *u, const char *key, const char *total) {
  const Ask asks[] = { { AGGREGATE_TOTAL, "c10_f64" }, { AGGREGATE_TOTAL, total } };
  Query *q = make_query(u, "", &key, 1, asks, 2);
  Buffer out = { 0 };
  CHECK_STATUS(answer(q, u, NULL, 1, &out, NULL), KVSTORE_TYPE);
  Failure one = *status_last();
  uint64_t before = pipelines();
  for (int i = 0; i < 20; i++) {
    CHECK_STATUS(answer(q, u, NULL, 2 + (uint32_t)i % 3, &out, NULL), KVSTORE_TYPE);
    CHECK_STR(status_last()->text, one.text);
    CHECK_STR(status_last()->column, one.column);
    CHECK_STR(status_last()->value, one.value);
  }
  CHECK_INT(pipelines(), before + 20);
  buffer_release(&out);
  query_destroy(q);
}

/* Few rows fail, of units in the middle: of an aggregate, of a key, of both. */
TEST(group_pipeline, the_failure_told_is_that_of_the_first_row) {
  static const char fails[] = "case when c0_i64 > 4000000000000000000 then 100 / (c16_i64 - 7) else 1 end";
  static const char key_fails[] = "c0_i64 % 7001 + case when c0_i64 > 4500000000000000000 then 1 / (c16_i64 - 9) "
                                  "else 0 end";
  SampleUnits u;
  sample(&u, 8, 1);
  team_meet(true);
  check_failure(&u, "c0_i64 % 7001", fails);
  check_failure(&u, key_fails, "c16_i64");
  check_failure(&u, key_fails, fails);
  team_meet(false);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}

TEST(group_pipeline, who_watches_is_called_on_the_callers_thread_and_may_cancel) {
  SampleUnits u;
  sample(&u, 9, 1);
  Query *q = make_query(&u, "", keys_of[0].keys, 1, of_states, COUNT_OF(of_states));
  Buffer out = { 0 };
  uint64_t before = pipelines();
  team_meet(true);
  for (uint32_t cancel_at = 0; cancel_at < 6; cancel_at++) {
    Watch w = watch_from(cancel_at);
    QuerySpace space = watched_space(&w);
    CHECK_STATUS(answer(q, &u, &space, 2, &out, NULL), cancel_at ? KVSTORE_CANCELLED : KVSTORE_OK);
    CHECK(cancel_at ? w.calls == cancel_at : w.calls >= 5);
    CHECK_INT(w.rows_total, 3 * 4500 + 2 * 800);
  }
  team_meet(false);
  CHECK(pipelines() > before + 1);
  buffer_release(&out);
  query_destroy(q);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}
