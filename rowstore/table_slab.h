/* table_slab.h - the memory of a table's delta: slabs of 65,536 rows, an array a column, and the bytes of strings.
 *
 * A slab is reserved whole, in one piece, when its first row comes; the system gives it memory page by page as rows are
 * written. Addresses never change. Threads: as delta.h; the directory of slabs is replaced, not changed, when it is
 * full, and old ones are kept for readers. */
#ifndef COLONNADE_ROWSTORE_TABLE_SLAB_H
#define COLONNADE_ROWSTORE_TABLE_SLAB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/schema.h"
#include "base/status.h"

/* What the delta keeps of a column. */
typedef struct SlabColumn {
  uint8_t width; /* of an entry of its array */
  bool is_string, is_nullable;
} SlabColumn;

typedef struct SlabArrays {
  void *memory; /* holds all arrays but expiry */
  ColumnArray *columns;
  uint64_t *sequence;
  _Atomic uint64_t *dead_at;
  uint32_t *link;                                           /* table_delta.c */
  uint32_t *entry;                                          /* reference of the row's key */
  _Atomic(int64_t *) expiry;                                /* NULL until a row of this slab has one */
  _Atomic uint32_t dead_rows[DELTA_SLAB_ROWS / BLOCK_ROWS]; /* of each block: rows whose dead_at is not DEAD_NEVER */
} SlabArrays;

typedef struct SlabDirectory SlabDirectory;
struct SlabDirectory {
  SlabDirectory *older;
  uint32_t capacity;
  SlabArrays *slabs[];
};

typedef struct SlabStore {
  uint32_t column_count;
  SlabColumn *columns;
  uint32_t slab_count; /* the writer's */
  size_t row_bytes;    /* of fixed-width arrays, hidden ones included */
  _Atomic(SlabDirectory *) directory;
  Arena strings;
  _Atomic uint64_t string_bytes, bytes_held;
} SlabStore;

/* Initialises a zeroed store in place. KVSTORE_NOMEM leaves nothing to release. */
Status slab_store_init(SlabStore *store, const Schema *schema) MUST_CHECK;
void slab_store_release(SlabStore *store);

/* The slab of a published row, or of the row about to be written after slab_store_reserve. */
static inline SlabArrays *slab_at(const SlabStore *store, uint32_t row) {
  return atomic_load_explicit(&store->directory, memory_order_acquire)->slabs[row / DELTA_SLAB_ROWS];
}

/* Makes sure that the slab of `row` is there, and that it has an expiry array when `with_expiry`. */
Status slab_store_reserve(SlabStore *store, uint32_t row, bool with_expiry) MUST_CHECK;

/* Writes rows first_row and following, all in one slab that is reserved, from entry source_row of `columns` on; strings
 * are copied. KVSTORE_NOMEM when there is no room for strings; then nothing that counts was written. */
Status slab_store_write(SlabStore *store, uint32_t first_row, const ColumnArray *columns, size_t source_row,
                        size_t count) MUST_CHECK;
/* Writes a row of nulls, and of zeros where a column is not nullable. */
void slab_store_write_empty(SlabStore *store, uint32_t row);
/* Nothing when the slab has no expiry array. `expiry` may be NULL: never. */
void slab_store_write_expiry(SlabStore *store, uint32_t first_row, const int64_t *expiry, size_t count);

#endif
