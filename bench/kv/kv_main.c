/* kv_main.c - the workloads of key-value engines: bench_kv_<engine> DIRECTORY KEYS
 *
 * Keys are "user" and twelve digits, so that the numbers 0 to KEYS - 1 in order are the keys in order; values are 100
 * random bytes made of the key's number and a version. Workloads are run in the order of the table at the end: those
 * further down find what those above wrote. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/harness.h"
#include "bench/kv/kv_engine.h"

#define BATCH         1000
#define READS_AT_ONCE 1000 /* reads in one snapshot */
#define PREFIX_BYTES  13   /* of a key: 1,000 keys have them in common */
#define THREADS_MAX   4

typedef struct Bench {
  const char *program;
  const char *directory;
  uint64_t keys;
  char main_path[4096], synced_path[4096];
  void *store, *session; /* the main store: every key, nothing synced */
  void *synced_store, *synced_session;
  uint64_t version; /* of the values written next */
  uint64_t inserted;
  BenchZipf zipf;
} Bench;

static void make_key(char *key, uint64_t number) {
  char digits[KV_KEY_BYTES];
  for (int i = KV_KEY_BYTES - 1; i >= 4; i--, number /= 10) digits[i] = (char)('0' + number % 10);
  memcpy(digits, "user", 4);
  memcpy(key, digits, KV_KEY_BYTES);
}

/* With BENCH_KV_WORDS in the environment: a text that can be compressed. */
static void make_words(char *value, uint64_t state) {
  static const char *const words[] = { "delayed ",  "departed ", "carrier ",   "gate ",     "on time ", "cancelled ",
                                       "boarding ", "arrived ",  "diverted ",  "terminal ", "flight ",  "runway ",
                                       "taxiing ",  "landed ",   "scheduled ", "unknown " };
  for (size_t at = 0; at < KV_VALUE_BYTES;) {
    const char *word = words[bench_random(&state) % 16];
    size_t length = strlen(word), left = KV_VALUE_BYTES - at;
    memcpy(value + at, word, length < left ? length : left);
    at += length;
  }
}

static void make_value(char *value, uint64_t number, uint64_t version) {
  static int words = -1;
  uint64_t state = number * 31 + version * UINT64_C(0xd1b54a32d192ed03);
  if (words < 0) words = getenv("BENCH_KV_WORDS") != NULL; /* asked by the main thread first */
  if (words) {
    make_words(value, state);
    return;
  }
  for (size_t at = 0; at < KV_VALUE_BYTES; at += 8) {
    uint64_t word = bench_random(&state);
    memcpy(value + at, &word, KV_VALUE_BYTES - at < 8 ? KV_VALUE_BYTES - at : 8);
  }
}

static void check(int code, const char *what) { BENCH_CHECK(code == 0, "%s: %s", what, kv_engine.error()); }

static void put_one(void *session, uint64_t number, uint64_t version) {
  char key[KV_KEY_BYTES], value[KV_VALUE_BYTES];
  make_key(key, number);
  make_value(value, number, version);
  check(kv_engine.put(session, key, value), "put");
}

static int get_one(void *session, uint64_t number, uint64_t *sum) {
  char key[KV_KEY_BYTES];
  make_key(key, number);
  int found = kv_engine.get(session, key, sum);
  BENCH_CHECK(found >= 0, "get: %s", kv_engine.error());
  return found;
}

static void open_main(Bench *bench) {
  bench->store = kv_engine.open(bench->main_path, 0);
  BENCH_CHECK(bench->store, "open: %s", kv_engine.error());
  bench->session = kv_engine.attach(bench->store);
  BENCH_CHECK(bench->session, "attach: %s", kv_engine.error());
}

static void close_main(Bench *bench) {
  kv_engine.detach(bench->session);
  check(kv_engine.close(bench->store), "close");
}

static void settle(void *context) {
  Bench *bench = context;
  if (bench->store) check(kv_engine.settle(bench->store), "settle");
  if (bench->synced_store) check(kv_engine.settle(bench->synced_store), "settle");
}

/* Puts the numbers that `number_of` gives for `first` to `first + count - 1`, `batch` to a transaction. */
typedef uint64_t (*NumberOf)(uint64_t i, uint64_t count);
static uint64_t in_order(uint64_t i, uint64_t count) {
  (void)count;
  return i;
}

static void put_batches(void *session, uint64_t count, uint64_t keys, NumberOf number_of, uint64_t batch,
                        uint64_t version) {
  for (uint64_t i = 0; i < count;) {
    check(kv_engine.begin(session, 1), "begin");
    for (uint64_t end = i + batch < count ? i + batch : count; i < end; i++)
      put_one(session, number_of(i, keys), version);
    check(kv_engine.commit(session), "commit");
  }
}

/* ---- loads ---- */
static void load_sequential(void *context, BenchResult *result) {
  Bench *bench = context;
  char path[4200];
  snprintf(path, sizeof path, "%s/sequential", bench->directory);
  bench_directory_make(path);
  void *store = kv_engine.open(path, 0);
  BENCH_CHECK(store, "open: %s", kv_engine.error());
  void *session = kv_engine.attach(store);
  bench_start(result);
  put_batches(session, bench->keys, bench->keys, in_order, BATCH, 0);
  bench_stop(result);
  bench_rate(result, "load, sequential, batches of 1000", "ops/s", (double)bench->keys);
  kv_engine.detach(session);
  check(kv_engine.close(store), "close");
  bench_directory_remove(path);
}

typedef struct LoadSource {
  uint64_t at, keys;
  NumberOf number_of;
} LoadSource;

static int next_pair(void *context, char *key, char *value) {
  LoadSource *source = context;
  if (source->at == source->keys) return 0;
  uint64_t number = source->number_of(source->at++, source->keys);
  make_key(key, number);
  make_value(value, number, 0);
  return 1;
}

static void bulk(Bench *bench, BenchResult *result, NumberOf number_of, const char *row) {
  char path[4200];
  LoadSource source = { 0, bench->keys, number_of };
  uint64_t sum = 0;
  snprintf(path, sizeof path, "%s/bulk", bench->directory);
  bench_directory_make(path);
  void *store = kv_engine.open(path, 1);
  BENCH_CHECK(store, "open: %s", kv_engine.error());
  void *session = kv_engine.attach(store);
  bench_start(result);
  if (kv_engine.load)
    check(kv_engine.load(session, number_of == in_order, next_pair, &source), "load");
  else
    put_batches(session, bench->keys, bench->keys, number_of, BATCH, 0);
  bench_stop(result);
  bench_rate(result, row, "ops/s", (double)bench->keys);
  BENCH_CHECK(kv_engine.scan(session, NULL, 0, INT64_MAX, 0, &sum) == (int64_t)bench->keys, "pairs are missing");
  bench_answer(result, sum);
  kv_engine.detach(session);
  check(kv_engine.close(store), "close");
  bench_directory_remove(path);
}

static void bulk_sorted(void *context, BenchResult *result) {
  bulk(context, result, in_order, "bulk load, sorted, durable");
}
static void bulk_random(void *context, BenchResult *result) {
  bulk(context, result, bench_permuted, "bulk load, random order, durable");
}

/* ---- counts: their own store, whose values begin with a number of 20 random bits ---- */
enum { COUNT_RUNS_MAX = 200, COUNT_LIMIT = 100000 };

/* "site/042/0001234": parts ascend with the numbers. */
static void counted_key(char key[KV_KEY_BYTES], uint64_t number, uint64_t keys) {
  char text[64];
  snprintf(text, sizeof text, "site/%03u/%07u", (unsigned)(number * KV_PARTS / keys % KV_PARTS),
           (unsigned)(number % 10000000));
  memcpy(key, text, KV_KEY_BYTES);
}

static int next_counted(void *context, char *key, char *value) {
  LoadSource *source = context;
  uint64_t at = source->at, number = bench_mix(at) & 0xfffff;
  if (!next_pair(context, key, value)) return 0;
  counted_key(key, at, source->keys);
  memcpy(value, &number, sizeof number);
  return 1;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The median time of up to 200 runs in 0.3 seconds, at least five. */
static double count_time(void *session, const char *from, const char *before, int64_t *count) {
  double times[COUNT_RUNS_MAX];
  size_t runs = 0;
  for (uint64_t began = bench_nanoseconds();
       runs < COUNT_RUNS_MAX && (runs < 5 || bench_nanoseconds() - began < UINT64_C(300000000)); runs++) {
    uint64_t at = bench_nanoseconds();
    *count = from ? kv_engine.count_range(session, from, before) : kv_engine.count_below(session, COUNT_LIMIT);
    times[runs] = (double)(bench_nanoseconds() - at);
    BENCH_CHECK(*count >= 0, "count: %s", kv_engine.error());
  }
  qsort(times, runs, sizeof times[0], by_size);
  return times[runs / 2];
}

static double parts_time(void *session, uint64_t *answer) {
  double times[COUNT_RUNS_MAX];
  size_t runs = 0;
  for (uint64_t began = bench_nanoseconds();
       runs < COUNT_RUNS_MAX && (runs < 5 || bench_nanoseconds() - began < UINT64_C(300000000)); runs++) {
    KvParts parts = { { 0 }, { 0 } };
    uint64_t at = bench_nanoseconds();
    check(kv_engine.group_parts(session, &parts), "groups");
    times[runs] = (double)(bench_nanoseconds() - at);
    *answer = 0;
    for (unsigned i = 0; i < KV_PARTS; i++) *answer += bench_mix(i << 20 ^ parts.counts[i]) * (parts.sums[i] | 1);
  }
  qsort(times, runs, sizeof times[0], by_size);
  return times[runs / 2];
}

static void count_pairs(void *context, BenchResult *result) {
  Bench *bench = context;
  char path[4200], from[KV_KEY_BYTES], before[KV_KEY_BYTES];
  LoadSource source = { 0, bench->keys, in_order };
  int64_t below, within;
  uint64_t parts;
  if (!kv_engine.count_below || !kv_engine.load) return;
  snprintf(path, sizeof path, "%s/counted", bench->directory);
  bench_directory_make(path);
  void *store = kv_engine.open(path, 0);
  BENCH_CHECK(store, "open: %s", kv_engine.error());
  void *session = kv_engine.attach(store);
  check(kv_engine.load(session, 1, next_counted, &source), "load");
  check(kv_engine.settle(store), "settle");
  check(kv_engine.counts_begin(session), "what counts need");
  counted_key(from, bench->keys / 2, bench->keys);
  counted_key(before, bench->keys / 2 + bench->keys / 100, bench->keys);
  bench_start(result);
  double field = count_time(session, NULL, NULL, &below), range = count_time(session, from, before, &within);
  double groups = parts_time(session, &parts);
  bench_stop(result);
  bench_amount(result, "count of a comparison, 8 bytes of the value", "ms", 1e-6 * field);
  bench_answer(result, (uint64_t)below);
  bench_amount(result, "count of a range of 1 % of the keys", "us", 1e-3 * range);
  bench_answer(result, (uint64_t)within);
  bench_amount(result, "count and sum by a part of the key, 1,000 groups", "ms", 1e-6 * groups);
  bench_answer(result, parts);
  kv_engine.counts_end(session);
  kv_engine.detach(session);
  check(kv_engine.close(store), "close");
  bench_directory_remove(path);
}

static void load_random(void *context, BenchResult *result) {
  Bench *bench = context;
  bench_directory_make(bench->main_path);
  open_main(bench);
  bench_start(result);
  put_batches(bench->session, bench->keys, bench->keys, bench_permuted, BATCH, 0);
  bench_stop(result);
  bench_rate(result, "load, random, batches of 1000", "ops/s", (double)bench->keys);
}

static void disk(void *context, BenchResult *result) {
  Bench *bench = context;
  settle(bench);
  close_main(bench);
  bench_amount(result, "MB on disk after the random load", "MB",
               1e-6 * (double)bench_directory_bytes(bench->main_path));
  open_main(bench);
}

/* ---- reads ---- */
static void read_hits(void *session, uint64_t count, uint64_t keys, uint64_t seed, uint64_t *sum) {
  for (uint64_t i = 0; i < count; i++) {
    BENCH_CHECK(get_one(session, bench_random_below(&seed, keys), sum) == 1, "a key that was put is not found");
  }
}

static void read_hit(void *context, BenchResult *result) {
  Bench *bench = context;
  uint64_t sum = 0, seed = 1;
  bench_start(result);
  for (uint64_t i = 0; i < bench->keys; i += READS_AT_ONCE, seed++) {
    check(kv_engine.begin(bench->session, 0), "begin");
    read_hits(bench->session, READS_AT_ONCE, bench->keys, seed << 32, &sum);
    check(kv_engine.commit(bench->session), "end");
  }
  bench_stop(result);
  uint64_t reads = bench->keys / READS_AT_ONCE * READS_AT_ONCE;
  bench_rate(result, "read, hit, 1000 to a snapshot", "ops/s", (double)reads);
  bench_answer(result, sum);
}

/* The same keys in calls of 1,000, where the engine has such calls. */
static void read_many(void *context, BenchResult *result) {
  Bench *bench = context;
  uint64_t sum = 0, seed = 1;
  static char keys[READS_AT_ONCE * KV_KEY_BYTES];
  bench_start(result);
  for (uint64_t i = 0; i < bench->keys; i += READS_AT_ONCE, seed++) {
    uint64_t at = seed << 32;
    check(kv_engine.begin(bench->session, 0), "begin");
    if (kv_engine.get_many) {
      for (uint64_t k = 0; k < READS_AT_ONCE; k++)
        make_key(keys + k * KV_KEY_BYTES, bench_random_below(&at, bench->keys));
      BENCH_CHECK(kv_engine.get_many(bench->session, keys, READS_AT_ONCE, &sum) == READS_AT_ONCE,
                  "keys that were put are not found");
    } else {
      read_hits(bench->session, READS_AT_ONCE, bench->keys, at, &sum);
    }
    check(kv_engine.commit(bench->session), "end");
  }
  bench_stop(result);
  uint64_t reads = bench->keys / READS_AT_ONCE * READS_AT_ONCE;
  bench_rate(result, "read, hit, 1000 in one call", "ops/s", (double)reads);
  bench_answer(result, sum);
}

static void read_fresh(void *context, BenchResult *result) {
  Bench *bench = context;
  uint64_t sum = 0;
  bench_start(result);
  read_hits(bench->session, bench->keys, bench->keys, 2, &sum);
  bench_stop(result);
  bench_rate(result, "read, hit, each the latest commit", "ops/s", (double)bench->keys);
  bench_answer(result, sum);
}

static void read_miss(void *context, BenchResult *result) {
  Bench *bench = context;
  uint64_t sum = 0, seed = 3;
  bench_start(result);
  for (uint64_t i = 0; i < bench->keys; i++) {
    char key[KV_KEY_BYTES];
    make_key(key, bench_random_below(&seed, bench->keys));
    key[KV_KEY_BYTES - 1] = 'x'; /* lies between two keys */
    BENCH_CHECK(kv_engine.get(bench->session, key, &sum) == 0, "a key that was never put is found");
  }
  bench_stop(result);
  bench_rate(result, "read, miss", "ops/s", (double)bench->keys);
}

typedef struct Worker {
  pthread_t thread;
  void *session;
  uint64_t count, keys, number, sum;
} Worker;

static void run_workers(Worker *workers, size_t count, void *store, void *(*work)(void *), BenchResult *result) {
  for (size_t i = 0; i < count; i++) {
    workers[i].session = kv_engine.attach(store);
    BENCH_CHECK(workers[i].session, "attach: %s", kv_engine.error());
    workers[i].number = i;
    workers[i].sum = 0;
  }
  bench_start(result);
  for (size_t i = 0; i < count; i++)
    BENCH_CHECK(!pthread_create(&workers[i].thread, NULL, work, &workers[i]), "no thread");
  for (size_t i = 0; i < count; i++) pthread_join(workers[i].thread, NULL);
  bench_stop(result);
  for (size_t i = 0; i < count; i++) kv_engine.detach(workers[i].session);
}

static void *read_worker(void *argument) {
  Worker *worker = argument;
  read_hits(worker->session, worker->count, worker->keys, 100 + worker->number, &worker->sum);
  return NULL;
}

static void read_threads(void *context, BenchResult *result) {
  Bench *bench = context;
  Worker workers[2];
  for (int i = 0; i < 2; i++) workers[i].count = workers[i].keys = bench->keys;
  run_workers(workers, 2, bench->store, read_worker, result);
  bench_rate(result, "read, hit, 2 threads", "ops/s", 2.0 * (double)bench->keys);
  bench_answer(result, workers[0].sum + workers[1].sum);
}

/* ---- scans ---- */
static void scan_all(Bench *bench, BenchResult *result, int reverse, const char *row) {
  uint64_t sum = 0;
  int64_t rows = 0;
  bench_start(result);
  for (int i = 0; i < 3; i++) rows += kv_engine.scan(bench->session, NULL, 0, INT64_MAX, reverse, &sum);
  bench_stop(result);
  BENCH_CHECK(rows == 3 * (int64_t)bench->keys, "a scan gave %lld rows: %s", (long long)rows, kv_engine.error());
  bench_rate(result, row, "rows/s", (double)rows);
  bench_answer(result, sum);
}

static void scan_forward(void *context, BenchResult *result) { scan_all(context, result, 0, "full scan, forward"); }
static void scan_reverse(void *context, BenchResult *result) { scan_all(context, result, 1, "full scan, reverse"); }

static void scan_prefix(void *context, BenchResult *result) {
  Bench *bench = context;
  uint64_t sum = 0, seed = 4, groups = bench->keys / 1000;
  int64_t rows = 0;
  bench_start(result);
  for (int i = 0; i < 2000; i++) {
    char key[KV_KEY_BYTES];
    make_key(key, bench_random_below(&seed, groups) * 1000);
    int64_t count = kv_engine.scan(bench->session, key, PREFIX_BYTES, INT64_MAX, 0, &sum);
    BENCH_CHECK(count >= 0, "scan: %s", kv_engine.error());
    rows += count;
  }
  bench_stop(result);
  bench_rate(result, "prefix scan, 1000 rows each", "rows/s", (double)rows);
  bench_answer(result, sum);
}

/* ---- writes ---- */
static void update(void *context, BenchResult *result) {
  Bench *bench = context;
  uint64_t count = bench->keys / 2;
  bench->version++;
  bench_start(result);
  put_batches(bench->session, count, bench->keys, bench_permuted, BATCH, bench->version);
  bench_stop(result);
  bench_rate(result, "update, random, batches of 1000", "ops/s", (double)count);
}

static void read_after_updates(void *context, BenchResult *result) {
  Bench *bench = context;
  uint64_t sum = 0;
  bench->version++;
  put_batches(bench->session, bench->keys / 10, bench->keys, bench_permuted, BATCH, bench->version);
  bench_start(result);
  read_hits(bench->session, bench->keys / 2, bench->keys, 5, &sum);
  bench_stop(result);
  uint64_t operations = bench->keys / 2;
  bench_rate(result, "read, hit, right after updates", "ops/s", (double)operations);
  bench_answer(result, sum);
}

static void put_single(void *context, BenchResult *result) {
  Bench *bench = context;
  uint64_t count = bench->keys / 5, seed = 6;
  bench->version++;
  bench_start(result);
  for (uint64_t i = 0; i < count; i++) put_one(bench->session, bench_random_below(&seed, bench->keys), bench->version);
  bench_stop(result);
  bench_rate(result, "put, one per commit, no sync", "ops/s", (double)count);
}

/* ---- synced writes, into a store of a tenth of the keys ---- */
static void open_synced(Bench *bench) {
  if (bench->synced_store) return;
  bench_directory_make(bench->synced_path);
  bench->synced_store = kv_engine.open(bench->synced_path, 1);
  BENCH_CHECK(bench->synced_store, "open: %s", kv_engine.error());
  bench->synced_session = kv_engine.attach(bench->synced_store);
  BENCH_CHECK(bench->synced_session, "attach: %s", kv_engine.error());
  put_batches(bench->synced_session, bench->keys / 10, bench->keys / 10, in_order, BATCH * 10, 0);
  settle(bench);
}

static void put_synced(void *context, BenchResult *result) {
  Bench *bench = context;
  uint64_t count = bench->keys / 250, seed = 7;
  open_synced(bench);
  bench_start(result);
  for (uint64_t i = 0; i < count; i++) put_one(bench->synced_session, bench_random_below(&seed, bench->keys / 10), 1);
  bench_stop(result);
  bench_rate(result, "put, synced each", "ops/s", (double)count);
}

static void *put_worker(void *argument) {
  Worker *worker = argument;
  uint64_t seed = 200 + worker->number;
  for (uint64_t i = 0; i < worker->count; i++) put_one(worker->session, bench_random_below(&seed, worker->keys), 2);
  return NULL;
}

static void put_synced_threads(void *context, BenchResult *result) {
  Bench *bench = context;
  Worker workers[THREADS_MAX];
  open_synced(bench);
  for (int i = 0; i < THREADS_MAX; i++) {
    workers[i].count = bench->keys / 500;
    workers[i].keys = bench->keys / 10;
  }
  run_workers(workers, THREADS_MAX, bench->synced_store, put_worker, result);
  uint64_t operations = THREADS_MAX * (bench->keys / 500);
  bench_rate(result, "put, synced, 4 threads", "ops/s", (double)operations);
}

static void batch_synced(void *context, BenchResult *result) {
  Bench *bench = context;
  uint64_t count = bench->keys / 20;
  open_synced(bench);
  bench_start(result);
  put_batches(bench->synced_session, count, bench->keys / 10, bench_permuted, 100, 3);
  bench_stop(result);
  bench_rate(result, "batch of 100, synced", "rows/s", (double)count);
}

/* ---- YCSB: zipfian keys, every operation a transaction of its own, nothing synced ---- */
static void ycsb(Bench *bench, BenchResult *result, const char *row, uint64_t count, unsigned read_percent,
                 int modify) {
  uint64_t sum = 0, seed = 8;
  bench->version++;
  bench_start(result);
  for (uint64_t i = 0; i < count; i++) {
    uint64_t number = bench_zipf_next(&bench->zipf, &seed);
    int read = bench_random_below(&seed, 100) < read_percent;
    if (read || modify) get_one(bench->session, number, &sum);
    if (!read) put_one(bench->session, number, bench->version + i);
  }
  bench_stop(result);
  bench_rate(result, row, "ops/s", (double)count);
  bench_answer(result, sum);
}

static void ycsb_a(void *context, BenchResult *result) {
  Bench *bench = context;
  ycsb(bench, result, "YCSB A (50 % reads, 50 % updates)", bench->keys / 5, 50, 0);
}
static void ycsb_b(void *context, BenchResult *result) {
  Bench *bench = context;
  ycsb(bench, result, "YCSB B (95 % reads, 5 % updates)", bench->keys / 2, 95, 0);
}
static void ycsb_c(void *context, BenchResult *result) {
  Bench *bench = context;
  ycsb(bench, result, "YCSB C (reads)", bench->keys / 2, 100, 0);
}
static void ycsb_f(void *context, BenchResult *result) {
  Bench *bench = context;
  ycsb(bench, result, "YCSB F (50 % reads, 50 % read and write back)", bench->keys / 5, 50, 1);
}

static void ycsb_e(void *context, BenchResult *result) {
  Bench *bench = context;
  uint64_t sum = 0, seed = 9, count = bench->keys / 20;
  bench_start(result);
  for (uint64_t i = 0; i < count; i++) {
    uint64_t number = bench_zipf_next(&bench->zipf, &seed);
    int64_t limit = 1 + (int64_t)bench_random_below(&seed, 100);
    if (bench_random_below(&seed, 100) < 95) {
      char key[KV_KEY_BYTES];
      make_key(key, number);
      BENCH_CHECK(kv_engine.scan(bench->session, key, 0, limit, 0, &sum) >= 0, "scan: %s", kv_engine.error());
    } else {
      put_one(bench->session, bench->keys + bench->inserted++, 0);
    }
  }
  bench_stop(result);
  bench_rate(result, "YCSB E (95 % scans of up to 100 rows, 5 % inserts)", "ops/s", (double)count);
  bench_answer(result, sum);
}

/* ---- two processes: this one, and the same program started again with a part to play ---- */
typedef struct Child {
  pid_t process;
  int to, from; /* pipes */
} Child;

static Child start_child(Bench *bench, const char *part, const char *path) {
  int to[2], from[2];
  char keys[32], byte;
  snprintf(keys, sizeof keys, "%llu", (unsigned long long)bench->keys);
  BENCH_CHECK(!pipe(to) && !pipe(from), "no pipe");
  fflush(stdout);
  Child child = { fork(), to[1], from[0] };
  BENCH_CHECK(child.process >= 0, "no process");
  if (!child.process) {
    dup2(to[0], 0);
    dup2(from[1], 1);
    for (int file = 3; file < 1024; file++) close(file);
    execl(bench->program, bench->program, path, keys, part, (char *)NULL);
    _exit(127);
  }
  close(to[0]);
  close(from[1]);
  BENCH_CHECK(read(child.from, &byte, 1) == 1 && byte == '+', "the process that is to %s did not start", part);
  return child;
}

static void end_child(Child child, int signal_number) {
  if (signal_number) kill(child.process, signal_number);
  close(child.to);
  waitpid(child.process, NULL, 0);
  close(child.from);
}

static int told_to_end(void) {
  struct timeval none = { 0, 0 };
  fd_set files;
  FD_ZERO(&files);
  FD_SET(0, &files);
  return select(1, &files, NULL, NULL, &none) != 0;
}

/* The second process: says '+' when it is at work, and ends when its standard input does. */
static int play(Bench *bench, const char *part) {
  uint64_t seed = 300, sum = 0, version = 1000;
  snprintf(bench->main_path, sizeof bench->main_path, "%s", bench->directory);
  open_main(bench);
  if (!strcmp(part, "commit")) {
    for (uint64_t i = 0; i < 30000; i++) put_one(bench->session, bench_random_below(&seed, bench->keys), version);
    if (write(1, "+", 1) == 1) pause();
    return 1;
  }
  if (write(1, "+", 1) != 1) return 1;
  while (!told_to_end()) {
    if (!strcmp(part, "write")) {
      check(kv_engine.begin(bench->session, 1), "begin");
      for (int i = 0; i < BATCH; i++) put_one(bench->session, bench_random_below(&seed, bench->keys), version);
      check(kv_engine.commit(bench->session), "commit");
      version++;
    } else {
      read_hits(bench->session, BATCH, bench->keys, seed++, &sum);
    }
  }
  close_main(bench);
  return 0;
}

static void read_beside_writer(void *context, BenchResult *result) {
  Bench *bench = context;
  if (kv_engine.one_process) return;
  uint64_t sum = 0;
  Child child = start_child(bench, "write", bench->main_path);
  bench_start(result);
  read_hits(bench->session, bench->keys / 4, bench->keys, 10, &sum);
  bench_stop(result);
  end_child(child, 0);
  uint64_t operations = bench->keys / 4;
  bench_rate(result, "read beside a writing process", "ops/s", (double)operations);
}

static void write_beside_reader(void *context, BenchResult *result) {
  Bench *bench = context;
  if (kv_engine.one_process) return;
  Child child = start_child(bench, "read", bench->main_path);
  bench->version++;
  bench_start(result);
  put_batches(bench->session, bench->keys / 4, bench->keys, bench_permuted, BATCH, bench->version);
  bench_stop(result);
  end_child(child, 0);
  uint64_t operations = bench->keys / 4;
  bench_rate(result, "a writer beside a reading process", "ops/s", (double)operations);
}

static double open_to_first_answer(Bench *bench, const char *path) {
  uint64_t sum = 0, begun = bench_nanoseconds();
  void *store = kv_engine.open(path, 0);
  BENCH_CHECK(store, "open: %s", kv_engine.error());
  void *session = kv_engine.attach(store);
  BENCH_CHECK(session && get_one(session, bench->keys / 2, &sum) == 1, "reopened, and a key is missing");
  double milliseconds = 1e-6 * (double)(bench_nanoseconds() - begun);
  kv_engine.detach(session);
  check(kv_engine.close(store), "close");
  return milliseconds;
}

static void reopen(void *context, BenchResult *result) {
  Bench *bench = context;
  close_main(bench);
  double clean = open_to_first_answer(bench, bench->main_path);
  end_child(start_child(bench, "commit", bench->main_path), SIGKILL);
  double killed = open_to_first_answer(bench, bench->main_path);
  open_main(bench);
  bench_amount(result, "reopen after a clean close, to the first answer", "ms", clean);
  bench_amount(result, "reopen after 30,000 single commits and a kill", "ms", killed);
}

static const BenchWorkload workloads[] = {
  { "load_sequential", load_sequential, NULL },
  { "bulk_sorted", bulk_sorted, NULL },
  { "bulk_random", bulk_random, NULL },
  { "count_pairs", count_pairs, NULL },
  { "load_random", load_random, settle },
  { "disk", disk, NULL },
  { "read_hit", read_hit, NULL },
  { "read_many", read_many, NULL },
  { "read_fresh", read_fresh, NULL },
  { "read_miss", read_miss, NULL },
  { "read_threads", read_threads, NULL },
  { "scan_prefix", scan_prefix, NULL },
  { "scan_forward", scan_forward, NULL },
  { "scan_reverse", scan_reverse, NULL },
  { "update", update, settle },
  { "read_after_updates", read_after_updates, settle },
  { "put_single", put_single, settle },
  { "ycsb_a", ycsb_a, settle },
  { "ycsb_b", ycsb_b, settle },
  { "ycsb_c", ycsb_c, settle },
  { "ycsb_f", ycsb_f, settle },
  { "ycsb_e", ycsb_e, settle },
  { "put_synced", put_synced, settle },
  { "put_synced_threads", put_synced_threads, settle },
  { "batch_synced", batch_synced, settle },
  { "read_beside_writer", read_beside_writer, settle },
  { "write_beside_reader", write_beside_reader, settle },
  { "reopen", reopen, settle },
};

int main(int argument_count, char **arguments) {
  Bench *bench = calloc(1, sizeof *bench);
  BENCH_CHECK(argument_count >= 3, "use: %s DIRECTORY KEYS", arguments[0]);
  bench->program = "/proc/self/exe";
  bench->directory = arguments[1];
  bench->keys = strtoull(arguments[2], NULL, 10);
  BENCH_CHECK(bench->keys >= 10000, "at least 10,000 keys");
  signal(SIGPIPE, SIG_IGN);
  if (argument_count > 3) return play(bench, arguments[3]);
  snprintf(bench->main_path, sizeof bench->main_path, "%s/main", bench->directory);
  snprintf(bench->synced_path, sizeof bench->synced_path, "%s/synced", bench->directory);
  bench_zipf_init(&bench->zipf, bench->keys);
  bench_serve(kv_engine.name, kv_engine.version(), kv_engine.settings(), workloads,
              sizeof workloads / sizeof workloads[0], bench);
  if (bench->synced_store) {
    kv_engine.detach(bench->synced_session);
    kv_engine.close(bench->synced_store);
  }
  if (bench->store) close_main(bench);
  free(bench);
  return 0;
}
