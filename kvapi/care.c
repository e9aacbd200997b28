/* care.c - what keeps a store well, and what it says of itself. */
#include <limits.h>

#include "base/memory.h"
#include "kvapi/handle.h"

_Static_assert(KVSTORE_CHECKPOINT_PASSIVE == (int)CHECKPOINT_PASSIVE &&
                 KVSTORE_CHECKPOINT_FULL == (int)CHECKPOINT_FULL &&
                 KVSTORE_CHECKPOINT_RESTART == (int)CHECKPOINT_RESTART &&
                 KVSTORE_CHECKPOINT_TRUNCATE == (int)CHECKPOINT_TRUNCATE,
               "one number");

/* The clock of the machine; a store's own never steps back behind what it has seen (VIS-8). */
int64_t kvstore_now_ms(void) { return os_now_ms(os_posix()); }

int kvstore_sync(KVStore *pKV) {
  Status status = handle_enter(pKV);
  if (status != KVSTORE_OK) return handle_refuse(pKV, status);
  return handle_leave(pKV, session_sync(pKV->session));
}

int kvstore_incremental_vacuum(KVStore *pKV, int nPage) {
  Status status = handle_enter(pKV);
  if (status != KVSTORE_OK) return handle_refuse(pKV, status);
  status = nPage < 0 ? bad_argument("a vacuum gives back 0 pages (all) or more")
                     : session_vacuum(pKV->session, (uint64_t)nPage);
  return handle_leave(pKV, status);
}

typedef struct ProgressCall {
  KVStoreProgress call;
  void *context;
} ProgressCall;

static bool call_progress(void *context, uint64_t done, uint64_t total) {
  const ProgressCall *p = context;
  return p->call(p->context, done, total) != 0;
}

int kvstore_backup_with(KVStore *kv, const char *path, KVStoreProgress progress, void *context) {
  ProgressCall call = { progress, context };
  Status status = handle_enter(kv);
  if (status != KVSTORE_OK) return handle_refuse(kv, status);
  status = path && *path ? session_backup(kv->session, path, progress ? call_progress : NULL, &call)
                         : bad_argument("a backup needs the path of a file");
  return handle_leave(kv, status);
}

int kvstore_backup(KVStore *kv, const char *path) { return kvstore_backup_with(kv, path, NULL, NULL); }

int kvstore_maintain(KVStore *kv) {
  Status status = handle_enter(kv);
  if (status != KVSTORE_OK) return handle_refuse(kv, status);
  return handle_leave(kv, session_maintain(kv->session));
}

int kvstore_integrity_check(KVStore *pKV, char **pzErrMsg) {
  if (pzErrMsg) *pzErrMsg = NULL;
  Status status = handle_enter(pKV);
  if (status != KVSTORE_OK) return handle_refuse(pKV, status);
  return handle_leave(pKV, session_check(pKV->session, pzErrMsg));
}

static int pages_of(uint64_t bytes) {
  uint64_t pages = bytes / PAGE_BYTES + (bytes % PAGE_BYTES != 0);
  return pages > INT_MAX ? INT_MAX : (int)pages;
}

int kvstore_checkpoint(KVStore *pKV, int mode, int *pnLog, int *pnCkpt) {
  uint64_t log_bytes = 0, settled_bytes = 0;
  if (pnLog) *pnLog = 0;
  if (pnCkpt) *pnCkpt = 0;
  Status status = handle_enter(pKV);
  if (status != KVSTORE_OK) return handle_refuse(pKV, status);
  status = session_checkpoint(pKV->session, mode, &log_bytes, &settled_bytes);
  if (status == KVSTORE_OK) {
    if (pnLog) *pnLog = pages_of(log_bytes);
    if (pnCkpt) *pnCkpt = pages_of(settled_bytes);
    handle_tally(pKV, TALLY_CHECKPOINTS, 1);
  }
  return handle_leave(pKV, status);
}

/* ---- telling ---- */

static uint64_t sum_of(KVStore *kv, Tally which) {
  uint64_t sum = 0;
  for (size_t i = 0; i < HANDLE_STRIPES; i++)
    sum += atomic_load_explicit(&kv->stripes[i].tallies[which], memory_order_relaxed);
  return sum;
}

static Status fill_stats(KVStore *kv, KVStoreStats *stats) {
  StoreInfo info;
  if (!stats) return bad_argument("the place for the statistics is NULL");
  *stats = (KVStoreStats){ 0 };
  TRY(session_info(kv->session, &info));
  *stats = (KVStoreStats){ .nPuts = sum_of(kv, TALLY_PUTS),
                           .nGets = sum_of(kv, TALLY_GETS),
                           .nDeletes = sum_of(kv, TALLY_DELETES),
                           .nIterations = sum_of(kv, TALLY_ITERATIONS),
                           .nErrors = sum_of(kv, TALLY_ERRORS),
                           .nBytesRead = sum_of(kv, TALLY_BYTES_READ),
                           .nBytesWritten = sum_of(kv, TALLY_BYTES_WRITTEN),
                           .nWalCommits = sum_of(kv, TALLY_COMMITS),
                           .nCheckpoints = sum_of(kv, TALLY_CHECKPOINTS),
                           .nTtlExpired = sum_of(kv, TALLY_TTL_EXPIRED),
                           .nTtlPurged = sum_of(kv, TALLY_TTL_PURGED),
                           .nDbPages = info.file_bytes / PAGE_BYTES };
  return KVSTORE_OK;
}

int kvstore_stats(KVStore *pKV, KVStoreStats *pStats) {
  Status status = handle_enter(pKV);
  if (status != KVSTORE_OK) return handle_refuse(pKV, status);
  return handle_leave(pKV, fill_stats(pKV, pStats));
}

int kvstore_stats_reset(KVStore *pKV) {
  Status status = handle_enter(pKV);
  if (status != KVSTORE_OK) return handle_refuse(pKV, status);
  for (size_t i = 0; i < HANDLE_STRIPES; i++)
    for (int t = 0; t < TALLY_COUNT; t++) atomic_store_explicit(&pKV->stripes[i].tallies[t], 0, memory_order_relaxed);
  return handle_leave(pKV, KVSTORE_OK);
}

static Status fill_info(KVStore *kv, KVStoreInfo *out) {
  StoreInfo info;
  KVStoreInfo full = KVSTORE_INFO_INIT;
  if (!out) return bad_argument("the place for the facts is NULL");
  TRY(struct_answer(out, &full, sizeof full, "KVSTORE_INFO_INIT"));
  TRY(session_info(kv->session, &info));
  full.format = info.format;
  full.generation = info.generation;
  full.sequence = info.sequence;
  full.file_bytes = info.file_bytes;
  full.log_bytes = info.log_bytes;
  full.log_bytes_used = info.log_bytes_used;
  full.extent_bytes = info.extent_bytes;
  full.limbo_bytes = info.limbo_bytes;
  full.family_count = info.family_count;
  return struct_answer(out, &full, sizeof full, "KVSTORE_INFO_INIT");
}

static Status fill_memory_usage(KVStore *kv, KVStoreMemoryUsage *out) {
  MemoryUsage usage;
  KVStoreMemoryUsage full = KVSTORE_MEMORY_USAGE_INIT;
  if (!out) return bad_argument("the place for the memory usage is NULL");
  TRY(struct_answer(out, &full, sizeof full, "KVSTORE_MEMORY_USAGE_INIT"));
  TRY(session_memory_usage(kv->session, &usage));
  full.delta_bytes = usage.delta_bytes;
  full.run_bytes = usage.run_bytes;
  full.version_bytes = usage.version_bytes;
  full.log_bytes = usage.log_bytes;
  full.cache_bytes = usage.cache_bytes;
  full.cache_pinned_bytes = usage.cache_pinned_bytes;
  full.cache_bytes_max = usage.cache_bytes_max;
  full.total_bytes = usage.delta_bytes + usage.run_bytes + usage.version_bytes + usage.log_bytes + usage.cache_bytes +
                     usage.cache_pinned_bytes;
  full.mapped_bytes = usage.mapped_bytes;
  return struct_answer(out, &full, sizeof full, "KVSTORE_MEMORY_USAGE_INIT");
}

int kvstore_memory_usage(KVStore *kv, KVStoreMemoryUsage *usage) {
  Status status = handle_enter(kv);
  if (status != KVSTORE_OK) return handle_refuse(kv, status);
  return handle_leave(kv, fill_memory_usage(kv, usage));
}

int kvstore_info(KVStore *kv, KVStoreInfo *info) {
  Status status = handle_enter(kv);
  if (status != KVSTORE_OK) return handle_refuse(kv, status);
  return handle_leave(kv, fill_info(kv, info));
}
