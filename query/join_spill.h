/* join_spill.h - rows of one side of a join outside of memory, by the hash of their keys, and their way back, a
 * partition at a time: as often as they are asked for, in the order in which they left.
 *
 *   rows of a block ─► their partitions ─► a piece of each ─► the query's scratch file
 *                                                                  │ a piece at a time
 *                         units of arrays, at most a block each ◄──┘
 *
 *   row: for each column that is kept a byte (1: null), then its value; of a string its length (4 bytes) and bytes */
#ifndef COLONNADE_QUERY_JOIN_SPILL_H
#define COLONNADE_QUERY_JOIN_SPILL_H

#include "base/arena.h"
#include "columnar/scan.h"
#include "query/query.h"

enum { JOIN_PARTITION_BITS_MAX = 10 };

typedef struct JoinSpill JoinSpill;

typedef struct JoinSpillOptions {
  const QuerySpace *space;
  const Schema *schema; /* of the scans that rows come from, and of the units that they come back in */
  const bool *kept;     /* for each column; others are null when they come back */
  uint32_t bits;        /* 2^bits partitions */
  uint64_t memory;      /* about as much is used while rows leave */
} JoinSpillOptions;

Status join_spill_create(const JoinSpillOptions *options, JoinSpill **spill) MUST_CHECK;
void join_spill_destroy(JoinSpill *spill); /* NULL is allowed */
uint32_t join_spill_partition(uint64_t hash, uint32_t bits);
/* Rows of a block of the scan's unit, each with its partition. */
Status join_spill_add(JoinSpill *spill, Scan *scan, uint32_t block, const uint16_t *rows, const uint16_t *partitions,
                      uint32_t count) MUST_CHECK;
/* No more rows leave. */
Status join_spill_end(JoinSpill *spill) MUST_CHECK;
uint64_t join_spill_rows(const JoinSpill *spill, uint32_t partition);
uint64_t join_spill_bytes(const JoinSpill *spill); /* written */

/* From the first row of a partition on. */
void join_spill_begin(JoinSpill *spill, uint32_t partition);
/* The next rows of the partition, until the next call; *found is false behind the last. */
Status join_spill_next(JoinSpill *spill, ScanUnit *piece, bool *found) MUST_CHECK;

#endif
