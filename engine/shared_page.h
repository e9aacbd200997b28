/* shared_page.h - the page that the processes of a store share: path-shm, 64 KiB in one mapping (protocol PROC-1).
 *
 *   OFFSET   SIZE   WHAT
 *        0     64   abi tag, ready, store id
 *       64    ...   the words, each that is written often on a cache line of its own
 *     4096    256   which process numbers are taken (a byte each; 1 to 255)
 *     8192  16384   256 slots of a cache line: what a call pins
 *    24576  32768   1,024 reservations of 32 bytes: space that no manifest names yet
 *
 * Nothing in it points anywhere: positions, sequences and numbers only (a slot's `version` means something to its own
 * process alone). It is made by the first process of a store and dies with the last; it is no file format, and the abi
 * tag refuses another build's. */
#ifndef COLONNADE_ENGINE_SHARED_PAGE_H
#define COLONNADE_ENGINE_SHARED_PAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "os/thread.h"

enum {
  SHARED_PAGE_BYTES = 65536,
  SHARED_SLOTS = 256,
  SHARED_RESERVATIONS = 1024,
  SHARED_RESERVATIONS_OWED = 64, /* of these, for flushes alone */
  SHARED_PROCESSES = 255,
};

typedef struct SharedSlot {
  _Atomic uint32_t owner; /* 0 free, else the number of a process */
  uint32_t unused;
  _Atomic uint64_t generation; /* what the call pins */
  _Atomic uint64_t version;    /* of the owner alone */
  uint8_t rest[40];
} SharedSlot;

typedef struct SharedReservation {
  _Atomic uint32_t owner;
  uint32_t unused;
  _Atomic uint64_t offset, length;
  uint64_t rest;
} SharedReservation;

typedef struct SharedLine { /* one word with its cache line */
  _Atomic uint64_t word;
  uint8_t rest[56];
} SharedLine;

typedef struct SharedPage {
  uint64_t abi;
  _Atomic uint32_t ready; /* written last */
  uint32_t unused;
  uint8_t store_id[16];
  uint8_t rest[32];

  SharedLine generation;  /* the last published */
  SharedLine start;       /* log position below which nothing is needed */
  SharedLine end;         /* log position where the next record begins */
  SharedLine synced;      /* log position known durable */
  SharedLine visible;     /* the last sequence that readers may see */
  SharedLine clock;       /* the latest reading of the clock, milliseconds */
  SharedLine write_word;  /* 0, or process number << 32 | transaction */
  SharedLine maintenance; /* 0, or process number << 32 | 1 */
  SharedLine owed;        /* bytes at the end of the file that are kept for the flush of what is logged (FILE-8) */
  SharedLine used_end;    /* where the last used or reserved extent ends; under allocating */
  SharedLine file_size;   /* allocated size of the file; under allocating */
  SharedLine log_id;      /* of the log that the superblocks name; 0: none yet */
  SharedLine failed;      /* 1: a sync failed, nobody acknowledges a write */
  SharedLine next_extent; /* the next extent id of all processes, above every manifest's */
  SharedLine next_run;    /* the next run number of all processes, the same */
  SharedLine journal;     /* JOURNAL_* of the first opener, and the capacity that it asked for */
  SharedLine log_bytes;
  SharedLine ring_offset; /* the piece of the file that holds the log, or that a superblock may still name as one */
  SharedLine ring_bytes;  /* 0: there is none. Written after ring_offset */
  _Atomic uint32_t write_waiters; /* futex: changes whenever the write word is given back */
  _Atomic uint32_t maintenance_waiters;
  _Atomic uint32_t sync_turns; /* futex: changes whenever the sync mutex is given back */
  uint8_t rest2[52];

  SharedMutex mutex; /* commits; guards write_word, end */
  uint8_t rest3[64];
  SharedMutex allocating;
  uint8_t rest4[64];
  SharedMutex sync_mutex;
  uint8_t rest5[64];
} SharedPage;

static inline _Atomic uint8_t *shared_processes(SharedPage *p) { return (_Atomic uint8_t *)((uint8_t *)p + 4096); }
static inline SharedSlot *shared_slots(SharedPage *p) { return (SharedSlot *)((uint8_t *)p + 8192); }
static inline SharedReservation *shared_reservations(SharedPage *p) {
  return (SharedReservation *)((uint8_t *)p + 24576);
}

/* Fills a zeroed page: mutexes, tag; everything but `ready`. */
Status shared_page_init(SharedPage *page, const uint8_t store_id[16]) MUST_CHECK;
/* True when the page was finished by this build for this store. */
bool shared_page_fits(const SharedPage *page, const uint8_t store_id[16]);
/* Gives back what a dead process held: slots, write word, reservations. Not maintenance, nor the reservations of who
 * held it: a superblock may name already what was being published, which is for the heir to find out (GEN-3). */
void shared_page_clear_process(SharedPage *page, uint32_t process);
void shared_page_clear_reservations(SharedPage *page, uint32_t process);

/* Takes a slot for a call of `process`: the slot, or NULL when all are taken. What it pins is the caller's to write.
 * One with an even number if there is any. */
SharedSlot *shared_slot_take(SharedPage *page, uint32_t process);
/* May the slot be kept longer than a call? Those with odd numbers are for calls alone. */
static inline bool shared_slot_may_stay(SharedPage *page, const SharedSlot *slot) {
  return (slot - shared_slots(page)) % 2 == 0;
}
static inline void shared_slot_give(SharedSlot *slot) {
  atomic_store_explicit(&slot->version, 0, memory_order_release);
  atomic_store_explicit(&slot->owner, 0, memory_order_release);
}

static inline uint64_t shared_load(SharedLine *line) { return atomic_load_explicit(&line->word, memory_order_acquire); }
static inline void shared_store(SharedLine *line, uint64_t value) {
  atomic_store_explicit(&line->word, value, memory_order_release);
}
/* Raises a word to `value` unless it is higher already. */
static inline void shared_raise(SharedLine *line, uint64_t value) {
  uint64_t now = atomic_load_explicit(&line->word, memory_order_relaxed);
  while (now < value &&
         !atomic_compare_exchange_weak_explicit(&line->word, &now, value, memory_order_acq_rel, memory_order_relaxed)) {
  }
}

#endif
