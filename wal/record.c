/* record.c - headers of records and the codec of operations. */
#include "wal/record.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/limits.h"
#include "wal/record_internal.h"

bool record_header_read(const uint8_t *bytes, RecordHeader *out) {
  Reader in = reader_over(bytes, RECORD_HEADER_BYTES);
  out->length = reader_u32(&in);
  out->kind = reader_u8(&in);
  out->flags = reader_u8(&in);
  out->padding = reader_u8(&in);
  uint8_t zero = reader_u8(&in);
  out->position = reader_u64(&in);
  out->first_sequence = reader_u64(&in);
  out->sequence_count = reader_u32(&in);
  uint32_t features = reader_u32(&in);
  out->synced = reader_u64(&in);
  out->previous_checksum = reader_u64(&in);
  out->checksum = reader_u64(&in);

  if (out->kind < RECORD_TRANSACTION || out->kind > RECORD_BREAK) return false;
  if (out->flags & ~(unsigned)RECORD_SEALED || zero || features) return false;
  if (out->length % RECORD_ALIGNMENT || out->padding >= RECORD_ALIGNMENT) return false;
  return out->length >= record_body_offset(out->flags) + out->padding;
}

void record_header_write(const RecordHeader *header, uint8_t *bytes) {
  store_u32(bytes, header->length);
  bytes[RECORD_KIND_OFFSET] = header->kind;
  bytes[RECORD_FLAGS_OFFSET] = header->flags;
  bytes[RECORD_PADDING_OFFSET] = header->padding;
  bytes[7] = 0;
  store_u64(bytes + 8, header->position);
  store_u64(bytes + 16, header->first_sequence);
  store_u32(bytes + 24, header->sequence_count);
  store_u32(bytes + 28, 0);
  store_u64(bytes + 32, header->synced);
  store_u64(bytes + 40, header->previous_checksum);
  store_u64(bytes + RECORD_CHECKSUM_OFFSET, header->checksum);
}

uint64_t record_checksum(const uint8_t *bytes, uint32_t length, RecordKind kind, uint64_t log_id) {
  uint64_t seed = checksum64(bytes, RECORD_CHECKSUM_OFFSET, log_id);
  size_t covered = kind == RECORD_FILLER ? 0 : length - RECORD_HEADER_BYTES;
  return checksum64(bytes + RECORD_HEADER_BYTES, covered, seed);
}

void record_begin(Buffer *record, bool sealed) {
  buffer_clear(record);
  unsigned flags = sealed ? RECORD_SEALED : 0;
  size_t room = record_body_offset(flags);
  uint8_t *bytes = buffer_extend(record, room);
  if (!bytes) return;
  memset(bytes, 0, room);
  bytes[RECORD_FLAGS_OFFSET] = (uint8_t)flags;
}

void record_pad(Buffer *record) {
  size_t before = record->length;
  buffer_align(record, RECORD_ALIGNMENT);
  if (record->failed || record->length == before) return;
  record->data[RECORD_PADDING_OFFSET] = (uint8_t)(record->length - before);
}

/* ---- operations ---- */

/* Everything of an operation but its payload, for which it leaves exactly the room; NULL when out of memory. */
static uint8_t *append_head(Buffer *record, const Operation *op, size_t payload_length) {
  size_t head_max = 2 + 2 * 5 + 8 + 2 * VARINT_BYTES_MAX;
  uint8_t *start = buffer_extend(record, head_max + op->key.length + payload_length);
  if (!start) return NULL;
  bool has_expiry = op->expiry != EXPIRY_NEVER;
  uint8_t *at = start;
  *at++ = (uint8_t)op->kind;
  *at++ =
    (uint8_t)((has_expiry ? OPERATION_HAS_EXPIRY : 0) | (op->has_schema_version ? OPERATION_HAS_SCHEMA_VERSION : 0));
  at = varint_put(at, op->family_id);
  if (op->has_schema_version) at = varint_put(at, op->schema_version);
  if (has_expiry) {
    store_u64(at, (uint64_t)op->expiry);
    at += 8;
  }
  at = varint_put(at, op->key.length);
  at = bytes_put(at, op->key.data, op->key.length);
  at = varint_put(at, payload_length);
  record->length = (size_t)(at - record->data) + payload_length;
  return at;
}

void record_append_operation(Buffer *record, const Operation *operation) {
  uint8_t *at = append_head(record, operation, operation->payload.length);
  if (at) bytes_put(at, operation->payload.data, operation->payload.length);
}

void record_append_put(Buffer *record, uint32_t family_id, int64_t expiry, Bytes key, Bytes value) {
  Operation op = { .kind = OPERATION_KV_PUT, .family_id = family_id, .expiry = expiry, .key = key, .payload = value };
  record_append_operation(record, &op);
}

void record_append_delete(Buffer *record, uint32_t family_id, Bytes key) {
  Operation op = { .kind = OPERATION_KV_DELETE, .family_id = family_id, .expiry = EXPIRY_NEVER, .key = key };
  record_append_operation(record, &op);
}

void record_append_row(Buffer *record, uint32_t family_id, int64_t expiry, Bytes key, const Schema *schema,
                       const ColumnArray *columns, size_t row) {
  Operation op = { .kind = OPERATION_ROW_UPSERT,
                   .family_id = family_id,
                   .has_schema_version = true,
                   .schema_version = schema->version,
                   .expiry = expiry,
                   .key = key };
  uint8_t *at = append_head(record, &op, record_row_size(schema, columns, row));
  if (at) row_put(at, schema, columns, row);
}

void record_append_row_delete(Buffer *record, uint32_t family_id, uint32_t schema_version, Bytes key) {
  Operation op = { .kind = OPERATION_ROW_DELETE,
                   .family_id = family_id,
                   .has_schema_version = true,
                   .schema_version = schema_version,
                   .expiry = EXPIRY_NEVER,
                   .key = key };
  record_append_operation(record, &op);
}

void record_append_payload(Buffer *record, OperationKind kind, uint32_t family_id, Bytes key, Bytes payload) {
  ASSERT(kind >= OPERATION_FAMILY_CREATE && kind <= OPERATION_FAMILY_CHANGE, "WAL-9");
  Operation op = { .kind = kind, .family_id = family_id, .expiry = EXPIRY_NEVER, .key = key, .payload = payload };
  record_append_operation(record, &op);
}

/* What the kinds allow beyond their form; the sentence of what is wrong, or NULL. */
static const char *operation_fault(const Operation *op, bool has_expiry) {
  if (op->kind < OPERATION_KV_PUT || op->kind > OPERATION_FAMILY_CHANGE) return "an unknown kind";
  bool is_write = op->kind == OPERATION_KV_PUT || op->kind == OPERATION_ROW_UPSERT;
  bool is_delete = op->kind == OPERATION_KV_DELETE || op->kind == OPERATION_ROW_DELETE;
  bool is_row = op->kind == OPERATION_ROW_UPSERT || op->kind == OPERATION_ROW_DELETE;
  if (op->key.length > KEY_BYTES_MAX) return "a key that is too long";
  if ((is_write || is_delete) && op->key.length == 0) return "an empty key";
  if (is_delete && op->payload.length != 0) return "a delete with a value";
  if (op->payload.length > VALUE_BYTES_CEILING) return "a value that is too long";
  if (has_expiry && (!is_write || op->expiry == EXPIRY_NEVER)) return "an expiry where none belongs";
  if (is_row && !op->has_schema_version) return "a row without its schema version";
  return NULL;
}

Status operation_next(OperationReader *reader, Operation *out, bool *more) {
  Reader *in = &reader->in;
  *more = reader_left(in) > 0;
  if (!*more) return KVSTORE_OK;

  out->kind = (OperationKind)reader_u8(in);
  uint8_t flags = reader_u8(in);
  uint64_t family_id = varint_take(in);
  out->has_schema_version = flags & OPERATION_HAS_SCHEMA_VERSION;
  uint64_t schema_version = out->has_schema_version ? varint_take(in) : 0;
  out->expiry = flags & OPERATION_HAS_EXPIRY ? (int64_t)reader_u64(in) : EXPIRY_NEVER;
  out->key = bytes_take(in);
  out->payload = bytes_take(in);
  if (UNLIKELY(in->failed)) return status_fail(KVSTORE_CORRUPT, "a log record ends within an operation");

  const char *fault = NULL;
  if (flags & ~(unsigned)(OPERATION_HAS_EXPIRY | OPERATION_HAS_SCHEMA_VERSION))
    fault = "unknown flags";
  else if (family_id > UINT32_MAX || schema_version > UINT32_MAX)
    fault = "a number out of range";
  else
    fault = operation_fault(out, flags & OPERATION_HAS_EXPIRY);
  if (UNLIKELY(fault != NULL)) {
    in->failed = true;
    return status_fail(KVSTORE_CORRUPT, "a log record holds an operation with %s", fault);
  }
  out->family_id = (uint32_t)family_id;
  out->schema_version = (uint32_t)schema_version;
  return KVSTORE_OK;
}
