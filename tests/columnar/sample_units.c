#include "tests/columnar/sample_units.h"

#include <math.h>
#include <stdlib.h>

#include "base/visible.h"
#include "tests/support/test.h"

/* ---- rows ---- */

static double wild_double(uint64_t *random) {
  static const double values[] = { 0.0,
                                   -0.0,
                                   NAN,
                                   -NAN,
                                   INFINITY,
                                   -INFINITY,
                                   0x1p-1074,
                                   -0x1p-1074,
                                   1.5,
                                   -2.5,
                                   0x1.fffffffffffffp1023,
                                   9007199254740992.0,
                                   -0x1p63,
                                   0x1p64,
                                   0.1,
                                   3.0 };
  return values[test_random_below(random, sizeof values / sizeof *values)];
}

static Value wild_value(Arena *arena, const Column *column, uint64_t *random) {
  static const int64_t integers[] = { INT64_MIN,    INT64_MAX, INT32_MIN, INT32_MAX, -1, 0, 1,
                                      127,          -128,      255,       65535,     2,  3, INT64_C(9007199254740993),
                                      INT64_MIN + 1 };
  Value v = { .type = column->type };
  uint64_t number = (uint64_t)integers[test_random_below(random, sizeof integers / sizeof *integers)];
  if (column->type == TYPE_TIME) number %= UINT64_C(86400000000);
  if (type_is_decimal(column->type)) number = (uint64_t)((int64_t)number % decimal_unit(DECIMAL_SCALE_MAX));
  switch (column->type) {
  case TYPE_BOOL: v.i = number & 1; break;
  case TYPE_I8: v.i = (int8_t)number; break;
  case TYPE_I16: v.i = (int16_t)number; break;
  case TYPE_I32:
  case TYPE_DATE: v.i = (int32_t)number; break;
  case TYPE_U8: v.u = (uint8_t)number; break;
  case TYPE_U16: v.u = (uint16_t)number; break;
  case TYPE_U32: v.u = (uint32_t)number; break;
  case TYPE_F32: v.f = (double)(float)wild_double(random); break;
  case TYPE_F64: v.f = wild_double(random); break;
  case TYPE_STRING:
  case TYPE_BYTES: {
    static const char *const strings[] = {
      "", "a", "ab", "abcdefgh", "abcdefghi", "abcdefghj", "\xC3\xA9t\xC3\xA9", "b"
    };
    const char *text = strings[test_random_below(random, 8)];
    v.s = (Bytes){ (const uint8_t *)text, strlen(text) };
    break;
  }
  case TYPE_UUID:
  case TYPE_FIXED_BYTES: {
    uint8_t *bytes = arena_allocate_zeroed(arena, column->width);
    bytes[column->width - 1] = (uint8_t)test_random_below(random, 3);
    v.s = (Bytes){ bytes, column->width };
    break;
  }
  default: v.u = number; break;
  }
  return v;
}

/* Puts extreme values, and blocks of one value, into some columns, so that every encoding and zone occurs. */
static void make_wild(SampleTable *t, uint64_t *random) {
  for (uint32_t c = 0; c < t->schema.column_count; c++) {
    bool is_key = c == t->schema.key_columns[0];
    if (is_key || test_random_below(random, 2)) continue;
    void *values = (void *)(uintptr_t)t->arrays[c].values;
    uint32_t percent = (uint32_t)test_random_below(random, 60);
    for (uint32_t row = 0; row < t->row_count; row++) {
      if (t->arrays[c].nulls && t->arrays[c].nulls[row]) continue;
      if (test_random_below(random, 100) >= percent && row / BLOCK_ROWS % 3) continue;
      uint64_t of_block = row / BLOCK_ROWS + c;
      Value v = wild_value(&t->arena, &t->columns[c], row / BLOCK_ROWS % 3 == 0 ? &of_block : random);
      value_to_array(&v, values, row);
    }
  }
}

static void add_later_columns(Schema *schema, uint32_t flags) {
  static const ColumnType types[SAMPLE_ADDED_COLUMNS] = { TYPE_I32, TYPE_STRING, TYPE_F64 };
  static char *const names[SAMPLE_ADDED_COLUMNS] = { "later_i32", "later_string", "later_f64" };
  for (uint32_t i = 0; i < SAMPLE_ADDED_COLUMNS; i++) {
    schema->columns[schema->column_count] =
      (Column){ .id = 500 + i, .type = types[i], .name = names[i], .flags = i == 2 ? COLUMN_NULLABLE : flags };
    schema->column_count++;
  }
}

static void make_schema(SampleUnits *u) {
  SampleTable pattern = { 0 };
  sample_every_type(&pattern);
  u->schema = pattern.schema;
  u->schema.columns = u->columns;
  memcpy(u->columns, pattern.columns, sizeof pattern.columns);
  for (uint32_t c = 0; c < u->schema.column_count; c++) {
    u->columns[c].name = arena_copy_string(&u->arena, u->columns[c].name, strlen(u->columns[c].name));
  }
  uint32_t first = u->schema.column_count;
  add_later_columns(&u->schema, 0);
  u->defaults[first] = (Value){ .type = TYPE_I32, .i = 7 };
  u->defaults[first + 1] = (Value){ .type = TYPE_STRING, .s = { (const uint8_t *)"later", 5 } };
  u->defaults[first + 2] = (Value){ .type = TYPE_F64, .is_null = true };
  sample_release(&pattern);
}

/* Whether the table has the columns that were added later. */
static bool is_old(const SampleUnits *u, uint32_t table) {
  return u->tables[table].schema.column_count < u->schema.column_count;
}

static void make_table(SampleUnits *u, uint32_t rows, uint32_t expiring, bool old, uint64_t *random) {
  SampleTable *t = &u->tables[u->table_count];
  sample_every_type(t);
  if (!old) add_later_columns(&t->schema, 0);
  sample_fill(t, rows, expiring, test_random(random));
  make_wild(t, random);
}

/* ---- runs ---- */

static bool *new_live(SampleUnits *u, uint32_t rows) {
  bool *live = arena_allocate(&u->arena, rows);
  memset(live, 1, rows);
  return live;
}

static void add_segments(SampleUnits *u, uint32_t table) {
  ColumnRun *run = u->runs[table];
  uint32_t first = 0;
  for (uint32_t s = 0; s < run->segment_count; s++) {
    uint32_t rows = run->segments[s].row_count, n = u->unit_count++;
    u->units[n] = (ScanUnit){ .kind = SCAN_UNIT_SEGMENT, .row_count = rows, .run = run, .segment = s };
    u->unit_table[n] = table;
    u->unit_first[n] = first;
    u->live[n] = new_live(u, rows);
    for (uint32_t row = 0; row < rows; row++) {
      const int64_t *expiry = u->tables[table].expiry;
      if (expiry && expiry[first + row] <= u->now_ms) u->live[n][row] = false;
    }
    first += rows;
  }
  CHECK_INT(first, u->tables[table].row_count);
}

/* Kills rows: scattered ones in most segments, all of one in some. */
static void kill_rows(SampleUnits *u, uint32_t table, uint32_t first_unit, uint32_t percent, uint64_t *random) {
  if (percent == 0) return;
  uint32_t *positions = malloc(u->tables[table].row_count * sizeof *positions);
  size_t count = 0;
  for (uint32_t n = first_unit; n < u->unit_count; n++) {
    uint32_t kind = (uint32_t)test_random_below(random, 6);
    for (uint32_t row = 0; row < u->units[n].row_count; row++) {
      uint32_t chance = kind == 0              ? 0
                        : kind == 1            ? 100
                        : kind == 2            ? 1
                        : row / BLOCK_ROWS % 2 ? percent
                                               : 100 * (row / BLOCK_ROWS % 4 == 2);
      if (test_random_below(random, 100) >= chance) continue;
      positions[count++] = position_pack(u->units[n].segment, row);
      u->live[n][row] = false;
    }
  }
  CHECK_OK(deleted_set_add_many(NULL, u->runs[table]->segment_count, positions, count, &u->deleted[table]));
  for (uint32_t n = first_unit; n < u->unit_count; n++) u->units[n].deleted = u->deleted[table];
  free(positions);
}

static void add_run(SampleUnits *u, const SampleUnitsOptions *o, uint64_t *random) {
  uint32_t table = u->table_count, first_unit = u->unit_count;
  make_table(u, o->run_rows, o->expiring_percent, o->old_runs && table % 2 == 0, random);
  SampleTable *t = &u->tables[table];
  if (o->expiring_percent &&
      test_random_below(random, 2)) { /* whole blocks that expire together, in the past or the future */
    for (uint32_t row = 0; row < t->row_count; row++) {
      uint32_t kind = row / BLOCK_ROWS % 4;
      if (kind == 1) t->expiry[row] = u->now_ms - 1 - row;
      if (kind == 2) t->expiry[row] = u->now_ms + 1 + row;
    }
  }
  u->table_count++;
  ColumnRunOptions options = { .segment_rows = o->segment_rows };
  u->stores[table] = calloc(1, sizeof *u->stores[table]);
  sample_write(u->stores[table], t, &options, 5000);
  sample_set_mode(u->stores[table], o->mode);
  CHECK_OK(column_run_open(u->stores[table]->directory.data, u->stores[table]->directory.length,
                           &u->stores[table]->run_sources, &u->schema, u->defaults, &u->runs[table]));
  add_segments(u, table);
  kill_rows(u, table, first_unit, o->dead_percent, random);
}

/* ---- slabs ---- */

/* Puts the rows of a table out of order: a delta has none. */
static void shuffle(SampleTable *t, uint64_t *random) {
  for (uint32_t i = t->row_count; i > 1; i--) {
    uint32_t a = i - 1, b = (uint32_t)test_random_below(random, i);
    for (uint32_t c = 0; c < t->schema.column_count; c++) {
      size_t width = type_array_width(t->columns[c].type);
      uint8_t *values = (uint8_t *)(uintptr_t)t->arrays[c].values, *nulls = (uint8_t *)(uintptr_t)t->arrays[c].nulls,
              kept[16];
      memcpy(kept, values + a * width, width);
      memcpy(values + a * width, values + b * width, width);
      memcpy(values + b * width, kept, width);
      if (nulls) {
        uint8_t flag = nulls[a];
        nulls[a] = nulls[b];
        nulls[b] = flag;
      }
    }
  }
}

static void make_versions(SampleUnits *u, uint32_t n, uint32_t percent, uint64_t *random) {
  ScanUnit *unit = &u->units[n];
  uint64_t *sequence = arena_allocate(&u->arena, unit->row_count * 8 + 8);
  _Atomic uint64_t *dead_at = arena_allocate(&u->arena, unit->row_count * 8 + 8);
  for (uint32_t row = 0; row < unit->row_count; row++) {
    uint64_t dead = DEAD_NEVER;
    sequence[row] = test_random_below(random, 100) < percent ? u->snapshot + test_random_below(random, 3) : row % 900;
    if (test_random_below(random, 100) < percent) dead = u->snapshot - 1 + test_random_below(random, 3);
    if (test_random_below(random, 100) < percent / 2) dead = DEAD_ROLLED_BACK;
    if (test_random_below(random, 100) < percent / 2) dead = sequence[row];
    atomic_store_explicit(&dead_at[row], dead, memory_order_relaxed);
    if (!(sequence[row] <= u->snapshot && u->snapshot < dead)) u->live[n][row] = false;
  }
  unit->sequence = sequence;
  unit->dead_at = dead_at;
}

static void add_slab(SampleUnits *u, const SampleUnitsOptions *o, uint64_t *random) {
  uint32_t table = u->table_count, n = u->unit_count++;
  make_table(u, o->slab_rows, 0, o->old_runs && table % 2 == 0, random);
  u->table_count++;
  SampleTable *t = &u->tables[table];
  shuffle(t, random);
  ColumnArray *arrays = arena_allocate_zeroed(&u->arena, u->schema.column_count * sizeof *arrays);
  memcpy(arrays, t->arrays, t->schema.column_count * sizeof *arrays);
  u->units[n] = (ScanUnit){ .kind = SCAN_UNIT_ARRAYS,
                            .row_count = t->row_count,
                            .columns = arrays,
                            .defaults = u->defaults,
                            .snapshot = u->snapshot };
  u->unit_table[n] = table;
  u->live[n] = new_live(u, t->row_count);
  if (o->dead_percent) make_versions(u, n, o->dead_percent, random);
  if (!o->expiring_percent) return;
  int64_t *expiry = arena_allocate(&u->arena, t->row_count * 8 + 8);
  for (uint32_t row = 0; row < t->row_count; row++) {
    bool expires = test_random_below(random, 100) < o->expiring_percent;
    expiry[row] = expires ? u->now_ms - 1 + (int64_t)test_random_below(random, 3) : EXPIRY_NEVER;
    if (expiry[row] <= u->now_ms) u->live[n][row] = false;
  }
  u->units[n].expiry = expiry;
}

/* ---- all of it ---- */

void sample_units_create(SampleUnits *u, const SampleUnitsOptions *o) {
  uint64_t random = o->seed;
  memset(u, 0, sizeof *u);
  u->now_ms = 1700000500000; /* sample_fill spreads expiries around it */
  u->snapshot = 1000;
  make_schema(u);
  for (uint32_t i = 0; i < o->runs; i++) add_run(u, o, &random);
  for (uint32_t i = 0; i < o->slabs; i++) add_slab(u, o, &random);
}

void sample_units_mixed(SampleUnits *u, uint32_t run_rows, uint32_t segment_rows, uint32_t slab_rows, uint64_t seed) {
  SampleUnitsOptions o = { .runs = 3,
                           .run_rows = run_rows,
                           .segment_rows = segment_rows,
                           .slabs = 2,
                           .slab_rows = slab_rows,
                           .dead_percent = 10,
                           .expiring_percent = 5,
                           .old_runs = true,
                           .mode = (ExtentMode)(seed % 3),
                           .seed = seed };
  sample_units_create(u, &o);
}

void sample_units_release(SampleUnits *u) {
  for (uint32_t i = 0; i < u->table_count; i++) {
    column_run_close(u->runs[i]);
    if (u->stores[i]) sample_store_release(u->stores[i]);
    free(u->stores[i]);
    deleted_set_release(u->deleted[i]);
    sample_release(&u->tables[i]);
  }
  arena_release(&u->arena);
}

TableSnapshot sample_units_snapshot(const SampleUnits *u) {
  return (TableSnapshot){ .schema = &u->schema, .units = u->units, .unit_count = u->unit_count, .now_ms = u->now_ms };
}

Value sample_units_value(const SampleUnits *u, uint32_t unit, uint32_t column, uint32_t row) {
  uint32_t table = u->unit_table[unit];
  if (is_old(u, table) && column >= u->tables[table].schema.column_count) return u->defaults[column];
  return sample_value(&u->tables[table], column, u->unit_first[unit] + row);
}

/* ---- filters ---- */

static bool is_number(ColumnType t) { return type_is_integer(t) || type_is_float(t); }

/* A constant that compares with the column: mostly one of its values, as any type that holds it. */
static Value random_constant(Arena *arena, const SampleUnits *u, uint32_t column, uint64_t *random) {
  const Column *c = &u->columns[column];
  uint32_t unit = (uint32_t)test_random_below(random, u->unit_count);
  Value v = sample_units_value(u, unit, column, (uint32_t)test_random_below(random, u->units[unit].row_count));
  if (test_random_below(random, 25) == 0) return (Value){ .is_null = true };
  if (v.is_null || test_random_below(random, 5) == 0) v = wild_value(arena, c, random);
  uint64_t kind = test_random_below(random, 6);
  if (is_number(c->type)) {
    Column other = { .type = kind == 0   ? TYPE_F64
                             : kind == 1 ? TYPE_I64
                             : kind == 2 ? TYPE_U64
                             : kind == 3 ? TYPE_F32
                                         : c->type };
    if (other.type != c->type && test_random_below(random, 2)) return wild_value(arena, &other, random);
    if (kind == 0 && !type_is_float(c->type))
      return (Value){ .type = TYPE_F64, .f = (double)v.i + 0.5 * (double)test_random_below(random, 2) };
    if (kind == 1 && type_is_integer(c->type) && c->type != TYPE_U64) v.type = TYPE_I64;
  } else if (c->type == TYPE_DATE && kind < 2 && v.i > -100000000 && v.i < 100000000) {
    return (Value){ .type = TYPE_TIMESTAMP, .i = v.i * INT64_C(86400000000) + (int64_t)kind };
  } else if (c->type == TYPE_TIMESTAMP && kind < 2) {
    return (Value){ .type = TYPE_DATE, .i = v.i / INT64_C(86400000000) };
  } else if (type_is_decimal(c->type)) {
    if (kind == 0) return (Value){ .type = TYPE_I64, .i = v.i / decimal_unit(type_scale(c->type)) };
    if (kind == 1) return (Value){ .type = TYPE_DECIMAL + 1, .i = v.i / decimal_unit(type_scale(c->type)) };
  } else if (type_is_string(c->type)) {
    if (kind == 0) v.type = TYPE_BYTES;
    if (kind == 1 && v.s.length) v.s.length--;
  }
  return v;
}

static uint32_t operator_constants(CompareOperator op, uint64_t *random) {
  switch (op) {
  case COMPARE_IS_NULL:
  case COMPARE_IS_NOT_NULL: return 0;
  case COMPARE_BETWEEN:
  case COMPARE_NOT_BETWEEN: return 2;
  case COMPARE_IN:
  case COMPARE_NOT_IN: return (uint32_t)test_random_below(random, 6);
  default: return 1;
  }
}

/* Two columns that compare; false when none was found. */
static bool random_pair(const SampleUnits *u, PredicateTerm *term, uint64_t *random) {
  for (uint32_t tries = 0; tries < 20; tries++) {
    term->other = (uint32_t)test_random_below(random, u->schema.column_count);
    ColumnType a = u->columns[term->column].type, b = u->columns[term->other].type;
    if (!predicate_types_compare(a, b)) continue;
    /* what is exact beside doubles is for the tests of pairs to say */
    if ((type_is_decimal(a) && type_is_float(b)) || (type_is_float(a) && type_is_decimal(b))) continue;
    term->kind = TERM_COMPARE_COLUMNS;
    term->op = (CompareOperator)test_random_below(random, COMPARE_GREATER_EQUAL + 1);
    return true;
  }
  return false;
}

static void random_bits(Arena *arena, PredicateTerm *term, uint64_t *random) {
  static const int64_t masks[] = { 1, 2, 6, 255, 256, 65535, -1, INT64_MIN, INT64_MAX, 0, -128, 3, 128 };
  Value *constants = arena_allocate_zeroed(arena, 2 * sizeof *constants);
  for (uint32_t i = 0; i < 2; i++) {
    constants[i].type = test_random_below(random, 4) ? TYPE_I64 : TYPE_U64;
    constants[i].i = masks[test_random_below(random, sizeof masks / sizeof *masks)];
    constants[i].is_null = test_random_below(random, 40) == 0;
  }
  if (test_random_below(random, 2)) constants[1].i &= constants[0].i;
  if (test_random_below(random, 4) == 0) constants[1].i = 0;
  term->op = test_random_below(random, 2) ? COMPARE_BITS : COMPARE_NOT_BITS;
  term->constants = constants;
  term->count = 2;
}

static void random_leaf(Arena *arena, const SampleUnits *u, PredicateTerm *term, uint64_t *random) {
  term->kind = TERM_COMPARE;
  term->column = (uint32_t)test_random_below(random, u->schema.column_count);
  uint64_t kind = test_random_below(random, 8);
  if (kind < 2 && random_pair(u, term, random)) return;
  if (kind == 2 && type_is_integer(u->columns[term->column].type)) {
    random_bits(arena, term, random);
    return;
  }
  do {
    term->op = (CompareOperator)test_random_below(random, COMPARE_IS_NOT_NULL + 1);
  } while ((term->op == COMPARE_PREFIX || term->op == COMPARE_NOT_PREFIX) &&
           !type_is_string(u->columns[term->column].type));
  term->count = operator_constants(term->op, random);
  Value *constants = arena_allocate(arena, (term->count + 1) * sizeof *constants);
  for (uint32_t i = 0; i < term->count; i++) constants[i] = random_constant(arena, u, term->column, random);
  term->constants = constants;
}

const PredicateTerm *sample_filter(Arena *arena, const SampleUnits *u, uint32_t depth, uint64_t *random) {
  PredicateTerm *term = arena_allocate_zeroed(arena, sizeof *term);
  uint64_t kind = test_random_below(random, 20);
  if (kind == 0) {
    term->kind = (PredicateTermKind)test_random_below(random, TERM_UNKNOWN + 1);
  } else if (depth <= 1 || kind < 6) {
    random_leaf(arena, u, term, random);
  } else {
    term->kind = kind < 9 ? TERM_NOT : kind < 15 ? TERM_AND : TERM_OR;
    term->count = term->kind == TERM_NOT ? 1 : (uint32_t)test_random_below(random, 4);
    const PredicateTerm **terms = arena_allocate(arena, (term->count + 1u) * sizeof *terms);
    for (uint32_t i = 0; i < term->count; i++) terms[i] = sample_filter(arena, u, depth - 1, random);
    term->terms = terms;
  }
  return term;
}

/* ---- the plain answer ---- */

static int compare_numbers(long double a, long double b) { return (a > b) - (a < b); }

/* A long double holds every i64, u64 and double exactly (64 bits of mantissa here). */
static long double as_number(const Value *v) {
  if (type_is_float(v->type)) return (long double)v->f;
  return v->type >= TYPE_U8 && v->type <= TYPE_U64 ? (long double)v->u : (long double)v->i;
}

/* Of 10^-18. */
__extension__ typedef __int128 Units;
static Units as_units(const Value *v) {
  Units units = v->type >= TYPE_U8 && v->type <= TYPE_U64 ? (Units)v->u : (Units)v->i;
  for (unsigned s = type_scale(v->type); s < DECIMAL_SCALE_MAX; s++) units *= 10;
  return units;
}

int sample_order(const Value *a, const Value *b) {
  if (type_is_string(a->type)) {
    size_t common = a->s.length < b->s.length ? a->s.length : b->s.length;
    int order = common ? memcmp(a->s.data, b->s.data, common) : 0;
    return order ? order : (a->s.length > b->s.length) - (a->s.length < b->s.length);
  }
  if (a->type == TYPE_DATE && b->type == TYPE_TIMESTAMP) {
    return compare_numbers((long double)a->i * 86400000000.0L, (long double)b->i);
  }
  if (a->type == TYPE_TIMESTAMP && b->type == TYPE_DATE) return -sample_order(b, a);
  if (type_is_decimal(a->type) || type_is_decimal(b->type)) {
    Units x = as_units(a), y = as_units(b);
    return (x > y) - (x < y);
  }
  if (!is_number(a->type)) return (a->i > b->i) - (a->i < b->i);
  long double x = as_number(a), y = as_number(b);
  if (x != x || y != y) return (x != x) - (y != y); /* NaN is the largest */
  return compare_numbers(x, y);
}

static int truth(bool is_true) { return is_true ? 2 : 0; }
static int both(int a, int b) { return a < b ? a : b; }

static int test_truth(CompareOperator op, const Value *x, const Value *c) {
  if (x->is_null || c->is_null) return 1;
  if (op == COMPARE_PREFIX)
    return truth(x->s.length >= c->s.length && (!c->s.length || !memcmp(x->s.data, c->s.data, c->s.length)));
  int order = sample_order(x, c);
  switch (op) {
  case COMPARE_EQUAL: return truth(order == 0);
  case COMPARE_NOT_EQUAL: return truth(order != 0);
  case COMPARE_LESS: return truth(order < 0);
  case COMPARE_LESS_EQUAL: return truth(order <= 0);
  case COMPARE_GREATER: return truth(order > 0);
  default: return truth(order >= 0);
  }
}

static bool is_unsigned(const Value *v) { return v->type >= TYPE_U8 && v->type <= TYPE_U64; }

/* The result is of the column's kind; a number of the other kind that has its highest bit set is none of its values. */
static int bits_truth(const PredicateTerm *t, const Value *x) {
  const Value *mask = &t->constants[0], *wanted = &t->constants[1];
  if (x->is_null || mask->is_null || wanted->is_null) return 1;
  bool same = (x->u & mask->u) == wanted->u;
  return truth(same && (is_unsigned(x) == is_unsigned(wanted) || wanted->i >= 0));
}

static int compare_truth(const PredicateTerm *t, const Value *x) {
  int result = 0;
  switch (t->op) {
  case COMPARE_BITS: return bits_truth(t, x);
  case COMPARE_NOT_BITS: return 2 - bits_truth(t, x);
  case COMPARE_IS_NULL: return truth(x->is_null);
  case COMPARE_IS_NOT_NULL: return truth(!x->is_null);
  case COMPARE_BETWEEN:
  case COMPARE_NOT_BETWEEN:
    result =
      both(test_truth(COMPARE_GREATER_EQUAL, x, &t->constants[0]), test_truth(COMPARE_LESS_EQUAL, x, &t->constants[1]));
    return t->op == COMPARE_BETWEEN ? result : 2 - result;
  case COMPARE_IN:
  case COMPARE_NOT_IN:
    if (x->is_null && t->count == 0) result = 1; /* docs/semantics.md: not in () is every row that is not null */
    for (uint32_t i = 0; i < t->count; i++) {
      int one = test_truth(COMPARE_EQUAL, x, &t->constants[i]);
      if (one > result) result = one;
    }
    return t->op == COMPARE_IN ? result : 2 - result;
  case COMPARE_NOT_PREFIX: return 2 - test_truth(COMPARE_PREFIX, x, &t->constants[0]);
  default: return test_truth(t->op, x, &t->constants[0]);
  }
}

int sample_filter_truth(const PredicateTerm *t, const SampleUnits *u, uint32_t unit, uint32_t row) {
  int result;
  switch (t->kind) {
  case TERM_TRUE: return 2;
  case TERM_FALSE: return 0;
  case TERM_UNKNOWN: return 1;
  case TERM_COMPARE: {
    Value x = sample_units_value(u, unit, t->column, row);
    return compare_truth(t, &x);
  }
  case TERM_COMPARE_COLUMNS: {
    Value x = sample_units_value(u, unit, t->column, row), y = sample_units_value(u, unit, t->other, row);
    return test_truth(t->op, &x, &y);
  }
  case TERM_NOT: return 2 - sample_filter_truth(t->terms[0], u, unit, row);
  case TERM_AND:
    result = 2;
    for (uint32_t i = 0; i < t->count; i++) result = both(result, sample_filter_truth(t->terms[i], u, unit, row));
    return result;
  default:
    result = 0;
    for (uint32_t i = 0; i < t->count; i++) {
      int one = sample_filter_truth(t->terms[i], u, unit, row);
      if (one > result) result = one;
    }
    return result;
  }
}

bool sample_filter_selects(const PredicateTerm *t, const SampleUnits *u, uint32_t unit, uint32_t row) {
  return u->live[unit][row] && (!t || sample_filter_truth(t, u, unit, row) == 2);
}
