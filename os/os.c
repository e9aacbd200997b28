#include "os/os.h"

Status os_read_exactly(OsFile *file, uint64_t offset, void *bytes, size_t length) {
  size_t got = 0;
  TRY(os_read(file, offset, bytes, length, &got));
  if (got == length) return KVSTORE_OK;
  return status_fail(KVSTORE_CORRUPT, "the file ends at byte %llu, %zu bytes at %llu were expected",
                     (unsigned long long)(offset + got), length, (unsigned long long)offset);
}
