/* sanitizers.h - whether the compiler has put a sanitizer into what it builds: SANITIZES_ADDRESSES, SANITIZES_THREADS
 * are defined then. gcc and clang say so in different ways. */
#ifndef COLONNADE_BASE_SANITIZERS_H
#define COLONNADE_BASE_SANITIZERS_H

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZES_ADDRESSES 1
#endif
#if defined(__SANITIZE_THREAD__)
#define SANITIZES_THREADS 1
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZES_ADDRESSES 1
#endif
#if __has_feature(thread_sanitizer)
#define SANITIZES_THREADS 1
#endif
#endif

#endif
