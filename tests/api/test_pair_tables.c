/* Families of pairs as tables: their columns, ranges, groups and orders, under everything that changes pairs, against a
 * plain list of the same pairs. */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/api/api_support.h"

/* ---- a family and its list ---- */

enum { KEYS = 3000, VALUE_MAX = 40 };

/* Key i is "s/<i % 7>/<i>"; the value begins with a number of 4 bytes, then JSON. */
typedef struct Model {
  int there;
  int32_t number;
  int has_json, temp;
  int64_t expiry; /* 0: never */
} Model;

static Model model[KEYS], saved[KEYS];

static KVColumnFamily *create_family(KVStore *kv, const char *name) {
  KVColumnFamily *cf = NULL;
  CHECK_OK(kvstore_cf_create(kv, name, &cf));
  return cf;
}

static const KVPairColumn columns[] = { { "site", "part(1)", KVTABLE_TYPE_I32, 0 },
                                        { "number", "at(0)", KVTABLE_TYPE_I32, 0 },
                                        { "rest", "at(4)", KVTABLE_TYPE_BYTES, 0 },
                                        { "last", "part(2)", KVTABLE_TYPE_STRING, 0 } };
enum { COLUMNS = 4 };

/* The same with these columns kept beside it. */
static KVColumnFamily *create_declared(KVStore *kv, const char *name) {
  KVColumnFamily *cf = create_family(kv, name);
  CHECK_OK(kvtable_declare(cf, columns, COLUMNS, 0));
  return cf;
}

typedef KVColumnFamily *CreateFamily(KVStore *kv, const char *name);

static int key_of(int i, char key[32]) { return snprintf(key, 32, "s/%d/%04d", i % 7, i); }

static int value_of(const Model *m, char value[64]) {
  memcpy(value, &m->number, 4);
  if (!m->has_json) return 4;
  return 4 + snprintf(value + 4, 60, "{\"temp\":%d}", m->temp);
}

static void put(KVColumnFamily *cf, int i, uint64_t *seed) {
  char key[32], value[64];
  int64_t now = kvstore_now_ms();
  static const int64_t lives[] = { 0, 0, -1000, 3600000 };
  int64_t life = lives[test_random_below(seed, 4)];
  model[i] = (Model){ 1, (int32_t)test_random_below(seed, 2000) - 1000, test_random_below(seed, 3) != 0,
                      (int)test_random_below(seed, 50), life ? now + life : 0 };
  CHECK_OK(kvstore_cf_put_ttl(cf, key, key_of(i, key), value, value_of(&model[i], value), model[i].expiry));
}

static void erase(KVColumnFamily *cf, int i) {
  char key[32];
  int status = kvstore_cf_delete(cf, key, key_of(i, key));
  CHECK(status == KVSTORE_OK || status == KVSTORE_NOTFOUND);
  model[i].there = 0;
}

static void change_some(KVColumnFamily *cf, int count, uint64_t *seed) {
  for (int i = 0; i < count; i++) {
    int at = (int)test_random_below(seed, KEYS);
    if (test_random_below(seed, 4))
      put(cf, at, seed);
    else
      erase(cf, at);
  }
}

static int is_live(const Model *m) { return m->there && (!m->expiry || m->expiry > kvstore_now_ms()); }

static KVTable *open_pairs(KVColumnFamily *cf) {
  KVTable *table = NULL;
  CHECK_OK(kvtable_open_family(cf, columns, COLUMNS, &table));
  return table;
}

static uint64_t count_where(KVTable *table, const char *where) {
  KVQuery *query = NULL;
  uint64_t count = 0;
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_where(query, where, NULL, 0));
  CHECK_OK(kvquery_count(query, &count));
  kvquery_close(query);
  return count;
}

/* Counts, sums and groups of the family are those of the list. */
static void check_pairs(KVTable *table, const Model *expected) {
  int64_t live = 0, negative = 0, expiring = 0, bytes = 0, sums[7] = { 0 }, sizes[7] = { 0 };
  char value[64];
  for (int i = 0; i < KEYS; i++) {
    if (!is_live(&expected[i])) continue;
    live++;
    negative += expected[i].number < 0;
    expiring += expected[i].expiry != 0;
    bytes += value_of(&expected[i], value);
    sums[i % 7] += expected[i].number;
    sizes[i % 7]++;
  }
  uint64_t counted = 0;
  CHECK_OK(kvtable_count(table, &counted));
  CHECK_INT(counted, live);
  CHECK_INT(count_where(table, "number < 0"), negative);
  CHECK_INT(count_where(table, "expires_at is not null"), expiring);
  KVQuery *query = NULL;
  KVValue sum;
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_sum(query, "value_length", &sum));
  CHECK_INT(sum.is_null ? 0 : (int64_t)sum.as.decimal.low, bytes);
  const char *keys[] = { "site" };
  const KVAggregate asked[] = { { KVQUERY_ROWS, NULL }, { KVQUERY_SUM, "number" } };
  const KVOrder order = { "site", 0 };
  KVCursor *cursor = NULL;
  CHECK_OK(kvquery_group_by(query, keys, 1));
  CHECK_OK(kvquery_compute(query, asked, 2));
  CHECK_OK(kvquery_order_by(query, &order, 1));
  CHECK_OK(kvquery_open(query, &cursor));
  for (int site = 0; site < 7; site++) {
    KVValue v;
    if (!sizes[site]) continue;
    CHECK_OK(kvcursor_next(cursor));
    CHECK_OK(kvcursor_value(cursor, 0, &v));
    CHECK_INT(v.as.i64, site);
    CHECK_OK(kvcursor_value(cursor, 1, &v));
    CHECK_INT(v.as.u64, sizes[site]);
    CHECK_OK(kvcursor_value(cursor, 2, &v));
    CHECK_INT((int64_t)v.as.decimal.low, sums[site]);
  }
  CHECK_STATUS(kvcursor_next(cursor), KVSTORE_NOTFOUND);
  kvcursor_close(cursor);
  kvquery_close(query);
}

/* ---- what a table over pairs is ---- */

TEST(pair_tables, every_family_has_four_columns) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = NULL;
  KVTable *table = NULL;
  CHECK_OK(kvstore_cf_get_default(kv, &cf));
  CHECK_OK(kvtable_open_family(cf, NULL, 0, &table));
  KVTableSchema schema = KVTABLE_SCHEMA_INIT;
  CHECK_OK(kvtable_schema(table, &schema));
  CHECK_INT(schema.column_count, 4);
  CHECK_STR(schema.columns[0].name, "key");
  CHECK_INT(schema.columns[1].type, KVTABLE_TYPE_BYTES);
  CHECK_INT(schema.columns[2].type, KVTABLE_TYPE_U64);
  CHECK_INT(schema.columns[3].flags, KVTABLE_NULLABLE | KVTABLE_UTC);
  CHECK_INT(schema.key_count, 1);
  uint64_t count = 7;
  CHECK_OK(kvtable_count(table, &count));
  CHECK_INT(count, 0);
  put_text(kv, "a", "one");
  put_text(kv, "b", "");
  CHECK_OK(kvtable_count(table, &count));
  CHECK_INT(count, 2);
  CHECK_INT(count_where(table, "value = x'6f6e65' and value_length = 3 and expires_at is null"), 1);
  kvtable_close(table);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(pair_tables, a_row_is_read_by_its_key) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = create_family(kv, "f");
  KVTable *table = open_pairs(cf);
  int64_t until = kvstore_now_ms() + 3600000, expiry = 0;
  CHECK_OK(kvstore_cf_put_ttl(cf, "s/3/x", 5, "\1\0\0\0rest", 8, until));
  KVValue key = kvvalue_bytes("s/3/x", 5), values[8];
  KVRow *row = NULL;
  CHECK_OK(kvtable_get(table, &key, 1, values, 8, &expiry, &row));
  CHECK_INT(expiry, until);
  CHECK_INT(values[2].as.u64, 8);
  CHECK_INT(values[3].as.i64, until * 1000);
  CHECK_INT(values[4].as.i64, 3);
  CHECK_INT(values[5].as.i64, 1);
  CHECK_BYTES(values[6].as.bytes.data, "rest", 4);
  CHECK_BYTES(values[7].as.bytes.data, "x", 1);
  kvtable_row_free(row);
  key = kvvalue_bytes("s/4/x", 5);
  CHECK_STATUS(kvtable_get(table, &key, 1, values, 8, &expiry, &row), KVSTORE_NOTFOUND);
  kvtable_close(table);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(pair_tables, nothing_is_written_through_them) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = create_family(kv, "f");
  KVTable *table = NULL;
  CHECK_OK(kvtable_open_family(cf, NULL, 0, &table));
  KVValue row[4] = { kvvalue_bytes("k", 1), kvvalue_bytes("v", 1), kvvalue_u64(1), kvvalue_null() };
  const char *column[] = { "value" };
  CHECK_STATUS(kvtable_insert(table, row, 4, 0, NULL), KVSTORE_READONLY);
  CHECK_STATUS(kvtable_upsert(table, row, 4, 0), KVSTORE_READONLY);
  CHECK_STATUS(kvtable_update(table, row, 1, column, row + 1, 1, NULL), KVSTORE_READONLY);
  CHECK_STATUS(kvtable_delete(table, row, 1), KVSTORE_READONLY);
  CHECK_STATUS(kvtable_clear(table), KVSTORE_READONLY);
  CHECK_STATUS(kvtable_append(table, NULL, 0, 0, NULL, KVTABLE_UPSERT, NULL), KVSTORE_READONLY);
  CHECK(strstr(kvstore_errmsg(kv), "kvstore_cf_put") != NULL);
  kvtable_close(table);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(pair_tables, columns_that_cannot_be_are_refused) {
  static const struct {
    KVPairColumn column;
    int status;
    const char *says;
  } bad[] = { { { "c", NULL, 0, 0 }, KVSTORE_SCHEMA, "no source" },
              { { "c", "sum(x)", 0, 0 }, KVSTORE_ERROR, "column c: sum(x): a column's source at character 1" },
              { { NULL, "json(a..b)", 0, 0 }, KVSTORE_ERROR, "column json(a..b): json(a..b): a JSON path" },
              { { "c", "at(0)", 0, 0 }, KVSTORE_TYPE, "column c: what type does it have?" },
              { { "c", "at(0)", 99, 0 }, KVSTORE_TYPE, "column c: there is no type 99" },
              { { "c", "at(0)", KVTABLE_TYPE_DECIMAL, 19 }, KVSTORE_TYPE, "a scale of at most 18, not 19" },
              { { "c", "json(a)", KVTABLE_TYPE_BYTES, 0 }, KVSTORE_TYPE, "bytes cannot be made of json(a)" },
              { { "key", "part(0)", 0, 0 }, KVSTORE_SCHEMA, "key" },
              { { "value_length", "part(0)", 0, 0 }, KVSTORE_SCHEMA, "value_length" },
              { { "", "part(0)", 0, 0 }, KVSTORE_SCHEMA, "" },
              { { "c", "at(0)", KVTABLE_TYPE_FIXED_BYTES, 0 }, KVSTORE_SCHEMA, "width 0" },
              { { "c", "at(0)", KVTABLE_TYPE_I64, 8 }, KVSTORE_SCHEMA, "width 8" } };
  KVStore *kv = open_store();
  KVColumnFamily *cf = create_family(kv, "f");
  KVTable *table = (KVTable *)1;
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    CHECK_STATUS(kvtable_open_family(cf, &bad[i].column, 1, &table), bad[i].status);
    CHECK(table == NULL);
    CHECK(strstr(kvstore_errmsg(kv), bad[i].says) != NULL);
  }
  const KVPairColumn twice[] = { { "c", "part(0)", 0, 0 }, { "c", "part(1)", 0, 0 } };
  CHECK_STATUS(kvtable_open_family(cf, twice, 2, &table), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_open_family(cf, NULL, 1, &table), KVSTORE_ERROR);
  CHECK_STATUS(kvtable_open_family(cf, twice, SIZE_MAX, &table), KVSTORE_SCHEMA); /* nothing is read of so many */
  CHECK_STATUS(kvtable_declare(cf, twice, SIZE_MAX, 0), KVSTORE_SCHEMA);
  CHECK(strstr(kvstore_errmsg(kv), "at most 1023 in all") != NULL);
  CHECK_STATUS(kvtable_open_family(NULL, NULL, 0, &table), KVSTORE_ERROR);
  CHECK_STATUS(kvtable_open_family(cf, NULL, 0, NULL), KVSTORE_ERROR);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

/* ---- exact under everything that changes pairs ---- */

static void follow_changes(CreateFamily *create) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = create(kv, "f");
  KVTable *table = open_pairs(cf);
  uint64_t seed = 5;
  for (int round = 0; round < 8; round++) {
    change_some(cf, (int)test_scaled(3000), &seed);
    check_pairs(table, model);
    if (round % 2) CHECK_OK(kvstore_checkpoint(kv, 1, NULL, NULL));
    if (round == 5) CHECK_OK(kvstore_maintain(kv));
    check_pairs(table, model);
    if (round != 3) continue;
    kvtable_close(table);
    kvstore_cf_close(cf);
    CHECK_OK(kvstore_close(kv));
    kv = open_store();
    CHECK_OK(kvstore_cf_open(kv, "f", &cf));
    table = open_pairs(cf);
  }
  char *why = NULL;
  CHECK_OK(kvstore_integrity_check(kv, &why));
  kvtable_close(table);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(pair_tables, answers_follow_puts_deletes_expiries_flushes_and_reopens) { follow_changes(create_family); }
TEST(pair_tables, answers_follow_puts_deletes_expiries_flushes_and_reopens__with_columns_kept) {
  follow_changes(create_declared);
}

static void follow_transactions(CreateFamily *create) {
  KVStore *kv = open_store(), *other = NULL;
  KVColumnFamily *cf = create(kv, "f"), *theirs = NULL;
  KVTable *table = open_pairs(cf);
  uint64_t seed = 6;
  change_some(cf, 2000, &seed);
  CHECK_OK(kvstore_clone(kv, &other));
  CHECK_OK(kvstore_cf_open(other, "f", &theirs));
  KVTable *outside = open_pairs(theirs);
  memcpy(saved, model, sizeof model);
  CHECK_OK(kvstore_begin(kv, 1));
  change_some(cf, 1000, &seed);
  check_pairs(table, model);
  check_pairs(outside, saved);
  KVQuery *query = NULL;
  KVCursor *cursor = NULL;
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_open(query, &cursor));
  CHECK_OK(kvstore_rollback(kv));
  CHECK_STATUS(kvcursor_next(cursor), KVSTORE_ERROR); /* it stands on rows that never were */
  kvcursor_close(cursor);
  kvquery_close(query);
  check_pairs(table, saved);
  memcpy(model, saved, sizeof model);
  CHECK_OK(kvstore_begin(kv, 1));
  change_some(cf, 1000, &seed);
  CHECK_OK(kvstore_commit(kv));
  check_pairs(outside, model);
  kvtable_close(outside);
  kvstore_cf_close(theirs);
  CHECK_OK(kvstore_close(other));
  kvtable_close(table);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(pair_tables, a_transaction_sees_its_own_pairs_and_others_do_not) { follow_transactions(create_family); }
TEST(pair_tables, a_transaction_sees_its_own_pairs_and_others_do_not__with_columns_kept) {
  follow_transactions(create_declared);
}

static void stay_at_snapshots(CreateFamily *create) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = create(kv, "f");
  KVTable *table = open_pairs(cf);
  uint64_t seed = 7, count = 0, rows = 0;
  change_some(cf, 4000, &seed);
  uint64_t before = 0;
  CHECK_OK(kvtable_count(table, &before));
  KVSnapshot *snapshot = NULL;
  CHECK_OK(kvstore_snapshot_create(kv, &snapshot));
  KVQuery *query = NULL;
  KVCursor *cursor = NULL;
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_open(query, &cursor));
  CHECK_OK(kvstore_cf_clear(cf));
  CHECK_OK(kvstore_checkpoint(kv, 1, NULL, NULL));
  CHECK_OK(kvquery_count(query, &count));
  CHECK_INT(count, 0);
  CHECK_OK(kvquery_at(query, snapshot));
  CHECK_OK(kvquery_count(query, &count));
  CHECK_INT(count, before);
  while (kvcursor_next(cursor) == KVSTORE_OK) rows++;
  CHECK_INT(rows, before);
  kvquery_close(query);
  kvstore_snapshot_release(snapshot);
  kvtable_close(table);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
  kvcursor_close(cursor);
}

TEST(pair_tables, snapshots_and_cursors_stay_at_their_pairs) { stay_at_snapshots(create_family); }
TEST(pair_tables, snapshots_and_cursors_stay_at_their_pairs__with_columns_kept) { stay_at_snapshots(create_declared); }

/* ---- columns that are kept ---- */

/* Not 0 when queries of declared columns read them. */
static int is_built(KVColumnFamily *cf) {
  KVDeclaredColumns *declared = NULL;
  CHECK_OK(kvtable_declared(cf, &declared));
  int built = declared->is_built;
  kvstore_free(declared);
  return built;
}

static void check_all(KVStore *kv, KVColumnFamily *cf) {
  char *why = NULL;
  KVTable *table = open_pairs(cf);
  check_pairs(table, model);
  kvtable_close(table);
  CHECK_OK(kvstore_integrity_check(kv, &why));
}

TEST(pair_tables, declared_columns_are_told_with_what_is_null) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = create_family(kv, "f");
  KVDeclaredColumns *declared = NULL;
  CHECK_OK(kvtable_declared(cf, &declared));
  CHECK(!declared->is_declared && !declared->is_built && !declared->column_count);
  kvstore_free(declared);
  const KVPairColumn json[] = { { NULL, " json( $.a ) ", 0, 0 }, { "n", "at(1, big)", KVTABLE_TYPE_U16, 0 } };
  CHECK_OK(kvtable_declare(cf, json, 2, 0));
  CHECK_OK(kvstore_cf_put(cf, "1", 1, "{\"a\":1}", 7));
  CHECK_OK(kvstore_cf_put(cf, "2", 1, "{\"a\":\"x\"}", 9));
  CHECK_OK(kvstore_cf_put(cf, "3", 1, "no", 2));
  CHECK_OK(kvtable_declared(cf, &declared));
  CHECK(declared->is_declared && declared->is_built);
  CHECK_INT(declared->pairs, 3);
  CHECK_INT(declared->column_count, 2);
  CHECK_STR(declared->columns[0].name, "json(a)");
  CHECK_STR(declared->columns[0].source, "json(a)");
  CHECK_INT(declared->columns[0].type, KVTABLE_TYPE_F64);
  CHECK_INT(declared->columns[0].nulls, 2);
  CHECK_STR(declared->columns[1].source, "at(1, big)");
  CHECK_INT(declared->columns[1].nulls, 1);
  kvstore_free(declared);
  CHECK_OK(kvtable_declare(cf, NULL, 0, KVTABLE_COUNTED));
  CHECK_OK(kvtable_declared(cf, &declared));
  CHECK(declared->is_declared && declared->is_built && !declared->column_count);
  kvstore_free(declared);
  CHECK_OK(kvtable_declare(cf, NULL, 0, 0));
  CHECK_OK(kvtable_declared(cf, &declared));
  CHECK(!declared->is_declared && !declared->is_built);
  kvstore_free(declared);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

/* A cursor keeps what it reads: also tables that its query joins no longer, and that are closed. */
TEST(pair_tables, a_cursor_over_joined_pairs_goes_on_when_its_query_joins_nothing_more) {
  static const char *const on[] = { "last" }, *const selected[] = { "number", "r_number" };
  KVStore *kv = open_store();
  KVColumnFamily *cf = create_family(kv, "f");
  KVTable *left = open_pairs(cf), *right = open_pairs(cf);
  KVQuery *query = NULL;
  KVCursor *cursor = NULL;
  KVJoin join = { sizeof join, right, KVQUERY_JOIN_INNER, on, on, 1, "r_", NULL, NULL, 0 };
  for (int i = 0; i < 100; i++) {
    char key[32];
    CHECK_OK(kvstore_cf_put(cf, key, key_of(i, key), &i, sizeof i));
  }
  CHECK_OK(kvquery_create(left, &query));
  CHECK_OK(kvquery_join(query, &join));
  CHECK_OK(kvquery_select(query, selected, 2));
  CHECK_OK(kvquery_open(query, &cursor));
  kvtable_close(right);
  CHECK_OK(kvquery_join(query, NULL));
  for (int i = 0; i < 100; i++) {
    KVValue number, of_right;
    CHECK_OK(kvcursor_next(cursor));
    CHECK_OK(kvcursor_value(cursor, 0, &number));
    CHECK_OK(kvcursor_value(cursor, 1, &of_right));
    CHECK_INT(of_right.as.i64, number.as.i64); /* `last` is the number again */
  }
  CHECK_STATUS(kvcursor_next(cursor), KVSTORE_NOTFOUND);
  kvcursor_close(cursor);
  kvquery_close(query);
  kvtable_close(left);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

/* What a query computes stands behind the columns that have sources, and so do those of a joined table. */
TEST(pair_tables, values_are_computed_and_tables_joined_beside_columns_with_sources) {
  static const char *const on[] = { "last" };
  KVStore *kv = open_store();
  KVColumnFamily *cf = create_declared(kv, "f");
  KVTable *table = NULL;
  for (int i = 0; i < 100; i++) {
    char key[32];
    CHECK_OK(kvstore_cf_put(cf, key, key_of(i, key), &i, sizeof i));
  }
  CHECK_OK(kvtable_open_family(cf, columns, COLUMNS, &table));
  for (int joined = 0; joined < 2; joined++) {
    KVQuery *query = NULL;
    KVJoin join = { sizeof join, table, KVQUERY_JOIN_INNER, on, on, 1, "r_", "number * 2 < 160", NULL, 0 };
    uint64_t count = 0;
    CHECK_OK(kvquery_create(table, &query));
    if (joined) CHECK_OK(kvquery_join(query, &join));
    CHECK_OK(kvquery_where(query, "number + 1 > 11 and length(last) + 1 = 5 and number * 3 < 150 and number - 1 <> 20",
                           NULL, 0));
    CHECK_OK(kvquery_count(query, &count));
    CHECK_INT(count, 38); /* 11 to 49 without 21 */
    kvquery_close(query);
  }
  kvtable_close(table);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(pair_tables, a_refused_declaration_changes_nothing) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = create_declared(kv, "f");
  const KVPairColumn clash = { "value", "part(1)", 0, 0 }, bad = { "x", "at(0)", 0, 0 };
  CHECK_STATUS(kvtable_declare(cf, &clash, 1, 0), KVSTORE_SCHEMA);
  CHECK_STATUS(kvtable_declare(cf, &bad, 1, 0), KVSTORE_TYPE);
  CHECK_STATUS(kvtable_declare(cf, NULL, 1, 0), KVSTORE_ERROR);
  CHECK_STATUS(kvtable_declare(cf, NULL, 0, 2), KVSTORE_ERROR);
  CHECK_STATUS(kvtable_declare(NULL, NULL, 0, 0), KVSTORE_ERROR);
  CHECK(is_built(cf));
  CHECK_OK(kvstore_begin(kv, 1));
  CHECK_OK(kvtable_declare(cf, NULL, 0, 0));
  CHECK(!is_built(cf));
  CHECK_OK(kvstore_rollback(kv));
  CHECK(is_built(cf));
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(pair_tables, a_declared_column_stands_under_the_name_it_is_asked_by) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = create_declared(kv, "f");
  KVTable *table = NULL;
  const KVPairColumn mine[] = { { "n", "at( 0, little )", KVTABLE_TYPE_I32, 0 },
                                { "m", "at(0)", KVTABLE_TYPE_I32, 0 },
                                { "w", "at(0)", KVTABLE_TYPE_U8, 0 } };
  CHECK_OK(kvtable_open_family(cf, mine, 3, &table));
  KVTableSchema schema = KVTABLE_SCHEMA_INIT;
  CHECK_OK(kvtable_schema(table, &schema));
  CHECK_INT(schema.column_count, 4 + COLUMNS + 2);
  CHECK_STR(schema.columns[5].name, "n");
  CHECK_STR(schema.columns[8].name, "m");
  CHECK_STR(schema.columns[9].name, "w");
  const KVPairColumn untyped = { "untyped", "part(1)", KVTABLE_TYPE_NONE, 0 };
  KVTable *other = NULL;
  CHECK_OK(kvtable_open_family(cf, &untyped, 1, &other));
  CHECK_OK(kvtable_schema(other, &schema));
  CHECK_STR(schema.columns[4].name, "untyped");
  CHECK_INT(schema.columns[4].type, KVTABLE_TYPE_I32); /* as it is declared */
  kvtable_close(other);
  CHECK_OK(kvstore_cf_put(cf, "s/1", 3, "\7\0\0\0", 4));
  CHECK_INT(count_where(table, "n = 7 and m = 7 and w = 7 and site = 1"), 1);
  kvtable_close(table);
  const KVPairColumn clash = { "site", "at(0)", KVTABLE_TYPE_U8, 0 };
  CHECK_STATUS(kvtable_open_family(cf, &clash, 1, &table), KVSTORE_SCHEMA);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(pair_tables, a_table_outlives_the_columns_that_it_was_opened_with) {
  const KVPairColumn first = { "c", "at(0)", KVTABLE_TYPE_U8, 0 }, second = { "d", "part(0)", 0, 0 };
  KVStore *kv = open_store();
  KVColumnFamily *cf = create_family(kv, "f");
  KVTable *table = NULL;
  CHECK_OK(kvstore_cf_put(cf, "x/1", 3, "\7", 1));
  CHECK_OK(kvstore_begin(kv, 1));
  CHECK_OK(kvtable_declare(cf, &first, 1, 0));
  CHECK_OK(kvtable_open_family(cf, NULL, 0, &table));
  CHECK_INT(count_where(table, "c = 7"), 1);
  CHECK_OK(kvstore_rollback(kv));
  CHECK_INT(count_where(table, "c = 7"), 1);
  CHECK_OK(kvtable_declare(cf, &second, 1, 0)); /* whatever number its hidden table has */
  CHECK_INT(count_where(table, "c = 7"), 1);
  CHECK_INT(count_where(table, "value_length = 1 and c < 8"), 1);
  CHECK_OK(kvtable_declare(cf, NULL, 0, KVTABLE_COUNTED));
  CHECK_INT(count_where(table, "c = 7"), 1);
  CHECK_OK(kvtable_declare(cf, NULL, 0, 0));
  CHECK_INT(count_where(table, "c = 7"), 1);
  kvtable_close(table);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

/* A store that does nothing of its own, with many pairs. */
static KVStore *open_idle(void) {
  KVStore *kv = NULL;
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.log_bytes = 1 << 20;
  options.background_off = 1;
  CHECK_OK(kvstore_open_with(path_of("store"), &kv, &options));
  return kv;
}

enum { MANY = 30000 };

static void put_many(KVStore *kv, KVColumnFamily *cf) {
  char key[32], value[8] = { 0 };
  CHECK_OK(kvstore_begin(kv, 1));
  for (int i = 0; i < MANY; i++) {
    memcpy(value, &i, 4);
    CHECK_OK(kvstore_cf_put(cf, key, snprintf(key, sizeof key, "s/%d/%05d", i % 7, i), value, 4));
  }
  CHECK_OK(kvstore_commit(kv));
}

TEST(pair_tables, columns_over_many_pairs_are_built_by_maintenance_beside_writes) {
  KVStore *kv = open_idle();
  KVColumnFamily *cf = create_family(kv, "f");
  put_many(kv, cf);
  CHECK_OK(kvtable_declare(cf, columns, COLUMNS, 0));
  CHECK(!is_built(cf));
  KVTable *table = open_pairs(cf);
  CHECK_INT(count_where(table, "number < 10000"), 10000); /* exact before it is built */
  char key[32];
  CHECK_OK(kvstore_cf_put(cf, "s/1/00001", 9, "\377\377\377\377", 4)); /* number -1: written since */
  CHECK_OK(kvstore_cf_delete(cf, key, snprintf(key, sizeof key, "s/%d/%05d", 20000 % 7, 20000)));
  CHECK_OK(kvstore_begin(kv, 1));
  CHECK_OK(kvstore_maintain(kv)); /* nothing is built inside a transaction */
  CHECK(!is_built(cf));
  CHECK_OK(kvstore_commit(kv));
  KVStore *other = NULL;
  CHECK_OK(kvstore_clone(kv, &other));
  CHECK_OK(kvstore_begin(other, 1));
  CHECK_OK(kvstore_maintain(kv)); /* nor beside another's, which it does not wait for */
  CHECK(!is_built(cf));
  CHECK_OK(kvstore_close(other));
  CHECK_OK(kvstore_maintain(kv));
  CHECK(is_built(cf));
  CHECK_INT(count_where(table, "number < 10000"), 10000);
  CHECK_INT(count_where(table, "number = -1"), 1);
  CHECK_INT(count_where(table, "number >= 10000"), MANY - 10001);
  char *why = NULL;
  CHECK_OK(kvstore_integrity_check(kv, &why));
  kvtable_close(table);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

/* All rows that were copied lie in runs, where a range of keys is searched and not asked row by row. */
TEST(pair_tables, maintenance_goes_on_where_the_stores_thread_is_building_and_leaves_runs) {
  for (int times = 0; times < 3; times++) {
    KVStore *kv = open_store();
    KVColumnFamily *cf = create_family(kv, "f");
    KVTableUsage *usage = NULL;
    put_many(kv, cf);
    CHECK_OK(kvtable_declare(cf, columns, COLUMNS, 0));
    CHECK_OK(kvstore_maintain(kv));
    CHECK(is_built(cf));
    KVTable *table = open_pairs(cf);
    CHECK_OK(kvtable_usage(table, &usage));
    CHECK_INT(usage->run_rows, MANY);
    CHECK_INT(usage->delta_rows, 0);
    kvstore_free(usage);
    CHECK_INT(count_where(table, "number < 10000"), 10000);
    kvtable_close(table);
    kvstore_cf_close(cf);
    CHECK_OK(kvstore_cf_drop(kv, "f"));
    CHECK_OK(kvstore_close(kv));
  }
}

TEST(pair_tables, columns_that_were_not_built_go_on_in_the_next_life_by_themselves) {
  KVStore *kv = open_idle();
  KVColumnFamily *cf = create_family(kv, "f");
  put_many(kv, cf);
  CHECK_OK(kvtable_declare(cf, columns, COLUMNS, 0));
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
  kv = open_store();
  CHECK_OK(kvstore_cf_open(kv, "f", &cf));
  for (int looks = 0; !is_built(cf); looks++) CHECK(looks < 1000000); /* the store's thread is at it */
  KVTable *table = open_pairs(cf);
  CHECK_INT(count_where(table, "number < 10000"), 10000);
  kvtable_close(table);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(pair_tables, columns_follow_ranges_batches_loads_clears_and_drops) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = create_declared(kv, "f");
  uint64_t seed = 9;
  change_some(cf, 3000, &seed);
  int64_t deleted = 0;
  CHECK_OK(kvstore_cf_delete_prefix(cf, "s/3/", 4, &deleted));
  for (int i = 3; i < KEYS; i += 7) model[i].there = 0;
  check_all(kv, cf);
  int purged = 0;
  CHECK_OK(kvstore_cf_purge_expired(cf, &purged));
  check_all(kv, cf);
  static KVPair pairs[KEYS];
  static char keys[KEYS][32], values[KEYS][64];
  for (int i = 0; i < KEYS; i++) {
    model[i] = (Model){ 1, i - 100, i % 2, i % 50, 0 };
    pairs[i] = (KVPair){ .key = keys[i], .key_length = key_of(i, keys[i]), .value = values[i] };
    pairs[i].value_length = value_of(&model[i], values[i]);
  }
  int64_t loaded = 0;
  CHECK_OK(kvstore_bulk_load(kv, cf, pairs, KEYS, NULL, &loaded));
  check_all(kv, cf);
  CHECK_OK(kvstore_cf_rename(kv, "f", "g"));
  KVFamilyOptions options = KVSTORE_FAMILY_OPTIONS_INIT;
  options.changes_ms = 1000000;
  CHECK_OK(kvstore_cf_set_options(cf, &options));
  change_some(cf, 100, &seed);
  check_all(kv, cf);
  CHECK(is_built(cf));
  CHECK_OK(kvstore_cf_clear(cf));
  memset(model, 0, sizeof model);
  check_all(kv, cf);
  change_some(cf, 100, &seed);
  check_all(kv, cf);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_cf_drop(kv, "g"));
  char *why = NULL;
  CHECK_OK(kvstore_integrity_check(kv, &why));
  cf = create_declared(kv, "g");
  memset(model, 0, sizeof model);
  check_all(kv, cf);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(pair_tables, large_loads_and_transactions_carry_their_columns) {
  KVStore *kv = open_store(); /* a log of 1 MiB: both become runs */
  KVColumnFamily *cf = create_declared(kv, "f");
  put_many(kv, cf);
  KVTable *table = open_pairs(cf);
  CHECK_INT(count_where(table, "number < 100"), 100);
  CHECK_OK(kvstore_cf_clear(cf));
  KVBulkLoad *load = NULL;
  char key[32];
  int64_t loaded = 0;
  CHECK_OK(kvstore_bulk_load_begin(kv, cf, NULL, &load));
  for (int i = 3 * MANY; i-- > 0;)
    CHECK_OK(kvstore_bulk_load_add(load, key, snprintf(key, sizeof key, "s/%d/%05d", i % 7, i), &i, 4, 0));
  CHECK_OK(kvstore_bulk_load_commit(load, &loaded));
  CHECK_INT(loaded, 3 * MANY);
  CHECK_INT(count_where(table, "number < 100"), 100);
  CHECK_INT(count_where(table, "site = 3"), 3 * MANY / 7);
  char *why = NULL;
  CHECK_OK(kvstore_integrity_check(kv, &why));
  kvtable_close(table);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(pair_tables, keys_too_long_for_columns_are_refused_or_leave_the_family_to_walks) {
  KVStore *kv = open_idle();
  KVColumnFamily *cf = create_declared(kv, "f"), *other = create_family(kv, "g");
  char *key = calloc(1, KVSTORE_KEY_BYTES_MAX);
  CHECK(key != NULL);
  CHECK_STATUS(kvstore_cf_put(cf, key, KVSTORE_KEY_BYTES_MAX / 2, "v", 1), KVSTORE_LIMIT);
  CHECK_OK(kvstore_cf_put(cf, key, KVSTORE_KEY_BYTES_MAX / 2 - 1, "v", 1));
  memset(key, 'k', KVSTORE_KEY_BYTES_MAX);
  CHECK_STATUS(kvstore_cf_put(cf, key, KVSTORE_KEY_BYTES_MAX - 1, "v", 1), KVSTORE_LIMIT);
  CHECK_OK(kvstore_cf_put(cf, key, KVSTORE_KEY_BYTES_MAX - 2, "v", 1));
  int64_t count = 0;
  CHECK_OK(kvstore_cf_count(cf, &count));
  CHECK_INT(count, 2);
  CHECK_OK(kvstore_cf_put(other, key, KVSTORE_KEY_BYTES_MAX, "v", 1));
  CHECK_STATUS(kvtable_declare(other, columns, COLUMNS, 0), KVSTORE_LIMIT);
  CHECK(!is_built(other));
  put_many(kv, other);
  memset(key, 's', 2);
  CHECK_OK(kvstore_cf_put(other, "zz", 2, "v", 1));
  kvstore_cf_close(other);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
  free(key);
}

/* Opens the store for itself and changes every third pair. (No threads: the thread sanitizer allows none behind a
 * fork.)
 */
static void change_from_outside(void) {
  KVStore *kv = open_idle();
  KVColumnFamily *cf = NULL;
  char key[32];
  CHECK_OK(kvstore_cf_open(kv, "f", &cf));
  for (int i = 0; i < 3000; i += 3) {
    int32_t number = -i - 1;
    CHECK_OK(kvstore_cf_put(cf, key, snprintf(key, sizeof key, "s/%d/%05d", i % 7, i), &number, 4));
  }
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
  _exit(0);
}

TEST(pair_tables, what_other_processes_write_is_in_the_columns) {
  KVStore *kv = open_idle();
  KVColumnFamily *cf = create_declared(kv, "f");
  KVTable *table = open_pairs(cf);
  put_many(kv, cf);
  CHECK_INT(count_where(table, "number < 0"), 0);
  fflush(NULL);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) change_from_outside();
  int how = 0;
  CHECK_INT(waitpid(child, &how, 0), child);
  CHECK(WIFEXITED(how) && WEXITSTATUS(how) == 0);
  CHECK_INT(count_where(table, "number < 0"), 1000);
  CHECK_INT(count_where(table, "number >= 0"), MANY - 1000);
  char *why = NULL;
  CHECK_OK(kvstore_integrity_check(kv, &why));
  kvtable_close(table);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(pair_tables, sealed_stores_keep_columns_too) {
  KVStore *kv = NULL;
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.password = "secret";
  options.password_length = 6;
  CHECK_OK(kvstore_open_with(path_of("store"), &kv, &options));
  KVColumnFamily *cf = create_declared(kv, "f");
  uint64_t seed = 10;
  change_some(cf, 2000, &seed);
  CHECK_OK(kvstore_checkpoint(kv, 1, NULL, NULL));
  change_some(cf, 500, &seed);
  check_all(kv, cf);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}
