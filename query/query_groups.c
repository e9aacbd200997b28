/* query_groups.c - groups as rows: which columns they have, which pass `having`, and their arrays. */
#include "base/bitmap.h"
#include "base/counters.h"
#include "base/memory.h"
#include "query/query_internal.h"

/* ---- asking ---- */

void query_forget_groups(Query *q) {
  program_release(&q->groups_program);
  schema_release(&q->over_groups);
  memory_release(q->keys);
  memory_release(q->outputs);
  arena_release(&q->output_arena);
  arena_release(&q->having_arena);
  buffer_release(&q->having_text);
  q->keys = NULL;
  q->outputs = NULL;
  q->output = (Schema){ 0 };
  q->key_count = 0;
  q->is_grouped = false;
}

/* A sum that 64 bits hold. */
static ColumnType narrow_sum_type(ColumnType type) {
  unsigned scale = query_sum_scale(type);
  return scale ? type_decimal(scale) : TYPE_I64;
}

static double sum_to_double(Int128 sum, ColumnType type) {
  return int128_to_double(sum) / (double)decimal_unit(query_sum_scale(type));
}

/* The column of an aggregate's results, but for its name. */
static Column aggregate_column(const Query *q, const AggregateRequest *request) {
  const Column *of = &q->schema.columns[request->column];
  Column out = { .flags = COLUMN_NULLABLE };
  switch (request->kind) {
  case AGGREGATE_ROWS:
  case AGGREGATE_VALUES:
  case AGGREGATE_SKETCH:
  case AGGREGATE_DISTINCT: return (Column){ .type = TYPE_U64 };
  case AGGREGATE_TOTAL: out.type = type_is_float(of->type) ? TYPE_F64 : query_sum_type(of->type); return out;
  case AGGREGATE_LEAST:
  case AGGREGATE_GREATEST:
  case AGGREGATE_FIRST:
  case AGGREGATE_LAST:
  case AGGREGATE_QUANTILE:
    out = *of;
    out.flags = (of->flags & COLUMN_UTC) | COLUMN_NULLABLE;
    return out;
  default: out.type = TYPE_F64; return out;
  }
}

static Status name_aggregate(Query *q, const AggregateRequest *request, char **name) {
  Buffer text = { 0 };
  query_aggregate_name(request, q->schema.columns[request->column].name, &text);
  Status status = buffer_status(&text);
  if (status == KVSTORE_OK) *name = arena_copy_string(&q->output_arena, (const char *)text.data, text.length);
  if (status == KVSTORE_OK && !*name) status = status_nomem();
  buffer_release(&text);
  return status;
}

static Status find_key(Query *q, uint32_t position, bool may_be_there, uint32_t *key) {
  for (*key = 0; *key < q->key_count; ++*key) {
    if (q->keys[*key] != position) continue;
    if (may_be_there) return KVSTORE_OK;
    return status_fail_at(KVSTORE_SCHEMA, UINT64_MAX, q->schema.columns[position].name, NULL,
                          "column %s stands twice among those to group by", q->schema.columns[position].name);
  }
  q->keys[q->key_count++] = position;
  return KVSTORE_OK;
}

/* What is computed from groups takes a sum of integers for an f64. */
static Status copy_output(const Schema *output, Schema *copy) {
  copy->columns = memory_allocate_zeroed(memory_array_size(output->column_count + 1u, sizeof *copy->columns));
  if (!copy->columns) return status_nomem();
  for (uint32_t i = 0; i < output->column_count; i++) {
    char *name = memory_copy_string(output->columns[i].name);
    if (!name) return status_nomem();
    copy->columns[i] = output->columns[i];
    copy->columns[i].name = name;
    if (query_type_is_wide(output->columns[i].type)) copy->columns[i].type = TYPE_F64;
    copy->column_count++;
  }
  return KVSTORE_OK;
}

static Status make_groups(Query *q, const uint32_t *positions, size_t count, bool is_distinct) {
  size_t outputs = count + (is_distinct ? 0 : q->aggregate_count);
  q->keys = memory_allocate(memory_array_size(count, sizeof *q->keys));
  q->outputs = memory_allocate_zeroed(memory_array_size(outputs, sizeof *q->outputs));
  Column *columns = arena_allocate_zeroed(&q->output_arena, memory_array_size(outputs, sizeof *columns));
  if (!q->keys || !q->outputs || !columns) return status_nomem();
  for (size_t i = 0; i < count; i++) {
    uint32_t key;
    TRY(find_key(q, positions[i], is_distinct, &key));
    q->outputs[i] = (GroupOutput){ true, key };
    columns[i] = q->schema.columns[positions[i]];
    columns[i].flags &= COLUMN_NULLABLE | COLUMN_UTC;
  }
  for (size_t i = count; i < outputs; i++) {
    const AggregateRequest *request = &q->aggregates[i - count];
    q->outputs[i].index = (uint32_t)(i - count);
    columns[i] = aggregate_column(q, request);
    TRY(name_aggregate(q, request, &columns[i].name));
  }
  q->output = (Schema){ .column_count = (uint32_t)outputs, .columns = columns };
  TRY(copy_output(&q->output, &q->over_groups));
  program_init(&q->groups_program, &q->over_groups);
  q->is_grouped = true;
  return KVSTORE_OK;
}

Status query_group_by(Query *q, const char *const *names, size_t count) {
  if (count > COLUMNS_MAX) return status_fail(KVSTORE_LIMIT, "a query groups by at most %u columns", COLUMNS_MAX);
  if (count + q->aggregate_count == 0)
    return status_fail(KVSTORE_ERROR, "groups by nothing, of which nothing is asked");
  uint32_t *positions = memory_allocate(memory_array_size(count, sizeof *positions));
  Status status = positions ? KVSTORE_OK : status_nomem();
  for (size_t i = 0; i < count && status == KVSTORE_OK; i++) status = query_position(q, names[i], &positions[i]);
  if (status == KVSTORE_OK) status = make_groups(q, positions, count, false);
  if (status != KVSTORE_OK) query_forget_groups(q);
  memory_release(positions);
  return status;
}

Status query_distinct(Query *q) {
  Status status = make_groups(q, q->columns, q->column_count, true);
  if (status != KVSTORE_OK) query_forget_groups(q);
  return status;
}

/* ---- having ---- */

/* A sum of integers is compared as an i64 while it is one, else as the nearest f64. */
static Status bind_having(Query *q, const Expression *e, const Value *parameters, size_t parameter_count) {
  Schema schema = q->output;
  schema.columns = arena_allocate(&q->having_arena, schema.column_count * sizeof *schema.columns);
  if (!schema.columns) return status_nomem();
  for (unsigned way = 0; way < 2; way++) {
    for (uint32_t i = 0; i < schema.column_count; i++) {
      schema.columns[i] = q->output.columns[i];
      ColumnType type = schema.columns[i].type;
      if (query_type_is_wide(type)) schema.columns[i].type = way ? TYPE_F64 : narrow_sum_type(type);
    }
    TRY(expression_bind_computing(e, &schema, &q->groups_program, parameters, parameter_count, &q->having_arena,
                                  &q->having[way]));
  }
  expression_print(e, parameters, parameter_count, &q->having_text);
  return buffer_status(&q->having_text);
}

Status query_having(Query *q, const char *text, size_t length, const Value *parameters, size_t parameter_count) {
  if (!q->is_grouped) return status_fail(KVSTORE_ERROR, "a filter over groups, where nothing is grouped");
  Arena arena = { 0 };
  const Expression *expression;
  arena_release(&q->having_arena);
  buffer_clear(&q->having_text);
  Status status = expression_parse(&arena, text, length, &expression, NULL);
  if (status == KVSTORE_OK) status = bind_having(q, expression, parameters, parameter_count);
  if (status != KVSTORE_OK) buffer_clear(&q->having_text);
  arena_release(&arena);
  return status;
}

/* ---- running ---- */

struct GroupSource {
  const Query *query;
  const TableSnapshot *snapshot;
  TableRun run;
  const QuerySpace *space; /* may be NULL */
  bool is_read;            /* all units are in */
  uint32_t at;             /* groups given so far */
  Arena arena;
  ColumnArray *arrays; /* of the groups' columns, and of what is computed from them */
  ColumnArray *inputs; /* the same with sums of integers as f64; NULL: nothing is computed */
  Evaluator *evaluator;
  AggregateResult *totals; /* of all rows, which need no group; NULL: there are groups */
  uint32_t *numbers;
  uint32_t *many; /* the same of a filling; NULL: there was none */
  Value *row;     /* for having: the columns of a test */
};

static Status allocate(GroupSource *s) {
  const Schema *output = &s->query->output;
  size_t all = s->query->over_groups.column_count + 1;
  s->arrays = arena_allocate_zeroed(&s->arena, all * sizeof *s->arrays);
  s->numbers = arena_allocate(&s->arena, QUERY_BATCH_ROWS * sizeof *s->numbers);
  s->row = arena_allocate_zeroed(&s->arena, all * sizeof *s->row);
  if (!s->arrays || !s->numbers || !s->row) return status_nomem();
  for (uint32_t i = 0; i < output->column_count; i++) {
    s->arrays[i].values =
      arena_allocate_aligned(&s->arena, 64, QUERY_BATCH_ROWS * query_type_width(output->columns[i].type));
    s->arrays[i].nulls = arena_allocate(&s->arena, QUERY_BATCH_ROWS);
    if (!s->arrays[i].values || !s->arrays[i].nulls) return status_nomem();
  }
  return KVSTORE_OK;
}

static Status allocate_inputs(GroupSource *s) {
  const Query *q = s->query;
  void *nothing = arena_allocate_zeroed(&s->arena, QUERY_BATCH_ROWS * sizeof(Bytes));
  uint8_t *nulls = arena_allocate(&s->arena, QUERY_BATCH_ROWS);
  if (!nothing || !nulls) return status_nomem();
  memset(nulls, 1, QUERY_BATCH_ROWS);
  for (uint32_t i = q->output.column_count; i < q->over_groups.column_count; i++)
    s->arrays[i] = (ColumnArray){ nothing, nulls }; /* unless groups are ordered by it */
  s->inputs = arena_allocate_zeroed(&s->arena, (q->over_groups.column_count + 1u) * sizeof *s->inputs);
  if (!s->inputs) return status_nomem();
  for (uint32_t i = 0; i < q->output.column_count; i++) {
    s->inputs[i] = s->arrays[i];
    if (!query_type_is_wide(q->output.columns[i].type)) continue;
    s->inputs[i].values = arena_allocate_aligned(&s->arena, 64, QUERY_BATCH_ROWS * sizeof(double));
    if (!s->inputs[i].values) return status_nomem();
  }
  return evaluator_create(&q->groups_program, &s->evaluator);
}

/* The aggregates of all rows, unless they are made of each unit by itself where there are groups (QRY-6): whoever asks
 * for one group gets its bits. */
static bool needs_no_group(const Query *q) {
  if (q->key_count) return false;
  for (size_t i = 0; i < q->aggregate_count; i++) {
    const AggregateRequest *request = &q->aggregates[i];
    bool is_added = request->kind == AGGREGATE_TOTAL || request->kind == AGGREGATE_MEAN;
    if (request->kind > AGGREGATE_MEAN) return false;
    if (is_added && type_is_float(q->schema.columns[request->column].type)) return false;
  }
  return true;
}

static Status prepare_totals(GroupSource *s) {
  s->totals = arena_allocate_zeroed(&s->arena, (s->query->aggregate_count + 1) * sizeof *s->totals);
  return s->totals ? query_run_prepare(&s->run, s->query, s->snapshot, s->space) : status_nomem();
}

static Status prepare_groups(GroupSource *s) {
  const Query *q = s->query;
  TRY(query_scan(q, s->snapshot, &s->run.scan));
  return groups_create(s->snapshot, q->keys, q->key_count, q->aggregates, q->aggregate_count, s->space, &s->run.groups);
}

Status group_source_create(const Query *q, const TableSnapshot *snapshot, const QuerySpace *space, GroupSource **out) {
  GroupSource *s = memory_allocate_zeroed(sizeof *s);
  if (!s) return status_nomem();
  s->query = q;
  s->snapshot = snapshot;
  s->space = space;
  Status status = allocate(s);
  if (status == KVSTORE_OK && q->groups_program.column_count) status = allocate_inputs(s);
  if (status == KVSTORE_OK) status = needs_no_group(q) ? prepare_totals(s) : prepare_groups(s);
  if (status == KVSTORE_OK)
    *out = s;
  else
    group_source_destroy(s);
  return status;
}

void group_source_destroy(GroupSource *s) {
  if (!s) return;
  groups_destroy(s->run.groups);
  aggregates_destroy(s->run.aggregates);
  arena_release(&s->run.arena);
  evaluator_destroy(s->evaluator);
  scan_destroy(s->run.scan);
  arena_release(&s->arena);
  memory_release(s);
}

ScanCounters group_source_counters(const GroupSource *s) {
  ScanCounters counters = *scan_counters(s->run.scan);
  scan_counters_add(&counters, &s->run.helped);
  return counters;
}
uint64_t group_source_spilled(const GroupSource *s) { return s->run.groups ? groups_spilled(s->run.groups) : 0; }

static Status read_units(GroupSource *s) {
  s->is_read = true;
  TRY(query_run_units(s->query, s->snapshot, s->space, &s->run));
  for (size_t i = 0; s->totals && i < s->query->aggregate_count; i++)
    s->totals[i] = aggregates_result(s->run.aggregates, i);
  if (s->totals) COUNT(groups_not_needed);
  return KVSTORE_OK;
}

static AggregateResult output_of(const GroupSource *s, uint32_t column, uint32_t number) {
  const GroupOutput *output = &s->query->outputs[column];
  if (s->totals) return s->totals[output->index];
  if (!output->is_key) return groups_result(s->run.groups, number, output->index);
  Value v = groups_key(s->run.groups, number, output->index);
  return (AggregateResult){ .is_null = v.is_null, .value = v };
}

static void fill_column(const GroupSource *s, uint32_t column, const uint32_t *numbers, uint32_t count, uint8_t *values,
                        uint8_t *nulls) {
  ColumnType type = s->query->output.columns[column].type;
  size_t width = query_type_width(type);
  const GroupOutput *output = &s->query->outputs[column];
  bool done = !s->totals;
  if (done)
    done = output->is_key ? groups_keys(s->run.groups, numbers, count, output->index, values, nulls)
                          : groups_results(s->run.groups, numbers, count, output->index, values, nulls);
  for (uint32_t i = 0; !done && i < count; i++) {
    AggregateResult result = output_of(s, column, numbers[i]);
    nulls[i] = result.is_null;
    if (result.is_null)
      memset(values + i * width, 0, width);
    else if (result.is_integer)
      memcpy(values + i * width, &result.integer, width);
    else
      value_to_array(&result.value, values, i);
  }
}

/* The columns of the first `count` of the groups, and those as what is computed takes them. */
static void fill_outputs(GroupSource *s, uint32_t count) {
  const Schema *output = &s->query->output;
  for (uint32_t i = 0; i < output->column_count; i++)
    fill_column(s, i, s->numbers, count, (uint8_t *)(uintptr_t)s->arrays[i].values,
                (uint8_t *)(uintptr_t)s->arrays[i].nulls);
  if (!s->evaluator) return;
  for (uint32_t i = 0; i < output->column_count; i++) {
    if (!query_type_is_wide(output->columns[i].type)) continue;
    const Int128 *from = s->arrays[i].values;
    double *to = (double *)(uintptr_t)s->inputs[i].values;
    for (uint32_t row = 0; row < count; row++) to[row] = sum_to_double(from[row], output->columns[i].type);
  }
  evaluator_begin(s->evaluator, s->inputs, count);
}

static bool is_ordered_by(const Query *q, uint32_t column) {
  for (size_t i = 0; i < q->order_count; i++) {
    if (q->order[i].column == column) return true;
  }
  return false;
}

/* The columns of the first `count` of the groups, and what they are ordered by. What is computed for `having` alone is
 * seen by nobody any more. */
static Status fill_columns(GroupSource *s, uint32_t count) {
  const Query *q = s->query;
  uint64_t rows[BLOCK_WORDS];
  fill_outputs(s, count);
  bitmap_fill_first(rows, BLOCK_WORDS, count);
  for (uint32_t i = q->output.column_count; s->evaluator && i < q->over_groups.column_count; i++) {
    if (!is_ordered_by(q, i)) continue;
    TRY(evaluator_column(s->evaluator, i, rows));
    s->arrays[i] = s->inputs[i];
  }
  return KVSTORE_OK;
}

/* ---- which pass `having`: as rows pass a filter, tests of columns before those that compute ---- */

/* A sum as an i64, or as a decimal; false: 64 bits do not hold it. */
static bool narrow_sum(const AggregateResult *result, ColumnType type, Value *out) {
  int64_t low, high;
  *out = (Value){ .type = narrow_sum_type(type), .i = (int64_t)result->integer.low };
  type_image_bounds(out->type, &low, &high);
  return result->integer.high == out->i >> 63 && out->i >= low && out->i <= high;
}

/* Then all sums of the group are compared as f64. */
static bool has_wide_sum(const GroupSource *s, uint32_t number) {
  const Schema *output = &s->query->output;
  for (uint32_t i = 0; i < output->column_count; i++) {
    Value v;
    if (!query_type_is_wide(output->columns[i].type)) continue;
    AggregateResult result = output_of(s, i, number);
    if (!result.is_null && !narrow_sum(&result, output->columns[i].type, &v)) return true;
  }
  return false;
}

/* Of the group at a place of the batch. */
static Value value_at(const GroupSource *s, uint32_t column, uint32_t at, bool is_wide) {
  const Query *q = s->query;
  ColumnType type = q->over_groups.columns[column].type;
  if (column >= q->output.column_count) {
    const ColumnArray *array = &s->inputs[column];
    bool is_null = array->nulls && array->nulls[at];
    return is_null ? (Value){ .type = type, .is_null = true } : value_from_array(type, array->values, at);
  }
  type = q->output.columns[column].type;
  AggregateResult result = output_of(s, column, s->numbers[at]);
  Value v = result.value;
  v.type = type;
  v.is_null = result.is_null;
  if (v.is_null || !query_type_is_wide(type)) return v;
  if (is_wide) return (Value){ .type = TYPE_F64, .f = sum_to_double(result.integer, type) };
  (void)narrow_sum(&result, type, &v); /* it fits */
  return v;
}

static Status keep_by_test(GroupSource *s, const PredicateNode *node, bool is_wide, uint64_t *rows) {
  const Predicate test = { .root = node };
  const uint32_t columns[2] = { node->column, node->other };
  size_t count = node->kind == PREDICATE_PAIR ? 2 : node->kind == PREDICATE_LEAF ? 1 : 0;
  for (size_t i = 0; i < count; i++)
    if (columns[i] >= s->query->output.column_count) TRY(evaluator_column(s->evaluator, columns[i], rows));
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) {
    for (uint64_t left = rows[w]; left; left &= left - 1) {
      uint32_t at = w * 64 + (uint32_t)__builtin_ctzll(left);
      for (size_t i = 0; i < count; i++) s->row[columns[i]] = value_at(s, columns[i], at, is_wide);
      if (!predicate_row(&test, s->row)) bit_clear(rows, at);
    }
  }
  return KVSTORE_OK;
}

static Status keep(GroupSource *s, const PredicateNode *node, bool is_wide, uint64_t *rows);

/* Each child is asked of the groups that those before it have left (of an OR: that none before it has taken). */
static Status keep_by_children(GroupSource *s, const PredicateNode *node, bool is_wide, bool computes, uint64_t *left,
                               uint64_t *taken) {
  for (uint32_t i = 0; i < node->child_count; i++) {
    uint64_t rows[BLOCK_WORDS];
    if (node->children[i]->computes != computes) continue;
    memcpy(rows, left, sizeof rows);
    TRY(keep(s, node->children[i], is_wide, rows));
    for (uint32_t w = 0; w < BLOCK_WORDS; w++) {
      taken[w] |= rows[w];
      left[w] = node->kind == PREDICATE_OR ? left[w] & ~rows[w] : rows[w];
    }
  }
  return KVSTORE_OK;
}

static Status keep(GroupSource *s, const PredicateNode *node, bool is_wide, uint64_t *rows) {
  uint64_t taken[BLOCK_WORDS] = { 0 };
  if (node->kind != PREDICATE_AND && node->kind != PREDICATE_OR) return keep_by_test(s, node, is_wide, rows);
  TRY(keep_by_children(s, node, is_wide, false, rows, taken));
  TRY(keep_by_children(s, node, is_wide, true, rows, taken));
  if (node->kind == PREDICATE_OR) memcpy(rows, taken, sizeof taken);
  return KVSTORE_OK;
}

/* Of the first `found` groups those that pass move together; *count: how many. */
static Status keep_groups(GroupSource *s, uint32_t found, uint32_t *count) {
  uint64_t narrow[BLOCK_WORDS], wide[BLOCK_WORDS] = { 0 };
  bitmap_fill_first(narrow, BLOCK_WORDS, found);
  for (uint32_t i = 0; i < found; i++) {
    if (!has_wide_sum(s, s->numbers[i])) continue;
    bit_clear(narrow, i);
    bit_set(wide, i);
  }
  if (s->evaluator) fill_outputs(s, found);
  TRY(keep(s, s->query->having[0].root, false, narrow));
  TRY(keep(s, s->query->having[1].root, true, wide));
  for (uint32_t i = 0; i < found; i++)
    if (bit_get(narrow, i) || bit_get(wide, i)) s->numbers[(*count)++] = s->numbers[i];
  return KVSTORE_OK;
}

/* ---- one after the other ---- */

/* The next groups, in s->numbers; of those that had left memory when there are no others. 0: there is none. */
static Status next_groups(GroupSource *s, uint32_t *found) {
  *found = 0;
  if (s->totals) {
    s->numbers[0] = 0;
    *found = s->at++ == 0;
    return KVSTORE_OK;
  }
  for (;;) {
    bool more, awaits = groups_await(s->run.groups);
    *found = groups_next(s->run.groups, &s->at, QUERY_BATCH_ROWS, s->numbers);
    if (*found) return KVSTORE_OK;
    TRY(query_tick(s->space, group_source_counters(s).rows));
    uint64_t begun = awaits ? os_ticks() : 0;
    TRY(groups_more(s->run.groups, &more));
    if (awaits) s->run.helped.ticks[SCAN_STEP_BACK] += os_ticks() - begun;
    if (!more) return KVSTORE_OK;
    s->at = 0;
  }
}

Status group_source_next(GroupSource *s, QueryBatch *batch) {
  uint32_t count = 0;
  *batch = (QueryBatch){ .column_count = s->query->over_groups.column_count, .columns = s->arrays };
  if (!s->is_read) TRY(read_units(s));
  while (count == 0) {
    uint32_t found;
    TRY(next_groups(s, &found));
    if (found == 0) return KVSTORE_OK;
    if (s->query->having_text.length)
      TRY(keep_groups(s, found, &count));
    else
      count = found;
  }
  TRY(fill_columns(s, count));
  batch->row_count = count;
  return KVSTORE_OK;
}

/* ---- many at once, into arrays of the caller's ---- */

enum { FILL_WORTH = 16 * QUERY_BATCH_ROWS }; /* rows: fewer are written by one thread while another one wakes */

typedef struct Filling {
  const GroupSource *source;
  void *const *values;
  uint8_t *const *nulls;
  uint32_t count;
  _Atomic uint32_t next; /* row that nobody has taken yet */
} Filling;

static void fill_pieces(void *context, uint32_t member) {
  Filling *f = context;
  const GroupSource *s = f->source;
  const Schema *output = &s->query->output;
  uint32_t at;
  (void)member;
  while ((at = atomic_fetch_add_explicit(&f->next, QUERY_BATCH_ROWS, memory_order_relaxed)) < f->count) {
    uint32_t count = f->count - at < QUERY_BATCH_ROWS ? f->count - at : QUERY_BATCH_ROWS;
    for (uint32_t i = 0; i < output->column_count; i++) {
      uint8_t *values = (uint8_t *)f->values[i] + at * query_type_width(output->columns[i].type);
      fill_column(s, i, s->many + at, count, values, f->nulls[i] + at);
    }
  }
}

static bool may_fill(const GroupSource *s) { return !s->query->having_text.length && !s->evaluator && !s->totals; }

Status group_source_ahead(GroupSource *s, uint64_t *rows) {
  *rows = 0;
  if (!may_fill(s)) return KVSTORE_OK;
  if (!s->is_read) TRY(read_units(s));
  *rows = groups_held(s->run.groups);
  return KVSTORE_OK;
}

/* The numbers of groups that are in memory together. */
static Status number_many(GroupSource *s, uint32_t most, uint32_t *count) {
  if (!s->many) s->many = arena_allocate(&s->arena, QUERY_FILL_ROWS * sizeof *s->many);
  if (!s->many) return status_nomem();
  TRY(next_groups(s, count));
  memcpy(s->many, s->numbers, *count * sizeof *s->many);
  uint32_t more = *count;
  while (more && *count < most) {
    more = groups_next(s->run.groups, &s->at, most - *count, s->many + *count);
    *count += more;
  }
  return KVSTORE_OK;
}

Status group_source_fill(GroupSource *s, uint32_t most, void *const *values, uint8_t *const *nulls, uint32_t *count) {
  *count = 0;
  if (!may_fill(s) || most < QUERY_BATCH_ROWS) return KVSTORE_OK;
  if (!s->is_read) TRY(read_units(s));
  TRY(number_many(s, most < QUERY_FILL_ROWS ? most : QUERY_FILL_ROWS, count));
  Filling filling = { .source = s, .values = values, .nulls = nulls, .count = *count };
  uint32_t threads = s->query->threads ? s->query->threads : os_processors();
  if (*count < FILL_WORTH) threads = 1;
  if (threads == 1) {
    fill_pieces(&filling, 0);
    return KVSTORE_OK;
  }
  TRY(query_share_out(threads < TEAM_MEMBERS_MAX ? threads : TEAM_MEMBERS_MAX, fill_pieces, &filling));
  s->run.helped.helped = true;
  COUNT(groups_filled);
  return KVSTORE_OK;
}
