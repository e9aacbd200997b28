/* column_run.c - opening a run: its directory read, checked and matched with the current schema. */
#include "columnar/column_run.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "columnar/column_run_internal.h"

static Status directory_damaged(const char *what) {
  return status_fail(KVSTORE_CORRUPT, "the directory of a column run is damaged: %s", what);
}

size_t keys_common_prefix(Bytes a, Bytes b) {
  size_t common = a.length < b.length ? a.length : b.length, i = 0;
  while (i < common && a.data[i] == b.data[i]) i++;
  return i;
}

int64_t value_image(const Value *value) {
  switch (value->type) {
  case TYPE_U64: return (int64_t)(value->u ^ UINT64_C(0x8000000000000000));
  case TYPE_F32:
  case TYPE_F64: return float_image(value->f);
  case TYPE_STRING:
  case TYPE_BYTES:
  case TYPE_UUID:
  case TYPE_FIXED_BYTES: return bytes_image(value->s);
  default: return value->i; /* unsigned types up to 32 bits hold the same number in `u` */
  }
}

/* ---- the columns of the run ---- */

static Status read_columns(Reader *in, ColumnRunIndex *index) {
  RunColumn *columns = arena_allocate_zeroed(&index->arena, (index->column_count + 1) * sizeof *columns);
  if (!columns) return status_nomem();
  index->columns = columns;
  for (uint32_t c = 0; c < index->column_count; c++) {
    columns[c].id = reader_u32(in);
    uint32_t type = reader_u8(in), flags = reader_u8(in), zero = reader_u16(in);
    columns[c].width = reader_u32(in);
    columns[c].is_array = flags & RUN_COLUMN_ARRAY;
    if (columns[c].is_array) columns[c].extent = reader_u32(in);
    if (in->failed || !type_is_valid(type) || flags > (RUN_COLUMN_NULLABLE | RUN_COLUMN_ARRAY) || zero ||
        columns[c].id == COLUMN_EXPIRY) {
      return directory_damaged("its columns");
    }
    columns[c].type = (ColumnType)type;
    columns[c].is_nullable = flags & RUN_COLUMN_NULLABLE;
    if (!type_takes_width(columns[c].type, columns[c].width)) return directory_damaged("the width of a column");
    for (uint32_t other = 0; other < c; other++) {
      if (columns[other].id == columns[c].id) return directory_damaged("a column appears twice");
    }
  }
  columns[index->column_count] = (RunColumn){ .id = COLUMN_EXPIRY, .type = TYPE_I64, .is_nullable = true };
  return KVSTORE_OK;
}

static Status read_key_columns(Reader *in, ColumnRunIndex *index) {
  index->key_count = reader_u32(in);
  if (in->failed || !index->key_count || index->key_count > KEY_COLUMNS_MAX) return directory_damaged("its key");
  for (uint32_t k = 0; k < index->key_count; k++) {
    index->key_columns[k] = reader_u32(in);
    if (in->failed || index->key_columns[k] >= index->column_count) return directory_damaged("its key");
  }
  return KVSTORE_OK;
}

static uint32_t find_stored(const ColumnRunIndex *index, uint32_t id) {
  for (uint32_t c = 0; c < index->column_count; c++) {
    if (index->columns[c].id == id) return c;
  }
  return COLUMN_ABSENT;
}

/* The same ids, types and nullability, in the same order. */
static Status match_key(const ColumnRun *run) {
  const ColumnRunIndex *index = run->index;
  const Schema *schema = run->schema;
  bool matches = schema->key_count == index->key_count;
  for (uint32_t k = 0; matches && k < index->key_count; k++) {
    const RunColumn *stored = &index->columns[index->key_columns[k]];
    matches = index->stored[schema->key_columns[k]] == index->key_columns[k] && !stored->is_nullable &&
              !(schema->columns[schema->key_columns[k]].flags & COLUMN_NULLABLE);
  }
  return matches ? KVSTORE_OK : directory_damaged("its key is not the table's");
}

/* Finds every column of the schema among the stored ones. */
static Status match_schema(ColumnRun *run) {
  ColumnRunIndex *index = run->index;
  const Schema *schema = run->schema;
  index->stored = arena_allocate(&index->arena, schema->column_count * sizeof *index->stored);
  if (!index->stored) return status_nomem();
  for (uint32_t c = 0; c < schema->column_count; c++) {
    const Column *column = &schema->columns[c];
    uint32_t stored = find_stored(index, column->id);
    index->stored[c] = stored;
    bool is_nullable = column->flags & COLUMN_NULLABLE;
    if (stored == COLUMN_ABSENT) {
      if (!is_nullable && (!run->defaults || run->defaults[c].is_null)) {
        return status_fail(KVSTORE_CORRUPT, "a column run lacks the column %s, which has no default", column->name);
      }
    } else if (index->columns[stored].type != column->type || index->columns[stored].width != column->width ||
               (index->columns[stored].is_nullable && !is_nullable)) {
      return status_fail(KVSTORE_CORRUPT, "a column run stores the column %s as another type", column->name);
    }
  }
  TRY(match_key(run));
  index->key_is_image = index->key_count == 1 && !type_is_string(index->columns[index->key_columns[0]].type);
  return KVSTORE_OK;
}

/* ---- the segments ---- */

static Status read_place(Reader *in, const RunColumn *column, const Segment *s, uint64_t extent_length,
                         ChunkPlace *place) {
  place->offset = reader_u64(in);
  place->length = reader_u64(in);
  place->zone.minimum = (int64_t)reader_u64(in);
  place->zone.maximum = (int64_t)reader_u64(in);
  place->zone.null_count = reader_u32(in);
  place->encoding = reader_u8(in);
  place->lane = reader_u8(in);
  if (column->is_array != (place->encoding == ENCODING_ARRAY)) return directory_damaged("the encoding of an array");
  if (in->failed || place->offset % CHUNK_ALIGNMENT || place->offset > extent_length ||
      place->length > extent_length - place->offset) {
    return directory_damaged("the place of a chunk");
  }
  const ColumnZone *zone = &place->zone;
  bool is_empty = zone->null_count == s->row_count;
  bool is_valid = is_empty ? zone->minimum == INT64_MAX && zone->maximum == INT64_MIN : zone->minimum <= zone->maximum;
  if (!is_valid || zone->null_count > s->row_count || (zone->null_count && !column->is_nullable)) {
    return directory_damaged("the zone of a chunk");
  }
  return KVSTORE_OK;
}

static Status read_key(Reader *in, Arena *arena, Bytes *key) {
  Bytes read = reader_bytes(in);
  if (in->failed || !read.length || read.length > KEY_BYTES_MAX) return directory_damaged("a key");
  key->data = arena_copy(arena, read.data, read.length);
  key->length = read.length;
  return key->data ? KVSTORE_OK : status_nomem();
}

static int key_compare(Bytes a, Bytes b) { return bytes_compare(a.data, a.length, b.data, b.length); }

static const ColumnZone empty_zone = { INT64_MAX, INT64_MIN, 0 };

static void zone_add(ColumnZone *zone, const ColumnZone *other) {
  if (other->minimum < zone->minimum) zone->minimum = other->minimum;
  if (other->maximum > zone->maximum) zone->maximum = other->maximum;
  zone->null_count += other->null_count;
}

/* The zone of the expiry chunk and the segment's range say the same. */
static bool expiry_agrees(const Segment *s, const ColumnZone *zone) {
  return s->expiry_min == zone->minimum && s->expiry_max == (zone->null_count ? EXPIRY_NEVER : zone->maximum);
}

static Status read_segment(Reader *in, ColumnRun *run, Segment *s) {
  ColumnRunIndex *index = run->index;
  uint32_t has_expiry;
  s->extent = reader_u32(in);
  s->row_count = reader_u32(in);
  has_expiry = reader_u8(in);
  s->expiry_min = (int64_t)reader_u64(in);
  s->expiry_max = (int64_t)reader_u64(in);
  if (in->failed || !s->row_count || s->row_count > SEGMENT_ROWS || has_expiry > 1 ||
      s->extent >= index->source_count) {
    return directory_damaged("a segment");
  }
  if (s->number && s->extent <= s[-1].extent) return directory_damaged("its extents are out of order");
  s->has_expiry = has_expiry;
  s->block_count = (s->row_count + BLOCK_ROWS - 1) / BLOCK_ROWS;
  TRY(read_key(in, &index->arena, &s->first_key));
  TRY(read_key(in, &index->arena, &s->last_key));
  int order = key_compare(s->first_key, s->last_key);
  if (s->row_count == 1 ? order != 0 : order >= 0) return directory_damaged("the keys of a segment");
  if (s->number && key_compare(s[-1].last_key, s->first_key) >= 0) return directory_damaged("its segments overlap");

  uint32_t chunk_count = index->column_count + has_expiry;
  ChunkPlace *places = arena_allocate(&index->arena, chunk_count * sizeof *places);
  if (!places) return status_nomem();
  s->places = places;
  uint64_t extent_length = index->sources[s->extent].length;
  for (uint32_t c = 0; c < chunk_count; c++) TRY(read_place(in, &index->columns[c], s, extent_length, &places[c]));
  for (uint32_t c = 0; c < index->column_count; c++) zone_add(&index->zones[c], &places[c].zone);
  if (has_expiry ? s->expiry_min == EXPIRY_NEVER || !expiry_agrees(s, &places[index->column_count].zone)
                 : s->expiry_min != EXPIRY_NEVER || s->expiry_max != EXPIRY_NEVER) {
    return directory_damaged("the expiry of a segment");
  }
  return KVSTORE_OK;
}

/* Their extents follow those of the segments, and have the length that the rows say. */
static Status check_arrays(const ColumnRun *run) {
  const ColumnRunIndex *index = run->index;
  uint32_t last = run->segments[run->segment_count - 1].extent;
  for (uint32_t c = 0; c < index->column_count; c++) {
    const RunColumn *column = &index->columns[c];
    if (!column->is_array) continue;
    if (type_has_offsets(column->type)) return directory_damaged("the type of an array");
    if (column->extent <= last || column->extent >= index->source_count ||
        index->sources[column->extent].length != chunk_array_bytes(column->type, column->width, run->row_count)) {
      return directory_damaged("the place of an array");
    }
    last = column->extent;
  }
  return KVSTORE_OK;
}

static Status read_segments(Reader *in, ColumnRun *run) {
  ColumnRunIndex *index = run->index;
  run->segments = arena_allocate_zeroed(&index->arena, run->segment_count * sizeof *run->segments);
  index->zones = arena_allocate(&index->arena, index->column_count * sizeof *index->zones);
  if (!run->segments || !index->zones) return status_nomem();
  for (uint32_t c = 0; c < index->column_count; c++) index->zones[c] = empty_zone;
  uint64_t rows = 0;
  run->expiry_min = EXPIRY_NEVER;
  run->expiry_max = INT64_MIN;
  for (uint32_t i = 0; i < run->segment_count; i++) {
    Segment *s = &run->segments[i];
    s->run = run;
    s->number = i;
    s->first_row = rows;
    TRY(read_segment(in, run, s));
    rows += s->row_count;
    if (s->expiry_min < run->expiry_min) run->expiry_min = s->expiry_min;
    if (s->expiry_max > run->expiry_max) run->expiry_max = s->expiry_max;
  }
  if (rows != run->row_count || reader_left(in)) return directory_damaged("its length");
  TRY(check_arrays(run));
  run->first_key = run->segments[0].first_key;
  run->last_key = run->segments[run->segment_count - 1].last_key;
  run->first_head = bytes_prefix64(run->first_key.data, run->first_key.length);
  run->last_head = bytes_prefix64(run->last_key.data, run->last_key.length);
  index->key_prefix = keys_common_prefix(run->first_key, run->last_key);
  for (uint32_t i = 0; i < run->segment_count; i++) {
    index->heads[i] = key_head(run->segments[i].first_key, index->key_prefix);
  }
  return KVSTORE_OK;
}

static Status read_directory(Reader *in, ColumnRun *run) {
  ColumnRunIndex *index = run->index;
  if (reader_u32(in) != RUN_MAGIC) return directory_damaged("it does not begin as one");
  run->schema_version = reader_u32(in);
  run->row_count = reader_u64(in);
  run->segment_count = reader_u32(in);
  index->column_count = reader_u32(in);
  if (in->failed || !run->segment_count || run->segment_count > RUN_SEGMENTS_MAX || !index->column_count ||
      index->column_count > COLUMNS_MAX + 1) { /* one more: the hidden row id */
    return directory_damaged("its counts");
  }
  TRY(read_key_columns(in, index));
  TRY(read_columns(in, index));
  TRY(match_schema(run));
  return read_segments(in, run);
}

Status column_run_open(const void *directory, size_t length, const RunSources *sources, const Schema *schema,
                       const Value *defaults, ColumnRun **run) {
  *run = NULL;
  ColumnRun *made = memory_allocate_zeroed(sizeof *made);
  ColumnRunIndex *index = memory_allocate_zeroed(sizeof *index);
  if (!made || !index) {
    memory_release(made);
    memory_release(index);
    return status_nomem();
  }
  made->index = index;
  made->schema = schema;
  made->defaults = defaults;
  index->sources = sources->sources;
  index->source_count = sources->count;
  Reader in = reader_over(directory, length);
  Status status = read_directory(&in, made);
  if (status != KVSTORE_OK) {
    column_run_close(made);
    return status;
  }
  *run = made;
  return KVSTORE_OK;
}

void column_run_close(ColumnRun *run) {
  if (!run) return;
  for (uint32_t i = 0; run->segments && i < run->segment_count; i++) segment_close(&run->segments[i]);
  arena_release(&run->index->arena);
  memory_release(run->index);
  memory_release(run);
}

static uint64_t segment_memory(Segment *s) {
  const SegmentOpen *o = atomic_load_explicit(&s->opened, memory_order_acquire);
  if (!o) return 0;
  uint32_t chunks = segment_chunk_count(s);
  uint64_t bytes = sizeof *o + chunks * sizeof o->chunks[0];
  for (uint32_t i = 0; i < chunks; i++)
    if (atomic_load_explicit(&o->chunks[i], memory_order_acquire)) bytes += sizeof(ChunkSlot);
  uint64_t fences = 4 * ((uint64_t)s->block_count + 1);
  return o->copies ? bytes + fences + load_u32(o->fence_table + fences - 4) + o->filter_bytes : bytes;
}

uint64_t column_run_memory(const ColumnRun *run) {
  uint64_t bytes = sizeof *run + sizeof *run->index + run->index->arena.bytes_held;
  for (uint32_t i = 0; i < run->segment_count; i++) bytes += segment_memory(&run->segments[i]);
  return bytes;
}

/* ---- what the directory answers ---- */

bool column_run_is_full(const ColumnRun *run) {
  const ColumnRunIndex *index = run->index;
  bool is_full = run->segment_count == RUN_SEGMENTS_MAX;
  for (uint32_t c = 0; c < index->column_count && !is_full; c++) {
    const RunColumn *column = &index->columns[c];
    uint64_t bytes = run->row_count * chunk_array_width(column->type, column->width);
    is_full = column->is_array && bytes >= RUN_ARRAY_BYTES_MAX;
  }
  return is_full;
}

bool column_run_has(const ColumnRun *run, uint32_t column) { return run->index->stored[column] != COLUMN_ABSENT; }

Value column_run_default(const ColumnRun *run, uint32_t column) {
  if (run->defaults) return run->defaults[column];
  return (Value){ .type = run->schema->columns[column].type, .is_null = true };
}

const ChunkPlace *segment_place(const Segment *s, uint32_t column) {
  const ColumnRunIndex *index = s->run->index;
  if (column == COLUMN_EXPIRY) return s->has_expiry ? &s->places[index->column_count] : NULL;
  uint32_t stored = index->stored[column];
  return stored == COLUMN_ABSENT ? NULL : &s->places[stored];
}

enum { ZONES_AHEAD = 6 }; /* segments: who asks of one asks of those behind it next */

/* Of a column that is not stored. */
static ColumnZone default_zone(const ColumnRun *run, uint32_t column, uint32_t row_count) {
  Value value = column_run_default(run, column);
  if (value.is_null) return (ColumnZone){ INT64_MAX, INT64_MIN, row_count };
  int64_t image = value_image(&value);
  return (ColumnZone){ image, image, 0 };
}

ColumnZone column_run_zone(const ColumnRun *run, uint32_t column) {
  uint32_t stored = run->index->stored[column];
  return stored == COLUMN_ABSENT ? default_zone(run, column, (uint32_t)run->row_count) : run->index->zones[stored];
}

ColumnZone segment_zone(const Segment *s, uint32_t column) {
  const ChunkPlace *place = segment_place(s, column);
  if (place) {
    if (s->number + ZONES_AHEAD < s->run->segment_count)
      __builtin_prefetch(&s[ZONES_AHEAD].places[place - s->places].zone);
    return place->zone;
  }
  return default_zone(s->run, column, s->row_count);
}

bool column_runs_overlap(const ColumnRun *a, const ColumnRun *b) {
  return key_compare(a->first_key, b->last_key) <= 0 && key_compare(b->first_key, a->last_key) <= 0;
}

Status position_check(ColumnRun *run, uint32_t position, Segment **segment) {
  uint32_t number = position_segment(position);
  if (number >= run->segment_count || position_row(position) >= run->segments[number].row_count) {
    return status_fail(KVSTORE_CORRUPT, "a column run has no row %u in a segment %u", position_row(position), number);
  }
  *segment = &run->segments[number];
  return KVSTORE_OK;
}
