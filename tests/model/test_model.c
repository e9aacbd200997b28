/* A store beside a model of it: random operations, every reading compared. A run prints its seed first;
 * COLONNADE_MODEL_SEED and COLONNADE_MODEL_OPERATIONS replay one. */
#include <stdio.h>
#include <stdlib.h>

#include "base/counters.h"
#include "tests/model/model_run.h"
#include "tests/support/simdisk.h"
#include "tests/support/test.h"

/* ---- worlds ---- */

/* An Os with a clock of its own. Files belong to the Os beneath. */
typedef struct ClockOs {
  Os os;
  OsMethods methods;
  Os *under;
  int64_t now;
} ClockOs;

static Os *under(Os *os) { return ((ClockOs *)os)->under; }
static Status clock_open(Os *os, const char *path, int flags, OsFile **file) {
  return os_open(under(os), path, flags, file);
}
static Status clock_stat(Os *os, const char *path, OsStat *out) { return os_stat(under(os), path, out); }
static Status clock_unlink(Os *os, const char *path) { return os_unlink(under(os), path); }
static Status clock_rename(Os *os, const char *from, const char *to) { return os_rename(under(os), from, to); }
static Status clock_sync_directory(Os *os, const char *path) { return os_sync_directory(under(os), path); }
static int64_t clock_now(Os *os) { return ((ClockOs *)os)->now; }
static uint64_t clock_monotonic(Os *os) { return os_monotonic_ns(under(os)); }
static Status clock_random(Os *os, void *bytes, size_t length) { return os_random(under(os), bytes, length); }
static void clock_unmap(OsFile *file, void *address, uint64_t length) {
  os_posix()->methods->unmap(file, address, length);
}

static void clock_init(ClockOs *clock, Os *os) {
  *clock = (ClockOs){ .under = os, .now = INT64_C(1700000000000) };
  clock->methods = (OsMethods){ .open = clock_open,
                                .stat = clock_stat,
                                .unlink = clock_unlink,
                                .rename = clock_rename,
                                .sync_directory = clock_sync_directory,
                                .now_ms = clock_now,
                                .monotonic_ns = clock_monotonic,
                                .random = clock_random,
                                .unmap = clock_unmap };
  clock->os.methods = &clock->methods;
}

static void clock_advance(void *context, int64_t milliseconds) { ((ClockOs *)context)->now += milliseconds; }
static void disk_advance(void *context, int64_t milliseconds) { simdisk_advance(context, milliseconds); }
static void disk_cut(void *context, uint64_t seed) { CHECK_OK(simdisk_crash(context, seed)); }

/* ---- runs ---- */

static uint64_t from_environment(const char *name, uint64_t otherwise) {
  const char *text = getenv(name);
  return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

/* `operations` at scale 1, spread over runs; each has a seed of its own. */
static uint64_t campaign(ModelWorld (*open_world)(uint64_t), void (*close_world)(ModelWorld *), uint64_t seed,
                         uint64_t operations) {
  enum { RUN_OPERATIONS = 20000 };
  uint64_t written_meanwhile = 0, only = from_environment("COLONNADE_MODEL_SEED", 0);
  uint64_t left = only ? from_environment("COLONNADE_MODEL_OPERATIONS", RUN_OPERATIONS) : test_scaled(operations);
  for (uint64_t at = only ? only : seed; left; at++) {
    uint64_t count = only || left < RUN_OPERATIONS ? left : RUN_OPERATIONS;
    ModelWorld world = open_world(at);
    written_meanwhile += model_run(&world, at, count);
    close_world(&world);
    left -= count;
  }
  return written_meanwhile;
}

/* What must have happened beside the operations themselves. */
static const Counter reached[] = { COUNTER_flushes,       COUNTER_compactions,          COUNTER_adopted_runs,
                                   COUNTER_resolved_keys, COUNTER_log_self_checkpoints, COUNTER_evictions,
                                   COUNTER_runs_packed,   COUNTER_frames_decoded,       COUNTER_load_chunks,
                                   COUNTER_load_merges };

enum { REACHED = sizeof reached / sizeof *reached };

static bool all_reached(const Counter *counters, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (!counter_get(counters[i])) return false;
  }
  return true;
}

/* A small scale may end before everything has happened: then further runs, each short, until it has. */
static void go_on_until_reached(ModelWorld (*open_world)(uint64_t), void (*close_world)(ModelWorld *), uint64_t seed,
                                const Counter *counters, size_t count) {
  enum { MORE_OPERATIONS = 5000, MORE_RUNS = 40 };
  if (getenv("COLONNADE_MODEL_SEED")) return;
  for (uint64_t run = 0; run < MORE_RUNS && !all_reached(counters, count); run++) {
    ModelWorld world = open_world(seed + run);
    model_run(&world, seed + run, MORE_OPERATIONS);
    close_world(&world);
  }
  for (size_t i = 0; i < count; i++) {
    printf("%s: %llu\n", counter_name(counters[i]), (unsigned long long)counter_get(counters[i]));
    CHECK(counter_get(counters[i]) > 0);
  }
}

static ModelWorld memory_world(uint64_t seed) {
  (void)seed;
  Os *os;
  CHECK_OK(os_memory_create(&os));
  ClockOs *clock = malloc(sizeof *clock);
  clock_init(clock, os);
  return (ModelWorld){ .os = &clock->os, .path = "store", .advance = clock_advance, .context = clock };
}

static void close_memory_world(ModelWorld *world) {
  os_memory_destroy(((ClockOs *)world->context)->under);
  free(world->context);
}

TEST(model, random_operations_agree_with_the_model) {
  CHECK(campaign(memory_world, close_memory_world, 1, 80000) > 0);
  go_on_until_reached(memory_world, close_memory_world, 5001, reached, REACHED);
}

static ModelWorld file_world(uint64_t seed) {
  static char path[512];
  snprintf(path, sizeof path, "%s/store%llu", test_directory(), (unsigned long long)seed);
  ClockOs *clock = malloc(sizeof *clock);
  clock_init(clock, os_posix());
  return (ModelWorld){ .os = &clock->os, .path = path, .advance = clock_advance, .context = clock };
}

static void close_file_world(ModelWorld *world) { free(world->context); }

TEST(model, random_operations_on_files_agree_with_the_model) { campaign(file_world, close_file_world, 1001, 8000); }

static ModelWorld disk_world(uint64_t seed) {
  SimDisk *disk;
  CHECK_OK(simdisk_create(seed, &disk));
  return (
    ModelWorld){ .os = simdisk_os(disk), .path = "store", .advance = disk_advance, .cut = disk_cut, .context = disk };
}

static void close_disk_world(ModelWorld *world) { simdisk_destroy(world->context); }

TEST(model, what_was_committed_outlives_power_cuts) {
  static const Counter recoveries = COUNTER_recoveries;
  campaign(disk_world, close_disk_world, 2001, 16000);
  go_on_until_reached(disk_world, close_disk_world, 6001, &recoveries, 1);
}
