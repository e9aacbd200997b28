/* open_close.c - open, clone and close; messages; what the configurations mean. */
#include <string.h>

#include "base/memory.h"
#include "kvapi/handle.h"
#include "kvapi/message.h"

_Static_assert(KVSTORE_JOURNAL_DELETE == (int)JOURNAL_DELETE && KVSTORE_JOURNAL_WAL == (int)JOURNAL_WAL, "one number");
_Static_assert(KVSTORE_SYNC_OFF == (int)SYNC_OFF && KVSTORE_SYNC_NORMAL == (int)SYNC_NORMAL &&
                 KVSTORE_SYNC_FULL == (int)SYNC_FULL && KVSTORE_SYNC_BACKGROUND == (int)SYNC_BACKGROUND,
               "one number");
_Static_assert(KVSTORE_COMPRESSION_NONE == (int)COMPRESSION_NONE && KVSTORE_COMPRESSION_AUTO == (int)COMPRESSION_AUTO &&
                 KVSTORE_COMPRESSION_ZSTD == (int)COMPRESSION_ZSTD,
               "one number");
_Static_assert(KVSTORE_KEY_BYTES_MAX == KEY_BYTES_MAX && KVSTORE_VALUE_BYTES_DEFAULT == VALUE_BYTES_MAX &&
                 KVSTORE_VALUE_BYTES_MAX == VALUE_BYTES_CEILING && KVSTORE_FAMILY_NAME_MAX == FAMILY_NAME_MAX &&
                 KVSTORE_MAX_COLUMN_FAMILIES <= FAMILIES_MAX,
               "one number");
_Static_assert(sizeof((KVStoreError *)0)->text == STATUS_TEXT_MAX &&
                 sizeof((KVStoreError *)0)->column == STATUS_NAME_MAX &&
                 sizeof((KVStoreError *)0)->value == STATUS_NAME_MAX,
               "a failure is copied whole");

enum { LOG_BYTES_LEAST = 64 << 10 };
static const uint64_t log_bytes_most = UINT64_C(8) << 30; /* positions in a record are 32 bits (wal.h) */

/* ---- what is asked for ---- */

static Status check_options(const KVStoreOptions *o) {
  if (o->journal_mode != KVSTORE_JOURNAL_DELETE && o->journal_mode != KVSTORE_JOURNAL_WAL)
    return status_fail(KVSTORE_ERROR, "no such journal mode: %d", o->journal_mode);
  if (o->sync_level < KVSTORE_SYNC_OFF || o->sync_level > KVSTORE_SYNC_BACKGROUND)
    return status_fail(KVSTORE_ERROR, "no such sync level: %d", o->sync_level);
  if (o->value_bytes_max > KVSTORE_VALUE_BYTES_MAX)
    return status_fail(KVSTORE_ERROR, "a value limit of %u bytes: at most %d", o->value_bytes_max,
                       KVSTORE_VALUE_BYTES_MAX);
  if (o->log_bytes && (o->log_bytes < LOG_BYTES_LEAST || o->log_bytes > log_bytes_most || o->log_bytes % PAGE_BYTES))
    return status_fail(KVSTORE_ERROR, "a log of %llu bytes: it takes a multiple of 4096, from 65536 to %llu",
                       (unsigned long long)o->log_bytes, (unsigned long long)log_bytes_most);
  if (o->compression < KVSTORE_COMPRESSION_NONE || o->compression > KVSTORE_COMPRESSION_ZSTD)
    return status_fail(KVSTORE_ERROR, "no such compression: %d", o->compression);
  if (o->password_length < 0 || (!o->password && o->password_length))
    return bad_argument("the password is NULL, or its length negative");
  if (o->password && !o->password_length) return bad_argument("the password is empty");
  TRY(key_cost_check((KeyCost){ o->kdf_passes, o->kdf_memory_bytes }));
  if (o->read_only && o->create_only) return bad_argument("read_only and create_only exclude each other");
  return KVSTORE_OK;
}

static Status read_options(const KVStoreOptions *given, KVStoreOptions *out) {
  *out = (KVStoreOptions)KVSTORE_OPTIONS_INIT;
  TRY(struct_argument(given, out, sizeof *out));
  return check_options(out);
}

static Status read_config(const KVStoreConfig *config, KVStoreOptions *out) {
  *out = (KVStoreOptions)KVSTORE_OPTIONS_INIT;
  if (!config) return KVSTORE_OK;
  if (config->busyTimeout < 0 || config->walSizeLimit < 0 || config->cacheSize < 0 || config->pageSize < 0)
    return bad_argument("a negative number in the configuration");
  out->journal_mode = config->journalMode;
  out->sync_level = config->syncLevel;
  out->read_only = config->readOnly;
  out->busy_timeout_ms = (uint32_t)config->busyTimeout;
  out->checkpoint_commits = (uint32_t)config->walSizeLimit;
  out->cache_bytes = (uint64_t)config->cacheSize * (config->pageSize ? (uint64_t)config->pageSize : PAGE_BYTES);
  return check_options(out);
}

/* ---- opening and closing ---- */

static Status open_session(const char *path, const KVStoreOptions *o, KVStore **kv) {
  if (path && !path[0]) return bad_argument("the path is empty");
  StoreOptions options = { .journal_mode = o->journal_mode,
                           .sync_level = o->sync_level,
                           .read_only = o->read_only != 0,
                           .busy_timeout_ms = o->busy_timeout_ms,
                           .value_bytes_max = o->value_bytes_max,
                           .log_bytes = o->log_bytes,
                           .no_background = o->background_off != 0,
                           .no_map = o->map_off != 0,
                           .grace_ms = o->grace_ms,
                           .cache_bytes = o->cache_bytes,
                           .compression = o->compression,
                           .create_only = o->create_only != 0,
                           .network_allowed = o->network_allowed != 0,
                           .sync_interval_ms = o->sync_interval_ms,
                           .password = { o->password, (size_t)o->password_length },
                           .key_cost = { o->kdf_passes, o->kdf_memory_bytes } };
  Session *session = NULL;
  TRY(session_open(path, &options, &session));
  *kv = handle_create(session, o->checkpoint_commits);
  if (*kv) return KVSTORE_OK;
  Status closed = session_close(session);
  return closed == KVSTORE_OK ? status_nomem() : closed;
}

static int finish_open(Status status) {
  if (status != KVSTORE_OK) message_keep(MESSAGE_NO_HANDLE, status);
  return status;
}

int kvstore_open_with(const char *path, KVStore **kv, const KVStoreOptions *options) {
  if (!kv) return finish_open(bad_argument("the place for the handle is NULL"));
  *kv = NULL;
  KVStoreOptions chosen;
  Status status = read_options(options, &chosen);
  if (status == KVSTORE_OK) status = open_session(path, &chosen, kv);
  return finish_open(status);
}

int kvstore_open_v2(const char *zFilename, KVStore **ppKV, const KVStoreConfig *pConfig) {
  if (!ppKV) return finish_open(bad_argument("the place for the handle is NULL"));
  *ppKV = NULL;
  KVStoreOptions chosen;
  Status status = read_config(pConfig, &chosen);
  if (status == KVSTORE_OK) status = open_session(zFilename, &chosen, ppKV);
  return finish_open(status);
}

static Status open_encrypted(const char *path, Bytes password, KVStore **kv, const KVStoreConfig *config) {
  KVStoreOptions chosen;
  TRY(read_config(config, &chosen));
  chosen.password = password.data;
  chosen.password_length = (int)password.length;
  return open_session(path, &chosen, kv);
}

int kvstore_open_encrypted(const char *zFilename, const void *pPassword, int nPassword, KVStore **ppKV,
                           const KVStoreConfig *pConfig) {
  if (!ppKV) return finish_open(bad_argument("the place for the handle is NULL"));
  *ppKV = NULL;
  Bytes password;
  Status status = password_argument(pPassword, nPassword, &password);
  if (status == KVSTORE_OK) status = open_encrypted(zFilename, password, ppKV, pConfig);
  return finish_open(status);
}

int kvstore_open(const char *zFilename, KVStore **ppKV, int journalMode) {
  KVStoreConfig config = KVSTORE_CONFIG_DEFAULT;
  config.journalMode = journalMode;
  return kvstore_open_v2(zFilename, ppKV, &config);
}

int kvstore_clone(KVStore *kv, KVStore **other) {
  if (other) *other = NULL;
  Status status = handle_enter(kv);
  if (status != KVSTORE_OK) return handle_refuse(kv, status);
  if (!other) return handle_leave(kv, bad_argument("the place for the handle is NULL"));
  Session *session = NULL;
  status = session_clone(kv->session, &session);
  if (status == KVSTORE_OK) {
    *other = handle_create(session, kv->checkpoint_commits);
    if (!*other) {
      status = session_close(session);
      if (status == KVSTORE_OK) status = status_nomem();
    }
  }
  return handle_leave(kv, status);
}

int kvstore_close(KVStore *pKV) {
  if (!pKV) return KVSTORE_OK;
  if (!handle_is_store(pKV)) return finish_open(bad_argument("this is no open store"));
  Status status = handle_close(pKV);
  if (status != KVSTORE_OK) message_keep(MESSAGE_NO_HANDLE, status); /* the handle is no more */
  handle_release(pKV);
  return status;
}

/* ---- messages ---- */

static const Failure *last_of(const KVStore *kv) {
  return message_of(handle_is_store(kv) ? kv->number : MESSAGE_NO_HANDLE);
}

const char *kvstore_errmsg(KVStore *pKV) { return last_of(pKV)->text; }

int kvstore_error(KVStore *kv, KVStoreError *error) {
  if (!error) return handle_refuse(kv, bad_argument("the place for the failure is NULL"));
  size_t size = error->struct_size; /* of an older program, or a newer one */
  if (size < offsetof(KVStoreError, column) || size > 2 * sizeof *error)
    return handle_refuse(kv, bad_argument("struct_size is not set: begin with KVSTORE_ERROR_INIT"));
  const Failure *failure = last_of(kv);
  KVStoreError out = KVSTORE_ERROR_INIT;
  out.struct_size = size;
  out.code = failure->code;
  out.row = failure->row == UINT64_MAX ? -1 : (int64_t)failure->row;
  memcpy(out.text, failure->text, sizeof out.text);
  memcpy(out.column, failure->column, sizeof out.column);
  memcpy(out.value, failure->value, sizeof out.value);
  memcpy(error, &out, size < sizeof out ? size : sizeof out);
  return KVSTORE_OK;
}

const char *kvstore_status_text(int code) { return status_text(code); }
const char *kvstore_status_name(int code) { return status_name(code); }

/* ---- memory ---- */

void *kvstore_malloc(size_t size) { return memory_allocate_zeroed(size); }
void *kvstore_realloc(void *pointer, size_t size) { return memory_reallocate(pointer, size); }
char *kvstore_strdup(const char *text) { return text ? memory_copy_string(text) : NULL; }
void kvstore_free(void *pointer) { memory_release(pointer); }
