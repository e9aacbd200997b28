/* From a password to a key, and what a file may ask for. */
#include <stdlib.h>

#include "base/counters.h"
#include "base/memory.h"
#include "crypto/store_key.h"
#include "tests/crypto/crypto_fixture.h"
#include "tests/support/failing_memory.h"
#include "tests/support/fault_os.h"

static Status open_with(const char *password, const uint8_t *sealing, StoreKey **key) {
  return sealing_open(os_posix(), test_store_id, text_bytes(password), sealing, key);
}

TEST(sealing, the_password_opens_what_it_sealed) {
  uint8_t sealing[SEALING_BYTES];
  StoreKey *key = new_key(sealing), *again = NULL;
  CHECK_OK(open_with("password", sealing, &again));
  CHECK(store_key_equal(key, again));
  store_key_release(key);
  store_key_release(again);
}

TEST(sealing, another_password_does_not) {
  static const char *const wrong[] = { "Password", "passwor", "password ", "" };
  uint8_t sealing[SEALING_BYTES];
  StoreKey *key = new_key(sealing), *none = key;
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    CHECK_STATUS(open_with(wrong[i], sealing, &none), KVSTORE_AUTH_FAILED);
    CHECK(none == NULL);
  }
  store_key_release(key);
}

TEST(sealing, a_password_may_hold_any_bytes_and_length) {
  uint8_t sealing[SEALING_BYTES], password[5000];
  StoreKey *key = NULL, *again = NULL;
  for (size_t i = 0; i < sizeof password; i++) password[i] = (uint8_t)(i * 7);
  Bytes whole = { password, sizeof password }, short_by_one = { password, sizeof password - 1 };
  CHECK_OK(sealing_create(os_posix(), test_store_id, whole, cheapest, sealing, &key));
  CHECK_OK(sealing_open(os_posix(), test_store_id, whole, sealing, &again));
  CHECK(store_key_equal(key, again));
  store_key_release(again);
  CHECK_STATUS(sealing_open(os_posix(), test_store_id, short_by_one, sealing, &again), KVSTORE_AUTH_FAILED);
  store_key_release(key);
}

TEST(sealing, two_stores_with_one_password_have_different_keys_and_salts) {
  uint8_t a[SEALING_BYTES], b[SEALING_BYTES];
  StoreKey *first = new_key(a), *second = new_key(b);
  CHECK(!store_key_equal(first, second));
  CHECK(memcmp(a + 16, b + 16, 16) != 0);
  store_key_release(first);
  store_key_release(second);
}

TEST(sealing, sealing_bytes_belong_to_one_store) {
  uint8_t sealing[SEALING_BYTES], other[STORE_ID_BYTES];
  StoreKey *key = new_key(sealing), *none = NULL;
  memcpy(other, test_store_id, sizeof other);
  other[3] ^= 1;
  CHECK_STATUS(sealing_open(os_posix(), other, text_bytes("password"), sealing, &none), KVSTORE_AUTH_FAILED);
  store_key_release(key);
}

TEST(sealing, a_new_password_wraps_the_same_key_and_ends_the_old_one) {
  uint8_t sealing[SEALING_BYTES];
  StoreKey *key = new_key(sealing), *again = NULL;
  CHECK_OK(sealing_rewrap(key, text_bytes("another"), cheapest, sealing));
  CHECK_STATUS(open_with("password", sealing, &again), KVSTORE_AUTH_FAILED);
  CHECK_OK(open_with("another", sealing, &again));
  CHECK(store_key_equal(key, again));
  store_key_release(key);
  store_key_release(again);
}

/* The cost is left as it is: a flip there may ask for seconds. */
TEST(sealing, every_flipped_bit_is_refused) {
  uint8_t sealing[SEALING_BYTES];
  StoreKey *key = new_key(sealing), *none = NULL;
  for (size_t bit = 0; bit < sizeof sealing * 8; bit++) {
    if (bit / 8 >= 4 && bit / 8 < 16) continue;
    sealing[bit / 8] ^= (uint8_t)(1u << bit % 8);
    Status expected = bit / 8 < 4 ? KVSTORE_UNSUPPORTED : KVSTORE_AUTH_FAILED;
    CHECK_STATUS(open_with("password", sealing, &none), expected);
    sealing[bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
  store_key_release(key);
}

TEST(sealing, a_changed_cost_within_the_limits_is_refused) {
  uint8_t sealing[SEALING_BYTES];
  StoreKey *key = new_key(sealing), *none = NULL;
  store_u32(sealing + 4, 2);
  CHECK_STATUS(open_with("password", sealing, &none), KVSTORE_AUTH_FAILED);
  store_u32(sealing + 4, 1);
  store_u64(sealing + 8, KEY_MEMORY_MIN + 1); /* Argon2id rounds down to the same memory: the binding tells */
  CHECK_STATUS(open_with("password", sealing, &none), KVSTORE_AUTH_FAILED);
  store_key_release(key);
}

TEST(sealing, a_cost_beyond_the_limits_is_damage_and_no_work) {
  static const struct {
    uint32_t passes;
    uint64_t memory;
  } hostile[] = {
    { 0, KEY_MEMORY_MIN },      { 1, 0 },          { 1, KEY_MEMORY_MIN - 1 },
    { 1, KEY_MEMORY_MAX + 1 },  { 1, UINT64_MAX }, { UINT32_MAX, KEY_MEMORY_MIN },
    { 5, KEY_MEMORY_MAX },      { 0, 0 },          { UINT32_MAX, UINT64_MAX },
    { 524289, KEY_MEMORY_MIN },
  };
  uint8_t sealing[SEALING_BYTES];
  StoreKey *key = new_key(sealing), *none = NULL;
  uint64_t before = counter_get(COUNTER_passwords_stretched);
  for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
    store_u32(sealing + 4, hostile[i].passes);
    store_u64(sealing + 8, hostile[i].memory);
    CHECK_STATUS(open_with("password", sealing, &none), KVSTORE_CORRUPT);
    CHECK(none == NULL);
  }
  CHECK_INT(counter_get(COUNTER_passwords_stretched), before);
  store_key_release(key);
}

TEST(sealing, a_cost_beyond_the_limits_cannot_be_asked_for) {
  uint8_t sealing[SEALING_BYTES];
  StoreKey *none = NULL;
  Bytes password = text_bytes("password");
  KeyCost little = { 1, 100 }, much = { 1, KEY_MEMORY_MAX * 2 }, long_time = { 10000000, KEY_MEMORY_MIN };
  CHECK_STATUS(sealing_create(os_posix(), test_store_id, password, little, sealing, &none), KVSTORE_ERROR);
  CHECK_STATUS(sealing_create(os_posix(), test_store_id, password, much, sealing, &none), KVSTORE_ERROR);
  CHECK_STATUS(sealing_create(os_posix(), test_store_id, password, long_time, sealing, &none), KVSTORE_ERROR);
  CHECK(none == NULL);
  CHECK_OK(key_cost_check((KeyCost){ 0 }));
}

TEST(sealing, an_empty_password_seals_nothing) {
  uint8_t sealing[SEALING_BYTES];
  StoreKey *none = NULL;
  CHECK_STATUS(sealing_create(os_posix(), test_store_id, text_bytes(""), cheapest, sealing, &none), KVSTORE_ERROR);
  CHECK(none == NULL);
}

TEST(sealing, the_defaults_are_three_passes_over_64_mib) {
  uint8_t sealing[SEALING_BYTES];
  StoreKey *key = NULL, *again = NULL;
  KeyCost zero = { 0 };
  CHECK_OK(sealing_create(os_posix(), test_store_id, text_bytes("password"), zero, sealing, &key));
  CHECK_INT(load_u32(sealing + 4), 3);
  CHECK_INT(load_u64(sealing + 8), 64 << 20);
  CHECK_OK(open_with("password", sealing, &again));
  CHECK(store_key_equal(key, again));
  store_key_release(key);
  store_key_release(again);
}

TEST(sealing, plain_bytes_are_not_sealed) {
  uint8_t sealing[SEALING_BYTES] = { 0 };
  CHECK(!sealing_is_sealed(sealing));
  sealing[SEALING_BYTES - 1] = 1;
  CHECK(sealing_is_sealed(sealing));
}

TEST(sealing, without_memory_there_is_no_key_and_nothing_is_left) {
  uint8_t sealing[SEALING_BYTES];
  StoreKey *key = new_key(sealing), *again = NULL;
  uint64_t held = memory_blocks_held();
  failing_memory_install(1, false);
  Status status = open_with("password", sealing, &again);
  failing_memory_remove();
  CHECK_STATUS(status, KVSTORE_NOMEM);
  CHECK(again == NULL);
  CHECK_INT(memory_blocks_held(), held);
  store_key_release(key);
}

TEST(sealing, without_random_bytes_nothing_is_sealed) {
  uint8_t sealing[SEALING_BYTES];
  FaultOs *fault = NULL;
  StoreKey *none = NULL;
  CHECK_OK(fault_os_create(os_posix(), &fault));
  for (uint64_t call = 1; call <= 2; call++) {
    fault_os_arm(fault, FAULT_RANDOM, call, FAULT_ERROR, false);
    CHECK_STATUS(sealing_create(fault_os(fault), test_store_id, text_bytes("password"), cheapest, sealing, &none),
                 KVSTORE_IO);
    CHECK(none == NULL);
  }
  fault_os_destroy(fault);
}

/* ---- wiping ---- */

/* A table that looks at each large block before it goes: nothing may be left but the address that an aligned block has
 * before it. */
static uint64_t dirty_bytes, large_blocks;

static void *plain_allocate(void *context, size_t size) {
  (void)context;
  size_t *block = malloc(size + 16);
  if (!block) return NULL;
  block[0] = size;
  return block + 2;
}
static void *plain_reallocate(void *context, void *pointer, size_t size) {
  void *grown = plain_allocate(context, size);
  if (grown && pointer) {
    size_t *block = (size_t *)pointer - 2;
    memcpy(grown, pointer, block[0] < size ? block[0] : size);
    free(block);
  }
  return grown;
}
static void look_and_release(void *context, void *pointer) {
  (void)context;
  if (!pointer) return;
  size_t *block = (size_t *)pointer - 2;
  if (block[0] > 4096) {
    large_blocks++;
    /* the page that was the key's: the one aligned to its size inside the block */
    const uint8_t *page = (const uint8_t *)(((uintptr_t)pointer + sizeof(void *) + 4095) & ~(uintptr_t)4095);
    for (size_t i = 0; i < 4096; i++) dirty_bytes += page[i] != 0;
  }
  free(block);
}

TEST(sealing, nothing_of_a_key_is_left_in_the_memory_that_it_gives_back) {
  static const MemoryTable table = { plain_allocate, plain_reallocate, look_and_release, NULL };
  uint8_t sealing[SEALING_BYTES];
  memory_table_set(&table);
  StoreKey *key = new_key(sealing), *again = NULL, *none = NULL;
  store_key_use_log(key, 5);
  Status opened = open_with("password", sealing, &again), refused = open_with("wrong", sealing, &none);
  store_key_release(key);
  store_key_release(again);
  memory_table_set(NULL);
  CHECK_OK(opened);
  CHECK_STATUS(refused, KVSTORE_AUTH_FAILED);
  CHECK_INT(large_blocks, 3);
  CHECK_INT(dirty_bytes, 0);
}
