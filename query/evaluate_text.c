/* evaluate_text.c - length, lower, upper and substr. Characters of strings are those of UTF-8; of bytes they are
 * bytes. A part of a string points into it. */
#include "query/program_internal.h"

static bool begins_character(uint8_t byte) { return (byte & 0xC0) != 0x80; }

static int64_t count_characters(Bytes s) {
  int64_t count = 0;
  for (size_t i = 0; i < s.length; i++) count += begins_character(s.data[i]);
  return count;
}

/* The byte at which character `number` (from 0) begins; the length when there are fewer. */
static size_t character_at(Bytes s, int64_t number) {
  for (size_t i = 0; i < s.length; i++) {
    if (begins_character(s.data[i]) && number-- == 0) return i;
  }
  return s.length;
}

/* `start` counts from 1, below 0 from the end. What lies before the first character is nothing. The greatest length is
 * that of all that is left. */
static Bytes part_of(Bytes s, bool as_bytes, int64_t start, int64_t length) {
  int64_t count = as_bytes ? (int64_t)s.length : count_characters(s), end;
  if (start < 0) start += count + 1;
  if (length < 0) length = 0;
  if (length == INT64_MAX || __builtin_add_overflow(start, length, &end) || end > count + 1) end = count + 1;
  if (start < 1) start = 1;
  if (end <= start) return (Bytes){ (const uint8_t *)"", 0 };
  size_t from = as_bytes ? (size_t)start - 1 : character_at(s, start - 1);
  size_t to = as_bytes ? (size_t)end - 1 : character_at(s, end - 1);
  return (Bytes){ s.data + from, to - from };
}

static Status change_case(Evaluator *e, Bytes s, bool upper, Bytes *out) {
  uint8_t *to = evaluate_room(e, s.length);
  if (!to) return status_nomem();
  const uint8_t first = upper ? 'a' : 'A', last = upper ? 'z' : 'Z';
  for (size_t i = 0; i < s.length; i++) to[i] = s.data[i] >= first && s.data[i] <= last ? s.data[i] ^ 32 : s.data[i];
  *out = (Bytes){ to, s.length };
  return KVSTORE_OK;
}

static Status change_cases(Evaluator *e, const Vector *a, bool upper, const uint64_t *wanted, Vector *out) {
  for (uint32_t i = 0; i < e->count; i++) {
    Bytes *to = &((Bytes *)out->own_values)[i];
    *to = (Bytes){ (const uint8_t *)"", 0 };
    if (wants_row(wanted, a->nulls, i)) TRY(change_case(e, ((const Bytes *)a->values)[i], upper, to));
  }
  return KVSTORE_OK;
}

static void take_parts(Evaluator *e, const ProgramNode *node, const Vector *const *arguments, const uint64_t *wanted,
                       Vector *out) {
  bool as_bytes = node->type != TYPE_STRING;
  const int64_t *starts = arguments[1]->values, *lengths = node->count > 2 ? arguments[2]->values : NULL;
  for (uint32_t i = 0; i < e->count; i++) {
    Bytes *to = &((Bytes *)out->own_values)[i];
    *to = (Bytes){ (const uint8_t *)"", 0 };
    if (wants_row(wanted, out->nulls, i))
      *to = part_of(((const Bytes *)arguments[0]->values)[i], as_bytes, starts[i], lengths ? lengths[i] : INT64_MAX);
  }
}

Status evaluate_text(Evaluator *e, const ProgramNode *node, const Vector *const *arguments, const uint64_t *wanted,
                     Vector *out) {
  const Vector *a = arguments[0];
  out->values = out->own_values;
  evaluate_nulls(e, out, a, node->count > 1 ? arguments[1] : NULL);
  switch (node->function) {
  case FUNCTION_LENGTH:
    for (uint32_t i = 0; i < e->count; i++) {
      Bytes s = ((const Bytes *)a->values)[i];
      bool reads = wants_row(wanted, a->nulls, i);
      ((int64_t *)out->own_values)[i] = !reads                                   ? 0
                                        : node->children[0]->type == TYPE_STRING ? count_characters(s)
                                                                                 : (int64_t)s.length;
    }
    return KVSTORE_OK;
  case FUNCTION_SUBSTR: {
    if (node->count > 2) {
      Vector both = *out;
      evaluate_nulls(e, out, &both, arguments[2]);
    }
    take_parts(e, node, arguments, wanted, out);
    return KVSTORE_OK;
  }
  default: return change_cases(e, a, node->function == FUNCTION_UPPER, wanted, out);
  }
}
