/* join_build.c - tables hashed from the last to the first; a later one leaves rows out of an earlier one. */
#include "query/join_run.h"

enum { BITS_BYTES_MOST = 4 << 20 /* that the nearest caches hold, more or less */ };

static void end_scan(JoinBuild *b) {
  if (b->scan) scan_counters_add(&b->run->done, scan_counters(b->scan));
  scan_destroy(b->scan);
  b->scan = NULL;
}

/* ---- rows ---- */

/* Of rows of the table only those stay that a later table, hashed already, has something for. */
static Status add_block(JoinBuild *b, uint32_t block) {
  uint16_t rows[BLOCK_ROWS];
  uint32_t count;
  TRY(join_sift(b->sieves, b->sieve_count, b->scan, block, rows, &count));
  if (!count) return KVSTORE_OK;
  TRY(join_keys_read(&b->keys, b->scan, block, rows, count));
  return join_table_add(&b->table, &b->keys, b->scan, block, rows, count);
}

static Status next_unit(JoinBuild *b) {
  if (b->unit == b->snapshot->unit_count) {
    end_scan(b);
    return KVSTORE_OK;
  }
  const ScanUnit *unit = &b->snapshot->units[b->unit];
  TRY(join_tick(b->run, unit->kind == SCAN_UNIT_STREAM ? 0 : unit->row_count));
  TRY(scan_unit(b->scan, unit));
  b->unit += !scan_continues(b->scan);
  scan_fill_masks(b->scan);
  b->blocks = scan_selection(b->scan)->blocks;
  return KVSTORE_OK;
}

static uint64_t share_of(const JoinRun *run) {
  return run->has_space ? run->space.memory_limit / 2 / run->plan->step_count : UINT64_MAX;
}

/* Takes in as much of the table as there is room for, at least a block. */
static Status hash_part(JoinBuild *b) {
  join_table_release(&b->table);
  while (b->scan && (!b->table.row_count || join_table_bytes(&b->table) < share_of(b->run))) {
    if (!b->blocks) {
      TRY(next_unit(b));
      continue;
    }
    TRY(add_block(b, (uint32_t)__builtin_ctzll(b->blocks)));
    b->blocks &= b->blocks - 1;
  }
  b->step->hashed_rows += b->table.row_count;
  uint64_t bytes = join_table_bytes(&b->table);
  if (bytes > b->step->hashed_bytes) b->step->hashed_bytes = bytes;
  b->step->parts++;
  return join_table_index(&b->table);
}

Status join_build_first(JoinBuild *b) {
  end_scan(b);
  TRY(query_scan(b->step->query, b->snapshot, &b->scan));
  b->unit = 0;
  b->blocks = 0;
  b->part = 0;
  b->step->hashed_rows = b->step->parts = 0;
  return hash_part(b);
}

Status join_build_part(JoinBuild *b) {
  b->part++;
  return hash_part(b);
}

/* ---- beginning ---- */

static Status make_keys(JoinBuild *b) {
  const JoinStep *step = b->step;
  b->keys.count = step->count;
  for (size_t k = 0; k < step->count; k++) {
    b->keys.domains[k] = step->domains[k];
    b->keys.columns[k] = step->right[k];
    b->keys.types[k] = step->query->schema.columns[step->right[k]].type;
  }
  b->table.keys = &b->keys;
  return join_keys_create(&b->keys, &b->run->arena);
}

/* Later tables whose left columns are this table's alone ask its rows when they are hashed. */
static Status make_sieves(JoinBuild *b) {
  JoinRun *run = b->run;
  const JoinPlan *plan = run->plan;
  b->sieves = arena_allocate_zeroed(&run->arena, plan->step_count * sizeof *b->sieves);
  if (!b->sieves) return status_nomem();
  for (size_t later = b->number + 1; later < plan->step_count && b->step->kind == JOIN_INNER; later++) {
    JoinStep *step = &run->plan->steps[later];
    bool is_of_this = step->kind != JOIN_LEFT && join_is_whole(&run->builds[later]);
    for (size_t k = 0; k < step->count; k++) is_of_this &= join_table_of(plan, step->left[k]) == b->number + 1;
    if (!is_of_this) continue;
    JoinSieve *sieve = &b->sieves[b->sieve_count++];
    TRY(join_sieve_create(sieve, &run->builds[later].table, step, &plan->schema, b->step->first, &run->arena));
    run->decided[later] = step->kind != JOIN_INNER;
  }
  return KVSTORE_OK;
}

static Status make_payload(JoinBuild *b) {
  const JoinRun *run = b->run;
  const Schema *schema = &run->plan->schema;
  bool needed[COLUMNS_MAX] = { false };
  join_needs(run->plan, run->query, run->rows, b->number + 1, run->decided, needed);
  b->table.payload =
    arena_allocate_zeroed(&b->run->arena, (b->step->end - b->step->first + 1) * sizeof *b->table.payload);
  if (!b->table.payload) return status_nomem();
  for (uint32_t c = b->step->first; c < b->step->end; c++) {
    ColumnType type = schema->columns[c].type;
    if (!needed[c]) continue;
    b->table.payload[b->table.payload_count++] =
      (JoinPayload){ .column = c - b->step->first, .type = type, .width = type_array_width(type) };
  }
  return KVSTORE_OK;
}

/* As many bytes as rows may be asked: what it takes to make them is little beside what asking takes. */
static uint64_t spare_of(const JoinRun *run) {
  uint64_t rows = query_snapshot_rows(&run->tables[0]), most = share_of(run) / 8;
  if (most > BITS_BYTES_MOST) most = BITS_BYTES_MOST;
  return rows < most ? rows : most;
}

Status join_build_begin(JoinBuild *b) {
  b->step->hashed_bytes = 0;
  atomic_store(&b->step->left_out, 0);
  b->table.spare = spare_of(b->run);
  b->table.is_set = b->step->kind >= JOIN_SEMI;
  TRY(make_keys(b));
  TRY(make_sieves(b));
  return make_payload(b);
}

void join_build_end(JoinBuild *b) {
  if (!b->run) return;
  end_scan(b);
  join_table_release(&b->table);
}
