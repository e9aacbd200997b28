#include "engine/kv_load.h"

#include <stdlib.h>
#include <string.h>

#include "base/counters.h"
#include "base/hash.h"
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "engine/family_columns.h"
#include "engine/run_build.h"

enum {
  CHUNK_BYTES_DEFAULT = 64 << 20,
  CHUNK_BYTES_MIN = 64 << 10,
  RUN_ROWS_MAX = 8 << 20,      /* the writer of a run keeps some 20 bytes a row */
  ROW_HEAD_BYTES = 16,         /* of a row in a chunk: key length u32, value length u32, expiry i64 */
  ORDINARY_ROWS_MAX = 1 << 16, /* fewer than that, in one chunk, are rows of the delta (VIS-6) */
  ORDINARY_ROW_OVERHEAD = 32,  /* of an operation in a record */
  FAN_IN = 512,                /* strands that are merged at once */
  ADOPTED_RUNS_MAX = 4,        /* so many wait in the log for the next flush; then one is asked for */
};
static const uint64_t run_bytes_max = 1u << 30;

typedef struct LoadRow {
  uint64_t head;   /* the key's first 8 bytes behind what all keys of the chunk begin with */
  uint64_t offset; /* in the chunk: rises with the order in which the rows came */
} LoadRow;

/* Runs whose keys ascend from one to the next. */
typedef struct Strand {
  RunList runs;
} Strand;

struct KvLoader {
  Session *session; /* NULL: it has been closed */
  Store *store;
  KvLoader *next; /* of the session; under loaders_lock */
  Family *family;
  int64_t default_ttl_ms; /* of the family as the load began */
  bool sorted, failed, done;
  size_t chunk_max;

  uint8_t *chunk; /* rows as they came */
  size_t chunk_length, chunk_capacity;
  LoadRow *rows;
  size_t row_count, row_capacity;
  bool ascending;      /* the rows of the chunk came in order */
  size_t common, last; /* bytes that all keys of the chunk begin with; where the last row lies */

  SpaceJob job; /* of the runs */
  SpaceSink sink;
  RowRunWriter *writer; /* of the last strand's last run */
  Buffer last_key;      /* written last, in the last strand */
  Arena arena;
  Strand *strands;
  size_t strand_count, strand_capacity;
};

/* Guards the sessions' lists of loaders, and a loader's session against a close. */
static Mutex loaders_lock = MUTEX_INITIALIZER;

/* ---- life ---- */

Status kv_loader_create(Session *session, uint32_t family, const KvLoadOptions *options, KvLoader **out) {
  if (session_is_read_only(session)) return status_fail(KVSTORE_READONLY, "the store is open for reading only");
  KvLoader *l = memory_allocate_zeroed(sizeof *l);
  if (!l) return status_nomem();
  ReadPin pin;
  FamilyState *state;
  Era *era;
  Status status = read_pin(session, &pin);
  if (status != KVSTORE_OK) {
    memory_release(l);
    return status;
  }
  status = session_family(session, &pin, family, FAMILY_KV, &state, &era);
  if (status == KVSTORE_OK) {
    l->family = family_retain(state->family);
    l->default_ttl_ms = family_state_traits(state, pin.sequence)->options.default_ttl_ms;
  }
  read_unpin(session, &pin);
  if (status != KVSTORE_OK) {
    memory_release(l);
    return status;
  }
  l->store = session->store;
  l->sorted = options->sorted;
  l->chunk_max = options->memory_bytes ? options->memory_bytes : CHUNK_BYTES_DEFAULT;
  if (l->chunk_max < CHUNK_BYTES_MIN) l->chunk_max = CHUNK_BYTES_MIN;
  l->ascending = true;
  space_job_init(&l->job, l->store, false);
  store_retain(l->store);
  mutex_lock(&loaders_lock);
  l->session = session;
  l->next = session->loaders;
  session->loaders = l;
  mutex_unlock(&loaders_lock);
  *out = l;
  return KVSTORE_OK;
}

/* What it holds of the store: reservations die with the process's number, so they must not outlive the session. */
static void let_go(KvLoader *l) {
  space_job_end(&l->job);
  l->session = NULL;
  l->failed = true;
}

void kv_loaders_forget_lock(void) { loaders_lock = (Mutex)MUTEX_INITIALIZER; }

bool kv_loaders_open(Session *session) {
  mutex_lock(&loaders_lock);
  bool open = session->loaders != NULL;
  mutex_unlock(&loaders_lock);
  return open;
}

void kv_loaders_end(Session *session) {
  mutex_lock(&loaders_lock);
  while (session->loaders) {
    KvLoader *l = session->loaders;
    session->loaders = l->next;
    let_go(l);
  }
  mutex_unlock(&loaders_lock);
}

static void leave_session(KvLoader *l) {
  mutex_lock(&loaders_lock);
  if (l->session) {
    for (KvLoader **link = &l->session->loaders; *link; link = &(*link)->next) {
      if (*link != l) continue;
      *link = l->next;
      break;
    }
    let_go(l);
  }
  mutex_unlock(&loaders_lock);
}

void kv_loader_destroy(KvLoader *l) {
  if (!l) return;
  if (store_is_inherited(l->store)) /* a thread that is not here may hold the lock, and the session may be gone */
    space_job_end(&l->job);
  else
    leave_session(l);
  row_run_writer_destroy(l->writer);
  for (size_t i = 0; i < l->strand_count; i++) run_list_release(&l->strands[i].runs);
  memory_release(l->strands);
  memory_release(l->chunk);
  memory_release(l->rows);
  buffer_release(&l->last_key);
  arena_release(&l->arena);
  family_release(l->family);
  store_release(l->store);
  memory_release(l);
}

/* ---- the chunk ---- */

typedef struct ChunkRow {
  Bytes key, value;
  int64_t expiry;
} ChunkRow;

static ChunkRow row_at(const KvLoader *l, size_t offset) {
  const uint8_t *at = l->chunk + offset;
  size_t key = load_u32(at), value = load_u32(at + 4);
  return (ChunkRow){ { at + ROW_HEAD_BYTES, key }, { at + ROW_HEAD_BYTES + key, value }, (int64_t)load_u64(at + 8) };
}

static int compare(Bytes a, Bytes b) { return bytes_compare(a.data, a.length, b.data, b.length); }

static size_t common_length(Bytes a, Bytes b, size_t at_most) {
  size_t n = a.length < b.length ? a.length : b.length;
  if (n > at_most) n = at_most;
  size_t i = 0;
  while (i < n && a.data[i] == b.data[i]) i++;
  return i;
}

static Status make_room(KvLoader *l, size_t bytes) {
  if (l->chunk_length + bytes <= l->chunk_capacity) return KVSTORE_OK;
  size_t capacity = l->chunk_capacity ? l->chunk_capacity : CHUNK_BYTES_MIN;
  while (capacity < l->chunk_length + bytes) capacity *= 2;
  uint8_t *grown = memory_reallocate(l->chunk, capacity);
  if (!grown) return status_nomem();
  l->chunk = grown;
  l->chunk_capacity = capacity;
  return KVSTORE_OK;
}

/* Its order beside the last one's, and what all keys begin with. */
static Status look_at_key(KvLoader *l, Bytes key) {
  if (!l->row_count) {
    l->common = key.length;
    return KVSTORE_OK;
  }
  Bytes last = row_at(l, l->last).key;
  l->common = common_length(last, key, l->common);
  int order = compare(last, key);
  if (order > 0 && l->sorted)
    return status_fail(KVSTORE_ERROR, "a key is below the one before it, and order was promised");
  if (order > 0) l->ascending = false;
  return KVSTORE_OK;
}

static Status append_row(KvLoader *l, Bytes key, Bytes value, int64_t expiry) {
  size_t bytes = ROW_HEAD_BYTES + key.length + value.length;
  TRY(make_room(l, bytes));
  TRY(memory_grow(&l->rows, &l->row_capacity, l->row_count + 1, sizeof *l->rows));
  TRY(look_at_key(l, key));
  uint8_t *at = l->chunk + l->chunk_length;
  store_u32(at, (uint32_t)key.length);
  store_u32(at + 4, (uint32_t)value.length);
  store_u64(at + 8, (uint64_t)expiry);
  memcpy(at + ROW_HEAD_BYTES, key.data, key.length);
  if (value.length) memcpy(at + ROW_HEAD_BYTES + key.length, value.data, value.length);
  l->rows[l->row_count++].offset = l->last = l->chunk_length;
  l->chunk_length += bytes;
  return KVSTORE_OK;
}

static _Thread_local const KvLoader *sorting;

static int by_key(const void *a, const void *b) {
  const LoadRow *x = a, *y = b;
  if (x->head != y->head) return x->head < y->head ? -1 : 1;
  int order = compare(row_at(sorting, x->offset).key, row_at(sorting, y->offset).key);
  return order ? order : (x->offset > y->offset) - (x->offset < y->offset);
}

static void sort_chunk(KvLoader *l) {
  if (l->ascending) return;
  for (size_t i = 0; i < l->row_count; i++) {
    Bytes key = row_at(l, l->rows[i].offset).key;
    l->rows[i].head = bytes_prefix64(key.data + l->common, key.length - l->common);
  }
  sorting = l;
  qsort(l->rows, l->row_count, sizeof *l->rows, by_key);
  l->ascending = true;
}

/* Is it the last one of its key? */
static bool is_last(const KvLoader *l, size_t row) {
  return row + 1 == l->row_count ||
         compare(row_at(l, l->rows[row].offset).key, row_at(l, l->rows[row + 1].offset).key) != 0;
}

/* ---- strands ---- */

static Status end_run(KvLoader *l) {
  if (!l->writer) return KVSTORE_OK;
  Buffer directory = { 0 };
  RunEntry entry;
  uint64_t rows = row_run_writer_rows(l->writer);
  Status status = row_run_writer_finish(l->writer, &directory, NULL);
  if (status == KVSTORE_OK)
    status = run_entry_make(l->store, &l->sink, RUN_ROWS, 0, 0, rows, &directory, &l->arena, &entry);
  if (status == KVSTORE_OK) status = run_list_add(&l->strands[l->strand_count - 1].runs, &entry);
  buffer_release(&directory);
  row_run_writer_destroy(l->writer);
  l->writer = NULL;
  return status;
}

static Status begin_strand(KvLoader *l) {
  TRY(end_run(l));
  TRY(memory_grow(&l->strands, &l->strand_capacity, l->strand_count + 1, sizeof *l->strands));
  l->strands[l->strand_count++] = (Strand){ { .arena = &l->arena } };
  return KVSTORE_OK;
}

static bool run_is_full(const RowRunWriter *writer) {
  return row_run_writer_rows(writer) >= RUN_ROWS_MAX || row_run_writer_bytes(writer) >= run_bytes_max;
}

static Status write_row(KvLoader *l, const ChunkRow *row) {
  if (l->writer && run_is_full(l->writer)) TRY(end_run(l));
  if (!l->writer) {
    RunSink emit = space_sink(&l->sink, &l->job);
    TRY(row_run_writer_create(&emit, NULL, &l->writer));
  }
  Status status = row_run_writer_add(l->writer, row->key, row->value, row->expiry, false);
  if (status != KVSTORE_LIMIT || !row_run_writer_rows(l->writer)) return status;
  TRY(end_run(l)); /* full: the row begins the next run */
  return write_row(l, row);
}

static bool joins_strand(const KvLoader *l, Bytes key) {
  return l->strand_count && compare(key, (Bytes){ l->last_key.data, l->last_key.length }) > 0;
}

/* The rows of the chunk but the last `kept`, in order, behind the last strand if they all come after it. */
static Status write_chunk(KvLoader *l, size_t kept) {
  ChunkRow row;
  bool any = false;
  sort_chunk(l);
  for (size_t i = 0; i + kept < l->row_count; i++) {
    if (!is_last(l, i)) continue;
    row = row_at(l, l->rows[i].offset);
    if (!any && !joins_strand(l, row.key)) TRY(begin_strand(l));
    TRY(write_row(l, &row));
    any = true;
  }
  if (!any) return KVSTORE_OK;
  buffer_clear(&l->last_key);
  buffer_append(&l->last_key, row.key.data, row.key.length);
  COUNT(load_chunks);
  return buffer_status(&l->last_key);
}

/* Makes the chunk empty. In promised order its last row stays: the next one may have the same key, and replace it. */
static Status empty_chunk(KvLoader *l) {
  size_t kept = l->sorted;
  TRY(write_chunk(l, kept));
  size_t from = kept ? l->last : l->chunk_length;
  memmove(l->chunk, l->chunk + from, l->chunk_length - from);
  l->chunk_length -= from;
  l->row_count = kept;
  l->last = 0;
  if (kept) {
    l->rows[0].offset = 0;
    l->common = row_at(l, 0).key.length;
  }
  return KVSTORE_OK;
}

static Status add_pair(KvLoader *l, Bytes key, Bytes value, int64_t expiry) {
  TRY(kv_check_pair(l->session, key, value));
  if (expiry == EXPIRY_DEFAULT) expiry = l->default_ttl_ms ? store_clock(l->store) + l->default_ttl_ms : EXPIRY_NEVER;
  size_t bytes = ROW_HEAD_BYTES + key.length + value.length;
  size_t used = l->chunk_length + l->row_count * sizeof *l->rows;
  if (l->row_count && used + bytes > l->chunk_max) TRY(empty_chunk(l));
  return append_row(l, key, value, expiry);
}

static Status usable(const KvLoader *l) {
  if (l->done) return status_fail(KVSTORE_ERROR, "the load has ended");
  return l->failed ? status_fail(KVSTORE_ERROR, "the load has failed: nothing of it is kept") : KVSTORE_OK;
}

void kv_loader_fail(KvLoader *l) { l->failed = true; }

Status kv_loader_add(KvLoader *l, Bytes key, Bytes value, int64_t expiry) {
  TRY(usable(l));
  Status status = add_pair(l, key, value, expiry);
  l->failed = status != KVSTORE_OK;
  return status;
}

/* ---- merging the strands ---- */

typedef struct StrandMerge {
  RunHandle **handles; /* of all runs */
  uint32_t handle_count;
  RowLevel *levels; /* a strand each, the newest first */
  MergeLayer *layers;
} StrandMerge;

static Status open_strand(KvLoader *l, const Strand *strand, StrandMerge *m, RowLevel *level) {
  RowRun **runs = memory_allocate(memory_array_size(strand->runs.count, sizeof *runs));
  if (!runs) return status_nomem();
  Status status = KVSTORE_OK;
  for (uint32_t i = 0; i < strand->runs.count && status == KVSTORE_OK; i++) {
    RunHandle *handle = NULL;
    status = run_handle_open(l->store, &strand->runs.runs[i], l->family, NULL, &handle);
    if (status != KVSTORE_OK) break;
    m->handles[m->handle_count++] = handle;
    runs[i] = handle->rows;
  }
  if (status == KVSTORE_OK) status = row_level_init(level, runs, strand->runs.count);
  memory_release(runs);
  return status;
}

/* `count` strands from `from` on. */
static Status open_strands(KvLoader *l, size_t from, size_t count, StrandMerge *m) {
  uint32_t runs = 0;
  for (size_t i = 0; i < count; i++) runs += l->strands[from + i].runs.count;
  m->handles = memory_allocate_zeroed(memory_array_size(runs, sizeof *m->handles));
  m->levels = memory_allocate_zeroed(memory_array_size(count, sizeof *m->levels));
  m->layers = memory_allocate_zeroed(memory_array_size(count, sizeof *m->layers));
  if (!m->handles || !m->levels || !m->layers) return status_nomem();
  for (size_t i = 0; i < count; i++) {
    RowLevel *level = &m->levels[count - 1 - i];
    TRY(open_strand(l, &l->strands[from + i], m, level));
    m->layers[count - 1 - i].level = level;
  }
  return KVSTORE_OK;
}

static void close_strands(size_t count, StrandMerge *m) {
  for (size_t i = 0; m->levels && i < count; i++) row_level_release(&m->levels[i]);
  for (uint32_t i = 0; i < m->handle_count; i++) run_release(m->handles[i]);
  memory_release(m->handles);
  memory_release(m->levels);
  memory_release(m->layers);
}

/* What the cursor yields becomes one strand, in another job. */
static Status write_merged(KvLoader *l, MergeCursor *cursor) {
  TRY(begin_strand(l));
  while (cursor->valid) {
    const RowView *view = &cursor->row.view;
    ChunkRow row = { view->key, { 0 }, view->expiry };
    TRY(merge_cursor_value(cursor, &row.value));
    TRY(write_row(l, &row));
    TRY(merge_cursor_next(cursor));
  }
  return end_run(l);
}

static Status merge_group(KvLoader *l, size_t from, size_t count) {
  StrandMerge m = { 0 };
  MergeCursor cursor;
  Status status = open_strands(l, from, count, &m);
  if (status == KVSTORE_OK) {
    MergeOptions options = { .now_ms = INT64_MIN };
    status = merge_cursor_open(&cursor, m.layers, (uint32_t)count, &options);
    if (status == KVSTORE_OK) {
      status = merge_cursor_first(&cursor);
      if (status == KVSTORE_OK) status = write_merged(l, &cursor);
      merge_cursor_close(&cursor);
    }
  }
  close_strands(count, &m);
  COUNT(load_merges);
  return status;
}

static void forget_strands(KvLoader *l, size_t count) {
  for (size_t i = 0; i < count; i++) run_list_release(&l->strands[i].runs);
  l->strand_count -= count;
  memmove(l->strands, l->strands + count, l->strand_count * sizeof *l->strands);
}

/* Neighbours become one, so many at a time: a row costs a look at each that it is merged with. Their extents are free
 * again afterwards. */
static Status merge_strands(KvLoader *l) {
  SpaceJob scratch = l->job;
  space_job_init(&l->job, l->store, false);
  size_t merged = l->strand_count, groups = (merged + FAN_IN - 1) / FAN_IN;
  Status status = KVSTORE_OK;
  for (size_t i = 0; i < groups && status == KVSTORE_OK; i++) {
    size_t from = merged * i / groups, end = merged * (i + 1) / groups;
    status = merge_group(l, from, end - from);
  }
  if (status == KVSTORE_OK) forget_strands(l, merged);
  space_job_end(&scratch);
  return status;
}

/* ---- the commit ---- */

static Strand *result(const KvLoader *l) { return &l->strands[l->strand_count - 1]; }

/* The opened run that would hold a key, and whether it does. */
static Status loaded_has(const RowLevel *level, Bytes key, bool *found) {
  *found = false;
  uint32_t run = row_level_find(level, key.data, key.length);
  if (run == UINT32_MAX) return KVSTORE_OK;
  RowView view;
  RowPin pin = { 0 };
  TRY(row_run_get(level->runs[run], hash_key(key.data, key.length), key.data, key.length, &view, &pin, found));
  if (*found) row_pin_release(&pin);
  return KVSTORE_OK;
}

typedef struct KeyList {
  Bytes *keys;
  size_t count, capacity;
} KeyList;

/* Keys of an era's deltas that the load replaces (VIS-6): a walk over the deltas, which are bounded; the load is not.
 */
static Status replaced_in_deltas(const Era *era, uint64_t sequence, const RowLevel *level, KeyList *list) {
  Bytes first = row_run_summary(level->runs[0])->first_key;
  Bytes last = row_run_summary(level->runs[level->count - 1])->last_key;
  for (uint32_t i = 0; i < era->delta_count; i++) {
    KvCursor cursor;
    kv_cursor_open(&cursor, era->deltas[i].delta->kv, sequence);
    for (bool more = kv_cursor_seek(&cursor, first.data, first.length); more && compare(cursor.key, last) <= 0;
         more = kv_cursor_next(&cursor)) {
      bool found;
      TRY(loaded_has(level, cursor.key, &found));
      if (!found) continue;
      TRY(memory_grow(&list->keys, &list->capacity, list->count + 1, sizeof *list->keys));
      list->keys[list->count++] = cursor.key;
    }
  }
  return KVSTORE_OK;
}

/* The transaction takes over what the loader has reserved and written. */
static Status give_space(KvLoader *l, SpaceJob *to) {
  TRY(memory_grow(&to->reservations, &to->reservation_capacity, to->reservation_count + l->job.reservation_count,
                  sizeof *to->reservations));
  TRY(memory_grow(&to->extents, &to->extent_capacity, to->extent_count + l->job.extent_count, sizeof *to->extents));
  for (size_t i = 0; i < l->job.reservation_count; i++)
    to->reservations[to->reservation_count++] = l->job.reservations[i];
  for (size_t i = 0; i < l->job.extent_count; i++) to->extents[to->extent_count++] = l->job.extents[i];
  l->job.reservation_count = l->job.extent_count = l->job.written = 0;
  l->job.ahead = l->job.ahead_end = 0;
  return KVSTORE_OK;
}

static uint32_t adopted_count(const Era *era) {
  uint32_t count = 0;
  while (count < era->run_count && era->runs[count].since) count++;
  return count;
}

static Status adopt_statement(KvLoader *l, const RowLevel *level) {
  ReadPin pin;
  FamilyState *state;
  Era *era;
  KeyList replaced = { 0 };
  TRY(write_pin(l->session, &pin));
  Status status = session_family(l->session, &pin, l->family->id, FAMILY_KV, &state, &era);
  if (status == KVSTORE_OK) status = replaced_in_deltas(era, pin.sequence, level, &replaced);
  if (status == KVSTORE_OK) status = give_space(l, &l->store->transaction.space);
  if (status == KVSTORE_OK) status = bulk_adopt(l->store, state, era, &result(l)->runs, replaced.keys, replaced.count);
  if (status == KVSTORE_OK)
    status = capture_level(l->session, &family_state_traits(state, pin.sequence)->options, level);
  if (status == KVSTORE_OK)
    status = columns_note_level(l->session, &family_state_traits(state, pin.sequence)->options, level);
  if (status == KVSTORE_OK && adopted_count(era) >= ADOPTED_RUNS_MAX) l->store->transaction.boundary_wanted = true;
  read_unpin(l->session, &pin);
  memory_release(replaced.keys);
  return status;
}

static Status commit_runs(KvLoader *l, uint64_t *loaded) {
  if (l->row_count) TRY(write_chunk(l, 0));
  l->row_count = l->chunk_length = 0;
  TRY(end_run(l));
  while (l->strand_count > 1) TRY(merge_strands(l));
  for (uint32_t i = 0; i < result(l)->runs.count; i++) *loaded += result(l)->runs.runs[i].row_count;
  StrandMerge m = { 0 };
  RowLevel level = { 0 };
  m.handles = memory_allocate_zeroed(memory_array_size(result(l)->runs.count, sizeof *m.handles));
  Status status = m.handles ? open_strand(l, result(l), &m, &level) : status_nomem();
  if (status == KVSTORE_OK) status = store_sync_file(l->store); /* now: the one before the record holds writers up */
  if (status == KVSTORE_OK) status = write_begin(l->session);
  if (status == KVSTORE_OK) {
    status = adopt_statement(l, &level);
    if (status == KVSTORE_OK) status = transaction_spill(l->session);
    if (status == KVSTORE_OK) l->store->transaction.durable = true;
    status = write_end(l->session, status);
  }
  row_level_release(&level);
  for (uint32_t i = 0; i < m.handle_count; i++) run_release(m.handles[i]);
  memory_release(m.handles);
  return status;
}

static Status rows_statement(KvLoader *l, uint64_t *loaded) {
  ReadPin pin;
  FamilyState *state;
  Era *era;
  TRY(write_pin(l->session, &pin));
  Status status = session_family(l->session, &pin, l->family->id, FAMILY_KV, &state, &era);
  for (size_t i = 0; i < l->row_count && status == KVSTORE_OK; i++) {
    if (!is_last(l, i)) continue;
    ChunkRow row = row_at(l, l->rows[i].offset);
    status = kv_change_row(l->session, state, era, row.key, row.value, row.expiry, false);
    ++*loaded;
  }
  read_unpin(l->session, &pin);
  return status;
}

static Status commit_rows(KvLoader *l, uint64_t *loaded) {
  sort_chunk(l);
  TRY(write_begin(l->session));
  Status status = rows_statement(l, loaded);
  if (status == KVSTORE_OK) status = transaction_spill(l->session);
  if (status == KVSTORE_OK) l->store->transaction.durable = true;
  return write_end(l->session, status);
}

/* Would the rows fit a record of the log beside others? */
static bool is_small(const KvLoader *l) {
  return !l->strand_count && l->row_count < ORDINARY_ROWS_MAX &&
         l->chunk_length + l->row_count * ORDINARY_ROW_OVERHEAD < l->store->log_bytes / 8;
}

Status kv_loader_commit(KvLoader *l, uint64_t *loaded) {
  uint64_t keys = 0;
  TRY(usable(l));
  l->done = true;
  Status status = KVSTORE_OK;
  if (l->row_count || l->strand_count) status = is_small(l) ? commit_rows(l, &keys) : commit_runs(l, &keys);
  if (status == KVSTORE_OK && loaded) *loaded = keys;
  return status;
}
