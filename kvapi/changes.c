/* changes.c - compare and swap, and deletes of many keys. */
#include "kvapi/handle.h"

/* ---- compare and swap ---- */

/* A value, or that there is none. */
static Status optional_argument(const void *data, int length, const char *what, Bytes *bytes, bool *there) {
  *there = length != KVSTORE_ABSENT;
  return *there ? bytes_argument(data, length, what, bytes) : KVSTORE_OK;
}

static int compare_and_swap(Place place, const void *key, int key_length, const void *expected, int expected_length,
                            const void *value, int value_length, int64_t expire_ms, int *swapped) {
  Bytes name, wanted = { 0 };
  KvNext next = { { 0 }, EXPIRY_NEVER };
  bool expects = false, stores = false, done = false;
  if (swapped) *swapped = 0;
  Status status = place.status;
  if (status == KVSTORE_OK && !swapped) status = bad_argument("the place for the answer is NULL");
  if (status == KVSTORE_OK) status = bytes_argument(key, key_length, "key", &name);
  if (status == KVSTORE_OK) status = optional_argument(expected, expected_length, "expected value", &wanted, &expects);
  if (status == KVSTORE_OK) status = optional_argument(value, value_length, "value", &next.value, &stores);
  if (status == KVSTORE_OK) status = expiry_argument(expire_ms, &next.expiry);
  if (status == KVSTORE_OK)
    status = kv_compare_and_swap(place.kv->session, place.family, name, expects ? &wanted : NULL, stores ? &next : NULL,
                                 &done);
  if (status == KVSTORE_OK && done && (stores || expects)) {
    handle_tally(place.kv, stores ? TALLY_PUTS : TALLY_DELETES, 1);
    if (stores) handle_tally(place.kv, TALLY_BYTES_WRITTEN, name.length + next.value.length);
    handle_wrote(place.kv);
  }
  if (swapped) *swapped = done;
  return place_leave(&place, status);
}

int kvstore_compare_and_swap(KVStore *kv, const void *key, int key_length, const void *expected, int expected_length,
                             const void *value, int value_length, int64_t expire_ms, int *swapped) {
  return compare_and_swap(place_default(kv), key, key_length, expected, expected_length, value, value_length, expire_ms,
                          swapped);
}

int kvstore_cf_compare_and_swap(KVColumnFamily *family, const void *key, int key_length, const void *expected,
                                int expected_length, const void *value, int value_length, int64_t expire_ms,
                                int *swapped) {
  return compare_and_swap(place_family(family), key, key_length, expected, expected_length, value, value_length,
                          expire_ms, swapped);
}

/* ---- ranges ---- */

static Status delete_keys(const Place *place, const KvRange *range, int64_t *deleted) {
  uint64_t count = 0;
  TRY(kv_delete_range(place->kv->session, place->family, range, &count));
  if (deleted) *deleted = (int64_t)count;
  handle_tally(place->kv, TALLY_DELETES, count);
  if (count) handle_wrote(place->kv);
  return KVSTORE_OK;
}

static int delete_range(Place place, const void *lower, int lower_length, const void *upper, int upper_length,
                        int64_t *deleted) {
  KvRange range = { 0 };
  if (deleted) *deleted = 0;
  Status status = place.status;
  if (status == KVSTORE_OK) status = bounds_argument(lower, lower_length, upper, upper_length, &range);
  if (status == KVSTORE_OK) status = delete_keys(&place, &range, deleted);
  return place_leave(&place, status);
}

static int delete_prefix(Place place, const void *prefix, int prefix_length, int64_t *deleted) {
  KvRange range = { 0 };
  if (deleted) *deleted = 0;
  Status status = place.status;
  if (status == KVSTORE_OK) status = prefix_argument(prefix, prefix_length, &range.prefix);
  if (status == KVSTORE_OK) status = delete_keys(&place, &range, deleted);
  return place_leave(&place, status);
}

int kvstore_delete_range(KVStore *kv, const void *lower, int lower_length, const void *upper, int upper_length,
                         int64_t *deleted) {
  return delete_range(place_default(kv), lower, lower_length, upper, upper_length, deleted);
}

int kvstore_cf_delete_range(KVColumnFamily *family, const void *lower, int lower_length, const void *upper,
                            int upper_length, int64_t *deleted) {
  return delete_range(place_family(family), lower, lower_length, upper, upper_length, deleted);
}

int kvstore_delete_prefix(KVStore *kv, const void *prefix, int prefix_length, int64_t *deleted) {
  return delete_prefix(place_default(kv), prefix, prefix_length, deleted);
}

int kvstore_cf_delete_prefix(KVColumnFamily *family, const void *prefix, int prefix_length, int64_t *deleted) {
  return delete_prefix(place_family(family), prefix, prefix_length, deleted);
}
