#include "os/os.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "tests/os/os_under_test.h"
#include "tests/support/failing_memory.h"

TEST(os, bytes_written_are_read_at_their_offsets) {
  FOR_EVERY_OS(u) {
    OsFile *f;
    CHECK_OK(os_open(u->os, u->path[0], OS_OPEN_CREATE, &f));
    static uint8_t model[20000], got_bytes[20000];
    memset(model, 0, sizeof model);
    size_t size = 0, got;
    uint64_t random = 4;
    for (int round = 0; round < 300; round++) {
      size_t offset = test_random_below(&random, 15000), length = test_random_below(&random, 5000);
      for (size_t i = 0; i < length; i++) model[offset + i] = (uint8_t)test_random(&random);
      CHECK_OK(os_write(f, offset, model + offset, length));
      if (length && offset + length > size) size = offset + length;
      offset = test_random_below(&random, sizeof model);
      length = test_random_below(&random, sizeof model - offset + 1);
      size_t expected = offset >= size ? 0 : length < size - offset ? length : size - offset;
      CHECK_OK(os_read(f, offset, got_bytes, length, &got));
      CHECK_INT(got, expected);
      CHECK_BYTES(got_bytes, model + offset, got);
    }
    CHECK_OK(os_read_exactly(f, size - 3, got_bytes, 3));
    CHECK_STATUS(os_read_exactly(f, size - 3, got_bytes, 4), KVSTORE_CORRUPT);
    OsStat stat;
    CHECK_OK(os_stat_file(f, &stat));
    CHECK_INT(stat.size, size);
    CHECK(stat.is_regular && !stat.is_directory);
    CHECK_OK(os_sync(f));
    os_writeback(f, 0, size, true);
    os_close(f);
  }
}

TEST(os, open_creates_only_when_asked_and_exclusively_only_once) {
  FOR_EVERY_OS(u) {
    OsFile *f, *g;
    CHECK_STATUS(os_open(u->os, u->path[0], 0, &f), KVSTORE_NOTFOUND);
    CHECK(f == NULL);
    CHECK(strstr(status_last()->text, u->path[0]) != NULL);
    CHECK_OK(os_open(u->os, u->path[0], OS_OPEN_CREATE | OS_OPEN_EXCLUSIVE, &f));
    CHECK_STATUS(os_open(u->os, u->path[0], OS_OPEN_CREATE | OS_OPEN_EXCLUSIVE, &g), KVSTORE_BUSY);
    CHECK_OK(os_open(u->os, u->path[0], OS_OPEN_CREATE, &g));
    os_close(f);
    os_close(g);
    os_close(NULL);
    CHECK_OK(os_sync_directory(u->os, u->path[0]));
  }
}

TEST(os, a_file_open_for_reading_is_not_written) {
  FOR_EVERY_OS(u) {
    OsFile *f, *r;
    void *map;
    CHECK_OK(os_open(u->os, u->path[0], OS_OPEN_CREATE, &f));
    CHECK_OK(os_write(f, 0, "abc", 3));
    CHECK_OK(os_open(u->os, u->path[0], OS_OPEN_READONLY, &r));
    CHECK_STATUS(os_write(r, 0, "x", 1), KVSTORE_READONLY);
    CHECK_STATUS(os_allocate(r, 0, 10), KVSTORE_READONLY);
    CHECK_STATUS(os_truncate(r, 0), KVSTORE_READONLY);
    CHECK_STATUS(os_map(r, 0, 4096, true, &map), KVSTORE_READONLY);
    CHECK_STATUS(os_lock(r, 0, 1, OS_LOCK_EXCLUSIVE), KVSTORE_READONLY);
    CHECK_OK(os_lock(r, 0, 1, OS_LOCK_SHARED));
    char bytes[3];
    CHECK_OK(os_read_exactly(r, 0, bytes, 3));
    CHECK_BYTES(bytes, "abc", 3);
    os_close(f);
    os_close(r);
  }
}

TEST(os, allocate_extends_with_zeros_and_keeps_what_is_there) {
  FOR_EVERY_OS(u) {
    OsFile *f;
    OsStat stat;
    uint8_t bytes[8192], zeros[8192] = { 0 };
    CHECK_OK(os_open(u->os, u->path[0], OS_OPEN_CREATE, &f));
    CHECK_OK(os_write(f, 0, "abc", 3));
    CHECK_OK(os_allocate(f, 0, 8192));
    CHECK_OK(os_allocate(f, 0, 100));
    CHECK_OK(os_allocate(f, 0, 0));
    CHECK_OK(os_stat_file(f, &stat));
    CHECK_INT(stat.size, 8192);
    CHECK_OK(os_read_exactly(f, 0, bytes, 8192));
    CHECK_BYTES(bytes, "abc", 3);
    CHECK_BYTES(bytes + 3, zeros, 8189);
    CHECK_OK(os_truncate(f, 2));
    CHECK_OK(os_truncate(f, 5));
    CHECK_OK(os_read_exactly(f, 0, bytes, 5));
    CHECK_BYTES(bytes, "ab\0\0\0", 5);
    os_close(f);
  }
}

TEST(os, a_mapping_sees_writes_and_growth_and_outlives_the_file) {
  FOR_EVERY_OS(u) {
    OsFile *f;
    void *map;
    CHECK_OK(os_open(u->os, u->path[0], OS_OPEN_CREATE, &f));
    CHECK_OK(os_map(f, 4096, 1 << 20, false, &map));
    const char *seen = map;
    CHECK_OK(os_write(f, 4096 + 5000, "hello", 6));
    CHECK_STR(seen + 5000, "hello");
    CHECK_OK(os_write(f, 4096 + 5000, "jello", 6));
    CHECK_STR(seen + 5000, "jello");
    CHECK_OK(os_unlink(u->os, u->path[0]));
    os_close(f);
    CHECK_STR(seen + 5000, "jello");
    os_unmap_closed(u->os, map, 1 << 20);
  }
}

TEST(os, writable_mappings_share_their_words) {
  FOR_EVERY_OS(u) {
    OsFile *f, *g;
    void *a, *b;
    char bytes[5];
    CHECK_OK(os_open(u->os, u->path[0], OS_OPEN_CREATE, &f));
    CHECK_OK(os_open(u->os, u->path[0], 0, &g));
    CHECK_OK(os_allocate(f, 0, 65536));
    CHECK_OK(os_map(f, 0, 65536, true, &a));
    CHECK_OK(os_map(g, 0, 65536, true, &b));
    memcpy((char *)a + 40000, "words", 5);
    CHECK_BYTES((char *)b + 40000, "words", 5);
    CHECK_OK(os_read_exactly(g, 40000, bytes, 5));
    CHECK_BYTES(bytes, "words", 5);
    os_unmap(f, a, 65536);
    os_unmap(g, b, 65536);
    os_close(f);
    os_close(g);
  }
}

TEST(os, stat_tells_files_apart_through_renames_and_unlinks) {
  FOR_EVERY_OS(u) {
    OsFile *a, *b;
    OsStat of_a, of_b, by_path;
    CHECK_OK(os_open(u->os, u->path[0], OS_OPEN_CREATE, &a));
    CHECK_OK(os_open(u->os, u->path[1], OS_OPEN_CREATE, &b));
    CHECK_OK(os_stat_file(a, &of_a));
    CHECK_OK(os_stat_file(b, &of_b));
    CHECK(of_a.device == of_b.device && of_a.inode != of_b.inode);
    CHECK_INT(of_a.link_count, 1);
    CHECK_OK(os_rename(u->os, u->path[0], u->path[1]));
    CHECK_OK(os_stat(u->os, u->path[1], &by_path));
    CHECK_INT(by_path.inode, of_a.inode);
    CHECK_STATUS(os_stat(u->os, u->path[0], &by_path), KVSTORE_NOTFOUND);
    CHECK_OK(os_stat_file(b, &of_b));
    CHECK_INT(of_b.link_count, 0);
    CHECK_OK(os_write(b, 0, "still", 5));
    OsFile *again;
    char bytes[5];
    CHECK_OK(os_reopen(b, OS_OPEN_READONLY, &again));
    os_close(b);
    CHECK_OK(os_read_exactly(again, 0, bytes, 5));
    CHECK_BYTES(bytes, "still", 5);
    CHECK_STATUS(os_write(again, 0, "x", 1), KVSTORE_READONLY);
    os_close(again);
    CHECK_OK(os_rename(u->os, u->path[1], u->path[1]));
    CHECK_OK(os_unlink(u->os, u->path[1]));
    CHECK_STATUS(os_unlink(u->os, u->path[1]), KVSTORE_NOTFOUND);
    CHECK_STATUS(os_rename(u->os, u->path[1], u->path[0]), KVSTORE_NOTFOUND);
    os_close(a);
  }
}

/* Two owners, 12 bytes, random locks: the oracle is an array of what each owner holds on each byte. */
TEST(os, byte_locks_agree_with_an_array_of_bytes) {
  enum { BYTES = 12, OWNERS = 3 };
  const uint64_t base = UINT64_C(1) << 62;
  FOR_EVERY_OS(u) {
    OsFile *files[OWNERS];
    OsLock model[OWNERS][BYTES] = { 0 };
    CHECK_OK(os_open(u->os, u->path[0], OS_OPEN_CREATE, &files[0]));
    for (int i = 1; i < OWNERS; i++) CHECK_OK(os_reopen(files[0], 0, &files[i]));
    uint64_t random = 8, busy = 0, rounds = 4000;
    for (uint64_t round = 0; round < rounds; round++) {
      uint64_t owner = test_random_below(&random, OWNERS), at = test_random_below(&random, BYTES);
      uint64_t length = 1 + test_random_below(&random, BYTES - at);
      OsLock kind = (OsLock)test_random_below(&random, 3);
      bool conflict = false, exclusive_conflict = false;
      for (uint64_t o = 0; o < OWNERS; o++) {
        for (uint64_t i = at; o != owner && i < at + length; i++) {
          conflict |= kind == OS_LOCK_EXCLUSIVE ? model[o][i] != OS_UNLOCK
                                                : kind == OS_LOCK_SHARED && model[o][i] == OS_LOCK_EXCLUSIVE;
          exclusive_conflict |= model[o][i] != OS_UNLOCK;
        }
      }
      bool held;
      uint64_t first;
      CHECK_OK(os_lock_query(files[owner], base + at, length, &held, &first));
      CHECK_INT(held, exclusive_conflict);
      if (held) {
        bool begins_there = first >= base && first < base + at + length;
        CHECK(begins_there);
        for (uint64_t i = at; base + i < first; i++) {
          for (uint64_t o = 0; o < OWNERS; o++) CHECK(o == owner || model[o][i] == OS_UNLOCK);
        }
      }
      CHECK_STATUS(os_lock(files[owner], base + at, length, kind), conflict ? KVSTORE_BUSY : KVSTORE_OK);
      busy += conflict;
      for (uint64_t i = at; !conflict && i < at + length; i++) model[owner][i] = kind;
      if (test_random_below(&random, 50) == 0) { /* a close gives up its own locks, and only those */
        os_close(files[owner]);
        CHECK_OK(os_reopen(files[(owner + 1) % OWNERS], 0, &files[owner]));
        memset(model[owner], 0, sizeof model[owner]);
      }
    }
    CHECK(busy > rounds / 10);
    for (int i = 0; i < OWNERS; i++) os_close(files[i]);
  }
}

TEST(os, clocks_go_forward_and_randomness_differs) {
  FOR_EVERY_OS(u) {
    uint8_t a[300], b[300];
    CHECK(os_now_ms(u->os) > INT64_C(1600000000000));
    uint64_t before = os_monotonic_ns(u->os);
    CHECK(os_monotonic_ns(u->os) >= before);
    CHECK_OK(os_random(u->os, a, sizeof a));
    CHECK_OK(os_random(u->os, b, sizeof b));
    CHECK(memcmp(a, b, sizeof a) != 0);
  }
}

TEST(os, offsets_beyond_the_system_are_refused) {
  FOR_EVERY_OS(u) {
    OsFile *f;
    size_t got;
    char byte = 0;
    CHECK_OK(os_open(u->os, u->path[0], OS_OPEN_CREATE, &f));
    CHECK(os_write(f, UINT64_MAX - 1, &byte, 1) != KVSTORE_OK);
    CHECK(os_read(f, UINT64_MAX, &byte, 1, &got) != KVSTORE_OK);
    CHECK(os_allocate(f, UINT64_MAX - 1, 10) != KVSTORE_OK);
    CHECK(os_truncate(f, UINT64_MAX) != KVSTORE_OK);
    os_close(f);
  }
}

TEST(os, a_directory_is_refused_with_its_name) {
  OsFile *f;
  OsStat stat;
  CHECK_STATUS(os_open(os_posix(), test_directory(), 0, &f), KVSTORE_ERROR);
  CHECK_STATUS(os_open(os_posix(), test_directory(), OS_OPEN_READONLY, &f), KVSTORE_ERROR);
  CHECK(strstr(status_last()->text, test_directory()) != NULL);
  CHECK_OK(os_stat(os_posix(), test_directory(), &stat));
  CHECK(stat.is_directory && !stat.is_regular);
}

/* Root may write anything, so a child without rights looks. */
TEST(os, missing_rights_are_readonly) {
  enum { NOBODY = 65534 };
  OsUnderTest u = os_set_up(KIND_POSIX);
  OsFile *f;
  CHECK_OK(os_open(u.os, u.path[0], OS_OPEN_CREATE, &f));
  os_close(f);
  CHECK_INT(chmod(u.path[0], 0444), 0);
  CHECK_INT(chmod(test_directory(), 0755), 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    if (geteuid() == 0 && (setgid(NOBODY) || setuid(NOBODY))) _exit(2);
    if (os_open(u.os, u.path[0], 0, &f) != KVSTORE_READONLY) _exit(3);
    _exit(os_open(u.os, u.path[0], OS_OPEN_READONLY, &f) == KVSTORE_OK ? 0 : 4);
  }
  int ended = 0;
  CHECK_INT(waitpid(child, &ended, 0), child);
  CHECK(WIFEXITED(ended));
  CHECK_INT(WEXITSTATUS(ended), 0);
}

TEST(os, a_file_beside_another_has_its_rights) {
  FOR_EVERY_OS(u) {
    OsFile *f, *beside, *again;
    OsStat of, its;
    CHECK_OK(os_open(u->os, u->path[0], OS_OPEN_CREATE, &f));
    CHECK_STATUS(os_open_beside(f, u->path[1], 0, &beside), KVSTORE_NOTFOUND);
    CHECK(beside == NULL);
    CHECK_OK(os_open_beside(f, u->path[1], OS_OPEN_CREATE | OS_OPEN_EXCLUSIVE, &beside));
    CHECK_OK(os_stat_file(f, &of));
    CHECK_OK(os_stat(u->os, u->path[1], &its));
    CHECK_INT(its.rights, of.rights);
    CHECK_STATUS(os_open_beside(f, u->path[1], OS_OPEN_CREATE | OS_OPEN_EXCLUSIVE, &again), KVSTORE_BUSY);
    CHECK_OK(os_write(beside, 0, "abc", 3));
    CHECK_OK(os_open_beside(f, u->path[1], OS_OPEN_CREATE, &again));
    char bytes[3];
    CHECK_OK(os_read_exactly(again, 0, bytes, 3));
    CHECK_BYTES(bytes, "abc", 3);
    os_close(again);
    os_close(beside);
    os_close(f);
  }
}

static uint32_t rights_of(const char *path) {
  OsStat stat;
  CHECK_OK(os_stat(os_posix(), path, &stat));
  return stat.rights;
}

TEST(os, rights_are_given_to_what_is_made_and_to_nothing_else) {
  static const mode_t modes[] = { 0600, 0640, 0660, 0666, 0777 };
  OsUnderTest u = os_set_up(KIND_POSIX);
  FaultOs *fault;
  OsFile *f, *beside;
  CHECK_OK(fault_os_create(u.os, &fault));
  umask(027);                                                        /* which says nothing here */
  CHECK_OK(os_open(fault_os(fault), u.path[0], OS_OPEN_CREATE, &f)); /* the injector passes the call on */
  for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
    CHECK_INT(chmod(u.path[0], modes[i]), 0);
    CHECK_OK(os_open_beside(f, u.path[1], OS_OPEN_CREATE, &beside));
    os_close(beside);
    CHECK_INT(rights_of(u.path[1]), modes[i]);
    CHECK_OK(os_unlink(u.os, u.path[1]));
  }
  CHECK_OK(os_open(u.os, u.path[1], OS_OPEN_CREATE, &beside)); /* somebody else's, or a link to it */
  os_close(beside);
  CHECK_INT(rights_of(u.path[1]), 0640);
  CHECK_OK(os_open_beside(f, u.path[1], OS_OPEN_CREATE, &beside));
  os_close(beside);
  CHECK_INT(rights_of(u.path[1]), 0640);
  os_close(f);
  fault_os_destroy(fault);
}

/* /dev/full accepts a descriptor and refuses every byte. */
TEST(os, no_space_is_full) {
  OsFile *f;
  CHECK_OK(os_open(os_posix(), "/dev/full", 0, &f));
  CHECK_STATUS(os_write(f, 0, "x", 1), KVSTORE_FULL);
  CHECK(strstr(status_last()->text, "/dev/full") != NULL);
  os_close(f);
}

TEST(os, a_file_that_may_not_grow_further_is_full) {
  const struct rlimit limit = { 8192, 8192 };
  OsUnderTest u = os_set_up(KIND_POSIX);
  OsFile *f;
  CHECK_OK(os_open(u.os, u.path[0], OS_OPEN_CREATE, &f));
  signal(SIGXFSZ, SIG_IGN); /* whose default ends the process */
  CHECK_INT(setrlimit(RLIMIT_FSIZE, &limit), 0);
  CHECK_OK(os_write(f, 0, "x", 1));
  CHECK_STATUS(os_write(f, 8192, "x", 1), KVSTORE_FULL);
  CHECK_STATUS(os_allocate(f, 0, 16384), KVSTORE_FULL);
  os_close(f);
}

TEST(os, every_failed_allocation_is_survived) {
  for (int kind = KIND_POSIX; kind <= KIND_MEMORY; kind++) {
    for (uint64_t n = 1;; n++) {
      uint64_t held = memory_blocks_held();
      OsUnderTest u = os_set_up((OsKind)kind);
      OsFile *f = NULL, *g = NULL;
      failing_memory_install(n, true);
      Status status = os_open(u.os, u.path[0], OS_OPEN_CREATE, &f);
      if (status == KVSTORE_OK) status = os_reopen(f, 0, &g);
      if (status == KVSTORE_OK) status = os_lock(g, 0, 10, OS_LOCK_SHARED);
      if (status == KVSTORE_OK) status = os_rename(u.os, u.path[0], u.path[1]);
      if (status == KVSTORE_OK) status = os_sync_directory(u.os, u.path[1]);
      if (status == KVSTORE_OK) status = os_unlink(u.os, u.path[1]);
      bool failed = failing_memory_failures() > 0;
      failing_memory_remove();
      CHECK_INT(status, failed ? KVSTORE_NOMEM : KVSTORE_OK);
      os_close(f);
      os_close(g);
      os_tear_down(&u);
      CHECK_INT(memory_blocks_held(), held);
      os_unlink(os_posix(), u.path[0]);
      os_unlink(os_posix(), u.path[1]);
      if (!failed) break;
    }
  }
}
