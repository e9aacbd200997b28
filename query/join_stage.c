/* join_stage.c - a stage looks the rows of its input up in one hashed table and gives pieces of joined rows, which are
 * the input of the next stage.
 *
 * For each part of a table that is hashed in parts the stage's input begins anew, which gives the same rows in the same
 * order, so that a bit for each says whether it was joined before. When the table has gone to partitions the input goes
 * there first, all of it, and its partitions are the input. */
#include "base/bitmap.h"
#include "base/counters.h"
#include "base/literal.h"
#include "base/memory.h"
#include "query/join_run.h"

/* ---- the input ---- */

/* A stream that was left before its end begins anew. */
static void leave_stream(JoinStage *s) {
  if (!s->source || !scan_continues(s->source)) return;
  JoinRun *run = s->flow->run;
  mutex_lock(&run->lock);
  scan_counters_add(&run->done, scan_counters(s->source));
  mutex_unlock(&run->lock);
  scan_destroy(s->source);
  if (s->input == s->source) s->input = NULL;
  s->source = NULL;
}

/* Its input is the query's own table. */
static bool is_first(const JoinStage *s) { return s->number == s->flow->run->first_stage; }
static bool is_decided(const JoinStage *s) { return s->flow->run->decided[s->number]; }
/* What it would give is what it gets. */
static bool passes_on(const JoinStage *s) { return is_decided(s) && !is_first(s); }

static void begin_input(JoinStage *s) {
  s->has_unit = false;
  s->blocks = s->input_rows = 0;
  s->row_count = s->at = s->count = 0;
  s->is_begun = false;
}

static void forget_joined(JoinStage *s) {
  if (s->joined_words) memset(s->joined, 0, s->joined_words * sizeof *s->joined);
}

static Status restart_before(JoinStage *s) {
  JoinRun *run = s->flow->run;
  if (is_first(s)) {
    s->flow->next_unit = s->flow->first_unit;
    leave_stream(s);
    return s->source ? KVSTORE_OK : query_scan(run->own, &run->tables[0], &s->source);
  }
  JoinStage *before = s - 1;
  while (passes_on(before)) before--;
  if (!join_is_whole(before->build) && !before->build->spill) {
    forget_joined(before);
    TRY(join_build_first(before->build));
  }
  TRY(join_stage_restart(before));
  return s->source ? KVSTORE_OK : scan_create(&run->plan->schema, NULL, run->tables[0].now_ms, &s->source);
}

/* The next partition from this one on that has rows, and that of the table; *found is false when there is none. */
static Status begin_partition(JoinStage *s, uint32_t partition, bool *found) {
  uint32_t end = UINT32_C(1) << s->build->partition_bits;
  begin_input(s);
  forget_joined(s);
  while (partition < end && !join_spill_rows(s->spill, partition)) partition++;
  s->partition = partition;
  *found = partition < end;
  if (!*found) return KVSTORE_OK;
  join_spill_begin(s->spill, partition);
  return join_build_partition(s->build, partition);
}

Status join_stage_restart(JoinStage *s) {
  if (passes_on(s)) return join_stage_restart(s - 1);
  bool found;
  begin_input(s);
  if (s->has_left) return begin_partition(s, 0, &found);
  TRY(restart_before(s));
  s->input = s->source;
  return KVSTORE_OK;
}

/* Sieves that leave more out are asked first. */
static void order_sieves(JoinFlow *flow) {
  for (size_t i = 1; i < flow->sieve_count; i++) {
    JoinSieve *a = &flow->sieves[i - 1], *b = &flow->sieves[i];
    if (a->rows_out * b->rows_in <= b->rows_out * a->rows_in) continue;
    JoinSieve sieve = *a;
    *a = *b;
    *b = sieve;
  }
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
  order_sieves(s->flow);
  TRY(join_scan_unit(run, s->source, unit));
  s->flow->next_unit += !scan_continues(s->source);
  s->has_unit = true;
  return KVSTORE_OK;
}

static Status next_back(JoinStage *s) {
  TRY(join_tick(s->flow->run, 0));
  TRY(join_spill_next(s->spill, &s->piece, &s->has_unit));
  return s->has_unit ? scan_unit(s->input, &s->piece) : KVSTORE_OK;
}

static Status input_next(JoinStage *s) {
  s->has_unit = false;
  if (s->has_left) {
    TRY(next_back(s));
  } else if (is_first(s)) {
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

/* Where a sieve has read the whole block, and left those that have a partner. */
static bool keys_at_hand(JoinStage *s) {
  const JoinFlow *flow = s->flow;
  for (size_t i = 0; is_first(s) && i < flow->sieve_count; i++) {
    const JoinSieve *sieve = &flow->sieves[i];
    if (sieve->step != s->build->step || !sieve->words || !sieve->keeps_partners) continue;
    memset(s->keys.valid, 1, s->row_count);
    for (uint32_t r = 0; r < s->row_count; r++) s->keys.words[0][r] = sieve->words[s->rows[r]];
    return true;
  }
  return false;
}

static Status begin_block(JoinStage *s) {
  s->input_rows += s->row_count;
  s->block = (uint32_t)__builtin_ctzll(s->blocks);
  s->blocks &= s->blocks - 1;
  s->at = s->row_count = 0;
  s->is_begun = false;
  bool is_own = is_first(s) && !s->has_left;
  TRY(join_sift(s->flow->sieves, is_own ? s->flow->sieve_count : 0, s->input, s->block, s->rows, &s->row_count));
  if (!s->row_count || is_decided(s)) return KVSTORE_OK;
  if (!join_has_all(s->build)) {
    size_t words = s->joined_words, needed = (size_t)((s->input_rows + s->row_count) / 64 + 1);
    TRY(memory_grow(&s->joined, &s->joined_words, needed, sizeof *s->joined));
    if (s->joined_words > words) memset(s->joined + words, 0, (s->joined_words - words) * sizeof *s->joined);
  }
  if (!keys_at_hand(s)) TRY(join_keys_read(&s->keys, s->input, s->block, s->rows, s->row_count));
  join_table_find(&s->build->table, &s->keys, s->row_count);
  return KVSTORE_OK;
}

static void put(JoinStage *s, uint32_t match) {
  if (s->out_words) s->out_words[s->count] = s->keys.words[0][s->at];
  s->out_rows[s->count] = s->block * BLOCK_ROWS + s->rows[s->at];
  s->out_matches[s->count++] = match;
}

static bool was_joined(const JoinStage *s) {
  return !join_has_all(s->build) && bit_get(s->joined, s->input_rows + s->at);
}

/* A row whose match, or want of one, is all that counts. */
static void put_once(JoinStage *s, bool matches) {
  bool before = was_joined(s), is_last = !s->build->scan;
  if (s->build->step->kind == JOIN_SEMI ? matches && !before : is_last && !matches && !before) put(s, JOIN_NO_ROW);
  if (matches && !join_has_all(s->build)) bit_set(s->joined, s->input_rows + s->at);
}

/* The matches of the row `at`, as far as there is room; true when it is done. */
static bool put_row(JoinStage *s) {
  if (is_decided(s)) {
    put(s, JOIN_NO_ROW);
    return true;
  }
  if (!s->is_begun) {
    s->match = join_table_match(&s->build->table, &s->keys, s->at, s->keys.first[s->at]);
    if (s->build->step->kind != JOIN_INNER) {
      bool matches = s->match != JOIN_NO_ROW;
      if (s->build->step->kind != JOIN_LEFT || !matches) {
        put_once(s, matches);
        return true;
      }
      if (!join_has_all(s->build)) bit_set(s->joined, s->input_rows + s->at);
    }
    s->is_begun = true;
  }
  while (s->match != JOIN_NO_ROW && s->count < JOIN_PIECE_ROWS) {
    put(s, s->match);
    s->match = join_table_next(&s->build->table, &s->keys, s->at, s->match);
  }
  return s->match == JOIN_NO_ROW;
}

/* A block whose rows have a partner each at most, known by their place; false: there is none, or no room. */
static bool put_block(JoinStage *s) {
  const JoinTable *table = &s->build->table;
  bool is_left = s->build->step->kind == JOIN_LEFT && join_has_all(s->build);
  if (s->at || s->is_begun || s->count + s->row_count > JOIN_PIECE_ROWS) return false;
  if (is_decided(s) || !table->is_unique || table->hashes) return false;
  if (!is_left && s->build->step->kind != JOIN_INNER) return false;
  uint32_t n = s->count, first = s->block * BLOCK_ROWS;
  for (uint32_t i = 0; i < s->row_count; i++) {
    s->out_rows[n] = first + s->rows[i];
    s->out_matches[n] = s->keys.first[i];
    if (s->out_words) s->out_words[n] = s->keys.words[0][i];
    n += is_left || s->keys.first[i] != JOIN_NO_ROW;
  }
  s->count = n;
  s->at = s->row_count;
  return true;
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
      (void)put_block(s);
      continue;
    }
    if (put_row(s)) {
      s->at++;
      s->is_begun = false;
    }
  }
  return KVSTORE_OK;
}

/* ---- partitions ---- */

/* What this stage and those behind it read of its input. */
static Status make_spill(JoinStage *s) {
  JoinRun *run = s->flow->run;
  bool needed[COLUMNS_MAX] = { false };
  join_needs(run->plan, run->query, run->rows, s->number, run->decided, needed);
  for (uint32_t c = s->build->step->first; c < run->plan->schema.column_count; c++) needed[c] = false;
  const JoinSpillOptions options = { &run->space, &run->plan->schema, needed, s->build->partition_bits,
                                     run->space.memory_limit / 4 / run->plan->step_count };
  join_spill_destroy(s->spill);
  s->spill = NULL;
  return join_spill_create(&options, &s->spill);
}

static Status leave_block(JoinStage *s) {
  uint16_t partitions[BLOCK_ROWS];
  uint32_t block = (uint32_t)__builtin_ctzll(s->blocks), count;
  s->blocks &= s->blocks - 1;
  TRY(join_sift(s->flow->sieves, is_first(s) ? s->flow->sieve_count : 0, s->input, block, s->rows, &count));
  if (!count) return KVSTORE_OK;
  TRY(join_keys_read(&s->keys, s->input, block, s->rows, count));
  uint32_t left = join_partitions(&s->keys, s->build, s->build->partition_bits, s->rows, count, partitions);
  COUNT_MANY(joins_left_out, count - left);
  atomic_fetch_add_explicit(&s->build->step->left_out, count - left, memory_order_relaxed);
  return join_spill_add(s->spill, s->input, block, s->rows, partitions, left);
}

static Status leave(JoinStage *s) {
  JoinRun *run = s->flow->run;
  TRY(make_spill(s));
  for (;;) {
    while (s->has_unit && s->blocks) TRY(leave_block(s));
    if (!is_first(s)) TRY(join_tick(run, 0)); /* a unit has many pieces */
    TRY(input_next(s));
    if (!s->has_unit) break;
  }
  TRY(join_spill_end(s->spill));
  join_bloom_release(&s->build->bloom);
  s->build->step->spilled_bytes += join_spill_bytes(s->spill);
  TRY(scan_create(&run->plan->schema, NULL, run->tables[0].now_ms, &s->input));
  s->has_left = true;
  return KVSTORE_OK;
}

/* ---- the rows ---- */

/* At the end of the input: it begins anew for the next part, or the next partition does; *more is false when neither is
 * there. */
static Status go_on(JoinStage *s, bool *more) {
  JoinBuild *build = s->build;
  *more = true;
  if (build->scan) {
    COUNT(joins_passes);
    if (s->has_left) {
      begin_input(s);
      join_spill_begin(s->spill, s->partition);
    } else {
      TRY(join_stage_restart(s));
    }
    return join_build_part(build);
  }
  *more = false;
  return s->has_left ? begin_partition(s, s->partition + 1, more) : KVSTORE_OK;
}

/* Where many rows of stages before have no partner, pieces of no rows are given meanwhile: who gets them is asked
 * whether it is to go on, for each. */
Status join_stage_next(JoinStage *s, ScanUnit *piece, bool *found) {
  bool more = true, is_of_stage = !is_first(s) && !s->has_left;
  *found = false;
  if (passes_on(s)) return join_stage_next(s - 1, piece, found);
  if (s->build->spill && !s->has_left) {
    TRY(leave(s));
    TRY(begin_partition(s, 0, &more));
    is_of_stage = false;
  }
  while (more) {
    bool had_unit = s->has_unit;
    if (had_unit) TRY(join_unit(s));
    *found = s->count || (had_unit && is_of_stage);
    if (s->count) return join_stage_fill(s, piece);
    if (*found) {
      *piece = (ScanUnit){ .kind = SCAN_UNIT_ARRAYS, .columns = s->arrays };
      return KVSTORE_OK;
    }
    TRY(input_next(s));
    if (!s->has_unit) TRY(go_on(s, &more));
  }
  return KVSTORE_OK;
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
  join_needs(run->plan, run->query, run->rows, s->number + 1, run->decided, needed);
  s->needed = arena_allocate_zeroed(arena, schema->column_count);
  s->arrays = arena_allocate_zeroed(arena, schema->column_count * sizeof *s->arrays);
  s->out_rows = arena_allocate(arena, JOIN_PIECE_ROWS * sizeof *s->out_rows);
  s->out_matches = arena_allocate(arena, JOIN_PIECE_ROWS * sizeof *s->out_matches);
  s->null_room = arena_allocate_zeroed(arena, schema->column_count * sizeof *s->null_room);
  if (!s->needed || !s->arrays || !s->null_room || !s->out_rows || !s->out_matches) return status_nomem();
  const JoinStep *step = s->build->step;
  if (step->kind == JOIN_INNER && join_keys_are_plain(&s->keys) && needed[step->left[0]]) {
    s->out_words = arena_allocate(arena, JOIN_PIECE_ROWS * sizeof *s->out_words);
    if (!s->out_words) return status_nomem();
  }
  for (uint32_t c = 0; c < step->end; c++) {
    if (!needed[c]) continue;
    s->needed[c] = true;
    s->arrays[c].values =
      arena_allocate_aligned(arena, 64, JOIN_PIECE_ROWS * type_array_width(schema->columns[c].type));
    s->null_room[c] = arena_allocate_aligned(arena, 64, JOIN_PIECE_ROWS);
    if (!s->arrays[c].values || !s->null_room[c]) return status_nomem();
  }
  return KVSTORE_OK;
}

Status join_stage_create(JoinFlow *flow, size_t number) {
  JoinStage *s = &flow->stages[number];
  s->flow = flow;
  s->build = &flow->run->builds[number];
  s->number = number;
  if (passes_on(s)) return KVSTORE_OK;
  TRY(make_keys(s));
  return make_output(s);
}

void join_stage_destroy(JoinStage *s) {
  if (s->input != s->source) scan_destroy(s->input);
  scan_destroy(s->source);
  join_spill_destroy(s->spill);
  memory_release(s->joined);
}
