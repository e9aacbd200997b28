/* query_explain_run.c - where the time of a run went: steps, terms of the filter, encodings; as lines and as JSON. */
#include <stdio.h>

#include "base/literal.h"
#include "encodings/codec.h"
#include "query/join_internal.h"
#include "query/query_internal.h"
#include "simd/simd.h"

/* ---- steps ---- */

typedef struct Step {
  const char *name;
  double ns;
  bool is_filter, has_rows_in, has_rows_out;
  uint64_t rows_in, rows_out;
} Step;

/* What steps took of whole units, looked at or not. */
static double units_ticks(const ScanCounters *c, uint64_t ticks) {
  return c->units_timed ? (double)ticks * (double)c->units_looked / (double)c->units_timed : (double)ticks;
}

static double step_ticks(const ScanCounters *c, size_t step) {
  return step <= SCAN_STEP_ADD && step != SCAN_STEP_SOURCE ? units_ticks(c, c->ticks[step]) : (double)c->ticks[step];
}

/* Since some stand for others, the steps of one thread might come to a little more than the whole. */
static double ns_of(const ScanCounters *c, double ticks) {
  double whole = (double)c->ticks[SCAN_STEP_WHOLE], sum = 0;
  for (size_t i = 0; i < SCAN_STEP_WHOLE; i++) sum += step_ticks(c, i);
  if (!c->helped && sum > whole) whole = sum;
  return whole > 0 ? ticks / whole * (double)c->whole_ns : 0;
}

/* The steps that took any time, and last what is left of the whole. Steps of several threads may be more than that. */
static size_t list_steps(const Query *q, const ScanCounters *c, Step steps[SCAN_STEPS]) {
  static const char *const names[SCAN_STEPS] = {
    [SCAN_STEP_SOURCE] = "pairs", [SCAN_STEP_SELECT] = "filter",   [SCAN_STEP_ADD] = "aggregates",
    [SCAN_STEP_MERGE] = "merge",  [SCAN_STEP_BACK] = "back again", [SCAN_STEP_ORDER] = "order",
    [SCAN_STEP_WHOLE] = "output",
  };
  size_t count = 0;
  double sum = 0;
  for (size_t i = 0; i < SCAN_STEPS; i++) {
    double ticks = step_ticks(c, i);
    if (i == SCAN_STEP_WHOLE) ticks = ticks > sum ? ticks - sum : 0;
    sum += ticks;
    if (ticks <= 0 && i != SCAN_STEP_WHOLE) continue;
    Step *s = &steps[count++];
    *s = (Step){ .name = names[i], .ns = ns_of(c, ticks), .is_filter = i == SCAN_STEP_SELECT };
    if (i == SCAN_STEP_ADD && q->is_grouped) s->name = "groups";
    if (i == SCAN_STEP_SOURCE && q->is_of_joined) s->name = "join";
    s->has_rows_in = i == SCAN_STEP_SELECT || i == SCAN_STEP_ADD;
    s->has_rows_out = i == SCAN_STEP_SELECT || i == SCAN_STEP_WHOLE;
    s->rows_in = i != SCAN_STEP_SELECT ? c->rows_selected : q->is_of_joined ? c->rows_joined : c->rows;
    s->rows_out = i == SCAN_STEP_SELECT ? c->rows_selected : c->rows_given;
  }
  return count;
}

/* ---- terms ---- */

typedef struct Term {
  const PredicateNode *node;
  const ScanTerm *done;
} Term;

/* Those that some unit was asked: of what the keys leave, and of the whole filter. */
static size_t list_terms(const Query *q, const ScanCounters *c, Term terms[2 * SCAN_TERMS_MAX]) {
  const Predicate *filters[2] = { q->range.is_limited ? &q->range.all : query_predicate(q),
                                  q->range.is_limited ? &q->range.inside : NULL };
  size_t count = 0;
  for (size_t f = 0; f < 2; f++) {
    size_t most = filters[f] ? predicate_term_count(filters[f]) : 0;
    for (size_t i = 0; i < most && i < SCAN_TERMS_MAX; i++) {
      const ScanTerm *done = &c->terms[f][i];
      if (done->rows_in) terms[count++] = (Term){ predicate_term(filters[f], i), done };
    }
  }
  return count;
}

static void append_columns(const Query *q, const PredicateNode *node, bool is_json, Buffer *out) {
  bool used[COLUMNS_MAX + 1 + PROGRAM_COLUMNS_MAX] = { false };
  const char *between = "";
  predicate_node_columns(node, used);
  for (uint32_t i = 0; i < q->schema.column_count; i++) {
    if (!used[i]) continue;
    buffer_text(out, between);
    between = is_json ? "," : ", ";
    if (is_json)
      explain_json_text(q->schema.columns[i].name, out);
    else
      buffer_text(out, q->schema.columns[i].name);
  }
}

static void append_encodings(uint64_t encodings, bool is_json, Buffer *out) {
  const char *between = "";
  for (; encodings; encodings &= encodings - 1) {
    buffer_text(out, between);
    between = is_json ? "," : ", ";
    const char *name = encoding_name((uint32_t)__builtin_ctzll(encodings));
    if (is_json)
      explain_json_text(name, out);
    else
      buffer_text(out, name);
  }
}

/* ---- as text ---- */

static void append_number(const char *before, uint64_t number, const char *after, Buffer *out) {
  char text[32];
  snprintf(text, sizeof text, "%llu", (unsigned long long)number);
  buffer_text(out, before);
  buffer_text(out, text);
  buffer_text(out, after);
}

static void append_us(double ns, Buffer *out) {
  char text[32];
  snprintf(text, sizeof text, "%.1f us", ns / 1000);
  buffer_text(out, text);
}

static void text_terms(const Query *q, const ScanCounters *c, Buffer *out) {
  Term terms[2 * SCAN_TERMS_MAX];
  size_t count = list_terms(q, c, terms);
  for (size_t i = 0; i < count; i++) {
    const ScanTerm *t = terms[i].done;
    buffer_text(out, "    ");
    append_columns(q, terms[i].node, false, out);
    buffer_text(out, ": ");
    append_us(ns_of(c, units_ticks(c, t->ticks)), out);
    append_number(", ", t->blocks, " blocks", out);
    append_number(", ", t->rows_in, " rows", out);
    append_number(", ", t->rows_out, " of them left", out);
    if (t->encodings) buffer_text(out, ", ");
    append_encodings(t->encodings, false, out);
    buffer_u8(out, '\n');
  }
}

void query_explain_time(const Query *q, const ScanCounters *c, Buffer *out) {
  Step steps[SCAN_STEPS];
  size_t count = list_steps(q, c, steps);
  buffer_text(out, "time: ");
  append_us((double)c->whole_ns, out);
  buffer_u8(out, '\n');
  for (size_t i = 0; i < count; i++) {
    const Step *s = &steps[i];
    buffer_text(out, "  ");
    buffer_text(out, s->name);
    buffer_text(out, ": ");
    append_us(s->ns, out);
    if (s->has_rows_in) append_number(", ", s->rows_in, " rows", out);
    if (s->has_rows_out)
      append_number(s->has_rows_in ? ", " : ", rows given: ", s->rows_out, s->has_rows_in ? " of them left" : "", out);
    buffer_u8(out, '\n');
    if (s->is_filter) text_terms(q, c, out);
  }
  if (c->encodings) {
    buffer_text(out, "encodings: ");
    append_encodings(c->encodings, false, out);
    buffer_u8(out, '\n');
  }
  buffer_text(out, "kernels: ");
  buffer_text(out, simd_kernels()->name);
  buffer_u8(out, '\n');
}

/* ---- as JSON ---- */

static void json_terms(const Query *q, const ScanCounters *c, Buffer *out) {
  Term terms[2 * SCAN_TERMS_MAX];
  size_t count = list_terms(q, c, terms);
  buffer_text(out, ",\"terms\":[");
  for (size_t i = 0; i < count; i++) {
    const ScanTerm *t = terms[i].done;
    buffer_text(out, i ? ",{\"columns\":[" : "{\"columns\":[");
    append_columns(q, terms[i].node, true, out);
    append_number("],\"ns\":", (uint64_t)ns_of(c, units_ticks(c, t->ticks)), "", out);
    append_number(",\"blocks\":", t->blocks, "", out);
    append_number(",\"rows_in\":", t->rows_in, "", out);
    append_number(",\"rows_out\":", t->rows_out, ",\"encodings\":[", out);
    append_encodings(t->encodings, true, out);
    buffer_text(out, "]}");
  }
  buffer_u8(out, ']');
}

void query_explain_time_json(const Query *q, const ScanCounters *c, Buffer *out) {
  Step steps[SCAN_STEPS];
  size_t count = list_steps(q, c, steps);
  append_number(",\"ns\":", c->whole_ns, ",\"steps\":[", out);
  for (size_t i = 0; i < count; i++) {
    const Step *s = &steps[i];
    buffer_text(out, i ? ",{\"step\":" : "{\"step\":");
    explain_json_text(s->name, out);
    append_number(",\"ns\":", (uint64_t)s->ns, "", out);
    if (s->has_rows_in) append_number(",\"rows_in\":", s->rows_in, "", out);
    if (s->has_rows_out) append_number(",\"rows_out\":", s->rows_out, "", out);
    if (s->is_filter) json_terms(q, c, out);
    buffer_u8(out, '}');
  }
  buffer_text(out, "],\"encodings\":[");
  append_encodings(c->encodings, true, out);
  buffer_text(out, "],\"kernels\":");
  explain_json_text(simd_kernels()->name, out);
}
