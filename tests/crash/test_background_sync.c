/* SYNC_BACKGROUND: what was committed longer ago than the interval survives a power cut; the death of a process loses
 * nothing; after a sync that failed, nobody acknowledges a write. */
#include <sys/wait.h>
#include <unistd.h>

#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "os/thread.h"
#include "tests/support/fault_os.h"
#include "tests/support/simdisk.h"
#include "tests/support/test.h"

static StoreOptions background(Os *os, uint32_t interval_ms, bool threaded) {
  return (StoreOptions){ .os = os,
                         .journal_mode = JOURNAL_WAL,
                         .sync_level = SYNC_BACKGROUND,
                         .log_bytes = 64 << 10,
                         .no_background = !threaded,
                         .sync_interval_ms = interval_ms };
}

static Status put(Session *session, const char *key) {
  Bytes bytes = { (const uint8_t *)key, strlen(key) };
  return kv_put(session, FAMILY_DEFAULT_ID, bytes, bytes, EXPIRY_NEVER, KV_PUT_ALWAYS, NULL);
}

static bool has(Session *session, const char *key) {
  Status status = kv_exists(session, FAMILY_DEFAULT_ID, (Bytes){ (const uint8_t *)key, strlen(key) }, NULL, NULL);
  CHECK(status == KVSTORE_OK || status == KVSTORE_NOTFOUND);
  return status == KVSTORE_OK;
}

/* The power is cut now, in `count` ways: how often `key` is there afterwards. */
static int survives(SimDisk *disk, const char *key, int count) {
  int there = 0;
  for (int seed = 1; seed <= count; seed++) {
    SimDisk *clone = simdisk_clone(disk);
    Session *session;
    StoreOptions options = background(simdisk_os(clone), 0, false);
    CHECK_OK(simdisk_crash(clone, (uint64_t)seed));
    CHECK_OK(session_open("/disk/store", &options, &session));
    there += has(session, key);
    CHECK_OK(session_close(session));
    simdisk_destroy(clone);
  }
  return there;
}

static uint64_t syncs(void) { return counter_get(COUNTER_background_syncs); }

static void wait_for_syncs(uint64_t more_than) {
  _Atomic uint32_t nothing = 0;
  for (int ms = 0; syncs() <= more_than; ms++) {
    CHECK(ms < 20000);
    futex_wait(&nothing, 0, 1000000);
  }
}

TEST(background_sync, without_a_thread_maintain_syncs) {
  SimDisk *disk;
  Session *session;
  CHECK_OK(simdisk_create(1, &disk));
  StoreOptions options = background(simdisk_os(disk), 0, false);
  CHECK_OK(session_open("/disk/store", &options, &session));
  CHECK_OK(put(session, "older"));
  CHECK_OK(session_maintain(session));
  CHECK_OK(put(session, "newest"));
  CHECK_INT(survives(disk, "older", 40), 40);
  CHECK(survives(disk, "newest", 40) < 40); /* else it would prove nothing */
  CHECK_OK(session_sync(session));
  CHECK_INT(survives(disk, "newest", 40), 40);
  uint64_t before = syncs();
  CHECK_OK(session_maintain(session));
  CHECK_OK(session_maintain(session));
  CHECK_INT(syncs(), before + 1); /* what nobody has committed needs no sync */
  CHECK_OK(session_close(session));
  simdisk_destroy(disk);
}

TEST(background_sync, the_timer_syncs_what_was_committed_before_it) {
  SimDisk *disk;
  Session *session;
  CHECK_OK(simdisk_create(2, &disk));
  StoreOptions options = background(simdisk_os(disk), 2, true);
  CHECK_OK(session_open("/disk/store", &options, &session));
  for (int i = 0; i < 20; i++) {
    char key[32];
    (void)snprintf(key, sizeof key, "key %d", i);
    uint64_t before = syncs();
    if (i % 2) CHECK_OK(session_begin(session, true));
    CHECK_OK(put(session, key));
    CHECK_OK(session_commit(session));
    wait_for_syncs(before);
    CHECK_INT(survives(disk, key, 5), 5);
  }
  CHECK_OK(session_close(session));
  simdisk_destroy(disk);
}

TEST(background_sync, a_commit_does_not_wait_for_the_disk) {
  SimDisk *disk;
  Session *session;
  CHECK_OK(simdisk_create(3, &disk));
  StoreOptions options = background(simdisk_os(disk), 1000000, true);
  CHECK_OK(session_open("/disk/store", &options, &session));
  CHECK_OK(put(session, "first"));
  uint64_t before = counter_get(COUNTER_log_syncs);
  for (int i = 0; i < 100; i++) CHECK_OK(put(session, "again"));
  CHECK_INT(counter_get(COUNTER_log_syncs), before);
  CHECK_OK(session_close(session)); /* at once, however long the interval */
  simdisk_destroy(disk);
}

static void check_no_write_is_acknowledged(Session *session, Session *begun, Session *other) {
  CHECK_STATUS(session_commit(begun), KVSTORE_IO);
  CHECK_STATUS(put(session, "after"), KVSTORE_IO);
  CHECK_STATUS(put(other, "after"), KVSTORE_IO);
  CHECK_STATUS(session_begin(other, true), KVSTORE_IO);
  CHECK_STATUS(session_sync(other), KVSTORE_IO);
  CHECK(has(session, "before"));
  CHECK(!has(session, "inside"));
}

TEST(background_sync, after_a_failed_one_nobody_acknowledges_a_write) {
  for (int threaded = 0; threaded < 2; threaded++) {
    Os *memory;
    FaultOs *fault;
    Session *session, *begun, *other;
    CHECK_OK(os_memory_create(&memory));
    CHECK_OK(fault_os_create(memory, &fault));
    StoreOptions options = background(fault_os(fault), threaded ? 20 : 0, threaded != 0);
    CHECK_OK(session_open("store", &options, &session));
    CHECK_OK(session_clone(session, &begun));
    options.sync_level = SYNC_NORMAL;
    CHECK_OK(session_open("store", &options, &other));
    CHECK_OK(put(other, "log made"));
    fault_os_arm(fault, FAULT_SYNC, 1, FAULT_ERROR, false);
    CHECK_OK(put(session, "before"));
    CHECK_OK(session_begin(begun, true));
    CHECK_OK(put(begun, "inside"));
    _Atomic uint32_t nothing = 0;
    for (int ms = 0; threaded && !fault_os_failures(fault); ms++) {
      CHECK(ms < 20000);
      futex_wait(&nothing, 0, 1000000);
    }
    if (threaded) CHECK_STATUS(session_sync(session), KVSTORE_IO); /* waits until the flag is there */
    if (!threaded) CHECK_STATUS(session_maintain(session), KVSTORE_IO);
    check_no_write_is_acknowledged(session, begun, other);
    fault_os_disarm(fault);
    CHECK_OK(session_close(begun));
    CHECK_OK(session_close(other));
    CHECK_STATUS(session_close(session), KVSTORE_IO);
    CHECK_OK(session_open("store", &options, &session)); /* all have closed it */
    CHECK(has(session, "before"));
    CHECK_OK(put(session, "after"));
    CHECK_OK(session_close(session));
    fault_os_destroy(fault);
    os_memory_destroy(memory);
  }
}

TEST(background_sync, a_killed_process_loses_nothing) {
  char path[600];
  (void)snprintf(path, sizeof path, "%s/store", test_directory());
  StoreOptions options = background(NULL, 1000000, true);
  Session *session;
  pid_t child = fork();
  if (!child) {
    CHECK_OK(session_open(path, &options, &session));
    CHECK_OK(put(session, "one"));
    CHECK_OK(put(session, "two"));
    _exit(0);
  }
  int state;
  CHECK_INT(waitpid(child, &state, 0), child);
  CHECK(WIFEXITED(state) && WEXITSTATUS(state) == 0);
  CHECK_OK(session_open(path, &options, &session));
  CHECK(has(session, "one") && has(session, "two"));
  CHECK_OK(session_close(session));
}
