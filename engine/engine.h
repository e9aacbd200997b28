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
#include "crypto/sealing.h"
#include "encodings/projection.h"
#include "engine/manifest.h"
#include "os/os.h"
#include "rowstore/merge.h"

typedef struct Store Store;
typedef struct Session Session;

enum { JOURNAL_DELETE = 0, JOURNAL_WAL = 1 };
enum { SYNC_OFF = 0, SYNC_NORMAL = 1, SYNC_FULL = 2, SYNC_BACKGROUND = 3 };
/* EVERY_RUN: what a flush writes too, not the bottom level alone: slow, for tests. */
enum { COMPRESSION_NONE = 0, COMPRESSION_AUTO = 1, COMPRESSION_ZSTD = 2, COMPRESSION_EVERY_RUN = 3 };
enum { SYNC_INTERVAL_DEFAULT_MS = 100 };
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
  /* Capacity of the ring at its birth, the first opener's, too: a multiple of 4096, at least 64 KiB. 0:
   * LOG_BYTES_DEFAULT, in journal mode DELETE LOG_BYTES_INSIDE. */
  uint64_t log_bytes;
  bool no_background;   /* no thread of the store's own: session_maintain does the work, and commits that need room */
  bool no_map;          /* read through the block cache instead of mapping */
  int compression;      /* COMPRESSION_* of the bottom level of kv families, from the next merge on */
  uint64_t cache_bytes; /* bound of the block cache; 0: BLOCK_CACHE_BYTES_DEFAULT */
  uint64_t grace_ms;    /* how long an expired row stays before background work reclaims it; 0: a day */
  bool create_only;     /* fail with KVSTORE_BUSY when the file is there */
  bool network_allowed; /* open a file on a network file system all the same */
  uint32_t sync_interval_ms; /* how soon a commit of SYNC_BACKGROUND is synced; 0: SYNC_INTERVAL_DEFAULT_MS */
  Bytes password;            /* data NULL: none. Borrowed for the call that opens */
  KeyCost key_cost;          /* of passwords that this session sets */
} StoreOptions;

/* Opens the store at `path` (NULL: in memory), makes it when missing (and not read_only), recovers it when its last
 * life ended without a close, and gives a session on it. KVSTORE_CORRUPT, KVSTORE_UNSUPPORTED (a newer format),
 * KVSTORE_NOTFOUND (read_only and missing), KVSTORE_ERROR (a directory), KVSTORE_PROTOCOL (open under another name),
 * KVSTORE_AUTH_FAILED (sealed, and no password or a wrong one), KVSTORE_FULL, KVSTORE_IO; KVSTORE_UNSUPPORTED for a
 * file on a network file system, too. *session is NULL on failure. With a password a new store is sealed, and a plain
 * one is sealed first: that needs it alone (KVSTORE_BUSY), and rights (KVSTORE_READONLY). */
Status session_open(const char *path, const StoreOptions *options, Session **session) MUST_CHECK;
/* Another session on the same store, with the same options. O(1). */
Status session_clone(Session *session, Session **other) MUST_CHECK;
/* How many threads may encode the columns of large batches that the session writes, the calling one among them: at
 * first 1; 0: one a processor. A clone has 1. */
void session_load_threads(Session *session, uint32_t threads);
/* Rolls back what is open. The last session of the last process checkpoints the store and takes the side files away; a
 * failure there is returned, and the session is gone all the same. Iterators and views may outlive it. */
Status session_close(Session *session);
/* A session of another kind, on what `session` sees now: it reads all families and tables as they were, for any thread,
 * beside everything else. O(1). It is none of those that keep a store open and may outlive them; it holds its
 * generation until session_thaw. Made inside a writing transaction it sees what that saw, and every read fails once
 * that was rolled back. */
Status session_freeze(Session *session, Session **frozen) MUST_CHECK;
void session_thaw(Session *frozen);
/* Was it inherited from before a fork? Then nothing but session_close may be called, which frees its memory alone; the
 * same holds for its iterators and snapshots. */
bool session_is_inherited(const Session *session);
/* ---- sealing ---- */
bool session_is_sealed(const Session *session);
/* Another password for the same key: a constant number of writes. What is open goes on. KVSTORE_ERROR: a plain store,
 * an empty password. On a failed write the store opens by one of the two. */
Status session_reencrypt(Session *session, Bytes password) MUST_CHECK;
/* The store becomes a plain one, under the session, which goes on with it; iterators and views made before go on with
 * the sealed one. Nobody else is inside the session. KVSTORE_BUSY: somebody else has the store open, or the session a
 * transaction. KVSTORE_ERROR: a plain store. */
Status session_remove_encryption(Session *session) MUST_CHECK;

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
/* The same, told by a flag. *writing: which writing transaction it was that ended (session_writing); 0: there was none.
 */
Status session_end(Session *session, bool commit, uint64_t *writing) MUST_CHECK;
/* 0 none, 1 reading, 2 writing. */
int session_transaction(const Session *session);
/* Tells the session's open writing transaction from all others; 0: there is none. */
uint64_t session_writing(const Session *session);

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
/* The same with options, of a kv family; KVSTORE_ERROR when they cannot be. */
Status family_create_with(Session *session, const char *name, int kind, const Schema *schema,
                          const FamilyOptions *options, uint32_t *id) MUST_CHECK;
/* Another name: KVSTORE_CONSTRAINT when it is taken, KVSTORE_ERROR for a bad one, or the default family. O(1); inside a
 * transaction it is part of it. */
Status family_rename(Session *session, uint32_t id, const char *name) MUST_CHECK;
/* Of a kv family (else KVSTORE_SCHEMA), in the same way. */
Status family_set_options(Session *session, uint32_t id, const FamilyOptions *options) MUST_CHECK;
Status family_get_options(Session *session, uint32_t id, FamilyOptions *out) MUST_CHECK;
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
/* As an expiry of rows that are written: the family's default TTL, from now on. */
#define EXPIRY_DEFAULT INT64_MIN
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
/* Many keys at one snapshot; their values go behind each other into the buffer. An expired row is left where it is. */
typedef struct KvLookup {
  Bytes key;     /* the caller's */
  Status status; /* KVSTORE_OK, KVSTORE_NOTFOUND (expired, too), KVSTORE_ERROR: no key has that length */
  bool expired;
  size_t value_offset, value_length;
  int64_t expiry;
} KvLookup;
Status kv_get_many(Session *session, uint32_t family, KvLookup *lookups, size_t count, Buffer *values) MUST_CHECK;
/* The value where it lies: in the mapping, a delta, or a block of the cache. It stays readable,
 * whatever is written or closed, until the release. KVSTORE_NOTFOUND; *expired as kv_exists. */
typedef struct KvPinned KvPinned;
Status kv_get_pinned(Session *session, uint32_t family, Bytes key, KvPinned **out, bool *expired) MUST_CHECK;
Bytes kv_pinned_value(const KvPinned *pinned);
int64_t kv_pinned_expiry(const KvPinned *pinned);
void kv_pinned_release(KvPinned *pinned);                                  /* NULL is allowed */
Status kv_delete(Session *session, uint32_t family, Bytes key) MUST_CHECK; /* KVSTORE_NOTFOUND */
Status kv_purge_expired(Session *session, uint32_t family, uint64_t *purged) MUST_CHECK;
/* Rows that are not dead, expired or not (VIS-8). */
Status kv_count(Session *session, uint32_t family, uint64_t *count) MUST_CHECK;

/* Keys from `lower` on and before `upper` that begin with `prefix`; each is left out when its data is NULL. */
typedef struct KvRange {
  Bytes lower, upper, prefix;
} KvRange;

/* Ordered iteration over a snapshot taken at creation. Not for two threads at once. It may outlive its session. */
typedef struct KvIterator {
  MergeCursor cursor; /* for the looks below, at every row; what comes behind it is the engine's */
} KvIterator;
/* The range is copied; all zero: every key. Positioned nowhere (eof) until first, last or seek. */
Status kv_iterator_open(Session *session, uint32_t family, const KvRange *range, bool reverse,
                        KvIterator **out) MUST_CHECK;
/* The same with a prefix alone; empty: all keys. */
Status kv_iterator_create(Session *session, uint32_t family, Bytes prefix, bool reverse, KvIterator **out) MUST_CHECK;
void kv_iterator_destroy(KvIterator *iterator);
Status kv_iterator_first(KvIterator *iterator) MUST_CHECK;           /* the first in its direction, within the range */
Status kv_iterator_seek(KvIterator *iterator, Bytes key) MUST_CHECK; /* first >= key, or last <= key */
Status kv_iterator_next(KvIterator *iterator) MUST_CHECK;            /* in its direction */
/* Where a seek over all keys would land on one that does not begin with `prefix`, which is the iterator's own: nowhere.
 */
Status kv_iterator_seek_exactly(KvIterator *iterator, Bytes key, Bytes prefix) MUST_CHECK;
/* The iterator has passed expired rows, and it is time to evict them; `closing`: there are some at all. */
bool kv_iterator_has_passed(const KvIterator *iterator, bool closing);
/* Evicts them, as kv_get does, if that needs no waiting; else, and with NULL, forgets them. */
void kv_iterator_evict(Session *session, KvIterator *iterator);
static inline bool kv_iterator_eof(const KvIterator *iterator) { return !iterator->cursor.valid; }
/* Not at the end. Key and value are readable until the next step or destroy. */
static inline Bytes kv_iterator_key(const KvIterator *iterator) { return iterator->cursor.row.view.key; }
static inline Status kv_iterator_value(KvIterator *iterator, Bytes *value) {
  return merge_cursor_value(&iterator->cursor, value);
}
static inline int64_t kv_iterator_expiry(const KvIterator *iterator) { return iterator->cursor.row.view.expiry; }

/* Writes, in one statement, `next` over the value of a key where that is `expected`; NULL: there is no such row, and
 * there is to be none. An expired row is none. *swapped is false when it was something else. */
typedef struct KvNext {
  Bytes value;
  int64_t expiry;
} KvNext;
Status kv_compare_and_swap(Session *session, uint32_t family, Bytes key, const Bytes *expected, const KvNext *next,
                           bool *swapped) MUST_CHECK;
/* Deletes the keys of a range, in one statement; *deleted counts those that had not expired. Every row of the range is
 * read, and each gets a tombstone. */
Status kv_delete_range(Session *session, uint32_t family, const KvRange *range, uint64_t *deleted) MUST_CHECK;

/* Many changes in one statement, in their order. */
enum { KV_CHANGE_PUT = 0, KV_CHANGE_DELETE = 1, KV_CHANGE_DELETE_RANGE = 2 };
typedef struct KvChange {
  int kind; /* KV_CHANGE_* */
  uint32_t family;
  Bytes key, value; /* of a range: its lower and upper bound */
  int64_t expiry;
} KvChange;
/* Gives change after change; *more is false behind the last one. Its bytes are read before the next call. */
typedef Status KvNextChange(void *context, KvChange *change, bool *more);
/* *deleted (may be NULL): keys that deletes found. A key to delete that is not there is no failure. */
Status kv_write_changes(Session *session, KvNextChange *next, void *context, uint64_t *deleted) MUST_CHECK;
/* What kv_put and kv_write_changes check. */
Status kv_check_pair(const Session *session, Bytes key, Bytes value) MUST_CHECK;

/* A kv family as a table: one projection for each column of a schema whose key is the column of PROJECTION_KEY. Both
 * live as long as the snapshots made of them. */
typedef struct PairColumns {
  const Schema *schema; /* with the sources of the kept columns */
  const Projection *projections;
  /* FamilyColumns of the family, where the first columns are those of that table; and how many these are. */
  uint32_t table, kept_count;
} PairColumns;
/* The columns that every family has: the first ones. */
typedef struct PairColumn {
  const char *name;
  ProjectionKind kind;
  ColumnType type;
  uint32_t flags;
} PairColumn;
enum { PAIR_OWN_COLUMNS = 4 };
extern const PairColumn pair_own_columns[PAIR_OWN_COLUMNS];

/* Columns that are kept beside a family's pairs from now on, in the place of those before; NULL: none. Every write of a
 * pair writes them, too; of pairs that are there already they are made behind the call, unless these are few.
 * KVSTORE_LIMIT: a key that is too long for them. Inside a transaction it is part of it. */
Status family_set_columns(Session *session, uint32_t id, const PairColumns *columns) MUST_CHECK;
typedef struct FamilyColumns {
  Schema schema; /* with sources; schema_release. No columns: none are declared */
  uint32_t table;
  bool is_built; /* of all pairs: queries read them */
} FamilyColumns;
Status family_get_columns(Session *session, uint32_t id, FamilyColumns *out) MUST_CHECK;

/* What a query reads of the pairs of a range at one snapshot, as table_snapshot: only `wanted` columns (by position)
 * have values. They are read from the table of declared columns when that has all of them, else made of the pairs. The
 * range is copied; it spares walks what lies outside, and says nothing to the table, of which a query has to ask the
 * same. Made of pairs, inside a writing transaction, it fails once that was rolled back. */
Status pairs_snapshot(Session *session, uint32_t family, const PairColumns *columns, const bool *wanted,
                      const KvRange *range, TableSnapshot *out) MUST_CHECK;

/* ---- changes of a kv family whose options say `changes_ms` ---- */

enum { CHANGE_PUT = 1, CHANGE_DELETE = 2, CHANGE_CLEAR = 3 };
typedef struct CapturedChange {
  int kind;             /* CHANGE_* */
  uint64_t sequence;    /* rises from change to change, over all families */
  uint64_t transaction; /* the same for all changes of one, different from every other's in the family */
  int64_t time_ms;      /* when it was made */
  Bytes key, value;
  int64_t expiry; /* of a put; or EXPIRY_NEVER */
} CapturedChange;

/* Positions that changes can be read from: behind what may be missing, and behind what is committed now. KVSTORE_GONE:
 * the family's changes are not captured. */
Status capture_ends(Session *session, uint32_t family, uint64_t *oldest, uint64_t *newest) MUST_CHECK;
/* Appends what was committed behind sequence `after`, in order, until `out` has `enough` bytes: for capture_next.
 * KVSTORE_GONE: there may be changes behind it that are not kept any more, or it lies in the future. */
Status capture_read(Session *session, uint32_t family, uint64_t after, size_t enough, Buffer *out) MUST_CHECK;
/* The next one; its bytes are the reader's. */
bool capture_next(Reader *in, CapturedChange *change);

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
/* Many keys at one snapshot. */
typedef struct TableLookup {
  uint32_t count;          /* of keys, at least 1 */
  const ColumnArray *keys; /* an array a column of the key, in its order, of exactly its type */
  const uint32_t *columns; /* positions of those that are wanted */
  uint32_t column_count;
  /* out, an entry a key, in the order of the keys */
  uint8_t *found; /* 1: there, and not expired */
  uint32_t found_count;
  int64_t *expiries;   /* NULL: EXPIRY_NEVER, all of them */
  ColumnArray *arrays; /* one a column; nulls where there is no row */
} TableLookup;
/* Results lie in `arena`. KVSTORE_TYPE for a key that its column cannot hold names row and column. */
Status table_get_many(Session *session, uint32_t family, TableLookup *lookup, Arena *arena) MUST_CHECK;
/* Notes when a row that was found expires. */
Status table_lookup_expiry(TableLookup *lookup, uint32_t place, int64_t expiry, Arena *arena) MUST_CHECK;
Status table_delete(Session *session, uint32_t family, const Value *key, size_t key_count) MUST_CHECK;
/* In one statement; `keys` as above. *deleted: rows that were there, and had not expired, each once. */
Status table_delete_many(Session *session, uint32_t family, const ColumnArray *keys, uint32_t count,
                         uint64_t *deleted) MUST_CHECK;
/* Sets some columns (by position) of the row with this key; the key columns cannot change. `expiry`: NULL keeps it. */
Status table_update(Session *session, uint32_t family, const Value *key, size_t key_count, const uint32_t *columns,
                    const Value *values, size_t count, const int64_t *expiry) MUST_CHECK;
/* What a query reads: the table at one snapshot, as units for columnar/scan.h. Valid until released
 * (snapshot->release). */
Status table_snapshot(Session *session, uint32_t family, TableSnapshot *out) MUST_CHECK;

typedef struct ColumnUsage {
  char name[COLUMN_NAME_MAX + 1];
  ColumnType type;
  uint32_t width;       /* of a value of fixed bytes, or a uuid; else 0 */
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
/* Puts what the log holds into the file. PASSIVE waits for no writer; FULL and RESTART wait for one until the busy
 * timeout ends (KVSTORE_BUSY); TRUNCATE then cuts the log's file to nothing, and the next write makes a new log.
 * KVSTORE_BUSY inside the session's own write transaction. Outputs (may be NULL): bytes in the log, and how many of
 * them are settled now; 0 and 0 where the log was cut. */
Status session_checkpoint(Session *session, int mode, uint64_t *log_bytes, uint64_t *settled_bytes) MUST_CHECK;
/* Gives back the end of the file: at most `pages` of 4,096 bytes, 0: all that readers of former generations do not
 * hold. Settles what is committed, rewrites runs with dead or long expired rows and moves extents as far as that needs;
 * other handles and processes go on. KVSTORE_BUSY inside the session's own write transaction. */
Status session_vacuum(Session *session, uint64_t pages) MUST_CHECK;
/* Called now and then with the bytes copied and the bytes there are; true: end the backup (KVSTORE_CANCELLED). */
typedef bool (*BackupProgress)(void *context, uint64_t done, uint64_t total);
/* Copies everything that was committed before the call into a store of its own at `path`: written beside it, synced,
 * renamed over it. Others read and write meanwhile. `progress` may be NULL. KVSTORE_BUSY inside the session's own write
 * transaction, when another one is not over by the end of the busy timeout, and when `path` is an open store;
 * KVSTORE_ERROR when it is this store, or a file that is none; what was at `path` is then untouched. */
Status session_backup(Session *session, const char *path, BackupProgress progress, void *context) MUST_CHECK;
/* Does what background work there is: syncs what SYNC_BACKGROUND has left, flushes what is frozen, and the rows in
 * memory too when they are an eighth of what the log holds, compacts what is due and some before, resolves. */
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

typedef struct MemoryUsage {
  uint64_t delta_bytes;   /* rows that are not in runs yet, and their indexes */
  uint64_t run_bytes;     /* what open runs keep: directories, fences, bits of what was verified */
  uint64_t version_bytes; /* versions, manifests, locators, deleted sets, and the store itself */
  uint64_t log_bytes;     /* the open transaction's record, and what was read ahead of the log */
  uint64_t cache_bytes, cache_pinned_bytes, cache_bytes_max;
  uint64_t mapped_bytes; /* of the file; no memory of the process's own */
} MemoryUsage;
/* What the store holds in this process. Each number is of one moment. */
Status session_memory_usage(Session *session, MemoryUsage *out) MUST_CHECK;

#endif
