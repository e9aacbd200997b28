/* Bytes that are not what was written: every prefix of a log, and flipped bits of a store and of its log. What opens
 * reads as the oracle says; everything else is a code and a sentence. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/superblock.h"
#include "tests/crash/workload.h"
#include "tests/support/simdisk.h"
#include "tests/support/test.h"

enum { STATES_MAX = 64, LOG_BYTES = 64 << 10 };

typedef struct Image {
  uint8_t *bytes;
  size_t length;
} Image;

typedef struct Bench {
  SimDisk *disk;
  Session *session;
  Workload work;
  Oracle states[STATES_MAX];
  size_t count;
  bool no_map;
  int journal_mode;
  const char *password; /* of a sealed store */
  uint64_t verdicts;
} Bench;

static const char store_path[] = "/disk/store", log_path[] = "/disk/store-wal";

static StoreOptions options_of(const Bench *b) {
  return (StoreOptions){ .os = simdisk_os(b->disk),
                         .journal_mode = b->journal_mode,
                         .sync_level = SYNC_FULL,
                         .no_background = true,
                         .log_bytes = LOG_BYTES,
                         .no_map = b->no_map,
                         .password = { (const uint8_t *)b->password, b->password ? strlen(b->password) : 0 },
                         .key_cost = { 1, KEY_MEMORY_MIN } };
}

static Bench *bench_create(uint64_t seed, int journal_mode, const char *password) {
  Bench *b = calloc(1, sizeof *b);
  CHECK(b != NULL);
  CHECK_OK(simdisk_create(seed, &b->disk));
  b->work = (Workload){ .random = seed, .next_stamp = 1 };
  b->password = password;
  b->journal_mode = journal_mode;
  oracle_init(&b->states[0]);
  b->count = 1;
  StoreOptions options = options_of(b);
  CHECK_OK(session_open(store_path, &options, &b->session));
  return b;
}

static void bench_destroy(Bench *b) {
  simdisk_destroy(b->disk);
  free(b);
}

/* One transaction that changes something; only the newest state is kept when `remember` is false. */
static void transact(Bench *b, bool remember) {
  WorkTransaction t;
  Oracle after;
  Status status;
  for (;;) {
    const Oracle *before = &b->states[b->count - 1];
    workload_next(&b->work, before, &t, &after);
    CHECK_INT(workload_run(b->session, &t, before, 0, &status), WORK_DONE);
    if (memcmp(before, &after, sizeof after) != 0) break;
  }
  if (remember) CHECK(b->count < STATES_MAX);
  b->states[remember ? b->count++ : b->count - 1] = after;
}

static Image image_of(Bench *b, const char *path) {
  Image image = { 0 };
  image.bytes = simdisk_read_file(b->disk, path, &image.length);
  CHECK(image.bytes != NULL);
  return image;
}

/* The file that the log lies in, and where in it. */
static const char *file_of_log(const Bench *b) { return b->journal_mode == JOURNAL_WAL ? log_path : store_path; }

static size_t base_of_log(const Bench *b) {
  OsFile *file = NULL;
  Superblock superblock;
  uint32_t page;
  SuperblockState state;
  if (b->journal_mode == JOURNAL_WAL) return 0;
  CHECK_OK(os_open(simdisk_os(b->disk), store_path, 0, &file));
  CHECK_OK(superblock_read(file, &superblock, &page, &state));
  os_close(file);
  CHECK(superblock.ring_offset > 0);
  return (size_t)superblock.ring_offset;
}

/* The process is gone, its files are as the images say. `log` NULL: there is none, or the store's file holds it. */
static void put_images(Bench *b, const Image *store, const Image *log) {
  simdisk_write_file(b->disk, store_path, store->bytes, store->length);
  if (log)
    simdisk_write_file(b->disk, log_path, log->bytes, log->length);
  else
    simdisk_remove_file(b->disk, log_path);
}

static void abandon(Bench *b) {
  simdisk_crash_at(b->disk, simdisk_calls(b->disk) + 1);
  Status ignored = session_close(b->session);
  (void)ignored;
  b->session = NULL;
  CHECK_OK(simdisk_crash(b->disk, 1));
  simdisk_crash_at(b->disk, 0);
}

/* ---- the verdict on what is on the disk ---- */

enum { REFUSED = -1, WRONG = -2 };

static bool says_why(Status status) {
  return status_last()->code == status && status_last()->text[0] && status != KVSTORE_NOMEM;
}

/* Which of the states the store opens to, or that it refuses with a sentence. */
static int verdict(Bench *b) {
  Oracle found;
  int state = WRONG;
  StoreOptions options = options_of(b);
  status_clear();
  Status status = session_open(store_path, &options, &b->session);
  if (status != KVSTORE_OK) return says_why(status) ? REFUSED : WRONG;
  status = oracle_read(b->session, &found);
  if (status != KVSTORE_OK) {
    state = says_why(status) ? REFUSED : WRONG;
  } else {
    for (size_t i = 0; i < b->count && state == WRONG; i++)
      if (oracle_equal(&found, &b->states[i], 0, NULL, 0)) state = (int)i;
  }
  status = session_check(b->session, NULL);
  if (status != KVSTORE_OK && !says_why(status)) state = WRONG;
  if (b->verdicts++ % 8) { /* most are left as they are: a close writes a lot */
    abandon(b);
    return state;
  }
  status = session_close(b->session); /* what is damaged may not be closed cleanly: the session is gone all the same */
  if (status != KVSTORE_OK && !says_why(status)) state = WRONG;
  b->session = NULL;
  return state;
}

/* ---- prefixes of a log ---- */

typedef enum Rest { REST_ENDS, REST_ZEROS, REST_FORMER } Rest;

/* `limit`: where in its file the log's room ends. */
static Image prefix_of(const Image *log, const Image *former, size_t length, size_t limit, Rest rest) {
  Image out = { malloc(log->length), rest == REST_ENDS ? length : log->length };
  CHECK(out.bytes != NULL);
  memcpy(out.bytes, log->bytes, log->length);
  if (rest == REST_ZEROS) memset(out.bytes + length, 0, limit - length);
  if (rest == REST_FORMER) memcpy(out.bytes + length, former->bytes + length, limit - length);
  return out;
}

/* A log in its second lap or later: what lies behind its end is the lap before. */
static void fill_laps(Bench *b) {
  uint64_t random = 7;
  for (int i = 0; i < 400; i++) {
    transact(b, false);
    if (test_random_below(&random, 20) == 0) CHECK_OK(session_checkpoint(b->session, CHECKPOINT_FULL, NULL, NULL));
  }
}

/* A log before and after some commits, which lie between `first` and `end` of its file; its room reaches from `base` to
 * `limit`. */
typedef struct Tail {
  Image store, former, log;
  size_t base, limit, first, end;
  uint64_t generations; /* published between the two images of the log */
} Tail;

static void tail_release(Tail *t) {
  free(t->store.bytes);
  free(t->former.bytes);
  free(t->log.bytes);
}

static uint64_t generation_of(Bench *b) {
  StoreInfo info;
  CHECK_OK(session_info(b->session, &info));
  return info.generation;
}

static void make_tail(Bench *b, Tail *t) {
  b->states[0] = b->states[b->count - 1];
  b->count = 1;
  CHECK_OK(session_checkpoint(b->session, CHECKPOINT_FULL, NULL, NULL));
  t->store = image_of(b, store_path);
  t->former = image_of(b, file_of_log(b));
  uint64_t generation = generation_of(b);
  for (int i = 0; i < 12; i++) transact(b, true);
  t->log = image_of(b, file_of_log(b));
  t->generations = generation_of(b) - generation;
  t->base = base_of_log(b);
  t->limit = t->base + 4096 + LOG_BYTES;
  CHECK(t->limit <= t->former.length && t->limit <= t->log.length);
  for (t->first = t->base + 4096; t->former.bytes[t->first] == t->log.bytes[t->first];) t->first++;
  for (t->end = t->limit; t->former.bytes[t->end - 1] == t->log.bytes[t->end - 1];) t->end--;
  t->end = (t->end + 15) & ~(size_t)15; /* whole records: the padding of the last may be as it was */
}

static void put_log(Bench *b, const Tail *t, const Image *log) {
  bool inside = b->journal_mode == JOURNAL_DELETE;
  put_images(b, inside ? log : &t->store, inside ? NULL : log);
}

/* Each length in the long form, else each `step`-th; under a sanitizer a few. */
static void check_prefixes(int journal_mode, Rest rest, size_t step) {
  Bench *b = bench_create(3, journal_mode, NULL);
  Tail t;
  fill_laps(b);
  make_tail(b, &t);
  /* It went over the end of the ring: its prefixes are not those of the file. Or the store settled some of it by
   * itself: such a log may not be read without the generation that holds the rest, as the image of the store would have
   * it. */
  while (t.end - t.first > 32 << 10 || t.generations) {
    tail_release(&t);
    make_tail(b, &t);
  }
  abandon(b);
  size_t before = 61; /* what is as it was in the lap before */
  if (test_scale() > 1) step = 1;
  if (test_scale() < 1) {
    step *= 29;
    before *= 29;
  }
  int last = 0, refused = 0;
  for (size_t length = t.base; length <= t.end; length += length < t.first && length % 4096 ? before : step) {
    Image cut = prefix_of(&t.log, &t.former, length, t.limit, rest);
    put_log(b, &t, &cut);
    int state = verdict(b);
    free(cut.bytes);
    bool right = state == REFUSED ? length < t.first : state >= last;
    if (!right) fprintf(stderr, "the first %zu bytes: %d after %d: %s\n", length, state, last, status_last()->text);
    CHECK(right);
    if (state != REFUSED) last = state;
    refused += state == REFUSED;
  }
  put_log(b, &t, &t.log);
  CHECK_INT(verdict(b), b->count - 1);
  if (step == 1) CHECK_INT(last, b->count - 1);
  fprintf(stderr, "%zu bytes of log from %zu on, %d prefixes refused\n", t.end - t.first, t.first, refused);
  tail_release(&t);
  bench_destroy(b);
}

TEST(damage, prefixes_of_a_log_at_the_end_of_its_file_are_prefixes_of_its_commits) {
  check_prefixes(JOURNAL_WAL, REST_ENDS, 5);
}
TEST(damage, prefixes_of_a_log_before_zeros_are_prefixes_of_its_commits) { check_prefixes(JOURNAL_WAL, REST_ZEROS, 5); }
TEST(damage, every_prefix_of_a_log_before_the_former_lap_is_a_prefix_of_its_commits) {
  check_prefixes(JOURNAL_WAL, REST_FORMER, 1);
}
/* The image of all of the store is laid out each time. */
TEST(damage, prefixes_of_a_log_inside_the_store_before_zeros_are_prefixes_of_its_commits) {
  check_prefixes(JOURNAL_DELETE, REST_ZEROS, 31);
}
TEST(damage, prefixes_of_a_log_inside_the_store_before_the_former_lap_are_prefixes_of_its_commits) {
  check_prefixes(JOURNAL_DELETE, REST_FORMER, 31);
}

/* ---- flipped bits ---- */

/* A small store with something of everything: rows in runs, dead ones, and a log when `with_log`. */
static Bench *small_store(bool with_log, int journal_mode, const char *password) {
  static const OracleOp ops[] = {
    { ORACLE_CREATE, ORACLE_TABLE, 0, 0, 1, EXPIRY_NEVER },
    { ORACLE_CREATE, 1, 0, 0, 2, EXPIRY_NEVER },
    { ORACLE_PUT, 0, 1, 1, 3, EXPIRY_NEVER },
    { ORACLE_PUT, 1, 2, 1, 4, INT64_C(4102444800000) },
    { ORACLE_UPSERT, ORACLE_TABLE, 0, 9, 6, EXPIRY_NEVER },
  };
  static const OracleOp more[] = {
    { ORACLE_UPSERT, ORACLE_TABLE, 5, 2, 7, EXPIRY_NEVER },
    { ORACLE_DELETE, ORACLE_TABLE, 1, 1, 8, EXPIRY_NEVER },
    { ORACLE_PUT, 0, 3, 1, 9, EXPIRY_NEVER },
  };
  Bench *b = bench_create(5, journal_mode, password);
  for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
    CHECK_OK(oracle_run(b->session, &ops[i]));
    CHECK_OK(oracle_apply(&b->states[0], &ops[i], 0));
  }
  if (with_log) CHECK_OK(session_checkpoint(b->session, CHECKPOINT_FULL, NULL, NULL));
  for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
    b->states[b->count] = b->states[b->count - 1];
    CHECK_OK(oracle_run(b->session, &more[i]));
    CHECK_OK(oracle_apply(&b->states[b->count++], &more[i], 0));
  }
  if (!with_log) {
    b->states[0] = b->states[b->count - 1];
    b->count = 1;
  }
  return b;
}

/* Flips bits of `used` bytes of `which` (one of the two images) from `from` on, one at a time: all in the long form,
 * else one in so many. `least` is the oldest state that may come of it. */
static void flip(Bench *b, Image *store, Image *log, Image *which, size_t from, size_t used, size_t least,
                 uint64_t flips) {
  uint64_t bits = (uint64_t)used * 8, step = 1 + bits / test_scaled(flips), random = 11, equal = 0, refused = 0;
  for (uint64_t bit = test_random_below(&random, step); bit < bits; bit += step) {
    b->no_map = test_random_below(&random, 2);
    uint8_t *byte = &which->bytes[from + bit / 8];
    *byte ^= (uint8_t)(1u << (bit % 8));
    put_images(b, store, log);
    int state = verdict(b);
    *byte ^= (uint8_t)(1u << (bit % 8));
    bool right = state == REFUSED || state >= (int)least;
    if (!right)
      fprintf(stderr, "bit %" PRIu64 " of byte %" PRIu64 " flipped: %d: %s\n", bit % 8, from + bit / 8, state,
              status_last()->text);
    CHECK(right);
    refused += state == REFUSED;
    equal += state != REFUSED;
  }
  fprintf(stderr,
          "%" PRIu64 " flips in %zu bytes (one bit in %" PRIu64 "): %" PRIu64 " refused, %" PRIu64 " without effect\n",
          equal + refused, used, step, refused, equal);
  CHECK(refused > 0);
  put_images(b, store, log);
  CHECK_INT(verdict(b), b->count - 1);
}

static void flip_closed_store(const char *password, uint64_t flips) {
  Bench *b = small_store(false, JOURNAL_WAL, password);
  CHECK_OK(session_close(b->session));
  Image store = image_of(b, store_path);
  CHECK(store.length <= 64 << 10);
  flip(b, &store, NULL, &store, 0, store.length, 0, flips);
  free(store.bytes);
  bench_destroy(b);
}

/* The store's file cannot change what the log says: every commit is there, or an error. */
static void flip_store_with_log(int journal_mode, const char *password, uint64_t flips) {
  bool beside = journal_mode == JOURNAL_WAL;
  Bench *b = small_store(true, journal_mode, password);
  Image store = image_of(b, store_path), log = image_of(b, file_of_log(b));
  size_t used = store.length < 64 << 10 ? store.length : 64 << 10;
  CHECK(beside || base_of_log(b) > used);
  abandon(b);
  flip(b, &store, beside ? &log : NULL, &store, 0, used, b->count - 1, flips);
  free(store.bytes);
  free(log.bytes);
  bench_destroy(b);
}

/* A flip in the last record of a log cannot be told from a write that was cut: one commit may go, and no more. */
static void flip_log(int journal_mode, const char *password, uint64_t flips) {
  bool beside = journal_mode == JOURNAL_WAL;
  Bench *b = small_store(true, journal_mode, password);
  Image store = image_of(b, store_path), log = image_of(b, file_of_log(b));
  size_t base = base_of_log(b), used = LOG_BYTES;
  abandon(b);
  while (used && !log.bytes[base + used - 1]) used--;
  flip(b, &store, beside ? &log : NULL, beside ? &log : &store, base, used, b->count - 2, flips);
  free(store.bytes);
  free(log.bytes);
  bench_destroy(b);
}

TEST(damage, a_flipped_bit_of_a_closed_store_is_harmless_or_reported) { flip_closed_store(NULL, 4000); }
TEST(damage, a_flipped_bit_of_a_store_with_its_log_is_harmless_or_reported) {
  flip_store_with_log(JOURNAL_WAL, NULL, 2400);
}
TEST(damage, a_flipped_bit_of_a_log_is_harmless_or_reported_or_takes_the_last_commit) {
  flip_log(JOURNAL_WAL, NULL, 2000);
}
TEST(damage, a_flipped_bit_of_a_closed_sealed_store_is_harmless_or_reported) { flip_closed_store("secret", 1200); }
TEST(damage, a_flipped_bit_of_a_sealed_store_with_its_log_is_harmless_or_reported) {
  flip_store_with_log(JOURNAL_WAL, "secret", 1200);
}
TEST(damage, a_flipped_bit_of_a_sealed_log_is_harmless_or_reported_or_takes_the_last_commit) {
  flip_log(JOURNAL_WAL, "secret", 1000);
}
TEST(damage, a_flipped_bit_of_a_store_with_its_log_inside_is_harmless_or_reported) {
  flip_store_with_log(JOURNAL_DELETE, NULL, 700);
}
TEST(damage, a_flipped_bit_of_a_log_inside_the_store_is_harmless_or_reported_or_takes_the_last_commit) {
  flip_log(JOURNAL_DELETE, NULL, 1000);
}
TEST(damage, a_flipped_bit_of_a_sealed_log_inside_the_store_is_harmless_or_reported_or_takes_the_last_commit) {
  flip_log(JOURNAL_DELETE, "secret", 500);
}
