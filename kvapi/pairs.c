/* pairs.c - keys and values, of the default family and of others: each public pair of functions is one function here.
 */
#include <limits.h>

#include "base/memory.h"
#include "kvapi/snapshots.h"

/* ---- writing ---- */

typedef struct Pair {
  Bytes key, value;
  int64_t expiry;
} Pair;

static Status pair_argument(const void *key, int key_length, const void *value, int value_length, int64_t expire_ms,
                            Pair *pair) {
  TRY(bytes_argument(key, key_length, "key", &pair->key));
  TRY(bytes_argument(value, value_length, "value", &pair->value));
  return pair_expiry_argument(expire_ms, &pair->expiry);
}

static void tally_put(KVStore *kv, const Pair *pair) {
  handle_tally(kv, TALLY_PUTS, 1);
  handle_tally(kv, TALLY_BYTES_WRITTEN, pair->key.length + pair->value.length);
}

static int put(Place place, const void *key, int key_length, const void *value, int value_length, int64_t expire_ms) {
  Pair pair;
  Status status = place.status;
  if (status == KVSTORE_OK) status = pair_argument(key, key_length, value, value_length, expire_ms, &pair);
  if (status == KVSTORE_OK)
    status = kv_put(place.kv->session, place.family, pair.key, pair.value, pair.expiry, KV_PUT_ALWAYS, NULL);
  if (status == KVSTORE_OK) {
    tally_put(place.kv, &pair);
    handle_wrote(place.kv);
  }
  return place_leave(&place, status);
}

static int put_if_absent(Place place, const void *key, int key_length, const void *value, int value_length,
                         int64_t expire_ms, int *inserted) {
  Pair pair;
  bool was_inserted = false;
  Status status = place.status;
  if (status == KVSTORE_OK) status = pair_argument(key, key_length, value, value_length, expire_ms, &pair);
  if (status == KVSTORE_OK)
    status =
      kv_put(place.kv->session, place.family, pair.key, pair.value, pair.expiry, KV_PUT_IF_ABSENT, &was_inserted);
  if (status == KVSTORE_OK && was_inserted) {
    tally_put(place.kv, &pair);
    handle_wrote(place.kv);
  }
  if (inserted) *inserted = was_inserted;
  return place_leave(&place, status);
}

static int delete_key(Place place, const void *key, int key_length) {
  Bytes bytes;
  Status status = place.status;
  if (status == KVSTORE_OK) status = bytes_argument(key, key_length, "key", &bytes);
  if (status == KVSTORE_OK) status = kv_delete(place.kv->session, place.family, bytes);
  if (status == KVSTORE_OK) {
    handle_tally(place.kv, TALLY_DELETES, 1);
    handle_wrote(place.kv);
  }
  return place_leave_lookup(&place, status);
}

/* ---- reading ---- */

static int64_t remaining_ms(const Place *place, int64_t expiry) {
  if (expiry == EXPIRY_NEVER) return KVSTORE_NO_TTL;
  int64_t now = session_now_ms(place->session);
  return expiry > now ? expiry - now : 0;
}

static int get(Place place, const void *key, int key_length, void **value, int *value_length, int64_t *remaining) {
  Bytes bytes;
  KvValue found = { NULL, 0, EXPIRY_NEVER };
  if (value) *value = NULL;
  if (value_length) *value_length = 0;
  if (remaining) *remaining = 0;
  Status status = place.status;
  if (status == KVSTORE_OK && !(value && value_length)) status = bad_argument("the place for the value is NULL");
  if (status == KVSTORE_OK) status = bytes_argument(key, key_length, "key", &bytes);
  if (status == KVSTORE_OK) status = kv_get(place.session, place.family, bytes, &found);
  if (LIKELY(status == KVSTORE_OK)) {
    *value = found.data;
    *value_length = (int)found.length; /* at most VALUE_BYTES_CEILING */
    if (remaining) *remaining = remaining_ms(&place, found.expiry);
    handle_tally(place.kv, TALLY_GETS, 1);
    handle_tally(place.kv, TALLY_BYTES_READ, found.length);
  } else if (found.expiry != EXPIRY_NEVER) { /* it was there, and its time has passed */
    handle_tally(place.kv, TALLY_TTL_EXPIRED, 1);
  }
  return place_leave_lookup(&place, status);
}

static int exists(Place place, const void *key, int key_length, int *there) {
  Bytes bytes;
  bool expired = false;
  if (there) *there = 0;
  Status status = place.status;
  if (status == KVSTORE_OK && !there) status = bad_argument("the place for the answer is NULL");
  if (status == KVSTORE_OK) status = bytes_argument(key, key_length, "key", &bytes);
  if (status == KVSTORE_OK) {
    status = kv_exists(place.session, place.family, bytes, NULL, &expired);
    *there = status == KVSTORE_OK;
  }
  if (expired) handle_tally(place.kv, TALLY_TTL_EXPIRED, 1);
  if (status == KVSTORE_NOTFOUND) status = KVSTORE_OK; /* in a family that is gone, too, there is no such key */
  return place_leave(&place, status);
}

static int ttl_remaining(Place place, const void *key, int key_length, int64_t *remaining) {
  Bytes bytes;
  bool expired = false;
  int64_t expiry = EXPIRY_NEVER;
  if (remaining) *remaining = 0;
  Status status = place.status;
  if (status == KVSTORE_OK && !remaining) status = bad_argument("the place for the remaining time is NULL");
  if (status == KVSTORE_OK) status = bytes_argument(key, key_length, "key", &bytes);
  if (status == KVSTORE_OK) status = kv_exists(place.session, place.family, bytes, &expiry, &expired);
  if (status == KVSTORE_OK) *remaining = remaining_ms(&place, expiry);
  if (status == KVSTORE_NOTFOUND && expired) {
    status = KVSTORE_OK;
    handle_tally(place.kv, TALLY_TTL_EXPIRED, 1);
  }
  return place_leave_lookup(&place, status);
}

/* ---- whole families ---- */

static int purge(Place place, int *deleted) {
  uint64_t purged = 0;
  if (deleted) *deleted = 0;
  Status status = place.status;
  if (status == KVSTORE_OK) status = kv_purge_expired(place.kv->session, place.family, &purged);
  if (status == KVSTORE_OK) {
    if (deleted) *deleted = purged > INT_MAX ? INT_MAX : (int)purged;
    handle_tally(place.kv, TALLY_TTL_PURGED, purged);
    if (purged) handle_wrote(place.kv);
  }
  return place_leave(&place, status);
}

static int clear(Place place) {
  Status status = place.status;
  if (status == KVSTORE_OK) status = family_clear(place.kv->session, place.family);
  if (status == KVSTORE_OK) handle_wrote(place.kv);
  return place_leave(&place, status);
}

static int count(Place place, int64_t *keys) {
  uint64_t counted = 0;
  if (keys) *keys = 0;
  Status status = place.status;
  if (status == KVSTORE_OK && !keys) status = bad_argument("the place for the count is NULL");
  if (status == KVSTORE_OK) status = kv_count(place.session, place.family, &counted);
  if (status == KVSTORE_OK) *keys = (int64_t)counted;
  return place_leave(&place, status);
}

/* ---- the default family ---- */

int kvstore_put(KVStore *pKV, const void *pKey, int nKey, const void *pValue, int nValue) {
  return put(place_default(pKV), pKey, nKey, pValue, nValue, KVSTORE_EXPIRE_DEFAULT);
}

int kvstore_put_ttl(KVStore *pKV, const void *pKey, int nKey, const void *pValue, int nValue, int64_t expire_ms) {
  return put(place_default(pKV), pKey, nKey, pValue, nValue, expire_ms);
}

int kvstore_put_if_absent(KVStore *pKV, const void *pKey, int nKey, const void *pValue, int nValue, int64_t expire_ms,
                          int *pInserted) {
  return put_if_absent(place_default(pKV), pKey, nKey, pValue, nValue, expire_ms, pInserted);
}

int kvstore_get(KVStore *pKV, const void *pKey, int nKey, void **ppValue, int *pnValue) {
  return get(place_default(pKV), pKey, nKey, ppValue, pnValue, NULL);
}

int kvstore_get_ttl(KVStore *pKV, const void *pKey, int nKey, void **ppValue, int *pnValue, int64_t *pnRemaining) {
  return get(place_default(pKV), pKey, nKey, ppValue, pnValue, pnRemaining);
}

int kvstore_delete(KVStore *pKV, const void *pKey, int nKey) { return delete_key(place_default(pKV), pKey, nKey); }

int kvstore_exists(KVStore *pKV, const void *pKey, int nKey, int *pExists) {
  return exists(place_default(pKV), pKey, nKey, pExists);
}

int kvstore_ttl_remaining(KVStore *pKV, const void *pKey, int nKey, int64_t *pnRemaining) {
  return ttl_remaining(place_default(pKV), pKey, nKey, pnRemaining);
}

int kvstore_purge_expired(KVStore *pKV, int *pnDeleted) { return purge(place_default(pKV), pnDeleted); }

int kvstore_clear(KVStore *pKV) { return clear(place_default(pKV)); }

int kvstore_count(KVStore *pKV, int64_t *pnCount) { return count(place_default(pKV), pnCount); }

/* ---- other families ---- */

int kvstore_cf_put(KVColumnFamily *pCF, const void *pKey, int nKey, const void *pValue, int nValue) {
  return put(place_family(pCF), pKey, nKey, pValue, nValue, KVSTORE_EXPIRE_DEFAULT);
}

int kvstore_cf_put_ttl(KVColumnFamily *pCF, const void *pKey, int nKey, const void *pValue, int nValue,
                       int64_t expire_ms) {
  return put(place_family(pCF), pKey, nKey, pValue, nValue, expire_ms);
}

int kvstore_cf_put_if_absent(KVColumnFamily *pCF, const void *pKey, int nKey, const void *pValue, int nValue,
                             int64_t expire_ms, int *pInserted) {
  return put_if_absent(place_family(pCF), pKey, nKey, pValue, nValue, expire_ms, pInserted);
}

int kvstore_cf_get(KVColumnFamily *pCF, const void *pKey, int nKey, void **ppValue, int *pnValue) {
  return get(place_family(pCF), pKey, nKey, ppValue, pnValue, NULL);
}

int kvstore_cf_get_ttl(KVColumnFamily *pCF, const void *pKey, int nKey, void **ppValue, int *pnValue,
                       int64_t *pnRemaining) {
  return get(place_family(pCF), pKey, nKey, ppValue, pnValue, pnRemaining);
}

int kvstore_cf_delete(KVColumnFamily *pCF, const void *pKey, int nKey) {
  return delete_key(place_family(pCF), pKey, nKey);
}

int kvstore_cf_exists(KVColumnFamily *pCF, const void *pKey, int nKey, int *pExists) {
  return exists(place_family(pCF), pKey, nKey, pExists);
}

int kvstore_cf_ttl_remaining(KVColumnFamily *pCF, const void *pKey, int nKey, int64_t *pnRemaining) {
  return ttl_remaining(place_family(pCF), pKey, nKey, pnRemaining);
}

int kvstore_cf_purge_expired(KVColumnFamily *pCF, int *pnDeleted) { return purge(place_family(pCF), pnDeleted); }

int kvstore_cf_clear(KVColumnFamily *pCF) { return clear(place_family(pCF)); }

int kvstore_cf_count(KVColumnFamily *pCF, int64_t *pnCount) { return count(place_family(pCF), pnCount); }

/* ---- snapshots ---- */

int kvstore_snapshot_get(KVSnapshot *snapshot, KVColumnFamily *family, const void *key, int key_length, void **value,
                         int *value_length, int64_t *remaining_ms) {
  return get(place_snapshot(snapshot, family), key, key_length, value, value_length, remaining_ms);
}

int kvstore_snapshot_exists(KVSnapshot *snapshot, KVColumnFamily *family, const void *key, int key_length, int *there) {
  return exists(place_snapshot(snapshot, family), key, key_length, there);
}

int kvstore_snapshot_ttl_remaining(KVSnapshot *snapshot, KVColumnFamily *family, const void *key, int key_length,
                                   int64_t *remaining_ms) {
  return ttl_remaining(place_snapshot(snapshot, family), key, key_length, remaining_ms);
}

int kvstore_snapshot_count(KVSnapshot *snapshot, KVColumnFamily *family, int64_t *keys) {
  return count(place_snapshot(snapshot, family), keys);
}
