/* kvstore.h - the key-value side of Colonnade: one file, ordered families of keys and values, TTLs, transactions.
 *
 * The names, types, constants and codes of the functions with Hungarian parameters are those of the SNKV reference, so
 * that a program written for it compiles and runs. What is new here takes plain names and sized structs.
 * Tables on the same handle, in the same transactions: kvtable.h.
 *
 *   KVStore *kv = NULL;
 *   if (kvstore_open("shop.db", &kv, KVSTORE_JOURNAL_WAL) != KVSTORE_OK) { puts(kvstore_errmsg(NULL)); return 1; }
 *   kvstore_put(kv, "user:1", 6, "Ada", 3);
 *   kvstore_close(kv);
 *
 * Codes      Every function that returns an int returns a code of kvstore_status.h, unless it says otherwise.
 *            Besides the codes that a declaration names, any function may return KVSTORE_NOMEM, KVSTORE_CORRUPT,
 *            KVSTORE_IO, and KVSTORE_ERROR for arguments that make no sense (NULL where a pointer is needed, a negative
 *            length); any writing one KVSTORE_READONLY, KVSTORE_BUSY (another handle's transaction is open, and the
 *            busy timeout has ended) and KVSTORE_FULL. A call that failed has changed nothing in the store.
 * Messages   kvstore_errmsg says in a sentence what failed; kvstore_error also says where.
 * Outputs    A failed call sets its pointer outputs to NULL and its number outputs to 0, if their addresses are valid.
 * Structs    Those that begin with `struct_size` may be of an older or a newer version: what both know is read, or
 *            filled in. KVSTORE_UNSUPPORTED: beyond that, one that goes in is not zero.
 * Ownership  Pointers that go in are borrowed for the call. Values, names and messages that come out on the heap are
 *            the caller's, to be given back with kvstore_free (= sqliteFree = snkv_free). Pointers that an iterator
 *            gives are the iterator's. Handles are closed by their own close function.
 * Threads    Every function may be called from any thread at any time, on one shared handle too, unless it says
 *            otherwise. Iterators belong to one thread at a time. A close waits for the calls that are inside its
 *            handle; a call that begins after the close began is the caller's mistake.
 * Processes  Up to 255 at a time read and write one file, and any number read it. A snapshot shows every commit that
 *            returned before it was taken, by whichever handle, thread or process. Who dies holds up nobody for longer
 *            than a moment.
 * Fork       A child opens handles of its own. Those that it inherited, and what hangs on them, can be closed, which
 *            does nothing to the parent; every other call on them is KVSTORE_ERROR.
 *
 * Valid C11 and C++11; needs the C library's stddef.h and stdint.h. */
#ifndef COLONNADE_KVSTORE_H
#define COLONNADE_KVSTORE_H

#include <stddef.h>
#include <stdint.h>

#include "kvstore_status.h"

#ifndef KVSTORE_API
#if defined(__GNUC__)
#define KVSTORE_API __attribute__((visibility("default")))
#else
#define KVSTORE_API
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- handles ---- */
typedef struct KVStore KVStore;               /* an open store */
typedef struct KVColumnFamily KVColumnFamily; /* one family of an open store */
typedef struct KVIterator KVIterator;         /* a walk over a family, in key order */
typedef struct KVBatch KVBatch;               /* changes that are written together */
typedef struct KVBulkLoad KVBulkLoad;         /* pairs on their way into a family, all at once */
typedef struct KVSnapshot KVSnapshot;         /* everything as it was at one moment */
typedef struct KVPinned KVPinned;             /* a value in place */

/* ---- limits ---- */
#define KVSTORE_KEY_BYTES_MAX       65536      /* a key has 1 to 65,536 bytes */
#define KVSTORE_VALUE_BYTES_DEFAULT (10 << 20) /* the longest value, unless the options say otherwise */
#define KVSTORE_VALUE_BYTES_MAX     (1 << 30)  /* the most that the options may say */
#define KVSTORE_MAX_COLUMN_FAMILIES 64         /* so many always fit; there is room for 4,096, tables included */
#define KVSTORE_FAMILY_NAME_MAX     255        /* bytes; names that begin with "__" are reserved */

/* ---- constants ---- */
/* Where the log lies while the store is open. The first opener's mode holds until the last close, which leaves the file
 * alone in either; it may differ at every open, also behind a crash. Commits are as durable in both.
 *   WAL     in `path-wal`, beside the file
 *   DELETE  in a piece of the store's own file. `path-journal` is an empty file that is there from the first write of a
 *           transaction to its end: a single write makes and removes it, so writes are dearer one by one */
#define KVSTORE_JOURNAL_DELETE 0
#define KVSTORE_JOURNAL_WAL    1

/* When a commit returns, it survives the death of the process at every level. A power cut: */
#define KVSTORE_SYNC_OFF    0 /* may lose the last commits, never the integrity of the file */
#define KVSTORE_SYNC_NORMAL 1 /* may lose the last commits, never the integrity of the file; the default */
#define KVSTORE_SYNC_FULL   2 /* loses nothing: a commit returns when it is on the disk */
/* Loses at most what was committed within the sync interval (KVStoreOptions; 100 ms): a thread of the store's syncs it,
 * or, with background_off, kvstore_maintain does. At every level: after a sync that failed, writes are KVSTORE_IO until
 * all have closed the store. */
#define KVSTORE_SYNC_BACKGROUND 3

#define KVSTORE_CHECKPOINT_PASSIVE  0 /* moves what it can from the log into the file, waiting for nobody */
#define KVSTORE_CHECKPOINT_FULL     1 /* waits for a writer (KVSTORE_BUSY at the timeout), then moves everything */
#define KVSTORE_CHECKPOINT_RESTART  2 /* the same: the log is a ring, and is written over from where it stands */
#define KVSTORE_CHECKPOINT_TRUNCATE 3 /* the same, and the log ends: path-wal has 0 bytes, one inside is free space */

/* Settled keys and values in frames of 16 KiB, zstd with a dictionary that is learnt from them: smaller in the file and
 * slower to read, since a read decodes a frame, unless the block cache has it. Keys that are not there, and what was
 * written lately, cost what they always do. */
#define KVSTORE_COMPRESSION_NONE      0    /* the default */
#define KVSTORE_COMPRESSION_AUTO      1    /* where a sample of what is merged saves a fifth at least */
#define KVSTORE_COMPRESSION_ZSTD      2    /* always */
#define KVSTORE_COMPRESSION_INHERITED (-1) /* of a family, its default: as KVStoreOptions say */

#define KVSTORE_NO_TTL         (-1) /* remaining time of a key that never expires */
#define KVSTORE_EXPIRE_DEFAULT (-1) /* as expire_ms of a pair: the family's default TTL, as kvstore_put */

/* ---- opening and closing ---- */
/* Taken literally: a zeroed struct asks for JOURNAL_DELETE and SYNC_OFF. Begin with KVSTORE_CONFIG_DEFAULT. */
typedef struct KVStoreConfig KVStoreConfig;
struct KVStoreConfig {
  int journalMode;    /* KVSTORE_JOURNAL_* */
  int syncLevel;      /* KVSTORE_SYNC_* */
  int cacheSize;      /* bound of the block cache, in pages of pageSize bytes; 0: 2,000 (cache_bytes below) */
  int pageSize;       /* bytes, for cacheSize alone: pages of the file have 4,096, whatever this says; 0: 4,096 */
  int readOnly;       /* not 0: reads only; a missing file is an error, and nothing is created */
  int busyTimeout;    /* milliseconds to wait for another handle's transaction; 0: not at all */
  int walSizeLimit;   /* checkpoints after so many commits of this handle; 0: when the log asks for it */
  int allowEncrypted; /* accepted and unused: kvstore_open_encrypted opens those */
  int fullMutex;      /* accepted and unused: a handle is always safe on many threads */
};
#define KVSTORE_CONFIG_DEFAULT \
  { KVSTORE_JOURNAL_WAL, KVSTORE_SYNC_NORMAL, 2000, 4096, 0, 0, 0, 0, 0 }

/* Opens the store at `zFilename`, makes it when it is missing, and recovers it when it was not closed. NULL is a store
 * in memory, which its last handle takes with it. `pConfig` NULL: the defaults of KVSTORE_CONFIG_DEFAULT.
 *   KVSTORE_NOTFOUND     no such directory; read-only, and there is no such file; a symbolic link to nothing
 *   KVSTORE_CORRUPT      not a store, or damaged; nothing was written
 *   KVSTORE_UNSUPPORTED  made by a newer version of the format; or on a network file system (network_allowed opens it)
 *   KVSTORE_AUTH_FAILED  an encrypted store: it takes kvstore_open_encrypted
 *   KVSTORE_ERROR        a directory, an impossible configuration, a file that cannot be opened; a new store where
 *                        another one keeps its side files
 *   KVSTORE_PROTOCOL     the same file is open under another name (a hard link)
 *   KVSTORE_LIMIT        255 processes have it open; one more may read
 * The path is looked up once: a relative one goes on to mean that file when the process changes its directory, and a
 * symbolic link is the file that it leads to, beside which the side files lie.
 * On failure *ppKV is NULL and kvstore_errmsg(NULL), on the same thread, says why. */
KVSTORE_API int kvstore_open_v2(const char *zFilename, KVStore **ppKV, const KVStoreConfig *pConfig);
/* The same with the defaults and this journal mode. */
KVSTORE_API int kvstore_open(const char *zFilename, KVStore **ppKV, int journalMode);

/* Everything that can be chosen. A field of 0 or NULL means what KVSTORE_OPTIONS_INIT means by it. */
typedef struct KVStoreOptions {
  size_t struct_size;       /* set by KVSTORE_OPTIONS_INIT */
  int journal_mode;         /* KVSTORE_JOURNAL_* */
  int sync_level;           /* KVSTORE_SYNC_* */
  int read_only;            /* not 0: reads only; neither the right to write file or directory is needed, nor room */
  uint32_t busy_timeout_ms; /* how long to wait for another handle's transaction; 0: not at all */
  uint32_t value_bytes_max; /* the longest value; 0: KVSTORE_VALUE_BYTES_DEFAULT; at most KVSTORE_VALUE_BYTES_MAX */
  int background_off;       /* not 0: no thread of the store's own: kvstore_maintain and commits that need room work */
  uint64_t log_bytes;       /* capacity of the log: a multiple of 4,096, 64 KiB to 8 GiB; 0: 64 MiB, in DELETE 1 MiB */
  uint64_t grace_ms;        /* how long an expired row stays before background work reclaims it; 0: a day */
  uint32_t checkpoint_commits; /* checkpoints after so many commits of this handle; 0: when the log asks for it */
  int map_off;                 /* not 0: reads through the block cache instead of mapping the file */
  int create_only;             /* not 0: KVSTORE_BUSY when the file is there already */
  int network_allowed;         /* not 0: opens a file on a network file system: from one machine at a time */
  /* Bound of the store's block cache, bytes; 0: 2,000 pages of 4,096. It holds what is read when the file is not mapped
   * (map_off, encrypted stores) and what was decoded: units of 16 KiB and longer pieces, up to a quarter of it each.
   * What finds no room is read each time; a cache below 66 KiB keeps nothing. Blocks that a call or an iterator stands
   * on may come on top of it. */
  uint64_t cache_bytes;
  int compression; /* KVSTORE_COMPRESSION_*: of what is merged from now on; what is packed already stays readable */
  uint32_t sync_interval_ms; /* KVSTORE_SYNC_BACKGROUND: how soon a commit is on the disk; 0: 100 */
  const void *password; /* opens or makes an encrypted store (kvstore_open_encrypted); NULL: a plain one. Not kept */
  int password_length;
  uint32_t kdf_passes;       /* of Argon2id, for a password that this handle sets; 0: 3 */
  uint64_t kdf_memory_bytes; /* 8 KiB to 1 GiB, passes x memory at most 4 GiB; 0: 64 MiB */
} KVStoreOptions;
#define KVSTORE_OPTIONS_INIT                                                                                          \
  {                                                                                                                   \
    sizeof(KVStoreOptions), KVSTORE_JOURNAL_WAL, KVSTORE_SYNC_NORMAL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, 0, \
      0, 0                                                                                                            \
  }
/* As kvstore_open_v2, with options (NULL: KVSTORE_OPTIONS_INIT). Where the store is open already in this process, what
 * concerns the whole store (journal, log, background, sync interval, map, cache, compression, grace) is as its first
 * opener chose. KVSTORE_UNSUPPORTED: the struct is longer than this library's and its tail is not zero. */
KVSTORE_API int kvstore_open_with(const char *path, KVStore **kv, const KVStoreOptions *options);

/* Another handle on the same store, with the same configuration, its own transaction, messages and statistics. O(1);
 * works for stores in memory. Closed by kvstore_close. */
KVSTORE_API int kvstore_clone(KVStore *kv, KVStore **other);

/* ---- encryption ---- */
/* Opens or makes an encrypted store; otherwise as kvstore_open_v2. All that the store writes is encrypted and
 * authenticated: keys, values, names, schemas, statistics, in the file and in the log. Every handle gives the password,
 * in this process and in others; a clone does not. The password is any bytes, at least one, and is not kept.
 *   KVSTORE_AUTH_FAILED  the store is encrypted by another password; nothing was written
 *   KVSTORE_BUSY         the file holds a plain store that somebody has open
 *   KVSTORE_READONLY     the file holds a plain store, and it is opened for reading
 * A plain store is encrypted in place: its encrypted copy is written beside it (`path-rewrite`), made durable and
 * renamed over it, so that a crash leaves the one or the other. It takes as much room again meanwhile. What the disk
 * still holds of the plain file's former blocks is beyond the store's reach, and so are copies of the file and its
 * other hard links. A process that reads it without the right to write holds nobody up, and goes on with the plain file
 * that it opened. Trying a password takes 64 MiB and some tenths of a second. */
KVSTORE_API int kvstore_open_encrypted(const char *zFilename, const void *pPassword, int nPassword, KVStore **ppKV,
                                       const KVStoreConfig *pConfig);
/* 1 when the handle's store is encrypted, else 0. */
KVSTORE_API int kvstore_is_encrypted(KVStore *pKV);
/* Changes the password: two pages of the file are written, however large it is. From then on the old password opens
 * nothing; handles that are open go on, here and in other processes. After a crash, or a failed write, one of the two
 * passwords opens the store. The data keep their key: who had the old password and a copy of the file from that time
 * can read what is written later too; against that, remove the encryption and set it anew. KVSTORE_ERROR: the store is
 * not encrypted, or the password is empty. */
KVSTORE_API int kvstore_reencrypt(KVStore *pKV, const void *pNewPassword, int nNewPassword);
/* Makes the store a plain one, as kvstore_open_encrypted makes a plain one encrypted: a copy, durable, renamed over it.
 * The handle goes on with it; other calls on the handle wait meanwhile; iterators and cursors that are open go on with
 * what they see. KVSTORE_BUSY: another handle has the store open, or this one a transaction. KVSTORE_ERROR: it is not
 * encrypted. KVSTORE_PROTOCOL: the file was moved or replaced since it was opened, and what lies at its path now is not
 * ours to replace. KVSTORE_READONLY. Should the copy get its name and then fail, this handle reads on and writes
 * nothing more: close it and open the store again. */
KVSTORE_API int kvstore_remove_encryption(KVStore *pKV);

/* Rolls back what is open and closes the handle; the last handle settles the log into the file and removes the side
 * files. Its families, tables, queries and iterators may be closed later; iterators and cursors even go on. A failure
 * is reported, and the handle is gone all the same: then the next open recovers. NULL is allowed. Closing a handle
 * twice is the caller's mistake. */
KVSTORE_API int kvstore_close(KVStore *pKV);

/* ---- messages ---- */
/* The calling thread's last failure on that handle, in a sentence; with NULL its last failure without a handle (an
 * open). "no error" when there was none. Keys that are not found are answers, not failures, and leave no message. The
 * text is the thread's: valid until its next failure on that handle, at least. Remembered for the 8 handles that failed
 * last. */
KVSTORE_API const char *kvstore_errmsg(KVStore *pKV);

typedef struct KVStoreError {
  size_t struct_size; /* set by KVSTORE_ERROR_INIT */
  int code;           /* KVSTORE_OK when nothing failed */
  int64_t row;        /* of the caller's data, from 0; -1: none */
  char text[512];     /* what kvstore_errmsg gives */
  char column[256];   /* "" when the failure names none */
  char value[256];    /* the same */
} KVStoreError;
#define KVSTORE_ERROR_INIT \
  { sizeof(KVStoreError), 0, 0, "", "", "" }
/* Copies the same failure (`kv` may be NULL), with what it names. */
KVSTORE_API int kvstore_error(KVStore *kv, KVStoreError *error);
/* The fixed text and the name ("NOTFOUND") of a code; for any thread, never NULL, never freed. */
KVSTORE_API const char *kvstore_status_text(int code);
KVSTORE_API const char *kvstore_status_name(int code);

/* ---- keys and values of the default family ---- */
/* Inserts or replaces. Keys and values are any bytes. An empty value is legal: `nValue` 0, and `pValue` may be NULL. A
 * key that had a TTL has that of its family afterwards (KVFamilyOptions), or none. Without a transaction of its own,
 * the call is one. KVSTORE_ERROR: a key of 0 or more than KVSTORE_KEY_BYTES_MAX bytes, a value over the limit. */
KVSTORE_API int kvstore_put(KVStore *pKV, const void *pKey, int nKey, const void *pValue, int nValue);
/* The value, on the heap: give it back with kvstore_free. An empty value is KVSTORE_OK, NULL and 0. KVSTORE_NOTFOUND
 * when the key is absent or expired. */
KVSTORE_API int kvstore_get(KVStore *pKV, const void *pKey, int nKey, void **ppValue, int *pnValue);
/* KVSTORE_NOTFOUND when there was no such key, or it had expired. */
KVSTORE_API int kvstore_delete(KVStore *pKV, const void *pKey, int nKey);
/* *pExists is 1 or 0; both are KVSTORE_OK. The value is not read. */
KVSTORE_API int kvstore_exists(KVStore *pKV, const void *pKey, int nKey, int *pExists);

/* ---- expiry ----
 * By the system's clock. When that steps back by up to an hour, a store goes on by the latest time that it has seen, so
 * that nothing that has expired comes back; a clock that was further ahead was wrong, and is forgotten. */
/* Milliseconds since 1970-01-01 UTC. */
KVSTORE_API int64_t kvstore_now_ms(void);
/* As put; the key is gone from `expire_ms` on (absolute; 0: never, whatever the family's default;
 * KVSTORE_EXPIRE_DEFAULT: as kvstore_put). A time that has passed is legal. */
KVSTORE_API int kvstore_put_ttl(KVStore *pKV, const void *pKey, int nKey, const void *pValue, int nValue,
                                int64_t expire_ms);
/* As get; *pnRemaining (may be NULL) is milliseconds, or KVSTORE_NO_TTL. */
KVSTORE_API int kvstore_get_ttl(KVStore *pKV, const void *pKey, int nKey, void **ppValue, int *pnValue,
                                int64_t *pnRemaining);
/* Milliseconds left; KVSTORE_NO_TTL: never expires; 0: has expired and is still there. KVSTORE_NOTFOUND: no such key.
 */
KVSTORE_API int kvstore_ttl_remaining(KVStore *pKV, const void *pKey, int nKey, int64_t *pnRemaining);
/* Deletes every expired key, in one transaction; *pnDeleted (may be NULL) says how many. */
KVSTORE_API int kvstore_purge_expired(KVStore *pKV, int *pnDeleted);
/* Inserts only when the key is absent or expired, atomically. *pInserted (may be NULL) is 1 or 0; both are KVSTORE_OK.
 */
KVSTORE_API int kvstore_put_if_absent(KVStore *pKV, const void *pKey, int nKey, const void *pValue, int nValue,
                                      int64_t expire_ms, int *pInserted);

/* ---- transactions ----
 * A transaction belongs to the handle: calls of any thread on it are inside. Who wants one of its own clones the
 * handle. It covers keys, families and tables: all of it or nothing. */
/* wrflag 1: takes the write lock at once (KVSTORE_BUSY when another handle has it until the busy timeout ends). 0:
 * freezes what the handle sees until commit or rollback, and blocks nobody; writes in it are KVSTORE_ERROR.
 * KVSTORE_ERROR when one is open; that one stays.
 * A transaction larger than the log goes on in the file itself. Should a call that writes fail there when part of its
 * work is done (KVSTORE_LIMIT, KVSTORE_FULL, KVSTORE_NOMEM, KVSTORE_IO), that part can be taken back with the whole
 * transaction alone: until then the transaction sees it, further writes are refused with the same code, and so is the
 * commit, which rolls back. */
KVSTORE_API int kvstore_begin(KVStore *pKV, int wrflag);
/* After KVSTORE_OK the transaction survives the death of the process (SYNC_FULL: of the machine). A failed commit has
 * rolled back. Without a transaction: KVSTORE_OK, and nothing happens. The end of one that reads waits for the calls of
 * other threads that read in it. */
KVSTORE_API int kvstore_commit(KVStore *pKV);
KVSTORE_API int kvstore_rollback(KVStore *pKV);

/* ---- families ----
 * A name has 1 to 255 bytes and does not begin with "__"; tables share the names. Creating and dropping belongs to the
 * open transaction, if there is one. A handle of a dropped family answers KVSTORE_NOTFOUND
 * (kvstore_cf_exists: 0). */
/* KVSTORE_ERROR: a bad name, or one that is taken. */
KVSTORE_API int kvstore_cf_create(KVStore *pKV, const char *zName, KVColumnFamily **ppCF);
/* How a family behaves. Kept in the store; changed in transactions, like data. */
typedef struct KVFamilyOptions {
  size_t struct_size;     /* set by KVSTORE_FAMILY_OPTIONS_INIT */
  int64_t default_ttl_ms; /* what kvstore_cf_put gives to a pair, from the moment of the put on; 0: none */
  int64_t changes_ms;     /* captures changes (kvstore_changes_open), and keeps each for so long; 0: captures none */
  int compression;        /* KVSTORE_COMPRESSION_*: of what is merged from now on; INHERITED: as the store is opened */
} KVFamilyOptions;
#define KVSTORE_FAMILY_OPTIONS_INIT \
  { sizeof(KVFamilyOptions), 0, 0, KVSTORE_COMPRESSION_INHERITED }
/* As kvstore_cf_create, with options (NULL: KVSTORE_FAMILY_OPTIONS_INIT). */
KVSTORE_API int kvstore_cf_create_with(KVStore *kv, const char *name, const KVFamilyOptions *options,
                                       KVColumnFamily **family);
/* What is written from now on obeys these; what is there stays as it is. KVSTORE_NOTFOUND: it has been dropped. */
KVSTORE_API int kvstore_cf_set_options(KVColumnFamily *family, const KVFamilyOptions *options);
KVSTORE_API int kvstore_cf_get_options(KVColumnFamily *family, KVFamilyOptions *options);
/* Another name for the same family, in time that does not depend on its size; open handles stay what they are. Its own
 * name: KVSTORE_OK. KVSTORE_NOTFOUND: no such family; KVSTORE_ERROR: the default family, a bad name, or one that is
 * taken; KVSTORE_SCHEMA: a table. */
KVSTORE_API int kvstore_cf_rename(KVStore *kv, const char *name, const char *new_name);
/* KVSTORE_NOTFOUND: no such family. KVSTORE_SCHEMA: the name is a table's (kvtable_open). */
KVSTORE_API int kvstore_cf_open(KVStore *pKV, const char *zName, KVColumnFamily **ppCF);
/* The family that the functions without cf_ work on. Always there. */
KVSTORE_API int kvstore_cf_get_default(KVStore *pKV, KVColumnFamily **ppCF);
/* Drops a family and all its data. KVSTORE_NOTFOUND; KVSTORE_ERROR: the default family; KVSTORE_SCHEMA: a table. */
KVSTORE_API int kvstore_cf_drop(KVStore *pKV, const char *zName);
/* The names in ascending order, without the default family, tables and hidden ones. Give each name and the array back
 * with kvstore_free. Of no family: KVSTORE_OK, NULL and 0. */
KVSTORE_API int kvstore_cf_list(KVStore *pKV, char ***pazNames, int *pnCount);
/* Releases the handle, not the data. NULL is allowed; also after kvstore_close. */
KVSTORE_API void kvstore_cf_close(KVColumnFamily *pCF);

/* As their namesakes without cf_. */
KVSTORE_API int kvstore_cf_put(KVColumnFamily *pCF, const void *pKey, int nKey, const void *pValue, int nValue);
KVSTORE_API int kvstore_cf_get(KVColumnFamily *pCF, const void *pKey, int nKey, void **ppValue, int *pnValue);
KVSTORE_API int kvstore_cf_delete(KVColumnFamily *pCF, const void *pKey, int nKey);
KVSTORE_API int kvstore_cf_exists(KVColumnFamily *pCF, const void *pKey, int nKey, int *pExists);
KVSTORE_API int kvstore_cf_put_ttl(KVColumnFamily *pCF, const void *pKey, int nKey, const void *pValue, int nValue,
                                   int64_t expire_ms);
KVSTORE_API int kvstore_cf_get_ttl(KVColumnFamily *pCF, const void *pKey, int nKey, void **ppValue, int *pnValue,
                                   int64_t *pnRemaining);
KVSTORE_API int kvstore_cf_ttl_remaining(KVColumnFamily *pCF, const void *pKey, int nKey, int64_t *pnRemaining);
KVSTORE_API int kvstore_cf_purge_expired(KVColumnFamily *pCF, int *pnDeleted);
KVSTORE_API int kvstore_cf_put_if_absent(KVColumnFamily *pCF, const void *pKey, int nKey, const void *pValue,
                                         int nValue, int64_t expire_ms, int *pInserted);
KVSTORE_API int kvstore_cf_clear(KVColumnFamily *pCF);
KVSTORE_API int kvstore_cf_count(KVColumnFamily *pCF, int64_t *pnCount);

/* ---- iterators ----
 * All keys, or those that begin with a prefix, ascending by their bytes (the shorter first); a reverse iterator
 * descends. An iterator shows the store as it was when it was created; inside a write transaction, as the transaction
 * saw it then. Keys that had expired by then are passed over, and deleted, if that needs no waiting and a record of the
 * log has room for it, at the latest when it comes to an end or closes; what expires meanwhile is still shown. It may
 * outlive its handle. One thread at a time.
 *
 * A plain iterator stands nowhere until first, last or seek; a prefix iterator stands on its first key at once. Ends
 * are no errors: ask eof. */
KVSTORE_API int kvstore_iterator_create(KVStore *pKV, KVIterator **ppIter);
KVSTORE_API int kvstore_reverse_iterator_create(KVStore *pKV, KVIterator **ppIter);
/* KVSTORE_ERROR: an empty prefix, or one longer than a key can be. No key with it: KVSTORE_OK, and eof. */
KVSTORE_API int kvstore_prefix_iterator_create(KVStore *pKV, const void *pPrefix, int nPrefix, KVIterator **ppIter);
KVSTORE_API int kvstore_reverse_prefix_iterator_create(KVStore *pKV, const void *pPrefix, int nPrefix,
                                                       KVIterator **ppIter);
KVSTORE_API int kvstore_cf_iterator_create(KVColumnFamily *pCF, KVIterator **ppIter);
KVSTORE_API int kvstore_cf_reverse_iterator_create(KVColumnFamily *pCF, KVIterator **ppIter);
KVSTORE_API int kvstore_cf_prefix_iterator_create(KVColumnFamily *pCF, const void *pPrefix, int nPrefix,
                                                  KVIterator **ppIter);
KVSTORE_API int kvstore_cf_reverse_prefix_iterator_create(KVColumnFamily *pCF, const void *pPrefix, int nPrefix,
                                                          KVIterator **ppIter);
/* A part of a family, in either direction. Bounds and prefix are bytes, compared as keys are; they are copied. */
typedef struct KVIteratorOptions {
  size_t struct_size; /* set by KVSTORE_ITERATOR_OPTIONS_INIT */
  int reverse;        /* not 0: descends, by last and prev */
  int prefix_length;
  const void *prefix; /* keys that begin so; length 0: all */
  const void *lower;  /* keys >= this, it itself included; length 0: from the first */
  const void *upper;  /* keys < this, it itself left out; length 0: to the last */
  int lower_length;
  int upper_length;
} KVIteratorOptions;
#define KVSTORE_ITERATOR_OPTIONS_INIT \
  { sizeof(KVIteratorOptions), 0, 0, NULL, NULL, NULL, 0, 0 }
/* An iterator over the keys that are within the bounds and have the prefix (NULL: all keys, ascending). It stands on
 * its first key, the last one when it descends, at once; first, last and seek stay inside: a seek to a key before the
 * range goes to its first key (in the iterator's direction), one behind it is eof. KVSTORE_ERROR: a lower bound above
 * the upper one, a bound or prefix longer than a key can be. KVSTORE_UNSUPPORTED: as kvstore_open_with. */
KVSTORE_API int kvstore_iterator_create_with(KVStore *kv, const KVIteratorOptions *options, KVIterator **iterator);
KVSTORE_API int kvstore_cf_iterator_create_with(KVColumnFamily *family, const KVIteratorOptions *options,
                                                KVIterator **iterator);
/* To the first key, and on to the next: of forward iterators. At the end, next stays there. KVSTORE_ERROR: a reverse
 * one. */
KVSTORE_API int kvstore_iterator_first(KVIterator *pIter);
KVSTORE_API int kvstore_iterator_next(KVIterator *pIter);
/* To the last key, and on to the one before: of reverse iterators. KVSTORE_ERROR: a forward one. */
KVSTORE_API int kvstore_iterator_last(KVIterator *pIter);
KVSTORE_API int kvstore_iterator_prev(KVIterator *pIter);
/* Forward: to the first key >= the given one; reverse: to the last key <= it. When that key does not begin with the
 * prefix of a prefix iterator, or lies outside bounds: eof. */
KVSTORE_API int kvstore_iterator_seek(KVIterator *pIter, const void *pKey, int nKey);
/* 1 when it stands on no key, else 0. NULL: 1. */
KVSTORE_API int kvstore_iterator_eof(KVIterator *pIter);
/* The iterator's bytes: not to be freed, valid until it moves or closes. KVSTORE_ERROR at eof. An empty value is
 * KVSTORE_OK, NULL and 0. */
KVSTORE_API int kvstore_iterator_key(KVIterator *pIter, void **ppKey, int *pnKey);
KVSTORE_API int kvstore_iterator_value(KVIterator *pIter, void **ppValue, int *pnValue);
/* NULL is allowed; also after kvstore_close. */
KVSTORE_API void kvstore_iterator_close(KVIterator *pIter);

/* ---- many keys, and values in place ---- */
typedef struct KVLookup {
  const void *key;      /* in */
  int key_length;       /* in */
  int status;           /* KVSTORE_OK; KVSTORE_NOTFOUND: absent or expired; KVSTORE_ERROR: no key is like that */
  const void *value;    /* in the block that the call gave; NULL when it is empty or not found */
  int value_length;     /* 0 when not found */
  int reserved;         /* 0 */
  int64_t remaining_ms; /* KVSTORE_NO_TTL: never expires; 0 when not found */
} KVLookup;
/* Looks up `count` keys, any of them more than once, at one moment, faster than one by one: what they need of memory is
 * asked for in groups. Each answer is in its place; a key that is not found is none of the call's failures. *values is
 * one heap block that holds all the values; give it back with kvstore_free (NULL is allowed), and they go with it. The
 * statistics count as for so many gets. */
KVSTORE_API int kvstore_get_many(KVStore *kv, KVLookup *lookups, size_t count, void **values);
KVSTORE_API int kvstore_cf_get_many(KVColumnFamily *family, KVLookup *lookups, size_t count, void **values);

/* As kvstore_get, without a copy: the bytes lie in the file's mapping, or in the memory of the newest rows, and stay as
 * they are until the release, whatever is written, deleted, merged or closed meanwhile. (Stores that are not mapped
 * give a block of the cache.) Until then the space of what is deleted meanwhile is not used again: hold them for a
 * while, not for ever. It costs about half a microsecond more than a get of a small value, and nothing for the length.
 */
KVSTORE_API int kvstore_get_pinned(KVStore *kv, const void *key, int key_length, KVPinned **pinned);
KVSTORE_API int kvstore_cf_get_pinned(KVColumnFamily *family, const void *key, int key_length, KVPinned **pinned);
/* The bytes, not to be written; an empty value is NULL and 0. Any thread. */
KVSTORE_API const void *kvstore_pinned_value(const KVPinned *pinned, int *length);
/* Any thread. NULL is allowed; also after kvstore_close: a value may outlive its handle. */
KVSTORE_API void kvstore_pinned_release(KVPinned *pinned);

/* ---- snapshots ----
 * Everything as it was when the snapshot was made: all families and tables, for reading, from any threads at once,
 * beside writes and transactions of the handle. Made and held in O(1). Time goes on in it: a key expires there too, and
 * what has expired is left where it is. Inside a write transaction it is made of what the transaction saw; after its
 * rollback every read fails with KVSTORE_ERROR.
 *
 * What it holds back is the space, in the file and of newest rows in memory, of what was replaced since; nothing else
 * waits for it, least of all writers and checkpoints. It lives until its release: kvstore_close neither waits for it
 * nor ends it. It goes on then, on the file that the close left, and keeps the store's memory; only queries at it need
 * their handle open. `family` NULL is the default family; a family of another handle on the same store is as good. */
KVSTORE_API int kvstore_snapshot_create(KVStore *kv, KVSnapshot **snapshot);
/* NULL is allowed; also after kvstore_close. No call may be inside; iterators and pinned values made from it live on.
 */
KVSTORE_API void kvstore_snapshot_release(KVSnapshot *snapshot);
/* A family by the name that it had then, dropped since or not. KVSTORE_NOTFOUND, KVSTORE_SCHEMA: as kvstore_cf_open. */
KVSTORE_API int kvstore_snapshot_cf_open(KVSnapshot *snapshot, const char *name, KVColumnFamily **family);
/* As kvstore_get_ttl; `remaining_ms` may be NULL. */
KVSTORE_API int kvstore_snapshot_get(KVSnapshot *snapshot, KVColumnFamily *family, const void *key, int key_length,
                                     void **value, int *value_length, int64_t *remaining_ms);
KVSTORE_API int kvstore_snapshot_get_many(KVSnapshot *snapshot, KVColumnFamily *family, KVLookup *lookups, size_t count,
                                          void **values);
KVSTORE_API int kvstore_snapshot_get_pinned(KVSnapshot *snapshot, KVColumnFamily *family, const void *key,
                                            int key_length, KVPinned **pinned);
KVSTORE_API int kvstore_snapshot_exists(KVSnapshot *snapshot, KVColumnFamily *family, const void *key, int key_length,
                                        int *there);
KVSTORE_API int kvstore_snapshot_ttl_remaining(KVSnapshot *snapshot, KVColumnFamily *family, const void *key,
                                               int key_length, int64_t *remaining_ms);
KVSTORE_API int kvstore_snapshot_count(KVSnapshot *snapshot, KVColumnFamily *family, int64_t *keys);
/* As kvstore_iterator_create_with. */
KVSTORE_API int kvstore_snapshot_iterator_create(KVSnapshot *snapshot, KVColumnFamily *family,
                                                 const KVIteratorOptions *options, KVIterator **iterator);

/* ---- compare and swap ----
 * Writes only when the value is what the caller expects, atomically against every other writer. An expired key is an
 * absent one. */
#define KVSTORE_ABSENT (-1) /* as a length: there is no such key; there is to be none */
/* When the key's value is `expected` (`expected_length` KVSTORE_ABSENT: when it has none), stores `value`, to expire at
 * `expire_ms` (0: never); `value_length` KVSTORE_ABSENT: deletes the key. *swapped is 1, or 0 when the value was
 * another and nothing was changed; both are KVSTORE_OK. Counts as a put or a delete when it changed something. */
KVSTORE_API int kvstore_compare_and_swap(KVStore *kv, const void *key, int key_length, const void *expected,
                                         int expected_length, const void *value, int value_length, int64_t expire_ms,
                                         int *swapped);
KVSTORE_API int kvstore_cf_compare_and_swap(KVColumnFamily *family, const void *key, int key_length,
                                            const void *expected, int expected_length, const void *value,
                                            int value_length, int64_t expire_ms, int *swapped);

/* ---- ranges ----
 * Deleting many keys in one transaction. The cost is that of the keys: each row of the range is read once, and each
 * gets a tombstone, so that snapshots from before go on showing it; while it lasts, other writers wait. Transactions
 * larger than the log are fine. All keys of a family: kvstore_clear, whose time does not depend on their number. */
/* Deletes the keys from `lower` on (itself included) and before `upper` (itself left out); a bound of length 0 is none.
 * *deleted (may be NULL) says how many there were; expired ones go too, and are not counted. KVSTORE_ERROR: a lower
 * bound above the upper one; equal ones are an empty range. */
KVSTORE_API int kvstore_delete_range(KVStore *kv, const void *lower, int lower_length, const void *upper,
                                     int upper_length, int64_t *deleted);
KVSTORE_API int kvstore_cf_delete_range(KVColumnFamily *family, const void *lower, int lower_length, const void *upper,
                                        int upper_length, int64_t *deleted);
/* Deletes the keys that begin with the prefix. KVSTORE_ERROR: an empty one. */
KVSTORE_API int kvstore_delete_prefix(KVStore *kv, const void *prefix, int prefix_length, int64_t *deleted);
KVSTORE_API int kvstore_cf_delete_prefix(KVColumnFamily *family, const void *prefix, int prefix_length,
                                         int64_t *deleted);

/* ---- batches ----
 * Changes to any families of one store, gathered in memory and written together: all or nothing, in one transaction of
 * one log record. Inside the handle's open transaction a batch is one statement of it. They are applied in the order in
 * which they were added, each seeing those before it. What cannot be written is refused when it is added, and leaves
 * the batch as it was. A batch belongs to one thread at a time. `family` NULL: the default family. */
/* An empty batch on a handle; it may outlive the handle, but then writes no more. */
KVSTORE_API int kvstore_batch_create(KVStore *kv, KVBatch **batch);
/* Key and value are copied. The same arguments and refusals as kvstore_put_ttl; `expire_ms` 0: never. KVSTORE_ERROR: a
 * family of another handle. */
KVSTORE_API int kvstore_batch_put(KVBatch *batch, KVColumnFamily *family, const void *key, int key_length,
                                  const void *value, int value_length);
KVSTORE_API int kvstore_batch_put_ttl(KVBatch *batch, KVColumnFamily *family, const void *key, int key_length,
                                      const void *value, int value_length, int64_t expire_ms);
/* A key that is not there is no failure of a batch. */
KVSTORE_API int kvstore_batch_delete(KVBatch *batch, KVColumnFamily *family, const void *key, int key_length);
/* As kvstore_delete_range, at this place of the batch. */
KVSTORE_API int kvstore_batch_delete_range(KVBatch *batch, KVColumnFamily *family, const void *lower, int lower_length,
                                           const void *upper, int upper_length);
/* How many changes it holds; 0 for NULL. */
KVSTORE_API size_t kvstore_batch_count(const KVBatch *batch);
/* Writes them; *deleted (may be NULL) says how many keys its deletes found. The batch keeps them: it may be written
 * again. KVSTORE_NOTFOUND: one of its families has been dropped. An empty batch is KVSTORE_OK. */
KVSTORE_API int kvstore_batch_write(KVBatch *batch, int64_t *deleted);
/* Empties it, for other changes. */
KVSTORE_API int kvstore_batch_clear(KVBatch *batch);
/* NULL is allowed; also after kvstore_close. What was not written is forgotten. */
KVSTORE_API void kvstore_batch_close(KVBatch *batch);

/* ---- all keys of a family at once ---- */
/* Deletes every key of the default family, in one transaction, in time that does not depend on their number. Open
 * iterators keep what they show. */
KVSTORE_API int kvstore_clear(KVStore *pKV);
/* Keys, the open transaction's own writes included, and those that have expired but were neither touched nor purged. */
KVSTORE_API int kvstore_count(KVStore *pKV, int64_t *pnCount);

/* ---- bulk loads ----
 * Many pairs at once, in any order: they are sorted with bounded memory and written as runs of the file, beside readers
 * and writers, and become visible in one instant, with the commit. Of equal keys the last one wins, over what the
 * family held too. A load that has committed is durable, at every sync level; one that has failed or was aborted, or
 * whose process died, has changed nothing. While it lasts it takes up to twice its size in the file, and an eighth
 * more when others write to it meanwhile.
 *
 *   KVBulkLoad *load = NULL;
 *   kvstore_bulk_load_begin(kv, NULL, NULL, &load);
 *   while (...) kvstore_bulk_load_add(load, key, key_length, value, value_length, 0);
 *   kvstore_bulk_load_commit(load, &count);
 *
 * A load belongs to one thread at a time; closing the store ends it. */
typedef struct KVBulkOptions {
  size_t struct_size;  /* set by KVSTORE_BULK_OPTIONS_INIT */
  size_t memory_bytes; /* for pairs that wait to be sorted; 0: 64 MiB; at least 64 KiB are taken */
  int sorted;          /* not 0: the keys never descend, and one that does is an error */
  int reserved;        /* 0 */
} KVBulkOptions;
#define KVSTORE_BULK_OPTIONS_INIT \
  { sizeof(KVBulkOptions), 0, 0, 0 }

/* `family` NULL: the default family. `options` NULL: KVSTORE_BULK_OPTIONS_INIT. KVSTORE_READONLY. */
KVSTORE_API int kvstore_bulk_load_begin(KVStore *kv, KVColumnFamily *family, const KVBulkOptions *options,
                                        KVBulkLoad **load);
/* Copies one pair; `expire_ms` as kvstore_put_ttl. After any failure (KVSTORE_ERROR: a key or value of a size that is
 * not allowed, a key out of the order that was promised) the load has failed: every later call on it is KVSTORE_ERROR,
 * and nothing of it is kept. */
KVSTORE_API int kvstore_bulk_load_add(KVBulkLoad *load, const void *key, int key_length, const void *value,
                                      int value_length, int64_t expire_ms);
/* Ends the load and gives it back, whatever it returns: all pairs become part of the handle's open write transaction,
 * or are one of their own (KVSTORE_BUSY as kvstore_put). *loaded (may be NULL): how many keys. */
KVSTORE_API int kvstore_bulk_load_commit(KVBulkLoad *load, int64_t *loaded);
/* Forgets all of it and gives it back. NULL is allowed; also after kvstore_close. */
KVSTORE_API void kvstore_bulk_load_abort(KVBulkLoad *load);

typedef struct KVPair {
  const void *key;
  const void *value; /* may be NULL when value_length is 0 */
  int key_length, value_length;
  int64_t expire_ms; /* as kvstore_put_ttl: 0 is never */
} KVPair;
/* All of the above for pairs that lie in an array. */
KVSTORE_API int kvstore_bulk_load(KVStore *kv, KVColumnFamily *family, const KVPair *pairs, size_t count,
                                  const KVBulkOptions *options, int64_t *loaded);

/* ---- changes ----
 * What was committed to a family whose options say `changes_ms`, in the order of the commits: for caches, indexes and
 * copies that follow a store, from another process too. A change is captured in the transaction that makes it, so
 * none is there that was rolled back, none is missing, and what a power cut took is in neither. It takes its room in
 * the file until it is `changes_ms` old; later writes to the family, and kvstore_maintain, take it away.
 *
 * Below KVSTORE_SYNC_FULL a power cut may take commits that a follower has seen, and what is committed then gets their
 * sequences again; so does what is committed to a backup that takes the place of its store. A follower that must stay
 * right behind a power cut calls kvstore_sync after it has read, and keeps its position then; behind a backup it begins
 * anew.
 *
 *   KVChanges *changes = NULL;
 *   KVChange change = KVSTORE_CHANGE_INIT;
 *   kvstore_changes_open(kv, NULL, position, &changes);
 *   while (kvstore_changes_next(changes, &change) == KVSTORE_OK) { ... position = change.sequence; }
 *
 * Puts of any kind, bulk loads among them, deletes, deleted ranges (each key) and kvstore_clear are changes; that a
 * pair expires is none: its put said when. Changes belong to one thread at a time, and hold nothing of the store
 * between two calls. */
typedef struct KVChanges KVChanges; /* a place among the changes of a family */

#define KVSTORE_CHANGE_PUT    1
#define KVSTORE_CHANGE_DELETE 2
#define KVSTORE_CHANGE_CLEAR  3 /* of all keys */

#define KVSTORE_CHANGES_OLDEST (-1) /* behind everything that is not kept any more */
#define KVSTORE_CHANGES_NEWEST (-2) /* behind everything that is committed now */

typedef struct KVChange {
  size_t struct_size;  /* set by KVSTORE_CHANGE_INIT */
  int kind;            /* KVSTORE_CHANGE_* */
  int key_length;      /* 0 of a clear */
  int64_t sequence;    /* rises from change to change: the position to go on from */
  int64_t transaction; /* the same for all changes of a transaction, which lie together */
  int64_t time_ms;     /* when it was made, by the clock of kvstore_now_ms */
  int64_t expire_ms;   /* of a put; 0: never */
  const void *key;     /* the cursor's bytes, until its next call */
  const void *value;   /* the same; of a put, NULL when it is empty */
  int value_length;
} KVChange;
#define KVSTORE_CHANGE_INIT \
  { sizeof(KVChange), 0, 0, 0, 0, 0, 0, NULL, NULL, 0 }

/* `family` NULL: the default family. `after`: the `sequence` of the last change that the caller has seen, or one of the
 * above. KVSTORE_GONE: the family captures none, or changes behind `after` may have been taken away, or the store has
 * not come so far (a copy of an older state): begin anew with what the family holds now. */
KVSTORE_API int kvstore_changes_open(KVStore *kv, KVColumnFamily *family, int64_t after, KVChanges **changes);
/* The next committed change. KVSTORE_NOTFOUND: there is none yet; ask again later. KVSTORE_GONE: as above, never a gap.
 */
KVSTORE_API int kvstore_changes_next(KVChanges *changes, KVChange *change);
/* Where it stands: what an open goes on from. */
KVSTORE_API int64_t kvstore_changes_position(const KVChanges *changes);
/* NULL is allowed; also after kvstore_close. */
KVSTORE_API void kvstore_changes_close(KVChanges *changes);

/* ---- care ---- */
/* When it returns, everything committed is on the disk, at every sync level. An open transaction stays open. */
KVSTORE_API int kvstore_sync(KVStore *pKV);
/* Verifies everything that can be: superblocks, manifest, checksums, every structure; columns that are kept over pairs
 * against these. On KVSTORE_CORRUPT *pzErrMsg (may be NULL) says what, to be given back with kvstore_free; else it is
 * NULL. */
KVSTORE_API int kvstore_integrity_check(KVStore *pKV, char **pzErrMsg);
/* Moves what the log holds into the file. `mode`: PASSIVE waits for no writer and leaves what one keeps open; FULL and
 * RESTART wait for writers as long as the busy timeout says (KVSTORE_BUSY); TRUNCATE then cuts the log's file to 0
 * bytes (a log inside the store's file becomes free space), and the next write begins another. *pnLog and *pnCkpt (may
 * be NULL) are pages of 4,096 bytes: in the log, and how many of them are settled now; 0 and 0 behind TRUNCATE.
 * KVSTORE_BUSY inside the handle's own write transaction. */
KVSTORE_API int kvstore_checkpoint(KVStore *pKV, int mode, int *pnLog, int *pnCkpt);
/* Shrinks the file: gives back at most nPage pages of 4,096 bytes of its end, 0: all that it can. Settles what is
 * committed, rewrites what holds deleted, overwritten or long expired rows, and moves what lies behind; as far as that
 * is needed. Readers and writers go on; what a snapshot or an iterator still reads stays. KVSTORE_BUSY inside the
 * handle's own write transaction. */
KVSTORE_API int kvstore_incremental_vacuum(KVStore *pKV, int nPage);
/* Copies everything that was committed before the call into a store of its own at `path`, which is then one file, whole
 * and closed: it is written beside the target (`path-backup`), synced and renamed over it, so that a crash leaves what
 * was there before, or the backup. Others read and write meanwhile. A backup of an encrypted store has its password,
 * and every backup has the rights of the store's file.
 * KVSTORE_BUSY: inside the handle's own write transaction, when another handle's is not over by the end of the busy
 * timeout, or `path` is an open store. KVSTORE_ERROR: `path` is this very store, a side
 * file of its or a file that is no store. KVSTORE_NOTFOUND: no such directory. A symbolic link at `path` stays: the
 * file that it leads to is replaced. KVSTORE_READONLY on a handle that only reads. */
KVSTORE_API int kvstore_backup(KVStore *kv, const char *path);
/* Called after every MiB with the bytes copied so far and the bytes there are, on the thread that asked for the backup;
 * it must not close the handle. Not 0: the backup ends with KVSTORE_CANCELLED, and `path` is as it was. */
typedef int (*KVStoreProgress)(void *context, uint64_t done, uint64_t total);
KVSTORE_API int kvstore_backup_with(KVStore *kv, const char *path, KVStoreProgress progress, void *context);
/* Does the background work there is: flushes (also of rows in memory, when they are many), merges of runs (which leave
 * behind what has expired longer than the grace ago; some before they are due, so that reads and walks meet one layer),
 * resolving, making columns over pairs (kvtable_declare; unless a transaction is open), shortening a file that is
 * longer than what it holds; for stores opened with background_off, and before a time of reading. KVSTORE_READONLY on a
 * handle that only reads. */
KVSTORE_API int kvstore_maintain(KVStore *kv);

/* Counted per handle from its open or the last reset, but for nDbPages. */
typedef struct KVStoreStats {
  uint64_t nPuts;         /* puts that stored something: put, put_ttl, put_if_absent that inserted, of batches too */
  uint64_t nGets;         /* gets that found their key */
  uint64_t nDeletes;      /* deletes that found their key; keys that ranges and batches deleted */
  uint64_t nIterations;   /* iterators created */
  uint64_t nErrors;       /* failed calls; a key that is not found is no failure */
  uint64_t nBytesRead;    /* bytes of the values that gets returned */
  uint64_t nBytesWritten; /* bytes of the keys and values of the puts */
  uint64_t nWalCommits;   /* write transactions committed, single puts and deletes included */
  uint64_t nCheckpoints;  /* checkpoints by this handle */
  uint64_t nTtlExpired;   /* keys found expired by get, exists and ttl_remaining */
  uint64_t nTtlPurged;    /* keys removed by purge_expired */
  uint64_t nDbPages;      /* a gauge: the file's size in pages of 4,096 bytes */
} KVStoreStats;
KVSTORE_API int kvstore_stats(KVStore *pKV, KVStoreStats *pStats);
KVSTORE_API int kvstore_stats_reset(KVStore *pKV);

typedef struct KVStoreInfo {
  size_t struct_size;      /* set by KVSTORE_INFO_INIT */
  uint32_t format;         /* number of the file's format */
  uint32_t reserved;       /* 0 */
  uint64_t generation;     /* of the manifest: rises with every checkpoint and merge */
  uint64_t sequence;       /* of the newest commit */
  uint64_t file_bytes;     /* of `path` */
  uint64_t log_bytes;      /* capacity of the log */
  uint64_t log_bytes_used; /* of it, not yet settled in the file */
  uint64_t extent_bytes;   /* of the file: what the manifest names */
  uint64_t limbo_bytes;    /* of the file: freed, and still readable by someone */
  uint64_t family_count;   /* tables and the default family included */
} KVStoreInfo;
#define KVSTORE_INFO_INIT \
  { sizeof(KVStoreInfo), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
/* Facts about the whole store. */
KVSTORE_API int kvstore_info(KVStore *kv, KVStoreInfo *info);

/* Memory that the store holds in this process, bytes, all its handles together.
 *
 * Rows that were committed and not yet flushed lie in memory and in the log, which is bounded: at half of it, or at
 * 64 MiB or 65,536 rows of a family, they are flushed, and a writer who comes to its end waits. So all that is held
 * stays below
 *     cache_bytes_max + 6 * log_bytes (of the options) + 32 MiB + a hundredth of the file
 * whatever is written and read, leaving out what open iterators, snapshots and other calls keep, and values that pass
 * by. */
typedef struct KVStoreMemoryUsage {
  size_t struct_size;          /* set by KVSTORE_MEMORY_USAGE_INIT */
  uint64_t delta_bytes;        /* rows that are not in the file's runs yet, and their indexes */
  uint64_t run_bytes;          /* what open runs keep in memory: directories, fences, bits of what was verified */
  uint64_t version_bytes;      /* versions of the store, manifests, deleted sets, and the store itself */
  uint64_t log_bytes;          /* the open transaction's record, and what was read ahead of the log */
  uint64_t cache_bytes;        /* the block cache: at most cache_bytes_max */
  uint64_t cache_pinned_bytes; /* blocks beside it that a call or an iterator stands on */
  uint64_t cache_bytes_max;    /* its bound; not held */
  uint64_t total_bytes;        /* all of the above but the bound */
  uint64_t mapped_bytes;       /* of the file: the system's page cache, not the process's memory; not in the total */
} KVStoreMemoryUsage;
#define KVSTORE_MEMORY_USAGE_INIT \
  { sizeof(KVStoreMemoryUsage), 0, 0, 0, 0, 0, 0, 0, 0, 0 }
KVSTORE_API int kvstore_memory_usage(KVStore *kv, KVStoreMemoryUsage *usage);

/* ---- memory ----
 * The allocator of everything that this library hands out. Any thread. */
/* `size` zeroed bytes; NULL when there is no memory. */
KVSTORE_API void *kvstore_malloc(size_t size);
/* As realloc: NULL leaves `pointer` as it was. */
KVSTORE_API void *kvstore_realloc(void *pointer, size_t size);
/* A copy; NULL for NULL, and when there is no memory. */
KVSTORE_API char *kvstore_strdup(const char *text);
/* NULL is allowed. */
KVSTORE_API void kvstore_free(void *pointer);

#define sqliteMalloc(n)     kvstore_malloc((size_t)(n))
#define sqliteFree(p)       kvstore_free(p)
#define sqliteRealloc(p, n) kvstore_realloc((p), (size_t)(n))
#define sqliteStrDup(s)     kvstore_strdup(s)
#define snkv_malloc(n)      kvstore_malloc((size_t)(n))
#define snkv_free(p)        kvstore_free(p)

#ifdef __cplusplus
}
#endif
#endif
