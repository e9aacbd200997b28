/* join_build.c - tables hashed from the last to the first; a later one leaves rows out of an earlier one. Those that
 * are too large go to partitions first, and are hashed from there. */
#include "base/counters.h"
#include "os/os.h"
#include "query/join_run.h"

enum {
  BITS_BYTES_MOST = 4 << 20, /* that the nearest caches hold, more or less */
  PARTITION_BITS_LEAST = 3,
  PARTITION_BYTES_LEAST = 1 << 10,
};

static void end_scan(JoinBuild *b) {
  if (b->scan && !b->is_back) scan_counters_add(&b->run->done, scan_counters(b->scan));
  scan_destroy(b->scan);
  b->scan = NULL;
}

/* ---- rows ---- */

/* Of rows of the table only those stay that a later table, hashed already, has something for. */
static Status add_block(JoinBuild *b, uint32_t block) {
  uint16_t rows[BLOCK_ROWS];
  uint32_t count;
  TRY(join_sift(b->sieves, b->is_back ? 0 : b->sieve_count, b->scan, block, rows, &count));
  if (!count) return KVSTORE_OK;
  TRY(join_keys_read(&b->keys, b->scan, block, rows, count));
  return join_table_add(&b->table, &b->keys, b->scan, block, rows, count);
}

static Status add_next_block(JoinBuild *b) {
  uint32_t block = (uint32_t)__builtin_ctzll(b->blocks);
  b->blocks &= b->blocks - 1;
  return add_block(b, block);
}

static void begin_unit(JoinBuild *b) {
  scan_fill_masks(b->scan);
  b->blocks = scan_selection(b->scan)->blocks;
}

static Status next_back(JoinBuild *b) {
  bool found;
  TRY(join_spill_next(b->spill, &b->piece, &found));
  if (!found) {
    end_scan(b);
    return KVSTORE_OK;
  }
  TRY(join_tick(b->run, 0));
  TRY(scan_unit(b->scan, &b->piece));
  begin_unit(b);
  return KVSTORE_OK;
}

static Status next_unit(JoinBuild *b) {
  if (b->is_back) return next_back(b);
  if (b->unit == b->snapshot->unit_count) {
    end_scan(b);
    return KVSTORE_OK;
  }
  const ScanUnit *unit = &b->snapshot->units[b->unit];
  uint32_t rows = unit->kind == SCAN_UNIT_STREAM ? 0 : unit->row_count;
  if (b->is_help)
    join_count(b->run, rows);
  else
    TRY(join_tick(b->run, rows));
  TRY(join_scan_unit(b->run, b->scan, unit));
  b->unit += !scan_continues(b->scan);
  begin_unit(b);
  return KVSTORE_OK;
}

uint64_t join_share(const JoinRun *run) {
  return run->has_space ? run->space.memory_limit / 2 / run->plan->step_count : UINT64_MAX;
}

/* Takes in as much of the table as there is room for, at least a block. */
static Status hash_part(JoinBuild *b) {
  join_table_release(&b->table);
  while (b->scan && (!b->table.row_count || join_table_bytes(&b->table) < join_share(b->run))) {
    if (!b->blocks) {
      if (b->part == 0 && !b->is_back) TRY(join_team_help(b));
      TRY(next_unit(b));
      continue;
    }
    TRY(add_next_block(b));
  }
  b->step->hashed_rows += b->table.row_count;
  uint64_t bytes = join_table_bytes(&b->table);
  if (bytes > b->step->hashed_bytes) b->step->hashed_bytes = bytes;
  b->step->parts++;
  return join_table_index(&b->table);
}

static Status begin_scan(JoinBuild *b) {
  end_scan(b);
  TRY(query_scan(b->step->query, b->snapshot, &b->scan));
  b->unit = 0;
  b->blocks = 0;
  b->part = 0;
  b->is_alone = false;
  b->begun = os_monotonic_ns(os_posix());
  b->step->hashed_rows = b->step->parts = 0;
  return KVSTORE_OK;
}

Status join_build_first(JoinBuild *b) {
  TRY(begin_scan(b));
  return hash_part(b);
}

Status join_build_part(JoinBuild *b) {
  b->part++;
  return hash_part(b);
}

/* ---- partitions ---- */

uint64_t join_build_parts(const JoinBuild *b) {
  uint64_t seen = 0, all = query_snapshot_rows(b->snapshot);
  for (uint32_t u = 0; u < b->unit; u++) seen += b->snapshot->units[u].row_count;
  uint64_t waiting = (uint64_t)__builtin_popcountll(b->blocks) * BLOCK_ROWS;
  seen = seen > waiting ? seen - waiting : 0;
  if (seen < b->table.row_count) seen = b->table.row_count; /* of a stream, whose pieces are not told */
  return seen ? all / seen + 1 : 1;
}

/* A quarter more than parts, since they differ in size. While rows leave, pieces of all of them are in memory. */
static uint32_t bits_for(const JoinBuild *b, uint64_t parts) {
  uint64_t most = join_share(b->run) / PARTITION_BYTES_LEAST;
  uint32_t bits = PARTITION_BITS_LEAST;
  while (bits < JOIN_PARTITION_BITS_MAX && UINT64_C(1) << bits < parts + parts / 4 && UINT64_C(2) << bits <= most)
    bits++;
  return bits;
}

static bool may_have(const JoinBuild *table, uint64_t hash, uint32_t partition) {
  if (!join_spill_rows(table->spill, partition)) return false;
  return !table->bloom.words || join_bloom_has(&table->bloom, join_bloom_hash(hash));
}

uint32_t join_partitions(const JoinKeys *keys, const JoinBuild *table, uint32_t bits, uint16_t *rows, uint32_t count,
                         uint16_t *partitions) {
  bool needs_partner = !table || table->step->kind == JOIN_INNER || table->step->kind == JOIN_SEMI;
  uint32_t kept = 0;
  for (uint32_t i = 0; i < count; i++) {
    uint32_t p = keys->valid[i] ? join_spill_partition(keys->hashes[i], bits) : 0;
    bool may_have_one = keys->valid[i] && (!table || may_have(table, keys->hashes[i], p));
    rows[kept] = rows[i];
    partitions[kept] = (uint16_t)p;
    kept += may_have_one || !needs_partner;
  }
  return kept;
}

/* What is read of a row again: its keys, and what leaves with it. */
static Status make_spill(JoinBuild *b) {
  const Schema *schema = b->snapshot->schema;
  bool kept[COLUMNS_MAX] = { false };
  for (size_t k = 0; k < b->step->count; k++) kept[b->step->right[k]] = true;
  for (size_t i = 0; i < b->table.payload_count; i++) kept[b->table.payload[i].column] = true;
  const JoinSpillOptions options = { &b->run->space, schema, kept, b->partition_bits, join_share(b->run) / 2 };
  return join_spill_create(&options, &b->spill);
}

static Status leave_block(JoinBuild *b, uint32_t block) {
  uint16_t rows[BLOCK_ROWS], partitions[BLOCK_ROWS];
  uint32_t count;
  TRY(join_sift(b->sieves, b->sieve_count, b->scan, block, rows, &count));
  if (!count) return KVSTORE_OK;
  TRY(join_keys_read(&b->keys, b->scan, block, rows, count));
  for (uint32_t i = 0; i < count && b->bloom.words; i++)
    if (b->keys.valid[i]) join_bloom_add(&b->bloom, b->keys.hashes[i]);
  count = join_partitions(&b->keys, NULL, b->partition_bits, rows, count, partitions);
  return join_spill_add(b->spill, b->scan, block, rows, partitions, count);
}

/* Rows that need a partner ask a filter before they leave. Up to four times as many hashes as it is made for let
 * through one in six of those that are not there, instead of one in a hundred. */
static Status make_bloom(JoinBuild *b, uint64_t rows) {
  bool needs_partner = b->step->kind == JOIN_INNER || b->step->kind == JOIN_SEMI;
  uint64_t room = join_share(b->run) / 2, hashes = rows;
  while (join_bloom_bytes(hashes) > room && hashes > rows / 4) hashes /= 2;
  if (!needs_partner || join_bloom_bytes(hashes) > room) return KVSTORE_OK;
  return join_bloom_create(&b->bloom, hashes);
}

Status join_build_leave(JoinBuild *b, uint64_t parts) {
  TRY(make_bloom(b, parts * b->table.row_count));
  join_table_release(&b->table);
  b->partition_bits = bits_for(b, parts);
  b->step->partitions = UINT64_C(1) << b->partition_bits;
  TRY(begin_scan(b));
  TRY(make_spill(b));
  while (b->scan) {
    if (!b->blocks) {
      TRY(next_unit(b));
      continue;
    }
    TRY(leave_block(b, (uint32_t)__builtin_ctzll(b->blocks)));
    b->blocks &= b->blocks - 1;
  }
  TRY(join_spill_end(b->spill));
  b->step->spilled_bytes += join_spill_bytes(b->spill);
  COUNT(joins_spilled);
  return KVSTORE_OK;
}

static void forget_spill(JoinBuild *b) {
  join_spill_destroy(b->spill);
  b->spill = NULL;
  join_bloom_release(&b->bloom);
}

Status join_build_stay(JoinBuild *b) {
  forget_spill(b);
  b->step->partitions = 0;
  return join_build_first(b);
}

Status join_build_partition(JoinBuild *b, uint32_t partition) {
  end_scan(b);
  TRY(scan_create(b->snapshot->schema, NULL, b->snapshot->now_ms, &b->scan));
  b->is_back = true;
  b->blocks = 0;
  b->part = 0;
  join_spill_begin(b->spill, partition);
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
  uint64_t rows = query_snapshot_rows(&run->tables[0]), most = join_share(run) / 8;
  if (most > BITS_BYTES_MOST) most = BITS_BYTES_MOST;
  return rows < most ? rows : most;
}

static Status prepare(JoinBuild *b) {
  TRY(make_keys(b));
  TRY(make_sieves(b));
  return make_payload(b);
}

Status join_build_begin(JoinBuild *b) {
  b->step->hashed_bytes = b->step->partitions = b->step->spilled_bytes = 0;
  atomic_store(&b->step->left_out, 0);
  b->table.spare = spare_of(b->run);
  b->table.is_set = b->step->kind >= JOIN_SEMI;
  return prepare(b);
}

Status join_build_help(JoinBuild *help, const JoinBuild *of) {
  *help = (JoinBuild){ .run = of->run, .step = of->step, .number = of->number, .snapshot = of->snapshot };
  help->is_help = true;
  TRY(prepare(help));
  return query_scan(of->step->query, of->snapshot, &help->scan);
}

Status join_build_enter(JoinBuild *help, uint32_t unit) {
  help->unit = unit;
  return next_unit(help);
}

Status join_build_take(JoinBuild *help, bool *more) {
  *more = help->blocks != 0;
  return *more ? add_next_block(help) : KVSTORE_OK;
}

void join_build_end(JoinBuild *b) {
  if (!b->run) return;
  end_scan(b);
  join_table_release(&b->table);
  forget_spill(b);
}
