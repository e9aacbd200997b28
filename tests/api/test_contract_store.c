/* Clauses of the contract about the store as a whole that no other file here proves; docs/contract.md maps them all. */
#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/api/api_support.h"

static KVStore *open_with_timeout(int busy_timeout_ms) {
  KVStore *kv = NULL;
  KVStoreConfig config = KVSTORE_CONFIG_DEFAULT;
  config.busyTimeout = busy_timeout_ms;
  CHECK_OK(kvstore_open_v2(path_of("store"), &kv, &config));
  return kv;
}

/* ---- opening and closing ---- */

/* "new databases only": whatever is asked for, a page has 4,096 bytes and the store is the same. */
TEST(contract_store, a_page_size_and_a_cache_size_change_nothing_that_is_stored) {
  static const int sizes[] = { 0, 512, 4096, 65536 };
  for (size_t i = 0; i < 4; i++) {
    KVStore *kv = NULL;
    KVStoreStats stats;
    KVStoreConfig config = KVSTORE_CONFIG_DEFAULT;
    config.pageSize = sizes[i];
    config.cacheSize = (int)(i * 1000);
    CHECK_OK(kvstore_open_v2(path_of("store"), &kv, &config));
    check_text(kv, "a", i ? "1" : NULL);
    put_text(kv, "a", "1");
    CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
    CHECK_OK(kvstore_stats(kv, &stats));
    CHECK_INT((long)(stats.nDbPages * 4096), file_size(path_of("store")));
    CHECK_OK(kvstore_close(kv));
  }
}

/* The journal mode may be another at every open; what was committed under one is there under the other. */
TEST(contract_store, the_journal_mode_may_change_at_every_open) {
  char key[16];
  for (int i = 0; i < 6; i++) {
    KVStore *kv = NULL;
    CHECK_OK(kvstore_open(path_of("store"), &kv, i % 2 ? KVSTORE_JOURNAL_WAL : KVSTORE_JOURNAL_DELETE));
    CHECK_INT(count_of(kv), i);
    (void)snprintf(key, sizeof key, "key%d", i);
    put_text(kv, key, "1");
    CHECK_OK(kvstore_close(kv));
  }
}

/* A clean close leaves everything in the one file: it can be renamed over another store. */
TEST(contract_store, a_closed_file_can_be_renamed_over_another_store) {
  KVStore *kv = NULL;
  CHECK_OK(kvstore_open(path_of("new"), &kv, KVSTORE_JOURNAL_WAL));
  put_text(kv, "who", "new");
  CHECK_OK(kvstore_close(kv));
  CHECK_OK(kvstore_open(path_of("old"), &kv, KVSTORE_JOURNAL_WAL));
  put_text(kv, "who", "old");
  put_text(kv, "more", "1");
  CHECK_OK(kvstore_close(kv));
  CHECK_INT(rename(path_of("new"), path_of("old")), 0);
  CHECK_OK(kvstore_open(path_of("old"), &kv, KVSTORE_JOURNAL_WAL));
  check_text(kv, "who", "new");
  check_text(kv, "more", NULL);
  CHECK_OK(kvstore_close(kv));
}

/* Deleting the file alone resets the store, whatever side files a dead process left. */
TEST(contract_store, deleting_the_file_resets_the_store_whatever_side_files_lie_about) {
  const char *path = path_of("store");
  (void)fflush(NULL);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    KVStore *kv = open_store();
    put_text(kv, "a", "1");
    _exit(0); /* without a close: as if killed */
  }
  int status = -1;
  CHECK_INT(waitpid(child, &status, 0), child);
  CHECK_INT(status, 0);
  CHECK(file_size(path_of("store-wal")) > 0);
  CHECK_INT(remove(path), 0);
  KVStore *kv = open_store();
  CHECK_INT(count_of(kv), 0);
  put_text(kv, "b", "2");
  CHECK_OK(kvstore_close(kv));
  kv = open_store();
  check_text(kv, "a", NULL);
  check_text(kv, "b", "2");
  CHECK_OK(kvstore_close(kv));
}

/* "Runs a WAL checkpoint before closing." */
TEST(contract_store, a_close_settles_the_log_in_the_file) {
  KVStore *kv = open_store();
  KVStoreStats stats;
  for (const char *c = "abcdefghijklmnopqrstuvwxyz"; *c; c++) CHECK_OK(kvstore_put(kv, c, 1, "v", 1));
  CHECK_OK(kvstore_close(kv));
  CHECK(!file_exists(path_of("store-wal")));
  KVStoreConfig config = KVSTORE_CONFIG_DEFAULT;
  config.readOnly = 1;
  CHECK_OK(kvstore_open_v2(path_of("store"), &kv, &config));
  CHECK_INT(count_of(kv), 26);
  CHECK_OK(kvstore_stats(kv, &stats));
  CHECK_INT((long)(stats.nDbPages * 4096), file_size(path_of("store")));
  CHECK_OK(kvstore_close(kv));
}

/* Within a process both names of a file are the same store, with one log. (Another process is refused.) */
TEST(contract_store, one_file_under_two_names_is_one_store) {
  KVStore *kv = open_store(), *other = NULL;
  put_text(kv, "a", "1");
  CHECK_INT(link(path_of("store"), path_of("alias")), 0);
  CHECK_OK(kvstore_open(path_of("alias"), &other, KVSTORE_JOURNAL_WAL));
  put_text(other, "b", "1");
  check_text(kv, "b", "1");
  CHECK(!file_exists(path_of("alias-wal")));
  CHECK_OK(kvstore_close(kv));
  put_text(other, "c", "1");
  CHECK_OK(kvstore_close(other));
  kv = open_store();
  CHECK_INT(count_of(kv), 3);
  CHECK_OK(kvstore_close(kv));
}

/* ---- locks ---- */

/* "ms to retry on SQLITE_BUSY (0 = fail immediately)": never earlier than the timeout, and with 0 without waiting. */
TEST(contract_store, a_busy_timeout_is_waited_out_and_zero_waits_for_nothing) {
  KVStore *writer = open_with_timeout(0), *hasty = open_with_timeout(0), *patient = open_with_timeout(300);
  CHECK_OK(kvstore_begin(writer, 1));
  put_text(writer, "a", "1");
  int64_t before = kvstore_now_ms();
  for (int i = 0; i < 1000; i++) CHECK_STATUS(kvstore_put(hasty, "b", 1, "1", 1), KVSTORE_BUSY);
  CHECK(kvstore_now_ms() - before < 300 * 1000); /* a wait at each would take so long */
  struct timespec start, end;
  CHECK_INT(clock_gettime(CLOCK_MONOTONIC, &start), 0);
  CHECK_STATUS(kvstore_begin(patient, 1), KVSTORE_BUSY);
  CHECK_INT(clock_gettime(CLOCK_MONOTONIC, &end), 0);
  int64_t waited_ms = (end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000;
  CHECK(waited_ms >= 299);
  CHECK_OK(kvstore_commit(writer));
  put_text(hasty, "b", "1");
  put_text(patient, "c", "1");
  CHECK_INT(count_of(writer), 3);
  CHECK_OK(kvstore_close(writer));
  CHECK_OK(kvstore_close(hasty));
  CHECK_OK(kvstore_close(patient));
}

typedef struct Racer {
  const char *name;
  int inserted;
} Racer;

static void *race(void *context) {
  Racer *racer = context;
  KVStore *kv = open_with_timeout(60000);
  CHECK_OK(kvstore_put_if_absent(kv, "lock", 4, racer->name, 1, 0, &racer->inserted));
  CHECK_OK(kvstore_close(kv));
  return NULL;
}

/* "no other writer can insert the same key concurrently" */
TEST(contract_store, of_many_that_insert_an_absent_key_at_once_one_inserts) {
  Racer racers[4] = { { "0", -1 }, { "1", -1 }, { "2", -1 }, { "3", -1 } };
  pthread_t threads[4];
  KVStore *kv = open_store();
  for (int round = 0; round < 20; round++) {
    for (int i = 0; i < 4; i++) CHECK_INT(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    for (int i = 0; i < 4; i++) CHECK_INT(pthread_join(threads[i], NULL), 0);
    int sum = 0;
    for (int i = 0; i < 4; i++) {
      sum += racers[i].inserted;
      if (racers[i].inserted) check_text(kv, "lock", racers[i].name);
    }
    CHECK_INT(sum, 1);
    CHECK_OK(kvstore_delete(kv, "lock", 4));
  }
  CHECK_OK(kvstore_close(kv));
}

/* ---- transactions ---- */

/* An idle handle sees what others commit, without being told. */
TEST(contract_store, an_idle_reader_sees_every_commit_that_returned) {
  KVStore *reader = open_store(), *writer = open_store();
  char value[16];
  for (int i = 0; i < 100; i++) {
    (void)snprintf(value, sizeof value, "%d", i);
    put_text(writer, "counter", value);
    check_text(reader, "counter", value);
  }
  CHECK_OK(kvstore_close(reader));
  CHECK_OK(kvstore_close(writer));
}

/* Neither the reading of an expired key nor a sync nor a purge ends a transaction. */
TEST(contract_store, reading_an_expired_key_inside_a_transaction_does_not_commit_it) {
  KVStore *kv = open_store(), *other = open_store();
  int64_t left = 7;
  int there = 1, purged = -1;
  CHECK_OK(kvstore_put_ttl(kv, "old", 3, "v", 1, 1));
  CHECK_OK(kvstore_put_ttl(kv, "older", 5, "v", 1, 1));
  CHECK_OK(kvstore_begin(kv, 1));
  put_text(kv, "new", "1");
  check_text(kv, "old", NULL);
  CHECK_OK(kvstore_exists(kv, "older", 5, &there));
  CHECK_INT(there, 0);
  CHECK_OK(kvstore_purge_expired(kv, &purged));
  CHECK_STATUS(kvstore_ttl_remaining(kv, "old", 3, &left), KVSTORE_NOTFOUND);
  CHECK_OK(kvstore_sync(kv));
  check_text(other, "new", NULL);
  CHECK_STATUS(kvstore_put(other, "x", 1, "1", 1), KVSTORE_BUSY); /* it is still open */
  CHECK_OK(kvstore_rollback(kv));
  check_text(kv, "new", NULL);
  CHECK_OK(kvstore_close(kv));
  CHECK_OK(kvstore_close(other));
}

/* "both writes are atomic", over families too */
TEST(contract_store, a_transaction_over_families_is_seen_whole_or_not_at_all) {
  KVStore *kv = open_store(), *other = open_store();
  KVColumnFamily *mine = NULL, *theirs = NULL;
  int there = 1;
  CHECK_OK(kvstore_cf_create(kv, "f", &mine));
  CHECK_OK(kvstore_cf_open(other, "f", &theirs));
  CHECK_OK(kvstore_begin(kv, 1));
  put_text(kv, "key1", "val1");
  CHECK_OK(kvstore_cf_put(mine, "key2", 4, "val2", 4));
  check_text(other, "key1", NULL);
  CHECK_OK(kvstore_cf_exists(theirs, "key2", 4, &there));
  CHECK_INT(there, 0);
  CHECK_OK(kvstore_commit(kv));
  check_text(other, "key1", "val1");
  CHECK_OK(kvstore_cf_exists(theirs, "key2", 4, &there));
  CHECK_INT(there, 1);
  kvstore_cf_close(mine);
  kvstore_cf_close(theirs);
  CHECK_OK(kvstore_close(kv));
  CHECK_OK(kvstore_close(other));
}

/* ---- care ---- */

/* The log has a bound that no amount of writing passes. */
TEST(contract_store, the_log_stays_within_its_bound_however_much_is_written) {
  KVStore *kv = open_store(); /* a log of 1 MiB */
  static char value[10000];
  char key[16];
  long longest = 0;
  for (int i = 0; i < 1000; i++) {
    memset(value, i, sizeof value);
    CHECK_OK(kvstore_put(kv, key, snprintf(key, sizeof key, "%d", i % 50), value, sizeof value));
    long size = file_size(path_of("store-wal"));
    if (size > longest) longest = size;
  }
  CHECK(longest > 0 && longest <= (1 << 20) + 4096); /* its header too */
  CHECK_INT(count_of(kv), 50);
  CHECK_OK(kvstore_close(kv));
}

/* "Current time in milliseconds since the Unix epoch." */
TEST(contract_store, now_is_milliseconds_since_1970) {
  int64_t before = (int64_t)time(NULL) * 1000;
  int64_t now = kvstore_now_ms();
  int64_t after = ((int64_t)time(NULL) + 1) * 1000;
  CHECK(now >= before - 1000 && now <= after + 1000);
}

static void write_noise(KVStore *kv) {
  uint64_t seed = 5;
  char key[16];
  unsigned char value[400];
  for (int i = 0; i < 300; i++) {
    for (size_t j = 0; j < sizeof value; j++) value[j] = (unsigned char)test_random(&seed);
    CHECK_OK(kvstore_put(kv, key, snprintf(key, sizeof key, "key%03d", i), value, sizeof value));
  }
}

static int read_noise(KVStore *kv) {
  uint64_t seed = 5;
  char key[16];
  for (int i = 0; i < 300; i++) {
    void *value = NULL;
    int length = 0;
    int status = kvstore_get(kv, key, snprintf(key, sizeof key, "key%03d", i), &value, &length);
    for (int j = 0; j < 400; j++) {
      unsigned char expected = (unsigned char)test_random(&seed);
      if (status == KVSTORE_OK) CHECK(length == 400 && ((unsigned char *)value)[j] == expected);
    }
    sqliteFree(value);
    if (status != KVSTORE_OK) return status;
  }
  return KVSTORE_OK;
}

static void flip(const char *path, long at) {
  FILE *f = fopen(path, "r+b");
  CHECK(f && fseek(f, at, SEEK_SET) == 0);
  int byte = fgetc(f);
  CHECK(byte != EOF && fseek(f, at, SEEK_SET) == 0 && fputc(byte ^ 4, f) != EOF && fclose(f) == 0);
}

/* "KVSTORE_CORRUPT with details": a flipped bit is found, and never read as something else. */
TEST(contract_store, an_integrity_check_finds_a_flipped_bit_and_says_where) {
  const char *path = path_of("store");
  KVStore *kv = open_store();
  write_noise(kv);
  CHECK_OK(kvstore_close(kv));
  long size = file_size(path);
  int found = 0;
  for (long at = 8192 + 100; at < size; at += 4999) {
    char *why = NULL;
    flip(path, at);
    int status = kvstore_open(path, &kv, KVSTORE_JOURNAL_WAL);
    if (status == KVSTORE_OK) {
      status = kvstore_integrity_check(kv, &why);
      CHECK(status == KVSTORE_OK || (status == KVSTORE_CORRUPT && why && strlen(why) > 10));
      int read = read_noise(kv); /* checks each value that comes */
      CHECK(read == KVSTORE_OK || status == KVSTORE_CORRUPT);
      sqliteFree(why);
      CHECK(kvstore_close(kv) != -1);
    } else {
      CHECK_STATUS(status, KVSTORE_CORRUPT);
    }
    found += status == KVSTORE_CORRUPT;
    flip(path, at);
  }
  CHECK(found >= 10);
}

TEST(contract_store, a_clone_has_a_transaction_messages_and_statistics_of_its_own) {
  KVStore *kv = NULL, *other = NULL, *third = NULL;
  KVStoreStats stats;
  KVStoreConfig config = KVSTORE_CONFIG_DEFAULT;
  CHECK_OK(kvstore_open_v2(path_of("store"), &kv, &config));
  put_text(kv, "a", "1");
  CHECK_OK(kvstore_clone(kv, &other));
  CHECK_OK(kvstore_begin(kv, 1));
  put_text(kv, "a", "2");
  check_text(other, "a", "1"); /* not inside */
  CHECK_STATUS(kvstore_put(other, "b", 1, "v", 1), KVSTORE_BUSY);
  CHECK_OK(kvstore_commit(other)); /* ends nobody else's */
  check_text(other, "a", "1");
  CHECK_OK(kvstore_commit(kv));
  check_text(other, "a", "2");
  CHECK_STR(kvstore_errmsg(kv), "no error");
  CHECK_OK(kvstore_stats(other, &stats));
  CHECK_INT(stats.nPuts, 0);
  CHECK_INT(stats.nErrors, 1);
  CHECK_OK(kvstore_close(kv));
  put_text(other, "c", "3");
  CHECK_OK(kvstore_clone(other, &third)); /* of a clone, with the first one gone */
  CHECK_OK(kvstore_close(other));
  check_text(third, "c", "3");
  CHECK(file_exists(path_of("store-wal")));
  CHECK_OK(kvstore_close(third));
  CHECK(!file_exists(path_of("store-wal")));
  config.readOnly = 1;
  CHECK_OK(kvstore_open_v2(path_of("store"), &kv, &config));
  CHECK_OK(kvstore_clone(kv, &other)); /* with the same configuration */
  CHECK_STATUS(kvstore_put(other, "c", 1, "v", 1), KVSTORE_READONLY);
  CHECK_OK(kvstore_close(other));
  CHECK_OK(kvstore_close(kv));
}
