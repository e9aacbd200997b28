/* scan.c - the course of a scan over one unit: what is alive, what the filter leaves, what is counted. */
#include "columnar/scan.h"

#include "base/assert.h"
#include "base/bitmap.h"
#include "base/counters.h"
#include "base/memory.h"
#include "base/visible.h"
#include "columnar/scan_internal.h"
#include "os/ticks.h"

static const PredicateNode every_row = { .kind = PREDICATE_ALL };
static const Predicate no_filter = { .root = &every_row };

/* ---- life ---- */

static Status scan_allocate(Scan *scan) {
  size_t count = scan->schema->column_count;
  scan->columns = arena_allocate_zeroed(&scan->arena, count * sizeof *scan->columns);
  scan->open_columns = arena_allocate(&scan->arena, count * sizeof *scan->open_columns);
  scan->masks = arena_allocate_aligned(&scan->arena, 64, sizeof *scan->masks);
  if (!scan->columns || !scan->open_columns || !scan->masks) return status_nomem();
  scan->selection.masks = *scan->masks;
  return scan_filter_create(scan);
}

Status scan_create(const Schema *schema, const Predicate *where, int64_t now_ms, Scan **out) {
  return scan_create_within(schema, where, NULL, NULL, now_ms, out);
}

Status scan_create_within(const Schema *schema, const Predicate *where, const ScanKeys *keys,
                          const ScanComputer *computer, int64_t now_ms, Scan **out) {
  Scan *scan = memory_allocate_zeroed(sizeof *scan);
  if (!scan) return status_nomem();
  scan->schema = schema;
  scan->where = where ? where : &no_filter;
  scan->now_ms = now_ms;
  scan->kernels = simd_kernels();
  if (computer) scan->computing = *computer;
  Status status = scan_allocate(scan);
  if (status == KVSTORE_OK && keys) status = scan_keys_create(scan, keys);
  if (status == KVSTORE_OK && scan->computing.create)
    status = scan->computing.create(scan->computing.what, &scan->computer);
  if (status != KVSTORE_OK) {
    scan_destroy(scan);
    return status;
  }
  *out = scan;
  return KVSTORE_OK;
}

static void close_stream(Scan *scan) {
  if (scan->streamed) scan->streamed->source->close(scan->stream);
  scan->streamed = NULL;
}

/* Many units may be excluded in a row, for less than the process's counters cost. */
static void tell_skipped(Scan *scan) {
  if (!scan->untold_blocks) return;
  COUNT_MANY(blocks_skipped, scan->untold_blocks);
  COUNT_MANY(segments_skipped, scan->untold_segments);
  scan->untold_blocks = scan->untold_segments = 0;
}

void scan_destroy(Scan *scan) {
  if (!scan) return;
  tell_skipped(scan);
  scan_close_columns(scan);
  if (scan->computer) scan->computing.destroy(scan->computer);
  close_stream(scan);
  arena_release(&scan->strings);
  arena_release(&scan->arena);
  memory_release(scan);
}

const ScanSelection *scan_selection(const Scan *scan) { return &scan->selection; }
const ScanCounters *scan_counters(const Scan *scan) { return &scan->counters; }

static void term_add(ScanTerm *to, const ScanTerm *from) {
  to->ticks += from->ticks;
  to->blocks += from->blocks;
  to->rows_in += from->rows_in;
  to->rows_out += from->rows_out;
  to->encodings |= from->encodings;
}

void scan_counters_add(ScanCounters *to, const ScanCounters *from) {
  to->units += from->units;
  to->segments_skipped += from->segments_skipped;
  to->rows += from->rows;
  to->rows_selected += from->rows_selected;
  to->blocks += from->blocks;
  to->blocks_skipped += from->blocks_skipped;
  to->blocks_certain += from->blocks_certain;
  to->blocks_scanned += from->blocks_scanned;
  to->encodings |= from->encodings;
  to->units_timed += from->units_timed;
  to->units_looked += from->units_looked;
  to->whole_ns += from->whole_ns;
  to->rows_given += from->rows_given;
  to->rows_joined += from->rows_joined;
  to->helped |= from->helped;
  for (size_t i = 0; i < SCAN_STEPS; i++) to->ticks[i] += from->ticks[i];
  for (size_t i = 0; i < SCAN_TERMS_MAX; i++) {
    term_add(&to->terms[0][i], &from->terms[0][i]);
    term_add(&to->terms[1][i], &from->terms[1][i]);
  }
}

void scan_note_term(Scan *scan, uint32_t child, const PredicateNode *node, ScanTerm term) {
  const ScanColumn *c = scan->columns[node->column];
  bool is_inside = scan->keys && scan->where == scan->of_segments.where;
  term.ticks *= scan->weight;
  if (node->kind == PREDICATE_LEAF && c && c->kind == SCAN_COLUMN_CHUNK)
    term.encodings = UINT64_C(1) << c->hold.chunk->encoding;
  term_add(&scan->counters.terms[is_inside][child < SCAN_TERMS_MAX ? child : SCAN_TERMS_MAX - 1], &term);
}

/* ---- live rows ---- */

/* The blocks of a unit on the way: `blocks` may still have selected rows; `full` of them have every row in their mask;
 * `expiring` of them have rows whose expiry must be looked at. Masks of blocks that are not in `blocks` are zero. */
typedef struct Course {
  uint64_t blocks, full, expiring;
} Course;

static uint32_t block_rows(const Scan *scan, uint32_t block) { return scan_block_rows(scan->selection.unit, block); }

static void fill_blocks(Scan *scan, uint64_t blocks) {
  while (blocks) {
    uint32_t block = take_block(&blocks), rows = block_rows(scan, block);
    if (LIKELY(rows == BLOCK_ROWS))
      memset((*scan->masks)[block], 0xff, sizeof(*scan->masks)[block]);
    else
      bitmap_fill_first((*scan->masks)[block], BLOCK_WORDS, rows);
  }
}

/* Counts what is left of each of `blocks` and files it. */
static void sort_blocks(const Scan *scan, uint64_t blocks, Course *course) {
  uint16_t rows[SEGMENT_BLOCKS];
  if (blocks) scan->kernels->mask_counts((*scan->masks)[0], scan->selection.block_count, rows);
  while (blocks) {
    uint32_t block = take_block(&blocks);
    uint64_t bit = UINT64_C(1) << block;
    if (rows[block] == 0) course->blocks &= ~bit;
    if (rows[block] != block_rows(scan, block)) course->full &= ~bit;
  }
}

/* Blocks that have expired wholly leave; those with some rows that may have are noted. */
static Status segment_expiry(Scan *scan, Segment *segment, Course *course) {
  if (segment_all_unexpired(segment, scan->now_ms)) return KVSTORE_OK;
  TRY(segment_chunk(segment, COLUMN_EXPIRY, &scan->expiry));
  scan->expiry_is_open = true;
  const Chunk *chunk = scan->expiry.chunk;
  for (uint64_t left = course->blocks; left;) {
    uint32_t block = take_block(&left);
    uint64_t bit = UINT64_C(1) << block;
    uint32_t nulls = chunk_block_null_count(chunk, block); /* rows that never expire */
    if (nulls == block_rows(scan, block) || !expiry_passed(chunk_block_minimum(chunk, block), scan->now_ms)) continue;
    if (nulls == 0 && expiry_passed(chunk_block_maximum(chunk, block), scan->now_ms)) {
      course->blocks &= ~bit;
    } else {
      course->expiring |= bit;
    }
  }
  course->full &= course->blocks;
  return KVSTORE_OK;
}

static void segment_deleted(Scan *scan, const DeletedRows *rows, Course *course) {
  if (!rows) return;
  uint64_t touched, emptied;
  deleted_rows_clear(rows, course->blocks, *scan->masks, &touched, &emptied);
  course->full &= ~touched;
  course->blocks &= ~emptied;
}

/* VIS-9: visible_block is the reader of dead_at; whole blocks go through its vector form, except under ThreadSanitizer.
 */
static void arrays_visible(const Scan *scan, const ScanUnit *unit, uint32_t block, uint64_t mask[BLOCK_WORDS]) {
  size_t first = (size_t)block * BLOCK_ROWS;
  uint32_t rows = block_rows(scan, block);
#ifndef VISIBLE_COPY_FIRST
  if (rows == BLOCK_ROWS) {
    scan->kernels->visible(unit->sequence + first, (const uint64_t *)unit->dead_at + first, unit->snapshot, mask);
    return;
  }
#endif
  uint64_t visible[BLOCK_WORDS];
  visible_block(unit->sequence + first, unit->dead_at + first, rows, unit->snapshot, visible);
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) mask[w] &= visible[w];
}

static void arrays_unexpired(const Scan *scan, const ScanUnit *unit, uint32_t block, uint64_t mask[BLOCK_WORDS]) {
  const int64_t *expiry = unit->expiry + (size_t)block * BLOCK_ROWS;
  uint32_t rows = block_rows(scan, block);
  if (rows == BLOCK_ROWS) {
    scan->kernels->unexpired(expiry, scan->now_ms, mask);
    return;
  }
  for (uint32_t i = 0; i < rows; i++) {
    if (expiry_passed(expiry[i], scan->now_ms)) bit_clear(mask, i);
  }
}

/* Whether every row of the block is visible, as two words tell: no row has died, and the last one is old enough. */
static bool all_visible(const Scan *scan, const ScanUnit *unit, uint32_t block) {
  if (!unit->dead_rows || atomic_load_explicit(&unit->dead_rows[block], memory_order_relaxed)) return false;
  return unit->sequence[(size_t)block * BLOCK_ROWS + block_rows(scan, block) - 1] <= unit->snapshot;
}

static bool block_is_empty(const Scan *scan, uint32_t block) {
  uint64_t any = 0;
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) any |= (*scan->masks)[block][w];
  return any == 0;
}

static void arrays_live(Scan *scan, const ScanUnit *unit, Course *course) {
  uint64_t looked_at = 0;
  for (uint64_t left = course->blocks; left;) {
    uint32_t block = take_block(&left);
    bool hides = unit->sequence && !all_visible(scan, unit, block);
    if (hides || unit->expiry) looked_at |= UINT64_C(1) << block;
    if (unit->expiry) arrays_unexpired(scan, unit, block, (*scan->masks)[block]);
    if (hides && !(unit->expiry && block_is_empty(scan, block))) /* keys that were deleted are rows that have expired */
      arrays_visible(scan, unit, block, (*scan->masks)[block]);
  }
  COUNT_MANY(blocks_visible_whole, (uint64_t)__builtin_popcountll(course->blocks & ~looked_at));
  sort_blocks(scan, looked_at, course);
}

/* ---- one unit ---- */

static void clear_others(Scan *scan, uint64_t blocks) {
  for (uint64_t left = first_blocks(scan->selection.block_count) & ~blocks; left;) {
    memset((*scan->masks)[take_block(&left)], 0, sizeof(*scan->masks)[0]);
  }
}

static Status live_rows(Scan *scan, Course *course) {
  const ScanUnit *unit = scan->selection.unit;
  if (unit->kind == SCAN_UNIT_ARRAYS) {
    fill_blocks(scan, course->blocks);
    arrays_live(scan, unit, course);
    return KVSTORE_OK;
  }
  TRY(segment_expiry(scan, column_run_segment(unit->run, unit->segment), course));
  fill_blocks(scan, course->blocks);
  segment_deleted(scan, deleted_set_rows(unit->deleted, unit->segment), course);
  course->expiring &= course->blocks;
  return KVSTORE_OK;
}

/* The last step: clears expired rows of the blocks that still have some selected. */
static Status drop_expired(Scan *scan, const Course *course) {
  const ScanUnit *unit = scan->selection.unit;
  for (uint64_t left = course->expiring; left;) {
    uint32_t block = take_block(&left);
    const Segment *segment = column_run_segment(unit->run, unit->segment);
    TRY(segment_and_unexpired(segment, &scan->expiry, block, scan->now_ms, (*scan->masks)[block]));
  }
  return KVSTORE_OK;
}

/* Which blocks have a selected row, and how many rows there are. */
static void conclude(Scan *scan, const Course *course, uint64_t certain) {
  ScanSelection *selection = &scan->selection;
  uint64_t whole = course->blocks & course->full & certain & ~course->expiring, blocks = whole;
  for (uint64_t left = course->blocks & ~whole; left;) {
    uint32_t block = take_block(&left);
    const uint64_t *mask = (*scan->masks)[block];
    uint32_t w = 0;
    while (w < BLOCK_WORDS && !mask[w]) w++;
    if (w < BLOCK_WORDS) blocks |= UINT64_C(1) << block;
  }
  selection->whole = whole;
  selection->blocks = blocks;
  selection->row_count = scan->kernels->mask_count((*scan->masks)[0], (size_t)selection->block_count * BLOCK_WORDS);
}

static void count_blocks(Scan *scan, uint64_t certain, uint64_t scanned) {
  uint32_t certain_count = (uint32_t)__builtin_popcountll(certain),
           scanned_count = (uint32_t)__builtin_popcountll(scanned);
  uint32_t skipped_count = scan->selection.block_count - certain_count - scanned_count;
  scan->counters.blocks += scan->selection.block_count;
  scan->counters.blocks_skipped += skipped_count;
  scan->counters.blocks_certain += certain_count;
  scan->counters.blocks_scanned += scanned_count;
  COUNT_MANY(blocks_skipped, skipped_count);
  COUNT_MANY(blocks_certain, certain_count);
  COUNT_MANY(blocks_scanned, scanned_count);
}

/* Nothing of the unit can be selected, and nothing of it was touched to know that. */
static void skip_unit(Scan *scan) {
  scan->counters.units++;
  scan->counters.rows += scan->selection.unit->row_count;
  scan->counters.blocks += scan->selection.block_count;
  scan->counters.blocks_skipped += scan->selection.block_count;
  scan->untold_blocks += scan->selection.block_count;
  if (scan->selection.unit->kind != SCAN_UNIT_SEGMENT) return;
  scan->counters.segments_skipped++;
  scan->untold_segments++;
}

/* Everything of the unit is selected: no mask is needed. */
static void take_unit(Scan *scan) {
  ScanSelection *selection = &scan->selection;
  uint64_t all = first_blocks(selection->block_count);
  count_blocks(scan, all, 0);
  selection->blocks = selection->whole = all;
  selection->row_count = selection->unit->row_count;
}

/* Whether no row of the unit can be live; whether all surely are. Touches no extent. */
static ZoneVerdict unit_live(const Scan *scan) {
  const ScanUnit *unit = scan->selection.unit;
  if (unit->row_count == 0) return ZONE_NONE;
  if (unit->kind == SCAN_UNIT_ARRAYS) return unit->sequence || unit->expiry ? ZONE_SOME : ZONE_ALL;
  const Segment *segment = column_run_segment(unit->run, unit->segment);
  uint32_t dead = deleted_set_segment_count(unit->deleted, unit->segment);
  if (dead == unit->row_count || segment_all_expired(segment, scan->now_ms)) return ZONE_NONE;
  return dead == 0 && segment_all_unexpired(segment, scan->now_ms) ? ZONE_ALL : ZONE_SOME;
}

/* `verdict`: of the filter on the unit, ZONE_SOME or ZONE_ALL. */
static Status select_rows(Scan *scan, ZoneVerdict verdict) {
  uint64_t all = scan_keys_blocks(scan), maybe = all, certain = all;
  if (verdict == ZONE_SOME) {
    TRY(scan_filter_zones(scan));
    const NodeState *root = &scan->nodes[scan->where->root->number];
    maybe = root->maybe & all;
    certain = root->certain;
  }
  Course course = { .blocks = maybe, .full = maybe };
  TRY(live_rows(scan, &course));
  course.full &= scan_keys_cut(scan, course.blocks);
  clear_others(scan, course.blocks);
  uint64_t scanned = course.blocks & ~certain;
  count_blocks(scan, course.blocks & certain, scanned);
  if (scan->where->computes && course.expiring) { /* rows that are gone are not computed */
    TRY(drop_expired(scan, &course));
    sort_blocks(scan, course.expiring, &course);
    scanned &= course.blocks;
  }
  if (scanned) TRY(scan_filter_blocks(scan, scanned, course.full, scan->masks));
  TRY(drop_expired(scan, &course));
  conclude(scan, &course, certain);
  return KVSTORE_OK;
}

/* ---- time ---- */

enum { CHEAP_TICKS = 1 << 16 /* looking at one that takes longer costs less than a hundredth */, CHEAP_UNITS = 15 };

/* Whether the unit's time is looked at. */
static void weigh_unit(Scan *scan) {
  scan->weight = scan->untimed >= scan->passed ? scan->untimed + 1 : 0;
  scan->untimed = scan->weight ? 0 : scan->untimed + 1;
  scan->counters.units_timed += scan->weight;
  scan->counters.units_looked++;
}

uint32_t scan_weight(const Scan *scan) { return scan->weight; }

/* The same, with what it took. A filter of one term took all of it; no row of it is counted a second time for that. */
static Status select_timed(Scan *scan, ZoneVerdict verdict) {
  const PredicateNode *root = scan->where->root;
  uint64_t begun = scan->weight ? os_ticks() : 0, scanned = scan->counters.blocks_scanned;
  TRY(select_rows(scan, verdict));
  uint64_t ticks = scan->weight ? os_ticks() - begun : 0;
  if (scan->weight) scan->passed = ticks < CHEAP_TICKS ? CHEAP_UNITS : 0;
  scan->counters.ticks[SCAN_STEP_SELECT] += ticks * scan->weight;
  if (root->kind == PREDICATE_ALL || root->kind == PREDICATE_AND) return KVSTORE_OK;
  const ScanSelection *s = &scan->selection;
  scan_note_term(scan, 0, root,
                 (ScanTerm){ .ticks = ticks,
                             .blocks = scan->counters.blocks_scanned - scanned,
                             .rows_in = scan->end_row - scan->first_row,
                             .rows_out = s->row_count });
  return KVSTORE_OK;
}

bool scan_continues(const Scan *scan) { return scan->continues; }
void scan_leave_stream(Scan *scan) { scan->continues = false; }

/* The next piece of a stream, which stands for the unit; its last one stays open until the next unit. */
static Status next_piece(Scan *scan, const ScanUnit *unit) {
  if (!scan->continues || scan->streamed != unit) {
    close_stream(scan);
    TRY(unit->source->open(unit->source->context, unit->number, &scan->stream));
    scan->streamed = unit;
  }
  scan->continues = false;
  scan->piece = (ScanUnit){ .kind = SCAN_UNIT_ARRAYS };
  return unit->source->next(scan->stream, &scan->piece, &scan->continues);
}

/* What the directory says of a run is asked once, before the first of its units. */
static Status enter_run(Scan *scan) {
  bool any;
  scan->run = NULL; /* until it is known */
  TRY(scan_keys_run(scan, &any));
  scan->run_is_excluded = !any || scan_filter_run(scan) == ZONE_NONE;
  scan->run = scan->selection.unit->run;
  if (scan->run_is_excluded) COUNT(runs_excluded);
  return KVSTORE_OK;
}

/* Whether the unit belongs to a run that is excluded as a whole. */
static Status is_excluded(Scan *scan, bool *excluded) {
  const ScanUnit *unit = scan->selection.unit;
  *excluded = false;
  if (unit->kind != SCAN_UNIT_SEGMENT) return KVSTORE_OK;
  if (scan->run != unit->run) TRY(enter_run(scan));
  *excluded = scan->run_is_excluded;
  return KVSTORE_OK;
}

static void leave_unit(Scan *scan) {
  scan_close_columns(scan);
  scan->selection.blocks = scan->selection.whole = scan->selection.row_count = 0;
  scan->weight = 0;
}

/* Enters a unit that is no stream, and passes it when nothing of it can be selected. */
static inline Status enter_unit(Scan *scan, const ScanUnit *unit, bool *passed) {
  ASSERT(unit->row_count <= SEGMENT_ROWS, "COL-11");
  scan->selection.unit = unit;
  scan->selection.block_count = (unit->row_count + BLOCK_ROWS - 1) / BLOCK_ROWS;
  scan->verdict = ZONE_NONE;
  TRY(is_excluded(scan, passed));
  if (!*passed) {
    scan->live = unit_live(scan);
    scan_keys_unit(scan);
    if (scan->live != ZONE_NONE && scan->first_row < scan->end_row) scan->verdict = scan_filter_unit(scan);
    *passed = scan->verdict == ZONE_NONE;
  }
  if (*passed) skip_unit(scan);
  return KVSTORE_OK;
}

Status scan_pass(Scan *scan, const ScanUnit *unit, bool *passed) {
  ASSERT(unit->kind != SCAN_UNIT_STREAM, "COL-11");
  leave_unit(scan);
  scan->continues = false;
  return enter_unit(scan, unit, passed);
}

Status scan_entered(Scan *scan) {
  const ScanSelection *selection = &scan->selection;
  bool is_whole = scan->first_row == 0 && scan->end_row == selection->unit->row_count;
  scan->counters.units++;
  scan->counters.rows += selection->unit->row_count;
  tell_skipped(scan);
  weigh_unit(scan);
  if (scan->verdict == ZONE_ALL && scan->live == ZONE_ALL && is_whole) {
    take_unit(scan);
  } else {
    TRY(select_timed(scan, scan->verdict));
  }
  scan->counters.rows_selected += selection->row_count;
  return KVSTORE_OK;
}

Status scan_unit(Scan *scan, const ScanUnit *unit) {
  bool passed;
  if (unit->kind == SCAN_UNIT_STREAM) {
    uint64_t begun = os_ticks();
    leave_unit(scan);
    TRY(next_piece(scan, unit));
    scan->counters.ticks[SCAN_STEP_SOURCE] += os_ticks() - begun;
    TRY(enter_unit(scan, &scan->piece, &passed));
  } else {
    TRY(scan_pass(scan, unit, &passed));
  }
  return passed ? KVSTORE_OK : scan_entered(scan);
}

void scan_fill_masks(Scan *scan) { fill_blocks(scan, scan->selection.whole); }
