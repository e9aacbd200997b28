/* fuzz_parse.c - any text is either a filter, which prints as a text that reads back as itself, or an error with a
 * sentence. */
#include <stdlib.h>

#include "query/expression.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Arena arena = { 0 };
  const Expression *expression, *again;
  Buffer text = { 0 }, second = { 0 };
  Column columns[] = { { 1, TYPE_I64, 0, 0, "a" },
                       { 2, TYPE_STRING, COLUMN_NULLABLE, 0, "b" },
                       { 3, TYPE_F64, 0, 0, "c" },
                       { 4, TYPE_TIMESTAMP, 0, 0, "d" } };
  Schema schema = { .column_count = 4, .columns = columns };
  if (expression_parse(&arena, (const char *)data, size, &expression, NULL) == KVSTORE_OK) {
    Predicate predicate;
    expression_print(expression, NULL, 0, &text);
    if (expression_parse(&arena, (const char *)text.data, text.length, &again, NULL) != KVSTORE_OK) abort();
    expression_print(again, NULL, 0, &second);
    if (text.length != second.length || memcmp(text.data, second.data, text.length) != 0) abort();
    (void)!expression_bind(expression, &schema, NULL, 0, &arena, &predicate);
  } else if (!status_last()->text[0]) {
    abort();
  }
  buffer_release(&text);
  buffer_release(&second);
  arena_release(&arena);
  return 0;
}
