/* Ranges of keys: what is asked for, and what a filter says of the key, against a plain array of the same rows. */
#include "tests/api/api_support.h"

enum { KEY_MAX = 3, ROWS_MAX = 6000, TEXT_MAX = 400 };

/* A table whose key has one of several shapes. */
typedef struct Shape {
  const char *name;
  size_t count;
  int types[KEY_MAX];
  uint32_t width; /* of fixed bytes */
} Shape;
static const Shape shapes[] = {
  { "number", 1, { KVTABLE_TYPE_I32 }, 0 },
  { "byte", 1, { KVTABLE_TYPE_U8 }, 0 },
  { "large", 1, { KVTABLE_TYPE_U64 }, 0 },
  { "text", 1, { KVTABLE_TYPE_STRING }, 0 },
  { "float", 1, { KVTABLE_TYPE_F64 }, 0 },
  { "text_number", 2, { KVTABLE_TYPE_STRING, KVTABLE_TYPE_I16 }, 0 },
  { "fixed_date_bytes", 3, { KVTABLE_TYPE_FIXED_BYTES, KVTABLE_TYPE_DATE, KVTABLE_TYPE_BYTES }, 2 },
  { "bool_float_number", 3, { KVTABLE_TYPE_BOOL, KVTABLE_TYPE_F32, KVTABLE_TYPE_I64 }, 0 },
};

typedef struct Row {
  KVValue key[KEY_MAX];
  int64_t number;
  int is_live;
} Row;
typedef struct Model {
  const Shape *shape;
  Row rows[ROWS_MAX];
  size_t count;
} Model;
static Model model;

/* ---- values ---- */

static KVValue random_value(int type, uint32_t width, uint64_t *seed) {
  static const char *const words[] = { "", "a", "ab", "abc", "abd", "b", "b\xff", "\xff\xff", "\xff\xff\xff", "z" };
  static const double floats[] = { 0.0, 1.5, -2.25, 1e300, -1e-300, 7, 1.0 / 0.0, -1.0 / 0.0, 0.0 / 0.0 };
  uint64_t n = test_random_below(seed, 40);
  KVValue v = kvvalue_of(type);
  switch (type) {
  case KVTABLE_TYPE_STRING: return kvvalue_string(n < 6 ? words[n] : n < 20 ? "k" : "m\x7f");
  case KVTABLE_TYPE_BYTES: return kvvalue_bytes(words[n % 10], strlen(words[n % 10]));
  case KVTABLE_TYPE_FIXED_BYTES: {
    static const char pairs[] = "aaabba\xff\xff\0\0\xff";
    v = kvvalue_bytes(pairs + n % 10, width);
    v.type = type;
    return v;
  }
  case KVTABLE_TYPE_F64: return kvvalue_f64(n < 9 ? floats[n] : (double)test_random_below(seed, 5000) / 4);
  case KVTABLE_TYPE_F32: return kvvalue_f64(n < 3 ? floats[n] : (double)n);
  case KVTABLE_TYPE_BOOL: return kvvalue_bool(n & 1);
  case KVTABLE_TYPE_U8: return kvvalue_u64(n < 3 ? 255 - n : test_random_below(seed, 256));
  case KVTABLE_TYPE_U64: return kvvalue_u64(n < 3 ? UINT64_MAX - n : test_random_below(seed, 9000) << 50);
  case KVTABLE_TYPE_DATE: return kvvalue_date((int32_t)n - 20);
  default: return kvvalue_i64((int64_t)test_random_below(seed, 8000) - 4000);
  }
}

static int order_doubles(double a, double b) {
  if (a != a || b != b) return (a != a) - (b != b);
  return (a > b) - (a < b);
}

static int order_bytes(const KVValue *a, const KVValue *b) {
  size_t shorter = a->as.bytes.length < b->as.bytes.length ? a->as.bytes.length : b->as.bytes.length;
  int order = shorter ? memcmp(a->as.bytes.data, b->as.bytes.data, shorter) : 0;
  return order ? order : (a->as.bytes.length > b->as.bytes.length) - (a->as.bytes.length < b->as.bytes.length);
}

static int order_values(const KVValue *a, const KVValue *b) {
  switch (a->type) {
  case KVTABLE_TYPE_F64: return order_doubles(a->as.f64, b->as.f64);
  case KVTABLE_TYPE_U64: return (a->as.u64 > b->as.u64) - (a->as.u64 < b->as.u64);
  case KVTABLE_TYPE_STRING:
  case KVTABLE_TYPE_BYTES:
  case KVTABLE_TYPE_FIXED_BYTES: return order_bytes(a, b);
  default: return (a->as.i64 > b->as.i64) - (a->as.i64 < b->as.i64);
  }
}

/* By as many columns as the bound has. */
static int order_keys(const KVValue *a, const KVValue *b, size_t count) {
  for (size_t k = 0; k < count; k++) {
    int order = order_values(&a[k], &b[k]);
    if (order) return order;
  }
  return 0;
}

/* ---- rows ---- */

static KVTable *create_shape(KVStore *kv, const Shape *shape) {
  static const char *const names[] = { "k0", "k1", "k2" };
  KVColumnDefinition columns[KEY_MAX + 2];
  KVTable *table = NULL;
  for (size_t k = 0; k < shape->count; k++) {
    int is_fixed = shape->types[k] == KVTABLE_TYPE_FIXED_BYTES;
    columns[k] = (KVColumnDefinition){ names[k], shape->types[k], 0, is_fixed ? shape->width : 0 };
  }
  columns[shape->count] = (KVColumnDefinition){ "n", KVTABLE_TYPE_I64, 0, 0 };
  columns[shape->count + 1] = (KVColumnDefinition){ "at", KVTABLE_TYPE_I64, 0, 0 }; /* where it stands in the model */
  CHECK_OK(kvtable_create(kv, shape->name, columns, shape->count + 2, names, shape->count, &table));
  model.shape = shape;
  model.count = 0;
  return table;
}

static Row *find_row(const KVValue *key) {
  for (size_t i = 0; i < model.count; i++)
    if (order_keys(model.rows[i].key, key, model.shape->count) == 0) return &model.rows[i];
  return NULL;
}

/* Puts some rows, replaces some, lets some expire and deletes some. */
static void change_rows(KVStore *kv, KVTable *table, size_t count, uint64_t *seed) {
  size_t keys = model.shape->count;
  CHECK_OK(kvstore_begin(kv, 1));
  for (size_t i = 0; i < count; i++) {
    KVValue values[KEY_MAX + 2];
    for (size_t k = 0; k < keys; k++) values[k] = random_value(model.shape->types[k], model.shape->width, seed);
    values[keys] = kvvalue_i64((int64_t)test_random_below(seed, 100));
    Row *row = find_row(values);
    if (!row) row = &model.rows[model.count++];
    memcpy(row->key, values, sizeof row->key);
    values[keys + 1] = kvvalue_i64(row - model.rows);
    row->number = values[keys].as.i64;
    uint64_t fate = test_random_below(seed, 10);
    row->is_live = fate > 1;
    CHECK_OK(kvtable_upsert(table, values, keys + 2, fate == 0));
    if (fate == 1) CHECK_OK(kvtable_delete(table, values, keys));
  }
  CHECK_OK(kvstore_commit(kv));
}

/* ---- ranges ---- */

typedef struct Range {
  KVValue from[KEY_MAX], to[KEY_MAX];
  size_t from_count, to_count;
  int flags;
} Range;

static int is_within(const Range *r, const KVValue *key) {
  if (r->from_count) {
    int order = order_keys(key, r->from, r->from_count);
    if (order < 0 || (order == 0 && r->flags & KVQUERY_FROM_EXCLUDED)) return 0;
  }
  if (r->to_count) {
    int order = order_keys(key, r->to, r->to_count);
    if (order > 0 || (order == 0 && !(r->flags & KVQUERY_TO_INCLUDED))) return 0;
  }
  return 1;
}

static void random_bound(KVValue *bound, size_t *count, uint64_t *seed) {
  *count = test_random_below(seed, model.shape->count + 1);
  const Row *row = &model.rows[test_random_below(seed, model.count)];
  for (size_t k = 0; k < *count; k++)
    bound[k] = test_random_below(seed, 3) ? row->key[k] : random_value(model.shape->types[k], model.shape->width, seed);
}

static void random_range(Range *r, uint64_t *seed) {
  random_bound(r->from, &r->from_count, seed);
  random_bound(r->to, &r->to_count, seed);
  r->flags = (int)test_random_below(seed, 4);
}

/* Every way of asking gives the rows of the model. */
static void check_rows(KVQuery *query, const int *selected) {
  uint64_t count = 0, expected = 0, rows = 0;
  int64_t sum = 0;
  KVValue total;
  KVCursor *cursor = NULL;
  for (size_t i = 0; i < model.count; i++) {
    if (!selected[i]) continue;
    expected++;
    sum += model.rows[i].number;
  }
  CHECK_OK(kvquery_count(query, &count));
  CHECK_INT(count, expected);
  CHECK_OK(kvquery_sum(query, "n", &total));
  CHECK_INT(total.is_null, expected == 0);
  if (expected) CHECK_INT((int64_t)total.as.decimal.low, sum);
  KVQueryCounters counters = KVQUERY_COUNTERS_INIT;
  CHECK_OK(kvquery_counters(query, &counters));
  CHECK_INT(counters.blocks, counters.blocks_skipped + counters.blocks_certain + counters.blocks_scanned);
  KVValue before[KEY_MAX];
  for (int ordered = 0; ordered < 2; ordered++) {
    CHECK_OK(kvquery_order_by_key(query, ordered));
    CHECK_OK(kvquery_open(query, &cursor));
    rows = 0;
    while (kvcursor_next(cursor) == KVSTORE_OK) {
      KVValue at;
      CHECK_OK(kvcursor_value(cursor, model.shape->count + 1, &at));
      const Row *row = &model.rows[at.as.i64];
      CHECK(selected[at.as.i64]);
      if (ordered && rows) CHECK(order_keys(before, row->key, model.shape->count) < 0);
      memcpy(before, row->key, sizeof before);
      rows++;
    }
    kvcursor_close(cursor);
    CHECK_INT(rows, expected);
  }
  CHECK_OK(kvquery_order_by_key(query, 0));
}

static void check_ranges(KVTable *table, uint64_t *seed) {
  static int selected[ROWS_MAX];
  KVQuery *query = NULL;
  CHECK_OK(kvquery_create(table, &query));
  for (int i = 0; i < (int)test_scaled(60); i++) {
    Range r;
    random_range(&r, seed);
    int filtered = i & 1, prefixed = i % 5 == 0;
    if (prefixed) {
      memcpy(r.to, r.from, sizeof r.to);
      r.to_count = r.from_count;
      r.flags = KVQUERY_TO_INCLUDED;
      CHECK_OK(kvquery_key_prefix(query, r.from, r.from_count));
    } else {
      CHECK_OK(kvquery_key_range(query, r.from, r.from_count, r.to, r.to_count, r.flags));
    }
    CHECK_OK(kvquery_where(query, filtered ? "n < 50" : NULL, NULL, 0));
    for (size_t row = 0; row < model.count; row++)
      selected[row] =
        model.rows[row].is_live && is_within(&r, model.rows[row].key) && (!filtered || model.rows[row].number < 50);
    check_rows(query, selected);
  }
  kvquery_close(query);
}

/* ---- the same as filters ---- */

typedef struct Text {
  char text[TEXT_MAX];
  KVValue values[8];
  size_t count;
} Text;

static void add_test(Text *t, size_t column, const char *op, const KVValue *value) {
  size_t used = strlen(t->text);
  (void)snprintf(t->text + used, sizeof t->text - used, "%sk%zu %s ?", used ? " and " : "", column, op);
  t->values[t->count++] = *value;
}

static int truth(const char *op, int order) {
  if (strcmp(op, "=") == 0) return order == 0;
  if (strcmp(op, "<") == 0) return order < 0;
  if (strcmp(op, "<=") == 0) return order <= 0;
  if (strcmp(op, ">") == 0) return order > 0;
  return order >= 0;
}

/* Equalities on some first columns, then ends on the next one, now and then contradictions. */
static void check_filters(KVTable *table, uint64_t *seed) {
  static const char *const ends[] = { "<", "<=", ">", ">=", "=" };
  static int selected[ROWS_MAX];
  KVQuery *query = NULL;
  CHECK_OK(kvquery_create(table, &query));
  for (int i = 0; i < (int)test_scaled(60); i++) {
    Text t = { .count = 0 };
    const char *used[8];
    size_t columns[8];
    const Row *row = &model.rows[test_random_below(seed, model.count)];
    size_t equal = test_random_below(seed, model.shape->count + 1);
    for (size_t k = 0; k < equal; k++) {
      used[t.count] = "=";
      columns[t.count] = k;
      add_test(&t, k, "=", &row->key[k]);
    }
    for (uint64_t more = test_random_below(seed, 3); more > 0; more--) {
      size_t k = equal < model.shape->count ? equal : test_random_below(seed, model.shape->count);
      KVValue value = random_value(model.shape->types[k], model.shape->width, seed);
      used[t.count] = ends[test_random_below(seed, 5)];
      columns[t.count] = k;
      add_test(&t, k, used[t.count], &value);
    }
    CHECK_OK(kvquery_where(query, t.text, t.values, t.count));
    for (size_t r = 0; r < model.count; r++) {
      selected[r] = model.rows[r].is_live;
      for (size_t n = 0; n < t.count; n++)
        selected[r] &= truth(used[n], order_values(&model.rows[r].key[columns[n]], &t.values[n]));
    }
    check_rows(query, selected);
  }
  kvquery_close(query);
}

static void check_shape(KVStore *kv, const Shape *shape, uint64_t seed) {
  KVTable *table = create_shape(kv, shape);
  change_rows(kv, table, 40, &seed);
  check_ranges(table, &seed); /* in memory */
  change_rows(kv, table, 2500, &seed);
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  check_ranges(table, &seed); /* in a run */
  check_filters(table, &seed);
  change_rows(kv, table, 300, &seed);
  check_ranges(table, &seed); /* in both */
  check_filters(table, &seed);
  kvtable_close(table);
}

TEST(kvquery_keys, ranges_select_what_comparing_keys_does) {
  KVStore *kv = open_store();
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) check_shape(kv, &shapes[i], i + 1);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvquery_keys, ranges_select_the_same_in_a_sealed_store) {
  KVStore *kv = NULL;
  CHECK_OK(kvstore_open_encrypted(path_of("sealed"), "password", 8, &kv, NULL));
  for (size_t i = 5; i < 8; i++) check_shape(kv, &shapes[i], i + 100);
  CHECK_OK(kvstore_close(kv));
}

/* ---- what is read ---- */

enum { MANY = 200000 };

static KVTable *create_many(KVStore *kv, const char *key) {
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 }, { "n", KVTABLE_TYPE_I32, 0, 0 } };
  static int64_t ids[MANY];
  static int32_t numbers[MANY];
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, key ? "keyed" : "rows", columns, 2, &key, key != NULL, &table));
  for (int i = 0; i < MANY; i++) {
    ids[i] = i;
    numbers[i] = (int32_t)((unsigned)i * 2654435761u >> 12);
  }
  const KVColumnData data[] = { { KVTABLE_TYPE_I64, 0, ids, NULL, NULL, NULL },
                                { KVTABLE_TYPE_I32, 0, numbers, NULL, NULL, NULL } };
  CHECK_OK(kvtable_append(table, data, 2, MANY, NULL, KVTABLE_INSERT, NULL));
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  return table;
}

static void check_counters(KVQuery *query, uint64_t selected, uint64_t certain, uint64_t scanned) {
  KVQueryCounters c = KVQUERY_COUNTERS_INIT;
  uint64_t count;
  CHECK_OK(kvquery_count(query, &count));
  CHECK_INT(count, selected);
  CHECK_OK(kvquery_counters(query, &c));
  CHECK_INT(c.rows, MANY);
  CHECK_INT(c.rows_selected, selected);
  CHECK_INT(c.blocks_certain, certain);
  CHECK_INT(c.blocks_scanned, scanned);
  CHECK_INT(c.blocks_skipped, c.blocks - certain - scanned);
}

TEST(kvquery_keys, a_range_touches_the_blocks_that_it_has_rows_in) {
  KVStore *kv = open_store();
  KVTable *table = create_many(kv, "id");
  KVQuery *query = NULL;
  KVQueryCounters c = KVQUERY_COUNTERS_INIT;
  char *text = NULL;
  CHECK_OK(kvquery_create(table, &query));
  KVValue from = kvvalue_i64(70000), to = kvvalue_i64(72000);
  CHECK_OK(kvquery_key_range(query, &from, 1, &to, 1, 0));
  check_counters(query, 2000, 3, 0); /* nothing of it is looked at but its ends */
  CHECK_OK(kvquery_counters(query, &c));
  CHECK_INT(c.segments_skipped, c.units - 1);
  CHECK_OK(kvquery_explain(query, &text));
  CHECK(strstr(text, "keys: from (70000) before (72000)\n") != NULL);
  kvstore_free(text);
  CHECK_OK(kvquery_explain_json(query, &text));
  CHECK(strstr(text, "\"keys\":\"from (70000) before (72000)\"") != NULL);
  kvstore_free(text);
  CHECK_OK(kvquery_where(query, "n >= 0 and n < 2000000", NULL, 0)); /* zones say it of every row */
  check_counters(query, 2000, 3, 0);
  CHECK_OK(kvquery_where(query, "n < 1", NULL, 0)); /* bytes of the range's three blocks say it */
  uint64_t count;
  CHECK_OK(kvquery_count(query, &count));
  CHECK_OK(kvquery_counters(query, &c));
  CHECK(c.blocks_scanned <= 3);
  CHECK_OK(kvquery_key_range(query, NULL, 0, NULL, 0, 0));
  CHECK_OK(kvquery_where(query, "id between 70000 and 71999", NULL, 0)); /* a filter finds the same range */
  check_counters(query, 2000, 3, 0);
  CHECK_OK(kvquery_explain(query, &text));
  CHECK(strstr(text, "searched by: id\n") != NULL);
  kvstore_free(text);
  CHECK_OK(kvquery_explain_json(query, &text));
  CHECK(strstr(text, "\"searched_by\":[\"id\"]") != NULL);
  kvstore_free(text);
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* NaN is above every number, and a range that ends below it ends with infinity. */
TEST(kvquery_keys, a_range_of_floats_below_nan_has_none) {
  static const struct {
    const char *where;
    uint64_t rows;
  } wanted[] = { { "k < nan", 4 },      { "k is not nan", 4 },        { "not k >= nan", 4 },
                 { "k > infinity", 1 }, { "k < nan and k > 0.0", 2 }, { "k > infinity and k < nan", 0 },
                 { "k >= nan", 1 },     { "k <= infinity", 4 },       { "k <= nan", 5 } };
  static const double keys[] = { -1.0 / 0.0, 0.0, 1.5, 1.0 / 0.0, 0.0 / 0.0 };
  static const int types[] = { KVTABLE_TYPE_F64, KVTABLE_TYPE_F32 };
  static const char *const key[] = { "k" };
  KVStore *kv = open_store();
  for (int t = 0; t < 2; t++) {
    const KVColumnDefinition column = { "k", types[t], 0, 0 };
    KVTable *table = NULL;
    KVQuery *query = NULL;
    CHECK_OK(kvtable_create(kv, t ? "narrow" : "wide", &column, 1, key, 1, &table));
    for (int i = 0; i < 5; i++) {
      KVValue value = kvvalue_f64(keys[i]);
      CHECK_OK(kvtable_insert(table, &value, 1, 0, NULL));
    }
    CHECK_OK(kvquery_create(table, &query));
    for (int in_run = 0; in_run < 2; in_run++) {
      for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        uint64_t rows = 0;
        CHECK_OK(kvquery_where(query, wanted[i].where, NULL, 0));
        CHECK_OK(kvquery_count(query, &rows));
        if (rows != wanted[i].rows) fprintf(stderr, "of %s\n", wanted[i].where);
        CHECK_INT(rows, wanted[i].rows);
      }
      CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
    }
    kvquery_close(query);
    kvtable_close(table);
  }
  CHECK_OK(kvstore_close(kv));
}

TEST(kvquery_keys, rows_without_a_key_have_ranges_of_row_ids) {
  KVStore *kv = open_store();
  KVTable *table = create_many(kv, NULL);
  KVQuery *query = NULL;
  CHECK_OK(kvquery_create(table, &query));
  KVValue from = kvvalue_u64(1024), to = kvvalue_u64(2048);
  CHECK_OK(kvquery_key_range(query, &from, 1, &to, 1, 0));
  check_counters(query, 1024, 1, 0);
  CHECK_OK(kvquery_key_range(query, &from, 1, &to, 1, KVQUERY_FROM_EXCLUDED | KVQUERY_TO_INCLUDED));
  check_counters(query, 1024, 2, 0);
  CHECK_OK(kvquery_key_prefix(query, &to, 1));
  check_counters(query, 1, 1, 0);
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvquery_keys, what_is_no_range_is_refused_and_the_one_before_stays) {
  KVStore *kv = open_store();
  KVTable *table = create_shape(kv, &shapes[5]); /* string, i16 */
  KVQuery *query = NULL;
  uint64_t seed = 5, count, again;
  change_rows(kv, table, 200, &seed);
  CHECK_OK(kvquery_create(table, &query));
  KVValue values[] = { kvvalue_string("k"), kvvalue_i64(7), kvvalue_i64(8) };
  CHECK_OK(kvquery_key_prefix(query, values, 1));
  CHECK_OK(kvquery_count(query, &count));
  CHECK(count > 0);
  CHECK_STATUS(kvquery_key_prefix(query, values, 3), KVSTORE_SCHEMA);
  CHECK(strstr(kvstore_errmsg(kv), "3 key values") != NULL);
  CHECK_STATUS(kvquery_key_prefix(query, NULL, 1), KVSTORE_ERROR);
  CHECK_STATUS(kvquery_key_prefix(query, values + 1, 1), KVSTORE_TYPE);
  CHECK(strstr(kvstore_errmsg(kv), "k0") != NULL);
  values[1] = kvvalue_i64(40000); /* no i16 */
  CHECK_STATUS(kvquery_key_prefix(query, values, 2), KVSTORE_TYPE);
  values[1] = kvvalue_null();
  CHECK_STATUS(kvquery_key_range(query, NULL, 0, values, 2, 0), KVSTORE_TYPE);
  CHECK_STATUS(kvquery_key_range(query, values, 1, NULL, 0, 4), KVSTORE_ERROR);
  CHECK_STATUS(kvquery_key_range(NULL, values, 1, NULL, 0, 0), KVSTORE_ERROR);
  CHECK_OK(kvquery_count(query, &again));
  CHECK_INT(again, count);
  kvquery_close(query);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}
