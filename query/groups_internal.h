/* groups_internal.h - what groups consist of: key columns, states, and what a unit needs on its way into them. */
#ifndef COLONNADE_QUERY_GROUPS_INTERNAL_H
#define COLONNADE_QUERY_GROUPS_INTERNAL_H

#include "query/group_state.h"
#include "query/groups.h"
#include "query/id_map.h"

enum {
  GROUP_CODES_DENSE = 4096,       /* combinations of codes that go by arrays, however few rows a unit has */
  GROUP_CODES_MAX = 65536,        /* and when it has as many rows: codes take 16 bits */
  GROUP_TOGETHER = 8,             /* columns of floats that are added side by side */
  GROUP_PART_BYTES_MIN = 4 << 20, /* about what one unit may add to a part */
};

/* ---- a column whose values have ids: 0 is null ---- */
typedef struct KeyColumn {
  uint32_t column;
  ColumnType type;
  bool nullable;
  IdMap numbers; /* by their images */
  BytesMap strings;
  bool is_begun;       /* the window of `numbers` has been thought of */
  uint32_t code_count; /* of the current unit; 0: none */
  uint32_t *map;       /* id of each code, ID_UNKNOWN until it is wanted */
  size_t map_capacity;
  bool is_frozen; /* no further value gets an id */
} KeyColumn;
#define ID_UNKNOWN (ID_NONE - 1)

/* ---- the arrays of a unit whose keys are few codes ---- */
typedef struct DenseColumn {
  bool is_short;  /* all integers of the unit are: see group_dense.c */
  bool is_packed; /* a sum is one word: a count in the upper bits, distances from `base` in the lower ones */
  int64_t base;
  uint64_t *packed; /* as often as `replicas` says; not packed: sums of blocks whose numbers are short */
  uint64_t *nulls;  /* how many; NULL: there can be none */
  GroupWord *wide;  /* sums of two words */
  double *sums;
  int64_t *least, *greatest;
  Spread *spreads;
} DenseColumn;

typedef struct Dense {
  uint32_t capacity; /* codes for which there are arrays */
  uint32_t code_count;
  bool is_few;           /* so few codes that kernels add up each of them */
  uint32_t replicas;     /* so that neighbours of one group do not wait for each other */
  DenseColumn *counting; /* whose packed sums count the rows, too; NULL: row_counts do */
  uint64_t *row_counts;
  DenseColumn *columns; /* as those of the Groups */
  Arena arena;
  double *doubles;              /* one block of each column that waits to be added */
  double *sums[GROUP_TOGETHER]; /* its sums by code */
  uint32_t together;            /* how many wait */
  Arena room;                   /* of `doubles` */
} Dense;

typedef struct GroupScratch {      /* one block */
  uint64_t values[2 * BLOCK_ROWS]; /* of any type */
  uint64_t compact[2 * BLOCK_ROWS];
  uint8_t nulls[BLOCK_ROWS], compact_nulls[BLOCK_ROWS];
  int64_t images[BLOCK_ROWS];
  double doubles[BLOCK_ROWS];
  uint64_t words[BLOCK_ROWS];
  uint32_t groups[BLOCK_ROWS], ids[BLOCK_ROWS], some[BLOCK_ROWS];
  uint16_t codes[BLOCK_ROWS], more_codes[BLOCK_ROWS], some_codes[BLOCK_ROWS];
  bool is_whole;             /* all rows of the block are selected */
  uint16_t rows[BLOCK_ROWS]; /* the selected ones, unless all are */
  uint16_t unknown[BLOCK_ROWS];
} GroupScratch;

/* ---- a thread's part of groups: group_merge.c ---- */
typedef struct GroupIds { /* ids of a part to those of what it is merged into; ID_UNKNOWN until one is wanted */
  uint32_t *ids;
  size_t capacity;
  uint32_t count;
} GroupIds;
typedef struct GroupPart {
  QuerySpace share; /* of memory: never enforced within a unit */
  GroupWord *apart; /* entries: number of a group, and of one unit what depends on the order of units */
  size_t apart_count, apart_capacity;
  uint32_t stride;         /* words of an entry */
  GroupIds *keys, *values; /* of key columns, of columns whose values are counted once */
  GroupIds groups;
} GroupPart;

typedef struct GroupSpill GroupSpill; /* group_spill.c */

struct Groups {
  const TableSnapshot *snapshot;
  const QuerySpace *space; /* NULL: there is no limit */
  bool is_full;            /* no further group, no further value to be counted once */
  GroupSpill *spill;       /* NULL until something leaves memory */
  GroupPart *part;         /* NULL: all of the groups are here */
  KeyColumn *keys;
  IdMap *pairs; /* [k], k > 0: group of keys 0 to k - 1, and id of key k */
  size_t key_count;
  AggregateRequest *requests;
  uint32_t *request_columns; /* which of `columns` */
  uint32_t *request_words;   /* quantiles: where in a state */
  size_t request_count;
  GroupColumn *columns;
  KeyColumn *values;  /* of columns whose different values are counted */
  IdMap *value_pairs; /* group and id of a value */
  size_t column_count;
  GroupWord *states;
  uint32_t stride; /* words of a state */
  uint32_t state_count;
  size_t state_capacity; /* words */
  Arena kept;            /* strings of states */
  Arena arena;           /* all that is as long as the Groups */
  GroupScratch *scratch;
  bool has_ends, has_order; /* first, last; or anything that is made of each unit by itself */
  bool is_dense;            /* what is asked for can go by arrays */
  Dense dense;
  uint32_t unit_number; /* from 1 */
  uint32_t *touched;    /* groups of the current unit, when has_order */
  size_t touched_count, touched_capacity;
  uint8_t *seen; /* codes of the column whose values are counted, when there is one group */
  Buffer key;
};

static inline GroupWord *group_state(const Groups *g, uint32_t number) {
  return g->states + (size_t)number * g->stride;
}

/* The selected rows of a block into scratch->rows, unless all are; how many. */
uint32_t groups_block_rows(Groups *groups, Scan *scan, uint32_t block);
/* The entries at scratch->rows of an array into `out`. */
void groups_gather(const Groups *groups, size_t width, const void *values, uint32_t count, void *out);
static inline uint32_t group_row(const GroupScratch *s, uint32_t i) { return s->is_whole ? i : s->rows[i]; }
/* A column of the selected rows of a block: *values and *nulls (NULL: no row is null) lie in scratch. */
Status groups_read(Groups *groups, Scan *scan, uint32_t column, uint32_t block, uint32_t count, const void **values,
                   const uint8_t **nulls) MUST_CHECK;
/* States up to `count` groups. */
Status groups_extend(Groups *groups, uint32_t count) MUST_CHECK;
/* The group is touched by the current unit. */
Status groups_touch(Groups *groups, uint32_t number) MUST_CHECK;

/* ---- groups.c, for rows that come back ---- */
/* scratch->groups of `count` rows: of a block, or, without a scan, of those that came back. ID_NONE: of a group that is
 * not taken in. */
Status groups_find(Groups *groups, Scan *scan, uint32_t block, uint32_t count) MUST_CHECK;
/* Adds these rows, whose groups are known. */
Status groups_add_found(Groups *groups, Scan *scan, uint32_t block, uint32_t count) MUST_CHECK;
/* Ends a unit for a group: what depends on order. */
void groups_end_order(const Groups *groups, GroupWord *state);
/* No group is there any more. */
Status groups_clear(Groups *groups) MUST_CHECK;
void groups_freeze(Groups *groups, bool frozen);
/* Whether memory has been used up. */
bool groups_exceed(const Groups *groups);
/* The row with g->key may be the first or last of its group. `value`: of a column. */
Status groups_offer(Groups *groups, uint32_t number, const GroupColumn *column, const Value *value,
                    uint32_t wants) MUST_CHECK;

/* ---- group_spill.c ---- */
void group_spill_destroy(GroupSpill *spill); /* NULL is allowed */
uint64_t group_spill_bytes(const GroupSpill *spill);
/* The `count` rows at scratch->rows leave memory. */
Status group_spill_rows(Groups *groups, Scan *scan, uint32_t block, uint32_t count) MUST_CHECK;
/* A value of a column whose different values are counted, of `count` groups: an array of values. */
Status group_spill_values(Groups *groups, size_t column, const uint32_t *numbers, const void *values,
                          uint32_t count) MUST_CHECK;
/* The same of a column whose quantiles are asked for: all of its values, sorted. */
Status group_sort_values(Groups *groups, size_t column, const uint32_t *numbers, const void *values,
                         uint32_t count) MUST_CHECK;
/* Counts what left memory of such columns, and finds the quantiles. */
Status group_spill_count(Groups *groups) MUST_CHECK;
Status group_spill_more(Groups *groups, bool *more) MUST_CHECK;
/* A column of the rows that came back and are being added. */
bool group_spill_array(const Groups *groups, uint32_t column, ColumnArray *out);

/* ---- group_keys.c ---- */
void key_column_release(KeyColumn *key);
Status key_column_begin_unit(KeyColumn *key, Scan *scan) MUST_CHECK;
/* The id of a code of the current unit. */
Status key_column_code(KeyColumn *key, Scan *scan, uint32_t code, uint32_t *id) MUST_CHECK;
/* The ids of the selected rows of a block. */
Status key_column_ids(Groups *groups, KeyColumn *key, Scan *scan, uint32_t block, uint32_t count,
                      uint32_t *ids) MUST_CHECK;
Value key_column_value(const KeyColumn *key, uint32_t id);
/* One more than the largest id. */
static inline uint32_t key_column_count(const KeyColumn *key) {
  return 1 + (type_is_string(key->type) ? key->strings.count : key->numbers.count);
}
uint64_t key_column_bytes(const KeyColumn *key);

/* ---- group_merge.c ---- */
void group_part_release(Groups *part);
uint64_t group_part_bytes(const GroupPart *part);
/* What a unit has brought to a group that depends on the order of units goes apart. */
Status groups_set_apart(Groups *part, uint32_t number) MUST_CHECK;

/* ---- group_dense.c ---- */
/* Whether the unit can go by arrays; its key columns have begun it. */
bool group_dense_fits(const Groups *groups, Scan *scan);
Status group_dense_add(Groups *groups, Scan *scan) MUST_CHECK;

#endif
