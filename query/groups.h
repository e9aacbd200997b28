/* groups.h - the selected rows of a table divided by the values of some columns, with aggregates of each part.
 *
 *   unit ──► codes of its key columns ──► few combinations: an array of sums each, by code, then added to the groups
 *        └─► or values, to ids (id_map.h) ─────────────────► the groups' states, row by row
 *
 * Without key columns there is one group, of all rows. Equal keys are equal by docs/semantics.md: a null is a key, both
 * zeros are one, and so are all NaN. Groups are numbered as they are first met.
 *
 * Within a space that is used up, no further group is taken in: rows of others leave memory, sorted by their keys, and
 * come back group by group when the groups that were taken in have been given (groups_more). Values to be counted once
 * leave likewise. So the sums of a group are made in the same order, and come to the same bits, wherever it was.
 *
 * A Groups belongs to one thread at a time. */
#ifndef COLONNADE_QUERY_GROUPS_H
#define COLONNADE_QUERY_GROUPS_H

#include "columnar/aggregates.h"
#include "columnar/scan.h"
#include "query/query.h"

typedef struct Groups Groups;

/* `keys`: positions in the schema, all different. Everything but the snapshot and the space (NULL: all memory there is)
 * is copied; these are borrowed until groups_destroy. Requests may be of every kind. */
Status groups_create(const TableSnapshot *snapshot, const uint32_t *keys, size_t key_count,
                     const AggregateRequest *requests, size_t request_count, const QuerySpace *space,
                     Groups **groups) MUST_CHECK;
void groups_destroy(Groups *groups); /* NULL is allowed */

/* Adds the rows that `scan` selected of its unit; units come in the order of the snapshot. After a failure only
 * groups_destroy may follow. */
Status groups_add(Groups *groups, Scan *scan) MUST_CHECK;

/* All units are added. On at most so many threads; 0: one a processor, where that pays. */
Status groups_finish(Groups *groups, uint32_t threads) MUST_CHECK;

/* ---- units that several threads share out ----
 * Each thread adds its units, in ascending order, to a part of its own, and marks where each ended. Then every unit is
 * taken over, in the order of units, and every part merged. The groups are the same, and numbered the same, as if one
 * thread had added all units. */
bool groups_divisible(const Groups *groups);
/* How new ones are numbered is not known yet: the first selected rows of a segment say so, and parts have to do alike.
 */
bool groups_are_open(const Groups *groups);
/* How many parts there is memory for, at most as many as wanted: parts whose units come in so many pieces (1: as a
 * whole), and add as much as those that were added yet. */
uint32_t groups_parts_max(const Groups *groups, uint32_t wanted, uint64_t pieces);
/* One of `parts`: it shares half of the memory with the others. */
Status groups_create_part(const Groups *groups, uint32_t parts, Groups **part) MUST_CHECK;
/* More than its share is used: what is added yet stays in memory, too. */
bool groups_part_is_full(const Groups *part);
typedef struct GroupMark {
  uint32_t group_count;
  size_t apart_count, chunk_count;
} GroupMark;
GroupMark groups_mark(Groups *part);
/* Before any unit is taken over of these parts, whose units are all done. */
Status groups_begin_merge(Groups *groups, Groups *const *parts, uint32_t count) MUST_CHECK;
/* Takes a unit over that a part has added between two marks. */
Status groups_take_over(Groups *groups, Groups *part, GroupMark from, GroupMark to) MUST_CHECK;
/* When all units of all parts have been taken over: what was put off meanwhile is done by as many threads as there are
 * parts; slots are copied, and windows added up. Then each part is merged. */
Status groups_join_parts(Groups *groups, Groups *const *parts, uint32_t count) MUST_CHECK;
/* Merges a part, when all units of all parts have been taken over. */
Status groups_merge(Groups *groups, const Groups *part) MUST_CHECK;
/* All parts have been merged. */
Status groups_end_merge(Groups *groups) MUST_CHECK;
/* Groups that are in memory. */
uint32_t groups_held(const Groups *groups);
/* The same, or, when that is more, values of them to be counted once: what a merge has to add. */
uint32_t groups_count(const Groups *groups);
/* In how much time as many groups are merged, of parts that several threads make: in rows that they add meanwhile. */
uint64_t groups_merge_rows(const Groups *groups, uint64_t count, uint32_t threads);
/* The same of what depends on the order of units: of each unit and group that it has an entry. */
uint64_t groups_apart_rows(const Groups *groups, uint64_t entries, uint32_t threads);

/* Whether several threads can add the units from `first` on together, to the groups themselves (query_pipe_units). */
bool groups_can_pipe(const Groups *groups, const TableSnapshot *snapshot, uint32_t first);

/* ---- results ---- */
/* The next groups that have rows, at most `most`: their numbers. From *at on, which begins as 0. 0: there are no more.
 */
uint32_t groups_next(const Groups *groups, uint32_t *at, uint32_t most, uint32_t *numbers);
/* When groups_next has none any more: takes in the next of those that had left memory, for groups_next to begin anew;
 * *more is false when there are none. Strings of the groups before end here. */
Status groups_more(Groups *groups, bool *more) MUST_CHECK;
/* Key column `key` of a group. Strings are the Groups'. */
Value groups_key(const Groups *groups, uint32_t number, size_t key);
/* The same of many groups, as an array of the column's type: false when it must be done one by one. */
bool groups_keys(const Groups *groups, const uint32_t *numbers, uint32_t count, size_t key, void *values,
                 uint8_t *nulls);
/* The result of a request for a group. Strings likewise. */
AggregateResult groups_result(const Groups *groups, uint32_t number, size_t request);
/* The same of many: counts and sums of integers; false: one by one. */
bool groups_results(const Groups *groups, const uint32_t *numbers, uint32_t count, size_t request, void *values,
                    uint8_t *nulls);
/* Whether anything is yet to come back: rows or values that left memory, values that are sorted for quantiles. */
bool groups_await(const Groups *groups);
/* Bytes that left memory. */
uint64_t groups_spilled(const Groups *groups);
/* Bytes of memory that it holds. */
uint64_t groups_bytes(const Groups *groups);

#endif
