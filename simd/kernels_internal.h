/* kernels_internal.h - the tables of this folder, and the list of widths that instantiates one body per width. */
#ifndef COLONNADE_SIMD_KERNELS_INTERNAL_H
#define COLONNADE_SIMD_KERNELS_INTERNAL_H

#include "base/sanitizers.h"
#include "simd/simd.h"

extern const SimdKernels simd_scalar_kernels, simd_avx2_kernels;
#if PROCESSOR_HAS_AVX512
extern const SimdKernels simd_avx512_kernels;
#endif

#define KERNEL   static inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
/* Loops whose shift counts become constants. Not under sanitizers and in the portable build, where the unrolled code
 * takes minutes to compile: there SIMD_ROLLED is set, and shift counts come from registers. */
#if defined(SANITIZES_ADDRESSES) || defined(SANITIZES_THREADS) || defined(COLONNADE_PORTABLE)
#define SIMD_ROLLED 1
#endif
#if defined(SIMD_ROLLED)
#define UNROLL
#elif defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 64")
#endif

/* X(width, lane): every width with its lane. */
#define WIDTHS_8(X)  X(1, 8) X(2, 8) X(3, 8) X(4, 8) X(5, 8) X(6, 8) X(7, 8) X(8, 8)
#define WIDTHS_16(X) X(9, 16) X(10, 16) X(11, 16) X(12, 16) X(13, 16) X(14, 16) X(15, 16) X(16, 16)
#define WIDTHS_32(X)                                                                                            \
  X(17, 32)                                                                                                     \
  X(18, 32)                                                                                                     \
  X(19, 32)                                                                                                     \
  X(20, 32) X(21, 32) X(22, 32) X(23, 32) X(24, 32) X(25, 32) X(26, 32) X(27, 32) X(28, 32) X(29, 32) X(30, 32) \
    X(31, 32) X(32, 32)
#define WIDTHS_64(X)                                                                                              \
  X(33, 64)                                                                                                       \
  X(34, 64)                                                                                                       \
  X(35, 64)                                                                                                       \
  X(36, 64) X(37, 64) X(38, 64) X(39, 64) X(40, 64) X(41, 64) X(42, 64) X(43, 64) X(44, 64) X(45, 64) X(46, 64)   \
    X(47, 64) X(48, 64) X(49, 64) X(50, 64) X(51, 64) X(52, 64) X(53, 64) X(54, 64) X(55, 64) X(56, 64) X(57, 64) \
      X(58, 64) X(59, 64) X(60, 64) X(61, 64) X(62, 64) X(63, 64) X(64, 64)
#define WIDTHS(X) X(0, 8) WIDTHS_8(X) WIDTHS_16(X) WIDTHS_32(X) WIDTHS_64(X)

#endif
