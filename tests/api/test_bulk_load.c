/* Bulk loads: all or nothing, in any order, beside what is there already. */
#include <stdlib.h>

#include "tests/api/api_support.h"

enum { MANY = 20000, VALUE_BYTES = 100 };

static int make_key(char *key, uint32_t number) { return snprintf(key, 32, "key%08u", number); }

/* The value of a key in a round: its bytes say both. */
static void make_value(char *value, uint32_t number, uint32_t round) {
  memset(value, 'v', VALUE_BYTES);
  (void)snprintf(value, VALUE_BYTES, "%u of round %u", number, round);
}

static int add_number(KVBulkLoad *load, uint32_t number, uint32_t round) {
  char key[32], value[VALUE_BYTES];
  int length = make_key(key, number);
  make_value(value, number, round);
  return kvstore_bulk_load_add(load, key, length, value, VALUE_BYTES, 0);
}

static void check_number(KVStore *kv, uint32_t number, uint32_t round) {
  char key[32], value[VALUE_BYTES];
  int length = make_key(key, number), found = 0;
  void *data = NULL;
  make_value(value, number, round);
  CHECK_OK(kvstore_get(kv, key, length, &data, &found));
  CHECK_INT(found, VALUE_BYTES);
  CHECK_BYTES(data, value, VALUE_BYTES);
  kvstore_free(data);
}

/* Every number below `count` is there, by key and in order, and nothing else. */
static void check_numbers(KVStore *kv, uint32_t count, uint32_t round) {
  KVIterator *it = NULL;
  uint32_t number = 0;
  CHECK_INT(count_of(kv), count);
  CHECK_OK(kvstore_iterator_create(kv, &it));
  CHECK_OK(kvstore_iterator_first(it));
  for (; !kvstore_iterator_eof(it); number++) {
    char expected[32];
    void *key;
    int length;
    CHECK_OK(kvstore_iterator_key(it, &key, &length));
    CHECK_INT(length, make_key(expected, number));
    CHECK_BYTES(key, expected, (size_t)length);
    CHECK_OK(kvstore_iterator_next(it));
  }
  kvstore_iterator_close(it);
  CHECK_INT(number, count);
  for (uint32_t i = 0; i < count; i += 97) check_number(kv, i, round);
}

static KVBulkLoad *begin_load(KVStore *kv, KVColumnFamily *family, size_t memory_bytes, int sorted) {
  KVBulkLoad *load = NULL;
  KVBulkOptions options = KVSTORE_BULK_OPTIONS_INIT;
  options.memory_bytes = memory_bytes;
  options.sorted = sorted;
  CHECK_OK(kvstore_bulk_load_begin(kv, family, &options, &load));
  return load;
}

static int64_t commit_load(KVBulkLoad *load) {
  int64_t loaded = -1;
  CHECK_OK(kvstore_bulk_load_commit(load, &loaded));
  return loaded;
}

static void check_intact(KVStore *kv) {
  char *why = NULL;
  CHECK_OK(kvstore_integrity_check(kv, &why));
  CHECK(why == NULL);
}

/* ---- orders ---- */

TEST(bulk_load, ascending_keys_are_all_there) {
  KVStore *kv = open_store();
  KVBulkLoad *load = begin_load(kv, NULL, 64 << 10, 1);
  for (uint32_t i = 0; i < MANY; i++) CHECK_OK(add_number(load, i, 1));
  CHECK_INT(commit_load(load), MANY);
  check_numbers(kv, MANY, 1);
  check_intact(kv);
  CHECK_OK(kvstore_close(kv));
  kv = open_store();
  check_numbers(kv, MANY, 1);
  CHECK_OK(kvstore_close(kv));
}

TEST(bulk_load, random_keys_with_little_memory_are_sorted) {
  KVStore *kv = open_store();
  KVBulkLoad *load = begin_load(kv, NULL, 64 << 10, 0);
  for (uint32_t i = 0; i < MANY; i++) CHECK_OK(add_number(load, (uint32_t)(i * UINT64_C(7919) % MANY), 1));
  CHECK_INT(commit_load(load), MANY);
  check_numbers(kv, MANY, 1);
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  check_numbers(kv, MANY, 1);
  check_intact(kv);
  CHECK_OK(kvstore_close(kv));
}

TEST(bulk_load, the_last_of_equal_keys_wins_across_chunks) {
  for (int sorted = 0; sorted < 2; sorted++) {
    KVStore *kv = open_store();
    CHECK_OK(kvstore_clear(kv));
    KVBulkLoad *load = begin_load(kv, NULL, 64 << 10, sorted);
    for (uint32_t round = 1; round <= 3 && !sorted; round++)
      for (uint32_t i = 0; i < 3000; i++) CHECK_OK(add_number(load, i, round));
    for (uint32_t i = 0; i < 3000 && sorted; i++)
      for (uint32_t round = 1; round <= 3; round++) CHECK_OK(add_number(load, i, round));
    CHECK_INT(commit_load(load), 3000);
    check_numbers(kv, 3000, 3);
    CHECK_OK(kvstore_close(kv));
  }
}

TEST(bulk_load, a_key_below_the_last_one_fails_a_load_in_promised_order) {
  KVStore *kv = open_store();
  put_text(kv, "before", "stays");
  for (uint32_t good = 2; good <= 2000; good += 1998) { /* in memory, and partly written already */
    KVBulkLoad *load = begin_load(kv, NULL, 64 << 10, 1);
    int64_t loaded = -1;
    for (uint32_t i = 1; i <= good; i++) CHECK_OK(add_number(load, i, 1));
    CHECK_STATUS(add_number(load, 0, 1), KVSTORE_ERROR);
    CHECK(strstr(kvstore_errmsg(kv), "order"));
    CHECK_STATUS(add_number(load, good + 1, 1), KVSTORE_ERROR);
    CHECK_STATUS(kvstore_bulk_load_commit(load, &loaded), KVSTORE_ERROR);
    CHECK_INT(loaded, 0);
    CHECK_INT(count_of(kv), 1);
  }
  check_text(kv, "before", "stays");
  CHECK_OK(kvstore_close(kv));
}

/* ---- beside what is there ---- */

TEST(bulk_load, replaces_rows_of_deltas_and_runs_and_deleted_ones) {
  KVStore *kv = open_store();
  char key[32], value[VALUE_BYTES];
  for (uint32_t i = 0; i < 3000; i++) {
    make_value(value, i, 1);
    CHECK_OK(kvstore_put(kv, key, make_key(key, i), value, VALUE_BYTES));
    if (i == 1000) CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  }
  for (uint32_t i = 0; i < 3000; i += 3) CHECK_OK(kvstore_delete(kv, key, make_key(key, i)));
  KVIterator *before = NULL;
  CHECK_OK(kvstore_iterator_create(kv, &before));
  KVBulkLoad *load = begin_load(kv, NULL, 64 << 10, 0);
  for (uint32_t i = 3000; i-- > 0;) CHECK_OK(add_number(load, i, 2));
  CHECK_INT(count_of(kv), 2000);
  CHECK_INT(commit_load(load), 3000);
  check_numbers(kv, 3000, 2);
  CHECK_OK(kvstore_put(kv, key, make_key(key, 7), "later", 5));
  CHECK_OK(kvstore_delete(kv, key, make_key(key, 9)));
  check_text(kv, "key00000007", "later");
  check_text(kv, "key00000009", NULL);
  uint32_t shown = 0; /* as it was when it was made */
  for (CHECK_OK(kvstore_iterator_first(before)); !kvstore_iterator_eof(before); shown++) {
    void *bytes;
    int length;
    CHECK_OK(kvstore_iterator_value(before, &bytes, &length));
    CHECK(strstr(bytes, "of round 1"));
    CHECK_OK(kvstore_iterator_next(before));
  }
  kvstore_iterator_close(before);
  CHECK_INT(shown, 2000);
  CHECK_OK(kvstore_close(kv));
  kv = open_store();
  check_text(kv, "key00000007", "later");
  check_text(kv, "key00000009", NULL);
  check_number(kv, 2999, 2);
  CHECK_INT(count_of(kv), 2999);
  CHECK_OK(kvstore_close(kv));
}

TEST(bulk_load, loads_one_after_the_other_do_not_pile_up) {
  KVStore *kv = open_store();
  for (uint32_t round = 1; round <= 12; round++) {
    KVBulkLoad *load = begin_load(kv, NULL, 0, 1);
    for (uint32_t i = 0; i < 3000; i++) CHECK_OK(add_number(load, i, round));
    CHECK_INT(commit_load(load), 3000);
  }
  CHECK_OK(kvstore_maintain(kv));
  check_numbers(kv, 3000, 12);
  CHECK_OK(kvstore_close(kv));
}

/* ---- transactions ---- */

TEST(bulk_load, belongs_to_the_open_transaction) {
  for (uint32_t count = 10; count <= 3000; count += 2990) { /* as rows, and as a run */
    KVStore *kv = open_store(), *other = NULL;
    CHECK_OK(kvstore_clear(kv));
    CHECK_OK(kvstore_clone(kv, &other));
    put_text(kv, "key00000001", "older");
    CHECK_OK(kvstore_begin(kv, 1));
    put_text(kv, "key00000002", "own");
    KVBulkLoad *load = begin_load(kv, NULL, 0, 0);
    for (uint32_t i = 0; i < count; i++) CHECK_OK(add_number(load, i, 1));
    CHECK_INT(commit_load(load), count);
    check_numbers(kv, count, 1);
    check_text(other, "key00000001", "older");
    CHECK_INT(count_of(other), 1);
    CHECK_OK(kvstore_rollback(kv));
    check_text(kv, "key00000001", "older");
    CHECK_INT(count_of(kv), 1);

    CHECK_OK(kvstore_begin(kv, 1));
    load = begin_load(kv, NULL, 0, 0);
    for (uint32_t i = 0; i < count; i++) CHECK_OK(add_number(load, i, 2));
    CHECK_INT(commit_load(load), count);
    put_text(kv, "key00000003", "after");
    CHECK_OK(kvstore_commit(kv));
    check_text(other, "key00000003", "after");
    check_number(other, 1, 2);
    CHECK_INT(count_of(other), count);
    CHECK_OK(kvstore_close(other));
    CHECK_OK(kvstore_close(kv));
  }
}

TEST(bulk_load, holds_nobody_back_until_its_commit) {
  KVStore *kv = open_store(), *other = NULL;
  CHECK_OK(kvstore_clone(kv, &other));
  KVBulkLoad *load = begin_load(kv, NULL, 64 << 10, 0);
  for (uint32_t i = 0; i < 2000; i++) CHECK_OK(add_number(load, i, 1));
  put_text(other, "meanwhile", "written");
  CHECK_OK(kvstore_begin(other, 1));
  CHECK_STATUS(kvstore_bulk_load_commit(load, NULL), KVSTORE_BUSY);
  CHECK_OK(kvstore_rollback(other));
  CHECK_INT(count_of(kv), 1);
  CHECK_OK(kvstore_close(other));
  CHECK_OK(kvstore_close(kv));
}

/* Keys that descend make a strand of every chunk, and what another load takes lies between. */
TEST(bulk_load, two_loads_that_write_by_turns_leave_room_for_each_other_and_for_commits) {
  enum { ROWS = 8000, FILL_BYTES = 4096 };
  KVStore *kv = open_store(), *other = open_store();
  KVColumnFamily *family = NULL;
  CHECK_OK(kvstore_cf_create(kv, "others", &family));
  KVBulkLoad *loads[] = { begin_load(kv, family, 64 << 10, 0), begin_load(other, NULL, 64 << 10, 0) };
  char value[FILL_BYTES] = { 0 }, key[32];
  for (uint32_t i = ROWS; i-- > 0;)
    for (int j = 0; j < 2; j++) CHECK_OK(kvstore_bulk_load_add(loads[j], key, make_key(key, i), value, FILL_BYTES, 0));
  CHECK_OK(kvstore_put(kv, "beside", 6, "", 0));
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  for (int j = 0; j < 2; j++) CHECK_INT(commit_load(loads[j]), ROWS);
  CHECK_INT(count_of(kv), ROWS + 1);
  check_intact(kv);
  kvstore_cf_close(family);
  CHECK_OK(kvstore_close(other));
  CHECK_OK(kvstore_close(kv));
}

TEST(bulk_load, of_a_family_that_is_dropped_meanwhile_is_refused) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = NULL, *other_cf = NULL;
  CHECK_OK(kvstore_cf_create(kv, "family", &cf));
  KVBulkLoad *load = begin_load(kv, cf, 64 << 10, 0), *empty = NULL;
  for (uint32_t i = 0; i < 2000; i++) CHECK_OK(add_number(load, i, 1));
  CHECK_OK(kvstore_cf_drop(kv, "family"));
  CHECK_STATUS(kvstore_bulk_load_commit(load, NULL), KVSTORE_NOTFOUND);
  CHECK_STATUS(kvstore_bulk_load_begin(kv, cf, NULL, &empty), KVSTORE_NOTFOUND);
  CHECK(empty == NULL);
  CHECK_OK(kvstore_cf_get_default(kv, &other_cf));
  CHECK_INT(count_of(kv), 0);
  kvstore_cf_close(other_cf);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

/* ---- the end of a load ---- */

TEST(bulk_load, an_aborted_load_leaves_nothing_and_its_space_is_used_again) {
  KVStore *kv = open_store();
  KVStoreInfo info = KVSTORE_INFO_INIT;
  uint64_t once = 0;
  for (int round = 0; round < 20; round++) {
    KVBulkLoad *load = begin_load(kv, NULL, 64 << 10, 0);
    for (uint32_t i = 0; i < 5000; i++) CHECK_OK(add_number(load, i ^ 1, 1));
    kvstore_bulk_load_abort(load);
    CHECK_OK(kvstore_info(kv, &info));
    if (!round) once = info.file_bytes;
  }
  CHECK_INT(info.file_bytes, once);
  CHECK_INT(count_of(kv), 0);
  CHECK_OK(kvstore_close(kv));
}

TEST(bulk_load, ends_when_its_store_is_closed) {
  KVStore *kv = open_store();
  KVBulkLoad *load = begin_load(kv, NULL, 64 << 10, 0), *second = begin_load(kv, NULL, 0, 0);
  for (uint32_t i = 0; i < 2000; i++) CHECK_OK(add_number(load, i, 1));
  CHECK_OK(kvstore_close(kv));
  CHECK_STATUS(add_number(load, 1, 1), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_bulk_load_commit(load, NULL), KVSTORE_ERROR);
  kvstore_bulk_load_abort(second);
  kv = open_store();
  CHECK_INT(count_of(kv), 0);
  CHECK_OK(kvstore_close(kv));
}

TEST(bulk_load, an_array_of_pairs_with_expiries_and_empty_values) {
  KVStore *kv = open_store();
  int64_t loaded = -1, remaining = -2;
  const KVPair pairs[] = { { "b", "two", 1, 3, 0 },
                           { "a", NULL, 1, 0, 0 },
                           { "c", "three", 1, 5, kvstore_now_ms() + 1000000 },
                           { "d", "gone", 1, 4, 1 },
                           { "b", "last", 1, 4, 0 } };
  CHECK_OK(kvstore_bulk_load(kv, NULL, pairs, 5, NULL, &loaded));
  CHECK_INT(loaded, 4);
  check_text(kv, "a", "");
  check_text(kv, "b", "last");
  check_text(kv, "c", "three");
  check_text(kv, "d", NULL);
  CHECK_OK(kvstore_ttl_remaining(kv, "c", 1, &remaining));
  CHECK(remaining > 900000 && remaining <= 1000000);
  CHECK_OK(kvstore_bulk_load(kv, NULL, NULL, 0, NULL, &loaded));
  CHECK_INT(loaded, 0);
  CHECK_OK(kvstore_close(kv));
}

TEST(bulk_load, refuses_what_cannot_be) {
  KVStore *kv = open_store(), *other = NULL;
  KVBulkLoad *load = (KVBulkLoad *)1;
  KVBulkOptions options = KVSTORE_BULK_OPTIONS_INIT;
  KVColumnFamily *cf = NULL;
  const KVPair bad[] = { { "good", "1", 4, 1, 0 }, { "", "2", 0, 1, 0 } };
  int64_t loaded = -1;
  KVStoreError error = KVSTORE_ERROR_INIT;
  CHECK_STATUS(kvstore_bulk_load(kv, NULL, bad, 2, NULL, &loaded), KVSTORE_ERROR);
  CHECK_OK(kvstore_error(kv, &error));
  CHECK_INT(error.row, 1);
  CHECK(strstr(error.text, "pair 1: a key of 0 bytes") != NULL);
  CHECK_INT(loaded, 0);
  CHECK_INT(count_of(kv), 0);
  CHECK_STATUS(kvstore_bulk_load(kv, NULL, NULL, 2, NULL, NULL), KVSTORE_ERROR);
  options.struct_size = 0;
  CHECK_STATUS(kvstore_bulk_load_begin(kv, NULL, &options, &load), KVSTORE_ERROR);
  CHECK(load == NULL);
  CHECK_STATUS(kvstore_bulk_load_begin(NULL, NULL, NULL, &load), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_bulk_load_begin(kv, NULL, NULL, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_bulk_load_add(NULL, "k", 1, "v", 1, 0), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_bulk_load_commit(NULL, &loaded), KVSTORE_ERROR);
  kvstore_bulk_load_abort(NULL);
  CHECK_OK(kvstore_clone(kv, &other));
  CHECK_OK(kvstore_cf_create(other, "theirs", &cf));
  CHECK_STATUS(kvstore_bulk_load_begin(kv, cf, NULL, &load), KVSTORE_ERROR);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(other));

  load = begin_load(kv, NULL, 0, 0);
  CHECK_OK(kvstore_begin(kv, 0));
  CHECK_OK(kvstore_bulk_load_add(load, "k", 1, "v", 1, 0));
  CHECK_STATUS(kvstore_bulk_load_add(load, "k", -1, "v", 1, 0), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_bulk_load_commit(load, NULL), KVSTORE_ERROR);
  CHECK_OK(kvstore_rollback(kv));
  CHECK_OK(kvstore_close(kv));

  KVStoreConfig config = KVSTORE_CONFIG_DEFAULT;
  config.readOnly = 1;
  CHECK_OK(kvstore_open_v2(path_of("store"), &kv, &config));
  CHECK_STATUS(kvstore_bulk_load_begin(kv, NULL, NULL, &load), KVSTORE_READONLY);
  CHECK_OK(kvstore_close(kv));
}
