/* Names and options of families: changed in transactions, kept over a close, seen by every handle. */
#include "tests/api/api_support.h"

static void cf_put_text(KVColumnFamily *cf, const char *key, const char *value) {
  CHECK_OK(kvstore_cf_put(cf, key, (int)strlen(key), value, (int)strlen(value)));
}

static int cf_has(KVColumnFamily *cf, const char *key) {
  int there = -1;
  CHECK_OK(kvstore_cf_exists(cf, key, (int)strlen(key), &there));
  return there;
}

static int64_t remaining_of(KVColumnFamily *cf, const char *key) {
  int64_t remaining = -2;
  CHECK_OK(kvstore_cf_ttl_remaining(cf, key, (int)strlen(key), &remaining));
  return remaining;
}

static void check_has_ttl(KVColumnFamily *cf, const char *key, int64_t ttl_ms) {
  int64_t remaining = remaining_of(cf, key);
  CHECK(remaining > ttl_ms - 60000 && remaining <= ttl_ms);
}

static KVColumnFamily *open_family(KVStore *kv, const char *name) {
  KVColumnFamily *cf = NULL;
  CHECK_OK(kvstore_cf_open(kv, name, &cf));
  return cf;
}

static void check_no_family(KVStore *kv, const char *name) {
  KVColumnFamily *cf = NULL;
  CHECK_STATUS(kvstore_cf_open(kv, name, &cf), KVSTORE_NOTFOUND);
}

static KVFamilyOptions with_ttl(int64_t ttl_ms) {
  KVFamilyOptions options = KVSTORE_FAMILY_OPTIONS_INIT;
  options.default_ttl_ms = ttl_ms;
  return options;
}

static int64_t ttl_of(KVColumnFamily *cf) {
  KVFamilyOptions options = KVSTORE_FAMILY_OPTIONS_INIT;
  CHECK_OK(kvstore_cf_get_options(cf, &options));
  return options.default_ttl_ms;
}

enum { HOUR = 3600000 };

/* ---- the default TTL ---- */

TEST(family_options, a_put_gets_the_default_ttl_and_an_explicit_one_wins) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = NULL, *plain = NULL;
  KVFamilyOptions options = with_ttl(HOUR);
  int64_t now = kvstore_now_ms();
  int inserted = 0;
  CHECK_OK(kvstore_cf_create_with(kv, "cache", &options, &cf));
  CHECK_OK(kvstore_cf_create_with(kv, "plain", NULL, &plain));
  cf_put_text(cf, "put", "1");
  CHECK_OK(kvstore_cf_put_ttl(cf, "never", 5, "2", 1, 0));
  CHECK_OK(kvstore_cf_put_ttl(cf, "longer", 6, "3", 1, now + 2 * HOUR));
  CHECK_OK(kvstore_cf_put_ttl(cf, "asked", 5, "4", 1, KVSTORE_EXPIRE_DEFAULT));
  CHECK_OK(kvstore_cf_put_if_absent(cf, "absent", 6, "5", 1, 0, &inserted));
  cf_put_text(plain, "put", "1");
  put_text(kv, "put", "1");
  check_has_ttl(cf, "put", HOUR);
  check_has_ttl(cf, "asked", HOUR);
  check_has_ttl(cf, "longer", 2 * HOUR);
  CHECK_INT(remaining_of(cf, "never"), KVSTORE_NO_TTL);
  CHECK_INT(remaining_of(cf, "absent"), KVSTORE_NO_TTL);
  CHECK_INT(remaining_of(plain, "put"), KVSTORE_NO_TTL);
  kvstore_cf_close(cf);
  kvstore_cf_close(plain);
  CHECK_OK(kvstore_close(kv));
  kv = open_store();
  cf = open_family(kv, "cache");
  CHECK_INT(ttl_of(cf), HOUR);
  check_has_ttl(cf, "put", HOUR);
  cf_put_text(cf, "again", "6");
  check_has_ttl(cf, "again", HOUR);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(family_options, bulk_loads_obey_the_default_ttl_when_asked) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = NULL;
  KVFamilyOptions options = with_ttl(HOUR);
  const KVPair pairs[] = { { "a", "1", 1, 1, KVSTORE_EXPIRE_DEFAULT }, { "b", "2", 1, 1, 0 } };
  CHECK_OK(kvstore_cf_create_with(kv, "cache", &options, &cf));
  CHECK_OK(kvstore_bulk_load(kv, cf, pairs, 2, NULL, NULL));
  check_has_ttl(cf, "a", HOUR);
  CHECK_INT(remaining_of(cf, "b"), KVSTORE_NO_TTL);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(family_options, the_default_family_has_options_too) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = NULL;
  KVFamilyOptions options = with_ttl(HOUR);
  int64_t remaining = -2;
  CHECK_OK(kvstore_cf_get_default(kv, &cf));
  CHECK_INT(ttl_of(cf), 0);
  CHECK_OK(kvstore_cf_set_options(cf, &options));
  put_text(kv, "put", "1");
  CHECK_OK(kvstore_ttl_remaining(kv, "put", 3, &remaining));
  CHECK(remaining > 0 && remaining <= HOUR);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

/* ---- changes ---- */

TEST(family_options, a_change_belongs_to_its_transaction) {
  KVStore *kv = open_store(), *other = NULL;
  KVColumnFamily *cf = NULL, *theirs;
  KVFamilyOptions hour = with_ttl(HOUR), two = with_ttl(2 * HOUR);
  CHECK_OK(kvstore_cf_create_with(kv, "cache", &hour, &cf));
  CHECK_OK(kvstore_clone(kv, &other));
  theirs = open_family(other, "cache");
  CHECK_OK(kvstore_begin(kv, 1));
  CHECK_OK(kvstore_cf_set_options(cf, &two));
  cf_put_text(cf, "inside", "1");
  CHECK_INT(ttl_of(cf), 2 * HOUR);
  CHECK_INT(ttl_of(theirs), HOUR);
  CHECK_OK(kvstore_rollback(kv));
  CHECK_INT(ttl_of(cf), HOUR);
  CHECK_INT(cf_has(cf, "inside"), 0);

  CHECK_OK(kvstore_begin(other, 0));
  CHECK_INT(ttl_of(theirs), HOUR);
  CHECK_OK(kvstore_cf_set_options(cf, &two));
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  CHECK_INT(ttl_of(theirs), HOUR); /* as it was when the snapshot was taken */
  CHECK_OK(kvstore_commit(other));
  CHECK_INT(ttl_of(theirs), 2 * HOUR);
  kvstore_cf_close(theirs);
  CHECK_OK(kvstore_close(other));
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(family_options, clearing_a_family_keeps_its_options) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = NULL;
  KVFamilyOptions options = with_ttl(HOUR);
  CHECK_OK(kvstore_cf_create_with(kv, "cache", &options, &cf));
  CHECK_OK(kvstore_cf_clear(cf));
  CHECK_INT(ttl_of(cf), HOUR);
  options = with_ttl(0);
  CHECK_OK(kvstore_cf_set_options(cf, &options));
  CHECK_INT(ttl_of(cf), 0);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
  kv = open_store();
  cf = open_family(kv, "cache");
  CHECK_INT(ttl_of(cf), 0);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

enum { ROWS = 20000 };

/* The bytes of a store of one family, which holds ROWS values of 240 digits: so much that they settle in the level. */
static long size_of_store(int of_store, int of_family) {
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  KVFamilyOptions family_options = KVSTORE_FAMILY_OPTIONS_INIT;
  KVStore *kv = NULL;
  KVColumnFamily *cf = NULL;
  options.background_off = 1;
  options.compression = of_store;
  family_options.compression = of_family;
  (void)remove(path_of("sized"));
  CHECK_OK(kvstore_open_with(path_of("sized"), &kv, &options));
  CHECK_OK(kvstore_cf_create_with(kv, "family", &family_options, &cf));
  CHECK_OK(kvstore_begin(kv, 1));
  for (int i = 0; i < ROWS; i++) {
    char key[32], value[256];
    (void)snprintf(key, sizeof key, "key %d", i);
    (void)snprintf(value, sizeof value, "%0240d", i);
    cf_put_text(cf, key, value);
  }
  CHECK_OK(kvstore_commit(kv));
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
  CHECK_OK(kvstore_open(path_of("sized"), &kv, KVSTORE_JOURNAL_WAL));
  cf = open_family(kv, "family");
  CHECK(cf_has(cf, "key 777"));
  CHECK_OK(kvstore_cf_get_options(cf, &family_options)); /* kept with the family */
  CHECK_INT(family_options.compression, of_family);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
  return file_size(path_of("sized"));
}

TEST(family_options, a_familys_compression_goes_before_the_stores) {
  enum { PLAIN = ROWS * 240, PACKED = PLAIN / 3 };
  CHECK(size_of_store(KVSTORE_COMPRESSION_ZSTD, KVSTORE_COMPRESSION_INHERITED) < PACKED);
  CHECK(size_of_store(KVSTORE_COMPRESSION_ZSTD, KVSTORE_COMPRESSION_NONE) > PLAIN);
  CHECK(size_of_store(KVSTORE_COMPRESSION_NONE, KVSTORE_COMPRESSION_INHERITED) > PLAIN);
  CHECK(size_of_store(KVSTORE_COMPRESSION_NONE, KVSTORE_COMPRESSION_ZSTD) < PACKED);
  CHECK(size_of_store(KVSTORE_COMPRESSION_NONE, KVSTORE_COMPRESSION_AUTO) < PACKED);
}

TEST(family_options, a_compression_that_is_none_is_refused) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = NULL;
  KVFamilyOptions options = KVSTORE_FAMILY_OPTIONS_INIT;
  CHECK_OK(kvstore_cf_create(kv, "family", &cf));
  options.compression = KVSTORE_COMPRESSION_ZSTD + 1;
  CHECK_STATUS(kvstore_cf_set_options(cf, &options), KVSTORE_ERROR);
  options.compression = KVSTORE_COMPRESSION_INHERITED - 1;
  CHECK_STATUS(kvstore_cf_set_options(cf, &options), KVSTORE_ERROR);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(family_options, refuses_what_cannot_be) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = NULL, *none = (KVColumnFamily *)1;
  KVFamilyOptions options = with_ttl(-1);
  CHECK_OK(kvstore_cf_create(kv, "cache", &cf));
  CHECK_STATUS(kvstore_cf_create_with(kv, "other", &options, &none), KVSTORE_ERROR);
  CHECK(none == NULL);
  check_no_family(kv, "other");
  CHECK_STATUS(kvstore_cf_set_options(cf, &options), KVSTORE_ERROR);
  options = with_ttl(INT64_MAX);
  CHECK_STATUS(kvstore_cf_set_options(cf, &options), KVSTORE_ERROR);
  options = with_ttl(0);
  options.struct_size = 3;
  CHECK_STATUS(kvstore_cf_set_options(cf, &options), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_get_options(cf, &options), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_set_options(cf, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_get_options(cf, NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_set_options(NULL, &options), KVSTORE_ERROR);
  CHECK_INT(ttl_of(cf), 0);
  CHECK_OK(kvstore_cf_drop(kv, "cache"));
  options = with_ttl(1);
  CHECK_STATUS(kvstore_cf_set_options(cf, &options), KVSTORE_NOTFOUND);
  CHECK_STATUS(kvstore_cf_get_options(cf, &options), KVSTORE_NOTFOUND);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

/* ---- other names ---- */

TEST(family_rename, the_family_is_the_same_under_another_name) {
  KVStore *kv = open_store(), *other = NULL;
  KVColumnFamily *cf = NULL, *again;
  char **names = NULL;
  int count = 0;
  CHECK_OK(kvstore_cf_create(kv, "before", &cf));
  cf_put_text(cf, "key", "value");
  CHECK_OK(kvstore_clone(kv, &other));
  CHECK_OK(kvstore_cf_rename(kv, "before", "after"));
  cf_put_text(cf, "later", "too"); /* the handle stays what it is */
  check_no_family(other, "before");
  again = open_family(other, "after");
  CHECK(cf_has(again, "key") && cf_has(again, "later"));
  kvstore_cf_close(again);
  CHECK_OK(kvstore_cf_list(other, &names, &count));
  CHECK_INT(count, 1);
  CHECK_STR(names[0], "after");
  kvstore_free(names[0]);
  kvstore_free(names);
  CHECK_OK(kvstore_cf_create(kv, "before", &again)); /* the name is free */
  CHECK(!cf_has(again, "key"));
  kvstore_cf_close(again);
  CHECK_OK(kvstore_close(other));
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
  kv = open_store();
  cf = open_family(kv, "after");
  CHECK(cf_has(cf, "key"));
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(kv));
}

TEST(family_rename, a_rollback_gives_the_name_back) {
  KVStore *kv = open_store(), *other = NULL;
  KVColumnFamily *cf = NULL;
  CHECK_OK(kvstore_cf_create(kv, "a", &cf));
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_cf_create(kv, "b", &cf));
  CHECK_OK(kvstore_clone(kv, &other));
  CHECK_OK(kvstore_begin(kv, 1));
  CHECK_OK(kvstore_cf_rename(kv, "a", "c")); /* a swap: b becomes a, c becomes b */
  CHECK_OK(kvstore_cf_rename(kv, "b", "a"));
  CHECK_OK(kvstore_cf_rename(kv, "c", "b"));
  check_no_family(kv, "c");
  check_no_family(other, "c");
  cf_put_text(cf, "mark", "of the former b");
  CHECK_OK(kvstore_rollback(kv));
  check_no_family(kv, "c");
  cf_put_text(cf, "mark", "of b");
  KVColumnFamily *b = open_family(other, "b"), *a = open_family(other, "a");
  CHECK(cf_has(b, "mark") && !cf_has(a, "mark"));
  CHECK_OK(kvstore_begin(other, 0)); /* a snapshot keeps the names that it knows */
  CHECK_OK(kvstore_cf_rename(kv, "b", "d"));
  CHECK_OK(kvstore_checkpoint(kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL));
  kvstore_cf_close(b);
  b = open_family(other, "b");
  check_no_family(other, "d");
  CHECK_OK(kvstore_commit(other));
  check_no_family(other, "b");
  kvstore_cf_close(a);
  kvstore_cf_close(b);
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_close(other));
  CHECK_OK(kvstore_close(kv));
}

TEST(family_rename, names_are_checked_and_taken_ones_refused) {
  KVStore *kv = open_store();
  KVColumnFamily *cf = NULL;
  char long_name[300];
  memset(long_name, 'n', sizeof long_name - 1);
  long_name[sizeof long_name - 1] = 0;
  KVTable *table = create_people(kv);
  CHECK_OK(kvstore_cf_create(kv, "a", &cf));
  kvstore_cf_close(cf);
  CHECK_OK(kvstore_cf_create(kv, "b", &cf));
  kvstore_cf_close(cf);
  CHECK_STATUS(kvstore_cf_rename(kv, "a", "b"), KVSTORE_ERROR);
  CHECK(strstr(kvstore_errmsg(kv), "b is there already"));
  CHECK_STATUS(kvstore_cf_rename(kv, "a", "people"), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_rename(kv, "a", "default"), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_rename(kv, "a", "__a"), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_rename(kv, "a", ""), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_rename(kv, "a", "\xff"), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_rename(kv, "a", long_name), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_rename(kv, "a", NULL), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_rename(kv, NULL, "a"), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_rename(NULL, "a", "c"), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_rename(kv, "default", "c"), KVSTORE_ERROR);
  CHECK_STATUS(kvstore_cf_rename(kv, "people", "c"), KVSTORE_SCHEMA);
  CHECK_STATUS(kvstore_cf_rename(kv, "nobody", "c"), KVSTORE_NOTFOUND);
  CHECK_OK(kvstore_cf_rename(kv, "a", "a"));
  cf = open_family(kv, "a");
  kvstore_cf_close(cf);
  kvtable_close(table);
  CHECK_OK(kvstore_close(kv));
}
