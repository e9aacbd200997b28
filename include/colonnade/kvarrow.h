/* kvarrow.h - tables and answers as Apache Arrow: the C data interface and the C stream interface.
 *
 * The structs are those of the Arrow specification ("The Arrow C data interface", "The Arrow C stream interface"),
 * under its guards, so that a program that has them from elsewhere keeps its own.
 *
 *   struct ArrowArrayStream stream;
 *   kvquery_open_stream(query, &stream);          pyarrow, polars, DuckDB, nanoarrow: all of them read it
 *   kvtable_append_stream(table, &stream, KVTABLE_INSERT, &rows);
 *
 * Codes, messages, ownership and threads are as kvtable.h says. */
#ifndef COLONNADE_KVARROW_H
#define COLONNADE_KVARROW_H

#include <stdint.h>

#include "kvtable.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE           2
#define ARROW_FLAG_MAP_KEYS_SORTED    4

struct ArrowSchema {
  const char *format;
  const char *name;
  const char *metadata;
  int64_t flags;
  int64_t n_children;
  struct ArrowSchema **children;
  struct ArrowSchema *dictionary;
  void (*release)(struct ArrowSchema *);
  void *private_data;
};

struct ArrowArray {
  int64_t length;
  int64_t null_count;
  int64_t offset;
  int64_t n_buffers;
  int64_t n_children;
  const void **buffers;
  struct ArrowArray **children;
  struct ArrowArray *dictionary;
  void (*release)(struct ArrowArray *);
  void *private_data;
};

#endif /* ARROW_C_DATA_INTERFACE */

#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE

struct ArrowArrayStream {
  int (*get_schema)(struct ArrowArrayStream *, struct ArrowSchema *out);
  int (*get_next)(struct ArrowArrayStream *, struct ArrowArray *out);
  const char *(*get_last_error)(struct ArrowArrayStream *);
  void (*release)(struct ArrowArrayStream *);
  void *private_data;
};

#endif /* ARROW_C_STREAM_INTERFACE */

/* The rows of the query, or its groups, as kvquery_open gives them, in batches of 65,536 or somewhat more. Types: bool,
 * int8 to int64, uint8 to uint64, float32, float64, date32, decimal128(18, scale), time64 and duration in microseconds,
 * timestamp in microseconds (with the zone UTC when the column says so), utf8, binary, fixed-size binary, of uuids with
 * the extension arrow.uuid, and decimal128(38, scale) for sums of integers and decimals. What the stream gives is a
 * copy: it may be used and released on any thread, after the store is closed, and in a forked child. The stream itself
 * is for one thread at a time, and holds its snapshot until it is released. On failure *stream is released (its
 * `release` is NULL). An error in get_next is EIO, ENOMEM or EINVAL, and get_last_error says what kvstore_errmsg would.
 */
KVSTORE_API int kvquery_open_stream(KVQuery *query, struct ArrowArrayStream *stream);

/* Writes all rows of a stream of struct arrays (record batches) and releases it, whatever is returned. Columns are
 * found by name; one of the table that the stream has not is null in every row. `mode` is KVTABLE_INSERT or
 * KVTABLE_UPSERT; *row_count (may be NULL) is how many rows there were. Outside a transaction all of them are written
 * in one, in which calls of other threads on this handle then are; inside one, what was written before a failure is
 * taken back by kvstore_rollback. Every type above is taken, and float16, large utf8 and binary, their views,
 * dictionaries, null, date64, decimals of 32, 64 and 128 bits of any digits and a scale of 0 to 18, and times,
 * durations and timestamps of other units, for a column that holds each value exactly: an int64 of 5 goes into i16, a
 * float64 of 0.1 not into f32, a timestamp in nanoseconds only at whole microseconds, 16 bytes into a uuid.
 *   KVSTORE_SCHEMA       a column that the table has not; the stream is no struct
 *   KVSTORE_TYPE         a value that its column does not hold (kvstore_error names row and column)
 *   KVSTORE_UNSUPPORTED  an Arrow type that no column takes: lists, maps, intervals, run-end encoded ones, decimals of
 *                        other scales or widths
 *   KVSTORE_ERROR        what the stream says of its own failure; arrays that contradict their schema; the transaction
 *                        was ended before the stream: nothing is written behind it, and no other is ended */
KVSTORE_API int kvtable_append_stream(KVTable *table, struct ArrowArrayStream *stream, int mode, uint64_t *row_count);

#ifdef __cplusplus
}
#endif

#endif
