/* column_encode.c - the columns of a segment, encoded by several threads.
 *
 * Each member of the team takes the next column that nobody has, those of strings first, which take longest, and
 * encodes it into room of its own. The writer then puts the chunks into the extent in the order of the schema: the
 * bytes are those of one thread. */
#include <stdatomic.h>
#include <string.h>

#include "base/counters.h"
#include "base/memory.h"
#include "columnar/column_run_internal.h"
#include "os/team.h"

typedef struct MadeChunk {
  uint32_t member;
  uint64_t offset, length; /* 0: it was not made */
} MadeChunk;

struct ColumnEncoders {
  const Schema *schema;
  const ColumnBatch *rows; /* while they run */
  uint32_t *order;         /* columns as they are taken */
  MadeChunk *made;         /* by column */
  _Atomic uint32_t next;   /* place in the order */
  uint32_t member_count;
  EncodeRoom rooms[TEAM_MEMBERS_MAX]; /* by member: the chunks that it made for this segment */
};

Status encode_room_reserve(EncodeRoom *room, ChunkRoom wanted, uint8_t **at) {
  size_t start = (size_t)round_up(room->length, CHUNK_ALIGNMENT), needed = start + (size_t)wanted.out;
  if (needed > room->capacity) {
    size_t capacity = needed > room->capacity * 2 ? needed : room->capacity * 2;
    uint8_t *grown = memory_allocate_aligned(CHUNK_ALIGNMENT, capacity);
    if (!grown) return status_nomem();
    if (room->length) memcpy(grown, room->bytes, room->length);
    memory_release_aligned(room->bytes);
    room->bytes = grown;
    room->capacity = capacity;
  }
  if (wanted.scratch > room->scratch_capacity) {
    void *scratch = memory_allocate((size_t)wanted.scratch);
    if (!scratch) return status_nomem();
    memory_release(room->scratch);
    room->scratch = scratch;
    room->scratch_capacity = (size_t)wanted.scratch;
  }
  memset(room->bytes + room->length, 0, start - room->length);
  room->length = start;
  *at = room->bytes + start;
  return KVSTORE_OK;
}

void encode_room_release(EncodeRoom *room) {
  memory_release_aligned(room->bytes);
  memory_release(room->scratch);
}

static void order_columns(ColumnEncoders *e) {
  uint32_t at = 0;
  for (int strings = 1; strings >= 0; strings--)
    for (uint32_t c = 0; c < e->schema->column_count; c++)
      if (type_is_string(e->schema->columns[c].type) == (strings == 1)) e->order[at++] = c;
}

Status column_encoders_create(const Schema *schema, uint32_t threads, ColumnEncoders **out) {
  ColumnEncoders *e = memory_allocate_zeroed(sizeof *e);
  *out = e;
  if (!e) return status_nomem();
  e->schema = schema;
  e->member_count = threads < TEAM_MEMBERS_MAX ? threads : TEAM_MEMBERS_MAX;
  if (e->member_count > schema->column_count) e->member_count = schema->column_count;
  e->order = memory_allocate(memory_array_size(schema->column_count, sizeof *e->order));
  e->made = memory_allocate(memory_array_size(schema->column_count, sizeof *e->made));
  if (!e->order || !e->made) return status_nomem(); /* whoever destroys the writer destroys these */
  order_columns(e);
  return KVSTORE_OK;
}

void column_encoders_destroy(ColumnEncoders *e) {
  if (!e) return;
  for (uint32_t i = 0; i < e->member_count; i++) encode_room_release(&e->rooms[i]);
  memory_release(e->order);
  memory_release(e->made);
  memory_release(e);
}

static Status encode(ColumnEncoders *e, uint32_t member, uint32_t c) {
  EncodeRoom *room = &e->rooms[member];
  ChunkInput input = column_input(e->schema, e->rows, c);
  ChooseOptions options = column_options(e->schema, c);
  ChunkResult result;
  uint8_t *at;
  TRY(encode_room_reserve(room, chunk_encode_room(&input), &at));
  TRY(chunk_encode(&input, &options, at, room->scratch, &result));
  e->made[c] = (MadeChunk){ member, room->length, result.length };
  room->length += (size_t)result.length;
  return KVSTORE_OK;
}

/* Which failure it was is known when the writer makes the column again. */
static void work(void *context, uint32_t member) {
  ColumnEncoders *e = context;
  for (;;) {
    uint32_t at = atomic_fetch_add_explicit(&e->next, 1, memory_order_relaxed);
    if (at >= e->schema->column_count) return;
    if (encode(e, member, e->order[at]) != KVSTORE_OK) status_clear();
    if (member) COUNT(columns_encoded_by_helpers);
  }
}

void column_encoders_run(ColumnEncoders *e, const ColumnBatch *rows) {
  e->rows = rows;
  atomic_store_explicit(&e->next, 0, memory_order_relaxed);
  memset(e->made, 0, e->schema->column_count * sizeof *e->made);
  for (uint32_t i = 0; i < e->member_count; i++) e->rooms[i].length = 0;
  if (!team_run(e->member_count, work, e)) memset(e->made, 0, e->schema->column_count * sizeof *e->made);
}

const uint8_t *column_encoders_chunk(const ColumnEncoders *e, uint32_t column, uint64_t *length) {
  const MadeChunk *made = &e->made[column];
  *length = made->length;
  return made->length ? e->rooms[made->member].bytes + made->offset : NULL;
}
