/* kv_pinned.c - a value in place: the version that holds its bytes is held, and nothing is copied. */
#include "base/memory.h"
#include "engine/kv_rows.h"

struct KvPinned {
  Store *store;
  VersionHold hold;
  MergeRow row;
  Bytes value;
};

/* The row of a key, found at `pin`, kept beyond it. */
static Status hold_row(Session *session, ReadPin *pin, KvPinned *held) {
  Status status = merge_row_value(&held->row, &held->value);
  if (status == KVSTORE_OK) status = version_hold(session->store, pin, &held->hold);
  if (status != KVSTORE_OK) return status;
  held->store = session->store;
  store_retain(held->store);
  return KVSTORE_OK;
}

static Status find_pinned(Session *session, ReadPin *pin, uint32_t family, Bytes key, KvPinned *held, bool *expired) {
  FamilyState *family_state;
  Era *era;
  RowState state;
  TRY(session_family(session, pin, family, FAMILY_KV, &family_state, &era));
  TRY(kv_find_row(session->store, era, pin->sequence, key, &held->row, &state));
  *expired = state == ROW_EXPIRED;
  Status status = state == ROW_LIVE ? hold_row(session, pin, held) : kv_absent();
  if (status != KVSTORE_OK) merge_row_release(&held->row);
  return status;
}

Status kv_get_pinned(Session *session, uint32_t family, Bytes key, KvPinned **out, bool *expired) {
  TRY(kv_check_key(key));
  KvPinned *held = memory_allocate_zeroed(sizeof *held);
  if (!held) return status_nomem();
  ReadPin pin;
  Status status = read_pin(session, &pin);
  if (status == KVSTORE_OK) {
    status = find_pinned(session, &pin, family, key, held, expired);
    read_unpin(session, &pin);
  }
  if (status == KVSTORE_OK)
    *out = held;
  else
    memory_release(held);
  if (UNLIKELY(*expired)) {
    kv_evict(session, family, key);
    return kv_absent();
  }
  return status;
}

Bytes kv_pinned_value(const KvPinned *pinned) { return pinned->value; }
int64_t kv_pinned_expiry(const KvPinned *pinned) { return pinned->row.view.expiry; }

void kv_pinned_release(KvPinned *pinned) {
  if (!pinned) return;
  Store *store = pinned->store;
  merge_row_release(&pinned->row);
  version_unhold(store, &pinned->hold);
  memory_release(pinned);
  store_release(store);
}
