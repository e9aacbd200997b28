/* Reads of one moment: snapshots, many keys in one call, values in place. */
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#include "tests/api/api_support.h"

static KVSnapshot *snapshot_of(KVStore *kv) {
  KVSnapshot *snapshot = NULL;
  CHECK_OK(kvstore_snapshot_create(kv, &snapshot));
  CHECK(snapshot != NULL);
  return snapshot;
}

static void check_then(KVSnapshot *snapshot, KVColumnFamily *cf, const char *key, const char *value) {
  void *data = NULL;
  int length = 0, there = -1;
  int64_t left = -7;
  CHECK_STATUS(kvstore_snapshot_get(snapshot, cf, key, (int)strlen(key), &data, &length, &left),
               value ? KVSTORE_OK : KVSTORE_NOTFOUND);
  CHECK_INT(length, value ? strlen(value) : 0);
  if (value && *value) CHECK_BYTES(data, value, (size_t)length);
  CHECK_INT(left, value ? KVSTORE_NO_TTL : 0);
  kvstore_free(data);
  CHECK_OK(kvstore_snapshot_exists(snapshot, cf, key, (int)strlen(key), &there));
  CHECK_INT(there, value != NULL);
}

static int64_t count_then(KVSnapshot *snapshot, KVColumnFamily *cf) {
  int64_t count = -1;
  CHECK_OK(kvstore_snapshot_count(snapshot, cf, &count));
  return count;
}

static void put_number(KVStore *kv, int key, int value) {
  char name[16], text[128];
  (void)snprintf(name, sizeof name, "key%06d", key);
  (void)snprintf(text, sizeof text, "value %d of %d, and some more so that it has a length", value, key);
  put_text(kv, name, text);
}

static const char *then_keys(KVSnapshot *snapshot, int reverse) {
  static char keys[256];
  KVIterator *it = NULL;
  KVIteratorOptions options = KVSTORE_ITERATOR_OPTIONS_INIT;
  options.reverse = reverse;
  CHECK_OK(kvstore_snapshot_iterator_create(snapshot, NULL, &options, &it));
  keys_of(it, reverse, keys, sizeof keys);
  kvstore_iterator_close(it);
  return keys;
}

/* ---- snapshots ---- */

TEST(snapshot, shows_all_families_and_tables_as_they_were) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = NULL, *late = NULL, *dropped = NULL;
  KVQuery *query = NULL;
  uint64_t rows = 0;
  CHECK_OK(kvstore_cf_create(kv, "f", &cf));
  CHECK_OK(kvstore_cf_put(cf, "k", 1, "then", 4));
  put_text(kv, "a", "then");
  put_text(kv, "b", "then");
  KVTable *people = create_people(kv);
  CHECK_OK(upsert_person(people, 1, "Ada", 1.7));
  KVSnapshot *snapshot = snapshot_of(kv);
  put_text(kv, "a", "now");
  put_text(kv, "c", "now");
  CHECK_OK(kvstore_delete(kv, "b", 1));
  CHECK_OK(upsert_person(people, 2, "Eve", 1.6));
  CHECK_OK(kvstore_cf_create(kv, "late", &late));
  CHECK_OK(kvstore_cf_put(late, "k", 1, "now", 3));
  CHECK_OK(kvstore_cf_drop(kv, "f"));
  for (int round = 0; round < 2; round++) {
    check_then(snapshot, NULL, "a", "then");
    check_then(snapshot, NULL, "b", "then");
    check_then(snapshot, NULL, "c", NULL);
    check_then(snapshot, cf, "k", "then");
    CHECK_INT(count_then(snapshot, NULL), 2);
    CHECK_INT(count_then(snapshot, cf), 1);
    CHECK_STR(then_keys(snapshot, 0), "a,b,");
    CHECK_STR(then_keys(snapshot, 1), "b,a,");
    check_then(snapshot, late, "k", NULL); /* not there then */
    CHECK_STATUS(kvstore_snapshot_cf_open(snapshot, "late", &dropped), KVSTORE_NOTFOUND);
    CHECK_STATUS(kvstore_snapshot_cf_open(snapshot, "people", &dropped), KVSTORE_SCHEMA);
    CHECK_OK(kvstore_snapshot_cf_open(snapshot, "f", &dropped)); /* by its name of then */
    check_then(snapshot, dropped, "k", "then");
    kvstore_cf_close(dropped);
    CHECK_OK(kvquery_create(people, &query));
    CHECK_OK(kvquery_at(query, snapshot));
    CHECK_OK(kvquery_count(query, &rows));
    CHECK_INT(rows, 1);
    CHECK_OK(kvquery_at(query, NULL));
    CHECK_OK(kvquery_count(query, &rows));
    CHECK_INT(rows, 2);
    kvquery_close(query);
    CHECK_OK(kvstore_clear(kv)); /* and when all has gone into the file */
    CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
    CHECK_OK(kvstore_maintain(kv));
  }
  CHECK_INT(count_of(kv), 0);
  kvstore_snapshot_release(snapshot);
  kvtable_close(people);
  kvstore_cf_close(late);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(snapshot, goes_on_after_the_close) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = NULL;
  KVIterator *it = NULL;
  KVPinned *pinned = NULL;
  char keys[64];
  int length = 0;
  CHECK_OK(kvstore_cf_get_default(kv, &cf));
  put_text(kv, "a", "then");
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  put_text(kv, "b", "then");
  KVSnapshot *snapshot = snapshot_of(kv);
  CHECK_OK(kvstore_close(kv));
  CHECK(!file_exists(path_of("store-wal"))); /* a close is a close all the same */
  kv = open_store();
  put_text(kv, "a", "now");
  CHECK_OK(kvstore_delete(kv, "b", 1));
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  CHECK_OK(kvstore_maintain(kv));
  check_then(snapshot, NULL, "a", "then");
  check_then(snapshot, cf, "b", "then");
  CHECK_INT(count_then(snapshot, NULL), 2);
  CHECK_OK(kvstore_snapshot_iterator_create(snapshot, cf, NULL, &it));
  CHECK_OK(kvstore_snapshot_get_pinned(snapshot, NULL, "a", 1, &pinned));
  kvstore_snapshot_release(snapshot);
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "a,b,");
  CHECK_BYTES(kvstore_pinned_value(pinned, &length), "then", 4);
  kvstore_iterator_close(it);
  kvstore_pinned_release(pinned);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(snapshot, an_idle_one_holds_back_no_writer_and_no_checkpoint) {
  KVStore *kv = open_store(); /* a log of 1 MiB */
  KVStoreInfo info = KVSTORE_INFO_INIT;
  put_number(kv, 0, 0);
  KVSnapshot *snapshot = snapshot_of(kv);
  for (int i = 0; i < 40000; i++) put_number(kv, i % 5000, i); /* some laps of the log */
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  CHECK_OK(kvstore_info(kv, &info));
  CHECK_INT(info.log_bytes_used, 0);
  CHECK_INT(count_then(snapshot, NULL), 1);
  kvstore_snapshot_release(snapshot);
  CHECK_INT(count_of(kv), 5000);
  CHECK_OK(kvstore_close(kv));
}

TEST(snapshot, made_in_a_transaction_sees_its_writes_and_ends_with_its_rollback) {
  KVStore *kv = open_store();
  KVIterator *it = NULL;
  void *data = NULL;
  int length = 0;
  int64_t count = 0;
  put_text(kv, "a", "1");
  CHECK_OK(kvstore_begin(kv, 1));
  put_text(kv, "a", "2");
  KVSnapshot *inside = snapshot_of(kv);
  put_text(kv, "a", "3");
  check_then(inside, NULL, "a", "2");
  CHECK_OK(kvstore_commit(kv));
  check_then(inside, NULL, "a", "2");
  kvstore_snapshot_release(inside);
  CHECK_OK(kvstore_begin(kv, 1));
  put_text(kv, "a", "4");
  inside = snapshot_of(kv);
  CHECK_OK(kvstore_rollback(kv));
  CHECK_STATUS(kvstore_snapshot_get(inside, NULL, "a", 1, &data, &length, NULL), KVSTORE_ERROR);
  CHECK_STR(kvstore_errmsg(kv), "the transaction that the snapshot was made in has been rolled back");
  CHECK_STATUS(kvstore_snapshot_count(inside, NULL, &count), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_snapshot_iterator_create(inside, NULL, NULL, &it), KVSTORE_ERROR);
  kvstore_snapshot_release(inside);
  CHECK_OK(kvstore_begin(kv, 0));
  KVSnapshot *reading = snapshot_of(kv); /* of what the reading transaction sees */
  CHECK_OK(kvstore_commit(kv));
  put_text(kv, "a", "5");
  check_then(reading, NULL, "a", "3");
  kvstore_snapshot_release(reading);
  CHECK_OK(kvstore_close(kv));
}

TEST(snapshot, keys_expire_in_it_and_stay_where_they_are) {
  KVStore *kv = open_store();
  void *data = NULL;
  int length = 0;
  int64_t left = -1;
  CHECK_OK(kvstore_put_ttl(kv, "gone", 4, "v", 1, 1));
  CHECK_OK(kvstore_put_ttl(kv, "kept", 4, "v", 1, kvstore_now_ms() + 100000));
  KVSnapshot *snapshot = snapshot_of(kv);
  CHECK_STATUS(kvstore_snapshot_get(snapshot, NULL, "gone", 4, &data, &length, NULL), KVSTORE_NOTFOUND);
  CHECK_OK(kvstore_snapshot_ttl_remaining(snapshot, NULL, "gone", 4, &left));
  CHECK_INT(left, 0);
  CHECK_OK(kvstore_snapshot_ttl_remaining(snapshot, NULL, "kept", 4, &left));
  CHECK(left > 90000 && left <= 100000);
  CHECK_STR(then_keys(snapshot, 0), "kept,");
  CHECK_INT(count_then(snapshot, NULL), 2);
  kvstore_snapshot_release(snapshot);
  CHECK_INT(count_of(kv), 2);
  CHECK_OK(kvstore_close(kv));
}

TEST(snapshot, nonsense_is_refused) {
  KVStore *kv = open_store(), *elsewhere = NULL, *clone = NULL;
  KVColumnFamily *foreign = NULL, *cloned = NULL;
  KVSnapshot *snapshot = snapshot_of(kv), *none = (KVSnapshot *)1;
  void *data = NULL;
  int length = 0, there = 1;
  int64_t number = 1;
  KVIterator *it = NULL;
  CHECK_STATUS(kvstore_snapshot_create(NULL, &none), KVSTORE_ERROR);
  CHECK(none == NULL);
  CHECK_STATUS(kvstore_snapshot_create(kv, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_snapshot_get(NULL, NULL, "a", 1, &data, &length, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_snapshot_get(snapshot, NULL, "a", 1, NULL, &length, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_snapshot_get(snapshot, NULL, "", 0, &data, &length, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_snapshot_exists(snapshot, NULL, NULL, 1, &there), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_snapshot_ttl_remaining(snapshot, NULL, "a", 1, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_snapshot_count((KVSnapshot *)(void *)kv, NULL, &number), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_snapshot_count(snapshot, NULL, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_snapshot_iterator_create(NULL, NULL, NULL, &it), KVSTORE_ERROR);
  CHECK_OK(kvstore_open(NULL, &elsewhere, KVSTORE_JOURNAL_WAL));
  CHECK_OK(kvstore_cf_get_default(elsewhere, &foreign));
  CHECK_STATUS(kvstore_snapshot_count(snapshot, foreign, &number), KVSTORE_ERROR);
  CHECK_STR(kvstore_errmsg(kv), "the family is of another store");
  CHECK_OK(kvstore_clone(kv, &clone));
  CHECK_OK(kvstore_cf_get_default(clone, &cloned));
  CHECK_OK(kvstore_snapshot_count(snapshot, cloned, &number)); /* of the same one */
  CHECK_INT(number, 0);
  kvstore_cf_close(cloned);
  kvstore_cf_close(foreign);
  CHECK_OK(kvstore_close(clone));
  CHECK_OK(kvstore_close(elsewhere));
  kvstore_snapshot_release(NULL);
  kvstore_snapshot_release(snapshot);
  CHECK_OK(kvstore_close(kv));
}

typedef struct Readers {
  KVSnapshot *snapshot;
  _Atomic int stop;
} Readers;

enum { SHARED_KEYS = 300 };

static void *read_shared(void *argument) {
  Readers *readers = argument;
  uint64_t rounds = 0;
  while (!readers->stop || !rounds) {
    KVLookup lookups[SHARED_KEYS];
    char names[SHARED_KEYS][16];
    void *values = NULL;
    for (int i = 0; i < SHARED_KEYS; i++) {
      (void)snprintf(names[i], sizeof names[i], "key%06d", i);
      lookups[i] = (KVLookup){ .key = names[i], .key_length = 9 };
    }
    CHECK_OK(kvstore_snapshot_get_many(readers->snapshot, NULL, lookups, SHARED_KEYS, &values));
    for (int i = 0; i < SHARED_KEYS; i++) {
      CHECK_INT(lookups[i].status, KVSTORE_OK);
      CHECK(memcmp(lookups[i].value, "value 0 ", 8) == 0);
    }
    kvstore_free(values);
    CHECK_INT(count_then(readers->snapshot, NULL), SHARED_KEYS);
    rounds++;
  }
  return NULL;
}

TEST(snapshot, is_read_by_many_threads_beside_writes_and_transactions_of_the_handle) {
  KVStore *kv = open_store();
  for (int i = 0; i < SHARED_KEYS; i++) put_number(kv, i, 0);
  Readers readers = { snapshot_of(kv), 0 };
  pthread_t threads[3];
  for (int i = 0; i < 3; i++) CHECK_INT(pthread_create(&threads[i], NULL, read_shared, &readers), 0);
  int rounds = (int)test_scaled(40);
  for (int round = 1; round <= rounds; round++) {
    CHECK_OK(kvstore_begin(kv, 1));
    for (int i = 0; i < SHARED_KEYS; i += 3) put_number(kv, i, round);
    CHECK_OK(round % 3 ? kvstore_commit(kv) : kvstore_rollback(kv));
    CHECK_OK(kvstore_delete_range(kv, "key0001", 7, "key0002", 7, NULL));
    if (round % 8 == 0) CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  }
  readers.stop = 1;
  for (int i = 0; i < 3; i++) CHECK_INT(pthread_join(threads[i], NULL), 0);
  kvstore_snapshot_release(readers.snapshot);
  CHECK_OK(kvstore_close(kv));
}

/* ---- many keys ---- */

TEST(get_many, answers_each_key_in_its_place) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = NULL;
  KVStoreStats stats;
  static char long_key[KVSTORE_KEY_BYTES_MAX + 1], long_value[100000];
  memset(long_value, 'v', sizeof long_value);
  put_text(kv, "a", "1");
  put_text(kv, "empty", "");
  CHECK_OK(kvstore_put(kv, "long", 4, long_value, sizeof long_value));
  CHECK_OK(kvstore_put_ttl(kv, "gone", 4, "v", 1, kvstore_now_ms() - 1000)); /* not yet to be reclaimed */
  CHECK_OK(kvstore_put_ttl(kv, "soon", 4, "v", 1, kvstore_now_ms() + 100000));
  for (int round = 0; round < 3; round++) {
    KVLookup lookups[] = { { .key = "a", .key_length = 1 },     { .key = "none", .key_length = 4 },
                           { .key = "empty", .key_length = 5 }, { .key = "a", .key_length = 1 },
                           { .key = "gone", .key_length = 4 },  { .key = "soon", .key_length = 4 },
                           { .key = NULL, .key_length = 1 },    { .key = "a", .key_length = -1 },
                           { .key = "a", .key_length = 0 },     { .key = long_key, .key_length = sizeof long_key },
                           { .key = "long", .key_length = 4 } };
    void *values = NULL;
    CHECK_OK(kvstore_stats_reset(kv));
    CHECK_OK(kvstore_get_many(kv, lookups, 11, &values));
    CHECK_INT(lookups[0].status, KVSTORE_OK);
    CHECK_INT(lookups[0].value_length, 1);
    CHECK_BYTES(lookups[0].value, "1", 1);
    CHECK_INT(lookups[0].remaining_ms, KVSTORE_NO_TTL);
    CHECK_INT(lookups[1].status, KVSTORE_NOTFOUND);
    CHECK(lookups[1].value == NULL && lookups[1].value_length == 0 && lookups[1].remaining_ms == 0);
    CHECK_INT(lookups[2].status, KVSTORE_OK);
    CHECK(lookups[2].value == NULL && lookups[2].value_length == 0);
    CHECK_BYTES(lookups[3].value, "1", 1);
    CHECK_INT(lookups[4].status, KVSTORE_NOTFOUND);
    CHECK_INT(lookups[5].status, KVSTORE_OK);
    CHECK(lookups[5].remaining_ms > 90000 && lookups[5].remaining_ms <= 100000);
    for (int i = 6; i < 10; i++) CHECK_INT(lookups[i].status, KVSTORE_ERROR);
    CHECK_INT(lookups[10].value_length, sizeof long_value);
    CHECK_BYTES(lookups[10].value, long_value, sizeof long_value);
    CHECK_OK(kvstore_stats(kv, &stats));
    CHECK_INT(stats.nGets, 5);
    CHECK_INT(stats.nBytesRead, 3 + sizeof long_value);
    CHECK_INT(stats.nTtlExpired, 1);
    CHECK_INT(stats.nErrors, 0);
    kvstore_free(values);
    if (round == 0) CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL)); /* the same from runs */
    if (round == 1) put_text(kv, "b", "in a delta above");
  }
  CHECK_INT(count_of(kv), 6); /* the expired one was left */
  CHECK_OK(kvstore_cf_create(kv, "f", &cf));
  KVLookup one = { .key = "a", .key_length = 1 };
  void *values = (void *)1;
  CHECK_OK(kvstore_cf_get_many(cf, &one, 1, &values));
  CHECK_INT(one.status, KVSTORE_NOTFOUND);
  CHECK(values == NULL);
  CHECK_OK(kvstore_get_many(kv, NULL, 0, &values));
  CHECK_STATUS(kvstore_get_many(kv, NULL, 1, &values), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_get_many(kv, &one, 1, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_get_many(NULL, &one, 1, &values), KVSTORE_ERROR);
  CHECK_INT(one.status, KVSTORE_ERROR);
  CHECK_OK(kvstore_cf_drop(kv, "f"));
  CHECK_STATUS(kvstore_cf_get_many(cf, &one, 1, &values), KVSTORE_NOTFOUND);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(get_many, sees_the_writes_of_its_transaction_through_all_layers) {
  enum { KEYS = 1000 };
  KVStore *kv = open_store();
  static KVLookup lookups[KEYS];
  static char names[KEYS][16];
  void *values = NULL;
  for (int layer = 1; layer <= 4; layer++) { /* every layer is above those before it, and thinner */
    for (int i = 0; i < KEYS; i += layer) put_number(kv, i, layer);
    CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  }
  CHECK_OK(kvstore_begin(kv, 1));
  for (int i = 0; i < KEYS; i += 5) put_number(kv, i, 5);
  CHECK_OK(kvstore_delete(kv, "key000500", 9));
  for (int i = 0; i < KEYS; i++) {
    (void)snprintf(names[i], sizeof names[i], "key%06d", i);
    lookups[i] = (KVLookup){ .key = names[i], .key_length = 9 };
  }
  CHECK_OK(kvstore_get_many(kv, lookups, KEYS, &values));
  for (int i = 0; i < KEYS; i++) {
    char text[32];
    int layer = i % 5 == 0 ? 5 : i % 4 == 0 ? 4 : i % 3 == 0 ? 3 : i % 2 == 0 ? 2 : 1;
    (void)snprintf(text, sizeof text, "value %d of %d,", layer, i);
    CHECK_INT(lookups[i].status, i == 500 ? KVSTORE_NOTFOUND : KVSTORE_OK);
    if (i != 500) CHECK_BYTES(lookups[i].value, text, strlen(text));
  }
  kvstore_free(values);
  CHECK_OK(kvstore_rollback(kv));
  CHECK_OK(kvstore_close(kv));
}

/* ---- values in place ---- */

/* Whether an address lies in a mapping of the store's file. */
static int lies_in_the_file(const void *address) {
  FILE *maps = fopen("/proc/self/maps", "r");
  char line[1200];
  int found = 0;
  CHECK(maps);
  while (!found && fgets(line, sizeof line, maps)) {
    uintptr_t from = 0, to = 0;
    if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &from, &to) != 2) continue;
    size_t length = strcspn(line, "\n");
    const char *path = path_of("store");
    found = (uintptr_t)address >= from && (uintptr_t)address < to && length > strlen(path) &&
            strncmp(line + length - strlen(path), path, strlen(path)) == 0;
  }
  (void)fclose(maps);
  return found;
}

TEST(pinned, a_value_of_a_run_lies_in_the_file_and_stays_whatever_is_done) {
  KVStore *kv = open_store();
  KVPinned *small = NULL, *large = NULL, *fresh = NULL;
  static char long_value[200000];
  int length = 0;
  memset(long_value, 'x', sizeof long_value);
  put_text(kv, "small", "a value");
  CHECK_OK(kvstore_put(kv, "large", 5, long_value, sizeof long_value)); /* in a value extent */
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  put_text(kv, "fresh", "in the delta");
  CHECK_OK(kvstore_get_pinned(kv, "small", 5, &small));
  CHECK_OK(kvstore_get_pinned(kv, "large", 5, &large));
  CHECK_OK(kvstore_get_pinned(kv, "fresh", 5, &fresh));
  CHECK(lies_in_the_file(kvstore_pinned_value(small, &length)));
  CHECK_INT(length, 7);
  CHECK(lies_in_the_file(kvstore_pinned_value(large, &length)));
  CHECK_INT(length, sizeof long_value);
  CHECK(!lies_in_the_file(kvstore_pinned_value(fresh, &length)));
  for (int round = 0; round < 20; round++) { /* what they name is replaced, and space is used again and again */
    memset(long_value, 'a' + round, sizeof long_value);
    put_text(kv, "small", "another");
    CHECK_OK(kvstore_put(kv, "large", 5, long_value, sizeof long_value));
    CHECK_OK(kvstore_delete(kv, "fresh", 5));
    put_text(kv, "fresh", "new");
    CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
    CHECK_OK(kvstore_maintain(kv));
  }
  CHECK_OK(kvstore_clear(kv));
  CHECK_OK(kvstore_close(kv));
  kv = open_store();
  for (int i = 0; i < 3000; i++) put_number(kv, i, i);
  CHECK_OK(kvstore_close(kv));
  memset(long_value, 'x', sizeof long_value);
  CHECK_BYTES(kvstore_pinned_value(small, &length), "a value", 7);
  CHECK_BYTES(kvstore_pinned_value(large, &length), long_value, sizeof long_value);
  CHECK_BYTES(kvstore_pinned_value(fresh, &length), "in the delta", 12);
  kvstore_pinned_release(small);
  kvstore_pinned_release(large);
  kvstore_pinned_release(fresh);
}

TEST(pinned, says_what_a_get_says) {
  KVStore *kv = NULL;
  KVPinned *pinned = (KVPinned *)1;
  KVStoreStats stats;
  int length = 1;
  CHECK_OK(kvstore_open(NULL, &kv, KVSTORE_JOURNAL_WAL));
  KVColumnFamily *cf = NULL;
  CHECK_OK(kvstore_cf_create(kv, "f", &cf));
  CHECK_OK(kvstore_cf_put(cf, "k", 1, "v", 1));
  put_text(kv, "empty", "");
  CHECK_OK(kvstore_put_ttl(kv, "gone", 4, "v", 1, 1));
  CHECK_STATUS(kvstore_get_pinned(kv, "none", 4, &pinned), KVSTORE_NOTFOUND);
  CHECK(pinned == NULL);
  CHECK_STR(kvstore_errmsg(kv), "no error");
  CHECK_STATUS(kvstore_get_pinned(kv, "gone", 4, &pinned), KVSTORE_NOTFOUND);
  CHECK_INT(count_of(kv), 1); /* and it is gone, as after a get */
  CHECK_OK(kvstore_get_pinned(kv, "empty", 5, &pinned));
  CHECK(kvstore_pinned_value(pinned, &length) == NULL);
  CHECK_INT(length, 0);
  kvstore_pinned_release(pinned);
  CHECK_OK(kvstore_cf_get_pinned(cf, "k", 1, &pinned));
  CHECK_BYTES(kvstore_pinned_value(pinned, NULL), "v", 1);
  kvstore_pinned_release(pinned);
  CHECK_STATUS(kvstore_get_pinned(kv, "", 0, &pinned), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_get_pinned(kv, "k", 1, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_get_pinned(NULL, "k", 1, &pinned), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_get_pinned(NULL, "k", 1, &pinned), KVSTORE_ERROR);
  CHECK(kvstore_pinned_value(NULL, &length) == NULL);
  kvstore_pinned_release(NULL);
  CHECK_OK(kvstore_stats(kv, &stats));
  CHECK_INT(stats.nGets, 2);
  CHECK_INT(stats.nTtlExpired, 1);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}
