/* expression.h - a filter, or a value to be computed, as its author wrote it: columns by name, literals, parameters.
 * Grammar: docs/semantics.md.
 *
 * Made by functions or from text, printed back as canonical text (print, parse, print gives the same text), and bound
 * to a schema, which makes a Predicate (columnar/predicate.h). An expression is constant once made; it lives in its
 * arena. */
#ifndef COLONNADE_QUERY_EXPRESSION_H
#define COLONNADE_QUERY_EXPRESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/schema.h"
#include "base/status.h"
#include "columnar/predicate.h"

enum {
  EXPRESSION_TEXT_MAX = 1 << 28,     /* bytes of a filter's text: lists may be long */
  EXPRESSION_DEPTH_MAX = 100,        /* levels of a filter, parentheses included; below PREDICATE_DEPTH_MAX */
  EXPRESSION_REPEATED_MAX = 1 << 22, /* bytes of the canonical text that stand in it again */
};

typedef enum ExpressionKind {
  EXPRESSION_TRUE,
  EXPRESSION_FALSE,
  EXPRESSION_UNKNOWN, /* null */
  EXPRESSION_TEST,
  EXPRESSION_AND,
  EXPRESSION_OR,
  EXPRESSION_NOT,
  EXPRESSION_COLUMN, /* from here on: values; of operands alone */
  EXPRESSION_VALUE,  /* a literal or a parameter: its one operand */
  EXPRESSION_CALL,
  EXPRESSION_CASE, /* operands: condition, value, condition, value, ..., and perhaps the value of all others */
} ExpressionKind;

typedef enum ExpressionFunction {
  FUNCTION_ADD,
  FUNCTION_SUBTRACT,
  FUNCTION_MULTIPLY,
  FUNCTION_DIVIDE,
  FUNCTION_MODULO,
  FUNCTION_TRY_ADD, /* as the five above, in their order */
  FUNCTION_TRY_SUBTRACT,
  FUNCTION_TRY_MULTIPLY,
  FUNCTION_TRY_DIVIDE,
  FUNCTION_TRY_MODULO,
  FUNCTION_BIT_AND,
  FUNCTION_NEGATE,
  FUNCTION_CAST, /* these two have a type */
  FUNCTION_TRY_CAST,
  FUNCTION_COALESCE,
  FUNCTION_ABS,
  FUNCTION_ROUND,
  FUNCTION_FLOOR,
  FUNCTION_CEIL,
  FUNCTION_LENGTH,
  FUNCTION_LOWER,
  FUNCTION_UPPER,
  FUNCTION_SUBSTR,
  FUNCTION_YEAR,
  FUNCTION_QUARTER,
  FUNCTION_MONTH,
  FUNCTION_DAY,
  FUNCTION_DOW,
  FUNCTION_DOY,
  FUNCTION_HOUR,
  FUNCTION_MINUTE,
  FUNCTION_SECOND,
  FUNCTION_DATE_TRUNC,
  FUNCTIONS
} ExpressionFunction;

typedef enum ExpressionTest {
  TEST_EQUAL,
  TEST_NOT_EQUAL,
  TEST_LESS,
  TEST_LESS_EQUAL,
  TEST_GREATER,
  TEST_GREATER_EQUAL,
  TEST_BETWEEN,
  TEST_NOT_BETWEEN,
  TEST_IN,
  TEST_NOT_IN,
  TEST_LIKE, /* the operand is the pattern, its % included */
  TEST_NOT_LIKE,
  TEST_IS_NULL,
  TEST_IS_NOT_NULL,
  TEST_IS_NAN,
  TEST_IS_NOT_NAN,
  TEST_IS_TRUE, /* a bool column by itself */
  TEST_BITS,    /* (column & first operand) = second operand */
  TEST_NOT_BITS,
} ExpressionTest;

typedef struct Expression Expression;
typedef struct ExpressionOperand {
  bool is_parameter;
  uint32_t parameter;   /* which one, from 0 */
  const Expression *of; /* what is computed; NULL: the value, or the parameter */
  Value value;
} ExpressionOperand;

struct Expression {
  ExpressionKind kind;
  ExpressionTest test;               /* TEST */
  uint32_t depth;                    /* 1 and the deepest below */
  Bytes column;                      /* TEST of a column, COLUMN */
  const Expression *subject;         /* TEST of anything else; NULL: of a column */
  ExpressionFunction function;       /* CALL */
  ColumnType type;                   /* CALL of a cast */
  const ExpressionOperand *operands; /* TEST, VALUE, CALL, CASE */
  const Expression *const *children; /* AND, OR, NOT */
  uint32_t count;                    /* of operands or children */
};

/* ---- by functions. What they are given is copied into the arena, but for other expressions. ---- */
Status expression_constant(Arena *arena, ExpressionKind kind, const Expression **out) MUST_CHECK;
Status expression_name(Arena *arena, Bytes column, const Expression **out) MUST_CHECK;
Status expression_value(Arena *arena, const ExpressionOperand *operand, const Expression **out) MUST_CHECK;
/* KVSTORE_ERROR: not as many operands as the function takes. `type`: of a cast. */
Status expression_call(Arena *arena, ExpressionFunction function, ColumnType type, const ExpressionOperand *operands,
                       size_t count, const Expression **out) MUST_CHECK;
Status expression_case(Arena *arena, const ExpressionOperand *operands, size_t count,
                       const Expression **out) MUST_CHECK;
/* KVSTORE_ERROR when the test does not take `count` operands. */
Status expression_test(Arena *arena, Bytes column, ExpressionTest test, const ExpressionOperand *operands, size_t count,
                       const Expression **out) MUST_CHECK;
/* The same of a value that is no column. */
Status expression_test_of(Arena *arena, const Expression *subject, ExpressionTest test,
                          const ExpressionOperand *operands, size_t count, const Expression **out) MUST_CHECK;
/* `kind` AND or OR: of one child the child itself, of none true or false. NOT: of exactly one. KVSTORE_LIMIT when
 * deeper than EXPRESSION_DEPTH_MAX. */
Status expression_join(Arena *arena, ExpressionKind kind, const Expression *const *children, size_t count,
                       const Expression **out) MUST_CHECK;

/* ---- by text ----
 * *parameter_count (may be NULL) is how many ? there are.
 *   KVSTORE_ERROR        not the grammar: position, what was there, what was expected
 *   KVSTORE_LIMIT        longer than EXPRESSION_TEXT_MAX, deeper than EXPRESSION_DEPTH_MAX, more than
 *                        EXPRESSION_REPEATED_MAX */
Status expression_parse(Arena *arena, const char *text, size_t length, const Expression **out,
                        uint32_t *parameter_count) MUST_CHECK;

/* The same for a value to be computed: "price * (1 - discount)"; a filter is one, too (a bool). */
Status expression_parse_value(Arena *arena, const char *text, size_t length, const Expression **out,
                              uint32_t *parameter_count) MUST_CHECK;
/* The same of `value as name`: *name is empty when there is none. A failure has the text, behind which is a NUL, as its
 * column. */
Status expression_parse_named(Arena *arena, const char *text, size_t length, const Expression **out,
                              Bytes *name) MUST_CHECK;

/* "round", "+". */
const char *expression_function_name(ExpressionFunction function);

/* Appends the canonical text. Parameters are printed as ? when `parameters` is NULL, else as their values. */
void expression_print(const Expression *expression, const Value *parameters, size_t parameter_count, Buffer *out);
/* As expression_print, but a parameter stands with its type where its value would be read as one of another. So the
 * text says what is computed: it is the name of a computed column, under which others find it. */
void expression_print_typed(const Expression *expression, const Value *parameters, size_t parameter_count, Buffer *out);
/* Appends the name of a quantile of something: `quantile(x, 0.95)`, `median(x)`. */
void expression_print_quantile(Bytes of, uint32_t millionths, Buffer *out);
/* A column's name as it stands in one. */
void expression_print_name(Bytes name, Buffer *out);

/* Binds to a schema. Exactly the parameters of the expression must be given; the predicate goes into `arena` and keeps
 * nothing of the expression. Hidden columns have no name here.
 *   KVSTORE_SCHEMA       no such column (named in the failure, with the nearest that there is)
 *   KVSTORE_TYPE         a constant that does not compare with its column, or is no date (column and value in the
 * failure) KVSTORE_UNSUPPORTED  a pattern that is not a prefix KVSTORE_ERROR        a parameter without a value, or a
 * value without a parameter */
Status expression_bind(const Expression *expression, const Schema *schema, const Value *parameters,
                       size_t parameter_count, Arena *arena, Predicate *out) MUST_CHECK;

/* The same; what is neither a column nor a constant is added to `program` and becomes a column of its schema, which is
 * `schema` or has the same columns first. NULL: KVSTORE_UNSUPPORTED. */
typedef struct Program Program; /* program.h */
Status expression_bind_computing(const Expression *expression, const Schema *schema, Program *program,
                                 const Value *parameters, size_t parameter_count, Arena *arena,
                                 Predicate *out) MUST_CHECK;

/* Of an expression with as many places for parameters: KVSTORE_ERROR when not as many values are given, as
 * expression_bind says it. */
Status expression_check_parameters(uint32_t wanted, size_t given) MUST_CHECK;

/* The position of a visible column. KVSTORE_SCHEMA names it and suggests the nearest. */
Status expression_column(const Schema *schema, const char *name, size_t length, uint32_t *position) MUST_CHECK;

#endif
