/* groups_internal.h - what groups consist of: key columns, states, and what a unit needs on its way into them. */
#ifndef COLONNADE_QUERY_GROUPS_INTERNAL_H
#define COLONNADE_QUERY_GROUPS_INTERNAL_H

#include "query/group_state.h"
#include "query/groups.h"
#include "query/id_map.h"
#include "query/row_parts.h"
#include "simd/simd.h"

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

/* Of a block, when codes are few: those that it has, numbered. */
typedef struct DenseFew {
  uint32_t count;
  uint8_t codes[SIMD_FEW_CODES];     /* which each of them is */
  uint8_t numbers[16];               /* the way back; others are DENSE_NONE */
  uint64_t rows[SIMD_FEW_CODES + 1]; /* of each code */
  uint8_t of_rows[BLOCK_ROWS];       /* numbers */
} DenseFew;
#define DENSE_NONE UINT8_MAX

typedef struct Dense {
  uint32_t capacity; /* codes for which there are arrays */
  uint32_t code_count;
  bool is_few; /* so few codes that kernels add up each of them */
  DenseFew few;
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

/* ---- groups in slots of few words: group_slots.c ---- */
typedef enum SlotsMode {
  SLOTS_UNKNOWN,   /* no row has come yet */
  SLOTS_ASCENDING, /* a slot is the number of its group */
  SLOTS_WINDOW,    /* or its key, from `first` on */
  SLOTS_DIGITS,    /* or the ids of its keys, as digits */
  SLOTS_IDS,       /* a slot is the number that its group would have with a state */
  SLOTS_NONE,      /* groups have states */
} SlotsMode;

typedef struct SlotColumn { /* of the Groups' column */
  int64_t base;             /* its sum is of distances from it, */
  uint64_t range;           /* each at most so large */
  uint32_t at;              /* the word of its sum; 0: the first, or it has none */
  unsigned sum_bits;        /* above them is the count of its values; 64: none is */
  uint32_t least, greatest; /* words; 0: none */
} SlotColumn;

typedef struct SlotDigit { /* of a key */
  uint32_t capacity;       /* ids: a power of two */
  uint32_t step;           /* words */
  uint32_t *offsets;       /* words of the id of each code of the unit */
  size_t offset_capacity;
} SlotDigit;

enum { SLOTS_PIECES_MAX = 16 };
typedef struct SlotsPiece { /* of ascending keys */
  int64_t first, last;
  uint32_t number; /* of the first one's group */
} SlotsPiece;

/* Slots of a part that will be copied: as many from these on, to those from number `to` on. */
typedef struct SlotCopy {
  const int64_t *keys;
  const uint64_t *words;
  uint32_t to, count;
} SlotCopy;

typedef struct GroupSlots {
  SlotsMode mode;
  bool by_rows;        /* groups lie in slots, or did: every unit's new ones are numbered by their first rows (QRY-6) */
  bool by_ids;         /* of a part: IDS, whatever its units are like */
  uint32_t stride;     /* words of a slot */
  unsigned rows_shift; /* the first one counts rows above so many bits of a sum */
  SlotColumn *columns;
  uint64_t *words;
  size_t word_capacity;
  uint32_t count; /* of groups */
  int64_t *keys;  /* as they were met; ASCENDING: images; IDS: none; else: offsets of words */
  size_t key_capacity;
  SlotsPiece pieces[SLOTS_PIECES_MAX]; /* before the current one, which begins at group piece_first */
  uint32_t piece_count, piece_first;
  const SlotsPiece *next; /* the piece above the current one; NULL: none is */
  int64_t first;
  uint64_t window;  /* slots; 0: there cannot be one */
  uint64_t *seen;   /* while parts are merged window by window: a bit for each word that a slot begins at; or NULL */
  SlotCopy *copies; /* while parts are merged: what has been put off */
  size_t copy_count, copy_capacity;
  SlotDigit *digits;
} GroupSlots;

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
  uint32_t parts;   /* that there are */
  QuerySpace share; /* of memory: never enforced within a unit */
  GroupWord *apart; /* entries: number of a group, and of one unit what depends on the order of units */
  size_t apart_count, apart_capacity;
  uint32_t stride;         /* words of an entry */
  uint32_t *ids;           /* room: BLOCK_ROWS of each key */
  GroupIds *keys, *values; /* of key columns, of columns whose values are counted once */
  GroupIds groups;
} GroupPart;

/* ---- numbers whose quantiles are asked for: group_quantiles.c ---- */
typedef struct QuantileChunk {
  uint32_t column; /* of the Groups' */
  uint32_t count, capacity;
  GroupWord *words; /* images of integers, bits of floats; NULL: handed over */
  uint32_t *groups; /* of each; NULL: there is one */
} QuantileChunk;
typedef struct GroupQuantiles {
  QuantileChunk *chunks; /* those of a column in the order of rows */
  size_t count, capacity;
  size_t *open; /* of each column: one more than the chunk that takes further values; 0: none */
  uint64_t bytes;
  bool is_leaving; /* values leave memory */
  bool is_part;    /* chunks are of some groups */
} GroupQuantiles;

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
  IdMap *value_pairs; /* group and id of a value; none without keys, where a value that has an id is counted */
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
  GroupQuantiles quantiles;
  GroupSlots slots;     /* while they are in use, there are no states */
  uint32_t unit_number; /* from 1 */
  uint32_t only_sum;    /* where that of floats is, when nothing else depends on order; or 0 */
  bool has_open;        /* a unit may not have ended for some groups: GROUP_UNIT says which */
  uint32_t *touched;    /* groups of the current unit, where it ends for all of them at once */
  size_t touched_count, touched_capacity;
  uint8_t *seen; /* codes of the column whose values are counted, when there is one group */
  Buffer key;
};

static inline GroupWord *group_state(const Groups *g, uint32_t number) {
  return g->states + (size_t)number * g->stride;
}

enum { GROUPS_AHEAD = 16 };
/* A state is about to be read and written. */
static inline void group_fetch(const Groups *g, uint32_t number) {
  const GroupWord *state = group_state(g, number);
  __builtin_prefetch(state, 1);
  __builtin_prefetch(state + g->stride - 1, 1);
}

/* The selected rows of a block into scratch->rows, unless all are; how many. */
uint32_t groups_block_rows(Groups *groups, Scan *scan, uint32_t block);

static inline uint32_t group_row(const GroupScratch *s, uint32_t i) { return s->is_whole ? i : s->rows[i]; }
/* A column of the selected rows of a block: *values and *nulls (NULL: no row is null) lie in scratch. */
Status groups_read(Groups *groups, Scan *scan, uint32_t column, uint32_t block, uint32_t count, const void **values,
                   const uint8_t **nulls) MUST_CHECK;
/* States up to `count` groups. */
Status groups_extend(Groups *groups, uint32_t count) MUST_CHECK;

/* ---- groups.c, for rows that come back ---- */
/* scratch->groups of `count` rows: of a block, or, without a scan, of those that came back. ID_NONE: of a group that is
 * not taken in. */
Status groups_find(Groups *groups, Scan *scan, uint32_t block, uint32_t count) MUST_CHECK;
/* The same without states for them; *most: one more than the largest number of a group. */
Status groups_number(Groups *groups, Scan *scan, uint32_t block, uint32_t count, uint32_t *most) MUST_CHECK;
/* Pairs of a group and a value that have been counted, of a column whose different values are. */
uint32_t groups_count_different(const Groups *groups, size_t column);
/* Adds these rows, whose groups are known. */
Status groups_add_found(Groups *groups, Scan *scan, uint32_t block, uint32_t count) MUST_CHECK;
/* These rows are of the current unit: what the one before has brought to their groups ends there. */
void groups_open_unit(Groups *groups, const uint32_t *numbers, uint32_t count);
/* Ends all units for all groups that are left open. */
void groups_end_units(Groups *groups);
/* Ends a unit for a group: what depends on order. */
void groups_end_order(const Groups *groups, GroupWord *state);
/* No group is there any more. */
Status groups_clear(Groups *groups) MUST_CHECK;
void groups_freeze(Groups *groups, bool frozen);
/* Whether memory has been used up. */
bool groups_exceed(const Groups *groups);
/* After what may have added groups: when memory is used up, no further one is taken in. */
Status groups_keep_within(Groups *groups) MUST_CHECK;
/* Whether groups in slots have to become those with states now, while there is room for both. */
bool groups_outgrow_slots(const Groups *groups);
/* The same where none of them lies in a slot. */
Status groups_keep_found_within(Groups *groups) MUST_CHECK;
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
/* The same of texts whose quantiles are asked for: all, sorted. */
Status group_sort_values(Groups *groups, size_t column, const uint32_t *numbers, const void *values,
                         uint32_t count) MUST_CHECK;
/* The same of numbers, as words of chunks: not sorted, but divided by their groups. */
Status group_divide_words(Groups *groups, size_t column, const uint32_t *numbers, const GroupWord *words,
                          uint32_t count) MUST_CHECK;
/* Counts what left memory of such columns, and finds the quantiles. */
Status group_spill_count(Groups *groups, uint32_t threads) MUST_CHECK;
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

/* The ids of numbers that are not null, by their images. */
Status key_column_add_images(Groups *groups, KeyColumn *key, const int64_t *images, uint32_t count,
                             uint32_t *ids) MUST_CHECK;
/* Between which images the values of a column lie in all segments; false: none says so. */
bool groups_zone(const Groups *groups, uint32_t column, int64_t *low, int64_t *high);

/* ---- group_merge.c ---- */
void group_part_release(Groups *part);
/* The numbers of `count` groups of a part, from `first` on, at most BLOCK_ROWS: new ones where none has their keys. */
Status group_part_numbers(Groups *groups, const Groups *part, uint32_t first, uint32_t count, uint32_t *own) MUST_CHECK;
/* Behind the largest number that ids of keys make. */
uint32_t group_numbers_end(const Groups *groups);
/* The id of a key of a part. */
Status group_part_key(Groups *groups, Groups *part, size_t key, uint32_t id, uint32_t *own) MUST_CHECK;
uint64_t group_part_bytes(const GroupPart *part);
/* What a unit has brought to a group that depends on the order of units goes apart. */
Status groups_set_apart(Groups *part, uint32_t number) MUST_CHECK;

/* ---- group_quantiles.c ---- */
/* Values that are not null, of a column whose quantiles are asked for: kept, or sorted. */
Status group_quantiles_add(Groups *groups, size_t column, const uint32_t *numbers, const void *values,
                           uint32_t count) MUST_CHECK;
/* How many chunks there are; what is added next begins another one. */
size_t group_quantiles_mark(Groups *groups);
/* Takes over the chunks of a part between two marks: its groups are taken over. */
Status group_quantiles_take_over(Groups *groups, Groups *part, size_t from, size_t to) MUST_CHECK;
/* When memory is used up what is kept goes to be sorted. */
Status group_quantiles_keep_within(Groups *groups) MUST_CHECK;
/* Finds the quantiles of all values that are kept, and lets go of them. As groups_finish. */
Status group_quantiles_find(Groups *groups, uint32_t threads) MUST_CHECK;
/* The same of words that left memory, of the part that is open: those for which there is no room yet are divided
 * further, or, of one group alone, counted where they are. */
Status group_quantiles_find_part(Groups *groups, size_t column, RowParts *parts, uint32_t threads) MUST_CHECK;
void group_quantiles_release(Groups *groups);

/* ---- group_slots.c ---- */
static inline bool group_slots_in_use(const Groups *groups) { return groups->slots.count > 0; }
/* Numbers of groups in slots are those that they would have with states. */
static inline bool group_slots_by_ids(const Groups *groups) { return groups->slots.mode == SLOTS_IDS; }
/* No row has come of it: the group of null, which is there first. */
bool group_slots_is_empty(const Groups *groups, uint32_t number);
/* It is not known yet whether there are slots: what the first selected rows of a segment say holds for all units. */
bool group_slots_are_open(const Groups *groups);
/* A part may have slots where the whole has some, and numbers its groups alike. */
void group_slots_share(const Groups *groups, Groups *part);
/* Whether the unit may go by slots. */
Status group_slots_fit(Groups *groups, Scan *scan, bool *fits) MUST_CHECK;
/* Whether the numbers of a block that are to be summed up lie where words have room for them. */
Status group_slots_are_near(Groups *groups, Scan *scan, uint32_t block, bool *near) MUST_CHECK;
/* IDS: adds these rows, whose groups are known. */
Status group_slots_add_found(Groups *groups, Scan *scan, uint32_t block, uint32_t count) MUST_CHECK;
/* The words of groups from `from` on, whose slots are zero; sums need no more. */
void group_slots_clear_extremes(const Groups *groups, uint32_t from);
/* Adds blocks of a unit; those in *left have no slots, and from now on none has. */
Status group_slots_add(Groups *groups, Scan *scan, uint64_t *left) MUST_CHECK;
/* Makes states of slots: groups keep their order; of one key number n becomes n + 1, behind that of null. */
Status group_slots_leave(Groups *groups) MUST_CHECK;
/* Does what taking over has put off, so that all slots may be looked at. */
void group_slots_copy(GroupSlots *slots);
/* Takes over the slots of a part from the mark *from up to `to`, or to where both have left theirs. */
Status group_slots_take(Groups *groups, Groups *part, uint32_t *from, uint32_t to) MUST_CHECK;
void group_slots_release(Groups *groups);
uint64_t group_slots_bytes(const Groups *groups);
/* Of groups in slots: their rows, or the values of a column; sums; and what would be the state of one. */
#define GROUP_SLOTS_ROWS SIZE_MAX
enum { GROUP_SLOTS_WORDS_MAX = 16, GROUP_SLOTS_STATE_WORDS = 4 * GROUP_SLOTS_WORDS_MAX };
void group_slots_counts(const Groups *groups, const uint32_t *numbers, uint32_t count, size_t column, uint64_t *counts);
void group_slots_sums(const Groups *groups, const uint32_t *numbers, uint32_t count, size_t column, Int128 *sums,
                      uint8_t *nulls);
void group_slots_state(const Groups *groups, uint32_t number, GroupWord *state);
/* The images of an array, in place or in scratch->images. */
const int64_t *group_slots_numbers(const Groups *groups, ColumnType type, const void *values, uint32_t count);
/* DIGITS: the id of a key. */
uint32_t group_slots_id(const Groups *groups, uint32_t number, size_t key);

/* ---- group_slots_find.c ---- */
SlotsMode group_slots_first_mode(Groups *groups);
Status group_slots_begin_unit(Groups *groups, Scan *scan, bool *fits) MUST_CHECK;
/* ASCENDING, WINDOW: the image of the key. */
int64_t group_slots_image(const Groups *groups, uint32_t number);
void group_slots_images(const Groups *groups, const uint32_t *numbers, uint32_t count, uint64_t *images);
/* Where the words of the rows of a block begin, in scratch->groups. *done is false when not all have a slot. */
Status group_slots_find(Groups *groups, Scan *scan, uint32_t block, uint32_t count, bool *done) MUST_CHECK;
/* Whether these keys ascend, and the first *own of them stand behind those of the current piece, or of one that begins
 * with them. */
bool group_slots_ascend(GroupSlots *slots, const int64_t *keys, uint32_t count, uint32_t *own);
/* IDS: empty slots up to `count` groups; *fits is false when there cannot be as many. */
Status group_slots_extend(Groups *groups, uint32_t count, bool *fits) MUST_CHECK;
/* Room for further groups. */
Status group_slots_reserve(Groups *groups, uint32_t more) MUST_CHECK;
/* What stands for the key of a part's group, and at which number it would be, or, when keys ascend, is; whether it can.
 */
Status group_slots_make_fit(Groups *groups, Groups *part, uint32_t number, int64_t *key, uint32_t *at,
                            bool *fits) MUST_CHECK;

/* ---- group_dense.c ---- */
/* Whether the unit can go by arrays; its key columns have begun it. */
bool group_dense_fits(const Groups *groups, Scan *scan);
Status group_dense_add(Groups *groups, Scan *scan) MUST_CHECK;

#endif
