/* Writes that look first or are many: compare and swap, deletes of ranges, batches. */
#include "tests/api/api_support.h"

static int swap_text(KVStore *kv, const char *key, const char *expected, const char *value) {
  int swapped = -1;
  CHECK_OK(kvstore_compare_and_swap(kv, key, (int)strlen(key), expected,
                                    expected ? (int)strlen(expected) : KVSTORE_ABSENT, value,
                                    value ? (int)strlen(value) : KVSTORE_ABSENT, 0, &swapped));
  return swapped;
}

static void put_numbers(KVStore *kv, const char *prefix, int count) {
  char key[32];
  for (int i = 0; i < count; i++) {
    (void)snprintf(key, sizeof key, "%s%05d", prefix, i);
    put_text(kv, key, "v");
  }
}

static int64_t delete_between(KVStore *kv, const char *lower, const char *upper) {
  int64_t deleted = -1;
  CHECK_OK(
    kvstore_delete_range(kv, lower, lower ? (int)strlen(lower) : 0, upper, upper ? (int)strlen(upper) : 0, &deleted));
  return deleted;
}

/* ---- compare and swap ---- */

TEST(compare_and_swap, writes_only_over_what_is_expected) {
  KVStore *kv = open_store();
  CHECK_INT(swap_text(kv, "k", "1", "2"), 0);
  check_text(kv, "k", NULL);
  CHECK_INT(swap_text(kv, "k", NULL, "1"), 1);
  CHECK_INT(swap_text(kv, "k", NULL, "2"), 0);
  CHECK_INT(swap_text(kv, "k", "2", "3"), 0);
  CHECK_INT(swap_text(kv, "k", "1x", "3"), 0);
  CHECK_INT(swap_text(kv, "k", "", "3"), 0);
  check_text(kv, "k", "1");
  CHECK_INT(swap_text(kv, "k", "1", ""), 1);
  check_text(kv, "k", "");
  CHECK_INT(swap_text(kv, "k", NULL, "4"), 0); /* an empty value is one */
  CHECK_INT(swap_text(kv, "k", "", "5"), 1);
  CHECK_INT(swap_text(kv, "k", "4", NULL), 0);
  CHECK_INT(swap_text(kv, "k", "5", NULL), 1);
  check_text(kv, "k", NULL);
  CHECK_INT(swap_text(kv, "k", NULL, NULL), 1); /* absent, and it is to be */
  CHECK_INT(count_of(kv), 0);
  KVStoreStats stats;
  CHECK_OK(kvstore_stats(kv, &stats));
  CHECK_INT(stats.nPuts, 3);
  CHECK_INT(stats.nDeletes, 1);
  CHECK_INT(stats.nWalCommits, 4);
  CHECK_OK(kvstore_close(kv));
}

TEST(compare_and_swap, an_expired_key_is_absent_and_a_swap_sets_the_expiry) {
  KVStore *kv = open_store();
  int swapped = -1;
  int64_t left = 0;
  CHECK_OK(kvstore_put_ttl(kv, "k", 1, "old", 3, 1));
  CHECK_INT(swap_text(kv, "k", "old", "new"), 0);
  CHECK_OK(kvstore_compare_and_swap(kv, "k", 1, NULL, KVSTORE_ABSENT, "new", 3, kvstore_now_ms() + 100000, &swapped));
  CHECK_INT(swapped, 1);
  CHECK_OK(kvstore_ttl_remaining(kv, "k", 1, &left));
  CHECK(left > 90000 && left <= 100000);
  CHECK_INT(swap_text(kv, "k", "new", "newer"), 1);
  CHECK_OK(kvstore_ttl_remaining(kv, "k", 1, &left));
  CHECK_INT(left, KVSTORE_NO_TTL);
  CHECK_STATUS(kvstore_compare_and_swap(kv, "k", 1, "newer", 5, "x", 1, -5, &swapped), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_compare_and_swap(kv, "k", 1, "newer", -2, "x", 1, 0, &swapped), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_compare_and_swap(kv, "", 0, "newer", 5, "x", 1, 0, &swapped), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_compare_and_swap(kv, "k", 1, "newer", 5, "x", 1, 0, NULL), KVSTORE_ERROR);
  CHECK_INT(swapped, 0);
  check_text(kv, "k", "newer");
  CHECK_OK(kvstore_close(kv));
}

TEST(compare_and_swap, belongs_to_the_open_transaction) {
  KVStore *kv = open_store();
  put_text(kv, "k", "1");
  CHECK_OK(kvstore_begin(kv, 1));
  CHECK_INT(swap_text(kv, "k", "1", "2"), 1);
  CHECK_INT(swap_text(kv, "k", "1", "3"), 0);
  CHECK_INT(swap_text(kv, "k", "2", "3"), 1);
  CHECK_OK(kvstore_rollback(kv));
  check_text(kv, "k", "1");
  CHECK_OK(kvstore_close(kv));
}

/* ---- ranges ---- */

TEST(delete_range, takes_the_lower_bound_and_leaves_the_upper_one) {
  KVStore *kv = open_store();
  const char *names[] = { "a", "b", "ba", "bb", "c", "d" };
  for (int i = 0; i < 6; i++) put_text(kv, names[i], "v");
  CHECK_INT(delete_between(kv, "b", "c"), 3);
  CHECK_INT(delete_between(kv, "b", "c"), 0);
  CHECK_INT(delete_between(kv, "c", "c"), 0);
  check_text(kv, "a", "v");
  check_text(kv, "c", "v");
  CHECK_INT(delete_between(kv, "bz", NULL), 2);
  CHECK_INT(count_of(kv), 1);
  put_text(kv, "z", "v");
  CHECK_INT(delete_between(kv, NULL, "z"), 1);
  CHECK_INT(delete_between(kv, NULL, NULL), 1);
  CHECK_INT(count_of(kv), 0);
  int64_t deleted = 5;
  put_text(kv, "b", "v");
  CHECK_STATUS(kvstore_delete_range(kv, "c", 1, "b", 1, &deleted), KVSTORE_ERROR);
  CHECK_INT(deleted, 0);
  CHECK_STATUS(kvstore_delete_range(kv, "b", -1, "c", 1, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_delete_range(kv, NULL, 1, "c", 1, NULL), KVSTORE_ERROR);
  check_text(kv, "b", "v");
  CHECK_OK(kvstore_delete_range(kv, NULL, 0, NULL, 0, NULL));
  CHECK_INT(count_of(kv), 0);
  CHECK_OK(kvstore_close(kv));
}

TEST(delete_range, a_prefix_ends_where_its_keys_end) {
  KVStore *kv = open_store();
  int64_t deleted = -1;
  const char *names[] = { "user", "user:", "user:1", "user:1\xff", "user:2", "user;" };
  for (int i = 0; i < 6; i++) put_text(kv, names[i], "v");
  CHECK_OK(kvstore_put(kv, "\xff\xff", 2, "v", 1));
  CHECK_OK(kvstore_delete_prefix(kv, "user:", 5, &deleted));
  CHECK_INT(deleted, 4);
  check_text(kv, "user", "v");
  check_text(kv, "user;", "v");
  CHECK_OK(kvstore_delete_prefix(kv, "\xff", 1, &deleted));
  CHECK_INT(deleted, 1);
  CHECK_STATUS(kvstore_delete_prefix(kv, "", 0, &deleted), KVSTORE_ERROR);
  CHECK_INT(count_of(kv), 2);
  KVStoreStats stats;
  CHECK_OK(kvstore_stats(kv, &stats));
  CHECK_INT(stats.nDeletes, 5);
  CHECK_OK(kvstore_close(kv));
}

TEST(delete_range, expired_keys_go_and_are_not_counted) {
  KVStore *kv = open_store();
  put_text(kv, "a", "v");
  CHECK_OK(kvstore_put_ttl(kv, "b", 1, "v", 1, 1));
  CHECK_OK(kvstore_put_ttl(kv, "c", 1, "v", 1, kvstore_now_ms() + 100000));
  CHECK_INT(count_of(kv), 3);
  CHECK_INT(delete_between(kv, NULL, NULL), 2);
  CHECK_INT(count_of(kv), 0);
  CHECK_OK(kvstore_close(kv));
}

TEST(delete_range, goes_with_a_rollback_and_not_from_what_readers_hold) {
  KVStore *kv = open_store(), *reader = NULL;
  char keys[64];
  KVIterator *it = NULL;
  put_text(kv, "a", "v");
  put_text(kv, "b", "v");
  put_text(kv, "c", "v");
  CHECK_OK(kvstore_clone(kv, &reader));
  CHECK_OK(kvstore_begin(reader, 0));
  CHECK_OK(kvstore_begin(kv, 1));
  put_text(kv, "bb", "v");
  CHECK_INT(delete_between(kv, "b", "c"), 2);
  put_text(kv, "b", "again");
  CHECK_INT(delete_between(kv, "b", "c"), 1);
  CHECK_INT(count_of(kv), 2);
  CHECK_OK(kvstore_rollback(kv));
  CHECK_INT(count_of(kv), 3);
  CHECK_OK(kvstore_iterator_create_with(kv, NULL, &it));
  CHECK_INT(delete_between(kv, "b", NULL), 2);
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "a,b,c,");
  kvstore_iterator_close(it);
  CHECK_INT(count_of(reader), 3);
  check_text(reader, "b", "v");
  CHECK_OK(kvstore_commit(reader));
  CHECK_INT(count_of(reader), 1);
  CHECK_OK(kvstore_close(reader));
  CHECK_OK(kvstore_close(kv));
}

static KVStore *open_with_log(uint64_t log_bytes) {
  KVStore *kv = NULL;
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.log_bytes = log_bytes;
  options.background_off = 1;
  CHECK_OK(kvstore_open_with(path_of("store"), &kv, &options));
  return kv;
}

/* The tombstones of 30,000 keys are more than the whole log of 64 KiB. */
TEST(delete_range, may_be_larger_than_the_log) {
  enum { KEYS = 30000 };
  KVStore *kv = open_with_log(64 << 10);
  CHECK_OK(kvstore_begin(kv, 1));
  put_numbers(kv, "key", KEYS);
  CHECK_OK(kvstore_commit(kv));
  put_text(kv, "key00007", "newer"); /* in a delta, above its row in a run */
  put_text(kv, "other", "v");
  CHECK_OK(kvstore_begin(kv, 1));
  CHECK_INT(delete_between(kv, "key", "kez"), KEYS);
  CHECK_INT(count_of(kv), 1);
  put_text(kv, "key00003", "inside");
  CHECK_OK(kvstore_rollback(kv));
  CHECK_INT(count_of(kv), KEYS + 1);
  check_text(kv, "key00007", "newer");
  int64_t deleted = 0;
  CHECK_OK(kvstore_delete_prefix(kv, "key", 3, &deleted));
  CHECK_INT(deleted, KEYS);
  check_text(kv, "key00007", NULL);
  put_text(kv, "key00009", "after");
  CHECK_INT(count_of(kv), 2);
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  CHECK_OK(kvstore_close(kv));
  kv = open_with_log(64 << 10);
  CHECK_INT(count_of(kv), 2);
  check_text(kv, "key00009", "after");
  CHECK_OK(kvstore_maintain(kv));
  CHECK_INT(count_of(kv), 2);
  CHECK_OK(kvstore_close(kv));
}

/* ---- batches ---- */

static void batch_put(KVBatch *batch, KVColumnFamily *cf, const char *key, const char *value) {
  CHECK_OK(kvstore_batch_put(batch, cf, key, (int)strlen(key), value, (int)strlen(value)));
}

static void cf_check(KVColumnFamily *cf, const char *key, const char *value) {
  void *data = NULL;
  int length = 0;
  CHECK_STATUS(kvstore_cf_get(cf, key, (int)strlen(key), &data, &length), value ? KVSTORE_OK : KVSTORE_NOTFOUND);
  if (value) CHECK_BYTES(data, value, strlen(value));
  kvstore_free(data);
}

TEST(batch, changes_of_several_families_are_one_commit_in_their_order) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = NULL;
  KVBatch *batch = NULL;
  KVStoreStats stats;
  int64_t deleted = -1, left = 0;
  CHECK_OK(kvstore_cf_create(kv, "f", &cf));
  put_text(kv, "a", "1");
  put_text(kv, "r1", "v");
  put_text(kv, "r2", "v");
  CHECK_OK(kvstore_batch_create(kv, &batch));
  CHECK_INT(kvstore_batch_count(batch), 0);
  CHECK_OK(kvstore_batch_write(batch, NULL)); /* empty */
  batch_put(batch, NULL, "b", "2");
  batch_put(batch, cf, "b", "3");
  CHECK_OK(kvstore_batch_put_ttl(batch, cf, "t", 1, "v", 1, kvstore_now_ms() + 100000));
  CHECK_OK(kvstore_batch_delete(batch, NULL, "a", 1));
  CHECK_OK(kvstore_batch_delete(batch, NULL, "none", 4));
  CHECK_OK(kvstore_batch_delete_range(batch, NULL, "r", 1, "s", 1));
  batch_put(batch, NULL, "r2", "after");
  CHECK_INT(kvstore_batch_count(batch), 7);
  CHECK_OK(kvstore_stats_reset(kv));
  check_text(kv, "b", NULL); /* nothing yet */
  CHECK_OK(kvstore_batch_write(batch, &deleted));
  CHECK_INT(deleted, 3);
  CHECK_OK(kvstore_stats(kv, &stats));
  CHECK_INT(stats.nWalCommits, 1);
  CHECK_INT(stats.nPuts, 4);
  CHECK_INT(stats.nDeletes, 3);
  CHECK_INT(stats.nBytesWritten, 2 + 2 + 2 + 7);
  check_text(kv, "a", NULL);
  check_text(kv, "b", "2");
  check_text(kv, "r1", NULL);
  check_text(kv, "r2", "after");
  cf_check(cf, "b", "3");
  CHECK_OK(kvstore_cf_ttl_remaining(cf, "t", 1, &left));
  CHECK(left > 90000);
  CHECK_OK(kvstore_batch_clear(batch)); /* used again, for something else */
  CHECK_INT(kvstore_batch_count(batch), 0);
  batch_put(batch, NULL, "c", "4");
  CHECK_OK(kvstore_batch_write(batch, &deleted));
  CHECK_INT(deleted, 0);
  CHECK_OK(kvstore_delete(kv, "c", 1));
  CHECK_OK(kvstore_batch_write(batch, NULL)); /* and as it is */
  check_text(kv, "c", "4");
  check_text(kv, "r1", NULL);
  kvstore_batch_close(batch);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(batch, bad_changes_are_refused_when_they_are_added) {
  KVStore *kv = open_store(), *other = NULL;
  KVColumnFamily *foreign = NULL;
  KVBatch *batch = NULL;
  static char long_key[KVSTORE_KEY_BYTES_MAX + 1];
  memset(long_key, 'k', sizeof long_key);
  CHECK_OK(kvstore_clone(kv, &other));
  CHECK_OK(kvstore_cf_create(other, "f", &foreign));
  CHECK_OK(kvstore_batch_create(kv, &batch));
  batch_put(batch, NULL, "good", "v");
  CHECK_STATUS(kvstore_batch_put(batch, NULL, "", 0, "v", 1), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_batch_put(batch, NULL, long_key, sizeof long_key, "v", 1), KVSTORE_ERROR);
  CHECK(strstr(kvstore_errmsg(kv), "65537"));
  CHECK_STATUS(kvstore_batch_put(batch, NULL, "k", 1, "v", KVSTORE_VALUE_BYTES_DEFAULT + 1), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_batch_put(batch, NULL, "k", 1, NULL, 1), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_batch_put_ttl(batch, NULL, "k", 1, "v", 1, -1), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_batch_put(batch, foreign, "k", 1, "v", 1), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_batch_delete(batch, NULL, NULL, 0), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_batch_delete_range(batch, NULL, "b", 1, "a", 1), KVSTORE_ERROR);
  CHECK_INT(kvstore_batch_count(batch), 1);
  CHECK_OK(kvstore_batch_write(batch, NULL));
  CHECK_INT(count_of(kv), 1);
  kvstore_batch_close(batch);
  CHECK_STATUS(kvstore_batch_create(NULL, &batch), KVSTORE_ERROR);
  CHECK(batch == NULL);
  CHECK_STATUS(kvstore_batch_put(NULL, NULL, "k", 1, "v", 1), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_batch_write(NULL, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_batch_clear(NULL), KVSTORE_ERROR);
  CHECK_INT(kvstore_batch_count(NULL), 0);
  kvstore_batch_close(NULL);
  kvstore_cf_close(foreign);
  CHECK_OK(kvstore_close(other));
  CHECK_OK(kvstore_close(kv));
}

TEST(batch, is_a_statement_of_the_open_transaction_and_all_or_nothing) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = NULL, *born = NULL;
  KVBatch *batch = NULL, *late = NULL;
  CHECK_OK(kvstore_cf_create(kv, "f", &cf));
  CHECK_OK(kvstore_batch_create(kv, &batch));
  CHECK_OK(kvstore_batch_create(kv, &late));
  batch_put(batch, NULL, "a", "1");
  batch_put(batch, cf, "a", "1");
  CHECK_OK(kvstore_begin(kv, 1));
  CHECK_OK(kvstore_batch_write(batch, NULL));
  check_text(kv, "a", "1");
  CHECK_OK(kvstore_cf_create(kv, "born", &born));
  batch_put(late, born, "k", "v");
  CHECK_OK(kvstore_rollback(kv));
  check_text(kv, "a", NULL);
  CHECK_STATUS(kvstore_batch_write(late, NULL), KVSTORE_NOTFOUND); /* its family went with the rollback */
  CHECK_OK(kvstore_cf_drop(kv, "f"));
  CHECK_STATUS(kvstore_batch_write(batch, NULL), KVSTORE_NOTFOUND);
  check_text(kv, "a", NULL); /* the change before it went, too */
  kvstore_batch_close(late);
  kvstore_cf_close(born);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
  CHECK_STATUS(kvstore_batch_write(batch, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_batch_put(batch, NULL, "a", 1, "v", 1), KVSTORE_ERROR);
  kvstore_batch_close(batch);
}

TEST(batch, may_be_larger_than_the_log) {
  enum { KEYS = 5000 };
  KVStore *kv = open_with_log(64 << 10);
  KVBatch *batch = NULL;
  char key[32];
  int64_t deleted = 0;
  CHECK_OK(kvstore_batch_create(kv, &batch));
  for (int i = 0; i < KEYS; i++) {
    (void)snprintf(key, sizeof key, "key%05d", i);
    batch_put(batch, NULL, key, "a value of some length");
    if (i % 2) CHECK_OK(kvstore_batch_delete(batch, NULL, key, (int)strlen(key)));
  }
  CHECK_OK(kvstore_batch_write(batch, &deleted));
  CHECK_INT(deleted, KEYS / 2);
  CHECK_INT(count_of(kv), KEYS / 2);
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  kvstore_batch_close(batch);
  CHECK_OK(kvstore_close(kv));
}
