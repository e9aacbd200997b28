#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/kv/kv_engine.h"

enum { BEGIN_READ, BEGIN_WRITE, COMMIT, PUT, GET, SCAN_FROM, SCAN_ALL, SCAN_BACK, VALUES, COUNT_RANGE, STATEMENTS };

static const char *const statement_texts[STATEMENTS] = {
  "begin",
  "begin immediate",
  "commit",
  "insert into pairs values (?1, ?2) on conflict (k) do update set v = excluded.v",
  "select v from pairs where k = ?1",
  "select k, v from pairs where k >= ?1 order by k",
  "select k, v from pairs order by k",
  "select k, v from pairs order by k desc",
  "select v from pairs",
  "select count(*) from pairs where k >= ?1 and k < ?2",
};

typedef struct Session {
  sqlite3 *db;
  sqlite3_stmt *statements[STATEMENTS];
} Session;

typedef struct Store {
  char path[4096];
  int synced;
  Session *first; /* keeps the shared-memory index alive while sessions come and go */
} Store;

static char last[512];

static int failed(sqlite3 *db, int code) {
  if (code == SQLITE_OK || code == SQLITE_DONE || code == SQLITE_ROW) return 0;
  snprintf(last, sizeof last, "%s", db ? sqlite3_errmsg(db) : sqlite3_errstr(code));
  return -1;
}

static const char *engine_version(void) { return sqlite3_libversion(); }
static const char *engine_settings(void) {
  return "WITHOUT ROWID, prepared statements, WAL (checkpoint at 64 MiB), cache 256 MiB, mmap 4 GiB, synchronous OFF "
         "or "
         "FULL";
}
static const char *engine_error(void) { return last; }

static void session_close(Session *session) {
  for (int i = 0; i < STATEMENTS; i++) sqlite3_finalize(session->statements[i]);
  sqlite3_close(session->db);
  free(session);
}

static Session *session_open(const char *path, int synced) {
  char settings[512];
  Session *session = calloc(1, sizeof *session);
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  snprintf(settings, sizeof settings,
           "pragma journal_mode = wal; pragma synchronous = %s; pragma cache_size = -262144; pragma mmap_size = "
           "4294967296; pragma wal_autocheckpoint = 16384; pragma busy_timeout = 20000;"
           "create table if not exists pairs (k blob primary key, v blob) without rowid",
           synced ? "full" : "off");
  if (failed(NULL, sqlite3_open_v2(path, &session->db, flags, NULL)) ||
      failed(session->db, sqlite3_exec(session->db, settings, NULL, NULL, NULL)))
    goto failure;
  for (int i = 0; i < STATEMENTS; i++) {
    if (failed(session->db, sqlite3_prepare_v3(session->db, statement_texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                                               &session->statements[i], NULL)))
      goto failure;
  }
  return session;
failure:
  session_close(session);
  return NULL;
}

static void *engine_open(const char *directory, int synced) {
  Store *store = calloc(1, sizeof *store);
  snprintf(store->path, sizeof store->path, "%s/pairs.sqlite", directory);
  store->synced = synced;
  store->first = session_open(store->path, synced);
  if (!store->first) {
    free(store);
    return NULL;
  }
  return store;
}

static int engine_close(void *opened) {
  Store *store = opened;
  session_close(store->first);
  free(store);
  return 0;
}

static void *engine_attach(void *opened) {
  Store *store = opened;
  return session_open(store->path, store->synced);
}
static void engine_detach(void *attached) { session_close(attached); }

static int run(Session *session, int which) {
  int code = sqlite3_step(session->statements[which]);
  sqlite3_reset(session->statements[which]);
  return failed(session->db, code);
}

static int engine_begin(void *attached, int writing) { return run(attached, writing ? BEGIN_WRITE : BEGIN_READ); }
static int engine_commit(void *attached) { return run(attached, COMMIT); }

static int engine_put(void *attached, const void *key, const void *value) {
  Session *session = attached;
  sqlite3_bind_blob(session->statements[PUT], 1, key, KV_KEY_BYTES, SQLITE_STATIC);
  sqlite3_bind_blob(session->statements[PUT], 2, value, KV_VALUE_BYTES, SQLITE_STATIC);
  return run(session, PUT);
}

static void fold_column(sqlite3_stmt *statement, int column, uint64_t *sum) {
  const void *bytes = sqlite3_column_blob(statement, column);
  kv_fold(sum, bytes, (size_t)sqlite3_column_bytes(statement, column));
}

static int engine_get(void *attached, const void *key, uint64_t *sum) {
  Session *session = attached;
  sqlite3_stmt *statement = session->statements[GET];
  sqlite3_bind_blob(statement, 1, key, KV_KEY_BYTES, SQLITE_STATIC);
  int code = sqlite3_step(statement);
  if (code == SQLITE_ROW) fold_column(statement, 0, sum);
  sqlite3_reset(statement);
  return failed(session->db, code) ? -1 : code == SQLITE_ROW;
}

static int64_t engine_scan(void *attached, const void *from, size_t prefix_length, int64_t limit, int reverse,
                           uint64_t *sum) {
  Session *session = attached;
  sqlite3_stmt *statement = session->statements[reverse ? SCAN_BACK : from ? SCAN_FROM : SCAN_ALL];
  int64_t count = 0;
  int code = SQLITE_DONE;
  if (from) {
    sqlite3_bind_blob(statement, 1, from, (int)(prefix_length ? prefix_length : KV_KEY_BYTES), SQLITE_STATIC);
  }
  while (count < limit && (code = sqlite3_step(statement)) == SQLITE_ROW) {
    if (from && prefix_length && memcmp(sqlite3_column_blob(statement, 0), from, prefix_length) != 0) break;
    fold_column(statement, 0, sum);
    fold_column(statement, 1, sum);
    count++;
  }
  sqlite3_reset(statement);
  return failed(session->db, code) ? -1 : count;
}

static int engine_load(void *attached, int sorted, int (*next)(void *context, char *key, char *value), void *context) {
  char key[KV_KEY_BYTES], value[KV_VALUE_BYTES];
  (void)sorted;
  if (engine_begin(attached, 1)) return -1;
  while (next(context, key, value))
    if (engine_put(attached, key, value)) return -1;
  return engine_commit(attached);
}

static int counts_begin(void *attached) {
  (void)attached;
  return 0;
}
static void counts_end(void *attached) { (void)attached; }

static int64_t count_below(void *attached, uint64_t limit) {
  Session *session = attached;
  sqlite3_stmt *statement = session->statements[VALUES];
  int64_t count = 0;
  int code;
  while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
    uint64_t number = 0;
    memcpy(&number, sqlite3_column_blob(statement, 0), sizeof number);
    count += number < limit;
  }
  sqlite3_reset(statement);
  return failed(session->db, code) ? -1 : count;
}

static int64_t count_range(void *attached, const void *from, const void *before) {
  Session *session = attached;
  sqlite3_stmt *statement = session->statements[COUNT_RANGE];
  sqlite3_bind_blob(statement, 1, from, KV_KEY_BYTES, SQLITE_STATIC);
  sqlite3_bind_blob(statement, 2, before, KV_KEY_BYTES, SQLITE_STATIC);
  int code = sqlite3_step(statement);
  int64_t count = code == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : -1;
  sqlite3_reset(statement);
  return failed(session->db, code) ? -1 : count;
}

static int group_parts(void *attached, KvParts *parts) {
  Session *session = attached;
  sqlite3_stmt *statement = session->statements[SCAN_ALL];
  int code;
  while ((code = sqlite3_step(statement)) == SQLITE_ROW)
    kv_parts_add(parts, sqlite3_column_blob(statement, 0), sqlite3_column_blob(statement, 1));
  sqlite3_reset(statement);
  return failed(session->db, code) ? -1 : 0;
}

/* Moves the log into the file, so that the next workload does not pay for this one. */
static int engine_settle(void *opened) {
  Store *store = opened;
  return failed(store->first->db,
                sqlite3_wal_checkpoint_v2(store->first->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL));
}

const KvEngine kv_engine = { .name = "sqlite",
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
