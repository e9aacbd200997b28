/* expressions.c - filters and values as text, without a table: their canonical form, and names and literals in it. */
#include <string.h>

#include "base/literal.h"
#include "base/memory.h"
#include "kvapi/handle.h"
#include "kvapi/values.h"
#include "query/expression.h"

static int answer(Status status) { return status == KVSTORE_OK ? KVSTORE_OK : handle_refuse(NULL, status); }

/* NULL stays NULL: places for parameters are printed as such. */
static Status read_parameters(const KVValue *given, size_t count, uint32_t wanted, Arena *arena, Value **out) {
  *out = NULL;
  if (!given) return count ? bad_argument("the values of the expression are NULL") : KVSTORE_OK;
  if (count != wanted) return status_fail(KVSTORE_ERROR, "%zu values for an expression with %u ?", count, wanted);
  Value *values = arena_allocate(arena, memory_array_size(count + 1, sizeof *values));
  if (!values) return status_nomem();
  for (size_t i = 0; i < count; i++) TRY(value_for_filter(&given[i], i, &values[i]));
  *out = values;
  return KVSTORE_OK;
}

static Status canonical(const char *text, const KVValue *parameters, size_t count, char **out) {
  Arena arena = { 0 };
  Buffer printed = { 0 };
  const Expression *expression = NULL;
  uint32_t wanted = 0;
  Value *values = NULL;
  Status status = expression_parse_value(&arena, text, strlen(text), &expression, &wanted);
  if (status == KVSTORE_OK) status = read_parameters(parameters, count, wanted, &arena, &values);
  if (status == KVSTORE_OK) {
    expression_print_typed(expression, values, count, &printed);
    status = text_to_caller(&printed, out);
  }
  arena_release(&arena);
  return status;
}

int kvexpr_canonical(const char *text, const KVValue *parameters, size_t parameter_count, char **canonical_text) {
  if (canonical_text) *canonical_text = NULL;
  if (!text || !canonical_text)
    return answer(bad_argument(text ? "the place for the text is NULL" : "the expression is NULL"));
  return answer(canonical(text, parameters, parameter_count, canonical_text));
}

int kvexpr_name(const char *name, char **text) {
  Buffer printed = { 0 };
  if (text) *text = NULL;
  if (!name || !text) return answer(bad_argument(name ? "the place for the text is NULL" : "the name is NULL"));
  Bytes bytes = { (const uint8_t *)name, strlen(name) };
  if (!bytes_are_utf8(bytes.data, bytes.length)) return answer(status_fail(KVSTORE_ERROR, "the name is not UTF-8"));
  expression_print_name(bytes, &printed);
  return answer(text_to_caller(&printed, text));
}

int kvexpr_literal(const KVValue *value, char **text) {
  Buffer printed = { 0 };
  Value read;
  if (text) *text = NULL;
  if (!value || !text) return answer(bad_argument(value ? "the place for the text is NULL" : "the value is NULL"));
  Status status = value_for_filter(value, 0, &read);
  if (status != KVSTORE_OK) return answer(status);
  literal_print(&read, &printed);
  return answer(text_to_caller(&printed, text));
}
