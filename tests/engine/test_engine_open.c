/* Opening, closing, and what may lie where a store should be. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "engine/engine_internal.h"
#include "engine/superblock.h"
#include "tests/support/test.h"

static const char *in_directory(const char *name) {
  static char paths[4][600];
  static unsigned next;
  char *path = paths[next++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", test_directory(), name);
  return path;
}

static StoreOptions options(void) {
  return (StoreOptions){
    .journal_mode = JOURNAL_WAL, .sync_level = SYNC_NORMAL, .no_background = true, .log_bytes = 64 << 10
  };
}

static Status open_with(const char *name, bool read_only, Session **s) {
  StoreOptions with = options();
  with.read_only = read_only;
  return session_open(in_directory(name), &with, s);
}

static Session *opened(const char *name) {
  Session *s = NULL;
  CHECK_OK(open_with(name, false, &s));
  return s;
}

static bool is_there(const char *name) {
  struct stat st;
  return stat(in_directory(name), &st) == 0;
}

static void write_file(const char *name, const void *bytes, size_t length) {
  int fd = open(in_directory(name), O_CREAT | O_TRUNC | O_WRONLY, 0644);
  CHECK(fd >= 0);
  CHECK_INT(write(fd, bytes, length), (ssize_t)length);
  close(fd);
}

static void put(Session *s, const char *key, const char *value) {
  CHECK_OK(kv_put(s, FAMILY_DEFAULT_ID, (Bytes){ (const uint8_t *)key, strlen(key) },
                  (Bytes){ (const uint8_t *)value, strlen(value) }, EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
}

/* `expected` NULL: the key is not there. */
static void check_key(Session *s, const char *key, const char *expected) {
  KvValue value = { 0 };
  Status status = kv_get(s, FAMILY_DEFAULT_ID, (Bytes){ (const uint8_t *)key, strlen(key) }, &value);
  if (!expected) {
    CHECK_STATUS(status, KVSTORE_NOTFOUND);
    return;
  }
  CHECK_OK(status);
  CHECK_INT(value.length, strlen(expected));
  CHECK_BYTES(value.data, expected, value.length);
  memory_release(value.data);
}

/* A process opens the store, puts one key, and ends without a word. */
static void die_after_put(const char *name, const char *key, const char *value) {
  test_directory(); /* made here: the child has the same one */
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    Session *s = opened(name);
    put(s, key, value);
    _exit(0);
  }
  int how;
  CHECK_INT(waitpid(child, &how, 0), child);
  CHECK(WIFEXITED(how) && WEXITSTATUS(how) == 0);
}

static void check_no_side_files(void) {
  CHECK(!is_there("store-wal"));
  CHECK(!is_there("store-shm"));
  CHECK(!is_there("store-journal"));
}

/* ---- what is no store ---- */

TEST(engine_open, garbage_of_any_length_is_corrupt_and_stays_as_it_was) {
  static const size_t lengths[] = { 1, 511, 512, 4096, 8191, 8192, 8193, 100000 };
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    uint8_t *bytes = malloc(lengths[i]), *after = malloc(lengths[i]);
    uint64_t random = i + 1;
    for (size_t b = 0; b < lengths[i]; b++) bytes[b] = (uint8_t)(test_random(&random) | 1);
    write_file("store", bytes, lengths[i]);
    Session *s = (Session *)1;
    CHECK_STATUS(open_with("store", false, &s), KVSTORE_CORRUPT);
    CHECK(s == NULL);
    CHECK_STATUS(open_with("store", true, &s), KVSTORE_CORRUPT);
    int fd = open(in_directory("store"), O_RDONLY);
    CHECK_INT(read(fd, after, lengths[i]), (ssize_t)lengths[i]);
    close(fd);
    CHECK(memcmp(after, bytes, lengths[i]) == 0);
    check_no_side_files();
    free(bytes);
    free(after);
  }
}

TEST(engine_open, a_directory_is_an_error) {
  CHECK_INT(mkdir(in_directory("store"), 0755), 0);
  Session *s;
  CHECK_STATUS(open_with("store", false, &s), KVSTORE_ERROR);
  CHECK_STATUS(open_with("store", true, &s), KVSTORE_ERROR);
}

TEST(engine_open, a_directory_that_is_not_there_is_said_so) {
  Session *s;
  CHECK(open_with("nowhere/store", false, &s) != KVSTORE_OK);
  CHECK(s == NULL);
}

TEST(engine_open, an_empty_file_becomes_a_store) {
  write_file("store", "", 0);
  Session *s = opened("store");
  put(s, "a", "1");
  CHECK_OK(session_close(s));
  s = opened("store");
  check_key(s, "a", "1");
  CHECK_OK(session_close(s));
}

TEST(engine_open, a_missing_file_is_not_made_for_a_reader) {
  Session *s;
  CHECK_STATUS(open_with("store", true, &s), KVSTORE_NOTFOUND);
  CHECK(!is_there("store"));
  check_no_side_files();
}

TEST(engine_open, create_only_refuses_what_is_there) {
  StoreOptions with = options();
  with.create_only = true;
  Session *s = NULL, *other = NULL;
  CHECK_OK(session_open(in_directory("store"), &with, &s));
  CHECK_STATUS(session_open(in_directory("store"), &with, &other), KVSTORE_BUSY);
  CHECK_OK(session_close(s));
  CHECK_STATUS(session_open(in_directory("store"), &with, &other), KVSTORE_BUSY);
}

TEST(engine_open, a_file_cut_short_is_corrupt_wherever_it_ends) {
  Session *s = opened("store");
  char value[2000];
  memset(value, 'v', sizeof value);
  value[sizeof value - 1] = 0;
  for (int i = 0; i < 100; i++) {
    char key[16];
    snprintf(key, sizeof key, "key%03d", i);
    put(s, key, value);
  }
  CHECK_OK(session_close(s));
  struct stat st;
  CHECK_INT(stat(in_directory("store"), &st), 0);
  for (off_t length = st.st_size - 4096; length > 0; length -= 4096 * 5) {
    CHECK_INT(truncate(in_directory("store"), length), 0);
    Status status = open_with("store", false, &s);
    if (status == KVSTORE_OK) { /* the end that is missing is a run's: found when it is read, or checked */
      char *why = NULL;
      CHECK_STATUS(session_check(s, &why), KVSTORE_CORRUPT);
      CHECK(why && *why);
      memory_release(why);
      (void)session_close(s);
    } else {
      CHECK_STATUS(status, KVSTORE_CORRUPT);
    }
    if (length <= 8192) break;
  }
}

/* ---- formats ---- */

static void patch_superblocks(void (*patch)(Superblock *)) {
  OsFile *file;
  Superblock superblock;
  uint32_t page;
  SuperblockState state;
  CHECK_OK(os_open(os_posix(), in_directory("store"), 0, &file));
  CHECK_OK(superblock_read(file, &superblock, &page, &state));
  CHECK_INT(state, SUPERBLOCK_VALID);
  patch(&superblock);
  for (uint32_t i = 0; i < SUPERBLOCK_COUNT; i++) CHECK_OK(superblock_write(file, &superblock, i, NULL));
  os_close(file);
}

static void newer_format(Superblock *s) { s->format++; }
static void unknown_read_feature(Superblock *s) { s->must_read |= UINT64_C(1) << 63; }
static void unknown_harmless_feature(Superblock *s) { s->may_ignore |= UINT64_C(1) << 63; }
static void missing_log(Superblock *s) { s->log_id = 12345; }

static void make_store(void) {
  Session *s = opened("store");
  put(s, "a", "1");
  CHECK_OK(session_close(s));
}

TEST(engine_open, a_newer_format_is_unsupported_and_untouched) {
  make_store();
  patch_superblocks(newer_format);
  Session *s;
  CHECK_STATUS(open_with("store", false, &s), KVSTORE_UNSUPPORTED);
  CHECK_STATUS(open_with("store", true, &s), KVSTORE_UNSUPPORTED);
  check_no_side_files();
}

TEST(engine_open, a_feature_that_must_be_understood_is_unsupported) {
  make_store();
  patch_superblocks(unknown_read_feature);
  Session *s;
  CHECK_STATUS(open_with("store", false, &s), KVSTORE_UNSUPPORTED);
}

TEST(engine_open, a_feature_that_may_be_ignored_is) {
  make_store();
  patch_superblocks(unknown_harmless_feature);
  Session *s = opened("store");
  check_key(s, "a", "1");
  CHECK_OK(session_close(s));
}

/* ---- side files ---- */

TEST(engine_open, a_closed_store_is_one_file) {
  make_store();
  CHECK(is_there("store"));
  check_no_side_files();
}

TEST(engine_open, a_closed_store_may_be_renamed_and_copied) {
  make_store();
  CHECK_INT(rename(in_directory("store"), in_directory("other")), 0);
  Session *s = opened("other");
  check_key(s, "a", "1");
  put(s, "b", "2");
  CHECK_OK(session_close(s));
  CHECK_INT(link(in_directory("other"), in_directory("third")), 0);
  s = opened("third");
  check_key(s, "b", "2");
  CHECK_OK(session_close(s));
}

TEST(engine_open, what_a_dead_process_committed_is_there) {
  die_after_put("store", "a", "1");
  CHECK(is_there("store-wal"));
  die_after_put("store", "b", "2");
  Session *s = opened("store");
  check_key(s, "a", "1");
  check_key(s, "b", "2");
  CHECK_OK(session_close(s));
  check_no_side_files();
}

TEST(engine_open, a_deleted_file_is_a_new_store_whatever_lies_beside_it) {
  die_after_put("store", "a", "1");
  CHECK(is_there("store-wal") && is_there("store-shm"));
  CHECK_INT(unlink(in_directory("store")), 0);
  Session *s = opened("store");
  check_key(s, "a", NULL);
  put(s, "b", "2");
  CHECK_OK(session_close(s));
  s = opened("store");
  check_key(s, "a", NULL);
  check_key(s, "b", "2");
  CHECK_OK(session_close(s));
  check_no_side_files();
}

TEST(engine_open, side_files_of_another_store_are_discarded) {
  make_store();
  die_after_put("other", "z", "9");
  CHECK_INT(rename(in_directory("other-wal"), in_directory("store-wal")), 0);
  CHECK_INT(rename(in_directory("other-shm"), in_directory("store-shm")), 0);
  Session *s = opened("store");
  check_key(s, "a", "1");
  check_key(s, "z", NULL);
  CHECK_OK(session_close(s));
  check_no_side_files();
}

TEST(engine_open, garbage_as_side_files_is_discarded) {
  make_store();
  write_file("store-wal", "garbage", 7);
  write_file("store-shm", "garbage", 7);
  Session *s = opened("store");
  check_key(s, "a", "1");
  put(s, "b", "2");
  CHECK_OK(session_close(s));
  check_no_side_files();
}

TEST(engine_open, a_lost_page_does_no_harm) {
  die_after_put("store", "a", "1");
  CHECK_INT(unlink(in_directory("store-shm")), 0);
  Session *s = opened("store");
  check_key(s, "a", "1");
  CHECK_OK(session_close(s));
}

TEST(engine_open, a_named_log_that_is_missing_is_an_error) {
  die_after_put("store", "a", "1");
  CHECK_INT(unlink(in_directory("store-wal")), 0);
  Session *s;
  Status status = open_with("store", false, &s);
  CHECK(status == KVSTORE_CORRUPT || status == KVSTORE_NOTFOUND);
  CHECK(!is_there("store-shm"));
}

TEST(engine_open, when_all_processes_have_come_the_next_is_told_and_may_read) {
  OsFile *f = NULL;
  Session *s = NULL;
  make_store();
  CHECK_OK(os_open(os_posix(), in_directory("store"), 0, &f));
  CHECK_OK(os_lock(f, presence_byte + 1, SHARED_PROCESSES, OS_LOCK_EXCLUSIVE)); /* as all of them do, each a byte */
  CHECK_STATUS(open_with("store", false, &s), KVSTORE_LIMIT);
  CHECK(strstr(status_last()->text, "255 processes have ") != NULL);
  CHECK(strstr(status_last()->text, in_directory("store")) != NULL);
  CHECK_OK(open_with("store", true, &s));
  check_key(s, "a", "1");
  CHECK_OK(session_close(s));
  os_close(f);
}

TEST(engine_open, a_log_of_another_store_is_not_replayed) {
  die_after_put("store", "a", "1");
  die_after_put("other", "z", "9");
  CHECK_INT(rename(in_directory("other-wal"), in_directory("store-wal")), 0);
  Session *s;
  CHECK_STATUS(open_with("store", false, &s), KVSTORE_CORRUPT);
}

TEST(engine_open, a_superblock_that_names_no_log_of_this_world_is_an_error) {
  make_store();
  patch_superblocks(missing_log);
  Session *s;
  CHECK(open_with("store", false, &s) != KVSTORE_OK);
  CHECK(s == NULL);
}

TEST(engine_open, a_reader_reads_and_writes_nothing) {
  make_store();
  Session *s = NULL;
  CHECK_OK(open_with("store", true, &s));
  check_key(s, "a", "1");
  CHECK_STATUS(kv_put(s, FAMILY_DEFAULT_ID, (Bytes){ (const uint8_t *)"b", 1 }, (Bytes){ 0 }, EXPIRY_NEVER, 0, NULL),
               KVSTORE_READONLY);
  CHECK_STATUS(session_begin(s, true), KVSTORE_READONLY);
  CHECK_STATUS(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL), KVSTORE_READONLY);
  CHECK_OK(session_begin(s, false));
  check_key(s, "a", "1");
  CHECK_OK(session_commit(s));
  CHECK_OK(session_close(s));
}

TEST(engine_open, a_reader_of_a_file_that_it_may_not_write_sees_the_log_too) {
  if (geteuid() == 0) SKIP("the superuser may write everything");
  die_after_put("store", "a", "1");
  CHECK_INT(chmod(in_directory("store"), 0444), 0);
  CHECK_INT(chmod(in_directory("store-wal"), 0444), 0);
  Session *s = NULL;
  CHECK_OK(open_with("store", true, &s));
  check_key(s, "a", "1");
  CHECK_OK(session_close(s));
}

/* ---- file systems of several machines ---- */

static OsMethods networked_methods, networked_file_methods;

static const char *on_nfs(OsFile *file) {
  (void)file;
  return "NFS";
}

static Status open_networked(Os *os, const char *path, int flags, OsFile **file) {
  (void)os;
  TRY(os_open(os_posix(), path, flags, file));
  networked_file_methods = *(*file)->methods;
  networked_file_methods.network = on_nfs;
  (*file)->methods = &networked_file_methods;
  return KVSTORE_OK;
}

static StoreOptions networked_options(void) {
  static Os os = { &networked_methods };
  networked_methods = *os_posix()->methods;
  networked_methods.open = open_networked;
  StoreOptions with = options();
  with.os = &os;
  return with;
}

TEST(engine_open, a_network_file_system_is_refused_and_nothing_is_left_on_it) {
  StoreOptions with = networked_options();
  Session *s = NULL;
  CHECK_STATUS(session_open(in_directory("store"), &with, &s), KVSTORE_UNSUPPORTED);
  CHECK(s == NULL);
  CHECK(strstr(status_last()->text, "network file system (NFS)") != NULL);
  CHECK(!is_there("store"));
  check_no_side_files();
  make_store();
  CHECK_STATUS(session_open(in_directory("store"), &with, &s), KVSTORE_UNSUPPORTED);
  with.read_only = true;
  CHECK_STATUS(session_open(in_directory("store"), &with, &s), KVSTORE_UNSUPPORTED);
  s = opened("store"); /* what is there stays */
  check_key(s, "a", "1");
  CHECK_OK(session_close(s));
}

TEST(engine_open, a_network_file_system_can_be_allowed) {
  StoreOptions with = networked_options();
  with.network_allowed = true;
  Session *s = NULL;
  CHECK_OK(session_open(in_directory("store"), &with, &s));
  put(s, "a", "1");
  check_key(s, "a", "1");
  CHECK_OK(session_close(s));
}

/* ---- handles ---- */

TEST(engine_open, handles_on_one_file_share_a_store) {
  Session *a = opened("store"), *b = opened("store");
  CHECK(session_store(a) == session_store(b));
  CHECK_INT(link(in_directory("store"), in_directory("alias")), 0);
  Session *c = opened("alias");
  CHECK(session_store(a) == session_store(c));
  put(a, "a", "1");
  check_key(b, "a", "1");
  check_key(c, "a", "1");
  CHECK_OK(session_close(a));
  check_key(b, "a", "1");
  put(c, "b", "2");
  CHECK_OK(session_close(b));
  CHECK_OK(session_close(c));
  check_no_side_files();
}

TEST(engine_open, a_close_rolls_back_what_is_open) {
  Session *s = opened("store");
  put(s, "a", "1");
  CHECK_OK(session_begin(s, true));
  put(s, "a", "2");
  CHECK_OK(session_close(s));
  s = opened("store");
  check_key(s, "a", "1");
  CHECK_OK(session_close(s));
}

TEST(engine_open, stores_in_memory_are_apart_and_leave_nothing) {
  StoreOptions with = options();
  Session *a, *b, *clone;
  CHECK_OK(session_open(NULL, &with, &a));
  CHECK_OK(session_open(NULL, &with, &b));
  CHECK(session_store(a) != session_store(b));
  put(a, "a", "1");
  check_key(b, "a", NULL);
  CHECK_OK(session_clone(a, &clone));
  CHECK_OK(session_checkpoint(a, CHECKPOINT_FULL, NULL, NULL));
  CHECK_OK(session_close(a));
  check_key(clone, "a", "1");
  CHECK_OK(session_close(clone));
  CHECK_OK(session_close(b));
  CHECK_OK(session_open(NULL, &with, &a));
  check_key(a, "a", NULL);
  CHECK_OK(session_close(a));
}

TEST(engine_open, an_iterator_outlives_the_last_close) {
  Session *s = opened("store");
  put(s, "a", "1");
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  KvIterator *it;
  CHECK_OK(kv_iterator_create(s, FAMILY_DEFAULT_ID, (Bytes){ 0 }, false, &it));
  CHECK_OK(session_close(s));
  CHECK_OK(kv_iterator_first(it));
  CHECK(!kv_iterator_eof(it));
  CHECK_BYTES(kv_iterator_key(it).data, "a", 1);
  s = opened("store"); /* and does not keep the store from opening */
  put(s, "b", "2");
  CHECK_OK(session_close(s));
  CHECK_OK(kv_iterator_next(it));
  CHECK(kv_iterator_eof(it));
  kv_iterator_destroy(it);
}
