/* Tables end to end: create, rows by key, bulk appends, one transaction over everything. */
#include <stdlib.h>

#include "tests/api/api_support.h"

/* ---- schemas ---- */

TEST(kvtable, a_schema_comes_back_as_it_was_given) {
  KVStore *kv = open_store();
  const KVColumnDefinition columns[] = {
    { "flag", KVTABLE_TYPE_BOOL, KVTABLE_NULLABLE, 0 },
    { "at", KVTABLE_TYPE_TIMESTAMP, KVTABLE_UTC, 0 },
    { "hash", KVTABLE_TYPE_FIXED_BYTES, 0, 16 },
    { "size", KVTABLE_TYPE_U32, KVTABLE_NULLABLE, 0 },
  };
  const char *key[] = { "hash", "at" };
  KVTable *table = NULL;
  KVTableSchema schema = KVTABLE_SCHEMA_INIT;
  CHECK_OK(kvtable_create(kv, "files", columns, 4, key, 2, &table));
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
  kv = open_store();
  CHECK_OK(kvtable_open(kv, "files", &table));
  CHECK_OK(kvtable_schema(table, &schema));
  CHECK_STR(schema.name, "files");
  CHECK_INT(schema.column_count, 4);
  for (size_t c = 0; c < 4; c++) {
    CHECK_STR(schema.columns[c].name, columns[c].name);
    CHECK_INT(schema.columns[c].type, columns[c].type);
    CHECK_INT(schema.columns[c].flags, columns[c].flags);
    CHECK_INT(schema.columns[c].width, columns[c].width);
  }
  CHECK_INT(schema.key_count, 2);
  CHECK_INT(schema.key_columns[0], 2);
  CHECK_INT(schema.key_columns[1], 1);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvtable, names_are_listed_opened_dropped_and_told_from_families) {
  KVStore *kv = open_store();
  KVTable *table = create_people(kv), *other = NULL;
  KVColumnFamily *cf = NULL;
  char **names = NULL;
  size_t count = 0;
  CHECK_OK(kvstore_cf_create(kv, "family", &cf));
  CHECK_OK(kvtable_list(kv, &names, &count));
  CHECK_INT(count, 1);
  CHECK_STR(names[0], "people");
  kvstore_free(names[0]);
  kvstore_free(names);
  CHECK_STATUS(kvtable_open(kv, "family", &other), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_drop(kv, "family"), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_open(kv, "nobody", &other), KVSTORE_NOTFOUND);
  kvstore_cf_close(cf);
  CHECK_STATUS(kvstore_cf_open(kv, "people", &cf), KVSTORE_SCHEMA);
  CHECK_STATUS(kvstore_cf_drop(kv, "people"), KVSTORE_SCHEMA);
  const KVColumnDefinition column = { "x", KVTABLE_TYPE_I8, 0, 0 };
  CHECK_STATUS(kvtable_create(kv, "people", &column, 1, NULL, 0, &other), KVSTORE_CONSTRAINT);
  CHECK_OK(kvtable_drop(kv, "people"));
  CHECK_STATUS(kvtable_drop(kv, "people"), KVSTORE_NOTFOUND);
  CHECK_STATUS(upsert_person(table, 1, "Ada", 1.7), KVSTORE_NOTFOUND);
  CHECK(strstr(kvstore_errmsg(kv), "table people has been dropped") != NULL);
  kvtable_close(table);
  CHECK_OK(kvtable_list(kv, &names, &count));
  CHECK(names == NULL && count == 0);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvtable, schemas_that_cannot_be_are_refused_and_nothing_is_created) {
  KVStore *kv = open_store();
  KVTable *table = NULL;
  const KVColumnDefinition good = { "a", KVTABLE_TYPE_I64, 0, 0 }, nullable = { "a", KVTABLE_TYPE_I64, 1, 0 };
  const KVColumnDefinition twice[] = { good, good }, bad_type = { "a", KVTABLE_TYPE_DECIMAL128, 0, 0 };
  const KVColumnDefinition nameless = { NULL, KVTABLE_TYPE_I64, 0, 0 }, empty = { "", KVTABLE_TYPE_I64, 0, 0 };
  const KVColumnDefinition wide = { "a", KVTABLE_TYPE_FIXED_BYTES, 0, 5000 }, flat = { "a", 21, 0, 0 };
  const KVColumnDefinition flags = { "a", KVTABLE_TYPE_I64, 4, 0 }, latin = { "\xff", KVTABLE_TYPE_I64, 0, 0 };
  const char *key[] = { "a" }, *unknown[] = { "b" }, *double_key[] = { "a", "a" };
  CHECK_STATUS(kvtable_create(kv, "t", &good, 0, NULL, 0, &table), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_create(kv, "t", &good, 5000, NULL, 0, &table), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_create(kv, "t", twice, 2, NULL, 0, &table), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_create(kv, "t", &bad_type, 1, NULL, 0, &table), KVSTORE_SCHEMA);
  const KVColumnDefinition fine = { "a", KVTABLE_TYPE_DECIMAL, 0, 19 }, short_id = { "a", KVTABLE_TYPE_UUID, 0, 15 };
  CHECK_STATUS(kvtable_create(kv, "t", &fine, 1, NULL, 0, &table), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_create(kv, "t", &short_id, 1, NULL, 0, &table), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_create(kv, "t", &nameless, 1, NULL, 0, &table), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_create(kv, "t", &empty, 1, NULL, 0, &table), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_create(kv, "t", &wide, 1, NULL, 0, &table), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_create(kv, "t", &flat, 1, NULL, 0, &table), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_create(kv, "t", &flags, 1, NULL, 0, &table), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_create(kv, "t", &latin, 1, NULL, 0, &table), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_create(kv, "t", &good, 1, unknown, 1, &table), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_create(kv, "t", &good, 1, double_key, 2, &table), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_create(kv, "t", &nullable, 1, key, 1, &table), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_create(kv, "__t", &good, 1, key, 1, &table), KVSTORE_ERROR);
  CHECK_STATUS(kvtable_create(kv, "", &good, 1, key, 1, &table), KVSTORE_ERROR);
  CHECK_STATUS(kvtable_create(kv, NULL, &good, 1, key, 1, &table), KVSTORE_ERROR);
  CHECK(table == NULL);
  char **names = NULL;
  size_t count = 9;
  CHECK_OK(kvtable_list(kv, &names, &count));
  CHECK_INT(count, 0);
  CHECK_OK(kvtable_create(kv, "t", &good, 1, key, 1, &table));
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* ---- rows by key ---- */

static void check_person(KVTable *table, int64_t id, const char *name, double height) {
  KVValue key = kvvalue_i64(id), row[4];
  KVRow *held = NULL;
  int status = kvtable_get(table, &key, 1, row, 4, NULL, &held);
  CHECK_STATUS(status, name ? KVSTORE_OK : KVSTORE_NOTFOUND);
  if (name) {
    CHECK_INT(row[0].as.i64, id);
    CHECK_INT(row[1].as.bytes.length, strlen(name));
    CHECK_BYTES(row[1].as.bytes.data, name, strlen(name));
    CHECK(row[2].as.f64 == height);
    CHECK(row[3].is_null);
    CHECK_INT(row[3].type, KVTABLE_TYPE_DATE);
  } else {
    CHECK(held == NULL && row[0].is_null && row[1].is_null);
  }
  kvtable_row_free(held);
}

TEST(kvtable, rows_are_inserted_replaced_changed_and_deleted_by_key) {
  KVStore *kv = open_store();
  KVTable *table = create_people(kv);
  KVValue row[4] = { kvvalue_i64(7), kvvalue_string("Ada"), kvvalue_f64(1.65), kvvalue_null() }, key = kvvalue_i64(7);
  uint64_t row_id = 5;
  CHECK_OK(kvtable_insert(table, row, 4, 0, &row_id));
  CHECK_INT(row_id, 0);
  CHECK_STATUS(kvtable_insert(table, row, 4, 0, NULL), KVSTORE_CONSTRAINT);
  check_person(table, 7, "Ada", 1.65);
  CHECK_OK(upsert_person(table, 7, "Ada Lovelace", 1.66));
  CHECK_OK(upsert_person(table, -8, "Eve", 1.7));
  check_person(table, 7, "Ada Lovelace", 1.66);
  check_person(table, -8, "Eve", 1.7);
  const char *columns[] = { "height" };
  KVValue height = kvvalue_i64(2); /* exactly an f64 */
  CHECK_OK(kvtable_update(table, &key, 1, columns, &height, 1, NULL));
  check_person(table, 7, "Ada Lovelace", 2.0);
  CHECK_INT(rows_of(table), 2);
  CHECK_OK(kvtable_delete(table, &key, 1));
  CHECK_STATUS(kvtable_delete(table, &key, 1), KVSTORE_NOTFOUND);
  CHECK_STATUS(kvtable_update(table, &key, 1, columns, &height, 1, NULL), KVSTORE_NOTFOUND);
  const char *const twice[] = { "name", columns[0], "name" };
  const KVValue three[] = { kvvalue_string("Ann"), height, kvvalue_string("Bea") };
  KVStoreError error = KVSTORE_ERROR_INIT;
  CHECK_STATUS(kvtable_update(table, &key, 1, twice, three, 3, NULL), KVSTORE_SCHEMA);
  CHECK_OK(kvstore_error(kv, &error));
  CHECK_STR(error.column, "name");
  check_person(table, 7, NULL, 0);
  CHECK_INT(rows_of(table), 1);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
  kv = open_store();
  CHECK_OK(kvtable_open(kv, "people", &table));
  CHECK_INT(rows_of(table), 1);
  check_person(table, -8, "Eve", 1.7);
  CHECK_OK(kvtable_clear(table));
  CHECK_INT(rows_of(table), 0);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* Each row is there, and counted, as soon as its call returns; one that is refused leaves all others. */
TEST(kvtable, single_rows_of_a_transaction_are_there_at_once_and_a_refused_one_changes_nothing) {
  KVStore *kv = open_store(), *other = NULL;
  KVTable *table = create_people(kv), *again = NULL, *beside = NULL;
  KVStoreError error = KVSTORE_ERROR_INIT;
  CHECK_OK(kvtable_open(kv, "people", &again)); /* of the same handle, so inside the transaction */
  CHECK_OK(kvstore_clone(kv, &other));
  CHECK_OK(kvtable_open(other, "people", &beside));
  CHECK_OK(upsert_person(table, 1, "before", 0));
  for (int commits = 0; commits < 2; commits++) {
    CHECK_OK(kvstore_begin(kv, 1));
    CHECK_OK(upsert_person(table, 1, "first", 1));
    check_person(again, 1, "first", 1);
    CHECK_OK(upsert_person(again, 2, "second", 2));
    CHECK_INT(rows_of(table), 2);
    CHECK_STATUS(upsert_person(table, 2, "\xff is no text", 3), KVSTORE_TYPE);
    CHECK_OK(kvstore_error(kv, &error));
    CHECK_STR(error.column, "name");
    CHECK_INT(error.row, 0);
    check_person(table, 2, "second", 2);
    KVValue row[4] = { kvvalue_i64(1), kvvalue_string("twice"), kvvalue_null(), kvvalue_null() }, key = row[0];
    CHECK_STATUS(kvtable_insert(again, row, 4, 0, NULL), KVSTORE_CONSTRAINT);
    row[1] = kvvalue_null();
    CHECK_STATUS(kvtable_upsert(table, row, 4, 0), KVSTORE_CONSTRAINT);
    CHECK_OK(upsert_person(table, 1, "the last one", 4));
    check_person(again, 1, "the last one", 4);
    CHECK_OK(kvtable_delete(table, &key, 1));
    check_person(again, 1, NULL, 0);
    CHECK_INT(rows_of(again), 1);
    CHECK_OK(upsert_person(again, 1, "back", 5));
    CHECK_INT(matches(table, "height = 5 and name = 'back'"), 1);
    CHECK_INT(rows_of(table), 2);
    check_person(beside, 1, "before", 0);
    CHECK_INT(rows_of(beside), 1);
    CHECK_OK(commits ? kvstore_commit(kv) : kvstore_rollback(kv));
    check_person(table, 1, commits ? "back" : "before", commits ? 5 : 0);
    check_person(beside, 2, commits ? "second" : NULL, 2);
  }
  kvtable_close(beside);
  kvtable_close(again);
  kvtable_close(table);
  CHECK_OK(kvstore_close(other));
  CHECK_OK(kvstore_close(kv));
}

/* More columns, and longer keys, than a call has room for without asking for memory. */
TEST(kvtable, a_wide_row_comes_alone_as_others_do) {
  enum { WIDE = 700, KEY = 9000 };
  static KVColumnDefinition columns[WIDE];
  static KVValue row[WIDE], back[WIDE];
  static char names[WIDE][8], text[KEY];
  KVStore *kv = open_store();
  KVTable *table = NULL;
  KVRow *held = NULL;
  memset(text, 'k', KEY);
  for (int c = 0; c < WIDE; c++) {
    snprintf(names[c], sizeof names[c], "c%d", c);
    columns[c] =
      (KVColumnDefinition){ names[c], c ? KVTABLE_TYPE_I32 : KVTABLE_TYPE_STRING, c ? KVTABLE_NULLABLE : 0, 0 };
    row[c] = c % 3 ? kvvalue_i64(c) : kvvalue_null();
  }
  row[0] = kvvalue_text(text, KEY);
  const char *key[] = { "c0" };
  CHECK_OK(kvtable_create(kv, "wide", columns, WIDE, key, 1, &table));
  for (int turn = 0; turn < 2; turn++) {
    CHECK_OK(kvtable_upsert(table, row, WIDE, 0));
    CHECK_OK(kvtable_update(table, row, 1, NULL, NULL, 0, NULL));
    CHECK_OK(kvtable_get(table, row, 1, back, WIDE, NULL, &held));
    for (int c = 1; c < WIDE; c++) {
      CHECK_INT(back[c].is_null, row[c].is_null);
      if (!row[c].is_null) CHECK_INT(back[c].as.i64, row[c].as.i64);
    }
    kvtable_row_free(held);
    row[1] = kvvalue_i64(-1);
  }
  CHECK_INT(rows_of(table), 1);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvtable, a_table_without_a_key_gives_row_ids) {
  KVStore *kv = open_store();
  const KVColumnDefinition column = { "n", KVTABLE_TYPE_I32, 0, 0 };
  KVTable *table = NULL;
  KVTableSchema schema = KVTABLE_SCHEMA_INIT;
  uint64_t id = 99;
  CHECK_OK(kvtable_create(kv, "events", &column, 1, NULL, 0, &table));
  CHECK_OK(kvtable_schema(table, &schema));
  CHECK_INT(schema.key_count, 0);
  CHECK_INT(schema.column_count, 1);
  for (int i = 0; i < 10; i++) {
    KVValue n = kvvalue_i64(100 + i);
    CHECK_OK(kvtable_insert(table, &n, 1, 0, &id));
    CHECK_INT(id, i);
  }
  KVValue key = kvvalue_u64(3), value;
  KVRow *row = NULL;
  CHECK_OK(kvtable_get(table, &key, 1, &value, 1, NULL, &row));
  CHECK_INT(value.as.i64, 103);
  kvtable_row_free(row);
  CHECK_OK(kvtable_delete(table, &key, 1));
  const int32_t more[] = { 1, 2, 3 };
  const KVColumnData data = { KVTABLE_TYPE_I32, KVTABLE_FORM_ARRAY, more, NULL, NULL, NULL };
  CHECK_OK(kvtable_append(table, &data, 1, 3, NULL, KVTABLE_INSERT, &id));
  CHECK_INT(id, 10);
  key = kvvalue_i64(12); /* an i64 that a u64 holds exactly */
  CHECK_OK(kvtable_get(table, &key, 1, &value, 1, NULL, &row));
  CHECK_INT(value.as.i64, 3);
  kvtable_row_free(row);
  CHECK_INT(rows_of(table), 12);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvtable, rows_expire) {
  KVStore *kv = open_store();
  KVTable *table = create_people(kv);
  KVValue row[4] = { kvvalue_i64(1), kvvalue_string("gone"), kvvalue_null(), kvvalue_null() }, key = kvvalue_i64(1);
  KVValue out[4];
  KVRow *held = NULL;
  int64_t expire = 5, later = kvstore_now_ms() + 500000, past = 1;
  CHECK_OK(kvtable_upsert(table, row, 4, 1));
  CHECK_STATUS(kvtable_get(table, &key, 1, out, 4, &expire, &held), KVSTORE_NOTFOUND);
  CHECK_INT(rows_of(table), 0);
  CHECK_INT(matches(table, "id = 1"), 0);
  CHECK_STATUS(kvtable_update(table, &key, 1, NULL, NULL, 0, &later), KVSTORE_NOTFOUND);
  CHECK_OK(kvtable_insert(table, row, 4, later, NULL)); /* the expired one is not in its way */
  CHECK_OK(kvtable_get(table, &key, 1, out, 4, &expire, &held));
  CHECK_INT(expire, later);
  kvtable_row_free(held);
  const char *columns[] = { "height" };
  KVValue height = kvvalue_f64(1.5);
  CHECK_OK(kvtable_update(table, &key, 1, columns, &height, 1, NULL)); /* keeps the expiry */
  CHECK_OK(kvtable_get(table, &key, 1, out, 4, &expire, &held));
  CHECK_INT(expire, later);
  kvtable_row_free(held);
  CHECK_OK(kvtable_update(table, &key, 1, columns, &height, 1, &past));
  CHECK_STATUS(kvtable_get(table, &key, 1, out, 4, &expire, &held), KVSTORE_NOTFOUND);
  CHECK_INT(rows_of(table), 0);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* ---- values into columns ---- */

typedef struct Fit {
  int type;
  KVValue value;
  int status;
} Fit;

TEST(kvtable, a_value_goes_into_a_column_that_holds_it_exactly) {
  KVStore *kv = open_store();
  const Fit fits[] = {
    { KVTABLE_TYPE_I8, kvvalue_i64(127), KVSTORE_OK },
    { KVTABLE_TYPE_I8, kvvalue_i64(128), KVSTORE_TYPE },
    { KVTABLE_TYPE_I8, kvvalue_i64(-128), KVSTORE_OK },
    { KVTABLE_TYPE_I8, kvvalue_u64(200), KVSTORE_TYPE },
    { KVTABLE_TYPE_U8, kvvalue_i64(255), KVSTORE_OK },
    { KVTABLE_TYPE_U8, kvvalue_i64(-1), KVSTORE_TYPE },
    { KVTABLE_TYPE_I64, kvvalue_u64(UINT64_MAX), KVSTORE_TYPE },
    { KVTABLE_TYPE_U64, kvvalue_u64(UINT64_MAX), KVSTORE_OK },
    { KVTABLE_TYPE_I32, kvvalue_f64(5), KVSTORE_OK },
    { KVTABLE_TYPE_I32, kvvalue_f64(5.5), KVSTORE_TYPE },
    { KVTABLE_TYPE_I64, kvvalue_f64(9223372036854775808.0), KVSTORE_TYPE },
    { KVTABLE_TYPE_U64, kvvalue_f64(9223372036854775808.0), KVSTORE_OK },
    { KVTABLE_TYPE_I64, kvvalue_f64(-9223372036854775808.0), KVSTORE_OK },
    { KVTABLE_TYPE_U64, kvvalue_f64(18446744073709551616.0), KVSTORE_TYPE },
    { KVTABLE_TYPE_F64, kvvalue_i64((INT64_C(1) << 53) + 1), KVSTORE_TYPE },
    { KVTABLE_TYPE_F64, kvvalue_i64(INT64_C(1) << 53), KVSTORE_OK },
    { KVTABLE_TYPE_F32, kvvalue_f64(0.5), KVSTORE_OK },
    { KVTABLE_TYPE_F32, kvvalue_f64(0.1), KVSTORE_TYPE },
    { KVTABLE_TYPE_F32, kvvalue_i64(16777217), KVSTORE_TYPE },
    { KVTABLE_TYPE_F64, kvvalue_string("1"), KVSTORE_TYPE },
    { KVTABLE_TYPE_I64, kvvalue_bool(1), KVSTORE_TYPE },
    { KVTABLE_TYPE_BOOL, kvvalue_bool(5), KVSTORE_OK },
    { KVTABLE_TYPE_BOOL, kvvalue_i64(1), KVSTORE_TYPE },
    { KVTABLE_TYPE_DATE, kvvalue_date(15000), KVSTORE_OK },
    { KVTABLE_TYPE_DATE, kvvalue_i64(15000), KVSTORE_TYPE },
    { KVTABLE_TYPE_DATE, kvvalue_timestamp(0), KVSTORE_TYPE },
    { KVTABLE_TYPE_TIMESTAMP, kvvalue_timestamp(-1), KVSTORE_OK },
    { KVTABLE_TYPE_STRING, kvvalue_string("text"), KVSTORE_OK },
    { KVTABLE_TYPE_STRING, kvvalue_bytes("text", 4), KVSTORE_OK },
    { KVTABLE_TYPE_STRING, kvvalue_text("\xc3", 1), KVSTORE_TYPE },
    { KVTABLE_TYPE_BYTES, kvvalue_bytes("\xc3\x00", 2), KVSTORE_OK },
    { KVTABLE_TYPE_BYTES, kvvalue_i64(1), KVSTORE_TYPE },
    { KVTABLE_TYPE_I64, kvvalue_null(), KVSTORE_OK },
    { KVTABLE_TYPE_I64, kvvalue_of(99), KVSTORE_TYPE },
    { KVTABLE_TYPE_I64, kvvalue_of(-1), KVSTORE_TYPE },
    { KVTABLE_TYPE_I64, kvvalue_of(KVTABLE_TYPE_DECIMAL128), KVSTORE_TYPE },
    { KVTABLE_TYPE_I64, kvvalue_decimal(500, 2), KVSTORE_OK },
    { KVTABLE_TYPE_I64, kvvalue_decimal(501, 2), KVSTORE_TYPE },
    { KVTABLE_TYPE_F64, kvvalue_decimal(25, 2), KVSTORE_OK },
    { KVTABLE_TYPE_F64, kvvalue_decimal(10, 2), KVSTORE_TYPE }, /* no double is 0.1 */
    { KVTABLE_TYPE_I64, kvvalue_decimal(1, 19), KVSTORE_TYPE },
  };
  for (size_t i = 0; i < sizeof fits / sizeof *fits; i++) {
    const KVColumnDefinition column = { "x", fits[i].type, KVTABLE_NULLABLE, 0 };
    KVTable *table = NULL;
    char name[16];
    (void)snprintf(name, sizeof name, "t%d", (int)i);
    CHECK_OK(kvtable_create(kv, name, &column, 1, NULL, 0, &table));
    int status = kvtable_insert(table, &fits[i].value, 1, 0, NULL);
    if (status != fits[i].status) test_fail_(__FILE__, __LINE__, "fits", "case %d: %d", (int)i, status);
    CHECK_INT(rows_of(table), status == KVSTORE_OK);
    if (status != KVSTORE_OK) {
      KVStoreError error = KVSTORE_ERROR_INIT;
      CHECK_OK(kvstore_error(kv, &error));
      CHECK_STR(error.column, "x");
      CHECK_INT(error.row, 0);
      if (fits[i].value.type == -1) CHECK_STR(error.text, "row 0, column x: there is no type -1 of values");
    }
    kvtable_close(table);
  }
  CHECK_OK(kvstore_close(kv));
}

/* ---- many rows ---- */

enum { MANY = 3000 };

TEST(kvtable, columns_of_every_form_are_appended_and_read_back) {
  KVStore *kv = open_store();
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_U32, 0, 0 },
                                         { "by_array", KVTABLE_TYPE_BYTES, KVTABLE_NULLABLE, 0 },
                                         { "by_offset", KVTABLE_TYPE_STRING, KVTABLE_NULLABLE, 0 },
                                         { "by_pointer", KVTABLE_TYPE_STRING, 0, 0 } };
  const char *key[] = { "id" };
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, "t", columns, 4, key, 1, &table));
  static uint32_t ids[MANY];
  static KVBytes arrays[MANY];
  static uint8_t nulls[MANY];
  static char letters[MANY * 10];
  static uint64_t offsets[MANY + 1];
  static const char *pointers[MANY];
  static char texts[MANY][8];
  for (int i = 0; i < MANY; i++) {
    ids[i] = (uint32_t)((i * 7919) % MANY); /* 7919 is prime: every id once, in no order */
    (void)snprintf(texts[i], sizeof texts[i], "p%u", (unsigned)ids[i]);
    pointers[i] = texts[i];
    arrays[i] = (KVBytes){ texts[i], ids[i] % 5 ? 1 + ids[i] % 2 : 0 };
    nulls[i] = ids[i] % 3 == 0 ? 255 : 0; /* anything but 0 is a null */
    int length = snprintf(letters + offsets[i], 10, "o%u", (unsigned)ids[i]);
    offsets[i + 1] = offsets[i] + (uint64_t)length;
  }
  const KVColumnData data[] = { { KVTABLE_TYPE_U32, KVTABLE_FORM_ARRAY, ids, NULL, NULL, NULL },
                                { KVTABLE_TYPE_BYTES, KVTABLE_FORM_ARRAY, arrays, nulls, NULL, NULL },
                                { KVTABLE_TYPE_STRING, KVTABLE_FORM_OFFSETS, letters, nulls, offsets, NULL },
                                { KVTABLE_TYPE_STRING, KVTABLE_FORM_POINTERS, pointers, NULL, NULL, NULL } };
  CHECK_OK(kvtable_append(table, data, 4, MANY, NULL, KVTABLE_INSERT, NULL));
  CHECK_INT(rows_of(table), MANY);
  CHECK_INT(matches(table, "by_array is null"), MANY / 3);
  for (uint32_t id = 0; id < MANY; id += 13) {
    KVValue at = kvvalue_u64(id), row[4];
    KVRow *held = NULL;
    char expected[16];
    CHECK_OK(kvtable_get(table, &at, 1, row, 4, NULL, &held));
    CHECK_INT(row[1].is_null, id % 3 == 0);
    CHECK_INT(row[2].is_null, id % 3 == 0);
    if (id % 3) {
      CHECK_INT(row[1].as.bytes.length, id % 5 ? 1 + id % 2 : 0);
      CHECK_INT(row[2].as.bytes.length, snprintf(expected, sizeof expected, "o%u", (unsigned)id));
      CHECK_BYTES(row[2].as.bytes.data, expected, row[2].as.bytes.length);
    }
    CHECK_INT(row[3].as.bytes.length, snprintf(expected, sizeof expected, "p%u", (unsigned)id));
    CHECK_BYTES(row[3].as.bytes.data, expected, row[3].as.bytes.length);
    kvtable_row_free(held);
  }
  CHECK_STATUS(kvtable_append(table, data, 4, 10, NULL, KVTABLE_INSERT, NULL), KVSTORE_CONSTRAINT);
  CHECK_OK(kvtable_append(table, data, 4, MANY, NULL, KVTABLE_UPSERT, NULL));
  CHECK_INT(rows_of(table), MANY);
  CHECK_OK(kvtable_append(table, data, 4, 0, NULL, KVTABLE_UPSERT, NULL));
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* The transaction goes on in runs, each of which names the rows that it replaces, and those alone. */
TEST(kvtable, a_transaction_replaces_many_times_what_the_smallest_log_holds) {
  enum { ROWS = 6000, BATCH = 100, WIDTH = 200 };
  KVStore *kv = NULL;
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.log_bytes = 64 << 10;
  CHECK_OK(kvstore_open_with(path_of("small log"), &kv, &options));
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 }, { "s", KVTABLE_TYPE_STRING, 0, 0 } };
  const char *key[] = { "id" };
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, "t", columns, 2, key, 1, &table));
  static int64_t ids[ROWS];
  static const char *texts[ROWS];
  char before[WIDTH + 1] = "", after[WIDTH + 1] = "";
  memset(before, 'b', WIDTH);
  memset(after, 'a', WIDTH);
  for (int i = 0; i < ROWS; i++) {
    ids[i] = (int64_t)i * 37 % ROWS; /* each once, and neighbours far apart */
    texts[i] = before;
  }
  KVColumnData data[] = { { KVTABLE_TYPE_I64, KVTABLE_FORM_ARRAY, ids, NULL, NULL, NULL },
                          { KVTABLE_TYPE_STRING, KVTABLE_FORM_POINTERS, texts, NULL, NULL, NULL } };
  CHECK_OK(kvtable_append(table, data, 2, ROWS, NULL, KVTABLE_UPSERT, NULL));
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  for (int i = 0; i < ROWS; i++) texts[i] = after;
  CHECK_OK(kvstore_begin(kv, 1));
  for (int at = 0; at < ROWS; at += BATCH) {
    data[0].values = ids + at;
    CHECK_OK(kvtable_append(table, data, 2, BATCH, NULL, KVTABLE_UPSERT, NULL));
    if (at == ROWS / 2) CHECK_INT(matches(table, "s like 'a%'"), at + BATCH);
  }
  CHECK_OK(kvstore_commit(kv));
  for (int life = 0; life < 2; life++) {
    CHECK_INT(rows_of(table), ROWS);
    CHECK_INT(matches(table, "s like 'a%'"), ROWS);
    CHECK_OK(kvstore_integrity_check(kv, NULL));
    kvtable_close(table);
    CHECK_OK(kvstore_close(kv));
    CHECK_OK(kvstore_open_with(path_of("small log"), &kv, &options));
    CHECK_OK(kvtable_open(kv, "t", &table));
  }
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* ---- one transaction over everything ---- */

static void write_everything(KVStore *kv, KVTable *table, int64_t first) {
  static int64_t ids[MANY];
  static const char *names[MANY];
  static double heights[MANY];
  static uint8_t nulls[MANY];
  for (int i = 0; i < MANY; i++) {
    ids[i] = first + 1 + i;
    names[i] = i % 2 ? "odd" : "even";
    heights[i] = i;
    nulls[i] = 1;
  }
  const KVColumnData data[] = { { KVTABLE_TYPE_I64, 0, ids, NULL, NULL, NULL },
                                { KVTABLE_TYPE_STRING, KVTABLE_FORM_POINTERS, names, NULL, NULL, NULL },
                                { KVTABLE_TYPE_F64, 0, heights, NULL, NULL, NULL },
                                { KVTABLE_TYPE_DATE, 0, NULL, nulls, NULL, NULL } };
  put_text(kv, "when", "now");
  CHECK_OK(upsert_person(table, first, "single", 1));
  CHECK_OK(kvtable_append(table, data, 4, MANY, NULL, KVTABLE_INSERT, NULL));
}

TEST(kvtable, a_put_an_upsert_and_an_append_commit_together_or_not_at_all) {
  KVStore *kv = open_store(), *other = NULL;
  KVTable *table = create_people(kv), *seen = NULL;
  CHECK_OK(kvstore_clone(kv, &other));
  CHECK_OK(kvtable_open(other, "people", &seen));
  CHECK_OK(kvstore_begin(kv, 1));
  write_everything(kv, table, 0);
  CHECK_INT(rows_of(table), MANY + 1);
  CHECK_INT(matches(table, "name = 'odd'"), MANY / 2);
  CHECK_INT(rows_of(seen), 0);
  check_text(other, "when", NULL);
  CHECK_OK(kvstore_rollback(kv));
  CHECK_INT(rows_of(table), 0);
  check_text(kv, "when", NULL);
  CHECK_OK(kvstore_begin(kv, 1));
  write_everything(kv, table, 100000);
  CHECK_OK(kvstore_commit(kv));
  CHECK_INT(rows_of(seen), MANY + 1);
  check_text(other, "when", "now");
  kvtable_close(table);
  kvtable_close(seen);
  CHECK_OK(kvstore_close(kv));
  CHECK_OK(kvstore_close(other));
  kv = open_store();
  CHECK_OK(kvtable_open(kv, "people", &table));
  CHECK_INT(rows_of(table), MANY + 1);
  check_text(kv, "when", "now");
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

enum { LARGE = 150000 };

/* LARGE rows with ids from `first` on, in one batch. */
static void append_large(KVTable *table, int64_t first) {
  int64_t *ids = malloc(LARGE * sizeof *ids);
  int32_t *numbers = malloc(LARGE * sizeof *numbers);
  KVBytes *texts = malloc(LARGE * sizeof *texts);
  char(*bytes)[16] = malloc(LARGE * sizeof *bytes);
  for (int64_t i = 0; i < LARGE; i++) {
    ids[i] = first + i;
    numbers[i] = (int32_t)(i * 7 % 1000);
    texts[i] = (KVBytes){ bytes[i], (size_t)snprintf(bytes[i], sizeof bytes[i], "text %d", (int)(i % 50021)) };
  }
  const KVColumnData data[] = { { KVTABLE_TYPE_I64, KVTABLE_FORM_ARRAY, ids, NULL, NULL, NULL },
                                { KVTABLE_TYPE_I32, KVTABLE_FORM_ARRAY, numbers, NULL, NULL, NULL },
                                { KVTABLE_TYPE_STRING, KVTABLE_FORM_ARRAY, texts, NULL, NULL, NULL } };
  CHECK_OK(kvtable_append(table, data, 3, LARGE, NULL, KVTABLE_INSERT, NULL));
  free(ids);
  free(numbers);
  free(texts);
  free(bytes);
}

TEST(kvtable, however_many_threads_encode_what_is_appended_it_is_there) {
  static const uint32_t threads[] = { 1, 0, 2, 1000 };
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 },
                                         { "number", KVTABLE_TYPE_I32, 0, 0 },
                                         { "text", KVTABLE_TYPE_STRING, 0, 0 } };
  const char *key[] = { "id" };
  KVStore *kv = open_store();
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, "large", columns, 3, key, 1, &table));
  CHECK_STATUS(kvtable_load_threads(NULL, 2), KVSTORE_ERROR);
  for (int64_t i = 0; i < 4; i++) {
    CHECK_OK(kvtable_load_threads(kv, threads[i]));
    append_large(table, i * LARGE);
    CHECK_INT(rows_of(table), (i + 1) * LARGE);
    CHECK_INT(matches(table, "number = 21"), (i + 1) * LARGE / 1000); /* 7 and 1,000 have no common divisor */
    CHECK_INT(matches(table, "text = 'text 50020'"), (i + 1) * 2);    /* rows 50,020 and 100,041 of each */
  }
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* Its id may be given to the next table, of another shape: the old handle must not write there. */
TEST(kvtable, one_created_in_a_transaction_goes_with_its_rollback) {
  KVStore *kv = open_store();
  const KVColumnDefinition column = { "s", KVTABLE_TYPE_STRING, 0, 0 };
  KVTable *lost = NULL, *next = NULL;
  KVQuery *query = NULL;
  CHECK_OK(kvstore_begin(kv, 1));
  lost = create_people(kv);
  CHECK_OK(upsert_person(lost, 1, "Ada", 1));
  CHECK_OK(kvquery_create(lost, &query));
  CHECK_OK(kvstore_rollback(kv));
  CHECK_OK(kvtable_create(kv, "next", &column, 1, NULL, 0, &next));
  uint64_t count = 7;
  CHECK_STATUS(upsert_person(lost, 1, "Ada", 1), KVSTORE_NOTFOUND);
  CHECK_STATUS(kvtable_count(lost, &count), KVSTORE_NOTFOUND);
  CHECK_STATUS(kvquery_count(query, &count), KVSTORE_NOTFOUND);
  CHECK_INT(count, 0);
  CHECK_INT(rows_of(next), 0);
  kvquery_close(query);
  kvtable_close(lost);
  kvtable_close(next);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvtable, usage_tells_of_every_column) {
  KVStore *kv = open_store();
  KVTable *table = create_people(kv);
  KVTableUsage *usage = NULL;
  write_everything(kv, table, 0);
  CHECK_OK(kvtable_usage(table, &usage));
  CHECK_INT(usage->run_rows + usage->delta_rows, MANY + 1);
  kvstore_free(usage);
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  CHECK_OK(kvtable_usage(table, &usage));
  CHECK_INT(usage->run_rows, MANY + 1);
  CHECK_INT(usage->delta_rows, 0);
  CHECK_INT(usage->column_count, 4);
  CHECK_STR(usage->columns[0].name, "id");
  CHECK_INT(usage->columns[0].plain_bytes, (MANY + 1) * 8);
  for (size_t c = 0; c < 4; c++) CHECK(usage->columns[c].bytes > 0 && usage->columns[c].encodings[0]);
  CHECK(usage->run_bytes > usage->columns[0].bytes);
  kvstore_free(usage);
  kvtable_close(table);
  const KVColumnDefinition columns[] = { { "hash", KVTABLE_TYPE_FIXED_BYTES, 0, 20 },
                                         { "price", KVTABLE_TYPE_DECIMAL, 0, 3 },
                                         { "who", KVTABLE_TYPE_UUID, 0, 0 } };
  const uint32_t widths[] = { 20, 3, 16 };
  CHECK_OK(kvtable_create(kv, "widths", columns, 3, NULL, 0, &table));
  CHECK_OK(kvtable_usage(table, &usage));
  for (size_t c = 0; c < 3; c++) {
    CHECK_INT(usage->columns[c].type, columns[c].type);
    CHECK_INT(usage->columns[c].width, widths[c]);
  }
  kvstore_free(usage);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* Tables for a moment, one after the other: what was dropped makes room for the next one. */
TEST(kvtable, those_that_were_dropped_leave_room_for_others) {
  enum { PLACES = 4096 }; /* the default family has one */
  const KVColumnDefinition column = { "id", KVTABLE_TYPE_I64, 0, 0 };
  KVStore *kv = open_store();
  KVTable *table = NULL;
  KVColumnFamily *cf = NULL;
  CHECK_OK(kvstore_begin(kv, 1));
  for (int i = 1; i < PLACES; i++) {
    CHECK_OK(kvtable_create(kv, "moment", &column, 1, NULL, 0, &table));
    kvtable_close(table);
    CHECK_OK(kvtable_drop(kv, "moment"));
  }
  CHECK_STATUS(kvtable_create(kv, "moment", &column, 1, NULL, 0, &table), KVSTORE_LIMIT);
  CHECK(strstr(kvstore_errmsg(kv), "4095 of them were dropped") != NULL);
  CHECK_OK(kvstore_commit(kv));
  CHECK_OK(kvtable_create(kv, "moment", &column, 1, NULL, 0, &table));
  kvtable_close(table);
  CHECK_OK(kvstore_cf_create(kv, "family", &cf));
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  CHECK_OK(kvstore_close(kv));
}

/* ---- bits of floats ---- */

enum { FLOATS = 6 };
static const uint32_t float_bits[FLOATS] = { 0x7F800001, 0xFF812345, 0x7FC00001, 0x80000000, 0x3DCCCCCD, 1 };

/* A double that was widened of these bits: a processor would make the first two NaNs quiet. */
static uint64_t widened(uint32_t bits) {
  float narrow;
  double wide;
  uint64_t made = (uint64_t)(bits >> 31) << 63 | UINT64_C(0x7FF) << 52 | (uint64_t)(bits & 0x7FFFFF) << 29;
  memcpy(&narrow, &bits, sizeof narrow);
  if (narrow != narrow) return made;
  wide = (double)narrow;
  memcpy(&made, &wide, sizeof made);
  return made;
}

static void check_float_bits(KVTable *table) {
  static const int64_t ids[FLOATS] = { 0, 1, 2, 3, 4, 5 };
  const KVColumnData keys = { KVTABLE_TYPE_I64, KVTABLE_FORM_ARRAY, ids, NULL, NULL, NULL };
  const char *const wanted[] = { "f" };
  KVRows *rows = NULL;
  KVTableView *view = NULL;
  for (int ordered = 0; ordered < 2; ordered++) {
    const KVColumnData *data = NULL;
    KVQuery *query = NULL;
    KVCursor *cursor = NULL;
    uint64_t count = 0;
    CHECK_OK(kvquery_create(table, &query));
    CHECK_OK(kvquery_order_by_key(query, ordered));
    CHECK_OK(kvquery_select(query, wanted, 1));
    CHECK_OK(kvquery_open(query, &cursor));
    CHECK_OK(kvcursor_next_batch(cursor, &count, &data));
    CHECK_INT(count, FLOATS);
    CHECK_BYTES(data[0].values, float_bits, sizeof float_bits);
    kvcursor_close(cursor);
    kvquery_close(query);
  }
  CHECK_OK(kvtable_get_many(table, &keys, 1, FLOATS, wanted, 1, NULL, &rows));
  CHECK_BYTES(rows->columns[0].values, float_bits, sizeof float_bits);
  kvtable_rows_free(rows);
  CHECK_OK(kvtable_view(table, wanted, 1, NULL, &view));
  CHECK_INT(view->row_count, FLOATS);
  kvtable_view_close(view);
  for (int i = 0; i < FLOATS; i++) {
    const KVValue key = kvvalue_i64(i);
    uint64_t wide = widened(float_bits[i]);
    KVValue row[3];
    KVRow *owner = NULL;
    CHECK_OK(kvtable_get(table, &key, 1, row, 3, NULL, &owner));
    CHECK_BYTES(&row[1].as.f64, &wide, sizeof wide);
    kvtable_row_free(owner);
  }
}

/* Those of NaNs, too, in rows of which another column was changed, whatever way they are read. */
TEST(kvtable, floats_come_back_with_their_bits) {
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 },
                                         { "f", KVTABLE_TYPE_F32, 0, 0 },
                                         { "n", KVTABLE_TYPE_I64, 0, 0 } };
  static const int64_t ids[FLOATS] = { 0, 1, 2, 3, 4, 5 };
  const KVColumnData data[] = { { KVTABLE_TYPE_I64, KVTABLE_FORM_ARRAY, ids, NULL, NULL, NULL },
                                { KVTABLE_TYPE_F32, KVTABLE_FORM_ARRAY, float_bits, NULL, NULL, NULL },
                                { KVTABLE_TYPE_I64, KVTABLE_FORM_ARRAY, ids, NULL, NULL, NULL } };
  const char *key[] = { "id" }, *const changed[] = { "n" };
  KVStore *kv = open_store();
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, "t", columns, 3, key, 1, &table));
  CHECK_OK(kvtable_append(table, data, 3, FLOATS, NULL, KVTABLE_INSERT, NULL));
  check_float_bits(table);
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  check_float_bits(table);
  for (int i = 0; i < FLOATS; i++) {
    const KVValue id = kvvalue_i64(i), more = kvvalue_i64(i + 100);
    CHECK_OK(kvtable_update(table, &id, 1, changed, &more, 1, NULL));
  }
  check_float_bits(table);
  for (int i = 0; i < FLOATS; i++) { /* read and put back */
    const KVValue id = kvvalue_i64(i);
    KVValue row[3];
    KVRow *owner = NULL;
    CHECK_OK(kvtable_get(table, &id, 1, row, 3, NULL, &owner));
    CHECK_OK(kvtable_upsert(table, row, 3, 0));
    kvtable_row_free(owner);
  }
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  check_float_bits(table);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}
