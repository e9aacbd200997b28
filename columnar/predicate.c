/* predicate.c - binding a filter to a schema, and asking it about one row.
 *
 * One pass down pushes NOT to the leaves (De Morgan, and the opposite of each comparison), and on the way up folds what
 * is constant. What a comparison with a null means is compare_bind's affair. */
#include "columnar/predicate.h"

#include "base/memory.h"

typedef struct Binder {
  const Schema *schema;
  Arena *arena;
  uint32_t node_count;
} Binder;

static const PredicateNode node_none = { .kind = PREDICATE_NONE };
static const PredicateNode node_all = { .kind = PREDICATE_ALL };

static Status bind_term(Binder *b, const PredicateTerm *term, bool negate, uint32_t depth, const PredicateNode **out);

static Status new_node(Binder *b, PredicateKind kind, PredicateNode **out) {
  if (b->node_count++ >= PREDICATE_NODES_MAX) {
    return status_fail(KVSTORE_LIMIT, "a filter has at most %u parts", PREDICATE_NODES_MAX);
  }
  PredicateNode *node = arena_allocate_zeroed(b->arena, sizeof *node);
  if (!node) return status_nomem();
  node->kind = kind;
  *out = node;
  return KVSTORE_OK;
}

/* ---- comparisons ---- */

static CompareOperator opposite(CompareOperator op) {
  switch (op) {
  case COMPARE_EQUAL: return COMPARE_NOT_EQUAL;
  case COMPARE_NOT_EQUAL: return COMPARE_EQUAL;
  case COMPARE_LESS: return COMPARE_GREATER_EQUAL;
  case COMPARE_LESS_EQUAL: return COMPARE_GREATER;
  case COMPARE_GREATER: return COMPARE_LESS_EQUAL;
  case COMPARE_GREATER_EQUAL: return COMPARE_LESS;
  case COMPARE_BETWEEN: return COMPARE_NOT_BETWEEN;
  case COMPARE_NOT_BETWEEN: return COMPARE_BETWEEN;
  case COMPARE_IN: return COMPARE_NOT_IN;
  case COMPARE_NOT_IN: return COMPARE_IN;
  case COMPARE_PREFIX: return COMPARE_NOT_PREFIX;
  case COMPARE_NOT_PREFIX: return COMPARE_PREFIX;
  case COMPARE_IS_NULL: return COMPARE_IS_NOT_NULL;
  case COMPARE_IS_NOT_NULL: return COMPARE_IS_NULL;
  case COMPARE_BITS: return COMPARE_NOT_BITS;
  case COMPARE_NOT_BITS: return COMPARE_BITS;
  }
  return op;
}

bool predicate_types_compare(ColumnType column, ColumnType constant) {
  return constant == TYPE_NONE || pair_types_compare(column, constant);
}

/* The caller's strings end with its call: the predicate keeps its own. */
static Status copy_constants(Binder *b, const PredicateTerm *term, const Value **out) {
  Value *values = arena_copy(b->arena, term->constants, memory_array_size(term->count, sizeof *values));
  if (!values) return status_nomem();
  for (uint32_t i = 0; i < term->count; i++) {
    Value *v = &values[i];
    if (v->is_null || !type_is_string(v->type) || v->s.length == 0) continue;
    v->s.data = arena_copy(b->arena, v->s.data, v->s.length);
    if (!v->s.data) return status_nomem();
  }
  *out = values;
  return KVSTORE_OK;
}

static Status fail_type(const Column *column, const PredicateTerm *term) {
  if (term->op == COMPARE_BITS || term->op == COMPARE_NOT_BITS) {
    return status_fail_at(KVSTORE_TYPE, UINT64_MAX, column->name, NULL,
                          "column %s is %s: bits are of integers, beside integers", column->name,
                          type_name(column->type));
  }
  const char *other = "a prefix";
  for (uint32_t i = 0; i < term->count; i++) {
    const Value *v = &term->constants[i];
    if (!v->is_null && !predicate_types_compare(column->type, v->type)) other = type_name(v->type);
  }
  return status_fail_at(KVSTORE_TYPE, UINT64_MAX, column->name, NULL, "column %s is %s and does not compare with %s",
                        column->name, type_name(column->type), other);
}

static Status bind_constants(Binder *b, const PredicateTerm *term, CompareOperator op, Compare *compare) {
  const Column *column = &b->schema->columns[term->column];
  size_t bytes = compare_bind_bound(column->type, op, term->count);
  const Value *values = NULL;
  void *memory = arena_allocate(b->arena, bytes ? bytes : 1);
  if (!memory) return status_nomem();
  if (term->count) TRY(copy_constants(b, term, &values));
  Status status = compare_bind(column->type, op, values, term->count, memory, compare);
  return status == KVSTORE_TYPE ? fail_type(column, term) : status;
}

/* Beyond its type, or in a list of nothing: a value that is computed fails where there is none, though what there is
 * could not match. Beside a null it is not asked for. */
static bool is_asked_for(const Column *column, const PredicateTerm *term) {
  bool in_a_list = term->op == COMPARE_IN || term->op == COMPARE_NOT_IN;
  bool beside_null = !in_a_list && term->count == 1 && term->constants[0].is_null;
  return (column->flags & COLUMN_COMPUTED) && !beside_null;
}

static Status bind_compare(Binder *b, const PredicateTerm *term, bool negate, const PredicateNode **out) {
  if (term->column >= b->schema->column_count) {
    return status_fail(KVSTORE_SCHEMA, "there is no column number %u: the table has %u", term->column,
                       b->schema->column_count);
  }
  CompareOperator op = negate ? opposite(term->op) : term->op;
  if (op == COMPARE_NOT_IN && term->count == 0) op = COMPARE_IS_NOT_NULL;
  Compare compare;
  TRY(bind_constants(b, term, op, &compare));
  const Column *column = &b->schema->columns[term->column];
  bool nullable = column->flags & COLUMN_NULLABLE, never = compare.kind == COMPARE_KIND_NONE;
  if ((never && !is_asked_for(column, term)) || (compare.kind == COMPARE_KIND_NULL && !nullable)) {
    *out = &node_none;
    return KVSTORE_OK;
  }
  if (compare.kind == COMPARE_KIND_NOT_NULL && !nullable) {
    *out = &node_all;
    return KVSTORE_OK;
  }
  PredicateNode *node = NULL;
  TRY(new_node(b, PREDICATE_LEAF, &node));
  node->column = term->column;
  node->compare = compare;
  node->computes = column->flags & COLUMN_COMPUTED;
  *out = node;
  return KVSTORE_OK;
}

/* A column is never less than itself, but equal where it is not null. */
static CompareOperator with_itself(CompareOperator op) {
  return op == COMPARE_EQUAL || op == COMPARE_LESS_EQUAL || op == COMPARE_GREATER_EQUAL ? COMPARE_IS_NOT_NULL
                                                                                        : COMPARE_IN;
}

static Status bind_columns(Binder *b, const PredicateTerm *term, bool negate, const PredicateNode **out) {
  if (term->column >= b->schema->column_count || term->other >= b->schema->column_count) {
    return status_fail(KVSTORE_SCHEMA, "there is no column number %u or %u: the table has %u", term->column,
                       term->other, b->schema->column_count);
  }
  const Column *left = &b->schema->columns[term->column], *right = &b->schema->columns[term->other];
  CompareOperator op = negate ? opposite(term->op) : term->op;
  ComparePair pair;
  Status status = pair_bind(left->type, op, right->type, &pair);
  if (status == KVSTORE_TYPE) {
    return status_fail_at(KVSTORE_TYPE, UINT64_MAX, left->name, right->name,
                          "column %s is %s and does not compare with %s, which is %s", left->name,
                          type_name(left->type), right->name, type_name(right->type));
  }
  TRY(status);
  if (term->column == term->other) {
    PredicateTerm itself = { .kind = TERM_COMPARE, .op = with_itself(op), .column = term->column };
    return bind_compare(b, &itself, false, out);
  }
  PredicateNode *node = NULL;
  TRY(new_node(b, PREDICATE_PAIR, &node));
  node->column = term->column;
  node->other = term->other;
  node->pair = pair;
  node->computes = (left->flags | right->flags) & COLUMN_COMPUTED;
  *out = node;
  return KVSTORE_OK;
}

/* ---- AND, OR ---- */

static bool is_range(const PredicateNode *n) {
  return n->kind == PREDICATE_LEAF && n->compare.kind == COMPARE_KIND_RANGE && !n->compare.negated &&
         !type_is_string(n->compare.type);
}

enum { MERGE_RANGES_MAX = 64 }; /* children among which a range of the same column is looked for */

/* x >= 1 and x <= 5 is one range: one pass over the bytes. True when `node` went into one of the children;
 * *nothing when the ranges do not meet. */
static bool merge_range(PredicateNode *parent, const PredicateNode **children, const PredicateNode *node,
                        bool *nothing) {
  if (parent->kind != PREDICATE_AND || !is_range(node)) return false;
  for (uint32_t i = 0; i < parent->child_count && i < MERGE_RANGES_MAX; i++) {
    if (!is_range(children[i]) || children[i]->column != node->column) continue;
    PredicateNode *into = (PredicateNode *)children[i]; /* made by this binder, not yet published */
    if (node->compare.low > into->compare.low) into->compare.low = node->compare.low;
    if (node->compare.high < into->compare.high) into->compare.high = node->compare.high;
    *nothing = into->compare.low > into->compare.high;
    return true;
  }
  return false;
}

/* Appends a bound term, or its children when it is of the parent's kind. */
static bool add_child(PredicateNode *parent, const PredicateNode **children, const PredicateNode *node) {
  bool nothing = false;
  if (node->kind == parent->kind) {
    for (uint32_t i = 0; i < node->child_count && !nothing; i++)
      nothing = add_child(parent, children, node->children[i]);
    return nothing;
  }
  if (!merge_range(parent, children, node, &nothing)) children[parent->child_count++] = node;
  return nothing;
}

static Status bind_list(Binder *b, const PredicateTerm *term, bool negate, uint32_t depth, const PredicateNode **out) {
  bool conjunction = (term->kind == TERM_AND) != negate;
  const PredicateNode *neutral = conjunction ? &node_all : &node_none,
                      *absorbing = conjunction ? &node_none : &node_all;
  const PredicateNode **bound = NULL, **children = NULL;
  bool absorbed = false;
  size_t room = 0;
  if (term->count) {
    bound = arena_allocate(b->arena, memory_array_size(term->count, sizeof *bound));
    if (!bound) return status_nomem();
  }
  for (uint32_t i = 0; i < term->count; i++) { /* all of them, so that every mistake is found */
    TRY(bind_term(b, term->terms[i], negate, depth + 1, &bound[i]));
    absorbed |= bound[i]->kind == absorbing->kind;
    room += bound[i]->child_count + 1u;
  }
  PredicateNode *node = NULL;
  TRY(new_node(b, conjunction ? PREDICATE_AND : PREDICATE_OR, &node));
  if (room) {
    children = arena_allocate(b->arena, memory_array_size(room, sizeof *children));
    if (!children) return status_nomem();
  }
  for (uint32_t i = 0; i < term->count && !absorbed; i++) {
    if (bound[i]->kind != neutral->kind) absorbed = add_child(node, children, bound[i]);
  }
  node->children = children;
  *out = absorbed                              ? absorbing
         : !children || node->child_count == 0 ? neutral
         : node->child_count == 1              ? children[0]
                                               : node;
  return KVSTORE_OK;
}

static Status bind_term(Binder *b, const PredicateTerm *term, bool negate, uint32_t depth, const PredicateNode **out) {
  if (depth > PREDICATE_DEPTH_MAX) {
    return status_fail(KVSTORE_LIMIT, "a filter nests at most %u levels", (unsigned)PREDICATE_DEPTH_MAX);
  }
  switch (term->kind) {
  case TERM_TRUE: *out = negate ? &node_none : &node_all; return KVSTORE_OK;
  case TERM_FALSE: *out = negate ? &node_all : &node_none; return KVSTORE_OK;
  case TERM_UNKNOWN: *out = &node_none; return KVSTORE_OK;
  case TERM_COMPARE: return bind_compare(b, term, negate, out);
  case TERM_COMPARE_COLUMNS: return bind_columns(b, term, negate, out);
  case TERM_AND:
  case TERM_OR: return bind_list(b, term, negate, depth, out);
  case TERM_NOT:
    if (term->count != 1) return status_fail(KVSTORE_ERROR, "NOT takes one term");
    return bind_term(b, term->terms[0], !negate, depth + 1, out);
  }
  return status_fail(KVSTORE_ERROR, "a filter with a part of no known kind (%d)", (int)term->kind);
}

/* Numbers the nodes that are left, in the order of the text; returns how many ORs lie above each other. */
static uint32_t number_nodes(const PredicateNode *node, uint32_t *next) {
  if (node->kind == PREDICATE_NONE || node->kind == PREDICATE_ALL) return 0;
  PredicateNode *own = (PredicateNode *)(uintptr_t)node; /* made by this binder, not yet published */
  own->number = (*next)++;
  uint32_t deepest = 0;
  for (uint32_t i = 0; i < node->child_count; i++) {
    uint32_t depth = number_nodes(node->children[i], next);
    own->computes |= node->children[i]->computes;
    if (depth > deepest) deepest = depth;
  }
  return deepest + (node->kind == PREDICATE_OR);
}

Status predicate_bind(const Schema *schema, const PredicateTerm *term, Arena *arena, Predicate *out) {
  Binder b = { schema, arena, 0 };
  const PredicateNode *root;
  TRY(bind_term(&b, term, false, 1, &root));
  *out = (Predicate){ .root = root };
  out->or_depth = number_nodes(root, &out->node_count);
  out->computes = root->computes;
  return KVSTORE_OK;
}

/* ---- asking ---- */

static bool node_row(const PredicateNode *node, const Value *row) {
  switch (node->kind) {
  case PREDICATE_NONE: return false;
  case PREDICATE_ALL: return true;
  case PREDICATE_LEAF: return compare_value(&node->compare, &row[node->column]);
  case PREDICATE_PAIR: return pair_values(&node->pair, &row[node->column], &row[node->other]);
  case PREDICATE_AND:
    for (uint32_t i = 0; i < node->child_count; i++) {
      if (!node_row(node->children[i], row)) return false;
    }
    return true;
  case PREDICATE_OR:
    for (uint32_t i = 0; i < node->child_count; i++) {
      if (node_row(node->children[i], row)) return true;
    }
    return false;
  }
  return false;
}

bool predicate_row(const Predicate *predicate, const Value *row) { return node_row(predicate->root, row); }

void predicate_node_columns(const PredicateNode *node, bool *used) {
  if (node->kind == PREDICATE_LEAF || node->kind == PREDICATE_PAIR) used[node->column] = true;
  if (node->kind == PREDICATE_PAIR) used[node->other] = true;
  for (uint32_t i = 0; i < node->child_count; i++) predicate_node_columns(node->children[i], used);
}

void predicate_columns(const Predicate *predicate, bool *used) { predicate_node_columns(predicate->root, used); }

/* ---- filters made of others ---- */

size_t predicate_term_count(const Predicate *predicate) {
  if (predicate->root->kind == PREDICATE_ALL) return 0;
  return predicate->root->kind == PREDICATE_AND ? predicate->root->child_count : 1;
}

const PredicateNode *predicate_term(const Predicate *predicate, size_t index) {
  return predicate->root->kind == PREDICATE_AND ? predicate->root->children[index] : predicate->root;
}

static Status copy_node(const PredicateNode *node, const uint32_t *positions, Arena *arena, const PredicateNode **out) {
  if (node->kind == PREDICATE_NONE || node->kind == PREDICATE_ALL) {
    *out = node->kind == PREDICATE_NONE ? &node_none : &node_all;
    return KVSTORE_OK;
  }
  PredicateNode *copy = arena_copy(arena, node, sizeof *node);
  if (!copy) return status_nomem();
  if (positions && (node->kind == PREDICATE_LEAF || node->kind == PREDICATE_PAIR))
    copy->column = positions[node->column];
  if (positions && node->kind == PREDICATE_PAIR) copy->other = positions[node->other];
  if (node->child_count) {
    const PredicateNode **children = arena_allocate(arena, node->child_count * sizeof *children);
    if (!children) return status_nomem();
    for (uint32_t i = 0; i < node->child_count; i++) TRY(copy_node(node->children[i], positions, arena, &children[i]));
    copy->children = children;
  }
  *out = copy;
  return KVSTORE_OK;
}

/* Appends copies of the terms of a node: of an AND its children. True when one is NONE. */
static Status add_terms(const PredicateNode *node, const uint32_t *positions, Arena *arena, PredicateNode *parent,
                        const PredicateNode **children, bool *nothing) {
  uint32_t count = node->kind == PREDICATE_AND ? node->child_count : 1;
  for (uint32_t i = 0; i < count; i++) {
    const PredicateNode *term = node->kind == PREDICATE_AND ? node->children[i] : node;
    *nothing |= term->kind == PREDICATE_NONE;
    if (term->kind != PREDICATE_ALL) TRY(copy_node(term, positions, arena, &children[parent->child_count++]));
  }
  return KVSTORE_OK;
}

Status predicate_of_terms(const PredicateNode *const *terms, size_t count, const uint32_t *positions, Arena *arena,
                          Predicate *out) {
  size_t room = 1;
  bool nothing = false;
  for (size_t i = 0; i < count; i++) room += terms[i]->kind == PREDICATE_AND ? terms[i]->child_count : 1;
  PredicateNode *node = arena_allocate_zeroed(arena, sizeof *node);
  const PredicateNode **children = arena_allocate(arena, memory_array_size(room, sizeof *children));
  if (!node || !children) return status_nomem();
  node->kind = PREDICATE_AND;
  node->children = children;
  for (size_t i = 0; i < count; i++) TRY(add_terms(terms[i], positions, arena, node, children, &nothing));
  *out = (Predicate){ .root = nothing                 ? &node_none
                              : node->child_count > 1 ? node
                              : node->child_count     ? children[0]
                                                      : &node_all };
  out->or_depth = number_nodes(out->root, &out->node_count);
  out->computes = out->root->computes;
  return KVSTORE_OK;
}
