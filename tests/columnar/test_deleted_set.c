/* Deleted sets against a plain array of flags; their bytes against CRoaring and against damage. */
#include "columnar/deleted_set.h"

#include <roaring/roaring.h>
#include <stdlib.h>

#include "base/memory.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

enum { SEGMENTS = 5, ROWS = SEGMENTS * SEGMENT_ROWS };

static const uint32_t segment_rows[SEGMENTS] = { SEGMENT_ROWS, SEGMENT_ROWS, 40000, SEGMENT_ROWS, 777 };

/* ---- the oracle: a byte a row ---- */

static uint64_t oracle_count(const uint8_t *dead, uint32_t from, uint32_t to) {
  uint64_t count = 0;
  for (uint32_t i = from; i < to; i++) count += dead[i];
  return count;
}

/* Of half the blocks: the other masks stay as they are. */
static void check_masks(const DeletedRows *rows, const uint8_t *dead) {
  static uint64_t masks[SEGMENT_BLOCKS][BLOCK_WORDS];
  uint64_t touched, emptied, blocks = UINT64_C(0x5555555555555555);
  for (int half = 0; half < 2; half++, blocks = ~blocks) {
    memset(masks, 0xFF, sizeof masks);
    deleted_rows_clear(rows, blocks, masks, &touched, &emptied);
    for (uint32_t b = 0; b < SEGMENT_BLOCKS; b++) {
      bool asked = blocks >> b & 1;
      uint32_t count = asked ? oracle_count(dead, b * BLOCK_ROWS, (b + 1) * BLOCK_ROWS) : 0;
      CHECK_INT(touched >> b & 1, count > 0);
      CHECK_INT(emptied >> b & 1, count == BLOCK_ROWS);
      for (uint32_t row = 0; row < BLOCK_ROWS; row++)
        if (bit_get(masks[b], row) == (asked && dead[b * BLOCK_ROWS + row])) CHECK_INT(row, -1);
    }
  }
}

static void check_equals(const DeletedSet *set, const uint8_t *dead) {
  CHECK_INT(deleted_set_count(set), oracle_count(dead, 0, ROWS));
  for (uint32_t s = 0; s < SEGMENTS; s++) {
    uint32_t first = position_pack(s, 0);
    CHECK_INT(deleted_set_segment_count(set, s), oracle_count(dead, first, first + SEGMENT_ROWS));
    const DeletedRows *rows = deleted_set_rows(set, s);
    CHECK(!rows || rows->is_bitmap == (rows->count > DELETED_ARRAY_MAX));
    if (rows) check_masks(rows, dead + first);
  }
  uint32_t *positions = malloc((deleted_set_count(set) + 1) * sizeof *positions);
  deleted_set_positions(set, positions);
  size_t at = 0;
  for (uint32_t i = 0; i < ROWS; i++) {
    if (dead[i]) CHECK_INT(positions[at++], i);
  }
  free(positions);
}

/* A random list of rows: scattered, a range, or crowded in one segment; unsorted and with repetitions at times. */
static size_t random_positions(uint64_t *random, uint32_t *positions, size_t most) {
  size_t count = 1 + test_random_below(random, most);
  uint64_t kind = test_random_below(random, 4);
  uint32_t segment = (uint32_t)test_random_below(random, SEGMENTS);
  uint32_t first = (uint32_t)test_random_below(random, segment_rows[segment]);
  for (size_t i = 0; i < count; i++) {
    if (kind == 0) segment = (uint32_t)test_random_below(random, SEGMENTS);
    uint32_t row = kind == 1 ? (uint32_t)((first + i) % segment_rows[segment])
                             : (uint32_t)test_random_below(random, segment_rows[segment]);
    positions[i] = position_pack(segment, row);
  }
  return count;
}

TEST(deleted_set, holds_what_was_added_and_leaves_older_sets_alone) {
  uint64_t random = 1;
  uint32_t *positions = malloc(4096 * sizeof *positions);
  for (uint64_t round = 0; round < test_scaled(6) + 1; round++) {
    uint8_t *dead = calloc(ROWS, 1), *dead_before = calloc(ROWS, 1);
    DeletedSet *set = NULL;
    for (int step = 0; step < 12; step++) {
      size_t count = random_positions(&random, positions, step < 6 ? 300 : 4000);
      memcpy(dead_before, dead, ROWS);
      for (size_t i = 0; i < count; i++) dead[positions[i]] = 1;
      DeletedSet *grown;
      CHECK_OK(deleted_set_add_many(set, SEGMENTS, positions, count, &grown));
      check_equals(grown, dead);
      if (set) check_equals(set, dead_before);
      deleted_set_release(set);
      set = grown;
    }
    deleted_set_release(set);
    free(dead);
    free(dead_before);
  }
  free(positions);
  CHECK_INT(memory_blocks_held(), 0);
}

TEST(deleted_set, shares_segments_without_new_rows) {
  DeletedSet *first, *second, *third;
  uint32_t some[] = { position_pack(0, 5), position_pack(3, 9) }, more[] = { position_pack(3, 7) };
  CHECK_OK(deleted_set_add_many(NULL, SEGMENTS, some, 2, &first));
  CHECK_OK(deleted_set_add_many(first, 0, more, 1, &second));
  CHECK(first->segments[0] == second->segments[0]);
  CHECK(first->segments[3] != second->segments[3]);
  CHECK_OK(deleted_set_add_many(second, 0, some, 2, &third)); /* nothing new: everything is shared */
  CHECK(second->segments[3] == third->segments[3]);
  CHECK_INT(third->count, 3);
  deleted_set_release(first);
  CHECK(deleted_set_contains(deleted_set_retain(second), 0, 5));
  deleted_set_release(second);
  deleted_set_release(second);
  CHECK(deleted_set_contains(third, 3, 9) && deleted_set_contains(third, 3, 7) && !deleted_set_contains(third, 3, 8));
  deleted_set_release(third);
  CHECK_INT(memory_blocks_held(), 0);
}

TEST(deleted_set, null_is_the_empty_set) {
  uint64_t words[DELETED_WORDS];
  CHECK_INT(deleted_set_count(NULL), 0);
  CHECK(!deleted_set_contains(NULL, 3, 1));
  CHECK(!deleted_set_rows(NULL, 1));
  deleted_set_words(NULL, 1, words);
  CHECK_INT(bitmap_count(words, DELETED_WORDS), 0);
  deleted_set_release(NULL);
  CHECK(!deleted_set_retain(NULL));
}

TEST(deleted_set, refuses_rows_of_segments_that_the_run_has_not) {
  DeletedSet *set;
  uint32_t wrong[] = { position_pack(1, 1), position_pack(SEGMENTS, 0), UINT32_MAX };
  CHECK_STATUS(deleted_set_add_many(NULL, SEGMENTS, wrong, 2, &set), KVSTORE_CORRUPT);
  CHECK(!set);
  CHECK_STATUS(deleted_set_add_many(NULL, SEGMENTS, wrong + 2, 1, &set), KVSTORE_CORRUPT);
}

TEST(deleted_set, counts_ranges) {
  uint64_t random = 2;
  uint8_t *dead = calloc(SEGMENT_ROWS, 1);
  for (uint32_t count = 100; count <= 20000; count *= 200) {
    DeletedSet *set = NULL;
    memset(dead, 0, SEGMENT_ROWS);
    uint32_t *positions = malloc(count * sizeof *positions);
    for (uint32_t i = 0; i < count; i++) {
      positions[i] = (uint32_t)test_random_below(&random, SEGMENT_ROWS);
      dead[positions[i]] = 1;
    }
    CHECK_OK(deleted_set_add_many(NULL, 1, positions, count, &set));
    for (int i = 0; i < 200; i++) {
      uint32_t from = (uint32_t)test_random_below(&random, SEGMENT_ROWS + 1),
               to = (uint32_t)test_random_below(&random, SEGMENT_ROWS + 1);
      uint64_t expected = from < to ? oracle_count(dead, from, to) : 0;
      CHECK_INT(deleted_rows_count_range(set->segments[0], from, to), expected);
    }
    CHECK_INT(deleted_rows_count_range(set->segments[0], 0, SEGMENT_ROWS), set->count);
    deleted_set_release(set);
    free(positions);
  }
  free(dead);
}

/* ---- on disk ---- */

/* Sets with every kind of segment: none, few rows, many rows, all rows. */
static DeletedSet *varied_set(void) {
  uint64_t random = 3;
  uint32_t *positions = malloc(ROWS * sizeof *positions);
  size_t count = 0;
  for (uint32_t i = 0; i < 300; i++)
    positions[count++] = position_pack(0, (uint32_t)test_random_below(&random, SEGMENT_ROWS));
  for (uint32_t i = 0; i < 9000; i++)
    positions[count++] = position_pack(2, (uint32_t)test_random_below(&random, 40000));
  for (uint32_t i = 0; i < 2000; i++) positions[count++] = position_pack(3, i * 3);
  for (uint32_t i = 0; i < 777; i++) positions[count++] = position_pack(4, i);
  DeletedSet *set;
  CHECK_OK(deleted_set_add_many(NULL, SEGMENTS, positions, count, &set));
  free(positions);
  return set;
}

static void check_same(const DeletedSet *a, const DeletedSet *b) {
  CHECK_INT(a->count, b->count);
  for (uint32_t s = 0; s < SEGMENTS; s++) {
    uint64_t words_a[DELETED_WORDS], words_b[DELETED_WORDS];
    deleted_set_words(a, s, words_a);
    deleted_set_words(b, s, words_b);
    CHECK_BYTES(words_a, words_b, sizeof words_a);
    CHECK((a->segments[s] == NULL) == (b->segments[s] == NULL));
  }
}

TEST(deleted_disk, bitmap_is_what_the_roaring_library_reads) {
  DeletedSet *set = varied_set();
  Buffer bytes = { 0 };
  deleted_bitmap_write(set, &bytes);
  CHECK_OK(buffer_status(&bytes));
  roaring_bitmap_t *roaring = roaring_bitmap_portable_deserialize_safe((const char *)bytes.data, bytes.length);
  CHECK(roaring != NULL);
  CHECK_INT(roaring_bitmap_get_cardinality(roaring), set->count);
  uint32_t *ours = malloc(set->count * sizeof *ours), *theirs = malloc(set->count * sizeof *theirs);
  deleted_set_positions(set, ours);
  roaring_bitmap_to_uint32_array(roaring, theirs);
  CHECK_BYTES(ours, theirs, set->count * sizeof *ours);
  CHECK_INT(roaring_bitmap_portable_size_in_bytes(roaring), bytes.length);
  free(ours);
  free(theirs);
  roaring_bitmap_free(roaring);
  buffer_release(&bytes);
  deleted_set_release(set);
}

static Buffer roaring_bytes(const DeletedSet *set, bool with_runs) {
  uint32_t *positions = malloc((set->count + 1) * sizeof *positions);
  deleted_set_positions(set, positions);
  roaring_bitmap_t *roaring = roaring_bitmap_of_ptr(set->count, positions);
  if (with_runs) roaring_bitmap_run_optimize(roaring);
  Buffer bytes = { 0 };
  size_t length = roaring_bitmap_portable_size_in_bytes(roaring);
  roaring_bitmap_portable_serialize(roaring, (char *)buffer_extend(&bytes, length));
  roaring_bitmap_free(roaring);
  free(positions);
  return bytes;
}

TEST(deleted_disk, bitmap_reads_what_the_roaring_library_writes) {
  DeletedSet *set = varied_set();
  for (int with_runs = 0; with_runs < 2; with_runs++) {
    Buffer bytes = roaring_bytes(set, with_runs);
    buffer_u32(&bytes, 0x12345678); /* what follows stays unread */
    Reader in = reader_over(bytes.data, bytes.length);
    DeletedSet *read;
    CHECK_OK(deleted_bitmap_read(&in, segment_rows, SEGMENTS, &read));
    CHECK_INT(reader_left(&in), 4);
    check_same(read, set);
    deleted_set_release(read);
    buffer_release(&bytes);
  }
  deleted_set_release(set);
}

TEST(deleted_disk, empty_sets_round_trip) {
  DeletedSet *set, *read;
  CHECK_OK(deleted_set_create(SEGMENTS, &set));
  const DeletedSet *empty[] = { NULL, set };
  for (int i = 0; i < 2; i++) {
    Buffer bytes = { 0 };
    deleted_bitmap_write(empty[i], &bytes);
    Reader in = reader_over(bytes.data, bytes.length);
    CHECK_OK(deleted_bitmap_read(&in, segment_rows, SEGMENTS, &read));
    CHECK_INT(read->count, 0);
    deleted_set_release(read);
    buffer_clear(&bytes);
    deleted_list_write(NULL, 0, &bytes);
    in = reader_over(bytes.data, bytes.length);
    uint32_t *positions;
    size_t count;
    CHECK_OK(deleted_list_read(&in, segment_rows, SEGMENTS, &positions, &count));
    CHECK(!positions && !count);
    buffer_release(&bytes);
  }
  deleted_set_release(set);
}

TEST(deleted_disk, list_round_trips) {
  DeletedSet *set = varied_set();
  uint32_t *positions = malloc(set->count * sizeof *positions), *read;
  size_t count;
  deleted_set_positions(set, positions);
  Buffer bytes = { 0 };
  deleted_list_write(positions, set->count, &bytes);
  buffer_u8(&bytes, 1);
  Reader in = reader_over(bytes.data, bytes.length);
  CHECK_OK(deleted_list_read(&in, segment_rows, SEGMENTS, &read, &count));
  CHECK_INT(count, set->count);
  CHECK_BYTES(read, positions, count * sizeof *read);
  CHECK_INT(reader_left(&in), 1);
  CHECK(bytes.length < count * 3);
  memory_release(read);
  buffer_release(&bytes);
  free(positions);
  deleted_set_release(set);
}

/* ---- damage ---- */

/* Reads bytes of unknown quality as a bitmap; if they are taken for one, every row must be a row of the run. */
static void read_damaged_bitmap(const uint8_t *bytes, size_t length) {
  uint8_t *exact = malloc(length + 1); /* the sanitizer watches its end */
  memcpy(exact, bytes, length);
  Reader in = reader_over(exact, length);
  DeletedSet *set;
  Status status = deleted_bitmap_read(&in, segment_rows, SEGMENTS, &set);
  CHECK(status == KVSTORE_OK || status == KVSTORE_CORRUPT);
  if (status == KVSTORE_OK) {
    uint64_t count = 0;
    for (uint32_t s = 0; s < SEGMENTS; s++) {
      uint64_t words[DELETED_WORDS];
      deleted_set_words(set, s, words);
      for (uint32_t row = segment_rows[s]; row < SEGMENT_ROWS; row++) CHECK(!bit_get(words, row));
      count += bitmap_count(words, DELETED_WORDS);
    }
    CHECK_INT(count, set->count);
    deleted_set_release(set);
  }
  free(exact);
}

static void read_damaged_list(const uint8_t *bytes, size_t length) {
  uint8_t *exact = malloc(length + 1);
  memcpy(exact, bytes, length);
  Reader in = reader_over(exact, length);
  uint32_t *positions;
  size_t count;
  Status status = deleted_list_read(&in, segment_rows, SEGMENTS, &positions, &count);
  CHECK(status == KVSTORE_OK || status == KVSTORE_CORRUPT);
  for (size_t i = 0; status == KVSTORE_OK && i < count; i++) {
    CHECK(position_segment(positions[i]) < SEGMENTS && (!i || positions[i - 1] < positions[i]));
    CHECK(position_row(positions[i]) < segment_rows[position_segment(positions[i])]);
  }
  memory_release(positions);
  free(exact);
}

typedef void ReadDamaged(const uint8_t *bytes, size_t length);

static void damage(Buffer *bytes, ReadDamaged *read, uint64_t rounds) {
  uint64_t random = 4;
  for (size_t length = 0; length < bytes->length; length += length < 200 ? 1 : 97) read(bytes->data, length);
  uint8_t *copy = malloc(bytes->length);
  for (uint64_t round = 0; round < rounds; round++) {
    memcpy(copy, bytes->data, bytes->length);
    uint64_t flips = 1 + test_random_below(&random, 3);
    size_t reach = test_random_below(&random, 2) && bytes->length > 80 ? 80 : bytes->length;
    while (flips--) copy[test_random_below(&random, reach)] ^= (uint8_t)(1u << test_random_below(&random, 8));
    read(copy, bytes->length);
  }
  free(copy);
}

TEST(deleted_disk, damage_is_refused_or_harmless) {
  DeletedSet *set = varied_set();
  Buffer plain = { 0 }, runs = roaring_bytes(set, true), list = { 0 };
  deleted_bitmap_write(set, &plain);
  uint32_t *positions = malloc(set->count * sizeof *positions);
  deleted_set_positions(set, positions);
  deleted_list_write(positions, set->count, &list);
  damage(&plain, read_damaged_bitmap, test_scaled(3000));
  damage(&runs, read_damaged_bitmap, test_scaled(3000));
  damage(&list, read_damaged_list, test_scaled(3000));
  free(positions);
  buffer_release(&plain);
  buffer_release(&runs);
  buffer_release(&list);
  deleted_set_release(set);
  CHECK_INT(memory_blocks_held(), 0);
}

/* One container: key 0, `count` rows, then `bytes`. */
static Status read_container(uint32_t cookie, uint32_t count, const void *bytes, size_t length, bool is_runs) {
  Buffer b = { 0 };
  buffer_u32(&b, cookie);
  if (is_runs) {
    buffer_u8(&b, 1);
  } else {
    buffer_u32(&b, 1);
  }
  buffer_u16(&b, 0);
  buffer_u16(&b, (uint16_t)(count - 1));
  if (!is_runs) buffer_u32(&b, 16);
  buffer_append(&b, bytes, length);
  Reader in = reader_over(b.data, b.length);
  DeletedSet *set = NULL;
  Status status = deleted_bitmap_read(&in, segment_rows, SEGMENTS, &set);
  deleted_set_release(set);
  buffer_release(&b);
  return status;
}

TEST(deleted_disk, each_lie_of_a_container_is_found) {
  uint16_t rows[] = { 1, 5, 9 }, twice[] = { 1, 5, 5 }, backwards[] = { 5, 1, 9 };
  CHECK_OK(read_container(12346, 3, rows, sizeof rows, false));
  CHECK_STATUS(read_container(12346, 3, twice, sizeof twice, false), KVSTORE_CORRUPT);
  CHECK_STATUS(read_container(12346, 3, backwards, sizeof backwards, false), KVSTORE_CORRUPT);
  CHECK_STATUS(read_container(12346, 3, rows, 4, false), KVSTORE_CORRUPT);
  CHECK_STATUS(read_container(12345, 3, rows, sizeof rows, false), KVSTORE_CORRUPT);

  uint64_t words[DELETED_WORDS] = { 0 };
  bitmap_fill_first(words, DELETED_WORDS, 5000);
  CHECK_OK(read_container(12346, 5000, words, sizeof words, false));
  CHECK_STATUS(read_container(12346, 5001, words, sizeof words, false), KVSTORE_CORRUPT);
  CHECK_STATUS(read_container(12346, 4999, words, sizeof words, false), KVSTORE_CORRUPT);
  CHECK_STATUS(read_container(12346, 5000, words, sizeof words - 1, false), KVSTORE_CORRUPT);

  uint16_t runs[] = { 2, 3, 4, 100, 0 }, overlapping[] = { 2, 3, 4, 7, 0 }, past_end[] = { 1, 65535, 5 };
  CHECK_OK(read_container(12347, 6, runs, sizeof runs, true));
  CHECK_STATUS(read_container(12347, 7, runs, sizeof runs, true), KVSTORE_CORRUPT);
  CHECK_STATUS(read_container(12347, 6, overlapping, sizeof overlapping, true), KVSTORE_CORRUPT);
  CHECK_STATUS(read_container(12347, 6, past_end, sizeof past_end, true), KVSTORE_CORRUPT);
  CHECK_STATUS(read_container(12347, 6, runs, 8, true), KVSTORE_CORRUPT);
}

/* ---- memory ---- */

TEST(deleted_set, every_failed_allocation_leaves_the_old_set) {
  DeletedSet *set = varied_set(), *grown = NULL;
  Buffer bytes = { 0 };
  deleted_bitmap_write(set, &bytes);
  uint32_t positions[] = { position_pack(2, 39999), position_pack(0, 1), position_pack(1, 1), position_pack(3, 1) };
  uint64_t count = set->count, held = memory_blocks_held();
  Status status = KVSTORE_NOMEM;
  uint64_t tried = 0;
  for (; status == KVSTORE_NOMEM; tried++) {
    failing_memory_install(tried + 1, false);
    status = deleted_set_add_many(set, 0, positions, 4, &grown);
    failing_memory_remove();
    CHECK(status == KVSTORE_OK || (status == KVSTORE_NOMEM && !grown && memory_blocks_held() == held));
    CHECK_INT(set->count, count);
  }
  CHECK(tried > 4);
  deleted_set_release(grown);
  CHECK_INT(memory_blocks_held(), held);
  for (status = KVSTORE_NOMEM, tried = 0; status == KVSTORE_NOMEM; tried++) {
    Reader in = reader_over(bytes.data, bytes.length);
    failing_memory_install(tried + 1, false);
    status = deleted_bitmap_read(&in, segment_rows, SEGMENTS, &grown);
    failing_memory_remove();
    CHECK(status == KVSTORE_OK || (!grown && memory_blocks_held() == held));
  }
  CHECK(tried > 4);
  deleted_set_release(grown);
  buffer_release(&bytes);
  deleted_set_release(set);
  CHECK_INT(memory_blocks_held(), 0);
}
