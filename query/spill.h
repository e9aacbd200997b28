/* spill.h - records that went out of memory, in sorted runs, and their way back in order. Runs may stay in memory, too:
 * those of several sorters are merged here.
 *
 *   in memory   record: length of its key (4 bytes), of its values (4), key, values
 *   outside     run: piece | piece | ...      a piece: whole records
 *               record: bytes that its key shares with the one before in the piece, others that it has, length of its
 *                       values (varints), the rest of the key, values; keys ascend by memcmp within a run
 *
 * Merging holds a piece of each run. When there are many runs the smaller ones are merged into one. */
#ifndef COLONNADE_QUERY_SPILL_H
#define COLONNADE_QUERY_SPILL_H

#include "base/arena.h"
#include "base/bytes.h"
#include "query/query.h"

typedef struct Record {
  uint64_t head; /* the key's first bytes, so that most comparisons touch nothing else */
  int64_t rank;  /* the sorter's own */
  uint8_t *bytes;
} Record;

static inline Bytes record_key(const Record *r) { return (Bytes){ r->bytes + 8, load_u32(r->bytes) }; }
static inline Bytes record_values(const Record *r) {
  return (Bytes){ r->bytes + 8 + load_u32(r->bytes), load_u32(r->bytes + 4) };
}
static inline int record_compare(const Record *x, const Record *y) {
  if (x->head != y->head) return x->head < y->head ? -1 : 1;
  Bytes left = record_key(x), right = record_key(y);
  return bytes_compare(left.data, left.length, right.data, right.length);
}

enum { RECORDS_AHEAD = 16 };
/* Its first two lines are about to be read. */
static inline void record_fetch(const Record *r) {
  __builtin_prefetch(r->bytes);
  __builtin_prefetch(r->bytes + 64);
}

typedef struct Spill Spill;
/* `space` is borrowed; NULL: nothing goes out of memory. */
Status spill_create(const QuerySpace *space, Spill **spill) MUST_CHECK;
void spill_destroy(Spill *spill); /* NULL is allowed */
/* A run of records in order. */
Status spill_run(Spill *spill, const Record *records, size_t count) MUST_CHECK;
/* A run of records in order that stay where they are. When it succeeds it takes over the array and the arena that they
 * lie in, which is then empty. */
Status spill_hold(Spill *spill, Record *records, size_t count, Arena *arena) MUST_CHECK;
/* Takes over the runs of another, of which no record was asked for. */
Status spill_take_over(Spill *spill, Spill *other) MUST_CHECK;
/* The next record of all runs; *record is NULL at the end. Valid until the next call. The first call ends the writing.
 */
Status spill_next(Spill *spill, const Record **record) MUST_CHECK;
/* Bytes written so far. */
uint64_t spill_bytes(const Spill *spill);

#endif
