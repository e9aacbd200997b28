/* wal.h - the write-ahead log: a bounded ring of records in one file (protocol LOG-1 to LOG-8).
 *
 * The ring lies at a base offset of an OsFile: 0 of path-wal, or the offset of an extent of the store's own file
 * (journal mode DELETE). wal/ knows positions, chains and bytes. It knows no processes: the shared page (start, end,
 * synced), the locks, and when to sync belong to the engine.
 *
 *   base                base + 4096                                        base + 4096 + capacity
 *   | header | header' |  ring: position p lies at offset p mod capacity         |
 *
 * Header: two slots, at 0 and 2048, written in turn, so that a torn write leaves the other; the valid one with the
 * higher oldest generation counts.
 *
 *   OFFSET  SIZE  MEANING
 *        0     8  magic "CLNDLOG1"
 *        8     4  format number: 0
 *       12     4  features that a reader must understand: 0
 *       16     8  log id: random, not 0
 *       24     8  capacity: bytes of the ring, a multiple of 4096
 *       32     8  oldest generation of the store that may replay this log
 *       40     8  checksum of bytes 0..40
 *       48        zeros
 *
 * Positions count bytes from the log's birth and only rise. A record never wraps: where it does not fit before the
 * ring's end, a filler record takes what is left there, and where less than RECORD_BREAK_BYTES are left nothing lies:
 * the next record begins a new lap. So a break fits at every position where a record may begin.
 *
 * Threads: wal_append, wal_append_break, wal_rewrite_tail and wal_raise_oldest by one thread of one process at a time
 * (the write lock; maintenance for the last); everything else by any thread, each with its own cursor and window. */
#ifndef COLONNADE_WAL_WAL_H
#define COLONNADE_WAL_WAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"
#include "os/os.h"
#include "wal/record.h"

#define WAL_HEADER_BYTES       4096u
#define WAL_RESERVE_BYTES      4096u /* of the ring, kept free for boundary, filler and break */
#define WAL_BOUNDARY_BYTES_MAX 1024u /* it and its filler fit the reserve, and 20 breaks beside them */
#define WAL_CAPACITY_MIN       (16u << 10)
#define WAL_CAPACITY_MAX       (UINT64_C(8) << 30) /* lengths of records are u32 */
#define WAL_ZERO_AHEAD_BYTES   (1u << 20)          /* how far the first lap is zeroed ahead */
#define WAL_END_UNKNOWN        UINT64_MAX

typedef struct Wal Wal; /* process-private; borrows the file */

/* A point between two records. The zero value is no cursor; the first one of a log is wal_first. */
typedef struct WalCursor {
  uint64_t position; /* where the next record begins */
  uint64_t sequence; /* the next record's first */
  uint64_t checksum; /* of the record before */
} WalCursor;

/* ---- life ---- */

/* Makes a log with a new random id: writes both header slots and syncs them. With base 0 the file is the log's own:
 * it is cut to nothing first, and grows (allocated and zeroed a MiB ahead) during the first lap. With another base
 * the whole extent is zeroed now. Capacity: a multiple of 4096 from WAL_CAPACITY_MIN to WAL_CAPACITY_MAX
 * (KVSTORE_ERROR else). The caller syncs the directory. `file` must outlive the Wal. On an error *wal is NULL; what
 * is in the file then is no log. */
Status wal_create(OsFile *file, uint64_t base, uint64_t capacity, uint64_t oldest_generation, Wal **wal) MUST_CHECK;
/* Opens what wal_create made. KVSTORE_CORRUPT when no header slot is valid or the capacity cannot be (an extent of the
 * store's file must hold it whole; the log's own file may still be in its first lap), KVSTORE_UNSUPPORTED for a newer
 * format. The caller compares wal_log_id with what its superblock names, and wal_oldest with its generation (LOG-4). */
Status wal_open(OsFile *file, uint64_t base, Wal **wal) MUST_CHECK;
/* Frees the object, not the file; NULL is allowed. */
void wal_close(Wal *wal);

uint64_t wal_log_id(const Wal *wal);
uint64_t wal_capacity(const Wal *wal);
/* Bytes that a log of this capacity takes in its file or extent. */
static inline uint64_t wal_file_bytes(uint64_t capacity) { return WAL_HEADER_BYTES + capacity; }
/* The header's oldest generation, read anew (another process may have raised it). */
Status wal_oldest(const Wal *wal, uint64_t *generation) MUST_CHECK;
/* LOG-4: writes the other header slot and syncs. Never lowers: an equal or older generation changes nothing. */
Status wal_raise_oldest(Wal *wal, uint64_t generation) MUST_CHECK;

/* Where the first record of a new log goes; `sequence` is its first. */
WalCursor wal_first(const Wal *wal, uint64_t sequence);

/* ---- room ---- (start: the oldest position still needed; end: the position after the last record) */

/* Bytes free for transactions: the reserve is taken off already. 0 when there are none. */
uint64_t wal_room(const Wal *wal, uint64_t start, uint64_t end);
/* Would a whole record of `length` bytes (header included) go in at `end`, with the filler that it may need?
 * Boundaries and breaks may use the reserve. */
bool wal_fits(const Wal *wal, uint64_t start, uint64_t end, RecordKind kind, uint64_t length);
/* The longest record that wal_append takes: a quarter of the ring and 256 KiB, at most what an empty ring always
 * takes. */
uint64_t wal_record_bytes_max(const Wal *wal);
/* Where a record of `length` bytes (a multiple of 16) appended at `end` will lie: behind the filler, if it needs one.
 */
uint64_t wal_place(const Wal *wal, uint64_t end, uint64_t length);

/* ---- writing ---- */

typedef struct WalAppend {
  RecordKind kind;         /* transaction or boundary */
  uint32_t sequence_count; /* sequences that its operations take */
  uint64_t start;          /* the oldest position still needed: nothing at or after it is overwritten */
  uint64_t synced;         /* the position up to which the log is known durable */
  /* Of a sealed log, else NULL: called with the record whole but for its seal and checksum, encrypts it in place. */
  Status (*seal)(void *context, uint8_t *record, size_t length);
  void *context;
} WalAppend;

/* Finishes the header of a record that record_begin and record_append_* built, and writes it at *tail with one pwrite
 * (after a filler where the ring ends: one more). Syncs nothing. On success *tail names the point after it, and
 * *position (NULL is allowed) where it begins. On an error *tail is as it was and whatever was written lies past the
 * committed end, where the next append overwrites it.
 * KVSTORE_FULL: no room before `start`, or no space on the device; KVSTORE_LIMIT: longer than wal_record_bytes_max (the
 * engine adopts runs instead, LOG-8), or a boundary longer than WAL_BOUNDARY_BYTES_MAX; KVSTORE_NOMEM: the buffer had
 * failed; what `seal` returned. On a failure a sealed record's operations are lost. */
Status wal_append(Wal *wal, WalCursor *tail, Buffer *record, const WalAppend *how, uint64_t *position) MUST_CHECK;
/* LOG-3, after a recovery and before anything else is appended: a record of 16 random bytes at *tail, so that no
 * record of a lost future can continue what was recovered. Takes no sequence. Every recovery that writes one without
 * a checkpoint behind it eats RECORD_BREAK_BYTES of the reserve: check wal_fits for a boundary after it, and
 * checkpoint when short. */
Status wal_append_break(Wal *wal, WalCursor *tail, uint64_t start, uint64_t synced) MUST_CHECK;
/* LOG-7, after a replay and before the first synced commit: writes the bytes of [from, to) again as they are, since the
 * kernel may believe them clean after a sync that failed in a former process. Syncs nothing. */
Status wal_rewrite_tail(Wal *wal, uint64_t from, uint64_t to) MUST_CHECK;
/* One fdatasync, counted (log_syncs; so are those of wal_create and wal_raise_oldest). Any thread. It covers every
 * append that returned before it was called. */
Status wal_sync(Wal *wal) MUST_CHECK;

/* ---- reading ---- */

typedef struct WalRecord {
  RecordHeader header;
  Bytes whole;      /* the record with its header, for who unseals */
  Bytes operations; /* empty for filler and break; still encrypted when header.flags has RECORD_SEALED */
} WalRecord;

/* Read-ahead of one reader. Zero-initialise; wal_window_release at the end. A window holds only bytes below the end
 * that was known when they were read, so it stays right while the log grows; it must be released, or used with rising
 * positions only, on the same Wal. */
typedef struct WalWindow {
  Buffer bytes;
  uint64_t from, to; /* the positions held */
} WalWindow;

void wal_window_release(WalWindow *window);

/* A follower: reads and verifies the record at *at and steps over it. `end` is the committed end of the log and must be
 * above at->position. *out is borrowed from the window until its next use. Every kind of record is given; fillers and
 * breaks have no operations. KVSTORE_CORRUPT when the record is not the one that continues the chain, or passes `end`:
 * *at is then unchanged, and the caller looks at the page's start first (LOG-6): passed, it was only too slow. */
Status wal_read(const Wal *wal, WalCursor *at, uint64_t end, WalWindow *window, WalRecord *out) MUST_CHECK;

/* Where nothing says how far the log reaches: does a record that names this very place lie at `at`? It need not be
 * whole. A failed read says no. */
bool wal_continues(const Wal *wal, const WalCursor *at) MUST_CHECK;

/* Applies a transaction or a boundary. `record` is borrowed for the call. A status other than KVSTORE_OK ends the
 * replay and is what wal_recover returns. */
typedef Status (*WalApply)(void *context, const WalRecord *record);

typedef struct WalRecovery {
  WalCursor tail;        /* where the log ends, and the break goes */
  uint64_t record_count; /* transactions and boundaries applied */
  bool torn;             /* at the tail begins a record of this very place that is not whole, or not of this chain */
} WalRecovery;

/* LOG-3: replays from `from` (the manifest's point) as long as position, chain and checksum agree. Writes nothing, so
 * that a reader without rights may use it too; who may write then calls wal_append_break, wal_rewrite_tail, and syncs.
 * `clean_end`: the end that a clean close named (an earlier stop is KVSTORE_CORRUPT, and nothing is read past it), or
 * WAL_END_UNKNOWN. Without it, a later record that verifies by itself and names a synced position beyond the stop is
 * KVSTORE_CORRUPT: what was known durable is not there. Records have been applied by then: the caller throws its
 * state away. On an error *out is untouched. */
Status wal_recover(const Wal *wal, WalCursor from, uint64_t clean_end, WalApply apply, void *context,
                   WalRecovery *out) MUST_CHECK;

#endif
