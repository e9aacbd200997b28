/* loads.c - bulk loads of pairs. */
#include <string.h>

#include "base/memory.h"
#include "engine/kv_load.h"
#include "kvapi/handle.h"

struct KVBulkLoad {
  uint32_t magic;
  KVStore *kv;
  Birth *birth; /* of its family */
  KvLoader *loader;
  uint64_t bytes, pairs;
};

static Status read_bulk_options(const KVBulkOptions *given, KvLoadOptions *out) {
  KVBulkOptions options = KVSTORE_BULK_OPTIONS_INIT;
  TRY(struct_argument(given, &options, sizeof options));
  if (options.reserved) return bad_argument("the reserved field is not 0");
  *out = (KvLoadOptions){ .sorted = options.sorted != 0, .memory_bytes = options.memory_bytes };
  return KVSTORE_OK;
}

static Status begin(KVStore *kv, KVColumnFamily *family, const KVBulkOptions *options, KVBulkLoad **out) {
  uint32_t id;
  KvLoadOptions chosen;
  TRY(family_argument(kv, family, &id));
  TRY(read_bulk_options(options, &chosen));
  KVBulkLoad *load = memory_allocate_zeroed(sizeof *load);
  if (!load) return status_nomem();
  Status status = kv_loader_create(kv->session, id, &chosen, &load->loader);
  if (status != KVSTORE_OK) {
    memory_release(load);
    return status;
  }
  load->magic = MAGIC_LOADER;
  load->kv = kv;
  load->birth = birth_find(kv, id);
  handle_retain(kv);
  *out = load;
  return KVSTORE_OK;
}

static Status add(KVBulkLoad *load, const void *key, int key_length, const void *value, int value_length,
                  int64_t expire_ms) {
  Bytes key_bytes = { 0 }, value_bytes = { 0 };
  int64_t expiry = EXPIRY_NEVER;
  Status status = bytes_argument(key, key_length, "key", &key_bytes);
  if (status == KVSTORE_OK) status = bytes_argument(value, value_length, "value", &value_bytes);
  if (status == KVSTORE_OK) status = pair_expiry_argument(expire_ms, &expiry);
  if (UNLIKELY(status != KVSTORE_OK)) {
    kv_loader_fail(load->loader);
    return status;
  }
  TRY(kv_loader_add(load->loader, key_bytes, value_bytes, expiry));
  load->pairs++;
  load->bytes += key_bytes.length + value_bytes.length;
  return KVSTORE_OK;
}

static Status commit(KVBulkLoad *load, int64_t *loaded) {
  uint64_t keys = 0;
  TRY(birth_check(load->birth));
  TRY(kv_loader_commit(load->loader, &keys));
  handle_tally(load->kv, TALLY_PUTS, load->pairs);
  handle_tally(load->kv, TALLY_BYTES_WRITTEN, load->bytes);
  if (load->pairs) handle_wrote(load->kv);
  if (loaded) *loaded = (int64_t)keys;
  return KVSTORE_OK;
}

static void release(KVBulkLoad *load) {
  load->magic = MAGIC_DEAD;
  kv_loader_destroy(load->loader);
  birth_release(load->birth);
  handle_release(load->kv);
  memory_release(load);
}

static bool is_load(const KVBulkLoad *load) { return load && load->magic == MAGIC_LOADER; }

static Status no_load(const KVBulkLoad *load) {
  return bad_argument(load ? "this is no open load" : "the load is NULL");
}

int kvstore_bulk_load_begin(KVStore *kv, KVColumnFamily *family, const KVBulkOptions *options, KVBulkLoad **load) {
  if (load) *load = NULL;
  Status status = handle_enter(kv);
  if (status != KVSTORE_OK) return handle_refuse(kv, status);
  if (!load) return handle_leave(kv, bad_argument("the place for the load is NULL"));
  return handle_leave(kv, begin(kv, family, options, load));
}

int kvstore_bulk_load_add(KVBulkLoad *load, const void *key, int key_length, const void *value, int value_length,
                          int64_t expire_ms) {
  if (!is_load(load)) return handle_refuse(NULL, no_load(load));
  Status status = handle_enter(load->kv);
  if (status != KVSTORE_OK) return handle_refuse(load->kv, status);
  return handle_leave(load->kv, add(load, key, key_length, value, value_length, expire_ms));
}

int kvstore_bulk_load_commit(KVBulkLoad *load, int64_t *loaded) {
  if (loaded) *loaded = 0;
  if (!is_load(load)) return handle_refuse(NULL, no_load(load));
  KVStore *kv = load->kv;
  handle_retain(kv);
  Status status = handle_enter(kv);
  int result = status == KVSTORE_OK ? handle_leave(kv, commit(load, loaded)) : handle_refuse(kv, status);
  release(load);
  handle_release(kv);
  return result;
}

void kvstore_bulk_load_abort(KVBulkLoad *load) {
  if (is_load(load)) release(load);
}

static Status say_which(size_t pair, Status status) {
  if (status != KVSTORE_ERROR) return status;
  Failure why = *status_last();
  return status_fail_at(status, pair, NULL, NULL, "pair %zu: %s", pair, why.text);
}

static Status load_all(KVStore *kv, KVColumnFamily *family, const KVPair *pairs, size_t count,
                       const KVBulkOptions *options, int64_t *loaded) {
  KVBulkLoad *load = NULL;
  if (!pairs && count) return bad_argument("the pairs are NULL");
  TRY(begin(kv, family, options, &load));
  Status status = KVSTORE_OK;
  for (size_t i = 0; i < count && status == KVSTORE_OK; i++)
    status = say_which(
      i, add(load, pairs[i].key, pairs[i].key_length, pairs[i].value, pairs[i].value_length, pairs[i].expire_ms));
  if (status == KVSTORE_OK) status = commit(load, loaded);
  release(load);
  return status;
}

int kvstore_bulk_load(KVStore *kv, KVColumnFamily *family, const KVPair *pairs, size_t count,
                      const KVBulkOptions *options, int64_t *loaded) {
  if (loaded) *loaded = 0;
  Status status = handle_enter(kv);
  if (status != KVSTORE_OK) return handle_refuse(kv, status);
  return handle_leave(kv, load_all(kv, family, pairs, count, options, loaded));
}
