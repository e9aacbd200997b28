/* expression_parse.c - the text of a filter or of a value as an expression: recursive descent, one function a rule of
 * docs/semantics.md.
 *
 * A rule gives an operand: a literal, a parameter, or an expression. What stands where something is true or not becomes
 * a condition there (as_condition). */
#include <math.h>
#include <stdio.h>

#include "base/literal.h"
#include "base/memory.h"
#include "columnar/aggregates.h"
#include "query/expression_internal.h"

/* `not (not (x = 1))` is two levels of the expression and three of the parser, which also meets parentheses that mean
 * nothing; this bounds its recursion, expression_join the expression's. */
enum { NESTING_MAX = 2 * EXPRESSION_DEPTH_MAX };

typedef struct Parser {
  Lexer lexer;
  Arena *arena;
  uint32_t parameter_count;
  uint32_t nesting;
  size_t repeated; /* bytes that the canonical text has more than once: see count_repeated */
  bool is_operand; /* what comes next stands behind an operator: for messages */
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

static Status parse_expression(Parser *p, ExpressionOperand *out);

static Status expect(Parser *p, Token token, const char *text) {
  return p->lexer.token == token ? lexer_next(&p->lexer) : lexer_fail(&p->lexer, text);
}

/* ---- operands ---- */

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

/* `is_quoted` of the lexer is of names; other tokens may have it left over. */
static bool is_word(const Lexer *l, const char *word) {
  return l->token == TOKEN_NAME && !l->is_quoted && text_is_word(l->body, l->body_length, word);
}

/* Words that begin a literal before a string, and are no reserved ones. */
static ColumnType literal_type(const Lexer *word) {
  static const struct {
    const char *word;
    ColumnType type;
  } words[] = { { "date", TYPE_DATE },         { "timestamp", TYPE_TIMESTAMP }, { "time", TYPE_TIME },
                { "duration", TYPE_DURATION }, { "interval", TYPE_DURATION },   { "uuid", TYPE_UUID },
                { "decimal", TYPE_DECIMAL } };
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    if (is_word(word, words[i].word)) return words[i].type;
  }
  return TYPE_NONE;
}

static Status fail_form(const Lexer *l, ColumnType type) {
  char expected[96];
  const char *noun = type == TYPE_DATE                             ? "a day"
                     : type == TYPE_TIMESTAMP || type == TYPE_TIME ? "a time"
                                                                   : type_name(type);
  if (type_is_decimal(type))
    snprintf(expected, sizeof expected, "%s", literal_form(type));
  else
    snprintf(expected, sizeof expected, "%s as %s", noun, literal_form(type));
  return lexer_fail(l, expected);
}

static Status parse_typed(Parser *p, ColumnType type, Value *out) {
  Lexer *l = &p->lexer;
  Bytes text = { (const uint8_t *)l->body, l->body_length };
  uint8_t *room = arena_allocate(p->arena, UUID_BYTES);
  if (!room) return status_nomem();
  if (!literal_read(type, text, room, out) || (type == TYPE_DATE && out->type != type)) return fail_form(l, type);
  if (type == TYPE_TIMESTAMP && !literal_timestamp(l->body, l->body_length, out)) return fail_form(l, type);
  return lexer_next(l);
}

/* interval 90 seconds: the cursor is on the number. */
static Status parse_interval(Parser *p, Value *out) {
  Lexer *l = &p->lexer;
  const char *from = l->body;
  size_t number = l->body_length;
  char text[64];
  TRY(lexer_next(l));
  if (l->token != TOKEN_NAME || l->is_quoted) return lexer_fail(l, "a unit: seconds, minutes, hours, days");
  int length = snprintf(text, sizeof text, "%.*s %.*s", (int)(number < 32 ? number : 32), from,
                        (int)(l->body_length < 16 ? l->body_length : 16), l->body);
  if (number > 32 || !literal_duration(text, (size_t)length, out)) return fail_form(l, TYPE_DURATION);
  return lexer_next(l);
}

static Status parse_literal(Parser *p, bool *found, ExpressionOperand *out) {
  Value *value = &out->value;
  *out = (ExpressionOperand){ .is_parameter = p->lexer.token == TOKEN_PARAMETER };
  *found = true;
  switch (p->lexer.token) {
  case TOKEN_PARAMETER: out->parameter = p->parameter_count++; break;
  case TOKEN_NUMBER: TRY(literal_number(p->lexer.body, p->lexer.body_length, value)); break;
  case TOKEN_STRING: TRY(string_operand(p, value)); break;
  case TOKEN_HEX: TRY(hex_operand(p, value)); break;
  case TOKEN_NULL: *value = (Value){ .is_null = true }; break;
  case TOKEN_TRUE: *value = (Value){ .type = TYPE_BOOL, .i = 1 }; break;
  case TOKEN_FALSE: *value = (Value){ .type = TYPE_BOOL, .i = 0 }; break;
  case TOKEN_NAN: *value = (Value){ .type = TYPE_F64, .f = NAN }; break;
  case TOKEN_INFINITY: *value = (Value){ .type = TYPE_F64, .f = INFINITY }; break;
  default: *found = false; return KVSTORE_OK;
  }
  return lexer_next(&p->lexer);
}

static Status too_deep(const Parser *p) {
  return status_fail(KVSTORE_LIMIT, "%s position %zu: more than %d levels are nested", p->lexer.where,
                     p->lexer.start + 1, NESTING_MAX);
}

static Status enter(Parser *p) { return ++p->nesting > NESTING_MAX ? too_deep(p) : KVSTORE_OK; }

/* `case x when 1 ... when 2` is x = 1 and x = 2, and a name of an aggregate doubles the quotes of those within. Either
 * doubles with each level, so that a short text would have a canonical one that no memory holds. */
static Status count_repeated(Parser *p, size_t bytes) {
  p->repeated += bytes;
  if (p->repeated <= EXPRESSION_REPEATED_MAX) return KVSTORE_OK;
  return status_fail(KVSTORE_LIMIT, "%s position %zu: values of case and names of aggregates repeat more than %d bytes",
                     p->lexer.where, p->lexer.start + 1, EXPRESSION_REPEATED_MAX);
}

/* ---- conditions and values ---- */

static bool is_condition(const ExpressionOperand *o) { return o->of && o->of->kind <= EXPRESSION_NOT; }

static Status as_expression(Parser *p, const ExpressionOperand *o, const Expression **out) {
  *out = o->of;
  return o->of ? KVSTORE_OK : expression_value(p->arena, o, out);
}

/* What is true, false or unknown by itself: a bool. */
static Status as_condition(Parser *p, const ExpressionOperand *o, const Expression **out) {
  if (is_condition(o)) {
    *out = o->of;
    return KVSTORE_OK;
  }
  if (!o->of && !o->is_parameter) {
    if (o->value.is_null) return expression_constant(p->arena, EXPRESSION_UNKNOWN, out);
    if (o->value.type != TYPE_BOOL) return lexer_fail(&p->lexer, "a comparison");
    return expression_constant(p->arena, o->value.i ? EXPRESSION_TRUE : EXPRESSION_FALSE, out);
  }
  const Expression *subject;
  TRY(as_expression(p, o, &subject));
  return expression_test_of(p->arena, subject, TEST_IS_TRUE, NULL, 0, out);
}

static Status give(Status status, const Expression *e, ExpressionOperand *out) {
  *out = (ExpressionOperand){ .of = e };
  return status;
}

/* ---- names, functions ---- */

static Status copy_name(Parser *p, Bytes *name) {
  uint8_t *own = arena_allocate(p->arena, p->lexer.body_length + 1);
  if (!own) return status_nomem();
  *name = (Bytes){ own, lexer_unquote(&p->lexer, '"', own) };
  return KVSTORE_OK;
}

/* The number behind a comma. Quantiles are called as groups call them, however it is written: quantile(x, 0.5) is
 * median(x), 0.90 is 0.9; `name` has what stands before. */
static Status name_second(const Lexer *l, bool is_quantile, Buffer *name) {
  static const size_t before = sizeof "quantile(" - 1;
  Value part = { 0 };
  TRY(buffer_status(name));
  if (is_quantile) TRY(literal_number(l->body, l->body_length, &part));
  double number = part.type == TYPE_I64 ? (double)part.i : part.type == TYPE_F64 ? part.f : NAN;
  if (!(number >= 0 && number <= 1)) { /* it is no quantile: as it stands */
    buffer_text(name, ", ");
    buffer_append(name, l->body, l->body_length);
    return KVSTORE_OK;
  }
  Buffer named = { 0 };
  expression_print_quantile((Bytes){ name->data + before, name->length - before },
                            (uint32_t)(number * QUANTILE_WHOLE + 0.5), &named);
  named.length -= named.length != 0; /* its parenthesis comes with every name's */
  buffer_release(name);
  *name = named;
  return buffer_status(name);
}

/* What comes behind a comma: the number of a quantile. No other aggregate has two arguments. */
static Status read_second(Parser *p, Bytes word, Buffer *name) {
  Lexer *l = &p->lexer;
  TRY(lexer_next(l));
  bool is_quantile = text_is_word((const char *)word.data, word.length, "quantile");
  if (l->token != TOKEN_NUMBER && !is_quantile)
    return status_fail(KVSTORE_ERROR, "%s position %zu: there is no function %.*s", l->where,
                       (size_t)((const char *)word.data - l->text) + 1,
                       (int)bytes_beginning(word.data, word.length, 40), (const char *)word.data);
  if (l->token != TOKEN_NUMBER) return lexer_fail(l, "a number");
  TRY(name_second(l, is_quantile, name));
  return lexer_next(l);
}

static bool begins_operand(const Lexer *l) { return token_is_value(l->token) || l->token == TOKEN_OPEN; }

/* Whether what follows `distinct` is what it is of. A column may be called so: `count(distinct - x)` is a count of
 * different values all the same, `sum(distinct - x)` a difference, since a sum knows no such word. */
static Status begins_argument(const Lexer *l, Bytes word, bool *begins) {
  *begins = begins_operand(l);
  if (*begins || !text_is_word((const char *)word.data, word.length, "count")) return KVSTORE_OK;
  *begins = l->token == TOKEN_MINUS || l->token == TOKEN_PLUS;
  if (l->token != TOKEN_NOT) return KVSTORE_OK;
  Lexer next = *l;
  TRY(lexer_next(&next));
  *begins = next.token != TOKEN_IN && next.token != TOKEN_BETWEEN && next.token != TOKEN_LIKE;
  return KVSTORE_OK;
}

/* What an aggregate is applied to: a column by its name, all else as canonical text. */
static Status read_argument(Parser *p, Bytes word, Buffer *name) {
  Lexer *l = &p->lexer;
  if (is_word(l, "distinct")) {
    Lexer distinct = *l;
    bool begins;
    TRY(lexer_next(l));
    TRY(begins_argument(l, word, &begins));
    if (begins)
      buffer_text(name, "distinct ");
    else
      *l = distinct; /* a column of this name */
  }
  if (l->token == TOKEN_STAR) {
    buffer_u8(name, '*');
    return lexer_next(l);
  }
  ExpressionOperand argument;
  if (l->token == TOKEN_CLOSE) return lexer_fail(l, "a column or *");
  TRY(parse_expression(p, &argument));
  const Expression *e;
  TRY(as_expression(p, &argument, &e));
  if (e->kind == EXPRESSION_COLUMN)
    buffer_append(name, e->column.data, e->column.length);
  else
    expression_print(e, NULL, 0, name);
  return l->token == TOKEN_COMMA ? read_second(p, word, name) : KVSTORE_OK;
}

/* `SUM( x )` is the column "sum(x)": of groups, one of theirs. The cursor is behind the parenthesis. */
static Status parse_aggregate(Parser *p, Bytes word, ExpressionOperand *out) {
  Buffer name = { 0 };
  const Expression *e = NULL;
  for (size_t i = 0; i < word.length; i++) {
    uint8_t c = word.data[i];
    buffer_u8(&name, c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c);
  }
  buffer_u8(&name, '(');
  Status status = read_argument(p, word, &name);
  buffer_u8(&name, ')');
  if (status == KVSTORE_OK) status = buffer_status(&name);
  if (status == KVSTORE_OK) status = count_repeated(p, name.length);
  if (status == KVSTORE_OK) status = expression_name(p->arena, (Bytes){ name.data, name.length }, &e);
  buffer_release(&name);
  TRY(status);
  TRY(expect(p, TOKEN_CLOSE, ")"));
  return give(KVSTORE_OK, e, out);
}

static Status add_operand(OperandList *list, const ExpressionOperand *operand) {
  TRY(memory_grow(&list->items, &list->capacity, list->count + 1, sizeof *list->items));
  list->items[list->count++] = *operand;
  return KVSTORE_OK;
}

/* Expressions up to the parenthesis, of which the cursor is behind the first. */
static Status read_list(Parser *p, OperandList *list) {
  ExpressionOperand operand;
  if (p->lexer.token == TOKEN_CLOSE) return lexer_next(&p->lexer);
  for (;;) {
    TRY(parse_expression(p, &operand));
    TRY(add_operand(list, &operand));
    if (p->lexer.token != TOKEN_COMMA) return expect(p, TOKEN_CLOSE, "a comma or )");
    TRY(lexer_next(&p->lexer));
  }
}

static Status parse_arguments(Parser *p, ExpressionFunction function, ExpressionOperand *out) {
  OperandList list = { 0 };
  const Expression *e = NULL;
  Status status = read_list(p, &list);
  if (status == KVSTORE_OK) status = expression_call(p->arena, function, TYPE_NONE, list.items, list.count, &e);
  memory_release(list.items);
  return give(status, e, out);
}

static Status parse_number_of(Parser *p, const char *expected, int64_t most, int64_t *out) {
  Value v = { 0 };
  if (p->lexer.token == TOKEN_NUMBER) TRY(literal_number(p->lexer.body, p->lexer.body_length, &v));
  if (v.type != TYPE_I64 || v.i < 0 || v.i > most) return lexer_fail(&p->lexer, expected);
  *out = v.i;
  return lexer_next(&p->lexer);
}

/* decimal, decimal(p), decimal(p, s): the cursor is behind the word. As elsewhere, without a scale it is 3, with digits
 * alone 0. */
static Status parse_decimal_type(Parser *p, ColumnType *type) {
  const unsigned usual_scale = 3;
  int64_t digits = 0, scale = 0;
  *type = type_decimal(usual_scale);
  if (p->lexer.token != TOKEN_OPEN) return KVSTORE_OK;
  TRY(lexer_next(&p->lexer));
  TRY(parse_number_of(p, "1 to 18 digits of a decimal", DECIMAL_SCALE_MAX, &digits));
  if (p->lexer.token == TOKEN_COMMA) {
    TRY(lexer_next(&p->lexer));
    TRY(parse_number_of(p, "the scale of a decimal, up to its digits", digits, &scale));
  }
  *type = type_decimal((unsigned)scale);
  return expect(p, TOKEN_CLOSE, ")");
}

static Status parse_type(Parser *p, ColumnType *type) {
  const Lexer word = p->lexer;
  *type = word.token == TOKEN_NAME ? type_by_word(word.body, word.body_length) : TYPE_NONE;
  if (*type == TYPE_NONE) return lexer_fail(&p->lexer, "a type");
  TRY(lexer_next(&p->lexer));
  return type_is_decimal(*type) ? parse_decimal_type(p, type) : KVSTORE_OK;
}

/* cast(x as type) */
static Status parse_cast(Parser *p, bool tries, ExpressionOperand *out) {
  ExpressionOperand of;
  const Expression *e;
  TRY(parse_expression(p, &of));
  if (!is_word(&p->lexer, "as")) return lexer_fail(&p->lexer, "as and a type");
  TRY(lexer_next(&p->lexer));
  ColumnType type;
  TRY(parse_type(p, &type));
  TRY(expect(p, TOKEN_CLOSE, ")"));
  TRY(expression_call(p->arena, tries ? FUNCTION_TRY_CAST : FUNCTION_CAST, type, &of, 1, &e));
  return give(KVSTORE_OK, e, out);
}

/* The cursor is on the parenthesis behind `word`. */
static Status parse_call(Parser *p, const Lexer *word, ExpressionOperand *out) {
  ExpressionFunction function;
  TRY(enter(p));
  TRY(lexer_next(&p->lexer));
  Status status;
  bool is_cast = is_word(word, "cast");
  if (is_cast || is_word(word, "try_cast"))
    status = parse_cast(p, !is_cast, out);
  else if (function_by_name(word->body, word->body_length, &function))
    status = parse_arguments(p, function, out);
  else /* an aggregate, or a column that is called so */
    status = parse_aggregate(p, (Bytes){ (const uint8_t *)word->body, word->body_length }, out);
  p->nesting--;
  return status;
}

/* ---- case ---- */

static Status make_test(Parser *p, const ExpressionOperand *subject, ExpressionTest test,
                        const ExpressionOperand *operands, size_t count, ExpressionOperand *out);

/* `when 1` of `case x when 1` is the condition x = 1. */
static Status parse_when(Parser *p, const ExpressionOperand *of, OperandList *list) {
  ExpressionOperand when, then;
  const Expression *condition;
  TRY(lexer_next(&p->lexer));
  TRY(parse_expression(p, &when));
  if (of) TRY(make_test(p, of, TEST_EQUAL, &when, 1, &when));
  TRY(as_condition(p, &when, &condition));
  if (!is_word(&p->lexer, "then")) return lexer_fail(&p->lexer, "then");
  TRY(lexer_next(&p->lexer));
  TRY(parse_expression(p, &then));
  TRY(give(KVSTORE_OK, condition, &when));
  TRY(add_operand(list, &when));
  return add_operand(list, &then);
}

/* The value of a case stands before each `when` but the first once more. */
static Status repeat_value(Parser *p, const ExpressionOperand *of, size_t *length) {
  const Expression *e;
  Buffer text = { 0 };
  if (*length) return count_repeated(p, *length);
  TRY(as_expression(p, of, &e));
  expression_print(e, NULL, 0, &text);
  Status status = buffer_status(&text);
  *length = text.length;
  buffer_release(&text);
  return status == KVSTORE_OK ? count_repeated(p, *length) : status;
}

static Status read_case(Parser *p, OperandList *list) {
  ExpressionOperand of, other;
  size_t length = 0;
  bool is_simple = !is_word(&p->lexer, "when");
  if (is_simple) TRY(parse_expression(p, &of));
  if (!is_word(&p->lexer, "when")) return lexer_fail(&p->lexer, "when");
  while (is_word(&p->lexer, "when")) {
    if (is_simple && list->count) TRY(repeat_value(p, &of, &length));
    TRY(parse_when(p, is_simple ? &of : NULL, list));
  }
  if (is_word(&p->lexer, "else")) {
    TRY(lexer_next(&p->lexer));
    TRY(parse_expression(p, &other));
    TRY(add_operand(list, &other));
  }
  if (!is_word(&p->lexer, "end")) return lexer_fail(&p->lexer, "when, else or end");
  return lexer_next(&p->lexer);
}

/* The cursor is behind the word. */
static Status parse_case(Parser *p, ExpressionOperand *out) {
  OperandList list = { 0 };
  const Expression *e = NULL;
  Status status = enter(p);
  if (status == KVSTORE_OK) status = read_case(p, &list);
  if (status == KVSTORE_OK) status = expression_case(p->arena, list.items, list.count, &e);
  p->nesting--;
  memory_release(list.items);
  return give(status, e, out);
}

/* ---- values ---- */

/* A column, a function, a case, or a literal that begins with a word. */
static Status parse_name(Parser *p, ExpressionOperand *out) {
  Lexer word = p->lexer;
  Bytes name;
  const Expression *e;
  TRY(lexer_next(&p->lexer));
  ColumnType type = literal_type(&word);
  if (type != TYPE_NONE && p->lexer.token == TOKEN_STRING) {
    *out = (ExpressionOperand){ 0 };
    return parse_typed(p, type, &out->value);
  }
  if (p->lexer.token == TOKEN_NUMBER && is_word(&word, "interval")) {
    *out = (ExpressionOperand){ 0 };
    return parse_interval(p, &out->value);
  }
  if (is_word(&word, "case") && begins_operand(&p->lexer)) return parse_case(p, out);
  if (!word.is_quoted && p->lexer.token == TOKEN_OPEN) return parse_call(p, &word, out);
  Lexer behind = p->lexer;
  p->lexer = word;
  Status status = copy_name(p, &name);
  p->lexer = behind;
  TRY(status);
  TRY(expression_name(p->arena, name, &e));
  return give(KVSTORE_OK, e, out);
}

static Status parse_primary(Parser *p, ExpressionOperand *out) {
  bool found;
  if (p->lexer.token == TOKEN_NAME) return parse_name(p, out);
  if (p->lexer.token == TOKEN_OPEN) {
    TRY(enter(p));
    TRY(lexer_next(&p->lexer));
    TRY(parse_expression(p, out));
    p->nesting--;
    return expect(p, TOKEN_CLOSE, is_condition(out) ? "and, or or )" : "an operator or )");
  }
  TRY(parse_literal(p, &found, out));
  return found ? KVSTORE_OK
               : lexer_fail(&p->lexer, p->is_operand ? "a value or a column" : "a column, a value, not or (");
}

static Status parse_signed(Parser *p, ExpressionOperand *out) {
  const Expression *e;
  bool negative = p->lexer.token == TOKEN_MINUS;
  if (!negative && p->lexer.token != TOKEN_PLUS) return parse_primary(p, out);
  TRY(enter(p));
  p->is_operand = true;
  TRY(lexer_next(&p->lexer));
  if (p->lexer.token == TOKEN_NAN) return lexer_fail(&p->lexer, "a number");
  TRY(parse_signed(p, out));
  p->nesting--;
  if (!negative || (!out->of && !out->is_parameter && literal_takes_minus(&out->value))) return KVSTORE_OK;
  TRY(expression_call(p->arena, FUNCTION_NEGATE, TYPE_NONE, out, 1, &e));
  return give(KVSTORE_OK, e, out);
}

typedef Status OperandRule(Parser *p, ExpressionOperand *out);

/* Operators of one level, from the left. `functions[i]` belongs to tokens[i]. */
static Status parse_operators(Parser *p, OperandRule *rule, const Token *tokens, const ExpressionFunction *functions,
                              size_t count, ExpressionOperand *out) {
  TRY(rule(p, out));
  for (;;) {
    size_t i = 0;
    while (i < count && p->lexer.token != tokens[i]) i++;
    if (i == count) return KVSTORE_OK;
    ExpressionOperand sides[2] = { *out };
    const Expression *e;
    p->is_operand = true;
    TRY(lexer_next(&p->lexer));
    TRY(rule(p, &sides[1]));
    TRY(expression_call(p->arena, functions[i], TYPE_NONE, sides, 2, &e));
    TRY(give(KVSTORE_OK, e, out));
  }
}

static Status parse_product(Parser *p, ExpressionOperand *out) {
  static const Token tokens[] = { TOKEN_STAR, TOKEN_SLASH, TOKEN_PERCENT };
  static const ExpressionFunction functions[] = { FUNCTION_MULTIPLY, FUNCTION_DIVIDE, FUNCTION_MODULO };
  return parse_operators(p, parse_signed, tokens, functions, 3, out);
}

static Status parse_sum(Parser *p, ExpressionOperand *out) {
  static const Token tokens[] = { TOKEN_PLUS, TOKEN_MINUS };
  static const ExpressionFunction functions[] = { FUNCTION_ADD, FUNCTION_SUBTRACT };
  return parse_operators(p, parse_product, tokens, functions, 2, out);
}

static Status parse_bits(Parser *p, ExpressionOperand *out) {
  static const Token tokens[] = { TOKEN_BIT_AND };
  static const ExpressionFunction functions[] = { FUNCTION_BIT_AND };
  return parse_operators(p, parse_sum, tokens, functions, 1, out);
}

/* ---- tests ---- */

/* (column & constant) = constant is one test of the column. */
static bool is_bits(const ExpressionOperand *subject, ExpressionTest test, const ExpressionOperand *operand) {
  const Expression *e = subject->of;
  return e && e->kind == EXPRESSION_CALL && e->function == FUNCTION_BIT_AND && test <= TEST_NOT_EQUAL &&
         e->operands[0].of && e->operands[0].of->kind == EXPRESSION_COLUMN && operand_is_constant(&e->operands[1]) &&
         operand_is_constant(operand);
}

static Status make_test(Parser *p, const ExpressionOperand *subject, ExpressionTest test,
                        const ExpressionOperand *operands, size_t count, ExpressionOperand *out) {
  const Expression *left, *e;
  /* A parameter keeps its place among the others. */
  bool may_move = !subject->is_parameter || (operands && operands[0].of && operands[0].of->kind == EXPRESSION_COLUMN);
  if (test <= TEST_GREATER_EQUAL && may_move && operand_is_constant(subject) && !operand_is_constant(&operands[0]))
    return make_test(p, &operands[0], test_mirrored(test), subject, 1, out);
  if (test <= TEST_GREATER_EQUAL && is_bits(subject, test, &operands[0])) {
    ExpressionOperand both[2] = { subject->of->operands[1], operands[0] };
    TRY(expression_test(p->arena, subject->of->operands[0].of->column, test == TEST_EQUAL ? TEST_BITS : TEST_NOT_BITS,
                        both, 2, &e));
    return give(KVSTORE_OK, e, out);
  }
  TRY(as_expression(p, subject, &left));
  TRY(expression_test_of(p->arena, left, test, operands, count, &e));
  return give(KVSTORE_OK, e, out);
}

static Status parse_in(Parser *p, const ExpressionOperand *subject, bool negated, ExpressionOperand *out) {
  OperandList list = { 0 };
  TRY(lexer_next(&p->lexer));
  p->is_operand = true;
  TRY(expect(p, TOKEN_OPEN, "("));
  Status status = read_list(p, &list);
  if (status == KVSTORE_OK)
    status = make_test(p, subject, negated ? TEST_NOT_IN : TEST_IN, list.items, list.count, out);
  memory_release(list.items);
  return status;
}

static Status parse_between(Parser *p, const ExpressionOperand *subject, bool negated, ExpressionOperand *out) {
  ExpressionOperand ends[2];
  TRY(lexer_next(&p->lexer));
  p->is_operand = true;
  TRY(parse_bits(p, &ends[0]));
  TRY(expect(p, TOKEN_AND, "and, for the upper end of between"));
  p->is_operand = true;
  TRY(parse_bits(p, &ends[1]));
  return make_test(p, subject, negated ? TEST_NOT_BETWEEN : TEST_BETWEEN, ends, 2, out);
}

static Status parse_one(Parser *p, const ExpressionOperand *subject, ExpressionTest test, ExpressionOperand *out) {
  ExpressionOperand operand;
  TRY(lexer_next(&p->lexer));
  p->is_operand = true;
  TRY(parse_bits(p, &operand));
  return make_test(p, subject, test, &operand, 1, out);
}

static Status parse_is(Parser *p, const ExpressionOperand *subject, ExpressionOperand *out) {
  TRY(lexer_next(&p->lexer));
  bool negated = p->lexer.token == TOKEN_NOT;
  if (negated) TRY(lexer_next(&p->lexer));
  bool is_nan = p->lexer.token == TOKEN_NAN;
  if (!is_nan && p->lexer.token != TOKEN_NULL)
    return lexer_fail(&p->lexer, negated ? "null or nan" : "null, nan or not");
  TRY(lexer_next(&p->lexer));
  ExpressionTest test = is_nan ? TEST_IS_NAN : TEST_IS_NULL;
  return make_test(p, subject, negated ? test + 1 : test, NULL, 0, out);
}

static Status parse_test(Parser *p, ExpressionOperand *out) {
  ExpressionOperand subject;
  TRY(parse_bits(p, &subject));
  *out = subject;
  if (p->lexer.token == TOKEN_COMPARISON) return parse_one(p, &subject, p->lexer.comparison, out);
  if (p->lexer.token == TOKEN_IS) return parse_is(p, &subject, out);
  bool negated = p->lexer.token == TOKEN_NOT;
  if (negated) TRY(lexer_next(&p->lexer));
  switch (p->lexer.token) {
  case TOKEN_BETWEEN: return parse_between(p, &subject, negated, out);
  case TOKEN_IN: return parse_in(p, &subject, negated, out);
  case TOKEN_LIKE: return parse_one(p, &subject, negated ? TEST_NOT_LIKE : TEST_LIKE, out);
  default: break;
  }
  return negated ? lexer_fail(&p->lexer, "between, in or like") : KVSTORE_OK;
}

/* ---- not, and, or ---- */

static Status parse_negation(Parser *p, ExpressionOperand *out) {
  const Expression *child, *e;
  p->is_operand = false;
  if (p->lexer.token != TOKEN_NOT) return parse_test(p, out);
  TRY(enter(p));
  TRY(lexer_next(&p->lexer));
  TRY(parse_negation(p, out));
  p->nesting--;
  TRY(as_condition(p, out, &child));
  TRY(expression_join(p->arena, EXPRESSION_NOT, &child, 1, &e));
  return give(KVSTORE_OK, e, out);
}

static Status read_chain(Parser *p, OperandRule *rule, Token joint, ExpressionOperand *first, ChildList *list) {
  for (;;) {
    if (p->lexer.token != joint && list->count == 0) return KVSTORE_OK; /* one alone stays what it is */
    TRY(memory_grow(&list->items, &list->capacity, list->count + 1, sizeof *list->items));
    TRY(as_condition(p, first, &list->items[list->count]));
    list->count++;
    if (p->lexer.token != joint) return KVSTORE_OK;
    TRY(lexer_next(&p->lexer));
    TRY(rule(p, first));
  }
}

static Status parse_chain(Parser *p, OperandRule *rule, Token joint, ExpressionKind kind, ExpressionOperand *out) {
  ChildList list = { 0 };
  const Expression *e = NULL;
  TRY(rule(p, out));
  Status status = read_chain(p, rule, joint, out, &list);
  if (status == KVSTORE_OK && list.count) status = expression_join(p->arena, kind, list.items, list.count, &e);
  if (e) status = give(status, e, out);
  memory_release(list.items);
  return status;
}

static Status parse_and_chain(Parser *p, ExpressionOperand *out) {
  return parse_chain(p, parse_negation, TOKEN_AND, EXPRESSION_AND, out);
}

static Status parse_expression(Parser *p, ExpressionOperand *out) {
  return parse_chain(p, parse_and_chain, TOKEN_OR, EXPRESSION_OR, out);
}

/* ---- texts ---- */

static Status begin(Parser *p) {
  if (p->lexer.length > EXPRESSION_TEXT_MAX) {
    return status_fail(KVSTORE_LIMIT, "a filter's text has at most %d bytes, not %zu", EXPRESSION_TEXT_MAX,
                       p->lexer.length);
  }
  if (!bytes_are_utf8((const uint8_t *)p->lexer.text, p->lexer.length)) {
    return status_fail(KVSTORE_ERROR, "a filter's text is UTF-8 (bytes are written as x'00ff')");
  }
  return lexer_next(&p->lexer);
}

Status expression_parse(Arena *arena, const char *text, size_t length, const Expression **out,
                        uint32_t *parameter_count) {
  Parser p = { .lexer = { .where = "the filter at", .text = text, .length = length }, .arena = arena };
  ExpressionOperand operand;
  const Expression *filter = NULL;
  TRY(begin(&p));
  TRY(parse_expression(&p, &operand));
  TRY(as_condition(&p, &operand, &filter));
  if (p.lexer.token != TOKEN_END) return lexer_fail(&p.lexer, "and, or, or the end");
  *out = filter;
  if (parameter_count) *parameter_count = p.parameter_count;
  return KVSTORE_OK;
}

enum { VALUE_SHOWN = 100 }; /* bytes of its text, in a message */

static Status parse_value(Parser *p, const Expression **out, Bytes *name) {
  ExpressionOperand operand;
  TRY(begin(p));
  TRY(parse_expression(p, &operand));
  if (name && is_word(&p->lexer, "as")) {
    TRY(lexer_next(&p->lexer));
    if (p->lexer.token != TOKEN_NAME) return lexer_fail(&p->lexer, "a name");
    TRY(copy_name(p, name));
    TRY(lexer_next(&p->lexer));
  }
  if (p->lexer.token != TOKEN_END) return lexer_fail(&p->lexer, "an operator or the end");
  return as_expression(p, &operand, out);
}

Status expression_parse_value(Arena *arena, const char *text, size_t length, const Expression **out,
                              uint32_t *parameter_count) {
  Parser p = { .lexer = { .where = "at", .text = text, .length = length }, .arena = arena };
  TRY(parse_value(&p, out, NULL));
  if (parameter_count) *parameter_count = p.parameter_count;
  return KVSTORE_OK;
}

Status expression_parse_named(Arena *arena, const char *text, size_t length, const Expression **out, Bytes *name) {
  Parser p = { .lexer = { .where = "at", .text = text, .length = length }, .arena = arena };
  *name = (Bytes){ 0 };
  Status status = parse_value(&p, out, name);
  if (status == KVSTORE_OK || status == KVSTORE_NOMEM || !length || !bytes_are_utf8((const uint8_t *)text, length))
    return status;
  int shown = (int)bytes_beginning(text, length, VALUE_SHOWN);
  return status_fail_at(status, UINT64_MAX, text, NULL, "%.*s%s: %s", shown, text, (size_t)shown < length ? "..." : "",
                        status_last()->text);
}
