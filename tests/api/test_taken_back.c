/* What a transaction has handed out in place, a view, pinned values, a batch of a cursor, stays as it is after its
 * rollback, whatever is written, shortened or closed behind it; and its space comes back in the end. */
#include <stdlib.h>

#include "tests/api/api_support.h"

enum { ROWS = 70000, VALUES = 40, VALUE_BYTES = 60000, VACUUM_ALL = 0 };

typedef enum Then { THEN_WRITE, THEN_SHORTEN, THEN_CLOSE, THEN_WAYS } Then;

typedef struct Opened {
  KVStore *kv;
  KVTable *table; /* n, laid out as an array, and a text */
} Opened;

static Opened open_tables(void) {
  const KVColumnDefinition columns[] = { { "n", KVTABLE_TYPE_I64, KVTABLE_ARRAY, 0 },
                                         { "text", KVTABLE_TYPE_STRING, KVTABLE_USE_ENCODING(KVTABLE_ENCODING_PLAIN),
                                           0 } };
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  Opened o = { NULL, NULL };
  options.log_bytes = 256 << 10; /* most of what is written goes into runs at once */
  CHECK_OK(kvstore_open_with(path_of("store"), &o.kv, &options));
  if (kvtable_open(o.kv, "t", &o.table) != KVSTORE_OK)
    CHECK_OK(kvtable_create(o.kv, "t", columns, 2, NULL, 0, &o.table));
  return o;
}

static void close_tables(Opened *o) {
  kvtable_close(o->table);
  CHECK_OK(kvstore_close(o->kv));
}

static void append(KVTable *table, int64_t first) {
  int64_t *n = malloc(ROWS * sizeof *n);
  KVBytes *texts = malloc(ROWS * sizeof *texts);
  char(*rooms)[24] = malloc(ROWS * sizeof *rooms);
  for (int64_t i = 0; i < ROWS; i++) {
    n[i] = first + i;
    texts[i] = (KVBytes){ rooms[i], (size_t)snprintf(rooms[i], sizeof rooms[i], "text %012lld", (long long)n[i]) };
  }
  const KVColumnData data[] = { { KVTABLE_TYPE_I64, KVTABLE_FORM_ARRAY, n, NULL, NULL, NULL },
                                { KVTABLE_TYPE_STRING, KVTABLE_FORM_ARRAY, texts, NULL, NULL, NULL } };
  CHECK_OK(kvtable_append(table, data, 2, ROWS, NULL, KVTABLE_UPSERT, NULL));
  free(n);
  free(texts);
  free(rooms);
}

static void put_values(KVStore *kv, char fill) {
  static char value[VALUE_BYTES];
  memset(value, fill, sizeof value);
  for (int i = 0; i < VALUES; i++) CHECK_OK(kvstore_put(kv, &i, sizeof i, value, VALUE_BYTES));
}

/* What could take the place of the rows that are gone, or cut it off. */
static void go_on(Opened *o, Then then) {
  if (then == THEN_CLOSE) { /* by another life of the store, too */
    close_tables(o);
    *o = open_tables();
  }
  if (then == THEN_SHORTEN || then == THEN_CLOSE) {
    CHECK_OK(kvstore_maintain(o->kv));
    CHECK_OK(kvstore_incremental_vacuum(o->kv, VACUUM_ALL));
  }
  if (then == THEN_WRITE || then == THEN_CLOSE) {
    for (int64_t times = 0; times < 3; times++) append(o->table, -1000000 * (times + 1));
    put_values(o->kv, 'o');
    CHECK_OK(kvstore_checkpoint(o->kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  }
}

static KVTableView *view_of(KVTable *table) {
  const char *const name[] = { "n" };
  KVTableView *view = NULL;
  CHECK_OK(kvtable_view(table, name, 1, NULL, &view));
  CHECK_INT(view->row_count, ROWS);
  CHECK_INT(view->piece_count, 1);
  CHECK_INT(view->pieces[0].arrays[0].in_file, 1);
  return view;
}

static void check_view(const KVTableView *view, int64_t first) {
  const int64_t *n = view->pieces[0].arrays[0].values;
  int64_t wrong = 0;
  for (int64_t i = 0; i < ROWS; i++) wrong += n[i] != first + i;
  CHECK_INT(wrong, 0);
}

TEST(taken_back, a_view_of_rows_that_were_rolled_back_stays_as_it_is) {
  for (Then then = THEN_WRITE; then < THEN_WAYS; then++) {
    Opened o = open_tables();
    CHECK_OK(kvtable_clear(o.table));
    CHECK_OK(kvstore_begin(o.kv, 1));
    append(o.table, 5);
    KVTableView *view = view_of(o.table);
    CHECK_OK(kvstore_rollback(o.kv));
    go_on(&o, then);
    check_view(view, 5);
    CHECK_OK(kvstore_integrity_check(o.kv, NULL));
    kvtable_view_close(view);
    CHECK_OK(kvstore_integrity_check(o.kv, NULL));
    close_tables(&o);
  }
}

static void load_values(KVStore *kv, char fill) {
  static char value[VALUE_BYTES];
  KVBulkLoad *load = NULL;
  int64_t loaded = 0;
  memset(value, fill, sizeof value);
  CHECK_OK(kvstore_bulk_load_begin(kv, NULL, NULL, &load));
  for (int i = 0; i < VALUES; i++) CHECK_OK(kvstore_bulk_load_add(load, &i, sizeof i, value, VALUE_BYTES, 0));
  CHECK_OK(kvstore_bulk_load_commit(load, &loaded));
  CHECK_INT(loaded, VALUES);
}

static void pin_all(KVStore *kv, KVPinned *pinned[VALUES]) {
  for (int i = 0; i < VALUES; i++) CHECK_OK(kvstore_get_pinned(kv, &i, sizeof i, &pinned[i]));
}

static void check_pinned(KVPinned *pinned[VALUES], char fill) {
  int wrong = 0;
  for (int i = 0; i < VALUES; i++) {
    int length = 0;
    const char *value = kvstore_pinned_value(pinned[i], &length);
    CHECK_INT(length, VALUE_BYTES);
    for (int k = 0; k < length; k++) wrong += value[k] != fill;
    kvstore_pinned_release(pinned[i]);
  }
  CHECK_INT(wrong, 0);
}

TEST(taken_back, values_that_were_pinned_stay_as_they_are) {
  for (Then then = THEN_WRITE; then < THEN_WAYS; then++) {
    for (int loads = 0; loads < 2; loads++) {
      KVPinned *pinned[VALUES];
      Opened o = open_tables();
      CHECK_OK(kvstore_begin(o.kv, 1));
      if (loads)
        load_values(o.kv, 'p');
      else
        put_values(o.kv, 'p');
      pin_all(o.kv, pinned);
      CHECK_OK(kvstore_rollback(o.kv));
      go_on(&o, then);
      check_pinned(pinned, 'p');
      CHECK_OK(kvstore_integrity_check(o.kv, NULL));
      close_tables(&o);
    }
  }
}

TEST(taken_back, the_batch_of_a_cursor_stays_until_its_next_step) {
  for (Then then = THEN_WRITE; then < THEN_CLOSE; then++) {
    Opened o = open_tables();
    KVQuery *query = NULL;
    KVCursor *cursor = NULL;
    const KVColumnData *columns = NULL;
    uint64_t rows = 0;
    int wrong = 0;
    CHECK_OK(kvtable_clear(o.table));
    CHECK_OK(kvstore_begin(o.kv, 1));
    append(o.table, 5);
    CHECK_OK(kvquery_create(o.table, &query));
    CHECK_OK(kvquery_open(query, &cursor));
    CHECK_OK(kvcursor_next_batch(cursor, &rows, &columns));
    CHECK_INT(rows, 1024);
    CHECK_OK(kvstore_rollback(o.kv));
    go_on(&o, then);
    for (uint64_t i = 0; i < rows; i++) {
      char text[24];
      const KVBytes *found = &((const KVBytes *)columns[1].values)[i];
      size_t length = (size_t)snprintf(text, sizeof text, "text %012lld", (long long)i + 5);
      wrong += ((const int64_t *)columns[0].values)[i] != (int64_t)i + 5;
      wrong += found->length != length || memcmp(found->data, text, length) != 0;
    }
    CHECK_INT(wrong, 0);
    CHECK_STATUS(kvcursor_next_batch(cursor, &rows, &columns), KVSTORE_ERROR);
    kvcursor_close(cursor);
    kvquery_close(query);
    close_tables(&o);
  }
}

/* One view at a time, closed before or behind the next transaction; and all of them at once. */
TEST(taken_back, the_space_comes_back_when_nobody_reads_it) {
  enum { TIMES = 12, ROOM = 1 << 20 };
  Opened o = open_tables();
  KVTableView *views[TIMES] = { NULL };
  for (int at_once = 0; at_once < 2; at_once++) {
    for (int i = 0; i < TIMES; i++) {
      CHECK_OK(kvstore_begin(o.kv, 1));
      append(o.table, i * 1000000);
      views[i] = view_of(o.table);
      CHECK_OK(kvstore_rollback(o.kv));
      if (!at_once && i) kvtable_view_close(views[i - 1]);
    }
    for (int i = at_once ? 0 : TIMES - 1; i < TIMES; i++) {
      check_view(views[i], i * 1000000);
      kvtable_view_close(views[i]);
    }
    CHECK_OK(kvstore_begin(o.kv, 1)); /* nobody reads any of it: */
    put_text(o.kv, "k", "v");
    CHECK_OK(kvstore_commit(o.kv));
    CHECK_OK(kvstore_checkpoint(o.kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
    CHECK_OK(kvstore_maintain(o.kv));
    CHECK_OK(kvstore_incremental_vacuum(o.kv, VACUUM_ALL));
    CHECK(file_size(path_of("store")) < ROOM); /* a view is 560,000 bytes, its texts some more */
  }
  CHECK_OK(kvstore_integrity_check(o.kv, NULL));
  close_tables(&o);
}

/* Who looks at what is committed keeps nothing of what never was. */
TEST(taken_back, a_snapshot_keeps_no_space_of_others_rollbacks) {
  enum { TIMES = 20, ROOM = 8 << 20 };
  Opened o = open_tables();
  KVSnapshot *snapshot = NULL;
  put_text(o.kv, "k", "v");
  CHECK_OK(kvstore_snapshot_create(o.kv, &snapshot));
  for (int i = 0; i < TIMES; i++) {
    CHECK_OK(kvstore_begin(o.kv, 1));
    append(o.table, i * 1000000);
    CHECK_OK(kvstore_rollback(o.kv));
  }
  CHECK(file_size(path_of("store")) < ROOM); /* one of them takes 2 MB */
  kvstore_snapshot_release(snapshot);
  close_tables(&o);
}

enum { KEYS = 700, FEW = 1000, MANY = 8000, BATCHES_MAX = 1000 };

/* `count` rows of KEYS keys, the value of all of them `b`. */
static int upsert(KVTable *table, int count, int64_t b) {
  static int64_t keys[MANY], values[MANY];
  for (int i = 0; i < count; i++) {
    keys[i] = i * 31 % KEYS;
    values[i] = b;
  }
  const KVColumnData data[] = { { KVTABLE_TYPE_I64, KVTABLE_FORM_ARRAY, keys, NULL, NULL, NULL },
                                { KVTABLE_TYPE_I64, KVTABLE_FORM_ARRAY, values, NULL, NULL, NULL } };
  return kvtable_append(table, data, 2, (uint64_t)count, NULL, KVTABLE_UPSERT, NULL);
}

/* The record of a long transaction holds so many deletes of rows that are in runs by now. */
TEST(taken_back, a_call_that_cannot_be_taken_back_alone_leaves_nothing_but_the_rollback) {
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 }, { "a", KVTABLE_TYPE_I64, 0, 0 } };
  const char *key[] = { "id" };
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  KVStore *kv = NULL;
  KVTable *table = NULL;
  uint64_t count = 0;
  int status = KVSTORE_OK;
  options.log_bytes = 64 << 10;
  CHECK_OK(kvstore_open_with(path_of("store"), &kv, &options));
  CHECK_OK(kvtable_create(kv, "u", columns, 2, key, 1, &table));
  CHECK_OK(upsert(table, KEYS, -1));
  CHECK_OK(kvstore_begin(kv, 1));
  for (int b = 0; b < BATCHES_MAX && status == KVSTORE_OK; b++) status = upsert(table, b % 2 ? MANY : FEW, b);
  CHECK_STATUS(status, KVSTORE_LIMIT);
  CHECK_STATUS(upsert(table, 1, 5), KVSTORE_LIMIT);
  CHECK(strstr(kvstore_errmsg(kv), "roll it back") != NULL);
  CHECK_STATUS(kvstore_put(kv, "k", 1, "v", 1), KVSTORE_LIMIT);
  CHECK_STATUS(kvstore_commit(kv), KVSTORE_LIMIT);
  CHECK_OK(kvtable_count(table, &count));
  CHECK_INT(count, KEYS);
  KVQuery *query = NULL;
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_where(query, "a = -1", NULL, 0));
  CHECK_OK(kvquery_count(query, &count));
  CHECK_INT(count, KEYS);
  kvquery_close(query);
  CHECK_OK(upsert(table, KEYS, 7)); /* and all is well again */
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}
