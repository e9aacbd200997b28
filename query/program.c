/* program.c - expressions to typed trees: which columns they name, what their parts are of, and what does not go
 * together. Parts that are the same whatever the row are computed here, once. */
#include "query/program.h"

#include "base/bytes.h"
#include "base/literal.h"
#include "base/memory.h"
#include "query/expression_internal.h"
#include "query/program_internal.h"

typedef struct Binder {
  Program *program;
  const Value *parameters;
  size_t parameter_count;
  uint32_t node_count;
  bool reads_columns;
} Binder;

static Status bind(Binder *b, const Expression *e, ProgramNode **out);

/* ---- nodes ---- */

static Status new_node(Binder *b, NodeKind kind, ColumnType type, size_t children, ProgramNode **out) {
  if (b->node_count >= PROGRAM_NODES_MAX)
    return status_fail(KVSTORE_LIMIT, "a value to be computed has at most %d parts", PROGRAM_NODES_MAX);
  ProgramNode *node = arena_allocate_zeroed(&b->program->arena, sizeof *node);
  if (!node) return status_nomem();
  node->kind = kind;
  node->type = type;
  node->slot = b->node_count++;
  node->count = (uint32_t)children;
  if (children) {
    node->children = arena_allocate_zeroed(&b->program->arena, memory_array_size(children, sizeof *node->children));
    if (!node->children) return status_nomem();
  }
  *out = node;
  return KVSTORE_OK;
}

static void set_child(ProgramNode *node, size_t i, const ProgramNode *child) {
  ((const ProgramNode **)(uintptr_t)node->children)[i] = child;
}

static Status copy_value(Arena *arena, Value *v) {
  if (v->is_null || !type_is_string(v->type)) return KVSTORE_OK;
  v->s.data = v->s.length ? arena_copy(arena, v->s.data, v->s.length) : (const uint8_t *)"";
  return v->s.data ? KVSTORE_OK : status_nomem();
}

static Status constant(Binder *b, Value value, ProgramNode **out) {
  TRY(copy_value(&b->program->arena, &value));
  TRY(new_node(b, NODE_CONSTANT, value.type, 0, out));
  (*out)->constant = value;
  return KVSTORE_OK;
}

static const char *type_word(const ProgramNode *node) { return node->type ? type_name(node->type) : "null"; }

/* The type of what was given and, of a text that was written, which: it may have been meant as a time. */
static void print_operand(const char *before, const ProgramNode *node, Buffer *text) {
  buffer_append(text, before, strlen(before));
  buffer_append(text, type_word(node), strlen(type_word(node)));
  if (node->kind != NODE_CONSTANT || node->type != TYPE_STRING) return;
  buffer_u8(text, ' ');
  literal_print(&node->constant, text);
}

static Status fail_types(const char *what, const ProgramNode *a, const ProgramNode *b) {
  Buffer text = { 0 };
  print_operand("", a, &text);
  if (b) print_operand(" and ", b, &text);
  buffer_u8(&text, '\0');
  Status status = text.failed ? status_nomem() : status_fail(KVSTORE_TYPE, "%s is not for %s", what, (char *)text.data);
  buffer_release(&text);
  return status;
}

/* ---- what is the same whatever the row ---- */

static bool is_fixed(const ProgramNode *node) {
  if (node->kind == NODE_CONSTANT) return true;
  if (node->kind == NODE_COLUMN) return false;
  for (uint32_t i = 0; i < node->count; i++) {
    if (node->children[i]->kind != NODE_CONSTANT) return false;
  }
  return true;
}

/* The value of a tree that names no column. A failure names it by its title. */
static Status compute_fixed(Binder *b, char *title, ProgramNode **node) {
  Schema none = { 0 };
  Column column = { .type = (*node)->type, .name = title };
  none.columns = &column;
  none.column_count = 1;
  ProgramColumn computed = { (*node)->type, false, title, *node, b->node_count };
  Program one = { .schema = &none, .columns = &computed, .column_count = 1 };
  Evaluator *evaluator = NULL;
  ColumnArray array = { 0 };
  TRY(evaluator_create(&one, &evaluator));
  Status status = evaluator_arrays(evaluator, &array, 1);
  if (status == KVSTORE_OK) {
    Value v = { .type = (*node)->type, .is_null = true };
    if (!(array.nulls && array.nulls[0])) v = value_from_array((*node)->type, array.values, 0);
    v.type = (*node)->type;
    status = constant(b, v, node);
  }
  evaluator_destroy(evaluator);
  return status;
}

/* Children that are constants make a constant; but what fails may stand where it is never asked for. */
static Status fold(Binder *b, ProgramNode **node) {
  char nobody_asks[] = "";
  if ((*node)->kind == NODE_CONSTANT || !is_fixed(*node)) return KVSTORE_OK;
  Status status = compute_fixed(b, nobody_asks, node);
  return status == KVSTORE_TYPE ? KVSTORE_OK : status;
}

/* ---- types ---- */

static bool is_unsigned(const ProgramNode *n) {
  if (n->kind == NODE_CONSTANT && type_is_integer(n->type) && !n->constant.is_null)
    return n->type == TYPE_U64 || n->constant.i >= 0;
  return n->type >= TYPE_U8 && n->type <= TYPE_U64;
}

static Status convert(Binder *b, const ProgramNode *from, ColumnType type, bool tries, ProgramNode **out) {
  if (from->kind == NODE_CONSTANT && from->constant.is_null)
    return constant(b, (Value){ .type = type, .is_null = true }, out);
  TRY(new_node(b, NODE_CONVERT, type, 1, out));
  set_child(*out, 0, from);
  (*out)->tries = tries;
  return fold(b, out);
}

/* To a type that is computed otherwise: integers of different widths are not. */
static Status to_lane(Binder *b, ProgramNode **node, ColumnType type) {
  ColumnType from = (*node)->type;
  bool same = from == type || (type_is_integer(from) && type_is_integer(type) && lane_of(from) == lane_of(type)) ||
              (type_is_float(from) && type_is_float(type));
  return same ? KVSTORE_OK : convert(b, *node, type, false, node);
}

/* What integers of two types are computed in. */
static ColumnType integer_type(const ProgramNode *x, const ProgramNode *y) {
  bool has_u64 = x->type == TYPE_U64 || y->type == TYPE_U64;
  return has_u64 && is_unsigned(x) && is_unsigned(y) ? TYPE_U64 : TYPE_I64;
}

/* A u64 that is no constant has no sign beside a constant of any: so the test of bits has it, too. */
static ColumnType bits_type(const ProgramNode *x, const ProgramNode *y) {
  const ProgramNode *other = y->kind == NODE_CONSTANT ? x : y;
  bool beside_constant = (x->kind == NODE_CONSTANT) != (y->kind == NODE_CONSTANT);
  return beside_constant && other->type == TYPE_U64 ? TYPE_U64 : integer_type(x, y);
}

/* A string beside a date, a time, a uuid, ... is read as one; a number that was written as a decimal, beside a decimal,
 * is one. */
static Status read_beside(Binder *b, ProgramNode **node, ColumnType beside) {
  const ProgramNode *n = *node;
  uint8_t room[UUID_BYTES];
  if (n->kind != NODE_CONSTANT || n->constant.is_null) return KVSTORE_OK;
  if (n->type == TYPE_F64 && n->constant.exactly && type_is_decimal(beside)) {
    Value exact = { .type = (ColumnType)n->constant.exactly, .i = n->constant.written.unscaled };
    return constant(b, exact, node);
  }
  Value v;
  if (n->type != TYPE_STRING || !literal_is_read(beside)) return KVSTORE_OK;
  return literal_read(beside, n->constant.s, room, &v) ? constant(b, v, node) : KVSTORE_OK;
}

static ColumnType finer_decimal(ColumnType a, ColumnType b) {
  return type_decimal(type_scale(a) > type_scale(b) ? type_scale(a) : type_scale(b));
}

/* The type that holds values of both; TYPE_NONE: there is none. */
static ColumnType common_type(const ProgramNode *x, const ProgramNode *y) {
  ColumnType a = x->type, b = y->type;
  if (a == TYPE_NONE || a == b) return b;
  if (b == TYPE_NONE) return a;
  if (!pair_types_compare(a, b)) return TYPE_NONE;
  if (type_is_integer(a) && type_is_integer(b)) return integer_type(x, y);
  if (type_is_float(a) || type_is_float(b)) return TYPE_F64;
  if (type_is_number(a)) return finer_decimal(a, b);
  return type_is_date(a) ? TYPE_TIMESTAMP : TYPE_BYTES;
}

/* ---- operands ---- */

static Status parameter(Binder *b, uint32_t number, Value *out) {
  if (number >= b->parameter_count) {
    return status_fail(KVSTORE_ERROR, "parameter %u has no value: %zu were given", number + 1, b->parameter_count);
  }
  *out = b->parameters[number];
  return KVSTORE_OK;
}

static Status bind_operand(Binder *b, const ExpressionOperand *o, ProgramNode **out) {
  if (o->of) return bind(b, o->of, out);
  Value v = o->value;
  if (o->is_parameter) TRY(parameter(b, o->parameter, &v));
  return constant(b, v, out);
}

static Status column_node(Binder *b, uint32_t position, ProgramNode **out) {
  ProgramNode *node = NULL;
  const Schema *schema = b->program->schema;
  if (position >= schema->column_count || !schema->columns) return status_fail(KVSTORE_SCHEMA, "no such column");
  TRY(new_node(b, NODE_COLUMN, schema->columns[position].type, 0, &node));
  *out = node;
  node->column = position;
  b->reads_columns = true;
  return KVSTORE_OK;
}

static Status bind_column(Binder *b, Bytes name, ProgramNode **out) {
  uint32_t position;
  TRY(expression_column(b->program->schema, (const char *)name.data, name.length, &position));
  return column_node(b, position, out);
}

/* ---- arithmetic ---- */

static ExpressionFunction without_try(ExpressionFunction f) {
  return f >= FUNCTION_TRY_ADD && f <= FUNCTION_TRY_MODULO ? f - FUNCTION_TRY_ADD + FUNCTION_ADD : f;
}

static bool is_days(ColumnType t) { return type_is_integer(t) && t != TYPE_U64; }

/* Of x + y what is not told by exchanging the two. */
static ColumnType time_sum(ColumnType x, ColumnType y) {
  if (x == TYPE_DATE && is_days(y)) return TYPE_DATE;
  if (x == TYPE_DATE && y == TYPE_TIME) return TYPE_TIMESTAMP;
  if (y != TYPE_DURATION) return TYPE_NONE;
  return x == TYPE_DATE ? TYPE_TIMESTAMP : x == TYPE_TIMESTAMP || x == TYPE_TIME || x == TYPE_DURATION ? x : TYPE_NONE;
}

static ColumnType time_difference(ColumnType x, ColumnType y) {
  if (x == TYPE_DATE && y == TYPE_DATE) return TYPE_I64; /* days */
  if ((type_is_date(x) && type_is_date(y)) || (x == TYPE_TIME && y == TYPE_TIME)) return TYPE_DURATION;
  return x == TYPE_DATE && y == TYPE_TIME ? TYPE_NONE : time_sum(x, y);
}

/* Dates, times and durations; TYPE_NONE where that means nothing. */
static ColumnType time_type(ExpressionFunction f, ColumnType x, ColumnType y) {
  switch (f) {
  case FUNCTION_ADD: return time_sum(x, y) ? time_sum(x, y) : time_sum(y, x);
  case FUNCTION_SUBTRACT: return time_difference(x, y);
  case FUNCTION_MULTIPLY:
    if (x == TYPE_DURATION && type_is_integer(y)) return TYPE_DURATION;
    return type_is_integer(x) && y == TYPE_DURATION ? TYPE_DURATION : TYPE_NONE;
  case FUNCTION_DIVIDE:
  case FUNCTION_MODULO: return x == TYPE_DURATION && type_is_integer(y) ? TYPE_DURATION : TYPE_NONE;
  default: return TYPE_NONE;
  }
}

static ColumnType decimal_type(ExpressionFunction f, ColumnType x, ColumnType y) {
  if (f == FUNCTION_DIVIDE) return TYPE_F64;
  unsigned scale = type_scale(x) + type_scale(y);
  if (f != FUNCTION_MULTIPLY) return finer_decimal(x, y);
  return scale <= DECIMAL_SCALE_MAX ? type_decimal(scale) : TYPE_NONE;
}

static ColumnType arithmetic_type(ExpressionFunction f, const ProgramNode *x, const ProgramNode *y) {
  bool are_integers = type_is_integer(x->type) && type_is_integer(y->type);
  if (f == FUNCTION_BIT_AND) return are_integers ? bits_type(x, y) : TYPE_NONE;
  if (are_integers) return integer_type(x, y);
  if (!type_is_number(x->type) || !type_is_number(y->type)) return time_type(f, x->type, y->type);
  if (type_is_float(x->type) || type_is_float(y->type)) return TYPE_F64;
  return decimal_type(f, x->type, y->type);
}

static Status fail_arithmetic(ExpressionFunction f, const ProgramNode *x, const ProgramNode *y) {
  if (f == FUNCTION_MULTIPLY && type_is_decimal(x->type) && type_is_decimal(y->type))
    return status_fail(KVSTORE_TYPE, "the product of %s and %s would have %u digits behind the point; 18 are the most",
                       type_name(x->type), type_name(y->type), type_scale(x->type) + type_scale(y->type));
  return fail_types(expression_function_name(f), x, y);
}

/* What a null is beside a value of this type, so that the two go together where anything goes with it. */
static ColumnType null_type(ExpressionFunction f, bool is_left, ColumnType other) {
  if (type_is_decimal(other)) return TYPE_I64; /* adds no digits */
  if (other == TYPE_DURATION) return f == FUNCTION_ADD || f == FUNCTION_SUBTRACT ? other : TYPE_I64;
  if ((!type_is_date(other) && other != TYPE_TIME) || (is_left && f == FUNCTION_SUBTRACT)) return other;
  return other == TYPE_DATE ? TYPE_I64 : TYPE_DURATION;
}

static Status type_null(Binder *b, ExpressionFunction f, bool is_left, ProgramNode **node, const ProgramNode *other) {
  if ((*node)->type != TYPE_NONE || other->type == TYPE_NONE) return KVSTORE_OK;
  return constant(b, (Value){ .type = null_type(f, is_left, other->type), .is_null = true }, node);
}

static Status bind_arithmetic(Binder *b, const Expression *e, ProgramNode **out) {
  ProgramNode *x = NULL, *y = NULL;
  ExpressionFunction f = without_try(e->function);
  TRY(bind_operand(b, &e->operands[0], &x));
  TRY(bind_operand(b, &e->operands[1], &y));
  TRY(type_null(b, f, true, &x, y));
  TRY(type_null(b, f, false, &y, x));
  TRY(read_beside(b, &x, type_is_decimal(y->type) ? y->type : TYPE_NONE));
  TRY(read_beside(b, &y, type_is_decimal(x->type) ? x->type : TYPE_NONE));
  if (x->type == TYPE_NONE && y->type == TYPE_NONE)
    return constant(b, (Value){ .type = TYPE_I64, .is_null = true }, out);
  ColumnType type = arithmetic_type(f, x, y);
  if (type == TYPE_NONE) return fail_arithmetic(f, x, y);
  if (type == TYPE_F64) {
    TRY(to_lane(b, &x, TYPE_F64));
    TRY(to_lane(b, &y, TYPE_F64));
  }
  TRY(new_node(b, NODE_CALL, type, 2, out));
  (*out)->function = f;
  (*out)->tries = f != e->function;
  set_child(*out, 0, x);
  set_child(*out, 1, y);
  return fold(b, out);
}

/* ---- functions ---- */

/* A call of one value, whose type is what `type` says. */
static Status call_one(Binder *b, const Expression *e, ColumnType type, const ProgramNode *x, ProgramNode **out) {
  TRY(new_node(b, NODE_CALL, type, 1, out));
  (*out)->function = e->function;
  set_child(*out, 0, x);
  return fold(b, out);
}

static Status constant_integer(Binder *b, const ExpressionOperand *o, const char *what, int64_t low, int64_t high,
                               int *out) {
  ProgramNode *n = NULL;
  TRY(bind_operand(b, o, &n));
  bool ok = n->kind == NODE_CONSTANT && type_is_integer(n->type) && !n->constant.is_null && n->type != TYPE_U64 &&
            n->constant.i >= low && n->constant.i <= high;
  if (!ok)
    return status_fail(KVSTORE_TYPE, "%s is a constant from %lld to %lld", what, (long long)low, (long long)high);
  *out = (int)n->constant.i;
  return KVSTORE_OK;
}

/* What a number is rounded to, or has as its sign changed. */
static ColumnType number_type(ColumnType t) {
  if (type_is_float(t)) return TYPE_F64;
  return type_is_integer(t) && t != TYPE_U64 ? TYPE_I64 : t;
}

static Status bind_rounding(Binder *b, const Expression *e, ProgramNode **out) {
  ProgramNode *x = NULL;
  int digits = 0;
  TRY(bind_operand(b, &e->operands[0], &x));
  if (e->count > 1) TRY(constant_integer(b, &e->operands[1], "the number of digits to round to", -18, 18, &digits));
  if (x->type == TYPE_NONE) return constant(b, (Value){ .type = TYPE_F64, .is_null = true }, out);
  if (!type_is_number(x->type)) return fail_types(expression_function_name(e->function), x, NULL);
  if (!type_is_float(x->type)) digits -= (int)type_scale(x->type); /* of units */
  if (!type_is_float(x->type) && digits >= 0) {
    *out = x;
    return KVSTORE_OK;
  }
  TRY(new_node(b, NODE_CALL, number_type(x->type), 1, out));
  (*out)->function = e->function;
  (*out)->digits = digits;
  set_child(*out, 0, x);
  return fold(b, out);
}

static Status bind_sign(Binder *b, const Expression *e, ProgramNode **out) { /* abs, negate */
  ProgramNode *x = NULL;
  TRY(bind_operand(b, &e->operands[0], &x));
  if (x->type == TYPE_NONE) return constant(b, (Value){ .type = TYPE_I64, .is_null = true }, out);
  if (!type_is_number(x->type) && x->type != TYPE_DURATION)
    return fail_types(expression_function_name(e->function), x, NULL);
  bool loses_sign = e->function == FUNCTION_NEGATE && x->type == TYPE_U64;
  return call_one(b, e, loses_sign ? TYPE_I64 : number_type(x->type), x, out);
}

static Status bind_text(Binder *b, const Expression *e, ProgramNode **out) {
  ProgramNode *arguments[3] = { NULL, NULL, NULL };
  bool bytes_allowed = e->function == FUNCTION_LENGTH || e->function == FUNCTION_SUBSTR;
  for (uint32_t i = 0; i < e->count; i++) TRY(bind_operand(b, &e->operands[i], &arguments[i]));
  ProgramNode *x = arguments[0];
  if (!x) return status_fail(KVSTORE_ERROR, "%s of nothing", expression_function_name(e->function));
  if (x->type == TYPE_NONE) TRY(constant(b, (Value){ .type = TYPE_STRING, .is_null = true }, &x));
  if (x->type == TYPE_UUID || !(bytes_allowed ? type_is_string(x->type) : x->type == TYPE_STRING))
    return fail_types(expression_function_name(e->function), x, NULL);
  ColumnType type = e->function == FUNCTION_LENGTH ? TYPE_I64 : x->type == TYPE_STRING ? TYPE_STRING : TYPE_BYTES;
  TRY(new_node(b, NODE_CALL, type, e->count, out));
  (*out)->function = e->function;
  set_child(*out, 0, x);
  for (uint32_t i = 1; i < e->count; i++) {
    ProgramNode *n = arguments[i];
    if (n->type == TYPE_NONE) TRY(constant(b, (Value){ .type = TYPE_I64, .is_null = true }, &n));
    if (!type_is_integer(n->type)) return fail_types("the place of a substr", n, NULL);
    TRY(to_lane(b, &n, TYPE_I64));
    set_child(*out, i, n);
  }
  return fold(b, out);
}

static Status bind_date_part(Binder *b, const Expression *e, ProgramNode **out) {
  ProgramNode *x = NULL;
  TRY(bind_operand(b, &e->operands[0], &x));
  if (x->type == TYPE_NONE) return constant(b, (Value){ .type = TYPE_I64, .is_null = true }, out);
  if (!type_is_date(x->type) && (x->type != TYPE_TIME || e->function < FUNCTION_HOUR))
    return fail_types(expression_function_name(e->function), x, NULL);
  return call_one(b, e, TYPE_I64, x, out);
}

static Status bind_date_trunc(Binder *b, const Expression *e, ProgramNode **out) {
  static const char *const units[] = { "second", "minute", "hour", "day", "week", "month", "quarter", "year" };
  ProgramNode *unit = NULL, *x = NULL;
  TRY(bind_operand(b, &e->operands[0], &unit));
  TRY(bind_operand(b, &e->operands[1], &x));
  if (x->type == TYPE_NONE) return constant(b, (Value){ .type = TYPE_TIMESTAMP, .is_null = true }, out);
  if (!type_is_date(x->type)) return fail_types("date_trunc", x, NULL);
  int found = -1;
  for (int i = 0; i < 8 && unit->kind == NODE_CONSTANT && unit->type == TYPE_STRING; i++) {
    if (text_is_word((const char *)unit->constant.s.data, unit->constant.s.length, units[i])) found = i;
  }
  if (found < 0)
    return status_fail(
      KVSTORE_TYPE, "date_trunc takes 'second', 'minute', 'hour', 'day', 'week', 'month', 'quarter' or 'year' first");
  TRY(new_node(b, NODE_CALL, x->type, 1, out));
  (*out)->function = e->function;
  (*out)->digits = found;
  set_child(*out, 0, x);
  return fold(b, out);
}

static bool converts(ColumnType from, ColumnType to) {
  if (from == to || from == TYPE_NONE || to == TYPE_STRING || (from == TYPE_STRING && to != TYPE_FIXED_BYTES))
    return true;
  bool from_number = type_is_number(from) || from == TYPE_BOOL, to_number = type_is_number(to) || to == TYPE_BOOL;
  bool from_clock = from == TYPE_TIME || from == TYPE_DURATION, to_clock = to == TYPE_TIME || to == TYPE_DURATION;
  if (from_number && to_number) return true;
  if ((from_clock && type_is_number(to)) || (type_is_number(from) && to_clock)) return true; /* microseconds */
  if (type_is_date(from)) return type_is_date(to) || (from == TYPE_TIMESTAMP && to == TYPE_TIME);
  return type_is_string(from) && (to == TYPE_BYTES || to == TYPE_UUID);
}

static Status bind_cast(Binder *b, const Expression *e, ProgramNode **out) {
  ProgramNode *x = NULL;
  TRY(bind_operand(b, &e->operands[0], &x));
  if (!converts(x->type, e->type))
    return status_fail(KVSTORE_TYPE, "there is no cast of %s to %s", type_word(x), type_name(e->type));
  if (x->type == TYPE_F64) TRY(read_beside(b, &x, e->type));
  *out = x;
  if (x->type != e->type) return convert(b, x, e->type, e->function == FUNCTION_TRY_CAST, out);
  bool is_written = x->kind == NODE_CONSTANT && x->constant.exactly; /* what is cast is a float, beside decimals too */
  return is_written ? constant(b, (Value){ .type = TYPE_F64, .f = x->constant.f }, out) : KVSTORE_OK;
}

/* ---- several values of one type ---- */

/* Children first, first + step, ... become one type. */
static Status unify(Binder *b, ProgramNode **nodes, size_t first, size_t step, size_t count, const char *what,
                    ColumnType *type) {
  ProgramNode all = { .type = TYPE_NONE };
  ColumnType beside = TYPE_NONE;
  for (size_t i = first; i < count; i += step)
    if (literal_is_read(nodes[i]->type)) beside = nodes[i]->type;
  for (size_t i = first; i < count; i += step) {
    TRY(read_beside(b, &nodes[i], beside));
    if (nodes[i]->type == TYPE_NONE) continue;
    ColumnType common = all.type ? common_type(&all, nodes[i]) : nodes[i]->type;
    if (!common) return fail_types(what, &all, nodes[i]);
    if (!all.type) all = *nodes[i];
    bool was_unsigned = is_unsigned(&all) && is_unsigned(nodes[i]);
    all.kind = was_unsigned && common == TYPE_U64 ? NODE_COLUMN : all.type == common ? all.kind : NODE_COLUMN;
    all.type = common;
  }
  *type = all.type;
  for (size_t i = first; i < count && all.type; i += step)
    if (nodes[i]->type != all.type) TRY(to_lane(b, &nodes[i], all.type));
  return KVSTORE_OK;
}

static Status bind_coalesce(Binder *b, const Expression *e, ProgramNode **out) {
  ProgramNode **nodes = arena_allocate(&b->program->arena, memory_array_size(e->count, sizeof *nodes));
  ColumnType type;
  if (!nodes) return status_nomem();
  for (uint32_t i = 0; i < e->count; i++) TRY(bind_operand(b, &e->operands[i], &nodes[i]));
  TRY(unify(b, nodes, 0, 1, e->count, "coalesce", &type));
  if (!type) return constant(b, (Value){ .type = TYPE_I64, .is_null = true }, out);
  TRY(new_node(b, NODE_COALESCE, type, e->count, out));
  for (uint32_t i = 0; i < e->count; i++) set_child(*out, i, nodes[i]);
  return fold(b, out);
}

static Status bind_case(Binder *b, const Expression *e, ProgramNode **out) {
  size_t count = e->count | 1;
  ProgramNode **nodes = arena_allocate(&b->program->arena, memory_array_size(count, sizeof *nodes));
  ColumnType type;
  if (!nodes) return status_nomem();
  for (uint32_t i = 0; i < e->count; i++) TRY(bind_operand(b, &e->operands[i], &nodes[i]));
  if (count > e->count) TRY(constant(b, (Value){ .is_null = true }, &nodes[count - 1]));
  /* the values, and behind them the one of all others, which lies at an even place */
  ProgramNode *other = nodes[count - 1];
  ProgramNode **values = arena_allocate(&b->program->arena, memory_array_size(count, sizeof *values));
  if (!values) return status_nomem();
  size_t value_count = 0;
  for (size_t i = 1; i < count; i += 2) values[value_count++] = nodes[i];
  values[value_count++] = other;
  TRY(unify(b, values, 0, 1, value_count, "case", &type));
  if (!type) return constant(b, (Value){ .type = TYPE_I64, .is_null = true }, out);
  for (size_t i = 0; i < value_count; i++) {
    if (values[i]->type == TYPE_NONE) TRY(constant(b, (Value){ .type = type, .is_null = true }, &values[i]));
  }
  TRY(new_node(b, NODE_CASE, type, count, out));
  for (size_t i = 0; i + 1 < count; i += 2) {
    set_child(*out, i, nodes[i]);
    set_child(*out, i + 1, values[i / 2]);
  }
  set_child(*out, count - 1, values[value_count - 1]);
  return fold(b, out);
}

/* ---- conditions ---- */

static Status bind_truth(Binder *b, int truth, ProgramNode **out) { /* 0 false, 1 true, 2 unknown */
  return constant(b, (Value){ .type = TYPE_BOOL, .is_null = truth == 2, .i = truth == 1 }, out);
}

static Status bind_joined(Binder *b, const Expression *e, ProgramNode **out) {
  NodeKind kind = e->kind == EXPRESSION_NOT ? NODE_NOT : e->kind == EXPRESSION_AND ? NODE_AND : NODE_OR;
  ProgramNode *child = NULL;
  TRY(new_node(b, kind, TYPE_BOOL, e->count, out));
  for (uint32_t i = 0; i < e->count; i++) {
    TRY(bind(b, e->children[i], &child));
    set_child(*out, i, child);
  }
  TRY(program_columns_first(b->program, *out));
  return fold(b, out);
}

static Status bind_pair(Binder *b, ProgramNode *x, CompareOperator op, ProgramNode *y, ProgramNode **out) {
  if (x->type == TYPE_NONE || y->type == TYPE_NONE) return bind_truth(b, 2, out);
  ComparePair pair;
  TRY(read_beside(b, &x, type_is_decimal(y->type) ? y->type : TYPE_NONE));
  TRY(read_beside(b, &y, type_is_decimal(x->type) ? x->type : TYPE_NONE));
  if (pair_bind(x->type, op, y->type, &pair) != KVSTORE_OK) return fail_types("a comparison", x, y);
  TRY(new_node(b, NODE_PAIR, TYPE_BOOL, 2, out));
  set_child(*out, 0, x);
  set_child(*out, 1, y);
  if (x->type == y->type || !(pair_is_mixed(x->type) || pair_is_mixed(y->type))) { /* of lanes */
    pair.left = lane_type(lane_of(x->type));
    pair.right = lane_type(lane_of(y->type));
  }
  (*out)->pair = pair;
  return fold(b, out);
}

/* As what a failure names the left side of a test: the column that it is, or one that is called as it is written. */
static Status subject_column(Binder *b, const Expression *e, const ProgramNode *x, Buffer *text, Column *out) {
  if (x->kind == NODE_COLUMN) {
    *out = b->program->schema->columns[x->column];
    return KVSTORE_OK;
  }
  expression_print_typed(e->subject, b->parameters, b->parameter_count, text);
  buffer_u8(text, '\0');
  *out = (Column){ .type = x->type, .flags = COLUMN_COMPUTED, .name = (char *)text->data };
  return buffer_status(text);
}

/* A test of a value with constants, as one of a column. */
static Status bind_compare(Binder *b, const Expression *e, ExpressionTest test, const ProgramNode *x,
                           const Value *values, size_t count, ProgramNode **out) {
  Compare compare;
  Column column;
  Buffer text = { 0 };
  Status status = subject_column(b, e, x, &text, &column);
  if (status == KVSTORE_OK)
    status = expression_bind_compare(test, &column, values, count, &b->program->arena, &compare);
  buffer_release(&text);
  TRY(status);
  if (compare.kind == COMPARE_KIND_NONE) { /* never true: false, or unknown where x is null; and its opposite */
    compare.kind = COMPARE_KIND_NOT_NULL;
    compare.negated = true;
  }
  TRY(new_node(b, NODE_TEST, TYPE_BOOL, 1, out));
  set_child(*out, 0, x);
  compare.type = lane_type(lane_of(x->type));
  (*out)->compare = compare;
  (*out)->digits = test == TEST_IS_NULL || test == TEST_IS_NOT_NULL;
  return fold(b, out);
}

static Status join(Binder *b, NodeKind kind, ProgramNode **nodes, size_t count, ProgramNode **out) {
  ProgramNode *node = NULL;
  TRY(new_node(b, kind, TYPE_BOOL, count, &node));
  for (size_t i = 0; i < count; i++) set_child(node, i, nodes[i]);
  *out = node;
  return fold(b, out);
}

static Status negate(Binder *b, ProgramNode **node) {
  ProgramNode *child = *node;
  return join(b, NODE_NOT, &child, 1, node);
}

static Status bind_range(Binder *b, const Expression *e, ProgramNode *x, ProgramNode **ends, ProgramNode **out) {
  ProgramNode *sides[2] = { NULL, NULL };
  TRY(bind_pair(b, x, COMPARE_GREATER_EQUAL, ends[0], &sides[0]));
  TRY(bind_pair(b, x, COMPARE_LESS_EQUAL, ends[1], &sides[1]));
  TRY(join(b, NODE_AND, sides, 2, out));
  return e->test == TEST_NOT_BETWEEN ? negate(b, out) : KVSTORE_OK;
}

static Status bind_members(Binder *b, const Expression *e, ProgramNode *x, ProgramNode **members, ProgramNode **out) {
  for (uint32_t i = 0; i < e->count; i++) TRY(bind_pair(b, x, COMPARE_EQUAL, members[i], &members[i]));
  TRY(join(b, NODE_OR, members, e->count, out));
  return e->test == TEST_NOT_IN ? negate(b, out) : KVSTORE_OK;
}

static bool has_null(const Value *values, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (values[i].is_null) return true;
  }
  return false;
}

static Status bind_constants(Binder *b, const Expression *e, ProgramNode *x, ProgramNode **operands,
                             ProgramNode **out) {
  Value *values = arena_allocate(&b->program->arena, memory_array_size(e->count + 1u, sizeof *values));
  if (!values) return status_nomem();
  for (uint32_t i = 0; i < e->count; i++) values[i] = operands[i]->constant;
  /* Nulls among them may make false of unknown: they go as pairs, which tell the two apart. */
  if (has_null(values, e->count)) {
    if (e->test == TEST_BETWEEN || e->test == TEST_NOT_BETWEEN) return bind_range(b, e, x, operands, out);
    if (e->test == TEST_IN || e->test == TEST_NOT_IN) return bind_members(b, e, x, operands, out);
    return bind_truth(b, 2, out);
  }
  return bind_compare(b, e, e->test, x, values, e->count, out);
}

static bool is_list(const Expression *e) {
  for (uint32_t i = 0; i < e->count; i++) {
    if (e->operands[i].of) return false;
  }
  return e->test == TEST_IN || e->test == TEST_NOT_IN;
}

/* A list of constants, however long: one test of those that are no nulls, and a null makes unknown of false. */
static Status bind_list(Binder *b, const Expression *e, ProgramNode *x, ProgramNode **out) {
  Value *values = arena_allocate(&b->program->arena, memory_array_size(e->count + 1u, sizeof *values));
  ProgramNode *sides[2] = { NULL, NULL };
  size_t count = 0;
  if (!values) return status_nomem();
  for (uint32_t i = 0; i < e->count; i++) {
    values[count] = e->operands[i].value;
    if (e->operands[i].is_parameter) TRY(parameter(b, e->operands[i].parameter, &values[count]));
    TRY(copy_value(&b->program->arena, &values[count]));
    count += !values[count].is_null;
  }
  if (count == e->count) return bind_compare(b, e, e->test, x, values, count, out);
  TRY(bind_compare(b, e, TEST_IN, x, values, count, &sides[0]));
  TRY(bind_truth(b, 2, &sides[1]));
  TRY(join(b, NODE_OR, sides, 2, out));
  return e->test == TEST_NOT_IN ? negate(b, out) : KVSTORE_OK;
}

/* What stands left of constants is read as they are, too. */
static Status read_subject(Binder *b, const Expression *e, ProgramNode **x) {
  for (uint32_t i = 0; i < e->count && (*x)->kind == NODE_CONSTANT; i++) {
    if (!e->operands[i].of && !e->operands[i].is_parameter) TRY(read_beside(b, x, e->operands[i].value.type));
  }
  return KVSTORE_OK;
}

static Status bind_subject(Binder *b, const Expression *e, ProgramNode **out) {
  return e->subject ? bind(b, e->subject, out) : bind_column(b, e->column, out);
}

static Status bind_test(Binder *b, const Expression *e, ProgramNode **out) {
  ProgramNode *x = NULL;
  TRY(bind_subject(b, e, &x));
  if (e->test == TEST_IS_TRUE) {
    if (x->type == TYPE_NONE) return bind_truth(b, 2, out);
    if (x->type != TYPE_BOOL) return fail_types("a condition", x, NULL);
    *out = x;
    return KVSTORE_OK;
  }
  TRY(read_subject(b, e, &x));
  if (x->type != TYPE_NONE && is_list(e)) return bind_list(b, e, x, out);
  ProgramNode **operands = arena_allocate(&b->program->arena, memory_array_size(e->count + 1u, sizeof *operands));
  if (!operands) return status_nomem();
  bool constants = true;
  for (uint32_t i = 0; i < e->count; i++) {
    TRY(bind_operand(b, &e->operands[i], &operands[i]));
    TRY(read_beside(b, &operands[i], x->type));
    constants &= operands[i]->kind == NODE_CONSTANT;
  }
  if (x->type == TYPE_NONE) {
    if (e->test == TEST_IS_NULL || e->test == TEST_IS_NOT_NULL) return bind_truth(b, e->test == TEST_IS_NULL, out);
    return bind_truth(b, 2, out);
  }
  if (constants) return bind_constants(b, e, x, operands, out);
  switch (e->test) {
  case TEST_BETWEEN:
  case TEST_NOT_BETWEEN: return bind_range(b, e, x, operands, out);
  case TEST_IN:
  case TEST_NOT_IN: return bind_members(b, e, x, operands, out);
  case TEST_LIKE:
  case TEST_NOT_LIKE: return status_fail(KVSTORE_UNSUPPORTED, "a pattern is a constant");
  default: return bind_pair(b, x, expression_operator(e->test), operands[0], out);
  }
}

/* ---- the tree ---- */

static Status bind_call(Binder *b, const Expression *e, ProgramNode **out) {
  switch (e->function) {
  case FUNCTION_CAST:
  case FUNCTION_TRY_CAST: return bind_cast(b, e, out);
  case FUNCTION_COALESCE: return bind_coalesce(b, e, out);
  case FUNCTION_ABS:
  case FUNCTION_NEGATE: return bind_sign(b, e, out);
  case FUNCTION_ROUND:
  case FUNCTION_FLOOR:
  case FUNCTION_CEIL: return bind_rounding(b, e, out);
  case FUNCTION_LENGTH:
  case FUNCTION_LOWER:
  case FUNCTION_UPPER:
  case FUNCTION_SUBSTR: return bind_text(b, e, out);
  case FUNCTION_DATE_TRUNC: return bind_date_trunc(b, e, out);
  default: break;
  }
  return e->function >= FUNCTION_YEAR ? bind_date_part(b, e, out) : bind_arithmetic(b, e, out);
}

/* What has been computed already, or is a column of groups, is read. A name that an author gave says nothing. */
static Status find_computed(Binder *b, const Expression *e, uint32_t *position) {
  const Program *p = b->program;
  Buffer text = { 0 };
  *position = UINT32_MAX;
  expression_print_typed(e, b->parameters, b->parameter_count, &text);
  Status status = buffer_status(&text);
  for (uint32_t i = 0; status == KVSTORE_OK && i < p->schema->column_count; i++) {
    const Column *c = &p->schema->columns[i];
    if (i >= p->base_count && p->columns[i - p->base_count].is_named) continue;
    if (strlen(c->name) == text.length && memcmp(c->name, text.data, text.length) == 0) *position = i;
  }
  buffer_release(&text);
  return status;
}

static Status bind(Binder *b, const Expression *e, ProgramNode **out) {
  if (e->kind == EXPRESSION_CALL || e->kind == EXPRESSION_CASE) {
    uint32_t position;
    TRY(find_computed(b, e, &position));
    if (position != UINT32_MAX) return column_node(b, position, out);
  }
  switch (e->kind) {
  case EXPRESSION_TRUE: return bind_truth(b, 1, out);
  case EXPRESSION_FALSE: return bind_truth(b, 0, out);
  case EXPRESSION_UNKNOWN: return bind_truth(b, 2, out);
  case EXPRESSION_TEST: return bind_test(b, e, out);
  case EXPRESSION_COLUMN: return bind_column(b, e->column, out);
  case EXPRESSION_VALUE: return bind_operand(b, &e->operands[0], out);
  case EXPRESSION_CALL: return bind_call(b, e, out);
  case EXPRESSION_CASE: return bind_case(b, e, out);
  default: return bind_joined(b, e, out);
  }
}

/* ---- from outside ---- */

Status program_bind(Program *p, const Expression *e, const Value *parameters, size_t parameter_count,
                    const ProgramNode **root, uint32_t *node_count) {
  Binder b = { .program = p, .parameters = parameters, .parameter_count = parameter_count };
  ProgramNode *made = NULL;
  TRY(bind(&b, e, &made));
  *root = made;
  *node_count = b.node_count;
  return KVSTORE_OK;
}

Status program_constant(const Expression *e, const Value *parameters, size_t parameter_count, Arena *arena,
                        bool *is_constant, Value *out) {
  Schema none = { 0 };
  Program p;
  Buffer title = { 0 };
  ProgramNode *root = NULL;
  program_init(&p, &none);
  Binder b = { .program = &p, .parameters = parameters, .parameter_count = parameter_count };
  expression_print_typed(e, parameters, parameter_count, &title); /* what a failure names */
  buffer_u8(&title, '\0');
  Status status = buffer_status(&title);
  if (status == KVSTORE_OK) status = program_name_failure(bind(&b, e, &root), (char *)title.data, (char *)title.data);
  *is_constant = status == KVSTORE_OK && !b.reads_columns;
  if (*is_constant && root->kind != NODE_CONSTANT) status = compute_fixed(&b, (char *)title.data, &root);
  *is_constant &= status == KVSTORE_OK;
  if (*is_constant) {
    *out = root->constant;
    status = copy_value(arena, out);
  }
  buffer_release(&title);
  program_release(&p);
  return status;
}
