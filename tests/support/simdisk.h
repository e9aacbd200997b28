/* simdisk.h - a seeded disk that loses what was not synced.
 *
 * An Os whose files live in memory. The running program sees every write at once, as through a page cache. Beside that
 * the disk knows what a power cut leaves for certain: a file's data and size as of its last sync, and the names of a
 * directory as of its last sync_directory. Everything since is pending. A crash decides each pending operation by its
 * seed:
 *
 *   write               kept, dropped, or torn: each 512-byte sector of it kept or not
 *   allocate, truncate  kept or dropped
 *   create, unlink, rename   kept or dropped; a file whose name is lost is lost, synced or not
 *
 * Pending operations of a file are applied in an order that the seed chooses too: nothing but a sync orders them. The
 * bytes of a writable mapping since the last sync of the file count as pending writes of 4 KiB pages. How likely each
 * outcome is differs from crash to crash, so that "all kept" and "all lost" come up as well.
 *
 * The same calls with the same seeds give the same bytes. The wall clock stands still unless simdisk_advance moves it;
 * the monotonic clock is the system's. Randomness is a sequence of the creation's seed. Threads: as any Os; crash,
 * clone and the file functions from any thread too. Out of memory ends the program: this is a test.
 *
 * After simdisk_crash the open files of the former life are dead: each call fails with KVSTORE_IO, except close and
 * unmap. Their mappings stay readable and show the old life. */
#ifndef COLONNADE_TESTS_SUPPORT_SIMDISK_H
#define COLONNADE_TESTS_SUPPORT_SIMDISK_H

#include <stdio.h>

#include "os/os.h"

typedef struct SimDisk SimDisk;

typedef struct SimDiskStatistics { /* over all crashes of a disk */
  uint64_t crashes;
  uint64_t kept, dropped, torn;       /* pending operations of files */
  uint64_t names_kept, names_dropped; /* pending operations of directories */
  uint64_t syncs, syncs_ignored;      /* of files */
} SimDiskStatistics;

Status simdisk_create(uint64_t seed, SimDisk **disk) MUST_CHECK;
/* When every file is closed, those of former lives included. */
void simdisk_destroy(SimDisk *disk);
Os *simdisk_os(SimDisk *disk);

/* ---- crashes ---- */
/* Ends this life and begins the next with what `seed` leaves. */
Status simdisk_crash(SimDisk *disk, uint64_t seed) MUST_CHECK;
/* The power goes at changing call number `call` (from 1, counted from the disk's creation; 0: never): that call takes
 * effect as a pending operation, or not at all, and fails with KVSTORE_IO, as every call after it, until simdisk_crash.
 */
void simdisk_crash_at(SimDisk *disk, uint64_t call);
/* Changing calls so far: open that creates, write, sync, allocate, truncate, unlink, rename, sync_directory. */
uint64_t simdisk_calls(SimDisk *disk);
/* True from the call of simdisk_crash_at to simdisk_crash. */
bool simdisk_power_is_off(SimDisk *disk);
SimDiskStatistics simdisk_statistics(SimDisk *disk);

/* ---- planted defects ---- */
/* The n-th sync of a file from now on (from 1; 0: none) says done and does nothing. */
void simdisk_ignore_sync(SimDisk *disk, uint64_t n);
/* So does every sync of a file that was opened by a path with this end; NULL: none. */
void simdisk_ignore_syncs_of(SimDisk *disk, const char *suffix);
/* So does every sync_directory. */
void simdisk_ignore_directory_syncs(SimDisk *disk, bool ignore);

/* ---- from outside ---- */
/* The current bytes of a file, to be freed with free(); NULL when there is none of this name. */
uint8_t *simdisk_read_file(SimDisk *disk, const char *path, size_t *length);
/* Makes a file have these bytes, durably, name and all; open files see them. */
void simdisk_write_file(SimDisk *disk, const char *path, const void *bytes, size_t length);
/* Takes a name away, durably. */
void simdisk_remove_file(SimDisk *disk, const char *path);
/* A disk with the same files, durable and pending, and no open ones: crash it with many seeds from one state. Its call
 * count is 0 and nothing is armed. Bytes written through mappings since the last sync are pending there too. */
SimDisk *simdisk_clone(SimDisk *disk);
/* Moves the wall clock. */
void simdisk_advance(SimDisk *disk, int64_t milliseconds);
/* A line for every changing call and every crash goes there; NULL ends it. */
void simdisk_trace(SimDisk *disk, FILE *where);

#endif
