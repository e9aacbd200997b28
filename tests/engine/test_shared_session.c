/* What the calls of one thread see while another ends the session's transaction. The other's part is played from within
 * a sync or a read of the file, where it can be, so that all happens in one order. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "engine/engine_internal.h"
#include "tests/support/test.h"

enum { ROWS = 1000, GENERATIONS = 3 };

/* ---- a system that calls back once ---- */

static OsMethods methods, file_methods;
static const OsMethods *real_file;
static void (*in_sync)(void), (*in_read)(void);

static void call_once(void (**place)(void)) {
  void (*call)(void) = *place;
  *place = NULL;
  if (call) call();
}

static Status sync_calling(OsFile *file) {
  call_once(&in_sync);
  return real_file->sync(file);
}

static Status read_calling(OsFile *file, uint64_t offset, void *bytes, size_t length, size_t *got) {
  call_once(&in_read);
  return real_file->read(file, offset, bytes, length, got);
}

static Status open_calling(Os *os, const char *path, int flags, OsFile **file) {
  (void)os;
  TRY(os_open(os_posix(), path, flags, file));
  (*file)->methods = &file_methods;
  return KVSTORE_OK;
}

static Status open_beside_calling(OsFile *of, const char *path, int flags, OsFile **file) {
  TRY(real_file->open_beside(of, path, flags, file));
  (*file)->methods = &file_methods;
  return KVSTORE_OK;
}

static Os *calling_os(void) {
  static Os os = { &methods };
  real_file = os_posix()->methods;
  methods = file_methods = *real_file;
  methods.open = open_calling;
  file_methods.open_beside = open_beside_calling;
  file_methods.sync = sync_calling;
  file_methods.read = read_calling;
  return &os;
}

/* ---- two sessions of one store ---- */

static Session *first, *second;

static void open_store(int sync_level) {
  static char path[512];
  StoreOptions options = { .journal_mode = JOURNAL_WAL, .sync_level = sync_level, .no_background = true };
  options.no_map = true; /* reads are calls */
  options.os = calling_os();
  snprintf(path, sizeof path, "%s/store", test_directory());
  CHECK_OK(session_open(path, &options, &first));
  CHECK_OK(session_clone(first, &second));
}

static void close_store(void) {
  CHECK_OK(session_close(second));
  CHECK_OK(session_close(first));
}

static Bytes bytes_of(const char *text) { return (Bytes){ (const uint8_t *)text, strlen(text) }; }

static void put(Session *s, const char *key) {
  CHECK_OK(kv_put(s, FAMILY_DEFAULT_ID, bytes_of(key), bytes_of(key), EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
}

static void put_numbered(Session *s, const char *name, int count) {
  char key[32];
  for (int i = 0; i < count; i++) {
    snprintf(key, sizeof key, "%s%06d", name, i);
    put(s, key);
  }
}

static Status get(Session *s, const char *key) {
  KvValue value = { 0 };
  Status status = kv_get(s, FAMILY_DEFAULT_ID, bytes_of(key), &value);
  memory_release(value.data);
  return status;
}

static uint64_t counted(Session *s) {
  uint64_t count = UINT64_MAX;
  CHECK_OK(kv_count(s, FAMILY_DEFAULT_ID, &count));
  return count;
}

/* ---- a commit that is being synced ---- */

/* Of the first session another thread's commit is in the log, and not synced yet. */
static void write_in_second(void) {
  CHECK_OK(session_begin(second, true));
  put(second, "theirs");
  CHECK_STATUS(get(first, "theirs"), KVSTORE_NOTFOUND);
  CHECK_OK(get(first, "ours"));
  CHECK_OK(session_rollback(second));
}

TEST(shared_session, while_a_commit_is_synced_its_session_sees_nothing_of_the_next_transaction) {
  open_store(SYNC_FULL);
  CHECK_OK(session_begin(first, true));
  put(first, "ours");
  in_sync = write_in_second;
  CHECK_OK(session_commit(first));
  CHECK(in_sync == NULL);
  CHECK_OK(get(first, "ours"));
  CHECK_STATUS(get(first, "theirs"), KVSTORE_NOTFOUND);
  close_store();
}

/* ---- a rollback in the midst of a count ---- */

static void end_it(void *context) { *(Status *)context = session_rollback(first); }

/* By another thread, as it would be: the read holds a lock. */
static void roll_back_first(void) {
  Thread thread;
  Status ended = KVSTORE_ERROR;
  CHECK_OK(thread_start(&thread, end_it, &ended));
  thread_join(&thread);
  CHECK_OK(ended);
}

TEST(shared_session, a_count_of_rows_that_are_rolled_back_meanwhile_is_not_remembered) {
  open_store(SYNC_NORMAL);
  put_numbered(first, "key", ROWS);
  close_store(); /* in runs now, and how many they are was never asked */
  open_store(SYNC_NORMAL);
  CHECK_OK(session_begin(first, true));
  put_numbered(first, "taken back", 5);
  in_read = roll_back_first;
  (void)counted(first);
  CHECK(in_read == NULL);
  CHECK_INT(session_transaction(first), 0);
  put_numbered(second, "other", 3); /* at sequences of those that were rolled back */
  CHECK_INT(counted(first), ROWS + 3);
  CHECK_INT(counted(second), ROWS + 3);
  close_store();
}

/* ---- a snapshot that ends under a call ---- */

static _Atomic bool has_ended;

static void end_first(void *context) {
  end_it(context);
  atomic_store(&has_ended, true);
}

TEST(shared_session, a_reading_transaction_ends_behind_the_calls_that_read_at_it) {
  Thread thread;
  ReadPin pin;
  Status ended = KVSTORE_ERROR;
  open_store(SYNC_NORMAL);
  put(first, "key");
  CHECK_OK(session_begin(first, false));
  CHECK_OK(read_pin(first, &pin)); /* a call that is inside */
  CHECK_OK(thread_start(&thread, end_first, &ended));
  while (session_transaction(first)) thread_yield();
  for (int i = 0; i < GENERATIONS; i++) { /* versions that nobody holds are freed */
    put_numbered(second, "more", 1 + i);
    CHECK_OK(session_checkpoint(second, CHECKPOINT_FULL, NULL, NULL));
  }
  CHECK(!atomic_load(&has_ended));
  CHECK(family_named(&pin, "default") != NULL);
  CHECK_OK(get(first, "more000002")); /* outside of it by now */
  read_unpin(first, &pin);
  thread_join(&thread);
  CHECK_OK(ended);
  CHECK_OK(session_begin(first, false));
  CHECK_OK(get(first, "more000002"));
  CHECK_OK(session_commit(first));
  close_store();
}

/* ---- which transaction has ended ---- */

TEST(shared_session, whoever_ends_a_transaction_learns_which_one) {
  uint64_t ended = 7, known = 0;
  open_store(SYNC_NORMAL);
  CHECK_OK(session_end(first, true, &ended));
  CHECK_INT(ended, 0);
  CHECK_OK(session_begin(first, false));
  CHECK_INT(session_writing(first), 0);
  CHECK_OK(session_end(first, false, &ended));
  CHECK_INT(ended, 0);
  for (int i = 0; i < 4; i++) { /* commits and rollbacks of either session */
    Session *s = i % 2 ? second : first;
    CHECK_OK(session_begin(s, true));
    put(s, "key");
    CHECK(session_writing(s) > known);
    known = session_writing(s);
    CHECK_INT(session_writing(i % 2 ? first : second), 0);
    CHECK_OK(session_end(s, i < 2, &ended));
    CHECK_INT(ended, known);
    CHECK_INT(session_writing(s), 0);
  }
  close_store();
}
