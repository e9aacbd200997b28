/* api_support.h - what the tests of the public headers share: opening a store, and saying in one line what is read. */
#ifndef COLONNADE_TESTS_API_API_SUPPORT_H
#define COLONNADE_TESTS_API_API_SUPPORT_H

#include <stdio.h>
#include <string.h>

#include "colonnade/kvtable.h"
#include "tests/support/test.h"

/* The path of a file in the test's directory; the caller's until the eighth call after this one. */
static inline const char *path_of(const char *name) {
  static char paths[8][600];
  static _Atomic unsigned used;
  char *path = paths[used++ % 8];
  (void)snprintf(path, sizeof paths[0], "%s/%s", test_directory(), name);
  return path;
}

static inline int file_exists(const char *path) {
  FILE *f = fopen(path, "rb");
  if (f) (void)fclose(f);
  return f != NULL;
}

static inline long file_size(const char *path) {
  FILE *f = fopen(path, "rb");
  if (!f) return -1;
  long size = fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
  (void)fclose(f);
  return size;
}

/* A small log; encrypted when there is a password (NULL: none), by a key that takes no time to make. */
static inline KVStoreOptions options_with(const char *password) {
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.log_bytes = 1 << 20;
  options.password = password;
  options.password_length = password ? (int)strlen(password) : 0;
  options.kdf_passes = 1;
  options.kdf_memory_bytes = 8192;
  return options;
}

/* A store in the test's directory, with a small log. */
static inline KVStore *open_store(void) {
  KVStore *kv = NULL;
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.log_bytes = 1 << 20;
  CHECK_OK(kvstore_open_with(path_of("store"), &kv, &options));
  CHECK(kv != NULL);
  return kv;
}

static inline void put_text(KVStore *kv, const char *key, const char *value) {
  CHECK_OK(kvstore_put(kv, key, (int)strlen(key), value, (int)strlen(value)));
}

/* `value` NULL: the key is not there. */
static inline void check_text(KVStore *kv, const char *key, const char *value) {
  void *data = (void *)1;
  int length = -1;
  int status = kvstore_get(kv, key, (int)strlen(key), &data, &length);
  CHECK_STATUS(status, value ? KVSTORE_OK : KVSTORE_NOTFOUND);
  CHECK_INT(length, value ? strlen(value) : 0);
  if (!value || !*value)
    CHECK(data == NULL);
  else
    CHECK_BYTES(data, value, (size_t)length);
  sqliteFree(data);
}

/* The keys that an iterator still has to give, with a comma behind each, in the caller's buffer. */
static inline const char *keys_of(KVIterator *it, int reverse, char *buffer, size_t size) {
  size_t used = 0;
  buffer[0] = 0;
  while (!kvstore_iterator_eof(it)) {
    void *key;
    int length;
    CHECK_OK(kvstore_iterator_key(it, &key, &length));
    CHECK(used + (size_t)length + 2 < size);
    memcpy(buffer + used, key, (size_t)length);
    used += (size_t)length;
    buffer[used++] = ',';
    buffer[used] = 0;
    CHECK_OK(reverse ? kvstore_iterator_prev(it) : kvstore_iterator_next(it));
  }
  return buffer;
}

static inline int64_t count_of(KVStore *kv) {
  int64_t count = -1;
  CHECK_OK(kvstore_count(kv, &count));
  return count;
}

/* ---- a table of people: id i64 (key), name string, height f64 null, born date null ---- */

static inline KVTable *create_people(KVStore *kv) {
  const KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 },
                                         { "name", KVTABLE_TYPE_STRING, 0, 0 },
                                         { "height", KVTABLE_TYPE_F64, KVTABLE_NULLABLE, 0 },
                                         { "born", KVTABLE_TYPE_DATE, KVTABLE_NULLABLE, 0 } };
  const char *key[] = { "id" };
  KVTable *table = NULL;
  CHECK_OK(kvtable_create(kv, "people", columns, 4, key, 1, &table));
  return table;
}

static inline int upsert_person(KVTable *table, int64_t id, const char *name, double height) {
  KVValue row[4] = { kvvalue_i64(id), kvvalue_string(name), kvvalue_f64(height), kvvalue_null() };
  return kvtable_upsert(table, row, 4, 0);
}

static inline uint64_t rows_of(KVTable *table) {
  uint64_t count = UINT64_MAX;
  CHECK_OK(kvtable_count(table, &count));
  return count;
}

/* The rows that match a filter; "" is every row. */
static inline uint64_t matches(KVTable *table, const char *where) {
  KVQuery *query = NULL;
  uint64_t count = UINT64_MAX;
  CHECK_OK(kvquery_create(table, &query));
  CHECK_OK(kvquery_where(query, where, NULL, 0));
  CHECK_OK(kvquery_count(query, &count));
  kvquery_close(query);
  return count;
}

#endif
