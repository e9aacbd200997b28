/* join_stage.c - a stage looks the rows of its input up in one hashed table and gives pieces of joined rows, which are
 * the input of the next stage.
 *
 * For each part of a table that is hashed in parts the stage's input begins anew, which gives the same rows in the same
 * order, so that a bit for each says whether it was joined before. */
#include "base/bitmap.h"
#include "base/counters.h"
#include "base/literal.h"
#include "base/memory.h"
#include "query/join_run.h"

enum { FEW_ROWS = 24 };

/* ---- the input ---- */

/* A stream that was left before its end begins anew. */
static void leave_stream(JoinStage *s) {
  if (!s->input || !scan_continues(s->input)) return;
  JoinRun *run = s->flow->run;
  mutex_lock(&run->lock);
  scan_counters_add(&run->done, scan_counters(s->input));
  mutex_unlock(&run->lock);
  scan_destroy(s->input);
  s->input = NULL;
}

Status join_stage_restart(JoinStage *s) {
  JoinRun *run = s->flow->run;
  s->has_unit = false;
  s->blocks = s->input_rows = 0;
  s->row_count = s->at = s->count = 0;
  s->is_begun = false;
  if (s->number == 0) {
    s->flow->next_unit = s->flow->first_unit;
    leave_stream(s);
    return s->input ? KVSTORE_OK : query_scan(run->own, &run->tables[0], &s->input);
  }
  JoinStage *before = s - 1;
  if (!join_is_whole(before->build)) {
    if (before->joined_words) memset(before->joined, 0, before->joined_words * sizeof *before->joined);
    TRY(join_build_first(before->build));
  }
  TRY(join_stage_restart(before));
  return s->input ? KVSTORE_OK : scan_create(&run->plan->schema, NULL, run->tables[0].now_ms, &s->input);
}

/* The first one: of the query's own table. */
static Status next_unit(JoinStage *s) {
  JoinRun *run = s->flow->run;
  if (s->flow->next_unit >= s->flow->end_unit) return KVSTORE_OK;
  const ScanUnit *unit = &run->tables[0].units[s->flow->next_unit];
  uint32_t rows = unit->kind == SCAN_UNIT_STREAM ? 0 : unit->row_count;
  if (run->is_divided)
    atomic_fetch_add_explicit(&run->scanned, rows, memory_order_relaxed); /* who adds the pieces up tells of it */
  else
    TRY(join_tick(run, rows));
  TRY(scan_unit(s->input, unit));
  s->flow->next_unit += !scan_continues(s->input);
  s->has_unit = true;
  return KVSTORE_OK;
}

static Status input_next(JoinStage *s) {
  s->has_unit = false;
  if (s->number == 0) {
    TRY(next_unit(s));
  } else {
    TRY(join_stage_next(s - 1, &s->piece, &s->has_unit));
    if (s->has_unit) TRY(scan_unit(s->input, &s->piece));
  }
  if (!s->has_unit) return KVSTORE_OK;
  scan_fill_masks(s->input);
  s->blocks = scan_selection(s->input)->blocks;
  return KVSTORE_OK;
}

/* ---- joining ---- */

static Status begin_block(JoinStage *s) {
  s->input_rows += s->row_count;
  s->block = (uint32_t)__builtin_ctzll(s->blocks);
  s->blocks &= s->blocks - 1;
  s->row_count = join_mask_rows(s->input, s->block, s->rows);
  s->at = 0;
  s->is_begun = false;
  if (!join_is_whole(s->build)) {
    size_t words = s->joined_words, needed = (size_t)((s->input_rows + s->row_count) / 64 + 1);
    TRY(memory_grow(&s->joined, &s->joined_words, needed, sizeof *s->joined));
    if (s->joined_words > words) memset(s->joined + words, 0, (s->joined_words - words) * sizeof *s->joined);
  }
  TRY(join_keys_read(&s->keys, s->input, s->block, s->rows, s->row_count));
  join_table_find(&s->build->table, &s->keys, s->row_count);
  return KVSTORE_OK;
}

static void put(JoinStage *s, uint32_t match) {
  s->out_rows[s->count] = s->block * BLOCK_ROWS + s->rows[s->at];
  s->out_matches[s->count++] = match;
}

static bool was_joined(const JoinStage *s) {
  return !join_is_whole(s->build) && bit_get(s->joined, s->input_rows + s->at);
}

/* A row whose match, or want of one, is all that counts. */
static void put_once(JoinStage *s, bool matches) {
  bool before = was_joined(s), is_last = !s->build->scan;
  if (s->build->step->kind == JOIN_SEMI ? matches && !before : is_last && !matches && !before) put(s, JOIN_NO_ROW);
  if (matches && !join_is_whole(s->build)) bit_set(s->joined, s->input_rows + s->at);
}

/* The matches of the row `at`, as far as there is room; true when it is done. */
static bool put_row(JoinStage *s) {
  if (!s->is_begun) {
    s->match = join_table_match(&s->build->table, &s->keys, s->at, s->keys.first[s->at]);
    if (s->build->step->kind != JOIN_INNER) {
      bool matches = s->match != JOIN_NO_ROW;
      if (s->build->step->kind != JOIN_LEFT || !matches) {
        put_once(s, matches);
        return true;
      }
      if (!join_is_whole(s->build)) bit_set(s->joined, s->input_rows + s->at);
    }
    s->is_begun = true;
  }
  while (s->match != JOIN_NO_ROW && s->count < JOIN_PIECE_ROWS) {
    put(s, s->match);
    s->match = join_table_next(&s->build->table, &s->keys, s->at, s->match);
  }
  return s->match == JOIN_NO_ROW;
}

/* Joins rows of the unit until the piece is full or the unit is at its end. */
static Status join_unit(JoinStage *s) {
  while (s->count < JOIN_PIECE_ROWS) {
    if (s->at == s->row_count) {
      if (!s->blocks) {
        s->has_unit = false;
        return KVSTORE_OK;
      }
      TRY(begin_block(s));
      continue;
    }
    if (put_row(s)) {
      s->at++;
      s->is_begun = false;
    }
  }
  return KVSTORE_OK;
}

/* ---- the output ---- */

static void gather(size_t width, const uint8_t *from, const uint32_t *rows, uint32_t count, uint8_t *to) {
  for (uint32_t i = 0; i < count; i++) memcpy(to + i * width, from + (size_t)rows[i] * width, width);
}

/* Output rows from `first` on that lie in one block of the input. */
static Status take_block(JoinStage *s, uint32_t column, uint32_t first, uint32_t end, size_t width, uint8_t *values,
                         uint8_t *nulls) {
  uint32_t block = s->out_rows[first] / BLOCK_ROWS;
  if (end - first <= FEW_ROWS) {
    for (uint32_t i = first; i < end; i++) {
      Value value;
      TRY(scan_read_value(s->input, column, s->out_rows[i], &value));
      nulls[i] = value.is_null;
      if (value.is_null)
        memset(values + i * width, 0, width);
      else
        value_to_array(&value, values, i);
    }
    return KVSTORE_OK;
  }
  JoinFlow *flow = s->flow;
  TRY(scan_read_block(s->input, column, block, flow->values, flow->nulls));
  for (uint32_t i = first; i < end; i++) {
    uint32_t row = s->out_rows[i] % BLOCK_ROWS;
    nulls[i] = flow->nulls[row];
    memcpy(values + i * width, (const uint8_t *)flow->values + row * width, width);
  }
  return KVSTORE_OK;
}

static Status take_input(JoinStage *s, uint32_t column, size_t width, uint8_t *values, uint8_t *nulls) {
  for (uint32_t first = 0, end; first < s->count; first = end) {
    uint32_t block = s->out_rows[first] / BLOCK_ROWS;
    for (end = first + 1; end < s->count && s->out_rows[end] / BLOCK_ROWS == block;) end++;
    TRY(take_block(s, column, first, end, width, values, nulls));
  }
  return KVSTORE_OK;
}

static void take_match(const JoinStage *s, const JoinPayload *p, uint8_t *values, uint8_t *nulls) {
  if (s->build->step->kind == JOIN_INNER) {
    gather(p->width, p->values, s->out_matches, s->count, values);
    gather(1, p->nulls, s->out_matches, s->count, nulls);
    return;
  }
  for (uint32_t i = 0; i < s->count; i++) {
    size_t row = s->out_matches[i];
    nulls[i] = row == JOIN_NO_ROW || p->nulls[row];
    if (nulls[i])
      memset(values + i * p->width, 0, p->width);
    else
      memcpy(values + i * p->width, p->values + row * p->width, p->width);
  }
}

static Status fill_piece(JoinStage *s, ScanUnit *piece) {
  const Schema *schema = &s->flow->run->plan->schema;
  size_t next = 0;
  for (uint32_t c = 0; c < schema->column_count; c++) {
    if (!s->needed[c]) continue;
    uint8_t *values = (uint8_t *)(uintptr_t)s->arrays[c].values, *nulls = (uint8_t *)(uintptr_t)s->arrays[c].nulls;
    if (c >= s->build->step->first && c < s->build->step->end)
      take_match(s, &s->build->table.payload[next++], values, nulls);
    else
      TRY(take_input(s, c, type_array_width(schema->columns[c].type), values, nulls));
  }
  *piece = (ScanUnit){ .kind = SCAN_UNIT_ARRAYS, .row_count = s->count, .columns = s->arrays };
  s->count = 0;
  return KVSTORE_OK;
}

static bool can_give_nothing(const JoinStage *s) {
  JoinKind kind = s->build->step->kind;
  return join_is_whole(s->build) && !s->build->table.row_count && (kind == JOIN_INNER || kind == JOIN_SEMI);
}

Status join_stage_next(JoinStage *s, ScanUnit *piece, bool *found) {
  *found = false;
  if (can_give_nothing(s)) return KVSTORE_OK;
  for (;;) {
    if (s->has_unit) TRY(join_unit(s));
    if (s->count) {
      *found = true;
      return fill_piece(s, piece);
    }
    TRY(input_next(s));
    if (s->has_unit) continue;
    if (!s->build->scan) return KVSTORE_OK;
    COUNT(joins_passes);
    TRY(join_stage_restart(s));
    TRY(join_build_part(s->build));
  }
}

/* ---- life ---- */

static Status make_keys(JoinStage *s) {
  const JoinStep *step = s->build->step;
  s->keys.count = step->count;
  for (size_t k = 0; k < step->count; k++) {
    s->keys.domains[k] = step->domains[k];
    s->keys.columns[k] = step->left[k];
    s->keys.types[k] = s->flow->run->plan->schema.columns[step->left[k]].type;
  }
  return join_keys_create(&s->keys, &s->flow->arena);
}

static Status make_output(JoinStage *s) {
  const JoinRun *run = s->flow->run;
  Arena *arena = &s->flow->arena;
  const Schema *schema = &run->plan->schema;
  bool needed[COLUMNS_MAX] = { false };
  join_needs(run->plan, run->query, run->rows, s->number + 1, needed);
  s->needed = arena_allocate_zeroed(arena, schema->column_count);
  s->arrays = arena_allocate_zeroed(arena, schema->column_count * sizeof *s->arrays);
  s->out_rows = arena_allocate(arena, JOIN_PIECE_ROWS * sizeof *s->out_rows);
  s->out_matches = arena_allocate(arena, JOIN_PIECE_ROWS * sizeof *s->out_matches);
  if (!s->needed || !s->arrays || !s->out_rows || !s->out_matches) return status_nomem();
  for (uint32_t c = 0; c < s->build->step->end; c++) {
    if (!needed[c]) continue;
    s->needed[c] = true;
    s->arrays[c].values =
      arena_allocate_aligned(arena, 64, JOIN_PIECE_ROWS * type_array_width(schema->columns[c].type));
    s->arrays[c].nulls = arena_allocate_aligned(arena, 64, JOIN_PIECE_ROWS);
    if (!s->arrays[c].values || !s->arrays[c].nulls) return status_nomem();
  }
  return KVSTORE_OK;
}

Status join_stage_create(JoinFlow *flow, size_t number) {
  JoinStage *s = &flow->stages[number];
  s->flow = flow;
  s->build = &flow->run->builds[number];
  s->number = number;
  TRY(make_keys(s));
  return make_output(s);
}

void join_stage_destroy(JoinStage *s) {
  scan_destroy(s->input);
  memory_release(s->joined);
}
