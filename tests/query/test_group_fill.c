/* Groups that several threads write into arrays at once: those of a cursor that gives batches, in the same order. */
#include <stdlib.h>

#include "base/counters.h"
#include "base/memory.h"
#include "os/team.h"
#include "query/query.h"
#include "tests/columnar/sample_units.h"
#include "tests/query/answer_bytes.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

enum { OUTPUTS_MAX = 8, WORTH = 16 * 1024 };

static void sample(SampleUnits *u, uint64_t seed) {
  SampleUnitsOptions o = { .runs = 2,
                           .run_rows = 16000,
                           .segment_rows = 4000,
                           .slabs = 2,
                           .slab_rows = 700,
                           .dead_percent = 10,
                           .old_runs = true,
                           .seed = seed };
  sample_units_create(u, &o);
}

static Query *make_query(const SampleUnits *u, const char *const *keys, size_t key_count) {
  Query *q;
  CHECK_OK(query_create(&u->schema, &q));
  CHECK_OK(query_aggregate(q, AGGREGATE_ROWS, NULL));
  CHECK_OK(query_aggregate(q, AGGREGATE_TOTAL, "c3_i16"));
  CHECK_OK(query_aggregate(q, AGGREGATE_VALUES, "c3_i16"));
  CHECK_OK(query_group_by(q, keys, key_count));
  return q;
}

/* Fillings, if wanted behind a batch, and what they leave by batches: as bytes. How many rows were filled at once. */
static uint64_t fill_bytes(Query *q, TableSnapshot snapshot, uint32_t threads, bool batch_first, Buffer *out) {
  static void *values[OUTPUTS_MAX];
  static uint8_t *nulls[OUTPUTS_MAX];
  QueryCursor *cursor;
  QueryBatch batch = { 0 };
  uint64_t filled = 0, ahead;
  uint32_t count;
  buffer_clear(out);
  query_threads(q, threads);
  CHECK_OK(query_open(q, &snapshot, &cursor));
  for (size_t c = 0; c < query_column_count(q); c++) {
    values[c] = malloc(QUERY_FILL_ROWS * query_type_width(query_column(q, c)->type));
    nulls[c] = malloc(QUERY_FILL_ROWS);
  }
  CHECK_OK(query_ahead(cursor, &ahead));
  do {
    count = 0;
    if (!batch_first) CHECK_OK(query_fill(cursor, QUERY_FILL_ROWS, values, nulls, &count));
    for (uint32_t row = 0; row < count; row++)
      for (uint32_t c = 0; c < query_column_count(q); c++) {
        ColumnArray array = { .values = values[c], .nulls = nulls[c] };
        append_answer_value(out, query_column(q, c)->type, &array, row);
      }
    filled += count;
    if (!count) CHECK_OK(query_next(cursor, &batch));
    for (uint32_t row = 0; !count && row < batch.row_count; row++)
      for (uint32_t c = 0; c < batch.column_count; c++)
        append_answer_value(out, query_column(q, c)->type, &batch.columns[c], row);
    batch_first = false;
  } while (count || batch.row_count);
  for (size_t c = 0; c < query_column_count(q); c++) {
    free(values[c]);
    free(nulls[c]);
  }
  query_close(cursor);
  CHECK(filled <= ahead || !ahead); /* nobody knows while rows are left out */
  return filled;
}

static const struct {
  const char *keys[2];
  size_t count;
} of[] = {
  { { "c10_f64" }, 1 }, { { "c4_i32" }, 1 }, { { "c16_i64" }, 1 }, { { "c2_i8", "c4_i32" }, 2 }, { { "c2_i8" }, 1 }
};

TEST(group_fill, arrays_have_what_batches_have_whoever_writes_them) {
  SampleUnits u;
  Buffer one = { 0 }, filled = { 0 };
  bool was_large = false;
  sample(&u, 5);
  team_meet(true);
  for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
    Query *q = make_query(&u, of[i].keys, of[i].count);
    CHECK_OK(answer_bytes(q, sample_units_snapshot(&u), NULL, 1, &one, NULL));
    for (uint32_t threads = 1; threads <= 4; threads += 3) {
      uint64_t before = counter_get(COUNTER_groups_filled);
      uint64_t rows = fill_bytes(q, sample_units_snapshot(&u), threads, false, &filled);
      check_same_answer(&one, &filled);
      CHECK(rows > 0);
      CHECK_INT(counter_get(COUNTER_groups_filled) > before, threads > 1 && rows >= WORTH);
      was_large |= rows >= WORTH;
    }
    fill_bytes(q, sample_units_snapshot(&u), 4, true, &filled);
    check_same_answer(&one, &filled);
    query_destroy(q);
  }
  CHECK(was_large);
  team_meet(false);
  buffer_release(&one);
  buffer_release(&filled);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}

/* Of keys that ascend, parts have slots that only have to stand one behind the other. */
TEST(group_fill, slots_of_parts_are_copied_by_all_of_them) {
  SampleUnits u;
  Buffer one = { 0 }, many = { 0 };
  const char *key[] = { "c0_i64 / 8000000000000000" };
  SampleUnitsOptions o = { .runs = 1, .run_rows = 9000, .segment_rows = 1000, .seed = 8 };
  sample_units_create(&u, &o);
  team_meet(true);
  Query *q = make_query(&u, key, 1);
  CHECK_OK(answer_bytes(q, sample_units_snapshot(&u), NULL, 1, &one, NULL));
  for (uint32_t threads = 2; threads <= 3; threads++) {
    uint64_t copied = counter_get(COUNTER_group_slots_copied);
    CHECK_OK(answer_bytes(q, sample_units_snapshot(&u), NULL, threads, &many, NULL));
    CHECK(counter_get(COUNTER_group_slots_copied) > copied);
    check_same_answer(&one, &many);
  }
  team_meet(false);
  query_destroy(q);
  buffer_release(&one);
  buffer_release(&many);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}

/* Whoever makes room for the rows makes none for what was counted. */
TEST(group_fill, rows_ahead_are_groups_however_many_values_they_have) {
  SampleUnits u;
  QueryCursor *cursor;
  Query *q;
  uint64_t ahead;
  const char *key[] = { "c2_i8" };
  sample(&u, 7);
  TableSnapshot snapshot = sample_units_snapshot(&u);
  CHECK_OK(query_create(&u.schema, &q));
  CHECK_OK(query_aggregate(q, AGGREGATE_DISTINCT, "c10_f64"));
  CHECK_OK(query_group_by(q, key, 1));
  CHECK_OK(query_open(q, &snapshot, &cursor));
  CHECK_OK(query_ahead(cursor, &ahead));
  CHECK(ahead > 0 && ahead <= 257); /* an i8, or null */
  query_close(cursor);
  query_destroy(q);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}

TEST(group_fill, offset_and_limit_hold_and_what_is_ordered_or_filtered_comes_in_batches) {
  SampleUnits u;
  Buffer one = { 0 }, filled = { 0 };
  const char *key[] = { "c10_f64" };
  sample(&u, 6);
  Query *q = make_query(&u, key, 1);
  query_limit(q, 1500, 5000);
  CHECK_OK(answer_bytes(q, sample_units_snapshot(&u), NULL, 1, &one, NULL));
  uint64_t rows = fill_bytes(q, sample_units_snapshot(&u), 2, false, &filled);
  CHECK(rows > 0 && rows < 5000); /* the first come in batches, until as many are left out */
  check_same_answer(&one, &filled);
  query_limit(q, 0, QUERY_NO_LIMIT);
  CHECK_OK(query_having(q, "count(*) > 0", 12, NULL, 0));
  CHECK_OK(answer_bytes(q, sample_units_snapshot(&u), NULL, 1, &one, NULL));
  CHECK_INT(fill_bytes(q, sample_units_snapshot(&u), 2, false, &filled), 0);
  check_same_answer(&one, &filled);
  query_destroy(q);
  buffer_release(&one);
  buffer_release(&filled);
  sample_units_release(&u);
  CHECK_INT(memory_blocks_held(), 0);
}
