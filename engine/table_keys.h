/* table_keys.h - where the rows of many keys lie, as one sequence sees them: batches of keys, each looked up together.
 *
 *   keys as columns ──encode──► batch ──deltas, then runs──► rows that are there, in the order in which they lie */
#ifndef COLONNADE_ENGINE_TABLE_KEYS_H
#define COLONNADE_ENGINE_TABLE_KEYS_H

#include "base/word_sort.h"
#include "engine/table_write.h"

enum { TABLE_KEYS_BATCH = 32768 }; /* keys whose bytes, hashes and places are in memory at once: about 5 MiB */

/* A row that was found: its word says where it lies, its number which key of the batch found it. Rows of one segment of
 * a run, or of one delta, have their words next to each other. */
typedef NumberedWord FoundKey;
#define FOUND_IN_DELTA (UINT64_C(1) << 63)
static inline bool found_in_delta(uint64_t word) { return (word & FOUND_IN_DELTA) != 0; }
/* Which delta or run of the era. */
static inline uint32_t found_layer(uint64_t word) { return (uint32_t)((word & ~FOUND_IN_DELTA) >> 32); }
/* The row of a delta, the position in a run. */
static inline uint32_t found_row(uint64_t word) { return (uint32_t)word; }

typedef struct TableKeys {
  PreparedRows rows;     /* of the whole schema, but only columns of the key have values */
  Arena arena;           /* of the columns and of what follows */
  Arena encoded;         /* the bytes of a batch */
  uint32_t first, count; /* the batch */
  Bytes *keys;
  uint64_t *hashes;
  uint64_t *locators;
  FoundKey *words[2]; /* one is room for the other */
  FoundKey *found;
  uint32_t found_count;
} TableKeys;

/* `keys`: an array of `count` values for each column of the key, in its order; borrowed until the end. Checks all of
 * them: KVSTORE_TYPE names row and column. Whatever it says, table_keys_end follows. */
Status table_keys_begin(TableKeys *k, const Schema *schema, const ColumnArray *keys, uint32_t count) MUST_CHECK;
/* On to the next batch, at first to the first; *more is false behind the last. */
Status table_keys_next(TableKeys *k, bool *more) MUST_CHECK;
/* Looks for the rows of the batch, expired ones too. A key that comes twice is found twice. */
Status table_keys_find(TableKeys *k, Era *era, uint64_t sequence) MUST_CHECK;
void table_keys_end(TableKeys *k);

#endif
