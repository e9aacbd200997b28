#include <leveldb/c.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/kv/kv_engine.h"

#define CACHE_BYTES (1u << 30)
#define WRITE_BYTES (64u << 20) /* the log grows as far */

typedef struct Store {
  leveldb_t *db;
  leveldb_options_t *options;
  leveldb_cache_t *cache;
  leveldb_filterpolicy_t *filter;
  int synced;
} Store;

typedef struct Session {
  Store *store;
  leveldb_readoptions_t *reading;
  leveldb_writeoptions_t *writing;
  leveldb_writebatch_t *batch;
  const leveldb_snapshot_t *snapshot; /* of begin(reading) */
  int in_batch;                       /* within begin(writing) */
} Session;

static char last[512];

/* Keeps the text of an error and frees it. */
static int failed(char *error) {
  if (!error) return 0;
  snprintf(last, sizeof last, "%s", error);
  leveldb_free(error);
  return -1;
}

static const char *engine_version(void) {
  static char text[32];
  snprintf(text, sizeof text, "%d.%d", leveldb_major_version(), leveldb_minor_version());
  return text;
}
static const char *engine_settings(void) {
  return "write buffer 64 MiB, cache 1 GiB, bloom filter of 10 bits, no compression; settled by leveldb_compact_range; "
         "one process";
}
static const char *engine_error(void) { return last; }

static int engine_close(void *opened) {
  Store *store = opened;
  if (store->db) leveldb_close(store->db);
  leveldb_options_destroy(store->options);
  leveldb_cache_destroy(store->cache);
  leveldb_filterpolicy_destroy(store->filter);
  free(store);
  return 0;
}

static void *engine_open(const char *directory, int synced) {
  char *error = NULL;
  Store *store = calloc(1, sizeof *store);
  store->synced = synced;
  store->options = leveldb_options_create();
  store->cache = leveldb_cache_create_lru(CACHE_BYTES);
  store->filter = leveldb_filterpolicy_create_bloom(10);
  leveldb_options_set_create_if_missing(store->options, 1);
  leveldb_options_set_write_buffer_size(store->options, WRITE_BYTES);
  leveldb_options_set_cache(store->options, store->cache);
  leveldb_options_set_filter_policy(store->options, store->filter);
  leveldb_options_set_compression(store->options, leveldb_no_compression);
  store->db = leveldb_open(store->options, directory, &error);
  if (!failed(error)) return store;
  engine_close(store);
  return NULL;
}

static void *engine_attach(void *opened) {
  Session *session = calloc(1, sizeof *session);
  session->store = opened;
  session->reading = leveldb_readoptions_create();
  session->writing = leveldb_writeoptions_create();
  session->batch = leveldb_writebatch_create();
  leveldb_writeoptions_set_sync(session->writing, (unsigned char)session->store->synced);
  return session;
}

static void engine_detach(void *attached) {
  Session *session = attached;
  leveldb_readoptions_destroy(session->reading);
  leveldb_writeoptions_destroy(session->writing);
  leveldb_writebatch_destroy(session->batch);
  free(session);
}

static int engine_begin(void *attached, int writing) {
  Session *session = attached;
  if (writing) {
    session->in_batch = 1;
    return 0;
  }
  session->snapshot = leveldb_create_snapshot(session->store->db);
  leveldb_readoptions_set_snapshot(session->reading, session->snapshot);
  return 0;
}

static int engine_commit(void *attached) {
  Session *session = attached;
  char *error = NULL;
  if (session->in_batch) {
    session->in_batch = 0;
    leveldb_write(session->store->db, session->writing, session->batch, &error);
    leveldb_writebatch_clear(session->batch);
    return failed(error);
  }
  leveldb_readoptions_set_snapshot(session->reading, NULL);
  leveldb_release_snapshot(session->store->db, session->snapshot);
  return 0;
}

static int engine_put(void *attached, const void *key, const void *value) {
  Session *session = attached;
  char *error = NULL;
  if (session->in_batch) {
    leveldb_writebatch_put(session->batch, key, KV_KEY_BYTES, value, KV_VALUE_BYTES);
    return 0;
  }
  leveldb_put(session->store->db, session->writing, key, KV_KEY_BYTES, value, KV_VALUE_BYTES, &error);
  return failed(error);
}

static int engine_get(void *attached, const void *key, uint64_t *sum) {
  Session *session = attached;
  char *error = NULL;
  size_t length = 0;
  char *value = leveldb_get(session->store->db, session->reading, key, KV_KEY_BYTES, &length, &error);
  if (failed(error)) return -1;
  if (!value) return 0;
  kv_fold(sum, value, length);
  leveldb_free(value);
  return 1;
}

static int64_t engine_scan(void *attached, const void *from, size_t prefix_length, int64_t limit, int reverse,
                           uint64_t *sum) {
  Session *session = attached;
  char *error = NULL;
  int64_t count = 0;
  leveldb_iterator_t *iterator = leveldb_create_iterator(session->store->db, session->reading);
  if (reverse)
    leveldb_iter_seek_to_last(iterator);
  else if (from)
    leveldb_iter_seek(iterator, from, prefix_length ? prefix_length : KV_KEY_BYTES);
  else
    leveldb_iter_seek_to_first(iterator);
  while (count < limit && leveldb_iter_valid(iterator)) {
    size_t key_length, value_length;
    const char *key = leveldb_iter_key(iterator, &key_length), *value = leveldb_iter_value(iterator, &value_length);
    if (from && prefix_length && (key_length < prefix_length || memcmp(key, from, prefix_length) != 0)) break;
    kv_fold(sum, key, key_length);
    kv_fold(sum, value, value_length);
    count++;
    if (reverse)
      leveldb_iter_prev(iterator);
    else
      leveldb_iter_next(iterator);
  }
  leveldb_iter_get_error(iterator, &error);
  leveldb_iter_destroy(iterator);
  return failed(error) ? -1 : count;
}

static int engine_settle(void *opened) {
  Store *store = opened;
  leveldb_compact_range(store->db, NULL, 0, NULL, 0);
  return 0;
}

const KvEngine kv_engine = { .name = "leveldb",
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
