/* snapshots.c - the life of a snapshot, and what it says of families. What it reads is in pairs.c and iterators.c. */
#include "kvapi/snapshots.h"

#include "base/memory.h"
#include "kvapi/names.h"

/* ---- life ---- */

KVSnapshot *snapshot_retain(KVSnapshot *snapshot) {
  atomic_fetch_add_explicit(&snapshot->references, 1, memory_order_relaxed);
  return snapshot;
}

void snapshot_release(KVSnapshot *snapshot) {
  if (!snapshot || atomic_fetch_sub_explicit(&snapshot->references, 1, memory_order_acq_rel) != 1) return;
  snapshot->magic = MAGIC_DEAD;
  session_thaw(snapshot->frozen);
  handle_release(snapshot->kv);
  memory_release(snapshot);
}

static Status create(KVStore *kv, KVSnapshot **out) {
  if (!out) return bad_argument("the place for the snapshot is NULL");
  KVSnapshot *snapshot = memory_allocate_zeroed(sizeof *snapshot);
  if (!snapshot) return status_nomem();
  Status status = session_freeze(kv->session, &snapshot->frozen);
  if (status != KVSTORE_OK) {
    memory_release(snapshot);
    return status;
  }
  snapshot->magic = MAGIC_SNAPSHOT;
  atomic_init(&snapshot->references, 1);
  snapshot->kv = kv;
  handle_retain(kv);
  *out = snapshot;
  return KVSTORE_OK;
}

int kvstore_snapshot_create(KVStore *kv, KVSnapshot **snapshot) {
  if (snapshot) *snapshot = NULL;
  Place place = place_default(kv);
  return place_leave(&place, place.status == KVSTORE_OK ? create(kv, snapshot) : place.status);
}

static bool is_snapshot(const KVSnapshot *snapshot) { return snapshot && snapshot->magic == MAGIC_SNAPSHOT; }

void kvstore_snapshot_release(KVSnapshot *snapshot) {
  if (is_snapshot(snapshot)) snapshot_release(snapshot);
}

/* ---- families ---- */

/* A family of another handle is one of the same store. */
static Status check_store(const KVSnapshot *snapshot, const KVColumnFamily *cf) {
  if (cf->kv == snapshot->kv) return KVSTORE_OK;
  TRY(handle_enter(cf->kv));
  bool same = session_store(cf->kv->session) == session_store(snapshot->frozen);
  handle_leave(cf->kv, KVSTORE_OK);
  return same ? KVSTORE_OK : bad_argument("the family is of another store");
}

Status snapshot_check_handle(KVSnapshot *snapshot, const KVStore *kv) {
  TRY(place_snapshot(snapshot, NULL).status);
  bool same = kv == snapshot->kv || session_store(kv->session) == session_store(snapshot->frozen);
  return same ? KVSTORE_OK : bad_argument("the snapshot is of another store");
}

Place place_snapshot(KVSnapshot *snapshot, const KVColumnFamily *cf) {
  Place place = { 0 };
  if (!is_snapshot(snapshot)) {
    place.status = bad_argument(snapshot ? "this is no open snapshot" : "the snapshot is NULL");
    return place;
  }
  place.kv = snapshot->kv;
  if (handle_is_inherited(snapshot->kv)) {
    place.status = handle_refuse_inherited();
    return place;
  }
  place.session = snapshot->frozen;
  place.family = FAMILY_DEFAULT_ID;
  if (!cf) return place;
  place.family = cf->family;
  place.status = cf->magic == MAGIC_FAMILY ? check_store(snapshot, cf) : bad_argument("this is no open family");
  if (place.status == KVSTORE_OK) place.status = birth_check(cf->birth);
  return place;
}

static Status open_family(const Place *place, const char *name, KVColumnFamily **out) {
  uint32_t family = 0;
  if (!out) return bad_argument("the place for the family is NULL");
  TRY(name_find(place->session, name, FAMILY_KV, &family));
  return family_handle(place->kv, family, birth_find(place->kv, family), out);
}

int kvstore_snapshot_cf_open(KVSnapshot *snapshot, const char *name, KVColumnFamily **family) {
  if (family) *family = NULL;
  Place place = place_snapshot(snapshot, NULL);
  return place_leave(&place, place.status == KVSTORE_OK ? open_family(&place, name, family) : place.status);
}
