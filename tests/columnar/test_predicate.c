/* Predicates against three-valued logic worked out row by row, and what binding makes of them. */
#include "base/memory.h"
#include "columnar/predicate.h"
#include "tests/columnar/sample_units.h"
#include "tests/support/failing_memory.h"
#include "tests/support/test.h"

enum { KEY_I64 = 0, NULLABLE_I8 = 2, PLAIN_I32 = 4, A_STRING = 13 }; /* columns of sample_every_type */

static Value integer(int64_t i) { return (Value){ .type = TYPE_I64, .i = i }; }
static Value text(const char *s) { return (Value){ .type = TYPE_STRING, .s = { (const uint8_t *)s, strlen(s) } }; }

static void row_values(const SampleUnits *u, uint32_t unit, uint32_t row, Value *out) {
  for (uint32_t c = 0; c < u->schema.column_count; c++) out[c] = sample_units_value(u, unit, c, row);
}

TEST(predicate, one_row_obeys_three_valued_logic) {
  SampleUnits u;
  SampleUnitsOptions options = {
    .runs = 1, .run_rows = 300, .slabs = 1, .slab_rows = 300, .old_runs = true, .seed = 11
  };
  sample_units_create(&u, &options);
  Arena arena = { 0 };
  uint64_t random = 5, selected = 0, asked = 0;
  for (uint64_t i = 0; i < test_scaled(3000); i++) {
    const PredicateTerm *term = sample_filter(&arena, &u, 1 + (uint32_t)test_random_below(&random, 4), &random);
    Predicate predicate;
    Value row[SAMPLE_COLUMNS_MAX];
    CHECK_OK(predicate_bind(&u.schema, term, &arena, &predicate));
    for (uint32_t k = 0; k < 20; k++) {
      uint32_t unit = (uint32_t)test_random_below(&random, u.unit_count);
      uint32_t at = (uint32_t)test_random_below(&random, u.units[unit].row_count);
      row_values(&u, unit, at, row);
      bool expected = sample_filter_truth(term, &u, unit, at) == 2;
      CHECK_INT(predicate_row(&predicate, row), expected);
      selected += expected;
      asked++;
    }
    arena_reset(&arena);
  }
  CHECK(selected > asked / 20 && selected < asked - asked / 20);
  arena_release(&arena);
  sample_units_release(&u);
}

/* ---- what binding makes ---- */

typedef struct Fixture {
  SampleTable table;
  Arena arena;
  Predicate predicate;
} Fixture;

static void fixture_open(Fixture *f) {
  memset(f, 0, sizeof *f);
  sample_every_type(&f->table);
}
static void fixture_close(Fixture *f) {
  arena_release(&f->arena);
  sample_release(&f->table);
}
static Status bind(Fixture *f, PredicateTerm term) {
  return predicate_bind(&f->table.schema, &term, &f->arena, &f->predicate);
}
static PredicateTerm compare(uint32_t column, CompareOperator op, const Value *constants, uint32_t count) {
  return (PredicateTerm){ .kind = TERM_COMPARE, .column = column, .op = op, .constants = constants, .count = count };
}

TEST(predicate, constant_parts_are_folded) {
  Fixture f;
  fixture_open(&f);
  Value five = integer(5);
  PredicateTerm leaf = compare(PLAIN_I32, COMPARE_LESS, &five, 1), yes = { .kind = TERM_TRUE },
                no = { .kind = TERM_FALSE }, unknown = { .kind = TERM_UNKNOWN };
  const PredicateTerm *with_no[] = { &leaf, &no }, *with_yes[] = { &yes, &leaf }, *with_unknown[] = { &unknown, &leaf };
  CHECK_OK(bind(&f, (PredicateTerm){ .kind = TERM_AND, .terms = with_no, .count = 2 }));
  CHECK_INT(f.predicate.root->kind, PREDICATE_NONE);
  CHECK_OK(bind(&f, (PredicateTerm){ .kind = TERM_OR, .terms = with_no, .count = 2 }));
  CHECK_INT(f.predicate.root->kind, PREDICATE_LEAF);
  CHECK_OK(bind(&f, (PredicateTerm){ .kind = TERM_OR, .terms = with_yes, .count = 2 }));
  CHECK_INT(f.predicate.root->kind, PREDICATE_ALL);
  CHECK_OK(bind(&f, (PredicateTerm){ .kind = TERM_AND, .terms = with_unknown, .count = 2 }));
  CHECK_INT(f.predicate.root->kind, PREDICATE_NONE);
  CHECK_OK(bind(&f, (PredicateTerm){ .kind = TERM_AND }));
  CHECK_INT(f.predicate.root->kind, PREDICATE_ALL);
  CHECK_OK(bind(&f, (PredicateTerm){ .kind = TERM_OR }));
  CHECK_INT(f.predicate.root->kind, PREDICATE_NONE);
  CHECK_INT(f.predicate.node_count, 0);
  fixture_close(&f);
}

TEST(predicate, nulls_of_a_column_that_has_none_are_folded) {
  Fixture f;
  fixture_open(&f);
  CHECK(!(f.table.columns[KEY_I64].flags & COLUMN_NULLABLE) && (f.table.columns[NULLABLE_I8].flags & COLUMN_NULLABLE));
  CHECK_OK(bind(&f, compare(KEY_I64, COMPARE_IS_NULL, NULL, 0)));
  CHECK_INT(f.predicate.root->kind, PREDICATE_NONE);
  CHECK_OK(bind(&f, compare(KEY_I64, COMPARE_IS_NOT_NULL, NULL, 0)));
  CHECK_INT(f.predicate.root->kind, PREDICATE_ALL);
  CHECK_OK(bind(&f, compare(NULLABLE_I8, COMPARE_IS_NOT_NULL, NULL, 0)));
  CHECK_INT(f.predicate.root->kind, PREDICATE_LEAF);
  Value beyond = integer(1000); /* every i8 that is not null is below */
  CHECK_OK(bind(&f, compare(NULLABLE_I8, COMPARE_LESS, &beyond, 1)));
  CHECK_INT(f.predicate.root->compare.kind, COMPARE_KIND_NOT_NULL);
  fixture_close(&f);
}

TEST(predicate, ranges_of_one_column_become_one) {
  Fixture f;
  fixture_open(&f);
  Value one = integer(1), five = integer(5), name = text("x");
  PredicateTerm low = compare(PLAIN_I32, COMPARE_GREATER_EQUAL, &one, 1),
                high = compare(PLAIN_I32, COMPARE_LESS_EQUAL, &five, 1),
                other = compare(A_STRING, COMPARE_EQUAL, &name, 1), below = compare(PLAIN_I32, COMPARE_LESS, &one, 1);
  const PredicateTerm *inner[] = { &other, &high };
  PredicateTerm nested = { .kind = TERM_AND, .terms = inner, .count = 2 };
  const PredicateTerm *terms[] = { &low, &nested };
  CHECK_OK(bind(&f, (PredicateTerm){ .kind = TERM_AND, .terms = terms, .count = 2 }));
  CHECK_INT(f.predicate.root->kind, PREDICATE_AND);
  CHECK_INT(f.predicate.root->child_count, 2);
  CHECK_INT(f.predicate.node_count, 3);
  CHECK_INT(f.predicate.root->children[0]->compare.low, 1);
  CHECK_INT(f.predicate.root->children[0]->compare.high, 5);
  const PredicateTerm *apart[] = { &low, &below };
  CHECK_OK(bind(&f, (PredicateTerm){ .kind = TERM_AND, .terms = apart, .count = 2 }));
  CHECK_INT(f.predicate.root->kind, PREDICATE_NONE);
  fixture_close(&f);
}

TEST(predicate, ors_are_counted_by_their_depth) {
  Fixture f;
  fixture_open(&f);
  Value one = integer(1), name = text("x");
  PredicateTerm a = compare(PLAIN_I32, COMPARE_EQUAL, &one, 1), b = compare(A_STRING, COMPARE_EQUAL, &name, 1);
  const PredicateTerm *pair[] = { &a, &b };
  PredicateTerm inner = { .kind = TERM_OR, .terms = pair, .count = 2 };
  const PredicateTerm *middle_terms[] = { &inner, &b };
  PredicateTerm middle = { .kind = TERM_AND, .terms = middle_terms, .count = 2 };
  const PredicateTerm *outer_terms[] = { &middle, &a };
  CHECK_OK(bind(&f, (PredicateTerm){ .kind = TERM_OR, .terms = outer_terms, .count = 2 }));
  CHECK_INT(f.predicate.or_depth, 2);
  PredicateTerm not_outer = { .kind = TERM_OR, .terms = outer_terms, .count = 2 };
  const PredicateTerm *negated[] = { &not_outer };
  CHECK_OK(bind(
    &f, (PredicateTerm){ .kind = TERM_NOT, .terms = negated, .count = 1 })); /* (not a and not b or not b) and not a */
  CHECK_INT(f.predicate.root->kind, PREDICATE_AND);
  CHECK_INT(f.predicate.or_depth, 1);
  bool used[SAMPLE_COLUMNS_MAX] = { false };
  predicate_columns(&f.predicate, used);
  for (uint32_t c = 0; c < f.table.schema.column_count; c++) CHECK_INT(used[c], c == PLAIN_I32 || c == A_STRING);
  fixture_close(&f);
}

TEST(predicate, keeps_its_own_strings) {
  Fixture f;
  fixture_open(&f);
  char name[] = "carrier";
  Value v = { .type = TYPE_STRING, .s = { (const uint8_t *)name, 7 } };
  CHECK_OK(bind(&f, compare(A_STRING, COMPARE_EQUAL, &v, 1)));
  memset(name, '?', sizeof name - 1);
  Value row[SAMPLE_COLUMNS_MAX];
  for (uint32_t c = 0; c < f.table.schema.column_count; c++) row[c] = (Value){ .type = f.table.columns[c].type };
  row[A_STRING] = text("carrier");
  CHECK(predicate_row(&f.predicate, row));
  fixture_close(&f);
}

/* ---- errors ---- */

TEST(predicate, mistakes_are_named) {
  Fixture f;
  fixture_open(&f);
  Value one = integer(1), name = text("x"), pair[] = { one, one };
  CHECK_STATUS(bind(&f, compare(99, COMPARE_EQUAL, &one, 1)), KVSTORE_SCHEMA);
  CHECK_STATUS(bind(&f, compare(PLAIN_I32, COMPARE_EQUAL, &name, 1)), KVSTORE_TYPE);
  CHECK_STR(status_last()->column, f.table.columns[PLAIN_I32].name);
  CHECK(strstr(status_last()->text, "string"));
  CHECK_STATUS(bind(&f, compare(A_STRING, COMPARE_IN, pair, 2)), KVSTORE_TYPE);
  CHECK_STATUS(bind(&f, compare(PLAIN_I32, COMPARE_PREFIX, &one, 1)), KVSTORE_TYPE);
  CHECK_STATUS(bind(&f, compare(PLAIN_I32, COMPARE_EQUAL, pair, 2)), KVSTORE_ERROR);
  CHECK_STATUS(bind(&f, compare(PLAIN_I32, COMPARE_BETWEEN, pair, 1)), KVSTORE_ERROR);
  CHECK_STATUS(bind(&f, (PredicateTerm){ .kind = TERM_NOT }), KVSTORE_ERROR);
  CHECK_STATUS(bind(&f, (PredicateTerm){ .kind = (PredicateTermKind)77 }), KVSTORE_ERROR);
  fixture_close(&f);
}

TEST(predicate, depth_is_limited) {
  Fixture f;
  fixture_open(&f);
  Value one = integer(1);
  PredicateTerm terms[PREDICATE_DEPTH_MAX + 1];
  const PredicateTerm *children[PREDICATE_DEPTH_MAX + 1];
  terms[0] = compare(PLAIN_I32, COMPARE_EQUAL, &one, 1);
  for (uint32_t i = 1; i <= PREDICATE_DEPTH_MAX; i++) {
    children[i] = &terms[i - 1];
    terms[i] = (PredicateTerm){ .kind = TERM_NOT, .terms = &children[i], .count = 1 };
  }
  CHECK_OK(bind(&f, terms[PREDICATE_DEPTH_MAX - 1]));
  CHECK_STATUS(bind(&f, terms[PREDICATE_DEPTH_MAX]), KVSTORE_LIMIT);
  fixture_close(&f);
}

TEST(predicate, survives_every_failed_allocation) {
  SampleUnits u;
  SampleUnitsOptions options = { .slabs = 1, .slab_rows = 50, .seed = 3 };
  sample_units_create(&u, &options);
  uint64_t random = 8;
  Arena terms = { 0 };
  for (uint32_t i = 0; i < 30; i++) {
    const PredicateTerm *term = sample_filter(&terms, &u, 4, &random);
    for (uint64_t n = 1;; n++) {
      Arena arena = { 0 };
      Predicate predicate;
      failing_memory_install(n, false);
      Status status = predicate_bind(&u.schema, term, &arena, &predicate);
      bool reached = failing_memory_failures() > 0;
      failing_memory_remove();
      arena_release(&arena);
      CHECK_STATUS(status, reached ? KVSTORE_NOMEM : KVSTORE_OK);
      if (!reached) break;
    }
  }
  arena_release(&terms);
  sample_units_release(&u);
}
