/* Names and options of families change wholly or not at all, wherever the power goes; and bytes that no writer made of
 * them are refused. */
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "tests/support/simdisk.h"
#include "tests/support/test.h"

static StoreOptions options_on(Os *os) {
  return (StoreOptions){
    .os = os, .journal_mode = JOURNAL_WAL, .sync_level = SYNC_FULL, .log_bytes = 64 << 10, .no_background = true
  };
}

static Bytes text(const char *s) { return (Bytes){ (const uint8_t *)s, strlen(s) }; }

/* Two transactions on a family, and what makes them settle; whatever fails ends it. *done: how many have committed. */
static Status change_twice(Session *s, uint32_t family, int *done) {
  FamilyOptions first = { .default_ttl_ms = 1000000 }, second = { .default_ttl_ms = 2000000 };
  TRY(session_begin(s, true));
  TRY(family_rename(s, family, "one"));
  TRY(family_set_options(s, family, &first));
  TRY(kv_put(s, family, text("round"), text("1"), EXPIRY_DEFAULT, KV_PUT_ALWAYS, NULL));
  TRY(session_commit(s));
  *done = 1;
  TRY(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  TRY(session_begin(s, true));
  TRY(family_set_options(s, family, &second));
  TRY(kv_put(s, family, text("round"), text("2"), EXPIRY_DEFAULT, KV_PUT_ALWAYS, NULL));
  TRY(family_rename(s, family, "two"));
  TRY(session_commit(s));
  *done = 2;
  return session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL);
}

static const char *const names[] = { "zero", "one", "two" };

/* Which of the rounds the store is at; all that belongs to one must be there. */
static int round_of(Session *s, uint32_t family) {
  FamilyInfo info;
  FamilyOptions options;
  KvValue value = { NULL, 0, 0 };
  int round = 0;
  CHECK_OK(family_info(s, family, &info));
  while (round < 3 && strcmp(info.name, names[round]) != 0) round++;
  CHECK(round < 3);
  CHECK_OK(family_get_options(s, family, &options));
  CHECK_INT(options.default_ttl_ms, round * 1000000);
  CHECK_STATUS(kv_get(s, family, text("round"), &value), round ? KVSTORE_OK : KVSTORE_NOTFOUND);
  if (round) {
    CHECK_INT(((const char *)value.data)[0], '0' + round);
    CHECK_INT(value.expiry, session_now_ms(s) + round * 1000000); /* the disk's clock stands still */
  }
  memory_release(value.data);
  return round;
}

/* False when the power outlasted the work. */
static bool cut_at(uint64_t call) {
  SimDisk *disk;
  Session *s;
  uint32_t family = 0;
  int done = 0;
  CHECK_OK(simdisk_create(call, &disk));
  StoreOptions options = options_on(simdisk_os(disk));
  CHECK_OK(session_open("/disk/store", &options, &s));
  CHECK_OK(family_create(s, "zero", FAMILY_KV, NULL, &family));
  simdisk_crash_at(disk, simdisk_calls(disk) + call);
  Status status = change_twice(s, family, &done);
  bool cut = simdisk_power_is_off(disk);
  CHECK(cut || status == KVSTORE_OK);
  Status closed = session_close(s);
  CHECK(cut || closed == KVSTORE_OK || simdisk_power_is_off(disk));
  cut = simdisk_power_is_off(disk);
  CHECK_OK(simdisk_crash(disk, call * 31 + 7));
  simdisk_crash_at(disk, 0);
  CHECK_OK(session_open("/disk/store", &options, &s));
  int round = round_of(s, family);
  CHECK(round >= done && round <= done + 1);
  CHECK_OK(session_close(s));
  CHECK_OK(session_open("/disk/store", &options, &s));
  CHECK_INT(round_of(s, family), round);
  CHECK_OK(session_close(s));
  simdisk_destroy(disk);
  return cut;
}

TEST(family_traits, is_whole_or_not_at_all_after_a_cut_at_any_call) {
  uint64_t call = 1;
  while (cut_at(call)) call++;
  CHECK(call > 20);
}

TEST(family_traits, other_sessions_see_it) {
  SimDisk *disk;
  Session *s, *other;
  uint32_t family = 0;
  int done = 0;
  CHECK_OK(simdisk_create(1, &disk));
  StoreOptions options = options_on(simdisk_os(disk));
  CHECK_OK(session_open("/disk/store", &options, &s));
  CHECK_OK(session_clone(s, &other));
  CHECK_OK(family_create(s, "zero", FAMILY_KV, NULL, &family));
  CHECK_INT(round_of(other, family), 0);
  CHECK_OK(change_twice(s, family, &done));
  CHECK_INT(round_of(other, family), 2);
  CHECK_OK(session_close(other));
  CHECK_OK(session_close(s));
  simdisk_destroy(disk);
}

/* ---- bytes ---- */

TEST(family_traits, a_payload_cut_short_or_changed_is_refused_or_another_one) {
  Family kv = { .kind = FAMILY_KV, .id = 7 };
  FamilyOptions options = { .default_ttl_ms = 5000 };
  Buffer payload = { 0 };
  family_payload_write(&kv, "name", &options, &payload);
  CHECK_OK(buffer_status(&payload));
  for (size_t length = 0; length <= payload.length; length++) {
    Family *family = NULL;
    FamilyTraits *traits = NULL;
    uint8_t *exact = memory_copy(payload.data, length);
    Status status = family_payload_read(7, 1, (Bytes){ exact, length }, &family, &traits);
    CHECK_STATUS(status, length == payload.length ? KVSTORE_OK : KVSTORE_CORRUPT);
    if (status == KVSTORE_OK) {
      CHECK_STR(traits->name, "name");
      CHECK_INT(traits->options.default_ttl_ms, 5000);
      family_release(family);
      family_traits_release(traits);
    }
    memory_release(exact);
  }
  for (size_t i = 0; i < payload.length; i++) {
    for (unsigned byte = 0; byte < 256; byte++) {
      Family *family = NULL;
      FamilyTraits *traits = NULL;
      uint8_t before = payload.data[i];
      payload.data[i] = (uint8_t)byte;
      if (family_payload_read(7, 1, (Bytes){ payload.data, payload.length }, &family, &traits) == KVSTORE_OK) {
        CHECK(family_options_are_valid(&traits->options));
        family_release(family);
        family_traits_release(traits);
      }
      payload.data[i] = before;
    }
  }
  buffer_release(&payload);
}

static Status options_from(const void *bytes, size_t length) {
  FamilyOptions options;
  Reader in = reader_over(bytes, length);
  return family_options_decode(&in, &options) && !reader_left(&in) ? KVSTORE_OK : KVSTORE_CORRUPT;
}

TEST(family_traits, options_have_one_form) {
  enum { BYTES = 32 };
  uint8_t bytes[BYTES] = { 0 };
  CHECK_STATUS(options_from(bytes, BYTES), KVSTORE_CORRUPT); /* the defaults are not written */
  bytes[0] = 1;
  CHECK_OK(options_from(bytes, BYTES));
  CHECK_STATUS(options_from(bytes, BYTES - 1), KVSTORE_CORRUPT);
  bytes[0] = 0;
  bytes[7] = 0x80; /* before the beginning of time */
  CHECK_STATUS(options_from(bytes, BYTES), KVSTORE_CORRUPT);
  bytes[7] = 0x10;
  CHECK_OK(options_from(bytes, BYTES));
  bytes[0] = 1; /* one more than 2^60 */
  CHECK_STATUS(options_from(bytes, BYTES), KVSTORE_CORRUPT);
  memset(bytes, 0, sizeof bytes);
  bytes[8] = 3; /* the last compression that can be chosen */
  CHECK_OK(options_from(bytes, BYTES));
  bytes[8] = 4;
  CHECK_STATUS(options_from(bytes, BYTES), KVSTORE_CORRUPT);
  bytes[8] = 0;
  bytes[12] = 9; /* a family of changes that holds them for no time */
  CHECK_STATUS(options_from(bytes, BYTES), KVSTORE_CORRUPT);
  bytes[16] = 1;
  CHECK_OK(options_from(bytes, BYTES));
  bytes[12] = 0; /* a time without a family */
  CHECK_STATUS(options_from(bytes, BYTES), KVSTORE_CORRUPT);
  memset(bytes, 0, sizeof bytes);
  bytes[28] = 1; /* columns that are built and are nowhere */
  CHECK_STATUS(options_from(bytes, BYTES), KVSTORE_CORRUPT);
  bytes[24] = 9;
  CHECK_OK(options_from(bytes, BYTES));
  bytes[28] = 2;
  CHECK_STATUS(options_from(bytes, BYTES), KVSTORE_CORRUPT);
}
