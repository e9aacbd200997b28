/* evaluate.c - computing a batch, node by node: columns in, conditions and choices, arrays out.
 *
 * Every node has arrays of its own, in its lane. `wanted` says which rows must be right: those that were selected, and
 * below a case or a condition those that come this way, so that what no row needs cannot fail. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/bitmap.h"
#include "base/bytes.h"
#include "base/counters.h"
#include "base/literal.h"
#include "base/memory.h"
#include "encodings/array.h"
#include "query/program_internal.h"
#include "simd/simd.h"

/* ---- life ---- */

Status evaluator_create(const Program *program, Evaluator **out) {
  Evaluator *e = memory_allocate_zeroed(sizeof *e);
  if (!e) return status_nomem();
  e->program = program;
  e->vectors = arena_allocate_zeroed(&e->arena, (program->column_count + 1u) * sizeof *e->vectors);
  e->outputs = arena_allocate_zeroed(&e->arena, (program->column_count + 1u) * sizeof *e->outputs);
  e->sources = arena_allocate_zeroed(&e->arena, (program->base_count + 1u) * sizeof *e->sources);
  e->block_values = arena_allocate_aligned(&e->arena, 64, BLOCK_ROWS * sizeof(Bytes));
  if (!e->vectors || !e->outputs || !e->sources || !e->block_values) {
    evaluator_destroy(e);
    return status_nomem();
  }
  *out = e;
  return KVSTORE_OK;
}

void evaluator_destroy(Evaluator *e) {
  if (!e) return;
  arena_release(&e->own_strings);
  arena_release(&e->arena);
  memory_release(e);
}

static size_t lane_width(Lane lane) { return type_array_width(lane_type(lane)); }

static void fill_constant(const ProgramNode *node, Vector *v) {
  Lane lane = lane_of(node->type);
  memset(v->own_values, 0, BLOCK_ROWS * lane_width(lane));
  memset(v->own_nulls, node->constant.is_null, BLOCK_ROWS);
  v->values = v->own_values;
  v->nulls = node->constant.is_null ? v->own_nulls : NULL;
  if (lane == LANE_I64) {
    v->is_bounded = true;
    v->low = v->high = node->constant.is_null ? 0 : node->constant.i;
  }
  if (node->constant.is_null) return;
  Value value = node->constant;
  value.type = lane_type(lane);
  for (size_t i = 0; i < BLOCK_ROWS; i++) value_to_array(&value, v->own_values, i);
}

static Status prepare_node(Evaluator *e, const ProgramNode *node, Vector *vectors) {
  Vector *v = &vectors[node->slot];
  if (v->own_values) return KVSTORE_OK; /* a node that stands twice */
  v->own_values = arena_allocate_aligned(&e->arena, 64, BLOCK_ROWS * lane_width(lane_of(node->type)));
  v->own_nulls = arena_allocate_aligned(&e->arena, 64, BLOCK_ROWS);
  if (!v->own_values || !v->own_nulls) return status_nomem();
  memset(v->own_values, 0, BLOCK_ROWS * lane_width(lane_of(node->type)));
  if (node->kind == NODE_CONSTANT) fill_constant(node, v);
  for (uint32_t i = 0; i < node->count; i++) TRY(prepare_node(e, node->children[i], vectors));
  return KVSTORE_OK;
}

static Status prepare(Evaluator *e, uint32_t column) {
  const ProgramColumn *c = &e->program->columns[column];
  e->computing = column;
  if (!e->vectors[column]) {
    Vector *vectors = arena_allocate_zeroed(&e->arena, (c->node_count + 1u) * sizeof *vectors);
    if (!vectors) return status_nomem();
    TRY(prepare_node(e, c->root, vectors));
    e->vectors[column] = vectors;
  }
  e->at = e->vectors[column];
  return KVSTORE_OK;
}

/* ---- failures ---- */

enum { KEY_SHOWN = 200 }; /* bytes of its text, in a message */

/* "17" or "(17, 'a')": the key of a row. */
static Status print_key(Evaluator *e, uint32_t row, Buffer *out, uint64_t *row_id) {
  const Schema *schema = e->program->schema;
  if (schema->key_count > 1) buffer_u8(out, '(');
  for (uint32_t k = 0; k < schema->key_count; k++) {
    Value v;
    TRY(scan_read_value(e->scan, schema->key_columns[k], row, &v));
    if (k) buffer_text(out, ", ");
    v.type = schema->columns[schema->key_columns[k]].type;
    literal_print(&v, out);
    if (schema->has_row_id) *row_id = v.u;
  }
  if (schema->key_count > 1) buffer_u8(out, ')');
  return buffer_status(out);
}

Status evaluate_fail(Evaluator *e, uint32_t row, const Value *value, const char *format, ...) {
  char what[256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(what, sizeof what, format, arguments);
  va_end(arguments);
  const Schema *schema = e->program->schema;
  const char *name = schema->columns[e->program->base_count + e->computing].name;
  const char *title = e->program->columns[e->computing].title;
  Buffer key = { 0 }, text = { 0 };
  uint64_t row_id = UINT64_MAX;
  Status status = KVSTORE_OK;
  if (value) literal_print(value, &text);
  buffer_u8(&text, '\0');
  if (e->scan && schema->key_count)
    status = print_key(e, e->rows ? e->rows[row] : e->block * BLOCK_ROWS + row, &key, &row_id);
  buffer_u8(&key, '\0');
  const char *shown = value && !text.failed ? (const char *)text.data : NULL;
  if (status == KVSTORE_OK && key.length > 1 && !key.failed) {
    size_t length = bytes_beginning(key.data, key.length - 1, KEY_SHOWN);
    status = status_fail_at(KVSTORE_TYPE, row_id, name, shown, "%s: %s, in the row with key %.*s%s", title, what,
                            (int)length, (const char *)key.data, length < key.length - 1 ? "..." : "");
  } else if (status == KVSTORE_OK) {
    status = status_fail_at(KVSTORE_TYPE, UINT64_MAX, name, shown, "%s: %s", title, what);
  }
  buffer_release(&key);
  buffer_release(&text);
  return status;
}

uint8_t *evaluate_room(Evaluator *e, size_t bytes) {
  if (bytes == 0) return (uint8_t *)(uintptr_t) "";
  return e->scan ? scan_string_room(e->scan, bytes) : arena_allocate(&e->own_strings, bytes);
}

/* ---- columns ---- */

/* Stored in fewer bits than its lane has. */
static bool is_narrow(ColumnType type) {
  return type == TYPE_F32 || (lane_of(type) == LANE_I64 && type_array_width(type) < 8);
}

static void widen(Evaluator *e, ColumnType type, ColumnArray from, Vector *v) {
  const SimdKernels *k = simd_kernels();
  v->nulls = from.nulls && memchr(from.nulls, 1, e->count) ? from.nulls : NULL;
  v->values = from.values;
  if (type == TYPE_F32) {
    k->widen_f64[SIMD_F32](from.values, e->count, v->own_values);
    v->values = v->own_values;
  } else if (is_narrow(type)) {
    SimdType of = type == TYPE_DATE ? SIMD_I32 : (SimdType)(type - TYPE_I8 + SIMD_I8);
    k->widen_i64[of](from.values, e->count, v->own_values);
    v->values = v->own_values;
  }
}

/* A computed column may stand on another: the evaluator is in use then, and goes back to what it was doing. */
static void return_to(Evaluator *e, const Evaluator *outer) {
  e->count = outer->count;
  e->computing = outer->computing;
  e->at = outer->at;
  e->block = outer->block;
  e->rows = outer->rows;
}

static Status compute(Evaluator *e, uint32_t column, const uint64_t *wanted, void *values, uint8_t *nulls,
                      ScanComputed *known);

/* Among few rows a computed column is computed anew: most are not those that were computed last. So it is over arrays,
 * where it may be asked of other rows. Narrow ones lie in block_values only when they are done. */
static Status computed_anew(Evaluator *e, const ProgramNode *node, const uint64_t *wanted, Vector *v) {
  Evaluator outer = *e;
  ScanComputed known;
  void *place = is_narrow(node->type) ? e->block_values : v->own_values;
  Status status = compute(e, node->column - e->program->base_count, wanted, place, v->own_nulls, &known);
  return_to(e, &outer);
  TRY(status);
  widen(e, node->type, (ColumnArray){ place, known.has_nulls ? v->own_nulls : NULL }, v);
  if (!known.is_bounded) return KVSTORE_OK;
  v->is_bounded = true;
  v->low = known.low;
  v->high = known.high;
  return KVSTORE_OK;
}

static Status few_values(Evaluator *e, const ProgramNode *node, Vector *v) {
  ColumnType lane = lane_type(lane_of(node->type));
  if (lane != TYPE_BYTES) {
    void *place = is_narrow(node->type) ? e->block_values : v->own_values;
    TRY(scan_gather(e->scan, node->column, e->rows, e->count, place, v->own_nulls));
    widen(e, node->type, (ColumnArray){ place, v->own_nulls }, v);
    return KVSTORE_OK;
  }
  v->values = v->own_values;
  v->nulls = NULL;
  for (uint32_t i = 0; i < e->count; i++) {
    Value value;
    TRY(scan_read_value(e->scan, node->column, e->rows[i], &value));
    v->own_nulls[i] = value.is_null;
    if (value.is_null) {
      value = (Value){ 0 };
      v->nulls = v->own_nulls;
    }
    value.type = lane;
    value_to_array(&value, v->own_values, i);
  }
  return KVSTORE_OK;
}

static Status read_block(Evaluator *e, const ProgramNode *node, const uint64_t *wanted, Vector *v) {
  ColumnArray array;
  void *place = is_narrow(node->type) ? e->block_values : v->own_values;
  TRY(scan_block_view(e->scan, node->column, e->block, wanted, place, v->own_nulls, &array));
  widen(e, node->type, array, v);
  return KVSTORE_OK;
}

/* A block of numbers of the table: decoded once for all that is computed from it. */
static Status shared_block(Evaluator *e, const ProgramNode *node, const uint64_t *wanted, Vector *v) {
  ReadColumn *s = &e->sources[node->column];
  uint64_t unit = scan_counters(e->scan)->units;
  if (!s->vector.own_values) {
    s->vector.own_nulls = arena_allocate_aligned(&e->arena, 64, BLOCK_ROWS);
    s->vector.own_values = arena_allocate_aligned(&e->arena, 64, BLOCK_ROWS * sizeof(uint64_t));
    if (!s->vector.own_values || !s->vector.own_nulls) return status_nomem();
    s->block = UINT32_MAX;
  }
  if (s->block == e->block && s->unit == unit) {
    COUNT_OFTEN(blocks_at_hand);
  } else {
    s->block = UINT32_MAX; /* until it is read */
    TRY(read_block(e, node, wanted, &s->vector));
    s->block = e->block;
    s->unit = unit;
  }
  v->values = s->vector.values;
  v->nulls = s->vector.nulls;
  return KVSTORE_OK;
}

/* Of the rows at hand. */
static bool rows_zone(const Evaluator *e, uint32_t column, int64_t *low, int64_t *high) {
  if (!e->rows) return scan_block_zone(e->scan, column, e->block, low, high);
  uint32_t block = e->rows[0] / BLOCK_ROWS;
  bool is_one = e->rows[e->count - 1] / BLOCK_ROWS == block;
  return is_one ? scan_block_zone(e->scan, column, block, low, high) : scan_zone(e->scan, column, low, high);
}

static Status evaluate_column(Evaluator *e, const ProgramNode *node, const uint64_t *wanted, Vector *v) {
  if (lane_of(node->type) == LANE_I64) {
    integer_bounds(node->type, &v->low, &v->high);
    v->is_bounded = type_array_width(node->type) < 8 || type_has_gaps(node->type);
  }
  bool is_computed = node->column >= e->program->base_count;
  if (is_computed && (e->rows || !e->scan)) return computed_anew(e, node, wanted, v);
  if (!e->scan) {
    widen(e, node->type, e->columns[node->column], v);
    return KVSTORE_OK;
  }
  if (e->rows) {
    TRY(few_values(e, node, v));
  } else if (!is_computed && lane_of(node->type) != LANE_BYTES) {
    TRY(shared_block(e, node, wanted, v));
  } else {
    TRY(read_block(e, node, wanted, v));
  }
  if (is_computed) COUNT_OFTEN(computed_reused);
  int64_t low, high;
  if (lane_of(node->type) == LANE_I64 && rows_zone(e, node->column, &low, &high)) {
    v->is_bounded = true;
    v->low = low < 0 ? low : 0; /* what lies beneath a null is 0 */
    v->high = high > 0 ? high : 0;
  }
  return KVSTORE_OK;
}

/* ---- nulls ---- */

void evaluate_nulls(Evaluator *e, Vector *v, const Vector *a, const Vector *b) {
  const uint8_t *x = a->nulls, *y = b ? b->nulls : NULL;
  v->nulls = NULL;
  if (!x && !y) return;
  if (x && y) {
    for (uint32_t i = 0; i < e->count; i++) v->own_nulls[i] = x[i] | y[i];
  } else {
    memcpy(v->own_nulls, x ? x : y, e->count);
  }
  v->nulls = v->own_nulls;
}

/* ---- conditions ---- */

/* A mask to a byte a row. */
static void spread_mask(const uint64_t *mask, uint32_t count, uint8_t *out) {
  for (uint32_t i = 0; i < count; i++) out[i] = mask[i / 64] >> (i % 64) & 1;
}

static void all_rows(const Evaluator *e, uint64_t mask[BLOCK_WORDS]) { bitmap_fill_first(mask, BLOCK_WORDS, e->count); }

static Status evaluate_test(Evaluator *e, const ProgramNode *node, const uint64_t *wanted, Vector *v) {
  Vector *a = v;
  uint64_t mask[BLOCK_WORDS];
  const Compare *c = &node->compare;
  TRY(evaluate_node(e, node->children[0], wanted, &a));
  all_rows(e, mask);
  v->values = v->own_values;
  if (node->digits) { /* is null, is not null: never unknown */
    array_filter(c, a->values, a->nulls, e->count, mask);
    spread_mask(mask, e->count, v->own_values);
    v->nulls = NULL;
    return KVSTORE_OK;
  }
  if (c->kind == COMPARE_KIND_NOT_NULL) { /* whatever the value: true, or negated false */
    memset(v->own_values, !c->negated, e->count);
  } else {
    array_filter(c, a->values, NULL, e->count, mask);
    spread_mask(mask, e->count, v->own_values);
  }
  evaluate_nulls(e, v, a, NULL);
  return KVSTORE_OK;
}

static void pair_rows(Evaluator *e, const ProgramNode *node, const Vector *a, const Vector *b, uint8_t *out) {
  for (uint32_t i = 0; i < e->count; i++) {
    Value x = { .type = node->children[0]->type, .i = ((const int64_t *)a->values)[i] };
    Value y = { .type = node->children[1]->type, .i = ((const int64_t *)b->values)[i] };
    out[i] = pair_values(&node->pair, &x, &y);
  }
}

static Status evaluate_pair(Evaluator *e, const ProgramNode *node, const uint64_t *wanted, Vector *v) {
  Vector *a = v, *b = v;
  uint64_t mask[BLOCK_WORDS];
  TRY(evaluate_node(e, node->children[0], wanted, &a));
  TRY(evaluate_node(e, node->children[1], wanted, &b));
  v->values = v->own_values;
  if (pair_is_mixed(node->pair.left) || pair_is_mixed(node->pair.right)) {
    pair_rows(e, node, a, b, v->own_values);
  } else {
    all_rows(e, mask);
    pair_filter(&node->pair, (ColumnArray){ a->values, NULL }, (ColumnArray){ b->values, NULL }, e->count, mask);
    spread_mask(mask, e->count, v->own_values);
  }
  evaluate_nulls(e, v, a, b);
  return KVSTORE_OK;
}

/* Rows of `from` where a condition is true (or false, `truth` 0), unknown ones left out. */
static void rows_where(const Evaluator *e, const Vector *v, uint8_t truth, const uint64_t *from, uint64_t *out) {
  const uint8_t *values = v->values;
  memcpy(out, from, BLOCK_WORDS * sizeof *out);
  for (uint32_t i = 0; i < e->count; i++) {
    if (values[i] != truth || (v->nulls && v->nulls[i])) bit_clear(out, i);
  }
}

/* Each condition is asked of the rows that those before have not decided. */
static Status evaluate_joined(Evaluator *e, const ProgramNode *node, const uint64_t *wanted, Vector *v) {
  const uint8_t deciding = node->kind == NODE_OR;
  uint64_t left[BLOCK_WORDS], decided[BLOCK_WORDS];
  uint8_t *values = v->own_values;
  memcpy(left, wanted, sizeof left);
  memset(values, !deciding, e->count);
  memset(v->own_nulls, 0, BLOCK_ROWS);
  for (uint32_t c = 0; c < node->count; c++) {
    Vector *child = v;
    TRY(evaluate_node(e, node->children[c], left, &child));
    const uint8_t *truths = child->values;
    for (uint32_t i = 0; i < e->count; i++) {
      if (!(left[i / 64] >> (i % 64) & 1)) continue;
      if (child->nulls && child->nulls[i])
        v->own_nulls[i] = 1;
      else if (truths[i] == deciding)
        values[i] = deciding, v->own_nulls[i] = 0;
    }
    rows_where(e, child, deciding, left, decided);
    for (uint32_t w = 0; w < BLOCK_WORDS; w++) left[w] &= ~decided[w];
  }
  v->values = values;
  v->nulls = v->own_nulls;
  return KVSTORE_OK;
}

static Status evaluate_not(Evaluator *e, const ProgramNode *node, const uint64_t *wanted, Vector *v) {
  Vector *a = v;
  TRY(evaluate_node(e, node->children[0], wanted, &a));
  for (uint32_t i = 0; i < e->count; i++) ((uint8_t *)v->own_values)[i] = ((const uint8_t *)a->values)[i] ^ 1;
  v->values = v->own_values;
  v->nulls = a->nulls;
  return KVSTORE_OK;
}

/* ---- choices ---- */

static void take_rows(Lane lane, const uint64_t *rows, const Vector *from, Vector *to) {
#define TAKE(T)                                                \
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) {                 \
    for (uint64_t word = rows[w]; word; word &= word - 1) {    \
      uint32_t i = w * 64 + (uint32_t)__builtin_ctzll(word);   \
      ((T *)to->own_values)[i] = ((const T *)from->values)[i]; \
      to->own_nulls[i] = from->nulls ? from->nulls[i] : 0;     \
    }                                                          \
  }                                                            \
  break
  switch (lane) {
  case LANE_BOOL: TAKE(uint8_t);
  case LANE_BYTES: TAKE(Bytes);
  default: TAKE(uint64_t);
  }
#undef TAKE
}

static bool has_rows(const uint64_t *rows) {
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) {
    if (rows[w]) return true;
  }
  return false;
}

/* Rows that no choice has reached keep what the arrays held: zeros, so that strings point nowhere. */
static void begin_choice(Evaluator *e, const ProgramNode *node, Vector *v) {
  memset(v->own_values, 0, e->count * lane_width(lane_of(node->type)));
  memset(v->own_nulls, 0, BLOCK_ROWS);
  v->values = v->own_values;
  v->nulls = v->own_nulls;
  v->is_bounded = false;
}

static Status evaluate_case(Evaluator *e, const ProgramNode *node, const uint64_t *wanted, Vector *v) {
  uint64_t left[BLOCK_WORDS], rows[BLOCK_WORDS];
  Vector *condition = v, *value = v;
  memcpy(left, wanted, sizeof left);
  begin_choice(e, node, v);
  for (uint32_t c = 0; c + 1 < node->count && has_rows(left); c += 2) {
    TRY(evaluate_node(e, node->children[c], left, &condition));
    rows_where(e, condition, 1, left, rows);
    if (!has_rows(rows)) continue;
    for (uint32_t w = 0; w < BLOCK_WORDS; w++) left[w] &= ~rows[w];
    TRY(evaluate_node(e, node->children[c + 1], rows, &value));
    take_rows(lane_of(node->type), rows, value, v);
  }
  if (!has_rows(left)) return KVSTORE_OK;
  TRY(evaluate_node(e, node->children[node->count - 1], left, &value));
  take_rows(lane_of(node->type), left, value, v);
  return KVSTORE_OK;
}

static Status evaluate_coalesce(Evaluator *e, const ProgramNode *node, const uint64_t *wanted, Vector *v) {
  uint64_t left[BLOCK_WORDS];
  Vector *value = v;
  memcpy(left, wanted, sizeof left);
  begin_choice(e, node, v);
  for (uint32_t c = 0; c < node->count && has_rows(left); c++) {
    if (node->children[c]->type == TYPE_NONE) continue;
    TRY(evaluate_node(e, node->children[c], left, &value));
    take_rows(lane_of(node->type), left, value, v);
    for (uint32_t i = 0; i < e->count; i++) {
      if (!(value->nulls && value->nulls[i])) bit_clear(left, i);
    }
  }
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) { /* nulls to the last */
    for (uint64_t word = left[w]; word; word &= word - 1) v->own_nulls[w * 64 + (uint32_t)__builtin_ctzll(word)] = 1;
  }
  return KVSTORE_OK;
}

/* ---- calls ---- */

static Status evaluate_call(Evaluator *e, const ProgramNode *node, const uint64_t *wanted, Vector *v) {
  Vector *arguments[3] = { v, v, v };
  for (uint32_t i = 0; i < node->count; i++) TRY(evaluate_node(e, node->children[i], wanted, &arguments[i]));
  if (node->kind == NODE_CONVERT) return evaluate_convert(e, node, arguments[0], wanted, v);
  switch (node->function) {
  case FUNCTION_LENGTH:
  case FUNCTION_LOWER:
  case FUNCTION_UPPER:
  case FUNCTION_SUBSTR: return evaluate_text(e, node, (const Vector *const *)arguments, wanted, v);
  default: break;
  }
  if (node->function >= FUNCTION_YEAR) return evaluate_date(e, node, arguments[0], wanted, v);
  return evaluate_number(e, node, arguments[0], node->count > 1 ? arguments[1] : NULL, wanted, v);
}

Status evaluate_node(Evaluator *e, const ProgramNode *node, const uint64_t *wanted, Vector **out) {
  Vector *v = *out = node_vector(e, node);
  if (node->kind == NODE_CONSTANT) return KVSTORE_OK;
  v->is_bounded = false;
  switch (node->kind) {
  case NODE_COLUMN: return evaluate_column(e, node, wanted, v);
  case NODE_CASE: return evaluate_case(e, node, wanted, v);
  case NODE_COALESCE: return evaluate_coalesce(e, node, wanted, v);
  case NODE_TEST: return evaluate_test(e, node, wanted, v);
  case NODE_PAIR: return evaluate_pair(e, node, wanted, v);
  case NODE_AND:
  case NODE_OR: return evaluate_joined(e, node, wanted, v);
  case NODE_NOT: return evaluate_not(e, node, wanted, v);
  default: return evaluate_call(e, node, wanted, v);
  }
}

/* ---- out ---- */

#define NARROW(T, FROM)                                                           \
  for (uint32_t i = 0; i < count; i++) ((T *)to)[i] = (T)((const FROM *)from)[i]; \
  break
/* From a lane to the natural width of a type: every value fits. */
static void narrow(ColumnType type, const void *from, uint32_t count, void *to) {
  switch (type) {
  case TYPE_I8:
  case TYPE_U8: NARROW(uint8_t, int64_t);
  case TYPE_I16:
  case TYPE_U16: NARROW(uint16_t, int64_t);
  case TYPE_I32:
  case TYPE_U32:
  case TYPE_DATE: NARROW(uint32_t, int64_t);
  case TYPE_F32: NARROW(float, double);
  default: memcpy(to, from, count * type_array_width(type)); break;
  }
}
#undef NARROW

/* What lies beneath a null is zero. */
static void clear_nulls(ColumnType type, void *values, const uint8_t *nulls, uint32_t count) {
  size_t width = type_array_width(type);
  for (uint32_t i = 0; i < count; i++) {
    if (nulls[i]) memset((uint8_t *)values + i * width, 0, width);
  }
}

/* The last node writes to where the column is wanted, unless it is narrower than its lane. */
static Status evaluate_root(Evaluator *e, const ProgramNode *root, const uint64_t *wanted, void *values, Vector **v) {
  Vector *own = node_vector(e, root);
  void *before = own->own_values;
  bool is_direct = root->kind != NODE_CONSTANT && root->type != TYPE_NONE &&
                   type_array_width(root->type) == lane_width(lane_of(root->type));
  if (is_direct) own->own_values = values;
  Status status = evaluate_node(e, root, wanted, v);
  own->own_values = before;
  return status;
}

static Status compute(Evaluator *e, uint32_t column, const uint64_t *wanted, void *values, uint8_t *nulls,
                      ScanComputed *known) {
  Vector *v = NULL;
  TRY(prepare(e, column));
  TRY(evaluate_root(e, e->program->columns[column].root, wanted, values, &v));
  ColumnType type = e->program->columns[column].type;
  if (v->values != values) narrow(type, v->values, e->count, values);
  bool has_nulls = v->nulls && memchr(v->nulls, 1, e->count);
  *known = (ScanComputed){ .has_nulls = has_nulls,
                           .is_bounded = lane_of(type) == LANE_I64 && v->is_bounded,
                           .low = v->low,
                           .high = v->high };
  if (!has_nulls) return KVSTORE_OK;
  memcpy(nulls, v->nulls, e->count);
  clear_nulls(type, values, nulls, e->count);
  return KVSTORE_OK;
}

/* ---- over arrays ---- */

void evaluator_begin(Evaluator *e, ColumnArray *columns, uint32_t row_count) {
  arena_reset(&e->own_strings);
  e->count = row_count;
  e->columns = columns;
  e->scan = NULL;
  e->rows = NULL;
}

static Status make_output(Evaluator *e, uint32_t column) {
  ColumnArray *out = &e->outputs[column];
  size_t width = type_array_width(e->program->columns[column].type);
  if (out->values) return KVSTORE_OK;
  void *values = arena_allocate_aligned(&e->arena, 64, BLOCK_ROWS * width);
  out->nulls = arena_allocate(&e->arena, BLOCK_ROWS);
  if (!values || !out->nulls) return status_nomem();
  memset(values, 0, BLOCK_ROWS * width);
  out->values = values;
  return KVSTORE_OK;
}

Status evaluator_column(Evaluator *e, uint32_t position, const uint64_t *wanted) {
  uint32_t column = position - e->program->base_count;
  const ColumnArray *out = &e->outputs[column];
  ScanComputed known;
  TRY(make_output(e, column));
  TRY(compute(e, column, wanted, (void *)(uintptr_t)out->values, (uint8_t *)(uintptr_t)out->nulls, &known));
  e->columns[position] = (ColumnArray){ out->values, known.has_nulls ? out->nulls : NULL };
  return KVSTORE_OK;
}

Status evaluator_arrays(Evaluator *e, ColumnArray *columns, uint32_t row_count) {
  uint64_t wanted[BLOCK_WORDS];
  bitmap_fill_first(wanted, BLOCK_WORDS, row_count);
  evaluator_begin(e, columns, row_count);
  for (uint32_t c = 0; c < e->program->column_count; c++)
    TRY(evaluator_column(e, e->program->base_count + c, wanted));
  return KVSTORE_OK;
}

/* ---- over a scan ---- */

static Status computer_create(const void *what, void **computer) {
  Evaluator *e = NULL;
  TRY(evaluator_create(what, &e));
  *computer = e;
  return KVSTORE_OK;
}

static void computer_destroy(void *computer) { evaluator_destroy(computer); }

enum { FEW_ROWS = 128 }; /* up to here values are gathered, those of strings read one by one */

static uint32_t mask_rows(const uint64_t *mask, uint32_t block, uint16_t *rows) {
  uint32_t count = 0;
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) {
    for (uint64_t word = mask[w]; word; word &= word - 1)
      rows[count++] = (uint16_t)(block * BLOCK_ROWS + w * 64 + (uint32_t)__builtin_ctzll(word));
  }
  return count;
}

/* Results of few rows to their places. */
static void scatter(size_t width, const uint8_t *from, const uint8_t *from_nulls, const uint16_t *rows, uint32_t count,
                    uint8_t *values, uint8_t *nulls) {
  for (uint32_t i = 0; i < count; i++) {
    uint32_t to = rows[i] % BLOCK_ROWS;
    if (width == sizeof(uint64_t)) /* most often; the compiler copies a word */
      memcpy(values + to * sizeof(uint64_t), from + i * sizeof(uint64_t), sizeof(uint64_t));
    else
      memcpy(values + to * width, from + i * width, width);
    if (from_nulls) nulls[to] = from_nulls[i];
  }
}

static Status compute_few(Evaluator *e, uint32_t column, const uint16_t *rows, uint32_t count, void *values,
                          uint8_t *nulls, ScanComputed *known) {
  uint64_t wanted[BLOCK_WORDS];
  Bytes some[FEW_ROWS];
  uint8_t some_nulls[FEW_ROWS] = { 0 };
  size_t width = type_array_width(e->program->columns[column].type);
  bitmap_fill_first(wanted, BLOCK_WORDS, count);
  e->rows = rows;
  e->count = count;
  TRY(compute(e, column, wanted, some, some_nulls, known));
  bool is_string = type_is_string(e->program->columns[column].type);
  if (is_string) memset(values, 0, BLOCK_ROWS * width); /* no string of a block before may stay */
  if (is_string || known->has_nulls) memset(nulls, 0, BLOCK_ROWS);
  scatter(width, (const uint8_t *)some, known->has_nulls ? some_nulls : NULL, rows, count, values, nulls);
  return KVSTORE_OK;
}

static Status computer_block(void *computer, Scan *scan, uint32_t column, uint32_t block, const uint64_t *mask,
                             void *values, uint8_t *nulls, ScanComputed *known) {
  Evaluator *e = computer, outer = *e;
  uint16_t rows[FEW_ROWS];
  Status status;
  column -= e->program->base_count;
  e->scan = scan;
  e->block = block;
  uint32_t rows_here = scan_block_rows(scan_selection(scan)->unit, block);
  uint64_t selected = simd_kernels()->mask_count(mask, BLOCK_WORDS);
  if (selected <= FEW_ROWS && selected * 8 < rows_here) {
    status = compute_few(e, column, rows, mask_rows(mask, block, rows), values, nulls, known);
  } else {
    e->rows = NULL;
    e->count = rows_here;
    status = compute(e, column, mask, values, nulls, known);
  }
  return_to(e, &outer);
  return status;
}

static Status computer_rows(void *computer, Scan *scan, uint32_t column, const uint16_t *rows, uint32_t count,
                            void *values, uint8_t *nulls, ScanComputed *known) {
  Evaluator *e = computer, outer = *e;
  uint64_t wanted[BLOCK_WORDS];
  bitmap_fill_first(wanted, BLOCK_WORDS, count);
  e->scan = scan;
  e->rows = rows;
  e->count = count;
  Status status = compute(e, column - e->program->base_count, wanted, values, nulls, known);
  return_to(e, &outer);
  return status;
}

static Status computer_row(void *computer, Scan *scan, uint32_t column, uint32_t row, Value *out) {
  Evaluator *e = computer, outer = *e;
  uint64_t wanted[BLOCK_WORDS] = { 1 };
  uint16_t rows[1] = { (uint16_t)row };
  Bytes value;
  uint8_t is_null;
  ScanComputed known;
  ColumnType type = e->program->schema->columns[column].type;
  e->scan = scan;
  e->rows = rows;
  e->count = 1;
  Status status = compute(e, column - e->program->base_count, wanted, &value, &is_null, &known);
  return_to(e, &outer);
  TRY(status);
  *out = (Value){ .type = type, .is_null = true };
  if (!known.has_nulls) *out = value_from_array(type, &value, 0);
  return KVSTORE_OK;
}

ScanComputer program_computer(const Program *program) {
  if (!program->column_count) return (ScanComputer){ 0 };
  return (ScanComputer){ program, computer_create, computer_destroy, computer_block, computer_rows, computer_row };
}
