/* extent.h - extents in the file: written with the checksums of their units, read back verified (FILE-3, FILE-4,
 * FILE-6).
 *
 *   | data, in units of 16 KiB ...            | 0 | padding | unit table: 40 bytes a unit |
 *   ^ offset, a multiple of 4 KiB             ^ length                                    ^ extent_bytes(length)
 *
 * A unit's entry is its checksum (8 bytes, XXH3 of the unit's data, seeded with store id, extent id and unit number:
 * not with the offset, so that an extent may be moved as bytes) and zeros; a sealed unit's entry is its nonce and tag,
 * and the table's checksum is then one that takes the key. A sealed file is never mapped. */
#ifndef COLONNADE_ENGINE_EXTENT_H
#define COLONNADE_ENGINE_EXTENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "crypto/store_key.h"
#include "engine/manifest.h"
#include "os/block_cache.h"
#include "os/os.h"
#include "os/source.h"
#include "os/thread.h"

enum { STORE_WINDOWS_MAX = 16384 }; /* 16 TiB */

/* The file of a store, as its extents see it: a window of 1 GiB is mapped once and kept (FILE-6). */
typedef struct StoreFile {
  OsFile *file;
  uint64_t seed; /* of the store id */
  StoreKey *key; /* NULL: plain. Borrowed */
  bool no_map;
  BlockCache *cache; /* units of what is not mapped, frames of what is packed */
  Mutex lock;        /* guards the mapping of windows */
  _Atomic(uint8_t *) *windows;
  uint64_t windows_end; /* those from here on are not mapped: nobody looks at so many zeros */
} StoreFile;

/* `key` is NULL for a plain store; it must outlive the file. `cache_bytes`: the bound of its block cache. */
Status store_file_open(StoreFile *f, OsFile *file, const uint8_t store_id[16], StoreKey *key, bool no_map,
                       uint64_t cache_bytes) MUST_CHECK;
/* Unmaps everything and closes the file. Safe on a zeroed one. */
void store_file_close(StoreFile *f);

/* How much of the file is mapped. */
Status store_file_mapped(StoreFile *f, uint64_t *bytes) MUST_CHECK;

/* Writes the data and the unit table of an extent whose id, offset and length are set; sets its checksum. No sync. */
Status extent_write(StoreFile *f, const uint8_t *bytes, Extent *extent) MUST_CHECK;
/* Reads a whole extent into memory and verifies it: manifests and delete lists. memory_release(*bytes). */
Status extent_read(StoreFile *f, const Extent *extent, uint8_t **bytes) MUST_CHECK;

/* The extents of one run as sources (os/source.h). Owned by the run's holder; closed after its last reader. */
typedef struct ExtentSources {
  StoreFile *file;
  RunSources run; /* for row_run_open and column_run_open */
  struct ExtentState *states;
} ExtentSources;

Status extent_sources_open(StoreFile *f, const Extent *extents, uint32_t count, ExtentSources *out) MUST_CHECK;
void extent_sources_close(ExtentSources *s);
/* Bytes of memory that they hold; any thread. */
uint64_t extent_sources_memory(const ExtentSources *s);
/* Verifies every unit of every extent, also those verified before: reads the bytes that are in the file now. */
Status extent_sources_check(ExtentSources *s) MUST_CHECK;

#endif
