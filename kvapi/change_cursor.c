/* change_cursor.c - changes of families, followed by position. Between two calls a cursor holds its bytes and nothing
 * of the store: it reads some at a time, in a session of its own, which sees what is committed and no more. */
#include <string.h>

#include "base/memory.h"
#include "kvapi/handle.h"

enum { READ_AHEAD_BYTES = 64 << 10 };

struct KVChanges {
  uint32_t magic;
  uint32_t family;
  KVStore *kv;
  Birth *birth;      /* of the family */
  uint64_t position; /* of the change that was given last */
  Buffer bytes;      /* changes behind it */
  Reader left;
};

/* ---- opening ---- */

static Status find_position(Session *session, uint32_t family, int64_t after, uint64_t *position) {
  uint64_t oldest, newest;
  TRY(capture_ends(session, family, &oldest, &newest));
  *position = after == KVSTORE_CHANGES_OLDEST ? oldest : after == KVSTORE_CHANGES_NEWEST ? newest : (uint64_t)after;
  if (*position >= oldest && *position <= newest) return KVSTORE_OK;
  return status_fail(KVSTORE_GONE, "changes behind %lld are not kept: they are from %llu on, to %llu", (long long)after,
                     (unsigned long long)oldest, (unsigned long long)newest);
}

/* A session of its own sees what is committed, whatever the handle's is in the middle of. */
static Status start(KVChanges *changes, int64_t after) {
  Session *session;
  TRY(session_clone(changes->kv->session, &session));
  Status status = find_position(session, changes->family, after, &changes->position);
  Status closed = session_close(session);
  return status == KVSTORE_OK ? closed : status;
}

static Status open_changes(KVStore *kv, const KVColumnFamily *family, int64_t after, KVChanges **out) {
  uint32_t id;
  if (after < KVSTORE_CHANGES_NEWEST) return bad_argument("there is no such position");
  TRY(family_argument(kv, family, &id));
  KVChanges *changes = memory_allocate_zeroed(sizeof *changes);
  if (!changes) return status_nomem();
  changes->kv = kv;
  changes->family = id;
  Status status = start(changes, after);
  if (status != KVSTORE_OK) {
    memory_release(changes);
    return status;
  }
  changes->magic = MAGIC_CHANGES;
  changes->birth = birth_find(kv, id);
  handle_retain(kv);
  *out = changes;
  return KVSTORE_OK;
}

int kvstore_changes_open(KVStore *kv, KVColumnFamily *family, int64_t after, KVChanges **changes) {
  if (changes) *changes = NULL;
  Status status = handle_enter(kv);
  if (status != KVSTORE_OK) return handle_refuse(kv, status);
  if (!changes) return handle_leave(kv, bad_argument("the place for the changes is NULL"));
  return handle_leave(kv, open_changes(kv, family, after, changes));
}

/* ---- following ---- */

static Status read_more(KVChanges *changes) {
  Session *session;
  if (birth_check(changes->birth) != KVSTORE_OK)
    return status_fail(KVSTORE_GONE, "the transaction that created the family has been rolled back");
  TRY(session_clone(changes->kv->session, &session));
  changes->bytes.length = 0;
  Status status = capture_read(session, changes->family, changes->position, READ_AHEAD_BYTES, &changes->bytes);
  Status closed = session_close(session);
  if (status == KVSTORE_OK) status = closed;
  changes->left = status == KVSTORE_OK && changes->bytes.length
                    ? reader_over(changes->bytes.data, changes->bytes.length)
                    : (Reader){ 0 };
  return status;
}

static Status next(KVChanges *changes, KVChange *out) {
  CapturedChange change;
  KVChange full = KVSTORE_CHANGE_INIT;
  TRY(struct_answer(out, &full, sizeof full, "KVSTORE_CHANGE_INIT"));
  if (!reader_left(&changes->left)) TRY(read_more(changes));
  if (!capture_next(&changes->left, &change)) return status_set(KVSTORE_NOTFOUND, "no change behind this one yet");
  changes->position = change.sequence;
  full.kind = change.kind;
  full.sequence = (int64_t)change.sequence;
  full.transaction = (int64_t)change.transaction;
  full.time_ms = change.time_ms;
  full.expire_ms = change.expiry == EXPIRY_NEVER ? 0 : change.expiry;
  full.key = change.key.length ? change.key.data : NULL;
  full.key_length = (int)change.key.length;
  full.value = change.value.length ? change.value.data : NULL;
  full.value_length = (int)change.value.length;
  return struct_answer(out, &full, sizeof full, "KVSTORE_CHANGE_INIT");
}

static bool is_changes(const KVChanges *changes) { return changes && changes->magic == MAGIC_CHANGES; }

int kvstore_changes_next(KVChanges *changes, KVChange *change) {
  if (!is_changes(changes)) return handle_refuse(NULL, bad_argument("these are no open changes"));
  KVStore *kv = changes->kv;
  Status status = handle_enter(kv);
  if (status != KVSTORE_OK) return handle_refuse(kv, status);
  return handle_leave_lookup(kv, change ? next(changes, change) : bad_argument("the place for the change is NULL"));
}

int64_t kvstore_changes_position(const KVChanges *changes) {
  return is_changes(changes) ? (int64_t)changes->position : KVSTORE_CHANGES_OLDEST;
}

void kvstore_changes_close(KVChanges *changes) {
  if (!is_changes(changes)) return;
  changes->magic = MAGIC_DEAD;
  birth_release(changes->birth);
  buffer_release(&changes->bytes);
  handle_release(changes->kv);
  memory_release(changes);
}
