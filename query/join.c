/* join.c - joined rows as a stream: tables hashed from the last to the first, then rows of the query's own table
 * through all of them, a block at a time.
 *
 * A stage looks the rows of its input up in one hashed table and gives pieces of joined rows, which are the input of
 * the next stage. A table that is more than its share of the memory is hashed in parts; for each part the stage's input
 * begins anew, which gives the same rows in the same order, so that a bit for each says whether it was joined before.
 */
#include "query/join.h"

#include "base/bitmap.h"
#include "base/counters.h"
#include "base/memory.h"
#include "query/join_internal.h"
#include "base/literal.h"

enum { PIECE_ROWS = 8 * BLOCK_ROWS, FEW_ROWS = 24 };

typedef struct JoinRun JoinRun;

typedef struct JoinStage {
  JoinRun *run;
  JoinStep *step;
  size_t number;
  /* the hashed table */
  const TableSnapshot *snapshot;
  Scan *build; /* NULL: everything has been taken in */
  uint32_t build_unit;
  uint64_t build_blocks; /* of its unit, still to take in */
  JoinTable table;
  JoinKeys build_keys;
  JoinKeys *reduce; /* of later stages: how its rows are asked there; count 0: not at all */
  uint64_t part;    /* from 0 */
  /* the input */
  Scan *input;
  uint32_t next_unit;
  ScanUnit piece; /* of the stage before */
  bool has_unit;
  uint64_t blocks; /* of the unit, still to come */
  JoinKeys keys;
  uint16_t rows[BLOCK_ROWS]; /* of the current block */
  uint32_t block, row_count, at, match;
  bool is_begun;       /* the row `at` has been looked up: `match` is next */
  uint64_t input_rows; /* before the current block */
  uint64_t *joined;    /* a bit for each row of the input, when there are several parts */
  size_t joined_words;
  /* the output */
  uint32_t count;
  uint32_t *out_rows, *out_matches;
  bool *needed;
  ColumnArray *arrays;
} JoinStage;

struct JoinRun {
  JoinPlan *plan;
  const Query *query;
  bool rows, has_space, is_begun;
  QuerySpace space;
  Arena arena;
  size_t table_count;
  TableSnapshot tables[JOIN_TABLES_MAX + 1];
  JoinStage stages[JOIN_TABLES_MAX];
  Query *own; /* of the query's own table, within the ends of the keys that it is joined to */
  uint64_t scanned, total;
  ScanCounters done;
  ScanUnit unit;
  ScanSource source;
  void *values; /* a block */
  uint8_t *nulls;
};

static Status tick(JoinRun *run, uint32_t rows) {
  run->scanned += rows;
  uint64_t scanned = run->scanned < run->total ? run->scanned : run->total; /* parts read rows again */
  return run->has_space && run->space.tick ? run->space.tick(run->space.context, scanned, run->total) : KVSTORE_OK;
}

static void end_scan(JoinRun *run, Scan **scan) {
  if (*scan) scan_counters_add(&run->done, scan_counters(*scan));
  scan_destroy(*scan);
  *scan = NULL;
}

static uint32_t mask_rows(Scan *scan, uint32_t block, uint16_t rows[BLOCK_ROWS]) {
  const uint64_t *mask = scan_selection(scan)->masks[block];
  uint32_t count = 0;
  for (uint32_t w = 0; w < BLOCK_WORDS; w++)
    for (uint64_t word = mask[w]; word; word &= word - 1)
      rows[count++] = (uint16_t)(w * 64 + (uint32_t)__builtin_ctzll(word));
  return count;
}

/* ---- hashing a table ---- */

static bool is_whole(const JoinStage *s) { return !s->build && s->part == 0; }

/* Of rows of the table only those stay that a later table, hashed already, has something for. */
static Status reduce_rows(JoinStage *s, uint32_t block, uint16_t *rows, uint32_t *count) {
  for (size_t later = s->number + 1; later < s->run->plan->step_count; later++) {
    JoinKeys *keys = &s->reduce[later];
    const JoinTable *table = &s->run->stages[later].table;
    uint32_t kept = 0;
    if (!keys->count || !is_whole(&s->run->stages[later])) continue;
    TRY(join_keys_read(keys, s->build, block, rows, *count));
    join_table_find(table, keys, *count);
    for (uint32_t i = 0; i < *count; i++) {
      rows[kept] = rows[i];
      kept += join_table_match(table, keys, i, keys->first[i]) != JOIN_NO_ROW;
    }
    COUNT_MANY(joins_reduced, *count - kept);
    *count = kept;
  }
  return KVSTORE_OK;
}

static Status add_block(JoinStage *s, uint32_t block) {
  uint16_t rows[BLOCK_ROWS];
  uint32_t count = mask_rows(s->build, block, rows);
  TRY(reduce_rows(s, block, rows, &count));
  if (!count) return KVSTORE_OK;
  TRY(join_keys_read(&s->build_keys, s->build, block, rows, count));
  return join_table_add(&s->table, &s->build_keys, s->build, block, rows, count);
}

/* The next unit of the table, or the end of it. */
static Status build_next_unit(JoinStage *s) {
  if (s->build_unit == s->snapshot->unit_count) {
    end_scan(s->run, &s->build);
    return KVSTORE_OK;
  }
  const ScanUnit *unit = &s->snapshot->units[s->build_unit];
  TRY(tick(s->run, unit->kind == SCAN_UNIT_STREAM ? 0 : unit->row_count));
  TRY(scan_unit(s->build, unit));
  s->build_unit += !scan_continues(s->build);
  scan_fill_masks(s->build);
  s->build_blocks = scan_selection(s->build)->blocks;
  return KVSTORE_OK;
}

static uint64_t share_of(const JoinRun *run) {
  return run->has_space ? run->space.memory_limit / 2 / run->plan->step_count : UINT64_MAX;
}

/* Takes in as much of the table as there is room for, at least a block. */
static Status hash_part(JoinStage *s) {
  join_table_release(&s->table);
  while (s->build && (!s->table.row_count || join_table_bytes(&s->table) < share_of(s->run))) {
    if (!s->build_blocks) {
      TRY(build_next_unit(s));
      continue;
    }
    TRY(add_block(s, (uint32_t)__builtin_ctzll(s->build_blocks)));
    s->build_blocks &= s->build_blocks - 1;
  }
  s->step->hashed_rows += s->table.row_count;
  uint64_t bytes = join_table_bytes(&s->table);
  if (bytes > s->step->hashed_bytes) s->step->hashed_bytes = bytes;
  s->step->parts++;
  return join_table_index(&s->table);
}

static Status hash_first_part(JoinStage *s) {
  end_scan(s->run, &s->build);
  TRY(query_scan(s->step->query, s->snapshot, &s->build));
  s->build_unit = 0;
  s->build_blocks = 0;
  s->part = 0;
  s->step->hashed_rows = s->step->parts = 0;
  return hash_part(s);
}

/* ---- the input ---- */

/* Pieces of another stage are no table's rows, and not counted. */
static void end_input(JoinStage *s) {
  if (s->number == 0) {
    end_scan(s->run, &s->input);
    return;
  }
  scan_destroy(s->input);
  s->input = NULL;
}

/* Once more from its first row. */
static Status restart_input(JoinStage *s) {
  JoinRun *run = s->run;
  end_input(s);
  s->next_unit = 0;
  s->has_unit = false;
  s->blocks = s->input_rows = 0;
  s->row_count = s->at = 0;
  s->is_begun = false;
  if (s->number == 0) return query_scan(run->own, &run->tables[0], &s->input);
  JoinStage *before = s - 1;
  if (!is_whole(before)) {
    if (before->joined_words) memset(before->joined, 0, before->joined_words * sizeof *before->joined);
    TRY(hash_first_part(before));
  }
  TRY(restart_input(before));
  return scan_create(&run->plan->schema, NULL, run->tables[0].now_ms, &s->input);
}

static Status stage_next(JoinStage *s, ScanUnit *piece, bool *found);

static Status input_next(JoinStage *s) {
  const TableSnapshot *own = &s->run->tables[0];
  const ScanUnit *unit = &s->piece;
  s->has_unit = false;
  if (s->number == 0) {
    if (s->next_unit == own->unit_count) return KVSTORE_OK;
    unit = &own->units[s->next_unit];
    TRY(tick(s->run, unit->kind == SCAN_UNIT_STREAM ? 0 : unit->row_count));
  } else {
    bool found;
    TRY(stage_next(s - 1, &s->piece, &found));
    if (!found) return KVSTORE_OK;
  }
  TRY(scan_unit(s->input, unit));
  if (s->number == 0) s->next_unit += !scan_continues(s->input);
  scan_fill_masks(s->input);
  s->blocks = scan_selection(s->input)->blocks;
  s->has_unit = true;
  return KVSTORE_OK;
}

/* ---- joining ---- */

static Status begin_block(JoinStage *s) {
  s->input_rows += s->row_count;
  s->block = (uint32_t)__builtin_ctzll(s->blocks);
  s->blocks &= s->blocks - 1;
  s->row_count = mask_rows(s->input, s->block, s->rows);
  s->at = 0;
  s->is_begun = false;
  if (!is_whole(s)) {
    size_t words = s->joined_words, needed = (size_t)((s->input_rows + s->row_count) / 64 + 1);
    TRY(memory_grow(&s->joined, &s->joined_words, needed, sizeof *s->joined));
    if (s->joined_words > words) memset(s->joined + words, 0, (s->joined_words - words) * sizeof *s->joined);
  }
  TRY(join_keys_read(&s->keys, s->input, s->block, s->rows, s->row_count));
  join_table_find(&s->table, &s->keys, s->row_count);
  return KVSTORE_OK;
}

static void put(JoinStage *s, uint32_t match) {
  s->out_rows[s->count] = s->block * BLOCK_ROWS + s->rows[s->at];
  s->out_matches[s->count++] = match;
}

static bool was_joined(const JoinStage *s) { return !is_whole(s) && bit_get(s->joined, s->input_rows + s->at); }

/* A row whose match, or want of one, is all that counts. */
static void put_once(JoinStage *s, bool matches) {
  bool before = was_joined(s), is_last = !s->build;
  if (s->step->kind == JOIN_SEMI ? matches && !before : is_last && !matches && !before) put(s, JOIN_NO_ROW);
  if (matches && !is_whole(s)) bit_set(s->joined, s->input_rows + s->at);
}

/* The matches of the row `at`, as far as there is room; true when it is done. */
static bool put_row(JoinStage *s) {
  if (!s->is_begun) {
    s->match = join_table_match(&s->table, &s->keys, s->at, s->keys.first[s->at]);
    if (s->step->kind != JOIN_INNER) {
      bool matches = s->match != JOIN_NO_ROW;
      if (s->step->kind != JOIN_LEFT || !matches) {
        put_once(s, matches);
        return true;
      }
      if (!is_whole(s)) bit_set(s->joined, s->input_rows + s->at);
    }
    s->is_begun = true;
  }
  while (s->match != JOIN_NO_ROW && s->count < PIECE_ROWS) {
    put(s, s->match);
    s->match = join_table_match(&s->table, &s->keys, s->at, s->table.next[s->match]);
  }
  return s->match == JOIN_NO_ROW;
}

/* Joins rows of the unit until the piece is full or the unit is at its end. */
static Status join_unit(JoinStage *s) {
  while (s->count < PIECE_ROWS) {
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
  JoinRun *run = s->run;
  TRY(scan_read_block(s->input, column, block, run->values, run->nulls));
  for (uint32_t i = first; i < end; i++) {
    uint32_t row = s->out_rows[i] % BLOCK_ROWS;
    nulls[i] = run->nulls[row];
    memcpy(values + i * width, (const uint8_t *)run->values + row * width, width);
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
  if (s->step->kind == JOIN_INNER) {
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
  const Schema *schema = &s->run->plan->schema;
  size_t next = 0;
  for (uint32_t c = 0; c < schema->column_count; c++) {
    if (!s->needed[c]) continue;
    uint8_t *values = (uint8_t *)(uintptr_t)s->arrays[c].values, *nulls = (uint8_t *)(uintptr_t)s->arrays[c].nulls;
    if (c >= s->step->first && c < s->step->end)
      take_match(s, &s->table.payload[next++], values, nulls);
    else
      TRY(take_input(s, c, type_array_width(schema->columns[c].type), values, nulls));
  }
  *piece = (ScanUnit){ .kind = SCAN_UNIT_ARRAYS, .row_count = s->count, .columns = s->arrays };
  s->count = 0;
  return KVSTORE_OK;
}

static bool can_give_nothing(const JoinStage *s) {
  return is_whole(s) && !s->table.row_count && (s->step->kind == JOIN_INNER || s->step->kind == JOIN_SEMI);
}

static Status stage_next(JoinStage *s, ScanUnit *piece, bool *found) {
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
    if (!s->build) return KVSTORE_OK;
    COUNT(joins_passes);
    TRY(restart_input(s));
    s->part++;
    TRY(hash_part(s));
  }
}

/* ---- beginning ---- */

static Status make_keys(JoinStage *s) {
  const JoinStep *step = s->step;
  s->keys.count = s->build_keys.count = step->count;
  for (size_t k = 0; k < step->count; k++) {
    s->keys.domains[k] = s->build_keys.domains[k] = step->domains[k];
    s->keys.columns[k] = step->left[k];
    s->keys.types[k] = s->run->plan->schema.columns[step->left[k]].type;
    s->build_keys.columns[k] = step->right[k];
    s->build_keys.types[k] = step->query->schema.columns[step->right[k]].type;
  }
  TRY(join_keys_create(&s->keys, &s->run->arena));
  return join_keys_create(&s->build_keys, &s->run->arena);
}

/* Later stages whose left columns are this table's alone ask its rows when they are hashed. */
static Status make_reducers(JoinStage *s) {
  const JoinPlan *plan = s->run->plan;
  s->reduce = arena_allocate_zeroed(&s->run->arena, plan->step_count * sizeof *s->reduce);
  if (!s->reduce) return status_nomem();
  for (size_t later = s->number + 1; later < plan->step_count && s->step->kind == JOIN_INNER; later++) {
    const JoinStep *step = &plan->steps[later];
    JoinKeys *keys = &s->reduce[later];
    bool is_of_this = step->kind == JOIN_INNER || step->kind == JOIN_SEMI;
    for (size_t k = 0; k < step->count; k++) {
      is_of_this &= join_table_of(plan, step->left[k]) == s->number + 1;
      keys->domains[k] = step->domains[k];
      keys->columns[k] = step->left[k] - s->step->first;
      keys->types[k] = plan->schema.columns[step->left[k]].type;
    }
    if (!is_of_this) continue;
    keys->count = step->count;
    TRY(join_keys_create(keys, &s->run->arena));
  }
  return KVSTORE_OK;
}

static Status make_output(JoinStage *s) {
  JoinRun *run = s->run;
  const Schema *schema = &run->plan->schema;
  bool needed[COLUMNS_MAX] = { false };
  join_needs(run->plan, run->query, run->rows, s->number + 1, needed);
  s->needed = arena_allocate_zeroed(&run->arena, schema->column_count);
  s->arrays = arena_allocate_zeroed(&run->arena, schema->column_count * sizeof *s->arrays);
  s->table.payload = arena_allocate_zeroed(&run->arena, (schema->column_count + 1) * sizeof *s->table.payload);
  s->out_rows = arena_allocate(&run->arena, PIECE_ROWS * sizeof *s->out_rows);
  s->out_matches = arena_allocate(&run->arena, PIECE_ROWS * sizeof *s->out_matches);
  if (!s->needed || !s->arrays || !s->table.payload || !s->out_rows || !s->out_matches) return status_nomem();
  s->table.keys = &s->build_keys;
  for (uint32_t c = 0; c < s->step->end; c++) {
    if (!needed[c]) continue;
    ColumnType type = schema->columns[c].type;
    s->needed[c] = true;
    s->arrays[c].values = arena_allocate_aligned(&run->arena, 64, PIECE_ROWS * type_array_width(type));
    s->arrays[c].nulls = arena_allocate_aligned(&run->arena, 64, PIECE_ROWS);
    if (!s->arrays[c].values || !s->arrays[c].nulls) return status_nomem();
    if (c < s->step->first) continue;
    s->table.payload[s->table.payload_count++] =
      (JoinPayload){ .column = c - s->step->first, .type = type, .width = type_array_width(type) };
  }
  return KVSTORE_OK;
}

/* Rows of the query's own table whose value lies outside of what it is joined to need not be read. */
static Status add_ends(JoinRun *run, const JoinStage *s, PredicateTerm *terms, const PredicateTerm **list,
                       uint32_t *count) {
  const JoinStep *step = s->step;
  uint32_t column = step->left[0];
  if (!is_whole(s) || (step->kind != JOIN_INNER && step->kind != JOIN_SEMI)) return KVSTORE_OK;
  if (step->count > 1 || join_table_of(run->plan, column)) return KVSTORE_OK;
  Value *ends = arena_allocate(&run->arena, 2 * sizeof *ends);
  if (!ends) return status_nomem();
  if (!join_table_ends(&s->table, run->plan->schema.columns[column].type, &ends[0], &ends[1])) return KVSTORE_OK;
  terms[*count] =
    (PredicateTerm){ .kind = TERM_COMPARE, .op = COMPARE_BETWEEN, .column = column, .constants = ends, .count = 2 };
  list[*count] = &terms[*count];
  ++*count;
  return KVSTORE_OK;
}

/* The query's own table as its plan says, and within those ends. */
static Status make_own(JoinRun *run) {
  const Query *of = run->plan->own;
  PredicateTerm terms[JOIN_TABLES_MAX], all = { .kind = TERM_AND };
  const PredicateTerm *list[JOIN_TABLES_MAX];
  Predicate ends;
  for (size_t i = 0; i < run->plan->step_count; i++) TRY(add_ends(run, &run->stages[i], terms, list, &all.count));
  all.terms = list;
  TRY(predicate_bind(&of->schema, &all, &run->arena, &ends));
  const PredicateNode *roots[3] = { ends.root };
  size_t count = 1;
  if (query_predicate(of)) roots[count++] = of->where.root;
  if (of->range.asked.root) roots[count++] = of->range.asked.root;
  TRY(query_create(&of->schema, &run->own));
  TRY(predicate_of_terms(roots, count, NULL, &run->arena, &run->own->where));
  buffer_text(&run->own->where_text, "true");
  TRY(buffer_status(&run->own->where_text));
  buffer_append(&run->own->range.asked_low, of->range.asked_low.data, of->range.asked_low.length);
  buffer_append(&run->own->range.asked_high, of->range.asked_high.data, of->range.asked_high.length);
  return query_keys_derive(run->own, &run->own->where);
}

static void run_end(void *stream) {
  JoinRun *run = stream;
  for (size_t i = 0; i < run->plan->step_count; i++) {
    JoinStage *s = &run->stages[i];
    end_scan(run, &s->build);
    if (s->input) end_input(s);
    join_table_release(&s->table);
    memory_release(s->joined);
    *s = (JoinStage){ 0 };
  }
  query_destroy(run->own);
  run->own = NULL;
  arena_release(&run->arena);
  run->is_begun = false;
}

static Status begin(JoinRun *run) {
  JoinPlan *plan = run->plan;
  run->values = arena_allocate_aligned(&run->arena, 64, BLOCK_ROWS * sizeof(Bytes));
  run->nulls = arena_allocate(&run->arena, BLOCK_ROWS);
  if (!run->values || !run->nulls) return status_nomem();
  for (size_t i = plan->step_count; i-- > 0;) {
    JoinStage *s = &run->stages[i];
    *s = (JoinStage){ .run = run, .step = &plan->steps[i], .number = i, .snapshot = &run->tables[i + 1] };
    s->step->hashed_bytes = 0;
    TRY(make_keys(s));
    TRY(make_reducers(s));
    TRY(make_output(s));
    TRY(hash_first_part(s));
  }
  TRY(make_own(run));
  return restart_input(&run->stages[plan->step_count - 1]);
}

static Status run_open(void *context, uint32_t number, void **stream) {
  (void)number;
  *stream = context;
  return KVSTORE_OK;
}

/* Tables are hashed when the first rows are asked for. */
static Status run_next(void *stream, ScanUnit *piece, bool *more) {
  JoinRun *run = stream;
  if (!run->is_begun) TRY(begin(run));
  run->is_begun = true;
  return stage_next(&run->stages[run->plan->step_count - 1], piece, more);
}

/* ---- the snapshot ---- */

static Status forward_tick(void *context, uint64_t rows, uint64_t rows_total) {
  (void)rows;
  (void)rows_total;
  return tick(context, 0);
}
static Status forward_write(void *context, const void *bytes, size_t length, uint64_t *at) {
  const JoinRun *run = context;
  return run->space.write(run->space.context, bytes, length, at);
}
static Status forward_read(void *context, uint64_t at, void *bytes, size_t length) {
  const JoinRun *run = context;
  return run->space.read(run->space.context, at, bytes, length);
}

static void run_release(void *owner) {
  JoinRun *run = owner;
  for (size_t i = 0; i < run->table_count; i++) table_snapshot_release(&run->tables[i]);
  memory_release(run);
}

Status join_open(JoinPlan *plan, const Query *query, bool rows, const QuerySpace *space, TableSnapshot *tables,
                 TableSnapshot *out, QuerySpace *rest) {
  for (size_t i = 0; i <= plan->step_count; i++)
    TRY(query_check_schema(i ? plan->steps[i - 1].query : plan->own, tables[i].schema));
  JoinRun *run = memory_allocate_zeroed(sizeof *run);
  if (!run) return status_nomem();
  run->plan = plan;
  run->query = query;
  run->rows = rows;
  run->table_count = plan->step_count + 1;
  for (size_t i = 0; i < run->table_count; i++) {
    run->total += query_snapshot_rows(&tables[i]);
    run->tables[i] = tables[i];
    tables[i] = (TableSnapshot){ 0 };
  }
  run->source = (ScanSource){ run, run_open, run_next, run_end };
  run->unit = (ScanUnit){ .kind = SCAN_UNIT_STREAM, .source = &run->source };
  run->unit.row_count = run->total < UINT32_MAX ? (uint32_t)run->total : UINT32_MAX;
  *out = (TableSnapshot){ &plan->schema, &run->unit, 1, run->tables[0].now_ms, run, run_release };
  if (space) {
    run->has_space = true;
    run->space = *space;
    *rest = (QuerySpace){ .memory_limit = space->memory_limit / 2,
                          .context = run,
                          .tick = forward_tick,
                          .write = forward_write,
                          .read = forward_read };
  }
  return KVSTORE_OK;
}

ScanCounters join_counters(const TableSnapshot *joined) {
  const JoinRun *run = joined->owner;
  ScanCounters total = run->done;
  for (size_t i = 0; i < run->plan->step_count; i++) {
    const JoinStage *s = &run->stages[i];
    if (s->build) scan_counters_add(&total, scan_counters(s->build));
    if (s->input && i == 0) scan_counters_add(&total, scan_counters(s->input));
  }
  return total;
}
