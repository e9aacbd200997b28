#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/kv/kv_engine.h"

#define CACHE_BYTES ((size_t)1 << 30)
#define WRITE_BYTES ((size_t)64 << 20) /* the log grows as far */

typedef struct Store {
  rocksdb_t *db;
  rocksdb_options_t *options;
  rocksdb_block_based_table_options_t *tables;
  rocksdb_cache_t *cache;
  int synced;
} Store;

typedef struct Session {
  Store *store;
  rocksdb_readoptions_t *reading;
  rocksdb_writeoptions_t *writing;
  rocksdb_writebatch_t *batch;
  const rocksdb_snapshot_t *snapshot; /* of begin(reading) */
  int in_batch;                       /* within begin(writing) */
} Session;

static char last[512];

/* Keeps the text of an error and frees it. */
static int failed(char *error) {
  if (!error) return 0;
  snprintf(last, sizeof last, "%s", error);
  rocksdb_free(error);
  return -1;
}

static const char *engine_version(void) { return BENCH_ROCKSDB_VERSION; }
static const char *engine_settings(void) {
  return "write buffers of 64 MiB, cache 1 GiB, bloom filter of 10 bits, no compression, 2 background jobs, a value "
         "read is pinned; settled by rocksdb_flush and rocksdb_compact_range; one process";
}
static const char *engine_error(void) { return last; }

static int engine_close(void *opened) {
  Store *store = opened;
  if (store->db) rocksdb_close(store->db);
  rocksdb_options_destroy(store->options);
  rocksdb_block_based_options_destroy(store->tables);
  rocksdb_cache_destroy(store->cache);
  free(store);
  return 0;
}

static void *engine_open(const char *directory, int synced) {
  char *error = NULL;
  Store *store = calloc(1, sizeof *store);
  store->synced = synced;
  store->options = rocksdb_options_create();
  store->tables = rocksdb_block_based_options_create();
  store->cache = rocksdb_cache_create_lru(CACHE_BYTES);
  rocksdb_block_based_options_set_block_cache(store->tables, store->cache);
  rocksdb_block_based_options_set_filter_policy(store->tables, rocksdb_filterpolicy_create_bloom_full(10));
  rocksdb_options_set_block_based_table_factory(store->options, store->tables);
  rocksdb_options_set_create_if_missing(store->options, 1);
  rocksdb_options_set_write_buffer_size(store->options, WRITE_BYTES);
  rocksdb_options_set_max_background_jobs(store->options, 2);
  rocksdb_options_set_compression(store->options, rocksdb_no_compression);
  store->db = rocksdb_open(store->options, directory, &error);
  if (!failed(error)) return store;
  engine_close(store);
  return NULL;
}

static void *engine_attach(void *opened) {
  Session *session = calloc(1, sizeof *session);
  session->store = opened;
  session->reading = rocksdb_readoptions_create();
  session->writing = rocksdb_writeoptions_create();
  session->batch = rocksdb_writebatch_create();
  rocksdb_writeoptions_set_sync(session->writing, (unsigned char)session->store->synced);
  return session;
}

static void engine_detach(void *attached) {
  Session *session = attached;
  rocksdb_readoptions_destroy(session->reading);
  rocksdb_writeoptions_destroy(session->writing);
  rocksdb_writebatch_destroy(session->batch);
  free(session);
}

static int engine_begin(void *attached, int writing) {
  Session *session = attached;
  if (writing) {
    session->in_batch = 1;
    return 0;
  }
  session->snapshot = rocksdb_create_snapshot(session->store->db);
  rocksdb_readoptions_set_snapshot(session->reading, session->snapshot);
  return 0;
}

static int engine_commit(void *attached) {
  Session *session = attached;
  char *error = NULL;
  if (session->in_batch) {
    session->in_batch = 0;
    rocksdb_write(session->store->db, session->writing, session->batch, &error);
    rocksdb_writebatch_clear(session->batch);
    return failed(error);
  }
  rocksdb_readoptions_set_snapshot(session->reading, NULL);
  rocksdb_release_snapshot(session->store->db, session->snapshot);
  return 0;
}

static int engine_put(void *attached, const void *key, const void *value) {
  Session *session = attached;
  char *error = NULL;
  if (session->in_batch) {
    rocksdb_writebatch_put(session->batch, key, KV_KEY_BYTES, value, KV_VALUE_BYTES);
    return 0;
  }
  rocksdb_put(session->store->db, session->writing, key, KV_KEY_BYTES, value, KV_VALUE_BYTES, &error);
  return failed(error);
}

static int engine_get(void *attached, const void *key, uint64_t *sum) {
  Session *session = attached;
  char *error = NULL;
  size_t length = 0;
  rocksdb_pinnableslice_t *pinned = rocksdb_get_pinned(session->store->db, session->reading, key, KV_KEY_BYTES, &error);
  if (failed(error)) return -1;
  if (!pinned) return 0;
  const char *value = rocksdb_pinnableslice_value(pinned, &length);
  kv_fold(sum, value, length);
  rocksdb_pinnableslice_destroy(pinned);
  return 1;
}

static int64_t engine_scan(void *attached, const void *from, size_t prefix_length, int64_t limit, int reverse,
                           uint64_t *sum) {
  Session *session = attached;
  char *error = NULL;
  int64_t count = 0;
  rocksdb_iterator_t *iterator = rocksdb_create_iterator(session->store->db, session->reading);
  if (reverse)
    rocksdb_iter_seek_to_last(iterator);
  else if (from)
    rocksdb_iter_seek(iterator, from, prefix_length ? prefix_length : KV_KEY_BYTES);
  else
    rocksdb_iter_seek_to_first(iterator);
  while (count < limit && rocksdb_iter_valid(iterator)) {
    size_t key_length, value_length;
    const char *key = rocksdb_iter_key(iterator, &key_length), *value = rocksdb_iter_value(iterator, &value_length);
    if (from && prefix_length && (key_length < prefix_length || memcmp(key, from, prefix_length) != 0)) break;
    kv_fold(sum, key, key_length);
    kv_fold(sum, value, value_length);
    count++;
    if (reverse)
      rocksdb_iter_prev(iterator);
    else
      rocksdb_iter_next(iterator);
  }
  rocksdb_iter_get_error(iterator, &error);
  rocksdb_iter_destroy(iterator);
  return failed(error) ? -1 : count;
}

static int engine_settle(void *opened) {
  Store *store = opened;
  char *error = NULL;
  rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
  rocksdb_flushoptions_set_wait(options, 1);
  rocksdb_flush(store->db, options, &error);
  rocksdb_flushoptions_destroy(options);
  if (failed(error)) return -1;
  rocksdb_compact_range(store->db, NULL, 0, NULL, 0);
  return 0;
}

const KvEngine kv_engine = { .name = "rocksdb",
                             .version = engine_version,
                             .settings = engine_settings,
                             .error = engine_error,
                             .one_process = 1,
                             .open = engine_open,
                             .close = engine_close,
                             .attach = engine_attach,
                             .detach = engine_detach,
                             .begin = engine_begin,
                             .commit = engine_commit,
                             .put = engine_put,
                             .get = engine_get,
                             .scan = engine_scan,
                             .settle = engine_settle };
