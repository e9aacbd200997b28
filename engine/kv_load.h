/* kv_load.h - bulk loads: pairs in any order that become runs of a kv family, adopted by one record (LOG-8).
 *
 *   add ──► chunk in memory ──sorted──► strand: runs with ascending keys ──merged──► runs ──adopt──► the family
 *
 * Nothing is locked and nothing is visible until the commit: the runs lie in reserved extents meanwhile. Input that
 * comes in order, or nearly (each chunk behind the one before it), makes one strand, which is adopted as it is; other
 * input makes one strand a chunk, and the commit merges them. What is small becomes ordinary rows of the delta.
 *
 * Threads: a loader belongs to one thread at a time; it ends when its session closes. */
#ifndef COLONNADE_ENGINE_KV_LOAD_H
#define COLONNADE_ENGINE_KV_LOAD_H

#include "engine/engine.h"

typedef struct KvLoader KvLoader;

typedef struct KvLoadOptions {
  bool sorted;         /* keys never descend: add refuses one that does */
  size_t memory_bytes; /* of one chunk; 0: 64 MiB; at least 64 KiB */
} KvLoadOptions;

Status kv_loader_create(Session *session, uint32_t family, const KvLoadOptions *options, KvLoader **out) MUST_CHECK;
/* Copies the pair; an expiry of EXPIRY_DEFAULT is that of the family as the load began. Of equal keys the last one
 * wins. KVSTORE_ERROR: a bad size, a key out of the order that was promised. After a failure only destroy is allowed to
 * succeed. */
Status kv_loader_add(KvLoader *loader, Bytes key, Bytes value, int64_t expiry) MUST_CHECK;
/* The caller's pair was none: the load has failed. */
void kv_loader_fail(KvLoader *loader);
/* Makes all pairs part of the session's open transaction, or of one of its own; durable when that has committed, at
 * every sync level. *loaded (may be NULL): how many keys. Afterwards only destroy is allowed. */
Status kv_loader_commit(KvLoader *loader, uint64_t *loaded) MUST_CHECK;
/* Forgets what was not committed; NULL is allowed, also after its session was closed. */
void kv_loader_destroy(KvLoader *loader);
/* Has the session loads that have not ended? */
bool kv_loaders_open(Session *session);
/* The session goes: its loaders let go of the store. */
void kv_loaders_end(Session *session);
/* In a forked child: whoever held the lock of all loaders is not here. */
void kv_loaders_forget_lock(void);

#endif
