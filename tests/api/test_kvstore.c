/* The key-value contract, sentence by sentence; in comments the words of the reference. */
#include <sys/stat.h>

#include "tests/api/api_support.h"

/* ---- opening and closing ---- */

TEST(kvstore, the_constants_have_the_values_of_the_reference) {
  CHECK_INT(KVSTORE_OK, 0);
  CHECK_INT(KVSTORE_ERROR, 1);
  CHECK_INT(KVSTORE_BUSY, 5);
  CHECK_INT(KVSTORE_LOCKED, 6);
  CHECK_INT(KVSTORE_NOMEM, 7);
  CHECK_INT(KVSTORE_READONLY, 8);
  CHECK_INT(KVSTORE_CORRUPT, 11);
  CHECK_INT(KVSTORE_NOTFOUND, 12);
  CHECK_INT(KVSTORE_AUTH_FAILED, 13);
  CHECK_INT(KVSTORE_PROTOCOL, 15);
  CHECK_INT(KVSTORE_JOURNAL_DELETE, 0);
  CHECK_INT(KVSTORE_JOURNAL_WAL, 1);
  CHECK_INT(KVSTORE_SYNC_OFF, 0);
  CHECK_INT(KVSTORE_SYNC_NORMAL, 1);
  CHECK_INT(KVSTORE_SYNC_FULL, 2);
  CHECK_INT(KVSTORE_CHECKPOINT_TRUNCATE, 3);
  CHECK_INT(KVSTORE_MAX_COLUMN_FAMILIES, 64);
  CHECK_INT(KVSTORE_NO_TTL, -1);
}

/* "Pass NULL for pConfig to use all defaults." "kvstore_open: all other fields use defaults." */
TEST(kvstore, every_way_of_opening_gives_the_same_store) {
  KVStore *kv = NULL;
  const char *path = path_of("store");
  CHECK_OK(kvstore_open_v2(path, &kv, NULL));
  put_text(kv, "hello", "world");
  CHECK_OK(kvstore_close(kv));
  CHECK_OK(kvstore_open(path, &kv, KVSTORE_JOURNAL_WAL));
  check_text(kv, "hello", "world");
  CHECK_OK(kvstore_close(kv));
  CHECK_OK(kvstore_open(path, &kv, KVSTORE_JOURNAL_DELETE));
  check_text(kv, "hello", "world");
  CHECK_OK(kvstore_close(kv));
  CHECK_OK(kvstore_open_with(path, &kv, NULL));
  check_text(kv, "hello", "world");
  CHECK_OK(kvstore_close(kv));
  KVStoreConfig zeroed = { 0 }; /* DELETE and OFF, taken literally */
  CHECK_OK(kvstore_open_v2(path, &kv, &zeroed));
  check_text(kv, "hello", "world");
  put_text(kv, "hello", "again");
  CHECK_OK(kvstore_close(kv));
  KVStoreConfig config = KVSTORE_CONFIG_DEFAULT;
  config.syncLevel = KVSTORE_SYNC_FULL;
  config.cacheSize = 4000;
  config.busyTimeout = 5000;
  CHECK_OK(kvstore_open_v2(path, &kv, &config));
  check_text(kv, "hello", "again");
  CHECK_OK(kvstore_close(kv));
}

/* "path to file; NULL = in-memory" */
TEST(kvstore, a_path_of_null_is_a_store_in_memory) {
  KVStore *kv = NULL, *other = NULL, *alone = NULL;
  CHECK_OK(kvstore_open(NULL, &kv, KVSTORE_JOURNAL_WAL));
  put_text(kv, "a", "1");
  CHECK_OK(kvstore_clone(kv, &other));
  CHECK_OK(kvstore_open(NULL, &alone, KVSTORE_JOURNAL_WAL));
  check_text(other, "a", "1");
  check_text(alone, "a", NULL);
  CHECK_OK(kvstore_close(kv));
  check_text(other, "a", "1");
  CHECK_OK(kvstore_close(other));
  CHECK_OK(kvstore_close(alone));
}

TEST(kvstore, the_log_and_the_page_lie_beside_the_file_until_the_last_close) {
  KVStore *kv = open_store(), *second = NULL;
  put_text(kv, "a", "1");
  CHECK(file_exists(path_of("store-wal")));
  CHECK(file_exists(path_of("store-shm")));
  CHECK(file_size(path_of("store-wal")) > 0);
  CHECK_OK(kvstore_open(path_of("store"), &second, KVSTORE_JOURNAL_WAL));
  CHECK_OK(kvstore_close(kv));
  CHECK(file_exists(path_of("store-wal")));
  CHECK_OK(kvstore_close(second));
  CHECK(!file_exists(path_of("store-wal")));
  CHECK(!file_exists(path_of("store-shm")));
}

TEST(kvstore, a_closed_file_may_be_renamed_and_deleting_it_resets_the_store) {
  KVStore *kv = open_store();
  put_text(kv, "a", "1");
  CHECK_OK(kvstore_close(kv));
  CHECK_INT(rename(path_of("store"), path_of("moved")), 0);
  CHECK_OK(kvstore_open(path_of("moved"), &kv, KVSTORE_JOURNAL_WAL));
  check_text(kv, "a", "1");
  CHECK_OK(kvstore_close(kv));
  CHECK_INT(remove(path_of("moved")), 0);
  CHECK_OK(kvstore_open(path_of("moved"), &kv, KVSTORE_JOURNAL_WAL));
  check_text(kv, "a", NULL);
  CHECK_INT(count_of(kv), 0);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvstore, a_missing_file_opened_for_reading_is_an_error_and_creates_nothing) {
  KVStore *kv = (KVStore *)1;
  KVStoreConfig config = KVSTORE_CONFIG_DEFAULT;
  config.readOnly = 1;
  CHECK_STATUS(kvstore_open_v2(path_of("store"), &kv, &config), KVSTORE_NOTFOUND);
  CHECK(kv == NULL);
  CHECK(strcmp(kvstore_errmsg(NULL), "no error") != 0);
  CHECK(!file_exists(path_of("store")));
  CHECK(!file_exists(path_of("store-wal")));
}

TEST(kvstore, garbage_and_a_directory_are_refused_and_left_as_they_are) {
  char garbage[512], after[512];
  KVStore *kv = NULL;
  for (size_t i = 0; i < sizeof garbage; i++) garbage[i] = (char)(i * 37 + 11);
  FILE *f = fopen(path_of("garbage"), "wb");
  CHECK(f && fwrite(garbage, 1, sizeof garbage, f) == sizeof garbage && fclose(f) == 0);
  CHECK_STATUS(kvstore_open(path_of("garbage"), &kv, KVSTORE_JOURNAL_WAL), KVSTORE_CORRUPT);
  CHECK(kv == NULL);
  f = fopen(path_of("garbage"), "rb");
  CHECK(f && fread(after, 1, sizeof after, f) == sizeof after && fgetc(f) == EOF && fclose(f) == 0);
  CHECK_BYTES(after, garbage, sizeof garbage);
  CHECK_STATUS(kvstore_open(test_directory(), &kv, KVSTORE_JOURNAL_WAL), KVSTORE_ERROR);
  CHECK(kv == NULL);
}

/* "Any uncommitted transaction is rolled back." */
TEST(kvstore, a_close_rolls_back_what_is_open) {
  KVStore *kv = open_store();
  put_text(kv, "a", "1");
  CHECK_OK(kvstore_begin(kv, 1));
  put_text(kv, "a", "2");
  put_text(kv, "b", "2");
  CHECK_OK(kvstore_close(kv));
  kv = open_store();
  check_text(kv, "a", "1");
  check_text(kv, "b", NULL);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvstore, a_reader_reads_and_its_writes_are_exactly_readonly) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = NULL;
  put_text(kv, "a", "1");
  CHECK_OK(kvstore_close(kv));
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.read_only = 1;
  CHECK_OK(kvstore_open_with(path_of("store"), &kv, &options));
  check_text(kv, "a", "1");
  CHECK_STATUS(kvstore_put(kv, "a", 1, "2", 1), KVSTORE_READONLY);
  CHECK_STATUS(kvstore_delete(kv, "a", 1), KVSTORE_READONLY);
  CHECK_STATUS(kvstore_begin(kv, 1), KVSTORE_READONLY);
  CHECK_STATUS(kvstore_cf_create(kv, "f", &cf), KVSTORE_READONLY);
  CHECK_OK(kvstore_begin(kv, 0));
  check_text(kv, "a", "1");
  CHECK_OK(kvstore_commit(kv));
  CHECK_OK(kvstore_close(kv));
}

/* ---- keys and values ---- */

/* "If the key already exists, its value is replaced. Keys and values are binary-safe." */
TEST(kvstore, keys_and_values_are_any_bytes) {
  KVStore *kv = open_store();
  const char key[] = { 0, 'a', 0, (char)255 }, value[] = { (char)254, 0, 0, 'x', 0 };
  void *data = NULL;
  int length = 0, there = -1;
  CHECK_OK(kvstore_put(kv, key, 4, "old", 3));
  CHECK_OK(kvstore_put(kv, key, 4, value, 5));
  CHECK_OK(kvstore_get(kv, key, 4, &data, &length));
  CHECK_INT(length, 5);
  CHECK_BYTES(data, value, 5);
  snkv_free(data);
  CHECK_OK(kvstore_exists(kv, key, 3, &there));
  CHECK_INT(there, 0);
  CHECK_OK(kvstore_exists(kv, key, 4, &there));
  CHECK_INT(there, 1);
  CHECK_OK(kvstore_close(kv));
}

/* "Returns KVSTORE_NOTFOUND if the key did not exist." */
TEST(kvstore, a_delete_says_whether_there_was_a_key) {
  KVStore *kv = open_store();
  CHECK_STATUS(kvstore_delete(kv, "a", 1), KVSTORE_NOTFOUND);
  put_text(kv, "a", "1");
  CHECK_OK(kvstore_delete(kv, "a", 1));
  CHECK_STATUS(kvstore_delete(kv, "a", 1), KVSTORE_NOTFOUND);
  check_text(kv, "a", NULL);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvstore, an_empty_value_is_ok_null_and_zero) {
  KVStore *kv = open_store();
  void *data = (void *)1;
  int length = 9, there = 0;
  CHECK_OK(kvstore_put(kv, "empty", 5, NULL, 0));
  CHECK_OK(kvstore_get(kv, "empty", 5, &data, &length));
  CHECK(data == NULL);
  CHECK_INT(length, 0);
  CHECK_OK(kvstore_exists(kv, "empty", 5, &there));
  CHECK_INT(there, 1);
  CHECK_OK(kvstore_put(kv, "empty", 5, "", 0));
  check_text(kv, "empty", "");
  CHECK_OK(kvstore_close(kv));
  kv = open_store();
  check_text(kv, "empty", "");
  CHECK_OK(kvstore_close(kv));
}

/* ---- expiry ---- */

/* "KVSTORE_NO_TTL (-1): key exists, no expiry"; "0 = no TTL" */
TEST(kvstore, a_remaining_time_is_never_some_or_none) {
  KVStore *kv = open_store();
  void *data = NULL;
  int length = 0;
  int64_t left = 5, now = kvstore_now_ms();
  put_text(kv, "always", "1");
  CHECK_OK(kvstore_put_ttl(kv, "zero", 4, "1", 1, 0));
  CHECK_OK(kvstore_put_ttl(kv, "hour", 4, "1", 1, now + 3600000));
  CHECK_OK(kvstore_ttl_remaining(kv, "always", 6, &left));
  CHECK_INT(left, KVSTORE_NO_TTL);
  CHECK_OK(kvstore_ttl_remaining(kv, "zero", 4, &left));
  CHECK_INT(left, KVSTORE_NO_TTL);
  CHECK_OK(kvstore_ttl_remaining(kv, "hour", 4, &left));
  CHECK(left > 3500000 && left <= 3600000);
  CHECK_STATUS(kvstore_ttl_remaining(kv, "none", 4, &left), KVSTORE_NOTFOUND);
  CHECK_OK(kvstore_get_ttl(kv, "hour", 4, &data, &length, &left));
  CHECK(length == 1 && left > 3500000);
  sqliteFree(data);
  CHECK_OK(kvstore_get_ttl(kv, "hour", 4, &data, &length, NULL));
  sqliteFree(data);
  put_text(kv, "hour", "2"); /* a plain put takes the TTL away */
  CHECK_OK(kvstore_ttl_remaining(kv, "hour", 4, &left));
  CHECK_INT(left, KVSTORE_NO_TTL);
  CHECK_OK(kvstore_close(kv));
}

/* "Key just expired (lazy delete performed)": OK and 0. */
TEST(kvstore, an_expired_key_is_gone_and_says_zero_once) {
  KVStore *kv = open_store();
  KVStoreStats stats;
  int64_t left = 5;
  int there = 1;
  CHECK_OK(kvstore_put_ttl(kv, "a", 1, "1", 1, kvstore_now_ms() - 1));
  CHECK_OK(kvstore_put_ttl(kv, "b", 1, "1", 1, 1));
  CHECK_OK(kvstore_put_ttl(kv, "c", 1, "1", 1, 1));
  CHECK_INT(count_of(kv), 3); /* until they are touched or purged */
  CHECK_OK(kvstore_ttl_remaining(kv, "a", 1, &left));
  CHECK_INT(left, 0);
  check_text(kv, "b", NULL);
  CHECK_OK(kvstore_exists(kv, "c", 1, &there));
  CHECK_INT(there, 0);
  CHECK_OK(kvstore_stats(kv, &stats));
  CHECK_INT(stats.nTtlExpired, 3);
  CHECK_INT(stats.nErrors, 0);
  CHECK_INT(count_of(kv), 0);
  CHECK_STATUS(kvstore_delete(kv, "a", 1), KVSTORE_NOTFOUND);
  CHECK_OK(kvstore_close(kv));
}

/* "Scan the expiry index and delete all expired keys in one write transaction. pnDeleted may be NULL" */
TEST(kvstore, a_purge_takes_the_expired_and_says_how_many) {
  KVStore *kv = open_store();
  KVStoreStats stats;
  int purged = -1;
  char key[16];
  for (int i = 0; i < 100; i++) {
    int length = snprintf(key, sizeof key, "k%02d", i);
    CHECK_OK(kvstore_put_ttl(kv, key, length, "v", 1, i % 4 == 0 ? 1 : i % 4 == 1 ? kvstore_now_ms() + 1000000 : 0));
  }
  CHECK_INT(count_of(kv), 100);
  CHECK_OK(kvstore_purge_expired(kv, &purged));
  CHECK_INT(purged, 25);
  CHECK_INT(count_of(kv), 75);
  CHECK_OK(kvstore_purge_expired(kv, NULL));
  CHECK_OK(kvstore_purge_expired(kv, &purged));
  CHECK_INT(purged, 0);
  CHECK_OK(kvstore_stats(kv, &stats));
  CHECK_INT(stats.nTtlPurged, 25);
  CHECK_OK(kvstore_close(kv));
}

/* "1=inserted, 0=already existed"; "Expired keys (lazy TTL) are treated as absent." */
TEST(kvstore, put_if_absent_inserts_only_what_is_absent_or_expired) {
  KVStore *kv = open_store();
  KVStoreStats stats;
  int inserted = -1;
  CHECK_OK(kvstore_put_if_absent(kv, "lock", 4, "owner", 5, 0, &inserted));
  CHECK_INT(inserted, 1);
  CHECK_OK(kvstore_put_if_absent(kv, "lock", 4, "thief", 5, 0, &inserted));
  CHECK_INT(inserted, 0);
  check_text(kv, "lock", "owner");
  CHECK_OK(kvstore_put_ttl(kv, "old", 3, "1", 1, 1));
  CHECK_OK(kvstore_put_if_absent(kv, "old", 3, "2", 1, kvstore_now_ms() + 60000, NULL));
  check_text(kv, "old", "2");
  CHECK_OK(kvstore_stats(kv, &stats));
  CHECK_INT(stats.nPuts, 3); /* lock, old, old again */
  CHECK_OK(kvstore_close(kv));
}

/* ---- transactions ---- */

/* "begin: 1=write, 0=read"; everything inside sees its own writes */
TEST(kvstore, a_transaction_sees_its_own_writes_and_others_do_not) {
  KVStore *kv = open_store(), *other = NULL;
  int inserted = -1, there = -1;
  CHECK_OK(kvstore_clone(kv, &other));
  put_text(kv, "a", "1");
  CHECK_OK(kvstore_begin(kv, 1));
  put_text(kv, "b", "2");
  CHECK_OK(kvstore_delete(kv, "a", 1));
  check_text(kv, "b", "2");
  check_text(kv, "a", NULL);
  CHECK_STATUS(kvstore_delete(kv, "a", 1), KVSTORE_NOTFOUND);
  CHECK_OK(kvstore_exists(kv, "b", 1, &there));
  CHECK_INT(there, 1);
  CHECK_OK(kvstore_put_if_absent(kv, "b", 1, "3", 1, 0, &inserted));
  CHECK_INT(inserted, 0);
  CHECK_INT(count_of(kv), 1);
  check_text(other, "a", "1");
  check_text(other, "b", NULL);
  CHECK_INT(count_of(other), 1);
  CHECK_OK(kvstore_commit(kv));
  check_text(other, "a", NULL);
  check_text(other, "b", "2");
  CHECK_OK(kvstore_close(kv));
  CHECK_OK(kvstore_close(other));
}

TEST(kvstore, a_rollback_takes_everything_back_and_iterators_made_inside_end) {
  KVStore *kv = open_store();
  KVIterator *it = NULL;
  put_text(kv, "a", "1");
  CHECK_OK(kvstore_begin(kv, 1));
  put_text(kv, "a", "2");
  put_text(kv, "b", "2");
  CHECK_OK(kvstore_iterator_create(kv, &it));
  CHECK_OK(kvstore_iterator_first(it));
  CHECK(!kvstore_iterator_eof(it));
  CHECK_OK(kvstore_rollback(kv));
  CHECK_STATUS(kvstore_iterator_next(it), KVSTORE_ERROR);
  kvstore_iterator_close(it);
  check_text(kv, "a", "1");
  check_text(kv, "b", NULL);
  CHECK_INT(count_of(kv), 1);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvstore, a_second_begin_is_an_error_and_an_end_without_a_begin_is_harmless) {
  KVStore *kv = open_store();
  CHECK_OK(kvstore_commit(kv));
  CHECK_OK(kvstore_rollback(kv));
  CHECK_OK(kvstore_begin(kv, 1));
  put_text(kv, "a", "1");
  CHECK_STATUS(kvstore_begin(kv, 1), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_begin(kv, 0), KVSTORE_ERROR);
  check_text(kv, "a", "1");
  CHECK_OK(kvstore_rollback(kv));
  check_text(kv, "a", NULL);
  put_text(kv, "b", "1");
  CHECK_OK(kvstore_close(kv));
}

TEST(kvstore, a_reading_transaction_freezes_what_is_seen_and_writes_nothing) {
  KVStore *kv = open_store(), *other = NULL;
  CHECK_OK(kvstore_clone(kv, &other));
  put_text(kv, "a", "1");
  CHECK_OK(kvstore_begin(kv, 0));
  put_text(other, "a", "2");
  put_text(other, "b", "2");
  check_text(kv, "a", "1");
  check_text(kv, "b", NULL);
  CHECK_INT(count_of(kv), 1);
  CHECK_STATUS(kvstore_put(kv, "c", 1, "3", 1), KVSTORE_ERROR);
  CHECK_OK(kvstore_commit(kv));
  check_text(kv, "a", "2");
  check_text(kv, "b", "2");
  CHECK_OK(kvstore_close(kv));
  CHECK_OK(kvstore_close(other));
}

TEST(kvstore, two_handles_read_then_write_and_lose_no_row) {
  KVStore *one = open_store(), *two = open_store();
  char key[32];
  for (int i = 0; i < 200; i++) {
    KVStore *writer = i % 2 ? one : two;
    check_text(writer, "shared", i ? (i % 2 ? "two" : "one") : NULL);
    put_text(writer, "shared", i % 2 ? "one" : "two");
    (void)snprintf(key, sizeof key, "row%d", i);
    put_text(writer, key, "x");
  }
  CHECK_INT(count_of(one), 201);
  CHECK_INT(count_of(two), 201);
  CHECK_OK(kvstore_close(one));
  CHECK_OK(kvstore_close(two));
}

/* "KVSTORE_BUSY: another handle's write gets BUSY, its reads go on" */
TEST(kvstore, a_second_writer_is_busy_while_readers_go_on) {
  KVStore *kv = open_store(), *other = open_store();
  put_text(kv, "a", "1");
  CHECK_OK(kvstore_begin(kv, 1));
  put_text(kv, "a", "2");
  CHECK_STATUS(kvstore_put(other, "b", 1, "1", 1), KVSTORE_BUSY);
  CHECK_STATUS(kvstore_begin(other, 1), KVSTORE_BUSY);
  check_text(other, "a", "1");
  CHECK_OK(kvstore_begin(other, 0));
  check_text(other, "a", "1");
  CHECK_OK(kvstore_commit(other));
  CHECK_OK(kvstore_commit(kv));
  put_text(other, "b", "1");
  CHECK_OK(kvstore_close(kv));
  CHECK_OK(kvstore_close(other));
}

TEST(kvstore, a_checkpoint_inside_its_own_write_transaction_is_busy) {
  KVStore *kv = open_store();
  int log = -1, settled = -1;
  put_text(kv, "a", "1");
  CHECK_OK(kvstore_begin(kv, 1));
  CHECK_STATUS(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, &log, &settled), KVSTORE_BUSY);
  CHECK_OK(kvstore_rollback(kv));
  for (int mode = KVSTORE_CHECKPOINT_PASSIVE; mode <= KVSTORE_CHECKPOINT_TRUNCATE; mode++) {
    put_text(kv, "b", "1");
    CHECK_OK(kvstore_checkpoint(kv, mode, &log, &settled));
    CHECK_INT(settled, log);
    CHECK_INT(log > 0, mode != KVSTORE_CHECKPOINT_TRUNCATE); /* of a log that was cut nothing is left */
  }
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_PASSIVE, NULL, NULL));
  CHECK_STATUS(kvstore_checkpoint(kv, 4, NULL, NULL), KVSTORE_ERROR);
  check_text(kv, "a", "1");
  check_text(kv, "b", "1");
  CHECK_OK(kvstore_close(kv));
}

TEST(kvstore, a_passive_checkpoint_waits_for_no_writer) {
  KVStore *kv = open_store(), *other = open_store();
  put_text(kv, "a", "1");
  CHECK_OK(kvstore_begin(kv, 1));
  put_text(kv, "b", "1");
  CHECK_OK(kvstore_checkpoint(other, KVSTORE_CHECKPOINT_PASSIVE, NULL, NULL));
  CHECK_STATUS(kvstore_checkpoint(other, KVSTORE_CHECKPOINT_FULL, NULL, NULL), KVSTORE_BUSY);
  CHECK_OK(kvstore_commit(kv));
  CHECK_OK(kvstore_checkpoint(other, KVSTORE_CHECKPOINT_PASSIVE, NULL, NULL));
  CHECK_INT(count_of(other), 2);
  CHECK_OK(kvstore_close(kv));
  CHECK_OK(kvstore_close(other));
}

static long long size_of_log(void) {
  struct stat st;
  CHECK_INT(stat(path_of("store-wal"), &st), 0);
  return (long long)st.st_size;
}

/* "Like RESTART, then truncate WAL file to zero." */
TEST(kvstore, a_truncating_checkpoint_leaves_a_log_of_no_bytes) {
  KVStore *kv = open_store(), *other = open_store();
  for (int round = 0; round < 3; round++) {
    put_text(kv, "a", round & 1 ? "odd" : "even");
    CHECK(size_of_log() > 0);
    CHECK_OK(kvstore_begin(other, 0)); /* a reader is in nobody's way */
    CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_TRUNCATE, NULL, NULL));
    CHECK_INT(size_of_log(), 0);
    CHECK_OK(kvstore_checkpoint(other, KVSTORE_CHECKPOINT_TRUNCATE, NULL, NULL));
    check_text(other, "a", round & 1 ? "odd" : "even");
    CHECK_OK(kvstore_commit(other));
    check_text(kv, "a", round & 1 ? "odd" : "even");
  }
  CHECK_OK(kvstore_begin(kv, 1));
  CHECK_STATUS(kvstore_checkpoint(other, KVSTORE_CHECKPOINT_TRUNCATE, NULL, NULL), KVSTORE_BUSY);
  CHECK_OK(kvstore_rollback(kv));
  CHECK_OK(kvstore_close(kv));
  CHECK_OK(kvstore_close(other));
}

TEST(kvstore, a_checkpoint_settles_what_the_log_holds) {
  KVStore *kv = open_store();
  KVStoreInfo info = KVSTORE_INFO_INIT;
  for (int i = 0; i < 1000; i++) put_text(kv, "a", "1");
  CHECK_OK(kvstore_info(kv, &info));
  CHECK(info.log_bytes_used > 4096);
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_TRUNCATE, NULL, NULL));
  CHECK_OK(kvstore_info(kv, &info));
  CHECK(info.log_bytes_used < 4096);
  put_text(kv, "b", "2");
  check_text(kv, "a", "1");
  check_text(kv, "b", "2");
  CHECK_OK(kvstore_close(kv));
}

static uint64_t pages_of_file(KVStore *kv) {
  KVStoreStats stats;
  struct stat st;
  CHECK_OK(kvstore_stats(kv, &stats));
  CHECK_INT(stat(path_of("store"), &st), 0);
  CHECK_INT(stats.nDbPages * 4096, st.st_size);
  return stats.nDbPages;
}

/* "Reclaim unused pages and shrink the database file. Pass 0 to free all unused pages, or a positive nPage to limit
 * work per call." */
TEST(kvstore, an_incremental_vacuum_shrinks_the_file_after_deletes) {
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  KVStore *kv = open_store();
  char key[16];
  static char value[500];
  memset(value, 'v', sizeof value);
  CHECK_OK(kvstore_begin(kv, 1));
  for (int i = 0; i < 4000; i++)
    CHECK_OK(kvstore_put(kv, key, snprintf(key, sizeof key, "k%06d", i), value, sizeof value));
  CHECK_OK(kvstore_commit(kv));
  CHECK_OK(kvstore_close(kv));
  options.background_off = 1; /* the file's length is looked at between calls: nobody else changes it */
  CHECK_OK(kvstore_open_with(path_of("store"), &kv, &options));
  for (int i = 0; i < 4000; i++)
    if (i % 8) CHECK_OK(kvstore_delete(kv, key, snprintf(key, sizeof key, "k%06d", i)));
  uint64_t before = pages_of_file(kv);
  CHECK_OK(kvstore_incremental_vacuum(kv, 10));
  uint64_t between = pages_of_file(kv);
  CHECK_INT(between, before - 10);
  CHECK_OK(kvstore_incremental_vacuum(kv, 0));
  CHECK(pages_of_file(kv) < between);
  CHECK(pages_of_file(kv) < 500 * 600 / 4096 + 16);
  CHECK_INT(count_of(kv), 500);
  CHECK_STATUS(kvstore_incremental_vacuum(kv, -1), KVSTORE_ERROR);
  CHECK_OK(kvstore_begin(kv, 1));
  CHECK_STATUS(kvstore_incremental_vacuum(kv, 0), KVSTORE_BUSY);
  CHECK_OK(kvstore_rollback(kv));
  CHECK_OK(kvstore_close(kv));
}

TEST(kvstore, a_close_does_not_compact) {
  KVStore *kv = open_store();
  char key[16];
  static char value[500];
  memset(value, 'v', sizeof value);
  for (int i = 0; i < 1000; i++)
    CHECK_OK(kvstore_put(kv, key, snprintf(key, sizeof key, "k%06d", i), value, sizeof value));
  CHECK_OK(kvstore_close(kv));
  kv = open_store();
  for (int i = 0; i < 900; i++) CHECK_OK(kvstore_delete(kv, key, snprintf(key, sizeof key, "k%06d", i)));
  CHECK_OK(kvstore_close(kv));
  kv = open_store();
  uint64_t closed = pages_of_file(kv);
  CHECK(closed > 1000 * 500 / 4096);
  CHECK_OK(kvstore_incremental_vacuum(kv, 0));
  CHECK(pages_of_file(kv) < closed / 2);
  CHECK_OK(kvstore_close(kv));
}

static int count_calls(void *context, uint64_t done, uint64_t total) {
  CHECK(done <= total);
  return ++*(int *)context < 0;
}

TEST(kvstore, a_backup_is_a_store_of_its_own) {
  KVStore *kv = open_store(), *copy = NULL;
  int calls = 0;
  put_text(kv, "a", "1");
  CHECK_OK(kvstore_backup(kv, path_of("copy")));
  put_text(kv, "a", "2");
  CHECK_OK(kvstore_open_v2(path_of("copy"), &copy, NULL));
  check_text(copy, "a", "1");
  put_text(copy, "b", "1");
  CHECK_OK(kvstore_close(copy));
  CHECK_OK(kvstore_backup_with(kv, path_of("copy"), count_calls, &calls));
  CHECK(calls > 0);
  CHECK_OK(kvstore_open_v2(path_of("copy"), &copy, NULL));
  check_text(copy, "a", "2");
  CHECK_INT(count_of(copy), 1);
  CHECK_OK(kvstore_close(copy));
  CHECK_STATUS(kvstore_backup(kv, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_backup(kv, path_of("store")), KVSTORE_ERROR);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvstore, a_sync_inside_a_transaction_does_not_commit_it) {
  KVStore *kv = open_store();
  put_text(kv, "a", "1");
  CHECK_OK(kvstore_begin(kv, 1));
  put_text(kv, "a", "2");
  CHECK_OK(kvstore_sync(kv));
  CHECK_OK(kvstore_rollback(kv));
  check_text(kv, "a", "1");
  CHECK_OK(kvstore_sync(kv));
  CHECK_OK(kvstore_close(kv));
}

/* ---- the whole family, and care ---- */

TEST(kvstore, a_clear_removes_every_key_and_what_is_put_after_stays) {
  KVStore *kv = open_store();
  for (const char *c = "abcdefghijklmnopqrstuvwxyz"; *c; c++) CHECK_OK(kvstore_put(kv, c, 1, "v", 1));
  CHECK_INT(count_of(kv), 26);
  CHECK_OK(kvstore_clear(kv));
  CHECK_INT(count_of(kv), 0);
  check_text(kv, "a", NULL);
  put_text(kv, "a", "2");
  CHECK_OK(kvstore_begin(kv, 1));
  CHECK_OK(kvstore_clear(kv));
  CHECK_INT(count_of(kv), 0);
  CHECK_OK(kvstore_rollback(kv));
  check_text(kv, "a", "2");
  CHECK_OK(kvstore_close(kv));
  kv = open_store();
  CHECK_INT(count_of(kv), 1);
  CHECK_OK(kvstore_close(kv));
}

/* "KVSTORE_OK or KVSTORE_CORRUPT with details in *pzErrMsg." */
TEST(kvstore, an_integrity_check_of_a_sound_store_says_ok) {
  KVStore *kv = open_store();
  char *why = (char *)1;
  char key[16];
  for (int i = 0; i < 2000; i++) CHECK_OK(kvstore_put(kv, key, snprintf(key, sizeof key, "k%05d", i), "value", 5));
  CHECK_OK(kvstore_integrity_check(kv, &why));
  CHECK(why == NULL);
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  CHECK_OK(kvstore_integrity_check(kv, &why));
  CHECK(why == NULL);
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  CHECK_OK(kvstore_close(kv));
}

TEST(kvstore, the_statistics_count_what_the_contract_says) {
  KVStore *kv = open_store();
  KVIterator *it = NULL;
  KVStoreStats stats;
  void *data = NULL;
  int length = 0, there = 0, inserted = 0;
  put_text(kv, "abc", "12345");                                             /* 1 put, 8 bytes */
  CHECK_OK(kvstore_put_ttl(kv, "d", 1, "1", 1, kvstore_now_ms() + 100000)); /* 2, 10 */
  CHECK_OK(kvstore_put_if_absent(kv, "abc", 3, "x", 1, 0, &inserted));      /* none */
  CHECK_OK(kvstore_put_if_absent(kv, "e", 1, "xy", 2, 0, &inserted));       /* 3, 13 */
  CHECK_OK(kvstore_get(kv, "abc", 3, &data, &length));                      /* 1 get, 5 bytes */
  sqliteFree(data);
  check_text(kv, "none", NULL);                                  /* a miss counts nothing */
  CHECK_OK(kvstore_exists(kv, "abc", 3, &there));                /* nor does exists */
  CHECK_STATUS(kvstore_delete(kv, "none", 4), KVSTORE_NOTFOUND); /* nor a failed delete */
  CHECK_OK(kvstore_delete(kv, "e", 1));
  CHECK_OK(kvstore_iterator_create(kv, &it));
  kvstore_iterator_close(it);
  CHECK_STATUS(kvstore_put(kv, "", 0, "x", 1), KVSTORE_ERROR);
  CHECK_OK(kvstore_begin(kv, 1));
  put_text(kv, "f", "1"); /* 4, 15 */
  put_text(kv, "g", "1"); /* 5, 17 */
  CHECK_OK(kvstore_commit(kv));
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_PASSIVE, NULL, NULL));
  CHECK_OK(kvstore_stats(kv, &stats));
  CHECK_INT(stats.nPuts, 5);
  CHECK_INT(stats.nBytesWritten, 17);
  CHECK_INT(stats.nGets, 1);
  CHECK_INT(stats.nBytesRead, 5);
  CHECK_INT(stats.nDeletes, 1);
  CHECK_INT(stats.nIterations, 1);
  CHECK_INT(stats.nErrors, 1);
  CHECK_INT(stats.nWalCommits, 5); /* three puts, a delete, a transaction */
  CHECK_INT(stats.nCheckpoints, 1);
  CHECK_INT((long)(stats.nDbPages * 4096), file_size(path_of("store")));
  CHECK_OK(kvstore_stats_reset(kv));
  CHECK_OK(kvstore_stats(kv, &stats));
  CHECK_INT(stats.nPuts + stats.nGets + stats.nDeletes + stats.nErrors + stats.nWalCommits + stats.nBytesRead, 0);
  CHECK(stats.nDbPages > 0); /* "a live gauge, never zeroed" */
  CHECK_OK(kvstore_close(kv));
}

/* "auto-checkpoint every N commits in WAL mode" */
TEST(kvstore, a_wal_size_limit_checkpoints_every_so_many_commits) {
  KVStore *kv = NULL;
  KVStoreStats stats;
  KVStoreConfig config = KVSTORE_CONFIG_DEFAULT;
  config.walSizeLimit = 10;
  CHECK_OK(kvstore_open_v2(path_of("store"), &kv, &config));
  for (int i = 0; i < 35; i++) put_text(kv, "a", "1");
  CHECK_OK(kvstore_stats(kv, &stats));
  CHECK_INT(stats.nCheckpoints, 3);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvstore, info_tells_of_the_file) {
  KVStore *kv = open_store();
  KVStoreInfo before = KVSTORE_INFO_INIT, after = KVSTORE_INFO_INIT;
  put_text(kv, "a", "1");
  CHECK_OK(kvstore_info(kv, &before));
  CHECK(before.log_bytes_used > 0);
  CHECK_INT(before.log_bytes, 1 << 20);
  CHECK_INT(before.family_count, 1);
  put_text(kv, "b", "1");
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  CHECK_OK(kvstore_info(kv, &after));
  CHECK(after.generation > before.generation);
  CHECK(after.sequence > before.sequence);
  CHECK_INT((long)after.file_bytes, file_size(path_of("store")));
  CHECK_OK(kvstore_maintain(kv));
  CHECK_OK(kvstore_close(kv));
}

TEST(kvstore, memory_comes_zeroed_and_is_copied_and_grown) {
  char *bytes = sqliteMalloc(100);
  for (int i = 0; i < 100; i++) CHECK_INT(bytes[i], 0);
  bytes[99] = 7;
  bytes = sqliteRealloc(bytes, 1000);
  CHECK_INT(bytes[99], 7);
  sqliteFree(bytes);
  char *copy = sqliteStrDup("colonnade");
  CHECK_STR(copy, "colonnade");
  snkv_free(copy);
  CHECK(sqliteStrDup(NULL) == NULL);
  sqliteFree(NULL);
  bytes = snkv_malloc(1);
  CHECK_INT(bytes[0], 0);
  snkv_free(bytes);
}

/* ---- memory ---- */

static void fill_and_read(KVStore *kv) {
  char key[16], value[200];
  for (int i = 0; i < 3000; i++) {
    (void)snprintf(key, sizeof key, "key%06d", i);
    memset(value, 'a' + i % 26, sizeof value);
    if (i % 500 == 0) CHECK_OK(kvstore_begin(kv, 1));
    CHECK_OK(kvstore_put(kv, key, 9, value, sizeof value));
    if (i % 500 == 499) CHECK_OK(kvstore_commit(kv));
  }
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  for (int i = 0; i < 3000; i++) {
    void *data = NULL;
    int length = 0;
    (void)snprintf(key, sizeof key, "key%06d", i * 7 % 3000);
    CHECK_OK(kvstore_get(kv, key, 9, &data, &length));
    CHECK_INT(length, sizeof value);
    CHECK_INT(((char *)data)[199], 'a' + i * 7 % 3000 % 26);
    kvstore_free(data);
  }
}

/* "cacheSize: page cache size in pages" */
TEST(kvstore, the_configured_cache_is_a_bound) {
  KVStore *kv = NULL;
  KVStoreMemoryUsage usage = KVSTORE_MEMORY_USAGE_INIT;
  KVStoreConfig config = KVSTORE_CONFIG_DEFAULT;
  CHECK_OK(kvstore_open_v2(path_of("store"), &kv, &config));
  CHECK_OK(kvstore_memory_usage(kv, &usage));
  CHECK_INT(usage.cache_bytes_max, 2000 * 4096);
  CHECK_OK(kvstore_close(kv));
  config.cacheSize = 0;
  config.pageSize = 8192;
  CHECK_OK(kvstore_open_v2(path_of("store"), &kv, &config));
  CHECK_OK(kvstore_memory_usage(kv, &usage));
  CHECK_INT(usage.cache_bytes_max, 2000 * 4096);
  CHECK_OK(kvstore_close(kv));
  config.cacheSize = 30;
  CHECK_OK(kvstore_open_v2(path_of("store"), &kv, &config));
  CHECK_OK(kvstore_memory_usage(kv, &usage));
  CHECK_INT(usage.cache_bytes_max, 30 * 8192);
  CHECK_OK(kvstore_close(kv));
  config.cacheSize = -1;
  CHECK_STATUS(kvstore_open_v2(path_of("store"), &kv, &config), KVSTORE_ERROR);

  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.map_off = 1;
  options.cache_bytes = 150000;
  CHECK_OK(kvstore_open_with(path_of("store"), &kv, &options));
  fill_and_read(kv);
  CHECK_OK(kvstore_memory_usage(kv, &usage));
  CHECK(usage.cache_bytes > 100000);
  CHECK(usage.cache_bytes <= 150000);
  CHECK_INT(usage.cache_pinned_bytes, 0);
  CHECK_INT(usage.mapped_bytes, 0);
  CHECK_OK(kvstore_close(kv));
}

TEST(kvstore, memory_usage_adds_up_and_refuses_nonsense) {
  KVStore *kv = open_store();
  fill_and_read(kv);
  put_text(kv, "one", "more");
  KVStoreMemoryUsage u = KVSTORE_MEMORY_USAGE_INIT;
  CHECK_OK(kvstore_memory_usage(kv, &u));
  CHECK(u.delta_bytes > 0 && u.run_bytes > 0 && u.version_bytes > 0);
  CHECK_INT(u.total_bytes,
            u.delta_bytes + u.run_bytes + u.version_bytes + u.log_bytes + u.cache_bytes + u.cache_pinned_bytes);
  CHECK(u.mapped_bytes >= 3000 * 200);
  CHECK_STATUS(kvstore_memory_usage(kv, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_memory_usage(NULL, &u), KVSTORE_ERROR);
  u.struct_size = 3;
  CHECK_STATUS(kvstore_memory_usage(kv, &u), KVSTORE_ERROR);
  CHECK_OK(kvstore_close(kv));
}
