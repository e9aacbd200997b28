/* model_keys.h - many keys of a table in one call, beside the model. */
#ifndef COLONNADE_TESTS_MODEL_MODEL_KEYS_H
#define COLONNADE_TESTS_MODEL_MODEL_KEYS_H

#include "tests/model/model_check.h"

/* Reads the rows of many keys of a table, some of which come twice or are none. */
void check_keys(const ModelCheck *c, Session *s, uint32_t slot, uint64_t step, int64_t now);
/* Deletes the rows of `count` random keys, in the model too. */
void delete_keys(const ModelCheck *c, Model *m, Session *s, uint32_t slot, uint32_t count, uint64_t *random);

#endif
