/* pair.h - one comparison of two columns, row by row.
 *
 * Of mathematical values, as compare.h: whatever the two types are, nothing is rounded and nothing wraps. The same
 * object answers for arrays, for zone maps and for single values, so that none of them can disagree. A row where either
 * is null matches nothing, whatever the operator. */
#ifndef COLONNADE_ENCODINGS_PAIR_H
#define COLONNADE_ENCODINGS_PAIR_H

#include "encodings/compare.h"

typedef struct ComparePair {
  ColumnType left, right;
  bool less;    /* left < right is asked, else left = right; of EQUAL to GREATER_EQUAL all are made of these two */
  bool swapped; /* right < left instead */
  bool negated; /* the rows, neither null, where it is not so */
} ComparePair;

/* Whether values of the two types compare with each other. */
bool pair_types_compare(ColumnType a, ColumnType b);
/* `op`: EQUAL to GREATER_EQUAL. KVSTORE_TYPE: the types do not compare. */
Status pair_bind(ColumnType left, CompareOperator op, ColumnType right, ComparePair *out) MUST_CHECK;

/* The mathematical order of two values that compare, neither null: negative, 0 or positive. */
int pair_order(const Value *a, const Value *b);
bool pair_values(const ComparePair *pair, const Value *left, const Value *right);

/* ANDs the verdict on `row_count` (<= BLOCK_ROWS) rows into mask; bits past them become zero. Reads nothing past them.
 */
void pair_filter(const ComparePair *pair, ColumnArray left, ColumnArray right, uint32_t row_count,
                 uint64_t mask[BLOCK_WORDS]);

/* The images and nulls of a column over some rows (minimum > maximum: every row is null). */
typedef struct PairZone {
  int64_t minimum, maximum;
  uint32_t null_count;
} PairZone;
ZoneVerdict pair_zone(const ComparePair *pair, PairZone left, PairZone right, uint32_t row_count);

#endif
