/* seal_in_place.c - a plain store becomes a sealed one at its open, a sealed one a plain one under its session: who
 * does it, when, and what becomes of the store that was open (ENG-12). The copy itself is rewrite.c. */
#include "base/memory.h"
#include "engine/engine_internal.h"

static Status lock_alone(Store *store) {
  Status status = os_lock(store->file.file, presence_byte, 1, OS_LOCK_EXCLUSIVE);
  return status == KVSTORE_BUSY ? status_fail(KVSTORE_BUSY, "another process has %s open", store->path) : status;
}

static Status write_sealed_copy(Store *store, const StoreOptions *options, bool *renamed) {
  uint8_t sealing[SEALING_BYTES];
  StoreKey *key = NULL;
  TRY(sealing_create(store->os, store->store_id, options->password, options->key_cost, sealing, &key));
  Status status = store_rewrite(store, key, sealing, renamed);
  store_key_release(key);
  return status;
}

/* It is closed before the copy takes its name, so that the next opener of that name finds no side files but its own. */
Status store_seal_in_place(Store *store, const StoreOptions *options) {
  bool renamed = false;
  Status status = KVSTORE_OK;
  if (options->read_only)
    status = status_fail(KVSTORE_READONLY, "%s is not encrypted, and read-only: it cannot be", store->path);
  if (status == KVSTORE_OK) status = lock_alone(store);
  if (status != KVSTORE_OK) {
    Failure why = *status_last();
    Status ignored = store_shut_down(store);
    (void)ignored;
    return status_fail(status, "%s", why.text);
  }
  maintenance_stop(store);
  TRY(store_close_last(store));
  status = write_sealed_copy(store, options, &renamed);
  store->moved = renamed || status == KVSTORE_PROTOCOL; /* what lies there now is to be opened */
  TRY(status);
  return status_fail(KVSTORE_PROTOCOL, "%s was replaced by its encrypted copy", store->path);
}

/* The plain copy, opened; it takes the place of `store` in the registry. */
static Status open_plain(Store *store, const StoreOptions *given, Store **plain) {
  StoreOptions options = *given;
  options.os = store->os;
  options.password = (Bytes){ 0 };
  options.create_only = false;
  Store *opened = NULL;
  TRY(store_create(store->path, &options, &opened));
  opened->memory = memory_os_retain(store->memory);
  Status status = store_open_registered(&options, false, &opened);
  if (status == KVSTORE_OK)
    *plain = opened;
  else
    store_release(opened);
  return status;
}

/* From the rename on what the sealed file holds is lost to who opens the path: nothing more may be written to it. */
static Status replace_by_plain(Store *store, const StoreOptions *options, Store **plain) {
  bool renamed = false;
  TRY(store_settle(store));
  TRY(maintenance_take(store, true));
  Status status = store_rewrite(store, NULL, NULL, &renamed);
  if (renamed) shared_store(&store->page->failed, 1);
  maintenance_give(store);
  return status == KVSTORE_OK ? open_plain(store, options, plain) : status;
}

static Status unseal_locked(Store *store, const StoreOptions *options, Store **plain) {
  if (store->sessions > 1) return status_fail(KVSTORE_BUSY, "another handle of this process has %s open", store->path);
  TRY(lock_alone(store));
  Status status = replace_by_plain(store, options, plain);
  if (status != KVSTORE_OK) {
    Failure why = *status_last();
    Status ignored = os_lock(store->file.file, presence_byte, 1, OS_LOCK_SHARED);
    (void)ignored;
    return status_fail(status, "%s", why.text);
  }
  store->sessions = 0;
  store_forget(store);
  Status ignored = store_shut_down(store); /* its file has no name any more */
  (void)ignored;
  return KVSTORE_OK;
}

Status store_unseal(Store *store, const StoreOptions *options, Store **plain) {
  registry_enter();
  Status status = unseal_locked(store, options, plain);
  registry_leave();
  if (status == KVSTORE_OK) store_release(store);
  return status;
}
