#include "bench/harness.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bench/sync_count.h"

static void print_text(const char *text) {
  putchar('"');
  for (; *text; text++) {
    if (*text == '"' || *text == '\\') putchar('\\');
    putchar((unsigned char)*text < 0x20 ? ' ' : *text);
  }
  putchar('"');
}

void bench_fail(const char *format, ...) {
  char message[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  printf("{\"error\": ");
  print_text(message);
  printf("}\n");
  fflush(stdout);
  _exit(1);
}

static void print_result(const char *workload, const BenchResult *result) {
  printf("{\"workload\": \"%s\", \"seconds\": %.6f, \"cpu_seconds\": %.6f, \"syncs\": %llu, \"figures\": [", workload,
         result->seconds, result->cpu_seconds, (unsigned long long)result->syncs);
  for (size_t i = 0; i < result->figure_count; i++) {
    const BenchFigure *figure = &result->figures[i];
    printf("%s{\"row\": ", i ? ", " : "");
    print_text(figure->name);
    printf(", \"unit\": \"%s\", \"better\": \"%s\", \"value\": %.9g", figure->unit,
           figure->lower_is_better ? "lower" : "higher", figure->value);
    if (figure->has_answer) printf(", \"answer\": \"%016llx\"", (unsigned long long)figure->answer);
    printf("}");
  }
  printf("]}\n");
  fflush(stdout);
}

static void serve_one(const BenchWorkload *workload, void *context) {
  BenchResult result;
  memset(&result, 0, sizeof result);
  workload->run(context, &result);
  if (workload->after) workload->after(context);
  print_result(workload->name, &result);
}

void bench_serve(const char *engine, const char *version, const char *settings, const BenchWorkload *workloads,
                 size_t count, void *context) {
  char line[256];
  printf("{\"engine\": \"%s\", \"version\": ", engine);
  print_text(version);
  printf(", \"settings\": ");
  print_text(settings);
  printf("}\n");
  fflush(stdout);
  while (fgets(line, sizeof line, stdin)) {
    line[strcspn(line, "\n")] = '\0';
    if (!strcmp(line, "quit")) return;
    size_t i = 0;
    while (i < count && strcmp(workloads[i].name, line) != 0) i++;
    BENCH_CHECK(i < count, "no workload named %s", line);
    serve_one(&workloads[i], context);
  }
}

uint64_t bench_nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static double cpu_seconds(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

void bench_start(BenchResult *result) {
  result->started_syncs = sync_count();
  result->started_cpu = cpu_seconds();
  result->started_nanoseconds = bench_nanoseconds();
}

void bench_stop(BenchResult *result) {
  result->seconds += 1e-9 * (double)(bench_nanoseconds() - result->started_nanoseconds);
  result->cpu_seconds += cpu_seconds() - result->started_cpu;
  result->syncs += sync_count() - result->started_syncs;
}

static BenchFigure *add_figure(BenchResult *result, const char *name, const char *unit) {
  BENCH_CHECK(result->figure_count < BENCH_RESULTS_MAX, "%s: too many figures", name);
  BenchFigure *figure = &result->figures[result->figure_count++];
  figure->name = name;
  figure->unit = unit;
  return figure;
}

void bench_rate(BenchResult *result, const char *name, const char *unit, double operations) {
  add_figure(result, name, unit)->value = operations / (result->seconds > 0 ? result->seconds : 1e-9);
}

void bench_amount(BenchResult *result, const char *name, const char *unit, double value) {
  BenchFigure *figure = add_figure(result, name, unit);
  figure->value = value;
  figure->lower_is_better = 1;
}

void bench_answer(BenchResult *result, uint64_t answer) {
  BenchFigure *figure = &result->figures[result->figure_count - 1];
  figure->has_answer = 1;
  figure->answer = answer;
}

/* Calls `visit` for each file of a directory; the directories of a benchmark hold only files. */
static void each_file(const char *directory, void (*visit)(const char *path, uint64_t *sum), uint64_t *sum) {
  DIR *entries = opendir(directory);
  if (!entries) return;
  for (struct dirent *entry = readdir(entries); entry; entry = readdir(entries)) {
    char path[4096];
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
    snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
    visit(path, sum);
  }
  closedir(entries);
}

static void add_bytes(const char *path, uint64_t *sum) {
  struct stat facts;
  if (!stat(path, &facts)) *sum += (uint64_t)facts.st_blocks * 512;
}

static void remove_file(const char *path, uint64_t *sum) {
  (void)sum;
  BENCH_CHECK(!unlink(path), "%s cannot be removed: %s", path, strerror(errno));
}

uint64_t bench_directory_bytes(const char *directory) {
  uint64_t sum = 0;
  each_file(directory, add_bytes, &sum);
  return sum;
}

void bench_directory_remove(const char *directory) {
  uint64_t sum = 0;
  each_file(directory, remove_file, &sum);
  rmdir(directory);
}

void bench_directory_make(const char *directory) {
  BENCH_CHECK(!mkdir(directory, 0777) || errno == EEXIST, "%s cannot be made: %s", directory, strerror(errno));
}

/* A Feistel network of four rounds over the smallest even number of bits, walked until it falls below `count`. */
uint64_t bench_permuted(uint64_t i, uint64_t count) {
  int half = 1;
  while (half < 31 && (UINT64_C(1) << (2 * half)) < count) half++;
  uint64_t mask = (UINT64_C(1) << half) - 1;
  do {
    uint64_t left = i >> half, right = i & mask;
    for (uint64_t round = 1; round <= 4; round++) {
      uint64_t next = left ^ (bench_mix(right + (round << 40)) & mask);
      left = right;
      right = next;
    }
    i = left << half | right;
  } while (i >= count);
  return i;
}

void bench_zipf_init(BenchZipf *zipf, uint64_t count) {
  const double theta = 0.99;
  zipf->count = count;
  zipf->zeta = 0;
  for (uint64_t i = 1; i <= count; i++) zipf->zeta += pow((double)i, -theta);
  zipf->half = pow(0.5, theta);
  zipf->alpha = 1 / (1 - theta);
  zipf->eta = (1 - pow(2.0 / (double)count, 1 - theta)) / (1 - (1 + zipf->half) / zipf->zeta);
}

uint64_t bench_zipf_next(const BenchZipf *zipf, uint64_t *state) {
  double u = (double)(bench_random(state) >> 11) * 0x1p-53, uz = u * zipf->zeta;
  uint64_t rank;
  if (uz < 1)
    rank = 0;
  else if (uz < 1 + zipf->half)
    rank = 1;
  else
    rank = (uint64_t)((double)zipf->count * pow(zipf->eta * u - zipf->eta + 1, zipf->alpha));
  return bench_mix(rank) % zipf->count;
}
