#include "rowstore/table_slab.h"

#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/memory.h"

enum { ARRAY_ALIGNMENT = 64, DIRECTORY_FIRST = 4 };

static const uint8_t no_bytes[1];

static size_t hidden_row_bytes(void) { return 2 * sizeof(uint64_t) + 2 * sizeof(uint32_t); }

/* ---- life ---- */
Status slab_store_init(SlabStore *store, const Schema *schema) {
  SlabColumn *columns = memory_allocate(memory_array_size(schema->column_count, sizeof *columns));
  if (!columns) return status_nomem();
  store->row_bytes = hidden_row_bytes();
  for (uint32_t i = 0; i < schema->column_count; i++) {
    ColumnType type = schema->columns[i].type;
    columns[i] = (SlabColumn){ .width = (uint8_t)type_array_width(type), .is_string = type_is_string(type) };
    columns[i].is_nullable = (schema->columns[i].flags & COLUMN_NULLABLE) != 0;
    store->row_bytes += columns[i].width + columns[i].is_nullable;
  }
  store->columns = columns;
  store->column_count = schema->column_count;
  return KVSTORE_OK;
}

void slab_store_release(SlabStore *store) {
  SlabDirectory *directory = atomic_load_explicit(&store->directory, memory_order_relaxed);
  for (uint32_t i = 0; i < store->slab_count; i++) {
    SlabArrays *slab = directory->slabs[i];
    memory_release(atomic_load_explicit(&slab->expiry, memory_order_relaxed));
    memory_release_aligned(slab->memory);
    memory_release(slab);
  }
  for (SlabDirectory *older; directory; directory = older) {
    older = directory->older;
    memory_release(directory);
  }
  arena_release(&store->strings);
  memory_release(store->columns);
}

/* Only the writer adds to what anybody reads. */
static void count_bytes(_Atomic uint64_t *sum, uint64_t bytes) {
  atomic_store_explicit(sum, atomic_load_explicit(sum, memory_order_relaxed) + bytes, memory_order_relaxed);
}

static void hold(SlabStore *store, uint64_t bytes) { count_bytes(&store->bytes_held, bytes); }

/* ---- slabs ---- */
static uint8_t *take(uint8_t **at, size_t width) {
  uint8_t *array = *at;
  *at += width * DELTA_SLAB_ROWS;
  return array;
}

static void lay_out(const SlabStore *store, SlabArrays *slab) {
  uint8_t *at = slab->memory;
  slab->sequence = (uint64_t *)take(&at, sizeof(uint64_t));
  slab->dead_at = (_Atomic uint64_t *)take(&at, sizeof(uint64_t));
  slab->link = (uint32_t *)take(&at, sizeof(uint32_t));
  slab->entry = (uint32_t *)take(&at, sizeof(uint32_t));
  for (uint32_t i = 0; i < store->column_count; i++) {
    slab->columns[i].values = take(&at, store->columns[i].width);
    slab->columns[i].nulls = store->columns[i].is_nullable ? take(&at, 1) : NULL;
  }
}

static Status reserve_directory(SlabStore *store) {
  SlabDirectory *old = atomic_load_explicit(&store->directory, memory_order_relaxed);
  if (old && store->slab_count < old->capacity) return KVSTORE_OK;
  uint32_t capacity = old ? old->capacity * 2 : DIRECTORY_FIRST;
  size_t size = sizeof(SlabDirectory) + capacity * sizeof(void *);
  SlabDirectory *directory = memory_allocate(size);
  if (!directory) return status_nomem();
  directory->older = old;
  directory->capacity = capacity;
  if (old) memcpy(directory->slabs, old->slabs, store->slab_count * sizeof(void *));
  atomic_store_explicit(&store->directory, directory, memory_order_release);
  hold(store, size);
  return KVSTORE_OK;
}

static Status open_slab(SlabStore *store) {
  TRY(reserve_directory(store));
  SlabArrays *slab = memory_allocate_zeroed(sizeof *slab + store->column_count * sizeof(ColumnArray));
  if (!slab) return status_nomem();
  slab->columns = (ColumnArray *)(slab + 1);
  slab->memory = memory_allocate_aligned(ARRAY_ALIGNMENT, store->row_bytes * DELTA_SLAB_ROWS + CHUNK_PADDING);
  if (!slab->memory) {
    memory_release(slab);
    return status_nomem();
  }
  lay_out(store, slab);
  atomic_load_explicit(&store->directory, memory_order_relaxed)->slabs[store->slab_count++] = slab;
  hold(store, store->row_bytes * DELTA_SLAB_ROWS);
  return KVSTORE_OK;
}

/* Rows written before, and rows to come until theirs is written, never expire. */
static Status open_expiry(SlabStore *store, SlabArrays *slab) {
  int64_t *expiry = memory_allocate(DELTA_SLAB_ROWS * sizeof *expiry);
  if (!expiry) return status_nomem();
  for (uint32_t i = 0; i < DELTA_SLAB_ROWS; i++) expiry[i] = EXPIRY_NEVER;
  atomic_store_explicit(&slab->expiry, expiry, memory_order_release);
  hold(store, DELTA_SLAB_ROWS * sizeof *expiry);
  return KVSTORE_OK;
}

Status slab_store_reserve(SlabStore *store, uint32_t row, bool with_expiry) {
  if (row / DELTA_SLAB_ROWS == store->slab_count) TRY(open_slab(store));
  SlabArrays *slab = slab_at(store, row);
  if (with_expiry && !atomic_load_explicit(&slab->expiry, memory_order_relaxed)) return open_expiry(store, slab);
  return KVSTORE_OK;
}

/* ---- values ---- */
static size_t strings_length(const SlabStore *store, const ColumnArray *columns, size_t source_row, size_t count) {
  size_t total = 0;
  for (uint32_t c = 0; c < store->column_count; c++) {
    if (!store->columns[c].is_string) continue;
    const Bytes *from = (const Bytes *)columns[c].values + source_row;
    for (size_t i = 0; i < count; i++) total += from[i].length;
  }
  return total;
}

/* Copies the bytes of strings to `at`, which is advanced, and points at them. */
static uint8_t *copy_strings(Bytes *to, const Bytes *from, size_t count, uint8_t *at) {
  for (size_t i = 0; i < count; i++) {
    to[i] = (Bytes){ at, from[i].length };
    if (from[i].length) memcpy(at, from[i].data, from[i].length);
    at += from[i].length;
  }
  return at;
}

/* A copy of a width that is known where it stands is one instruction, not a call: rows often come one by one. */
static void copy_numbers(uint8_t *to, const uint8_t *from, size_t width, size_t count) {
  if (count > 1) {
    memcpy(to, from, count * width);
    return;
  }
  switch (width) {
  case 1: *to = *from; break;
  case 2: memcpy(to, from, 2); break;
  case 4: memcpy(to, from, 4); break;
  default: memcpy(to, from, 8);
  }
}

static void copy_nulls(uint8_t *to, const uint8_t *from, size_t count) {
  if (count == 1)
    *to = from ? *from : 0;
  else if (from)
    memcpy(to, from, count);
  else
    memset(to, 0, count);
}

Status slab_store_write(SlabStore *store, uint32_t first_row, const ColumnArray *columns, size_t source_row,
                        size_t count) {
  size_t length = strings_length(store, columns, source_row, count);
  uint8_t *at = (uint8_t *)(uintptr_t)no_bytes; /* empty strings point at something */
  if (length) {
    at = arena_allocate(&store->strings, length);
    if (!at) return status_nomem();
    hold(store, length);
    count_bytes(&store->string_bytes, length);
  }
  const SlabArrays *slab = slab_at(store, first_row);
  size_t offset = first_row % DELTA_SLAB_ROWS;
  for (uint32_t c = 0; c < store->column_count; c++) {
    size_t width = store->columns[c].width;
    uint8_t *to = (uint8_t *)(uintptr_t)slab->columns[c].values + offset * width;
    const uint8_t *from = (const uint8_t *)columns[c].values + source_row * width;
    if (store->columns[c].is_string)
      at = copy_strings((Bytes *)to, (const Bytes *)from, count, at);
    else
      copy_numbers(to, from, width, count);
    uint8_t *nulls = (uint8_t *)(uintptr_t)slab->columns[c].nulls;
    if (nulls) copy_nulls(nulls + offset, columns[c].nulls ? columns[c].nulls + source_row : NULL, count);
  }
  return KVSTORE_OK;
}

void slab_store_write_empty(SlabStore *store, uint32_t row) {
  const SlabArrays *slab = slab_at(store, row);
  size_t offset = row % DELTA_SLAB_ROWS;
  for (uint32_t c = 0; c < store->column_count; c++) {
    size_t width = store->columns[c].width;
    uint8_t *to = (uint8_t *)(uintptr_t)slab->columns[c].values + offset * width;
    if (store->columns[c].is_string)
      *(Bytes *)to = (Bytes){ no_bytes, 0 };
    else
      memset(to, 0, width);
    if (slab->columns[c].nulls) ((uint8_t *)(uintptr_t)slab->columns[c].nulls)[offset] = 1;
  }
}

void slab_store_write_expiry(SlabStore *store, uint32_t first_row, const int64_t *expiry, size_t count) {
  int64_t *to = atomic_load_explicit(&slab_at(store, first_row)->expiry, memory_order_relaxed);
  if (!to) return;
  to += first_row % DELTA_SLAB_ROWS;
  for (size_t i = 0; i < count; i++) to[i] = expiry ? expiry[i] : EXPIRY_NEVER;
}
