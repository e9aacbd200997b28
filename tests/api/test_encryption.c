/* Encrypted stores: passwords, what they open, and what stays on the disk. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/api/api_support.h"
#include "tests/support/failing_memory.h"

static int try_open(const char *path, const char *password, KVStore **kv) {
  KVStoreOptions options = options_with(password);
  return kvstore_open_with(path, kv, &options);
}

static KVStore *open_with(const char *path, const char *password) {
  KVStore *kv = NULL;
  CHECK_OK(try_open(path, password, &kv));
  CHECK(kv != NULL);
  return kv;
}

static void check_refused(const char *path, const char *password, int code) {
  KVStore *kv = (KVStore *)1;
  CHECK_STATUS(try_open(path, password, &kv), code);
  CHECK(kv == NULL);
  CHECK(kvstore_errmsg(NULL)[0] != 0);
}

/* A sealed (or plain) store with one key, closed. */
static void make_store(const char *path, const char *password) {
  KVStore *kv = open_with(path, password);
  put_text(kv, "key", "value");
  CHECK_OK(kvstore_close(kv));
}

static void check_holds(const char *path, const char *password) {
  KVStore *kv = open_with(path, password);
  CHECK_INT(kvstore_is_encrypted(kv), password != NULL);
  check_text(kv, "key", "value");
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  CHECK_OK(kvstore_close(kv));
}

/* Maintenance may shorten the file of an open store meanwhile. */
static uint8_t *bytes_of(const char *path, long *size) {
  *size = file_size(path);
  if (*size < 0) return NULL;
  uint8_t *bytes = malloc((size_t)*size + 1);
  FILE *f = fopen(path, "rb");
  CHECK(bytes && f);
  *size = (long)fread(bytes, 1, (size_t)*size, f);
  CHECK(!ferror(f));
  (void)fclose(f);
  return bytes;
}

/* ---- opening ---- */

TEST(encryption, a_new_store_is_encrypted_and_opens_with_its_password) {
  make_store(path_of("store"), "hunter2");
  check_holds(path_of("store"), "hunter2");
}

TEST(encryption, open_encrypted_takes_a_configuration_or_none) {
  KVStore *kv = NULL;
  KVStoreConfig config = KVSTORE_CONFIG_DEFAULT;
  CHECK_OK(kvstore_open_encrypted(path_of("store"), "hunter2", 7, &kv, NULL));
  CHECK_INT(kvstore_is_encrypted(kv), 1);
  put_text(kv, "key", "value");
  CHECK_OK(kvstore_close(kv));
  config.syncLevel = KVSTORE_SYNC_FULL;
  CHECK_OK(kvstore_open_encrypted(path_of("store"), "hunter2", 7, &kv, &config));
  check_text(kv, "key", "value");
  CHECK_OK(kvstore_close(kv));
  CHECK_STATUS(kvstore_open_encrypted(path_of("store"), "hunter3", 7, &kv, NULL), KVSTORE_AUTH_FAILED);
  CHECK(kv == NULL);
}

TEST(encryption, a_wrong_password_is_refused_and_the_file_untouched) {
  long size, size_after;
  make_store(path_of("store"), "right");
  uint8_t *before = bytes_of(path_of("store"), &size);
  check_refused(path_of("store"), "wrong", KVSTORE_AUTH_FAILED);
  check_refused(path_of("store"), "righ", KVSTORE_AUTH_FAILED);
  check_refused(path_of("store"), NULL, KVSTORE_AUTH_FAILED);
  uint8_t *after = bytes_of(path_of("store"), &size_after);
  CHECK_INT(size_after, size);
  CHECK_BYTES(after, before, (size_t)size);
  CHECK(!file_exists(path_of("store-wal")) && !file_exists(path_of("store-shm")));
  free(before);
  free(after);
  check_holds(path_of("store"), "right");
}

TEST(encryption, every_plain_open_of_an_encrypted_store_is_refused) {
  KVStore *kv = (KVStore *)1;
  KVStoreConfig config = KVSTORE_CONFIG_DEFAULT;
  make_store(path_of("store"), "right");
  CHECK_STATUS(kvstore_open(path_of("store"), &kv, KVSTORE_JOURNAL_WAL), KVSTORE_AUTH_FAILED);
  CHECK(kv == NULL);
  config.allowEncrypted = 1;
  CHECK_STATUS(kvstore_open_v2(path_of("store"), &kv, &config), KVSTORE_AUTH_FAILED);
  config.readOnly = 1;
  CHECK_STATUS(kvstore_open_v2(path_of("store"), &kv, &config), KVSTORE_AUTH_FAILED);
  CHECK(kv == NULL);
}

TEST(encryption, a_second_handle_of_the_process_proves_its_password) {
  KVStore *first = open_with(path_of("store"), "right"), *second = NULL;
  check_refused(path_of("store"), "wrong", KVSTORE_AUTH_FAILED);
  check_refused(path_of("store"), NULL, KVSTORE_AUTH_FAILED);
  second = open_with(path_of("store"), "right");
  put_text(first, "key", "value");
  check_text(second, "key", "value");
  CHECK_OK(kvstore_close(first));
  CHECK_OK(kvstore_close(second));
  check_holds(path_of("store"), "right");
}

TEST(encryption, a_clone_asks_no_password) {
  KVStore *kv = open_with(path_of("store"), "right"), *other = NULL;
  CHECK_OK(kvstore_clone(kv, &other));
  CHECK_INT(kvstore_is_encrypted(other), 1);
  put_text(other, "key", "value");
  check_text(kv, "key", "value");
  CHECK_OK(kvstore_close(kv));
  CHECK_OK(kvstore_close(other));
}

TEST(encryption, a_reader_needs_the_password_too) {
  KVStore *kv = NULL;
  KVStoreOptions options = options_with("right");
  make_store(path_of("store"), "right");
  options.read_only = 1;
  CHECK_OK(kvstore_open_with(path_of("store"), &kv, &options));
  check_text(kv, "key", "value");
  CHECK_STATUS(kvstore_put(kv, "key", 3, "other", 5), KVSTORE_READONLY);
  CHECK_STATUS(kvstore_reencrypt(kv, "other", 5), KVSTORE_READONLY);
  CHECK_STATUS(kvstore_remove_encryption(kv), KVSTORE_READONLY);
  CHECK_OK(kvstore_close(kv));
  options = options_with("wrong");
  options.read_only = 1;
  CHECK_STATUS(kvstore_open_with(path_of("store"), &kv, &options), KVSTORE_AUTH_FAILED);
}

TEST(encryption, a_store_in_memory_may_have_a_password) {
  KVStore *kv = open_with(NULL, "secret");
  CHECK_INT(kvstore_is_encrypted(kv), 1);
  put_text(kv, "key", "value");
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  check_text(kv, "key", "value");
  CHECK_OK(kvstore_reencrypt(kv, "other", 5));
  check_text(kv, "key", "value");
  CHECK_OK(kvstore_close(kv));
}

TEST(encryption, passwords_that_are_none_are_refused) {
  KVStore *kv = (KVStore *)1;
  CHECK_STATUS(kvstore_open_encrypted(path_of("store"), "", 0, &kv, NULL), KVSTORE_ERROR);
  CHECK(kv == NULL);
  CHECK_STATUS(kvstore_open_encrypted(path_of("store"), NULL, 0, &kv, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_open_encrypted(path_of("store"), NULL, 5, &kv, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_open_encrypted(path_of("store"), "x", -1, &kv, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_open_encrypted(path_of("store"), "x", 1, NULL, NULL), KVSTORE_ERROR);
  KVStoreOptions options = options_with("x");
  options.password_length = 0;
  CHECK_STATUS(kvstore_open_with(path_of("store"), &kv, &options), KVSTORE_ERROR);
  options = options_with(NULL);
  options.password_length = 3;
  CHECK_STATUS(kvstore_open_with(path_of("store"), &kv, &options), KVSTORE_ERROR);
  options = options_with("x");
  options.kdf_memory_bytes = 1000;
  CHECK_STATUS(kvstore_open_with(path_of("store"), &kv, &options), KVSTORE_ERROR);
  options = options_with("x");
  options.kdf_memory_bytes = UINT64_C(1) << 40;
  CHECK_STATUS(kvstore_open_with(path_of("store"), &kv, &options), KVSTORE_ERROR);
  options = options_with("x");
  options.kdf_passes = UINT32_MAX;
  CHECK_STATUS(kvstore_open_with(path_of("store"), &kv, &options), KVSTORE_ERROR);
  CHECK(!file_exists(path_of("store")));
  CHECK_INT(kvstore_is_encrypted(NULL), 0);
  CHECK_STATUS(kvstore_reencrypt(NULL, "x", 1), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_remove_encryption(NULL), KVSTORE_ERROR);
}

/* ---- another password ---- */

TEST(encryption, reencrypt_ends_the_old_password_at_once_and_open_handles_go_on) {
  KVStore *kv = open_with(path_of("store"), "old"), *other = open_with(path_of("store"), "old");
  put_text(kv, "key", "value");
  CHECK_OK(kvstore_reencrypt(kv, "new", 3));
  check_refused(path_of("store"), "old", KVSTORE_AUTH_FAILED);
  KVStore *third = open_with(path_of("store"), "new");
  put_text(other, "more", "text");
  check_text(kv, "more", "text");
  check_text(third, "more", "text");
  CHECK_OK(kvstore_checkpoint(other, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  CHECK_OK(kvstore_close(kv));
  CHECK_OK(kvstore_close(other));
  CHECK_OK(kvstore_close(third));
  check_refused(path_of("store"), "old", KVSTORE_AUTH_FAILED);
  check_holds(path_of("store"), "new");
}

TEST(encryption, reencrypt_does_not_touch_the_data) {
  KVStore *kv = open_with(path_of("store"), "old");
  char value[1000];
  memset(value, 'v', sizeof value);
  for (int i = 0; i < 2000; i++) CHECK_OK(kvstore_put(kv, &i, sizeof i, value, sizeof value));
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  long size, size_after;
  uint8_t *before = bytes_of(path_of("store"), &size);
  CHECK_OK(kvstore_reencrypt(kv, "new", 3));
  uint8_t *after = bytes_of(path_of("store"), &size_after);
  CHECK_INT(size_after, size);
  CHECK_BYTES(after + 8192, before + 8192, (size_t)size - 8192);
  free(before);
  free(after);
  CHECK_OK(kvstore_close(kv));
}

TEST(encryption, a_plain_store_has_no_password_to_change_or_remove) {
  KVStore *kv = open_with(path_of("store"), NULL);
  CHECK_INT(kvstore_is_encrypted(kv), 0);
  CHECK_STATUS(kvstore_reencrypt(kv, "new", 3), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_remove_encryption(kv), KVSTORE_ERROR);
  put_text(kv, "key", "value");
  CHECK_OK(kvstore_close(kv));
  check_holds(path_of("store"), NULL);
}

TEST(encryption, reencrypt_refuses_an_empty_password) {
  KVStore *kv = open_with(path_of("store"), "old");
  CHECK_STATUS(kvstore_reencrypt(kv, "", 0), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_reencrypt(kv, NULL, 3), KVSTORE_ERROR);
  put_text(kv, "key", "value");
  CHECK_OK(kvstore_close(kv));
  check_holds(path_of("store"), "old");
}

/* ---- in place ---- */

/* A store with families, expiries, a table, deletes and large values. */
static void fill_store(KVStore *kv) {
  KVColumnFamily *cf = NULL;
  static char large[200000];
  memset(large, 'L', sizeof large);
  CHECK_OK(kvstore_cf_create(kv, "family", &cf));
  for (int i = 0; i < 3000; i++) CHECK_OK(kvstore_cf_put(cf, &i, sizeof i, "family value", 12));
  CHECK_OK(kvstore_put(kv, "large", 5, large, sizeof large));
  CHECK_OK(kvstore_put_ttl(kv, "ttl", 3, "later", 5, kvstore_now_ms() + 1000000));
  put_text(kv, "key", "value");
  put_text(kv, "gone", "value");
  KVTable *table = create_people(kv);
  for (int i = 1; i < 50; i++) CHECK_OK(upsert_person(table, i, "Ada", 1.5));
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  KVValue id = kvvalue_i64(7);
  CHECK_OK(kvtable_delete(table, &id, 1));
  CHECK_OK(kvstore_delete(kv, "gone", 4));
  kvtable_close(table);
  kvstore_cf_close(cf);
}

static void check_filled(KVStore *kv) {
  KVColumnFamily *cf = NULL;
  KVTable *table = NULL;
  void *data = NULL;
  int length = 0, key = 1234;
  int64_t count = 0, left = 0;
  CHECK_OK(kvstore_cf_open(kv, "family", &cf));
  CHECK_OK(kvstore_cf_count(cf, &count));
  CHECK_INT(count, 3000);
  CHECK_OK(kvstore_cf_get(cf, &key, sizeof key, &data, &length));
  CHECK_BYTES(data, "family value", 12);
  kvstore_free(data);
  CHECK_OK(kvstore_get(kv, "large", 5, &data, &length));
  CHECK_INT(length, 200000);
  for (int i = 0; i < length; i++) CHECK(((char *)data)[i] == 'L');
  kvstore_free(data);
  CHECK_OK(kvstore_ttl_remaining(kv, "ttl", 3, &left));
  CHECK(left > 0 && left <= 1000000);
  check_text(kv, "key", "value");
  check_text(kv, "gone", NULL);
  CHECK_OK(kvtable_open(kv, "people", &table));
  CHECK_INT(rows_of(table), 48);
  kvtable_close(table);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_integrity_check(kv, NULL));
}

TEST(encryption, a_plain_store_is_encrypted_in_place) {
  KVStore *kv = open_with(path_of("store"), NULL);
  fill_store(kv);
  CHECK_OK(kvstore_close(kv));
  kv = open_with(path_of("store"), "secret");
  CHECK_INT(kvstore_is_encrypted(kv), 1);
  check_filled(kv);
  put_text(kv, "more", "text");
  CHECK_OK(kvstore_close(kv));
  CHECK(!file_exists(path_of("store-rewrite")));
  check_refused(path_of("store"), NULL, KVSTORE_AUTH_FAILED);
  kv = open_with(path_of("store"), "secret");
  check_filled(kv);
  check_text(kv, "more", "text");
  CHECK_OK(kvstore_close(kv));
}

TEST(encryption, remove_encryption_leaves_a_plain_store_and_the_handle_goes_on) {
  KVStore *kv = open_with(path_of("store"), "secret");
  fill_store(kv);
  CHECK_OK(kvstore_remove_encryption(kv));
  CHECK_INT(kvstore_is_encrypted(kv), 0);
  check_filled(kv);
  put_text(kv, "more", "text");
  CHECK_STATUS(kvstore_remove_encryption(kv), KVSTORE_ERROR);
  CHECK_OK(kvstore_close(kv));
  CHECK(!file_exists(path_of("store-rewrite")) && !file_exists(path_of("store-wal")));
  kv = open_with(path_of("store"), NULL);
  check_filled(kv);
  check_text(kv, "more", "text");
  CHECK_OK(kvstore_close(kv));
}

TEST(encryption, families_tables_and_iterators_of_the_handle_outlive_remove_encryption) {
  KVStore *kv = open_with(path_of("store"), "secret");
  KVColumnFamily *cf = NULL;
  KVIterator *it = NULL;
  char keys[100];
  CHECK_OK(kvstore_cf_create(kv, "family", &cf));
  KVTable *table = create_people(kv);
  put_text(kv, "a", "1");
  put_text(kv, "b", "2");
  CHECK_OK(kvstore_iterator_create(kv, &it));
  CHECK_OK(kvstore_iterator_first(it));
  CHECK_OK(kvstore_remove_encryption(kv));
  put_text(kv, "c", "3");
  CHECK_OK(kvstore_cf_put(cf, "x", 1, "y", 1));
  CHECK_OK(upsert_person(table, 1, "Ada", 1.7));
  CHECK_INT(rows_of(table), 1);
  CHECK_STR(keys_of(it, 0, keys, sizeof keys), "a,b,");
  CHECK_INT(count_of(kv), 3);
  kvtable_close(table);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
  kvstore_iterator_close(it);
}

TEST(encryption, a_snapshot_from_before_shows_tables_after_remove_encryption_too) {
  static const char *const columns[] = { "id" };
  KVStore *kv = open_with(path_of("store"), "secret");
  KVTable *table = create_people(kv);
  KVSnapshot *before = NULL;
  KVQuery *query = NULL;
  KVTableView *view = NULL;
  KVRows *rows = NULL;
  const int64_t ids[] = { 1, 2 };
  const KVColumnData keys = { .type = KVTABLE_TYPE_I64, .values = ids };
  uint64_t count = 0;
  CHECK_OK(upsert_person(table, 1, "Ada", 1.7));
  CHECK_OK(kvstore_snapshot_create(kv, &before));
  CHECK_OK(upsert_person(table, 2, "Bob", 1.8));
  CHECK_OK(kvstore_remove_encryption(kv));
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_at(query, before));
  CHECK_OK(kvquery_count(query, &count));
  CHECK_INT(count, 1);
  CHECK_OK(kvtable_view(table, columns, 1, before, &view));
  CHECK_INT(view->row_count, 1);
  CHECK_OK(kvtable_get_many(table, &keys, 1, 2, columns, 1, before, &rows));
  CHECK_INT(rows->found_count, 1);
  CHECK_INT(rows_of(table), 2);
  kvtable_rows_free(rows);
  kvtable_view_close(view);
  kvquery_close(query);
  kvstore_snapshot_release(before);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}

TEST(encryption, encryption_comes_and_goes_in_memory_too) {
  KVStore *kv = open_with(NULL, "secret");
  KVIterator *it = NULL;
  fill_store(kv);
  CHECK_OK(kvstore_iterator_create(kv, &it));
  CHECK_OK(kvstore_remove_encryption(kv));
  CHECK_INT(kvstore_is_encrypted(kv), 0);
  check_filled(kv);
  CHECK_OK(kvstore_close(kv));
  kvstore_iterator_close(it);
}

TEST(encryption, in_place_changes_need_the_store_alone) {
  KVStore *kv = open_with(path_of("store"), NULL), *other = NULL;
  put_text(kv, "key", "value");
  check_refused(path_of("store"), "secret", KVSTORE_BUSY);
  CHECK_OK(kvstore_close(kv));
  kv = open_with(path_of("store"), "secret");
  CHECK_OK(kvstore_clone(kv, &other));
  CHECK_STATUS(kvstore_remove_encryption(kv), KVSTORE_BUSY);
  CHECK_OK(kvstore_close(other));
  CHECK_OK(kvstore_begin(kv, 1));
  CHECK_STATUS(kvstore_remove_encryption(kv), KVSTORE_BUSY);
  CHECK_OK(kvstore_rollback(kv));
  CHECK_OK(kvstore_begin(kv, 0));
  CHECK_STATUS(kvstore_remove_encryption(kv), KVSTORE_BUSY);
  CHECK_OK(kvstore_commit(kv));
  KVBulkLoad *load = NULL;
  CHECK_OK(kvstore_bulk_load_begin(kv, NULL, NULL, &load));
  CHECK_STATUS(kvstore_remove_encryption(kv), KVSTORE_BUSY);
  kvstore_bulk_load_abort(load);
  check_text(kv, "key", "value");
  put_text(kv, "more", "text");
  CHECK_OK(kvstore_remove_encryption(kv));
  CHECK_OK(kvstore_close(kv));
  check_holds(path_of("store"), NULL);
}

TEST(encryption, a_plain_store_opened_for_reading_is_not_encrypted) {
  KVStore *kv = NULL;
  KVStoreOptions options = options_with("secret");
  make_store(path_of("store"), NULL);
  options.read_only = 1;
  CHECK_STATUS(kvstore_open_with(path_of("store"), &kv, &options), KVSTORE_READONLY);
  CHECK(kv == NULL);
  check_holds(path_of("store"), NULL);
}

TEST(encryption, the_rights_of_the_file_survive_in_place_changes) {
  struct stat found;
  char path[600];
  (void)snprintf(path, sizeof path, "%s", path_of("store"));
  make_store(path, NULL);
  CHECK_INT(chmod(path, 0600), 0);
  check_holds(path, "secret");
  CHECK_INT(stat(path, &found), 0);
  CHECK_INT(found.st_mode & 0777, 0600);
  KVStore *kv = open_with(path, "secret");
  CHECK_OK(kvstore_remove_encryption(kv));
  CHECK_OK(kvstore_close(kv));
  CHECK_INT(stat(path, &found), 0);
  CHECK_INT(found.st_mode & 0777, 0600);
}

TEST(encryption, what_a_cut_off_change_left_beside_the_store_goes_with_the_next_open) {
  make_store(path_of("store"), "secret");
  FILE *f = fopen(path_of("store-rewrite"), "wb");
  CHECK(f && fputs("half a copy", f) >= 0 && fclose(f) == 0);
  check_holds(path_of("store"), "secret");
  CHECK(!file_exists(path_of("store-rewrite")));
}

/* ---- several processes ---- */

/* A child that has nothing of a store of its parent's: it is forked before any is open, and waits for its turn. */
typedef struct Child {
  pid_t process;
  int turn, answer;
} Child;

/* What it does at its turn, as a code. */
static Child start_child(int (*play)(const char *path)) {
  int turn[2], answer[2];
  char path[600];
  (void)snprintf(path, sizeof path, "%s", path_of("store"));
  CHECK_INT(pipe(turn), 0);
  CHECK_INT(pipe(answer), 0);
  pid_t process = fork();
  CHECK(process >= 0);
  if (process == 0) {
    char go;
    if (read(turn[0], &go, 1) != 1) _exit(1);
    int code = play(path);
    if (write(answer[1], &code, sizeof code) != (ssize_t)sizeof code) _exit(2);
    _exit(0);
  }
  (void)close(turn[0]);
  (void)close(answer[1]);
  return (Child){ process, turn[1], answer[0] };
}

static int answer_of(Child *child) {
  int code = -1, how = 0;
  CHECK_INT(write(child->turn, "t", 1), 1);
  CHECK_INT(read(child->answer, &code, sizeof code), sizeof code);
  CHECK_INT(waitpid(child->process, &how, 0), child->process);
  (void)close(child->turn);
  (void)close(child->answer);
  return code;
}

static int join_and_put(const char *path) {
  KVStore *kv = NULL;
  int code = try_open(path, "secret", &kv);
  if (code == KVSTORE_OK) code = kvstore_put(kv, "theirs", 6, "value", 5);
  int closed = kvstore_close(kv);
  return code ? code : closed;
}
static int join_with_wrong(const char *path) {
  KVStore *kv = NULL;
  return try_open(path, "wrong", &kv);
}
static int join_without(const char *path) {
  KVStore *kv = NULL;
  return try_open(path, NULL, &kv);
}
static int join_and_reencrypt(const char *path) {
  KVStore *kv = NULL;
  int code = try_open(path, "secret", &kv);
  if (code == KVSTORE_OK) code = kvstore_reencrypt(kv, "new", 3);
  int closed = kvstore_close(kv);
  return code ? code : closed;
}
static int join_and_decrypt(const char *path) {
  KVStore *kv = NULL;
  int code = try_open(path, "secret", &kv);
  if (code == KVSTORE_OK) code = kvstore_remove_encryption(kv);
  int closed = kvstore_close(kv);
  return code ? code : closed;
}

TEST(encryption, other_processes_join_with_the_password_and_no_other) {
  Child right = start_child(join_and_put), wrong = start_child(join_with_wrong), none = start_child(join_without);
  Child decrypt = start_child(join_and_decrypt), reencrypt = start_child(join_and_reencrypt);
  KVStore *kv = open_with(path_of("store"), "secret");
  put_text(kv, "key", "value");
  CHECK_INT(answer_of(&right), KVSTORE_OK);
  CHECK_INT(answer_of(&wrong), KVSTORE_AUTH_FAILED);
  CHECK_INT(answer_of(&none), KVSTORE_AUTH_FAILED);
  CHECK_INT(answer_of(&decrypt), KVSTORE_BUSY);
  check_text(kv, "theirs", "value");
  CHECK_INT(answer_of(&reencrypt), KVSTORE_OK);
  put_text(kv, "more", "text"); /* under the same key */
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  CHECK_OK(kvstore_close(kv));
  check_refused(path_of("store"), "secret", KVSTORE_AUTH_FAILED);
  check_holds(path_of("store"), "new");
}

TEST(encryption, a_store_that_another_process_has_open_is_not_encrypted_in_place) {
  Child child = start_child(join_and_put);
  KVStore *kv = open_with(path_of("store"), NULL);
  put_text(kv, "key", "value");
  CHECK_INT(answer_of(&child), KVSTORE_BUSY);
  put_text(kv, "more", "text");
  CHECK_OK(kvstore_close(kv));
  check_holds(path_of("store"), NULL);
}

/* ---- several threads ---- */

typedef struct Writer {
  KVStore *kv;
  _Atomic int stop;
  int64_t puts;
  int failed;
} Writer;

static void *write_on(void *context) {
  Writer *w = context;
  while (!atomic_load(&w->stop)) {
    int code = kvstore_put(w->kv, &w->puts, sizeof w->puts, "v", 1);
    if (code != KVSTORE_OK) w->failed = code;
    w->puts++;
  }
  return NULL;
}

TEST(encryption, calls_of_other_threads_wait_while_the_encryption_is_removed) {
  Writer w = { .kv = open_with(path_of("store"), "secret") };
  pthread_t thread;
  int64_t before = 0;
  CHECK_INT(pthread_create(&thread, NULL, write_on, &w), 0);
  while (before < 100) CHECK_OK(kvstore_count(w.kv, &before));
  CHECK_OK(kvstore_remove_encryption(w.kv));
  int64_t between = count_of(w.kv), after = between;
  while (after < between + 100) after = count_of(w.kv);
  atomic_store(&w.stop, 1);
  CHECK_INT(pthread_join(thread, NULL), 0);
  CHECK_INT(w.failed, 0);
  CHECK_INT(count_of(w.kv), w.puts);
  CHECK_OK(kvstore_close(w.kv));
  KVStore *kv = open_with(path_of("store"), NULL);
  CHECK_INT(count_of(kv), w.puts);
  CHECK_OK(kvstore_close(kv));
}

/* ---- nothing in the clear ---- */

enum { CANARIES = 10000, CANARY_FAMILIES = 20 };

/* Every canary begins with letters that nothing else writes: what is looked for is these, and a piece of each number
 * would do too. */
static const char canary_mark[] = "qZx7CANARY";

static int holds_mark(const uint8_t *bytes, long size) {
  const size_t length = sizeof canary_mark - 1;
  for (const uint8_t *at = bytes, *end = bytes + size; at && at < end; at++) {
    at = memchr(at, canary_mark[0], (size_t)(end - at));
    if (!at) return 0;
    if ((size_t)(end - at) >= length && memcmp(at, canary_mark, length) == 0) return 1;
  }
  return 0;
}

/* In every file of the directory that belongs to the store. `expected` 1: the mark is looked for where it must be. */
static int store_shows_mark(void) {
  static const char *const names[] = { "store", "store-wal", "store-shm", "store-rewrite", "store-journal" };
  int found = 0;
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    long size;
    uint8_t *bytes = bytes_of(path_of(names[i]), &size);
    if (bytes && holds_mark(bytes, size)) found = 1;
    free(bytes);
  }
  return found;
}

static void put_canaries(KVStore *kv, int from, int to) {
  char key[80], value[120], name[80];
  for (int i = from; i < to; i++) {
    (void)snprintf(key, sizeof key, "%s key %d", canary_mark, i);
    (void)snprintf(value, sizeof value, "%s value %d", canary_mark, i);
    if (i % (CANARIES / CANARY_FAMILIES) == 0) {
      KVColumnFamily *cf = NULL;
      (void)snprintf(name, sizeof name, "%s family %d", canary_mark, i);
      CHECK_OK(kvstore_cf_create(kv, name, &cf));
      CHECK_OK(kvstore_cf_put(cf, key, (int)strlen(key), value, (int)strlen(value)));
      kvstore_cf_close(cf);
    }
    put_text(kv, key, value);
  }
}

/* Columns with statistics and dictionaries, in rows one by one and in a run that a record adopts. */
static void put_canary_rows(KVStore *kv) {
  enum { ROWS = 70000 };
  KVTable *table = create_people(kv);
  int64_t *ids = malloc(ROWS * sizeof *ids);
  const char **names = malloc(ROWS * sizeof *names);
  double *heights = malloc(ROWS * sizeof *heights);
  uint8_t *nulls = malloc(ROWS);
  CHECK(ids && names && heights && nulls);
  for (int i = 0; i < ROWS; i++) {
    ids[i] = i + 1000;
    names[i] = i % 3 ? canary_mark : "qZx7CANARY in a column";
    heights[i] = i;
    nulls[i] = 2;
  }
  const KVColumnData data[] = { { KVTABLE_TYPE_I64, 0, ids, NULL, NULL, NULL },
                                { KVTABLE_TYPE_STRING, KVTABLE_FORM_POINTERS, names, NULL, NULL, NULL },
                                { KVTABLE_TYPE_F64, 0, heights, NULL, NULL, NULL },
                                { KVTABLE_TYPE_DATE, 0, NULL, nulls, NULL, NULL } };
  CHECK_OK(kvtable_append(table, data, 4, ROWS, NULL, KVTABLE_INSERT, NULL));
  for (int i = 1; i < 100; i++) CHECK_OK(upsert_person(table, i, canary_mark, 1.0));
  kvtable_close(table);
  free(ids);
  free(names);
  free(heights);
  free(nulls);
}

/* In no order and with little memory: in sorted runs, and in what these are merged into. */
static void load_canaries(KVStore *kv, int expected) {
  KVBulkOptions options = KVSTORE_BULK_OPTIONS_INIT;
  KVBulkLoad *load = NULL;
  options.memory_bytes = 1;
  CHECK_OK(kvstore_bulk_load_begin(kv, NULL, &options, &load));
  for (int i = 0; i < CANARIES; i++) {
    char key[80];
    int length = snprintf(key, sizeof key, "%s loaded %d", canary_mark, i * 7919 % CANARIES);
    CHECK_OK(kvstore_bulk_load_add(load, key, length, canary_mark, (int)sizeof canary_mark, 0));
  }
  CHECK_INT(store_shows_mark(), expected);
  CHECK_OK(kvstore_bulk_load_commit(load, NULL));
}

static void canary_campaign(KVStore *kv, int expected) {
  for (int i = 0; i < CANARIES; i += CANARIES / 10) {
    put_canaries(kv, i, i + CANARIES / 10);
    CHECK_INT(store_shows_mark(), expected);
    if (i % 2000) CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
    CHECK_INT(store_shows_mark(), expected);
  }
  put_canary_rows(kv);
  load_canaries(kv, expected);
  CHECK_INT(store_shows_mark(), expected);
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  CHECK_OK(kvstore_maintain(kv));
  CHECK_INT(store_shows_mark(), expected);
}

TEST(encryption, ten_thousand_canaries_are_never_seen_in_any_file) {
  KVStoreOptions options = options_with("secret");
  KVStore *kv = NULL;
  options.background_off = 1;
  options.log_bytes = 256 << 10; /* small: it goes round, and large transactions become runs */
  CHECK_OK(kvstore_open_with(path_of("store"), &kv, &options));
  canary_campaign(kv, 0);
  CHECK_OK(kvstore_begin(kv, 1));
  for (int i = 0; i < 3000; i++) {
    char key[80];
    (void)snprintf(key, sizeof key, "%s in one transaction %d", canary_mark, i);
    put_text(kv, key, canary_mark);
  }
  CHECK_OK(kvstore_commit(kv));
  CHECK_INT(store_shows_mark(), 0);
  CHECK_OK(kvstore_close(kv));
  CHECK_INT(store_shows_mark(), 0);
}

/* The same without a password is found: the search can find. */
TEST(encryption, the_canaries_of_a_plain_store_are_seen_until_it_is_encrypted) {
  KVStoreOptions options = options_with(NULL);
  KVStore *kv = NULL;
  options.log_bytes = 256 << 10;
  CHECK_OK(kvstore_open_with(path_of("store"), &kv, &options));
  canary_campaign(kv, 1);
  CHECK_OK(kvstore_close(kv));
  CHECK_INT(store_shows_mark(), 1);
  kv = open_with(path_of("store"), "secret");
  CHECK_INT(store_shows_mark(), 0);
  CHECK_INT(count_of(kv), 2 * CANARIES);
  CHECK_OK(kvstore_close(kv));
  CHECK_INT(store_shows_mark(), 0);
}

/* ---- out of memory ---- */

typedef int (*Change)(const char *path);

static int change_open_new(const char *path) {
  KVStore *kv = NULL;
  KVStoreOptions options = options_with("secret");
  options.background_off = 1;
  int status = kvstore_open_with(path, &kv, &options);
  int closed = kvstore_close(kv);
  return status == KVSTORE_OK ? closed : status;
}

static int change_password(const char *path) {
  KVStore *kv = NULL;
  KVStoreOptions options = options_with("secret");
  options.background_off = 1;
  int status = kvstore_open_with(path, &kv, &options);
  if (status == KVSTORE_OK) status = kvstore_reencrypt(kv, "secret", 6);
  int closed = kvstore_close(kv);
  return status == KVSTORE_OK ? closed : status;
}

static int change_to_plain(const char *path) {
  KVStore *kv = NULL;
  KVStoreOptions options = options_with("secret");
  options.background_off = 1;
  int status = kvstore_open_with(path, &kv, &options);
  if (status == KVSTORE_OK) status = kvstore_remove_encryption(kv);
  int closed = kvstore_close(kv);
  return status == KVSTORE_OK ? closed : status;
}

static void check_either(const char *path) {
  KVStore *kv = NULL;
  int status = try_open(path, NULL, &kv);
  if (status == KVSTORE_AUTH_FAILED) status = try_open(path, "secret", &kv);
  CHECK_OK(status);
  check_text(kv, "key", "value");
  CHECK_OK(kvstore_integrity_check(kv, NULL));
  CHECK_OK(kvstore_close(kv));
}

static void without_memory(Change change, const char *password_before) {
  char path[600];
  (void)snprintf(path, sizeof path, "%s", path_of("store"));
  for (uint64_t fail_at = 1;; fail_at++) {
    CHECK(fail_at < 10000);
    (void)unlink(path);
    make_store(path, password_before);
    failing_memory_install(fail_at, false);
    int status = change(path);
    uint64_t failures = failing_memory_failures();
    failing_memory_remove();
    if (failures && status != KVSTORE_OK) CHECK_STATUS(status, KVSTORE_NOMEM);
    if (!failures) CHECK_OK(status);
    check_either(path);
    if (!failures) break;
  }
}

TEST(encryption, an_open_fails_whole_without_memory) { without_memory(change_open_new, "secret"); }
TEST(encryption, encryption_in_place_fails_whole_without_memory) { without_memory(change_open_new, NULL); }
TEST(encryption, reencrypt_fails_whole_without_memory) { without_memory(change_password, "secret"); }
TEST(encryption, remove_encryption_fails_whole_without_memory) { without_memory(change_to_plain, "secret"); }
