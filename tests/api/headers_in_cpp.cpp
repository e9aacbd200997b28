// The public headers in C++: everything a C++ program may write is written here once.
#include "colonnade/kvarrow.h"
#include "colonnade/kvtable.h"

extern "C" int headers_in_cpp(const char *path);

int headers_in_cpp(const char *path) {
  KVStore *kv = nullptr;
  KVStoreConfig config = KVSTORE_CONFIG_DEFAULT;
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  KVStoreError error = KVSTORE_ERROR_INIT;
  KVStoreInfo info = KVSTORE_INFO_INIT;
  KVQueryCounters counters = KVQUERY_COUNTERS_INIT;
  KVTableSchema schema = KVTABLE_SCHEMA_INIT;
  options.sync_level = config.syncLevel;
  if (kvstore_open_with(path, &kv, &options) != KVSTORE_OK) return 1;
  void *value = nullptr;
  int length = 0;
  if (kvstore_put(kv, "key", 3, "value", 5) != KVSTORE_OK) return 2;
  if (kvstore_get(kv, "key", 3, &value, &length) != KVSTORE_OK || length != 5) return 3;
  sqliteFree(value);
  KVColumnDefinition columns[] = { { "id", KVTABLE_TYPE_I64, 0, 0 }, { "name", KVTABLE_TYPE_STRING, 0, 0 } };
  const char *key[] = { "id" };
  KVTable *table = nullptr;
  if (kvtable_create(kv, "t", columns, 2, key, 1, &table) != KVSTORE_OK) return 4;
  KVValue row[] = { kvvalue_i64(1), kvvalue_string("x") };
  if (kvtable_upsert(table, row, 2, 0) != KVSTORE_OK) return 5;
  KVQuery *query = nullptr;
  uint64_t count = 0;
  if (kvquery_create(table, &query) != KVSTORE_OK || kvquery_count(query, &count) != KVSTORE_OK || count != 1) return 6;
  if (kvquery_counters(query, &counters) != KVSTORE_OK || kvtable_schema(table, &schema) != KVSTORE_OK) return 7;
  if (kvstore_error(kv, &error) != KVSTORE_OK || error.code != KVSTORE_OK) return 8;
  if (kvstore_info(kv, &info) != KVSTORE_OK) return 9;
  kvquery_close(query);
  kvtable_close(table);
  return kvstore_close(kv);
}
