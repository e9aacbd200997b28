/* Sealed stores against who can write their files and knows the format: extents, units, superblocks and records that
 * are right somewhere else, or were right before, with every public checksum made anew. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/counters.h"
#include "base/hash.h"
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "tests/support/fault_os.h"
#include "tests/support/simdisk.h"
#include "tests/support/test.h"

enum { KEYS = 600 };

typedef struct Image {
  uint8_t *bytes;
  size_t length;
} Image;

static const char path[] = "/disk/store", log_path[] = "/disk/store-wal";

static Bytes text(const char *s) { return (Bytes){ (const uint8_t *)s, strlen(s) }; }

static StoreOptions options_on(SimDisk *disk) {
  return (StoreOptions){ .os = simdisk_os(disk),
                         .journal_mode = JOURNAL_WAL,
                         .sync_level = SYNC_FULL,
                         .no_background = true,
                         .log_bytes = 1 << 20,
                         .password = text("secret"),
                         .key_cost = { 1, KEY_MEMORY_MIN } };
}

static SimDisk *new_disk(void) {
  SimDisk *disk = NULL;
  CHECK_OK(simdisk_create(1, &disk));
  return disk;
}

static Session *open_on(SimDisk *disk) {
  Session *session = NULL;
  StoreOptions options = options_on(disk);
  CHECK_OK(session_open(path, &options, &session));
  return session;
}

static Image take(SimDisk *disk, const char *name) {
  Image image = { 0 };
  image.bytes = simdisk_read_file(disk, name, &image.length);
  CHECK(image.bytes != NULL);
  return image;
}

static void put_back(SimDisk *disk, const char *name, const Image *image) {
  simdisk_write_file(disk, name, image->bytes, image->length);
}

static void put_keys(Session *session, uint32_t family, char letter) {
  char key[16], value[100];
  memset(value, letter, sizeof value);
  CHECK_OK(session_begin(session, true));
  for (int i = 0; i < KEYS; i++) {
    snprintf(key, sizeof key, "key %04d", i);
    CHECK_OK(
      kv_put(session, family, text(key), (Bytes){ (uint8_t *)value, sizeof value }, EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
  }
  CHECK_OK(session_commit(session));
}

/* Everything in a store reads as `letter` in family 1, or is refused as damaged. */
static Status read_all(SimDisk *disk) {
  Session *session = NULL;
  StoreOptions options = options_on(disk);
  Status status = session_open(path, &options, &session);
  if (status != KVSTORE_OK) return status;
  for (uint32_t family = 1; family <= 2 && status == KVSTORE_OK; family++) {
    for (int i = 0; i < KEYS && status == KVSTORE_OK; i++) {
      char key[16];
      KvValue value = { 0 };
      snprintf(key, sizeof key, "key %04d", i);
      status = kv_get(session, family, text(key), &value);
      if (status == KVSTORE_OK) CHECK_INT(((char *)value.data)[0], family == 1 ? 'a' : 'b');
      memory_release(value.data);
    }
  }
  Status closed = session_close(session);
  return status == KVSTORE_OK ? closed : status;
}

/* ---- extents ---- */

typedef struct TwoRuns {
  SimDisk *disk;
  Image store;
  Extent a, b; /* the rows of both families, of the same length */
} TwoRuns;

static Extent first_extent(Session *session, uint32_t family) {
  const Version *v = atomic_load(&session_store(session)->current);
  const FamilyEntry *entry = manifest_family(v->manifest, family);
  CHECK(entry && entry->run_count == 1 && entry->runs[0].extent_count >= 2);
  return entry->runs[0].extents[0];
}

static TwoRuns two_runs(void) {
  TwoRuns t = { .disk = new_disk() };
  uint32_t second = 0;
  Session *session = open_on(t.disk);
  CHECK_OK(family_create(session, "second", FAMILY_KV, NULL, &second));
  CHECK_INT(second, 2);
  put_keys(session, 1, 'a');
  put_keys(session, 2, 'b');
  CHECK_OK(session_checkpoint(session, CHECKPOINT_FULL, NULL, NULL));
  t.a = first_extent(session, 1);
  t.b = first_extent(session, 2);
  CHECK_INT(t.a.length, t.b.length);
  CHECK(t.a.length > 2 * UNIT_BYTES);
  CHECK_OK(session_close(session));
  t.store = take(t.disk, path);
  CHECK_OK(read_all(t.disk));
  free(t.store.bytes);
  t.store = take(t.disk, path);
  return t;
}

static void two_runs_release(TwoRuns *t) {
  free(t->store.bytes);
  simdisk_destroy(t->disk);
}

static void swap_bytes(uint8_t *a, uint8_t *b, size_t length) {
  for (size_t i = 0; i < length; i++) {
    uint8_t c = a[i];
    a[i] = b[i];
    b[i] = c;
  }
}

static uint8_t *entry_of(const TwoRuns *t, const Extent *e, uint64_t unit) {
  uint64_t units = extent_unit_count(e->length);
  return t->store.bytes + e->offset + extent_bytes(e->length) - (units - unit) * UNIT_TAG_BYTES;
}

TEST(engine_sealed, a_sealed_store_is_never_mapped_and_reads_back) {
  TwoRuns t = two_runs();
  uint64_t before = counter_get(COUNTER_units_verified), unsealed = counter_get(COUNTER_units_unsealed);
  CHECK_OK(read_all(t.disk));
  CHECK_INT(counter_get(COUNTER_units_verified), before);
  CHECK(counter_get(COUNTER_units_unsealed) > unsealed);
  two_runs_release(&t);
}

TEST(engine_sealed, two_extents_that_changed_places_are_refused) {
  TwoRuns t = two_runs();
  swap_bytes(t.store.bytes + t.a.offset, t.store.bytes + t.b.offset, extent_bytes(t.a.length));
  put_back(t.disk, path, &t.store);
  CHECK_STATUS(read_all(t.disk), KVSTORE_CORRUPT);
  two_runs_release(&t);
}

TEST(engine_sealed, two_units_that_changed_places_with_their_seals_are_refused) {
  TwoRuns t = two_runs();
  uint8_t *data = t.store.bytes + t.a.offset;
  swap_bytes(data, data + UNIT_BYTES, UNIT_BYTES);
  swap_bytes(entry_of(&t, &t.a, 0), entry_of(&t, &t.a, 1), UNIT_TAG_BYTES);
  put_back(t.disk, path, &t.store);
  CHECK_STATUS(read_all(t.disk), KVSTORE_CORRUPT);
  two_runs_release(&t);
}

TEST(engine_sealed, a_unit_of_another_extent_with_its_seal_is_refused) {
  TwoRuns t = two_runs();
  memcpy(t.store.bytes + t.a.offset + UNIT_BYTES, t.store.bytes + t.b.offset + UNIT_BYTES, UNIT_BYTES);
  memcpy(entry_of(&t, &t.a, 1), entry_of(&t, &t.b, 1), UNIT_TAG_BYTES);
  put_back(t.disk, path, &t.store);
  CHECK_STATUS(read_all(t.disk), KVSTORE_CORRUPT);
  two_runs_release(&t);
}

/* ---- superblocks ---- */

static void seal_page_publicly(uint8_t *pages, uint32_t page) {
  uint8_t *p = pages + page * PAGE_BYTES;
  store_u64(p + PAGE_BYTES - 8, checksum64(p, PAGE_BYTES - 8, page));
}

static Status with_changed_pages(TwoRuns *t, size_t offset, const void *bytes, size_t length) {
  uint8_t before[2 * PAGE_BYTES];
  memcpy(before, t->store.bytes, sizeof before);
  for (uint32_t page = 0; page < 2; page++) {
    memcpy(t->store.bytes + page * PAGE_BYTES + offset, bytes, length);
    seal_page_publicly(t->store.bytes, page);
  }
  put_back(t->disk, path, &t->store);
  Status status = read_all(t->disk);
  memcpy(t->store.bytes, before, sizeof before);
  put_back(t->disk, path, &t->store);
  return status;
}

TEST(engine_sealed, every_changed_field_of_a_superblock_with_a_right_checksum_is_refused) {
  static const uint64_t other = 8192;
  TwoRuns t = two_runs();
  for (size_t offset = 56; offset <= 96; offset += 8)
    CHECK_STATUS(with_changed_pages(&t, offset, &other, sizeof other), KVSTORE_CORRUPT);
  two_runs_release(&t);
}

TEST(engine_sealed, a_sealed_store_that_says_it_is_plain_is_refused) {
  static const uint8_t zeros[SEALING_BYTES];
  TwoRuns t = two_runs();
  CHECK_STATUS(with_changed_pages(&t, 120, zeros, sizeof zeros), KVSTORE_CORRUPT);
  two_runs_release(&t);
}

TEST(engine_sealed, a_file_that_asks_for_endless_work_is_refused_at_once) {
  static const struct {
    uint32_t passes;
    uint64_t memory;
  } hostile[] = { { UINT32_MAX, 8192 }, { 1, UINT64_C(1) << 40 }, { 0, 0 }, { 8, UINT64_C(1) << 30 } };
  TwoRuns t = two_runs();
  for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
    uint8_t cost[12];
    uint64_t before = counter_get(COUNTER_passwords_stretched);
    store_u32(cost, hostile[i].passes);
    store_u64(cost + 4, hostile[i].memory);
    CHECK_STATUS(with_changed_pages(&t, 124, cost, sizeof cost), KVSTORE_CORRUPT);
    CHECK_INT(counter_get(COUNTER_passwords_stretched), before);
  }
  CHECK_OK(read_all(t.disk));
  two_runs_release(&t);
}

/* ---- the log ---- */

enum { RECORDS = 6 };

typedef struct SealedLog {
  SimDisk *disk;
  Image store, log;
  uint64_t log_id;
  size_t at[RECORDS]; /* offsets in the file */
  uint32_t length;    /* of each */
} SealedLog;

static void abandon(SimDisk *disk, Session *session) {
  simdisk_crash_at(disk, simdisk_calls(disk) + 1);
  Status ignored = session_close(session);
  (void)ignored;
  CHECK_OK(simdisk_crash(disk, 1));
  simdisk_crash_at(disk, 0);
}

static SealedLog sealed_log(void) {
  SealedLog l = { .disk = new_disk() };
  Session *session = open_on(l.disk);
  for (int i = 0; i < RECORDS; i++) {
    char key[8];
    snprintf(key, sizeof key, "key %d", i);
    CHECK_OK(kv_put(session, 1, text(key), text("value"), EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
  }
  l.store = take(l.disk, path);
  l.log = take(l.disk, log_path);
  abandon(l.disk, session);
  l.log_id = load_u64(l.log.bytes + 16);
  size_t at = 4096;
  for (int i = 0; i < RECORDS; i++) {
    RecordHeader header;
    CHECK(record_header_read(l.log.bytes + at, &header));
    CHECK_INT(header.flags, RECORD_SEALED);
    if (i) CHECK_INT(header.length, l.length);
    l.length = header.length;
    l.at[i] = at;
    at += header.length;
  }
  return l;
}

static void sealed_log_release(SealedLog *l) {
  free(l->store.bytes);
  free(l->log.bytes);
  simdisk_destroy(l->disk);
}

/* What anybody can do: the chain of checksums made anew. */
static void chain_anew(SealedLog *l) {
  uint64_t before = l->log_id;
  for (int i = 0; i < RECORDS; i++) {
    uint8_t *record = l->log.bytes + l->at[i];
    if (!load_u32(record)) return;
    store_u64(record + 40, before);
    before = record_checksum(record, load_u32(record), (RecordKind)record[4], l->log_id);
    store_u64(record + 48, before);
  }
}

/* How many of the keys are there, or minus the code. */
static int open_log(SealedLog *l) {
  put_back(l->disk, path, &l->store);
  put_back(l->disk, log_path, &l->log);
  Session *session = NULL;
  StoreOptions options = options_on(l->disk);
  Status status = session_open(path, &options, &session);
  if (status != KVSTORE_OK) return -status;
  uint64_t count = 0;
  CHECK_OK(kv_count(session, 1, &count));
  abandon(l->disk, session);
  return (int)count;
}

TEST(engine_sealed, a_sealed_log_is_replayed) {
  SealedLog l = sealed_log();
  CHECK_INT(open_log(&l), RECORDS);
  chain_anew(&l);
  CHECK_INT(open_log(&l), RECORDS);
  sealed_log_release(&l);
}

TEST(engine_sealed, records_that_changed_places_are_refused) {
  SealedLog l = sealed_log();
  swap_bytes(l.log.bytes + l.at[2] + 56, l.log.bytes + l.at[3] + 56, l.length - 56);
  chain_anew(&l);
  CHECK_INT(open_log(&l), -KVSTORE_CORRUPT);
  sealed_log_release(&l);
}

TEST(engine_sealed, a_record_that_is_replayed_later_is_refused) {
  SealedLog l = sealed_log();
  memcpy(l.log.bytes + l.at[4] + 56, l.log.bytes + l.at[1] + 56, l.length - 56);
  chain_anew(&l);
  CHECK_INT(open_log(&l), -KVSTORE_CORRUPT);
  sealed_log_release(&l);
}

TEST(engine_sealed, a_record_that_was_left_out_is_missed) {
  SealedLog l = sealed_log();
  for (int i = 2; i + 1 < RECORDS; i++) {
    uint8_t *to = l.log.bytes + l.at[i], *from = l.log.bytes + l.at[i + 1];
    memcpy(to + 56, from + 56, l.length - 56);
  }
  memset(l.log.bytes + l.at[RECORDS - 1], 0, l.length);
  chain_anew(&l);
  CHECK_INT(open_log(&l), -KVSTORE_CORRUPT);
  sealed_log_release(&l);
}

TEST(engine_sealed, a_record_that_nobody_sealed_is_refused) {
  SealedLog l = sealed_log();
  uint8_t *bytes = l.log.bytes + l.at[RECORDS - 1];
  RecordHeader header;
  CHECK(record_header_read(bytes, &header));
  Buffer forged = { 0 };
  record_begin(&forged, false);
  record_append_put(&forged, 1, EXPIRY_NEVER, text("forged"), text("value"));
  record_pad(&forged);
  CHECK_OK(buffer_status(&forged));
  header.flags = 0;
  header.length = (uint32_t)forged.length;
  header.padding = forged.data[6];
  memcpy(bytes, forged.data, forged.length);
  record_header_write(&header, bytes);
  chain_anew(&l);
  CHECK_INT(open_log(&l), -KVSTORE_CORRUPT);
  buffer_release(&forged);
  sealed_log_release(&l);
}

TEST(engine_sealed, every_flipped_bit_of_a_seal_and_its_content_is_refused_though_the_chain_is_right) {
  SealedLog l = sealed_log();
  uint64_t step = test_scale() >= 1 ? 1 : 17;
  for (uint64_t bit = 56 * 8; bit < (uint64_t)l.length * 8; bit += step) {
    l.log.bytes[l.at[2] + bit / 8] ^= (uint8_t)(1u << bit % 8);
    chain_anew(&l);
    CHECK_INT(open_log(&l), -KVSTORE_CORRUPT);
    l.log.bytes[l.at[2] + bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
  chain_anew(&l);
  CHECK_INT(open_log(&l), RECORDS);
  sealed_log_release(&l);
}

/* ---- every call that fails ---- */

typedef Status (*Change)(SimDisk *disk, Os *os);

static Status open_sealed(Os *os, const char *password, Session **session) {
  StoreOptions options = { .os = os,
                           .journal_mode = JOURNAL_WAL,
                           .no_background = true,
                           .log_bytes = 64 << 10,
                           .password = password ? text(password) : (Bytes){ 0 },
                           .key_cost = { 1, KEY_MEMORY_MIN } };
  return session_open(path, &options, session);
}

static Status seal_in_place(SimDisk *disk, Os *os) {
  Session *session = NULL;
  (void)disk;
  TRY(open_sealed(os, "new", &session));
  return session_close(session);
}

static Status unseal(SimDisk *disk, Os *os) {
  Session *session = NULL;
  (void)disk;
  TRY(open_sealed(os, "old", &session));
  Status status = session_remove_encryption(session), closed = session_close(session);
  return status == KVSTORE_OK ? closed : status;
}

static Status rekey(SimDisk *disk, Os *os) {
  Session *session = NULL;
  (void)disk;
  TRY(open_sealed(os, "old", &session));
  Status status = session_reencrypt(session, text("new")), closed = session_close(session);
  return status == KVSTORE_OK ? closed : status;
}

/* The store holds its key, by one of the passwords. */
static void check_by_any(Os *os) {
  static const char *const passwords[] = { NULL, "old", "new" };
  Session *session = NULL;
  Status status = KVSTORE_AUTH_FAILED;
  for (int i = 0; i < 3 && status == KVSTORE_AUTH_FAILED; i++) status = open_sealed(os, passwords[i], &session);
  CHECK_OK(status);
  KvValue value = { 0 };
  CHECK_OK(kv_get(session, 1, text("key"), &value));
  memory_release(value.data);
  CHECK_OK(session_check(session, NULL));
  CHECK_OK(session_close(session));
}

static void fail_each_call(const char *password, Change change, FaultHow how) {
  uint64_t n = 1;
  for (;; n++) {
    SimDisk *disk = new_disk();
    FaultOs *fault = NULL;
    Session *session = NULL;
    CHECK_OK(fault_os_create(simdisk_os(disk), &fault));
    CHECK_OK(open_sealed(simdisk_os(disk), password, &session));
    CHECK_OK(kv_put(session, 1, text("key"), text("value"), EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
    CHECK_OK(session_close(session));
    fault_os_arm(fault, FAULT_ANY, n, how, false);
    Status status = change(disk, fault_os(fault));
    bool failed = fault_os_failures(fault) > 0;
    fault_os_disarm(fault);
    if (!failed) CHECK_OK(status);
    check_by_any(simdisk_os(disk));
    fault_os_destroy(fault);
    simdisk_destroy(disk);
    if (!failed) break;
    CHECK(n < 2000);
  }
  CHECK(n > 20);
}

TEST(engine_sealed, sealing_in_place_survives_each_failed_call) {
  fail_each_call(NULL, seal_in_place, FAULT_ERROR);
  fail_each_call(NULL, seal_in_place, FAULT_NO_SPACE);
}
TEST(engine_sealed, unsealing_survives_each_failed_call) {
  fail_each_call("old", unseal, FAULT_ERROR);
  fail_each_call("old", unseal, FAULT_NO_SPACE);
}
TEST(engine_sealed, another_password_survives_each_failed_call) { fail_each_call("old", rekey, FAULT_SHORT); }

/* ---- every moment of a power cut ---- */

/* The power goes at each call of a change in turn, with several outcomes each; the password that opens is the old or
 * the new, and once the change has returned, only the new. */
static void cut_each_call(const char *before, const char *after, Change change) {
  static const char *const passwords[] = { NULL, "old", "new" };
  uint64_t outcomes = test_scaled(40), olds = 0, news = 0;
  if (outcomes < 4) outcomes = 4;
  for (uint64_t call = 1;; call++) {
    bool done = false;
    for (uint64_t seed = 1; seed <= outcomes; seed++) {
      SimDisk *disk = new_disk();
      Session *session = NULL;
      CHECK_OK(open_sealed(simdisk_os(disk), before, &session));
      CHECK_OK(kv_put(session, 1, text("key"), text("value"), EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
      CHECK_OK(session_close(session));
      simdisk_crash_at(disk, simdisk_calls(disk) + call);
      Status status = change(disk, simdisk_os(disk));
      bool cut = simdisk_power_is_off(disk);
      CHECK(cut || status == KVSTORE_OK);
      CHECK_OK(simdisk_crash(disk, call * 1000 + seed));
      simdisk_crash_at(disk, 0);
      Session *found = NULL;
      const char *by = NULL;
      Status opened = KVSTORE_AUTH_FAILED;
      for (int i = 0; i < 3 && opened == KVSTORE_AUTH_FAILED; i++) {
        by = passwords[i];
        opened = open_sealed(simdisk_os(disk), by, &found);
      }
      CHECK_OK(opened);
      bool is_new = by == after || (by && after && strcmp(by, after) == 0);
      bool is_old = by == before || (by && before && strcmp(by, before) == 0);
      CHECK(is_new || (is_old && cut));
      olds += is_old;
      news += is_new;
      KvValue value = { 0 };
      CHECK_OK(kv_get(found, 1, text("key"), &value));
      memory_release(value.data);
      CHECK_OK(session_check(found, NULL));
      CHECK_OK(session_close(found));
      simdisk_destroy(disk);
      done = !cut;
    }
    if (done) break;
    CHECK(call < 500);
  }
  CHECK(olds > 0 && news > 0);
}

TEST(engine_sealed, a_power_cut_at_any_call_of_sealing_in_place_leaves_before_or_after) {
  cut_each_call(NULL, "new", seal_in_place);
}
TEST(engine_sealed, a_power_cut_at_any_call_of_unsealing_leaves_before_or_after) { cut_each_call("old", NULL, unseal); }

static SimDisk *disk_of_hook;

static void put_other_store_in_its_place(Counter which, uint64_t hits) {
  if (which != COUNTER_crash_rewrite_before_rename || hits != 1) return;
  CHECK_OK(os_rename(simdisk_os(disk_of_hook), "/disk/other", path));
}

static void make_plain_store(SimDisk *disk, const char *name, const char *key) {
  Session *session = NULL;
  StoreOptions options = options_on(disk);
  options.password = (Bytes){ 0 };
  CHECK_OK(session_open(name, &options, &session));
  CHECK_OK(kv_put(session, 1, text(key), text("value"), EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
  CHECK_OK(session_close(session));
}

TEST(engine_sealed, a_store_renamed_over_one_that_is_being_sealed_is_what_is_sealed_and_opened) {
  SimDisk *disk = new_disk();
  KvValue value = { 0 };
  make_plain_store(disk, path, "ours");
  make_plain_store(disk, "/disk/other", "theirs");
  disk_of_hook = disk;
  counter_reset(COUNTER_crash_rewrite_before_rename);
  counter_hook_set(put_other_store_in_its_place);
  Session *session = open_on(disk);
  counter_hook_set(NULL);
  CHECK_INT(counter_get(COUNTER_crash_rewrite_before_rename), 2);
  CHECK_OK(kv_get(session, 1, text("theirs"), &value));
  memory_release(value.data);
  CHECK_STATUS(kv_get(session, 1, text("ours"), &value), KVSTORE_NOTFOUND);
  CHECK_OK(session_close(session));
  simdisk_destroy(disk);
}

TEST(engine_sealed, a_power_cut_at_any_call_of_a_new_password_leaves_before_or_after) {
  cut_each_call("old", "new", rekey);
}
