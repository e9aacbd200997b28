/* Joins by partitions: rows come back as they left; every kind of join gives the sums of plain loops, whatever the
 * memory, and reads its rows once; what fails outside of memory is told. */
#include "query/join_spill.h"

#include <stdio.h>

#include "base/counters.h"
#include "base/memory.h"
#include "query/join.h"
#include "tests/columnar/sample_table.h"
#include "tests/query/outside.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

/* ---- rows leave and come back ---- */

enum { PARTITIONS = 8 };

/* The rows of every partition twice: those that left, in their order. */
static void check_back(JoinSpill *spill, const SampleTable *t, const bool *kept) {
  for (uint32_t p = 0; p < PARTITIONS; p++)
    for (int again = 0; again < 2; again++) {
      uint32_t row = p;
      join_spill_begin(spill, p);
      for (;;) {
        ScanUnit piece;
        bool found;
        CHECK_OK(join_spill_next(spill, &piece, &found));
        if (!found) break;
        for (uint32_t i = 0; i < piece.row_count; i++, row += PARTITIONS)
          for (uint32_t c = 0; c < t->schema.column_count; c++) {
            CHECK_INT(piece.columns[c].values != NULL, kept[c]);
            if (!kept[c]) continue;
            Value back = { .type = t->columns[c].type, .is_null = piece.columns[c].nulls[i] };
            if (!back.is_null) back = value_from_array(back.type, piece.columns[c].values, i);
            Value left = sample_value(t, c, row);
            CHECK(sample_same_value(&back, &left));
          }
      }
      CHECK(row >= t->row_count && row < t->row_count + PARTITIONS);
    }
}

TEST(join_spill, rows_come_back_as_they_left) {
  SampleTable t = { 0 };
  Buffer outside = { 0 };
  const QuerySpace space = { .context = &outside, .write = write_outside, .read = read_outside };
  bool kept[SAMPLE_COLUMNS_MAX];
  sample_every_type(&t);
  sample_fill(&t, 3000, 0, 1);
  for (uint32_t c = 0; c < SAMPLE_COLUMNS_MAX; c++) kept[c] = c != 3;
  const JoinSpillOptions options = { &space, &t.schema, kept, 3, 1 << 16 };
  const ScanUnit unit = { .kind = SCAN_UNIT_ARRAYS, .row_count = t.row_count, .columns = t.arrays };
  JoinSpill *spill;
  Scan *scan;
  CHECK_OK(join_spill_create(&options, &spill));
  CHECK_OK(scan_create(&t.schema, NULL, 0, &scan));
  CHECK_OK(scan_unit(scan, &unit));
  for (uint32_t block = 0; block * BLOCK_ROWS < t.row_count; block++) {
    uint16_t rows[BLOCK_ROWS], partitions[BLOCK_ROWS];
    uint32_t count = scan_block_rows(&unit, block);
    for (uint32_t i = 0; i < count; i++) {
      rows[i] = (uint16_t)i;
      partitions[i] = (uint16_t)((block * BLOCK_ROWS + i) % PARTITIONS);
    }
    CHECK_OK(join_spill_add(spill, scan, block, rows, partitions, count));
  }
  CHECK_OK(join_spill_end(spill));
  CHECK_INT(join_spill_bytes(spill), outside.length);
  CHECK_INT(join_spill_rows(spill, 0), (t.row_count + PARTITIONS - 1) / PARTITIONS);
  check_back(spill, &t, kept);
  for (size_t i = 0; i < outside.length; i++) outside.data[i] = i % 2 ? 0xff : 0; /* a string longer than all of it */
  join_spill_begin(spill, 0);
  ScanUnit piece;
  bool found;
  CHECK_INT(join_spill_next(spill, &piece, &found), KVSTORE_CORRUPT);
  scan_destroy(scan);
  join_spill_destroy(spill);
  buffer_release(&outside);
  sample_release(&t);
  CHECK_INT(memory_blocks_held(), 0);
}

TEST(join_spill, partitions_are_about_equally_large) {
  static const uint64_t steps[] = { 1, 64, UINT64_C(1) << 32, UINT64_C(0x9E3779B97F4A7C15) };
  for (size_t s = 0; s < 4; s++) {
    uint32_t counts[64] = { 0 };
    for (uint64_t i = 0; i < 6400; i++) counts[join_spill_partition(i * steps[s], 6)]++;
    for (size_t p = 0; p < 64; p++) CHECK(counts[p] > 40 && counts[p] < 180);
  }
  CHECK_INT(join_spill_partition(12345, 0), 0);
}

/* ---- joins ---- */

enum { OWN_ROWS = 6000, OTHER_ROWS = 9000, KEYS = 2500, NULL_ONE_IN = 11 };

/* id, key (some null), text, and a number that a third table is joined by. */
typedef struct Hand {
  Column columns[4];
  Schema schema;
  ColumnArray arrays[4];
  int64_t ids[OTHER_ROWS], keys[OTHER_ROWS], thirds[OTHER_ROWS];
  uint8_t nulls[OTHER_ROWS];
  Bytes texts[OTHER_ROWS];
  char letters[OTHER_ROWS][24];
  ScanUnit unit;
  uint32_t rows;
} Hand;
static Hand own, other, third;

static void hand_create(Hand *h, uint32_t rows, uint64_t seed, uint64_t keys) {
  static char names[][8] = { "id", "key", "text", "third" };
  static const ColumnType types[] = { TYPE_I64, TYPE_I64, TYPE_STRING, TYPE_I64 };
  *h = (Hand){ .rows = rows };
  for (uint32_t c = 0; c < 4; c++)
    h->columns[c] = (Column){ .id = c + 1, .type = types[c], .name = names[c], .flags = c == 1 ? COLUMN_NULLABLE : 0 };
  h->schema = (Schema){ .columns = h->columns, .column_count = 4, .version = 1 };
  for (uint32_t i = 0; i < rows; i++) {
    h->ids[i] = i + 1;
    h->keys[i] = (int64_t)test_random_below(&seed, keys);
    h->thirds[i] = (int64_t)test_random_below(&seed, KEYS) << 40;
    h->nulls[i] = i % NULL_ONE_IN == 3;
    (void)snprintf(h->letters[i], sizeof h->letters[i], "text of %u", i);
    h->texts[i] = (Bytes){ (const uint8_t *)h->letters[i], strlen(h->letters[i]) };
  }
  h->arrays[0] = (ColumnArray){ h->ids, NULL };
  h->arrays[1] = (ColumnArray){ h->keys, h->nulls };
  h->arrays[2] = (ColumnArray){ h->texts, NULL };
  h->arrays[3] = (ColumnArray){ h->thirds, NULL };
  h->unit = (ScanUnit){ .kind = SCAN_UNIT_ARRAYS, .row_count = rows, .columns = h->arrays };
}

static TableSnapshot hand_snapshot(Hand *h) {
  return (TableSnapshot){ .schema = &h->schema, .units = &h->unit, .unit_count = 1 };
}

/* Rows, and sums of ids of both sides, the other's text lengths, and the own table's by its rows. */
typedef struct Sums {
  uint64_t rows, own_ids, other_ids, texts;
} Sums;

static void add_pair(Sums *s, uint32_t l, uint32_t r, uint64_t times) {
  s->rows += times;
  s->own_ids += times * (uint64_t)own.ids[l];
  if (r == UINT32_MAX) return;
  s->other_ids += times * (uint64_t)other.ids[r];
  s->texts += times * other.texts[r].length;
}

/* How many rows of the third table have each number: a later inner join multiplies by it. */
static void count_thirds(uint64_t counts[KEYS]) {
  memset(counts, 0, KEYS * sizeof *counts);
  for (uint32_t i = 0; i < third.rows; i++) counts[third.thirds[i] >> 40]++;
}

/* The other table's rows by key: the last one of each, and the one before each. */
static void chain_keys(uint32_t last[KEYS], uint32_t before[OTHER_ROWS]) {
  memset(last, 0xff, KEYS * sizeof *last);
  for (uint32_t r = 0; r < other.rows; r++) {
    if (other.nulls[r]) continue;
    before[r] = last[other.keys[r]];
    last[other.keys[r]] = r;
  }
}

static Sums expected(JoinKind kind, bool has_third) {
  static uint64_t thirds[KEYS];
  static uint32_t last[KEYS], before[OTHER_ROWS];
  Sums s = { 0 };
  count_thirds(thirds);
  chain_keys(last, before);
  for (uint32_t l = 0; l < own.rows; l++) {
    uint64_t times = has_third ? thirds[own.thirds[l] >> 40] : 1;
    uint32_t first = own.nulls[l] || own.keys[l] >= KEYS ? UINT32_MAX : last[own.keys[l]];
    for (uint32_t r = first; r != UINT32_MAX && kind <= JOIN_LEFT; r = before[r]) add_pair(&s, l, r, times);
    bool has = first != UINT32_MAX;
    if (kind == JOIN_SEMI ? has : kind != JOIN_INNER && !has) add_pair(&s, l, UINT32_MAX, times);
  }
  return s;
}

static void plan_add(JoinPlan *plan, JoinKind kind, Hand *h, const char *table, const char *prefix, const char *by) {
  JoinAsk ask = { .kind = kind, .schema = &h->schema, .table = table, .prefix = prefix, .count = 1 };
  ask.left = ask.right = &by;
  CHECK_OK(join_plan_add(plan, &ask));
}

typedef struct Course {
  JoinPlan *plan;
  Query *query;
  bool has_columns;
} Course;

static void course_ask(Course *c) {
  CHECK_OK(query_create(join_plan_schema(c->plan), &c->query));
  CHECK_OK(join_plan_share(c->plan, c->query));
  CHECK_OK(query_aggregate(c->query, AGGREGATE_ROWS, NULL));
  CHECK_OK(query_aggregate(c->query, AGGREGATE_TOTAL, "id"));
  if (c->has_columns) CHECK_OK(query_aggregate(c->query, AGGREGATE_TOTAL, "o_id"));
  if (c->has_columns) CHECK_OK(query_aggregate(c->query, AGGREGATE_TOTAL, "length(o_text)"));
}

static Course course_create(JoinKind kind, bool has_third) {
  Course c = { .has_columns = kind <= JOIN_LEFT };
  CHECK_OK(join_plan_create(&own.schema, &c.plan));
  plan_add(c.plan, kind, &other, "other", "o_", "key");
  if (has_third) plan_add(c.plan, JOIN_INNER, &third, "third", "t_", "third");
  course_ask(&c);
  return c;
}

static void course_end(Course *c) {
  query_destroy(c->query);
  join_plan_destroy(c->plan);
}

static Status course_run_tables(const Course *c, TableSnapshot *tables, const QuerySpace *space, Sums *sums,
                                ScanCounters *counters, uint64_t *spilled) {
  TableSnapshot joined = { 0 };
  AggregateResult results[4];
  Arena strings = { 0 };
  QuerySpace rest;
  CHECK_OK(join_open(c->plan, c->query, false, space, tables, &joined, &rest));
  memset(results, 0, sizeof results);
  Status status = query_run_within(c->query, &joined, &rest, &strings, results, NULL);
  if (status == KVSTORE_OK) {
    uint64_t found[4] = { results[0].value.u };
    for (size_t i = 1; i < (c->has_columns ? 4 : 2); i++) found[i] = results[i].is_null ? 0 : results[i].integer.low;
    *sums = (Sums){ found[0], found[1], found[2], found[3] };
  }
  *counters = join_counters(&joined);
  *spilled = join_spilled(&joined);
  table_snapshot_release(&joined);
  arena_release(&strings);
  return status;
}

static Status course_run(const Course *c, bool has_third, const QuerySpace *space, Sums *sums, ScanCounters *counters,
                         uint64_t *spilled) {
  TableSnapshot tables[] = { hand_snapshot(&own), hand_snapshot(&other), hand_snapshot(&third) };
  if (!has_third) tables[2] = (TableSnapshot){ 0 };
  return course_run_tables(c, tables, space, sums, counters, spilled);
}

static QuerySpace space_of(Buffer *outside, uint64_t limit) {
  return (QuerySpace){ .memory_limit = limit, .context = outside, .write = write_outside, .read = read_outside };
}

static void check_join(JoinKind kind, bool has_third, uint64_t limit) {
  Buffer outside = { 0 };
  QuerySpace space = space_of(&outside, limit);
  Course c = course_create(kind, has_third);
  Sums wanted = expected(kind, has_third), got = { 0 };
  ScanCounters counters;
  uint64_t spilled, passes = counter_get(COUNTER_joins_passes), tables = counter_get(COUNTER_joins_spilled);
  CHECK_OK(course_run(&c, has_third, &space, &got, &counters, &spilled));
  CHECK_INT(got.rows, wanted.rows);
  CHECK_INT(got.own_ids, wanted.own_ids);
  CHECK_INT(got.other_ids, wanted.other_ids);
  CHECK_INT(got.texts, wanted.texts);
  CHECK_INT(spilled, outside.length);
  CHECK(spilled > 0);
  CHECK_INT(counter_get(COUNTER_joins_spilled) - tables, has_third ? 2 : 1);
  CHECK_INT(counter_get(COUNTER_joins_passes), passes);
  /* Each table is read once; joined ones a second time, after it has turned out how large they are. */
  uint64_t others = other.rows + (has_third ? third.rows : 0);
  CHECK(counters.rows >= own.rows + others && counters.rows <= own.rows + 2 * others);
  course_end(&c);
  buffer_release(&outside);
}

TEST(join_spill, every_kind_gives_the_rows_of_plain_loops_and_reads_them_once) {
  hand_create(&own, OWN_ROWS, 1, KEYS + 500);
  hand_create(&other, OTHER_ROWS, 2, KEYS);
  hand_create(&third, OTHER_ROWS / 3, 3, KEYS);
  for (JoinKind kind = JOIN_INNER; kind <= JOIN_ANTI; kind++) {
    check_join(kind, false, 1 << 17);
    check_join(kind, true, 1 << 18);
  }
  CHECK_INT(memory_blocks_held(), 0);
}

/* A key that most rows have makes a partition that is hashed in parts. */
TEST(join_spill, a_partition_of_one_key_is_hashed_in_parts) {
  hand_create(&own, 300, 1, 40);
  hand_create(&other, OTHER_ROWS, 2, 40);
  for (uint32_t i = 0; i < other.rows; i++)
    if (i % 4) other.keys[i] = 7;
  for (JoinKind kind = JOIN_INNER; kind <= JOIN_ANTI; kind++) {
    Buffer outside = { 0 };
    QuerySpace space = space_of(&outside, 1 << 16);
    Course c = course_create(kind, false);
    Sums wanted = expected(kind, false), got = { 0 };
    ScanCounters counters;
    uint64_t spilled, passes = counter_get(COUNTER_joins_passes);
    CHECK_OK(course_run(&c, false, &space, &got, &counters, &spilled));
    CHECK(memcmp(&got, &wanted, sizeof got) == 0);
    CHECK(counter_get(COUNTER_joins_passes) > passes + 2);
    CHECK(counters.rows <= own.rows + 2 * other.rows);
    course_end(&c);
    buffer_release(&outside);
  }
  CHECK_INT(memory_blocks_held(), 0);
}

/* Of rows that need a partner, those stay at home for which a filter of the table's hashes has none, where there is
 * room for it: for those of 9,000 rows half of the share of 128 KiB, not that of 4 KiB. */
TEST(join_spill, rows_without_a_partner_do_not_leave) {
  uint64_t spilled[2];
  hand_create(&own, OWN_ROWS, 1, 10 * KEYS);
  hand_create(&other, OTHER_ROWS, 2, KEYS);
  for (int has_room = 0; has_room < 2; has_room++) {
    Buffer outside = { 0 };
    QuerySpace space = space_of(&outside, has_room ? 1 << 18 : 1 << 13);
    Course c = course_create(JOIN_INNER, false);
    Sums wanted = expected(JOIN_INNER, false), got = { 0 };
    ScanCounters counters;
    uint64_t without = 0, left_out = counter_get(COUNTER_joins_left_out);
    for (uint32_t l = 0; l < own.rows; l++) without += own.nulls[l] || own.keys[l] >= KEYS;
    CHECK_OK(course_run(&c, false, &space, &got, &counters, &spilled[has_room]));
    CHECK(memcmp(&got, &wanted, sizeof got) == 0);
    left_out = counter_get(COUNTER_joins_left_out) - left_out;
    CHECK(has_room ? left_out >= without * 97 / 100 : left_out < without / 4);
    course_end(&c);
    buffer_release(&outside);
  }
  CHECK(spilled[1] + (uint64_t)OWN_ROWS * 8 < spilled[0]);
  CHECK_INT(memory_blocks_held(), 0);
}

/* ---- what goes wrong ---- */

typedef struct Failing {
  Buffer outside;
  uint64_t writes, reads, calls; /* so far */
  uint64_t write_fails, read_fails, cancelled;
} Failing;

static Status write_or_fail(void *context, const void *bytes, size_t length, uint64_t *at) {
  Failing *f = context;
  if (++f->writes == f->write_fails) return status_set(KVSTORE_FULL, "the disk is full");
  return write_outside(&f->outside, bytes, length, at);
}
static Status read_or_fail(void *context, uint64_t at, void *bytes, size_t length) {
  Failing *f = context;
  if (++f->reads == f->read_fails) return status_set(KVSTORE_IO, "it cannot be read");
  return read_outside(&f->outside, at, bytes, length);
}
static Status tick_or_cancel(void *context, uint64_t rows, uint64_t rows_total) {
  Failing *f = context;
  CHECK(rows <= rows_total);
  return ++f->calls == f->cancelled ? status_set(KVSTORE_CANCELLED, "enough") : KVSTORE_OK;
}

/* Three tables, of which two go by partitions, and a query that needs to know which rows have partners. */
static Status run_failing(Failing *f) {
  const QuerySpace space = {
    .memory_limit = 1 << 16, .context = f, .write = write_or_fail, .read = read_or_fail, .tick = tick_or_cancel
  };
  Course c = course_create(JOIN_LEFT, true);
  Sums sums;
  ScanCounters counters;
  uint64_t spilled;
  Status status = course_run(&c, true, &space, &sums, &counters, &spilled);
  course_end(&c);
  buffer_release(&f->outside);
  return status;
}

static void create_few(void) {
  hand_create(&own, 700, 1, 300);
  hand_create(&other, 2500, 2, 300);
  hand_create(&third, 2500, 3, 300);
}

TEST(join_spill, a_full_disk_one_that_fails_and_who_cancels_end_it) {
  Failing all = { .write_fails = 0 };
  create_few();
  CHECK_OK(run_failing(&all));
  CHECK(all.writes > 30 && all.reads >= all.writes && all.calls > 40);
  for (uint64_t n = 1; n <= all.writes; n += 1 + n / 5) {
    Failing full = { .write_fails = n }, broken = { .read_fails = n };
    CHECK_INT(run_failing(&full), KVSTORE_FULL);
    CHECK_INT(run_failing(&broken), KVSTORE_IO);
  }
  for (uint64_t n = 1; n <= all.calls; n += 1 + n / 5) {
    Failing cancelled = { .cancelled = n };
    CHECK_INT(run_failing(&cancelled), KVSTORE_CANCELLED);
  }
  CHECK_INT(memory_blocks_held(), 0);
}

static Status write_nowhere(void *context, const void *bytes, size_t length, uint64_t *at) {
  (void)context;
  (void)bytes;
  (void)length;
  (void)at;
  return status_set(KVSTORE_READONLY, "no file may be made here");
}

TEST(join_spill, who_may_make_no_file_reads_again) {
  create_few();
  for (JoinKind kind = JOIN_INNER; kind <= JOIN_ANTI; kind++) {
    const QuerySpace space = { .memory_limit = 1 << 16, .write = write_nowhere, .read = read_outside };
    Course c = course_create(kind, true);
    Sums wanted = expected(kind, true), got = { 0 };
    ScanCounters counters;
    uint64_t spilled, passes = counter_get(COUNTER_joins_passes);
    CHECK_OK(course_run(&c, true, &space, &got, &counters, &spilled));
    CHECK(memcmp(&got, &wanted, sizeof got) == 0);
    CHECK_INT(spilled, 0);
    CHECK(counter_get(COUNTER_joins_passes) > passes + 4);
    course_end(&c);
  }
  CHECK_INT(memory_blocks_held(), 0);
}

/* Between two tables in parts one that a sieve decides, which has no stage: for each part of the last table all parts
 * of the first one come again. */
TEST(join_spill, parts_before_a_join_that_is_decided_come_again) {
  static Hand few;
  create_few();
  hand_create(&few, 100, 4, 300);
  for (JoinKind kind = JOIN_INNER; kind <= JOIN_ANTI; kind++) {
    const QuerySpace space = { .memory_limit = 1 << 16, .write = write_nowhere, .read = read_outside };
    Course c = { .has_columns = kind <= JOIN_LEFT };
    CHECK_OK(join_plan_create(&own.schema, &c.plan));
    plan_add(c.plan, kind, &other, "other", "o_", "key");
    plan_add(c.plan, JOIN_SEMI, &few, "few", "f_", "id");
    plan_add(c.plan, JOIN_INNER, &third, "third", "t_", "third");
    course_ask(&c);
    own.rows = few.rows; /* that the semi join lets through: ids are numbered from 1 */
    Sums wanted = expected(kind, true), got = { 0 };
    own.rows = own.unit.row_count;
    TableSnapshot tables[] = { hand_snapshot(&own), hand_snapshot(&other), hand_snapshot(&few), hand_snapshot(&third) };
    ScanCounters counters;
    uint64_t spilled, passes = counter_get(COUNTER_joins_passes), decided = counter_get(COUNTER_joins_decided);
    CHECK_OK(course_run_tables(&c, tables, &space, &got, &counters, &spilled));
    CHECK(memcmp(&got, &wanted, sizeof got) == 0);
    CHECK_INT(spilled, 0);
    CHECK_INT(counter_get(COUNTER_joins_decided), decided + 1);
    CHECK(counter_get(COUNTER_joins_passes) > passes + 4);
    course_end(&c);
  }
  CHECK_INT(memory_blocks_held(), 0);
}

TEST(join_spill, without_memory_it_fails_and_holds_nothing) {
  create_few();
  for (uint64_t n = 1;; n += 1 + n / 6) {
    Buffer outside = { 0 };
    QuerySpace space = space_of(&outside, 1 << 16), rest;
    Course c = course_create(JOIN_LEFT, true);
    TableSnapshot tables[] = { hand_snapshot(&own), hand_snapshot(&other), hand_snapshot(&third) }, joined = { 0 };
    AggregateResult results[4];
    Arena strings = { 0 };
    failing_memory_install(n, false);
    Status status = join_open(c.plan, c.query, false, &space, tables, &joined, &rest);
    if (status == KVSTORE_OK) status = query_run_within(c.query, &joined, &rest, &strings, results, NULL);
    table_snapshot_release(&joined);
    bool reached = failing_memory_failures() > 0;
    failing_memory_remove();
    arena_release(&strings);
    course_end(&c);
    buffer_release(&outside);
    if (!reached) break;
    CHECK(status == KVSTORE_OK || (status == KVSTORE_NOMEM && status_last()->text[0]));
  }
  CHECK_INT(memory_blocks_held(), 0);
}
