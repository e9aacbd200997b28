/* expression_functions.c - what functions there are: their names, and how many values they take. */
#include "query/expression_internal.h"

static const struct {
  const char *name;
  uint32_t least, most;
} functions[FUNCTIONS] = {
  [FUNCTION_ADD] = { "+", 2, 2 },
  [FUNCTION_SUBTRACT] = { "-", 2, 2 },
  [FUNCTION_MULTIPLY] = { "*", 2, 2 },
  [FUNCTION_DIVIDE] = { "/", 2, 2 },
  [FUNCTION_MODULO] = { "%", 2, 2 },
  [FUNCTION_TRY_ADD] = { "try_add", 2, 2 },
  [FUNCTION_TRY_SUBTRACT] = { "try_subtract", 2, 2 },
  [FUNCTION_TRY_MULTIPLY] = { "try_multiply", 2, 2 },
  [FUNCTION_TRY_DIVIDE] = { "try_divide", 2, 2 },
  [FUNCTION_TRY_MODULO] = { "try_modulo", 2, 2 },
  [FUNCTION_BIT_AND] = { "&", 2, 2 },
  [FUNCTION_NEGATE] = { "-", 1, 1 },
  [FUNCTION_CAST] = { "cast", 1, 1 },
  [FUNCTION_TRY_CAST] = { "try_cast", 1, 1 },
  [FUNCTION_COALESCE] = { "coalesce", 1, FUNCTION_OPERANDS_MAX },
  [FUNCTION_ABS] = { "abs", 1, 1 },
  [FUNCTION_ROUND] = { "round", 1, 2 },
  [FUNCTION_FLOOR] = { "floor", 1, 1 },
  [FUNCTION_CEIL] = { "ceil", 1, 1 },
  [FUNCTION_LENGTH] = { "length", 1, 1 },
  [FUNCTION_LOWER] = { "lower", 1, 1 },
  [FUNCTION_UPPER] = { "upper", 1, 1 },
  [FUNCTION_SUBSTR] = { "substr", 2, 3 },
  [FUNCTION_YEAR] = { "year", 1, 1 },
  [FUNCTION_QUARTER] = { "quarter", 1, 1 },
  [FUNCTION_MONTH] = { "month", 1, 1 },
  [FUNCTION_DAY] = { "day", 1, 1 },
  [FUNCTION_DOW] = { "dow", 1, 1 },
  [FUNCTION_DOY] = { "doy", 1, 1 },
  [FUNCTION_HOUR] = { "hour", 1, 1 },
  [FUNCTION_MINUTE] = { "minute", 1, 1 },
  [FUNCTION_SECOND] = { "second", 1, 1 },
  [FUNCTION_DATE_TRUNC] = { "date_trunc", 2, 2 },
};

const char *expression_function_name(ExpressionFunction function) {
  return function < FUNCTIONS ? functions[function].name : "?";
}

void function_operands(ExpressionFunction function, size_t *least, size_t *most) {
  *least = function < FUNCTIONS ? functions[function].least : 1;
  *most = function < FUNCTIONS ? functions[function].most : 0;
}

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

bool text_is_word(const char *text, size_t length, const char *word) {
  size_t i = 0;
  for (; i < length && word[i]; i++) {
    if (lower(text[i]) != word[i]) return false;
  }
  return i == length && !word[i];
}

bool function_by_name(const char *text, size_t length, ExpressionFunction *out) {
  for (int f = 0; f < FUNCTIONS; f++) {
    if (f == FUNCTION_CAST || f == FUNCTION_TRY_CAST || !text_is_word(text, length, functions[f].name)) continue;
    *out = (ExpressionFunction)f;
    return true;
  }
  if (!text_is_word(text, length, "ceiling")) return false;
  *out = FUNCTION_CEIL;
  return true;
}

/* Our names of types, and those that others use for the same. */
ColumnType type_by_word(const char *text, size_t length) {
  static const struct {
    const char *word;
    ColumnType type;
  } others[] = {
    { "boolean", TYPE_BOOL },    { "tinyint", TYPE_I8 },      { "smallint", TYPE_I16 },      { "int", TYPE_I32 },
    { "integer", TYPE_I32 },     { "bigint", TYPE_I64 },      { "float", TYPE_F32 },         { "real", TYPE_F32 },
    { "double", TYPE_F64 },      { "text", TYPE_STRING },     { "varchar", TYPE_STRING },    { "blob", TYPE_BYTES },
    { "decimal", TYPE_DECIMAL }, { "numeric", TYPE_DECIMAL }, { "interval", TYPE_DURATION },
  };
  static const ColumnType own[] = { TYPE_BOOL,      TYPE_I8,     TYPE_I16,   TYPE_I32,  TYPE_I64,      TYPE_U8,
                                    TYPE_U16,       TYPE_U32,    TYPE_U64,   TYPE_F32,  TYPE_F64,      TYPE_DATE,
                                    TYPE_TIMESTAMP, TYPE_STRING, TYPE_BYTES, TYPE_TIME, TYPE_DURATION, TYPE_UUID };
  for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
    if (text_is_word(text, length, type_name(own[i]))) return own[i];
  }
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    if (text_is_word(text, length, others[i].word)) return others[i].type;
  }
  return TYPE_NONE;
}
