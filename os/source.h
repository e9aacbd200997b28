/* source.h - how the bytes of an extent arrive: mapped or cached, plain or sealed, the reader cannot tell.
 *
 * An extent is bytes in units of 16 KiB (protocol FILE-3). A source verifies a unit (checksum, or decryption) at its
 * first touch in this process and remembers it in a bit; after that a read through it is one test and one addition. The
 * engine fills in the methods, so that rowstore and columnar see neither the file nor the cipher. */
#ifndef COLONNADE_OS_SOURCE_H
#define COLONNADE_OS_SOURCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/status.h"

typedef struct Source Source;
typedef struct SourcePin {
  void *cached;
} SourcePin; /* {NULL}: nothing to give back */

typedef struct SourceMethods {
  /* Makes [offset, offset + length) readable and verified; called when the fast path below did not answer. */
  Status (*block)(Source *source, uint64_t offset, size_t length, const uint8_t **bytes, SourcePin *pin);
  void (*release)(Source *source, SourcePin *pin);
} SourceMethods;

struct Source {
  const SourceMethods *methods;
  void *context;            /* of whoever filled the methods */
  struct BlockCache *cache; /* for what is decoded from the extent; NULL: none, it is decoded each time */
  uint64_t number;          /* its number there */
  const uint8_t *base;      /* the whole extent in memory, or NULL when it must be fetched through the cache */
  uint64_t
    length; /* bytes of data (without the unit table); at least CHUNK_PADDING readable bytes follow when mapped */
  _Atomic uint64_t *verified; /* a bit a unit; NULL when nothing needs verifying */
};

/* `length` bytes at `offset`, in place. *bytes stays valid until source_release(pin); with a mapped source, as long as
 * the source. KVSTORE_CORRUPT when the range leaves the extent or a unit fails its check. */
static inline Status source_block(Source *s, uint64_t offset, size_t length, const uint8_t **bytes, SourcePin *pin) {
  pin->cached = NULL;
  if (LIKELY(s->base && length && length <= s->length && offset <= s->length - length)) {
    if (!s->verified) {
      *bytes = s->base + offset;
      return KVSTORE_OK;
    }
    uint64_t unit = offset / UNIT_BYTES, last = (offset + length - 1) / UNIT_BYTES;
    if (LIKELY(unit == last &&
               (atomic_load_explicit(&s->verified[unit / 64], memory_order_acquire) >> (unit % 64) & 1))) {
      *bytes = s->base + offset;
      return KVSTORE_OK;
    }
  }
  return s->methods->block(s, offset, length, bytes, pin);
}
static inline void source_release(Source *s, SourcePin *pin) {
  if (pin->cached) s->methods->release(s, pin);
}

/* A source over plain memory that is trusted: tests, and what has just been written. */
Source source_over_memory(const void *bytes, uint64_t length);

/* Where a writer of runs puts its extents. `emit` takes the bytes of one whole extent (it copies or writes them before
 * it returns; it may overwrite nothing) and numbers it: ordinals ascend from 0 within a run. */
typedef struct RunSink {
  void *context;
  Status (*emit)(void *context, const uint8_t *bytes, size_t length, uint32_t *ordinal);
} RunSink;

/* The extents of a run, by ordinal, for its reader. */
typedef struct RunSources {
  Source *sources;
  uint32_t count;
} RunSources;

#endif
