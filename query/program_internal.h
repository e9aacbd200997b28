/* program_internal.h - the typed tree of a computed column. */
#ifndef COLONNADE_QUERY_PROGRAM_INTERNAL_H
#define COLONNADE_QUERY_PROGRAM_INTERNAL_H

#include "query/program.h"

typedef enum NodeKind {
  NODE_CONSTANT,
  NODE_COLUMN,
  NODE_CALL,
  NODE_CONVERT,  /* to `type`; an error where a value has no place in it, or null */
  NODE_CASE,     /* children: condition, value, ..., value of all others (always there) */
  NODE_COALESCE, /* children of the same lane */
  NODE_TEST,     /* one child and constants */
  NODE_PAIR,     /* two children */
  NODE_AND,      /* of two or more conditions */
  NODE_OR,
  NODE_NOT,
} NodeKind;

/* What values are computed in: every integer but u64, dates, times and decimals as i64, floats as f64. */
typedef enum Lane { LANE_BOOL, LANE_I64, LANE_U64, LANE_F64, LANE_BYTES } Lane;

static inline Lane lane_of(ColumnType type) {
  if (type == TYPE_BOOL) return LANE_BOOL;
  if (type == TYPE_U64) return LANE_U64;
  if (type_is_float(type)) return LANE_F64;
  return type_is_string(type) ? LANE_BYTES : LANE_I64;
}
/* The type whose natural array a lane is. */
static inline ColumnType lane_type(Lane lane) {
  static const ColumnType types[] = { TYPE_BOOL, TYPE_I64, TYPE_U64, TYPE_F64, TYPE_BYTES };
  return types[lane];
}

/* Types whose values beside another type are not those of their lanes: dates and timestamps, decimals. */
static inline bool pair_is_mixed(ColumnType type) { return type == TYPE_DATE || type_is_decimal(type); }

struct ProgramNode {
  NodeKind kind;
  ColumnType type; /* TYPE_NONE: a null by itself */
  uint32_t slot;   /* among the vectors of its column */
  uint32_t count;
  const ProgramNode *const *children;
  ExpressionFunction function; /* CALL */
  bool tries;                  /* CALL, CONVERT: null instead of an error */
  int digits;                  /* CALL of round; date_trunc: its unit; TEST: not 0 for is null, is not null */
  uint32_t column;             /* COLUMN */
  Value constant;              /* CONSTANT */
  Compare compare;             /* TEST, of the child's lane */
  ComparePair pair;            /* PAIR, likewise */
};

typedef enum TruncUnit {
  UNIT_SECOND,
  UNIT_MINUTE,
  UNIT_HOUR,
  UNIT_DAY,
  UNIT_WEEK,
  UNIT_MONTH,
  UNIT_QUARTER,
  UNIT_YEAR
} TruncUnit;

/* ---- program.c ---- */
/* The tree of an expression, and how many nodes it has. */
Status program_bind(Program *program, const Expression *e, const Value *parameters, size_t parameter_count,
                    const ProgramNode **root, uint32_t *node_count) MUST_CHECK;

/* ---- program_columns.c ---- */
/* "a + b as c: ", the title, before a failure that names no column: it is of the value itself, c. */
Status program_name_failure(Status status, const char *name, const char *title) MUST_CHECK;
/* Of the conditions of an AND or OR those that test columns come before those that compute, else in their order: what
 * they exclude is not computed. */
Status program_columns_first(Program *program, ProgramNode *joined) MUST_CHECK;
/* The least and greatest number of an integer type, as i64 (u64: 0 and INT64_MAX). */
void integer_bounds(ColumnType type, int64_t *low, int64_t *high);

/* ---- evaluate.c ---- */
typedef struct Vector {
  const void *values;   /* of the node's lane */
  const uint8_t *nulls; /* a byte a row; NULL: none is null */
  bool is_bounded;      /* LANE_I64: every value, those beneath nulls too, lies within */
  int64_t low, high;
  void *own_values; /* room for BLOCK_ROWS of a lane */
  uint8_t *own_nulls;
} Vector;

/* A block of a column of the table as its lane has it: columns stand several times in what is computed. */
typedef struct ReadColumn {
  uint64_t unit; /* as the scan counts them */
  uint32_t block;
  Vector vector; /* own_values: NULL until it is first used */
} ReadColumn;

/* One batch on its way. */
struct Evaluator {
  const Program *program;
  Arena arena;       /* of the vectors */
  Arena own_strings; /* over arrays: of the current batch */
  Vector **vectors;  /* of each computed column, made when first used */
  ColumnArray *outputs;
  ReadColumn *sources; /* by column of the table */
  uint32_t count;      /* rows of the batch */
  uint32_t computing;  /* the computed column */
  Vector *at;          /* its vectors */
  /* over a scan */
  Scan *scan;
  uint32_t block;       /* as it lies */
  const uint16_t *rows; /* or few rows of the unit; NULL: none */
  void *block_values;   /* a column as it is stored */
  /* over arrays */
  ColumnArray *columns;
};

/* Of the batch's rows those in `wanted` must be right; others may be anything. */
Status evaluate_node(Evaluator *e, const ProgramNode *node, const uint64_t *wanted, Vector **out) MUST_CHECK;
/* "a + b: `what`, in the row with key ..." `value` may be NULL. */
Status evaluate_fail(Evaluator *e, uint32_t row, const Value *value, const char *format, ...) PRINTF_LIKE(4, 5);
/* Room for strings as long as the batch; NULL: no memory. */
uint8_t *evaluate_room(Evaluator *e, size_t bytes);
/* A node's own arrays. */
static inline Vector *node_vector(Evaluator *e, const ProgramNode *node) { return &e->at[node->slot]; }
/* Nulls where one of the two is null; then v->nulls. */
void evaluate_nulls(Evaluator *e, Vector *v, const Vector *a, const Vector *b);

static inline bool wants_row(const uint64_t *wanted, const uint8_t *nulls, uint32_t i) {
  return (wanted[i / 64] >> (i % 64) & 1) && !(nulls && nulls[i]);
}

/* ---- evaluate_numbers.c, evaluate_text.c, evaluate_convert.c: a CALL or CONVERT whose children are done ---- */
Status evaluate_number(Evaluator *e, const ProgramNode *node, const Vector *a, const Vector *b, const uint64_t *wanted,
                       Vector *out) MUST_CHECK;
Status evaluate_text(Evaluator *e, const ProgramNode *node, const Vector *const *arguments, const uint64_t *wanted,
                     Vector *out) MUST_CHECK;
Status evaluate_date(Evaluator *e, const ProgramNode *node, const Vector *a, const uint64_t *wanted,
                     Vector *out) MUST_CHECK;
Status evaluate_convert(Evaluator *e, const ProgramNode *node, const Vector *a, const uint64_t *wanted,
                        Vector *out) MUST_CHECK;

#endif
