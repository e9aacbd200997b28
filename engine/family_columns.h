/* family_columns.h - columns over a kv family's pairs, kept in a hidden table beside it. */
#ifndef COLONNADE_ENGINE_FAMILY_COLUMNS_H
#define COLONNADE_ENGINE_FAMILY_COLUMNS_H

#include "engine/engine_internal.h"

/* The sources of a hidden table's columns, read from its schema into the family. KVSTORE_CORRUPT: they cannot be. */
Status family_sources_read(Family *family) MUST_CHECK;

/* Inside a statement: a pair was written (or, with `tombstone`, deleted) in a family with these options. */
Status columns_note(Session *session, Family *family, const FamilyOptions *options, const SourcePair *pair,
                    bool tombstone) MUST_CHECK;
/* The same for the ends of many pairs: `keys`, one behind the other as buffer_bytes puts them. */
Status columns_note_ends(Session *session, Family *family, const FamilyOptions *options, Bytes keys) MUST_CHECK;
/* The same for all rows of runs that the open transaction has adopted. */
Status columns_note_level(Session *session, const FamilyOptions *options, const RowLevel *level) MUST_CHECK;
/* A family with these options is cleared or dropped. */
Status columns_family_end(Session *session, const FamilyOptions *options, bool drop) MUST_CHECK;

/* Goes on with columns that were declared on pairs that were there, until nothing is left to do, or it would have to
 * wait: for who writes, or for room in the log. *more: something is left; *moved: it came further. No locks held. */
Status columns_build(Session *session, bool *more, bool *moved) MUST_CHECK;
/* The same from the store's thread; *waits: not at once. */
Status columns_build_behind(Store *store, bool *more, bool *waits) MUST_CHECK;
/* Is there something to build in the current version? */
bool columns_are_wanted(Store *store);
/* Compares the columns of every family with its pairs. KVSTORE_CORRUPT says which differ. */
Status columns_check(Session *session, ReadPin *pin) MUST_CHECK;

#endif
