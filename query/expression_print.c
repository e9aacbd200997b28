/* expression_print.c - the canonical text: lower-case words, single spaces, parentheses where the reader needs them. */
#include "query/expression_internal.h"
#include "query/literal.h"

typedef struct Printer {
  const Value *parameters;
  size_t parameter_count;
  Buffer *out;
} Printer;

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

static void print_name(const Printer *p, Bytes name) {
  if (lexer_name_needs_quotes(name.data, name.length))
    literal_print_quoted(name.data, name.length, '"', p->out);
  else
    buffer_append(p->out, name.data, name.length);
}

static void print_operand(const Printer *p, const ExpressionOperand *operand) {
  if (operand->of) {
    print_name(p, operand->of->column);
  } else if (!operand->is_parameter) {
    literal_print(&operand->value, p->out);
  } else if (p->parameters && operand->parameter < p->parameter_count) {
    literal_print(&p->parameters[operand->parameter], p->out);
  } else {
    buffer_u8(p->out, '?');
  }
}

static void print_bits(const Printer *p, const Expression *e) {
  buffer_u8(p->out, '(');
  print_name(p, e->column);
  buffer_text(p->out, " & ");
  print_operand(p, &e->operands[0]);
  buffer_text(p->out, test_words[e->test]);
  print_operand(p, &e->operands[1]);
}

static void print_test(const Printer *p, const Expression *e) {
  if (e->test == TEST_BITS || e->test == TEST_NOT_BITS) {
    print_bits(p, e);
    return;
  }
  print_name(p, e->column);
  buffer_text(p->out, test_words[e->test]);
  bool is_list = e->test == TEST_IN || e->test == TEST_NOT_IN;
  for (uint32_t i = 0; i < e->count; i++) {
    if (i) buffer_text(p->out, is_list ? ", " : " and ");
    print_operand(p, &e->operands[i]);
  }
  if (is_list) buffer_u8(p->out, ')');
}

/* `and` binds tighter than `or`; everything else that has children gets parentheses inside another. */
static bool needs_parentheses(const Expression *parent, const Expression *child) {
  if (child->kind < EXPRESSION_AND) return parent->kind == EXPRESSION_NOT && child->kind == EXPRESSION_TEST;
  return !(parent->kind == EXPRESSION_OR && child->kind == EXPRESSION_AND) &&
         !(parent->kind != EXPRESSION_NOT && child->kind == EXPRESSION_NOT);
}

static void print(const Printer *p, const Expression *e) {
  switch (e->kind) {
  case EXPRESSION_TRUE: buffer_text(p->out, "true"); return;
  case EXPRESSION_FALSE: buffer_text(p->out, "false"); return;
  case EXPRESSION_UNKNOWN: buffer_text(p->out, "null"); return;
  case EXPRESSION_TEST: print_test(p, e); return;
  case EXPRESSION_COLUMN: print_name(p, e->column); return;
  default: break;
  }
  for (uint32_t i = 0; i < e->count; i++) {
    bool enclosed = needs_parentheses(e, e->children[i]);
    if (e->kind == EXPRESSION_NOT) buffer_text(p->out, "not ");
    if (i) buffer_text(p->out, e->kind == EXPRESSION_AND ? " and " : " or ");
    if (enclosed) buffer_u8(p->out, '(');
    print(p, e->children[i]);
    if (enclosed) buffer_u8(p->out, ')');
  }
}

void expression_print(const Expression *expression, const Value *parameters, size_t parameter_count, Buffer *out) {
  Printer p = { parameters, parameter_count, out };
  print(&p, expression);
}
