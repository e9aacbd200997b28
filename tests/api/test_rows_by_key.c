/* Many rows by their keys in one call: what is given out, and deleted, against single gets and a plain list. */
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "tests/api/api_support.h"

/* ---- one table of every type ---- */

enum { TYPES = 19, COLUMNS = TYPES + 1, IDS = 1600, TEXT = 64 };

static const KVColumnDefinition typed[COLUMNS] = {
  { "id", KVTABLE_TYPE_I32, 0, 0 },
  { "b", KVTABLE_TYPE_BOOL, KVTABLE_NULLABLE, 0 },
  { "i8", KVTABLE_TYPE_I8, KVTABLE_NULLABLE, 0 },
  { "i16", KVTABLE_TYPE_I16, KVTABLE_NULLABLE, 0 },
  { "i32", KVTABLE_TYPE_I32, KVTABLE_NULLABLE | KVTABLE_ARRAY, 0 },
  { "i64", KVTABLE_TYPE_I64, KVTABLE_NULLABLE, 0 },
  { "u8", KVTABLE_TYPE_U8, KVTABLE_NULLABLE, 0 },
  { "u16", KVTABLE_TYPE_U16, 0, 0 },
  { "u32", KVTABLE_TYPE_U32, KVTABLE_NULLABLE, 0 },
  { "u64", KVTABLE_TYPE_U64, KVTABLE_NULLABLE, 0 },
  { "f32", KVTABLE_TYPE_F32, KVTABLE_NULLABLE, 0 },
  { "f64", KVTABLE_TYPE_F64, KVTABLE_NULLABLE, 0 },
  { "day", KVTABLE_TYPE_DATE, KVTABLE_NULLABLE, 0 },
  { "price", KVTABLE_TYPE_DECIMAL, KVTABLE_NULLABLE, 2 },
  { "at", KVTABLE_TYPE_TIME, KVTABLE_NULLABLE, 0 },
  { "took", KVTABLE_TYPE_DURATION, KVTABLE_NULLABLE, 0 },
  { "uuid", KVTABLE_TYPE_UUID, KVTABLE_NULLABLE, 0 },
  { "stamp", KVTABLE_TYPE_TIMESTAMP, KVTABLE_NULLABLE, 0 },
  { "text", KVTABLE_TYPE_STRING, KVTABLE_NULLABLE, 0 },
  { "fixed", KVTABLE_TYPE_FIXED_BYTES, 0, 5 },
};

/* What row `id` holds in its version: a number of the two, and a null now and then. */
static uint64_t number_of(int32_t id, int version, int column) {
  uint64_t seed = (uint64_t)id * 1000003 + (uint64_t)version * 101 + (uint64_t)column;
  return test_random(&seed);
}

static KVValue value_of(int32_t id, int version, int column, char text[TEXT]) {
  const KVColumnDefinition *c = &typed[column];
  uint64_t n = number_of(id, version, column);
  if (column == 0) return kvvalue_i64(id);
  if ((c->flags & KVTABLE_NULLABLE) && n % 7 == 3) return kvvalue_null();
  (void)snprintf(text, TEXT, "%016" PRIx64 "%016" PRIx64, n, n * 31);
  switch (c->type) {
  case KVTABLE_TYPE_BOOL: return kvvalue_bool((int)(n >> 8 & 1));
  case KVTABLE_TYPE_I8: return kvvalue_i64((int8_t)n);
  case KVTABLE_TYPE_I16: return kvvalue_i64((int16_t)n);
  case KVTABLE_TYPE_I32: return kvvalue_i64((int32_t)n);
  case KVTABLE_TYPE_I64: return kvvalue_i64((int64_t)n);
  case KVTABLE_TYPE_U8: return kvvalue_u64((uint8_t)n);
  case KVTABLE_TYPE_U16: return kvvalue_u64((uint16_t)n);
  case KVTABLE_TYPE_U32: return kvvalue_u64((uint32_t)n);
  case KVTABLE_TYPE_U64: return kvvalue_u64(n);
  case KVTABLE_TYPE_F32: return kvvalue_f64((double)(float)((double)n / 3));
  case KVTABLE_TYPE_F64: return kvvalue_f64(n % 11 ? (double)(n % 100000) / 8 : NAN);
  case KVTABLE_TYPE_DATE: return kvvalue_date((int32_t)(n % 40000));
  case KVTABLE_TYPE_DECIMAL: return kvvalue_decimal((int64_t)(n % 1000000) - 500000, 2);
  case KVTABLE_TYPE_TIME: return kvvalue_time((int64_t)(n % UINT64_C(86400000000)));
  case KVTABLE_TYPE_DURATION: return kvvalue_duration((int64_t)(n % 1000000) - 500000);
  case KVTABLE_TYPE_UUID: return kvvalue_uuid(text);
  case KVTABLE_TYPE_TIMESTAMP: return kvvalue_timestamp((int64_t)(n >> 16));
  case KVTABLE_TYPE_STRING: return kvvalue_text(text, n % 33);
  default: return kvvalue_bytes(text, c->width);
  }
}

/* What the table should hold: 0 is no row. */
typedef struct Model {
  int version[IDS];
  int64_t expiry[IDS];
} Model;

static void put_row(KVTable *table, Model *m, int32_t id, int version, int64_t expiry) {
  static char texts[COLUMNS][TEXT];
  KVValue row[COLUMNS];
  for (int c = 0; c < COLUMNS; c++) row[c] = value_of(id, version, c, texts[c]);
  /* bytes of a fixed width come as their own type */
  row[COLUMNS - 1].type = KVTABLE_TYPE_FIXED_BYTES;
  CHECK_OK(kvtable_upsert(table, row, COLUMNS, expiry));
  m->version[id] = version;
  m->expiry[id] = expiry;
}

static int is_there(const Model *m, int32_t id, int64_t now_ms) {
  return id >= 0 && id < IDS && m->version[id] && (!m->expiry[id] || m->expiry[id] > now_ms);
}

/* Entry i of a column as a value. */
static KVValue entry_of(const KVColumnData *c, const KVColumnDefinition *d, size_t i) {
  const uint8_t *at = c->values;
  KVValue v = kvvalue_of(c->type);
  CHECK_INT(c->type, d->type);
  CHECK_INT(c->form, KVTABLE_FORM_ARRAY);
  if (c->nulls && c->nulls[i]) {
    v.is_null = 1;
    return v;
  }
  switch (c->type) {
  case KVTABLE_TYPE_BOOL: v.as.i64 = at[i]; break;
  case KVTABLE_TYPE_I8: v.as.i64 = ((const int8_t *)c->values)[i]; break;
  case KVTABLE_TYPE_I16: v.as.i64 = ((const int16_t *)c->values)[i]; break;
  case KVTABLE_TYPE_I32:
  case KVTABLE_TYPE_DATE: v.as.i64 = ((const int32_t *)c->values)[i]; break;
  case KVTABLE_TYPE_U8: v.as.u64 = at[i]; break;
  case KVTABLE_TYPE_U16: v.as.u64 = ((const uint16_t *)c->values)[i]; break;
  case KVTABLE_TYPE_U32: v.as.u64 = ((const uint32_t *)c->values)[i]; break;
  case KVTABLE_TYPE_F32: v.as.f64 = (double)((const float *)c->values)[i]; break;
  case KVTABLE_TYPE_F64: v.as.f64 = ((const double *)c->values)[i]; break;
  case KVTABLE_TYPE_U64: v.as.u64 = ((const uint64_t *)c->values)[i]; break;
  case KVTABLE_TYPE_UUID:
  case KVTABLE_TYPE_STRING:
  case KVTABLE_TYPE_BYTES:
  case KVTABLE_TYPE_FIXED_BYTES: v.as.bytes = ((const KVBytes *)c->values)[i]; break;
  default: v.as.i64 = ((const int64_t *)c->values)[i]; break;
  }
  if (c->type == KVTABLE_TYPE_DECIMAL) v.scale = (uint8_t)d->width;
  return v;
}

static void check_value(const KVValue *actual, const KVValue *expected) {
  char a[200], b[200];
  CHECK(kvvalue_print(actual, a, sizeof a) < sizeof a);
  CHECK(kvvalue_print(expected, b, sizeof b) < sizeof b);
  CHECK_STR(a, b);
}

/* Rows of many random keys are what the model says; the columns come in another order, one of them twice. */
static void check_rows(KVTable *table, const Model *m, KVSnapshot *snapshot, uint64_t *random) {
  static const int wanted[] = { 18, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 19, 18 };
  enum { WANTED = sizeof wanted / sizeof *wanted, KEYS = 700 };
  const char *names[WANTED];
  int32_t ids[KEYS];
  int64_t now_ms = kvstore_now_ms();
  uint64_t found = 0;
  KVRows *rows = NULL;
  for (int c = 0; c < WANTED; c++) names[c] = typed[wanted[c]].name;
  for (int i = 0; i < KEYS; i++) ids[i] = (int32_t)test_random_below(random, IDS + 40) - 20;
  const KVColumnData key = { .type = KVTABLE_TYPE_I32, .values = ids };
  CHECK_OK(kvtable_get_many(table, &key, 1, KEYS, names, WANTED, snapshot, &rows));
  CHECK_INT(rows->struct_size, sizeof *rows);
  CHECK_INT(rows->row_count, KEYS);
  CHECK_INT(rows->column_count, WANTED);
  for (int i = 0; i < KEYS; i++) {
    int there = is_there(m, ids[i], now_ms);
    CHECK_INT(rows->found[i], there);
    found += (uint64_t)there;
    CHECK_INT(rows->expire_ms ? rows->expire_ms[i] : 0, there ? m->expiry[ids[i]] : 0);
    for (int c = 0; c < WANTED; c++) {
      char text[TEXT];
      KVValue expected = there ? value_of(ids[i], m->version[ids[i]], wanted[c], text) : kvvalue_null();
      if (!expected.is_null) {
        expected.type = typed[wanted[c]].type;
        if (expected.type == KVTABLE_TYPE_DECIMAL) expected.scale = 2;
      }
      KVValue actual = entry_of(&rows->columns[c], &typed[wanted[c]], (size_t)i);
      check_value(&actual, &expected);
    }
  }
  CHECK_INT(rows->found_count, found);
  kvtable_rows_free(rows);
}

static KVTable *create_typed(KVStore *kv) {
  const char *key[] = { "id" };
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, "typed", typed, COLUMNS, key, 1, &table));
  return table;
}

/* Some rows are written, some end: by a delete, by an expiry that has passed. A few live for an hour more. */
static void change_rows(KVStore *kv, KVTable *table, Model *m, int version, uint64_t *random) {
  int64_t now_ms = kvstore_now_ms();
  CHECK_OK(kvstore_begin(kv, 1));
  for (int i = 0; i < IDS / 2; i++) {
    int32_t id = (int32_t)test_random_below(random, IDS);
    int64_t expiry = i % 9 == 0 ? now_ms - 5000 : i % 11 == 0 ? now_ms + 3600000 : 0;
    put_row(table, m, id, version, expiry);
  }
  for (int i = 0; i < IDS / 20; i++) {
    int32_t id = (int32_t)test_random_below(random, IDS);
    KVValue key = kvvalue_i64(id);
    CHECK_STATUS(kvtable_delete(table, &key, 1), is_there(m, id, now_ms) ? KVSTORE_OK : KVSTORE_NOTFOUND);
    m->version[id] = 0;
  }
  CHECK_OK(kvstore_commit(kv));
}

/* Deletes the rows of random keys, and the model's. */
static void delete_rows(KVTable *table, Model *m, uint32_t count, uint64_t *random) {
  int32_t *ids = malloc(count * sizeof *ids);
  int64_t now_ms = kvstore_now_ms();
  uint64_t deleted = 99, expected = 0;
  for (uint32_t i = 0; i < count; i++) {
    ids[i] = (int32_t)test_random_below(random, IDS + 40) - 20;
    if (!is_there(m, ids[i], now_ms)) continue;
    expected++;
    m->version[ids[i]] = 0;
  }
  const KVColumnData key = { .type = KVTABLE_TYPE_I32, .values = ids };
  CHECK_OK(kvtable_delete_many(table, &key, 1, count, &deleted));
  CHECK_INT(deleted, expected);
  free(ids);
}

static uint64_t live_rows(const Model *m) {
  uint64_t count = 0;
  int64_t now_ms = kvstore_now_ms();
  for (int32_t id = 0; id < IDS; id++) count += (uint64_t)is_there(m, id, now_ms);
  return count;
}

static void check_table(KVTable *table, const Model *m, uint64_t *random) {
  check_rows(table, m, NULL, random);
  CHECK_INT(rows_of(table), live_rows(m));
}

/* Closes the store, too. */
static void check_settled_and_reopened(KVStore *kv, KVTable *table, KVStore *(*reopen)(void), const Model *m,
                                       uint64_t *random) {
  CHECK_OK(kvstore_maintain(kv));
  check_table(table, m, random);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
  kv = reopen();
  CHECK_OK(kvtable_open(kv, "typed", &table));
  check_table(table, m, random);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(rows_by_key, every_type_is_read_from_the_delta_runs_and_snapshots) {
  KVStore *kv = open_store();
  KVTable *table = create_typed(kv);
  KVSnapshot *snapshot = NULL;
  static Model m, then;
  uint64_t random = 7;
  for (int version = 1; version <= 4; version++) {
    change_rows(kv, table, &m, version, &random);
    check_table(table, &m, &random);
    if (version == 3) {
      CHECK_OK(kvstore_snapshot_create(kv, &snapshot));
      then = m;
    }
    if (version % 2) continue;
    CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_TRUNCATE, NULL, NULL));
    check_table(table, &m, &random);
  }
  check_rows(table, &then, snapshot, &random);
  kvstore_snapshot_release(snapshot);
  check_settled_and_reopened(kv, table, open_store, &m, &random);
}

/* The log holds few deletes: where there are more, they become a run. */
static KVStore *open_small_log(void) {
  KVStore *kv = NULL;
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.log_bytes = 64 << 10;
  CHECK_OK(kvstore_open_with(path_of("store"), &kv, &options));
  return kv;
}

TEST(rows_by_key, many_deletes_end_rows_wherever_they_lie) {
  KVStore *kv = open_small_log();
  KVTable *table = create_typed(kv);
  KVSnapshot *snapshot = NULL;
  static Model m, then;
  uint64_t random = 11;
  for (int version = 1; version <= 6; version++) {
    change_rows(kv, table, &m, version, &random);
    if (version == 4) {
      CHECK_OK(kvstore_snapshot_create(kv, &snapshot));
      then = m;
    }
    delete_rows(table, &m, version % 2 ? 60 : 3000, &random);
    check_table(table, &m, &random);
    if (version % 2) CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_TRUNCATE, NULL, NULL));
    delete_rows(table, &m, 25, &random);
    check_table(table, &m, &random);
  }
  check_rows(table, &then, snapshot, &random);
  kvstore_snapshot_release(snapshot);
  char *why = NULL;
  CHECK_OK(kvstore_integrity_check(kv, &why));
  check_settled_and_reopened(kv, table, open_small_log, &m, &random);
}

TEST(rows_by_key, a_transaction_reads_and_deletes_its_own_rows_and_takes_them_back) {
  KVStore *kv = open_store(), *other = NULL;
  KVTable *table = create_typed(kv), *outside = NULL;
  static Model m, before;
  uint64_t random = 13;
  change_rows(kv, table, &m, 1, &random);
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_TRUNCATE, NULL, NULL));
  change_rows(kv, table, &m, 2, &random);
  before = m;
  CHECK_OK(kvstore_clone(kv, &other));
  CHECK_OK(kvtable_open(other, "typed", &outside));
  for (int committed = 0; committed < 2; committed++) {
    CHECK_OK(kvstore_begin(kv, 1));
    for (int32_t id = 0; id < IDS; id += 5) put_row(table, &m, id, 3, 0);
    check_table(table, &m, &random);
    delete_rows(table, &m, 500, &random);
    check_table(table, &m, &random);
    check_table(outside, &before, &random);
    if (committed) {
      CHECK_OK(kvstore_commit(kv));
    } else {
      CHECK_OK(kvstore_rollback(kv));
      m = before;
    }
    check_table(table, &m, &random);
  }
  check_table(outside, &m, &random);
  kvtable_close(outside);
  kvtable_close(table);
  CHECK_OK(kvstore_close(other));
  CHECK_OK(kvstore_close(kv));
}

/* ---- keys of every shape ---- */

enum { SHAPED = 400 };

/* A key column of a shape: the values of keys 0 to SHAPED - 1, ascending or not, each another. */
typedef struct KeyColumn {
  KVColumnDefinition definition;
  int form;
} KeyColumn;

typedef struct KeyRoom {
  uint8_t numbers[SHAPED * 8];
  char texts[SHAPED][40], *pointers[SHAPED], joined[SHAPED * 40];
  size_t lengths[SHAPED];
  uint64_t offsets[SHAPED + 1];
  KVBytes bytes[SHAPED];
} KeyRoom;

static void fill_numbers(int type, KeyRoom *room) {
  for (int i = 0; i < SHAPED; i++) {
    int64_t n = (i * 7919 % SHAPED - 200) * 64;
    switch (type) {
    case KVTABLE_TYPE_BOOL: room->numbers[i] = (uint8_t)(i % 2); break;
    case KVTABLE_TYPE_I16: ((int16_t *)(void *)room->numbers)[i] = (int16_t)n; break;
    case KVTABLE_TYPE_U32:
    case KVTABLE_TYPE_DATE: ((int32_t *)(void *)room->numbers)[i] = (int32_t)(n + 20000); break;
    case KVTABLE_TYPE_F64: ((double *)(void *)room->numbers)[i] = (double)n / 3; break;
    case KVTABLE_TYPE_TIME: ((int64_t *)(void *)room->numbers)[i] = n + 1000000; break;
    default: ((int64_t *)(void *)room->numbers)[i] = n; break;
    }
  }
}

static void fill_texts(int type, KeyRoom *room) {
  size_t used = 0;
  for (int i = 0; i < SHAPED; i++) {
    int length = snprintf(room->texts[i], sizeof room->texts[i], "the same beginning/%04d", i * 7919 % SHAPED);
    if (type == KVTABLE_TYPE_UUID) length = KVTABLE_UUID_BYTES;
    if (type == KVTABLE_TYPE_UUID) (void)snprintf(room->texts[i], sizeof room->texts[i], "%04d-0123456789a", i);
    if (type == KVTABLE_TYPE_BYTES) room->texts[i][3] = 0; /* a byte that the encoded key has twice */
    room->offsets[i] = used;
    memcpy(room->joined + used, room->texts[i], (size_t)length);
    used += (size_t)length;
    room->offsets[i + 1] = used;
    room->lengths[i] = (size_t)length;
    room->pointers[i] = room->texts[i];
    room->bytes[i] = (KVBytes){ room->texts[i], (size_t)length };
  }
}

static KVColumnData shape_column(const KeyColumn *c, KeyRoom *room) {
  KVColumnData data = { .type = c->definition.type, .form = c->form, .values = room->numbers };
  if (c->definition.type < KVTABLE_TYPE_UUID || c->definition.type == KVTABLE_TYPE_TIMESTAMP) {
    fill_numbers(c->definition.type, room);
    return data;
  }
  fill_texts(c->definition.type, room);
  data.values = c->form == KVTABLE_FORM_OFFSETS    ? (const void *)room->joined
                : c->form == KVTABLE_FORM_POINTERS ? (const void *)room->pointers
                                                   : (const void *)room->bytes;
  data.offsets = c->form == KVTABLE_FORM_OFFSETS ? room->offsets : NULL;
  data.lengths = c->form == KVTABLE_FORM_POINTERS ? room->lengths : NULL;
  return data;
}

static KVColumnData part_of(const KVColumnData *all, const KVColumnDefinition *d, size_t from) {
  static const size_t widths[] = { 0, 1, 1, 2, 4, 8, 1, 2, 4, 8, 4, 8, 4, 8, 8, 8, 16, 0, 8, 16, 16, 16 };
  KVColumnData part = *all;
  if (part.form == KVTABLE_FORM_OFFSETS) {
    part.offsets += from;
    return part;
  }
  size_t width = part.form == KVTABLE_FORM_POINTERS ? sizeof(char *) : widths[d->type];
  part.values = (const uint8_t *)part.values + from * width;
  if (part.lengths) part.lengths += from;
  return part;
}

/* The table's value column is the number of the key. Two thirds of the keys are written, a third to a run; then every
 * third of all is deleted. */
static void check_shape(const KeyColumn *shape, size_t key_count) {
  KVStore *kv = open_store();
  KVTable *table = NULL;
  KVColumnDefinition columns[4] = { { "n", KVTABLE_TYPE_I32, 0, 0 } };
  const char *key[3], *n_alone[] = { "n" };
  KeyRoom *rooms = calloc(3, sizeof *rooms);
  KVColumnData data[4] = { { .type = KVTABLE_TYPE_I32 } }, keys[3];
  int32_t numbers[SHAPED];
  KVRows *rows = NULL;
  uint64_t deleted = 0;
  for (int i = 0; i < SHAPED; i++) numbers[i] = i;
  data[0].values = numbers;
  for (size_t k = 0; k < key_count; k++) {
    columns[k + 1] = shape[k].definition;
    key[k] = shape[k].definition.name;
    keys[k] = data[k + 1] = shape_column(&shape[k], &rooms[k]);
  }
  CHECK_OK(kvtable_create(kv, "shaped", columns, key_count + 1, key, key_count, &table));
  CHECK_OK(kvtable_append(table, data, key_count + 1, SHAPED / 3, NULL, KVTABLE_INSERT, NULL));
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_TRUNCATE, NULL, NULL));
  for (size_t c = 0; c <= key_count; c++) data[c] = part_of(&data[c], &columns[c], SHAPED / 3);
  CHECK_OK(kvtable_append(table, data, key_count + 1, SHAPED / 3, NULL, KVTABLE_INSERT, NULL));
  CHECK_OK(kvtable_get_many(table, keys, key_count, SHAPED, n_alone, 1, NULL, &rows));
  CHECK_INT(rows->found_count, 2 * (SHAPED / 3));
  for (int i = 0; i < SHAPED; i++) {
    CHECK_INT(rows->found[i], i < 2 * (SHAPED / 3));
    CHECK_INT(((const int32_t *)rows->columns[0].values)[i], rows->found[i] ? i : 0);
  }
  kvtable_rows_free(rows);
  KVColumnData tail[3];
  for (size_t k = 0; k < key_count; k++) tail[k] = part_of(&keys[k], &columns[k + 1], 100);
  CHECK_OK(kvtable_delete_many(table, tail, key_count, 100, &deleted));
  CHECK_INT(deleted, 100);
  CHECK_OK(kvtable_get_many(table, keys, key_count, SHAPED, NULL, 0, NULL, &rows));
  CHECK_INT(rows->column_count, key_count + 1);
  for (int i = 0; i < SHAPED; i++) CHECK_INT(rows->found[i], i < 2 * (SHAPED / 3) && !(i >= 100 && i < 200));
  kvtable_rows_free(rows);
  CHECK_INT(rows_of(table), 2 * (SHAPED / 3) - 100);
  kvtable_close(table);
  CHECK_OK(kvtable_drop(kv, "shaped"));
  CHECK_OK(kvstore_close(kv));
  free(rooms);
}

#define KEY_OF(name, type, form) \
  { { name, type, 0, 0 }, form }

TEST(rows_by_key, keys_of_numbers) {
  static const KeyColumn i16[] = { KEY_OF("k", KVTABLE_TYPE_I16, 0) }, u32[] = { KEY_OF("k", KVTABLE_TYPE_U32, 0) },
                         i64[] = { KEY_OF("k", KVTABLE_TYPE_I64, 0) }, f64[] = { KEY_OF("k", KVTABLE_TYPE_F64, 0) },
                         time[] = { KEY_OF("k", KVTABLE_TYPE_TIME, 0) };
  check_shape(i16, 1);
  check_shape(u32, 1);
  check_shape(i64, 1);
  check_shape(f64, 1);
  check_shape(time, 1);
}

TEST(rows_by_key, keys_of_strings_in_every_form) {
  static const KeyColumn array[] = { KEY_OF("k", KVTABLE_TYPE_STRING, KVTABLE_FORM_ARRAY) };
  static const KeyColumn offsets[] = { KEY_OF("k", KVTABLE_TYPE_STRING, KVTABLE_FORM_OFFSETS) };
  static const KeyColumn pointers[] = { KEY_OF("k", KVTABLE_TYPE_BYTES, KVTABLE_FORM_POINTERS) };
  static const KeyColumn uuid[] = { KEY_OF("k", KVTABLE_TYPE_UUID, KVTABLE_FORM_ARRAY) };
  check_shape(array, 1);
  check_shape(offsets, 1);
  check_shape(pointers, 1);
  check_shape(uuid, 1);
}

TEST(rows_by_key, keys_of_several_columns) {
  static const KeyColumn two[] = { KEY_OF("a", KVTABLE_TYPE_BOOL, 0),
                                   KEY_OF("b", KVTABLE_TYPE_STRING, KVTABLE_FORM_OFFSETS) };
  static const KeyColumn three[] = { KEY_OF("c", KVTABLE_TYPE_DATE, 0),
                                     KEY_OF("a", KVTABLE_TYPE_BYTES, KVTABLE_FORM_POINTERS),
                                     KEY_OF("b", KVTABLE_TYPE_F64, 0) };
  check_shape(two, 2);
  check_shape(three, 3);
}

TEST(rows_by_key, rows_without_a_primary_key_are_read_by_row_id) {
  KVStore *kv = open_store();
  KVTable *table = NULL;
  const KVColumnDefinition column = { "n", KVTABLE_TYPE_I32, 0, 0 };
  int32_t numbers[300];
  uint64_t ids[] = { 299, 5, 300, 0, UINT64_MAX, 5 }, deleted = 0;
  KVRows *rows = NULL;
  for (int i = 0; i < 300; i++) numbers[i] = 1000 + i;
  const KVColumnData data = { .type = KVTABLE_TYPE_I32, .values = numbers };
  const KVColumnData key = { .type = KVTABLE_TYPE_U64, .values = ids };
  CHECK_OK(kvtable_create(kv, "rows", &column, 1, NULL, 0, &table));
  CHECK_OK(kvtable_append(table, &data, 1, 300, NULL, KVTABLE_INSERT, NULL));
  for (int round = 0; round < 2; round++) {
    CHECK_OK(kvtable_get_many(table, &key, 1, 6, NULL, 0, NULL, &rows));
    CHECK_INT(rows->found_count, 4);
    CHECK_INT(rows->column_count, 1);
    const int32_t expected[] = { 1299, 1005, 0, 1000, 0, 1005 };
    CHECK_BYTES(rows->columns[0].values, expected, sizeof expected);
    CHECK_BYTES(rows->found, "\1\1\0\1\0\1", 6);
    CHECK_BYTES(rows->columns[0].nulls, "\0\0\1\0\1\0", 6);
    CHECK(rows->expire_ms == NULL);
    kvtable_rows_free(rows);
    CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_TRUNCATE, NULL, NULL));
  }
  CHECK_OK(kvtable_delete_many(table, &key, 1, 6, &deleted));
  CHECK_INT(deleted, 3);
  CHECK_INT(rows_of(table), 297);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(rows_by_key, row_ids_that_were_deleted_by_a_run_stay_away) {
  enum { COUNT = 3000 };
  KVStore *kv = open_small_log();
  KVTable *table = NULL;
  const KVColumnDefinition column = { "n", KVTABLE_TYPE_U64, 0, 0 };
  uint64_t numbers[COUNT], deleted = 0, first = 0;
  for (uint64_t i = 0; i < COUNT; i++) numbers[i] = i;
  const KVColumnData data = { .type = KVTABLE_TYPE_U64, .values = numbers };
  CHECK_OK(kvtable_create(kv, "rows", &column, 1, NULL, 0, &table));
  CHECK_OK(kvtable_append(table, &data, 1, COUNT, NULL, KVTABLE_INSERT, NULL));
  CHECK_OK(kvtable_delete_many(table, &data, 1, COUNT - 10, &deleted)); /* more than the log holds */
  CHECK_INT(deleted, COUNT - 10);
  CHECK_INT(rows_of(table), 10);
  CHECK_OK(kvtable_append(table, &data, 1, 5, NULL, KVTABLE_INSERT, &first));
  CHECK_INT(first, COUNT);
  CHECK_OK(kvstore_maintain(kv));
  CHECK_INT(rows_of(table), 15);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
  kv = open_small_log();
  CHECK_OK(kvtable_open(kv, "rows", &table));
  CHECK_INT(rows_of(table), 15);
  CHECK_INT(matches(table, "n < 2990"), 5);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(rows_by_key, floats_come_back_bit_by_bit) {
  KVStore *kv = open_store();
  KVTable *table = NULL;
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_U8, 0, 0 },
                                         { "narrow", KVTABLE_TYPE_F32, 0, 0 },
                                         { "wide", KVTABLE_TYPE_F64, 0, 0 } };
  const char *key[] = { "id" };
  const uint8_t ids[] = { 0, 1, 2, 3 }, asked[] = { 3, 1, 0, 2 };
  const uint32_t narrow[] = { 0x7fa00001, 0x80000000, 0xffc12345, 0x3f800000 };
  const uint64_t wide[] = { UINT64_C(0x7ff4000000000001), UINT64_C(0x8000000000000000), UINT64_C(0xfff8000000012345),
                            UINT64_C(0x3ff0000000000000) };
  const KVColumnData data[] = { { .type = KVTABLE_TYPE_U8, .values = ids },
                                { .type = KVTABLE_TYPE_F32, .values = narrow },
                                { .type = KVTABLE_TYPE_F64, .values = wide } };
  const KVColumnData keys = { .type = KVTABLE_TYPE_U8, .values = asked };
  KVRows *rows = NULL;
  CHECK_OK(kvtable_create(kv, "floats", columns, 3, key, 1, &table));
  CHECK_OK(kvtable_append(table, data, 3, 4, NULL, KVTABLE_INSERT, NULL));
  for (int in_run = 0; in_run < 2; in_run++) {
    CHECK_OK(kvtable_get_many(table, &keys, 1, 4, key, 0, NULL, &rows));
    kvtable_rows_free(rows);
    CHECK_OK(kvtable_get_many(table, &keys, 1, 4, NULL, 0, NULL, &rows));
    for (int i = 0; i < 4; i++) {
      CHECK_BYTES((const float *)rows->columns[1].values + i, &narrow[asked[i]], 4);
      CHECK_BYTES((const double *)rows->columns[2].values + i, &wide[asked[i]], 8);
    }
    kvtable_rows_free(rows);
    CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_TRUNCATE, NULL, NULL));
  }
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* ---- several segments ---- */

static KVTable *create_long(KVStore *kv, int64_t count) {
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 },
                                         { "n", KVTABLE_TYPE_I32, 0, 0 },
                                         { "word", KVTABLE_TYPE_STRING, 0, 0 } };
  const char *key[] = { "id" };
  KVTable *table = NULL;
  int64_t *ids = malloc((size_t)count * sizeof *ids);
  int32_t *ns = malloc((size_t)count * sizeof *ns);
  KVBytes *words = malloc((size_t)count * sizeof *words);
  for (int64_t i = 0; i < count; i++) {
    ids[i] = i * 3;
    ns[i] = (int32_t)(i * 13 % 977);
    words[i] = (KVBytes){ &"abcdefghijklmnop"[i % 7], (size_t)(i % 5) };
  }
  const KVColumnData data[] = { { .type = KVTABLE_TYPE_I64, .values = ids },
                                { .type = KVTABLE_TYPE_I32, .values = ns },
                                { .type = KVTABLE_TYPE_STRING, .values = words } };
  CHECK_OK(kvtable_create(kv, "long", columns, 3, key, 1, &table));
  CHECK_OK(kvtable_append(table, data, 3, (uint64_t)count, NULL, KVTABLE_INSERT, NULL));
  free(ids);
  free(ns);
  free(words);
  return table;
}

/* Every key from -1 on that is below 3 * count + 1 in an order that jumps about: more than one batch of keys. */
static void check_long(KVTable *table, int64_t count, int64_t deleted_below) {
  int64_t keys = 3 * count, *ids = malloc((size_t)keys * sizeof *ids), found = 0;
  KVRows *rows = NULL;
  for (int64_t i = 0; i < keys; i++) ids[i] = i * 7919 % keys;
  const KVColumnData key = { .type = KVTABLE_TYPE_I64, .values = ids };
  CHECK_OK(kvtable_get_many(table, &key, 1, (uint64_t)keys, NULL, 0, NULL, &rows));
  const int64_t *read_ids = rows->columns[0].values;
  const int32_t *ns = rows->columns[1].values;
  const KVBytes *words = rows->columns[2].values;
  for (int64_t i = 0; i < keys; i++) {
    int there = ids[i] % 3 == 0 && ids[i] >= deleted_below;
    int64_t n = ids[i] / 3;
    if (rows->found[i] != there) CHECK_INT(ids[i], -1);
    if (!there) continue;
    found++;
    if (read_ids[i] != ids[i] || ns[i] != n * 13 % 977 || words[i].length != (size_t)(n % 5) ||
        memcmp(words[i].data, &"abcdefghijklmnop"[n % 7], words[i].length) != 0)
      CHECK_INT(ids[i], -1);
  }
  CHECK_INT(rows->found_count, found);
  kvtable_rows_free(rows);
  free(ids);
}

TEST(rows_by_key, batches_of_keys_over_several_segments) {
  enum { COUNT = 120000 };
  KVStore *kv = open_store();
  KVTable *table = create_long(kv, COUNT);
  check_long(table, COUNT, 0);
  int64_t *ids = malloc(COUNT * sizeof *ids);
  for (int64_t i = 0; i < COUNT; i++) ids[i] = i * 7919 % COUNT; /* two thirds of them are no keys */
  const KVColumnData key = { .type = KVTABLE_TYPE_I64, .values = ids };
  uint64_t deleted = 0;
  CHECK_OK(kvstore_begin(kv, 1));
  CHECK_OK(kvtable_delete_many(table, &key, 1, COUNT, &deleted));
  check_long(table, COUNT, COUNT);
  CHECK_OK(kvstore_rollback(kv));
  check_long(table, COUNT, 0);
  CHECK_OK(kvtable_delete_many(table, &key, 1, COUNT, &deleted));
  CHECK_INT(deleted, COUNT / 3);
  check_long(table, COUNT, COUNT);
  CHECK_OK(kvtable_delete_many(table, &key, 1, COUNT, &deleted));
  CHECK_INT(deleted, 0);
  CHECK_INT(rows_of(table), COUNT - COUNT / 3);
  free(ids);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* ---- beside a writer ---- */

enum { SHARED = 2000, ROUNDS = 25 };

typedef struct Beside {
  KVStore *kv;
  _Atomic int done;
} Beside;

static KVColumnData shared_keys(int64_t ids[SHARED]) {
  for (int64_t i = 0; i < SHARED; i++) ids[i] = i * 7919 % SHARED;
  return (KVColumnData){ .type = KVTABLE_TYPE_I64, .values = ids };
}

/* All rows of a round are there, with its number, or none. */
static void *read_all_or_none(void *context) {
  Beside *beside = context;
  KVStore *kv = NULL;
  KVTable *table = NULL;
  int64_t ids[SHARED];
  KVColumnData key = shared_keys(ids);
  CHECK_OK(kvstore_clone(beside->kv, &kv));
  CHECK_OK(kvtable_open(kv, "shared", &table));
  while (!beside->done) {
    KVRows *rows = NULL;
    CHECK_OK(kvtable_get_many(table, &key, 1, SHARED, NULL, 0, NULL, &rows));
    CHECK(rows->found_count == 0 || rows->found_count == SHARED);
    const int64_t *rounds = rows->columns[1].values;
    for (int i = 1; i < SHARED; i++) CHECK_INT(rounds[i], rounds[0]);
    kvtable_rows_free(rows);
  }
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
  return NULL;
}

TEST(rows_by_key, readers_see_many_deletes_at_once_or_not_at_all) {
  Beside beside = { open_small_log(), 0 };
  KVTable *table = NULL;
  pthread_t reader;
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 }, { "round", KVTABLE_TYPE_I64, 0, 0 } };
  const char *name[] = { "id" };
  int64_t ids[SHARED], rounds[SHARED];
  KVColumnData data[] = { shared_keys(ids), { .type = KVTABLE_TYPE_I64, .values = rounds } };
  CHECK_OK(kvtable_create(beside.kv, "shared", columns, 2, name, 1, &table));
  CHECK_INT(pthread_create(&reader, NULL, read_all_or_none, &beside), 0);
  for (int64_t round = 1; round <= ROUNDS; round++) {
    uint64_t deleted = 0;
    for (int i = 0; i < SHARED; i++) rounds[i] = round;
    CHECK_OK(kvtable_append(table, data, 2, SHARED, NULL, KVTABLE_UPSERT, NULL));
    if (round % 3) {
      CHECK_OK(kvtable_delete_many(table, data, 1, SHARED, &deleted));
      CHECK_INT(deleted, SHARED);
    }
  }
  beside.done = 1;
  CHECK_INT(pthread_join(reader, NULL), 0);
  kvtable_close(table);
  CHECK_OK(kvstore_close(beside.kv));
}

/* ---- pairs ---- */

TEST(rows_by_key, pairs_are_read_with_their_columns) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = NULL;
  KVTable *table = NULL;
  KVSnapshot *snapshot = NULL;
  KVRows *rows = NULL;
  int64_t later = kvstore_now_ms() + 3600000;
  CHECK_OK(kvstore_cf_create(kv, "sensors", &cf));
  CHECK_OK(kvstore_cf_put(cf, "sensor/a/1", 10, "{\"temp\": 20.5}", 14));
  CHECK_OK(kvstore_cf_put_ttl(cf, "sensor/b/2", 10, "{\"temp\": 1}", 11, later));
  CHECK_OK(kvstore_cf_put_ttl(cf, "sensor/c/3", 10, "{}", 2, later - 7200000));
  CHECK_OK(kvstore_cf_put(cf, "sensor/d/4", 10, "", 0));
  CHECK_OK(kvstore_snapshot_create(kv, &snapshot));
  CHECK_OK(kvstore_cf_delete(cf, "sensor/a/1", 10));
  const KVPairColumn sources[] = { { "site", "part(1)", KVTABLE_TYPE_NONE, 0 },
                                   { "temp", "json(temp)", KVTABLE_TYPE_F64, 0 } };
  const char *names[] = { "value", "site", "temp", "value_length", "key" };
  char texts[] = "sensor/d/4nonesensor/a/1sensor/b/2sensor/c/3";
  const uint64_t offsets[] = { 0, 10, 14, 24, 34, 44 };
  const KVColumnData key = { KVTABLE_TYPE_BYTES, KVTABLE_FORM_OFFSETS, texts, NULL, offsets, NULL };
  CHECK_OK(kvtable_open_family(cf, sources, 2, &table));
  for (int now = 0; now < 2; now++) {
    CHECK_OK(kvtable_get_many(table, &key, 1, 5, names, 5, now ? NULL : snapshot, &rows));
    CHECK_BYTES(rows->found, now ? "\1\0\0\1\0" : "\1\0\1\1\0", 5);
    CHECK_INT(rows->found_count, now ? 2 : 3);
    memset(texts, 'x', now ? sizeof texts - 1 : 0); /* nothing of the caller's is kept */
    const KVBytes *values = rows->columns[0].values, *sites = rows->columns[1].values, *keys = rows->columns[4].values;
    const double *temps = rows->columns[2].values;
    const uint64_t *lengths = rows->columns[3].values;
    CHECK_INT(values[0].length, 0);
    CHECK_INT(rows->columns[0].nulls[0], 0);
    CHECK_INT(rows->columns[2].nulls[0], 1);
    CHECK_INT(values[3].length, 11);
    CHECK_BYTES(values[3].data, "{\"temp\": 1}", 11);
    CHECK_BYTES(sites[3].data, "b", 1);
    CHECK_BYTES(keys[3].data, "sensor/b/2", 10);
    CHECK(temps[3] == 1);
    CHECK_INT(lengths[3], 11);
    CHECK_INT(rows->expire_ms[3], later);
    CHECK_INT(rows->expire_ms[0], 0);
    if (!now) CHECK(temps[2] == 20.5);
    kvtable_rows_free(rows);
  }
  CHECK_STATUS(kvtable_delete_many(table, &key, 1, 5, NULL), KVSTORE_READONLY);
  const uint64_t none[] = { 0, 0 };
  const KVColumnData empty = { KVTABLE_TYPE_BYTES, KVTABLE_FORM_OFFSETS, texts, NULL, none, NULL };
  CHECK_STATUS(kvtable_get_many(table, &empty, 1, 1, NULL, 0, NULL, &rows), KVSTORE_ERROR);
  CHECK(rows == NULL);
  CHECK_OK(kvtable_get_many(table, &key, 1, 0, names, 5, NULL, &rows));
  CHECK_INT(rows->row_count, 0);
  kvtable_rows_free(rows);
  memcpy(texts, "sensor/d/4", 10);
  CHECK_OK(kvtable_get_many(table, &key, 1, 1, names, 5, NULL, &rows)); /* no bytes of any value */
  CHECK_INT(rows->found_count, 1);
  CHECK_BYTES(((const KVBytes *)rows->columns[1].values)->data, "d", 1);
  kvtable_rows_free(rows);
  kvstore_snapshot_release(snapshot);
  kvtable_close(table);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(rows_by_key, which_keys_are_there_is_asked_without_columns) {
  KVStore *kv = open_store();
  KVTable *table = create_people(kv);
  KVRows *rows = NULL;
  const int64_t ids[] = { 4, 1, 4 };
  const char *no_names[] = { "name" };
  const KVColumnData key = { .type = KVTABLE_TYPE_I64, .values = ids };
  CHECK_OK(upsert_person(table, 4, "ada", 1.7));
  CHECK_OK(kvtable_get_many(table, &key, 1, 3, no_names, 0, NULL, &rows));
  CHECK_INT(rows->column_count, 0);
  CHECK_BYTES(rows->found, "\1\0\1", 3);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
  CHECK_INT(rows->found_count, 2); /* it outlives the store */
  kvtable_rows_free(rows);
}
