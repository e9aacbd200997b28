/* Sieves of joins: the rows that stay in a block are those of plain loops, whichever way the block goes. */
#include "query/join_sieve.h"

#include "base/counters.h"
#include "base/memory.h"
#include "columnar/scan.h"
#include "tests/columnar/sample_table.h"
#include "tests/support/test.h"

enum { ROWS = 5 * BLOCK_ROWS + 300, SPREAD = 20000 };

/* A key, which ascends, and a column of each type whose values are its number times 3, some of them null. */
typedef struct Own {
  SampleTable table;
  SampleStore store;
  ColumnRun *run;
  ScanUnit segment, arrays;
} Own;

static const ColumnType types[] = { TYPE_I64, TYPE_I32, TYPE_I16,       TYPE_U16,  TYPE_U32,
                                    TYPE_U64, TYPE_I8,  TYPE_TIMESTAMP, TYPE_DATE, TYPE_F64 };
enum { TYPES = sizeof types / sizeof *types };

static int64_t value_of(uint32_t column, uint32_t row) {
  int64_t spread = (int64_t)row * 7919 % SPREAD - SPREAD / 2;
  if (column == 0) return (int64_t)row * 3; /* what lies together lies in one block */
  if (column - 1 < TYPES && types[column - 1] == TYPE_I8) return spread % 100;
  return type_is_signed(types[column - 1]) || types[column - 1] == TYPE_F64 ? spread : spread + SPREAD;
}

static void own_create(Own *own, bool nullable) {
  *own = (Own){ 0 };
  SampleTable *t = &own->table;
  sample_add_column(t, TYPE_I64, 0);
  sample_add_key(t, 0);
  for (size_t i = 0; i < TYPES; i++) sample_add_column(t, types[i], nullable ? COLUMN_NULLABLE : 0);
  sample_fill(t, ROWS, 0, 1);
  CHECK_INT(t->row_count, ROWS);
  for (uint32_t c = 0; c <= TYPES; c++)
    for (uint32_t row = 0; row < ROWS; row++) {
      Value v = { .type = t->columns[c].type, .i = value_of(c, row) };
      if (v.type == TYPE_F64) v.f = (double)value_of(c, row);
      value_to_array(&v, (uint8_t *)(uintptr_t)t->arrays[c].values, row);
    }
  sample_sort(t);
  const ColumnRunOptions options = { 0 };
  sample_write(&own->store, t, &options, ROWS);
  CHECK_OK(sample_open(&own->store, &t->schema, &own->run));
  own->segment = (ScanUnit){ .kind = SCAN_UNIT_SEGMENT, .row_count = ROWS, .run = own->run };
  own->arrays = (ScanUnit){ .kind = SCAN_UNIT_ARRAYS, .row_count = ROWS, .columns = t->arrays };
}

static void own_release(Own *own) {
  column_run_close(own->run);
  sample_store_release(&own->store);
  sample_release(&own->table);
}

/* ---- tables ---- */

/* The keys of a table: those of `spread` numbers that one in `one_in` has. */
static bool has_partner(int64_t value, int64_t least, int64_t most, int64_t one_in) {
  return value >= least && value <= most && (value * 31 & INT64_MAX) % one_in == 0;
}

static void table_create(JoinTable *t, JoinKeys *keys, Arena *arena, JoinDomain domain, int64_t least, int64_t most,
                         int64_t one_in) {
  *keys = (JoinKeys){ .count = 1, .domains = { domain }, .types = { TYPE_I64 } };
  CHECK_OK(join_keys_create(keys, arena));
  *t = (JoinTable){ .keys = keys };
  t->words[0] = memory_allocate((size_t)(most - least + 1) * sizeof *t->words[0]);
  CHECK(t->words[0] != NULL);
  for (int64_t v = most; v >= least; v--)
    if (has_partner(v, least, most, one_in)) t->words[0][t->row_count++] = (uint64_t)v;
  CHECK_OK(join_table_index(t));
}

/* ---- blocks ---- */

static void draw_mask(uint64_t *seed, uint32_t rows, unsigned form, uint64_t mask[BLOCK_WORDS]) {
  memset(mask, 0, BLOCK_WORDS * sizeof *mask);
  for (uint32_t i = 0; i < rows; i++)
    if (form == 0 || (form == 1 ? test_random(seed) & 1 : test_random_below(seed, 40) == 0))
      mask[i / 64] |= UINT64_C(1) << (i % 64);
}

static void check_block(const Own *own, JoinSieve *sieve, Scan *scan, uint32_t block, const uint64_t *before,
                        int64_t least, int64_t most, int64_t one_in) {
  uint64_t after[BLOCK_WORDS];
  uint32_t column = sieve->keys.columns[0];
  memcpy(after, before, sizeof after);
  CHECK_OK(join_sieve_block(sieve, scan, block, after));
  for (uint32_t i = 0; i < BLOCK_ROWS && block * BLOCK_ROWS + i < ROWS; i++) {
    uint32_t row = block * BLOCK_ROWS + i;
    const uint8_t *nulls = own->table.arrays[column].nulls;
    bool has = !(nulls && nulls[row]) && has_partner(value_of(column, row), least, most, one_in);
    bool stays = (before[i / 64] >> (i % 64) & 1) && (sieve->step->kind == JOIN_ANTI ? !has : has);
    CHECK_INT(after[i / 64] >> (i % 64) & 1, stays);
  }
}

static void check_column(const Own *own, uint32_t column, JoinKind kind, int64_t least, int64_t most, int64_t one_in) {
  uint64_t seed = column;
  JoinStep step = { .kind = kind, .count = 1, .left = { column } };
  CHECK(join_domain(own->table.columns[column].type, own->table.columns[column].type, &step.domains[0]));
  if (own->table.columns[column].type == TYPE_F64) step.domains[0] = JOIN_SIGNED; /* beside integers */
  const ScanUnit *units[] = { &own->segment, &own->arrays };
  for (size_t u = 0; u < 2; u++)
    for (unsigned form = 0; form < 3; form++) {
      JoinTable table;
      JoinKeys keys;
      Arena arena = { 0 };
      JoinSieve sieve;
      Scan *scan;
      table_create(&table, &keys, &arena, step.domains[0], least, most, one_in);
      CHECK_OK(join_sieve_create(&sieve, &table, &step, &own->table.schema, 0, &arena));
      CHECK_OK(scan_create(&own->table.schema, NULL, 0, &scan));
      CHECK_OK(scan_unit(scan, units[u]));
      scan_fill_masks(scan);
      for (uint32_t block = 0; block * BLOCK_ROWS < ROWS; block++) {
        uint64_t mask[BLOCK_WORDS];
        draw_mask(&seed, scan_block_rows(units[u], block), form, mask);
        check_block(own, &sieve, scan, block, mask, least, most, one_in);
      }
      scan_destroy(scan);
      join_table_release(&table);
      arena_release(&arena);
    }
}

TEST(join_sieve, rows_that_stay_are_those_of_plain_loops) {
  static const JoinKind kinds[] = { JOIN_INNER, JOIN_ANTI };
  for (int nullable = 0; nullable < 2; nullable++) {
    Own own;
    own_create(&own, nullable);
    uint64_t blocks = counter_get(COUNTER_joins_left_out_side_by_side), rows = counter_get(COUNTER_joins_left_out);
    for (size_t k = 0; k < 2; k++)
      for (uint32_t c = 1; c <= TYPES; c++) {
        bool is_small = types[c - 1] == TYPE_I8;
        int64_t least = is_small ? -90 : type_is_signed(types[c - 1]) ? -5000 : 5000, most = is_small ? 80 : 25000;
        check_column(&own, c, kinds[k], least, most, 3);
        check_column(&own, c, kinds[k], least, most, 1);
        check_column(&own, c, kinds[k], 1, 0, 1); /* no partner at all */
      }
    /* Integers of either kind of join, of two tables, two kinds of units, and the masks with all and half of the rows.
     */
    CHECK_INT(counter_get(COUNTER_joins_left_out_side_by_side) - blocks, (TYPES - 1) * 2 * 2 * 2 * 2 * 6);
    CHECK(counter_get(COUNTER_joins_left_out) > rows);
    own_release(&own);
  }
  CHECK_INT(memory_blocks_held(), 0);
}

/* The key ascends: of a table with few numbers in the middle only blocks there are read. */
TEST(join_sieve, blocks_that_lie_elsewhere_are_not_read) {
  Own own;
  own_create(&own, false);
  uint64_t before = counter_get(COUNTER_joins_blocks_left_out);
  check_column(&own, 0, JOIN_INNER, 2 * 3 * BLOCK_ROWS + 30, 2 * 3 * BLOCK_ROWS + 90, 1);
  /* five of six blocks of the segment, of three masks; the first one has to open the column */
  CHECK(counter_get(COUNTER_joins_blocks_left_out) >= before + 3 * 4);
  before = counter_get(COUNTER_joins_blocks_left_out);
  check_column(&own, 0, JOIN_ANTI, 2 * 3 * BLOCK_ROWS + 30, 2 * 3 * BLOCK_ROWS + 90, 1);
  CHECK(counter_get(COUNTER_joins_blocks_left_out) >= before + 3 * 4);
  own_release(&own);
  CHECK_INT(memory_blocks_held(), 0);
}

/* A sieve that may rest looks at one block in 16 once it has seen that it leaves nothing out. */
TEST(join_sieve, where_all_have_partners_it_rests) {
  Own own;
  JoinTable table;
  JoinKeys keys;
  Arena arena = { 0 };
  JoinSieve sieve;
  Scan *scan;
  JoinStep step = { .kind = JOIN_INNER, .count = 1, .left = { 0 }, .domains = { JOIN_SIGNED } };
  own_create(&own, false);
  table_create(&table, &keys, &arena, JOIN_SIGNED, 0, 3 * ROWS, 1);
  CHECK_OK(join_sieve_create(&sieve, &table, &step, &own.table.schema, 0, &arena));
  CHECK_OK(scan_create(&own.table.schema, NULL, 0, &scan));
  CHECK_OK(scan_unit(scan, &own.segment));
  scan_fill_masks(scan);
  for (int may_rest = 0; may_rest < 2; may_rest++) {
    uint64_t looked_at = counter_get(COUNTER_joins_left_out_side_by_side);
    sieve.may_rest = may_rest;
    sieve.blocks = sieve.rows_in = sieve.rows_out = 0;
    for (int i = 0; i < 80; i++) {
      uint64_t mask[BLOCK_WORDS];
      memset(mask, 0xff, sizeof mask);
      CHECK_OK(join_sieve_block(&sieve, scan, 1, mask));
      for (size_t w = 0; w < BLOCK_WORDS; w++) CHECK_INT(mask[w], UINT64_MAX);
    }
    /* 32 blocks are 32,768 rows; of the 48 behind them, numbers 32, 48 and 64 */
    CHECK_INT(counter_get(COUNTER_joins_left_out_side_by_side) - looked_at, may_rest ? 32 + 3 : 80);
  }
  scan_destroy(scan);
  join_table_release(&table);
  arena_release(&arena);
  own_release(&own);
  CHECK_INT(memory_blocks_held(), 0);
}
