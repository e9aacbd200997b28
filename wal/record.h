/* record.h - the bytes of one log record: its header, its operations, and the row of a table inside an operation.
 *
 * A record is one transaction (or a boundary, a filler, a break). It is built in a Buffer that begins with room for the
 * header; wal_append (wal/wal.h) fills the header in and writes it. Nothing here does I/O.
 *
 * Header (LOG-2), all integers little-endian; the record begins at a position that is a multiple of 16:
 *
 *   OFFSET  SIZE  MEANING
 *        0     4  length of the whole record, a multiple of 16
 *        4     1  kind: 1 transaction, 2 boundary, 3 filler, 4 break
 *        5     1  flags: 1 sealed (room of 40 bytes follows the header)
 *        6     1  padding: zero bytes after the last operation, 0 to 15
 *        7     1  zero
 *        8     8  position: where in the log the record lies; positions only rise
 *       16     8  first sequence: that of its first operation
 *       24     4  sequence count: sequences that the record takes; the next record begins after them
 *       28     4  features that a reader must understand: 0
 *       32     8  synced: the position up to which the log was known durable when this record was written
 *       40     8  checksum of the record before it (of the log itself, for the first)
 *       48     8  checksum: of bytes 56..length, seeded with that of bytes 0..48, seeded with the log id
 *       56    40  only when sealed: nonce and tag
 *       56        (96 when sealed) the operations, then the padding
 *
 * Of a filler the header alone is covered: what follows it is what lay there before. A break holds 16 random bytes.
 *
 * Operation, LEB128 varints:
 *
 *   kind u8 | flags u8: 1 expiry, 2 schema version | family id varint | [schema version varint] | [expiry i64]
 *   | key: varint length, bytes | payload: varint length, bytes
 *
 *   KIND  NAME            KEY                          PAYLOAD
 *      1  kv put          1 to 65,536 bytes            the value
 *      2  kv delete       1 to 65,536 bytes            none
 *      3  row upsert      encoded key, not empty       the row whole (below); the schema version is present
 *      4  row delete      encoded key, not empty       none
 *      5  family create   any                          opaque here: the engine's
 *      6  family drop     any                          opaque
 *      7  family clear    any                          opaque
 *      8  adopt run       any                          opaque
 *      9  schema change   any                          opaque
 *     10  family change   any                          opaque
 *
 * Row of a table, every column in the order of the schema, the hidden row id included:
 *
 *   null bits, (columns + 7) / 8 bytes, bit c = column c is null, unused bits zero
 *   | each column of fixed width in its natural width (fixed bytes: their width), zeros beneath a null
 *   | each string or bytes column that is not null: varint length, bytes
 *
 * Readers refuse every row and operation that the writers below would not have made (one value has one form).
 *
 * Threads: none of this is shared; any thread may work on its own Buffer or reader. */
#ifndef COLONNADE_WAL_RECORD_H
#define COLONNADE_WAL_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/schema.h"
#include "base/status.h"

enum {
  RECORD_HEADER_BYTES = 56,
  RECORD_SEAL_BYTES = 40, /* nonce and tag */
  RECORD_ALIGNMENT = 16,
  RECORD_BREAK_BYTES = 80, /* a whole break: header, 16 random bytes, padding */
};

typedef enum RecordKind { /* on disk */
                          RECORD_TRANSACTION = 1,
                          RECORD_BOUNDARY = 2,
                          RECORD_FILLER = 3,
                          RECORD_BREAK = 4,
} RecordKind;

enum { RECORD_SEALED = 1 }; /* flags of a record, on disk */

typedef struct RecordHeader {
  uint32_t length;
  uint8_t kind, flags, padding;
  uint64_t position, first_sequence;
  uint32_t sequence_count;
  uint64_t synced, previous_checksum, checksum;
} RecordHeader;

/* Reads the RECORD_HEADER_BYTES at `bytes` and checks what can be checked without the rest: length (at least the
 * header, a multiple of 16), kind, flags, padding, zero bytes. False when they are no header. */
bool record_header_read(const uint8_t *bytes, RecordHeader *out);
/* Writes all fields as they are; `checksum` too. */
void record_header_write(const RecordHeader *header, uint8_t *bytes);
/* The checksum of a whole record at `bytes` (its length and kind are those of its header, already written). */
uint64_t record_checksum(const uint8_t *bytes, uint32_t length, RecordKind kind, uint64_t log_id);

/* ---- building a record ---- */

/* Clears `record` and makes the room for the header, and for nonce and tag when `sealed`. */
void record_begin(Buffer *record, bool sealed);
/* Pads to a multiple of 16 and notes the padding in the header; nothing when it is padded already. wal_append does
 * it; who seals does it first, then encrypts the bytes from record_body_offset to the end in place, puts nonce and
 * tag at RECORD_HEADER_BYTES, and appends nothing more. */
void record_pad(Buffer *record);
/* Where the operations begin: 56, or 96 in a sealed record. */
static inline size_t record_body_offset(unsigned flags) {
  return RECORD_HEADER_BYTES + (flags & RECORD_SEALED ? (size_t)RECORD_SEAL_BYTES : 0);
}

typedef enum OperationKind { /* on disk */
                             OPERATION_KV_PUT = 1,
                             OPERATION_KV_DELETE = 2,
                             OPERATION_ROW_UPSERT = 3,
                             OPERATION_ROW_DELETE = 4,
                             OPERATION_FAMILY_CREATE = 5,
                             OPERATION_FAMILY_DROP = 6,
                             OPERATION_FAMILY_CLEAR = 7,
                             OPERATION_ADOPT_RUN = 8,
                             OPERATION_SCHEMA_CHANGE = 9,
                             OPERATION_FAMILY_CHANGE = 10,
} OperationKind;

enum { OPERATION_HAS_EXPIRY = 1, OPERATION_HAS_SCHEMA_VERSION = 2 }; /* flags of an operation, on disk */

typedef struct Operation {
  OperationKind kind;
  uint32_t family_id;
  bool has_schema_version;
  uint32_t schema_version; /* 0 without one */
  int64_t expiry;          /* milliseconds since the epoch; EXPIRY_NEVER (then it takes no bytes) */
  Bytes key, payload;      /* borrowed */
} Operation;

/* All of these fail in the buffer only (out of memory: buffer_status). Keys and values have been checked by the caller:
 * key at most KEY_BYTES_MAX, not empty for kv and row operations. */
void record_append_operation(Buffer *record, const Operation *operation);
void record_append_put(Buffer *record, uint32_t family_id, int64_t expiry, Bytes key, Bytes value);
void record_append_delete(Buffer *record, uint32_t family_id, Bytes key);
/* Row `row` of `columns` (arrays of the whole schema, in its order) under its encoded key. The version is the
 * schema's. */
void record_append_row(Buffer *record, uint32_t family_id, int64_t expiry, Bytes key, const Schema *schema,
                       const ColumnArray *columns, size_t row);
void record_append_row_delete(Buffer *record, uint32_t family_id, uint32_t schema_version, Bytes key);
/* The opaque kinds: family create, drop, clear, adopt run, schema change, family change. */
void record_append_payload(Buffer *record, OperationKind kind, uint32_t family_id, Bytes key, Bytes payload);

/* ---- walking the operations of a record ---- */

typedef struct OperationReader {
  Reader in;
} OperationReader;

static inline OperationReader operation_reader_over(Bytes operations) {
  OperationReader r = { reader_over(operations.data, operations.length) };
  return r;
}
/* The next operation, its key and payload borrowed from the record; *more is false at the end (then *out is untouched).
 * KVSTORE_CORRUPT when the bytes are no operation: *out is then meaningless and the reader must not be used again. */
Status operation_next(OperationReader *reader, Operation *out, bool *more) MUST_CHECK;

/* ---- a table's row ---- */

enum { ROW_CHECK_TEXT = 1 }; /* refuse strings that are not UTF-8 */

/* Bytes that record_row_write appends. */
size_t record_row_size(const Schema *schema, const ColumnArray *columns, size_t row);
void record_row_write(Buffer *out, const Schema *schema, const ColumnArray *columns, size_t row);
/* Reads a row into `count` values, count == schema->column_count; strings are borrowed from `payload`.
 * KVSTORE_CORRUPT names the column that is wrong. */
Status record_row_read(Bytes payload, const Schema *schema, unsigned flags, Value *values, size_t count) MUST_CHECK;
/* The same into entry `row` of column arrays: columns[c] of the type's array width, nulls[c] a byte a row (1 null;
 * never NULL for a nullable column, ignored for others). Keeps every bit. On an error the entry holds any values, but
 * strings point into `payload` or are empty. */
Status record_row_read_into(Bytes payload, const Schema *schema, unsigned flags, void *const *columns,
                            uint8_t *const *nulls, size_t row) MUST_CHECK;

#endif
