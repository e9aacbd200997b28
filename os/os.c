#include "os/os.h"

#include "base/memory.h"

Status os_resolve(Os *os, const char *path, char **resolved) {
  if (os->methods->resolve) return os->methods->resolve(os, path, resolved);
  *resolved = memory_copy_string(path);
  return *resolved ? KVSTORE_OK : status_nomem();
}

Status os_read_exactly(OsFile *file, uint64_t offset, void *bytes, size_t length) {
  size_t got = 0;
  TRY(os_read(file, offset, bytes, length, &got));
  if (got == length) return KVSTORE_OK;
  return status_fail(KVSTORE_CORRUPT, "the file ends at byte %llu, %zu bytes at %llu were expected",
                     (unsigned long long)(offset + got), length, (unsigned long long)offset);
}
