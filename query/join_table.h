/* join_table.h - rows of one table by the columns that others are joined to them by: the hashed side of a join.
 *
 * Values of the two sides compare as docs/semantics.md says, so both become words of a common domain first: integers of
 * any width are one number, an integral float is that integer, a date beside a timestamp its midnight, a number beside
 * a decimal so many units of the finer of the two. What has no word in the domain, and a null, is joined to nothing.
 *
 *   one word a key, not far apart    a bit each; ones before it ──► the first row that has it
 *                                    (where keys ascend from row to row, that number is the row's own)
 *   else                             open addressing by hash; of many rows a filter of the hashes (join_bloom.h) before
 * it */
#ifndef COLONNADE_QUERY_JOIN_TABLE_H
#define COLONNADE_QUERY_JOIN_TABLE_H

#include "base/arena.h"
#include "columnar/scan.h"
#include "query/join.h"
#include "query/join_bloom.h"
#include "simd/simd.h"

#define JOIN_NO_ROW UINT32_MAX

typedef enum JoinDomain {
  JOIN_SIGNED,
  JOIN_UNSIGNED,
  JOIN_FLOAT,
  JOIN_MICROSECONDS,
  JOIN_TEXT,
  JOIN_DECIMAL, /* and the scale: units of 10^-scale */
  JOIN_DECIMAL_LAST = JOIN_DECIMAL + DECIMAL_SCALE_MAX,
} JoinDomain;
/* False: the types do not compare. */
bool join_domain(ColumnType a, ColumnType b, JoinDomain *domain);

/* The keys of some rows of a block. */
typedef struct JoinKeys {
  size_t count; /* columns */
  JoinDomain domains[JOIN_COLUMNS_MAX];
  uint32_t columns[JOIN_COLUMNS_MAX]; /* of the scans that they are read from */
  ColumnType types[JOIN_COLUMNS_MAX];
  uint64_t *words[JOIN_COLUMNS_MAX]; /* of texts: their hashes */
  Bytes *texts[JOIN_COLUMNS_MAX];    /* else NULL */
  uint64_t *hashes;                  /* of one word: itself */
  uint8_t *valid;
  uint32_t *first; /* join_table_find: a row of the table, or JOIN_NO_ROW */
  void *values;    /* a block */
  uint8_t *nulls;
  uint64_t bloom_asked, bloom_left; /* rows, of late: whether the filter pays */
} JoinKeys;
/* `count`, `domains`, `columns` and `types` are set; the rest comes from the arena. */
Status join_keys_create(JoinKeys *keys, Arena *arena) MUST_CHECK;
/* One column of integers, whose words are its values, widened. */
bool join_keys_are_plain(const JoinKeys *keys);
/* Reads the keys of `count` rows of a block of the scan's unit. Texts end with the unit. */
Status join_keys_read(JoinKeys *keys, Scan *scan, uint32_t block, const uint16_t *rows, uint32_t count) MUST_CHECK;

typedef struct JoinPayload {
  uint32_t column; /* of the table */
  ColumnType type;
  size_t width;
  uint8_t *values, *nulls;
  bool has_nulls;
} JoinPayload;

typedef struct JoinSlot {
  uint64_t word;
  uint32_t first; /* JOIN_NO_ROW: free */
} JoinSlot;

typedef struct JoinTable {
  const JoinKeys *keys; /* of its own side: what its rows are found by */
  JoinPayload *payload; /* what leaves with them */
  size_t payload_count;
  uint32_t row_count, capacity;
  uint64_t *words[JOIN_COLUMNS_MAX];
  Bytes *texts[JOIN_COLUMNS_MAX];
  uint64_t *hashes; /* NULL: keys are one word */
  uint32_t *next;   /* the next row of the same hash */
  bool is_unique;   /* none has one */
  Arena text;
  uint64_t text_bytes; /* in it, of all rows: the same whoever took them in, which its blocks are not */
  JoinSlot *slots;
  uint32_t slot_bits;
  JoinBloom bloom;       /* before the slots */
  uint64_t spare;        /* bytes that bits may take, however few rows there are */
  bool is_set;           /* nobody asks which row it is: whether there is one is all that is kept of bits */
  uint64_t least, range; /* of words, when they are one: the greatest is `least` + `range` */
  SimdSet set;           /* the keys of rows that have a bit each; words NULL: none has */
  uint32_t *first;       /* by the place of a key among them; NULL: that is the row */
} JoinTable;

void join_table_release(JoinTable *table); /* forgets the rows; keys and payload columns stay */
/* Adds the rows whose keys were read; those with invalid ones are left out. */
Status join_table_add(JoinTable *table, const JoinKeys *keys, Scan *scan, uint32_t block, const uint16_t *rows,
                      uint32_t count) MUST_CHECK;
/* Room for so many rows more. */
Status join_table_reserve(JoinTable *table, uint64_t more) MUST_CHECK;
/* `count` rows of a table of the same columns, from `first` on, to where they are row `at`, within the room that was
 * reserved: several threads may copy to different rows. They are rows of it once it has taken them over: as many, with
 * as many bytes of texts. Of a table whose rows are all taken it gets what their texts lie in; of one that keeps some,
 * or goes on, each text of the rows from `at` on has to be copied, too. */
void join_table_copy(JoinTable *table, uint32_t at, const JoinTable *of, uint32_t first, uint32_t count);
Status join_table_copy_texts(JoinTable *table, uint32_t at, uint32_t count) MUST_CHECK;
void join_table_take_over(JoinTable *table, JoinTable *of, uint32_t rows, uint64_t text_bytes);
/* Bytes that it holds, the index of its rows included; those with more rows, with so many bytes of texts; of a row,
 * without texts. */
uint64_t join_table_bytes(const JoinTable *table);
uint64_t join_table_bytes_with(const JoinTable *table, uint64_t rows, uint64_t text_bytes);
uint64_t join_table_row_bytes(const JoinTable *table);
/* Behind the last row. */
Status join_table_index(JoinTable *table) MUST_CHECK;
/* keys->first of `count` keys: of rows that are equal, or, with several columns or texts, whose hash is. */
void join_table_find(const JoinTable *table, JoinKeys *keys, uint32_t count);
/* From a row on, the first one whose key is that of keys[i]; JOIN_NO_ROW. */
uint32_t join_table_match(const JoinTable *table, const JoinKeys *keys, uint32_t i, uint32_t row);
/* The row behind `row` with that key. */
static inline uint32_t join_table_next(const JoinTable *table, const JoinKeys *keys, uint32_t i, uint32_t row) {
  return table->is_unique ? JOIN_NO_ROW : join_table_match(table, keys, i, table->next[row]);
}
/* Whether a key may lie between two words of keys that have a bit each: asked of their bits, where these are few. */
bool join_table_has_between(const JoinTable *table, int64_t low, int64_t high);
/* Least and greatest word as values of a number column; false: they are no numbers, or there are none. */
bool join_table_ends(const JoinTable *table, ColumnType type, Value *least, Value *greatest);

#endif
