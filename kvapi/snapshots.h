/* snapshots.h - KVSnapshot: a frozen session, counted, and the handle that its messages go to. */
#ifndef COLONNADE_KVAPI_SNAPSHOTS_H
#define COLONNADE_KVAPI_SNAPSHOTS_H

#include "kvapi/handle.h"

struct KVSnapshot {
  uint32_t magic;
  _Atomic uint32_t references; /* the caller's, and those of queries at it */
  KVStore *kv;
  Session *frozen;
};

/* Where a call on a snapshot works: inside no handle, so that it goes on after a close (API-2). `cf` NULL: the default
 * family. */
Place place_snapshot(KVSnapshot *snapshot, const KVColumnFamily *cf);
/* Whether the snapshot is one of the store of this handle, which is entered. Of its own handle it is one, whatever
 * store that has since (kvstore_remove_encryption). */
Status snapshot_check_handle(KVSnapshot *snapshot, const KVStore *kv) MUST_CHECK;
KVSnapshot *snapshot_retain(KVSnapshot *snapshot);
void snapshot_release(KVSnapshot *snapshot); /* NULL is allowed */

#endif
