#include <stdio.h>
#include <stdlib.h>

#include "bench/kv/kv_engine.h"
#include "colonnade/kvtable.h"

#ifndef KV_NAME
#define KV_NAME     "colonnade"
#define KV_PASSWORD NULL
#endif

static const char *engine_version(void) { return "0.0.1"; }
static const char *engine_settings(void) {
  return "log of 64 MiB, KVSTORE_SYNC_OFF or KVSTORE_SYNC_FULL, one background thread; a value read is a copy on the "
         "heap";
}
static KVStore *last_handle;
static const char *engine_error(void) { return kvstore_errmsg(last_handle); }

static int failed(KVStore *kv, int code) {
  if (code == KVSTORE_OK) return 0;
  last_handle = kv;
  return -1;
}

static void *engine_open(const char *directory, int synced) {
  char path[4096];
  KVStore *kv = NULL;
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.sync_level = synced ? KVSTORE_SYNC_FULL : KVSTORE_SYNC_OFF;
  options.busy_timeout_ms = 20000;
  const char *packed = getenv("BENCH_KV_PACKED"); /* see README.md */
  if (packed && *packed) options.compression = KVSTORE_COMPRESSION_ZSTD;
  const char *cache = getenv("BENCH_KV_CACHE_MB");
  if (cache) options.cache_bytes = strtoull(cache, NULL, 10) << 20;
  options.password = KV_PASSWORD;
  options.password_length = options.password ? (int)strlen(options.password) : 0;
  snprintf(path, sizeof path, "%s/pairs.colonnade", directory);
  if (failed(NULL, kvstore_open_with(path, &kv, &options))) return NULL;
  return kv;
}

static int engine_close(void *opened) { return failed(NULL, kvstore_close(opened)); }

static void *engine_attach(void *opened) {
  KVStore *other = NULL;
  return failed(opened, kvstore_clone(opened, &other)) ? NULL : other;
}
static void engine_detach(void *attached) { kvstore_close(attached); }

static int engine_begin(void *attached, int writing) { return failed(attached, kvstore_begin(attached, writing)); }
static int engine_commit(void *attached) { return failed(attached, kvstore_commit(attached)); }

static int engine_put(void *attached, const void *key, const void *value) {
  return failed(attached, kvstore_put(attached, key, KV_KEY_BYTES, value, KV_VALUE_BYTES));
}

static int engine_get(void *attached, const void *key, uint64_t *sum) {
  void *value = NULL;
  int length = 0;
  int code = kvstore_get(attached, key, KV_KEY_BYTES, &value, &length);
  if (code == KVSTORE_NOTFOUND) return 0;
  if (failed(attached, code)) return -1;
  kv_fold(sum, value, (size_t)length);
  kvstore_free(value);
  return 1;
}

enum { MANY_KEYS_MAX = 1000 };

static int64_t engine_get_many(void *attached, const void *keys, uint64_t count, uint64_t *sum) {
  static _Thread_local KVLookup lookups[MANY_KEYS_MAX];
  void *values = NULL;
  int64_t found = 0;
  for (uint64_t i = 0; i < count; i++) {
    lookups[i].key = (const char *)keys + i * KV_KEY_BYTES;
    lookups[i].key_length = KV_KEY_BYTES;
  }
  if (failed(attached, kvstore_get_many(attached, lookups, count, &values))) return -1;
  for (uint64_t i = 0; i < count; i++) {
    if (lookups[i].status != KVSTORE_OK) continue;
    kv_fold(sum, lookups[i].value, (size_t)lookups[i].value_length);
    found++;
  }
  kvstore_free(values);
  return found;
}

static int iterator_create(KVStore *kv, const void *from, size_t prefix_length, int reverse, KVIterator **iterator) {
  int code;
  if (prefix_length) return kvstore_prefix_iterator_create(kv, from, (int)prefix_length, iterator);
  if (reverse) {
    code = kvstore_reverse_iterator_create(kv, iterator);
    return code ? code : kvstore_iterator_last(*iterator);
  }
  code = kvstore_iterator_create(kv, iterator);
  if (code) return code;
  return from ? kvstore_iterator_seek(*iterator, from, KV_KEY_BYTES) : kvstore_iterator_first(*iterator);
}

static int64_t engine_scan(void *attached, const void *from, size_t prefix_length, int64_t limit, int reverse,
                           uint64_t *sum) {
  KVIterator *iterator = NULL;
  int64_t count = 0;
  int code = iterator_create(attached, from, prefix_length, reverse, &iterator);
  while (code == KVSTORE_OK && count < limit && !kvstore_iterator_eof(iterator)) {
    void *key = NULL, *value = NULL;
    int key_length = 0, value_length = 0;
    code = kvstore_iterator_key(iterator, &key, &key_length);
    if (code == KVSTORE_OK) code = kvstore_iterator_value(iterator, &value, &value_length);
    if (code != KVSTORE_OK) break;
    kv_fold(sum, key, (size_t)key_length);
    kv_fold(sum, value, (size_t)value_length);
    count++;
    code = reverse ? kvstore_iterator_prev(iterator) : kvstore_iterator_next(iterator);
  }
  kvstore_iterator_close(iterator);
  return failed(attached, code) ? -1 : count;
}

static int engine_load(void *attached, int sorted, int (*next)(void *context, char *key, char *value), void *context) {
  KVBulkLoad *load = NULL;
  KVBulkOptions options = KVSTORE_BULK_OPTIONS_INIT;
  char key[KV_KEY_BYTES], value[KV_VALUE_BYTES];
  options.sorted = sorted;
  int code = kvstore_bulk_load_begin(attached, NULL, &options, &load);
  while (code == KVSTORE_OK && next(context, key, value))
    code = kvstore_bulk_load_add(load, key, KV_KEY_BYTES, value, KV_VALUE_BYTES, 0);
  if (code == KVSTORE_OK)
    code = kvstore_bulk_load_commit(load, NULL);
  else
    kvstore_bulk_load_abort(load);
  return failed(attached, code);
}

/* The number is a column beside the pairs, made while nobody looks at the clock. */
static KVTable *counted;
static KVQuery *below_query, *range_query, *parts_query;
static uint64_t below; /* what the first one asks; 0: nothing yet */

static int counts_begin(void *attached) {
  static const KVPairColumn columns[] = { { "number", "at(0)", KVTABLE_TYPE_U64, 0 },
                                          { "site", "part(1)", KVTABLE_TYPE_STRING, 0 } };
  static const KVAggregate aggregates[] = { { KVQUERY_ROWS, NULL }, { KVQUERY_SUM, "number" } };
  static const char *const site[] = { "site" };
  KVColumnFamily *family = NULL;
  int code = kvstore_cf_get_default(attached, &family);
  if (code == KVSTORE_OK) code = kvtable_declare(family, columns, 2, 0);
  if (code == KVSTORE_OK) code = kvstore_maintain(attached);
  if (code == KVSTORE_OK) code = kvstore_checkpoint(attached, KVSTORE_CHECKPOINT_FULL, NULL, NULL);
  if (code == KVSTORE_OK) code = kvtable_open_family(family, NULL, 0, &counted);
  if (code == KVSTORE_OK) code = kvquery_create(counted, &below_query);
  if (code == KVSTORE_OK) code = kvquery_create(counted, &range_query);
  if (code == KVSTORE_OK) code = kvquery_create(counted, &parts_query);
  if (code == KVSTORE_OK) code = kvquery_group_by(parts_query, site, 1);
  if (code == KVSTORE_OK) code = kvquery_compute(parts_query, aggregates, 2);
  kvstore_cf_close(family);
  return failed(attached, code);
}

static void counts_end(void *attached) {
  (void)attached;
  kvquery_close(below_query);
  kvquery_close(range_query);
  kvquery_close(parts_query);
  kvtable_close(counted);
  below = 0;
}

static int64_t count_with(void *attached, KVQuery *query, int code) {
  uint64_t count = 0;
  if (code == KVSTORE_OK) code = kvquery_count(query, &count);
  return failed(attached, code) ? -1 : (int64_t)count;
}

/* Asked the same again and again, the question is the same. */
static int64_t count_below(void *attached, uint64_t limit) {
  KVValue bound = kvvalue_u64(limit);
  int code = below == limit ? KVSTORE_OK : kvquery_where(below_query, "number < ?", &bound, 1);
  below = limit;
  return count_with(attached, below_query, code);
}

static int64_t count_range(void *attached, const void *from, const void *before) {
  KVValue low = kvvalue_bytes(from, KV_KEY_BYTES), high = kvvalue_bytes(before, KV_KEY_BYTES);
  return count_with(attached, range_query, kvquery_key_range(range_query, &low, 1, &high, 1, 0));
}

static int group_parts(void *attached, KvParts *parts) {
  KVCursor *cursor = NULL;
  KVValue row[3];
  int code = kvquery_open(parts_query, &cursor);
  while (code == KVSTORE_OK) {
    code = kvcursor_next(cursor);
    for (size_t i = 0; code == KVSTORE_OK && i < 3; i++) code = kvcursor_value(cursor, i, &row[i]);
    if (code != KVSTORE_OK) break;
    unsigned part = kv_part(row[0].as.bytes.data);
    parts->counts[part] = row[1].as.u64;
    parts->sums[part] = row[2].as.decimal.low;
  }
  kvcursor_close(cursor);
  return failed(attached, code == KVSTORE_NOTFOUND ? KVSTORE_OK : code);
}

static int engine_settle(void *opened) { return failed(opened, kvstore_maintain(opened)); }

const KvEngine kv_engine = { .name = KV_NAME,
                             .version = engine_version,
                             .settings = engine_settings,
                             .error = engine_error,
                             .open = engine_open,
                             .close = engine_close,
                             .attach = engine_attach,
                             .detach = engine_detach,
                             .begin = engine_begin,
                             .commit = engine_commit,
                             .put = engine_put,
                             .get = engine_get,
                             .get_many = engine_get_many,
                             .scan = engine_scan,
                             .load = engine_load,
                             .counts_begin = counts_begin,
                             .counts_end = counts_end,
                             .count_below = count_below,
                             .count_range = count_range,
                             .group_parts = group_parts,
                             .settle = engine_settle };
