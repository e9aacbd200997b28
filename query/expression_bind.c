/* expression_bind.c - an expression and a schema make a predicate: names become positions, patterns become prefixes,
 * strings beside dates become dates, and every wrong literal is named with its column. */
#include <math.h>

#include "base/memory.h"
#include "query/expression.h"
#include "query/expression_internal.h"
#include "query/literal.h"

typedef struct Binder {
  const Schema *schema;
  const Value *parameters;
  size_t parameter_count;
  uint32_t parameters_used; /* one more than the highest */
  Arena *arena;
} Binder;

/* ---- names ---- */

enum { NAME_COMPARED_MAX = 64 }; /* characters of a name that the search for the nearest looks at */

static char folded(uint8_t c) { return (char)(c >= 'A' && c <= 'Z' ? c + 32 : c); }

/* Levenshtein's distance without regard to case: insertions, deletions and changes of one byte. */
static size_t name_distance(Bytes a, Bytes b) {
  size_t row[NAME_COMPARED_MAX + 1];
  if (a.length > NAME_COMPARED_MAX) a.length = NAME_COMPARED_MAX;
  if (b.length > NAME_COMPARED_MAX) b.length = NAME_COMPARED_MAX;
  for (size_t j = 0; j <= b.length; j++) row[j] = j;
  for (size_t i = 1; i <= a.length; i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.length; j++) {
      size_t changed = diagonal + (folded(a.data[i - 1]) != folded(b.data[j - 1]));
      size_t other = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
      diagonal = row[j];
      row[j] = changed < other ? changed : other;
    }
  }
  return row[b.length];
}

/* The name most like this one, NULL when none is. */
static const char *nearest_name(const Schema *schema, Bytes name) {
  const char *nearest = NULL;
  size_t best = name.length / 2 + 1;
  for (uint32_t c = 0; c < schema->column_count; c++) {
    const Column *column = &schema->columns[c];
    if (column->flags & COLUMN_HIDDEN) continue;
    size_t distance = name_distance(name, (Bytes){ (const uint8_t *)column->name, strlen(column->name) });
    if (distance >= best) continue;
    best = distance;
    nearest = column->name;
  }
  return nearest;
}

Status expression_column(const Schema *schema, const char *name, size_t length, uint32_t *position) {
  int found = schema_find(schema, name, length);
  if (found >= 0 && !(schema->columns[found].flags & COLUMN_HIDDEN)) {
    *position = (uint32_t)found;
    return KVSTORE_OK;
  }
  char text[COLUMN_NAME_MAX + 1];
  size_t shown = length < sizeof text - 1 ? length : sizeof text - 1;
  memcpy(text, name, shown);
  text[shown] = '\0';
  const char *nearest = nearest_name(schema, (Bytes){ (const uint8_t *)name, length });
  if (!nearest) return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, text, NULL, "there is no column %s", text);
  return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, text, NULL, "there is no column %s; the nearest is %s", text,
                        nearest);
}

/* ---- values ---- */

static Status fail_value(Status code, const Column *column, const Value *value, const char *what) {
  Buffer text = { 0 };
  literal_print(value, &text);
  buffer_u8(&text, '\0');
  const char *shown = text.failed ? "that value" : (const char *)text.data;
  Status status = status_fail_at(code, UINT64_MAX, column->name, shown, "column %s is %s: %s %s", column->name,
                                 type_name(column->type), shown, what);
  buffer_release(&text);
  return status;
}

static Status operand_value(Binder *b, const ExpressionOperand *operand, Value *out) {
  if (!operand->is_parameter) {
    *out = operand->value;
    return KVSTORE_OK;
  }
  if (operand->parameter >= b->parameter_count) {
    return status_fail(KVSTORE_ERROR, "parameter %u has no value: %zu were given", operand->parameter + 1,
                       b->parameter_count);
  }
  if (operand->parameter >= b->parameters_used) b->parameters_used = operand->parameter + 1;
  *out = b->parameters[operand->parameter];
  return KVSTORE_OK;
}

/* A string beside a date or a timestamp is read as one. */
static Status read_as_time(const Column *column, Value *value) {
  if (value->type != TYPE_STRING || (column->type != TYPE_DATE && column->type != TYPE_TIMESTAMP)) return KVSTORE_OK;
  Value read;
  const char *text = (const char *)value->s.data;
  if (!literal_date(text, value->s.length, &read) && !literal_timestamp(text, value->s.length, &read)) {
    return fail_value(KVSTORE_TYPE, column, value, "is neither 'YYYY-MM-DD' nor 'YYYY-MM-DD HH:MM:SS.ffffff'");
  }
  *value = read;
  return KVSTORE_OK;
}

static Status bind_values(Binder *b, const Expression *e, const Column *column, Value *values) {
  for (uint32_t i = 0; i < e->count; i++) {
    TRY(operand_value(b, &e->operands[i], &values[i]));
    if (values[i].is_null) continue;
    TRY(read_as_time(column, &values[i]));
    bool is_bits = e->test == TEST_BITS || e->test == TEST_NOT_BITS;
    if (is_bits && (!type_is_integer(column->type) || !type_is_integer(values[i].type)))
      return fail_value(KVSTORE_TYPE, column, &values[i], "has no bits with it: both must be integers");
    if (!predicate_types_compare(column->type, values[i].type)) {
      return fail_value(KVSTORE_TYPE, column, &values[i], "does not compare with it");
    }
  }
  return KVSTORE_OK;
}

/* ---- tests ---- */

static const CompareOperator operators[] = {
  [TEST_EQUAL] = COMPARE_EQUAL,
  [TEST_NOT_EQUAL] = COMPARE_NOT_EQUAL,
  [TEST_LESS] = COMPARE_LESS,
  [TEST_LESS_EQUAL] = COMPARE_LESS_EQUAL,
  [TEST_GREATER] = COMPARE_GREATER,
  [TEST_GREATER_EQUAL] = COMPARE_GREATER_EQUAL,
  [TEST_BETWEEN] = COMPARE_BETWEEN,
  [TEST_NOT_BETWEEN] = COMPARE_NOT_BETWEEN,
  [TEST_IN] = COMPARE_IN,
  [TEST_NOT_IN] = COMPARE_NOT_IN,
  [TEST_LIKE] = COMPARE_PREFIX,
  [TEST_NOT_LIKE] = COMPARE_NOT_PREFIX,
  [TEST_IS_NULL] = COMPARE_IS_NULL,
  [TEST_IS_NOT_NULL] = COMPARE_IS_NOT_NULL,
  [TEST_IS_NAN] = COMPARE_EQUAL,
  [TEST_IS_NOT_NAN] = COMPARE_NOT_EQUAL,
  [TEST_IS_TRUE] = COMPARE_EQUAL,
  [TEST_BITS] = COMPARE_BITS,
  [TEST_NOT_BITS] = COMPARE_NOT_BITS,
};

/* `like`: 'abc%' is a prefix, 'abc' an equality. '%' is a prefix too: of whatever is not null, and of a null unknown,
 * also under a `not`. */
static Status bind_pattern(const Column *column, PredicateTerm *term, Value *pattern) {
  if (pattern->is_null) return KVSTORE_OK;
  Bytes *s = &pattern->s;
  const uint8_t *percent = s->length ? memchr(s->data, '%', s->length) : NULL;
  bool negated = term->op == COMPARE_NOT_PREFIX;
  if ((percent && percent + 1 != s->data + s->length) || (s->length && memchr(s->data, '_', s->length))) {
    return fail_value(KVSTORE_UNSUPPORTED, column, pattern,
                      "is not supported: a pattern is a prefix and one % at its end");
  }
  if (percent)
    s->length--;
  else
    term->op = negated ? COMPARE_NOT_EQUAL : COMPARE_EQUAL;
  return KVSTORE_OK;
}

/* The tests whose constant is in the word. */
static Status bind_word(const Expression *e, const Column *column, Value *value) {
  if (e->test == TEST_IS_TRUE) {
    *value = (Value){ .type = TYPE_BOOL, .i = 1 };
    if (column->type == TYPE_BOOL) return KVSTORE_OK;
    return status_fail_at(KVSTORE_TYPE, UINT64_MAX, column->name, NULL,
                          "column %s is %s: by itself it says neither true nor false", column->name,
                          type_name(column->type));
  }
  *value = (Value){ .type = TYPE_F64, .f = NAN };
  if (type_is_float(column->type)) return KVSTORE_OK;
  return status_fail_at(KVSTORE_TYPE, UINT64_MAX, column->name, NULL, "column %s is %s and never nan", column->name,
                        type_name(column->type));
}

static Status bind_columns(Binder *b, const Expression *e, PredicateTerm *term) {
  term->kind = TERM_COMPARE_COLUMNS;
  Bytes name = e->operands[0].of->column;
  return expression_column(b->schema, (const char *)name.data, name.length, &term->other);
}

static Status bind_test(Binder *b, const Expression *e, PredicateTerm *term) {
  term->kind = TERM_COMPARE;
  term->op = operators[e->test];
  TRY(expression_column(b->schema, (const char *)e->column.data, e->column.length, &term->column));
  if (e->count && e->operands[0].of) return bind_columns(b, e, term);
  const Column *column = &b->schema->columns[term->column];
  Value *values = arena_allocate(b->arena, memory_array_size((size_t)e->count + 1, sizeof *values));
  if (!values) return status_nomem();
  term->constants = values;
  term->count = e->count;
  if (e->test == TEST_IS_NAN || e->test == TEST_IS_NOT_NAN || e->test == TEST_IS_TRUE) {
    term->count = 1;
    return bind_word(e, column, &values[0]);
  }
  bool is_pattern = e->test == TEST_LIKE || e->test == TEST_NOT_LIKE;
  if (is_pattern && !type_is_string(column->type)) {
    TRY(operand_value(b, &e->operands[0], &values[0]));
    return fail_value(KVSTORE_TYPE, column, &values[0], "is a pattern, which is for strings");
  }
  TRY(bind_values(b, e, column, values));
  return is_pattern ? bind_pattern(column, term, &values[0]) : KVSTORE_OK;
}

/* ---- the tree ---- */

static Status bind(Binder *b, const Expression *e, const PredicateTerm **out) {
  PredicateTerm *term = arena_allocate_zeroed(b->arena, sizeof *term);
  if (!term) return status_nomem();
  *out = term;
  switch (e->kind) {
  case EXPRESSION_TRUE: term->kind = TERM_TRUE; return KVSTORE_OK;
  case EXPRESSION_FALSE: term->kind = TERM_FALSE; return KVSTORE_OK;
  case EXPRESSION_UNKNOWN: term->kind = TERM_UNKNOWN; return KVSTORE_OK;
  case EXPRESSION_TEST: return bind_test(b, e, term);
  case EXPRESSION_AND: term->kind = TERM_AND; break;
  case EXPRESSION_OR: term->kind = TERM_OR; break;
  case EXPRESSION_NOT: term->kind = TERM_NOT; break;
  case EXPRESSION_COLUMN: return status_fail(KVSTORE_ERROR, "a column by itself is no part of a filter");
  }
  const PredicateTerm **terms = arena_allocate(b->arena, memory_array_size(e->count, sizeof *terms));
  if (!terms) return status_nomem();
  term->terms = terms;
  term->count = e->count;
  for (uint32_t i = 0; i < e->count; i++) TRY(bind(b, e->children[i], &terms[i]));
  return KVSTORE_OK;
}

Status expression_bind(const Expression *expression, const Schema *schema, const Value *parameters,
                       size_t parameter_count, Arena *arena, Predicate *out) {
  Binder b = { .schema = schema, .parameters = parameters, .parameter_count = parameter_count, .arena = arena };
  const PredicateTerm *term;
  TRY(bind(&b, expression, &term));
  if (b.parameters_used < parameter_count) {
    return status_fail(KVSTORE_ERROR, "%zu values were given, but the filter has %u parameters", parameter_count,
                       b.parameters_used);
  }
  return predicate_bind(schema, term, arena, out);
}
