/* Groups of one integer key that lie in slots: those of a plain loop over the rows, in the order in which they are met,
 * whichever way the keys go, by one thread and by several, and with little memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "os/team.h"
#include "query/query.h"
#include "tests/columnar/sample_table.h"
#include "tests/query/answer_bytes.h"
#include "tests/query/outside.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

/* ---- a table: row number, key, values; its last rows may be a slab ---- */

enum {
  MADE_ROWS = 9000,
  SEGMENT = 1500,
  SEGMENTS = MADE_ROWS / SEGMENT,
  SLAB = 400,
  ALL_ROWS = MADE_ROWS + SLAB,
  C_ROW = 0,
  C_KEY,
  C_SIGNED, /* from -100 to 4,900 */
  C_NULLABLE,
  C_UNSIGNED, /* beyond i64 */
  C_WIDE,     /* anything: of 64 bits */
  C_TEXT,
  C_NAME,  /* one of NAMES, or null */
  C_PLACE, /* from 3 on, SITES of them */
  COLUMNS
};
enum { FEW_NAMES = 10, NAMES = 50, LATE_NAMES = 400, SITES = 70 };
typedef enum Names {
  NAMES_EVEN,
  NAMES_LATE, /* many more from the fifth segment on */
  NAMES_GROW  /* few in the first segment, and a place each: fewer combinations than slots are made for */
} Names;

typedef enum Keys {
  KEYS_ASCEND,  /* four rows each, over the ends of blocks and segments */
  KEYS_LONG,    /* one key has more than a segment */
  KEYS_SCATTER, /* twelve numbers for each row, many more than a unit has codes */
  KEYS_TURN,    /* ascending up to the middle of a segment, then scattered */
  KEYS_APART,   /* ascending, then so far apart that there is no window */
  KEYS_NULL,    /* ascending, then one is null */
  KEYS_ROTATED, /* ascending, but the second half of the segments stands first; one group lies in both */
  KEYS_OVERLAP, /* the same, and the first half ends beyond the beginning of the second */
  KEYS_NEAR,    /* scattered, each of them often */
  KEYS_KINDS
} Keys;

typedef struct Made {
  SampleTable table;
  SampleStore store;
  ColumnRun *run;
  ScanUnit units[SEGMENTS + 1];
  ColumnArray slab[COLUMNS];
  uint32_t row_count;
  Names names_kind;
  uint32_t first_segment;
  int64_t rows[ALL_ROWS], keys[ALL_ROWS], numbers[ALL_ROWS], wide[ALL_ROWS];
  int32_t nullable[ALL_ROWS];
  uint64_t large[ALL_ROWS];
  Bytes texts[ALL_ROWS], names[ALL_ROWS];
  char name_texts[LATE_NAMES][8];
  uint32_t name_numbers[ALL_ROWS];
  int16_t places[ALL_ROWS];
  uint8_t key_nulls[ALL_ROWS], nulls[ALL_ROWS], name_nulls[ALL_ROWS];
} Made;

static int64_t key_of(Keys kind, uint32_t i, uint64_t *random) {
  int64_t ascending = 70000 + i / 4 * 20, /* a segment's lie too far apart to be codes */
    scattered = 70000 + (int64_t)test_random_below(random, 108000);
  bool turned = i >= SEGMENT + 1100;
  switch (kind) {
  case KEYS_LONG: return i >= 700 && i < 4000 ? 80000 : 70000 + i * 10;
  case KEYS_SCATTER: return i < 2 ? 70000 + i * 107999 : scattered;
  case KEYS_NEAR: return 70000 + scattered % 900 * 10;
  case KEYS_TURN: return turned ? scattered : ascending;
  case KEYS_APART: /* too many values for a dictionary, whose units would give groups in its order */
    return turned && i % 7 == 0 ? (int64_t)(test_random(random) >> 1) : ascending + (turned ? i % 4 : 0);
  case KEYS_ROTATED: return 70000 + i / 7 * 20;
  case KEYS_OVERLAP: return 70000 + (i < MADE_ROWS / 2 ? i + 1000 : i) / 7 * 20;
  default: return ascending;
  }
}

static uint32_t names_at(const Made *m, uint32_t i) {
  if (m->names_kind == NAMES_LATE && i >= 4 * SEGMENT) return LATE_NAMES;
  return m->names_kind == NAMES_GROW && i < SEGMENT ? FEW_NAMES : NAMES;
}

static void fill_names(Made *m, uint64_t *random) {
  for (uint32_t n = 0; n < LATE_NAMES; n++) snprintf(m->name_texts[n], sizeof m->name_texts[n], "name%u", n);
  for (uint32_t i = 0; i < m->row_count; i++) {
    uint32_t n = (uint32_t)test_random_below(random, names_at(m, i));
    m->name_nulls[i] = test_random_below(random, 20) == 0;
    m->name_numbers[i] = m->name_nulls[i] ? LATE_NAMES : n;
    m->names[i] = (Bytes){ (const uint8_t *)m->name_texts[n], m->name_nulls[i] ? 0 : strlen(m->name_texts[n]) };
    m->places[i] = (int16_t)(3 + (m->names_kind == NAMES_GROW ? n : test_random_below(random, SITES)));
  }
}

/* What the slab has beyond the zones of segments, in its last row. */
typedef enum Beyond { BEYOND_NOTHING, BEYOND_KEYS, BEYOND_VALUES, BEYOND_KINDS } Beyond;

static void go_beyond(Made *m, Beyond beyond) {
  uint32_t last = m->row_count - 1;
  if (beyond == BEYOND_KEYS) m->keys[last] = 69999;
  if (beyond == BEYOND_VALUES) m->numbers[last] = -70000;
}

static void fill(Made *m, Keys kind, uint64_t seed) {
  uint64_t random = seed;
  fill_names(m, &random);
  for (uint32_t i = 0; i < m->row_count; i++) {
    m->rows[i] = i;
    m->keys[i] = key_of(kind, i, &random);
    m->key_nulls[i] = kind == KEYS_NULL && i == 3 * SEGMENT + 5;
    m->numbers[i] = (int64_t)test_random_below(&random, 5000) - 100;
    m->nulls[i] = test_random_below(&random, 3) == 0;
    m->nullable[i] = m->nulls[i] ? 0 : (int32_t)test_random_below(&random, 2000000) - 1000000;
    m->large[i] = (UINT64_C(1) << 63) + test_random_below(&random, 1000);
    m->wide[i] = (int64_t)test_random(&random);
    m->texts[i] = (Bytes){ (const uint8_t *)"ab", i % 3 };
  }
}

static void show(Made *m, uint32_t from, ColumnArray *arrays) {
  arrays[C_ROW] = (ColumnArray){ m->rows + from, NULL };
  arrays[C_KEY] = (ColumnArray){ m->keys + from, m->key_nulls + from };
  arrays[C_SIGNED] = (ColumnArray){ m->numbers + from, NULL };
  arrays[C_NULLABLE] = (ColumnArray){ m->nullable + from, m->nulls + from };
  arrays[C_UNSIGNED] = (ColumnArray){ m->large + from, NULL };
  arrays[C_WIDE] = (ColumnArray){ m->wide + from, NULL };
  arrays[C_TEXT] = (ColumnArray){ m->texts + from, NULL };
  arrays[C_NAME] = (ColumnArray){ m->names + from, m->name_nulls + from };
  arrays[C_PLACE] = (ColumnArray){ m->places + from, NULL };
}

static Made *make_with(Keys kind, bool has_slab, Names names, uint64_t seed) {
  static const ColumnType types[COLUMNS] = { TYPE_I64, TYPE_I64,    TYPE_I64,    TYPE_I32, TYPE_U64,
                                             TYPE_I64, TYPE_STRING, TYPE_STRING, TYPE_I16 };
  Made *m = calloc(1, sizeof *m);
  ColumnRunOptions options = { .segment_rows = SEGMENT };
  m->row_count = has_slab ? ALL_ROWS : MADE_ROWS;
  m->names_kind = names;
  fill(m, kind, seed);
  for (uint32_t c = 0; c < COLUMNS; c++)
    sample_add_column(&m->table, types[c], c == C_KEY || c == C_NULLABLE || c == C_NAME ? COLUMN_NULLABLE : 0);
  sample_add_key(&m->table, C_ROW);
  m->table.row_count = MADE_ROWS;
  show(m, 0, m->table.arrays);
  sample_sort(&m->table);
  sample_write(&m->store, &m->table, &options, 5000);
  CHECK_OK(sample_open(&m->store, &m->table.schema, &m->run));
  m->first_segment = kind == KEYS_ROTATED || kind == KEYS_OVERLAP ? SEGMENTS / 2 : 0;
  for (uint32_t u = 0; u < SEGMENTS; u++) {
    uint32_t segment = (u + m->first_segment) % SEGMENTS;
    m->units[u] = (ScanUnit){ .kind = SCAN_UNIT_SEGMENT, .row_count = SEGMENT, .run = m->run, .segment = segment };
  }
  show(m, MADE_ROWS, m->slab);
  m->units[SEGMENTS] = (ScanUnit){ .kind = SCAN_UNIT_ARRAYS, .row_count = SLAB, .columns = m->slab };
  return m;
}

static Made *make(Keys kind, bool has_slab, uint64_t seed) { return make_with(kind, has_slab, NAMES_EVEN, seed); }

static void release(Made *m) {
  column_run_close(m->run);
  sample_store_release(&m->store);
  sample_release(&m->table);
  free(m);
}

static TableSnapshot snapshot_of(const Made *m) {
  return (TableSnapshot){ .schema = &m->table.schema,
                          .units = m->units,
                          .unit_count = m->row_count > MADE_ROWS ? SEGMENTS + 1 : SEGMENTS };
}

/* ---- the plain answer ---- */

typedef struct Plain {
  bool is_null;
  int64_t key;
  uint64_t rows, values;
  int64_t sum, values_sum, least, greatest;
  int32_t values_least;
  __int128 large, wide;
} Plain;

enum { PLACES = 1 << 15 };
typedef struct Plains {
  Plain groups[ALL_ROWS];
  uint32_t count;
  uint32_t places[PLACES]; /* of groups by key, one more than their number; 0: free */
} Plains;

static uint32_t *place_of(Plains *p, bool is_null, int64_t key) {
  uint32_t at = is_null ? 0 : (uint32_t)((uint64_t)key * 40503) % PLACES;
  for (; p->places[at]; at = (at + 1) % PLACES) {
    const Plain *g = &p->groups[p->places[at] - 1];
    if (g->is_null == is_null && (is_null || g->key == key)) break;
  }
  return &p->places[at];
}

static Plain *find(Plains *p, bool is_null, int64_t key) {
  uint32_t place = *place_of(p, is_null, key);
  return place ? &p->groups[place - 1] : NULL;
}

/* Null comes before all. */
static void put_null_first(Plains *p) {
  for (uint32_t i = p->count; i-- > 1;) {
    if (!p->groups[i].is_null) continue;
    Plain null = p->groups[i];
    memmove(p->groups + 1, p->groups, i * sizeof null);
    p->groups[0] = null;
    break;
  }
  memset(p->places, 0, sizeof p->places);
  for (uint32_t i = 0; i < p->count; i++) *place_of(p, p->groups[i].is_null, p->groups[i].key) = i + 1;
}

static void add_plain(Plain *g, const Made *m, uint32_t row) {
  int64_t number = m->numbers[row];
  g->rows++;
  g->sum += number;
  g->least = g->rows == 1 || number < g->least ? number : g->least;
  g->greatest = g->rows == 1 || number > g->greatest ? number : g->greatest;
  g->large += m->large[row];
  g->wide += m->wide[row];
  if (m->nulls[row]) return;
  g->values++;
  g->values_sum += m->nullable[row];
  if (g->values == 1 || m->nullable[row] < g->values_least) g->values_least = m->nullable[row];
}

/* Groups as they are met; but that of null stands before all. */
static Plains *plainly(const Made *m, bool odd_rows) {
  Plains *p = calloc(1, sizeof *p);
  for (uint32_t i = 0; i < m->row_count; i++) {
    uint32_t row = i < MADE_ROWS ? (i + m->first_segment * SEGMENT) % MADE_ROWS : i;
    if (odd_rows && row % 2 == 0) continue;
    uint32_t *place = place_of(p, m->key_nulls[row], m->keys[row]);
    if (!*place) {
      p->groups[p->count] = (Plain){ .is_null = m->key_nulls[row], .key = m->keys[row] };
      *place = ++p->count;
    }
    add_plain(&p->groups[*place - 1], m, row);
  }
  put_null_first(p);
  return p;
}

/* ---- questions ---- */

typedef enum Asked {
  ASKED_FEW,  /* rows, and a sum that shares their word */
  ASKED_MANY, /* all that slots can keep */
  ASKED_WIDE, /* a sum that takes more than a word */
  ASKED_KINDS
} Asked;

static Query *make_query_by(const Made *m, Asked asked, bool odd_rows, const char *key) {
  const Column *c = m->table.columns;
  static const char where[] = "c0_i64 % 2 = 1";
  Query *q;
  CHECK_OK(query_create(&m->table.schema, &q));
  if (odd_rows) CHECK_OK(query_where(q, where, strlen(where), NULL, 0));
  CHECK_OK(query_aggregate(q, AGGREGATE_ROWS, NULL));
  CHECK_OK(query_aggregate(q, AGGREGATE_TOTAL, c[C_SIGNED].name));
  if (asked == ASKED_WIDE) CHECK_OK(query_aggregate(q, AGGREGATE_TOTAL, c[C_WIDE].name));
  if (asked == ASKED_MANY) {
    CHECK_OK(query_aggregate(q, AGGREGATE_MEAN, c[C_SIGNED].name));
    CHECK_OK(query_aggregate(q, AGGREGATE_LEAST, c[C_SIGNED].name));
    CHECK_OK(query_aggregate(q, AGGREGATE_GREATEST, c[C_SIGNED].name));
    CHECK_OK(query_aggregate(q, AGGREGATE_VALUES, c[C_NULLABLE].name));
    CHECK_OK(query_aggregate(q, AGGREGATE_TOTAL, c[C_NULLABLE].name));
    CHECK_OK(query_aggregate(q, AGGREGATE_LEAST, c[C_NULLABLE].name));
    CHECK_OK(query_aggregate(q, AGGREGATE_TOTAL, c[C_UNSIGNED].name));
    CHECK_OK(query_aggregate(q, AGGREGATE_VALUES, c[C_TEXT].name));
  }
  CHECK_OK(query_group_by(q, &key, 1));
  return q;
}

static Query *make_query(const Made *m, Asked asked, bool odd_rows) {
  return make_query_by(m, asked, odd_rows, m->table.columns[C_KEY].name);
}

static bool is_null(const QueryBatch *batch, uint32_t column, uint32_t row) {
  return batch->columns[column].nulls && batch->columns[column].nulls[row];
}
static uint64_t word(const QueryBatch *batch, uint32_t column, uint32_t row) {
  return ((const uint64_t *)batch->columns[column].values)[row];
}
/* Of halves, which are computed, floats and so without codes. */
static int64_t key_at(const QueryBatch *batch, uint32_t row, bool halved) {
  return halved ? (int64_t)(2 * ((const double *)batch->columns[0].values)[row]) : (int64_t)word(batch, 0, row);
}
static void check_sum(const QueryBatch *batch, uint32_t column, uint32_t row, __int128 expected) {
  Int128 sum = ((const Int128 *)batch->columns[column].values)[row];
  CHECK(sum.low == (uint64_t)expected && sum.high == (int64_t)(expected >> 64));
}

static void check_group(const QueryBatch *batch, uint32_t row, const Plain *g, Asked asked, bool halved) {
  CHECK_INT(is_null(batch, 0, row), g->is_null);
  if (!g->is_null) CHECK_INT(key_at(batch, row, halved), g->key);
  CHECK_INT(word(batch, 1, row), g->rows);
  check_sum(batch, 2, row, g->sum);
  if (asked == ASKED_WIDE) check_sum(batch, 3, row, g->wide);
  if (asked != ASKED_MANY) return;
  CHECK(((const double *)batch->columns[3].values)[row] == (double)g->sum / (double)g->rows);
  CHECK_INT((int64_t)word(batch, 4, row), g->least);
  CHECK_INT((int64_t)word(batch, 5, row), g->greatest);
  CHECK_INT(word(batch, 6, row), g->values);
  CHECK_INT(is_null(batch, 7, row), g->values == 0);
  CHECK_INT(is_null(batch, 8, row), g->values == 0);
  if (g->values) check_sum(batch, 7, row, g->values_sum);
  if (g->values) CHECK_INT(((const int32_t *)batch->columns[8].values)[row], g->values_least);
  check_sum(batch, 9, row, g->large);
  CHECK_INT(word(batch, 10, row), g->rows);
}

typedef struct Question {
  Asked asked;
  bool odd_rows, is_ordered; /* whether groups come as they are met */
  bool halved;               /* by halves of the key */
  uint32_t threads;
  const QuerySpace *space;
} Question;

static void check(const Made *m, const Question *o) {
  TableSnapshot snapshot = snapshot_of(m);
  Plains *p = plainly(m, o->odd_rows);
  Query *q = make_query_by(m, o->asked, o->odd_rows, o->halved ? "c1_i64 * 0.5" : m->table.columns[C_KEY].name);
  QueryCursor *cursor;
  QueryBatch batch;
  uint32_t at = 0;
  query_threads(q, o->threads);
  CHECK_OK(query_open_within(q, &snapshot, o->space, &cursor));
  do {
    CHECK_OK(query_next(cursor, &batch));
    for (uint32_t row = 0; row < batch.row_count; row++, at++) {
      bool null = is_null(&batch, 0, row);
      const Plain *g = o->is_ordered ? &p->groups[at] : find(p, null, null ? 0 : key_at(&batch, row, o->halved));
      CHECK(at < p->count && g);
      check_group(&batch, row, g, o->asked, o->halved);
    }
  } while (batch.row_count);
  CHECK_INT(at, p->count);
  query_close(cursor);
  query_destroy(q);
  free(p);
}

typedef struct Reached {
  uint64_t ascending, window, left, hashed;
} Reached;

static Reached reached(void) {
  return (Reached){ counter_get(COUNTER_groups_ascending_units), counter_get(COUNTER_groups_window_units),
                    counter_get(COUNTER_group_slots_left), counter_get(COUNTER_groups_hashed_units) };
}

/* Units that go by slots in one way or the other; how often slots are left; units that go row by row. */
TEST(group_slots, are_kept_as_long_as_the_keys_allow) {
  static const Reached expected[KEYS_KINDS] = {
    [KEYS_ASCEND] = { SEGMENTS, 0, 0, 0 },    [KEYS_LONG] = { SEGMENTS, 0, 0, 0 },
    [KEYS_SCATTER] = { 0, SEGMENTS, 0, 0 },   [KEYS_TURN] = { 1, SEGMENTS - 1, 0, 0 },
    [KEYS_APART] = { 1, 0, 1, SEGMENTS - 1 }, [KEYS_NULL] = { 3, 0, 1, SEGMENTS - 3 },
    [KEYS_ROTATED] = { SEGMENTS, 0, 0, 0 },   [KEYS_OVERLAP] = { SEGMENTS - 1, 1, 0, 0 },
    [KEYS_NEAR] = { 0, SEGMENTS, 0, 0 },
  };
  for (int kind = 0; kind < KEYS_KINDS; kind++) {
    Made *m = make((Keys)kind, false, 5);
    Reached before = reached();
    check(m, &(Question){ .is_ordered = true, .threads = 1 });
    Reached after = reached();
    CHECK_INT(after.ascending - before.ascending, expected[kind].ascending);
    CHECK_INT(after.window - before.window, expected[kind].window);
    CHECK_INT(after.left - before.left, expected[kind].left);
    CHECK_INT(after.hashed - before.hashed, expected[kind].hashed);
    release(m);
  }
  CHECK_INT(memory_blocks_held(), 0);
}

TEST(group_slots, answer_whatever_is_asked_of_them) {
  for (int kind = 0; kind < KEYS_KINDS; kind++) {
    for (int slab = 0; slab < 2; slab++) {
      Made *m = make((Keys)kind, slab, 9);
      for (int asked = 0; asked < ASKED_KINDS; asked++) {
        Reached before = reached();
        check(m, &(Question){ .asked = (Asked)asked, .odd_rows = slab, .is_ordered = true, .threads = 1 });
        if (asked == ASKED_WIDE) CHECK_INT(reached().ascending + reached().window, before.ascending + before.window);
      }
      release(m);
    }
  }
}

/* Of rows in memory, which have no zones, those near the segments' lie in slots. */
TEST(group_slots, of_rows_in_memory_stay_where_values_are_near) {
  for (int beyond = 0; beyond < BEYOND_KINDS; beyond++) {
    for (int kind = KEYS_ASCEND; kind <= KEYS_TURN; kind++) {
      Made *m = make((Keys)kind, true, 15);
      go_beyond(m, (Beyond)beyond);
      Reached before = reached();
      check(m, &(Question){ .is_ordered = true, .threads = 1 });
      CHECK_INT(reached().left - before.left, beyond != BEYOND_NOTHING);
      check(m, &(Question){ .is_ordered = true, .threads = 3 });
      release(m);
    }
  }
}

TEST(group_slots, of_several_threads_are_those_of_one) {
  team_meet(true);
  for (int kind = 0; kind < KEYS_KINDS; kind++) {
    for (uint32_t threads = 2; threads <= 3; threads++) {
      Made *m = make((Keys)kind, threads == 3, 30 + threads);
      uint64_t merged = counter_get(COUNTER_group_parts_merged), windows = counter_get(COUNTER_group_windows_added);
      for (int asked = 0; asked < ASKED_WIDE; asked++)
        check(m, &(Question){ .asked = (Asked)asked, .is_ordered = true, .threads = threads });
      CHECK((kind != KEYS_ASCEND && kind != KEYS_ROTATED) || counter_get(COUNTER_group_parts_merged) > merged);
      bool added = counter_get(COUNTER_group_windows_added) > windows, may_be = kind == KEYS_NEAR;
      CHECK(added == may_be || (may_be && threads == 3)); /* one of these may have the slab alone, and no window */
      release(m);
    }
  }
  team_meet(false);
  CHECK_INT(memory_blocks_held(), 0);
}

/* Keys without codes lie in slots by the numbers of their groups, unless a sum takes more than a word. */
TEST(group_slots, of_floats_lie_where_their_numbers_say) {
  team_meet(true);
  for (int kind = KEYS_SCATTER; kind <= KEYS_NULL; kind += KEYS_NULL - KEYS_SCATTER) {
    for (int slab = 0; slab < 2; slab++) {
      Made *m = make((Keys)kind, slab, 21);
      for (int asked = 0; asked < ASKED_KINDS; asked++) {
        uint64_t by_ids = counter_get(COUNTER_groups_ids_units), left = reached().left;
        Question question = { .asked = (Asked)asked, .odd_rows = slab, .halved = true, .is_ordered = true };
        question.threads = 1;
        check(m, &question);
        CHECK_INT(counter_get(COUNTER_groups_ids_units) - by_ids, asked == ASKED_WIDE ? 0 : SEGMENTS + slab);
        CHECK_INT(reached().left - left, 0);
        for (question.threads = 2; question.threads <= 3; question.threads++) check(m, &question);
      }
      release(m);
    }
  }
  team_meet(false);
  CHECK_INT(memory_blocks_held(), 0);
}

/* Of which threads have parts where groups are few: that of null, which lies first, among them. */
TEST(group_slots, of_few_texts_are_merged_from_parts) {
  Buffer one = { 0 }, many = { 0 };
  ScanCounters counters;
  Made *m = make(KEYS_ASCEND, true, 22);
  TableSnapshot snapshot = snapshot_of(m);
  Query *q = make_query_by(m, ASKED_MANY, false, "lower(c7_string)");
  team_meet(true);
  uint64_t merged = counter_get(COUNTER_group_parts_merged), left = reached().left;
  CHECK_OK(answer_bytes(q, snapshot, NULL, 1, &one, &counters));
  for (uint32_t threads = 2; threads <= 3; threads++) {
    CHECK_OK(answer_bytes(q, snapshot, NULL, threads, &many, &counters));
    check_same_answer(&one, &many);
  }
  CHECK(counter_get(COUNTER_group_parts_merged) > merged);
  CHECK_INT(reached().left - left, 0);
  team_meet(false);
  query_destroy(q);
  release(m);
  buffer_release(&one);
  buffer_release(&many);
  CHECK_INT(memory_blocks_held(), 0);
}

TEST(group_slots, of_floats_leave_and_spill_when_memory_is_used_up) {
  Buffer outside = { 0 };
  Made *m = make(KEYS_SCATTER, false, 23);
  uint64_t left = counter_get(COUNTER_group_slots_left), spilled = counter_get(COUNTER_groups_spilled);
  QuerySpace space = { .memory_limit = 400000, .context = &outside, .write = write_outside, .read = read_outside };
  check(m, &(Question){ .asked = ASKED_MANY, .halved = true, .threads = 1, .space = &space });
  CHECK(counter_get(COUNTER_group_slots_left) > left);
  CHECK(counter_get(COUNTER_groups_spilled) > spilled);
  release(m);
  buffer_release(&outside);
  CHECK_INT(memory_blocks_held(), 0);
}

/* Groups in slots take less memory than their states would: they leave before those have no room, and then spill. */
TEST(group_slots, leave_and_spill_when_memory_is_used_up) {
  Buffer outside = { 0 };
  for (int kind = 0; kind < KEYS_NEAR; kind++) { /* all whose groups are many */
    Made *m = make((Keys)kind, false, 6);
    uint64_t left = counter_get(COUNTER_group_slots_left), spilled = counter_get(COUNTER_groups_spilled);
    QuerySpace space = { .memory_limit = 300000, .context = &outside, .write = write_outside, .read = read_outside };
    check(m, &(Question){ .asked = ASKED_MANY, .threads = 1, .space = &space });
    CHECK(kind == KEYS_SCATTER || counter_get(COUNTER_group_slots_left) > left); /* no room for its window */
    CHECK(counter_get(COUNTER_groups_spilled) > spilled);
    buffer_clear(&outside);
    release(m);
  }
  buffer_release(&outside);
  CHECK_INT(memory_blocks_held(), 0);
}

TEST(group_slots, having_and_orders_see_them) {
  Made *m = make(KEYS_SCATTER, false, 8);
  Plains *p = plainly(m, false);
  TableSnapshot snapshot = snapshot_of(m);
  Query *q = make_query(m, ASKED_FEW, false);
  QueryCursor *cursor;
  QueryBatch batch;
  static const char having[] = "count(*) = 2 and \"sum(c2_i64)\" > 5000";
  QueryOrder order = { .column = "c1_i64", .descending = true };
  CHECK_OK(query_having(q, having, strlen(having), NULL, 0));
  CHECK_OK(query_order_by(q, &order, 1));
  CHECK_OK(query_open(q, &snapshot, &cursor));
  uint32_t expected = 0, found = 0;
  for (uint32_t i = 0; i < p->count; i++) expected += p->groups[i].rows == 2 && p->groups[i].sum > 5000;
  int64_t last = INT64_MAX;
  do {
    CHECK_OK(query_next(cursor, &batch));
    for (uint32_t row = 0; row < batch.row_count; row++, found++) {
      int64_t key = (int64_t)word(&batch, 0, row);
      CHECK(key < last);
      last = key;
      check_group(&batch, row, find(p, false, key), ASKED_FEW, false);
    }
  } while (batch.row_count);
  CHECK(expected > 20);
  CHECK_INT(found, expected);
  query_close(cursor);
  query_destroy(q);
  free(p);
  release(m);
}

/* ---- several keys ---- */

typedef struct Pairs {
  uint64_t rows[LATE_NAMES + 1][SITES];
  int64_t sums[LATE_NAMES + 1][SITES];
  uint32_t order[(LATE_NAMES + 1) * SITES]; /* as they came out */
  uint32_t count;
} Pairs;

static void ask_pairs_by(const Made *m, uint32_t threads, const QuerySpace *space, const char *name_key, Pairs *out) {
  TableSnapshot snapshot = snapshot_of(m);
  const Column *c = m->table.columns;
  const char *keys[] = { c[C_PLACE].name, name_key };
  QueryCursor *cursor;
  QueryBatch batch;
  Query *q;
  memset(out, 0, sizeof *out);
  CHECK_OK(query_create(&m->table.schema, &q));
  CHECK_OK(query_aggregate(q, AGGREGATE_ROWS, NULL));
  CHECK_OK(query_aggregate(q, AGGREGATE_TOTAL, c[C_NULLABLE].name));
  CHECK_OK(query_group_by(q, keys, 2));
  query_threads(q, threads);
  CHECK_OK(query_open_within(q, &snapshot, space, &cursor));
  do {
    CHECK_OK(query_next(cursor, &batch));
    for (uint32_t row = 0; row < batch.row_count; row++) {
      uint32_t name = LATE_NAMES, place = (uint32_t)((const int16_t *)batch.columns[0].values)[row] - 3;
      Bytes text = ((const Bytes *)batch.columns[1].values)[row];
      if (!is_null(&batch, 1, row)) CHECK(text.length > 4 && memcmp(text.data, "name", 4) == 0);
      for (size_t i = 4; !is_null(&batch, 1, row) && i < text.length; i++)
        name = (i > 4 ? name * 10 : 0) + (uint32_t)(text.data[i] - '0');
      CHECK(name <= LATE_NAMES && place < SITES && out->rows[name][place] == 0);
      out->order[out->count++] = name * SITES + place;
      out->rows[name][place] = word(&batch, 2, row);
      if (!is_null(&batch, 3, row))
        out->sums[name][place] = (int64_t)((const Int128 *)batch.columns[3].values)[row].low;
    }
  } while (batch.row_count);
  query_close(cursor);
  query_destroy(q);
}

static void ask_pairs(const Made *m, uint32_t threads, const QuerySpace *space, Pairs *out) {
  ask_pairs_by(m, threads, space, m->table.columns[C_NAME].name, out);
}

/* `found` becomes what is left when every row is taken off: nothing. */
static void check_pairs(const Made *m, const Pairs *given) {
  Pairs *found = malloc(sizeof *found);
  *found = *given;
  for (uint32_t i = 0; i < m->row_count; i++) {
    found->rows[m->name_numbers[i]][m->places[i] - 3]--;
    found->sums[m->name_numbers[i]][m->places[i] - 3] -= m->nullable[i];
  }
  for (uint32_t n = 0; n <= LATE_NAMES; n++) {
    for (uint32_t p = 0; p < SITES; p++) CHECK(found->rows[n][p] == 0 && found->sums[n][p] == 0);
  }
  free(found);
}

/* Late names are more than the digits have room for; a slab has no zones. */
TEST(group_slots, of_several_keys_lie_where_their_ids_say) {
  Pairs *one = malloc(sizeof *one), *many = malloc(sizeof *many);
  team_meet(true);
  for (int late = 0; late < 2; late++) {
    for (int slab = 0; slab < 2; slab++) {
      Made *m = make_with(KEYS_ASCEND, slab, late ? NAMES_LATE : NAMES_EVEN, 12);
      uint64_t digits = counter_get(COUNTER_groups_digits_units), left = counter_get(COUNTER_group_slots_left);
      ask_pairs(m, 1, NULL, one);
      check_pairs(m, one);
      CHECK_INT(counter_get(COUNTER_groups_digits_units) - digits, late ? 4 : SEGMENTS);
      CHECK_INT(counter_get(COUNTER_group_slots_left) - left, late || slab);
      for (uint32_t threads = 2; threads <= 3; threads++) {
        ask_pairs(m, threads, NULL, many);
        CHECK(memcmp(one, many, sizeof *one) == 0); /* in the same order */
      }
      release(m);
    }
  }
  team_meet(false);
  free(one);
  free(many);
  CHECK_INT(memory_blocks_held(), 0);
}

/* The same where a name has no code. */
TEST(group_slots, of_several_keys_without_codes_are_merged_from_parts) {
  Pairs *one = malloc(sizeof *one), *many = malloc(sizeof *many);
  team_meet(true);
  for (int slab = 0; slab < 2; slab++) {
    Made *m = make_with(KEYS_ASCEND, slab, NAMES_GROW, 24);
    uint64_t by_ids = counter_get(COUNTER_groups_ids_units), merged = counter_get(COUNTER_group_parts_merged);
    ask_pairs_by(m, 1, NULL, "lower(c7_string)", one);
    check_pairs(m, one);
    CHECK_INT(counter_get(COUNTER_groups_ids_units) - by_ids, SEGMENTS + slab);
    for (uint32_t threads = 2; threads <= 3; threads++) {
      ask_pairs_by(m, threads, NULL, "lower(c7_string)", many);
      CHECK(memcmp(one, many, sizeof *one) == 0); /* in the same order */
    }
    /* a part that got few units may find too many groups among their rows, and leave its slots */
    CHECK(counter_get(COUNTER_groups_ids_units) - by_ids > SEGMENTS + (unsigned)slab);
    CHECK(counter_get(COUNTER_group_parts_merged) > merged);
    release(m);
  }
  team_meet(false);
  free(one);
  free(many);
  CHECK_INT(memory_blocks_held(), 0);
}

enum { TEXTS = 3 }; /* of C_TEXT, by their length */

static uint32_t name_number(Bytes text) {
  uint32_t n = 0;
  for (size_t i = 4; i < text.length; i++) n = n * 10 + (uint32_t)(text.data[i] - '0');
  return n;
}

/* Three keys: each group has the rows that a plain loop counts. */
TEST(group_slots, of_three_keys_have_the_rows_of_all_three) {
  typedef uint32_t Counts[LATE_NAMES + 1][SITES][TEXTS];
  Counts *left = calloc(1, sizeof *left);
  Made *m = make(KEYS_ASCEND, false, 14);
  const Column *c = m->table.columns;
  const char *keys[] = { c[C_PLACE].name, c[C_NAME].name, c[C_TEXT].name };
  TableSnapshot snapshot = snapshot_of(m);
  uint64_t digits = counter_get(COUNTER_groups_digits_units);
  Query *q;
  QueryCursor *cursor;
  QueryBatch batch;
  CHECK(left != NULL);
  for (uint32_t i = 0; i < m->row_count; i++) (*left)[m->name_numbers[i]][m->places[i] - 3][i % TEXTS]++;
  CHECK_OK(query_create(&m->table.schema, &q));
  CHECK_OK(query_aggregate(q, AGGREGATE_ROWS, NULL));
  CHECK_OK(query_group_by(q, keys, sizeof keys / sizeof *keys));
  CHECK_OK(query_open(q, &snapshot, &cursor));
  do {
    CHECK_OK(query_next(cursor, &batch));
    for (uint32_t row = 0; row < batch.row_count; row++) {
      uint32_t place = (uint32_t)((const int16_t *)batch.columns[0].values)[row] - 3;
      uint32_t name = is_null(&batch, 1, row) ? LATE_NAMES : name_number(((const Bytes *)batch.columns[1].values)[row]);
      size_t text = ((const Bytes *)batch.columns[2].values)[row].length;
      CHECK(name <= LATE_NAMES && place < SITES && text < TEXTS);
      CHECK_INT(word(&batch, 3, row), (*left)[name][place][text]);
      (*left)[name][place][text] = 0;
    }
  } while (batch.row_count);
  for (size_t i = 0; i < sizeof *left / sizeof(uint32_t); i++) CHECK_INT(((const uint32_t *)left)[i], 0);
  CHECK_INT(counter_get(COUNTER_groups_digits_units) - digits, SEGMENTS);
  query_close(cursor);
  query_destroy(q);
  release(m);
  free(left);
}

/* What the first segment says holds for all of them: a part that begins with another one numbers its groups alike. */
TEST(group_slots, of_a_part_are_there_where_those_of_the_whole_are) {
  Pairs *one = malloc(sizeof *one), *many = malloc(sizeof *many);
  Made *m = make_with(KEYS_ASCEND, false, NAMES_GROW, 13);
  uint64_t digits = counter_get(COUNTER_groups_digits_units), merged = counter_get(COUNTER_group_parts_merged);
  team_meet(true);
  ask_pairs(m, 1, NULL, one);
  check_pairs(m, one);
  for (uint32_t threads = 2; threads <= 3; threads++) {
    ask_pairs(m, threads, NULL, many);
    CHECK(memcmp(one, many, sizeof *one) == 0);
  }
  team_meet(false);
  CHECK_INT(counter_get(COUNTER_groups_digits_units) - digits, 0);
  CHECK(counter_get(COUNTER_group_parts_merged) > merged);
  release(m);
  free(one);
  free(many);
  CHECK_INT(memory_blocks_held(), 0);
}

static Status try_once(const Made *m, const Query *q) {
  TableSnapshot snapshot = snapshot_of(m);
  QueryCursor *cursor = NULL;
  QueryBatch batch = { 0 };
  Status status = query_open(q, &snapshot, &cursor);
  do {
    if (status == KVSTORE_OK) status = query_next(cursor, &batch);
  } while (status == KVSTORE_OK && batch.row_count);
  query_close(cursor);
  return status;
}

TEST(group_slots, without_memory_a_query_fails_and_gives_back_what_it_had) {
  for (int kind = KEYS_TURN; kind <= KEYS_APART; kind++) {
    Made *m = make((Keys)kind, false, 4);
    Query *q = make_query(m, ASKED_FEW, false);
    CHECK_OK(try_once(m, q)); /* runs keep what they open */
    uint64_t held = memory_blocks_held();
    for (uint64_t n = 1;; n++) {
      failing_memory_install(n, false);
      Status status = try_once(m, q);
      bool reached_it = failing_memory_failures() > 0;
      failing_memory_remove();
      CHECK(status == KVSTORE_OK || (reached_it && status == KVSTORE_NOMEM));
      CHECK_INT(memory_blocks_held(), held);
      if (!reached_it) break;
    }
    query_destroy(q);
    release(m);
  }
}

/* ---- different values of all rows ---- */

static uint64_t names_of(const Made *m, bool odd_rows) {
  bool seen[NAMES] = { false };
  uint64_t count = 0;
  for (uint32_t i = 0; i < m->row_count; i++) {
    if (m->name_nulls[i] || (odd_rows && i % 2 == 0)) continue;
    count += !seen[m->name_numbers[i]];
    seen[m->name_numbers[i]] = true;
  }
  return count;
}

static uint64_t count_names(const Made *m, bool odd_rows) {
  static const char where[] = "c0_i64 % 2 = 1";
  TableSnapshot snapshot = snapshot_of(m);
  Query *q;
  QueryCursor *cursor;
  QueryBatch batch;
  CHECK_OK(query_create(&m->table.schema, &q));
  if (odd_rows) CHECK_OK(query_where(q, where, strlen(where), NULL, 0));
  CHECK_OK(query_aggregate(q, AGGREGATE_DISTINCT, m->table.columns[C_NAME].name));
  CHECK_OK(query_group_by(q, NULL, 0));
  CHECK_OK(query_open(q, &snapshot, &cursor));
  CHECK_OK(query_next(cursor, &batch));
  CHECK_INT(batch.row_count, 1);
  uint64_t count = word(&batch, 0, 0);
  query_close(cursor);
  query_destroy(q);
  return count;
}

/* Those of segments whose rows are all selected; rows in memory, and some rows, are looked at. */
TEST(group_slots, dictionaries_tell_which_values_there_are) {
  Made *m = make(KEYS_ASCEND, true, 5);
  uint64_t told = counter_get(COUNTER_groups_codes_told);
  CHECK_INT(count_names(m, false), names_of(m, false));
  CHECK_INT(counter_get(COUNTER_groups_codes_told), told + SEGMENTS);
  CHECK_INT(count_names(m, true), names_of(m, true));
  CHECK_INT(counter_get(COUNTER_groups_codes_told), told + SEGMENTS);
  release(m);
}
