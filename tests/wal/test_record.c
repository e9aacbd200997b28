#include "wal/record.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/memory.h"
#include "tests/support/test.h"

static Bytes text(const char *s) { return (Bytes){ (const uint8_t *)s, strlen(s) }; }

/* ---- header ---- */

TEST(record, header_has_the_documented_layout) {
  RecordHeader header = { .length = 0x50,
                          .kind = RECORD_BOUNDARY,
                          .flags = 0,
                          .padding = 9,
                          .position = 0x1112131415161718,
                          .first_sequence = 0x2122232425262728,
                          .sequence_count = 0x31323334,
                          .synced = 0x4142434445464748,
                          .previous_checksum = 0x5152535455565758,
                          .checksum = 0x6162636465666768 };
  const uint8_t expected[RECORD_HEADER_BYTES] = {
    0x50, 0,    0,    0,    2,    0,    9,    0,    0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, 0x28, 0x27, 0x26,
    0x25, 0x24, 0x23, 0x22, 0x21, 0x34, 0x33, 0x32, 0x31, 0,    0,    0,    0,    0x48, 0x47, 0x46, 0x45, 0x44, 0x43,
    0x42, 0x41, 0x58, 0x57, 0x56, 0x55, 0x54, 0x53, 0x52, 0x51, 0x68, 0x67, 0x66, 0x65, 0x64, 0x63, 0x62, 0x61,
  };
  uint8_t bytes[RECORD_HEADER_BYTES];
  record_header_write(&header, bytes);
  CHECK_BYTES(bytes, expected, sizeof bytes);
  RecordHeader back;
  CHECK(record_header_read(bytes, &back));
  CHECK_INT(back.length, 0x50);
  CHECK_INT(back.kind, RECORD_BOUNDARY);
  CHECK_INT(back.padding, 9);
  CHECK_INT(back.position, header.position);
  CHECK_INT(back.first_sequence, header.first_sequence);
  CHECK_INT(back.sequence_count, header.sequence_count);
  CHECK_INT(back.synced, header.synced);
  CHECK_INT(back.previous_checksum, header.previous_checksum);
  CHECK_INT(back.checksum, header.checksum);
}

static bool header_is_taken(size_t offset, uint8_t value) {
  RecordHeader header = { .length = 96, .kind = RECORD_TRANSACTION };
  uint8_t bytes[RECORD_HEADER_BYTES];
  record_header_write(&header, bytes);
  bytes[offset] = value;
  return record_header_read(bytes, &header);
}

TEST(record, header_refuses_what_it_does_not_know) {
  CHECK(header_is_taken(0, 96));
  CHECK(!header_is_taken(0, 97)); /* no multiple of 16 */
  CHECK(!header_is_taken(0, 48)); /* shorter than itself */
  CHECK(header_is_taken(0, 64));
  CHECK(!header_is_taken(4, 0));
  CHECK(!header_is_taken(4, 5));
  CHECK(!header_is_taken(5, 2));
  CHECK(header_is_taken(5, RECORD_SEALED));
  CHECK(!header_is_taken(6, 16));
  CHECK(header_is_taken(6, 15));
  CHECK(!header_is_taken(7, 1));
  CHECK(!header_is_taken(31, 128)); /* a feature */
}

TEST(record, sealed_record_is_never_shorter_than_its_seal) {
  RecordHeader header = { .length = 80, .kind = RECORD_TRANSACTION, .flags = RECORD_SEALED };
  uint8_t bytes[RECORD_HEADER_BYTES];
  record_header_write(&header, bytes);
  CHECK(!record_header_read(bytes, &header));
}

TEST(record, checksum_covers_header_body_and_log_id) {
  uint8_t bytes[96];
  RecordHeader header = { .length = 96, .kind = RECORD_TRANSACTION, .position = 160 };
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 37);
  record_header_write(&header, bytes);
  uint64_t right = record_checksum(bytes, 96, RECORD_TRANSACTION, 5);
  CHECK(record_checksum(bytes, 96, RECORD_TRANSACTION, 6) != right);
  for (size_t i = 0; i < sizeof bytes; i++) {
    bytes[i] ^= 4;
    bool is_checksum = i >= 48 && i < 56;
    CHECK_INT(record_checksum(bytes, 96, RECORD_TRANSACTION, 5) == right, is_checksum);
    bytes[i] ^= 4;
  }
}

TEST(record, padding_is_zeros_and_noted_once) {
  for (size_t length = 0; length < 40; length++) {
    Buffer record = { 0 };
    record_begin(&record, false);
    memset(buffer_extend(&record, length), 0xAA, length);
    record_pad(&record);
    CHECK_INT(record.length % 16, 0);
    size_t padding = record.length - RECORD_HEADER_BYTES - length;
    CHECK(padding < 16);
    CHECK_INT(record.data[6], padding);
    for (size_t i = 0; i < padding; i++) CHECK_INT(record.data[record.length - 1 - i], 0);
    size_t padded = record.length;
    record_pad(&record);
    CHECK_INT(record.length, padded);
    CHECK_INT(record.data[6], padding);
    buffer_release(&record);
  }
}

TEST(record, sealed_record_begins_with_room_for_nonce_and_tag) {
  Buffer record = { 0 };
  record_begin(&record, true);
  CHECK_INT(record.length, 96);
  CHECK_INT(record.data[5], RECORD_SEALED);
  CHECK_INT(record_body_offset(record.data[5]), 96);
  record_begin(&record, false);
  CHECK_INT(record.length, 56);
  CHECK_INT(record.data[5], 0);
  buffer_release(&record);
}

/* ---- operations ---- */

static void check_operation(OperationReader *reader, const Operation *expected) {
  Operation op;
  bool more;
  CHECK_OK(operation_next(reader, &op, &more));
  CHECK(more);
  CHECK_INT(op.kind, expected->kind);
  CHECK_INT(op.family_id, expected->family_id);
  CHECK_INT(op.has_schema_version, expected->has_schema_version);
  CHECK_INT(op.schema_version, expected->schema_version);
  CHECK_INT(op.expiry, expected->expiry);
  CHECK_INT(op.key.length, expected->key.length);
  CHECK(op.key.length == 0 || memcmp(op.key.data, expected->key.data, op.key.length) == 0);
  CHECK_INT(op.payload.length, expected->payload.length);
  CHECK(op.payload.length == 0 || memcmp(op.payload.data, expected->payload.data, op.payload.length) == 0);
}

static OperationReader read_back(const Buffer *record) {
  return operation_reader_over((Bytes){ record->data + RECORD_HEADER_BYTES, record->length - RECORD_HEADER_BYTES });
}

static void check_end(OperationReader *reader) {
  Operation op;
  bool more = true;
  CHECK_OK(operation_next(reader, &op, &more));
  CHECK(!more);
}

TEST(record, every_kind_comes_back_as_it_was_appended) {
  Buffer record = { 0 };
  record_begin(&record, false);
  record_append_put(&record, 1, 1700000000000, text("key"), text("value"));
  record_append_put(&record, 300, EXPIRY_NEVER, text("k"), text(""));
  record_append_delete(&record, UINT32_MAX, text("gone"));
  record_append_row_delete(&record, 9, 4, text("\x01row"));
  for (int kind = OPERATION_FAMILY_CREATE; kind <= OPERATION_FAMILY_CHANGE; kind++) {
    record_append_payload(&record, (OperationKind)kind, 12, text("name"), text("opaque"));
  }
  CHECK_OK(buffer_status(&record));
  OperationReader reader = read_back(&record);
  check_operation(&reader, &(Operation){ OPERATION_KV_PUT, 1, false, 0, 1700000000000, text("key"), text("value") });
  check_operation(&reader, &(Operation){ OPERATION_KV_PUT, 300, false, 0, EXPIRY_NEVER, text("k"), text("") });
  Operation gone = { OPERATION_KV_DELETE, UINT32_MAX, false, 0, EXPIRY_NEVER, text("gone"), text("") };
  check_operation(&reader, &gone);
  check_operation(&reader, &(Operation){ OPERATION_ROW_DELETE, 9, true, 4, EXPIRY_NEVER, text("\x01row"), text("") });
  for (int kind = OPERATION_FAMILY_CREATE; kind <= OPERATION_FAMILY_CHANGE; kind++) {
    Operation opaque = { (OperationKind)kind, 12, false, 0, EXPIRY_NEVER, text("name"), text("opaque") };
    check_operation(&reader, &opaque);
  }
  check_end(&reader);
  buffer_release(&record);
}

TEST(record, put_has_the_documented_bytes) {
  Buffer record = { 0 };
  record_begin(&record, false);
  record_append_put(&record, 300, 0x0102030405060708, text("ab"), text("xyz"));
  const uint8_t expected[] = { 1, 1, 0xAC, 2, 8, 7, 6, 5, 4, 3, 2, 1, 2, 'a', 'b', 3, 'x', 'y', 'z' };
  CHECK_INT(record.length, RECORD_HEADER_BYTES + sizeof expected);
  CHECK_BYTES(record.data + RECORD_HEADER_BYTES, expected, sizeof expected);
  buffer_release(&record);
}

/* A random operation of a random kind, in the allowed forms. Key and payload point into `noise`. */
static Operation random_operation(uint64_t *seed, const uint8_t *noise, size_t noise_length) {
  Operation op = { .kind = (OperationKind)(1 + test_random_below(seed, 9)), .family_id = (uint32_t)test_random(seed) };
  op.family_id >>= test_random_below(seed, 32);
  bool is_write = op.kind == OPERATION_KV_PUT || op.kind == OPERATION_ROW_UPSERT;
  bool is_delete = op.kind == OPERATION_KV_DELETE || op.kind == OPERATION_ROW_DELETE;
  bool is_row = op.kind == OPERATION_ROW_UPSERT || op.kind == OPERATION_ROW_DELETE;
  op.has_schema_version = is_row || test_random(seed) % 4 == 0;
  if (op.has_schema_version) op.schema_version = (uint32_t)(test_random(seed) >> (32 + test_random_below(seed, 32)));
  op.expiry = is_write && test_random(seed) % 2 ? (int64_t)test_random(seed) : EXPIRY_NEVER;
  size_t length_max = test_random(seed) % 16 ? 40 : noise_length / 2;
  op.key.length = 1 + (size_t)test_random_below(seed, length_max);
  op.key.data = noise + test_random_below(seed, noise_length - op.key.length);
  op.payload.length = is_delete ? 0 : (size_t)test_random_below(seed, length_max);
  op.payload.data = noise + test_random_below(seed, noise_length - op.payload.length);
  return op;
}

TEST(record, random_operations_round_trip) {
  enum { OPERATIONS_MAX = 40, NOISE = 70000 };
  uint64_t seed = 11;
  uint8_t *noise = malloc(NOISE);
  for (size_t i = 0; i < NOISE; i++) noise[i] = (uint8_t)test_random(&seed);
  Buffer record = { 0 };
  for (uint64_t round = test_scaled(2000); round-- > 0;) {
    Operation written[OPERATIONS_MAX];
    size_t count = (size_t)test_random_below(&seed, OPERATIONS_MAX + 1);
    record_begin(&record, false);
    for (size_t i = 0; i < count; i++) {
      written[i] = random_operation(&seed, noise, NOISE);
      record_append_operation(&record, &written[i]);
    }
    CHECK_OK(buffer_status(&record));
    OperationReader reader = read_back(&record);
    for (size_t i = 0; i < count; i++) check_operation(&reader, &written[i]);
    check_end(&reader);
  }
  buffer_release(&record);
  free(noise);
}

/* Reads all operations of a copy of exactly that length, so that a sanitizer sees one byte too many. How many came. */
static Status read_all(const uint8_t *bytes, size_t length, size_t *count) {
  uint8_t *copy = malloc(length ? length : 1);
  memcpy(copy, bytes, length);
  OperationReader reader = operation_reader_over((Bytes){ copy, length });
  Status status = KVSTORE_OK;
  bool more = true;
  for (*count = 0; status == KVSTORE_OK && more; *count += more) {
    Operation op;
    status = operation_next(&reader, &op, &more);
    if (status == KVSTORE_OK && more && op.key.length) {
      CHECK(op.key.data >= copy && op.key.data + op.key.length <= copy + length);
    }
    if (status != KVSTORE_OK) more = false;
  }
  free(copy);
  return status;
}

TEST(record, every_truncation_is_refused_or_ends_between_operations) {
  uint64_t seed = 3;
  uint8_t noise[256];
  for (size_t i = 0; i < sizeof noise; i++) noise[i] = (uint8_t)test_random(&seed);
  for (uint64_t round = test_scaled(200); round-- > 0;) {
    Buffer record = { 0 };
    size_t ends[9] = { 0 }, at_end = 0;
    record_begin(&record, false);
    for (size_t i = 1; i <= 8; i++) {
      Operation op = random_operation(&seed, noise, sizeof noise);
      record_append_operation(&record, &op);
      ends[i] = record.length - RECORD_HEADER_BYTES;
    }
    for (size_t length = 0; length <= ends[8]; length++) {
      if (at_end < 8 && length == ends[at_end + 1]) at_end++;
      size_t count;
      Status status = read_all(record.data + RECORD_HEADER_BYTES, length, &count);
      CHECK_INT(status, length == ends[at_end] ? KVSTORE_OK : KVSTORE_CORRUPT);
      CHECK_INT(count, at_end);
    }
    buffer_release(&record);
  }
}

TEST(record, every_flipped_bit_is_refused_or_harmless) {
  uint64_t seed = 5;
  uint8_t noise[256];
  for (size_t i = 0; i < sizeof noise; i++) noise[i] = (uint8_t)test_random(&seed);
  Buffer record = { 0 };
  record_begin(&record, false);
  for (size_t i = 0; i < 60; i++) {
    Operation op = random_operation(&seed, noise, sizeof noise);
    record_append_operation(&record, &op);
  }
  uint8_t *bytes = record.data + RECORD_HEADER_BYTES;
  size_t length = record.length - RECORD_HEADER_BYTES, refused = 0, count;
  for (size_t bit = 0; bit < length * 8; bit++) {
    bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    Status status = read_all(bytes, length, &count);
    CHECK(status == KVSTORE_OK || status == KVSTORE_CORRUPT);
    refused += status == KVSTORE_CORRUPT;
    bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
  }
  CHECK(refused > 0);
  buffer_release(&record);
}

static void check_refused(const uint8_t *bytes, size_t length) {
  size_t count;
  CHECK_STATUS(read_all(bytes, length, &count), KVSTORE_CORRUPT);
  CHECK_INT(count, 0);
}
#define CHECK_REFUSED(...)                    \
  do {                                        \
    const uint8_t bytes_[] = { __VA_ARGS__ }; \
    check_refused(bytes_, sizeof bytes_);     \
  } while (0)

TEST(record, operations_that_no_writer_makes_are_refused) {
  CHECK_REFUSED(0, 0, 1, 1, 'k', 0);                                         /* kind 0 */
  CHECK_REFUSED(11, 0, 1, 1, 'k', 0);                                        /* an unknown kind */
  CHECK_REFUSED(1, 4, 1, 1, 'k', 0);                                         /* an unknown flag */
  CHECK_REFUSED(1, 0, 1, 0, 0);                                              /* an empty key */
  CHECK_REFUSED(2, 0, 1, 1, 'k', 1, 'v');                                    /* a delete with a value */
  CHECK_REFUSED(2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 'k', 0);                 /* a delete with an expiry */
  CHECK_REFUSED(1, 1, 1, 255, 255, 255, 255, 255, 255, 255, 127, 1, 'k', 0); /* an expiry that means never */
  CHECK_REFUSED(3, 0, 1, 1, 'k', 1, 0);                                      /* a row without its schema version */
  CHECK_REFUSED(4, 0, 1, 1, 'k', 0);
  CHECK_REFUSED(1, 0, 0x81, 0, 1, 'k', 0);                         /* a varint longer than it need be */
  CHECK_REFUSED(1, 0, 0x80, 0x80, 0x80, 0x80, 0x10, 1, 'k', 0);    /* a family id of 33 bits */
  CHECK_REFUSED(1, 2, 1, 0x80, 0x80, 0x80, 0x80, 0x10, 1, 'k', 0); /* a schema version of 33 bits */
  CHECK_REFUSED(1, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 'k'); /* a length of 2^64 - 1 */
  CHECK_REFUSED(1, 0, 1, 1, 'k', 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1); /* 11 bytes */
}

TEST(record, key_longer_than_the_limit_is_refused) {
  size_t count, length = KEY_BYTES_MAX + 1;
  Buffer record = { 0 };
  uint8_t *key = calloc(1, length);
  record_begin(&record, false);
  record_append_put(&record, 1, EXPIRY_NEVER, (Bytes){ key, length - 1 }, text(""));
  CHECK_OK(read_all(record.data + 56, record.length - 56, &count));
  CHECK_INT(count, 1);
  record_begin(&record, false);
  record_append_put(&record, 1, EXPIRY_NEVER, (Bytes){ key, length }, text(""));
  CHECK_STATUS(read_all(record.data + 56, record.length - 56, &count), KVSTORE_CORRUPT);
  free(key);
  buffer_release(&record);
}

TEST(record, reader_stays_failed_after_damage) {
  const uint8_t bytes[] = { 11, 0, 1, 1, 'k', 0, 1, 0, 1, 1, 'k', 0 };
  OperationReader reader = operation_reader_over((Bytes){ bytes, sizeof bytes });
  Operation op;
  bool more;
  CHECK_STATUS(operation_next(&reader, &op, &more), KVSTORE_CORRUPT);
  CHECK_OK(operation_next(&reader, &op, &more));
  CHECK(!more);
}

static void *no_memory(void *context, size_t size) {
  (void)context;
  (void)size;
  return NULL;
}
static void *no_more_memory(void *context, void *pointer, size_t size) {
  (void)context;
  (void)pointer;
  (void)size;
  return NULL;
}
static void release(void *context, void *pointer) {
  (void)context;
  free(pointer);
}

TEST(record, appends_survive_the_end_of_memory) {
  MemoryTable table = { no_memory, no_more_memory, release, NULL };
  memory_table_set(&table);
  Buffer record = { 0 };
  record_begin(&record, true);
  record_append_put(&record, 1, 5, text("key"), text("value"));
  record_append_row_delete(&record, 1, 5, text("key"));
  record_pad(&record);
  CHECK_STATUS(buffer_status(&record), KVSTORE_NOMEM);
  buffer_release(&record);
  memory_table_set(NULL);
}
