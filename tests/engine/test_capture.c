/* Captured changes are those of the transactions that survived, wherever the power goes; and bytes that no writer made
 * are refused. */
#include "base/counters.h"
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "engine/kv_load.h"
#include "tests/support/simdisk.h"
#include "tests/support/test.h"

enum { KEYS = 40, KEEP_MS = 3600000 };

static StoreOptions options_on(Os *os) {
  return (StoreOptions){
    .os = os, .journal_mode = JOURNAL_WAL, .sync_level = SYNC_FULL, .log_bytes = 64 << 10, .no_background = true
  };
}

static Bytes key_of(uint32_t number, char key[16]) {
  int length = snprintf(key, 16, "key%02u", number);
  return (Bytes){ (const uint8_t *)key, (size_t)length };
}

static Status put(Session *s, uint32_t family, uint32_t number, uint8_t round) {
  char key[16];
  return kv_put(s, family, key_of(number, key), (Bytes){ &round, 1 }, EXPIRY_NEVER, KV_PUT_ALWAYS, NULL);
}

static Status load(Session *s, uint32_t family, uint8_t round) {
  KvLoader *loader;
  uint8_t *value = memory_allocate_zeroed(20000); /* so much that it becomes a run */
  char key[16];
  TRY(kv_loader_create(s, family, &(KvLoadOptions){ .memory_bytes = 1 }, &loader));
  Status status = KVSTORE_OK;
  value[0] = round;
  for (uint32_t i = 0; i < 8 && status == KVSTORE_OK; i++)
    status = kv_loader_add(loader, key_of(i * 5, key), (Bytes){ value, 20000 }, EXPIRY_NEVER);
  if (status == KVSTORE_OK) status = kv_loader_commit(loader, NULL);
  kv_loader_destroy(loader);
  memory_release(value);
  return status;
}

/* What becomes of a family in its life; whatever fails ends it. */
static Status live(Session *s, uint32_t family) {
  FamilyOptions longer = { .changes_ms = 2 * (int64_t)KEEP_MS };
  char key[16];
  for (uint32_t i = 0; i < KEYS; i += 3) TRY(put(s, family, i, 1));
  TRY(session_begin(s, true));
  for (uint32_t i = 0; i < KEYS; i += 2) TRY(put(s, family, i, 2));
  TRY(kv_delete(s, family, key_of(4, key)));
  TRY(session_commit(s));
  TRY(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  TRY(load(s, family, 3));
  TRY(family_set_options(s, family, &longer));
  TRY(put(s, family, 1, 4));
  TRY(family_clear(s, family));
  TRY(put(s, family, 7, 5));
  return session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL);
}

static void apply(const CapturedChange *change, uint8_t copy[KEYS]) {
  if (change->kind == CHANGE_CLEAR) {
    memset(copy, 0, KEYS);
    return;
  }
  unsigned number = (unsigned)(change->key.data[3] - '0') * 10 + (unsigned)(change->key.data[4] - '0');
  CHECK(change->key.length == 5 && number < KEYS);
  copy[number] = change->kind == CHANGE_PUT ? change->value.data[0] : 0;
}

/* The family's changes, from the first one on, make what it holds. */
static void check_changes(Session *s, uint32_t family) {
  uint8_t copy[KEYS] = { 0 };
  uint64_t oldest, newest;
  Buffer bytes = { 0 };
  CapturedChange change = { 0 };
  CHECK_OK(capture_ends(s, family, &oldest, &newest));
  CHECK_OK(capture_read(s, family, oldest, SIZE_MAX, &bytes));
  Reader in = bytes.length ? reader_over(bytes.data, bytes.length) : (Reader){ 0 };
  for (uint64_t last = oldest; capture_next(&in, &change); last = change.sequence) {
    CHECK(change.sequence > last && change.sequence <= newest);
    apply(&change, copy);
  }
  CHECK_INT(reader_left(&in), 0);
  for (uint32_t i = 0; i < KEYS; i++) {
    char key[16];
    KvValue value = { NULL, 0, 0 };
    CHECK_STATUS(kv_get(s, family, key_of(i, key), &value), copy[i] ? KVSTORE_OK : KVSTORE_NOTFOUND);
    if (copy[i]) CHECK_INT(((const uint8_t *)value.data)[0], copy[i]);
    memory_release(value.data);
  }
  buffer_release(&bytes);
}

/* False when the power outlasted the work. */
static bool cut_at(uint64_t call) {
  SimDisk *disk;
  Session *s;
  uint32_t family = 0;
  FamilyOptions capturing = { .changes_ms = KEEP_MS };
  CHECK_OK(simdisk_create(call, &disk));
  StoreOptions options = options_on(simdisk_os(disk));
  CHECK_OK(session_open("/disk/store", &options, &s));
  CHECK_OK(family_create_with(s, "followed", FAMILY_KV, NULL, &capturing, &family));
  simdisk_crash_at(disk, simdisk_calls(disk) + call);
  Status status = live(s, family);
  bool cut = simdisk_power_is_off(disk);
  CHECK(cut || status == KVSTORE_OK);
  if (!cut) check_changes(s, family);
  (void)session_close(s);
  CHECK_OK(simdisk_crash(disk, call * 31 + 7));
  simdisk_crash_at(disk, 0);
  CHECK_OK(session_open("/disk/store", &options, &s));
  check_changes(s, family);
  CHECK_OK(put(s, family, 9, 6));
  check_changes(s, family);
  CHECK_OK(session_check(s, NULL));
  StoreInfo info;
  CHECK_OK(session_info(s, &info));
  CHECK_INT(info.family_count, 2); /* the default one and the one that is followed: what is hidden is not counted */
  CHECK_OK(session_close(s));
  simdisk_destroy(disk);
  return cut;
}

TEST(engine_capture, changes_are_those_of_what_survives_a_cut_at_any_call) {
  uint64_t call = 1, adopted = counter_get(COUNTER_adopted_runs), step = test_scaled(10) == 10 ? 1 : 7;
  while (cut_at(call)) call += step;
  CHECK(call > 60);
  CHECK(counter_get(COUNTER_adopted_runs) > adopted);
}

/* ---- bytes ---- */

/* The hidden family of a family, by its own door: what lies in it is made to be what no writer wrote. */
static Status read_with(Bytes row_key, Bytes row) {
  SimDisk *disk;
  Session *s;
  uint32_t family = 0;
  uint64_t oldest, newest;
  FamilyOptions capturing = { .changes_ms = KEEP_MS }, settled;
  Buffer bytes = { 0 };
  CHECK_OK(simdisk_create(1, &disk));
  StoreOptions options = options_on(simdisk_os(disk));
  CHECK_OK(session_open("/disk/store", &options, &s));
  CHECK_OK(family_create_with(s, "followed", FAMILY_KV, NULL, &capturing, &family));
  CHECK_OK(capture_ends(s, family, &oldest, &newest));
  CHECK_OK(family_get_options(s, family, &settled));
  CHECK_OK(kv_put(s, settled.changes_family, row_key, row, EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
  Status status = capture_read(s, family, oldest, SIZE_MAX, &bytes);
  buffer_release(&bytes);
  CHECK_OK(session_close(s));
  simdisk_destroy(disk);
  return status;
}

TEST(engine_capture, rows_that_are_no_changes_are_refused) {
  const uint8_t key[] = { 0, 0, 0, 0, 0, 1, 0, 0 }, floor[8] = { 0 }, short_key[] = { 1 };
  uint8_t row[32] = { CHANGE_PUT };
  row[25] = 3; /* bytes of the key */
  CHECK_OK(read_with((Bytes){ key, 8 }, (Bytes){ row, 29 }));
  CHECK_OK(read_with((Bytes){ key, 8 }, (Bytes){ row, 32 }));
  for (size_t length = 0; length < 29; length++)
    CHECK_STATUS(read_with((Bytes){ key, 8 }, (Bytes){ row, length }), KVSTORE_CORRUPT);
  CHECK_STATUS(read_with((Bytes){ short_key, 1 }, (Bytes){ row, 29 }), KVSTORE_CORRUPT);
  row[0] = CHANGE_CLEAR + 1;
  CHECK_STATUS(read_with((Bytes){ key, 8 }, (Bytes){ row, 29 }), KVSTORE_CORRUPT);
  row[0] = 0;
  CHECK_STATUS(read_with((Bytes){ key, 8 }, (Bytes){ row, 29 }), KVSTORE_CORRUPT);
  CHECK_STATUS(read_with((Bytes){ floor, 8 }, (Bytes){ row, 7 }), KVSTORE_CORRUPT);
}
