/* column_get.c - values of a run by position: one, some, or a whole segment. */
#include <string.h>

#include "base/keycode.h"
#include "columnar/column_run_internal.h"

enum { DECODE_MIN = 32 }; /* rows of one block from which on decoding it whole is cheaper than asking for each */

/* ---- one value ---- */

Status chunk_get(const Chunk *chunk, uint32_t row, Buffer *scratch, Value *out) {
  uint8_t *room = NULL;
  uint64_t bytes = codec_get_room(chunk);
  buffer_clear(scratch);
  if (bytes) {
    room = buffer_extend(scratch, (size_t)bytes);
    if (!room) return status_nomem();
  }
  codec_get_into(chunk, row, out, room);
  return KVSTORE_OK;
}

/* Strings of a chunk that is pinned only for now move to the scratch, unless they were made there. */
static Status value_keep(const ChunkHold *hold, Buffer *scratch, Value *value) {
  if (!chunk_hold_is_cached(hold) || value->is_null || !type_is_string(value->type) || scratch->length)
    return KVSTORE_OK;
  buffer_append(scratch, value->s.data, value->s.length);
  TRY(buffer_status(scratch));
  value->s.data = scratch->data;
  return KVSTORE_OK;
}

Status column_run_get(ColumnRun *run, uint32_t position, uint32_t column, Buffer *scratch, Value *out) {
  Segment *s;
  ChunkHold hold;
  TRY(position_check(run, position, &s));
  if (!column_run_has(run, column)) {
    *out = column_run_default(run, column);
    return KVSTORE_OK;
  }
  TRY(segment_chunk(s, column, &hold));
  uint32_t row = position_row(position);
  Status status = chunk_hold_block(&hold, row / BLOCK_ROWS);
  if (status == KVSTORE_OK) {
    status = chunk_get(hold.chunk, row, scratch, out);
    if (status == KVSTORE_OK) status = value_keep(&hold, scratch, out);
  }
  segment_chunk_release(&hold);
  return status;
}

Status column_run_get_expiry(ColumnRun *run, uint32_t position, int64_t *expiry) {
  Segment *s;
  ChunkHold hold;
  TRY(position_check(run, position, &s));
  *expiry = EXPIRY_NEVER;
  if (!s->has_expiry) return KVSTORE_OK;
  TRY(segment_chunk(s, COLUMN_EXPIRY, &hold));
  uint32_t row = position_row(position);
  Status status = chunk_hold_block(&hold, row / BLOCK_ROWS);
  if (status == KVSTORE_OK) {
    Value value;
    codec_get(hold.chunk, row, &value);
    if (!value.is_null) *expiry = value.i;
  }
  segment_chunk_release(&hold);
  return status;
}

Status column_run_get_key(ColumnRun *run, uint32_t position, Buffer *key) {
  Buffer scratch = { 0 };
  Status status = KVSTORE_OK;
  for (uint32_t k = 0; k < run->schema->key_count && status == KVSTORE_OK; k++) {
    Value value;
    status = column_run_get(run, position, run->schema->key_columns[k], &scratch, &value);
    if (status == KVSTORE_OK) keycode_append(key, &value, false);
  }
  buffer_release(&scratch);
  return status == KVSTORE_OK ? buffer_status(key) : status;
}

/* ---- arrays of a column ---- */

/* The array that a column is decoded into. */
typedef struct OutputColumn {
  ColumnType type;
  size_t width;
  uint8_t *values;
  uint8_t *nulls; /* NULL: the chunk has none */
} OutputColumn;

/* `rows` entries and what a whole block may write past them. */
static Status output_allocate(OutputColumn *out, ColumnType type, bool has_nulls, size_t rows, Arena *arena) {
  size_t entries = (size_t)round_up(rows, BLOCK_ROWS);
  out->type = type;
  out->width = type_array_width(type);
  out->values = arena_allocate(arena, entries * out->width);
  out->nulls = has_nulls ? arena_allocate(arena, entries) : NULL;
  return out->values && (out->nulls || !has_nulls) ? KVSTORE_OK : status_nomem();
}

/* Copies the strings of entries [0, count) into the arena: the chunk that they lie in is pinned only for now. */
static Status copy_strings(Bytes *strings, size_t count, Arena *arena) {
  size_t total = 0;
  for (size_t i = 0; i < count; i++) total += strings[i].length;
  uint8_t *at = arena_allocate(arena, total);
  if (!at) return status_nomem();
  for (size_t i = 0; i < count; i++) {
    if (strings[i].length) memcpy(at, strings[i].data, strings[i].length);
    strings[i].data = at;
    at += strings[i].length;
  }
  return KVSTORE_OK;
}

static Status keep_strings(const ChunkHold *hold, const OutputColumn *out, size_t count, Arena *arena) {
  bool are_ours = codec_get_room(hold->chunk) > 0;
  if (!chunk_hold_is_cached(hold) || !type_is_string(out->type) || are_ours) return KVSTORE_OK;
  return copy_strings((Bytes *)(void *)out->values, count, arena);
}

/* A column that the run does not store. */
static Status fill_default(const ColumnRun *run, uint32_t column, size_t rows, ColumnArray *array, Arena *arena) {
  Value value = column_run_default(run, column);
  OutputColumn out;
  TRY(output_allocate(&out, run->schema->columns[column].type, value.is_null, rows, arena));
  if (value.is_null) {
    memset(out.values, 0, rows * out.width);
    memset(out.nulls, 1, rows);
  }
  for (size_t row = 0; row < rows && !value.is_null; row++) value_to_array(&value, out.values, row);
  *array = (ColumnArray){ out.values, out.nulls };
  return KVSTORE_OK;
}

/* ---- some rows ---- */

static Status verify_rows(const ChunkHold *hold, const uint16_t *rows, size_t count) {
  uint64_t blocks = 0;
  for (size_t i = 0; i < count; i++) blocks |= UINT64_C(1) << (rows[i] / BLOCK_ROWS);
  return chunk_hold_blocks(hold, blocks);
}

/* How many of the next rows lie in the block of the first. */
static size_t same_block(const uint16_t *rows, size_t count) {
  size_t same = 1;
  while (same < count && rows[same] / BLOCK_ROWS == rows[0] / BLOCK_ROWS) same++;
  return same;
}

/* Room in the arena for strings that do not lie in the chunk: *room is NULL when it takes none. */
static Status room_allocate(uint64_t bytes, Arena *arena, uint8_t **room) {
  *room = bytes ? arena_allocate(arena, (size_t)bytes) : NULL;
  return bytes && !*room ? status_nomem() : KVSTORE_OK;
}

static Status get_each(const Chunk *chunk, const uint16_t *rows, size_t first, size_t end, const OutputColumn *out,
                       Arena *arena) {
  uint8_t *room;
  TRY(room_allocate(codec_get_room(chunk), arena, &room));
  for (size_t i = first; i < end; i++) {
    Value value;
    codec_get_into(chunk, rows[i], &value, room);
    if (room && !value.is_null && value.s.length) {
      value.s.data = arena_copy(arena, value.s.data, value.s.length);
      if (!value.s.data) return status_nomem();
    }
    if (out->nulls) out->nulls[i] = value.is_null;
    if (value.is_null) {
      memset(out->values + i * out->width, 0, out->width);
    } else {
      value_to_array(&value, out->values, i);
    }
  }
  return KVSTORE_OK;
}

/* The entries of one decoded block that are wanted. */
static void gather(const uint8_t *block, const uint16_t *rows, size_t count, size_t width, uint8_t *to) {
  switch (width) {
  case 1:
    for (size_t i = 0; i < count; i++) to[i] = block[rows[i] % BLOCK_ROWS];
    break;
  case 4:
    for (size_t i = 0; i < count; i++) memcpy(to + 4 * i, block + 4 * (rows[i] % BLOCK_ROWS), 4);
    break;
  case 8:
    for (size_t i = 0; i < count; i++) memcpy(to + 8 * i, block + 8 * (rows[i] % BLOCK_ROWS), 8);
    break;
  default:
    for (size_t i = 0; i < count; i++) memcpy(to + width * i, block + width * (rows[i] % BLOCK_ROWS), width);
  }
}

static Status get_decoded(const Chunk *chunk, const uint16_t *rows, size_t first, size_t end, const OutputColumn *out,
                          Arena *arena) {
  Bytes block[BLOCK_ROWS]; /* the widest entries */
  uint8_t nulls[BLOCK_ROWS], *room;
  TRY(room_allocate(codec_decode_room(chunk, rows[first] / BLOCK_ROWS), arena, &room));
  codec_decode_into(chunk, rows[first] / BLOCK_ROWS, block, out->nulls ? nulls : NULL, room);
  gather((const uint8_t *)block, rows + first, end - first, out->width, out->values + first * out->width);
  if (out->nulls) gather(nulls, rows + first, end - first, 1, out->nulls + first);
  return KVSTORE_OK;
}

/* The few of one block, of a type that is no string. */
static void get_gathered(const Chunk *chunk, const uint16_t *rows, size_t first, size_t end, const OutputColumn *out) {
  uint16_t within[DECODE_MIN];
  uint8_t none[DECODE_MIN], *nulls = out->nulls ? out->nulls + first : none;
  for (size_t i = first; i < end; i++) within[i - first] = rows[i] % BLOCK_ROWS;
  codec_gather(chunk, rows[first] / BLOCK_ROWS, within, (uint32_t)(end - first), out->values + first * out->width,
               nulls);
}

static Status read_column(const ChunkHold *hold, const uint16_t *rows, size_t count, ColumnType type,
                          ColumnArray *array, Arena *arena) {
  OutputColumn out;
  TRY(output_allocate(&out, type, hold->chunk->has_nulls, count, arena));
  TRY(verify_rows(hold, rows, count));
  for (size_t first = 0, end; first < count; first = end) {
    end = first + same_block(rows + first, count - first);
    if (end - first >= DECODE_MIN) {
      TRY(get_decoded(hold->chunk, rows, first, end, &out, arena));
    } else if (type_is_string(type)) {
      TRY(get_each(hold->chunk, rows, first, end, &out, arena));
    } else {
      get_gathered(hold->chunk, rows, first, end, &out);
    }
  }
  TRY(keep_strings(hold, &out, count, arena));
  bool any_null = out.nulls && memchr(out.nulls, 1, count);
  *array = (ColumnArray){ out.values, any_null ? out.nulls : NULL };
  return KVSTORE_OK;
}

/* KVSTORE_CORRUPT unless there are such rows. */
static Status find_rows(ColumnRun *run, uint32_t segment, const uint16_t *rows, size_t count, Segment **out) {
  if (segment >= run->segment_count) return status_fail(KVSTORE_CORRUPT, "a column run has no segment %u", segment);
  Segment *s = *out = column_run_segment(run, segment);
  for (size_t i = 0; i < count; i++) {
    if (rows[i] >= s->row_count) return status_fail(KVSTORE_CORRUPT, "segment %u has no row %u", segment, rows[i]);
  }
  return KVSTORE_OK;
}

Status column_run_read_rows(ColumnRun *run, uint32_t segment, const uint16_t *rows, size_t count,
                            const uint32_t *columns, size_t column_count, ColumnArray *out, Arena *arena) {
  Segment *s;
  TRY(find_rows(run, segment, rows, count, &s));
  for (size_t c = 0; c < column_count; c++) {
    if (!column_run_has(run, columns[c])) {
      TRY(fill_default(run, columns[c], count, &out[c], arena));
      continue;
    }
    ChunkHold hold;
    TRY(segment_chunk(s, columns[c], &hold));
    Status status = read_column(&hold, rows, count, run->schema->columns[columns[c]].type, &out[c], arena);
    segment_chunk_release(&hold);
    TRY(status);
  }
  return KVSTORE_OK;
}

Status column_run_read_expiries(ColumnRun *run, uint32_t segment, const uint16_t *rows, size_t count, int64_t *expiries,
                                Arena *arena) {
  Segment *s;
  ChunkHold hold;
  ColumnArray array;
  TRY(find_rows(run, segment, rows, count, &s));
  TRY(segment_chunk(s, COLUMN_EXPIRY, &hold));
  Status status = read_column(&hold, rows, count, TYPE_I64, &array, arena);
  segment_chunk_release(&hold);
  TRY(status);
  const int64_t *values = array.values;
  for (size_t i = 0; i < count; i++) expiries[i] = array.nulls && array.nulls[i] ? EXPIRY_NEVER : values[i];
  return KVSTORE_OK;
}

/* ---- a whole segment ---- */

static uint64_t all_blocks(const Segment *s) { return UINT64_MAX >> (SEGMENT_BLOCKS - s->block_count); }

static Status decode_chunk(Segment *s, const ChunkHold *hold, OutputColumn *out, Arena *arena) {
  TRY(chunk_hold_blocks(hold, all_blocks(s)));
  for (uint32_t block = 0; block < s->block_count; block++) {
    size_t first = (size_t)block * BLOCK_ROWS;
    uint8_t *room;
    TRY(room_allocate(codec_decode_room(hold->chunk, block), arena, &room));
    codec_decode_into(hold->chunk, block, out->values + first * out->width, out->nulls ? out->nulls + first : NULL,
                      room);
  }
  return keep_strings(hold, out, s->row_count, arena);
}

static Status decode_column(Segment *s, uint32_t column, ColumnType type, OutputColumn *out, Arena *arena) {
  ChunkHold hold;
  TRY(segment_chunk(s, column, &hold));
  Status status = output_allocate(out, type, hold.chunk->has_nulls, s->row_count, arena);
  if (status == KVSTORE_OK) status = decode_chunk(s, &hold, out, arena);
  segment_chunk_release(&hold);
  return status;
}

static Status decode_expiry(Segment *s, int64_t **expiry, Arena *arena) {
  OutputColumn out;
  *expiry = NULL;
  if (!s->has_expiry) return KVSTORE_OK;
  TRY(decode_column(s, COLUMN_EXPIRY, TYPE_I64, &out, arena));
  int64_t *values = (int64_t *)(void *)out.values;
  for (uint32_t row = 0; out.nulls && row < s->row_count; row++) {
    if (out.nulls[row]) values[row] = EXPIRY_NEVER;
  }
  *expiry = values;
  return KVSTORE_OK;
}

Status segment_decode(Segment *s, ColumnBatch *batch, Arena *arena) {
  const ColumnRun *run = s->run;
  uint32_t column_count = run->schema->column_count;
  ColumnArray *columns = arena_allocate(arena, column_count * sizeof *columns);
  if (!columns) return status_nomem();
  for (uint32_t c = 0; c < column_count; c++) {
    if (!column_run_has(run, c)) {
      TRY(fill_default(run, c, s->row_count, &columns[c], arena));
      continue;
    }
    OutputColumn out;
    TRY(decode_column(s, c, run->schema->columns[c].type, &out, arena));
    columns[c] = (ColumnArray){ out.values, out.nulls };
  }
  int64_t *expiry;
  TRY(decode_expiry(s, &expiry, arena));
  *batch = (ColumnBatch){ s->row_count, column_count, columns, expiry };
  return KVSTORE_OK;
}
