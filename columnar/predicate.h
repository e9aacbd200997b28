/* predicate.h - a filter bound to a schema: comparisons of columns with constants and with columns, joined by AND and
 * OR.
 *
 * The same object filters the encoded blocks of a run, the plain arrays of a delta (both in scan.h) and one row of
 * values (predicate_row), each through the same Compare, so that runs, deltas and keyed reads cannot disagree (COL-10).
 *
 * Three-valued logic (docs/semantics.md): NOT is pushed down to the comparisons when a filter is bound, so that at
 * every node "selected" means "is true"; unknown and false look alike from there on. */
#ifndef COLONNADE_COLUMNAR_PREDICATE_H
#define COLONNADE_COLUMNAR_PREDICATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/schema.h"
#include "base/status.h"
#include "encodings/compare.h"
#include "encodings/pair.h"

enum {
  PREDICATE_DEPTH_MAX = 128,     /* levels of a filter's tree: what recursion may take from a thread's stack */
  PREDICATE_NODES_MAX = 1u << 17 /* a text of 1 MiB has fewer */
};

/* ---- what a caller says: not yet checked, not yet bound ---- */
typedef enum PredicateTermKind {
  TERM_TRUE,
  TERM_FALSE,
  TERM_UNKNOWN, /* null as a truth value */
  TERM_COMPARE,
  TERM_COMPARE_COLUMNS, /* column op other: EQUAL to GREATER_EQUAL */
  TERM_AND,             /* of no terms: true */
  TERM_OR,              /* of no terms: false */
  TERM_NOT,             /* of one term */
} PredicateTermKind;

typedef struct PredicateTerm PredicateTerm;
struct PredicateTerm {
  PredicateTermKind kind;
  CompareOperator op; /* COMPARE: column op constants */
  uint32_t column;    /* its position in the schema */
  uint32_t other;     /* COMPARE_COLUMNS: likewise */
  const Value *constants;
  const PredicateTerm *const *terms; /* AND, OR, NOT */
  uint32_t count;                    /* of constants or of terms */
};

/* ---- what it becomes ---- */
typedef enum PredicateKind {
  PREDICATE_NONE, /* no row */
  PREDICATE_ALL,  /* every row */
  PREDICATE_LEAF,
  PREDICATE_PAIR, /* two columns */
  PREDICATE_AND,  /* two children or more, none of them NONE, ALL or AND */
  PREDICATE_OR,   /* two children or more, none of them NONE, ALL or OR */
} PredicateKind;

typedef struct PredicateNode PredicateNode;
struct PredicateNode {
  PredicateKind kind;
  uint32_t number;                      /* 0 to node_count - 1, for what a scan keeps of each node */
  uint32_t column;                      /* LEAF, PAIR: the left one */
  uint32_t other;                       /* PAIR: the right one */
  Compare compare;                      /* LEAF: kind NULL, NOT_NULL, RANGE, SET or PREFIX */
  ComparePair pair;                     /* PAIR */
  const PredicateNode *const *children; /* AND, OR */
  uint32_t child_count;
  bool computes; /* LEAF, PAIR: a column of it is computed; AND, OR: of one below */
};

/* Constant after predicate_bind; may be used by many threads at once. Lives in the arena that it was bound into. */
typedef struct Predicate {
  const PredicateNode *root;
  uint32_t node_count;
  bool computes;     /* a column that it reads is computed (COLUMN_COMPUTED) */
  uint32_t or_depth; /* ORs above each other: how many scratch masks an evaluation needs */
} Predicate;

/* Binds a filter to a schema; everything, copies of string constants included, goes into `arena`. Nulls as constants,
 * NOT, constant parts and several ranges of one column are worked in, so that what is left is small. KVSTORE_SCHEMA  a
 * column position that the schema does not have KVSTORE_TYPE    a constant that does not compare with its column; names
 * the column KVSTORE_ERROR   not as many constants as the operator has KVSTORE_LIMIT   deeper than PREDICATE_DEPTH_MAX,
 * or more nodes than PREDICATE_NODES_MAX */
Status predicate_bind(const Schema *schema, const PredicateTerm *term, Arena *arena, Predicate *out) MUST_CHECK;

/* Whether a constant of one type may stand beside a column of the other (docs/semantics.md). TYPE_NONE (a null):
 * always. */
bool predicate_types_compare(ColumnType column, ColumnType constant);

/* Whether the filter is true of one row: `row` has a value of its type (or null) for every column of the schema. */
bool predicate_row(const Predicate *predicate, const Value *row);

/* ---- filters made of others ----
 * The terms of a filter: what its outermost AND joins, or else its root; of a filter that is true of every row none. */
size_t predicate_term_count(const Predicate *predicate);
const PredicateNode *predicate_term(const Predicate *predicate, size_t index);
/* Sets used[column] for every column that a node reads. */
void predicate_node_columns(const PredicateNode *node, bool *used);
/* The AND of these nodes, copied into `arena`; constants stay where they are. `positions` (NULL: the same) says where
 * each column stands in the new filter's schema. */
Status predicate_of_terms(const PredicateNode *const *terms, size_t count, const uint32_t *positions, Arena *arena,
                          Predicate *out) MUST_CHECK;

/* Sets used[column] for every column that the filter reads; `used` has an entry for every column of the schema. */
void predicate_columns(const Predicate *predicate, bool *used);

#endif
