/* model_run.h - lives of a store beside a model: random operations, snapshots held across them, reopening, power cuts.
 */
#ifndef COLONNADE_TESTS_MODEL_MODEL_RUN_H
#define COLONNADE_TESTS_MODEL_MODEL_RUN_H

#include "os/os.h"

/* The system that the store lives on, with a clock that moves when it is told to. */
typedef struct ModelWorld {
  Os *os;
  const char *path;
  void (*advance)(void *context, int64_t milliseconds);
  /* The power goes, and what `seed` leaves is there again; NULL: the world has no power cuts. */
  void (*cut)(void *context, uint64_t seed);
  void *context;
} ModelWorld;

/* Runs `operations` from a seed; prints the seed, and stops the test at the first difference. Returns how many writes
 * came in the middle of a flush or a compaction. */
uint64_t model_run(const ModelWorld *world, uint64_t seed, uint64_t operations);

#endif
