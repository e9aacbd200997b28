/* deleted_disk.c - deleted rows as bytes: the list of a flush, and the bitmap of a run in the Roaring portable format.
 */
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "columnar/deleted_internal.h"

/* ---- the list ---- */

static size_t segment_length(const uint32_t *positions, size_t count) {
  size_t length = 1;
  while (length < count && position_segment(positions[length]) == position_segment(positions[0])) length++;
  return length;
}

void deleted_list_write(const uint32_t *positions, size_t count, Buffer *out) {
  buffer_varint(out, count);
  for (uint32_t next_segment = 0; count;) {
    size_t length = segment_length(positions, count);
    uint32_t segment = position_segment(positions[0]), next_row = 0;
    buffer_varint(out, segment - next_segment);
    buffer_varint(out, length);
    for (size_t i = 0; i < length; i++) {
      uint32_t row = position_row(positions[i]);
      ASSERT(row >= next_row, "COL-9");
      buffer_varint(out, row - next_row);
      next_row = row + 1;
    }
    next_segment = segment + 1;
    positions += length;
    count -= length;
  }
}

/* The rows of one segment: `length` steps. */
static Status list_read_rows(Reader *in, uint32_t segment, uint32_t row_count, size_t length, uint32_t *positions) {
  uint64_t next_row = 0;
  for (size_t i = 0; i < length; i++) {
    uint64_t step = reader_varint(in);
    if (in->failed || step >= row_count - next_row) {
      return status_fail(KVSTORE_CORRUPT, "a list of deleted rows is damaged: entry %zu of segment %u", i, segment);
    }
    positions[i] = position_pack(segment, (uint32_t)(next_row + step));
    next_row += step + 1;
  }
  return KVSTORE_OK;
}

static Status list_read_segments(Reader *in, const uint32_t *segment_rows, uint32_t segment_count, uint32_t *positions,
                                 size_t count) {
  uint64_t next_segment = 0;
  while (count) {
    uint64_t skipped = reader_varint(in), length = reader_varint(in);
    if (in->failed || skipped >= segment_count - next_segment || length == 0 || length > count) {
      return status_fail(KVSTORE_CORRUPT, "a list of deleted rows is damaged: a wrong segment or length");
    }
    uint32_t segment = (uint32_t)(next_segment + skipped);
    TRY(list_read_rows(in, segment, segment_rows[segment], (size_t)length, positions));
    next_segment = segment + 1;
    positions += length;
    count -= (size_t)length;
  }
  return KVSTORE_OK;
}

Status deleted_list_read(Reader *in, const uint32_t *segment_rows, uint32_t segment_count, uint32_t **positions,
                         size_t *count) {
  *positions = NULL;
  *count = 0;
  uint64_t total = reader_varint(in);
  /* A row takes a byte at least, so that a damaged count cannot ask for memory that the list does not justify. */
  if (in->failed || total > reader_left(in)) {
    return status_fail(KVSTORE_CORRUPT, "a list of deleted rows is damaged: its length");
  }
  if (!total) return KVSTORE_OK;
  uint32_t *read = memory_allocate(memory_array_size((size_t)total, sizeof *read));
  if (!read) return status_nomem();
  Status status = list_read_segments(in, segment_rows, segment_count, read, (size_t)total);
  if (status != KVSTORE_OK) {
    memory_release(read);
    return status;
  }
  *positions = read;
  *count = (size_t)total;
  return KVSTORE_OK;
}

/* ---- the bitmap ----
 *
 *   u32 cookie: 12346; or 12347 | (containers - 1) << 16, then a bit a container: it is of runs
 *   u32 containers                                        only after 12346
 *   u16 key, u16 cardinality - 1                          of each container; keys ascend: segments
 *   u32 offset                                            of each, from the cookie; after 12347 only when there are 4
 *   container: u16 rows (at most 4,096 of them), or 8 KiB of bits, or u16 runs, then u16 first, u16 length - 1 of each
 */
enum {
  COOKIE_PLAIN = 12346,
  COOKIE_RUNS = 12347,
  OFFSETS_WITH_RUNS_MIN = 4,
  CONTAINER_ARRAY_MAX = 4096,
  CONTAINER_BITS_BYTES = 8192,
};

static uint32_t container_bytes(const DeletedRows *rows) {
  return rows->count > CONTAINER_ARRAY_MAX ? CONTAINER_BITS_BYTES : rows->count * 2;
}

static void container_write(const DeletedRows *rows, Buffer *out) {
  uint8_t *bytes = buffer_extend(out, container_bytes(rows));
  if (!bytes) return;
  if (rows->count > CONTAINER_ARRAY_MAX) {
    memcpy(bytes, rows->words, CONTAINER_BITS_BYTES);
  } else {
    uint16_t list[CONTAINER_ARRAY_MAX];
    deleted_rows_list(rows, list);
    memcpy(bytes, list, rows->count * sizeof(uint16_t));
  }
}

void deleted_bitmap_write(const DeletedSet *set, Buffer *out) {
  uint32_t containers = 0, segment_count = set ? set->segment_count : 0;
  for (uint32_t s = 0; s < segment_count; s++) containers += set->segments[s] != NULL;
  buffer_u32(out, COOKIE_PLAIN);
  buffer_u32(out, containers);
  for (uint32_t s = 0; s < segment_count; s++) {
    if (!set->segments[s]) continue;
    buffer_u16(out, (uint16_t)s);
    buffer_u16(out, (uint16_t)(set->segments[s]->count - 1));
  }
  uint32_t offset = 8 + containers * 8;
  for (uint32_t s = 0; s < segment_count; s++) {
    if (!set->segments[s]) continue;
    buffer_u32(out, offset);
    offset += container_bytes(set->segments[s]);
  }
  for (uint32_t s = 0; s < segment_count; s++) {
    if (set->segments[s]) container_write(set->segments[s], out);
  }
}

/* One container, as its header describes it. */
typedef struct Container {
  uint32_t segment, count;
  uint32_t row_count; /* of the segment */
  bool is_runs;
} Container;

static Status container_damaged(const Container *c, const char *what) {
  return status_fail(KVSTORE_CORRUPT, "a bitmap of deleted rows is damaged: segment %u: %s", c->segment, what);
}

static Status container_read_array(Reader *in, const Container *c, DeletedRows **rows) {
  uint16_t list[CONTAINER_ARRAY_MAX];
  const uint8_t *bytes = reader_take(in, c->count * 2);
  if (!bytes) return container_damaged(c, "it is cut short");
  memcpy(list, bytes, c->count * sizeof(uint16_t));
  for (uint32_t i = 1; i < c->count; i++) {
    if (list[i - 1] >= list[i]) return container_damaged(c, "its rows do not ascend");
  }
  if (list[c->count - 1] >= c->row_count) return container_damaged(c, "a row past its end");
  *rows = deleted_rows_from_array(list, c->count);
  return *rows ? KVSTORE_OK : status_nomem();
}

static Status container_from_words(const Container *c, const uint64_t words[DELETED_WORDS], DeletedRows **rows) {
  if (bitmap_count(words, DELETED_WORDS) != c->count) return container_damaged(c, "its cardinality is wrong");
  uint64_t allowed[DELETED_WORDS], outside = 0;
  bitmap_fill_first(allowed, DELETED_WORDS, c->row_count);
  for (uint32_t w = 0; w < DELETED_WORDS; w++) outside |= words[w] & ~allowed[w];
  if (outside) return container_damaged(c, "a row past its end");
  *rows = deleted_rows_from_words(words, c->count);
  return *rows ? KVSTORE_OK : status_nomem();
}

static Status container_read_bits(Reader *in, const Container *c, DeletedRows **rows) {
  uint64_t words[DELETED_WORDS];
  const uint8_t *bytes = reader_take(in, CONTAINER_BITS_BYTES);
  if (!bytes) return container_damaged(c, "it is cut short");
  memcpy(words, bytes, sizeof words);
  return container_from_words(c, words, rows);
}

static Status container_read_runs(Reader *in, const Container *c, DeletedRows **rows) {
  uint64_t words[DELETED_WORDS] = { 0 };
  uint32_t runs = reader_u16(in), next = 0;
  for (uint32_t r = 0; r < runs; r++) {
    uint32_t first = reader_u16(in), last = first + reader_u16(in);
    if (in->failed) return container_damaged(c, "it is cut short");
    if (first < next || last >= SEGMENT_ROWS) return container_damaged(c, "its runs do not ascend");
    for (uint32_t row = first; row <= last; row++) bit_set(words, row);
    next = last + 1;
  }
  return container_from_words(c, words, rows);
}

static Status container_read(Reader *in, const Container *c, DeletedRows **rows) {
  if (c->is_runs) return container_read_runs(in, c, rows);
  return c->count > CONTAINER_ARRAY_MAX ? container_read_bits(in, c, rows) : container_read_array(in, c, rows);
}

/* Cookie and container headers. `start` is where the bitmap begins. */
static Status bitmap_read_headers(Reader *in, const uint32_t *segment_rows, uint32_t segment_count,
                                  Container containers[RUN_SEGMENTS_MAX], uint32_t *container_count,
                                  const uint8_t **offsets) {
  uint32_t cookie = reader_u32(in), count = 0;
  const uint8_t *run_bits = NULL;
  if (cookie == COOKIE_PLAIN) {
    count = reader_u32(in);
  } else if ((cookie & 0xFFFF) == COOKIE_RUNS) {
    count = (cookie >> 16) + 1;
    run_bits = reader_take(in, (count + 7) / 8);
  } else {
    return status_fail(KVSTORE_CORRUPT, "a bitmap of deleted rows begins with the wrong cookie %u", cookie);
  }
  if (in->failed || count > segment_count) {
    return status_fail(KVSTORE_CORRUPT, "a bitmap of deleted rows has %u containers for %u segments", count,
                       segment_count);
  }
  uint32_t next_segment = 0;
  for (uint32_t i = 0; i < count; i++) {
    Container *c = &containers[i];
    c->segment = reader_u16(in);
    c->count = reader_u16(in) + 1u;
    c->is_runs = run_bits && (run_bits[i / 8] >> (i % 8) & 1);
    if (in->failed || c->segment < next_segment || c->segment >= segment_count) {
      return container_damaged(c, "it is out of order or no segment of the run");
    }
    c->row_count = segment_rows[c->segment];
    next_segment = c->segment + 1;
  }
  bool has_offsets = !run_bits || count >= OFFSETS_WITH_RUNS_MIN;
  *offsets = has_offsets ? reader_take(in, count * 4) : NULL;
  *container_count = count;
  return in->failed ? status_fail(KVSTORE_CORRUPT, "a bitmap of deleted rows is cut short") : KVSTORE_OK;
}

Status deleted_bitmap_read(Reader *in, const uint32_t *segment_rows, uint32_t segment_count, DeletedSet **set) {
  Container containers[RUN_SEGMENTS_MAX];
  const uint8_t *start = in->at, *offsets;
  uint32_t container_count = 0;
  *set = NULL;
  TRY(bitmap_read_headers(in, segment_rows, segment_count, containers, &container_count, &offsets));
  DeletedSet *made;
  TRY(deleted_set_create(segment_count, &made));
  Status status = KVSTORE_OK;
  for (uint32_t i = 0; i < container_count && status == KVSTORE_OK; i++) {
    const Container *c = &containers[i];
    if (offsets && load_u32(offsets + 4 * i) != (uint64_t)(in->at - start)) {
      status = container_damaged(c, "its offset is wrong");
    } else {
      status = container_read(in, c, &made->segments[c->segment]);
    }
    if (status == KVSTORE_OK) made->count += c->count;
  }
  if (status != KVSTORE_OK) {
    deleted_set_release(made);
    return status;
  }
  *set = made;
  return KVSTORE_OK;
}
