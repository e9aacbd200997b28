/* column_run_check.c - everything about a run that can be verified, verified. */
#include <string.h>

#include "base/hash.h"
#include "base/keycode.h"
#include "base/memory.h"
#include "columnar/column_run_internal.h"
#include "columnar/key_filter.h"

static Status check_failed(const Segment *s, uint32_t row, const char *what) {
  return status_fail(KVSTORE_CORRUPT, "segment %u of a column run, row %u: %s", s->number, row, what);
}

/* Every unit of an extent. */
static Status check_units(Source *source) {
  for (uint64_t at = 0; at < source->length; at += UNIT_BYTES) {
    uint64_t left = source->length - at;
    const uint8_t *bytes;
    SourcePin pin;
    TRY(source_block(source, at, left < UNIT_BYTES ? (size_t)left : UNIT_BYTES, &bytes, &pin));
    source_release(source, &pin);
  }
  return KVSTORE_OK;
}

/* Every chunk, those of dropped columns too: structure, and its zones against its values. */
static Status check_chunks(Segment *s) {
  for (uint32_t c = 0; c < segment_chunk_count(s); c++) {
    ChunkHold hold;
    TRY(segment_stored_chunk(s, c, &hold));
    Status status = chunk_check(hold.chunk);
    segment_chunk_release(&hold);
    TRY(status);
  }
  return KVSTORE_OK;
}

/* ---- keys ---- */

typedef struct KeyCheck {
  Segment *segment;
  SegmentOpen *opened;
  Bytes (*values)[BLOCK_ROWS]; /* a decoded block of each key column; as wide as the widest entries */
  ChunkHold holds[KEY_COLUMNS_MAX];
  uint32_t held;
  Buffer key, before;
  Buffer rooms[KEY_COLUMNS_MAX]; /* of strings that do not lie in their chunks */
} KeyCheck;

static void append_key(const KeyCheck *check, uint32_t row, Buffer *key) {
  const ColumnRunIndex *index = check->segment->run->index;
  buffer_clear(key);
  for (uint32_t k = 0; k < index->key_count; k++) {
    Value value = value_from_array(index->columns[index->key_columns[k]].type, check->values[k], row);
    keycode_append(key, &value, false);
  }
}

static bool key_is(const Buffer *key, Bytes other) {
  return key->length == other.length && !memcmp(key->data, other.data, other.length);
}

static Status check_key(KeyCheck *check, uint32_t row) {
  const Segment *s = check->segment;
  const SegmentOpen *o = check->opened;
  const Buffer *key = &check->key;
  TRY(buffer_status(key));
  if (key->length > KEY_BYTES_MAX) return check_failed(s, row, "its key is too long");
  if (row && bytes_compare(check->before.data, check->before.length, key->data, key->length) >= 0) {
    return check_failed(s, row, "its keys do not ascend");
  }
  if (row % BLOCK_ROWS == 0 && !key_is(key, segment_open_fence(o, s, row / BLOCK_ROWS))) {
    return check_failed(s, row, "the fence is another key");
  }
  if (row + 1 == s->row_count && !key_is(key, s->last_key)) return check_failed(s, row, "the last key is another one");
  if (o->filter && !key_filter_may_contain(o->filter, o->filter_bytes, hash_key(key->data, key->length))) {
    return check_failed(s, row, "the filter does not know its key");
  }
  return KVSTORE_OK;
}

static Status check_block_keys(KeyCheck *check, uint32_t block) {
  const ColumnRunIndex *index = check->segment->run->index;
  for (uint32_t k = 0; k < index->key_count; k++) {
    const Chunk *chunk = check->holds[k].chunk;
    uint64_t bytes = codec_decode_room(chunk, block);
    buffer_clear(&check->rooms[k]);
    uint8_t *room = bytes ? buffer_extend(&check->rooms[k], (size_t)bytes) : NULL;
    if (bytes && !room) return status_nomem();
    codec_decode_into(chunk, block, check->values[k], NULL, room);
  }
  for (uint32_t row = 0; row < segment_block_rows(check->segment, block); row++) {
    append_key(check, row, &check->key);
    TRY(check_key(check, block * BLOCK_ROWS + row));
    Buffer swap = check->before;
    check->before = check->key;
    check->key = swap;
  }
  return KVSTORE_OK;
}

static Status check_all_keys(KeyCheck *check) {
  Segment *s = check->segment;
  const ColumnRunIndex *index = s->run->index;
  TRY(segment_open(s, &check->opened));
  check->values = memory_allocate(memory_array_size(index->key_count, sizeof *check->values));
  if (!check->values) return status_nomem();
  for (; check->held < index->key_count; check->held++) {
    TRY(segment_stored_chunk(s, index->key_columns[check->held], &check->holds[check->held]));
  }
  for (uint32_t block = 0; block < s->block_count; block++) TRY(check_block_keys(check, block));
  return KVSTORE_OK;
}

static Status check_keys(Segment *s) {
  KeyCheck check;
  memset(&check, 0, sizeof check);
  check.segment = s;
  Status status = check_all_keys(&check);
  for (uint32_t k = 0; k < check.held; k++) segment_chunk_release(&check.holds[k]);
  memory_release(check.values);
  buffer_release(&check.key);
  buffer_release(&check.before);
  for (uint32_t k = 0; k < KEY_COLUMNS_MAX; k++) buffer_release(&check.rooms[k]);
  return status;
}

Status column_run_check(ColumnRun *run) {
  const ColumnRunIndex *index = run->index;
  for (uint32_t c = 0; c < index->column_count; c++)
    if (index->columns[c].is_array) TRY(check_units(&index->sources[index->columns[c].extent]));
  for (uint32_t i = 0; i < run->segment_count; i++) {
    Segment *s = &run->segments[i];
    TRY(check_units(&run->index->sources[s->extent]));
    TRY(check_chunks(s));
    TRY(check_keys(s));
  }
  return KVSTORE_OK;
}
