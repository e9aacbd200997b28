/* query.h - a question about one table: a filter, and aggregates of all rows, or rows, or groups of rows.
 *
 * A Query is made once for a schema (names are looked up, the filter is bound) and then run over any number of
 * snapshots of the table. Results are pulled: aggregates at once, rows in batches of columns.
 *
 * Threads: a Query may be run by many threads at once as long as nobody changes it. A cursor belongs to one thread at a
 * time. */
#ifndef COLONNADE_QUERY_QUERY_H
#define COLONNADE_QUERY_QUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/schema.h"
#include "base/status.h"
#include "columnar/aggregates.h"
#include "columnar/scan.h"
#include "query/expression.h"

enum {
  QUERY_BATCH_ROWS = BLOCK_ROWS, /* rows of a batch, at most */
  QUERY_AGGREGATES_MAX = 1024,
};
#define QUERY_NO_LIMIT UINT64_MAX
/* Of results alone: sums of integers and, from here on by their scale, of decimals; Int128 in arrays. */
#define QUERY_TYPE_DECIMAL ((ColumnType)64)

static inline bool query_type_is_wide(ColumnType type) { return type >= QUERY_TYPE_DECIMAL; }
/* The type of the sum of whole numbers of a type, and its scale. */
static inline ColumnType query_sum_type(ColumnType of) { return (ColumnType)(QUERY_TYPE_DECIMAL + type_scale(of)); }
static inline unsigned query_sum_scale(ColumnType type) { return (unsigned)type - QUERY_TYPE_DECIMAL; }

/* Bytes of an entry of a batch's array. */
static inline size_t query_type_width(ColumnType type) {
  return query_type_is_wide(type) ? sizeof(Int128) : type_array_width(type);
}

typedef struct Query Query;
typedef struct QueryCursor QueryCursor;

/* ---- asking ---- */

/* Every row, every visible column, in no order. `schema` is copied. */
Status query_create(const Schema *schema, Query **query) MUST_CHECK;
void query_destroy(Query *query); /* NULL is allowed; no cursor may be open */

/* The filter, from its text (see expression_parse and expression_bind for what can fail; then the query is unchanged).
 * Parameters are copied. Replaces the filter before. */
Status query_where(Query *query, const char *text, size_t length, const Value *parameters,
                   size_t parameter_count) MUST_CHECK;
/* The same from an expression; it is copied as its canonical text. */
Status query_where_expression(Query *query, const Expression *expression, const Value *parameters,
                              size_t parameter_count) MUST_CHECK;
/* What stands for a column below may be a value to be computed: "price * (1 - discount)", "year(day) as y"
 * (expression_parse_named); a name of its own serves from then on. Its failures: as program_add. */
/* The columns of the rows, in this order; a column may come twice. KVSTORE_SCHEMA for an unknown one. */
Status query_select(Query *query, const char *const *names, size_t count) MUST_CHECK;
/* Adds an aggregate; `column` is not read for AGGREGATE_ROWS. KVSTORE_SCHEMA, KVSTORE_TYPE; KVSTORE_LIMIT. */
Status query_aggregate(Query *query, AggregateKind kind, const char *column) MUST_CHECK;
/* The same for AGGREGATE_QUANTILE. KVSTORE_ERROR: more than a million millionths. */
Status query_quantile(Query *query, uint32_t millionths, const char *column) MUST_CHECK;
/* Only rows whose key lies in a range: from the first values, of leading columns of the key, up to the second ones.
 * NULL, 0: no end there. A range of fewer columns takes in, or leaves out, every key that begins with them. Values have
 * their columns' types (KVSTORE_TYPE for a null) and are copied. Runs are searched for the ends, so that nothing
 * outside is touched; query_where does the same where it compares leading columns of the key with constants. */
typedef struct QueryKeyRange {
  const Value *from, *to;
  size_t from_count, to_count;
  bool from_excluded, to_included;
} QueryKeyRange;
Status query_key_range(Query *query, const QueryKeyRange *range) MUST_CHECK;
/* Of a query of pairs, whose key is one column of bytes: between which keys, as they are stored, all its rows lie, from
 * the one on and before the other; what was asked for and what the filter says together. Empty: no end there. */
Status query_pair_range(const Query *query, Buffer *lower, Buffer *upper) MUST_CHECK;
/* From now on the query's rows are groups: of the selected rows with the same values in these columns, or, with none,
 * of all. Their columns are these, then the aggregates that were added before. KVSTORE_SCHEMA: no such column, or one
 * twice. Once for a query, before the three below. */
Status query_group_by(Query *query, const char *const *names, size_t count) MUST_CHECK;
/* The rows, each of several equal ones once: groups by the columns of query_select, which comes before. */
Status query_distinct(Query *query) MUST_CHECK;
/* Groups for which a filter over their columns is true; names of aggregates as query_aggregate_name has them. As
 * query_where. */
Status query_having(Query *query, const char *text, size_t length, const Value *parameters,
                    size_t parameter_count) MUST_CHECK;
typedef struct QueryOrder {
  const char *column; /* of the table; of groups: one of theirs */
  bool descending, nulls_last;
} QueryOrder;
/* The order of the rows or groups, by the first column, among equals by the next; those still equal stay as they lie.
 * Replaces the order before. KVSTORE_SCHEMA. */
Status query_order_by(Query *query, const QueryOrder *order, size_t count) MUST_CHECK;
/* Of the rows or groups: leaves out `offset`, gives at most `limit`. Says nothing of query_run. */
void query_limit(Query *query, uint64_t offset, uint64_t limit);
/* Aggregates and groups (not those with quantiles of texts) on at most so many threads: 1, as at first, the caller's
 * own; 0: its own, and where what is left to read takes long, as many as there are processors. The results are the same
 * to the bit. */
void query_threads(Query *query, uint32_t threads);
/* Rows in the order of the table's key. Otherwise as they lie: unit after unit. */
void query_order_by_key(Query *query, bool ordered);

/* Appends "sum(distance)", "count(*)", "count(distinct city)", "quantile(distance, 0.95)". */
void query_aggregate_name(const AggregateRequest *request, const char *column, Buffer *out);

/* Sets read[column] for every column that a run reads: of its rows or groups, or of its aggregates. */
void query_columns_read(const Query *query, bool rows, bool *read);

size_t query_column_count(const Query *query); /* of a batch */
/* Name and type of a column of the batches; valid as long as the query and its selection. */
const Column *query_column(const Query *query, size_t index);

/* ---- what was asked, as text ---- */
/* Appends a few lines: filter, columns or aggregates, order and limit; then, unless `counters` is NULL, what was done.
 */
void query_explain(const Query *query, const ScanCounters *counters, uint64_t bytes_spilled, Buffer *out);
/* The same as one object of JSON. */
void query_explain_json(const Query *query, const ScanCounters *counters, uint64_t bytes_spilled, Buffer *out);

/* ---- running ----
 * The snapshot's schema must be the query's: KVSTORE_SCHEMA when the table has changed since. */

/* What a run may hold in memory, and where the rest goes: pieces that are written once and read back whole, by several
 * threads at once. And who is told how far it has come, at least once in 65,536 rows, on the thread that runs the
 * query: a failure of `tick` ends the run with it. Threads that help it ask as often, themselves, whether they are to
 * go on: `tick_help`. */
typedef struct QuerySpace {
  uint64_t memory_limit;                                             /* bytes */
  void *context;                                                     /* of all of these */
  Status (*tick)(void *context, uint64_t rows, uint64_t rows_total); /* NULL: nobody. Scanned, of all that there are */
  Status (*tick_help)(void *context, uint64_t rows, uint64_t rows_total); /* on any thread; NULL: they always go on */
  uint64_t rows_total;                                                    /* the run's own */
  Status (*write)(void *context, const void *bytes, size_t length, uint64_t *at);
  Status (*read)(void *context, uint64_t at, void *bytes, size_t length);
} QuerySpace;

/* All aggregates of the query: results[i] belongs to the i-th query_aggregate. Strings go into `strings`. `snapshot`
 * stays the caller's. `counters` may be NULL. */
Status query_run(const Query *query, const TableSnapshot *snapshot, Arena *strings, AggregateResult *results,
                 ScanCounters *counters) MUST_CHECK;
/* The same within a space (NULL: none). */
Status query_run_within(const Query *query, const TableSnapshot *snapshot, const QuerySpace *space, Arena *strings,
                        AggregateResult *results, ScanCounters *counters) MUST_CHECK;

typedef struct QueryBatch {
  uint32_t row_count; /* 0: there are no more */
  uint32_t column_count;
  const ColumnArray *columns; /* nulls is NULL where no row is null */
} QueryBatch;

/* Rows. The cursor takes the snapshot over when it is made, and gives it back at its close. */
Status query_open(const Query *query, TableSnapshot *snapshot, QueryCursor **cursor) MUST_CHECK;
/* The same within a space, which is copied. What its context is lives until query_close. */
Status query_open_within(const Query *query, TableSnapshot *snapshot, const QuerySpace *space,
                         QueryCursor **cursor) MUST_CHECK;
/* The next batch; arrays and strings are valid until the next call or the close. After a failure only the close
 * follows. */
Status query_next(QueryCursor *cursor, QueryBatch *batch) MUST_CHECK;
/* About how many rows query_fill has to give from the beginning; 0: none. Reads the table. */
Status query_ahead(QueryCursor *cursor, uint64_t *rows) MUST_CHECK;
/* The next `most` rows, or fewer, at once, and by several threads where the query may have them: groups as they come,
 * neither ordered nor filtered, and nothing computed from them. values[i] has room for `most` of column i, nulls[i] for
 * as many bytes. *count 0: none of these, or no more of them; query_next goes on where this ends. */
enum { QUERY_FILL_ROWS = 65536 };
Status query_fill(QueryCursor *cursor, uint32_t most, void *const *values, uint8_t *const *nulls,
                  uint32_t *count) MUST_CHECK;
ScanCounters query_counters(const QueryCursor *cursor);
const TableSnapshot *query_snapshot(const QueryCursor *cursor); /* that it took over */
/* Bytes that went out of memory. */
uint64_t query_spilled(const QueryCursor *cursor);
void query_close(QueryCursor *cursor); /* NULL is allowed */

#endif
