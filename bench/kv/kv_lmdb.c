#include <lmdb.h>
#include <stdlib.h>

#include "bench/kv/kv_engine.h"

typedef struct Store {
  MDB_env *env;
  MDB_dbi dbi;
} Store;

typedef struct Session {
  Store *store;
  MDB_txn *reader;    /* kept, renewed for each snapshot */
  MDB_txn *writer;    /* of begin(writing) */
  MDB_cursor *cursor; /* of `reader` */
  int reading;        /* within begin(reading) */
} Session;

static int last;

static int failed(int code) {
  if (code) last = code;
  return code ? -1 : 0;
}

static const char *engine_version(void) { return mdb_version(NULL, NULL, NULL); }
static const char *engine_settings(void) {
  return "map of 64 GiB, MDB_NOTLS, MDB_NORDAHEAD; MDB_NOSYNC where nothing is synced; a reader is renewed, not begun";
}
static const char *engine_error(void) { return mdb_strerror(last); }

static void *engine_open(const char *directory, int synced) {
  Store *store = calloc(1, sizeof *store);
  MDB_txn *txn = NULL;
  unsigned flags = MDB_NOTLS | MDB_NORDAHEAD | (synced ? 0u : MDB_NOSYNC);
  if (failed(mdb_env_create(&store->env)) || failed(mdb_env_set_mapsize(store->env, (size_t)64 << 30)) ||
      failed(mdb_env_open(store->env, directory, flags, 0666)) || failed(mdb_txn_begin(store->env, NULL, 0, &txn)) ||
      failed(mdb_dbi_open(txn, NULL, 0, &store->dbi)) || failed(mdb_txn_commit(txn)))
    return NULL;
  return store;
}

static int engine_close(void *opened) {
  Store *store = opened;
  mdb_env_close(store->env);
  free(store);
  return 0;
}

static void *engine_attach(void *opened) {
  Session *session = calloc(1, sizeof *session);
  session->store = opened;
  if (failed(mdb_txn_begin(session->store->env, NULL, MDB_RDONLY, &session->reader)) ||
      failed(mdb_cursor_open(session->reader, session->store->dbi, &session->cursor)))
    return NULL;
  mdb_txn_reset(session->reader);
  return session;
}

static void engine_detach(void *attached) {
  Session *session = attached;
  mdb_cursor_close(session->cursor);
  mdb_txn_abort(session->reader);
  free(session);
}

static int read_begin(Session *session) { return session->reading ? 0 : failed(mdb_txn_renew(session->reader)); }
static void read_end(Session *session) {
  if (!session->reading) mdb_txn_reset(session->reader);
}

static int engine_begin(void *attached, int writing) {
  Session *session = attached;
  if (writing) return failed(mdb_txn_begin(session->store->env, NULL, 0, &session->writer));
  if (read_begin(session)) return -1;
  session->reading = 1;
  return 0;
}

static int engine_commit(void *attached) {
  Session *session = attached;
  if (session->reading) {
    session->reading = 0;
    mdb_txn_reset(session->reader);
    return 0;
  }
  MDB_txn *writer = session->writer;
  session->writer = NULL;
  return failed(mdb_txn_commit(writer));
}

static int engine_put(void *attached, const void *key, const void *value) {
  Session *session = attached;
  int own = !session->writer;
  MDB_val k = { KV_KEY_BYTES, (void *)(uintptr_t)key }, v = { KV_VALUE_BYTES, (void *)(uintptr_t)value };
  if (own && engine_begin(session, 1)) return -1;
  if (failed(mdb_put(session->writer, session->store->dbi, &k, &v, 0))) return -1;
  return own ? engine_commit(session) : 0;
}

static int engine_get(void *attached, const void *key, uint64_t *sum) {
  Session *session = attached;
  MDB_val k = { KV_KEY_BYTES, (void *)(uintptr_t)key }, v;
  if (read_begin(session)) return -1;
  int code = mdb_get(session->reader, session->store->dbi, &k, &v);
  if (!code) kv_fold(sum, v.mv_data, v.mv_size);
  read_end(session);
  if (code == MDB_NOTFOUND) return 0;
  return failed(code) ? -1 : 1;
}

static int64_t engine_scan(void *attached, const void *from, size_t prefix_length, int64_t limit, int reverse,
                           uint64_t *sum) {
  Session *session = attached;
  MDB_val k = { prefix_length ? prefix_length : KV_KEY_BYTES, (void *)(uintptr_t)from }, v;
  int64_t count = 0;
  if (read_begin(session)) return -1;
  if (failed(mdb_cursor_renew(session->reader, session->cursor))) return -1;
  int code = mdb_cursor_get(session->cursor, &k, &v, reverse ? MDB_LAST : from ? MDB_SET_RANGE : MDB_FIRST);
  while (!code && count < limit) {
    if (from && prefix_length && (k.mv_size < prefix_length || memcmp(k.mv_data, from, prefix_length) != 0)) break;
    kv_fold(sum, k.mv_data, k.mv_size);
    kv_fold(sum, v.mv_data, v.mv_size);
    count++;
    code = mdb_cursor_get(session->cursor, &k, &v, reverse ? MDB_PREV : MDB_NEXT);
  }
  read_end(session);
  if (code && code != MDB_NOTFOUND) return failed(code);
  return count;
}

static int engine_load(void *attached, int sorted, int (*next)(void *context, char *key, char *value), void *context) {
  Session *session = attached;
  char key[KV_KEY_BYTES], value[KV_VALUE_BYTES];
  if (engine_begin(session, 1)) return -1;
  while (next(context, key, value)) {
    MDB_val k = { sizeof key, key }, v = { sizeof value, value };
    if (failed(mdb_put(session->writer, session->store->dbi, &k, &v, sorted ? MDB_APPEND : 0))) return -1;
  }
  return engine_commit(session);
}

static int counts_begin(void *attached) {
  (void)attached;
  return 0;
}
static void counts_end(void *attached) { (void)attached; }

/* Pairs from a key on (NULL: all) and before another whose value begins with a number below `limit`. */
static int64_t count_pairs(Session *session, const void *from, const void *before, uint64_t limit) {
  MDB_val k = { KV_KEY_BYTES, (void *)(uintptr_t)from }, v;
  int64_t count = 0;
  if (read_begin(session) || failed(mdb_cursor_renew(session->reader, session->cursor))) return -1;
  int code = mdb_cursor_get(session->cursor, &k, &v, from ? MDB_SET_RANGE : MDB_FIRST);
  while (!code && (!before || memcmp(k.mv_data, before, KV_KEY_BYTES) < 0)) {
    uint64_t number = 0;
    memcpy(&number, v.mv_data, sizeof number);
    count += number < limit;
    code = mdb_cursor_get(session->cursor, &k, &v, MDB_NEXT);
  }
  read_end(session);
  return code && code != MDB_NOTFOUND ? failed(code) : count;
}

static int64_t count_below(void *attached, uint64_t limit) { return count_pairs(attached, NULL, NULL, limit); }
static int64_t count_range(void *attached, const void *from, const void *before) {
  return count_pairs(attached, from, before, UINT64_MAX);
}

static int group_parts(void *attached, KvParts *parts) {
  Session *session = attached;
  MDB_val k, v;
  if (read_begin(session) || failed(mdb_cursor_renew(session->reader, session->cursor))) return -1;
  int code = mdb_cursor_get(session->cursor, &k, &v, MDB_FIRST);
  for (; !code; code = mdb_cursor_get(session->cursor, &k, &v, MDB_NEXT)) kv_parts_add(parts, k.mv_data, v.mv_data);
  read_end(session);
  return code == MDB_NOTFOUND ? 0 : failed(code);
}

static int engine_settle(void *opened) {
  (void)opened;
  return 0;
}

const KvEngine kv_engine = { .name = "lmdb",
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
                             .scan = engine_scan,
                             .load = engine_load,
                             .counts_begin = counts_begin,
                             .counts_end = counts_end,
                             .count_below = count_below,
                             .count_range = count_range,
                             .group_parts = group_parts,
                             .settle = engine_settle };
