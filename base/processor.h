/* processor.h - which instruction sets this processor has, of those that files are compiled for by their names:
 * *_avx2.c, *_avx512.c (cmake/Colonnade.cmake). */
#ifndef COLONNADE_BASE_PROCESSOR_H
#define COLONNADE_BASE_PROCESSOR_H

#include <stdbool.h>

/* Each has what those before it have. */
typedef enum ProcessorLevel { PROCESSOR_PLAIN, PROCESSOR_AVX2, PROCESSOR_AVX512, PROCESSOR_LEVELS } ProcessorLevel;

#if defined(__x86_64__) && !defined(COLONNADE_PORTABLE)
#define PROCESSOR_HAS_AVX512 1 /* files of this level are compiled at all */
#else
#define PROCESSOR_HAS_AVX512 0
#endif

/* Whether files of this level run here. In the portable build those of AVX2 do everywhere. */
bool processor_runs(ProcessorLevel level);
/* The highest that runs here and that COLONNADE_KERNELS=scalar|avx2|avx512 in the environment allows. */
ProcessorLevel processor_level(void);

#endif
