/* program.h - values that are computed from columns: expressions bound to a schema, typed, and evaluated in batches.
 *
 * A Program is a schema and further columns behind its own, each an expression over those before. Bound to the schema
 * of a table, a scan computes them from its blocks (columnar/scan.h: ScanComputer), so that filters, aggregates,
 * groups and orders take them for columns. Bound to the columns of groups, they are computed from batches.
 *
 * Evaluation goes node by node over up to 1,024 rows at once, in typed loops; rows that are not wanted are computed
 * along with the others where that is cheaper, but only a wanted row can fail. What a value means, and what fails:
 * docs/semantics.md.
 *
 * Threads: a Program is constant once its columns are added; an Evaluator belongs to one thread at a time. */
#ifndef COLONNADE_QUERY_PROGRAM_H
#define COLONNADE_QUERY_PROGRAM_H

#include "base/arena.h"
#include "base/schema.h"
#include "columnar/scan.h"
#include "query/expression.h"

enum { PROGRAM_NODES_MAX = 4096 /* of one column */, PROGRAM_COLUMNS_MAX = 2048 };

typedef struct ProgramNode ProgramNode;

typedef struct ProgramColumn {
  ColumnType type;
  bool is_named;     /* by the author: else its name is its canonical text */
  const char *title; /* what a failure says: the canonical text, and the author's name */
  const ProgramNode *root;
  uint32_t node_count;
} ProgramColumn;

/* `schema` is extended in place: its columns from base_count on are computed (COLUMN_COMPUTED). Their names are the
 * schema's, all else lives in the arena. */
struct Program {
  Schema *schema;
  uint32_t base_count, column_count; /* of computed ones */
  ProgramColumn *columns;
  size_t column_capacity;
  Arena arena;
};

void program_init(Program *program, Schema *schema);
void program_release(Program *program); /* not the schema */
/* Sets used[position] for every column that a computed one reads, itself and computed ones below it included. */
void program_columns(const Program *program, uint32_t position, bool *used);

/* The column of an expression, added unless an equal one is there. `name`: of its author, or empty. After a failure the
 * program is as before.
 *   KVSTORE_SCHEMA  no such column
 *   KVSTORE_TYPE    an operator or function that does not take such values; names both
 *   KVSTORE_ERROR   parameters
 *   KVSTORE_LIMIT   too many parts or columns */
Status program_add(Program *program, const Expression *expression, const Value *parameters, size_t parameter_count,
                   Bytes name, uint32_t *position) MUST_CHECK;

/* Whether an expression is the same whatever the row; then its value (strings in `arena`). KVSTORE_TYPE and the like as
 * program_add, and as evaluation. */
Status program_constant(const Expression *expression, const Value *parameters, size_t parameter_count, Arena *arena,
                        bool *is_constant, Value *out) MUST_CHECK;

/* ---- over a table ---- */
/* What a scan computes these columns by; borrows the program. NULL functions when nothing is computed. */
ScanComputer program_computer(const Program *program);

/* ---- over arrays ---- */
typedef struct Evaluator Evaluator;
Status evaluator_create(const Program *program, Evaluator **evaluator) MUST_CHECK;
void evaluator_destroy(Evaluator *evaluator); /* NULL is allowed */
/* Begins a batch of `row_count` rows, at most BLOCK_ROWS, of `columns`, which has an entry for every column of the
 * schema: those from base_count on are set. Arrays and strings are the evaluator's until the next batch. */
void evaluator_begin(Evaluator *evaluator, ColumnArray *columns, uint32_t row_count);
/* Computes one of those columns: rows in `wanted` will be right, and only they can fail. */
Status evaluator_column(Evaluator *evaluator, uint32_t position, const uint64_t *wanted) MUST_CHECK;
/* A batch, and all columns for all of its rows. */
Status evaluator_arrays(Evaluator *evaluator, ColumnArray *columns, uint32_t row_count) MUST_CHECK;

#endif
