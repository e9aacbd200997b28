/* replay_corpus.c - a fuzzer as an ordinary test: calls LLVMFuzzerTestOneInput with every file of a corpus, and with no
 * bytes at all. What libFuzzer does with its own driver in the preset `fuzz` needs clang; this needs nothing.
 *
 *   fuzz_<file> <corpus directory or file>...
 *
 * A finding is kept by putting its input into the corpus; this program ends by the signal or the sanitizer's message.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static _Noreturn void fail(const char *path, const char *what) {
  fprintf(stderr, "%s: %s\n", path, what);
  exit(1);
}

/* The input is given in a block of its exact size, so that a sanitizer sees a read of one byte too many. */
static void replay_file(const char *path, size_t size) {
  FILE *file = fopen(path, "rb");
  uint8_t *bytes = malloc(size ? size : 1);
  if (!file || !bytes) fail(path, strerror(errno));
  if (fread(bytes, 1, size, file) != size) fail(path, "cannot be read whole");
  fclose(file);
  fprintf(stderr, "%s: %zu bytes\n", path, size); /* before the call: after a crash the last line names its input */
  LLVMFuzzerTestOneInput(bytes, size);
  free(bytes);
}

static size_t replay(const char *path) {
  struct stat about;
  if (stat(path, &about) != 0) fail(path, strerror(errno));
  if (!S_ISDIR(about.st_mode)) {
    replay_file(path, (size_t)about.st_size);
    return 1;
  }
  struct dirent **entries;
  int entry_count = scandir(path, &entries, NULL, alphasort);
  if (entry_count < 0) fail(path, strerror(errno));
  size_t replayed = 0;
  for (int i = 0; i < entry_count; i++) {
    char inner[4096];
    int length = snprintf(inner, sizeof inner, "%s/%s", path, entries[i]->d_name);
    if (length < 0 || (size_t)length >= sizeof inner) fail(path, "a path in it is too long");
    if (entries[i]->d_name[0] != '.') replayed += replay(inner);
    free(entries[i]);
  }
  free(entries);
  return replayed;
}

int main(int argument_count, char **arguments) {
  size_t replayed = 0;
  LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
  for (int i = 1; i < argument_count; i++) replayed += replay(arguments[i]);
  if (replayed == 0) fail(argument_count > 1 ? arguments[1] : "corpus", "holds no input");
  printf("%zu passed, 0 failed\n", replayed);
  return 0;
}
