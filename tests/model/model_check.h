/* model_check.h - does a store show what the model has at a step? Every function stops the test where it does not. */
#ifndef COLONNADE_TESTS_MODEL_MODEL_CHECK_H
#define COLONNADE_TESTS_MODEL_MODEL_CHECK_H

#include "tests/model/model.h"

typedef struct ModelCheck {
  const Model *model;
  bool reclaims; /* expired rows may be gone already: counts of them are not exact */
} ModelCheck;

/* What one session sees, at `step`, with the clock at `now`: one key; a whole family; all families and their names. */
void check_key(const ModelCheck *c, Session *s, uint32_t slot, uint32_t key, uint64_t step, int64_t now);
void check_family(const ModelCheck *c, Session *s, uint32_t slot, uint64_t step, int64_t now);
void check_store(const ModelCheck *c, Session *s, uint64_t step, int64_t now);
/* What a table snapshot shows; it stays the caller's. */
void check_table_snapshot(const ModelCheck *c, const TableSnapshot *snapshot, uint32_t slot, uint64_t step);
/* A walk of an iterator from its first key to its end, or from a seek. */
void check_iterator(const ModelCheck *c, KvIterator *it, bool reverse, uint32_t slot, uint64_t step, int64_t now);
void check_iterator_seek(const ModelCheck *c, KvIterator *it, bool reverse, uint32_t slot, uint32_t key, uint64_t step,
                         int64_t now);
/* Whether a key lies in a range. */
bool range_has(const KvRange *range, Bytes key);
/* A walk over a range, and one from a seek within it. */
void check_range(const ModelCheck *c, Session *s, uint32_t slot, const KvRange *range, bool reverse, uint32_t sought,
                 uint64_t step, int64_t now);
/* Which row of the model shows at a step and time: not dead, not expired; NULL when none. */
const ModelVersion *check_live(const ModelCheck *c, uint32_t slot, uint32_t key, uint64_t step, int64_t now);

#endif
