/* aggregates.h - count, sum, minimum, maximum and average over the selected rows of a table.
 *
 * Several at once share what they read: a column is visited once a unit, whatever is asked of it. Counts, minima and
 * maxima of blocks that are wholly selected come from their zone maps. Meaning and rounding: docs/semantics.md. */
#ifndef COLONNADE_COLUMNAR_AGGREGATES_H
#define COLONNADE_COLUMNAR_AGGREGATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/schema.h"
#include "base/status.h"
#include "columnar/scan.h"
#include "encodings/codec.h"

typedef enum AggregateKind {
  AGGREGATE_ROWS,     /* count(*) */
  AGGREGATE_VALUES,   /* count(column): rows where it is not null */
  AGGREGATE_TOTAL,    /* sum(column) */
  AGGREGATE_LEAST,    /* min(column) */
  AGGREGATE_GREATEST, /* max(column) */
  AGGREGATE_MEAN,     /* avg(column) */
  /* from here on: query/groups.h alone */
  AGGREGATE_VARIANCE,            /* of a sample: divided by count - 1 */
  AGGREGATE_VARIANCE_POPULATION, /* divided by count */
  AGGREGATE_DEVIATION,           /* square roots of the two */
  AGGREGATE_DEVIATION_POPULATION,
  AGGREGATE_DISTINCT, /* count(distinct column) */
  AGGREGATE_FIRST,    /* the column's value in the row of the least key */
  AGGREGATE_LAST,
  AGGREGATE_SKETCH,   /* count(distinct column), about */
  AGGREGATE_QUANTILE, /* `millionths` of the values are not above it */
  AGGREGATE_KINDS
} AggregateKind;

enum { QUANTILE_WHOLE = 1000 * 1000 };

typedef struct AggregateRequest {
  AggregateKind kind;
  uint32_t column;     /* position in the schema; not for AGGREGATE_ROWS */
  uint32_t millionths; /* AGGREGATE_QUANTILE: 0 to QUANTILE_WHOLE */
} AggregateRequest;

/* Counts are u64; the sum of integers and bool is `integer` (is_integer set, of `value` the type summed); the sum of
 * floats and every average is f64; least and greatest have the column's type, strings valid as long as the Aggregates.
 */
typedef struct AggregateResult {
  bool is_null;
  bool is_integer;
  Int128 integer;
  Value value;
} AggregateResult;

typedef struct Aggregates Aggregates;

/* Of every kind. KVSTORE_TYPE: the sum, average or variance of something that has none (names the column).
 * KVSTORE_SCHEMA: a position that the schema does not have. */
Status aggregate_request_check(const Schema *schema, const AggregateRequest *request) MUST_CHECK;

/* `requests` (of the first six kinds) are copied, `schema` is borrowed. Fails as aggregate_request_check does. */
Status aggregates_create(const Schema *schema, const AggregateRequest *requests, size_t count,
                         Aggregates **aggregates) MUST_CHECK;
void aggregates_destroy(Aggregates *aggregates); /* NULL is allowed */
/* Adds the rows that `scan` selected of its unit. Units in the order of the snapshot give float sums their bits. After
 * a failure only aggregates_destroy may follow. */
Status aggregates_add(Aggregates *aggregates, Scan *scan) MUST_CHECK;
/* For units that several threads share out, each with aggregates of its own: as aggregates_add, but the float sums of
 * the unit go to `lanes` (aggregates_lane_count zeros) instead; those of all units are added in their order, to one. */
Status aggregates_add_apart(Aggregates *aggregates, Scan *scan, double *lanes) MUST_CHECK;
size_t aggregates_lane_count(const Aggregates *aggregates);
void aggregates_add_lanes(Aggregates *aggregates, const double *lanes);
/* Adds what another of the same requests has gathered. */
Status aggregates_merge(Aggregates *to, const Aggregates *from) MUST_CHECK;
/* The result of request `index`, of all units added so far. */
AggregateResult aggregates_result(const Aggregates *aggregates, size_t index);

enum { INT128_TEXT_MAX = 41 }; /* a sign, 39 digits, a NUL */
/* The decimal digits; returns how many characters. */
size_t int128_text(Int128 value, char text[INT128_TEXT_MAX]);
/* Rounded once to the nearest double, ties to even. */
double int128_to_double(Int128 value);

#endif
