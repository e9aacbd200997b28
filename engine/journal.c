/* journal.c - path-journal: in journal mode DELETE it is there from the first write of a transaction to its end, for
 * programs that look for it (PROC-7).
 *
 * It is empty, and nobody reads it: a commit is one record in the log, there as in journal mode WAL. One that a killed
 * process left says nothing; it goes with the next transaction, open or close. It is made and taken away only while the
 * store's path names this very file: beside another one it would be that one's. */
#include "engine/engine_internal.h"

void journal_mark(Store *store) {
  if (store->memory) return;
  Failure before = *status_last();
  OsFile *marker = NULL;
  bool made = store_has_its_path(store) &&
              os_open_beside(store->file.file, store->journal_path, OS_OPEN_CREATE, &marker) == KVSTORE_OK;
  os_close(marker);
  store->transaction.marked = made;
  status_restore(&before);
}

void journal_discard(Store *store) {
  Failure before = *status_last();
  Status ignored = store_has_its_path(store) ? os_unlink(store->os, store->journal_path) : KVSTORE_OK;
  (void)ignored;
  status_restore(&before);
}

void journal_unmark(Store *store) {
  store->transaction.marked = false;
  journal_discard(store);
}
