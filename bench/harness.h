/* harness.h - what every benchmark program shares: the conversation with `bench/run`, clocks, random numbers.
 *
 * A program holds one engine. It greets with one JSON line, then reads names of workloads from standard input, runs
 * each and answers with one JSON line. So `bench/run` keeps one process for each engine alive and lets them take turns
 * workload by workload: neighbours on the machine disturb all engines alike. */
#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H

#include <stddef.h>
#include <stdint.h>

#define BENCH_RESULTS_MAX 16 /* figures that one workload may give */

typedef struct BenchFigure {
  const char *name;    /* of the row in the tables */
  const char *unit;    /* "ops/s", "rows/s", "us", "ms", "MB" */
  int lower_is_better; /* not 0 for times and sizes */
  double value;        /* in `unit` */
  int has_answer;      /* not 0: `answer` must be the same for every engine */
  uint64_t answer;     /* what was read: a count, a sum, a checksum */
} BenchFigure;

typedef struct BenchResult {
  BenchFigure figures[BENCH_RESULTS_MAX];
  size_t figure_count;
  double seconds;     /* between bench_start and bench_stop */
  double cpu_seconds; /* of this process in that time, all threads */
  uint64_t syncs;     /* fsync and its kin in that time, counted by sync_count.c */
  uint64_t started_nanoseconds;
  double started_cpu;
  uint64_t started_syncs;
} BenchResult;

typedef struct BenchWorkload {
  const char *name;
  void (*run)(void *context, BenchResult *result);
  void (*after)(void *context); /* untimed, after the clock and before the answer; may be NULL */
} BenchWorkload;

/* Prints {"error": ...} for bench/run and ends the program. */
_Noreturn void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define BENCH_CHECK(condition, ...)            \
  do {                                         \
    if (!(condition)) bench_fail(__VA_ARGS__); \
  } while (0)

/* Greets, then serves until the end of standard input or the line "quit". */
void bench_serve(const char *engine, const char *version, const char *settings, const BenchWorkload *workloads,
                 size_t count, void *context);

/* The clock of a workload: wall time, processor time and syncs. May be started again; the times add up. */
void bench_start(BenchResult *result);
void bench_stop(BenchResult *result);
uint64_t bench_nanoseconds(void); /* monotonic */

/* Adds a figure; `operations` per second of the clock. */
void bench_rate(BenchResult *result, const char *name, const char *unit, double operations);
/* Adds a time or a size. */
void bench_amount(BenchResult *result, const char *name, const char *unit, double value);
/* The answer of the figure added last. */
void bench_answer(BenchResult *result, uint64_t answer);

/* Files of a directory, in bytes that they occupy; removes a directory with its files; makes one. */
uint64_t bench_directory_bytes(const char *directory);
void bench_directory_remove(const char *directory);
void bench_directory_make(const char *directory);

/* splitmix64 (Steele, Lea, Flood 2014) */
static inline uint64_t bench_mix(uint64_t x) {
  x += UINT64_C(0x9e3779b97f4a7c15);
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}
static inline uint64_t bench_random(uint64_t *state) {
  uint64_t x = bench_mix(*state);
  *state += UINT64_C(0x9e3779b97f4a7c15);
  return x;
}
/* 0 to limit - 1 */
static inline uint64_t bench_random_below(uint64_t *state, uint64_t limit) {
  return (uint64_t)(((unsigned __int128)bench_random(state) * limit) >> 64);
}

/* The i-th number of a fixed random order of 0 to count - 1: every number comes once. */
uint64_t bench_permuted(uint64_t i, uint64_t count);

/* YCSB's zipfian numbers (Gray et al. 1994, theta 0.99), scattered over 0 to count - 1. */
typedef struct BenchZipf {
  uint64_t count;
  double alpha, zeta, eta, half;
} BenchZipf;
void bench_zipf_init(BenchZipf *zipf, uint64_t count);
uint64_t bench_zipf_next(const BenchZipf *zipf, uint64_t *state);

#endif
