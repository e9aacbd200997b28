/* A log inside the store's file (journal mode DELETE): what a superblock may not name, and a disk without room for one.
 * What programs see of the mode: tests/api/test_journal_modes.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/superblock.h"
#include "tests/support/fault_os.h"
#include "tests/support/test.h"

enum { LOG_BYTES = 64 << 10 };

static const char *store_path(void) {
  static char path[600];
  snprintf(path, sizeof path, "%s/store", test_directory());
  return path;
}

static Status open_by(Os *os, Session **s) {
  StoreOptions options = {
    .os = os, .journal_mode = JOURNAL_DELETE, .sync_level = SYNC_NORMAL, .no_background = true, .log_bytes = LOG_BYTES
  };
  return session_open(os == os_posix() ? store_path() : "/memory/store", &options, s);
}

static Status put(Session *s, const char *key) {
  Bytes bytes = { (const uint8_t *)key, strlen(key) };
  return kv_put(s, FAMILY_DEFAULT_ID, bytes, bytes, EXPIRY_NEVER, KV_PUT_ALWAYS, NULL);
}

static bool has(Session *s, const char *key) {
  Status status = kv_exists(s, FAMILY_DEFAULT_ID, (Bytes){ (const uint8_t *)key, strlen(key) }, NULL, NULL);
  CHECK(status == KVSTORE_OK || status == KVSTORE_NOTFOUND);
  return status == KVSTORE_OK;
}

/* ---- what a superblock names ---- */

/* Something in a run, something in the log, and nobody closed it. */
static void leave_a_store_with_a_log(void) {
  (void)test_directory();
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    Session *s = NULL;
    CHECK_OK(open_by(os_posix(), &s));
    for (int i = 0; i < 3; i++) { /* former manifests and runs leave gaps */
      CHECK_OK(put(s, "settled"));
      CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
    }
    CHECK_OK(put(s, "logged"));
    _exit(0);
  }
  int how;
  CHECK_INT(waitpid(child, &how, 0), child);
  CHECK_INT(how, 0);
}

static Superblock newest(OsFile *file) {
  Superblock s;
  uint32_t page;
  SuperblockState state;
  CHECK_OK(superblock_read(file, &s, &page, &state));
  return s;
}

typedef struct Lie {
  const char *what;
  void (*tell)(Superblock *s, uint64_t file_size);
} Lie;

static void over_the_superblocks(Superblock *s, uint64_t size) {
  (void)size;
  s->ring_offset = PAGE_BYTES;
}
static void between_pages(Superblock *s, uint64_t size) {
  (void)size;
  s->ring_offset += 512;
}
static void over_the_manifest(Superblock *s, uint64_t size) {
  (void)size;
  s->ring_offset = s->manifest_offset;
}
static void just_into_the_manifest(Superblock *s, uint64_t size) {
  (void)size;
  s->ring_offset = s->manifest_offset + PAGE_BYTES - wal_file_bytes(s->ring_capacity);
  if ((int64_t)s->ring_offset < 2 * PAGE_BYTES) s->ring_offset = 2 * PAGE_BYTES;
}
static void behind_the_end(Superblock *s, uint64_t size) { s->ring_offset = size; }
static void across_the_end(Superblock *s, uint64_t size) { s->ring_offset = size - PAGE_BYTES; }
static void far_away(Superblock *s, uint64_t size) {
  (void)size;
  s->ring_offset = UINT64_MAX - PAGE_BYTES + 1;
}
static void another_place(Superblock *s, uint64_t size) {
  (void)size;
  s->ring_offset += PAGE_BYTES;
}
static void another_capacity(Superblock *s, uint64_t size) {
  (void)size;
  s->ring_capacity *= 2;
}
static void no_capacity(Superblock *s, uint64_t size) {
  (void)size;
  s->ring_capacity = 0;
}
static void an_endless_capacity(Superblock *s, uint64_t size) {
  (void)size;
  s->ring_capacity = UINT64_MAX - PAGE_BYTES + 1;
}
static void no_place(Superblock *s, uint64_t size) {
  (void)size;
  s->ring_offset = 0;
}
static void no_id(Superblock *s, uint64_t size) {
  (void)size;
  s->log_id = 0;
}
static void another_id(Superblock *s, uint64_t size) {
  (void)size;
  s->log_id++;
}
static void path_wal(Superblock *s, uint64_t size) {
  (void)size;
  s->ring_offset = s->ring_capacity = 0;
}

TEST(log_inside, a_superblock_that_names_a_log_where_none_is_is_refused) {
  static const Lie lies[] = { { "over the superblocks", over_the_superblocks },
                              { "between pages", between_pages },
                              { "over the manifest", over_the_manifest },
                              { "just into the manifest", just_into_the_manifest },
                              { "behind the end", behind_the_end },
                              { "across the end", across_the_end },
                              { "far away", far_away },
                              { "another place", another_place },
                              { "another capacity", another_capacity },
                              { "no capacity", no_capacity },
                              { "an endless capacity", an_endless_capacity },
                              { "no place", no_place },
                              { "no id", no_id },
                              { "another id", another_id },
                              { "path-wal", path_wal } };
  leave_a_store_with_a_log();
  OsFile *file = NULL;
  OsStat stat;
  CHECK_OK(os_open(os_posix(), store_path(), 0, &file));
  CHECK_OK(os_stat_file(file, &stat));
  const Superblock truth = newest(file);
  CHECK(truth.log_id && truth.ring_offset && truth.ring_capacity == LOG_BYTES);
  for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
    Superblock lie = truth;
    Session *s = NULL;
    lies[i].tell(&lie, stat.size);
    CHECK_OK(superblock_write_both(file, &lie, NULL));
    Status status = open_by(os_posix(), &s);
    if (status != KVSTORE_CORRUPT) fprintf(stderr, "%s: %s\n", lies[i].what, status_name(status));
    CHECK_STATUS(status, KVSTORE_CORRUPT);
    CHECK(status_last()->text[0]);
  }
  CHECK_OK(superblock_write_both(file, &truth, NULL)); /* and nothing has been lost */
  os_close(file);
  Session *s = NULL;
  CHECK_OK(open_by(os_posix(), &s));
  CHECK(has(s, "settled") && has(s, "logged"));
  CHECK_OK(session_close(s));
}

/* The header of the true log, copied to every page from which that log would reach into the manifest. Recovery would
 * write there. */
TEST(log_inside, a_log_that_would_lie_over_the_manifest_is_refused_though_it_has_its_header) {
  leave_a_store_with_a_log();
  OsFile *file = NULL;
  CHECK_OK(os_open(os_posix(), store_path(), 0, &file));
  const Superblock truth = newest(file);
  uint8_t header[PAGE_BYTES], before[PAGE_BYTES];
  int refused_as_that = 0;
  CHECK_OK(os_read_exactly(file, truth.ring_offset, header, sizeof header));
  for (uint64_t at = 2 * PAGE_BYTES; at < truth.manifest_offset; at += PAGE_BYTES) {
    Superblock lie = truth;
    Session *s = NULL;
    lie.ring_offset = at;
    CHECK_OK(os_read_exactly(file, at, before, sizeof before));
    CHECK_OK(os_write(file, at, header, sizeof header));
    CHECK_OK(superblock_write_both(file, &lie, NULL));
    CHECK_STATUS(open_by(os_posix(), &s), KVSTORE_CORRUPT); /* or a run was where the header is now */
    refused_as_that += strstr(status_last()->text, "overlaps") != NULL;
    CHECK_OK(os_write(file, at, before, sizeof before));
  }
  CHECK(refused_as_that > 0);
  CHECK_OK(superblock_write_both(file, &truth, NULL));
  os_close(file);
  Session *s = NULL;
  CHECK_OK(open_by(os_posix(), &s));
  CHECK(has(s, "settled") && has(s, "logged"));
  CHECK_OK(session_close(s));
}

TEST(log_inside, a_close_leaves_superblocks_that_name_no_log) {
  leave_a_store_with_a_log();
  Session *s = NULL;
  CHECK_OK(open_by(os_posix(), &s));
  CHECK_OK(session_close(s));
  OsFile *file = NULL;
  CHECK_OK(os_open(os_posix(), store_path(), 0, &file));
  Superblock closed = newest(file);
  CHECK(!closed.log_id && !closed.ring_offset && !closed.ring_capacity);
  os_close(file);
}

/* ---- a full disk ---- */

typedef struct Disk {
  Os *files;
  FaultOs *fault;
  Session *s;
} Disk;

static void disk_make(Disk *d) {
  CHECK_OK(os_memory_create(&d->files));
  CHECK_OK(fault_os_create(d->files, &d->fault));
  CHECK_OK(open_by(fault_os(d->fault), &d->s));
}

static void disk_end(Disk *d) {
  CHECK_OK(session_close(d->s));
  fault_os_destroy(d->fault);
  os_memory_destroy(d->files);
}

static void check_closed_and_opened(Disk *d, const char *key, const char *not_there) {
  CHECK_OK(session_close(d->s));
  CHECK_OK(open_by(fault_os(d->fault), &d->s));
  CHECK(has(d->s, key));
  CHECK(!has(d->s, not_there));
  CHECK_OK(session_check(d->s, NULL));
}

TEST(log_inside, a_disk_without_room_for_one_fails_the_write_and_no_more) {
  Disk d;
  disk_make(&d);
  fault_os_arm(d.fault, FAULT_ALLOCATE, 1, FAULT_NO_SPACE, true);
  CHECK_STATUS(put(d.s, "lost"), KVSTORE_FULL);
  CHECK(fault_os_failures(d.fault) > 0);
  CHECK(!has(d.s, "lost"));
  CHECK_STATUS(put(d.s, "lost"), KVSTORE_FULL);
  fault_os_disarm(d.fault);
  CHECK_OK(put(d.s, "there"));
  check_closed_and_opened(&d, "there", "lost");
  disk_end(&d);
}

/* The log's place is filled with zeros first: so may the disk be, at any of these writes. */
TEST(log_inside, a_disk_that_is_full_while_one_is_written_fails_the_write_and_no_more) {
  bool failed = true;
  for (uint64_t n = 1; failed; n++) {
    Disk d;
    disk_make(&d);
    fault_os_arm(d.fault, FAULT_WRITE, n, FAULT_NO_SPACE, false);
    Status status = put(d.s, "lost");
    failed = status != KVSTORE_OK;
    CHECK(!failed || status == KVSTORE_FULL);
    CHECK_INT(has(d.s, "lost"), !failed);
    fault_os_disarm(d.fault);
    if (put(d.s, "there") == KVSTORE_OK) CHECK(has(d.s, "there")); /* else a superblock may name it: until all closed */
    Status ignored = session_close(d.s);
    (void)ignored;
    CHECK_OK(open_by(fault_os(d.fault), &d.s));
    CHECK_INT(has(d.s, "lost"), !failed);
    CHECK_OK(put(d.s, "afterwards"));
    check_closed_and_opened(&d, "afterwards", "never");
    disk_end(&d);
    CHECK(n < 1000);
  }
}

/* It leaves a gap for what is settled before it; a disk that has no room for both has it for the log. */
TEST(log_inside, a_disk_with_room_for_little_more_than_one_has_room_for_one) {
  Disk d;
  disk_make(&d);
  fault_os_arm(d.fault, FAULT_ALLOCATE, 1, FAULT_NO_SPACE, false);
  CHECK_OK(put(d.s, "there"));
  CHECK_INT(fault_os_failures(d.fault), 1);
  fault_os_disarm(d.fault);
  CHECK_OK(session_checkpoint(d.s, CHECKPOINT_TRUNCATE, NULL, NULL));
  CHECK_OK(put(d.s, "again"));
  check_closed_and_opened(&d, "there", "never");
  CHECK(has(d.s, "again"));
  disk_end(&d);
}

/* ---- recoveries ---- */

/* Each of them adds a break to the log; when there is no room for one, it is begun anew, at another place or the same.
 */
TEST(log_inside, any_number_of_deaths_without_a_checkpoint_loses_nothing) {
  for (int i = 0; i < 70; i++) {
    leave_a_store_with_a_log();
    Session *s = NULL;
    if (i % 10) continue;
    StoreOptions options = { .journal_mode = JOURNAL_DELETE, .read_only = true, .no_background = true };
    CHECK_OK(session_open(store_path(), &options, &s));
    CHECK(has(s, "settled") && has(s, "logged"));
    CHECK_OK(session_check(s, NULL));
    CHECK_OK(session_close(s));
  }
}

/* ---- a sync that fails ---- */

/* What it lost may be records of the log, too, and no later sync says so. */
TEST(log_inside, a_sync_of_the_file_that_fails_ends_all_writing) {
  Disk d;
  disk_make(&d);
  CHECK_OK(put(d.s, "logged"));
  fault_os_arm(d.fault, FAULT_SYNC, 1, FAULT_ERROR, false);
  CHECK_STATUS(session_checkpoint(d.s, CHECKPOINT_FULL, NULL, NULL), KVSTORE_IO);
  CHECK_INT(fault_os_failures(d.fault), 1);
  CHECK_STATUS(session_sync(d.s), KVSTORE_IO);
  CHECK_STATUS(put(d.s, "more"), KVSTORE_IO);
  CHECK(has(d.s, "logged"));
  CHECK_STATUS(session_close(d.s), KVSTORE_IO);
  CHECK_OK(open_by(fault_os(d.fault), &d.s));
  CHECK(has(d.s, "logged"));
  CHECK_OK(put(d.s, "again"));
  check_closed_and_opened(&d, "again", "more");
  disk_end(&d);
}
