/* Snapshots that are held while the store changes under them; each test is named after what once went wrong. */
#include <stdio.h>
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "query/query.h"
#include "tests/support/test.h"

static Session *open_store(void) {
  static const StoreOptions options = {
    .journal_mode = JOURNAL_WAL, .sync_level = SYNC_NORMAL, .no_background = true, .log_bytes = 64 << 10
  };
  char path[512];
  Session *s = NULL;
  snprintf(path, sizeof path, "%s/store", test_directory());
  CHECK_OK(session_open(path, &options, &s));
  return s;
}

static uint32_t make_table(Session *s, const char *name) {
  Column columns[] = { { 0, TYPE_I64, 0, 0, (char *)"id" }, { 0, TYPE_I64, 0, 0, (char *)"amount" } };
  Schema schema = { .column_count = 2, .columns = columns, .key_count = 1, .key_columns = { 0 } };
  uint32_t id = 0;
  CHECK_OK(family_create(s, name, FAMILY_TABLE, &schema, &id));
  return id;
}

static void upsert(Session *s, uint32_t table, int64_t first, uint32_t count, int64_t amount) {
  int64_t *ids = memory_allocate(count * sizeof *ids), *amounts = memory_allocate(count * sizeof *amounts);
  for (uint32_t i = 0; i < count; i++) {
    ids[i] = first + i;
    amounts[i] = amount;
  }
  ColumnArray columns[] = { { ids, NULL }, { amounts, NULL } };
  ColumnBatch batch = { count, 2, columns, NULL };
  CHECK_OK(table_write(s, table, &batch, TABLE_UPSERT, NULL));
  memory_release(ids);
  memory_release(amounts);
}

static void check_snapshot(const TableSnapshot *snapshot, uint64_t rows, int64_t sum) {
  Query *query;
  Arena arena = { 0 };
  AggregateResult results[2];
  CHECK_OK(query_create(snapshot->schema, &query));
  CHECK_OK(query_aggregate(query, AGGREGATE_ROWS, NULL));
  CHECK_OK(query_aggregate(query, AGGREGATE_TOTAL, "amount"));
  CHECK_OK(query_run(query, snapshot, &arena, results, NULL));
  CHECK_INT(results[0].value.u, rows);
  CHECK_INT((int64_t)results[1].integer.low, sum);
  query_destroy(query);
  arena_release(&arena);
}

static void checkpoint(Session *s) { CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL)); }

/* The extents of an adopted run were free as soon as it was merged away, whoever still read it. */
TEST(engine_snapshots, an_adopted_run_stays_as_long_as_who_saw_it_before_its_manifest) {
  Session *s = open_store();
  uint32_t t = make_table(s, "t"), other = make_table(s, "other");
  upsert(s, t, 0, 5000, 1); /* larger than the log: adopted */
  TableSnapshot snapshot;
  CHECK_OK(table_snapshot(s, t, &snapshot));
  checkpoint(s);
  upsert(s, t, 0, 5000, 2);
  checkpoint(s); /* the first run is wholly dead, and goes */
  for (int i = 0; i < 6; i++) {
    upsert(s, other, 6000 * i, 6000, i);
    checkpoint(s);
    check_snapshot(&snapshot, 5000, 5000);
  }
  table_snapshot_release(&snapshot);
  CHECK_OK(session_close(s));
}

TEST(engine_snapshots, an_adopted_run_that_no_manifest_names_stays_as_long_as_its_readers) {
  Session *s = open_store();
  uint32_t t = make_table(s, "t"), other = make_table(s, "other");
  upsert(s, t, 0, 5000, 1);
  TableSnapshot snapshot;
  CHECK_OK(table_snapshot(s, t, &snapshot));
  CHECK_OK(family_clear(s, t));
  for (int i = 0; i < 6; i++) {
    checkpoint(s);
    upsert(s, other, 6000 * i, 6000, i);
    check_snapshot(&snapshot, 5000, 5000);
  }
  table_snapshot_release(&snapshot);
  CHECK_OK(session_close(s));
}

/* Purging nothing read a buffer that was never made. */
TEST(engine_snapshots, a_purge_of_nothing_purges_nothing) {
  Session *s = open_store();
  uint64_t purged = 7;
  CHECK_OK(kv_purge_expired(s, FAMILY_DEFAULT_ID, &purged));
  CHECK_INT(purged, 0);
  CHECK_OK(session_close(s));
}
