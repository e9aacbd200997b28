#include <stdio.h>
#include <stdlib.h>
#include <wiredtiger.h>

#include "bench/kv/kv_engine.h"

typedef struct Session {
  WT_SESSION *session;
  WT_CURSOR *cursor;
} Session;

typedef struct Store {
  WT_CONNECTION *connection;
  WT_SESSION *keeper; /* makes the table, and checkpoints */
} Store;

static int last;

static int failed(int code) {
  if (code) last = code;
  return code ? -1 : 0;
}

static const char *engine_version(void) {
  static char text[32];
  int major, minor, patch;
  wiredtiger_version(&major, &minor, &patch);
  snprintf(text, sizeof text, "%d.%d.%d", major, minor, patch);
  return text;
}
static const char *engine_settings(void) {
  return "cache 4 GiB, log of 64 MiB between checkpoints, transaction_sync none (written at each commit) or fsync, "
         "snapshot isolation; settled by a checkpoint; one process";
}
static const char *engine_error(void) { return wiredtiger_strerror(last); }

static int engine_close(void *opened) {
  Store *store = opened;
  int code = store->connection->close(store->connection, NULL);
  free(store);
  return failed(code);
}

static void *engine_open(const char *directory, int synced) {
  char settings[512];
  Store *store = calloc(1, sizeof *store);
  snprintf(settings, sizeof settings,
           "create,cache_size=4GB,log=(enabled=true,file_max=64MB,prealloc=false),checkpoint=(log_size=64MB),"
           "transaction_sync=(enabled=true,method=%s)",
           synced ? "fsync" : "none");
  if (failed(wiredtiger_open(directory, NULL, settings, &store->connection))) {
    free(store);
    return NULL;
  }
  if (failed(store->connection->open_session(store->connection, NULL, NULL, &store->keeper)) ||
      failed(store->keeper->create(store->keeper, "table:pairs", "key_format=u,value_format=u"))) {
    engine_close(store);
    return NULL;
  }
  return store;
}

static void *engine_attach(void *opened) {
  Store *store = opened;
  Session *session = calloc(1, sizeof *session);
  if (failed(store->connection->open_session(store->connection, NULL, "isolation=snapshot", &session->session)) ||
      failed(session->session->open_cursor(session->session, "table:pairs", NULL, NULL, &session->cursor)))
    return NULL;
  return session;
}

static void engine_detach(void *attached) {
  Session *session = attached;
  session->session->close(session->session, NULL);
  free(session);
}

static int engine_begin(void *attached, int writing) {
  Session *session = attached;
  (void)writing;
  return failed(session->session->begin_transaction(session->session, NULL));
}

static int engine_commit(void *attached) {
  Session *session = attached;
  return failed(session->session->commit_transaction(session->session, NULL));
}

static void set_key(WT_CURSOR *cursor, const void *key, size_t length) {
  WT_ITEM item = { .data = key, .size = length };
  cursor->set_key(cursor, &item);
}

static int engine_put(void *attached, const void *key, const void *value) {
  WT_CURSOR *cursor = ((Session *)attached)->cursor;
  WT_ITEM item = { .data = value, .size = KV_VALUE_BYTES };
  set_key(cursor, key, KV_KEY_BYTES);
  cursor->set_value(cursor, &item);
  return failed(cursor->insert(cursor));
}

static int engine_get(void *attached, const void *key, uint64_t *sum) {
  WT_CURSOR *cursor = ((Session *)attached)->cursor;
  WT_ITEM value = { 0 };
  set_key(cursor, key, KV_KEY_BYTES);
  int code = cursor->search(cursor);
  if (code == WT_NOTFOUND) return 0;
  if (!code) code = cursor->get_value(cursor, &value);
  if (!code) kv_fold(sum, value.data, value.size);
  cursor->reset(cursor);
  return failed(code) ? -1 : 1;
}

/* Stands on the first pair of a walk; WT_NOTFOUND: there is none. */
static int seek(WT_CURSOR *cursor, const void *from, size_t length, int reverse) {
  int found = 0;
  if (reverse) return cursor->prev(cursor);
  if (!from) return cursor->next(cursor);
  set_key(cursor, from, length);
  int code = cursor->search_near(cursor, &found);
  return !code && found < 0 ? cursor->next(cursor) : code;
}

static int64_t engine_scan(void *attached, const void *from, size_t prefix_length, int64_t limit, int reverse,
                           uint64_t *sum) {
  WT_CURSOR *cursor = ((Session *)attached)->cursor;
  int64_t count = 0;
  int code = seek(cursor, from, prefix_length ? prefix_length : KV_KEY_BYTES, reverse);
  while (!code && count < limit) {
    WT_ITEM key = { 0 }, value = { 0 };
    code = cursor->get_key(cursor, &key);
    if (!code) code = cursor->get_value(cursor, &value);
    if (code) break;
    if (prefix_length && (key.size < prefix_length || memcmp(key.data, from, prefix_length) != 0)) break;
    kv_fold(sum, key.data, key.size);
    kv_fold(sum, value.data, value.size);
    count++;
    code = reverse ? cursor->prev(cursor) : cursor->next(cursor);
  }
  cursor->reset(cursor);
  return code && code != WT_NOTFOUND ? failed(code) : count;
}

static int engine_settle(void *opened) {
  Store *store = opened;
  return failed(store->keeper->checkpoint(store->keeper, NULL));
}

const KvEngine kv_engine = { .name = "wiredtiger",
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
