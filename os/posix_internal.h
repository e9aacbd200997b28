/* posix_internal.h - what the files of the POSIX implementation share. */
#ifndef COLONNADE_OS_POSIX_INTERNAL_H
#define COLONNADE_OS_POSIX_INTERNAL_H

#include <sys/stat.h>

#include "os/os.h"

typedef struct PosixFile {
  OsFile base;
  struct PosixFile *next, **link; /* of all files of the process */
  int descriptor;                 /* -1: it was inherited, and is closed */
  bool readonly;
  char path[]; /* as it was opened, for messages */
} PosixFile;

/* A failure with the sentence "cannot <what> <path>: <strerror>"; the code by `error` (OS-2). */
Status posix_fail(int error, const char *what, const char *path);
/* The system's stat as ours. */
void posix_stat_convert(const struct stat *from, OsStat *to);
/* Wraps a descriptor, which it owns from now on, also on failure. */
Status posix_file_create(Os *os, int descriptor, const char *path, int flags, OsFile **file);
/* Opens `path`, and names the file `name` in messages. */
Status posix_file_open(Os *os, const char *path, const char *name, int flags, OsFile **file);

/* The kind of file system that statfs and the table of mounts tell, when it is one of several machines; else NULL. */
const char *posix_network_kind(uint64_t magic, const char *type, const char *options);

/* ---- methods, in posix_files.c, posix_locks.c and posix_network.c ---- */
void posix_close(OsFile *file);
Status posix_read(OsFile *file, uint64_t offset, void *bytes, size_t length, size_t *got);
Status posix_write(OsFile *file, uint64_t offset, const void *bytes, size_t length);
Status posix_sync(OsFile *file);
Status posix_allocate(OsFile *file, uint64_t offset, uint64_t length);
Status posix_truncate(OsFile *file, uint64_t size);
Status posix_stat_file(OsFile *file, OsStat *out);
void posix_writeback(OsFile *file, uint64_t offset, uint64_t length, bool wait);
Status posix_map(OsFile *file, uint64_t offset, uint64_t length, bool writable, void **address);
void posix_unmap(OsFile *file, void *address, uint64_t length);
Status posix_lock(OsFile *file, uint64_t offset, uint64_t length, OsLock kind);
Status posix_lock_query(OsFile *file, uint64_t offset, uint64_t length, bool *held, uint64_t *first);
Status posix_reopen(OsFile *file, int flags, OsFile **other);
const char *posix_network(OsFile *file);
Status posix_open_beside(OsFile *of, const char *path, int flags, OsFile **file);

/* The clocks and the generator, which memory files share. */
int64_t posix_now_ms(Os *os);
uint64_t posix_monotonic_ns(Os *os);
Status posix_random(Os *os, void *bytes, size_t length);

#endif
