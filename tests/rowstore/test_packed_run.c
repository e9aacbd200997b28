/* Packed runs: what they save, what a read costs, the column of expiries, frames that are none. That they read as plain
 * runs do is tested beside these, in test_row_run.c. */
#include <stdio.h>

#include "base/counters.h"
#include "rowstore/row_pack.h"
#include "rowstore/row_run_internal.h"
#include "tests/rowstore/run_fixture.h"

enum { ROWS = 4000 };

/* Keys that count up; values of words, or of random bytes. */
static TestRows value_rows(size_t count, bool words, bool expiring) {
  static const char *const texts[] = { "delayed ", "departed ", "carrier ", "gate ", "on time ", "cancelled " };
  TestRows out = { malloc(count * sizeof(TestRow)), count };
  uint64_t seed = 21;
  CHECK(out.rows != NULL);
  for (size_t i = 0; i < count; i++) {
    uint8_t *key = malloc(16), *value = malloc(120);
    CHECK(key && value);
    (void)snprintf((char *)key, 16, "key%012zu", i * 3);
    size_t length = 0;
    while (words && length < 100)
      length += (size_t)snprintf((char *)value + length, 20, "%s", texts[test_random(&seed) % 6]);
    for (; length < 100; length += 4) {
      uint32_t word = (uint32_t)test_random(&seed);
      memcpy(value + length, &word, 4);
    }
    int64_t expiry =
      expiring && i % 3 ? (int64_t)(1000000 + test_random_below(&seed, 1u << (i / 500 * 4 + 3))) : EXPIRY_NEVER;
    out.rows[i] = (TestRow){ { key, 15 }, { value, length }, expiry, false };
  }
  return out;
}

static uint64_t written_bytes(const TestRows *rows, uint32_t packing, bool *is_packed) {
  TestExtents t = { 0 };
  RowRunOptions options = { .packing = packing };
  CHECK_OK(test_write(&t, rows, &options));
  uint64_t bytes = t.summary.extent_bytes;
  *is_packed = t.summary.is_packed;
  test_extents_free(&t);
  return bytes;
}

TEST(packed_run, words_are_packed_where_it_is_worthwhile_and_random_bytes_are_not) {
  TestRows words = value_rows(ROWS, true, false), random = value_rows(ROWS, false, false);
  bool is_packed;
  uint64_t plain = written_bytes(&words, ROW_PACKING_NONE, &is_packed);
  CHECK(!is_packed);
  CHECK(written_bytes(&words, ROW_PACKING_WORTHWHILE, &is_packed) * 2 < plain);
  CHECK(is_packed);
  CHECK(written_bytes(&words, ROW_PACKING_ALWAYS, &is_packed) * 2 < plain);
  CHECK(is_packed);
  uint64_t skipped = counter_get(COUNTER_runs_not_worth_packing);
  plain = written_bytes(&random, ROW_PACKING_NONE, &is_packed);
  CHECK_INT(written_bytes(&random, ROW_PACKING_WORTHWHILE, &is_packed), plain);
  CHECK(!is_packed);
  CHECK_INT(counter_get(COUNTER_runs_not_worth_packing), skipped + 1);
  test_rows_free(&words);
  test_rows_free(&random);
}

static void open_packed(TestExtents *t, const TestRows *rows, uint64_t cache_bytes) {
  RowRunOptions options = { .packing = ROW_PACKING_ALWAYS };
  if (cache_bytes) CHECK_OK(block_cache_create(cache_bytes, &t->cache));
  CHECK_OK(test_write(t, rows, &options));
  CHECK_OK(test_open(t, SOURCE_PLAIN));
  CHECK(row_run_summary(t->run)->is_packed);
}

static void get(const TestExtents *t, const TestRow *row, bool there) {
  uint8_t key[16];
  memcpy(key, row->key.data, row->key.length);
  if (!there) key[14] ^= 1; /* between the others */
  RowView view;
  RowPin pin;
  bool found;
  CHECK_OK(row_run_get(t->run, hash_key(key, 15), key, 15, &view, &pin, &found));
  CHECK_INT(found, there);
  if (found) test_check_row(t->run, &view, row);
  row_pin_release(&pin);
}

TEST(packed_run, a_read_decodes_one_frame_and_a_miss_none) {
  TestRows rows = value_rows(ROWS, true, false);
  TestExtents t = { 0 };
  open_packed(&t, &rows, 4 << 20);
  CHECK(t.run->frames->count > 20);
  uint64_t decoded = counter_get(COUNTER_frames_decoded), touched = 0;
  for (size_t i = 0; i < rows.count; i++) {
    get(&t, &rows.rows[i], false);
    touched += counter_get(COUNTER_frames_decoded) - decoded;
    decoded = counter_get(COUNTER_frames_decoded);
  }
  CHECK(touched <= 3); /* equal fingerprints, by chance */
  for (size_t i = 0; i < rows.count; i++) get(&t, &rows.rows[i], true);
  CHECK(counter_get(COUNTER_frames_decoded) - decoded <= t.run->frames->count); /* and each once, for they fit */
  test_extents_free(&t);
  open_packed(&t, &rows, 0);
  decoded = counter_get(COUNTER_frames_decoded);
  get(&t, &rows.rows[7], true);
  CHECK_INT(counter_get(COUNTER_frames_decoded) - decoded, 1);
  test_extents_free(&t);
  test_rows_free(&rows);
}

TEST(packed_run, cursors_decode_each_frame_once_both_ways) {
  TestRows rows = value_rows(ROWS, true, true);
  TestExtents t = { 0 };
  open_packed(&t, &rows, 0);
  uint64_t decoded = counter_get(COUNTER_frames_decoded);
  RowCursor c;
  row_cursor_open(&c, t.run);
  CHECK_OK(row_cursor_first(&c));
  for (size_t i = 0; i < rows.count; i++) {
    test_check_row(t.run, &c.row, &rows.rows[i]);
    CHECK_OK(row_cursor_next(&c));
  }
  CHECK_INT(counter_get(COUNTER_frames_decoded) - decoded, t.run->frames->count);
  row_cursor_close(&c);
  decoded = counter_get(COUNTER_frames_decoded);
  CHECK_OK(row_cursor_last(&c));
  for (size_t i = rows.count; i-- > 0;) {
    test_check_row(t.run, &c.row, &rows.rows[i]);
    CHECK_OK(row_cursor_prev(&c));
  }
  CHECK_INT(counter_get(COUNTER_frames_decoded) - decoded, t.run->frames->count);
  decoded = counter_get(COUNTER_frames_decoded);
  CHECK_OK(row_cursor_seek(&c, rows.rows[2000].key.data, 15)); /* a prefix seek: its frame, and its neighbour at most */
  test_check_row(t.run, &c.row, &rows.rows[2000]);
  CHECK(counter_get(COUNTER_frames_decoded) - decoded <= 2);
  row_cursor_close(&c);
  test_extents_free(&t);
  test_rows_free(&rows);
}

/* What does not shrink stands as it is, and is read in place. */
TEST(packed_run, frames_that_save_nothing_are_not_decoded) {
  TestRows rows = value_rows(ROWS, false, false);
  for (size_t i = 0; i < rows.count; i++) { /* keys too */
    uint64_t number = i, noise = i;
    number = __builtin_bswap64(number << 40 | (test_random(&noise) >> 24));
    memcpy((uint8_t *)rows.rows[i].key.data, &number, 8);
    memcpy((uint8_t *)rows.rows[i].key.data + 8, &noise, 7);
  }
  TestExtents t = { 0 };
  open_packed(&t, &rows, 0);
  uint64_t decoded = counter_get(COUNTER_frames_decoded), in_place = 0;
  for (uint32_t i = 0; i < t.run->pieces[0].frame_count; i++) {
    const RowFrame *f = &t.run->pieces[0].frames[i];
    in_place += f[1].start - f->start == f[1].stored_at - f->stored_at;
  }
  for (size_t i = 0; i < rows.count; i++) {
    RowView view;
    RowPin pin;
    bool found;
    Bytes key = rows.rows[i].key;
    CHECK_OK(row_run_get(t.run, hash_key(key.data, key.length), key.data, key.length, &view, &pin, &found));
    CHECK(found);
    test_check_row(t.run, &view, &rows.rows[i]);
    row_pin_release(&pin);
  }
  if (in_place == t.run->pieces[0].frame_count) CHECK_INT(counter_get(COUNTER_frames_decoded), decoded);
  test_extents_free(&t);
  test_rows_free(&rows);
}

TEST(packed_run, what_has_expired_is_counted_without_a_frame) {
  TestRows rows = value_rows(ROWS, true, true);
  TestExtents t = { 0 };
  open_packed(&t, &rows, 0);
  uint64_t decoded = counter_get(COUNTER_frames_decoded), seed = 4;
  for (int round = 0; round < 300; round++) {
    int64_t now =
      round < 3 ? INT64_MIN + round : (int64_t)(999990 + test_random_below(&seed, UINT64_C(1) << (round / 9)));
    uint64_t expected = 0, count = 0;
    bool known = false;
    for (size_t i = 0; i < rows.count; i++) expected += rows.rows[i].expiry <= now;
    CHECK_OK(row_run_count_expired(t.run, now, &known, &count));
    CHECK(known);
    CHECK_INT(count, expected);
  }
  CHECK_INT(counter_get(COUNTER_frames_decoded), decoded);
  test_extents_free(&t);
  test_rows_free(&rows);
}

/* ---- crafted frames ---- */

static Status read_all(const TestExtents *t) {
  const char *why;
  return row_run_check(t->run, &why);
}

TEST(packed_run, frames_cut_short_and_foreign_dictionaries_are_refused) {
  TestRows rows = value_rows(ROWS, true, false);
  TestExtents t = { 0 };
  RowRunOptions options = { .packing = ROW_PACKING_ALWAYS };
  CHECK_OK(test_write(&t, &rows, &options));
  CHECK_OK(test_open(&t, SOURCE_PLAIN));
  CHECK(t.run->frames->dictionary.length > 1000);
  uint32_t stored = t.run->pieces[0].frames[1].stored_at;
  row_run_close(t.run);
  t.run = NULL;
  for (uint32_t at = stored / 2; at < stored; at += stored / 8) { /* the rest of the first frame is zeros */
    uint8_t *kept = malloc(stored);
    CHECK(kept != NULL);
    memcpy(kept, t.extents[0].bytes, stored);
    memset(t.extents[0].bytes + at, 0, stored - at);
    CHECK_OK(test_open(&t, SOURCE_PLAIN));
    CHECK_STATUS(read_all(&t), KVSTORE_CORRUPT);
    row_run_close(t.run);
    t.run = NULL;
    memcpy(t.extents[0].bytes, kept, stored);
    free(kept);
  }
  /* the dictionary begins with its magic; an id that the frames do not name, and one that is none */
  uint8_t *dictionary = NULL;
  static const uint8_t magic[] = { 0x37, 0xa4, 0x30, 0xec };
  for (size_t i = 0; i + 8 < t.directory.length && !dictionary; i++)
    if (memcmp(t.directory.data + i, magic, 4) == 0) dictionary = t.directory.data + i;
  CHECK(dictionary != NULL);
  for (size_t at = 0; at < 24; at++) {
    dictionary[at] ^= 0x55;
    CHECK_OK(test_open(&t, SOURCE_PLAIN));
    Status status = read_all(&t);
    CHECK(status == KVSTORE_CORRUPT || (status == KVSTORE_OK && at >= 8));
    row_run_close(t.run);
    t.run = NULL;
    dictionary[at] ^= 0x55;
  }
  CHECK_OK(test_open(&t, SOURCE_PLAIN));
  CHECK_OK(read_all(&t));
  test_extents_free(&t);
  test_rows_free(&rows);
}

/* Lengths of frames in the directory: each changed alone is refused before anything is allocated by it. */
TEST(packed_run, frame_lengths_that_cannot_be_are_refused) {
  TestRows rows = value_rows(600, true, true);
  TestExtents t = { 0 };
  RowRunOptions options = { .packing = ROW_PACKING_ALWAYS };
  CHECK_OK(test_write(&t, &rows, &options));
  CHECK_OK(test_open(&t, SOURCE_PLAIN));
  const RowFrame *frames = t.run->pieces[0].frames;
  uint8_t entry[8];
  uint32_t length = frames[1].start;
  store_u32(entry, length);
  store_u32(entry + 4, frames[1].stored_at);
  row_run_close(t.run);
  t.run = NULL;
  uint8_t *at = NULL;
  for (size_t i = 0; i + 10 < t.directory.length && !at; i++)
    if (memcmp(t.directory.data + i, entry, 8) == 0) at = t.directory.data + i;
  CHECK(at != NULL);
  static const uint32_t lengths[] = { 0, 1, 4, UINT32_MAX, UINT32_MAX - 3, 1u << 30, 1u << 17 };
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    store_u32(at, lengths[i]);
    CHECK_STATUS(test_open(&t, SOURCE_PLAIN), KVSTORE_CORRUPT);
    store_u32(at, length);
    store_u32(at + 4, lengths[i] == 1 || lengths[i] == 4 ? length + 4 : lengths[i]);
    CHECK_STATUS(test_open(&t, SOURCE_PLAIN), KVSTORE_CORRUPT);
    memcpy(at, entry, 8);
  }
  CHECK_OK(test_open(&t, SOURCE_PLAIN));
  CHECK_OK(read_all(&t));
  test_extents_free(&t);
  test_rows_free(&rows);
}
