/* docs/format.md against the bytes: a tiny store is made on the simulated disk, where randomness and clock are seeded,
 * and read by the offsets of that page with nothing but load_u32 and its like. The page's hexadecimal lines are
 * compared with the same bytes. COLONNADE_FORMAT_WRITE=directory writes the files there, for whoever mends the page. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "engine/engine.h"
#include "engine/manifest.h"
#include "tests/support/simdisk.h"
#include "tests/support/test.h"

typedef struct Image {
  uint8_t *bytes;
  size_t length;
} Image;

/* The log after the first commit; the file after the close. */
typedef struct Example {
  Image log, store;
} Example;

static const char *const path = "/disk/store", *const log_path = "/disk/store-wal";
static const int64_t year_2100 = INT64_C(4102444800000);

static Bytes text(const char *s) { return (Bytes){ (const uint8_t *)s, strlen(s) }; }

static void write_people(Session *s) {
  Column columns[] = { { 0, TYPE_I64, 0, 0, (char *)"id" },
                       { 0, TYPE_STRING, 0, 0, (char *)"name" },
                       { 0, TYPE_I32, COLUMN_NULLABLE, 0, (char *)"born" } };
  Schema schema = { .column_count = 3, .columns = columns, .key_count = 1, .key_columns = { 0 } };
  uint32_t id = 0;
  CHECK_OK(family_create(s, "people", FAMILY_TABLE, &schema, &id));
  int64_t ids[] = { 1, 2, 3 };
  Bytes names[] = { text("Ada"), text("Alan"), text("Edsger") };
  int32_t born[] = { 1815, 1912, 0 };
  uint8_t unknown[] = { 0, 0, 1 };
  ColumnArray arrays[] = { { ids, NULL }, { names, NULL }, { born, unknown } };
  ColumnBatch rows = { 3, 3, arrays, NULL };
  CHECK_OK(table_write(s, id, &rows, TABLE_INSERT, NULL));
}

static Image take(SimDisk *disk, const char *name) {
  Image image = { NULL, 0 };
  image.bytes = simdisk_read_file(disk, name, &image.length);
  CHECK(image.bytes != NULL);
  return image;
}

static void write_out(const char *name, const Image *image) {
  const char *directory = getenv("COLONNADE_FORMAT_WRITE");
  if (!directory) return;
  char file_path[512];
  snprintf(file_path, sizeof file_path, "%s/%s", directory, name);
  FILE *file = fopen(file_path, "wb");
  CHECK(file != NULL);
  CHECK_INT(fwrite(image->bytes, 1, image->length, file), image->length);
  fclose(file);
}

static Example make_example(void) {
  SimDisk *disk = NULL;
  Session *s = NULL;
  Example example;
  CHECK_OK(simdisk_create(1, &disk));
  StoreOptions options = { .os = simdisk_os(disk),
                           .journal_mode = JOURNAL_WAL,
                           .sync_level = SYNC_NORMAL,
                           .no_background = true,
                           .log_bytes = 64 << 10 };
  CHECK_OK(session_open(path, &options, &s));
  CHECK_OK(session_begin(s, true));
  CHECK_OK(kv_put(s, FAMILY_DEFAULT_ID, text("ada"), text("Lovelace"), EXPIRY_NEVER, KV_PUT_ALWAYS, NULL));
  CHECK_OK(kv_put(s, FAMILY_DEFAULT_ID, text("alan"), text("Turing"), year_2100, KV_PUT_ALWAYS, NULL));
  write_people(s);
  CHECK_OK(session_commit(s));
  example.log = take(disk, log_path);
  CHECK_OK(session_checkpoint(s, CHECKPOINT_FULL, NULL, NULL));
  FamilyInfo people;
  CHECK_OK(family_find(s, "people", &people));
  Value alan = { .type = TYPE_I64, .i = 2 };
  CHECK_OK(table_delete(s, people.id, &alan, 1));
  CHECK_OK(session_close(s));
  example.store = take(disk, path);
  simdisk_destroy(disk);
  write_out("store-wal", &example.log);
  write_out("store", &example.store);
  return example;
}

static void release_example(Example *e) {
  free(e->log.bytes);
  free(e->store.bytes);
}

/* ---- the page's hexadecimal lines ---- */

typedef struct Page {
  Example example;
  uint8_t *named[2]; /* a byte a byte of the file: a line names it */
  size_t line_count;
} Page;

static const Image *image_of(const Example *e, int file) { return file == 0 ? &e->store : &e->log; }

/* "00002000  02 00  meaning": compares the bytes and marks them. */
static void check_line(Page *page, int file, const char *line) {
  const Image *image = image_of(&page->example, file);
  char *at;
  size_t offset = strtoul(line, &at, 16);
  CHECK(at == line + 8 && at[0] == ' ' && at[1] == ' ');
  for (at += 1; at[0] == ' ' && at[1] != ' ' && at[1] != 0; at += 3, offset++) {
    char pair[3] = { at[1], at[2], 0 }, *end;
    uint8_t expected = (uint8_t)strtoul(pair, &end, 16);
    CHECK(*end == 0 && offset < image->length);
    if (image->bytes[offset] != expected) fprintf(stderr, "docs/format.md differs at: %s\n", line);
    CHECK_INT(image->bytes[offset], expected);
    page->named[file][offset] = 1;
  }
  page->line_count++;
}

static void read_page(Page *page) {
  char line[256];
  int file = -1;
  FILE *in = fopen(COLONNADE_SOURCE_DIRECTORY "/docs/format.md", "r");
  CHECK(in != NULL);
  while (fgets(line, sizeof line, in)) {
    line[strcspn(line, "\n")] = 0;
    if (strcmp(line, "```hex store") == 0)
      file = 0;
    else if (strcmp(line, "```hex store-wal") == 0)
      file = 1;
    else if (strncmp(line, "```", 3) == 0)
      file = -1;
    else if (file >= 0)
      check_line(page, file, line);
  }
  fclose(in);
}

/* The repetitions that the page names instead of showing: superblock 1 and a manifest in limbo; the log's second
 * header. */
static bool is_repetition(int file, size_t offset) {
  if (file == 1) return offset >= 0x800 && offset < 0x1000;
  return (offset >= 0x1000 && offset < 0x2000) || (offset >= 0x7000 && offset < 0x8000);
}

TEST(format, the_page_shows_every_byte_of_its_example) {
  Page page = { .example = make_example() };
  for (int file = 0; file < 2; file++) {
    page.named[file] = calloc(image_of(&page.example, file)->length, 1);
    CHECK(page.named[file] != NULL);
  }
  read_page(&page);
  CHECK(page.line_count > 250);
  for (int file = 0; file < 2; file++) {
    const Image *image = image_of(&page.example, file);
    for (size_t i = 0; i < image->length; i++) {
      if (!image->bytes[i] || page.named[file][i] || is_repetition(file, i)) continue;
      fprintf(stderr, "docs/format.md does not name byte %#zx of file %d\n", i, file);
      CHECK(page.named[file][i]);
    }
    free(page.named[file]);
  }
  release_example(&page.example);
}

/* ---- a reader made from the page alone ---- */

typedef struct NamedExtent {
  uint64_t id, offset, length, checksum;
} NamedExtent;

static uint64_t mix(uint64_t a, uint64_t b) {
  uint8_t both[16];
  memcpy(both, &a, 8);
  memcpy(both + 8, &b, 8);
  return checksum64(both, 16, 0);
}

/* Verifies an extent as the section "Extents and units" says; gives its data. */
static const uint8_t *read_extent(const Image *file, NamedExtent e) {
  const uint8_t *data = file->bytes + e.offset;
  uint64_t units = (e.length + 16383) / 16384, store = checksum64(file->bytes + 40, 16, 0);
  uint64_t total = ((e.length + 7) / 8 * 8 + 64 + 40 * units + 4095) / 4096 * 4096;
  CHECK(e.offset % 4096 == 0 && e.offset + total <= file->length);
  const uint8_t *table = data + total - 40 * units;
  CHECK(checksum64(table, 40 * units, mix(store, mix(e.id, UINT64_MAX))) == e.checksum);
  for (uint64_t u = 0; u < units; u++) {
    uint64_t left = e.length - u * 16384;
    uint64_t sum = checksum64(data + u * 16384, left < 16384 ? left : 16384, mix(store, mix(e.id, u)));
    CHECK(load_u64(table + 40 * u) == sum);
  }
  return data;
}

static NamedExtent named_extent(const uint8_t *p) {
  return (NamedExtent){ load_u64(p), load_u64(p + 8), load_u64(p + 16), load_u64(p + 24) };
}

TEST(format, superblocks_lead_to_the_manifest_and_its_extents) {
  Example e = make_example();
  const uint8_t *file = e.store.bytes;
  for (uint64_t page = 0; page < 2; page++) {
    const uint8_t *block = file + page * 4096;
    CHECK_BYTES(block, "Colonnad", 8);
    CHECK_INT(load_u32(block + 8), 0);
    CHECK_INT(load_u32(block + 12), 4096);
    CHECK_INT(load_u64(block + 56), 0); /* closed: no log */
    CHECK_INT(load_u64(block + 64), 2);
    CHECK(load_u64(block + 4088) == checksum64(block, 4088, page));
  }
  NamedExtent self = { load_u64(file + 88), load_u64(file + 72), load_u64(file + 80), load_u64(file + 96) };
  const uint8_t *manifest = read_extent(&e.store, self);
  CHECK_INT(load_u64(manifest + 8), 2);
  CHECK_BYTES(manifest + 16, file + 40, 16);
  CHECK_INT(load_u64(manifest + 40), 8); /* six operations, a delete; the next is the eighth */
  CHECK_INT(load_u32(manifest + 96), 2);
  const uint8_t *run = manifest + 100 + 32 + 8 + 1 + 4; /* the first family: fixed fields, name, schema mark, runs */
  CHECK_INT(load_u32(run), 1);
  CHECK_INT(load_u32(run + 12), 3);
  for (int i = 0; i < 3; i++) read_extent(&e.store, named_extent(run + 40 + 40 * i));
  release_example(&e);
}

/* The default family: a point read through bucket and position. */
TEST(format, a_key_is_found_by_its_hash_in_a_row_run) {
  Example e = make_example();
  const uint8_t *run = e.store.bytes + 0x9000 + 145;
  const uint8_t *piece = read_extent(&e.store, named_extent(run + 40));
  const uint8_t *index = read_extent(&e.store, named_extent(run + 80));
  const uint8_t *directory = read_extent(&e.store, named_extent(run + 120));
  CHECK_BYTES(directory, "CRR0", 4);
  uint64_t buckets = load_u32(directory + 72), hash = hash_key("alan", 4);
  CHECK_INT(buckets, 1);
  const uint8_t *bucket = index + 64 * (uint64_t)(((unsigned __int128)hash * buckets) >> 64);
  int slot = 0, taken = load_u16(bucket + 20);
  while (slot < taken && load_u16(bucket + 2 * slot) != (hash & 0xffff)) slot++;
  CHECK(slot < taken);
  const uint8_t *row = piece + 4 * load_u32(bucket + 24 + 4 * slot);
  CHECK_INT(load_u16(row), 3);
  CHECK_INT(load_u16(row + 2), 2);
  CHECK_INT(load_u32(row + 4), 6);
  CHECK_INT(load_u64(row + 8), year_2100);
  CHECK_BYTES(row + 16, "alanTuring", 10);
  uint64_t block_offset = (64 * buckets + 1023) / 1024 * 1024;
  CHECK_INT(load_u16(index + block_offset + 1020), 1); /* "ada" and "alan" agree in one byte */
  CHECK_INT(load_u32(index + block_offset + 680), 0);
  release_example(&e);
}

/* The table: stride, plain and packed chunks, and the deleted row. */
TEST(format, columns_and_dead_rows_read_back_by_the_page) {
  Example e = make_example();
  const uint8_t *run = e.store.bytes + 0x9000 + 0x190;
  CHECK_INT(load_u32(run), 2);
  CHECK_INT(run[4], 2);
  const uint8_t *segment = read_extent(&e.store, named_extent(run + 40));
  read_extent(&e.store, named_extent(run + 80));
  CHECK_BYTES(segment, "CSEG", 4);
  const uint8_t *ids = segment + load_u64(segment + 32 + 8), *names = segment + load_u64(segment + 56 + 8);
  const uint8_t *born = segment + load_u64(segment + 80 + 8);
  CHECK_INT(ids[0], 2);
  CHECK_INT(load_u64(ids + 32) + 2 * load_u64(ids + 40), 3);
  const uint8_t *data = names + load_u32(names + 52), *bytes = data + 4 * 4;
  CHECK_INT(names[0], 3);
  CHECK_BYTES(bytes + load_u32(data + 4), "Alan", load_u32(data + 8) - load_u32(data + 4));
  CHECK_INT(born[0], 5);
  const uint8_t *packed = born + load_u32(born + 52);
  CHECK_INT(load_u16(born + 65), 1); /* which words of validity there are */
  CHECK_INT(load_u64(packed - 8), 3);
  CHECK_INT(load_u64(born + 32) + load_u64(born + 40) * (packed[1] & 1), 1912);
  CHECK_INT(load_u32(run + 120), 1); /* one list */
  CHECK_INT(load_u32(run + 124), 1);
  CHECK_BYTES(read_extent(&e.store, named_extent(run + 128)), "\1\0\1\1", 4);
  release_example(&e);
}

TEST(format, the_log_has_a_chain_that_begins_with_its_id) {
  Example e = make_example();
  const uint8_t *header = e.log.bytes, *record = e.log.bytes + 4096;
  CHECK_BYTES(header, "CLNDLOG1", 8);
  CHECK(load_u64(header + 40) == checksum64(header, 40, 0));
  uint64_t log_id = load_u64(header + 16);
  CHECK(load_u64(record + 40) == log_id);
  CHECK_INT(load_u64(record + 16), 1);
  CHECK_INT(load_u32(record + 24), 6);
  uint64_t seed = checksum64(record, 48, log_id);
  CHECK(load_u64(record + 48) == checksum64(record + 56, load_u32(record) - 56, seed));
  CHECK_BYTES(record + 56, "\1\0\1\3ada\10Lovelace", 16);
  release_example(&e);
}

/* The manifest of the example, which names runs 1 and 2. */
TEST(format, runs_have_numbers_of_their_own) {
  static const uint8_t run_2[] = { 2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0 };
  static const struct {
    uint32_t number;
    const char *why;
  } lies[] = { { 2, NULL }, { 3, NULL }, { 1, "two runs have one number" }, { UINT32_MAX, "a number that is none" } };
  Example e = make_example();
  const uint8_t *page = e.store.bytes;
  if (load_u64(page + 4096 + 64) > load_u64(page + 64)) page += 4096;
  uint8_t *manifest = e.store.bytes + load_u64(page + 72), *at = manifest;
  size_t length = (size_t)load_u64(page + 80);
  while (memcmp(at, run_2, sizeof run_2) != 0) at++;
  CHECK(at < manifest + length);
  for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
    Manifest *m = NULL;
    store_u32(at, lies[i].number);
    Status status = manifest_decode((Bytes){ manifest, length }, e.store.length, &m);
    CHECK_STATUS(status, lies[i].why ? KVSTORE_CORRUPT : KVSTORE_OK);
    if (lies[i].why) CHECK(strstr(status_last()->text, lies[i].why));
    manifest_release(m);
  }
  release_example(&e);
}
