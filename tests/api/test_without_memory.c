/* Every allocation of every kind of call fails once: the answer is KVSTORE_NOMEM, and the store is as before. */
#include "tests/api/api_support.h"
#include "tests/support/failing_memory.h"

/* What a scenario does; it gives back a code, and cleans up after itself whatever that is. */
typedef int (*Scenario)(KVStore *kv, KVTable *table);

static int scenario_put(KVStore *kv, KVTable *table) {
  (void)table;
  return kvstore_put(kv, "new", 3, "value", 5);
}

static int scenario_get(KVStore *kv, KVTable *table) {
  void *data = NULL;
  int length;
  (void)table;
  int status = kvstore_get(kv, "old", 3, &data, &length);
  kvstore_free(data);
  return status;
}

static int scenario_iterate(KVStore *kv, KVTable *table) {
  KVIterator *it = NULL;
  (void)table;
  int status = kvstore_prefix_iterator_create(kv, "o", 1, &it);
  while (status == KVSTORE_OK && !kvstore_iterator_eof(it)) status = kvstore_iterator_next(it);
  kvstore_iterator_close(it);
  return status;
}

static int scenario_family(KVStore *kv, KVTable *table) {
  KVColumnFamily *cf = NULL;
  char **names = NULL;
  int count = 0;
  (void)table;
  int status = kvstore_cf_open(kv, "family", &cf);
  if (status == KVSTORE_OK) status = kvstore_cf_list(kv, &names, &count);
  for (int i = 0; i < count; i++) kvstore_free(names[i]);
  kvstore_free(names);
  kvstore_cf_close(cf);
  return status;
}

static int scenario_snapshot(KVStore *kv, KVTable *table) {
  KVSnapshot *snapshot = NULL;
  KVColumnFamily *cf = NULL;
  KVPinned *pinned = NULL;
  KVLookup lookup = { .key = "old", .key_length = 3 };
  KVQuery *query = NULL;
  void *values = NULL;
  uint64_t rows = 0;
  int status = kvstore_snapshot_create(kv, &snapshot);
  if (status == KVSTORE_OK) status = kvstore_snapshot_cf_open(snapshot, "family", &cf);
  if (status == KVSTORE_OK) status = kvstore_snapshot_get_many(snapshot, NULL, &lookup, 1, &values);
  if (status == KVSTORE_OK) status = kvstore_snapshot_get_pinned(snapshot, NULL, "old", 3, &pinned);
  if (status == KVSTORE_OK) status = kvquery_create(table, &query);
  if (status == KVSTORE_OK) status = kvquery_at(query, snapshot);
  if (status == KVSTORE_OK) status = kvquery_count(query, &rows);
  kvquery_close(query);
  kvstore_pinned_release(pinned);
  kvstore_free(values);
  kvstore_cf_close(cf);
  kvstore_snapshot_release(snapshot);
  return status;
}

static int scenario_range(KVStore *kv, KVTable *table) {
  (void)table;
  return kvstore_delete_range(kv, "a", 1, "b", 1, NULL);
}

static int scenario_swap(KVStore *kv, KVTable *table) {
  int swapped = 0;
  (void)table;
  return kvstore_compare_and_swap(kv, "new", 3, NULL, KVSTORE_ABSENT, "value", 5, 0, &swapped);
}

/* Growing a batch tries again with less: what it puts is there already, so that such a try changes no count. */
static int scenario_batch(KVStore *kv, KVTable *table) {
  KVColumnFamily *cf = NULL;
  KVBatch *batch = NULL;
  (void)table;
  int status = kvstore_cf_open(kv, "family", &cf);
  if (status == KVSTORE_OK) status = kvstore_batch_create(kv, &batch);
  if (status == KVSTORE_OK) status = kvstore_batch_put(batch, NULL, "old", 3, "value", 5);
  if (status == KVSTORE_OK) status = kvstore_batch_put(batch, cf, "new", 3, "value", 5);
  if (status == KVSTORE_OK) status = kvstore_batch_delete(batch, cf, "new", 3);
  if (status == KVSTORE_OK) status = kvstore_batch_write(batch, NULL);
  kvstore_batch_close(batch);
  kvstore_cf_close(cf);
  return status;
}

static int scenario_upsert(KVStore *kv, KVTable *table) {
  (void)kv;
  return upsert_person(table, 50, "new", 2);
}

static int scenario_append(KVStore *kv, KVTable *table) {
  const int64_t ids[] = { 60, 61 };
  const char *names[] = { "a", "b" };
  const uint8_t nulls[] = { 2, 2 };
  const double heights[] = { 1, 2 };
  const KVColumnData data[] = { { KVTABLE_TYPE_I64, 0, ids, NULL, NULL, NULL },
                                { KVTABLE_TYPE_STRING, KVTABLE_FORM_POINTERS, names, NULL, NULL, NULL },
                                { KVTABLE_TYPE_F64, 0, heights, NULL, NULL, NULL },
                                { KVTABLE_TYPE_DATE, 0, NULL, nulls, NULL, NULL } };
  (void)kv;
  return kvtable_append(table, data, 4, 2, NULL, KVTABLE_INSERT, NULL);
}

static int scenario_load(KVStore *kv, KVTable *table) {
  KVBulkLoad *load = NULL;
  KVBulkOptions options = KVSTORE_BULK_OPTIONS_INIT;
  char value[700] = { 0 };
  (void)table;
  options.memory_bytes = 64 << 10;
  KVColumnFamily *cf = NULL;
  int64_t before = 0, after = 0;
  int status = kvstore_cf_open(kv, "family", &cf);
  if (status == KVSTORE_OK) status = kvstore_cf_count(cf, &before);
  if (status == KVSTORE_OK) status = kvstore_bulk_load_begin(kv, cf, &options, &load);
  for (unsigned i = 0; i < 100 && status == KVSTORE_OK; i++) {
    char key[16];
    int length = snprintf(key, sizeof key, "load%u", i * 7 % 100);
    status = kvstore_bulk_load_add(load, key, length, value, sizeof value, 0);
  }
  if (status == KVSTORE_OK)
    status = kvstore_bulk_load_commit(load, NULL);
  else
    kvstore_bulk_load_abort(load);
  if (load && kvstore_cf_count(cf, &after) == KVSTORE_OK) CHECK_INT(after, status == KVSTORE_OK ? 100 : before);
  kvstore_cf_close(cf);
  return status;
}

static int scenario_row(KVStore *kv, KVTable *table) {
  KVValue key = kvvalue_i64(1), row[4], height = kvvalue_f64(9);
  KVRow *held = NULL;
  const char *columns[] = { "height" };
  (void)kv;
  int status = kvtable_get(table, &key, 1, row, 4, NULL, &held);
  kvtable_row_free(held);
  if (status == KVSTORE_OK) status = kvtable_update(table, &key, 1, columns, &height, 1, NULL);
  return status;
}

static int scenario_rows_by_key(KVStore *kv, KVTable *table) {
  const int64_t ids[] = { 2, 1, 77, 1 };
  const char *columns[] = { "name", "height" };
  const KVColumnData key = { .type = KVTABLE_TYPE_I64, .values = ids };
  KVRows *rows = NULL;
  int status = kvtable_get_many(table, &key, 1, 4, columns, 2, NULL, &rows);
  if (status == KVSTORE_OK) CHECK_INT(rows->found[2], 0);
  kvtable_rows_free(rows);
  if (status == KVSTORE_OK) status = kvstore_begin(kv, 1);
  if (status != KVSTORE_OK) return status;
  status = kvtable_delete_many(table, &key, 1, 4, NULL);
  (void)kvstore_rollback(kv);
  return status;
}

static int scenario_query(KVStore *kv, KVTable *table) {
  KVQuery *query = NULL;
  KVCursor *cursor = NULL;
  KVValue name = kvvalue_string("Ada"), result;
  char *text = NULL;
  const char *columns[] = { "name" };
  (void)kv;
  int status = kvquery_create(table, &query);
  if (status == KVSTORE_OK) status = kvquery_where(query, "name = ? or height > 0", &name, 1);
  if (status == KVSTORE_OK) status = kvquery_select(query, columns, 1);
  if (status == KVSTORE_OK) status = kvquery_max(query, "name", &result);
  if (status == KVSTORE_OK) status = kvquery_open(query, &cursor);
  while (status == KVSTORE_OK) status = kvcursor_next(cursor);
  if (status == KVSTORE_NOTFOUND) status = kvquery_explain(query, &text);
  kvstore_free(text);
  kvcursor_close(cursor);
  kvquery_close(query);
  return status;
}

static int scenario_query_joins(KVStore *kv, KVTable *table) {
  static const char *const on[] = { "id" };
  KVQuery *query = NULL;
  KVJoin join = KVJOIN_INIT;
  uint64_t count = 0;
  (void)kv;
  join.table = table;
  join.left = join.right = on;
  join.count = 1;
  join.prefix = "o_";
  join.where = "height > 0";
  int status = kvquery_create(table, &query);
  if (status == KVSTORE_OK) status = kvquery_join(query, &join);
  if (status == KVSTORE_OK) status = kvquery_where(query, "id < 5 and o_height > id", NULL, 0);
  if (status == KVSTORE_OK) status = kvquery_count(query, &count);
  kvquery_close(query);
  return status;
}

static int scenario_query_keys(KVStore *kv, KVTable *table) {
  KVQuery *query = NULL;
  KVValue from = kvvalue_i64(0), to = kvvalue_i64(2);
  uint64_t count = 0;
  (void)kv;
  int status = kvquery_create(table, &query);
  if (status == KVSTORE_OK) status = kvquery_key_range(query, &from, 1, &to, 1, KVQUERY_TO_INCLUDED);
  if (status == KVSTORE_OK) status = kvquery_where(query, "id < 5 and height > 0", NULL, 0);
  if (status == KVSTORE_OK) status = kvquery_count(query, &count);
  kvquery_close(query);
  return status;
}

/* Columns that are kept, pairs that are written under them, questions that read them and others that walk. */
static int scenario_pairs(KVStore *kv, KVTable *table) {
  const KVPairColumn kept[] = { { "a", "json(a)", 0, 0 }, { "part", "part(1)", 0, 0 } };
  const KVPairColumn mine = { "rest", "at(1)", KVTABLE_TYPE_BYTES, 0 };
  const char *keys[] = { "part" };
  KVColumnFamily *cf = NULL;
  KVTable *pairs = NULL;
  KVQuery *query = NULL;
  KVCursor *cursor = NULL;
  KVDeclaredColumns *declared = NULL;
  KVValue prefix = kvvalue_string("k/"), result;
  (void)table;
  int status = kvstore_cf_drop(kv, "pairs"); /* which a failure may have left */
  if (status == KVSTORE_OK || status == KVSTORE_NOTFOUND) status = kvstore_cf_create(kv, "pairs", &cf);
  if (status == KVSTORE_OK) status = kvstore_cf_put(cf, "k/1", 3, "{\"a\":1}", 7);
  if (status == KVSTORE_OK) status = kvtable_declare(cf, kept, 2, 0);
  if (status == KVSTORE_OK) status = kvstore_cf_put(cf, "k/2", 3, "{\"a\":2}", 7);
  if (status == KVSTORE_OK) status = kvstore_cf_delete(cf, "k/1", 3);
  if (status == KVSTORE_OK) status = kvtable_open_family(cf, &mine, 1, &pairs);
  if (status == KVSTORE_OK) status = kvquery_create(pairs, &query);
  if (status == KVSTORE_OK) status = kvquery_key_prefix(query, &prefix, 1);
  if (status == KVSTORE_OK) status = kvquery_sum(query, "a", &result);
  if (status == KVSTORE_OK) CHECK(result.as.f64 == 2);
  if (status == KVSTORE_OK) status = kvquery_max(query, "rest", &result);
  if (status == KVSTORE_OK) status = kvquery_group_by(query, keys, 1);
  if (status == KVSTORE_OK) status = kvquery_open(query, &cursor);
  while (status == KVSTORE_OK) status = kvcursor_next(cursor);
  if (status == KVSTORE_NOTFOUND) status = kvtable_declared(cf, &declared);
  if (status == KVSTORE_OK) CHECK_INT(declared->pairs, 1);
  kvstore_free(declared);
  kvcursor_close(cursor);
  kvquery_close(query);
  kvtable_close(pairs);
  kvstore_cf_close(cf);
  return status;
}

static int scenario_open(KVStore *kv, KVTable *table) {
  KVStore *other = NULL;
  KVTable *again = NULL;
  (void)table;
  int status = kvstore_clone(kv, &other);
  if (status == KVSTORE_OK) status = kvtable_open(other, "people", &again);
  kvtable_close(again);
  int closed = kvstore_close(other);
  return status == KVSTORE_OK ? closed : status;
}

static int scenario_changes(KVStore *kv, KVTable *table) {
  KVFamilyOptions options = KVSTORE_FAMILY_OPTIONS_INIT;
  KVColumnFamily *cf = NULL;
  KVChanges *changes = NULL;
  KVChange change = KVSTORE_CHANGE_INIT;
  (void)table;
  options.changes_ms = 1000000;
  int status = kvstore_cf_drop(kv, "followed"); /* which a failure may have left */
  if (status == KVSTORE_OK || status == KVSTORE_NOTFOUND)
    status = kvstore_cf_create_with(kv, "followed", &options, &cf);
  if (status == KVSTORE_OK) status = kvstore_changes_open(kv, cf, KVSTORE_CHANGES_OLDEST, &changes);
  if (status == KVSTORE_OK) status = kvstore_cf_put(cf, "key", 3, "value", 5);
  if (status == KVSTORE_OK) status = kvstore_changes_next(changes, &change);
  if (status == KVSTORE_OK) CHECK_INT(change.key_length, 3);
  kvstore_changes_close(changes);
  kvstore_cf_close(cf);
  return status;
}

/* The state that must not change but by what succeeds: counts of both sides. */
static void check_state(KVStore *kv, KVTable *table, int64_t keys, uint64_t rows) {
  CHECK_INT(count_of(kv), keys);
  CHECK_INT(rows_of(table), rows);
  check_text(kv, "old", "value");
}

static void run(Scenario scenario, int64_t new_keys, uint64_t new_rows) {
  KVStore *kv = NULL;
  KVTable *table = NULL;
  KVColumnFamily *cf = NULL;
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.background_off = 1; /* so that no other thread takes the failure */
  options.log_bytes = 1 << 20;
  CHECK_OK(kvstore_open_with(path_of("store"), &kv, &options));
  CHECK_OK(kvstore_cf_create(kv, "family", &cf));
  kvstore_cf_close(cf);
  put_text(kv, "old", "value");
  table = create_people(kv);
  CHECK_OK(upsert_person(table, 1, "Ada", 1.7));
  uint64_t fail_at = 1;
  for (;; fail_at++) {
    failing_memory_install(fail_at, false);
    int status = scenario(kv, table);
    uint64_t failures = failing_memory_failures();
    failing_memory_remove();
    if (!failures) {
      CHECK_OK(status);
      break;
    }
    if (status == KVSTORE_OK) continue; /* it did without: background work, a cache */
    CHECK_STATUS(status, KVSTORE_NOMEM);
    check_state(kv, table, 1, 1);
    CHECK(fail_at < 10000);
  }
  check_state(kv, table, 1 + new_keys, 1 + new_rows);
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(without_memory, a_put) { run(scenario_put, 1, 0); }
TEST(without_memory, a_get) { run(scenario_get, 0, 0); }
TEST(without_memory, an_iteration) { run(scenario_iterate, 0, 0); }
TEST(without_memory, families) { run(scenario_family, 0, 0); }
TEST(without_memory, a_snapshot) { run(scenario_snapshot, 0, 0); }
TEST(without_memory, a_range) { run(scenario_range, 0, 0); }
TEST(without_memory, a_swap) { run(scenario_swap, 1, 0); }
TEST(without_memory, a_batch) { run(scenario_batch, 0, 0); }
TEST(without_memory, a_bulk_load) { run(scenario_load, 0, 0); }
TEST(without_memory, changes) { run(scenario_changes, 0, 0); }
TEST(without_memory, an_upsert) { run(scenario_upsert, 0, 1); }
TEST(without_memory, an_append) { run(scenario_append, 0, 2); }
TEST(without_memory, a_row) { run(scenario_row, 0, 0); }
TEST(without_memory, rows_by_key) { run(scenario_rows_by_key, 0, 0); }
TEST(without_memory, a_query) { run(scenario_query, 0, 0); }
TEST(without_memory, a_query_of_joined_tables) { run(scenario_query_joins, 0, 0); }
TEST(without_memory, a_query_of_a_range_of_keys) { run(scenario_query_keys, 0, 0); }
TEST(without_memory, pairs_as_tables) { run(scenario_pairs, 0, 0); }
TEST(without_memory, a_clone) { run(scenario_open, 0, 0); }

/* A transaction is not begun, or goes on: what its statements said is what is there behind its commit. The first one of
 * a process, whose record has no room yet. */
TEST(without_memory, a_transaction) {
  static const char *const keys[] = { "one", "two", "three" };
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.background_off = 1;
  KVStore *kv = NULL;
  bool begun_without = false;
  for (uint64_t fail_at = 1, failures = 1; failures; fail_at++) {
    int put[3] = { 0 }, committed = KVSTORE_ERROR;
    CHECK_OK(kvstore_open_with(path_of("store"), &kv, &options));
    for (int i = 0; i < 3; i++) (void)kvstore_delete(kv, keys[i], (int)strlen(keys[i]));
    CHECK_OK(kvstore_close(kv));
    CHECK_OK(kvstore_open_with(path_of("store"), &kv, &options));
    failing_memory_install(fail_at, false);
    int begun = kvstore_begin(kv, 1);
    for (int i = 0; i < 3 && begun == KVSTORE_OK; i++) put[i] = kvstore_put(kv, keys[i], (int)strlen(keys[i]), "1", 1);
    if (begun == KVSTORE_OK) committed = kvstore_commit(kv);
    failures = failing_memory_failures();
    failing_memory_remove();
    CHECK(begun == KVSTORE_OK || begun == KVSTORE_NOMEM);
    CHECK(begun == KVSTORE_NOMEM || committed == KVSTORE_OK || committed == KVSTORE_NOMEM);
    begun_without |= failures && begun == KVSTORE_NOMEM;
    for (int opens = 0; opens < 2; opens++) {
      for (int i = 0; i < 3; i++) {
        int there = 2;
        CHECK_OK(kvstore_exists(kv, keys[i], (int)strlen(keys[i]), &there));
        CHECK_INT(there, committed == KVSTORE_OK && put[i] == KVSTORE_OK);
      }
      CHECK_OK(kvstore_close(kv));
      if (!opens) CHECK_OK(kvstore_open_with(path_of("store"), &kv, &options));
    }
    CHECK(fail_at < 10000);
  }
  CHECK(begun_without);
}

/* Reads delete what they find expired, inside a transaction too: whether that fails or not, a statement that could not
 * be taken back alone is not committed. */
TEST(without_memory, a_read_does_not_heal_a_transaction_that_must_be_rolled_back) {
  enum { EXPIRED = 40, PAIRS = 20, KEY = 4000, VALUE = 40000 };
  static char expired[KEY + 8], value[VALUE];
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.background_off = 1;
  options.log_bytes = 64 << 10; /* the statement goes on in the file */
  KVStore *kv = NULL;
  KVBatch *batch = NULL;
  CHECK_OK(kvstore_open_with(path_of("store"), &kv, &options));
  memset(expired, 'e', KEY);
  for (int i = 0; i < EXPIRED; i++) {
    (void)snprintf(expired + KEY, 8, "%05d", i);
    CHECK_OK(kvstore_put_ttl(kv, expired, KEY + 5, "1", 1, kvstore_now_ms() - 1000));
  }
  CHECK_OK(kvstore_batch_create(kv, &batch));
  for (int i = 0; i < PAIRS; i++) {
    char key[8];
    (void)snprintf(key, sizeof key, "pair%02d", i);
    CHECK_OK(kvstore_batch_put(batch, NULL, key, 6, value, VALUE));
  }
  int refused = 0;
  for (uint64_t fail_at = 1, failures = 1; failures; fail_at += 5) {
    CHECK_OK(kvstore_begin(kv, 1));
    failing_memory_install(fail_at, false);
    int status = kvstore_batch_write(batch, NULL);
    failures = failing_memory_failures();
    failing_memory_remove();
    CHECK(status == KVSTORE_OK || (failures && status == KVSTORE_NOMEM));
    if (status == KVSTORE_OK || kvstore_put(kv, "more", 4, "1", 1) == KVSTORE_OK) {
      CHECK_OK(kvstore_rollback(kv));
      continue;
    }
    refused++;
    for (int i = 0; i < EXPIRED; i++) {
      int there = 2;
      (void)snprintf(expired + KEY, 8, "%05d", i);
      failing_memory_install(1 + (uint64_t)i % 3, false);
      status = kvstore_exists(kv, expired, KEY + 5, &there);
      failing_memory_remove();
      CHECK(status == KVSTORE_NOMEM || (status == KVSTORE_OK && !there));
    }
    CHECK_STATUS(kvstore_put(kv, "more", 4, "1", 1), KVSTORE_NOMEM);
    CHECK_STATUS(kvstore_commit(kv), KVSTORE_NOMEM);
    check_text(kv, "pair00", NULL);
    check_text(kv, "more", NULL);
    CHECK(fail_at < 10000);
  }
  CHECK(refused > 0);
  kvstore_batch_close(batch);
  CHECK_OK(kvstore_close(kv));
}
