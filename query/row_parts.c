/* row_parts.c - rows in buffers, pieces of a file, and arrays again. */
#include "query/row_parts.h"

#include "base/counters.h"
#include "base/memory.h"
#include "query/query_internal.h"

enum {
  PART_BITS = 5,
  PARTS = 1 << PART_BITS,
  LEVELS = 12,            /* then the bits come again */
  PIECE_BYTES_MIN = 4096, /* however little memory there is */
  HEAD_BYTES = 4,
  NULL_MARK = 15,
  WORD_BYTES = 8,
  BUFFER_GROWTH = 2, /* buffers may take twice what they hold */
};

typedef struct PartPiece {
  uint64_t at;
  size_t length;
} PartPiece;

typedef struct RowPart {
  PartPiece *pieces;
  size_t piece_count, piece_capacity;
  uint32_t level;
  Buffer out; /* the piece being written */
  uint32_t row_count;
  uint64_t hash; /* of the first row */
  bool has_rows, has_others;
} RowPart;

struct RowParts {
  const ColumnType *types;
  uint32_t column_count;
  const QuerySpace *space;
  size_t piece_bytes, held_bytes; /* of all that is not written */
  RowPart open[PARTS];            /* being written, all of one level */
  uint32_t level;
  RowPart *waiting; /* the last one is read first, so that few wait */
  size_t waiting_count, waiting_capacity;
  RowPart reading;
  size_t next_piece;
  uint8_t *piece;
  size_t piece_capacity;
  Reader in;
  uint32_t rows_left; /* of the piece */
  Arena results;
  ColumnArray *arrays;
  uint64_t bytes;
};

/* ---- life ---- */

static Status allocate(RowParts *p) {
  p->arrays = arena_allocate_zeroed(&p->results, (p->column_count + 1) * sizeof *p->arrays);
  if (!p->arrays) return status_nomem();
  for (uint32_t c = 0; c < p->column_count; c++) {
    p->arrays[c].values = arena_allocate_aligned(&p->results, 64, QUERY_BATCH_ROWS * type_array_width(p->types[c]));
    p->arrays[c].nulls = arena_allocate(&p->results, QUERY_BATCH_ROWS);
    if (!p->arrays[c].values || !p->arrays[c].nulls) return status_nomem();
  }
  return KVSTORE_OK;
}

Status row_parts_create(const ColumnType *types, uint32_t column_count, const QuerySpace *space, uint64_t memory,
                        RowParts **out) {
  RowParts *p = memory_allocate_zeroed(sizeof *p);
  if (!p) return status_nomem();
  uint64_t share = memory / (PARTS * BUFFER_GROWTH);
  p->types = types;
  p->column_count = column_count;
  p->space = space;
  p->piece_bytes = share > PIECE_BYTES_MIN ? (size_t)share : PIECE_BYTES_MIN;
  Status status = allocate(p);
  if (status == KVSTORE_OK)
    *out = p;
  else
    row_parts_destroy(p);
  return status;
}

static void part_release(RowPart *part) {
  memory_release(part->pieces);
  buffer_release(&part->out);
  *part = (RowPart){ 0 };
}

void row_parts_destroy(RowParts *p) {
  if (!p) return;
  for (uint32_t i = 0; i < PARTS; i++) part_release(&p->open[i]);
  for (size_t i = 0; i < p->waiting_count; i++) part_release(&p->waiting[i]);
  part_release(&p->reading);
  memory_release(p->waiting);
  memory_release(p->piece);
  arena_release(&p->results);
  memory_release(p);
}

uint64_t row_parts_bytes(const RowParts *p) { return p->bytes; }

/* ---- words ---- */

static uint64_t word_of(ColumnType type, const void *values, uint32_t row) {
  bool is_float = type_is_float(type);
  int64_t x;
  switch (type_array_width(type)) {
  case 1: x = ((const int8_t *)values)[row]; break;
  case 2: x = ((const int16_t *)values)[row]; break;
  case 4:
    if (is_float) return __builtin_bswap32(((const uint32_t *)values)[row]);
    x = ((const int32_t *)values)[row];
    break;
  default:
    if (is_float) return __builtin_bswap64(((const uint64_t *)values)[row]);
    x = ((const int64_t *)values)[row];
    break;
  }
  return (uint64_t)x << 1 ^ (uint64_t)(x >> 63);
}

static void put_word(ColumnType type, uint64_t word, void *values, uint32_t row) {
  uint64_t x = word >> 1 ^ (0 - (word & 1));
  switch (type_array_width(type)) {
  case 1: ((uint8_t *)values)[row] = (uint8_t)x; break;
  case 2: ((uint16_t *)values)[row] = (uint16_t)x; break;
  case 4: ((uint32_t *)values)[row] = type_is_float(type) ? __builtin_bswap32((uint32_t)word) : (uint32_t)x; break;
  default: ((uint64_t *)values)[row] = type_is_float(type) ? __builtin_bswap64(word) : x; break;
  }
}

static unsigned bytes_of(uint64_t word) { return word ? (71 - (unsigned)__builtin_clzll(word)) / 8 : 0; }

/* ---- out ---- */

static Status end_piece(RowParts *p, RowPart *part) {
  PartPiece piece = { 0, part->out.length };
  if (!part->row_count) return KVSTORE_OK;
  TRY(buffer_status(&part->out));
  store_u32(part->out.data, part->row_count);
  TRY(memory_grow(&part->pieces, &part->piece_capacity, part->piece_count + 1, sizeof *part->pieces));
  TRY(p->space->write(p->space->context, part->out.data, part->out.length, &piece.at));
  part->pieces[part->piece_count++] = piece;
  p->bytes += piece.length;
  p->held_bytes -= piece.length;
  COUNT_MANY(bytes_spilled, piece.length);
  if (part->out.capacity > BUFFER_GROWTH * p->piece_bytes) buffer_release(&part->out); /* of a long row */
  buffer_clear(&part->out);
  part->row_count = 0;
  return KVSTORE_OK;
}

/* At most how many bytes a row takes. */
static size_t row_room(const RowParts *p, const ColumnArray *columns, uint32_t row) {
  size_t room = (p->column_count + 1) / 2 + (size_t)p->column_count * WORD_BYTES;
  for (uint32_t c = 0; c < p->column_count; c++) {
    bool is_null = columns[c].nulls && columns[c].nulls[row];
    if (type_is_string(p->types[c]) && !is_null) room += ((const Bytes *)columns[c].values)[row].length;
  }
  return room;
}

/* A row into room for all of it; where it ends. */
static uint8_t *pack_row(const RowParts *p, const ColumnArray *columns, uint32_t row, uint8_t *marks) {
  uint8_t *out = marks + (p->column_count + 1) / 2;
  memset(marks, 0, (p->column_count + 1) / 2);
  for (uint32_t c = 0; c < p->column_count; c++) {
    unsigned shift = c % 2 * 4;
    if (columns[c].nulls && columns[c].nulls[row]) {
      marks[c / 2] |= (uint8_t)(NULL_MARK << shift);
      continue;
    }
    bool is_string = type_is_string(p->types[c]);
    Bytes string = is_string ? ((const Bytes *)columns[c].values)[row] : (Bytes){ NULL, 0 };
    uint64_t word = is_string ? string.length : word_of(p->types[c], columns[c].values, row);
    unsigned bytes = bytes_of(word);
    marks[c / 2] |= (uint8_t)(bytes << shift);
    store_u64(out, word);
    out += bytes;
    if (string.length) memcpy(out, string.data, string.length);
    out += string.length;
  }
  return out;
}

static Status add_row(RowParts *p, RowPart *part, const ColumnArray *columns, uint32_t row, uint64_t hash) {
  size_t before = part->out.length;
  if (before == 0) buffer_u32(&part->out, 0);
  uint8_t *at = buffer_extend(&part->out, row_room(p, columns, row));
  if (!at) return status_nomem();
  uint8_t *end = pack_row(p, columns, row, at);
  part->out.length = (size_t)(end - part->out.data);
  p->held_bytes += part->out.length - before;
  part->row_count++;
  part->has_others |= part->has_rows && hash != part->hash;
  part->has_rows = true;
  part->hash = hash;
  bool is_full = part->out.length >= p->piece_bytes || p->held_bytes > PARTS * p->piece_bytes;
  return is_full ? end_piece(p, part) : KVSTORE_OK;
}

Status row_parts_add(RowParts *p, const ColumnArray *columns, const uint16_t *rows, uint32_t count,
                     const uint64_t *hashes) {
  unsigned shift = p->level % LEVELS * PART_BITS;
  for (uint32_t i = 0; i < count; i++) {
    RowPart *part = &p->open[hashes[i] << shift >> (64 - PART_BITS)];
    TRY(add_row(p, part, columns, rows ? rows[i] : i, hashes[i]));
  }
  return KVSTORE_OK;
}

/* ---- back ---- */

static Status end_writing(RowParts *p) {
  for (uint32_t i = 0; i < PARTS; i++) {
    RowPart *part = &p->open[i];
    TRY(end_piece(p, part));
    buffer_release(&part->out);
    if (!part->piece_count) continue;
    TRY(memory_grow(&p->waiting, &p->waiting_capacity, p->waiting_count + 1, sizeof *p->waiting));
    part->level = p->level;
    p->waiting[p->waiting_count++] = *part;
    *part = (RowPart){ 0 };
  }
  return KVSTORE_OK;
}

Status row_parts_open(RowParts *p, bool *more) {
  TRY(end_writing(p));
  part_release(&p->reading);
  p->next_piece = 0;
  p->rows_left = 0;
  *more = p->waiting_count > 0;
  if (!*more) return KVSTORE_OK;
  p->reading = p->waiting[--p->waiting_count];
  p->level = p->reading.level + 1;
  COUNT(row_parts_read);
  return KVSTORE_OK;
}

void row_parts_rewind(RowParts *p) {
  p->next_piece = 0;
  p->rows_left = 0;
}

bool row_parts_is_one(const RowParts *p) { return !p->reading.has_others; }

static Status corrupt(void) {
  return status_fail(KVSTORE_CORRUPT, "a query's scratch file holds no row where one belongs");
}

static Status read_piece(RowParts *p) {
  const PartPiece *piece = &p->reading.pieces[p->next_piece++];
  TRY(memory_grow(&p->piece, &p->piece_capacity, piece->length, 1));
  TRY(p->space->read(p->space->context, piece->at, p->piece, piece->length));
  p->in = reader_over(p->piece, piece->length);
  p->rows_left = reader_u32(&p->in);
  return p->rows_left ? KVSTORE_OK : corrupt();
}

static void unpack_value(RowParts *p, uint32_t column, uint32_t row, unsigned mark) {
  void *values = (void *)(uintptr_t)p->arrays[column].values;
  ((uint8_t *)(uintptr_t)p->arrays[column].nulls)[row] = mark == NULL_MARK;
  uint64_t word = 0;
  if (mark != NULL_MARK) {
    const uint8_t *bytes = reader_take(&p->in, mark);
    if (bytes) memcpy(&word, bytes, mark < WORD_BYTES ? mark : WORD_BYTES);
  }
  if (type_is_string(p->types[column]))
    ((Bytes *)values)[row] = (Bytes){ reader_take(&p->in, (size_t)word), (size_t)word };
  else
    put_word(p->types[column], word, values, row);
}

static Status unpack_row(RowParts *p, uint32_t row) {
  const uint8_t *marks = reader_take(&p->in, (p->column_count + 1) / 2);
  for (uint32_t c = 0; marks && c < p->column_count; c++)
    unpack_value(p, c, row, marks[c / 2] >> c % 2 * 4 & NULL_MARK);
  return p->in.failed ? corrupt() : KVSTORE_OK;
}

Status row_parts_next(RowParts *p, QueryBatch *batch) {
  *batch = (QueryBatch){ .column_count = p->column_count, .columns = p->arrays };
  if (!p->rows_left) {
    if (p->next_piece == p->reading.piece_count) return KVSTORE_OK;
    TRY(read_piece(p));
  }
  uint32_t count = p->rows_left < QUERY_BATCH_ROWS ? p->rows_left : QUERY_BATCH_ROWS;
  for (uint32_t row = 0; row < count; row++) TRY(unpack_row(p, row));
  p->rows_left -= count;
  if (!p->rows_left && reader_left(&p->in)) return corrupt();
  batch->row_count = count;
  return KVSTORE_OK;
}
