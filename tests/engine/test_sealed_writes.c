/* A traced run: everything that a store hands to the system is looked at as it is written, and nothing that its caller
 * gave it stands there in the clear; the same run without a password shows that it would be seen. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "engine/engine_internal.h"
#include "engine/kv_load.h"
#include "tests/support/test.h"

enum { CANARIES = 10000, FAMILIES = 20, LARGE = 3000 };

/* Begins every canary; nothing else writes it. */
static const char mark[] = "qZx7CANARY";

/* ---- an Os that looks at what is written ---- */

typedef struct Trace {
  const OsMethods *under;
  OsMethods methods;
  uint64_t writes, marked;
  const uint8_t *shared; /* the page that is written through a mapping */
  uint64_t shared_bytes;
} Trace;

static Trace trace;

static bool holds_mark(const uint8_t *bytes, size_t length) {
  const size_t wanted = sizeof mark - 1;
  for (size_t i = 0; i + wanted <= length; i++) {
    const uint8_t *first = memchr(bytes + i, mark[0], length - i);
    if (!first) return false;
    i = (size_t)(first - bytes);
    if (i + wanted <= length && memcmp(first, mark, wanted) == 0) return true;
  }
  return false;
}

static Status look_and_write(OsFile *file, uint64_t offset, const void *bytes, size_t length) {
  trace.writes++;
  trace.marked += holds_mark(bytes, length) || (trace.shared && holds_mark(trace.shared, trace.shared_bytes));
  return trace.under->write(file, offset, bytes, length);
}

static Status watch(Status status, OsFile **file) {
  if (status == KVSTORE_OK) (*file)->methods = &trace.methods;
  return status;
}

static Status open_watched(Os *os, const char *path, int flags, OsFile **file) {
  return watch(trace.under->open(os, path, flags, file), file);
}

static Status reopen_watched(OsFile *file, int flags, OsFile **other) {
  return watch(trace.under->reopen(file, flags, other), other);
}

static Status map_watched(OsFile *file, uint64_t offset, uint64_t length, bool writable, void **address) {
  TRY(trace.under->map(file, offset, length, writable, address));
  if (writable) {
    trace.shared = *address;
    trace.shared_bytes = length;
  }
  return KVSTORE_OK;
}

static void unmap_watched(OsFile *file, void *address, uint64_t length) {
  if (address == trace.shared) trace.shared = NULL;
  trace.under->unmap(file, address, length);
}

static Os *traced(Os *memory) {
  trace = (Trace){ .under = memory->methods, .methods = *memory->methods };
  trace.methods.write = look_and_write;
  trace.methods.open = open_watched;
  trace.methods.reopen = reopen_watched;
  trace.methods.map = map_watched;
  trace.methods.unmap = unmap_watched;
  memory->methods = &trace.methods;
  return memory;
}

/* ---- what a caller does ---- */

static Bytes text(const char *s) { return (Bytes){ (const uint8_t *)s, strlen(s) }; }

static void put_canary(Session *s, uint32_t family, const char *what, int i) {
  char key[64], value[96];
  (void)snprintf(key, sizeof key, "%s %s %d", mark, what, i);
  (void)snprintf(value, sizeof value, "%s value of %s %d", mark, what, i);
  CHECK_OK(kv_put(s, family, text(key), text(value), EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
}

static uint32_t make_family(Session *s, int i) {
  const FamilyOptions options = { .changes_ms = i % 2 ? 1000000 : 0 };
  char name[64];
  uint32_t id;
  (void)snprintf(name, sizeof name, "%s family %d", mark, i);
  CHECK_OK(family_create_with(s, name, FAMILY_KV, NULL, &options, &id));
  return id;
}

static void load(Session *s, uint32_t family) {
  KvLoader *loader;
  CHECK_OK(kv_loader_create(s, family, &(KvLoadOptions){ .memory_bytes = 1 }, &loader));
  for (int i = 0; i < LARGE; i++) {
    char key[64];
    (void)snprintf(key, sizeof key, "%s loaded %d", mark, i * 7 % LARGE);
    CHECK_OK(kv_loader_add(loader, text(key), text(mark), EXPIRY_NEVER));
  }
  CHECK_OK(kv_loader_commit(loader, NULL));
  kv_loader_destroy(loader);
}

/* Single commits, families, a transaction and a load larger than the log, and all that is done with them afterwards. */
static void run(Session *s) {
  uint32_t family = FAMILY_DEFAULT_ID;
  for (int i = 0; i < CANARIES; i++) {
    if (i % (CANARIES / FAMILIES) == 0) family = make_family(s, i);
    put_canary(s, i % 3 ? FAMILY_DEFAULT_ID : family, "key", i);
  }
  CHECK_OK(session_begin(s, true));
  for (int i = 0; i < LARGE; i++) put_canary(s, FAMILY_DEFAULT_ID, "large", i);
  CHECK_OK(session_commit(s));
  load(s, family);
  CHECK_OK(family_rename(s, family, "qZx7CANARY renamed"));
  CHECK_OK(session_maintain(s));
  CHECK_OK(kv_delete_range(s, FAMILY_DEFAULT_ID, &(KvRange){ .lower = text("qZx7CANARY key 5") }, &(uint64_t){ 0 }));
  CHECK_OK(session_vacuum(s, 0));
  CHECK_OK(session_backup(s, "backup", NULL, NULL));
  CHECK_OK(session_checkpoint(s, CHECKPOINT_TRUNCATE, NULL, NULL));
  put_canary(s, family, "last", 0);
}

static uint64_t marked_writes(const char *password) {
  Os *memory;
  Session *s;
  CHECK_OK(os_memory_create(&memory));
  StoreOptions options = { .os = traced(memory),
                           .journal_mode = JOURNAL_WAL,
                           .no_background = true,
                           .log_bytes = 256 << 10,
                           .key_cost = { 1, KEY_MEMORY_MIN } };
  if (password) options.password = text(password);
  CHECK_OK(session_open("store", &options, &s));
  run(s);
  if (password) CHECK_OK(session_reencrypt(s, text("another")));
  CHECK_OK(session_close(s));
  memory->methods = trace.under;
  os_memory_destroy(memory);
  return trace.marked;
}

TEST(sealed_writes, of_ten_thousand_canaries_none_is_in_any_write_of_a_traced_run) {
  CHECK_INT(marked_writes("secret"), 0);
  CHECK(trace.writes > CANARIES);
  CHECK(trace.shared_bytes > 0);
}

TEST(sealed_writes, a_plain_store_shows_its_canaries_in_every_commit) { CHECK(marked_writes(NULL) >= CANARIES); }
