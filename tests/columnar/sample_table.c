#include "tests/columnar/sample_table.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/encoding.h"
#include "base/hash.h"
#include "base/keycode.h"
#include "base/memory.h"
#include "tests/support/test.h"

/* ---- schemas ---- */

void sample_add_column(SampleTable *t, ColumnType type, uint32_t flags) {
  uint32_t number = t->schema.column_count++;
  char name[32];
  snprintf(name, sizeof name, "c%u_%s", number, type_name(type));
  t->columns[number] = (Column){ .id = 10 + number * 3,
                                 .type = type,
                                 .flags = flags,
                                 .width = type == TYPE_FIXED_BYTES ? 7
                                          : type == TYPE_UUID      ? UUID_BYTES
                                                                   : 0,
                                 .name = arena_copy_string(&t->arena, name, strlen(name)) };
  t->schema.columns = t->columns;
  t->schema.version = 4;
}

void sample_add_key(SampleTable *t, uint32_t column) { t->schema.key_columns[t->schema.key_count++] = column; }

void sample_every_type(SampleTable *t) {
  static const ColumnType types[] = { TYPE_I64,         TYPE_BOOL,       TYPE_I8,        TYPE_I16,      TYPE_I32,
                                      TYPE_U8,          TYPE_U16,        TYPE_U32,       TYPE_U64,      TYPE_F32,
                                      TYPE_F64,         TYPE_DATE,       TYPE_TIMESTAMP, TYPE_STRING,   TYPE_BYTES,
                                      TYPE_FIXED_BYTES, TYPE_I64,        TYPE_TIME,      TYPE_DURATION, TYPE_UUID,
                                      TYPE_DECIMAL + 2, TYPE_DECIMAL + 9 };
  for (uint32_t i = 0; i < sizeof types / sizeof types[0]; i++)
    sample_add_column(t, types[i], i && i % 3 != 1 ? COLUMN_NULLABLE : 0);
  sample_add_key(t, 0);
}

/* ---- values ---- */

/* How the values of a column are spread; a number's shape decides which encoding suits it. */
static uint64_t random_number(uint64_t *random, uint32_t shape, uint32_t row) {
  switch (shape % 5) {
  case 0: return test_random(random);
  case 1: return test_random_below(random, 50);
  case 2: return 1000000 + test_random_below(random, 100) * 60;
  case 3: return 42;
  default: return 77 + (uint64_t)row * 3;
  }
}

static Bytes random_string(SampleTable *t, uint64_t *random, const Column *column, uint32_t shape) {
  size_t length = column->width ? column->width : test_random_below(random, shape % 2 ? 40 : 8);
  uint8_t *data = arena_allocate(&t->arena, length);
  uint32_t letters = shape % 3 == 0 ? 2 : 26;
  for (size_t i = 0; i < length; i++) {
    data[i] = column->type == TYPE_STRING ? (uint8_t)('a' + test_random_below(random, letters))
                                          : (uint8_t)test_random_below(random, letters * 9);
  }
  return (Bytes){ data, length };
}

static Value random_value(SampleTable *t, uint64_t *random, uint32_t c, uint32_t row) {
  const Column *column = &t->columns[c];
  Value v = { .type = column->type };
  uint64_t number = random_number(random, c, row);
  if (column->type == TYPE_TIME) number %= UINT64_C(86400000000);
  if (type_is_decimal(column->type)) number = (uint64_t)((int64_t)number % decimal_unit(DECIMAL_SCALE_MAX));
  switch (type_storage(column->type)) {
  case TYPE_BOOL: v.i = number & 1; break;
  case TYPE_I8: v.i = (int8_t)number; break;
  case TYPE_I16: v.i = (int16_t)number; break;
  case TYPE_I32: v.i = (int32_t)number; break;
  case TYPE_I64: v.i = (int64_t)number; break;
  case TYPE_U8: v.u = (uint8_t)number; break;
  case TYPE_U16: v.u = (uint16_t)number; break;
  case TYPE_U32: v.u = (uint32_t)number; break;
  case TYPE_U64: v.u = number; break;
  case TYPE_F32: v.f = (double)(float)((double)(int64_t)number / 8); break;
  case TYPE_F64: v.f = (double)(int64_t)number / 8; break;
  default: v.s = random_string(t, random, column, c); break;
  }
  return v;
}

static void fill_column(SampleTable *t, uint64_t *random, uint32_t c, uint32_t rows) {
  const Column *column = &t->columns[c];
  size_t width = type_array_width(column->type);
  uint8_t *values = arena_allocate_zeroed(&t->arena, rows * width), *nulls = NULL;
  if (column->flags & COLUMN_NULLABLE) nulls = arena_allocate_zeroed(&t->arena, rows);
  bool all_null = nulls && c % 7 == 6;
  for (uint32_t row = 0; row < rows; row++) {
    bool is_null = nulls && (all_null || test_random_below(random, 10) == 0);
    if (nulls) nulls[row] = is_null;
    if (is_null) continue;
    Value v = random_value(t, random, c, row);
    value_to_array(&v, values, row);
  }
  t->arrays[c] = (ColumnArray){ values, nulls };
}

/* ---- order ---- */

typedef struct SortRow {
  Bytes key;
  uint32_t row;
} SortRow;

static int compare_rows(const void *a, const void *b) {
  const SortRow *left = a, *right = b;
  int order = bytes_compare(left->key.data, left->key.length, right->key.data, right->key.length);
  return order ? order : (left->row > right->row) - (left->row < right->row);
}

static Bytes encode_key(SampleTable *t, uint32_t row) {
  Buffer key = { 0 };
  keycode_append_row(&key, &t->schema, t->arrays, row);
  Bytes copy = { arena_copy(&t->arena, key.data, key.length), key.length };
  buffer_release(&key);
  return copy;
}

void sample_sort(SampleTable *t) {
  SortRow *order = malloc((t->row_count + 1) * sizeof *order);
  for (uint32_t row = 0; row < t->row_count; row++) order[row] = (SortRow){ encode_key(t, row), row };
  qsort(order, t->row_count, sizeof *order, compare_rows);
  uint32_t kept = 0;
  for (uint32_t i = 0; i < t->row_count; i++) {
    if (kept &&
        !bytes_compare(order[kept - 1].key.data, order[kept - 1].key.length, order[i].key.data, order[i].key.length))
      continue;
    order[kept++] = order[i];
  }
  t->keys = arena_allocate(&t->arena, kept * sizeof *t->keys);
  for (uint32_t i = 0; i < kept; i++) t->keys[i] = order[i].key;
  for (uint32_t c = 0; c < t->schema.column_count; c++) {
    size_t width = type_array_width(t->columns[c].type);
    uint8_t *values = arena_allocate(&t->arena, kept * width), *nulls = NULL;
    if (t->arrays[c].nulls) nulls = arena_allocate(&t->arena, kept);
    for (uint32_t i = 0; i < kept; i++) {
      memcpy(values + i * width, (const uint8_t *)t->arrays[c].values + order[i].row * width, width);
      if (nulls) nulls[i] = t->arrays[c].nulls[order[i].row];
    }
    t->arrays[c] = (ColumnArray){ values, nulls };
  }
  if (t->expiry) {
    int64_t *expiry = arena_allocate(&t->arena, kept * sizeof *expiry);
    for (uint32_t i = 0; i < kept; i++) expiry[i] = t->expiry[order[i].row];
    t->expiry = expiry;
  }
  t->row_count = kept;
  free(order);
}

/* Every second column wants one of the encodings that its type can have, so that each meets everything; of the others
 * every fourth that can lies as an array. */
static void wish_encodings(SampleTable *t, uint64_t seed) {
  uint64_t random = seed ^ 0x5eed;
  for (uint32_t c = 0; c < t->schema.column_count; c++) {
    uint32_t encoding = 1 + (uint32_t)test_random_below(&random, ENCODING_LAST);
    ColumnType type = t->columns[c].type;
    t->columns[c].flags &= ((1u << COLUMN_ENCODING_SHIFT) - 1) & ~(uint32_t)COLUMN_ARRAY;
    uint64_t draw = test_random(&random);
    if (draw & 1 || !encoding_takes(encoding, type)) {
      bool has_width = !type_has_offsets(type) && !(t->columns[c].flags & COLUMN_HIDDEN);
      if (has_width && (draw >> 1 & 3) == 0) t->columns[c].flags |= COLUMN_ARRAY;
      continue;
    }
    t->columns[c].flags |= encoding << COLUMN_ENCODING_SHIFT;
  }
}

void sample_fill(SampleTable *t, uint32_t rows, uint32_t expiring, uint64_t seed) {
  uint64_t random = seed;
  wish_encodings(t, seed);
  t->row_count = rows;
  for (uint32_t c = 0; c < t->schema.column_count; c++) fill_column(t, &random, c, rows);
  if (expiring) {
    t->expiry = arena_allocate(&t->arena, rows * sizeof *t->expiry);
    for (uint32_t row = 0; row < rows; row++) {
      bool expires = test_random_below(&random, 100) < expiring;
      t->expiry[row] = expires ? 1700000000000 + (int64_t)test_random_below(&random, 1000000) : EXPIRY_NEVER;
    }
  }
  sample_sort(t);
}

void sample_release(SampleTable *t) {
  arena_release(&t->arena);
  memset(t, 0, sizeof *t);
}

ColumnBatch sample_batch(const SampleTable *t) {
  return (ColumnBatch){ t->row_count, t->schema.column_count, t->arrays, t->expiry };
}

ColumnBatch sample_slice(const SampleTable *t, uint32_t first, uint32_t count, ColumnArray *arrays) {
  for (uint32_t c = 0; c < t->schema.column_count; c++) {
    size_t width = type_array_width(t->columns[c].type);
    arrays[c].values = (const uint8_t *)t->arrays[c].values + first * width;
    arrays[c].nulls = t->arrays[c].nulls ? t->arrays[c].nulls + first : NULL;
  }
  return (ColumnBatch){ count, t->schema.column_count, arrays, t->expiry ? t->expiry + first : NULL };
}

Value sample_value(const SampleTable *t, uint32_t column, uint32_t row) {
  const ColumnArray *array = &t->arrays[column];
  if (array->nulls && array->nulls[row]) return (Value){ .type = t->columns[column].type, .is_null = true };
  return value_from_array(t->columns[column].type, array->values, row);
}

bool sample_same_value(const Value *a, const Value *b) {
  if (a->is_null || b->is_null) return a->is_null && b->is_null;
  if (a->type != b->type) return false;
  if (type_is_string(a->type))
    return a->s.length == b->s.length && (!a->s.length || !memcmp(a->s.data, b->s.data, a->s.length));
  return a->u == b->u; /* floats by their bits */
}

uint32_t sample_lower_bound(const SampleTable *t, Bytes key) {
  uint32_t first = 0, end = t->row_count;
  while (first < end) {
    uint32_t middle = (first + end) / 2;
    if (bytes_compare(t->keys[middle].data, t->keys[middle].length, key.data, key.length) < 0) {
      first = middle + 1;
    } else {
      end = middle;
    }
  }
  return first;
}

/* ---- extents ---- */

enum { ALIGNMENT = 4096 };

static uint64_t unit_checksum(const SampleExtent *e, uint64_t unit) {
  size_t first = unit * UNIT_BYTES, left = e->length - first;
  return checksum64(e->bytes + first, left < UNIT_BYTES ? left : UNIT_BYTES, unit);
}

static Status emit(void *context, const uint8_t *bytes, size_t length, uint32_t *ordinal) {
  SampleStore *store = context;
  if (store->count == SAMPLE_EXTENTS_MAX) return status_fail(KVSTORE_FULL, "the sample store is full");
  SampleExtent *e = calloc(1, sizeof *e);
  e->length = length;
  e->bytes = aligned_alloc(ALIGNMENT, round_up(length + CHUNK_PADDING, ALIGNMENT));
  memcpy(e->bytes, bytes, length);
  uint64_t units = (length + UNIT_BYTES - 1) / UNIT_BYTES;
  e->checksums = calloc(units, sizeof *e->checksums);
  for (uint64_t unit = 0; unit < units; unit++) e->checksums[unit] = unit_checksum(e, unit);
  *ordinal = store->count;
  store->extents[store->count++] = e;
  return KVSTORE_OK;
}

RunSink sample_sink(SampleStore *store) { return (RunSink){ store, emit }; }

static Status verify_units(SampleExtent *e, uint64_t offset, size_t length) {
  if (!length) return KVSTORE_OK;
  for (uint64_t unit = offset / UNIT_BYTES; unit <= (offset + length - 1) / UNIT_BYTES; unit++) {
    if (unit_checksum(e, unit) != e->checksums[unit])
      return status_fail(KVSTORE_CORRUPT, "unit %d is damaged", (int)unit);
    atomic_fetch_or_explicit(&e->verified[unit / 64], UINT64_C(1) << (unit % 64), memory_order_release);
  }
  return KVSTORE_OK;
}

static Status block(Source *source, uint64_t offset, size_t length, const uint8_t **bytes, SourcePin *pin) {
  SampleStore *store = source->context;
  SampleExtent *e = store->extents[source - store->sources];
  if (offset > source->length || length > source->length - offset) {
    return status_fail(KVSTORE_CORRUPT, "a read past the end of an extent");
  }
  if (store->mode != EXTENTS_TRUSTED) TRY(verify_units(e, offset, length));
  if (store->mode != EXTENTS_CACHED) {
    *bytes = e->bytes + offset;
    return KVSTORE_OK;
  }
  uint8_t *copy = aligned_alloc(ALIGNMENT, round_up(length + CHUNK_PADDING, ALIGNMENT));
  memcpy(copy, e->bytes + offset, length);
  *bytes = copy;
  pin->cached = copy;
  atomic_fetch_add(&store->pins, 1);
  return KVSTORE_OK;
}

static void release(Source *source, SourcePin *pin) {
  free(pin->cached);
  atomic_fetch_sub(&((SampleStore *)source->context)->pins, 1);
}

static const SourceMethods methods = { block, release };

void sample_set_mode(SampleStore *store, ExtentMode mode) {
  store->mode = mode;
  for (uint32_t i = 0; i < store->count; i++) {
    SampleExtent *e = store->extents[i];
    memset((void *)e->verified, 0, sizeof e->verified);
    store->sources[i] = (Source){ .methods = &methods,
                                  .context = store,
                                  .length = e->length,
                                  .base = mode == EXTENTS_CACHED ? NULL : e->bytes,
                                  .verified = mode == EXTENTS_VERIFIED ? e->verified : NULL };
  }
  store->run_sources = (RunSources){ store->sources, store->count };
}

void sample_write(SampleStore *store, const SampleTable *t, const ColumnRunOptions *options, uint32_t batch_rows) {
  ColumnArray arrays[SAMPLE_COLUMNS_MAX];
  ColumnRunWriter *writer;
  RunSink sink = sample_sink(store);
  CHECK_OK(column_run_writer_create(&sink, &t->schema, options, &writer));
  for (uint32_t first = 0; first < t->row_count; first += batch_rows) {
    uint32_t left = t->row_count - first, next = 0;
    ColumnBatch batch = sample_slice(t, first, left < batch_rows ? left : batch_rows, arrays);
    CHECK_OK(column_run_writer_add(writer, &batch, &next));
    CHECK_INT(next, batch.row_count);
    CHECK_INT(column_run_writer_rows(writer), first + batch.row_count);
  }
  CHECK_OK(column_run_writer_finish(writer, &store->directory, &store->summary));
  column_run_writer_destroy(writer);
  sample_set_mode(store, EXTENTS_TRUSTED);
}

Status sample_open(SampleStore *store, const Schema *schema, ColumnRun **run) {
  return column_run_open(store->directory.data, store->directory.length, &store->run_sources, schema, NULL, run);
}

void sample_store_release(SampleStore *store) {
  CHECK_INT(atomic_load(&store->pins), 0);
  for (uint32_t i = 0; i < store->count; i++) {
    free(store->extents[i]->bytes);
    free(store->extents[i]->checksums);
    free(store->extents[i]);
  }
  buffer_release(&store->directory);
  column_run_summary_release(&store->summary);
  memset(store, 0, sizeof *store);
}
