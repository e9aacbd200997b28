/* join_sieve.h - rows without a partner in a joined table, left out before anything else is read of them.
 *
 *   block, mask of its rows ─► zone: no partner between its least and greatest key ─────────────────► none stays
 *                           ─► keys are integers that have a bit each: looked up side by side ──────► mask
 *                           ─► else, and of few rows: keys one by one, found as a stage finds them ─► mask
 *
 * A table of a semi or an anti join that asks columns of one table alone is asked here and nowhere else. */
#ifndef COLONNADE_QUERY_JOIN_SIEVE_H
#define COLONNADE_QUERY_JOIN_SIEVE_H

#include "query/join_internal.h"

typedef struct JoinSieve {
  const JoinTable *table; /* whole */
  JoinStep *step;
  bool keeps_partners; /* else those that have none stay */
  bool may_rest;       /* where it leaves few rows out it looks at some blocks only: a stage asks all of them again */
  bool is_plain;       /* one column of integers, whose words are themselves */
  JoinKeys keys;
  const uint64_t *words; /* of the block that was sifted last, when it was read as a whole; until the next one */
  uint64_t blocks, rows_in, rows_out; /* of late */
} JoinSieve;

/* Rows come from scans of the table that the left columns of the step belong to, whose first column is `first` among
 * those of `schema`. */
Status join_sieve_create(JoinSieve *sieve, const JoinTable *table, JoinStep *step, const Schema *schema, uint32_t first,
                         Arena *arena) MUST_CHECK;
/* Rows of a block are looked up at once. */
static inline bool join_sieve_is_side_by_side(const JoinSieve *s) { return s->is_plain && s->table->set.words; }
/* Leaves in the mask of a block of the scan's unit the rows that may go on. */
Status join_sieve_block(JoinSieve *sieve, Scan *scan, uint32_t block, uint64_t mask[BLOCK_WORDS]) MUST_CHECK;

/* The rows of a mask. */
uint32_t join_mask_rows(const uint64_t mask[BLOCK_WORDS], uint16_t rows[BLOCK_ROWS]);

#endif
