/* aggregates.c - aggregates over the selected rows of units.
 *
 * A column asked for by several requests has one total. Of each unit a state of its own is made and then merged, so
 * that the bits of a float sum depend on the order of units alone, not on who visited them. */
#include "columnar/aggregates.h"

#include "base/bitmap.h"
#include "base/counters.h"
#include "base/memory.h"
#include "columnar/scan_internal.h"
#include "encodings/array.h"

typedef struct ColumnTotal {
  uint32_t column;
  bool is_exact; /* the count is wanted for itself, not just to tell nothing from something */
  AggregateState state;
  Buffer least, greatest; /* own the strings that state.minimum_bytes and maximum_bytes point to */
} ColumnTotal;

struct Aggregates {
  const Schema *schema;
  AggregateRequest *requests;
  size_t request_count;
  uint64_t row_count;
  ColumnTotal *totals;
  size_t total_count;
};

/* ---- life ---- */

static bool has_sum(ColumnType type) { return type == TYPE_BOOL || type == TYPE_DURATION || type_is_number(type); }

Status aggregate_request_check(const Schema *schema, const AggregateRequest *request) {
  if (request->kind == AGGREGATE_ROWS) return KVSTORE_OK;
  if (request->column >= schema->column_count) {
    return status_fail(KVSTORE_SCHEMA, "there is no column number %u: the table has %u", request->column,
                       schema->column_count);
  }
  const Column *column = &schema->columns[request->column];
  static const char *const words[AGGREGATE_KINDS] = {
    [AGGREGATE_TOTAL] = "sum",
    [AGGREGATE_MEAN] = "average",
    [AGGREGATE_VARIANCE] = "variance",
    [AGGREGATE_VARIANCE_POPULATION] = "variance",
    [AGGREGATE_DEVIATION] = "standard deviation",
    [AGGREGATE_DEVIATION_POPULATION] = "standard deviation",
  };
  if (words[request->kind] && !has_sum(column->type)) {
    return status_fail_at(KVSTORE_TYPE, UINT64_MAX, column->name, NULL, "column %s is %s, which has no %s",
                          column->name, type_name(column->type), words[request->kind]);
  }
  return KVSTORE_OK;
}

static uint32_t request_wants(AggregateKind kind) {
  switch (kind) {
  case AGGREGATE_TOTAL:
  case AGGREGATE_MEAN: return AGGREGATE_COUNT | AGGREGATE_SUM;
  case AGGREGATE_LEAST: return AGGREGATE_COUNT | AGGREGATE_MIN;
  case AGGREGATE_GREATEST: return AGGREGATE_COUNT | AGGREGATE_MAX;
  default: return AGGREGATE_COUNT;
  }
}

static ColumnTotal *find_total(const Aggregates *a, uint32_t column) {
  for (size_t i = 0; i < a->total_count; i++) {
    if (a->totals[i].column == column) return &a->totals[i];
  }
  return NULL;
}

static void add_request(Aggregates *a, const AggregateRequest *request) {
  if (request->kind == AGGREGATE_ROWS) return;
  ColumnTotal *total = find_total(a, request->column);
  if (!total) {
    total = &a->totals[a->total_count++];
    total->column = request->column;
    aggregate_init(&total->state, a->schema->columns[request->column].type, 0);
  }
  aggregate_init(&total->state, total->state.type, total->state.wanted | request_wants(request->kind));
  if (request->kind == AGGREGATE_VALUES || request->kind == AGGREGATE_MEAN) total->is_exact = true;
}

Status aggregates_create(const Schema *schema, const AggregateRequest *requests, size_t count, Aggregates **out) {
  for (size_t i = 0; i < count; i++) TRY(aggregate_request_check(schema, &requests[i]));
  Aggregates *a = memory_allocate_zeroed(sizeof *a);
  if (!a) return status_nomem();
  a->schema = schema;
  a->requests = memory_allocate(memory_array_size(count, sizeof *a->requests));
  a->totals = memory_allocate_zeroed(memory_array_size(count, sizeof *a->totals));
  if (!a->requests || !a->totals) {
    aggregates_destroy(a);
    return status_nomem();
  }
  a->request_count = count;
  if (count) memcpy(a->requests, requests, count * sizeof *requests);
  for (size_t i = 0; i < count; i++) add_request(a, &requests[i]);
  *out = a;
  return KVSTORE_OK;
}

void aggregates_destroy(Aggregates *a) {
  if (!a) return;
  for (size_t i = 0; i < a->total_count; i++) {
    buffer_release(&a->totals[i].least);
    buffer_release(&a->totals[i].greatest);
  }
  memory_release(a->totals);
  memory_release(a->requests);
  memory_release(a);
}

/* ---- one column of one unit ---- */

/* Whether zone maps can answer for blocks whose rows are all selected. */
static bool zones_suffice(const AggregateState *state) {
  if (state->wanted & AGGREGATE_SUM) return false;
  return !(state->wanted & (AGGREGATE_MIN | AGGREGATE_MAX)) || !type_is_string(state->type);
}

static void add_zone(AggregateState *state, int64_t minimum, int64_t maximum, uint32_t null_count, uint32_t row_count) {
  if (null_count == row_count) return;
  if (state->count == 0 || minimum < state->minimum) state->minimum = minimum;
  if (state->count == 0 || maximum > state->maximum) state->maximum = maximum;
  state->count += row_count - null_count;
}

/* Whether rows whose values lie in this zone cannot change the result any more. */
static bool is_settled(const ColumnTotal *total, int64_t minimum, int64_t maximum) {
  const AggregateState *s = &total->state;
  if (total->is_exact || (s->wanted & AGGREGATE_SUM) || type_is_string(s->type) || s->count == 0) return false;
  return (!(s->wanted & AGGREGATE_MIN) || minimum >= s->minimum) &&
         (!(s->wanted & AGGREGATE_MAX) || maximum <= s->maximum);
}

/* Takes the blocks that zone maps answer for out of *blocks. */
static void add_block_zones(const ColumnTotal *total, const Scan *scan, const Chunk *chunk, uint64_t *blocks,
                            AggregateState *zones) {
  const ScanSelection *selection = &scan->selection;
  for (uint64_t left = *blocks; left;) {
    uint32_t block = take_block(&left);
    uint64_t bit = UINT64_C(1) << block;
    int64_t minimum = chunk_block_minimum(chunk, block), maximum = chunk_block_maximum(chunk, block);
    if (selection->whole & bit) {
      add_zone(zones, minimum, maximum, chunk_block_null_count(chunk, block), scan_block_rows(selection->unit, block));
      *blocks &= ~bit;
    } else if (is_settled(total, minimum, maximum)) {
      *blocks &= ~bit;
    }
  }
}

/* Smallest and largest of strings that do not lie in their chunk: each block is decoded first. */
static Status add_decoded(Scan *scan, ScanColumn *column, uint64_t blocks, bool all_rows, AggregateState *state) {
  const ScanSelection *selection = &scan->selection;
  while (blocks) {
    uint32_t block = take_block(&blocks);
    Bytes values[BLOCK_ROWS];
    uint8_t nulls[BLOCK_ROWS];
    TRY(scan_chunk_block(scan, column, block, values, nulls));
    array_aggregate(state->type, values, nulls, scan_block_rows(selection->unit, block),
                    all_rows ? NULL : selection->masks[block], state);
  }
  return KVSTORE_OK;
}

static Status add_chunk(const ColumnTotal *total, Scan *scan, ScanColumn *column, AggregateState *state) {
  const ScanSelection *selection = &scan->selection;
  uint64_t blocks = selection->blocks;
  AggregateState zones;
  aggregate_init(&zones, state->type, state->wanted);
  if (zones_suffice(state)) add_block_zones(total, scan, column->hold.chunk, &blocks, &zones);
  if (blocks) {
    TRY(chunk_hold_blocks(&column->hold, blocks));
    bool all_rows = (blocks & ~selection->whole) == 0;
    if (!all_rows && (blocks & selection->whole)) scan_fill_masks(scan);
    bool wants_ends = state->wanted & (AGGREGATE_MIN | AGGREGATE_MAX);
    if (wants_ends && codec_get_room(column->hold.chunk))
      TRY(add_decoded(scan, column, blocks, all_rows, state));
    else
      codec_aggregate_blocks(column->hold.chunk, blocks, all_rows ? NULL : selection->masks, state);
  }
  aggregate_merge(state, &zones);
  return KVSTORE_OK;
}

enum { SPARSE = 8 };

/* Whether few rows of the blocks are selected: then they are computed side by side, those of many blocks at once. A sum
 * of floats needs the numbers of its rows. */
static bool is_sparse(const Scan *scan, const AggregateState *state) {
  const ScanSelection *s = &scan->selection;
  if (!scan->computing.rows || type_is_string(state->type) || type_is_float(state->type)) return false;
  return s->row_count * SPARSE < (uint64_t)__builtin_popcountll(s->blocks) * BLOCK_ROWS;
}

typedef struct Gathered {
  uint32_t count;
  uint16_t rows[2 * BLOCK_ROWS]; /* BLOCK_ROWS are computed together, those of one more block may follow */
} Gathered;

static Status add_gathered(Scan *scan, uint32_t position, Gathered *g, AggregateState *state) {
  uint64_t values[BLOCK_ROWS];
  uint8_t nulls[BLOCK_ROWS];
  ScanComputed known;
  uint32_t count = g->count < BLOCK_ROWS ? g->count : BLOCK_ROWS;
  TRY(scan->computing.rows(scan->computer, scan, position, g->rows, count, values, nulls, &known));
  array_aggregate(state->type, values, known.has_nulls ? nulls : NULL, count, NULL, state);
  g->count -= count;
  memmove(g->rows, g->rows + count, g->count * sizeof *g->rows);
  COUNT(computed_sparse);
  return KVSTORE_OK;
}

static Status add_sparse(Scan *scan, uint32_t position, AggregateState *state) {
  Gathered g = { .count = 0 };
  for (uint64_t left = scan->selection.blocks; left;) {
    g.count += scan_block_positions(scan, take_block(&left), g.rows + g.count);
    if (g.count >= BLOCK_ROWS) TRY(add_gathered(scan, position, &g, state));
  }
  return g.count ? add_gathered(scan, position, &g, state) : KVSTORE_OK;
}

static Status add_arrays(Scan *scan, uint32_t position, ScanColumn *column, AggregateState *state) {
  const ScanSelection *selection = &scan->selection;
  uint64_t all[BLOCK_WORDS];
  Status status = KVSTORE_OK;
  if (column->kind == SCAN_COLUMN_COMPUTED && is_sparse(scan, state)) {
    status = add_sparse(scan, position, state);
    if (status != KVSTORE_TYPE) return status; /* else the first block that fails is told */
  }
  for (uint64_t left = selection->blocks; left;) {
    uint32_t block = take_block(&left), rows = scan_block_rows(selection->unit, block);
    ColumnArray array;
    const uint64_t *mask = selection->whole >> block & 1 ? NULL : selection->masks[block];
    if (column->kind == SCAN_COLUMN_COMPUTED) {
      if (!mask) bitmap_fill_first(all, BLOCK_WORDS, rows);
      TRY(scan_computed_array(scan, position, block, mask ? mask : all, &array));
    } else {
      TRY(scan_column_array(scan, column, block, &array));
    }
    array_aggregate(state->type, array.values, array.nulls, rows, mask, state);
  }
  return status;
}

/* From the directory of the run, without touching an extent; false when it does not suffice. */
static bool add_directory(const ColumnTotal *total, const Scan *scan, AggregateState *state) {
  const ScanSelection *selection = &scan->selection;
  const ScanUnit *unit = selection->unit;
  Value constant;
  if (scan_is_computed(scan, total->column)) return false;
  if (unit->kind != SCAN_UNIT_SEGMENT || !zones_suffice(state) || scan_unit_default(unit, total->column, &constant)) {
    return false;
  }
  ColumnZone zone = segment_zone(column_run_segment(unit->run, unit->segment), total->column);
  if (selection->row_count == unit->row_count) {
    add_zone(state, zone.minimum, zone.maximum, zone.null_count, unit->row_count);
    return true;
  }
  if (zone.null_count == unit->row_count || is_settled(total, zone.minimum, zone.maximum)) return true;
  if (state->wanted != AGGREGATE_COUNT || zone.null_count) return false;
  state->count += selection->row_count;
  return true;
}

/* Strings nobody asked for must not stay: they point into the unit. */
static void forget_unwanted(AggregateState *state) {
  if (!(state->wanted & AGGREGATE_MIN)) state->minimum_bytes = (Bytes){ 0 };
  if (!(state->wanted & AGGREGATE_MAX)) state->maximum_bytes = (Bytes){ 0 };
}

/* Moves a string out of the unit. */
static Status keep_string(Buffer *own, Bytes *string) {
  if (string->length == 0) {
    string->data = (const uint8_t *)"";
    return KVSTORE_OK;
  }
  if (string->data == own->data) return KVSTORE_OK;
  buffer_clear(own);
  buffer_append(own, string->data, string->length);
  TRY(buffer_status(own));
  string->data = own->data;
  return KVSTORE_OK;
}

/* Adds a state, whose strings may go afterwards. */
static Status merge_state(ColumnTotal *total, const AggregateState *state) {
  aggregate_merge(&total->state, state);
  if (!type_is_string(state->type) || total->state.count == 0) return KVSTORE_OK;
  forget_unwanted(&total->state);
  if (state->wanted & AGGREGATE_MIN) TRY(keep_string(&total->least, &total->state.minimum_bytes));
  if (state->wanted & AGGREGATE_MAX) TRY(keep_string(&total->greatest, &total->state.maximum_bytes));
  return KVSTORE_OK;
}

enum { LANES = sizeof((AggregateState){ 0 }.lanes) / sizeof(double) };

static bool has_lanes(const ColumnTotal *total) {
  return type_is_float(total->state.type) && (total->state.wanted & AGGREGATE_SUM);
}

/* `lanes` (may be NULL): takes the float sums, which the total is then without. */
static Status add_column(ColumnTotal *total, Scan *scan, double *lanes) {
  AggregateState state;
  aggregate_init(&state, total->state.type, total->state.wanted);
  if (!add_directory(total, scan, &state)) {
    ScanColumn *column;
    TRY(scan_column(scan, total->column, &column));
    TRY(column->kind == SCAN_COLUMN_CHUNK ? add_chunk(total, scan, column, &state)
                                          : add_arrays(scan, total->column, column, &state));
  }
  forget_unwanted(&state);
  if (lanes && state.count) memcpy(lanes, state.lanes, sizeof state.lanes);
  if (lanes) memset(state.lanes, 0, sizeof state.lanes);
  return merge_state(total, &state);
}

Status aggregates_add(Aggregates *a, Scan *scan) {
  a->row_count += scan->selection.row_count;
  if (scan->selection.blocks == 0) return KVSTORE_OK;
  for (size_t i = 0; i < a->total_count; i++) TRY(add_column(&a->totals[i], scan, NULL));
  return KVSTORE_OK;
}

/* ---- units that several threads share out ---- */

size_t aggregates_lane_count(const Aggregates *a) {
  size_t count = 0;
  for (size_t i = 0; i < a->total_count; i++) count += has_lanes(&a->totals[i]) ? LANES : 0;
  return count;
}

Status aggregates_add_apart(Aggregates *a, Scan *scan, double *lanes) {
  a->row_count += scan->selection.row_count;
  if (scan->selection.blocks == 0) return KVSTORE_OK;
  for (size_t i = 0; i < a->total_count; i++) {
    bool apart = has_lanes(&a->totals[i]);
    TRY(add_column(&a->totals[i], scan, apart ? lanes : NULL));
    lanes += apart ? LANES : 0;
  }
  return KVSTORE_OK;
}

/* A sum that began at 0.0 is never -0.0, so that the zeros of a unit without rows change nothing. */
void aggregates_add_lanes(Aggregates *a, const double *lanes) {
  for (size_t i = 0; i < a->total_count; i++) {
    if (!has_lanes(&a->totals[i])) continue;
    for (size_t l = 0; l < LANES; l++) a->totals[i].state.lanes[l] += *lanes++;
  }
}

Status aggregates_merge(Aggregates *to, const Aggregates *from) {
  to->row_count += from->row_count;
  for (size_t i = 0; i < to->total_count; i++) TRY(merge_state(&to->totals[i], &from->totals[i].state));
  return KVSTORE_OK;
}

/* ---- results ---- */

static AggregateResult result_count(uint64_t count) {
  return (AggregateResult){ .value = { .type = TYPE_U64, .u = count } };
}

static AggregateResult result_double(double number) {
  return (AggregateResult){ .value = { .type = TYPE_F64, .f = number } };
}

static AggregateResult result_sum(const AggregateState *state) {
  if (type_is_float(state->type)) return result_double(aggregate_float_sum(state));
  return (AggregateResult){ .is_integer = true, .integer = state->sum, .value = { .type = state->type } };
}

static AggregateResult result_mean(const AggregateState *state) {
  double sum = type_is_float(state->type) ? aggregate_float_sum(state) : int128_to_double(state->sum);
  sum /= (double)decimal_unit(type_scale(state->type));
  return result_double(sum / (double)state->count);
}

AggregateResult aggregates_result(const Aggregates *a, size_t index) {
  const AggregateRequest *request = &a->requests[index];
  if (request->kind == AGGREGATE_ROWS) return result_count(a->row_count);
  const AggregateState *state = &find_total(a, request->column)->state;
  if (request->kind == AGGREGATE_VALUES) return result_count(state->count);
  if (state->count == 0) return (AggregateResult){ .is_null = true, .value = { .is_null = true } };
  switch (request->kind) {
  case AGGREGATE_TOTAL: return result_sum(state);
  case AGGREGATE_MEAN: return result_mean(state);
  case AGGREGATE_LEAST: return (AggregateResult){ .value = aggregate_minimum(state) };
  default: return (AggregateResult){ .value = aggregate_maximum(state) };
  }
}

/* ---- 128 bits ---- */

__extension__ typedef unsigned __int128 Wide;
__extension__ typedef __int128 SignedWide;

size_t int128_text(Int128 value, char text[INT128_TEXT_MAX]) {
  char digits[INT128_TEXT_MAX];
  size_t count = 0, length = 0;
  Wide magnitude = (Wide)(uint64_t)value.high << 64 | value.low;
  if (value.high < 0) {
    magnitude = -magnitude;
    text[length++] = '-';
  }
  do {
    digits[count++] = (char)('0' + (int)(magnitude % 10));
    magnitude /= 10;
  } while (magnitude);
  while (count) text[length++] = digits[--count];
  text[length] = '\0';
  return length;
}

double int128_to_double(Int128 value) { return (double)(SignedWide)((Wide)(uint64_t)value.high << 64 | value.low); }
