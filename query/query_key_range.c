/* query_key_range.c - which keys a query looks at.
 *
 * A range of keys is two byte strings in the order of encoded keys (base/keycode.h): from the first on, before the
 * second. One comes from who asks for it; another from the filter's own terms: equalities on leading columns of the
 * key, and the ranges and prefixes on the first column that has no equality. A scan looks for both ends in each run and
 * asks the rows between them only what is left of the filter. Rows that are in no order are asked everything. */
#include "base/keycode.h"
#include "base/literal.h"
#include "base/memory.h"
#include "query/query_internal.h"

void query_keys_release(QueryKeys *keys) {
  buffer_release(&keys->asked_low);
  buffer_release(&keys->asked_high);
  buffer_release(&keys->asked_text);
  arena_release(&keys->asked_arena);
  buffer_release(&keys->low);
  buffer_release(&keys->high);
  arena_release(&keys->arena);
  *keys = (QueryKeys){ 0 };
}

Status query_scan(const Query *q, const TableSnapshot *snapshot, Scan **scan) {
  const QueryKeys *keys = &q->range;
  ScanComputer computer = program_computer(&q->program);
  const Predicate *where = keys->is_limited ? &keys->all : query_predicate(q);
  return scan_create_within(&q->schema, where, keys->is_limited ? &keys->scan : NULL, &computer, snapshot->now_ms,
                            scan);
}

/* ---- bytes ---- */

static int compare(const Buffer *a, const Buffer *b) { return bytes_compare(a->data, a->length, b->data, b->length); }

static void copy(Buffer *to, const Buffer *from) {
  buffer_clear(to);
  buffer_append(to, from->data, from->length);
  to->failed |= from->failed;
}

/* The least bytes above everything that begins with these; none when all are 0xff. */
static void make_successor(Buffer *bytes) {
  while (bytes->length && bytes->data[bytes->length - 1] == 0xff) bytes->length--;
  if (bytes->length) bytes->data[bytes->length - 1]++;
}

/* From `low` on there is nothing: a range that ends before the least key. */
static void make_nothing(Buffer *high) {
  buffer_clear(high);
  buffer_u8(high, 0);
}

/* Empty: no end. */
static void raise_low(Buffer *low, const Buffer *by) {
  if (by->length && (!low->length || compare(low, by) < 0)) copy(low, by);
  low->failed |= by->failed;
}
static void lower_high(Buffer *high, const Buffer *by) {
  if (by->length && (!high->length || compare(high, by) > 0)) copy(high, by);
  high->failed |= by->failed;
}

/* ---- what a term of the filter says of a column of the key ---- */

typedef struct KeyBounds {
  Buffer low, high; /* of encoded keys, those of the columns before included */
  Buffer one;       /* the end that is being made */
} KeyBounds;

static void bounds_release(KeyBounds *b) {
  buffer_release(&b->low);
  buffer_release(&b->high);
  buffer_release(&b->one);
}

static double float_of_image(int64_t image) {
  double value;
  int64_t bits = image >= 0 ? image : (int64_t)(UINT64_C(0x8000000000000000) - (uint64_t)image);
  if (image == INT64_MAX) return __builtin_nan("");
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* The last value of a range that ends below NaN is infinity: images between the two are of no float. */
static int64_t last_image(ColumnType type, int64_t image) {
  int64_t infinity = float_image(__builtin_inf());
  return type_is_float(type) && image > infinity && image < INT64_MAX ? infinity : image;
}

static Value value_of_image(ColumnType type, int64_t image) {
  if (type_is_float(type)) return (Value){ .type = type, .f = float_of_image(image) };
  return (Value){ .type = type, .u = (uint64_t)image ^ (type == TYPE_U64 ? UINT64_C(1) << 63 : 0) };
}

static bool has_exact_image(ColumnType type) { return !type_is_string(type); }

/* Fixed bytes have no end of their own in a key, so that only a bound of just their length stands for itself. */
static bool fits_column(const Column *column, Bytes bound, bool missing) {
  return missing || !type_is_fixed(column->type) || bound.length == column->width;
}

static bool is_usable(const PredicateNode *term, const Column *column) {
  const Compare *c = &term->compare;
  if (term->kind != PREDICATE_LEAF || c->negated) return false;
  if (c->kind == COMPARE_KIND_PREFIX) return column->type == TYPE_STRING || column->type == TYPE_BYTES;
  if (c->kind != COMPARE_KIND_RANGE) return false;
  if (!type_is_string(column->type)) return has_exact_image(column->type);
  return fits_column(column, c->low_bytes, c->low_missing) && fits_column(column, c->high_bytes, c->high_missing);
}

static void begin_end(KeyBounds *b, const Buffer *prefix, const Value *value) {
  copy(&b->one, prefix);
  keycode_append(&b->one, value, false);
}

static void add_low(KeyBounds *b, const Buffer *prefix, Value value, bool excluded) {
  begin_end(b, prefix, &value);
  if (excluded) make_successor(&b->one);
  if (!b->one.length) make_nothing(&b->high);
  raise_low(&b->low, &b->one);
}

static void add_high(KeyBounds *b, const Buffer *prefix, Value value, bool excluded) {
  begin_end(b, prefix, &value);
  if (!excluded) make_successor(&b->one);
  lower_high(&b->high, &b->one);
}

/* Strings that begin with the bytes: their encoded form but for its two zeros at the end. */
static void add_prefix(KeyBounds *b, const Buffer *prefix, Value value) {
  begin_end(b, prefix, &value);
  if (b->one.length >= 2) b->one.length -= 2;
  raise_low(&b->low, &b->one);
  make_successor(&b->one);
  lower_high(&b->high, &b->one);
}

/* Adds what the term says; whether it leaves one value. */
static bool add_term(KeyBounds *b, const Buffer *prefix, const Column *column, const Compare *c) {
  Value low = { .type = column->type }, high = low;
  low.s = c->low_bytes;
  high.s = c->high_bytes;
  if (c->kind == COMPARE_KIND_PREFIX) {
    add_prefix(b, prefix, low);
    return false;
  }
  if (!type_is_string(column->type)) {
    add_low(b, prefix, value_of_image(column->type, c->low), false);
    add_high(b, prefix, value_of_image(column->type, last_image(column->type, c->high)), false);
    return c->low == c->high;
  }
  if (!c->low_missing) add_low(b, prefix, low, c->low_excluded);
  if (!c->high_missing) add_high(b, prefix, high, c->high_excluded);
  return !c->low_missing && !c->high_missing && !c->low_excluded && !c->high_excluded &&
         bytes_compare(low.s.data, low.s.length, high.s.data, high.s.length) == 0;
}

/* ---- the terms of the filter ---- */

typedef struct Derivation {
  const Query *query;
  const PredicateNode **terms; /* those that are left; NULL: used up */
  size_t term_count;
  Buffer prefix; /* columns that have one value */
  KeyBounds bounds;
  uint32_t column_count;
} Derivation;

/* Takes the terms on column `k` of the key into the bounds; *more: it has one value, and the next may be looked at. */
static void derive_column(Derivation *d, uint32_t k, bool *more) {
  const Schema *schema = &d->query->schema;
  const Column *column = &schema->columns[schema->key_columns[k]];
  bool found = false, is_one = false;
  for (size_t i = 0; i < d->term_count; i++) {
    const PredicateNode *term = d->terms[i];
    if (!term || term->column != schema->key_columns[k] || !is_usable(term, column)) continue;
    is_one |= add_term(&d->bounds, &d->prefix, column, &term->compare);
    d->terms[i] = NULL;
    found = true;
  }
  d->column_count += found;
  *more = is_one;
}

static Status derive_terms(Derivation *d) {
  const Schema *schema = &d->query->schema;
  bool more = true;
  for (uint32_t k = 0; k < schema->key_count && more; k++) {
    derive_column(d, k, &more);
    if (more) copy(&d->prefix, &d->bounds.low); /* all keys of the range begin with it */
  }
  TRY(buffer_status(&d->prefix));
  TRY(buffer_status(&d->bounds.low));
  return buffer_status(&d->bounds.high);
}

static Status collect_terms(Derivation *d, const Predicate *where, Arena *arena) {
  d->term_count = where ? predicate_term_count(where) : 0;
  d->terms = arena_allocate(arena, memory_array_size(d->term_count + 1, sizeof *d->terms));
  if (!d->terms) return status_nomem();
  for (size_t i = 0; i < d->term_count; i++) d->terms[i] = predicate_term(where, i);
  return KVSTORE_OK;
}

/* The filter for arrays: what was asked, and all of `where`; that for segments: what is left of `where`. */
static Status make_filters(QueryKeys *made, const QueryKeys *asked, const Predicate *where, Derivation *d) {
  const PredicateNode *both[2];
  size_t count = 0, left = 0;
  if (asked->asked.root) both[count++] = asked->asked.root;
  if (where) both[count++] = where->root;
  TRY(predicate_of_terms(both, count, NULL, &made->arena, &made->all));
  for (size_t i = 0; i < d->term_count; i++)
    if (d->terms[i]) d->terms[left++] = d->terms[i];
  return predicate_of_terms(d->terms, left, NULL, &made->arena, &made->inside);
}

static Bytes end_of(const Buffer *end) { return end->length ? (Bytes){ end->data, end->length } : (Bytes){ 0 }; }

static Status derive(const Query *q, const QueryKeys *asked, const Predicate *where, QueryKeys *made) {
  Derivation d = { .query = q };
  Status status = collect_terms(&d, where, &made->arena);
  if (status == KVSTORE_OK) status = derive_terms(&d);
  if (status == KVSTORE_OK) {
    made->low = d.bounds.low;
    made->high = d.bounds.high;
    d.bounds.low = d.bounds.high = (Buffer){ 0 };
    raise_low(&made->low, &asked->asked_low);
    lower_high(&made->high, &asked->asked_high);
    made->column_count = d.column_count;
    made->is_limited = made->low.length || made->high.length;
    status = made->low.failed || made->high.failed ? status_nomem() : KVSTORE_OK;
  }
  if (status == KVSTORE_OK && made->is_limited) status = make_filters(made, asked, where, &d);
  buffer_release(&d.prefix);
  bounds_release(&d.bounds);
  return status;
}

/* Puts what was made into the query; what was asked for stays. */
static void take(QueryKeys *keys, const QueryKeys *made) {
  buffer_release(&keys->low);
  buffer_release(&keys->high);
  arena_release(&keys->arena);
  keys->is_limited = made->is_limited;
  keys->arena = made->arena;
  keys->low = made->low;
  keys->high = made->high;
  keys->all = made->all;
  keys->inside = made->inside;
  keys->column_count = made->column_count;
  keys->scan = (ScanKeys){ end_of(&keys->low), end_of(&keys->high), &keys->inside };
}

Status query_keys_derive(Query *q, const Predicate *where) {
  QueryKeys made = { 0 };
  Status status = derive(q, &q->range, where && where->root ? where : NULL, &made);
  if (status == KVSTORE_OK)
    take(&q->range, &made);
  else
    query_keys_release(&made);
  return status;
}

/* ---- a range that is asked for ---- */

static Status check_values(const Schema *schema, const Value *values, size_t count) {
  if (count > schema->key_count)
    return status_fail(KVSTORE_SCHEMA, "a range of keys with %zu columns: the key has %u", count, schema->key_count);
  for (size_t k = 0; k < count; k++) {
    const Column *column = &schema->columns[schema->key_columns[k]];
    if (values[k].is_null || values[k].type != column->type)
      return status_fail_at(KVSTORE_TYPE, UINT64_MAX, column->name, NULL, "column %s of the key is %s, and never null",
                            column->name, type_name(column->type));
  }
  return KVSTORE_OK;
}

static Status encode(const Value *values, size_t count, bool successor, Buffer *out) {
  for (size_t k = 0; k < count; k++) keycode_append(out, &values[k], false);
  if (successor) make_successor(out);
  return buffer_status(out);
}

static Status new_term(Arena *arena, PredicateTermKind kind, size_t count, PredicateTerm **out) {
  PredicateTerm *term = arena_allocate_zeroed(arena, sizeof *term);
  if (!term) return status_nomem();
  term->kind = kind;
  term->count = (uint32_t)count;
  *out = term;
  return KVSTORE_OK;
}

static Status compare_term(Arena *arena, uint32_t column, CompareOperator op, const Value *value, PredicateTerm **out) {
  TRY(new_term(arena, TERM_COMPARE, 1, out));
  (*out)->op = op;
  (*out)->column = column;
  (*out)->constants = value;
  return KVSTORE_OK;
}

static Status pair_term(Arena *arena, PredicateTermKind kind, PredicateTerm *a, PredicateTerm *b, PredicateTerm **out) {
  const PredicateTerm **terms = arena_allocate(arena, 2 * sizeof *terms);
  if (!terms) return status_nomem();
  terms[0] = a;
  terms[1] = b;
  TRY(new_term(arena, kind, 2, out));
  (*out)->terms = terms;
  return KVSTORE_OK;
}

/* (a, b, c) >= (1, 2, 3) as a > 1 or (a = 1 and (b > 2 or (b = 2 and c >= 3))), from the last column on. */
static Status range_term(const Schema *schema, Arena *arena, const Value *values, size_t count, bool is_from,
                         bool included, PredicateTerm **out) {
  CompareOperator strict = is_from ? COMPARE_GREATER : COMPARE_LESS;
  CompareOperator last = !included ? strict : is_from ? COMPARE_GREATER_EQUAL : COMPARE_LESS_EQUAL;
  TRY(compare_term(arena, schema->key_columns[count - 1], last, &values[count - 1], out));
  for (size_t k = count - 1; k-- > 0;) {
    PredicateTerm *beyond, *equal, *rest;
    TRY(compare_term(arena, schema->key_columns[k], strict, &values[k], &beyond));
    TRY(compare_term(arena, schema->key_columns[k], COMPARE_EQUAL, &values[k], &equal));
    TRY(pair_term(arena, TERM_AND, equal, *out, &rest));
    TRY(pair_term(arena, TERM_OR, beyond, rest, out));
  }
  return KVSTORE_OK;
}

static Status bind_range(const Schema *schema, const QueryKeyRange *range, QueryKeys *asked) {
  Arena arena = { 0 };
  PredicateTerm *from = NULL, *to = NULL, *both = NULL;
  Status status = KVSTORE_OK;
  if (range->from_count)
    status = range_term(schema, &arena, range->from, range->from_count, true, !range->from_excluded, &from);
  if (status == KVSTORE_OK && range->to_count)
    status = range_term(schema, &arena, range->to, range->to_count, false, range->to_included, &to);
  both = from ? from : to;
  if (status == KVSTORE_OK && from && to) status = pair_term(&arena, TERM_AND, from, to, &both);
  if (status == KVSTORE_OK && both) status = predicate_bind(schema, both, &asked->asked_arena, &asked->asked);
  arena_release(&arena);
  return status;
}

static void print_end(const char *word, const Value *values, size_t count, Buffer *out) {
  if (!count) return;
  if (out->length) buffer_u8(out, ' ');
  buffer_text(out, word);
  for (size_t k = 0; k < count; k++) {
    buffer_text(out, k ? ", " : " (");
    literal_print(&values[k], out);
  }
  buffer_u8(out, ')');
}

static Status ask(const Schema *schema, const QueryKeyRange *range, QueryKeys *asked) {
  TRY(check_values(schema, range->from, range->from_count));
  TRY(check_values(schema, range->to, range->to_count));
  TRY(encode(range->from, range->from_count, range->from_excluded, &asked->asked_low));
  TRY(encode(range->to, range->to_count, range->to_included, &asked->asked_high));
  if (range->from_count && !asked->asked_low.length) make_nothing(&asked->asked_high);
  TRY(bind_range(schema, range, asked));
  print_end(range->from_excluded ? "behind" : "from", range->from, range->from_count, &asked->asked_text);
  print_end(range->to_included ? "to" : "before", range->to, range->to_count, &asked->asked_text);
  return buffer_status(&asked->asked_text);
}

Status query_key_range(Query *q, const QueryKeyRange *range) {
  QueryKeys asked = { 0 };
  Status status = ask(&q->schema, range, &asked);
  if (status == KVSTORE_OK) status = derive(q, &asked, query_predicate(q), &asked);
  if (status != KVSTORE_OK) {
    query_keys_release(&asked);
    return status;
  }
  query_keys_release(&q->range);
  q->range = asked;
  q->range.scan = (ScanKeys){ end_of(&q->range.low), end_of(&q->range.high), &q->range.inside };
  return KVSTORE_OK;
}

/* ---- keys of pairs ---- */

/* Appends what the bytes of an encoded string say; how many of them are left, from its end on. */
static size_t unescape(const Buffer *encoded, Buffer *raw) {
  size_t at = 0;
  while (at < encoded->length) {
    bool is_zero = !encoded->data[at];
    if (is_zero && (at + 1 == encoded->length || encoded->data[at + 1] != 0xff)) break;
    buffer_u8(raw, encoded->data[at]);
    at += 1 + is_zero;
  }
  return encoded->length - at;
}

/* Whether what is left of encoded bytes are these two: 0 0 ends a string, 0 1 comes right behind it. */
static bool is_rest(const Buffer *encoded, size_t left, uint8_t last) {
  return left == 2 && !encoded->data[encoded->length - 2] && encoded->data[encoded->length - 1] == last;
}

Status query_pair_range(const Query *q, Buffer *lower, Buffer *upper) {
  const QueryKeys *keys = &q->range;
  size_t left = unescape(&keys->low, lower);
  if (is_rest(&keys->low, left, 1)) buffer_u8(lower, 0); /* behind the key itself */
  left = unescape(&keys->high, upper);
  if (is_rest(&keys->high, left, 1))
    buffer_u8(upper, 0); /* with the key itself */
  else if (left && !is_rest(&keys->high, left, 0))
    make_successor(upper); /* with all that begin so */
  TRY(buffer_status(lower));
  return buffer_status(upper);
}
