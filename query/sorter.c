/* sorter.c - records in an arena, sorted by 8 bytes of their keys first. */
#include "query/sorter.h"

#include <stdlib.h>

#include "base/counters.h"
#include "base/keycode.h"
#include "base/memory.h"
#include "query/group_state.h"
#include "query/spill.h"

enum {
  /* Beyond those wanted, before the worse ones go. Few: a bound that is found early spares reading most rows. */
  SLACK_ROWS = 64,
  MEMORY_LEAST = 1 << 14, /* a run is not shorter, however little there is */
};

struct Sorter {
  const ColumnType *types;
  uint32_t column_count;
  const OrderTerm *terms;
  size_t term_count;
  uint64_t keep;
  const QuerySpace *space;
  Spill *spill; /* NULL: all is in memory */
  uint64_t row_number;
  Record *records;
  size_t record_count, record_capacity;
  Arena arena;
  Buffer key, values;
  bool has_bound; /* `bound` is the key of the last row that is wanted so far */
  Buffer bound;
  int64_t bound_rank;
  _Atomic int64_t *worst; /* the least bound_rank of all that share it; NULL: nobody does */
  int64_t *ranks;         /* of the rows of a batch */
  bool is_sorted;
  size_t at;     /* records given */
  Arena strings; /* of the current batch, when it comes from runs */
  Arena results;
  ColumnArray *arrays;
};

/* ---- keys ---- */

static void append_decimal(Buffer *out, const Int128 *v) {
  buffer_u64(out, __builtin_bswap64((uint64_t)v->high ^ UINT64_C(1) << 63));
  buffer_u64(out, __builtin_bswap64(v->low));
}

static bool row_is_null(const ColumnArray *a, uint32_t row) { return a->nulls && a->nulls[row]; }

static void append_term(const Sorter *s, const OrderTerm *term, const QueryBatch *batch, uint32_t row, Buffer *out) {
  const ColumnArray *a = &batch->columns[term->column];
  ColumnType type = s->types[term->column];
  bool is_null = row_is_null(a, row);
  buffer_u8(out, is_null == term->nulls_last);
  if (is_null) return;
  size_t from = out->length;
  if (query_type_is_wide(type)) {
    append_decimal(out, (const Int128 *)a->values + row);
  } else {
    Value v = value_from_array(type, a->values, row);
    keycode_append(out, &v, false);
  }
  for (size_t i = from; term->descending && i < out->length; i++) out->data[i] = (uint8_t)~out->data[i];
}

/* A number for each row that never orders two rows otherwise than their keys do: most rows that are not wanted are told
 * by it. */
static void rank_rows(Sorter *s, const QueryBatch *batch) {
  const OrderTerm *term = &s->terms[0];
  const ColumnArray *a = &batch->columns[term->column];
  ColumnType type = s->types[term->column];
  if (type_is_string(type)) {
    for (uint32_t i = 0; i < batch->row_count; i++)
      s->ranks[i] = row_is_null(a, i) ? 0 : bytes_image(((const Bytes *)a->values)[i]);
  } else if (query_type_is_wide(type)) {
    for (uint32_t i = 0; i < batch->row_count; i++) {
      Int128 v = ((const Int128 *)a->values)[i];
      bool fits = v.high == (int64_t)v.low >> 63;
      s->ranks[i] = fits ? (int64_t)v.low : v.high < 0 ? INT64_MIN : INT64_MAX;
    }
  } else {
    group_images(type, a->values, batch->row_count, s->ranks);
  }
  for (uint32_t i = 0; term->descending && i < batch->row_count; i++) s->ranks[i] = ~s->ranks[i];
  for (uint32_t i = 0; a->nulls && i < batch->row_count; i++) {
    if (a->nulls[i]) s->ranks[i] = term->nulls_last ? INT64_MAX : INT64_MIN;
  }
}

static Status make_key(Sorter *s, const QueryBatch *batch, uint32_t row) {
  buffer_clear(&s->key);
  for (size_t i = 0; i < s->term_count; i++) append_term(s, &s->terms[i], batch, row, &s->key);
  buffer_u64(&s->key, __builtin_bswap64(s->row_number));
  s->row_number++;
  return buffer_status(&s->key);
}

/* ---- records ---- */

static int compare_records(const void *a, const void *b) { return record_compare(a, b); }

static void pack_values(const Sorter *s, const QueryBatch *batch, uint32_t row, Buffer *out) {
  buffer_clear(out);
  for (uint32_t c = 0; c < s->column_count; c++) {
    const ColumnArray *a = &batch->columns[c];
    bool is_null = row_is_null(a, row);
    buffer_u8(out, is_null);
    if (is_null) continue;
    if (type_is_string(s->types[c])) {
      Bytes b = ((const Bytes *)a->values)[row];
      buffer_bytes(out, b.data, b.length);
    } else {
      size_t width = query_type_width(s->types[c]);
      buffer_append(out, (const uint8_t *)a->values + row * width, width);
    }
  }
}

static Status copy_record(Arena *arena, const void *key, size_t key_length, const void *values, size_t length,
                          Record *out) {
  if (key_length > UINT32_MAX / 2 || length > UINT32_MAX / 2)
    return status_fail(KVSTORE_LIMIT, "a row of %zu bytes, too long to be sorted", key_length + length);
  out->bytes = arena_allocate(arena, 8 + key_length + length);
  if (!out->bytes) return status_nomem();
  store_u32(out->bytes, (uint32_t)key_length);
  store_u32(out->bytes + 4, (uint32_t)length);
  memcpy(out->bytes + 8, key, key_length);
  if (length) memcpy(out->bytes + 8 + key_length, values, length);
  out->head = bytes_prefix64(out->bytes + 8, key_length);
  return KVSTORE_OK;
}

/* ---- the rows that are wanted ---- */

static void sort_records(Sorter *s) {
  if (s->record_count > 1) qsort(s->records, s->record_count, sizeof *s->records, compare_records);
}

/* The rank beyond which no row is wanted. */
static int64_t worst_rank(const Sorter *s) {
  int64_t own = s->has_bound ? s->bound_rank : INT64_MAX;
  int64_t all = s->worst ? atomic_load_explicit(s->worst, memory_order_relaxed) : INT64_MAX;
  return own < all ? own : all;
}

static void tell_worst(Sorter *s) {
  if (!s->worst) return;
  int64_t all = atomic_load_explicit(s->worst, memory_order_relaxed);
  while (s->bound_rank < all && !atomic_compare_exchange_weak(s->worst, &all, s->bound_rank)) {}
}

/* Keeps the best rows, in an arena of their own, and remembers the key of the last. */
static Status drop_worse(Sorter *s) {
  Arena kept = { 0 };
  sort_records(s);
  s->record_count = (size_t)s->keep;
  COUNT(sorts_cut);
  for (size_t i = 0; i < s->record_count; i++) {
    Record *r = &s->records[i];
    Bytes key = record_key(r), values = record_values(r);
    s->bound_rank = r->rank; /* at last: of the last */
    Status status = copy_record(&kept, key.data, key.length, values.data, values.length, r);
    if (status != KVSTORE_OK) {
      arena_release(&s->arena);
      s->record_count = 0;
      s->arena = kept;
      return status;
    }
  }
  arena_release(&s->arena);
  s->arena = kept;
  Bytes last = record_key(&s->records[s->record_count - 1]);
  buffer_clear(&s->bound);
  buffer_append(&s->bound, last.data, last.length);
  TRY(buffer_status(&s->bound));
  s->has_bound = true;
  tell_worst(s);
  return KVSTORE_OK;
}

uint64_t sorter_bytes(const Sorter *s) { return s->arena.bytes_held + s->record_capacity * sizeof *s->records; }

/* What is in memory becomes a run. */
static Status spill_records(Sorter *s) {
  if (!s->spill) TRY(spill_create(s->space, &s->spill));
  sort_records(s);
  if (s->keep < s->record_count) s->record_count = (size_t)s->keep;
  TRY(spill_run(s->spill, s->records, s->record_count));
  memory_release(s->records);
  s->records = NULL;
  s->record_count = s->record_capacity = 0;
  arena_release(&s->arena);
  return KVSTORE_OK;
}

static bool is_wanted(const Sorter *s) {
  return !s->has_bound || bytes_compare(s->key.data, s->key.length, s->bound.data, s->bound.length) < 0;
}

static Status add_row(Sorter *s, const QueryBatch *batch, uint32_t row) {
  if (s->ranks[row] > worst_rank(s)) {
    s->row_number++;
    return KVSTORE_OK;
  }
  TRY(make_key(s, batch, row));
  if (!is_wanted(s)) return KVSTORE_OK;
  pack_values(s, batch, row, &s->values);
  TRY(buffer_status(&s->values));
  TRY(memory_grow(&s->records, &s->record_capacity, s->record_count + 1, sizeof *s->records));
  TRY(
    copy_record(&s->arena, s->key.data, s->key.length, s->values.data, s->values.length, &s->records[s->record_count]));
  s->records[s->record_count++].rank = s->ranks[row];
  if (s->keep < SIZE_MAX / 4 && s->record_count >= 2 * (size_t)s->keep + SLACK_ROWS) TRY(drop_worse(s));
  uint64_t limit = s->space && s->space->memory_limit > MEMORY_LEAST ? s->space->memory_limit : MEMORY_LEAST;
  return s->space && sorter_bytes(s) > limit ? spill_records(s) : KVSTORE_OK;
}

void sorter_number(Sorter *s, uint64_t number) { s->row_number = number; }

Status sorter_add(Sorter *s, const QueryBatch *batch) {
  if (s->keep == 0) return KVSTORE_OK;
  rank_rows(s, batch);
  for (uint32_t row = 0; row < batch->row_count; row++) TRY(add_row(s, batch, row));
  return KVSTORE_OK;
}

/* The image of the key's first column, which is a number and not null. */
static int64_t bound_image(const Sorter *s, const OrderTerm *term, ColumnType type) {
  uint8_t bytes[8] = { 0 };
  size_t width = type_is_float(type) ? 8 : type_array_width(type);
  for (size_t i = 0; i < width; i++) bytes[i] = s->bound.data[1 + i] ^ (term->descending ? 0xff : 0);
  unsigned shift = (64 - 8 * (unsigned)width) % 64;
  uint64_t image = load_u64_big_endian(bytes), sign = UINT64_C(1) << 63;
  if (type_is_signed(type) || type_is_float(type)) return (int64_t)(image ^ sign) >> shift;
  return (int64_t)(type == TYPE_U64 ? image ^ sign : image >> shift);
}

/* Another's bound: equals may lie before its rows, and so are wanted. Its rank is the image, and of a null an end. */
static bool bound_of_others(const Sorter *s, const OrderTerm *term, int64_t *least, int64_t *greatest) {
  int64_t worst = worst_rank(s);
  if (worst == INT64_MAX || (s->has_bound && worst == s->bound_rank)) return false;
  *least = term->descending ? ~worst : INT64_MIN;
  *greatest = term->descending ? INT64_MAX : worst;
  return true;
}

/* Equals come later, and so are not wanted, unless another column decides. */
bool sorter_bound(const Sorter *s, int64_t *least, int64_t *greatest, bool *nulls) {
  const OrderTerm *term = &s->terms[0];
  ColumnType type = s->types[term->column];
  bool ends_in_null = s->has_bound && s->bound.data[0] == (uint8_t)term->nulls_last;
  if (type_is_string(type) || query_type_is_wide(type)) return false;
  *nulls = !term->nulls_last;
  if (bound_of_others(s, term, least, greatest)) return true;
  if (!s->has_bound || ends_in_null) return false;
  int64_t image = bound_image(s, term, type);
  bool strictly = s->term_count == 1;
  *least = term->descending ? image + (strictly && image < INT64_MAX) : INT64_MIN;
  *greatest = term->descending ? INT64_MAX : image - (strictly && image > INT64_MIN);
  return true;
}

/* ---- results ---- */

static void unpack_value(const Sorter *s, uint32_t column, uint32_t row, Reader *in) {
  ColumnType type = s->types[column];
  size_t width = query_type_width(type);
  uint8_t *values = (uint8_t *)(uintptr_t)s->arrays[column].values;
  uint8_t *nulls = (uint8_t *)(uintptr_t)s->arrays[column].nulls;
  nulls[row] = reader_u8(in);
  if (nulls[row]) {
    memset(values + row * width, 0, width);
  } else if (type_is_string(type)) {
    ((Bytes *)values)[row] = reader_bytes(in);
  } else {
    const uint8_t *bytes = reader_take(in, width);
    if (bytes) memcpy(values + row * width, bytes, width);
  }
}

/* The sorted rows that are in memory become a run that stays there. */
static Status hold_records(Sorter *s, Sorter *of) {
  if (!of->record_count) return KVSTORE_OK;
  TRY(spill_hold(s->spill, of->records, of->record_count, &of->arena));
  of->records = NULL;
  of->record_count = of->record_capacity = 0;
  return KVSTORE_OK;
}

Status sorter_end(Sorter *s) {
  s->is_sorted = true;
  if (s->spill && spill_bytes(s->spill)) return spill_records(s);
  sort_records(s);
  if (s->keep < s->record_count) s->record_count = (size_t)s->keep;
  return s->spill ? hold_records(s, s) : KVSTORE_OK;
}

Status sorter_take_over(Sorter *s, Sorter *other) {
  if (!s->spill) TRY(spill_create(s->space, &s->spill));
  TRY(hold_records(s, other));
  if (other->spill) TRY(spill_take_over(s->spill, other->spill));
  COUNT(sorters_merged);
  return KVSTORE_OK;
}

/* Records lie as they came, and are asked for in another order: each is fetched some time before. */
static void fetch_ahead(const Sorter *s) {
  if (s->at + RECORDS_AHEAD < s->record_count) record_fetch(&s->records[s->at + RECORDS_AHEAD]);
}

/* The values of the next record; NULL at the end. From a run outside they are copied: its piece may go. */
static Status next_values(Sorter *s, Bytes *values) {
  const Record *r;
  *values = (Bytes){ NULL, 0 };
  if (!s->spill) {
    fetch_ahead(s);
    if (s->at < s->record_count) *values = record_values(&s->records[s->at++]);
    return KVSTORE_OK;
  }
  if (s->at == s->keep) return KVSTORE_OK;
  TRY(spill_next(s->spill, &r));
  if (!r) return KVSTORE_OK;
  s->at++;
  *values = record_values(r);
  if (spill_bytes(s->spill) == 0) return KVSTORE_OK;
  values->data = arena_copy(&s->strings, values->data, values->length);
  return values->data ? KVSTORE_OK : status_nomem();
}

Status sorter_next(Sorter *s, QueryBatch *batch) {
  if (!s->is_sorted) TRY(sorter_end(s));
  arena_reset(&s->strings);
  *batch = (QueryBatch){ .column_count = s->column_count, .columns = s->arrays };
  for (; batch->row_count < QUERY_BATCH_ROWS; batch->row_count++) {
    Bytes values;
    TRY(next_values(s, &values));
    if (!values.data) return KVSTORE_OK;
    Reader in = reader_over(values.data, values.length);
    for (uint32_t c = 0; c < s->column_count; c++) unpack_value(s, c, batch->row_count, &in);
    if (in.failed) return status_fail(KVSTORE_CORRUPT, "a query's scratch file holds a row cut short");
  }
  return KVSTORE_OK;
}

uint64_t sorter_spilled(const Sorter *s) { return s->spill ? spill_bytes(s->spill) : 0; }

/* ---- life ---- */

static Status allocate(Sorter *s) {
  s->arrays = arena_allocate_zeroed(&s->results, (s->column_count + 1) * sizeof *s->arrays);
  s->ranks = arena_allocate_aligned(&s->results, 64, QUERY_BATCH_ROWS * sizeof *s->ranks);
  if (!s->arrays || !s->ranks) return status_nomem();
  for (uint32_t c = 0; c < s->column_count; c++) {
    s->arrays[c].values = arena_allocate_aligned(&s->results, 64, QUERY_BATCH_ROWS * query_type_width(s->types[c]));
    s->arrays[c].nulls = arena_allocate(&s->results, QUERY_BATCH_ROWS);
    if (!s->arrays[c].values || !s->arrays[c].nulls) return status_nomem();
  }
  return KVSTORE_OK;
}

Status sorter_create(const ColumnType *types, uint32_t column_count, const OrderTerm *terms, size_t term_count,
                     const SorterOptions *options, Sorter **out) {
  Sorter *s = memory_allocate_zeroed(sizeof *s);
  if (!s) return status_nomem();
  s->types = types;
  s->column_count = column_count;
  s->terms = terms;
  s->term_count = term_count;
  s->keep = options->keep;
  s->space = options->space;
  s->worst = options->worst;
  Status status = allocate(s);
  if (status == KVSTORE_OK)
    *out = s;
  else
    sorter_destroy(s);
  return status;
}

void sorter_destroy(Sorter *s) {
  if (!s) return;
  spill_destroy(s->spill);
  memory_release(s->records);
  arena_release(&s->arena);
  arena_release(&s->strings);
  arena_release(&s->results);
  buffer_release(&s->key);
  buffer_release(&s->values);
  buffer_release(&s->bound);
  memory_release(s);
}
