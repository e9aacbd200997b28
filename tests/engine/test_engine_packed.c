/* A store whose settled keys and values are packed: the same answers, fewer bytes, and damage that is never a wrong
 * answer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "tests/support/test.h"

enum { ROWS = 8000, KEY_LENGTH = 12 };

static const char *store_path(void) {
  static char path[512];
  snprintf(path, sizeof path, "%s/store", test_directory());
  return path;
}

static Session *open_store(int compression) {
  StoreOptions options = {
    .journal_mode = JOURNAL_WAL, .sync_level = SYNC_NORMAL, .no_background = true, .compression = compression
  };
  Session *s = NULL;
  CHECK_OK(session_open(store_path(), &options, &s));
  return s;
}

static Bytes key_of(uint32_t row, char text[16]) {
  snprintf(text, 16, "key/%08u", row);
  return (Bytes){ (const uint8_t *)text, KEY_LENGTH };
}

static Bytes value_of(uint32_t row, bool words, char text[128]) {
  static const char *const parts[] = { "temperature=", "pressure=", "station=north ", "state=ok " };
  uint64_t random = row;
  size_t length = 0;
  while (words && length < 90) length += (size_t)snprintf(text + length, 32, "%s", parts[test_random(&random) % 4]);
  for (; length < 96; length += 8) {
    uint64_t word = test_random(&random);
    memcpy(text + length, &word, 8);
  }
  return (Bytes){ (const uint8_t *)text, length };
}

/* Every `step`-th row from `first` on, flushed as one run. */
static void put_rows(Session *s, uint32_t first, uint32_t step, uint32_t count, bool words, int64_t expiry) {
  CHECK_OK(session_begin(s, true));
  for (uint32_t i = first; i < count; i += step) {
    char key[16], value[128];
    CHECK_OK(kv_put(s, FAMILY_DEFAULT_ID, key_of(i, key), value_of(i, words, value), i % 5 ? EXPIRY_NEVER : expiry,
                    KV_PUT_ALWAYS, NULL));
  }
  CHECK_OK(session_commit(s));
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
}

/* Runs that become smaller, so that no flush takes in the one before, until a merge is due. */
static void fill_store(int compression, uint32_t count, bool words, int64_t expiry) {
  Session *s = open_store(compression);
  uint64_t merges = counter_get(COUNTER_compactions);
  for (uint32_t step = 1; step <= 32; step *= 2) put_rows(s, step - 1, step, count, words, expiry);
  CHECK_OK(session_maintain(s));
  CHECK(counter_get(COUNTER_compactions) > merges);
  CHECK_OK(session_close(s));
}

static uint64_t run_bytes(Session *s) {
  FamilyUsage usage;
  CHECK_OK(family_usage(s, FAMILY_DEFAULT_ID, &usage));
  return usage.run_bytes;
}

/* KVSTORE_CORRUPT is an answer where `damaged`; a wrong row never is. */
static bool check_rows(Session *s, uint32_t count, bool words, bool reverse, bool damaged) {
  KvIterator *it = NULL;
  CHECK_OK(kv_iterator_create(s, FAMILY_DEFAULT_ID, (Bytes){ 0 }, reverse, &it));
  Status status = kv_iterator_first(it);
  for (uint32_t i = 0; i < count && status == KVSTORE_OK; i++) {
    uint32_t row = reverse ? count - 1 - i : i;
    char key[16], value[128];
    CHECK(!kv_iterator_eof(it));
    CHECK_BYTES(kv_iterator_key(it).data, key_of(row, key).data, KEY_LENGTH);
    Bytes got, expected = value_of(row, words, value);
    status = kv_iterator_value(it, &got);
    if (status != KVSTORE_OK) break;
    CHECK_INT(got.length, expected.length);
    CHECK_BYTES(got.data, expected.data, got.length);
    status = kv_iterator_next(it);
  }
  if (status == KVSTORE_OK) CHECK(kv_iterator_eof(it));
  kv_iterator_destroy(it);
  CHECK(status == KVSTORE_OK || (damaged && status == KVSTORE_CORRUPT));
  return status == KVSTORE_OK;
}

static void check_gets(Session *s, uint32_t count, bool words) {
  for (uint32_t i = 0; i < count; i += 3) {
    char key[16], value[128];
    KvValue out = { 0 };
    CHECK_OK(kv_get(s, FAMILY_DEFAULT_ID, key_of(i, key), &out));
    Bytes expected = value_of(i, words, value);
    CHECK_INT(out.length, expected.length);
    CHECK_BYTES(out.data, expected.data, out.length);
    memory_release(out.data);
    key[3] = '.';
    CHECK_STATUS(kv_get(s, FAMILY_DEFAULT_ID, (Bytes){ (uint8_t *)key, KEY_LENGTH }, &out), KVSTORE_NOTFOUND);
  }
}

TEST(engine_packed, a_packed_store_is_smaller_and_reads_the_same) {
  int64_t expiry = INT64_C(4000000000000);
  fill_store(COMPRESSION_NONE, ROWS, true, expiry);
  Session *s = open_store(COMPRESSION_ZSTD);
  uint64_t plain = run_bytes(s), packed = counter_get(COUNTER_runs_packed),
           decoded = counter_get(COUNTER_frames_decoded);
  CHECK(check_rows(s, ROWS, true, false, false));
  CHECK_INT(counter_get(COUNTER_frames_decoded), decoded);
  for (uint32_t step = 4; step <= 64; step *= 2) put_rows(s, step - 1, step, ROWS, true, expiry);
  CHECK_OK(session_maintain(s));
  CHECK(counter_get(COUNTER_runs_packed) > packed);
  CHECK(run_bytes(s) * 5 < plain * 4);
  CHECK(check_rows(s, ROWS, true, false, false));
  CHECK(counter_get(COUNTER_frames_decoded) > decoded);
  CHECK(check_rows(s, ROWS, true, true, false));
  check_gets(s, ROWS, true);
  CHECK_OK(session_check(s, NULL));
  uint64_t count = 0, purged = 1;
  CHECK_OK(kv_count(s, FAMILY_DEFAULT_ID, &count));
  CHECK_INT(count, ROWS);
  decoded = counter_get(COUNTER_frames_decoded);
  CHECK_OK(kv_purge_expired(s, FAMILY_DEFAULT_ID, &purged)); /* nothing has: no frame is asked */
  CHECK_INT(purged, 0);
  CHECK_INT(counter_get(COUNTER_frames_decoded), decoded);
  CHECK_OK(session_close(s));
  s = open_store(COMPRESSION_NONE); /* what is packed stays readable */
  CHECK(check_rows(s, ROWS, true, false, false));
  check_gets(s, ROWS, true);
  CHECK_OK(session_close(s));
}

TEST(engine_packed, expired_rows_of_packed_runs_are_purged) {
  fill_store(COMPRESSION_ZSTD, ROWS, true, os_now_ms(os_posix()) - 1000); /* not for long enough to be reclaimed */
  Session *s = open_store(COMPRESSION_ZSTD);
  uint64_t purged = 0, count = 0, decoded = counter_get(COUNTER_frames_decoded);
  CHECK_OK(kv_purge_expired(s, FAMILY_DEFAULT_ID, &purged));
  CHECK(counter_get(COUNTER_frames_decoded) > decoded);
  CHECK_OK(kv_count(s, FAMILY_DEFAULT_ID, &count));
  CHECK_INT(count + purged, ROWS);
  CHECK_INT(count, ROWS / 5 * 4);
  CHECK_OK(session_close(s));
}

TEST(engine_packed, auto_packs_words_and_leaves_random_bytes) {
  uint64_t packed = counter_get(COUNTER_runs_packed), left = counter_get(COUNTER_runs_not_worth_packing);
  fill_store(COMPRESSION_AUTO, ROWS, false, EXPIRY_NEVER);
  CHECK_INT(counter_get(COUNTER_runs_packed), packed);
  CHECK(counter_get(COUNTER_runs_not_worth_packing) > left);
  CHECK_OK(os_unlink(os_posix(), store_path()));
  fill_store(COMPRESSION_AUTO, ROWS, true, EXPIRY_NEVER);
  CHECK(counter_get(COUNTER_runs_packed) > packed);
}

/* ---- damage ---- */

static uint8_t *read_file(size_t *length) {
  FILE *f = fopen(store_path(), "rb");
  CHECK(f != NULL);
  CHECK(fseek(f, 0, SEEK_END) == 0);
  *length = (size_t)ftell(f);
  uint8_t *bytes = malloc(*length);
  CHECK(bytes != NULL);
  rewind(f);
  CHECK(fread(bytes, 1, *length, f) == *length);
  CHECK(fclose(f) == 0);
  return bytes;
}

static void write_file(const uint8_t *bytes, size_t length) {
  FILE *f = fopen(store_path(), "wb");
  CHECK(f != NULL);
  CHECK(fwrite(bytes, 1, length, f) == length);
  CHECK(fclose(f) == 0);
}

TEST(engine_packed, every_flipped_bit_of_a_small_packed_store_is_refused_or_harmless) {
  enum { FEW = 700 };
  fill_store(COMPRESSION_ZSTD, FEW, true, INT64_C(4000000000000));
  size_t length;
  uint8_t *bytes = read_file(&length);
  uint64_t random = 9, refused = 0, harmless = 0, rounds = test_scaled(3000);
  for (uint64_t round = 0; round < rounds; round++) {
    size_t at = test_random_below(&random, length);
    bytes[at] ^= (uint8_t)(1 << round % 8);
    write_file(bytes, length);
    StoreOptions options = { .journal_mode = JOURNAL_WAL, .no_background = true, .no_map = round % 2 };
    Session *s = NULL;
    Status status = session_open(store_path(), &options, &s);
    bool whole = status == KVSTORE_OK && check_rows(s, FEW, true, round % 4 < 2, true);
    CHECK(status == KVSTORE_OK || status == KVSTORE_CORRUPT || status == KVSTORE_UNSUPPORTED ||
          status == KVSTORE_AUTH_FAILED || status == KVSTORE_ERROR);
    if (status == KVSTORE_OK) CHECK_OK(session_close(s));
    whole ? harmless++ : refused++;
    bytes[at] ^= (uint8_t)(1 << round % 8);
  }
  CHECK(refused > 0 && harmless > 0);
  free(bytes);
}
