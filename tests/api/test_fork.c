/* fork with a store open: what the child inherited is inert, the parent's locks stay the parent's, and both work on the
 * same file, in whatever order they end. */
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/api/api_support.h"
#include "tests/support/children.h"

/* Clang's, which the suite is built with under sanitizers. */
#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZER 1
#endif
#if __has_feature(address_sanitizer)
#define ADDRESS_SANITIZER 1
#endif
#endif

/* ---- helpers ---- */

static void put_number(KVStore *kv, const char *prefix, int i) {
  char key[32];
  int length = snprintf(key, sizeof key, "%s%05d", prefix, i);
  CHECK_OK(kvstore_put(kv, key, length, &i, sizeof i));
}

static int has_number(KVStore *kv, const char *prefix, int i) {
  char key[32];
  int length = snprintf(key, sizeof key, "%s%05d", prefix, i);
  void *value = NULL;
  int bytes = 0, found = -1;
  int status = kvstore_get(kv, key, length, &value, &bytes);
  if (status == KVSTORE_OK && bytes == sizeof found) memcpy(&found, value, sizeof found);
  kvstore_free(value);
  return status == KVSTORE_OK && found == i;
}

static KVTable *make_table(KVStore *kv) {
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 }, { "n", KVTABLE_TYPE_I64, 0, 0 } };
  const char *const key[] = { "id" };
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, "t", columns, 2, key, 1, &table));
  for (int64_t i = 0; i < 10; i++) {
    KVValue row[] = { kvvalue_i64(i), kvvalue_i64(i) };
    CHECK_OK(kvtable_upsert(table, row, 2, 0));
  }
  return table;
}

static int add_number(KVBulkLoad *load, int i) {
  char key[32];
  int length = snprintf(key, sizeof key, "load%05d", i * 7919 % 10000);
  return kvstore_bulk_load_add(load, key, length, &i, sizeof i, 0);
}

/* ---- what was inherited ---- */

static void check_inert(KVStore *kv, int status) {
  CHECK_STATUS(status, KVSTORE_ERROR);
  CHECK(strstr(kvstore_errmsg(kv), "forked") != NULL);
}

TEST(fork, a_child_may_close_what_it_inherited_and_nothing_else) {
  KVStore *kv = open_store(), *reading = NULL;
  KVColumnFamily *cf = NULL;
  KVIterator *it = NULL;
  KVQuery *query = NULL;
  KVCursor *cursor = NULL;
  put_text(kv, "a", "1");
  KVTable *table = make_table(kv);
  KVFamilyOptions options = KVSTORE_FAMILY_OPTIONS_INIT;
  KVChanges *changes = NULL;
  KVChange change = KVSTORE_CHANGE_INIT;
  options.changes_ms = 1000000;
  CHECK_OK(kvstore_cf_create_with(kv, "family", &options, &cf));
  CHECK_OK(kvstore_cf_put(cf, "followed", 8, "1", 1));
  CHECK_OK(kvstore_changes_open(kv, cf, KVSTORE_CHANGES_OLDEST, &changes));
  CHECK_OK(kvstore_clone(kv, &reading));
  CHECK_OK(kvstore_begin(reading, 0));
  CHECK_OK(kvstore_iterator_create(kv, &it));
  CHECK_OK(kvstore_iterator_first(it));
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_open(query, &cursor));
  CHECK_OK(kvcursor_next(cursor));
  KVSnapshot *snapshot = NULL;
  KVPinned *pinned = NULL;
  CHECK_OK(kvstore_snapshot_create(kv, &snapshot));
  CHECK_OK(kvstore_get_pinned(kv, "a", 1, &pinned));
  CHECK_OK(kvstore_begin(kv, 1));
  put_text(kv, "b", "2");
  pid_t child = fork();
  if (child == 0) {
    void *data = NULL;
    int length = 0;
    uint64_t count = 0;
    KVStore *other = NULL;
    KVValue key = kvvalue_i64(1), row[] = { kvvalue_i64(1), kvvalue_i64(1) };
    check_inert(kv, kvstore_get(kv, "a", 1, &data, &length));
    check_inert(kv, kvstore_put(kv, "a", 1, "2", 1));
    check_inert(kv, kvstore_commit(kv));
    check_inert(kv, kvstore_rollback(kv));
    check_inert(kv, kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
    check_inert(kv, kvstore_sync(kv));
    check_inert(kv, kvstore_clone(kv, &other));
    check_inert(reading, kvstore_rollback(reading));
    check_inert(kv, kvstore_cf_put(cf, "a", 1, "2", 1));
    check_inert(kv, kvstore_iterator_next(it));
    check_inert(kv, kvstore_iterator_first(it));
    check_inert(kv, kvstore_iterator_seek(it, "a", 1));
    check_inert(kv, kvstore_iterator_key(it, &data, &length));
    check_inert(kv, kvstore_iterator_value(it, &data, &length));
    CHECK(kvstore_iterator_eof(it));
    check_inert(kv, kvtable_upsert(table, row, 2, 0));
    check_inert(kv, kvtable_delete(table, &key, 1));
    check_inert(kv, kvquery_count(query, &count));
    check_inert(kv, kvcursor_next(cursor));
    KVColumnDefinition column;
    check_inert(kv, kvcursor_column(cursor, 0, &column));
    check_inert(kv, kvquery_cancel(query));
    check_inert(kv, kvstore_snapshot_get(snapshot, NULL, "a", 1, &data, &length, NULL));
    KVIterator *rows = NULL;
    check_inert(kv, kvstore_snapshot_iterator_create(snapshot, NULL, NULL, &rows));
    check_inert(kv, kvstore_incremental_vacuum(kv, 0));
    check_inert(kv, kvstore_changes_next(changes, &change));
    kvstore_changes_close(changes);
    kvstore_pinned_release(pinned);
    kvstore_snapshot_release(snapshot);
    kvcursor_close(cursor);
    kvquery_close(query);
    kvtable_close(table);
    kvstore_iterator_close(it);
    kvstore_cf_close(cf);
    CHECK_OK(kvstore_close(kv));
    CHECK_OK(kvstore_close(reading));
    _exit(0);
  }
  process_ended_well(child);
  CHECK_OK(kvstore_commit(kv)); /* nothing of it happened here */
  CHECK_OK(kvstore_iterator_next(it));
  CHECK_OK(kvcursor_next(cursor));
  check_text(kv, "a", "1");
  check_text(kv, "b", "2");
  CHECK_OK(kvstore_changes_next(changes, &change));
  kvstore_changes_close(changes);
  kvstore_pinned_release(pinned);
  kvstore_snapshot_release(snapshot);
  kvcursor_close(cursor);
  kvquery_close(query);
  kvtable_close(table);
  kvstore_iterator_close(it);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(reading));
  CHECK_OK(kvstore_close(kv));
}

TEST(fork, a_store_in_memory_stays_its_makers) {
  KVStore *kv = NULL;
  CHECK_OK(kvstore_open(NULL, &kv, KVSTORE_JOURNAL_WAL));
  put_text(kv, "a", "1");
  pid_t child = fork();
  if (child == 0) {
    KVStore *own = NULL;
    check_inert(kv, kvstore_put(kv, "a", 1, "2", 1));
    CHECK_OK(kvstore_open(NULL, &own, KVSTORE_JOURNAL_WAL));
    put_text(own, "a", "3");
    check_text(own, "a", "3");
    CHECK_OK(kvstore_close(own));
    CHECK_OK(kvstore_close(kv));
    _exit(0);
  }
  process_ended_well(child);
  check_text(kv, "a", "1");
  CHECK_OK(kvstore_close(kv));
}

TEST(fork, a_childs_copies_of_bulk_loads_leave_the_parents_alone) {
  enum { ROWS = 10000 };
  KVBulkOptions options = KVSTORE_BULK_OPTIONS_INIT;
  KVBulkLoad *load = NULL, *second = NULL;
  KVStore *kv = open_store();
  options.memory_bytes = 1; /* the least: runs lie in the file already */
  CHECK_OK(kvstore_bulk_load_begin(kv, NULL, &options, &load));
  CHECK_OK(kvstore_bulk_load_begin(kv, NULL, &options, &second));
  for (int i = 0; i < ROWS / 2; i++) CHECK_OK(add_number(load, i));
  for (int i = 0; i < ROWS / 2; i++) CHECK_OK(add_number(second, i));
  pid_t child = fork();
  if (child == 0) {
    check_inert(kv, add_number(load, 0));
    check_inert(kv, kvstore_bulk_load_commit(load, NULL));
    CHECK_OK(kvstore_close(kv));
    kvstore_bulk_load_abort(second);
    _exit(0);
  }
  process_ended_well(child);
  for (int i = 0; i < ROWS / 2; i++) put_number(kv, "other", i); /* takes what the child may have given away */
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  for (int i = ROWS / 2; i < ROWS; i++) CHECK_OK(add_number(load, i));
  CHECK_OK(kvstore_bulk_load_commit(load, NULL));
  kvstore_bulk_load_abort(second);
  CHECK_INT(count_of(kv), ROWS + ROWS / 2);
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  CHECK_OK(kvstore_close(kv));
}

/* ---- locks ---- */

/* Another process, with no part in the fork. */
ROLE(stranger) {
  KVStore *kv = NULL;
  CHECK_OK(kvstore_open(path, &kv, KVSTORE_JOURNAL_WAL));
  check_text(kv, "parent", "here");
  put_text(kv, "stranger", "was here");
  CHECK_OK(kvstore_close(kv)); /* not the last: the page stays */
}

static void let_a_stranger_visit(void) {
  Child stranger = child_start("stranger", path_of("store"));
  child_finish(&stranger);
}

TEST(fork, the_parents_locks_outlast_a_child_that_closes_and_ends) {
  KVStore *kv = open_store();
  put_text(kv, "parent", "here");
  for (int way = 0; way < 2; way++) {
    pid_t child = fork();
    if (child == 0) {
      if (way) CHECK_OK(kvstore_close(kv));
      _exit(0);
    }
    process_ended_well(child);
    let_a_stranger_visit();
    CHECK(file_exists(path_of("store-shm")));
    check_text(kv, "stranger", "was here");
    put_text(kv, "parent", "here");
  }
  CHECK_OK(kvstore_close(kv));
  CHECK(!file_exists(path_of("store-shm")));
}

/* A child that does nothing must not look like a process that has the store open. */
TEST(fork, a_child_that_lives_on_holds_nothing_of_the_parents) {
  int turns[2];
  char c;
  CHECK_INT(pipe(turns), 0);
  KVStore *kv = open_store();
  put_text(kv, "parent", "here");
  CHECK_OK(kvstore_begin(kv, 1));
  pid_t child = fork();
  if (child == 0) {
    close(turns[1]);
    _exit(read(turns[0], &c, 1) != 0);
  }
  close(turns[0]);
  CHECK_OK(kvstore_commit(kv));
  CHECK_OK(kvstore_close(kv)); /* the last one: all goes into the file */
  CHECK(!file_exists(path_of("store-shm")));
  CHECK(!file_exists(path_of("store-wal")));
  let_a_stranger_visit();
  close(turns[1]);
  process_ended_well(child);
}

TEST(fork, the_writers_death_is_seen_while_its_child_lives) {
  int turns[2], pid_pipe[2];
  pid_t grandchild;
  (void)test_directory(); /* one for all of them */
  CHECK_INT(pipe(turns), 0);
  CHECK_INT(pipe(pid_pipe), 0);
  KVStore *kv = NULL;
  pid_t writer = fork();
  if (writer == 0) {
    KVStore *own = open_store();
    CHECK_OK(kvstore_begin(own, 1));
    put_text(own, "never", "committed");
    grandchild = fork();
    if (grandchild == 0) {
      char c;
      close(turns[1]);
      _exit(read(turns[0], &c, 1) != 0);
    }
    CHECK_INT(write(pid_pipe[1], &grandchild, sizeof grandchild), sizeof grandchild);
    kill(getpid(), SIGKILL);
  }
  int how;
  CHECK_INT(read(pid_pipe[0], &grandchild, sizeof grandchild), sizeof grandchild);
  CHECK_INT(waitpid(writer, &how, 0), writer);
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.busy_timeout_ms = 30000; /* until the grandchild's fork has returned there */
  CHECK_OK(kvstore_open_with(path_of("store"), &kv, &options));
  put_text(kv, "survivor", "writes");
  check_text(kv, "never", NULL);
  CHECK_OK(kvstore_close(kv));
  CHECK(!file_exists(path_of("store-shm")));
  close(turns[1]);
  close(turns[0]);
}

/* ---- both work ---- */

TEST(fork, parent_and_child_write_the_same_file) {
  enum { PUTS = 400 };
  KVStore *kv = open_store();
  pid_t child = fork();
  if (child == 0) {
    KVStore *own = open_store();
    for (int i = 0; i < PUTS; i++) put_number(own, "child", i);
    CHECK_OK(kvstore_close(own));
    CHECK_OK(kvstore_close(kv));
    _exit(0);
  }
  for (int i = 0; i < PUTS; i++) put_number(kv, "parent", i);
  process_ended_well(child);
  for (int i = 0; i < PUTS; i++) CHECK(has_number(kv, "child", i) && has_number(kv, "parent", i));
  CHECK_OK(kvstore_close(kv));
}

/* Each opens the store, forks the next and writes; they die as it falls, every third one without a close. */
TEST(fork, generations_end_in_any_order_and_lose_nothing) {
  enum { GENERATIONS = 12, PUTS = 40 };
#ifdef THREAD_SANITIZER
  SKIP("the thread sanitizer does not follow a fork with threads");
#endif
  int said[2];
  (void)test_directory(); /* one for all of them */
  CHECK_INT(pipe(said), 0);
  pid_t first = fork();
  if (first == 0) {
    close(said[0]);
    int generation = 0;
    for (;;) {
      KVStore *kv = open_store();
      pid_t next = generation + 1 < GENERATIONS ? fork() : -1;
      if (next == 0) {
        if (generation % 2) CHECK_OK(kvstore_close(kv));
        generation++;
        continue;
      }
      char prefix[16];
      (void)snprintf(prefix, sizeof prefix, "g%02d-", generation);
      for (int i = 0; i < PUTS; i++) put_number(kv, prefix, i);
      CHECK_INT(write(said[1], "d", 1), 1);
      if (generation % 3 == 2) kill(getpid(), SIGKILL);
      CHECK_OK(kvstore_close(kv));
      _exit(0);
    }
  }
  close(said[1]);
  char c;
  int heard = 0;
  while (read(said[0], &c, 1) == 1) heard++; /* ends when the last of them has ended */
  CHECK_INT(heard, GENERATIONS);
  int how;
  CHECK_INT(waitpid(first, &how, 0), first);
  KVStore *kv = open_store();
  for (int g = 0; g < GENERATIONS; g++) {
    char prefix[16];
    (void)snprintf(prefix, sizeof prefix, "g%02d-", g);
    for (int i = 0; i < PUTS; i++) CHECK(has_number(kv, prefix, i));
  }
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  CHECK_OK(kvstore_close(kv));
}

/* ---- while other threads are at it ---- */

typedef struct Busy {
  KVStore *kv;
  _Atomic int stop;
  _Atomic int rounds;
} Busy;

static void *put_and_get(void *context) {
  Busy *busy = context;
  for (int i = 0; !atomic_load(&busy->stop); i = (i + 1) % 1000) {
    put_number(busy->kv, "busy", i);
    CHECK(has_number(busy->kv, "busy", i));
    if (i % 100 == 0) CHECK_OK(kvstore_checkpoint(busy->kv, KVSTORE_CHECKPOINT_PASSIVE, NULL, NULL));
    atomic_fetch_add(&busy->rounds, 1);
  }
  return NULL;
}

static void *open_and_close(void *context) {
  Busy *busy = context;
  while (!atomic_load(&busy->stop)) {
    KVStore *kv = NULL;
    CHECK_OK(kvstore_open(path_of("other"), &kv, KVSTORE_JOURNAL_WAL));
    put_text(kv, "a", "1");
    CHECK_OK(kvstore_close(kv));
    atomic_fetch_add(&busy->rounds, 1);
  }
  return NULL;
}

TEST(fork, a_child_of_a_busy_process_opens_the_store_itself) {
#ifdef THREAD_SANITIZER
  SKIP("the thread sanitizer does not follow a fork with threads");
#endif
#ifdef ADDRESS_SANITIZER
  SKIP("a lock of the address sanitizer's allocator may be held by a thread that the child does not have");
#endif
  Busy busy = { .kv = open_store() };
  pthread_t threads[3];
  CHECK_INT(pthread_create(&threads[0], NULL, put_and_get, &busy), 0);
  CHECK_INT(pthread_create(&threads[1], NULL, put_and_get, &busy), 0);
  CHECK_INT(pthread_create(&threads[2], NULL, open_and_close, &busy), 0);
  int forks = (int)test_scaled(40);
  for (int i = 0; i < forks; i++) {
    int before = atomic_load(&busy.rounds);
    while (atomic_load(&busy.rounds) < before + 5) sched_yield();
    pid_t child = fork();
    if (child == 0) {
      alarm(60); /* rather than hang */
      KVStore *own = NULL;
      if (i % 2) CHECK_OK(kvstore_close(busy.kv));
      CHECK_OK(kvstore_open(path_of("store"), &own, KVSTORE_JOURNAL_WAL));
      put_number(own, "child", i);
      CHECK_OK(kvstore_close(own));
      _exit(0);
    }
    process_ended_well(child);
    CHECK(has_number(busy.kv, "child", i));
  }
  atomic_store(&busy.stop, 1);
  for (int i = 0; i < 3; i++) CHECK_INT(pthread_join(threads[i], NULL), 0);
  CHECK_OK(kvstore_close(busy.kv));
}

/* ---- exec ---- */

/* No descriptor of this program leads to the store. */
ROLE(lists_descriptors) {
  DIR *own = opendir("/proc/self/fd");
  CHECK(own != NULL);
  for (struct dirent *entry = readdir(own); entry; entry = readdir(own)) {
    char link[300], target[700];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%s", entry->d_name);
    ssize_t length = readlink(link, target, sizeof target - 1);
    if (length < 0) continue;
    target[length] = 0;
    CHECK(strncmp(target, path, strlen(path)) != 0);
    CHECK(strstr(target, "memfd") == NULL);
  }
  closedir(own);
}

/* Without a fork's handlers: the descriptors are the parent's until exec closes them. */
TEST(fork, descriptors_are_closed_by_exec) {
  KVStore *kv = open_store(), *in_memory = NULL, *reading = NULL;
  CHECK_OK(kvstore_open(NULL, &in_memory, KVSTORE_JOURNAL_WAL));
  put_text(in_memory, "a", "1");
  put_text(kv, "a", "1");
  CHECK_OK(kvstore_clone(kv, &reading));
  CHECK_OK(kvstore_begin(reading, 0)); /* a pin with a descriptor of its own */
  char role[] = "COLONNADE_TEST_ROLE=lists_descriptors", path[640], *arguments[] = { (char *)"child", NULL };
  (void)snprintf(path, sizeof path, "COLONNADE_TEST_PATH=%s", path_of("store"));
  char *environment[] = { role, path, NULL };
  pid_t child = vfork(); /* the child has the parent's memory, so it changes nothing */
  if (child == 0) {
    execve("/proc/self/exe", arguments, environment);
    _exit(99);
  }
  process_ended_well(child);
  CHECK_OK(kvstore_close(reading));
  CHECK_OK(kvstore_close(kv));
  CHECK_OK(kvstore_close(in_memory));
}
