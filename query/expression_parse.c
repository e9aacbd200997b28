/* expression_parse.c - the text of a filter as an expression: recursive descent, one function a rule of
 * docs/semantics.md. */
#include <math.h>

#include "base/memory.h"
#include "query/expression_internal.h"
#include "query/literal.h"

/* `not (not (x = 1))` is two levels of the expression and three of the parser, which also meets parentheses that mean
 * nothing; this bounds its recursion, expression_join the expression's. */
enum { NESTING_MAX = 2 * EXPRESSION_DEPTH_MAX };

typedef struct Parser {
  Lexer lexer;
  Arena *arena;
  uint32_t parameter_count;
  uint32_t nesting;
} Parser;

/* A list that grows in the heap while its rule is read. */
typedef struct OperandList {
  ExpressionOperand *items;
  size_t count, capacity;
} OperandList;
typedef struct ChildList {
  const Expression **items;
  size_t count, capacity;
} ChildList;

static Status parse_filter(Parser *p, const Expression **out);

static Status expect(Parser *p, Token token, const char *text) {
  return p->lexer.token == token ? lexer_next(&p->lexer) : lexer_fail(&p->lexer, text);
}

/* ---- operands ---- */

static bool begins_literal(const Lexer *l) {
  switch (l->token) {
  case TOKEN_NUMBER:
  case TOKEN_STRING:
  case TOKEN_HEX:
  case TOKEN_PARAMETER:
  case TOKEN_NULL:
  case TOKEN_TRUE:
  case TOKEN_FALSE:
  case TOKEN_NAN:
  case TOKEN_INFINITY:
  case TOKEN_MINUS: return true;
  default: return false;
  }
}

static Status string_operand(Parser *p, Value *value) {
  uint8_t *bytes = arena_allocate(p->arena, p->lexer.body_length + 1);
  if (!bytes) return status_nomem();
  *value = (Value){ .type = TYPE_STRING };
  value->s = (Bytes){ bytes, lexer_unquote(&p->lexer, '\'', bytes) };
  return KVSTORE_OK;
}

static Status hex_operand(Parser *p, Value *value) {
  uint8_t *bytes = arena_allocate(p->arena, p->lexer.body_length / 2 + 1);
  if (!bytes) return status_nomem();
  *value = (Value){ .type = TYPE_BYTES, .s = { bytes, p->lexer.body_length / 2 } };
  if (literal_hex(p->lexer.body, p->lexer.body_length, bytes)) return KVSTORE_OK;
  return lexer_fail(&p->lexer, "an even number of hexadecimal digits");
}

static Status infinity_operand(Parser *p, Value *value) {
  bool negative = p->lexer.token == TOKEN_MINUS;
  if (negative) {
    TRY(lexer_next(&p->lexer));
    if (p->lexer.token != TOKEN_INFINITY) return lexer_fail(&p->lexer, "a number");
  }
  *value = (Value){ .type = TYPE_F64, .f = negative ? -INFINITY : INFINITY };
  return KVSTORE_OK;
}

static Status parse_literal(Parser *p, ExpressionOperand *out) {
  Value *value = &out->value;
  *out = (ExpressionOperand){ .is_parameter = p->lexer.token == TOKEN_PARAMETER };
  switch (p->lexer.token) {
  case TOKEN_PARAMETER: out->parameter = p->parameter_count++; break;
  case TOKEN_NUMBER: TRY(literal_number(p->lexer.body, p->lexer.body_length, value)); break;
  case TOKEN_STRING: TRY(string_operand(p, value)); break;
  case TOKEN_HEX: TRY(hex_operand(p, value)); break;
  case TOKEN_NULL: *value = (Value){ .is_null = true }; break;
  case TOKEN_TRUE: *value = (Value){ .type = TYPE_BOOL, .i = 1 }; break;
  case TOKEN_FALSE: *value = (Value){ .type = TYPE_BOOL, .i = 0 }; break;
  case TOKEN_NAN: *value = (Value){ .type = TYPE_F64, .f = NAN }; break;
  default: TRY(infinity_operand(p, value)); break;
  }
  return lexer_next(&p->lexer);
}

static bool is_word(const Lexer *l, const char *word) {
  if (l->token != TOKEN_NAME || l->is_quoted || l->body_length != strlen(word)) return false;
  for (size_t i = 0; i < l->body_length; i++) {
    if ((l->body[i] | 32) != word[i]) return false;
  }
  return true;
}

/* `date` and `timestamp` are no reserved words: they begin a literal only before a string. `word` is the token before.
 */
static Status parse_time(Parser *p, bool is_date, ExpressionOperand *out) {
  const Lexer *l = &p->lexer;
  *out = (ExpressionOperand){ 0 };
  bool ok = is_date ? literal_date(l->body, l->body_length, &out->value)
                    : literal_timestamp(l->body, l->body_length, &out->value);
  if (!ok) return lexer_fail(l, is_date ? "a day as 'YYYY-MM-DD'" : "a time as 'YYYY-MM-DD HH:MM:SS.ffffff'");
  return lexer_next(&p->lexer);
}

static Status parse_operand(Parser *p, ExpressionOperand *out) {
  if (begins_literal(&p->lexer)) return parse_literal(p, out);
  bool is_date = is_word(&p->lexer, "date");
  if (is_date || is_word(&p->lexer, "timestamp")) {
    Lexer name = p->lexer;
    TRY(lexer_next(&p->lexer));
    if (p->lexer.token == TOKEN_STRING) return parse_time(p, is_date, out);
    p->lexer = name;
  }
  return lexer_fail(&p->lexer, "a value");
}

/* ---- tests ---- */

/* What an aggregate is applied to, and the parenthesis behind it. */
static Status read_argument(Parser *p, Buffer *name) {
  Lexer *l = &p->lexer;
  if (is_word(l, "distinct")) {
    Lexer word = *l;
    TRY(lexer_next(l));
    if (l->token == TOKEN_NAME)
      buffer_text(name, "distinct ");
    else
      *l = word; /* a column of this name */
  }
  if (l->token == TOKEN_STAR) {
    buffer_u8(name, '*');
  } else if (l->token == TOKEN_NAME) {
    uint8_t *place = buffer_extend(name, l->body_length);
    if (!place) return status_nomem();
    name->length -= l->body_length - lexer_unquote(l, '"', place);
  } else {
    return lexer_fail(l, "a column or *");
  }
  buffer_u8(name, ')');
  TRY(lexer_next(l));
  return expect(p, TOKEN_CLOSE, ")");
}

/* `SUM( x )` is the column "sum(x)": of groups, one of theirs. `word` is the name before the parenthesis. */
static Status parse_aggregate(Parser *p, Bytes word, Bytes *column) {
  Buffer name = { 0 };
  TRY(lexer_next(&p->lexer));
  for (size_t i = 0; i < word.length; i++) {
    uint8_t c = word.data[i];
    buffer_u8(&name, c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c);
  }
  buffer_u8(&name, '(');
  Status status = read_argument(p, &name);
  if (status == KVSTORE_OK) status = buffer_status(&name);
  if (status == KVSTORE_OK) {
    *column = (Bytes){ arena_copy(p->arena, name.data, name.length), name.length };
    if (!column->data) status = status_nomem();
  }
  buffer_release(&name);
  return status;
}

static Status parse_name(Parser *p, Bytes *column) {
  if (p->lexer.token != TOKEN_NAME) return lexer_fail(&p->lexer, "a column");
  bool is_quoted = p->lexer.is_quoted;
  uint8_t *name = arena_allocate(p->arena, p->lexer.body_length + 1);
  if (!name) return status_nomem();
  *column = (Bytes){ name, lexer_unquote(&p->lexer, '"', name) };
  TRY(lexer_next(&p->lexer));
  return !is_quoted && p->lexer.token == TOKEN_OPEN ? parse_aggregate(p, *column, column) : KVSTORE_OK;
}

/* Beside a comparison: a value, or a column. */
static Status parse_side(Parser *p, ExpressionOperand *out) {
  const Lexer *l = &p->lexer;
  bool may_be_literal = begins_literal(l) || is_word(l, "date") || is_word(l, "timestamp");
  Lexer first = p->lexer;
  Bytes column;
  if (may_be_literal && l->token != TOKEN_NAME) return parse_operand(p, out);
  if (l->token != TOKEN_NAME) return lexer_fail(l, "a value or a column");
  TRY(parse_name(p, &column));
  if (may_be_literal && l->token == TOKEN_STRING) {
    p->lexer = first;
    return parse_operand(p, out);
  }
  *out = (ExpressionOperand){ 0 };
  return expression_name(p->arena, column, &out->of);
}

static Status parse_comparison(Parser *p, Bytes column, const Expression **out) {
  ExpressionTest test = p->lexer.comparison;
  ExpressionOperand operand;
  TRY(lexer_next(&p->lexer));
  TRY(parse_side(p, &operand));
  return expression_test(p->arena, column, test, &operand, 1, out);
}

/* ---- bits: `(flags & 6) = 6`, the parentheses may be left out ---- */

static bool begins_bits(Parser *p) {
  Lexer l = p->lexer;
  return l.token == TOKEN_OPEN && lexer_next(&l) == KVSTORE_OK && l.token == TOKEN_NAME &&
         lexer_next(&l) == KVSTORE_OK && l.token == TOKEN_BIT_AND && lexer_next(&l) == KVSTORE_OK &&
         lexer_next(&l) == KVSTORE_OK && l.token == TOKEN_CLOSE;
}

/* The cursor is on the &. */
static Status parse_bits(Parser *p, Bytes column, bool enclosed, const Expression **out) {
  ExpressionOperand operands[2];
  TRY(lexer_next(&p->lexer));
  TRY(parse_operand(p, &operands[0]));
  if (enclosed) TRY(expect(p, TOKEN_CLOSE, ")"));
  bool is_test = p->lexer.token == TOKEN_COMPARISON && p->lexer.comparison <= TEST_NOT_EQUAL;
  ExpressionTest test = p->lexer.comparison == TEST_EQUAL ? TEST_BITS : TEST_NOT_BITS;
  if (!is_test) return lexer_fail(&p->lexer, "= or <>");
  TRY(lexer_next(&p->lexer));
  TRY(parse_operand(p, &operands[1]));
  return expression_test(p->arena, column, test, operands, 2, out);
}

static Status read_list(Parser *p, OperandList *list) {
  TRY(expect(p, TOKEN_OPEN, "("));
  if (p->lexer.token == TOKEN_CLOSE) return lexer_next(&p->lexer);
  for (;;) {
    TRY(memory_grow(&list->items, &list->capacity, list->count + 1, sizeof *list->items));
    TRY(parse_operand(p, &list->items[list->count]));
    list->count++;
    if (p->lexer.token != TOKEN_COMMA) return expect(p, TOKEN_CLOSE, "a comma or )");
    TRY(lexer_next(&p->lexer));
  }
}

static Status parse_in(Parser *p, Bytes column, bool negated, const Expression **out) {
  OperandList list = { 0 };
  TRY(lexer_next(&p->lexer));
  Status status = read_list(p, &list);
  if (status == KVSTORE_OK) {
    status = expression_test(p->arena, column, negated ? TEST_NOT_IN : TEST_IN, list.items, list.count, out);
  }
  memory_release(list.items);
  return status;
}

static Status parse_between(Parser *p, Bytes column, bool negated, const Expression **out) {
  ExpressionOperand ends[2];
  TRY(lexer_next(&p->lexer));
  TRY(parse_operand(p, &ends[0]));
  TRY(expect(p, TOKEN_AND, "and, for the upper end of between"));
  TRY(parse_operand(p, &ends[1]));
  return expression_test(p->arena, column, negated ? TEST_NOT_BETWEEN : TEST_BETWEEN, ends, 2, out);
}

static Status parse_one(Parser *p, Bytes column, ExpressionTest test, const Expression **out) {
  ExpressionOperand operand;
  TRY(lexer_next(&p->lexer));
  TRY(parse_operand(p, &operand));
  return expression_test(p->arena, column, test, &operand, 1, out);
}

static Status parse_is(Parser *p, Bytes column, const Expression **out) {
  TRY(lexer_next(&p->lexer));
  bool negated = p->lexer.token == TOKEN_NOT;
  if (negated) TRY(lexer_next(&p->lexer));
  bool is_nan = p->lexer.token == TOKEN_NAN;
  if (!is_nan && p->lexer.token != TOKEN_NULL)
    return lexer_fail(&p->lexer, negated ? "null or nan" : "null, nan or not");
  TRY(lexer_next(&p->lexer));
  ExpressionTest test = is_nan ? TEST_IS_NAN : TEST_IS_NULL;
  return expression_test(p->arena, column, negated ? test + 1 : test, NULL, 0, out);
}

/* What follows a column. */
static Status parse_test(Parser *p, Bytes column, const Expression **out) {
  if (p->lexer.token == TOKEN_COMPARISON) return parse_comparison(p, column, out);
  if (p->lexer.token == TOKEN_BIT_AND) return parse_bits(p, column, false, out);
  if (p->lexer.token == TOKEN_IS) return parse_is(p, column, out);
  bool negated = p->lexer.token == TOKEN_NOT;
  if (negated) TRY(lexer_next(&p->lexer));
  switch (p->lexer.token) {
  case TOKEN_BETWEEN: return parse_between(p, column, negated, out);
  case TOKEN_IN: return parse_in(p, column, negated, out);
  case TOKEN_LIKE: return parse_one(p, column, negated ? TEST_NOT_LIKE : TEST_LIKE, out);
  default: break;
  }
  if (negated) return lexer_fail(&p->lexer, "between, in or like");
  return expression_test(p->arena, column, TEST_IS_TRUE, NULL, 0, out);
}

static ExpressionTest mirrored(ExpressionTest test) {
  switch (test) {
  case TEST_LESS: return TEST_GREATER;
  case TEST_LESS_EQUAL: return TEST_GREATER_EQUAL;
  case TEST_GREATER: return TEST_LESS;
  case TEST_GREATER_EQUAL: return TEST_LESS_EQUAL;
  default: return test;
  }
}

/* A literal first: `5 < x`, or true, false, null by themselves. */
static Status parse_literal_test(Parser *p, const Expression **out) {
  Lexer first = p->lexer;
  ExpressionOperand operand = { 0 };
  TRY(parse_operand(p, &operand));
  if (p->lexer.token != TOKEN_COMPARISON) {
    switch (first.token) {
    case TOKEN_TRUE: return expression_constant(p->arena, EXPRESSION_TRUE, out);
    case TOKEN_FALSE: return expression_constant(p->arena, EXPRESSION_FALSE, out);
    case TOKEN_NULL: return expression_constant(p->arena, EXPRESSION_UNKNOWN, out);
    default: return lexer_fail(&p->lexer, "a comparison with a column");
    }
  }
  ExpressionTest test = mirrored(p->lexer.comparison);
  Bytes column = { 0 };
  TRY(lexer_next(&p->lexer));
  TRY(parse_name(p, &column));
  return expression_test(p->arena, column, test, &operand, 1, out);
}

/* ---- factors and chains ---- */

static Status parse_column_test(Parser *p, const Expression **out) {
  bool may_be_literal = is_word(&p->lexer, "date") || is_word(&p->lexer, "timestamp");
  Lexer name = p->lexer;
  Bytes column;
  TRY(parse_name(p, &column));
  if (may_be_literal && p->lexer.token == TOKEN_STRING) {
    p->lexer = name;
    return parse_literal_test(p, out);
  }
  return parse_test(p, column, out);
}

static Status parse_factor(Parser *p, const Expression **out) {
  if (p->lexer.token == TOKEN_NOT) {
    const Expression *child;
    if (++p->nesting > NESTING_MAX) goto too_deep;
    TRY(lexer_next(&p->lexer));
    TRY(parse_factor(p, &child));
    p->nesting--;
    return expression_join(p->arena, EXPRESSION_NOT, &child, 1, out);
  }
  if (begins_bits(p)) {
    Bytes column;
    TRY(lexer_next(&p->lexer));
    TRY(parse_name(p, &column));
    return parse_bits(p, column, true, out);
  }
  if (p->lexer.token == TOKEN_OPEN) {
    if (++p->nesting > NESTING_MAX) goto too_deep;
    TRY(lexer_next(&p->lexer));
    TRY(parse_filter(p, out));
    p->nesting--;
    return expect(p, TOKEN_CLOSE, "and, or or )");
  }
  if (begins_literal(&p->lexer)) return parse_literal_test(p, out);
  if (p->lexer.token == TOKEN_NAME) return parse_column_test(p, out);
  return lexer_fail(&p->lexer, "a column, a value, not or (");
too_deep:
  return status_fail(KVSTORE_LIMIT, "the filter at position %zu nests more than %d levels", p->lexer.start + 1,
                     NESTING_MAX);
}

typedef Status ParseRule(Parser *p, const Expression **out);

static Status read_chain(Parser *p, ParseRule *rule, Token joint, ChildList *list) {
  for (;;) {
    TRY(memory_grow(&list->items, &list->capacity, list->count + 1, sizeof *list->items));
    TRY(rule(p, &list->items[list->count]));
    list->count++;
    if (p->lexer.token != joint) return KVSTORE_OK;
    TRY(lexer_next(&p->lexer));
  }
}

static Status parse_chain(Parser *p, ParseRule *rule, Token joint, ExpressionKind kind, const Expression **out) {
  ChildList list = { 0 };
  Status status = read_chain(p, rule, joint, &list);
  if (status == KVSTORE_OK) status = expression_join(p->arena, kind, list.items, list.count, out);
  memory_release(list.items);
  return status;
}

static Status parse_and_chain(Parser *p, const Expression **out) {
  return parse_chain(p, parse_factor, TOKEN_AND, EXPRESSION_AND, out);
}

static Status parse_filter(Parser *p, const Expression **out) {
  return parse_chain(p, parse_and_chain, TOKEN_OR, EXPRESSION_OR, out);
}

Status expression_parse(Arena *arena, const char *text, size_t length, const Expression **out,
                        uint32_t *parameter_count) {
  if (length > EXPRESSION_TEXT_MAX) {
    return status_fail(KVSTORE_LIMIT, "a filter's text has at most %d bytes, not %zu", EXPRESSION_TEXT_MAX, length);
  }
  if (!bytes_are_utf8((const uint8_t *)text, length)) {
    return status_fail(KVSTORE_ERROR, "a filter's text is UTF-8 (bytes are written as x'00ff')");
  }
  Parser p = { .lexer = { .text = text, .length = length }, .arena = arena };
  const Expression *filter;
  TRY(lexer_next(&p.lexer));
  TRY(parse_filter(&p, &filter));
  if (p.lexer.token != TOKEN_END) return lexer_fail(&p.lexer, "and, or, or the end");
  *out = filter;
  if (parameter_count) *parameter_count = p.parameter_count;
  return KVSTORE_OK;
}
