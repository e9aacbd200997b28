/* scratch.h - room for what a query has no memory for: a file beside the store that has no name once it is made, so
 * that it goes with its last user, sealed when the store is.
 *
 *   piece | piece | ...        each: checksum (8 bytes), or nonce and tag (40 bytes); then its bytes
 *
 * Pieces are appended and read back whole. Nothing is synced: after a crash nobody asks for it. A process that dies
 * between making the file and taking its name away leaves `path-scratch-` and 16 digits behind, which mean nothing.
 *
 * Several threads of a query may write and read. A Scratch is destroyed before the snapshot of its query. */
#ifndef COLONNADE_ENGINE_SCRATCH_H
#define COLONNADE_ENGINE_SCRATCH_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "engine/engine.h"

typedef struct Scratch Scratch;

/* Of the session's store. No file is made before the first piece is written. */
Status scratch_create(Session *session, Scratch **scratch) MUST_CHECK;
void scratch_destroy(Scratch *scratch); /* NULL is allowed */
/* Appends a piece; *at is where it lies, for scratch_read. KVSTORE_FULL, KVSTORE_IO, KVSTORE_READONLY: no file can be
 * made beside the store. */
Status scratch_write(Scratch *scratch, const void *bytes, size_t length, uint64_t *at) MUST_CHECK;
/* The whole piece that was written there, `length` bytes long. KVSTORE_CORRUPT: it is not what was written. */
Status scratch_read(Scratch *scratch, uint64_t at, void *bytes, size_t length) MUST_CHECK;
/* Bytes written so far. */
uint64_t scratch_bytes(const Scratch *scratch);

#endif
