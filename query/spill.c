/* spill.c - runs in pieces, and a heap of runs. */
#include "query/spill.h"

#include <stdlib.h>

#include "base/counters.h"
#include "base/memory.h"

enum {
  PIECE_BYTES_MIN = 1 << 12,
  PIECE_BYTES_MAX = 1 << 16,
  MERGE_SHARE = 4, /* of the memory: pieces of all runs */
  RUNS_WANTED = 64,
  RUNS_LEAST = 8,
  RUNS_MOST = 256,
  LENGTHS = 8, /* bytes of a record in memory that say how long its key and its values are */
};

typedef struct Piece {
  uint64_t at;
  size_t length;
} Piece;

typedef struct Run {
  Piece *pieces;
  size_t piece_count, piece_capacity, next_piece;
  uint8_t *bytes; /* the piece being read */
  size_t byte_capacity;
  Reader in;
  Buffer whole;    /* the record, as in memory */
  uint64_t length; /* bytes outside */
  Record *held;    /* of a run that stays in memory: all of them */
  size_t held_count, held_at;
  Arena arena;
  Record record; /* the next one */
} Run;

struct Spill {
  const QuerySpace *space;
  Run **runs;
  size_t run_count, run_capacity, runs_most, piece_bytes;
  Buffer out;    /* the piece being written */
  Buffer before; /* its last key */
  Run **heap;    /* least record first, while reading */
  size_t heap_count;
  bool is_reading, is_given; /* is_given: the first run's record was given; step it on */
  uint64_t bytes;
};

/* ---- life ---- */

Status spill_create(const QuerySpace *space, Spill **out) {
  Spill *s = memory_allocate_zeroed(sizeof *s);
  if (!s) return status_nomem();
  uint64_t limit = space ? space->memory_limit : 0;
  uint64_t piece = limit / (MERGE_SHARE * RUNS_WANTED);
  piece = piece < PIECE_BYTES_MIN ? PIECE_BYTES_MIN : piece > PIECE_BYTES_MAX ? PIECE_BYTES_MAX : piece;
  uint64_t runs = limit / (MERGE_SHARE * piece);
  s->space = space;
  s->piece_bytes = (size_t)piece;
  s->runs_most = runs < RUNS_LEAST ? RUNS_LEAST : runs > RUNS_MOST ? RUNS_MOST : (size_t)runs;
  *out = s;
  return KVSTORE_OK;
}

static void run_destroy(Run *run) {
  if (!run) return;
  memory_release(run->pieces);
  memory_release(run->bytes);
  memory_release(run->held);
  buffer_release(&run->whole);
  arena_release(&run->arena);
  memory_release(run);
}

void spill_destroy(Spill *s) {
  if (!s) return;
  for (size_t i = 0; i < s->run_count; i++) run_destroy(s->runs[i]);
  memory_release(s->runs);
  memory_release(s->heap);
  buffer_release(&s->out);
  buffer_release(&s->before);
  memory_release(s);
}

uint64_t spill_bytes(const Spill *s) { return s->bytes; }

/* ---- writing ---- */

static Status end_piece(Spill *s, Run *run) {
  Piece piece = { 0, s->out.length };
  if (!piece.length) return KVSTORE_OK;
  TRY(buffer_status(&s->out));
  TRY(memory_grow(&run->pieces, &run->piece_capacity, run->piece_count + 1, sizeof *run->pieces));
  TRY(s->space->write(s->space->context, s->out.data, s->out.length, &piece.at));
  run->pieces[run->piece_count++] = piece;
  run->length += piece.length;
  s->bytes += piece.length;
  COUNT_MANY(bytes_spilled, piece.length);
  buffer_clear(&s->out);
  buffer_clear(&s->before);
  return KVSTORE_OK;
}

static size_t shared_bytes(const Buffer *before, Bytes key) {
  size_t most = before->length < key.length ? before->length : key.length, at = 0;
  while (at < most && before->data[at] == key.data[at]) at++;
  return at;
}

static Status write_record(Spill *s, Run *run, const Record *r) {
  Bytes key = record_key(r), values = record_values(r);
  size_t shared = shared_bytes(&s->before, key);
  buffer_varint(&s->out, shared);
  buffer_varint(&s->out, key.length - shared);
  buffer_varint(&s->out, values.length);
  buffer_append(&s->out, key.data + shared, key.length - shared);
  buffer_append(&s->out, values.data, values.length);
  s->before.length = shared;
  buffer_append(&s->before, key.data + shared, key.length - shared);
  TRY(buffer_status(&s->before));
  return s->out.length < s->piece_bytes ? buffer_status(&s->out) : end_piece(s, run);
}

static Status new_run(Spill *s, Run **out) {
  TRY(memory_grow(&s->runs, &s->run_capacity, s->run_count + 1, sizeof *s->runs));
  Run *run = memory_allocate_zeroed(sizeof *run);
  if (!run) return status_nomem();
  s->runs[s->run_count++] = *out = run;
  return KVSTORE_OK;
}

Status spill_hold(Spill *s, Record *records, size_t count, Arena *arena) {
  Run *run;
  TRY(new_run(s, &run));
  run->held = records;
  run->held_count = count;
  run->arena = *arena;
  *arena = (Arena){ 0 };
  return KVSTORE_OK;
}

Status spill_take_over(Spill *s, Spill *other) {
  TRY(memory_grow(&s->runs, &s->run_capacity, s->run_count + other->run_count, sizeof *s->runs));
  for (size_t i = 0; i < other->run_count; i++) s->runs[s->run_count++] = other->runs[i];
  s->bytes += other->bytes;
  other->run_count = 0;
  return KVSTORE_OK;
}

/* ---- reading ---- */

static Status read_piece(Spill *s, Run *run) {
  const Piece *piece = &run->pieces[run->next_piece++];
  TRY(memory_grow(&run->bytes, &run->byte_capacity, piece->length, 1));
  TRY(s->space->read(s->space->context, piece->at, run->bytes, piece->length));
  run->in = reader_over(run->bytes, piece->length);
  buffer_clear(&run->whole);
  return KVSTORE_OK;
}

/* The next record of the piece, over the one before, of which it keeps the beginning of the key. */
static Status next_record(Run *run) {
  uint32_t before = run->whole.length ? load_u32(run->whole.data) : 0;
  uint64_t shared = reader_varint(&run->in), rest = reader_varint(&run->in), length = reader_varint(&run->in);
  const uint8_t *key = reader_take(&run->in, (size_t)rest), *values = reader_take(&run->in, (size_t)length);
  bool fits = key && values && shared <= before && shared + rest > 0 && shared + rest <= UINT32_MAX / 2;
  if (!fits || length > UINT32_MAX / 2)
    return status_fail(KVSTORE_CORRUPT, "a query's scratch file holds no record where one belongs");
  uint8_t lengths[LENGTHS];
  store_u32(lengths, (uint32_t)(shared + rest));
  store_u32(lengths + sizeof(uint32_t), (uint32_t)length);
  run->whole.length = 0;
  buffer_append(&run->whole, lengths, LENGTHS);
  run->whole.length += (size_t)shared;
  buffer_append(&run->whole, key, (size_t)rest);
  buffer_append(&run->whole, values, (size_t)length);
  TRY(buffer_status(&run->whole));
  uint8_t *bytes = run->whole.data;
  run->record = (Record){ .head = bytes_prefix64(bytes + LENGTHS, (size_t)(shared + rest)), .bytes = bytes };
  return KVSTORE_OK;
}

/* On to the run's next record; *has_record is false at its end. */
static Status run_next(Spill *s, Run *run, bool *has_record) {
  *has_record = run->held_at < run->held_count;
  if (run->held_at + RECORDS_AHEAD < run->held_count) record_fetch(&run->held[run->held_at + RECORDS_AHEAD]);
  if (*has_record) run->record = run->held[run->held_at++];
  if (run->held) return KVSTORE_OK;
  if (reader_left(&run->in) == 0) {
    if (run->next_piece == run->piece_count) return KVSTORE_OK;
    TRY(read_piece(s, run));
  }
  *has_record = true;
  return next_record(run);
}

static void sift_down(Spill *s, size_t at) {
  for (;;) {
    size_t child = 2 * at + 1;
    if (child >= s->heap_count) return;
    if (child + 1 < s->heap_count && record_compare(&s->heap[child + 1]->record, &s->heap[child]->record) < 0) child++;
    if (record_compare(&s->heap[child]->record, &s->heap[at]->record) >= 0) return;
    Run *run = s->heap[at];
    s->heap[at] = s->heap[child];
    s->heap[child] = run;
    at = child;
  }
}

static Status begin_reading(Spill *s) {
  memory_release(s->heap);
  s->heap_count = 0;
  s->is_given = false;
  s->heap = memory_allocate(memory_array_size(s->run_count, sizeof *s->heap));
  if (!s->heap) return status_nomem();
  for (size_t i = 0; i < s->run_count; i++) {
    bool has_record;
    TRY(run_next(s, s->runs[i], &has_record));
    if (has_record) s->heap[s->heap_count++] = s->runs[i];
  }
  for (size_t i = s->heap_count / 2; i > 0; i--) sift_down(s, i - 1);
  s->is_reading = true;
  return KVSTORE_OK;
}

static Status step_first(Spill *s) {
  bool has_record;
  TRY(run_next(s, s->heap[0], &has_record));
  if (!has_record) s->heap[0] = s->heap[--s->heap_count];
  sift_down(s, 0);
  return KVSTORE_OK;
}

Status spill_next(Spill *s, const Record **record) {
  if (!s->is_reading) TRY(begin_reading(s));
  *record = NULL;
  if (s->is_given) TRY(step_first(s));
  s->is_given = false;
  if (s->heap_count == 0) return KVSTORE_OK;
  *record = &s->heap[0]->record;
  s->is_given = true;
  return KVSTORE_OK;
}

/* ---- many runs to one ---- */

static Status merge_into(Spill *s, Run *merged) {
  for (;;) {
    const Record *record;
    TRY(spill_next(s, &record));
    if (!record) return end_piece(s, merged);
    TRY(write_record(s, merged, record));
  }
}

static int compare_runs(const void *a, const void *b) {
  const Run *const *x = a, *const *y = b;
  return ((*x)->length > (*y)->length) - ((*x)->length < (*y)->length);
}

/* How many of the runs, the smallest first, become one: half of them while these are alike, else as many as are
 * together no smaller than the next. So what was merged before is seldom merged again, however many runs there will be:
 * half of them would soon hold one that is large, and write it anew each time. */
static size_t runs_to_merge(Run *const *runs, size_t count) {
  size_t half = count / 2 + 1, some = 2;
  if (runs[half - 1]->length <= 2 * runs[0]->length) return half;
  uint64_t together = runs[0]->length + runs[1]->length;
  while (some < count && runs[some]->length <= together) together += runs[some++]->length;
  return some;
}

static Status merge_runs(Spill *s) {
  Run *merged = memory_allocate_zeroed(sizeof *merged);
  if (!merged) return status_nomem();
  size_t all = s->run_count;
  qsort(s->runs, all, sizeof *s->runs, compare_runs);
  size_t some = runs_to_merge(s->runs, all);
  s->run_count = some;
  Status status = merge_into(s, merged);
  s->run_count = all;
  if (status != KVSTORE_OK) {
    run_destroy(merged);
    return status;
  }
  for (size_t i = 0; i < some; i++) run_destroy(s->runs[i]);
  s->runs[0] = merged;
  memmove(s->runs + 1, s->runs + some, (all - some) * sizeof *s->runs);
  s->run_count = all - some + 1;
  s->is_reading = false;
  COUNT(spills_merged);
  return KVSTORE_OK;
}

Status spill_run(Spill *s, const Record *records, size_t count) {
  Run *run;
  if (count == 0) return KVSTORE_OK;
  if (s->run_count >= s->runs_most) TRY(merge_runs(s)); /* more: those of threads were taken over */
  TRY(new_run(s, &run));
  COUNT(spilled_runs);
  for (size_t i = 0; i < count; i++) TRY(write_record(s, run, &records[i]));
  return end_piece(s, run);
}
