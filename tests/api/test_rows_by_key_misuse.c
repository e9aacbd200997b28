/* Keys that are none, and other nonsense, to the calls that take many keys. */
#include <stdlib.h>

#include "tests/api/api_support.h"

static void check_error(KVStore *kv, int code, uint64_t row, const char *column) {
  KVStoreError error = KVSTORE_ERROR_INIT;
  CHECK_OK(kvstore_error(kv, &error));
  CHECK_INT(error.code, code);
  CHECK_INT(error.row, row);
  CHECK_STR(error.column, column);
}

TEST(rows_by_key_misuse, nonsense_is_refused_and_changes_nothing) {
  KVStore *kv = open_store(), *memory = NULL;
  KVTable *table = create_people(kv);
  KVSnapshot *foreign = NULL;
  KVRows *rows = (KVRows *)1;
  const int64_t ids[] = { 1, 2, 3 };
  const uint8_t nulls[] = { 0, 0, 4 };
  const char *names[] = { "name", "nmae" }, *none[] = { NULL };
  const KVColumnData key = { .type = KVTABLE_TYPE_I64, .values = ids };
  const KVColumnData wrong = { .type = KVTABLE_TYPE_I32, .values = ids };
  const KVColumnData null = { .type = KVTABLE_TYPE_I64, .values = ids, .nulls = nulls };
  const KVColumnData nowhere = { .type = KVTABLE_TYPE_I64 };
  const KVColumnData form = { .type = KVTABLE_TYPE_I64, .form = KVTABLE_FORM_OFFSETS, .values = ids };
  uint64_t deleted = 9;
  CHECK_OK(upsert_person(table, 1, "ada", 1.7));
  CHECK_STATUS(kvtable_get_many(NULL, &key, 1, 3, NULL, 0, NULL, &rows), KVSTORE_ERROR);
  CHECK(rows == NULL);
  CHECK_STATUS(kvtable_get_many(table, &key, 1, 3, NULL, 0, NULL, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvtable_get_many(table, NULL, 1, 3, NULL, 0, NULL, &rows), KVSTORE_ERROR);
  CHECK_STATUS(kvtable_get_many(table, &key, 0, 3, NULL, 0, NULL, &rows), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_get_many(table, &key, 2, 3, NULL, 0, NULL, &rows), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_get_many(table, &key, 1, UINT64_MAX, NULL, 0, NULL, &rows), KVSTORE_LIMIT);
  CHECK_STATUS(kvtable_get_many(table, &key, 1, UINT64_C(1) << 32, NULL, 0, NULL, &rows), KVSTORE_LIMIT);
  CHECK_STATUS(kvtable_get_many(table, &key, 1, 3, names, 2, NULL, &rows), KVSTORE_SCHEMA);
  check_error(kv, KVSTORE_SCHEMA, UINT64_MAX, "nmae");
  CHECK_STATUS(kvtable_get_many(table, &key, 1, 3, none, 1, NULL, &rows), KVSTORE_ERROR);
  CHECK_STATUS(kvtable_get_many(table, &key, 1, 3, NULL, 1, NULL, &rows), KVSTORE_ERROR);
  CHECK_STATUS(kvtable_get_many(table, &key, 1, 3, names, SIZE_MAX, NULL, &rows), KVSTORE_LIMIT);
  CHECK_STATUS(kvtable_get_many(table, &wrong, 1, 3, NULL, 0, NULL, &rows), KVSTORE_TYPE);
  check_error(kv, KVSTORE_TYPE, UINT64_MAX, "id");
  CHECK_STATUS(kvtable_get_many(table, &null, 1, 3, NULL, 0, NULL, &rows), KVSTORE_TYPE);
  check_error(kv, KVSTORE_TYPE, 2, "id");
  CHECK_STATUS(kvtable_get_many(table, &nowhere, 1, 3, NULL, 0, NULL, &rows), KVSTORE_ERROR);
  CHECK_STATUS(kvtable_get_many(table, &form, 1, 3, NULL, 0, NULL, &rows), KVSTORE_ERROR);
  CHECK_OK(kvstore_open(NULL, &memory, KVSTORE_JOURNAL_WAL));
  CHECK_OK(kvstore_snapshot_create(memory, &foreign));
  CHECK_STATUS(kvtable_get_many(table, &key, 1, 3, NULL, 0, foreign, &rows), KVSTORE_ERROR);
  kvstore_snapshot_release(foreign);
  CHECK_OK(kvstore_close(memory));
  CHECK(rows == NULL);

  CHECK_STATUS(kvtable_delete_many(NULL, &key, 1, 3, &deleted), KVSTORE_ERROR);
  CHECK_INT(deleted, 0);
  CHECK_STATUS(kvtable_delete_many(table, NULL, 1, 3, &deleted), KVSTORE_ERROR);
  CHECK_STATUS(kvtable_delete_many(table, &key, 3, 3, &deleted), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_delete_many(table, &key, 1, UINT64_MAX, &deleted), KVSTORE_LIMIT);
  CHECK_STATUS(kvtable_delete_many(table, &wrong, 1, 3, &deleted), KVSTORE_TYPE);
  CHECK_STATUS(kvtable_delete_many(table, &null, 1, 3, &deleted), KVSTORE_TYPE);
  check_error(kv, KVSTORE_TYPE, 2, "id");
  CHECK_INT(rows_of(table), 1);
  CHECK_OK(kvtable_delete_many(table, &key, 1, 0, NULL));
  CHECK_INT(rows_of(table), 1);
  kvtable_rows_free(NULL);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(rows_by_key_misuse, a_value_that_is_none_of_its_column_is_no_key) {
  KVStore *kv = open_store();
  KVTable *table = NULL;
  KVRows *rows = NULL;
  const KVColumnDefinition columns[] = { { "text", KVTABLE_TYPE_STRING, 0, 0 },
                                         { "code", KVTABLE_TYPE_FIXED_BYTES, 0, 3 },
                                         { "truth", KVTABLE_TYPE_BOOL, 0, 0 } };
  const char *key[] = { "text", "code", "truth" };
  KVBytes texts[] = { { "a", 1 }, { "b", 1 } }, codes[] = { { "xyz", 3 }, { "xyz", 3 } };
  uint8_t truths[] = { 0, 1 };
  const KVColumnData keys[] = { { .type = KVTABLE_TYPE_STRING, .values = texts },
                                { .type = KVTABLE_TYPE_FIXED_BYTES, .values = codes },
                                { .type = KVTABLE_TYPE_BOOL, .values = truths } };
  CHECK_OK(kvtable_create(kv, "t", columns, 3, key, 3, &table));
  CHECK_OK(kvtable_get_many(table, keys, 3, 2, NULL, 0, NULL, &rows));
  CHECK_INT(rows->found_count, 0);
  kvtable_rows_free(rows);
  truths[1] = 2;
  CHECK_STATUS(kvtable_get_many(table, keys, 3, 2, NULL, 0, NULL, &rows), KVSTORE_TYPE);
  check_error(kv, KVSTORE_TYPE, 1, "truth");
  truths[1] = 1;
  codes[1].length = 2;
  CHECK_STATUS(kvtable_delete_many(table, keys, 3, 2, NULL), KVSTORE_TYPE);
  check_error(kv, KVSTORE_TYPE, 1, "code");
  codes[1].length = 3;
  texts[0] = (KVBytes){ "\xff", 1 };
  CHECK_STATUS(kvtable_get_many(table, keys, 3, 2, NULL, 0, NULL, &rows), KVSTORE_TYPE);
  check_error(kv, KVSTORE_TYPE, 0, "text");
  char *large = calloc(1, 70000);
  memset(large, 'x', 70000);
  texts[0] = (KVBytes){ large, 70000 }; /* longer than a key may be */
  CHECK_STATUS(kvtable_get_many(table, keys, 3, 2, NULL, 0, NULL, &rows), KVSTORE_ERROR);
  free(large);
  CHECK(rows == NULL);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(rows_by_key_misuse, a_snapshot_before_the_table_says_that_there_was_none) {
  KVStore *kv = open_store();
  KVSnapshot *snapshot = NULL;
  KVRows *rows = NULL;
  CHECK_OK(kvstore_snapshot_create(kv, &snapshot));
  KVTable *table = create_people(kv);
  const int64_t id = 1;
  const KVColumnData key = { .type = KVTABLE_TYPE_I64, .values = &id };
  CHECK_STATUS(kvtable_get_many(table, &key, 1, 1, NULL, 0, snapshot, &rows), KVSTORE_NOTFOUND);
  CHECK(rows == NULL);
  kvstore_snapshot_release(snapshot);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}
