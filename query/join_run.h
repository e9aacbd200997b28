/* join_run.h - a join while it runs: tables that are hashed once, and ways through them.
 *
 *   build (one a table) ─► its hashed table, which nobody changes once all of it is there
 *   flow (one a thread) ─► a unit of the query's own table ─► stage ─► stage ─► pieces of joined rows
 *
 * Every unit of the own table is a stream of its own, which any thread may open, when all tables are hashed as a whole.
 * What whole tables say of columns of one other table alone, that table's rows are asked before they are hashed, or
 * before the first stage: sieves (join_sieve.h).
 *
 * A table that is more than its share of the memory is read for by one flow: the first stream has all rows then, the
 * others none. When it is a few times its share, and the only one, it is hashed in parts, and all units are gone
 * through anew for each of them. Else it goes by partitions (join_spill.h), and so do the rows that its stage gets:
 * what joins them is a partition of the table and one of the rows at a time. A partition that is more than the share is
 * hashed in parts again. */
#ifndef COLONNADE_QUERY_JOIN_RUN_H
#define COLONNADE_QUERY_JOIN_RUN_H

#include "os/thread.h"
#include "query/join_sieve.h"
#include "query/join_spill.h"

enum { JOIN_PIECE_ROWS = 8 * BLOCK_ROWS };

typedef struct JoinRun JoinRun;
typedef struct JoinFlow JoinFlow;

/* Hashing a table: on the thread of who runs the query, which others help to read it (join_team.c). */
typedef struct JoinBuild {
  JoinRun *run;
  JoinStep *step;
  size_t number;
  const TableSnapshot *snapshot;
  Scan *scan; /* NULL: everything has been taken in */
  uint32_t unit;
  uint64_t blocks; /* of its unit, still to take in */
  JoinTable table;
  JoinKeys keys;
  JoinSieve *sieves; /* of later tables */
  size_t sieve_count;
  uint64_t part;    /* from 0: of the table, or of the partition */
  JoinSpill *spill; /* NULL: it does not go by partitions */
  JoinBloom bloom;  /* of rows that are there, before rows that are joined to them leave */
  uint32_t partition_bits;
  bool is_back; /* the scan reads a partition: */
  ScanUnit piece;
  bool is_help;   /* what a helper takes in: it tells nobody */
  bool is_alone;  /* nobody helps any more */
  uint64_t begun; /* when the scan did, in nanoseconds: whether help pays */
} JoinBuild;

typedef struct JoinStage {
  JoinFlow *flow;
  JoinBuild *build;
  size_t number;
  /* the input */
  Scan *input; /* of the rows that are joined now: those that come from before, or a partition of them */
  Scan *source;
  JoinSpill *spill;
  bool has_left; /* all rows have gone to partitions */
  uint32_t partition;
  ScanUnit piece; /* of the stage before, or of the partition */
  bool has_unit;
  uint64_t blocks; /* of the unit, still to come */
  JoinKeys keys;
  uint16_t rows[BLOCK_ROWS]; /* of the current block */
  uint32_t block, row_count, at, match;
  bool is_begun;       /* the row `at` has been looked up: `match` is next */
  uint64_t input_rows; /* before the current block */
  uint64_t *joined;    /* a bit for each row of the input, when there are several parts */
  size_t joined_words;
  /* the output */
  uint32_t count;
  uint32_t *out_rows, *out_matches;
  uint64_t *out_words; /* the left column, where it needs not be read again: an inner join by plain integers */
  bool *needed;
  ColumnArray *arrays;
  uint8_t **null_room;
} JoinStage;

struct JoinFlow {
  JoinRun *run;
  Arena arena;
  uint32_t first_unit, next_unit, end_unit; /* of the query's own table */
  JoinStage *stages;                        /* those before the first one are not made */
  JoinSieve *sieves;                        /* rows of the own table go through them */
  size_t sieve_count;
  void *values; /* a block */
  uint8_t *nulls;
  JoinFlow *next, *next_resting;
};

struct JoinRun {
  JoinPlan *plan;
  const Query *query;
  bool rows, has_space, is_begun;
  QuerySpace space;
  Arena arena;
  size_t table_count;
  TableSnapshot tables[JOIN_TABLES_MAX + 1];
  JoinBuild builds[JOIN_TABLES_MAX];
  bool is_divided;               /* any thread may open any stream */
  bool is_empty;                 /* a table without rows to join */
  bool decided[JOIN_TABLES_MAX]; /* sieves have asked all there is to ask */
  size_t first_stage;            /* whose input is the own table: the first that is not decided, or the last one */
  Query *own;                    /* of the query's own table, within the ends of the keys that it is joined to */
  _Atomic uint64_t scanned;
  uint64_t total;
  ScanCounters done; /* by builds that have ended */
  Mutex lock;        /* of the lists of flows */
  JoinFlow *flows, *resting;
  ScanUnit *units; /* one for each of the own table */
  ScanSource source;
};

/* So many rows more are scanned, of so many as are returned. */
uint64_t join_count(JoinRun *run, uint32_t rows);
/* The same: tells who follows it. On the thread of who runs the query. */
Status join_tick(JoinRun *run, uint32_t rows) MUST_CHECK;
/* Scans a unit of a table, of a stream its next piece, whose rows count then: before nobody knows how many it has. */
Status join_scan_unit(JoinRun *run, Scan *scan, const ScanUnit *unit) MUST_CHECK;
/* The selected rows of a block that all sieves let through. */
Status join_sift(JoinSieve *sieves, size_t count, Scan *scan, uint32_t block, uint16_t rows[BLOCK_ROWS],
                 uint32_t *row_count) MUST_CHECK;

/* ---- join_build.c ---- */
/* All of the table is hashed at once. */
static inline bool join_is_whole(const JoinBuild *b) { return !b->spill && !b->scan && b->part == 0; }
/* All of the table, or of the partition. */
static inline bool join_has_all(const JoinBuild *b) { return !b->scan && b->part == 0; }
Status join_build_begin(JoinBuild *build) MUST_CHECK;
void join_build_end(JoinBuild *build);
/* What several builds of one table take in, each some of its units: one that has begun, to be ended; a unit, and its
 * next block (*more is false behind the last one). */
Status join_build_help(JoinBuild *help, const JoinBuild *of) MUST_CHECK;
Status join_build_enter(JoinBuild *help, uint32_t unit) MUST_CHECK;
Status join_build_take(JoinBuild *help, bool *more) MUST_CHECK;
/* Bytes that a table may take. */
uint64_t join_share(const JoinRun *run);
/* Hashes the first part of the table, or the next one. */
Status join_build_first(JoinBuild *build) MUST_CHECK;
Status join_build_part(JoinBuild *build) MUST_CHECK;
/* About how many parts the table takes, after the first. */
uint64_t join_build_parts(const JoinBuild *build);
/* All of the table goes to partitions, about `parts` of them. */
Status join_build_leave(JoinBuild *build, uint64_t parts) MUST_CHECK;
/* After a failure of that: it is hashed in parts, as before. */
Status join_build_stay(JoinBuild *build) MUST_CHECK;
/* Hashes a partition, or its first part. */
Status join_build_partition(JoinBuild *build, uint32_t partition) MUST_CHECK;
/* The partitions of rows whose keys were read; those that cannot be joined, and need not be given, are left out of
 * `rows`. Returns how many stay. `table` NULL: rows of the table itself. */
uint32_t join_partitions(const JoinKeys *keys, const JoinBuild *table, uint32_t bits, uint16_t *rows, uint32_t count,
                         uint16_t *partitions);

/* ---- join_team.c ---- */
/* Between two units of a table: takes in many of those that are left, by several threads, if the query may have them
 * and it pays. Its scan then goes on behind them. */
Status join_team_help(JoinBuild *build) MUST_CHECK;

/* ---- join_stage.c ---- */
Status join_stage_create(JoinFlow *flow, size_t number) MUST_CHECK;
void join_stage_destroy(JoinStage *stage);
/* The stage, and those before it, begin with the first row of the flow's units. */
Status join_stage_restart(JoinStage *stage) MUST_CHECK;
/* The next joined rows; *found is false when there are none any more. */
Status join_stage_next(JoinStage *stage, ScanUnit *piece, bool *found) MUST_CHECK;

/* ---- join_pieces.c ---- */
/* The rows of the output as a unit; none are left in it. */
Status join_stage_fill(JoinStage *stage, ScanUnit *piece) MUST_CHECK;

#endif
