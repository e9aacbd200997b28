/* fuzz_query.c - groups, having, distinct rows, orders and limits of a small table, each answer compared with plain
 * loops over the rows; then any text as a filter over groups. The rows lie partly in a run, partly in newer layers,
 * some deleted, some replaced; long texts make what is grouped leave memory.
 *
 * Input: shape of the table | rows u8 | three bytes a row | the query, byte by byte | text. What is missing is zero. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "colonnade/kvtable.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROWS_MAX = 255, COLUMNS = 4, CELLS_MAX = 12, TEXTS = 7, LONG = 9000, TEXT_MAX = 4096 };
enum { ID, A, S, X }; /* the columns: i64 (the key), i32, string, f64 */

#define must(condition) ((condition) ? (void)0 : broken(__LINE__, #condition))
static _Noreturn void broken(int line, const char *promise) {
  fprintf(stderr, "line %d: %s; the last message: %s\n", line, promise, kvstore_errmsg(NULL));
  abort();
}

typedef struct Input {
  const uint8_t *at, *end;
} Input;
static unsigned next(Input *in) { return in->at < in->end ? *in->at++ : 0; }

/* ---- values, and their order ---- */

typedef enum Kind { INTEGER, TEXT, FLOAT } Kind;
typedef struct Cell {
  Kind kind;
  int is_null;
  int64_t i;
  double f;
  KVBytes s;
} Cell;
typedef struct Row {
  Cell cells[CELLS_MAX];
} Row;

static int cell_order(const Cell *a, const Cell *b) {
  if (a->kind == INTEGER) return (a->i > b->i) - (a->i < b->i);
  if (a->kind == FLOAT) {
    if (isnan(a->f) || isnan(b->f)) return !!isnan(a->f) - !!isnan(b->f);
    return (a->f > b->f) - (a->f < b->f);
  }
  size_t common = a->s.length < b->s.length ? a->s.length : b->s.length;
  int order = common ? memcmp(a->s.data, b->s.data, common) : 0;
  return order ? order : (a->s.length > b->s.length) - (a->s.length < b->s.length);
}
static int cells_equal(const Cell *a, const Cell *b) {
  if (a->is_null || b->is_null) return a->is_null == b->is_null;
  return cell_order(a, b) == 0;
}
static int rows_equal(const Row *a, const Row *b, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (!cells_equal(&a->cells[i], &b->cells[i])) return 0;
  return 1;
}

static Cell cell_of(const KVValue *v) {
  Cell c = { INTEGER, v->is_null != 0, 0, 0, { NULL, 0 } };
  switch (v->type) {
  case KVTABLE_TYPE_F64:
    c.kind = FLOAT;
    c.f = v->as.f64;
    break;
  case KVTABLE_TYPE_STRING:
    c.kind = TEXT;
    c.s = v->as.bytes;
    break;
  case KVTABLE_TYPE_DECIMAL128:
    must(v->is_null || v->as.decimal.high == ((int64_t)v->as.decimal.low < 0 ? -1 : 0));
    break;
  default: break;
  }
  if (c.kind == INTEGER) c.i = (int64_t)v->as.u64;
  return c;
}

/* ---- the table and its model ---- */

typedef struct Fuzz {
  Input in;
  KVStore *kv;
  KVTable *table;
  KVQuery *query;
  int is_long; /* texts */
  Row rows[ROWS_MAX];
  size_t row_count;
  uint8_t present[ROWS_MAX];
  /* the query */
  size_t width; /* columns of the result */
  const char *names[CELLS_MAX];
  Kind kinds[CELLS_MAX];
  size_t key_count;
  int keys[COLUMNS];
  size_t aggregate_count;
  KVAggregate aggregates[CELLS_MAX];
  char filter[TEXT_MAX], having[TEXT_MAX];
  Row expected[ROWS_MAX + 1];
  size_t expected_count, group_count;                                 /* group_count: before `having` */
  size_t members[ROWS_MAX + 1][ROWS_MAX], member_count[ROWS_MAX + 1]; /* rows of each group, by key */
} Fuzz;

static const char *const column_names[COLUMNS] = { "id", "a", "s", "x" };
static const Kind column_kinds[COLUMNS] = { INTEGER, INTEGER, TEXT, FLOAT };

/* Six short texts; or long ones, that differ at their ends. */
static KVBytes text_number(const Fuzz *f, unsigned number) {
  static char texts[TEXTS][LONG], short_texts[TEXTS][8];
  number %= TEXTS;
  if (!texts[0][0]) {
    for (unsigned i = 0; i < TEXTS; i++) {
      memset(texts[i], 'z', LONG);
      texts[i][LONG - 1] = (char)('0' + i);
      snprintf(short_texts[i], sizeof short_texts[i], "t%u", i);
    }
  }
  return (KVBytes){ f->is_long ? texts[number] : short_texts[number], number == 0 ? 0 : f->is_long ? LONG : 2 };
}

static double float_number(unsigned byte) {
  switch (byte % 20) {
  case 0: return byte & 32 ? NAN : -NAN;
  case 1: return INFINITY;
  case 2: return -INFINITY;
  case 3: return -0.0;
  case 4: return 0.0;
  default: return ((int)(byte % 20) - 10) * 0.25;
  }
}

static void set_row(Fuzz *f, size_t id) {
  unsigned a = next(&f->in), s = next(&f->in), x = next(&f->in);
  Row *row = &f->rows[id];
  *row = (Row){ { { INTEGER, 0, (int64_t)id, 0, { NULL, 0 } },
                  { INTEGER, a >= 240, (int)(a % 16) - 4, 0, { NULL, 0 } },
                  { TEXT, s >= 240, 0, 0, text_number(f, s) },
                  { FLOAT, x >= 230, 0, float_number(x), { NULL, 0 } } } };
  KVValue values[COLUMNS] = { kvvalue_i64((int64_t)id), kvvalue_i64(row->cells[A].i),
                              kvvalue_text(row->cells[S].s.data, row->cells[S].s.length),
                              kvvalue_f64(row->cells[X].f) };
  for (int i = A; i < COLUMNS; i++) values[i].is_null = row->cells[i].is_null;
  must(kvtable_upsert(f->table, values, COLUMNS, 0) == KVSTORE_OK);
  f->present[id] = 1;
}

static void fill_table(Fuzz *f) {
  unsigned shape = next(&f->in);
  f->is_long = shape >> 7;
  f->row_count = next(&f->in);
  must(kvstore_begin(f->kv, 1) == KVSTORE_OK);
  for (size_t i = 0; i < f->row_count; i++) set_row(f, i);
  must(kvstore_commit(f->kv) == KVSTORE_OK);
  if (shape & 1) must(kvstore_maintain(f->kv) == KVSTORE_OK);
  for (unsigned i = 0; i < (shape >> 1 & 15) && f->row_count; i++) {
    size_t id = next(&f->in) % f->row_count;
    KVValue key = kvvalue_i64((int64_t)id);
    if (next(&f->in) & 1) {
      set_row(f, id);
    } else {
      must(kvtable_delete(f->table, &key, 1) == (f->present[id] ? KVSTORE_OK : KVSTORE_NOTFOUND));
      f->present[id] = 0;
    }
  }
  if (shape & 32) must(kvstore_checkpoint(f->kv, KVSTORE_CHECKPOINT_FULL, NULL, NULL) == KVSTORE_OK);
}

/* ---- a filter: its text, and its truth of a row ---- */

typedef struct Filter {
  Input from; /* the same bytes write the text and judge the rows */
  const char *const *names;
  const Kind *kinds;
  size_t count;
} Filter;

static int truth_not(int truth) { return truth < 0 ? truth : !truth; }

static Cell leaf_constant(Input *in, Kind kind, char *text, size_t room) {
  unsigned byte = next(in);
  Cell c = { kind, 0, (int)(byte % 24) - 6, (int)(byte % 16) * 0.25 - 1, { NULL, 0 } };
  static const Fuzz shorts = { .is_long = 0 };
  c.s = text_number(&shorts, byte);
  if (kind == INTEGER) snprintf(text, room, "%lld", (long long)c.i);
  if (kind == FLOAT) snprintf(text, room, "%.2f", c.f);
  if (kind == TEXT) snprintf(text, room, "'%.*s'", (int)c.s.length, (const char *)c.s.data);
  return c;
}

static void append(char *text, const char *more) {
  size_t length = strlen(text);
  snprintf(text + length, TEXT_MAX - length, "%s", more);
}

/* 1, 0 or -1 (unknown). Without a row only the text is written; without text only the row is judged. */
static int leaf(const Filter *f, Input *in, const Row *row, char *text) {
  static const char *const operators[] = { "=", "<>", "<", "<=", ">", ">=", "is null", "is not null" };
  size_t column = next(in) % f->count;
  unsigned op = next(in) % 8;
  char constant[32] = "";
  const Cell *cell = row ? &row->cells[column] : NULL;
  Cell wanted = { INTEGER, 0, 0, 0, { NULL, 0 } };
  if (op < 6) wanted = leaf_constant(in, f->kinds[column], constant, sizeof constant);
  if (text) {
    char test[128];
    snprintf(test, sizeof test, "\"%s\" %s %s", f->names[column], operators[op], constant);
    append(text, test);
  }
  if (!cell) return 0;
  if (op >= 6) return cell->is_null == (op == 6);
  if (cell->is_null) return -1;
  int order = cell_order(cell, &wanted);
  int truths[] = { order == 0, order != 0, order<0, order <= 0, order> 0, order >= 0 };
  return truths[op];
}

static int judge(const Filter *f, Input *in, const Row *row, char *text, unsigned depth) {
  unsigned kind = depth ? next(in) % 6 : 5;
  if (kind > 2) return leaf(f, in, row, text);
  if (text) append(text, kind == 2 ? "not (" : "(");
  int first = judge(f, in, row, text, depth - 1), second = first;
  if (kind < 2) {
    if (text) append(text, kind ? " or " : " and ");
    second = judge(f, in, row, text, depth - 1);
  }
  if (text) append(text, ")");
  if (kind == 2) return truth_not(first);
  int absorbing = kind == 1;
  if (first == absorbing || second == absorbing) return absorbing;
  return first < 0 || second < 0 ? -1 : !absorbing;
}

static void filter_text(const Filter *f, Input *in, char *text) {
  text[0] = 0;
  judge(f, in, NULL, text, 3);
}
static int filter_has(const Filter *f, const Row *row) {
  Input in = f->from;
  return judge(f, &in, row, NULL, 3) == 1;
}

/* ---- what is asked ---- */

static void choose_keys(Fuzz *f) {
  unsigned which = next(&f->in);
  for (int i = 0; i < COLUMNS; i++) {
    if (!(which >> i & 1)) continue;
    f->names[f->key_count] = column_names[i];
    f->kinds[f->key_count] = column_kinds[i];
    f->keys[f->key_count++] = i;
  }
  f->width = f->key_count;
}

typedef struct Offer {
  int kind, column;
  const char *name;
  Kind result;
} Offer;
static const Offer offers[] = {
  { KVQUERY_ROWS, ID, "count(*)", INTEGER },
  { KVQUERY_VALUES, A, "count(a)", INTEGER },
  { KVQUERY_SUM, A, "sum(a)", INTEGER },
  { KVQUERY_SUM, X, "sum(x)", FLOAT },
  { KVQUERY_MIN, S, "min(s)", TEXT },
  { KVQUERY_MAX, S, "max(s)", TEXT },
  { KVQUERY_MIN, X, "min(x)", FLOAT },
  { KVQUERY_MAX, X, "max(x)", FLOAT },
  { KVQUERY_AVG, A, "avg(a)", FLOAT },
  { KVQUERY_COUNT_DISTINCT, A, "count(distinct a)", INTEGER },
  { KVQUERY_COUNT_DISTINCT, S, "count(distinct s)", INTEGER },
  { KVQUERY_COUNT_DISTINCT, X, "count(distinct x)", INTEGER },
  { KVQUERY_FIRST, X, "first(x)", FLOAT },
  { KVQUERY_LAST, S, "last(s)", TEXT },
  { KVQUERY_MEDIAN, A, "median(a)", INTEGER },
  { KVQUERY_QUANTILE(0.9), X, "quantile(x, 0.9)", FLOAT },
};
enum { OFFERS = sizeof offers / sizeof *offers };

static void choose_aggregates(Fuzz *f) {
  unsigned count = next(&f->in) % 6, start = next(&f->in), step = 1 + next(&f->in) % 5;
  for (unsigned i = 0; i < count; i++) {
    const Offer *offer = &offers[(start + i * step) % OFFERS];
    f->aggregates[f->aggregate_count++] = (KVAggregate){ offer->kind, column_names[offer->column] };
    f->names[f->width] = offer->name;
    f->kinds[f->width++] = offer->result;
  }
}

static const Offer *offer_of(const KVAggregate *a) {
  for (unsigned i = 0; i < OFFERS; i++) {
    if (offers[i].kind == a->kind && !strcmp(column_names[offers[i].column], a->column)) return &offers[i];
  }
  abort();
}

/* ---- the answer by plain loops ---- */

static Cell best(const Fuzz *f, const size_t *rows, size_t count, int column, int sign) {
  Cell found = { column_kinds[column], 1, 0, 0, { NULL, 0 } };
  for (size_t i = 0; i < count; i++) {
    const Cell *c = &f->rows[rows[i]].cells[column];
    if (!c->is_null && (found.is_null || cell_order(c, &found) * sign > 0)) found = *c;
  }
  return found;
}

static size_t values_in_order(const Fuzz *f, const size_t *rows, size_t count, int column, Cell *out) {
  size_t found = 0;
  for (size_t i = 0; i < count; i++) {
    const Cell *c = &f->rows[rows[i]].cells[column];
    if (c->is_null) continue;
    size_t at = found++;
    for (; at > 0 && cell_order(&out[at - 1], c) > 0; at--) out[at] = out[at - 1];
    out[at] = *c;
  }
  return found;
}

static Cell quantile(const Cell *values, size_t count, Kind kind, size_t millionths) {
  Cell none = { kind, 1, 0, 0, { NULL, 0 } };
  size_t place = (count * millionths + 999999) / 1000000;
  return count ? values[place ? place - 1 : 0] : none;
}

/* Quarters and integers: sums are exact, in whatever order. */
static Cell sum(const Cell *values, size_t count, Kind kind) {
  Cell total = { kind, count == 0, 0, 0, { NULL, 0 } };
  for (size_t i = 0; i < count; i++) {
    total.i += values[i].i;
    total.f += values[i].f;
  }
  return total;
}

static Cell aggregate(const Fuzz *f, const Offer *offer, const size_t *rows, size_t count) {
  static Cell values[ROWS_MAX];
  size_t found = values_in_order(f, rows, count, offer->column, values), different = 0;
  Cell result = { offer->result, 0, (int64_t)found, 0, { NULL, 0 } };
  for (size_t i = 0; i < found; i++) different += i == 0 || cell_order(&values[i - 1], &values[i]) != 0;
  switch (offer->kind) {
  case KVQUERY_ROWS: result.i = (int64_t)count; return result;
  case KVQUERY_VALUES: return result;
  case KVQUERY_COUNT_DISTINCT: result.i = (int64_t)different; return result;
  case KVQUERY_SUM: return sum(values, found, offer->result);
  case KVQUERY_MIN: return best(f, rows, count, offer->column, -1);
  case KVQUERY_MAX: return best(f, rows, count, offer->column, 1);
  case KVQUERY_AVG:
    result.is_null = found == 0;
    result.f = found ? (double)sum(values, found, INTEGER).i / (double)found : 0;
    return result;
  case KVQUERY_FIRST:
  case KVQUERY_LAST:
    result.is_null = 1;
    return count ? f->rows[rows[offer->kind == KVQUERY_FIRST ? 0 : count - 1]].cells[offer->column] : result;
  default: return quantile(values, found, offer->result, (size_t)offer->kind - 65536);
  }
}

static size_t group_of(Fuzz *f, const Row *keys) {
  for (size_t g = 0; g < f->expected_count; g++)
    if (rows_equal(&f->expected[g], keys, f->key_count)) return g;
  f->expected[f->expected_count] = *keys;
  f->member_count[f->expected_count] = 0;
  return f->expected_count++;
}

static void expect_groups(Fuzz *f, const Filter *where) {
  if (f->key_count == 0) f->member_count[f->expected_count++] = 0;
  for (size_t i = 0; i < f->row_count; i++) {
    Row keys = { 0 };
    if (!f->present[i] || !filter_has(where, &f->rows[i])) continue;
    for (size_t k = 0; k < f->key_count; k++) keys.cells[k] = f->rows[i].cells[f->keys[k]];
    size_t g = f->key_count ? group_of(f, &keys) : 0;
    f->members[g][f->member_count[g]++] = i;
  }
  for (size_t g = 0; g < f->expected_count; g++) {
    for (size_t i = 0; i < f->aggregate_count; i++)
      f->expected[g].cells[f->key_count + i] =
        aggregate(f, offer_of(&f->aggregates[i]), f->members[g], f->member_count[g]);
  }
}

static void expect_rows(Fuzz *f, const Filter *where) {
  for (size_t i = 0; i < f->row_count; i++) {
    if (!f->present[i] || !filter_has(where, &f->rows[i])) continue;
    for (size_t k = 0; k < f->width; k++) f->expected[f->expected_count].cells[k] = f->rows[i].cells[f->keys[k]];
    f->expected_count++;
  }
}

static void keep_having(Fuzz *f, const Filter *having) {
  size_t kept = 0;
  for (size_t g = 0; g < f->expected_count; g++)
    if (filter_has(having, &f->expected[g])) f->expected[kept++] = f->expected[g];
  f->expected_count = kept;
}

/* ---- the answer of the store ---- */

/* Strings are ours: they are few. */
static KVBytes own_text(const Fuzz *f, KVBytes text) {
  for (unsigned i = 0; i < TEXTS; i++) {
    KVBytes known = text_number(f, i);
    if (known.length == text.length && (!text.length || !memcmp(known.data, text.data, text.length))) return known;
  }
  broken(__LINE__, "a text that is in the table");
}

static size_t run(Fuzz *f, Row *rows) {
  KVCursor *cursor = NULL;
  size_t count = 0;
  int code = kvquery_open(f->query, &cursor);
  if (code == KVSTORE_OK) must(kvcursor_column_count(cursor) == f->width);
  while (code == KVSTORE_OK && (code = kvcursor_next(cursor)) == KVSTORE_OK) {
    must(count <= ROWS_MAX);
    for (size_t i = 0; i < f->width; i++) {
      KVValue value;
      must(kvcursor_value(cursor, i, &value) == KVSTORE_OK);
      Cell cell = cell_of(&value);
      must(cell.kind == f->kinds[i]);
      if (cell.kind == TEXT && !cell.is_null) cell.s = own_text(f, cell.s);
      rows[count].cells[i] = cell;
    }
    count++;
  }
  must(code == KVSTORE_NOTFOUND);
  kvcursor_close(cursor);
  return count;
}

static void same_set(const Fuzz *f, const Row *rows, size_t count) {
  static uint8_t used[ROWS_MAX + 1];
  memset(used, 0, sizeof used);
  must(count == f->expected_count);
  for (size_t i = 0; i < count; i++) {
    size_t g = 0;
    while (g < count && (used[g] || !rows_equal(&f->expected[g], &rows[i], f->width))) g++;
    must(g < count);
    used[g] = 1;
  }
}

/* The order asked for, which may name a column twice. */
static int ordered(const Fuzz *f, const KVOrder *order, size_t count, const Row *a, const Row *b) {
  for (size_t i = 0; i < count; i++) {
    size_t column = 0;
    while (strcmp(f->names[column], order[i].column) != 0) column++;
    const Cell *x = &a->cells[column], *y = &b->cells[column];
    if (x->is_null && y->is_null) continue;
    if (x->is_null || y->is_null) return x->is_null == !(order[i].flags & KVQUERY_NULLS_LAST);
    int difference = cell_order(x, y);
    if (difference) return (difference < 0) == !(order[i].flags & KVQUERY_DESCENDING);
  }
  return 1;
}

static void ask_in_order(Fuzz *f) {
  static Row all[ROWS_MAX + 1], part[ROWS_MAX + 1];
  KVOrder order[3];
  size_t order_count = next(&f->in) % 4, offset = next(&f->in), limit = next(&f->in);
  for (size_t i = 0; i < order_count; i++) {
    unsigned byte = next(&f->in);
    order[i] = (KVOrder){ f->names[byte / 4 % f->width], (int)byte % 4 };
  }
  must(kvquery_order_by(f->query, order, order_count) == KVSTORE_OK);
  size_t count = run(f, all);
  same_set(f, all, count);
  for (size_t i = 1; i < count; i++) must(ordered(f, order, order_count, &all[i - 1], &all[i]));
  must(kvquery_limit(f->query, offset, limit) == KVSTORE_OK);
  size_t left = offset < count ? count - offset : 0, few = run(f, part);
  must(few == (left < limit ? left : limit));
  for (size_t i = 0; i < few; i++) must(rows_equal(&part[i], &all[offset + i], f->width));
  must(kvquery_limit(f->query, 0, UINT64_MAX) == KVSTORE_OK);
}

/* Any text: a filter over the groups, or a sentence about what is wrong with it. */
static void ask_any_text(Fuzz *f) {
  static Row rows[ROWS_MAX + 1];
  size_t length = (size_t)(f->in.end - f->in.at);
  char text[TEXT_MAX];
  if (!length || length >= sizeof text) return;
  memcpy(text, f->in.at, length);
  text[length] = 0;
  KVCursor *cursor = NULL;
  int code = kvquery_having(f->query, text, NULL, 0);
  if (code == KVSTORE_OK) code = kvquery_open(f->query, &cursor);
  kvcursor_close(cursor);
  if (code == KVSTORE_OK)
    must(run(f, rows) <= f->group_count);
  else
    must(kvstore_errmsg(f->kv)[0]);
}

static void ask(Fuzz *f) {
  const char *names[COLUMNS];
  unsigned how = next(&f->in);
  int groups = how & 1;
  choose_keys(f);
  if (groups) choose_aggregates(f);
  if (!f->width) return;
  for (size_t i = 0; i < f->key_count; i++) names[i] = f->names[i];
  Filter where = { f->in, column_names, column_kinds, COLUMNS };
  filter_text(&where, &f->in, f->filter);
  must(kvquery_where(f->query, f->filter, NULL, 0) == KVSTORE_OK);
  must(kvquery_memory_limit(f->query, how & 2 ? 1 << 20 : 0) == KVSTORE_OK);
  if (!groups) {
    must(kvquery_select(f->query, names, f->key_count) == KVSTORE_OK);
    must(kvquery_distinct(f->query, how >> 2 & 1) == KVSTORE_OK);
    if (how & 4)
      expect_groups(f, &where);
    else
      expect_rows(f, &where);
    ask_in_order(f);
    return;
  }
  must(kvquery_group_by(f->query, names, f->key_count) == KVSTORE_OK);
  must(kvquery_compute(f->query, f->aggregates, f->aggregate_count) == KVSTORE_OK);
  expect_groups(f, &where);
  f->group_count = f->expected_count;
  Filter having = { f->in, f->names, f->kinds, f->width };
  filter_text(&having, &f->in, f->having);
  if (how & 8) {
    must(kvquery_having(f->query, f->having, NULL, 0) == KVSTORE_OK);
    keep_having(f, &having);
  }
  ask_in_order(f);
  ask_any_text(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static Fuzz f; /* large, and one at a time */
  memset(&f, 0, sizeof f);
  f.in = (Input){ data, data + size };
  KVStoreOptions options = KVSTORE_OPTIONS_INIT;
  options.background_off = 1;
  must(kvstore_open_with(NULL, &f.kv, &options) == KVSTORE_OK);
  const KVColumnDefinition columns[COLUMNS] = { { "id", KVTABLE_TYPE_I64, 0, 0 },
                                                { "a", KVTABLE_TYPE_I32, KVTABLE_NULLABLE, 0 },
                                                { "s", KVTABLE_TYPE_STRING, KVTABLE_NULLABLE, 0 },
                                                { "x", KVTABLE_TYPE_F64, KVTABLE_NULLABLE, 0 } };
  must(kvtable_create(f.kv, "t", columns, COLUMNS, column_names, 1, &f.table) == KVSTORE_OK);
  fill_table(&f);
  must(kvquery_create(f.table, &f.query) == KVSTORE_OK);
  ask(&f);
  kvquery_close(f.query);
  kvtable_close(f.table);
  must(kvstore_close(f.kv) == KVSTORE_OK);
  return 0;
}
