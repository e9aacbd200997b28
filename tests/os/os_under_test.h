/* os_under_test.h - the same test over every Os: the system, memory, the fault injector, the simulated disk. */
#ifndef COLONNADE_TESTS_OS_OS_UNDER_TEST_H
#define COLONNADE_TESTS_OS_OS_UNDER_TEST_H

#include <stdio.h>

#include "tests/support/fault_os.h"
#include "tests/support/simdisk.h"
#include "tests/support/test.h"

typedef enum OsKind { KIND_POSIX, KIND_MEMORY, KIND_FAULT, KIND_SIMDISK, KIND_COUNT } OsKind;

typedef struct OsUnderTest {
  Os *os, *memory;
  FaultOs *fault;
  SimDisk *disk;
  char path[2][512]; /* two files of its own, not there yet */
} OsUnderTest;

static inline OsUnderTest os_set_up(OsKind kind) {
  OsUnderTest u = { .os = os_posix() };
  if (kind == KIND_MEMORY || kind == KIND_FAULT) CHECK_OK(os_memory_create(&u.memory));
  if (kind == KIND_FAULT) CHECK_OK(fault_os_create(u.memory, &u.fault));
  if (kind == KIND_SIMDISK) CHECK_OK(simdisk_create(1, &u.disk));
  if (u.memory) u.os = u.memory;
  if (u.fault) u.os = fault_os(u.fault);
  if (u.disk) u.os = simdisk_os(u.disk);
  for (int i = 0; i < 2; i++) snprintf(u.path[i], sizeof u.path[i], "%s/%d-%c", test_directory(), kind, 'a' + i);
  return u;
}

static inline void os_tear_down(OsUnderTest *u) {
  simdisk_destroy(u->disk);
  fault_os_destroy(u->fault);
  os_memory_destroy(u->memory);
}

#define FOR_EVERY_OS(u)                               \
  for (OsKind kind_ = 0; kind_ < KIND_COUNT; kind_++) \
    for (OsUnderTest u##_ = os_set_up(kind_), *u = &u##_; u; os_tear_down(u), u = NULL)

#endif
