/* superblock.h - pages 0 and 1 of the file: which generation the store is at, and where its manifest lies (FILE-1).
 *
 *   OFFSET  SIZE  FIELD
 *        0     8  magic "Colonnad"
 *        8     4  format number (0)
 *       12     4  page size (4096)
 *       16     8  features that a reader must understand
 *       24     8  features that a writer must understand
 *       32     8  features that may be ignored
 *       40    16  store id, random at birth
 *       56     8  log id, 0: the store names no log
 *       64     8  generation
 *       72     8  manifest: offset in the file, 0: none yet
 *       80     8  manifest: bytes of data
 *       88     8  manifest: extent id
 *       96     8  manifest: checksum of its unit table
 *      104     8  log: offset of the ring in this file, 0: it is path-wal
 *      112     8  log: capacity
 *      120   104  sealing: cipher, cost, salt, wrapped key (crypto/sealing.h); zeros in a plain store
 *      224    16  code of bytes 0 to 224 by the store's key; zeros in a plain store
 *      240   ...  zeros
 *     4088     8  checksum of the 4,088 bytes before it, seeded with the page number */
#ifndef COLONNADE_ENGINE_SUPERBLOCK_H
#define COLONNADE_ENGINE_SUPERBLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/status.h"
#include "crypto/seal.h"
#include "crypto/sealing.h"
#include "os/os.h"

enum { FORMAT_NUMBER = 0, SUPERBLOCK_COUNT = 2 };

typedef struct Superblock {
  uint32_t format;
  uint64_t must_read, must_write, may_ignore;
  uint8_t store_id[16];
  uint64_t log_id;
  uint64_t generation;
  uint64_t manifest_offset, manifest_length, manifest_id, manifest_checksum;
  uint64_t ring_offset, ring_capacity;
  uint8_t sealing[SEALING_BYTES];
  uint8_t mac[SUPERBLOCK_MAC_BYTES]; /* as it was read; made anew when it is written */
} Superblock;

/* Where a log lies. All zeros: there is none. */
typedef struct LogPlace {
  uint64_t log_id;
  uint64_t ring_offset, ring_capacity; /* in the store's own file; 0 and 0: in path-wal */
} LogPlace;
static inline LogPlace superblock_log_place(const Superblock *s) {
  return (LogPlace){ s->log_id, s->ring_offset, s->ring_capacity };
}

typedef enum SuperblockState {
  SUPERBLOCK_VALID,
  SUPERBLOCK_NEW, /* an empty file, or a creation cut off (FILE-2) */
} SuperblockState;

/* Reads both pages and takes the valid one with the higher generation; *page says which. KVSTORE_CORRUPT when neither
 * is valid in a file that is no cut-off creation, or it names a log where none can lie; KVSTORE_UNSUPPORTED for a newer
 * format or an unknown feature. */
Status superblock_read(OsFile *file, Superblock *out, uint32_t *page, SuperblockState *state) MUST_CHECK;
/* Was this one, read from that page, written with the key? KVSTORE_CORRUPT. Of a plain store (key NULL): nothing to
 * ask.
 */
Status superblock_check_key(const Superblock *superblock, uint32_t page, const StoreKey *key) MUST_CHECK;
/* Writes one page, without a sync; `key` is NULL in a plain store. */
Status superblock_write(OsFile *file, const Superblock *superblock, uint32_t page, const StoreKey *key) MUST_CHECK;
/* Writes both in one call (birth). */
Status superblock_write_both(OsFile *file, const Superblock *superblock, const StoreKey *key) MUST_CHECK;

#endif
