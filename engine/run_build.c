#include "engine/run_build.h"

#include <string.h>

#include "base/memory.h"
#include "engine/row_stage.h"

/* ---- lists and entries ---- */

Status run_list_add(RunList *list, const RunEntry *entry) {
  TRY(memory_grow(&list->runs, &list->capacity, list->count + 1, sizeof *list->runs));
  TRY(run_entry_copy(entry, list->arena, &list->runs[list->count]));
  list->count++;
  return KVSTORE_OK;
}

void run_list_release(RunList *list) {
  memory_release(list->runs);
  list->runs = NULL;
  list->count = 0;
}

Status run_entry_make(Store *store, SpaceSink *sink, uint32_t kind, uint32_t level, uint32_t schema_version,
                      uint64_t row_count, const Buffer *directory, Arena *arena, RunEntry *out) {
  Extent last;
  TRY(space_write(sink->job, directory->data, directory->length, &last));
  *out = (RunEntry){ 0 };
  out->number = (uint32_t)atomic_fetch_add_explicit(&store->page->next_run.word, 1, memory_order_relaxed);
  out->kind = kind;
  out->level = level;
  out->schema_version = schema_version;
  out->row_count = row_count;
  out->extent_count = sink->count + 1;
  out->extents = arena_copy(arena, sink->job->extents + sink->first, out->extent_count * sizeof(Extent));
  out->deletes = arena_allocate(arena, 1);
  if (!out->extents || !out->deletes) return status_nomem();
  for (uint32_t i = 0; i < out->extent_count; i++) out->data_bytes += extent_bytes(out->extents[i].length);
  return KVSTORE_OK;
}

/* ---- tables ---- */

enum { GATHER_ROWS = 8192 };

/* A row that is still to be copied. */
typedef struct RowPlace {
  const ColumnArray *columns;
  uint32_t row;
} RowPlace;

struct TableRunBuilder {
  Store *store;
  SpaceJob *job;
  const Schema *schema;
  TableRunShape shape;
  Arena *arena;
  RunList runs;
  ColumnRunWriter *writer;
  SpaceSink sink;
  Arena stage_arena;
  RowStage stage;
  int64_t *expiry;
  uint32_t staged;
  RowPlace *places; /* of the rows behind the staged ones */
  uint32_t place_count;
  bool has_expiry;
};

bool era_has_runs_between(const Era *era, Bytes first, Bytes last) {
  for (uint32_t i = 0; i < era->run_count; i++)
    if (column_run_overlaps(era->runs[i].run->columns, first, last)) return true;
  return false;
}

Status table_run_builder_create(Store *store, SpaceJob *job, const Schema *schema, TableRunShape shape, Arena *arena,
                                TableRunBuilder **out) {
  TableRunBuilder *b = memory_allocate_zeroed(sizeof *b);
  if (!b) return status_nomem();
  b->store = store;
  b->job = job;
  b->schema = schema;
  b->shape = shape;
  b->arena = b->runs.arena = arena;
  Status status = row_stage_create(&b->stage, schema, GATHER_ROWS, &b->stage_arena);
  b->expiry = arena_allocate(&b->stage_arena, GATHER_ROWS * sizeof *b->expiry);
  b->places = arena_allocate(&b->stage_arena, GATHER_ROWS * sizeof *b->places);
  if (status == KVSTORE_OK && (!b->expiry || !b->places)) status = status_nomem();
  if (status == KVSTORE_OK)
    *out = b;
  else
    table_run_builder_destroy(b);
  return status;
}

void table_run_builder_destroy(TableRunBuilder *b) {
  if (!b) return;
  column_run_writer_destroy(b->writer);
  run_list_release(&b->runs);
  arena_release(&b->stage_arena);
  memory_release(b);
}

static Status open_writer(TableRunBuilder *b) {
  if (b->writer) return KVSTORE_OK;
  RunSink sink = space_sink(&b->sink, b->job);
  ColumnRunOptions options = { .key_filter = b->shape.key_filter, .threads = b->shape.threads };
  return column_run_writer_create(&sink, b->schema, &options, &b->writer);
}

static Status close_writer(TableRunBuilder *b) {
  Buffer directory = { 0 };
  ColumnRunSummary summary = { 0 };
  RunEntry entry;
  Status status = column_run_writer_finish(b->writer, &directory, &summary);
  if (status == KVSTORE_OK)
    status = run_entry_make(b->store, &b->sink, RUN_COLUMNS, 0, b->schema->version, summary.row_count, &directory,
                            b->arena, &entry);
  if (status == KVSTORE_OK) status = run_list_add(&b->runs, &entry);
  column_run_summary_release(&summary);
  buffer_release(&directory);
  column_run_writer_destroy(b->writer);
  b->writer = NULL;
  return status;
}

Status table_run_builder_add_batch(TableRunBuilder *b, const ColumnBatch *rows) {
  for (uint32_t next = 0; next < rows->row_count;) {
    TRY(open_writer(b));
    TRY(column_run_writer_add(b->writer, rows, &next));
    if (column_run_writer_is_full(b->writer)) TRY(close_writer(b));
  }
  return KVSTORE_OK;
}

/* Column by column: rows of deltas lie anywhere, and so the memory is asked for many of them at a time. */
#define GATHER_PLACES(type)                                                              \
  for (uint32_t i = 0; i < b->place_count; i++) {                                        \
    const uint8_t *from = b->places[i].columns[c].values;                                \
    memcpy(to + i * sizeof(type), from + b->places[i].row * sizeof(type), sizeof(type)); \
  }                                                                                      \
  break;
static void stage_places(TableRunBuilder *b) {
  for (uint32_t c = 0; c < b->schema->column_count && b->place_count; c++) {
    size_t width = type_array_width(b->schema->columns[c].type);
    uint8_t *to = (uint8_t *)b->stage.values[c] + b->staged * width, *nulls = b->stage.nulls[c] + b->staged;
    switch (width) {
    case 1: GATHER_PLACES(uint8_t)
    case 2: GATHER_PLACES(uint16_t)
    case 4: GATHER_PLACES(uint32_t)
    case 8: GATHER_PLACES(uint64_t)
    default: GATHER_PLACES(Bytes)
    }
    for (uint32_t i = 0; i < b->place_count; i++) {
      const uint8_t *from = b->places[i].columns[c].nulls;
      nulls[i] = from ? from[b->places[i].row] : 0;
    }
  }
  b->staged += b->place_count;
  b->place_count = 0;
}
#undef GATHER_PLACES

static Status flush_stage(TableRunBuilder *b) {
  stage_places(b);
  if (!b->staged) return KVSTORE_OK;
  ColumnBatch batch = { b->staged, b->schema->column_count, b->stage.columns, b->has_expiry ? b->expiry : NULL };
  b->staged = 0;
  return table_run_builder_add_batch(b, &batch);
}

/* Values of `rows`, one after the other; a loop for each width that arrays have. */
#define GATHER(type) \
  for (uint32_t i = 0; i < count; i++) { memcpy(to + i * sizeof(type), from + rows[i] * sizeof(type), sizeof(type)); }
static void gather(const uint8_t *from, size_t width, const uint32_t *rows, uint32_t count, uint8_t *to) {
  switch (width) {
  case 1: GATHER(uint8_t) break;
  case 2: GATHER(uint16_t) break;
  case 4: GATHER(uint32_t) break;
  case 8: GATHER(uint64_t) break;
  case sizeof(Bytes): GATHER(Bytes) break;
  default:
    for (uint32_t i = 0; i < count; i++) memcpy(to + i * width, from + rows[i] * width, width);
  }
}

static void stage_rows(TableRunBuilder *b, const ColumnBatch *rows, const uint32_t *order, uint32_t count) {
  uint32_t to = b->staged;
  b->staged += count;
  for (uint32_t c = 0; c < b->schema->column_count; c++) {
    size_t width = type_array_width(b->schema->columns[c].type);
    const ColumnArray *column = &rows->columns[c];
    gather(column->values, width, order, count, (uint8_t *)b->stage.values[c] + to * width);
    if (column->nulls)
      gather(column->nulls, 1, order, count, b->stage.nulls[c] + to);
    else
      memset(b->stage.nulls[c] + to, 0, count);
  }
  for (uint32_t i = 0; i < count; i++) {
    b->expiry[to + i] = rows->expiry ? rows->expiry[order[i]] : EXPIRY_NEVER;
    b->has_expiry |= b->expiry[to + i] != EXPIRY_NEVER;
  }
}

Status table_run_builder_add_rows(TableRunBuilder *b, const ColumnBatch *rows, const uint32_t *order, uint32_t count) {
  stage_places(b);
  for (uint32_t done = 0; done < count;) {
    if (b->staged == GATHER_ROWS) TRY(flush_stage(b));
    uint32_t room = GATHER_ROWS - b->staged, part = count - done < room ? count - done : room;
    stage_rows(b, rows, order + done, part);
    done += part;
  }
  return KVSTORE_OK;
}

Status table_run_builder_add(TableRunBuilder *b, const TableDelta *delta, uint32_t row) {
  if (b->staged + b->place_count == GATHER_ROWS) TRY(flush_stage(b));
  TableSlab slab = table_delta_slab(delta, table_slab_of(row));
  uint32_t at = table_slab_offset(row), to = b->staged + b->place_count;
  b->places[b->place_count++] = (RowPlace){ slab.columns, at };
  b->expiry[to] = slab.expiry ? slab.expiry[at] : EXPIRY_NEVER;
  b->has_expiry |= b->expiry[to] != EXPIRY_NEVER;
  return KVSTORE_OK;
}

Status table_run_builder_finish(TableRunBuilder *b, RunList *list) {
  TRY(flush_stage(b));
  if (b->writer) TRY(close_writer(b));
  for (uint32_t i = b->runs.count; i-- > 0;) TRY(run_list_add(list, &b->runs.runs[i]));
  return KVSTORE_OK;
}
