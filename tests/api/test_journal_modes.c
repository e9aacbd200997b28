/* The two journal modes, as programs see them: which files lie beside a store, and when; and that whatever was
 * committed under one mode is there under the other, however the store was left. */
#include <dirent.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/api/api_support.h"

enum { RING_BYTES = 1 << 20 };

static const char *mode_name(int mode) { return mode == KVSTORE_JOURNAL_WAL ? "wal" : "delete"; }
static int other_mode(int mode) { return mode == KVSTORE_JOURNAL_WAL ? KVSTORE_JOURNAL_DELETE : KVSTORE_JOURNAL_WAL; }

static KVStore *open_in(const char *name, int mode) {
  KVStore *kv = NULL;
  CHECK_OK(kvstore_open(path_of(name), &kv, mode));
  return kv;
}

static KVStore *open_sealed(const char *name, int mode) {
  KVStore *kv = NULL;
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.journal_mode = mode;
  options.password = "secret";
  options.password_length = 6;
  options.kdf_passes = 1;
  options.kdf_memory_bytes = 8 << 10;
  CHECK_OK(kvstore_open_with(path_of(name), &kv, &options));
  return kv;
}

/* The files of the test's directory, in one string: "store store-shm ". */
static const char *files(void) {
  static char names[1024];
  struct dirent **entries;
  int count = scandir(test_directory(), &entries, NULL, alphasort);
  CHECK(count >= 0);
  size_t used = 0;
  names[0] = 0;
  for (int i = 0; i < count; i++) {
    if (entries[i]->d_name[0] != '.')
      used += (size_t)snprintf(names + used, sizeof names - used, "%s ", entries[i]->d_name);
    free(entries[i]);
  }
  free(entries);
  return names;
}

static void check_files(const char *expected) {
  if (strcmp(files(), expected) != 0) (void)fprintf(stderr, "there is: %s; not: %s\n", files(), expected);
  CHECK(strcmp(files(), expected) == 0);
}

static void write_file(const char *name, const char *text) {
  FILE *f = fopen(path_of(name), "wb");
  CHECK(f != NULL);
  CHECK(fputs(text, f) >= 0);
  CHECK_INT(fclose(f), 0);
}

/* A child does this, and is gone without a close. */
static void in_a_killed_process(void (*what)(int mode), int mode) {
  (void)test_directory();
  (void)fflush(NULL);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    what(mode);
    _exit(0);
  }
  int how = -1;
  CHECK_INT(waitpid(child, &how, 0), child);
  CHECK_INT(how, 0);
}

/* ---- what lies beside the file ---- */

TEST(journal_modes, in_delete_mode_only_the_page_lies_beside_the_file_between_transactions) {
  KVStore *kv = open_in("store", KVSTORE_JOURNAL_DELETE);
  check_files("store store-shm ");
  put_text(kv, "a", "1");
  check_files("store store-shm ");
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_TRUNCATE, NULL, NULL));
  put_text(kv, "b", "2");
  check_files("store store-shm ");
  CHECK_OK(kvstore_close(kv));
  check_files("store ");
}

TEST(journal_modes, in_delete_mode_path_journal_is_there_from_the_first_write_of_a_transaction_to_its_end) {
  KVStore *kv = open_in("store", KVSTORE_JOURNAL_DELETE);
  for (int commits = 0; commits < 2; commits++) {
    CHECK_OK(kvstore_begin(kv, 1));
    CHECK(!file_exists(path_of("store-journal")));
    check_text(kv, "a", commits ? "1" : NULL);
    CHECK_STATUS(kvstore_delete(kv, "never", 5), KVSTORE_NOTFOUND);
    CHECK(!file_exists(path_of("store-journal")));
    put_text(kv, "a", "1");
    CHECK(file_exists(path_of("store-journal")));
    put_text(kv, "b", "2");
    CHECK(file_exists(path_of("store-journal")));
    CHECK_OK(commits ? kvstore_rollback(kv) : kvstore_commit(kv));
    CHECK(!file_exists(path_of("store-journal")));
  }
  CHECK_OK(kvstore_begin(kv, 1)); /* a transaction that writes nothing */
  CHECK_OK(kvstore_commit(kv));
  CHECK_OK(kvstore_begin(kv, 0));
  CHECK(!file_exists(path_of("store-journal")));
  CHECK_OK(kvstore_rollback(kv));
  CHECK_OK(kvstore_begin(kv, 1));
  put_text(kv, "c", "3");
  CHECK_OK(kvstore_close(kv)); /* rolls back */
  check_files("store ");
}

TEST(journal_modes, a_checkpoint_settles_the_log_inside_the_file_too) {
  KVStore *kv = open_in("store", KVSTORE_JOURNAL_DELETE);
  int held = 0, settled = 0;
  char value[5000] = { 0 };
  CHECK_OK(kvstore_put(kv, "a", 1, value, sizeof value));
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, &held, &settled));
  CHECK(held >= 2);
  CHECK_INT(settled, held);
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, &held, &settled));
  CHECK(held <= 1); /* the boundary at most */
  CHECK_OK(kvstore_close(kv));
}

TEST(journal_modes, in_delete_mode_a_table_and_a_family_make_path_journal_too) {
  KVStore *kv = open_in("store", KVSTORE_JOURNAL_DELETE);
  KVTable *table = create_people(kv);
  CHECK_OK(kvstore_begin(kv, 1));
  CHECK_OK(upsert_person(table, 1, "Ada", 1.7));
  CHECK(file_exists(path_of("store-journal")));
  CHECK_OK(kvstore_commit(kv));
  CHECK_OK(kvstore_begin(kv, 1));
  KVColumnFamily *cf = NULL;
  CHECK_OK(kvstore_cf_create(kv, "family", &cf));
  CHECK(file_exists(path_of("store-journal")));
  CHECK_OK(kvstore_rollback(kv));
  check_files("store store-shm ");
  kvstore_cf_close(cf);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

typedef struct Seen {
  int journals_made, journals_gone, logs_made;
} Seen;

static Seen look_at_events(int watch) {
  static _Alignas(struct inotify_event) char bytes[1 << 16];
  Seen seen = { 0 };
  ssize_t length = read(watch, bytes, sizeof bytes);
  for (ssize_t at = 0; at < length;) {
    struct inotify_event *event = (struct inotify_event *)(void *)(bytes + at);
    bool made = event->mask & IN_CREATE;
    if (event->len && strcmp(event->name, "store-journal") == 0)
      *(made ? &seen.journals_made : &seen.journals_gone) += 1;
    if (event->len && strcmp(event->name, "store-wal") == 0 && made) seen.logs_made++;
    at += (ssize_t)(sizeof *event + event->len);
  }
  return seen;
}

/* A single write is a transaction of its own. */
TEST(journal_modes, path_journal_comes_and_goes_with_every_write_in_delete_mode_and_never_in_wal_mode) {
  for (int mode = KVSTORE_JOURNAL_DELETE; mode <= KVSTORE_JOURNAL_WAL; mode++) {
    int watch = inotify_init1(IN_NONBLOCK);
    CHECK(watch >= 0);
    CHECK(inotify_add_watch(watch, test_directory(), IN_CREATE | IN_DELETE) >= 0);
    KVStore *kv = open_in("store", mode);
    for (int i = 0; i < 5; i++) put_text(kv, "a", "1");
    CHECK_OK(kvstore_begin(kv, 1));
    put_text(kv, "a", "2");
    CHECK_OK(kvstore_rollback(kv));
    CHECK_OK(kvstore_close(kv));
    Seen seen = look_at_events(watch);
    CHECK_INT(seen.journals_made, mode == KVSTORE_JOURNAL_DELETE ? 6 : 0);
    CHECK_INT(seen.journals_gone, seen.journals_made);
    CHECK_INT(seen.logs_made, mode == KVSTORE_JOURNAL_WAL);
    (void)close(watch);
  }
}

/* A store in a file of its own rights; the mask would give others more. */
TEST(journal_modes, path_journal_has_the_rights_of_the_store) {
  struct stat st;
  CHECK_OK(kvstore_close(open_in("store", KVSTORE_JOURNAL_DELETE)));
  CHECK_INT(chmod(path_of("store"), 0640), 0);
  mode_t mask = umask(0);
  KVStore *kv = open_in("store", KVSTORE_JOURNAL_DELETE);
  CHECK_OK(kvstore_begin(kv, 1));
  put_text(kv, "a", "1");
  CHECK_INT(stat(path_of("store-journal"), &st), 0);
  CHECK_INT(st.st_mode & 0777, 0640);
  CHECK_OK(kvstore_commit(kv));
  CHECK_OK(kvstore_close(kv));
  (void)umask(mask);
}

/* Another program's file of that name, beside what lies at the path by now. */
TEST(journal_modes, a_store_that_was_moved_touches_no_path_journal_at_its_former_name) {
  KVStore *kv = open_in("store", KVSTORE_JOURNAL_DELETE);
  put_text(kv, "a", "1");
  CHECK_INT(rename(path_of("store"), path_of("moved")), 0);
  write_file("store", "somebody else's");
  CHECK_OK(kvstore_begin(kv, 1));
  put_text(kv, "b", "2");
  CHECK(!file_exists(path_of("store-journal")));
  write_file("store-journal", "somebody else's");
  CHECK_OK(kvstore_commit(kv));
  CHECK_OK(kvstore_close(kv));
  CHECK_INT(file_size(path_of("store-journal")), 15);
  kv = open_in("moved", KVSTORE_JOURNAL_DELETE);
  check_text(kv, "b", "2");
  CHECK_OK(kvstore_close(kv));
}

/* ---- the mode of a life ---- */

TEST(journal_modes, the_first_openers_mode_holds_until_the_last_close) {
  for (int mode = KVSTORE_JOURNAL_DELETE; mode <= KVSTORE_JOURNAL_WAL; mode++) {
    const char *during = mode == KVSTORE_JOURNAL_WAL ? "store store-shm store-wal " : "store store-shm ";
    KVStore *first = open_in("store", mode), *second = open_in("store", other_mode(mode));
    put_text(second, "a", mode_name(mode));
    check_files(during);
    CHECK_OK(kvstore_close(first));
    CHECK_OK(kvstore_checkpoint(second, KVSTORE_CHECKPOINT_TRUNCATE, NULL, NULL));
    put_text(second, "b", mode_name(mode)); /* a log made anew, by the one of the other mode */
    check_files(during);
    CHECK_OK(kvstore_close(second));
    check_files("store ");
  }
}

static void put_as_a_joiner(int mode) {
  KVStore *kv = open_in("store", mode);
  put_text(kv, "joiner", "1");
  CHECK_OK(kvstore_close(kv));
}

/* The one that joins makes the log: in the mode of the first, and as large as that one asked for. */
TEST(journal_modes, a_process_that_joins_takes_the_mode_of_the_first) {
  for (int mode = KVSTORE_JOURNAL_DELETE; mode <= KVSTORE_JOURNAL_WAL; mode++) {
    KVStore *kv = open_in("store", mode);
    KVStoreInfo info = KVSTORE_INFO_INIT;
    in_a_killed_process(put_as_a_joiner, other_mode(mode));
    check_files(mode == KVSTORE_JOURNAL_WAL ? "store store-shm store-wal " : "store store-shm ");
    check_text(kv, "joiner", "1");
    CHECK_OK(kvstore_info(kv, &info));
    CHECK_INT(info.log_bytes, mode == KVSTORE_JOURNAL_WAL ? 64 << 20 : RING_BYTES);
    CHECK_OK(kvstore_delete(kv, "joiner", 6));
    CHECK_OK(kvstore_close(kv));
  }
}

/* ---- another mode at every open ---- */

TEST(journal_modes, a_closed_store_has_no_log_in_it_and_is_as_small_in_either_mode) {
  long sizes[2];
  for (int mode = KVSTORE_JOURNAL_DELETE; mode <= KVSTORE_JOURNAL_WAL; mode++) {
    KVStore *kv = open_in(mode_name(mode), mode);
    put_text(kv, "a", "1");
    CHECK_OK(kvstore_close(kv));
    sizes[mode] = file_size(path_of(mode_name(mode)));
  }
  CHECK_INT(sizes[KVSTORE_JOURNAL_DELETE], sizes[KVSTORE_JOURNAL_WAL]);
  CHECK(sizes[KVSTORE_JOURNAL_DELETE] < RING_BYTES / 16);
}

static void put_and_leave_a_transaction_open(int mode) {
  KVStore *kv = open_in("store", mode);
  int64_t count = count_of(kv);
  char key[32];
  (void)snprintf(key, sizeof key, "key%lld", (long long)count);
  put_text(kv, key, mode_name(mode));
  CHECK_OK(kvstore_begin(kv, 1));
  put_text(kv, "never committed", "1");
  _exit(0);
}

static void put_sealed_and_die(int mode) {
  KVStore *kv = open_sealed("store", mode);
  int64_t count = count_of(kv);
  char key[32];
  (void)snprintf(key, sizeof key, "key%lld", (long long)count);
  put_text(kv, key, mode_name(mode));
  _exit(0);
}

static void open_after_kill(KVStore *(*open)(const char *name, int mode), int mode, int64_t count) {
  KVStore *kv = open("store", mode);
  check_files(mode == KVSTORE_JOURNAL_WAL ? "store store-shm store-wal " : "store store-shm ");
  CHECK_INT(count_of(kv), count);
  check_text(kv, "never committed", NULL);
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  CHECK_OK(kvstore_close(kv));
  check_files("store ");
}

TEST(journal_modes, what_a_killed_process_committed_in_one_mode_is_there_in_the_other) {
  int64_t count = 0;
  for (int i = 0; i < 8; i++) {
    int died_in = i & 1, opened_in = i >> 1 & 1;
    in_a_killed_process(put_and_leave_a_transaction_open, died_in);
    if (died_in == KVSTORE_JOURNAL_DELETE) check_files("store store-journal store-shm ");
    if (i & 4) { /* two of them one behind the other: what the first left is recovered by one that is killed, too */
      in_a_killed_process(put_and_leave_a_transaction_open, other_mode(died_in));
      count++;
    }
    open_after_kill(open_in, opened_in, ++count);
  }
}

TEST(journal_modes, a_sealed_store_changes_its_mode_after_a_kill_as_well) {
  for (int i = 0; i < 4; i++) {
    in_a_killed_process(put_sealed_and_die, i & 1);
    open_after_kill(open_sealed, i >> 1 & 1, i + 1);
  }
}

TEST(journal_modes, a_path_journal_that_lies_about_means_nothing_and_goes_with_the_next_open_or_close) {
  for (int mode = KVSTORE_JOURNAL_DELETE; mode <= KVSTORE_JOURNAL_WAL; mode++) {
    KVStore *kv = open_in("store", mode);
    put_text(kv, "a", "1");
    write_file("store-journal", "not what a store would write");
    put_text(kv, "b", "2");
    check_text(kv, "a", "1");
    CHECK_OK(kvstore_close(kv));
    check_files("store ");
    write_file("store-journal", "not what a store would write");
    kv = open_in("store", mode);
    CHECK(!file_exists(path_of("store-journal")));
    check_text(kv, "a", "1");
    check_text(kv, "b", "2");
    CHECK_OK(kvstore_close(kv));
  }
}

static void write_in_a_transaction_and_die(int mode) {
  KVStore *kv = open_in("store", mode);
  CHECK_OK(kvstore_begin(kv, 1));
  put_text(kv, "never committed", "1");
  _exit(0);
}

TEST(journal_modes, what_a_killed_writer_left_goes_with_the_next_transaction_of_those_who_live) {
  KVStore *kv = open_in("store", KVSTORE_JOURNAL_DELETE);
  put_text(kv, "a", "1");
  in_a_killed_process(write_in_a_transaction_and_die, KVSTORE_JOURNAL_DELETE);
  check_files("store store-journal store-shm ");
  check_text(kv, "never committed", NULL);
  put_text(kv, "a", "2");
  check_files("store store-shm ");
  CHECK_OK(kvstore_close(kv));
}

/* ---- what else a store does, with the log inside ---- */

/* The values are many times the log; so is each of the transactions. */
TEST(journal_modes, transactions_larger_than_the_log_inside_the_file_commit_and_roll_back) {
  static char value[100000];
  char key[32];
  KVStore *kv = open_in("store", KVSTORE_JOURNAL_DELETE);
  for (int round = 0; round < 2; round++) {
    CHECK_OK(kvstore_begin(kv, 1));
    for (int i = 0; i < 40; i++) {
      memset(value, 'a' + i % 26, sizeof value);
      int length = snprintf(key, sizeof key, "%d.%d", round, i);
      CHECK_OK(kvstore_put(kv, key, length, value, (int)sizeof value));
    }
    CHECK(file_exists(path_of("store-journal")));
    CHECK_OK(round ? kvstore_rollback(kv) : kvstore_commit(kv));
    CHECK_INT(count_of(kv), 40);
    check_files("store store-shm ");
  }
  for (int i = 0; i < 60; i++) { /* the log goes round several times */
    int length = snprintf(key, sizeof key, "single %d", i);
    CHECK_OK(kvstore_put(kv, key, length, value, (int)sizeof value));
  }
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  CHECK_OK(kvstore_close(kv));
  kv = open_in("store", KVSTORE_JOURNAL_WAL);
  CHECK_INT(count_of(kv), 100);
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  CHECK_OK(kvstore_close(kv));
}

/* The log lies behind what is deleted: it goes, and the next write makes another. */
TEST(journal_modes, a_vacuum_shrinks_the_file_though_the_log_lies_at_its_end) {
  static char value[10000];
  char key[32];
  KVStore *kv = open_in("store", KVSTORE_JOURNAL_WAL);
  for (int i = 0; i < 600; i++) {
    for (size_t b = 0; b < sizeof value; b++) value[b] = (char)(b * (size_t)(i + 7) >> 3);
    int length = snprintf(key, sizeof key, "%d", i);
    CHECK_OK(kvstore_put(kv, key, length, value, (int)sizeof value));
  }
  CHECK_OK(kvstore_close(kv));
  kv = open_in("store", KVSTORE_JOURNAL_DELETE);
  for (int i = 0; i < 600; i++) CHECK_OK(kvstore_delete(kv, key, snprintf(key, sizeof key, "%d", i)));
  put_text(kv, "a", "1");
  long before = file_size(path_of("store"));
  CHECK_OK(kvstore_incremental_vacuum(kv, 10));
  long after = file_size(path_of("store"));
  CHECK(after < before);
  CHECK_OK(kvstore_incremental_vacuum(kv, 0));
  CHECK(file_size(path_of("store")) < after);
  CHECK(file_size(path_of("store")) < RING_BYTES);
  put_text(kv, "b", "2");
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  CHECK_OK(kvstore_close(kv));
  kv = open_in("store", KVSTORE_JOURNAL_DELETE);
  CHECK_INT(count_of(kv), 2);
  CHECK_OK(kvstore_close(kv));
}

TEST(journal_modes, a_vacuum_beside_another_handles_transaction_leaves_its_log_alone) {
  KVStore *kv = open_in("store", KVSTORE_JOURNAL_DELETE), *other = NULL;
  CHECK_OK(kvstore_clone(kv, &other));
  put_text(kv, "a", "1");
  CHECK_OK(kvstore_begin(kv, 1));
  put_text(kv, "b", "2");
  CHECK_OK(kvstore_incremental_vacuum(other, 0));
  CHECK_OK(kvstore_commit(kv));
  check_text(other, "a", "1");
  check_text(other, "b", "2");
  CHECK_OK(kvstore_close(other));
  CHECK_OK(kvstore_close(kv));
}

TEST(journal_modes, a_backup_of_a_store_with_its_log_inside_is_a_store_without_one) {
  KVStore *kv = open_in("store", KVSTORE_JOURNAL_DELETE);
  put_text(kv, "a", "1");
  CHECK_OK(kvstore_backup(kv, path_of("copy")));
  put_text(kv, "a", "2");
  CHECK(file_size(path_of("copy")) < RING_BYTES / 16);
  KVStore *copy = open_in("copy", KVSTORE_JOURNAL_DELETE);
  check_text(copy, "a", "1");
  CHECK_OK(kvstore_close(copy));
  check_text(kv, "a", "2");
  CHECK_OK(kvstore_close(kv));
}

TEST(journal_modes, a_store_with_its_log_inside_is_encrypted_and_decrypted_in_place) {
  in_a_killed_process(put_and_leave_a_transaction_open, KVSTORE_JOURNAL_DELETE);
  KVStore *kv = open_sealed("store", KVSTORE_JOURNAL_DELETE);
  check_text(kv, "key0", "delete");
  put_text(kv, "b", "2");
  CHECK_OK(kvstore_remove_encryption(kv));
  put_text(kv, "c", "3");
  check_files("store store-shm ");
  CHECK_OK(kvstore_close(kv));
  kv = open_in("store", KVSTORE_JOURNAL_WAL);
  CHECK_INT(count_of(kv), 3);
  CHECK_OK(kvstore_close(kv));
  check_files("store ");
}

TEST(journal_modes, a_store_in_memory_may_have_its_log_inside) {
  KVStore *kv = NULL;
  CHECK_OK(kvstore_open(NULL, &kv, KVSTORE_JOURNAL_DELETE));
  CHECK_OK(kvstore_begin(kv, 1));
  put_text(kv, "a", "1");
  CHECK_OK(kvstore_commit(kv));
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_TRUNCATE, NULL, NULL));
  put_text(kv, "b", "2");
  CHECK_INT(count_of(kv), 2);
  check_files("");
  CHECK_OK(kvstore_close(kv));
}

static void put_in_a_child(int mode) {
  KVStore *kv = open_in("store", mode);
  put_text(kv, "child", "1");
  CHECK_OK(kvstore_close(kv));
}

/* The child inherits the open transaction, and touches neither it nor its path-journal. */
TEST(journal_modes, a_forked_child_leaves_the_parents_path_journal_alone) {
  KVStore *kv = open_in("store", KVSTORE_JOURNAL_DELETE);
  CHECK_OK(kvstore_begin(kv, 1));
  put_text(kv, "a", "1");
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    (void)kvstore_close(kv);
    _exit(0);
  }
  int how = -1;
  CHECK_INT(waitpid(child, &how, 0), child);
  CHECK_INT(how, 0);
  CHECK(file_exists(path_of("store-journal")));
  CHECK_OK(kvstore_commit(kv));
  in_a_killed_process(put_in_a_child, KVSTORE_JOURNAL_DELETE);
  check_text(kv, "child", "1");
  CHECK_OK(kvstore_close(kv));
  check_files("store ");
}
