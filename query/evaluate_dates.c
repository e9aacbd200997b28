/* evaluate_dates.c - parts of dates and timestamps, and their beginnings. Calendar arithmetic: as literal.c. */
#include "base/literal.h"
#include "query/program_internal.h"

static const int64_t SECOND_US = 1000000, DAY_US = INT64_C(86400000000);

static int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b < 0); }
static int64_t floor_rest(int64_t a, int64_t b) { return a % b + (a % b < 0 ? b : 0); }

/* Monday is 0. 1970-01-01 was a Thursday. */
static int64_t weekday(int64_t days) { return floor_rest(days + 3, 7); }

static int64_t day_part(ExpressionFunction part, int64_t days) {
  int64_t year, month, day;
  if (part == FUNCTION_DOW) return (weekday(days) + 1) % 7; /* Sunday is 0 */
  calendar_date(days, &year, &month, &day);
  switch (part) {
  case FUNCTION_YEAR: return year;
  case FUNCTION_QUARTER: return (month + 2) / 3;
  case FUNCTION_MONTH: return month;
  case FUNCTION_DAY: return day;
  default: return days - calendar_days(year, 1, 1) + 1;
  }
}

static int64_t time_part(ExpressionFunction part, int64_t microseconds) {
  int64_t seconds = floor_rest(microseconds, DAY_US) / SECOND_US;
  switch (part) {
  case FUNCTION_HOUR: return seconds / 3600;
  case FUNCTION_MINUTE: return seconds / 60 % 60;
  default: return seconds % 60;
  }
}

static int64_t first_day(TruncUnit unit, int64_t days) {
  int64_t year, month, day;
  if (unit <= UNIT_DAY) return days;
  if (unit == UNIT_WEEK) return days - weekday(days);
  calendar_date(days, &year, &month, &day);
  if (unit == UNIT_YEAR) month = 1;
  if (unit == UNIT_QUARTER) month = (month - 1) / 3 * 3 + 1;
  return calendar_days(year, month, 1);
}

/* The beginning of a unit; false: that is before there is any date, or any time. */
static bool truncated_date(TruncUnit unit, int64_t days, int64_t *out) {
  *out = first_day(unit, days);
  return *out >= INT32_MIN;
}
static bool truncated_time(TruncUnit unit, int64_t microseconds, int64_t *out) {
  static const int64_t lengths[] = { 1000000, 60000000, 3600000000 };
  if (unit < UNIT_DAY) return !__builtin_sub_overflow(microseconds, floor_rest(microseconds, lengths[unit]), out);
  return !__builtin_mul_overflow(first_day(unit, floor_divide(microseconds, DAY_US)), DAY_US, out);
}

static Status truncate_all(Evaluator *e, const ProgramNode *node, const int64_t *from, const uint64_t *wanted,
                           Vector *out) {
  TruncUnit unit = (TruncUnit)node->digits;
  ColumnType type = node->children[0]->type;
  int64_t *to = out->own_values;
  for (uint32_t i = 0; i < e->count; i++) {
    bool fits = type == TYPE_DATE ? truncated_date(unit, from[i], &to[i]) : truncated_time(unit, from[i], &to[i]);
    if (fits || !wants_row(wanted, out->nulls, i)) continue;
    Value v = { .type = type, .i = from[i] };
    return evaluate_fail(e, i, &v, "its beginning does not fit %s", type_name(type));
  }
  return KVSTORE_OK;
}

/* Neighbours are often of one day: the parts of the last one are kept. */
static void parts_of_days(Evaluator *e, const ProgramNode *node, bool is_date, const int64_t *from, int64_t *to) {
  int64_t last = INT64_MIN, part = 0;
  for (uint32_t i = 0; i < e->count; i++) {
    int64_t days = is_date ? from[i] : floor_divide(from[i], DAY_US);
    if (days != last) part = day_part(node->function, days);
    last = days;
    to[i] = part;
  }
}

static void part_bounds(ExpressionFunction part, Vector *out) {
  static const int64_t most[] = { [FUNCTION_QUARTER - FUNCTION_YEAR] = 4, [FUNCTION_MONTH - FUNCTION_YEAR] = 12,
                                  [FUNCTION_DAY - FUNCTION_YEAR] = 31,    [FUNCTION_DOW - FUNCTION_YEAR] = 6,
                                  [FUNCTION_DOY - FUNCTION_YEAR] = 366,   [FUNCTION_HOUR - FUNCTION_YEAR] = 23,
                                  [FUNCTION_MINUTE - FUNCTION_YEAR] = 59, [FUNCTION_SECOND - FUNCTION_YEAR] = 59 };
  out->is_bounded = true;
  out->low = part == FUNCTION_YEAR ? -6000000 : 0; /* of every date that there is */
  out->high = part == FUNCTION_YEAR ? 6000000 : most[part - FUNCTION_YEAR];
}

Status evaluate_date(Evaluator *e, const ProgramNode *node, const Vector *a, const uint64_t *wanted, Vector *out) {
  bool is_date = node->children[0]->type == TYPE_DATE;
  const int64_t *from = a->values;
  int64_t *to = out->own_values;
  out->values = to;
  evaluate_nulls(e, out, a, NULL);
  if (node->function == FUNCTION_DATE_TRUNC) return truncate_all(e, node, from, wanted, out);
  part_bounds(node->function, out);
  if (node->function <= FUNCTION_DOY) {
    parts_of_days(e, node, is_date, from, to);
  } else {
    for (uint32_t i = 0; i < e->count; i++) to[i] = is_date ? 0 : time_part(node->function, from[i]);
  }
  return KVSTORE_OK;
}
