/* intrinsics.h - AVX2 from the processor, or, in a portable build and on other architectures, through simde. */
#ifndef COLONNADE_SIMD_INTRINSICS_H
#define COLONNADE_SIMD_INTRINSICS_H

#if defined(COLONNADE_PORTABLE) || !defined(__x86_64__)
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx2.h>
#else
#include <immintrin.h>
#endif

#endif
