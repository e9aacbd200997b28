/* expression.c - making expressions by functions. */
#include "query/expression.h"

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

Status expression_test(Arena *arena, Bytes column, ExpressionTest test, const ExpressionOperand *operands, size_t count,
                       const Expression **out) {
  if (test > TEST_NOT_BITS || count < test_operands_least(test) || count > test_operands_most(test) ||
      count > EXPRESSION_TEXT_MAX) {
    return status_fail(KVSTORE_ERROR, "a test of column %.*s does not take %zu values", (int)column.length,
                       (const char *)column.data, count);
  }
  for (size_t i = 0; i < count; i++) {
    if (operands[i].of && (test > TEST_GREATER_EQUAL || operands[i].of->kind != EXPRESSION_COLUMN))
      return status_fail(KVSTORE_ERROR, "a column stands beside another where the two are compared");
  }
  Expression *e = new_expression(arena, EXPRESSION_TEST);
  if (!e || !copy_bytes(arena, column, &e->column)) return status_nomem();
  e->test = test;
  TRY(copy_operands(arena, operands, count, e));
  *out = e;
  return KVSTORE_OK;
}

Status expression_join(Arena *arena, ExpressionKind kind, const Expression *const *children, size_t count,
                       const Expression **out) {
  if (kind < EXPRESSION_AND || (kind == EXPRESSION_NOT && count != 1) || count > EXPRESSION_TEXT_MAX) {
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
    return status_fail(KVSTORE_LIMIT, "a filter nests at most %d levels", EXPRESSION_DEPTH_MAX);
  }
  e->children = arena_copy(arena, children, count * sizeof *children);
  if (!e->children) return status_nomem();
  e->count = (uint32_t)count;
  *out = e;
  return KVSTORE_OK;
}
