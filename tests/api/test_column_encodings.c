/* Encodings that a column's flags wish or forbid: the file has them, and the answers are those of a table without. */
#include "tests/api/api_support.h"

enum { ROWS = 5000, COLUMNS = 5, TYPES = 4 };

/* The same rows for every table: few values in runs, decimals, texts; every seventh a null. */
static void append_rows(KVTable *table) {
  static int64_t ids[ROWS], whole[ROWS];
  static double decimals[ROWS];
  static uint8_t flags[ROWS], nulls[ROWS];
  static char texts[ROWS][24];
  static const char *pointers[ROWS];
  for (int i = 0; i < ROWS; i++) {
    ids[i] = (int64_t)i * 3;
    whole[i] = (i / 40 * 7919) % 100 + i / 1000;
    decimals[i] = (double)((i * 31) % 900 - 450) / 100;
    if (i % 50 == 3) decimals[i] = i % 100 == 3 ? -0.0 : 1.0 / 0.0;
    flags[i] = (uint8_t)(i / 300 % 2);
    nulls[i] = i % 7 == 0;
    (void)snprintf(texts[i], sizeof texts[i], "city %d of many", i * 7 % 400);
    pointers[i] = texts[i];
  }
  const KVColumnData data[COLUMNS] = { { KVTABLE_TYPE_I64, KVTABLE_FORM_ARRAY, ids, NULL, NULL, NULL },
                                       { KVTABLE_TYPE_I64, KVTABLE_FORM_ARRAY, whole, nulls, NULL, NULL },
                                       { KVTABLE_TYPE_F64, KVTABLE_FORM_ARRAY, decimals, nulls, NULL, NULL },
                                       { KVTABLE_TYPE_BOOL, KVTABLE_FORM_ARRAY, flags, nulls, NULL, NULL },
                                       { KVTABLE_TYPE_STRING, KVTABLE_FORM_POINTERS, pointers, nulls, NULL, NULL } };
  CHECK_OK(kvtable_append(table, data, COLUMNS, ROWS, NULL, KVTABLE_INSERT, NULL));
}

/* A settled table whose columns i, x, b, s have these flags besides. */
static KVTable *make_table(KVStore *kv, const char *name, const int flags[TYPES]) {
  const KVColumnDefinition columns[COLUMNS] = { { "id", KVTABLE_TYPE_I64, 0, 0 },
                                                { "i", KVTABLE_TYPE_I64, KVTABLE_NULLABLE | flags[0], 0 },
                                                { "x", KVTABLE_TYPE_F64, KVTABLE_NULLABLE | flags[1], 0 },
                                                { "b", KVTABLE_TYPE_BOOL, KVTABLE_NULLABLE | flags[2], 0 },
                                                { "s", KVTABLE_TYPE_STRING, KVTABLE_NULLABLE | flags[3], 0 } };
  const char *key[] = { "id" };
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, name, columns, COLUMNS, key, 1, &table));
  append_rows(table);
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  return table;
}

static int has_encoding(KVTable *table, size_t column, const char *name) {
  KVTableUsage *usage = NULL;
  CHECK_OK(kvtable_usage(table, &usage));
  CHECK_INT(usage->delta_rows, 0);
  int found = strncmp(usage->columns[column].encodings, name, strlen(name)) == 0;
  kvstore_free(usage);
  return found;
}

/* Answers of both tables, bit by bit. */
static void check_same_answers(KVTable *a, KVTable *b) {
  static const char *const filters[] = {
    "",
    "i > 50",
    "i = 19 or i = 38",
    "i is null",
    "i in (0, 19, 38, 40, 61)",
    "x < 0",
    "x = 0",
    "x >= 1e300",
    "x <> 2.5",
    "x between -1 and 1.255",
    "b = true",
    "b <> true and i < 30",
    "s like 'city 3%'",
    "s = 'city 49 of many'",
    "s > 'city 390 of many' and x > 0.5",
    "s not in ('city 7 of many')",
  };
  static const KVAggregate wanted[] = { { KVQUERY_ROWS, NULL }, { KVQUERY_SUM, "i" },   { KVQUERY_MIN, "i" },
                                        { KVQUERY_SUM, "x" },   { KVQUERY_MAX, "x" },   { KVQUERY_MIN, "x" },
                                        { KVQUERY_SUM, "b" },   { KVQUERY_VALUES, "s" } };
  enum { FILTERS = sizeof filters / sizeof *filters, WANTED = sizeof wanted / sizeof *wanted };
  for (size_t f = 0; f < FILTERS; f++) {
    KVValue left[WANTED], right[WANTED];
    KVTable *tables[] = { a, b };
    for (int t = 0; t < 2; t++) {
      KVQuery *query = NULL;
      CHECK_OK(kvquery_create(tables[t], &query));
      CHECK_OK(kvquery_where(query, filters[f], NULL, 0));
      CHECK_OK(kvquery_aggregate(query, wanted, WANTED, t ? right : left));
      kvquery_close(query);
    }
    CHECK(left[0].as.u64 > 0);
    for (size_t i = 0; i < WANTED; i++) {
      CHECK_INT(left[i].is_null, right[i].is_null);
      if (!left[i].is_null) CHECK_BYTES(&left[i].as, &right[i].as, left[i].type == KVTABLE_TYPE_DECIMAL128 ? 16 : 8);
    }
  }
}

static void check_same_ends(KVTable *a, KVTable *b) {
  static const char *const filters[] = { "", "i > 50", "s like 'city 3%'", "x > 1" };
  for (size_t f = 0; f < sizeof filters / sizeof *filters; f++) {
    for (int largest = 0; largest < 2; largest++) {
      KVQuery *queries[2];
      KVValue ends[2];
      KVTable *tables[] = { a, b };
      for (int t = 0; t < 2; t++) {
        CHECK_OK(kvquery_create(tables[t], &queries[t]));
        CHECK_OK(kvquery_where(queries[t], filters[f], NULL, 0));
        CHECK_OK(largest ? kvquery_max(queries[t], "s", &ends[t]) : kvquery_min(queries[t], "s", &ends[t]));
      }
      CHECK_INT(ends[0].as.bytes.length, ends[1].as.bytes.length);
      CHECK_BYTES(ends[0].as.bytes.data, ends[1].as.bytes.data, ends[0].as.bytes.length);
      kvquery_close(queries[0]);
      kvquery_close(queries[1]);
    }
  }
}

/* The strings of the rows that match, through a cursor: many rows of a block, and few. */
static void check_same_strings(KVTable *a, KVTable *b, const char *where) {
  KVTable *tables[] = { a, b };
  KVQuery *queries[2];
  KVCursor *cursors[2];
  const char *column = "s";
  uint64_t rows[2], seen = 0;
  int status[2];
  for (int t = 0; t < 2; t++) {
    CHECK_OK(kvquery_create(tables[t], &queries[t]));
    CHECK_OK(kvquery_where(queries[t], where, NULL, 0));
    CHECK_OK(kvquery_select(queries[t], &column, 1));
    CHECK_OK(kvquery_open(queries[t], &cursors[t]));
  }
  for (;;) {
    const KVColumnData *data[2];
    for (int t = 0; t < 2; t++) status[t] = kvcursor_next_batch(cursors[t], &rows[t], &data[t]);
    CHECK_INT(status[0], status[1]);
    if (status[0] == KVSTORE_NOTFOUND) break;
    CHECK_OK(status[0]);
    CHECK_INT(rows[0], rows[1]);
    seen += rows[0];
    for (uint64_t i = 0; i < rows[0]; i++) {
      bool is_null = data[0]->nulls && data[0]->nulls[i];
      CHECK_INT(is_null, data[1]->nulls && data[1]->nulls[i]);
      const KVBytes *left = (const KVBytes *)data[0]->values + i, *right = (const KVBytes *)data[1]->values + i;
      if (is_null) continue;
      CHECK_INT(left->length, right->length);
      CHECK_BYTES(left->data, right->data, left->length);
    }
  }
  CHECK(seen > 0);
  for (int t = 0; t < 2; t++) {
    kvcursor_close(cursors[t]);
    kvquery_close(queries[t]);
  }
}

/* Rows by key, each value. */
static void check_same_rows(KVTable *a, KVTable *b) {
  for (int i = 0; i < ROWS; i += 97) {
    KVValue key = kvvalue_i64((int64_t)i * 3), left[COLUMNS], right[COLUMNS];
    KVRow *rows[2] = { NULL, NULL };
    CHECK_OK(kvtable_get(a, &key, 1, left, COLUMNS, NULL, &rows[0]));
    CHECK_OK(kvtable_get(b, &key, 1, right, COLUMNS, NULL, &rows[1]));
    for (int c = 0; c < COLUMNS; c++) {
      CHECK_INT(left[c].is_null, right[c].is_null);
      if (left[c].is_null) continue;
      if (c < 4) {
        CHECK_BYTES(&left[c].as, &right[c].as, 8);
        continue;
      }
      CHECK_INT(left[c].as.bytes.length, right[c].as.bytes.length);
      CHECK_BYTES(left[c].as.bytes.data, right[c].as.bytes.data, left[c].as.bytes.length);
    }
    kvtable_row_free(rows[0]);
    kvtable_row_free(rows[1]);
  }
}

TEST(column_encodings, every_forced_encoding_is_taken_and_answers_the_same) {
  static const struct {
    int column, encoding;
    const char *name;
  } forced[] = {
    { 0, KVTABLE_ENCODING_PLAIN, "plain" },
    { 0, KVTABLE_ENCODING_PACKED, "packed" },
    { 0, KVTABLE_ENCODING_DICTIONARY, "dictionary" },
    { 0, KVTABLE_ENCODING_RUN_LENGTH, "run_length" },
    { 0, KVTABLE_ENCODING_DELTA, "delta" },
    { 1, KVTABLE_ENCODING_PLAIN, "plain" },
    { 1, KVTABLE_ENCODING_DICTIONARY, "dictionary" },
    { 1, KVTABLE_ENCODING_RUN_LENGTH, "run_length" },
    { 1, KVTABLE_ENCODING_ALP, "alp/" },
    { 1, KVTABLE_ENCODING_ALP_RD, "alp_rd" },
    { 2, KVTABLE_ENCODING_BITS, "bits" },
    { 2, KVTABLE_ENCODING_PACKED, "packed" },
    { 2, KVTABLE_ENCODING_RUN_LENGTH, "run_length" },
    { 3, KVTABLE_ENCODING_PLAIN, "plain" },
    { 3, KVTABLE_ENCODING_DICTIONARY, "dictionary" },
    { 3, KVTABLE_ENCODING_FSST, "fsst" },
    { 3, KVTABLE_ENCODING_ZSTD, "zstd" },
    { 3, KVTABLE_ENCODING_FRONT_CODED, "front_coded" },
  };
  KVStore *kv = open_store();
  static const int none[TYPES] = { 0 };
  KVTable *plain = make_table(kv, "free", none);
  for (size_t i = 0; i < sizeof forced / sizeof *forced; i++) {
    int flags[TYPES] = { 0 };
    flags[forced[i].column] = KVTABLE_USE_ENCODING(forced[i].encoding);
    KVTable *table = make_table(kv, "forced", flags);
    CHECK(has_encoding(table, (size_t)forced[i].column + 1, forced[i].name));
    check_same_answers(plain, table);
    check_same_rows(plain, table);
    check_same_ends(plain, table);
    check_same_strings(plain, table, "i < 60");
    check_same_strings(plain, table, "s = 'city 49 of many' or i = 19");
    kvtable_close(table);
    CHECK_OK(kvtable_drop(kv, "forced"));
  }
  kvtable_close(plain);
  CHECK_OK(kvstore_close(kv));
}

/* Keys of strings, as each encoding that may hold them: found, absent ones not, in order, mapped and through the cache.
 */
TEST(column_encodings, string_keys_are_found_in_every_encoding) {
  static const int encodings[] = { KVTABLE_ENCODING_PLAIN, KVTABLE_ENCODING_DICTIONARY, KVTABLE_ENCODING_FSST,
                                   KVTABLE_ENCODING_FRONT_CODED };
  static const char *const names[] = { "plain", "dictionary", "fsst", "front_coded" };
  const char *key[] = { "k" };
  for (int i = 0; i < 4; i++) {
    char path[32], text[40];
    (void)snprintf(path, sizeof path, "keys%d", i);
    for (int cached = 0; cached < 2; cached++) {
      KVStore *kv = NULL;
      KVTable *table = NULL;
      KVStoreOptions options = KVSTORE_OPTIONS_INIT;
      options.log_bytes = 1 << 20;
      options.map_off = cached;
      CHECK_OK(kvstore_open_with(path_of(path), &kv, &options));
      if (!cached) {
        const KVColumnDefinition columns[] = { { "k", KVTABLE_TYPE_STRING, KVTABLE_USE_ENCODING(encodings[i]), 0 },
                                               { "n", KVTABLE_TYPE_I64, 0, 0 } };
        CHECK_OK(kvtable_create(kv, "t", columns, 2, key, 1, &table));
        CHECK_OK(kvstore_begin(kv, 1));
        for (int row = 0; row < 3000; row++) {
          (void)snprintf(text, sizeof text, "customer/%04d/order/%02d", row / 20, row % 20 * 3);
          KVValue values[] = { kvvalue_string(text), kvvalue_i64(row) };
          CHECK_OK(kvtable_insert(table, values, 2, 0, NULL));
        }
        CHECK_OK(kvstore_commit(kv));
        CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
        CHECK(has_encoding(table, 0, names[i]));
      } else {
        CHECK_OK(kvtable_open(kv, "t", &table));
      }
      for (int row = 0; row < 3000; row += 17) {
        KVValue at, values[2];
        KVRow *held = NULL;
        (void)snprintf(text, sizeof text, "customer/%04d/order/%02d", row / 20, row % 20 * 3);
        at = kvvalue_string(text);
        CHECK_OK(kvtable_get(table, &at, 1, values, 2, NULL, &held));
        CHECK_INT(values[1].as.i64, row);
        CHECK_INT(values[0].as.bytes.length, strlen(text));
        CHECK_BYTES(values[0].as.bytes.data, text, strlen(text));
        kvtable_row_free(held);
        (void)snprintf(text, sizeof text, "customer/%04d/order/%02d", row / 20, row % 20 * 3 + 1);
        at = kvvalue_string(text);
        CHECK_STATUS(kvtable_get(table, &at, 1, values, 2, NULL, &held), KVSTORE_NOTFOUND);
      }
      CHECK_INT(matches(table, "k like 'customer/0017/%'"), 20);
      CHECK_INT(matches(table, "k >= 'customer/0100/order/03' and k < 'customer/0101'"), 19);
      char *report = NULL;
      CHECK_OK(kvstore_integrity_check(kv, &report));
      kvstore_free(report);
      kvtable_close(table);
      CHECK_OK(kvstore_close(kv));
    }
  }
}

TEST(column_encodings, forbidden_ones_are_not_taken_and_wishes_survive_a_reopen) {
  KVStore *kv = open_store();
  const int flags[TYPES] = { KVTABLE_NO_ENCODING(KVTABLE_ENCODING_RUN_LENGTH) | KVTABLE_READ_BY_KEY,
                             KVTABLE_NO_ENCODING(KVTABLE_ENCODING_ALP) | KVTABLE_NO_ENCODING(KVTABLE_ENCODING_ALP_RD) |
                               KVTABLE_NO_ENCODING(KVTABLE_ENCODING_DICTIONARY),
                             KVTABLE_USE_ENCODING(KVTABLE_ENCODING_PACKED),
                             KVTABLE_NO_ENCODING(KVTABLE_ENCODING_DICTIONARY) };
  static const int none[TYPES] = { 0 };
  KVTable *other = make_table(kv, "free", none), *table = make_table(kv, "t", flags);
  CHECK(has_encoding(other, 1, "run_length") && has_encoding(other, 2, "alp") && has_encoding(other, 4, "dictionary"));
  CHECK(has_encoding(table, 1, "packed") && has_encoding(table, 2, "plain") && has_encoding(table, 3, "packed"));
  CHECK(!has_encoding(table, 4, "dictionary"));
  check_same_answers(other, table);
  kvtable_close(other);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
  kv = open_store();
  KVTableSchema schema = KVTABLE_SCHEMA_INIT;
  CHECK_OK(kvtable_open(kv, "t", &table));
  CHECK_OK(kvtable_schema(table, &schema));
  for (int c = 0; c < TYPES; c++) CHECK_INT(schema.columns[c + 1].flags, KVTABLE_NULLABLE | flags[c]);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* A stride of values that are none, a constant of many: the best one is taken instead. */
TEST(column_encodings, what_the_values_do_not_allow_falls_back) {
  KVStore *kv = open_store();
  const int flags[TYPES] = { KVTABLE_USE_ENCODING(KVTABLE_ENCODING_STRIDE),
                             KVTABLE_USE_ENCODING(KVTABLE_ENCODING_CONSTANT), 0, 0 };
  KVTable *table = make_table(kv, "t", flags);
  CHECK(has_encoding(table, 1, "run_length") && has_encoding(table, 2, "alp"));
  CHECK_INT(rows_of(table), ROWS);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(column_encodings, what_a_type_never_has_is_refused) {
  static const struct {
    int type, flags;
    const char *saying;
  } bad[] = {
    { KVTABLE_TYPE_STRING, KVTABLE_USE_ENCODING(KVTABLE_ENCODING_PACKED), "(packed)" },
    { KVTABLE_TYPE_STRING, KVTABLE_USE_ENCODING(KVTABLE_ENCODING_RUN_LENGTH), "(run_length)" },
    { KVTABLE_TYPE_I64, KVTABLE_USE_ENCODING(KVTABLE_ENCODING_ALP), "(alp)" },
    { KVTABLE_TYPE_F64, KVTABLE_USE_ENCODING(KVTABLE_ENCODING_DELTA), "(delta)" },
    { KVTABLE_TYPE_I64, KVTABLE_USE_ENCODING(99), "99 (?)" },
    { KVTABLE_TYPE_I64, KVTABLE_NO_ENCODING(14), "none of" },
    { KVTABLE_TYPE_I64, KVTABLE_USE_ENCODING(KVTABLE_ENCODING_PACKED) | KVTABLE_NO_ENCODING(KVTABLE_ENCODING_PACKED),
      "wants and forbids the encoding packed" },
    { KVTABLE_TYPE_STRING, KVTABLE_ARRAY, "cannot be an array" },
  };
  KVStore *kv = open_store();
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    const KVColumnDefinition column = { "col", bad[i].type, bad[i].flags, 0 };
    KVTable *table = NULL;
    CHECK_STATUS(kvtable_create(kv, "t", &column, 1, NULL, 0, &table), KVSTORE_SCHEMA);
    CHECK(strstr(kvstore_errmsg(kv), "column col ") != NULL);
    CHECK(strstr(kvstore_errmsg(kv), bad[i].saying) != NULL);
  }
  CHECK_OK(kvstore_close(kv));
}

TEST(column_encodings, names_go_to_numbers_and_back) {
  CHECK_STR(kvtable_encoding_name(KVTABLE_ENCODING_ALP_RD), "alp_rd");
  CHECK_INT(kvtable_encoding_by_name("front_coded"), KVTABLE_ENCODING_FRONT_CODED);
  for (int e = KVTABLE_ENCODING_CONSTANT; e <= KVTABLE_ENCODING_FRONT_CODED; e++)
    CHECK_INT(kvtable_encoding_by_name(kvtable_encoding_name(e)), e);
  const int none[] = { -1, 0, KVTABLE_ENCODING_FRONT_CODED + 1, 14, 99 };
  for (size_t i = 0; i < sizeof none / sizeof *none; i++) CHECK_STR(kvtable_encoding_name(none[i]), "?");
  CHECK_INT(kvtable_encoding_by_name("Packed"), 0);
  CHECK_INT(kvtable_encoding_by_name("array"), 0); /* a flag, not a number */
  CHECK_INT(kvtable_encoding_by_name(NULL), 0);
}
