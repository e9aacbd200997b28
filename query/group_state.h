/* group_state.h - what is kept of each group, and how rows are added to it.
 *
 * A state is a row of words: the number of its rows, the unit that touched it last (where that matters to anything:
 * else it is left out, and more states fit the caches), then what each column wants.
 *
 *     rows | unit | column a: count, sum low, sum high | column b: count, least | ...
 *
 * Everything that depends on the order of rows (float sums, variances) is made of each unit by itself and then added in
 * the order of units, whichever way a unit went (docs/semantics.md). */
#ifndef COLONNADE_QUERY_GROUP_STATE_H
#define COLONNADE_QUERY_GROUP_STATE_H

#include "base/arena.h"
#include "columnar/aggregates.h"

typedef union GroupWord {
  uint64_t u;
  int64_t i;
  double f;
  const uint8_t *data;
} GroupWord;

enum { GROUP_ROWS, GROUP_UNIT, GROUP_HEAD /* words before those of the columns */ };

/* What a column is asked for. */
enum {
  GROUP_COUNT = 1,    /* 1 word; not kept of columns that cannot be null: it is the rows */
  GROUP_SUM = 2,      /* integers: 2 words, of images; floats: the units before, this unit */
  GROUP_LEAST = 4,    /* numbers: an image; strings: where, and length and room */
  GROUP_GREATEST = 8, /* the same */
  GROUP_SPREAD = 16,  /* 6 words: count, mean, sum of squares, of the units before and of this one */
  GROUP_FIRST = 32,   /* 6 words: see GroupEnd */
  GROUP_LAST = 64,
  GROUP_DISTINCT = 128, /* 1 word */
  GROUP_SKETCH = 256,   /* 2 words: where, and length and room, of SKETCH_BYTES */
  GROUP_VALUES = 512,   /* none: values are kept or sorted, and each quantile that is asked for has words of its own */
};

enum { SPREAD_WORDS = 3 };
typedef struct Spread { /* of some numbers: Welford 1962, merged as in Chan, Golub and LeVeque 1979 */
  double count, mean, squares;
} Spread;

/* Within a state: the row of the least or greatest key so far. */
enum {
  END_FLAGS, /* 1: there is one; 2: its value is null */
  END_ROW,   /* of the current unit: one more than its number; 0: none */
  END_KEY,   /* encoded: where, and length and room */
  END_VALUE = END_KEY + 2,
  END_WORDS = END_VALUE + 2
};

typedef struct GroupColumn {
  uint32_t column; /* in the schema */
  ColumnType type;
  bool nullable;
  uint32_t wants;
  uint32_t count, sum, least, greatest, spread, first, last, distinct, sketch; /* where in a state */
} GroupColumn;

/* Lays out what the column wants from word `at` on; returns where it ends. */
uint32_t group_column_place(GroupColumn *column, uint32_t at);
/* The words of a group without rows. */
void group_column_clear(const GroupColumn *column, GroupWord *state);

static inline uint64_t group_column_count(const GroupColumn *c, const GroupWord *state) {
  return c->nullable ? state[c->count].u : state[GROUP_ROWS].u;
}

/* ---- adding ---- */

/* Numbers as images; and as doubles: of the `count` entries of an array, at most BLOCK_ROWS. */
void group_images(ColumnType type, const void *values, uint32_t count, int64_t *images);
void group_doubles(ColumnType type, const void *values, const int64_t *images, uint32_t count, double *doubles);

/* Adds 128 bits. */
static inline void group_add_wide(GroupWord *sum, uint64_t low, uint64_t high) {
  uint64_t total = sum[0].u + low;
  sum[1].u += high + (total < low);
  sum[0].u = total;
}
static inline void spread_add(Spread *s, double x) {
  double difference = x - s->mean;
  s->count += 1;
  s->mean += difference / s->count;
  s->squares += difference * (x - s->mean);
}
/* Other numbers to those that were. */
void spread_merge(Spread *s, const Spread *more);
/* The values of one block, side by side, with room for whole blocks behind them: their average, then the squares of the
 * distances from it. What is not finite goes one by one. */
void spread_add_block(Spread *s, const double *values, uint32_t count);
/* What a unit has, to the units before. */
void group_merge_spread(GroupWord *words, const Spread *unit);
/* A block, where all rows are one group. */
void group_spread_block(GroupWord *words, const double *values, uint32_t count);
/* This unit's part of what depends on order goes to the units before. */
void group_column_end_unit(const GroupColumn *column, GroupWord *state);

/* What another state of the group has, but for what depends on the order of units. */
Status group_column_merge(const GroupColumn *column, GroupWord *to, const GroupWord *from, Arena *arena) MUST_CHECK;

/* Copies a string into the two words at `keep`, into the room that is there or into new room of `arena`. */
Status group_keep_bytes(GroupWord *keep, Bytes bytes, Arena *arena) MUST_CHECK;
static inline Bytes group_kept(const GroupWord *keep) { return (Bytes){ keep[0].data, keep[1].u & UINT32_MAX }; }
/* A string for least or greatest. */
Status group_add_bytes(const GroupColumn *column, GroupWord *state, Bytes bytes, Arena *arena) MUST_CHECK;
/* Whether a row with this key, which comes behind the one kept, is further at its end (`last`: or at the other). */
bool group_end_is_better(const GroupWord *end, Bytes key, bool last);
Status group_keep_end(GroupWord *end, Bytes key, const Value *value, Arena *arena) MUST_CHECK;

/* A sketch of different values: HyperLogLog (Flajolet, Fusy, Gandouet and Meunier 2007) over 64-bit hashes, so that
 * large counts need no correction; small ones are counted by the registers that are still 0. 4,096 registers err by 1.6
 * %. */
enum { SKETCH_BITS = 12, SKETCH_BYTES = 1 << SKETCH_BITS };
Status group_sketch_add(GroupWord *keep, uint64_t hash, Arena *arena) MUST_CHECK;
uint64_t group_sketch_count(const GroupWord *keep);

/* Where a quantile of a group lies: END_FLAGS and the two words of END_VALUE. */
enum { QUANTILE_WORDS = 3 };
/* The place, from 1, of a quantile among so many values. */
uint64_t group_quantile_place(uint64_t count, uint32_t millionths);
Status group_keep_quantile(GroupWord *words, const Value *value, Arena *arena) MUST_CHECK;
AggregateResult group_quantile(ColumnType type, const GroupWord *words);

/* ---- results ---- */
AggregateResult group_result(const GroupColumn *column, AggregateKind kind, const GroupWord *state);
/* A number (not a string) from its image: zeros are 0.0, a NaN the canonical one. */
Value group_image_value(ColumnType type, int64_t image);

#endif
