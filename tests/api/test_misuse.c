/* A caller's nonsense gets a code and a message, never a crash, and changes nothing. */
#include <limits.h>

#include "tests/api/api_support.h"

TEST(misuse, null_everywhere_is_an_error) {
  KVStore *kv = open_store(), *other = (KVStore *)1;
  KVColumnFamily *cf = NULL;
  KVIterator *it = NULL;
  KVTable *table = NULL;
  KVStoreStats stats;
  void *data = (void *)1;
  int length = 1, number = 1;
  int64_t long_number = 1;
  uint64_t count = 1;
  CHECK_STATUS(kvstore_open("", &other, KVSTORE_JOURNAL_WAL), KVSTORE_ERROR);
  CHECK(other == NULL);
  CHECK_STATUS(kvstore_open("x", NULL, KVSTORE_JOURNAL_WAL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_put(NULL, "a", 1, "b", 1), KVSTORE_ERROR);
  CHECK_STR(kvstore_errmsg(NULL), "the store is NULL");
  CHECK_STATUS(kvstore_put(kv, NULL, 1, "b", 1), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_put(kv, "a", 1, NULL, 1), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_put(kv, "a", -1, "b", 1), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_put(kv, "a", 1, "b", -1), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_put_ttl(kv, "a", 1, "b", 1, -5), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_get(kv, "a", 1, NULL, &length), KVSTORE_ERROR);
  CHECK_INT(length, 0);
  CHECK_STATUS(kvstore_get(kv, "a", 1, &data, NULL), KVSTORE_ERROR);
  CHECK(data == NULL);
  CHECK_STATUS(kvstore_get(NULL, "a", 1, &data, &length), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_get_ttl(NULL, "a", 1, &data, &length, &long_number), KVSTORE_ERROR);
  CHECK_INT(long_number, 0);
  CHECK_STATUS(kvstore_delete(kv, NULL, 0), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_exists(kv, "a", 1, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_exists(NULL, "a", 1, &number), KVSTORE_ERROR);
  CHECK_INT(number, 0);
  CHECK_STATUS(kvstore_ttl_remaining(kv, "a", 1, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_count(kv, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_count(NULL, &long_number), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_clear(NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_purge_expired(NULL, &number), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_begin(NULL, 1), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_commit(NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_rollback(NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_clone(kv, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_stats(kv, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_stats(NULL, &stats), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_info(kv, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_error(kv, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_sync(NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_integrity_check(NULL, NULL), KVSTORE_ERROR);
  CHECK_OK(kvstore_close(NULL));
  CHECK_STATUS(kvstore_cf_create(kv, NULL, &cf), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_create(kv, "f", NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_open(kv, NULL, &cf), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_list(kv, NULL, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_put(NULL, "a", 1, "b", 1), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_get((KVColumnFamily *)(void *)kv, "a", 1, &data, &length), KVSTORE_ERROR); /* another kind */
  CHECK_STATUS(kvstore_cf_iterator_create(NULL, &it), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_iterator_create(kv, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_iterator_first(NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_iterator_seek(NULL, "a", 1), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_iterator_key(NULL, &data, &length), KVSTORE_ERROR);
  CHECK_INT(kvstore_iterator_eof(NULL), 1);
  kvstore_iterator_close(NULL);
  kvstore_cf_close(NULL);
  CHECK_STATUS(kvtable_open(kv, NULL, &table), KVSTORE_ERROR);
  CHECK(table == NULL);
  CHECK_STATUS(kvtable_count(NULL, &count), KVSTORE_ERROR);
  CHECK_INT(count, 0);
  CHECK_STATUS(kvtable_upsert(NULL, NULL, 0, 0), KVSTORE_ERROR);
  CHECK_STATUS(kvtable_append(NULL, NULL, 0, 0, NULL, 0, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvtable_schema(NULL, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvquery_create(NULL, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvquery_count(NULL, &count), KVSTORE_ERROR);
  CHECK_STATUS(kvquery_where(NULL, "a", NULL, 0), KVSTORE_ERROR);
  CHECK_STATUS(kvcursor_next(NULL), KVSTORE_ERROR);
  CHECK_INT(kvcursor_column_count(NULL), 0);
  kvtable_close(NULL);
  kvtable_row_free(NULL);
  kvquery_close(NULL);
  kvcursor_close(NULL);
  CHECK_INT(kvvalue_print(NULL, NULL, 0), 0);
  CHECK_INT(count_of(kv), 0);
  CHECK_OK(kvstore_close(kv));
}

TEST(misuse, keys_and_values_have_limits) {
  static char big[KVSTORE_VALUE_BYTES_DEFAULT + 1];
  KVStore *kv = open_store();
  void *data;
  int length;
  memset(big, 'x', sizeof big);
  CHECK_STATUS(kvstore_put(kv, "", 0, "v", 1), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_put(kv, NULL, 0, "v", 1), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_put(kv, big, KVSTORE_KEY_BYTES_MAX + 1, "v", 1), KVSTORE_ERROR);
  CHECK(strstr(kvstore_errmsg(kv), "65537") != NULL);
  CHECK_STATUS(kvstore_get(kv, big, KVSTORE_KEY_BYTES_MAX + 1, &data, &length), KVSTORE_ERROR);
  CHECK_OK(kvstore_put(kv, big, KVSTORE_KEY_BYTES_MAX, "v", 1));
  CHECK_OK(kvstore_get(kv, big, KVSTORE_KEY_BYTES_MAX, &data, &length));
  kvstore_free(data);
  CHECK_STATUS(kvstore_put(kv, "k", 1, big, KVSTORE_VALUE_BYTES_DEFAULT + 1), KVSTORE_ERROR);
  CHECK_OK(kvstore_put(kv, "k", 1, big, KVSTORE_VALUE_BYTES_DEFAULT));
  CHECK_OK(kvstore_get(kv, "k", 1, &data, &length));
  CHECK_INT(length, KVSTORE_VALUE_BYTES_DEFAULT);
  CHECK_BYTES(data, big, (size_t)length);
  kvstore_free(data);
  CHECK_INT(count_of(kv), 2);
  CHECK_OK(kvstore_close(kv));
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.value_bytes_max = 100;
  CHECK_OK(kvstore_open_with(path_of("store"), &kv, &options));
  CHECK_STATUS(kvstore_put(kv, "l", 1, big, 101), KVSTORE_ERROR);
  CHECK_OK(kvstore_put(kv, "l", 1, big, 100));
  CHECK_OK(kvstore_get(kv, "k", 1, &data, &length)); /* what is there is read */
  CHECK_INT(length, KVSTORE_VALUE_BYTES_DEFAULT);
  kvstore_free(data);
  CHECK_OK(kvstore_close(kv));
}

TEST(misuse, impossible_configurations_are_refused) {
  KVStore *kv = NULL;
  KVStoreConfig config = KVSTORE_CONFIG_DEFAULT;
  config.journalMode = 7;
  CHECK_STATUS(kvstore_open_v2(path_of("s"), &kv, &config), KVSTORE_ERROR);
  config = (KVStoreConfig)KVSTORE_CONFIG_DEFAULT;
  config.syncLevel = -1;
  CHECK_STATUS(kvstore_open_v2(path_of("s"), &kv, &config), KVSTORE_ERROR);
  config = (KVStoreConfig)KVSTORE_CONFIG_DEFAULT;
  config.busyTimeout = -1;
  CHECK_STATUS(kvstore_open_v2(path_of("s"), &kv, &config), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_open(path_of("s"), &kv, 2), KVSTORE_ERROR);
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.struct_size = 0;
  CHECK_STATUS(kvstore_open_with(path_of("s"), &kv, &options), KVSTORE_ERROR);
  options = (KVStoreOptions)KVSTORE_OPTIONS_INIT;
  options.log_bytes = 1000;
  CHECK_STATUS(kvstore_open_with(path_of("s"), &kv, &options), KVSTORE_ERROR);
  options.log_bytes = (UINT64_C(8) << 30) + 4096; /* no log can be so long: no write would ever succeed */
  CHECK_STATUS(kvstore_open_with(path_of("s"), &kv, &options), KVSTORE_ERROR);
  options = (KVStoreOptions)KVSTORE_OPTIONS_INIT;
  options.value_bytes_max = UINT32_MAX;
  CHECK_STATUS(kvstore_open_with(path_of("s"), &kv, &options), KVSTORE_ERROR);
  CHECK(!file_exists(path_of("s")));
}

TEST(misuse, a_name_that_leaves_no_room_for_those_of_the_files_beside_it_makes_nothing) {
  char name[NAME_MAX + 1];
  for (int length = NAME_MAX - 12; length <= NAME_MAX; length++) {
    KVStore *kv = NULL;
    memset(name, 'n', sizeof name);
    name[length] = '\0';
    int status = kvstore_open(path_of(name), &kv, KVSTORE_JOURNAL_WAL);
    CHECK_STATUS(status, length + (int)strlen("-rewrite") <= NAME_MAX ? KVSTORE_OK : KVSTORE_ERROR);
    if (status != KVSTORE_OK) CHECK(strstr(kvstore_errmsg(NULL), "too long") != NULL);
    CHECK_INT(file_exists(path_of(name)), status == KVSTORE_OK);
    CHECK_OK(kvstore_close(kv));
  }
}

/* A program of a later version hands a longer struct: its tail must be zeros; an older one a shorter struct. */
TEST(misuse, options_of_another_version_are_taken_as_far_as_they_are_known) {
  struct {
    KVStoreOptions options;
    char later[32];
  } longer = { KVSTORE_OPTIONS_INIT, { 0 } };
  KVStore *kv = NULL;
  longer.options.struct_size = sizeof longer;
  CHECK_OK(kvstore_open_with(path_of("s"), &kv, &longer.options));
  CHECK_OK(kvstore_close(kv));
  longer.later[20] = 1;
  CHECK_STATUS(kvstore_open_with(path_of("s"), &kv, &longer.options), KVSTORE_UNSUPPORTED);
  KVStoreOptions shorter = KVSTORE_OPTIONS_INIT;
  shorter.struct_size = offsetof(KVStoreOptions, read_only);
  shorter.read_only = 1; /* beyond its end: not looked at */
  CHECK_OK(kvstore_open_with(path_of("s"), &kv, &shorter));
  put_text(kv, "a", "1");
  CHECK_OK(kvstore_close(kv));
  KVStoreOptions fresh = KVSTORE_OPTIONS_INIT;
  fresh.create_only = 1;
  CHECK_STATUS(kvstore_open_with(path_of("s"), &kv, &fresh), KVSTORE_BUSY);
}

TEST(misuse, messages_belong_to_a_handle) {
  KVStore *one = open_store(), *two = NULL;
  KVStoreError error = KVSTORE_ERROR_INIT;
  void *data;
  int length;
  CHECK_OK(kvstore_clone(one, &two));
  CHECK_STR(kvstore_errmsg(one), "no error");
  CHECK_STATUS(kvstore_get(one, "none", 4, &data, &length), KVSTORE_NOTFOUND);
  CHECK_STR(kvstore_errmsg(one), "no error"); /* an answer, not a failure */
  CHECK_STATUS(kvstore_put(one, "", 0, "v", 1), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_begin(two, 1), KVSTORE_OK);
  CHECK_STATUS(kvstore_begin(two, 1), KVSTORE_ERROR);
  CHECK(strstr(kvstore_errmsg(one), "key") != NULL);
  CHECK(strstr(kvstore_errmsg(two), "transaction") != NULL);
  CHECK_OK(kvstore_rollback(two));
  CHECK_OK(kvstore_error(one, &error));
  CHECK_INT(error.code, KVSTORE_ERROR);
  CHECK_INT(error.row, -1);
  CHECK_STR(error.text, kvstore_errmsg(one));
  error.struct_size = 3;
  CHECK_STATUS(kvstore_error(two, &error), KVSTORE_ERROR);
  CHECK_STR(kvstore_status_name(KVSTORE_NOTFOUND), "NOTFOUND");
  CHECK_STR(kvstore_status_text(KVSTORE_BUSY), "the store is locked by another connection");
  CHECK_STR(kvstore_status_name(9999), "UNKNOWN");
  CHECK_OK(kvstore_close(one));
  CHECK_OK(kvstore_close(two));
}

TEST(misuse, an_error_says_where_and_the_last_one_without_a_handle_is_the_open) {
  KVStore *kv = NULL;
  KVStoreError error = KVSTORE_ERROR_INIT;
  CHECK_STATUS(kvstore_open("", &kv, KVSTORE_JOURNAL_WAL), KVSTORE_ERROR);
  CHECK_OK(kvstore_error(NULL, &error));
  CHECK_INT(error.code, KVSTORE_ERROR);
  CHECK_STR(error.text, kvstore_errmsg(NULL));
  kv = open_store();
  error = (KVStoreError)KVSTORE_ERROR_INIT;
  CHECK_OK(kvstore_error(kv, &error));
  CHECK_INT(error.code, KVSTORE_OK);
  CHECK_STR(error.text, "no error");
  KVTable *table = create_people(kv);
  KVValue row[4] = { kvvalue_i64(1), kvvalue_string("Ada"), kvvalue_string("tall"), kvvalue_null() };
  CHECK_STATUS(kvtable_upsert(table, row, 4, 0), KVSTORE_TYPE);
  CHECK_OK(kvstore_error(kv, &error));
  CHECK_INT(error.code, KVSTORE_TYPE);
  CHECK_STR(error.column, "height");
  CHECK_STR(error.value, "tall");
  KVStoreError shorter = KVSTORE_ERROR_INIT; /* an older program's: what lies beyond is left alone */
  shorter.struct_size = offsetof(KVStoreError, column);
  shorter.column[0] = 'x';
  CHECK_OK(kvstore_error(kv, &shorter));
  CHECK_STR(shorter.text, error.text);
  CHECK_INT(shorter.column[0], 'x');
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(misuse, rows_that_do_not_fit_their_table_are_refused) {
  KVStore *kv = open_store();
  KVTable *table = create_people(kv);
  static char long_name[70000];
  KVValue row[4] = { kvvalue_i64(1), kvvalue_string("x"), kvvalue_null(), kvvalue_null() }, out[4];
  KVValue text = kvvalue_string("1"), null = kvvalue_null(), one = kvvalue_i64(1);
  KVRow *held = NULL;
  const char *unknown[] = { "weight" }, *key[] = { "id" };
  CHECK_STATUS(kvtable_upsert(table, row, 3, 0), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_upsert(table, row, 5, 0), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_upsert(table, NULL, 4, 0), KVSTORE_ERROR);
  CHECK_STATUS(kvtable_upsert(table, row, 4, -1), KVSTORE_ERROR);
  row[0] = text;
  CHECK_STATUS(kvtable_upsert(table, row, 4, 0), KVSTORE_TYPE);
  row[0] = null;
  CHECK_STATUS(kvtable_upsert(table, row, 4, 0), KVSTORE_CONSTRAINT);
  row[0] = one;
  row[1] = null;
  CHECK_STATUS(kvtable_upsert(table, row, 4, 0), KVSTORE_CONSTRAINT);
  row[1] = kvvalue_text(NULL, 5);
  CHECK_STATUS(kvtable_upsert(table, row, 4, 0), KVSTORE_ERROR);
  row[1] = kvvalue_text("\xed\xa0\x80", 3); /* a surrogate */
  CHECK_STATUS(kvtable_upsert(table, row, 4, 0), KVSTORE_TYPE);
  CHECK_STATUS(kvtable_get(table, &text, 1, out, 4, NULL, &held), KVSTORE_TYPE);
  CHECK_STATUS(kvtable_get(table, &null, 1, out, 4, NULL, &held), KVSTORE_TYPE);
  CHECK_STATUS(kvtable_get(table, &one, 2, out, 4, NULL, &held), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_get(table, &one, 1, out, 3, NULL, &held), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_get(table, &one, 1, out, 4, NULL, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvtable_update(table, &one, 1, unknown, &one, 1, NULL), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_update(table, &one, 1, key, &one, 1, NULL), KVSTORE_SCHEMA);
  const KVColumnDefinition column = { "name", KVTABLE_TYPE_STRING, 0, 0 };
  const char *name_key[] = { "name" };
  KVTable *names = NULL;
  CHECK_OK(kvtable_create(kv, "names", &column, 1, name_key, 1, &names));
  memset(long_name, 'n', sizeof long_name);
  KVValue name = kvvalue_text(long_name, 65537);
  CHECK_STATUS(kvtable_insert(names, &name, 1, 0, NULL), KVSTORE_ERROR); /* as a key it is too long */
  name.as.bytes.length = 60000;
  CHECK_OK(kvtable_insert(names, &name, 1, 0, NULL));
  CHECK_INT(rows_of(table), 0);
  CHECK_INT(rows_of(names), 1);
  kvtable_close(names);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(misuse, batches_that_do_not_fit_their_table_are_refused) {
  KVStore *kv = open_store();
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 }, { "s", KVTABLE_TYPE_STRING, 0, 0 } };
  const char *key[] = { "id" };
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, "t", columns, 2, key, 1, &table));
  int64_t ids[] = { 1, 2 };
  const char *texts[] = { "a", NULL };
  const uint64_t falling[] = { 0, 3, 1 };
  const KVBytes nowhere[] = { { "a", 1 }, { NULL, 3 } };
  KVColumnData good = { KVTABLE_TYPE_I64, 0, ids, NULL, NULL, NULL };
  KVColumnData data[2] = { good, { KVTABLE_TYPE_STRING, KVTABLE_FORM_POINTERS, texts, NULL, NULL, NULL } };
  CHECK_STATUS(kvtable_append(table, data, 1, 2, NULL, KVTABLE_INSERT, NULL), KVSTORE_SCHEMA); /* ragged */
  CHECK_STATUS(kvtable_append(table, NULL, 2, 2, NULL, KVTABLE_INSERT, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvtable_append(table, data, 2, 2, NULL, 2, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvtable_append(table, data, 2, UINT64_C(1) << 32, NULL, KVTABLE_INSERT, NULL), KVSTORE_LIMIT);
  CHECK_STATUS(kvtable_append(table, data, 2, 2, NULL, KVTABLE_INSERT, NULL), KVSTORE_ERROR); /* a string at NULL */
  data[1] = (KVColumnData){ KVTABLE_TYPE_STRING, KVTABLE_FORM_OFFSETS, "abc", NULL, falling, NULL };
  CHECK_STATUS(kvtable_append(table, data, 2, 2, NULL, KVTABLE_INSERT, NULL), KVSTORE_ERROR);
  data[1].offsets = NULL;
  CHECK_STATUS(kvtable_append(table, data, 2, 2, NULL, KVTABLE_INSERT, NULL), KVSTORE_ERROR);
  data[1] = (KVColumnData){ KVTABLE_TYPE_STRING, KVTABLE_FORM_ARRAY, nowhere, NULL, NULL, NULL };
  CHECK_STATUS(kvtable_append(table, data, 2, 2, NULL, KVTABLE_INSERT, NULL), KVSTORE_ERROR);
  data[1] = (KVColumnData){ KVTABLE_TYPE_BYTES, KVTABLE_FORM_ARRAY, nowhere, NULL, NULL, NULL };
  CHECK_STATUS(kvtable_append(table, data, 2, 1, NULL, KVTABLE_INSERT, NULL), KVSTORE_TYPE);
  data[1] = (KVColumnData){ KVTABLE_TYPE_STRING, 3, nowhere, NULL, NULL, NULL };
  CHECK_STATUS(kvtable_append(table, data, 2, 1, NULL, KVTABLE_INSERT, NULL), KVSTORE_ERROR);
  data[1] = (KVColumnData){ KVTABLE_TYPE_STRING, KVTABLE_FORM_ARRAY, NULL, NULL, NULL, NULL };
  CHECK_STATUS(kvtable_append(table, data, 2, 1, NULL, KVTABLE_INSERT, NULL), KVSTORE_ERROR);
  data[0].form = KVTABLE_FORM_POINTERS;
  data[1].values = nowhere;
  CHECK_STATUS(kvtable_append(table, data, 2, 1, NULL, KVTABLE_INSERT, NULL), KVSTORE_ERROR);
  CHECK_INT(rows_of(table), 0);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* What a value that does not fit is, the message says: nothing is read at NULL, and no day is beyond the calendar's. */
TEST(misuse, values_that_are_none_are_printed_and_refused) {
  KVStore *kv = open_store();
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 } };
  const char *key[] = { "id" };
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, "t", columns, 1, key, 1, &table));
  KVValue fixed = kvvalue_bytes(NULL, 5), day = kvvalue_date(0), early = kvvalue_date(0);
  fixed.type = KVTABLE_TYPE_FIXED_BYTES;
  day.as.i64 = INT64_MAX;
  early.as.i64 = INT64_MIN;
  const struct {
    KVValue value;
    const char *text;
  } cases[] = {
    { kvvalue_text(NULL, 5), "" },
    { kvvalue_bytes(NULL, 5), "" },
    { fixed, "" },
    { kvvalue_uuid(NULL), "" },
    { day, "9223372036854775807" },
    { early, "-9223372036854775808" },
    { kvvalue_time(-1), "-1" },
    { kvvalue_time(INT64_C(86400000000)), "86400000000" },
  };
  char text[64];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    KVValue value = cases[i].value, found;
    KVRow *row = NULL;
    KVStoreError error = KVSTORE_ERROR_INIT;
    CHECK_INT(kvvalue_print(&value, text, sizeof text), strlen(cases[i].text));
    CHECK_STR(text, cases[i].text);
    CHECK_STATUS(kvtable_insert(table, &value, 1, 0, NULL), KVSTORE_TYPE);
    CHECK_OK(kvstore_error(kv, &error));
    CHECK_STR(error.column, "id");
    CHECK_STR(error.value, cases[i].text);
    CHECK_STATUS(kvtable_get(table, &value, 1, &found, 1, NULL, &row), KVSTORE_TYPE);
  }
  CHECK_INT(rows_of(table), 0);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* What a struct of another version has beyond what both know is left alone, and so is its size. */
TEST(misuse, answers_fill_structs_of_another_version_as_far_as_they_are_known) {
  KVStore *kv = open_store();
  KVTable *table = create_people(kv);
  KVQuery *query = NULL;
  uint64_t count;
  CHECK_OK(kvquery_create(table, &query));
  KVValue row[4] = { kvvalue_i64(1), kvvalue_string("Ada"), kvvalue_f64(1.7), kvvalue_null() };
  CHECK_OK(kvtable_upsert(table, row, 4, 0));
  CHECK_OK(kvquery_count(query, &count));
  struct {
    KVQueryCounters known;
    uint64_t later;
  } counters = { KVQUERY_COUNTERS_INIT, 7 };
  counters.known.struct_size = sizeof counters;
  CHECK_OK(kvquery_counters(query, &counters.known));
  CHECK_INT(counters.known.struct_size, sizeof counters);
  CHECK_INT(counters.known.rows_selected, 1);
  CHECK_INT(counters.later, 7);
  counters.known = (KVQueryCounters)KVQUERY_COUNTERS_INIT;
  counters.known.struct_size = offsetof(KVQueryCounters, rows_selected);
  counters.known.rows_selected = 9;
  CHECK_OK(kvquery_counters(query, &counters.known));
  CHECK_INT(counters.known.units, 1);
  CHECK_INT(counters.known.rows_selected, 9); /* beyond its end */
  counters.known.struct_size = 3;
  CHECK_STATUS(kvquery_counters(query, &counters.known), KVSTORE_ERROR);
  CHECK_STATUS(kvquery_counters(query, NULL), KVSTORE_ERROR);
  struct {
    KVTableSchema known;
    uint64_t later;
  } schema = { KVTABLE_SCHEMA_INIT, 7 };
  schema.known.struct_size = sizeof schema;
  CHECK_OK(kvtable_schema(table, &schema.known));
  CHECK_INT(schema.known.column_count, 4);
  CHECK_INT(schema.later, 7);
  schema.known.struct_size = 0;
  CHECK_STATUS(kvtable_schema(table, &schema.known), KVSTORE_ERROR);
  struct {
    KVStoreInfo known;
    uint64_t later;
  } info = { KVSTORE_INFO_INIT, 7 };
  info.known.struct_size = sizeof info;
  CHECK_OK(kvstore_info(kv, &info.known));
  CHECK_INT(info.known.family_count, 2);
  CHECK_INT(info.later, 7);
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* Values that were read before point to what is gone: a failed call leaves none of them. */
TEST(misuse, values_of_a_failed_call_are_nulls) {
  KVStore *kv = open_store();
  KVTable *table = create_people(kv);
  KVQuery *query = NULL;
  KVRow *found = NULL;
  KVValue row[4] = { kvvalue_i64(1), kvvalue_string("Ada"), kvvalue_f64(1.7), kvvalue_null() };
  KVValue values[4] = { row[0], row[1], row[2], row[3] }, results[2] = { row[0], row[1] };
  const KVAggregate asks[] = { { KVQUERY_ROWS, NULL }, { KVQUERY_MAX, "name" } }, none[] = { { 99, "name" }, asks[1] };
  CHECK_OK(kvquery_create(table, &query));
  CHECK_STATUS(kvquery_aggregate(query, none, 2, results), KVSTORE_ERROR);
  CHECK(results[0].is_null && results[1].is_null);
  results[0] = results[1] = row[1];
  CHECK_OK(kvstore_close(kv));
  CHECK_STATUS(kvquery_aggregate(query, asks, 2, results), KVSTORE_ERROR);
  CHECK(results[0].is_null && results[1].is_null);
  CHECK_STATUS(kvtable_get(table, row, 1, values, 4, NULL, &found), KVSTORE_ERROR);
  for (int c = 0; c < 4; c++) CHECK(values[c].is_null);
  CHECK_STATUS(kvvalue_read(KVTABLE_TYPE_DATE, 0, NULL, 0, NULL, &row[1]), KVSTORE_ERROR);
  CHECK(row[1].is_null);
  kvquery_close(query);
  kvtable_close(table);
}
