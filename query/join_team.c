/* join_team.c - a table that is to be hashed, read by several threads.
 *
 *   units ─► who is free takes the next one ─► rows by thread ─► copied in the order of their units ─► the table
 *
 * Rows of a key come out in the order in which they are in the table, which is that of one thread. Units that are taken
 * are done, so that those done are always the first ones: where half of what the table may still take is used up (the
 * other half is for the copy), one thread goes on behind them.
 *
 * How long texts are is not known before. Where they take all that the table may still take, units are left in the
 * middle; the table gets the first ones that one thread would have taken in as a whole, and that thread goes on. So a
 * table that is hashed in parts has the same parts, however many threads there are. */
#include "base/counters.h"
#include "base/memory.h"
#include "os/os.h"
#include "query/join_run.h"
#include "query/query_internal.h"

enum {
  HELP_WORTH_NS = 200 * 1000,
  COPY_WORTH_ROWS = 1 << 16, /* fewer are copied by one thread */
};

typedef struct UnitRows {
  uint32_t member, first, count; /* of the rows that a thread has taken in */
  uint32_t at;                   /* in the table */
  uint64_t text_bytes;
  bool is_left; /* in the middle */
} UnitRows;

typedef struct JoinTeam {
  JoinBuild *build;
  UnitShare share;
  uint32_t first_unit, end_unit;  /* those taken in */
  UnitRows *units;                /* from the first on */
  _Atomic uint64_t bytes;         /* of all threads' rows */
  uint64_t bytes_most, bytes_all; /* where no unit is taken any more, and where none goes on */
  _Atomic uint32_t copied;        /* threads whose rows are taken care of */
  uint32_t count;
  JoinBuild helps[TEAM_MEMBERS_MAX];
} JoinTeam;

/* ---- a thread's work ---- */

static uint64_t bytes_of_rows(const JoinTable *t) { return t->row_count * join_table_row_bytes(t) + t->text_bytes; }

static Status take_unit(JoinTeam *team, uint32_t member, uint32_t unit) {
  JoinBuild *help = &team->helps[member];
  const JoinTable *table = &help->table;
  UnitRows *rows = &team->units[unit - team->first_unit];
  uint64_t before = bytes_of_rows(table), text_before = table->text_bytes;
  bool more = true;
  *rows = (UnitRows){ .member = member, .first = table->row_count };
  if (!member) TRY(join_tick(help->run, 0));
  TRY(join_build_enter(help, unit));
  while (more && !rows->is_left) {
    TRY(join_build_take(help, &more));
    uint64_t added = bytes_of_rows(table) - before;
    uint64_t bytes = atomic_fetch_add_explicit(&team->bytes, added, memory_order_relaxed) + added;
    before += added;
    rows->is_left = more && bytes > team->bytes_all;
    if (bytes > team->bytes_most) unit_share_stop(&team->share);
  }
  rows->count = table->row_count - rows->first;
  rows->text_bytes = table->text_bytes - text_before;
  return KVSTORE_OK;
}

static void take_units(void *context, uint32_t member) {
  JoinTeam *team = context;
  for (;;) {
    uint32_t unit = unit_share_take(&team->share, team->build->snapshot);
    if (unit == UINT32_MAX) return;
    if (take_unit(team, member, unit) == KVSTORE_OK) continue;
    unit_share_fail(&team->share, unit);
    return;
  }
}

static void copy_rows(void *context, uint32_t member) {
  JoinTeam *team = context;
  (void)member;
  for (;;) {
    uint32_t of = atomic_fetch_add_explicit(&team->copied, 1, memory_order_relaxed);
    if (of >= team->count) return;
    for (const UnitRows *u = team->units; u < team->units + (team->end_unit - team->first_unit); u++)
      if (u->member == of && u->count)
        join_table_copy(&team->build->table, u->at, &team->helps[of].table, u->first, u->count);
  }
}

/* ---- before and after ---- */

static Status prepare(JoinTeam *team, uint32_t threads) {
  size_t units = team->build->snapshot->unit_count - team->first_unit;
  team->units = memory_allocate_zeroed(memory_array_size(units, sizeof *team->units));
  if (!team->units) return status_nomem();
  while (team->count < threads) TRY(join_build_help(&team->helps[team->count++], team->build));
  return KVSTORE_OK;
}

/* Where one thread, with as much as the table had, would not have gone beyond a unit any more. Nobody knows how many
 * rows a unit has that failed, or was left, or that nobody has taken. */
static uint32_t end_of(const JoinTeam *team) {
  uint32_t end = unit_share_next(&team->share, team->build->snapshot), failed = unit_share_failed(&team->share);
  uint64_t rows = 0, text_bytes = 0;
  if (failed < end) end = failed;
  for (uint32_t unit = team->first_unit; unit < end; unit++) {
    const UnitRows *u = &team->units[unit - team->first_unit];
    rows += u->count;
    text_bytes += u->text_bytes;
    if (join_table_bytes_with(&team->build->table, rows, text_bytes) >= join_share(team->build->run)) return unit;
    if (u->is_left) return unit;
  }
  return end;
}

static Status take_over_rows(JoinTeam *team, uint32_t member) {
  JoinTable *table = &team->build->table, *of = &team->helps[member].table;
  uint32_t rows = 0;
  uint64_t text_bytes = 0;
  for (const UnitRows *u = team->units; u < team->units + (team->end_unit - team->first_unit); u++) {
    if (u->member != member) continue;
    rows += u->count;
    text_bytes += u->text_bytes;
  }
  for (const UnitRows *u = team->units; u < team->units + (team->end_unit - team->first_unit); u++)
    if (u->member == member && rows < of->row_count) TRY(join_table_copy_texts(table, u->at, u->count));
  join_table_take_over(table, of, rows, text_bytes);
  return KVSTORE_OK;
}

static Status take_over(JoinTeam *team) {
  JoinTable *table = &team->build->table;
  uint64_t rows = 0;
  for (UnitRows *u = team->units; u < team->units + (team->end_unit - team->first_unit); u++) {
    u->at = (uint32_t)(table->row_count + rows);
    rows += u->count;
  }
  TRY(join_table_reserve(table, rows));
  TRY(query_share_out(rows < COPY_WORTH_ROWS ? 1 : team->count, copy_rows, team));
  for (uint32_t i = 0; i < team->count; i++) TRY(take_over_rows(team, i));
  return KVSTORE_OK;
}

/* A failure behind the units that are taken over is not one thread's yet; but whoever was cancelled does not go on. */
static Status run_team(JoinTeam *team, uint32_t threads) {
  TRY(join_tick(team->build->run, 0)); /* helpers may leave no unit to the caller */
  TRY(prepare(team, threads));
  TRY(query_share_out(team->count, take_units, team));
  team->end_unit = end_of(team);
  bool is_behind = team->end_unit < unit_share_failed(&team->share) && team->share.failure.code != KVSTORE_CANCELLED;
  if (is_behind)
    status_clear();
  else
    TRY(unit_share_status(&team->share));
  return take_over(team);
}

static Status help(JoinBuild *b, uint32_t threads, uint64_t bytes_most) {
  JoinTeam *team = memory_allocate_zeroed(sizeof *team);
  if (!team) return status_nomem();
  team->build = b;
  team->first_unit = b->unit;
  team->bytes_most = bytes_most;
  team->bytes_all = join_share(b->run) - join_table_bytes(&b->table);
  unit_share_begin(&team->share, b->unit, 0);
  Status status = run_team(team, threads);
  if (status == KVSTORE_OK) {
    b->unit = team->end_unit;
    b->is_alone = b->unit < unit_share_next(&team->share, b->snapshot);
  }
  for (uint32_t i = 0; i < team->count; i++) join_build_end(&team->helps[i]);
  memory_release(team->units);
  unit_share_end(&team->share);
  memory_release(team);
  COUNT(joins_shared);
  return status;
}

/* ---- how many threads ---- */

/* Whether what is left takes so much longer than a thread takes to wake that helpers pay: asked after the first unit,
 * and now and then. */
static bool is_worth(const JoinBuild *b, uint32_t left) {
  if (!b->unit || b->unit & (b->unit - 1)) return false;
  return (os_monotonic_ns(os_posix()) - b->begun) / b->unit * left > HELP_WORTH_NS;
}

/* Rows are there twice while they are copied. 0: not even for a unit a thread. */
static uint64_t bytes_left(const JoinBuild *b, uint32_t threads) {
  uint64_t share = join_share(b->run), held = join_table_bytes(&b->table), unit = 0;
  for (uint32_t u = b->unit; u < b->snapshot->unit_count; u++)
    if (b->snapshot->units[u].row_count > unit) unit = b->snapshot->units[u].row_count;
  uint64_t left = share > held ? (share - held) / 2 : 0;
  return left / threads >= unit * join_table_row_bytes(&b->table) ? left : 0;
}

Status join_team_help(JoinBuild *b) {
  uint32_t left = b->snapshot->unit_count - b->unit, threads = b->run->query->threads;
  bool divisible;
  if (threads == 1 || left < 2 || b->is_alone || scan_continues(b->scan)) return KVSTORE_OK;
  if (!threads && !is_worth(b, left)) return KVSTORE_OK;
  if (!threads) threads = os_processors();
  if (threads > left) threads = left;
  if (threads > TEAM_MEMBERS_MAX) threads = TEAM_MEMBERS_MAX;
  uint64_t bytes = bytes_left(b, threads);
  if (threads < 2 || !bytes) return KVSTORE_OK;
  TRY(unit_share_divisible(b->snapshot, &divisible));
  return divisible ? help(b, threads, bytes) : KVSTORE_OK;
}
