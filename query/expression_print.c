/* expression_print.c - the canonical text: lower-case words, single spaces, parentheses where the reader needs them. */
#include <math.h>
#include <stdio.h>

#include "base/literal.h"
#include "columnar/aggregates.h"
#include "query/expression_internal.h"

typedef struct Printer {
  const Value *parameters;
  size_t parameter_count;
  bool has_types; /* of parameters, where their values do not tell them */
  Buffer *out;
} Printer;

/* How tightly what is printed binds; what binds less than its place asks for gets parentheses. */
typedef enum Binding { BINDS_ANY, BINDS_SUM, BINDS_PRODUCT, BINDS_SIGN, BINDS_ALONE } Binding;

static void print(const Printer *p, const Expression *e);

static const char *const test_words[] = {
  [TEST_EQUAL] = " = ",         [TEST_NOT_EQUAL] = " <> ",
  [TEST_LESS] = " < ",          [TEST_LESS_EQUAL] = " <= ",
  [TEST_GREATER] = " > ",       [TEST_GREATER_EQUAL] = " >= ",
  [TEST_BETWEEN] = " between ", [TEST_NOT_BETWEEN] = " not between ",
  [TEST_IN] = " in (",          [TEST_NOT_IN] = " not in (",
  [TEST_LIKE] = " like ",       [TEST_NOT_LIKE] = " not like ",
  [TEST_IS_NULL] = " is null",  [TEST_IS_NOT_NULL] = " is not null",
  [TEST_IS_NAN] = " is nan",    [TEST_IS_NOT_NAN] = " is not nan",
  [TEST_IS_TRUE] = "",          [TEST_BITS] = ") = ",
  [TEST_NOT_BITS] = ") <> ",
};

void expression_print_name(Bytes name, Buffer *out) {
  if (lexer_name_needs_quotes(name.data, name.length))
    literal_print_quoted(name.data, name.length, '"', out);
  else
    buffer_append(out, name.data, name.length);
}

/* ---- values ---- */

/* Whether the value would be read as one of another type: 5 is an i64, and 0.5 beside decimals a decimal. */
static bool hides_type(const Value *v) {
  if (v->is_null) return false;
  if (type_is_float(v->type)) return isfinite(v->f) && !v->exactly;
  return type_is_integer(v->type) && v->type != TYPE_I64 && !(v->type == TYPE_U64 && v->u > INT64_MAX);
}

/* A number of more digits than a decimal has is the nearest f64, whose own digits may be fewer: they would be read as
 * the decimal that they are. */
static bool reads_as_decimal(const Value *v, Value *decimal) {
  Buffer text = { 0 };
  if (v->is_null || v->type != TYPE_F64 || v->exactly || !isfinite(v->f)) return false;
  literal_print(v, &text);
  bool is_read = !text.failed && literal_number((const char *)text.data, text.length, decimal) == KVSTORE_OK;
  buffer_release(&text);
  return is_read && decimal->exactly;
}

static void print_float(const Value *decimal, Buffer *out) {
  buffer_text(out, "cast(");
  literal_print(decimal, out);
  buffer_text(out, " as f64)");
}

static void print_literal(const Value *v, Buffer *out) {
  Value decimal;
  if (reads_as_decimal(v, &decimal))
    print_float(&decimal, out);
  else
    literal_print(v, out);
}

static void print_parameter(const Printer *p, const Value *v) {
  bool shows_type = p->has_types && hides_type(v);
  Value decimal;
  if (shows_type && reads_as_decimal(v, &decimal)) {
    print_float(&decimal, p->out);
    return;
  }
  if (shows_type) buffer_text(p->out, "cast(");
  literal_print(v, p->out);
  if (!shows_type) return;
  buffer_text(p->out, " as ");
  buffer_text(p->out, type_name(v->type));
  buffer_u8(p->out, ')');
}

static void print_constant(const Printer *p, const ExpressionOperand *operand) {
  if (!operand->is_parameter) {
    print_literal(&operand->value, p->out);
  } else if (p->parameters && operand->parameter < p->parameter_count) {
    print_parameter(p, &p->parameters[operand->parameter]);
  } else {
    buffer_u8(p->out, '?');
  }
}

/* Whether it is a parameter, maybe behind minuses, that is printed as a literal: the minuses are its sign when that is
 * read. *v: with them. */
static bool takes_minus(const Printer *p, const ExpressionOperand *operand, Value *v) {
  const Expression *e = operand->of;
  if (e && e->kind == EXPRESSION_CALL && e->function == FUNCTION_NEGATE)
    return takes_minus(p, &e->operands[0], v) && literal_takes_minus(v);
  const ExpressionOperand *o = e && e->kind == EXPRESSION_VALUE ? &e->operands[0] : operand;
  if (o->of || !o->is_parameter || !p->parameters || o->parameter >= p->parameter_count) return false;
  *v = p->parameters[o->parameter];
  return !p->has_types || !hides_type(v);
}

static bool is_signed(const Printer *p, const Expression *e, Value *v) {
  return e->kind == EXPRESSION_CALL && e->function == FUNCTION_NEGATE &&
         takes_minus(p, &(ExpressionOperand){ .of = e }, v);
}

static Binding binding_of(const Expression *e) {
  if (e->kind == EXPRESSION_TRUE || e->kind == EXPRESSION_FALSE || e->kind == EXPRESSION_UNKNOWN) return BINDS_ALONE;
  if (e->kind <= EXPRESSION_NOT) return BINDS_ANY;
  if (e->kind != EXPRESSION_CALL) return BINDS_ALONE;
  switch (e->function) {
  case FUNCTION_BIT_AND: return BINDS_ANY;
  case FUNCTION_ADD:
  case FUNCTION_SUBTRACT: return BINDS_SUM;
  case FUNCTION_MULTIPLY:
  case FUNCTION_DIVIDE:
  case FUNCTION_MODULO: return BINDS_PRODUCT;
  case FUNCTION_NEGATE: return BINDS_SIGN;
  default: return BINDS_ALONE;
  }
}

static void print_enclosed(const Printer *p, const Expression *e, bool enclosed) {
  if (enclosed) buffer_u8(p->out, '(');
  print(p, e);
  if (enclosed) buffer_u8(p->out, ')');
}

static void print_operand(const Printer *p, const ExpressionOperand *operand, Binding least) {
  if (operand->of)
    print_enclosed(p, operand->of, binding_of(operand->of) < least);
  else
    print_constant(p, operand);
}

static void print_operator(const Printer *p, const Expression *e) {
  Binding own = binding_of(e);
  /* `&` is enclosed by whatever stands around it, but for another on its left */
  bool is_bits = e->function == FUNCTION_BIT_AND;
  print_operand(p, &e->operands[0], is_bits ? BINDS_SUM : own);
  buffer_u8(p->out, ' ');
  buffer_text(p->out, expression_function_name(e->function));
  buffer_u8(p->out, ' ');
  print_operand(p, &e->operands[1], is_bits ? BINDS_SUM : (Binding)(own + 1));
}

static void print_list(const Printer *p, const Expression *e) {
  for (uint32_t i = 0; i < e->count; i++) {
    if (i) buffer_text(p->out, ", ");
    print_operand(p, &e->operands[i], BINDS_ANY);
  }
}

static void print_call(const Printer *p, const Expression *e) {
  Binding own = binding_of(e);
  Value literal;
  if (is_signed(p, e, &literal)) {
    print_parameter(p, &literal);
  } else if (e->function == FUNCTION_NEGATE) {
    buffer_u8(p->out, '-');
    print_operand(p, &e->operands[0], BINDS_SIGN);
  } else if (own != BINDS_ALONE) {
    print_operator(p, e);
  } else {
    buffer_text(p->out, expression_function_name(e->function));
    buffer_u8(p->out, '(');
    print_list(p, e);
    if (e->function == FUNCTION_CAST || e->function == FUNCTION_TRY_CAST) {
      buffer_text(p->out, " as ");
      buffer_text(p->out, type_name(e->type));
    }
    buffer_u8(p->out, ')');
  }
}

static void print_case(const Printer *p, const Expression *e) {
  buffer_text(p->out, "case");
  uint32_t i = 0;
  for (; i + 1 < e->count; i += 2) {
    buffer_text(p->out, " when ");
    print_operand(p, &e->operands[i], BINDS_ANY);
    buffer_text(p->out, " then ");
    print_operand(p, &e->operands[i + 1], BINDS_ANY);
  }
  if (i < e->count) {
    buffer_text(p->out, " else ");
    print_operand(p, &e->operands[i], BINDS_ANY);
  }
  buffer_text(p->out, " end");
}

/* ---- tests ---- */

static void print_bits(const Printer *p, const Expression *e) {
  buffer_u8(p->out, '(');
  expression_print_name(e->column, p->out);
  buffer_text(p->out, " & ");
  print_constant(p, &e->operands[0]);
  buffer_text(p->out, test_words[e->test]);
  print_constant(p, &e->operands[1]);
}

/* Whether what is printed of a constant is no literal. */
static bool prints_cast(const Printer *p, const ExpressionOperand *operand) {
  const ExpressionOperand *o = operand->of ? &operand->of->operands[0] : operand;
  Value decimal;
  if (!o->is_parameter) return reads_as_decimal(&o->value, &decimal);
  return p->has_types && p->parameters && o->parameter < p->parameter_count && hides_type(&p->parameters[o->parameter]);
}

/* A literal left of anything else goes to its right when it is read. A parameter does not, but its value would. */
static bool is_mirrored(const Printer *p, const Expression *e) {
  Value literal;
  if (e->test > TEST_GREATER_EQUAL || !e->subject) return false;
  if (e->subject->kind != EXPRESSION_VALUE && !is_signed(p, e->subject, &literal)) return false;
  if (e->subject->operands[0].is_parameter && !p->parameters) return false;
  if (e->operands[0].of && is_signed(p, e->operands[0].of, &literal)) return false;
  return !operand_is_constant(&e->operands[0]) || prints_cast(p, &e->operands[0]);
}

static void print_test(const Printer *p, const Expression *e) {
  if (e->test == TEST_BITS || e->test == TEST_NOT_BITS) {
    print_bits(p, e);
    return;
  }
  if (is_mirrored(p, e)) {
    print_operand(p, &e->operands[0], BINDS_SUM);
    buffer_text(p->out, test_words[test_mirrored(e->test)]);
    print(p, e->subject);
    return;
  }
  if (e->subject)
    print_enclosed(p, e->subject, e->test != TEST_IS_TRUE && binding_of(e->subject) < BINDS_SUM);
  else
    expression_print_name(e->column, p->out);
  buffer_text(p->out, test_words[e->test]);
  bool is_list = e->test == TEST_IN || e->test == TEST_NOT_IN;
  for (uint32_t i = 0; i < e->count; i++) {
    if (i) buffer_text(p->out, is_list ? ", " : " and ");
    print_operand(p, &e->operands[i], is_list ? BINDS_ANY : BINDS_SUM);
  }
  if (is_list) buffer_u8(p->out, ')');
}

/* A parameter by itself whose value is given: it reads back as true, false or null. */
static bool prints_constant(const Printer *p, const Expression *e) {
  bool is_alone = e->kind == EXPRESSION_TEST && e->test == TEST_IS_TRUE && e->subject;
  return is_alone && p->parameters && e->subject->kind == EXPRESSION_VALUE;
}

/* `and` binds tighter than `or`; everything else that has children gets parentheses inside another. */
static bool needs_parentheses(const Printer *p, const Expression *parent, const Expression *child) {
  if (child->kind < EXPRESSION_AND)
    return parent->kind == EXPRESSION_NOT && child->kind == EXPRESSION_TEST && !prints_constant(p, child);
  return !(parent->kind == EXPRESSION_OR && child->kind == EXPRESSION_AND) &&
         !(parent->kind != EXPRESSION_NOT && child->kind == EXPRESSION_NOT);
}

static void print_joined(const Printer *p, const Expression *e) {
  for (uint32_t i = 0; i < e->count; i++) {
    if (e->kind == EXPRESSION_NOT) buffer_text(p->out, "not ");
    if (i) buffer_text(p->out, e->kind == EXPRESSION_AND ? " and " : " or ");
    print_enclosed(p, e->children[i], needs_parentheses(p, e, e->children[i]));
  }
}

static void print(const Printer *p, const Expression *e) {
  switch (e->kind) {
  case EXPRESSION_TRUE: buffer_text(p->out, "true"); break;
  case EXPRESSION_FALSE: buffer_text(p->out, "false"); break;
  case EXPRESSION_UNKNOWN: buffer_text(p->out, "null"); break;
  case EXPRESSION_TEST: print_test(p, e); break;
  case EXPRESSION_COLUMN: expression_print_name(e->column, p->out); break;
  case EXPRESSION_VALUE: print_constant(p, &e->operands[0]); break;
  case EXPRESSION_CALL: print_call(p, e); break;
  case EXPRESSION_CASE: print_case(p, e); break;
  default: print_joined(p, e); break;
  }
}

void expression_print(const Expression *expression, const Value *parameters, size_t parameter_count, Buffer *out) {
  Printer p = { parameters, parameter_count, false, out };
  print(&p, expression);
}

void expression_print_typed(const Expression *expression, const Value *parameters, size_t parameter_count,
                            Buffer *out) {
  Printer p = { parameters, parameter_count, true, out };
  print(&p, expression);
}

void expression_print_quantile(Bytes of, uint32_t millionths, Buffer *out) {
  char part[24]; /* ", 0.95" of 950,000, ", 1" of a million */
  bool is_median = millionths == QUANTILE_WHOLE / 2;
  buffer_text(out, is_median ? "median(" : "quantile(");
  buffer_append(out, of.data, of.length);
  int length = snprintf(part, sizeof part, ", %u.%06u", millionths / QUANTILE_WHOLE, millionths % QUANTILE_WHOLE);
  while (part[length - 1] == '0') length--;
  if (part[length - 1] == '.') length--;
  if (!is_median) buffer_append(out, part, (size_t)length);
  buffer_u8(out, ')');
}
