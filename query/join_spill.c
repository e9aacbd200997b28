/* join_spill.c - partitions of rows. */
#include "query/join_spill.h"

#include "base/counters.h"
#include "base/memory.h"

enum { PIECE_BYTES_LEAST = 1 << 9, PIECE_BYTES_MOST = 1 << 16 };

typedef struct Piece {
  uint64_t at;
  uint32_t length, rows;
} Piece;

typedef struct Partition {
  Buffer out;
  uint32_t out_rows;
  Piece *pieces;
  size_t count, capacity;
  uint64_t rows;
} Partition;

typedef struct SpilledColumn {
  uint32_t column;
  size_t width;
  bool is_string;
  uint8_t *values, *nulls; /* a block */
} SpilledColumn;

struct JoinSpill {
  const QuerySpace *space;
  Arena arena;
  SpilledColumn *columns;
  uint32_t column_count;
  ColumnArray *arrays; /* one a column of the schema, of blocks of `columns` */
  Partition *partitions;
  uint32_t partition_count;
  size_t piece_bytes;
  uint64_t bytes;
  /* on the way back */
  const Partition *from;
  size_t next_piece;
  uint8_t *piece;
  size_t piece_capacity;
  Reader in;
  uint32_t rows_left; /* of the piece */
};

/* ---- life ---- */

static Status make_column(JoinSpill *s, const Schema *schema, uint32_t column) {
  SpilledColumn *c = &s->columns[s->column_count++];
  ColumnType type = schema->columns[column].type;
  *c = (SpilledColumn){ .column = column, .width = type_array_width(type), .is_string = type_is_string(type) };
  c->values = arena_allocate_aligned(&s->arena, 64, BLOCK_ROWS * c->width);
  c->nulls = arena_allocate_aligned(&s->arena, 64, BLOCK_ROWS);
  if (!c->values || !c->nulls) return status_nomem();
  s->arrays[column] = (ColumnArray){ c->values, c->nulls };
  return KVSTORE_OK;
}

static Status make(JoinSpill *s, const JoinSpillOptions *o) {
  uint32_t count = o->schema->column_count;
  s->space = o->space;
  s->partition_count = UINT32_C(1) << o->bits;
  uint64_t piece = o->memory / 2 / s->partition_count; /* buffers double as they grow */
  s->piece_bytes = piece < PIECE_BYTES_LEAST ? PIECE_BYTES_LEAST : piece > PIECE_BYTES_MOST ? PIECE_BYTES_MOST : piece;
  s->columns = arena_allocate(&s->arena, (count + 1) * sizeof *s->columns);
  s->arrays = arena_allocate_zeroed(&s->arena, (count + 1) * sizeof *s->arrays);
  s->partitions = arena_allocate_zeroed(&s->arena, s->partition_count * sizeof *s->partitions);
  if (!s->columns || !s->arrays || !s->partitions) return status_nomem();
  for (uint32_t c = 0; c < count; c++)
    if (o->kept[c]) TRY(make_column(s, o->schema, c));
  return KVSTORE_OK;
}

Status join_spill_create(const JoinSpillOptions *options, JoinSpill **out) {
  JoinSpill *s = memory_allocate_zeroed(sizeof *s);
  if (!s) return status_nomem();
  Status status = make(s, options);
  if (status == KVSTORE_OK)
    *out = s;
  else
    join_spill_destroy(s);
  return status;
}

void join_spill_destroy(JoinSpill *s) {
  if (!s) return;
  for (uint32_t p = 0; s->partitions && p < s->partition_count; p++) {
    buffer_release(&s->partitions[p].out);
    memory_release(s->partitions[p].pieces);
  }
  memory_release(s->piece);
  arena_release(&s->arena);
  memory_release(s);
}

uint64_t join_spill_rows(const JoinSpill *s, uint32_t partition) { return s->partitions[partition].rows; }
uint64_t join_spill_bytes(const JoinSpill *s) { return s->bytes; }

/* Of other bits than slots go by, since the rows of a partition are put into slots. */
uint32_t join_spill_partition(uint64_t hash, uint32_t bits) {
  if (!bits) return 0;
  hash = (hash ^ hash >> 32) * UINT64_C(0xD6E8FEB86659FD93);
  hash = (hash ^ hash >> 32) * UINT64_C(0xD6E8FEB86659FD93);
  return (uint32_t)(hash >> (64 - bits));
}

/* ---- rows leave ---- */

static Status end_piece(JoinSpill *s, Partition *p) {
  Piece piece = { 0, (uint32_t)p->out.length, p->out_rows };
  if (!p->out_rows) return KVSTORE_OK;
  TRY(memory_grow(&p->pieces, &p->capacity, p->count + 1, sizeof *p->pieces));
  TRY(s->space->write(s->space->context, p->out.data, p->out.length, &piece.at));
  p->pieces[p->count++] = piece;
  s->bytes += piece.length;
  COUNT_MANY(bytes_spilled, piece.length);
  buffer_clear(&p->out);
  p->out_rows = 0;
  return KVSTORE_OK;
}

static void put_value(const SpilledColumn *c, uint32_t row, Buffer *out) {
  buffer_u8(out, c->nulls[row]);
  if (c->nulls[row]) return;
  const uint8_t *value = c->values + row * c->width;
  if (!c->is_string) {
    buffer_append(out, value, c->width);
    return;
  }
  Bytes text;
  memcpy(&text, value, sizeof text);
  buffer_u32(out, (uint32_t)text.length);
  buffer_append(out, text.data, text.length);
}

Status join_spill_add(JoinSpill *s, Scan *scan, uint32_t block, const uint16_t *rows, const uint16_t *partitions,
                      uint32_t count) {
  for (uint32_t c = 0; c < s->column_count; c++)
    TRY(scan_read_block(scan, s->columns[c].column, block, s->columns[c].values, s->columns[c].nulls));
  for (uint32_t i = 0; i < count; i++) {
    Partition *p = &s->partitions[partitions[i]];
    for (uint32_t c = 0; c < s->column_count; c++) put_value(&s->columns[c], rows[i], &p->out);
    TRY(buffer_status(&p->out));
    p->rows++;
    p->out_rows++;
    if (p->out.length >= s->piece_bytes) TRY(end_piece(s, p));
  }
  return KVSTORE_OK;
}

Status join_spill_end(JoinSpill *s) {
  for (uint32_t i = 0; i < s->partition_count; i++) {
    TRY(end_piece(s, &s->partitions[i]));
    buffer_release(&s->partitions[i].out);
  }
  return KVSTORE_OK;
}

/* ---- rows come back ---- */

void join_spill_begin(JoinSpill *s, uint32_t partition) {
  s->from = &s->partitions[partition];
  s->next_piece = 0;
  s->rows_left = 0;
}

static Status read_piece(JoinSpill *s) {
  const Piece *piece = &s->from->pieces[s->next_piece];
  TRY(memory_grow(&s->piece, &s->piece_capacity, piece->length, 1));
  TRY(s->space->read(s->space->context, piece->at, s->piece, piece->length));
  s->in = reader_over(s->piece, piece->length);
  s->rows_left = piece->rows;
  s->next_piece++;
  return KVSTORE_OK;
}

static void take_value(JoinSpill *s, const SpilledColumn *c, uint32_t row) {
  uint8_t *to = c->values + row * c->width;
  c->nulls[row] = reader_u8(&s->in) != 0;
  size_t length = c->nulls[row] ? 0 : c->is_string ? reader_u32(&s->in) : c->width;
  const uint8_t *from = reader_take(&s->in, length);
  if (c->is_string) {
    Bytes text = { from, length };
    memcpy(to, &text, sizeof text);
  } else if (from && length) {
    memcpy(to, from, length);
  } else {
    memset(to, 0, c->width);
  }
}

Status join_spill_next(JoinSpill *s, ScanUnit *piece, bool *found) {
  *found = false;
  if (!s->rows_left) {
    if (!s->from || s->next_piece == s->from->count) return KVSTORE_OK;
    TRY(read_piece(s));
  }
  uint32_t count = s->rows_left < BLOCK_ROWS ? s->rows_left : BLOCK_ROWS;
  for (uint32_t i = 0; i < count; i++)
    for (uint32_t c = 0; c < s->column_count; c++) take_value(s, &s->columns[c], i);
  if (s->in.failed) return status_fail(KVSTORE_CORRUPT, "a query's scratch file is not as it was written");
  s->rows_left -= count;
  *piece = (ScanUnit){ .kind = SCAN_UNIT_ARRAYS, .row_count = count, .columns = s->arrays };
  *found = true;
  return KVSTORE_OK;
}
