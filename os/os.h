/* os.h - the operating system, as a table: files, mappings, locks, clock, randomness.
 *
 * Four implementations: POSIX (os/posix.c), memory (os/memory_files.c: stores without a path), and as test support a
 * fault injector that fails call n and a seeded simulated disk that loses what was not synced (tests/support/). Nothing
 * above os/ and kvapi/ knows which one it has, and nothing outside os/ calls the system.
 *
 * Threads: an Os and an OsFile may be used by many threads at once, except that close comes last. Every function that
 * fails says why through status_fail, with the path: KVSTORE_FULL for no space, KVSTORE_NOTFOUND for a missing file,
 * KVSTORE_READONLY for missing rights and read-only media, KVSTORE_BUSY for a lock that somebody holds, KVSTORE_IO
 * else. */
#ifndef COLONNADE_OS_OS_H
#define COLONNADE_OS_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct Os Os;
typedef struct OsFile OsFile;

enum {
  OS_OPEN_CREATE = 1, /* make the file when it is missing */
  OS_OPEN_READONLY = 2,
  OS_OPEN_EXCLUSIVE = 4, /* with CREATE: KVSTORE_BUSY when it is there already */
};

typedef enum OsLock { OS_UNLOCK, OS_LOCK_SHARED, OS_LOCK_EXCLUSIVE } OsLock;

typedef struct OsStat {
  uint64_t size;
  uint64_t device, inode; /* together: which file this is */
  uint64_t link_count;    /* 0: unlinked while open */
  uint32_t rights;        /* the nine bits of read, write and execute */
  bool is_regular, is_directory;
} OsStat;

typedef struct OsMethods {
  Status (*open)(Os *os, const char *path, int flags, OsFile **file);
  Status (*stat)(Os *os, const char *path, OsStat *out);
  Status (*unlink)(Os *os, const char *path);
  Status (*rename)(Os *os, const char *from, const char *to);
  Status (*sync_directory)(Os *os, const char *path);   /* the directory that holds `path` */
  int64_t (*now_ms)(Os *os);                            /* wall clock, milliseconds since the epoch */
  uint64_t (*monotonic_ns)(Os *os);                     /* never steps back */
  Status (*random)(Os *os, void *bytes, size_t length); /* from the system's generator; seeded in the simulated disk */

  void (*close)(OsFile *file);
  /* Reads up to `length` bytes; *got is less only at the end of the file. */
  Status (*read)(OsFile *file, uint64_t offset, void *bytes, size_t length, size_t *got);
  /* Writes all of it or fails; then any part may have been written. Extends the file. */
  Status (*write)(OsFile *file, uint64_t offset, const void *bytes, size_t length);
  Status (*sync)(OsFile *file); /* data and size are durable when it returns */
  /* Allocates the space (a write there cannot fail for lack of it); extends the file, new bytes are zero. */
  Status (*allocate)(OsFile *file, uint64_t offset, uint64_t length);
  Status (*truncate)(OsFile *file, uint64_t size);
  Status (*stat_file)(OsFile *file, OsStat *out);
  void (*writeback)(OsFile *file, uint64_t offset, uint64_t length,
                    bool wait); /* a hint: start (or finish) writing out */
  /* Maps a range (offset: a multiple of 4096), shared. It may reach past the end of the file: touch only what is
   * inside. The mapping outlives the file's close. */
  Status (*map)(OsFile *file, uint64_t offset, uint64_t length, bool writable, void **address);
  void (*unmap)(OsFile *file, void *address, uint64_t length); /* `file` is NULL when it is closed */
  /* A byte-range lock that belongs to this OsFile (an open file description) and ends with it. Never waits:
   * KVSTORE_BUSY. */
  Status (*lock)(OsFile *file, uint64_t offset, uint64_t length, OsLock kind);
  /* Would an exclusive lock by this OsFile conflict? *first is where the first conflicting lock begins. */
  Status (*lock_query)(OsFile *file, uint64_t offset, uint64_t length, bool *held, uint64_t *first);
  Status (*reopen)(OsFile *file, int flags, OsFile **other); /* a new open file description of the same file */
  /* The kind of file system, when other machines may reach the file through it; else NULL. May be missing: local. */
  const char *(*network)(OsFile *file);
  /* os_open_beside. NULL: files have neither owner nor rights. */
  Status (*open_beside)(OsFile *of, const char *path, int flags, OsFile **file);
  /* os_resolve. NULL: a path is the only one that a file has. */
  Status (*resolve)(Os *os, const char *path, char **resolved);
} OsMethods;

struct Os {
  const OsMethods *methods;
};
struct OsFile {
  const OsMethods *methods;
  Os *os;
};

/* The system itself. Never NULL, never released. */
Os *os_posix(void);
/* A new, empty set of in-memory files (backed by anonymous memory); os_memory_destroy when every file is closed. */
Status os_memory_create(Os **os) MUST_CHECK;
void os_memory_destroy(Os *os);

/* ---- the table, called ---- */
static inline Status os_open(Os *os, const char *path, int flags, OsFile **file) {
  return os->methods->open(os, path, flags, file);
}
static inline Status os_stat(Os *os, const char *path, OsStat *out) { return os->methods->stat(os, path, out); }
static inline Status os_unlink(Os *os, const char *path) { return os->methods->unlink(os, path); }
static inline Status os_rename(Os *os, const char *from, const char *to) { return os->methods->rename(os, from, to); }
static inline Status os_sync_directory(Os *os, const char *path) { return os->methods->sync_directory(os, path); }
static inline int64_t os_now_ms(Os *os) { return os->methods->now_ms(os); }
static inline uint64_t os_monotonic_ns(Os *os) { return os->methods->monotonic_ns(os); }
static inline Status os_random(Os *os, void *bytes, size_t length) { return os->methods->random(os, bytes, length); }
static inline void os_close(OsFile *file) {
  if (file) file->methods->close(file);
}
static inline Status os_read(OsFile *f, uint64_t offset, void *bytes, size_t length, size_t *got) {
  return f->methods->read(f, offset, bytes, length, got);
}
static inline Status os_write(OsFile *f, uint64_t offset, const void *bytes, size_t length) {
  return f->methods->write(f, offset, bytes, length);
}
static inline Status os_sync(OsFile *f) { return f->methods->sync(f); }
static inline Status os_allocate(OsFile *f, uint64_t offset, uint64_t length) {
  return f->methods->allocate(f, offset, length);
}
static inline Status os_truncate(OsFile *f, uint64_t size) { return f->methods->truncate(f, size); }
static inline Status os_stat_file(OsFile *f, OsStat *out) { return f->methods->stat_file(f, out); }
static inline void os_writeback(OsFile *f, uint64_t offset, uint64_t length, bool wait) {
  f->methods->writeback(f, offset, length, wait);
}
static inline Status os_map(OsFile *f, uint64_t offset, uint64_t length, bool writable, void **address) {
  return f->methods->map(f, offset, length, writable, address);
}
static inline void os_unmap(OsFile *f, void *address, uint64_t length) { f->methods->unmap(f, address, length); }
/* The same for a mapping whose file is closed already. */
static inline void os_unmap_closed(Os *os, void *address, uint64_t length) {
  os->methods->unmap(NULL, address, length);
}
static inline Status os_lock(OsFile *f, uint64_t offset, uint64_t length, OsLock kind) {
  return f->methods->lock(f, offset, length, kind);
}
static inline Status os_lock_query(OsFile *f, uint64_t offset, uint64_t length, bool *held, uint64_t *first) {
  return f->methods->lock_query(f, offset, length, held, first);
}
static inline const char *os_network(OsFile *f) { return f->methods->network ? f->methods->network(f) : NULL; }
static inline Status os_reopen(OsFile *f, int flags, OsFile **other) { return f->methods->reopen(f, flags, other); }
/* os_open for a file that belongs to `of`. One that it makes has the rights of `of`, whatever the umask is, and its
 * owner and group as far as this process may give files away. It is never open to anybody to whom `of` is not; one that
 * is there already stays as it is. */
static inline Status os_open_beside(OsFile *of, const char *path, int flags, OsFile **file) {
  return of->methods->open_beside ? of->methods->open_beside(of, path, flags, file)
                                  : os_open(of->os, path, flags, file);
}

/* The one path, on the heap, by which the file is known that `path` leads to: absolute, so that it stays what it is
 * when the process changes its directory, and without symbolic links, so that all who come by one name the same files
 * beside it. Of a file that is not there: in the directory that is. What leads nowhere stays as it is: opening it says
 * why. */
Status os_resolve(Os *os, const char *path, char **resolved) MUST_CHECK;

/* Reads exactly `length` bytes; KVSTORE_CORRUPT when the file ends before. */
Status os_read_exactly(OsFile *file, uint64_t offset, void *bytes, size_t length) MUST_CHECK;

#endif
