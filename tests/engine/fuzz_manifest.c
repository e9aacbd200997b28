/* fuzz_manifest.c - any bytes as a manifest, as the entry of a run, and as a file's superblocks: refused,
 * or read, and written back to what is read the same.
 *
 * Input: mode u8 | bytes. Mode 0: a manifest; 1: a run entry; 2: the first two pages of a file, with their checksums
 * made right. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "engine/manifest.h"
#include "engine/superblock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PAGE = 4096 };
static const uint64_t file_size = UINT64_C(1) << 32;

/* A broken promise ends the program and says which. */
#define must(condition) ((condition) ? (void)0 : broken(__LINE__, #condition))
static _Noreturn void broken(int line, const char *promise) {
  fprintf(stderr, "line %d: %s\n", line, promise);
  abort();
}

static void same(const Buffer *a, const Buffer *b) {
  must(a->length == b->length && memcmp(a->data, b->data, a->length) == 0);
}

static void count_extent(void *context, const Extent *extent) {
  must(extent->offset + extent_bytes(extent->length) <= file_size || extent->length == 0);
  ++*(uint64_t *)context;
}

/* What was read can be walked, searched and written; read again, it is written the same. */
static void try_manifest(Bytes bytes) {
  Manifest *m = NULL, *second = NULL;
  uint64_t extents = 0;
  Buffer once = { 0 }, twice = { 0 };
  if (manifest_decode(bytes, file_size, &m) != KVSTORE_OK) return;
  manifest_each_extent(m, count_extent, &extents);
  for (uint32_t i = 0; i < m->family_count; i++) must(manifest_family(m, m->families[i].id) == &m->families[i]);
  must(manifest_encode(m, &once) == KVSTORE_OK);
  must(manifest_decode((Bytes){ once.data, once.length }, file_size, &second) == KVSTORE_OK);
  must(manifest_encode(second, &twice) == KVSTORE_OK);
  same(&once, &twice);
  buffer_release(&once);
  buffer_release(&twice);
  manifest_release(m);
  manifest_release(second);
}

static void try_run(Bytes bytes) {
  Arena arena = { 0 };
  RunEntry run, second;
  Buffer once = { 0 }, twice = { 0 };
  Reader in = reader_over(bytes.data, bytes.length);
  if (run_entry_decode(&in, &arena, file_size, &run) == KVSTORE_OK) {
    run_entry_encode(&run, &once);
    in = reader_over(once.data, once.length);
    must(run_entry_decode(&in, &arena, file_size, &second) == KVSTORE_OK && reader_left(&in) == 0);
    run_entry_encode(&second, &twice);
    same(&once, &twice);
  }
  buffer_release(&once);
  buffer_release(&twice);
  arena_release(&arena);
}

static void try_superblocks(Bytes bytes) {
  uint8_t pages[2 * PAGE] = { 0 };
  Os *os = NULL;
  OsFile *file = NULL;
  Superblock read, again;
  uint32_t page;
  SuperblockState state;
  if (bytes.length) memcpy(pages, bytes.data, bytes.length < sizeof pages ? bytes.length : sizeof pages);
  for (uint32_t i = 0; i < 2; i++) store_u64(pages + i * PAGE + PAGE - 8, checksum64(pages + i * PAGE, PAGE - 8, i));
  must(os_memory_create(&os) == KVSTORE_OK && os_open(os, "f", OS_OPEN_CREATE, &file) == KVSTORE_OK);
  must(os_write(file, 0, pages, sizeof pages) == KVSTORE_OK);
  if (superblock_read(file, &read, &page, &state) == KVSTORE_OK && state == SUPERBLOCK_VALID) {
    must(superblock_write_both(file, &read, NULL) == KVSTORE_OK);
    must(superblock_read(file, &again, &page, &state) == KVSTORE_OK && state == SUPERBLOCK_VALID);
    must(again.generation == read.generation && again.manifest_offset == read.manifest_offset);
    must(memcmp(again.store_id, read.store_id, sizeof read.store_id) == 0);
  }
  os_close(file);
  os_memory_destroy(os);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!size) return 0;
  Bytes bytes = { data + 1, size - 1 };
  switch (data[0] % 3) {
  case 0: try_manifest(bytes); break;
  case 1: try_run(bytes); break;
  default: try_superblocks(bytes); break;
  }
  return 0;
}
