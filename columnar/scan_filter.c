/* scan_filter.c - a filter over one unit: first by zones, then block by block into the masks.
 *
 * Three passes, each over the tree. scan_filter_unit asks the directory of the run (scan_filter_run all of it at once,
 * before its first unit), scan_filter_zones the tables of the chunks that are left, scan_filter_blocks the bytes. Every
 * node remembers which blocks may and which surely match, so that each block is read by the predicates that can still
 * change its mask, and by no others.
 *
 * AND evaluates its children in order of bytes x observed selectivity, each on what the former left. OR evaluates in
 * order of bytes x what they leave over, each on the rows that none before it took (the complement). */
#include <math.h>

#include "base/bitmap.h"
#include "base/counters.h"
#include "columnar/scan_internal.h"
#include "encodings/array.h"
#include "os/ticks.h"

Status scan_filter_create(Scan *scan) {
  uint32_t count = scan->where->node_count;
  scan->nodes = arena_allocate_zeroed(&scan->arena, (count ? count : 1) * sizeof *scan->nodes);
  if (!scan->nodes) return status_nomem();
  if (scan->where->or_depth) {
    scan->scratch = arena_allocate_aligned(&scan->arena, 64, 2 * (size_t)scan->where->or_depth * sizeof *scan->scratch);
    if (!scan->scratch) return status_nomem();
  }
  return KVSTORE_OK;
}

/* ---- pass 1: the directory ---- */

/* The rows that are asked about: those of the current unit, or of its whole run. */
static uint32_t asked_rows(const Scan *scan) {
  const ScanUnit *unit = scan->selection.unit;
  return scan->asks_run ? (uint32_t)unit->run->row_count : unit->row_count;
}

static ColumnZone asked_zone(const Scan *scan, uint32_t column) {
  const ScanUnit *unit = scan->selection.unit;
  if (scan->asks_run) return column_run_zone(unit->run, column);
  return segment_zone(column_run_segment(unit->run, unit->segment), column);
}

static ZoneVerdict leaf_unit(const Scan *scan, const PredicateNode *node) {
  const ScanUnit *unit = scan->selection.unit;
  Value constant;
  if (node->computes) return ZONE_SOME;
  if (scan_unit_default(unit, node->column, &constant)) {
    return compare_value(&node->compare, &constant) ? ZONE_ALL : ZONE_NONE;
  }
  if (unit->kind == SCAN_UNIT_ARRAYS) return ZONE_SOME;
  ColumnZone zone = asked_zone(scan, node->column);
  return compare_zone(&node->compare, zone.minimum, zone.maximum, zone.null_count, asked_rows(scan));
}

static double column_bytes(const Scan *scan, uint32_t column) {
  if (scan_is_computed(scan, column)) return 0;
  const ScanUnit *unit = scan->selection.unit;
  if (unit->kind == SCAN_UNIT_SEGMENT) {
    const ChunkPlace *place = segment_place(column_run_segment(unit->run, unit->segment), column);
    return place ? (double)place->length / unit->row_count : 0;
  }
  return (double)type_array_width(scan->schema->columns[column].type);
}

/* ---- two columns ---- */

/* What is known of a column over the unit without touching it; false: nothing. */
static bool unit_zone(const Scan *scan, uint32_t column, PairZone *zone) {
  const ScanUnit *unit = scan->selection.unit;
  Value constant;
  if (scan_is_computed(scan, column)) return false;
  if (scan_unit_default(unit, column, &constant)) {
    ColumnType type = scan->schema->columns[column].type;
    uint64_t entry[2]; /* a Bytes at most */
    *zone = (PairZone){ INT64_MAX, INT64_MIN, asked_rows(scan) };
    if (constant.is_null) return true;
    constant.type = type;
    value_to_array(&constant, entry, 0);
    zone->minimum = zone->maximum = type_image(type, entry, 0);
    zone->null_count = 0;
    return true;
  }
  if (unit->kind == SCAN_UNIT_ARRAYS) return false;
  ColumnZone known = asked_zone(scan, column);
  *zone = (PairZone){ known.minimum, known.maximum, known.null_count };
  return true;
}

static ZoneVerdict pair_unit(const Scan *scan, const PredicateNode *node) {
  PairZone left, right;
  if (!unit_zone(scan, node->column, &left) || !unit_zone(scan, node->other, &right)) return ZONE_SOME;
  return pair_zone(&node->pair, left, right, asked_rows(scan));
}

static bool block_zone(const Scan *scan, const ScanColumn *column, uint32_t position, uint32_t block, PairZone *zone) {
  if (column->kind != SCAN_COLUMN_CHUNK) {
    if (!unit_zone(scan, position, zone)) return false;
    if (zone->null_count) zone->null_count = scan_block_rows(scan->selection.unit, block);
    return true;
  }
  const Chunk *chunk = column->hold.chunk;
  *zone = (PairZone){ chunk_block_minimum(chunk, block), chunk_block_maximum(chunk, block),
                      chunk_block_null_count(chunk, block) };
  return true;
}

enum { PAIR_VALUES_BYTES = BLOCK_ROWS * sizeof(Bytes), PAIR_SIDE_BYTES = PAIR_VALUES_BYTES + BLOCK_ROWS };

static Status pair_zones(Scan *scan, const PredicateNode *node, NodeState *state) {
  ScanColumn *left, *right;
  TRY(scan_column(scan, node->column, &left));
  TRY(scan_column(scan, node->other, &right));
  if (!state->scratch) {
    state->scratch = arena_allocate_aligned(&scan->arena, 64, 2 * PAIR_SIDE_BYTES);
    if (!state->scratch) return status_nomem();
  }
  state->maybe = state->certain = 0;
  for (uint32_t b = 0; b < scan->selection.block_count; b++) {
    PairZone l, r;
    ZoneVerdict verdict = ZONE_SOME;
    if (block_zone(scan, left, node->column, b, &l) && block_zone(scan, right, node->other, b, &r))
      verdict = pair_zone(&node->pair, l, r, scan_block_rows(scan->selection.unit, b));
    state->maybe |= (uint64_t)(verdict != ZONE_NONE) << b;
    state->certain |= (uint64_t)(verdict == ZONE_ALL) << b;
  }
  return KVSTORE_OK;
}

/* One side of a block: in place, or decoded into `scratch`. */
static Status pair_side(Scan *scan, uint32_t position, uint32_t block, const uint64_t *mask, uint8_t *scratch,
                        ColumnArray *out) {
  return scan_block_view(scan, position, block, mask, scratch, scratch + PAIR_VALUES_BYTES, out);
}

/* Few rows: value by value. */
static Status pair_positions(Scan *scan, const PredicateNode *node, uint32_t block, uint64_t mask[BLOCK_WORDS]) {
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) {
    for (uint64_t word = mask[w]; word; word &= word - 1) {
      uint32_t i = w * 64 + (uint32_t)__builtin_ctzll(word), row = block * BLOCK_ROWS + i;
      Value left, right;
      TRY(scan_read_value(scan, node->column, row, &left));
      TRY(scan_read_value(scan, node->other, row, &right));
      if (!pair_values(&node->pair, &left, &right)) bit_clear(mask, i);
    }
  }
  return KVSTORE_OK;
}

enum { PAIR_POSITIONS_MAX = 16 }; /* two values one by one take as long as 30 decoded ones */

static Status pair_blocks(Scan *scan, const PredicateNode *node, uint64_t blocks, UnitMasks *masks) {
  uint8_t *scratch = scan->nodes[node->number].scratch;
  while (blocks) {
    uint32_t block = take_block(&blocks);
    uint64_t rows = scan->kernels->mask_count((*masks)[block], BLOCK_WORDS);
    if (rows <= PAIR_POSITIONS_MAX && !node->computes) {
      if (rows) TRY(pair_positions(scan, node, block, (*masks)[block]));
      continue;
    }
    ColumnArray left, right;
    if (rows == 0) continue;
    TRY(pair_side(scan, node->column, block, (*masks)[block], scratch, &left));
    TRY(pair_side(scan, node->other, block, (*masks)[block], scratch + PAIR_SIDE_BYTES, &right));
    pair_filter(&node->pair, left, right, scan_block_rows(scan->selection.unit, block), (*masks)[block]);
  }
  return KVSTORE_OK;
}

/* ---- the directory, of any node ---- */

static ZoneVerdict node_unit(Scan *scan, const PredicateNode *node) {
  if (node->kind == PREDICATE_NONE) return ZONE_NONE;
  if (node->kind == PREDICATE_ALL) return ZONE_ALL;
  NodeState *state = &scan->nodes[node->number];
  state->is_prepared = false;
  if (node->kind == PREDICATE_LEAF) {
    state->verdict = leaf_unit(scan, node);
    state->bytes_per_row = column_bytes(scan, node->column);
    return state->verdict;
  }
  if (node->kind == PREDICATE_PAIR) {
    state->verdict = pair_unit(scan, node);
    state->bytes_per_row = column_bytes(scan, node->column) + column_bytes(scan, node->other);
    return state->verdict;
  }
  ZoneVerdict absorbing = node->kind == PREDICATE_AND ? ZONE_NONE : ZONE_ALL;
  ZoneVerdict neutral = node->kind == PREDICATE_AND ? ZONE_ALL : ZONE_NONE;
  state->verdict = neutral;
  state->bytes_per_row = 0;
  for (uint32_t i = 0; i < node->child_count; i++) {
    ZoneVerdict verdict = node_unit(scan, node->children[i]);
    state->bytes_per_row += scan->nodes[node->children[i]->number].bytes_per_row;
    if (verdict == absorbing) return state->verdict = absorbing;
    if (verdict != neutral) state->verdict = ZONE_SOME;
  }
  return state->verdict;
}

ZoneVerdict scan_filter_unit(Scan *scan) { return node_unit(scan, scan->where->root); }

ZoneVerdict scan_filter_run(Scan *scan) {
  scan->asks_run = true;
  ZoneVerdict verdict = node_unit(scan, scan->where->root);
  scan->asks_run = false;
  return verdict;
}

/* ---- pass 2: the zone maps of blocks ---- */

static Status leaf_zones(Scan *scan, const PredicateNode *node, NodeState *state) {
  ScanColumn *column;
  TRY(scan_column(scan, node->column, &column));
  if (column->kind != SCAN_COLUMN_CHUNK) { /* computed, or an array: nothing is known of its blocks */
    state->maybe = first_blocks(scan->selection.block_count);
    state->certain = 0;
    return KVSTORE_OK;
  }
  if (!state->scratch) {
    state->scratch = arena_allocate(&scan->arena, CODEC_FILTER_SCRATCH);
    if (!state->scratch) return status_nomem();
  }
  codec_filter_prepare(&state->filter, column->hold.chunk, &node->compare, state->scratch);
  state->is_prepared = true;
  codec_filter_zones(&state->filter, &state->maybe, &state->certain);
  return KVSTORE_OK;
}

static Status node_zones(Scan *scan, const PredicateNode *node) {
  NodeState *state = &scan->nodes[node->number];
  uint64_t all = first_blocks(scan->selection.block_count);
  if (state->verdict != ZONE_SOME) {
    state->maybe = state->certain = state->verdict == ZONE_ALL ? all : 0;
    return KVSTORE_OK;
  }
  if (node->kind == PREDICATE_LEAF) return leaf_zones(scan, node, state);
  if (node->kind == PREDICATE_PAIR) return pair_zones(scan, node, state);
  bool is_and = node->kind == PREDICATE_AND;
  state->maybe = state->certain = is_and ? all : 0;
  for (uint32_t i = 0; i < node->child_count; i++) {
    TRY(node_zones(scan, node->children[i]));
    const NodeState *child = &scan->nodes[node->children[i]->number];
    state->maybe = is_and ? state->maybe & child->maybe : state->maybe | child->maybe;
    state->certain = is_and ? state->certain & child->certain : state->certain | child->certain;
    if (is_and ? state->maybe == 0 : state->certain == all) break; /* the other children will not be asked */
  }
  return KVSTORE_OK;
}

Status scan_filter_zones(Scan *scan) { return node_zones(scan, scan->where->root); }

/* ---- pass 3: the bytes ---- */

static Status node_blocks(Scan *scan, const PredicateNode *node, uint64_t blocks, uint64_t full, UnitMasks *masks,
                          UnitMasks *scratch);

static uint32_t mask_positions(const uint64_t mask[BLOCK_WORDS], uint16_t *positions) {
  uint32_t count = 0;
  for (uint32_t w = 0; w < BLOCK_WORDS; w++) {
    for (uint64_t word = mask[w]; word; word &= word - 1) {
      positions[count++] = (uint16_t)(w * 64 + (uint32_t)__builtin_ctzll(word));
    }
  }
  return count;
}

static uint32_t array_positions(const ScanColumn *column, const Compare *compare, uint32_t block, uint16_t *positions,
                                uint32_t count) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < count; i++) {
    Value value;
    scan_column_value(column, block * BLOCK_ROWS + positions[i], &value);
    if (compare_value(compare, &value)) positions[kept++] = positions[i];
  }
  return kept;
}

/* Few rows are left: look at each. */
static void leaf_positions(const ScanColumn *column, const PredicateNode *node, const NodeState *state, uint32_t block,
                           uint64_t mask[BLOCK_WORDS]) {
  uint16_t positions[SCAN_POSITIONS_MAX];
  uint32_t count = mask_positions(mask, positions);
  count = state->is_prepared ? codec_filter_positions(&state->filter, block, positions, count)
                             : array_positions(column, &node->compare, block, positions, count);
  memset(mask, 0, BLOCK_WORDS * sizeof *mask);
  for (uint32_t i = 0; i < count; i++) bit_set(mask, positions[i]);
}

static void leaf_arrays(const Scan *scan, const ScanColumn *column, const PredicateNode *node, uint64_t blocks,
                        UnitMasks *masks) {
  while (blocks) {
    uint32_t block = take_block(&blocks);
    size_t first = (size_t)block * BLOCK_ROWS;
    array_filter(&node->compare, column->values + first * column->width, column->nulls ? column->nulls + first : NULL,
                 scan_block_rows(scan->selection.unit, block), (*masks)[block]);
  }
}

/* Only rows that are still in the mask are computed. */
static Status computed_blocks(Scan *scan, const PredicateNode *node, uint64_t blocks, UnitMasks *masks) {
  while (blocks) {
    uint32_t block = take_block(&blocks);
    ColumnArray array;
    if (scan->kernels->mask_count((*masks)[block], BLOCK_WORDS) == 0) continue;
    TRY(scan_computed_array(scan, node->column, block, (*masks)[block], &array));
    array_filter(&node->compare, array.values, array.nulls, scan_block_rows(scan->selection.unit, block),
                 (*masks)[block]);
  }
  return KVSTORE_OK;
}

/* How many rows of a block are looked at one by one rather than all of them by a kernel. Over packed bits a kernel
 * takes about as long as so many single rows as values have bits; everywhere else more than SCAN_POSITIONS_MAX of them.
 */
static uint64_t positions_max(const NodeState *state) {
  if (!state->is_prepared || state->filter.kind != COMPARE_KIND_RANGE) return SCAN_POSITIONS_MAX;
  uint32_t encoding = state->filter.chunk->encoding;
  if (encoding != ENCODING_PACKED && encoding != ENCODING_DICTIONARY && encoding != ENCODING_ALP)
    return SCAN_POSITIONS_MAX;
  double bits = 8 * state->bytes_per_row;
  return bits < SCAN_POSITIONS_MAX ? (uint64_t)bits : SCAN_POSITIONS_MAX;
}

static Status leaf_blocks(Scan *scan, const PredicateNode *node, uint64_t blocks, uint64_t full, UnitMasks *masks) {
  const NodeState *state = &scan->nodes[node->number];
  if (node->computes) return computed_blocks(scan, node, blocks, masks);
  uint64_t dense = blocks & full, few = 0, most = positions_max(state);
  uint16_t rows[SEGMENT_BLOCKS];
  if (blocks & ~full) scan->kernels->mask_counts((*masks)[0], scan->selection.block_count, rows);
  for (uint64_t left = blocks & ~full; left;) {
    uint32_t block = take_block(&left);
    dense |= (uint64_t)(rows[block] > most) << block;
    few |= (uint64_t)(rows[block] && rows[block] <= most) << block;
  }
  ScanColumn *column;
  TRY(scan_column(scan, node->column, &column));
  if (state->is_prepared) {
    TRY(chunk_hold_blocks(&column->hold, dense | few));
    if (dense) codec_filter_blocks(&state->filter, dense, *masks);
  } else {
    leaf_arrays(scan, column, node, dense, masks);
  }
  if (few) COUNT_MANY(blocks_by_position, (uint64_t)__builtin_popcountll(few));
  while (few) {
    uint32_t block = take_block(&few);
    leaf_positions(column, node, state, block, (*masks)[block]);
  }
  return KVSTORE_OK;
}

/* How large a part of the rows the node let through so far; a half before anything is known. */
static double selectivity(const NodeState *state) {
  return ((double)state->rows_out + 1) / ((double)state->rows_in + 2);
}

static double rank(const Scan *scan, const PredicateNode *parent, uint32_t child) {
  const NodeState *state = &scan->nodes[parent->children[child]->number];
  double passes = selectivity(state);
  return state->bytes_per_row * (parent->kind == PREDICATE_AND ? passes : 1 - passes);
}

enum { ORDER_MAX = 64 }; /* more children than this stay in the order of the text */

/* Sorts the children of a node for this unit; the order of the unit before is nearly right already. Those that compute
 * come last, in the order of the text, so that what a row before them excludes is never computed. */
static Status order_children(Scan *scan, const PredicateNode *node, uint32_t **out) {
  NodeState *state = &scan->nodes[node->number];
  if (!state->order) {
    state->order = arena_allocate(&scan->arena, node->child_count * sizeof *state->order);
    if (!state->order) return status_nomem();
    uint32_t plain = 0;
    for (uint32_t i = 0; i < node->child_count; i++) plain += !node->children[i]->computes;
    state->plain_count = plain;
    for (uint32_t i = 0, first = 0; i < node->child_count; i++)
      state->order[node->children[i]->computes ? plain++ : first++] = i;
  }
  for (uint32_t i = 1; i < state->plain_count && state->plain_count <= ORDER_MAX; i++) {
    uint32_t child = state->order[i], at = i;
    double value = rank(scan, node, child);
    for (; at > 0 && rank(scan, node, state->order[at - 1]) > value; at--) state->order[at] = state->order[at - 1];
    state->order[at] = child;
  }
  *out = state->order;
  return KVSTORE_OK;
}

static uint64_t count_rows(const Scan *scan, UnitMasks *masks) {
  return scan->kernels->mask_count((*masks)[0], (size_t)scan->selection.block_count * BLOCK_WORDS);
}

static void observe(NodeState *child, uint64_t rows_in, uint64_t rows_out) {
  child->rows_in += rows_in;
  child->rows_out += rows_out;
}

static Status and_blocks(Scan *scan, const PredicateNode *node, uint64_t blocks, uint64_t full, UnitMasks *masks,
                         UnitMasks *scratch) {
  uint32_t *order;
  TRY(order_children(scan, node, &order));
  bool is_root = node == scan->where->root;
  uint64_t rows = count_rows(scan, masks), begun = is_root && scan->weight ? os_ticks() : 0;
  for (uint32_t i = 0; i < node->child_count && rows; i++) {
    const PredicateNode *child = node->children[order[i]];
    const NodeState *state = &scan->nodes[child->number];
    TRY(node_blocks(scan, child, blocks, full, masks, scratch));
    uint64_t asked = blocks & state->maybe & ~state->certain;
    full &= state->certain; /* their masks were left alone */
    uint64_t left = count_rows(scan, masks);
    observe(&scan->nodes[child->number], rows, left);
    if (is_root) {
      ScanTerm term = { .blocks = (uint64_t)__builtin_popcountll(asked), .rows_in = rows, .rows_out = left };
      uint64_t now = scan->weight ? os_ticks() : 0;
      term.ticks = now - begun;
      begun = now;
      scan_note_term(scan, order[i], child, term);
    }
    rows = left;
  }
  return KVSTORE_OK;
}

static void clear_blocks(UnitMasks *masks, uint64_t blocks) {
  while (blocks) memset((*masks)[take_block(&blocks)], 0, sizeof **masks);
}

/* masks &= ~other */
static void subtract(UnitMasks *masks, UnitMasks *other, uint32_t block_count) {
  uint64_t *to = (*masks)[0], *from = (*other)[0];
  for (size_t i = 0; i < (size_t)block_count * BLOCK_WORDS; i++) to[i] &= ~from[i];
}

static Status or_blocks(Scan *scan, const PredicateNode *node, uint64_t blocks, uint64_t full, UnitMasks *masks,
                        UnitMasks *scratch) {
  UnitMasks *rest = &scratch[0], *taken = &scratch[1]; /* rows that no child took yet; what this child takes of them */
  uint32_t block_count = scan->selection.block_count;
  size_t bytes = block_count * sizeof **masks;
  uint32_t *order;
  TRY(order_children(scan, node, &order));
  memcpy(rest, masks, bytes);
  uint64_t rows = count_rows(scan, rest);
  for (uint32_t i = 0; i < node->child_count && rows; i++) {
    const PredicateNode *child = node->children[order[i]];
    memcpy(taken, rest, bytes);
    TRY(node_blocks(scan, child, blocks, full, taken, scratch + 2));
    subtract(rest, taken, block_count);
    full &= ~scan->nodes[child->number].maybe; /* the others were left alone */
    uint64_t left = count_rows(scan, rest);
    observe(&scan->nodes[child->number], rows, rows - left);
    rows = left;
  }
  subtract(masks, rest, block_count);
  return KVSTORE_OK;
}

/* `blocks` may hold blocks whose masks are zero. */
static Status node_blocks(Scan *scan, const PredicateNode *node, uint64_t blocks, uint64_t full, UnitMasks *masks,
                          UnitMasks *scratch) {
  const NodeState *state = &scan->nodes[node->number];
  clear_blocks(masks, blocks & ~state->maybe);
  blocks &= state->maybe & ~state->certain;
  if (blocks == 0) return KVSTORE_OK;
  switch (node->kind) {
  case PREDICATE_AND: return and_blocks(scan, node, blocks, full, masks, scratch);
  case PREDICATE_OR: return or_blocks(scan, node, blocks, full, masks, scratch);
  case PREDICATE_PAIR: return pair_blocks(scan, node, blocks, masks);
  default: return leaf_blocks(scan, node, blocks, full, masks);
  }
}

Status scan_filter_blocks(Scan *scan, uint64_t blocks, uint64_t full, UnitMasks *masks) {
  return node_blocks(scan, scan->where->root, blocks, full, masks, scan->scratch);
}

/* ---- a range that comes up on the way ---- */

/* A comparison's range lies within the images of its type. */
static void clip(ColumnType type, int64_t *low, int64_t *high) {
  int64_t least, most;
  type_image_bounds(type, &least, &most);
  if (*low < least) *low = least;
  if (*high > most) *high = most;
}

static Status keep_in_chunk(Scan *scan, ScanColumn *c, const Compare *compare, uint64_t *blocks) {
  uint64_t scratch[CODEC_FILTER_SCRATCH / sizeof(uint64_t)], maybe, certain;
  CodecFilter filter;
  codec_filter_prepare(&filter, c->hold.chunk, compare, scratch);
  codec_filter_zones(&filter, &maybe, &certain);
  *blocks &= maybe;
  uint64_t scanned = *blocks & ~certain;
  if (!scanned) return KVSTORE_OK;
  TRY(chunk_hold_blocks(&c->hold, scanned));
  codec_filter_blocks(&filter, scanned, *scan->masks);
  return KVSTORE_OK;
}

static Status keep_in_arrays(Scan *scan, ScanColumn *c, const Compare *compare, uint64_t blocks) {
  while (blocks) {
    uint32_t block = take_block(&blocks);
    ColumnArray array;
    TRY(scan_column_array(scan, c, block, &array));
    array_filter(compare, array.values, array.nulls, scan_block_rows(scan->selection.unit, block),
                 (*scan->masks)[block]);
  }
  return KVSTORE_OK;
}

static Status keep_in_computed(Scan *scan, uint32_t column, const Compare *compare, uint64_t blocks) {
  while (blocks) {
    uint32_t block = take_block(&blocks);
    ColumnArray array;
    TRY(scan_computed_array(scan, column, block, (*scan->masks)[block], &array));
    array_filter(compare, array.values, array.nulls, scan_block_rows(scan->selection.unit, block),
                 (*scan->masks)[block]);
  }
  return KVSTORE_OK;
}

Status scan_keep_within(Scan *scan, uint32_t column, int64_t low, int64_t high, uint64_t *blocks) {
  ScanColumn *c;
  TRY(scan_column(scan, column, &c));
  clip(c->type, &low, &high);
  Compare compare = {
    .type = c->type, .kind = low > high ? COMPARE_KIND_NONE : COMPARE_KIND_RANGE, .low = low, .high = high
  };
  if (c->kind == SCAN_COLUMN_COMPUTED)
    TRY(keep_in_computed(scan, column, &compare, *blocks));
  else if (c->kind == SCAN_COLUMN_CHUNK)
    TRY(keep_in_chunk(scan, c, &compare, blocks));
  else
    TRY(keep_in_arrays(scan, c, &compare, *blocks));
  uint16_t rows[SEGMENT_BLOCKS];
  scan->kernels->mask_counts((*scan->masks)[0], scan->selection.block_count, rows);
  for (uint64_t left = *blocks; left;) {
    uint32_t block = take_block(&left);
    if (!rows[block]) *blocks &= ~(UINT64_C(1) << block);
  }
  return KVSTORE_OK;
}
