/* Many processes and threads on one file, through the public headers: money moves, and no snapshot ever shows a wrong
 * total. COLONNADE_TEST_SCALE=250 is the full size: 1,000,000 transfers, five times 250,000 operations. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/api/api_support.h"
#include "tests/support/children.h"

enum { ACCOUNTS = 64, THREADS = 4, PROCESSES = 2, BALANCE = 1000 };

static KVStore *opened(const char *path) {
  KVStore *kv = NULL;
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.log_bytes = 1 << 20;
  options.busy_timeout_ms = 120000;
  CHECK_OK(kvstore_open_with(path, &kv, &options));
  return kv;
}

/* ---- accounts: each in a key and in a row of a table ---- */

static int account_key(char key[32], uint64_t account) { return snprintf(key, 32, "account%03d", (int)account); }

static int64_t kv_number(KVStore *kv, const char *key, int length) {
  void *value = NULL;
  int bytes = 0;
  int64_t n;
  int status = kvstore_get(kv, key, length, &value, &bytes);
  if (status == KVSTORE_NOTFOUND) return 0;
  CHECK_OK(status);
  CHECK_INT(bytes, sizeof n);
  memcpy(&n, value, sizeof n);
  kvstore_free(value);
  return n;
}

static void put_number(KVStore *kv, const char *key, int length, int64_t n) {
  CHECK_OK(kvstore_put(kv, key, length, &n, sizeof n));
}

/* Adds to an account, in both places; inside a transaction. */
static void add(KVStore *kv, KVTable *table, uint64_t account, int64_t amount) {
  char key[32];
  int length = account_key(key, account);
  KVValue row[2] = { kvvalue_u64(account), kvvalue_i64(0) };
  int64_t balance = kv_number(kv, key, length) + amount;
  put_number(kv, key, length, balance);
  row[1] = kvvalue_i64(balance);
  CHECK_OK(kvtable_upsert(table, row, 2, 0));
}

static KVTable *accounts_of(KVStore *kv) {
  KVTable *table = NULL;
  CHECK_OK(kvtable_open(kv, "accounts", &table));
  return table;
}

static void make_accounts(const char *path) {
  const KVColumnDefinition columns[] = { { "account", KVTABLE_TYPE_U32, 0, 0 }, { "balance", KVTABLE_TYPE_I64, 0, 0 } };
  const char *const key[] = { "account" };
  KVStore *kv = opened(path);
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, "accounts", columns, 2, key, 1, &table));
  CHECK_OK(kvstore_begin(kv, 1));
  for (uint64_t i = 0; i < ACCOUNTS; i++) add(kv, table, i, BALANCE);
  CHECK_OK(kvstore_commit(kv));
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

/* One look: the totals of keys and of rows, in one snapshot. */
static void check_totals(KVStore *kv, KVTable *table, KVQuery *query) {
  int64_t sum = 0;
  char key[32];
  KVValue total;
  uint64_t count = 0;
  (void)table;
  CHECK_OK(kvstore_begin(kv, 0));
  for (uint64_t i = 0; i < ACCOUNTS; i++) sum += kv_number(kv, key, account_key(key, i));
  CHECK_OK(kvquery_count(query, &count));
  CHECK_OK(kvquery_sum(query, "balance", &total));
  CHECK_OK(kvstore_commit(kv));
  CHECK_INT(sum, ACCOUNTS * BALANCE);
  CHECK_INT(count, ACCOUNTS);
  CHECK_INT((int64_t)kvvalue_to_f64(&total), ACCOUNTS * BALANCE);
}

typedef struct Look {
  KVStore *kv;
  KVTable *table;
  KVQuery *query;
} Look;

static Look look_open(KVStore *of) {
  Look look;
  CHECK_OK(kvstore_clone(of, &look.kv));
  look.table = accounts_of(look.kv);
  CHECK_OK(kvquery_create(look.table, &look.query));
  return look;
}

static void look_close(Look *look) {
  kvquery_close(look->query);
  kvtable_close(look->table);
  CHECK_OK(kvstore_close(look->kv));
}

/* ---- transfers ---- */

typedef struct Mover {
  KVStore *kv; /* the process's; each thread has a clone */
  uint64_t seed, transfers;
} Mover;

static void transfer(KVStore *kv, KVTable *table, uint64_t *seed) {
  uint64_t from = test_random_below(seed, ACCOUNTS), to = test_random_below(seed, ACCOUNTS);
  int64_t amount = (int64_t)test_random_below(seed, 50);
  CHECK_OK(kvstore_begin(kv, 1));
  add(kv, table, from, -amount);
  add(kv, table, to, amount);
  bool regretted = test_random_below(seed, 16) == 0;
  CHECK_OK(regretted ? kvstore_rollback(kv) : kvstore_commit(kv));
}

static void *move(void *context) {
  Mover *mover = context;
  KVStore *kv = NULL;
  CHECK_OK(kvstore_clone(mover->kv, &kv));
  KVTable *table = accounts_of(kv);
  for (uint64_t i = 0; i < mover->transfers; i++) transfer(kv, table, &mover->seed);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
  return NULL;
}

typedef struct Watcher {
  KVStore *kv;
  _Atomic int stop;
  _Atomic uint64_t looks;
} Watcher;

static void *watch(void *context) {
  Watcher *watcher = context;
  Look look = look_open(watcher->kv);
  do {
    check_totals(look.kv, look.table, look.query);
    atomic_fetch_add(&watcher->looks, 1);
  } while (!atomic_load(&watcher->stop));
  look_close(&look);
  return NULL;
}

/* Four threads that move, and one that watches. */
ROLE(bank) {
  pthread_t threads[THREADS], watching;
  Mover movers[THREADS];
  Watcher watcher = { .kv = opened(path) };
  CHECK(next_turn());
  CHECK_INT(pthread_create(&watching, NULL, watch, &watcher), 0);
  for (int i = 0; i < THREADS; i++) {
    movers[i] =
      (Mover){ watcher.kv, (uint64_t)(role_number() * THREADS + i), test_scaled(40000) / (THREADS * PROCESSES) };
    CHECK_INT(pthread_create(&threads[i], NULL, move, &movers[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) CHECK_INT(pthread_join(threads[i], NULL), 0);
  atomic_store(&watcher.stop, 1);
  CHECK_INT(pthread_join(watching, NULL), 0);
  CHECK(atomic_load(&watcher.looks) > 0);
  CHECK_OK(kvstore_close(watcher.kv));
  turn_done();
}

static void check_at_rest(const char *path) {
  KVStore *kv = opened(path);
  Look look = look_open(kv);
  check_totals(look.kv, look.table, look.query);
  look_close(&look);
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  CHECK_OK(kvstore_close(kv));
}

TEST(bank, eight_threads_of_two_processes_move_money_and_no_total_is_ever_wrong) {
  const char *path = path_of("store");
  make_accounts(path);
  Child banks[PROCESSES];
  for (int i = 0; i < PROCESSES; i++) banks[i] = child_start_with("bank", path, 0, i);
  turn_together(banks, PROCESSES);
  children_finish(banks, PROCESSES);
  check_at_rest(path);
}

/* ---- and some are killed ---- */

static int mortal_key(char key[32], int64_t who) { return snprintf(key, 32, "mortal%06d", (int)who); }

/* Moves, and counts its transfers in the same transaction; what has been acknowledged stands in a file of its own. */
ROLE(mortal) {
  char key[32], acknowledged[700];
  (void)snprintf(acknowledged, sizeof acknowledged, "%s-acknowledged", path);
  int out = open(acknowledged, O_CREAT | O_TRUNC | O_WRONLY, 0644);
  int length = mortal_key(key, role_number());
  uint64_t seed = (uint64_t)role_number();
  KVStore *kv = opened(path);
  KVTable *table = accounts_of(kv);
  for (int64_t n = 1;; n++) {
    uint64_t from = test_random_below(&seed, ACCOUNTS), to = test_random_below(&seed, ACCOUNTS);
    CHECK_OK(kvstore_begin(kv, 1));
    add(kv, table, from, -7);
    put_number(kv, key, length, n);
    add(kv, table, to, 7);
    CHECK_OK(kvstore_commit(kv));
    CHECK_INT(pwrite(out, &n, sizeof n, 0), sizeof n);
    if (n == 1) turn_done();
  }
}

static int64_t acknowledged_by(const char *path) {
  char name[700];
  int64_t n = 0;
  (void)snprintf(name, sizeof name, "%s-acknowledged", path);
  int in = open(name, O_RDONLY);
  CHECK(in >= 0);
  CHECK_INT(pread(in, &n, sizeof n, 0), sizeof n);
  close(in);
  return n;
}

/* Lets it live for 50 ms beyond its first commit. */
static void live_and_die(KVStore *kv, const char *path, int64_t who) {
  enum { LIFE_MS = 50 };
  char key[32];
  Child mortal = child_start_with("mortal", path, 0, who);
  wait_for_turn(&mortal);
  uint64_t born = test_now_ms();
  int length = mortal_key(key, who);
  while (test_now_ms() < born + LIFE_MS) (void)kv_number(kv, key, length);
  child_kill(&mortal);
  int64_t acknowledged = acknowledged_by(path), found = kv_number(kv, key, length);
  CHECK(found == acknowledged || found == acknowledged + 1);
}

TEST(bank, killed_every_50_ms_a_process_loses_nothing_that_was_acknowledged) {
  const char *path = path_of("store");
  make_accounts(path);
  KVStore *kv = opened(path);
  Child bank = child_start_with("bank", path, 0, 9);
  Look look = look_open(kv);
  give_turn(&bank);
  int64_t deaths = (int64_t)test_scaled(20);
  for (int64_t who = 0; who < deaths; who++) {
    live_and_die(kv, path, who);
    check_totals(look.kv, look.table, look.query);
  }
  wait_for_turn(&bank);
  child_finish(&bank);
  check_totals(look.kv, look.table, look.query);
  look_close(&look);
  CHECK_OK(kvstore_close(kv));
  check_at_rest(path);
}

/* ---- get, then put ---- */

enum { FIVE = 5, OPERATIONS = 4000 }; /* the long form, of scale 25, is of 100,000 each */

static int own_key(char key[32], int64_t who, uint64_t i) {
  return snprintf(key, 32, "p%d-%08llu", (int)who, (unsigned long long)i);
}

/* Each row is made from the one before, which has to be there. */
ROLE(one_of_five) {
  KVStore *kv = opened(path);
  char key[32];
  uint64_t count = test_scaled(OPERATIONS);
  CHECK(next_turn());
  put_number(kv, key, own_key(key, role_number(), 0), 1);
  for (uint64_t i = 1; i < count; i++) {
    int64_t before = kv_number(kv, key, own_key(key, role_number(), i - 1));
    CHECK_INT(before, i);
    put_number(kv, key, own_key(key, role_number(), i), before + 1);
  }
  turn_done();
  CHECK_OK(kvstore_close(kv));
}

TEST(bank, five_processes_get_and_put_and_every_row_is_there) {
  const char *path = path_of("store");
  KVStore *kv = opened(path);
  Child five[FIVE];
  for (int i = 0; i < FIVE; i++) five[i] = child_start_with("one_of_five", path, 0, i);
  turn_together(five, FIVE);
  uint64_t count = test_scaled(OPERATIONS);
  char key[32];
  CHECK_INT(count_of(kv), FIVE * count);
  for (int i = 0; i < FIVE; i++)
    for (uint64_t n = 0; n < count; n++) CHECK_INT(kv_number(kv, key, own_key(key, i, n)), n + 1);
  children_finish(five, FIVE);
  CHECK_OK(kvstore_close(kv));
}
