/* expression_bind.c - an expression and a schema make a predicate: names become positions, patterns become prefixes,
 * strings beside dates, times, uuids and decimals become such, and every wrong literal is named with its column. */
#include <math.h>
#include <stdio.h>

#include "base/literal.h"
#include "base/memory.h"
#include "query/expression.h"
#include "query/expression_internal.h"
#include "query/program.h"

typedef struct Binder {
  const Schema *schema;
  Program *program; /* NULL: nothing can be computed */
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
  const char *what = shown && text[shown - 1] == ')' ? "column, function or computed aggregate" : "column";
  if (!nearest) return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, text, NULL, "there is no %s %s", what, text);
  return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, text, NULL, "there is no %s %s; the nearest is %s", what, text,
                        nearest);
}

/* ---- values ---- */

/* Before the name of a column; what is computed is called as it is written. */
static const char *kind_of(const Column *column) { return column->flags & COLUMN_COMPUTED ? "" : "column "; }

static Status fail_value(Status code, const Column *column, const Value *value, const char *what) {
  Buffer text = { 0 };
  literal_print(value, &text);
  buffer_u8(&text, '\0');
  const char *shown = text.failed ? "that value" : (const char *)text.data;
  Status status = status_fail_at(code, UINT64_MAX, column->name, shown, "%s%s is %s: %s %s", kind_of(column),
                                 column->name, type_name(column->type), shown, what);
  buffer_release(&text);
  return status;
}

static void note_parameter(Binder *b, uint32_t number) {
  if (number >= b->parameters_used) b->parameters_used = number + 1;
}

static bool names_column(const Expression *e);

static bool operands_name_column(const Expression *e) {
  for (uint32_t i = 0; i < e->count; i++) {
    if (e->operands[i].of && names_column(e->operands[i].of)) return true;
  }
  return false;
}

static bool names_column(const Expression *e) {
  if (e->kind == EXPRESSION_COLUMN || (e->kind == EXPRESSION_TEST && !e->subject)) return true;
  if (e->subject && names_column(e->subject)) return true;
  for (uint32_t i = 0; e->children && i < e->count; i++) {
    if (names_column(e->children[i])) return true;
  }
  return !e->children && operands_name_column(e);
}

/* A literal, a parameter, or an expression that is the same whatever the row; else *is_constant is false. */
static Status operand_value(Binder *b, const ExpressionOperand *operand, bool *is_constant, Value *out) {
  *is_constant = true;
  if (operand->of && names_column(operand->of)) {
    *is_constant = false;
    return KVSTORE_OK;
  }
  if (operand->of) return program_constant(operand->of, b->parameters, b->parameter_count, b->arena, is_constant, out);
  if (!operand->is_parameter) {
    *out = operand->value;
    return KVSTORE_OK;
  }
  if (operand->parameter >= b->parameter_count) {
    return status_fail(KVSTORE_ERROR, "parameter %u has no value: %zu were given", operand->parameter + 1,
                       b->parameter_count);
  }
  *out = b->parameters[operand->parameter];
  return KVSTORE_OK;
}

/* A string beside a date, a time, a uuid, ... is read as one. */
static Status read_as_beside(Arena *arena, const Column *column, Value *value) {
  if (value->type != TYPE_STRING || !literal_is_read(column->type)) return KVSTORE_OK;
  Value read;
  char what[128];
  uint8_t *room = arena_allocate(arena, UUID_BYTES);
  if (!room) return status_nomem();
  if (literal_read(column->type, value->s, room, &read)) {
    *value = read;
    return KVSTORE_OK;
  }
  if (type_is_date(column->type))
    return fail_value(KVSTORE_TYPE, column, value, "is neither 'YYYY-MM-DD' nor 'YYYY-MM-DD HH:MM:SS.ffffff'");
  snprintf(what, sizeof what, "is not %s", literal_form(column->type));
  return fail_value(KVSTORE_TYPE, column, value, what);
}

static Status check_value(Arena *arena, const Column *column, ExpressionTest test, Value *value) {
  if (value->is_null) return KVSTORE_OK;
  TRY(read_as_beside(arena, column, value));
  bool is_bits = test == TEST_BITS || test == TEST_NOT_BITS;
  if (is_bits && (!type_is_integer(column->type) || !type_is_integer(value->type)))
    return fail_value(KVSTORE_TYPE, column, value, "has no bits with it: both must be integers of 64 bits at most");
  if (predicate_types_compare(column->type, value->type)) return KVSTORE_OK;
  return fail_value(KVSTORE_TYPE, column, value, "does not compare with it");
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

CompareOperator expression_operator(ExpressionTest test) { return operators[test]; }

/* `like`: 'abc%' is a prefix, 'abc' an equality. '%' is a prefix too: of whatever is not null, and of a null unknown,
 * also under a `not`. */
static Status bind_pattern(const Column *column, CompareOperator *op, Value *pattern) {
  if (pattern->is_null) return KVSTORE_OK;
  Bytes *s = &pattern->s;
  const uint8_t *percent = s->length ? memchr(s->data, '%', s->length) : NULL;
  bool negated = *op == COMPARE_NOT_PREFIX;
  if ((percent && percent + 1 != s->data + s->length) || (s->length && memchr(s->data, '_', s->length))) {
    return fail_value(KVSTORE_UNSUPPORTED, column, pattern,
                      "is not supported: a pattern is a prefix and one % at its end");
  }
  if (percent)
    s->length--;
  else
    *op = negated ? COMPARE_NOT_EQUAL : COMPARE_EQUAL;
  return KVSTORE_OK;
}

/* The tests whose constant is in the word. */
static Status word_value(ExpressionTest test, const Column *column, Value *value) {
  if (test == TEST_IS_TRUE) {
    *value = (Value){ .type = TYPE_BOOL, .i = 1 };
    if (column->type == TYPE_BOOL) return KVSTORE_OK;
    return status_fail_at(KVSTORE_TYPE, UINT64_MAX, column->name, NULL,
                          "%s%s is %s: by itself it says neither true nor false", kind_of(column), column->name,
                          type_name(column->type));
  }
  *value = (Value){ .type = TYPE_F64, .f = NAN };
  if (type_is_float(column->type)) return KVSTORE_OK;
  return status_fail_at(KVSTORE_TYPE, UINT64_MAX, column->name, NULL, "%s%s is %s and never nan", kind_of(column),
                        column->name, type_name(column->type));
}

static bool has_word(ExpressionTest test) {
  return test == TEST_IS_NAN || test == TEST_IS_NOT_NAN || test == TEST_IS_TRUE;
}

/* What is compared with: of *count values, which have room for one more. */
static Status bind_constants(Arena *arena, ExpressionTest test, const Column *column, Value *values, uint32_t *count,
                             CompareOperator *op) {
  *op = operators[test];
  if (has_word(test)) {
    *count = 1;
    return word_value(test, column, &values[0]);
  }
  bool is_pattern = test == TEST_LIKE || test == TEST_NOT_LIKE;
  if (is_pattern && (!type_is_string(column->type) || column->type == TYPE_UUID))
    return fail_value(KVSTORE_TYPE, column, &values[0], "is a pattern, which is for strings");
  for (uint32_t i = 0; i < *count; i++) TRY(check_value(arena, column, test, &values[i]));
  return is_pattern ? bind_pattern(column, op, &values[0]) : KVSTORE_OK;
}

Status expression_bind_compare(ExpressionTest test, const Column *column, const Value *values, size_t count,
                               Arena *arena, Compare *out) {
  uint32_t own_count = (uint32_t)count;
  CompareOperator op;
  Value *own = arena_allocate(arena, memory_array_size(count + 1, sizeof *own));
  if (!own) return status_nomem();
  if (count) memcpy(own, values, count * sizeof *own);
  TRY(bind_constants(arena, test, column, own, &own_count, &op));
  size_t bytes = compare_bind_bound(column->type, op, own_count);
  void *memory = arena_allocate(arena, bytes ? bytes : 1);
  if (!memory) return status_nomem();
  return compare_bind(column->type, op, own, own_count, memory, out);
}

static Status new_term(Binder *b, PredicateTermKind kind, size_t count, PredicateTerm **out) {
  PredicateTerm *term = arena_allocate_zeroed(b->arena, sizeof *term);
  const PredicateTerm **terms = arena_allocate_zeroed(b->arena, memory_array_size(count + 1, sizeof *terms));
  if (!term || !terms) return status_nomem();
  *term = (PredicateTerm){ .kind = kind, .terms = terms, .count = (uint32_t)count };
  *out = term;
  return KVSTORE_OK;
}

static void set_term(PredicateTerm *parent, size_t i, const PredicateTerm *term) {
  ((const PredicateTerm **)(uintptr_t)parent->terms)[i] = term;
}

/* ---- what is computed ---- */

static void note_parameters(Binder *b, const Expression *e);

static void note_operands(Binder *b, const Expression *e) {
  for (uint32_t i = 0; i < e->count; i++) {
    if (e->operands[i].of)
      note_parameters(b, e->operands[i].of);
    else if (e->operands[i].is_parameter)
      note_parameter(b, e->operands[i].parameter);
  }
}

static void note_parameters(Binder *b, const Expression *e) {
  if (e->subject) note_parameters(b, e->subject);
  for (uint32_t i = 0; e->children && i < e->count; i++) note_parameters(b, e->children[i]);
  if (!e->children) note_operands(b, e);
}

/* The column that a value is: one of the schema's, or one that is computed. */
static Status position_of(Binder *b, const Expression *e, uint32_t *position) {
  if (e->kind == EXPRESSION_COLUMN)
    return expression_column(b->schema, (const char *)e->column.data, e->column.length, position);
  if (!b->program) return status_fail(KVSTORE_UNSUPPORTED, "nothing can be computed here");
  return program_add(b->program, e, b->parameters, b->parameter_count, (Bytes){ 0 }, position);
}

static const Column *column_at(const Binder *b, uint32_t position) {
  bool is_own = !b->program || position < b->schema->column_count;
  return is_own ? &b->schema->columns[position] : &b->program->schema->columns[position];
}

/* `column op operand`, the operand a constant or not. */
static Status compare_term(Binder *b, uint32_t column, ExpressionTest test, const ExpressionOperand *operand,
                           PredicateTerm **out) {
  Value *value = arena_allocate(b->arena, 2 * sizeof *value);
  bool is_constant;
  uint32_t count = 1;
  if (!value) return status_nomem();
  TRY(operand_value(b, operand, &is_constant, value));
  TRY(new_term(b, is_constant ? TERM_COMPARE : TERM_COMPARE_COLUMNS, 0, out));
  PredicateTerm *term = *out;
  term->column = column;
  term->op = operators[test];
  if (!is_constant) return position_of(b, operand->of, &term->other);
  term->constants = value;
  term->count = 1;
  return bind_constants(b->arena, test, column_at(b, column), value, &count, &term->op);
}

static Status range_term(Binder *b, const Expression *e, uint32_t column, PredicateTerm **out) {
  PredicateTerm *both, *side;
  TRY(new_term(b, TERM_AND, 2, &both));
  TRY(compare_term(b, column, TEST_GREATER_EQUAL, &e->operands[0], &side));
  set_term(both, 0, side);
  TRY(compare_term(b, column, TEST_LESS_EQUAL, &e->operands[1], &side));
  set_term(both, 1, side);
  *out = both;
  return KVSTORE_OK;
}

static Status members_term(Binder *b, const Expression *e, uint32_t column, PredicateTerm **out) {
  PredicateTerm *any, *one;
  TRY(new_term(b, TERM_OR, e->count, &any));
  for (uint32_t i = 0; i < e->count; i++) {
    TRY(compare_term(b, column, TEST_EQUAL, &e->operands[i], &one));
    set_term(any, i, one);
  }
  *out = any;
  return KVSTORE_OK;
}

/* A test one of whose operands is no constant. */
static Status bind_variable(Binder *b, const Expression *e, uint32_t column, PredicateTerm *term) {
  PredicateTerm *made;
  switch (e->test) {
  case TEST_BETWEEN:
  case TEST_NOT_BETWEEN: TRY(range_term(b, e, column, &made)); break;
  case TEST_IN:
  case TEST_NOT_IN: TRY(members_term(b, e, column, &made)); break;
  case TEST_LIKE:
  case TEST_NOT_LIKE: return status_fail(KVSTORE_UNSUPPORTED, "a pattern is a constant");
  default: TRY(compare_term(b, column, e->test, &e->operands[0], &made)); break;
  }
  if (e->test == TEST_NOT_BETWEEN || e->test == TEST_NOT_IN) {
    PredicateTerm *negated;
    TRY(new_term(b, TERM_NOT, 1, &negated));
    set_term(negated, 0, made);
    made = negated;
  }
  *term = *made;
  return KVSTORE_OK;
}

/* A test of a constant: true, false or unknown. */
static Status bind_fixed(Binder *b, const Expression *e, bool *is_fixed, PredicateTerm *term) {
  Value v;
  TRY(program_constant(e, b->parameters, b->parameter_count, b->arena, is_fixed, &v));
  if (*is_fixed) term->kind = v.is_null ? TERM_UNKNOWN : v.i ? TERM_TRUE : TERM_FALSE;
  return KVSTORE_OK;
}

static Status bind_test(Binder *b, const Expression *e, PredicateTerm *term) {
  bool all_constant = true;
  note_operands(b, e);
  if (e->subject) note_parameters(b, e->subject);
  if (e->subject && !names_column(e)) {
    bool is_fixed;
    TRY(bind_fixed(b, e, &is_fixed, term));
    if (is_fixed) return KVSTORE_OK;
  }
  term->kind = TERM_COMPARE;
  if (e->subject)
    TRY(position_of(b, e->subject, &term->column));
  else
    TRY(expression_column(b->schema, (const char *)e->column.data, e->column.length, &term->column));
  Value *values = arena_allocate(b->arena, memory_array_size((size_t)e->count + 1, sizeof *values));
  if (!values) return status_nomem();
  for (uint32_t i = 0; i < e->count && all_constant; i++) {
    TRY(operand_value(b, &e->operands[i], &all_constant, &values[i]));
  }
  if (!all_constant) return bind_variable(b, e, term->column, term);
  term->constants = values;
  term->count = e->count;
  return bind_constants(b->arena, e->test, column_at(b, term->column), values, &term->count, &term->op);
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
  default: return status_fail(KVSTORE_ERROR, "a value by itself is no part of a filter");
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
  return expression_bind_computing(expression, schema, NULL, parameters, parameter_count, arena, out);
}

/* The program's own schema has what it computes; the one that is bound to has other types of the columns before. */
static Status with_computed(const Schema *schema, const Program *program, Arena *arena, Schema *out) {
  *out = *schema;
  if (!program || program->schema == schema || !program->column_count) return KVSTORE_OK;
  Column *columns = arena_allocate(arena, program->schema->column_count * sizeof *columns);
  if (!columns) return status_nomem();
  memcpy(columns, program->schema->columns, program->schema->column_count * sizeof *columns);
  memcpy(columns, schema->columns, program->base_count * sizeof *columns);
  out->columns = columns;
  out->column_count = program->schema->column_count;
  return KVSTORE_OK;
}

Status expression_check_parameters(uint32_t wanted, size_t given) {
  if (given < wanted) return status_fail(KVSTORE_ERROR, "parameter %zu has no value: %zu were given", given + 1, given);
  if (given > wanted)
    return status_fail(KVSTORE_ERROR, "%zu values were given, but the filter has %u parameters", given, wanted);
  return KVSTORE_OK;
}

Status expression_bind_computing(const Expression *expression, const Schema *schema, Program *program,
                                 const Value *parameters, size_t parameter_count, Arena *arena, Predicate *out) {
  Binder b = {
    .schema = schema, .program = program, .parameters = parameters, .parameter_count = parameter_count, .arena = arena
  };
  const PredicateTerm *term;
  Schema all;
  TRY(bind(&b, expression, &term));
  TRY(expression_check_parameters(b.parameters_used, parameter_count));
  TRY(with_computed(schema, program, arena, &all));
  return predicate_bind(&all, term, arena, out);
}
