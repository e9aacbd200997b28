#include "tests/model/numbers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "query/query.h"

const char *store_path(void) {
  static char path[600];
  snprintf(path, sizeof path, "%s/store", test_directory());
  return path;
}

static const char journal_variable[] = "COLONNADE_TEST_LOG_INSIDE";

void use_journal_mode(int mode) {
  CHECK_INT(mode == JOURNAL_DELETE ? setenv(journal_variable, "1", 1) : unsetenv(journal_variable), 0);
}

StoreOptions small_log_options(void) {
  return (StoreOptions){ .journal_mode = getenv(journal_variable) ? JOURNAL_DELETE : JOURNAL_WAL,
                         .sync_level = SYNC_NORMAL,
                         .busy_timeout_ms = 30000,
                         .log_bytes = 64 << 10 };
}

Session *opened_with(const char *path, StoreOptions options) {
  Session *s = NULL;
  CHECK_OK(session_open(path, &options, &s));
  return s;
}

/* ---- keys ---- */

static Bytes text(const char *t) { return (Bytes){ (const uint8_t *)t, strlen(t) }; }

Status try_put_number(Session *s, const char *key, int64_t number) {
  return kv_put(s, FAMILY_DEFAULT_ID, text(key), (Bytes){ (const uint8_t *)&number, sizeof number }, EXPIRY_NEVER,
                KV_PUT_ALWAYS, NULL);
}

void put_number(Session *s, const char *key, int64_t number) { CHECK_OK(try_put_number(s, key, number)); }

int64_t get_number(Session *s, const char *key) {
  KvValue value;
  Status status = kv_get(s, FAMILY_DEFAULT_ID, text(key), &value);
  if (status == KVSTORE_NOTFOUND) return -1;
  CHECK_OK(status);
  int64_t number;
  CHECK_INT(value.length, sizeof number);
  memcpy(&number, value.data, sizeof number);
  memory_release(value.data);
  return number;
}

/* ---- amounts ---- */

uint32_t amounts_table(Session *s) {
  FamilyInfo info;
  if (family_find(s, "t", &info) == KVSTORE_OK) return info.id;
  Column columns[] = { { 0, TYPE_I64, 0, 0, (char *)"id" }, { 0, TYPE_I64, 0, 0, (char *)"amount" } };
  Schema schema = { .column_count = 2, .columns = columns, .key_count = 1, .key_columns = { 0 } };
  uint32_t id = 0;
  CHECK_OK(family_create(s, "t", FAMILY_TABLE, &schema, &id));
  return id;
}

void upsert_amounts(Session *s, int64_t first, uint32_t count, int64_t amount) {
  int64_t *ids = memory_allocate(count * sizeof *ids), *amounts = memory_allocate(count * sizeof *amounts);
  CHECK(ids && amounts);
  for (uint32_t i = 0; i < count; i++) {
    ids[i] = first + i;
    amounts[i] = amount;
  }
  ColumnArray columns[] = { { ids, NULL }, { amounts, NULL } };
  ColumnBatch batch = { count, 2, columns, NULL };
  CHECK_OK(table_write(s, amounts_table(s), &batch, TABLE_UPSERT, NULL));
  memory_release(ids);
  memory_release(amounts);
}

void total_amounts(Session *s, uint64_t *rows, int64_t *sum) {
  TableSnapshot snapshot;
  Query *query;
  Arena arena = { 0 };
  AggregateResult results[2];
  CHECK_OK(table_snapshot(s, amounts_table(s), &snapshot));
  CHECK_OK(query_create(snapshot.schema, &query));
  CHECK_OK(query_aggregate(query, AGGREGATE_ROWS, NULL));
  CHECK_OK(query_aggregate(query, AGGREGATE_TOTAL, "amount"));
  CHECK_OK(query_run(query, &snapshot, &arena, results, NULL));
  *rows = results[0].value.u;
  *sum = (int64_t)results[1].integer.low;
  query_destroy(query);
  table_snapshot_release(&snapshot);
  arena_release(&arena);
}
