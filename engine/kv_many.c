/* kv_many.c - many keys at one snapshot, in groups that hide the wait for memory: all lines of the index are asked for,
 * then all rows, then they are read. */
#include "base/hash.h"
#include "engine/kv_rows.h"

enum { GROUP_KEYS = 16 };

typedef struct Group {
  KvLookup *lookups;
  size_t count;
  uint64_t hashes[GROUP_KEYS];
} Group;

static bool may_be_key(const KvLookup *lookup) { return lookup->key.length > 0 && lookup->key.length <= KEY_BYTES_MAX; }

static void fetch_ahead(const LayerList *list, Group *group) {
  for (size_t i = 0; i < group->count; i++) {
    const Bytes key = group->lookups[i].key;
    if (!may_be_key(&group->lookups[i])) continue;
    group->hashes[i] = hash_key(key.data, key.length);
    merge_prefetch(list->layers, list->count, group->hashes[i], key.data, key.length);
  }
  for (size_t i = 0; i < group->count; i++) {
    const Bytes key = group->lookups[i].key;
    if (may_be_key(&group->lookups[i]))
      merge_prefetch_rows(list->layers, list->count, group->hashes[i], key.data, key.length);
  }
}

static Status take_value(MergeRow *row, KvLookup *lookup, Buffer *values) {
  Bytes value;
  TRY(merge_row_value(row, &value));
  lookup->status = KVSTORE_OK;
  lookup->expiry = row->view.expiry;
  lookup->value_offset = values->length;
  lookup->value_length = value.length;
  buffer_append(values, value.data, value.length);
  return buffer_status(values);
}

static Status look_up(const LayerList *list, KvLookup *lookup, uint64_t hash, int64_t now_ms, Buffer *values) {
  MergeRow row;
  DeltaState state;
  lookup->status = KVSTORE_ERROR;
  if (!may_be_key(lookup)) return KVSTORE_OK;
  lookup->status = KVSTORE_NOTFOUND;
  TRY(merge_get(list->layers, list->count, hash, lookup->key.data, lookup->key.length, now_ms, &row, &state));
  if (state != DELTA_FOUND) return KVSTORE_OK;
  lookup->expired = row.expired;
  Status status = row.expired ? KVSTORE_OK : take_value(&row, lookup, values);
  merge_row_release(&row);
  return status;
}

static Status look_up_all(Store *store, const Era *era, uint64_t sequence, KvLookup *lookups, size_t count,
                          Buffer *values) {
  LayerList list;
  int64_t now_ms = store_clock(store);
  TRY(kv_list_layers(era, sequence, &list));
  Status status = KVSTORE_OK;
  for (size_t at = 0; at < count && status == KVSTORE_OK; at += GROUP_KEYS) {
    Group group = { lookups + at, count - at < GROUP_KEYS ? count - at : GROUP_KEYS, { 0 } };
    fetch_ahead(&list, &group);
    for (size_t i = 0; i < group.count && status == KVSTORE_OK; i++)
      status = look_up(&list, &group.lookups[i], group.hashes[i], now_ms, values);
  }
  kv_release_layers(&list);
  return status;
}

Status kv_get_many(Session *session, uint32_t family, KvLookup *lookups, size_t count, Buffer *values) {
  ReadPin pin;
  FamilyState *state;
  Era *era;
  for (size_t i = 0; i < count; i++) lookups[i] = (KvLookup){ .key = lookups[i].key, .expiry = EXPIRY_NEVER };
  TRY(read_pin(session, &pin));
  Status status = session_family(session, &pin, family, FAMILY_KV, &state, &era);
  if (status == KVSTORE_OK) status = look_up_all(session->store, era, pin.sequence, lookups, count, values);
  read_unpin(session, &pin);
  return status;
}
