#include "base/inflate.h"

#include <pthread.h>
#include <zstd.h>

#include "base/counters.h"
#include "base/memory.h"
#include "tests/support/test.h"

enum { LENGTH = 1 << 20, THREADS = 40, ROUNDS = 4000 };

static uint8_t plain[LENGTH], stored[ZSTD_COMPRESSBOUND(LENGTH)], with_dictionary[ZSTD_COMPRESSBOUND(LENGTH)];
static const char dictionary_bytes[] = "temperature pressure humidity sensor station north south east west 0123456789";
static size_t stored_length, with_dictionary_length;
static ZSTD_DDict *dictionary;

static void make_frames(void) {
  static const char *const words[] = { "sensor", "station ", "temperature", "7", " 12.5 ", "north" };
  uint64_t random = 3;
  for (size_t at = 0; at < LENGTH;) {
    const char *word = words[test_random_below(&random, sizeof words / sizeof *words)];
    for (; *word && at < LENGTH; word++) plain[at++] = (uint8_t)*word;
  }
  stored_length = ZSTD_compress(stored, sizeof stored, plain, LENGTH, 3);
  CHECK(!ZSTD_isError(stored_length));
  ZSTD_CCtx *context = ZSTD_createCCtx();
  CHECK(context != NULL);
  with_dictionary_length = ZSTD_compress_usingDict(context, with_dictionary, sizeof with_dictionary, plain, 4000,
                                                   dictionary_bytes, sizeof dictionary_bytes, 3);
  CHECK(!ZSTD_isError(with_dictionary_length));
  ZSTD_freeCCtx(context);
  dictionary = ZSTD_createDDict(dictionary_bytes, sizeof dictionary_bytes);
  CHECK(dictionary != NULL);
}

TEST(inflate, gives_what_was_compressed_after_anything_else) {
  static uint8_t out[LENGTH];
  make_frames();
  uint64_t held = memory_blocks_held();
  uint64_t random = 5;
  for (int round = 0; round < 50; round++) {
    size_t flipped = test_random_below(&random, stored_length);
    CHECK(frame_inflate(stored, stored_length, NULL, out, LENGTH));
    CHECK(memcmp(out, plain, LENGTH) == 0);
    CHECK(!frame_inflate(stored, stored_length, NULL, out, LENGTH - 1));
    CHECK(!frame_inflate(stored, stored_length - 1 - flipped, NULL, out, LENGTH));
    CHECK(frame_inflate(with_dictionary, with_dictionary_length, dictionary, out, 4000));
    CHECK(memcmp(out, plain, 4000) == 0);
    bool is_whole = frame_inflate(with_dictionary, with_dictionary_length, NULL, out, 4000);
    CHECK(!is_whole || memcmp(out, plain, 4000) != 0); /* the dictionary of the call before is not kept */
    stored[flipped] ^= 0xFF;
    (void)frame_inflate(stored, stored_length, NULL, out, LENGTH);
    stored[flipped] ^= 0xFF;
  }
  CHECK(!frame_inflate("", 0, NULL, out, 1));
  CHECK_INT(memory_blocks_held(), held);
  ZSTD_freeDDict(dictionary);
}

/* A frame takes long enough that nearly every thread is inside one when it has to wait for a processor. */
static void *inflate_until_all_are_taken(void *context) {
  uint8_t *out = context;
  for (int round = 0; round < ROUNDS && !counter_get(COUNTER_frames_inflated_on_stack); round++) {
    CHECK(frame_inflate(stored, stored_length, NULL, out, LENGTH));
    CHECK(memcmp(out, plain, LENGTH) == 0);
    CHECK(frame_inflate(with_dictionary, with_dictionary_length, dictionary, out, 4000));
    CHECK(memcmp(out, plain, 4000) == 0);
  }
  return NULL;
}

TEST(inflate, more_threads_than_contexts_are_served_too) {
  static uint8_t out[THREADS][LENGTH];
  pthread_t threads[THREADS];
  make_frames();
  for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, inflate_until_all_are_taken, out[i]) == 0);
  for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  CHECK(counter_get(COUNTER_frames_inflated_on_stack) > 0);
  ZSTD_freeDDict(dictionary);
}
