/* sorter.c - records in an arena, sorted by 8 bytes of their keys first. */
#include "query/sorter.h"

#include <stdlib.h>

#include "base/counters.h"
#include "base/keycode.h"
#include "base/memory.h"
#include "query/group_state.h"

enum { SLACK_ROWS = 2048 /* beyond those wanted, before the worse ones go */ };

/* A record: lengths of key and values, key, values. */
typedef struct Record {
  uint64_t head; /* the key's first bytes, so that most comparisons touch nothing else */
  int64_t rank;  /* of the first column: see rank_rows */
  uint8_t *bytes;
} Record;

struct Sorter {
  const ColumnType *types;
  uint32_t column_count;
  const OrderTerm *terms;
  size_t term_count;
  uint64_t keep;
  uint64_t row_number;
  Record *records;
  size_t record_count, record_capacity;
  Arena arena;
  Buffer key, values;
  bool has_bound; /* `bound` is the key of the last row that is wanted so far */
  Buffer bound;
  int64_t bound_rank;
  int64_t *ranks; /* of the rows of a batch */
  bool is_sorted;
  size_t at;
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
  if (type == QUERY_TYPE_DECIMAL) {
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
  } else if (type == QUERY_TYPE_DECIMAL) {
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
  buffer_u64(&s->key, __builtin_bswap64(s->row_number++));
  return buffer_status(&s->key);
}

/* ---- records ---- */

static Bytes record_key(const Record *r) { return (Bytes){ r->bytes + 8, load_u32(r->bytes) }; }
static const uint8_t *record_values(const Record *r) { return r->bytes + 8 + load_u32(r->bytes); }

static int compare_records(const void *a, const void *b) {
  const Record *x = a, *y = b;
  if (x->head != y->head) return x->head < y->head ? -1 : 1;
  Bytes left = record_key(x), right = record_key(y);
  return bytes_compare(left.data, left.length, right.data, right.length);
}

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

/* Keeps the best rows, in an arena of their own, and remembers the key of the last. */
static Status drop_worse(Sorter *s) {
  Arena kept = { 0 };
  sort_records(s);
  s->record_count = (size_t)s->keep;
  COUNT(sorts_cut);
  for (size_t i = 0; i < s->record_count; i++) {
    Record *r = &s->records[i];
    Bytes key = record_key(r);
    s->bound_rank = r->rank; /* at last: of the last */
    Status status = copy_record(&kept, key.data, key.length, record_values(r), load_u32(r->bytes + 4), r);
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
  s->has_bound = true;
  return buffer_status(&s->bound);
}

static bool is_wanted(const Sorter *s) {
  return !s->has_bound || bytes_compare(s->key.data, s->key.length, s->bound.data, s->bound.length) < 0;
}

static Status add_row(Sorter *s, const QueryBatch *batch, uint32_t row) {
  if (s->has_bound && s->ranks[row] > s->bound_rank) {
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
  return s->keep < SIZE_MAX / 4 && s->record_count >= 2 * (size_t)s->keep + SLACK_ROWS ? drop_worse(s) : KVSTORE_OK;
}

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

/* Equals come later, and so are not wanted, unless another column decides. */
bool sorter_bound(const Sorter *s, int64_t *least, int64_t *greatest, bool *nulls) {
  const OrderTerm *term = &s->terms[0];
  ColumnType type = s->types[term->column];
  bool ends_in_null = s->has_bound && s->bound.data[0] == (uint8_t)term->nulls_last;
  if (!s->has_bound || ends_in_null || type_is_string(type) || type == QUERY_TYPE_DECIMAL) return false;
  int64_t image = bound_image(s, term, type);
  bool strictly = s->term_count == 1;
  *least = term->descending ? image + (strictly && image < INT64_MAX) : INT64_MIN;
  *greatest = term->descending ? INT64_MAX : image - (strictly && image > INT64_MIN);
  *nulls = !term->nulls_last;
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
    memcpy(values + row * width, reader_take(in, width), width);
  }
}

Status sorter_next(Sorter *s, QueryBatch *batch) {
  if (!s->is_sorted) {
    sort_records(s);
    if (s->keep < s->record_count) s->record_count = (size_t)s->keep;
    s->is_sorted = true;
  }
  *batch = (QueryBatch){ .column_count = s->column_count, .columns = s->arrays };
  for (; s->at < s->record_count && batch->row_count < QUERY_BATCH_ROWS; s->at++, batch->row_count++) {
    const Record *r = &s->records[s->at];
    Reader in = reader_over(record_values(r), load_u32(r->bytes + 4));
    for (uint32_t c = 0; c < s->column_count; c++) unpack_value(s, c, batch->row_count, &in);
  }
  return KVSTORE_OK;
}

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
                     uint64_t keep, Sorter **out) {
  Sorter *s = memory_allocate_zeroed(sizeof *s);
  if (!s) return status_nomem();
  s->types = types;
  s->column_count = column_count;
  s->terms = terms;
  s->term_count = term_count;
  s->keep = keep;
  Status status = allocate(s);
  if (status == KVSTORE_OK)
    *out = s;
  else
    sorter_destroy(s);
  return status;
}

void sorter_destroy(Sorter *s) {
  if (!s) return;
  memory_release(s->records);
  arena_release(&s->arena);
  arena_release(&s->results);
  buffer_release(&s->key);
  buffer_release(&s->values);
  buffer_release(&s->bound);
  memory_release(s);
}
