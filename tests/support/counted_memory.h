/* counted_memory.h - a memory table that knows how much is held, and was at most. Threads: as failing_memory.h. */
#ifndef COLONNADE_TESTS_SUPPORT_COUNTED_MEMORY_H
#define COLONNADE_TESTS_SUPPORT_COUNTED_MEMORY_H

#include <stdint.h>

void counted_memory_install(void);
/* Back to malloc. What was allocated stays valid. */
void counted_memory_remove(void);
/* Bytes held now, from where the most is counted anew. */
int64_t counted_memory_begin(void);
int64_t counted_memory_most(void);

#endif
