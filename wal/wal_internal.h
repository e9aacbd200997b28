/* wal_internal.h - the log's object, and the arithmetic of its ring. Private to wal/. */
#ifndef COLONNADE_WAL_WAL_INTERNAL_H
#define COLONNADE_WAL_WAL_INTERNAL_H

#include "wal/wal.h"

struct Wal {
  OsFile *file; /* borrowed */
  uint64_t base, capacity, log_id;
  uint64_t zeroed; /* ring offset below which the file is known to be allocated and zeroed once; the appender's alone */
};

/* How much of the file one read of the ring takes at most. */
enum { WINDOW_READ_BYTES = 1 << 20 };

static inline uint64_t ring_offset(const Wal *wal, uint64_t position) { return position % wal->capacity; }
/* Bytes from a position to its lap's end. */
static inline uint64_t lap_left(const Wal *wal, uint64_t position) {
  return wal->capacity - ring_offset(wal, position);
}
static inline uint64_t file_offset(const Wal *wal, uint64_t position) {
  return wal->base + WAL_HEADER_BYTES + ring_offset(wal, position);
}
/* WAL-2: no record begins where a break would not fit before the lap's end. */
static inline uint64_t skip_lap_end(const Wal *wal, uint64_t position) {
  uint64_t left = lap_left(wal, position);
  return left < RECORD_BREAK_BYTES ? position + left : position;
}

/* May a record begin here? A cursor may come from a manifest, so this is asked before it is used. */
bool position_is_valid(const Wal *wal, uint64_t position);

/* Makes [position, position + length) readable in the window; the range lies in one lap and below `end`. *bytes is NULL
 * when the file ends before. A fresh read takes more, up to a MiB, the lap's end and `end`. */
Status window_load(const Wal *wal, WalWindow *window, uint64_t position, uint64_t length, uint64_t end,
                   const uint8_t **bytes) MUST_CHECK;

/* Reads the record at the cursor, which must end at or below `end`, and steps over it. *fault is NULL when it continues
 * the chain, else it says what is wrong; *at is then unchanged. */
Status record_at(const Wal *wal, WalCursor *at, uint64_t end, WalWindow *window, WalRecord *out,
                 const char **fault) MUST_CHECK;

#endif
