/* manifest.h - the list of everything that a generation of the store consists of.
 *
 * One manifest is one extent, written whole at each checkpoint and never changed. In memory it is immutable and
 * counted; versions share it. Its bytes: docs/format.md, section "Manifest". */
#ifndef COLONNADE_ENGINE_MANIFEST_H
#define COLONNADE_ENGINE_MANIFEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/schema.h"
#include "base/status.h"
#include "wal/wal.h"

/* A 4 KiB-aligned piece of the file: `length` bytes of data, the unit table at the end of its `bytes` (FILE-3). */
typedef struct Extent {
  uint64_t id;       /* never reused */
  uint64_t offset;   /* in the file */
  uint64_t length;   /* of the data */
  uint64_t checksum; /* of the unit table */
  uint64_t birth;    /* the generation in which it was written: an adopted run is read before a manifest names it */
} Extent;

/* What an extent of `length` data bytes takes in the file: data, its padding, 40 bytes a unit, whole pages. */
uint64_t extent_bytes(uint64_t length);
uint64_t extent_unit_count(uint64_t length);

enum { RUN_ROWS = 1, RUN_COLUMNS = 2 };
enum { DELETES_LIST = 1, DELETES_BITMAP = 2 };
enum { RUN_DELETES_MAX = 17 }; /* one bitmap and up to 16 lists */

typedef struct RunDeletes {
  uint32_t kind; /* DELETES_* */
  Extent extent;
} RunDeletes;

typedef struct RunEntry {
  uint32_t number; /* never reused: locators name it */
  uint32_t kind;   /* RUN_* */
  uint32_t level;  /* kv: 0 overlapping, 1 key-disjoint; tables: size tier */
  uint32_t schema_version;
  uint64_t row_count, dead_count;
  uint64_t data_bytes;   /* of its extents in the file */
  uint32_t extent_count; /* the last one is the directory */
  Extent *extents;
  uint32_t deletes_count;
  RunDeletes *deletes; /* oldest first */
} RunEntry;

/* How a kv family behaves; zeros are the defaults. On disk: docs/format.md. */
typedef struct FamilyOptions {
  int64_t default_ttl_ms;  /* of rows put without an expiry; 0: none */
  uint32_t compression;    /* of its runs: 0: as the store's options say; else COMPRESSION_* + 1 */
  uint32_t changes_family; /* the hidden family that holds what was changed in this one; 0: nobody wants to know */
  int64_t changes_ms;      /* how long it holds a change at least; 0 without one */
  uint32_t columns_family; /* the hidden table that holds columns over the pairs; 0: none are declared */
  uint32_t columns_built;  /* 1: every pair has its row there; 0: those written since they were declared, at least */
} FamilyOptions;

typedef struct FamilyEntry {
  uint32_t id;
  uint32_t kind;  /* FAMILY_* */
  uint32_t flags; /* FAMILY_HIDDEN */
  char *name;
  FamilyOptions options;
  Schema schema; /* tables; zero for kv */
  uint64_t next_row_id;
  uint64_t keys; /* kv: at the manifest's boundary, expired ones included; or KEYS_UNKNOWN */
  uint32_t next_column_id;
  uint32_t run_count;
  RunEntry *runs; /* newest first; kv level 1 last, in key order */
} FamilyEntry;

enum { FAMILY_HIDDEN = 1, FAMILY_HAS_OPTIONS = 2 }; /* the second on disk alone: options follow */
#define KEYS_UNKNOWN UINT64_MAX

/* An extent that no generation from `death` on names: free when no pin lies in [birth, death) (FILE-7). */
typedef struct LimboEntry {
  uint64_t offset, bytes, birth, death;
} LimboEntry;

typedef struct Manifest {
  _Atomic uint32_t references;
  uint64_t generation;
  uint8_t store_id[16];
  WalCursor replay; /* where replay starts: just behind the boundary that this generation holds */
  uint64_t log_id; /* of the log that `replay` lies in; when the superblock names another one, that is replayed whole */
  uint64_t log_end; /* a clean close: the position where the log ends; else 0 */
  uint32_t next_family_id, next_run_number;
  uint64_t next_extent_id;
  int64_t clock_ms; /* the latest reading (store_clock) */
  uint32_t family_count;
  FamilyEntry *families; /* ascending ids */
  uint32_t limbo_count;
  LimboEntry *limbo;
  Extent self; /* where this manifest lies; not in its own bytes */
  Arena arena; /* holds all of the above */
} Manifest;

/* An empty manifest with one reference; the caller fills it from its arena. NULL when out of memory. */
Manifest *manifest_create(void);
Manifest *manifest_retain(Manifest *m);
void manifest_release(Manifest *m);

/* The bytes of a manifest, and back: checked against nonsense (counts, kinds, names, offsets beyond `file_size`,
 * extents that overlap). KVSTORE_CORRUPT with a sentence. */
Status manifest_encode(const Manifest *m, Buffer *out) MUST_CHECK;
Status manifest_decode(Bytes bytes, uint64_t file_size, Manifest **out) MUST_CHECK;

/* One extent, as it stands in a manifest: 40 bytes. */
void extent_encode(const Extent *extent, Buffer *out);
Status extent_decode(Reader *in, uint64_t file_size, Extent *out) MUST_CHECK;
/* Options as they follow a family's schema when they are not the defaults; reading refuses the defaults, and what
 * cannot be. */
bool family_options_are_default(const FamilyOptions *options);
bool family_options_are_valid(const FamilyOptions *options);
void family_options_encode(const FamilyOptions *options, Buffer *out);
bool family_options_decode(Reader *in, FamilyOptions *out);
/* A run entry alone, as an adopted run's record holds it. The reader allocates from `arena`. */
void run_entry_encode(const RunEntry *run, Buffer *out);
Status run_entry_decode(Reader *in, Arena *arena, uint64_t file_size, RunEntry *out) MUST_CHECK;

/* Deep copies into an arena. */
Status run_entry_copy(const RunEntry *from, Arena *arena, RunEntry *to) MUST_CHECK;
/* All but the runs. */
Status family_entry_copy(const FamilyEntry *from, Arena *arena, FamilyEntry *to) MUST_CHECK;

/* Calls `visit` for every extent that the manifest names, itself included. */
void manifest_each_extent(const Manifest *m, void (*visit)(void *context, const Extent *extent), void *context);
FamilyEntry *manifest_family(const Manifest *m, uint32_t id); /* NULL: none */

#endif
