/* One handle in many threads, many handles in one process, and a child process. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/api/api_support.h"

enum { READERS = 4, ACCOUNTS = 64 };

/* A writer moves money between accounts, in a family and in a table alike; readers must never see a sum other than 0.
 */
typedef struct Shared {
  KVStore *kv;
  KVTable *table;
  uint64_t rounds;
  _Atomic uint64_t written;
  _Atomic int stop;
} Shared;

static void put_balance(KVStore *kv, uint64_t account, int64_t balance) {
  char key[16];
  int length = snprintf(key, sizeof key, "acc%02u", (unsigned)account);
  CHECK_OK(kvstore_put(kv, key, length, &balance, sizeof balance));
}

static int upsert_balance(KVTable *table, uint64_t account, int64_t balance) {
  KVValue row[2] = { kvvalue_u64(account), kvvalue_i64(balance) };
  return kvtable_upsert(table, row, 2, 0);
}

/* Writes on a handle of its own: a transaction on the shared one would be the readers' too. */
static void *write_rounds(void *context) {
  Shared *shared = context;
  KVStore *kv = NULL;
  KVTable *table = NULL;
  int64_t balances[ACCOUNTS] = { 0 };
  uint64_t seed = 3;
  CHECK_OK(kvstore_clone(shared->kv, &kv));
  CHECK_OK(kvtable_open(kv, "balances", &table));
  for (uint64_t i = 0; i < shared->rounds; i++) {
    uint64_t from = test_random_below(&seed, ACCOUNTS),
             to = (from + 1 + test_random_below(&seed, ACCOUNTS - 1)) % ACCOUNTS;
    balances[from] -= 5;
    balances[to] += 5;
    CHECK_OK(kvstore_begin(kv, 1));
    put_balance(kv, from, balances[from]);
    put_balance(kv, to, balances[to]);
    CHECK_OK(upsert_balance(table, from, balances[from]));
    CHECK_OK(upsert_balance(table, to, balances[to]));
    CHECK_OK(kvstore_commit(kv));
    atomic_fetch_add(&shared->written, 1);
    if (i % 200 == 199) CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_PASSIVE, NULL, NULL));
  }
  atomic_store(&shared->stop, 1);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
  return NULL;
}

static int64_t sum_by_iterator(KVStore *kv) {
  KVIterator *it = NULL;
  int64_t sum = 0, balance;
  CHECK_OK(kvstore_prefix_iterator_create(kv, "acc", 3, &it));
  while (!kvstore_iterator_eof(it)) {
    void *data;
    int length;
    CHECK_OK(kvstore_iterator_value(it, &data, &length));
    CHECK_INT(length, sizeof balance);
    memcpy(&balance, data, sizeof balance);
    sum += balance;
    CHECK_OK(kvstore_iterator_next(it));
  }
  kvstore_iterator_close(it);
  return sum;
}

static void *read_rounds(void *context) {
  Shared *shared = context;
  KVQuery *query = NULL;
  KVValue sum;
  void *data;
  int length;
  CHECK_OK(kvquery_create(shared->table, &query));
  do {
    CHECK_INT(sum_by_iterator(shared->kv), 0);
    CHECK_OK(kvquery_sum(query, "balance", &sum));
    CHECK(sum.as.decimal.low == 0 && sum.as.decimal.high == 0);
    CHECK_INT(rows_of(shared->table), ACCOUNTS);
    CHECK_OK(kvstore_get(shared->kv, "acc07", 5, &data, &length));
    sqliteFree(data);
    CHECK_STATUS(kvstore_get(shared->kv, "nobody", 6, &data, &length), KVSTORE_NOTFOUND);
  } while (!atomic_load(&shared->stop));
  kvquery_close(query);
  return NULL;
}

TEST(threads, four_readers_share_a_handle_beside_a_writer) {
  Shared shared = { .rounds = test_scaled(2000) };
  pthread_t readers[READERS], writer;
  const KVColumnDefinition columns[] = { { "account", KVTABLE_TYPE_U32, 0, 0 }, { "balance", KVTABLE_TYPE_I64, 0, 0 } };
  const char *key[] = { "account" };
  shared.kv = open_store();
  CHECK_OK(kvtable_create(shared.kv, "balances", columns, 2, key, 1, &shared.table));
  for (uint64_t i = 0; i < ACCOUNTS; i++) {
    put_balance(shared.kv, i, 0);
    CHECK_OK(upsert_balance(shared.table, i, 0));
  }
  CHECK_INT(pthread_create(&writer, NULL, write_rounds, &shared), 0);
  for (int i = 0; i < READERS; i++) CHECK_INT(pthread_create(&readers[i], NULL, read_rounds, &shared), 0);
  CHECK_INT(pthread_join(writer, NULL), 0);
  for (int i = 0; i < READERS; i++) CHECK_INT(pthread_join(readers[i], NULL), 0);
  CHECK_INT(atomic_load(&shared.written), shared.rounds);
  CHECK_INT(sum_by_iterator(shared.kv), 0);
  CHECK_OK(kvstore_integrity_check(shared.kv, NULL));
  kvtable_close(shared.table);
  CHECK_OK(kvstore_close(shared.kv));
}

/* ---- autocommits of many threads on one handle ---- */

typedef struct Putter {
  KVStore *kv;
  int number;
  int count;
} Putter;

static void *put_own_keys(void *context) {
  const Putter *putter = context;
  char key[32];
  for (int i = 0; i < putter->count; i++)
    CHECK_OK(kvstore_put(putter->kv, key, snprintf(key, sizeof key, "t%d-%d", putter->number, i), "v", 1));
  CHECK_STATUS(kvstore_put(putter->kv, key, -putter->number - 1, "v", 1), KVSTORE_ERROR);
  char expected[32];
  (void)snprintf(expected, sizeof expected, "negative length: %d", -putter->number - 1);
  CHECK(strstr(kvstore_errmsg(putter->kv), expected) != NULL); /* each thread its own message */
  return NULL;
}

TEST(threads, many_put_through_one_handle_and_each_has_its_own_message) {
  KVStore *kv = open_store();
  KVStoreStats stats;
  pthread_t threads[6];
  Putter putters[6];
  int count = (int)test_scaled(1000);
  for (int i = 0; i < 6; i++) {
    putters[i] = (Putter){ kv, i, count };
    CHECK_INT(pthread_create(&threads[i], NULL, put_own_keys, &putters[i]), 0);
  }
  for (int i = 0; i < 6; i++) CHECK_INT(pthread_join(threads[i], NULL), 0);
  CHECK_INT(count_of(kv), 6 * count);
  CHECK_STR(kvstore_errmsg(kv), "no error"); /* nothing failed in this thread */
  CHECK_OK(kvstore_stats(kv, &stats));
  CHECK_INT(stats.nPuts, 6 * count);
  CHECK_INT(stats.nErrors, 6);
  CHECK_OK(kvstore_close(kv));
}

static void *put_one(void *context) {
  put_text(context, "other thread", "1");
  return NULL;
}

TEST(threads, a_transaction_belongs_to_its_handle_whichever_thread_calls) {
  KVStore *kv = open_store(), *other = NULL;
  pthread_t thread;
  CHECK_OK(kvstore_clone(kv, &other));
  for (int commit = 0; commit < 2; commit++) {
    CHECK_OK(kvstore_begin(kv, 1));
    CHECK_INT(pthread_create(&thread, NULL, put_one, kv), 0);
    CHECK_INT(pthread_join(thread, NULL), 0);
    check_text(kv, "other thread", "1");
    check_text(other, "other thread", NULL);
    CHECK_OK(commit ? kvstore_commit(kv) : kvstore_rollback(kv));
    check_text(other, "other thread", commit ? "1" : NULL);
  }
  CHECK_OK(kvstore_close(kv));
  CHECK_OK(kvstore_close(other));
}

/* ---- a close beside calls ---- */

/* The family keeps the handle's memory, so that calls that come too late are refused rather than lost. */
static void *put_until_closed(void *context) {
  KVColumnFamily *cf = context;
  char key[16];
  for (int i = 0;; i++) {
    int status = kvstore_cf_put(cf, key, snprintf(key, sizeof key, "%d", i), "v", 1);
    if (status == KVSTORE_ERROR) return (void *)(intptr_t)i;
    CHECK_OK(status);
  }
}

TEST(threads, a_close_waits_for_the_calls_inside_and_later_ones_are_refused) {
  for (int round = 0; round < 5; round++) {
    KVStore *kv = open_store();
    KVColumnFamily *cf = NULL;
    pthread_t threads[3];
    void *results[3];
    int64_t count = 0, before = 0, after = 0;
    CHECK_OK(kvstore_cf_get_default(kv, &cf));
    CHECK_OK(kvstore_clear(kv));
    for (int i = 0; i < 3; i++) CHECK_INT(pthread_create(&threads[i], NULL, put_until_closed, cf), 0);
    while (before < 50) CHECK_OK(kvstore_count(kv, &before));
    CHECK_OK(kvstore_close(kv));
    int64_t most = 0;
    for (int i = 0; i < 3; i++) {
      CHECK_INT(pthread_join(threads[i], &results[i]), 0);
      if ((intptr_t)results[i] > most) most = (intptr_t)results[i];
    }
    CHECK_STATUS(kvstore_cf_count(cf, &count), KVSTORE_ERROR);
    kvstore_cf_close(cf);
    kv = open_store(); /* every acknowledged put is there: all threads write the same keys */
    CHECK_OK(kvstore_count(kv, &after));
    CHECK_INT(after, most);
    CHECK_OK(kvstore_close(kv));
  }
}

/* ---- processes ---- */

TEST(threads, a_child_opens_a_handle_of_its_own_beside_the_parents) {
  KVStore *kv = open_store();
  put_text(kv, "parent", "1");
  const char *path = path_of("store");
  (void)fflush(NULL);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    KVStore *own = NULL;
    CHECK_OK(kvstore_open(path, &own, KVSTORE_JOURNAL_WAL));
    int there = 0;
    CHECK_OK(kvstore_exists(own, "parent", 6, &there));
    CHECK_INT(there, 1);
    for (int i = 0; i < 100; i++) put_text(own, "child", "2");
    CHECK_OK(kvstore_close(own));
    _exit(0);
  }
  for (int i = 0; i < 100; i++) put_text(kv, "parent", "3");
  int status = -1;
  CHECK_INT(waitpid(child, &status, 0), child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  check_text(kv, "child", "2");
  check_text(kv, "parent", "3");
  CHECK_INT(count_of(kv), 2);
  CHECK_OK(kvstore_close(kv));
}

TEST(threads, a_killed_child_loses_nothing_that_it_was_told) {
  const char *path = path_of("store");
  int pipes[2];
  CHECK_INT(pipe(pipes), 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    KVStore *kv = NULL;
    char key[16];
    CHECK_OK(kvstore_open(path, &kv, KVSTORE_JOURNAL_WAL));
    for (int i = 0; i < 500; i++) CHECK_OK(kvstore_put(kv, key, snprintf(key, sizeof key, "%d", i), "v", 1));
    CHECK_OK(kvstore_begin(kv, 1));
    CHECK_OK(kvstore_put(kv, "open", 4, "v", 1)); /* not committed */
    CHECK_INT(write(pipes[1], "x", 1), 1);
    for (;;) pause();
  }
  char told;
  CHECK_INT(read(pipes[0], &told, 1), 1);
  CHECK_INT(kill(child, SIGKILL), 0);
  int status;
  CHECK_INT(waitpid(child, &status, 0), child);
  KVStore *kv = NULL;
  CHECK_OK(kvstore_open(path, &kv, KVSTORE_JOURNAL_WAL));
  CHECK_INT(count_of(kv), 500);
  check_text(kv, "open", NULL);
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  CHECK_OK(kvstore_close(kv));
}
