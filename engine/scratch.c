/* scratch.c - pieces in a file without a name. */
#include "engine/scratch.h"

#include <stdio.h>

#include "base/counters.h"
#include "base/hash.h"
#include "base/memory.h"
#include "crypto/seal.h"
#include "engine/engine_internal.h"
#include "os/thread.h"

struct Scratch {
  Store *store;
  Mutex lock;   /* of everything below */
  OsFile *file; /* NULL before the first piece */
  uint64_t id;  /* random: what its pieces are bound to */
  uint64_t end;
  uint8_t *sealed; /* room for the piece on its way out */
  size_t sealed_capacity;
};

Status scratch_create(Session *session, Scratch **out) {
  Scratch *s = memory_allocate_zeroed(sizeof *s);
  if (!s) return status_nomem();
  s->store = session->store;
  mutex_init(&s->lock);
  *out = s;
  return KVSTORE_OK;
}

void scratch_destroy(Scratch *s) {
  if (!s) return;
  os_close(s->file);
  mutex_destroy(&s->lock);
  memory_release(s->sealed);
  memory_release(s);
}

uint64_t scratch_bytes(const Scratch *s) { return s->end; }

static Status make_file(Scratch *s) {
  Buffer path = { 0 };
  char suffix[40];
  TRY(os_random(s->store->os, &s->id, sizeof s->id));
  snprintf(suffix, sizeof suffix, "-scratch-%016llx", (unsigned long long)s->id);
  buffer_append(&path, s->store->path, strlen(s->store->path));
  buffer_append(&path, suffix, strlen(suffix) + 1);
  Status status = buffer_status(&path);
  const char *name = (const char *)path.data;
  if (status == KVSTORE_OK)
    status = os_open_beside(s->store->file.file, name, OS_OPEN_CREATE | OS_OPEN_EXCLUSIVE, &s->file);
  if (status == KVSTORE_OK) status = os_unlink(s->store->os, name);
  if (status != KVSTORE_OK) status = status_context(status, "a query that needs a file for what it has no memory for");
  buffer_release(&path);
  return status;
}

static UnitCipher cipher_of(const Scratch *s, size_t length) {
  return unit_cipher_begin(s->store->key, (UnitPlace){ s->id, length });
}

static uint64_t checksum_of(const Scratch *s, uint64_t at, const void *bytes, size_t length) {
  return checksum64(bytes, length, checksum_seed(s->id, at));
}

/* Head and bytes of the piece as they will lie in the file. */
static Status wrap(Scratch *s, const void *bytes, size_t length, size_t *head) {
  *head = s->store->key ? (size_t)SEAL_BYTES : sizeof(uint64_t);
  TRY(memory_grow(&s->sealed, &s->sealed_capacity, *head + length, 1));
  if (!s->store->key) {
    store_u64(s->sealed, checksum_of(s, s->end, bytes, length));
    memcpy(s->sealed + *head, bytes, length);
    return KVSTORE_OK;
  }
  UnitCipher cipher = cipher_of(s, length);
  Status status = unit_seal(&cipher, s->end, bytes, length, s->sealed + *head, s->sealed);
  unit_cipher_end(&cipher);
  return status;
}

static Status write_piece(Scratch *s, const void *bytes, size_t length, uint64_t *at) {
  size_t head;
  if (!s->file) TRY(make_file(s));
  TRY(wrap(s, bytes, length, &head));
  TRY(os_write(s->file, s->end, s->sealed, head + length));
  *at = s->end;
  s->end += head + length;
  COUNT(scratch_pieces);
  return KVSTORE_OK;
}

static Status read_piece(const Scratch *s, uint64_t at, void *bytes, size_t length) {
  uint8_t head[SEAL_BYTES];
  size_t head_length = s->store->key ? sizeof head : sizeof(uint64_t);
  TRY(os_read_exactly(s->file, at, head, head_length));
  TRY(os_read_exactly(s->file, at + head_length, bytes, length));
  if (!s->store->key) {
    if (load_u64(head) == checksum_of(s, at, bytes, length)) return KVSTORE_OK;
    return status_fail(KVSTORE_CORRUPT, "a query's scratch file is not as it was written");
  }
  UnitCipher cipher = cipher_of(s, length);
  Status status = unit_unseal(&cipher, at, bytes, length, head);
  unit_cipher_end(&cipher);
  return status;
}

Status scratch_write(Scratch *s, const void *bytes, size_t length, uint64_t *at) {
  mutex_lock(&s->lock);
  Status status = write_piece(s, bytes, length, at);
  mutex_unlock(&s->lock);
  return status;
}

/* A store in memory moves its file as it grows. */
Status scratch_read(Scratch *s, uint64_t at, void *bytes, size_t length) {
  mutex_lock(&s->lock);
  Status status = read_piece(s, at, bytes, length);
  mutex_unlock(&s->lock);
  return status;
}
