/* kv_delta.h - the newest rows of a kv family: appended, found by key, walked in key order, at any snapshot.
 *
 * Rows lie in the arena of the key index, the first row of a key right behind the key, so that a point read touches
 * one slot and one place. Rows of a key are chained from the newest to the oldest. See delta.h for life and
 * threads: functions marked [writer] need the apply lock; all others may run beside them and take no lock, except
 * that cursors take the small lock of the tree once a leaf. */
#ifndef COLONNADE_ROWSTORE_KV_DELTA_H
#define COLONNADE_ROWSTORE_KV_DELTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/schema.h" /* EXPIRY_NEVER */
#include "base/status.h"
#include "rowstore/delta.h"
#include "rowstore/key_index.h"

typedef struct KvDelta KvDelta;

/* A row as readers get it. `value` stays where it is as long as the delta. */
typedef struct KvRow {
  uint32_t row;   /* names the row within its delta; never 0 */
  bool tombstone; /* the key was deleted; value is empty */
  uint64_t sequence;
  int64_t expiry; /* EXPIRY_NEVER or milliseconds since the epoch: the delta does not look at the clock */
  Bytes value;
} KvRow;

/* KVSTORE_NOMEM leaves *delta untouched. An empty delta holds a few KiB. */
Status kv_delta_create(KvDelta **delta) MUST_CHECK;
void kv_delta_destroy(KvDelta *delta); /* NULL is allowed; no reader may be inside */
/* [writer] From here on append and rollback are caller's mistakes (asserted); kill and revive stay allowed. */
void kv_delta_freeze(KvDelta *delta);

/* [writer] Appends a row: key (1 to KEY_BYTES_MAX bytes) and value (up to VALUE_BYTES_CEILING) are copied; a
 * tombstone has no value. `hash` is hash_key(key, key_length). The newest row of the key here that was not rolled
 * back gets dead_at = sequence when it was alive. Sequences never descend from one append to the next. *row (may be
 * NULL) names the new row. KVSTORE_NOMEM: the row is wholly absent, everything else as it was. */
Status kv_delta_append(KvDelta *delta, uint64_t hash, const void *key, size_t key_length, const void *value,
                       size_t value_length, int64_t expiry, uint64_t sequence, bool tombstone,
                       uint32_t *row) MUST_CHECK;

/* The row of a key that `snapshot` sees. FOUND and DELETED fill in *out; ABSENT leaves it alone. The caller got
 * `snapshot` by an acquire of what published it. */
DeltaState kv_delta_find(const KvDelta *delta, uint64_t hash, const void *key, size_t key_length, uint64_t snapshot,
                         KvRow *out);
/* Fetch ahead of find and append: the slot; some 8 keys later what it names. */
void kv_delta_prefetch(const KvDelta *delta, uint64_t hash);
void kv_delta_prefetch_entry(const KvDelta *delta, uint64_t hash);

/* [writer] A bulk load with this sequence replaces the row (VIS-6): dead_at = sequence when it was DEAD_NEVER, and
 * true; otherwise nothing, and false. */
bool kv_delta_kill(KvDelta *delta, uint32_t row, uint64_t sequence);
/* [writer] Takes a kill back: dead_at goes from `sequence` to DEAD_NEVER; any other dead_at stays. Rollback does
 * not know of kills: the engine takes back its own, before or after kv_delta_rollback. */
void kv_delta_revive(KvDelta *delta, uint32_t row, uint64_t sequence);

/* [writer] Where the delta ends now. */
DeltaMark kv_delta_mark(const KvDelta *delta);
/* [writer] VIS-3: every row since the mark gets dead_at 0, newest first, and every dead_at that its append set goes
 * back to DEAD_NEVER. Marks taken since are void. */
void kv_delta_rollback(KvDelta *delta, DeltaMark mark);

/* A row by its name, whatever its state. */
void kv_delta_row(const KvDelta *delta, uint32_t row, KvRow *out);
Bytes kv_delta_row_key(const KvDelta *delta, uint32_t row);
uint64_t kv_delta_dead_at(const KvDelta *delta, uint32_t row);
/* The newest row of any key, and the one that was appended before a row; 0: none. With them all rows can be visited,
 * those of a moment that an acquire tells of at least. */
uint32_t kv_delta_last(const KvDelta *delta);
uint32_t kv_delta_before(const KvDelta *delta, uint32_t row);
/* The row of the same key that this one was put over (rolled-back ones left out), or 0. */
uint32_t kv_delta_older(const KvDelta *delta, uint32_t row);

/* Numbers of one moment; beside a writer each for itself. */
DeltaCounts kv_delta_counts(const KvDelta *delta);
/* Structure, chains and counts. For tests; no writer beside it. */
bool kv_delta_check(KvDelta *delta, const char **why);

/* ---- in key order at a snapshot ----
 * The keys whose state at the snapshot is FOUND or DELETED, each with its visible row (a merge needs the
 * tombstones); the others are stepped over. Rows appended meanwhile do not disturb it. Key and value stay valid as
 * long as the delta. A cursor is plain memory (some 400 bytes): nothing to release, never out of memory. */
typedef struct KvCursor {
  KvDelta *delta;
  uint64_t snapshot;
  KeyCursor keys;
  /* where it stands; meaningful when the last call returned true */
  DeltaState state;
  Bytes key;
  KvRow row;
} KvCursor;

/* Stands nowhere until positioned. */
void kv_cursor_open(KvCursor *cursor, KvDelta *delta, uint64_t snapshot);
/* Each returns true when the cursor stands on a key; false at the end, from which only a positioning call leads
 * back. */
bool kv_cursor_first(KvCursor *cursor);
bool kv_cursor_last(KvCursor *cursor);
bool kv_cursor_seek(KvCursor *cursor, const void *key, size_t length);      /* first >= key */
bool kv_cursor_seek_last(KvCursor *cursor, const void *key, size_t length); /* last <= key */
bool kv_cursor_next(KvCursor *cursor);
bool kv_cursor_prev(KvCursor *cursor);

#endif
