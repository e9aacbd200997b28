/* merge.c - the cursor over layers.
 *
 * Every layer stands at its next row in the direction of the walk (or at its end). `top` is the one that comes first,
 * the newest of those with that key; `second` comes first among the others. After a step of top alone only second can
 * precede it, so that a row costs one comparison as long as one layer dominates; else all are looked at again, and
 * those that stand on the key of a newer layer are stepped over. */
#include "rowstore/merge.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"

/* A step of a cursor is one piece of code: its parts are small, and calls between them were a quarter of its work. */
#define HOT static inline __attribute__((always_inline))

typedef struct MergeSource {
  bool valid;
  bool is_delta;
  uint32_t layer;
  uint64_t head[2]; /* the first 16 bytes of the key, big-endian */
  Bytes key;
  RowRun *const *runs; /* key-disjoint, in order */
  uint32_t run_count, run_at;
  const RowLevel *level; /* NULL: one run */
  RowRun *single;
  union {
    KvCursor delta;
    RowCursor run;
  } cursor;
} MergeSource;

typedef struct MergeBound {
  Bytes key; /* data NULL: none */
  uint64_t head[2];
} MergeBound;

struct MergeState {
  MergeBound lower, upper;
  int64_t now_ms;
  bool tombstones, backward;
  MergeSource *top, *second;
  uint32_t count;
  MergeSource sources[];
};

/* ---- order ---- */

HOT void load_head(Bytes key, uint64_t head[2]) {
  if (LIKELY(key.length >= 16)) {
    head[0] = load_u64_big_endian(key.data);
    head[1] = load_u64_big_endian(key.data + 8);
    return;
  }
  head[0] = bytes_prefix64(key.data, key.length);
  head[1] = key.length > 8 ? bytes_prefix64(key.data + 8, key.length - 8) : 0;
}

HOT int compare_keys(const uint64_t a_head[2], Bytes a, const uint64_t b_head[2], Bytes b) {
  if (LIKELY(a_head[0] != b_head[0])) return a_head[0] < b_head[0] ? -1 : 1;
  if (a_head[1] != b_head[1]) return a_head[1] < b_head[1] ? -1 : 1;
  return bytes_compare(a.data, a.length, b.data, b.length);
}

/* Negative when `a` comes first in the direction of the walk. */
HOT int source_order(const MergeState *m, const MergeSource *a, const MergeSource *b) {
  int order = compare_keys(a->head, a->key, b->head, b->key);
  return m->backward ? -order : order;
}

HOT bool inside(const MergeState *m, const MergeSource *s) {
  if (m->backward) return !m->lower.key.data || compare_keys(s->head, s->key, m->lower.head, m->lower.key) >= 0;
  return !m->upper.key.data || compare_keys(s->head, s->key, m->upper.head, m->upper.key) < 0;
}

/* ---- one layer ---- */

/* Takes over where the layer's cursor stands. */
HOT void source_stand(const MergeState *m, MergeSource *s, bool valid) {
  s->valid = valid;
  if (!valid) return;
  s->key = s->is_delta ? s->cursor.delta.key : s->cursor.run.row.key;
  load_head(s->key, s->head);
  s->valid = inside(m, s);
}

static void open_run(MergeSource *s, uint32_t at) {
  if (s->run_at == at) return;
  row_cursor_close(&s->cursor.run);
  row_cursor_open(&s->cursor.run, s->runs[at]);
  s->run_at = at;
}

HOT Status runs_next(MergeSource *s) {
  TRY(row_cursor_next(&s->cursor.run));
  if (LIKELY(s->cursor.run.valid) || s->run_at + 1 == s->run_count) return KVSTORE_OK;
  open_run(s, s->run_at + 1);
  return row_cursor_first(&s->cursor.run);
}

HOT Status runs_prev(MergeSource *s) {
  TRY(row_cursor_prev(&s->cursor.run));
  if (LIKELY(s->cursor.run.valid) || s->run_at == 0) return KVSTORE_OK;
  open_run(s, s->run_at - 1);
  return row_cursor_last(&s->cursor.run);
}

HOT Status source_step(const MergeState *m, MergeSource *s) {
  if (s->is_delta) {
    source_stand(m, s, m->backward ? kv_cursor_prev(&s->cursor.delta) : kv_cursor_next(&s->cursor.delta));
    return KVSTORE_OK;
  }
  TRY(m->backward ? runs_prev(s) : runs_next(s));
  source_stand(m, s, s->cursor.run.valid);
  return KVSTORE_OK;
}

static Status runs_end(MergeSource *s, bool last) {
  open_run(s, last ? s->run_count - 1 : 0);
  return last ? row_cursor_last(&s->cursor.run) : row_cursor_first(&s->cursor.run);
}

/* To the first row, or the last one when walking backward. */
static Status source_end(const MergeState *m, MergeSource *s) {
  if (s->is_delta) {
    source_stand(m, s, m->backward ? kv_cursor_last(&s->cursor.delta) : kv_cursor_first(&s->cursor.delta));
    return KVSTORE_OK;
  }
  if (!s->run_count) return KVSTORE_OK;
  TRY(runs_end(s, m->backward));
  source_stand(m, s, s->cursor.run.valid);
  return KVSTORE_OK;
}

/* First row >= key. */
static Status runs_seek(MergeSource *s, Bytes key) {
  uint32_t at = s->level ? row_level_find(s->level, key.data, key.length) : 0;
  if (at == UINT32_MAX) return runs_end(s, false);
  open_run(s, at);
  TRY(row_cursor_seek(&s->cursor.run, key.data, key.length));
  if (s->cursor.run.valid || at + 1 == s->run_count) return KVSTORE_OK;
  open_run(s, at + 1);
  return row_cursor_first(&s->cursor.run);
}

/* Last row <= key. */
static Status runs_seek_last(MergeSource *s, Bytes key) {
  uint32_t at = s->level ? row_level_find(s->level, key.data, key.length) : 0;
  if (at == UINT32_MAX) {
    s->cursor.run.valid = false;
    return KVSTORE_OK;
  }
  open_run(s, at);
  return row_cursor_seek_last(&s->cursor.run, key.data, key.length);
}

/* To the key or, in the direction of the walk, to the next row behind it; `beyond`: not to the key itself. */
static Status source_seek(const MergeState *m, MergeSource *s, Bytes key, bool beyond) {
  bool valid = false;
  if (s->is_delta) {
    valid = m->backward ? kv_cursor_seek_last(&s->cursor.delta, key.data, key.length)
                        : kv_cursor_seek(&s->cursor.delta, key.data, key.length);
  } else if (s->run_count) {
    TRY(m->backward ? runs_seek_last(s, key) : runs_seek(s, key));
    valid = s->cursor.run.valid;
  }
  source_stand(m, s, valid);
  if (!s->valid || !beyond || bytes_compare(s->key.data, s->key.length, key.data, key.length) != 0) return KVSTORE_OK;
  return source_step(m, s);
}

static void source_open(MergeSource *s, const MergeLayer *layer, uint32_t number) {
  s->layer = number;
  s->is_delta = layer->delta != NULL;
  if (s->is_delta) {
    kv_cursor_open(&s->cursor.delta, layer->delta, layer->snapshot);
    return;
  }
  s->level = layer->level;
  s->single = layer->run;
  s->runs = s->level ? s->level->runs : &s->single;
  s->run_count = s->level ? s->level->count : 1;
  if (s->run_count) row_cursor_open(&s->cursor.run, s->runs[0]);
}

static void source_close(MergeSource *s) {
  if (!s->is_delta && s->run_count) row_cursor_close(&s->cursor.run);
}

/* ---- choosing ---- */

/* Finds top and second anew. A layer that stands on the key of a newer one is stepped over. */
static Status choose(MergeState *m) {
  MergeSource *first = NULL, *second = NULL;
  for (uint32_t i = 0; i < m->count; i++) {
    MergeSource *s = &m->sources[i];
    if (!s->valid) continue;
    int order = first ? source_order(m, s, first) : -1;
    if (order == 0) {
      TRY(source_step(m, s));
      if (!s->valid) continue;
      order = 1; /* keys of one layer are distinct */
    }
    if (order < 0) {
      second = first;
      first = s;
    } else if (!second || source_order(m, s, second) < 0) {
      second = s;
    }
  }
  m->top = first;
  m->second = second;
  return KVSTORE_OK;
}

HOT Status advance(MergeState *m) {
  MergeSource *top = m->top;
  TRY(source_step(m, top));
  if (LIKELY(top->valid && (!m->second || source_order(m, top, m->second) < 0))) return KVSTORE_OK;
  return choose(m);
}

/* Another direction: the others go to where they would stand had the walk come from this side. */
static Status turn(MergeState *m, bool backward) {
  MergeSource *top = m->top;
  m->backward = backward;
  for (uint32_t i = 0; i < m->count; i++)
    if (&m->sources[i] != top) TRY(source_seek(m, &m->sources[i], top->key, true));
  TRY(source_step(m, top));
  return choose(m);
}

/* ---- the row ---- */

HOT bool top_is_tombstone(const MergeSource *s) {
  return s->is_delta ? s->cursor.delta.state == DELTA_DELETED : s->cursor.run.row.tombstone;
}

HOT void fill_row(MergeCursor *c) {
  const MergeState *m = c->state;
  const MergeSource *s = m->top;
  MergeRow *row = &c->row;
  row->layer = s->layer;
  if (s->is_delta) {
    const KvCursor *d = &s->cursor.delta;
    row->view = (RowView){ .key = d->key,
                           .value = d->row.value,
                           .expiry = d->row.expiry,
                           .tombstone = d->state == DELTA_DELETED,
                           .position = d->row.row };
    row->sequence = d->row.sequence;
    row->run = NULL;
  } else {
    row->view = s->cursor.run.row;
    row->sequence = 0;
    row->run = s->cursor.run.run;
  }
  row->expired = row->view.expiry <= m->now_ms && row->view.expiry != EXPIRY_NEVER;
}

/* From where the layers stand to the next row that is to be yielded. */
HOT Status settle(MergeCursor *c) {
  MergeState *m = c->state;
  while (m->top && !m->tombstones && UNLIKELY(top_is_tombstone(m->top))) TRY(advance(m));
  c->valid = m->top != NULL;
  if (c->valid) fill_row(c);
  return KVSTORE_OK;
}

HOT Status walk(MergeCursor *c, bool backward) {
  MergeState *m = c->state;
  ASSERT(c->valid, "ROW-6");
  c->valid = false;
  row_pin_release(&c->row.value_pin);
  TRY(LIKELY(m->backward == backward) ? advance(m) : turn(m, backward));
  return settle(c);
}

Status merge_cursor_next(MergeCursor *c) { return walk(c, false); }
Status merge_cursor_prev(MergeCursor *c) { return walk(c, true); }

/* ---- positioning ---- */

/* All layers to `key` (data NULL: to the end they come from), then the row there. */

static Status position(MergeCursor *c, bool backward, Bytes key, bool beyond) {
  MergeState *m = c->state;
  c->valid = false;
  row_pin_release(&c->row.value_pin);
  m->backward = backward;
  for (uint32_t i = 0; i < m->count; i++)
    TRY(key.data ? source_seek(m, &m->sources[i], key, beyond) : source_end(m, &m->sources[i]));
  TRY(choose(m));
  return settle(c);
}

/* An empty key is one, wherever it points. */
static Bytes sought(const void *key, size_t length) { return (Bytes){ length ? key : (const void *)"", length }; }

Status merge_cursor_first(MergeCursor *c) { return position(c, false, c->state->lower.key, false); }
Status merge_cursor_last(MergeCursor *c) { return position(c, true, c->state->upper.key, true); }

Status merge_cursor_seek(MergeCursor *c, const void *key, size_t length) {
  Bytes lower = c->state->lower.key;
  if (lower.data && bytes_compare(key, length, lower.data, lower.length) < 0) return merge_cursor_first(c);
  return position(c, false, sought(key, length), false);
}

Status merge_cursor_seek_last(MergeCursor *c, const void *key, size_t length) {
  Bytes upper = c->state->upper.key;
  if (upper.data && bytes_compare(key, length, upper.data, upper.length) >= 0) return merge_cursor_last(c);
  return position(c, true, sought(key, length), false);
}

/* ---- life ---- */

/* The length of the shortest string behind everything that begins with the prefix: the prefix without its 0xff at the
 * end, its last byte one higher. 0: there is none. */
static size_t successor_length(Bytes prefix) {
  size_t length = prefix.length;
  while (length && prefix.data[length - 1] == 0xff) length--;
  return length;
}

static uint8_t *copy_bound(MergeBound *bound, uint8_t *to, Bytes key) {
  if (key.length) memcpy(to, key.data, key.length);
  bound->key = (Bytes){ to, key.length };
  load_head(bound->key, bound->head);
  return to + key.length + 1; /* an empty bound has an address too */
}

static void set_bounds(MergeState *m, const MergeOptions *o, uint8_t *to) {
  Bytes lower = o->lower, prefix = o->prefix;
  if (prefix.length && (!lower.data || bytes_compare(prefix.data, prefix.length, lower.data, lower.length) > 0))
    lower = prefix;
  if (lower.data) to = copy_bound(&m->lower, to, lower);
  size_t behind = prefix.data ? successor_length(prefix) : 0;
  if (behind) {
    copy_bound(&m->upper, to, (Bytes){ prefix.data, behind });
    to[behind - 1]++;
    load_head(m->upper.key, m->upper.head);
  }
  if (o->upper.data && (!behind || bytes_compare(o->upper.data, o->upper.length, to, behind) < 0))
    copy_bound(&m->upper, to, o->upper);
}

Status merge_cursor_open(MergeCursor *c, const MergeLayer *layers, uint32_t count, const MergeOptions *options) {
  static const MergeOptions everything = { .now_ms = INT64_MIN };
  const MergeOptions *o = options ? options : &everything;
  memset(c, 0, sizeof *c);
  size_t sources = memory_array_size(count, sizeof(MergeSource));
  size_t bounds = o->lower.length + o->upper.length + 2 * o->prefix.length + 3;
  if (sources > SIZE_MAX / 2) return status_nomem();
  MergeState *m = memory_allocate_zeroed(sizeof *m + sources + bounds);
  if (!m) return status_nomem();
  m->now_ms = o->now_ms;
  m->tombstones = o->tombstones;
  m->count = count;
  set_bounds(m, o, (uint8_t *)&m->sources[count]);
  for (uint32_t i = 0; i < count; i++) source_open(&m->sources[i], &layers[i], i);
  c->state = m;
  return KVSTORE_OK;
}

void merge_cursor_close(MergeCursor *c) {
  if (!c->state) return;
  row_pin_release(&c->row.value_pin);
  for (uint32_t i = 0; i < c->state->count; i++) source_close(&c->state->sources[i]);
  memory_release(c->state);
  c->state = NULL;
  c->valid = false;
}
