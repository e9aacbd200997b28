/* Tables through the engine: exact counts while rows are replaced, deleted and expire. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "tests/support/failing_memory.h"
#include "tests/support/simdisk.h"
#include "tests/support/test.h"

static const StoreOptions quiet = {
  .journal_mode = JOURNAL_WAL, .sync_level = SYNC_NORMAL, .no_background = true, .log_bytes = 256 << 10
};

static Session *open_store(void) {
  char path[512];
  Session *s = NULL;
  snprintf(path, sizeof path, "%s/store", test_directory());
  CHECK_OK(session_open(path, &quiet, &s));
  return s;
}

static uint32_t make_table(Session *s) {
  Column columns[] = { { 0, TYPE_I64, 0, 0, (char *)"id" },
                       { 0, TYPE_I32, COLUMN_NULLABLE, 0, (char *)"amount" },
                       { 0, TYPE_STRING, 0, 0, (char *)"name" } };
  Schema schema = { .column_count = 3, .columns = columns, .key_count = 1, .key_columns = { 0 } };
  uint32_t id = 0;
  CHECK_OK(family_create(s, "t", FAMILY_TABLE, &schema, &id));
  return id;
}

static Status upsert(Session *s, uint32_t table, int64_t first, int count, int32_t amount, int mode) {
  int64_t *ids = memory_allocate((size_t)count * sizeof *ids);
  int32_t *amounts = memory_allocate((size_t)count * sizeof *amounts);
  Bytes *names = memory_allocate((size_t)count * sizeof *names);
  uint8_t *nulls = memory_allocate_zeroed((size_t)count);
  for (int i = 0; i < count; i++) {
    ids[i] = first + i;
    amounts[i] = amount;
    names[i] = (Bytes){ (const uint8_t *)"somebody", 8 };
  }
  ColumnArray columns[] = { { ids, NULL }, { amounts, nulls }, { names, NULL } };
  ColumnBatch batch = { (uint32_t)count, 3, columns, NULL };
  Status status = table_write(s, table, &batch, mode, NULL);
  memory_release(ids);
  memory_release(amounts);
  memory_release(names);
  memory_release(nulls);
  return status;
}

/* Count and sum of `amount`, by looking at every row. */
static void totals(Session *s, uint32_t table, uint64_t *rows, int64_t *sum) {
  TableSnapshot snapshot;
  Scan *scan = NULL;
  CHECK_OK(table_snapshot(s, table, &snapshot));
  CHECK_OK(scan_create(snapshot.schema, NULL, snapshot.now_ms, &scan));
  *rows = 0;
  *sum = 0;
  for (uint32_t u = 0; u < snapshot.unit_count; u++) {
    CHECK_OK(scan_unit(scan, &snapshot.units[u]));
    scan_fill_masks(scan);
    const ScanSelection *selection = scan_selection(scan);
    for (uint32_t row = 0; row < snapshot.units[u].row_count; row++) {
      uint32_t block = row / BLOCK_ROWS;
      if (!(selection->blocks >> block & 1) || !(selection->masks[block][row % BLOCK_ROWS / 64] >> (row % 64) & 1))
        continue;
      Value value;
      CHECK_OK(scan_read_value(scan, 1, row, &value));
      ++*rows;
      *sum += value.i;
    }
  }
  scan_destroy(scan);
  table_snapshot_release(&snapshot);
}

static void check_totals(Session *s, uint32_t table, uint64_t rows, int64_t sum) {
  uint64_t n;
  int64_t total;
  totals(s, table, &n, &total);
  CHECK_INT(n, rows);
  CHECK_INT(total, sum);
}

static Value key_of(int64_t id) { return (Value){ .type = TYPE_I64, .i = id }; }

TEST(engine_table, counts_stay_exact_over_upserts_deletes_and_flushes) {
  Session *s = open_store();
  uint32_t t = make_table(s);
  CHECK_OK(upsert(s, t, 0, 1000, 1, TABLE_INSERT));
  check_totals(s, t, 1000, 1000);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  check_totals(s, t, 1000, 1000);
  CHECK_OK(upsert(s, t, 500, 1000, 2, TABLE_UPSERT));
  check_totals(s, t, 1500, 500 + 2000);
  Value key = key_of(10);
  CHECK_OK(table_delete(s, t, &key, 1));
  CHECK_STATUS(table_delete(s, t, &key, 1), KVSTORE_NOTFOUND);
  check_totals(s, t, 1499, 499 + 2000);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  check_totals(s, t, 1499, 499 + 2000);
  CHECK_STATUS(upsert(s, t, 600, 1, 7, TABLE_INSERT), KVSTORE_CONSTRAINT);
  CHECK_OK(upsert(s, t, 10, 1, 7, TABLE_INSERT));
  check_totals(s, t, 1500, 499 + 2000 + 7);
  CHECK_OK(session_close(s));
  s = open_store();
  FamilyInfo info;
  CHECK_OK(family_find(s, "t", &info));
  check_totals(s, info.id, 1500, 499 + 2000 + 7);
  CHECK_OK(session_close(s));
}

TEST(engine_table, a_rollback_restores_rows_of_delta_and_run) {
  Session *s = open_store();
  uint32_t t = make_table(s);
  CHECK_OK(upsert(s, t, 0, 100, 1, TABLE_INSERT));
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  CHECK_OK(upsert(s, t, 100, 100, 1, TABLE_INSERT));
  CHECK_OK(session_begin(s, true));
  CHECK_OK(upsert(s, t, 50, 100, 5, TABLE_UPSERT));
  check_totals(s, t, 200, 100 + 500);
  CHECK_OK(session_rollback(s));
  check_totals(s, t, 200, 200);
  CHECK_OK(upsert(s, t, 50, 100, 3, TABLE_UPSERT));
  check_totals(s, t, 200, 100 + 300);
  CHECK_OK(session_close(s));
}

TEST(engine_table, a_bulk_batch_is_adopted_and_replaces_rows) {
  Session *s = open_store();
  uint32_t t = make_table(s);
  CHECK_OK(upsert(s, t, 0, 1000, 1, TABLE_INSERT));
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  CHECK_OK(upsert(s, t, 1000, 1000, 1, TABLE_INSERT));
  uint64_t adopted = counter_get(COUNTER_adopted_runs);
  CHECK_OK(upsert(s, t, 500, 70000, 2, TABLE_UPSERT));
  CHECK(counter_get(COUNTER_adopted_runs) > adopted);
  check_totals(s, t, 70500, 500 + 140000);
  CHECK_OK(upsert(s, t, 600, 10, 3, TABLE_UPSERT));
  check_totals(s, t, 70500, 500 + 140010);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  check_totals(s, t, 70500, 500 + 140010);
  CHECK_OK(session_close(s));
  s = open_store();
  check_totals(s, t, 70500, 500 + 140010);
  CHECK_OK(session_close(s));
}

TEST(engine_table, ascending_batches_are_encoded_by_key_only_where_others_may_be_replaced) {
  enum { ROWS = 70000 };
  Session *s = open_store();
  uint32_t t = make_table(s);
  uint64_t encoded = counter_get(COUNTER_bulk_keys_encoded);
  CHECK_OK(upsert(s, t, 0, ROWS, 1, TABLE_INSERT));
  CHECK_OK(upsert(s, t, ROWS, ROWS, 1, TABLE_INSERT)); /* behind all that is there */
  CHECK_INT(counter_get(COUNTER_bulk_keys_encoded) - encoded, 0);
  CHECK_OK(upsert(s, t, ROWS / 2, ROWS, 2, TABLE_UPSERT));
  CHECK_INT(counter_get(COUNTER_bulk_keys_encoded) - encoded, ROWS);
  check_totals(s, t, 2 * ROWS, 3 * ROWS);
  CHECK_STATUS(upsert(s, t, 2 * ROWS - 1, ROWS, 1, TABLE_INSERT), KVSTORE_CONSTRAINT);
  CHECK_OK(upsert(s, t, 5 * ROWS, 1, 1, TABLE_INSERT)); /* a row of the delta */
  CHECK_OK(upsert(s, t, 5 * ROWS, ROWS, 4, TABLE_UPSERT));
  check_totals(s, t, 3 * ROWS, 7 * ROWS);
  CHECK_OK(session_close(s));
}

/* A batch of 70,000 keys, two of which are exchanged, or the same: the last of them stays. */
TEST(engine_table, a_batch_that_ascends_but_for_two_rows_is_sorted) {
  enum { ROWS = 70000 };
  Session *s = open_store();
  uint32_t t = make_table(s);
  int64_t *ids = memory_allocate(ROWS * sizeof *ids);
  int32_t *amounts = memory_allocate_zeroed(ROWS * sizeof *amounts);
  Bytes *names = memory_allocate_zeroed(ROWS * sizeof *names);
  for (int i = 0; i < ROWS; i++) ids[i] = i;
  ids[69998] = 69999;
  ids[69999] = 69998;
  amounts[69999] = 3;
  ColumnArray columns[] = { { ids, NULL }, { amounts, NULL }, { names, NULL } };
  ColumnBatch batch = { ROWS, 3, columns, NULL };
  CHECK_OK(table_write(s, t, &batch, TABLE_INSERT, NULL));
  check_totals(s, t, ROWS, 3);
  ids[69999] = 69999;
  amounts[69999] = 5;
  CHECK_STATUS(table_write(s, t, &batch, TABLE_INSERT, NULL), KVSTORE_CONSTRAINT);
  CHECK_OK(table_write(s, t, &batch, TABLE_UPSERT, NULL));
  check_totals(s, t, ROWS, 5 + 3);
  memory_release(ids);
  memory_release(amounts);
  memory_release(names);
  CHECK_OK(session_close(s));
}

/* Texts that lie one behind the other are looked at as one: then none may begin inside a character. */
TEST(engine_table, a_character_cut_by_two_neighbouring_texts_is_refused) {
  static const char text[] = "one \xc3\xa9 two";
  Session *s = open_store();
  uint32_t t = make_table(s);
  int64_t ids[] = { 1, 2, 3 };
  int32_t amounts[] = { 1, 1, 1 };
  const uint8_t *at = (const uint8_t *)text;
  Bytes whole[] = { { at, 4 }, { at + 4, 2 }, { at + 6, 4 } }, cut[] = { { at, 5 }, { at + 5, 1 }, { at + 6, 4 } };
  ColumnArray columns[] = { { ids, NULL }, { amounts, NULL }, { cut, NULL } };
  ColumnBatch batch = { 3, 3, columns, NULL };
  CHECK_STATUS(table_write(s, t, &batch, TABLE_INSERT, NULL), KVSTORE_TYPE);
  CHECK_INT(status_last()->row, 0);
  check_totals(s, t, 0, 0);
  columns[2].values = whole;
  CHECK_OK(table_write(s, t, &batch, TABLE_INSERT, NULL));
  check_totals(s, t, 3, 3);
  CHECK_OK(session_close(s));
}

TEST(engine_table, a_transaction_of_many_bulk_batches_syncs_the_file_once) {
  Session *s = open_store();
  uint32_t t = make_table(s);
  CHECK_OK(upsert(s, t, 0, 1, 1, TABLE_INSERT)); /* makes the log */
  uint64_t adopted = counter_get(COUNTER_adopted_runs), syncs = counter_get(COUNTER_file_syncs);
  CHECK_OK(session_begin(s, true));
  for (int i = 0; i < 4; i++) CHECK_OK(upsert(s, t, 1 + i * 70000, 70000, 1, TABLE_INSERT));
  CHECK_INT(counter_get(COUNTER_adopted_runs) - adopted, 4);
  CHECK_INT(counter_get(COUNTER_file_syncs) - syncs, 0);
  CHECK_OK(session_commit(s));
  CHECK_INT(counter_get(COUNTER_file_syncs) - syncs, 1);
  check_totals(s, t, 280001, 280001);
  CHECK_OK(session_close(s));
}

/* Keys of one batch lie between those of the others, in runs and in the delta; their first 8 bytes are the same. */
TEST(engine_table, bulk_batches_in_no_order_find_what_they_replace) {
  enum { KEYS = 210000, PIECES = 3 };
  Session *s = open_store();
  Column columns[] = { { 0, TYPE_STRING, 0, 0, (char *)"id" }, { 0, TYPE_I32, COLUMN_NULLABLE, 0, (char *)"amount" } };
  Schema schema = { .column_count = 2, .columns = columns, .key_count = 1, .key_columns = { 0 } };
  uint32_t t = 0;
  CHECK_OK(family_create(s, "t", FAMILY_TABLE, &schema, &t));
  char(*texts)[32] = memory_allocate(KEYS * sizeof *texts);
  Bytes *ids = memory_allocate(KEYS * sizeof *ids);
  int32_t *amounts = memory_allocate(KEYS * sizeof *amounts);
  for (uint32_t i = 0; i < KEYS; i++) {
    uint32_t number = (uint32_t)((uint64_t)i * 100003 % KEYS);
    int length = snprintf(texts[i], sizeof *texts, "common %c %u", 'a' + (int)(number % 7), number);
    ids[i] = (Bytes){ (uint8_t *)texts[i], (size_t)length };
    amounts[i] = 1;
  }
  for (int round = 0; round < 2; round++) {
    for (uint32_t p = 0; p < PIECES; p++) {
      ColumnArray arrays[] = { { ids + p * (KEYS / PIECES), NULL }, { amounts, NULL } };
      ColumnBatch batch = { KEYS / PIECES, 2, arrays, NULL };
      if (round) CHECK_STATUS(table_write(s, t, &batch, TABLE_INSERT, NULL), KVSTORE_CONSTRAINT);
      CHECK_OK(table_write(s, t, &batch, TABLE_UPSERT, NULL));
      batch.row_count = 100; /* ordinary rows, which the next round's runs replace */
      CHECK_OK(table_write(s, t, &batch, TABLE_UPSERT, NULL));
    }
    check_totals(s, t, KEYS, KEYS);
  }
  memory_release(texts);
  memory_release(ids);
  memory_release(amounts);
  CHECK_OK(session_close(s));
}

TEST(engine_table, a_transaction_larger_than_the_log_spills_and_stays_atomic) {
  Session *s = open_store();
  uint32_t t = make_table(s);
  CHECK_OK(upsert(s, t, 0, 20000, 1, TABLE_INSERT));
  CHECK_OK(session_begin(s, true));
  for (int i = 0; i < 20; i++) CHECK_OK(upsert(s, t, 1000 * i, 2000, 2, TABLE_UPSERT));
  check_totals(s, t, 21000, 2 * 21000);
  CHECK_OK(session_rollback(s));
  check_totals(s, t, 20000, 20000);
  CHECK_OK(session_begin(s, true));
  for (int i = 0; i < 20; i++) CHECK_OK(upsert(s, t, 1000 * i, 2000, 2, TABLE_UPSERT));
  CHECK_OK(session_commit(s));
  check_totals(s, t, 21000, 2 * 21000);
  CHECK_OK(session_close(s));
  s = open_store();
  check_totals(s, t, 21000, 2 * 21000);
  CHECK_OK(session_close(s));
}

TEST(engine_table, get_and_update_by_key_see_the_newest_row) {
  Session *s = open_store();
  uint32_t t = make_table(s);
  CHECK_OK(upsert(s, t, 0, 10, 1, TABLE_INSERT));
  for (int flushed = 0; flushed < 2; flushed++) {
    Value key = key_of(5), row[3], amount = { .type = TYPE_I32, .i = 40 + flushed };
    uint32_t column = 1;
    Arena arena = { 0 };
    CHECK_OK(table_update(s, t, &key, 1, &column, &amount, 1, NULL));
    CHECK_OK(table_get(s, t, &key, 1, &arena, row, 3, NULL));
    CHECK_INT(row[0].i, 5);
    CHECK_INT(row[1].i, 40 + flushed);
    CHECK_BYTES(row[2].s.data, "somebody", 8);
    arena_release(&arena);
    CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  }
  CHECK_OK(session_close(s));
}

TEST(engine_table, rows_of_many_keys_are_read_once_a_segment) {
  enum { ROWS = 2 * SEGMENT_ROWS + 100, KEYS = 3000 };
  Session *s = open_store();
  uint32_t t = make_table(s), columns[] = { 1, 2 };
  int64_t ids[KEYS];
  uint64_t random = 3;
  for (int i = 0; i < KEYS; i++) ids[i] = (int64_t)test_random_below(&random, ROWS);
  ids[7] = -1;
  ColumnArray keys = { ids, NULL };
  TableLookup lookup = { .count = KEYS, .keys = &keys, .columns = columns, .column_count = 2 };
  Arena arena = { 0 };
  CHECK_OK(upsert(s, t, 0, ROWS, 4, TABLE_INSERT));
  uint64_t groups = counter_get(COUNTER_key_groups_read);
  CHECK_OK(table_get_many(s, t, &lookup, &arena));
  CHECK_INT(counter_get(COUNTER_key_groups_read) - groups, 3);
  CHECK_INT(lookup.found_count, KEYS - 1);
  CHECK_INT(lookup.found[7], 0);
  for (int i = 0; i < KEYS; i++) CHECK_INT(((const int32_t *)lookup.arrays[0].values)[i], i == 7 ? 0 : 4);
  arena_release(&arena);
  CHECK_OK(session_close(s));
}

/* Deletes the keys from `first` on, in an order that jumps about, each `times` times. */
static uint64_t delete_keys(Session *s, uint32_t table, int64_t first, int64_t count, int64_t times) {
  int64_t *ids = memory_allocate((size_t)(count * times) * sizeof *ids);
  for (int64_t i = 0; i < count * times; i++) ids[i] = first + i * 7919 % count;
  ColumnArray keys = { ids, NULL };
  uint64_t deleted = 0;
  CHECK_OK(table_delete_many(s, table, &keys, (uint32_t)(count * times), &deleted));
  memory_release(ids);
  return deleted;
}

TEST(engine_table, deletes_of_many_keys_become_a_run_where_the_log_is_too_small) {
  Session *s = open_store();
  uint32_t t = make_table(s);
  CHECK_OK(upsert(s, t, 0, 70000, 2, TABLE_INSERT));
  CHECK_OK(upsert(s, t, 70000, 500, 2, TABLE_INSERT));
  uint64_t runs = counter_get(COUNTER_deletes_adopted);
  CHECK_INT(delete_keys(s, t, 69900, 200, 1), 200);
  CHECK_INT(counter_get(COUNTER_deletes_adopted) - runs, 0);
  check_totals(s, t, 70300, 140600);
  CHECK_OK(session_begin(s, true));
  CHECK_INT(delete_keys(s, t, 1000, 40000, 3), 40000);
  CHECK_INT(counter_get(COUNTER_deletes_adopted) - runs, 1);
  check_totals(s, t, 30300, 60600);
  CHECK_OK(session_rollback(s));
  check_totals(s, t, 70300, 140600);
  CHECK_INT(delete_keys(s, t, 60000, 11000, 1), 10300); /* of the delta, too; 200 of them are not there */
  CHECK_INT(counter_get(COUNTER_deletes_adopted) - runs, 2);
  check_totals(s, t, 60000, 120000);
  CHECK_INT(delete_keys(s, t, 60000, 11000, 1), 0);
  CHECK_OK(upsert(s, t, 65000, 10, 7, TABLE_INSERT)); /* a row that expired is none */
  check_totals(s, t, 60010, 120070);
  CHECK_OK(session_close(s));
  s = open_store();
  check_totals(s, t, 60010, 120070);
  CHECK_OK(session_maintain(s));
  check_totals(s, t, 60010, 120070);
  char *why = NULL;
  CHECK_OK(session_check(s, &why));
  CHECK_OK(session_close(s));
}

/* ---- runs that are full ---- */

/* In one run after the other, as long as they get: `rows` ascending ids, and the same bytes in each row. */
static void append_arrays(Session *s, uint32_t table, uint32_t rows, uint32_t width) {
  int64_t *ids = memory_allocate(rows * sizeof *ids);
  Bytes *values = memory_allocate(rows * sizeof *values);
  uint8_t *zeros = memory_allocate_zeroed(width);
  for (uint32_t i = 0; i < rows; i++) {
    ids[i] = i;
    values[i] = (Bytes){ zeros, width };
  }
  ColumnArray columns[] = { { ids, NULL }, { values, NULL } };
  ColumnBatch batch = { rows, 2, columns, NULL };
  CHECK_OK(table_write(s, table, &batch, TABLE_INSERT, NULL));
  memory_release(ids);
  memory_release(values);
  memory_release(zeros);
}

static uint32_t runs_of(Session *s, uint32_t table) {
  Version *v = version_keep(s->store);
  uint32_t runs = version_family(v, table)->eras[0].run_count;
  version_let_go(s->store, v);
  return runs;
}

TEST(engine_table, four_runs_that_arrays_have_filled_are_not_merged_into_as_many) {
  enum { WIDTH = 512, FULL_ROWS = RUN_ARRAY_BYTES_MAX / WIDTH }; /* two segments of 32 MiB */
  Column columns[] = { { 0, TYPE_I64, 0, 0, (char *)"id" },
                       { 0, TYPE_FIXED_BYTES, COLUMN_ARRAY, WIDTH, (char *)"vector" } };
  Schema schema = { .column_count = 2, .columns = columns, .key_count = 1, .key_columns = { 0 } };
  Session *s = NULL;
  uint32_t t = 0;
  bool merged = true;
  CHECK_OK(session_open(NULL, &quiet, &s));
  CHECK_OK(family_create(s, "t", FAMILY_TABLE, &schema, &t));
  append_arrays(s, t, 4 * FULL_ROWS, WIDTH);
  CHECK_OK(checkpoint_end_delta(s));
  CHECK_OK(maintenance_flush(s->store));
  CHECK_INT(runs_of(s, t), 4);
  CHECK_OK(maintenance_take(s->store, true));
  CHECK_OK(compact_once(s->store, true, &merged));
  maintenance_give(s->store);
  CHECK(!merged);
  CHECK_OK(session_maintain(s)); /* ends */
  CHECK_INT(runs_of(s, t), 4);
  CHECK_OK(session_close(s));
}

/* ---- without memory ---- */

static Session *open_in_memory(uint32_t *table) {
  Session *s = NULL;
  CHECK_OK(session_open(NULL, &quiet, &s));
  *table = make_table(s);
  CHECK_OK(upsert(s, *table, 0, 10, 1, TABLE_UPSERT));
  return s;
}

static void check_rows(Session *s, uint32_t table, uint64_t expected) {
  uint64_t rows;
  int64_t sum;
  totals(s, table, &rows, &sum);
  CHECK_INT(rows, expected);
}

static void put_one(Session *s) {
  CHECK_OK(kv_put(s, FAMILY_DEFAULT_ID, (Bytes){ (const uint8_t *)"key", 3 }, (Bytes){ (const uint8_t *)"v", 1 },
                  EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
}

/* A boundary ends the deltas of all families or of none. */
TEST(engine_table, rows_go_on_where_a_boundary_found_no_memory) {
  bool reached = true;
  for (uint64_t n = 1; reached; n++) {
    uint32_t table;
    Session *s = open_in_memory(&table);
    put_one(s);
    failing_memory_install(n, false);
    Status status = checkpoint_end_delta(s);
    reached = failing_memory_failures() > 0;
    failing_memory_remove();
    CHECK(status == KVSTORE_OK || (reached && status == KVSTORE_NOMEM));
    put_one(s);
    CHECK_OK(upsert(s, table, 5, 10, 2, TABLE_UPSERT));
    check_rows(s, table, 15);
    CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
    check_rows(s, table, 15);
    CHECK_OK(session_close(s));
  }
}

static void change_much(Session *s, uint32_t table) {
  uint32_t other;
  CHECK_OK(upsert(s, table, 5, 66000, 2, TABLE_UPSERT)); /* a run */
  CHECK_OK(upsert(s, table, 0, 10, 3, TABLE_UPSERT));
  CHECK_OK(family_clear(s, table));
  CHECK_OK(family_create(s, "other", FAMILY_KV, NULL, &other));
}

/* What the version still holds of it must not come back with the sequences that it had. */
TEST(engine_table, a_rollback_is_whole_where_it_finds_no_memory) {
  bool reached = true;
  for (uint64_t n = 1; reached; n++) {
    uint32_t table, other;
    Session *s = open_in_memory(&table);
    CHECK_OK(session_begin(s, true));
    change_much(s, table);
    failing_memory_install(n, n % 2);
    CHECK_OK(session_rollback(s));
    reached = failing_memory_failures() > 0;
    failing_memory_remove();
    check_rows(s, table, 10);
    for (int i = 0; i < 10; i++) CHECK_OK(upsert(s, table, 20 + i, 1, 4, TABLE_UPSERT));
    check_rows(s, table, 20);
    CHECK_OK(family_create(s, "other", FAMILY_KV, NULL, &other));
    CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
    check_rows(s, table, 20);
    CHECK_OK(session_check(s, NULL));
    CHECK_OK(session_close(s));
  }
}

/* ---- a log that somebody wrote ---- */

/* The last byte of what stands first in the only record becomes another, and its checksum right. */
static void change_log(uint8_t *log, const uint8_t *what, size_t length, uint8_t last) {
  uint8_t *record = log + 4096, *at = record + 56;
  while (memcmp(at, what, length) != 0) at++;
  CHECK(at < record + load_u32(record));
  at[length - 1] = last;
  store_u64(record + 48, record_checksum(record, load_u32(record), (RecordKind)record[4], load_u64(log + 16)));
}

TEST(engine_table, a_log_that_no_writer_wrote_is_refused) {
  static const char path[] = "/disk/store", log_path[] = "/disk/store-wal";
  static const struct {
    uint8_t what[9];
    size_t length;
    uint8_t last;
    const char *why; /* NULL: it stays as it is */
  } lies[] = { { { 8, 0x80, 0, 0, 0, 0, 0, 0, 1 }, 9, 1, NULL },
               { { 8, 0x80, 0, 0, 0, 0, 0, 0, 1 }, 9, 2, "under a key that is not its own" },
               { { 1, 't' }, 2, 0x80, "a family that cannot be" } }; /* no UTF-8: no manifest takes it */
  SimDisk *disk = NULL;
  Session *s = NULL;
  size_t store_length, log_length;
  CHECK_OK(simdisk_create(1, &disk));
  StoreOptions options = quiet;
  options.os = simdisk_os(disk);
  CHECK_OK(session_open(path, &options, &s));
  CHECK_OK(session_begin(s, true));
  CHECK_OK(upsert(s, make_table(s), 1, 1, 7, TABLE_INSERT));
  CHECK_OK(session_commit(s));
  uint8_t *store = simdisk_read_file(disk, path, &store_length), *log = simdisk_read_file(disk, log_path, &log_length);
  CHECK_OK(session_close(s));
  for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
    uint8_t *changed = memory_copy(log, log_length);
    change_log(changed, lies[i].what, lies[i].length, lies[i].last);
    simdisk_write_file(disk, path, store, store_length);
    simdisk_write_file(disk, log_path, changed, log_length);
    CHECK_STATUS(session_open(path, &options, &s), lies[i].why ? KVSTORE_CORRUPT : KVSTORE_OK);
    if (lies[i].why) CHECK(strstr(status_last()->text, lies[i].why));
    if (!lies[i].why) CHECK_OK(session_close(s));
    memory_release(changed);
  }
  free(store);
  free(log);
  simdisk_destroy(disk);
}
