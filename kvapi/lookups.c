/* lookups.c - many keys in one call, and values in place. */
#include "base/memory.h"
#include "kvapi/snapshots.h"

/* ---- many keys ---- */

/* What can be no key keeps a length of 0, which the engine answers with KVSTORE_ERROR. */
static Bytes key_of(const KVLookup *lookup) {
  bool possible = lookup->key && lookup->key_length > 0;
  return possible ? (Bytes){ lookup->key, (size_t)lookup->key_length } : (Bytes){ 0 };
}

static void give_lookup(const KvLookup *from, const uint8_t *values, int64_t now_ms, KVLookup *to) {
  to->status = from->status;
  if (from->status != KVSTORE_OK) return;
  to->value = from->value_length ? values + from->value_offset : NULL;
  to->value_length = (int)from->value_length; /* at most VALUE_BYTES_CEILING */
  to->remaining_ms = KVSTORE_NO_TTL;
  if (from->expiry != EXPIRY_NEVER) to->remaining_ms = from->expiry > now_ms ? from->expiry - now_ms : 0;
}

static void tally_lookups(KVStore *kv, const KvLookup *found, size_t count) {
  uint64_t hits = 0, bytes = 0, expired = 0;
  for (size_t i = 0; i < count; i++) {
    hits += found[i].status == KVSTORE_OK;
    bytes += found[i].value_length;
    expired += found[i].expired;
  }
  handle_tally(kv, TALLY_GETS, hits);
  handle_tally(kv, TALLY_BYTES_READ, bytes);
  if (expired) handle_tally(kv, TALLY_TTL_EXPIRED, expired);
}

static Status look_up(const Place *place, KVLookup *lookups, size_t count, void **values) {
  Buffer block = { 0 };
  KvLookup *found = memory_allocate(memory_array_size(count, sizeof *found));
  if (!found) return status_nomem();
  for (size_t i = 0; i < count; i++) found[i].key = key_of(&lookups[i]);
  Status status = kv_get_many(place->session, place->family, found, count, &block);
  if (status == KVSTORE_OK) {
    int64_t now_ms = session_now_ms(place->session);
    for (size_t i = 0; i < count; i++) give_lookup(&found[i], block.data, now_ms, &lookups[i]);
    tally_lookups(place->kv, found, count);
    *values = block.data;
  } else {
    buffer_release(&block);
  }
  memory_release(found);
  return status;
}

static int get_many(Place place, KVLookup *lookups, size_t count, void **values) {
  if (values) *values = NULL;
  Status status = place.status;
  if (status == KVSTORE_OK && !values) status = bad_argument("the place for the values is NULL");
  if (status == KVSTORE_OK && !lookups && count) status = bad_argument("the keys are NULL");
  for (size_t i = 0; lookups && i < count; i++) {
    lookups[i].value = NULL;
    lookups[i].value_length = 0;
    lookups[i].remaining_ms = 0;
    lookups[i].status = KVSTORE_ERROR;
  }
  if (status == KVSTORE_OK && count) status = look_up(&place, lookups, count, values);
  return place_leave(&place, status);
}

int kvstore_get_many(KVStore *kv, KVLookup *lookups, size_t count, void **values) {
  return get_many(place_default(kv), lookups, count, values);
}

int kvstore_cf_get_many(KVColumnFamily *family, KVLookup *lookups, size_t count, void **values) {
  return get_many(place_family(family), lookups, count, values);
}

int kvstore_snapshot_get_many(KVSnapshot *snapshot, KVColumnFamily *family, KVLookup *lookups, size_t count,
                              void **values) {
  return get_many(place_snapshot(snapshot, family), lookups, count, values);
}

/* ---- in place ---- */

struct KVPinned {
  uint32_t magic;
  KvPinned *held;
};

static Status pin_value(const Place *place, Bytes key, KVPinned **out) {
  KVPinned *pinned = memory_allocate(sizeof *pinned);
  if (!pinned) return status_nomem();
  bool expired = false;
  Status status = kv_get_pinned(place->session, place->family, key, &pinned->held, &expired);
  if (expired) handle_tally(place->kv, TALLY_TTL_EXPIRED, 1);
  if (status != KVSTORE_OK) {
    memory_release(pinned);
    return status;
  }
  handle_tally(place->kv, TALLY_GETS, 1);
  handle_tally(place->kv, TALLY_BYTES_READ, kv_pinned_value(pinned->held).length);
  pinned->magic = MAGIC_PINNED;
  *out = pinned;
  return KVSTORE_OK;
}

static int get_pinned(Place place, const void *key, int key_length, KVPinned **pinned) {
  Bytes bytes;
  if (pinned) *pinned = NULL;
  Status status = place.status;
  if (status == KVSTORE_OK && !pinned) status = bad_argument("the place for the value is NULL");
  if (status == KVSTORE_OK) status = key_argument(key, key_length, &bytes);
  if (status == KVSTORE_OK) status = pin_value(&place, bytes, pinned);
  return place_leave_lookup(&place, status);
}

int kvstore_get_pinned(KVStore *kv, const void *key, int key_length, KVPinned **pinned) {
  return get_pinned(place_default(kv), key, key_length, pinned);
}

int kvstore_cf_get_pinned(KVColumnFamily *family, const void *key, int key_length, KVPinned **pinned) {
  return get_pinned(place_family(family), key, key_length, pinned);
}

int kvstore_snapshot_get_pinned(KVSnapshot *snapshot, KVColumnFamily *family, const void *key, int key_length,
                                KVPinned **pinned) {
  return get_pinned(place_snapshot(snapshot, family), key, key_length, pinned);
}

static bool is_pinned(const KVPinned *pinned) { return pinned && pinned->magic == MAGIC_PINNED; }

const void *kvstore_pinned_value(const KVPinned *pinned, int *length) {
  Bytes value = { 0 };
  if (is_pinned(pinned)) value = kv_pinned_value(pinned->held);
  if (length) *length = (int)value.length;
  return value.length ? value.data : NULL;
}

void kvstore_pinned_release(KVPinned *pinned) {
  if (!is_pinned(pinned)) return;
  pinned->magic = MAGIC_DEAD;
  kv_pinned_release(pinned->held);
  memory_release(pinned);
}
