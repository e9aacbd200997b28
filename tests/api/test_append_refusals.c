/* What an append, or a single row, is refused for: which row, column and value are named. */
#include <stdlib.h>

#include "tests/api/api_support.h"

TEST(append_refusals, a_bad_row_refuses_the_batch_and_is_named) {
  KVStore *kv = open_store();
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 }, { "s", KVTABLE_TYPE_STRING, 0, 0 } };
  const char *key[] = { "id" };
  KVTable *table = NULL;
  KVStoreError error = KVSTORE_ERROR_INIT;
  CHECK_OK(kvtable_create(kv, "t", columns, 2, key, 1, &table));
  int64_t ids[] = { 1, 2, 3, 2 };
  const char *texts[] = { "a", "b", "\xff", "d" };
  uint8_t nulls[] = { 0, 1, 0, 0 };
  KVColumnData data[] = { { KVTABLE_TYPE_I64, KVTABLE_FORM_ARRAY, ids, NULL, NULL, NULL },
                          { KVTABLE_TYPE_STRING, KVTABLE_FORM_POINTERS, texts, NULL, NULL, NULL } };
  CHECK_STATUS(kvtable_append(table, data, 2, 3, NULL, KVTABLE_UPSERT, NULL), KVSTORE_TYPE); /* bad UTF-8 */
  CHECK_OK(kvstore_error(kv, &error));
  CHECK_INT(error.row, 2);
  CHECK_STR(error.column, "s");
  CHECK_STR(error.value, "x'ff'");
  CHECK_STR(error.text, "row 2, column s: the text is not UTF-8: x'ff'");
  data[1].nulls = nulls;
  CHECK_STATUS(kvtable_append(table, data, 2, 2, NULL, KVTABLE_UPSERT, NULL), KVSTORE_CONSTRAINT); /* a null */
  CHECK_OK(kvstore_error(kv, &error));
  CHECK_INT(error.row, 1);
  CHECK_STR(error.value, "null");
  data[1].nulls = NULL;
  texts[2] = "c";
  CHECK_STATUS(kvtable_append(table, data, 2, 4, NULL, KVTABLE_INSERT, NULL), KVSTORE_CONSTRAINT); /* 2 twice */
  CHECK_OK(kvstore_error(kv, &error));
  CHECK_INT(error.row, 3);
  CHECK_STR(error.column, "id");
  CHECK_STR(error.value, "2");
  CHECK_STR(error.text, "row 3: a row with this key is there already (earlier in this batch): id = 2");
  const int64_t expiries[] = { 0, -1, 0, 0 };
  CHECK_STATUS(kvtable_append(table, data, 2, 3, expiries, KVTABLE_INSERT, NULL), KVSTORE_ERROR);
  CHECK_INT(rows_of(table), 0);
  CHECK_OK(kvtable_append(table, data, 2, 4, NULL, KVTABLE_UPSERT, NULL)); /* the last of equal keys wins */
  CHECK_INT(rows_of(table), 3);
  CHECK_INT(matches(table, "id = 2 and s = 'd'"), 1);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* Of few rows, and of many, which become a run at once. */
TEST(append_refusals, a_key_that_is_there_is_named_with_its_value) {
  enum { ROWS = 1 << 17 };
  KVStore *kv = open_store();
  const KVColumnDefinition columns[] = { { "n", KVTABLE_TYPE_I64, 0, 0 },
                                         { "day", KVTABLE_TYPE_DATE, 0, 0 },
                                         { "s", KVTABLE_TYPE_STRING, 0, 0 } };
  const char *number[] = { "n" }, *both[] = { "day", "s" };
  KVTable *numbers = NULL, *texts = NULL;
  KVStoreError error = KVSTORE_ERROR_INIT;
  char text[302];
  for (int i = 0; i < 150; i++) memcpy(text + 2 * i, "\xc3\xa4", 2);
  text[300] = '\0';
  CHECK_OK(kvtable_create(kv, "numbers", columns, 1, number, 1, &numbers));
  CHECK_OK(kvtable_create(kv, "texts", columns, 3, both, 2, &texts));
  const KVValue row[] = { kvvalue_i64(1), kvvalue_date(1), kvvalue_string("it's") };
  CHECK_OK(kvtable_insert(texts, row, 3, 0, NULL));
  CHECK_STATUS(kvtable_insert(texts, row, 3, 0, NULL), KVSTORE_CONSTRAINT);
  CHECK_STR(kvstore_errmsg(kv), "row 0: a row with this key is there already: day, s = date '1970-01-02', 'it''s'");
  const KVValue long_row[] = { kvvalue_i64(1), kvvalue_date(1), kvvalue_string(text) };
  CHECK_OK(kvtable_insert(texts, long_row, 3, 0, NULL));
  CHECK_STATUS(kvtable_insert(texts, long_row, 3, 0, NULL), KVSTORE_CONSTRAINT);
  CHECK_OK(kvstore_error(kv, &error));
  CHECK_INT(strlen(error.value), strlen("date '1970-01-02', ") + 1 + 100 + 1 + 3); /* 100 bytes of it */
  int64_t *n = malloc(ROWS * sizeof *n);
  for (int i = 0; i < ROWS; i++) n[i] = ROWS - i;
  const KVColumnData data = { KVTABLE_TYPE_I64, KVTABLE_FORM_ARRAY, n, NULL, NULL, NULL };
  n[7] = n[9];
  CHECK_STATUS(kvtable_append(numbers, &data, 1, ROWS, NULL, KVTABLE_INSERT, NULL), KVSTORE_CONSTRAINT);
  CHECK_STR(kvstore_errmsg(kv), "row 9: a row with this key is there already (earlier in this batch): n = 131063");
  n[7] = ROWS - 7;
  CHECK_OK(kvtable_append(numbers, &data, 1, ROWS, NULL, KVTABLE_INSERT, NULL));
  CHECK_STATUS(kvtable_append(numbers, &data, 1, ROWS, NULL, KVTABLE_INSERT, NULL), KVSTORE_CONSTRAINT);
  CHECK(strstr(kvstore_errmsg(kv), "a row with this key is there already: n = "));
  free(n);
  kvtable_close(numbers);
  kvtable_close(texts);
  CHECK_OK(kvstore_close(kv));
}

TEST(append_refusals, a_key_beyond_the_limit_is_named) {
  enum { ROWS = 1 << 17, LENGTH = 70000 };
  KVStore *kv = open_store();
  const KVColumnDefinition columns[] = { { "n", KVTABLE_TYPE_I64, 0, 0 }, { "s", KVTABLE_TYPE_STRING, 0, 0 } };
  const char *key[] = { "n", "s" };
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, "t", columns, 2, key, 2, &table));
  char *text = malloc(LENGTH), beginning[128];
  memset(text, 'x', LENGTH);
  snprintf(beginning, sizeof beginning, "7, '%.100s'...", text);
  int64_t *n = malloc(ROWS * sizeof *n);
  KVBytes *s = malloc(ROWS * sizeof *s);
  for (int i = 0; i < ROWS; i++) {
    n[i] = i + 1;
    s[i] = (KVBytes){ i == 6 ? text : "short", i == 6 ? LENGTH : 5 };
  }
  const KVColumnData data[] = { { KVTABLE_TYPE_I64, KVTABLE_FORM_ARRAY, n, NULL, NULL, NULL },
                                { KVTABLE_TYPE_STRING, KVTABLE_FORM_ARRAY, s, NULL, NULL, NULL } };
  const uint64_t counts[] = { 7, ROWS }; /* of few rows, and of many, which become a run at once */
  for (int i = 0; i < 2; i++) {
    KVStoreError error = KVSTORE_ERROR_INIT;
    CHECK_STATUS(kvtable_append(table, data, 2, counts[i], NULL, KVTABLE_UPSERT, NULL), KVSTORE_ERROR);
    CHECK_OK(kvstore_error(kv, &error));
    CHECK_INT(error.row, 6);
    CHECK_STR(error.column, "n, s");
    CHECK_STR(error.value, beginning);
    CHECK(strstr(error.text, "the limit is 65536: n, s = 7, 'xxx"));
  }
  const KVValue one[] = { kvvalue_i64(7), kvvalue_text(text, LENGTH) };
  KVValue values[2];
  KVRow *row = NULL;
  CHECK_STATUS(kvtable_insert(table, one, 2, 0, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvtable_get(table, one, 2, values, 2, NULL, &row), KVSTORE_ERROR);
  CHECK_STATUS(kvtable_delete(table, one, 2), KVSTORE_ERROR);
  CHECK_INT(rows_of(table), 0);
  free(text);
  free(n);
  free(s);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

static void check_refused(KVStore *kv, KVTable *table, const KVColumnData *data, size_t columns, uint64_t rows,
                          int code, int row) {
  KVStoreError error = KVSTORE_ERROR_INIT;
  CHECK_STATUS(kvtable_append(table, data, columns, rows, NULL, KVTABLE_INSERT, NULL), code);
  CHECK_OK(kvstore_error(kv, &error));
  CHECK_INT(error.row, row);
}

TEST(append_refusals, of_several_bad_rows_the_first_is_named) {
  KVStore *kv = open_store();
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 },
                                         { "s", KVTABLE_TYPE_STRING, 0, 0 },
                                         { "b", KVTABLE_TYPE_BOOL, 0, 0 } };
  const char *key[] = { "id" };
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, "t", columns, 3, key, 1, &table));
  int64_t ids[] = { 1, 5, 3, 1 };
  const char *texts[] = { "a", "b", "c", "\xff" };
  uint8_t bools[] = { 0, 1, 2, 1 }, nulls[] = { 0, 0, 0, 0 };
  const KVColumnData data[] = { { KVTABLE_TYPE_I64, KVTABLE_FORM_ARRAY, ids, NULL, NULL, NULL },
                                { KVTABLE_TYPE_STRING, KVTABLE_FORM_POINTERS, texts, nulls, NULL, NULL },
                                { KVTABLE_TYPE_BOOL, KVTABLE_FORM_ARRAY, bools, NULL, NULL, NULL } };
  check_refused(kv, table, data, 3, 4, KVSTORE_TYPE, 2); /* of two columns */
  bools[2] = 0;
  texts[1] = "\xff";
  nulls[2] = 1;
  check_refused(kv, table, data, 3, 4, KVSTORE_TYPE, 1); /* of one column, before a null */
  texts[1] = texts[3] = "b";
  nulls[2] = 0;
  const KVValue there[] = { kvvalue_i64(5), kvvalue_string(""), kvvalue_bool(0) };
  CHECK_OK(kvtable_insert(table, there, 3, 0, NULL));
  check_refused(kv, table, data, 3, 4, KVSTORE_CONSTRAINT, 1); /* there, before one that is twice in the batch */
  ids[2] = 1;
  ids[1] = 2;
  ids[3] = 5;
  check_refused(kv, table, data, 3, 4, KVSTORE_CONSTRAINT, 2); /* and behind it */
  CHECK_INT(rows_of(table), 1);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* Rows that become a run at once are looked at in the order of their keys, here from the last one on. */
TEST(append_refusals, of_several_bad_rows_among_many_the_first_is_named) {
  enum { ROWS = 1 << 17 };
  KVStore *kv = open_store();
  const KVColumnDefinition columns[] = { { "n", KVTABLE_TYPE_I64, 0, 0 } };
  const char *key[] = { "n" };
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, "t", columns, 1, key, 1, &table));
  int64_t *n = malloc(ROWS * sizeof *n);
  for (int i = 0; i < ROWS; i++) n[i] = ROWS - i;
  const KVColumnData data = { KVTABLE_TYPE_I64, KVTABLE_FORM_ARRAY, n, NULL, NULL, NULL };
  n[20] = n[19] = n[7];
  n[200] = n[100];
  check_refused(kv, table, &data, 1, ROWS, KVSTORE_CONSTRAINT, 19);
  const KVValue there[] = { kvvalue_i64(n[300]), kvvalue_i64(n[7]), kvvalue_i64(n[50]) };
  CHECK_OK(kvtable_insert(table, &there[0], 1, 0, NULL));
  check_refused(kv, table, &data, 1, ROWS, KVSTORE_CONSTRAINT, 19);
  CHECK_OK(kvtable_insert(table, &there[1], 1, 0, NULL));
  check_refused(kv, table, &data, 1, ROWS, KVSTORE_CONSTRAINT, 7);
  n[7] = -1;
  n[19] = -2;
  n[20] = -3;
  n[200] = -4;
  CHECK_OK(kvtable_insert(table, &there[2], 1, 0, NULL));
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  check_refused(kv, table, &data, 1, ROWS, KVSTORE_CONSTRAINT, 50); /* of two in a run */
  CHECK_INT(rows_of(table), 3);
  free(n);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}
