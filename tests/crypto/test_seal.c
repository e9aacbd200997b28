/* Units, tables, records and superblocks: what was sealed for one place is refused at every other. */
#include "crypto/seal.h"

#include "base/limits.h"
#include "tests/crypto/crypto_fixture.h"
#include "tests/support/fault_os.h"

static StoreKey *make_key(void) {
  uint8_t sealing[SEALING_BYTES];
  return new_key(sealing);
}

static void fill(uint8_t *bytes, size_t length) {
  for (size_t i = 0; i < length; i++) bytes[i] = (uint8_t)(i * 31 + 7);
}

/* ---- units ---- */

static const UnitPlace place = { 12, 100000 };

static Status unseal_at(StoreKey *key, UnitPlace where, uint64_t unit, uint8_t *bytes, size_t length,
                        const uint8_t *seal) {
  UnitCipher cipher = unit_cipher_begin(key, where);
  Status status = unit_unseal(&cipher, unit, bytes, length, seal);
  unit_cipher_end(&cipher);
  return status;
}

static void seal_at(StoreKey *key, uint64_t unit, const uint8_t *plain, size_t length, uint8_t *sealed, uint8_t *seal) {
  UnitCipher cipher = unit_cipher_begin(key, place);
  CHECK_OK(unit_seal(&cipher, unit, plain, length, sealed, seal));
  unit_cipher_end(&cipher);
}

TEST(seal, a_unit_comes_back_and_shows_nothing_meanwhile) {
  static const size_t lengths[] = { 1, 16, 63, 64, 1000, UNIT_BYTES };
  uint8_t plain[UNIT_BYTES], sealed[UNIT_BYTES], seal[SEAL_BYTES];
  StoreKey *key = make_key();
  fill(plain, sizeof plain);
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    seal_at(key, 3, plain, lengths[i], sealed, seal);
    if (lengths[i] >= 16) CHECK(memcmp(plain, sealed, lengths[i]) != 0);
    CHECK_OK(unseal_at(key, place, 3, sealed, lengths[i], seal));
    CHECK_BYTES(sealed, plain, lengths[i]);
  }
  store_key_release(key);
}

TEST(seal, a_unit_may_be_sealed_in_place) {
  uint8_t plain[300], bytes[300], seal[SEAL_BYTES];
  StoreKey *key = make_key();
  fill(plain, sizeof plain);
  memcpy(bytes, plain, sizeof plain);
  seal_at(key, 0, bytes, sizeof bytes, bytes, seal);
  CHECK(memcmp(bytes, plain, sizeof plain) != 0);
  CHECK_OK(unseal_at(key, place, 0, bytes, sizeof bytes, seal));
  CHECK_BYTES(bytes, plain, sizeof plain);
  store_key_release(key);
}

TEST(seal, a_unit_is_refused_at_every_place_but_its_own) {
  uint8_t plain[500], sealed[500], bytes[500], seal[SEAL_BYTES];
  StoreKey *key = make_key(), *other = make_key();
  fill(plain, sizeof plain);
  seal_at(key, 3, plain, sizeof plain, sealed, seal);
  const struct {
    StoreKey *key;
    UnitPlace place;
    uint64_t unit;
    size_t length;
  } wrong[] = {
    { key, place, 2, 500 },   { key, { 13, 100000 }, 3, 500 }, { key, { 12, 100001 }, 3, 500 },
    { other, place, 3, 500 }, { key, place, 3, 499 },
  };
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    memcpy(bytes, sealed, sizeof bytes);
    CHECK_STATUS(unseal_at(wrong[i].key, wrong[i].place, wrong[i].unit, bytes, wrong[i].length, seal), KVSTORE_CORRUPT);
  }
  store_key_release(key);
  store_key_release(other);
}

TEST(seal, every_flipped_bit_of_a_unit_and_its_seal_is_refused) {
  uint8_t plain[40], sealed[40], bytes[40], seal[SEAL_BYTES];
  StoreKey *key = make_key();
  fill(plain, sizeof plain);
  seal_at(key, 1, plain, sizeof plain, sealed, seal);
  for (size_t bit = 0; bit < (sizeof sealed + sizeof seal) * 8; bit++) {
    size_t at = bit / 8;
    uint8_t mask = (uint8_t)(1u << bit % 8), other_seal[SEAL_BYTES];
    memcpy(bytes, sealed, sizeof bytes);
    memcpy(other_seal, seal, sizeof other_seal);
    if (at < sizeof sealed)
      bytes[at] ^= mask;
    else
      other_seal[at - sizeof sealed] ^= mask;
    CHECK_STATUS(unseal_at(key, place, 1, bytes, sizeof bytes, other_seal), KVSTORE_CORRUPT);
  }
  store_key_release(key);
}

TEST(seal, no_nonce_is_given_twice) {
  enum { TIMES = 1000 };
  static uint8_t seals[TIMES][SEAL_BYTES];
  uint8_t plain[8] = { 0 }, sealed[8];
  StoreKey *key = make_key();
  for (size_t i = 0; i < TIMES; i++) seal_at(key, 0, plain, sizeof plain, sealed, seals[i]);
  for (size_t i = 0; i < TIMES; i++)
    for (size_t j = 0; j < i; j++) CHECK(memcmp(seals[i], seals[j], SEAL_NONCE_BYTES) != 0);
  store_key_release(key);
}

TEST(seal, a_table_has_another_code_for_each_extent_content_and_key) {
  uint8_t table[SEAL_BYTES * 3];
  StoreKey *key = make_key(), *other = make_key();
  fill(table, sizeof table);
  uint64_t mac = unit_table_mac(key, place, table, sizeof table);
  CHECK(mac == unit_table_mac(key, place, table, sizeof table));
  CHECK(mac != unit_table_mac(other, place, table, sizeof table));
  CHECK(mac != unit_table_mac(key, (UnitPlace){ 13, 100000 }, table, sizeof table));
  CHECK(mac != unit_table_mac(key, place, table, sizeof table - SEAL_BYTES));
  for (size_t bit = 0; bit < sizeof table * 8; bit++) {
    table[bit / 8] ^= (uint8_t)(1u << bit % 8);
    CHECK(mac != unit_table_mac(key, place, table, sizeof table));
    table[bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
  store_key_release(key);
  store_key_release(other);
}

/* ---- records ---- */

enum { RECORD_LENGTH = 160, BODY = RECORD_LENGTH - RECORD_SEALED_OFFSET };

static void make_record(uint8_t record[RECORD_LENGTH]) {
  memset(record, 0, RECORD_LENGTH);
  fill(record, RECORD_BOUND_BYTES);
  fill(record + RECORD_SEALED_OFFSET, BODY);
}

TEST(seal, a_record_comes_back_and_shows_nothing_meanwhile) {
  uint8_t plain[RECORD_LENGTH], record[RECORD_LENGTH], back[BODY];
  StoreKey *key = make_key();
  store_key_use_log(key, 77);
  make_record(plain);
  make_record(record);
  CHECK_OK(seal_record(key, record, sizeof record));
  CHECK_BYTES(record, plain, RECORD_BOUND_BYTES);
  CHECK(memcmp(record + RECORD_SEALED_OFFSET, plain + RECORD_SEALED_OFFSET, BODY) != 0);
  CHECK_OK(unseal_record(key, (Bytes){ record, sizeof record }, back));
  CHECK_BYTES(back, plain + RECORD_SEALED_OFFSET, BODY);
  store_key_release(key);
}

TEST(seal, a_record_without_operations_is_bound_too) {
  uint8_t record[RECORD_SEALED_OFFSET] = { 2 }, nothing;
  StoreKey *key = make_key();
  store_key_use_log(key, 77);
  CHECK_OK(seal_record(key, record, sizeof record));
  CHECK_OK(unseal_record(key, (Bytes){ record, sizeof record }, &nothing));
  record[8] ^= 1;
  CHECK_STATUS(unseal_record(key, (Bytes){ record, sizeof record }, &nothing), KVSTORE_CORRUPT);
  store_key_release(key);
}

/* Its own checksum is not bound: it covers the seal. */
TEST(seal, every_flipped_bit_of_a_record_but_its_checksum_is_refused) {
  uint8_t record[RECORD_LENGTH], back[BODY];
  StoreKey *key = make_key();
  store_key_use_log(key, 77);
  make_record(record);
  CHECK_OK(seal_record(key, record, sizeof record));
  for (size_t bit = 0; bit < sizeof record * 8; bit++) {
    if (bit / 8 >= RECORD_BOUND_BYTES && bit / 8 < RECORD_SEAL_OFFSET) continue;
    record[bit / 8] ^= (uint8_t)(1u << bit % 8);
    CHECK_STATUS(unseal_record(key, (Bytes){ record, sizeof record }, back), KVSTORE_CORRUPT);
    record[bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
  store_key_release(key);
}

TEST(seal, a_record_of_another_log_is_refused) {
  uint8_t record[RECORD_LENGTH], back[BODY];
  StoreKey *key = make_key();
  store_key_use_log(key, 77);
  make_record(record);
  CHECK_OK(seal_record(key, record, sizeof record));
  store_key_use_log(key, 78);
  CHECK_STATUS(unseal_record(key, (Bytes){ record, sizeof record }, back), KVSTORE_CORRUPT);
  store_key_release(key);
}

/* ---- superblocks ---- */

TEST(seal, a_superblock_has_another_code_for_each_page_content_and_key) {
  uint8_t bytes[224], mac[SUPERBLOCK_MAC_BYTES], other_mac[SUPERBLOCK_MAC_BYTES];
  StoreKey *key = make_key(), *other = make_key();
  fill(bytes, sizeof bytes);
  superblock_mac(key, 0, bytes, sizeof bytes, mac);
  superblock_mac(key, 0, bytes, sizeof bytes, other_mac);
  CHECK_OK(superblock_mac_check(mac, other_mac));
  superblock_mac(key, 1, bytes, sizeof bytes, other_mac);
  CHECK_STATUS(superblock_mac_check(mac, other_mac), KVSTORE_CORRUPT);
  superblock_mac(other, 0, bytes, sizeof bytes, other_mac);
  CHECK_STATUS(superblock_mac_check(mac, other_mac), KVSTORE_CORRUPT);
  bytes[64] ^= 1;
  superblock_mac(key, 0, bytes, sizeof bytes, other_mac);
  CHECK_STATUS(superblock_mac_check(mac, other_mac), KVSTORE_CORRUPT);
  store_key_release(key);
  store_key_release(other);
}

TEST(seal, without_random_bytes_nothing_is_sealed) {
  uint8_t sealing[SEALING_BYTES], plain[16] = { 0 }, sealed[16], seal[SEAL_BYTES];
  FaultOs *fault = NULL;
  StoreKey *key = NULL;
  CHECK_OK(fault_os_create(os_posix(), &fault));
  CHECK_OK(sealing_create(fault_os(fault), test_store_id, text_bytes("password"), cheapest, sealing, &key));
  fault_os_arm(fault, FAULT_RANDOM, 1, FAULT_ERROR, true);
  UnitCipher cipher = unit_cipher_begin(key, place);
  CHECK_STATUS(unit_seal(&cipher, 0, plain, sizeof plain, sealed, seal), KVSTORE_IO);
  unit_cipher_end(&cipher);
  store_key_release(key);
  fault_os_destroy(fault);
}
