/* simdisk_internal.h - the state of a simulated disk: files, their durable content, what is pending. */
#ifndef COLONNADE_TESTS_SUPPORT_SIMDISK_INTERNAL_H
#define COLONNADE_TESTS_SUPPORT_SIMDISK_INTERNAL_H

#include "os/range_locks.h"
#include "os/thread.h"
#include "tests/support/simdisk.h"

enum { SIM_SECTOR = 512, SIM_PAGE = 4096 };

typedef enum SimOpKind { SIM_WRITE, SIM_ALLOCATE, SIM_TRUNCATE } SimOpKind;

typedef struct SimOp {
  SimOpKind kind;
  uint64_t offset, length; /* truncate: offset is the new size */
  uint8_t *bytes;          /* of a write; owned */
} SimOp;

typedef struct SimContent {
  uint8_t *bytes;
  size_t size, capacity;
} SimContent;

/* One file, whatever its names. Lives until the crash or the destruction, reachable or not. */
typedef struct SimNode {
  uint64_t id;
  char *name;   /* in the running system; NULL: unlinked */
  OsFile *live; /* the running content, in the memory Os; NULL when nobody can reach it any more */
  SimContent durable;
  SimOp *pending;
  size_t pending_count, pending_capacity;
  bool mapped; /* writable: compare the whole content */
  size_t open_count;
  size_t maps; /* made, and not known to be undone */
  RangeLocks locks;
} SimNode;

typedef struct SimName { /* a durable name */
  char *name;
  SimNode *node;
} SimName;

typedef enum SimNameOpKind { SIM_CREATE, SIM_UNLINK, SIM_RENAME } SimNameOpKind;

typedef struct SimNameOp {
  SimNameOpKind kind;
  char *name, *to; /* owned; `to` of a rename */
  SimNode *node;
} SimNameOp;

struct SimDisk {
  Os base;
  Mutex mutex; /* everything below */
  Os *memory;
  SimNode **nodes;
  size_t node_count, node_capacity;
  SimName *names;
  size_t name_count, name_capacity;
  SimNameOp *name_ops;
  size_t name_op_count, name_op_capacity;
  uint64_t life, ids_used, random_state;
  int64_t now_ms;
  uint64_t calls, crash_at;
  bool power_is_off;
  uint64_t ignore_sync_in; /* 1: the next one; 0: none */
  char *ignored_suffix;
  bool ignore_directory_syncs;
  FILE *trace;
  SimDiskStatistics statistics;
};

void *sim_allocate(size_t size); /* zeroed; ends the program when there is no memory */
char *sim_copy_string(const char *text);

SimNode *sim_find(SimDisk *disk, const char *name);
/* A new, empty file, running and pending, under `name`. */
Status sim_node_create(SimDisk *disk, const char *name, SimNode **out);
/* Remembers an operation; `bytes` are copied. */
void sim_pend(SimNode *node, SimOpKind kind, uint64_t offset, uint64_t length, const uint8_t *bytes);
void sim_drop_pending(SimNode *node);
void sim_pend_name(SimDisk *disk, SimNameOpKind kind, const char *name, const char *to, SimNode *node);
/* Closes the running content of a file that neither a name nor an open file reaches. */
void sim_node_settle(SimNode *node);
/* Pending becomes durable: of a file, and of the directory that holds `path`. */
Status sim_sync_node(SimNode *node);
void sim_sync_names(SimDisk *disk, const char *path);
/* The running content, to be freed. */
Status sim_content(SimNode *node, SimContent *out);
void sim_set_content(SimContent *content, const uint8_t *bytes, size_t length);
/* The crash itself: decides what is pending, drops what has no name, and sets up the next life. */
Status sim_crash(SimDisk *disk, uint64_t seed);
Status sim_copy_state(SimDisk *from, SimDisk *to);
void sim_release_state(SimDisk *disk);
/* Takes every trace of a name out of the durable state and what is pending for it. */
void sim_forget_name(SimDisk *disk, const char *name);
void sim_set_durable_name(SimDisk *disk, const char *name, SimNode *node);

#endif
