/* deleted_internal.h - how dead rows of a segment are made; for deleted_set.c and deleted_disk.c. */
#ifndef COLONNADE_COLUMNAR_DELETED_INTERNAL_H
#define COLONNADE_COLUMNAR_DELETED_INTERNAL_H

#include "columnar/deleted_set.h"

/* `count` (>= 1) ascending rows, or the set bits of `words` (at least one, `count` of them), as an object with one
 * reference, in the form that its count asks for. NULL: out of memory. */
DeletedRows *deleted_rows_from_array(const uint16_t *rows, uint32_t count);
DeletedRows *deleted_rows_from_words(const uint64_t words[DELETED_WORDS], uint32_t count);
/* Writes all dead rows, ascending, into an array of rows->count entries. */
void deleted_rows_list(const DeletedRows *rows, uint16_t *list);

#endif
