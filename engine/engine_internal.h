/* engine_internal.h - the objects behind engine.h, and who may touch them under which lock.
 *
 *   Store ──► Version (counted, immutable: what one generation and the deltas since consist of)
 *               └─► FamilyState ──► Era ──► layers: active delta, frozen deltas, adopted runs, runs
 *   Session ──► Transaction (the store has at most one that writes)
 *
 * Whatever changes the shape of a version (a family made, dropped or cleared, a delta frozen, a run adopted, a
 * generation published) builds a new Version that shares what stayed, and makes it current; rows are appended to the
 * active deltas of the current version in place. A reader pins a version and takes a sequence: that pair is its
 * snapshot.
 *
 * Lock order (LOCK-2): registry, session, write word, maintenance, mutex, allocating, apply, orphans, versions, cache.
 */
#ifndef COLONNADE_ENGINE_ENGINE_INTERNAL_H
#define COLONNADE_ENGINE_ENGINE_INTERNAL_H

#include <stdatomic.h>

#include "columnar/column_run.h"
#include "columnar/deleted_set.h"
#include "columnar/locator.h"
#include "crypto/sealing.h"
#include "engine/engine.h"
#include "engine/extent.h"
#include "engine/manifest.h"
#include "engine/shared_page.h"
#include "engine/space.h"
#include "engine/superblock.h"
#include "os/thread.h"
#include "rowstore/kv_delta.h"
#include "rowstore/merge.h"
#include "rowstore/row_run.h"
#include "rowstore/table_delta.h"
#include "wal/record.h"
#include "wal/wal.h"

/* ---- what versions consist of ---- */

/* How many keys one era of a kv family had at one sequence (kv_count.c). */
typedef struct FamilyCount {
  Mutex lock;
  bool known;
  uint64_t generation; /* versions of older ones are told nothing and tell nothing: they hold rows that are gone */
  uint64_t era;        /* its `since` */
  uint64_t sequence, keys;
  uint64_t adopted; /* the sequence of the last run that was adopted: counts of either side of it differ by more */
  _Atomic uint32_t wanted; /* by how many flushes to come */
} FamilyCount;
/* How far the merge of a kv family's overlapping runs into its level has come (compact_kv.c); under maintenance. */
enum { ROUND_RUNS_MAX = 128 };
typedef struct MergeRound {
  uint32_t run_count;            /* 0: none is under way */
  uint32_t runs[ROUND_RUNS_MAX]; /* their numbers, newest first */
  Buffer next;                   /* the key that the next slice begins with */
  uint64_t reclaimed;            /* expired rows that its slices have left behind; the round's own still have them */
} MergeRound;

/* What a family is, for ever: its kind and schema. Shared by all versions. */
typedef struct Family {
  _Atomic uint32_t references;
  uint32_t id;
  uint32_t kind;                /* FAMILY_KV or FAMILY_TABLE */
  uint32_t flags;               /* FAMILY_HIDDEN */
  Schema schema;                /* tables */
  _Atomic uint64_t next_row_id; /* changed by the writer alone */
  /* What it was at the last boundary: what a flush writes. One of a later boundary does no harm there. */
  _Atomic uint64_t boundary_row_id;
  uint32_t next_column_id;
  FamilyCount count;                /* kv */
  _Atomic int64_t oldest_change_ms; /* of a hidden family of changes: none is older, as far as this process knows */
  MergeRound round;                 /* kv */
  /* Of a hidden table of columns: how its columns are made, constant. */
  Projection *projections;
  Arena sources;
  /* Of a kv family with columns: how far this process has copied its pairs into the table `columns_of`; under
   * count.lock. And the table that some pair has too long a key for. */
  uint32_t columns_of;
  Buffer columns_next;
  _Atomic uint32_t columns_refused;
} Family;

/* What a family is called and how it behaves, from a sequence on until the next ones; they never change. */
typedef struct FamilyTraits {
  _Atomic uint32_t references;
  uint64_t since;
  FamilyOptions options;
  char name[]; /* ends with a 0 */
} FamilyTraits;

/* One delta. Its boundary is set when it is frozen. */
typedef struct DeltaHandle {
  _Atomic uint32_t references;
  KvDelta *kv; /* one of the two */
  TableDelta *table;
  _Atomic uint64_t boundary; /* UINT64_MAX while active; then the last sequence that it holds */
} DeltaHandle;

/* The extents of a run, open, and what was verified of them: shared by all handles of the same extents. */
typedef struct OpenRun {
  _Atomic uint32_t references;
  ExtentSources sources;
  RowRun *rows; /* one of the two */
  ColumnRun *columns;
  Family *family; /* holds the schema that `columns` refers to */
} OpenRun;

/* A run as one manifest's entry has it: what is dead of it changes from entry to entry. */
typedef struct RunHandle {
  _Atomic uint32_t references;
  RunEntry entry;
  OpenRun *open;
  RowRun *rows; /* those of `open` */
  ColumnRun *columns;
  Arena arena;
} RunHandle;

typedef struct DeltaLayer {
  DeltaHandle *delta;
  struct Locators *locators; /* tables */
} DeltaLayer;

typedef struct RunLayer {
  RunHandle *run;
  DeletedSet *deleted; /* dead at every snapshot of this generation: the manifest's; NULL: none */
  uint64_t since;      /* an adopted run's sequence; 0: a run of the manifest */
  /* What an adopted run replaces in other runs, by run number: rows dead from `since` on. */
  struct AdoptedDeletes *replaced;
} RunLayer;

typedef struct AdoptedDeletes {
  _Atomic uint32_t references;
  Extent extent; /* where the list lies, when it is too long for the record; length 0: it is in the record */
  bool by_key;   /* found by the keys of the run itself, not taken from its record */
  uint32_t run_count;
  struct AdoptedDeletesRun {
    uint32_t number;
    size_t count;
    uint32_t *positions; /* ascending */
  } * runs;
  Arena arena;
} AdoptedDeletes;

/* The layers of a family between two clears. delta[0] is active; the others are frozen, newest first. Runs: adopted
 * ones first, newest first; then the manifest's, newest first; kv level 1 (key-disjoint, in key order) last. */
typedef struct Era {
  uint64_t since; /* the sequence that began it; a snapshot below does not see it */
  bool dropped;   /* the family ends with this era: it has no layers */
  uint32_t delta_count, run_count;
  uint32_t disjoint_count; /* how many of the last runs are key-disjoint (kv) */
  DeltaLayer *deltas;
  RunLayer *runs;
  struct DeadCache *dead; /* tables */
  RowLevel level;         /* kv: the key-disjoint runs, as one layer */
} Era;

typedef struct FamilyState {
  _Atomic uint32_t references;
  Family *family;
  uint32_t era_count; /* at least 1, ascending `since` */
  Era *eras;
  uint32_t traits_count; /* the same */
  FamilyTraits **traits;
} FamilyState;

typedef struct Version {
  _Atomic uint32_t references; /* of those who hold it longer than a call */
  struct Version *older;       /* retired versions, newest first; under store->versions_lock */
  Manifest *manifest;
  uint32_t family_count;
  FamilyState **families; /* ascending ids */
} Version;

/* ---- the writing transaction ---- */

typedef struct TouchedDelta {
  DeltaHandle *delta;
  Family *family;
  DeltaMark mark;
} TouchedDelta;

/* A dead_at that the transaction set outside its own appends: taken back at rollback. */
typedef struct UndoDead {
  DeltaHandle *delta;
  uint32_t row;
  uint64_t sequence;
} UndoDead;

typedef struct Transaction {
  Session *owner; /* NULL: none is open */
  /* Counts ends. A record of another process that is applied here comes after them, through that process; here this
   * word says so (transaction_after_last). */
  _Atomic uint64_t ended;
  bool autocommit;
  Status failure;        /* of an operation that could not be undone alone: commit rolls back and has its code */
  bool durable;          /* its commit is synced, whatever the session's level */
  bool boundary_wanted;  /* a boundary follows its commit */
  bool marked;           /* path-journal says that it has written */
  bool adopted;          /* its record names runs that may not be durable yet */
  bool asks_work;        /* its commit leaves something to do to the store's thread */
  _Atomic uint64_t seen; /* the last sequence of it that its own session sees */
  uint64_t first_sequence, next_sequence;
  Buffer record;        /* room for the header, then operations */
  size_t record_begins; /* where these begin */
  uint64_t row_operations;
  TouchedDelta *touched;
  size_t touched_count, touched_capacity;
  UndoDead *undo;
  size_t undo_count, undo_capacity;
  bool spilled;       /* the record no longer holds what a statement's savepoint needs */
  bool shape_changed; /* families, eras or adopted runs with `since` from first_sequence on */
  uint32_t next_family_id_before;
  struct RowIdBefore {
    Family *family;
    uint64_t next_row_id;
  } * row_ids;
  size_t row_id_count, row_id_capacity;
  SpaceJob space; /* extents of adopted runs, until the record that names them is in the log */
  /* where the statement began: what a failed statement goes back to */
  struct Savepoint {
    size_t record_length, touched_count, undo_count, row_id_count;
    uint64_t next_sequence;
    uint32_t next_family_id;
    bool shape_changed;
  } statement;
} Transaction;

typedef struct GenerationPin { /* a shared file lock that keeps a generation's extents (GEN-2) */
  uint64_t generation;
  uint32_t references;
  OsFile *file;
  struct GenerationPin *next;
} GenerationPin;

/* What keeps a version and its generation longer than a call: the slot of the call that took it, while few are kept so,
 * else a reference and a lock. A slot is a tenth of a lock's price, and means nothing once the process has left. */
typedef struct VersionHold {
  Version *version; /* NULL: nothing is held */
  SharedSlot *slot;
  GenerationPin *pin;
  struct VersionHold *next, *previous; /* among those with a slot, under versions_lock */
} VersionHold;
enum { HOLDS_BY_SLOT_MAX = 32 };

/* ---- the store ---- */

struct Store {
  struct Store *next;          /* in the registry */
  uint32_t forks;              /* process_forks() when it was opened; another now: this is a child's copy, and inert */
  uint32_t sessions;           /* under the registry's lock */
  _Atomic uint32_t references; /* of sessions, iterators and views: the memory goes with the last */
  Os *os;
  struct MemoryOs *memory; /* of a store in memory, whose Os it is; NULL: a file */
  char *path, *log_path, *page_path, *rewrite_path, *journal_path; /* in memory: names within its own Os */
  uint64_t device, inode;
  bool moved; /* while opening: the path names another file by now */
  uint8_t store_id[16];
  int journal_mode;             /* the first opener's, once the page is there */
  bool log_is_spent;            /* no room for recovery's break, or another journal mode: the log is begun anew */
  bool background, reader_only; /* reader_only: this process cannot write the file */
  uint64_t grace_ms, log_bytes;
  int compression;      /* COMPRESSION_* of families that do not say otherwise */
  bool packs_every_run; /* not those of level 1 alone */

  StoreKey *key; /* of a sealed store; NULL: plain */
  StoreFile file;
  OsFile *log_file, *page_file;
  SharedPage *page; /* of a reader without rights: its own, filled from `followed` */
  uint32_t process; /* 1 to 255 */

  /* A reader without rights (reader.c). */
  Mutex follow_lock;    /* who looks at what the others did; before apply */
  SharedPage *followed; /* theirs, mapped for reading, in page_file; NULL: there is none. Changed under both locks */
  bool look_anew;       /* what is known may be of several moments: start over; under follow_lock */

  Superblock superblock; /* as it was at the open, for the open alone: later ones are read from the file. Of a reader
                            without rights: as it was at its last look, under follow_lock */

  Mutex apply_lock; /* guards applied, wal, appending to deltas, next_family_id, forget_from */
  Wal *wal;
  _Atomic bool log_ready; /* wal is open: a look without the lock */
  WalCursor applied;      /* where the next record begins, as this process has applied the log */
  WalCursor frozen;       /* behind the last boundary that was applied: what a flush may take in */
  WalWindow window;       /* read-ahead of the follower */
  Buffer unsealed;        /* the operations of the record that is being applied, in a sealed store */
  uint32_t next_family_id;
  uint64_t forget_from; /* what was taken back from here on is still in the version (apply_forget); 0: nothing is */
  _Atomic uint64_t applied_sequence;
  Transaction transaction;      /* of the holder of the write word or mutex */
  _Atomic uint64_t record_held; /* bytes of the transaction's record, for who asks what is held */
  uint32_t transaction_number;

  Mutex advance_lock;            /* who advances the tables' deleted sets; behind apply */
  _Atomic uint64_t rows_waiting; /* of tables, applied since that was last done */
  _Atomic bool rows_asked;       /* the thread was asked to do it */

  Mutex versions_lock; /* guards the list of versions and pins */
  Mutex orphans_lock;
  Orphan *orphans; /* under orphans_lock */
  _Atomic(Version *) current;
  Version *retired;
  GenerationPin *pins;
  VersionHold *slot_holds;
  uint32_t slot_hold_count;
  OsFile *spare_pin_file; /* a descriptor of a former pin, without its lock: opening one costs four times a lock */

  Mutex build_lock; /* who builds columns over pairs; before all others */

  Mutex work_lock; /* the background thread */
  Condition work_wanted, work_done;
  Thread worker;
  bool worker_started, worker_stop, work_pending;
  uint64_t work_rounds;
  Status work_status; /* of the last round */

  uint64_t sync_interval_ns;
  _Atomic uint64_t commits_unsynced; /* of SYNC_BACKGROUND, since the last sync began */
  Condition sync_wanted;             /* with work_lock */
  Thread syncer;
  bool syncer_started, syncer_stop;
};

/* A forked child has a copy of the parent's store, whose descriptors are closed: nothing of it is touched any more,
 * since its locks may be those of threads that are not here (PROC-6). */
static inline bool store_is_inherited(const Store *store) { return UNLIKELY(store->forks != process_forks()); }
/* Of the current version, which this call does not hold: for who holds the apply lock, or opens the store. */
static inline const Manifest *store_manifest(const Store *store) {
  return atomic_load_explicit(&store->current, memory_order_acquire)->manifest;
}

/* What became of a transaction, for the iterators made inside it. */
typedef struct TransactionFate {
  _Atomic uint32_t references;
  _Atomic bool rolled_back;
} TransactionFate;
void fate_release(TransactionFate *fate);

struct Session {
  Store *store;
  StoreOptions options;
  Mutex lock;                   /* begin, commit, rollback, and writes inside a transaction */
  _Atomic int transaction;      /* 0, 1 reading, 2 writing */
  struct TransactionFate *fate; /* of the open writing transaction; under versions_lock */
  bool frozen;                  /* reads alone, for ever at its snapshot; `fate`: of the transaction it was made in */
  VersionHold snapshot;         /* while reading */
  uint64_t snapshot_sequence;
  _Atomic uint32_t readers;      /* calls that read at it; its end waits for them */
  _Atomic uint64_t turn;         /* of the open writing transaction: what Transaction.ended counts until its end */
  _Atomic uint64_t committed;    /* the last sequence of its last commit: its own calls see it before it is synced */
  uint64_t woke_at, woke_end;    /* since when it has passed some whom it woke, and the log's end then; under `lock` */
  struct KvLoader *loaders;      /* bulk loads that have not ended */
  _Atomic uint32_t load_threads; /* session_load_threads */
};

/* A call's pin: a version and what it may see of it. */
typedef struct ReadPin {
  SharedSlot *slot;    /* or NULL: then `lock` */
  GenerationPin *lock; /* holds the version, too */
  Version *version;
  uint64_t sequence;
  bool at_snapshot; /* that of the session's reading transaction, whose end waits for read_unpin */
  bool inside;      /* sees rows that may be rolled back yet */
} ReadPin;

/* ---- version.c ---- */
Family *family_retain(Family *f);
void family_release(Family *f);
DeltaHandle *delta_handle_create(const Family *family);
DeltaHandle *delta_retain(DeltaHandle *d);
void delta_release(DeltaHandle *d);
RunHandle *run_retain(RunHandle *r);
void run_release(RunHandle *r);
/* `former` (may be NULL): a handle of this run by an older entry; where the extents are the same, they stay open. */
Status run_handle_open(Store *store, const RunEntry *entry, Family *family, const RunHandle *former,
                       RunHandle **out) MUST_CHECK;
FamilyState *family_state_retain(FamilyState *s);
void family_state_release(FamilyState *s);
/* A state of so many empty eras, for the caller to fill in, with these traits. */
FamilyState *family_state_create(Family *family, uint32_t era_count, FamilyTraits *const *traits,
                                 uint32_t traits_count);
Status era_allocate(Era *era, uint32_t delta_count, uint32_t run_count) MUST_CHECK;
/* A copy of an era that shares all layers (and caches, when `same_runs_and_deltas`). */
Status era_copy(const Era *from, Era *to) MUST_CHECK;
void era_release(Era *era);
/* Builds what is derived from a kv era's runs, after they were filled in. */
Status era_finish(Era *era) MUST_CHECK;
/* The traits that a snapshot sees. */
const FamilyTraits *family_state_traits(const FamilyState *state, uint64_t sequence);
/* The era that a snapshot sees, or NULL when the family does not exist there. */
Era *family_state_era(const FamilyState *state, uint64_t sequence);
FamilyState *version_family(const Version *v, uint32_t id);
/* A version sharing every family of `from` (NULL: none), with room for `extra` more. One reference. */
Version *version_copy(const Version *from, uint32_t extra);
void version_set_family(Version *v, FamilyState *state); /* adds or replaces, in order; takes the reference */
void version_release(Version *v);
/* Makes `v` current (takes the reference); the former one is retired and freed when nobody uses it. */
void version_publish(Store *store, Version *v);
/* Keeps the current version's memory, without a pin on its generation: for who holds maintenance. */
Version *version_keep(Store *store);
void version_let_go(Store *store, Version *v);
void versions_reclaim(Store *store);
void versions_destroy(Store *store);

/* Pins the current version and the newest visible sequence, applying the log as far as that needs. */
Status read_pin(Session *session, ReadPin *pin) MUST_CHECK;
void read_unpin(Session *session, ReadPin *pin);
/* For what outlives the call: the pin, and the fate (one reference) of the transaction whose rows it sees; NULL: none.
 */
Status read_pin_kept(Session *session, ReadPin *pin, TransactionFate **fate) MUST_CHECK;
/* A lock on a generation that is being read. */
Status generation_hold(Store *store, uint64_t generation, GenerationPin **pin) MUST_CHECK;
void generation_let_go(Store *store, GenerationPin *pin); /* NULL is allowed */
/* Keeps a pinned version beyond the call. The hold stays where it is until it is given back; the pin stays good until
 * read_unpin, which is due as ever. */
Status version_hold(Store *store, ReadPin *pin, VersionHold *hold) MUST_CHECK;
void version_unhold(Store *store, VersionHold *hold); /* nothing for an empty one */
/* The same by reference and lock alone, for a version that somebody keeps meanwhile. */
Status version_hold_by_lock(Store *store, Version *v, GenerationPin **pin) MUST_CHECK;
/* Before the process leaves its page: holds by slot become holds by lock. On a failure the process must stay. */
Status version_holds_leave_slots(Store *store) MUST_CHECK;
bool generation_pinned(Store *store, uint64_t birth, uint64_t death);
/* Whether a version that is current or still held has an adopted run with an extent of these ids. */
bool versions_name_extents(Store *store, uint64_t first_id, uint64_t last_id);

/* ---- generation.c ---- */
/* Names the log in the superblocks, in both pages, each synced. Maintenance held. */
Status superblocks_name_log(Store *store, const LogPlace *place) MUST_CHECK;
/* Names none, and gives back the piece of the file that it lay in. */
Status superblocks_name_no_log(Store *store) MUST_CHECK;
/* The same with other sealing bytes: at every moment the store opens by the old ones or by the new ones. */
Status superblocks_change_sealing(Store *store, const uint8_t sealing[SEALING_BYTES]) MUST_CHECK;
/* The newest superblock of this very store, and the page that it lies in. */
Status newest_superblock(Store *store, Superblock *out, uint32_t *page) MUST_CHECK;
Status newest_generation(Store *store, uint64_t *out) MUST_CHECK;
/* Reads the newest superblock and manifest. */
Status generation_load(Store *store, Manifest **out) MUST_CHECK;
/* Builds the version of a manifest: runs opened (shared with the current version where they stayed), deltas after its
 * boundary kept. Apply lock held. */
Status generation_adopt(Store *store, Manifest *manifest) MUST_CHECK;
/* Takes what the file holds, whatever the page says of it yet; when the log that this process would need is gone, in
 * place of all that it knows. Apply lock held. */
Status generation_follow_newest(Store *store) MUST_CHECK;
/* Takes what the file holds in place of all that this process knows; the log is the caller's to open. Apply lock held.
 */
Status generation_start_over(Store *store) MUST_CHECK;
/* Takes a newer generation that another process published, and the log that the page names. */
Status generation_follow(Store *store) MUST_CHECK;
/* The same for who holds maintenance; gives maintenance back on a failure. */
Status generation_follow_if_behind(Store *store) MUST_CHECK;
/* Writes a manifest and makes it the store's newest generation: GEN-3, LOG-4. Maintenance held. `job` holds the new
 * extents. */
Status generation_publish(Store *store, Manifest *manifest, SpaceJob *job) MUST_CHECK;
/* Tells the other processes of it: in the page, the log's start before the generation. */
void generation_show(Store *store, const Manifest *manifest);
/* A copy of the current manifest for the next generation: families and runs, without limbo. */
Status generation_draft(Store *store, const Manifest *from, Manifest **out) MUST_CHECK;

/* ---- reader.c: a process that may not write (PROC-4) ---- */
/* Its own page, and what the store holds. */
Status reader_open(Store *store) MUST_CHECK;
/* Brings the own page up to date with what the others have done, starting over when it must. */
Status reader_look(Store *store) MUST_CHECK;
/* What failed may have been overtaken: KVSTORE_OK when it is worth another try; else `status`. */
Status reader_try_again(Store *store, Status status, uint32_t *failures) MUST_CHECK;
/* What the log still needs, as the writers say at this moment. Apply lock held. */
uint64_t log_start_now(Store *store);
void reader_close(Store *store);

/* ---- checkpoint.c ---- */
/* Everything that is in the log goes into the file, and the log is cut: KVSTORE_BUSY when somebody else writes. */
Status log_cut_at_once(Session *session) MUST_CHECK;

/* ---- apply.c ---- */
/* Applies the log, whichever the page names by now, to its end. Takes the apply lock. */
Status store_apply(Store *store) MUST_CHECK;
/* One record, apply lock held. */
Status store_apply_record(Store *store, const WalRecord *record) MUST_CHECK;
/* Takes the log that the page names in place of the one that is open, if that is another: what a log held that the page
 * does not name any more is in the file. Apply lock held. */
Status log_follow(Store *store) MUST_CHECK;
/* Lets go of the log that is open: all that it held is in the file. Apply lock held. */
void log_detach(Store *store);
/* Is the log that this process has open the page's? */
bool log_is_current(Store *store);
/* path-wal, in store->log_file; `flags` as os_open takes them. */
Status log_file_open(Store *store, int flags) MUST_CHECK;
/* Has this store's journal mode the log in the store's own file? */
static inline bool log_is_inside(const Store *store) { return store->journal_mode == JOURNAL_DELETE; }
/* What a sync of the log syncs; NULL: this process has never had it open. */
static inline OsFile *log_file(const Store *store) { return log_is_inside(store) ? store->file.file : store->log_file; }
/* Where a page says that the log lies; the id is looked at first (log_follow). */
LogPlace shared_log_place(SharedPage *page);
/* Makes the log and names it in both superblocks, at the first write of a store's life (LOG-1). */
Status log_create(Store *store) MUST_CHECK;
/* Replays the log from the manifest's point. */
Status log_recover(Store *store, uint64_t clean_end, WalRecovery *out) MUST_CHECK;
/* The same where the apply lock is held. */
Status log_recover_locked(Store *store, uint64_t clean_end, WalRecovery *out) MUST_CHECK;
/* Applies what has been written behind the applied end, without a page that says how much that is. Apply lock held. */
Status log_follow_tail(Store *store) MUST_CHECK;
/* Where the log's replay starts: the manifest's point, when it lies in this log; else the log's beginning. */
WalCursor log_replay_start(Store *store, const Manifest *m);
/* Opens the log that the superblock names, and stands where its replay starts. KVSTORE_CORRUPT: it needs a newer one.
 */
Status log_open_for_replay(Store *store, const Manifest *m) MUST_CHECK;
/* Rows into the active delta of an era, marking dead what they replace in frozen ones. Apply lock held. */
Status apply_kv(Era *era, Bytes key, uint64_t hash, Bytes value, int64_t expiry, bool tombstone,
                uint64_t sequence) MUST_CHECK;
Status apply_row(Store *store, Era *era, Bytes key, uint64_t hash, const ColumnArray *columns, size_t source_row,
                 int64_t expiry, uint64_t sequence) MUST_CHECK;
/* A batch of rows; rows->replaced has room for each. */
Status apply_rows(Store *store, Era *era, const TableAppend *rows) MUST_CHECK;
Status apply_row_delete(Store *store, Era *era, Bytes key, uint64_t hash, uint64_t sequence) MUST_CHECK;
/* Freezes every delta that has rows: the boundary after `sequence`. Apply lock held. */
Status apply_boundary(Store *store) MUST_CHECK;
Status apply_family_create(Store *store, uint32_t id, Bytes payload, uint64_t sequence) MUST_CHECK;
Status apply_family_end(Store *store, uint32_t id, bool drop, uint64_t sequence) MUST_CHECK;
/* Looks rows up in the runs of the current version: the caller has pinned its generation. */
Status apply_adopt(Store *store, uint32_t family, Bytes payload, uint64_t sequence) MUST_CHECK;
/* After the runs of an era changed: what its adopted runs replace is looked up again by their keys, where a list names
 * a run that is gone, or (`flushed`) may have named rows of a delta that is a run now (VIS-5). */
Status era_renew_adopted(Era *era, bool flushed) MUST_CHECK;
/* Takes back every change of shape from `sequence` on. What it finds no memory for stays in the version, where nobody
 * reads it, until somebody takes sequences again (ENG-19). */
Status apply_forget(Store *store, uint64_t sequence) MUST_CHECK;
/* What an earlier one has left: before anything else changes the version, or a transaction begins. Apply lock held. */
Status apply_forget_rest(Store *store) MUST_CHECK;
/* From `sequence` on the family has the traits of the payload. */
Status apply_family_change(Store *store, uint32_t id, Bytes payload, uint64_t sequence) MUST_CHECK;
/* Puts a state in the place of the family's former one, in a version that becomes current. Takes the reference. */
Status publish_with(Store *store, FamilyState *state) MUST_CHECK;
/* The payloads of the opaque operations (docs/format.md). */
void family_payload_write(const Family *family, const char *name, const FamilyOptions *options, Buffer *out);
Status family_payload_read(uint32_t id, uint64_t since, Bytes payload, Family **out, FamilyTraits **traits) MUST_CHECK;

/* ---- family_traits.c ---- */
/* Inside a statement: the family gets this name and these options. */
Status family_change_statement(Session *session, const FamilyState *state, const char *name,
                               const FamilyOptions *options) MUST_CHECK;
/* Copies; NULL when out of memory. */
FamilyTraits *family_traits_create(const char *name, size_t name_length, const FamilyOptions *options, uint64_t since);
FamilyTraits *family_traits_retain(FamilyTraits *t);
void family_traits_release(FamilyTraits *t); /* NULL is allowed */
/* ROW_PACKING_* of a family's runs of level 1: by its own option, or as the store says. */
uint32_t family_packing(const Store *store, const FamilyState *state);
/* What an expiry of EXPIRY_DEFAULT means in a family at a sequence; others are themselves. */
int64_t family_expiry(Store *store, const FamilyState *state, uint64_t sequence, int64_t expiry);

/* What an adopted run replaces: in other runs by position, in deltas by key. */
typedef struct AdoptPayload {
  const RunEntry *entry;
  uint32_t run_count;
  const struct AdoptedDeletesRun *runs;
  size_t key_count;
  const Bytes *keys;
  uint64_t next_row_id; /* of the family, afterwards; 0: unchanged */
} AdoptPayload;
/* A long list of what the run replaces goes into an extent of its own, through `job`. */
Status adopt_payload_write(const AdoptPayload *payload, SpaceJob *job, Buffer *out) MUST_CHECK;

/* ---- journal.c: path-journal, a marker for who looks (PROC-7) ---- */
/* The transaction has written; its end. Nothing depends on either, so nothing fails. Write lock held. */
void journal_mark(Store *store);
void journal_unmark(Store *store);
/* Takes away what a killed process left. */
void journal_discard(Store *store);

/* ---- write_word.c ---- */
/* Another process that is gone: nobody holds its life byte (PROC-2). */
bool process_is_dead(Store *store, uint32_t process);
/* Gives the word back. Mutex and the session's lock held. */
void write_word_give(Session *session);
/* Before the session writes: sleeps a little, where it passes others for too long, unless it never waits (a busy
 * timeout of 0). The session's lock held. */
void write_word_give_way(Session *session);
/* Sleeps until the word may be free. `deadline` in nanoseconds of the monotonic clock; KVSTORE_BUSY behind it. */
Status write_word_wait(Store *store, uint64_t deadline) MUST_CHECK;

/* ---- transaction.c ---- */
static inline size_t store_record_begins(const Store *store) {
  return record_body_offset(store->key ? RECORD_SEALED : 0);
}
/* The write lock for one statement (autocommit) or the session's open transaction. On success the transaction is
 * store->transaction, the log is applied to its end, the session's lock is held. */
Status write_begin(Session *session) MUST_CHECK;
/* Inside a statement: pins the current version and sees all that is committed, synced or not, and the transaction's
 * own. */
Status write_pin(Session *session, ReadPin *pin) MUST_CHECK;
/* The current version, for work that can wait: *pinned is false when its generation has been left behind. */
Status version_try_pin(Store *store, ReadPin *pin, bool *pinned) MUST_CHECK;
/* The same for who writes, and holds the apply lock: follows the newest generation, if need be. */
Status version_pin_newest(Store *store, ReadPin *pin) MUST_CHECK;
void version_unpin(Store *store, ReadPin *pin);
/* Takes the write word for work on the log itself, and the session's lock: nobody writes until writers_go. The log is
 * applied to its end. KVSTORE_BUSY when the session has a transaction, or the busy timeout ends. */
Status writers_stop(Session *session) MUST_CHECK;
Status writers_go(Session *session) MUST_CHECK;
/* write_begin without waiting for anything: KVSTORE_BUSY when it would. */
Status write_try_begin(Session *session) MUST_CHECK;
/* Remembers a family's next row id, to be taken back. */
Status transaction_keep_row_id(Store *store, Family *family) MUST_CHECK;
/* Ends the statement: commits when it is its own transaction; on a failed `status` takes the statement back. */
Status write_end(Session *session, Status status) MUST_CHECK;
/* Remembers the delta's mark at its first touch by the transaction. Apply lock held. */
Status transaction_touch(Store *store, DeltaHandle *delta, Family *family) MUST_CHECK;
/* The transaction object for `session` begins at the applied end of the log, and ends without a word. */
void transaction_start(Store *store, Session *session, bool autocommit);
/* `taken_back`: nothing of it was committed. */
void transaction_finish(Store *store, bool taken_back);
/* For who holds neither write word nor mutex and is about to use the object, or the cursors of the log, under the apply
 * lock: the process's last transaction has ended, since others have written after it. */
static inline void transaction_after_last(Store *store) {
  (void)atomic_load_explicit(&store->transaction.ended, memory_order_acquire);
}
/* Takes back all of it; the calling thread's last failure stays. Apply lock held. */
void transaction_take_back(Store *store);
Status transaction_undo(Store *store, DeltaHandle *delta, uint32_t row, uint64_t sequence) MUST_CHECK;
Status log_sync_to(Store *store, uint64_t position) MUST_CHECK;
void sync_mutex_unlock(SharedPage *page); /* and wakes who waits for a sync */

/* ---- kv.c, kv_count.c, bulk.c ---- */
/* What a manifest that is being taken says of a family's keys; `era` is the one that it becomes. */
void family_count_adopt(Family *family, const Manifest *m, const Era *era, uint64_t keys);
void family_count_adopted_run(Family *family, uint64_t sequence);
/* For the manifest of a flush: the family's keys at the boundary, or KEYS_UNKNOWN when nobody asks for them, or it
 * would take a walk. */
Status family_count_at_boundary(Store *store, Family *family, uint64_t boundary, uint64_t *keys) MUST_CHECK;
/* ---- capture.c ---- */
/* kv_write_row, of a caller's row: as a change, too, where the family's options want that. */
Status kv_change_row(Session *session, FamilyState *state, Era *era, Bytes key, Bytes value, int64_t expiry,
                     bool tombstone) MUST_CHECK;
/* kv_change_row of a row that ends, but for its row in columns: the caller ends that (columns_note_ends). */
Status kv_end_row(Session *session, FamilyState *state, Era *era, Bytes key) MUST_CHECK;
/* Notes a change that the open transaction has just made to a family with these options, which capture. Fills in its
 * sequence, transaction and time. */
Status capture_note(Session *session, const FamilyOptions *options, CapturedChange *change) MUST_CHECK;
/* Notes all rows of runs that the open transaction has adopted, if the options capture. */
Status capture_level(Session *session, const FamilyOptions *options, const RowLevel *level) MUST_CHECK;
/* `wanted` goes in the place of `before`: makes or drops the hidden family, whose id is filled in. */
Status capture_settle(Session *session, const FamilyOptions *before, FamilyOptions *wanted) MUST_CHECK;
/* A family with these options is cleared or dropped. */
Status capture_family_end(Session *session, const FamilyOptions *options, bool drop) MUST_CHECK;
/* Takes away changes that are old enough, unless somebody writes or the session is in a transaction. */
Status capture_trim(Session *session) MUST_CHECK;

/* ---- sync_timer.c ---- */
/* A commit of SYNC_BACKGROUND is in the log: it will be synced within the interval. No lock held. */
void sync_timer_start(Store *store);
/* Syncs what such commits have left. A failure is a flag in the page, as of every sync. */
Status sync_timer_fire(Store *store) MUST_CHECK;
/* Ends the thread, and syncs what it has not. */
Status sync_timer_stop(Store *store) MUST_CHECK;

/* ---- kv.c, bulk.c ---- */
Status kv_write_row(Session *session, FamilyState *state, Era *era, Bytes key, Bytes value, int64_t expiry,
                    bool tombstone) MUST_CHECK;
/* When the open transaction's record has grown too large for the log: its rows become adopted runs (LOG-8). */
Status transaction_spill(Session *session) MUST_CHECK;

/* ---- table_state.c: more in table_state.h ---- */
/* The live row of a key in the runs at a snapshot, where the deltas know nothing newer: LOCATOR_NONE when there is
 * none. Only runs adopted after the sequence `after` are asked; 0: all. */
Status era_find_in_runs(Era *era, Bytes key, uint64_t hash, uint64_t sequence, uint64_t after, uint64_t *locator,
                        uint32_t *layer) MUST_CHECK;

/* ---- flush.c, compact.c, maintenance.c ---- */
Status boundary_append(Store *store) MUST_CHECK; /* mutex held, no transaction has rows */
/* What was committed becomes due to be flushed, unless somebody writes. The session has no transaction. */
Status checkpoint_end_delta(Session *session) MUST_CHECK;
Status flush_frozen(Store *store, bool *flushed) MUST_CHECK; /* maintenance held */
/* `by_call`: also what is not due yet, but leaves one layer to read at a fair price. */
Status compact_once(Store *store, bool by_call, bool *compacted) MUST_CHECK;
/* Rewrites what holds a dead row, or one whose expiry is less than `expired_before`; a family at a time. */
Status compact_thoroughly(Store *store, int64_t expired_before, bool *compacted) MUST_CHECK;
/* Are flushes so far ahead of the merges that these come first? Maintenance held. */
bool compaction_lags(Store *store);
/* Or even so far that who adopts runs must wait? */
bool compaction_is_far_behind(Store *store);
/* Shortens a file that is longer than what it holds by more than a share-th part of that, by some extents that move
 * down, and says whether any did. Maintenance held. */
Status vacuum_slack(Store *store, uint32_t share, bool *moved) MUST_CHECK;
/* Publishes a generation that has the orphans in its limbo, when there are some: behind it only pins keep them.
 * Maintenance held. */
Status vacuum_name_orphans(Store *store) MUST_CHECK;
Status maintenance_take(Store *store, bool wait) MUST_CHECK;
void maintenance_give(Store *store);
/* For who has just taken the number of a process that died with it. */
Status maintenance_inherit_own(Store *store) MUST_CHECK;
/* Gives back what processes hold that are no more: slots and reservations that nobody would ask about else. */
Status maintenance_bury_dead(Store *store) MUST_CHECK;
/* Flushes what is frozen, and compacts nothing: a close does not wait for that. */
Status maintenance_flush(Store *store) MUST_CHECK;
/* Does all that is due. */
Status maintenance_run(Store *store) MUST_CHECK;
/* For who asks for it: merges early where it pays, and leaves less room in the file than what goes on writing would
 * need again. */
Status maintenance_run_by_call(Store *store) MUST_CHECK;
/* Asks for it: the thread does it, or nobody (no_background: the next call that needs room). */
void maintenance_ask(Store *store);
void maintenance_stop(Store *store);
/* Waits until a boundary that was appended has been flushed, doing the work here without a thread. */
Status maintenance_wait_flushed(Store *store) MUST_CHECK;
bool store_has_frozen(Store *store);
/* Waits until merges are not far behind what was adopted, or come no further. Nothing depends on it but the size of the
 * file. */
void maintenance_wait_merged(Store *store);

/* ---- view.c ---- */
/* A table of a pinned version as units: table_snapshot for who has a pin already. It takes the fate over (NULL: none),
 * unless it fails. */
Status table_snapshot_pinned(Session *session, ReadPin *pin, TransactionFate *fate, uint32_t family,
                             TableSnapshot *out) MUST_CHECK;

/* ---- session.c ---- */
/* The layers of a kv era at a snapshot, newest first, in `layers` (room for `capacity`): how many, or 0 and nothing
 * when they are more than that. */
uint32_t era_layers(const Era *era, uint64_t sequence, MergeLayer *layers, uint32_t capacity);
/* The family that a snapshot finds under a name, or NULL. */
FamilyState *family_named(const ReadPin *pin, const char *name);
/* KVSTORE_ERROR for options that cannot be; `changes_family` does not matter. */
Status family_check_options(const FamilyOptions *options) MUST_CHECK;
/* As write_begin, for a statement that makes a family: one that was dropped keeps its place until what is committed has
 * been settled in the file, which is done here when all places are taken. Inside a transaction it cannot be. */
Status write_begin_with_room(Session *session) MUST_CHECK;
/* Inside a statement: makes a family, and clears or drops one. */
Status family_create_statement(Session *session, const Family *family, const char *name, const FamilyOptions *options,
                               uint32_t *id) MUST_CHECK;
Status family_end_statement(Session *session, uint32_t id, bool drop) MUST_CHECK;
/* KVSTORE_ERROR for a name that a family cannot have. */
Status family_check_name(const char *name) MUST_CHECK;
Status session_family(Session *session, const ReadPin *pin, uint32_t id, int kind, FamilyState **state,
                      Era **era) MUST_CHECK;
int64_t store_clock(Store *store);
/* ---- rewrite.c ---- */
/* Copies all that the store's newest manifest names into a file beside it, sealed by `key` and with these sealing
 * bytes, or plain (both NULL), and renames that over the store. Nobody else has the store, and nobody publishes
 * meanwhile. *renamed: from here on the path names the copy, whatever else failed. KVSTORE_PROTOCOL: the path names
 * another file than the one that is open, which stays as it is. */
Status store_rewrite(Store *store, StoreKey *key, const uint8_t *sealing, bool *renamed) MUST_CHECK;
/* ---- seal_in_place.c ---- */
/* A plain store that was opened with a password: closed, copied sealed, and to be opened anew (`moved`). Never
 * KVSTORE_OK. The registry's lock is held. */
Status store_seal_in_place(Store *store, const StoreOptions *options) MUST_CHECK;
/* The same data in a plain file of the same name, opened; `store`, which was sealed and has one session, is left.
 * KVSTORE_BUSY when somebody else has it open, in this process or another. */
Status store_unseal(Store *store, const StoreOptions *options, Store **plain) MUST_CHECK;
/* ---- store.c ---- */
/* The files of a store in memory: shared by the stores that one remove_encryption leads to. */
typedef struct MemoryOs {
  _Atomic uint32_t references;
  Os *os;
} MemoryOs;
MemoryOs *memory_os_retain(MemoryOs *memory); /* NULL is allowed */
/* The byte of the file whose lock says that a process has the store open; the life byte of process n is the n-th after
 * it (PROC-2). */
static const uint64_t presence_byte = UINT64_C(1) << 62;
/* The registry's lock; held for the next six. */
void registry_enter(void);
void registry_leave(void);
/* The path still names the file that is open. */
bool store_has_its_path(Store *store);
/* A store that is not open yet. */
Status store_create(const char *path, const StoreOptions *options, Store **out) MUST_CHECK;
/* Opens it, or gives the one of this file that is open already, with one session more. On a failure the caller looks at
 * (*store)->moved and gives it back. */
Status store_open_registered(const StoreOptions *options, bool as_reader, Store **store) MUST_CHECK;
/* Takes it out of the registry. */
void store_forget(Store *store);
/* Everything that is in the log goes into the file. */
Status store_settle(Store *store) MUST_CHECK;
/* The last process, with the exclusive lock: the file becomes everything, and stands alone. */
Status store_close_last(Store *store) MUST_CHECK;
/* The end of the last session of this process. */
Status store_shut_down(Store *store) MUST_CHECK;
/* The store of a path, with one session counted; another session of it; and the end of one. */
Status store_open(const char *path, const StoreOptions *options, Store **out) MUST_CHECK;
void store_share(Store *store);
Status store_leave(Store *store);
/* Iterators and views keep the store's memory beyond its last session. */
void store_retain(Store *store);
void store_release(Store *store);

#endif
