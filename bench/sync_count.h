/* sync_count.h - how often a program asked the disk to keep something.
 *
 * sync_count.c defines fsync, fdatasync, syncfs, msync and the writing calls itself. Definitions in the program (or in
 * a preloaded library) come before those of the C library, for the engines' shared libraries too: so every engine is
 * counted in the same way, without tracing. Counted are fsync, fdatasync and syncfs, msync with MS_SYNC, and each write
 * to a file that was opened with O_SYNC or O_DSYNC (LMDB writes its meta pages so). System calls made without the C
 * library would be missed; the engines here make none. */
#ifndef BENCH_SYNC_COUNT_H
#define BENCH_SYNC_COUNT_H

#include <stdint.h>

/* So far, all threads. */
uint64_t sync_count(void);

#endif
