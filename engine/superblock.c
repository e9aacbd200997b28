#include "engine/superblock.h"

#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "wal/wal.h"

static const char magic[8] = { 'C', 'o', 'l', 'o', 'n', 'n', 'a', 'd' };

enum { SEALING_OFFSET = 120, MAC_OFFSET = SEALING_OFFSET + SEALING_BYTES };

static void encode(const Superblock *s, uint32_t page, const StoreKey *key, uint8_t *out) {
  memset(out, 0, PAGE_BYTES);
  memcpy(out, magic, 8);
  store_u32(out + 8, s->format);
  store_u32(out + 12, PAGE_BYTES);
  store_u64(out + 16, s->must_read);
  store_u64(out + 24, s->must_write);
  store_u64(out + 32, s->may_ignore);
  memcpy(out + 40, s->store_id, 16);
  store_u64(out + 56, s->log_id);
  store_u64(out + 64, s->generation);
  store_u64(out + 72, s->manifest_offset);
  store_u64(out + 80, s->manifest_length);
  store_u64(out + 88, s->manifest_id);
  store_u64(out + 96, s->manifest_checksum);
  store_u64(out + 104, s->ring_offset);
  store_u64(out + 112, s->ring_capacity);
  memcpy(out + SEALING_OFFSET, s->sealing, SEALING_BYTES);
  if (key) superblock_mac(key, page, out, MAC_OFFSET, out + MAC_OFFSET);
  store_u64(out + PAGE_BYTES - 8, checksum64(out, PAGE_BYTES - 8, page));
}

static bool decode(const uint8_t *in, uint32_t page, Superblock *s) {
  if (memcmp(in, magic, 8) != 0 || load_u64(in + PAGE_BYTES - 8) != checksum64(in, PAGE_BYTES - 8, page)) return false;
  s->format = load_u32(in + 8);
  s->must_read = load_u64(in + 16);
  s->must_write = load_u64(in + 24);
  s->may_ignore = load_u64(in + 32);
  memcpy(s->store_id, in + 40, 16);
  s->log_id = load_u64(in + 56);
  s->generation = load_u64(in + 64);
  s->manifest_offset = load_u64(in + 72);
  s->manifest_length = load_u64(in + 80);
  s->manifest_id = load_u64(in + 88);
  s->manifest_checksum = load_u64(in + 96);
  s->ring_offset = load_u64(in + 104);
  s->ring_capacity = load_u64(in + 112);
  memcpy(s->sealing, in + SEALING_OFFSET, SEALING_BYTES);
  memcpy(s->mac, in + MAC_OFFSET, SUPERBLOCK_MAC_BYTES);
  return true;
}

/* A creation cut off: at most two pages that begin with zeros or our magic (FILE-2). What follows may be any part of
 * what was being written: a torn write keeps some sectors and loses others. */
static bool is_cut_off(const uint8_t *pages, size_t length, uint64_t file_size) {
  static const uint8_t zeros[sizeof magic];
  if (file_size > SUPERBLOCK_COUNT * PAGE_BYTES) return false;
  size_t begins = length < sizeof magic ? length : sizeof magic;
  return memcmp(pages, magic, begins) == 0 || memcmp(pages, zeros, begins) == 0;
}

static bool log_place_is_possible(const LogPlace *place) {
  if (!place->ring_offset && !place->ring_capacity) return true;
  return place->log_id && place->ring_offset % PAGE_BYTES == 0 && place->ring_offset >= SUPERBLOCK_COUNT * PAGE_BYTES &&
         place->ring_offset <= INT64_MAX && place->ring_capacity % PAGE_BYTES == 0 &&
         place->ring_capacity >= WAL_CAPACITY_MIN && place->ring_capacity <= WAL_CAPACITY_MAX;
}

Status superblock_read(OsFile *file, Superblock *out, uint32_t *page, SuperblockState *state) {
  uint8_t pages[SUPERBLOCK_COUNT * PAGE_BYTES] = { 0 };
  size_t got = 0;
  OsStat stat;
  TRY(os_stat_file(file, &stat));
  TRY(os_read(file, 0, pages, sizeof pages, &got));
  Superblock candidate;
  bool found = false;
  for (uint32_t i = 0; i < SUPERBLOCK_COUNT; i++) {
    if (got < (i + 1) * PAGE_BYTES || !decode(pages + i * PAGE_BYTES, i, &candidate)) continue;
    if (found && candidate.generation <= out->generation) continue;
    *out = candidate;
    *page = i;
    found = true;
  }
  if (!found) {
    if (!is_cut_off(pages, got, stat.size))
      return status_fail(KVSTORE_CORRUPT, "this is no Colonnade store, or both of its superblocks are damaged");
    *state = SUPERBLOCK_NEW;
    return KVSTORE_OK;
  }
  if (out->format > FORMAT_NUMBER)
    return status_fail(KVSTORE_UNSUPPORTED, "the file has format %u; this library reads formats up to %u", out->format,
                       (unsigned)FORMAT_NUMBER);
  if (out->must_read || out->must_write)
    return status_fail(KVSTORE_UNSUPPORTED, "the file uses features (%llx, %llx) that this library does not know",
                       (unsigned long long)out->must_read, (unsigned long long)out->must_write);
  LogPlace place = superblock_log_place(out);
  if (!log_place_is_possible(&place))
    return status_fail(KVSTORE_CORRUPT, "the superblock names a log where none can lie");
  *state = SUPERBLOCK_VALID;
  return KVSTORE_OK;
}

Status superblock_check_key(const Superblock *superblock, uint32_t page, const StoreKey *key) {
  if (!key) return KVSTORE_OK;
  uint8_t bytes[PAGE_BYTES];
  encode(superblock, page, key, bytes);
  return superblock_mac_check(bytes + MAC_OFFSET, superblock->mac);
}

Status superblock_write(OsFile *file, const Superblock *superblock, uint32_t page, const StoreKey *key) {
  uint8_t bytes[PAGE_BYTES];
  encode(superblock, page, key, bytes);
  return os_write(file, (uint64_t)page * PAGE_BYTES, bytes, sizeof bytes);
}

Status superblock_write_both(OsFile *file, const Superblock *superblock, const StoreKey *key) {
  uint8_t bytes[SUPERBLOCK_COUNT * PAGE_BYTES];
  for (uint32_t i = 0; i < SUPERBLOCK_COUNT; i++) encode(superblock, i, key, bytes + i * PAGE_BYTES);
  return os_write(file, 0, bytes, sizeof bytes);
}
