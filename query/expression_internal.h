/* expression_internal.h - the words of the filter language, shared by lexer, parser and printer. */
#ifndef COLONNADE_QUERY_EXPRESSION_INTERNAL_H
#define COLONNADE_QUERY_EXPRESSION_INTERNAL_H

#include "query/expression.h"

typedef enum Token {
  TOKEN_END,
  TOKEN_NAME, /* a column, bare or quoted */
  TOKEN_NUMBER,
  TOKEN_STRING,
  TOKEN_HEX,
  TOKEN_PARAMETER,
  TOKEN_OPEN,
  TOKEN_CLOSE,
  TOKEN_COMMA,
  TOKEN_STAR,
  TOKEN_PLUS,
  TOKEN_MINUS,
  TOKEN_SLASH,
  TOKEN_PERCENT,
  TOKEN_BIT_AND,
  TOKEN_COMPARISON,
  TOKEN_AND, /* from here on: words */
  TOKEN_OR,
  TOKEN_NOT,
  TOKEN_BETWEEN,
  TOKEN_IN,
  TOKEN_LIKE,
  TOKEN_IS,
  TOKEN_NULL,
  TOKEN_TRUE,
  TOKEN_FALSE,
  TOKEN_NAN,
  TOKEN_INFINITY,
} Token;

/* A text and the token under the cursor. */
typedef struct Lexer {
  const char *where; /* before a position in a message: "the filter at", "at" */
  const char *text;
  size_t length;
  size_t at;    /* behind the token */
  size_t start; /* where it begins */
  Token token;
  bool is_quoted; /* NAME: written in double quotes */
  ExpressionTest comparison;
  const char *body; /* NAME, NUMBER: its characters; STRING, HEX: between the quotes, quotes still doubled */
  size_t body_length;
} Lexer;

/* Moves to the next token. KVSTORE_ERROR when there is none: an unknown character, a quote without its end. */
Status lexer_next(Lexer *lexer) MUST_CHECK;
/* "position 7: expected `expected`, found ..." */
Status lexer_fail(const Lexer *lexer, const char *expected);
/* Whether it is a value by itself: a name, a literal, a parameter. */
bool token_is_value(Token token);
/* Whether a name must be quoted: it is a word of the language, or not all letters, digits and _. `case` and `distinct`
 * are words or names by what comes behind them: quoted they are names anywhere. */
bool lexer_name_needs_quotes(const uint8_t *name, size_t length);
/* How many bytes `body` has once doubled quotes are single; then the bytes. */
size_t lexer_unquote(const Lexer *lexer, char quote, uint8_t *out);

/* How many operands a test takes: least and most (SIZE_MAX: any number). */
size_t test_operands_least(ExpressionTest test);
size_t test_operands_most(ExpressionTest test);
/* A minus before a number is its sign. False: before what it is not. */
bool literal_takes_minus(Value *v);
/* With the sides exchanged: a < b is b > a. */
ExpressionTest test_mirrored(ExpressionTest test);

/* ---- expression_functions.c ---- */
enum { FUNCTION_OPERANDS_MAX = 1024 };
void function_operands(ExpressionFunction function, size_t *least, size_t *most);
/* Those that are written name(...); casts are not. */
bool function_by_name(const char *text, size_t length, ExpressionFunction *out);
/* TYPE_NONE: there is none of this name. */
ColumnType type_by_word(const char *text, size_t length);
/* Without regard to case; `word` is in lower case. */
bool text_is_word(const char *text, size_t length, const char *word);

/* ---- expression_bind.c ---- */
CompareOperator expression_operator(ExpressionTest test);
/* A test of a value with constants, as of a column of this type and name. Constants that are strings stay the
 * caller's. */
Status expression_bind_compare(ExpressionTest test, const Column *column, const Value *values, size_t count,
                               Arena *arena, Compare *out) MUST_CHECK;

static inline bool operand_is_constant(const ExpressionOperand *o) {
  return !o->of || (o->of->kind == EXPRESSION_VALUE && !o->of->operands[0].of);
}

#endif
