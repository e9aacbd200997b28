/* arrow_out.c - the rows of a query as an Arrow C stream: batches of a cursor, copied into arrays that own themselves.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "colonnade/kvarrow.h"
#include "kvapi/arrow_room.h"
#include "kvapi/handle.h"
#include "kvapi/queries.h"

enum {
  BATCH_ROWS_MAX = 65536,
  ROOM_ROWS = BATCH_ROWS_MAX + 1024, /* a batch is full when a step of the cursor, of at most 1,024, has filled it */
  ROOM_ALIGNMENT = 64,
  FILL_COLUMNS_MAX = 64, /* of a batch that is filled at once: it has 64 KiB of null bytes for each */
  DECIMAL_BYTES = 16,
  FORMAT_BYTES = 24
};
#define ROOM_BYTES_MAX         ((size_t)64 << 20)
#define BATCH_STRING_BYTES_MAX ((size_t)1 << 30) /* offsets have 32 bits */

typedef struct Stream {
  KVCursor *cursor;
  bool has_begun;
  bool is_full;   /* the next batch will be, as far as is known */
  uint8_t *nulls; /* of a batch that is filled at once, column by column; NULL: none was */
  char error[512];
} Stream;

/* ---- schemas ---- */

/* The metadata of a column of uuids: one key and its value, each behind its length (little-endian, as the machine). */
static const char uuid_extension[] = "\1\0\0\0"
                                     "\24\0\0\0ARROW:extension:name"
                                     "\12\0\0\0arrow.uuid";

static bool is_fixed(int type) { return type == KVTABLE_TYPE_FIXED_BYTES || type == KVTABLE_TYPE_UUID; }

typedef struct SchemaParts { /* what one ArrowSchema owns */
  char format[FORMAT_BYTES];
  char *name;                   /* of any length: the text of what was computed; NULL: it has none */
  struct ArrowSchema *children; /* of a struct: in one piece, and the pointers to them */
  struct ArrowSchema **pointers;
} SchemaParts;

static void schema_release_arrow(struct ArrowSchema *schema) {
  SchemaParts *parts = schema->private_data;
  for (int64_t i = 0; i < schema->n_children; i++)
    if (parts->children[i].release) parts->children[i].release(&parts->children[i]);
  memory_release(parts->name);
  memory_release(parts->children);
  memory_release((void *)parts->pointers);
  memory_release(parts);
  schema->release = NULL;
}

static void write_format(const KVColumnDefinition *column, char format[FORMAT_BYTES]) {
  static const char *const formats[] = {
    [KVTABLE_TYPE_BOOL] = "b",       [KVTABLE_TYPE_I8] = "c",    [KVTABLE_TYPE_I16] = "s",
    [KVTABLE_TYPE_I32] = "i",        [KVTABLE_TYPE_I64] = "l",   [KVTABLE_TYPE_U8] = "C",
    [KVTABLE_TYPE_U16] = "S",        [KVTABLE_TYPE_U32] = "I",   [KVTABLE_TYPE_U64] = "L",
    [KVTABLE_TYPE_F32] = "f",        [KVTABLE_TYPE_F64] = "g",   [KVTABLE_TYPE_DATE] = "tdD",
    [KVTABLE_TYPE_STRING] = "u",     [KVTABLE_TYPE_BYTES] = "z", [KVTABLE_TYPE_TIME] = "ttu",
    [KVTABLE_TYPE_DURATION] = "tDu",
  };
  if (column->type == KVTABLE_TYPE_DECIMAL || column->type == KVTABLE_TYPE_DECIMAL128) {
    int digits = column->type == KVTABLE_TYPE_DECIMAL ? DECIMAL_SCALE_MAX : 38;
    snprintf(format, FORMAT_BYTES, "d:%d,%u", digits, column->width);
  } else if (column->type == KVTABLE_TYPE_TIMESTAMP) {
    snprintf(format, FORMAT_BYTES, "tsu:%s", column->flags & KVTABLE_UTC ? "UTC" : "");
  } else if (is_fixed(column->type)) {
    snprintf(format, FORMAT_BYTES, "w:%u", column->width);
  } else {
    snprintf(format, FORMAT_BYTES, "%s", formats[column->type]);
  }
}

static Status schema_make(struct ArrowSchema *schema) {
  SchemaParts *parts = memory_allocate_zeroed(sizeof *parts);
  memset(schema, 0, sizeof *schema);
  if (!parts) return status_nomem();
  schema->format = parts->format;
  schema->name = "";
  schema->flags = ARROW_FLAG_NULLABLE;
  schema->private_data = parts;
  schema->release = schema_release_arrow;
  return KVSTORE_OK;
}

static Status schema_of_column(KVCursor *cursor, size_t column, struct ArrowSchema *schema) {
  KVColumnDefinition definition;
  TRY(schema_make(schema));
  SchemaParts *parts = schema->private_data;
  int code = kvcursor_column(cursor, column, &definition);
  if (code != KVSTORE_OK) return code;
  write_format(&definition, parts->format);
  if (definition.type == KVTABLE_TYPE_UUID) schema->metadata = uuid_extension;
  schema->name = parts->name = memory_copy_string(definition.name);
  return parts->name ? KVSTORE_OK : status_nomem();
}

static Status fill_schema(KVCursor *cursor, struct ArrowSchema *schema) {
  size_t count = kvcursor_column_count(cursor);
  TRY(schema_make(schema));
  SchemaParts *parts = schema->private_data;
  snprintf(parts->format, FORMAT_BYTES, "+s");
  schema->flags = 0;
  parts->children = memory_allocate_zeroed(memory_array_size(count, sizeof *parts->children));
  parts->pointers = memory_allocate_zeroed(memory_array_size(count, sizeof(struct ArrowSchema *)));
  if (!parts->children || !parts->pointers) return status_nomem();
  schema->children = parts->pointers;
  schema->n_children = (int64_t)count;
  for (size_t i = 0; i < count; i++) {
    parts->pointers[i] = &parts->children[i];
    TRY(schema_of_column(cursor, i, &parts->children[i]));
  }
  return KVSTORE_OK;
}

/* ---- arrays ---- */

typedef struct ColumnParts { /* what one column of a batch owns */
  Buffer validity, values, bytes;
  ArrowRoom *room; /* where values lie instead, from `place` on; NULL: they do not */
  uint8_t *place;
  const void *buffers[3];
  int64_t rows, nulls;
  KVColumnDefinition definition;
} ColumnParts;

typedef struct BatchParts {
  size_t column_count;
  ColumnParts **columns; /* each is its array's: a consumer may move that away */
  struct ArrowArray *children;
  struct ArrowArray **pointers;
  const void *no_validity[1];
} BatchParts;

static void column_release(struct ArrowArray *array) {
  ColumnParts *c = array->private_data;
  buffer_release(&c->validity);
  buffer_release(&c->values);
  buffer_release(&c->bytes);
  arrow_room_leave(c->room);
  memory_release(c);
  array->release = NULL;
}

static void batch_release(struct ArrowArray *array) {
  BatchParts *b = array->private_data;
  for (size_t i = 0; b->children && i < b->column_count; i++)
    if (b->children[i].release) b->children[i].release(&b->children[i]);
  memory_release((void *)b->columns);
  memory_release(b->children);
  memory_release((void *)b->pointers);
  memory_release(b);
  array->release = NULL;
}

static size_t value_width(int type) {
  switch (type) {
  case KVTABLE_TYPE_I8:
  case KVTABLE_TYPE_U8: return 1;
  case KVTABLE_TYPE_I16:
  case KVTABLE_TYPE_U16: return 2;
  case KVTABLE_TYPE_I32:
  case KVTABLE_TYPE_U32:
  case KVTABLE_TYPE_F32:
  case KVTABLE_TYPE_DATE: return 4;
  case KVTABLE_TYPE_DECIMAL:
  case KVTABLE_TYPE_DECIMAL128: return DECIMAL_BYTES;
  default: return 8;
  }
}

static bool bit_of(const uint8_t *bytes, uint8_t of, uint64_t i) { return bytes ? (bytes[i] != 0) == of : true; }

/* Sets the bits of rows from `first` on; a bit that is set is a value, or true. Batches of a cursor mostly end with a
 * whole byte of them. */
static void append_bits(Buffer *bits, int64_t first, const uint8_t *bytes, uint8_t of, uint64_t count) {
  uint64_t at = (uint64_t)first, end = at + count, i = 0;
  size_t more = (size_t)((end + 7) / 8) - (size_t)((at + 7) / 8);
  uint8_t *added = more ? buffer_extend(bits, more) : NULL;
  if (bits->failed) return;
  if (added) memset(added, 0, more);
  for (; i < count && (at + i) % 8; i++) bits->data[(at + i) / 8] |= (uint8_t)(bit_of(bytes, of, i) << (at + i) % 8);
  if (!bytes && i + 8 <= count) memset(bits->data + (at + i) / 8, UINT8_MAX, (count - i) / 8);
  if (!bytes) i += (count - i) / 8 * 8;
  for (; i + 8 <= count; i += 8) {
    unsigned eight = 0;
    for (unsigned k = 0; k < 8; k++) eight |= (unsigned)bit_of(bytes, of, i + k) << k;
    bits->data[(at + i) / 8] = (uint8_t)eight;
  }
  for (; i < count; i++) bits->data[(at + i) / 8] |= (uint8_t)(bit_of(bytes, of, i) << (at + i) % 8);
}

static void append_strings(ColumnParts *c, const KVColumnData *data, uint64_t count) {
  const KVBytes *strings = data->values;
  bool fixed = is_fixed(c->definition.type);
  for (uint64_t i = 0; i < count; i++) {
    bool none = data->nulls && data->nulls[i];
    if (fixed && none) {
      uint8_t *zeros = buffer_extend(&c->bytes, c->definition.width);
      if (zeros) memset(zeros, 0, c->definition.width);
    } else if (!none && strings[i].length) {
      buffer_append(&c->bytes, strings[i].data, strings[i].length);
    }
    if (!fixed) buffer_u32(&c->values, (uint32_t)c->bytes.length);
  }
}

/* A batch fills up in steps of a cursor's: few large steps copy little, and what is not used is not touched. */
static void make_room(Buffer *values, size_t more) {
  if (values->failed || more <= values->capacity - values->length) return;
  if (memory_grow(&values->data, &values->capacity, 4 * values->length + more, 1) != KVSTORE_OK) values->failed = true;
}

/* Their 64 bits, and as many of their sign. */
static void write_decimals(uint8_t *to, const int64_t *values, uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    store_u64(to + i * DECIMAL_BYTES, (uint64_t)values[i]);
    store_u64(to + i * DECIMAL_BYTES + 8, (uint64_t)(values[i] >> 63));
  }
}

/* Of fixed width, but neither strings nor bits. */
static void append_numbers(ColumnParts *c, const void *values, uint64_t count) {
  size_t width = value_width(c->definition.type), bytes = (size_t)count * width;
  uint8_t *to = c->place ? c->place + (size_t)c->rows * width : NULL;
  if (!to) {
    make_room(&c->values, bytes);
    to = buffer_extend(&c->values, bytes);
  }
  if (!to) return;
  if (c->definition.type == KVTABLE_TYPE_DECIMAL)
    write_decimals(to, values, count);
  else if (count)
    memcpy(to, values, bytes);
}

static bool is_string(int type) { return type == KVTABLE_TYPE_STRING || type == KVTABLE_TYPE_BYTES || is_fixed(type); }

static void append_validity(ColumnParts *c, const uint8_t *nulls, uint64_t count) {
  int64_t found = 0;
  for (uint64_t i = 0; nulls && i < count; i++) found += nulls[i] != 0;
  append_bits(&c->validity, c->rows, found ? nulls : NULL, 0, count);
  c->nulls += found;
}

static void append_column(ColumnParts *c, const KVColumnData *data, uint64_t count) {
  int type = c->definition.type;
  append_validity(c, data->nulls, count);
  if (is_string(type))
    append_strings(c, data, count);
  else if (type == KVTABLE_TYPE_BOOL)
    append_bits(&c->values, c->rows, data->values, 1, count);
  else
    append_numbers(c, data->values, count);
  c->rows += (int64_t)count;
}

static bool is_full(const BatchParts *b) {
  size_t most = 0;
  for (size_t i = 0; i < b->column_count; i++)
    most = b->columns[i]->bytes.length > most ? b->columns[i]->bytes.length : most;
  return (b->column_count && b->columns[0]->rows >= BATCH_ROWS_MAX) || most >= BATCH_STRING_BYTES_MAX;
}

/* What is behind a string of 1 GiB fits the offsets too: a batch of the cursor has at most 1,024 rows; one whose
 * strings would not is refused. */
static Status check_room(const BatchParts *b) {
  for (size_t i = 0; i < b->column_count; i++) {
    TRY(buffer_status(&b->columns[i]->validity));
    TRY(buffer_status(&b->columns[i]->values));
    TRY(buffer_status(&b->columns[i]->bytes));
    if (b->columns[i]->bytes.length > INT32_MAX)
      return status_fail(KVSTORE_LIMIT, "the strings of a batch have more than 2 GiB");
  }
  return KVSTORE_OK;
}

/* Numbers that are written where they stay. *count 0: they are not. */
static int fill_at_once(Stream *s, BatchParts *b, uint32_t *count) {
  void *values[FILL_COLUMNS_MAX];
  uint8_t *nulls[FILL_COLUMNS_MAX];
  *count = 0;
  if (b->column_count > FILL_COLUMNS_MAX) return KVSTORE_OK;
  for (size_t i = 0; i < b->column_count; i++) {
    const ColumnParts *c = b->columns[i];
    if (!c->place || c->definition.type == KVTABLE_TYPE_DECIMAL) return KVSTORE_OK;
    if (!s->nulls) s->nulls = memory_allocate(memory_array_size(b->column_count, BATCH_ROWS_MAX));
    if (!s->nulls) return status_nomem();
    values[i] = c->place;
    nulls[i] = s->nulls + i * BATCH_ROWS_MAX;
  }
  int code = cursor_fill(s->cursor, BATCH_ROWS_MAX, values, nulls, count);
  for (size_t i = 0; i < b->column_count && *count; i++) {
    append_validity(b->columns[i], nulls[i], *count);
    b->columns[i]->rows += *count;
  }
  return code == KVSTORE_OK ? check_room(b) : code;
}

/* *end: there was no row. */
static int fill_batch(KVCursor *cursor, BatchParts *b, bool *end) {
  uint64_t count, all = 0;
  const KVColumnData *data;
  int code = KVSTORE_OK;
  while (!is_full(b) && (code = kvcursor_next_batch(cursor, &count, &data)) == KVSTORE_OK) {
    for (size_t i = 0; i < b->column_count; i++) append_column(b->columns[i], &data[i], count);
    TRY(check_room(b));
    all += count;
  }
  *end = !all;
  return code == KVSTORE_NOTFOUND ? KVSTORE_OK : code;
}

static void show_column(ColumnParts *c, struct ArrowArray *array) {
  int type = c->definition.type;
  bool offsets = type == KVTABLE_TYPE_STRING || type == KVTABLE_TYPE_BYTES;
  c->buffers[0] = c->nulls ? c->validity.data : NULL;
  c->buffers[1] = c->place ? c->place : is_fixed(type) ? c->bytes.data : c->values.data;
  c->buffers[2] = c->bytes.data ? c->bytes.data : (const uint8_t *)"";
  *array = (struct ArrowArray){ .length = c->rows,
                                .null_count = c->nulls,
                                .n_buffers = offsets ? 3 : 2,
                                .buffers = c->buffers,
                                .release = column_release,
                                .private_data = c };
}

static size_t room_of(const ColumnParts *c) {
  int type = c->definition.type;
  if (is_string(type) || type == KVTABLE_TYPE_BOOL) return 0;
  return (ROOM_ROWS * value_width(type) + ROOM_ALIGNMENT - 1) / ROOM_ALIGNMENT * ROOM_ALIGNMENT;
}

/* The numbers of a batch that will be full lie side by side. */
static void share_room(BatchParts *b) {
  size_t bytes = 0;
  for (size_t i = 0; i < b->column_count; i++) bytes += room_of(b->columns[i]);
  ArrowRoom *room = bytes <= ROOM_BYTES_MAX ? arrow_room_create(bytes) : NULL;
  if (!room) return;
  uint8_t *place = arrow_room_bytes(room);
  for (size_t i = 0; i < b->column_count; i++) {
    ColumnParts *c = b->columns[i];
    if (!room_of(c)) continue;
    arrow_room_hold(room);
    c->room = room;
    c->place = place;
    place += room_of(c);
  }
  arrow_room_leave(room);
}

static Status begin_batch(KVCursor *cursor, BatchParts *b) {
  b->column_count = kvcursor_column_count(cursor);
  b->columns = memory_allocate_zeroed(memory_array_size(b->column_count, sizeof(ColumnParts *)));
  b->children = memory_allocate_zeroed(memory_array_size(b->column_count, sizeof *b->children));
  b->pointers = memory_allocate_zeroed(memory_array_size(b->column_count, sizeof(struct ArrowArray *)));
  if (!b->columns || !b->children || !b->pointers) return status_nomem();
  for (size_t i = 0; i < b->column_count; i++) {
    ColumnParts *c = memory_allocate_zeroed(sizeof *c);
    if (!c) return status_nomem();
    b->columns[i] = c;
    b->pointers[i] = &b->children[i];
    show_column(c, &b->children[i]); /* so that it is released whatever comes */
    int code = kvcursor_column(cursor, i, &c->definition);
    if (code != KVSTORE_OK) return code;
    if (c->definition.type == KVTABLE_TYPE_STRING || c->definition.type == KVTABLE_TYPE_BYTES)
      buffer_u32(&c->values, 0);
  }
  return KVSTORE_OK;
}

/* Whether the first batch will be full. */
static int look_ahead(Stream *s) {
  uint64_t rows;
  int code = cursor_ahead(s->cursor, &rows);
  s->has_begun = true;
  s->is_full = rows >= BATCH_ROWS_MAX;
  return code;
}

static int fill_large(Stream *s, BatchParts *b, bool *end) {
  uint32_t count;
  share_room(b);
  int code = fill_at_once(s, b, &count);
  *end = !count;
  return code;
}

static int next_batch(Stream *s, struct ArrowArray *out) {
  BatchParts *b = memory_allocate_zeroed(sizeof *b);
  memset(out, 0, sizeof *out);
  if (!b) return status_nomem();
  out->private_data = b;
  out->release = batch_release;
  bool end = true;
  int code = begin_batch(s->cursor, b);
  if (code == KVSTORE_OK && !s->has_begun) code = look_ahead(s);
  if (code == KVSTORE_OK && s->is_full) code = fill_large(s, b, &end);
  if (code == KVSTORE_OK && end) code = fill_batch(s->cursor, b, &end);
  if (code != KVSTORE_OK || end) {
    batch_release(out);
    memset(out, 0, sizeof *out);
    return code;
  }
  for (size_t i = 0; i < b->column_count; i++) show_column(b->columns[i], &b->children[i]);
  out->length = b->column_count ? b->columns[0]->rows : 0;
  s->is_full = out->length >= BATCH_ROWS_MAX;
  out->n_buffers = 1;
  out->buffers = b->no_validity;
  out->n_children = (int64_t)b->column_count;
  out->children = b->pointers;
  return KVSTORE_OK;
}

/* ---- the stream ---- */

static int as_errno(Stream *stream, int code) {
  if (code == KVSTORE_OK) return 0;
  snprintf(stream->error, sizeof stream->error, "%s", status_last()->text);
  return code == KVSTORE_NOMEM ? ENOMEM : code == KVSTORE_ERROR || code == KVSTORE_LIMIT ? EINVAL : EIO;
}

static int stream_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out) {
  Stream *s = stream->private_data;
  int code = fill_schema(s->cursor, out);
  if (code != KVSTORE_OK && out->release) out->release(out);
  return as_errno(s, code);
}

static int stream_next(struct ArrowArrayStream *stream, struct ArrowArray *out) {
  Stream *s = stream->private_data;
  return as_errno(s, next_batch(s, out));
}

static const char *stream_error(struct ArrowArrayStream *stream) {
  Stream *s = stream->private_data;
  return s->error[0] ? s->error : NULL;
}

static void stream_release(struct ArrowArrayStream *stream) {
  Stream *s = stream->private_data;
  kvcursor_close(s->cursor);
  memory_release(s->nulls);
  memory_release(s);
  memset(stream, 0, sizeof *stream);
}

int kvquery_open_stream(KVQuery *query, struct ArrowArrayStream *stream) {
  KVCursor *cursor = NULL;
  if (!stream) return question_refuse(query, bad_argument("the place for the stream is NULL"));
  memset(stream, 0, sizeof *stream);
  int code = kvquery_open(query, &cursor);
  if (code != KVSTORE_OK) return code;
  Stream *s = memory_allocate_zeroed(sizeof *s);
  if (!s) {
    kvcursor_close(cursor);
    return question_refuse(query, status_nomem());
  }
  s->cursor = cursor;
  *stream = (struct ArrowArrayStream){ stream_schema, stream_next, stream_error, stream_release, s };
  return KVSTORE_OK;
}
