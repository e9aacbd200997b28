/* engine.h - the conductor: one store, its families, transactions, snapshots, recovery, flush and compaction.
 *
 *   Store     one file in this process; handles on the same file share it (a registry keyed by device and inode)
 *   Session   what a handle has: at most one transaction, a sync level, a busy timeout
 *   Family    a named ordered map in the store: a kv family or a table; named by its id
 *
 * Threads: every function may be called from any thread on any session at any time, except that session_destroy comes
 * last. A transaction belongs to its session: calls of other threads on that session are inside it. Reads take no lock
 * that a writer holds. Every failure leaves a sentence (base/status.h); outputs are untouched unless a function says
 * otherwise. */
#ifndef COLONNADE_ENGINE_ENGINE_H
#define COLONNADE_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/schema.h"
#include "base/status.h"
#include "columnar/scan.h"
#include "os/os.h"
#include "rowstore/merge.h"

typedef struct Store Store;
typedef struct Session Session;

enum { JOURNAL_DELETE = 0, JOURNAL_WAL = 1 };
enum { SYNC_OFF = 0, SYNC_NORMAL = 1, SYNC_FULL = 2 };
enum { FAMILY_KV = 1, FAMILY_TABLE = 2 };
enum { FAMILY_DEFAULT_ID = 1 };
enum { CHECKPOINT_PASSIVE = 0, CHECKPOINT_FULL = 1, CHECKPOINT_RESTART = 2, CHECKPOINT_TRUNCATE = 3 };

typedef struct StoreOptions {
  Os *os;                   /* NULL: os_posix(); with a path of NULL: a memory Os of the store's own */
  int journal_mode;         /* JOURNAL_*; the first opener's holds until the last close */
  int sync_level;           /* SYNC_* of this session */
  bool read_only;           /* this session never writes; a missing file is an error */
  uint32_t busy_timeout_ms; /* how long begin and autocommits wait for another transaction; 0: not at all */
  uint32_t value_bytes_max; /* 0: VALUE_BYTES_MAX */
  uint64_t log_bytes; /* capacity of the ring at its birth; 0: LOG_BYTES_DEFAULT; a multiple of 4096, at least 64 KiB */
  bool no_background; /* no thread of the store's own: session_maintain does the work, and commits that need room */
  bool no_map;        /* read through the block cache instead of mapping */
  uint64_t grace_ms;  /* how long an expired row stays before background work reclaims it; 0: a day */
  bool create_only;   /* fail with KVSTORE_BUSY when the file is there */
} StoreOptions;

/* Opens the store at `path` (NULL: in memory), makes it when missing (and not read_only), recovers it when its last
 * life ended without a close, and gives a session on it. KVSTORE_CORRUPT, KVSTORE_UNSUPPORTED (a newer format),
 * KVSTORE_NOTFOUND (read_only and missing), KVSTORE_ERROR (a directory), KVSTORE_PROTOCOL (open under another name),
 * KVSTORE_AUTH_FAILED (sealed), KVSTORE_FULL, KVSTORE_IO. *session is NULL on failure. */
Status session_open(const char *path, const StoreOptions *options, Session **session) MUST_CHECK;
/* Another session on the same store, with the same options. O(1). */
Status session_clone(Session *session, Session **other) MUST_CHECK;
/* Rolls back what is open. The last session of the last process checkpoints the store and takes the side files away; a
 * failure there is returned, and the session is gone all the same. Iterators and views may outlive it. */
Status session_close(Session *session);
Store *session_store(Session *session);
bool session_is_read_only(const Session *session);
int64_t session_now_ms(Session *session); /* the store's clock: never steps back (VIS-8) */

/* ---- transactions ---- */
/* write: takes the write lock (KVSTORE_BUSY when the busy timeout ends; KVSTORE_READONLY). Otherwise freezes what the
 * session sees until commit or rollback. KVSTORE_ERROR when one is open. */
Status session_begin(Session *session, bool write) MUST_CHECK;
/* Without an open transaction both do nothing. A failed commit has rolled back. */
Status session_commit(Session *session) MUST_CHECK;
Status session_rollback(Session *session);
/* 0 none, 1 reading, 2 writing. */
int session_transaction(const Session *session);

/* ---- families ---- */
typedef struct FamilyInfo {
  uint32_t id;
  int kind; /* FAMILY_* */
  bool hidden;
  char name[FAMILY_NAME_MAX + 1];
} FamilyInfo;

/* `schema` for tables (copied; column ids are assigned here), NULL for kv. KVSTORE_CONSTRAINT when the name is taken,
 * KVSTORE_SCHEMA for a bad schema, KVSTORE_ERROR for a bad name. Inside a transaction it is part of it. */
Status family_create(Session *session, const char *name, int kind, const Schema *schema, uint32_t *id) MUST_CHECK;
Status family_find(Session *session, const char *name, FamilyInfo *out) MUST_CHECK; /* KVSTORE_NOTFOUND */
Status family_info(Session *session, uint32_t id, FamilyInfo *out) MUST_CHECK;
/* All but hidden ones, in name order; an array for memory_release. */
Status family_list(Session *session, FamilyInfo **out, size_t *count) MUST_CHECK;
Status family_drop(Session *session, uint32_t id) MUST_CHECK;
Status family_clear(Session *session, uint32_t id) MUST_CHECK; /* O(1) in rows */
/* The schema of a table, copied (schema_release). KVSTORE_SCHEMA for a kv family. */
Status family_schema(Session *session, uint32_t id, Schema *out) MUST_CHECK;

/* ---- kv families ---- */
typedef struct KvValue {
  void *data; /* memory_release; NULL when the length is 0 */
  size_t length;
  int64_t expiry; /* EXPIRY_NEVER, or milliseconds since the epoch */
} KvValue;

enum { KV_PUT_ALWAYS = 0, KV_PUT_IF_ABSENT = 1 };
/* KVSTORE_ERROR for a key of 0 or more than 65,536 bytes or a value over the limit. *inserted (may be NULL) with
 * IF_ABSENT. */
Status kv_put(Session *session, uint32_t family, Bytes key, Bytes value, int64_t expiry, int mode,
              bool *inserted) MUST_CHECK;
/* KVSTORE_NOTFOUND when it is absent or expired (an expired one is evicted when that needs no waiting, and out->expiry
 * says when it expired; otherwise *out is untouched then). */
Status kv_get(Session *session, uint32_t family, Bytes key, KvValue *out) MUST_CHECK;
/* The same without the value; *expired (may be NULL): the row is there, but its time has passed (and KVSTORE_NOTFOUND).
 */
Status kv_exists(Session *session, uint32_t family, Bytes key, int64_t *expiry, bool *expired) MUST_CHECK;
Status kv_delete(Session *session, uint32_t family, Bytes key) MUST_CHECK; /* KVSTORE_NOTFOUND */
Status kv_purge_expired(Session *session, uint32_t family, uint64_t *purged) MUST_CHECK;
/* Rows that are not dead, expired or not (VIS-8). */
Status kv_count(Session *session, uint32_t family, uint64_t *count) MUST_CHECK;

/* Ordered iteration over a snapshot taken at creation. Not for two threads at once. It may outlive its session. */
typedef struct KvIterator {
  MergeCursor cursor; /* for the looks below, at every row; what comes behind it is the engine's */
} KvIterator;
/* `prefix` empty: all keys. Positioned nowhere (eof) until first, last or seek. */
Status kv_iterator_create(Session *session, uint32_t family, Bytes prefix, bool reverse, KvIterator **out) MUST_CHECK;
void kv_iterator_destroy(KvIterator *iterator);
Status kv_iterator_first(KvIterator *iterator) MUST_CHECK;           /* the first in its direction, within the prefix */
Status kv_iterator_seek(KvIterator *iterator, Bytes key) MUST_CHECK; /* forward: first >= key; reverse: last <= key */
Status kv_iterator_next(KvIterator *iterator) MUST_CHECK;            /* in its direction */
static inline bool kv_iterator_eof(const KvIterator *iterator) { return !iterator->cursor.valid; }
/* Not at the end. Key and value are readable until the next step or destroy. */
static inline Bytes kv_iterator_key(const KvIterator *iterator) { return iterator->cursor.row.view.key; }
static inline Status kv_iterator_value(KvIterator *iterator, Bytes *value) {
  return merge_cursor_value(&iterator->cursor, value);
}
static inline int64_t kv_iterator_expiry(const KvIterator *iterator) { return iterator->cursor.row.view.expiry; }

/* ---- tables ---- */
enum { TABLE_INSERT = 0, TABLE_UPSERT = 1 };
/* Rows as columns, in the schema's order without the hidden row id; strings of type string are UTF-8 (checked:
 * KVSTORE_TYPE with row and column). INSERT: KVSTORE_CONSTRAINT when a key is there or twice in the batch; UPSERT: the
 * last of equal keys wins. All or nothing. Large batches become a column run that the transaction's record adopts;
 * small ones are delta rows. *first_row_id (may be NULL): of a table without a primary key; the others follow it. */
Status table_write(Session *session, uint32_t family, const ColumnBatch *rows, int mode,
                   uint64_t *first_row_id) MUST_CHECK;
/* The key's values in the order of the key columns. A row of values in schema order (strings owned by `arena`), its
 * expiry. */
Status table_get(Session *session, uint32_t family, const Value *key, size_t key_count, Arena *arena, Value *row,
                 size_t column_count, int64_t *expiry) MUST_CHECK; /* KVSTORE_NOTFOUND: absent or expired */
Status table_delete(Session *session, uint32_t family, const Value *key, size_t key_count) MUST_CHECK;
/* Sets some columns (by position) of the row with this key; the key columns cannot change. `expiry`: NULL keeps it. */
Status table_update(Session *session, uint32_t family, const Value *key, size_t key_count, const uint32_t *columns,
                    const Value *values, size_t count, const int64_t *expiry) MUST_CHECK;
/* What a query reads: the table at one snapshot, as units for columnar/scan.h. Valid until released
 * (snapshot->release). */
Status table_snapshot(Session *session, uint32_t family, TableSnapshot *out) MUST_CHECK;

typedef struct ColumnUsage {
  char name[COLUMN_NAME_MAX + 1];
  ColumnType type;
  uint64_t bytes;       /* of its chunks in runs */
  uint64_t plain_bytes; /* what the same rows would take as plain arrays */
  char encodings[96];   /* "packed/16 x12, dictionary/8 x4" */
} ColumnUsage;
typedef struct FamilyUsage {
  uint64_t run_count, run_rows, run_bytes, dead_rows, delta_rows;
  size_t column_count;
  ColumnUsage *columns; /* memory_release; tables only */
} FamilyUsage;
Status family_usage(Session *session, uint32_t family, FamilyUsage *out) MUST_CHECK;

/* ---- the store ---- */
Status session_sync(Session *session) MUST_CHECK; /* everything committed is durable when it returns */
/* KVSTORE_BUSY inside the session's own write transaction. Outputs (may be NULL): log bytes before, bytes settled. */
Status session_checkpoint(Session *session, int mode, uint64_t *log_bytes, uint64_t *settled_bytes) MUST_CHECK;
/* Does what background work there is: flushes what is frozen, compacts what is due, resolves; and merges the runs of a
 * kv family that overlap into its level, where they are a quarter of that at least. */
Status session_maintain(Session *session) MUST_CHECK;
/* Verifies everything that can be: superblocks, manifest, every unit, every structure. *why (memory_release) on
 * KVSTORE_CORRUPT. */
Status session_check(Session *session, char **why) MUST_CHECK;

typedef struct StoreInfo {
  uint64_t generation, sequence, file_bytes, log_bytes, log_bytes_used, extent_bytes, limbo_bytes;
  uint64_t family_count;
  uint32_t format;
} StoreInfo;
Status session_info(Session *session, StoreInfo *out) MUST_CHECK;

#endif
