/* What the header promises a program that was written for the reference: every name, value and type. Most of it is
 * checked by the compiler; headers_in_cpp.cpp is the same in C++, tests/install finds the header as "kvstore.h". */
#include "tests/api/api_support.h"

/* ---- values ---- */

#define VALUE(name, value) _Static_assert((name) == (value), #name)
VALUE(KVSTORE_OK, 0);
VALUE(KVSTORE_ERROR, 1);
VALUE(KVSTORE_BUSY, 5);
VALUE(KVSTORE_LOCKED, 6);
VALUE(KVSTORE_NOMEM, 7);
VALUE(KVSTORE_READONLY, 8);
VALUE(KVSTORE_CORRUPT, 11);
VALUE(KVSTORE_NOTFOUND, 12);
VALUE(KVSTORE_AUTH_FAILED, 13);
VALUE(KVSTORE_PROTOCOL, 15);
VALUE(KVSTORE_JOURNAL_DELETE, 0);
VALUE(KVSTORE_JOURNAL_WAL, 1);
VALUE(KVSTORE_SYNC_OFF, 0);
VALUE(KVSTORE_SYNC_NORMAL, 1);
VALUE(KVSTORE_SYNC_FULL, 2);
VALUE(KVSTORE_CHECKPOINT_PASSIVE, 0);
VALUE(KVSTORE_CHECKPOINT_FULL, 1);
VALUE(KVSTORE_CHECKPOINT_RESTART, 2);
VALUE(KVSTORE_CHECKPOINT_TRUNCATE, 3);
VALUE(KVSTORE_MAX_COLUMN_FAMILIES, 64);
VALUE(KVSTORE_NO_TTL, -1);

/* ---- structs: fields, their types, and their order where a program may count on it ---- */

#define AFTER(type, first, second) _Static_assert(offsetof(type, first) < offsetof(type, second), #second)
AFTER(KVStoreConfig, journalMode, syncLevel);
AFTER(KVStoreConfig, syncLevel, cacheSize);
AFTER(KVStoreConfig, cacheSize, pageSize);
AFTER(KVStoreConfig, pageSize, readOnly);
AFTER(KVStoreConfig, readOnly, busyTimeout);
AFTER(KVStoreConfig, busyTimeout, walSizeLimit);
AFTER(KVStoreConfig, walSizeLimit, allowEncrypted);
AFTER(KVStoreConfig, allowEncrypted, fullMutex);
_Static_assert(sizeof(KVStoreConfig) == 9 * sizeof(int), "nine fields of int");
_Static_assert(sizeof(KVStoreStats) == 12 * sizeof(uint64_t), "twelve counters of 64 bits");

TEST(contract_header, the_twelve_statistics_have_their_names_and_types) {
  KVStoreStats s = { 0 };
  uint64_t *const fields[] = { &s.nPuts,        &s.nGets,       &s.nDeletes,      &s.nIterations,
                               &s.nErrors,      &s.nBytesRead,  &s.nBytesWritten, &s.nWalCommits,
                               &s.nCheckpoints, &s.nTtlExpired, &s.nTtlPurged,    &s.nDbPages };
  for (size_t i = 0; i < 12; i++)
    for (size_t j = 0; j < i; j++) CHECK(fields[i] != fields[j]);
}

TEST(contract_header, the_default_configuration_is_wal_normal_2000_pages_of_4096_and_zeros) {
  const KVStoreConfig config = KVSTORE_CONFIG_DEFAULT;
  CHECK_INT(config.journalMode, KVSTORE_JOURNAL_WAL);
  CHECK_INT(config.syncLevel, KVSTORE_SYNC_NORMAL);
  CHECK_INT(config.cacheSize, 2000);
  CHECK_INT(config.pageSize, 4096);
  CHECK_INT(config.readOnly | config.busyTimeout | config.walSizeLimit, 0);
}

/* ---- functions: a wrong signature does not compile, a missing one does not link ---- */

typedef int PairFunction(KVStore *, const void *, int);
typedef int GetFunction(KVStore *, const void *, int, void **, int *);
typedef int CfGetFunction(KVColumnFamily *, const void *, int, void **, int *);

TEST(contract_header, every_function_is_there_with_its_signature) {
  int (*const open_v2)(const char *, KVStore **, const KVStoreConfig *) = kvstore_open_v2;
  int (*const open)(const char *, KVStore **, int) = kvstore_open;
  int (*const of_store[])(KVStore *) = { kvstore_close, kvstore_commit,      kvstore_rollback,
                                         kvstore_clear, kvstore_stats_reset, kvstore_sync };
  int (*const put)(KVStore *, const void *, int, const void *, int) = kvstore_put;
  GetFunction *const get = kvstore_get;
  PairFunction *const delete_key = kvstore_delete;
  int (*const exists)(KVStore *, const void *, int, int *) = kvstore_exists;
  int (*const cf_make[])(KVStore *, const char *, KVColumnFamily **) = { kvstore_cf_create, kvstore_cf_open };
  int (*const cf_default)(KVStore *, KVColumnFamily **) = kvstore_cf_get_default;
  int (*const cf_drop)(KVStore *, const char *) = kvstore_cf_drop;
  int (*const cf_list)(KVStore *, char ***, int *) = kvstore_cf_list;
  void (*const cf_close)(KVColumnFamily *) = kvstore_cf_close;
  int (*const cf_put)(KVColumnFamily *, const void *, int, const void *, int) = kvstore_cf_put;
  CfGetFunction *const cf_get = kvstore_cf_get;
  int (*const cf_delete)(KVColumnFamily *, const void *, int) = kvstore_cf_delete;
  int (*const cf_exists)(KVColumnFamily *, const void *, int, int *) = kvstore_cf_exists;
  CHECK(open_v2 && open && of_store[5] && put && get && delete_key && exists && cf_make[1] && cf_default && cf_drop);
  CHECK(cf_list && cf_close && cf_put && cf_get && cf_delete && cf_exists);
}

TEST(contract_header, every_iterator_function_is_there_with_its_signature) {
  int (*const make[])(KVStore *, KVIterator **) = { kvstore_iterator_create, kvstore_reverse_iterator_create };
  int (*const cf_make[])(KVColumnFamily *, KVIterator **) = { kvstore_cf_iterator_create,
                                                              kvstore_cf_reverse_iterator_create };
  int (*const prefix[])(KVStore *, const void *, int, KVIterator **) = { kvstore_prefix_iterator_create,
                                                                         kvstore_reverse_prefix_iterator_create };
  int (*const cf_prefix[])(KVColumnFamily *, const void *, int,
                           KVIterator **) = { kvstore_cf_prefix_iterator_create,
                                              kvstore_cf_reverse_prefix_iterator_create };
  int (*const moves[])(KVIterator *) = { kvstore_iterator_first, kvstore_iterator_next, kvstore_iterator_last,
                                         kvstore_iterator_prev, kvstore_iterator_eof };
  int (*const reads[])(KVIterator *, void **, int *) = { kvstore_iterator_key, kvstore_iterator_value };
  int (*const seek)(KVIterator *, const void *, int) = kvstore_iterator_seek;
  void (*const close)(KVIterator *) = kvstore_iterator_close;
  CHECK(make[1] && cf_make[1] && prefix[1] && cf_prefix[1] && moves[4] && reads[1] && seek && close);
}

TEST(contract_header, every_ttl_and_care_function_is_there_with_its_signature) {
  int64_t (*const now)(void) = kvstore_now_ms;
  int (*const put_ttl)(KVStore *, const void *, int, const void *, int, int64_t) = kvstore_put_ttl;
  int (*const get_ttl)(KVStore *, const void *, int, void **, int *, int64_t *) = kvstore_get_ttl;
  int (*const remaining)(KVStore *, const void *, int, int64_t *) = kvstore_ttl_remaining;
  int (*const purge)(KVStore *, int *) = kvstore_purge_expired;
  int (*const absent)(KVStore *, const void *, int, const void *, int, int64_t, int *) = kvstore_put_if_absent;
  int (*const cf_put_ttl)(KVColumnFamily *, const void *, int, const void *, int, int64_t) = kvstore_cf_put_ttl;
  int (*const cf_get_ttl)(KVColumnFamily *, const void *, int, void **, int *, int64_t *) = kvstore_cf_get_ttl;
  int (*const cf_remaining)(KVColumnFamily *, const void *, int, int64_t *) = kvstore_cf_ttl_remaining;
  int (*const cf_purge)(KVColumnFamily *, int *) = kvstore_cf_purge_expired;
  int (*const cf_absent)(KVColumnFamily *, const void *, int, const void *, int, int64_t, int *) =
    kvstore_cf_put_if_absent;
  int (*const cf_clear)(KVColumnFamily *) = kvstore_cf_clear;
  int (*const counts)(KVStore *, int64_t *) = kvstore_count;
  int (*const cf_counts)(KVColumnFamily *, int64_t *) = kvstore_cf_count;
  int (*const begin)(KVStore *, int) = kvstore_begin;
  const char *(*const message)(KVStore *) = kvstore_errmsg;
  int (*const stats)(KVStore *, KVStoreStats *) = kvstore_stats;
  int (*const check)(KVStore *, char **) = kvstore_integrity_check;
  int (*const checkpoint)(KVStore *, int, int *, int *) = kvstore_checkpoint;
  CHECK(now && put_ttl && get_ttl && remaining && purge && absent && cf_put_ttl && cf_get_ttl && cf_remaining);
  CHECK(cf_purge && cf_absent && cf_clear && counts && cf_counts && begin && message && stats && check && checkpoint);
}

TEST(contract_header, every_encryption_function_is_there_with_its_signature) {
  int (*const open)(const char *, const void *, int, KVStore **, const KVStoreConfig *) = kvstore_open_encrypted;
  int (*const of_store[])(KVStore *) = { kvstore_is_encrypted, kvstore_remove_encryption };
  int (*const reencrypt)(KVStore *, const void *, int) = kvstore_reencrypt;
  CHECK(open && of_store[1] && reencrypt);
}

/* ---- memory ---- */

TEST(contract_header, the_memory_macros_zero_copy_grow_and_free) {
  unsigned char *bytes = sqliteMalloc(64), *alias = snkv_malloc(64);
  for (int i = 0; i < 64; i++) CHECK(bytes[i] == 0 && alias[i] == 0);
  bytes[63] = 9;
  bytes = sqliteRealloc(bytes, 128);
  CHECK_INT(bytes[63], 9);
  char *copy = sqliteStrDup("text");
  CHECK_STR(copy, "text");
  snkv_free(copy);
  snkv_free(alias);
  sqliteFree(bytes);
  sqliteFree(NULL);
}
