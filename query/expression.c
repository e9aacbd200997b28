/* expression.c - making expressions by functions. */
#include "query/expression.h"

#include "base/literal.h"
#include "base/memory.h"
#include "query/expression_internal.h"

static Expression *new_expression(Arena *arena, ExpressionKind kind) {
  Expression *e = arena_allocate_zeroed(arena, sizeof *e);
  if (!e) return NULL;
  e->kind = kind;
  e->depth = 1;
  return e;
}

size_t test_operands_least(ExpressionTest test) {
  switch (test) {
  case TEST_BETWEEN:
  case TEST_NOT_BETWEEN:
  case TEST_BITS:
  case TEST_NOT_BITS: return 2;
  case TEST_IN:
  case TEST_NOT_IN: return 0;
  case TEST_IS_NULL:
  case TEST_IS_NOT_NULL:
  case TEST_IS_NAN:
  case TEST_IS_NOT_NAN:
  case TEST_IS_TRUE: return 0;
  default: return 1;
  }
}

size_t test_operands_most(ExpressionTest test) {
  return test == TEST_IN || test == TEST_NOT_IN ? SIZE_MAX : test_operands_least(test);
}

ExpressionTest test_mirrored(ExpressionTest test) {
  switch (test) {
  case TEST_LESS: return TEST_GREATER;
  case TEST_LESS_EQUAL: return TEST_GREATER_EQUAL;
  case TEST_GREATER: return TEST_LESS;
  case TEST_GREATER_EQUAL: return TEST_LESS_EQUAL;
  default: return test;
  }
}

bool literal_takes_minus(Value *v) {
  if (v->is_null) return false;
  if (v->type == TYPE_F64) {
    v->f = -v->f;
    if (v->exactly) v->written.unscaled = -v->written.unscaled;
  } else if ((v->type == TYPE_DURATION && v->i != INT64_MIN) || type_is_decimal(v->type)) {
    v->i = -v->i;
  } else if (v->type == TYPE_I64 && v->i != INT64_MIN) {
    v->i = -v->i;
  } else if (v->type == TYPE_U64 && v->u == UINT64_C(1) << 63) {
    *v = (Value){ .type = TYPE_I64, .i = INT64_MIN };
  } else if (v->type == TYPE_U64) {
    *v = literal_below_i64(v->u);
  } else {
    return false;
  }
  return true;
}

Status expression_constant(Arena *arena, ExpressionKind kind, const Expression **out) {
  if (kind > EXPRESSION_UNKNOWN) return status_fail(KVSTORE_ERROR, "a constant filter is true, false or null");
  Expression *e = new_expression(arena, kind);
  if (!e) return status_nomem();
  *out = e;
  return KVSTORE_OK;
}

static bool copy_bytes(Arena *arena, Bytes from, Bytes *to) {
  to->length = from.length;
  to->data = from.length ? arena_copy(arena, from.data, from.length) : (const uint8_t *)"";
  return to->data != NULL;
}

static Status copy_operands(Arena *arena, const ExpressionOperand *operands, size_t count, Expression *e) {
  if (count == 0) return KVSTORE_OK;
  ExpressionOperand *own = arena_allocate(arena, memory_array_size(count, sizeof *own));
  if (!own) return status_nomem();
  for (size_t i = 0; i < count; i++) {
    own[i] = operands[i];
    const Value *v = &operands[i].value;
    if (operands[i].is_parameter || operands[i].of || v->is_null || !type_is_string(v->type)) continue;
    if (!copy_bytes(arena, v->s, &own[i].value.s)) return status_nomem();
  }
  e->operands = own;
  e->count = (uint32_t)count;
  return KVSTORE_OK;
}

Status expression_name(Arena *arena, Bytes column, const Expression **out) {
  Expression *e = new_expression(arena, EXPRESSION_COLUMN);
  if (!e || !copy_bytes(arena, column, &e->column)) return status_nomem();
  *out = e;
  return KVSTORE_OK;
}

static bool is_condition(const Expression *e) { return e->kind <= EXPRESSION_NOT; }

/* One more than the deepest operand. */
static Status set_depth(Expression *e) {
  uint32_t deepest = e->subject ? e->subject->depth : 0;
  for (uint32_t i = 0; i < e->count; i++) {
    const Expression *of = e->operands[i].of;
    if (of && of->kind != EXPRESSION_COLUMN && of->depth > deepest) deepest = of->depth;
  }
  e->depth = deepest + 1;
  if (e->depth <= EXPRESSION_DEPTH_MAX) return KVSTORE_OK;
  return status_fail(KVSTORE_LIMIT, "a filter or value nests at most %d levels", EXPRESSION_DEPTH_MAX);
}

static Status with_operands(Arena *arena, Expression *e, const ExpressionOperand *operands, size_t count,
                            const Expression **out) {
  TRY(copy_operands(arena, operands, count, e));
  TRY(set_depth(e));
  *out = e;
  return KVSTORE_OK;
}

Status expression_value(Arena *arena, const ExpressionOperand *operand, const Expression **out) {
  Expression *e = new_expression(arena, EXPRESSION_VALUE);
  return e ? with_operands(arena, e, operand, 1, out) : status_nomem();
}

Status expression_call(Arena *arena, ExpressionFunction function, ColumnType type, const ExpressionOperand *operands,
                       size_t count, const Expression **out) {
  size_t least, most;
  function_operands(function, &least, &most);
  if (count < least || count > most) {
    return status_fail(KVSTORE_ERROR, "%s does not take %zu values", expression_function_name(function), count);
  }
  Expression *e = new_expression(arena, EXPRESSION_CALL);
  if (!e) return status_nomem();
  e->function = function;
  e->type = type;
  return with_operands(arena, e, operands, count, out);
}

Status expression_case(Arena *arena, const ExpressionOperand *operands, size_t count, const Expression **out) {
  if (count < 2 || count > EXPRESSION_TEXT_MAX) return status_fail(KVSTORE_ERROR, "a case has at least one condition");
  for (size_t i = 0; i + 1 < count; i += 2) {
    if (!operands[i].of || !is_condition(operands[i].of))
      return status_fail(KVSTORE_ERROR, "a case has conditions, which are true or not");
  }
  Expression *e = new_expression(arena, EXPRESSION_CASE);
  return e ? with_operands(arena, e, operands, count, out) : status_nomem();
}

static Status check_test(Bytes of, ExpressionTest test, size_t count) {
  if (test <= TEST_NOT_BITS && count >= test_operands_least(test) && count <= test_operands_most(test) &&
      count <= EXPRESSION_TEXT_MAX)
    return KVSTORE_OK;
  return status_fail(KVSTORE_ERROR, "a test of %s%.*s does not take %zu values", of.length ? "column " : "a value",
                     (int)of.length, (const char *)of.data, count);
}

Status expression_test(Arena *arena, Bytes column, ExpressionTest test, const ExpressionOperand *operands, size_t count,
                       const Expression **out) {
  TRY(check_test(column, test, count));
  Expression *e = new_expression(arena, EXPRESSION_TEST);
  if (!e || !copy_bytes(arena, column, &e->column)) return status_nomem();
  e->test = test;
  return with_operands(arena, e, operands, count, out);
}

Status expression_test_of(Arena *arena, const Expression *subject, ExpressionTest test,
                          const ExpressionOperand *operands, size_t count, const Expression **out) {
  if (subject->kind == EXPRESSION_COLUMN) return expression_test(arena, subject->column, test, operands, count, out);
  TRY(check_test((Bytes){ 0 }, test, count));
  Expression *e = new_expression(arena, EXPRESSION_TEST);
  if (!e) return status_nomem();
  e->test = test;
  e->subject = subject;
  return with_operands(arena, e, operands, count, out);
}

Status expression_join(Arena *arena, ExpressionKind kind, const Expression *const *children, size_t count,
                       const Expression **out) {
  if (kind < EXPRESSION_AND || kind > EXPRESSION_NOT || (kind == EXPRESSION_NOT && count != 1) ||
      count > EXPRESSION_TEXT_MAX) {
    return status_fail(KVSTORE_ERROR, "filters are joined by and, or, or not, the last of one filter");
  }
  if (count == 0) return expression_constant(arena, kind == EXPRESSION_AND ? EXPRESSION_TRUE : EXPRESSION_FALSE, out);
  if (count == 1 && kind != EXPRESSION_NOT) {
    *out = children[0];
    return KVSTORE_OK;
  }
  Expression *e = new_expression(arena, kind);
  if (!e) return status_nomem();
  for (size_t i = 0; i < count; i++) {
    if (children[i]->depth >= e->depth) e->depth = children[i]->depth + 1;
  }
  if (e->depth > EXPRESSION_DEPTH_MAX) {
    return status_fail(KVSTORE_LIMIT, "a filter or value nests at most %d levels", EXPRESSION_DEPTH_MAX);
  }
  e->children = arena_copy(arena, children, count * sizeof *children);
  if (!e->children) return status_nomem();
  e->count = (uint32_t)count;
  *out = e;
  return KVSTORE_OK;
}
