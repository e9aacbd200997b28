/* Dead rows of runs: who looks keys up, and what is made anew when some die. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/counters.h"
#include "base/limits.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "engine/table_state.h"
#include "tests/support/children.h"
#include "tests/support/counted_memory.h"
#include "tests/support/test.h"

enum { ROWS = 140000, SEGMENTS = (ROWS + SEGMENT_ROWS - 1) / SEGMENT_ROWS };

static Session *open_with(const char *path, bool background, uint64_t log_bytes) {
  StoreOptions options = {
    .journal_mode = JOURNAL_WAL, .sync_level = SYNC_OFF, .no_background = !background, .log_bytes = log_bytes
  };
  Session *s = NULL;
  CHECK_OK(session_open(path, &options, &s));
  return s;
}

static Session *open_path(const char *path, bool background) { return open_with(path, background, 8 << 20); }

static const char *store_path(void) {
  static char path[512];
  snprintf(path, sizeof path, "%s/store", test_directory());
  return path;
}

/* The row of key ids[i] gets the amount; ids NULL: first, first + 1, ... */
static void write_rows(Session *s, uint32_t table, const int64_t *ids, int64_t first, uint32_t count, int32_t amount) {
  int64_t *keys = memory_allocate(count * sizeof *keys);
  int32_t *amounts = memory_allocate(count * sizeof *amounts);
  for (uint32_t i = 0; i < count; i++) {
    keys[i] = ids ? ids[i] : first + i;
    amounts[i] = amount;
  }
  ColumnArray columns[] = { { keys, NULL }, { amounts, NULL } };
  ColumnBatch batch = { count, 2, columns, NULL };
  CHECK_OK(table_write(s, table, &batch, TABLE_UPSERT, NULL));
  memory_release(keys);
  memory_release(amounts);
}

static uint32_t make_table(Session *s) {
  Column columns[] = { { 0, TYPE_I64, 0, 0, (char *)"id" }, { 0, TYPE_I32, 0, 0, (char *)"amount" } };
  Schema schema = { .column_count = 2, .columns = columns, .key_count = 1, .key_columns = { 0 } };
  uint32_t id = 0;
  CHECK_OK(family_create(s, "t", FAMILY_TABLE, &schema, &id));
  return id;
}

/* ROWS rows of amount 0 in one settled run. */
static uint32_t settled_table(Session *s) {
  uint32_t table = make_table(s);
  write_rows(s, table, NULL, 0, ROWS, 0);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  return table;
}

/* Live rows, counted block by block. */
static uint64_t count_rows(Session *s, uint32_t table) {
  TableSnapshot snapshot;
  Scan *scan = NULL;
  uint64_t rows = 0;
  CHECK_OK(table_snapshot(s, table, &snapshot));
  CHECK_OK(scan_create(snapshot.schema, NULL, snapshot.now_ms, &scan));
  for (uint32_t u = 0; u < snapshot.unit_count; u++) {
    CHECK_OK(scan_unit(scan, &snapshot.units[u]));
    rows += scan_selection(scan)->row_count;
  }
  scan_destroy(scan);
  table_snapshot_release(&snapshot);
  return rows;
}

static uint64_t state = 88172645463325252u;
static uint64_t next_random(void) {
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}

static void upsert_random(Session *s, uint32_t table, uint32_t count, int32_t amount) {
  int64_t *ids = memory_allocate(count * sizeof *ids);
  for (uint32_t i = 0; i < count; i++) ids[i] = (int64_t)(next_random() % ROWS);
  write_rows(s, table, ids, 0, count, amount);
  memory_release(ids);
}

typedef struct Counts {
  uint64_t resolved, begun, made, units;
} Counts;

static Counts counts(void) {
  return (Counts){ counter_get(COUNTER_keys_resolved_by_readers), counter_get(COUNTER_dead_states_begun),
                   counter_get(COUNTER_deleted_segments_made), counter_get(COUNTER_units_verified) };
}

TEST(table_state, a_count_behind_a_commit_looks_few_keys_up) {
  static const uint32_t sizes[] = { 1, 700, 700, 700, 1024, 1025, 3000, 10000, 900, 30000 };
  for (int background = 0; background < 2; background++) {
    Session *s = open_path(store_path(), background);
    uint32_t table = settled_table(s);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
      upsert_random(s, table, sizes[i], (int32_t)i);
      Counts before = counts();
      CHECK_INT(count_rows(s, table), ROWS);
      CHECK(counts().resolved - before.resolved <= UNRESOLVED_MAX);
    }
    CHECK_OK(family_drop(s, table));
    CHECK_OK(session_close(s));
  }
}

TEST(table_state, single_rows_that_nobody_counts_do_not_pile_up) {
  Session *s = open_path(store_path(), false);
  uint32_t table = settled_table(s);
  for (int i = 0; i < 3000; i++) write_rows(s, table, NULL, (int64_t)(next_random() % ROWS), 1, i);
  Counts before = counts();
  CHECK_INT(count_rows(s, table), ROWS);
  CHECK(counts().resolved - before.resolved <= UNRESOLVED_MAX);
  CHECK_OK(session_close(s));
}

/* Each of `count` rows, 100 apart, gets the amount, and then the one behind it goes. */
static void change_and_delete(Session *s, uint32_t table, int count, int32_t amount) {
  static const uint32_t column = 1;
  for (int i = 0; i < count; i++) {
    Value key = { .type = TYPE_I64, .i = 100 * i }, value = { .type = TYPE_I32, .i = amount };
    CHECK_OK(table_update(s, table, &key, 1, &column, &value, 1, NULL));
    key.i++;
    int deleted = table_delete(s, table, &key, 1);
    CHECK(deleted == KVSTORE_OK || deleted == KVSTORE_NOTFOUND);
  }
}

TEST(table_state, a_row_that_is_changed_or_deleted_by_its_key_is_not_looked_up_again) {
  enum { CHANGED = 700 };
  Session *s = open_path(store_path(), false);
  uint32_t table = settled_table(s);
  uint64_t before = counter_get(COUNTER_resolved_keys);
  CHECK_OK(session_begin(s, true));
  change_and_delete(s, table, CHANGED, 1);
  CHECK_INT(count_rows(s, table), ROWS - CHANGED);
  CHECK_OK(session_rollback(s));
  CHECK_INT(count_rows(s, table), ROWS);
  CHECK_OK(session_begin(s, true));
  change_and_delete(s, table, CHANGED, 2); /* of a run's rows, and of their own */
  change_and_delete(s, table, CHANGED, 3);
  CHECK_OK(session_commit(s));
  CHECK_INT(count_rows(s, table), ROWS - CHANGED);
  CHECK_INT(counter_get(COUNTER_resolved_keys), before);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  CHECK_INT(count_rows(s, table), ROWS - CHANGED);
  CHECK_OK(session_close(s));
}

/* Behind a recovery, of which nothing has been looked up yet. */
TEST(table_state, what_is_known_of_a_row_behind_many_that_wait_is_given_back) {
  uint64_t word = locator_of_delta(false);
  counted_memory_install();
  int64_t before = counted_memory_begin();
  DeltaLayer layer = { .locators = locators_create() };
  Era era = { .deltas = &layer, .delta_count = 1 };
  CHECK(layer.locators != NULL);
  CHECK_OK(locators_note(&era, 2 * DELTA_SLAB_ROWS + 7, &word, 1));
  locators_release(layer.locators);
  CHECK_INT(counted_memory_begin(), before);
  counted_memory_remove();
}

TEST(table_state, many_rows_of_one_transaction_wait_no_more_than_those_of_many) {
  Session *s = open_path(store_path(), false);
  uint32_t table = settled_table(s);
  CHECK_OK(session_begin(s, true));
  for (int i = 0; i < 20; i++) {
    upsert_random(s, table, 500, i);
    if (i == 10) CHECK_INT(count_rows(s, table), ROWS);
  }
  CHECK_OK(session_commit(s));
  Counts before = counts();
  CHECK_INT(count_rows(s, table), ROWS);
  CHECK(counts().resolved - before.resolved <= UNRESOLVED_MAX);
  CHECK_OK(session_close(s));
}

TEST(table_state, a_new_generation_has_its_keys_looked_up_and_its_sets_made) {
  Session *s = open_path(store_path(), false);
  uint32_t table = settled_table(s);
  write_rows(s, table, NULL, ROWS, 100, 0);
  upsert_random(s, table, 5000, 1);
  CHECK_INT(count_rows(s, table), ROWS + 100);
  for (int i = 0; i < 3; i++) { /* what was in a delta lies in a run afterwards, and dies there */
    CHECK_OK(session_begin(s, true));
    upsert_random(s, table, 5000, 2);
    write_rows(s, table, NULL, ROWS, 100, 3);
    CHECK_OK(session_commit(s));
    CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
    Counts before = counts();
    CHECK_INT(count_rows(s, table), ROWS + 100);
    CHECK_INT(counts().resolved - before.resolved, 0);
    CHECK_INT(counts().made - before.made, 0);
  }
  CHECK_OK(session_maintain(s)); /* merges */
  Counts before = counts();
  CHECK_INT(count_rows(s, table), ROWS + 100);
  CHECK_INT(counts().made - before.made, 0);
  CHECK_OK(session_close(s));
}

TEST(table_state, only_segments_where_a_row_has_died_get_new_sets) {
  Session *s = open_path(store_path(), false);
  uint32_t table = settled_table(s);
  CHECK(SEGMENTS == 3);
  upsert_random(s, table, 10000, 1);
  CHECK_INT(count_rows(s, table), ROWS);
  Counts before = counts();
  CHECK_INT(count_rows(s, table), ROWS);
  CHECK_INT(counts().made - before.made, 0);
  write_rows(s, table, NULL, 2 * SEGMENT_ROWS + 100, 2000, 2); /* of one segment */
  CHECK_INT(counts().made - before.made, 1);
  CHECK_INT(count_rows(s, table), ROWS);
  CHECK_INT(counts().made - before.made, 1);
  write_rows(s, table, NULL, 7, 10, 3);
  write_rows(s, table, NULL, SEGMENT_ROWS + 7, 10, 3);
  CHECK_INT(count_rows(s, table), ROWS);
  CHECK(counts().made - before.made <= 3); /* of the ten, some were dead already */
  CHECK_INT(counts().begun - before.begun, 0);
  CHECK_OK(session_close(s));
}

TEST(table_state, a_reader_that_stays_finds_its_sets_again) {
  Session *s = open_path(store_path(), false), *reader = open_path(store_path(), false);
  uint32_t table = settled_table(s);
  upsert_random(s, table, 5000, 1);
  CHECK_OK(session_begin(reader, false));
  CHECK_INT(count_rows(reader, table), ROWS);
  for (int i = 0; i < 10; i++) {
    upsert_random(s, table, 3000, 2);
    CHECK_INT(count_rows(s, table), ROWS);
    Counts before = counts();
    CHECK_INT(count_rows(reader, table), ROWS);
    CHECK_INT(counts().made - before.made, 0);
    CHECK_INT(counts().begun - before.begun, 0);
  }
  CHECK_OK(session_commit(reader));
  CHECK_OK(session_close(reader));
  CHECK_OK(session_close(s));
}

/* Sequences of what was rolled back are given again: a state that ends before such rows does not hold what follows. */
TEST(table_state, rows_behind_those_that_were_rolled_back_are_not_missed) {
  Session *s = open_path(store_path(), false);
  uint32_t table = settled_table(s), other = 0;
  CHECK_OK(family_create(s, "other", FAMILY_KV, NULL, &other));
  upsert_random(s, table, 10, 1);
  CHECK_INT(count_rows(s, table), ROWS);
  CHECK_OK(session_begin(s, true));
  for (int i = 0; i < 20; i++)
    CHECK_OK(kv_put(s, other, (Bytes){ (const uint8_t *)"key", 3 }, (Bytes){ (const uint8_t *)"v", 1 }, EXPIRY_NEVER,
                    KV_PUT_ALWAYS, NULL));
  write_rows(s, table, NULL, 100, 5, 2);
  CHECK_OK(session_rollback(s));
  write_rows(s, table, NULL, 100, 5, 3);
  CHECK_INT(count_rows(s, table), ROWS);
  CHECK_OK(session_close(s));
}

/* Keys that a transaction's own spilled runs hold are found there, not in the runs that those replace. */
TEST(table_state, rows_behind_a_spill_replace_what_was_spilled) {
  Session *s = open_path(store_path(), false);
  uint32_t table = settled_table(s);
  uint64_t adopted = counter_get(COUNTER_adopted_runs);
  CHECK_OK(session_begin(s, true));
  for (int i = 0; i < 4; i++) write_rows(s, table, NULL, 1000, 60000, i);
  CHECK(counter_get(COUNTER_adopted_runs) > adopted);
  CHECK_INT(count_rows(s, table), ROWS);
  CHECK_OK(session_commit(s));
  CHECK_INT(count_rows(s, table), ROWS);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  CHECK_INT(count_rows(s, table), ROWS);
  CHECK_OK(session_close(s));
}

TEST(table_state, the_segments_are_listed_once_for_all_snapshots_of_a_state) {
  Session *s = open_path(store_path(), false);
  uint32_t table = settled_table(s);
  uint64_t made = counter_get(COUNTER_snapshot_units_made);
  TableSnapshot first, second, third;
  CHECK_OK(table_snapshot(s, table, &first));
  CHECK_OK(table_snapshot(s, table, &second));
  CHECK_INT(counter_get(COUNTER_snapshot_units_made) - made, 1);
  CHECK_INT(first.unit_count, SEGMENTS);
  CHECK(first.units == second.units);
  table_snapshot_release(&second);
  write_rows(s, table, NULL, 0, 5, 1); /* beside rows of a delta a snapshot has a list of its own */
  CHECK_OK(table_snapshot(s, table, &third));
  CHECK_INT(counter_get(COUNTER_snapshot_units_made) - made, 1);
  CHECK_INT(third.unit_count, SEGMENTS + 1);
  CHECK(!first.units[0].deleted && third.units[0].deleted);
  CHECK_INT(count_rows(s, table), ROWS);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  CHECK_INT(count_rows(s, table), ROWS); /* other runs, and dead rows of theirs */
  CHECK_INT(counter_get(COUNTER_snapshot_units_made) - made, 2);
  for (uint32_t u = 0; u < SEGMENTS; u++) /* the first one still has its own */
    CHECK_INT(first.units[u].row_count, column_run_segment(first.units[u].run, first.units[u].segment)->row_count);
  table_snapshot_release(&first);
  table_snapshot_release(&third);
  CHECK_OK(session_close(s));
}

static uint64_t count_filtered(Session *s, uint32_t table) {
  TableSnapshot snapshot;
  Scan *scan = NULL;
  uint64_t rows = 0;
  int64_t values[BLOCK_ROWS];
  uint8_t nulls[BLOCK_ROWS];
  CHECK_OK(table_snapshot(s, table, &snapshot));
  CHECK_OK(scan_create(snapshot.schema, NULL, snapshot.now_ms, &scan));
  for (uint32_t u = 0; u < snapshot.unit_count; u++) {
    CHECK_OK(scan_unit(scan, &snapshot.units[u]));
    rows += scan_selection(scan)->row_count;
    for (uint32_t b = 0; b < scan_selection(scan)->block_count; b++)
      CHECK_OK(scan_read_block(scan, 0, b, values, nulls));
  }
  scan_destroy(scan);
  table_snapshot_release(&snapshot);
  return rows;
}

TEST(table_state, a_flush_of_deletes_leaves_verified_what_is_verified) {
  Session *s = open_path(store_path(), false);
  uint32_t table = make_table(s);
  int64_t *ids = memory_allocate(ROWS * sizeof *ids);
  for (uint32_t i = 0; i < ROWS; i++) ids[i] = (int64_t)i * 1000003 % 1000000007; /* nothing that packs to nothing */
  write_rows(s, table, ids, 0, ROWS, 0);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  Counts before = counts();
  CHECK_INT(count_filtered(s, table), ROWS);
  uint64_t all = counts().units - before.units;
  CHECK(all > 20);
  write_rows(s, table, ids, 0, 10, 1);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  before = counts();
  CHECK_INT(count_filtered(s, table), ROWS);
  CHECK(counts().units - before.units < all / 4);
  memory_release(ids);
  CHECK_OK(session_close(s));
}

TEST(table_state, a_block_of_a_delta_is_taken_whole_only_where_all_of_it_is_seen) {
  Session *s = open_path(store_path(), false), *reader = open_path(store_path(), false);
  uint32_t table = make_table(s);
  write_rows(s, table, NULL, 0, 3000, 0);
  uint64_t whole = counter_get(COUNTER_blocks_visible_whole);
  CHECK_INT(count_rows(s, table), 3000);
  CHECK_INT(counter_get(COUNTER_blocks_visible_whole) - whole, 3);
  CHECK_OK(session_begin(reader, false));
  write_rows(s, table, NULL, 3000, 50, 0); /* in the third block, behind what the reader sees */
  write_rows(s, table, NULL, 100, 1, 1);   /* a row of the first one dies */
  whole = counter_get(COUNTER_blocks_visible_whole);
  CHECK_INT(count_rows(reader, table), 3000);
  CHECK_INT(counter_get(COUNTER_blocks_visible_whole) - whole, 1);
  CHECK_INT(count_rows(s, table), 3050);
  CHECK_OK(session_begin(s, true));
  write_rows(s, table, NULL, 1500, 10, 2);
  write_rows(s, table, NULL, 9000, 10, 2);
  CHECK_INT(count_rows(reader, table), 3000);
  CHECK_OK(session_rollback(s)); /* what had died lives again */
  whole = counter_get(COUNTER_blocks_visible_whole);
  CHECK_INT(count_rows(s, table), 3050);
  CHECK_INT(counter_get(COUNTER_blocks_visible_whole) - whole, 1);
  CHECK_OK(session_commit(reader));
  CHECK_OK(session_close(reader));
  CHECK_OK(session_close(s));
}

TEST(table_state, what_is_rolled_back_over_and_over_does_not_pile_up) {
  Session *s = open_path(store_path(), false);
  uint32_t table = settled_table(s);
  for (int i = 0; i < 3; i++) {
    CHECK_OK(session_begin(s, true));
    for (int part = 0; part < 2; part++) write_rows(s, table, NULL, 1000, SEGMENT_ROWS - 1, i);
    CHECK_OK(session_rollback(s));
    CHECK_OK(session_maintain(s));
    FamilyUsage usage;
    CHECK_OK(family_usage(s, table, &usage));
    CHECK_INT(usage.delta_rows, 0);
    CHECK_INT(usage.dead_rows, 0);
    memory_release(usage.columns);
    CHECK_INT(count_rows(s, table), ROWS);
  }
  CHECK_OK(session_close(s));
}

/* ---- runs that are adopted together ---- */

enum { WIDTH = 512, WIDE_ROWS = 2 * SEGMENT_ROWS + 200 }; /* two runs: an array of 64 MiB ends one */

static uint32_t make_wide_table(Session *s) {
  Column columns[] = { { 0, TYPE_I64, 0, 0, (char *)"id" },
                       { 0, TYPE_FIXED_BYTES, COLUMN_ARRAY, WIDTH, (char *)"bytes" } };
  Schema schema = { .column_count = 2, .columns = columns, .key_count = 1, .key_columns = { 0 } };
  uint32_t id = 0;
  CHECK_OK(family_create(s, "wide", FAMILY_TABLE, &schema, &id));
  return id;
}

static void write_wide(Session *s, uint32_t table, int64_t first, uint32_t count) {
  static const uint8_t bytes[WIDTH] = { 1 };
  int64_t *keys = memory_allocate(count * sizeof *keys);
  Bytes *values = memory_allocate(count * sizeof *values);
  for (uint32_t i = 0; i < count; i++) {
    keys[i] = first + i;
    values[i] = (Bytes){ bytes, WIDTH };
  }
  ColumnArray columns[] = { { keys, NULL }, { values, NULL } };
  CHECK_OK(table_write(s, table, &(ColumnBatch){ count, 2, columns, NULL }, TABLE_UPSERT, NULL));
  memory_release(keys);
  memory_release(values);
}

static Session *hook_session;
static uint32_t hook_table;

/* A merge is about to publish when all rows are replaced. */
static void replace_all(Counter which, uint64_t hits) {
  (void)hits;
  if (which != COUNTER_crash_compaction_before_publish || !hook_session) return;
  Session *s = hook_session;
  hook_session = NULL;
  write_wide(s, hook_table, 0, WIDE_ROWS);
}

ROLE(wide_follower) {
  Session *s = open_path(path, false);
  FamilyInfo info;
  CHECK_OK(family_find(s, "wide", &info));
  while (next_turn()) {
    CHECK_INT(count_rows(s, info.id), WIDE_ROWS);
    turn_done();
  }
  CHECK_OK(session_close(s));
}

/* The runs that their list names are gone when it is read, here and by who comes later. */
TEST(table_state, each_of_the_runs_that_are_adopted_together_replaces_rows_of_runs_that_were_merged) {
  Session *s = hook_session = open_with(store_path(), false, 256 << 20);
  uint32_t table = hook_table = make_wide_table(s);
  uint64_t adopted = counter_get(COUNTER_adopted_runs);
  counter_hook_set(replace_all);
  for (int i = 0; i < 4; i++) { /* half of each lies where the first run will, half where the second */
    write_wide(s, table, i, 1);
    write_wide(s, table, WIDE_ROWS - 1 - i, 1);
    CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  }
  counter_hook_set(NULL);
  CHECK(!hook_session);
  CHECK_INT(counter_get(COUNTER_adopted_runs) - adopted, 2);
  CHECK_INT(count_rows(s, table), WIDE_ROWS);
  Child child = child_start("wide_follower", store_path());
  turn(&child);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  CHECK_INT(count_rows(s, table), WIDE_ROWS);
  turn(&child);
  child_finish(&child);
  CHECK_OK(session_close(s));
}

/* ---- a process that follows ---- */

ROLE(follower) {
  Session *s = open_path(path, false);
  FamilyInfo info;
  CHECK_OK(family_find(s, "t", &info));
  while (next_turn()) {
    Counts before = counts();
    CHECK_INT(count_rows(s, info.id), ROWS);
    CHECK(counts().resolved - before.resolved <= UNRESOLVED_MAX);
    turn_done();
  }
  CHECK(counter_get(COUNTER_resolved_keys) > 3000); /* while it followed */
  CHECK_OK(session_close(s));
}

TEST(table_state, a_process_that_follows_looks_few_keys_up_when_it_counts) {
  Session *s = open_path(store_path(), false);
  uint32_t table = settled_table(s);
  Child child = child_start("follower", store_path());
  turn(&child);
  static const uint32_t sizes[] = { 1, 3000, 700, 700, 10000 };
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    upsert_random(s, table, sizes[i], (int32_t)i);
    turn(&child);
  }
  upsert_random(s, table, 5000, 9);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  upsert_random(s, table, 5000, 10);
  turn(&child);
  child_finish(&child);
  CHECK_OK(session_close(s));
}

/* ---- a process that is left behind ---- */

ROLE(left_behind) {
  Session *s = open_path(path, false);
  FamilyInfo info;
  CHECK_OK(family_find(s, "t", &info));
  while (next_turn()) {
    write_rows(s, info.id, NULL, -1, 1, 9); /* applies the log without a look at what it says of runs */
    CHECK_INT(count_rows(s, info.id), ROWS + 1);
    turn_done();
  }
  CHECK(counter_get(COUNTER_adoptions_behind) > 0);
  CHECK_OK(session_close(s));
}

static Child *hook_child;

/* It is at the generation of the flush, and what was logged so far, when the merge behind it is published. */
static void let_it_look(Counter which, uint64_t hits) {
  (void)hits;
  if (which != COUNTER_crash_compaction_before_publish || !hook_child) return;
  turn(hook_child);
  hook_child = NULL;
}

/* The runs that it knows are gone, and others lie in their places, when it reads a record that sends it to them. */
TEST(table_state, a_process_that_is_left_behind_looks_nothing_up_in_runs_that_are_gone) {
  Session *s = open_path(store_path(), false);
  uint32_t table = make_table(s), other = 0;
  Column columns[] = { { 0, TYPE_I64, 0, 0, (char *)"id" }, { 0, TYPE_I32, 0, 0, (char *)"amount" } };
  Schema schema = { .column_count = 2, .columns = columns, .key_count = 1, .key_columns = { 0 } };
  int64_t *ids = memory_allocate(ROWS * sizeof *ids);
  for (uint32_t i = 0; i < ROWS; i++) ids[i] = (int64_t)i * 1000003 % 1000000007; /* nothing that packs to nothing */
  CHECK_OK(family_create(s, "other", FAMILY_TABLE, &schema, &other));
  write_rows(s, table, ids, 0, ROWS, 0);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  Child child = child_start("left_behind", store_path());
  hook_child = &child;
  counter_hook_set(let_it_look);
  write_rows(s, table, ids, 0, ROWS / 2, 1); /* of the run, half dies: it is rewritten */
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  counter_hook_set(NULL);
  CHECK(!hook_child);
  write_rows(s, other, ids, 0, ROWS, 7); /* as long as what is free now */
  write_rows(s, table, ids, 0, ROWS, 2);
  turn(&child);
  CHECK_INT(count_rows(s, table), ROWS + 1);
  child_finish(&child);
  memory_release(ids);
  CHECK_OK(session_close(s));
}
