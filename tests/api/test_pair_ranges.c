/* Families of pairs as tables: ranges of their keys, orders of their rows, values of any size. */
#include <stdlib.h>

#include "tests/api/api_support.h"

static KVColumnFamily *create_family(KVStore *kv, const char *name) {
  KVColumnFamily *cf = NULL;
  CHECK_OK(kvstore_cf_create(kv, name, &cf));
  return cf;
}

static uint64_t count_range(KVQuery *query, const char *from, const char *to, int flags) {
  KVValue bounds[2] = { kvvalue_string(from), kvvalue_string(to) };
  uint64_t count = 0;
  CHECK_OK(kvquery_key_range(query, from ? &bounds[0] : NULL, from != NULL, to ? &bounds[1] : NULL, to != NULL, flags));
  CHECK_OK(kvquery_count(query, &count));
  return count;
}

/* `counted`: from columns that are kept, in a run and in rows behind it. */
static void count_ranges(int counted) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = create_family(kv, "f");
  KVTable *table = NULL;
  char key[32];
  if (counted) CHECK_OK(kvtable_declare(cf, NULL, 0, KVTABLE_COUNTED));
  CHECK_OK(kvtable_open_family(cf, NULL, 0, &table));
  for (int i = 0; i < 1000; i++) {
    if (i == 955) CHECK_OK(kvstore_checkpoint(kv, 1, NULL, NULL));
    CHECK_OK(kvstore_cf_put(cf, key, snprintf(key, sizeof key, "k%03d", i), "v", 1));
  }
  CHECK_OK(kvstore_cf_put(cf, "k050\0", 5, "v", 1));
  KVQuery *query = NULL;
  KVQueryCounters counters = KVQUERY_COUNTERS_INIT;
  uint64_t count = 0;
  CHECK_OK(kvquery_create(table, &query));
  CHECK_INT(count_range(query, "k050", "k060", 0), 11);
  CHECK_OK(kvquery_counters(query, &counters));
  if (!counted) CHECK_INT(counters.rows, 11);
  CHECK_INT(count_range(query, "k050", "k060", KVQUERY_FROM_EXCLUDED), 10);
  CHECK_INT(count_range(query, "k050", "k060", KVQUERY_TO_INCLUDED), 12);
  CHECK_INT(count_range(query, "k990", NULL, 0), 10);
  CHECK_INT(count_range(query, NULL, "k010", 0), 10);
  CHECK_INT(count_range(query, NULL, "", 0), 0);
  CHECK_INT(count_range(query, "k5", "k4", 0), 0);
  CHECK_INT(count_range(query, NULL, NULL, 0), 1001);
  KVValue prefix = kvvalue_string("k05");
  CHECK_OK(kvquery_key_prefix(query, &prefix, 1));
  CHECK_OK(kvquery_count(query, &count));
  CHECK_INT(count, 11);
  CHECK_OK(kvquery_where(query, "key >= x'6b303535'", NULL, 0));
  CHECK_OK(kvquery_count(query, &count));
  CHECK_INT(count, 5);
  CHECK_OK(kvquery_key_prefix(query, NULL, 0));
  CHECK_OK(kvquery_count(query, &count));
  CHECK_INT(count, 945);
  KVValue number = kvvalue_i64(5);
  CHECK_STATUS(kvquery_key_prefix(query, &number, 1), KVSTORE_TYPE);
  CHECK_STATUS(kvquery_key_prefix(query, &prefix, 2), KVSTORE_SCHEMA);
  CHECK_STATUS(kvquery_key_prefix(query, NULL, 1), KVSTORE_ERROR);
  CHECK_STATUS(kvquery_key_range(query, NULL, 0, NULL, 0, 4), KVSTORE_ERROR);
  CHECK_OK(kvquery_count(query, &count));
  CHECK_INT(count, 945); /* a refused range changes nothing */
  kvquery_close(query);
  kvtable_close(table);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(pair_ranges, ranges_of_keys_are_all_that_is_read) { count_ranges(0); }
TEST(pair_ranges, ranges_of_keys_are_counted_by_columns) { count_ranges(1); }

/* ---- a filter over the key ---- */

enum { LETTERS = 5, KEYS = LETTERS + LETTERS * LETTERS + LETTERS * LETTERS * LETTERS };
typedef struct RawKey {
  uint8_t bytes[3];
  int length;
} RawKey;
static RawKey raw_keys[KEYS];

/* All of one to three of these bytes. */
static void make_keys(void) {
  static const uint8_t bytes[LETTERS] = { 0, 1, 'a', 0xfe, 0xff };
  int n = 0;
  for (int length = 1, count = LETTERS; length <= 3; length++, count *= LETTERS)
    for (int i = 0; i < count; i++, n++) {
      raw_keys[n].length = length;
      for (int b = 0, rest = i; b < length; b++, rest /= LETTERS) raw_keys[n].bytes[b] = bytes[rest % LETTERS];
    }
}

static int order_of(const RawKey *a, const RawKey *b) {
  int common = a->length < b->length ? a->length : b->length, order = memcmp(a->bytes, b->bytes, (size_t)common);
  return order ? order : a->length - b->length;
}

static int in_range(const char *form, const RawKey *key, const RawKey *from, const RawKey *to) {
  int order = order_of(key, from);
  switch (form[4]) {
  case '=': return order == 0;
  case '<': return form[5] == '=' ? order <= 0 : order < 0;
  case '>': return form[5] == '=' ? order >= 0 : order > 0;
  case 'l': return key->length >= from->length && memcmp(key->bytes, from->bytes, (size_t)from->length) == 0;
  default: return order >= 0 && order_of(key, to) <= 0;
  }
}

/* Counts as a walk over all would, and walks no pair besides. */
static void check_filter(KVQuery *query, const char *form, const RawKey *from, const RawKey *to) {
  uint8_t pattern[4];
  memcpy(pattern, from->bytes, 3);
  pattern[from->length] = '%';
  const KVValue values[] = { kvvalue_bytes(form[4] == 'l' ? pattern : from->bytes,
                                           (size_t)from->length + (form[4] == 'l')),
                             kvvalue_bytes(to->bytes, (size_t)to->length) };
  KVQueryCounters counters = KVQUERY_COUNTERS_INIT;
  uint64_t expected = 0, count = 0;
  for (int i = 0; i < KEYS; i++) expected += (uint64_t)in_range(form, &raw_keys[i], from, to);
  CHECK_OK(kvquery_where(query, form, values, form[4] == 'b' ? 2 : 1));
  CHECK_OK(kvquery_count(query, &count));
  CHECK_INT(count, expected);
  CHECK_OK(kvquery_counters(query, &counters));
  bool is_never = form[4] == 'b' && order_of(from, to) > 0; /* no range, and true of no row at all */
  if (!is_never) CHECK_INT(counters.rows, expected);
}

TEST(pair_ranges, a_filter_over_the_key_walks_only_the_pairs_that_it_leaves) {
  static const char *const forms[] = { "key = ?",  "key < ?",    "key <= ?",           "key > ?",
                                       "key >= ?", "key like ?", "key between ? and ?" };
  KVStore *kv = open_store();
  KVColumnFamily *cf = create_family(kv, "f");
  KVTable *table = NULL;
  KVQuery *query = NULL;
  KVQueryCounters counters = KVQUERY_COUNTERS_INIT;
  uint64_t count = 0;
  make_keys();
  for (int i = 0; i < KEYS; i++) {
    if (i == KEYS / 2) CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
    CHECK_OK(kvstore_cf_put(cf, raw_keys[i].bytes, raw_keys[i].length, "v", 1));
  }
  CHECK_OK(kvtable_open_family(cf, NULL, 0, &table));
  CHECK_OK(kvquery_create(table, &query));
  for (int i = 0; i < KEYS; i++)
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++)
      check_filter(query, forms[f], &raw_keys[i], &raw_keys[(i * 37 + 11) % KEYS]);
  const KVValue from = kvvalue_bytes("\1", 1), to = kvvalue_bytes("a", 1), prefix = kvvalue_bytes("\1\xfe", 2);
  CHECK_OK(kvquery_where(query, "key >= x'01fe' and value_length = 1 and key < x'01ff00'", NULL, 0));
  CHECK_OK(kvquery_key_range(query, &from, 1, &to, 1, 0)); /* 01fe with 5 behind it, and 01ff */
  CHECK_OK(kvquery_count(query, &count));
  CHECK_INT(count, 7);
  CHECK_OK(kvquery_key_prefix(query, &prefix, 1));
  CHECK_OK(kvquery_count(query, &count));
  CHECK_INT(count, 6);
  CHECK_OK(kvquery_counters(query, &counters));
  CHECK_INT(counters.rows, 6);
  kvquery_close(query);
  kvtable_close(table);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(pair_ranges, rows_come_by_key_or_by_an_order_with_their_strings) {
  enum { ROWS = 50000 }; /* several pieces of a walk */
  KVStore *kv = open_store();
  KVColumnFamily *cf = create_family(kv, "f");
  KVTable *table = NULL;
  char key[32], text[64];
  const KVPairColumn name[] = { { "name", "json(n)", KVTABLE_TYPE_STRING, 0 } };
  CHECK_OK(kvtable_open_family(cf, name, 1, &table));
  CHECK_OK(kvstore_begin(kv, 1));
  for (int i = 0; i < ROWS; i++) {
    int k = (int)((int64_t)i * 7919 % ROWS);
    CHECK_OK(kvstore_cf_put(cf, key, snprintf(key, sizeof key, "%05d", k), text,
                            snprintf(text, sizeof text, "{\"n\":\"\\u00e9%05d\"}", ROWS - k)));
  }
  CHECK_OK(kvstore_commit(kv));
  KVQuery *query = NULL;
  KVCursor *cursor = NULL;
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_order_by_key(query, 1));
  CHECK_OK(kvquery_limit(query, 3, UINT64_MAX));
  CHECK_OK(kvquery_open(query, &cursor));
  for (int i = 3; i < ROWS; i++) {
    KVValue v;
    CHECK_OK(kvcursor_next(cursor));
    CHECK_OK(kvcursor_value(cursor, 0, &v));
    CHECK_BYTES(v.as.bytes.data, key, (snprintf(key, sizeof key, "%05d", i), 5));
    CHECK_OK(kvcursor_value(cursor, 4, &v));
    CHECK_BYTES(v.as.bytes.data, text, (size_t)snprintf(text, sizeof text, "\xc3\xa9%05d", ROWS - i));
  }
  CHECK_STATUS(kvcursor_next(cursor), KVSTORE_NOTFOUND);
  kvcursor_close(cursor);
  const KVOrder order = { "name", 0 };
  CHECK_OK(kvquery_order_by(query, &order, 1));
  CHECK_OK(kvquery_limit(query, 0, 100));
  CHECK_OK(kvquery_open(query, &cursor));
  for (int i = 0; i < 100; i++) {
    KVValue v;
    CHECK_OK(kvcursor_next(cursor));
    CHECK_OK(kvcursor_value(cursor, 0, &v));
    CHECK_BYTES(v.as.bytes.data, key, (snprintf(key, sizeof key, "%05d", ROWS - 1 - i), 5));
  }
  kvcursor_close(cursor);
  const KVAggregate ends[] = { { KVQUERY_FIRST, "name" }, { KVQUERY_LAST, "key" }, { KVQUERY_MIN, "name" } };
  KVValue results[3];
  CHECK_OK(kvquery_threads(query, 2));
  CHECK_OK(kvquery_aggregate(query, ends, 3, results));
  CHECK_BYTES(results[0].as.bytes.data,
              "\xc3\xa9"
              "50000",
              7);
  CHECK_BYTES(results[1].as.bytes.data, "49999", 5);
  CHECK_BYTES(results[2].as.bytes.data,
              "\xc3\xa9"
              "00001",
              7);
  kvquery_close(query);
  kvtable_close(table);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(pair_ranges, large_values_are_read_a_few_at_a_time) {
  KVStore *kv = NULL;
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  CHECK_OK(kvstore_open_with(path_of("store"), &kv, &options));
  KVColumnFamily *cf = create_family(kv, "f");
  KVTable *table = NULL;
  CHECK_OK(kvtable_open_family(cf, NULL, 0, &table));
  enum { BYTES = 3 << 20, VALUES = 6 };
  char *value = malloc(BYTES), key[8];
  CHECK(value != NULL);
  for (int i = 0; i < VALUES; i++) {
    memset(value, 'a' + i, BYTES);
    CHECK_OK(kvstore_cf_put(cf, key, snprintf(key, sizeof key, "%d", i), value, BYTES));
    if (i == 3) CHECK_OK(kvstore_checkpoint(kv, 1, NULL, NULL));
  }
  KVQuery *query = NULL;
  KVCursor *cursor = NULL;
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_open(query, &cursor));
  for (int i = 0; i < VALUES; i++) {
    KVValue v;
    CHECK_OK(kvcursor_next(cursor));
    CHECK_OK(kvcursor_value(cursor, 1, &v));
    CHECK_INT(v.as.bytes.length, BYTES);
    memset(value, 'a' + i, BYTES);
    CHECK_BYTES(v.as.bytes.data, value, BYTES);
  }
  KVQueryCounters counters = KVQUERY_COUNTERS_INIT;
  CHECK_OK(kvquery_counters(query, &counters));
  CHECK_INT(counters.units, 3); /* pieces of two values each */
  kvcursor_close(cursor);
  kvquery_close(query);
  kvtable_close(table);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
  free(value);
}
