/* Whom a store's rights let in: its log, its page and its copies let in the same users, whoever made them. */
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/engine.h"
#include "tests/model/numbers.h"
#include "tests/support/children.h"

/* Its directory may be written by all. */
static const char *open_to_all(void) {
  CHECK_INT(chmod(test_directory(), 0777), 0);
  return store_path();
}

static Session *opened(const char *path) { return opened_with(path, small_log_options()); }

static struct stat look(const char *path, const char *ending) {
  char name[640];
  struct stat found;
  snprintf(name, sizeof name, "%s%s", path, ending);
  CHECK_INT(stat(name, &found), 0);
  return found;
}

static void check_rights(const char *path, const char *ending, mode_t mode) {
  CHECK_INT(look(path, ending).st_mode & 0777, mode);
}

/* ---- one user ---- */

static bool look_at_copy(void *context, uint64_t done, uint64_t total) {
  (void)done, (void)total;
  check_rights(store_path(), ".copy-backup", *(const mode_t *)context);
  return false;
}

/* With every way in which a log and a page come to be: at the open, again behind a TRUNCATE, and after a death. */
static void check_all_files(const char *path, mode_t mode) {
  char copy[640];
  CHECK_INT(chmod(path, mode), 0);
  Session *s = opened(path);
  put_number(s, "n", 1);
  check_rights(path, "-wal", mode);
  check_rights(path, "-shm", mode);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_TRUNCATE, NULL, NULL));
  put_number(s, "n", 2);
  check_rights(path, "-wal", mode);
  snprintf(copy, sizeof copy, "%s.copy", path);
  CHECK_OK(session_backup(s, copy, look_at_copy, &mode));
  check_rights(path, ".copy", mode);
  CHECK_INT(unlink(copy), 0);
  CHECK_OK(session_close(s));
  check_rights(path, "", mode);
}

TEST(rights, side_files_and_copies_have_those_of_the_store) {
  static const mode_t modes[] = { 0600, 0640, 0660, 0644, 0666 };
  const char *path = open_to_all();
  static const mode_t masks[] = { 0, 077 }; /* a mask says what new files get: these belong to an old one */
  for (size_t m = 0; m < sizeof masks / sizeof *masks; m++) {
    umask(masks[m]);
    CHECK_OK(session_close(opened(path)));
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) check_all_files(path, modes[i]);
  }
}

ROLE(dies_writing) {
  Session *s = opened(path);
  put_number(s, "n", role_number());
  turn_done();
  while (next_turn()) {}
}

TEST(rights, a_store_that_is_recovered_keeps_its_log_to_itself) {
  const char *path = open_to_all();
  umask(0);
  CHECK_OK(session_close(opened(path)));
  CHECK_INT(chmod(path, 0600), 0);
  for (int64_t n = 1; n <= 3; n++) {
    Child child = child_start_with("dies_writing", path, 0, n);
    wait_for_turn(&child);
    child_kill(&child);
    check_rights(path, "-wal", 0600);
    Session *s = opened(path);
    CHECK_INT(get_number(s, "n"), n);
    check_rights(path, "-wal", 0600);
    check_rights(path, "-shm", 0600);
    CHECK_OK(session_close(s));
  }
}

/* ---- several users ---- */

/* Turn n: reads n, writes n + 1. */
ROLE(writer_in_turn) {
  Session *s = opened(path);
  turn_done();
  for (int64_t n = role_number(); next_turn(); n += 2) {
    CHECK_INT(get_number(s, "n"), n);
    put_number(s, "n", n + 1);
    turn_done();
  }
  CHECK_OK(session_close(s));
}

ROLE(is_kept_out) {
  StoreOptions with = { .journal_mode = JOURNAL_WAL, .read_only = role_number() != 0 };
  Session *s = NULL;
  CHECK_STATUS(session_open(path, &with, &s), KVSTORE_READONLY);
  char name[640];
  snprintf(name, sizeof name, "%s-wal", path);
  CHECK(access(name, R_OK) != 0);
  snprintf(name, sizeof name, "%s-shm", path);
  CHECK(access(name, R_OK) != 0);
}

static const char *store_of_group(mode_t mode, uid_t owner) {
  const char *path = open_to_all();
  if (geteuid() != 0) SKIP("only the superuser can be several users");
  CHECK_OK(session_close(opened(path)));
  CHECK_INT(chown(path, owner, STRANGERS_GROUP), 0);
  CHECK_INT(chmod(path, mode), 0);
  return path;
}

/* First the one opens the store and makes the files beside it, then the other joins. */
static void write_in_turn(const char *path, int first, int second) {
  Session *s = opened(path);
  put_number(s, "n", 1);
  CHECK_OK(session_close(s));
  Child a = child_start_with("writer_in_turn", path, first, 1);
  wait_for_turn(&a);
  Child b = child_start_with("writer_in_turn", path, second, 2);
  wait_for_turn(&b);
  CHECK_INT(look(path, "-wal").st_gid, STRANGERS_GROUP);
  for (int i = 0; i < 5; i++) {
    turn(&a);
    turn(&b);
  }
  child_finish(&a);
  child_finish(&b);
  s = opened(path);
  CHECK_INT(get_number(s, "n"), 11);
  CHECK_OK(session_close(s));
}

TEST(rights, users_of_a_group_share_a_store_whoever_comes_first) {
  const char *path = store_of_group(0660, 0);
  umask(077);
  write_in_turn(path, CHILD_STRANGER, CHILD_MEMBER);
  write_in_turn(path, CHILD_MEMBER, CHILD_STRANGER);
  write_in_turn(path, 0, CHILD_MEMBER);
  write_in_turn(path, CHILD_MEMBER, 0);
}

TEST(rights, what_the_superuser_makes_belongs_to_the_owner_of_the_store) {
  const char *path = store_of_group(0600, 65533);
  Session *s = opened(path);
  put_number(s, "n", 1);
  struct stat log = look(path, "-wal"), page = look(path, "-shm");
  CHECK_INT(log.st_uid, 65533);
  CHECK_INT(log.st_gid, STRANGERS_GROUP);
  CHECK_INT(page.st_uid, 65533);
  Child owner = child_start_with("writer_in_turn", path, CHILD_MEMBER, 1);
  wait_for_turn(&owner);
  turn(&owner);
  CHECK_INT(get_number(s, "n"), 2);
  child_finish(&owner);
  CHECK_OK(session_close(s));
}

TEST(rights, others_see_neither_the_store_nor_its_log) {
  const char *path = store_of_group(0600, 65533);
  umask(0);
  Child owner = child_start_with("dies_writing", path, CHILD_MEMBER, 1);
  wait_for_turn(&owner);
  for (int64_t read_only = 0; read_only < 2; read_only++) {
    Child stranger = child_start_with("is_kept_out", path, CHILD_STRANGER, read_only);
    child_finish(&stranger);
  }
  child_finish(&owner);
}
