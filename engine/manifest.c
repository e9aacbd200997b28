#include "engine/manifest.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"

enum { MANIFEST_MAGIC = 0x4d616e66, EXTENT_FIELD_BYTES = 40 };

uint64_t extent_unit_count(uint64_t length) { return (length + UNIT_BYTES - 1) / UNIT_BYTES; }

/* The table of units lies at the very end; CHUNK_PADDING readable bytes always follow the data (os/source.h). */
uint64_t extent_bytes(uint64_t length) {
  return round_up(round_up(length, 8) + CHUNK_PADDING + extent_unit_count(length) * UNIT_TAG_BYTES, PAGE_BYTES);
}

Manifest *manifest_create(void) {
  Manifest *m = memory_allocate_zeroed(sizeof *m);
  if (!m) return NULL;
  atomic_init(&m->references, 1);
  return m;
}

Manifest *manifest_retain(Manifest *m) {
  atomic_fetch_add_explicit(&m->references, 1, memory_order_relaxed);
  return m;
}

void manifest_release(Manifest *m) {
  if (!m || atomic_fetch_sub_explicit(&m->references, 1, memory_order_acq_rel) != 1) return;
  for (uint32_t i = 0; i < m->family_count; i++) schema_release(&m->families[i].schema);
  arena_release(&m->arena);
  memory_release(m);
}

/* ---- encoding ---- */

void extent_encode(const Extent *e, Buffer *out) {
  buffer_u64(out, e->id);
  buffer_u64(out, e->offset);
  buffer_u64(out, e->length);
  buffer_u64(out, e->checksum);
  buffer_u64(out, e->birth);
}

void run_entry_encode(const RunEntry *run, Buffer *out) {
  buffer_u32(out, run->number);
  buffer_u8(out, (uint8_t)run->kind);
  buffer_u8(out, (uint8_t)run->level);
  buffer_u16(out, 0);
  buffer_u32(out, run->schema_version);
  buffer_u32(out, run->extent_count);
  buffer_u64(out, run->row_count);
  buffer_u64(out, run->dead_count);
  buffer_u64(out, run->data_bytes);
  for (uint32_t i = 0; i < run->extent_count; i++) extent_encode(&run->extents[i], out);
  buffer_u32(out, run->deletes_count);
  for (uint32_t i = 0; i < run->deletes_count; i++) {
    buffer_u32(out, run->deletes[i].kind);
    extent_encode(&run->deletes[i].extent, out);
  }
}

enum { COMPRESSION_CHOICES = 3 }; /* what can be chosen; the engine's options have one more, for tests */

bool family_options_are_default(const FamilyOptions *o) {
  return !o->default_ttl_ms && !o->compression && !o->changes_family && !o->columns_family;
}

bool family_options_are_valid(const FamilyOptions *o) {
  return o->default_ttl_ms >= 0 && o->default_ttl_ms <= FAMILY_TTL_MAX_MS && o->compression <= COMPRESSION_CHOICES &&
         o->changes_ms >= 0 && o->changes_ms <= FAMILY_TTL_MAX_MS && !o->changes_family == !o->changes_ms &&
         o->columns_built <= (o->columns_family != 0);
}

void family_options_encode(const FamilyOptions *o, Buffer *out) {
  buffer_u64(out, (uint64_t)o->default_ttl_ms);
  buffer_u32(out, o->compression);
  buffer_u32(out, o->changes_family);
  buffer_u64(out, (uint64_t)o->changes_ms);
  buffer_u32(out, o->columns_family);
  buffer_u32(out, o->columns_built);
}

bool family_options_decode(Reader *in, FamilyOptions *o) {
  o->default_ttl_ms = (int64_t)reader_u64(in);
  o->compression = reader_u32(in);
  o->changes_family = reader_u32(in);
  o->changes_ms = (int64_t)reader_u64(in);
  o->columns_family = reader_u32(in);
  o->columns_built = reader_u32(in);
  return !in->failed && family_options_are_valid(o) && !family_options_are_default(o);
}

static void encode_family(const FamilyEntry *family, Buffer *out) {
  bool has_options = !family_options_are_default(&family->options);
  buffer_u32(out, family->id);
  buffer_u32(out, family->kind);
  buffer_u32(out, family->flags | (has_options ? FAMILY_HAS_OPTIONS : 0));
  buffer_u32(out, family->next_column_id);
  buffer_u64(out, family->next_row_id);
  buffer_u64(out, family->keys);
  buffer_bytes(out, family->name, strlen(family->name));
  buffer_u8(out, family->schema.column_count > 0);
  if (family->schema.column_count > 0) schema_write(&family->schema, out);
  if (has_options) family_options_encode(&family->options, out);
  buffer_u32(out, family->run_count);
  for (uint32_t i = 0; i < family->run_count; i++) run_entry_encode(&family->runs[i], out);
}

Status manifest_encode(const Manifest *m, Buffer *out) {
  buffer_u32(out, MANIFEST_MAGIC);
  buffer_u32(out, 0); /* features of this manifest that a reader must understand */
  buffer_u64(out, m->generation);
  buffer_append(out, m->store_id, sizeof m->store_id);
  buffer_u64(out, m->replay.position);
  buffer_u64(out, m->replay.sequence);
  buffer_u64(out, m->replay.checksum);
  buffer_u64(out, m->log_id);
  buffer_u64(out, m->log_end);
  buffer_u32(out, m->next_family_id);
  buffer_u32(out, m->next_run_number);
  buffer_u64(out, m->next_extent_id);
  buffer_u64(out, (uint64_t)m->clock_ms);
  buffer_u32(out, m->family_count);
  for (uint32_t i = 0; i < m->family_count; i++) encode_family(&m->families[i], out);
  buffer_u32(out, m->limbo_count);
  for (uint32_t i = 0; i < m->limbo_count; i++) {
    const LimboEntry *l = &m->limbo[i];
    buffer_u64(out, l->offset);
    buffer_u64(out, l->bytes);
    buffer_u64(out, l->birth);
    buffer_u64(out, l->death);
  }
  return buffer_status(out);
}

/* ---- decoding ---- */

static Status nonsense(const char *what) { return status_fail(KVSTORE_CORRUPT, "the manifest is damaged: %s", what); }

Status extent_decode(Reader *in, uint64_t file_size, Extent *e) {
  e->id = reader_u64(in);
  e->offset = reader_u64(in);
  e->length = reader_u64(in);
  e->checksum = reader_u64(in);
  e->birth = reader_u64(in);
  if (in->failed) return nonsense("it is cut short");
  if (e->offset % PAGE_BYTES || e->offset < 2 * PAGE_BYTES || e->length > file_size || e->offset > file_size ||
      extent_bytes(e->length) > file_size - e->offset)
    return nonsense("an extent lies outside the file");
  return KVSTORE_OK;
}

Status run_entry_decode(Reader *in, Arena *arena, uint64_t file_size, RunEntry *run) {
  memset(run, 0, sizeof *run);
  run->number = reader_u32(in);
  run->kind = reader_u8(in);
  run->level = reader_u8(in);
  (void)reader_u16(in);
  run->schema_version = reader_u32(in);
  run->extent_count = reader_u32(in);
  run->row_count = reader_u64(in);
  run->dead_count = reader_u64(in);
  run->data_bytes = reader_u64(in);
  if (in->failed || run->extent_count > reader_left(in) / EXTENT_FIELD_BYTES) return nonsense("a run is cut short");
  if (run->kind != RUN_ROWS && run->kind != RUN_COLUMNS) return nonsense("a run has an unknown kind");
  if (!run->extent_count) return nonsense("a run has no extents");
  if (run->number == UINT32_MAX) return nonsense("a run has a number that is none"); /* LOCATOR_RUN_END */
  run->extents = arena_allocate(arena, memory_array_size(run->extent_count, sizeof *run->extents));
  if (!run->extents) return status_nomem();
  for (uint32_t i = 0; i < run->extent_count; i++) TRY(extent_decode(in, file_size, &run->extents[i]));
  run->deletes_count = reader_u32(in);
  if (in->failed || run->deletes_count > RUN_DELETES_MAX) return nonsense("a run has too many delete lists");
  run->deletes = arena_allocate(arena, memory_array_size(run->deletes_count, sizeof *run->deletes));
  if (!run->deletes) return status_nomem();
  for (uint32_t i = 0; i < run->deletes_count; i++) {
    run->deletes[i].kind = reader_u32(in);
    if (run->deletes[i].kind != DELETES_LIST && run->deletes[i].kind != DELETES_BITMAP)
      return nonsense("a delete list has an unknown kind");
    TRY(extent_decode(in, file_size, &run->deletes[i].extent));
  }
  return KVSTORE_OK;
}

static Status decode_family(Reader *in, Arena *arena, uint64_t file_size, FamilyEntry *family) {
  family->id = reader_u32(in);
  family->kind = reader_u32(in);
  family->flags = reader_u32(in);
  family->next_column_id = reader_u32(in);
  family->next_row_id = reader_u64(in);
  family->keys = reader_u64(in);
  Bytes name = reader_bytes(in);
  bool has_schema = reader_u8(in) != 0;
  if (in->failed || !name.length || name.length > FAMILY_NAME_MAX || !bytes_are_utf8(name.data, name.length) ||
      memchr(name.data, 0, name.length))
    return nonsense("a family has no proper name");
  if (family->kind != 1 && family->kind != 2) return nonsense("a family has an unknown kind");
  if (has_schema != (family->kind == 2)) return nonsense("a family's schema does not fit its kind");
  family->name = arena_copy_string(arena, (const char *)name.data, name.length);
  if (!family->name) return status_nomem();
  if (has_schema) TRY(schema_read(in, &family->schema));
  bool has_options = family->flags & FAMILY_HAS_OPTIONS;
  family->flags &= ~(uint32_t)FAMILY_HAS_OPTIONS;
  if (has_options && (has_schema || !family_options_decode(in, &family->options)))
    return nonsense("a family's options cannot be");
  family->run_count = reader_u32(in);
  if (in->failed || family->run_count > reader_left(in) / EXTENT_FIELD_BYTES) return nonsense("a family is cut short");
  family->runs = arena_allocate_zeroed(arena, memory_array_size(family->run_count, sizeof *family->runs));
  if (!family->runs) return status_nomem();
  for (uint32_t i = 0; i < family->run_count; i++) {
    TRY(run_entry_decode(in, arena, file_size, &family->runs[i]));
    if ((family->runs[i].kind == RUN_COLUMNS) != (family->kind == 2))
      return nonsense("a run is not of its family's kind");
  }
  return KVSTORE_OK;
}

static Status decode_body(Reader *in, uint64_t file_size, Manifest *m) {
  if (reader_u32(in) != MANIFEST_MAGIC) return nonsense("it does not begin like one");
  if (reader_u32(in) != 0)
    return status_fail(KVSTORE_UNSUPPORTED, "the manifest uses features that this library does not know");
  m->generation = reader_u64(in);
  const uint8_t *id = reader_take(in, sizeof m->store_id);
  if (id) memcpy(m->store_id, id, sizeof m->store_id);
  m->replay.position = reader_u64(in);
  m->replay.sequence = reader_u64(in);
  m->replay.checksum = reader_u64(in);
  m->log_id = reader_u64(in);
  m->log_end = reader_u64(in);
  m->next_family_id = reader_u32(in);
  m->next_run_number = reader_u32(in);
  m->next_extent_id = reader_u64(in);
  m->clock_ms = (int64_t)reader_u64(in);
  m->family_count = reader_u32(in);
  if (in->failed || m->family_count > FAMILIES_MAX) {
    m->family_count = 0;
    return nonsense("it is cut short, or names too many families");
  }
  m->families = arena_allocate_zeroed(&m->arena, memory_array_size(m->family_count, sizeof *m->families));
  if (!m->families) {
    m->family_count = 0;
    return status_nomem();
  }
  for (uint32_t i = 0; i < m->family_count; i++) {
    TRY(decode_family(in, &m->arena, file_size, &m->families[i]));
    if (i && m->families[i].id <= m->families[i - 1].id) return nonsense("its families are out of order");
    if (m->families[i].id >= m->next_family_id) return nonsense("a family's id was never given");
  }
  m->limbo_count = reader_u32(in);
  if (in->failed || m->limbo_count > reader_left(in) / sizeof(LimboEntry)) {
    m->limbo_count = 0;
    return nonsense("its limbo is cut short");
  }
  m->limbo = arena_allocate(&m->arena, memory_array_size(m->limbo_count, sizeof *m->limbo));
  if (!m->limbo) return status_nomem();
  for (uint32_t i = 0; i < m->limbo_count; i++) {
    LimboEntry *l = &m->limbo[i];
    l->offset = reader_u64(in);
    l->bytes = reader_u64(in);
    l->birth = reader_u64(in);
    l->death = reader_u64(in);
    /* It may lie behind the end of the file: a close cuts off what nobody uses. */
    if (l->offset % PAGE_BYTES || l->bytes % PAGE_BYTES || l->bytes > UINT64_MAX - l->offset)
      return nonsense("a limbo entry is no range of pages");
  }
  if (in->failed || reader_left(in)) return nonsense("its length is wrong");
  return KVSTORE_OK;
}

typedef struct Overlap {
  Extent *extents;
  size_t count, capacity;
  Status status;
} Overlap;

static void collect(void *context, const Extent *extent) {
  Overlap *o = context;
  if (o->status == KVSTORE_OK) o->status = memory_grow(&o->extents, &o->capacity, o->count + 1, sizeof *o->extents);
  if (o->status == KVSTORE_OK) o->extents[o->count++] = *extent;
}

static int by_offset(const void *a, const void *b) {
  uint64_t x = ((const Extent *)a)->offset, y = ((const Extent *)b)->offset;
  return (x > y) - (x < y);
}

/* No two extents may share a byte: a crafted manifest must not make one run read another's bytes. */
static Status check_disjoint(const Manifest *m) {
  Overlap o = { 0 };
  manifest_each_extent(m, collect, &o);
  Status status = o.status;
  if (status == KVSTORE_OK && o.count) {
    qsort(o.extents, o.count, sizeof *o.extents, by_offset);
    for (size_t i = 1; i < o.count && status == KVSTORE_OK; i++) {
      if (o.extents[i].offset < o.extents[i - 1].offset + extent_bytes(o.extents[i - 1].length))
        status = nonsense("two extents overlap");
    }
  }
  memory_release(o.extents);
  return status;
}

static int by_number(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

/* Locators find runs by their numbers: rows would die in another run. */
static Status check_run_numbers(const Manifest *m) {
  size_t count = 0, at = 0;
  for (uint32_t f = 0; f < m->family_count; f++) count += m->families[f].run_count;
  uint32_t *numbers = memory_allocate(memory_array_size(count, sizeof *numbers));
  if (!numbers) return status_nomem();
  for (uint32_t f = 0; f < m->family_count; f++)
    for (uint32_t r = 0; r < m->families[f].run_count; r++) numbers[at++] = m->families[f].runs[r].number;
  if (count) qsort(numbers, count, sizeof *numbers, by_number);
  Status status = KVSTORE_OK;
  for (size_t i = 1; i < count && status == KVSTORE_OK; i++)
    if (numbers[i] == numbers[i - 1]) status = nonsense("two runs have one number");
  memory_release(numbers);
  return status;
}

Status manifest_decode(Bytes bytes, uint64_t file_size, Manifest **out) {
  Manifest *m = manifest_create();
  if (!m) return status_nomem();
  Reader in = reader_over(bytes.data, bytes.length);
  Status status = decode_body(&in, file_size, m);
  if (status == KVSTORE_OK) status = check_disjoint(m);
  if (status == KVSTORE_OK) status = check_run_numbers(m);
  if (status != KVSTORE_OK) {
    manifest_release(m);
    return status;
  }
  *out = m;
  return KVSTORE_OK;
}

/* ---- copies and walks ---- */

Status run_entry_copy(const RunEntry *from, Arena *arena, RunEntry *to) {
  *to = *from;
  to->extents = arena_copy(arena, from->extents, from->extent_count * sizeof *from->extents);
  to->deletes = arena_copy(arena, from->deletes, from->deletes_count * sizeof *from->deletes);
  return to->extents && to->deletes ? KVSTORE_OK : status_nomem();
}

Status family_entry_copy(const FamilyEntry *from, Arena *arena, FamilyEntry *to) {
  *to = *from;
  to->run_count = 0;
  to->runs = NULL;
  memset(&to->schema, 0, sizeof to->schema);
  to->name = arena_copy_string(arena, from->name, strlen(from->name));
  if (!to->name) return status_nomem();
  return from->schema.column_count ? schema_copy(&from->schema, &to->schema) : KVSTORE_OK;
}

static void each_extent_of_run(const RunEntry *run, void (*visit)(void *, const Extent *), void *context) {
  for (uint32_t i = 0; i < run->extent_count; i++) visit(context, &run->extents[i]);
  for (uint32_t i = 0; i < run->deletes_count; i++) visit(context, &run->deletes[i].extent);
}

void manifest_each_extent(const Manifest *m, void (*visit)(void *context, const Extent *extent), void *context) {
  if (m->self.offset) visit(context, &m->self);
  for (uint32_t f = 0; f < m->family_count; f++)
    for (uint32_t r = 0; r < m->families[f].run_count; r++) each_extent_of_run(&m->families[f].runs[r], visit, context);
}

FamilyEntry *manifest_family(const Manifest *m, uint32_t id) {
  uint32_t low = 0, high = m->family_count;
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    if (m->families[middle].id < id)
      low = middle + 1;
    else
      high = middle;
  }
  return low < m->family_count && m->families[low].id == id ? &m->families[low] : NULL;
}
