#include "tests/support/fault_os.h"

#include "tests/support/test.h"

static Os *memory;
static FaultOs *fault;

static OsFile *set_up(void) {
  OsFile *f;
  CHECK_OK(os_memory_create(&memory));
  CHECK_OK(fault_os_create(memory, &fault));
  CHECK_OK(os_open(fault_os(fault), "f", OS_OPEN_CREATE, &f));
  return f;
}

static void tear_down(OsFile *f) {
  os_close(f);
  fault_os_destroy(fault);
  os_memory_destroy(memory);
}

/* Makes one call of a kind; `f` is open, "f" is its name. */
static Status call_one(FaultCall which, OsFile *f) {
  Os *os = fault_os(fault);
  OsStat stat;
  OsFile *other = NULL;
  uint8_t bytes[8] = { 0 };
  size_t got;
  bool held;
  uint64_t first;
  void *map = NULL;
  Status status = KVSTORE_ERROR;
  switch (which) {
  case FAULT_OPEN: status = os_open(os, "f", OS_OPEN_CREATE, &other); break;
  case FAULT_STAT: status = os_stat(os, "f", &stat); break;
  case FAULT_UNLINK: status = os_unlink(os, "f"); break;
  case FAULT_RENAME: status = os_rename(os, "f", "f"); break;
  case FAULT_SYNC_DIRECTORY: status = os_sync_directory(os, "f"); break;
  case FAULT_RANDOM: status = os_random(os, bytes, 8); break;
  case FAULT_READ: status = os_read(f, 0, bytes, 8, &got); break;
  case FAULT_WRITE: status = os_write(f, 0, bytes, 8); break;
  case FAULT_SYNC: status = os_sync(f); break;
  case FAULT_ALLOCATE: status = os_allocate(f, 0, 8); break;
  case FAULT_TRUNCATE: status = os_truncate(f, 8); break;
  case FAULT_STAT_FILE: status = os_stat_file(f, &stat); break;
  case FAULT_MAP: status = os_map(f, 0, 4096, false, &map); break;
  case FAULT_LOCK: status = os_lock(f, 0, 1, OS_LOCK_SHARED); break;
  case FAULT_LOCK_QUERY: status = os_lock_query(f, 0, 1, &held, &first); break;
  case FAULT_REOPEN: status = os_reopen(f, 0, &other); break;
  case FAULT_ANY:
  case FAULT_CALLS: break;
  }
  os_close(other);
  if (map) os_unmap(f, map, 4096);
  return status;
}

TEST(fault_os, every_kind_is_counted_and_fails_at_its_call) {
  for (int which = 0; which < FAULT_ANY; which++) {
    for (int how = FAULT_ERROR; how <= FAULT_NO_SPACE; how++) {
      OsFile *f = set_up();
      bool takes_space = which == FAULT_OPEN || which == FAULT_RENAME || which == FAULT_WRITE ||
                         which == FAULT_ALLOCATE || which == FAULT_TRUNCATE;
      fault_os_arm(fault, (FaultCall)which, 2, (FaultHow)how, false);
      bool again = which != FAULT_UNLINK;
      CHECK_STATUS(call_one(again ? (FaultCall)which : FAULT_UNLINK, f), KVSTORE_OK);
      CHECK_STATUS(call_one((FaultCall)which, f), how == FAULT_NO_SPACE && takes_space ? KVSTORE_FULL : KVSTORE_IO);
      CHECK(strstr(status_last()->text, fault_call_name((FaultCall)which)) != NULL);
      if (again) CHECK_STATUS(call_one((FaultCall)which, f), KVSTORE_OK);
      CHECK_INT(fault_os_calls(fault, (FaultCall)which), again ? 3 : 2);
      CHECK_INT(fault_os_calls(fault, FAULT_ANY), again ? 3 : 2);
      CHECK_INT(fault_os_failures(fault), 1);
      tear_down(f);
    }
  }
}

TEST(fault_os, a_short_write_writes_half) {
  OsFile *f = set_up();
  char bytes[8];
  CHECK_OK(os_write(f, 0, "--------", 8));
  fault_os_arm(fault, FAULT_WRITE, 1, FAULT_SHORT, false);
  CHECK_STATUS(os_write(f, 0, "abcdefgh", 8), KVSTORE_IO);
  CHECK_OK(os_read_exactly(f, 0, bytes, 8));
  CHECK_BYTES(bytes, "abcd----", 8);
  tear_down(f);
}

TEST(fault_os, sticky_faults_last_until_disarmed) {
  OsFile *f = set_up();
  fault_os_arm(fault, FAULT_ANY, 3, FAULT_ERROR, true);
  CHECK_OK(os_write(f, 0, "a", 1));
  CHECK_OK(os_sync(f));
  CHECK_STATUS(os_sync(f), KVSTORE_IO);
  CHECK_STATUS(os_write(f, 0, "b", 1), KVSTORE_IO);
  CHECK_INT(fault_os_failures(fault), 2);
  fault_os_disarm(fault);
  CHECK_OK(os_write(f, 0, "c", 1));
  CHECK_INT(fault_os_calls(fault, FAULT_WRITE), 3);
  tear_down(f);
}
