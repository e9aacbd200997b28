/* What leaves memory and comes back counts as if it had stayed. Groups of rows that left: test_groups.c. */
#include "base/counters.h"
#include "base/memory.h"
#include "query/query.h"
#include "query/spill.h"
#include "tests/query/answer_bytes.h"
#include "tests/query/outside.h"
#include "tests/support/test.h"

enum { PAIR_ROWS = 60000, PAIR_GROUPS = 64, PAIR_VALUES = 512 };

/* Groups that share their values: of one batch some rows leave once more because their value is not taken in, others
 * because their pair is not. Each must go where the same pair went before, or that is counted twice. */
TEST(group_spill, different_values_that_groups_share_are_counted_once) {
  static int64_t groups[PAIR_ROWS], values[PAIR_ROWS];
  static bool is_there[PAIR_GROUPS][PAIR_VALUES];
  static char names[2][6] = { "group", "value" };
  Column columns[2] = { { .id = 1, .type = TYPE_I64, .name = names[0] },
                        { .id = 2, .type = TYPE_I64, .name = names[1] } };
  const Schema schema = { .columns = columns, .column_count = 2, .version = 1 };
  const ColumnArray arrays[2] = { { groups, NULL }, { values, NULL } };
  ScanUnit unit = { .kind = SCAN_UNIT_ARRAYS, .row_count = PAIR_ROWS, .columns = arrays };
  const TableSnapshot snapshot = { .schema = &schema, .units = &unit, .unit_count = 1 };
  Buffer file = { 0 }, answer = { 0 }, wanted = { 0 };
  QuerySpace little = { .memory_limit = 1 << 16, .context = &file, .write = write_outside, .read = read_outside };
  uint64_t seed = 1;
  for (uint32_t i = 0; i < PAIR_ROWS; i++) {
    groups[i] = (int64_t)test_random_below(&seed, PAIR_GROUPS);
    values[i] = (int64_t)test_random_below(&seed, PAIR_VALUES) << 40;
    is_there[groups[i]][values[i] >> 40] = true;
  }
  for (uint64_t group = 0; group < PAIR_GROUPS; group++) {
    uint64_t count = 0;
    for (uint32_t v = 0; v < PAIR_VALUES; v++) count += is_there[group][v];
    buffer_u8(&wanted, 0);
    buffer_u64(&wanted, group);
    buffer_u8(&wanted, 0);
    buffer_u64(&wanted, count);
  }
  Query *q;
  CHECK_OK(query_create(&schema, &q));
  CHECK_OK(query_aggregate(q, AGGREGATE_DISTINCT, "value"));
  CHECK_OK(query_group_by(q, (const char *[]){ "group" }, 1));
  CHECK_OK(query_order_by(q, &(QueryOrder){ .column = "group" }, 1));
  uint64_t parts = counter_get(COUNTER_row_parts_read);
  CHECK_OK(answer_bytes(q, snapshot, &little, 1, &answer, NULL));
  check_same_answer(&wanted, &answer);
  CHECK(counter_get(COUNTER_row_parts_read) > parts + 32);
  query_destroy(q);
  buffer_release(&file);
  buffer_release(&answer);
  buffer_release(&wanted);
  CHECK_INT(memory_blocks_held(), 0);
}

/* Of so many runs that they are merged over and over a record is written anew as often as runs double, about. */
TEST(group_spill, many_runs_are_merged_a_few_times_each) {
  enum { RUNS = 600, DOUBLINGS = 10, KEY = 2, VALUES = 1000, LENGTHS = 8, STEP = 77 };
  Buffer outside = { 0 };
  const QuerySpace space = {
    .memory_limit = 1 << 15, .context = &outside, .write = write_outside, .read = read_outside
  };
  uint8_t bytes[LENGTHS + KEY + VALUES] = { 0 };
  uint64_t merged = counter_get(COUNTER_spills_merged);
  const Record *record = NULL;
  Spill *spill = NULL;
  CHECK_OK(spill_create(&space, &spill));
  store_u32(bytes, KEY);
  store_u32(bytes + sizeof(uint32_t), VALUES);
  for (uint32_t i = 0; i < RUNS; i++) {
    uint32_t number = i * STEP % RUNS; /* each once */
    bytes[LENGTHS] = (uint8_t)(number >> 8);
    bytes[LENGTHS + 1] = (uint8_t)number;
    const Record one = { .head = bytes_prefix64(bytes + LENGTHS, KEY), .bytes = bytes };
    CHECK_OK(spill_run(spill, &one, 1));
  }
  CHECK(counter_get(COUNTER_spills_merged) > merged);
  CHECK(spill_bytes(spill) < (uint64_t)DOUBLINGS * RUNS * sizeof bytes);
  for (uint32_t i = 0; i < RUNS; i++) {
    CHECK_OK(spill_next(spill, &record));
    CHECK(record != NULL);
    const uint8_t *key = record_key(record).data;
    CHECK_INT(key[0] << 8 | key[1], i);
    CHECK_INT(record_values(record).length, VALUES);
  }
  CHECK_OK(spill_next(spill, &record));
  CHECK(record == NULL);
  spill_destroy(spill);
  buffer_release(&outside);
  CHECK_INT(memory_blocks_held(), 0);
}
