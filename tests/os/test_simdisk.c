#include "tests/support/simdisk.h"

#include <stdlib.h>

#include "tests/support/test.h"

enum { FILE_BYTES = 16384, SECTOR = 512 };

static SimDisk *new_disk(void) {
  SimDisk *disk;
  CHECK_OK(simdisk_create(1, &disk));
  return disk;
}

static OsFile *new_file(SimDisk *disk, const char *path) {
  OsFile *f;
  CHECK_OK(os_open(simdisk_os(disk), path, OS_OPEN_CREATE, &f));
  return f;
}

static void fill(OsFile *f, uint64_t offset, size_t length, uint8_t value) {
  uint8_t bytes[FILE_BYTES];
  memset(bytes, value, length);
  CHECK_OK(os_write(f, offset, bytes, length));
}

/* A file `f` of 16 KiB of 1s, synced, name and all; then a pending write of 2s over its second half and a pending
 * append. */
static SimDisk *disk_with_pending_writes(void) {
  SimDisk *disk = new_disk();
  OsFile *f = new_file(disk, "d/f");
  fill(f, 0, FILE_BYTES, 1);
  CHECK_OK(os_sync(f));
  CHECK_OK(os_sync_directory(simdisk_os(disk), "d/f"));
  fill(f, FILE_BYTES / 2, FILE_BYTES / 2, 2);
  fill(f, FILE_BYTES, 100, 3);
  os_close(f);
  return disk;
}

TEST(simdisk, synced_bytes_survive_every_crash) {
  SimDisk *original = disk_with_pending_writes();
  for (uint64_t seed = 0; seed < 1000; seed++) {
    SimDisk *disk = simdisk_clone(original);
    CHECK_OK(simdisk_crash(disk, seed));
    size_t length;
    uint8_t *bytes = simdisk_read_file(disk, "d/f", &length);
    CHECK(bytes != NULL && length >= FILE_BYTES);
    for (size_t i = 0; i < FILE_BYTES / 2; i++) CHECK_INT(bytes[i], 1);
    for (size_t i = FILE_BYTES / 2; i < FILE_BYTES; i++) {
      CHECK(bytes[i] == 1 || bytes[i] == 2);
      CHECK_INT(bytes[i], bytes[i / SECTOR * SECTOR]); /* sectors are whole */
    }
    free(bytes);
    simdisk_destroy(disk);
  }
  simdisk_destroy(original);
}

TEST(simdisk, unsynced_writes_are_kept_dropped_and_torn) {
  SimDisk *original = disk_with_pending_writes();
  int kept = 0, dropped = 0, torn = 0, appended = 0, later_without_earlier = 0;
  for (uint64_t seed = 0; seed < 1000; seed++) {
    SimDisk *disk = simdisk_clone(original);
    CHECK_OK(simdisk_crash(disk, seed));
    size_t length, twos = 0;
    uint8_t *bytes = simdisk_read_file(disk, "d/f", &length);
    for (size_t i = FILE_BYTES / 2; i < FILE_BYTES; i++) twos += bytes[i] == 2;
    kept += twos == FILE_BYTES / 2;
    dropped += twos == 0;
    torn += twos > 0 && twos < FILE_BYTES / 2;
    CHECK(length == FILE_BYTES || length == FILE_BYTES + 100);
    appended += length > FILE_BYTES;
    later_without_earlier += length > FILE_BYTES && twos == 0;
    free(bytes);
    simdisk_destroy(disk);
  }
  CHECK(kept > 100 && dropped > 100 && torn > 100);
  CHECK(appended > 100 && appended < 900 && later_without_earlier > 20);
  simdisk_destroy(original);
}

/* A run of random calls; returns the bytes of both files after a crash. */
static uint8_t *random_life(uint64_t seed, uint64_t crash_at, uint64_t crash_seed, size_t *length) {
  SimDisk *disk;
  CHECK_OK(simdisk_create(seed, &disk));
  simdisk_crash_at(disk, crash_at);
  Os *os = simdisk_os(disk);
  uint64_t random = seed;
  const char *paths[] = { "a", "b" };
  for (int round = 0; round < 60; round++) {
    const char *path = paths[test_random_below(&random, 2)];
    uint8_t bytes[3000];
    uint64_t offset = test_random_below(&random, 10000), size = test_random_below(&random, sizeof bytes);
    CHECK(os_random(os, bytes, sizeof bytes) == KVSTORE_OK);
    OsFile *f;
    if (os_open(os, path, OS_OPEN_CREATE, &f) != KVSTORE_OK) continue;
    switch (test_random_below(&random, 8)) {
    case 0: (void)!os_sync(f); break;
    case 1: (void)!os_truncate(f, offset); break;
    case 2: (void)!os_allocate(f, offset, size); break;
    case 3: (void)!os_sync_directory(os, path); break;
    case 4: (void)!os_rename(os, paths[0], paths[1]); break;
    default: (void)!os_write(f, offset, bytes, size); break;
    }
    os_close(f);
  }
  CHECK_OK(simdisk_crash(disk, crash_seed));
  size_t a_length, b_length;
  uint8_t *a = simdisk_read_file(disk, "a", &a_length), *b = simdisk_read_file(disk, "b", &b_length);
  *length = a_length + b_length + 2;
  uint8_t *both = calloc(1, *length);
  both[0] = a != NULL, both[1] = b != NULL;
  if (a_length) memcpy(both + 2, a, a_length);
  if (b_length) memcpy(both + 2 + a_length, b, b_length);
  free(a);
  free(b);
  simdisk_destroy(disk);
  return both;
}

TEST(simdisk, the_same_seeds_replay_exactly_and_others_differ) {
  int different = 0;
  for (uint64_t seed = 1; seed <= 100; seed++) {
    size_t first_length, again_length, other_length;
    uint64_t crash_at = seed % 3 ? seed % 70 : 0;
    uint8_t *first = random_life(seed, crash_at, seed * 7, &first_length);
    uint8_t *again = random_life(seed, crash_at, seed * 7, &again_length);
    uint8_t *other = random_life(seed, crash_at, seed * 7 + 1, &other_length);
    CHECK_INT(again_length, first_length);
    CHECK_BYTES(again, first, first_length);
    different += other_length != first_length || memcmp(other, first, first_length) != 0;
    free(first);
    free(again);
    free(other);
  }
  CHECK(different > 20);
}

TEST(simdisk, a_synced_file_vanishes_when_its_directory_was_not_synced) {
  int there = 0, gone = 0;
  for (uint64_t seed = 0; seed < 100; seed++) {
    SimDisk *disk = new_disk();
    OsFile *f = new_file(disk, "d/f");
    fill(f, 0, 100, 7);
    CHECK_OK(os_sync(f));
    os_close(f);
    CHECK_OK(simdisk_crash(disk, seed));
    size_t length;
    uint8_t *bytes = simdisk_read_file(disk, "d/f", &length);
    if (bytes) CHECK_INT(length, 100);
    there += bytes != NULL;
    gone += bytes == NULL;
    free(bytes);
    simdisk_destroy(disk);
  }
  CHECK(there > 10 && gone > 10);
}

TEST(simdisk, synced_names_survive_and_unsynced_renames_and_unlinks_may_not) {
  int renamed = 0, kept = 0, came_back = 0;
  for (uint64_t seed = 0; seed < 300; seed++) {
    SimDisk *disk = new_disk();
    Os *os = simdisk_os(disk);
    simdisk_write_file(disk, "d/a", "a", 1);
    simdisk_write_file(disk, "d/b", "b", 1);
    simdisk_write_file(disk, "d/c", "c", 1);
    CHECK_OK(os_unlink(os, "d/c"));
    CHECK_OK(os_rename(os, "d/a", "d/b"));
    if (seed % 2)
      CHECK_OK(os_sync_directory(os, "d/x"));
    else
      CHECK_OK(os_sync_directory(os, "elsewhere/x"));
    CHECK_OK(simdisk_crash(disk, seed));
    size_t length;
    uint8_t *a = simdisk_read_file(disk, "d/a", &length), *b = simdisk_read_file(disk, "d/b", &length);
    uint8_t *c = simdisk_read_file(disk, "d/c", &length);
    CHECK(b != NULL); /* a rename over a name leaves it pointing at one of both, never at nothing */
    CHECK_INT(a == NULL, b[0] == 'a');
    if (seed % 2) CHECK(b[0] == 'a' && !c);
    renamed += b[0] == 'a';
    kept += b[0] == 'b';
    came_back += c != NULL;
    free(a);
    free(b);
    free(c);
    simdisk_destroy(disk);
  }
  CHECK(renamed > 150 && kept > 30 && came_back > 30);
}

TEST(simdisk, a_crash_kills_open_files_but_not_their_mappings) {
  SimDisk *disk = new_disk();
  OsFile *f = new_file(disk, "f"), *g;
  void *map;
  char byte;
  size_t got;
  uint64_t first;
  bool held;
  OsStat stat;
  fill(f, 0, FILE_BYTES, 5);
  CHECK_OK(os_sync(f));
  CHECK_OK(os_sync_directory(simdisk_os(disk), "f"));
  fill(f, 0, FILE_BYTES, 6);
  CHECK_OK(os_lock(f, 0, 10, OS_LOCK_EXCLUSIVE));
  CHECK_OK(os_map(f, 0, FILE_BYTES, false, &map));
  CHECK_OK(simdisk_crash(disk, 3));
  CHECK_STATUS(os_read(f, 0, &byte, 1, &got), KVSTORE_IO);
  CHECK_STATUS(os_write(f, 0, "x", 1), KVSTORE_IO);
  CHECK_STATUS(os_sync(f), KVSTORE_IO);
  CHECK_STATUS(os_allocate(f, 0, 1), KVSTORE_IO);
  CHECK_STATUS(os_truncate(f, 0), KVSTORE_IO);
  CHECK_STATUS(os_stat_file(f, &stat), KVSTORE_IO);
  CHECK_STATUS(os_lock(f, 0, 1, OS_UNLOCK), KVSTORE_IO);
  CHECK_STATUS(os_lock_query(f, 0, 1, &held, &first), KVSTORE_IO);
  CHECK_STATUS(os_reopen(f, 0, &g), KVSTORE_IO);
  for (size_t i = 0; i < FILE_BYTES; i++) CHECK_INT(((uint8_t *)map)[i], 6);
  g = new_file(disk, "f");
  CHECK_OK(os_lock(g, 0, 10, OS_LOCK_EXCLUSIVE)); /* the dead hold no locks */
  os_unmap(f, map, FILE_BYTES);
  os_close(f);
  os_close(g);
  simdisk_destroy(disk);
}

TEST(simdisk, the_power_goes_at_the_call_that_was_asked_for) {
  bool last_write_reached = false, last_write_lost = false;
  for (uint64_t seed = 0; seed < 60; seed++) {
    SimDisk *disk = new_disk();
    simdisk_write_file(disk, "f", "0123", 4);
    OsFile *f = new_file(disk, "f"), *g;
    simdisk_crash_at(disk, 3);
    CHECK_OK(os_write(f, 0, "a", 1));
    CHECK_OK(os_sync(f));
    CHECK(!simdisk_power_is_off(disk));
    CHECK_STATUS(os_write(f, 1, "b", 1), KVSTORE_IO);
    CHECK(simdisk_power_is_off(disk));
    CHECK_STATUS(os_write(f, 2, "c", 1), KVSTORE_IO);
    CHECK_STATUS(os_sync(f), KVSTORE_IO);
    CHECK_STATUS(os_open(simdisk_os(disk), "f", 0, &g), KVSTORE_IO);
    CHECK_INT(simdisk_calls(disk), 3);
    CHECK_OK(simdisk_crash(disk, seed));
    CHECK(!simdisk_power_is_off(disk));
    size_t length;
    uint8_t *bytes = simdisk_read_file(disk, "f", &length);
    CHECK_INT(length, 4);
    CHECK_INT(bytes[0], 'a');
    CHECK_INT(bytes[2], '2');
    last_write_reached |= bytes[1] == 'b';
    last_write_lost |= bytes[1] == '1';
    free(bytes);
    os_close(f);
    simdisk_destroy(disk);
  }
  CHECK(last_write_reached && last_write_lost);
}

TEST(simdisk, an_ignored_sync_loses_data) {
  for (int how = 0; how < 3; how++) {
    int lost = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
      SimDisk *disk = new_disk();
      simdisk_write_file(disk, "x-wal", "0", 1);
      OsFile *f = new_file(disk, "x-wal");
      if (how == 1) simdisk_ignore_sync(disk, 2);
      if (how == 2) simdisk_ignore_syncs_of(disk, "-wal");
      CHECK_OK(os_sync(f));
      CHECK_OK(os_write(f, 0, "1", 1));
      CHECK_OK(os_sync(f));
      CHECK_INT(simdisk_statistics(disk).syncs_ignored, how);
      CHECK_OK(simdisk_crash(disk, seed));
      size_t length;
      uint8_t *bytes = simdisk_read_file(disk, "x-wal", &length);
      lost += bytes[0] == '0';
      free(bytes);
      os_close(f);
      simdisk_destroy(disk);
    }
    if (how == 0)
      CHECK_INT(lost, 0);
    else
      CHECK(lost > 10);
  }
}

TEST(simdisk, an_ignored_directory_sync_loses_names) {
  int lost = 0;
  for (uint64_t seed = 0; seed < 50; seed++) {
    SimDisk *disk = new_disk();
    simdisk_ignore_directory_syncs(disk, true);
    os_close(new_file(disk, "f"));
    CHECK_OK(os_sync_directory(simdisk_os(disk), "f"));
    CHECK_OK(simdisk_crash(disk, seed));
    OsStat stat;
    lost += os_stat(simdisk_os(disk), "f", &stat) == KVSTORE_NOTFOUND;
    simdisk_destroy(disk);
  }
  CHECK(lost > 5);
}

TEST(simdisk, words_written_through_a_mapping_are_pending_too) {
  int kept = 0, lost = 0;
  for (uint64_t seed = 0; seed < 100; seed++) {
    SimDisk *disk = new_disk();
    simdisk_write_file(disk, "shm", "", 0);
    OsFile *f = new_file(disk, "shm");
    void *map;
    CHECK_OK(os_allocate(f, 0, 8192));
    CHECK_OK(os_map(f, 0, 8192, true, &map));
    memset(map, 1, 4096);
    CHECK_OK(os_sync(f));
    memset((char *)map + 4096, 2, 512);
    CHECK_OK(simdisk_crash(disk, seed));
    size_t length;
    uint8_t *bytes = simdisk_read_file(disk, "shm", &length);
    CHECK_INT(length, 8192);
    CHECK(bytes[0] == 1 && bytes[4095] == 1);
    kept += bytes[4096] == 2;
    lost += bytes[4096] == 0;
    free(bytes);
    os_unmap(f, map, 8192);
    os_close(f);
    simdisk_destroy(disk);
  }
  CHECK(kept > 10 && lost > 10);
}

TEST(simdisk, files_are_written_and_read_from_outside_and_durable) {
  SimDisk *disk = new_disk();
  OsFile *f = new_file(disk, "f");
  CHECK_OK(os_write(f, 0, "old old old", 11));
  simdisk_write_file(disk, "f", "new", 3);
  char bytes[3];
  CHECK_OK(os_read_exactly(f, 0, bytes, 3));
  CHECK_BYTES(bytes, "new", 3);
  CHECK_OK(simdisk_crash(disk, 1));
  size_t length;
  uint8_t *back = simdisk_read_file(disk, "f", &length);
  CHECK_INT(length, 3);
  CHECK_BYTES(back, "new", 3);
  free(back);
  simdisk_write_file(disk, "empty", NULL, 0);
  back = simdisk_read_file(disk, "empty", &length);
  CHECK(back && length == 0);
  free(back);
  simdisk_remove_file(disk, "f");
  CHECK(!simdisk_read_file(disk, "f", &length));
  CHECK_OK(simdisk_crash(disk, 2));
  CHECK(!simdisk_read_file(disk, "f", &length));
  os_close(f);
  simdisk_destroy(disk);
}

TEST(simdisk, a_clone_is_independent) {
  SimDisk *disk = disk_with_pending_writes(), *copy = simdisk_clone(disk);
  OsFile *f = new_file(copy, "d/f");
  fill(f, 0, 10, 9);
  os_close(f);
  size_t length, copy_length;
  uint8_t *bytes = simdisk_read_file(disk, "d/f", &length), *copied = simdisk_read_file(copy, "d/f", &copy_length);
  CHECK_INT(length, FILE_BYTES + 100);
  CHECK_INT(copy_length, length);
  CHECK_INT(bytes[0], 1);
  CHECK_INT(copied[0], 9);
  CHECK_BYTES(copied + 10, bytes + 10, length - 10);
  free(bytes);
  free(copied);
  simdisk_destroy(disk);
  simdisk_destroy(copy);
}

TEST(simdisk, the_wall_clock_moves_only_when_told) {
  SimDisk *disk = new_disk();
  int64_t now = os_now_ms(simdisk_os(disk));
  CHECK_INT(os_now_ms(simdisk_os(disk)), now);
  simdisk_advance(disk, 1500);
  CHECK_INT(os_now_ms(simdisk_os(disk)), now + 1500);
  simdisk_destroy(disk);
}

TEST(simdisk, a_trace_names_calls_and_crashes) {
  char *text = NULL;
  size_t length = 0;
  FILE *trace = open_memstream(&text, &length);
  SimDisk *disk = new_disk();
  simdisk_trace(disk, trace);
  OsFile *f = new_file(disk, "f");
  CHECK_OK(os_write(f, 7, "abc", 3));
  CHECK_OK(os_sync(f));
  CHECK_OK(simdisk_crash(disk, 12));
  os_close(f);
  simdisk_destroy(disk);
  fclose(trace);
  CHECK_STR(text, "1 create f 0+0\n2 write f 7+3\n3 sync f 0+0\n3 crash with seed 12\n");
  free(text);
}
