/* What the path of a store means: relative ones, links, and files that were moved or replaced while they were open. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/api/api_support.h"

static KVStore *open_at(const char *path, const char *password) {
  KVStore *kv = NULL;
  KVStoreOptions options = options_with(password);
  CHECK_OK(kvstore_open_with(path, &kv, &options));
  CHECK(kv != NULL);
  return kv;
}

static void make_store(const char *path, const char *password, const char *key) {
  KVStore *kv = open_at(path, password);
  put_text(kv, key, "value");
  CHECK_OK(kvstore_close(kv));
}

/* The path holds a store with this key, and `keys` in all. */
static void check_store(const char *path, const char *password, const char *key, int64_t keys) {
  KVStore *kv = open_at(path, password);
  CHECK_INT(kvstore_is_encrypted(kv), password != NULL);
  check_text(kv, key, "value");
  CHECK_INT(count_of(kv), keys);
  CHECK_OK(kvstore_close(kv));
}

static void make_directory(const char *name) { CHECK_INT(mkdir(path_of(name), 0777), 0); }

/* ---- the directory of the process ---- */

TEST(paths, a_relative_one_means_the_same_file_wherever_the_process_goes) {
  make_directory("elsewhere");
  CHECK_INT(chdir(test_directory()), 0);
  KVStore *kv = open_at("store", "secret"), *again = NULL;
  put_text(kv, "key", "value");
  CHECK_INT(chdir("elsewhere"), 0);
  KVStoreOptions options = options_with("secret");
  CHECK_OK(kvstore_open_with("../store", &again, &options));
  put_text(again, "more", "value");
  CHECK_OK(kvstore_close(again));
  CHECK_OK(kvstore_remove_encryption(kv));
  put_text(kv, "last", "value");
  CHECK_OK(kvstore_close(kv));
  CHECK_INT(chdir(".."), 0);
  CHECK_INT(rmdir("elsewhere"), 0); /* nothing was left there */
  CHECK(!file_exists(path_of("store-wal")));
  CHECK(!file_exists(path_of("store-shm")));
  check_store(path_of("store"), NULL, "last", 3);
}

TEST(paths, in_delete_mode_path_journal_lies_beside_the_store_wherever_the_process_goes) {
  make_directory("elsewhere");
  CHECK_INT(chdir(test_directory()), 0);
  KVStore *kv = NULL;
  CHECK_OK(kvstore_open("store", &kv, KVSTORE_JOURNAL_DELETE));
  CHECK_INT(chdir("elsewhere"), 0);
  CHECK_OK(kvstore_begin(kv, 1));
  put_text(kv, "key", "value");
  CHECK(file_exists(path_of("store-journal")));
  CHECK_OK(kvstore_commit(kv));
  CHECK(!file_exists(path_of("store-journal")));
  CHECK_OK(kvstore_close(kv));
}

/* ---- files that are moved and replaced ---- */

TEST(paths, removing_the_encryption_leaves_a_file_alone_that_took_the_stores_place) {
  make_store(path_of("other"), NULL, "theirs");
  KVStore *kv = open_at(path_of("store"), "secret");
  put_text(kv, "ours", "value");
  CHECK_INT(rename(path_of("other"), path_of("store")), 0);
  CHECK_STATUS(kvstore_remove_encryption(kv), KVSTORE_PROTOCOL);
  CHECK(strstr(kvstore_errmsg(kv), path_of("store")) != NULL);
  CHECK_INT(kvstore_is_encrypted(kv), 1);
  put_text(kv, "more", "value");
  check_text(kv, "ours", "value");
  CHECK_OK(kvstore_close(kv));
  check_store(path_of("store"), NULL, "theirs", 1);
}

TEST(paths, a_store_that_was_moved_away_does_not_come_back_plain) {
  make_directory("elsewhere");
  KVStore *kv = open_at(path_of("store"), "secret");
  put_text(kv, "key", "value");
  CHECK_INT(rename(path_of("store"), path_of("elsewhere/store")), 0);
  CHECK_STATUS(kvstore_remove_encryption(kv), KVSTORE_PROTOCOL);
  put_text(kv, "more", "value");
  CHECK_OK(kvstore_close(kv));
  CHECK(!file_exists(path_of("store")));
  CHECK(!file_exists(path_of("store-rewrite")));
  check_store(path_of("elsewhere/store"), "secret", "more", 2);
}

/* ---- symbolic links ---- */

/* What the process then prints, into the void, must not go into the store. */
TEST(paths, files_never_take_the_places_of_standard_files_that_are_closed) {
  enum { SAVED = 20 };
  KVStore *kv = NULL;
  int opened, put, taken = 0, written = 0;
  for (int d = 0; d < 3; d++) CHECK(fcntl(d, F_DUPFD, SAVED + d) == SAVED + d);
  for (int d = 0; d < 3; d++) (void)close(d);
  opened = kvstore_open(path_of("store"), &kv, KVSTORE_JOURNAL_WAL);
  put = kvstore_put(kv, "k", 1, "v", 1);
  for (int d = 0; d < 3; d++) {
    taken += fcntl(d, F_GETFD) >= 0;
    written += write(d, "printed", 7) > 0;
  }
  for (int d = 0; d < 3; d++) (void)dup2(SAVED + d, d);
  CHECK_OK(opened);
  CHECK_OK(put);
  CHECK_INT(taken, 0);
  CHECK_INT(written, 0);
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  CHECK_OK(kvstore_close(kv));
  CHECK_OK(kvstore_open(path_of("store"), &kv, KVSTORE_JOURNAL_WAL));
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  CHECK_OK(kvstore_close(kv));
}

TEST(paths, a_link_to_a_store_encrypts_the_store_and_stays_a_link) {
  struct stat found;
  make_directory("elsewhere");
  make_store(path_of("elsewhere/store"), NULL, "key");
  CHECK_INT(symlink("elsewhere/store", path_of("link")), 0);
  check_store(path_of("link"), "secret", "key", 1);
  CHECK_INT(lstat(path_of("link"), &found), 0);
  CHECK(S_ISLNK(found.st_mode));
  check_store(path_of("elsewhere/store"), "secret", "key", 1);
  KVStore *kv = open_at(path_of("link"), "secret");
  CHECK_OK(kvstore_remove_encryption(kv));
  CHECK_OK(kvstore_close(kv));
  CHECK_INT(lstat(path_of("link"), &found), 0);
  CHECK(S_ISLNK(found.st_mode));
  check_store(path_of("elsewhere/store"), NULL, "key", 1);
}

static void play_other_process(const char *path) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    KVStore *kv = NULL;
    if (kvstore_open(path, &kv, KVSTORE_JOURNAL_WAL) != KVSTORE_OK) _exit(2);
    if (kvstore_put(kv, "theirs", 6, "value", 5) != KVSTORE_OK) _exit(3);
    _exit(kvstore_close(kv) == KVSTORE_OK ? 0 : 4);
  }
  int ended = 0;
  CHECK_INT(waitpid(child, &ended, 0), child);
  CHECK(WIFEXITED(ended));
  CHECK_INT(WEXITSTATUS(ended), 0);
}

TEST(paths, processes_that_come_by_the_file_and_by_a_link_share_the_store) {
  make_directory("elsewhere");
  make_store(path_of("elsewhere/store"), NULL, "key");
  CHECK_INT(symlink(path_of("elsewhere/store"), path_of("link")), 0);
  KVStore *kv = open_at(path_of("link"), NULL);
  put_text(kv, "ours", "value");
  CHECK(file_exists(path_of("elsewhere/store-wal")));
  CHECK(!file_exists(path_of("link-wal")));
  play_other_process(path_of("elsewhere/store"));
  play_other_process(path_of("link"));
  check_text(kv, "theirs", "value");
  CHECK_OK(kvstore_close(kv));
  check_store(path_of("elsewhere/store"), NULL, "ours", 3);
}

TEST(paths, a_killed_process_that_came_by_a_link_leaves_its_log_beside_the_file) {
  make_directory("elsewhere");
  make_store(path_of("elsewhere/store"), NULL, "key");
  CHECK_INT(symlink(path_of("elsewhere/store"), path_of("link")), 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    KVStore *kv = NULL;
    if (kvstore_open(path_of("link"), &kv, KVSTORE_JOURNAL_WAL) != KVSTORE_OK) _exit(2);
    _exit(kvstore_put(kv, "acknowledged", 12, "value", 5)); /* without a close */
  }
  int ended = 0;
  CHECK_INT(waitpid(child, &ended, 0), child);
  CHECK(WIFEXITED(ended));
  CHECK_INT(WEXITSTATUS(ended), 0);
  check_store(path_of("elsewhere/store"), NULL, "acknowledged", 2);
}

TEST(paths, a_link_to_nothing_is_refused_by_its_name_and_makes_nothing) {
  KVStore *kv = (KVStore *)1;
  CHECK_INT(symlink(path_of("nothing"), path_of("link")), 0);
  CHECK_STATUS(kvstore_open(path_of("link"), &kv, KVSTORE_JOURNAL_WAL), KVSTORE_NOTFOUND);
  CHECK(kv == NULL);
  CHECK(strstr(kvstore_errmsg(NULL), "link is a symbolic link to a file that is not there") != NULL);
  CHECK(!file_exists(path_of("nothing")));
}

TEST(paths, a_backup_by_a_link_takes_the_place_of_the_file_that_it_leads_to) {
  struct stat found;
  make_directory("elsewhere");
  make_store(path_of("elsewhere/backup"), NULL, "old");
  CHECK_INT(symlink(path_of("elsewhere/backup"), path_of("link")), 0);
  KVStore *kv = open_at(path_of("store"), NULL);
  put_text(kv, "new", "value");
  CHECK_OK(kvstore_backup(kv, path_of("link")));
  CHECK_OK(kvstore_close(kv));
  CHECK_INT(lstat(path_of("link"), &found), 0);
  CHECK(S_ISLNK(found.st_mode));
  check_store(path_of("elsewhere/backup"), NULL, "new", 1);
}

TEST(paths, a_backup_takes_no_name_of_the_stores_own_files) {
  static const char *const names[] = { "store-wal", "store-shm", "store-journal", "store-rewrite" };
  KVStore *kv = open_at(path_of("store"), NULL);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) { /* the log is an empty file still */
    CHECK_STATUS(kvstore_backup(kv, path_of(names[i])), KVSTORE_ERROR);
    CHECK(strstr(kvstore_errmsg(kv), names[i]) != NULL);
  }
  CHECK_OK(kvstore_close(kv));
  make_directory("elsewhere");
  CHECK_INT(symlink(test_directory(), path_of("elsewhere/here")), 0);
  kv = open_at(path_of("store"), NULL);
  CHECK_STATUS(kvstore_backup(kv, path_of("elsewhere/here/store-wal")), KVSTORE_ERROR);
  CHECK_OK(kvstore_close(kv));
}

TEST(paths, no_store_is_made_in_the_files_of_another) {
  static const char *const names[] = { "store-wal", "store-journal", "store-rewrite" };
  KVStore *kv = open_at(path_of("store"), NULL), *other = NULL;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) { /* the log is an empty file still */
    CHECK_STATUS(kvstore_open(path_of(names[i]), &other, KVSTORE_JOURNAL_WAL), KVSTORE_ERROR);
    CHECK(strstr(kvstore_errmsg(NULL), names[i]) != NULL);
  }
  CHECK(!file_exists(path_of("store-journal")));
  CHECK(!file_exists(path_of("store-rewrite")));
  put_text(kv, "key", "value");
  CHECK_OK(kvstore_close(kv));
  check_store(path_of("store"), NULL, "key", 1);
  make_store(path_of("alone-wal"), NULL, "key"); /* where there is no other, a name is a name */
  check_store(path_of("alone-wal"), NULL, "key", 1);
}

/* ---- messages ---- */

static void check_names(const char *path, const char *password, int code) {
  KVStore *kv = NULL;
  KVStoreOptions options = options_with(password);
  CHECK_STATUS(kvstore_open_with(path, &kv, &options), code);
  CHECK(strstr(kvstore_errmsg(NULL), path) != NULL);
}

TEST(paths, a_failed_open_names_the_file_whatever_is_wrong_with_it) {
  make_store(path_of("store"), "secret", "key");
  check_names(path_of("store"), "wrong", KVSTORE_AUTH_FAILED);
  check_names(path_of("store"), NULL, KVSTORE_AUTH_FAILED);
  CHECK_INT(truncate(path_of("store"), 5000), 0);
  check_names(path_of("store"), "secret", KVSTORE_CORRUPT);
  FILE *f = fopen(path_of("garbage"), "wb");
  CHECK(f && fputs("Dear reader, this is a letter and no store.", f) >= 0 && fclose(f) == 0);
  check_names(path_of("garbage"), NULL, KVSTORE_CORRUPT);
}

TEST(paths, a_log_that_is_cut_off_in_its_header_is_named) {
  make_store(path_of("store"), NULL, "before");
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    KVStore *kv = NULL;
    if (kvstore_open(path_of("store"), &kv, KVSTORE_JOURNAL_WAL) != KVSTORE_OK) _exit(2);
    _exit(kvstore_put(kv, "key", 3, "value", 5)); /* without a close */
  }
  int ended = 0;
  CHECK_INT(waitpid(child, &ended, 0), child);
  CHECK_INT(WEXITSTATUS(ended), 0);
  CHECK_INT(truncate(path_of("store-wal"), 100), 0);
  KVStore *kv = NULL;
  CHECK_STATUS(kvstore_open(path_of("store"), &kv, KVSTORE_JOURNAL_WAL), KVSTORE_CORRUPT);
  CHECK(strstr(kvstore_errmsg(NULL), path_of("store-wal")) != NULL);
}
