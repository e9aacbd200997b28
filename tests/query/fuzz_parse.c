/* fuzz_parse.c - any text is either a filter, which prints as a text that reads back as itself, or an error with a
 * sentence; what it computes is computed from rows of every kind, or is an error with a sentence too. */
#include <math.h>
#include <stdlib.h>

#include "query/program.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROWS = 5 };

static const int64_t integers[ROWS] = { 0, 1, -7, INT64_MAX, INT64_MIN };
static const double floats[ROWS] = { 0.0, -2.5, 1e300, NAN, INFINITY };
static const int64_t times[ROWS] = { 0, -1, 1000000, INT64_MAX, INT64_MIN };
static const int64_t clocks[ROWS] = { 0, 1, 43200000000, 86399999999, 5 };
static const int64_t decimals[ROWS] = { 0, -1234, 250, INT64_C(999999999999999999), INT64_C(-999999999999999999) };
static const uint8_t nulls[ROWS] = { 0, 0, 1, 0, 0 };

static void compute(const Expression *expression, const Schema *schema, Arena *arena) {
  Schema own = { 0 };
  Program program;
  Predicate predicate;
  Evaluator *evaluator = NULL;
  const Bytes strings[ROWS] = { { (const uint8_t *)"", 0 },
                                { (const uint8_t *)"abc", 3 },
                                { (const uint8_t *)"", 0 },
                                { (const uint8_t *)"\xC3\xA9", 2 },
                                { (const uint8_t *)"12", 2 } };
  const uint8_t id[UUID_BYTES] = { 1, 2, 3 };
  const Bytes ids[ROWS] = {
    { id, sizeof id }, { id, sizeof id }, { id, sizeof id }, { id, sizeof id }, { id, sizeof id }
  };
  if (schema_copy(schema, &own) != KVSTORE_OK) return;
  program_init(&program, &own);
  Status status = expression_bind_computing(expression, &own, &program, NULL, 0, arena, &predicate);
  if (status == KVSTORE_OK && program.column_count) status = evaluator_create(&program, &evaluator);
  if (evaluator) {
    ColumnArray *columns = arena_allocate_zeroed(arena, own.column_count * sizeof *columns);
    if (columns) {
      columns[0].values = integers;
      columns[1] = (ColumnArray){ strings, nulls };
      columns[2].values = floats;
      columns[3].values = times;
      columns[4] = (ColumnArray){ decimals, nulls };
      columns[5].values = clocks;
      columns[6].values = times;
      columns[7].values = ids;
      status = evaluator_arrays(evaluator, columns, ROWS);
    }
  }
  if (status != KVSTORE_OK && !status_last()->text[0]) abort();
  evaluator_destroy(evaluator);
  program_release(&program);
  schema_release(&own);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Arena arena = { 0 };
  const Expression *expression, *again;
  Buffer text = { 0 }, second = { 0 };
  Column columns[] = { { 1, TYPE_I64, 0, 0, "a" },
                       { 2, TYPE_STRING, COLUMN_NULLABLE, 0, "b" },
                       { 3, TYPE_F64, 0, 0, "c" },
                       { 4, TYPE_TIMESTAMP, 0, 0, "d" },
                       { 5, TYPE_DECIMAL + 2, COLUMN_NULLABLE, 0, "e" },
                       { 6, TYPE_TIME, 0, 0, "f" },
                       { 7, TYPE_DURATION, 0, 0, "g" },
                       { 8, TYPE_UUID, 0, UUID_BYTES, "h" } };
  Schema schema = { .column_count = 8, .columns = columns };
  if (expression_parse(&arena, (const char *)data, size, &expression, NULL) == KVSTORE_OK) {
    expression_print(expression, NULL, 0, &text);
    if (expression_parse(&arena, (const char *)text.data, text.length, &again, NULL) != KVSTORE_OK) abort();
    expression_print(again, NULL, 0, &second);
    if (text.length != second.length || memcmp(text.data, second.data, text.length) != 0) abort();
    compute(expression, &schema, &arena);
  } else if (!status_last()->text[0]) {
    abort();
  }
  buffer_release(&text);
  buffer_release(&second);
  arena_release(&arena);
  return 0;
}
